use serde_json::{Value, json};
use wasmgate_sdk::HttpRequest;

use super::*;

/// Providers of most tests: two of OpenAI's kind, and a race of them.
fn host() -> FakeHost {
    FakeHost::default().provider("openai", "openai", &["gpt-4o", "gpt-4o-mini"]).provider("azure", "openai", &[]).provider(
        "race",
        "racing",
        &["race", "race/gpt-4o"],
    )
}

fn configure(config: Value) -> Result<Dynamic, String> {
    Dynamic::configure(config)
}

/// Where a model goes: `provider/model`, `=model` when only the name changed, `-` when nothing was said, `!code` when it is refused.
fn check(dynamic: &Dynamic, model: &str, expect: &str) {
    assert_eq!(decided(dynamic, &FakeRequest::new(model)), expect, "{model}");
}

fn decided(dynamic: &Dynamic, request: &FakeRequest) -> String {
    match dynamic.before_generate(&request.call(), &request.handle()) {
        Decision::Continue => "-".to_owned(),
        Decision::Reject(error) => format!("!{}", error.code.unwrap_or(error.message)),
        Decision::Edit(edits) => match &edits[..] {
            [Edit::Target(t), ..] => format!("{}/{}", t.provider, t.model),
            [Edit::Model(m), ..] => format!("={m}"),
            other => format!("{other:?}"),
        },
        Decision::Respond(_) => "it answered".to_owned(),
    }
}

/// What becomes of a target that somebody chose: `keep`, `next`, `provider/model`, or `!code`.
fn reacts(dynamic: &Dynamic, chosen: Option<&str>, target: &str, number: u32) -> String {
    let (provider, model) = target.split_once('/').unwrap();
    let mut request = FakeRequest::new("any");
    request.provider = chosen.map(str::to_owned);
    let attempt = AttemptInfo { target: Target { provider: provider.into(), model: model.into() }, number };
    match dynamic.on_provider_selected(&request.call(), &request.handle(), &attempt) {
        Reaction::Keep => "keep".to_owned(),
        Reaction::Next => "next".to_owned(),
        Reaction::Other(t) => format!("{}/{}", t.provider, t.model),
        Reaction::Fail(error) => format!("!{}", error.code.unwrap_or(error.message)),
    }
}

/// Asks the operators' interface: status, document, and `ETag`.
fn ask(dynamic: &Dynamic, method: &str, path: &str, body: &str, version: Option<&str>) -> (u16, Value, String) {
    let headers = version.map(|v| ("if-match".to_owned(), v.as_bytes().to_vec())).into_iter().collect();
    let request = HttpRequest { method: method.into(), path: path.into(), headers, body: body.into(), ..HttpRequest::default() };
    let reply = dynamic.handle(request);
    let tag = reply.headers.iter().find(|h| h.name == "etag").map(|h| h.value.clone()).unwrap_or_default();
    (reply.status, serde_json::from_slice(&reply.body).unwrap(), tag)
}

fn put(dynamic: &Dynamic, path: &str, body: Value) -> Value {
    let (status, document, _) = ask(dynamic, "PUT", &format!("/api/dynamic/{path}"), &body.to_string(), None);
    assert_eq!(status, 200, "{path}: {document}");
    document["data"].clone()
}

/// Why a configuration is refused.
fn wrong(config: Value) -> String {
    configure(config).err().expect("it is refused")
}

