//! Calls that hold no conversation (embeddings, images, files, counting tokens, …): they go as they are to a provider that speaks the API
//! that they are calls of, and the answer comes back as it is, whatever its type. Embeddings may cross over to another API
//! (`embeddings.rs`). Of the way of a conversation they have everything but the
//! hub: route, dialect, before-generate and provider-events hooks, attempts, and `on-complete` with usage where the answer tells it.
//!
//! What is absent: nothing here reads a file or an answer. Of a JSON body the model and what goes with it are spliced, of a form the field
//! `model` is.

use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt as _, stream};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use llm_codec::Format;
use llm_codec::embeddings::EmbeddingsApi;
use llm_codec::hub::{ChatError, ChatRequest, ErrorClass, Params};
use llm_codec::json::Document;
use llm_codec::passthrough::{self, UsageTap, gemini_model_edits, gemini_other_model, operation_usage};

use super::embeddings::Crossing;
use super::filters::Filters;
use super::losses::Losses;
use super::relay;
use super::tries::{Tries, Try};
use super::upstream::{self, Attempt, Sent, Source};
use super::{Completion, Exchange, Incoming, MAX_MODEL, dialect};
use crate::extensions::bindings::exports::wasmgate::extension::dialect::GenerateHead;
use crate::extensions::bindings::exports::wasmgate::extension::operations::OperationHead;
use crate::extensions::bindings::wasmgate::extension::http::Reply;
use crate::extensions::bindings::wasmgate::extension::request::{Edit, Target};
use crate::extensions::is_secret_parameter;
use crate::gateway::Generation;
use crate::providers::{ByteStream, Entry, Forward, Provider, Upstream};
use crate::virtual_providers::Failure;

/// Most of a JSON answer that is held back to look for its usage. A longer one goes out as it comes, and its usage is not known.
const MAX_LOOK: usize = 16 << 20;

/// What a call that holds no conversation is.
#[derive(Debug)]
pub struct Operation {
    /// The API that it is a call of.
    pub family: String,
    /// What it is in that API.
    pub name: String,
    /// Path and query behind the provider's base URL.
    path: String,
    /// A model writes text for it.
    generates: bool,
}

impl Operation {
    /// What a dialect accepted. A path that could lead elsewhere than it seems is refused.
    pub fn of(head: OperationHead, incoming: &Incoming) -> Result<(Self, GenerateHead), ChatError> {
        let OperationHead { family, operation: name, model, path, stream, include_usage, generates } = head;
        if !is_straight(&path) {
            let shown: String = path.chars().take(100).collect();
            let message = format!("The path `{shown}` has `.`, `..`, `\\`, or an encoded `/`, `\\`, `%` or NUL in it; send it without.");
            return Err(ChatError::new(ErrorClass::InvalidRequest, message));
        }
        if let Some(message) = model_of_form(incoming) {
            return Err(ChatError { param: Some("model".into()), ..ChatError::new(ErrorClass::InvalidRequest, message) });
        }
        if let (true, Some(document), Some(model)) = (has_model(&path), incoming.document(), &model)
            && let Some(place) = gemini_other_model(document, model)
        {
            let message = format!("`{place}`: the body names another model than the path; leave it out.");
            return Err(ChatError { param: Some(place), ..ChatError::new(ErrorClass::InvalidRequest, message) });
        }
        let path = match incoming.head.uri.query().map(without_secrets) {
            Some(query) if !query.is_empty() => format!("{path}?{query}"),
            _ => path,
        };
        let head = GenerateHead { format: format!("{family}-{name}"), model: model.unwrap_or_default(), stream, include_usage };
        Ok((Self { family, name, path, generates }, head))
    }

