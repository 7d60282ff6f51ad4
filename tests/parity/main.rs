//! The same logic natively and as a component. Authors test natively, against `FakeHost`; this says how far they can trust it: each
//! case runs through the extension's own functions and through the host's runtime, and both must decide the same.
//!
//! What is absent: a network, a server, and the pipeline. Hooks are called one by one, as the pipeline would.

mod component;
mod dialects;
mod meters;
mod native;
mod probe;
mod redacts;
mod routing;
mod shown;

use serde_json::{Value, json};

/// A provider of the configuration.
struct Provider {
    name: &'static str,
    kind: &'static str,
    models: &'static [&'static str],
    default_model: Option<&'static str>,
}

/// What both sides are set up with.
struct Setup {
    /// The extension.
    name: &'static str,
    /// Its settings.
    config: Value,
    providers: &'static [Provider],
}

/// A request, as a hook finds it.
#[derive(Clone)]
struct Case {
    /// What is special about it.
    name: &'static str,
    headers: Vec<(&'static str, &'static str)>,
    body: Value,
    /// The provider that an earlier hook chose.
    chosen: Option<&'static str>,
    /// The model as an earlier hook left it.
    model: Option<&'static str>,
    notes: Vec<(String, String)>,
}

impl Case {
    /// A request for a model, of OpenAI's format.
    fn new(name: &'static str, model: &str) -> Self {
        let body = json!({"model": model, "messages": [{"role": "user", "content": "hello"}]});
        Self { name, headers: Vec::new(), body, chosen: None, model: None, notes: Vec::new() }
    }

    fn header(mut self, name: &'static str, value: &'static str) -> Self {
        self.headers.push((name, value));
        self
    }
}

/// A line of an extension in the log: how much it matters, and what it says.
type Line = (String, String);

/// What a route's pattern matches of a path: all behind the list of models.
fn path_params(path: &str) -> Vec<(String, String)> {
    let model = path.split_once("/models/").map(|(_, model)| ("model".to_owned(), model.to_owned()));
    model.into_iter().collect()
}
