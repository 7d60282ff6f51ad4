//! `wasmgate mcp`: the server on standard input and output, and the files that it reads and writes.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use wasmgate_tests::cli::{self, ConfigFile};
use wasmgate_tests::databases::Postgres;
use wasmgate_tests::{Client, DEADLINE, Gateway, Upstream, repo, soon};

use crate::{mcp, setup};

const CONTENT: &str = "def double(x):\n    return x * 2\n";

/// A running server; it ends with the value.
struct Server {
    child: Child,
    input: Option<ChildStdin>,
    lines: mpsc::Receiver<String>,
    files: tempfile::TempDir,
    /// Ids of requests so far: each is used once.
    ids: u64,
    _config: ConfigFile,
}

impl Server {
    fn start(upstream: &Upstream, own: &str, more: &str) -> Self {
        let config = ConfigFile::new(&mcp::config(upstream, own, more));
        let files = tempfile::tempdir().expect("a temporary folder");
        let mut command = Command::new(repo::program());
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("WASMGATE_") {
                command.env_remove(name);
            }
        }
        command.arg("mcp").arg("--config").arg(config.path()).arg("--components").arg(repo::components()).arg("--files").arg(files.path());
        command.args(["--set", &format!("cache={}", repo::cache().display())]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("it starts");
        let (tell, lines) = mpsc::channel();
        let out = BufReader::new(child.stdout.take().expect("piped"));
        std::thread::spawn(move || out.lines().map_while(Result::ok).try_for_each(|line| tell.send(line)));
        let input = child.stdin.take();
        Self { child, input, lines, files, ids: 100, _config: config }
    }

    fn say(&mut self, line: &str) {
        writeln!(self.input.as_mut().expect("it is open"), "{line}").expect("it reads");
    }

    /// The next message.
    fn next(&self) -> Value {
        let line = self.lines.recv_timeout(4 * DEADLINE).expect("a message in time");
        serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {line}"))
    }

    /// What a request is answered with.
    fn ask(&mut self, method: &str, mut params: Value) -> Value {
        params["_meta"]["io.modelcontextprotocol/protocolVersion"] = "2026-07-28".into();
        params["_meta"]["io.modelcontextprotocol/clientCapabilities"] = json!({});
        self.request(method, params)
    }

    /// The same as it is, without a revision in it.
    fn request(&mut self, method: &str, params: Value) -> Value {
        self.ids += 1;
        self.say(&json!({"jsonrpc": "2.0", "id": self.ids, "method": method, "params": params}).to_string());
        loop {
            let message = self.next();
            if message["id"] == self.ids {
                return message;
            }
        }
    }

    fn write(&mut self, arguments: Value) -> Value {
        self.ask("tools/call", json!({"name": "write", "arguments": arguments}))["result"].clone()
    }

    fn file(&self, name: &str) -> Option<String> {
        std::fs::read_to_string(self.files.path().join(name)).ok()
    }

