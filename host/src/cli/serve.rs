//! `wasmgate serve`

use std::process::ExitCode;
use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::{FAILURE, SourceArgs, begin};
use crate::deploy::Sources;
use crate::deploy::attempt::Trigger;
use crate::gateway::{Checked, Gateway};
use crate::ingress;

/// Runs the gateway until a signal.
pub fn run(source: &SourceArgs) -> ExitCode {
    let (sources, checked, _writes_the_last_lines) = match begin(source) {
        Ok(begun) => begun,
        Err(code) => return code,
    };
    raise_file_limit();
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    if checked.config.server.threads > 0 {
        runtime.worker_threads(checked.config.server.threads);
    }
    let ended = runtime.enable_all().build().map_err(anyhow::Error::from).and_then(|r| r.block_on(serve(sources, checked)));
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("error: {e:#}");
            ExitCode::from(e.downcast_ref::<NotStarted>().map_or(FAILURE, |_| super::USAGE))
        }
    }
}

/// Every stream takes two connections, and the usual limit of open files is far below what the gateway can serve.
fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum
        && let Err(e) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
    {
        tracing::warn!(error = %e, limit = current, "the limit of open files could not be raised; it bounds the connections");
    }
}

/// The configuration was readable, but the gateway could not be built from it.
#[derive(Debug)]
struct NotStarted;

impl std::fmt::Display for NotStarted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the gateway does not start")
    }
}

async fn serve(sources: Sources, checked: Checked) -> anyhow::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    let server = checked.config.server.clone();
    let listener = ingress::bind(&server).await.map_err(|e| anyhow::anyhow!("cannot listen on {}:{}: {e}", server.host, server.port))?;
    let gateway = Gateway::start(sources, checked).await.map_err(|e| e.context(NotStarted))?;
    let deploy = Arc::clone(&gateway.deploy);
    let reloads = tokio::spawn(async move {
        while hang_up.recv().await.is_some() {
            deploy.reload(Trigger::Reload).await;
        }
    });
    tracing::info!(address = %listener.address, "listening");
    let (tell, stop) = mpsc::unbounded_channel();
    let signals = tokio::spawn(async move {
        for what in ["stopping: running requests may finish", "told again: no new requests are taken from now on"] {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            tracing::info!("{what}");
            // Nobody listens any more when it has stopped.
            let _ = tell.send(());
        }
    });
    listener.serve(gateway.clone(), stop).await;
    signals.abort();
    reloads.abort();
    gateway.shut_down().await;
    Ok(())
}
