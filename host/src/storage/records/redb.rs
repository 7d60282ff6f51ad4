//! Rows in the store's `redb` file. What the file does not have yet is in memory, and read from there.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use redb::{Database, ReadableDatabase as _, ReadableTable, TableDefinition, WriteTransaction};

use super::row::{self, Position, StoredRow};
use super::scan::{self, Scan, Span, Visit};
use super::{Group, Grouping, MAX_TABLES, MAX_WAITING_BYTES, MAX_WAITING_ROWS, Page, Records, RecordsError, Row, Selection};
use crate::storage::writer::{Source, Writer, Written};

/// Namespace, table, time, number.
type StoredKey = (&'static str, &'static str, u64, u64);

const ROWS: TableDefinition<'static, StoredKey, &[u8]> = TableDefinition::new("records");

/// One number: the last that a row got.
const LAST_NUMBER: TableDefinition<'static, (), u64> = TableDefinition::new("records_last_number");

/// How often old rows are looked for.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60);

/// Old rows that one transaction deletes, so that writing never waits long for it.
const SWEEP_ROWS: usize = 10_000;

/// Rows by namespace and table.
type Tables = HashMap<String, HashMap<String, BTreeMap<Position, Arc<[u8]>>>>;

/// Rows that the file does not have yet, and how old rows may become.
pub struct RowSource {
    waiting: Mutex<Waiting>,
    retain: Option<Duration>,
}

#[derive(Default)]
struct Waiting {
    /// Appended since the last transaction began.
    fresh: Tables,
    /// In the transaction that is being written, or in one that failed.
    writing: Arc<Tables>,
    /// How much of each namespace waits, by rows and bytes: in the two above.
    shares: HashMap<String, (usize, usize)>,
    /// Names of all tables, by namespace.
    tables: HashMap<String, HashSet<String>>,
    last_number: u64,
    swept: Option<Instant>,
}

