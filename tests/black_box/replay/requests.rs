//! Recorded requests, sent by their own dialect's client to providers of every format.

use std::collections::HashMap;

use llm_codec::hub::ChatRequest;
use llm_codec::{EncodeOptions, Format};

use super::answers::Report;
use super::features::{Outcome, REQUESTS, count, reason};
use super::load::Response;
use super::speaker::Speaker;
use super::{CLIENTS, Stage, known};

/// All recorded requests, to all formats of upstreams.
pub async fn run(stage: &Stage) -> Report {
    let mut requests = Vec::new();
    for (index, r) in stage.recordings.iter().enumerate().filter(|(_, r)| r.status < 400) {
        let Some(request) = &r.request else { continue };
        let client = Speaker::of(r.format);
        let streamed = client.streams(request, matches!(r.response, Response::Stream(_)));
        for upstream in CLIENTS {
            // A model of its own, so that what arrives can be told apart.
            let request = client.ask(request.clone(), &format!("{}/q{index}", upstream.provider), streamed);
            requests.push((request, (index, upstream.format)));
        }
    }
    let before = stage.upstream.received().len();
    let answers = stage.all(requests).await;
    let received = stage.upstream.received();
    let asked = received[before..].iter().filter_map(|sent| Speaker::asked(sent).map(|(s, model)| ((s.format, model), sent)));
    let received: HashMap<_, _> = asked.collect();
    let mut report = Report::default();
    for ((index, upstream), answer) in answers {
        let r = &stage.recordings[index];
        report.exchanges += 1;
        let mut fail = |what: String| {
            let what: String = what.chars().take(700).collect();
            report.wrong.push(format!("{}/{} ({}) to {}: {what}", r.folder, r.name, r.format.as_str(), upstream.as_str()));
        };
        let bytes = r.request.as_ref().map(ToString::to_string).unwrap_or_default();
        let mut said = match r.format.decode_request(bytes.as_bytes()) {
            Ok(said) => said,
            Err(e) => {
                fail(e.to_string());
                continue;
            }
        };
        if r.format != upstream && r.format.portable(&said).is_err() {
            if answer.status != 400 {
                fail(format!("only one provider could answer it, and it was answered with {}", answer.status));
            }
            continue;
        }
        // What a format can say may depend on the model.
        said.model = format!("q{index}");
        let Some(sent) = received.get(&(upstream, said.model.clone())) else {
            fail(format!("nothing arrived: {} {}", answer.status, answer.text()));
            continue;
        };
        let losses = if r.format == upstream { Vec::new() } else { upstream.encode_request(&said, &EncodeOptions::default()).losses };
        let header = answer.header("x-wasmgate-losses");
        if losses.is_empty() != header.is_empty() {
            fail(format!("the header says `{header}`, and {losses:?} were lost"));
        }
        let arrived = match upstream.decode_request(&sent.body) {
            Ok(arrived) => arrived,
            Err(_) if known::silent(&said, &losses) => {
                report.silent += 1;
                continue;
            }
            Err(e) => {
                fail(format!("what arrived is no request: {e}"));
                continue;
            }
        };
        for (at, outcome) in compare(r.format, upstream, &said, &arrived, &losses) {
            match outcome {
                Ok(outcome) => count(&mut report.tally, at, r.format, upstream, &outcome),
                Err(what) => fail(what),
            }
        }
    }
    report
}

fn compare(
    client: Format,
    upstream: Format,
    said: &ChatRequest,
    arrived: &ChatRequest,
    losses: &[llm_codec::Loss],
) -> Vec<(usize, Result<Outcome, String>)> {
    let mut outcomes = Vec::new();
    for (at, feature) in REQUESTS.iter().enumerate() {
        let Some(expected) = (feature.of)(said) else { continue };
        let found = (feature.of)(arrived);
        if found.as_ref() == Some(&expected) {
            outcomes.push((at, Ok(Outcome::Pass)));
            continue;
        }
        let outcome = match feature.explained(losses) {
            Some(loss) => Some(Outcome::Lossy(reason(loss))),
            None => known::request(feature.name, client, upstream, said, arrived).map(Outcome::Known),
        };
        let told = outcome.ok_or_else(|| format!("{} is {}, sent was {expected}", feature.name, found.unwrap_or_default()));
        outcomes.push((at, told));
    }
    outcomes
}
