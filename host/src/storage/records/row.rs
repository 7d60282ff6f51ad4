//! A row as it is stored: a byte for the version of this form, then its fields in `postcard`.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{FieldValue, MAX_FIELD_NAME, MAX_FIELDS, MAX_ROW, MAX_TABLE, RecordsError, Row};

/// The form that is written. A file may have rows of older ones.
const VERSION: u8 = 1;

/// The order of rows in a table: time, then number.
pub type Position = (u64, u64);

/// A row's time and its stored form.
pub type StoredRow = (u64, Arc<[u8]>);

/// A value that is read where it lies. The order of the variants is part of the form.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum Value<'a> {
    Null,
    Text(&'a str),
    Integer(i64),
    Number(f64),
    Flag(bool),
}

/// A row's fields, read where they lie.
pub struct Fields<'a>(Vec<(&'a str, Value<'a>)>);

impl<'a> From<&'a FieldValue> for Value<'a> {
    fn from(value: &'a FieldValue) -> Self {
        match value {
            FieldValue::Null => Self::Null,
            FieldValue::Text(text) => Self::Text(text),
            FieldValue::Integer(n) => Self::Integer(*n),
            FieldValue::Number(n) => Self::Number(*n),
            FieldValue::Flag(flag) => Self::Flag(*flag),
        }
    }
}

impl From<Value<'_>> for FieldValue {
    fn from(value: Value<'_>) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Text(text) => Self::Text(text.to_owned()),
            Value::Integer(n) => Self::Integer(n),
            Value::Number(n) => Self::Number(n),
            Value::Flag(flag) => Self::Flag(flag),
        }
    }
}

impl<'a> Fields<'a> {
    /// Reads a stored row.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, RecordsError> {
        let Some((&VERSION, fields)) = bytes.split_first() else {
            tracing::error!("a row was written by another version of the gateway");
            return Err(RecordsError::Unreadable);
        };
        postcard::from_bytes(fields).map(Self).map_err(|e| {
            tracing::error!(error = %e, "a row in the store is damaged");
            RecordsError::Unreadable
        })
    }

    /// The value of a field.
    pub fn value(&self, field: &str) -> Value<'a> {
        self.0.iter().find(|(name, _)| *name == field).map_or(Value::Null, |(_, value)| *value)
    }

    /// As a JSON object, for people who look into a database. What JSON or a database does not have is left out or replaced: of two fields
    /// with one name the second, `\0` in texts, numbers that are none.
    pub fn to_json(&self) -> String {
        let text = |t: &str| t.replace('\0', "\u{fffd}");
        let mut object = serde_json::Map::new();
        for (name, value) in &self.0 {
            object.entry(text(name)).or_insert_with(|| match value {
                Value::Null => serde_json::Value::Null,
                Value::Text(t) => text(t).into(),
                Value::Integer(n) => (*n).into(),
                Value::Number(n) => (*n).into(),
                Value::Flag(flag) => (*flag).into(),
            });
        }
        serde_json::Value::Object(object).to_string()
    }

    /// The row.
    pub fn to_row(&self, at_ms: u64) -> Row {
        Row { at_ms, fields: self.0.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())).collect() }
    }
}

/// Checks rows and gives each its stored form.
pub fn encode(table: &str, rows: &[Row]) -> Result<Vec<StoredRow>, RecordsError> {
    check_table(table)?;
    rows.iter().map(|row| Ok((check_time(row.at_ms)?, encode_row(row)?))).collect()
}

/// Databases count with a sign.
fn check_time(at_ms: u64) -> Result<u64, RecordsError> {
    if i64::try_from(at_ms).is_ok() { Ok(at_ms) } else { Err(RecordsError::Time(at_ms)) }
}

/// Whether a table's name may be.
pub fn check_table(table: &str) -> Result<(), RecordsError> {
    let known = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-';
    if table.is_empty() || table.len() > MAX_TABLE || !table.bytes().all(known) {
        return Err(RecordsError::Table(table.chars().take(MAX_TABLE).collect()));
    }
    Ok(())
}

fn encode_row(row: &Row) -> Result<Arc<[u8]>, RecordsError> {
    if row.fields.len() > MAX_FIELDS {
        return Err(RecordsError::TooManyFields(row.fields.len()));
    }
    if let Some((name, _)) = row.fields.iter().find(|(name, _)| name.len() > MAX_FIELD_NAME) {
        return Err(RecordsError::FieldNameTooLong(name.len()));
    }
    let fields: Vec<(&str, Value<'_>)> = row.fields.iter().map(|(name, value)| (name.as_str(), value.into())).collect();
    // Writing to a growing buffer fails for no value that there is.
    let bytes = postcard::to_extend(&fields, vec![VERSION]).map_err(|_| RecordsError::RowTooLong(usize::MAX))?;
    if bytes.len() > MAX_ROW {
        return Err(RecordsError::RowTooLong(bytes.len()));
    }
    Ok(bytes.into())
}
