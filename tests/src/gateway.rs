//! The real program, serving on a free port of loopback.

use std::io::{BufRead as _, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::watch;

use crate::{repo, soon};

/// A gateway; it ends with the value.
pub struct Gateway {
    child: Option<Child>,
    address: String,
    log: Log,
    started_as: Builder,
}

/// How a gateway is started.
#[derive(Clone)]
pub struct Builder {
    /// Where its configuration is and it runs in. It stays until the last gateway that was started there is gone.
    folder: Arc<TempDir>,
    components: PathBuf,
    args: Vec<String>,
    environment: Vec<(String, String)>,
}

/// Everything that a gateway wrote to standard error, line by line.
#[derive(Clone)]
struct Log {
    lines: Arc<Mutex<Vec<String>>>,
    /// How many lines there are; closed when the gateway has ended.
    count: watch::Receiver<usize>,
}

// === impl Gateway ===

impl Gateway {
    /// Starts a gateway with this configuration (YAML). Port, log format and cache are set here.
    pub async fn start(config: &str) -> Self {
        Self::builder(config).start().await
    }

    /// For a start with more to say.
    pub fn builder(config: &str) -> Builder {
        let folder = Arc::new(tempfile::tempdir().expect("a temporary folder"));
        let builder = Builder { folder, components: repo::components(), args: Vec::new(), environment: Vec::new() };
        builder.configure(config);
        builder
    }

    /// The folder that the gateway runs in; paths of its configuration are relative to it.
    pub fn folder(&self) -> &Path {
        self.started_as.folder()
    }

    /// Writes another configuration in the place of the one that the gateway was started with.
    pub fn configure(&self, config: &str) {
        self.started_as.configure(config);
    }

    /// `127.0.0.1:PORT`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Waits until a log line fulfils a condition, and returns it. Lines of the past count.
    pub async fn log_line(&self, what: &str, condition: impl Fn(&Value) -> bool) -> Value {
        match tokio::time::timeout(crate::DEADLINE, self.log.find(condition)).await {
            Ok(Some(line)) => line,
            Ok(None) => panic!("the gateway ended without the log line: {what}\n{}", self.log_text()),
            Err(_) => panic!("there was no log line: {what}\n{}", self.log_text()),
        }
    }

    /// All log lines until now that fulfil a condition.
    pub fn log_lines(&self, condition: impl Fn(&Value) -> bool) -> Vec<Value> {
        self.log.all().iter().filter_map(|l| serde_json::from_str(l).ok()).filter(|l| condition(l)).collect()
    }

    /// The whole log until now.
    pub fn log_text(&self) -> String {
        self.log.all().join("\n")
    }

    /// Memory of the process that is resident, in KiB. A page that is mapped in many places counts as often.
    pub fn resident_kib(&self) -> u64 {
        self.smaps_kib("Rss:")
    }

    /// The same, with each page counted once: what the machine has to have for it.
    pub fn memory_kib(&self) -> u64 {
        self.smaps_kib("Pss:")
    }

    fn smaps_kib(&self, name: &str) -> u64 {
        let sums = std::fs::read_to_string(self.process("smaps_rollup")).expect("the process is there");
        let line = sums.lines().find_map(|l| l.strip_prefix(name)).expect("the kernel says it");
        line.trim().trim_end_matches(" kB").trim().parse().expect("a number")
    }

    /// How many files and connections the process has open.
    pub fn open_files(&self) -> usize {
        std::fs::read_dir(self.process("fd")).expect("the process is there").count()
    }

    fn process(&self, file: &str) -> PathBuf {
        let id = self.child.as_ref().expect("it has not ended").id();
        PathBuf::from(format!("/proc/{id}/{file}"))
    }

    /// Tells the gateway to stop, as a service manager does. It may take its time; [`Gateway::ended`] waits for it.
    pub fn terminate(&self) {
        self.signal("-TERM");
    }

    /// Tells the gateway to read its configuration again, as a service manager does.
    pub fn hang_up(&self) {
        self.signal("-HUP");
    }

    fn signal(&self, name: &str) {
        let id = self.child.as_ref().expect("it has not ended").id();
        let told = Command::new("kill").args([name, &id.to_string()]).status().expect("there is a `kill`");
        assert!(told.success(), "the gateway had ended already\n{}", self.log_text());
    }

    /// Ends the gateway at once, in the middle of whatever it does, as a power failure would. What is returned starts it again in the
    /// same folder.
    pub fn kill(mut self) -> Builder {
        let mut child = self.child.take().expect("it ends once");
        child.kill().expect("it has not ended");
        child.wait().expect("it can be waited for");
        self.started_as.clone()
    }

    /// Waits for the end of a gateway that was told to stop.
    pub async fn ended(mut self) -> (ExitStatus, String) {
        let mut child = self.child.take().expect("it ends once");
        let (tell, told) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || tell.send(child.wait()));
        let status = soon("end of the gateway after SIGTERM", told).await.expect("the thread answers").expect("it can be waited for");
        soon("end of its log", self.log.end()).await;
        (status, self.log_text())
    }

    /// Whatever a test is about, the host itself must not panic. (Panics of guests are JSON lines.)
    fn assert_no_panic(&self) {
        let panicked = self.log.all().iter().any(|l| l.starts_with("thread '"));
        assert!(!panicked, "the gateway panicked\n{}", self.log_text());
    }

    /// Stops the gateway and waits for its end.
    pub async fn stop(self) -> (ExitStatus, String) {
        self.terminate();
        self.ended().await
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            eprintln!("--- log of the gateway\n{}\n---", self.log_text());
        } else {
            self.assert_no_panic();
        }
    }
}

