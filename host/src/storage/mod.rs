//! What outlives a request: the key-value store, the rows and the rate counters of extensions, each in its own namespace.
//!
//! Nothing on a request's path waits for a disk or a database to write: a thread writes in batches what waits. Keys are read from memory,
//! also where several gateways share them; only rows are read from where they are stored. Limits that several gateways keep together are the exception: Redis is asked, in bounded time.

mod chosen;
pub mod limits;
mod memory;
mod postgres;
pub mod records;
mod redb;
mod shared;
mod vault;
mod writer;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;

pub use chosen::choose;
pub use limits::Limits;
pub use memory::MemoryKv;
pub use postgres::parse_url;
pub use records::{MemoryRecords, Records};
pub use vault::{Closed, Vault, forget as forget_tokens};

use crate::config::{KeysStore, LimitsStore, RecordsStore, Secret, Storage};
use crate::providers::oauth::Logins;
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
    /// Nobody can say yet what there is. Extensions know it by its first words, which the SDK has too (`kv::UNREAD`).
    #[error("not known yet: the store has not answered since the gateway began; it is asked again and again")]
    Unread,
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
    /// Whether it is known what was there before this process. Until then a key that is not found may be there all the same.
    fn is_read(&self) -> bool {
        true
    }
    /// The value of a key, as far as that can be said ([`Kv::is_read`]).
    fn known(&self, key: &Key) -> Result<Option<Vec<u8>>, KvError> {
        // In this order: what is read in between would be missed otherwise.
        let read = self.is_read();
        match self.value(key) {
            None if !read => Err(KvError::Unread),
            value => Ok(value),
        }
    }
    /// Writes everything that was accepted to where it lasts.
    fn flush(&self);
}

/// A store of several gateways, for tests: it may be away.
#[cfg(test)]
#[derive(Default)]
pub struct Late {
    there: MemoryKv,
    answers: std::sync::atomic::AtomicBool,
}

#[cfg(test)]
impl Late {
    /// It answers from now on.
    pub fn answers(&self) {
        self.answers.store(true, std::sync::atomic::Ordering::Relaxed);
    }

    /// As at a start while it is away.
    pub fn is_away(&self) {
        self.answers.store(false, std::sync::atomic::Ordering::Relaxed);
    }
}

#[cfg(test)]
impl Kv for Late {
    fn value(&self, key: &Key) -> Option<Vec<u8>> {
        self.there.value(key).filter(|_| self.is_read())
    }
    fn set(&self, key: Key, value: Vec<u8>) -> Result<(), KvError> {
        self.there.set(key, value)
    }
    fn delete(&self, key: &Key) {
        self.there.delete(key);
    }
    fn increment(&self, key: Key, delta: i64) -> Result<i64, KvError> {
        self.there.increment(key, delta)
    }
    fn swap(&self, key: Key, seen: Option<&[u8]>, value: Vec<u8>) -> Result<Swap, KvError> {
        self.there.swap(key, seen, value)
    }
    fn keys(&self, namespace: &str, bucket: &str, after: Option<&str>, limit: usize) -> Vec<String> {
        if self.is_read() { self.there.keys(namespace, bucket, after, limit) } else { Vec::new() }
    }
    fn is_read(&self) -> bool {
        self.answers.load(std::sync::atomic::Ordering::Relaxed)
    }
    fn flush(&self) {}
}

/// Everything that outlives a request and a generation.
#[derive(Clone)]
pub struct Store {
    /// Keys and values.
    pub kv: Arc<dyn Kv>,
    /// Rows.
    pub records: Arc<dyn Records>,
    /// Rates.
    pub limits: Limits,
    /// What is known of the members of virtual providers.
    pub performance: Arc<Performance>,
    /// Who is logged in to providers.
    pub logins: Arc<Logins>,
}

