//! From what a compiler wrote to the file that is deployed. Pure but for reading the text form.

use std::path::Path;

use anyhow::{Context, Result};
use wasm_encoder::{ComponentSection, CustomSection};
use wit_component::ComponentEncoder;

/// The gateway reads an extension's manifest from the custom section of this name.
pub const MANIFEST_SECTION: &str = "wasmgate:manifest";

/// The preamble of a component: magic number, version 13, layer 1. A core module has layer 0.
const COMPONENT_PREAMBLE: [u8; 8] = [0x00, 0x61, 0x73, 0x6d, 0x0d, 0x00, 0x01, 0x00];

/// A component of a core module that carries its WIT types, as wit-bindgen makes them.
pub fn component(module: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = ComponentEncoder::default();
    encoder.validate(true).module(module).context("the module does not fit its WIT world")?.encode().context("encoding the component")
}

/// A component written as text.
pub fn text_component(file: &Path) -> Result<Vec<u8>> {
    Ok(wat::parse_file(file)?)
}

pub fn is_component(bytes: &[u8]) -> bool {
    bytes.starts_with(&COMPONENT_PREAMBLE)
}

/// A custom section may stand anywhere in a component, so it goes to the end.
pub fn with_manifest(mut component: Vec<u8>, manifest: &str) -> Vec<u8> {
    let section = CustomSection { name: MANIFEST_SECTION.into(), data: manifest.as_bytes().into() };
    section.append_to_component(&mut component);
    component
}

#[cfg(test)]
mod tests {
    use super::*;
    use wit_parser::decoding::decode;

    #[test]
    fn the_manifest_is_the_last_section_and_the_rest_is_untouched() {
        let plain = wat::parse_str("(component)").unwrap();
        let made = with_manifest(plain.clone(), r#"{"name":"a"}"#);
        assert!(is_component(&made) && made.starts_with(&plain));
        assert!(made.ends_with(br#"wasmgate:manifest{"name":"a"}"#));
        decode(&made).unwrap();
    }

    #[test]
    fn a_core_module_is_not_a_component() {
        let module = wat::parse_str("(module)").unwrap();
        assert!(!is_component(&module));
    }

    #[test]
    fn a_module_without_types_becomes_an_empty_component() {
        assert!(is_component(&component(&wat::parse_str("(module)").unwrap()).unwrap()));
    }

    #[test]
    fn an_unknown_import_is_an_error() {
        let module = wat::parse_str(r#"(module (import "env" "f" (func)))"#).unwrap();
        assert!(component(&module).is_err());
    }
}
