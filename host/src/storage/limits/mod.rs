//! Limits on rates: counted in this process, or in Redis for several gateways that keep one limit together.

mod memory;
mod redis;

use std::sync::Arc;
use std::time::Duration;

pub use memory::Limiter;
pub use redis::{RedisLimits, parse_url};

/// How a key is limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// `capacity` at most, of which `refill` comes back in `per`.
    TokenBucket {
        /// Most that can be there.
        capacity: u64,
        /// What comes back.
        refill: u64,
        /// In how long.
        per: Duration,
    },
    /// `limit` at most in any stretch of `window`.
    SlidingWindow {
        /// Most in the window.
        limit: u64,
        /// Its length.
        window: Duration,
    },
}

/// What is to be reserved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// The key.
    pub key: String,
    /// Its rule.
    pub rule: Rule,
    /// How much.
    pub amount: u64,
}

/// What was reserved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Granted {
    /// Name of the reservation.
    pub reservation: u64,
    /// What is left.
    pub remaining: u64,
    /// When everything will have come back.
    pub reset: Duration,
}

/// Nothing was reserved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused {
    /// What is left.
    pub remaining: u64,
    /// When as much may be there; none when that is never.
    pub retry_after: Option<Duration>,
    /// When everything will have come back.
    pub reset: Duration,
}

/// Where limits are counted.
#[derive(Clone)]
pub enum Limits {
    /// In this process.
    Memory(Arc<Limiter>),
    /// In Redis.
    Redis(Arc<RedisLimits>),
}

impl Default for Limits {
    fn default() -> Self {
        Self::Memory(Arc::default())
    }
}

/// How it goes with what other processes count for us.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Health {
    /// Whether they cannot be reached now.
    pub away: bool,
    /// Calls that were answered without them.
    pub without: u64,
}

impl Limits {
    /// Reserves an amount.
    pub async fn reserve(&self, namespace: &str, wish: Wish) -> Result<Granted, Refused> {
        match self {
            Self::Memory(limiter) => limiter.reserve(namespace, wish, limiter.now()),
            Self::Redis(limits) => limits.reserve(namespace, wish).await,
        }
    }

    /// Reserves one after the other, until one is refused; nobody comes in between. As many answers as were tried.
    pub async fn reserve_all(&self, namespace: &str, wishes: Vec<Wish>) -> Vec<Result<Granted, Refused>> {
        match self {
            Self::Memory(limiter) => limiter.reserve_all(namespace, wishes, limiter.now()),
            Self::Redis(limits) => limits.reserve_all(namespace, wishes).await,
        }
    }

    /// Says what was really used. False when the namespace has no such reservation.
    pub async fn settle(&self, namespace: &str, reservation: u64, used: u64) -> bool {
        match self {
            Self::Memory(limiter) => limiter.settle(namespace, reservation, used, limiter.now()),
            Self::Redis(limits) => limits.settle(namespace, reservation, used).await,
        }
    }

    /// Says of several what was really used: reservation and amount. One answer for each.
    pub async fn settle_all(&self, namespace: &str, settlements: &[(u64, u64)]) -> Vec<bool> {
        match self {
            Self::Memory(limiter) => {
                let now = limiter.now();
                settlements.iter().map(|(reservation, used)| limiter.settle(namespace, *reservation, *used, now)).collect()
            }
            Self::Redis(limits) => limits.settle_all(namespace, settlements).await,
        }
    }

    /// Returns when limits can be counted together, or it is clear that they cannot for now.
    pub async fn ready(&self) {
        if let Self::Redis(limits) = self {
            limits.ready().await;
        }
    }

    /// How it goes.
    pub fn health(&self) -> Health {
        match self {
            Self::Memory(_) => Health::default(),
            Self::Redis(limits) => limits.health(),
        }
    }
}

#[cfg(test)]
mod tests;
