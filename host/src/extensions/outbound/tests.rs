use std::net::Ipv4Addr;
use std::sync::Mutex;

use http_body_util::{BodyExt as _, Full};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;

/// A server that answers every connection with one text, and keeps what it was sent.
struct Server {
    port: u16,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// The connection is closed after the answer, unless that is empty.
    async fn start(answer: impl Into<String>) -> Self {
        let (answer, requests) = (answer.into(), Arc::new(Mutex::new(Vec::new())));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let server = Self { port: listener.local_addr().unwrap().port(), requests: Arc::clone(&requests) };
        tokio::spawn(async move {
            while let Ok((mut connection, _)) = listener.accept().await {
                let (answer, requests) = (answer.clone(), Arc::clone(&requests));
                tokio::spawn(async move {
                    let mut request = Vec::new();
                    while !is_whole(&request) {
                        if connection.read_buf(&mut request).await.unwrap_or(0) == 0 {
                            break;
                        }
                    }
                    requests.lock().unwrap().push(String::from_utf8_lossy(&request).into_owned());
                    connection.write_all(answer.as_bytes()).await.unwrap();
                    if answer.is_empty() {
                        let _until_the_client_goes = connection.read_buf(&mut request).await;
                    }
                });
            }
        });
        server
    }

    fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

fn is_whole(request: &[u8]) -> bool {
    // The first byte of TLS, which this server does not speak.
    if request.first() == Some(&22) {
        return true;
    }
    let text = String::from_utf8_lossy(request);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).map_or(0, |n| n.parse().unwrap());
    body.len() >= length
}

fn outbound(grant: HttpGrant) -> Outbound {
    // Another test of the process may have been first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Outbound::new("x", &grant, vec![("secret:1".into(), Secret::new("sk-1".into())), ("secret:2".into(), Secret::new("a\nb".into()))])
        .unwrap()
}

/// Grants hosts, at any address.
fn private(hosts: &[String]) -> HttpGrant {
    HttpGrant { hosts: hosts.to_vec(), private_addresses: true, ..HttpGrant::default() }
}

/// Grants hosts in the public internet.
fn public(hosts: &[&str]) -> HttpGrant {
    HttpGrant { hosts: hosts.iter().map(|h| (*h).to_owned()).collect(), ..HttpGrant::default() }
}

fn get(uri: &str) -> http::Request<Full<Bytes>> {
    http::Request::get(uri).body(Full::default()).unwrap()
}

async fn send(outbound: &Outbound, request: http::Request<Full<Bytes>>) -> Result<(u16, Bytes), Refusal> {
    let response = outbound.send(request, Times::default()).await?;
    let status = response.status().as_u16();
    Ok((status, response.into_body().collect().await?.to_bytes()))
}

const HELLO: &str = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\nx-a: b\r\n\r\nhello";

#[tokio::test]
async fn a_granted_host_answers() {
    let server = Server::start(HELLO).await;
    for host in ["127.0.0.1", "localhost"] {
        let origin = format!("http://{host}:{}", server.port);
        let outbound = outbound(private(std::slice::from_ref(&origin)));
        let request = http::Request::post(format!("{origin}/a?b=c"))
            .header("x-kept", "yes")
            .header("authorization", "Bearer secret:1, secret:1")
            .header("host", "evil.example")
            .header("connection", "x-kept")
            .header("transfer-encoding", "chunked")
            .header("proxy-authorization", "p")
            .header("te", "trailers")
            .header("upgrade", "h2c")
            .header("content-length", "4")
            .body(Full::from("body"))
            .unwrap();
        let response = outbound.send(request, Times::default()).await.unwrap();
        assert_eq!((response.headers().get("connection"), &response.headers()["x-a"]), (None, &HeaderValue::from_static("b")));
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "hello");

        let sent = server.requests().pop().unwrap();
        let (head, body) = sent.split_once("\r\n\r\n").unwrap();
        let mut lines: Vec<&str> = head.lines().collect();
        lines.sort_unstable();
        let host = format!("host: {host}:{}", server.port);
        let expected =
            ["POST /a?b=c HTTP/1.1", "accept: */*", "authorization: Bearer sk-1, sk-1", "content-length: 4", &host, "x-kept: yes"];
        assert_eq!((lines, body), (expected.to_vec(), "body"));

        send(&outbound, get(&origin)).await.unwrap();
        let sent = server.requests().pop().unwrap();
        assert!(!sent.contains("content-length") && !sent.contains("transfer-encoding"), "no body, no length: {sent}");
    }
}

