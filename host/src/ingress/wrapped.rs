//! The wrapper of every document of the operators' interface: `success`, then `data` or `error`, then which request this answers and when.

use axum::body::Body;
use axum::response::Response;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde::Serialize;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A document that gets its request's id when it goes out.
#[derive(Debug)]
pub struct Wrapped {
    /// The status.
    pub status: StatusCode,
    headers: HeaderMap,
    document: Value,
}

impl Wrapped {
    /// What was asked for.
    pub fn data(data: &impl Serialize) -> Self {
        Self { status: StatusCode::OK, headers: HeaderMap::new(), document: json!({"success": true, "data": data}) }
    }

    /// What went wrong: a code for programs and a sentence for people.
    pub fn error(status: StatusCode, code: &str, message: &str) -> Self {
        let document = json!({"success": false, "error": {"code": code, "message": message}});
        Self { status, headers: HeaderMap::new(), document }
    }

    /// The same with what else there is to know.
    pub fn with_details(mut self, details: impl Into<Value>) -> Self {
        self.document["error"]["details"] = details.into();
        self
    }

    /// The same with a header field.
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// The document, as the answer to a request.
    pub fn into_document(self, request_id: &str) -> Value {
        let mut document = self.document;
        document["request_id"] = request_id.into();
        document["timestamp"] = OffsetDateTime::now_utc().format(&Rfc3339).unwrap_or_default().into();
        document
    }

    /// The response.
    pub fn into_response(mut self, request_id: &str) -> Response {
        let (status, headers) = (self.status, std::mem::take(&mut self.headers));
        let mut response = Response::new(Body::from(self.into_document(request_id).to_string()));
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wrapper() {
        let document = Wrapped::data(&[1]).into_document("r-1");
        assert_eq!((&document["success"], &document["data"], &document["request_id"]), (&json!(true), &json!([1]), &json!("r-1")));
        assert!(OffsetDateTime::parse(document["timestamp"].as_str().unwrap(), &Rfc3339).is_ok(), "{document}");
        assert_eq!(document.get("error"), None);

        let failed = Wrapped::error(StatusCode::CONFLICT, "busy", "Wait.").with_details(json!({"a": 1}));
        let failed = failed.with_header(header::RETRY_AFTER, HeaderValue::from(3)).into_response("r-2");
        assert_eq!((failed.status(), failed.headers()["retry-after"].to_str().unwrap()), (StatusCode::CONFLICT, "3"));
        let document = Wrapped::error(StatusCode::CONFLICT, "busy", "Wait.").with_details(json!({"a": 1})).into_document("r-2");
        assert_eq!(document["error"], json!({"code": "busy", "message": "Wait.", "details": {"a": 1}}));
        assert_eq!((&document["success"], document.get("data")), (&json!(false), None));
    }
}
