//! An upstream that answers OpenAI chat completions from memory. What it costs itself is on another CPU than what is measured.

use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Either, Full};
use hyper::body::{Body, Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};

/// Bytes of a complete answer, roughly.
const ANSWER_BYTES: usize = 1024;

/// How the upstream is started.
#[derive(clap::Args)]
pub struct Options {
    /// Port of loopback to listen on.
    #[arg(long)]
    port: u16,
}

/// What matters of a request.
#[derive(Deserialize)]
struct Wish {
    #[serde(default)]
    stream: bool,
    /// How many chunks of text a stream has.
    #[serde(alias = "max_completion_tokens", default)]
    max_tokens: usize,
    #[serde(default)]
    stream_options: StreamOptions,
}

#[derive(Default, Deserialize)]
struct StreamOptions {
    #[serde(default)]
    include_usage: bool,
}

/// Everything that is ever said, made beforehand.
#[derive(Clone)]
struct Script {
    answer: Bytes,
    role: Bytes,
    text: Bytes,
    finish: Bytes,
    usage: Bytes,
}

/// A stream's body: an event at a time. Between two it lets the connection write, so that each is a write of its own as with a model.
struct Events {
    script: Script,
    next: usize,
    texts: usize,
    usage: bool,
    breathes: bool,
}

/// Serves until it is told to end.
pub fn main(options: Options) -> anyhow::Result<()> {
    // One thread: it shares its CPU with the load.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, options.port)).await?;
        let script = Script::new();
        loop {
            let (tcp, _) = listener.accept().await?;
            tokio::spawn(connection(tcp, script.clone()));
        }
    })
}

async fn connection(tcp: TcpStream, script: Script) {
    // Where the system refuses it, the measurement shows it.
    let _ = tcp.set_nodelay(true);
    let service = service_fn(move |request| {
        let script = script.clone();
        async move { Ok::<_, Infallible>(answer(script, request).await) }
    });
    // Whoever is measured ends with its connections open.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(tcp), service).await;
}

async fn answer(script: Script, request: Request<Incoming>) -> Response<Either<Full<Bytes>, Events>> {
    if request.method() == http::Method::GET {
        return Response::new(Either::Left(Full::new(Bytes::from_static(b"ok"))));
    }
    let wish = match request.into_body().collect().await {
        Ok(body) => serde_json::from_slice::<Wish>(&body.to_bytes()).map_err(|e| e.to_string()),
        Err(error) => Err(error.to_string()),
    };
    let (kind, body) = match wish {
        Err(reason) => {
            let mut response = Response::new(Either::Left(Full::new(reason.into())));
            *response.status_mut() = StatusCode::BAD_REQUEST;
            return response;
        }
        Ok(wish) if wish.stream => {
            let events = Events { script, next: 0, texts: wish.max_tokens, usage: wish.stream_options.include_usage, breathes: false };
            ("text/event-stream; charset=utf-8", Either::Right(events))
        }
        Ok(_) => ("application/json", Either::Left(Full::new(script.answer))),
    };
    let mut response = Response::new(body);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

impl Script {
    fn new() -> Self {
        let usage = json!({
            "prompt_tokens": 150, "completion_tokens": 200, "total_tokens": 350,
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        });
        let answer = |text: &str| {
            let message = json!({"role": "assistant", "content": text, "refusal": null, "annotations": []});
            let choices = json!([{"index": 0, "message": message, "logprobs": null, "finish_reason": "stop"}]);
            json!({
                "id": ID, "object": "chat.completion", "created": CREATED, "model": MODEL, "choices": choices, "usage": usage,
                "service_tier": "default", "system_fingerprint": "fp_benchmark",
            })
            .to_string()
        };
        let filler = "A short answer has a few sentences. ".repeat(ANSWER_BYTES / 36);
        let length = ANSWER_BYTES - answer("").len();
        let chunk = |choices: &serde_json::Value, usage: &serde_json::Value| {
            let chunk = json!({
                "id": ID, "object": "chat.completion.chunk", "created": CREATED, "model": MODEL, "service_tier": "default",
                "system_fingerprint": "fp_benchmark", "choices": choices, "usage": usage,
            });
            Bytes::from(format!("data: {chunk}\n\n"))
        };
        let delta = |delta: serde_json::Value, finish: Option<&str>| {
            chunk(&json!([{"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish}]), &serde_json::Value::Null)
        };
        Self {
            answer: answer(&filler[..length]).into(),
            role: delta(json!({"role": "assistant", "content": "", "refusal": null}), None),
            text: delta(json!({"content": " token"}), None),
            finish: delta(json!({}), Some("stop")),
            usage: chunk(&json!([]), &usage),
        }
    }
}

const ID: &str = "chatcmpl-BenchBenchBenchBenchBenchBe";
const MODEL: &str = "gpt-4o-mini-2024-07-18";
const CREATED: u64 = 1_750_000_000;
const DONE: Bytes = Bytes::from_static(b"data: [DONE]\n\n");

impl Events {
    /// Event number `n`: the role, the texts, the finish, perhaps the usage, the end.
    fn event(&self, n: usize) -> Option<Bytes> {
        let script = &self.script;
        match n.checked_sub(1) {
            None => Some(script.role.clone()),
            Some(n) if n < self.texts => Some(script.text.clone()),
            Some(n) => match (n - self.texts, self.usage) {
                (0, _) => Some(script.finish.clone()),
                (1, true) => Some(script.usage.clone()),
                (1, false) | (2, true) => Some(DONE),
                _ => None,
            },
        }
    }
}

impl Body for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if std::mem::take(&mut self.breathes) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let event = self.event(self.next);
        self.next += 1;
        self.breathes = true;
        Poll::Ready(event.map(|bytes| Ok(Frame::data(bytes))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(usage: bool) -> Vec<String> {
        let events = Events { script: Script::new(), next: 0, texts: 2, usage, breathes: false };
        (0..10).map_while(|n| events.event(n)).map(|b| String::from_utf8(b.to_vec()).unwrap()).collect()
    }

    #[test]
    fn a_stream_has_as_many_texts_as_tokens() {
        let plain = events(false);
        assert_eq!(plain.len(), 5);
        assert!(plain[0].contains("\"role\"") && plain[1].contains(" token") && plain[2] == plain[1]);
        assert!(plain[3].contains("\"stop\"") && plain[4] == "data: [DONE]\n\n");
        let counted = events(true);
        assert_eq!(counted.len(), 6);
        assert!(counted[4].contains("prompt_tokens"));
    }

    #[test]
    fn an_answer_has_its_size() {
        assert_eq!(Script::new().answer.len(), ANSWER_BYTES);
    }

    #[test]
    fn the_wish_is_read_from_either_name() {
        let wish: Wish = serde_json::from_str(r#"{"model":"m","messages":[{"a":1}],"max_completion_tokens":7,"stream":true}"#).unwrap();
        assert!(wish.stream && wish.max_tokens == 7 && !wish.stream_options.include_usage);
    }
}
