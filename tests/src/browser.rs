//! Scripts of `tests/browser`, run with a real browser.

use serde_json::Value;

use crate::{repo, sdk};

/// The operators' password of gateways that are looked at.
pub const PASSWORD: &str = "console-password";

/// Runs a script against a gateway. None when the browser is not there and that is allowed.
pub async fn run(script: &str, url: &str, args: &[&str]) -> Option<Value> {
    let packages = repo::from_environment("WASMGATE_NODE_DIR", "target/node");
    let browser = repo::from_environment("WASMGATE_BROWSER", "target/browser/chromium");
    for (what, there) in [("the folder of Node packages", packages.join("node_modules").is_dir()), ("the browser", browser.is_file())] {
        if !there {
            sdk::missing(what);
            return None;
        }
    }
    let environment = vec![
        ("WASMGATE_NODE_DIR", packages.into_os_string()),
        ("WASMGATE_BROWSER", browser.into_os_string()),
        ("SCREENSHOTS", repo::path("target/screenshots").into_os_string()),
        ("PASSWORD", PASSWORD.into()),
    ];
    Some(sdk::run("node".into(), environment, &repo::path("tests/browser").join(script), url, args).await)
}
