//! `wasmgate:extension/records`: the extension's own tables of rows.

use std::sync::Arc;

use crate::extensions::bindings::wasmgate::extension::records as wit;
use crate::extensions::state::StoreState;
use crate::extensions::tape::{Function, acted, taped};
use crate::storage::records::{self, Comparison, FieldValue, Filter, Group, Grouping, Page, Records, RecordsError, Row, Selection};

impl wit::Host for &mut StoreState {
    fn append(&mut self, table: String, rows: Vec<wit::Row>) -> wasmtime::Result<Result<(), String>> {
        self.taken(rows.iter().flat_map(|r| &r.fields).map(|f| f.name.len() + size(&f.value)).sum());
        Ok(acted!(self, Function::effect("records.append"), (&table, &rows), Ok(()), {
            let rows = rows.into_iter().map(row).collect();
            self.services.records.append(&self.services.name, &table, rows).map_err(|e| e.to_string())
        }))
    }

    async fn query(
        &mut self,
        selection: wit::Selection,
        limit: u32,
        cursor: Option<String>,
    ) -> wasmtime::Result<Result<wit::Page, String>> {
        Ok(taped!(self, Function::fact("records.query"), (&selection, limit, &cursor), {
            let (selection, limit) = (own_selection(selection), (limit as usize).clamp(1, records::MAX_PAGE));
            let page = self.read(move |records, name| records.query(name, &selection, limit, cursor.as_deref())).await;
            page.map(|Page { rows, cursor }| wit::Page { rows: rows.into_iter().map(wit_row).collect(), cursor })
        }))
    }

    async fn summarise(
        &mut self,
        selection: wit::Selection,
        group_by: Vec<String>,
        every_ms: Option<u64>,
        sums: Vec<String>,
    ) -> wasmtime::Result<Result<Vec<wit::Group>, String>> {
        Ok(taped!(self, Function::fact("records.summarise"), (&selection, &group_by, every_ms, &sums), {
            let (selection, grouping) = (own_selection(selection), Grouping { by: group_by, every_ms, sums });
            let groups = self.read(move |records, name| records.summarise(name, &selection, &grouping)).await;
            groups.map(|groups| groups.into_iter().map(wit_group).collect())
        }))
    }
}

impl StoreState {
    /// Reading may wait for the disk, so it is done where waiting is allowed.
    async fn read<T: Send + 'static>(
        &mut self,
        read: impl FnOnce(&dyn Records, &str) -> Result<T, RecordsError> + Send + 'static,
    ) -> Result<T, String> {
        let services = Arc::clone(&self.services);
        let done = tokio::task::spawn_blocking(move || read(&*services.records, &services.name)).await;
        done.map_err(|_| "the store failed".to_owned())?.map_err(|e| e.to_string())
    }
}

fn size(value: &wit::Value) -> usize {
    match value {
        wit::Value::Text(text) => text.len(),
        wit::Value::Null | wit::Value::Integer(_) | wit::Value::Number(_) | wit::Value::Flag(_) => 8,
    }
}

fn row(row: wit::Row) -> Row {
    Row { at_ms: row.at_ms, fields: row.fields.into_iter().map(|f| (f.name, own_value(f.value))).collect() }
}

fn wit_row(row: Row) -> wit::Row {
    let fields = row.fields.into_iter().map(|(name, value)| wit::Field { name, value: wit_value(value) });
    wit::Row { at_ms: row.at_ms, fields: fields.collect() }
}

fn wit_group(group: Group) -> wit::Group {
    wit::Group { keys: group.keys.into_iter().map(wit_value).collect(), at_ms: group.at_ms, count: group.count, sums: group.sums }
}

fn own_selection(selection: wit::Selection) -> Selection {
    let wit::Selection { table, since_ms, until_ms, filters } = selection;
    let filters =
        filters.into_iter().map(|f| Filter { field: f.field, comparison: own_comparison(f.comparison), value: own_value(f.value) });
    Selection { table, since_ms, until_ms, filters: filters.collect() }
}

fn own_comparison(comparison: wit::Comparison) -> Comparison {
    match comparison {
        wit::Comparison::Equal => Comparison::Equal,
        wit::Comparison::NotEqual => Comparison::NotEqual,
        wit::Comparison::AtLeast => Comparison::AtLeast,
        wit::Comparison::Below => Comparison::Below,
        wit::Comparison::Contains => Comparison::Contains,
    }
}

fn own_value(value: wit::Value) -> FieldValue {
    match value {
        wit::Value::Null => FieldValue::Null,
        wit::Value::Text(text) => FieldValue::Text(text),
        wit::Value::Integer(n) => FieldValue::Integer(n),
        wit::Value::Number(n) => FieldValue::Number(n),
        wit::Value::Flag(flag) => FieldValue::Flag(flag),
    }
}

fn wit_value(value: FieldValue) -> wit::Value {
    match value {
        FieldValue::Null => wit::Value::Null,
        FieldValue::Text(text) => wit::Value::Text(text),
        FieldValue::Integer(n) => wit::Value::Integer(n),
        FieldValue::Number(n) => wit::Value::Number(n),
        FieldValue::Flag(flag) => wit::Value::Flag(flag),
    }
}
