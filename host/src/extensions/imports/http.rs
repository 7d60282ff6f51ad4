//! `wasmgate:extension/http`: the request as it arrived, read through a handle.

use std::sync::Arc;

use wasmtime::component::Resource;

use crate::extensions::bindings::wasmgate::extension::http::{Host, HostIncoming, JsonKind, Member};
use crate::extensions::state::StoreState;
use crate::pipeline::Incoming;

/// Longest JSON value that `pointer` hands out; longer ones are read with `body`.
const MAX_POINTER_VALUE: usize = 64 << 10;

/// What the guest holds.
pub struct IncomingHandle(pub Arc<Incoming>);

impl Host for &mut StoreState {}

impl HostIncoming for &mut StoreState {
    fn method(&mut self, incoming: Resource<IncomingHandle>) -> wasmtime::Result<String> {
        Ok(self.incoming(&incoming)?.head.method.to_string())
    }

    fn path(&mut self, incoming: Resource<IncomingHandle>) -> wasmtime::Result<String> {
        Ok(self.incoming(&incoming)?.head.uri.path().to_owned())
    }

    fn query(&mut self, incoming: Resource<IncomingHandle>) -> wasmtime::Result<Option<String>> {
        Ok(self.incoming(&incoming)?.head.uri.query().map(str::to_owned))
    }

    fn path_param(&mut self, incoming: Resource<IncomingHandle>, name: String) -> wasmtime::Result<Option<String>> {
        let params = &self.incoming(&incoming)?.path_params;
        Ok(params.iter().find(|(n, _)| *n == name).map(|(_, v)| v.clone()))
    }

    fn header(&mut self, incoming: Resource<IncomingHandle>, name: String) -> wasmtime::Result<Option<String>> {
        Ok(self.incoming(&incoming)?.header(&name).map(str::to_owned))
    }

    fn body_length(&mut self, incoming: Resource<IncomingHandle>) -> wasmtime::Result<u64> {
        Ok(self.incoming(&incoming)?.body().len() as u64)
    }

    fn members(&mut self, incoming: Resource<IncomingHandle>) -> wasmtime::Result<Vec<Member>> {
        let members = self.incoming(&incoming)?.document().into_iter().flat_map(|d| d.members());
        Ok(members.map(|(name, value)| Member { name: name.into(), kind: kind(value) }).collect())
    }

    fn kind(&mut self, incoming: Resource<IncomingHandle>, pointer: String) -> wasmtime::Result<Option<JsonKind>> {
        Ok(self.incoming(&incoming)?.document().and_then(|d| d.pointer(&pointer)).map(kind))
    }

    fn pointer(&mut self, incoming: Resource<IncomingHandle>, pointer: String) -> wasmtime::Result<Result<Option<String>, String>> {
        let value = self.incoming(&incoming)?.document().and_then(|d| d.pointer(&pointer));
        Ok(match value {
            Some(v) if v.len() > MAX_POINTER_VALUE => {
                Err(format!("the value has {} bytes; at most {MAX_POINTER_VALUE} are handed out", v.len()))
            }
            value => Ok(value.map(str::to_owned)),
        })
    }

    fn text(&mut self, incoming: Resource<IncomingHandle>, pointer: String) -> wasmtime::Result<Option<String>> {
        let document = self.incoming(&incoming)?.document();
        let text = document.and_then(|d| d.pointer_string(&pointer));
        Ok(text.filter(|t| t.len() <= MAX_POINTER_VALUE).map(|t| t.into_owned()))
    }

    fn flag(&mut self, incoming: Resource<IncomingHandle>, pointer: String) -> wasmtime::Result<Option<bool>> {
        let value = self.incoming(&incoming)?.document().and_then(|d| d.pointer(&pointer));
        Ok(match value {
            Some("true") => Some(true),
            Some("false") => Some(false),
            _ => None,
        })
    }

    fn body(&mut self, incoming: Resource<IncomingHandle>) -> wasmtime::Result<Vec<u8>> {
        let body = self.incoming(&incoming)?.body().to_vec();
        self.given(body.len());
        Ok(body)
    }

    fn drop(&mut self, incoming: Resource<IncomingHandle>) -> wasmtime::Result<()> {
        self.table.delete(incoming)?;
        Ok(())
    }
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
        Ok(&self.table.get(handle)?.0)
    }
}
