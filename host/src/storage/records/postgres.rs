//! Rows in PostgreSQL, which several gateways share.
//!
//! The database may be away, at the start as well: rows wait in the queue, and the writer's thread connects again by itself. A row is stored
//! as every store has it, and once more as `jsonb`, for people and for an index that equal texts are found with.
//!
//! What is absent: nothing here runs on the runtime that serves requests. There is one thread for the connections, and one that writes.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use deadpool_postgres::Object;
use tokio::runtime::Runtime;
use tokio_postgres::types::ToSql;

use super::batches::{Batches, Sink};
use super::row::{self, Fields, Position};
use super::scan::{self, Scan, Span, Visit};
use super::waiting::{Bounds, Tables, Waiting, merge};
use super::{Comparison, FieldValue, Filter, Group, Grouping, Health, Page, Records, RecordsError, Row, Selection};
use crate::storage::postgres::{Database, told};
use crate::storage::writer::Writer;

/// Rows that are read at once: few first, because many pages are short.
const CHUNKS: std::ops::RangeInclusive<i64> = 128..=4096;

/// The rows.
pub struct PostgresRecords {
    waiting: Arc<Waiting>,
    /// Dropped first: it writes what is left, and needs the others for it.
    writer: Option<Writer>,
    stored: Stored,
    runtime: Option<Runtime>,
}

/// The tables.
#[derive(Clone)]
struct Stored {
    database: Database,
    /// The schema is what this gateway expects, and this process has a session.
    begun: Arc<Mutex<bool>>,
}

impl PostgresRecords {
    /// Rows older than `retain` are deleted. Whether the database is there is seen by the writer's thread.
    pub fn open(url: &str, retain: Option<Duration>, bounds: Bounds, interval: Duration) -> anyhow::Result<Self> {
        let (database, runtime) = Database::open(url)?;
        let shown = database.shown().to_owned();
        let stored = Stored { database, begun: Arc::default() };
        let waiting = Arc::new(Waiting::new(bounds, [], 0));
        let sink = PostgresSink { stored: stored.clone() };
        let work = Batches::new(Arc::clone(&waiting), sink, retain);
        let writer = Writer::start(shown, interval, Box::new(work))?;
        // Tables that are there already, and a wrong address, are seen before the first row.
        writer.wake();
        Ok(Self { waiting, writer: Some(writer), stored, runtime: Some(runtime) })
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

impl Stored {
    /// Brings the schema to what this gateway expects and gives the rows that wait their numbers. Whoever comes first does it, to read or to
    /// write: rows without a session's number would be shown before older ones of the same time.
    fn begin(&self, waiting: &Waiting) -> anyhow::Result<()> {
        let mut begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        if *begun {
            return Ok(());
        }
        self.database.migrate()?;
        let session = self.database.session()?;
        let tables = self.tables()?;
        waiting.begin_session(session);
        waiting.know_tables(tables);
        *begun = true;
        Ok(())
    }

    /// All tables of all namespaces.
    fn tables(&self) -> anyhow::Result<Vec<(String, String)>> {
        self.database.with(|client| async move {
            let rows = client.query("SELECT namespace, tbl FROM wasmgate_record_tables", &[]).await.map_err(told)?;
            Ok(rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect::<Result<Vec<_>, tokio_postgres::Error>>()?)
        })
    }
}

/// Numbers of the database have a sign; those of rows are never so great.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// What the writer's thread uses.
struct PostgresSink {
    stored: Stored,
}

impl Sink for PostgresSink {
    fn prepare(&mut self, waiting: &Waiting) -> anyhow::Result<()> {
        self.stored.begin(waiting)
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
        self.stored.database.with(|client| async move {
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
        let deleted = self.stored.database.with(|client| async move {
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
        self.stored.begin(&self.waiting).map_err(unreadable)?;
        // In this order: what is written in between is in both, and counts once.
        let waiting = self.waiting.within(&span);
        let contained = must_contain(span.filters);
        let mut chunk: VecDeque<(Position, Vec<u8>)> = VecDeque::new();
        let mut rest = Some((span.below, *CHUNKS.start()));
        let next = || {
            if chunk.is_empty()
                && let Some((below, most)) = rest.take()
            {
                chunk =
                    self.stored.database.with(|client| chunk_of(client, span, below, most, contained.as_deref())).map_err(unreadable)?;
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
        self.stored.begin(&self.waiting).map_err(unreadable)?;
        self.waiting.know_tables(self.stored.tables().map_err(unreadable)?);
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
