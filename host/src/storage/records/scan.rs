//! Reads rows: which of them pass, pages of them, and sums over them. Where the rows come from is up to a [`Scan`].

use std::cmp::Ordering;
use std::collections::HashMap;
use std::ops::ControlFlow;

use super::row::{Fields, Position, Value, check_table};
use super::{
    Comparison, FieldValue, Filter, Group, Grouping, MAX_FILTERS, MAX_GROUP_FIELDS, MAX_GROUPS, MAX_PAGE, MAX_PAGE_BYTES, MAX_PAGE_SCAN,
    MAX_SUMMARY_SCAN, Page, RecordsError, Selection,
};

/// Rows of one table from a position (inclusive) to another (exclusive). Those that do not pass the filters may be left out; who is shown
/// rows looks at each itself.
#[derive(Debug, Clone, Copy)]
pub struct Span<'a> {
    pub namespace: &'a str,
    pub table: &'a str,
    pub from: Position,
    pub below: Position,
    pub filters: &'a [Filter],
}

/// What is called for each row, with its stored form.
pub type Visit<'a> = dyn FnMut(Position, &[u8]) -> Result<ControlFlow<()>, RecordsError> + 'a;

/// Rows in the order of their positions, newest first.
pub trait Scan {
    /// Shows the rows of a span, which is not empty, one by one.
    fn visit(&self, span: Span<'_>, each: &mut Visit<'_>) -> Result<(), RecordsError>;
}

