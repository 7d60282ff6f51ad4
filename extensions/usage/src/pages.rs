//! `GET /usage` and `GET /usage/summary`. A caller sees the rows of their own key, the operator all. Who asks, the host says in header fields
//! that no client can set (`access = "caller"` in the manifest).

use serde_json::{Map, Value as Json, json};
use wasmgate_sdk::records::{self, Comparison, Filter, Group, Row, Value};
use wasmgate_sdk::wrapped::{self, Failure};
use wasmgate_sdk::{Header, HttpRequest, Reply};

use crate::query::{self, GROUPS, Query};
use crate::row::{COLUMNS, COUNTERS};

/// The paths.
pub const ROWS: &str = "/usage";
pub const SUMMARY: &str = "/usage/summary";

/// Length of a day, in milliseconds.
const DAY_MS: u64 = 24 * 3600 * 1000;

/// Most groups of a summary: see the limit of a page.
const MAX_GROUPS: usize = 200;

/// What is added up.
const SUMS: [&str; 16] = [
    "input_tokens",
    "output_tokens",
    "total_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
    "cost_usd",
    "latency_ms",
    "successes",
    "estimates",
    "unpriced",
    "other_input_tokens",
    "other_output_tokens",
    "other_cost_usd",
    "other_estimated",
    "other_untold",
];

/// Whose rows are shown.
enum Scope {
    /// Those of one key.
    Key(String),
    /// All.
    All,
}

/// Answers.
pub fn answer(request: &HttpRequest) -> Reply {
    let scope = match scope(request) {
        Some(scope) => scope,
        None => {
            return Failure::new(403, "forbidden", "Without API keys, usage is shown to operators only: to programs of this machine.")
                .reply();
        }
    };
    let summary = request.path == SUMMARY;
    let mut query = match query::read(request.query.as_deref().unwrap_or_default(), summary) {
        Ok(query) => query,
        Err(message) => return Failure::invalid(message).reply(),
    };
    if let Scope::Key(name) = scope {
        // Another key's rows and one's own have nothing in common, so whoever asks for them gets none.
        query.selection.filters.push(Filter { field: "api_key_name".into(), comparison: Comparison::Equal, value: Value::Text(name) });
    }
    let answered = if summary { summarise(&query) } else { rows(&query) };
    answered.unwrap_or_else(|reason| Failure::invalid(reason).reply())
}

fn scope(request: &HttpRequest) -> Option<Scope> {
    let header = |name: &str| request.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_slice());
    if let Some(caller) = header("x-wasmgate-caller") {
        let caller: Json = serde_json::from_slice(caller).ok()?;
        return Some(Scope::Key(caller["name"].as_str()?.to_owned()));
    }
    (header("x-wasmgate-operator") == Some(b"true")).then_some(Scope::All)
}

