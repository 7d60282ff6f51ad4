//! Host side of the contract's imports: one file per interface. Denied or impossible requests are error values, never traps.

pub mod clocks;
pub mod config;
pub mod generate;
pub mod http;
pub mod keyvalue;
pub mod limiter;
pub mod logging;
pub mod metrics;
pub mod providers;
pub mod random;
pub mod records;
pub mod request;
pub mod routes;
pub mod secrets;

use wasmtime::component::Linker;

use super::bindings::wasi::{config as wasi_config, keyvalue as wasi_keyvalue, logging as wasi_logging};
use super::bindings::wasmgate::extension as own;
use super::manifest::Capability;
use super::state::{State, StoreState};

/// Links what an extension may import: the shapes of the hooks, and the capabilities that it was granted. An import outside of
/// them makes the component fail to load, with the import's name.
pub fn link(linker: &mut Linker<StoreState>, granted: &[Capability]) -> wasmtime::Result<()> {
    use wasmtime_wasi::p2::bindings as wasi;

    own::http::add_to_linker::<_, State>(linker, |s| s)?;
    own::request::add_to_linker::<_, State>(linker, |s| s)?;
    // Bounded by its own limit, and an extension that cannot say why it failed helps nobody.
    wasi_logging::logging::add_to_linker::<_, State>(linker, |s| s)?;
    let standard = granted.iter().any(|c| matches!(c, Capability::Wasi | Capability::Http));
    if standard {
        // Clocks and random come with it.
        wasmtime_wasi::p2::add_to_linker_async(linker)?;
        wasmtime_wasi_http::p2::add_only_http_to_linker_async(linker)?;
        // Of them, those that a replay has to repeat go through the host's own hands.
        linker.allow_shadowing(true);
        wasi::clocks::wall_clock::add_to_linker::<_, State>(linker, |s| s)?;
        wasi::clocks::monotonic_clock::add_to_linker::<_, State>(linker, |s| s)?;
        wasi::random::random::add_to_linker::<_, State>(linker, |s| s)?;
        linker.allow_shadowing(false);
    }
    for capability in granted {
        match capability {
            Capability::Log => {}
            Capability::Config => wasi_config::store::add_to_linker::<_, State>(linker, |s| s)?,
            Capability::Kv => {
                wasi_keyvalue::store::add_to_linker::<_, State>(linker, |s| s)?;
                wasi_keyvalue::atomics::add_to_linker::<_, State>(linker, |s| s)?;
                wasi_keyvalue::batch::add_to_linker::<_, State>(linker, |s| s)?;
            }
            Capability::Limiter => own::limiter::add_to_linker::<_, State>(linker, |s| s)?,
            Capability::Providers => own::providers::add_to_linker::<_, State>(linker, |s| s)?,
            Capability::Generate => own::generate::add_to_linker::<_, State>(linker, |s| s)?,
            Capability::Routes => own::routes::add_to_linker::<_, State>(linker, |s| s)?,
            Capability::Secrets => own::secrets::add_to_linker::<_, State>(linker, |s| s)?,
            Capability::Clock | Capability::Random if standard => {}
            Capability::Clock => wasi::clocks::wall_clock::add_to_linker::<_, State>(linker, |s| s)?,
            Capability::Random => wasi::random::random::add_to_linker::<_, State>(linker, |s| s)?,
            Capability::Records => own::records::add_to_linker::<_, State>(linker, |s| s)?,
            Capability::Metrics => own::metrics::add_to_linker::<_, State>(linker, |s| s)?,
            // Linked above; what leaves the machine is decided request by request.
            Capability::Http | Capability::Wasi => {}
        }
    }
    Ok(())
}
