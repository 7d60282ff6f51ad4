//! Seeds that are made, not committed: components from wit/ and from text, heads of the built components, recorded traffic, and for
//! each wire format the words that its codec knows.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;
use wit_component::{StringEncoding, dummy_module, embed_component_metadata};
use wit_parser::ManglingAndAbi;

use crate::components::encode;
use crate::repo::Repo;
use crate::wit;

/// Bytes of a built component that are a seed: its types stand at its beginning.
const HEAD: usize = 8 << 10;

/// Everything that the host offers, so that every import is linked.
const MANIFEST: &str = r#"{"name":"fuzz","version":"0.1.0","description":"d","capabilities":["config","kv","limiter","providers","wasi"]}"#;

/// Targets that read one wire format: the beginning of their names, and the codec's folder.
const FORMATS: [(&str, &str); 4] =
    [("openai", "openai_chat"), ("anthropic", "anthropic_messages"), ("responses", "openai_responses"), ("gemini", "gemini_generate")];

/// Writes the seeds of every target to `folder/TARGET`; returns how many come from recorded traffic.
pub fn write(repo: &Repo, folder: &Path, longest: usize) -> Result<usize> {
    components(repo, folder)?;
    for (format, codec) in FORMATS {
        let words = words(&repo.path("wit/codec/src").join(codec))?;
        for direction in ["request", "answer", "stream"] {
            fs::write(folder.join(format!("{format}_{direction}.dict")), &words)?;
        }
    }
    recordings(&repo.corpus(), folder, longest)
}

// === components ===

fn components(repo: &Repo, folder: &Path) -> Result<()> {
    let (resolve, package) = wit::parse(&repo.path("wit"))?;
    for (name, world) in &resolve.packages[package].worlds {
        // Every function of such a module traps, which is all that loading it takes.
        let mut module = dummy_module(&resolve, *world, ManglingAndAbi::Standard32);
        embed_component_metadata(&mut module, &resolve, *world, StringEncoding::UTF8)?;
        let component = encode::with_manifest(encode::component(&module).with_context(|| format!("world `{name}`"))?, MANIFEST);
        put(&folder.join("component"), name, &component)?;
        put(&folder.join("manifest"), name, &component)?;
    }
    for file in files(&repo.path("tests/fuzz/seeds/component"), "wat") {
        let component = encode::text_component(&file).with_context(|| repo.show(&file))?;
        put(&folder.join("component"), &stem(&file), &component)?;
        put(&folder.join("manifest"), &stem(&file), &component)?;
    }
    for file in files(&repo.components(), "wasm") {
        let bytes = fs::read(&file)?;
        // What a compiler writes is not the same everywhere, so they have a folder of their own.
        put(&folder.join("heads"), &stem(&file), &bytes[..bytes.len().min(HEAD)])?;
    }
    Ok(())
}

// === words ===

/// The string literals of a codec that may be names or values of its format, as a dictionary of libFuzzer.
fn words(folder: &Path) -> Result<String> {
    let mut words = BTreeSet::new();
    for file in files(folder, "rs") {
        let text = fs::read_to_string(&file)?;
        let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        let quoted = code.flat_map(|line| line.split('"').skip(1).step_by(2)).filter(|word| is_word(word));
        words.extend(quoted.map(str::to_owned));
    }
    Ok(words.iter().map(|word| format!("\"\\\"{word}\\\"\"\n")).collect())
}

fn is_word(text: &str) -> bool {
    (2..40).contains(&text.len()) && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '.')
}

// === recorded traffic ===

fn recordings(corpus: &Path, folder: &Path, longest: usize) -> Result<usize> {
    let mut count = 0;
    for file in below(corpus) {
        let Ok(recording) = serde_json::from_slice::<Value>(&fs::read(&file)?) else { continue };
        // With the folder in it: a name may be there in two.
        let name = file.strip_prefix(corpus).unwrap_or(&file).with_extension("").to_string_lossy().replace('/', "-");
        for (target, seed) in parts(&recording) {
            if seed.len() <= longest {
                put(&folder.join(target), &name, seed.as_bytes())?;
                count += 1;
            }
        }
    }
    Ok(count)
}

