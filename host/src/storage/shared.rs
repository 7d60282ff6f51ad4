//! Keys and values that several gateways share: memory in front, PostgreSQL behind.
//!
//! A write is visible here at once, in the database within the flush interval, and at the others within `storage.keys.refresh` after that. Each
//! gateway reads its own memory: no request waits for the database, and while it is away each works with what it knew.
//!
//! Values are written whole, and the last one written wins. Counters are not: what was added here is added there, and what others added
//! comes back. What is absent: a swap that is one step for all gateways together. It is one for this gateway.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use deadpool_postgres::Object;
use tokio::runtime::Runtime;

use super::postgres::{Database, told};
use super::writer::{Work, Writer};
use super::{Key, Kv, KvError, MemoryKv, Swap};

/// Writers take turns, so that versions are committed in their order and who reads on from one misses none: the name of a lock.
const WRITERS_LOCK: i64 = 0x7761_736d_6b65_7973;

/// Entries that are read at once.
const CHUNK: i64 = 2_000;

/// How long it is remembered that a key was removed, in hours.
const REMEMBERED_HOURS: i64 = 24 * 7;

/// A gateway that heard nothing for so long may have missed that a key was removed, and reads everything again.
const OUT_OF_TOUCH: Duration = Duration::from_secs(24 * 3600);

/// How often what is too old is removed.
const SWEEP: Duration = Duration::from_secs(3600);

/// The store.
pub struct SharedKv {
    entries: Arc<Entries>,
    /// Dropped first: it writes what is left, and needs the others for it.
    writer: Option<Writer>,
    runtime: Option<Runtime>,
}

/// What is known here.
#[derive(Default)]
struct Entries {
    memory: MemoryKv,
    pending: Mutex<Pending>,
    /// The database was read to its end once.
    read: AtomicBool,
}

/// What the database does not have yet. Whoever changes the memory holds it meanwhile.
#[derive(Default)]
struct Pending {
    fresh: BTreeMap<Key, Change>,
    /// In the batch that is being written, or in one whose fate is not known.
    writing: BTreeMap<Key, Change>,
}

#[derive(Debug, Clone, PartialEq)]
enum Change {
    /// The value is this now, or gone.
    Value(Option<Vec<u8>>),
    /// So much was added.
    Added(i64),
}

impl SharedKv {
    /// Reads what there is, if the database is there within its time; otherwise as soon as it is.
    pub fn open(url: &str, interval: Duration, refresh: Duration) -> anyhow::Result<Self> {
        let (database, runtime) = Database::open(url)?;
        let entries = Arc::new(Entries::default());
        let shown = format!("keys in {}", database.shown());
        let work =
            Exchange { database, entries: Arc::clone(&entries), refresh, session: None, batch: 0, seen: 0, heard: None, swept: None };
        let writer = Writer::start(shown, interval, Box::new(work))?;
        writer.flush();
        Ok(Self { entries, writer: Some(writer), runtime: Some(runtime) })
    }

    /// Does something to the memory, and notes what changed if something did.
    fn change<T>(&self, work: impl FnOnce(&MemoryKv, &mut Pending) -> T) -> T {
        let done = work(&self.entries.memory, &mut self.entries.pending());
        self.writer.iter().for_each(Writer::wake);
        done
    }
}

impl Drop for SharedKv {
    fn drop(&mut self) {
        drop(self.writer.take());
        let lost = {
            let pending = self.entries.pending();
            pending.fresh.len() + pending.writing.len()
        };
        if lost > 0 {
            tracing::error!(entries = lost, "changes of keys are lost: PostgreSQL was away when the gateway ended");
        }
        if let Some(runtime) = self.runtime.take() {
            // It may be dropped where blocking is not allowed.
            runtime.shutdown_background();
        }
    }
}

impl Kv for SharedKv {
    fn value(&self, key: &Key) -> Option<Vec<u8>> {
        self.entries.memory.value(key)
    }

    fn set(&self, key: Key, value: Vec<u8>) -> Result<(), KvError> {
        self.change(|memory, pending| {
            memory.set(key.clone(), value.clone())?;
            pending.fresh.insert(key, Change::Value(Some(value)));
            Ok(())
        })
    }

    fn delete(&self, key: &Key) {
        self.change(|memory, pending| {
            memory.delete(key);
            pending.fresh.insert(key.clone(), Change::Value(None));
        });
    }

    fn increment(&self, key: Key, delta: i64) -> Result<i64, KvError> {
        self.change(|memory, pending| {
            let sum = memory.increment(key.clone(), delta)?;
            let change = match pending.fresh.get(&key) {
                None => Change::Added(delta),
                Some(Change::Added(before)) => Change::Added(before.saturating_add(delta)),
                Some(Change::Value(_)) => Change::Value(Some(sum.to_string().into_bytes())),
            };
            pending.fresh.insert(key, change);
            Ok(sum)
        })
    }

