//! The fake host's tables: rows in a list, read by looking at each.

use std::cmp::Ordering;

use crate::bindings::wasmgate::extension::records::{Comparison, Filter, Group, Page, Row, Selection, Value};

/// Most rows of a page.
const PAGE: usize = 1000;

/// Rows of a selection, newest first. A cursor is the number of rows before it.
pub fn query(rows: &[Row], selection: &Selection, limit: u32, cursor: Option<&str>) -> Result<Page, String> {
    let skip = match cursor {
        None => 0,
        Some(text) => text.parse::<usize>().map_err(|_| format!("`{text}` is no cursor"))?,
    };
    let mut found: Vec<&Row> = rows.iter().filter(|row| selected(row, selection)).collect();
    found.sort_by_key(|row| row.at_ms);
    let limit = (limit as usize).min(PAGE);
    let page: Vec<Row> = found.iter().rev().skip(skip).take(limit).map(|row| (*row).clone()).collect();
    let cursor = (skip + page.len() < found.len()).then(|| (skip + page.len()).to_string());
    Ok(Page { rows: page, cursor })
}

/// Rows of a selection, added up.
pub fn summarise(rows: &[Row], selection: &Selection, group_by: &[String], every_ms: Option<u64>, sums: &[String]) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for row in rows.iter().filter(|row| selected(row, selection)) {
        let keys: Vec<Value> = group_by.iter().map(|name| field(row, name)).collect();
        let at_ms = every_ms.map(|every| row.at_ms - row.at_ms % every.max(1));
        let same = |g: &&mut Group| g.at_ms == at_ms && g.keys.iter().zip(&keys).all(|(a, b)| order(a, b) == Some(Ordering::Equal));
        let group = match groups.iter_mut().find(same) {
            Some(group) => group,
            None => {
                groups.push(Group { keys, at_ms, count: 0, sums: vec![0.0; sums.len()] });
                groups.last_mut().expect("one was pushed")
            }
        };
        group.count += 1;
        for (sum, name) in group.sums.iter_mut().zip(sums) {
            *sum += number(&field(row, name)).unwrap_or(0.0);
        }
    }
    groups
}

fn selected(row: &Row, selection: &Selection) -> bool {
    selection.since_ms.is_none_or(|since| row.at_ms >= since)
        && selection.until_ms.is_none_or(|until| row.at_ms < until)
        && selection.filters.iter().all(|filter| passes(row, filter))
}

fn passes(row: &Row, filter: &Filter) -> bool {
    let value = field(row, &filter.field);
    let order = order(&value, &filter.value);
    match filter.comparison {
        Comparison::Equal => order == Some(Ordering::Equal),
        Comparison::NotEqual => order != Some(Ordering::Equal),
        Comparison::AtLeast => matches!(order, Some(Ordering::Equal | Ordering::Greater)),
        Comparison::Below => order == Some(Ordering::Less),
        Comparison::Contains => matches!((&value, &filter.value), (Value::Text(a), Value::Text(b)) if a.contains(b.as_str())),
    }
}

fn field(row: &Row, name: &str) -> Value {
    row.fields.iter().find(|f| f.name == name).map_or(Value::Null, |f| f.value.clone())
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Integer(n) => Some(*n as f64),
        Value::Number(n) => Some(*n),
        _ => None,
    }
}

fn order(a: &Value, b: &Value) -> Option<Ordering> {
    match (a, b) {
        (Value::Null, Value::Null) => Some(Ordering::Equal),
        (Value::Text(a), Value::Text(b)) => Some(a.cmp(b)),
        (Value::Flag(a), Value::Flag(b)) => Some(a.cmp(b)),
        _ => number(a)?.partial_cmp(&number(b)?),
    }
}
