//! What a request or an answer can say, feature by feature.

use std::collections::BTreeMap;

use llm_codec::hub::{ChatAnswer, ChatRequest, MediaSource, Part, PartKind, ResultPartKind, Role, ToolCallKind, ToolKind};
use llm_codec::{Format, Loss};
use serde_json::{Value, json};

/// Something that a document of type `T` may say.
pub struct Feature<T> {
    pub name: &'static str,
    /// What it says; none when it does not.
    pub of: fn(&T) -> Option<Value>,
    /// Fields whose losses explain a difference, the most exact first: `seed` is a whole path, `messages[` its beginning, `.name` its end.
    pub lost_with: &'static [&'static str],
}

impl<T> Feature<T> {
    /// The loss that explains a difference in this feature.
    pub fn explained<'a>(&self, losses: &'a [Loss]) -> Option<&'a Loss> {
        let explains = |loss: &&Loss, at: &str| {
            loss.field == at || (at.ends_with('[') && loss.field.starts_with(at)) || (at.starts_with('.') && loss.field.ends_with(at))
        };
        self.lost_with.iter().find_map(|at| losses.iter().find(|loss| explains(loss, at)))
    }
}

/// How a feature got through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Pass,
    /// The losses that were told for it.
    Lossy(String),
    /// A difference that is known, with its reason.
    Known(&'static str),
}

/// Results of one side: client, upstream, feature -> outcome -> how often.
pub type Tally = BTreeMap<(usize, &'static str, &'static str), BTreeMap<String, usize>>;

/// Counts an outcome. `at` is the feature's place, so that the table has the order of the list.
pub fn count(tally: &mut Tally, at: usize, client: Format, upstream: Format, outcome: &Outcome) {
    let word = match outcome {
        Outcome::Pass => "pass".to_owned(),
        Outcome::Lossy(reason) => format!("lossy: {reason}"),
        Outcome::Known(reason) => format!("differs: {reason}"),
    };
    *tally.entry((at, client.as_str(), upstream.as_str())).or_default().entry(word).or_default() += 1;
}

/// Why something was lost, without the names of the single case.
pub fn reason(loss: &Loss) -> String {
    let mut words = String::new();
    for (n, piece) in loss.reason.split('`').enumerate() {
        words.push_str(if n % 2 == 0 { piece } else { "…" });
    }
    // Numbers of the single case too.
    let words: Vec<&str> = words.split(' ').map(|w| if w.starts_with(|c: char| c.is_ascii_digit()) { "…" } else { w }).collect();
    format!("{}: {}", loss.kind.as_str(), words.join(" "))
}

fn some(text: String) -> Option<Value> {
    (!text.is_empty()).then(|| json!(text))
}

fn list(items: Vec<Value>) -> Option<Value> {
    (!items.is_empty()).then_some(Value::Array(items))
}

/// Arguments as JSON; no arguments at all are an empty object to formats that have objects.
fn arguments(text: &str) -> Value {
    serde_json::from_str(if text.is_empty() { "{}" } else { text }).unwrap_or_else(|_| json!(text))
}

fn positive(n: Option<u64>) -> Option<Value> {
    n.filter(|n| *n > 0).map(|n| json!(n))
}

// === answers ===

fn first(a: &ChatAnswer) -> impl Iterator<Item = &Part> {
    a.choices.first().into_iter().flat_map(|c| &c.parts)
}

fn calls(a: &ChatAnswer) -> Vec<&llm_codec::hub::ToolCall> {
    first(a)
        .filter_map(|p| match &p.kind {
            PartKind::ToolCall(call) if call.kind != ToolCallKind::Server => Some(call),
            _ => None,
        })
        .collect()
}

