//! Several candidates for one request (extension `best-of-n`), in front of an upstream of which each candidate is known.

use std::time::{Duration, Instant};

use http::Method;
use serde_json::{Value, json};
use wasmgate_tests::cli::ConfigFile;
use wasmgate_tests::{Answer, Client, Dialect, Gate, Gateway, Received, Reply, Upstream};

use crate::ledger::{KEY, row, rows};
use crate::{extensions, setup};

const PATH: &str = "/api/best-of-n";
const HEADER: &str = "x-wasmgate-best-of-n";
const GRANT: &str = "grant: [clock, generate, metrics, providers, wasi]";

/// Candidates are told apart by their temperature: 0 is the first, 0.5 the second, 1 the third.
const CONFIG: &str = "temperatures: {from: 0, to: 1}";

const GOOD: &str = "Here it is:\n```python\ndef double(x):\n    return x * 2\n\ndef quadruple(x):\n    return double(double(x))\n```\n";
const STUB: &str = "Here it is:\n```python\ndef double(x):\n    return x * 2\n\ndef quadruple(x):\n    pass\n```\n";
const TODO: &str =
    "Here it is:\n```python\ndef double(x):\n    return x * 2  # TODO: check\n\ndef quadruple(x):\n    return double(double(x))\n```\n";

/// An answer that is known.
fn document(kind: &str, model: &str) -> Reply {
    let (text, finish) = match kind {
        "good" => (GOOD, "stop"),
        "stub" => (STUB, "stop"),
        "todo" => (TODO, "stop"),
        "open" => ("```python\ndef double(x):\n    return (x * 2\n```\n", "stop"),
        "flat" => ("```python\ndef double(x):\nreturn x * 2\n```\n", "stop"),
        "cut" => (&GOOD[..GOOD.len() - 8], "length"),
        "empty" => ("", "stop"),
        "fails" => return Reply::json(503, &json!({"error": {"message": "busy", "type": "server_error", "param": null, "code": null}})),
        "silent" => return Reply::silence(),
        other => (other, "stop"),
    };
    let message = json!({"role": "assistant", "content": text, "refusal": null});
    Reply::json(
        200,
        &json!({
            "id": "chatcmpl-scripted", "object": "chat.completion", "created": 1_750_000_000, "model": model,
            "choices": [{"index": 0, "message": message, "logprobs": null, "finish_reason": finish}],
            "usage": {"prompt_tokens": 9, "completion_tokens": 12, "total_tokens": 21},
        }),
    )
}

/// The model names what each candidate is, for example `good.open.cut`.
fn script(r: &Received) -> Reply {
    let model = r.model();
    let kinds: Vec<&str> = model.split('.').collect();
    let number = (r.json()["temperature"].as_f64().unwrap_or(0.0) * 2.0).round() as usize;
    document(kinds[number.min(kinds.len() - 1)], &model)
}

async fn gateway(upstream: &Upstream, config: &str, more: &str) -> (Gateway, Client) {
    let best = format!("  generate-api: {{}}\n  best_of_n: {{{GRANT}, config: {{{config}}}}}\n{more}");
    let gateway =
        Gateway::start(&format!("default_provider: up\n{}", setup::config(&setup::provider(Dialect::OpenAi, upstream), &best))).await;
    let client = Client::new(&gateway);
    (gateway, client)
}

async fn ask(client: &Client, dialect: Dialect, model: &str) -> Answer {
    client.post(dialect.path(), &dialect.request(model, "Double it.")).await
}

#[tokio::test]
async fn a_valid_one_goes_out_in_every_case_that_has_one() {
    let upstream = Upstream::start(script).await;
    for method in ["code_quality", "vote", "merge", "judge"] {
        let (_gateway, client) = gateway(&upstream, &format!("{CONFIG}, synthesis_method: {method}"), "").await;
        for bad in ["open", "flat", "cut", "empty", "fails"] {
            for place in 0..3 {
                // Two that agree are wrong all the same.
                let mut kinds = [bad; 3];
                kinds[place] = "good";
                let before = upstream.received().len();
                let answer = ask(&client, Dialect::OpenAi, &format!("best:3:{}", kinds.join("."))).await;
                assert_eq!(answer.status, 200, "{method} {kinds:?}: {}", answer.text());
                assert_eq!(Dialect::OpenAi.text(&answer.json()), GOOD, "{method} {kinds:?}");
                let line = answer.header(HEADER);
                assert!(line.starts_with(&format!("chosen={} of 3; method={method}; scores=", place + 1)), "{kinds:?}: {line}");
                assert_eq!(upstream.received().len() - before, 3, "{method} {kinds:?}");
            }
        }
    }
}

