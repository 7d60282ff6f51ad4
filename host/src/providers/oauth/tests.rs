//! Logins against a server that does what a script says, on a clock that stands still until everybody waits.

use std::sync::atomic::{AtomicUsize, Ordering};

use http::{HeaderValue, Response};
use llm_codec::hub::{ChatError, ErrorClass};
use oauth2::HttpResponse;

use super::server::Call;
use super::*;
use crate::config::{ProviderConfig, Storage};
use crate::providers::Credentials;
use crate::providers::presets::KeyHeader;
use crate::storage::{Closed, Kv, Late, MemoryKv};

/// What the scripted server does with an exchange.
#[derive(Clone, Copy, PartialEq)]
enum Does {
    Grants,
    /// The refresh token is of no more use.
    Refuses,
    /// It has a problem of its own.
    Fails,
    /// Nobody is there.
    IsAway,
}

/// A server that takes a second for an exchange, and gives every token once.
struct Script {
    does: Mutex<Does>,
    /// The refresh tokens that were used, in their order.
    used: Mutex<Vec<String>>,
    given: AtomicUsize,
}

impl Script {
    fn new() -> Arc<Self> {
        Arc::new(Self { does: Mutex::new(Does::Grants), used: Mutex::default(), given: AtomicUsize::new(1) })
    }

    fn call(self: &Arc<Self>) -> Call {
        let script = Arc::clone(self);
        Call::new(move |request| {
            let script = Arc::clone(&script);
            async move {
                let form: BTreeMap<_, _> = form_urlencoded::parse(request.body()).into_owned().collect();
                assert_eq!(form["grant_type"], "refresh_token");
                lock(&script.used).push(form["refresh_token"].clone());
                // tidy: allow(sleep) because the clock is paused
                tokio::time::sleep(Duration::from_secs(1)).await;
                let does = *lock(&script.does);
                match does {
                    Does::IsAway => Err("could not be reached".into()),
                    Does::Fails => Ok(answer(503, &json!({"error": "temporarily_unavailable"}))),
                    Does::Refuses => Ok(answer(
                        400,
                        &json!({"error": "invalid_grant", "error_description": format!("{} is used", form["refresh_token"])}),
                    )),
                    Does::Grants => {
                        let n = script.given.fetch_add(1, Ordering::Relaxed) + 1;
                        let tokens = json!({"access_token": format!("access-{n}"), "refresh_token": format!("refresh-{n}"),
                            "token_type": "Bearer", "expires_in": 100});
                        Ok(answer(200, &tokens))
                    }
                }
            }
        })
    }

    fn used(&self) -> Vec<String> {
        lock(&self.used).clone()
    }

    fn now(&self, does: Does) {
        *lock(&self.does) = does;
    }
}

fn answer(status: u16, document: &Value) -> HttpResponse {
    let mut response = Response::new(document.to_string().into_bytes());
    *response.status_mut() = status.try_into().expect("a status");
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/json"));
    response
}

fn vault(kv: &Arc<dyn Kv>) -> Option<Arc<Vault>> {
    let storage = Storage { token_key: Some(Secret::new("07".repeat(32))), ..Storage::default() };
    Vault::open(&storage, kv).expect("the key is right").map(Arc::new)
}

fn login(kv: &Arc<dyn Kv>, script: &Arc<Script>) -> Arc<Login> {
    let config = OAuthConfig {
        client_id: "gateway".into(),
        token_url: Some("https://login.example/token".into()),
        refresh_margin: Duration::from_secs(10),
        ..OAuthConfig::default()
    };
    let logins = Arc::new(Logins::new(vault(kv)));
    let held = Arc::default();
    Arc::new(Login { provider: "p".into(), server: Server::with(&config, script.call()), config, held, logins })
}

fn memory() -> Arc<dyn Kv> {
    Arc::new(MemoryKv::default())
}

/// Tokens that are good for 100 s.
fn tokens(n: usize, refresh: bool) -> Tokens {
    let secret = |what: &str| Secret::new(format!("{what}-{n}"));
    Tokens { access: secret("access"), refresh: refresh.then(|| secret("refresh")), life: Some(Duration::from_secs(100)), scopes: vec![] }
}

/// Somebody is logged in with the first tokens.
async fn logged_in(login: &Arc<Login>) -> Arc<Credential> {
    let number = login.add(tokens(1, true), None).await.expect("there is room");
    login.credentials().into_iter().find(|c| c.number == number).expect("it is there")
}

fn token(access: &Access) -> String {
    access.value.to_str().expect("text").to_owned()
}