pub const ANSWERS: &[Feature<ChatAnswer>] = &[
    Feature {
        name: "text",
        of: |a| {
            some(
                first(a)
                    .filter_map(|p| match &p.kind {
                        PartKind::Text(t) | PartKind::Refusal(t) => Some(t.as_str()),
                        _ => None,
                    })
                    .collect(),
            )
        },
        lost_with: &[],
    },
    Feature {
        name: "reasoning",
        of: |a| some(first(a).filter_map(|p| if let PartKind::Thinking(t) = &p.kind { Some(t.text.as_str()) } else { None }).collect()),
        lost_with: &[],
    },
    Feature {
        name: "signed or encrypted reasoning",
        of: |a| {
            list(
                first(a)
                    .filter_map(|p| match &p.kind {
                        PartKind::Thinking(t) => t.signature.clone().filter(|s| !s.is_empty()).map(Value::String),
                        PartKind::RedactedThinking(data) => Some(json!(data)),
                        _ => None,
                    })
                    .collect(),
            )
        },
        lost_with: &["choices[0].content["],
    },
    Feature {
        name: "tool calls",
        of: |a| list(calls(a).iter().map(|c| json!([c.name, arguments(&c.arguments)])).collect()),
        lost_with: &[],
    },
    Feature {
        name: "several tool calls at once",
        of: |a| {
            let calls = calls(a);
            (calls.len() > 1).then(|| json!(calls.iter().map(|c| &c.name).collect::<Vec<_>>()))
        },
        lost_with: &[],
    },
    Feature {
        name: "ids of tool calls",
        of: |a| list(calls(a).iter().filter(|c| !c.id.is_empty()).map(|c| json!(c.id)).collect()),
        lost_with: &[],
    },
    Feature {
        name: "calls that the provider ran, and their results",
        of: |a| {
            let ran = first(a).filter(|p| match &p.kind {
                PartKind::ToolCall(call) => call.kind == ToolCallKind::Server,
                PartKind::ToolResult(_) | PartKind::Other(_) => true,
                _ => false,
            });
            Some(ran.count()).filter(|n| *n > 0).map(|n| json!(n))
        },
        lost_with: &["choices[0].content["],
    },
    Feature {
        name: "citations",
        of: |a| {
            let cited = first(a).flat_map(|p| &p.extras).filter(|e| ["citations", "annotations"].contains(&e.name.as_str()));
            list(cited.filter(|e| e.value.len() > 4).map(|e| serde_json::from_str(&e.value).unwrap_or_default()).collect())
        },
        lost_with: &[".citations", ".annotations", "choices[0].content["],
    },
    Feature { name: "alternatives", of: |a| (a.choices.len() > 1).then(|| json!(a.choices.len())), lost_with: &["choices["] },
    Feature {
        name: "why it stopped",
        of: |a| a.choices.first()?.finish.as_ref().map(|f| json!(format!("{f:?}"))),
        lost_with: &["choices[0].finish"],
    },
    Feature { name: "input tokens", of: |a| positive(a.usage.as_ref().map(|u| u.input_tokens)), lost_with: &[] },
    Feature { name: "output tokens", of: |a| positive(a.usage.as_ref().map(|u| u.output_tokens)), lost_with: &[] },
    Feature { name: "tokens read from a cache", of: |a| positive(a.usage.as_ref()?.cache_read_tokens), lost_with: &[] },
    Feature { name: "tokens written to a cache", of: |a| positive(a.usage.as_ref()?.cache_write_tokens), lost_with: &[] },
    Feature { name: "tokens of reasoning", of: |a| positive(a.usage.as_ref()?.reasoning_tokens), lost_with: &[] },
    Feature { name: "model", of: |a| some(a.model.clone()), lost_with: &[] },
    Feature { name: "id", of: |a| some(a.id.clone()), lost_with: &[] },
];

// === requests ===

fn parts<'a>(r: &'a ChatRequest, roles: &'a [Role]) -> impl Iterator<Item = &'a Part> {
    r.messages.iter().filter(move |m| roles.contains(&m.role)).flat_map(|m| &m.parts)
}

fn texts(r: &ChatRequest, roles: &[Role]) -> Option<Value> {
    some(
        parts(r, roles)
            .filter_map(|p| match &p.kind {
                PartKind::Text(t) | PartKind::Refusal(t) => Some(t.as_str()),
                _ => None,
            })
            .collect(),
    )
}

