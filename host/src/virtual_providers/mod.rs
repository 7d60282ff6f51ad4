//! Virtual providers: they send nothing themselves, but decide which of other providers answers. One file for each type.
//!
//! `racing` asks several at once, `fallback` the next one after a failure, `loadbalance` spreads requests. They may be nested. What is known
//! of their members is in `performance`, who rests after failures in `cooldown`, and how failures become one error in `failure`.
//!
//! What is absent: nothing here knows a request, a hook or a format. A strategy is given a way to ask a member, and gives back what one of
//! them answered; `pipeline/attempt.rs` asks.

mod cooldown;
pub mod failure;
pub mod fallback;
pub mod loadbalance;
pub mod performance;
pub mod persist;
pub mod racing;
pub mod scorer;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

pub use cooldown::Cooldowns;
pub use failure::{Failure, Scope};
pub use performance::Performance;

use crate::config::virtual_providers::{Does, FallbackConfig, RacingConfig, VirtualConfig};
use loadbalance::Balance;

/// All virtual providers of a generation, by name.
#[derive(Default)]
pub struct Tree {
    nodes: BTreeMap<String, Node>,
    /// Who rests.
    pub cooldowns: Cooldowns,
    /// What is known of members.
    pub performance: Arc<Performance>,
}

/// A virtual provider.
pub struct Node {
    /// Its name.
    pub name: String,
    /// Its type.
    pub kind: &'static str,
    /// The model that its name stands for.
    pub default_model: Option<String>,
    /// The providers that it uses, in the order of the configuration.
    pub members: Vec<Member>,
    /// How it uses them.
    pub strategy: Strategy,
}

/// One of the providers that a virtual one uses.
pub struct Member {
    /// Its name.
    pub name: String,
    /// The model that it is asked for, whatever the request says.
    pub model: Option<String>,
    /// Its share among the others.
    pub weight: f64,
    in_flight: Arc<AtomicUsize>,
}

/// How a virtual provider uses its members.
pub enum Strategy {
    /// All at once.
    Race(RacingConfig),
    /// One after the other.
    Fall(FallbackConfig),
    /// In turn.
    Balance(Balance),
}

/// A request that a member works on, for as long as this lives.
#[derive(Debug)]
pub struct InFlight(Arc<AtomicUsize>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

// === impl Tree ===

impl Tree {
    /// Puts the virtual providers of a configuration together. It was checked: each has members, all of them exist, and there is no circle.
    pub fn build(configs: &BTreeMap<String, VirtualConfig>, performance: &Arc<Performance>) -> Self {
        let nodes = configs.iter().map(|(name, config)| (name.clone(), Node::new(name, config))).collect();
        Self { nodes, cooldowns: Cooldowns::default(), performance: Arc::clone(performance) }
    }

    /// The virtual provider of a name.
    pub fn find(&self, name: &str) -> Option<&Node> {
        self.nodes.get(name)
    }

    /// All of them, by name.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.values()
    }
}

// === impl Node ===

impl Node {
    fn new(name: &str, config: &VirtualConfig) -> Self {
        let members = config.members().iter().map(|m| Member {
            name: m.provider.clone(),
            model: m.model.clone(),
            weight: m.weight,
            in_flight: Arc::default(),
        });
        let strategy = match &config.does {
            Does::Race(racing) => Strategy::Race(racing.clone()),
            Does::Fall(fallback) => Strategy::Fall(fallback.clone()),
            Does::Balance(balance) => Strategy::Balance(Balance::new(balance)),
        };
        Self {
            name: name.to_owned(),
            kind: config.kind(),
            default_model: config.default_model.clone(),
            members: members.collect(),
            strategy,
        }
    }
}

// === impl Member ===

impl Member {
    /// It begins to work on a request.
    pub fn begin(&self) -> InFlight {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight(Arc::clone(&self.in_flight))
    }

    /// Requests that it works on.
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }
}
