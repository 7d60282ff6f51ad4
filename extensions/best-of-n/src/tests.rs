use serde_json::{Value, json};
use wasmgate_sdk::codec::{EncodeOptions as EncodeTo, Format};
use wasmgate_sdk::fake::Sent;
use wasmgate_sdk::generate::Score as Said;

use super::*;

fn extension(config: Value) -> BestOfN {
    BestOfN::configure(serde_json::from_value(config).unwrap()).unwrap()
}

fn answer(text: &str, finish: &str) -> ChatAnswer {
    let body = json!({"id": "c", "object": "chat.completion", "model": "fake", "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish}]});
    Format::OpenaiChat.decode_answer(body.to_string().as_bytes()).unwrap()
}

fn python(code: &str) -> String {
    format!("```python\n{code}```\n")
}

/// A host whose upstream gives these answers; `!` is a failure, and `…` at the end one that was cut off.
fn host(answers: &[&str]) -> FakeHost {
    let mut host = FakeHost::default().provider("one", "openai", &["m"]);
    for text in answers {
        host.answers.push_back(match text.strip_suffix('…') {
            Some(cut) => Ok(answer(cut, "length")),
            None if *text == "!" => Err(ChatError::new(ErrorClass::Overloaded, "busy")),
            None => Ok(answer(text, "stop")),
        });
    }
    host
}

fn request(model: &str) -> FakeRequest {
    FakeRequest::new(model)
}

/// The text that goes out, or the error.
fn decide(extension: &BestOfN, request: &FakeRequest) -> String {
    match extension.before_generate(&request.call(), &request.handle()) {
        Decision::Continue => "-".into(),
        Decision::Respond(answer) => answer.text(),
        Decision::Reject(error) => format!("{}: {}", error.class.name(), error.message),
        Decision::Edit(edits) => format!("{edits:?}"),
    }
}

fn header() -> String {
    let headers = FakeHost::current().response_headers;
    headers.into_iter().find(|(name, _)| name == HEADER).map(|(_, value)| value).unwrap_or_default()
}

#[test]
fn settings_are_checked() {
    let check = |config: Value, expect: &str| {
        let found = serde_json::from_value(config.clone()).map_err(|e| e.to_string()).and_then(BestOfN::configure).err();
        assert!(found.as_ref().is_some_and(|e| e.contains(expect)), "{config}: {found:?}");
    };
    check(json!({"max_bytes": 0}), "`max_bytes` is 0, so no code would be parsed");
    check(json!({"num_candidates": 0}), "`num_candidates` is 0; it can be from 1 to `max_candidates`, which is 8");
    check(json!({"num_candidates": 9}), "`num_candidates` is 9");
    check(json!({"max_candidates": 13}), "`max_candidates` is 13; it can be from 1 to 12");
    check(json!({"temperatures": {"from": 0.2, "to": 3}}), "each can be from 0 to 2");
    check(json!({"at_once": 0}), "`at_once` is 0");
    check(json!({"enough": {"count": 0}}), "`count` is 1 or more");
    check(json!({"budget_ms": 0}), "`budget_ms` is 0");
    check(json!({"targets": ["best:2:m"]}), "`targets` has `best:2:m`");
    check(json!({"judge_model": ""}), "`judge_model` has ``");
    check(json!({"path": "x"}), "`path` is `x`");
    check(json!({"synthesis_method": "guess"}), "`code_quality`, `vote`, `merge`, `judge`");
    check(json!({"candidates": 3}), "unknown field `candidates`");
    // The plan's.
    extension(json!({"num_candidates": 3, "synthesis_method": "code_quality"}));
}

#[test]
fn a_request_asks_for_it_in_one_of_several_ways() {
    let extension = extension(json!({"num_candidates": 2}));
    let check = |change: &dyn Fn(&mut FakeRequest), model: &str, expect: &str, asked: &[&str]| {
        host(&["a", "b", "c", "d"]).install();
        let mut request = request(model);
        change(&mut request);
        let found = decide(&extension, &request);
        assert!(found.contains(expect), "{model}: `{found}`, expected `{expect}`");
        let models: Vec<String> = FakeHost::current()
            .asked
            .iter()
            .map(|a| format!("{}{}", a.provider.as_ref().map_or(String::new(), |p| format!("{p} ")), a.request.model))
            .collect();
        assert_eq!(models, asked, "{model}");
    };
    let header = |value: &'static str| move |r: &mut FakeRequest| drop(r.headers.insert(HEADER.into(), value.into()));
    let body = |value: Value| move |r: &mut FakeRequest| r.body["metadata"] = value.clone();
    check(&|_| {}, "m", "-", &[]);
    check(&|_| {}, "best:3:m", "a", &["m", "m", "m"]);
    check(&|_| {}, "best:1:llama3:8b", "a", &["llama3:8b"]);
    check(&|_| {}, "best:2:one/m", "a", &["one m", "one m"]);
    check(&header("3"), "m", "a", &["m", "m", "m"]);
    check(&header("on"), "one/m", "a", &["one m", "one m"]);
    check(&header("off"), "m", "-", &[]);
    check(&|r| drop(r.headers.insert("x-wasmgate-extensions".into(), "a=on, best-of-n=on".into())), "m", "a", &["m", "m"]);
    check(&|r| drop(r.headers.insert("x-wasmgate-extensions".into(), "best-of-n=on,best-of-n=off".into())), "m", "-", &[]);
    check(&body(json!({"best_of_n": "4"})), "m", "a", &["m", "m", "m", "m"]);
    check(&body(json!({"best_of_n": 1})), "m", "a", &["m"]);
    check(&body(json!({"best_of_n": true})), "m", "a", &["m", "m"]);
    check(&body(json!({"best_of_n": {"num_candidates": 3, "synthesis_method": "vote"}})), "m", "a", &["m", "m", "m"]);
    check(&body(json!({"extensions": {"best-of-n": true}})), "m", "-", &[]);
    let own = |r: &mut FakeRequest| {
        r.path = "/api/generate".into();
        r.body["metadata"] = json!({"extensions": {"best-of-n": true}});
    };
    check(&own, "m", "a", &["m", "m"]);
    // A provider that was chosen for its default model, which has no name to be asked for by.
    check(&|r| (r.provider, r.chat.model) = (Some("one".into()), String::new()), "m", "-", &[]);

    check(&|_| {}, "best:0:m", "`model`: `best:0:m` asks for `0` candidates; write `best:N:MODEL` with N from 1 to 8.", &[]);
    check(&|_| {}, "best:999:m", "asks for `999` candidates; write `best:N:MODEL` with N from 1 to 8", &[]);
    check(&|_| {}, "best:-1:m", "asks for `-1` candidates", &[]);
    check(&|_| {}, "best:m", "`best:m` names no number of candidates", &[]);
    check(&|_| {}, "best:2:", "`best:2:` names no model", &[]);
    check(&|_| {}, "best:2:best:2:m", "names no model that candidates could be of", &[]);
    check(&header("9"), "m", "`x-wasmgate-best-of-n`: it is `\"9\"`; it can be a number of candidates from 1 to 8.", &[]);
    check(&body(json!({"best_of_n": {"n": 2}})), "m", "`metadata.best_of_n.n`: there is no such member", &[]);
    check(&body(json!({"best_of_n": {"synthesis_method": "x"}})), "m", "it can be `code_quality`, `vote`, `merge` or `judge`", &[]);
    check(&|r| r.chat.params.n = Some(2), "best:2:m", "`n`: it is more than 1", &[]);
}

#[test]
fn no_candidate_asks_for_candidates() {
    host(&["a"]).install();
    let extension = extension(json!({}));
    let inner = |model: &str| {
        let mut request = request(model);
        request.headers.insert(HEADER.into(), "3".into());
        let call = CallInfo { depth: 1, ..request.call() };
        extension.before_generate(&call, &request.handle())
    };
    assert!(matches!(inner("m"), Decision::Continue));
    assert!(matches!(inner("best:2:m"), Decision::Reject(e) if e.message.contains("is a request of an extension already")));
    assert!(FakeHost::current().asked.is_empty());
}

#[test]
fn what_is_for_the_gateway_stays_here_and_the_rest_goes_on() {
    host(&["a", "b"]).install();
    let body = json!({"model": "best:2:m", "messages": [{"role": "user", "content": "x"}], "logit_bias": {"5": 1}, "tool_choice": "none",
        "metadata": {"best_of_n": "2", "project": "p"}, "temperature": 0.5, "stream": true,
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]});
    let mut request = request("best:2:m");
    request.chat = Format::OpenaiChat.decode_request(body.to_string().as_bytes()).unwrap();
    request.body = body;
    assert_eq!(decide(&extension(json!({})), &request), "a");
    let sent = &FakeHost::current().asked[1].request;
    let written: Value = serde_json::from_slice(&Format::OpenaiChat.encode_request(sent, &EncodeTo::default()).body).unwrap();
    assert_eq!((&written["metadata"], &written["tool_choice"]), (&json!({"project": "p"}), &json!("none")), "{written}");
    assert_eq!((&written["logit_bias"], &written["temperature"], sent.stream), (&json!({"5": 1}), &json!(0.5), false));
}

#[test]
fn the_valid_one_wins_wherever_it_stands() {
    let good = python("def f(x):\n    return x\n");
    let bad = [
        python("def f(x):\n    return (x\n"),
        python("def f(x):\nreturn x\n"),
        "```python\ndef f(x):\n    return x\n".to_owned(),
        python("def f(x):\n    return 'x\n"),
        format!("{good}…"),
        "Here it would be.…".to_owned(),
        String::new(),
        "!".to_owned(),
    ];
    for method in ["code_quality", "vote", "merge", "judge"] {
        let extension = extension(json!({"synthesis_method": method}));
        for bad in &bad {
            // Two that agree are wrong all the same.
            for place in 0..3 {
                let mut answers = [bad.as_str(); 3];
                answers[place] = &good;
                host(&answers).install();
                assert_eq!(decide(&extension, &request("best:3:m")), good, "{method}: {answers:?}");
                assert!(header().contains(&format!("chosen={} of 3; method={method}", place + 1)), "{}", header());
            }
        }
    }
}

#[test]
fn all_of_them_are_told_and_counted() {
    host(&["!", "one two three", "one two three four"]).install();
    let decision = {
        let request = request("best:3:m");
        extension(json!({})).before_generate(&request.call(), &request.handle())
    };
    let Decision::Respond(answer) = decision else { panic!("{decision:?}") };
    let usage = answer.usage.unwrap();
    assert_eq!((usage.input_tokens, usage.output_tokens, usage.raw), (20, 10, None), "of both that answered");
    assert!(header().contains("scores=failed 0."), "{}", header());
    let host = FakeHost::current();
    let (_, note) = host.notes.iter().find(|(key, _)| key == NOTE).unwrap();
    let note: Value = serde_json::from_str(note).unwrap();
    assert_eq!((&note["chosen"], &note["candidates"][0]["error"]["code"]), (&json!(2), &json!("overloaded")), "{note}");
    assert!(note["candidates"][2]["score"]["total"].as_f64() > Some(0.0) && note["candidates"][2].get("content").is_none(), "{note}");
    assert_eq!(host.metrics["candidates_total{outcome=failed}"], 1.0);
    assert_eq!(host.metrics["candidates_total{outcome=valid}"], 2.0);

    host_of_failures();
    assert_eq!(decide(&extension(json!({})), &request("best:2:m")), "overloaded: None of 2 candidates got an answer. The first: busy");
}

fn host_of_failures() {
    host(&["!", "!"]).install();
}

#[test]
fn no_more_are_asked_for_than_are_needed() {
    let check = |config: Value, answers: &[&str], asked: usize, stopped: &str| {
        host(answers).install();
        decide(&extension(config.clone()), &request("best:4:m"));
        assert_eq!(FakeHost::current().asked.len(), asked, "{config}");
        assert_eq!(header().split("stopped=").nth(1).unwrap_or_default(), stopped, "{config}");
    };
    let good = ["good", "good", "good", "good"];
    check(json!({}), &good, 4, "");
    check(json!({"enough": {}}), &good, 1, "enough");
    check(json!({"enough": {"count": 2}}), &good, 2, "enough");
    check(json!({"enough": {}}), &["!", "bad…", "good", "good"], 3, "enough");
    check(json!({"enough": {}, "at_once": 3}), &["!", "bad…", "bad…", "good"], 4, "");
    check(json!({"budget_tokens": 30, "at_once": 1}), &good, 2, "budget_tokens");
    check(json!({"budget_tokens": 1, "at_once": 3}), &good, 3, "budget_tokens");
}

#[test]
fn a_wrong_request_is_not_sent_again_and_again() {
    let mut host = FakeHost::default();
    host.answers.push_back(Err(ChatError::new(ErrorClass::InvalidRequest, "no")));
    host.install();
    assert_eq!(decide(&extension(json!({"at_once": 1})), &request("best:4:m")), "invalid-request: no");
    assert_eq!(FakeHost::current().asked.len(), 1);
}

#[test]
fn temperatures_and_targets_are_spread() {
    host(&["a", "b", "c", "d"]).install();
    let config = json!({"temperatures": {"from": 0.2, "to": 0.8}, "targets": ["one/x", "y"]});
    decide(&extension(config), &request("best:4:m"));
    let asked: Vec<_> =
        FakeHost::current().asked.into_iter().map(|a| (a.provider, a.request.model, a.request.params.temperature)).collect();
    let one = || Some("one".to_owned());
    let expected = [(None, "m", Some(0.2)), (one(), "x", Some(0.4)), (None, "y", Some(0.6)), (None, "m", Some(0.8))];
    assert_eq!(asked, expected.map(|(p, m, t)| (p, m.to_owned(), t)));
}

#[test]
fn judges_count() {
    let scores = |values: [f64; 2]| values.map(|value| Said { value, reason: "so".into() }).to_vec();
    let mut judged = host(&["one", "two"]);
    judged.scores = scores([0.2, 0.9]);
    judged.install();
    assert_eq!(decide(&extension(json!({"synthesis_method": "judge"})), &request("best:2:m")), "two");
    // What a judge calls of no use, is.
    let mut judged = host(&["one", "two"]);
    judged.scores = scores([0.0, 0.1]);
    judged.install();
    assert_eq!(decide(&extension(json!({"synthesis_method": "vote"})), &request("best:2:m")), "two");
    assert!(header().contains("(invalid)"), "{}", header());

    let said = r#"{"scores": [{"candidate": 1, "score": 2}, {"candidate": 2, "score": 9, "reason": "clear"}]}"#;
    host(&["one", "two", said]).install();
    let config = json!({"synthesis_method": "judge", "judge_model": "one/judge", "rubric": "Be strict."});
    assert_eq!(decide(&extension(config.clone()), &request("best:2:m")), "two");
    let asked = FakeHost::current().asked;
    assert_eq!(asked.len(), 3);
    assert!(format!("{:?}", asked[2].request.messages).contains("Be strict."));
    // A judge that fails keeps nobody from an answer.
    for said in ["!", "I like them all."] {
        host(&["one", "two", said]).install();
        assert_eq!(decide(&extension(config.clone()), &request("best:2:m")), "one");
    }
}

#[test]
fn functions_are_merged_where_that_is_surely_better() {
    let stub = python("def a(x):\n    return x\n\ndef b(y):\n    pass\n");
    let whole = python("def a(x):\n    return\n\ndef b(y):\n    return y\n");
    let merged = python("def a(x):\n    return x\n\ndef b(y):\n    return y\n");
    let config = json!({"synthesis_method": "merge"});
    let mut judged = host(&[&stub, &whole]);
    judged.scores = [0.9, 0.9].map(|value| Said { value, reason: String::new() }).to_vec();
    judged.clone().install();
    assert_eq!(decide(&extension(config.clone()), &request("best:2:m")), merged);
    assert!(header().contains("chosen=1 of 2; method=merge") && header().ends_with("merged=1"), "{}", header());
    // A judge that likes the best one better has the last word; here it likes the first of two better, whatever they are.
    judged.scores[1].value = 0.5;
    judged.install();
    assert_eq!(decide(&extension(config), &request("best:2:m")), stub);
}

#[test]
fn the_route_tells_of_all_candidates() {
    let ask = |body: Value| {
        let request = HttpRequest {
            method: "POST".into(),
            path: "/api/best-of-n".into(),
            body: body.to_string().into_bytes(),
            ..HttpRequest::default()
        };
        let mut sent = Sent::default();
        extension(json!({})).answer(request, &mut sent);
        (sent.status, sent.json())
    };
    host(&["!", "two"]).install();
    let (status, document) = ask(json!({"model": "m", "targets": ["one/x"], "num_candidates": 2, "prompt": "hello", "max_tokens": 5}));
    let data = &document["data"];
    assert_eq!(
        (status, &document["success"], &data["content"], &data["chosen"]),
        (200, &json!(true), &json!("two"), &json!(2)),
        "{document}"
    );
    assert_eq!((&data["candidates"][1]["content"], &data["usage"]["total_tokens"]), (&json!("two"), &json!(15)), "{document}");
    assert_eq!(data["candidates"][0]["error"], json!({"code": "overloaded", "message": "busy"}));
    assert_eq!(FakeHost::current().asked[1].request.params.max_tokens, Some(5));

    let check = |body: Value, param: &str, says: &str| {
        host(&[]).install();
        let (status, document) = ask(body.clone());
        let error = &document["error"];
        assert_eq!((status, &document["success"]), (400, &json!(false)), "{body}: {document}");
        assert_eq!(error["details"]["param"].as_str().unwrap_or_default(), param, "{body}: {document}");
        assert!(error["message"].as_str().unwrap().contains(says), "{body}: {document}");
    };
    check(json!([]), "", "has to be a JSON object");
    check(json!({"prompt": "x"}), "model", "it is missing, and there are no `targets`");
    check(json!({"model": "m"}), "prompt", "it is missing, and there are no `messages`");
    check(json!({"model": "m", "prompt": "x", "n": 3}), "n", "there is no such member; there is `model`");
    check(json!({"model": "m", "prompt": "x", "num_candidates": 9}), "num_candidates", "from 1 to 8");
    check(json!({"model": "m", "prompt": "x", "num_candidates": true}), "num_candidates", "from 1 to 8");
    check(json!({"model": "best:0:m", "prompt": "x"}), "model", "asks for `0` candidates");
    check(json!({"targets": ["best:2:m"], "prompt": "x"}), "targets", "no model that candidates could be of");
    check(json!({"model": "m", "prompt": "x", "synthesis_method": 5}), "synthesis_method", "it can be `code_quality`");
    host(&["!"]).install();
    let (status, document) = ask(json!({"model": "best:1:m", "prompt": "x"}));
    assert_eq!((status, &document["error"]["code"]), (503, &json!("overloaded")), "{document}");
}

#[test]
fn parsers_say_what_is_broken() {
    let check = |text: &str, expect: Result<(), &str>| {
        let mut budget = Budget::new(64 << 10, 1);
        let looked = score::look(&answer(text, "stop"), &mut budget);
        let notes = score::of(&[&looked])[0].notes.join("; ");
        match expect {
            Ok(()) => assert!(looked.valid && notes.is_empty(), "{text}: {notes}"),
            Err(says) => assert!(!looked.valid && notes.contains(says), "{text}: {notes}"),
        }
    };
    // A fence in a list is as good as another.
    check("1. Do this:\n   ```python\n   def f(x):\n       return x\n   ```\n2. Done.\n", Ok(()));
    check("~~~go\nfunc A() {}\n~~~\n", Ok(()));
    check("```tsx\nconst a = <p>it's {b}</p>;\n```\n", Ok(()));
    check("```yaml\na: {b: [c]}\n```\n", Ok(()));
    check("```toml\n[a]\nb = 1\n```\n", Ok(()));
    check("```\nwhatever (\n```\n", Ok(()));
    check("x\n```python\ndef f(x)\n    return x\n```\n", Err("line 3: "));
    check("```python\nclass = 1\n```\n", Err("line 2: "));
    check("```go\nfunc A( {\n```\n", Err("line 2: "));
    check("```rust\nfn a() -> { 1 }\n```\n", Err("line 2: "));
    check("```js\nconst a = = 1;\n```\n", Err("line 2: "));
    check("```yaml\na: [b\nc: d\n```\n", Err("line "));
    check("```json\n{\"a\": [1}\n```\n", Err("line 2: "));
    check("```python\ndef f(x):\n    return x\n", Err("line 2: the code has no end"));
}

#[test]
fn it_judges_answers_of_others() {
    let candidate = |text: &str, finish: &str| Candidate { answer: answer(text, finish), served_by: None, duration_us: 1 };
    let good = python("def f(x):\n    return x\n");
    let candidates = [
        candidate(&python("def f(x)\n    return x\n"), "stop"),
        candidate(&good, "stop"),
        candidate(&good, "length"),
        candidate(&python("def f(x):\n    return x  # TODO\n"), "stop"),
    ];
    host(&[]).install();
    let request = request("m");
    let scores = extension(json!({})).judge(&request.call(), &request.handle(), &candidates).unwrap();
    let values: Vec<f64> = scores.iter().map(|s| s.value).collect();
    assert!(values[0] == 0.0 && values[2] == 0.0, "what is broken, and what was cut off: {values:?}");
    assert!(values[1] > values[3] && values[3] > 0.0 && values[1] <= 1.0, "{values:?}");
    assert!(scores[0].reason.starts_with("line 2: "), "{scores:?}");
}

#[test]
fn what_parsers_may_not_read_is_looked_through() {
    let look = |code: &str, left| score::look(&answer(&format!("```go\n{code}```\n"), "stop"), &mut Budget::new(left, 1));
    let whole = look("func A() { b( }\n", 100);
    assert!(!whole.valid);
    let whole = look("func A() { b(\n", 1);
    assert!(!whole.valid && !whole.parsed, "a bracket without an end is seen by anybody");
    let wrong = look("func A() { a := = 1 }\n", 1);
    assert!(wrong.valid && !wrong.parsed, "and nothing else is");
    assert!(!look("func A() { a := = 1 }\n", 100).valid);
}

/// A candidate of about 100 KB, as large as its words allow.
fn large(function: &dyn Fn(usize) -> String) -> String {
    let mut code = String::new();
    for n in 0.. {
        if code.len() > 100_000 {
            break;
        }
        code.push_str(&function(n));
    }
    python(&code)
}

#[test]
fn large_candidates_lose_nobody_an_answer() {
    let whole = large(&|n| format!("def f{n}(x):\n    return g{n}(x) + {n}\n\n"));
    let stubs = large(&|n| format!("def f{n}(x):\n    pass\n\ndef g{n}(x):\n    return x\n\n"));
    let calls = large(&|n| format!("f{n}(g{n}(x{n}))\n"));
    let broken = large(&|n| format!("def f{n}(x):\n    return (x\n\n"));
    let candidates = [&broken, &stubs, &whole, &calls];
    let sizes: Vec<usize> = candidates.iter().map(|c| c.len()).collect();
    assert!(sizes.iter().all(|size| *size > 100_000), "{sizes:?}");
    for method in ["code_quality", "vote", "merge", "judge"] {
        // Whether parsers may read all of them or next to nothing.
        for max_bytes in [1, 32 << 10, 4 << 20] {
            let extension = extension(json!({"synthesis_method": method, "max_bytes": max_bytes}));
            host(&candidates.map(String::as_str)).install();
            let decision = {
                let request = request("best:4:m");
                extension.before_generate(&request.call(), &request.handle())
            };
            let Decision::Respond(answer) = decision else { panic!("{method} {max_bytes}: {decision:?}") };
            let usage = answer.usage.as_ref().map(|u| (u.input_tokens, u.output_tokens));
            assert_eq!(usage, Some((40, 20)), "{method} {max_bytes}: all of them are counted");
            assert_ne!(answer.text(), broken, "{method} {max_bytes}");
            assert!(header().contains("scores=") && header().contains("(invalid)"), "{method} {max_bytes}: {}", header());
        }
    }
}
