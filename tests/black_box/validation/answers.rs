//! Answers of models, complete and as streams.

use serde_json::{Value, json};
use wasmgate_tests::answers::{Call, Says};
use wasmgate_tests::client::Event;
use wasmgate_tests::{Answer, Client, Dialect, Gateway, Reply, Upstream};

use crate::setup;

const GOOD: &str = "Here:\n\n```python\ndef a(b):\n    return (b)\n```\n";
const BROKEN: &str = "Here:\n\n```python\ndef a(b):\n    return (b\n```\n";
const HOPELESS: &str = "Here:\n\n```python\ndef a(b) return b] otherwise c\n```\n";
const SEVERAL: &str = "Two examples:\n\n```json\n{\"a\": 1}\n{\"b\": 2}\n```\n";
const PROSE: &str = "There is no code in this.";
const HEADER: &str = "x-wasmgate-validation";

/// A gateway with these settings in front of an upstream that says what the model is called after.
async fn gateway(format: Dialect, settings: &str) -> (Upstream, Gateway, Client) {
    let upstream = Upstream::start(move |r| {
        let asked_again = r.json().to_string().contains("does not parse");
        match r.model().as_str() {
            "good" => Says::text(GOOD),
            "broken" => Says::text(BROKEN),
            "prose" => Says::text(PROSE),
            "learns" if asked_again => Says::text(GOOD),
            "call" => Says { calls: &CALL, ..Says::default() },
            "cut-call" => Says { calls: &CUT_CALL, ..Says::default() },
            "long-call" => Says { calls: &CUT_CALL, stop: Some("length"), ..Says::default() },
            "several" => Says::text(SEVERAL),
            _ => Says::text(HOPELESS),
        }
        .reply(format, r)
    })
    .await;
    let gateway =
        Gateway::start(&setup::config(&setup::provider(format, &upstream), &format!("  validation: {{config: {settings}}}\n"))).await;
    let client = Client::new(&gateway);
    (upstream, gateway, client)
}

/// A call that writes a file which does not parse.
const CALL: [Call; 1] =
    [Call { id: "call_1", name: "write", arguments: &["{\"path\": \"src/a.go\", \"content\": ", "\"package a\\n\\nfunc b() {\\n\"}"] }];

/// A call that breaks off.
const CUT_CALL: [Call; 1] = [Call { id: "call_1", name: "write", arguments: &["{\"path\": \"a.txt\", \"lines\": [1, 2"] }];

async fn ask(client: &Client, dialect: Dialect, model: &str) -> Answer {
    let answer = client.post(dialect.path(), &dialect.request(model, "x")).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer
}

#[tokio::test]
async fn what_was_found_is_in_a_header() {
    for format in Dialect::ALL {
        let (_upstream, _gateway, client) = gateway(format, "{}").await;
        for (model, text, header) in
            [("good", GOOD, "valid; blocks=1, valid=1"), ("broken", BROKEN, "invalid; blocks=1, invalid=1"), ("prose", PROSE, "")]
        {
            let answer = ask(&client, format, model).await;
            assert_eq!((format.text(&answer.json()).as_str(), answer.header(HEADER)), (text, header), "{format:?} {model}");
            // Nothing was changed, not even a space.
            assert_eq!(answer.text(), Says::text(text).document(format, model).to_string(), "{format:?} {model}");
        }
    }
}

#[tokio::test]
async fn languages_that_nobody_wants_are_not_looked_at() {
    let (_upstream, _gateway, client) = gateway(Dialect::OpenAi, "{languages: [go, rust]}").await;
    assert_eq!(ask(&client, Dialect::OpenAi, "broken").await.header(HEADER), "");
}

