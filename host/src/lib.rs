//! The gateway's host. `docs/architecture.md` says what is where; the folders follow a request's way.
#![deny(unsafe_code)]

pub mod cli;
pub mod config;
pub mod deploy;
mod digest;
pub mod extensions;
pub mod gateway;
mod ingress;
pub mod pipeline;
pub mod providers;
pub mod storage;
mod telemetry;
pub mod virtual_providers;
