//! Routes that an extension answers by itself, through the standard `wasi:http/incoming-handler`.
//!
//! Such a handler may do what its capabilities allow and no more: it cannot reach a provider except through the pipeline.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderValue, Request, header};
use http_body_util::{BodyExt as _, Full};
use llm_codec::hub::{ChatError, ErrorClass};
use tokio::sync::oneshot;
use wasmtime_wasi_http::WasiHttpView as _;
use wasmtime_wasi_http::p2::bindings::http::types::Scheme;

use super::{Caller, Context, HttpCaller, Incoming, Trace, callers, dialect};
use crate::extensions::{CallError, Extension, Hook};

/// Serves a request on an `http` route. `operator` tells that it may use the operators' interface.
pub async fn serve(context: Context, id: String, extension: Arc<Extension>, incoming: Incoming, operator: bool) -> Response {
    let incoming = match callers::admit(&context, &id, &extension, incoming, operator).await {
        Ok(incoming) => incoming,
        // Who has a dialect says it in its words.
        Err(error) if extension.has(Hook::Accept) => return dialect::refuse(&extension, &Trace::default(), &id, &error).await,
        Err(error) => return dialect::plain(&error),
    };
    let caller = HttpCaller { context, id, head: incoming.head.clone(), budget: Arc::default(), depth: 0, operator };
    match call(&extension, incoming, Caller::Http(Arc::new(caller))).await {
        Ok(response) => response,
        Err(error) => dialect::plain(&error.into()),
    }
}

/// Stops the guest when the client is gone.
struct Guard(tokio::task::AbortHandle);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Calls the handler of an extension, and gives what it answers.
pub async fn call(extension: &Arc<Extension>, incoming: Incoming, caller: Caller) -> Result<Response, CallError> {
    let mut lease = extension.check_out().await?;
    let length = incoming.body().len();
    let mut request =
        Request::new(Full::new(incoming.body().clone()).map_err(|never: Infallible| -> wasmtime_wasi_http::Error { match never {} }));
    *request.method_mut() = incoming.head.method;
    *request.uri_mut() = incoming.head.uri;
    *request.headers_mut() = incoming.head.headers;
    // HTTP/1.0 clients may leave it out; the standard interface wants an authority.
    request.headers_mut().entry(header::HOST).or_insert(HeaderValue::from_static("localhost"));

    let (sender, mut receiver) = oneshot::channel();
    // The guest may go on writing its body after the head is out, so it runs beside the response.
    let mut task = tokio::spawn(async move {
        let (instance, bounds) = lease.begin(Hook::Http, length, Some(caller));
        instance.store.data_mut().given(length);
        let result = async {
            let mut view = instance.store.data_mut().http();
            let request = view.new_incoming_request(Scheme::Http, request)?;
            let out = view.new_response_outparam(sender)?;
            let guest = instance.guests.http.as_ref().ok_or_else(|| wasmtime::Error::msg("no handler is exported"))?;
            guest.call_handle(&mut instance.store, request, out).await
        };
        let result = bounds.run(result).await;
        lease.end(result).0
    });
    let guard = Guard(task.abort_handle());
    // The instance stays when the guest has returned, and with it what the guest never answered with, so both are waited for.
    let (answered, ended) = tokio::select! {
        biased;
        answered = &mut receiver => (answered.ok(), None),
        ended = &mut task => (receiver.try_recv().ok(), Some(ended)),
    };
    match answered {
        Some(Ok(response)) => Ok(response.map(|body| {
            let body = body.map_frame(move |frame| {
                let _runs_as_long_as_the_body = &guard;
                frame.map_data(Bytes::from)
            });
            Body::new(body)
        })),
        Some(Err(code)) => {
            tracing::warn!(extension = extension.name(), error = ?code, "the extension answered with an error");
            Ok(dialect::plain(&ChatError::new(ErrorClass::Internal, "The extension could not answer.")))
        }
        None => {
            let ended = match ended {
                Some(ended) => ended,
                None => task.await,
            };
            if let Ok(Err(error)) = ended {
                return Err(error);
            }
            tracing::error!(extension = extension.name(), "the extension ended without an answer");
            Ok(dialect::plain(&ChatError::new(ErrorClass::Internal, "The extension gave no answer.")))
        }
    }
}