#[tokio::test]
async fn code_is_repaired() {
    for (dialect, format) in Dialect::PAIRS {
        let (upstream, _gateway, client) = gateway(format, "{auto_fix: true, languages: [python]}").await;
        let answer = ask(&client, dialect, "broken").await;
        let text = dialect.text(&answer.json());
        assert_eq!((text.as_str(), answer.header(HEADER)), (GOOD, "fixed; blocks=1, fixed=1"), "{dialect:?} on {format:?}");
        let answer = ask(&client, dialect, "hopeless").await;
        assert_eq!((dialect.text(&answer.json()).as_str(), answer.header(HEADER)), (HOPELESS, "invalid; blocks=1, invalid=1"));
        assert_eq!(upstream.received().len(), 2, "nobody asked to try again");
    }
}

#[tokio::test]
async fn whole_lines_are_not_taken_away_from_what_did_not_break_off() {
    let format = Dialect::OpenAi;
    let (_upstream, _gateway, client) = gateway(format, "{auto_fix: true}").await;
    let answer = ask(&client, format, "several").await;
    assert_eq!((format.text(&answer.json()).as_str(), answer.header(HEADER)), (SEVERAL, "invalid; blocks=1, invalid=1"));
}

#[tokio::test]
async fn arguments_of_calls_are_looked_at() {
    let format = Dialect::OpenAi;
    let (_upstream, _gateway, client) = gateway(format, "{auto_fix: true}").await;
    let arguments = |answer: &Answer| {
        let document = answer.json();
        let text = document["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"].as_str().unwrap_or_default().to_owned();
        serde_json::from_str::<Value>(&text).unwrap_or_else(|e| panic!("{e}: {text}"))
    };
    let answer = ask(&client, format, "call").await;
    // Code in a call may be a piece of a file: it goes out as it came.
    assert_eq!(answer.header(HEADER), "invalid; blocks=1, invalid=1");
    assert_eq!(arguments(&answer), json!({"path": "src/a.go", "content": "package a\n\nfunc b() {\n"}));
    let answer = ask(&client, format, "cut-call").await;
    assert_eq!(answer.header(HEADER), "fixed; blocks=1, fixed=1");
    assert_eq!(arguments(&answer), json!({"path": "a.txt", "lines": [1, 2]}));
    // The model did not come to the end of it: whole, it would be another call.
    let answer = ask(&client, format, "long-call").await;
    assert_eq!(answer.header(HEADER), "invalid; blocks=1, invalid=1");
    let said = answer.json()["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"].clone();
    assert_eq!(said, CUT_CALL[0].arguments.concat());

    let (_upstream, _gateway, client) = gateway(format, "{tool_arguments: false}").await;
    assert_eq!(ask(&client, format, "call").await.header(HEADER), "");
}

#[tokio::test]
async fn a_model_that_is_told_what_is_wrong_answers_again() {
    for (dialect, format) in Dialect::PAIRS {
        let (upstream, _gateway, client) = gateway(format, "{retries: 2}").await;
        let answer = ask(&client, dialect, "learns").await;
        let text = dialect.text(&answer.json());
        assert_eq!((text.as_str(), answer.header(HEADER)), (GOOD, "valid; blocks=1, valid=1, retries=1"), "{dialect:?} on {format:?}");
        assert_eq!(upstream.received().len(), 2);
        let again = upstream.request(1).await.json().to_string();
        assert!(again.contains("otherwise c") && again.contains("Python") && again.contains("line 1"), "{again}");

        // One that does not learn is asked as often as the configuration says.
        let answer = ask(&client, dialect, "hopeless").await;
        assert_eq!((dialect.text(&answer.json()).as_str(), answer.header(HEADER)), (HOPELESS, "invalid; blocks=1, invalid=1, retries=2"));
        assert_eq!(upstream.received().len(), 5);
    }
}

#[tokio::test]
async fn retries_end_with_their_tokens() {
    let (upstream, _gateway, client) = gateway(Dialect::OpenAi, "{retries: 3, retry_tokens: 1}").await;
    let answer = ask(&client, Dialect::OpenAi, "hopeless").await;
    assert_eq!((answer.header(HEADER), upstream.received().len()), ("invalid; blocks=1, invalid=1", 1));
}

