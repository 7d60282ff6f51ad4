//! Vendors that speak OpenAI's chat completions, as data: a new one is one row of [`ALL`], and nothing else.
//!
//! `docs/providers.md` has the table for operators; a test keeps the two together (`WRITE_REFERENCE=1` writes it anew).

use std::borrow::Cow;

use bytes::Bytes;
use llm_codec::json::Document;
use llm_codec::passthrough;

/// What is known of a vendor.
#[derive(Debug, PartialEq, Eq)]
pub struct Preset {
    /// The type that the configuration names.
    pub name: &'static str,
    /// Who it is, for people.
    pub vendor: &'static str,
    /// Where it is, up to and with the version; `{resource}` stands for the setting of that name. Empty when only the operator knows.
    pub base_url: &'static str,
    /// How a key is sent.
    pub key: KeyHeader,
    /// Whether it answers nothing without a key.
    pub needs_key: bool,
    /// Whether it takes `stream_options`. One that does not tells usage without being asked.
    pub stream_options: bool,
    /// Whether it knows `max_completion_tokens`. One that does not is told `max_tokens`: some refuse the newer name, others pass it over in
    /// silence, and then an answer has no limit.
    pub max_completion_tokens: bool,
    /// Whether `GET /models` lists what can be asked for.
    pub lists_models: bool,
}

/// The header field of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyHeader {
    /// `authorization: Bearer KEY`
    Bearer,
    /// `NAME: KEY`
    Plain(&'static str),
}

/// What most vendors do, so that a row says only what is its own.
const USUAL: Preset = Preset {
    name: "",
    vendor: "",
    base_url: "",
    key: KeyHeader::Bearer,
    needs_key: true,
    stream_options: true,
    max_completion_tokens: true,
    lists_models: true,
};

/// Azure, whose paths depend on `api_version`.
pub const AZURE: &str = "azure-openai";

/// The type for hosts that are not in the table.
pub const COMPATIBLE: &str = "openai-compatible";

/// All vendors.
pub const ALL: [Preset; 16] = [
    Preset { name: "openai", vendor: "OpenAI", base_url: "https://api.openai.com/v1", ..USUAL },
    Preset { name: COMPATIBLE, vendor: "any other host", needs_key: false, ..USUAL },
    Preset {
        name: AZURE,
        vendor: "Azure OpenAI",
        base_url: "https://{resource}.openai.azure.com/openai/v1",
        key: KeyHeader::Plain("api-key"),
        // Its list is of what could be deployed.
        lists_models: false,
        ..USUAL
    },
    Preset { name: "openrouter", vendor: "OpenRouter", base_url: "https://openrouter.ai/api/v1", ..USUAL },
    Preset { name: "groq", vendor: "Groq", base_url: "https://api.groq.com/openai/v1", ..USUAL },
    Preset {
        name: "mistral",
        vendor: "Mistral",
        base_url: "https://api.mistral.ai/v1",
        stream_options: false,
        max_completion_tokens: false,
        ..USUAL
    },
    Preset { name: "deepseek", vendor: "DeepSeek", base_url: "https://api.deepseek.com/v1", max_completion_tokens: false, ..USUAL },
    Preset { name: "together", vendor: "Together AI", base_url: "https://api.together.xyz/v1", max_completion_tokens: false, ..USUAL },
    Preset { name: "fireworks", vendor: "Fireworks AI", base_url: "https://api.fireworks.ai/inference/v1", ..USUAL },
    Preset { name: "cerebras", vendor: "Cerebras", base_url: "https://api.cerebras.ai/v1", ..USUAL },
    Preset { name: "xai", vendor: "xAI", base_url: "https://api.x.ai/v1", ..USUAL },
    Preset {
        name: "perplexity",
        vendor: "Perplexity",
        base_url: "https://api.perplexity.ai",
        max_completion_tokens: false,
        lists_models: false,
        ..USUAL
    },
    Preset {
        name: "ollama",
        vendor: "Ollama",
        base_url: "http://127.0.0.1:11434/v1",
        needs_key: false,
        max_completion_tokens: false,
        ..USUAL
    },
    Preset {
        name: "lm-studio",
        vendor: "LM Studio",
        base_url: "http://127.0.0.1:1234/v1",
        needs_key: false,
        max_completion_tokens: false,
        ..USUAL
    },
    Preset { name: "vllm", vendor: "vLLM", base_url: "http://127.0.0.1:8000/v1", needs_key: false, ..USUAL },
    Preset { name: "llama-cpp", vendor: "llama.cpp", base_url: "http://127.0.0.1:8080/v1", needs_key: false, ..USUAL },
];

/// The vendor of a type.
pub fn find(kind: &str) -> Option<&'static Preset> {
    ALL.iter().find(|p| p.name == kind)
}

