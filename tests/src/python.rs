//! Scripts of `tests/python`, run with the environment that `cargo xtask test` makes.

use std::path::PathBuf;

use serde_json::Value;

use crate::{repo, sdk};

pub use sdk::CLIENT_KEY;

/// The interpreter; none when its environment is not there.
pub fn interpreter(variable: &str) -> Option<PathBuf> {
    let interpreter = repo::from_environment(variable, "target/python/bin/python");
    if interpreter.is_file() {
        return Some(interpreter);
    }
    sdk::missing("the Python environment");
    None
}

/// Runs a script against a base URL. None when there is no Python environment and that is allowed.
pub async fn run(script: &str, url: &str, args: &[&str]) -> Option<Value> {
    let interpreter = interpreter("WASMGATE_PYTHON")?;
    let script = repo::path("tests/python").join(script);
    // Bytecode would be written beside the scripts.
    let environment = vec![("PYTHONDONTWRITEBYTECODE", "1".into())];
    Some(sdk::run(interpreter.into(), environment, &script, url, args).await)
}
