//! Rows in an SQLite file, which other programs can read while the gateway writes (<https://sqlite.org/wal.html>).
//!
//! One connection writes, in the writer's thread; reading takes others. A row is stored as every store has it, and once more as JSON for people.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, bail};
use rusqlite::{Connection, OpenFlags, TransactionBehavior, params};

use super::batches::{Batches, Sink};
use super::row::{self, Fields, Position};
use super::scan::{self, Scan, Span, Visit};
use super::waiting::{Bounds, Tables, Waiting, merge};
use super::{Group, Grouping, Health, Page, Records, RecordsError, Row, Selection};
use crate::storage::writer::Writer;

/// Steps from an empty file to what this gateway expects; `user_version` counts those that were taken. Only ever add to them.
const MIGRATIONS: [&str; 1] = ["
    CREATE TABLE wasmgate_records (
        namespace TEXT NOT NULL,
        tbl TEXT NOT NULL,
        at_ms INTEGER NOT NULL,
        number INTEGER NOT NULL,
        row BLOB NOT NULL,
        fields TEXT NOT NULL,
        PRIMARY KEY (namespace, tbl, at_ms, number)
    ) WITHOUT ROWID;
    CREATE TABLE wasmgate_record_tables (namespace TEXT NOT NULL, tbl TEXT NOT NULL, PRIMARY KEY (namespace, tbl)) WITHOUT ROWID;
    CREATE TABLE wasmgate_sessions (last INTEGER NOT NULL);
    INSERT INTO wasmgate_sessions VALUES (0);
"];

/// How long one waits for another process that writes.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Connections for reading that are kept.
const IDLE_READERS: usize = 4;

/// The rows.
pub struct SqliteRecords {
    waiting: Arc<Waiting>,
    writer: Writer,
    readers: Readers,
}

struct Readers {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
}

impl SqliteRecords {
    /// Opens a file, which is made when it does not exist. Rows older than `retain` are deleted.
    pub fn open(path: &Path, retain: Option<Duration>, bounds: Bounds, interval: Duration) -> anyhow::Result<Self> {
        let mut connection = Connection::open(path)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        // Readers and the writer do not wait for each other.
        connection.pragma_update(None, "journal_mode", "wal")?;
        // A commit is on disk when it returns.
        connection.pragma_update(None, "synchronous", "full")?;
        let (session, tables) = begin(&mut connection)?;
        let waiting = Arc::new(Waiting::new(bounds, tables, 0));
        waiting.begin_session(session);
        let sink = SqliteSink { connection };
        let work = Batches::new(Arc::clone(&waiting), sink, retain);
        let writer = Writer::start(path.display().to_string(), interval, Box::new(work))?;
        Ok(Self { waiting, writer, readers: Readers { path: path.to_owned(), idle: Mutex::default() } })
    }
}

/// Brings the file to what this gateway expects, and tells the number of this session and the tables that are there.
fn begin(connection: &mut Connection) -> anyhow::Result<(u64, Vec<(String, String)>)> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let version: usize = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let Some(steps) = MIGRATIONS.get(version..) else {
        bail!("its schema has version {version}, and this gateway knows none after {}: it was written by a newer one", MIGRATIONS.len());
    };
    if version == 0 {
        let others: u64 = transaction.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
        if others > 0 {
            bail!("it is another program's database: it has tables, and none of them is the gateway's");
        }
    }
    for step in steps {
        transaction.execute_batch(step)?;
    }
    transaction.pragma_update(None, "user_version", MIGRATIONS.len())?;
    let session = transaction.query_row("UPDATE wasmgate_sessions SET last = last + 1 RETURNING last", [], |row| row.get(0))?;
    let tables = {
        let mut tables = transaction.prepare("SELECT namespace, tbl FROM wasmgate_record_tables")?;
        let rows = tables.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        rows.collect::<Result<_, _>>()?
    };
    transaction.commit()?;
    Ok((session, tables))
}

/// Numbers of the file have a sign; those of rows are never so great.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The writer's connection.
struct SqliteSink {
    connection: Connection,
}

impl Sink for SqliteSink {
    fn prepare(&mut self, _waiting: &Waiting) -> anyhow::Result<()> {
        Ok(())
    }

    fn write(&mut self, rows: &Tables) -> anyhow::Result<()> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        {
            let mut known = transaction.prepare_cached("INSERT OR IGNORE INTO wasmgate_record_tables VALUES (?, ?)")?;
            let mut insert = transaction.prepare_cached("INSERT OR IGNORE INTO wasmgate_records VALUES (?, ?, ?, ?, ?, ?)")?;
            for (namespace, tables) in rows {
                for (table, rows) in tables {
                    known.execute(params![namespace, table])?;
                    for (&(at_ms, number), row) in rows {
                        let fields = Fields::decode(row).context("a row that was just made")?.to_json();
                        insert.execute(params![namespace, table, signed(at_ms), signed(number), &**row, fields])?;
                    }
                }
            }
        }
        transaction.commit()?;
        Ok(())
    }

    fn expire(&mut self, namespace: &str, table: &str, cutoff: u64, most: usize) -> anyhow::Result<usize> {
        let delete = "DELETE FROM wasmgate_records WHERE (namespace, tbl, at_ms, number) IN (SELECT namespace, tbl, at_ms, number
            FROM wasmgate_records WHERE namespace = ?1 AND tbl = ?2 AND at_ms < ?3 ORDER BY at_ms, number LIMIT ?4)";
        Ok(self.connection.prepare_cached(delete)?.execute(params![namespace, table, signed(cutoff), most])?)
    }
}

