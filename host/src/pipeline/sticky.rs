//! What requests have in common that a load balancer sends to the same provider.

use llm_codec::hub::PartKind;
use sha2::{Digest as _, Sha256};

use super::Exchange;
use crate::config::virtual_providers::StickyBy;
use crate::virtual_providers::loadbalance;

/// How much of the beginning of a conversation counts, in bytes: what comes later differs from turn to turn.
const PREFIX: usize = 1024;

/// Members of a body that say how a conversation begins, in the formats that there are.
const BEGINNINGS: [&str; 7] = ["system", "instructions", "systemInstruction", "messages", "input", "contents", "prompt"];

/// Header fields in which callers have their credentials.
const CREDENTIALS: [&str; 3] = ["authorization", "x-api-key", "x-goog-api-key"];

/// The key of a request; none when it has nothing to go by.
pub async fn key(exchange: &Exchange, by: StickyBy) -> Option<u64> {
    match by {
        StickyBy::Credential => {
            let value = CREDENTIALS.iter().find_map(|name| exchange.incoming.head.headers.get(*name))?;
            // What is kept of a credential, even for a moment, is not enough to use it.
            Some(loadbalance::key(&[&Sha256::digest(value.as_bytes())]))
        }
        StickyBy::Prompt => match exchange.incoming.document() {
            Some(document) if exchange.edited().is_none() => {
                let found: Vec<&[u8]> = BEGINNINGS.iter().filter_map(|name| document.get(name)).map(|v| beginning(v.as_bytes())).collect();
                (!found.is_empty()).then(|| loadbalance::key(&found))
            }
            // Of an extension, or changed by one.
            _ => {
                let chat = exchange.chat().await.ok()?;
                let texts = chat.messages.iter().flat_map(|m| &m.parts).filter_map(|p| match &p.kind {
                    PartKind::Text(text) => Some(text.as_bytes()),
                    _ => None,
                });
                let first: Vec<&[u8]> = texts.take(2).map(beginning).collect();
                (!first.is_empty()).then(|| loadbalance::key(&first))
            }
        },
    }
}

fn beginning(bytes: &[u8]) -> &[u8] {
    &bytes[..bytes.len().min(PREFIX)]
}