fn rows(query: &Query) -> Result<Reply, String> {
    let page = records::query(&query.selection, query.limit, query.cursor.as_deref())?;
    let columns = &COLUMNS[..COLUMNS.len() - COUNTERS];
    if query.csv {
        let mut text = format!("timestamp,{}\n", columns.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(","));
        for row in &page.rows {
            text.push_str(&query::written(row.at_ms));
            for (at, (name, _)) in columns.iter().enumerate() {
                text.push(',');
                text.push_str(&cell(value(row, at, name)));
            }
            text.push('\n');
        }
        return Ok(csv(text, page.cursor));
    }
    // Written by hand: a tree of values of a whole page takes several times as long.
    let mut text = String::from(r#"{"success":true,"data":{"rows":["#);
    for (n, row) in page.rows.iter().enumerate() {
        text.push_str(if n > 0 { r#",{"timestamp":""# } else { r#"{"timestamp":""# });
        text.push_str(&query::written(row.at_ms));
        text.push('"');
        for (at, (name, _)) in columns.iter().enumerate() {
            text.push_str(",\"");
            text.push_str(name);
            text.push_str("\":");
            text.push_str(&plain(value(row, at, name)).to_string());
        }
        text.push('}');
    }
    text.push_str(r#"],"next_cursor":"#);
    text.push_str(&Json::from(page.cursor).to_string());
    text.push_str("}}");
    Ok(Reply::json(200, text.into_bytes()))
}

fn summarise(query: &Query) -> Result<Reply, String> {
    let columns: Vec<(&str, &str)> = GROUPS
        .iter()
        .filter(|(name, _)| query.by.iter().any(|g| g == name))
        .filter_map(|(name, column)| Some((*name, (*column)?)))
        .collect();
    let by: Vec<String> = columns.iter().map(|(_, column)| (*column).to_owned()).collect();
    let every = query.by.iter().any(|g| g == "day").then_some(DAY_MS);
    let sums: Vec<String> = SUMS.iter().map(|s| (*s).to_owned()).collect();
    let groups = records::summarise(&query.selection, &by, every, &sums)?;
    if groups.len() > MAX_GROUPS {
        let message = format!(
            "There are {} groups, and {MAX_GROUPS} can be shown: choose a shorter time (`since`, `until`), one key or model, or less in `by`.",
            groups.len()
        );
        return Err(message);
    }
    let rows: Vec<Map<String, Json>> = groups.iter().map(|group| summed(group, &columns)).collect();
    if query.csv {
        let names: Vec<&String> = rows.first().map(|r| r.keys().collect()).unwrap_or_default();
        let mut text = names.iter().map(|n| n.as_str()).collect::<Vec<_>>().join(",");
        text.push('\n');
        for row in &rows {
            let cells: Vec<String> = row.values().map(|v| quoted(&v.as_str().map_or_else(|| json_cell(v), str::to_owned))).collect();
            text.push_str(&cells.join(","));
            text.push('\n');
        }
        return Ok(csv(text, None));
    }
    Ok(wrapped::reply(200, &wrapped::data(&json!({"by": query.by, "groups": rows}))))
}

fn summed(group: &Group, columns: &[(&str, &str)]) -> Map<String, Json> {
    let sum = |name: &str| SUMS.iter().position(|s| *s == name).and_then(|at| group.sums.get(at)).copied().unwrap_or(0.0);
    let count = |name: &str| Json::from(sum(name).round() as i64);
    let mut row = Map::new();
    for ((name, _), key) in columns.iter().zip(&group.keys) {
        row.insert((*name).into(), plain(Some(key)));
    }
    if let Some(at) = group.at_ms {
        row.insert("day".into(), query::written(at)[..10].into());
    }
    row.insert("requests".into(), group.count.into());
    row.insert("successes".into(), count("successes"));
    row.insert("failures".into(), (group.count as i64 - sum("successes").round() as i64).into());
    for name in &SUMS[..6] {
        row.insert((*name).into(), count(name));
    }
    // Nothing of it has a price: that is not for nothing.
    let unpriced = sum("unpriced").round() as u64;
    let known = unpriced == 0 || sum("cost_usd") > 0.0;
    row.insert("cost_usd".into(), if known { sum("cost_usd").into() } else { Json::Null });
    row.insert("requests_without_price".into(), unpriced.into());
    row.insert("requests_estimated".into(), count("estimates"));
    for name in ["other_input_tokens", "other_output_tokens", "other_estimated", "other_untold"] {
        row.insert(name.into(), count(name));
    }
    row.insert("other_cost_usd".into(), sum("other_cost_usd").into());
    row.insert("average_latency_ms".into(), (sum("latency_ms") / group.count.max(1) as f64).into());
    row
}

/// The value of a column. It is where the column is, unless the row was written by another version.
fn value<'a>(row: &'a Row, at: usize, name: &str) -> Option<&'a Value> {
    let there = row.fields.get(at).filter(|f| f.name == name);
    there.or_else(|| row.fields.iter().find(|f| f.name == name)).map(|f| &f.value)
}

fn plain(value: Option<&Value>) -> Json {
    match value {
        None | Some(Value::Null) => Json::Null,
        Some(Value::Text(text)) => text.as_str().into(),
        Some(Value::Integer(n)) => (*n).into(),
        Some(Value::Number(n)) => (*n).into(),
        Some(Value::Flag(flag)) => (*flag).into(),
    }
}

/// A cell of CSV (RFC 4180).
fn cell(value: Option<&Value>) -> String {
    match value {
        Some(Value::Text(text)) => quoted(text),
        other => json_cell(&plain(other)),
    }
}

fn json_cell(value: &Json) -> String {
    if value.is_null() { String::new() } else { value.to_string() }
}

/// Text in CSV. What a spreadsheet would take for a formula gets an apostrophe in front: models' names are the caller's.
fn quoted(text: &str) -> String {
    let text = if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { format!("'{text}") } else { text.to_owned() };
    if text.contains([',', '"', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
}

fn csv(text: String, cursor: Option<String>) -> Reply {
    let mut headers = vec![Header { name: "content-type".into(), value: "text/csv; charset=utf-8; header=present".into() }];
    headers.extend(cursor.map(|value| Header { name: "x-next-cursor".into(), value }));
    Reply { status: 200, headers, body: text.into_bytes() }
}