    fn swap(&self, key: Key, seen: Option<&[u8]>, value: Vec<u8>) -> Result<Swap, KvError> {
        self.change(|memory, pending| {
            let swap = memory.swap(key.clone(), seen, value.clone())?;
            if swap == Swap::Done {
                pending.fresh.insert(key, Change::Value(Some(value)));
            }
            Ok(swap)
        })
    }

    fn keys(&self, namespace: &str, bucket: &str, after: Option<&str>, limit: usize) -> Vec<String> {
        self.entries.memory.keys(namespace, bucket, after, limit)
    }

    fn is_read(&self) -> bool {
        self.entries.read.load(Ordering::Acquire)
    }

    fn flush(&self) {
        self.writer.iter().for_each(Writer::flush);
    }
}

impl Entries {
    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The database has this value. What changed here meanwhile goes on top of it.
    fn learn(&self, key: Key, stored: Option<Vec<u8>>) {
        let pending = self.pending();
        let mut value = stored;
        for change in [pending.writing.get(&key), pending.fresh.get(&key)].into_iter().flatten() {
            value = match change {
                Change::Value(own) => own.clone(),
                Change::Added(own) => Some(number(value.as_deref()).saturating_add(*own).to_string().into_bytes()),
            };
        }
        let name = key.key.clone();
        match value {
            Some(value) => {
                if let Err(e) = self.memory.set(key, value) {
                    tracing::error!(key = name, error = %e, "a key of another gateway is not taken");
                }
            }
            None => self.memory.delete(&key),
        }
    }

    /// The database has these and no others.
    fn forget_others(&self, there: &BTreeSet<Key>) {
        let pending = self.pending();
        self.memory.retain(|key| there.contains(key) || pending.fresh.contains_key(key) || pending.writing.contains_key(key));
    }
}

/// A counter's number. What is none counts as 0, as it does in the database.
fn number(value: Option<&[u8]>) -> i64 {
    value.and_then(|v| std::str::from_utf8(v).ok()?.parse().ok()).unwrap_or(0)
}

/// What the writer's thread does: tells the database, and asks it.
struct Exchange {
    database: Database,
    entries: Arc<Entries>,
    refresh: Duration,
    /// This process's number, once the schema is what this gateway expects.
    session: Option<i64>,
    /// The number of the last batch.
    batch: i64,
    /// The newest version that is known.
    seen: i64,
    /// When the database was last read to its end.
    heard: Option<Instant>,
    swept: Option<Instant>,
}

impl Work for Exchange {
    fn write(&mut self) -> anyhow::Result<bool> {
        let session = match self.session {
            Some(session) => session,
            None => {
                self.database.migrate()?;
                let session = i64::try_from(self.database.session()?)?;
                *self.session.insert(session)
            }
        };
        self.tell(session)?;
        self.ask()?;
        self.sweep()?;
        Ok(!self.entries.pending().fresh.is_empty())
    }

    fn idle(&self) -> Duration {
        self.refresh
    }
}

impl Exchange {
    /// Writes what changed here. A batch whose fate is not known is written again under its number, and counts once.
    fn tell(&mut self, session: i64) -> anyhow::Result<()> {
        let changes = {
            let mut pending = self.entries.pending();
            if pending.writing.is_empty() {
                pending.writing = std::mem::take(&mut pending.fresh);
                self.batch += 1;
            }
            pending.writing.clone()
        };
        if changes.is_empty() {
            return Ok(());
        }
        let batch = self.batch;
        self.database.with(|client| async move {
            client.batch_execute("BEGIN").await.map_err(told)?;
            let written = write(&client, session, batch, &changes).await;
            let end = if written.is_ok() { "COMMIT" } else { "ROLLBACK" };
            client.batch_execute(end).await.map_err(told)?;
            written
        })?;
        self.entries.pending().writing.clear();
        Ok(())
    }

