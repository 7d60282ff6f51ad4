//! Which trace a request belongs to (W3C Trace Context, <https://www.w3.org/TR/trace-context/>), and what its hooks took.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};

use crate::extensions::Hook;

/// The field with the trace and the caller's span.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// The field with what vendors add.
pub const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Longest `tracestate` that is handed on.
const MAX_STATE: usize = 512;

/// Hooks of one request that have a span of their own; later ones are counted in the request's span.
const MAX_CALLS: usize = 128;

/// A request's place in its trace.
#[derive(Debug)]
pub struct Span {
    /// The trace.
    pub trace_id: u128,
    /// The request's own span.
    pub id: u64,
    /// The span that it is inside of.
    pub parent: Option<u64>,
    /// Whether that one is in another program.
    pub remote: bool,
    /// Whether anything is recorded.
    pub sampled: bool,
    /// What was asked for, of a caller's request that is recorded.
    pub asked: Option<Asked>,
    state: Option<HeaderValue>,
    /// When it began.
    pub began: Instant,
    /// The same, in nanoseconds of Unix time.
    pub began_ns: u64,
    calls: Mutex<Calls>,
}

/// What was asked for.
#[derive(Debug)]
pub struct Asked {
    /// The method, when it is a usual one.
    pub method: &'static str,
    /// The path, with names in the place of what differs from request to request.
    pub route: String,
    /// The path.
    pub path: String,
    /// What asked.
    pub agent: Option<String>,
}

/// Longest name of a client that is kept.
const MAX_AGENT: usize = 256;

#[derive(Debug, Default)]
struct Calls {
    all: Vec<Call>,
    dropped: u32,
}

/// Calls of one hook: one, or those of a stream that belong together.
#[derive(Debug, Clone)]
pub struct Call {
    /// Whose.
    pub extension: String,
    /// Which.
    pub hook: Hook,
    /// How many.
    pub calls: u32,
    /// How many of them failed.
    pub failed: u32,
    /// When the first began and the last ended, in nanoseconds of Unix time.
    pub from_ns: u64,
    /// The end.
    pub to_ns: u64,
    /// How long they worked.
    pub worked: Duration,
}

impl Span {
    /// A request arrives, at a path in which these names matched these texts. `ratio` is the share of requests that are recorded where the caller does not say.
    pub fn begin(head: &Parts, params: &[(String, String)], began: Instant, ratio: f64) -> Self {
        let span = Self::of(&head.headers, began, ratio);
        let asked = span.sampled.then(|| Asked::of(head, params));
        Self { asked, ..span }
    }

    fn of(headers: &HeaderMap, began: Instant, ratio: f64) -> Self {
        let mut all = headers.get_all(&TRACEPARENT).iter();
        // Two say nothing.
        let parent = all.next().filter(|_| all.next().is_none()).and_then(|v| v.to_str().ok()).and_then(parse);
        let state = headers.get(&TRACESTATE).filter(|s| parent.is_some() && s.len() <= MAX_STATE).cloned();
        let (trace_id, parent, sampled) = match parent {
            Some((trace_id, parent, sampled)) => (trace_id, Some(parent), sampled),
            None => (fastrand::u128(1..), None, fastrand::f64() < ratio),
        };
        Self::new(trace_id, parent, true, sampled, state, began)
    }

    /// A request inside of this one.
    pub fn child(&self, began: Instant) -> Self {
        Self::new(self.trace_id, Some(self.id), false, self.sampled, self.state.clone(), began)
    }

    fn new(trace_id: u128, parent: Option<u64>, remote: bool, sampled: bool, state: Option<HeaderValue>, began: Instant) -> Self {
        let began_ns = unix_ns().saturating_sub(nanos(began.elapsed()));
        let id = fastrand::u64(1..);
        Self { trace_id, id, parent, remote, sampled, asked: None, state, began, began_ns, calls: Mutex::default() }
    }

    /// What vendors added to the trace.
    pub fn state(&self) -> &str {
        self.state.as_ref().and_then(|s| s.to_str().ok()).unwrap_or_default()
    }

