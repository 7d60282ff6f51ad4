//! `loadbalance`: in which order the members are asked for one request. The first one gets it; the others are asked when it fails before
//! its answer begins. Members that rest are asked last.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::config::virtual_providers::{BalanceStrategy, LoadBalanceConfig, StickyBy};

/// Share of the requests for which `latency` asks anybody first: nobody would notice otherwise that a slow member has become fast.
const EXPLORED: f64 = 0.05;

/// A load balancer.
pub struct Balance {
    strategy: BalanceStrategy,
    /// The key of `sticky`.
    pub sticky_by: StickyBy,
    turn: AtomicUsize,
    dice: Mutex<fastrand::Rng>,
}

/// What the choice depends on, of one member.
pub struct Candidate<'a> {
    /// Its name, and its model if it has one of its own.
    pub name: (&'a str, Option<&'a str>),
    /// Its share.
    pub weight: f64,
    /// Requests that it works on.
    pub in_flight: usize,
    /// How long its answers took to begin of late; none when nothing is known.
    pub latency: Option<Duration>,
    /// It does not rest.
    pub available: bool,
}

impl Balance {
    /// Its first member is the first one.
    pub fn new(config: &LoadBalanceConfig) -> Self {
        Self::seeded(config, fastrand::u64(..))
    }

    fn seeded(config: &LoadBalanceConfig, seed: u64) -> Self {
        let dice = Mutex::new(fastrand::Rng::with_seed(seed));
        Self { strategy: config.strategy, sticky_by: config.sticky_by, turn: AtomicUsize::new(0), dice }
    }

    /// Whether a key is needed.
    pub fn is_sticky(&self) -> bool {
        self.strategy == BalanceStrategy::Sticky
    }

