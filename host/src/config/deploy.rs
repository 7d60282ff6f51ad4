//! Settings of deployment: how a version takes another one's place, and who stays on which.

use std::path::PathBuf;
use std::time::Duration;

use super::reader::Cursor;
use super::secret::Secret;
use super::{Config, ReplayMode};
use crate::section;

section! {
    /// How extensions are replaced while the gateway runs.
    pub struct Deploy {
        /// Folder for components that were put in place of those of the configuration, and for what was last published. Without it, a
        /// restart goes back to what the configuration says.
        state: Option<PathBuf> = None,
        /// Whether the configuration file and the folder of the components are watched, and a change is put to work when it passes.
        watch: bool = false,
        /// How long requests may stay on a generation that was replaced; then they get an error.
        drain_timeout: Duration = Duration::from_secs(600),
        /// How long a component may take to compile.
        compile_timeout: Duration = Duration::from_secs(120),
        /// What is done with the recorded calls of the running version: `off`, `report` the differences, or `require` that there are none.
        replay: ReplayMode = ReplayMode::Report,
        /// Calls that are kept of each extension to be replayed; 0 records nothing.
        record: usize = 256,
        /// Whether calls that hold content of conversations are kept too. They stay in memory.
        record_bodies: bool = false,
        /// Calls of a new version that may trap or reach a limit before it is taken back.
        error_budget: u64 = 5,
        /// How many times the CPU time of the version before a call of a new version may take on average before it is taken back; 0 does not
        /// look.
        max_cost_ratio: f64 = 10.0,
        /// Share of its calls in which a version in the shadow may differ before it is taken back.
        max_divergence: f64 = 0.05,
        /// How long a version is watched, and taken back by itself, after it took over.
        observe: Duration = Duration::from_secs(60),
        /// Callers that stay on a version.
        pins: Vec<Pin> = Vec::new(),
    }
}

section! {
    /// A caller that stays on a version of an extension, found in the folder of the components or in `deploy.state`.
    pub struct Pin {
        /// The extension.
        extension: String = String::new(),
        /// Its version.
        version: String = String::new(),
        /// The caller's API key.
        key: Option<Secret> = None,
        /// Or a header field that tells a tenant: `NAME: VALUE`. For networks in which callers do not choose it themselves.
        header: Option<String> = None,
    }
}

/// What is wrong with the pins.
pub(super) fn check_pins(config: &Config, at: &mut Cursor<'_>) {
    let Some(mut at) = at.member("deploy").filter(|_| !config.deploy.pins.is_empty()) else { return };
    let Some(mut at) = at.member("pins") else { return };
    for pin in &config.deploy.pins {
        let name = &pin.extension;
        if name.is_empty() || pin.version.is_empty() {
            at.error("each pin names an `extension` and its `version`.".into());
        }
        if pin.key.is_some() == pin.header.is_some() {
            at.error(format!("the pin of `{name}` says whom it is for: either by `key` or by `header`."));
        }
        if pin.header.as_ref().is_some_and(|h| !h.contains(':')) {
            at.error(format!("the pin of `{name}` has a `header` that is not `NAME: VALUE`."));
        }
    }
}
