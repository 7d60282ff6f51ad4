//! Rows in PostgreSQL, which several gateways share.
//!
//! The database may be away, at the start as well: rows wait in the queue, and the writer's thread connects again by itself. A row is stored
//! as every store has it, and once more as `jsonb`, for people and for an index that equal texts are found with.
//!
//! What is absent: nothing here runs on the runtime that serves requests. There is one thread for the connections, and one that writes.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use deadpool_postgres::{Manager, ManagerConfig, Object, Pool, RecyclingMethod};
use tokio::runtime::{Handle, Runtime};
use tokio_postgres::config::SslMode;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Config, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::batches::{Batches, Sink};
use super::row::{self, Fields, Position};
use super::scan::{self, Scan, Span, Visit};
use super::waiting::{Bounds, Tables, Waiting, merge};
use super::{Comparison, FieldValue, Filter, Group, Grouping, Health, Page, Records, RecordsError, Row, Selection};
use crate::storage::writer::Writer;

/// Steps from an empty schema to what this gateway expects; `wasmgate_schema` counts those that were taken. Only ever add to them.
const MIGRATIONS: [&str; 1] = ["
    CREATE TABLE wasmgate_records (
        namespace text NOT NULL,
        tbl text NOT NULL,
        at_ms bigint NOT NULL,
        number bigint NOT NULL,
        row bytea NOT NULL,
        fields jsonb NOT NULL,
        PRIMARY KEY (namespace, tbl, at_ms, number)
    );
    CREATE INDEX wasmgate_records_fields ON wasmgate_records USING gin (fields jsonb_path_ops);
    CREATE TABLE wasmgate_record_tables (namespace text NOT NULL, tbl text NOT NULL, PRIMARY KEY (namespace, tbl));
    CREATE SEQUENCE wasmgate_sessions;
"];

/// Gateways that start together take turns in preparing the schema: the name of a lock among them.
const SCHEMA_LOCK: i64 = 0x7761_736d_6761_7465;

/// Connections at once: one writes, others read.
const CONNECTIONS: usize = 5;

/// How long a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long one statement may take.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(30);

/// Rows that are read at once: few first, because many pages are short.
const CHUNKS: std::ops::RangeInclusive<i64> = 128..=4096;

/// Reads a URL or a list of `name=value`. An error does not repeat it: it may hold a password.
pub fn parse_url(url: &str) -> Result<Config, String> {
    let config: Config = url.parse().map_err(|e: tokio_postgres::Error| {
        let reason = std::error::Error::source(&e).map_or_else(|| e.to_string(), ToString::to_string);
        format!("it is no address of PostgreSQL: {reason}. Expected `postgres://USER:PASSWORD@HOST:PORT/DATABASE`")
    })?;
    if config.get_hosts().is_empty() {
        return Err("it names no host. Expected `postgres://USER:PASSWORD@HOST:PORT/DATABASE`".into());
    }
    Ok(config)
}

/// The rows.
pub struct PostgresRecords {
    waiting: Arc<Waiting>,
    /// Dropped first: it writes what is left, and needs the others for it.
    writer: Option<Writer>,
    database: Database,
    runtime: Option<Runtime>,
}

/// The connections, for threads that may wait.
#[derive(Clone)]
struct Database {
    pool: Pool,
    handle: Handle,
    /// The schema is what this gateway expects, and this process has a session.
    begun: Arc<Mutex<bool>>,
}

impl PostgresRecords {
    /// Rows older than `retain` are deleted. Whether the database is there is seen by the writer's thread.
    pub fn open(url: &str, retain: Option<Duration>, bounds: Bounds, interval: Duration) -> anyhow::Result<Self> {
        let mut config = parse_url(url).map_err(|reason| anyhow!(reason))?;
        if config.get_application_name().is_none() {
            config.application_name("wasmgate");
        }
        config.connect_timeout(CONNECT_TIMEOUT);
        let shown = shown(&config);
        let recycling = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let manager = if config.get_ssl_mode() == SslMode::Require {
            Manager::from_config(config, tls()?, recycling)
        } else {
            // What does not have to be encrypted would not be verified either.
            config.ssl_mode(SslMode::Disable);
            Manager::from_config(config, NoTls, recycling)
        };
        let pool = Pool::builder(manager).max_size(CONNECTIONS).runtime(deadpool_postgres::Runtime::Tokio1);
        let pool = pool.wait_timeout(Some(CONNECT_TIMEOUT)).create_timeout(Some(CONNECT_TIMEOUT)).build()?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).thread_name("postgres").enable_all().build()?;
        let database = Database { pool, handle: runtime.handle().clone(), begun: Arc::default() };
        let waiting = Arc::new(Waiting::new(bounds, [], 0));
        let sink = PostgresSink { database: database.clone() };
        let work = Batches::new(Arc::clone(&waiting), sink, retain);
        let writer = Writer::start(shown, interval, Box::new(work))?;
        // Tables that are there already, and a wrong address, are seen before the first row.
        writer.wake();
        Ok(Self { waiting, writer: Some(writer), database, runtime: Some(runtime) })
    }
}

