//! Stage 2: which extension answers a path. Paths come from the extensions; what the host itself answers is in `ingress`.

use std::sync::Arc;

use http::Method;

use crate::extensions::bindings::exports::wasmgate::extension::lifecycle::RouteKind;
use crate::extensions::{Extension, Hook, Registry};

/// All paths of a generation.
#[derive(Default)]
pub struct Routes {
    paths: matchit::Router<Vec<Route>>,
    listed: Vec<Listed>,
}

/// Who answers a path.
#[derive(Clone)]
pub struct Route {
    method: Option<Method>,
    /// What the path must end with, for example `:countTokens`: the pattern ends with a `{*name}`, which takes that too.
    ending: Option<String>,
    /// The extension.
    pub extension: Arc<Extension>,
    /// Which of its exports.
    pub answers: Answers,
}

/// The export of an extension that answers a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answers {
    /// `dialect`: a conversation.
    Dialect,
    /// `operations`: a call that is forwarded as it is.
    Operation,
    /// `wasi:http/incoming-handler`.
    Http,
}

/// A route as operators see it.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Listed {
    /// The extension.
    pub extension: String,
    /// The method, or `*`.
    pub method: String,
    /// The pattern.
    pub path: String,
}

/// What a request's method and path lead to.
pub enum Match {
    /// An extension, and what the `{names}` of its pattern matched.
    Found(Route, Vec<(String, String)>),
    /// The path exists with other methods.
    WrongMethod(Vec<Method>),
    /// Nobody answers.
    None,
}

impl Routes {
    /// Collects the routes of all extensions. Two extensions that want the same path are an error, and so is a pattern that is none.
    pub fn build(registry: &Registry) -> Result<Self, String> {
        let mut by_path: std::collections::BTreeMap<String, Vec<Route>> = std::collections::BTreeMap::new();
        let mut listed = Vec::new();
        for extension in registry.all() {
            let routes = extension.routes().map(|r| {
                let answers = if r.kind == RouteKind::Http { Answers::Http } else { Answers::Dialect };
                (&r.method, &r.path, answers)
            });
            for (method, path, answers) in routes.chain(extension.operations().map(|r| (&r.method, &r.path, Answers::Operation))) {
                // An operation's errors are told by the dialect.
                let hook = if answers == Answers::Http { Hook::Http } else { Hook::Accept };
                if !extension.has(hook) {
                    return Err(format!(
                        "extension `{}` wants the path `{path}`, but has no export that could answer there",
                        extension.name()
                    ));
                }
                let shown = method.clone().unwrap_or_else(|| "*".into());
                let method = match method {
                    None => None,
                    Some(m) => Some(
                        m.parse::<Method>()
                            .map_err(|_| format!("extension `{}` wants a route with the method `{m}`, which is none", extension.name()))?,
                    ),
                };
                let (pattern, ending) = taken_apart(path);
                let there = by_path.entry(pattern.to_owned()).or_default();
                let same_method = |r: &&Route| r.method == method || r.method.is_none() || method.is_none();
                if let Some(other) = there.iter().filter(|r| r.ending.as_deref() == ending).find(same_method) {
                    return Err(format!(
                        "extensions `{}` and `{}` both want to answer `{path}`; change the path prefix of one of them",
                        other.extension.name(),
                        extension.name()
                    ));
                }
                listed.push(Listed { extension: extension.name().to_owned(), method: shown, path: path.clone() });
                there.push(Route { method, ending: ending.map(str::to_owned), extension: Arc::clone(extension), answers });
            }
        }
        let mut paths = matchit::Router::new();
        for (path, mut routes) in by_path {
            // What ends with more is meant before what takes every end.
            routes.sort_by_key(|r| std::cmp::Reverse(r.ending.as_ref().map_or(0, String::len)));
            let owner = routes[0].extension.name().to_owned();
            paths
                .insert(path.clone(), routes)
                .map_err(|e| format!("extension `{owner}` wants the path `{path}`, which cannot be routed: {e}"))?;
        }
        Ok(Self { paths, listed })
    }

    /// Finds who answers.
    pub fn find(&self, method: &Method, path: &str) -> Match {
        let Ok(found) = self.paths.at(path) else { return Match::None };
        let able = || found.value.iter().filter(|r| r.ending.as_ref().is_none_or(|ending| ends_with(path, ending)));
        match able().find(|r| r.method.as_ref().is_none_or(|m| m == method)) {
            Some(route) => {
                let params = found.params.iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
                Match::Found(route.clone(), params)
            }
            None if able().next().is_none() => Match::None,
            None => {
                let mut methods: Vec<Method> = able().filter_map(|r| r.method.clone()).collect();
                methods.dedup();
                Match::WrongMethod(methods)
            }
        }
    }

    /// All routes.
    pub fn listed(&self) -> &[Listed] {
        &self.listed
    }
}

/// A path's pattern, and what the path must end with behind a last `{*name}`.
fn taken_apart(path: &str) -> (&str, Option<&str>) {
    let end = path.rfind("{*").and_then(|start| Some(start + path[start..].find('}')? + 1));
    match end {
        Some(end) if path[end..].starts_with(':') => (&path[..end], Some(&path[end..])),
        _ => (path, None),
    }
}

/// Whether a path ends with this, whatever of it is percent-encoded.
fn ends_with(path: &str, ending: &str) -> bool {
    let mut rest = path.as_bytes();
    ending.bytes().rev().all(|wanted| {
        let code = rest.last_chunk::<3>().filter(|code| code[0] == b'%').and_then(|code| std::str::from_utf8(&code[1..]).ok());
        let (byte, length) = match code.and_then(|code| u8::from_str_radix(code, 16).ok()) {
            Some(byte) => (byte, 3),
            None => (rest.last().copied().unwrap_or_default(), 1),
        };
        rest = &rest[..rest.len().saturating_sub(length)];
        byte == wanted
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_may_go_on_behind_what_takes_the_rest() {
        assert_eq!(taken_apart("/v1/models/{*model}:countTokens"), ("/v1/models/{*model}", Some(":countTokens")));
        for path in ["/v1/models/{*model}", "/v1/{model}:x", "/v1/models", "/v1/{*model}x", "/{*"] {
            assert_eq!(taken_apart(path), (path, None));
        }
    }

    #[test]
    fn ends_may_be_encoded() {
        for path in ["/m/a:count", "/m/up/ft:a:count", "/m/a%3Acount", "/m/a%3a%63oun%74", ":count"] {
            assert!(ends_with(path, ":count"), "{path}");
        }
        for path in ["", "count", "/m/a:counts", "/m/a%3Ccount", "/m/a%253Acount", "/m/a:coun%7", "/m/a:Count"] {
            assert!(!ends_with(path, ":count"), "{path}");
        }
    }
}
