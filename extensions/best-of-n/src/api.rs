//! `POST /api/best-of-n`: a prompt in, an answer with all candidates and their scores out, with the wrapper of the operators' interface.
//! With `stream` it tells of the candidates as they come, and of the same at the end.

use serde_json::{Map, Value, json};
use wasmgate_sdk::codec::formats::OpenaiChat;
use wasmgate_sdk::prelude::*;
use wasmgate_sdk::{Outgoing, format, wrapped};

use crate::Settings;
use crate::asked::{self, invalid};
use crate::run::{self, Asked, Done, Progress, Task};

/// What a body may have.
const MEMBERS: [&str; 10] =
    ["model", "targets", "prompt", "messages", "num_candidates", "synthesis_method", "max_tokens", "temperature", "tools", "stream"];

/// Answers.
pub fn answer(settings: &Settings, body: &[u8], out: &mut dyn Outgoing) {
    match task(settings, body) {
        Ok((task, false)) => match run::run(settings, task, &mut |_| ()) {
            Ok(done) => out.reply(&wrapped::reply(200, &wrapped::data(&data(&done)))),
            Err(error) => out.reply(&refusal(&error)),
        },
        Ok((task, true)) => stream(settings, task, out),
        Err(error) => out.reply(&refusal(&error)),
    }
}

/// Answers with events.
fn stream(settings: &Settings, task: Task, out: &mut dyn Outgoing) {
    out.begin_events(&[]);
    let mut tell = |event: &str, data: &Value| out.write(format!("event: {event}\ndata: {data}\n\n").as_bytes());
    // Whether anybody reads is of no interest: the host ends the call when nobody does.
    let done = run::run(settings, task, &mut |progress| {
        let _ = match progress {
            Progress::Asked(first, wave) => {
                let whom = wave.iter().enumerate().map(|(n, (asked, temperature))| run::whom(first + n, asked, *temperature));
                tell("asked", &json!({"candidates": whom.collect::<Vec<_>>()}))
            }
            Progress::Candidate(n, (asked, temperature), result) => tell("candidate", &run::told(n, asked, *temperature, result, true)),
            Progress::Judging => tell("judging", &json!({})),
            Progress::Waiting => tell("ping", &json!({})),
        };
    });
    match done {
        Ok(done) => tell("done", &wrapped::data(&data(&done))),
        Err(error) => tell("error", &wrapped::error(&error)),
    };
}

/// An error that is no part of a stream, with the status that OpenAI gives it.
fn refusal(error: &ChatError) -> Reply {
    let mut reply = format::encode_error::<OpenaiChat>(error);
    reply.body = wrapped::error(error).to_string().into_bytes();
    reply
}

fn data(done: &Done) -> Value {
    let mut data = done.report(true);
    let best = done.candidates[done.chosen].result.as_ref().ok();
    data["content"] = done.answer.text().into();
    data["model"] = done.answer.model.as_str().into();
    data["provider"] = json!(best.and_then(|g| g.served_by.as_ref()).map(|t| &t.provider));
    data["usage"] = json!(done.answer.usage.as_ref().map(|u| {
        json!({
            "prompt_tokens": u.input_tokens,
            "completion_tokens": u.output_tokens,
            "total_tokens": u.input_tokens.saturating_add(u.output_tokens),
        })
    }));
    data
}

/// Reads what is asked, and whether the answer is to be events.
fn task(settings: &Settings, body: &[u8]) -> Result<(Task, bool), ChatError> {
    let whole = |message: String| ChatError::new(ErrorClass::InvalidRequest, message);
    let document: Value = serde_json::from_slice(body).map_err(|e| whole(format!("The body is not JSON: {e}.")))?;
    let Value::Object(mut members) = document else { return Err(whole("The body has to be a JSON object.".into())) };
    members.retain(|_, value| !value.is_null());
    if let Some(other) = members.keys().find(|k| !MEMBERS.contains(&k.as_str())) {
        return Err(invalid(other, &format!("there is no such member; there is `{}`", MEMBERS.join("`, `"))));
    }
    let stream = match members.remove("stream") {
        None => false,
        Some(Value::Bool(stream)) => stream,
        Some(_) => return Err(invalid("stream", "it has to be `true` or `false`")),
    };
    let mut wish = settings.wish();
    if let Some(value) = members.remove("num_candidates") {
        let of_number = value.is_u64() || value.is_i64();
        let read = if of_number { asked::read(settings, "num_candidates", &value)? } else { None };
        wish.count =
            read.ok_or_else(|| invalid("num_candidates", &format!("it has to be a number from 1 to {}", settings.max_candidates)))?.count;
    }
    if let Some(value) = members.remove("synthesis_method") {
        wish.method = asked::method("synthesis_method", &value)?;
    }
    let mut names: Vec<String> = Vec::new();
    match members.get("model") {
        Some(Value::String(model)) => match asked::alias(settings, model)? {
            Some((count, model)) => {
                wish.count = count;
                names.push(model.to_owned());
            }
            None => names.push(model.clone()),
        },
        None => {}
        Some(_) => return Err(invalid("model", "it has to be a model's name")),
    }
    match members.remove("targets") {
        Some(Value::Array(targets)) => {
            for target in targets {
                let Value::String(name) = target else { return Err(invalid("targets", "it has to be a list of names of models")) };
                names.push(name);
            }
        }
        Some(_) => return Err(invalid("targets", "it has to be a list of names of models")),
        None => names.extend(settings.targets.iter().cloned()),
    }
    if names.is_empty() {
        return Err(invalid("model", "it is missing, and there are no `targets` either"));
    }
    if let Some(wrong) = names.iter().find(|n| n.is_empty() || n.len() > 512 || n.starts_with(asked::PREFIX)) {
        let shown: String = wrong.chars().take(60).collect();
        return Err(invalid("targets", &format!("`{shown}` is no model that candidates could be of")));
    }
    // Nobody asks the others.
    names.truncate(wish.count as usize);
    let task = Task { request: conversation(members)?, targets: names.iter().map(|n| Asked::of(n)).collect(), wish };
    Ok((task, stream))
}

/// The conversation; messages, tools and parameters are those of chat completions, which has a reader.
fn conversation(mut members: Map<String, Value>) -> Result<ChatRequest, ChatError> {
    members.insert("model".into(), "candidate".into());
    let prompt = match members.remove("prompt") {
        Some(Value::String(prompt)) => Some(prompt),
        None => None,
        Some(_) => return Err(invalid("prompt", "it has to be a text")),
    };
    match members.entry("messages").or_insert_with(|| json!([])) {
        Value::Array(messages) => messages.extend(prompt.map(|prompt| json!({"role": "user", "content": prompt}))),
        _ => return Err(invalid("messages", "it has to be a list of messages")),
    }
    if members["messages"].as_array().is_none_or(Vec::is_empty) {
        return Err(invalid("prompt", "it is missing, and there are no `messages`"));
    }
    format::decode::<OpenaiChat>(Value::Object(members).to_string().as_bytes())
}