async fn after(seconds: u64) {
    // tidy: allow(sleep) because the clock is paused
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn many_who_were_refused_make_one_exchange_together() {
    let script = Script::new();
    let login = login(&memory(), &script);
    let credential = logged_in(&login).await;
    let refused = login.access(&credential).await.expect("a token").version;
    let all = (0..32).map(|_| {
        let (login, credential) = (Arc::clone(&login), Arc::clone(&credential));
        tokio::spawn(async move { login.instead_of(&credential, refused).await.map(|a| token(&a)) })
    });
    for task in all.collect::<Vec<_>>() {
        assert_eq!(task.await.expect("no panic"), Ok("Bearer access-2".into()));
    }
    // One more who was refused with the same token, and comes late.
    assert_eq!(login.instead_of(&credential, refused).await.map(|a| token(&a)), Ok("Bearer access-2".into()));
    assert_eq!(script.used(), ["refresh-1"]);
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_refuses_whatever_comes_costs_no_exchange_for_each_request() {
    let script = Script::new();
    let login = login(&memory(), &script);
    let credential = logged_in(&login).await;
    for second in 0..50 {
        let used = login.access(&credential).await.expect("a token").version;
        assert_eq!(login.instead_of(&credential, used).await.is_ok(), second == 0, "{second}");
        after(1).await;
    }
    assert_eq!(script.used(), ["refresh-1"]);
    credential.worked(2);
    assert_eq!(login.instead_of(&credential, 2).await.map(|a| token(&a)), Ok("Bearer access-3".into()));
}

#[tokio::test(start_paused = true)]
async fn who_goes_away_does_not_take_the_exchange_along() {
    let script = Script::new();
    let login = login(&memory(), &script);
    let credential = logged_in(&login).await;
    let gone = tokio::time::timeout(Duration::from_millis(10), login.instead_of(&credential, 1)).await;
    assert!(gone.is_err(), "it takes a second");
    after(2).await;
    assert_eq!(login.access(&credential).await.map(|a| token(&a)), Ok("Bearer access-2".into()));
    assert_eq!(script.used(), ["refresh-1"], "the token that was used is not used again");
}

#[tokio::test(start_paused = true)]
async fn tokens_are_fetched_ahead_and_once_whoever_wants_them() {
    let script = Script::new();
    let login = login(&memory(), &script);
    let credential = logged_in(&login).await;
    after(89).await;
    assert_eq!(login.access(&credential).await.map(|a| token(&a)), Ok("Bearer access-1".into()));
    assert_eq!(script.used().len(), 0, "it is too early");
    after(2).await;
    // It is still good, so nobody waits; two tasks look ahead, and a request was refused.
    let ahead = [tokio::spawn(keep_fresh(Arc::clone(&login))), tokio::spawn(keep_fresh(Arc::clone(&login)))];
    assert_eq!(login.access(&credential).await.map(|a| token(&a)), Ok("Bearer access-1".into()));
    assert_eq!(login.instead_of(&credential, 1).await.map(|a| token(&a)), Ok("Bearer access-2".into()));
    assert_eq!(script.used(), ["refresh-1"]);
    // Nobody asks for an hour: each token is fetched ten seconds before the one before is over, with the one that came last.
    after(3600).await;
    let used = script.used();
    assert!((38..=41).contains(&used.len()), "{used:?}");
    assert!(used.iter().enumerate().all(|(n, token)| *token == format!("refresh-{}", n + 1)), "{used:?}");
    ahead.iter().for_each(tokio::task::JoinHandle::abort);
    after(1000).await;
    let (over, number) = (login.access(&credential), used.len() + 1);
    assert_eq!(over.await.map(|a| token(&a)), Ok(format!("Bearer access-{}", number + 1)), "one that is over is fetched first");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_away_is_left_alone_for_longer_each_time() {
    let script = Script::new();
    let login = login(&memory(), &script);
    let credential = logged_in(&login).await;
    script.now(Does::IsAway);
    after(95).await;
    let ahead = tokio::spawn(keep_fresh(Arc::clone(&login)));
    for _ in 0..4 {
        assert_eq!(login.access(&credential).await.map(|a| token(&a)), Ok("Bearer access-1".into()), "it is still good");
        after(1).await;
    }
    after(2).await;
    let reason = login.access(&credential).await.err().expect("it is over");
    assert!(reason.contains("could not be reached"), "{reason}");
    let tries = script.used().len();
    assert!((2..=4).contains(&tries), "{tries}");
    script.now(Does::Fails);
    after(600).await;
    let more = script.used().len() - tries;
    assert!((8..=14).contains(&more), "{more}: about one each minute in the end");
    assert!(!credential.is_aside(Instant::now()));
    script.now(Does::Grants);
    after(70).await;
    assert_eq!(login.access(&credential).await.map(|a| token(&a)), Ok("Bearer access-2".into()));
    ahead.abort();
}

#[tokio::test(start_paused = true)]
async fn a_refused_login_is_set_aside_and_the_next_one_is_used() {
    let (kv, script) = (memory(), Script::new());
    let login = login(&kv, &script);
    let credential = logged_in(&login).await;
    let credentials =
        Credentials::new("p", &ProviderConfig::default(), KeyHeader::Plain("x-api-key"), Some(Arc::clone(&login))).expect("credentials");
    assert_eq!(credentials.number(), 1);
    login.add(tokens(9, false), None).await.expect("there is room");
    assert_eq!(credentials.number(), 2, "the list is looked at again");

    let now = Instant::now();
    let first = credentials.lease("m", &[1], now).expect("the first");
    let first = credentials.prepare(first).await.expect("a token");
    assert_eq!(first.field().map(|(n, v)| (n.as_str().to_owned(), v)), Some(("authorization".into(), "Bearer access-1".parse().unwrap())));
    script.now(Does::Refuses);
    assert!(credentials.renew(&first).await.is_none());
    assert!(credential.is_aside(now));
    for _ in 0..3 {
        assert_eq!(credentials.lease("m", &[], now).map(|l| l.position), Ok(Some(1)), "the other one");
    }
    // There is no way to another token than its own, and it is used until that is over.
    let second = credentials.prepare(credentials.lease("m", &[], now).expect("the second")).await.expect("a token");
    assert!(credentials.renew(&second).await.is_none());
    after(100).await;
    let now = Instant::now();
    let resting = credentials.lease("m", &[], now).expect_err("none is left");
    assert!(resting.logged_out, "{resting:?}");
    credentials.refused(&second, "m", &ChatError::new(ErrorClass::Authentication, "no"), now);
    assert!(credentials.available("m", now).is_err_and(|r| r.logged_out));

    // What is told of it has no token in it, and says what to do.
    let shown = format!("{} {} {:?}", login.shown(), credentials.shown(now), second);
    assert!(shown.contains("set_aside") && shown.contains("log in again") && shown.contains("(invalid_grant): *** is used"), "{shown}");
    assert!(!shown.contains("access-") && !shown.contains("refresh-"), "{shown}");
    assert_eq!(credentials.mask("access-1, refresh-1 and access-9"), "***, *** and ***");

    // A restart does not try again what was refused; an operator can.
    let again = self::login(&kv, &script);
    let first = again.credentials().remove(0);
    assert!(first.is_aside(Instant::now()));
    script.now(Does::Grants);
    assert_eq!(again.refresh(&first).await, Ok(()));
    assert_eq!(again.access(&first).await.map(|a| token(&a)), Ok("Bearer access-2".into()));
    // And somebody can log in anew in its place.
    again.add(tokens(7, true), Some(2)).await.expect("there is room");
    assert!(again.credentials().iter().all(|c| !c.is_aside(Instant::now())));
}

#[tokio::test(start_paused = true)]
async fn a_login_without_a_refresh_token_is_used_until_it_is_over_whatever_a_provider_says() {
    let (kv, script) = (memory(), Script::new());
    let login = login(&kv, &script);
    login.add(tokens(1, false), None).await.expect("there is room");
    let credentials =
        Credentials::new("p", &ProviderConfig::default(), KeyHeader::Plain("x-api-key"), Some(Arc::clone(&login))).expect("credentials");
    let state = |login: &Login| login.shown()["credentials"][0]["state"].clone();
    for _ in 0..3 {
        let lease = credentials.prepare(credentials.lease("m", &[], Instant::now()).expect("a login")).await.expect("a token");
        assert!(credentials.renew(&lease).await.is_none(), "there is nothing to exchange");
        credentials.refused(&lease, "m", &ChatError::new(ErrorClass::Authentication, "no"), Instant::now());
        after(30).await;
        assert_eq!((state(&login), state(&self::login(&kv, &script))), (json!("ready"), json!("ready")));
    }
    assert!(credentials.available("m", Instant::now()).is_ok());
    after(10).await;
    // Now nobody can use it, and it says why.
    assert!(credentials.lease("m", &[], Instant::now()).is_err_and(|r| r.logged_out));
    assert_eq!((state(&login), credentials.shown(Instant::now())[0]["state"].clone()), (json!("expired"), json!("set_aside")));
    assert!(login.shown()["credentials"][0]["reason"].as_str().is_some_and(|r| r.contains("log in again")));
    assert_eq!(script.used().len(), 0, "nobody was asked");
}

#[tokio::test(start_paused = true)]
async fn an_authorization_server_that_hangs_is_waited_for_no_longer_than_its_setting_says() {
    let hangs = |config: OAuthConfig, hangs_at: &'static str| {
        let call = Call::new(move |request| async move {
            if request.uri().path() == hangs_at {
                std::future::pending::<()>().await;
            }
            // Everything takes a while.
            after(4).await;
            Ok(answer(200, &json!({"issuer": "https://login.example", "token_endpoint": "https://tokens.example/give?key=secret-1"})))
        });
        Server::with(&OAuthConfig { client_id: "gateway".into(), timeout: Duration::from_secs(5), ..config }, call)
    };
    let issuer = || OAuthConfig { issuer: Some("https://login.example".into()), ..OAuthConfig::default() };
    let token = || OAuthConfig { token_url: Some("https://user:secret-1@tokens.example/give".into()), ..OAuthConfig::default() };
    for (server, host) in [
        (hangs(token(), "/give"), "tokens.example"),
        (hangs(issuer(), "/.well-known/oauth-authorization-server"), "login.example"),
        // Where tokens are given is known after four seconds; the last one is left for the rest.
        (hangs(issuer(), "/give"), "tokens.example"),
    ] {
        let began = Instant::now();
        let failure = server.refresh(&Secret::new("refresh-1".into())).await.err().expect("it hangs");
        assert_eq!(began.elapsed(), Duration::from_secs(5), "{failure}");
        let told = failure.to_string();
        assert!(matches!(failure, Failure::Failed(_)) && told.contains(&format!("`{host}`")) && told.contains("`oauth.timeout`"), "{told}");
        assert!(told.contains("5 s") && !told.contains("secret-1") && !told.contains("refresh-1"), "{told}");
    }
    // Whoever waits for a token is told, and those who come next are not kept waiting as long as the server is left alone.
    let config = OAuthConfig { refresh_margin: Duration::from_secs(10), ..token() };
    let logins = Arc::new(Logins::new(vault(&memory())));
    let held = Arc::default();
    let login = Arc::new(Login { provider: "p".into(), server: hangs(config.clone(), "/give"), config, held, logins });
    let credential = logged_in(&login).await;
    after(101).await;
    let began = Instant::now();
    let reason = login.access(&credential).await.err().expect("it is over");
    assert!(reason.contains("`tokens.example`") && began.elapsed() == Duration::from_secs(5), "{reason}");
    assert!(login.access(&credential).await.is_err() && began.elapsed() == Duration::from_secs(5), "nobody waits for it now");
    assert!(login.shown()["credentials"][0]["reason"].as_str().is_some_and(|r| r.contains("`oauth.timeout`")));
}

#[tokio::test(start_paused = true)]
async fn nobody_is_logged_out_because_the_store_does_not_answer() {
    let (late, script) = (Arc::new(Late::default()), Script::new());
    let kv: Arc<dyn Kv> = Arc::clone(&late) as _;
    late.answers();
    logged_in(&login(&kv, &script)).await;
    late.is_away();

    let login = login(&kv, &script);
    let ahead = tokio::spawn(keep_fresh(Arc::clone(&login)));
    let credentials =
        Credentials::new("p", &ProviderConfig::default(), KeyHeader::Plain("x-api-key"), Some(Arc::clone(&login))).expect("credentials");
    let closed = |r: &crate::providers::credentials::Resting| (r.closed, r.logged_out);
    let unread = Some((Some(Closed::Unread), false));
    assert_eq!(credentials.lease("m", &[], Instant::now()).err().as_ref().map(closed), unread);
    assert_eq!(credentials.available("m", Instant::now()).err().as_ref().map(closed), unread);
    assert!(login.shown()["unread"].as_str().is_some_and(|r| r.contains("not known yet")), "{}", login.shown());
    // Nobody can log in on top of what is there.
    assert_eq!(login.begin_login(Flow::Code, None).await.err(), Some(Failure::Closed(Closed::Unread)));
    assert_eq!(login.add(tokens(9, true), None).await, Err(Failure::Closed(Closed::Unread)));
    after(30).await;
    late.answers();
    let lease = credentials.prepare(credentials.lease("m", &[], Instant::now()).expect("the login")).await.expect("a token");
    assert_eq!(lease.field().map(|(_, v)| v), Some("Bearer access-1".parse().unwrap()));
    assert_eq!((login.shown()["unread"].clone(), login.credentials().len()), (Value::Null, 1));
    // And it is exchanged in time again, though nobody asks.
    after(95).await;
    assert_eq!(script.used(), ["refresh-1"]);
    ahead.abort();
}

#[tokio::test(start_paused = true)]
async fn what_was_taken_back_does_not_return() {
    let (kv, script) = (memory(), Script::new());
    let login = login(&kv, &script);
    let credential = logged_in(&login).await;
    // While it is being exchanged.
    let exchange = login.instead_of(&credential, 1);
    let (_, revoked) = tokio::join!(exchange, async {
        after(0).await;
        login.revoke(None).await
    });
    assert_eq!(revoked.iter().map(|r| (r.number, r.at_server.is_some())).collect::<Vec<_>>(), [(1, false)], "there is no address for it");
    assert!(login.credentials().is_empty());
    after(10).await;
    assert!(self::login(&kv, &script).credentials().is_empty(), "a restart brings it back");
}

#[tokio::test(start_paused = true)]
async fn a_restart_keeps_tokens_and_another_server_does_not_get_them() {
    let (kv, script) = (memory(), Script::new());
    logged_in(&login(&kv, &script)).await;
    let again = login(&kv, &script);
    let credential = again.credentials().remove(0);
    assert_eq!(again.access(&credential).await.map(|a| token(&a)), Ok("Bearer access-1".into()));
    let config = OAuthConfig { token_url: Some("https://other.example/token".into()), ..again.config.clone() };
    let other = Login {
        provider: "p".into(),
        server: Server::with(&config, script.call()),
        config,
        held: Arc::clone(&again.held),
        logins: Arc::clone(&again.logins),
    };
    assert!(other.credentials().is_empty());
    assert_eq!(other.shown()["credentials"][0]["state"], "foreign");
}

#[tokio::test(start_paused = true)]
async fn a_state_is_good_once_for_its_provider_and_not_for_long() {
    let script = Script::new();
    let login = login(&memory(), &script);
    login.logins.listen_at("http://127.0.0.1:8080".into());
    let config = OAuthConfig { auth_url: Some("https://login.example/auth".into()), issuer: None, ..login.config.clone() };
    let login = Arc::new(Login {
        provider: "p".into(),
        server: Server::with(&config, script.call()),
        config,
        held: Arc::clone(&login.held),
        logins: Arc::clone(&login.logins),
    });
    let state = |begun: &Begun| {
        let url = reqwest::Url::parse(begun.0["authorization_url"].as_str().expect("a URL")).expect("a URL");
        let query: BTreeMap<_, _> = url.query_pairs().into_owned().collect();
        assert_eq!((query["code_challenge_method"].as_str(), query["code_challenge"].len()), ("S256", 43));
        assert_eq!(query["redirect_uri"], "http://127.0.0.1:8080/api/oauth/p/callback");
        query["state"].clone()
    };
    let begin = || async { state(&login.begin_login(Flow::Code, None).await.expect("it begins")) };
    let denied = |state: &str| Returned { state: state.into(), error: Some("access_denied".into()), ..Returned::default() };

    let first = begin().await;
    assert_eq!(first.len(), 43, "32 bytes");
    assert_eq!(login.returned(denied(&first)).await, Err(CallbackError::Denied("access_denied")));
    assert_eq!(login.returned(denied(&first)).await, Err(CallbackError::Unknown), "it was used");
    assert_eq!(login.returned(denied("")).await, Err(CallbackError::Unknown));

    let late = begin().await;
    after(601).await;
    assert_eq!(login.returned(denied(&late)).await, Err(CallbackError::Unknown), "it took too long");

    let config = login.config.clone();
    let held = Arc::default();
    let other = Arc::new(Login {
        provider: "q".into(),
        server: Server::with(&config, script.call()),
        config,
        held,
        logins: Arc::clone(&login.logins),
    });
    let mixed = begin().await;
    assert_eq!(other.returned(denied(&mixed)).await, Err(CallbackError::Unknown), "it is of another provider");
    assert_eq!(login.returned(denied(&mixed)).await, Err(CallbackError::Unknown), "and good no more");

    // Whoever begins logins without end pushes out the oldest.
    let oldest = begin().await;
    let mut newest = String::new();
    for _ in 0..64 {
        after(1).await;
        newest = begin().await;
    }
    assert_eq!(login.returned(denied(&oldest)).await, Err(CallbackError::Unknown));
    assert_eq!(login.returned(denied(&newest)).await, Err(CallbackError::Denied("access_denied")));
}
