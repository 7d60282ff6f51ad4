//! Who may use the operators' interface.
//!
//! With credentials in the configuration whoever brings one may, from everywhere, and nobody else. Without, only programs of this
//! machine may, and nobody when others can connect: forgetting to set a password must not open anything.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::header::{AUTHORIZATION, HOST, RETRY_AFTER, WWW_AUTHENTICATE};
use http::request::Parts;
use http::uri::Authority;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConstantTimeEq as _};

use super::client::Client;
use super::serve::Site;
use super::wrapped::Wrapped;
use crate::config::{Auth, Secret};

/// Where operators put their credentials when another field is taken: on a conversation `authorization` is the caller's own.
const PASSWORD: HeaderName = HeaderName::from_static("x-wasmgate-password");

/// Where else they may be: as `Bearer`, or as clients of vendors put their keys.
const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// Wrong credentials that an address may bring in a row. People mistype; programs that guess need millions.
const GUESSES: f64 = 10.0;

/// Time after which an address has one more.
const PER_GUESS: Duration = Duration::from_secs(6);

/// Addresses that are remembered at once. Those beyond share their guesses, so that many addresses buy neither memory nor guesses without
/// end.
const ADDRESSES: usize = 4096;

/// Why a request is not an operator's.
#[derive(Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Nothing was configured that would open the interface to it.
    Closed,
    /// It brings no credentials.
    Missing,
    /// It brings wrong ones.
    Wrong,
    /// Too many wrong ones came from its address; it may try again after this.
    Slow(Duration),
}

/// Whether a path is closed to those who are no operators, whoever answers at it.
pub fn is_closed(auth: &Auth, path: &str) -> bool {
    let inside = path == "/metrics" || path == "/api" || path.starts_with("/api/");
    inside && auth.credentials().next().is_some() && !auth.is_public(path)
}

/// Lets an operator's request pass.
pub fn check(site: &Site, head: &Parts) -> Result<(), Refusal> {
    let live = site.gateway.deploy.live();
    let auth = &live.stable.config.auth;
    if auth.is_public(head.uri.path()) {
        return Ok(());
    }
    if auth.credentials().next().is_none() {
        return if site.local_only && asked_locally(head) { Ok(()) } else { Err(Refusal::Closed) };
    }
    let given = given(&head.headers).ok_or(Refusal::Missing)?;
    site.guesses.guess(address(head), Instant::now(), || opens(auth.credentials(), given))
}

/// The same for a request that is a caller's, whose own key is where an operator's would be: it says that it is an operator's besides.
pub fn is_operator_besides(site: &Site, head: &Parts) -> bool {
    let live = site.gateway.deploy.live();
    let auth = &live.stable.config.auth;
    if auth.credentials().next().is_none() {
        return site.local_only && asked_locally(head);
    }
    let Some(given) = head.headers.get(PASSWORD) else { return false };
    site.guesses.guess(address(head), Instant::now(), || opens(auth.credentials(), given.as_bytes())).is_ok()
}

/// Takes an operator's credentials off a request that goes on to an extension, which has no use for them. `all` takes also what is in
/// the fields of callers' keys.
pub fn strip(headers: &mut HeaderMap, all: bool) {
    headers.remove(PASSWORD);
    if all {
        headers.remove(AUTHORIZATION);
        headers.remove(API_KEY);
    }
}

/// A refusal as a document.
pub fn refuse(refusal: &Refusal) -> Wrapped {
    let (status, code, message) = match refusal {
        Refusal::Closed => (
            StatusCode::FORBIDDEN,
            "forbidden",
            "The operators' interface answers programs of this machine only, when `server.host` is a loopback address. \
             Set `auth.api_password` to open it to those who know the password."
                .to_owned(),
        ),
        Refusal::Missing => (
            StatusCode::UNAUTHORIZED,
            "unauthorized",
            "The operators' interface needs the password or key of `auth`; send it as `authorization: Bearer PASSWORD`.".to_owned(),
        ),
        Refusal::Wrong => (StatusCode::UNAUTHORIZED, "unauthorized", "This is not the password or key of `auth`.".to_owned()),
        Refusal::Slow(wait) => {
            let message = format!("Too many wrong passwords came from this address; try again in {} s.", seconds(*wait));
            (StatusCode::TOO_MANY_REQUESTS, "too_many_attempts", message)
        }
    };
    let refused = Wrapped::error(status, code, &message);
    match refusal {
        // Not `Basic`: a browser would remember it, and send it along with what any page asks of the gateway.
        Refusal::Missing | Refusal::Wrong => refused.with_header(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"wasmgate\"")),
        Refusal::Slow(wait) => refused.with_header(RETRY_AFTER, HeaderValue::from(seconds(*wait))),
        Refusal::Closed => refused,
    }
}

