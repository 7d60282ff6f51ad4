//! An upstream that does what a script says, down to the bytes on the wire.
//!
//! It is written on bare TCP so that it can do what no HTTP library lets one do: stop in the middle of a chunk, reset the
//! connection, say nothing at all, and notice at once when the gateway goes away.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use crate::soon;

/// A request as the upstream received it.
#[derive(Debug)]
pub struct Received {
    /// The method.
    pub method: String,
    /// The path, with the query.
    pub path: String,
    /// Header fields in their order, names in lower case.
    pub headers: Vec<(String, String)>,
    /// Content.
    pub body: Bytes,
    /// When it was there.
    pub at: Instant,
    /// When the first step of the answer was written, or all of one that has no steps.
    begun: Arc<OnceLock<Instant>>,
    /// When the gateway closed the connection while it was being answered.
    closed: watch::Receiver<Option<Instant>>,
}

/// What the upstream does with a request.
pub struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    body: Body,
}

enum Body {
    /// With its length.
    Whole(Vec<u8>),
    /// In chunks, as the steps say.
    Steps(Vec<Step>),
    /// Not even a head.
    Silence,
    /// The connection is closed without an answer.
    Closed,
}

/// One step of a body that is sent in chunks.
pub enum Step {
    /// Writes a chunk.
    Send(Vec<u8>),
    /// Writes a chunk byte by byte, each byte a chunk of its own.
    Bytewise(Vec<u8>),
    /// Writes one byte after the other, each a chunk of its own, with this long between two.
    Drip(Vec<u8>, Duration),
    /// Waits until the test opens the gate.
    Wait(Gate),
    /// Waits until the gateway goes away.
    Hang,
    /// Closes the connection without ending the body.
    Cut,
    /// Resets the connection.
    Reset,
}

/// A place where a script waits for the test.
#[derive(Clone, Default)]
pub struct Gate(Arc<Notify>);

/// The upstream; it ends with the value.
pub struct Upstream {
    address: String,
    journal: Journal,
    connections: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

#[derive(Clone)]
struct Journal {
    received: Arc<Mutex<Vec<Arc<Received>>>>,
    count: Arc<watch::Sender<usize>>,
}

type Handler = Arc<dyn Fn(&Received) -> Reply + Send + Sync>;

// === impl Received ===

impl Received {
    /// The first header field of a name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// The body as JSON; `null` when it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The model that is asked for.
    pub fn model(&self) -> String {
        self.json()["model"].as_str().unwrap_or_default().to_owned()
    }

    /// Whether a stream is asked for.
    pub fn is_stream(&self) -> bool {
        self.json()["stream"] == true
    }

    /// When the first step of its answer was written, or all of one that has no steps; none when it was not.
    pub fn begun(&self) -> Option<Instant> {
        self.begun.get().copied()
    }

    /// Waits until the gateway closes the connection of this request, and returns how long after `since` that was.
    pub async fn closed_after(&self, since: Instant) -> Duration {
        let mut closed = self.closed.clone();
        let at = soon("close of the upstream connection", closed.wait_for(Option::is_some)).await;
        let at = at.expect("the connection's task tells before it ends").expect("it was waited for");
        at.saturating_duration_since(since)
    }
}

// === impl Reply ===

impl Reply {
    /// A complete body.
    pub fn new(status: u16, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: vec![("content-type".into(), content_type.into())], body: Body::Whole(body.into()) }
    }

    /// A JSON document.
    pub fn json(status: u16, document: &Value) -> Self {
        Self::new(status, "application/json", document.to_string())
    }

    /// An event stream in steps.
    pub fn events(steps: Vec<Step>) -> Self {
        Self { status: 200, headers: vec![("content-type".into(), "text/event-stream; charset=utf-8".into())], body: Body::Steps(steps) }
    }

    /// An event stream, complete; each item is one write.
    pub fn stream(chunks: impl IntoIterator<Item = impl Into<Vec<u8>>>) -> Self {
        Self::events(chunks.into_iter().map(|c| Step::Send(c.into())).collect())
    }

