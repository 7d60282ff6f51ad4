//! Rows that were appended and are not yet where they last: a bounded queue, which is read together with what is stored.
//!
//! What is absent: nothing here waits. When a share of the queue is used up, a row is dropped or refused at once, and counted.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Bound;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::row::{Position, StoredRow};
use super::scan::{Span, Visit};
use super::{Health, MAX_TABLES, MAX_WAITING_BYTES, MAX_WAITING_ROWS, RecordsError};
use crate::config::WhenFull;

/// Rows by namespace and table.
pub type Tables = HashMap<String, HashMap<String, BTreeMap<Position, Arc<[u8]>>>>;

/// How often it is said that rows are lost.
const TOLD_EVERY: Duration = Duration::from_secs(60);

/// Bits of a row's number that count within one session; those above are the session's own number.
const COUNTED_BITS: u32 = 40;

/// How much of one namespace may wait, and what happens to one row more.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Rows.
    pub rows: usize,
    /// Bytes of their stored form.
    pub bytes: usize,
    /// What happens then.
    pub when_full: WhenFull,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { rows: MAX_WAITING_ROWS, bytes: MAX_WAITING_BYTES, when_full: WhenFull::DropOldest }
    }
}

/// The queue.
pub struct Waiting {
    inner: Mutex<Inner>,
    bounds: Bounds,
    counts: Counts,
}

/// What became of rows since the process began.
#[derive(Default)]
struct Counts {
    written: AtomicU64,
    dropped: AtomicU64,
    refused: AtomicU64,
    failures: AtomicU64,
}

#[derive(Default)]
struct Inner {
    /// Appended since the last batch was taken.
    fresh: Tables,
    /// In the batch that is being written, or in one that failed.
    writing: Arc<Tables>,
    /// How much of each namespace waits, by rows and bytes: in the two above.
    shares: HashMap<String, (usize, usize)>,
    /// Names of all tables, by namespace.
    tables: HashMap<String, HashSet<String>>,
    last_number: u64,
    told: Option<Instant>,
}