    /// Members in the order in which they are asked, by their places. `key` is what `sticky` goes by; without one it is `round_robin`.
    pub fn order(&self, members: &[Candidate<'_>], key: Option<u64>) -> Vec<usize> {
        let (mut order, resting): (Vec<usize>, Vec<usize>) = (0..members.len()).partition(|n| members[*n].available);
        // The smallest value first.
        let sort = |order: &mut Vec<usize>, value: &dyn Fn(usize) -> f64| order.sort_by(|a, b| value(*a).total_cmp(&value(*b)));
        match (self.strategy, key) {
            (BalanceStrategy::Random, _) => self.dice().shuffle(&mut order),
            (BalanceStrategy::Weighted, _) => {
                let mut dice = self.dice();
                // Times of events with these rates: the first of them is of a member with its share as probability, and so on for the rest.
                let times: Vec<f64> = members.iter().map(|m| -(1.0 - dice.f64()).ln() / m.weight).collect();
                sort(&mut order, &|n| times[n]);
            }
            (BalanceStrategy::LeastInFlight, _) => {
                // Of equal ones, anybody.
                self.dice().shuffle(&mut order);
                sort(&mut order, &|n| (members[n].in_flight as f64 + 1.0) / members[n].weight);
            }
            (BalanceStrategy::Latency, _) => {
                let mut dice = self.dice();
                dice.shuffle(&mut order);
                if dice.f64() >= EXPLORED {
                    sort(&mut order, &|n| members[n].latency.map_or(0.0, |l| l.as_secs_f64()));
                }
            }
            (BalanceStrategy::Sticky, Some(key)) => sort(&mut order, &|n| rendezvous(key, &members[n])),
            (BalanceStrategy::RoundRobin, _) | (BalanceStrategy::Sticky, None) => {
                let turn = self.turn.fetch_add(1, Ordering::Relaxed);
                let first = turn.checked_rem(order.len()).unwrap_or(0);
                order.rotate_left(first);
            }
        }
        order.extend(resting);
        order
    }

    fn dice(&self) -> std::sync::MutexGuard<'_, fastrand::Rng> {
        self.dice.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A key as a number. Keys stay what they are in another process and after a restart.
pub fn key(parts: &[&[u8]]) -> u64 {
    let mut hasher = DefaultHasher::new();
    parts.hash(&mut hasher);
    hasher.finish()
}

/// How far a member is from a key: with rendezvous hashing a member that comes or goes moves only the keys that are its own.
fn rendezvous(key: u64, member: &Candidate<'_>) -> f64 {
    let mut hasher = DefaultHasher::new();
    (key, member.name).hash(&mut hasher);
    // From 0 to 1, and never 0.
    let point = ((hasher.finish() >> 11) as f64 + 1.0) / (1u64 << 53) as f64;
    -point.ln() / member.weight
}

#[cfg(test)]
mod tests {
    use super::*;

    fn balance(strategy: BalanceStrategy) -> Balance {
        Balance::seeded(&LoadBalanceConfig { strategy, ..LoadBalanceConfig::default() }, 7)
    }

    fn member(name: &str, weight: f64) -> Candidate<'_> {
        Candidate { name: (name, None), weight, in_flight: 0, latency: None, available: true }
    }

    const ROUNDS: usize = 60_000;

    /// How often each member is the first, and the second.
    fn counts(balance: &Balance, members: &[Candidate<'_>]) -> (Vec<usize>, Vec<usize>) {
        let (mut first, mut second) = (vec![0; members.len()], vec![0; members.len()]);
        for _ in 0..ROUNDS {
            let order = balance.order(members, None);
            first[order[0]] += 1;
            second[order[1]] += 1;
        }
        (first, second)
    }

    /// Counts are within five standard deviations of what the shares say. The dice are seeded, so this passes or fails on every machine.
    fn check(counts: &[usize], shares: &[f64]) {
        for (count, share) in counts.iter().zip(shares) {
            let (mean, deviation) = (ROUNDS as f64 * share, (ROUNDS as f64 * share * (1.0 - share)).sqrt());
            assert!((*count as f64 - mean).abs() <= 5.0 * deviation, "{counts:?} for {shares:?}");
        }
    }

    #[test]
    fn in_turn() {
        let (balance, members) = (balance(BalanceStrategy::RoundRobin), [member("a", 1.0), member("b", 9.0), member("c", 1.0)]);
        let orders: Vec<_> = (0..4).map(|_| balance.order(&members, None)).collect();
        assert_eq!(orders, [[0, 1, 2], [1, 2, 0], [2, 0, 1], [0, 1, 2]]);
        // The turn of one that rests does not fall to its neighbour.
        let (first, _) = counts(&balance, &[member("a", 1.0), Candidate { available: false, ..member("b", 1.0) }, member("c", 1.0)]);
        assert_eq!(first, [ROUNDS / 2, 0, ROUNDS / 2]);
    }

    #[test]
    fn anybody() {
        let (first, second) = counts(&balance(BalanceStrategy::Random), &[member("a", 1.0), member("b", 9.0), member("c", 1.0)]);
        check(&first, &[1.0 / 3.0; 3]);
        check(&second, &[1.0 / 3.0; 3]);
    }

    #[test]
    fn anybody_by_weight() {
        let (first, second) = counts(&balance(BalanceStrategy::Weighted), &[member("a", 1.0), member("b", 2.0), member("c", 3.0)]);
        check(&first, &[1.0 / 6.0, 2.0 / 6.0, 3.0 / 6.0]);
        // The second one is drawn from those that are left.
        let after = |x: f64, gone: f64| gone / 6.0 * x / (6.0 - gone);
        check(&second, &[after(1.0, 2.0) + after(1.0, 3.0), after(2.0, 1.0) + after(2.0, 3.0), after(3.0, 1.0) + after(3.0, 2.0)]);
    }

    #[test]
    fn the_least_busy_by_weight() {
        let balance = balance(BalanceStrategy::LeastInFlight);
        let busy = |name, weight, in_flight| Candidate { in_flight, ..member(name, weight) };
        assert_eq!(balance.order(&[busy("a", 1.0, 3), busy("b", 1.0, 1), busy("c", 1.0, 2)], None), [1, 2, 0]);
        assert_eq!(balance.order(&[busy("a", 4.0, 3), busy("b", 1.0, 1), busy("c", 1.0, 2)], None), [0, 1, 2]);
        let (first, _) = counts(&balance, &[busy("a", 1.0, 2), busy("b", 1.0, 2), busy("c", 1.0, 9)]);
        check(&first, &[0.5, 0.5, 0.0]);
    }

    #[test]
    fn the_fastest_and_now_and_then_anybody() {
        let balance = balance(BalanceStrategy::Latency);
        let took = |name, ms| Candidate { latency: Some(Duration::from_millis(ms)), ..member(name, 1.0) };
        let (first, _) = counts(&balance, &[took("a", 900), took("b", 100), took("c", 500)]);
        check(&first, &[EXPLORED / 3.0, 1.0 - EXPLORED * 2.0 / 3.0, EXPLORED / 3.0]);
        // One that nothing is known of is tried.
        let (first, _) = counts(&balance, &[took("a", 900), took("b", 100), member("c", 1.0)]);
        assert!(first[2] > ROUNDS * 9 / 10, "{first:?}");
    }

    #[test]
    fn the_same_for_the_same_key() {
        let balance = balance(BalanceStrategy::Sticky);
        let (a, b, c) = (member("a", 1.0), member("b", 1.0), member("c", 2.0));
        let three = [a, b, c];
        let of = |n: usize| key(&[&n.to_le_bytes()]);
        let first: Vec<usize> = (0..ROUNDS).map(|n| balance.order(&three, Some(of(n)))[0]).collect();
        let count = |place| first.iter().filter(|f| **f == place).count();
        check(&[count(0), count(1), count(2)], &[0.25, 0.25, 0.5]);
        assert_eq!(first, (0..ROUNDS).map(|n| balance.order(&three, Some(of(n)))[0]).collect::<Vec<_>>());
        // Without `b`, only the keys of `b` go elsewhere.
        let two = [member("a", 1.0), member("c", 2.0)];
        for (n, first) in first.iter().enumerate().filter(|(_, first)| **first != 1) {
            assert_eq!(balance.order(&two, Some(of(n)))[0], if *first == 0 { 0 } else { 1 });
        }
        // Without a key it is in turn.
        let turns: std::collections::BTreeSet<_> = (0..3).map(|_| balance.order(&three, None)[0]).collect();
        assert_eq!(turns.len(), 3);
    }

    #[test]
    fn who_rests_is_asked_last() {
        for strategy in [BalanceStrategy::RoundRobin, BalanceStrategy::Random, BalanceStrategy::Weighted, BalanceStrategy::Sticky] {
            let balance = balance(strategy);
            let resting = |name| Candidate { available: false, ..member(name, 1.0) };
            for n in 0..100 {
                assert_eq!(balance.order(&[resting("a"), member("b", 1.0), resting("c")], Some(key(&[&[n]])))[0], 1, "{strategy:?}");
                // Asked all the same when nobody else is there.
                assert_eq!(balance.order(&[resting("a")], Some(n.into())), [0]);
            }
        }
    }
}
