//! What must hold for any bytes that come from outside. One file per reader; a fuzz target only calls it.
//!
//! A check panics when its promise is broken. `docs/testing.md` says how the targets are run.

pub mod answer;
pub mod component;
pub mod config;
mod cut;
pub mod form;
pub mod json;
pub mod manifest;
pub mod request;
mod same;
pub mod sse;
pub mod stream;