fn seconds(wait: Duration) -> u64 {
    wait.as_secs_f64().ceil() as u64
}

fn address(head: &Parts) -> IpAddr {
    head.extensions.get::<Client>().map_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED), |c| c.0)
}

/// The credentials that a request brings.
fn given(headers: &HeaderMap) -> Option<&[u8]> {
    let bearer = headers.get(AUTHORIZATION).and_then(|value| {
        let (scheme, rest) = value.as_bytes().split_at_checked("bearer ".len())?;
        scheme.eq_ignore_ascii_case(b"bearer ").then(|| rest.trim_ascii())
    });
    let field = |name| headers.get(name).map(HeaderValue::as_bytes);
    field(PASSWORD).or(bearer).or_else(|| field(API_KEY))
}

/// Whether credentials are one of those that are set. Digests are compared, all of them to their ends, so that the time says neither how
/// much of a guess was right, nor how long the password is, nor which one it was.
fn opens<'a>(set: impl Iterator<Item = &'a Secret>, given: &[u8]) -> bool {
    let given = Sha256::digest(given);
    let any = set.fold(Choice::from(0), |any, secret| any | Sha256::digest(secret.expose()).as_slice().ct_eq(given.as_slice()));
    any.into()
}

/// Whether a request comes from a program of this machine, and not through a proxy or from a web page: those name another host,
/// or say that they pass something on.
fn asked_locally(head: &Parts) -> bool {
    let foreign = ["origin", "forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via"];
    if foreign.iter().any(|name| head.headers.contains_key(*name)) {
        return false;
    }
    // A page that only wants something loaded sends no `origin`, but browsers say where such requests come from.
    if head.headers.get("sec-fetch-site").is_some_and(|site| site != "same-origin" && site != "none") {
        return false;
    }
    let named = head.uri.authority().cloned().or_else(|| head.headers.get(HOST)?.to_str().ok()?.parse().ok());
    named.is_some_and(|authority: Authority| {
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
    })
}

/// Wrong credentials, by where they came from.
#[derive(Default)]
pub struct Guesses(Mutex<HashMap<IpAddr, Left>>);

/// How many more an address has.
struct Left {
    guesses: f64,
    at: Instant,
}

impl Left {
    fn refill(&mut self, now: Instant) -> f64 {
        let more = now.saturating_duration_since(self.at).as_secs_f64() / PER_GUESS.as_secs_f64();
        (self.guesses, self.at) = ((self.guesses + more).min(GUESSES), now);
        self.guesses
    }
}

impl Guesses {
    /// Looks at credentials, unless too many wrong ones came from this address; then even right ones are not looked at, for the answer
    /// would tell. Looking and counting are one step: a thousand guesses at once are no more than one after the other.
    fn guess(&self, from: IpAddr, now: Instant, is_right: impl FnOnce() -> bool) -> Result<(), Refusal> {
        let from = network(from);
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= ADDRESSES && !all.contains_key(&from) {
            all.retain(|_, left| left.refill(now) < GUESSES);
        }
        let from = if all.len() >= ADDRESSES && !all.contains_key(&from) { IpAddr::V6(Ipv6Addr::UNSPECIFIED) } else { from };
        if let Some(left) = all.get_mut(&from)
            && left.refill(now) < 1.0
        {
            return Err(Refusal::Slow(PER_GUESS.mul_f64(1.0 - left.guesses)));
        }
        if is_right() {
            return Ok(());
        }
        all.entry(from).or_insert(Left { guesses: GUESSES, at: now }).guesses -= 1.0;
        Err(Refusal::Wrong)
    }
}

