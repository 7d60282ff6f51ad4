//! Vertex AI's `predict`: `{"instances":[{"content","task_type","title"}],"parameters":{"outputDimensionality"}}`, and
//! `{"predictions":[{"embeddings":{"values","statistics":{"token_count"}}}]}`.

use super::{EmbeddingsAnswer, EmbeddingsCall, EmbeddingsRequest, gemini};
use crate::DecodeError;
use crate::hub::Usage;
use crate::json::{Document, Fields, Object, Path, Value};

pub(super) fn encode_request(request: &EmbeddingsRequest) -> Result<EmbeddingsCall, DecodeError> {
    let mut body = Vec::new();
    let mut o = Object::new(&mut body);
    let mut instances = o.array("instances");
    for input in &request.inputs {
        let mut one = instances.object();
        one.string("content", &input.text);
        if let Some(task) = &input.task {
            one.string("task_type", task);
        }
        if let Some(title) = &input.title {
            one.string("title", title);
        }
        one.end();
    }
    instances.end();
    if let Some(dimensions) = request.one_dimension()? {
        let mut parameters = o.object("parameters");
        parameters.int("outputDimensionality", dimensions);
        parameters.end();
    }
    o.end();
    Ok(EmbeddingsCall { path: "/models/{model}:predict", body, losses: Vec::new() })
}

pub(super) fn decode_answer(document: &Document<'_>) -> Result<EmbeddingsAnswer, DecodeError> {
    let (mut f, at) = (Fields::of(document), Path::Root);
    let predictions = f.need(&at, "predictions", "a list")?;
    let at = at.key("predictions");
    let (mut vectors, mut tokens) = (Vec::new(), Some(0_u64));
    for (n, prediction) in predictions.array_at(&at)?.into_iter().enumerate() {
        let at = at.index(n);
        let embeddings = prediction.object_at(&at)?.need(&at, "embeddings", "an object")?;
        vectors.push(gemini::read_values(embeddings, &at.key("embeddings"))?);
        // It is a floating-point number there.
        let statistics = embeddings.object().and_then(|f| f.peek("statistics")).and_then(Value::object);
        let count = statistics.and_then(|f| f.peek("token_count")).and_then(Value::u64);
        tokens = tokens.zip(count).map(|(sum, count)| sum.saturating_add(count));
    }
    let usage = tokens.map(|input_tokens| Usage {
        input_tokens,
        cache_read_tokens: None,
        cache_write_tokens: None,
        output_tokens: 0,
        reasoning_tokens: None,
        raw: None,
    });
    Ok(EmbeddingsAnswer { vectors, usage })
}
