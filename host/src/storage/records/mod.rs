//! Rows that are appended and read, never changed: usage, audits, history. Each extension sees its own namespace.
//!
//! Rows of a table are in the order of their time; those of the same time in the order in which they came.
//!
//! What is absent: nothing here loads a whole table. A query reads its stretch of time, newest first, until its page is full.

mod batches;
mod memory;
mod postgres;
mod redb;
mod row;
mod scan;
mod sqlite;
mod waiting;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub use memory::MemoryRecords;
pub use postgres::PostgresRecords;
pub use redb::{RedbRecords, RowSource};
pub use sqlite::SqliteRecords;
pub use waiting::Bounds;

/// Longest name of a table, in bytes.
pub const MAX_TABLE: usize = 64;
/// Most tables of a namespace.
pub const MAX_TABLES: usize = 64;
/// Most fields of a row.
pub const MAX_FIELDS: usize = 64;
/// Longest name of a field, in bytes.
pub const MAX_FIELD_NAME: usize = 128;
/// Longest row as it is stored, in bytes.
pub const MAX_ROW: usize = 64 << 10;
/// Most rows of a page.
pub const MAX_PAGE: usize = 1_000;
/// Most bytes of a page, as its rows are stored. A page always has room for one row.
pub const MAX_PAGE_BYTES: usize = 1 << 20;
/// Most groups of a summary.
pub const MAX_GROUPS: usize = 10_000;
/// Most conditions of a selection.
pub const MAX_FILTERS: usize = 32;
/// Most fields that rows are grouped by, and most fields that are summed.
pub const MAX_GROUP_FIELDS: usize = 16;
/// Rows that one page looks at. What is after them is on the next page, even if none of them fitted.
pub const MAX_PAGE_SCAN: usize = 100_000;
/// Rows that one summary looks at.
pub const MAX_SUMMARY_SCAN: usize = 2_000_000;
/// Rows of one namespace that wait for the disk, if the configuration does not say otherwise.
pub const MAX_WAITING_ROWS: usize = 100_000;
/// Bytes of one namespace that wait for the disk.
pub const MAX_WAITING_BYTES: usize = 64 << 20;

/// A value of a field.
#[derive(Debug, Clone, PartialEq)]
pub enum FieldValue {
    /// Nothing known. A field that a row does not have is this, too.
    Null,
    /// Text.
    Text(String),
    /// A whole number.
    Integer(i64),
    /// Any number.
    Number(f64),
    /// Yes or no.
    Flag(bool),
}

/// One row.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Unix time in milliseconds.
    pub at_ms: u64,
    /// Its fields; of two with one name, the first counts.
    pub fields: Vec<(String, FieldValue)>,
}

/// How a field is compared. Whole and other numbers compare with each other; values of different kinds are never equal, and
/// neither is less than the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// Equal.
    Equal,
    /// Not equal.
    NotEqual,
    /// At least this.
    AtLeast,
    /// Less than this.
    Below,
    /// Text that contains this text.
    Contains,
}

/// Only rows whose field compares like this.
#[derive(Debug, Clone, PartialEq)]
pub struct Filter {
    /// The field.
    pub field: String,
    /// How.
    pub comparison: Comparison,
    /// With what.
    pub value: FieldValue,
}

/// Which rows.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Selection {
    /// The table. One that was never written has no rows.
    pub table: String,
    /// Not before this time.
    pub since_ms: Option<u64>,
    /// Before this time.
    pub until_ms: Option<u64>,
    /// Rows that pass all of these.
    pub filters: Vec<Filter>,
}

/// One page of rows.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Page {
    /// The rows, newest first. They may be none although there is a next page.
    pub rows: Vec<Row>,
    /// Where the next page starts; absent at the end.
    pub cursor: Option<String>,
}

/// How rows are added up.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Grouping {
    /// Fields whose values make a group.
    pub by: Vec<String>,
    /// Length of a stretch of time that makes a group, in milliseconds. Stretches are counted from 1970.
    pub every_ms: Option<u64>,
    /// Fields that are summed. A flag counts as 1 or 0; text and nothing count as 0.
    pub sums: Vec<String>,
}

