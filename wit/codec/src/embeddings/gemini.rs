//! Gemini's: `{"content","taskType","title","outputDimensionality"}` for one, `{"requests":[…]}` for several; `{"embedding":{"values"}}` and
//! `{"embeddings":[…]}`. The model stands in the path, and once more in each of several requests.

use super::{EmbeddingsAnswer, EmbeddingsCall, EmbeddingsRequest, Encoding, Input, Vector, left_over};
use crate::gemini_generate::{peek_either, read_usage, take_either};
use crate::json::{Document, Fields, Object, Path, Value};
use crate::{DecodeError, Loss, LossKind};

/// Why what is no text is refused.
const NO_TEXT: &str = "only texts can be embedded by the provider; leave other parts out, or name a model of Gemini's API";

pub(super) fn decode_request(mut f: Fields<'_>) -> Result<EmbeddingsRequest, DecodeError> {
    let (at, mut losses) = (Path::Root, Vec::new());
    if f.peek("requests").is_none() {
        let input = read_one(f, &at, "", &mut losses)?;
        return Ok(EmbeddingsRequest { inputs: vec![input], encoding: Encoding::Float, single: true, losses });
    }
    f.take("model");
    let requests = f.need(&at, "requests", "a list of requests")?;
    left_over(&f, "", &mut losses);
    let at = at.key("requests");
    let mut inputs = Vec::new();
    for (n, request) in requests.array_at(&at)?.into_iter().enumerate() {
        let at = at.index(n);
        inputs.push(read_one(request.object_at(&at)?, &at, &at.to_string(), &mut losses)?);
    }
    Ok(EmbeddingsRequest { inputs, encoding: Encoding::Float, single: false, losses })
}

fn read_one(mut f: Fields<'_>, at: &Path<'_>, place: &str, losses: &mut Vec<Loss>) -> Result<Input, DecodeError> {
    f.take("model");
    let content = f.need(at, "content", "a content with parts")?;
    let text = read_content(content, &at.key("content"), losses)?;
    let task = optional(&mut f, at, ("taskType", "task_type"), "a string", |v| v.text().map(|t| t.into_owned()))?;
    // It is what is meant by no task.
    let task = task.filter(|task| task != "TASK_TYPE_UNSPECIFIED");
    let title = optional(&mut f, at, ("title", "title"), "a string", |v| v.text().map(|t| t.into_owned()))?;
    let wanted = "a whole number, 0 or more";
    let dimensions = optional(&mut f, at, ("outputDimensionality", "output_dimensionality"), wanted, |v| v.u64())?;
    left_over(&f, place, losses);
    Ok(Input { place: place.to_owned(), text, dimensions, task, title })
}

/// A member that may be absent, spelled in either way, and not in both.
fn optional<T>(
    f: &mut Fields<'_>,
    at: &Path<'_>,
    name: (&'static str, &'static str),
    what: &str,
    read: impl FnOnce(Value<'_>) -> Option<T>,
) -> Result<Option<T>, DecodeError> {
    match take_either(f, at, name)? {
        None => Ok(None),
        Some(value) => read(value).map(Some).ok_or_else(|| value.expected(&at.key(name.0), what)),
    }
}

/// The text of a content. Parts of one content make one vector, so they become one text.
fn read_content(content: Value<'_>, at: &Path<'_>, losses: &mut Vec<Loss>) -> Result<String, DecodeError> {
    let mut f = content.object_at(at)?;
    let parts = f.need(at, "parts", "a list of parts")?;
    let at = &at.key("parts");
    // Google's JSON takes one element for a list of one.
    let parts = match parts.object() {
        Some(_) => vec![parts],
        None => parts.array_at(at)?,
    };
    let mut texts = Vec::new();
    for (n, part) in parts.into_iter().enumerate() {
        let at = at.index(n);
        let text = part.object_at(&at)?.take("text").ok_or_else(|| DecodeError::new(at, NO_TEXT))?;
        texts.push(text.text_at(&at.key("text"))?.into_owned());
    }
    match texts.len() {
        0 => return Err(DecodeError::new(at, "the list is empty; there is nothing to embed")),
        1 => {}
        _ => losses.push(Loss {
            kind: LossKind::Adjusted,
            field: at.to_string(),
            reason: "several texts are embedded as one, line by line".into(),
        }),
    }
    Ok(texts.join("\n"))
}

pub(super) fn encode_request(request: &EmbeddingsRequest, model: &str) -> EmbeddingsCall {
    let mut body = Vec::new();
    let mut o = Object::new(&mut body);
    let path = match &request.inputs[..] {
        [one] => {
            write_one(&mut o, one);
            "/models/{model}:embedContent"
        }
        several => {
            let model = format!("models/{model}");
            let mut requests = o.array("requests");
            for input in several {
                let mut one = requests.object();
                one.string("model", &model);
                write_one(&mut one, input);
                one.end();
            }
            requests.end();
            "/models/{model}:batchEmbedContents"
        }
    };
    o.end();
    EmbeddingsCall { path, body, losses: Vec::new() }
}

fn write_one(o: &mut Object<'_>, input: &Input) {
    let mut content = o.object("content");
    let mut parts = content.array("parts");
    let mut part = parts.object();
    part.string("text", &input.text);
    part.end();
    parts.end();
    content.end();
    if let Some(task) = &input.task {
        o.string("taskType", task);
    }
    if let Some(title) = &input.title {
        o.string("title", title);
    }
    if let Some(dimensions) = input.dimensions {
        o.int("outputDimensionality", dimensions);
    }
}

pub(super) fn decode_answer(document: &Document<'_>) -> Result<EmbeddingsAnswer, DecodeError> {
    let (f, at) = (Fields::of(document), Path::Root);
    let mut vectors = Vec::new();
    if let Some(several) = f.peek("embeddings") {
        let at = at.key("embeddings");
        for (n, one) in several.array_at(&at)?.into_iter().enumerate() {
            vectors.push(read_values(one, &at.index(n))?);
        }
    } else {
        let one = f.peek("embedding").ok_or_else(|| DecodeError::new("embedding", "missing, expected an object"))?;
        vectors.push(read_values(one, &at.key("embedding"))?);
    }
    let usage = peek_either(&f, ("usageMetadata", "usage_metadata")).and_then(read_usage);
    Ok(EmbeddingsAnswer { vectors, usage })
}

pub(super) fn read_values(value: Value<'_>, at: &Path<'_>) -> Result<Vector, DecodeError> {
    let values = value.object_at(at)?.need(at, "values", "a list of numbers")?;
    Vector::read(values, &at.key("values"))
}

pub(super) fn encode_answer(answer: &EmbeddingsAnswer, single: bool) -> Vec<u8> {
    let mut body = Vec::new();
    let mut o = Object::new(&mut body);
    let write = |mut one: Object<'_>, vector: &Vector| {
        vector.write(one.key("values"), Encoding::Float);
        one.end();
    };
    match (&answer.vectors[..], single) {
        ([one], true) => write(o.object("embedding"), one),
        (several, _) => {
            let mut all = o.array("embeddings");
            several.iter().for_each(|vector| write(all.object(), vector));
            all.end();
        }
    }
    if let Some(usage) = &answer.usage {
        let mut u = o.object("usageMetadata");
        u.int("promptTokenCount", usage.input_tokens);
        u.end();
    }
    o.end();
    body
}