impl RowSource {
    /// Prepares the file. Rows older than `retain` are deleted.
    pub fn open(database: &Database, retain: Option<Duration>) -> anyhow::Result<Self> {
        let begin = database.begin_write()?;
        begin.open_table(ROWS)?;
        let last_number = begin.open_table(LAST_NUMBER)?.get(())?.map_or(0, |n| n.value());
        let mut tables: HashMap<String, HashSet<String>> = HashMap::new();
        let mut last = None;
        while let Some((namespace, table)) = table_after(&begin.open_table(ROWS)?, last.as_ref())? {
            tables.entry(namespace.clone()).or_default().insert(table.clone());
            last = Some((namespace, table));
        }
        begin.commit()?;
        Ok(Self { waiting: Mutex::new(Waiting { tables, last_number, ..Waiting::default() }), retain })
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn append(&self, namespace: &str, table: &str, rows: Vec<StoredRow>) -> Result<(), RecordsError> {
        let bytes: usize = rows.iter().map(|(_, row)| row.len()).sum();
        let mut waiting = self.waiting();
        let Waiting { fresh, shares, tables, last_number, .. } = &mut *waiting;
        let names = tables.entry(namespace.to_owned()).or_default();
        if names.len() >= MAX_TABLES && !names.contains(table) {
            return Err(RecordsError::TooManyTables);
        }
        let share = shares.entry(namespace.to_owned()).or_default();
        let wanted = (share.0 + rows.len(), share.1 + bytes);
        if wanted.0 > MAX_WAITING_ROWS || wanted.1 > MAX_WAITING_BYTES {
            return Err(RecordsError::Busy(share.0));
        }
        *share = wanted;
        if !names.contains(table) {
            names.insert(table.to_owned());
        }
        let table = fresh.entry(namespace.to_owned()).or_default().entry(table.to_owned()).or_default();
        for (at_ms, row) in rows {
            *last_number += 1;
            table.insert((at_ms, *last_number), row);
        }
        Ok(())
    }

    /// Rows of a span that the file may not have.
    fn unwritten(&self, span: Span<'_>) -> BTreeMap<Position, Arc<[u8]>> {
        let waiting = self.waiting();
        let mut found = BTreeMap::new();
        for tables in [&waiting.fresh, &*waiting.writing] {
            let rows = tables.get(span.namespace).and_then(|n| n.get(span.table));
            let rows = rows.into_iter().flat_map(|rows| rows.range((Bound::Included(span.from), Bound::Excluded(span.below))));
            found.extend(rows.map(|(at, row)| (*at, Arc::clone(row))));
        }
        found
    }

    /// Deletes old rows, when it is time to.
    fn sweep(&self, transaction: &WriteTransaction) -> Result<Written, redb::Error> {
        if self.retain.is_none() || self.waiting().swept.is_some_and(|at| at.elapsed() < SWEEP_INTERVAL) {
            return Ok(Written::default());
        }
        let deleted = expire(transaction, cutoff(self.retain), SWEEP_ROWS)?;
        let more = deleted == SWEEP_ROWS;
        if !more {
            self.waiting().swept = Some(Instant::now());
        }
        Ok(Written { changed: deleted > 0, more })
    }
}

/// Rows from before this Unix time in milliseconds are too old.
pub fn cutoff(retain: Option<Duration>) -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    retain.map_or(0, |retain| u64::try_from(now.saturating_sub(retain).as_millis()).unwrap_or(0))
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
        let (tables, last_number) = {
            let mut waiting = self.waiting();
            let fresh = std::mem::take(&mut waiting.fresh);
            if waiting.writing.is_empty() {
                waiting.writing = Arc::new(fresh);
            } else {
                // The last transaction failed: its rows are still there.
                let writing = Arc::make_mut(&mut waiting.writing);
                for (namespace, tables) in fresh {
                    let into = writing.entry(namespace).or_default();
                    for (table, rows) in tables {
                        into.entry(table).or_default().extend(rows);
                    }
                }
            }
            (Arc::clone(&waiting.writing), waiting.last_number)
        };
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
        if !committed {
            return;
        }
        let mut waiting = self.waiting();
        let written = std::mem::take(&mut waiting.writing);
        for (namespace, tables) in &*written {
            let Some(share) = waiting.shares.get_mut(namespace) else { continue };
            for row in tables.values().flat_map(BTreeMap::values) {
                *share = (share.0 - 1, share.1 - row.len());
            }
        }
        waiting.shares.retain(|_, share| share.0 > 0);
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

impl Scan for RedbRecords {
    fn visit(&self, span: Span<'_>, each: &mut Visit<'_>) -> Result<(), RecordsError> {
        // In this order: what is written in between is in both, and counts once.
        let unwritten = self.source.unwritten(span);
        let stored = self.database.begin_read().map_err(unreadable)?.open_table(ROWS).map_err(unreadable)?;
        let Span { namespace, table, from, below } = span;
        let stored = stored.range((namespace, table, from.0, from.1)..(namespace, table, below.0, below.1)).map_err(unreadable)?;
        let mut stored = stored.rev();
        let mut unwritten = unwritten.into_iter().rev();
        let (mut next_stored, mut next_unwritten) = (stored.next().transpose().map_err(unreadable)?, unwritten.next());
        loop {
            let stored_at = next_stored.as_ref().map(|(key, _)| (key.value().2, key.value().3));
            let unwritten_at = next_unwritten.as_ref().map(|(at, _)| *at);
            let flow = match (&next_stored, &next_unwritten) {
                (_, Some((at, row))) if stored_at <= unwritten_at => each(*at, row)?,
                (Some((key, row)), _) => each((key.value().2, key.value().3), row.value())?,
                (None, _) => return Ok(()),
            };
            if flow.is_break() {
                return Ok(());
            }
            if unwritten_at >= stored_at {
                next_unwritten = unwritten.next();
            }
            if stored_at >= unwritten_at {
                next_stored = stored.next().transpose().map_err(unreadable)?;
            }
        }
    }
}

impl Records for RedbRecords {
    fn append(&self, namespace: &str, table: &str, rows: Vec<Row>) -> Result<(), RecordsError> {
        let rows = row::encode(table, &rows)?;
        if !rows.is_empty() {
            self.source.append(namespace, table, rows)?;
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

    fn flush(&self) {
        self.writer.flush();
    }
}
