//! Tools that other extensions answer: `validate`, `best_of_n`, `list_models`, `usage`. Their rules are those extensions' own.

use serde_json::{Map, Value, json};

use super::generate::{MOST_TOKENS, model};
use super::{hints, object, open, text};
use crate::Settings;
use crate::args::Args;
use crate::outcome::{Failed, Outcome};
use crate::reach;
use crate::transport::Report;

pub fn describe_validate() -> Value {
    json!({
        "title": "Validate code",
        "description": "Says whether code parses, and if not, what is wrong where. Give `code`, or a `text` with code blocks in it.",
        "inputSchema": object(&[], json!({
            "code": text("Code of one language."),
            "text": text("A text with code in it, instead of `code`."),
            "language": text("Of `code`: go, python, javascript, typescript, json, yaml, toml or rust. Found out when it is not there."),
            "auto_fix": {"type": "boolean", "default": false, "description": "Whether to repair what something simple repairs."},
        })),
        "outputSchema": open(&["result", "blocks"], json!({
            "result": {"enum": ["valid", "fixed", "invalid", "unchecked"]},
            "valid": {"type": ["boolean", "null"]},
            "blocks": {"type": "array", "items": {"type": "object"}},
            "code": {"type": "string"},
            "text": {"type": "string"},
        })),
        "annotations": hints("Validate code", true, false, true, false),
    })
}

pub fn validate(settings: &Settings, given: &Map<String, Value>, _report: &mut Report<'_>) -> Result<Outcome, Failed> {
    let args = Args::new(given, &["code", "text", "language", "auto_fix"])?;
    if args.text("code")?.is_none() && args.text("text")?.is_none() {
        return Err(Failed::Told("`code` is missing: send code as `code`, or a text with code in it as `text`.".into()));
    }
    let data = reach::data("POST", &settings.validate_path, Some(&Value::Object(given.clone())))?;
    let mut said = format!("{}\n", data["result"].as_str().unwrap_or_default());
    for block in data["blocks"].as_array().map_or(&[][..], Vec::as_slice) {
        for problem in block["diagnostics"].as_array().map_or(&[][..], Vec::as_slice) {
            let message = problem["message"].as_str().unwrap_or_default();
            said.push_str(&format!("line {}, column {}: {message}\n", problem["line"], problem["column"]));
        }
    }
    if let Some(repaired) = data["code"].as_str().or(data["text"].as_str()) {
        said.push_str(&format!("\nRepaired:\n{repaired}"));
    }
    Ok(Outcome { text: said, data })
}

pub fn describe_best() -> Value {
    json!({
        "title": "Best of several answers",
        "description": "Asks for several answers to one prompt, and gives the best one, or one that is put together of them, with scores.",
        "inputSchema": object(&["prompt"], json!({
            "prompt": text("What is asked."),
            "model": text("A model, an alias or `provider/model`; `list_models` says which there are."),
            "num_candidates": {"type": "integer", "minimum": 1, "maximum": 12, "description": "How many answers."},
            "synthesis_method": {"enum": ["code_quality", "vote", "merge", "judge"], "description": "How one answer is made of them."},
            "max_tokens": {"type": "integer", "minimum": 1, "description": "Longest answer, in tokens."},
            "temperature": {"type": "number", "minimum": 0, "maximum": 2},
        })),
        "outputSchema": open(&["content", "candidates", "chosen"], json!({
            "content": {"type": "string"},
            "model": {"type": ["string", "null"]},
            "provider": {"type": ["string", "null"]},
            "method": {"type": "string"},
            "chosen": {"type": "integer"},
            "candidates": {"type": "array", "items": {"type": "object"}},
            "usage": {"type": ["object", "null"]},
        })),
        "annotations": hints("Best of several answers", true, false, false, true),
    })
}

pub fn best(settings: &Settings, given: &Map<String, Value>, report: &mut Report<'_>) -> Result<Outcome, Failed> {
    let args = Args::new(given, &["prompt", "model", "num_candidates", "synthesis_method", "max_tokens", "temperature"])?;
    args.need("prompt")?;
    args.whole("num_candidates", 1, 12)?;
    args.word("synthesis_method", &["code_quality", "vote", "merge", "judge"])?;
    args.number("temperature", 0.0, 2.0)?;
    let mut body = Value::Object(given.clone());
    body["model"] = model(settings, &args)?.into();
    body["max_tokens"] = args.whole("max_tokens", 1, MOST_TOKENS)?.unwrap_or(settings.max_tokens).into();
    report.slow();
    report.progress(0.5, Some(1.0), "the candidates are asked for")?;
    let data = reach::data("POST", &settings.best_of_n_path, Some(&body))?;
    Ok(Outcome { text: data["content"].as_str().unwrap_or_default().to_owned(), data })
}

pub fn describe_models() -> Value {
    json!({
        "title": "List models",
        "description": "The models that this caller may ask for, aliases included.",
        "inputSchema": object(&[], json!({})),
        "outputSchema": open(&["models"], json!({
            "models": {"type": "array", "items": open(&["id"], json!({"id": {"type": "string"}, "provider": {"type": "string"}}))},
        })),
        "annotations": hints("List models", true, false, true, false),
    })
}

pub fn models(settings: &Settings, given: &Map<String, Value>, _report: &mut Report<'_>) -> Result<Outcome, Failed> {
    Args::new(given, &[])?;
    let models = reach::models(&settings.models_path())?;
    let lines: Vec<_> = models.iter().filter_map(|m| m["id"].as_str()).collect();
    Ok(Outcome { text: lines.join("\n"), data: json!({"models": models}) })
}

/// What usage can be added up by.
const BY: [&str; 6] = ["model", "provider", "day", "endpoint", "status", "requested_model"];

pub fn describe_usage() -> Value {
    json!({
        "title": "Usage",
        "description": "Requests, tokens and cost of this caller, added up.",
        "inputSchema": object(&[], json!({
            "by": {"enum": BY, "default": "model", "description": "What it is added up by."},
            "since": text("Not before this time: `2026-01-31` or `2026-01-31T08:00:00Z`."),
            "until": text("Before this time."),
        })),
        "outputSchema": open(&["by", "groups"], json!({
            "by": {"type": "array", "items": {"type": "string"}},
            "groups": {"type": "array", "items": {"type": "object"}},
        })),
        "annotations": hints("Usage", true, false, true, false),
    })
}

pub fn usage(settings: &Settings, given: &Map<String, Value>, _report: &mut Report<'_>) -> Result<Outcome, Failed> {
    let args = Args::new(given, &["by", "since", "until"])?;
    let mut path = format!("{}?by={}", settings.usage_path, args.word("by", &BY)?.unwrap_or("model"));
    for name in ["since", "until"] {
        if let Some(time) = args.text(name)? {
            path.push_str(&format!("&{name}={}", reach::escaped(time)));
        }
    }
    let data = reach::data("GET", &path, None)?;
    Ok(Outcome { text: data.to_string(), data })
}
