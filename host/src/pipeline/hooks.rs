//! Stage 4, and the hook of stage 8 that can still change the answer.

use std::sync::Arc;

use llm_codec::hub::ChatAnswer;

use super::answer::Answer;
use super::{Exchange, Stop};
use crate::config::OnError;
use crate::extensions::bindings::exports::wasmgate::extension::after_generate::Verdict;
use crate::extensions::bindings::exports::wasmgate::extension::before_generate::Decision;
use crate::extensions::{CallError, Extension};
use crate::gateway::Generation;

/// How often after-generate hooks may ask for another try of one request.
const MAX_RETRIES: u32 = 3;

/// Asks every before-generate hook, in order. One of them may answer the request.
pub async fn before(generation: &Generation, exchange: &Arc<Exchange>) -> Result<Option<ChatAnswer>, Stop> {
    for extension in &generation.before_generate {
        match extension.before_generate(exchange, &exchange.call_info()).await {
            Ok(Decision::Continue) => {}
            Ok(Decision::Edit(edits)) => exchange.apply(edits).await?,
            Ok(Decision::Respond(answer)) => return Ok(Some(answer)),
            Ok(Decision::Reject(error)) => return Err(Stop::Rejected(error)),
            Err(e) => skip_or_fail(extension, e)?,
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
pub async fn after(generation: &Generation, exchange: &Arc<Exchange>, mut answer: Answer, retry: u32) -> Result<After, Stop> {
    for extension in &generation.after_generate {
        let seen = answer.hub(exchange)?;
        match extension.after_generate(exchange, &exchange.call_info(), &seen).await {
            Ok(Verdict::Keep) => {}
            Ok(Verdict::Replace(replacement)) => answer.replace(replacement),
            Ok(Verdict::Retry(edits)) if retry < MAX_RETRIES => {
                exchange.apply(edits).await?;
                return Ok(After::Again);
            }
            Ok(Verdict::Retry(_)) => {
                tracing::warn!(extension = extension.name(), retries = retry, "no further try is allowed; the answer goes out as it is");
            }
            Ok(Verdict::Reject(error)) => return Err(Stop::Rejected(error)),
            Err(e) => skip_or_fail(extension, e)?,
        }
    }
    Ok(After::Send(answer))
}

/// A hook failed: its extension's `on_error` says what that means for the request.
fn skip_or_fail(extension: &Extension, error: CallError) -> Result<(), Stop> {
    match extension.on_error {
        OnError::Skip => Ok(()),
        OnError::Fail => Err(error.into()),
    }
}
