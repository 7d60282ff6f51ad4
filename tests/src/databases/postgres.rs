//! A PostgreSQL server with a cluster of its own.

use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use rustix::process::{Pid, Signal};
use tempfile::TempDir;

use super::{command, folder, program, signal, unpacked, wait_until_ready};
use crate::sdk;

/// The server; it ends with the value.
pub struct Postgres {
    folder: TempDir,
    programs: PathBuf,
    child: Option<Child>,
}

impl Postgres {
    /// Makes a cluster and starts a server. None when PostgreSQL is not there and that is allowed.
    pub fn start() -> Option<Self> {
        let Some(programs) = programs() else {
            sdk::missing("PostgreSQL");
            return None;
        };
        let mut postgres = Self { folder: folder(), programs, child: None };
        let made = postgres
            .command("initdb")
            .args(["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync", "--pgdata"])
            .arg(postgres.data())
            .output()
            .expect("initdb starts");
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        postgres.begin();
        Some(postgres)
    }

    /// Starts the server again after [`Postgres::end`].
    pub fn begin(&mut self) {
        let mut server = self.command("postgres");
        server.arg("-D").arg(self.data()).arg("-k").arg(self.folder.path());
        // Sockets only: no port that somebody else could take first. The machine does not lose power in a test.
        server.args(["-c", "listen_addresses=", "-c", "fsync=off", "-c", "log_destination=stderr", "-c", "logging_collector=off"]);
        let mut child = server.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("postgres starts");
        let output = child.stderr.take().expect("piped");
        wait_until_ready(&mut child, output, "ready to accept connections");
        self.child = Some(child);
    }

    /// Ends the server at once; what was committed is there when it begins again.
    pub fn end(&mut self) {
        if let Some(mut child) = self.child.take() {
            signal(&child, Signal::QUIT);
            child.wait().expect("it can be waited for");
        }
    }

    /// Nothing of the server runs until [`Postgres::resume`], but its connections stay.
    pub fn pause(&self) {
        // The server itself first, so that it begins no process after we looked.
        self.signal_all(Signal::STOP);
    }

    /// It goes on where it was.
    pub fn resume(&self) {
        self.signal_all(Signal::CONT);
    }

    /// The server, and each process that it started for a connection or for work of its own.
    fn signal_all(&self, kind: Signal) {
        let server = self.child.as_ref().expect("it runs");
        signal(server, kind);
        for process in children(server.id()) {
            // Some end by themselves meanwhile.
            let _ = rustix::process::kill_process(process, kind);
        }
    }

    /// An empty database, and its address.
    pub fn database(&self, name: &str) -> String {
        let made = self.command("createdb").args(["--username=postgres", "--host"]).arg(self.folder.path()).arg(name).output();
        let made = made.expect("createdb starts");
        assert!(made.status.success(), "createdb: {}", String::from_utf8_lossy(&made.stderr));
        format!("host={} user=postgres dbname={name}", self.folder.path().display())
    }

    /// What one statement answers, a line for each row.
    pub fn query(&self, database: &str, statement: &str) -> String {
        let mut psql = self.command("psql");
        psql.args(["--no-psqlrc", "--tuples-only", "--no-align", "--username=postgres", "--host"]).arg(self.folder.path());
        let answer = psql.args(["--dbname", database, "--command", statement]).output().expect("psql starts");
        assert!(answer.status.success(), "psql: {}", String::from_utf8_lossy(&answer.stderr));
        String::from_utf8_lossy(&answer.stdout).trim().to_owned()
    }

    fn command(&self, name: &str) -> std::process::Command {
        command(&self.programs.join(name))
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.end();
    }
}

/// The processes that were started by one.
fn children(parent: u32) -> Vec<Pid> {
    let all = std::fs::read_dir("/proc").expect("Linux").filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    let is_child = |id: &i32| {
        let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        // `ID (NAME) STATE PARENT …`, and a name may have spaces.
        let of = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(1)?.parse::<u32>().ok());
        of == Some(parent)
    };
    all.filter(is_child).filter_map(Pid::from_raw).collect()
}

/// The folder of the newest version's programs.
fn programs() -> Option<PathBuf> {
    let roots = [unpacked(), PathBuf::from("/")];
    let versions = roots.iter().flat_map(|root| std::fs::read_dir(root.join("usr/lib/postgresql")).into_iter().flatten());
    let mut folders: Vec<PathBuf> = versions.filter_map(|e| Some(e.ok()?.path().join("bin"))).collect();
    folders.sort_by_key(|folder| {
        let version = folder.parent().and_then(Path::file_name).and_then(|v| v.to_str()).and_then(|v| v.parse::<u32>().ok());
        std::cmp::Reverse(version)
    });
    program("initdb", &folders).and_then(|file| Some(file.parent()?.to_owned()))
}
