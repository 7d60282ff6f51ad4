//! Waiting for others to finish: on a shared machine a quiet minute comes, if one waits.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use super::proc::{self, TICKS_PER_SECOND};

/// Above this part of the CPUs, what others do changes what is measured: caches, the clock of the CPU, who waits for whom.
pub const NOISE: f64 = 0.2;

/// How long one looks whether it is quiet.
const WINDOW: Duration = Duration::from_millis(250);

/// Time that may still be spent on a quieter machine, by waiting and by measuring again.
pub struct Patience {
    left: Duration,
    cpus: Vec<usize>,
}

impl Patience {
    pub fn new(left: Duration, cpus: Vec<usize>) -> Patience {
        Patience { left, cpus }
    }

    pub fn is_over(&self) -> bool {
        self.left.is_zero()
    }

    pub fn spend(&mut self, time: Duration) {
        self.left = self.left.saturating_sub(time);
    }

    /// Returns when the machine is quiet, or when all patience is spent. To be called while nothing of ours is busy.
    pub fn wait(&mut self) {
        while !self.is_over() {
            let begin = Instant::now();
            let before = self.busy();
            thread::sleep(WINDOW);
            let window = begin.elapsed();
            if before.zip(self.busy()).is_none_or(|(before, after)| share(before, after, window, self.cpus.len()) <= NOISE) {
                return;
            }
            self.spend(window);
        }
    }

    fn busy(&self) -> Option<u64> {
        proc::busy_ticks(&fs::read_to_string("/proc/stat").ok()?, &self.cpus)
    }
}

/// The part of the CPUs that so many ticks are.
pub fn share(before: u64, after: u64, time: Duration, cpus: usize) -> f64 {
    after.saturating_sub(before) as f64 / (time.as_secs_f64() * TICKS_PER_SECOND * cpus as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_of_all_cpus() {
        assert_eq!(share(1000, 1100, Duration::from_secs(1), 1), 1.0);
        assert_eq!(share(1000, 1020, Duration::from_secs(1), 2), 0.1);
        // The clocks of process and machine are not read at the same moment.
        assert_eq!(share(1001, 1000, Duration::from_secs(1), 2), 0.0);
    }

    #[test]
    fn patience_ends() {
        let mut patience = Patience::new(Duration::from_secs(1), vec![0]);
        patience.spend(Duration::from_millis(400));
        assert!(!patience.is_over());
        patience.spend(Duration::from_secs(5));
        assert!(patience.is_over());
        // Without patience it does not even look.
        patience.wait();
    }
}
