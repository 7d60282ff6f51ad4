//! Counts the failures of a version that is new, where they happen: the one that uses up the budget closes the way to it at once, before
//! anybody had to look.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::Notify;

/// Not armed, it costs a load for each failure and does nothing.
#[derive(Debug)]
pub struct Tripwire {
    /// Failures that are still tolerated; [`UNARMED`] while nobody watches.
    left: AtomicU64,
    failures: AtomicU64,
    tripped: AtomicBool,
    pulled: Notify,
}

const UNARMED: u64 = u64::MAX;

impl Default for Tripwire {
    fn default() -> Self {
        Self { left: AtomicU64::new(UNARMED), failures: AtomicU64::new(0), tripped: AtomicBool::new(false), pulled: Notify::new() }
    }
}

impl Tripwire {
    /// From now on so many failures are tolerated.
    pub fn arm(&self, budget: u64) {
        self.failures.store(0, Ordering::Relaxed);
        self.left.store(budget.min(UNARMED - 1), Ordering::Relaxed);
    }

    /// Failures are no longer counted.
    pub fn disarm(&self) {
        self.left.store(UNARMED, Ordering::Relaxed);
    }

    /// A call trapped or reached a limit.
    pub fn failure(&self) {
        let left = self.left.load(Ordering::Relaxed);
        if left == UNARMED {
            return;
        }
        if self.failures.fetch_add(1, Ordering::Relaxed) >= left && !self.tripped.swap(true, Ordering::Relaxed) {
            self.pulled.notify_one();
        }
    }

    /// Failures since it was armed.
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// Whether the budget is used up.
    pub fn is_tripped(&self) -> bool {
        self.tripped.load(Ordering::Relaxed)
    }

    /// Waits until the budget is used up.
    pub async fn pulled(&self) {
        while !self.is_tripped() {
            self.pulled.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Tripwire;

    #[test]
    fn one_failure_more_than_the_budget_trips() {
        let wire = Tripwire::default();
        (0..9).for_each(|_| wire.failure());
        assert!(!wire.is_tripped());
        wire.arm(2);
        (0..2).for_each(|_| wire.failure());
        assert!(!wire.is_tripped());
        wire.failure();
        assert!(wire.is_tripped());
        assert_eq!(wire.failures(), 3);
    }

    #[tokio::test]
    async fn whoever_waits_is_told() {
        let wire = Tripwire::default();
        wire.arm(0);
        wire.failure();
        wire.pulled().await;
    }
}
