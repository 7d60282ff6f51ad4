//! Signatures of reasoning. The format has one on any part, `thoughtSignature`, which only the provider that made it can read: it stays an
//! extra. A signature of another provider travels in the same member, marked, and so a client of this format can send it back.

use super::spelling::{Name, peek};
use crate::json::{Fields, Value};
use crate::map::{base64_text, to_base64};

pub(super) const SIGNATURE: Name = ("thoughtSignature", "thought_signature");

/// Stands before another provider's signature. The member is base64, and so is all of it.
const SIGNED: &str = "wasmgate-signature:";
/// The same before reasoning that another provider encrypted.
const REDACTED: &str = "wasmgate-redacted:";
/// How base64 of both begins.
const MARK: &str = "d2FzbWdhdGUt";

/// What another provider made of a thought.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Sealed {
    Signature(String),
    Redacted(String),
}

/// What the signature is when it is another provider's.
pub(super) fn read(f: &Fields<'_>) -> Option<Sealed> {
    let found = peek(f, SIGNATURE).and_then(Value::text).filter(|text| text.starts_with(MARK))?;
    // Clients read the bytes and may write them in the other alphabet of base64.
    let text = base64_text(&found.replace('-', "+").replace('_', "/"))?;
    let told = |mark: &str| text.strip_prefix(mark).filter(|rest| !rest.is_empty()).map(str::to_owned);
    told(SIGNED).map(Sealed::Signature).or_else(|| told(REDACTED).map(Sealed::Redacted))
}

/// Takes the signature.
pub(super) fn take(f: &mut Fields<'_>) {
    f.take(if f.peek(SIGNATURE.0).is_some() { SIGNATURE.0 } else { SIGNATURE.1 });
}

/// The member's value for another provider's signature.
pub(super) fn signed(signature: &str) -> String {
    to_base64(format!("{SIGNED}{signature}").as_bytes())
}

/// The member's value for what another provider encrypted.
pub(super) fn redacted(data: &str) -> String {
    to_base64(format!("{REDACTED}{data}").as_bytes())
}
