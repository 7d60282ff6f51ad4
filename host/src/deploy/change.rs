//! Settings of one provider are changed while the gateway runs: they are laid over the configuration, the whole of it is checked as if the file said
//! so, and published with what runs. Files are not read again for it, so nobody's unfinished edit comes along.

use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::attempt::{Attempt, Outcome, Refusal, Trigger};
use super::reload::Again;
use super::swap::{Denied, not_busy};
use super::{Deploy, Plan};
use crate::config::changes::{Changes, MAX_ADDED, check_name};
use crate::config::source::place_of_change;
use crate::config::{Config, Problem, Reading, Severity};

/// What somebody wants of a provider.
pub enum Change {
    /// These settings; a `null` is what the configuration says.
    Set(Map<String, Value>),
    /// What the configuration says, of all its settings.
    Reset,
}

impl Deploy {
    /// Changes settings of a provider, or says why not. What serves is only touched when all is well.
    pub async fn change_provider(self: &Arc<Self>, name: &str, change: Change) -> Result<Attempt, Denied> {
        let mut progress = self.history.begin(Trigger::Provider, None, None);
        progress.attempt.provider = Some(name.to_owned());
        let _turn = self.turn.lock().await;
        let before = self.plan.lock().await.clone();
        let mut denied = None;
        let checked = progress
            .step("check", async {
                let checked = not_busy(&before).and_then(|()| changed(&before, &self.sources.config, &self.sources.set, name, change));
                let (config, changes) = checked.map_err(|e| denied.insert(e).to_string())?;
                let until = if self.kept.is_used() { "" } else { "there is no `deploy.state`, so a restart forgets it" };
                Ok(((config, changes), until.to_owned()))
            })
            .await;
        let tried = match checked {
            Ok((config, changes)) => self.try_reload(&mut progress, Again::Providers(Arc::new(config), changes)).await,
            Err(refusal) => Err(refusal),
        };
        let attempt = match tried {
            Ok(outcome) => Ok(progress.end(outcome, None)),
            Err(Refusal(reason)) => {
                let attempt = progress.end(Outcome::Refused, Some(reason));
                Err(denied.unwrap_or_else(|| Denied::Refused(Box::new(attempt))))
            }
        };
        self.keep_history();
        attempt
    }
}

/// The settings with the change.
fn changed(before: &Plan, file: &Path, set: &[String], name: &str, change: Change) -> Result<(Config, Changes), Denied> {
    let (running, mut problems) = (&before.config, Vec::new());
    // What returns to the configuration returns to what that has, good or not so good.
    let sends = matches!(&change, Change::Set(settings) if settings.values().any(|value| !value.is_null()));
    let changes = match change {
        Change::Reset if before.changes.of(name).is_none() => return Err(Denied::NothingChanged(name.to_owned())),
        Change::Reset => before.changes.without(name),
        Change::Set(settings) => {
            // Those that were added this way are in the configuration that runs, but not in the file.
            let in_file = before.config.providers.contains_key(name) && before.changes.of(name).is_none_or(|c| c.in_file());
            let changes = before.changes.with(name, in_file, &settings);
            let mut wrong = |message: String| {
                let (path, place) = (format!("providers.{name}"), place_of_change(name));
                problems.push(Problem { severity: Severity::Error, place, path, message });
            };
            if let (false, Err(message)) = (in_file, check_name(name)) {
                wrong(message);
            }
            if changes.added() > MAX_ADDED {
                wrong(format!("{MAX_ADDED} providers were added already; take one back, or write it into the configuration."));
            }
            changes
        }
    };
    if problems.is_empty() {
        let mut reading = Reading::text(file, &before.text, set, &changes);
        // What a file is only warned of is wrong here, if the change brought it: whoever sends a variable's name or a member wants it to be used.
        let before = Reading::text(file, &before.text, set, &before.changes).problems;
        let path = format!("providers.{name}");
        let is_own = |p: &Problem| p.path.strip_prefix(&path).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']));
        let same = |a: &Problem, b: &Problem| a.path == b.path && a.message == b.message;
        problems.append(&mut reading.problems);
        problems.retain(|p| p.severity == Severity::Error || sends && is_own(p) && !before.iter().any(|b| same(p, b)));
        if problems.is_empty() {
            let Config { providers, virtual_providers, changed, .. } = reading.config;
            return Ok((Config { providers, virtual_providers, changed, ..Config::clone(running) }, changes));
        }
    }
    Err(Denied::Wrong(problems))
}
