//! Rows in memory. Each namespace has a bounded share of it: when that is used up, its oldest rows are dropped.

use std::collections::{BTreeMap, HashMap};
use std::ops::{Bound, ControlFlow};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::row::{self, Position};
use super::scan::{self, Scan, Span, Visit};
use super::{Group, Grouping, Health, MAX_TABLES, Page, Records, RecordsError, Row, Selection};

/// All rows of one namespace together, in bytes.
pub const MAX_NAMESPACE: usize = 64 << 20;

/// What a row costs besides its stored form, in bytes.
const ROW_OVERHEAD: usize = 128;

/// Rows that are taken at once, so that nobody who appends waits for a whole query.
const CHUNK: usize = 1024;

/// The rows.
pub struct MemoryRecords {
    inner: Mutex<Inner>,
    retain: Option<Duration>,
    most: usize,
}

#[derive(Default)]
struct Inner {
    namespaces: HashMap<String, Namespace>,
    last_number: u64,
    counts: Counts,
}

#[derive(Default)]
struct Namespace {
    tables: BTreeMap<String, BTreeMap<Position, Arc<[u8]>>>,
    bytes: usize,
    /// Whether it was said that rows are dropped.
    told: bool,
}

/// Rows since the process began.
#[derive(Default, Clone, Copy)]
struct Counts {
    written: u64,
    dropped: u64,
}

impl MemoryRecords {
    /// No rows yet. Those older than `retain` are dropped.
    pub fn new(retain: Option<Duration>) -> Self {
        Self::bounded(retain, MAX_NAMESPACE)
    }

    fn bounded(retain: Option<Duration>, most: usize) -> Self {
        Self { inner: Mutex::default(), retain, most }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Namespace {
    /// Removes the oldest row of all tables if it is from before a time.
    fn drop_oldest(&mut self, before: u64) -> bool {
        let oldest = self.tables.values_mut().filter_map(BTreeMap::first_entry).min_by_key(|entry| *entry.key());
        let Some(entry) = oldest.filter(|entry| entry.key().0 < before) else { return false };
        self.bytes -= entry.remove().len() + ROW_OVERHEAD;
        self.tables.retain(|_, rows| !rows.is_empty());
        true
    }
}

impl Records for MemoryRecords {
    fn append(&self, namespace: &str, table: &str, rows: Vec<Row>) -> Result<(), RecordsError> {
        let rows = row::encode(table, &rows)?;
        if rows.is_empty() {
            return Ok(());
        }
        let cutoff = super::cutoff(self.retain);
        let mut inner = self.lock();
        let Inner { namespaces, last_number, counts } = &mut *inner;
        let space = namespaces.entry(namespace.to_owned()).or_default();
        if space.tables.len() >= MAX_TABLES && !space.tables.contains_key(table) {
            return Err(RecordsError::TooManyTables);
        }
        let kept = space.tables.entry(table.to_owned()).or_default();
        for (at_ms, bytes) in rows {
            *last_number += 1;
            counts.written += 1;
            space.bytes += bytes.len() + ROW_OVERHEAD;
            kept.insert((at_ms, *last_number), bytes);
        }
        while space.drop_oldest(cutoff) {}
        while space.bytes > self.most && space.drop_oldest(u64::MAX) {
            counts.dropped += 1;
            if !std::mem::replace(&mut space.told, true) {
                tracing::warn!(
                    namespace,
                    "old rows are dropped: memory for them is used up. Set `storage.path` or `storage.records` to keep them"
                );
            }
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
        let inner = self.lock();
        let mut all: Vec<_> = inner.namespaces.iter().flat_map(|(n, space)| space.tables.keys().map(|t| (n.clone(), t.clone()))).collect();
        all.sort_unstable();
        Ok(all)
    }

    fn health(&self) -> Health {
        let Counts { written, dropped } = self.lock().counts;
        Health { written, dropped, ..Health::default() }
    }

    fn flush(&self) {}
}

impl Scan for MemoryRecords {
    fn visit(&self, span: Span<'_>, each: &mut Visit<'_>) -> Result<(), RecordsError> {
        let mut below = span.below;
        loop {
            let chunk: Vec<(Position, Arc<[u8]>)> = {
                let inner = self.lock();
                let rows = inner.namespaces.get(span.namespace).and_then(|n| n.tables.get(span.table));
                let Some(rows) = rows.filter(|_| span.from < below) else { return Ok(()) };
                let newest = rows.range((Bound::Included(span.from), Bound::Excluded(below))).rev();
                newest.take(CHUNK).map(|(at, bytes)| (*at, Arc::clone(bytes))).collect()
            };
            let Some((last, _)) = chunk.last() else { return Ok(()) };
            below = *last;
            for (at, bytes) in &chunk {
                if let ControlFlow::Break(()) = each(*at, bytes)? {
                    return Ok(());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::records::FieldValue;

    fn row(at_ms: u64) -> Row {
        Row { at_ms, fields: vec![("n".into(), FieldValue::Text("x".repeat(1000)))] }
    }

    fn times(records: &MemoryRecords, table: &str) -> Vec<u64> {
        let selection = Selection { table: table.into(), ..Selection::default() };
        records.query("n", &selection, 1000, None).unwrap().rows.iter().map(|r| r.at_ms).collect()
    }

    #[test]
    fn the_oldest_rows_go_when_the_memory_is_used_up() {
        let records = MemoryRecords::bounded(None, 5_000);
        records.append("n", "a", vec![row(5), row(1), row(4)]).unwrap();
        records.append("n", "b", vec![row(2), row(3)]).unwrap();
        records.append("other", "a", vec![row(1)]).unwrap();
        assert_eq!((times(&records, "a"), times(&records, "b")), (vec![5, 4], vec![3, 2]));
        records.append("n", "b", vec![row(6), row(7), row(8)]).unwrap();
        assert_eq!((times(&records, "a"), times(&records, "b")), (vec![5], vec![8, 7, 6]));
    }

    #[test]
    fn rows_that_are_too_old_go() {
        let records = MemoryRecords::new(Some(Duration::from_secs(3600)));
        records.append("n", "a", vec![row(1), row(u64::MAX / 2)]).unwrap();
        assert_eq!(times(&records, "a"), [u64::MAX / 2]);
    }
}
