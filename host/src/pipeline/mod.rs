//! A request from its arrival to its end. The stages are the files of this folder, in this order:
//!
//! `route` → `incoming` → `dialect` → `hooks` → `upstream` → `filters` → `relay` (streams) or `answer` (complete answers) → `completion`
//!
//! What is absent: nothing here knows an extension or a provider by name, and there is one way through: streams and complete
//! answers, same-format and translated traffic meet the same hooks.

mod answer;
mod completion;
mod dialect;
mod exchange;
mod filters;
mod guest_http;
mod hooks;
mod incoming;
mod relay;
mod route;
mod trace;
mod upstream;

use std::sync::Arc;

use axum::response::Response;
use llm_codec::hub::{ChatError, ErrorClass};
use llm_codec::json::JsonFault;

pub use completion::Completion;
pub use dialect::{plain, refuse};
pub use exchange::Exchange;
pub use guest_http::serve as serve_guest_http;
pub use incoming::Incoming;
pub use route::{Listed, Match, Route, Routes};
pub use trace::{Recent, Record, Trace};

use filters::Filters;

use crate::extensions::Extension;
use crate::extensions::bindings::exports::wasmgate::extension::dialect::Accepted;
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
}

/// Serves a request on a dialect's route.
pub async fn serve(context: Context, id: String, dialect: Arc<Extension>, arrived: Result<Incoming, JsonFault>) -> Response {
    let trace = Trace::default();
    let incoming = match arrived {
        Ok(incoming) => Arc::new(incoming),
        Err(fault) => return refused(&dialect, &trace, &id, &malformed(&fault)).await,
    };
    let head = match dialect.accept(&trace, &incoming).await {
        Err(e) => return refused(&dialect, &trace, &id, &e.into()).await,
        Ok(Err(e)) => return refused(&dialect, &trace, &id, &e).await,
        Ok(Ok(Accepted::Reply(reply))) => return dialect::reply(reply),
        Ok(Ok(Accepted::Generate(head))) => head,
    };
    // Dialects know better what to say, but what is remembered and logged of a request is bounded here.
    if head.model.len() > MAX_MODEL {
        let error = ChatError::new(ErrorClass::InvalidRequest, format!("The model's name is longer than {MAX_MODEL} bytes."));
        return refused(&dialect, &trace, &id, &error).await;
    }
    let exchange = Arc::new(Exchange::new(id, incoming, Arc::clone(&dialect), head, trace));
    let mut completion = Completion::new(Arc::clone(&context.gateway), Arc::clone(&context.generation), Arc::clone(&exchange));
    match generate(&context, &exchange, &mut completion).await {
        Ok(Ready::Answer(answer)) => answer.into_response(&exchange, completion),
        Ok(Ready::Stream(relay)) => relay.into_response(&exchange, completion),
        Err(stop) => {
            let (Stop::Failed(error) | Stop::Rejected(error)) = &stop;
            let mut response = refuse(&dialect, &exchange.trace, error).await;
            let status = response.status().as_u16();
            match &stop {
                Stop::Failed(_) => completion.error(error, Some(status)),
                Stop::Rejected(_) => completion.rejected(error, status),
            }
            dialect::add_headers(&mut response, &exchange.response_headers());
            response
        }
    }
}

/// Longest name of a model, in bytes.
const MAX_MODEL: usize = 512;

/// The answer to a request that did not become one.
async fn refused(dialect: &Arc<Extension>, trace: &Trace, id: &str, error: &ChatError) -> Response {
    let response = refuse(dialect, trace, error).await;
    tracing::info!(request_id = id, status = response.status().as_u16(), error = error.message, "request refused");
    response
}

/// An answer of which nothing was sent yet.
enum Ready {
    /// It is complete.
    Answer(answer::Answer),
    /// It begins.
    Stream(Box<relay::Relay>),
}

/// Stages 4 to 7, up to the commit point: until this returns, nothing was sent to the client and everything can still be changed.
async fn generate(context: &Context, exchange: &Arc<Exchange>, completion: &mut Completion) -> Result<Ready, Stop> {
    if let Some(answer) = hooks::before(&context.generation, exchange).await? {
        let filters = Filters::open(&context.generation, exchange).await?;
        return Ok(Ready::Answer(answer::Answer::from_hook(exchange, answer, filters).await?));
    }
    let hooked = !context.generation.after_generate.is_empty();
    for retry in 0.. {
        let sent = upstream::send(&context.generation, exchange, completion).await?;
        let filters = Filters::open(&context.generation, exchange).await?;
        if exchange.head.stream && !(hooked && exchange.buffered()) {
            return Ok(Ready::Stream(relay::Relay::open(exchange, sent, filters, completion).await?));
        }
        let answer = answer::Answer::collect(exchange, sent, filters, hooked, completion).await?;
        if !hooked {
            return Ok(Ready::Answer(answer.finish(exchange).await?));
        }
        match hooks::after(&context.generation, exchange, answer, retry).await? {
            hooks::After::Send(answer) => return Ok(Ready::Answer(answer.finish(exchange).await?)),
            hooks::After::Again => {}
        }
    }
    unreachable!("the loop ends by its own returns")
}

/// The error of a body that is not JSON, with the place.
fn malformed(fault: &JsonFault) -> ChatError {
    let place = format!("line {}, column {}", fault.line, fault.column);
    ChatError {
        code: Some("invalid_json".into()),
        ..ChatError::new(ErrorClass::InvalidRequest, format!("The request body is not a JSON object: {} at {place}.", fault.message))
    }
}
