//! [`export!`](crate::export): makes a type the component's exports.

/// Exports an extension: `export!(MyType: before_generate, on_complete)`.
///
/// Hooks are `dialect`, `operations`, `before_generate`, `after_generate`, `stream_filter`, `provider_events`, `judge`, `attempts`, `on_complete`, `handover`, and `http` or `http_stream`. Start and end (`configure`, `self_test`,
/// `shutdown`) are always exported. Natively nothing is exported; the type is only checked.
#[macro_export]
macro_rules! export {
    ($ty:ty : $($hook:ident),+ $(,)?) => {
        $crate::__wasmgate_check!($ty: $($hook),+);

        #[cfg(target_arch = "wasm32")]
        const _: () = {
            use $crate::bindings;

            struct Component;

            ::std::thread_local! {
                static INSTANCE: ::std::cell::OnceCell<&'static $ty> = const { ::std::cell::OnceCell::new() };
            }

            fn instance() -> &'static $ty {
                INSTANCE.with(|i| i.get().copied()).expect("the host calls `configure` first")
            }

            impl bindings::exports::lifecycle::Guest for Component {
                fn configure(config: ::std::string::String) -> ::std::result::Result<bindings::exports::lifecycle::Registration, ::std::string::String> {
                    let made = $crate::support::configure::<$ty>(&config)?;
                    let routes = $crate::Extension::routes(&made);
                    INSTANCE.with(|i| i.set(::std::boxed::Box::leak(::std::boxed::Box::new(made)))).map_err(|_| ::std::string::String::from("configured twice"))?;
                    Ok(bindings::exports::lifecycle::Registration { routes })
                }

                fn self_test() -> ::std::result::Result<(), ::std::string::String> {
                    $crate::Extension::self_test(instance())
                }

                fn shutdown() {
                    $crate::Extension::shutdown(instance());
                }
            }

            bindings::lifecycle::export_lifecycle!(Component with_types_in bindings::lifecycle);
            $($crate::__wasmgate_export_hook!($hook, Component, $ty);)+
        };
    };
}

