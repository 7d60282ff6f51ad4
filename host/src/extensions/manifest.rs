//! What a component says about itself: the custom section `wasmgate:manifest`, read without running or compiling it.

use std::collections::BTreeMap;

use serde::Deserialize;

/// Name of the custom section. Its content is one JSON document.
pub const SECTION: &str = "wasmgate:manifest";

/// The manifest. Authors write it as `extension.toml`; `cargo xtask build` puts it into the component.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Lower case letters, digits and hyphens.
    pub name: String,
    /// Semantic version.
    pub version: String,
    /// One sentence.
    pub description: String,
    /// SPDX expression.
    #[serde(default)]
    pub license: Option<String>,
    /// Among extensions that do not depend on each other, lower runs first.
    #[serde(default)]
    pub priority: i32,
    /// Extensions that must be loaded, and run before this one.
    #[serde(default)]
    pub dependencies: Vec<String>,
    /// Extensions that run before this one if they are loaded.
    #[serde(default)]
    pub after: Vec<String>,
    /// What it wants to use of the host.
    #[serde(default)]
    pub capabilities: Vec<Capability>,
    /// Of these, what it can do without: when it is not granted, the extension is loaded all the same, and each use is refused. Only
    /// `generate` can be.
    #[serde(default)]
    pub optional: Vec<Capability>,
    /// Top-level sections of the gateway's configuration that belong to it, and where in its own configuration they go
    /// (`.` merges the section's keys into the top).
    #[serde(default)]
    pub sections: BTreeMap<String, String>,
    /// One of these sections whose `storage`, `path` and `url` say where the gateway keeps the rows of all extensions, for operators who
    /// think of the store as part of the extension that fills it. `storage.records` says the same and comes first.
    #[serde(default)]
    pub storage: Option<String>,
    /// Sections of another extension that it reads too, and where they go. They do not call for it.
    #[serde(default)]
    pub shares: BTreeMap<String, String>,
    /// Who may use its `http` routes.
    #[serde(default)]
    pub access: Access,
    /// Path of its `http` export where it says who a caller is, for the routes of others. The host asks there; it is no route.
    #[serde(default)]
    pub identity: Option<String>,
    /// Path of its `http` export where it adds to the list of models, or takes away from it. The host asks there; it is no route.
    #[serde(default)]
    pub catalogue: Option<String>,
    /// Its `http` routes are given the list of models that the caller may use, as the body of a GET.
    #[serde(default)]
    pub models: bool,
    /// Callers may switch it on or off for one request; this is what holds when they say nothing. Absent means that they may not.
    #[serde(default)]
    pub toggle: Option<Toggle>,
    /// Of which requests its `attempts` hook is told.
    #[serde(default)]
    pub attempts: Told,
    /// JSON Schema of its configuration.
    #[serde(default)]
    pub config: Option<serde_json::Value>,
}

impl Manifest {
    /// The manifest of a component that brings none: it knows the standard interfaces and nothing of this gateway.
    pub fn off_the_shelf(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            version: "0.0.0".into(),
            description: "A standard component, mounted by the configuration.".into(),
            license: None,
            priority: 0,
            dependencies: Vec::new(),
            after: Vec::new(),
            capabilities: vec![Capability::Wasi],
            optional: Vec::new(),
            sections: BTreeMap::new(),
            storage: None,
            shares: BTreeMap::new(),
            access: Access::Open,
            identity: None,
            catalogue: None,
            models: false,
            toggle: None,
            attempts: Told::All,
            config: None,
        }
    }
}

/// Who may use the `http` routes of an extension.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Access {
    /// Everybody.
    #[default]
    Open,
    /// Callers with a key, where there is an extension that knows keys, and the operator. The handler is told which of them it is.
    Caller,
    /// Who may use the operators' interface.
    Operator,
}

/// What holds for a request when its caller says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Toggle {
    /// The extension runs.
    On,
    /// It does not run.
    Off,
}

/// Of which requests a hook is told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Told {
    /// Of all.
    #[default]
    All,
    /// Of those that were sent more than once: of the others `on-complete` tells the same.
    Several,
}