#[tokio::test]
async fn the_same_is_refused_without_private_addresses() {
    let server = Server::start(HELLO).await;
    let port = server.port;
    let hosts = ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]"];
    let granted: Vec<String> = hosts.iter().map(|h| format!("http://{h}:{port}")).collect();
    let outbound = outbound(HttpGrant { private_addresses: false, ..private(&granted) });
    let spellings =
        ["127.0.0.1", "0x7f000001", "127.1", "2130706433", "0177.0.0.1", "localhost", "LOCALHOST", "[::1]", "[::ffff:127.0.0.1]"];
    for host in spellings {
        let found = send(&outbound, get(&format!("http://{host}:{port}/"))).await;
        assert!(matches!(found, Err(Refusal::AddressRefused(_))), "{host}: {found:?}");
    }
    assert_eq!(server.requests(), [] as [String; 0]);
}

#[tokio::test]
async fn metadata_services_are_out_of_reach() {
    let outbound = outbound(public(&[
        "http://169.254.169.254",
        "http://[fd00:ec2::254]",
        "http://[::ffff:169.254.169.254]",
        "http://100.100.100.200",
    ]));
    let uris = [
        "http://169.254.169.254/latest",
        "http://[fd00:ec2::254]/",
        "http://[::ffff:a9fe:a9fe]/",
        "http://0xa9fea9fe/",
        "http://100.100.100.200/",
    ];
    for uri in uris {
        let found = send(&outbound, get(uri)).await;
        assert!(matches!(found, Err(Refusal::AddressRefused(_))), "{uri}: {found:?}");
    }
}

#[tokio::test]
async fn what_is_not_granted_is_refused() {
    let outbound = outbound(public(&["api.example.com"]));
    for uri in
        ["https://example.com/", "http://api.example.com/", "https://api.example.com:444/", "https://127.0.0.1/", "ftp://api.example.com/"]
    {
        let found = send(&outbound, get(uri)).await;
        assert!(matches!(found, Err(Refusal::HostNotGranted(_))), "{uri}: {found:?}");
    }
    assert_eq!(send(&outbound, get("https://user@api.example.com/")).await, Err(Refusal::Url));
    assert_eq!(send(&outbound, get("/relative")).await, Err(Refusal::Url));
    let connect = http::Request::builder().method("CONNECT").uri("https://api.example.com/").body(Full::default()).unwrap();
    assert_eq!(send(&outbound, connect).await, Err(Refusal::Method("CONNECT".into())));
}

#[tokio::test]
async fn redirects_are_the_guests_to_follow() {
    let inner = Server::start(HELLO).await;
    let location = format!("http://127.0.0.1:{}/", inner.port);
    let server = Server::start(format!("HTTP/1.1 302 Found\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n")).await;
    let origin = format!("http://127.0.0.1:{}", server.port);
    let response = outbound(private(std::slice::from_ref(&origin))).send(get(&origin), Times::default()).await.unwrap();
    assert_eq!((response.status().as_u16(), response.headers()["location"].to_str().unwrap()), (302, location.as_str()));

    let found = send(&outbound(private(&[origin])), get(&location)).await;
    assert!(matches!(found, Err(Refusal::HostNotGranted(_))), "{found:?}");
    let found = send(&outbound(public(&[location.trim_end_matches('/')])), get(&location)).await;
    assert!(matches!(found, Err(Refusal::AddressRefused(_))), "{found:?}");
    assert_eq!(inner.requests(), [] as [String; 0]);
}

