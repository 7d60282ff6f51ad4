//! Error answers, whoever wrote them: a proxy's HTML and another format's document reach us under every format, so one reader
//! serves all.

use std::borrow::Cow;

use crate::hub::{ChatError, ErrorClass};
use crate::json::{Document, Fields, Kind, Value};
use crate::wait;

/// Longest message that is passed on, in characters.
const MESSAGE: usize = 2000;
/// Longest error document that is kept, in bytes.
const RAW: usize = 64 * 1024;

/// How a format names a class.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Words {
    /// The `type`.
    pub kind: &'static str,
    /// The `code`, where the format has one.
    pub code: Option<&'static str>,
}

/// The status to answer with: the error's own when it is one of an error, else the format's for the class.
pub(crate) fn status(e: &ChatError, default: u16) -> u16 {
    e.status.filter(|s| (400..600).contains(s)).unwrap_or(default)
}

/// Reads an error answer.
pub(crate) fn decode(status: u16, retry_after: Option<&str>, body: &[u8]) -> ChatError {
    let said = Document::parse(body).ok().and_then(|d| read(Fields::of(&d), Some(d.text()))).or_else(|| listed(body));
    let mut e = said.unwrap_or_else(|| ChatError::new(by_status(status), unreadable(status, body)));
    // What the document says is more exact than the status, unless it says nothing.
    if e.class == ErrorClass::Upstream {
        e.class = by_status(status);
    }
    if e.class == ErrorClass::InvalidRequest && !matches!(status, 0..=200 | 400 | 404..=412 | 415..=428) {
        e.class = by_status(status);
    }
    if e.class == ErrorClass::InvalidRequest && status == 404 {
        e.class = ErrorClass::NotFound;
    }
    e.status = Some(status);
    e.retry_after_ms = retry_after.and_then(wait::seconds).or_else(|| wait_of(&e));
    e
}

/// What the document itself says of when to try again.
fn wait_of(e: &ChatError) -> Option<u64> {
    e.retry_after_ms.or_else(|| if wait::waits(e.class) { wait::in_message(&e.message) } else { None })
}

/// Google's way: an array with one document in it.
fn listed(body: &[u8]) -> Option<ChatError> {
    let text = std::str::from_utf8(body).ok()?;
    read(Value::parse(text)?.elements()?.next()?.object()?, Some(text))
}

/// The error that a document tells under a success status, when it tells one.
pub(crate) fn in_document(document: &Document<'_>) -> Option<ChatError> {
    let f = Fields::of(document);
    let tells = f.peek("error").is_some_and(|v| !v.is_null())
        || matches!(f.peek("type").or(f.peek("object")).and_then(Value::text).as_deref(), Some("error"));
    if !tells {
        return None;
    }
    let mut e = read(f, Some(document.text()))?;
    // Some hosts put the status that they meant into the document.
    if let Some(status) = e.status
        && matches!(e.class, ErrorClass::Upstream | ErrorClass::InvalidRequest)
    {
        e.class = by_status(status);
    }
    e.retry_after_ms = wait_of(&e);
    Some(e)
}