#[test]
fn names_lead_to_their_end() {
    host().install();
    let dynamic = configure(json!({
        "aliases": {"fast": "gpt-4o-mini", "quick": {"to": "fast"}, "mine": "azure/other", "cheap": "azure", "both": "race"},
        "models": {"old-*": {"to": "gpt-4o"}, "moved-*": {"to": "azure/*"}, "gone": {"active": false}, "left": {"active": false, "instead": "fast"}},
        "routing_aliases": {"file": "gone", "fast": "gpt-4o"},
    }))
    .unwrap();
    check(&dynamic, "fast", "=gpt-4o-mini");
    check(&dynamic, "quick", "=gpt-4o-mini");
    check(&dynamic, "mine", "azure/other");
    check(&dynamic, "cheap/gpt-4o", "azure/gpt-4o");
    check(&dynamic, "both", "race/race");
    check(&dynamic, "old-one", "=gpt-4o");
    check(&dynamic, "moved-x", "azure/moved-x");
    check(&dynamic, "openai/moved-x", "azure/moved-x");
    check(&dynamic, "gone", "!model_inactive");
    check(&dynamic, "openai/GONE", "!model_inactive");
    check(&dynamic, "left", "=gpt-4o-mini");
    // An alias of the file is followed to see where it leads, and left to `routing` when nothing here is said of that.
    check(&dynamic, "file", "!model_inactive");
    check(&dynamic, "unheard-of", "-");
}

#[test]
fn only_the_callers_own_alias_is_noted_as_one() {
    host().install();
    let dynamic = configure(json!({"aliases": {"fast": "gpt-4o-mini"}, "models": {"old": {"to": "fast"}}})).unwrap();
    let noted = |model: &str| match dynamic.before_generate(&FakeRequest::new(model).call(), &FakeRequest::new(model).handle()) {
        Decision::Edit(edits) => edits.iter().any(|e| matches!(e, Edit::Note(n) if n.key == ALIAS && n.value == "true")),
        _ => false,
    };
    assert!(noted("fast"));
    // What a rule made of it, nobody asked for: it may not widen what a key may use.
    assert!(!noted("old"));
}

#[test]
fn a_tenants_rules_go_before_those_of_its_team_and_those_before_the_rest() {
    host().install();
    let dynamic = configure(json!({
        "aliases": {"fast": "all"},
        "models": {"m": {"active": false}},
        "tenants": {"team:lab": {"aliases": {"fast": "team"}, "models": {"m": {}}}, "key:ci": {"aliases": {"fast": "key"}}},
    }))
    .unwrap();
    let mut request = FakeRequest::new("fast");
    assert_eq!(decided(&dynamic, &request), "=all");
    request.notes.insert(TEAM.into(), "\"lab\"".into());
    assert_eq!(decided(&dynamic, &request), "=team");
    request.notes.insert(KEY.into(), "\"ci\"".into());
    assert_eq!(decided(&dynamic, &request), "=key");
    request.chat.model = "m".into();
    assert_eq!(decided(&dynamic, &request), "-");
    request.notes.clear();
    assert_eq!(decided(&dynamic, &request), "!model_inactive");
}

#[test]
fn the_pattern_with_most_letters_decides_and_a_whole_name_before_all() {
    host().install();
    let dynamic =
        configure(json!({"models": {"*": {}, "gpt-*": {}, "gpt-4*": {}, "gpt-4o": {}, "azure/gpt-4o": {"active": false}}})).unwrap();
    let view = View::new(&dynamic.configured, &[], &dynamic.routing);
    for (model, expect) in
        [("x", "*"), ("gpt-3", "gpt-*"), ("openai/gpt-4.1", "gpt-4*"), ("GPT-4o", "gpt-4o"), ("azure/gpt-4o", "azure/gpt-4o")]
    {
        assert_eq!(view.model(model).map(|(pattern, _)| pattern), Some(expect), "{model}");
    }
    // Where a rule leads, rules hold too.
    let dynamic = configure(json!({"models": {"gpt-*": {"to": "azure/gpt"}, "azure/*": {"to": "openai/o"}}})).unwrap();
    check(&dynamic, "gpt-3", "openai/o");
}

