//! What becomes of generations that were replaced: they go when their last request has ended, at the latest when their time is up. What only they
//! used goes with them.

use std::collections::HashSet;
use std::sync::{Arc, PoisonError};

use super::Deploy;
use super::live::Live;
use crate::extensions::Extension;
use crate::gateway::Generation;

/// A generation that only requests hold.
pub struct Draining {
    /// Its number.
    pub number: u64,
    /// Its extensions.
    pub extensions: Vec<Arc<Extension>>,
    expired: tokio_util::sync::CancellationToken,
}

impl Deploy {
    /// Lets go of the generations that serve no new request.
    pub(super) fn drain(self: &Arc<Self>, old: &Live) {
        let live = self.live();
        let replaced = old.generations().filter(|g| !live.generations().any(|l| Arc::ptr_eq(g, l)));
        for generation in replaced {
            let (number, extensions) = (generation.number, generation.extensions.all().to_vec());
            let expired = generation.expired.clone();
            self.draining_generations().push(Draining { number, extensions, expired });
            tokio::spawn(until_gone(Arc::clone(self), number, Ending::of(generation)));
        }
    }

    /// Ends all requests with an error, on whatever generation they are: the gateway stops, and their time is up.
    pub fn expire(&self) {
        let live = self.live();
        live.generations().for_each(|g| g.expired.cancel());
        self.draining_generations().iter().for_each(|d| d.expired.cancel());
    }

    /// Shuts down the extensions that nobody needs any more.
    pub(super) fn sweep(&self) {
        // Nothing is published meanwhile: what goes to the drain must not be seen in neither place.
        let books = self.books.lock().unwrap_or_else(PoisonError::into_inner);
        let mut used: HashSet<*const Extension> = HashSet::new();
        used.extend(self.live().extensions().map(Arc::as_ptr));
        used.extend(self.draining_generations().iter().flat_map(|d| &d.extensions).map(Arc::as_ptr));
        let mut unused = Vec::new();
        self.loaded().retain(|extension| {
            let keep = used.contains(&Arc::as_ptr(extension));
            if !keep {
                unused.push(Arc::clone(extension));
            }
            keep
        });
        drop(books);
        for extension in unused {
            tokio::spawn(async move { extension.shut_down().await });
        }
    }
}

/// How the end of a generation is seen and brought about, without holding it.
struct Ending {
    gone: tokio_util::sync::CancellationToken,
    expired: tokio_util::sync::CancellationToken,
    timeout: std::time::Duration,
}

impl Ending {
    fn of(generation: &Generation) -> Self {
        Self { gone: generation.gone(), expired: generation.expired.clone(), timeout: generation.config.deploy.drain_timeout }
    }
}

async fn until_gone(deploy: Arc<Deploy>, number: u64, ending: Ending) {
    tokio::select! {
        () = ending.gone.cancelled() => {}
        () = tokio::time::sleep(ending.timeout) => {
            tracing::warn!(generation = number, timeout = ?ending.timeout, "requests were still on a replaced generation at the end of deploy.drain_timeout; they get an error");
            ending.expired.cancel();
            ending.gone.cancelled().await;
        }
        () = deploy.stopping.cancelled() => return,
    }
    deploy.draining_generations().retain(|d| d.number != number);
    tracing::debug!(generation = number, "a generation is gone");
    deploy.sweep();
}
