//! Embeddings: OpenAI's `/embeddings`, Gemini's `embedContent` and `batchEmbedContents`, and Vertex AI's `predict`.
//!
//! Between client and provider of one API they pass as they are and nobody comes here. Between two of them they meet in a record of their
//! own, because the hub is about conversations: texts to embed, and vectors that come back in the same order.
//!
//! Source: platform.openai.com/docs/api-reference/embeddings, ai.google.dev/api/embeddings,
//! cloud.google.com/vertex-ai/generative-ai/docs/model-reference/text-embeddings-api.
//!
//! What is **absent**: pictures, sounds and token ids. No other API can embed them, so they are refused with the reason and not left out: a
//! vector of something else would look like an answer.

mod gemini;
mod openai;
mod vector;
mod vertex;

pub use vector::Vector;

use crate::hub::{ChatError, ErrorClass, Usage};
use crate::json::{Document, Fields};
use crate::{DecodeError, Loss, LossKind};

/// An API of embeddings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EmbeddingsApi {
    /// OpenAI's `/embeddings`.
    Openai,
    /// Gemini's `embedContent`, and `batchEmbedContents` for several.
    Gemini,
    /// Vertex AI's `embedContent`: Gemini's, for one text at a time.
    VertexContent,
    /// Vertex AI's `predict`, which its older models have instead.
    VertexPredict,
}

/// What shall be embedded.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EmbeddingsRequest {
    /// Each becomes a vector; at least one.
    pub inputs: Vec<Input>,
    /// How the client reads vectors.
    pub encoding: Encoding,
    /// The client asked for one vector, and not for a list that may have one (Gemini's `embedContent`).
    pub single: bool,
    /// What no other API has, by the client's names.
    pub losses: Vec<Loss>,
}

/// One text.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Input {
    /// Where what belongs to it stands in the client's document, for example `requests[1]`; empty for the whole document.
    pub place: String,
    /// The text.
    pub text: String,
    /// How many numbers the vector shall have.
    pub dimensions: Option<u64>,
    /// What the vector is for, in Google's words, for example `RETRIEVAL_QUERY`.
    pub task: Option<String>,
    /// Title of the document that the text is.
    pub title: Option<String>,
}

/// How the numbers of a vector are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Encoding {
    /// As a list of numbers.
    #[default]
    Float,
    /// As base64 of little-endian f32.
    Base64,
}

/// A request for a provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmbeddingsCall {
    /// Where it goes behind the provider's base URL. `{model}` stands for the model.
    pub path: &'static str,
    /// The document.
    pub body: Vec<u8>,
    /// What the provider's API cannot express, by the client's names.
    pub losses: Vec<Loss>,
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct EmbeddingsAnswer {
    /// In the order of the texts.
    pub vectors: Vec<Vector>,
    /// What it cost, where the provider tells.
    pub usage: Option<Usage>,
}

impl EmbeddingsApi {
    /// Reads a client's request.
    ///
    /// # Errors
    /// The document is none of this API, or has something to embed that no other API can; the error says where and why.
    pub fn decode_request(self, body: &[u8]) -> Result<EmbeddingsRequest, DecodeError> {
        let document = Document::parse(body).map_err(|f| DecodeError::new("", format!("not a JSON object: {f}")))?;
        let request = match self {
            Self::Openai => openai::decode_request(Fields::of(&document)),
            Self::Gemini | Self::VertexContent => gemini::decode_request(Fields::of(&document)),
            // No dialect speaks it.
            Self::VertexPredict => Err(DecodeError::new("", "requests of Vertex AI's `predict` are not read")),
        }?;
        if request.inputs.is_empty() {
            return Err(DecodeError::new("", "there is nothing to embed"));
        }
        Ok(request)
    }

