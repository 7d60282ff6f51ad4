//! Black-box tests: the real program with its real components. One file for each theme; names say what must hold.

mod attacks;
mod bad_input;
mod cancel;
mod capabilities;
mod cli;
mod exactly_once;
mod extensions;
mod files;
mod filters;
mod generate;
mod handmade;
mod limits;
mod measured;
mod memory;
mod panics;
mod pipeline;
mod provider_events;
mod real_model;
mod sdk;
mod sdk_node;
mod sdk_python;
mod security;
mod services;
mod setup;
mod state;