/// One hook of [`export!`](crate::export).
#[doc(hidden)]
#[macro_export]
macro_rules! __wasmgate_export_hook {
    (before_generate, $component:ident, $ty:ty) => {
        impl bindings::exports::before_generate::Guest for $component {
            fn before_generate(call: $crate::CallInfo, request: &$crate::Request) -> $crate::Decision {
                $crate::Extension::before_generate(instance(), &call, request)
            }
        }
        bindings::before_generate::export_before_generate!($component with_types_in bindings::before_generate);
    };
    (after_generate, $component:ident, $ty:ty) => {
        impl bindings::exports::after_generate::Guest for $component {
            fn after_generate(call: $crate::CallInfo, request: &$crate::Request, answer: &$crate::Answer) -> $crate::Verdict {
                $crate::Extension::after_generate(instance(), &call, request, answer)
            }
        }
        bindings::after_generate::export_after_generate!($component with_types_in bindings::after_generate);
    };
    (provider_events, $component:ident, $ty:ty) => {
        impl bindings::exports::provider_events::Guest for $component {
            fn on_provider_selected(call: $crate::CallInfo, request: &$crate::Request, attempt: $crate::AttemptInfo) -> $crate::Reaction {
                $crate::Extension::on_provider_selected(instance(), &call, request, &attempt)
            }

            fn on_provider_error(
                call: $crate::CallInfo,
                request: &$crate::Request,
                attempt: $crate::AttemptInfo,
                error: $crate::ChatError,
            ) -> $crate::Reaction {
                $crate::Extension::on_provider_error(instance(), &call, request, &attempt, &error)
            }
        }
        bindings::provider_events::export_provider_events!($component with_types_in bindings::provider_events);
    };
    (judge, $component:ident, $ty:ty) => {
        impl bindings::exports::judge::Guest for $component {
            fn judge(
                call: $crate::CallInfo,
                request: &$crate::Request,
                candidates: ::std::vec::Vec<$crate::Candidate>,
            ) -> ::std::result::Result<::std::vec::Vec<$crate::Score>, $crate::ChatError> {
                $crate::Judge::judge(instance(), &call, request, &candidates)
            }
        }
        bindings::judge::export_judge!($component with_types_in bindings::judge);
    };
    (attempts, $component:ident, $ty:ty) => {
        impl bindings::exports::attempts::Guest for $component {
            fn on_attempts(call: $crate::CallInfo, request: &$crate::Request, tries: ::std::vec::Vec<$crate::Tried>) {
                $crate::Extension::on_attempts(instance(), &call, request, &tries);
            }
        }
        bindings::attempts::export_attempts!($component with_types_in bindings::attempts);
    };
    (on_complete, $component:ident, $ty:ty) => {
        impl bindings::exports::on_complete::Guest for $component {
            fn on_complete(call: $crate::CallInfo, request: &$crate::Request, outcome: $crate::Outcome) {
                $crate::Extension::on_complete(instance(), &call, request, &outcome);
            }
        }
        bindings::on_complete::export_on_complete!($component with_types_in bindings::on_complete);
    };
    (stream_filter, $component:ident, $ty:ty) => {
        struct FilterCell(::std::cell::RefCell<<$ty as $crate::StreamFilter>::Filter>);

        impl bindings::exports::stream_filter::GuestFilter for FilterCell {
            fn events(&self, events: ::std::vec::Vec<$crate::StreamEvent>, last: bool) -> ::std::vec::Vec<$crate::BatchEdit> {
                $crate::Filter::events(&mut *self.0.borrow_mut(), &events, last)
            }
        }

        impl bindings::exports::stream_filter::Guest for $component {
            type Filter = FilterCell;

            fn open(call: $crate::CallInfo, request: &$crate::Request) -> ::std::option::Option<bindings::exports::stream_filter::Filter> {
                let filter = $crate::StreamFilter::open(instance(), &call, request)?;
                Some(bindings::exports::stream_filter::Filter::new(FilterCell(::std::cell::RefCell::new(filter))))
            }
        }
        bindings::stream_filter::export_stream_filter!($component with_types_in bindings::stream_filter);
    };
    (dialect, $component:ident, $ty:ty) => {
        struct EncoderCell(::std::cell::RefCell<<$ty as $crate::Dialect>::Encoder>);

        impl bindings::exports::dialect::GuestEncoder for EncoderCell {
            fn new(options: $crate::EncodeOptions) -> Self {
                Self(::std::cell::RefCell::new($crate::Dialect::encoder(instance(), options)))
            }

            fn events(&self, events: ::std::vec::Vec<$crate::StreamEvent>) -> ::std::vec::Vec<u8> {
                $crate::Encoder::events(&mut *self.0.borrow_mut(), &events)
            }

            fn finish(&self, error: ::std::option::Option<$crate::ChatError>) -> ::std::vec::Vec<u8> {
                $crate::Encoder::finish(&mut *self.0.borrow_mut(), error.as_ref())
            }
        }

        impl bindings::exports::dialect::Guest for $component {
            type Encoder = EncoderCell;

            fn accept(incoming: &$crate::Incoming) -> ::std::result::Result<$crate::Accepted, $crate::ChatError> {
                $crate::Dialect::accept(instance(), incoming)
            }

            fn decode(format: ::std::string::String, body: ::std::vec::Vec<u8>) -> ::std::result::Result<$crate::ChatRequest, $crate::ChatError> {
                $crate::Dialect::decode(instance(), &format, &body)
            }

            fn encode_answer(options: $crate::EncodeOptions, answer: $crate::ChatAnswer) -> ::std::vec::Vec<u8> {
                $crate::Dialect::encode_answer(instance(), options, answer)
            }

            fn encode_error(error: $crate::ChatError) -> $crate::Reply {
                $crate::Dialect::encode_error(instance(), &error)
            }
        }
        bindings::dialect::export_dialect!($component with_types_in bindings::dialect);
    };
    (operations, $component:ident, $ty:ty) => {
        impl bindings::exports::operations::Guest for $component {
            fn routes() -> ::std::vec::Vec<$crate::OperationRoute> {
                $crate::Operations::operation_routes(instance())
            }

            fn accept(incoming: &$crate::Incoming) -> ::std::result::Result<$crate::OperationHead, $crate::ChatError> {
                $crate::Operations::accept_operation(instance(), incoming)
            }

            fn answer(
                operation: ::std::string::String,
                incoming: &$crate::Incoming,
            ) -> ::std::result::Result<::std::option::Option<$crate::Reply>, $crate::ChatError> {
                $crate::Operations::answer_operation(instance(), &operation, incoming)
            }
        }
        bindings::operations::export_operations!($component with_types_in bindings::operations);
    };
    (handover, $component:ident, $ty:ty) => {
        impl bindings::exports::handover::Guest for $component {
            fn save() -> ::std::option::Option<::std::vec::Vec<u8>> {
                $crate::Handover::save(instance())
            }

            fn load(from_version: ::std::string::String, saved: ::std::vec::Vec<u8>) -> ::std::result::Result<(), ::std::string::String> {
                $crate::Handover::load(instance(), &from_version, &saved)
            }
        }
        bindings::handover::export_handover!($component with_types_in bindings::handover);
    };
    (http, $component:ident, $ty:ty) => {
        impl $crate::wasip2::exports::http::incoming_handler::Guest for $component {
            fn handle(request: $crate::wasip2::http::types::IncomingRequest, out: $crate::wasip2::http::types::ResponseOutparam) {
                $crate::host::guest_http::answer(request, out, |request| $crate::Http::handle(instance(), request));
            }
        }
        $crate::wasip2::http::proxy::export!($component with_types_in $crate::wasip2);
    };
    (http_stream, $component:ident, $ty:ty) => {
        impl $crate::wasip2::exports::http::incoming_handler::Guest for $component {
            fn handle(request: $crate::wasip2::http::types::IncomingRequest, out: $crate::wasip2::http::types::ResponseOutparam) {
                $crate::host::guest_http::stream(request, out, |request, out| $crate::HttpStream::answer(instance(), request, out));
            }
        }
        $crate::wasip2::http::proxy::export!($component with_types_in $crate::wasip2);
    };
}

