//! What is done for a provider when nobody asks: its list of models is read anew, it is probed, and tokens are fetched before they expire.
//! A task for each that the configuration switches on; it ends with the provider.

use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::health::Probe;
use super::{Entry, oauth};

/// First and longest wait after a list that could not be read; it is never longer than the interval.
const AGAIN: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(300));

/// Begins what the configuration wants. Without a runtime, as in a check of a configuration, nothing begins.
pub fn start(entry: &Arc<Entry>) -> Vec<AbortOnDropHandle<()>> {
    let Ok(runtime) = tokio::runtime::Handle::try_current() else { return Vec::new() };
    let config = entry.config();
    let mut tasks = Vec::new();
    if !config.models_refresh.is_zero() && config.models.is_empty() && entry.provider.lists_models() {
        tasks.push(AbortOnDropHandle::new(runtime.spawn(refresh(Arc::downgrade(entry), config.models_refresh))));
    }
    if !config.probe_interval.is_zero() {
        tasks.push(AbortOnDropHandle::new(runtime.spawn(probe(Arc::downgrade(entry), config.probe_interval))));
    }
    if let Some(login) = entry.provider.credentials().and_then(|c| c.login().cloned()) {
        tasks.push(AbortOnDropHandle::new(runtime.spawn(oauth::keep_fresh(login))));
    }
    tasks
}

/// A list that cannot be read leaves the one before in its place: it is better than none.
async fn refresh(entry: Weak<Entry>, every: Duration) {
    let mut failures = 0u32;
    while let Some(entry) = entry.upgrade() {
        let wait = match entry.refresh_models().await {
            Ok(models) => {
                tracing::debug!(provider = entry.name, models, "the list of models was read");
                failures = 0;
                every
            }
            Err(error) => {
                tracing::warn!(provider = entry.name, error = error.message, "the list of models could not be read");
                let wait = AGAIN.0.saturating_mul(1u32.checked_shl(failures).unwrap_or(u32::MAX)).min(AGAIN.1).min(every);
                failures = failures.saturating_add(1);
                wait
            }
        };
        drop(entry);
        tokio::time::sleep(wait).await;
    }
}

async fn probe(entry: Weak<Entry>, every: Duration) {
    while let Some(entry) = entry.upgrade() {
        let before = entry.health().probe().is_none_or(|p| p.error.is_none());
        let began = Instant::now();
        let error = entry.test(None).await.err();
        if before && let Some(error) = &error {
            tracing::warn!(provider = entry.name, error = error.message, "the provider does not answer its probe");
        } else if !before && error.is_none() {
            tracing::info!(provider = entry.name, "the provider answers its probe again");
        }
        entry.health().probed(Probe { error, took: began.elapsed(), at: SystemTime::now() });
        drop(entry);
        tokio::time::sleep(every).await;
    }
}
