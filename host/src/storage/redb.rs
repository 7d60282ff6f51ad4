//! The key-value store in a `redb` file: memory in front, the [`Writer`] behind.
//!
//! A write is visible at once and on disk within the flush interval; what is written several times in between is written once. Whatever else
//! the file holds is written in the same transactions.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::{Database, ReadableDatabase as _, ReadableTable as _, TableDefinition, WriteTransaction};

use super::writer::{Work, Writer};
use super::{Key, Kv, KvError, MemoryKv, Swap};

const TABLE: TableDefinition<'static, (&str, &str, &str), &[u8]> = TableDefinition::new("kv");

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

/// What the writer's thread does for a file.
pub struct Transactions {
    /// The file.
    pub database: Arc<Database>,
    /// What is written to it.
    pub sources: Vec<Arc<dyn Source>>,
}

impl Transactions {
    fn transact(&self) -> Result<bool, redb::Error> {
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

impl Work for Transactions {
    fn write(&mut self) -> anyhow::Result<bool> {
        let written = self.transact();
        for source in &self.sources {
            source.settled(written.is_ok());
        }
        Ok(written?)
    }
}

/// The keys in memory, and which of them the file does not have yet.
pub struct KvSource {
    memory: MemoryKv,
    changed: Mutex<Changed>,
}

#[derive(Default)]
struct Changed {
    /// Since the last transaction began.
    fresh: BTreeSet<Key>,
    /// In the transaction that is being written, or in one that failed.
    writing: BTreeSet<Key>,
}

impl KvSource {
    /// Reads everything into memory.
    pub fn open(database: &Database) -> anyhow::Result<Self> {
        let memory = MemoryKv::default();
        let begin = database.begin_write()?;
        begin.open_table(TABLE)?;
        begin.commit()?;
        for row in database.begin_read()?.open_table(TABLE)?.iter()? {
            let (key, value) = row?;
            let (namespace, bucket, key) = key.value();
            let key = Key { namespace: namespace.into(), bucket: bucket.into(), key: key.into() };
            memory.set(key, value.value().to_vec())?;
        }
        Ok(Self { memory, changed: Mutex::default() })
    }

    fn changed(&self) -> MutexGuard<'_, Changed> {
        self.changed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Source for KvSource {
    fn write(&self, transaction: &WriteTransaction) -> Result<Written, redb::Error> {
        let keys = {
            let mut changed = self.changed();
            let mut fresh = std::mem::take(&mut changed.fresh);
            changed.writing.append(&mut fresh);
            changed.writing.clone()
        };
        if keys.is_empty() {
            return Ok(Written::default());
        }
        let mut table = transaction.open_table(TABLE)?;
        for key in &keys {
            let row = (key.namespace.as_str(), key.bucket.as_str(), key.key.as_str());
            match self.memory.value(key) {
                Some(value) => drop(table.insert(row, value.as_slice())?),
                None => drop(table.remove(row)?),
            }
        }
        Ok(Written { changed: true, more: false })
    }

    fn settled(&self, committed: bool) {
        if committed {
            self.changed().writing.clear();
        }
    }
}

/// The store.
pub struct RedbKv {
    source: Arc<KvSource>,
    writer: Arc<Writer>,
}

impl RedbKv {
    /// The store over what was read.
    pub fn new(source: Arc<KvSource>, writer: Arc<Writer>) -> Self {
        Self { source, writer }
    }

    fn note(&self, key: Key) {
        self.source.changed().fresh.insert(key);
        self.writer.wake();
    }
}

impl Kv for RedbKv {
    fn value(&self, key: &Key) -> Option<Vec<u8>> {
        self.source.memory.value(key)
    }

    fn set(&self, key: Key, value: Vec<u8>) -> Result<(), KvError> {
        self.source.memory.set(key.clone(), value)?;
        self.note(key);
        Ok(())
    }

    fn delete(&self, key: &Key) {
        self.source.memory.delete(key);
        self.note(key.clone());
    }

    fn increment(&self, key: Key, delta: i64) -> Result<i64, KvError> {
        let sum = self.source.memory.increment(key.clone(), delta)?;
        self.note(key);
        Ok(sum)
    }

    fn swap(&self, key: Key, seen: Option<&[u8]>, value: Vec<u8>) -> Result<Swap, KvError> {
        let swap = self.source.memory.swap(key.clone(), seen, value)?;
        if swap == Swap::Done {
            self.note(key);
        }
        Ok(swap)
    }

    fn keys(&self, namespace: &str, bucket: &str, after: Option<&str>, limit: usize) -> Vec<String> {
        self.source.memory.keys(namespace, bucket, after, limit)
    }

    fn flush(&self) {
        self.writer.flush();
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Storage;

    fn key(key: &str) -> Key {
        Key { namespace: "n".into(), bucket: "b".into(), key: key.into() }
    }

    fn open(path: &Path) -> anyhow::Result<crate::storage::Store> {
        crate::storage::open(&Storage { path: Some(path.into()), ..Storage::default() })
    }

    #[test]
    fn what_was_written_is_there_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.redb");
        let store = open(&path).unwrap();
        store.kv.set(key("kept"), b"1".to_vec()).unwrap();
        store.kv.set(key("gone"), b"2".to_vec()).unwrap();
        store.kv.flush();
        store.kv.delete(&key("gone"));
        store.kv.increment(key("count"), 7).unwrap();
        drop(store);

        let store = open(&path).unwrap();
        assert_eq!(store.kv.keys("n", "b", None, 10), ["count", "kept"]);
        assert_eq!(store.kv.increment(key("count"), 1), Ok(8));
    }

    #[test]
    fn a_file_that_is_no_store_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.redb");
        std::fs::write(&path, "hello").unwrap();
        let error = open(&path).err().unwrap().to_string();
        assert!(error.contains("store.redb"), "{error}");
    }
}
