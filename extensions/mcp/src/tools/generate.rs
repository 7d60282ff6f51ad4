//! `generate`: one request to a model, read as it comes.

use serde_json::{Map, Value, json};
use wasmgate_sdk::codec::Format;
use wasmgate_sdk::codec::formats::OpenaiChat;
use wasmgate_sdk::format;
use wasmgate_sdk::generate::{self, GenerateOptions};
use wasmgate_sdk::hub::{ChatAnswer, ChatRequest, Collector, Delta, FinishReason, StreamEvent};

use super::{hints, object, open, text, tokens};
use crate::Settings;
use crate::args::Args;
use crate::outcome::{Failed, Outcome};
use crate::transport::Report;

/// Bytes of an answer between two notes of its progress.
const STEP: usize = 512;

/// Most tokens that can be asked for.
pub const MOST_TOKENS: u64 = 1_000_000;

pub fn describe() -> Value {
    json!({
        "title": "Ask a model",
        "description": "Sends a prompt to a model of the gateway and gives its answer.",
        "inputSchema": object(&["prompt"], json!({
            "prompt": text("What is asked."),
            "system": text("Instructions that come before it."),
            "model": text("A model, an alias or `provider/model`; `list_models` says which there are."),
            "max_tokens": {"type": "integer", "minimum": 1, "description": "Longest answer, in tokens."},
            "temperature": {"type": "number", "minimum": 0, "maximum": 2, "description": "Left to the provider when it is not there."},
        })),
        "outputSchema": open(&["content", "model"], json!({
            "content": {"type": "string"},
            "model": {"type": "string"},
            "provider": {"type": ["string", "null"]},
            "finish_reason": {"type": ["string", "null"]},
            "usage": tokens(),
        })),
        "annotations": hints("Ask a model", true, false, false, true),
    })
}

pub fn run(settings: &Settings, given: &Map<String, Value>, report: &mut Report<'_>) -> Result<Outcome, Failed> {
    let args = Args::new(given, &["prompt", "system", "model", "max_tokens", "temperature"])?;
    let mut messages = Vec::new();
    let prompt = args.need("prompt")?;
    if let Some(system) = args.text("system")? {
        messages.push(json!({"role": "system", "content": system}));
    }
    messages.push(json!({"role": "user", "content": prompt}));
    let request = request(settings, &args, messages, args.number("temperature", 0.0, 2.0)?)?;
    let answered = ask(&request, report)?;
    Ok(Outcome { text: answered.content.clone(), data: answered.data() })
}

/// A request for an answer to these messages.
pub fn request(settings: &Settings, args: &Args<'_>, messages: Vec<Value>, temperature: Option<f64>) -> Result<ChatRequest, Failed> {
    let model = model(settings, args)?;
    let max_tokens = args.whole("max_tokens", 1, MOST_TOKENS)?.unwrap_or(settings.max_tokens);
    let mut body = json!({"model": model, "messages": messages, "max_completion_tokens": max_tokens, "stream": true});
    if let Some(temperature) = temperature {
        body["temperature"] = temperature.into();
    }
    Ok(format::decode::<OpenaiChat>(body.to_string().as_bytes())?)
}

/// The model of a call.
pub fn model<'a>(settings: &'a Settings, args: &Args<'a>) -> Result<&'a str, Failed> {
    let model = args.text("model")?.or(settings.default_model.as_deref());
    let model = model.ok_or_else(|| "`model` is missing; name one of `list_models` (the gateway has no `default_model`).".to_owned())?;
    format::check_model(model)?;
    Ok(model)
}

/// An answer.
pub struct Answered {
    /// What the model said.
    pub content: String,
    answer: ChatAnswer,
    provider: Option<String>,
}

impl Answered {
    /// An answer that came to its own end; otherwise why it did not.
    pub fn is_whole(&self) -> Result<(), Failed> {
        let why = match self.finish() {
            None | Some("stop" | "other") => return Ok(()),
            Some("length") => "The answer ended at its limit of tokens, so the file would be cut off; ask with a larger `max_tokens`.",
            Some("content_filter" | "refusal") => "The model, or its provider, declined to write the file.",
            Some(_) => "The answer was not the end of it, so the file would be cut off.",
        };
        Err(Failed::Told(why.into()))
    }

    fn finish(&self) -> Option<&'static str> {
        Some(match self.answer.choices.first()?.finish.as_ref()? {
            FinishReason::Stop | FinishReason::StopSequence(_) => "stop",
            FinishReason::Length => "length",
            FinishReason::ToolCalls => "tool_calls",
            FinishReason::ContentFilter => "content_filter",
            FinishReason::Refusal => "refusal",
            FinishReason::Pause => "pause",
            FinishReason::Other(_) => "other",
        })
    }

    /// For programs.
    pub fn data(&self) -> Value {
        json!({
            "content": self.content, "model": self.answer.model, "provider": self.provider,
            "finish_reason": self.finish(), "usage": self.usage(),
        })
    }

    /// Who answered, and the tokens.
    pub fn source(&self) -> (Value, Value, Value) {
        (self.answer.model.as_str().into(), json!(self.provider), self.usage())
    }

    fn usage(&self) -> Value {
        json!(self.answer.usage.as_ref().map(|u| json!({"input_tokens": u.input_tokens, "output_tokens": u.output_tokens})))
    }
}

/// Asks, tells how far the answer is, and stops when nobody waits for it any more.
pub fn ask(request: &ChatRequest, report: &mut Report<'_>) -> Result<Answered, Failed> {
    report.slow();
    let stream = generate::open(request, &GenerateOptions::default())?;
    let mut collector = Collector::new(Format::OpenaiChat);
    let (mut written, mut told) = (0_usize, 0);
    loop {
        let events = stream.next()?;
        report.look()?;
        if events.is_empty() {
            break;
        }
        for event in &events {
            if let StreamEvent::BlockDelta(delta) = event
                && let Delta::Text(text) | Delta::Thinking(text) = &delta.delta
            {
                written += text.len();
            }
            collector.push(event);
        }
        if written > 0 && (told == 0 || written - told >= STEP) {
            told = written;
            report.progress(written as f64, None, &format!("{written} bytes written"))?;
        }
    }
    collector.push(&StreamEvent::End);
    let provider = stream.served_by().map(|target| target.provider);
    let answer = collector.finish()?;
    Ok(Answered { content: answer.text(), answer, provider })
}
