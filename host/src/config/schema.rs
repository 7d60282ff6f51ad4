//! What a configuration may have, for other programs and for people: a JSON Schema, and a file with every setting.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::reader::{FieldDoc, Section as _, Setting as _};
use super::{Auth, Deploy, ExtensionConfig, Logging, OWN, ProviderConfig, Server, Storage, Telemetry};

/// What every value may be besides: not made, or filled in when the file is read.
const BESIDES: &str = "besides";

/// JSON Schema (draft 2020-12) of a configuration file. Names at the top that it does not know belong to extensions.
pub fn schema() -> Value {
    let top: Vec<Value> = vec![
        Server::schema(),
        Auth::schema(),
        Logging::schema(),
        Telemetry::schema(),
        Storage::schema(),
        Deploy::schema(),
        described(Option::<std::path::PathBuf>::schema(), "Folder of the components."),
        described(Option::<std::path::PathBuf>::schema(), "Folder for compiled code; without it, the user's cache folder."),
        described(String::schema(), "Provider for requests that no extension sent anywhere; the only one when there is one."),
        described(std::collections::BTreeMap::<String, ProviderConfig>::schema(), "Where requests are sent, by name."),
        described(std::collections::BTreeMap::<String, ExtensionConfig>::schema(), "What happens to requests on the way, by name."),
    ];
    let properties: Map<String, Value> = OWN.iter().map(|n| (*n).to_owned()).zip(top.into_iter().map(or_besides)).collect();
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Configuration of wasmgate",
        "type": "object",
        "properties": properties,
        "$defs": {BESIDES: {"anyOf": [{"type": "null"}, {"type": "string", "pattern": "\\$\\{[^}]+\\}"}]}},
    })
}

/// The schema of a section.
pub fn section(fields: Vec<FieldDoc>) -> Value {
    let properties = fields.into_iter().map(|field| {
        let doc = text(field.doc);
        (field.name.to_owned(), described(or_besides(field.schema), &doc))
    });
    json!({"type": "object", "properties": properties.collect::<Map<_, _>>(), "additionalProperties": false})
}

/// A value, or what every value may be besides.
pub fn or_besides(schema: Value) -> Value {
    json!({"anyOf": [schema, {"$ref": format!("#/$defs/{BESIDES}")}]})
}

fn described(mut schema: Value, doc: &str) -> Value {
    if let Some(schema) = schema.as_object_mut() {
        schema.insert("description".into(), doc.into());
    }
    schema
}

fn text(doc: &[&str]) -> String {
    doc.iter().map(|d| d.trim()).collect::<Vec<_>>().join(" ")
}

/// Longest line of a comment.
const WIDTH: usize = 110;

/// A configuration with every setting: those that have a default with it, the others as comments.
pub fn reference() -> String {
    let mut page = Page(String::from(
        "# Every setting with its default. Made from the code by `wasmgate config reference`; do not edit.\n\
         # Texts may have `${VARIABLE}` and `${VARIABLE:-default}` in them; secrets may be `file:PATH`.\n",
    ));
    for (name, fields) in [
        ("server", Server::fields()),
        ("auth", Auth::fields()),
        ("logging", Logging::fields()),
        ("telemetry", Telemetry::fields()),
        ("storage", Storage::fields()),
        ("deploy", Deploy::fields()),
    ] {
        let _ = write!(page.0, "\n{name}:\n");
        page.fields(&fields, "  ");
    }
    page.0.push_str(
        "\n# Folder of the components.\n# components:\n\n# Folder for compiled code; without it, the user's cache folder.\n# cache:\n\n",
    );
    page.0.push_str("# Provider for requests that no extension sent anywhere; the only one when there is one.\n# default_provider:\n");
    page.0.push_str("\n# Where requests are sent, by name.\nproviders:\n  echo:\n    type: echo\n  # NAME:\n");
    page.fields(&ProviderConfig::fields(), "  #   ");
    page.0.push_str(
        "\n# What happens to requests on the way, by name: the name of the component without `.wasm`.\n# extensions:\n#   NAME:\n",
    );
    page.fields(&ExtensionConfig::fields(), "#     ");
    page.0
}

/// A page that is being written.
struct Page(String);

impl Page {
    fn fields(&mut self, fields: &[FieldDoc], indent: &str) {
        for field in fields {
            self.comment(&text(field.doc), indent);
            let name = field.name;
            let _ = match (&field.yaml, &field.inner) {
                // A section whose settings have defaults of their own.
                (_, Some(inner)) if field.is_section => {
                    let _ = writeln!(self.0, "{indent}{name}:");
                    self.fields(inner, &format!("{indent}  "));
                    Ok(())
                }
                (yaml, Some(inner)) => {
                    let dash = if field.is_list { "- " } else { "" };
                    let default = yaml.as_deref().map(|y| format!(" {y}")).unwrap_or_default();
                    let _ = writeln!(self.0, "{indent}# {name}:{}", if default == " []" || default == " {}" { "" } else { &default });
                    self.inner(inner, indent, dash);
                    Ok(())
                }
                (Some(yaml), None) => writeln!(self.0, "{indent}{name}: {yaml}"),
                (None, None) => writeln!(self.0, "{indent}# {name}: ({})", field.expected),
            };
        }
    }

