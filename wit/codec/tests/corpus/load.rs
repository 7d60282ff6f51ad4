//! Finds the recordings and what they are recordings of.

use std::path::{Path, PathBuf};

use llm_codec::Format;
use serde_json::Value;

/// One recorded exchange.
pub struct Recording {
    pub folder: String,
    pub name: String,
    pub format: Format,
    /// `all`, `stream` or `unary`, and what the recording's own list of features says it holds.
    pub features: Vec<String>,
    pub request: Option<Value>,
    pub status: u16,
    pub retry_after: Option<String>,
    pub response: Response,
}

pub enum Response {
    Body(Value),
    Stream(Vec<u8>),
    Nothing,
}

/// The corpus, or `None` after one line that says it is not there.
pub fn root() -> Option<PathBuf> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let root = std::env::var_os("CORPUS_DIR").map_or_else(|| workspace.join("../shared/corpus"), |dir| workspace.join(dir));
    if root.is_dir() {
        return Some(root);
    }
    assert!(std::env::var_os("CI").is_none(), "no corpus of recorded traffic: set CORPUS_DIR");
    println!("SKIPPED recorded_traffic: no corpus of recorded traffic, set CORPUS_DIR");
    None
}

/// Whether this is the shared part, whose counts are known.
pub fn is_shared(root: &Path) -> bool {
    std::fs::read_to_string(root.join("MANIFEST.tsv")).is_ok_and(|m| m.lines().any(|l| l.starts_with("shared\t")))
        && root.join("openai").is_dir()
}

/// The recordings of the formats that we know, and how many files are of others.
pub fn recordings(root: &Path) -> (Vec<Recording>, usize) {
    let (mut found, mut skipped) = (Vec::new(), 0);
    for folder in ["openai", "compat", "anthropic", "gemini", "vertex", "response_only"] {
        let mut files = Vec::new();
        walk(&root.join(folder), &mut files);
        files.sort();
        for file in files {
            let text = std::fs::read_to_string(&file).unwrap();
            let json: Value = serde_json::from_str(&text).unwrap();
            let name = file.file_name().unwrap().to_string_lossy().into_owned();
            let provider = file.parent().and_then(Path::file_name).unwrap().to_string_lossy().into_owned();
            match recording(folder, &provider, name, json) {
                Some(recording) => found.push(recording),
                None => skipped += 1,
            }
        }
    }
    (found, skipped)
}

/// The recordings of a folder as they are, by name.
pub fn documents(folder: &Path) -> Vec<(String, Value)> {
    let mut files = Vec::new();
    walk(folder, &mut files);
    files.sort();
    let read = |file: &PathBuf| serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    files.iter().map(|file| (file.file_name().unwrap().to_string_lossy().into_owned(), read(file))).collect()
}

fn walk(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            walk(&path, files);
        } else if path.extension().is_some_and(|e| e == "json") {
            files.push(path);
        }
    }
}

