//! The manifest inside a component: read from any file without compiling it, or refused with a reason.

use wasmgate::extensions::read_manifest;

/// Checks one file.
pub fn check(bytes: &[u8]) {
    match read_manifest(bytes) {
        Ok(manifest) => {
            // The name becomes a path of the configuration, a namespace of the store and a label of the log.
            assert!(manifest.name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'), "{:?}", manifest.name);
            assert!(!manifest.dependencies.contains(&manifest.name) && !manifest.after.contains(&manifest.name));
        }
        Err(error) => assert!(!error.to_string().is_empty(), "refused without a reason"),
    }
}
