//! What outlives a request: the key-value store, the rows and the rate counters of extensions, each in its own namespace.
//!
//! Nothing on a request's path waits for the disk to write: `redb` is written in batches by one thread. Keys are read from memory;
//! only rows are read from the file.

mod limiter;
mod memory;
pub mod records;
mod redb;
mod writer;

use std::sync::Arc;

use anyhow::Context as _;

pub use limiter::{Granted, Limiter, Refused, Rule};
pub use memory::MemoryKv;
pub use records::{MemoryRecords, Records};

use crate::config::Storage;
use crate::virtual_providers::Performance;

/// A key: the extension's namespace, its bucket, its key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// The extension.
    pub namespace: String,
    /// The bucket.
    pub bucket: String,
    /// The key.
    pub key: String,
}

/// Longest key, in bytes.
pub const MAX_KEY: usize = 1 << 10;
/// Longest name of a bucket, in bytes.
pub const MAX_BUCKET: usize = 128;
/// What an entry costs besides its key and value, in bytes.
pub const ENTRY_OVERHEAD: usize = 256;
/// Longest value, in bytes.
pub const MAX_VALUE: usize = 1 << 20;
/// All entries of one namespace together, in bytes.
pub const MAX_NAMESPACE: usize = 64 << 20;

/// Why a write was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KvError {
    /// The key is too long.
    #[error("the key has {0} bytes; at most {MAX_KEY} are allowed")]
    KeyTooLong(usize),
    /// The bucket's name is too long.
    #[error("the bucket's name has {0} bytes; at most {MAX_BUCKET} are allowed")]
    BucketTooLong(usize),
    /// The value is too long.
    #[error("the value has {0} bytes; at most {MAX_VALUE} are allowed")]
    ValueTooLong(usize),
    /// The namespace is full.
    #[error("the extension stores {0} bytes; at most {MAX_NAMESPACE} are allowed")]
    NamespaceFull(usize),
    /// A counter holds something else.
    #[error("the value is not a decimal number that `increment` could raise")]
    NotANumber,
}

/// What became of a swap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Swap {
    /// The value was written.
    Done,
    /// Somebody else wrote this meanwhile.
    Changed(Option<Vec<u8>>),
}

/// A key-value store. No method blocks.
pub trait Kv: Send + Sync {
    /// The value of a key.
    fn value(&self, key: &Key) -> Option<Vec<u8>>;
    /// Writes a value.
    fn set(&self, key: Key, value: Vec<u8>) -> Result<(), KvError>;
    /// Removes a key.
    fn delete(&self, key: &Key);
    /// Adds to a counter (decimal text), which starts at 0, and returns the sum. No other caller comes in between.
    fn increment(&self, key: Key, delta: i64) -> Result<i64, KvError>;
    /// Writes a value if the key still has this one. Otherwise tells what it has.
    fn swap(&self, key: Key, seen: Option<&[u8]>, value: Vec<u8>) -> Result<Swap, KvError>;
    /// Up to `limit` keys of a bucket in ascending order, those after the key `after` if one is given.
    fn keys(&self, namespace: &str, bucket: &str, after: Option<&str>, limit: usize) -> Vec<String>;
    /// Writes everything that was accepted to where it lasts.
    fn flush(&self);
}

/// Everything that outlives a request and a generation.
#[derive(Clone)]
pub struct Store {
    /// Keys and values.
    pub kv: Arc<dyn Kv>,
    /// Rows.
    pub records: Arc<dyn Records>,
    /// Rates.
    pub limiter: Arc<Limiter>,
    /// What is known of the members of virtual providers.
    pub performance: Arc<Performance>,
}

/// Opens the store: in a file when a path is given, otherwise in memory.
pub fn open(config: &Storage) -> anyhow::Result<Store> {
    let retain = Some(config.retain_records).filter(|r| !r.is_zero());
    let Some(path) = &config.path else {
        return Ok(Store {
            kv: Arc::new(MemoryKv::default()),
            records: Arc::new(MemoryRecords::new(retain)),
            limiter: Arc::default(),
            performance: Arc::default(),
        });
    };
    let failed = || format!("the store `{}` cannot be opened", path.display());
    let database = Arc::new(::redb::Database::create(path).with_context(failed)?);
    let keys = Arc::new(redb::KvSource::open(&database).with_context(failed)?);
    let rows = Arc::new(records::RowSource::open(&database, retain).with_context(failed)?);
    let writer = Arc::new(writer::Writer::start(Arc::clone(&database), vec![Arc::clone(&keys) as _, Arc::clone(&rows) as _])?);
    Ok(Store {
        kv: Arc::new(redb::RedbKv::new(keys, Arc::clone(&writer))),
        records: Arc::new(records::RedbRecords::new(rows, database, writer)),
        limiter: Arc::default(),
        performance: Arc::default(),
    })
}
