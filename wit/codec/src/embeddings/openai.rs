//! OpenAI's: `{"model","input","dimensions","encoding_format","user"}`, `{"object":"list","data":[{"embedding","index"}],"model","usage"}`.

use super::{EmbeddingsAnswer, EmbeddingsCall, EmbeddingsRequest, Encoding, Input, Vector, left_over, unsupported};
use crate::json::{Array, Document, Fields, Kind, Object, Path, Value};
use crate::{DecodeError, openai_usage};

/// Why token ids are refused.
const TOKENS: &str = "token ids mean something to OpenAI's models only, and the provider has others; send texts";

pub(super) fn decode_request(mut f: Fields<'_>) -> Result<EmbeddingsRequest, DecodeError> {
    let (at, mut losses) = (Path::Root, Vec::new());
    f.take("model");
    let texts = read_input(f.need(&at, "input", "a text, or a list of texts")?)?;
    let dimensions = f.optional_u64(&at, "dimensions")?;
    let encoding = match f.optional_text(&at, "encoding_format")?.as_deref() {
        None | Some("float") => Encoding::Float,
        Some("base64") => Encoding::Base64,
        Some(_) => return Err(DecodeError::new("encoding_format", "expected `float` or `base64`")),
    };
    if f.optional_text(&at, "user")?.is_some() {
        losses.push(unsupported("user".into(), "the provider has no place for who asks"));
    }
    left_over(&f, "", &mut losses);
    let inputs = texts.into_iter().map(|text| Input { text, dimensions, ..Input::default() }).collect();
    Ok(EmbeddingsRequest { inputs, encoding, single: false, losses })
}

fn read_input(value: Value<'_>) -> Result<Vec<String>, DecodeError> {
    let at = Path::Root.key("input");
    if let Some(text) = value.text() {
        return Ok(vec![text.into_owned()]);
    }
    let elements = value.elements().ok_or_else(|| value.expected(&at, "a text, or a list of texts"))?;
    let text = |(n, element): (usize, Value<'_>)| match element.kind() {
        Kind::String => element.text_at(&at.index(n)).map(|text| text.into_owned()),
        Kind::Number | Kind::Array => Err(DecodeError::new(at, TOKENS)),
        _ => Err(element.expected(&at.index(n), "a text")),
    };
    let texts: Vec<String> = elements.enumerate().map(text).collect::<Result<_, _>>()?;
    if texts.is_empty() {
        return Err(DecodeError::new(at, "the list is empty; there is nothing to embed"));
    }
    Ok(texts)
}

pub(super) fn encode_request(request: &EmbeddingsRequest, model: &str) -> Result<EmbeddingsCall, DecodeError> {
    let mut body = Vec::new();
    let mut o = Object::new(&mut body);
    o.string("model", model);
    let mut input = o.array("input");
    request.texts().for_each(|text| input.string(text));
    input.end();
    if let Some(dimensions) = request.one_dimension()? {
        o.int("dimensions", dimensions);
    }
    o.end();
    let losses = request.inputs.iter().flat_map(Input::losses).collect();
    Ok(EmbeddingsCall { path: "/embeddings", body, losses })
}

pub(super) fn decode_answer(document: &Document<'_>) -> Result<EmbeddingsAnswer, DecodeError> {
    let (mut f, at) = (Fields::of(document), Path::Root);
    let data = f.need(&at, "data", "a list")?;
    let at = at.key("data");
    let mut vectors = Vec::new();
    for (n, element) in data.array_at(&at)?.into_iter().enumerate() {
        let at = at.index(n);
        let mut one = element.object_at(&at)?;
        // Some hosts have no index, and all of those keep the order.
        let index = one.take("index").and_then(Value::u64).unwrap_or(n as u64);
        let vector = one.need(&at, "embedding", "a list of numbers")?;
        vectors.push((index, Vector::read(vector, &at.key("embedding"))?));
    }
    vectors.sort_by_key(|(index, _)| *index);
    if vectors.windows(2).any(|two| two[0].0 == two[1].0) {
        return Err(DecodeError::new(at, "two vectors have the same index"));
    }
    let usage = f.take("usage").and_then(openai_usage::read);
    Ok(EmbeddingsAnswer { vectors: vectors.into_iter().map(|(_, vector)| vector).collect(), usage })
}

pub(super) fn encode_answer(answer: &EmbeddingsAnswer, encoding: Encoding, model: &str, estimate: u64) -> Vec<u8> {
    let mut body = Vec::new();
    let mut o = Object::new(&mut body);
    o.string("object", "list");
    let mut data = o.array("data");
    for (n, vector) in answer.vectors.iter().enumerate() {
        write_one(&mut data, n, vector, encoding);
    }
    data.end();
    o.string("model", model);
    let tokens = answer.usage.as_ref().map_or(estimate, |usage| usage.input_tokens);
    let mut usage = o.object("usage");
    usage.int("prompt_tokens", tokens);
    usage.int("total_tokens", tokens);
    usage.end();
    o.end();
    body
}

fn write_one(data: &mut Array<'_>, index: usize, vector: &Vector, encoding: Encoding) {
    let mut one = data.object();
    one.string("object", "embedding");
    one.int("index", index as u64);
    vector.write(one.key("embedding"), encoding);
    one.end();
}
