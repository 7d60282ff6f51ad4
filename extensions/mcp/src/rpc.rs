//! JSON-RPC 2.0, as MCP uses it: one message a body, and no batches.

use serde_json::{Map, Value, json};

/// What a client sends.
#[derive(Debug)]
pub enum Message {
    /// It waits for an answer.
    Request(Call),
    /// It does not.
    Notification(Notice),
    /// An answer to a request of the server's, which makes none.
    Response,
}

/// A request.
#[derive(Debug)]
pub struct Call {
    /// A number or a text; the answer repeats it.
    pub id: Value,
    /// What is asked.
    pub method: String,
    /// With what.
    pub params: Map<String, Value>,
}

/// A notification.
#[derive(Debug)]
pub struct Notice {
    /// What happened.
    pub method: String,
    /// To what.
    pub params: Map<String, Value>,
}

/// Why there is no result.
#[derive(Debug, Clone, PartialEq)]
pub struct Fault {
    /// What kind, for programs.
    pub code: i64,
    /// For people: the field, the value, the fix.
    pub message: String,
    /// More for programs.
    pub data: Option<Value>,
    /// The status of the HTTP response.
    pub status: u16,
}

/// Codes of JSON-RPC and of MCP.
pub const PARSE_ERROR: i64 = -32700;
pub const INVALID_REQUEST: i64 = -32600;
pub const METHOD_NOT_FOUND: i64 = -32601;
pub const INVALID_PARAMS: i64 = -32602;
pub const INTERNAL: i64 = -32603;
/// A call that its client cancelled; the answer to it is for a client that waits all the same.
pub const CANCELLED: i64 = -32000;
/// Header fields say something else than the message.
pub const HEADER_MISMATCH: i64 = -32020;
/// A revision of the protocol that is not spoken here.
pub const UNSUPPORTED_VERSION: i64 = -32022;

impl Fault {
    /// A fault of the message as a whole: nothing was done.
    pub fn new(code: i64, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), data: None, status: 400 }
    }

    /// A fault of what a request asks for; the request itself was understood.
    pub fn params(message: impl Into<String>) -> Self {
        Self { status: 200, ..Self::new(INVALID_PARAMS, message) }
    }

    /// As a message. Without an id where the request has none that could be read.
    pub fn document(&self, id: Option<&Value>) -> Value {
        let mut error = json!({"code": self.code, "message": self.message});
        if let Some(data) = &self.data {
            error["data"] = data.clone();
        }
        match id {
            Some(id) => json!({"jsonrpc": "2.0", "id": id, "error": error}),
            None => json!({"jsonrpc": "2.0", "error": error}),
        }
    }
}

/// Longest id and longest name of a method, in bytes.
const MAX_NAME: usize = 256;

/// The id, if it could be read, and what is wrong.
pub type Wrong = (Option<Value>, Fault);

/// Reads a message. The id is there as soon as it could be read, for the answer that says what is wrong.
pub fn read(body: &[u8]) -> Result<Message, Box<Wrong>> {
    let whole = |code: i64, message: String| Box::new((None, Fault::new(code, message)));
    // The parser gives up on what nests too deep.
    let document: Value = serde_json::from_slice(body).map_err(|e| whole(PARSE_ERROR, format!("The body is not JSON: {e}.")))?;
    let mut members = match document {
        Value::Object(members) => members,
        Value::Array(_) => return Err(whole(INVALID_REQUEST, "Batches are not taken: send each message by itself.".into())),
        _ => {
            let message = "A message is a JSON object with `jsonrpc`, `method` and, for a request, `id`.";
            return Err(whole(INVALID_REQUEST, message.into()));
        }
    };
    let id = members.remove("id");
    let known = id.clone().filter(is_id);
    let wrong = |message: &str| Box::new((known.clone(), Fault::new(INVALID_REQUEST, message)));
    if id.is_some() && known.is_none() {
        return Err(wrong("`id` has to be a text or a whole number, of 256 bytes at most; leave it out for a notification."));
    }
    if members.get("jsonrpc").and_then(Value::as_str) != Some("2.0") {
        return Err(wrong("`jsonrpc` has to be \"2.0\"."));
    }
    let method = match members.remove("method") {
        Some(Value::String(method)) if !method.is_empty() && method.len() <= MAX_NAME => method,
        None if known.is_some() && (members.contains_key("result") || members.contains_key("error")) => return Ok(Message::Response),
        _ => return Err(wrong("`method` has to be the name of a method.")),
    };
    let params = match members.remove("params") {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(params)) => params,
        Some(_) => return Err(Box::new((known, Fault::new(INVALID_PARAMS, "`params` has to be an object.")))),
    };
    Ok(match known {
        Some(id) => Message::Request(Call { id, method, params }),
        None => Message::Notification(Notice { method, params }),
    })
}

fn is_id(id: &Value) -> bool {
    match id {
        Value::String(text) => text.len() <= MAX_NAME,
        Value::Number(number) => number.is_i64() || number.is_u64(),
        _ => false,
    }
}

/// A result as a message.
pub fn result(id: &Value, result: Value) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "result": result})
}

/// What a client wrote, short enough to be repeated to it.
pub fn shown(text: &str) -> String {
    let short: String = text.chars().take(80).collect();
    if short.len() < text.len() { format!("{short}…") } else { short }
}