#[test]
fn circles_are_refused_with_their_names() {
    host().install();
    assert!(wrong(json!({"aliases": {"a": "b", "b": "c", "c": "a"}})).contains("in a circle: a → b → c → a"));
    assert!(wrong(json!({"providers": {"a": {"active": false, "instead": "a"}}})).contains("in a circle: a → a"));
    assert!(wrong(json!({"providers": {"a": {"active": false, "instead": "a/m"}}})).contains("in a circle: a → a/m"));
    assert!(wrong(json!({"aliases": {"a": "b"}, "routing_aliases": {"b": "a"}})).contains("a → b → a"));
    assert!(
        wrong(json!({"aliases": {"a": "b"}, "tenants": {"key:k": {"aliases": {"b": "a"}}}})).contains("for `key:k` this leads in a circle")
    );
    let off = |to: &str| json!({"active": false, "instead": to});
    assert!(wrong(json!({"providers": {"openai": off("azure"), "azure": off("openai")}})).contains("azure → openai → azure"));
    assert!(wrong(json!({"models": {"a": {"to": "b"}, "b": {"to": "a"}}})).contains("a → b → a"));
    assert!(wrong(json!({"models": {"x-*": {"to": "x-x-*"}}})).contains("fits again"));
    // These end.
    configure(json!({"models": {"gpt-*": {"to": "gpt-4o"}, "*": {"to": "azure/*"}}})).unwrap();
    let dynamic = configure(json!({"aliases": {"az": "azure/gpt-4o"}, "models": {"gpt-4o": {"to": "az"}}})).unwrap();
    check(&dynamic, "gpt-4o", "azure/gpt-4o");
    check(&dynamic, "az", "azure/gpt-4o");
}

#[test]
fn what_is_off_is_not_asked_whatever_chose_it() {
    host().install();
    let dynamic = configure(json!({
        "providers": {"openai": {"active": false}},
        "models": {"bad-*": {"active": false}, "gpt-4o": {"to": "azure/*"}},
    }))
    .unwrap();
    assert_eq!(reacts(&dynamic, Some("openai"), "openai/m", 0), "!provider_inactive");
    // A member of a race is passed over.
    assert_eq!(reacts(&dynamic, Some("race"), "openai/m", 1), "next");
    assert_eq!(reacts(&dynamic, Some("azure"), "azure/m", 0), "keep");
    assert_eq!(reacts(&dynamic, Some("azure"), "azure/org/bad-m", 0), "!model_inactive");
    assert_eq!(reacts(&dynamic, Some("race"), "azure/bad-m", 0), "next");
    assert_eq!(reacts(&dynamic, Some("azure"), "azure/gpt-4o", 0), "keep");
    // There is a virtual provider that could be the default one.
    assert_eq!(reacts(&dynamic, None, "openai/m", 0), "next");
    // A call that names no model is one of its provider all the same.
    assert_eq!(reacts(&dynamic, Some("openai"), "openai/", 0), "!provider_inactive");

    let dynamic = configure(json!({"providers": {"openai": {"active": false, "instead": "azure"}}})).unwrap();
    assert_eq!(reacts(&dynamic, Some("openai"), "openai/m", 0), "azure/m");
    assert_eq!(reacts(&dynamic, Some("openai"), "openai/", 0), "azure/");
    assert_eq!(reacts(&dynamic, None, "openai/m", 0), "azure/m");
    assert_eq!(reacts(&dynamic, Some("race"), "openai/m", 0), "next");

    let dynamic = configure(json!({"models": {"gpt-*": {"to": "azure/*"}}})).unwrap();
    assert_eq!(reacts(&dynamic, Some("race"), "openai/gpt-4o", 0), "azure/gpt-4o");
    FakeHost::default().provider("openai", "openai", &[]).install();
    let dynamic = configure(json!({"providers": {"openai": {"active": false}}})).unwrap();
    assert_eq!(reacts(&dynamic, None, "openai/m", 0), "!provider_inactive");
}