    /// Whether an edit of a hook means nothing for this call. One that would mean something and cannot be made is an error: what a policy
    /// wants changed must not go out unchanged.
    pub fn leaves_out(&self, edit: &Edit) -> Result<bool, ChatError> {
        match edit {
            Edit::Messages(_) | Edit::Tools(_) => Err(self.unchangeable("the content")),
            Edit::Params(_) if self.generates => Err(self.unchangeable("the parameters")),
            Edit::Params(_) | Edit::Buffer => Ok(true),
            Edit::Model(_) | Edit::Target(_) | Edit::Note(_) | Edit::ResponseHeader(_) => Ok(false),
        }
    }

    /// Refuses the call when somebody watches generated text, who would see nothing of this one.
    pub async fn check_watched(&self, exchange: &Arc<Exchange>, hooked: bool) -> Result<(), ChatError> {
        if self.generates && (hooked || !Filters::open(exchange).await?.is_empty()) {
            return Err(self.not_here("The answers of models are looked at in this gateway, which is not possible for"));
        }
        Ok(())
    }

    /// The error of a hook that answered with a conversation.
    pub fn no_conversation(&self) -> ChatError {
        self.not_here("An extension of the gateway answered with a conversation, which is no answer to")
    }

    /// The error of a hook that wants the conversation of a call that holds none.
    pub fn holds_none(&self) -> ChatError {
        self.not_here("An extension of the gateway wants to answer this in another way, which is not possible for")
    }

    fn unchangeable(&self, what: &str) -> ChatError {
        self.not_here(&format!("An extension of the gateway wants to change {what} of this request, which is not possible for"))
    }

    fn not_here(&self, why: &str) -> ChatError {
        let message = format!("{why} a call of `{}`. Use a conversation, or ask the operator to exempt such calls.", self.name);
        ChatError { code: Some("operation_not_available".into()), ..ChatError::new(ErrorClass::InvalidRequest, message) }
    }

    /// Whether something is kept at the provider, or asked of what is: no model is called, and what documents say is the caller's own.
    fn is_kept(&self) -> bool {
        matches!(self.name.as_str(), "files" | "batches")
    }

    /// The API of its embeddings, if that is what is asked for.
    pub fn embeddings(&self) -> Option<EmbeddingsApi> {
        match (self.family.as_str(), self.name.as_str()) {
            ("openai", "embeddings") => Some(EmbeddingsApi::Openai),
            ("gemini", "embeddings") => Some(EmbeddingsApi::Gemini),
            _ => None,
        }
    }

    /// Whether several embeddings are asked for as one list.
    pub fn is_batch(&self) -> bool {
        self.path.split('?').next().is_some_and(|path| path.ends_with(":batchEmbedContents"))
    }

    /// Whether a provider takes it: it speaks the API, or the call can be told in the API that it speaks.
    fn is_taken_by(&self, provider: &dyn Provider) -> bool {
        provider.family() == Some(self.family.as_str()) || self.embeddings().is_some() && provider.embeddings("").is_some()
    }

    /// Whether a model works for it.
    pub fn works(&self, incoming: &Incoming) -> bool {
        incoming.head.method == Method::POST && !self.is_kept()
    }

    /// The error of a call that leaves the model to a provider that has only some.
    fn model_missing(&self, entry: &Entry) -> ChatError {
        // The list may be long.
        let some = list(entry.models.iter().take(5).map(String::as_str));
        let message = format!(
            "This call of `{}` names no model, and the provider `{}` has a list of models ({some}{}). Name one of them in `model`.",
            self.name,
            entry.name,
            if entry.models.len() > 5 { ", …" } else { "" }
        );
        let error = ChatError::new(ErrorClass::InvalidRequest, message);
        ChatError { code: Some("model_missing".into()), param: Some("model".into()), ..error }
    }

    /// The error of a model that hooks chose, and that has no place in the body.
    fn no_place(&self, model: &str) -> ChatError {
        let message = format!(
            "An extension of the gateway chose the model `{model}`, and this call of `{}` has no text field `model` for it. Send one.",
            self.name
        );
        let error = ChatError::new(ErrorClass::InvalidRequest, message);
        ChatError { code: Some("model_missing".into()), param: Some("model".into()), ..error }
    }

