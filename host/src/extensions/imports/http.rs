//! `wasmgate:extension/http`: the request as it arrived, read through a handle.

use std::sync::Arc;

use wasmtime::component::Resource;

use crate::extensions::bindings::wasmgate::extension::http::{Host, HostIncoming, JsonKind, Member};
use crate::extensions::state::StoreState;
use crate::extensions::tape::{Content, Function, taped};
use crate::pipeline::Incoming;

/// Longest JSON value that `pointer` hands out; longer ones are read with `body`.
const MAX_POINTER_VALUE: usize = 64 << 10;

/// Where dialects find the model. Its name is in the log of every request, so it is nothing of the conversation.
const MODEL: &str = "/model";

/// What the guest holds.
pub enum IncomingHandle {
    /// A request that arrived.
    Live(Arc<Incoming>),
    /// One of a recording, which answers for it.
    Replayed,
}

impl Host for &mut StoreState {}

impl HostIncoming for &mut StoreState {
    fn method(&mut self, incoming: Resource<IncomingHandle>) -> wasmtime::Result<String> {
        Ok(taped!(self, Function::fact("incoming.method"), (), self.incoming(&incoming)?.head.method.to_string()))
    }

    fn path(&mut self, incoming: Resource<IncomingHandle>) -> wasmtime::Result<String> {
        Ok(taped!(self, Function::fact("incoming.path"), (), self.incoming(&incoming)?.head.uri.path().to_owned()))
    }

    fn query(&mut self, incoming: Resource<IncomingHandle>) -> wasmtime::Result<Option<String>> {
        Ok(taped!(self, Function::fact("incoming.query"), (), self.incoming(&incoming)?.head.uri.query().map(str::to_owned)))
    }

    fn path_param(&mut self, incoming: Resource<IncomingHandle>, name: String) -> wasmtime::Result<Option<String>> {
        Ok(taped!(self, Function::fact("incoming.path-param"), (&name,), {
            let params = &self.incoming(&incoming)?.path_params;
            params.iter().find(|(n, _)| *n == name).map(|(_, v)| v.clone())
        }))
    }

    fn header(&mut self, incoming: Resource<IncomingHandle>, name: String) -> wasmtime::Result<Option<String>> {
        let header = Function::fact("incoming.header");
        self.taped_header(header, &name, |state| Ok(state.incoming(&incoming)?.header(&name).map(str::to_owned)))
    }

    fn body_length(&mut self, incoming: Resource<IncomingHandle>) -> wasmtime::Result<u64> {
        Ok(taped!(self, Function::fact("incoming.body-length"), (), self.incoming(&incoming)?.body().len() as u64))
    }

    fn members(&mut self, incoming: Resource<IncomingHandle>) -> wasmtime::Result<Vec<Member>> {
        Ok(taped!(self, Function::fact("incoming.members"), (), {
            let members = self.incoming(&incoming)?.document().into_iter().flat_map(|d| d.members());
            members.map(|(name, value)| Member { name: name.into(), kind: kind(value) }).collect()
        }))
    }

    fn kind(&mut self, incoming: Resource<IncomingHandle>, pointer: String) -> wasmtime::Result<Option<JsonKind>> {
        Ok(taped!(self, Function::fact("incoming.kind"), (&pointer,), {
            self.incoming(&incoming)?.document().and_then(|d| d.pointer(&pointer)).map(kind)
        }))
    }

    fn pointer(&mut self, incoming: Resource<IncomingHandle>, pointer: String) -> wasmtime::Result<Result<Option<String>, String>> {
        Ok(taped!(self, value_at("incoming.pointer", &pointer), (&pointer,), {
            match self.incoming(&incoming)?.document().and_then(|d| d.pointer(&pointer)) {
                Some(v) if v.len() > MAX_POINTER_VALUE => {
                    Err(format!("the value has {} bytes; at most {MAX_POINTER_VALUE} are handed out", v.len()))
                }
                value => Ok(value.map(str::to_owned)),
            }
        }))
    }

    fn text(&mut self, incoming: Resource<IncomingHandle>, pointer: String) -> wasmtime::Result<Option<String>> {
        Ok(taped!(self, value_at("incoming.text", &pointer), (&pointer,), {
            let incoming = self.incoming(&incoming)?;
            let member = || incoming.document().and_then(|d| d.pointer_string(&pointer));
            let field = || Some(incoming.form()?.text(incoming.body(), pointer.strip_prefix('/')?)?.into());
            member().or_else(field).filter(|t| t.len() <= MAX_POINTER_VALUE).map(|t| t.into_owned())
        }))
    }

    fn flag(&mut self, incoming: Resource<IncomingHandle>, pointer: String) -> wasmtime::Result<Option<bool>> {
        Ok(taped!(self, Function::fact("incoming.flag"), (&pointer,), {
            match self.incoming(&incoming)?.document().and_then(|d| d.pointer(&pointer)) {
                Some("true") => Some(true),
                Some("false") => Some(false),
                _ => None,
            }
        }))
    }

    fn body(&mut self, incoming: Resource<IncomingHandle>) -> wasmtime::Result<Vec<u8>> {
        let body = taped!(self, Function::content("incoming.body"), (), Content(self.incoming(&incoming)?.body().to_vec())).0;
        self.given(body.len());
        Ok(body)
    }

    fn drop(&mut self, incoming: Resource<IncomingHandle>) -> wasmtime::Result<()> {
        self.table.delete(incoming)?;
        Ok(())
    }
}

/// A function that tells a value of the body.
fn value_at(function: &'static str, pointer: &str) -> Function {
    if pointer == MODEL { Function::fact(function) } else { Function::content(function) }
}

/// What a value is, by its first byte: it is known to be well-formed.
fn kind(value: &str) -> JsonKind {
    match value.as_bytes().first() {
        Some(b'"') => JsonKind::Text,
        Some(b'{') => JsonKind::Object,
        Some(b'[') => JsonKind::Array,
        Some(b't' | b'f') => JsonKind::Boolean,
        Some(b'n') | None => JsonKind::Null,
        Some(_) => JsonKind::Number,
    }
}

impl StoreState {
    fn incoming(&self, handle: &Resource<IncomingHandle>) -> wasmtime::Result<&Incoming> {
        match self.table.get(handle)? {
            IncomingHandle::Live(incoming) => Ok(incoming),
            IncomingHandle::Replayed => Err(wasmtime::Error::msg("the recording answers for this handle")),
        }
    }
}
