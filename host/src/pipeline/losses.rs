//! Stages 5 and 7: what client and provider cannot tell each other, because the format of one has no place for it.
//!
//! The codec lists it; what is done about it is the operator's decision, provider by provider (`on_unsupported`). Same-format traffic loses
//! nothing and never comes here. An answer is never refused for what is lost of it: it was paid for already.

use std::fmt::Write as _;
use std::sync::Arc;

use llm_codec::hub::{ChatAnswer, ChatError, ErrorClass, StreamEvent};
use llm_codec::{Format, Loss, StreamLosses};

use super::Exchange;
use crate::config::OnUnsupported;
use crate::providers::Entry;

/// Most bytes of the header field; what does not fit is counted.
const MAX_HEADER: usize = 1024;

/// Longest path of a field that is shown, in characters: names of unknown members are the client's.
const MAX_FIELD: usize = 128;

/// Most losses that an error or a log line names; the others are counted.
const MAX_NAMED: usize = 16;

/// What got lost between a client and a provider.
#[derive(Debug, Default)]
pub struct Losses {
    /// The format that the answer has to be written in, when the host knows it and it is not the provider's.
    client: Option<Format>,
    /// Nobody wants to be told.
    silent: bool,
    provider: String,
    request: Vec<Loss>,
    answer: Vec<Loss>,
}

impl Losses {
    /// What a provider's format cannot express of a request, as its settings want it: an error when that refuses the request.
    pub fn of_request(exchange: &Exchange, entry: &Entry, same_format: bool, request: Vec<Loss>) -> Result<Self, ChatError> {
        let client = Format::from_name(&exchange.head.format).filter(|_| !same_format);
        if entry.on_unsupported == OnUnsupported::Reject && !request.is_empty() {
            return Err(refusal(entry, client, &request));
        }
        let silent = entry.on_unsupported == OnUnsupported::Drop;
        log(exchange, &entry.name, silent, "request", request.iter());
        Ok(Self { client, silent, provider: entry.name.clone(), request, answer: Vec::new() })
    }

    /// Takes note of what the client's format cannot express of a complete answer.
    pub fn of_answer(&mut self, exchange: &Exchange, answer: &ChatAnswer) {
        if let Some(client) = self.client.filter(|_| self.told()) {
            self.answer = client.answer_losses(answer);
            log(exchange, &self.provider, self.silent, "answer", self.answer.iter());
        }
    }

    /// The same for an answer that is about to be streamed: what it loses is known when it is over, and only logged.
    pub fn of_stream(&self, exchange: &Arc<Exchange>) -> Option<LostInStream> {
        let client = self.client.filter(|_| self.told())?;
        Some(LostInStream {
            exchange: Arc::clone(exchange),
            provider: self.provider.clone(),
            silent: self.silent,
            losses: StreamLosses::new(client),
        })
    }

    /// Whether anybody hears of losses.
    fn told(&self) -> bool {
        !self.silent || tracing::enabled!(tracing::Level::DEBUG)
    }

    /// The value of the response header: `seed=unsupported, temperature=adjusted, answer.choices[1]=unsupported`, and at its end
    /// `more=3` when there was no room for all.
    pub fn header(&self) -> Option<String> {
        if self.silent || self.request.is_empty() && self.answer.is_empty() {
            return None;
        }
        let name = |field: &str| self.client.map_or_else(|| field.to_owned(), |f| f.field_name(field).to_owned());
        let request = self.request.iter().map(|l| (name(&l.field), l.kind));
        let answer = self.answer.iter().map(|l| (format!("answer.{}", l.field), l.kind));
        let all: Vec<String> = request.chain(answer).map(|(field, kind)| format!("{}={}", shown(&field), kind.as_str())).collect();
        Some(bounded(&all))
    }
}

/// What a client's format cannot express of a stream. It is logged when the stream is over, however it ended.
pub struct LostInStream {
    exchange: Arc<Exchange>,
    provider: String,
    silent: bool,
    losses: StreamLosses,
}