#[tokio::test]
async fn clients_of_each_format_get_the_answer_whole_and_as_a_stream() {
    let upstream = Upstream::start(script).await;
    let (_gateway, client) = gateway(&upstream, CONFIG, "").await;
    for dialect in Dialect::ALL {
        let answer = ask(&client, dialect, "best:3:open.good.fails").await;
        assert_eq!((answer.status, dialect.text(&answer.json()).as_str()), (200, GOOD), "{dialect:?}: {}", answer.text());
        let mut stream = client.stream(dialect.path(), &dialect.stream_request("best:3:open.good.fails", "Double it.")).await;
        assert!(stream.header(HEADER).starts_with("chosen=2 of 3"), "{dialect:?}: {}", stream.header(HEADER));
        assert_eq!(dialect.streamed_text(&stream.rest().await), GOOD, "{dialect:?}");
    }
    assert!(upstream.received().iter().all(|r| !r.is_stream()), "candidates are complete answers");
}

#[tokio::test]
async fn it_is_asked_for_by_header_by_metadata_and_by_switch() {
    let upstream = Upstream::start(script).await;
    let (_gateway, client) = gateway(&upstream, &format!("{CONFIG}, num_candidates: 2"), "").await;
    let check = async |path: &str, header: Option<(&str, &str)>, body: Value, candidates: usize| {
        let before = upstream.received().len();
        let request = client.request(Method::POST, path).header("content-type", "application/json");
        let request = header.into_iter().fold(request, |r, (name, value)| r.header(name, value));
        let answer = client.send(request.body(body.to_string())).await;
        assert_eq!((answer.status, upstream.received().len() - before), (200, candidates), "{header:?} {body}: {}", answer.text());
        let sent = upstream.received().pop().expect("it was asked").json();
        assert!(sent["metadata"].get("best_of_n").is_none(), "{sent}");
    };
    let with = |metadata: Value| {
        let mut body = Dialect::OpenAi.request("good", "x");
        body["metadata"] = metadata;
        body
    };
    let path = Dialect::OpenAi.path();
    check(path, None, Dialect::OpenAi.request("good", "x"), 1).await;
    check(path, Some((HEADER, "3")), Dialect::OpenAi.request("good", "x"), 3).await;
    check(path, Some(("x-wasmgate-extensions", "best-of-n=on")), Dialect::OpenAi.request("good", "x"), 2).await;
    // Switched off, the name of the model is an ordinary one.
    check(path, Some(("x-wasmgate-extensions", "best-of-n=off")), Dialect::OpenAi.request("best:3:good", "x"), 1).await;
    check(path, None, with(json!({"best_of_n": "3", "project": "p"})), 3).await;
    assert_eq!(upstream.received().pop().expect("it was asked").json()["metadata"], json!({"project": "p"}));
    check(path, None, with(json!({"best_of_n": {"num_candidates": 4}})), 4).await;
    let generate = |metadata: Value| json!({"provider": "up", "model": "good", "prompt": "x", "metadata": metadata});
    check("/api/generate", None, generate(json!({"best_of_n": 3})), 3).await;
    check("/api/generate", None, generate(json!({"extensions": {"best-of-n": true}})), 2).await;
    check("/api/generate", None, generate(json!({})), 1).await;
    check("/api/generate", None, json!({"provider": "up", "model": "best:3:good", "prompt": "x"}), 3).await;
}

