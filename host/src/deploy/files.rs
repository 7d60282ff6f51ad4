//! Watches the configuration and the components, and reads them again when they have changed and nothing more happens for a moment.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use notify::event::EventKind;
use notify::{RecursiveMode, Watcher as _};
use tokio::sync::mpsc;

use super::Deploy;
use super::attempt::Trigger;
use crate::gateway;

/// A file that is written in pieces is whole when it was left alone for so long.
const QUIET: Duration = Duration::from_millis(200);

/// Begins to watch, if the configuration wants that.
pub fn watch(deploy: &Arc<Deploy>) -> anyhow::Result<()> {
    let config = Arc::clone(&deploy.live().stable.config);
    if !config.deploy.watch {
        return Ok(());
    }
    let file = deploy.sources.config.clone();
    let folder = gateway::components_folder(&config, deploy.sources.components.as_deref());
    let own = config.extensions.values().filter_map(|e| e.component.as_deref()).map(folder_of);
    let folders: BTreeSet<PathBuf> = own.chain(folder).chain([folder_of(&file)]).collect();
    let name = file.file_name().map(std::ffi::OsStr::to_owned);
    let matters = move |path: &Path| {
        // Mounted configurations are replaced through a link whose name begins with dots.
        let is_config = path.file_name().is_some_and(|n| Some(n) == name.as_deref() || n.to_string_lossy().starts_with(".."));
        is_config || path.extension().is_some_and(|e| e == "wasm")
    };
    let (tell, mut told) = mpsc::channel::<()>(1);
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        let changed = match event {
            Ok(event) => !matches!(event.kind, EventKind::Access(_)) && event.paths.iter().any(|p| matters(p)),
            // Some events were lost, so it may be anything.
            Err(_) => true,
        };
        if changed {
            // One that waits says enough.
            let _ = tell.try_send(());
        }
    })
    .context("`deploy.watch`: files cannot be watched")?;
    for folder in &folders {
        watcher
            .watch(folder, RecursiveMode::NonRecursive)
            .with_context(|| format!("`deploy.watch`: the folder `{}` cannot be watched", folder.display()))?;
    }
    let deploy = Arc::clone(deploy);
    tokio::spawn(async move {
        let _watches_as_long_as_it_is_there = watcher;
        loop {
            tokio::select! {
                () = deploy.stopping.cancelled() => return,
                told = told.recv() => if told.is_none() { return },
            }
            while let Ok(Some(())) = tokio::time::timeout(QUIET, told.recv()).await {}
            deploy.reload(Trigger::Watch).await;
        }
    });
    Ok(())
}

fn folder_of(file: &Path) -> PathBuf {
    file.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_owned()
}