    /// The settings of a section that is not there unless somebody makes it.
    fn inner(&mut self, fields: &[FieldDoc], indent: &str, dash: &str) {
        let mut inner = Self(String::new());
        inner.fields(fields, "");
        let blank = " ".repeat(dash.len());
        let mut dash = Some(dash);
        for line in inner.0.lines() {
            let lead = if line.starts_with('#') { blank.as_str() } else { dash.take().unwrap_or(&blank) };
            let _ = writeln!(self.0, "{indent}#   {lead}{line}");
        }
    }

    fn comment(&mut self, text: &str, indent: &str) {
        let mut line = String::new();
        for word in text.split(' ') {
            if !line.is_empty() && indent.len() + 2 + line.len() + 1 + word.len() > WIDTH {
                let _ = writeln!(self.0, "{indent}# {line}");
                line.clear();
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        let _ = writeln!(self.0, "{indent}# {line}");
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{Config, Reading, Severity, Source};

    fn file(path: &str) -> String {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the repository");
        std::fs::read_to_string(root.join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
    }

    fn read(text: &str) -> Reading {
        Reading::of(Source::parse("x.yaml", text, &[], &|_| Some("x".into())))
    }

    #[test]
    fn the_reference_is_the_one_of_this_code_and_says_the_defaults() {
        assert_eq!(file("configs/reference.yaml"), reference(), "write it anew: wasmgate config reference > configs/reference.yaml");
        let reading = read(&reference());
        assert_eq!(reading.problems, []);
        let expect = Config { providers: reading.config.providers.clone(), ..read("providers: {echo: {type: echo}}").config };
        assert_eq!(reading.config, expect);
    }

    #[test]
    fn every_setting_that_stands_as_a_comment_can_be_made() {
        // Without the first `# ` of lines that are settings; what is expected stands in parentheses.
        let names: Vec<String> = reference()
            .lines()
            .filter_map(|l| l.trim_start_matches(['#', ' ', '-']).split_once(':').map(|(n, _)| n.to_owned()))
            .filter(|n| n.chars().all(|c| c.is_ascii_lowercase() || c == '_'))
            .collect();
        for field in
            [Server::fields(), Auth::fields(), Logging::fields(), Deploy::fields(), ProviderConfig::fields(), ExtensionConfig::fields()]
                .iter()
                .flatten()
        {
            assert!(names.iter().any(|n| n == field.name), "{} is not there", field.name);
            for inner in field.inner.iter().flatten() {
                assert!(names.iter().any(|n| n == inner.name), "{}.{} is not there", field.name, inner.name);
            }
        }
    }

    #[test]
    fn the_schema_takes_what_the_reader_takes() {
        let validator = jsonschema::validator_for(&schema()).expect("it is a schema");
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the repository").join("configs");
        let mut files = 0;
        for entry in std::fs::read_dir(root).expect("there are configurations") {
            let entry = entry.expect("it can be read");
            if entry.path().is_dir() {
                continue;
            }
            let name = entry.file_name().into_string().expect("UTF-8");
            let document = read(&file(&format!("configs/{name}"))).source.value;
            let problems: Vec<String> = validator.iter_errors(&document).map(|e| format!("{}: {e}", e.instance_path())).collect();
            assert!(problems.is_empty(), "{name}: {problems:#?}");
            files += 1;
        }
        assert!(files >= 3);
        for good in [
            json!({"server": {"port": "${PORT}", "cors": {"origins": ["*"]}}, "providers": {"a": {"type": "echo"}}, "extensions": {"routing": null}}),
            json!({"aliases": {"fast": "m"}, "extensions": {"x": {"on_error": {"stream-filter": "skip"}, "grant": ["http"]}}}),
            json!({"server": {"body_timeout": "1.5s"}, "deploy": {"pins": [{"extension": "a", "version": "1", "key": 5}]}}),
        ] {
            assert!(validator.is_valid(&good), "{good}: {:?}", validator.iter_errors(&good).map(|e| e.to_string()).collect::<Vec<_>>());
        }
        for bad in [
            json!({"server": {"prot": 1}}),
            json!({"server": {"port": 70000}}),
            json!({"server": {"body_timeout": "5 parsecs"}}),
            json!({"logging": {"format": "xml"}}),
            json!({"providers": {"a": {"models": "gpt"}}}),
            json!({"extensions": {"x": {"grant": ["everything"]}}}),
            json!({"server": {"tls": {"certificate": "x"}}}),
        ] {
            assert!(!validator.is_valid(&bad), "{bad}");
            // The reader says so too.
            let reading = read(&bad.to_string());
            assert!(reading.problems.iter().any(|p| p.severity == Severity::Error && p.path != "providers"), "{bad}");
        }
    }

    #[test]
    fn every_name_at_the_top_is_in_all_three() {
        let shown: Vec<String> = read("providers: {a: {type: echo}}").config.shown().into_iter().map(|(n, _)| n).collect();
        assert_eq!(shown, OWN);
        let reference = reference();
        for name in OWN {
            assert!(reference.lines().any(|l| l.trim_start_matches("# ").starts_with(&format!("{name}:"))), "{name}");
        }
    }
}
