//! Complete answers and errors: a body is refused as an error that can be told, or it is kept.

use llm_codec::hub::answer_events;
use llm_codec::json::Document;
use llm_codec::{Format, StreamOptions};

use crate::request::show;
use crate::{same, stream};

/// Checks one body.
pub fn check(format: Format, bytes: &[u8]) {
    error(format, bytes);
    let options = StreamOptions { include_usage: true, ..StreamOptions::default() };
    let answer = match format.decode_answer(bytes) {
        Ok(answer) => answer,
        Err(error) => return assert!(!error.message.is_empty(), "refused without a reason"),
    };
    if same::is_deep(bytes) {
        return;
    }
    let encoded = format.encode_answer(&answer, &options);
    assert_eq!(encoded.losses, [], "the same format loses nothing");
    let again = format.decode_answer(&encoded.body).unwrap_or_else(|e| panic!("refused what was encoded: {e:?}: {}", show(&encoded.body)));
    // A client takes a chunk with an error for one, whatever else is in it.
    let failed = answer.extras.iter().any(|e| e.name == "error");
    let events = answer_events(&answer);
    for target in Format::ALL {
        let crossed = target.encode_answer(&answer, &options);
        let document = same::written(&crossed.body);
        same::check("another answer came back", &document, &same::written(&target.encode_answer(&again, &options).body));
        target.decode_answer(&crossed.body).unwrap_or_else(|e| panic!("{} refuses it: {e:?}: {}", target.as_str(), show(&crossed.body)));
        // The same answer told as a stream.
        let streamed = stream::collected(target, &stream::encode(target, &events));
        assert!(failed || streamed.is_ok(), "{} refuses the stream: {streamed:?}", target.as_str());
    }
}

/// Whatever a body with an error status holds, there is something to tell in every format.
fn error(format: Format, bytes: &[u8]) {
    let status = 400 + u16::from(bytes.first().copied().unwrap_or(100));
    let told = format.decode_error(status, std::str::from_utf8(&bytes[..bytes.len().min(6)]).ok(), bytes);
    assert!(!told.message.is_empty(), "an error without a message");
    for target in Format::ALL {
        let reply = target.encode_error(&told);
        Document::parse(&reply.body).unwrap_or_else(|e| panic!("{} is no JSON: {e}: {}", target.as_str(), show(&reply.body)));
        assert!((400..600).contains(&reply.status), "an error with status {}", reply.status);
    }
}
