//! `wasmgate check`

use std::process::ExitCode;

use super::{SourceArgs, USAGE, reject};
use crate::config::Storage;
use crate::gateway::{Checked, Gateway};
use crate::telemetry;

/// Reads the configuration, loads its components, configures and tests them, and takes everything down again.
pub fn run(source: &SourceArgs, strict: bool) -> ExitCode {
    let sources = source.sources();
    let checked = match sources.read() {
        Ok(checked) => checked,
        Err(rejected) => return reject(&rejected),
    };
    if let Err(reason) = telemetry::filter(&checked.config.logging) {
        return reject(&format!("error: {reason}"));
    }
    for warning in &checked.warnings {
        eprintln!("{warning}");
    }
    let warnings = checked.warnings.len();
    let (providers, extensions) = (checked.config.providers.len(), checked.candidates.len());
    let started = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(anyhow::Error::from).and_then(|runtime| {
        runtime.block_on(async {
            // Checking must not touch what a running gateway stores.
            let mut config = checked.config;
            config.storage = Storage { token_key: config.storage.token_key.take(), ..Storage::default() };
            config.telemetry.otlp = None;
            config.deploy.state = None;
            config.deploy.watch = false;
            let gateway = Gateway::start(sources, Checked { config, ..checked }).await?;
            gateway.shut_down().await;
            Ok(())
        })
    });
    if let Err(e) = started {
        return reject(&format!("error: {e:#}"));
    }
    if strict && warnings > 0 {
        eprintln!("{warnings} warning(s), and --strict was given");
        return ExitCode::from(USAGE);
    }
    println!("{}: good; {providers} provider(s), {extensions} extension(s), {warnings} warning(s)", source.config.display());
    ExitCode::SUCCESS
}
