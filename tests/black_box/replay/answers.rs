//! Recorded answers, as every dialect's client gets them.

use llm_codec::Format;
use llm_codec::hub::{ChatAnswer, ErrorClass};
use serde_json::{Value, json};
use wasmgate_tests::Answer;

use super::features::{ANSWERS, Outcome, Tally, count, reason};
use super::load::{Recording, Response};
use super::speaker::Speaker;
use super::{CLIENTS, Stage, known, losses, model, read};

/// What came of it.
#[derive(Default)]
pub struct Report {
    pub tally: Tally,
    pub exchanges: usize,
    /// Requests of which the other format has nothing to say.
    pub silent: usize,
    pub wrong: Vec<String>,
}

/// A request of a client whose answer is the recording: the recorded one where that is the client's format, else as much of it as the
/// client's format can say.
fn request(r: &Recording, index: usize, client: &Speaker) -> (String, Value) {
    let streamed = matches!(r.response, Response::Stream(_));
    let simple = || client.says("What did you say?");
    let mut request = match &r.request {
        Some(request) if client.format == r.format => request.clone(),
        Some(request) => crossed(request, r.format, client.format).unwrap_or_else(simple),
        None => simple(),
    };
    if streamed && client.format == Format::OpenaiChat {
        request["stream_options"] = json!({"include_usage": true});
    }
    client.ask(request, &model(r.format, index), streamed)
}

/// A request in another format; none when that cannot say it, or has no words left for it.
fn crossed(request: &Value, from: Format, to: Format) -> Option<Value> {
    let hub = from.decode_request(request.to_string().as_bytes()).ok().filter(|hub| from.portable(hub).is_ok())?;
    let encoded = to.encode_request(&hub, &llm_codec::EncodeOptions::default()).body;
    to.decode_request(&encoded).ok()?;
    Some(serde_json::from_slice(&encoded).expect("an encoded request is JSON"))
}

/// All recordings, for all clients.
pub async fn run(stage: &Stage) -> Report {
    let recordings = &stage.recordings;
    let exchanges = recordings
        .iter()
        .enumerate()
        .filter(|(_, r)| !matches!(r.response, Response::Nothing))
        .flat_map(|(index, r)| CLIENTS.iter().map(move |client| (request(r, index, client), (index, client.format))));
    let mut report = Report::default();
    for ((index, format), answer) in stage.all(exchanges).await {
        let r = &recordings[index];
        report.exchanges += 1;
        if let Err(wrong) = check(r, format, &answer, &mut report.tally) {
            let what: String = wrong.chars().take(700).collect();
            report.wrong.push(format!("{}/{} ({}) for {}: {what}", r.folder, r.name, r.format.as_str(), format.as_str()));
        }
    }
    report
}

fn check(r: &Recording, client: Format, answer: &Answer, tally: &mut Tally) -> Result<(), String> {
    let streamed = matches!(r.response, Response::Stream(_));
    let recorded = match &r.response {
        Response::Body(body) if r.status >= 400 => return error(r, client, answer, body.to_string().as_bytes()),
        Response::Body(body) => read(r.format, false, body.to_string().as_bytes()),
        Response::Stream(bytes) => read(r.format, true, bytes),
        Response::Nothing => return Ok(()),
    };
    let recorded = match recorded {
        Ok(recorded) => recorded,
        Err(expected) => {
            let told = told(client, streamed, answer).err().ok_or("an error became an answer")?;
            return same_kind(expected.class, told, r.format, client);
        }
    };
    if answer.status != 200 {
        return Err(format!("{} {}", answer.status, answer.text()));
    }
    let got = read(client, streamed, &answer.body).map_err(|e| format!("{e:?}"))?;
    let losses = losses(r, client);
    let header = answer.header("x-wasmgate-losses");
    if !streamed && losses.is_empty() == header.contains("answer.") {
        return Err(format!("the header says `{header}`, and {losses:?} were lost"));
    }
    let mut wrong = Vec::new();
    for (at, feature) in ANSWERS.iter().enumerate() {
        let Some(expected) = (feature.of)(&recorded) else { continue };
        let found = (feature.of)(&got);
        if found.as_ref() == Some(&expected) {
            count(tally, at, client, r.format, &Outcome::Pass);
            continue;
        }
        let outcome = match feature.explained(&losses) {
            Some(loss) => Some(Outcome::Lossy(reason(loss))),
            None => known::answer(feature.name, client, r.format, &recorded, &got).map(Outcome::Known),
        };
        match outcome {
            Some(outcome) => count(tally, at, client, r.format, &outcome),
            None => wrong.push(format!("{} is {}, recorded was {expected}", feature.name, found.unwrap_or_default())),
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("; ")) }
}

/// What the client was told: an answer, or a kind of error, as a response or at the end of a stream.
fn told(client: Format, streamed: bool, answer: &Answer) -> Result<ChatAnswer, ErrorClass> {
    if answer.status == 200 {
        read(client, streamed, &answer.body).map_err(|e| e.class)
    } else {
        Err(client.decode_error(answer.status, None, &answer.body).class)
    }
}

fn error(r: &Recording, client: Format, answer: &Answer, body: &[u8]) -> Result<(), String> {
    let expected = r.format.decode_error(r.status, None, body).class;
    let found = told(client, false, answer).err().ok_or("an error became an answer")?;
    same_kind(expected, found, r.format, client)?;
    if r.retry_after.is_some() && answer.header("retry-after").is_empty() {
        return Err("retry-after got lost".into());
    }
    Ok(())
}

fn same_kind(expected: ErrorClass, found: ErrorClass, upstream: Format, client: Format) -> Result<(), String> {
    let like = match expected {
        // The gateway's key is no business of the client's.
        ErrorClass::Authentication => found == ErrorClass::Upstream,
        // Anthropic has one word for all that is wrong with a request, and one for what is not there.
        ErrorClass::ContextTooLong | ErrorClass::ContentFiltered => {
            found == expected || (upstream != client && found == ErrorClass::InvalidRequest)
        }
        // Google has one word for what is used up, be it by the minute or for good.
        ErrorClass::QuotaExceeded if upstream != client && client == Format::GeminiGenerate => found == ErrorClass::RateLimited,
        // Google alone has a word for it; in a stream nothing else tells it.
        ErrorClass::Cancelled if upstream != client => [expected, ErrorClass::Upstream].contains(&found),
        ErrorClass::Protocol | ErrorClass::Interrupted => [expected, ErrorClass::Upstream].contains(&found),
        _ => found == expected,
    };
    if like { Ok(()) } else { Err(format!("an error of the kind {} became {}", expected.name(), found.name())) }
}
