//! What the codec costs: `cargo bench -p llm-codec`.

use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use llm_codec::hub::{Collector, StreamEvent};
use llm_codec::json::Document;
use llm_codec::passthrough::{StreamTap, forward};
use llm_codec::{EncodeOptions, Format, StreamOptions};

fn main() {
    divan::main();
}

const FORMATS: [Format; 4] = Format::ALL;
const KB: usize = 1024;

/// A request of about `size` bytes: turns of a few hundred characters with line breaks, as conversations are.
fn request(format: Format, size: usize) -> Vec<u8> {
    let line = "The quick brown fox jumps over the lazy dog, and then it explains at some length why it did so.\\n";
    let text = line.repeat((size / 12 / line.len()).clamp(1, 40));
    let mut messages = Vec::new();
    while messages.iter().map(String::len).sum::<usize>() < size.saturating_sub(500) {
        let role = if messages.len() % 2 == 0 { "user" } else { "assistant" };
        let kind = match (format, role) {
            (Format::OpenaiResponses, "user") => "input_text",
            (Format::OpenaiResponses, _) => "output_text",
            _ => "text",
        };
        messages.push(match format {
            Format::GeminiGenerate => format!(r#"{{"role":"{}","parts":[{{"text":"{text}"}}]}}"#, role.replace("assistant", "model")),
            _ => format!(r#"{{"role":"{role}","content":[{{"type":"{kind}","text":"{text}"}}]}}"#),
        });
    }
    let tool = match format {
        Format::OpenaiChat => {
            r#"{"type":"function","function":{"name":"get_weather","parameters":{"type":"object","properties":{"city":{"type":"string"}}}}}"#
        }
        Format::AnthropicMessages => r#"{"name":"get_weather","input_schema":{"type":"object","properties":{"city":{"type":"string"}}}}"#,
        Format::OpenaiResponses => {
            r#"{"type":"function","name":"get_weather","parameters":{"type":"object","properties":{"city":{"type":"string"}}}}"#
        }
        Format::GeminiGenerate => {
            r#"{"functionDeclarations":[{"name":"get_weather","parameters":{"type":"OBJECT","properties":{"city":{"type":"STRING"}}}}]}"#
        }
        Format::OpenaiCompletions => unreachable!("only formats of conversations are measured"),
    };
    if format == Format::GeminiGenerate {
        let config = r#""generationConfig":{"maxOutputTokens":1000,"temperature":0.5}"#;
        return format!(r#"{{{config},"tools":[{tool}],"contents":[{}]}}"#, messages.join(",")).into_bytes();
    }
    let (limit, list) = if format == Format::OpenaiResponses { ("max_output_tokens", "input") } else { ("max_tokens", "messages") };
    format!(r#"{{"model":"model-1","{limit}":1000,"temperature":0.5,"stream":true,"tools":[{tool}],"{list}":[{}]}}"#, messages.join(","))
        .into_bytes()
}

fn answer(format: Format) -> Vec<u8> {
    let text = "A sentence of the answer. ".repeat(40);
    match format {
        Format::OpenaiChat => format!(
            r#"{{"id":"chatcmpl-1","object":"chat.completion","created":1,"model":"m","choices":[{{"index":0,"message":{{"role":"assistant","content":"{text}","refusal":null,"annotations":[]}},"logprobs":null,"finish_reason":"stop"}}],"usage":{{"prompt_tokens":10,"completion_tokens":200,"total_tokens":210,"prompt_tokens_details":{{"cached_tokens":0}},"completion_tokens_details":{{"reasoning_tokens":0}}}},"service_tier":"default","system_fingerprint":"fp_1"}}"#
        ),
        Format::AnthropicMessages => format!(
            r#"{{"id":"msg_1","type":"message","role":"assistant","model":"m","content":[{{"type":"text","text":"{text}"}}],"stop_reason":"end_turn","stop_sequence":null,"usage":{{"input_tokens":10,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"output_tokens":200,"service_tier":"standard"}}}}"#
        ),
        Format::OpenaiResponses => format!(
            r#"{{"id":"resp_1","object":"response","created_at":1,"status":"completed","error":null,"incomplete_details":null,"model":"m","output":[{{"id":"msg_1","type":"message","status":"completed","role":"assistant","content":[{{"type":"output_text","text":"{text}","annotations":[]}}]}}],"usage":{{"input_tokens":10,"input_tokens_details":{{"cached_tokens":0}},"output_tokens":200,"output_tokens_details":{{"reasoning_tokens":0}},"total_tokens":210}}}}"#
        ),
        Format::GeminiGenerate => format!(
            r#"{{"candidates":[{{"content":{{"parts":[{{"text":"{text}"}}],"role":"model"}},"finishReason":"STOP","index":0}}],"usageMetadata":{{"promptTokenCount":10,"candidatesTokenCount":200,"totalTokenCount":210,"promptTokensDetails":[{{"modality":"TEXT","tokenCount":10}}]}},"modelVersion":"m","responseId":"r"}}"#
        ),
        Format::OpenaiCompletions => unreachable!("only formats of conversations are measured"),
    }
    .into_bytes()
}

const CHUNKS: usize = 200;

/// A stream of 200 pieces, as its provider frames it.
fn stream(format: Format) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    match format {
        Format::OpenaiChat => {
            let head = r#"{"id":"chatcmpl-C1KMJC4uUHgeJ4A0e8jM8wufrmdxX","object":"chat.completion.chunk","created":1754432623,"model":"gpt-4o-2024-08-06","service_tier":"default","system_fingerprint":"fp_ff25b2783a","choices":[{"index":0,"delta":"#;
            let tail = r#","logprobs":null,"finish_reason":null}],"usage":null,"obfuscation":"pJt0pVt5b"}"#;
            frames.push(format!("data: {head}{{\"role\":\"assistant\",\"content\":\"\",\"refusal\":null}}{tail}\n\n"));
            frames.extend((0..CHUNKS).map(|i| format!("data: {head}{{\"content\":\" word{i}\"}}{tail}\n\n")));
            frames.push(format!("data: {head}{{}}{}\n\n", tail.replacen("null}]", "\"stop\"}]", 1)));
            frames.push("data: {\"id\":\"c\",\"choices\":[],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":200,\"total_tokens\":209}}\n\ndata: [DONE]\n\n".into());
        }
        Format::AnthropicMessages => {
            frames.push("event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"m\",\"content\":[],\"stop_reason\":null,\"stop_sequence\":null,\"usage\":{\"input_tokens\":9,\"output_tokens\":1}}}\n\nevent: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n".into());
            frames.extend((0..CHUNKS).map(|i| format!("event: content_block_delta\ndata: {{\"type\":\"content_block_delta\",\"index\":0,\"delta\":{{\"type\":\"text_delta\",\"text\":\" word{i}\"}}}}\n\n")));
            frames.push("event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\nevent: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\",\"stop_sequence\":null},\"usage\":{\"output_tokens\":200}}\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n".into());
        }
        Format::OpenaiResponses => {
            let frame = |kind: &str, rest: &str| format!("event: {kind}\ndata: {{\"type\":\"{kind}\",\"sequence_number\":1,{rest}}}\n\n");
            let head = r#""response":{"id":"resp_1","object":"response","created_at":1,"model":"m","status":"#;
            let item = r#""output_index":0,"item":{"id":"msg_1","type":"message","role":"assistant","status":"#;
            let place = r#""item_id":"msg_1","output_index":0,"content_index":0"#;
            frames.push(frame("response.created", &format!(r#"{head}"in_progress","output":[]}}"#)));
            frames.push(frame("response.output_item.added", &format!(r#"{item}"in_progress","content":[]}}"#)));
            frames
                .extend((0..CHUNKS).map(|i| frame("response.output_text.delta", &format!(r#"{place},"delta":" word{i}","logprobs":[]"#))));
            let text: String = (0..CHUNKS).map(|i| format!(" word{i}")).collect();
            let content = format!(r#""content":[{{"type":"output_text","text":"{text}","annotations":[]}}]}}"#);
            frames.push(frame("response.output_item.done", &format!(r#"{item}"completed",{content}"#)));
            let usage = r#""usage":{"input_tokens":9,"output_tokens":200}"#;
            frames.push(frame("response.completed", &format!(r#"{head}"completed","output":[],{usage}}}"#)));
        }
        Format::GeminiGenerate => {
            let chunk = |text: &str, more: &str, output: usize| {
                format!(
                    "data: {{\"candidates\": [{{\"content\": {{\"parts\": [{{\"text\": \"{text}\"}}],\"role\": \"model\"}},{more}\"index\": 0}}],\"usageMetadata\": {{\"promptTokenCount\": 9,\"candidatesTokenCount\": {output},\"totalTokenCount\": {},\"promptTokensDetails\": [{{\"modality\": \"TEXT\",\"tokenCount\": 9}}]}},\"modelVersion\": \"gemini-3.5-flash\",\"responseId\": \"FyIhav7bJNyw4-EP6eCsqA0\"}}\r\n\r\n",
                    output + 9
                )
            };
            frames.extend((0..CHUNKS).map(|i| chunk(&format!(" word{i}"), "", i)));
            frames.push(chunk("", "\"finishReason\": \"STOP\",", CHUNKS));
        }
        Format::OpenaiCompletions => unreachable!("only formats of conversations are measured"),
    }
    frames.into_iter().map(String::into_bytes).collect()
}

fn events(format: Format) -> Vec<StreamEvent> {
    let (mut decoder, mut events) = (format.event_decoder(), Vec::new());
    stream(format).iter().for_each(|frame| decoder.push(frame, &mut events));
    events
}

#[divan::bench(args = [KB, 100 * KB, 1024 * KB])]
fn document_parse(bencher: Bencher, size: usize) {
    let body = request(Format::OpenaiChat, size);
    bencher.counter(BytesCount::new(body.len())).bench(|| Document::parse(black_box(&body)).unwrap().get("model").is_some());
}

/// One long string, as an image is.
#[divan::bench]
fn document_parse_base64_1mb(bencher: Bencher) {
    let body = format!(r#"{{"model":"m","image":"{}"}}"#, "A".repeat(1024 * KB)).into_bytes();
    bencher.counter(BytesCount::new(body.len())).bench(|| Document::parse(black_box(&body)).unwrap().get("model").is_some());
}

/// For comparison: what `serde_json` needs to check the same bytes.
#[divan::bench(args = [KB, 1024 * KB])]
fn serde_ignored(bencher: Bencher, size: usize) {
    let body = request(Format::OpenaiChat, size);
    bencher
        .counter(BytesCount::new(body.len()))
        .bench(|| serde_json::from_slice::<&serde_json::value::RawValue>(black_box(&body)).unwrap().get().len());
}

/// A request that is forwarded under another model.
#[divan::bench(args = [KB, 100 * KB, 1024 * KB])]
fn parse_and_splice(bencher: Bencher, size: usize) {
    let body = request(Format::OpenaiChat, size);
    bencher.counter(BytesCount::new(body.len())).bench(|| {
        let document = Document::parse(black_box(&body)).unwrap();
        forward(&body, &document, Format::OpenaiChat, "model-2", true).len()
    });
}

#[divan::bench(args = [KB, 100 * KB], consts = [0, 1, 3])]
fn decode_request<const F: usize>(bencher: Bencher, size: usize) {
    let body = request(FORMATS[F], size);
    bencher.counter(BytesCount::new(body.len())).bench(|| FORMATS[F].decode_request(black_box(&body)).unwrap());
}

#[divan::bench(args = [KB, 100 * KB], consts = [0, 1, 3])]
fn encode_request<const F: usize>(bencher: Bencher, size: usize) {
    let body = request(FORMATS[F], size);
    let hub = FORMATS[F].decode_request(&body).unwrap();
    bencher.counter(BytesCount::new(body.len())).bench(|| FORMATS[F].encode_request(black_box(&hub), &EncodeOptions::default()));
}

/// Encode for the other format.
#[divan::bench(args = [KB, 100 * KB], consts = [0, 1])]
fn cross_request<const F: usize>(bencher: Bencher, size: usize) {
    let body = request(FORMATS[F], size);
    let hub = FORMATS[F].decode_request(&body).unwrap();
    bencher.counter(BytesCount::new(body.len())).bench(|| FORMATS[1 - F].encode_request(black_box(&hub), &EncodeOptions::default()));
}

#[divan::bench(consts = [0, 1, 3])]
fn decode_answer<const F: usize>(bencher: Bencher) {
    let body = answer(FORMATS[F]);
    bencher.counter(BytesCount::new(body.len())).bench(|| FORMATS[F].decode_answer(black_box(&body)).unwrap());
}

#[divan::bench(consts = [0, 1, 3])]
fn encode_answer<const F: usize>(bencher: Bencher) {
    let hub = FORMATS[F].decode_answer(&answer(FORMATS[F])).unwrap();
    bencher.bench(|| FORMATS[F].encode_answer(black_box(&hub), &StreamOptions::default()));
}

#[divan::bench(consts = [0, 1, 3])]
fn stream_200_decode<const F: usize>(bencher: Bencher) {
    let frames = stream(FORMATS[F]);
    bencher.counter(ItemsCount::new(CHUNKS)).bench(|| {
        let (mut decoder, mut out) = (FORMATS[F].event_decoder(), Vec::new());
        for frame in &frames {
            out.clear();
            decoder.push(black_box(frame), &mut out);
        }
        out.len()
    });
}

/// From this format's events to the other's bytes.
#[divan::bench(consts = [0, 1])]
fn stream_200_encode_cross<const F: usize>(bencher: Bencher) {
    let events = events(FORMATS[F]);
    bencher.counter(ItemsCount::new(CHUNKS)).bench(|| {
        let (mut encoder, mut out) = (FORMATS[1 - F].event_encoder(StreamOptions::default()), Vec::new());
        let mut total = 0;
        for event in &events {
            out.clear();
            encoder.events(black_box(std::slice::from_ref(event)), &mut out);
            total += out.len();
        }
        total
    });
}

#[divan::bench(consts = [0, 1])]
fn stream_200_collect<const F: usize>(bencher: Bencher) {
    let events = events(FORMATS[F]);
    bencher.counter(ItemsCount::new(CHUNKS)).bench(|| {
        let mut collector = Collector::new(FORMATS[F]);
        events.iter().for_each(|e| collector.push(e));
        collector.finish().unwrap()
    });
}

#[divan::bench(consts = [0, 1])]
fn stream_200_tap<const F: usize>(bencher: Bencher) {
    let frames = stream(FORMATS[F]);
    bencher.counter(ItemsCount::new(CHUNKS)).bench(|| {
        let (mut tap, mut out) = (StreamTap::new(FORMATS[F], true), Vec::new());
        for frame in &frames {
            out.clear();
            tap.push(black_box(frame), &mut out);
        }
        tap.facts().ended
    });
}