/// Declares the capabilities with their names, and which of them must be granted by name.
macro_rules! capabilities {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal),+ $(,)?) => {
        /// One kind of host service. An extension asks for it in its manifest, the configuration grants it; an import outside of that
        /// refuses the component.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
        #[serde(rename_all = "kebab-case")]
        pub enum Capability { $($(#[doc = $doc])+ $variant),+ }

        impl Capability {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The one of a name.
            pub fn from_name(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|c| c.name() == name)
            }

            /// The name as a manifest writes it.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }
        }
    };
}

capabilities! {
    /// `wasi:logging`. Always granted; a manifest may name it all the same.
    Log = "log",
    /// `wasi:config`.
    Config = "config",
    /// `wasi:keyvalue`.
    Kv = "kv",
    /// `wasi:clocks`.
    Clock = "clock",
    /// `wasi:random`.
    Random = "random",
    /// `wasmgate:extension/limiter`.
    Limiter = "limiter",
    /// `wasmgate:extension/providers`.
    Providers = "providers",
    /// `wasmgate:extension/records`.
    Records = "records",
    /// `wasmgate:extension/metrics`.
    Metrics = "metrics",
    /// `wasmgate:extension/secrets`.
    Secrets = "secrets",
    /// `wasmgate:extension/generate`.
    Generate = "generate",
    /// `wasmgate:extension/routes`.
    Routes = "routes",
    /// `wasi:http/outgoing-handler`, with what it needs besides.
    Http = "http",
    /// What an ordinary `wasi:http` handler imports besides: io, cli, filesystem and sockets, all of them empty.
    Wasi = "wasi",
}

impl Capability {
    /// Whether the configuration has to name it: what costs money, leaves the machine, or uses what others entrusted to the operator.
    pub fn is_privileged(self) -> bool {
        matches!(self, Self::Secrets | Self::Generate | Self::Routes | Self::Http)
    }

    /// The capability that an import belongs to; none for what the hooks themselves are made of.
    pub fn of_import(import: &str) -> Option<Self> {
        let (package, interface) = import.split_once('/').unwrap_or((import, ""));
        let interface = interface.split('@').next().unwrap_or(interface);
        Some(match (package, interface) {
            ("wasi:config", _) => Self::Config,
            ("wasi:keyvalue", _) => Self::Kv,
            ("wasi:clocks", _) => Self::Clock,
            ("wasi:random", _) => Self::Random,
            ("wasi:http", "outgoing-handler") => Self::Http,
            ("wasi:cli" | "wasi:filesystem" | "wasi:io" | "wasi:sockets" | "wasi:http", _) => Self::Wasi,
            // Its `http` is a few types, not the capability of that name.
            ("wasmgate:extension", name) => return Self::from_name(name).filter(|c| *c != Self::Http),
            _ => return None,
        })
    }
}

/// Why a file is not a component with a manifest.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Not wasm at all.
    #[error("this is not a WebAssembly file (it does not begin with `\\0asm`)")]
    NotWasm,
    /// A core module.
    #[error(
        "this is a core WebAssembly module, not a component; encode it as a component (`cargo xtask build` does, so does `wasm-tools component new`)"
    )]
    CoreModule,
    /// A broken file.
    #[error("the component is damaged: {0}")]
    Damaged(String),
    /// No manifest.
    #[error("the component has no `{SECTION}` section; build it with `cargo xtask build`, which adds `extension.toml`")]
    Missing,
    /// A manifest that cannot be read.
    #[error("the manifest is not valid: {0}")]
    Invalid(String),
}

