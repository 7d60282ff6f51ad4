//! Same-format traffic: the bytes go through as they came, and the gateway reads only what it must know.
//!
//! A request is edited by [`splice`], which leaves every byte alone that no edit names. A stream runs through a [`StreamTap`], which
//! forwards whole events and takes down usage, errors and the end on the way.

mod facts;
mod gemini;
mod responses;
mod splice;
mod tap;

pub use facts::StreamFacts;
pub use splice::{forward, request_edits, splice};
pub use tap::StreamTap;
