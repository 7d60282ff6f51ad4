//! Writes rows that wait to a database, batch by batch, and deletes those that are too old.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::waiting::{Tables, Waiting};
use crate::storage::writer::Work;

/// Rows of one transaction.
const BATCH_ROWS: usize = 5_000;

/// How often old rows are looked for.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60);

/// Old rows that one transaction deletes, so that writing never waits long for it.
const SWEEP_ROWS: usize = 10_000;

/// A database that rows are written to.
pub trait Sink: Send {
    /// Sees to it that the database can be written.
    fn prepare(&mut self, waiting: &Waiting) -> anyhow::Result<()>;
    /// Writes rows, all or none. Rows that are there already are left as they are: whoever does not know whether a batch was written,
    /// writes it again.
    fn write(&mut self, rows: &Tables) -> anyhow::Result<()>;
    /// Deletes rows of a table from before a time, at most so many, and tells how many.
    fn expire(&mut self, namespace: &str, table: &str, cutoff: u64, most: usize) -> anyhow::Result<usize>;
}

/// What the writer's thread does for a database.
pub struct Batches<S> {
    waiting: Arc<Waiting>,
    sink: S,
    retain: Option<Duration>,
    swept: Option<Instant>,
}

impl<S: Sink> Batches<S> {
    /// Rows older than `retain` are deleted.
    pub fn new(waiting: Arc<Waiting>, sink: S, retain: Option<Duration>) -> Self {
        Self { waiting, sink, retain, swept: None }
    }

    /// Deletes old rows, when it is time to. True when there are more.
    fn sweep(&mut self) -> anyhow::Result<bool> {
        if self.retain.is_none() || self.swept.is_some_and(|at| at.elapsed() < SWEEP_INTERVAL) {
            return Ok(false);
        }
        let cutoff = super::cutoff(self.retain);
        let mut left = SWEEP_ROWS;
        for (namespace, table) in self.waiting.tables() {
            left -= self.sink.expire(&namespace, &table, cutoff, left)?;
            if left == 0 {
                return Ok(true);
            }
        }
        self.swept = Some(Instant::now());
        Ok(false)
    }

    fn write_batch(&mut self) -> anyhow::Result<()> {
        self.sink.prepare(&self.waiting)?;
        let (rows, _) = self.waiting.take(BATCH_ROWS.min(self.waiting.half()));
        if rows.is_empty() { Ok(()) } else { self.sink.write(&rows) }
    }
}

impl<S: Sink> Work for Batches<S> {
    fn write(&mut self) -> anyhow::Result<bool> {
        let written = self.write_batch();
        self.waiting.settled(written.is_ok());
        written?;
        let more = self.sweep()?;
        Ok(more || self.waiting.has_more())
    }
}
