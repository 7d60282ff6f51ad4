//! Embeddings, made up: what a text, a vector or an unknown member may hold.

use llm_codec::embeddings::{EmbeddingsAnswer, EmbeddingsApi, EmbeddingsRequest, Encoding, Input, Vector};
use proptest::prelude::*;
use serde_json::{Value, json};

use EmbeddingsApi::{Gemini, Openai};

fn inputs() -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec(any::<String>(), 1..6)
}

/// A member that no API knows.
fn unknown() -> impl Strategy<Value = (String, Value)> {
    let value = prop_oneof![any::<bool>().prop_map(Value::from), any::<i64>().prop_map(Value::from), any::<String>().prop_map(Value::from)];
    ("own_[a-z]{1,8}", value)
}

proptest! {
    #[test]
    fn texts_arrive_at_the_other_api_as_they_were(texts in inputs(), dimensions in prop::option::of(0..5000_u64)) {
        let mut body = json!({"model": "x", "input": texts});
        if let Some(dimensions) = dimensions {
            body["dimensions"] = dimensions.into();
        }
        let request = Openai.decode_request(body.to_string().as_bytes()).unwrap();
        let call = Gemini.encode_request(&request, "m/\"n").unwrap();
        // And back.
        let again = Gemini.decode_request(&call.body).unwrap();
        let back = Openai.encode_request(&again, "x").unwrap();
        prop_assert_eq!(serde_json::from_slice::<Value>(&back.body).unwrap(), body);
        prop_assert!(call.losses.is_empty() && back.losses.is_empty());
    }

    #[test]
    fn what_nobody_knows_is_told_as_lost((name, value) in unknown()) {
        let mut body = json!({"model": "x", "input": "a", "content": {"parts": [{"text": "a"}]}});
        body[&name] = value;
        for (from, to, own) in [(Openai, Gemini, "content"), (Gemini, Openai, "input")] {
            let request = from.decode_request(body.to_string().as_bytes()).unwrap();
            let mut lost: Vec<String> = to.encode_request(&request, "m").unwrap().losses.into_iter().map(|l| l.field).collect();
            lost.sort();
            let mut expected = vec![own.to_owned(), name.clone()];
            expected.sort();
            prop_assert_eq!(lost, expected);
        }
    }

    #[test]
    fn numbers_arrive_bit_by_bit(numbers in prop::collection::vec(any::<f32>().prop_filter("finite", |n| n.is_finite()), 1..40), base64 in any::<bool>()) {
        let vector = Vector::of(numbers.iter().copied()).unwrap();
        let encoding = if base64 { Encoding::Base64 } else { Encoding::Float };
        let request = EmbeddingsRequest { inputs: vec![Input::default()], encoding, ..EmbeddingsRequest::default() };
        let answer = EmbeddingsAnswer { vectors: vec![vector], usage: None };
        let read = Openai.decode_answer(&Openai.encode_answer(&answer, &request, "m", 1), &request).unwrap();
        let bits = |numbers: &mut dyn Iterator<Item = f32>| numbers.map(f32::to_bits).collect::<Vec<_>>();
        prop_assert_eq!(bits(&mut read.vectors[0].numbers()), bits(&mut numbers.iter().copied()));
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let request = EmbeddingsRequest { inputs: vec![Input::default()], ..EmbeddingsRequest::default() };
        for api in [Openai, Gemini, EmbeddingsApi::VertexContent, EmbeddingsApi::VertexPredict] {
            let _ = api.decode_request(&bytes);
            let _ = api.decode_answer(&bytes, &request);
        }
    }
}
