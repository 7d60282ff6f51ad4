//! `extension.toml`: checked here, so that a mistake is an error of the build and not of the gateway's start.

use anyhow::{Result, anyhow, bail};
use toml::{Table, Value};

pub const MANIFEST_FILE: &str = "extension.toml";

#[derive(Debug)]
pub struct Manifest {
    pub name: String,
    /// The whole manifest with its keys in the order of the file.
    pub json: String,
}

struct Field {
    name: &'static str,
    required: bool,
    check: fn(&Value) -> Result<(), String>,
}

/// Every field that a manifest may have.
const FIELDS: [Field; 19] = [
    Field { name: "name", required: true, check: is_name },
    Field { name: "version", required: true, check: is_semver },
    Field { name: "description", required: true, check: is_text },
    Field { name: "license", required: false, check: is_text },
    Field { name: "priority", required: false, check: is_priority },
    Field { name: "dependencies", required: false, check: is_list_of_names },
    Field { name: "after", required: false, check: is_list_of_names },
    Field { name: "capabilities", required: false, check: is_list_of_names },
    Field { name: "optional", required: false, check: is_list_of_names },
    Field { name: "sections", required: false, check: is_sections },
    Field { name: "storage", required: false, check: is_text },
    Field { name: "shares", required: false, check: is_sections },
    Field { name: "access", required: false, check: is_access },
    Field { name: "identity", required: false, check: is_http_path },
    Field { name: "catalogue", required: false, check: is_http_path },
    Field { name: "models", required: false, check: is_flag },
    Field { name: "toggle", required: false, check: is_toggle },
    Field { name: "attempts", required: false, check: is_told },
    Field { name: "config", required: false, check: is_schema },
];

/// Checks the text of an `extension.toml`. All problems are reported at once.
pub fn parse(text: &str) -> Result<Manifest> {
    let table: Table = text.parse().map_err(|error| anyhow!("{error}"))?;
    let problems = problems(&table);
    if !problems.is_empty() {
        bail!("{}", problems.join("; "));
    }
    let name = table["name"].as_str().unwrap_or_default().to_owned();
    Ok(Manifest { name, json: serde_json::to_string(&table)? })
}

fn problems(table: &Table) -> Vec<String> {
    let mut problems = Vec::new();
    for field in &FIELDS {
        match table.get(field.name) {
            None if field.required => problems.push(format!("field `{}` is missing", field.name)),
            None => {}
            Some(value) => {
                if let Err(problem) = (field.check)(value) {
                    problems.push(format!("field `{}` {problem}", field.name));
                }
            }
        }
    }
    for key in table.keys().filter(|key| FIELDS.iter().all(|field| field.name != key.as_str())) {
        let known = FIELDS.map(|field| field.name).join(", ");
        problems.push(format!("field `{key}` is not known (known: {known})"));
    }
    problems
}

fn string(value: &Value) -> Result<&str, String> {
    value.as_str().ok_or_else(|| format!("must be a string, not {}", article(value)))
}

fn is_text(value: &Value) -> Result<(), String> {
    if string(value)?.trim().is_empty() { Err("must not be empty".to_owned()) } else { Ok(()) }
}

fn is_name(value: &Value) -> Result<(), String> {
    let name = string(value)?;
    let starts_well = name.starts_with(|c: char| c.is_ascii_lowercase());
    if starts_well && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-') {
        Ok(())
    } else {
        Err(format!("must be lower-case letters, digits and `-`, starting with a letter, not {name:?}"))
    }
}

/// A setting of the gateway's configuration, as a dotted path.
fn is_path(key: &str) -> Result<(), String> {
    let is_name = |name: &str| !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    if key.split('.').all(is_name) { Ok(()) } else { Err(format!("must be letters, digits, `_` and `-` between dots, not {key:?}")) }
}

fn is_semver(value: &Value) -> Result<(), String> {
    let version = string(value)?;
    semver::Version::parse(version).map(drop).map_err(|error| format!("must be a semantic version such as 0.1.0, not {version:?}: {error}"))
}

fn is_priority(value: &Value) -> Result<(), String> {
    let priority = value.as_integer().ok_or_else(|| format!("must be an integer, not {}", article(value)))?;
    i32::try_from(priority).map(drop).map_err(|_| format!("must fit in 32 bits, not {priority}"))
}

fn is_list_of_names(value: &Value) -> Result<(), String> {
    each_in_list(value, is_name)
}

/// Sections of the gateway's configuration, each with its place in the extension's own: a key, or `.` for the top.
fn is_sections(value: &Value) -> Result<(), String> {
    let table = value.as_table().ok_or_else(|| format!("must be a table, not {}", article(value)))?;
    for (path, place) in table {
        is_path(path)?;
        let place = string(place).map_err(|problem| format!("`{path}` {problem}"))?;
        if place != "." {
            is_path(place).map_err(|problem| format!("`{path}` {problem}"))?;
        }
    }
    Ok(())
}

fn is_toggle(value: &Value) -> Result<(), String> {
    match string(value)? {
        "on" | "off" => Ok(()),
        other => Err(format!("must be `on` or `off`, not {other:?}")),
    }
}

/// Of which requests its hook `attempts` is told.
fn is_told(value: &Value) -> Result<(), String> {
    match string(value)? {
        "all" | "several" => Ok(()),
        other => Err(format!("must be `all` or `several`, not {other:?}")),
    }
}

/// Who may use its `http` routes.
fn is_access(value: &Value) -> Result<(), String> {
    match string(value)? {
        "open" | "caller" | "operator" => Ok(()),
        other => Err(format!("must be `open`, `caller` or `operator`, not {other:?}")),
    }
}