#[tokio::test]
async fn numbers_that_make_no_sense_are_refused_with_those_that_do() {
    let upstream = Upstream::start(script).await;
    let (_gateway, client) = gateway(&upstream, CONFIG, "").await;
    for dialect in Dialect::ALL {
        for model in ["best:0:good", "best:999:good", "best:-1:good", "best:x:good", "best:3", "best:3:", "best:2:best:2:good"] {
            let answer = ask(&client, dialect, model).await;
            let (_, message) = dialect.error(&answer.json());
            assert_eq!(answer.status, 400, "{model}: {message}");
            assert!(message.contains("write `best:N:MODEL` with N from 1 to 8"), "{model}: {message}");
        }
    }
    // What holds no conversation has no candidates.
    let answer = client.post("/v1/embeddings", &json!({"model": "best:2:good", "input": "x"})).await;
    assert_eq!(answer.status, 400, "{}", answer.text());
    assert!(answer.text().contains("a call of `embeddings`"), "{}", answer.text());
    assert!(upstream.received().is_empty());
}

#[tokio::test]
async fn a_client_that_leaves_cancels_all_candidates() {
    let upstream = Upstream::start(script).await;
    let (_gateway, client) = gateway(&upstream, CONFIG, "").await;
    let own = json!({"model": "silent", "prompt": "x"});
    let dialect = Dialect::OpenAi;
    let cases = [
        ("unary", dialect.path(), dialect.request("best:3:silent", "x"), true),
        ("stream", dialect.path(), dialect.stream_request("best:3:silent", "x"), true),
        ("route", PATH, own, false),
        ("route-events", PATH, json!({"model": "silent", "prompt": "x", "stream": true}), false),
    ];
    for (n, (id, path, body, recorded)) in cases.into_iter().enumerate() {
        let request = client.request(Method::POST, path).header("x-request-id", id).header("content-type", "application/json");
        // Of events the head comes at once, and then nothing.
        let asked = request.body(body.to_string());
        let waiting = tokio::spawn(async { asked.send().await?.bytes().await });
        upstream.request(n * 3 + 2).await;
        let left = Instant::now();
        waiting.abort();
        for received in &upstream.received()[n * 3..] {
            let took = received.closed_after(left).await;
            assert!(took < Duration::from_secs(1), "{id}: it took {took:?}");
        }
        for number in 1..=3 {
            setup::assert_record(&client, &format!("{id}.{number}"), "cancelled").await;
        }
        if recorded {
            setup::assert_record(&client, id, "cancelled").await;
        }
    }
    assert_eq!(upstream.received().len(), 12);
}

#[tokio::test]
async fn candidates_that_fail_or_are_late_fail_nobody() {
    let upstream = Upstream::start(script).await;
    let (_gateway, client) = gateway(&upstream, &format!("{CONFIG}, budget_ms: 3000"), "").await;
    let answer = ask(&client, Dialect::OpenAi, "best:3:silent.fails.good").await;
    assert_eq!((answer.status, Dialect::OpenAi.text(&answer.json()).as_str()), (200, GOOD), "{}", answer.text());
    assert!(answer.header(HEADER).contains("scores=failed failed "), "{}", answer.header(HEADER));
    let answer = ask(&client, Dialect::OpenAi, "best:3:fails").await;
    let (_, message) = Dialect::OpenAi.error(&answer.json());
    assert_eq!((answer.status, message.contains("None of 3 candidates got an answer.")), (503, true), "{message}");
}

#[tokio::test]
async fn no_more_are_asked_for_than_are_needed_or_paid_for() {
    let upstream = Upstream::start(script).await;
    let check = async |config: &str, model: &str, asked: usize, stopped: &str| {
        let (_gateway, client) = gateway(&upstream, &format!("{CONFIG}, {config}"), "").await;
        let before = upstream.received().len();
        let answer = ask(&client, Dialect::OpenAi, model).await;
        assert_eq!(answer.status, 200, "{config}: {}", answer.text());
        assert_eq!(upstream.received().len() - before, asked, "{config} {model}");
        assert_eq!(answer.header(HEADER).split("stopped=").nth(1).unwrap_or_default(), stopped, "{config} {model}");
    };
    check("enough: {}", "best:3:good", 1, "enough").await;
    check("enough: {}", "best:3:open.good.good", 2, "enough").await;
    check("enough: {count: 2}", "best:3:good.good.good", 2, "enough").await;
    check("enough: {}", "best:3:open", 3, "").await;
    // Each takes 21 tokens.
    check("at_once: 1, budget_tokens: 42", "best:3:open", 2, "budget_tokens").await;
    check("at_once: 1, budget_tokens: 43", "best:3:open", 3, "").await;
    check("at_once: 1, budget_ms: 2000", "best:3:open.silent.good", 2, "budget_ms").await;
}

