//! The component runtime: loads extensions, orders them, and calls their hooks.
//!
//! What is absent: nothing here knows an extension by name, a provider, or a wire format. A trap, a timeout or a limit ends one
//! call and its instance, never the host.

pub mod bindings;
mod cache;
mod clock;
mod engine;
mod grants;
mod hooks;
pub mod imports;
mod instance;
pub mod limits;
mod manifest;
pub mod outbound;
pub mod registry;
pub mod services;
mod state;
mod stats;

pub use clock::Spent;
pub use engine::MAX_MEMORY;
pub use hooks::{CallError, Encoder, Filter, HookResult};
pub use instance::{Extension, LoadError};
pub use manifest::{Capability, Manifest, ManifestError, Toggle, read as read_manifest};
pub use registry::{Candidate, Registry, Runtime, plan};
pub use stats::{Hook, HookTotals, Stats};