    /// The error of a provider that does not speak the API.
    fn not_spoken(&self, generation: &Generation, entry: &Entry) -> ChatError {
        let who = format!("The provider `{}` (type `{}`) has no `{}` of the {} API.", entry.name, entry.kind, self.name, self.family);
        self.unsupported(format!("{who} {}", self.fix(generation)))
    }

    /// What to do when there is no provider for a call.
    fn fix(&self, generation: &Generation) -> String {
        let speaking = speaking(generation, self);
        let families = if self.embeddings().is_some() { vec!["openai", "gemini"] } else { vec![self.family.as_str()] };
        let types: Vec<_> = families.into_iter().flat_map(crate::providers::types_of_family).collect();
        let names = list(speaking.iter().map(|e| e.name.as_str()));
        match speaking.len() {
            0 => format!("Configure a provider that has: type {}.", list(types.into_iter())),
            _ => format!(
                "Ask for a model of one that has ({names}), or name it with the header `x-wasmgate-provider` when the call names no model."
            ),
        }
    }

    fn unsupported(&self, message: String) -> ChatError {
        ChatError { code: Some("operation_not_supported".into()), ..ChatError::new(ErrorClass::InvalidRequest, message) }
    }
}

/// What hooks read of a body that is no JSON: nothing.
pub fn nothing_to_read(head: &GenerateHead) -> ChatRequest {
    ChatRequest {
        format: head.format.clone(),
        model: head.model.clone(),
        messages: Vec::new(),
        tools: Vec::new(),
        tool_choice: None,
        params: Params::default(),
        stream: head.stream,
        include_usage: head.include_usage,
        extras: Vec::new(),
    }
}

/// What is wrong with the model of a form. One that cannot be read is not none: the provider would read it.
fn model_of_form(incoming: &Incoming) -> Option<String> {
    let form = incoming.form()?;
    let field = form.named("model").next()?;
    if form.named("model").count() > 1 || field.file {
        return Some("The form has more than one field `model`, or a file of that name; send one text field.".into());
    }
    if form.text(incoming.body(), "model").is_none() {
        return Some("The form's field `model` is not UTF-8; send the name of a model as UTF-8 text.".into());
    }
    let length = field.value.len();
    (length > MAX_MODEL)
        .then(|| format!("The form's field `model` has {length} bytes; send the name of a model, at most {MAX_MODEL} bytes."))
}

/// Whether a path leads where it says, for every reader: URLs take `..` away, also when it is percent-encoded, and a backslash for a slash;
/// some servers decode once more, or take `..;` for `..`.
fn is_straight(path: &str) -> bool {
    let path = path.to_ascii_lowercase();
    let turns = |segment: &str| {
        let segment = segment.replace("%2e", ".").replace("%3b", ";");
        matches!(segment.as_str(), "." | "..") || segment.starts_with("..;") || segment.starts_with(".;")
    };
    path.starts_with('/')
        && path.is_ascii()
        && !path.contains(['\\', '?', '#'])
        && !["%2f", "%5c", "%00", "%25"].iter().any(|code| path.contains(code))
        && !path.split('/').any(turns)
}

/// A query without what callers authenticate with here: it is no business of the provider's.
fn without_secrets(query: &str) -> String {
    let secret = |pair: &str| pair.split(';').any(|one| form_urlencoded::parse(one.as_bytes()).any(|(name, _)| is_secret_parameter(&name)));
    query.split('&').filter(|&pair| !secret(pair)).collect::<Vec<_>>().join("&")
}

fn list<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// The providers that take a call.
fn speaking<'a>(generation: &'a Generation, operation: &Operation) -> Vec<&'a Entry> {
    generation.providers.entries().filter(|e| operation.is_taken_by(&*e.provider)).collect()
}

/// Whether the API has the model in the path, as Gemini's has.
fn has_model(path: &str) -> bool {
    path.contains("{model}")
}

