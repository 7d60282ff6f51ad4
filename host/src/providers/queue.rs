//! How many requests may run at a provider at once, and how many may wait for that.
//!
//! A provider that hangs would otherwise collect every request that there is, each with its body in memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::ProviderConfig;

/// The places of one provider.
pub struct Queue {
    /// None when there are as many as anybody wants.
    places: Option<Arc<Semaphore>>,
    limit: usize,
    patience: Duration,
    waiting: AtomicUsize,
    running: Arc<AtomicUsize>,
}

/// A place; it is free again when this is dropped.
pub struct Place {
    running: Arc<AtomicUsize>,
    _permit: Option<OwnedSemaphorePermit>,
}

/// Why there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// As many wait as may.
    Full,
    /// None became free in time.
    Late,
}

/// One that waits, until this is dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl Queue {
    /// An empty one.
    pub fn new(config: &ProviderConfig) -> Self {
        let places = (config.max_in_flight > 0).then(|| Arc::new(Semaphore::new(config.max_in_flight.min(Semaphore::MAX_PERMITS))));
        let (limit, patience) = (config.queue_limit, config.queue_timeout);
        Self { places, limit, patience, waiting: AtomicUsize::new(0), running: Arc::default() }
    }

    /// Waits for a place, behind those that wait already. Whoever stops waiting leaves nothing behind.
    pub async fn enter(&self) -> Result<Place, Refused> {
        let Some(places) = &self.places else { return Ok(self.place(None)) };
        if let Ok(permit) = Arc::clone(places).try_acquire_owned() {
            return Ok(self.place(Some(permit)));
        }
        let waiting = Waiting::join(&self.waiting, self.limit).ok_or(Refused::Full)?;
        let permit = tokio::time::timeout(self.patience, Arc::clone(places).acquire_owned()).await;
        drop(waiting);
        match permit {
            Ok(Ok(permit)) => Ok(self.place(Some(permit))),
            // It is never closed.
            Ok(Err(_)) | Err(_) => Err(Refused::Late),
        }
    }

    fn place(&self, permit: Option<OwnedSemaphorePermit>) -> Place {
        self.running.fetch_add(1, Ordering::Relaxed);
        Place { running: Arc::clone(&self.running), _permit: permit }
    }

    /// Requests that run, and those that wait.
    pub fn counts(&self) -> (usize, usize) {
        (self.running.load(Ordering::Relaxed), self.waiting.load(Ordering::Relaxed))
    }

    /// Whether a request would have to wait.
    pub fn is_full(&self) -> bool {
        self.places.as_ref().is_some_and(|p| p.available_permits() == 0)
    }
}

impl<'a> Waiting<'a> {
    fn join(count: &'a AtomicUsize, limit: usize) -> Option<Self> {
        count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| (n < limit).then_some(n + 1)).ok()?;
        Some(Self(count))
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.running.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn queue(max_in_flight: usize, queue_limit: usize) -> Queue {
        Queue::new(&ProviderConfig { max_in_flight, queue_limit, queue_timeout: Duration::from_secs(5), ..ProviderConfig::default() })
    }

    #[tokio::test(start_paused = true)]
    async fn places_queue_and_patience() {
        let queue = queue(1, 1);
        let first = queue.enter().await.expect("there is a place");
        let mut second = Box::pin(queue.enter());
        assert!(second.as_mut().now_or_never().is_none(), "it waits");
        assert_eq!((queue.counts(), queue.is_full()), ((1, 1), true));
        assert_eq!(queue.enter().await.err(), Some(Refused::Full), "at once");
        let asked = tokio::time::Instant::now();
        assert_eq!(second.await.err(), Some(Refused::Late));
        assert_eq!(asked.elapsed(), Duration::from_secs(5));
        // One that leaves gives up its turn.
        let mut leaves = Box::pin(queue.enter());
        assert!(leaves.as_mut().now_or_never().is_none());
        drop(leaves);
        assert_eq!(queue.counts(), (1, 0));
        let mut third = Box::pin(queue.enter());
        assert!(third.as_mut().now_or_never().is_none());
        drop(first);
        assert!(third.await.is_ok());
        assert_eq!((queue.counts(), queue.is_full()), ((0, 0), false));
    }

    #[tokio::test]
    async fn without_a_limit_nobody_waits() {
        let queue = queue(0, 0);
        let mut all = Vec::new();
        for _ in 0..1000 {
            all.push(queue.enter().await.expect("there is a place"));
        }
        assert_eq!(queue.counts(), (1000, 0));
    }
}
