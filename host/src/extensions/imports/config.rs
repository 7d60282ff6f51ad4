//! `wasi:config`: the extension's own configuration, by top-level key. It is not on the tape of a call: in a replay a version reads its own,
//! as it does when it is configured.

use crate::extensions::bindings::wasi::config::store::{Error, Host};
use crate::extensions::state::StoreState;

impl Host for &mut StoreState {
    fn get(&mut self, key: String) -> wasmtime::Result<Result<Option<String>, Error>> {
        Ok(Ok(self.services.config.get(&key).cloned()))
    }

    fn get_all(&mut self) -> wasmtime::Result<Result<Vec<(String, String)>, Error>> {
        Ok(Ok(self.services.config.iter().map(|(k, v)| (k.clone(), v.clone())).collect()))
    }
}