/// The target that hooks chose. When they chose none and the call names no model, it is the default provider or the only one that speaks the
/// API.
pub fn choose(exchange: &Exchange, operation: &Operation) -> Result<Target, ChatError> {
    let generation = exchange.generation();
    let (provider, model) = exchange.target();
    if let Some(node) = upstream::virtual_provider(generation, provider.as_deref()).filter(|_| provider.is_some() || !model.is_empty()) {
        return Ok(Target { provider: node.name.clone(), model });
    }
    let to = |entry: &Entry| {
        // Nobody here knows which model the provider would take, and its list shall hold.
        let listed = entry.provider.family() == Some(operation.family.as_str()) && !entry.models.is_empty();
        if model.is_empty() && listed && operation.works(&exchange.incoming) {
            return Err(operation.model_missing(entry));
        }
        Ok(Target { provider: entry.name.clone(), model: model.clone() })
    };
    if !model.is_empty() {
        return to(upstream::entry(generation, provider.as_deref(), &model)?);
    }
    if let Some(name) = provider {
        let unknown = || operation.unsupported(format!("There is no provider `{name}` here. {}", operation.fix(generation)));
        return to(generation.providers.find(&name).ok_or_else(unknown)?);
    }
    let speaking = speaking(generation, operation);
    let default = generation.default_provider.as_deref();
    match (speaking.iter().find(|e| Some(e.name.as_str()) == default), &speaking[..]) {
        (Some(entry), _) | (None, [entry]) => to(entry),
        (None, []) => {
            let message = format!("No provider here has `{}` of the {} API.", operation.name, operation.family);
            Err(operation.unsupported(format!("{message} {}", operation.fix(generation))))
        }
        (None, several) => {
            let names = list(several.iter().map(|e| e.name.as_str()));
            let message = format!(
                "This call of `{}` names no model, and several providers could take it ({names}). Say which with the header `x-wasmgate-provider`.",
                operation.name
            );
            Err(ChatError { code: Some("provider_missing".into()), ..ChatError::new(ErrorClass::InvalidRequest, message) })
        }
    }
}

/// What a try at a target gave.
pub enum Opened {
    /// A stream that is told from other bytes.
    Sent(Box<Sent>),
    /// An answer that passes as it came, with the try that it is; the dialect's own is none.
    Forwarded(Box<Forwarded>, Option<Box<Try>>),
}

/// Whether a provider speaks the API of an operation.
pub fn is_spoken(generation: &Generation, operation: &Operation, provider: &str) -> bool {
    generation.providers.find(provider).is_some_and(|entry| operation.is_taken_by(&*entry.provider))
}

/// One try at one target, up to the head of the answer.
pub async fn open(exchange: &Arc<Exchange>, operation: &Operation, attempt: Attempt, tries: &Arc<Tries>) -> Result<Opened, Failure> {
    let generation = Arc::clone(exchange.generation());
    let Attempt { target, .. } = &attempt;
    let found = generation.providers.find(&target.provider);
    let entry = found.ok_or_else(|| Failure::skipped(ChatError::new(ErrorClass::Internal, "The gateway lost the provider.")))?;
    if let Some(crossing) = Crossing::find(operation, entry, &target.model) {
        return crossing.open(exchange, entry, attempt, tries).await;
    }
    let Attempt { number, target, via, races: _ } = attempt;
    if entry.provider.family() != Some(operation.family.as_str()) {
        return instead(exchange, operation, entry).await.map_err(Failure::skipped);
    }
    let mut call = Forward {
        model: target.model.clone(),
        method: exchange.incoming.head.method.clone(),
        path: operation.path.clone(),
        body: body(exchange, operation, &target.model).map_err(Failure::skipped)?,
        headers: headers(exchange, entry),
        stream: exchange.head.stream,
    };
    call.headers.extend(upstream::trace_headers(exchange, number));
    let mut attempt = tries.begin(number, target.clone(), via);
    let answer = match entry.forward(call).await {
        Ok(answer) => answer,
        Err(error) => return Err(failed(&mut attempt, error)),
    };
    let chunks = upstream::until_expired(answer.body, &generation);
    let kind = answer.headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default().to_ascii_lowercase();
    if kind.starts_with("text/event-stream") && operation.generates && exchange.dialect.is_some() {
        // Completions are of the older API, whichever of the two the provider is asked in for conversations.
        let format = match entry.provider.format() {
            Format::OpenaiResponses => Format::OpenaiChat,
            format => format,
        };
        let (losses, source) = (Losses::default(), Source::of_same_format(&entry.provider));
        let upstream = Upstream::Events(chunks);
        let sent = Sent { upstream, format, same_format: true, losses, target, source, attempt, held: Vec::new() };
        return Ok(Opened::Sent(Box::new(sent)));
    }
    match look(exchange, operation, entry, &kind, chunks, &mut attempt).await {
        Ok(content) => {
            let (status, headers, losses) = (answer.status, passed(&answer.headers), Losses::default());
            let forwarded = Forwarded { status, headers, content, target: Some(target), losses };
            Ok(Opened::Forwarded(Box::new(forwarded), Some(Box::new(attempt))))
        }
        Err(error) => Err(failed(&mut attempt, error)),
    }
}

