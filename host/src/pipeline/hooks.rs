//! Stage 4, and the hook of stage 8 that can still change the answer.

use std::sync::Arc;

use llm_codec::hub::{ChatAnswer, ChatError};

use super::answer::Answer;
use super::{Exchange, Stop};
use crate::extensions::bindings::exports::wasmgate::extension::after_generate::Verdict;
use crate::extensions::bindings::exports::wasmgate::extension::before_generate::Decision;
use crate::extensions::bindings::exports::wasmgate::extension::provider_events::{AttemptInfo, Reaction};
use crate::extensions::bindings::wasmgate::extension::request::Target;
use crate::extensions::{CallError, Extension, Hook};

/// How often after-generate hooks may ask for another try of one request.
const MAX_RETRIES: u32 = 3;

/// Asks every before-generate hook, in order. One of them may answer the request.
pub async fn before(exchange: &Arc<Exchange>) -> Result<Option<ChatAnswer>, Stop> {
    for extension in exchange.generation().before_generate.iter().filter(|e| exchange.runs(e)) {
        match extension.before_generate(exchange, &exchange.call_info()).await {
            Ok(Decision::Continue) => {}
            Ok(Decision::Edit(edits)) => exchange.apply(edits).await?,
            Ok(Decision::Respond(answer)) => return Ok(Some(answer)),
            Ok(Decision::Reject(error)) => return Err(Stop::Rejected(error)),
            Err(e) => skip_or_fail(extension, Hook::BeforeGenerate, e)?,
        }
    }
    Ok(None)
}

/// What after-generate hooks decided.
pub enum After {
    /// This goes out.
    Send(Answer),
    /// The request was changed and is sent again.
    Again,
}

/// Asks every after-generate hook, in reverse order, so that the last to touch the request is the first to see its answer.
pub async fn after(exchange: &Arc<Exchange>, mut answer: Answer, retry: u32) -> Result<After, Stop> {
    for extension in exchange.generation().after_generate.iter().filter(|e| exchange.runs(e)) {
        let seen = answer.hub(exchange)?;
        match extension.after_generate(exchange, &exchange.call_info(), &seen).await {
            Ok(Verdict::Keep) => {}
            Ok(Verdict::Replace(replacement)) => answer.replace(replacement),
            Ok(Verdict::Retry(edits)) if retry < MAX_RETRIES => {
                exchange.unsettle();
                exchange.apply(edits).await?;
                return Ok(After::Again);
            }
            Ok(Verdict::Retry(_)) => {
                tracing::warn!(extension = extension.name(), retries = retry, "no further try is allowed; the answer goes out as it is");
            }
            Ok(Verdict::Reject(error)) => return Err(Stop::Rejected(error)),
            Err(e) => skip_or_fail(extension, Hook::AfterGenerate, e)?,
        }
    }
    Ok(After::Send(answer))
}

/// What extensions made of a try at a provider.
pub enum Event {
    /// It goes on as it would without them.
    Keep,
    /// The request goes to this target.
    Other(Target),
    /// No further target is wanted.
    Next,
}

/// Tells extensions of a try: that it is about to be made, or that it failed. The first that does not keep things as they are counts.
pub async fn provider_event(exchange: &Arc<Exchange>, attempt: &AttemptInfo, error: Option<&ChatError>) -> Result<Event, Stop> {
    for extension in exchange.generation().provider_events.iter().filter(|e| exchange.runs(e)) {
        match extension.provider_event(exchange, &exchange.call_info(), attempt, error).await {
            Ok(Reaction::Keep) => {}
            Ok(Reaction::Next) => return Ok(Event::Next),
            Ok(Reaction::Other(target)) => return Ok(Event::Other(target)),
            Ok(Reaction::Fail(instead)) if error.is_some() => return Err(Stop::Failed(instead)),
            Ok(Reaction::Fail(refusal)) => return Err(Stop::Rejected(refusal)),
            Err(e) => skip_or_fail(extension, Hook::ProviderEvents, e)?,
        }
    }
    Ok(Event::Keep)
}

/// A hook failed: its extension's `on_error` says what that means for the request.
fn skip_or_fail(extension: &Extension, hook: Hook, error: CallError) -> Result<(), Stop> {
    if extension.on_error.skips(hook) { Ok(()) } else { Err(error.into()) }
}