/// Rows of one group, added up.
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    /// Values of the fields that it was grouped by, in their order.
    pub keys: Vec<FieldValue>,
    /// Start of the stretch of time, when one was asked for.
    pub at_ms: Option<u64>,
    /// How many rows.
    pub count: u64,
    /// Sums of the fields that were asked for, in their order.
    pub sums: Vec<f64>,
}

/// Why rows are not appended or read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordsError {
    /// The table's name cannot be.
    #[error("the table's name `{0}` must have 1 to {MAX_TABLE} lower case letters, digits, `_` and `-`")]
    Table(String),
    /// Too many tables.
    #[error("there are {MAX_TABLES} tables already; no more are allowed")]
    TooManyTables,
    /// No time of a row.
    #[error("the row's time {0} is too far; at most {max} ms after 1970 are allowed", max = i64::MAX)]
    Time(u64),
    /// Too many fields.
    #[error("the row has {0} fields; at most {MAX_FIELDS} are allowed")]
    TooManyFields(usize),
    /// A field's name is too long.
    #[error("a field's name has {0} bytes; at most {MAX_FIELD_NAME} are allowed")]
    FieldNameTooLong(usize),
    /// The row is too long.
    #[error("the row has {0} bytes; at most {MAX_ROW} are allowed")]
    RowTooLong(usize),
    /// The disk does not keep up.
    #[error("{0} rows wait for the disk; try again later")]
    Busy(usize),
    /// The cursor is not one of a page.
    #[error("the cursor is not one that a page gave")]
    Cursor,
    /// Too many conditions or groupings.
    #[error("{0} {1} are too many; at most {2} are allowed")]
    TooMany(usize, &'static str, usize),
    /// A stretch of no time.
    #[error("the stretch of time must be longer than nothing")]
    EmptyStretch,
    /// Too many groups.
    #[error("there are more than {MAX_GROUPS} groups; group by less")]
    TooManyGroups,
    /// Too many rows.
    #[error("there are more than {MAX_SUMMARY_SCAN} rows in this time; ask for less of it")]
    TooManyRows,
    /// The file cannot be read. The details are in the log.
    #[error("the store cannot be read")]
    Unreadable,
}

/// Tables of rows. Appending never waits for the disk, reading may: call it where that is allowed.
pub trait Records: Send + Sync {
    /// Adds rows to a table, all or none. They can be read at once and are on disk within the flush interval.
    fn append(&self, namespace: &str, table: &str, rows: Vec<Row>) -> Result<(), RecordsError>;
    /// Reads a page, newest first, of at most `limit` rows (1 to [`MAX_PAGE`]).
    fn query(&self, namespace: &str, selection: &Selection, limit: usize, cursor: Option<&str>) -> Result<Page, RecordsError>;
    /// Adds rows up. Groups are in the order of their time, then of their keys.
    fn summarise(&self, namespace: &str, selection: &Selection, grouping: &Grouping) -> Result<Vec<Group>, RecordsError>;
    /// Namespaces and names of all tables, in order. Tables whose rows were all deleted may be among them.
    fn tables(&self) -> Result<Vec<(String, String)>, RecordsError>;
    /// What became of rows since the process began.
    fn health(&self) -> Health;
    /// Returns when everything that was appended is where it lasts, or could not be written, which is in the log.
    fn flush(&self);
}

/// What became of rows since the process began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Health {
    /// Rows that wait to be written now.
    pub waiting: u64,
    /// Rows that were written.
    pub written: u64,
    /// Rows that were dropped to make room for newer ones.
    pub dropped: u64,
    /// Rows that were not taken.
    pub refused: u64,
    /// Attempts to write that failed.
    pub failures: u64,
}

/// Rows from before this Unix time in milliseconds are too old.
fn cutoff(retain: Option<Duration>) -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    retain.map_or(0, |retain| u64::try_from(now.saturating_sub(retain).as_millis()).unwrap_or(0))
}

#[cfg(test)]
mod tests;
