//! `wasmgate usage`: rows of extensions out of a store and into one, whatever it is.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use clap::{Args, Subcommand, ValueEnum};
use serde::de::{Deserializer, MapAccess, Visitor};
use serde::ser::{SerializeMap as _, Serializer};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use time::format_description::well_known::Rfc3339;
use time::{Date, OffsetDateTime, format_description};

use super::{FAILURE, SourceArgs, reject};
use crate::config::{RecordsStore, Storage, WhenFull};
use crate::storage::records::{FieldValue, MAX_PAGE, Records, Row, Selection};
use crate::{storage, telemetry};

/// Rows that are appended at once.
const BATCH: usize = 1_000;

/// What is said after `usage`.
#[derive(Args)]
pub struct UsageArgs {
    #[command(subcommand)]
    command: UsageCommand,
}

#[derive(Subcommand)]
enum UsageCommand {
    /// Writes rows as NDJSON or CSV, newest first; those of one millisecond in the order in which they came.
    ///
    /// With `sqlite` and `postgres` the gateway may run meanwhile. A `redb` file is open in one process at a time: stop the gateway first.
    Export {
        #[command(flatten)]
        source: SourceArgs,
        /// Only rows of this extension.
        #[arg(long, value_name = "NAME")]
        extension: Option<String>,
        /// Only rows of this table.
        #[arg(long, value_name = "NAME")]
        table: Option<String>,
        #[command(flatten)]
        times: Times,
        /// How rows are written.
        #[arg(long, value_enum, default_value_t = Format::Ndjson)]
        format: Format,
        /// File to write to, which must not exist. Default: standard output.
        #[arg(long, short, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Appends rows that `export` wrote as NDJSON. Rows that are in the store already are in it twice then.
    ///
    /// With `sqlite` and `postgres` the gateway may run meanwhile. A `redb` file is open in one process at a time: stop the gateway first.
    Import {
        #[command(flatten)]
        source: SourceArgs,
        /// File to read. Default: standard input.
        #[arg(long, short, value_name = "FILE")]
        input: Option<PathBuf>,
        #[command(flatten)]
        times: Times,
    },
}

/// Rows of which times.
#[derive(Args, Clone, Copy)]
struct Times {
    /// Not before this time: `2026-01-31`, `2026-01-31T08:00:00Z` or Unix milliseconds.
    #[arg(long, value_name = "TIME", value_parser = time)]
    since: Option<u64>,
    /// Before this time.
    #[arg(long, value_name = "TIME", value_parser = time)]
    until: Option<u64>,
}

/// How rows are written.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A JSON object a line. It can be imported.
    Ndjson,
    /// A table with a column for each field that a row has.
    Csv,
}

/// A line of NDJSON.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    extension: String,
    table: String,
    at_ms: u64,
    fields: Fields,
}

/// Fields in their order. Numbers that JSON does not have become `null`; of two fields with one name, the first is written.
struct Fields(Vec<(String, FieldValue)>);

/// Runs the command.
pub fn run(args: &UsageArgs) -> ExitCode {
    let (UsageCommand::Export { source, .. } | UsageCommand::Import { source, .. }) = &args.command;
    let checked = match source.sources().read() {
        Ok(checked) => checked,
        Err(rejected) => return reject(&rejected),
    };
    let _writes_the_last_lines = match telemetry::start(&checked.config.logging) {
        Ok(guard) => guard,
        Err(reason) => return reject(&format!("error: {reason}")),
    };
    let storage = checked.config.storage;
    let done = match &args.command {
        UsageCommand::Export { extension, table, times, format, output, .. } => {
            let wanted = Wanted { extension: extension.clone(), table: table.clone(), times: *times };
            export(&storage, &wanted, *format, output.as_ref())
        }
        UsageCommand::Import { input, times, .. } => import(&storage, *times, input.as_ref()),
    };
    match done {
        Ok(said) => {
            eprintln!("{said}");
            ExitCode::SUCCESS
        }
        Err(e) if e.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("error: {e:#}");
            ExitCode::from(FAILURE)
        }
    }
}

/// Opens the rows of a configuration. Nothing is deleted, and nothing is dropped.
fn open(storage: &Storage, must_exist: bool) -> anyhow::Result<Arc<dyn Records>> {
    let mut storage = storage.clone();
    let store = storage.records.store(&storage);
    ensure!(store != RecordsStore::Memory, "rows are kept in memory (`storage.records.type`), and no other process can reach them");
    let path = storage.records.path.as_ref().or(storage.path.as_ref()).filter(|_| store != RecordsStore::Postgres);
    if let Some(path) = path.filter(|path| must_exist && !path.exists()) {
        bail!("there is no store `{}`", path.display());
    }
    storage.retain_records = Duration::ZERO;
    storage.records.when_full = WhenFull::Refuse;
    storage::open_records(&storage)
}

/// Which rows are exported.
struct Wanted {
    extension: Option<String>,
    table: Option<String>,
    times: Times,
}

