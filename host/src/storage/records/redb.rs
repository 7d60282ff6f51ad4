//! Rows in the store's `redb` file. What the file does not have yet is in memory, and read from there.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use redb::{AccessGuard, Database, ReadableDatabase as _, ReadableTable, TableDefinition, WriteTransaction};

use super::row::{self, Position};
use super::scan::{self, Scan, Span, Visit};
use super::waiting::{Bounds, Waiting, merge};
use super::{Group, Grouping, Health, Page, Records, RecordsError, Row, Selection, cutoff};
use crate::storage::redb::{Source, Written};
use crate::storage::writer::Writer;

/// Namespace, table, time, number.
type StoredKey = (&'static str, &'static str, u64, u64);

const ROWS: TableDefinition<'static, StoredKey, &[u8]> = TableDefinition::new("records");

/// One number: the last that a row got.
const LAST_NUMBER: TableDefinition<'static, (), u64> = TableDefinition::new("records_last_number");

/// How often old rows are looked for.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60);

/// Old rows that one transaction deletes, so that writing never waits long for it.
const SWEEP_ROWS: usize = 10_000;

/// Rows that the file does not have yet, and how old rows may become.
pub struct RowSource {
    waiting: Waiting,
    retain: Option<Duration>,
    swept: Mutex<Option<Instant>>,
}

impl RowSource {
    /// Prepares the file. Rows older than `retain` are deleted.
    pub fn open(database: &Database, retain: Option<Duration>, bounds: Bounds) -> anyhow::Result<Self> {
        let begin = database.begin_write()?;
        begin.open_table(ROWS)?;
        let last_number = begin.open_table(LAST_NUMBER)?.get(())?.map_or(0, |n| n.value());
        let mut tables = Vec::new();
        while let Some(next) = table_after(&begin.open_table(ROWS)?, tables.last())? {
            tables.push(next);
        }
        begin.commit()?;
        Ok(Self { waiting: Waiting::new(bounds, tables, last_number), retain, swept: Mutex::default() })
    }

    /// Deletes old rows, when it is time to.
    fn sweep(&self, transaction: &WriteTransaction) -> Result<Written, redb::Error> {
        let mut swept = self.swept.lock().unwrap_or_else(PoisonError::into_inner);
        if self.retain.is_none() || swept.is_some_and(|at| at.elapsed() < SWEEP_INTERVAL) {
            return Ok(Written::default());
        }
        let deleted = expire(transaction, cutoff(self.retain), SWEEP_ROWS)?;
        let more = deleted == SWEEP_ROWS;
        if !more {
            *swept = Some(Instant::now());
        }
        Ok(Written { changed: deleted > 0, more })
    }
}

/// The next table, by namespace and name. Tables are not listed anywhere: the first row after a table's last one names the next.
fn table_after(
    rows: &impl ReadableTable<StoredKey, &'static [u8]>,
    last: Option<&(String, String)>,
) -> Result<Option<(String, String)>, redb::StorageError> {
    let next = match last {
        None => rows.first()?,
        Some((namespace, table)) => rows.range((namespace.as_str(), table.as_str(), u64::MAX, u64::MAX)..)?.next().transpose()?,
    };
    Ok(next.map(|(key, _)| (key.value().0.to_owned(), key.value().1.to_owned())))
}

/// Deletes rows from before a time, at most so many, and tells how many.
fn expire(transaction: &WriteTransaction, cutoff: u64, most: usize) -> Result<usize, redb::Error> {
    let mut rows = transaction.open_table(ROWS)?;
    let mut deleted = 0;
    let mut done = None;
    while deleted < most {
        let Some((namespace, table)) = table_after(&rows, done.as_ref())? else { break };
        let old: Result<Vec<Position>, redb::StorageError> = rows
            .range((namespace.as_str(), table.as_str(), 0, 0)..(namespace.as_str(), table.as_str(), cutoff, 0))?
            .take(most - deleted)
            .map(|row| row.map(|(key, _)| (key.value().2, key.value().3)))
            .collect();
        for (at_ms, number) in old? {
            rows.remove((namespace.as_str(), table.as_str(), at_ms, number))?;
            deleted += 1;
        }
        done = Some((namespace, table));
    }
    Ok(deleted)
}