#[tokio::test]
async fn answers_are_bounded() {
    let small = |answer: String| async move {
        let server = Server::start(answer).await;
        let origin = format!("http://127.0.0.1:{}", server.port);
        let outbound = outbound(HttpGrant { response_bytes: 100, ..private(std::slice::from_ref(&origin)) });
        send(&outbound, get(&origin)).await
    };
    let body = |n: usize| "x".repeat(n);
    assert_eq!(small(format!("HTTP/1.1 200 OK\r\ncontent-length: 101\r\n\r\n{}", body(101))).await, Err(Refusal::TooLarge(100)));
    assert_eq!(small(format!("HTTP/1.1 200 OK\r\n\r\n{}", body(101))).await, Err(Refusal::TooLarge(100)));
    assert_eq!(small(format!("HTTP/1.1 200 OK\r\n\r\n{}", body(100))).await, Ok((200, body(100).into())));
    assert_eq!(small("HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nx".into()).await, Err(Refusal::Interrupted));
    assert_eq!(small("hello\r\n\r\n".into()).await, Err(Refusal::Interrupted));
}

#[tokio::test]
async fn requests_at_once_are_bounded_until_their_answers_are_read() {
    let server = Server::start(HELLO).await;
    let origin = format!("http://127.0.0.1:{}", server.port);
    let outbound = outbound(HttpGrant { requests_at_once: 1, ..private(std::slice::from_ref(&origin)) });
    let first = outbound.send(get(&origin), Times::default()).await.unwrap();
    assert_eq!(send(&outbound, get(&origin)).await, Err(Refusal::TooManyAtOnce(1)));
    drop(first);
    assert!(send(&outbound, get(&origin)).await.is_ok());
}

#[tokio::test]
async fn waiting_has_an_end() {
    let server = Server::start("").await;
    let origin = format!("http://127.0.0.1:{}", server.port);
    let short = Duration::from_millis(20);
    let hurried = outbound(HttpGrant { timeout: short, ..private(std::slice::from_ref(&origin)) });
    assert_eq!(send(&hurried, get(&origin)).await, Err(Refusal::Late(short)));
    let patient = outbound(private(std::slice::from_ref(&origin)));
    let times = Times { head: Some(short), idle: None };
    assert_eq!(patient.send(get(&origin), times).await.map(|_| ()), Err(Refusal::Late(short)));
}

#[tokio::test]
async fn what_goes_wrong_has_a_name() {
    let server = Server::start("HTTP/1.1 200 OK\r\n\r\n").await;
    let origin = format!("http://127.0.0.1:{}", server.port);
    let encrypted = format!("https://127.0.0.1:{}", server.port);
    let closed = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap().local_addr().unwrap().port();
    let closed = format!("http://127.0.0.1:{closed}");
    let outbound = outbound(private(&[origin.clone(), encrypted.clone(), closed.clone(), "http://name.invalid".into()]));
    assert_eq!(send(&outbound, get(&encrypted)).await, Err(Refusal::Tls));
    assert_eq!(send(&outbound, get(&closed)).await, Err(Refusal::Connect));
    assert_eq!(send(&outbound, get("http://name.invalid/")).await, Err(Refusal::Unresolved("name.invalid".into())));

    let with = |name: &'static str, value: &'static str| {
        let request = http::Request::post(&origin).header(name, value).body(Full::from("body")).unwrap();
        send(&outbound, request)
    };
    assert_eq!(with("x-key", "secret:2").await, Err(Refusal::Secret));
    for length in ["5", "x", "+4", ""] {
        assert_eq!(with("content-length", length).await, Err(Refusal::RequestLength), "{length}");
    }
    assert!(with("content-length", "4").await.is_ok());
}

#[tokio::test]
async fn guests_are_told_in_their_own_terms() {
    let server = Server::start(HELLO).await;
    let origin = format!("http://127.0.0.1:{}", server.port);
    let body = || Full::from("body").map_err(|never| match never {}).boxed_unsync();
    let ask = |outbound: Outbound, uri: &str| {
        let request = http::Request::post(uri).body(body()).unwrap();
        std::pin::Pin::from(send_for_guest(Arc::new(outbound), request, None))
    };
    let (response, rest) = ask(outbound(private(std::slice::from_ref(&origin))), &origin).await.unwrap();
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "hello");
    std::pin::Pin::from(rest).await.unwrap();
    let denied = ask(outbound(public(&[])), &origin).await.err();
    assert!(matches!(denied, Some(wasmtime_wasi_http::Error::HttpRequestDenied)));
    let prohibited = ask(outbound(public(&[&origin])), &origin).await.err();
    assert!(matches!(prohibited, Some(wasmtime_wasi_http::Error::DestinationIpProhibited)));
}