#[tokio::test]
async fn streams_are_held_back_where_that_is_wanted() {
    for (dialect, format) in Dialect::PAIRS {
        let (_upstream, _gateway, client) = gateway(format, "{auto_fix: true, streams: buffer}").await;
        let answer = client.post(dialect.path(), &dialect.stream_request("broken", "x")).await;
        let events = Event::all(&answer.text());
        assert!(answer.status == 200 && dialect.is_end(events.last().expect("events")), "{}", answer.text());
        assert_eq!(
            (dialect.streamed_text(&events).as_str(), answer.header(HEADER)),
            (GOOD, "fixed; blocks=1, fixed=1"),
            "{dialect:?} on {format:?}"
        );
    }
}

#[tokio::test]
async fn streams_that_pass_say_what_is_wrong_at_their_end() {
    for (dialect, format) in Dialect::PAIRS {
        let (_upstream, _gateway, client) = gateway(format, "{auto_fix: true, streams: annotate}").await;
        let stream = async |model: &str| {
            let answer = client.post(dialect.path(), &dialect.stream_request(model, "x")).await;
            let events = Event::all(&answer.text());
            assert!(answer.status == 200 && dialect.is_end(events.last().expect("events")), "{}", answer.text());
            dialect.streamed_text(&events)
        };
        assert_eq!(stream("good").await, GOOD, "{dialect:?} on {format:?}");
        let text = stream("broken").await;
        let note = text.strip_prefix(BROKEN).unwrap_or_else(|| panic!("{text}"));
        assert!(note.contains("does not parse") && note.contains("the code at line 4, line "), "{dialect:?} on {format:?}: {note}");
    }
}

#[tokio::test]
async fn callers_choose_for_a_stream() {
    let format = Dialect::OpenAi;
    let (_upstream, _gateway, client) = gateway(format, "{auto_fix: true}").await;
    let stream = async |word: &str| {
        let body = format.stream_request("broken", "x").to_string();
        let request = client.request(http::Method::POST, format.path()).header(HEADER, word).header("content-type", "application/json");
        client.send(request.body(body)).await
    };
    assert_eq!(format.streamed_text(&Event::all(&stream("pass").await.text())), BROKEN);
    let held = stream("buffer").await;
    assert_eq!((format.streamed_text(&Event::all(&held.text())).as_str(), held.header(HEADER)), (GOOD, "fixed; blocks=1, fixed=1"));
    let refused = stream("always").await;
    assert_eq!(refused.status, 400);
    let (_, message) = format.error(&refused.json());
    assert!(message.contains("`x-wasmgate-validation` is `always`; it can be `pass`, `annotate` or `buffer`"), "{message}");
}

#[tokio::test]
async fn a_long_answer_gives_time_to_be_read() {
    // The request is short; what takes the time is the answer.
    let code = "value = [x, {'a': 1}, lambda y: y + 1]\n".repeat(20_000);
    let upstream = Upstream::start(move |r| {
        let mut document = Says::text("").document(Dialect::OpenAi, &r.model());
        document["choices"][0]["message"]["content"] = format!("```python\n{code}```\n").into();
        Reply::json(200, &document)
    })
    .await;
    let ask = async |limits: &str| {
        let extension = format!("  validation: {{limits: {{memory_mb: 256, {limits}}}, config: {{max_bytes: 4000000}}}}\n");
        let gateway = Gateway::start(&setup::config(&setup::provider(Dialect::OpenAi, &upstream), &extension)).await;
        let answer = Client::new(&gateway).post(Dialect::OpenAi.path(), &Dialect::OpenAi.request("m", "x")).await;
        (answer.status, answer.header(HEADER).to_owned(), gateway)
    };
    let (status, _, gateway) = ask("cpu_ms: 3, cpu_ms_per_mib: 0").await;
    assert_eq!(status, 500);
    gateway.log_line("the limit", |l| l["limit"] == "cpu_ms" && l["extension"] == "validation").await;
    let (status, header, _gateway) = ask("cpu_ms: 3, cpu_ms_per_mib: 4000").await;
    assert_eq!((status, header.as_str()), (200, "valid; blocks=1, valid=1"));
}
