//! `GET /api/generations`: what serves, what drains, and what was tried.

use std::sync::{Arc, PoisonError};

use serde_json::{Map, Value, json};

use crate::deploy::Deploy;
use crate::extensions::Extension;

/// The document.
pub fn show(deploy: &Deploy) -> Value {
    let live = deploy.live();
    let mut generations = vec![row(live.stable.number, "active", live.stable.extensions.all())];
    generations.extend(live.canary.iter().map(|c| row(c.generation.number, "canary", c.generation.extensions.all())));
    generations.extend(live.pinned.iter().map(|p| row(p.generation.number, "pinned", p.generation.extensions.all())));
    generations.extend(live.fallbacks().map(|g| row(g.number, "fallback", g.extensions.all())));
    generations.extend(deploy.draining().iter().map(|(number, extensions)| row(*number, "draining", extensions)));
    let shadow = live.shadow.as_ref().map(|s| {
        let comparison = s.comparison.lock().unwrap_or_else(PoisonError::into_inner).to_json();
        json!({"extension": s.extension.name(), "version": s.extension.manifest.version, "comparison": comparison})
    });
    json!({
        "current": live.stable.number,
        "generations": generations,
        "shadow": shadow,
        "extensions_in_memory": deploy.extensions_in_memory(),
        "history": deploy.history().iter().map(|attempt| json!(**attempt)).collect::<Vec<_>>(),
    })
}

fn row(number: u64, state: &str, extensions: &[Arc<Extension>]) -> Value {
    let versions: Map<String, Value> = extensions.iter().map(|e| (e.name().to_owned(), e.manifest.version.as_str().into())).collect();
    json!({"number": number, "state": state, "extensions": versions})
}
