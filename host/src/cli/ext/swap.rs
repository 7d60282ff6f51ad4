//! `wasmgate ext swap`: sends a component and prints each step of the gate as it ends.

use futures_util::StreamExt as _;
use http::header::{ACCEPT, CONTENT_TYPE};
use reqwest::Method;
use serde_json::Value;

use super::server::{Server, refused, said};
use super::{Failure, Rollout, SwapArgs, data, print, report};
use crate::digest;
use crate::extensions::registry;

/// One line for each step, and then the whole document.
const LINES: &str = "application/x-ndjson";

/// Sends the file.
pub async fn run(server: &Server, args: &SwapArgs, json: bool) -> Result<(), Failure> {
    let query = query(args)?;
    let file = args.file.display();
    let bytes = registry::bytes(&args.file).map_err(|e| Failure::Usage(format!("`{file}` {e}")))?;
    let request = server.request(Method::PUT, &["api", "extensions", &args.name], &query).header(CONTENT_TYPE, "application/wasm");
    if json {
        let response = server.send(request.body(bytes)).await?;
        let document = server.document(response).await?;
        print(&document);
        return Ok(());
    }
    let response = server.send(request.header(ACCEPT, LINES).body(bytes)).await?;
    let kind = response.headers().get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    // What is wrong with the request itself is said before there are any steps.
    let document = if kind.starts_with(LINES) { steps(response).await? } else { server.document(response).await? };
    let value: Value = serde_json::from_str(&document).map_err(|e| Failure::Broken(format!("the gateway's answer is no JSON: {e}")))?;
    let attempt = if value["success"] == true { data(&value) } else { &value["error"]["details"] };
    report::differences(attempt).iter().for_each(|line| print(line));
    if value["success"] == true {
        print(&report::closing(data(&value)));
        return Ok(());
    }
    Err(refused(document, "the gateway refused it and does not say why"))
}

/// Prints the steps as they come. Returns the last line, which is the document.
async fn steps(response: reqwest::Response) -> Result<String, Failure> {
    let mut body = response.bytes_stream();
    let mut lines = Lines::default();
    let mut document = None;
    while let Some(piece) = body.next().await {
        let piece = piece.map_err(|e| Failure::Broken(format!("the gateway's answer broke off: {}", said(&e))))?;
        for line in lines.push(&piece) {
            take(line, &mut document);
        }
    }
    if let Some(line) = lines.rest() {
        take(line, &mut document);
    }
    document.ok_or_else(|| {
        Failure::Broken("the gateway's answer broke off before it said how the swap ended; see `wasmgate ext history`".into())
    })
}

fn take(line: String, document: &mut Option<String>) {
    let value: Value = serde_json::from_str(&line).unwrap_or_default();
    if value.get("step").is_some() { print(&report::step(&value)) } else { *document = Some(line) }
}

/// Splits bytes as they arrive into lines.
#[derive(Default)]
struct Lines {
    unread: Vec<u8>,
}

impl Lines {
    fn push(&mut self, bytes: &[u8]) -> Vec<String> {
        self.unread.extend_from_slice(bytes);
        let mut lines = Vec::new();
        while let Some(end) = self.unread.iter().position(|b| *b == b'\n') {
            let line: Vec<u8> = self.unread.drain(..=end).collect();
            lines.extend(text(&line));
        }
        lines
    }

    /// A last line need not end.
    fn rest(self) -> Option<String> {
        text(&self.unread)
    }
}

fn text(line: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(line).trim().to_owned();
    (!text.is_empty()).then_some(text)
}

/// What the gateway is asked for.
fn query(args: &SwapArgs) -> Result<Vec<(&'static str, String)>, Failure> {
    let canary = args.rollout == Rollout::Canary;
    if !canary && (args.share.is_some() || !args.key.is_empty()) {
        return Err(Failure::Usage("`--share` and `--key` say who gets a canary; add `--rollout canary`".into()));
    }
    if canary && args.share.is_none() && args.key.is_empty() {
        return Err(Failure::Usage("a canary needs callers: add `--share 0.05` or `--key KEY`".into()));
    }
    if let Some(share) = args.share.filter(|s| !(0.0..=1.0).contains(s)) {
        return Err(Failure::Usage(format!("`--share {share}` is not from 0 to 1")));
    }
    let mut query = vec![("rollout", args.rollout.name().to_owned())];
    query.extend(args.share.map(|share| ("share", share.to_string())));
    query.extend(args.key.iter().map(|key| ("key", digest(key))));
    query.extend(args.replay.map(|replay| ("replay", replay.name().to_owned())));
    if !args.grant.is_empty() {
        query.push(("grant", args.grant.join(",")));
    }
    Ok(query)
}

/// How a caller's key is named without telling it.
fn digest(key: &str) -> String {
    let is_digest = |hex: &str| hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_hexdigit());
    match key.strip_prefix("sha256:") {
        Some(hex) if is_digest(hex) => format!("sha256:{}", hex.to_ascii_lowercase()),
        _ => digest::named(key),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::cli::ext::Replay;

    fn args() -> SwapArgs {
        SwapArgs {
            name: "a".into(),
            file: PathBuf::new(),
            rollout: Rollout::Active,
            share: None,
            key: Vec::new(),
            replay: None,
            grant: Vec::new(),
        }
    }

    fn check(args: SwapArgs, expect: &str) {
        let found = match query(&args) {
            Ok(query) => query.iter().map(|(n, v)| format!("{n}={v}")).collect::<Vec<_>>().join("&"),
            Err(Failure::Usage(message)) => message,
            Err(other) => panic!("{other:?}"),
        };
        assert!(found.contains(expect), "found `{found}`, expected `{expect}`");
    }

    #[test]
    fn queries_say_what_the_command_line_says() {
        use Rollout::{Canary, Shadow};
        let canary = |share, key: &[&str]| SwapArgs { rollout: Canary, share, key: key.iter().map(|k| (*k).into()).collect(), ..args() };
        check(args(), "rollout=active");
        check(canary(Some(0.05), &[]), "rollout=canary&share=0.05");
        // sha256("k")
        let hashed = "sha256:8254c329a92850f6d539dd376f4816ee2764517da5e0235514af433164480d7a";
        check(canary(None, &["k"]), &format!("rollout=canary&key={hashed}"));
        check(canary(None, &[hashed, "k"]), &format!("rollout=canary&key={hashed}&key={hashed}"));
        check(
            SwapArgs { rollout: Shadow, replay: Some(Replay::Require), grant: vec!["kv".into(), "http".into()], ..args() },
            "rollout=shadow&replay=require&grant=kv,http",
        );
        check(canary(None, &[]), "a canary needs callers");
        check(canary(Some(1.5), &[]), "`--share 1.5` is not from 0 to 1");
        check(canary(Some(f64::NAN), &[]), "is not from 0 to 1");
        check(SwapArgs { share: Some(0.5), ..args() }, "add `--rollout canary`");
    }

    #[test]
    fn lines_are_found_however_they_are_cut() {
        let whole = "{\"step\":\"size\"}\n\n{\"détail\":1}\r\n{\"last\":2}";
        for cut in 1..whole.len() {
            let mut lines = Lines::default();
            let mut found: Vec<String> = whole.as_bytes().chunks(cut).flat_map(|c| lines.push(c)).collect();
            found.extend(lines.rest());
            assert_eq!(found, ["{\"step\":\"size\"}", "{\"détail\":1}", "{\"last\":2}"], "{cut}");
        }
    }
}