fn read(mut f: Fields<'_>, raw: Option<&str>) -> Option<ChatError> {
    let request_level = f.clone();
    let mut message = None;
    let mut inner = match f.take("error") {
        Some(v) if v.kind() == Kind::Object => v.object()?,
        Some(v) if v.kind() == Kind::String => {
            message = v.text();
            f
        }
        _ => f,
    };
    let text = |f: &mut Fields<'_>, name: &str| {
        f.take(name)
            .filter(|v| matches!(v.kind(), Kind::String | Kind::Number))
            .map(|v| v.text().unwrap_or(Cow::Borrowed(v.raw())).into_owned())
    };
    let message = message.map(Cow::into_owned).or_else(|| text(&mut inner, "message")).or_else(|| detail(&mut inner)).or_else(|| {
        let mut outer = request_level;
        text(&mut outer, "message").or_else(|| detail(&mut outer))
    })?;
    let kind = text(&mut inner, "type").filter(|t| t != "error");
    let [code, status, number] = ["code", "status", "status_code"].map(|name| text(&mut inner, name));
    let param = text(&mut inner, "param");
    let Details { reason, retry_after_ms } = inner.take("details").map(details).unwrap_or_default();
    // A number is a status; a word says more.
    let is_word = |word: &String| !word.is_empty() && word.parse::<f64>().is_err();
    let number = [&code, &status, &number].into_iter().flatten().find_map(|n| n.parse().ok().filter(|n| (400..600).contains(n)));
    let [code, status] = [code, status].map(|word| word.filter(is_word));
    let said = code.as_deref().or(status.as_deref()).or(kind.as_deref());
    let message = if message.trim().is_empty() { unsaid(said) } else { message };
    let class = classify(&[reason.as_deref(), code.as_deref(), status.as_deref(), kind.as_deref()], &message);
    let code = said.map(str::to_owned);
    let raw = raw.filter(|r| r.len() <= RAW).map(str::to_owned);
    Some(ChatError { status: number, code, param, retry_after_ms, raw, ..ChatError::new(class, shorten(&message)) })
}

/// What Google's `details` tell: why, and when to try again.
#[derive(Default)]
struct Details {
    reason: Option<String>,
    retry_after_ms: Option<u64>,
}

fn details(value: Value<'_>) -> Details {
    let mut told = Details::default();
    for mut detail in value.elements().into_iter().flatten().filter_map(Value::object) {
        told.reason = told.reason.or_else(|| Some(detail.take("reason")?.text()?.into_owned()));
        told.retry_after_ms = told.retry_after_ms.or_else(|| wait::duration(&detail.take("retryDelay")?.text()?));
    }
    told
}

/// What a caller reads of an error without a message.
fn unsaid(word: Option<&str>) -> String {
    match word {
        Some(word) if !word.is_empty() => format!("the provider answered `{word}` and said no more"),
        _ => "the provider reported an error and said nothing of it".to_owned(),
    }
}

/// FastAPI's way: `detail` is a string or a list of what is wrong where.
fn detail(f: &mut Fields<'_>) -> Option<String> {
    let value = f.take("detail")?;
    match value.text() {
        Some(text) => Some(text.into_owned()),
        None => Some(value.elements()?.next()?.object()?.take("msg")?.text()?.into_owned()),
    }
}

fn shorten(message: &str) -> String {
    match message.char_indices().nth(MESSAGE) {
        Some((end, _)) => format!("{}…", &message[..end]),
        None => message.to_owned(),
    }
}

/// A body that is no error document is not shown: it is a proxy's page, or anything at all.
fn unreadable(status: u16, body: &[u8]) -> String {
    let start = body.trim_ascii_start();
    let what = match start.first() {
        None => "nothing",
        Some(b'<') => "an HTML or XML page",
        Some(b'{' | b'[') => "JSON that is no error",
        Some(_) => "text",
    };
    format!("the provider answered {status} with {what}")
}

fn by_status(status: u16) -> ErrorClass {
    match status {
        401 => ErrorClass::Authentication,
        402 => ErrorClass::QuotaExceeded,
        403 => ErrorClass::Permission,
        404 => ErrorClass::NotFound,
        408 | 504 | 524 => ErrorClass::Timeout,
        499 => ErrorClass::Cancelled,
        413 => ErrorClass::TooLarge,
        429 => ErrorClass::RateLimited,
        // 498 is Groq's, for a tier that has no room.
        498 | 503 | 529 => ErrorClass::Overloaded,
        400..=499 => ErrorClass::InvalidRequest,
        _ => ErrorClass::Upstream,
    }
}

