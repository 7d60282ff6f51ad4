//! Code in answers: whether it parses, what is wrong with it, and a second chance.
//!
//! What parses and what repairs is in the crate `wasmgate-code`; here is where in an answer code is (`answer.rs`), what the caller is
//! told, and
//! `POST /api/validate` (`api.rs`). Code that parses and has its imports is never touched: an answer without a problem goes out byte
//! for byte.

mod again;
mod annotate;
mod answer;
mod api;
mod report;

use serde::Deserialize;
use wasmgate_code::{Language, Limits};
use wasmgate_sdk::prelude::*;
use wasmgate_sdk::{Http, HttpRequest, metrics};

use annotate::Annotator;
use report::Report;

/// The response header that tells what was found.
const HEADER: &str = "x-wasmgate-validation";

/// The note with all of it, as JSON.
const NOTE: &str = "validation";

/// How often this request was sent again, and what those answers took.
const RETRIES: &str = "validation.retries";
const SPENT: &str = "validation.spent";

/// The host sends no request again more often.
const MAX_RETRIES: u32 = 3;

/// Settings.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Languages that are looked at; absent means all.
    #[serde(default)]
    languages: Option<Vec<String>>,
    /// Whether code is repaired.
    #[serde(default)]
    auto_fix: bool,
    /// Whether a repair may add imports to code that parses.
    #[serde(default = "yes")]
    imports: bool,
    /// Whether code that parses is laid out anew.
    #[serde(default)]
    format: bool,
    /// How often the model is asked again.
    #[serde(default)]
    retries: u32,
    /// Tokens of bad answers after which it is not.
    #[serde(default = "retry_tokens")]
    retry_tokens: u64,
    /// What becomes of streams.
    #[serde(default)]
    streams: Streams,
    /// Bytes that parsers read for one answer.
    #[serde(default = "max_bytes")]
    max_bytes: usize,
    /// Whether tool calls are looked at.
    #[serde(default = "yes")]
    tool_arguments: bool,
    /// Whether answers that are code and nothing else are.
    #[serde(default = "yes")]
    whole_answers: bool,
}

/// What becomes of streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Streams {
    /// They are not looked at.
    #[default]
    Pass,
    /// What is wrong is said behind the answer.
    Annotate,
    /// They are held back until they are whole.
    Buffer,
}

fn retry_tokens() -> u64 {
    20_000
}

/// What the default of `limits.cpu_ms` leaves time for, on a slow machine too.
fn max_bytes() -> usize {
    32 << 10
}

fn yes() -> bool {
    true
}

/// What is looked at, and how.
#[derive(Debug, Clone)]
struct Rules {
    languages: Vec<Language>,
    auto_fix: bool,
    imports: bool,
    format: bool,
    tool_arguments: bool,
    whole_answers: bool,
    limits: Limits,
}

/// What is done about code.
#[derive(Debug, Clone, Copy, Default)]
struct Fix {
    /// What does not parse is repaired.
    repairs: bool,
    /// Imports that are missing are added.
    imports: bool,
    /// What parses is laid out anew.
    formats: bool,
}

impl Rules {
    fn fix(&self) -> Fix {
        Fix { repairs: self.auto_fix, imports: self.auto_fix && self.imports, formats: self.format }
    }
}

/// The extension.
pub struct Validation {
    rules: Rules,
    retries: u32,
    retry_tokens: u64,
    streams: Streams,
}

impl Extension for Validation {
    type Config = Config;

    fn configure(config: Config) -> Result<Self, String> {
        let languages = match config.languages {
            None => Language::ALL.to_vec(),
            Some(names) => names.iter().map(|name| language(name)).collect::<Result<_, _>>()?,
        };
        if config.retries > MAX_RETRIES {
            return Err(format!("`retries` is {}; it can be up to {MAX_RETRIES}", config.retries));
        }
        if config.max_bytes == 0 {
            return Err("`max_bytes` is 0, so nothing would be checked; leave the extension out, or set for example 32768".into());
        }
        let limits = Limits { bytes: config.max_bytes, read: config.max_bytes, cut: false, ..Limits::default() };
        let rules = Rules {
            languages,
            auto_fix: config.auto_fix,
            imports: config.imports,
            format: config.format,
            tool_arguments: config.tool_arguments,
            whole_answers: config.whole_answers,
            limits,
        };
        Ok(Self { rules, retries: config.retries, retry_tokens: config.retry_tokens, streams: config.streams })
    }

