//! Limits that several gateways keep together: counted in Redis, by scripts that nothing comes in between of, on Redis' own clock.
//!
//! A caller waits for Redis so long as `storage.limits.timeout`, and not at all while it is known to be away: then the policy decides, and a
//! task in the background connects again.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, ErrorKind, RedisError, Script, ScriptInvocation};
use tokio::runtime::Handle;
use tokio::sync::Notify;

use super::memory::FORGOTTEN_AFTER;
use super::{Granted, Health, Limiter, Refused, Rule, Wish};
use crate::config::WhenAway;

/// Reservations with this bit are not in Redis.
const LOCAL: u64 = 1 << 63;

/// How long a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Pause between two attempts to connect.
const PAUSE: Duration = Duration::from_secs(1);

/// When those may come again who are refused because Redis is away.
const COME_AGAIN: Duration = Duration::from_secs(1);

/// Settlements that wait for Redis to come back; the oldest are forgotten.
const UNSETTLED: usize = 10_000;

/// Whole numbers of Redis' scripts are exact up to here.
const LARGEST: u64 = 1 << 53;

/// Reads a URL. An error does not repeat it: it may hold a password.
pub fn parse_url(url: &str) -> Result<Client, String> {
    let expected = "Expected `redis://USER:PASSWORD@HOST:PORT/DATABASE` or `unix:PATH`";
    if url.starts_with("rediss://") {
        return Err(format!("Redis is reached without TLS only. {expected}, through a tunnel if it is on another network"));
    }
    Client::open(url).map_err(|e| format!("it is no address of Redis: {}. {expected}", e.detail().unwrap_or("it cannot be read")))
}

/// The limits.
pub struct RedisLimits {
    client: Client,
    timeout: Duration,
    when_away: WhenAway,
    /// Counts while Redis is away.
    local: Limiter,
    scripts: Scripts,
    link: Mutex<Link>,
    /// The first attempt to connect came to an end.
    tried: Notify,
    without: AtomicU64,
    handle: Handle,
    this: Weak<Self>,
}

pub(super) struct Scripts {
    reserve: Script,
    settle: Script,
}

impl Default for Scripts {
    fn default() -> Self {
        Self { reserve: Script::new(include_str!("reserve.lua")), settle: Script::new(include_str!("settle.lua")) }
    }
}

/// The connection, and what is done about its absence.
struct Link {
    connection: Option<MultiplexedConnection>,
    /// Counts connections, so that one that is over is given up once.
    number: u64,
    connecting: bool,
    /// It was said that Redis is away.
    told: bool,
    unsettled: VecDeque<Settlement>,
}

struct Settlement {
    namespace: String,
    reservation: u64,
    used: u64,
}

impl RedisLimits {
    /// Begins to connect, in the runtime that it is called in.
    pub fn open(url: &str, timeout: Duration, when_away: WhenAway) -> Result<Arc<Self>, String> {
        let client = parse_url(url)?;
        let link = Link { connection: None, number: 0, connecting: false, told: false, unsettled: VecDeque::new() };
        let limits = Arc::new_cyclic(|this| Self {
            client,
            timeout,
            when_away,
            local: Limiter::default(),
            scripts: Scripts::default(),
            link: Mutex::new(link),
            tried: Notify::new(),
            without: AtomicU64::new(0),
            handle: Handle::current(),
            this: Weak::clone(this),
        });
        limits.connect(&mut limits.link());
        Ok(limits)
    }

    /// Returns when Redis is there, or did not come in time.
    pub async fn ready(&self) {
        let tried = self.tried.notified();
        if self.link().connection.is_none() {
            tried.await;
        }
    }

    /// Reserves an amount.
    pub async fn reserve(&self, namespace: &str, wish: Wish) -> Result<Granted, Refused> {
        let mut answers = self.reserve_all(namespace, vec![wish]).await;
        answers.pop().unwrap_or_else(|| Err(refused_for_now()))
    }

    /// Reserves one after the other, until one is refused.
    pub async fn reserve_all(&self, namespace: &str, wishes: Vec<Wish>) -> Vec<Result<Granted, Refused>> {
        if wishes.is_empty() {
            return Vec::new();
        }
        match self.call::<Vec<Reserved>>(&self.scripts.reservations(namespace, &wishes, None)).await {
            Some(answers) => answers.into_iter().map(reserved).collect(),
            None => self.reserve_without(namespace, wishes),
        }
    }