/// Opens the store. It must run inside a runtime if limits are in Redis.
pub fn open(config: &Storage) -> anyhow::Result<Store> {
    let mut own = None;
    let kept_with_keys = config.records.kept_with_keys();
    let kv: Arc<dyn Kv> = match (config.keys.r#type, &config.path) {
        (KeysStore::Postgres, _) => {
            let url = config.keys_url().map_or("", Secret::expose);
            let opened = shared::SharedKv::open(url, config.flush_interval, config.keys.refresh);
            Arc::new(opened.context("`storage.keys.url`")?)
        }
        (KeysStore::Local, None) => Arc::new(MemoryKv::default()),
        (KeysStore::Local, Some(path)) => {
            let File { keys, rows, database, writer } = file(path, config, true, kept_with_keys)?;
            own = rows.map(|rows| records::RedbRecords::new(rows, database, Arc::clone(&writer)));
            Arc::new(redb::RedbKv::new(keys.context("keys are read")?, writer))
        }
    };
    let records: Arc<dyn Records> = match own {
        Some(own) => Arc::new(own),
        None => open_records(config)?,
    };
    let limits = match config.limits.r#type {
        LimitsStore::Memory => Limits::default(),
        LimitsStore::Redis => {
            let url = config.limits.url.as_ref().map_or("", |url| url.expose());
            let opened = limits::RedisLimits::open(url, config.limits.timeout, config.limits.when_away);
            Limits::Redis(opened.map_err(|reason| anyhow::anyhow!("`storage.limits.url`: {reason}"))?)
        }
    };
    let vault = Vault::open(config, &kv)?.map(Arc::new);
    Ok(Store { kv, records, limits, performance: Arc::default(), logins: Arc::new(Logins::new(vault)) })
}

/// Opens the rows alone, for somebody who looks at them while no gateway, or another one, runs.
pub fn open_records(config: &Storage) -> anyhow::Result<Arc<dyn Records>> {
    let wanted = &config.records;
    let (retain, interval) = (retain(config), config.flush_interval);
    let path = wanted.path.as_deref().or(config.path.as_deref().filter(|_| wanted.kept_with_keys()));
    Ok(match wanted.store(config) {
        RecordsStore::Memory => Arc::new(MemoryRecords::new(retain)),
        RecordsStore::Redb => {
            let path = path.context("`storage.records.path` names no file")?;
            let File { rows, database, writer, .. } = file(path, config, false, true)?;
            Arc::new(records::RedbRecords::new(rows.context("rows are read")?, database, writer))
        }
        RecordsStore::Sqlite => {
            let path = path.context("`storage.records.path` names no file")?;
            let opened = records::SqliteRecords::open(path, retain, bounds(config), interval);
            Arc::new(opened.with_context(|| format!("the store `{}` cannot be opened", path.display()))?)
        }
        RecordsStore::Postgres => {
            let url = wanted.url.as_ref().map_or("", |url| url.expose());
            Arc::new(records::PostgresRecords::open(url, retain, bounds(config), interval).context("`storage.records.url`")?)
        }
    })
}

/// What is read of a `redb` file, and the thread that writes to it.
struct File {
    keys: Option<Arc<redb::KvSource>>,
    rows: Option<Arc<records::RowSource>>,
    database: Arc<::redb::Database>,
    writer: Arc<writer::Writer>,
}

fn file(path: &Path, config: &Storage, keys: bool, rows: bool) -> anyhow::Result<File> {
    let failed = || format!("the store `{}` cannot be opened", path.display());
    let database = match ::redb::Database::create(path) {
        Err(::redb::DatabaseError::DatabaseAlreadyOpen) => {
            let why = "another process has it open, and a redb file is open in one at a time: stop the gateway first, or keep rows in `sqlite` or `postgres`";
            return Err(anyhow::anyhow!(why).context(failed()));
        }
        opened => Arc::new(opened.with_context(failed)?),
    };
    let keys = if keys { Some(Arc::new(redb::KvSource::open(&database).with_context(failed)?)) } else { None };
    let rows =
        if rows { Some(Arc::new(records::RowSource::open(&database, retain(config), bounds(config)).with_context(failed)?)) } else { None };
    let sources = keys.iter().map(|s| Arc::clone(s) as _).chain(rows.iter().map(|s| Arc::clone(s) as _)).collect();
    let work = redb::Transactions { database: Arc::clone(&database), sources };
    let writer = Arc::new(writer::Writer::start(path.display().to_string(), config.flush_interval, Box::new(work))?);
    Ok(File { keys, rows, database, writer })
}

fn retain(config: &Storage) -> Option<Duration> {
    Some(config.retain_records).filter(|r| !r.is_zero())
}

fn bounds(config: &Storage) -> records::Bounds {
    records::Bounds { rows: config.records.queue, when_full: config.records.when_full, ..records::Bounds::default() }
}