fn source(source: &MediaSource) -> Value {
    match source {
        MediaSource::Inline(inline) => json!([inline.media_type, inline.data.len()]),
        MediaSource::Url(url) => json!(url),
        MediaSource::FileId(id) => json!(id),
        MediaSource::Text(text) => json!(text.len()),
        MediaSource::Other(_) => json!("other"),
    }
}

/// Media that the caller gives, in messages and results of tools: their number and where they come from.
fn media(r: &ChatRequest, wanted: fn(&PartKind) -> Option<&MediaSource>) -> Option<Value> {
    list(parts(r, &[Role::User]).filter_map(|p| wanted(&p.kind)).map(source).collect())
}

fn results(r: &ChatRequest) -> impl Iterator<Item = &llm_codec::hub::ToolResult> {
    r.messages.iter().flat_map(|m| &m.parts).filter_map(|p| if let PartKind::ToolResult(result) = &p.kind { Some(result) } else { None })
}

fn number(n: Option<f64>) -> Option<Value> {
    n.map(|n| json!(n))
}

pub const REQUESTS: &[Feature<ChatRequest>] = &[
    Feature { name: "instructions", of: |r| texts(r, &[Role::System, Role::Developer]), lost_with: &["messages["] },
    Feature { name: "texts", of: |r| texts(r, &[Role::User, Role::Assistant]), lost_with: &["messages["] },
    Feature {
        name: "images",
        of: |r| media(r, |k| if let PartKind::Image(m) = k { Some(&m.source) } else { None }),
        lost_with: &["messages["],
    },
    Feature {
        name: "documents",
        of: |r| media(r, |k| if let PartKind::Document(m) = k { Some(&m.source) } else { None }),
        lost_with: &["messages["],
    },
    Feature {
        name: "sound",
        of: |r| media(r, |k| if let PartKind::Audio(m) = k { Some(&m.source) } else { None }),
        lost_with: &["messages["],
    },
    Feature {
        name: "reasoning of earlier turns",
        of: |r| {
            let kept = parts(r, &[Role::Assistant]).filter(|p| matches!(p.kind, PartKind::Thinking(_) | PartKind::RedactedThinking(_)));
            Some(kept.count()).filter(|n| *n > 0).map(|n| json!(n))
        },
        lost_with: &["messages["],
    },
    Feature {
        name: "tool calls of earlier turns",
        of: |r| {
            let calls = parts(r, &[Role::Assistant]).filter_map(|p| match &p.kind {
                PartKind::ToolCall(c) if c.kind != ToolCallKind::Server => Some(json!([c.id, c.name, arguments(&c.arguments)])),
                _ => None,
            });
            list(calls.collect())
        },
        lost_with: &["messages["],
    },
    Feature {
        name: "calls that a provider ran in earlier turns",
        of: |r| {
            let ran = parts(r, &[Role::Assistant]).filter(|p| match &p.kind {
                PartKind::ToolCall(call) => call.kind == ToolCallKind::Server,
                PartKind::Other(_) => true,
                _ => false,
            });
            Some(ran.count()).filter(|n| *n > 0).map(|n| json!(n))
        },
        lost_with: &["messages["],
    },
    Feature {
        name: "results of tools",
        of: |r| {
            let told = results(r).map(|result| {
                let texts =
                    result.content.iter().filter_map(|p| if let ResultPartKind::Text(t) = &p.kind { Some(t.as_str()) } else { None });
                json!([result.tool_call_id, texts.collect::<String>()])
            });
            list(told.collect())
        },
        lost_with: &["messages["],
    },
    Feature {
        name: "media in results of tools",
        of: |r| {
            let media = results(r).flat_map(|result| &result.content).filter(|p| !matches!(p.kind, ResultPartKind::Text(_)));
            Some(media.count()).filter(|n| *n > 0).map(|n| json!(n))
        },
        lost_with: &["messages["],
    },
    Feature {
        name: "results marked as errors",
        of: |r| Some(results(r).filter(|result| result.is_error == Some(true)).count()).filter(|n| *n > 0).map(|n| json!(n)),
        lost_with: &[".is_error"],
    },
    Feature {
        name: "cache breakpoints",
        of: |r| {
            let parts = r.messages.iter().flat_map(|m| &m.parts).filter(|p| p.cache_control.is_some()).count();
            let tools = r.tools.iter().filter(|t| t.cache_control.is_some()).count();
            Some(parts + tools).filter(|n| *n > 0).map(|n| json!(n))
        },
        lost_with: &[".cache_control", "cache_control", "messages[", "tools["],
    },
    Feature {
        name: "names of participants",
        of: |r| list(r.messages.iter().filter_map(|m| m.name.as_ref()).map(|n| json!(n)).collect()),
        lost_with: &[".name"],
    },
    Feature {
        name: "functions",
        of: |r| {
            let functions = r.tools.iter().filter_map(|t| match &t.kind {
                ToolKind::Function(f) => {
                    let parameters: Value =
                        f.parameters.as_deref().map(|p| serde_json::from_str(p).unwrap_or_default()).unwrap_or_default();
                    Some(json!([f.name, f.description, parameters]))
                }
                ToolKind::Other(_) => None,
            });
            list(functions.collect())
        },
        lost_with: &[],
    },
    Feature {
        name: "strict functions",
        of: |r| {
            let strict = r.tools.iter().filter(|t| matches!(&t.kind, ToolKind::Function(f) if f.strict == Some(true)));
            Some(strict.count()).filter(|n| *n > 0).map(|n| json!(n))
        },
        lost_with: &[".strict"],
    },
    Feature {
        name: "tools of the provider",
        of: |r| Some(r.tools.iter().filter(|t| matches!(t.kind, ToolKind::Other(_))).count()).filter(|n| *n > 0).map(|n| json!(n)),
        lost_with: &["tools["],
    },
    Feature {
        name: "choice of a tool",
        of: |r| r.tool_choice.as_ref().map(|c| json!(format!("{c:?}"))),
        lost_with: &["tool_choice", "tools["],
    },
    Feature {
        name: "parallel tool calls",
        of: |r| r.params.parallel_tool_calls.map(|p| json!(p)),
        lost_with: &["parallel_tool_calls", "tools["],
    },
    Feature { name: "temperature", of: |r| number(r.params.temperature), lost_with: &["temperature"] },
    Feature { name: "top_p", of: |r| number(r.params.top_p), lost_with: &["top_p"] },
    Feature { name: "top_k", of: |r| r.params.top_k.map(|k| json!(k)), lost_with: &["top_k"] },
    Feature { name: "limit of tokens", of: |r| r.params.max_tokens.map(|n| json!(n)), lost_with: &["max_tokens"] },
    Feature { name: "stop sequences", of: |r| list(r.params.stop.iter().map(|s| json!(s)).collect()), lost_with: &["stop"] },
    Feature {
        name: "penalties",
        of: |r| number(r.params.presence_penalty.or(r.params.frequency_penalty).filter(|p| *p != 0.0)),
        lost_with: &["presence_penalty", "frequency_penalty"],
    },
    Feature { name: "seed", of: |r| r.params.seed.map(|s| json!(s)), lost_with: &["seed"] },
    Feature { name: "alternatives asked for", of: |r| r.params.n.filter(|n| *n > 1).map(|n| json!(n)), lost_with: &["n"] },
    Feature {
        name: "effort or budget of reasoning",
        of: |r| {
            let effort = r.params.reasoning_effort.as_ref().map(|e| json!(e));
            effort.or_else(|| r.params.thinking.as_ref().map(|t| json!(format!("{t:?}"))))
        },
        lost_with: &["reasoning_effort", "thinking"],
    },
    Feature {
        name: "structured output",
        of: |r| match r.params.response_format.as_ref()? {
            llm_codec::hub::ResponseFormat::Text => None,
            llm_codec::hub::ResponseFormat::JsonObject => Some(json!("json")),
            llm_codec::hub::ResponseFormat::JsonSchema(format) => {
                let format: Value = serde_json::from_str(format).unwrap_or_default();
                Some(format["schema"].clone())
            }
        },
        lost_with: &["response_format"],
    },
    Feature { name: "end user", of: |r| r.params.user.as_ref().map(|u| json!(u)), lost_with: &["user"] },
];
