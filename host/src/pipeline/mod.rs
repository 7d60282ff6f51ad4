//! A request from its arrival to its end. The stages are the files of this folder, in this order:
//!
//! `route` → `incoming` → `dialect` → `hooks` → `attempt` → `upstream` → `filters` → `relay` (streams, written by `encoder`) or `answer` (complete answers) → `completion`
//!
//! `inner` is the way of requests that extensions make: from `hooks` on, the same. `operation` is where calls that hold no conversation
//! (embeddings, images and the like) part: they have the same stages until they are sent, and `operation` sends and answers them. `tries` counts
//! what was sent where, and `sticky` says which requests belong together.
//!
//! What is absent: nothing here knows an extension or a provider by name, and there is one way through: streams and complete
//! answers, same-format and translated traffic meet the same hooks.

mod answer;
mod attempt;
mod callers;
mod completion;
mod dialect;
mod embeddings;
mod encoder;
mod exchange;
mod filters;
mod guest_http;
mod hooks;
mod incoming;
mod inner;
mod inner_route;
mod losses;
mod operation;
mod relay;
mod route;
mod seen;
mod sticky;
mod switches;
mod trace;
mod tries;
mod upstream;

use std::sync::Arc;

use axum::response::Response;
use llm_codec::hub::{ChatError, ErrorClass};
use llm_codec::json::JsonFault;

pub use answer::{conversation_size, size as answer_size};
pub use completion::{Completion, ending, part};
pub use dialect::{plain, refuse};
pub use exchange::Exchange;
pub use filters::batch_size;
pub use guest_http::serve as serve_guest_http;
pub use incoming::{Incoming, unix_ms};
pub use inner::{AnswerStream, Asking, Budget, Caller, Generated, HttpCaller};
pub use route::{Answers, Listed, Match, Route, Routes};
pub use trace::{Recent, Record, Trace};

use filters::Filters;

use crate::extensions::Extension;
use crate::extensions::bindings::exports::wasmgate::extension::dialect::{Accepted, GenerateHead};
use crate::gateway::{Gateway, Generation};

/// Why a request got no further. Both become an answer in the client's dialect; they differ in what is recorded.
#[derive(Debug)]
pub enum Stop {
    /// Something went wrong.
    Failed(ChatError),
    /// A hook refused it.
    Rejected(ChatError),
}

impl From<ChatError> for Stop {
    fn from(error: ChatError) -> Self {
        Self::Failed(error)
    }
}

impl From<crate::extensions::CallError> for Stop {
    fn from(error: crate::extensions::CallError) -> Self {
        Self::Failed(error.into())
    }
}

/// What stages need besides the request: the process and the snapshot that the request is pinned to.
#[derive(Clone)]
pub struct Context {
    /// The process.
    pub gateway: Arc<Gateway>,
    /// The snapshot; it stays until the request's stream ends.
    pub generation: Arc<Generation>,
    /// Whether somebody who may know asks what the request costs.
    pub debug: bool,
}

/// Serves a request on a dialect's route.
pub async fn serve(context: Context, id: String, dialect: Arc<Extension>, arrived: Result<Incoming, JsonFault>, trace: Trace) -> Response {
    let incoming = match arrived {
        Ok(incoming) => Arc::new(incoming),
        Err(fault) => return refused(&context, &dialect, &trace, &id, &incoming::malformed(&fault)).await,
    };
    let head = match dialect.accept(&trace, &incoming).await {
        Err(e) => return refused(&context, &dialect, &trace, &id, &e.into()).await,
        Ok(Err(e)) => return refused(&context, &dialect, &trace, &id, &e).await,
        Ok(Ok(Accepted::Reply(reply))) => return dialect::reply(reply),
        Ok(Ok(Accepted::Generate(head))) => head,
    };
    if let Some(error) = too_long(&head) {
        return refused(&context, &dialect, &trace, &id, &error).await;
    }
    let exchange = Exchange::new(context, id, incoming, Arc::clone(&dialect), head, trace);
    answer(Arc::new(exchange), dialect).await
}

/// Serves a call that holds no conversation.
pub async fn serve_operation(
    context: Context,
    id: String,
    dialect: Arc<Extension>,
    arrived: Result<Incoming, ChatError>,
    trace: Trace,
) -> Response {
    let incoming = match arrived {
        Ok(incoming) => Arc::new(incoming),
        Err(error) => return refused(&context, &dialect, &trace, &id, &error).await,
    };
    let accepted = match dialect.accept_operation(&trace, &incoming).await {
        Err(e) => Err(e.into()),
        Ok(Err(e)) => Err(e),
        Ok(Ok(head)) => operation::Operation::of(head, &incoming),
    };
    let (operation, head) = match accepted {
        Ok(accepted) => accepted,
        Err(e) => return refused(&context, &dialect, &trace, &id, &e).await,
    };
    if let Some(error) = too_long(&head) {
        return refused(&context, &dialect, &trace, &id, &error).await;
    }
    let exchange = Exchange::new(context, id, incoming, Arc::clone(&dialect), head, trace).of_operation(operation);
    answer(Arc::new(exchange), dialect).await
}

