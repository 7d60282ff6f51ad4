//! Stage 1: connections, and what every request gets: an id, a limit, a deadline, and an answer even if the code panics.

mod accept;
mod access;
mod admin;
mod auth;
mod client;
mod cors;
mod recovery;
mod serve;
pub mod tls;
mod wrapped;

pub use accept::bind;
pub use auth::is_closed;