/// The class that words (reasons, codes, types) and, last, the message's wording tell; [`ErrorClass::Upstream`] when they tell nothing.
fn classify(words: &[Option<&str>], message: &str) -> ErrorClass {
    let lower = message.to_ascii_lowercase();
    let words = || words.iter().flatten().copied().filter_map(word);
    let vague = |class: &ErrorClass| matches!(class, ErrorClass::InvalidRequest | ErrorClass::Upstream);
    if let Some(class) = words().find(|class| !vague(class)) {
        // Anthropic and Google say "not found" of models too: `model: claude-x`, `models/gemini-x is not found`.
        let model = ["model", "publisher model", "the model", "the requested model"].iter().any(|start| lower.starts_with(start));
        return if class == ErrorClass::NotFound && model { ErrorClass::ModelNotFound } else { class };
    }
    let said = PHRASES.iter().find(|(_, phrases)| phrases.iter().any(|p| p.split('*').all(|part| lower.contains(part))));
    said.map(|(class, _)| *class).or_else(|| words().next()).unwrap_or(ErrorClass::Upstream)
}

/// Wordings of hosts whose codes say too little, in small letters; the parts around a `*` may be anywhere. The first that fits counts.
const PHRASES: [(ErrorClass, &[&str]); 8] = [
    (
        ErrorClass::ContextTooLong,
        &[
            "maximum context length",
            "max context length",
            "maximum prompt length",
            "context length exceeded",
            "context window",
            "context limit",
            "available context size",
            "prompt is too long",
            "prompt too long",
            "input is too long",
            "too many tokens in",
            "exceeds the maximum number of tokens",
            "tokens + `max_new_tokens` must be",
        ],
    ),
    (
        ErrorClass::QuotaExceeded,
        &[
            "credit balance is too low",
            "insufficient balance",
            "exceeded your current quota",
            "insufficient credits",
            "requires more credits",
            "used all available credits",
            "api usage limits",
            "spending limit",
        ],
    ),
    (
        ErrorClass::ContentFiltered,
        &[
            "content management policy",
            "content filter",
            "content policy",
            "content_policy",
            "was flagged",
            "safety system",
            "inappropriate content",
        ],
    ),
    (
        ErrorClass::ModelNotFound,
        &[
            "model*does not exist",
            "model*not found",
            "model*not a valid model",
            "model*is not supported by any provider",
            "model*has been deprecated",
            "model*decommissioned",
            "model identifier is invalid",
        ],
    ),
    (
        ErrorClass::Authentication,
        &[
            "invalid api key",
            "incorrect api key",
            "invalid x-api-key",
            "api key not valid",
            "provide an api key",
            "no api key",
            "invalid authentication",
            "authentication fails",
            "unauthorized",
        ],
    ),
    (
        ErrorClass::Overloaded,
        &["overloaded", "at capacity", "over capacity", "no available capacity", "server is busy", "high demand", "currently loading"],
    ),
    (ErrorClass::RateLimited, &["rate limit", "rate-limited", "too many requests"]),
    (ErrorClass::Timeout, &["timed out", "deadline exceeded"]),
];

