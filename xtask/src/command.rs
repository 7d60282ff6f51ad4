//! Running other programs: quietly with a sign of life, or on the user's screen; a failure quotes the last lines.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};

use crate::step::{Step, seconds};

/// A silent program is reported alive, with its newest line, this often.
const SIGN_OF_LIFE: Duration = Duration::from_secs(15);
/// Lines of output that an error quotes.
const QUOTED_LINES: usize = 60;

/// What a finished program wrote.
pub struct Output {
    pub status: ExitStatus,
    pub text: String,
}

enum Line {
    /// Shown as a sign of life, quoted in an error.
    Log(String),
    /// Collected for the caller.
    Data(String),
}

/// Runs to success; the output (both streams, in order) is shown only if it fails. `doing` completes "… failed".
pub fn quietly(step: &Step, command: &mut Command, doing: &str) -> Result<String> {
    let (reader, writer) = std::io::pipe()?;
    command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer);
    let (lines, received) = channel();
    let mut child = spawn(command)?;
    release_pipes(command);
    let pump = forward(reader, lines, Line::Log);
    let tail = follow(step, received);
    let status = child.wait()?;
    let _ = pump.join();
    if status.success() { Ok(tail.join("\n")) } else { Err(failure(command, doing, status, &tail)) }
}

/// Like `quietly`, but standard output is data for the caller and only standard error is the log.
pub fn data(step: &Step, command: &mut Command, doing: &str) -> Result<String> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = spawn(command)?;
    let (lines, received) = channel();
    let pumps = [
        forward(child.stderr.take().context("piped")?, lines.clone(), Line::Log),
        forward(child.stdout.take().context("piped")?, lines, Line::Data),
    ];
    let (tail, collected) = follow_both(step, received);
    let status = child.wait()?;
    for pump in pumps {
        let _ = pump.join();
    }
    if status.success() { Ok(collected) } else { Err(failure(command, doing, status, &tail)) }
}

/// Runs on the user's screen, and returns what it wrote however it ends.
pub fn shown(command: &mut Command) -> Result<Output> {
    let (reader, writer) = std::io::pipe()?;
    command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer);
    let mut child = spawn(command)?;
    release_pipes(command);
    let mut text = String::new();
    for line in BufReader::new(reader).split(b'\n') {
        let line = line?;
        let line = String::from_utf8_lossy(&line);
        println!("{line}");
        text.push_str(&line);
        text.push('\n');
    }
    Ok(Output { status: child.wait()?, text })
}

/// Standard output of a quick question such as `rustc --version`, or `None` if it cannot be answered.
pub fn answer(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// The program's file as found in PATH.
pub fn which(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}

/// `program arg arg`, for messages.
pub fn show(command: &Command) -> String {
    let mut text = command.get_program().to_string_lossy().into_owned();
    for arg in command.get_args() {
        text.push(' ');
        text.push_str(&arg.to_string_lossy());
    }
    text
}

/// The last lines of a log, indented, for an error message.
pub fn quote(lines: &[String]) -> String {
    let start = lines.len().saturating_sub(QUOTED_LINES);
    lines[start..].iter().map(|line| format!("    | {line}")).collect::<Vec<_>>().join("\n")
}

fn spawn(command: &mut Command) -> Result<std::process::Child> {
    command.spawn().map_err(|error| match error.kind() {
        ErrorKind::NotFound => anyhow!("`{}` is not installed or not in PATH", command.get_program().to_string_lossy()),
        _ => anyhow!("starting `{}`: {error}", show(command)),
    })
}

/// Closes our copies of the pipe's write end, without which the reader would never see the end.
fn release_pipes(command: &mut Command) {
    command.stdout(Stdio::null()).stderr(Stdio::null());
}

fn failure(command: &Command, doing: &str, status: ExitStatus, tail: &[String]) -> anyhow::Error {
    anyhow!("{doing} failed ({status})\n  command: {}\n{}", show(command), quote(tail))
}

fn forward(reader: impl Read + Send + 'static, lines: Sender<Line>, wrap: fn(String) -> Line) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        for line in BufReader::new(reader).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).trim_end_matches('\r').to_owned();
            if lines.send(wrap(line)).is_err() {
                return;
            }
        }
    })
}

fn follow(step: &Step, lines: Receiver<Line>) -> Vec<String> {
    follow_both(step, lines).0
}

fn follow_both(step: &Step, lines: Receiver<Line>) -> (Vec<String>, String) {
    let mut tail = VecDeque::new();
    let mut collected = String::new();
    let mut last_sign = Instant::now();
    loop {
        match lines.recv_timeout(SIGN_OF_LIFE.saturating_sub(last_sign.elapsed())) {
            Ok(Line::Log(line)) => {
                if tail.len() == 2000 {
                    tail.pop_front();
                }
                tail.push_back(line);
            }
            Ok(Line::Data(line)) => {
                collected.push_str(&line);
                collected.push('\n');
            }
            Err(RecvTimeoutError::Timeout) => {
                let newest = tail.back().map_or("", |line: &String| line.trim());
                step.note(&format!("… {}: {newest}", seconds(step.elapsed())));
                last_sign = Instant::now();
            }
            Err(RecvTimeoutError::Disconnected) => return (tail.into(), collected),
        }
    }
}

/// The error for a program that the user has to install.
pub fn require(program: &str, why: &str, install: &str) -> Result<()> {
    match which(program) {
        Some(_) => Ok(()),
        None => bail!("`{program}` is needed {why}, and is not in PATH\n  install it by hand: {install}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::step::Plan;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn quiet_output_is_in_order() {
        Plan::new(1)
            .step("test", |step| {
                assert_eq!(quietly(step, &mut shell("echo a; echo b >&2; echo c"), "test")?, "a\nb\nc");
                Ok(())
            })
            .unwrap();
    }

    #[test]
    fn a_failure_names_the_command_and_quotes_it() {
        let error = Plan::new(1).step("test", |step| quietly(step, &mut shell("echo reason >&2; exit 3"), "asking")).unwrap_err();
        let text = format!("{error:#}");
        assert!(text.contains("asking failed (exit status: 3)") && text.contains("| reason") && text.contains("sh -c"), "{text}");
    }

    #[test]
    fn data_is_only_standard_output() {
        let output = Plan::new(1).step("test", |step| data(step, &mut shell("echo noise >&2; echo data"), "test")).unwrap();
        assert_eq!(output, "data\n");
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = Plan::new(1).step("test", |step| quietly(step, &mut Command::new("no-such-program"), "x")).unwrap_err();
        assert!(format!("{error:#}").contains("`no-such-program` is not installed"));
    }
}
