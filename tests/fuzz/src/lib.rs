//! What must hold for any bytes that come from outside. One file per reader; a target only calls it.
//!
//! A check panics when its promise is broken. Inputs come from libFuzzer, which is steered by what the code does with them
//! (`fuzz_targets/`), or from [`made`], which knows nothing of the code and makes the same ones on every machine (`main.rs`).
//! `docs/testing.md` says how both are run.

pub mod answer;
pub mod completions;
pub mod component;
pub mod config;
mod cut;
pub mod embeddings;
pub mod form;
pub mod json;
pub mod made;
pub mod manifest;
pub mod request;
mod same;
pub mod sse;
pub mod stream;
pub mod targets;