pub(super) fn failed(attempt: &mut Try, error: ChatError) -> Failure {
    attempt.end(Some(&error));
    Failure::member(error)
}

/// Looks at the beginning of an answer, or at all of it where it is a document.
async fn look(
    exchange: &Exchange,
    operation: &Operation,
    entry: &Entry,
    kind: &str,
    mut chunks: ByteStream,
    attempt: &mut Try,
) -> Result<Content, ChatError> {
    if kind.starts_with("text/html") && exchange.incoming.head.method == Method::POST {
        let message = format!("The provider `{}` answered with an HTML page; check `base_url`.", entry.name);
        return Err(ChatError::new(ErrorClass::Protocol, message));
    }
    // What is kept at a provider may look like anything.
    let works = operation.works(&exchange.incoming);
    let (json, events) = (works && kind.starts_with("application/json"), kind.starts_with("text/event-stream"));
    let mut read = Looked { bytes: BytesMut::new(), whole: false };
    if json {
        read.all(&mut chunks).await?;
    }
    if read.whole {
        if let Some(error) = error_inside(entry, &read.bytes) {
            return Err(error);
        }
        attempt.usage(operation_usage(&read.bytes));
    }
    Ok(match read.whole {
        true => Content::Whole(read.bytes.freeze()),
        false => Content::Stream { first: read.bytes.freeze(), rest: chunks, tap: (works && events).then(Box::default) },
    })
}

/// The answer of the dialect, when hooks chose a provider that does not speak the API.
async fn instead(exchange: &Exchange, operation: &Operation, entry: &Entry) -> Result<Opened, ChatError> {
    let reply = match &exchange.dialect {
        Some(dialect) => dialect.answer_operation(&exchange.trace, &operation.name, &exchange.incoming).await??,
        None => None,
    };
    let Some(reply) = reply else { return Err(operation.not_spoken(exchange.generation(), entry)) };
    let own = Forwarded {
        status: StatusCode::OK,
        headers: HeaderMap::new(),
        content: Content::Reply(reply),
        target: None,
        losses: Losses::default(),
    };
    Ok(Opened::Forwarded(Box::new(own), None))
}

