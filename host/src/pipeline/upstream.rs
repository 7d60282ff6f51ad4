//! Stage 5: the request goes to its target, in the target's format.
//!
//! When client and provider speak the same format and no hook changed the conversation, the body goes out as it came, with the
//! model name (and for OpenAI streams the wish for usage) spliced in; nobody reads the rest.
//!
//! Behind a virtual provider an answer is looked at before it counts as one (`first_event`, `whole`), because until then another provider can
//! be asked. Elsewhere nobody waits for that: the relay finds out as it goes.

use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::{HeaderName, HeaderValue};
use llm_codec::hub::{ChatAnswer, ChatError, Collector, ErrorClass};
use llm_codec::passthrough::StreamTap;
use llm_codec::{EncodeOptions, Format, passthrough};

use super::losses::Losses;
use super::tries::{Tries, Try};
use super::{Exchange, operation};
use crate::extensions::bindings::wasmgate::extension::request::Target;
use crate::gateway::Generation;
use crate::providers::{ByteStream, Entry, Outgoing, Provider, Upstream};
use crate::virtual_providers::{Failure, Node};

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
    /// The try that it is.
    pub attempt: Try,
    /// All of the stream, when it was read whole.
    pub held: Vec<Bytes>,
}

/// Most that is read of a stream before its first event, in bytes: comments, and nothing that anybody needs.
const MAX_BEFORE: usize = 1 << 20;

/// Most of a stream that is held back for hooks that want to see it whole, and for answers that are compared.
pub const MAX_BUFFERED: usize = 64 << 20;

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
    let generation = exchange.generation();
    if let Some(node) = virtual_provider(generation, provider.as_deref()) {
        return Ok(Target { provider: node.name.clone(), model });
    }
    let entry = entry(generation, provider.as_deref(), &model)?;
    Ok(Target { provider: entry.name.clone(), model })
}

/// The virtual provider of a name, or the default one.
pub fn virtual_provider<'a>(generation: &'a Generation, provider: Option<&str>) -> Option<&'a Node> {
    generation.providers.virtuals().find(provider.or(generation.default_provider.as_deref())?)
}

/// One try at a target.
pub struct Attempt {
    /// Its number.
    pub number: u32,
    /// Whom.
    pub target: Target,
    /// The virtual providers that led there, the outermost first.
    pub via: Vec<String>,
    /// It races with others.
    pub races: bool,
}

/// Sends the request to a target. The error tells whether it was sent.
pub async fn send(exchange: &Arc<Exchange>, attempt: Attempt, tries: &Arc<Tries>) -> Result<Sent, Failure> {
    let Attempt { number, target, via, races } = attempt;
    let generation = Arc::clone(exchange.generation());
    let entry = entry(&generation, Some(&target.provider), &target.model).map_err(Failure::skipped)?;
    let format = entry.provider.format_for(&exchange.head.format);
    let same_format = exchange.head.format == format.as_str();
    let (body, losses) = body(exchange, entry, &target.model, format, same_format).await.map_err(Failure::skipped)?;
    let mut headers = if same_format { format_headers(exchange, format) } else { Vec::new() };
    headers.extend(trace_headers(exchange, number));
    let mut attempt = tries.begin(number, target.clone(), via);
    let source = Source { provider: Arc::clone(&entry.provider), same_format };
    let written = races.then(|| attempt.race(format));
    let outgoing = Outgoing { format, model: target.model.clone(), body, stream: exchange.head.stream, headers, written };
    let upstream = match entry.send(outgoing).await {
        Ok(Upstream::Events(events)) => Upstream::Events(until_expired(events, &generation)),
        Ok(answer) => answer,
        Err(error) => {
            let error = source.crossed(error);
            attempt.end(Some(&error));
            return Err(Failure::member(error));
        }
    };
    Ok(Sent { upstream, format, same_format, losses, target, source, attempt, held: Vec::new() })
}

impl Sent {
    /// Reads up to the first event of the answer, so that it is known to be one. A complete document is looked at as a whole.
    pub async fn first_event(self) -> Result<Self, Failure> {
        self.read_until(|tap| tap.facts().started, MAX_BEFORE).await
    }

    /// Reads the answer to its end, so that nothing can go wrong with it any more.
    pub async fn whole(self) -> Result<Self, Failure> {
        self.read_until(|_| false, MAX_BUFFERED).await
    }

    /// The answer, when it is complete or was read whole.
    pub fn read_whole(&self) -> Result<ChatAnswer, ChatError> {
        if let Upstream::Answer(body) = &self.upstream {
            return self.format.decode_answer(body);
        }
        let (mut decoder, mut collector, mut events) = (self.format.event_decoder(), Collector::new(self.format), Vec::new());
        self.held.iter().for_each(|chunk| decoder.push(chunk, &mut events));
        decoder.finish(&mut events);
        events.iter().for_each(|event| collector.push(event));
        collector.finish()
    }

    /// Reads a stream until it has come so far, or to its end. What was read comes first again.
    async fn read_until(mut self, enough: impl Fn(&StreamTap) -> bool, most: usize) -> Result<Self, Failure> {
        let read = match self.upstream {
            Upstream::Answer(body) => {
                let usage = super::answer::usage(self.format, &body);
                usage.map(|usage| {
                    self.attempt.usage(usage);
                    Upstream::Answer(body)
                })
            }
            Upstream::Events(events) => {
                let read = read_events(events, StreamTap::new(self.format, false), &mut self.attempt, enough, most).await;
                read.map(|(read, rest)| {
                    if most == MAX_BUFFERED {
                        self.held.clone_from(&read);
                    }
                    Upstream::Events(Box::pin(stream::iter(read.into_iter().map(Ok)).chain(rest)))
                })
            }
        };
        match read {
            Ok(upstream) => {
                self.attempt.first_event();
                Ok(Self { upstream, ..self })
            }
            Err(error) => {
                let error = self.source.tellable(error);
                self.attempt.end(Some(&error));
                Err(Failure::member(error))
            }
        }
    }
}

async fn read_events(
    events: ByteStream,
    mut tap: StreamTap,
    attempt: &mut Try,
    enough: impl Fn(&StreamTap) -> bool,
    most: usize,
) -> Result<(Vec<Bytes>, ByteStream), ChatError> {
    // It is read once more after its end.
    let mut events: ByteStream = Box::pin(events.fuse());
    let (mut read, mut bytes, mut passed) = (Vec::new(), 0, Vec::new());
    loop {
        let chunk = events.next().await;
        match chunk {
            Some(chunk) => {
                let chunk = chunk?;
                tap.push(&chunk, &mut passed);
                attempt.arrived(&chunk);
                bytes += chunk.len();
                read.push(chunk);
            }
            None => tap.finish(&mut passed),
        }
        passed.clear();
        let facts = tap.facts();
        attempt.usage(facts.usage.clone());
        if facts.started {
            attempt.first_event();
        }
        if let Some(error) = &facts.error {
            return Err(error.clone());
        }
        if facts.ended || enough(&tap) {
            // What follows the end is read by whoever reads on, beside the client.
            return Ok((read, events));
        }
        if bytes > most {
            return Err(ChatError::new(ErrorClass::Protocol, "The provider sent more than what can be held back."));
        }
    }
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

/// The error of a model that nobody offers.
pub fn model_not_found(model: &str) -> ChatError {
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

/// Header fields that tell a provider which trace a try belongs to, if traces are sent.
pub fn trace_headers(exchange: &Exchange, number: u32) -> Vec<(HeaderName, HeaderValue)> {
    exchange.trace.span().map(|span| span.to_provider(number)).unwrap_or_default()
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
