//! The wrapper of the operators' interface: `success`, then `data` or `error`. Routes under `/api/` answer in it, as the host's own do.

use serde_json::{Value, json};

use crate::{ChatError, Reply, kv};

/// What was asked for, as a document.
pub fn data(data: &Value) -> Value {
    json!({"success": true, "data": data})
}

/// The word for an error of the pipeline: its own, or that of its class.
pub fn code(error: &ChatError) -> String {
    error.code.clone().unwrap_or_else(|| error.class.name().replace('-', "_"))
}

/// An error of the pipeline, as a document.
pub fn error(error: &ChatError) -> Value {
    let mut document = json!({"success": false, "error": {"code": code(error), "message": error.message}});
    if let Some(param) = &error.param {
        document["error"]["details"] = json!({"param": param});
    }
    document
}

/// A document as the answer to a request.
pub fn reply(status: u16, document: &Value) -> Reply {
    Reply::json(status, document.to_string().into_bytes())
}

/// Why an order is not carried out.
#[derive(Debug)]
pub struct Failure {
    /// The status code.
    pub status: u16,
    /// For programs.
    pub code: &'static str,
    /// For people.
    pub message: String,
}

impl Failure {
    /// With any status.
    pub fn new(status: u16, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into() }
    }

    /// What is asked makes no sense.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(400, "invalid_request", message)
    }

    /// As the answer to a request.
    pub fn reply(&self) -> Reply {
        reply(self.status, &json!({"success": false, "error": {"code": self.code, "message": self.message}}))
    }
}

impl From<String> for Failure {
    /// The store refuses. It names a limit of the operator's own, or it could not be read yet.
    fn from(reason: String) -> Self {
        if kv::is_unread(&reason) {
            return Self::new(503, "keys_unread", format!("What is stored is {reason}."));
        }
        Self::new(507, "store", reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorClass;

    #[test]
    fn what_went_well_and_what_did_not() {
        assert_eq!(data(&json!([1])), json!({"success": true, "data": [1]}));
        let limited = ChatError::new(ErrorClass::RateLimited, "slow down");
        assert_eq!(error(&limited), json!({"success": false, "error": {"code": "rate_limited", "message": "slow down"}}));
        let wrong = ChatError { param: Some("n".into()), code: Some("odd".into()), ..ChatError::new(ErrorClass::InvalidRequest, "no") };
        let expected = json!({"success": false, "error": {"code": "odd", "message": "no", "details": {"param": "n"}}});
        assert_eq!(error(&wrong), expected);
        let reply = Failure::invalid("no").reply();
        let expected = json!({"success": false, "error": {"code": "invalid_request", "message": "no"}});
        assert_eq!((reply.status, serde_json::from_slice::<Value>(&reply.body).unwrap()), (400, expected));
        assert_eq!(Failure::from("full".to_owned()).status, 507);
        assert_eq!(Failure::from(format!("{}: wait", kv::UNREAD)).reply().status, 503);
    }
}
