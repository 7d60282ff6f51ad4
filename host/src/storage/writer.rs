//! The thread that writes what waits to where it lasts.
//!
//! Whoever has something to write keeps it in memory and wakes the writer; everything that waits is written in one go within the
//! flush interval. Nobody but this thread waits for a disk or a database to write.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How often there is something to do when nobody wakes the writer and the work says nothing else: what is too old is deleted then.
const IDLE_INTERVAL: Duration = Duration::from_secs(60);

/// Longest pause after a failure.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// How often a failure that goes on is told.
const TOLD_EVERY: Duration = Duration::from_secs(30);

/// Batches that one flush writes at most, so that it ends although others go on appending.
const FLUSH_BATCHES: usize = 1_000;

/// What there is to write.
pub trait Work: Send {
    /// Writes one batch of what waits. True when there is more.
    fn write(&mut self) -> anyhow::Result<bool>;
    /// How long there is nothing to do when nobody wakes the writer.
    fn idle(&self) -> Duration {
        IDLE_INTERVAL
    }
}

/// What the thread is told.
enum Order {
    /// Something waits.
    Wake,
    Flush(Sender<()>),
}

/// The thread. Dropping it writes what is left.
pub struct Writer {
    orders: Option<Sender<Order>>,
    /// Whether the thread already knows that something waits.
    awake: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Starts the thread. `store` names for the log where it writes to.
    pub fn start(store: String, interval: Duration, work: Box<dyn Work>) -> io::Result<Self> {
        let (orders, inbox) = channel();
        let awake = Arc::new(AtomicBool::new(false));
        let interval = interval.max(Duration::from_millis(1));
        let mut state = State { store, interval, work, awake: Arc::clone(&awake), failures: 0, told: None };
        let thread = std::thread::Builder::new().name("store-writer".into()).spawn(move || state.run(&inbox))?;
        Ok(Self { orders: Some(orders), awake, thread: Some(thread) })
    }

    /// Something waits. Call it after it is where the work finds it.
    pub fn wake(&self) {
        if !self.awake.swap(true, Ordering::AcqRel) {
            self.order(Order::Wake);
        }
    }

    /// Returns when everything that waits is where it lasts, or could not be written, which is in the log.
    pub fn flush(&self) {
        let (reply, done) = channel();
        self.order(Order::Flush(reply));
        // An error means that the thread ended, and it writes everything before it does.
        let _ = done.recv();
    }

    fn order(&self, order: Order) {
        if let Some(orders) = &self.orders {
            // The thread ends only after the sender is gone.
            let _ = orders.send(order);
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What became of one attempt to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wrote {
    All,
    NotAll,
    Nothing,
}

/// What the thread works with.
struct State {
    store: String,
    interval: Duration,
    work: Box<dyn Work>,
    awake: Arc<AtomicBool>,
    /// Failures one after the other.
    failures: u32,
    told: Option<Instant>,
}

impl State {
    fn run(&mut self, inbox: &Receiver<Order>) {
        let mut due = Instant::now() + self.work.idle();
        loop {
            let mut answer = None;
            match inbox.recv_timeout(due.saturating_duration_since(Instant::now())) {
                // A store that fails is not asked more often because more waits for it.
                Ok(Order::Wake) if self.failures == 0 => due = due.min(Instant::now() + self.interval),
                Ok(Order::Wake) => {}
                Ok(Order::Flush(reply)) => answer = Some(reply),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    self.write_all();
                    return;
                }
            }
            let wrote = match answer {
                Some(_) => Some(self.write_all()),
                None if due <= Instant::now() => Some(self.write_logged()),
                None => None,
            };
            if let Some(wrote) = wrote {
                due = Instant::now() + self.pause(wrote);
            }
            if let Some(reply) = answer {
                let _ = reply.send(());
            }
        }
    }

    /// How long until the next attempt, if nobody wakes the thread.
    fn pause(&self, wrote: Wrote) -> Duration {
        match wrote {
            Wrote::All => self.work.idle(),
            Wrote::NotAll => self.interval.min(Duration::from_millis(1)),
            Wrote::Nothing => self.interval.saturating_mul(1 << self.failures.min(10)).min(LONGEST_PAUSE.max(self.interval)),
        }
    }

    fn write_all(&mut self) -> Wrote {
        let mut wrote = self.write_logged();
        for _ in 1..FLUSH_BATCHES {
            if wrote != Wrote::NotAll {
                break;
            }
            wrote = self.write_logged();
        }
        wrote
    }

    /// Writes one batch. What failed is tried again.
    fn write_logged(&mut self) -> Wrote {
        // First, so that whatever comes from now on wakes the thread again.
        self.awake.store(false, Ordering::Release);
        match self.work.write() {
            Ok(more) => {
                if self.told.take().is_some() {
                    tracing::info!(store = self.store, failures = self.failures, "the store is written again");
                }
                self.failures = 0;
                if more { Wrote::NotAll } else { Wrote::All }
            }
            Err(e) => {
                self.failures = self.failures.saturating_add(1);
                if self.told.is_none_or(|at| at.elapsed() >= TOLD_EVERY) {
                    self.told = Some(Instant::now());
                    tracing::error!(store = self.store, error = format!("{e:#}"), "the store could not be written; will try again");
                }
                Wrote::Nothing
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_while_a_store_fails() {
        struct Never;
        impl Work for Never {
            fn write(&mut self) -> anyhow::Result<bool> {
                anyhow::bail!("no")
            }
        }
        let (store, interval) = ("test".to_owned(), Duration::from_millis(200));
        let mut state = State { store, interval, work: Box::new(Never), awake: Arc::default(), failures: 0, told: None };
        let mut pauses = Vec::new();
        for _ in 0..5 {
            let wrote = state.write_logged();
            pauses.push(state.pause(wrote).as_millis());
        }
        assert_eq!(pauses, [400, 800, 1600, 2000, 2000]);
    }

    #[test]
    fn a_flush_writes_every_batch() {
        struct Batches(Arc<std::sync::atomic::AtomicU32>);
        impl Work for Batches {
            fn write(&mut self) -> anyhow::Result<bool> {
                Ok(self.0.fetch_add(1, Ordering::SeqCst) < 6)
            }
        }
        let written = Arc::default();
        let writer = Writer::start("test".into(), Duration::from_secs(3600), Box::new(Batches(Arc::clone(&written)))).unwrap();
        writer.flush();
        assert_eq!(written.load(Ordering::SeqCst), 7);
        drop(writer);
        assert_eq!(written.load(Ordering::SeqCst), 8, "and once more at the end");
    }
}
