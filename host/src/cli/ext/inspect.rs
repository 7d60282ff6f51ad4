//! `wasmgate ext inspect FILE`: what a component says about itself, without a gateway.

use std::path::Path;

use serde_json::{Value, json};

use super::Failure;
use crate::digest;
use crate::extensions::{Capability, ManifestError, Surface, read_manifest, registry};

/// What a file says, in the shape in which the gateway tells of a loaded one; none when there is no such file and it may be a name.
pub fn file(what: &str) -> Result<Option<Value>, Failure> {
    let path = Path::new(what);
    if !path.exists() {
        let is_path = what.contains(['/', '.']);
        return if is_path { Err(Failure::Usage(format!("there is no file `{what}`"))) } else { Ok(None) };
    }
    let bytes = registry::bytes(path).map_err(|e| Failure::Usage(format!("`{what}` {e}")))?;
    read(what, &bytes).map(Some).map_err(|e| Failure::Broken(format!("`{what}`: {e}")))
}

fn read(file: &str, bytes: &[u8]) -> Result<Value, ManifestError> {
    let surface = Surface::read(bytes)?;
    // A standard component brings no manifest; the configuration gives it its name and its routes.
    let manifest = match read_manifest(bytes) {
        Err(ManifestError::Missing) => None,
        manifest => Some(manifest?),
    };
    let asked: Vec<&str> = match &manifest {
        Some(manifest) => manifest.capabilities.iter().map(|c| c.name()).collect(),
        None => surface.capabilities().into_iter().map(Capability::name).collect(),
    };
    let of = |text: fn(&crate::extensions::Manifest) -> &String| manifest.as_ref().map(text);
    let document = json!({
        "name": of(|m| &m.name),
        "version": of(|m| &m.version),
        "description": of(|m| &m.description),
        "file": file,
        "bytes": bytes.len(),
        "digest": digest::named(bytes),
        "contract": surface.contract(),
        "hooks": surface.hooks(),
        "asks": asked,
        "imports": surface.imports,
        "exports": surface.exports,
    });
    Ok(json!({"success": true, "data": document}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_component_without_a_manifest_is_shown_by_its_imports() {
        let bytes = wat::parse_str(
            r#"(component (import "wasi:io/streams@0.2.0" (instance)) (instance $i) (export "wasi:http/incoming-handler@0.2.0" (instance $i)))"#,
        )
        .unwrap();
        let found = read("a.wasm", &bytes).unwrap();
        let found = &found["data"];
        assert_eq!((&found["name"], &found["hooks"], &found["asks"]), (&Value::Null, &json!(["http"]), &json!(["wasi"])));
        assert_eq!(found["bytes"], bytes.len());
    }

    #[test]
    fn what_does_not_exist_is_a_name_or_a_mistake() {
        assert!(matches!(file("no-such-extension"), Ok(None)));
        for path in ["no/such/file", "no-such-file.wasm", "./a"] {
            assert!(matches!(file(path), Err(Failure::Usage(_))), "{path}");
        }
    }
}