/// What a recording holds for which target: the request, and the answer in either form.
fn parts(recording: &Value) -> Vec<(String, String)> {
    let path = recording["request"]["url"].as_str().and_then(|url| url.split('?').next()).unwrap_or_default();
    let format = match path {
        path if path.ends_with("/chat/completions") => "openai",
        path if path.ends_with("/messages") => "anthropic",
        path if path.ends_with("/responses") => "responses",
        path if path.ends_with(":generateContent") || path.ends_with(":streamGenerateContent") => "gemini",
        _ => return Vec::new(),
    };
    let document = |value: &Value| value.is_object().then(|| value.to_string());
    let request = document(&recording["request"]["body"]).map(|seed| (format!("{format}_request"), seed));
    let answer = document(&recording["response"]["body"]).map(|seed| (format!("{format}_answer"), seed));
    let list = Some(&recording["response"]["body"]).filter(|body| format == "gemini" && body.is_array()).map(Value::to_string);
    let events = recording["response"]["sse"].as_str().map(str::to_owned);
    let stream = events.or(list).map(|seed| (format!("{format}_stream"), seed));
    request.into_iter().chain(answer).chain(stream).collect()
}

// === files ===

fn put(folder: &Path, name: &str, bytes: &[u8]) -> Result<()> {
    fs::create_dir_all(folder)?;
    fs::write(folder.join(name), bytes).with_context(|| format!("writing {}", folder.join(name).display()))
}

fn stem(file: &Path) -> String {
    file.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

/// The files of a folder with an extension, in the order of their names; none where there is no such folder.
fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut files: Vec<PathBuf> = entries.filter(|file| file.extension().is_some_and(|e| e == extension)).collect();
    files.sort();
    files
}

/// The recordings in a folder and the folders below it.
fn below(folder: &Path) -> Vec<PathBuf> {
    let folders = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).filter(|path| path.is_dir());
    folders.flat_map(|inner| below(&inner)).chain(files(folder, "json")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recording_feeds_the_targets_of_its_format() {
        let recording = serde_json::json!({
            "request": {"url": "https://x.example/v1/messages?beta=true", "body": {"a": 1}},
            "response": {"status": 200, "sse": "data: x\n\n"},
        });
        let expected = [("anthropic_request", r#"{"a":1}"#), ("anthropic_stream", "data: x\n\n")];
        assert_eq!(parts(&recording), expected.map(|(target, seed)| (target.to_owned(), seed.to_owned())));
        let list =
            serde_json::json!({"request": {"url": "https://x.example/v1beta/models/m:streamGenerateContent"}, "response": {"body": [1]}});
        assert_eq!(parts(&list), [("gemini_stream".to_owned(), "[1]".to_owned())]);
        assert_eq!(parts(&serde_json::json!({"request": {"url": "https://x.example/v1/embeddings", "body": {}}})), []);
    }

    #[test]
    fn words_are_what_stands_in_quotes_in_the_code() {
        let folder = tempfile::tempdir().unwrap();
        let code = "// no \"comment\"\nmatch x { \"tool_use\" => \"a sentence\", \"x\" => y(\"id\") }\n";
        fs::write(folder.path().join("a.rs"), code).unwrap();
        assert_eq!(words(folder.path()).unwrap(), "\"\\\"id\\\"\"\n\"\\\"tool_use\\\"\"\n");
    }

    #[test]
    fn every_target_that_reads_components_gets_some() {
        let (repo, folder) = (Repo::locate().unwrap(), tempfile::tempdir().unwrap());
        components(&repo, folder.path()).unwrap();
        for target in ["component", "manifest"] {
            let seeds: Vec<_> = fs::read_dir(folder.path().join(target)).unwrap().flatten().collect();
            assert!(seeds.len() > 8, "{target} has {} seeds", seeds.len());
        }
    }
}
