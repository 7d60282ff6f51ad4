//! Whether a request was ever written to a connection, agreed between whoever writes it and whoever gives it up.
//!
//! They are two tasks: a racer can lose at the moment in which its connection asks for the body. Whoever comes first decides, so that a request that
//! was told as never sent does not arrive all the same, and one that arrived has its tokens counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

const WAITING: u8 = 0;
const WRITTEN: u8 = 1;
const GIVEN_UP: u8 = 2;

/// See the module. Clones are of the same request.
#[derive(Debug, Clone, Default)]
pub struct Written(Arc<AtomicU8>);

impl Written {
    /// A connection is about to write it. False when it was given up before: then nothing may be written.
    pub fn begin(&self) -> bool {
        self.0.compare_exchange(WAITING, WRITTEN, Ordering::AcqRel, Ordering::Acquire) != Err(GIVEN_UP)
    }

    /// Nobody wants its answer any more. Whether it was written before.
    pub fn give_up(&self) -> bool {
        self.0.compare_exchange(WAITING, GIVEN_UP, Ordering::AcqRel, Ordering::Acquire) == Err(WRITTEN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_comes_first_decides() {
        let request = Written::default();
        assert!(request.begin());
        assert!(request.begin(), "the same request once more, on another connection");
        assert!(request.give_up(), "it was written");
        let request = Written::default();
        let connection = request.clone();
        assert!(!request.give_up(), "it was not");
        assert!(!connection.begin(), "and never is");
    }
}
