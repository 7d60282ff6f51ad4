//! Generated bindings of the contract in `wit/`: one module for what is imported, one for each interface that may be exported.
//!
//! Every exported interface has a world of its own, so that a component declares what [`crate::export!`] names and nothing else.
//! Hub types are `llm_codec::hub`'s own.

#![allow(missing_docs, clippy::all, clippy::pedantic, unsafe_code, unused_qualifications, dead_code)]

wit_bindgen::generate!({
    path: "../../../wit",
    world: "wasmgate:extension/imports",
    with: { "wasmgate:extension/hub@0.1.2": llm_codec::hub },
    generate_all,
    generate_unused_types: true,
    pub_export_macro: true,
});

/// Exported interfaces.
pub mod exports {
    pub use super::after_generate::exports::wasmgate::extension::after_generate;
    pub use super::attempts::exports::wasmgate::extension::attempts;
    pub use super::before_generate::exports::wasmgate::extension::before_generate;
    pub use super::dialect::exports::wasmgate::extension::dialect;
    pub use super::handover::exports::wasmgate::extension::handover;
    pub use super::judge::exports::wasmgate::extension::judge;
    pub use super::lifecycle::exports::wasmgate::extension::lifecycle;
    pub use super::on_complete::exports::wasmgate::extension::on_complete;
    pub use super::operations::exports::wasmgate::extension::operations;
    pub use super::provider_events::exports::wasmgate::extension::provider_events;
    pub use super::stream_filter::exports::wasmgate::extension::stream_filter;
}

pub mod lifecycle {
    wit_bindgen::generate!({
        path: "../../../wit",
        world: "wasmgate:extension/lifecycle-export",
        with: { "wasmgate:extension/hub@0.1.2": llm_codec::hub },
        pub_export_macro: true,
        export_macro_name: "export_lifecycle",
    });
}

pub mod handover {
    wit_bindgen::generate!({
        path: "../../../wit",
        world: "wasmgate:extension/handover-export",
        pub_export_macro: true,
        export_macro_name: "export_handover",
    });
}

pub mod dialect {
    wit_bindgen::generate!({
        path: "../../../wit",
        world: "wasmgate:extension/dialect-export",
        with: {
            "wasmgate:extension/hub@0.1.2": llm_codec::hub,
            "wasmgate:extension/http@0.1.2": crate::bindings::wasmgate::extension::http,
        },
        pub_export_macro: true,
        export_macro_name: "export_dialect",
    });
}

pub mod operations {
    wit_bindgen::generate!({
        path: "../../../wit",
        world: "wasmgate:extension/operations-export",
        with: {
            "wasmgate:extension/hub@0.1.2": llm_codec::hub,
            "wasmgate:extension/http@0.1.2": crate::bindings::wasmgate::extension::http,
        },
        pub_export_macro: true,
        export_macro_name: "export_operations",
    });
}

pub mod before_generate {
    wit_bindgen::generate!({
        path: "../../../wit",
        world: "wasmgate:extension/before-generate-export",
        with: {
            "wasmgate:extension/hub@0.1.2": llm_codec::hub,
            "wasmgate:extension/http@0.1.2": crate::bindings::wasmgate::extension::http,
            "wasmgate:extension/request@0.1.2": crate::bindings::wasmgate::extension::request,
        },
        pub_export_macro: true,
        export_macro_name: "export_before_generate",
    });
}

pub mod after_generate {
    wit_bindgen::generate!({
        path: "../../../wit",
        world: "wasmgate:extension/after-generate-export",
        with: {
            "wasmgate:extension/hub@0.1.2": llm_codec::hub,
            "wasmgate:extension/http@0.1.2": crate::bindings::wasmgate::extension::http,
            "wasmgate:extension/request@0.1.2": crate::bindings::wasmgate::extension::request,
        },
        pub_export_macro: true,
        export_macro_name: "export_after_generate",
    });
}

pub mod stream_filter {
    wit_bindgen::generate!({
        path: "../../../wit",
        world: "wasmgate:extension/stream-filter-export",
        with: {
            "wasmgate:extension/hub@0.1.2": llm_codec::hub,
            "wasmgate:extension/http@0.1.2": crate::bindings::wasmgate::extension::http,
            "wasmgate:extension/request@0.1.2": crate::bindings::wasmgate::extension::request,
        },
        pub_export_macro: true,
        export_macro_name: "export_stream_filter",
    });
}

pub mod attempts {
    wit_bindgen::generate!({
        path: "../../../wit",
        world: "wasmgate:extension/attempts-export",
        with: {
            "wasmgate:extension/hub@0.1.2": llm_codec::hub,
            "wasmgate:extension/http@0.1.2": crate::bindings::wasmgate::extension::http,
            "wasmgate:extension/request@0.1.2": crate::bindings::wasmgate::extension::request,
        },
        pub_export_macro: true,
        export_macro_name: "export_attempts",
    });
}

pub mod on_complete {
    wit_bindgen::generate!({
        path: "../../../wit",
        world: "wasmgate:extension/on-complete-export",
        with: {
            "wasmgate:extension/hub@0.1.2": llm_codec::hub,
            "wasmgate:extension/http@0.1.2": crate::bindings::wasmgate::extension::http,
            "wasmgate:extension/request@0.1.2": crate::bindings::wasmgate::extension::request,
        },
        pub_export_macro: true,
        export_macro_name: "export_on_complete",
    });
}

pub mod provider_events {
    wit_bindgen::generate!({
        path: "../../../wit",
        world: "wasmgate:extension/provider-events-export",
        with: {
            "wasmgate:extension/hub@0.1.2": llm_codec::hub,
            "wasmgate:extension/http@0.1.2": crate::bindings::wasmgate::extension::http,
            "wasmgate:extension/request@0.1.2": crate::bindings::wasmgate::extension::request,
        },
        pub_export_macro: true,
        export_macro_name: "export_provider_events",
    });
}

pub mod judge {
    wit_bindgen::generate!({
        path: "../../../wit",
        world: "wasmgate:extension/judge-export",
        with: {
            "wasmgate:extension/hub@0.1.2": llm_codec::hub,
            "wasmgate:extension/http@0.1.2": crate::bindings::wasmgate::extension::http,
            "wasmgate:extension/request@0.1.2": crate::bindings::wasmgate::extension::request,
        },
        pub_export_macro: true,
        export_macro_name: "export_judge",
    });
}