impl Waiting {
    /// An empty queue before a store that has these tables already.
    pub fn new(bounds: Bounds, tables: impl IntoIterator<Item = (String, String)>, last_number: u64) -> Self {
        let mut known: HashMap<String, HashSet<String>> = HashMap::new();
        for (namespace, table) in tables {
            known.entry(namespace).or_default().insert(table);
        }
        Self { inner: Mutex::new(Inner { tables: known, last_number, ..Inner::default() }), bounds, counts: Counts::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes rows in, or refuses all of them.
    pub fn append(&self, namespace: &str, table: &str, rows: Vec<StoredRow>) -> Result<(), RecordsError> {
        let bytes: usize = rows.iter().map(|(_, row)| row.len()).sum();
        let mut inner = self.lock();
        if inner.tables.get(namespace).is_some_and(|names| names.len() >= MAX_TABLES && !names.contains(table)) {
            return Err(RecordsError::TooManyTables);
        }
        self.make_room(&mut inner, namespace, rows.len(), bytes)?;
        let Inner { fresh, shares, tables, last_number, .. } = &mut *inner;
        let share = shares.entry(namespace.to_owned()).or_default();
        *share = (share.0 + rows.len(), share.1 + bytes);
        let names = tables.entry(namespace.to_owned()).or_default();
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

    /// Sees to it that so much more of a namespace may wait. Rows of the batch that is being written are not touched.
    fn make_room(&self, inner: &mut Inner, namespace: &str, rows: usize, bytes: usize) -> Result<(), RecordsError> {
        let too_much = |share: (usize, usize)| share.0 + rows > self.bounds.rows || share.1 + bytes > self.bounds.bytes;
        let mut share = inner.shares.get(namespace).copied().unwrap_or_default();
        if !too_much(share) {
            return Ok(());
        }
        // What would not even fit into an empty queue costs nobody else a row.
        let hopeless = rows > self.bounds.rows || bytes > self.bounds.bytes;
        let mut dropped = 0;
        if self.bounds.when_full == WhenFull::DropOldest && !hopeless {
            let mut tables = inner.fresh.get_mut(namespace);
            while too_much(share) {
                let oldest = tables.as_mut().and_then(|t| t.values_mut().filter_map(BTreeMap::first_entry).min_by_key(|e| *e.key()));
                let Some(entry) = oldest else { break };
                share = (share.0 - 1, share.1 - entry.remove().len());
                dropped += 1;
            }
            inner.shares.insert(namespace.to_owned(), share);
        }
        let refused = too_much(share);
        let count = self.counts.dropped.fetch_add(dropped, Ordering::Relaxed) + dropped;
        if refused {
            self.counts.refused.fetch_add(rows as u64, Ordering::Relaxed);
        }
        if inner.told.is_none_or(|at| at.elapsed() >= TOLD_EVERY) {
            inner.told = Some(Instant::now());
            let refused = self.counts.refused.load(Ordering::Relaxed);
            tracing::warn!(
                namespace,
                dropped = count,
                refused,
                waiting = share.0,
                "rows are lost: those that wait are not written in time"
            );
        }
        if refused { Err(RecordsError::Busy(share.0)) } else { Ok(()) }
    }

    /// Half of what may wait. A batch that cannot be written has no more, so that there is always something older to forget for a newer row.
    pub fn half(&self) -> usize {
        (self.bounds.rows / 2).max(1)
    }

    /// The next batch, of at most so many rows if nothing of it failed before, and the last number that was given to a row. What
    /// is taken waits until it is [`settled`](Self::settled).
    pub fn take(&self, most: usize) -> (Arc<Tables>, u64) {
        let mut inner = self.lock();
        let Inner { fresh, writing, last_number, .. } = &mut *inner;
        let mut room = most.saturating_sub(rows_of(writing));
        if room > 0 && rows_of(fresh) > 0 {
            let writing = Arc::make_mut(writing);
            for (namespace, tables) in fresh.iter_mut() {
                for (table, rows) in tables.iter_mut().filter(|(_, rows)| !rows.is_empty()) {
                    let taken = split_first(rows, room);
                    room -= taken.len();
                    if !taken.is_empty() {
                        writing.entry(namespace.clone()).or_default().entry(table.clone()).or_default().extend(taken);
                    }
                }
            }
        }
        (Arc::clone(writing), *last_number)
    }

    /// What was taken is where it lasts, or it failed and still waits.
    pub fn settled(&self, stored: bool) {
        let mut inner = self.lock();
        if !stored {
            self.counts.failures.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let written = std::mem::take(&mut inner.writing);
        for (namespace, tables) in &*written {
            let Some(share) = inner.shares.get_mut(namespace) else { continue };
            for row in tables.values().flat_map(BTreeMap::values) {
                *share = (share.0 - 1, share.1 - row.len());
            }
        }
        inner.shares.retain(|_, share| share.0 > 0);
        self.counts.written.fetch_add(rows_of(&written) as u64, Ordering::Relaxed);
    }

    /// Whether something waits that was not taken.
    pub fn has_more(&self) -> bool {
        rows_of(&self.lock().fresh) > 0
    }

    /// Gives the rows of this process numbers that no other session has: `session` is one that the store gave to nobody else.
    pub fn begin_session(&self, session: u64) {
        let mut inner = self.lock();
        let base = session << COUNTED_BITS;
        let Inner { fresh, writing, last_number, .. } = &mut *inner;
        *last_number += base;
        for rows in fresh.values_mut().chain(Arc::make_mut(writing).values_mut()).flat_map(HashMap::values_mut) {
            *rows = std::mem::take(rows).into_iter().map(|((at_ms, number), row)| ((at_ms, number + base), row)).collect();
        }
    }

    /// The store has these tables besides.
    pub fn know_tables(&self, tables: impl IntoIterator<Item = (String, String)>) {
        let mut inner = self.lock();
        for (namespace, table) in tables {
            inner.tables.entry(namespace).or_default().insert(table);
        }
    }

    /// All tables, of those that wait, too.
    pub fn tables(&self) -> Vec<(String, String)> {
        let inner = self.lock();
        let mut all: Vec<_> = inner.tables.iter().flat_map(|(n, tables)| tables.iter().map(|t| (n.clone(), t.clone()))).collect();
        all.sort_unstable();
        all
    }

    /// Rows of a span that may not be stored yet.
    pub fn within(&self, span: &Span<'_>) -> BTreeMap<Position, Arc<[u8]>> {
        let inner = self.lock();
        let mut found = BTreeMap::new();
        for tables in [&inner.fresh, &*inner.writing] {
            let rows = tables.get(span.namespace).and_then(|n| n.get(span.table));
            let rows = rows.into_iter().flat_map(|rows| rows.range((Bound::Included(span.from), Bound::Excluded(span.below))));
            found.extend(rows.map(|(at, row)| (*at, Arc::clone(row))));
        }
        found
    }

    /// How it goes.
    pub fn health(&self) -> Health {
        let waiting = self.lock().shares.values().map(|share| share.0 as u64).sum();
        let [written, dropped, refused, failures] =
            [&self.counts.written, &self.counts.dropped, &self.counts.refused, &self.counts.failures].map(|n| n.load(Ordering::Relaxed));
        Health { waiting, written, dropped, refused, failures }
    }
}

fn rows_of(tables: &Tables) -> usize {
    tables.values().flat_map(HashMap::values).map(BTreeMap::len).sum()
}

/// Takes the first rows away, at most so many.
fn split_first(rows: &mut BTreeMap<Position, Arc<[u8]>>, most: usize) -> BTreeMap<Position, Arc<[u8]>> {
    match rows.keys().nth(most).copied() {
        None => std::mem::take(rows),
        Some(next) => {
            let rest = rows.split_off(&next);
            std::mem::replace(rows, rest)
        }
    }
}

/// Shows rows that wait and rows that are stored in one order, newest first. What is in both counts once.
pub fn merge<B: AsRef<[u8]>>(
    waiting: BTreeMap<Position, Arc<[u8]>>,
    mut stored: impl FnMut() -> Result<Option<(Position, B)>, RecordsError>,
    each: &mut Visit<'_>,
) -> Result<(), RecordsError> {
    let mut waiting = waiting.into_iter().rev();
    let (mut next_stored, mut next_waiting) = (stored()?, waiting.next());
    loop {
        let stored_at = next_stored.as_ref().map(|(at, _)| *at);
        let waiting_at = next_waiting.as_ref().map(|(at, _)| *at);
        let flow = match (&next_stored, &next_waiting) {
            (_, Some((at, row))) if stored_at <= waiting_at => each(*at, row)?,
            (Some((at, row)), _) => each(*at, row.as_ref())?,
            (None, _) => return Ok(()),
        };
        if flow.is_break() {
            return Ok(());
        }
        if waiting_at >= stored_at {
            next_waiting = waiting.next();
        }
        if stored_at >= waiting_at {
            next_stored = stored()?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(rows: usize, when_full: WhenFull) -> Waiting {
        Waiting::new(Bounds { rows, bytes: 1000, when_full }, [], 0)
    }

    fn row(at_ms: u64) -> StoredRow {
        (at_ms, Arc::from([0u8; 10]))
    }

    fn times(waiting: &Waiting) -> Vec<u64> {
        let span = Span { namespace: "x", table: "t", from: (0, 0), below: (u64::MAX, u64::MAX), filters: &[] };
        waiting.within(&span).into_keys().map(|(at, _)| at).collect()
    }

    #[test]
    fn the_oldest_rows_make_room_and_are_counted() {
        let waiting = queue(3, WhenFull::DropOldest);
        waiting.append("x", "t", vec![row(5), row(1), row(4)]).unwrap();
        waiting.append("x", "t", vec![row(6)]).unwrap();
        assert_eq!(times(&waiting), [4, 5, 6]);
        waiting.append("y", "t", vec![row(1)]).unwrap();
        assert_eq!(times(&waiting), [4, 5, 6], "each namespace has its own share");
        assert_eq!(waiting.append("x", "t", vec![row(7), row(7), row(7), row(7)]), Err(RecordsError::Busy(3)), "more than ever fits");
        assert_eq!(waiting.health(), Health { waiting: 4, dropped: 1, refused: 4, ..Health::default() });
        // Bytes count as rows do.
        waiting.append("x", "t", vec![(9, Arc::from([0u8; 985]))]).unwrap();
        assert_eq!(times(&waiting), [6, 9]);
    }

    #[test]
    fn what_is_being_written_is_not_dropped() {
        let waiting = queue(3, WhenFull::DropOldest);
        waiting.append("x", "t", vec![row(1), row(2), row(3)]).unwrap();
        let (batch, _) = waiting.take(2);
        assert_eq!(rows_of(&batch), 2);
        waiting.append("x", "t", vec![row(4)]).unwrap();
        assert_eq!(times(&waiting), [1, 2, 4]);
        assert_eq!(waiting.append("x", "t", vec![row(5), row(6)]), Err(RecordsError::Busy(2)));
        waiting.settled(false);
        waiting.append("x", "t", vec![row(7)]).unwrap();
        assert_eq!(rows_of(&waiting.take(10).0), 3, "what failed is in the next batch");
        waiting.settled(true);
        assert_eq!(waiting.health(), Health { waiting: 0, written: 3, dropped: 2, refused: 2, failures: 1 });
    }

    #[test]
    fn rows_are_refused_where_that_is_wanted() {
        let waiting = queue(1, WhenFull::Refuse);
        waiting.append("x", "t", vec![row(1)]).unwrap();
        assert_eq!(waiting.append("x", "t", vec![row(2)]), Err(RecordsError::Busy(1)));
        assert_eq!(times(&waiting), [1]);
    }

    #[test]
    fn numbers_of_a_session_are_above_those_that_had_none_yet() {
        let waiting = queue(9, WhenFull::Refuse);
        waiting.append("x", "t", vec![row(1)]).unwrap();
        drop(waiting.take(1));
        waiting.append("x", "t", vec![row(1)]).unwrap();
        waiting.begin_session(3);
        waiting.append("x", "t", vec![row(1)]).unwrap();
        let span = Span { namespace: "x", table: "t", from: (0, 0), below: (u64::MAX, u64::MAX), filters: &[] };
        let numbers: Vec<u64> = waiting.within(&span).into_keys().map(|(_, number)| number - (3 << COUNTED_BITS)).collect();
        assert_eq!(numbers, [1, 2, 3]);
    }
}