/// The caller's body, asking for the model that hooks chose.
fn body(exchange: &Exchange, operation: &Operation, model: &str) -> Result<Bytes, ChatError> {
    let incoming = &exchange.incoming;
    let body = incoming.body();
    if model.is_empty() {
        return Ok(body.clone());
    }
    if let Some(document) = incoming.document() {
        // The wish for usage is part of streams that a model writes, and of no others.
        let edits = match has_model(&operation.path) {
            true => gemini_model_edits(document, model),
            false => passthrough::request_edits(Format::OpenaiChat, document, model, operation.generates && exchange.head.stream),
        };
        if edits.is_empty() {
            return Ok(body.clone());
        }
        let edits: Vec<_> = edits.iter().map(|(name, value)| (*name, value.as_deref())).collect();
        return Ok(passthrough::splice(body, document, &edits).into());
    }
    let Some((form, held)) = incoming.form().and_then(|form| Some((form, form.text(body, "model")?))) else {
        // Nothing is sent, nothing was chosen, or it is kept and has no model.
        if body.is_empty() || model == exchange.head.model || operation.is_kept() {
            return Ok(body.clone());
        }
        return Err(operation.no_place(model));
    };
    if held == model {
        return Ok(body.clone());
    }
    if model.contains(|c: char| c.is_control()) {
        return Err(ChatError::new(ErrorClass::InvalidRequest, "The model's name has a control character, which no form can carry."));
    }
    form.with_text(body, "model", model).map(Bytes::from).ok_or_else(|| operation.no_place(model))
}

/// What the body is, and what the API defines for its provider. Nothing else of the caller's goes on.
fn headers(exchange: &Exchange, entry: &Entry) -> Vec<(HeaderName, HeaderValue)> {
    let mut fields = upstream::format_headers(exchange, entry.provider.format());
    let incoming = &exchange.incoming;
    // Of a form the type says what was read here, so that the provider reads the same.
    let kind = match incoming.form() {
        Some(form) => HeaderValue::try_from(form.content_type()).ok(),
        None => incoming.head.headers.get(header::CONTENT_TYPE).filter(|_| !incoming.body().is_empty()).cloned(),
    };
    fields.extend(kind.map(|kind| (header::CONTENT_TYPE, kind)));
    fields
}

/// Header fields of an answer that belong to its content.
fn passed(headers: &HeaderMap) -> HeaderMap {
    let names = [header::CONTENT_TYPE, header::CONTENT_DISPOSITION, header::CONTENT_ENCODING, header::CONTENT_LENGTH];
    names.into_iter().filter_map(|name| Some((name.clone(), headers.get(name)?.clone()))).collect()
}

/// An error under a status of success: a document that is an error and nothing else.
pub(super) fn error_inside(entry: &Entry, body: &[u8]) -> Option<ChatError> {
    let document = Document::parse(body).ok()?;
    let told = document.get("error").is_some_and(|e| e.starts_with('{'));
    let answer =
        ["id", "data", "choices", "results", "object", "embedding", "embeddings"].iter().any(|member| document.get(member).is_some());
    (told && !answer).then(|| entry.provider.tellable(entry.provider.format().decode_error(200, None, body)))
}

/// The beginning of an answer, or all of it.
struct Looked {
    bytes: BytesMut,
    whole: bool,
}

