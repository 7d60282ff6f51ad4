//! Stage 5: the request goes to its target, in the target's format.
//!
//! When client and provider speak the same format and no hook changed the conversation, the body goes out as it came, with the
//! model name (and for OpenAI streams the wish for usage) spliced in; nobody reads the rest.

use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderName, HeaderValue};
use llm_codec::hub::{ChatError, ErrorClass};
use llm_codec::{EncodeOptions, Format, passthrough};

use super::losses::Losses;
use super::{Completion, Exchange, operation};
use crate::extensions::bindings::wasmgate::extension::request::Target;
use crate::gateway::Generation;
use crate::providers::{ByteStream, Entry, Outgoing, Provider, Upstream};

/// What came back, before any of it was read.
pub struct Sent {
    /// The answer.
    pub upstream: Upstream,
    /// Its format.
    pub format: Format,
    /// Whether the client speaks that format too, so that bytes may pass.
    pub same_format: bool,
    /// What client and provider cannot tell each other.
    pub losses: Losses,
    /// Who was asked.
    pub target: Target,
    /// Who answers.
    pub source: Source,
}

/// Who answers, for what it says of errors.
#[derive(Clone)]
pub struct Source {
    provider: Arc<dyn Provider>,
    same_format: bool,
}

impl Source {
    /// A provider whose words reach the client as they are.
    pub fn of_same_format(provider: &Arc<dyn Provider>) -> Self {
        Self { provider: Arc::clone(provider), same_format: true }
    }

    /// An error that the provider reported in its answer, as the client may be told it.
    pub fn tellable(&self, error: ChatError) -> ChatError {
        self.crossed(self.provider.tellable(error))
    }

    /// The status and the words of one format are not those of another.
    fn crossed(&self, error: ChatError) -> ChatError {
        if self.same_format { error } else { error.crossed() }
    }
}

/// The target that hooks chose.
pub fn choose(exchange: &Exchange) -> Result<Target, ChatError> {
    if let Some(wanted) = &exchange.operation {
        return operation::choose(exchange, wanted);
    }
    let (provider, model) = exchange.target();
    let entry = entry(exchange.generation(), provider.as_deref(), &model)?;
    Ok(Target { provider: entry.name.clone(), model })
}

/// Sends the request to a target.
pub async fn send(exchange: &Arc<Exchange>, target: Target, completion: &mut Completion) -> Result<Sent, ChatError> {
    let generation = Arc::clone(exchange.generation());
    let entry = entry(&generation, Some(&target.provider), &target.model)?;
    let format = entry.provider.format_for(&exchange.head.format);
    let same_format = exchange.head.format == format.as_str();
    let (body, losses) = body(exchange, entry, &target.model, format, same_format).await?;
    let headers = if same_format { format_headers(exchange, format) } else { Vec::new() };
    completion.attempt(target.clone());
    let source = Source { provider: Arc::clone(&entry.provider), same_format };
    let outgoing = Outgoing { format, model: target.model.clone(), body, stream: exchange.head.stream, headers };
    let sent = entry.provider.send(outgoing).await;
    let upstream = match sent.map_err(|e| source.crossed(e))? {
        Upstream::Events(events) => Upstream::Events(until_expired(events, &generation)),
        answer => answer,
    };
    completion.answered();
    Ok(Sent { upstream, format, same_format, losses, target, source })
}

/// A stream that ends with an error when its generation was replaced and its time is up.
pub fn until_expired(mut events: ByteStream, generation: &Generation) -> ByteStream {
    let mut expired = Box::pin(generation.expired.clone().cancelled_owned());
    // First of all: an upstream that always has something to say would never let it be seen.
    Box::pin(stream::poll_fn(move |context| match expired.as_mut().poll(context) {
        Poll::Ready(()) => Poll::Ready(Some(Err(super::expired()))),
        Poll::Pending => events.as_mut().poll_next(context),
    }))
}

/// The provider's entry. Which one is the hooks' business; the host only knows what to do when they said nothing.
pub fn entry<'a>(generation: &'a Generation, provider: Option<&str>, model: &str) -> Result<&'a Entry, ChatError> {
    let name = provider.or(generation.default_provider.as_deref());
    let entry = match name {
        Some(name) => generation.providers.find(name),
        None => None,
    };
    let Some(entry) = entry else {
        return Err(model_not_found(model));
    };
    if !entry.offers(model) {
        return Err(model_not_found(model));
    }
    Ok(entry)
}

fn model_not_found(model: &str) -> ChatError {
    ChatError {
        code: Some("model_not_found".into()),
        param: Some("model".into()),
        ..ChatError::new(
            ErrorClass::ModelNotFound,
            format!("The model `{model}` does not exist here, or no provider offers it. The list of models tells what there is."),
        )
    }
}

/// The body in the provider's format, and what that format cannot express.
async fn body(exchange: &Exchange, entry: &Entry, model: &str, format: Format, same_format: bool) -> Result<(Bytes, Losses), ChatError> {
    if let (true, None, Some(document)) = (same_format, exchange.edited(), exchange.incoming.document()) {
        let edits = passthrough::request_edits(format, document, model, exchange.head.stream);
        if edits.is_empty() {
            return Ok((exchange.incoming.body().clone(), Losses::default()));
        }
        let edits: Vec<_> = edits.iter().map(|(name, value)| (*name, value.as_deref())).collect();
        return Ok((passthrough::splice(exchange.incoming.body(), document, &edits).into(), Losses::default()));
    }
    let mut chat = exchange.chat().await?;
    if let Some(spoken) = Format::from_name(&chat.format).filter(|spoken| *spoken != format) {
        spoken.portable(&chat)?;
    }
    let chat = Arc::make_mut(&mut chat);
    model.clone_into(&mut chat.model);
    chat.include_usage = chat.stream;
    let encoded = format.encode_request(chat, &EncodeOptions { default_max_tokens: entry.default_max_tokens });
    Ok((encoded.body.into(), Losses::of_request(exchange, entry, same_format, encoded.losses)?))
}

/// Header fields of the client that are part of a format and go to a provider of the same format. All others stay here.
pub fn format_headers(exchange: &Exchange, format: Format) -> Vec<(HeaderName, HeaderValue)> {
    let names: &[&'static str] = match format {
        Format::OpenaiChat | Format::OpenaiResponses | Format::GeminiGenerate | Format::OpenaiCompletions => &[],
        Format::AnthropicMessages => &["anthropic-version", "anthropic-beta"],
    };
    let headers = &exchange.incoming.head.headers;
    names.iter().flat_map(|n| headers.get_all(*n).iter().map(|v| (HeaderName::from_static(n), v.clone()))).collect()
}