    fn reserve_without(&self, namespace: &str, wishes: Vec<Wish>) -> Vec<Result<Granted, Refused>> {
        self.without.fetch_add(wishes.len() as u64, Ordering::Relaxed);
        match self.when_away {
            WhenAway::Local => {
                let mark = |granted: Granted| Granted { reservation: granted.reservation | LOCAL, ..granted };
                self.local.reserve_all(namespace, wishes, self.local.now()).into_iter().map(|answer| answer.map(mark)).collect()
            }
            WhenAway::FailOpen => {
                let open = |wish: Wish| {
                    let (Rule::TokenBucket { capacity: most, .. } | Rule::SlidingWindow { limit: most, .. }) = wish.rule;
                    Ok(Granted { reservation: LOCAL, remaining: most.saturating_sub(wish.amount), reset: Duration::ZERO })
                };
                wishes.into_iter().map(open).collect()
            }
            WhenAway::FailClosed => vec![Err(refused_for_now())],
        }
    }

    /// Says what was really used. Redis is told later if it is away. False when the namespace has no such reservation.
    pub async fn settle(&self, namespace: &str, reservation: u64, used: u64) -> bool {
        self.settle_all(namespace, &[(reservation, used)]).await == [true]
    }

    /// The same of several.
    pub async fn settle_all(&self, namespace: &str, settlements: &[(u64, u64)]) -> Vec<bool> {
        let here = |reservation: u64| reservation & LOCAL != 0;
        let there: Vec<(u64, u64)> = settlements.iter().copied().filter(|(reservation, _)| !here(*reservation)).collect();
        let mut known = if there.is_empty() { Vec::new() } else { self.settle_there(namespace, &there).await }.into_iter();
        let settle = |(reservation, used): &(u64, u64)| match *reservation {
            LOCAL => true,
            reservation if here(reservation) => self.local.settle(namespace, reservation & !LOCAL, *used, self.local.now()),
            _ => known.next().unwrap_or(false),
        };
        settlements.iter().map(settle).collect()
    }

    async fn settle_there(&self, namespace: &str, settlements: &[(u64, u64)]) -> Vec<bool> {
        if let Some(known) = self.call::<Vec<u8>>(&self.scripts.settlements(namespace, settlements, None)).await {
            return known.into_iter().map(|known| known == 1).collect();
        }
        self.without.fetch_add(settlements.len() as u64, Ordering::Relaxed);
        let mut link = self.link();
        for (reservation, used) in settlements {
            if link.unsettled.len() == UNSETTLED {
                link.unsettled.pop_front();
            }
            link.unsettled.push_back(Settlement { namespace: namespace.to_owned(), reservation: *reservation, used: *used });
        }
        vec![true; settlements.len()]
    }

    /// How it goes.
    pub fn health(&self) -> Health {
        Health { away: self.link().connection.is_none(), without: self.without.load(Ordering::Relaxed) }
    }

    fn link(&self) -> MutexGuard<'_, Link> {
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks Redis; none when it is away or does not answer in time.
    async fn call<T: redis::FromRedisValue>(&self, script: &ScriptInvocation<'_>) -> Option<T> {
        let (mut connection, number) = {
            let mut link = self.link();
            let Some(connection) = link.connection.clone() else {
                self.connect(&mut link);
                return None;
            };
            (connection, link.number)
        };
        match tokio::time::timeout(self.timeout, script.invoke_async(&mut connection)).await {
            Ok(Ok(answer)) => Some(answer),
            Ok(Err(e)) => {
                self.lost(number, &why(&e));
                None
            }
            Err(_) => {
                self.lost(number, &format!("no answer within {} ms", self.timeout.as_millis()));
                None
            }
        }
    }

    /// A connection is over.
    fn lost(&self, number: u64, reason: &str) {
        let mut link = self.link();
        if link.number != number {
            return;
        }
        link.connection = None;
        link.number += 1;
        self.tell(&mut link, reason);
        self.connect(&mut link);
    }

    /// Says once that Redis is away.
    fn tell(&self, link: &mut Link, reason: &str) {
        if !std::mem::replace(&mut link.told, true) {
            let policy = self.when_away.word();
            tracing::warn!(reason, policy, "Redis is away: limits are not shared until it is back");
        }
    }

    /// Connects in the background, unless that is being done.
    fn connect(&self, link: &mut Link) {
        if !std::mem::replace(&mut link.connecting, true) {
            self.handle.spawn(connect(Weak::clone(&self.this), self.client.clone()));
        }
    }

    /// There is a connection.
    fn found(&self, connection: MultiplexedConnection) {
        let mut link = self.link();
        link.connecting = false;
        link.number += 1;
        link.connection = Some(connection);
        if std::mem::replace(&mut link.told, false) {
            tracing::info!(without = self.without.load(Ordering::Relaxed), "Redis is back: limits are shared again");
        }
    }

