//! Legacy completions: a request is refused with a reason or kept, and can be told as a conversation; so is an answer.

use llm_codec::hub::ChatRequest;
use llm_codec::json::Document;
use llm_codec::passthrough::forward;
use llm_codec::{EncodeOptions, Format, StreamOptions};

use crate::request::show;
use crate::same;

const FORMAT: Format = Format::OpenaiCompletions;

/// Checks one body, as a request and as an answer.
pub fn check(bytes: &[u8]) {
    if let Ok(document) = Document::parse(bytes) {
        let out = forward(bytes, &document, FORMAT, "resolved", true);
        let sent = Document::parse(&out).unwrap_or_else(|e| panic!("forwarded no JSON: {e}: {}", show(&out)));
        assert_eq!((sent.count("model"), sent.string("model").as_deref()), (1, Some("resolved")));
    }
    match FORMAT.decode_request(bytes) {
        Ok(request) if !same::is_deep(bytes) => kept(bytes, &request),
        Ok(_) => {}
        Err(error) => assert!(!error.message.is_empty(), "refused without a reason"),
    }
    match FORMAT.decode_answer(bytes) {
        Ok(answer) if !same::is_deep(bytes) => {
            for target in Format::ALL.into_iter().chain([FORMAT]) {
                let written = target.encode_answer(&answer, &StreamOptions::default());
                Document::parse(&written.body).unwrap_or_else(|e| panic!("{} is no JSON: {e}: {}", target.as_str(), show(&written.body)));
            }
        }
        Ok(_) => {}
        Err(error) => assert!(!error.message.is_empty(), "refused without a reason"),
    }
}

fn kept(bytes: &[u8], request: &ChatRequest) {
    let options = EncodeOptions::default();
    let encoded = FORMAT.encode_request(request, &options);
    assert_eq!(encoded.losses, [], "the same format loses nothing");
    let again = FORMAT.decode_request(&encoded.body).unwrap_or_else(|e| panic!("refused what was encoded: {e}: {}", show(&encoded.body)));
    if let Some(document) = same::read(bytes) {
        same::check_kept("the request changed", &document, &same::written(&encoded.body));
    }
    for target in Format::ALL {
        let crossed = target.encode_request(request, &options);
        let document = same::written(&crossed.body);
        same::check("another request came back", &document, &same::written(&target.encode_request(&again, &options).body));
    }
}
