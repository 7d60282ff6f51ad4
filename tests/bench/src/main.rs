//! The other sides of a measurement, one subcommand each; `cargo xtask bench` starts them and reads what they say.
//!
//! What is absent: the gateway. Nothing here is linked with it, so that what is measured beside it is not measured with it.

mod conversation;
mod floor;
mod load;
mod sse;
mod upstream;

use clap::{Parser, Subcommand};

/// A proxy without features, an upstream without delay, and a load, for `cargo xtask bench`.
#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Proxies to an upstream and has no features: what a gateway of the same libraries costs at least.
    Floor(floor::Options),
    /// Answers OpenAI chat completions from memory, without delay.
    Upstream(upstream::Options),
    /// Sends requests one after the other on each of its connections and prints how long they took, as JSON.
    Load(load::Options),
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::Floor(options) => floor::main(options),
        Command::Upstream(options) => upstream::main(options),
        Command::Load(options) => load::main(options),
    }
}
