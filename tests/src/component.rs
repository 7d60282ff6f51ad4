//! Components that no compiler makes: bare ones, broken ones, and real ones with another manifest.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::repo;

/// Name of the custom section that holds the manifest.
const SECTION: &str = "wasmgate:manifest";

/// A component that holds nothing.
pub const EMPTY: &[u8] = b"\0asm\x0d\0\x01\0";

/// A core module that holds nothing.
pub const CORE_MODULE: &[u8] = b"\0asm\x01\0\0\0";

/// A component of `tests/wat/`, which is written as text because no compiler would make it, with a manifest.
pub fn from_text(name: &str) -> Vec<u8> {
    let component = wat::parse_file(repo::path(&format!("tests/wat/{name}.wat"))).unwrap_or_else(|e| panic!("{e}"));
    with_manifest(&component, &json!({"name": name, "version": "0.1.0", "description": "d", "capabilities": ["log", "wasi"]}))
}

/// A component with one more manifest; the last one counts.
pub fn with_manifest(component: &[u8], manifest: &Value) -> Vec<u8> {
    with_section(component, SECTION, manifest.to_string().as_bytes())
}

/// A component with a section that nobody reads: the same program in another file.
pub fn with_note(component: &[u8]) -> Vec<u8> {
    with_section(component, "note", b"another file")
}

fn with_section(component: &[u8], name: &str, content: &[u8]) -> Vec<u8> {
    let mut body = vec![u8::try_from(name.len()).expect("it is short")];
    body.extend_from_slice(name.as_bytes());
    body.extend_from_slice(content);
    let mut all = component.to_vec();
    all.push(0);
    leb128(body.len(), &mut all);
    all.extend(body);
    all
}

/// A component without its manifest, as one from somewhere else would be.
pub fn without_manifest(component: &[u8]) -> Vec<u8> {
    let mut kept = component[..8].to_vec();
    for (section, manifest) in sections(component) {
        if manifest.is_none() {
            kept.extend_from_slice(section);
        }
    }
    kept
}

/// The manifest of a component: the last one counts.
pub fn manifest(component: &[u8]) -> Value {
    let last = sections(component).filter_map(|(_, manifest)| manifest).last().expect("the component has a manifest");
    serde_json::from_slice(last).expect("a manifest is JSON")
}

/// The outermost sections of a component, each whole, and with its content if it is a manifest.
fn sections(component: &[u8]) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
    let mut rest = &component[8..];
    std::iter::from_fn(move || {
        let (id, after) = rest.split_first()?;
        let (length, read) = read_leb128(after);
        let (section, next) = rest.split_at(1 + read + length);
        rest = next;
        // The name is short, so its length is one byte.
        let content = section[1 + read..].get(1..).and_then(|b| b.strip_prefix(SECTION.as_bytes()));
        Some((section, content.filter(|_| *id == 0)))
    })
}

fn read_leb128(bytes: &[u8]) -> (usize, usize) {
    let mut value = 0;
    for (n, byte) in bytes.iter().enumerate() {
        value |= usize::from(byte & 0x7f) << (7 * n);
        if byte & 0x80 == 0 {
            return (value, n + 1);
        }
    }
    panic!("the component ends in the middle of a number");
}

/// Writes a component into a folder and returns its file.
pub fn write(folder: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let file = folder.join(format!("{name}.wasm"));
    std::fs::write(&file, bytes).expect("a temporary file");
    file
}

fn leb128(mut value: usize, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// A component that answers `wasi:http` requests with this core code: the body of `handle`, whose parameters are the request and where the
/// response goes. It has a memory, a table `$t`, and may call `$log` with a level and two UTF-16 strings (address and length of each), and
/// `$drop` with the handle of a request. No toolchain writes such code.
pub fn http_handler(body: &str, memory: &str) -> Vec<u8> {
    let text = format!(
        r#"(component
  (import "wasi:http/types@0.2.0" (instance $http
    (export "incoming-request" (type (sub resource)))
    (export "response-outparam" (type (sub resource)))))
  (alias export $http "incoming-request" (type $request))
  (alias export $http "response-outparam" (type $out))
  (import "wasi:logging/logging@0.1.0-draft" (instance $logging
    (type $l (enum "trace" "debug" "info" "warn" "error" "critical"))
    (export "level" (type $level (eq $l)))
    (export "log" (func (param "level" $level) (param "context" string) (param "message" string)))))
  (alias export $logging "log" (func $log-text))
  (core module $memory (memory (export "memory") 1) {memory})
  (core instance $mem (instantiate $memory))
  (core func $log (canon lower (func $log-text) (memory $mem "memory") string-encoding=utf16))
  (core func $drop (canon resource.drop $request))
  (core module $main
    (import "host" "log" (func $log (param i32 i32 i32 i32 i32)))
    (import "host" "drop" (func $drop (param i32)))
    (table $t 1 funcref)
    (func (export "handle") (param i32 i32) {body}))
  (core instance $i (instantiate $main (with "host" (instance (export "log" (func $log)) (export "drop" (func $drop))))))
  (func $handle (param "request" (own $request)) (param "response-out" (own $out)) (canon lift (core func $i "handle")))
  (instance $handler (export "handle" (func $handle)))
  (export "wasi:http/incoming-handler@0.2.0" (instance $handler)))"#
    );
    wat::parse_str(text).expect("the text is a component")
}
