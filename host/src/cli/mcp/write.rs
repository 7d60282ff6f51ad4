//! The tool `write` on the side that has the files: their contents are read for the server, and what it answers is written.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};
use similar::TextDiff;

use super::files::{Files, Inside};

/// The tool's name.
pub const TOOL: &str = "write";

/// Most other files that a call may name.
const MOST_FILES: usize = 64;

/// Time for a difference; beyond it, it is a coarse one.
const DIFF: Duration = Duration::from_millis(500);

/// A call that is under way.
pub struct Writing {
    path: Inside,
    /// What was in the file.
    old: Option<String>,
}

/// What the tool is for whoever has no files in hand.
pub fn describe(tool: &mut Value) {
    tool["description"] =
        "Makes or changes one file as a prompt says. What was there is kept and can be restored; code that does not parse is \
                           not written. The answer has a unified diff."
            .into();
    if let Some(properties) = tool.pointer_mut("/inputSchema/properties").and_then(Value::as_object_mut) {
        properties.remove("original");
        properties.remove("context");
        properties.insert("path".into(), json!({"type": "string", "description": "The file, relative to the working folder."}));
        let files = json!({
            "type": "array", "items": {"type": "string"}, "maxItems": MOST_FILES,
            "description": "Other files that matter, relative to the working folder.",
        });
        properties.insert("context_files".into(), files);
        let restore =
            json!({"type": "boolean", "default": false, "description": "Puts back what was there before, instead of asking a model."});
        properties.insert("restore_previous".into(), restore);
    }
    tool["inputSchema"]["required"] = json!(["path"]);
    if let Some(properties) = tool.pointer_mut("/outputSchema/properties").and_then(Value::as_object_mut) {
        properties.insert("written".into(), json!({"type": "boolean"}));
        properties.insert("backup".into(), json!({"type": "string"}));
        properties.insert("restored".into(), json!({"type": "boolean"}));
        // A file that was not there before is away again.
        properties.insert("content".into(), json!({"type": ["string", "null"]}));
    }
    tool["annotations"]["readOnlyHint"] = false.into();
    tool["annotations"]["destructiveHint"] = true.into();
}

/// Puts contents in the place of paths. The error is a result: what is wrong, or what was restored.
pub async fn begin(files: &Arc<Files>, message: &mut Value) -> Result<Writing, Value> {
    let arguments = message.pointer_mut("/params/arguments").and_then(Value::as_object_mut);
    let Some(arguments) = arguments else { return Err(failure("`path` is missing; it has to be a string.")) };
    let (files, mut given) = (Arc::clone(files), std::mem::take(arguments));
    // Files may be slow.
    let begun = tokio::task::spawn_blocking(move || {
        let read = read(&files, &mut given);
        (read, given)
    });
    let Ok((begun, given)) = begun.await else { return Err(failure("The files cannot be read at present.")) };
    *arguments = given;
    match begun {
        Ok(Begun::Write(writing)) => Ok(writing),
        Ok(Begun::Restored(result)) => Err(result),
        Err(reason) => Err(failure(&reason)),
    }
}

enum Begun {
    Write(Writing),
    Restored(Value),
}

fn read(files: &Files, arguments: &mut Map<String, Value>) -> Result<Begun, String> {
    for own in ["original", "context"] {
        if arguments.contains_key(own) {
            return Err(format!("`{own}`: there is no such argument; files are read here, by `path` and `context_files`."));
        }
    }
    let Some(path) = arguments.get("path").and_then(Value::as_str) else {
        return Err("`path` is missing; it has to be a string.".into());
    };
    let path = files.inside("path", path)?;
    let old = files.read(&path)?;
    match arguments.remove("restore_previous") {
        None | Some(Value::Null | Value::Bool(false)) => {}
        Some(Value::Bool(true)) if arguments.contains_key("prompt") => {
            return Err("`prompt` goes not with `restore_previous`: send one of them.".into());
        }
        Some(Value::Bool(true)) => return restore(files, &path, old.as_deref()).map(Begun::Restored),
        Some(_) => return Err("`restore_previous` has to be true or false.".into()),
    }
    let mut context = Vec::new();
    match arguments.remove("context_files") {
        None | Some(Value::Null) => {}
        Some(Value::Array(names)) if names.len() <= MOST_FILES => {
            for name in names {
                let name = name.as_str().ok_or("`context_files` has to be a list of paths.")?;
                let other = files.inside("context_files", name)?;
                let content = files.read(&other)?.ok_or_else(|| format!("`context_files` has `{}`, which is not there.", other.shown()))?;
                context.push(json!({"path": other.shown(), "content": content}));
            }
        }
        Some(_) => return Err(format!("`context_files` has to be a list of {MOST_FILES} paths at most.")),
    }
    arguments.insert("path".into(), path.shown().into());
    arguments.insert("context".into(), context.into());
    if let Some(old) = &old {
        arguments.insert("original".into(), old.as_str().into());
    }
    Ok(Begun::Write(Writing { path, old }))
}