impl Source for RowSource {
    fn write(&self, transaction: &WriteTransaction) -> Result<Written, redb::Error> {
        let swept = self.sweep(transaction)?;
        let (tables, last_number) = self.waiting.take(usize::MAX);
        if tables.is_empty() {
            return Ok(swept);
        }
        let mut stored = transaction.open_table(ROWS)?;
        for (namespace, tables) in &*tables {
            for (table, rows) in tables {
                for (&(at_ms, number), row) in rows {
                    stored.insert((namespace.as_str(), table.as_str(), at_ms, number), &**row)?;
                }
            }
        }
        transaction.open_table(LAST_NUMBER)?.insert((), last_number)?;
        Ok(Written { changed: true, more: swept.more })
    }

    fn settled(&self, committed: bool) {
        self.waiting.settled(committed);
    }
}

/// The rows.
pub struct RedbRecords {
    source: Arc<RowSource>,
    database: Arc<Database>,
    writer: Arc<Writer>,
}

impl RedbRecords {
    /// The rows of a file, which the writer writes from the source.
    pub fn new(source: Arc<RowSource>, database: Arc<Database>, writer: Arc<Writer>) -> Self {
        Self { source, database, writer }
    }
}

/// What a query is told of a file that cannot be read; the log is told more.
fn unreadable(error: impl Into<redb::Error>) -> RecordsError {
    let error: redb::Error = error.into();
    tracing::error!(error = %error, "rows could not be read");
    RecordsError::Unreadable
}

/// A row where it lies in the file.
struct Stored(AccessGuard<'static, &'static [u8]>);

impl AsRef<[u8]> for Stored {
    fn as_ref(&self) -> &[u8] {
        self.0.value()
    }
}

impl Scan for RedbRecords {
    fn visit(&self, span: Span<'_>, each: &mut Visit<'_>) -> Result<(), RecordsError> {
        // In this order: what is written in between is in both, and counts once.
        let waiting = self.source.waiting.within(&span);
        let stored = self.database.begin_read().map_err(unreadable)?.open_table(ROWS).map_err(unreadable)?;
        let Span { namespace, table, from, below, .. } = span;
        let stored = stored.range((namespace, table, from.0, from.1)..(namespace, table, below.0, below.1)).map_err(unreadable)?;
        let mut stored = stored.rev();
        let next = || -> Result<Option<(Position, Stored)>, RecordsError> {
            let row = stored.next().transpose().map_err(unreadable)?;
            Ok(row.map(|(key, row)| ((key.value().2, key.value().3), Stored(row))))
        };
        merge(waiting, next, each)
    }
}

impl Records for RedbRecords {
    fn append(&self, namespace: &str, table: &str, rows: Vec<Row>) -> Result<(), RecordsError> {
        let rows = row::encode(table, &rows)?;
        if !rows.is_empty() {
            self.source.waiting.append(namespace, table, rows)?;
            self.writer.wake();
        }
        Ok(())
    }

    fn query(&self, namespace: &str, selection: &Selection, limit: usize, cursor: Option<&str>) -> Result<Page, RecordsError> {
        scan::query(self, namespace, selection, limit, cursor)
    }

    fn summarise(&self, namespace: &str, selection: &Selection, grouping: &Grouping) -> Result<Vec<Group>, RecordsError> {
        scan::summarise(self, namespace, selection, grouping)
    }

    fn tables(&self) -> Result<Vec<(String, String)>, RecordsError> {
        Ok(self.source.waiting.tables())
    }

    fn health(&self) -> Health {
        self.source.waiting.health()
    }

    fn flush(&self) {
        self.writer.flush();
    }
}
