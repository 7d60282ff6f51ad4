//! Answers of an upstream that speaks Gemini's `generateContent`. The path of a request says which model, and whether a stream is wanted.

use serde_json::{Value, json};

use super::{Says, pieces};
use crate::{Received, Reply};

impl Says {
    /// As an upstream of this format answers this request.
    pub fn gemini_reply(&self, to: &Received) -> Reply {
        if gemini_method(to) == "streamGenerateContent" { Reply::stream(self.gemini_stream()) } else { Reply::json(200, &self.gemini()) }
    }

    /// The complete answer.
    pub fn gemini(&self) -> Value {
        let thought = self.thinking.map(|(text, _)| json!({"text": text, "thought": true}));
        let text = (!self.text.is_empty()).then(|| json!({"text": self.text}));
        let calls = self.calls.iter().map(|c| {
            let args: Value = serde_json::from_str(&c.arguments.concat()).expect("arguments are JSON");
            json!({"functionCall": {"id": c.id, "name": c.name, "args": args}, "thoughtSignature": "c2lnbmF0dXJl"})
        });
        let parts: Vec<Value> = thought.into_iter().chain(text).chain(calls).collect();
        chunk(parts, Some(self.stop.unwrap_or("STOP")), Some(&self.gemini_usage()))
    }

    /// The stream, event by event. Calls come whole; the last event has no more to say than that it ends.
    pub fn gemini_stream(&self) -> Vec<String> {
        let whole = self.gemini();
        let mut all = Vec::new();
        for part in whole["candidates"][0]["content"]["parts"].as_array().into_iter().flatten() {
            match part["text"].as_str() {
                Some(text) => all.extend(pieces(text).map(|piece| {
                    let mut part = part.clone();
                    part["text"] = json!(piece);
                    chunk(vec![part], None, None)
                })),
                None => all.push(chunk(vec![part.clone()], None, None)),
            }
        }
        all.push(chunk(vec![json!({"text": ""})], Some(self.stop.unwrap_or("STOP")), Some(&self.gemini_usage())));
        all.iter().map(|chunk| format!("data: {chunk}\r\n\r\n")).collect()
    }

    fn gemini_usage(&self) -> Value {
        self.usage.clone().unwrap_or_else(|| json!({"promptTokenCount": 9, "candidatesTokenCount": 12, "totalTokenCount": 21}))
    }
}

fn chunk(parts: Vec<Value>, finish: Option<&str>, usage: Option<&Value>) -> Value {
    let mut candidate = json!({"content": {"parts": parts, "role": "model"}, "index": 0});
    if let Some(finish) = finish {
        candidate["finishReason"] = json!(finish);
    }
    let mut chunk = json!({"candidates": [candidate], "modelVersion": "gemini-scripted", "responseId": "resp-1"});
    if let Some(usage) = usage {
        chunk["usageMetadata"] = usage.clone();
    }
    chunk
}

/// Model and method of a request: what stands behind `/models/` in its path.
fn target(request: &Received) -> (&str, &str) {
    let path = request.path.split('?').next().unwrap_or_default();
    path.split_once("/models/").and_then(|(_, target)| target.rsplit_once(':')).unwrap_or_default()
}

/// The model of a request.
pub fn gemini_model(request: &Received) -> &str {
    target(request).0
}

/// The method of a request.
pub fn gemini_method(request: &Received) -> &str {
    target(request).1
}

/// An error document of Google's.
pub fn gemini_error(code: u16, status: &str, message: &str) -> Value {
    json!({"error": {"code": code, "message": message, "status": status}})
}
