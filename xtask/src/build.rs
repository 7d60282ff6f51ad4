//! `build`: the gateway and all components. The same builds serve demo and test, so nothing is compiled twice.

use anyhow::{Result, bail};
use lexopt::Parser;
use lexopt::prelude::*;

use crate::repo::Repo;
use crate::step::{Plan, Step};
use crate::{Finish, command, components, text, toolchain};

pub const HELP: &str = "\
Usage: cargo xtask build [--host-only | --components-only] [--profile PROFILE]

Builds the gateway (target/release/wasmgate) and every component: each folder of extensions/ and tests/fixtures/ with an
extension.toml becomes target/components/NAME.wasm or target/components/fixtures/NAME.wasm, validated, with its manifest
in the custom section `wasmgate:manifest`. A component that did not change keeps its file.

Options:
  --host-only        only the gateway
  --components-only  only the components
  --profile PROFILE  cargo's profile for the gateway [default: release]; components are always optimised
";

/// The profile that demo and test run.
pub const PROFILE: &str = "release";

#[derive(PartialEq)]
enum Part {
    All,
    Host,
    Components,
}

pub fn main(repo: &Repo, mut args: Parser) -> Result<Finish> {
    let mut part = Part::All;
    let mut profile = PROFILE.to_owned();
    while let Some(arg) = args.next()? {
        match arg {
            Long("host-only") if part == Part::All => part = Part::Host,
            Long("components-only") if part == Part::All => part = Part::Components,
            Long("host-only" | "components-only") => bail!("--host-only and --components-only exclude each other"),
            Long("profile") => profile = text(&mut args)?,
            other => return Err(other.unexpected().into()),
        }
    }
    let steps = if part == Part::All { 3 } else { 3 - if part == Part::Host { 2 } else { 1 } };
    let plan = Plan::new(steps);
    if part != Part::Components {
        plan.step("gateway", |step| host(repo, step, &profile))?;
    }
    if part != Part::Host {
        wasm(repo, &plan, components::Which::All)?;
    }
    Ok(Finish::Done)
}

/// Two steps: guest toolchain, components.
pub fn wasm(repo: &Repo, plan: &Plan, which: components::Which) -> Result<()> {
    let guest = plan.step("guest toolchain", |step| toolchain::prepare(repo, step))?;
    plan.step("components", |step| components::build(repo, step, &guest, which))
}

pub fn host(repo: &Repo, step: &Step, profile: &str) -> Result<()> {
    step.note(&format!("cargo build --profile {profile} --bin wasmgate (the first time some minutes)"));
    // The same packages as in the tests: cargo unites the features of what is built together, and with others the engine would be
    // compiled a second time.
    let args = ["build", "--locked", "--profile", profile, "--workspace", "--exclude", "xtask", "--bin", "wasmgate"];
    command::quietly(step, &mut repo.cargo(&args), "building the gateway")?;
    step.note(&repo.show(&repo.gateway(profile)));
    Ok(())
}