#[test]
fn a_virtual_provider_that_is_off_asks_no_member() {
    host().install();
    let dynamic = configure(json!({"providers": {"race": {"active": false}}})).unwrap();
    check(&dynamic, "race/gpt-4o", "!provider_inactive");
    assert_eq!(reacts(&dynamic, Some("race"), "openai/m", 0), "!provider_inactive");
    let dynamic = configure(json!({"providers": {"race": {"active": false, "instead": "azure"}}})).unwrap();
    check(&dynamic, "race/gpt-4o", "azure/gpt-4o");
    // Another model of a member's provider is not that member.
    let dynamic = configure(json!({"providers": {"race": {"active": false, "instead": "openai/gpt-4o-mini"}}})).unwrap();
    for (target, number, expect) in [
        ("openai/m", 0, "openai/gpt-4o-mini"),
        ("openai/m", 1, "next"),
        ("openai/gpt-4o-mini", 0, "keep"),
        ("azure/m", 0, "openai/gpt-4o-mini"),
    ] {
        assert_eq!(reacts(&dynamic, Some("race"), target, number), expect, "{target} {number}");
    }
}

#[test]
fn a_model_is_found_by_the_pattern_with_most_letters_whatever_its_capitals() {
    host().install();
    let models = json!({
        "oth*": {"to": "azure/any"}, "GPT-4*": {"to": "azure/four"}, "gpt-4o": {"to": "azure/exact"}, "Org/gpt-4o": {"to": "azure/org"},
        "*-4-mini": {"to": "azure/mini"},
    });
    let dynamic = configure(json!({"models": models})).unwrap();
    for (name, expect) in [
        ("gpt-4o", "azure/exact"),
        ("GPT-4O", "azure/exact"),
        ("x/gpt-4o", "azure/exact"),
        ("org/gpt-4o", "azure/org"),
        ("a/org/gpt-4o", "azure/org"),
        ("gpt-4-turbo", "azure/four"),
        ("gpt-4-mini", "azure/mini"),
        ("o-4-mini", "azure/mini"),
        ("other", "azure/any"),
    ] {
        check(&dynamic, name, expect);
    }
    ask(&dynamic, "DELETE", "/api/dynamic/models/gpt-4o", "", None);
    check(&dynamic, "gpt-4o", "azure/exact");
    put(&dynamic, "models/late-*", json!({"to": "azure/late"}));
    check(&dynamic, "late-model", "azure/late");
    ask(&dynamic, "DELETE", "/api/dynamic/models/late-*", "", None);
    check(&dynamic, "late-model", "-");
}

#[test]
fn members_of_a_request_are_edited_where_a_model_writes() {
    host().install();
    let dynamic = configure(json!({"models": {"m": {"set": {"temperature": 0}, "max": {"max_tokens": 10}}}})).unwrap();
    let edited = |request: &FakeRequest| match dynamic.before_generate(&request.call(), &request.handle()) {
        Decision::Edit(edits) => {
            edits.iter().any(|e| matches!(e, Edit::Params(p) if p.temperature == Some(0.0) && p.max_tokens == Some(10)))
        }
        _ => false,
    };
    let mut request = FakeRequest::new("m");
    assert!(edited(&request));
    request.provider = Some("openai".into());
    assert!(edited(&request));
    request.chat.format = "openai-embeddings".into();
    assert!(!edited(&request));
    assert!(!edited(&FakeRequest::new("other")));
}