    /// The span of one of its tries. It is known before the try ends, because the provider is told it.
    pub fn of_try(&self, number: u32) -> u64 {
        // Odd steps go round all numbers, so those of one request differ.
        self.id.wrapping_add((u64::from(number) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)).max(1)
    }

    /// What the provider of a try is told.
    pub fn to_provider(&self, number: u32) -> Vec<(HeaderName, HeaderValue)> {
        let text = format!("00-{:032x}-{:016x}-{:02x}", self.trace_id, self.of_try(number), u8::from(self.sampled));
        let parent = HeaderValue::try_from(text).ok().map(|value| (TRACEPARENT, value));
        parent.into_iter().chain(self.state.clone().map(|value| (TRACESTATE, value))).collect()
    }

    /// A call of a hook is over that took so long, and worked a part of that.
    pub fn record(&self, extension: &str, hook: Hook, took: Duration, worked: Duration, failed: bool) {
        if !self.sampled {
            return;
        }
        let to_ns = unix_ns();
        let from_ns = to_ns.saturating_sub(nanos(took));
        let failed = u32::from(failed);
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        // A stream has hundreds of these.
        let of_stream = matches!(hook, Hook::Encoder | Hook::StreamFilter);
        if let Some(call) = calls.all.iter_mut().find(|c| of_stream && c.hook == hook && c.extension == extension) {
            (call.calls, call.failed, call.to_ns, call.worked) = (call.calls + 1, call.failed + failed, to_ns, call.worked + worked);
        } else if calls.all.len() < MAX_CALLS {
            calls.all.push(Call { extension: extension.to_owned(), hook, calls: 1, failed, from_ns, to_ns, worked });
        } else {
            calls.dropped += 1;
        }
    }

    /// The calls until now, and how many have no span.
    pub fn calls(&self) -> (Vec<Call>, u32) {
        let calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        (calls.all.clone(), calls.dropped)
    }

    /// A moment so long after the begin, in nanoseconds of Unix time.
    pub fn after_us(&self, us: u64) -> u64 {
        self.began_ns.saturating_add(us.saturating_mul(1000))
    }
}

impl Asked {
    fn of(head: &Parts, params: &[(String, String)]) -> Self {
        // Anybody can make up a method.
        let usual = [Method::GET, Method::POST, Method::PUT, Method::DELETE, Method::PATCH];
        let words = ["GET", "POST", "PUT", "DELETE", "PATCH"];
        let method = usual.iter().position(|m| *m == head.method).map_or("_OTHER", |n| words[n]);
        let path = head.uri.path().to_owned();
        let mut route = path.clone();
        for (name, value) in params.iter().filter(|(_, value)| !value.is_empty()) {
            route = route.replacen(value.as_str(), &format!("{{{name}}}"), 1);
        }
        let agent = head.headers.get(header::USER_AGENT).and_then(|a| a.to_str().ok());
        Self { method, route, path, agent: agent.map(|a| a.get(..MAX_AGENT).unwrap_or(a).to_owned()) }
    }
}

/// The trace, the caller's span, and whether it is recorded. A version that is not known may have more at its end.
fn parse(text: &str) -> Option<(u128, u64, bool)> {
    let mut parts = text.split('-');
    let (version, trace_id, parent, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let is_hex = |part: &str, length: usize| part.len() == length && part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if !is_hex(version, 2) || version == "ff" || (version == "00" && parts.next().is_some()) {
        return None;
    }
    let good = is_hex(trace_id, 32) && is_hex(parent, 16) && is_hex(flags, 2);
    let trace_id = u128::from_str_radix(trace_id, 16).ok().filter(|id| good && *id != 0)?;
    let parent = u64::from_str_radix(parent, 16).ok().filter(|id| *id != 0)?;
    Some((trace_id, parent, u8::from_str_radix(flags, 16).ok()? & 1 == 1))
}

/// Now, in nanoseconds of Unix time.
pub fn unix_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, nanos)
}