fn export(storage: &Storage, wanted: &Wanted, format: Format, output: Option<&PathBuf>) -> anyhow::Result<String> {
    let records = open(storage, true)?;
    let mut tables = records.tables()?;
    tables.retain(|(n, t)| wanted.extension.as_ref().is_none_or(|w| w == n) && wanted.table.as_ref().is_none_or(|w| w == t));
    let mut out: Box<dyn Write> = match output {
        None => Box::new(io::stdout().lock()),
        Some(path) => Box::new(File::create_new(path).with_context(|| format!("`{}` cannot be written", path.display()))?),
    };
    let count = match format {
        Format::Ndjson => {
            let mut out = BufWriter::new(&mut out);
            let count = each_row(&*records, &tables, wanted.times, &mut |extension, table, row| {
                let line = Line { extension: extension.into(), table: table.into(), at_ms: row.at_ms, fields: Fields(row.fields) };
                serde_json::to_writer(&mut out, &line).map_err(io::Error::from)?;
                Ok(out.write_all(b"\n")?)
            })?;
            out.flush()?;
            count
        }
        Format::Csv => write_csv(&*records, &tables, wanted.times, &mut out)?,
    };
    Ok(format!("{count} row(s) of {} table(s)", tables.len()))
}

/// Columns are known when all rows were seen, so they are read twice.
fn write_csv(records: &dyn Records, tables: &[(String, String)], times: Times, out: &mut dyn Write) -> anyhow::Result<u64> {
    let mut columns = BTreeSet::new();
    each_row(records, tables, times, &mut |_, _, row| {
        for (name, _) in row.fields {
            columns.insert(name);
        }
        Ok(())
    })?;
    let mut out = csv::Writer::from_writer(out);
    out.write_record(["extension", "table", "at_ms"].into_iter().chain(columns.iter().map(String::as_str)))?;
    let count = each_row(records, tables, times, &mut |extension, table, row| {
        let mut cells = vec![extension.to_owned(), table.to_owned(), row.at_ms.to_string()];
        // What was appended since may have fields that no row had then; they have no column.
        cells.extend(
            columns.iter().map(|column| row.fields.iter().find(|(name, _)| name == column).map_or_else(String::new, |f| cell(&f.1))),
        );
        Ok(out.write_record(&cells)?)
    })?;
    out.flush()?;
    Ok(count)
}

fn cell(value: &FieldValue) -> String {
    match value {
        FieldValue::Null => String::new(),
        FieldValue::Text(text) => text.clone(),
        FieldValue::Integer(n) => n.to_string(),
        FieldValue::Number(n) => n.to_string(),
        FieldValue::Flag(flag) => flag.to_string(),
    }
}

/// Shows rows, table by table, newest first. Those of one time are shown in the order in which they came, so that an import keeps it.
fn each_row(
    records: &dyn Records,
    tables: &[(String, String)],
    times: Times,
    each: &mut dyn FnMut(&str, &str, Row) -> anyhow::Result<()>,
) -> anyhow::Result<u64> {
    let mut count = 0;
    for (extension, table) in tables {
        let selection = Selection { table: table.clone(), since_ms: times.since, until_ms: times.until, filters: Vec::new() };
        let (mut cursor, mut same): (_, Vec<Row>) = (None, Vec::new());
        loop {
            let page = records.query(extension, &selection, MAX_PAGE, cursor.as_deref())?;
            for row in page.rows {
                count += 1;
                if same.first().is_some_and(|first| first.at_ms != row.at_ms) {
                    same.drain(..).rev().try_for_each(|row| each(extension, table, row))?;
                }
                same.push(row);
            }
            cursor = page.cursor;
            if cursor.is_none() {
                break;
            }
        }
        same.drain(..).rev().try_for_each(|row| each(extension, table, row))?;
    }
    Ok(count)
}

fn import(storage: &Storage, times: Times, input: Option<&PathBuf>) -> anyhow::Result<String> {
    let input: Box<dyn BufRead> = match input {
        None => Box::new(io::stdin().lock()),
        Some(path) => Box::new(BufReader::new(File::open(path).with_context(|| format!("`{}` cannot be read", path.display()))?)),
    };
    let records = open(storage, false)?;
    let mut batch = Batch { records: &*records, place: (String::new(), String::new()), rows: Vec::new(), written: 0 };
    let read = input.lines().enumerate().try_for_each(|(n, line)| {
        let line = line?;
        if line.trim().is_empty() {
            return Ok(());
        }
        let Line { extension, table, at_ms, fields } = serde_json::from_str(&line).with_context(|| format!("line {}", n + 1))?;
        ensure!(is_name(&extension), "line {}: `extension` is `{extension}`; use lower case letters, digits and hyphens", n + 1);
        if times.since.is_some_and(|since| at_ms < since) || times.until.is_some_and(|until| at_ms >= until) {
            return Ok(());
        }
        batch.add((extension, table), Row { at_ms, fields: fields.0 }).with_context(|| format!("line {}", n + 1))
    });
    let read = read.and_then(|()| batch.write());
    read.with_context(|| format!("{} row(s) were imported before", batch.written))?;
    Ok(format!("{} row(s) imported", batch.written))
}

