//! `wasmgate oauth`: what can be done with the tokens of a store without a gateway. Everything else is `/api/oauth` of a running one.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::ensure;
use clap::{Args, Subcommand};

use super::{FAILURE, SourceArgs, reject};
use crate::config::{KeysStore, LimitsStoreConfig, Storage};
use crate::storage;

/// What is said after `oauth`.
#[derive(Args)]
pub struct OAuthArgs {
    #[command(subcommand)]
    command: OAuthCommand,
}

#[derive(Subcommand)]
enum OAuthCommand {
    /// Removes the tokens of all providers from the store, when the key that they are encrypted with is lost.
    ///
    /// They are not taken back at their servers, because nobody can read them: do that in the settings of the accounts. A store that is a
    /// file is open in one process at a time: stop the gateway first.
    Forget {
        #[command(flatten)]
        source: SourceArgs,
    },
}

/// Runs the command.
pub fn run(args: &OAuthArgs) -> ExitCode {
    let OAuthCommand::Forget { source } = &args.command;
    let checked = match source.sources().read() {
        Ok(checked) => checked,
        Err(rejected) => return reject(&rejected),
    };
    match forget(&checked.config.storage) {
        Ok(removed) => {
            eprintln!("{removed} login(s) removed");
            ExitCode::SUCCESS
        }
        Err(e) => {
            eprintln!("error: {e:#}");
            ExitCode::from(FAILURE)
        }
    }
}

fn forget(storage: &Storage) -> anyhow::Result<usize> {
    let local = storage.keys.r#type == KeysStore::Local;
    ensure!(!local || storage.path.as_ref().is_some_and(|p| p.exists()), "there is no store: `storage.path` names no file that is there");
    // Without the key that would have to be the right one, and without anything else that could change or wait.
    let storage = Storage { token_key: None, retain_records: Duration::ZERO, limits: LimitsStoreConfig::default(), ..storage.clone() };
    let store = storage::open(&storage)?;
    ensure!(store.kv.is_read(), "the database of `storage.keys` does not answer, so nothing was removed; try again when it is there");
    Ok(storage::forget_tokens(&*store.kv))
}