    /// Tells Redis what it missed.
    async fn catch_up(&self) {
        loop {
            let Some(next) = self.link().unsettled.pop_front() else { return };
            let settlement = self.scripts.settlements(&next.namespace, &[(next.reservation, next.used)], None);
            if self.call::<Vec<u8>>(&settlement).await.is_none() {
                self.link().unsettled.push_front(next);
                return;
            }
        }
    }
}

/// Tries until there is a connection, or nobody wants one any more.
async fn connect(limits: Weak<RedisLimits>, client: Client) {
    let config = AsyncConnectionConfig::new().set_connection_timeout(CONNECT_TIMEOUT);
    loop {
        let attempt = async {
            let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
            redis::cmd("PING").query_async::<()>(&mut connection).await?;
            Ok::<_, RedisError>(connection)
        };
        let attempt = tokio::time::timeout(CONNECT_TIMEOUT, attempt).await;
        let Some(limits) = limits.upgrade() else { return };
        let reason = match attempt {
            Ok(Ok(connection)) => {
                limits.found(connection);
                limits.tried.notify_waiters();
                limits.catch_up().await;
                return;
            }
            Ok(Err(e)) => why(&e),
            Err(_) => format!("no connection within {} s", CONNECT_TIMEOUT.as_secs()),
        };
        limits.tell(&mut limits.link(), &reason);
        limits.tried.notify_waiters();
        drop(limits);
        tokio::time::sleep(PAUSE).await;
    }
}

/// What went wrong, without the address: it may hold a password.
fn why(error: &RedisError) -> String {
    match error.kind() {
        ErrorKind::AuthenticationFailed => "it does not accept the password".into(),
        kind => error.detail().map_or_else(|| format!("{kind:?}"), |detail| format!("{kind:?}: {detail}")),
    }
}

impl Scripts {
    /// `now`, in microseconds, is for tests.
    pub(super) fn reservations(&self, namespace: &str, wishes: &[Wish], now: Option<u64>) -> ScriptInvocation<'_> {
        let micros = |d: Duration| u64::try_from(d.as_micros()).unwrap_or(u64::MAX).min(LARGEST);
        let mut script = self.reserve.prepare_invoke();
        // What is in braces decides where a cluster keeps a key: all of an extension in one place.
        script.key(format!("wasmgate:{{{namespace}}}:last-reservation"));
        script.key(reservations(namespace));
        script.arg(FORGOTTEN_AFTER.as_millis() as u64).arg(now.map_or_else(String::new, |n| n.to_string()));
        for Wish { key, rule, amount } in wishes {
            let (kind, most, refill, per) = match *rule {
                Rule::TokenBucket { capacity, refill, per } => ("bucket", capacity, refill, per),
                Rule::SlidingWindow { limit, window } => ("window", limit, 0, window),
            };
            script.key(format!("wasmgate:{{{namespace}}}:limit:{key}"));
            script.arg(kind).arg(most.min(LARGEST)).arg(refill.min(LARGEST)).arg(micros(per)).arg((*amount).min(LARGEST));
        }
        script
    }

    /// `now`, in microseconds, is for tests.
    pub(super) fn settlements(&self, namespace: &str, settlements: &[(u64, u64)], now: Option<u64>) -> ScriptInvocation<'_> {
        let mut script = self.settle.prepare_invoke();
        script.arg(now.map_or_else(String::new, |n| n.to_string()));
        for (reservation, used) in settlements {
            script.key(format!("{}{reservation}", reservations(namespace)));
            script.arg((*used).min(LARGEST));
        }
        script
    }
}

/// What is told when nothing may be let in without Redis.
fn refused_for_now() -> Refused {
    Refused { remaining: 0, retry_after: Some(COME_AGAIN), reset: COME_AGAIN }
}

/// One answer of the script.
pub(super) type Reserved = (u8, i64, i64, i64);

/// How the names of reservations begin.
fn reservations(namespace: &str) -> String {
    format!("wasmgate:{{{namespace}}}:reservation:")
}

/// What the script's numbers mean.
pub(super) fn reserved(answer: Reserved) -> Result<Granted, Refused> {
    let number = |n: i64| u64::try_from(n).unwrap_or(0);
    let time = |n: i64| Duration::from_micros(number(n));
    match answer {
        (1, reservation, remaining, reset) => {
            Ok(Granted { reservation: number(reservation), remaining: number(remaining), reset: time(reset) })
        }
        (_, remaining, wait, reset) => {
            Err(Refused { remaining: number(remaining), retry_after: (wait >= 0).then(|| time(wait)), reset: time(reset) })
        }
    }
}