/// Rows of one table that are appended together.
struct Batch<'a> {
    records: &'a dyn Records,
    place: (String, String),
    rows: Vec<Row>,
    written: usize,
}

impl Batch<'_> {
    fn add(&mut self, place: (String, String), row: Row) -> anyhow::Result<()> {
        if self.place != place || self.rows.len() == BATCH {
            self.write()?;
            self.place = place;
        }
        self.rows.push(row);
        Ok(())
    }

    /// Appends what is there and waits until it is stored.
    fn write(&mut self) -> anyhow::Result<()> {
        let count = self.rows.len();
        if count > 0 {
            self.records.append(&self.place.0, &self.place.1, std::mem::take(&mut self.rows))?;
            self.records.flush();
            ensure!(self.records.health().waiting == 0, "the store could not be written; the log says why");
            self.written += count;
        }
        Ok(())
    }
}

fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase()) && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}

/// A time of the command line, as Unix milliseconds.
fn time(text: &str) -> Result<u64, String> {
    if let Ok(ms) = text.parse() {
        return Ok(ms);
    }
    let day = || {
        let form = format_description::parse_borrowed::<2>("[year]-[month]-[day]").ok()?;
        Some(Date::parse(text, &form).ok()?.midnight().assume_utc())
    };
    let moment = OffsetDateTime::parse(text, &Rfc3339).ok().or_else(day);
    let ms = moment.and_then(|moment| u64::try_from(moment.unix_timestamp_nanos() / 1_000_000).ok());
    ms.ok_or_else(|| "expected `2026-01-31`, `2026-01-31T08:00:00Z` or Unix milliseconds, not before 1970".into())
}

impl Serialize for Fields {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (n, (name, value)) in self.0.iter().enumerate() {
            if self.0[..n].iter().any(|(other, _)| other == name) {
                continue;
            }
            match value {
                FieldValue::Null => map.serialize_entry(name, &())?,
                FieldValue::Text(text) => map.serialize_entry(name, text)?,
                FieldValue::Integer(n) => map.serialize_entry(name, n)?,
                FieldValue::Number(n) => map.serialize_entry(name, n)?,
                FieldValue::Flag(flag) => map.serialize_entry(name, flag)?,
            }
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Fields;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of fields")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                let mut fields = Vec::new();
                while let Some((name, value)) = map.next_entry::<String, Box<RawValue>>()? {
                    let value = field(value.get()).ok_or_else(|| {
                        serde::de::Error::custom(format!(
                            "the field `{name}` must be a text, a number of 64 bits, `true`, `false` or `null`"
                        ))
                    })?;
                    fields.push((name, value));
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(Members)
    }
}

/// A value from its JSON. Numbers are read from their digits: the JSON reader may round the last one.
fn field(json: &str) -> Option<FieldValue> {
    match json.as_bytes().first()? {
        b'"' => serde_json::from_str(json).ok().map(FieldValue::Text),
        b'n' => Some(FieldValue::Null),
        b't' | b'f' => json.parse().ok().map(FieldValue::Flag),
        b'-' | b'0'..=b'9' if json.contains(['.', 'e', 'E']) => json.parse().ok().filter(|n: &f64| n.is_finite()).map(FieldValue::Number),
        b'-' | b'0'..=b'9' => json.parse().ok().map(FieldValue::Integer),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn times_are_read() {
        assert_eq!(time("1700000000000"), Ok(1_700_000_000_000));
        assert_eq!(time("2026-01-31"), Ok(1_769_817_600_000));
        assert_eq!(time("2026-01-31T01:00:00+01:00"), Ok(1_769_817_600_000));
        for wrong in ["", "yesterday", "2026-13-01", "1969-01-01", "-5"] {
            assert!(time(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn lines_that_are_no_rows_are_refused() {
        let parse = |fields: &str| serde_json::from_str::<Fields>(fields).map(|f| f.0).map_err(|e| e.to_string());
        assert_eq!(parse(r#"{"a":1,"b":1.0}"#).unwrap(), [("a".into(), FieldValue::Integer(1)), ("b".into(), FieldValue::Number(1.0))]);
        for wrong in [r#"{"a":[]}"#, r#"{"a":{}}"#, r#"{"a":18446744073709551615}"#, r#"{"a":1e999}"#] {
            assert!(parse(wrong).unwrap_err().contains("the field `a`"), "{wrong}");
        }
        assert!(parse("[]").is_err());
    }

    proptest! {
        #[test]
        fn values_survive(text in any::<String>(), n in any::<i64>(), f in proptest::num::f64::NORMAL, flag in any::<bool>()) {
            let fields = vec![
                (text.clone(), FieldValue::Text(text)),
                ("\u{1}n".into(), FieldValue::Integer(n)),
                ("\u{1}f".into(), FieldValue::Number(f)),
                ("\u{1}b".into(), FieldValue::Flag(flag)),
                ("\u{1}0".into(), FieldValue::Null),
            ];
            let written = serde_json::to_string(&Fields(fields.clone())).unwrap();
            prop_assert_eq!(serde_json::from_str::<Fields>(&written).unwrap().0, fields);
        }
    }
}
