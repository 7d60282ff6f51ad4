//! `wasmgate:extension/providers`: what the configuration has, for extensions that choose or list. Models that a provider told are
//! read from what was kept of them; nothing is asked here.

use crate::extensions::bindings::wasmgate::extension::providers::{Host, ProviderInfo};
use crate::extensions::state::StoreState;
use crate::extensions::tape::{Function, taped};
use crate::providers::Entry;

impl Host for &mut StoreState {
    fn all(&mut self) -> wasmtime::Result<Vec<ProviderInfo>> {
        Ok(taped!(self, Function::fact("providers.all"), (), self.services.providers.entries().map(info).collect()))
    }

    fn find(&mut self, name: String) -> wasmtime::Result<Option<ProviderInfo>> {
        Ok(taped!(self, Function::fact("providers.find"), (&name,), self.services.providers.find(&name).map(info)))
    }
}

fn info(entry: &Entry) -> ProviderInfo {
    ProviderInfo {
        name: entry.name.clone(),
        kind: entry.kind.to_owned(),
        format: entry.provider.format().as_str().to_owned(),
        default_model: entry.default_model.clone(),
        models: entry.listed_models(),
    }
}
