//! Web pages from elsewhere: what `server.cors` lets them do.
//!
//! A browser asks first (a preflight), and that is answered before anything else looks at the request: it carries no credentials, so
//! whatever asks for some would refuse it.

use std::convert::Infallible;

use axum::response::Response;
use http::{HeaderName, HeaderValue, Method, Request, header};
use tower::{Layer as _, ServiceExt as _, service_fn};
use tower_http::cors::{AllowHeaders, AllowOrigin, Any, CorsLayer};

use crate::config::Cors;

/// Fields of responses that a page may read besides the usual ones: what SDKs and people who look for a fault want to see.
const EXPOSED: [HeaderName; 9] = [
    HeaderName::from_static("x-request-id"),
    HeaderName::from_static("request-id"),
    HeaderName::from_static("retry-after"),
    HeaderName::from_static("retry-after-ms"),
    HeaderName::from_static("server-timing"),
    HeaderName::from_static("x-wasmgate-generation"),
    HeaderName::from_static("x-wasmgate-losses"),
    HeaderName::from_static("x-wasmgate-model"),
    HeaderName::from_static("x-wasmgate-provider"),
];

/// Answers a request as pages are allowed to see it. Without settings this is the inner answer, and browsers keep it from pages.
pub async fn answer<B, F>(settings: Option<&Cors>, request: Request<B>, inner: impl FnOnce(Request<B>) -> F) -> Response
where
    F: Future<Output = Response>,
{
    let asks_first = request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    let Some(settings) = settings.filter(|_| asks_first || request.method() != Method::OPTIONS) else {
        return inner(request).await;
    };
    let mut inner = Some(inner);
    let service = service_fn(move |request| {
        let once = inner.take().map(|inner| inner(request));
        async move {
            Ok::<Response, Infallible>(match once {
                Some(answer) => answer.await,
                None => Response::default(),
            })
        }
    });
    let Ok(response) = layer(settings).layer(service).oneshot(request).await;
    response
}

/// The rules as the layer takes them. The configuration was checked; what could not be written is left out, so that less is allowed.
fn layer(settings: &Cors) -> CorsLayer {
    let origins = match settings.origins.iter().any(|o| o == "*") {
        true => AllowOrigin::from(Any),
        false => AllowOrigin::list(settings.origins.iter().filter_map(|o| HeaderValue::from_str(o).ok())),
    };
    let headers = match settings.headers.as_slice() {
        [] => AllowHeaders::mirror_request(),
        named => AllowHeaders::list(named.iter().filter_map(|h| h.parse().ok())),
    };
    CorsLayer::new()
        .allow_origin(origins)
        .allow_methods(settings.methods.iter().filter_map(|m| m.to_uppercase().parse().ok()).collect::<Vec<Method>>())
        .allow_headers(headers)
        .allow_credentials(settings.credentials && !settings.origins.iter().any(|o| o == "*"))
        .expose_headers(EXPOSED)
        .max_age(settings.max_age)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn check(settings: Option<&Cors>, method: Method, fields: &[(&str, &str)]) -> Response {
        let mut request = Request::builder().method(method).uri("/v1/models");
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let inner = |_| async {
            let mut response = Response::default();
            response.headers_mut().insert("x-inner", HeaderValue::from_static("yes"));
            response
        };
        answer(settings, request.body(()).unwrap(), inner).await
    }

    fn field<'a>(response: &'a Response, name: &str) -> Option<&'a str> {
        response.headers().get(name).map(|v| v.to_str().unwrap())
    }

    const PREFLIGHT: [(&str, &str); 3] = [
        ("origin", "https://a.example"),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "authorization,x-any"),
    ];

    #[tokio::test]
    async fn preflights_do_not_reach_what_is_inside() {
        let settings = Cors { origins: vec!["https://a.example".into()], ..Cors::default() };
        let response = check(Some(&settings), Method::OPTIONS, &PREFLIGHT).await;
        assert_eq!(field(&response, "x-inner"), None);
        assert_eq!(field(&response, "access-control-allow-origin"), Some("https://a.example"));
        assert_eq!(field(&response, "access-control-allow-methods"), Some("GET,POST"));
        assert_eq!(field(&response, "access-control-allow-headers"), Some("authorization,x-any"));
        assert_eq!(field(&response, "access-control-max-age"), Some("600"));
        assert_eq!(field(&response, "access-control-allow-credentials"), None);
    }

    #[tokio::test]
    async fn other_pages_are_not_let_in() {
        let settings = Cors { origins: vec!["https://b.example".into()], ..Cors::default() };
        for method in [Method::OPTIONS, Method::POST] {
            let response = check(Some(&settings), method, &PREFLIGHT).await;
            assert_eq!(field(&response, "access-control-allow-origin"), None);
        }
    }

    #[tokio::test]
    async fn without_settings_and_without_a_page_nothing_is_added() {
        let response = check(None, Method::OPTIONS, &PREFLIGHT).await;
        assert_eq!((field(&response, "x-inner"), field(&response, "vary")), (Some("yes"), None));
        let settings = Cors { origins: vec!["*".into()], ..Cors::default() };
        // An OPTIONS that no browser sends is a request like others.
        assert_eq!(field(&check(Some(&settings), Method::OPTIONS, &[]).await, "x-inner"), Some("yes"));
    }

    #[tokio::test]
    async fn what_is_named_is_what_is_allowed() {
        let settings = Cors {
            origins: vec!["https://a.example".into()],
            methods: vec!["put".into()],
            headers: vec!["authorization".into()],
            credentials: true,
            ..Cors::default()
        };
        let response = check(Some(&settings), Method::OPTIONS, &PREFLIGHT).await;
        assert_eq!(field(&response, "access-control-allow-methods"), Some("PUT"));
        assert_eq!(field(&response, "access-control-allow-headers"), Some("authorization"));
        assert_eq!(field(&response, "access-control-allow-credentials"), Some("true"));
        let answer = check(Some(&settings), Method::POST, &PREFLIGHT).await;
        assert_eq!(field(&answer, "x-inner"), Some("yes"));
        assert!(field(&answer, "access-control-expose-headers").unwrap().contains("x-request-id"));
    }
}
