//! Stage 1: connections, and what every request gets: an id, a limit, a deadline, and an answer even if the code panics.

mod accept;
mod admin;
mod serve;

pub use accept::bind;