impl Preset {
    /// Its address, with the resource in its place.
    pub fn address(&self, resource: Option<&str>) -> Cow<'static, str> {
        match resource {
            Some(resource) => self.base_url.replace("{resource}", resource).into(),
            None => self.base_url.into(),
        }
    }

    /// Whether the address is complete only with a resource.
    pub fn needs_resource(&self) -> bool {
        self.base_url.contains("{resource}")
    }

    /// A body as the vendor takes it. For most it is the same one.
    pub fn adapted(&self, body: Bytes) -> Bytes {
        if self.stream_options && self.max_completion_tokens {
            return body;
        }
        let Ok(document) = Document::parse(&body) else { return body };
        let mut edits = Vec::new();
        if !self.stream_options && document.count("stream_options") > 0 {
            edits.push(("stream_options", None));
        }
        if !self.max_completion_tokens && document.count("max_completion_tokens") > 0 {
            edits.push(("max_completion_tokens", None));
            // A caller who says both means the older name for hosts like this.
            if document.count("max_tokens") == 0 {
                edits.push(("max_tokens", document.get("max_completion_tokens")));
            }
        }
        if edits.is_empty() {
            return body;
        }
        passthrough::splice(&body, &document, &edits).into()
    }
}

/// The table for operators, as Markdown.
pub fn table() -> String {
    let mut out = String::from("| type | vendor | where | key | quirks |\n|---|---|---|---|---|\n");
    for preset in &ALL {
        let place = match preset.base_url {
            "" => "`base_url`".to_owned(),
            url => format!("`{url}`"),
        };
        let header = match preset.key {
            KeyHeader::Bearer => "`authorization: Bearer`".to_owned(),
            KeyHeader::Plain(name) => format!("`{name}`"),
        };
        let key = if preset.needs_key { header } else { format!("{header}, if it wants one") };
        let quirks = [
            (!preset.stream_options).then_some("no `stream_options`"),
            (!preset.max_completion_tokens).then_some("`max_completion_tokens` is sent as `max_tokens`"),
            (!preset.lists_models).then_some("no list of models"),
        ];
        let quirks = quirks.into_iter().flatten().collect::<Vec<_>>().join("; ");
        out.push_str(&format!("| `{}` | {} | {place} | {key} | {quirks} |\n", preset.name, preset.vendor));
    }
    out
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{Reading, Source};
    use crate::providers::Directory;

    const BEGIN: &str = "<!-- presets: made from the code by a test -->\n";
    const END: &str = "<!-- /presets -->\n";

    #[test]
    fn the_page_has_the_table() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/providers.md");
        let page = std::fs::read_to_string(&file).expect("docs/providers.md");
        let (before, rest) = page.split_once(BEGIN).expect("the page has the mark");
        let (found, after) = rest.split_once(END).expect("the page has the end mark");
        if std::env::var_os("WRITE_REFERENCE").is_some() {
            std::fs::write(&file, format!("{before}{BEGIN}{}{END}{after}", table())).expect("docs/providers.md");
            return;
        }
        assert_eq!(found, table(), "write it anew: WRITE_REFERENCE=1 cargo test -p wasmgate --lib the_page_has_the_table");
    }

    /// Every row is all that an operator needs: its type, and a key or a resource where it says so.
    #[tokio::test]
    async fn every_row_makes_a_provider() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        for (n, preset) in ALL.iter().enumerate() {
            assert!(ALL[..n].iter().all(|p| p.name != preset.name), "{} is there twice", preset.name);
            let mut settings = format!("type: {}", preset.name);
            settings.push_str(if preset.needs_key { ", api_key: k" } else { "" });
            settings.push_str(if preset.needs_resource() { ", resource: mine" } else { "" });
            settings.push_str(if preset.base_url.is_empty() { ", base_url: \"http://host.example/v1\"" } else { "" });
            let Reading { config, problems, .. } =
                Reading::of(Source::parse("x.yaml", &format!("server: {{port: 1}}\nproviders: {{p: {{{settings}}}}}\n"), &[], &|_| None));
            assert_eq!(problems, [], "{}", preset.name);
            let directory = Directory::build(&config).expect("a provider");
            let entry = directory.find("p").expect("it is there");
            assert_eq!(entry.kind, preset.name);
            let address = entry.provider.address().expect("it has one");
            let secure = address.starts_with("https://") || address.starts_with("http://127.0.0.1:") || preset.base_url.is_empty();
            assert!(secure && !address.contains(['{', '}']) && !address.ends_with('/'), "{address}");
        }
    }

    #[test]
    fn bodies_are_adapted() {
        let check = |kind: &str, body: &'static str, expect: &str| {
            let adapted = find(kind).expect("a vendor").adapted(Bytes::from_static(body.as_bytes()));
            assert_eq!(str::from_utf8(&adapted), Ok(expect), "{kind}");
        };
        let body = r#"{"model":"m","stream":true,"stream_options":{"include_usage":true},"max_completion_tokens":5,"x":1}"#;
        check("groq", body, body);
        check("mistral", body, r#"{"model":"m","stream":true,"x":1,"max_tokens":5}"#);
        check("ollama", body, r#"{"model":"m","stream":true,"stream_options":{"include_usage":true},"x":1,"max_tokens":5}"#);
        check("ollama", r#"{"max_completion_tokens":5,"max_tokens":4}"#, r#"{"max_tokens":4}"#);
        check("mistral", r#"{"model":"m","max_tokens":4}"#, r#"{"model":"m","max_tokens":4}"#);
        check("mistral", "no json", "no json");
    }
}