#[test]
fn what_makes_no_sense_is_refused_by_field_value_and_fix() {
    host().install();
    for (config, expect) in [
        (json!({"alias": {}}), "`alias` is no setting; there is aliases, providers, models, tenants"),
        (json!({"aliases": []}), "`aliases` is a list; write names, each with its settings"),
        (json!({"aliases": {"a": 1}}), "`aliases.a` is 1; write a group of settings with to"),
        (json!({"aliases": {"a": {}}}), "`aliases.a.to` is missing; write a model"),
        (json!({"aliases": {"a": {"to": ""}}}), "`aliases.a.to` is \"\"; write a name"),
        (json!({"aliases": {"a": "gpt-*"}}), "`aliases.a` is \"gpt-*\"; `*` stands for nothing here"),
        (json!({"aliases": {"a*": "b"}}), "`*` stands for nothing here"),
        (json!({"providers": {"p": {"active": "no"}}}), "`providers.p.active` is \"no\"; write true or false"),
        (json!({"providers": {"p": {"to": "x"}}}), "`providers.p.to` is no setting; there is active, instead"),
        (json!({"models": {"m": {"max": {"temperature": 3}}}}), "`models.m.max.temperature` is 3; write a number from 0 to 2"),
        (json!({"models": {"m": {"max": {"max_tokens": 0}}}}), "`models.m.max.max_tokens` is 0; write a whole number, 1 or more"),
        (json!({"models": {"m": {"set": {"reasoning_effort": "lots"}}}}), "write one of none, minimal, low"),
        (json!({"models": {"m": {"min": {"top_p": 1}, "max": {"top_p": 0.5}}}}), "`models.m.min.top_p` is more than `models.m.max.top_p`"),
        (json!({"tenants": {"lab": {}}}), "\"lab\" is no tenant; write `key:NAME` or `team:NAME`"),
        (json!({"tenants": {"key:k": {"models": {"m": 1}}}}), "`tenants.key:k.models.m` is 1"),
    ] {
        let found = wrong(config.clone());
        assert!(found.contains(expect), "{config}: {found}");
    }
    let many: serde_json::Map<_, _> = (0..=rules::MAX_ENTRIES).map(|n| (format!("a{n}"), json!("m"))).collect();
    assert!(wrong(json!({"aliases": many})).contains("at most 1000 are allowed"));
}

#[test]
fn what_is_written_holds_at_once_and_delete_goes_back_to_the_configuration() {
    host().install();
    let dynamic = configure(json!({"aliases": {"fast": "gpt-4o-mini"}})).unwrap();
    // Another instance, which has read already.
    let other = configure(json!({"aliases": {"fast": "gpt-4o-mini"}})).unwrap();
    check(&other, "fast", "=gpt-4o-mini");
    let (_, before, tag) = ask(&dynamic, "GET", "/api/dynamic", "", None);
    assert_eq!((before["data"]["version"].as_str(), tag.as_str()), (Some("0"), "\"0\""));
    assert_eq!(before["data"]["aliases"]["fast"], json!({"to": "gpt-4o-mini", "source": "config"}));

    let written = put(&dynamic, "aliases/fast", json!({"to": "azure/x"}));
    assert_eq!((&written["to"], &written["source"]), (&json!("azure/x"), &json!("api")));
    check(&other, "fast", "azure/x");
    put(&dynamic, "models/org%2Fbig-%2A", json!({"active": false}));
    check(&other, "org/big-one", "!model_inactive");
    put(&dynamic, "tenants/team%3Alab/aliases/fast", json!({"to": "azure/lab"}));
    let (_, all, _) = ask(&other, "GET", "/api/dynamic", "", None);
    assert_eq!(all["data"]["tenants"]["team:lab"]["aliases"]["fast"]["to"], "azure/lab");
    assert_eq!(all["data"]["models"]["org/big-*"]["active"], false);

    let (status, gone, _) = ask(&dynamic, "DELETE", "/api/dynamic/aliases/fast", "", None);
    assert_eq!((status, &gone["data"]["now"]["to"]), (200, &json!("gpt-4o-mini")));
    check(&other, "fast", "=gpt-4o-mini");
    let (status, kept, _) = ask(&dynamic, "DELETE", "/api/dynamic/aliases/fast", "", None);
    assert_eq!((status, &kept["error"]["code"]), (409, &json!("configured")));
    assert_eq!(ask(&dynamic, "DELETE", "/api/dynamic/tenants/team:lab", "", None).0, 200);
    assert_eq!(ask(&dynamic, "GET", "/api/dynamic/tenants/team:lab", "", None).0, 404);
    assert_eq!(ask(&dynamic, "DELETE", "/api/dynamic/aliases/never", "", None).0, 404);
}

