//! HTTP to loopback: what the demo needs to be a client.

use std::io::{BufRead, BufReader};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use ureq::{Agent, Body};

/// For an answer to begin, and for all of it: a small model on a busy machine is slow, but not that slow.
const BEGIN_TIMEOUT: Duration = Duration::from_secs(60);
const TOTAL_TIMEOUT: Duration = Duration::from_secs(180);

pub struct Client {
    agent: Agent,
    base: String,
}

pub struct Stream {
    pub request_id: Option<String>,
    lines: BufReader<ureq::BodyReader<'static>>,
}

impl Client {
    pub fn new(base: String) -> Client {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .proxy(None)
            .timeout_recv_response(Some(BEGIN_TIMEOUT))
            .timeout_global(Some(TOTAL_TIMEOUT))
            .build();
        Client { agent: config.into(), base }
    }

    /// The status and body of a GET.
    pub fn get(&self, path: &str) -> Result<(u16, String)> {
        let url = format!("{}{path}", self.base);
        let mut response = self.agent.get(&url).call().with_context(|| format!("GET {url}"))?;
        Ok((response.status().as_u16(), response.body_mut().read_to_string()?))
    }

    /// Posts JSON and returns the answer line by line as it arrives; a status other than 200 is an error with its body.
    pub fn post_stream(&self, path: &str, body: &Value) -> Result<Stream> {
        let url = format!("{}{path}", self.base);
        let request = self.agent.post(&url).header("content-type", "application/json").header("anthropic-version", "2023-06-01");
        let mut response = request.send(body.to_string()).with_context(|| format!("POST {url}"))?;
        if response.status() != 200 {
            let (status, text) = (response.status(), response.body_mut().read_to_string().unwrap_or_default());
            bail!("POST {url} was answered with {status}: {}", text.trim());
        }
        let request_id = response.headers().get("x-request-id").and_then(|value| value.to_str().ok()).map(str::to_owned);
        let body: Body = response.into_body();
        Ok(Stream { request_id, lines: BufReader::new(body.into_reader()) })
    }
}

impl Stream {
    /// The value of the next `data:` field of the event stream.
    pub fn next_data(&mut self) -> Result<Option<String>> {
        let mut line = String::new();
        loop {
            line.clear();
            if self.lines.read_line(&mut line).context("reading the stream")? == 0 {
                return Ok(None);
            }
            if let Some(data) = line.strip_prefix("data:") {
                return Ok(Some(data.trim().to_owned()));
            }
        }
    }
}