/// The class of a `code`, `type` or `status` word. Cases and separators vary between hosts.
fn word(word: &str) -> Option<ErrorClass> {
    let plain: String = word.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect();
    Some(match plain.as_str() {
        "contextlengthexceeded" | "contextwindowexceeded" | "modelcontextwindowexceeded" | "stringabovemaxlength" => {
            ErrorClass::ContextTooLong
        }
        "contentfilter"
        | "contentpolicyviolation"
        | "responsibleaipolicyviolation"
        | "contentfiltered"
        | "datainspectionfailed"
        | "moderationblocked"
        | "imagecontentpolicyviolation" => ErrorClass::ContentFiltered,
        "invalidapikey"
        | "authenticationerror"
        | "unauthenticated"
        | "unauthorized"
        | "incorrectapikey"
        | "invalidauthentication"
        | "apikeyinvalid"
        | "accesstokenexpired"
        | "invalidorganization"
        | "accountdeactivated"
        | "unrecognizedclientexception" => ErrorClass::Authentication,
        "permissionerror"
        | "permissiondenied"
        | "forbidden"
        | "accessdenied"
        | "accessdeniedexception"
        | "accessterminatederror"
        | "iampermissiondenied"
        | "servicedisabled"
        | "unsupportedcountryregionterritory"
        | "ipnotauthorized" => ErrorClass::Permission,
        "modelnotfound" | "modelnotsupported" | "modelnotavailable" | "deploymentnotfound" | "invalidmodel" => ErrorClass::ModelNotFound,
        "notfound" | "notfounderror" | "resourcenotfoundexception" => ErrorClass::NotFound,
        "requesttoolarge" | "payloadtoolarge" => ErrorClass::TooLarge,
        "ratelimitexceeded"
        | "ratelimiterror"
        | "ratelimitreached"
        | "ratelimited"
        | "toomanyrequests"
        | "requests"
        | "tokens"
        | "resourceexhausted"
        | "throttlingexception" => ErrorClass::RateLimited,
        "insufficientquota"
        | "billingerror"
        | "billinghardlimitreached"
        | "quotaexceeded"
        | "insufficientbalance"
        | "insufficientcredits"
        | "paymentrequired"
        | "billingnotactive"
        | "billingdisabled"
        | "servicequotaexceededexception"
        | "exceededcurrentquotaerror" => ErrorClass::QuotaExceeded,
        "overloadederror"
        | "overloaded"
        | "serviceunavailable"
        | "unavailable"
        | "capacityexceeded"
        | "engineoverloadederror"
        | "serveroverloaded"
        | "slowdown"
        | "modelnotreadyexception"
        | "serviceunavailableexception"
        | "serviceunavailableerror" => ErrorClass::Overloaded,
        "timeout" | "timeouterror" | "requesttimeout" | "deadlineexceeded" | "gatewaytimeout" | "modeltimeoutexception" => {
            ErrorClass::Timeout
        }
        "invalidrequesterror"
        | "invalidrequest"
        | "invalidargument"
        | "badrequest"
        | "badrequesterror"
        | "validationerror"
        | "unprocessableentity"
        | "failedprecondition"
        | "outofrange"
        | "validationexception"
        | "invalidvalue" => ErrorClass::InvalidRequest,
        // What a provider cancelled, it did not do for the caller.
        "cancelled"
        | "aborted"
        | "unknown"
        | "dataloss"
        | "apierror"
        | "servererror"
        | "internalservererror"
        | "internalerror"
        | "internal" => ErrorClass::Upstream,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(status: u16, body: &str, class: ErrorClass) {
        let e = decode(status, None, body.as_bytes());
        assert_eq!(e.class, class, "{status} {body}");
        assert_eq!(e.status, Some(status));
    }

    #[test]
    fn classes() {
        use ErrorClass::*;
        for (status, class) in [
            (400, InvalidRequest),
            (401, Authentication),
            (402, QuotaExceeded),
            (403, Permission),
            (404, NotFound),
            (408, Timeout),
            (413, TooLarge),
            (422, InvalidRequest),
            (429, RateLimited),
        ] {
            check(status, "", class);
            check(status, "<html>secret</html>", class);
        }
        for (status, class) in [(500, Upstream), (502, Upstream), (503, Overloaded), (504, Timeout), (529, Overloaded)] {
            check(status, "upstream connect error", class);
            check(status, r#"{"error":{"message":"oops","type":"server_error"}}"#, class);
        }
        check(
            400,
            r#"{"error":{"message":"This model's maximum context length is 10","type":"invalid_request_error","code":"invalid_request_error"}}"#,
            ContextTooLong,
        );
        check(400, r#"{"error":{"message":"x","code":"context_length_exceeded"}}"#, ContextTooLong);
        check(
            400,
            r#"{"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long: 3 tokens > 2 maximum"}}"#,
            ContextTooLong,
        );
        check(
            400,
            r#"{"type":"error","error":{"type":"invalid_request_error","message":"Your credit balance is too low to access"}}"#,
            QuotaExceeded,
        );
        check(400, r#"{"error":{"message":"The response was filtered","code":"content_filter","param":"prompt"}}"#, ContentFiltered);
        check(
            400,
            r#"{"error":{"message":"bad","type":"invalid_request_error","param":"messages[3]","code":"invalid_value"}}"#,
            InvalidRequest,
        );
        check(401, r#"{"detail":"Invalid API Key"}"#, Authentication);
        check(
            401,
            r#"{"error":{"message":"Authentication Fails","type":"authentication_error","code":"invalid_request_error"}}"#,
            Authentication,
        );
        check(
            404,
            r#"{"error":{"message":"The model `x` does not exist","type":"invalid_request_error","code":"model_not_found"}}"#,
            ModelNotFound,
        );
        check(404, r#"{"type":"error","error":{"type":"not_found_error","message":"model: claude-x"}}"#, ModelNotFound);
        check(422, r#"{"detail":[{"loc":["body","x"],"msg":"field required"}]}"#, InvalidRequest);
        check(
            429,
            r#"{"error":{"message":"You exceeded your current quota","type":"insufficient_quota","code":"insufficient_quota"}}"#,
            QuotaExceeded,
        );
        check(429, r#"{"error":{"code":429,"message":"Provider returned error"}}"#, RateLimited);
        check(429, r#"{"error":{"code":"RateLimitReached","message":"x"}}"#, RateLimited);
        check(529, r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#, Overloaded);
        check(429, r#"[{"error":{"code":429,"message":"quota","status":"RESOURCE_EXHAUSTED"}}]"#, RateLimited);
        check(429, r#"{"error":{"code":429,"message":"You exceeded your current quota","status":"RESOURCE_EXHAUSTED"}}"#, RateLimited);
        check(404, r#"{"error":{"code":404,"message":"models/x is not found for API version v1","status":"NOT_FOUND"}}"#, ModelNotFound);
        check(404, r#"{"error":{"code":404,"message":"Publisher Model `x` not found.","status":"NOT_FOUND"}}"#, ModelNotFound);
        check(400, r#"{"error":{"code":400,"message":"API key not valid. Please","status":"INVALID_ARGUMENT"}}"#, Authentication);
        check(
            400,
            r#"{"error":{"code":400,"message":"The input token count (9) exceeds the maximum number of tokens allowed (8).","status":"INVALID_ARGUMENT"}}"#,
            ContextTooLong,
        );
        check(499, r#"{"error":{"code":499,"message":"The operation was cancelled.","status":"CANCELLED"}}"#, Cancelled);
        check(503, r#"{"error":{"code":503,"message":"busy","status":"UNAVAILABLE"}}"#, Overloaded);
        check(500, r#"{"error":"plain string"}"#, Upstream);
    }

    #[test]
    fn fields() {
        let e = decode(400, Some("1.5"), br#"{"error":{"message":"bad","type":"t","param":"messages[3]","code":"c"}}"#);
        assert_eq!(
            (e.message.as_str(), e.param.as_deref(), e.code.as_deref(), e.retry_after_ms),
            ("bad", Some("messages[3]"), Some("c"), Some(1500))
        );
        assert!(e.raw.is_some());
        let google =
            br#"{"error":{"code":429,"message":"m","status":"RESOURCE_EXHAUSTED","details":[{"@type":"x"},{"retryDelay":"34.4s"}]}}"#;
        let e = decode(429, None, google);
        assert_eq!((e.code.as_deref(), e.retry_after_ms), (Some("RESOURCE_EXHAUSTED"), Some(34_400)));
        assert_eq!(decode(429, Some("2"), google).retry_after_ms, Some(2000), "the header is nearer");
        let e = in_document(&Document::parse(google).unwrap()).unwrap();
        assert_eq!((e.status, e.class), (Some(429), ErrorClass::RateLimited));
        let e = decode(502, None, b"<html>10.0.0.7 internal</html>");
        assert!(!e.message.contains("10.0.0.7"), "{}", e.message);
    }
}