    /// Reads what changed since the last time.
    fn ask(&mut self) -> anyhow::Result<()> {
        let everything = self.heard.is_none_or(|at| at.elapsed() >= OUT_OF_TOUCH);
        let mut there = BTreeSet::new();
        let mut seen = if everything { 0 } else { self.seen };
        loop {
            let rows = self.database.with(|client| async move {
                let select =
                    "SELECT version, namespace, bucket, key, value FROM wasmgate_keys WHERE version > $1 ORDER BY version LIMIT $2";
                let select = client.prepare_cached(select).await.map_err(told)?;
                client.query(&select, &[&seen, &CHUNK]).await.map_err(told)
            })?;
            for row in &rows {
                seen = row.try_get(0)?;
                let key = Key { namespace: row.try_get(1)?, bucket: row.try_get(2)?, key: row.try_get(3)? };
                let value: Option<Vec<u8>> = row.try_get(4)?;
                if everything && value.is_some() {
                    there.insert(key.clone());
                }
                self.entries.learn(key, value);
            }
            if (rows.len() as i64) < CHUNK {
                break;
            }
        }
        if everything {
            self.entries.forget_others(&there);
        }
        (self.seen, self.heard) = (seen, Some(Instant::now()));
        self.entries.read.store(true, Ordering::Release);
        Ok(())
    }

    /// Forgets what was removed long ago.
    fn sweep(&mut self) -> anyhow::Result<()> {
        if self.swept.is_some_and(|at| at.elapsed() < SWEEP) {
            return Ok(());
        }
        self.database.with(|client| async move {
            let hours = REMEMBERED_HOURS as f64;
            let removed = "DELETE FROM wasmgate_keys WHERE value IS NULL AND at < now() - $1 * interval '1 hour'";
            client.execute(removed, &[&hours]).await.map_err(told)?;
            let batches = "DELETE FROM wasmgate_key_batches WHERE at < now() - $1 * interval '1 hour'";
            client.execute(batches, &[&hours]).await.map_err(told)
        })?;
        self.swept = Some(Instant::now());
        Ok(())
    }
}

/// Writes a batch, unless it is there.
async fn write(client: &Object, session: i64, batch: i64, changes: &BTreeMap<Key, Change>) -> anyhow::Result<()> {
    client.execute("SELECT pg_advisory_xact_lock($1)", &[&WRITERS_LOCK]).await.map_err(told)?;
    let new = "INSERT INTO wasmgate_key_batches AS known (session, batch) VALUES ($1, $2)
        ON CONFLICT (session) DO UPDATE SET batch = $2, at = now() WHERE known.batch < $2";
    if client.execute(new, &[&session, &batch]).await.map_err(told)? == 0 {
        return Ok(());
    }
    let (mut set, mut added): (Columns<'_, Option<&[u8]>>, Columns<'_, i64>) = Default::default();
    for (key, change) in changes {
        match change {
            Change::Value(value) => set.push(key, value.as_deref()),
            Change::Added(amount) => added.push(key, *amount),
        }
    }
    if !set.values.is_empty() {
        let upsert = "INSERT INTO wasmgate_keys (namespace, bucket, key, value, version)
            SELECT namespace, bucket, key, value, nextval('wasmgate_key_versions')
                FROM unnest($1::text[], $2::text[], $3::text[], $4::bytea[]) AS n(namespace, bucket, key, value)
            ON CONFLICT (namespace, bucket, key) DO UPDATE SET value = EXCLUDED.value, version = EXCLUDED.version, at = now()";
        let upsert = client.prepare_cached(upsert).await.map_err(told)?;
        client.execute(&upsert, &[&set.namespaces, &set.buckets, &set.keys, &set.values]).await.map_err(told).context("values")?;
    }
    if !added.values.is_empty() {
        // What is no number counts as 0: an entry that cannot be added to would hold up all others.
        let add = "INSERT INTO wasmgate_keys AS known (namespace, bucket, key, value, version)
            SELECT namespace, bucket, key, convert_to(added::text, 'UTF8'), nextval('wasmgate_key_versions')
                FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[]) AS n(namespace, bucket, key, added)
            ON CONFLICT (namespace, bucket, key) DO UPDATE SET version = EXCLUDED.version, at = now(), value = convert_to(
                greatest(least((CASE WHEN encode(known.value, 'escape') ~ '^-?[0-9]{1,19}$' THEN encode(known.value, 'escape')::numeric ELSE 0 END)
                    + encode(EXCLUDED.value, 'escape')::numeric, 9223372036854775807), -9223372036854775808)::text, 'UTF8')";
        let add = client.prepare_cached(add).await.map_err(told)?;
        client.execute(&add, &[&added.namespaces, &added.buckets, &added.keys, &added.values]).await.map_err(told).context("counters")?;
    }
    Ok(())
}

/// Keys and what goes with them, as arrays for one statement.
struct Columns<'a, T> {
    namespaces: Vec<&'a str>,
    buckets: Vec<&'a str>,
    keys: Vec<&'a str>,
    values: Vec<T>,
}

impl<T> Default for Columns<'_, T> {
    fn default() -> Self {
        Self { namespaces: Vec::new(), buckets: Vec::new(), keys: Vec::new(), values: Vec::new() }
    }
}

