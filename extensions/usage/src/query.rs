//! What a page is asked for, read from the query.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use wasmgate_sdk::format::percent_decoded;
use wasmgate_sdk::records::{Comparison, Filter, Selection, Value};

use crate::TABLE;

/// Columns that rows can be chosen by, and the parameters that do it. The plan's words come first, those of the columns do too.
const BY: [(&str, &str); 12] = [
    ("key", "api_key_name"),
    ("api_key_name", "api_key_name"),
    ("team", "team"),
    ("model", "model"),
    ("requested_model", "requested_model"),
    ("provider", "provider"),
    ("endpoint", "endpoint"),
    ("format", "format"),
    ("status", "status"),
    ("error_code", "error_code"),
    ("request_id", "request_id"),
    ("http_status", "http_status"),
];

/// What rows can be added up by.
pub const GROUPS: [(&str, Option<&str>); 9] = [
    ("key", Some("api_key_name")),
    ("team", Some("team")),
    ("model", Some("model")),
    ("requested_model", Some("requested_model")),
    ("provider", Some("provider")),
    ("endpoint", Some("endpoint")),
    ("status", Some("status")),
    ("error_code", Some("error_code")),
    // A stretch of time, not a column.
    ("day", None),
];

/// Most rows of a page, which is also how many there are when nobody says. A page has to be made in the few milliseconds that the gateway gives
/// a call.
const LIMIT: u32 = 100;

/// A question.
#[derive(Debug)]
pub struct Query {
    /// Which rows.
    pub selection: Selection,
    /// How many at most.
    pub limit: u32,
    /// Where the page before ended.
    pub cursor: Option<String>,
    /// As CSV and not as JSON.
    pub csv: bool,
    /// What to add up by.
    pub by: Vec<String>,
}

/// Reads a query. The error is for the caller. `summary` tells which of the pages is asked.
pub fn read(query: &str, summary: bool) -> Result<Query, String> {
    let selection = Selection { table: TABLE.into(), since_ms: None, until_ms: None, filters: Vec::new() };
    let mut read = Query { selection, limit: LIMIT, cursor: None, csv: false, by: Vec::new() };
    for pair in query.split('&').filter(|p| !p.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = percent_decoded(&value.replace('+', " "));
        let shown: String = value.chars().take(80).collect();
        match name {
            "since" | "until" => {
                let at = moment(&value).ok_or_else(|| {
                    format!("`{name}` is `{shown}`; write a day (`2026-01-31`), a time (`2026-01-31T12:00:00Z`), or Unix milliseconds.")
                })?;
                if name == "since" { read.selection.since_ms = Some(at) } else { read.selection.until_ms = Some(at) }
            }
            "limit" if !summary => {
                let limit = value.parse().ok().filter(|n| (1..=LIMIT).contains(n));
                read.limit = limit.ok_or_else(|| format!("`limit` is `{shown}`; write a number from 1 to {LIMIT}."))?;
            }
            "cursor" if !summary => read.cursor = Some(value),
            "format" if value == "csv" || value == "json" => read.csv = value == "csv",
            "by" if summary => {
                for group in value.split(',').filter(|g| !g.is_empty()) {
                    if !GROUPS.iter().any(|(name, _)| *name == group) {
                        let all: Vec<_> = GROUPS.iter().map(|(name, _)| *name).collect();
                        return Err(format!("`by` has `{}`; there is {}.", group.chars().take(80).collect::<String>(), all.join(", ")));
                    }
                    if !read.by.iter().any(|g| g == group) {
                        read.by.push(group.into());
                    }
                }
            }
            name => {
                let Some((_, column)) = BY.iter().find(|(n, _)| *n == name) else {
                    let name: String = name.chars().take(80).collect();
                    let all: Vec<_> = BY.iter().map(|(name, _)| *name).collect();
                    let own = if summary { "by" } else { "limit, cursor" };
                    return Err(format!("There is no parameter `{name}`; there is since, until, format, {own}, {}.", all.join(", ")));
                };
                let value = match *column {
                    "http_status" => Value::Integer(value.parse().map_err(|_| format!("`{name}` is `{shown}`; write a number."))?),
                    _ => Value::Text(value),
                };
                read.selection.filters.push(Filter { field: (*column).into(), comparison: Comparison::Equal, value });
            }
        }
    }
    if summary && read.by.is_empty() {
        read.by = ["key", "model", "provider", "day"].map(Into::into).into();
    }
    Ok(read)
}

/// A time as people write it, in Unix milliseconds.
fn moment(text: &str) -> Option<u64> {
    if let Ok(ms) = text.parse() {
        return Some(ms);
    }
    let whole = if text.len() == "2026-01-31".len() { format!("{text}T00:00:00Z") } else { text.to_owned() };
    let at = OffsetDateTime::parse(&whole, &Rfc3339).ok()?;
    u64::try_from(at.unix_timestamp_nanos() / 1_000_000).ok()
}

/// The other way round: with milliseconds, so that it sorts as text.
pub fn written(ms: u64) -> String {
    let at = OffsetDateTime::from_unix_timestamp((ms / 1000) as i64).ok();
    let text = at.and_then(|at| at.format(&Rfc3339).ok()).unwrap_or_default();
    text.strip_suffix('Z').map_or(text.clone(), |head| format!("{head}.{:03}Z", ms % 1000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_and_written() {
        for (text, expect) in [
            ("1767182400000", Some(1_767_182_400_000)),
            ("2025-12-31", Some(1_767_139_200_000)),
            ("2025-12-31T12:00:00Z", Some(1_767_182_400_000)),
            ("2025-12-31T13:00:00+01:00", Some(1_767_182_400_000)),
            ("2025-13-01", None),
            ("yesterday", None),
            ("", None),
        ] {
            assert_eq!(moment(text), expect, "{text}");
        }
        assert_eq!(written(1_767_182_400_007), "2025-12-31T12:00:00.007Z");
    }

    #[test]
    fn a_question_is_read_or_refused_with_a_reason() {
        let read = read("key=a%20b&status=error&since=2025-12-31&limit=10&format=csv&http_status=429", false).unwrap();
        assert_eq!((read.limit, read.csv, read.selection.since_ms), (10, true, Some(1_767_139_200_000)));
        let filters: Vec<_> = read.selection.filters.iter().map(|f| format!("{}={:?}", f.field, f.value)).collect();
        assert_eq!(filters, ["api_key_name=Value::Text(\"a b\")", "status=Value::Text(\"error\")", "http_status=Value::Integer(429)"]);
        for (query, summary, expect) in [
            ("limit=0", false, "`limit` is `0`; write a number from 1 to 100."),
            ("limit=10", true, "no parameter `limit`"),
            ("since=x", false, "`since` is `x`"),
            ("by=key", false, "no parameter `by`"),
            ("by=key,colour", true, "`by` has `colour`; there is key, team"),
            ("colour=red", false, "no parameter `colour`"),
            ("http_status=x", false, "`http_status` is `x`"),
        ] {
            let refused = super::read(query, summary).err().unwrap_or_default();
            assert!(refused.contains(expect), "{query}: {refused}");
        }
        assert_eq!(super::read("", true).unwrap().by, ["key", "model", "provider", "day"]);
    }
}