#[tokio::test]
async fn the_ledger_has_every_candidate_once() {
    let upstream = Upstream::start(script).await;
    let keys = format!(
        "api_keys: [{{key: {KEY}-a, name: a, rate_limit_rpm: 2, allowed_models: [good*], denied_models: [denied]}}]\nusage: {{enabled: true}}\n"
    );
    let (_gateway, client) = gateway(&upstream, CONFIG, &keys).await;
    let post = async |path: &str, id: &str, body: Value| {
        let request = client.request(Method::POST, path).header("content-type", "application/json").header("x-request-id", id);
        client.send(request.bearer_auth(format!("{KEY}-a")).body(body.to_string())).await
    };
    let answer = post(Dialect::OpenAi.path(), "outer", Dialect::OpenAi.request("best:3:good.open.fails", "x")).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.json()["usage"]["total_tokens"], 42, "what both that answered took");
    let outer = row(&client, "outer").await;
    assert_eq!(
        (&outer["depth"], &outer["total_tokens"], &outer["requested_model"]),
        (&json!(0), &Value::Null, &json!("best:3:good.open.fails"))
    );
    for (number, status, tokens) in [(1, "success", json!(21)), (2, "success", json!(21)), (3, "error", Value::Null)] {
        let inner = row(&client, &format!("outer.{number}")).await;
        let found = (&inner["depth"], &inner["status"], &inner["total_tokens"], &inner["api_key_name"]);
        assert_eq!(found, (&json!(1), &json!(status), &tokens, &json!("a")), "{inner}");
    }
    let total: u64 = rows(&client, "").await.iter().filter_map(|r| r["total_tokens"].as_u64()).sum();
    assert_eq!(total, 42, "nothing is counted twice");

    // What the key may not use, no candidate may, and the caller is told why.
    let answer = post(Dialect::OpenAi.path(), "denied", Dialect::OpenAi.request("best:2:denied", "x")).await;
    assert_eq!((answer.status, upstream.received().len()), (403, 3), "{}", answer.text());
    // Candidates are no requests of the caller: two are allowed in a minute, and this is the third.
    let answer = post(Dialect::OpenAi.path(), "third", Dialect::OpenAi.request("best:2:good", "x")).await;
    assert_eq!(answer.status, 429, "{}", answer.text());
    // The route is for callers with a key too.
    let answer = client.post(PATH, &json!({"model": "good", "prompt": "x"})).await;
    assert_ne!(answer.status, 200, "no key came with it: {}", answer.text());
}

#[tokio::test]
async fn functions_are_merged() {
    let upstream = Upstream::start(script).await;
    let (_gateway, client) = gateway(&upstream, &format!("{CONFIG}, synthesis_method: merge, num_candidates: 2"), "").await;
    // The first leaves a function open, the second has that one, and says of another that something is to do.
    let answer = client.post(PATH, &json!({"model": "stub.todo", "prompt": "x"})).await;
    let document = answer.json();
    let data = &document["data"];
    assert_eq!((answer.status, &data["chosen"]), (200, &json!(1)), "{data}");
    assert_eq!(data["merged"], json!([{"function": "quadruple", "from": 2}]), "{data}");
    assert_eq!(data["content"], GOOD, "{data}");
}

#[tokio::test]
async fn the_gateways_judge_has_a_say() {
    let upstream = Upstream::start(script).await;
    // It likes long answers.
    let judge = extensions::fixture("judges", "");
    let (_gateway, client) = gateway(&upstream, &format!("{CONFIG}, synthesis_method: judge"), &judge).await;
    let answer = client.post(PATH, &json!({"model": "a.a long one.mid", "prompt": "x"})).await;
    let document = answer.json();
    let data = &document["data"];
    assert_eq!((answer.status, &data["content"], &data["judges"]), (200, &json!("a long one"), &json!(["the gateway's judge"])), "{data}");
    assert_eq!(data["candidates"][1]["score"]["judge"], json!(1.0), "{data}");
}

