//! Schemas in the format's own language (a subset of OpenAPI 3.0: types in capitals, `nullable`), as JSON Schema, which the hub has.
//!
//! Nothing is translated back: the format takes JSON Schema too, in members of their own.

use std::collections::HashSet;

use crate::DecodeError;
use crate::json::{Array, Kind, Object, Path, Value, write_raw, write_string};

/// The schema as JSON Schema. What is no keyword of the language stays as it is.
pub(super) fn to_json_schema(schema: Value<'_>) -> String {
    let mut out = Vec::new();
    convert(schema, &mut out);
    String::from_utf8(out).unwrap_or_default()
}

/// Refuses a schema that tells a keyword twice, in one spelling or in both: the JSON Schema could keep only one of them.
pub(super) fn check(schema: Value<'_>, path: &Path<'_>) -> Result<(), DecodeError> {
    let Some(f) = schema.object() else { return Ok(()) };
    let mut told = HashSet::new();
    for (key, value) in f.untaken() {
        let name = camel(&key);
        let here = path.key(&name);
        match name.as_str() {
            "properties" | "defs" | "$defs" => {
                if let Some(members) = value.object() {
                    for (key, schema) in members.untaken() {
                        check(schema, &here.key(&key))?;
                    }
                }
            }
            "items" | "additionalProperties" => check(value, &here)?,
            "anyOf" | "prefixItems" => {
                for (i, schema) in value.elements().into_iter().flatten().enumerate() {
                    check(schema, &here.index(i))?;
                }
            }
            _ => {}
        }
        if !told.insert(name.clone()) {
            return Err(DecodeError::new(here, "told twice; say it once"));
        }
    }
    Ok(())
}

fn convert(schema: Value<'_>, out: &mut Vec<u8>) {
    let Some(f) = schema.object() else { return write_raw(out, schema.raw()) };
    let nullable = f.peek("nullable").and_then(Value::bool) == Some(true);
    let mut o = Object::new(out);
    for e in f.rest() {
        let Some(value) = Value::parse(&e.value) else { continue };
        let name = camel(&e.name);
        match name.as_str() {
            "type" => write_type(o.key("type"), value, nullable),
            "nullable" | "propertyOrdering" => {}
            // `enum` only repeats that there is a list of them.
            "format" if value.raw() == "\"enum\"" => {}
            "properties" | "defs" | "$defs" => convert_members(o.key(&name), value),
            "items" | "additionalProperties" => convert(value, o.key(&name)),
            "anyOf" | "prefixItems" => convert_list(o.key(&name), value),
            // 64-bit numbers are strings in Google's JSON.
            "minItems" | "maxItems" | "minLength" | "maxLength" | "minProperties" | "maxProperties" => {
                let number = value.text().filter(|text| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()));
                o.json(&name, number.as_deref().unwrap_or(value.raw()));
            }
            _ => o.raw(&name, value.raw()),
        }
    }
    o.end();
}

fn write_type(out: &mut Vec<u8>, value: Value<'_>, nullable: bool) {
    let Some(word) = value.text() else { return write_raw(out, value.raw()) };
    let word = if word.bytes().all(|b| b.is_ascii_uppercase()) { word.to_ascii_lowercase() } else { word.into_owned() };
    if !nullable {
        return write_string(out, &word);
    }
    let mut list = Array::new(out);
    list.string(&word);
    list.string("null");
    list.end();
}

fn convert_members(out: &mut Vec<u8>, value: Value<'_>) {
    let Some(f) = value.object() else { return write_raw(out, value.raw()) };
    let mut o = Object::new(out);
    for e in f.rest() {
        if let Some(value) = Value::parse(&e.value) {
            convert(value, o.key(&e.name));
        }
    }
    o.end();
}

fn convert_list(out: &mut Vec<u8>, value: Value<'_>) {
    if value.kind() != Kind::Array {
        return write_raw(out, value.raw());
    }
    let mut list = Array::new(out);
    for schema in value.elements().into_iter().flatten() {
        convert(schema, list.element());
    }
    list.end();
}

/// A keyword as documented: `any_of` is `anyOf`.
fn camel(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    let mut raise = false;
    for c in name.chars() {
        match c {
            '_' if !out.is_empty() => raise = true,
            c if std::mem::take(&mut raise) => out.push(c.to_ascii_uppercase()),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(schema: &str, expect: &str) {
        assert_eq!(to_json_schema(Value::parse(schema).unwrap()), expect, "{schema}");
    }

    #[test]
    fn keywords_told_twice() {
        let check = |schema: &str, expect: &str| {
            let found = super::check(Value::parse(schema).unwrap(), &Path::Root).map_err(|e| e.path);
            assert_eq!(found.err().unwrap_or_default(), expect, "{schema}");
        };
        check(r#"{"type":"OBJECT","properties":{"any_of":{"type":"STRING"},"anyOf":{"type":"STRING"}}}"#, "");
        check(r#"{"anyOf":[{}],"any_of":[]}"#, "anyOf");
        check(r#"{"type":"STRING","type":"OBJECT"}"#, "type");
        check(r#"{"properties":{"a":{"items":{"min_items":1,"minItems":2}}}}"#, "properties.a.items.minItems");
        check(r#"{"any_of":[true,{"maxLength":1,"max_length":2}]}"#, "anyOf[1].maxLength");
    }

    #[test]
    fn schemas() {
        check(
            r#"{"type":"OBJECT","properties":{"any_of":{"type":"STRING","format":"enum","enum":["a"]}},"required":["any_of"]}"#,
            r#"{"type":"object","properties":{"any_of":{"type":"string","enum":["a"]}},"required":["any_of"]}"#,
        );
        check(r#"{"type":"INTEGER","format":"int64","nullable":true}"#, r#"{"type":["integer","null"],"format":"int64"}"#);
        check(
            r#"{"type":"ARRAY","items":{"any_of":[{"type":"NUMBER"},{"type":"BOOLEAN"}]},"min_items":"2"}"#,
            r#"{"type":"array","items":{"anyOf":[{"type":"number"},{"type":"boolean"}]},"minItems":2}"#,
        );
        check(
            r#"{"type":"object","additionalProperties":false,"propertyOrdering":["a"]}"#,
            r#"{"type":"object","additionalProperties":false}"#,
        );
        check(r#"{"type":["string"],"properties":5,"anyOf":1}"#, r#"{"type":["string"],"properties":5,"anyOf":1}"#);
        check("true", "true");
    }
}
