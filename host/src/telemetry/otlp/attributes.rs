//! Names with values, as OTLP writes them; and what OpenTelemetry calls what we call otherwise
//! (<https://opentelemetry.io/docs/specs/semconv/gen-ai/>).

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue};

/// A text as a value.
pub fn value(text: impl Into<String>) -> AnyValue {
    AnyValue { value: Some(Value::StringValue(text.into())) }
}

fn named(name: &str, value: Value) -> KeyValue {
    KeyValue { key: name.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

/// A text.
pub fn text(name: &str, text: impl Into<String>) -> KeyValue {
    named(name, Value::StringValue(text.into()))
}

/// A count.
pub fn count(name: &str, count: u64) -> KeyValue {
    named(name, Value::IntValue(i64::try_from(count).unwrap_or(i64::MAX)))
}

/// A number.
pub fn number(name: &str, number: f64) -> KeyValue {
    named(name, Value::DoubleValue(number))
}

/// Whether something is so.
pub fn flag(name: &str, flag: bool) -> KeyValue {
    named(name, Value::BoolValue(flag))
}

/// Several texts.
pub fn texts<T: Into<String>>(name: &str, all: impl IntoIterator<Item = T>) -> KeyValue {
    named(name, Value::ArrayValue(ArrayValue { values: all.into_iter().map(value).collect() }))
}

/// What kind of work is asked for: `gen_ai.operation.name`, of a format, or of the name of a call that holds no conversation.
pub fn operation(format: &str) -> &str {
    match format {
        "openai-completions" => "text_completion",
        _ if format.starts_with("gemini-generate") => "generate_content",
        _ if format.ends_with("-embeddings") => "embeddings",
        // OpenTelemetry has no word for these.
        _ if OPERATIONS.iter().any(|family| format.strip_prefix(family).is_some_and(|of| !CONVERSATIONS.contains(&of))) => format,
        _ => "chat",
    }
}

/// What names of formats and of operations begin with.
const OPERATIONS: [&str; 3] = ["openai-", "anthropic-", "gemini-"];
/// What formats of conversations are called after that.
const CONVERSATIONS: [&str; 3] = ["chat", "responses", "messages"];

/// Who provides: `gen_ai.provider.name`, of a provider's type. `vertex` says that it is at Google Cloud.
pub fn provider(kind: &str, vertex: bool) -> &str {
    match kind {
        "openai" | "openai-responses" => "openai",
        "gemini" if vertex => "gcp.vertex_ai",
        "gemini" => "gcp.gemini",
        "azure-openai" => "azure.ai.openai",
        "mistral" => "mistral_ai",
        "xai" => "x_ai",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_the_conventions() {
        for (format, expect) in [
            ("openai-chat", "chat"),
            ("openai-responses", "chat"),
            ("anthropic-messages", "chat"),
            ("generate", "chat"),
            ("openai-completions", "text_completion"),
            ("gemini-generate-list", "generate_content"),
            ("openai-embeddings", "embeddings"),
            ("openai-files", "openai-files"),
        ] {
            assert_eq!(operation(format), expect, "{format}");
        }
        assert_eq!(["openai-responses", "gemini", "echo"].map(|kind| provider(kind, true)), ["openai", "gcp.vertex_ai", "echo"]);
    }
}
