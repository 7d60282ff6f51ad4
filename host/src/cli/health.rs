//! `wasmgate health`: whether a gateway lives, for probes in images that have no shell and no curl.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::{FAILURE, USAGE};

/// Who is asked, and how long that may take.
#[derive(Args)]
pub struct HealthArgs {
    /// Where the gateway is.
    #[arg(long, value_name = "URL", env = "WASMGATE_SERVER_URL", default_value = "http://127.0.0.1:8080")]
    server: reqwest::Url,
    /// How long an answer may take, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 5)]
    timeout: u64,
}

/// Asks; silence and every status but success are a failure.
pub fn run(args: &HealthArgs) -> ExitCode {
    let mut url = args.server.clone();
    url.set_path("/health");
    let asked = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| e.to_string()).and_then(|runtime| {
        // A proxy would make this a question to somebody else.
        let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(args.timeout)).build();
        let http = http.map_err(|e| e.to_string())?;
        runtime.block_on(async { http.get(url.clone()).send().await.map(|r| r.status()).map_err(|e| bottom(&e)) })
    });
    match asked {
        Ok(status) if status.is_success() => ExitCode::SUCCESS,
        Ok(status) => {
            eprintln!("the gateway at {url} is not well: it answered with status {status}");
            ExitCode::from(FAILURE)
        }
        Err(reason) if !matches!(url.scheme(), "http" | "https") => {
            eprintln!("error: `--server {url}` is no address of a gateway ({reason}); write for example http://127.0.0.1:8080");
            ExitCode::from(USAGE)
        }
        Err(reason) => {
            eprintln!("no gateway answers at {url}: {reason}");
            ExitCode::from(FAILURE)
        }
    }
}

/// What is at the bottom of an error: the layers above it name each other.
fn bottom(error: &dyn std::error::Error) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}
