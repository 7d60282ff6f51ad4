//! Code in what models say: where it is, what language it is, whether it parses, and what repairs it. For the extensions that look at code.
//!
//! Everything here is a function of its arguments, and compiles natively as well as into components. Real parsers decide whether code is
//! right; a
//! parser is given nothing that it could not come back from (`depth.rs`), so that whatever a model writes, there is an answer.
//!
//! What is absent: types and everything else beyond syntax, but for names that whole files use and nothing in them brings (`imports/`). Code
//! that parses may still be wrong.

mod check;
mod depth;
pub mod find;
mod format;
mod imports;
pub mod language;
pub mod lex;
mod repair;

pub use check::{Diagnostic, Limits, Verdict, check, passes};
pub use format::format;
pub use imports::{Completed, complete};
pub use language::Language;
pub use repair::{Repaired, repair};
