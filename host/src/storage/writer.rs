//! The one thread that writes to the store's file.
//!
//! Whoever has something to write keeps it in memory and wakes the writer; everything that waits goes to disk in one transaction,
//! within [`FLUSH_INTERVAL`]. Nobody but this thread waits for the disk to write.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use redb::{Database, WriteTransaction};

/// Longest time from an accepted write to the disk.
pub const FLUSH_INTERVAL: Duration = Duration::from_millis(200);

/// How often sources are asked when nobody wakes the writer: what is too old is deleted then.
const IDLE_INTERVAL: Duration = Duration::from_secs(60);

/// What a source did to a transaction.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// Something changed, so the transaction must be committed.
    pub changed: bool,
    /// There is more, for the next transaction.
    pub more: bool,
}

/// Something that has changes to write.
pub trait Source: Send + Sync {
    /// Puts what waits into the transaction.
    fn write(&self, transaction: &WriteTransaction) -> Result<Written, redb::Error>;
    /// The transaction is on disk, or it failed and what was put into it still waits.
    fn settled(&self, committed: bool);
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
    /// Starts the thread for some sources.
    pub fn start(database: Arc<Database>, sources: Vec<Arc<dyn Source>>) -> io::Result<Self> {
        let (orders, inbox) = channel();
        let awake = Arc::new(AtomicBool::new(false));
        let state = State { database, sources, awake: Arc::clone(&awake) };
        let thread = std::thread::Builder::new().name("store-writer".into()).spawn(move || state.run(&inbox))?;
        Ok(Self { orders: Some(orders), awake, thread: Some(thread) })
    }

    /// Something waits. Call it after the source has it.
    pub fn wake(&self) {
        if !self.awake.swap(true, Ordering::AcqRel) {
            self.order(Order::Wake);
        }
    }

    /// Returns when everything that waits is on disk, or could not be written, which is in the log.
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

/// What the thread works with.
struct State {
    database: Arc<Database>,
    sources: Vec<Arc<dyn Source>>,
    awake: Arc<AtomicBool>,
}

impl State {
    fn run(&self, inbox: &Receiver<Order>) {
        let mut due = Instant::now() + IDLE_INTERVAL;
        loop {
            let mut answer = None;
            match inbox.recv_timeout(due.saturating_duration_since(Instant::now())) {
                Ok(Order::Wake) => due = due.min(Instant::now() + FLUSH_INTERVAL),
                Ok(Order::Flush(reply)) => answer = Some(reply),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    self.write_logged();
                    return;
                }
            }
            if answer.is_some() || due <= Instant::now() {
                let again = if self.write_logged() { FLUSH_INTERVAL } else { IDLE_INTERVAL };
                due = Instant::now() + again;
            }
            if let Some(reply) = answer {
                let _ = reply.send(());
            }
        }
    }

    /// Writes one transaction. True when something still waits: what failed is tried again.
    fn write_logged(&self) -> bool {
        // First, so that whatever comes from now on wakes the thread again.
        self.awake.store(false, Ordering::Release);
        let written = self.write();
        for source in &self.sources {
            source.settled(written.is_ok());
        }
        match written {
            Ok(more) => more,
            Err(e) => {
                tracing::error!(error = %e, "the store could not be written; will try again");
                true
            }
        }
    }

    fn write(&self) -> Result<bool, redb::Error> {
        let transaction = self.database.begin_write()?;
        let mut all = Written::default();
        for source in &self.sources {
            let written = source.write(&transaction)?;
            all = Written { changed: all.changed | written.changed, more: all.more | written.more };
        }
        if all.changed {
            transaction.commit()?;
        } else {
            transaction.abort()?;
        }
        Ok(all.more)
    }
}
