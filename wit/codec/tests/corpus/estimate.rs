//! The estimate of a request's tokens against what providers counted for the same request.

use llm_codec::hub::{ChatRequest, Collector, PartKind, ToolKind};
use llm_codec::{Format, estimate};

use crate::load::{self, Recording, Response};
use crate::operations;

/// Whose models, how many recordings at least, and the largest median and 90th percentile of the error, as parts of what was counted.
/// Most recorded requests are short, and of short ones what hosts add in secret is most: hence the last group.
const BOUNDS: [(&str, usize, f64, f64); 4] =
    [("claude", 50, 0.15, 0.60), ("openai", 50, 0.25, 0.50), ("others", 35, 0.55, 0.95), ("gemini", 20, 0.55, 2.0)];

#[test]
fn recorded_usage() {
    let Some(root) = load::root() else { return };
    let mut errors: [Vec<f64>; BOUNDS.len()] = Default::default();
    for recording in load::recordings(&root).0 {
        let Some((request, counted)) = counted(&recording) else { continue };
        let group = match recording.folder.as_str() {
            _ if request.model.contains("claude") => 0,
            "openai" => 1,
            "gemini" | "vertex" => 3,
            _ => 2,
        };
        errors[group].push((estimate::input_tokens(&request) as f64 - counted as f64).abs() / counted as f64);
    }
    for ((whose, least, median, most), mut errors) in BOUNDS.into_iter().zip(errors) {
        errors.sort_by(f64::total_cmp);
        let count = errors.len();
        if !load::is_shared(&root) && count < least {
            continue;
        }
        assert!(count >= least, "{whose}: {count} recordings only");
        let at = |share: f64| errors[((count - 1) as f64 * share) as usize];
        println!("{whose}: {count} recordings, error median {:.0} %, 90th percentile {:.0} %", at(0.5) * 100.0, at(0.9) * 100.0);
        assert!(at(0.5) <= median && at(0.9) <= most, "{whose}: median {:.3}, 90th percentile {:.3}", at(0.5), at(0.9));
    }
}

/// The same for what providers' own counters said, which is what the estimate stands in for.
#[test]
fn recorded_counts() {
    let Some(root) = load::root() else { return };
    let mut errors = Vec::new();
    for (name, format, mut body, counted) in operations::counted(&root) {
        if format == Format::AnthropicMessages {
            body["max_tokens"] = 1.into();
        }
        let request = format.decode_request(body.to_string().as_bytes()).unwrap_or_else(|e| panic!("{name}: {e}"));
        let estimate = estimate::input_tokens(&request);
        println!("{name}: {counted} counted, {estimate} estimated");
        errors.push((estimate as f64 - counted as f64).abs() / counted as f64);
    }
    errors.sort_by(f64::total_cmp);
    if load::is_shared(&root) {
        assert!(errors.len() >= 9, "{} counts only", errors.len());
        let (median, most) = (errors[errors.len() / 2], errors[errors.len() - 1]);
        assert!(median <= 0.15 && most <= 0.30, "median {median:.3}, most {most:.3}");
    }
}

/// A request whose tokens can be told from what stands in it, and how many the provider counted.
fn counted(recording: &Recording) -> Option<(ChatRequest, u64)> {
    let body = recording.request.as_ref().filter(|_| recording.status == 200)?;
    let elsewhere =
        ["previous_response_id", "conversation", "prompt", "mcp_servers", "container", "plugins", "web_search_options", "audio"];
    if elsewhere.iter().any(|member| !body[*member].is_null()) {
        return None;
    }
    let request = recording.format.decode_request(body.to_string().as_bytes()).ok()?;
    let parts = || request.messages.iter().flat_map(|m| &m.parts);
    // Of a picture the size counts, and a provider's own tool brings instructions that nobody sees.
    let plain = parts().all(|p| !matches!(p.kind, PartKind::Image(_) | PartKind::Audio(_) | PartKind::Document(_) | PartKind::Other(_)))
        && request.tools.iter().all(|t| matches!(t.kind, ToolKind::Function(_)));
    let usage = match &recording.response {
        Response::Body(answer) => recording.format.decode_answer(answer.to_string().as_bytes()).ok()?.usage?,
        Response::Stream(bytes) => streamed(recording.format, bytes)?,
        Response::Nothing => return None,
    };
    (plain && usage.input_tokens > 0).then_some((request, usage.input_tokens))
}

fn streamed(format: Format, bytes: &[u8]) -> Option<llm_codec::hub::Usage> {
    let (mut events, mut decoder) = (Vec::new(), format.event_decoder());
    decoder.push(bytes, &mut events);
    decoder.finish(&mut events);
    let mut collector = Collector::new(format);
    events.iter().for_each(|event| collector.push(event));
    collector.finish().ok()?.usage
}
