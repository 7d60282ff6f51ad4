//! Requests: a body is refused with a reason, or it is kept.

use llm_codec::json::Document;
use llm_codec::passthrough::forward;
use llm_codec::{EncodeOptions, Format};
use serde_json::Value;

use crate::same;

/// Checks one body.
pub fn check(format: Format, bytes: &[u8]) {
    if let Ok(document) = Document::parse(bytes) {
        forwards(format, bytes, &document);
    }
    let options = EncodeOptions::default();
    let request = match format.decode_request(bytes) {
        Ok(request) => request,
        Err(error) => return assert!(!error.message.is_empty(), "refused without a reason"),
    };
    if same::is_deep(bytes) {
        return;
    }
    let encoded = format.encode_request(&request, &options);
    assert_eq!(encoded.losses, [], "the same format loses nothing");
    let again = format.decode_request(&encoded.body).unwrap_or_else(|e| panic!("refused what was encoded: {e}: {}", show(&encoded.body)));
    if let Some(document) = same::read(bytes).filter(|d| !contradicts(d)) {
        same::check_kept("the request changed", &document, &same::written(&encoded.body));
    }
    for target in Format::ALL {
        let crossed = target.encode_request(&request, &options);
        let document = same::written(&crossed.body);
        // Whoever reads what was written means the same by it.
        same::check("another request came back", &document, &same::written(&target.encode_request(&again, &options).body));
        let _ = target.decode_request(&crossed.body);
    }
}

/// Reasoning that is told twice. Where the two differ, one of them may be from before an edit, and is left out.
fn contradicts(document: &Value) -> bool {
    let mut messages = document["messages"].as_array().into_iter().flatten();
    messages.any(|m| ["reasoning", "reasoning_content", "reasoning_details"].iter().filter(|name| m.get(name).is_some()).count() > 1)
}

/// A forwarded body asks for the resolved model, once, whatever it asked for before.
fn forwards(format: Format, bytes: &[u8], document: &Document<'_>) {
    let out = forward(bytes, document, format, "resolved", true);
    let sent = Document::parse(&out).unwrap_or_else(|e| panic!("forwarded no JSON: {e}: {}", show(&out)));
    // In Gemini's format the path names it.
    let model = if format == Format::GeminiGenerate { (0, None) } else { (1, Some("resolved")) };
    assert_eq!((sent.count("model"), sent.string("model").as_deref()), model);
    assert!(sent.count("stream") <= 1, "`stream` is told twice");
    assert_eq!(sent.get("stream"), document.get("stream"));
}

pub(crate) fn show(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
