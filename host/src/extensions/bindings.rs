//! Generated bindings of the contract in `wit/`, and nothing else.
//!
//! The world `all` is used for its types and index structs only: the host probes every exported interface by itself
//! (`super::hooks`), so a component exports what it needs. Hub types are `llm_codec::hub`'s own, no conversion happens.

#![allow(missing_docs, unused_qualifications, clippy::all, clippy::pedantic)]

wasmtime::component::bindgen!({
    path: "../wit",
    world: "wasmgate:extension/all",
    imports: {
        default: trappable,
        "wasmgate:extension/request.[method]request.message-count": async | trappable,
        "wasmgate:extension/request.[method]request.message": async | trappable,
        "wasmgate:extension/request.[method]request.tools": async | trappable,
        "wasmgate:extension/request.[method]request.params": async | trappable,
        "wasmgate:extension/request.[method]request.estimate": async | trappable,
        "wasmgate:extension/request.[method]request.whole": async | trappable,
        "wasmgate:extension/generate.unary": async | trappable,
        "wasmgate:extension/generate.many": async | trappable,
        "wasmgate:extension/generate.open": async | trappable,
        "wasmgate:extension/generate.judge": async | trappable,
        "wasmgate:extension/generate.[method]answer-stream.next": async | trappable,
        "wasmgate:extension/generate.[method]batch.next": async | trappable,
        "wasmgate:extension/routes.ask": async | trappable,
        "wasmgate:extension/limiter.reserve": async | trappable,
        "wasmgate:extension/limiter.settle": async | trappable,
        "wasmgate:extension/limiter.reserve-all": async | trappable,
        "wasmgate:extension/limiter.settle-all": async | trappable,
        "wasmgate:extension/records.query": async | trappable,
        "wasmgate:extension/records.summarise": async | trappable,
    },
    exports: { default: async },
    with: {
        "wasmgate:extension/hub": crate::extensions::bindings::hub_types,
        "wasmgate:extension/http.incoming": crate::extensions::imports::http::IncomingHandle,
        "wasmgate:extension/request.request": crate::extensions::imports::request::RequestHandle,
        "wasmgate:extension/request.answer": crate::extensions::imports::request::AnswerHandle,
        "wasmgate:extension/generate.answer-stream": crate::extensions::imports::generate::AnswerStream,
        "wasmgate:extension/generate.batch": crate::extensions::imports::generate::Batch,
        "wasmgate:extension/secrets.secret": crate::extensions::imports::secrets::SecretHandle,
        "wasi:keyvalue/store.bucket": crate::extensions::imports::keyvalue::Bucket,
        "wasi:keyvalue/atomics.cas": crate::extensions::imports::keyvalue::Cas,
    },
});

/// The hub's types, and what generated code expects of any imported interface; there is nothing to link for types.
pub mod hub_types {
    pub use llm_codec::hub::*;

    /// No function is imported.
    pub trait Host {}
    impl<T: ?Sized> Host for T {}

    /// No function is imported.
    pub trait HostWithStore<T> {}
    impl<T, D: ?Sized> HostWithStore<T> for D {}

    /// Nothing to link.
    pub fn add_to_linker<T, D>(_: &mut wasmtime::component::Linker<T>, _: fn(&mut T) -> D::Data<'_>) -> wasmtime::Result<()>
    where
        D: wasmtime::component::HasData,
    {
        Ok(())
    }
}