/// Whoever has one address of IPv6 has 2^64 of them.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() >> 64 << 64).into()),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn credentials_are_found_wherever_they_may_be() {
        for (name, value) in [
            ("authorization", "Bearer s3cret"),
            ("authorization", "bearer  s3cret"),
            ("x-api-key", "s3cret"),
            ("x-wasmgate-password", "s3cret"),
        ] {
            let headers = HeaderMap::from_iter([(HeaderName::from_static(name), HeaderValue::from_static(value))]);
            assert_eq!(given(&headers), Some(b"s3cret".as_slice()), "{name}: {value}");
        }
        for (name, value) in [("authorization", "Basic dXNlcjpzM2NyZXQ="), ("authorization", "Bearer"), ("cookie", "s3cret")] {
            let headers = HeaderMap::from_iter([(HeaderName::from_static(name), HeaderValue::from_static(value))]);
            assert_eq!(given(&headers), None, "{name}: {value}");
        }
    }

    #[test]
    fn only_what_is_set_opens() {
        let set = [Secret::new("one".into()), Secret::new("two".into())];
        for (given, expect) in [("one", true), ("two", true), ("on", false), ("ones", false), ("", false)] {
            assert_eq!(opens(set.iter(), given.as_bytes()), expect, "{given}");
        }
        assert!(!opens([].into_iter(), b""));
    }

    #[test]
    fn guesses_run_out_and_come_back() {
        let (guesses, start) = (Guesses::default(), Instant::now());
        let who = ip("192.0.2.1");
        for _ in 0..10 {
            assert_eq!(guesses.guess(who, start, || false), Err(Refusal::Wrong));
        }
        assert_eq!(guesses.guess(who, start, || panic!("it must not be looked at")), Err(Refusal::Slow(PER_GUESS)));
        assert_eq!(guesses.guess(ip("192.0.2.2"), start, || true), Ok(()), "others are not concerned");
        let later = start + PER_GUESS;
        assert_eq!(guesses.guess(who, later, || false), Err(Refusal::Wrong));
        assert!(matches!(guesses.guess(who, later, || true), Err(Refusal::Slow(_))));
        assert_eq!(guesses.guess(who, later + PER_GUESS, || true), Ok(()));
        assert_eq!(guesses.guess(who, later + PER_GUESS, || true), Ok(()), "what is right costs nothing");
    }

    #[test]
    fn many_addresses_buy_no_guesses_and_no_memory() {
        let (guesses, now) = (Guesses::default(), Instant::now());
        let mut looked = 0;
        for n in 0..2 * ADDRESSES as u32 {
            let _ = guesses.guess(IpAddr::V4((0x0a00_0000 + n).into()), now, || {
                looked += 1;
                false
            });
        }
        assert_eq!(looked, ADDRESSES + GUESSES as usize);
        assert_eq!(guesses.0.lock().unwrap().len(), ADDRESSES + 1);
        // When the time is over they are forgotten.
        assert_eq!(guesses.guess(ip("192.0.2.9"), now + PER_GUESS * 20, || false), Err(Refusal::Wrong));
        assert_eq!(guesses.0.lock().unwrap().len(), 1);
    }

    #[test]
    fn one_network_of_ipv6_is_one_address() {
        let (guesses, now) = (Guesses::default(), Instant::now());
        for n in 0..10 {
            assert_eq!(guesses.guess(ip(&format!("2001:db8::{n}")), now, || false), Err(Refusal::Wrong));
        }
        assert!(matches!(guesses.guess(ip("2001:db8::ff"), now, || true), Err(Refusal::Slow(_))));
        assert_eq!(guesses.guess(ip("2001:db8:0:1::1"), now, || true), Ok(()));
    }

    #[test]
    fn what_is_public_is_a_path_or_a_folder() {
        let secret = || Some(Secret::new("s".into()));
        let auth = Auth { api_password: secret(), public_paths: vec!["/metrics".into(), "/api/open/*".into()], ..Auth::default() };
        for (path, closed) in [
            ("/metrics", false),
            ("/api/open/x", false),
            ("/api/open", true),
            ("/api/opened", true),
            ("/api/extensions", true),
            ("/api/anything", true),
            ("/v1/chat/completions", false),
            ("/health", false),
        ] {
            assert_eq!(is_closed(&auth, path), closed, "{path}");
        }
        assert!(
            !is_closed(&Auth { enabled: false, api_password: secret(), ..Auth::default() }, "/api/extensions"),
            "it is as if none were set"
        );
    }
}