/// Reads the manifest of a component.
pub fn read(bytes: &[u8]) -> Result<Manifest, ManifestError> {
    if !bytes.starts_with(b"\0asm") {
        return Err(ManifestError::NotWasm);
    }
    let mut manifest = None;
    let mut depth = 0usize;
    for payload in wasmparser::Parser::new(0).parse_all(bytes) {
        use wasmparser::Payload;
        match payload.map_err(|e| ManifestError::Damaged(e.to_string()))? {
            Payload::Version { encoding: wasmparser::Encoding::Module, .. } if depth == 0 => return Err(ManifestError::CoreModule),
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::CustomSection(section) if depth == 0 && section.name() == SECTION => manifest = Some(section.data()),
            _ => {}
        }
    }
    let manifest: Manifest =
        serde_json::from_slice(manifest.ok_or(ManifestError::Missing)?).map_err(|e| ManifestError::Invalid(e.to_string()))?;
    check(&manifest)?;
    Ok(manifest)
}

fn check(manifest: &Manifest) -> Result<(), ManifestError> {
    let name = &manifest.name;
    let shaped = name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    if !shaped {
        return Err(ManifestError::Invalid(format!("`name` is `{name}`; use lower case letters, digits and hyphens")));
    }
    for (field, path) in [("identity", &manifest.identity), ("catalogue", &manifest.catalogue)] {
        if let Some(path) = path.as_ref().filter(|p| !p.starts_with('/') || p.parse::<http::uri::PathAndQuery>().is_err()) {
            return Err(ManifestError::Invalid(format!("`{field}` is `{path}`; write a path, for example `/{field}`")));
        }
    }
    if manifest.dependencies.contains(name) || manifest.after.contains(name) {
        return Err(ManifestError::Invalid(format!("`{name}` depends on itself")));
    }
    let firm = |c: &&Capability| **c != Capability::Generate || !manifest.capabilities.contains(c);
    if let Some(capability) = manifest.optional.iter().find(firm) {
        let message = format!("`optional` has `{}`; it can have `generate`, when `capabilities` has it too", capability.name());
        return Err(ManifestError::Invalid(message));
    }
    if let Some(section) = manifest.storage.as_ref().filter(|s| !manifest.sections.contains_key(*s)) {
        return Err(ManifestError::Invalid(format!("`storage` is `{section}`, which is not one of the `sections`")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A component that holds nothing but the given custom sections.
    fn component(sections: &[(&str, &str)]) -> Vec<u8> {
        let mut bytes = b"\0asm\x0d\0\x01\0".to_vec();
        for (name, data) in sections {
            let body = [&[name.len() as u8], name.as_bytes(), data.as_bytes()].concat();
            bytes.push(0);
            let mut length = body.len();
            while length >= 0x80 {
                bytes.push((length & 0x7f) as u8 | 0x80);
                length >>= 7;
            }
            bytes.push(length as u8);
            bytes.extend(body);
        }
        bytes
    }

    fn check(bytes: &[u8], expect: &str) {
        let found = match read(bytes) {
            Ok(m) => format!("{} {}", m.name, m.version),
            Err(e) => e.to_string(),
        };
        assert!(found.contains(expect), "found `{found}`, expected `{expect}`");
    }

    #[test]
    fn manifests() {
        let ok = r#"{"name":"a-1","version":"1.2.3","description":"d"}"#;
        check(&component(&[(SECTION, ok)]), "a-1 1.2.3");
        check(&component(&[("other", "x"), (SECTION, ok)]), "a-1 1.2.3");
        check(&component(&[]), "has no `wasmgate:manifest` section");
        check(&component(&[(SECTION, "{")]), "not valid");
        check(&component(&[(SECTION, r#"{"name":"A","version":"1","description":"d"}"#)]), "`name` is `A`");
        check(&component(&[(SECTION, r#"{"name":"a","version":"1","description":"d","dependencies":["a"]}"#)]), "depends on itself");
        check(&component(&[(SECTION, r#"{"name":"a","version":"1","description":"d","storage":"usage"}"#)]), "not one of the `sections`");
        check(
            &component(&[(SECTION, r#"{"name":"a","version":"1","description":"d","capabilities":["root"]}"#)]),
            "unknown variant `root`",
        );
        check(b"hello", "not a WebAssembly file");
        check(b"\0asm\x01\0\0\0", "core WebAssembly module");
        check(&component(&[(SECTION, ok)])[..20], "damaged");
    }
}
