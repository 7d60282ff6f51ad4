//! Stage 7, streams: who writes events as the client's bytes.
//!
//! The dialect does, unless the provider speaks the client's format: then the host knows that format and writes it itself, as it forwards
//! the bytes of a stream that nobody looks at. An instance of the dialect would be kept for the stream's life and add nothing.

use std::sync::Arc;

use llm_codec::hub::{ChatError, StreamEvent};
use llm_codec::{EventEncoder, Format, StreamOptions};

use super::{Exchange, answer, batch_size};
use crate::extensions::bindings::exports::wasmgate::extension::dialect::EncodeOptions;
use crate::extensions::{Encoder, Extension, HookResult};

/// Writes one stream.
pub enum StreamEncoder {
    /// The host, in a format that it knows.
    Native(EventEncoder),
    /// The dialect, in an instance that is kept for it.
    Dialect(Box<Encoder>),
}

impl StreamEncoder {
    /// Begins a stream. `same_format` is the provider's format when the client speaks it too.
    pub async fn open(exchange: &Exchange, dialect: &Arc<Extension>, same_format: Option<Format>) -> HookResult<Self> {
        let options = answer::options(exchange);
        Ok(match same_format {
            Some(format) => {
                let EncodeOptions { format: _, include_usage, id, model, created } = options;
                Self::Native(format.event_encoder(StreamOptions { include_usage, id, model, created }))
            }
            None => Self::Dialect(Box::new(dialect.encoder(&exchange.trace, &options).await?)),
        })
    }

    /// Bytes for a batch of events.
    pub async fn events(&mut self, exchange: &Exchange, events: &[StreamEvent]) -> HookResult<Vec<u8>> {
        match self {
            Self::Native(encoder) => {
                let mut bytes = Vec::new();
                encoder.events(events, &mut bytes);
                Ok(bytes)
            }
            Self::Dialect(encoder) => encoder.events(&exchange.trace, events, batch_size(events)).await,
        }
    }

    /// Bytes for the end: a clean one, or the format's error event.
    pub async fn finish(self, exchange: &Exchange, error: Option<&ChatError>) -> HookResult<Vec<u8>> {
        match self {
            Self::Native(mut encoder) => {
                let mut bytes = Vec::new();
                encoder.finish(error, &mut bytes);
                Ok(bytes)
            }
            Self::Dialect(encoder) => encoder.finish(&exchange.trace, error).await,
        }
    }
}
