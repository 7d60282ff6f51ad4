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
    /// The extension.
    pub extension: Arc<Extension>,
    /// Which of its exports.
    pub kind: RouteKind,
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
            for wanted in extension.routes() {
                if wanted.kind == RouteKind::Http && !extension.has(Hook::Http)
                    || wanted.kind == RouteKind::Dialect && !extension.has(Hook::Accept)
                {
                    return Err(format!(
                        "extension `{}` wants the path `{}`, but has no export that could answer there",
                        extension.name(),
                        wanted.path
                    ));
                }
                let method = match &wanted.method {
                    None => None,
                    Some(m) => Some(
                        m.parse::<Method>()
                            .map_err(|_| format!("extension `{}` wants a route with the method `{m}`, which is none", extension.name()))?,
                    ),
                };
                let there = by_path.entry(wanted.path.clone()).or_default();
                if let Some(other) = there.iter().find(|r| r.method == method || r.method.is_none() || method.is_none()) {
                    return Err(format!(
                        "extensions `{}` and `{}` both want to answer `{}`; change the path prefix of one of them",
                        other.extension.name(),
                        extension.name(),
                        wanted.path
                    ));
                }
                let shown = wanted.method.clone().unwrap_or_else(|| "*".into());
                listed.push(Listed { extension: extension.name().to_owned(), method: shown, path: wanted.path.clone() });
                there.push(Route { method, extension: Arc::clone(extension), kind: wanted.kind });
            }
        }
        let mut paths = matchit::Router::new();
        for (path, routes) in by_path {
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
        match found.value.iter().find(|r| r.method.as_ref().is_none_or(|m| m == method)) {
            Some(route) => {
                let params = found.params.iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
                Match::Found(route.clone(), params)
            }
            None => Match::WrongMethod(found.value.iter().filter_map(|r| r.method.clone()).collect()),
        }
    }

    /// All routes.
    pub fn listed(&self) -> &[Listed] {
        &self.listed
    }
}