/// Answers a request that a dialect accepted, whatever comes of it.
async fn answer(exchange: Arc<Exchange>, dialect: Arc<Extension>) -> Response {
    let mut completion = Completion::new(Arc::clone(&exchange));
    let expired = exchange.generation().expired.clone();
    let generated = tokio::select! {
        biased;
        generated = generate(&exchange, &mut completion) => generated,
        () = expired.cancelled() => Err(self::expired().into()),
    };
    let ready = match generated {
        Ok(Ready::Answer(answer)) => answer.finish(&exchange, &dialect).await.map(Ready::Answer).map_err(Stop::from),
        ready => ready,
    };
    let mut response = match ready {
        Ok(Ready::Answer(answer)) => answer.into_response(completion),
        Ok(Ready::Stream(relay)) => relay.into_response(completion),
        Ok(Ready::Forwarded(forwarded)) => forwarded.into_response(completion),
        Ok(Ready::Events(_)) => refuse(&dialect, &exchange.trace, &exchange.id, &nowhere()).await,
        Err(stop) => {
            let (Stop::Failed(error) | Stop::Rejected(error)) = &stop;
            let response = refuse(&dialect, &exchange.trace, &exchange.id, error).await;
            let status = response.status().as_u16();
            match &stop {
                Stop::Failed(_) => completion.error(error, Some(status)),
                Stop::Rejected(_) => completion.rejected(error, status),
            }
            response
        }
    };
    dialect::add_headers(&mut response, exchange.take_response_headers());
    if exchange.context.debug {
        // Of a stream, what was spent until its first byte.
        dialect::add_headers(&mut response, [("server-timing".into(), exchange.trace.to_server_timing())]);
    }
    response
}

/// Longest name of a model, in bytes.
const MAX_MODEL: usize = 512;

/// Dialects know better what to say, but what is remembered and logged of a request is bounded here.
fn too_long(head: &GenerateHead) -> Option<ChatError> {
    let message = format!("The model's name is longer than {MAX_MODEL} bytes.");
    (head.model.len() > MAX_MODEL).then(|| ChatError::new(ErrorClass::InvalidRequest, message))
}

/// The answer to a request that did not become one.
pub async fn refused(context: &Context, dialect: &Arc<Extension>, trace: &Trace, id: &str, error: &ChatError) -> Response {
    let response = refuse(dialect, trace, id, error).await;
    if let (Some(otlp), Some(span)) = (&context.gateway.otlp, trace.span()) {
        otlp.refuse(span, response.status().as_u16(), error.class.name());
    }
    tracing::info!(request_id = id, status = response.status().as_u16(), error = error.message, "request refused");
    response
}

/// An answer of which nothing was sent yet.
enum Ready {
    /// It is complete.
    Answer(answer::Answer),
    /// It begins, for a client.
    Stream(Box<relay::Relay>),
    /// It begins, for an extension that asked.
    Events(Box<relay::Events>),
    /// It is that of an operation.
    Forwarded(Box<operation::Forwarded>),
}

/// Stages 4 to 7, up to the commit point: until this returns, nothing was sent to the client and everything can still be changed.
async fn generate(exchange: &Arc<Exchange>, completion: &mut Completion) -> Result<Ready, Stop> {
    if let Some(answer) = hooks::before(exchange).await? {
        if let Some(operation) = &exchange.operation {
            return Err(operation.no_conversation().into());
        }
        let filters = Filters::open(exchange).await?;
        return Ok(Ready::Answer(answer::Answer::from_hook(exchange, answer, filters).await?));
    }
    let hooked = exchange.generation().after_generate.iter().any(|e| exchange.runs(e));
    if let Some(operation) = &exchange.operation {
        operation.check_watched(exchange, hooked).await?;
    }
    for retry in 0.. {
        let answer = match attempt::run(exchange, hooked, completion).await? {
            Ready::Answer(answer) if hooked => answer,
            ready => return Ok(ready),
        };
        match hooks::after(exchange, answer, retry).await? {
            hooks::After::Send(answer) => return Ok(Ready::Answer(answer)),
            hooks::After::Again => {}
        }
    }
    unreachable!("the loop ends by its own returns")
}

/// The error of requests that were on a replaced generation for too long, or still ran when the gateway had to end.
fn expired() -> ChatError {
    ChatError::new(
        ErrorClass::Overloaded,
        "The gateway was changed or stopped while this request ran, and the time to finish it is over; send it again.",
    )
}

/// A stream for an extension, although a client asked. It cannot be.
fn nowhere() -> ChatError {
    ChatError::new(ErrorClass::Internal, "The gateway made an answer for nobody.")
}
