//! What a trace says of an answer besides its tokens: the model, why it ended, and where the configuration wants that, all of it. Only requests whose trace is sent have this, and what costs
//! something is done when they are over.
//!
//! Model and end are what the provider said. The answer is what the client was told: what a filter or a hook took out, or refused, is in no trace.

use bytes::Bytes;
use llm_codec::hub::{ChatAnswer, Collector, FinishReason, StreamEvent};
use llm_codec::{EventDecoder, Format};

use crate::telemetry::otlp::Answered;

/// Longest complete answer that is read for it.
const MAX_WHOLE: usize = 1 << 20;

/// What was seen of an answer so far.
#[derive(Default)]
pub struct Seen {
    facts: Answered,
    /// What reads a stream that passes as it is.
    decoder: Option<EventDecoder>,
    events: Vec<StreamEvent>,
    /// A complete answer that passed.
    whole: Option<(Format, Bytes)>,
    /// What was said is kept too.
    content: bool,
    /// What puts a stream together then.
    collector: Option<Collector>,
}

impl Seen {
    /// Nothing yet. `content` says that all of the answer is wanted.
    pub fn new(content: bool) -> Self {
        Self { content, ..Self::default() }
    }

    /// Another answer takes the place of the one until now.
    pub fn again(&mut self) {
        *self = Self::new(self.content);
    }

    /// A stream of this format is about to pass.
    pub fn will_pass(&mut self, format: Format) {
        self.decoder = Some(format.event_decoder());
    }

    /// A piece of it.
    pub fn passes(&mut self, chunk: &Bytes) {
        let Some(decoder) = &mut self.decoder else { return };
        decoder.push(chunk, &mut self.events);
        let events = std::mem::take(&mut self.events);
        events.iter().for_each(|event| self.event(event));
        self.told(&events);
    }

    /// Events go on to the client.
    pub fn told(&mut self, events: &[StreamEvent]) {
        if self.content {
            // Its format only matters for what the hub does not model, which is not told.
            let collector = self.collector.get_or_insert_with(|| Collector::new(Format::OpenaiChat));
            events.iter().for_each(|event| collector.push(event));
        }
    }

    /// An event of the provider.
    pub fn event(&mut self, event: &StreamEvent) {
        match event {
            StreamEvent::Start(start) => self.model(&start.model),
            StreamEvent::Finish(finish) => self.finish(Some(&finish.reason)),
            _ => {}
        }
    }

    /// A complete answer that passes.
    pub fn whole(&mut self, format: Format, body: &Bytes) {
        self.whole = (body.len() <= MAX_WHOLE).then(|| (format, body.clone()));
    }

    /// A complete answer that was read.
    pub fn answered(&mut self, answer: &ChatAnswer) {
        self.model(&answer.model);
        answer.choices.iter().for_each(|choice| self.finish(choice.finish.as_ref()));
        self.facts.answer = self.content.then(|| answer.clone());
    }

    /// A filter or a hook put this in its place.
    pub fn replaced(&mut self, answer: &ChatAnswer) {
        self.facts.answer = self.content.then(|| answer.clone());
    }

    /// The client was told nothing of it.
    pub fn withheld(&mut self) {
        (self.content, self.collector, self.facts.answer) = (false, None, None);
    }

    /// What is known at the end.
    pub fn facts(mut self) -> Answered {
        if let Some((format, body)) = self.whole.take()
            && let Ok(answer) = format.decode_answer(&body)
        {
            self.answered(&answer);
        }
        if let Some(mut collector) = self.collector.take() {
            collector.push(&StreamEvent::End);
            self.facts.answer = collector.finish().ok();
        }
        self.facts
    }

    fn model(&mut self, model: &str) {
        if !model.is_empty() {
            self.facts.model = Some(model.to_owned());
        }
    }

    fn finish(&mut self, reason: Option<&FinishReason>) {
        self.facts.finish.extend(reason.cloned());
    }
}
