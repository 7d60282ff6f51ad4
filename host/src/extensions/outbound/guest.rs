//! The standard interface `wasi:http/outgoing-handler` on top of [`Outbound`].

use std::sync::Arc;

use http_body_util::BodyExt as _;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody};

use super::{Outbound, Refusal, Times};

/// What `WasiHttpHooks::send_request` returns: the answer, and the rest of the exchange.
pub type SendFuture =
    Box<dyn Future<Output = Result<(http::Response<WasiBody>, Box<dyn Future<Output = Result<(), Error>> + Send>), Error>> + Send>;

/// Sends a guest's request. Dropping the future or the answer's body ends the exchange.
pub fn send_for_guest(outbound: Arc<Outbound>, request: http::Request<WasiBody>, options: Option<RequestOptions>) -> SendFuture {
    Box::new(async move {
        let response = outbound.send(request, times(options.unwrap_or_default())).await?;
        let response = response.map(|body| body.map_err(Error::from).boxed_unsync());
        // The client drives its connections by itself.
        Ok((response, Box::new(async { Ok(()) }) as Box<_>))
    })
}

/// The first byte is waited for as long as connecting and answering may take together.
fn times(options: RequestOptions) -> Times {
    let head = options.first_byte_timeout.map(|first| first.saturating_add(options.connect_timeout.unwrap_or_default()));
    Times { head, idle: options.between_bytes_timeout }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Url => Self::HttpRequestUriInvalid,
            Refusal::Method(_) => Self::HttpRequestMethodInvalid,
            Refusal::HostNotGranted(_) => Self::HttpRequestDenied,
            Refusal::AddressRefused(_) => Self::DestinationIpProhibited,
            Refusal::TooManyAtOnce(_) => Self::ConnectionLimitReached,
            Refusal::Secret => Self::ConfigurationError,
            Refusal::RequestLength => Self::HttpRequestBodySize(None),
            Refusal::Unresolved(_) => Self::DnsError { rcode: None, info_code: None },
            Refusal::Connect => Self::DestinationUnavailable,
            Refusal::Tls => Self::TlsProtocolError,
            Refusal::Late(_) => Self::HttpResponseTimeout,
            Refusal::Silent(_) => Self::ConnectionReadTimeout,
            Refusal::TooLarge(most) => Self::HttpResponseBodySize(Some(most as u64)),
            Refusal::Interrupted => Self::ConnectionTerminated,
        }
    }
}