fn nanos(duration: Duration) -> u64 {
    duration.as_nanos().try_into().unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begin(traceparent: &[&str], ratio: f64) -> Span {
        let mut headers = HeaderMap::new();
        for value in traceparent {
            headers.append(TRACEPARENT, value.parse().unwrap());
        }
        headers.insert(TRACESTATE, HeaderValue::from_static("a=1"));
        Span::of(&headers, Instant::now(), ratio)
    }

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_callers_trace_goes_on() {
        let span = begin(&[PARENT], 0.0);
        assert_eq!(
            (span.trace_id, span.parent, span.sampled),
            (0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c, Some(0xb7ad_6b71_6920_3331), true)
        );
        let told = span.to_provider(0);
        let text = told[0].1.to_str().unwrap();
        assert!(text.starts_with("00-0af7651916cd43dd8448eb211c80319c-") && text.ends_with("-01") && text.len() == PARENT.len(), "{text}");
        assert_eq!(told[1].1, "a=1");
        assert!(span.of_try(0) != span.of_try(1) && span.of_try(0) != span.id);

        let unrecorded = begin(&[&PARENT.replace("-01", "-00")], 1.0);
        assert!(!unrecorded.sampled && unrecorded.to_provider(0)[0].1.to_str().unwrap().ends_with("-00"));
        let child = span.child(Instant::now());
        assert_eq!((child.trace_id, child.parent), (span.trace_id, Some(span.id)));
    }

    #[test]
    fn what_is_no_trace_begins_a_new_one() {
        let good = PARENT.replace("00-0a", "01-0a") + "-more";
        assert!(begin(&[&good], 0.0).sampled);
        let long = PARENT.to_owned() + "-more";
        let zero = "00-00000000000000000000000000000000-b7ad6b7169203331-01";
        let nobody = "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01";
        let upper = PARENT.to_uppercase();
        for wrong in ["", "x", "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", &long, zero, nobody, &upper, &PARENT[..50]] {
            let span = begin(&[wrong], 0.0);
            assert!(span.parent.is_none() && !span.sampled, "{wrong}");
            assert!(begin(&[wrong], 1.0).sampled && span.to_provider(0).len() == 1);
        }
        assert!(begin(&[PARENT, PARENT], 0.0).parent.is_none());
        let shares = (0..4000).filter(|_| begin(&[], 0.25).sampled).count();
        assert!((800..1200).contains(&shares), "{shares} of 4000");
    }

    #[test]
    fn what_differs_from_request_to_request_is_a_name() {
        let request = |traceparent: &str| {
            let request = http::Request::post("/v1beta/models/gemini-x:generateContent?key=secret").header(TRACEPARENT, traceparent);
            Span::begin(&request.body(()).unwrap().into_parts().0, &[("model".into(), "gemini-x".into())], Instant::now(), 0.0)
        };
        let asked = request(PARENT).asked.unwrap();
        assert_eq!((asked.method, asked.route.as_str()), ("POST", "/v1beta/models/{model}:generateContent"));
        assert_eq!(asked.path, "/v1beta/models/gemini-x:generateContent");
        assert!(request("").asked.is_none(), "nobody would see it");
    }

    #[test]
    fn calls_of_a_stream_are_one() {
        let span = begin(&[PARENT], 0.0);
        let ms = Duration::from_millis;
        for failed in [false, true] {
            span.record("a", Hook::StreamFilter, ms(2), ms(1), failed);
            span.record("a", Hook::BeforeGenerate, ms(2), ms(1), failed);
        }
        let (calls, dropped) = span.calls();
        let shown: Vec<_> = calls.iter().map(|c| (c.hook, c.calls, c.failed, c.worked)).collect();
        assert_eq!(shown, [(Hook::StreamFilter, 2, 1, ms(2)), (Hook::BeforeGenerate, 1, 0, ms(1)), (Hook::BeforeGenerate, 1, 1, ms(1))]);
        assert!(dropped == 0 && calls.iter().all(|c| c.to_ns >= c.from_ns));
        (0..200).for_each(|_| span.record("a", Hook::Decode, ms(1), ms(1), false));
        assert_eq!((span.calls().0.len(), span.calls().1), (MAX_CALLS, 203 - MAX_CALLS as u32));
    }
}