/// A path where its `http` export is asked.
fn is_http_path(value: &Value) -> Result<(), String> {
    let path = string(value)?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "/-_.".contains(c);
    if path.starts_with('/') && path.chars().all(plain) { Ok(()) } else { Err(format!("must be a path such as `/name`, not {path:?}")) }
}

fn is_flag(value: &Value) -> Result<(), String> {
    value.as_bool().map(drop).ok_or_else(|| format!("must be true or false, not {}", article(value)))
}

fn each_in_list(value: &Value, check: fn(&Value) -> Result<(), String>) -> Result<(), String> {
    let list = value.as_array().ok_or_else(|| format!("must be a list of strings, not {}", article(value)))?;
    for (index, item) in list.iter().enumerate() {
        check(item).map_err(|problem| format!("[{index}] {problem}"))?;
        if list[..index].contains(item) {
            return Err(format!("[{index}] repeats {:?}", item.as_str().unwrap_or_default()));
        }
    }
    Ok(())
}

/// A JSON Schema written as TOML; JSON has no dates, and TOML no null, so nothing else can go wrong in the translation.
fn is_schema(value: &Value) -> Result<(), String> {
    match value {
        Value::Table(_) if has_date(value) => Err("must not hold a TOML date: JSON has none, use a string".to_owned()),
        Value::Table(_) => Ok(()),
        other => Err(format!("must be a table, not {}", article(other))),
    }
}

fn has_date(value: &Value) -> bool {
    match value {
        Value::Datetime(_) => true,
        Value::Array(items) => items.iter().any(has_date),
        Value::Table(table) => table.values().any(has_date),
        _ => false,
    }
}

fn article(value: &Value) -> String {
    let kind = value.type_str();
    let article = if kind.starts_with(['a', 'i']) { "an" } else { "a" };
    format!("{article} {kind}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUIRED: &str = "name = \"routing\"\nversion = \"0.1.0\"\ndescription = \"Routes.\"\n";

    fn problem_of(addition: &str) -> String {
        parse(&format!("{REQUIRED}{addition}")).unwrap_err().to_string()
    }

    #[test]
    fn a_full_manifest_becomes_json_in_its_own_order() {
        let manifest = parse(
            r#"
            version = "0.1.0"
            name = "routing"
            description = "Routes."
            license = "Apache-2.0"
            priority = -5
            dependencies = ["apikeys"]
            after = []
            capabilities = ["log", "providers"]
            sections = { aliases = "aliases", "endpoints.openai" = "." }
            [config]
            type = "object"
            properties.depth = { type = "integer", default = 3 }
            "#,
        )
        .unwrap();
        assert_eq!(manifest.name, "routing");
        assert_eq!(
            manifest.json,
            concat!(
                r#"{"version":"0.1.0","name":"routing","description":"Routes.","license":"Apache-2.0","priority":-5,"#,
                r#""dependencies":["apikeys"],"after":[],"capabilities":["log","providers"],"sections":{"aliases":"aliases","endpoints.openai":"."},"#,
                r#""config":{"type":"object","properties":{"depth":{"type":"integer","default":3}}}}"#
            )
        );
    }

    #[test]
    fn required_fields_are_all_named() {
        assert_eq!(
            parse("").unwrap_err().to_string(),
            "field `name` is missing; field `version` is missing; field `description` is missing"
        );
    }

    #[test]
    fn each_wrong_field_says_what_it_must_be() {
        for (addition, expected) in [
            ("priority = \"1\"", "field `priority` must be an integer, not a string"),
            ("priority = 3000000000", "field `priority` must fit in 32 bits, not 3000000000"),
            ("license = \" \"", "field `license` must not be empty"),
            ("after = \"x\"", "field `after` must be a list of strings, not a string"),
            ("after = [\"a\", 1]", "field `after` [1] must be a string, not an integer"),
            ("after = [\"a\", \"a\"]", "field `after` [1] repeats \"a\""),
            ("dependencies = [\"A\"]", "field `dependencies` [0] must be lower-case"),
            ("sections = [\"a\"]", "field `sections` must be a table, not"),
            ("sections = { \"a..b\" = \".\" }", "field `sections` must be letters"),
            ("sections = { a = 1 }", "field `sections` `a` must be a string"),
            ("access = \"all\"", "field `access` must be `open`, `caller` or `operator`"),
            ("identity = \"who\"", "field `identity` must be a path such as `/name`"),
            ("models = 1", "field `models` must be true or false"),
            ("toggle = \"maybe\"", "field `toggle` must be `on` or `off`"),
            ("attempts = \"two\"", "field `attempts` must be `all` or `several`"),
            ("config = 1", "field `config` must be a table, not an integer"),
            ("[config]\nday = 2026-01-01", "field `config` must not hold a TOML date"),
            ("capabilites = []", "field `capabilites` is not known (known: name, version"),
        ] {
            let problem = problem_of(addition);
            assert!(problem.starts_with(expected), "{addition}: {problem}");
        }
    }

    #[test]
    fn names_and_versions_are_checked() {
        for (name, version) in [("Routing", "0.1.0"), ("1a", "0.1.0"), ("", "0.1.0"), ("a_b", "0.1.0"), ("a", "1"), ("a", "v1.0.0")] {
            assert!(parse(&format!("name = {name:?}\nversion = {version:?}\ndescription = \"d\"")).is_err(), "{name} {version}");
        }
    }

    #[test]
    fn broken_toml_is_an_error_with_its_line() {
        let error = parse("name = ").unwrap_err().to_string();
        assert!(error.contains("line 1"), "{error}");
    }
}
