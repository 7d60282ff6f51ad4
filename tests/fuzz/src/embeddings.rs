//! Embeddings between APIs: refused with a reason, or what is written is read alike; and the models of a body are one.

use llm_codec::embeddings::{EmbeddingsApi, EmbeddingsRequest, Encoding, Input};
use llm_codec::json::Document;
use llm_codec::passthrough::{gemini_model_edits, gemini_other_model, splice};

use crate::request::show;

const APIS: [EmbeddingsApi; 4] = [EmbeddingsApi::Openai, EmbeddingsApi::Gemini, EmbeddingsApi::VertexContent, EmbeddingsApi::VertexPredict];

/// Checks one request.
pub fn request(bytes: &[u8]) {
    if let Ok(document) = Document::parse(bytes) {
        names_one_model(bytes, &document);
    }
    for from in [EmbeddingsApi::Openai, EmbeddingsApi::Gemini] {
        let request = match from.decode_request(bytes) {
            Ok(request) => request,
            Err(error) => {
                assert!(!error.message.is_empty(), "refused without a reason");
                continue;
            }
        };
        for to in APIS {
            let Ok(call) = to.encode_request(&request, "m") else { continue };
            Document::parse(&call.body).unwrap_or_else(|e| panic!("{to:?} is no JSON: {e}: {}", show(&call.body)));
            if to == EmbeddingsApi::VertexPredict {
                continue;
            }
            let again = to.decode_request(&call.body).unwrap_or_else(|e| panic!("{to:?} refuses it: {e}: {}", show(&call.body)));
            assert!(again.texts().eq(request.texts()), "other texts came back: {}", show(&call.body));
            assert!(again.inputs.iter().map(|i| i.dimensions).eq(request.inputs.iter().map(|i| i.dimensions)), "{}", show(&call.body));
            assert_eq!(again.losses, [], "what is written is known");
        }
    }
}

/// After the edits every model of a body is the resolved one.
fn names_one_model(bytes: &[u8], document: &Document<'_>) {
    let edits = gemini_model_edits(document, "resolved");
    let edits: Vec<_> = edits.iter().map(|(name, value)| (*name, value.as_deref())).collect();
    let out = splice(bytes, document, &edits);
    let sent = Document::parse(&out).unwrap_or_else(|e| panic!("forwarded no JSON: {e}: {}", show(&out)));
    assert_eq!(gemini_other_model(&sent, "resolved"), None, "{}", show(&out));
    if gemini_other_model(document, "resolved").is_none() && edits.is_empty() {
        assert_eq!(out, bytes);
    }
}

/// Checks one answer, as one to a request for one text and for two.
pub fn answer(bytes: &[u8]) {
    for (texts, encoding) in [(1, Encoding::Float), (2, Encoding::Base64)] {
        let request = EmbeddingsRequest { inputs: vec![Input::default(); texts], encoding, single: texts == 1, losses: Vec::new() };
        for from in APIS {
            let answer = match from.decode_answer(bytes, &request) {
                Ok(answer) => answer,
                Err(error) => {
                    assert!(!error.message.is_empty(), "refused without a reason");
                    continue;
                }
            };
            assert_eq!(answer.vectors.len(), texts);
            for to in [EmbeddingsApi::Openai, EmbeddingsApi::Gemini] {
                let body = to.encode_answer(&answer, &request, "m", 1);
                let again = to.decode_answer(&body, &request).unwrap_or_else(|e| panic!("{to:?} refuses it: {e:?}: {}", show(&body)));
                let lengths = |all: &[llm_codec::embeddings::Vector]| all.iter().map(|v| v.numbers().count()).collect::<Vec<_>>();
                assert_eq!(lengths(&again.vectors), lengths(&answer.vectors), "{}", show(&body));
            }
        }
    }
}