#[tokio::test]
async fn the_route_tells_of_every_candidate() {
    let upstream = Upstream::start(script).await;
    let (_gateway, client) = gateway(&upstream, CONFIG, "").await;
    let body =
        json!({"model": "open.good.fails", "prompt": "Double it.", "num_candidates": 3, "synthesis_method": "vote", "max_tokens": 50});
    let answer = client.send(client.request(Method::POST, PATH).header("x-request-id", "route").body(body.to_string())).await;
    let document = answer.json();
    let data = &document["data"];
    assert_eq!((answer.status, &document["success"], &data["content"]), (200, &json!(true), &json!(GOOD)), "{document}");
    assert_eq!((&data["chosen"], &data["method"], &data["provider"]), (&json!(2), &json!("vote"), &json!("up")), "{document}");
    assert_eq!((&data["usage"]["total_tokens"], &data["candidates"][1]["request_id"]), (&json!(42), &json!("route.2")), "{document}");
    let score = &data["candidates"][0]["score"];
    assert_eq!((&score["valid"], &data["candidates"][2]["error"]["message"]), (&json!(false), &json!("busy")), "{document}");
    assert!(score["notes"][0].as_str().is_some_and(|n| n.starts_with("line ")), "{score}");
    assert_eq!(upstream.received()[0].json()["max_tokens"], 50);
    let answer = client.post(PATH, &json!({"model": "best:999:good", "prompt": "x"})).await;
    assert_eq!((answer.status, &answer.json()["success"]), (400, &json!(false)), "{}", answer.text());
}

/// An answer of the route as events: names and documents.
async fn events(client: &Client, body: Value) -> Vec<(String, Value)> {
    let mut stream = client.stream(PATH, &body).await;
    assert_eq!((stream.status, stream.header("content-type")), (200, "text/event-stream"));
    let events = stream.rest().await;
    events.into_iter().map(|e| (e.name, serde_json::from_str(&e.data).expect("data is JSON"))).collect()
}

#[tokio::test]
async fn the_route_tells_of_candidates_as_they_come() {
    let gate = Gate::default();
    let wait = gate.clone();
    let upstream = Upstream::start(move |r: &Received| {
        let known = script(r);
        // The first one comes when the others were told of.
        if r.model() == "open.good.fails" && r.json()["temperature"] == 0.0 { known.after(wait.clone()) } else { known }
    })
    .await;
    let (_gateway, client) = gateway(&upstream, CONFIG, "").await;
    let body = json!({"model": "open.good.fails", "prompt": "Double it.", "num_candidates": 3, "stream": true});
    let mut stream = client.stream(PATH, &body).await;
    let mut next = async || {
        let event = stream.next().await.expect("there is more");
        (event.name, serde_json::from_str::<Value>(&event.data).expect("data is JSON"))
    };
    let (name, asked) = next().await;
    let whom = json!({"number": 2, "model": "open.good.fails", "provider": null, "temperature": 0.5});
    assert_eq!((name.as_str(), &asked["candidates"][1], asked["candidates"].as_array().map(Vec::len)), ("asked", &whom, Some(3)));
    let mut came = [next().await, next().await];
    came.sort_by_key(|(_, c)| c["number"].as_u64());
    let [(_, good), (_, failed)] = &came;
    assert!(came.iter().all(|(name, _)| name == "candidate"), "{came:?}");
    assert_eq!((&good["number"], &good["content"], &good["usage"]["completion_tokens"]), (&json!(2), &json!(GOOD), &json!(12)));
    assert_eq!((&failed["number"], &failed["error"]["message"], failed.get("content")), (&json!(3), &json!("busy"), None));
    gate.open();
    let (name, last) = next().await;
    assert_eq!((name.as_str(), &last["number"], last.get("score")), ("candidate", &json!(1), None));
    assert_eq!(next().await.0, "judging");
    // At the end there is what the route tells without events.
    let (name, done) = next().await;
    assert_eq!((name.as_str(), &done["success"], &done["data"]["chosen"]), ("done", &json!(true), &json!(2)), "{done}");
    assert_eq!((&done["data"]["content"], &done["data"]["candidates"][0]["score"]["valid"]), (&json!(GOOD), &json!(false)), "{done}");
    assert!(stream.next().await.is_none());

    // One after the other: it is told when the next ones are asked.
    let (_gateway, client) = gateway(&upstream, &format!("{CONFIG}, at_once: 1"), "").await;
    let told = events(&client, json!({"model": "good", "prompt": "x", "num_candidates": 2, "stream": true})).await;
    let names: Vec<&str> = told.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["asked", "candidate", "asked", "candidate", "judging", "done"]);
    assert_eq!(told[2].1["candidates"][0]["number"], 2);
    // When nobody answers, the end is the error.
    let told = events(&client, json!({"model": "fails", "prompt": "x", "num_candidates": 1, "stream": true})).await;
    let (name, error) = told.last().expect("there are events");
    assert_eq!((name.as_str(), &error["success"], error["error"]["message"].is_string()), ("error", &json!(false), true), "{error}");
    // What is wrong with the request is told before any event, as without them.
    for (body, part) in
        [(json!({"model": "good", "stream": true}), "`prompt`"), (json!({"model": "good", "prompt": "x", "stream": 1}), "`stream`")]
    {
        let answer = client.post(PATH, &body).await;
        assert_eq!((answer.status, answer.text().contains(part)), (400, true), "{}", answer.text());
    }
}

