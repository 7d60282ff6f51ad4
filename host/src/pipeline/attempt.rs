//! Stage 5: the request is tried at a target, and at another one when an extension wants that, until one answers.

use std::sync::Arc;

use llm_codec::hub::{ChatError, ErrorClass};

use super::answer::Answer;
use super::filters::Filters;
use super::hooks::{self, Event};
use super::relay::{Events, Relay};
use super::{Completion, Exchange, Ready, Stop, operation, upstream};
use crate::extensions::bindings::exports::wasmgate::extension::provider_events::AttemptInfo;
use crate::extensions::bindings::wasmgate::extension::request::Target;

/// How often one request may be sent. Targets that extensions pass over count too.
const MAX_ATTEMPTS: u32 = 8;

/// Tries targets until one answers. `number` counts the tries of the request. `hooked` tells that hooks will look at a complete answer.
pub async fn run(exchange: &Arc<Exchange>, number: &mut u32, hooked: bool, completion: &mut Completion) -> Result<Ready, Stop> {
    loop {
        if *number >= MAX_ATTEMPTS {
            let message = format!("The request was sent {MAX_ATTEMPTS} times, and no provider answered it.");
            return Err(ChatError::new(ErrorClass::Overloaded, message).into());
        }
        let attempt = AttemptInfo { target: upstream::choose(exchange)?, number: *number };
        *number += 1;
        match hooks::provider_event(exchange, &attempt, None).await? {
            Event::Keep => {}
            Event::Again => continue,
            Event::Next => {
                return Err(ChatError::new(ErrorClass::Overloaded, "No provider is left that could take the request.").into());
            }
        }
        let error = match open(exchange, attempt.target.clone(), hooked, completion).await {
            Ok(ready) => return Ok(ready),
            // What broke here is no business of the provider's.
            Err(error) if error.class == ErrorClass::Internal => return Err(error.into()),
            Err(error) => error,
        };
        match hooks::provider_event(exchange, &attempt, Some(&error)).await? {
            Event::Again => completion.failed(&error),
            Event::Keep | Event::Next => return Err(error.into()),
        }
    }
}

/// One try, up to the first event of a stream, or to the end of a complete answer.
async fn open(exchange: &Arc<Exchange>, target: Target, hooked: bool, completion: &mut Completion) -> Result<Ready, ChatError> {
    if let Some(wanted) = &exchange.operation {
        return operation::open(exchange, wanted, target, completion).await;
    }
    let sent = upstream::send(exchange, target, completion).await?;
    let filters = Filters::open(exchange).await?;
    if !exchange.head.stream || (hooked && exchange.buffered()) {
        return Ok(Ready::Answer(Answer::collect(exchange, sent, filters, hooked, completion).await?));
    }
    Ok(match &exchange.dialect {
        Some(dialect) => Ready::Stream(Relay::open(exchange, dialect, sent, filters, completion).await?),
        None => Ready::Events(Events::open(sent, filters, completion).await?),
    })
}
