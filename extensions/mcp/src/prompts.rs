//! Prompts: what people choose in their client, to be sent to whatever model it has. And completions of their arguments.

use serde_json::{Map, Value, json};

use crate::Settings;
use crate::args::Args;
use crate::outcome::Failed;
use crate::reach;
use crate::rpc::{self, Fault};
use crate::server::{arguments, need};

/// Languages that code is validated in.
const LANGUAGES: [&str; 8] = ["go", "javascript", "json", "python", "rust", "toml", "typescript", "yaml"];

/// Most values of a completion, as the protocol has it.
const MOST_VALUES: usize = 100;

/// The value of an argument; empty when it was not given.
type Arg<'a> = &'a dyn Fn(&str) -> String;

struct Prompt {
    name: &'static str,
    title: &'static str,
    description: &'static str,
    /// Name, description, and whether it must be there.
    arguments: &'static [(&'static str, &'static str, bool)],
    write: fn(Arg<'_>) -> String,
}

const PROMPTS: [Prompt; 3] = [
    Prompt {
        name: "write_code",
        title: "Write code",
        description: "Code for a task, validated before it is shown.",
        arguments: &[("task", "What the code has to do.", true), ("language", "What it is written in.", false)],
        write: |arg| {
            format!(
                "Write code{} for this task:\n\n{}\n\nCall the tool `validate` with it, repair what is wrong, and show the result with one \
                 sentence about how it works.",
                in_language(&arg("language")),
                arg("task")
            )
        },
    },
    Prompt {
        name: "fix_code",
        title: "Fix code",
        description: "What is wrong with code, and the code without it.",
        arguments: &[
            ("code", "The code.", true),
            ("problem", "What goes wrong with it.", false),
            ("language", "What it is written in.", false),
        ],
        write: |arg| {
            let problem = match arg("problem") {
                problem if problem.is_empty() => String::new(),
                problem => format!("\n\nWhat goes wrong: {problem}"),
            };
            format!(
                "Call the tool `validate` with this code{}, find what is wrong with it, and show the repaired code and what you \
                 changed:\n\n{}{problem}",
                in_language(&arg("language")),
                arg("code")
            )
        },
    },
    Prompt {
        name: "review_code",
        title: "Review code",
        description: "What a careful reader would say about code.",
        arguments: &[("code", "The code.", true), ("focus", "What matters most, for example security.", false)],
        write: |arg| {
            let focus = match arg("focus") {
                focus if focus.is_empty() => String::new(),
                focus => format!(" What matters most: {focus}."),
            };
            format!(
                "Review this code: errors first, then what is hard to read, each with its line and a better version.{focus}\n\n{}",
                arg("code")
            )
        },
    },
];

fn in_language(language: &str) -> String {
    if language.is_empty() { String::new() } else { format!(" in {language}") }
}

/// Those that there are.
pub fn list() -> Vec<Value> {
    let argument =
        |(name, description, required): &(&str, &str, bool)| json!({"name": name, "description": description, "required": required});
    PROMPTS
        .iter()
        .map(|prompt| {
            let arguments: Vec<_> = prompt.arguments.iter().map(argument).collect();
            json!({"name": prompt.name, "title": prompt.title, "description": prompt.description, "arguments": arguments})
        })
        .collect()
}

/// Writes one.
pub fn one(params: &Map<String, Value>) -> Result<Value, Fault> {
    let prompt = find(need(params, "name")?)?;
    let given = arguments(params)?;
    let names: Vec<_> = prompt.arguments.iter().map(|(name, ..)| *name).collect();
    let args = Args::new(&given, &names).map_err(Fault::params)?;
    let mut values = Vec::new();
    for (name, _, required) in prompt.arguments {
        let value = if *required { Some(args.need(name)) } else { args.text(name).transpose() };
        values.push((*name, value.transpose().map_err(Fault::params)?.unwrap_or_default()));
    }
    let value = |name: &str| values.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned()).unwrap_or_default();
    let text = (prompt.write)(&value);
    Ok(json!({"description": prompt.description, "messages": [{"role": "user", "content": {"type": "text", "text": text}}]}))
}

fn find(name: &str) -> Result<&'static Prompt, Fault> {
    PROMPTS.iter().find(|p| p.name == name).ok_or_else(|| {
        let names: Vec<_> = PROMPTS.iter().map(|p| p.name).collect();
        Fault::params(format!("There is no prompt `{}`; there is `{}`.", rpc::shown(name), names.join("`, `")))
    })
}

/// Completes an argument of a prompt, or the name in a resource's address.
pub fn complete(settings: &Settings, params: &Map<String, Value>) -> Result<Value, Fault> {
    let of = |object: &str, member: &str| params.get(object).and_then(|o| o.get(member)).and_then(Value::as_str);
    let missing = |field: &str| Fault::params(format!("`params.{field}` is missing; it has to be a string."));
    let kind = of("ref", "type").ok_or_else(|| missing("ref.type"))?;
    let argument = of("argument", "name").ok_or_else(|| missing("argument.name"))?;
    let begun = of("argument", "value").ok_or_else(|| missing("argument.value"))?;
    let all: Vec<String> = match kind {
        "ref/prompt" => {
            let prompt = find(of("ref", "name").ok_or_else(|| missing("ref.name"))?)?;
            if !prompt.arguments.iter().any(|(name, ..)| *name == argument) {
                return Err(Fault::params(format!("The prompt `{}` has no argument `{}`.", prompt.name, rpc::shown(argument))));
            }
            if argument == "language" { LANGUAGES.map(str::to_owned).to_vec() } else { Vec::new() }
        }
        "ref/resource" => {
            of("ref", "uri").ok_or_else(|| missing("ref.uri"))?;
            let models = reach::models(&settings.models_path()).map_err(|failed| match failed {
                Failed::Told(reason) => Fault { status: 200, ..Fault::new(rpc::INTERNAL, reason) },
                Failed::Gone => Fault { status: 200, ..Fault::new(rpc::CANCELLED, "Nobody waited.") },
            })?;
            models.iter().filter_map(|m| m["id"].as_str()).map(str::to_owned).collect()
        }
        other => {
            return Err(Fault::params(format!("`params.ref.type` is `{}`; it can be `ref/prompt` or `ref/resource`.", rpc::shown(other))));
        }
    };
    let mut values: Vec<String> = all.into_iter().filter(|v| v.starts_with(begun)).collect();
    let total = values.len();
    values.truncate(MOST_VALUES);
    Ok(json!({"completion": {"values": values, "total": total, "hasMore": total > MOST_VALUES}}))
}
