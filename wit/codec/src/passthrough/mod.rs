//! Same-format traffic: the bytes go through as they came, and the gateway reads only what it must know.
//!
//! A request is edited by [`splice`], which leaves every byte alone that no edit names. A stream runs through a [`StreamTap`], which
//! forwards whole events and takes down usage, errors and the end on the way.
//!
//! Operations (embeddings, images and the like) pass whole too: of a [`Form`] the text fields are known, and of an answer its usage.

mod facts;
mod form;
mod gemini;
mod model;
mod operation;
mod responses;
mod splice;
mod tap;

pub use facts::StreamFacts;
pub use form::{Field, Form};
pub use model::{gemini_model_edits, gemini_other_model};
pub use operation::{UsageTap, operation_usage};
pub use splice::{forward, request_edits, splice};
pub use tap::StreamTap;
