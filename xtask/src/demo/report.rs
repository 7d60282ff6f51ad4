//! Which components took part in a request, and what each cost.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use crate::http::Client;

/// The record is written behind the answer, so it may come a moment later.
const RECORD_TIMEOUT: Duration = Duration::from_secs(5);

/// The part of `GET /api/requests/{id}` that is shown here. Times are microseconds.
#[derive(Debug, Deserialize)]
pub struct Record {
    provider: Option<String>,
    model: Option<String>,
    outcome: String,
    duration_us: f64,
    ttft_us: Option<f64>,
    extensions: Vec<Call>,
}

#[derive(Debug, Deserialize)]
struct Call {
    name: String,
    hook: String,
    calls: u64,
    us: f64,
}

#[derive(Deserialize)]
struct Envelope {
    data: Record,
}

pub fn fetch(client: &Client, request_id: &str) -> Result<Record> {
    let path = format!("/api/requests/{request_id}");
    let deadline = Instant::now() + RECORD_TIMEOUT;
    loop {
        let (status, body) = client.get(&path)?;
        if status == 200 {
            return parse(&body).with_context(|| format!("GET {path}"));
        }
        if Instant::now() > deadline {
            bail!("GET {path} was answered with {status}: {}", body.trim());
        }
        thread::sleep(Duration::from_millis(20));
    }
}

fn parse(body: &str) -> Result<Record> {
    let record = serde_json::from_str::<Envelope>(body).with_context(|| format!("unexpected record: {body}"))?.data;
    ensure!(record.outcome == "success", "the gateway recorded the request as `{}`", record.outcome);
    ensure!(!record.extensions.is_empty(), "the gateway recorded no component: the answer did not come through wasm");
    Ok(record)
}

impl Record {
    /// A table of the calls, and what they are of the whole request.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = vec![row("component", "hook", "calls", "us")];
        for call in &self.extensions {
            lines.push(row(&call.name, &call.hook, &call.calls.to_string(), &format!("{:.1}", call.us)));
        }
        let calls: u64 = self.extensions.iter().map(|call| call.calls).sum();
        let us: f64 = self.extensions.iter().map(|call| call.us).sum();
        lines.push(row("all", "", &calls.to_string(), &format!("{us:.1}")));
        let share = if self.duration_us > 0.0 { 100.0 * us / self.duration_us } else { 0.0 };
        let first = self.ttft_us.map_or(String::new(), |ttft| format!(", its first token after {:.1} ms", ttft / 1000.0));
        let target = [self.provider.as_deref(), self.model.as_deref()].into_iter().flatten().collect::<Vec<_>>().join("/");
        lines.push(format!("= {share:.2} % of the request: {:.1} ms by {target}{first}", self.duration_us / 1000.0));
        lines
    }
}

fn row(component: &str, hook: &str, calls: &str, us: &str) -> String {
    format!("{component:<18} {hook:<26} {calls:>6} {us:>10}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &str = r#"{"success":true,"data":{"request_id":"r","model":"m","provider":"p","outcome":"success","duration_us":50000,
        "ttft_us":20000,"extensions":[{"name":"openai-api","hook":"dialect.accept","calls":1,"us":12.3},
        {"name":"routing","hook":"before-generate","calls":2,"us":37.7}]}}"#;

    #[test]
    fn the_table_adds_up() {
        assert_eq!(
            parse(BODY).unwrap().lines(),
            [
                "component          hook                        calls         us",
                "openai-api         dialect.accept                  1       12.3",
                "routing            before-generate                 2       37.7",
                "all                                                3       50.0",
                "= 0.10 % of the request: 50.0 ms by p/m, its first token after 20.0 ms",
            ]
        );
    }

    #[test]
    fn a_request_that_failed_or_bypassed_wasm_is_an_error() {
        assert!(parse(&BODY.replace("\"outcome\":\"success\"", "\"outcome\":\"error\"")).is_err());
        let start = BODY.find("[{").unwrap();
        assert!(parse(&format!("{}[]}}}}", &BODY[..start])).is_err());
        assert!(parse("{}").is_err());
    }
}