#[tokio::test]
async fn candidates_never_ask_for_candidates() {
    let upstream = Upstream::start(script).await;
    let (_gateway, client) = gateway(&upstream, &format!("{CONFIG}, targets: [careful]"), "aliases: {careful: \"best:2:good\"}\n").await;
    // An alias may lead there for a caller; the candidate that is asked of it is refused, and the others answer.
    let request = client.request(Method::POST, Dialect::OpenAi.path()).header(HEADER, "3").header("content-type", "application/json");
    let answer = client.send(request.body(Dialect::OpenAi.request("good", "x").to_string())).await;
    assert_eq!((answer.status, upstream.received().len()), (200, 2), "{}", answer.text());
    assert!(answer.header(HEADER).ends_with("scores=1.00 failed 1.00"), "{}", answer.header(HEADER));
    let answer = ask(&client, Dialect::OpenAi, "careful").await;
    assert_eq!((answer.status, upstream.received().len()), (200, 3), "{}", answer.text());
}

#[tokio::test]
async fn without_the_grant_it_is_loaded_and_refuses() {
    let upstream = Upstream::start(script).await;
    let config = format!("default_provider: up\n{}", setup::config(&setup::provider(Dialect::OpenAi, &upstream), "  best_of_n: {}\n"));
    let finished = ConfigFile::new(&config).check(&[]);
    assert_eq!(finished.code, 0, "{finished:?}");
    for part in ["warning", "`best-of-n` was not granted `generate`", "Set `extensions.best-of-n.grant: ["] {
        assert!(finished.stderr.contains(part), "{part}: {}", finished.stderr);
    }
    let gateway = Gateway::start(&config).await;
    let client = Client::new(&gateway);
    let answer = ask(&client, Dialect::OpenAi, "best:2:good").await;
    assert_eq!((answer.status, upstream.received().len()), (403, 0), "{}", answer.text());
    assert!(answer.text().contains("did not grant"), "{}", answer.text());
    assert_eq!(ask(&client, Dialect::OpenAi, "good").await.status, 200);
}

/// Functions of a large answer, in Python.
fn large(function: impl Fn(usize) -> String) -> String {
    let mut code = String::from("```python\n");
    for n in 0.. {
        if code.len() > 100_000 {
            break;
        }
        code.push_str(&function(n));
    }
    code + "```\n"
}