impl Looked {
    /// Reads to the end, or to the limit.
    async fn all(&mut self, chunks: &mut ByteStream) -> Result<(), ChatError> {
        while self.bytes.len() <= MAX_LOOK {
            match chunks.next().await {
                Some(chunk) => self.bytes.extend_from_slice(&chunk?),
                None => {
                    self.whole = true;
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

/// An answer on its way to the client, as it came.
pub struct Forwarded {
    status: StatusCode,
    headers: HeaderMap,
    content: Content,
    target: Option<Target>,
    losses: Losses,
}

enum Content {
    Whole(Bytes),
    Stream {
        first: Bytes,
        rest: ByteStream,
        tap: Option<Box<UsageTap>>,
    },
    /// The dialect's own.
    Reply(Reply),
}

impl Forwarded {
    /// An answer that was written here.
    pub fn written(body: Vec<u8>, headers: HeaderMap, target: Target, losses: Losses) -> Self {
        Self { status: StatusCode::OK, headers, content: Content::Whole(body.into()), target: Some(target), losses }
    }

    /// The response. A stream that breaks off breaks the connection: there is no other way to tell it in the middle of a picture.
    pub fn into_response(self, mut completion: Completion) -> Response {
        let Self { status, headers, content, target, losses } = self;
        let body = match content {
            Content::Reply(reply) => {
                let response = dialect::reply(reply);
                completion.first_byte(response.status().as_u16());
                completion.success();
                return response;
            }
            Content::Whole(bytes) => {
                completion.first_byte(status.as_u16());
                completion.success();
                Body::from(bytes)
            }
            Content::Stream { first, rest, tap } => {
                completion.first_byte(status.as_u16());
                let length = headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse().ok());
                streamed(first, rest, tap, length, completion)
            }
        };
        let mut response = Response::new(body);
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        relay::gateway_headers(response.headers_mut(), target.as_ref(), &losses);
        response
    }
}

/// What is needed while a stream passes.
struct Passing {
    chunks: ByteStream,
    tap: Option<Box<UsageTap>>,
    /// Bytes that are still to come, where the provider said how many there are. Nobody asks for more after the last of them.
    left: Option<u64>,
    /// Gone when the end was told.
    completion: Option<Completion>,
}

impl Passing {
    async fn next(&mut self) -> Option<Result<Bytes, std::io::Error>> {
        let completion = self.completion.as_mut()?;
        match self.chunks.next().await {
            Some(Ok(bytes)) => {
                if let Some(tap) = &mut self.tap {
                    tap.push(&bytes);
                    completion.usage(tap.usage().cloned());
                }
                self.left = self.left.map(|left| left.saturating_sub(bytes.len() as u64));
                if self.left == Some(0) {
                    self.succeeded();
                }
                Some(Ok(bytes))
            }
            Some(Err(error)) => {
                completion.error(&error, None);
                self.completion = None;
                Some(Err(std::io::Error::other(error.message)))
            }
            None => {
                self.succeeded();
                None
            }
        }
    }

    fn succeeded(&mut self) {
        if let Some(mut completion) = self.completion.take() {
            completion.success();
        }
    }
}

fn streamed(first: Bytes, rest: ByteStream, tap: Option<Box<UsageTap>>, left: Option<u64>, completion: Completion) -> Body {
    let first = (!first.is_empty()).then_some(Ok(first));
    let chunks = Box::pin(stream::iter(first).chain(rest));
    let mut passing = Passing { chunks, tap, left, completion: Some(completion) };
    if left == Some(0) {
        passing.succeeded();
    }
    Body::from_stream(stream::unfold(passing, |mut passing| async move { Some((passing.next().await?, passing)) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_where_they_say() {
        for path in ["/files", "/files/file-1/content", "/files/..a", "/a.b", "/files/a%20b", "/files/a;b", "/files/...;", "/a%2eb"] {
            assert!(is_straight(path), "{path}");
        }
        for path in [
            "",
            "files",
            "/files/..",
            "/files/../models",
            "/files/%2e%2E/models",
            "/files/.%2e/x",
            "/./x",
            "/a\\..\\b",
            "/a?b",
            "/ä",
            "/files/a%2Fb",
            "/files/..%2f..%2fmodels",
            "/files/..%5C..%5cmodels",
            "/files/%252e%252e/models",
            "/files/a%00",
            "/files/..;/models",
            "/files/%2E.;x=y/models",
            "/files/.;/x",
            "/files/..%3B/models",
        ] {
            assert!(!is_straight(path), "{path}");
        }
    }

    #[test]
    fn secrets_of_a_query_stay_here() {
        for (query, expect) in [
            ("limit=2&after=a%2Fb", "limit=2&after=a%2Fb"),
            ("key=s", ""),
            ("a=1&API_KEY=s&b=%20&x&&api-key=s", "a=1&b=%20&x&"),
            ("access_token=s&monkey=1&keyed=2", "monkey=1&keyed=2"),
            ("%6Bey=s&a=b;key=s&z=1", "z=1"),
            ("subscription-key=s&purpose=batch", "purpose=batch"),
        ] {
            assert_eq!(without_secrets(query), expect, "{query}");
        }
    }
}
