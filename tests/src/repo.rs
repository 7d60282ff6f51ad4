//! Where things are in the repository. `cargo xtask test` sets the variables; the defaults are what `cargo xtask build` leaves.

use std::path::{Path, PathBuf};

/// The repository's root.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests are a folder of the repository").to_owned()
}

/// A file or folder of the repository.
pub fn path(relative: &str) -> PathBuf {
    root().join(relative)
}

/// The program.
pub fn program() -> PathBuf {
    from_environment("WASMGATE_BIN", "target/release/wasmgate")
}

/// The components of `extensions/`.
pub fn components() -> PathBuf {
    from_environment("WASMGATE_COMPONENTS", "target/components")
}

/// A component of `extensions/`.
pub fn component(name: &str) -> PathBuf {
    components().join(format!("{name}.wasm"))
}

/// A component of `tests/fixtures/`.
pub fn fixture(name: &str) -> PathBuf {
    components().join("fixtures").join(format!("{name}.wasm"))
}

/// Compiled code of all gateways that the tests start, so that each component is compiled once.
pub fn cache() -> PathBuf {
    path("target/test-cache")
}

/// A place that an environment variable may name.
pub fn from_environment(variable: &str, default: &str) -> PathBuf {
    std::env::var_os(variable).filter(|v| !v.is_empty()).map_or_else(|| path(default), PathBuf::from)
}
