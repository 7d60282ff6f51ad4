//! The models of a provider, as its API lists them: one page or many, in each vendor's words.

use std::collections::BTreeSet;

use http::{HeaderName, HeaderValue};
use llm_codec::hub::{ChatError, ErrorClass};
use serde_json::Value;

use super::Client;

/// Most pages that are read. A list that never ends must not be read for ever.
const MAX_PAGES: usize = 50;

/// Most models that are kept of a list.
const MAX_MODELS: usize = 10_000;

/// Longest name of a model, in bytes.
const MAX_NAME: usize = 256;

/// OpenAI's way: one page. Some hosts leave out what stands around the list.
pub async fn openai(client: &Client) -> Result<Vec<String>, ChatError> {
    let document = client.get(address(client, &[])?, Vec::new()).await?;
    names(client, if document.is_array() { &document } else { &document["data"] }, |model| model["id"].as_str())
}

/// Anthropic's way: pages that continue after the last model.
pub async fn anthropic(client: &Client, headers: Vec<(HeaderName, HeaderValue)>) -> Result<Vec<String>, ChatError> {
    let mut all = Vec::new();
    let mut after: Option<String> = None;
    for _ in 0..MAX_PAGES {
        let mut query = vec![("limit", "1000")];
        query.extend(after.iter().map(|id| ("after_id", id.as_str())));
        let page = client.get(address(client, &query)?, headers.clone()).await?;
        all.extend(names(client, &page["data"], |model| model["id"].as_str())?);
        after = page["last_id"].as_str().filter(|_| page["has_more"] == true).map(str::to_owned);
        if after.is_none() || all.len() >= MAX_MODELS {
            break;
        }
    }
    Ok(bounded(all))
}

/// Gemini's way: pages with a token for the next one. Only what generates content is a model here.
pub async fn gemini(client: &Client) -> Result<Vec<String>, ChatError> {
    let mut all = Vec::new();
    let mut token: Option<String> = None;
    for _ in 0..MAX_PAGES {
        let mut url = client.url().clone();
        url.query_pairs_mut().append_pair("pageSize", "1000").extend_pairs(token.iter().map(|t| ("pageToken", t)));
        let page = client.get(url, Vec::new()).await?;
        // An account without models has no list at all.
        let models = page.get("models").cloned().unwrap_or_else(|| Value::Array(Vec::new()));
        all.extend(names(client, &models, |model| {
            let methods = model["supportedGenerationMethods"].as_array();
            let generates = methods.is_none_or(|all| all.iter().any(|m| m == "generateContent"));
            let name = model["name"].as_str().filter(|_| generates)?;
            Some(name.strip_prefix("models/").unwrap_or(name))
        })?);
        token = page["nextPageToken"].as_str().filter(|t| !t.is_empty()).map(str::to_owned);
        if token.is_none() || all.len() >= MAX_MODELS {
            break;
        }
    }
    Ok(bounded(all))
}

fn address(client: &Client, query: &[(&str, &str)]) -> Result<reqwest::Url, ChatError> {
    let url = reqwest::Url::parse(&format!("{}/models", client.base()));
    let mut url = url.map_err(|_| client.fault(ErrorClass::Internal, "has no such path"))?;
    if !query.is_empty() {
        url.query_pairs_mut().extend_pairs(query);
    }
    Ok(url)
}

fn names(client: &Client, list: &Value, name: impl Fn(&Value) -> Option<&str>) -> Result<Vec<String>, ChatError> {
    let list = list.as_array().ok_or_else(|| client.fault(ErrorClass::Protocol, "answered with something that is no list of models"))?;
    Ok(bounded(list.iter().filter_map(|model| name(model).map(str::to_owned)).collect()))
}

/// What is kept of a list: each name once, in the provider's order.
fn bounded(mut names: Vec<String>) -> Vec<String> {
    let mut seen = BTreeSet::new();
    names.retain(|name| !name.is_empty() && name.len() <= MAX_NAME && !name.contains(char::is_control) && seen.insert(name.clone()));
    names.truncate(MAX_MODELS);
    names
}