    /// No answer, ever.
    pub fn silence() -> Self {
        Self { status: 0, headers: Vec::new(), body: Body::Silence }
    }

    /// A closed connection in the place of an answer.
    pub fn closed() -> Self {
        Self { status: 0, headers: Vec::new(), body: Body::Closed }
    }

    /// The same with another status.
    pub fn status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    /// The same, whose body comes when the test opens the gate.
    pub fn after(mut self, gate: Gate) -> Self {
        if let Body::Whole(bytes) = self.body {
            self.body = Body::Steps(vec![Step::Wait(gate), Step::Send(bytes)]);
        }
        self
    }

    /// One more header field.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.retain(|(n, _)| n != name);
        self.headers.push((name.into(), value.into()));
        self
    }

    fn head(&self, framing: &str) -> Vec<u8> {
        let mut head = format!("HTTP/1.1 {} Scripted\r\n{framing}\r\n", self.status);
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        head.into_bytes()
    }
}

// === impl Gate ===

impl Gate {
    /// Lets the script go on, once, also when it is not there yet.
    pub fn open(&self) {
        self.0.notify_one();
    }

    /// Waits until it is opened, as a script does.
    pub async fn wait(&self) {
        self.0.notified().await;
    }
}

// === impl Upstream ===

impl Upstream {
    /// An upstream that answers every request as the closure says.
    pub async fn start(handler: impl Fn(&Received) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound").to_string();
        let journal = Journal { received: Arc::default(), count: Arc::new(watch::channel(0).0) };
        let (handler, written): (Handler, _) = (Arc::new(handler), journal.clone());
        let connections = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&connections);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                counter.fetch_add(1, Ordering::Relaxed);
                let (handler, journal) = (Arc::clone(&handler), written.clone());
                tokio::spawn(async move {
                    // The gateway closing early is what many tests are about.
                    let _ = connection(stream, handler, journal).await;
                });
            }
        });
        Self { address, journal, connections, task }
    }

    /// An upstream that gives these answers in turn, and then fails the test.
    pub async fn script(replies: impl IntoIterator<Item = Reply>) -> Self {
        let replies = Mutex::new(replies.into_iter().collect::<std::collections::VecDeque<_>>());
        Self::start(move |_| {
            let next = replies.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            next.unwrap_or_else(|| Reply::json(500, &serde_json::json!({"error": {"message": "the script has no more answers"}})))
        })
        .await
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How many connections were made to it.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// What was received until now.
    pub fn received(&self) -> Vec<Arc<Received>> {
        self.journal.received.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits for a request, counted from 0.
    pub async fn request(&self, index: usize) -> Arc<Received> {
        let mut count = self.journal.count.subscribe();
        soon("request at the upstream", count.wait_for(|n| *n > index)).await.expect("the upstream runs");
        Arc::clone(&self.received()[index])
    }

    /// The only request.
    pub fn only(&self) -> Arc<Received> {
        let mut all = self.received();
        assert_eq!(all.len(), 1, "the upstream got another number of requests");
        all.remove(0)
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

// === connections ===

async fn connection(stream: TcpStream, handler: Handler, journal: Journal) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let (mut reader, mut writer) = stream.into_split();
    let mut buffer = BytesMut::new();
    while let Some((mut received, close)) = request(&mut reader, &mut writer, &mut buffer).await? {
        let (tell, closed) = watch::channel(None);
        received.closed = closed;
        let received = Arc::new(received);
        {
            let mut all = journal.received.lock().unwrap_or_else(PoisonError::into_inner);
            all.push(Arc::clone(&received));
            journal.count.send_replace(all.len());
        }
        let reply = handler(&received);
        let outcome = tokio::select! {
            outcome = answer(&mut writer, reply, &received.begun) => outcome,
            // The gateway does not send its next request before the answer, so this is the end of the connection.
            () = gone(&mut reader, &mut buffer) => Err(std::io::ErrorKind::ConnectionAborted.into()),
        };
        match outcome {
            Ok(Next::Request) if !close => {}
            Ok(Next::Reset) => {
                let stream = writer.reunite(reader).expect("they are two halves of one");
                // `RST` in the place of `FIN`.
                stream.set_zero_linger()?;
                return Ok(());
            }
            Ok(_) => return Ok(()),
            Err(e) => {
                tell.send_replace(Some(Instant::now()));
                return Err(e);
            }
        }
    }
    Ok(())
}

enum Next {
    Request,
    Close,
    Reset,
}

async fn answer(writer: &mut OwnedWriteHalf, reply: Reply, begun: &OnceLock<Instant>) -> std::io::Result<Next> {
    let steps = match &reply.body {
        Body::Silence => {
            std::future::pending::<()>().await;
            return Ok(Next::Close);
        }
        Body::Closed => return Ok(Next::Close),
        Body::Whole(body) => {
            let mut all = reply.head(&format!("content-length: {}", body.len()));
            all.extend_from_slice(body);
            writer.write_all(&all).await?;
            begun.get_or_init(Instant::now);
            return Ok(Next::Request);
        }
        Body::Steps(steps) => steps,
    };
    writer.write_all(&reply.head("transfer-encoding: chunked")).await?;
    for step in steps {
        match step {
            Step::Send(bytes) => writer.write_all(&chunk(bytes)).await?,
            Step::Bytewise(bytes) => {
                for byte in bytes {
                    writer.write_all(&chunk(&[*byte])).await?;
                }
            }
            Step::Drip(bytes, every) => {
                let mut every = tokio::time::interval(*every);
                for byte in bytes {
                    every.tick().await;
                    writer.write_all(&chunk(&[*byte])).await?;
                }
            }
            Step::Wait(gate) => gate.0.notified().await,
            Step::Hang => std::future::pending().await,
            Step::Cut => return Ok(Next::Close),
            Step::Reset => return Ok(Next::Reset),
        }
        begun.get_or_init(Instant::now);
    }
    writer.write_all(b"0\r\n\r\n").await?;
    Ok(Next::Request)
}

fn chunk(bytes: &[u8]) -> Vec<u8> {
    let mut framed = format!("{:x}\r\n", bytes.len()).into_bytes();
    framed.extend_from_slice(bytes);
    framed.extend_from_slice(b"\r\n");
    framed
}

/// Resolves when the other side closes the connection.
async fn gone(reader: &mut OwnedReadHalf, buffer: &mut BytesMut) {
    loop {
        match reader.read_buf(buffer).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
    }
}

/// Reads a request, and whether the connection ends after it.
async fn request(
    reader: &mut OwnedReadHalf,
    writer: &mut OwnedWriteHalf,
    buffer: &mut BytesMut,
) -> std::io::Result<Option<(Received, bool)>> {
    let end = loop {
        if let Some(end) = find(buffer, b"\r\n\r\n") {
            break end;
        }
        if reader.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    };
    let head = buffer.split_to(end + 4);
    let head = String::from_utf8_lossy(&head).into_owned();
    let mut lines = head.trim_end().lines();
    let mut words = lines.next().unwrap_or_default().split(' ');
    let (method, path) = (words.next().unwrap_or_default().to_owned(), words.next().unwrap_or_default().to_owned());
    let headers: Vec<(String, String)> =
        lines.filter_map(|l| l.split_once(':')).map(|(n, v)| (n.trim().to_ascii_lowercase(), v.trim().to_owned())).collect();
    let header = |name: &str| headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str());
    let length = header("content-length").and_then(|l| l.parse().ok()).unwrap_or(0);
    let close = header("connection").is_some_and(|c| c.eq_ignore_ascii_case("close"));
    assert!(header("transfer-encoding").is_none(), "the gateway knows the length of what it sends");
    if header("expect").is_some() {
        writer.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
    }
    while buffer.len() < length {
        if reader.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    }
    let body = buffer.split_to(length).freeze();
    // Replaced by the caller; a request outside of a connection is never closed.
    let closed = watch::channel(None).1;
    Ok(Some((Received { method, path, headers, body, at: Instant::now(), begun: Arc::default(), closed }, close)))
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|w| w == what)
}