/// What is there now becomes the newest backup, so that restoring again undoes it.
fn restore(files: &Files, path: &Inside, now: Option<&str>) -> Result<Value, String> {
    let Some((backup, before)) = files.newest(path)? else {
        return Err(format!("There is no backup of `{}`.", path.shown()));
    };
    if before.is_none() && now.is_none() {
        return Err(format!("`{}` is not there, and was not before.", path.shown()));
    }
    let kept = files.replace(path, now, before.as_deref())?;
    files.forget(&backup);
    let diff = diff(path.shown(), now, before.as_deref());
    let data = json!({
        "path": path.shown(), "content": before, "diff": diff, "changed": now != before.as_deref(),
        "validation": {"result": "unchecked", "reason": "it was restored"}, "written": true, "restored": true, "backup": kept,
    });
    let text = format!("`{}` is as it was before:\n{diff}", path.shown());
    Ok(json!({"content": [{"type": "text", "text": text}], "structuredContent": data, "isError": false}))
}

fn diff(path: &str, old: Option<&str>, new: Option<&str>) -> String {
    let name = |side: &str, content: Option<&str>| if content.is_some() { format!("{side}/{path}") } else { "/dev/null".into() };
    let mut config = TextDiff::configure();
    config.timeout(DIFF);
    let diff = config.diff_lines(old.unwrap_or_default(), new.unwrap_or_default());
    diff.unified_diff().context_radius(3).header(&name("a", old), &name("b", new)).to_string()
}

/// Writes what the server answered, if it may be written, and says so in its result.
pub async fn end(files: &Arc<Files>, writing: Writing, result: &mut Value) {
    let data = &result["structuredContent"];
    let Some(content) = data["content"].as_str().map(str::to_owned).filter(|_| result["isError"] != true) else { return };
    if data["validation"]["result"] == "invalid" {
        let problems = problems(&data["validation"]);
        let text = format!("`{}` was not written: what the model gave does not parse.\n{problems}", writing.path.shown());
        return fail(result, &text);
    }
    if data["changed"] == false {
        result["structuredContent"]["written"] = false.into();
        return;
    }
    let files = Arc::clone(files);
    let written = tokio::task::spawn_blocking(move || files.replace(&writing.path, writing.old.as_deref(), Some(&content))).await;
    match written {
        Ok(Ok(backup)) => {
            result["structuredContent"]["written"] = true.into();
            result["structuredContent"]["backup"] = backup.into();
        }
        Ok(Err(reason)) => fail(result, &reason),
        Err(_) => fail(result, "The file cannot be written at present."),
    }
}

fn problems(validation: &Value) -> String {
    let mut text = String::new();
    for block in validation["blocks"].as_array().into_iter().flatten() {
        for problem in block["diagnostics"].as_array().into_iter().flatten() {
            let message = problem["message"].as_str().unwrap_or_default();
            text.push_str(&format!("line {}, column {}: {message}\n", problem["line"], problem["column"]));
        }
    }
    text
}

/// A failure in the place of a result; what stands beside it stays.
fn fail(result: &mut Value, text: &str) {
    if let (Some(result), Value::Object(failed)) = (result.as_object_mut(), failure(text)) {
        result.remove("structuredContent");
        result.extend(failed);
    }
}

fn failure(text: &str) -> Value {
    json!({"content": [{"type": "text", "text": text}], "isError": true})
}