    /// Closes its input and waits for its end.
    fn end(mut self) -> Vec<String> {
        drop(self.input.take());
        let rest = self.lines.iter().collect();
        assert!(self.child.wait().expect("it ends").success());
        rest
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mcp_files_are_written_kept_and_restored() {
    let upstream = Upstream::start(mcp::script).await;
    let mut server = Server::start(&upstream, "", "");
    std::fs::write(server.files.path().join("a.py"), "def double(x):\n    return x + x\n").expect("a file");
    std::fs::write(server.files.path().join("notes.md"), "Doubling is multiplication.\n").expect("a file");
    let tools = server.ask("tools/list", json!({}))["result"]["tools"].clone();
    let write = tools.as_array().and_then(|t| t.iter().find(|t| t["name"] == "write")).expect("the tool");
    assert_eq!((&write["annotations"]["readOnlyHint"], &write["inputSchema"]["required"]), (&json!(false), &json!(["path"])));
    assert!(write["inputSchema"]["properties"]["original"].is_null(), "{write}");

    let result = server.write(json!({"path": "a.py", "prompt": "Multiply.", "model": "file", "context_files": ["notes.md"]}));
    let data = &result["structuredContent"];
    assert_eq!((&data["written"], &data["content"]), (&json!(true), &json!(CONTENT)), "{result}");
    assert!(data["diff"].as_str().unwrap_or_default().contains("-    return x + x\n+    return x * 2\n"), "{result}");
    assert_eq!(server.file("a.py").as_deref(), Some(CONTENT));
    assert_eq!(server.file(data["backup"].as_str().unwrap_or_default()).as_deref(), Some("def double(x):\n    return x + x\n"));
    let asked = upstream.only().json()["messages"].to_string();
    assert!(asked.contains("Doubling is multiplication.") && asked.contains("return x + x"), "{asked}");

    // What does not parse is not written.
    let result = server.write(json!({"path": "a.py", "prompt": "Break it.", "model": "broken"}));
    assert!(result["isError"] == true && result.to_string().contains("does not parse"), "{result}");
    assert_eq!(server.file("a.py").as_deref(), Some(CONTENT));
    let result = server.write(json!({"path": "a.py", "prompt": "Break it.", "model": "broken", "validate": false}));
    assert_eq!(result["structuredContent"]["written"], true, "{result}");
    for expect in [CONTENT, "def double(x:\n    return\n", CONTENT] {
        let result = server.write(json!({"path": "a.py", "restore_previous": true}));
        assert_eq!((&result["structuredContent"]["restored"], &result["resultType"]), (&json!(true), &json!("complete")), "{result}");
        assert_eq!(server.file("a.py").as_deref(), Some(expect));
    }
    // A file that was not there is away again.
    assert_eq!(server.write(json!({"path": "new/b.py", "prompt": "Double.", "model": "file"}))["structuredContent"]["written"], true);
    assert_eq!(server.write(json!({"path": "new/b.py", "restore_previous": true}))["structuredContent"]["content"], Value::Null);
    assert_eq!(server.file("new/b.py"), None);
    // The folder of backups has a file of the same name, for itself.
    let result = server.write(json!({"path": ".gitignore", "prompt": "Leave logs out.", "model": "ignores"}));
    assert_eq!(
        (&result["structuredContent"]["written"], server.file(".gitignore").as_deref()),
        (&json!(true), Some("*.log\n")),
        "{result}"
    );
    let result = server.write(json!({"path": ".gitignore", "restore_previous": true}));
    assert_eq!((&result["structuredContent"]["restored"], server.file(".gitignore")), (&json!(true), None), "{result}");
    // A file with blocks of its own is whole, and what is no file is not written.
    let result = server.write(json!({"path": "README.md", "prompt": "Say how.", "model": "readme"}));
    assert_eq!(server.file("README.md").as_deref(), Some(mcp::README), "{result}");
    for model in ["text", "declines"] {
        let result = server.write(json!({"path": "README.md", "prompt": "Again.", "model": model}));
        assert_eq!((&result["isError"], server.file("README.md").as_deref()), (&json!(true), Some(mcp::README)), "{model}: {result}");
    }
    assert!(server.end().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn mcp_files_outside_are_out_of_reach() {
    let upstream = Upstream::start(mcp::script).await;
    let mut server = Server::start(&upstream, "", "");
    let outside = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(outside.path().join("secret"), "nobody's").expect("a file");
    std::os::unix::fs::symlink(outside.path(), server.files.path().join("link")).expect("a link");
    let absolute = outside.path().join("secret").display().to_string();
    for path in ["../secret", "link/secret", &absolute, ".git/hooks/post-checkout", "a/../../b", ""] {
        for arguments in [
            json!({"path": path, "prompt": "x", "model": "file"}),
            json!({"path": "ok.py", "prompt": "x", "model": "file", "context_files": [path]}),
            json!({"path": path, "restore_previous": true}),
        ] {
            let result = server.write(arguments.clone());
            assert!(result["isError"] == true && !result.to_string().contains("nobody's"), "{arguments}: {result}");
        }
    }
    for (arguments, says) in [
        (json!({"prompt": "x"}), "`path` is missing"),
        (json!({"path": "ok.py", "model": "file"}), "`prompt` is missing"),
        (json!({"path": "ok.py", "prompt": "x", "original": "y"}), "`original`: there is no such argument"),
        (json!({"path": "ok.py", "prompt": "x", "context_files": ["none"]}), "is not there"),
        (json!({"path": "ok.py", "prompt": "x", "context_files": "none"}), "list of"),
        (json!({"path": "ok.py", "restore_previous": true}), "no backup"),
        (json!({"path": "ok.py", "restore_previous": "yes"}), "true or false"),
        (json!({"path": "ok.py", "prompt": "x", "restore_previous": true}), "one of them"),
    ] {
        let result = server.write(arguments.clone());
        assert!(result["isError"] == true && result.to_string().contains(says), "{arguments}: {result}");
    }
    assert!(upstream.received().is_empty(), "nothing was asked");
    assert_eq!(std::fs::read_dir(outside.path()).expect("it is there").count(), 1);
    assert_eq!(std::fs::read_to_string(Path::new(&absolute)).expect("it is there"), "nobody's");
}

#[tokio::test(flavor = "multi_thread")]
async fn mcp_on_standard_input_older_clients_are_understood_and_calls_cancelled() {
    let upstream = Upstream::start(mcp::script).await;
    let mut server = Server::start(&upstream, "", "");
    let params = json!({"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}});
    server.say(&json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params}).to_string());
    assert_eq!(server.next()["result"]["protocolVersion"], "2025-06-18");
    server.say(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
    server.say(r#"{"jsonrpc":"2.0","id":2,"method":"ping"}"#);
    assert_eq!(server.next(), json!({"jsonrpc": "2.0", "id": 2, "result": {}}));
    for (line, code) in [("{", -32700), ("[]", -32600), (r#"{"jsonrpc":"2.0","id":3,"method":"nothing"}"#, -32601)] {
        server.say(line);
        assert_eq!(server.next()["error"]["code"], code, "{line}");
    }
    let call = json!({"name": "generate", "arguments": {"prompt": "x", "model": "silent"}});
    server.say(&json!({"jsonrpc": "2.0", "id": 4, "method": "tools/call", "params": call}).to_string());
    let received = upstream.request(0).await;
    // An id stands for one call, and what is refused unread is the answer to one too.
    server.say(r#"{"jsonrpc":"2.0","id":4,"method":"ping"}"#);
    let refused = server.next();
    assert_eq!((&refused["id"], &refused["error"]["code"]), (&json!(4), &json!(-32600)), "{refused}");
    let long = json!({"name": "generate", "arguments": {"prompt": "x".repeat(2 << 20), "model": "text"}});
    server.say(&json!({"jsonrpc": "2.0", "id": 9, "method": "tools/call", "params": long}).to_string());
    let refused = server.next();
    assert_eq!(refused["id"], 9, "{refused}");
    assert!(refused["error"]["message"].as_str().is_some_and(|m| m.contains("max_message_bytes")), "{refused}");
    let told = Instant::now();
    server.say(r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":4}}"#);
    received.closed_after(told).await;
    // What was asked before the end of the input is answered; what was cancelled is not.
    server.say(r#"{"jsonrpc":"2.0","id":5,"method":"ping"}"#);
    let rest = server.end();
    assert_eq!(rest, [r#"{"jsonrpc":"2.0","id":5,"result":{}}"#]);
}

#[tokio::test(flavor = "multi_thread")]
async fn mcp_a_session_that_ended_is_begun_again_for_a_client_that_knows_of_none() {
    let Some(postgres) = Postgres::start() else { return };
    let upstream = Upstream::start(mcp::script).await;
    // Two gateways have their sessions together, and there can be one: each that begins ends the other.
    let own = "max_sessions: 1";
    let shared = format!("storage: {{keys: {{type: postgres, url: \"{}\", refresh: 100ms}}}}\n", postgres.database("sessions"));
    let gateway = Gateway::start(&mcp::config(&upstream, own, &shared)).await;
    let client = Client::new(&gateway);
    let mut server = Server::start(&upstream, own, &shared);
    let params = json!({"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}});
    server.say(&json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params}).to_string());
    assert!(server.next()["result"].is_object());
    let ended = async {
        loop {
            let session = mcp::begin(&client).await;
            // What one writes the other knows after a while. A session that began before that ends nobody's, and another one is tried.
            let since = Instant::now();
            while since.elapsed() < Duration::from_secs(2) {
                let listed = server.request("tools/list", json!({}));
                assert!(listed["result"]["tools"].is_array(), "{listed}");
                if mcp::status_in(&client, &session).await == 404 {
                    return;
                }
            }
        }
    };
    soon("another session of the client on standard input", ended).await;
}

#[test]
fn mcp_without_a_server_or_a_folder_says_what_to_write() {
    let config = ConfigFile::new(&setup::config("  echo: {type: echo}\n", ""));
    let (path, components) = (config.path().display().to_string(), repo::components().display().to_string());
    let finished = cli::run(&["mcp", "--config", &path, "--components", &components]);
    assert_eq!(finished.code, 2, "{finished:?}");
    assert!(finished.stdout.is_empty() && finished.stderr.contains("extensions: {mcp:"), "{finished:?}");
    let finished = cli::run(&["mcp", "--config", &path, "--components", &components, "--files", "/no/such/folder"]);
    assert_eq!((finished.code, finished.stderr.contains("--files")), (2, true), "{finished:?}");
}
