//! The component runtime: loads extensions, orders them, and calls their hooks.
//!
//! What is absent: nothing here knows an extension by name, a provider, or a wire format. A trap, a timeout or a limit ends one
//! call and its instance, never the host.

pub mod bindings;
mod cache;
mod calls;
mod clock;
mod differences;
mod engine;
pub mod grants;
mod hooks;
pub mod imports;
mod instance;
pub mod limits;
mod manifest;
pub mod outbound;
mod recording;
pub mod registry;
mod replay;
pub mod services;
mod shown;
mod state;
mod stats;
mod surface;
mod tape;
mod tripwire;

pub use clock::Spent;
pub use engine::MAX_MEMORY;
pub use hooks::{CallError, Encoder, Filter, HookResult};
pub use instance::{CONTRACT, CONTRACT_VERSION, Extension, Handover, LoadError};
pub use manifest::{Access, Capability, Manifest, ManifestError, Toggle, Told, read as read_manifest};
pub use recording::{Case, Recorder, Shadow, is_secret_parameter};
pub use registry::{Candidate, MAX_COMPONENT, Registry, Runtime, Surroundings, plan};
pub use replay::{Comparison, Difference, Replayed, compare_with};
pub use stats::{Hook, HookTotals, Stats};
pub use surface::Surface;
