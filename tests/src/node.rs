//! Scripts of `tests/node`, run with the packages that `cargo xtask test` installs.

use serde_json::Value;

use crate::{repo, sdk};

pub use sdk::CLIENT_KEY;

/// Runs a script against a base URL. None when the packages are not there and that is allowed.
pub async fn run(script: &str, url: &str, args: &[&str]) -> Option<Value> {
    let modules = repo::from_environment("WASMGATE_NODE_DIR", "target/node").join("node_modules");
    if !modules.is_dir() {
        sdk::missing("the folder of Node packages");
        return None;
    }
    let script = repo::path("tests/node").join(script);
    // Only `require` looks there, which is why the scripts are `.cjs`.
    let environment = vec![("NODE_PATH", modules.into_os_string())];
    Some(sdk::run("node".into(), environment, &script, url, args).await)
}