impl<'a, T> Columns<'a, T> {
    fn push(&mut self, key: &'a Key, value: T) {
        self.namespaces.push(&key.namespace);
        self.buckets.push(&key.bucket);
        self.keys.push(&key.key);
        self.values.push(value);
    }
}

#[cfg(test)]
mod tests {
    use wasmgate_tests::databases::Postgres;

    use super::*;

    fn key(key: &str) -> Key {
        Key { namespace: "n".into(), bucket: "b".into(), key: key.into() }
    }

    /// Nothing happens by itself: whoever flushes tells and asks.
    fn open(url: &str) -> SharedKv {
        SharedKv::open(url, Duration::from_secs(3600), Duration::from_secs(3600)).expect("an address")
    }

    #[test]
    fn what_one_writes_the_others_know_and_counters_are_added_up() {
        let Some(mut postgres) = Postgres::start() else { return };
        let url = postgres.database("keys");
        let (a, b) = (open(&url), open(&url));
        a.set(key("k"), b"one".to_vec()).unwrap();
        a.set(key("bytes"), vec![0, 255, b'\\']).unwrap();
        assert_eq!((a.increment(key("n"), 5), b.increment(key("n"), 7)), (Ok(5), Ok(7)));
        for kv in [&a, &b, &a] {
            kv.flush();
        }
        assert_eq!((b.value(&key("k")), b.value(&key("bytes"))), (Some(b"one".to_vec()), Some(vec![0, 255, b'\\'])));
        assert_eq!((a.value(&key("n")), b.value(&key("n"))), (Some(b"12".to_vec()), Some(b"12".to_vec())));
        // What changed here and is not told yet stays on top of what comes in.
        a.increment(key("n"), 100).unwrap();
        b.increment(key("n"), -2).unwrap();
        b.set(key("k"), b"two".to_vec()).unwrap();
        b.flush();
        assert_eq!((a.value(&key("n")), b.value(&key("n"))), (Some(b"112".to_vec()), Some(b"10".to_vec())));
        a.flush();
        assert_eq!((a.value(&key("n")), a.value(&key("k"))), (Some(b"110".to_vec()), Some(b"two".to_vec())));
        // A key that is removed at one is gone at the other, and one that begins later never knew it.
        a.delete(&key("k"));
        a.set(key("count"), b"no number".to_vec()).unwrap();
        a.flush();
        b.flush();
        assert_eq!(b.value(&key("k")), None);
        assert_eq!(b.increment(key("count"), 1), Err(KvError::NotANumber));
        let c = open(&url);
        assert_eq!((c.value(&key("k")), c.value(&key("n"))), (None, Some(b"110".to_vec())));
        assert_eq!(c.keys("n", "b", None, 10), ["bytes", "count", "n"]);

        // While the database is away each works with what it knows; then they agree again.
        postgres.end();
        a.increment(key("n"), 1).unwrap();
        b.increment(key("n"), 1).unwrap();
        a.set(key("made"), b"meanwhile".to_vec()).unwrap();
        a.flush();
        b.flush();
        assert_eq!((a.value(&key("n")), b.value(&key("made"))), (Some(b"111".to_vec()), None));
        postgres.begin();
        // A connection that broke is seen by the first one who uses it.
        let agreed = (0..50).any(|_| {
            for kv in [&a, &b, &a] {
                kv.flush();
            }
            let seen = |kv: &SharedKv| (kv.value(&key("n")), kv.value(&key("made")));
            seen(&a) == (Some(b"112".to_vec()), Some(b"meanwhile".to_vec())) && seen(&a) == seen(&b)
        });
        assert!(agreed, "{:?} {:?}", a.value(&key("n")), b.value(&key("n")));
        drop((a, b, c));
        assert_eq!(postgres.query("keys", "SELECT encode(value, 'escape') FROM wasmgate_keys WHERE key = 'n'"), "112");
    }

    #[test]
    fn a_batch_whose_fate_is_not_known_counts_once() {
        let Some(postgres) = Postgres::start() else { return };
        let (database, _runtime) = Database::open(&postgres.database("keys")).unwrap();
        database.migrate().unwrap();
        let tell = |batch: i64, amount: i64| {
            let changes = BTreeMap::from([(key("n"), Change::Added(amount))]);
            database.with(|client| async move { write(&client, 1, batch, &changes).await }).unwrap();
        };
        tell(1, 5);
        tell(1, 5);
        tell(2, 1);
        assert_eq!(postgres.query("keys", "SELECT encode(value, 'escape') FROM wasmgate_keys"), "6");
        tell(3, i64::MAX);
        assert_eq!(postgres.query("keys", "SELECT encode(value, 'escape') FROM wasmgate_keys"), i64::MAX.to_string());
    }
}
