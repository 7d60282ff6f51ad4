//! `wasmgate:extension/routes`: paths that other extensions answer by themselves.

use std::sync::Arc;

use llm_codec::hub::{ChatError, ErrorClass};

use crate::extensions::bindings::wasmgate::extension::http::Reply;
use crate::extensions::bindings::wasmgate::extension::routes::Host;
use crate::extensions::state::StoreState;
use crate::extensions::tape::{Content, Function, taped};
use crate::pipeline::Asking;

impl Host for &mut StoreState {
    fn has(&mut self, method: String, path: String) -> wasmtime::Result<bool> {
        Ok(taped!(self, Function::fact("routes.has"), (&method, &path), {
            self.caller.as_ref().is_some_and(|caller| caller.answered(&method, &path))
        }))
    }

    async fn ask(&mut self, method: String, path: String, body: Vec<u8>) -> wasmtime::Result<Result<Reply, ChatError>> {
        self.taken(body.len());
        let reply = taped!(self, Function::generation("routes.ask"), (&method, &path, Content(&body)), {
            match self.caller.clone() {
                Some(caller) => {
                    let asking = Asking { caller, services: Arc::clone(&self.services) };
                    self.clock().excuse(asking.route(&method, &path, body)).await
                }
                None => Err(ChatError::new(
                    ErrorClass::InvalidRequest,
                    "There is no request in whose name a path could be asked: that is possible in hooks, not while it is configured.",
                )),
            }
        });
        self.given_more(reply.as_ref().map_or(0, |r| r.body.len()));
        Ok(reply)
    }
}