#[tokio::test]
async fn large_candidates_cost_nobody_the_answer() {
    let whole = large(|n| format!("def f{n}(x):\n    return g{n}(x) + {n}\n\n"));
    let stubs = large(|n| format!("def f{n}(x):\n    pass\n\ndef g{n}(x):\n    return x\n\n"));
    let broken = large(|n| format!("def f{n}(x):\n    return (x\n\n"));
    let texts = [broken, stubs, whole];
    let known = texts.clone();
    let upstream = Upstream::start(move |r: &Received| {
        let number = (r.json()["temperature"].as_f64().unwrap_or(0.0) * 2.0).round() as usize;
        document(&known[number], "m")
    })
    .await;
    for method in ["merge", "vote"] {
        // What grows with the square of 100 KB takes minutes, wherever this runs. What grows with it, and has time by what it reads, does not.
        let best = format!("{GRANT}, limits: {{cpu_ms: 100, cpu_ms_per_mib: 500}}, config: {{{CONFIG}, synthesis_method: {method}}}");
        let config = setup::config(&setup::provider(Dialect::OpenAi, &upstream), &format!("  best_of_n: {{{best}}}\n"));
        let gateway = Gateway::start(&format!("default_provider: up\n{config}")).await;
        let answer = ask(&Client::new(&gateway), Dialect::OpenAi, "best:3:m").await;
        assert_eq!(answer.status, 200, "{method}: {}", answer.text());
        let text = Dialect::OpenAi.text(&answer.json());
        assert!(text == texts[1] || text == texts[2], "{method}: {}", answer.header(HEADER));
        assert!(answer.header(HEADER).contains("(invalid)"), "{method}: {}", answer.header(HEADER));
        assert_eq!(answer.json()["usage"]["total_tokens"], 63, "{method}: all of them are counted");
    }
}

#[tokio::test]
async fn candidates_give_time_to_be_read() {
    let long = large(|n| format!("def f{n}(x):\n    return [x, {{'a': {n}}}, lambda y: y + {n}]\n\n")).replace("```", "");
    let long = format!("```python\n{}```\n", long.repeat(6).replace("python\n", ""));
    let upstream = Upstream::start(move |_: &Received| document(&long, "m")).await;
    let ask_with = async |limits: &str| {
        let best = format!("{GRANT}, limits: {{{limits}}}, config: {{{CONFIG}, max_bytes: 4000000}}");
        let config = setup::config(&setup::provider(Dialect::OpenAi, &upstream), &format!("  best_of_n: {{{best}}}\n"));
        let gateway = Gateway::start(&format!("default_provider: up\n{config}")).await;
        let answer = ask(&Client::new(&gateway), Dialect::OpenAi, "best:3:m").await;
        (answer.status, gateway)
    };
    let (status, gateway) = ask_with("cpu_ms: 3, cpu_ms_per_mib: 0").await;
    assert_eq!(status, 500);
    gateway.log_line("the limit", |l| l["limit"] == "cpu_ms" && l["extension"] == "best-of-n").await;
    assert_eq!(ask_with("cpu_ms: 3, cpu_ms_per_mib: 4000").await.0, 200);
}

#[tokio::test]
async fn a_race_for_quality_is_judged_by_what_parses() {
    // Whoever does not parse what they say likes the longer one.
    let wordy =
        format!("{}\n```python\ndef double(x)\n    return x * 2\n```\n{}", "It is at length. ".repeat(20), "That is all. ".repeat(20));
    let upstream = Upstream::start(move |r: &Received| document(if r.model() == "wordy" { &wordy } else { GOOD }, &r.model())).await;
    let race = "  race: {type: racing, config: {strategy: quality, timeout_ms: 20000, \
                providers: [{provider: up, model: wordy}, {provider: up, model: sound}]}}\n";
    let providers = format!("{}{race}", setup::provider(Dialect::OpenAi, &upstream));
    let gateway = Gateway::start(&setup::config(&providers, &format!("  best_of_n: {{{GRANT}}}\n"))).await;
    let answer = ask(&Client::new(&gateway), Dialect::OpenAi, "race/m").await;
    assert_eq!((answer.status, Dialect::OpenAi.text(&answer.json()).as_str()), (200, GOOD), "{}", answer.text());
}

#[tokio::test]
async fn names_with_a_number_are_asked_for_and_not_listed() {
    let upstream = Upstream::start(script).await;
    let (_gateway, client) = gateway(&upstream, CONFIG, "aliases: {careful: \"best:3:open.good.fails\"}\n").await;
    let listed = client.get("/v1/models").await.json();
    let names: Vec<&str> = listed["data"].as_array().expect("a list").iter().filter_map(|m| m["id"].as_str()).collect();
    // Neither the pattern, which is no model, nor what stands for one, of which nobody knows the provider before it is asked for.
    assert_eq!(names, Vec::<&str>::new());
    let answer = ask(&client, Dialect::OpenAi, "careful").await;
    assert_eq!((answer.status, Dialect::OpenAi.text(&answer.json()).as_str()), (200, GOOD), "{}", answer.text());
}