#[test]
fn a_change_of_what_somebody_else_changed_is_refused() {
    host().install();
    let dynamic = configure(json!({})).unwrap();
    let alias = |to: &str, version: &str| ask(&dynamic, "PUT", "/api/dynamic/aliases/a", &json!({"to": to}).to_string(), Some(version));
    let (status, _, first) = alias("x", "\"0\"");
    assert_eq!(status, 200);
    let (status, document, _) = alias("y", "\"0\"");
    assert_eq!((status, &document["error"]["code"]), (412, &json!("version_changed")), "{document}");
    let (status, _, second) = alias("y", &first);
    assert_eq!(status, 200);
    assert_ne!(first, second);
    assert_eq!(alias("z", "*").0, 200);
    assert_eq!(ask(&dynamic, "DELETE", "/api/dynamic/aliases/a", "", Some(&second)).0, 412);
}

#[test]
fn what_cannot_be_written_is_told_and_changes_nothing() {
    host().install();
    let dynamic = configure(json!({"aliases": {"b": "a"}})).unwrap();
    for (path, body, status, expect) in [
        ("aliases/a", "{", 400, "The body is not JSON"),
        ("aliases/a", "\"x\"", 400, "The body is not a JSON object"),
        ("aliases/a", "{\"to\": \"b\"}", 400, "a → b → a"),
        ("providers/nobody", "{\"active\": false}", 404, "There is no provider \"nobody\"; there is `openai`, `azure`, `race`."),
        ("tenants/lab/aliases/a", "{\"to\": \"x\"}", 400, "is no tenant"),
        ("things/a", "{}", 404, "There is nothing here"),
        ("models/m", "{\"max\": {\"temperature\": \"hot\"}}", 400, "`models.m.max.temperature` is \"hot\"; write a number from 0 to 2."),
    ] {
        let (found, document, _) = ask(&dynamic, "PUT", &format!("/api/dynamic/{path}"), body, None);
        let message = document["error"]["message"].as_str().unwrap();
        assert!(found == status && message.contains(expect), "{path} {body}: {found} {message}");
    }
    assert!(FakeHost::current().kv.is_empty(), "nothing was written");
}

#[test]
fn lists_of_models_are_as_they_are_for_who_asks() {
    host().install();
    let dynamic = configure(json!({
        "aliases": {"fast": "gpt-4o-mini", "dead": "gone", "mine": "azure/x", "cheap": "azure"},
        "models": {"gone": {"active": false}, "left": {"active": false, "instead": "gpt-4o"}},
        "tenants": {"key:ci": {"models": {"gpt-4o-mini": {"active": false}}, "aliases": {"own": "gpt-4o"}}},
    }))
    .unwrap();
    let listed = |caller: Value| {
        let models: Vec<Value> =
            ["gpt-4o", "gpt-4o-mini", "gone", "left"].map(|m| json!({"id": m, "provider": "openai", "model": m})).into();
        let body = json!({"caller": caller, "models": models}).to_string().into_bytes();
        let reply = dynamic.handle(HttpRequest { path: CATALOGUE.into(), body, ..HttpRequest::default() });
        let answer: Value = serde_json::from_slice(&reply.body).unwrap();
        let shown =
            |m: &Value| format!("{}={}/{}", m["id"].as_str().unwrap(), m["provider"].as_str().unwrap(), m["model"].as_str().unwrap());
        answer["models"].as_array().unwrap().iter().map(shown).collect::<Vec<_>>()
    };
    let all = ["gpt-4o=openai/gpt-4o", "gpt-4o-mini=openai/gpt-4o-mini", "left=openai/left", "fast=openai/gpt-4o-mini", "mine=azure/x"];
    assert_eq!(listed(Value::Null), all);
    let own = ["gpt-4o=openai/gpt-4o", "left=openai/left", "mine=azure/x", "own=openai/gpt-4o"];
    assert_eq!(listed(json!({"name": "ci"})), own);
}
