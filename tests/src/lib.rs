//! Harness of the black-box tests: the real program in front of an upstream that does what a script says.
//!
//! What is absent: sleeps. Everything waits for the event itself (a log line, a closed connection, a frame), with a deadline
//! that is generous because it only matters when something is broken.

pub mod answers;
pub mod authorization;
pub mod browser;
pub mod cli;
pub mod client;
pub mod component;
pub mod databases;
pub mod dialect;
pub mod gateway;
pub mod model;
pub mod node;
pub mod operator;
pub mod python;
pub mod repo;
pub mod sdk;
pub mod upstream;
pub mod versions;

use std::future::Future;
use std::time::Duration;

pub use client::{Answer, Client, Events};
pub use dialect::Dialect;
pub use gateway::Gateway;
pub use upstream::{Gate, Received, Reply, Step, Upstream};
pub use versions::Version;

/// When to give up. A healthy gateway needs milliseconds; this is for a machine that compiles something else meanwhile.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// Waits for something, but not for ever. `what` completes the sentence "there was no …".
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(DEADLINE, future).await {
        Ok(value) => value,
        Err(_) => panic!("there was no {what} within {} s", DEADLINE.as_secs()),
    }
}
