//! The fixture `redacts`: a stream filter over batches.

use fixture_redacts::Redacts;
use llm_codec::hub::{BlockDelta, BlockId, BlockStart, Delta, Part, StreamEvent, StreamStart};
use serde_json::json;
use wasmgate_sdk::{Filter as _, StreamFilter as _};

use crate::component::Host;
use crate::{Case, Provider, Setup, native, shown};

const AT: BlockId = BlockId { choice: 0, block: 0 };

fn text(text: &str) -> StreamEvent {
    StreamEvent::BlockDelta(BlockDelta { at: AT, delta: Delta::Text(text.into()), extras: Vec::new() })
}

fn begin() -> Vec<StreamEvent> {
    let start =
        StreamStart { format: "openai-chat".into(), id: "x".into(), model: "m".into(), created: None, usage: None, extras: Vec::new() };
    vec![StreamEvent::Start(start), StreamEvent::BlockStart(BlockStart { at: AT, part: Part::text("") })]
}

fn end() -> Vec<StreamEvent> {
    vec![StreamEvent::BlockStop(AT), StreamEvent::End]
}

#[test]
fn the_same_edits_of_every_batch() {
    let providers = &[Provider { name: "echo", kind: "echo", models: &[], default_model: None }];
    let setup = Setup { name: "redacts", config: json!({}), providers };
    let redacts: Redacts = native::start(&setup).expect("it takes its configuration");
    let host = Host::start(&setup).expect("it takes its configuration");
    let streams: [(&str, Vec<Vec<StreamEvent>>); 6] = [
        ("in one batch", vec![[begin(), vec![text("a sec"), text("ret and a secret")], end()].concat()]),
        ("in a batch for each", vec![begin(), vec![text("plain")], vec![text("a secret")], vec![text("more")], end()]),
        ("held back", vec![begin(), vec![text("a sec")], vec![text("a sec"), text("ret")], end()]),
        ("held back at the end", vec![begin(), vec![text("a sec")], [vec![text("a sec")], end()].concat()]),
        ("no text", vec![begin(), vec![StreamEvent::Ping], end()]),
        ("other letters", vec![begin(), vec![text("Grüße 😀 secret")], vec![text("")], end()]),
    ];
    for model in ["m", "holds", "stops", "rejects", "unseen"] {
        for (name, batches) in &streams {
            let case = Case::new("a stream", model);
            let (call, request) = native::request(&case);
            let native = redacts.open(&call, &request.handle());
            let (call, exchange) = host.request(&case);
            let component = host.wait(host.extension().open_filter(&exchange, &call));
            let (Some(mut native), Some(mut component)) = (native, component) else {
                assert_eq!(model, "unseen", "{name}: only one side looks");
                continue;
            };
            assert_ne!(model, "unseen", "{name}");
            for (number, batch) in batches.iter().enumerate() {
                let last = number + 1 == batches.len();
                let native = shown::native::batch(&native.events(batch, last));
                let component = shown::component::batch(&host.wait(component.events(batch, 100, last)));
                assert_eq!(component, native, "{model}, {name}, batch {number}: the component, and the native code");
            }
        }
    }
}