fn recording(folder: &str, provider: &str, name: String, mut json: Value) -> Option<Recording> {
    let response = json["response"].take();
    let request = Some(json["request"]["body"].take()).filter(Value::is_object);
    let body = Some(response["body"].clone()).filter(|v| !v.is_null());
    // Some recordings hold chunks as the text of a document.
    let chunk = |c: &Value| c.as_str().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_else(|| c.clone());
    let chunks = response["chunks"].as_array().map(|chunks| chunks.iter().map(chunk).collect::<Vec<_>>());
    let format = match json["request"]["url"].as_str() {
        Some(url) => by_url(url)?,
        None => by_shape(provider, body.as_ref().or(chunks.as_ref().and_then(|c| c.first())), response["sse"].as_str())?,
    };
    // Recordings of documents as they came, and of streams that are one array.
    let text = response["sse"].as_str();
    let document = text.filter(|t| format == Format::GeminiGenerate && t.trim_start().starts_with('{'));
    let body = body.or_else(|| document.and_then(|t| serde_json::from_str(t).ok()));
    let list = body.as_ref().filter(|b| format == Format::GeminiGenerate && b.is_array());
    let stream = list.map(|list| serde_json::to_vec_pretty(list).unwrap());
    let stream = stream.or_else(|| text.filter(|_| document.is_none()).map(|s| s.as_bytes().to_vec()));
    let stream = stream.or_else(|| chunks.map(|c| frames(&c, format)));
    let mut features = vec!["all".to_owned(), if stream.is_some() { "stream" } else { "unary" }.to_owned()];
    for (feature, value) in json["features"].as_object().into_iter().flatten() {
        let said = match value {
            Value::Bool(on) => *on,
            Value::Number(n) => feature == "tool_calls" && n.as_u64() > Some(0),
            _ => false,
        };
        if said && feature != "stream" {
            features.push(feature.clone());
        }
    }
    if json["features"]["tool_calls"].as_u64() > Some(1) {
        features.push("parallel_calls".into());
    }
    let told = body.as_ref().and_then(|b| b["error"]["code"].as_u64()).filter(|_| response["status"].is_null());
    let status = response["status"].as_u64().or(told).unwrap_or(200) as u16;
    if status >= 400 {
        features.push("error".into());
    }
    let retry_after = response["headers"]["retry-after"].as_str().map(str::to_owned);
    let response = match (stream, body) {
        (Some(stream), _) => Response::Stream(stream),
        (None, Some(body)) => Response::Body(body),
        (None, None) => Response::Nothing,
    };
    Some(Recording { folder: folder.into(), name, format, features, request, status, retry_after, response })
}

fn by_url(url: &str) -> Option<Format> {
    let path = url.split('?').next()?;
    if path.ends_with("/chat/completions") {
        Some(Format::OpenaiChat)
    } else if path.ends_with("/messages") {
        Some(Format::AnthropicMessages)
    } else if path.ends_with("/responses") {
        Some(Format::OpenaiResponses)
    } else if path.ends_with(":generateContent") || path.ends_with(":streamGenerateContent") {
        Some(Format::GeminiGenerate)
    } else {
        None
    }
}

/// Recordings without a request: the answer's shape says what it is.
fn by_shape(provider: &str, first: Option<&Value>, sse: Option<&str>) -> Option<Format> {
    let kind = |v: &Value| v["type"].as_str().unwrap_or_default().to_owned();
    if provider.starts_with("gemini") || provider == "google" {
        // Beside them are recordings of other interfaces: interactions, counts of tokens, images, and what is no answer of any.
        let text = sse.map(str::to_owned).or_else(|| first.map(Value::to_string)).unwrap_or_default();
        let ours = ["\"candidates\"", "\"promptFeedback\"", "\"error\""].iter().any(|word| text.contains(word));
        return ours.then_some(Format::GeminiGenerate);
    }
    if let Some(first) = first {
        return if first.get("choices").is_some() {
            Some(Format::OpenaiChat)
        } else if provider == "anthropic" && ["message", "message_start", "error"].contains(&kind(first).as_str()) {
            Some(Format::AnthropicMessages)
        } else if first["object"] == "response" || kind(first) == "response.created" {
            Some(Format::OpenaiResponses)
        } else {
            None
        };
    }
    sse.filter(|s| s.contains("\"chat.completion.chunk\"")).map(|_| Format::OpenaiChat)
}

/// Recorded chunks as the stream that they came in.
fn frames(chunks: &[Value], format: Format) -> Vec<u8> {
    let mut out = String::new();
    for chunk in chunks {
        match (format, chunk["type"].as_str()) {
            (Format::AnthropicMessages | Format::OpenaiResponses, Some(kind)) => out.push_str(&format!("event: {kind}\ndata: {chunk}\n\n")),
            _ => out.push_str(&format!("data: {chunk}\n\n")),
        }
    }
    if format == Format::OpenaiChat {
        out.push_str("data: [DONE]\n\n");
    }
    out.into_bytes()
}
