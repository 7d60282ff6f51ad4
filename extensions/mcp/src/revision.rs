//! Which revision of the protocol a request is in. Until 2025-11-25 a client says it once, when it begins a session; since 2026-07-28 there
//! are no sessions, and every request says it.

use serde_json::{Map, Value, json};

use crate::rpc::{self, Call, Fault};

/// The revision without sessions.
pub const MODERN: &str = "2026-07-28";

/// Revisions with sessions, the latest first.
pub const LEGACY: [&str; 4] = ["2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"];

/// Names of what requests of today say about themselves.
pub const META_VERSION: &str = "io.modelcontextprotocol/protocolVersion";
const META_CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";

/// How a request is to be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Revision {
    /// With sessions.
    Legacy,
    /// Without.
    Modern,
}

/// Header fields by name.
pub trait Fields {
    /// The text of a field; none when it is not there or is no text.
    fn field(&self, name: &str) -> Option<&str>;
}

/// All that are spoken.
pub fn supported() -> Vec<&'static str> {
    std::iter::once(MODERN).chain(LEGACY).collect()
}

/// The revision of a request. Those of today are held against their header fields.
pub fn of(call: &Call, fields: &dyn Fields) -> Result<Revision, Fault> {
    let header = fields.field("mcp-protocol-version");
    let meta = call.params.get("_meta").and_then(Value::as_object);
    let said = meta.and_then(|meta| meta.get(META_VERSION));
    let modern = said.is_some() || header == Some(MODERN) || call.method == "server/discover";
    if !modern {
        return match header {
            Some(version) if !LEGACY.contains(&version) => Err(unsupported(version)),
            _ => Ok(Revision::Legacy),
        };
    }
    let version = match said {
        Some(Value::String(version)) => version.as_str(),
        _ => {
            return Err(Fault::new(
                rpc::INVALID_PARAMS,
                format!("`params._meta[\"{META_VERSION}\"]` is missing; it is for example \"{MODERN}\"."),
            ));
        }
    };
    if let Some(header) = header.filter(|h| *h != version) {
        return Err(mismatch("MCP-Protocol-Version", header, version));
    }
    if version != MODERN {
        return Err(unsupported(version));
    }
    if !meta.is_some_and(|meta| meta.get(META_CAPABILITIES).is_some_and(Value::is_object)) {
        return Err(Fault::new(
            rpc::INVALID_PARAMS,
            format!("`params._meta[\"{META_CAPABILITIES}\"]` is missing; it is an object, empty for none."),
        ));
    }
    if header.is_none() {
        return Err(missing("MCP-Protocol-Version", version));
    }
    agrees(fields, "Mcp-Method", &call.method)?;
    if let Some(name) = named(call) {
        agrees(fields, "Mcp-Name", name)?;
    }
    Ok(Revision::Modern)
}

/// What the field `Mcp-Name` repeats.
fn named(call: &Call) -> Option<&str> {
    let member = match call.method.as_str() {
        "tools/call" | "prompts/get" => "name",
        "resources/read" => "uri",
        _ => return None,
    };
    call.params.get(member)?.as_str()
}

fn agrees(fields: &dyn Fields, name: &str, value: &str) -> Result<(), Fault> {
    let Some(header) = fields.field(&name.to_ascii_lowercase()) else { return Err(missing(name, value)) };
    let encoded = header.strip_prefix("=?base64?").and_then(|h| h.strip_suffix("?=")).filter(|_| name == "Mcp-Name");
    let same = match encoded {
        Some(encoded) => base64(encoded).as_deref() == Some(value.as_bytes()),
        None => header == value,
    };
    if same { Ok(()) } else { Err(mismatch(name, header, value)) }
}

fn missing(name: &str, value: &str) -> Fault {
    let value = rpc::shown(value);
    Fault::new(rpc::HEADER_MISMATCH, format!("The header field `{name}` is missing; the message says `{value}`, and so must the field."))
}

fn mismatch(name: &str, header: &str, value: &str) -> Fault {
    let (header, value) = (rpc::shown(header), rpc::shown(value));
    Fault::new(
        rpc::HEADER_MISMATCH,
        format!("The header field `{name}` is `{header}`, and the message says `{value}`; they have to agree."),
    )
}

fn unsupported(version: &str) -> Fault {
    let data = json!({"supported": supported(), "requested": rpc::shown(version)});
    let message = format!("The revision `{}` is not spoken here; there is {}.", rpc::shown(version), supported().join(", "));
    Fault { data: Some(data), ..Fault::new(rpc::UNSUPPORTED_VERSION, message) }
}

/// What an `initialize` is answered with: the revision that it asks for, or the latest that has sessions.
pub fn negotiated(params: &Map<String, Value>) -> &'static str {
    let wanted = params.get("protocolVersion").and_then(Value::as_str).unwrap_or_default();
    LEGACY.into_iter().find(|v| *v == wanted).unwrap_or(LEGACY[0])
}

/// Base64 (RFC 4648) with its padding.
fn base64(text: &str) -> Option<Vec<u8>> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bare = text.trim_end_matches('=');
    if !text.len().is_multiple_of(4) || text.len() - bare.len() > 2 {
        return None;
    }
    let (mut bytes, mut bits, mut count) = (Vec::with_capacity(bare.len()), 0_u32, 0);
    for c in bare.bytes() {
        bits = bits << 6 | ALPHABET.iter().position(|a| *a == c)? as u32;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count & 0xff) as u8);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_no_field_can_hold_are_read_from_base64() {
        for (encoded, expect) in [("SGVsbG8sIOS4lueVjA==", Some("Hello, 世界")), ("IHBhZGRlZCA=", Some(" padded ")), ("", Some(""))] {
            assert_eq!(base64(encoded).map(|b| String::from_utf8(b).unwrap()).as_deref(), expect, "{encoded}");
        }
        for broken in ["SGVsbG8", "SGV*", "A===", "===="] {
            assert_eq!(base64(broken), None, "{broken}");
        }
    }
}
