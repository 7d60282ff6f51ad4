//! `wasmgate:extension/providers`: what the configuration has, for extensions that choose or list. Models that a provider told are
//! read from what was kept of them; nothing is asked here.

use std::collections::BTreeSet;

use crate::extensions::bindings::wasmgate::extension::providers::{Host, ProviderInfo};
use crate::extensions::state::StoreState;
use crate::extensions::tape::{Function, taped};
use crate::providers::{Directory, Entry};
use crate::virtual_providers::Node;

impl Host for &mut StoreState {
    fn all(&mut self) -> wasmtime::Result<Vec<ProviderInfo>> {
        Ok(taped!(self, Function::fact("providers.all"), (), all(&self.services.providers)))
    }

    fn find(&mut self, name: String) -> wasmtime::Result<Option<ProviderInfo>> {
        Ok(taped!(self, Function::fact("providers.find"), (&name,), find(&self.services.providers, &name)))
    }
}

/// All of them: first those that are asked themselves, so that a model's plain name means one of them.
pub fn all(providers: &Directory) -> Vec<ProviderInfo> {
    providers.entries().map(info).chain(providers.virtuals().nodes().map(|node| virtual_info(providers, node))).collect()
}

fn find(providers: &Directory, name: &str) -> Option<ProviderInfo> {
    providers.find(name).map(info).or_else(|| providers.virtuals().find(name).map(|node| virtual_info(providers, node)))
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

/// A virtual provider. Its models are its own name, which stands for whatever its members have, and `NAME/MODEL` for those of its members.
fn virtual_info(providers: &Directory, node: &Node) -> ProviderInfo {
    let mut found = Found::default();
    found.walk(providers, node);
    let models = found.models.iter().map(|model| format!("{}/{model}", node.name));
    ProviderInfo {
        name: node.name.clone(),
        kind: node.kind.to_owned(),
        format: found.format.unwrap_or_default().to_owned(),
        default_model: node.default_model.clone(),
        models: std::iter::once(node.name.clone()).chain(models).collect(),
    }
}

/// What the members of a virtual provider have.
#[derive(Default)]
struct Found<'a> {
    /// Virtual ones that were looked at: many ways may lead to one.
    seen: BTreeSet<&'a str>,
    /// Format of the first one.
    format: Option<&'static str>,
    models: BTreeSet<String>,
}

impl<'a> Found<'a> {
    fn walk(&mut self, providers: &'a Directory, node: &'a Node) {
        if !self.seen.insert(&node.name) {
            return;
        }
        for member in &node.members {
            // One that always asks for the same model answers whatever name is asked for; the name is none of its own.
            self.models.extend(member.model.clone());
            if let Some(node) = providers.virtuals().find(&member.name) {
                self.walk(providers, node);
            }
            let Some(entry) = providers.find(&member.name) else { continue };
            self.format.get_or_insert(entry.provider.format().as_str());
            if member.model.is_none() {
                self.models.extend(entry.listed_models().into_iter().chain(entry.default_model.clone()));
            }
        }
    }
}