/// Checks natively that a type has what it exports.
#[doc(hidden)]
#[macro_export]
macro_rules! __wasmgate_check {
    ($ty:ty : $($hook:ident),+) => {
        const _: fn() = || {
            fn extension<T: $crate::Extension>() {}
            extension::<$ty>();
            $($crate::__wasmgate_check_hook!($hook, $ty);)+
        };
    };
}

/// One hook of the native check.
#[doc(hidden)]
#[macro_export]
macro_rules! __wasmgate_check_hook {
    (dialect, $ty:ty) => {
        fn dialect<T: $crate::Dialect>() {}
        dialect::<$ty>();
    };
    (operations, $ty:ty) => {
        fn operations<T: $crate::Operations>() {}
        operations::<$ty>();
    };
    (stream_filter, $ty:ty) => {
        fn stream_filter<T: $crate::StreamFilter>() {}
        stream_filter::<$ty>();
    };
    (handover, $ty:ty) => {
        fn handover<T: $crate::Handover>() {}
        handover::<$ty>();
    };
    (http, $ty:ty) => {
        fn http<T: $crate::Http>() {}
        http::<$ty>();
    };
    (http_stream, $ty:ty) => {
        fn http_stream<T: $crate::HttpStream>() {}
        http_stream::<$ty>();
    };
    (judge, $ty:ty) => {
        fn judge<T: $crate::Judge>() {}
        judge::<$ty>();
    };
    (provider_events, $ty:ty) => {};
    (before_generate, $ty:ty) => {};
    (after_generate, $ty:ty) => {};
    (attempts, $ty:ty) => {};
    (on_complete, $ty:ty) => {};
}

/// What the macro's expansion calls.
#[doc(hidden)]
pub mod support {
    use crate::Extension;

    /// Reads the configuration and makes the extension. Before that, sees to it that a panic is logged: to the host a panic is a
    /// trap without a message.
    pub fn configure<T: Extension>(config: &str) -> Result<T, String> {
        std::panic::set_hook(Box::new(|info| crate::log::panic(&info.to_string())));
        T::configure(serde_json::from_str(config).map_err(|e| e.to_string())?)
    }
}