impl Drop for PostgresRecords {
    fn drop(&mut self) {
        drop(self.writer.take());
        let lost = self.waiting.health().waiting;
        if lost > 0 {
            tracing::error!(rows = lost, "rows are lost: PostgreSQL was away when the gateway ended");
        }
        if let Some(runtime) = self.runtime.take() {
            // It may be dropped where blocking is not allowed.
            runtime.shutdown_background();
        }
    }
}

/// Where the database is, without what is secret.
fn shown(config: &Config) -> String {
    use tokio_postgres::config::Host;
    let hosts = config.get_hosts().iter().map(|host| match host {
        Host::Tcp(name) => name.clone(),
        Host::Unix(path) => path.display().to_string(),
    });
    format!("postgres {}/{}", hosts.collect::<Vec<_>>().join(","), config.get_dbname().unwrap_or_default())
}

/// Verified against the certificates of the system, or those of `SSL_CERT_FILE`.
fn tls() -> anyhow::Result<MakeRustlsConnect> {
    let (tls, skipped) = MakeRustlsConnect::with_native_certs()
        .map_err(|errors| anyhow!("there are no certificates to verify PostgreSQL's with: {}", listed(&errors)))?;
    if !skipped.is_empty() {
        tracing::warn!(skipped = listed(&skipped), "some of the system's certificates cannot be read");
    }
    Ok(tls)
}

