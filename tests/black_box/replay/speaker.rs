//! A format as it is spoken: by a client of its dialect, and by a provider. The harness knows dialects that name the model in the body;
//! here it may stand in the path too.

use llm_codec::Format;
use serde_json::{Value, json};
use wasmgate_tests::answers::{Says, gemini_model};
use wasmgate_tests::{Dialect, Received, Reply};

use super::CLIENTS;
use crate::setup::PROVIDER_KEY;

/// What one must know to speak a format.
#[derive(Debug, Clone, Copy)]
pub struct Speaker {
    /// The format.
    pub format: Format,
    /// Type of a provider that speaks it, which is the provider's name here.
    pub provider: &'static str,
    /// Where its client sends a request. The model and the method follow where the body has none.
    pub client: &'static str,
    /// The same of a provider, whose configured address is what comes in front.
    pub upstream: (&'static str, &'static str),
    /// Model and wish for a stream are members of the request. Otherwise they are the end of its path.
    pub in_body: bool,
}

impl Speaker {
    /// Who speaks a format.
    pub fn of(format: Format) -> Self {
        CLIENTS.into_iter().find(|s| s.format == format).expect("recordings of other formats are left out")
    }

    /// Who was asked by a request that an upstream received, and for which model.
    pub fn asked(received: &Received) -> Option<(Self, String)> {
        let path = received.path.as_str();
        let own = |s: &Self| path.strip_prefix(s.upstream.0)?.strip_prefix(s.upstream.1).filter(|rest| rest.is_empty() == s.in_body);
        let speaker = CLIENTS.into_iter().find(|s| own(s).is_some())?;
        Some((speaker, if speaker.in_body { received.model() } else { gemini_model(received).to_owned() }))
    }

    /// The provider in the configuration.
    pub fn entry(&self, url: &str) -> String {
        let Self { provider, upstream: (base, _), .. } = self;
        format!("  {provider}: {{type: {provider}, base_url: \"{url}{base}\", api_key: {PROVIDER_KEY}}}\n")
    }

    /// A request with one user message, without a model.
    pub fn says(&self, text: &str) -> Value {
        let messages = json!([{"role": "user", "content": text}]);
        match self.format {
            Format::OpenaiChat => json!({"messages": messages}),
            Format::AnthropicMessages => json!({"max_tokens": 64, "messages": messages}),
            Format::OpenaiResponses => json!({"input": messages}),
            Format::GeminiGenerate => json!({"contents": [{"role": "user", "parts": [{"text": text}]}]}),
            Format::OpenaiCompletions => json!({"prompt": text}),
        }
    }

    /// The path and the body of a request for a model, answered as a stream or not.
    pub fn ask(&self, mut body: Value, model: &str, streamed: bool) -> (String, Value) {
        if !self.in_body {
            let method = if streamed { "streamGenerateContent?alt=sse" } else { "generateContent" };
            return (format!("{}{model}:{method}", self.client), body);
        }
        body["model"] = json!(model);
        if (body["stream"] == true) != streamed {
            body["stream"] = json!(streamed);
        }
        (self.client.to_owned(), body)
    }

    /// Whether a recorded request asks for a stream; `answered` says whether it was answered with one.
    pub fn streams(&self, body: &Value, answered: bool) -> bool {
        if self.in_body { body["stream"] == true } else { answered }
    }

    /// An upstream's short answer to a request.
    pub fn notes(&self, to: &Received) -> Reply {
        let says = Says::text("Noted.");
        match self.format {
            Format::OpenaiChat | Format::OpenaiCompletions => says.reply(Dialect::OpenAi, to),
            Format::AnthropicMessages => says.reply(Dialect::Anthropic, to),
            Format::OpenaiResponses => says.reply(Dialect::Responses, to),
            Format::GeminiGenerate => says.gemini_reply(to),
        }
    }
}
