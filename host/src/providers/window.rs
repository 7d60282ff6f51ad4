//! Successes and failures of the last while, in ten pieces of it, so that what is old is forgotten without a list of requests.

use std::time::Duration;

use tokio::time::Instant;

const PIECES: usize = 10;

/// Counts of a sliding window.
#[derive(Debug)]
pub struct Window {
    piece: Duration,
    start: Instant,
    /// Number of the newest piece.
    newest: u64,
    /// All, and those that failed.
    counts: [(u32, u32); PIECES],
}

impl Window {
    /// An empty one.
    pub fn new(length: Duration, now: Instant) -> Self {
        Self { piece: (length / PIECES as u32).max(Duration::from_millis(1)), start: now, newest: 0, counts: [(0, 0); PIECES] }
    }

    /// Counts one.
    pub fn add(&mut self, failed: bool, now: Instant) {
        self.forget(now);
        let (all, failures) = &mut self.counts[(self.newest % PIECES as u64) as usize];
        *all = all.saturating_add(1);
        *failures = failures.saturating_add(u32::from(failed));
    }

    /// All, and those that failed.
    pub fn counts(&mut self, now: Instant) -> (u32, u32) {
        self.forget(now);
        self.counts.iter().fold((0, 0), |(a, f), (all, failed)| (a.saturating_add(*all), f.saturating_add(*failed)))
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.counts = [(0, 0); PIECES];
    }

    fn forget(&mut self, now: Instant) {
        let piece = (now.saturating_duration_since(self.start).as_nanos() / self.piece.as_nanos()) as u64;
        let passed = piece.saturating_sub(self.newest);
        for n in 0..passed.min(PIECES as u64) {
            self.counts[((self.newest + 1 + n) % PIECES as u64) as usize] = (0, 0);
        }
        self.newest = self.newest.max(piece);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_old_is_forgotten() {
        let start = Instant::now();
        let at = |s: u64| start + Duration::from_secs(s);
        let mut window = Window::new(Duration::from_secs(10), start);
        window.add(true, at(0));
        window.add(false, at(5));
        assert_eq!(window.counts(at(9)), (2, 1));
        assert_eq!(window.counts(at(10)), (1, 0));
        window.add(true, at(12));
        assert_eq!(window.counts(at(14)), (2, 1));
        assert_eq!(window.counts(at(15)), (1, 1));
        assert_eq!(window.counts(at(1_000_000)), (0, 0));
    }
}