fn listed(errors: &[impl std::fmt::Display]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// An error with what the server said, which its own text leaves out.
fn told(error: tokio_postgres::Error) -> anyhow::Error {
    match error.as_db_error() {
        Some(said) => anyhow!("{} ({})", said.message(), said.code().code()),
        None => error.into(),
    }
}

impl Database {
    /// Runs something with a connection, in bounded time. A connection whose answer did not come is not used again.
    fn with<T, F: Future<Output = anyhow::Result<T>>>(&self, work: impl FnOnce(Arc<Object>) -> F) -> anyhow::Result<T> {
        self.handle.block_on(async {
            let client = Arc::new(self.pool.get().await.map_err(|e| anyhow!("no connection: {}", chain(&e)))?);
            let done = tokio::time::timeout(STATEMENT_TIMEOUT, work(Arc::clone(&client))).await;
            if done.is_err()
                && let Some(client) = Arc::into_inner(client)
            {
                drop(Object::take(client));
            }
            done.with_context(|| format!("it took longer than {} s", STATEMENT_TIMEOUT.as_secs()))?
        })
    }

    /// Brings the schema to what this gateway expects and gives the rows that wait their numbers. Whoever comes first does it, to read or to
    /// write: rows without a session's number would be shown before older ones of the same time.
    fn begin(&self, waiting: &Waiting) -> anyhow::Result<()> {
        let mut begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        if *begun {
            return Ok(());
        }
        self.with(|client| async move {
            client.batch_execute("BEGIN").await.map_err(told)?;
            let migrated = migrate(&client).await;
            let end = if migrated.is_ok() { "COMMIT" } else { "ROLLBACK" };
            client.batch_execute(end).await.map_err(told)?;
            migrated
        })?;
        let session = self.with(|client| async move {
            Ok(client.query_one("SELECT nextval('wasmgate_sessions')", &[]).await.map_err(told)?.try_get::<_, i64>(0)?)
        })?;
        let tables = self.tables()?;
        waiting.begin_session(u64::try_from(session)?);
        waiting.know_tables(tables);
        *begun = true;
        Ok(())
    }

    /// All tables of all namespaces.
    fn tables(&self) -> anyhow::Result<Vec<(String, String)>> {
        self.with(|client| async move {
            let rows = client.query("SELECT namespace, tbl FROM wasmgate_record_tables", &[]).await.map_err(told)?;
            Ok(rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect::<Result<Vec<_>, tokio_postgres::Error>>()?)
        })
    }
}

/// An error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |e| e.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

async fn migrate(client: &Object) -> anyhow::Result<()> {
    client.execute("SELECT pg_advisory_xact_lock($1)", &[&SCHEMA_LOCK]).await.map_err(told)?;
    // Whoever may not make tables can still use those that are there.
    let there: bool = client.query_one("SELECT to_regclass('wasmgate_schema') IS NOT NULL", &[]).await.map_err(told)?.try_get(0)?;
    if !there {
        client.batch_execute("CREATE TABLE wasmgate_schema (version integer NOT NULL)").await.map_err(told)?;
    }
    let row = client.query_opt("SELECT version FROM wasmgate_schema", &[]).await.map_err(told)?;
    let version = row.map(|row| row.try_get::<_, i32>(0)).transpose()?.unwrap_or(0);
    let Some(steps) = usize::try_from(version).ok().and_then(|v| MIGRATIONS.get(v..)) else {
        bail!("its schema has version {version}, and this gateway knows none after {}: it was written by a newer one", MIGRATIONS.len());
    };
    if steps.is_empty() {
        return Ok(());
    }
    for step in steps {
        client.batch_execute(step).await.map_err(told)?;
    }
    client.batch_execute("DELETE FROM wasmgate_schema").await.map_err(told)?;
    let version = i32::try_from(MIGRATIONS.len()).unwrap_or(i32::MAX);
    client.execute("INSERT INTO wasmgate_schema VALUES ($1)", &[&version]).await.map_err(told)?;
    Ok(())
}

/// Numbers of the database have a sign; those of rows are never so great.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// What the writer's thread uses.
struct PostgresSink {
    database: Database,
}

impl Sink for PostgresSink {
    fn prepare(&mut self, waiting: &Waiting) -> anyhow::Result<()> {
        self.database.begin(waiting)
    }

    fn write(&mut self, rows: &Tables) -> anyhow::Result<()> {
        let (mut namespaces, mut tables, mut times, mut numbers) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let (mut stored, mut fields) = (Vec::new(), Vec::new());
        for (namespace, of_namespace) in rows {
            for (table, rows) in of_namespace {
                for (&(at_ms, number), row) in rows {
                    namespaces.push(namespace.as_str());
                    tables.push(table.as_str());
                    times.push(signed(at_ms));
                    numbers.push(signed(number));
                    stored.push(&**row);
                    fields.push(Fields::decode(row).context("a row that was just made")?.to_json());
                }
            }
        }
        let (namespaces, tables) = (&namespaces, &tables);
        self.database.with(|client| async move {
            // One statement is one transaction.
            let insert = "WITH rows AS (SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::bytea[], $6::text[])
                    AS r(namespace, tbl, at_ms, number, row, fields)),
                known AS (INSERT INTO wasmgate_record_tables SELECT DISTINCT namespace, tbl FROM rows ORDER BY 1, 2 ON CONFLICT DO NOTHING)
                INSERT INTO wasmgate_records SELECT namespace, tbl, at_ms, number, row, fields::jsonb FROM rows ON CONFLICT DO NOTHING";
            let insert = client.prepare_cached(insert).await.map_err(told)?;
            client.execute(&insert, &[namespaces, tables, &times, &numbers, &stored, &fields]).await.map_err(told)?;
            Ok(())
        })
    }

    fn expire(&mut self, namespace: &str, table: &str, cutoff: u64, most: usize) -> anyhow::Result<usize> {
        let (cutoff, most) = (signed(cutoff), signed(most as u64));
        let deleted = self.database.with(|client| async move {
            let delete = "DELETE FROM wasmgate_records WHERE (namespace, tbl, at_ms, number) IN (SELECT namespace, tbl, at_ms, number
                FROM wasmgate_records WHERE namespace = $1 AND tbl = $2 AND at_ms < $3 ORDER BY at_ms, number LIMIT $4)";
            let delete = client.prepare_cached(delete).await.map_err(told)?;
            client.execute(&delete, &[&namespace, &table, &cutoff, &most]).await.map_err(told)
        })?;
        Ok(usize::try_from(deleted)?)
    }
}

/// What a query is told of a database that cannot be read; the log is told more.
fn unreadable(error: anyhow::Error) -> RecordsError {
    tracing::error!(error = format!("{error:#}"), "rows could not be read");
    RecordsError::Unreadable
}

/// Rows that pass have at least these fields, as a `jsonb` object: what the index can find. Numbers are left to the gateway, which compares
/// whole ones with others as no database does.
fn must_contain(filters: &[Filter]) -> Option<String> {
    let mut object = serde_json::Map::new();
    for filter in filters.iter().filter(|f| f.comparison == Comparison::Equal && !f.field.contains('\0')) {
        match &filter.value {
            FieldValue::Text(text) if !text.contains('\0') => object.insert(filter.field.clone(), text.as_str().into()),
            FieldValue::Flag(flag) => object.insert(filter.field.clone(), (*flag).into()),
            _ => None,
        };
    }
    Some(object).filter(|object| !object.is_empty()).map(|object| serde_json::Value::Object(object).to_string())
}

