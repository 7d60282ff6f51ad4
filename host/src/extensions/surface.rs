//! What a component offers and wants, by the names of its exports and imports. Nothing is compiled or run.

use std::collections::BTreeSet;

use wasmparser::{Encoding, Parser, Payload};

use super::instance::CONTRACT;
use super::manifest::{Capability, ManifestError};

/// The outermost imports and exports of a component, in its order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Surface {
    /// What it wants, for example `wasi:keyvalue/store@0.2.0-draft2`.
    pub imports: Vec<String>,
    /// What it offers, for example `wasmgate:extension/before-generate@0.1.0`.
    pub exports: Vec<String>,
}

/// Interfaces that the host calls for a request, in the order in which it does; `lifecycle` is none.
const HOOKS: [&str; 9] =
    ["dialect", "operations", "before-generate", "provider-events", "stream-filter", "after-generate", "judge", "attempts", "on-complete"];

/// The standard interface that is a hook, and how operators call it.
const HTTP: (&str, &str) = ("wasi:http/incoming-handler", "http");

impl Surface {
    /// Reads the names. What is inside (modules, nested components) has imports and exports of its own, which are nobody's business.
    pub fn read(bytes: &[u8]) -> Result<Self, ManifestError> {
        if !bytes.starts_with(b"\0asm") {
            return Err(ManifestError::NotWasm);
        }
        let damaged = |e: wasmparser::BinaryReaderError| ManifestError::Damaged(e.to_string());
        let mut surface = Self { imports: Vec::new(), exports: Vec::new() };
        let mut depth = 0usize;
        for payload in Parser::new(0).parse_all(bytes) {
            match payload.map_err(damaged)? {
                Payload::Version { encoding: Encoding::Module, .. } if depth == 0 => return Err(ManifestError::CoreModule),
                Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
                Payload::End(_) => depth = depth.saturating_sub(1),
                Payload::ComponentImportSection(section) if depth == 0 => {
                    for import in section {
                        surface.imports.push(import.map_err(damaged)?.name.name.to_owned());
                    }
                }
                Payload::ComponentExportSection(section) if depth == 0 => {
                    for export in section {
                        surface.exports.push(export.map_err(damaged)?.name.name.to_owned());
                    }
                }
                _ => {}
            }
        }
        Ok(surface)
    }

    /// The hooks that it exports, of whatever version of the contract.
    pub fn hooks(&self) -> Vec<&'static str> {
        let has = |interface: &str| self.exports.iter().any(|e| unversioned(e) == interface);
        let own = HOOKS.into_iter().filter(|hook| has(&format!("{CONTRACT}/{hook}")));
        own.chain(has(HTTP.0).then_some(HTTP.1)).collect()
    }

    /// The versions of the contract that its imports and exports name. One is usual; none has a component that knows the standard
    /// interfaces only.
    pub fn contract(&self) -> BTreeSet<&str> {
        let all = self.imports.iter().chain(&self.exports);
        all.filter_map(|name| name.strip_prefix(CONTRACT)?.strip_prefix('/')?.split_once('@')).map(|(_, version)| version).collect()
    }

    /// The capabilities that its imports belong to.
    pub fn capabilities(&self) -> BTreeSet<Capability> {
        self.imports.iter().filter_map(|import| Capability::of_import(import)).collect()
    }
}

fn unversioned(name: &str) -> &str {
    name.split_once('@').map_or(name, |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is found in a component that is written as text: hooks, versions of the contract, capabilities.
    fn check(text: &str, expect: &str) {
        let found = match Surface::read(&wat::parse_str(text).unwrap()) {
            Err(e) => e.to_string(),
            Ok(surface) => {
                let versions: Vec<_> = surface.contract().into_iter().collect();
                let capabilities: Vec<_> = surface.capabilities().into_iter().map(Capability::name).collect();
                format!("{} | {} | {}", surface.hooks().join(" "), versions.join(" "), capabilities.join(" "))
            }
        };
        assert!(found.contains(expect), "found `{found}`, expected `{expect}`");
    }

    const IMPORTS: &str =
        r#"(import "wasmgate:extension/providers@0.1.0" (instance)) (import "wasi:keyvalue/store@0.2.0-draft2" (instance))"#;

    #[test]
    fn hooks_and_capabilities_are_found_by_name() {
        check("(component)", " |  | ");
        check(&format!("(component {IMPORTS})"), " | 0.1.0 | kv providers");
        check(r#"(component (instance $i) (export "wasi:http/incoming-handler@0.2.0" (instance $i)))"#, "http |  | ");
        check(
            r#"(component (instance $i)
                (export "wasmgate:extension/on-complete@0.1.0" (instance $i))
                (export "wasmgate:extension/lifecycle@0.1.0" (instance $i))
                (export "wasmgate:extension/dialect@1.0.0" (instance $i)))"#,
            "dialect on-complete | 0.1.0 1.0.0 | ",
        );
    }

    #[test]
    fn what_is_nested_does_not_count() {
        check(
            r#"(component
                (component (import "wasi:random/random@0.2.0" (instance)) (instance $i) (export "wasmgate:extension/judge@0.1.0" (instance $i)))
                (core module (import "env" "f" (func)) (memory (export "memory") 1))
                (import "wasi:config/store@0.2.0-rc.1" (instance)))"#,
            " |  | config",
        );
    }

    #[test]
    fn names_are_kept_in_their_order() {
        let surface = Surface::read(&wat::parse_str(format!("(component {IMPORTS})")).unwrap()).unwrap();
        assert_eq!(surface.imports, ["wasmgate:extension/providers@0.1.0", "wasi:keyvalue/store@0.2.0-draft2"]);
        assert!(surface.exports.is_empty());
    }

    #[test]
    fn what_is_no_component_is_refused() {
        check("(module)", "core WebAssembly module");
        for (bytes, expect) in [(&b"hello"[..], "not a WebAssembly file"), (b"", "not a WebAssembly file"), (b"\0asm\x0d\0", "damaged")] {
            let refused = Surface::read(bytes).unwrap_err().to_string();
            assert!(refused.contains(expect), "{refused}");
        }
        let whole = wat::parse_str(format!("(component {IMPORTS})")).unwrap();
        let refused = Surface::read(&whole[..whole.len() - 1]).unwrap_err().to_string();
        assert!(refused.contains("damaged"), "{refused}");
    }
}
