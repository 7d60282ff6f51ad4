//! The store in a `redb` file: memory in front, one writer thread behind.
//!
//! A write is visible at once and on disk within [`FLUSH_INTERVAL`]; what is written several times in between is written once.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use redb::{Database, ReadableDatabase as _, ReadableTable as _, TableDefinition};

use super::{Key, Kv, KvError, MemoryKv, Swap};

/// Longest time from an accepted write to the disk.
const FLUSH_INTERVAL: Duration = Duration::from_millis(200);

const TABLE: TableDefinition<'static, (&str, &str, &str), &[u8]> = TableDefinition::new("kv");

/// What the writer thread is told.
enum Order {
    /// This key changed; its value is in memory.
    Changed(Key),
    Flush(Sender<()>),
}

/// The store. Dropping it writes what is left.
pub struct RedbKv {
    memory: Arc<MemoryKv>,
    orders: Option<Sender<Order>>,
    writer: Option<JoinHandle<()>>,
}

impl RedbKv {
    /// Opens or creates a file and reads it into memory.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let database = Database::create(path).with_context(|| format!("the store `{}` cannot be opened", path.display()))?;
        let memory = Arc::new(MemoryKv::default());
        let begin = database.begin_write()?;
        begin.open_table(TABLE)?;
        begin.commit()?;
        for row in database.begin_read()?.open_table(TABLE)?.iter()? {
            let (key, value) = row?;
            let (namespace, bucket, key) = key.value();
            let key = Key { namespace: namespace.into(), bucket: bucket.into(), key: key.into() };
            memory.set(key, value.value().to_vec())?;
        }
        let (orders, inbox) = channel();
        let current = Arc::clone(&memory);
        let writer = std::thread::Builder::new().name("kv-writer".into()).spawn(move || {
            let mut changed: BTreeSet<Key> = BTreeSet::new();
            let mut due: Option<Instant> = None;
            loop {
                let wait = due.map_or(Duration::from_secs(3600), |d| d.saturating_duration_since(Instant::now()));
                let mut answer = None;
                match inbox.recv_timeout(wait) {
                    Ok(Order::Changed(key)) => drop(changed.insert(key)),
                    Ok(Order::Flush(reply)) => answer = Some(reply),
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => {
                        write_logged(&database, &current, &mut changed);
                        return;
                    }
                }
                if answer.is_some() || due.is_some_and(|d| d <= Instant::now()) {
                    write_logged(&database, &current, &mut changed);
                    due = None;
                } else if due.is_none() && !changed.is_empty() {
                    due = Some(Instant::now() + FLUSH_INTERVAL);
                }
                if let Some(reply) = answer {
                    let _ = reply.send(());
                }
            }
        })?;
        Ok(Self { memory, orders: Some(orders), writer: Some(writer) })
    }

    fn order(&self, order: Order) {
        if let Some(orders) = &self.orders {
            // The writer ends only after the sender is gone.
            let _ = orders.send(order);
        }
    }
}

/// Writes a batch; a batch that fails stays pending and is tried again with the next one.
fn write_logged(database: &Database, current: &MemoryKv, changed: &mut BTreeSet<Key>) {
    match write(database, current, changed) {
        Ok(()) => changed.clear(),
        Err(e) => tracing::error!(error = %e, entries = changed.len(), "the store could not be written; will try again"),
    }
}

fn write(database: &Database, current: &MemoryKv, changed: &BTreeSet<Key>) -> Result<(), redb::Error> {
    if changed.is_empty() {
        return Ok(());
    }
    let transaction = database.begin_write()?;
    {
        let mut table = transaction.open_table(TABLE)?;
        for key in changed {
            let row = (key.namespace.as_str(), key.bucket.as_str(), key.key.as_str());
            match current.value(key) {
                Some(value) => drop(table.insert(row, value.as_slice())?),
                None => drop(table.remove(row)?),
            }
        }
    }
    transaction.commit()?;
    Ok(())
}

impl Kv for RedbKv {
    fn value(&self, key: &Key) -> Option<Vec<u8>> {
        self.memory.value(key)
    }

    fn set(&self, key: Key, value: Vec<u8>) -> Result<(), KvError> {
        self.memory.set(key.clone(), value)?;
        self.order(Order::Changed(key));
        Ok(())
    }

    fn delete(&self, key: &Key) {
        self.memory.delete(key);
        self.order(Order::Changed(key.clone()));
    }

    fn increment(&self, key: Key, delta: i64) -> Result<i64, KvError> {
        let sum = self.memory.increment(key.clone(), delta)?;
        self.order(Order::Changed(key));
        Ok(sum)
    }

    fn swap(&self, key: Key, seen: Option<&[u8]>, value: Vec<u8>) -> Result<Swap, KvError> {
        let swap = self.memory.swap(key.clone(), seen, value)?;
        if swap == Swap::Done {
            self.order(Order::Changed(key));
        }
        Ok(swap)
    }

    fn keys(&self, namespace: &str, bucket: &str, after: Option<&str>, limit: usize) -> Vec<String> {
        self.memory.keys(namespace, bucket, after, limit)
    }

    fn flush(&self) {
        let (reply, done) = channel();
        self.order(Order::Flush(reply));
        let _ = done.recv();
    }
}

impl Drop for RedbKv {
    fn drop(&mut self) {
        self.orders = None;
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(key: &str) -> Key {
        Key { namespace: "n".into(), bucket: "b".into(), key: key.into() }
    }

    #[test]
    fn what_was_written_is_there_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.redb");
        let kv = RedbKv::open(&path).unwrap();
        kv.set(key("kept"), b"1".to_vec()).unwrap();
        kv.set(key("gone"), b"2".to_vec()).unwrap();
        kv.flush();
        kv.delete(&key("gone"));
        kv.increment(key("count"), 7).unwrap();
        drop(kv);

        let kv = RedbKv::open(&path).unwrap();
        assert_eq!(kv.keys("n", "b", None, 10), ["count", "kept"]);
        assert_eq!(kv.increment(key("count"), 1), Ok(8));
    }

    #[test]
    fn a_file_that_is_no_store_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.redb");
        std::fs::write(&path, "hello").unwrap();
        let error = RedbKv::open(&path).err().unwrap().to_string();
        assert!(error.contains("store.redb"), "{error}");
    }
}