impl Readers {
    /// Runs something with a connection that cannot write.
    fn with<T>(&self, read: impl FnOnce(&Connection) -> Result<T, RecordsError>) -> Result<T, RecordsError> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let connection = match idle {
            Some(connection) => connection,
            None => self.connect().map_err(unreadable)?,
        };
        let done = read(&connection)?;
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE_READERS {
            idle.push(connection);
        }
        Ok(done)
    }

    fn connect(&self) -> rusqlite::Result<Connection> {
        let connection = Connection::open_with_flags(&self.path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        Ok(connection)
    }
}

/// What a query is told of a file that cannot be read; the log is told more.
fn unreadable(error: rusqlite::Error) -> RecordsError {
    tracing::error!(error = %error, "rows could not be read");
    RecordsError::Unreadable
}

impl Scan for SqliteRecords {
    fn visit(&self, span: Span<'_>, each: &mut Visit<'_>) -> Result<(), RecordsError> {
        // In this order: what is written in between is in both, and counts once.
        let waiting = self.waiting.within(&span);
        self.readers.with(|connection| {
            let select = "SELECT at_ms, number, row FROM wasmgate_records WHERE namespace = ?1 AND tbl = ?2
                AND at_ms >= ?3 AND (at_ms, number) < (?4, ?5) ORDER BY at_ms DESC, number DESC";
            let mut statement = connection.prepare_cached(select).map_err(unreadable)?;
            let Span { namespace, table, from, below, .. } = span;
            let limits = params![namespace, table, signed(from.0), signed(below.0), signed(below.1)];
            let mut rows = statement.query(limits).map_err(unreadable)?;
            let next = || -> Result<Option<(Position, Vec<u8>)>, RecordsError> {
                let Some(row) = rows.next().map_err(unreadable)? else { return Ok(None) };
                let read = || -> rusqlite::Result<(Position, Vec<u8>)> { Ok(((row.get(0)?, row.get(1)?), row.get(2)?)) };
                read().map(Some).map_err(unreadable)
            };
            merge(waiting, next, each)
        })
    }
}

impl Records for SqliteRecords {
    fn append(&self, namespace: &str, table: &str, rows: Vec<Row>) -> Result<(), RecordsError> {
        let rows = row::encode(table, &rows)?;
        if !rows.is_empty() {
            self.waiting.append(namespace, table, rows)?;
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
        Ok(self.waiting.tables())
    }

    fn health(&self) -> Health {
        self.waiting.health()
    }

    fn flush(&self) {
        self.writer.flush();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(path: &Path) -> Result<SqliteRecords, String> {
        SqliteRecords::open(path, None, Bounds::default(), Duration::from_millis(1)).map_err(|e| format!("{e:#}"))
    }

    #[test]
    fn files_of_others_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let text = folder.path().join("text.db");
        std::fs::write(&text, "this is no database, but it is long enough to be looked at as if it were one").unwrap();
        assert!(open(&text).err().unwrap().contains("not a database"));

        let other = folder.path().join("other.db");
        Connection::open(&other).unwrap().execute_batch("CREATE TABLE theirs (a)").unwrap();
        assert!(open(&other).err().unwrap().contains("another program's"));

        let newer = folder.path().join("newer.db");
        Connection::open(&newer).unwrap().execute_batch("PRAGMA user_version = 99").unwrap();
        assert!(open(&newer).err().unwrap().contains("newer one"));
    }

    #[test]
    fn people_read_fields_as_json() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.db");
        let records = open(&path).unwrap();
        let fields = [
            ("key", super::super::FieldValue::Text("a\0b".into())),
            ("n", super::super::FieldValue::Integer(7)),
            ("n", super::super::FieldValue::Integer(8)),
            ("f", super::super::FieldValue::Number(f64::NAN)),
        ];
        let row = Row { at_ms: 1, fields: fields.map(|(n, v)| (n.to_owned(), v)).into() };
        records.append("usage", "requests", vec![row]).unwrap();
        records.flush();
        // Another program, while the gateway runs.
        let reader = Connection::open(&path).unwrap();
        let (text, n): (String, i64) =
            reader.query_row("SELECT fields, fields ->> 'n' FROM wasmgate_records", [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        assert_eq!((text.as_str(), n), ("{\"key\":\"a\u{fffd}b\",\"n\":7,\"f\":null}", 7));
    }
}