// === impl Builder ===

impl Builder {
    /// The folder that the gateway will run in.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The configuration's file is replaced at once: nobody reads half of it.
    fn configure(&self, config: &str) {
        replace(&self.folder().join("gateway.yaml"), config.as_bytes());
    }

    /// One more argument of the command line.
    pub fn arg(mut self, arg: impl Into<String>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// One setting, as `--set` writes it.
    pub fn set(self, pair: impl Into<String>) -> Self {
        self.arg("--set").arg(pair)
    }

    /// One more environment variable.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Another folder of components.
    pub fn components(mut self, folder: impl Into<PathBuf>) -> Self {
        self.components = folder.into();
        self
    }

    /// A folder of components of its own, `components` in [`Builder::folder`], with what `extensions/` has and these besides.
    pub fn own_components(self, more: &[(&str, &[u8])]) -> Self {
        let folder = self.folder().join("components");
        std::fs::create_dir(&folder).expect("a temporary folder");
        for name in ["openai-api", "anthropic-api", "routing"] {
            std::fs::copy(repo::component(name), folder.join(format!("{name}.wasm"))).expect("the component is built");
        }
        for (name, bytes) in more {
            std::fs::write(folder.join(format!("{name}.wasm")), bytes).expect("a temporary file");
        }
        self.components(folder)
    }

    /// Starts the gateway and waits until it listens.
    pub async fn start(self) -> Gateway {
        let (file, folder) = (self.folder().join("gateway.yaml"), self.folder().to_owned());
        let program = repo::program();
        let mut command = Command::new(&program);
        command.arg("serve").arg("--config").arg(&file).arg("--components").arg(&self.components);
        for pair in ["server.port=0".to_owned(), "logging.format=json".into(), format!("cache={}", repo::cache().display())] {
            command.args(["--set", &pair]);
        }
        command.args(&self.args);
        clean_environment(&mut command);
        command.envs(self.environment.iter().map(|(n, v)| (n, v)));
        command.current_dir(folder).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|e| panic!("{} does not start: {e}", program.display()));
        let log = Log::follow(child.stderr.take().expect("piped"));
        let mut gateway = Gateway { child: Some(child), address: String::new(), log, started_as: self };
        let line = gateway.log_line("listening", |l| l["message"] == "listening").await;
        gateway.address = line["address"].as_str().expect("the line has the address").to_owned();
        gateway
    }
}

/// Writes a file beside the place and moves it there, as a deployment does.
pub fn replace(file: &Path, bytes: &[u8]) {
    let beside = file.with_extension("new");
    std::fs::write(&beside, bytes).expect("a temporary file");
    std::fs::rename(&beside, file).expect("it is the same folder");
}

/// Settings of whoever runs the tests are none of the gateway's.
pub(crate) fn clean_environment(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        if ["WASMGATE_", "OTEL_"].iter().any(|own| name.to_string_lossy().starts_with(own)) {
            command.env_remove(name);
        }
    }
}

// === impl Log ===

impl Log {
    fn follow(stderr: impl Read + Send + 'static) -> Self {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let (tell, count) = watch::channel(0);
        let writer = Arc::clone(&lines);
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line).into_owned();
                writer.lock().unwrap_or_else(PoisonError::into_inner).push(line);
                tell.send_modify(|n| *n += 1);
            }
        });
        Self { lines, count }
    }

    fn all(&self) -> Vec<String> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The first line, past or future, that fulfils the condition; none when the gateway ended without it.
    async fn find(&self, condition: impl Fn(&Value) -> bool) -> Option<Value> {
        let mut count = self.count.clone();
        let mut seen = 0;
        loop {
            let ended = count.has_changed().is_err();
            count.mark_unchanged();
            let lines = self.all();
            if let Some(line) = lines[seen..].iter().filter_map(|l| serde_json::from_str(l).ok()).find(|l| condition(l)) {
                return Some(line);
            }
            seen = lines.len();
            if ended {
                return None;
            }
            // An error says that it ended; its last lines are looked at once more.
            let _ = count.changed().await;
        }
    }

    async fn end(&self) {
        let mut count = self.count.clone();
        while count.changed().await.is_ok() {}
    }
}