impl LostInStream {
    /// The next events for the client.
    pub fn events(&mut self, events: &[StreamEvent]) {
        self.losses.events(events);
    }
}

impl Drop for LostInStream {
    fn drop(&mut self) {
        log(&self.exchange, &self.provider, self.silent, "answer", self.losses.found().into_iter());
    }
}

/// As many entries as fit, and the number of the others.
fn bounded(all: &[String]) -> String {
    let mut value = String::new();
    for (n, entry) in all.iter().enumerate() {
        // Room for the number of all that follow stays.
        if value.len() + 2 + entry.len() > MAX_HEADER - ", more=4294967295".len() {
            let _ = write!(value, ", more={}", all.len() - n);
            break;
        }
        if n > 0 {
            value.push_str(", ");
        }
        value.push_str(entry);
    }
    value
}

/// A path in the characters that a list in a header can hold: unknown members may be called anything.
fn shown(field: &str) -> String {
    let safe = |c: char| if c.is_ascii_graphic() && !matches!(c, ',' | ';' | '=' | '"' | '\\') { c } else { '_' };
    let mut shown: String = field.chars().take(MAX_FIELD).map(safe).collect();
    if field.chars().nth(MAX_FIELD).is_some() {
        shown.push_str("...");
    }
    shown
}

fn log<'a>(exchange: &Exchange, provider: &str, silent: bool, of: &str, losses: impl ExactSizeIterator<Item = &'a Loss>) {
    let count = losses.len();
    if count == 0 {
        return;
    }
    let named: Vec<String> = losses.take(MAX_NAMED).map(|l| format!("{} ({}): {}", shown(&l.field), l.kind.as_str(), l.reason)).collect();
    let (request_id, fields) = (&exchange.id, named.join("; "));
    if silent {
        tracing::debug!(request_id, provider, of, count, fields, "what the other format cannot express is left out");
    } else {
        tracing::warn!(request_id, provider, of, count, fields, "what the other format cannot express is left out");
    }
}

/// The error of a request that a provider cannot take as it is.
fn refusal(entry: &Entry, client: Option<Format>, losses: &[Loss]) -> ChatError {
    let name = |loss: &Loss| shown(client.map_or(&loss.field, |f| f.field_name(&loss.field)));
    let mut fields: Vec<String> = losses.iter().take(MAX_NAMED).map(|l| format!("`{}`: {}", name(l), l.reason)).collect();
    if losses.len() > MAX_NAMED {
        fields.push(format!("and {} more", losses.len() - MAX_NAMED));
    }
    let message = format!(
        "The provider `{}` cannot take everything in this request, and its `on_unsupported` says to reject it. {}. Leave these out or \
         change them, or name a model of a provider that takes them.",
        entry.name,
        fields.join("; ")
    );
    ChatError {
        param: losses.first().map(name),
        code: Some("unsupported_parameter".into()),
        ..ChatError::new(ErrorClass::InvalidRequest, message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_is_bounded_and_holds_what_a_header_can() {
        assert_eq!(shown("messages[0].content[1]"), "messages[0].content[1]");
        assert_eq!(shown("a\r\nset-cookie: x=1, \"ü\""), "a__set-cookie:_x_1_____");
        assert_eq!(shown(&"x".repeat(200)).len(), MAX_FIELD + 3);
        assert_eq!(bounded(&["a=moved".into(), "b=foreign".into()]), "a=moved, b=foreign");
        let many: Vec<String> = (0..500).map(|n| format!("f{n}=unsupported")).collect();
        let value = bounded(&many);
        let (named, more) = value.rsplit_once(", more=").expect("not all fit");
        assert_eq!(named.split(", ").count() + more.parse::<usize>().expect("a number"), 500);
        assert!(value.len() <= MAX_HEADER && value.len() > MAX_HEADER - 64, "{}", value.len());
    }
}