/// Reads one page.
pub fn query(rows: &impl Scan, namespace: &str, selection: &Selection, limit: usize, cursor: Option<&str>) -> Result<Page, RecordsError> {
    let mut span = span(namespace, selection)?;
    if let Some(cursor) = cursor {
        span.below = span.below.min(position(cursor)?);
    }
    let limit = limit.clamp(1, MAX_PAGE);
    let mut page = Page::default();
    let (mut size, mut seen, mut last) = (0, 0, (0, 0));
    visit(rows, span, &mut |at, bytes| {
        let full = page.rows.len() == limit || seen == MAX_PAGE_SCAN || (size + bytes.len() > MAX_PAGE_BYTES && !page.rows.is_empty());
        if full {
            page.cursor = Some(format!("{}-{}", last.0, last.1));
            return Ok(ControlFlow::Break(()));
        }
        (seen, last) = (seen + 1, at);
        let fields = Fields::decode(bytes)?;
        if selection.filters.iter().all(|f| passes(&fields, f)) {
            page.rows.push(fields.to_row(at.0));
            size += bytes.len();
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(page)
}

/// Adds rows up.
pub fn summarise(rows: &impl Scan, namespace: &str, selection: &Selection, grouping: &Grouping) -> Result<Vec<Group>, RecordsError> {
    let span = span(namespace, selection)?;
    at_most(grouping.by.len(), "fields to group by", MAX_GROUP_FIELDS)?;
    at_most(grouping.sums.len(), "sums", MAX_GROUP_FIELDS)?;
    if grouping.every_ms == Some(0) {
        return Err(RecordsError::EmptyStretch);
    }
    let mut groups: HashMap<Vec<u8>, Group> = HashMap::new();
    let (mut key, mut seen) = (Vec::new(), 0);
    visit(rows, span, &mut |at, bytes| {
        seen += 1;
        if seen > MAX_SUMMARY_SCAN {
            return Err(RecordsError::TooManyRows);
        }
        let fields = Fields::decode(bytes)?;
        if !selection.filters.iter().all(|f| passes(&fields, f)) {
            return Ok(ControlFlow::Continue(()));
        }
        let at_ms = grouping.every_ms.map(|every| at.0 / every * every);
        key.clear();
        identify(&mut key, at_ms, grouping.by.iter().map(|field| fields.value(field)));
        if !groups.contains_key(key.as_slice()) {
            if groups.len() == MAX_GROUPS {
                return Err(RecordsError::TooManyGroups);
            }
            let keys = grouping.by.iter().map(|field| fields.value(field).into()).collect();
            groups.insert(key.clone(), Group { keys, at_ms, count: 0, sums: vec![0.0; grouping.sums.len()] });
        }
        if let Some(group) = groups.get_mut(key.as_slice()) {
            group.count += 1;
            for (sum, field) in group.sums.iter_mut().zip(&grouping.sums) {
                *sum += amount(fields.value(field));
            }
        }
        Ok(ControlFlow::Continue(()))
    })?;
    let mut groups: Vec<Group> = groups.into_values().collect();
    groups.sort_by(|a, b| a.at_ms.cmp(&b.at_ms).then_with(|| order_keys(&a.keys, &b.keys)));
    Ok(groups)
}

/// The rows that a selection's table and times leave.
fn span<'a>(namespace: &'a str, selection: &'a Selection) -> Result<Span<'a>, RecordsError> {
    check_table(&selection.table)?;
    at_most(selection.filters.len(), "filters", MAX_FILTERS)?;
    let below = selection.until_ms.map_or((u64::MAX, u64::MAX), |until| (until, 0));
    Ok(Span { namespace, table: &selection.table, from: (selection.since_ms.unwrap_or(0), 0), below, filters: &selection.filters })
}

fn visit(rows: &impl Scan, span: Span<'_>, each: &mut Visit<'_>) -> Result<(), RecordsError> {
    // Maps panic when a range ends before it begins.
    if span.from < span.below { rows.visit(span, each) } else { Ok(()) }
}

fn at_most(count: usize, what: &'static str, most: usize) -> Result<(), RecordsError> {
    if count > most { Err(RecordsError::TooMany(count, what, most)) } else { Ok(()) }
}

fn position(cursor: &str) -> Result<Position, RecordsError> {
    let parsed = cursor.split_once('-').and_then(|(at, number)| Some((at.parse().ok()?, number.parse().ok()?)));
    parsed.ok_or(RecordsError::Cursor)
}

fn passes(row: &Fields<'_>, filter: &Filter) -> bool {
    let (found, wanted) = (row.value(&filter.field), Value::from(&filter.value));
    match filter.comparison {
        Comparison::Equal => compare(found, wanted) == Some(Ordering::Equal),
        Comparison::NotEqual => compare(found, wanted) != Some(Ordering::Equal),
        Comparison::AtLeast => compare(found, wanted).is_some_and(Ordering::is_ge),
        Comparison::Below => compare(found, wanted).is_some_and(Ordering::is_lt),
        Comparison::Contains => matches!((found, wanted), (Value::Text(found), Value::Text(wanted)) if found.contains(wanted)),
    }
}

fn compare(a: Value<'_>, b: Value<'_>) -> Option<Ordering> {
    match (a, b) {
        (Value::Null, Value::Null) => Some(Ordering::Equal),
        (Value::Text(a), Value::Text(b)) => Some(a.cmp(b)),
        (Value::Flag(a), Value::Flag(b)) => Some(a.cmp(&b)),
        (Value::Integer(a), Value::Integer(b)) => Some(a.cmp(&b)),
        (Value::Number(a), Value::Number(b)) => a.partial_cmp(&b),
        (Value::Integer(a), Value::Number(b)) => (a as f64).partial_cmp(&b),
        (Value::Number(a), Value::Integer(b)) => a.partial_cmp(&(b as f64)),
        _ => None,
    }
}

fn amount(value: Value<'_>) -> f64 {
    match value {
        Value::Integer(n) => n as f64,
        Value::Number(n) => n,
        Value::Flag(flag) => f64::from(u8::from(flag)),
        Value::Null | Value::Text(_) => 0.0,
    }
}

/// Bytes that are the same for values of the same group, and different for others.
fn identify<'a>(into: &mut Vec<u8>, at_ms: Option<u64>, values: impl Iterator<Item = Value<'a>>) {
    into.extend(at_ms.unwrap_or(0).to_le_bytes());
    for value in values {
        match value {
            Value::Null => into.push(0),
            Value::Text(text) => {
                into.push(1);
                into.extend(text.len().to_le_bytes());
                into.extend(text.as_bytes());
            }
            Value::Integer(n) => {
                into.push(2);
                into.extend(n.to_le_bytes());
            }
            Value::Number(n) => {
                into.push(3);
                // Zero has two forms and "not a number" many; each is one group.
                let n = if n.is_nan() { f64::NAN } else { n + 0.0 };
                into.extend(n.to_bits().to_le_bytes());
            }
            Value::Flag(flag) => into.extend([4, u8::from(flag)]),
        }
    }
}

fn order_keys(a: &[FieldValue], b: &[FieldValue]) -> Ordering {
    let pairs = a.iter().zip(b);
    pairs.map(|(a, b)| order_values(a, b)).find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
}

/// An order of all values: kinds first.
fn order_values(a: &FieldValue, b: &FieldValue) -> Ordering {
    match (a, b) {
        (FieldValue::Text(a), FieldValue::Text(b)) => a.cmp(b),
        (FieldValue::Integer(a), FieldValue::Integer(b)) => a.cmp(b),
        (FieldValue::Number(a), FieldValue::Number(b)) => a.total_cmp(b),
        (FieldValue::Flag(a), FieldValue::Flag(b)) => a.cmp(b),
        (a, b) => kind(a).cmp(&kind(b)),
    }
}

fn kind(value: &FieldValue) -> u8 {
    match value {
        FieldValue::Null => 0,
        FieldValue::Flag(_) => 1,
        FieldValue::Integer(_) => 2,
        FieldValue::Number(_) => 3,
        FieldValue::Text(_) => 4,
    }
}
