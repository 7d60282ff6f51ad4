//! What the host asks at the path `catalogue` of a manifest: the models that there are, for an extension that adds some or takes some away.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{HttpRequest, Reply};

/// A model that can be asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offered {
    /// The name to ask with.
    pub id: String,
    /// Who offers it; empty where that is open.
    #[serde(default)]
    pub provider: String,
    /// What the provider calls it.
    pub model: String,
}

/// What the host asks.
#[derive(Debug, Deserialize)]
pub struct Asked {
    /// Who asks, as the extension that knows keys said; `null` when nobody's key came with it.
    #[serde(default)]
    pub caller: Value,
    /// The models so far.
    pub models: Vec<Offered>,
}

impl Asked {
    /// Reads a request; none when it is another one.
    pub fn read(request: &HttpRequest) -> Option<Self> {
        serde_json::from_slice(&request.body).ok()
    }
}

/// The answer: the models as they shall be.
pub fn answer(models: &[Offered]) -> Reply {
    Reply::json(200, json!({ "models": models }).to_string().into_bytes())
}