    /// Writes a request for a provider of this API.
    ///
    /// # Errors
    /// The API has no way to say what is asked for, and it matters for every number of the answer.
    pub fn encode_request(self, request: &EmbeddingsRequest, model: &str) -> Result<EmbeddingsCall, DecodeError> {
        let mut call = match self {
            Self::Openai => openai::encode_request(request, model),
            Self::VertexContent if request.inputs.len() > 1 => Err(DecodeError::new(
                request.inputs[1].place.as_str(),
                "the provider embeds one text at a time with this model; send them one by one",
            )),
            Self::Gemini | Self::VertexContent => Ok(gemini::encode_request(request, model)),
            Self::VertexPredict => vertex::encode_request(request),
        }?;
        call.losses.splice(0..0, request.losses.iter().cloned());
        Ok(call)
    }

    /// Reads a provider's answer to `request`.
    ///
    /// # Errors
    /// It is an error, or not one vector for each text.
    pub fn decode_answer(self, body: &[u8], request: &EmbeddingsRequest) -> Result<EmbeddingsAnswer, ChatError> {
        let broken =
            |what: String| ChatError::new(ErrorClass::Protocol, format!("The provider's answer is no list of embeddings: {what}."));
        let document = Document::parse(body).map_err(|fault| broken(fault.to_string()))?;
        let answer = match self {
            Self::Openai => openai::decode_answer(&document),
            Self::Gemini | Self::VertexContent => gemini::decode_answer(&document),
            Self::VertexPredict => vertex::decode_answer(&document),
        }
        .map_err(|fault| broken(fault.to_string()))?;
        match (answer.vectors.len(), request.inputs.len()) {
            (found, wanted) if found != wanted => Err(broken(format!("it has {found} vectors for {wanted} texts"))),
            _ => Ok(answer),
        }
    }

    /// Writes the answer to a client that sent `request`. `estimate` stands for a usage that the provider did not tell.
    pub fn encode_answer(self, answer: &EmbeddingsAnswer, request: &EmbeddingsRequest, model: &str, estimate: u64) -> Vec<u8> {
        match self {
            Self::Openai => openai::encode_answer(answer, request.encoding, model, estimate),
            Self::Gemini | Self::VertexContent | Self::VertexPredict => gemini::encode_answer(answer, request.single),
        }
    }

    /// Whether an answer of this API cannot go without a usage.
    pub fn needs_usage(self) -> bool {
        self == Self::Openai
    }
}

impl EmbeddingsRequest {
    /// The texts.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        self.inputs.iter().map(|input| input.text.as_str())
    }

    /// The dimensions, where the API has them once for all texts.
    fn one_dimension(&self) -> Result<Option<u64>, DecodeError> {
        let first = self.inputs.first().and_then(|input| input.dimensions);
        match self.inputs.iter().find(|input| input.dimensions != first) {
            None => Ok(first),
            Some(other) => Err(DecodeError::new(
                other.at("outputDimensionality"),
                "the requests want vectors of several lengths, which the provider cannot make at once; send them one by one",
            )),
        }
    }
}

impl Input {
    /// Where a field of it stands in the client's document.
    fn at(&self, field: &str) -> String {
        if self.place.is_empty() { field.to_owned() } else { format!("{}.{field}", self.place) }
    }

    /// What is lost where only texts can be told.
    fn losses(&self) -> impl Iterator<Item = Loss> {
        let task = self.task.as_ref().map(|_| unsupported(self.at("taskType"), "the provider's embeddings are not made for a task"));
        let title = self.title.as_ref().map(|_| unsupported(self.at("title"), "the provider has no place for a title"));
        task.into_iter().chain(title)
    }
}

fn unsupported(field: String, reason: &str) -> Loss {
    Loss { kind: LossKind::Unsupported, field, reason: reason.to_owned() }
}

/// What is left of an object: no other API has it.
fn left_over(f: &Fields<'_>, place: &str, losses: &mut Vec<Loss>) {
    for (name, value) in f.untaken() {
        if value.is_null() {
            continue;
        }
        let field = if place.is_empty() { name.into_owned() } else { format!("{place}.{name}") };
        let loss = unsupported(field, "the provider's API has no such field");
        if !losses.contains(&loss) {
            losses.push(loss);
        }
    }
}

#[cfg(test)]
mod tests;