    fn routes(&self) -> Vec<Route> {
        vec![Route::http("POST", api::PATH)]
    }

    fn before_generate(&self, call: &CallInfo, request: &Request) -> Decision {
        if !call.stream {
            return Decision::Continue;
        }
        match self.streams(request) {
            Ok(Streams::Buffer) => Decision::Edit(vec![Edit::Buffer]),
            Ok(_) => Decision::Continue,
            Err(error) => Decision::Reject(error),
        }
    }

    fn after_generate(&self, call: &CallInfo, request: &Request, answer: &Answer) -> Verdict {
        let (report, repaired) = answer::check(&self.rules, answer.value());
        let retries: u32 = request.note(RETRIES).unwrap_or(0);
        if report.found.is_empty() && retries == 0 {
            return Verdict::Keep;
        }
        if report.invalid() > 0
            && let Some(edits) = self.again(call, request, answer, &report)
        {
            return Verdict::Retry(edits);
        }
        count(&report);
        request.response_header(&Header { name: HEADER.into(), value: report.header(retries) });
        request.add_note(&Note { key: NOTE.into(), value: report.document(retries).to_string() });
        repaired.map_or(Verdict::Keep, Verdict::Replace)
    }
}

impl Validation {
    /// What becomes of a stream: as its caller says, else as the configuration does.
    fn streams(&self, request: &Request) -> Result<Streams, ChatError> {
        let Some(word) = request.header(HEADER) else { return Ok(self.streams) };
        match word.trim() {
            "pass" => Ok(Streams::Pass),
            "annotate" => Ok(Streams::Annotate),
            "buffer" => Ok(Streams::Buffer),
            other => {
                let message = format!("The header `{HEADER}` is `{other}`; it can be `pass`, `annotate` or `buffer`.");
                Err(ChatError { param: Some(HEADER.into()), ..ChatError::new(ErrorClass::InvalidRequest, message) })
            }
        }
    }

    /// The changes with which the request is sent again; none when it is not.
    fn again(&self, call: &CallInfo, request: &Request, answer: &Answer, report: &Report) -> Option<Vec<Edit>> {
        let retries: u32 = request.note(RETRIES).unwrap_or(0);
        let took = answer.usage().map_or(0, |u| u.input_tokens.saturating_add(u.output_tokens));
        let spent = request.note::<u64>(SPENT).unwrap_or(0).saturating_add(took);
        if retries >= self.retries || spent >= self.retry_tokens {
            return None;
        }
        let mut messages = request.conversation(call).ok()?.messages;
        messages.extend(again::messages(answer, report));
        let note = |key: &str, value: String| Edit::Note(Note { key: key.into(), value });
        Some(vec![Edit::Messages(messages), note(RETRIES, (retries + 1).to_string()), note(SPENT, spent.to_string())])
    }
}

impl StreamFilter for Validation {
    type Filter = Annotator;

    fn open(&self, call: &CallInfo, request: &Request) -> Option<Annotator> {
        let wanted = call.stream && self.streams(request) == Ok(Streams::Annotate);
        wanted.then(|| Annotator::new(self.rules.clone()))
    }
}

impl Http for Validation {
    fn handle(&self, request: HttpRequest) -> Reply {
        api::answer(&self.rules, &request)
    }
}

/// A language by its name.
fn language(name: &str) -> Result<Language, String> {
    Language::from_tag(name).ok_or_else(|| {
        let known = Language::ALL.map(Language::name).join("`, `");
        format!("`languages` has `{name}`; there is `{known}`")
    })
}

/// For the operator's monitoring.
fn count(report: &Report) {
    for found in &report.found {
        // An instance has no use for the error: it says that there are too many series, and there are 32.
        let _ = metrics::count("blocks_total", &[("language", found.language.name()), ("result", found.outcome())], 1.0);
    }
}

wasmgate_sdk::export!(Validation: before_generate, after_generate, stream_filter, http);

#[cfg(test)]
mod tests;