impl Scan for PostgresRecords {
    fn visit(&self, span: Span<'_>, each: &mut Visit<'_>) -> Result<(), RecordsError> {
        self.database.begin(&self.waiting).map_err(unreadable)?;
        // In this order: what is written in between is in both, and counts once.
        let waiting = self.waiting.within(&span);
        let contained = must_contain(span.filters);
        let mut chunk: VecDeque<(Position, Vec<u8>)> = VecDeque::new();
        let mut rest = Some((span.below, *CHUNKS.start()));
        let next = || {
            if chunk.is_empty()
                && let Some((below, most)) = rest.take()
            {
                chunk = self.database.with(|client| chunk_of(client, span, below, most, contained.as_deref())).map_err(unreadable)?;
                if chunk.len() as i64 == most {
                    rest = chunk.back().map(|(last, _)| (*last, (most * 4).min(*CHUNKS.end())));
                }
            }
            Ok(chunk.pop_front())
        };
        merge(waiting, next, each)
    }
}

/// The newest rows of a span that are below a position.
async fn chunk_of(
    client: Arc<Object>,
    span: Span<'_>,
    below: Position,
    most: i64,
    contained: Option<&str>,
) -> anyhow::Result<VecDeque<(Position, Vec<u8>)>> {
    let contains = if contained.is_some() { "AND fields @> $7::text::jsonb" } else { "" };
    let select = format!(
        "SELECT at_ms, number, row FROM wasmgate_records WHERE namespace = $1 AND tbl = $2
            AND at_ms >= $3 AND (at_ms, number) < ($4, $5) {contains} ORDER BY at_ms DESC, number DESC LIMIT $6"
    );
    let select = client.prepare_cached(&select).await.map_err(told)?;
    let (from, below) = (signed(span.from.0), (signed(below.0), signed(below.1)));
    let mut values: Vec<&(dyn ToSql + Sync)> = vec![&span.namespace, &span.table, &from, &below.0, &below.1, &most];
    values.extend(contained.as_ref().map(|text| text as &(dyn ToSql + Sync)));
    let rows = client.query(&select, &values).await.map_err(told)?;
    let unsigned = |n: i64| u64::try_from(n).unwrap_or(0);
    let row = |row: &tokio_postgres::Row| -> Result<_, tokio_postgres::Error> {
        Ok(((unsigned(row.try_get(0)?), unsigned(row.try_get(1)?)), row.try_get(2)?))
    };
    Ok(rows.iter().map(row).collect::<Result<_, _>>()?)
}

impl Records for PostgresRecords {
    fn append(&self, namespace: &str, table: &str, rows: Vec<Row>) -> Result<(), RecordsError> {
        let rows = row::encode(table, &rows)?;
        if !rows.is_empty() {
            self.waiting.append(namespace, table, rows)?;
            self.writer.iter().for_each(Writer::wake);
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
        self.database.begin(&self.waiting).map_err(unreadable)?;
        self.waiting.know_tables(self.database.tables().map_err(unreadable)?);
        Ok(self.waiting.tables())
    }

    fn health(&self) -> Health {
        self.waiting.health()
    }

    fn flush(&self) {
        self.writer.iter().for_each(Writer::flush);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_not_repeated() {
        assert!(parse_url("postgres://u:secret@h:5433/d?sslmode=require").is_ok());
        assert!(parse_url("host=/run/postgresql dbname=d").is_ok());
        for wrong in ["", "postgres://u:secret@h:port/d", "redis://u:secret@h", "postgres:///d"] {
            let reason = parse_url(wrong).unwrap_err();
            assert!(reason.contains("Expected `postgres://") && !reason.contains("secret"), "{wrong}: {reason}");
        }
    }

    #[test]
    fn the_index_is_asked_for_equal_texts_only() {
        let filter = |field: &str, comparison, value| Filter { field: field.into(), comparison, value };
        let filters = [
            filter("key", Comparison::Equal, FieldValue::Text("a\"b".into())),
            filter("ok", Comparison::Equal, FieldValue::Flag(true)),
            filter("n", Comparison::Equal, FieldValue::Integer(1)),
            filter("t", Comparison::Equal, FieldValue::Text("\0".into())),
            filter("model", Comparison::NotEqual, FieldValue::Text("m".into())),
        ];
        assert_eq!(must_contain(&filters).unwrap(), r#"{"key":"a\"b","ok":true}"#);
        assert_eq!(must_contain(&filters[2..]), None);
    }
}
