//! Every path of the host and what can be done there. Requests are found by this table and the OpenAPI document is made from it, so neither
//! knows a path that the other does not.

use http::Method;
use serde_json::{Value, json};

use super::schemas;
use crate::extensions::Capability;

/// What a path is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inside {
    /// Whether the process lives.
    Health,
    /// Whether new requests should come here.
    Ready,
    /// How it is.
    Status,
    /// What runs.
    Version,
    /// Metrics for Prometheus.
    Metrics,
    /// This table, as an OpenAPI document.
    OpenApi,
    /// Numbers of providers.
    ProviderMetrics,
    /// Numbers of the process.
    SystemMetrics,
    /// What extensions cost.
    ExtensionMetrics,
    /// What is known of the members of virtual providers.
    Racing,
    /// One of the last requests.
    Request,
    /// All extensions.
    Extensions,
    /// One extension.
    Extension,
    /// A version that is tried out takes over.
    Promote,
    /// The version before returns.
    RollBack,
    /// All providers.
    Providers,
    /// One provider.
    Provider,
    /// How a provider is.
    ProviderHealth,
    /// Whether a provider answers.
    ProviderTest,
    /// All providers that are logged in to.
    Logins,
    /// How the logins of a provider are.
    LoginStatus,
    /// Somebody is going to log in.
    Initiate,
    /// A browser comes back from that.
    Callback,
    /// Tokens are exchanged for new ones.
    Refresh,
    /// Tokens are taken back.
    Revoke,
    /// Generations and attempts.
    Generations,
    /// What the configuration says now.
    Config,
    /// The configuration is read again.
    Reload,
}

/// A path.
pub struct Path {
    /// Its pattern. `{…}` is one piece of a path.
    pub pattern: &'static str,
    /// What it is about.
    pub inside: Inside,
    /// What can be done there.
    pub operations: &'static [Operation],
}

/// A field of a query: its name, its schema, what it means.
pub type Field = (&'static str, fn() -> Value, &'static str);

/// What a method does at a path.
pub struct Operation {
    /// The method.
    pub method: Method,
    /// Its name for programs.
    pub id: &'static str,
    /// What it does.
    pub summary: &'static str,
    /// What the query may say.
    pub query: &'static [Field],
    /// Content types of what is sent, if bytes are.
    pub body: &'static [&'static str],
    /// The schema of what is sent, if a document is.
    pub document: Option<fn() -> Value>,
    /// What comes back when all is well.
    pub answer: Answer,
    /// What else may come back: status and why.
    pub errors: &'static [(u16, &'static str)],
}

/// What comes back.
pub enum Answer {
    /// A document of its own, for everybody.
    Open(fn() -> Value),
    /// The data of the wrapper.
    Data(fn() -> Value),
    /// The data of the wrapper, or where the client accepts it the steps as lines of JSON, of which the last is the wrapper.
    Steps(fn() -> Value),
    /// A page for a browser, for everybody.
    Page,
    /// Texts of these types.
    Texts(&'static [&'static str]),
    /// The OpenAPI document itself.
    Document,
}

const fn get(id: &'static str, summary: &'static str, answer: Answer) -> Operation {
    Operation { method: Method::GET, id, summary, query: &[], body: &[], document: None, answer, errors: &[] }
}

const fn post(id: &'static str, summary: &'static str, answer: Answer, errors: &'static [(u16, &'static str)]) -> Operation {
    Operation { method: Method::POST, id, summary, query: &[], body: &[], document: None, answer, errors }
}

impl Operation {
    /// What the query may say.
    const fn asking(mut self, query: &'static [Field]) -> Self {
        self.query = query;
        self
    }

    /// What else may come back.
    const fn or(mut self, errors: &'static [(u16, &'static str)]) -> Self {
        self.errors = errors;
        self
    }
}

const NO_EXTENSION: (u16, &str) = (404, "There is no such extension.");
const NO_PROVIDER: (u16, &str) = (404, "There is no such provider.");
const REVOKES: &str = "Takes tokens back: at their server where that can be, and here in any case.";
const REFUSED: (u16, &str) = (422, "It was refused, for the reason given; what serves is not touched.");

const NO_OAUTH: (u16, &str) = (409, "The provider has no section `oauth`.");
const WRONG_QUERY: (u16, &str) = (400, "The query is wrong.");
const NO_LOGIN: (u16, &str) = (404, "There is no such provider, or no such credential.");

/// Which credential of a provider is meant.
const CREDENTIAL: Field = ("credential", credential, "The number of one credential; without it, all of them.");

fn credential() -> Value {
    json!({"type": "integer", "minimum": 1, "maximum": u32::MAX})
}

fn flow() -> Value {
    json!({"enum": ["code", "device"], "default": "code"})
}

fn word() -> Value {
    json!({"type": "string"})
}

fn key() -> Value {
    json!({"type": "string", "pattern": "^sha256:[0-9a-fA-F]{64}$"})
}

fn model() -> Value {
    json!({"type": "string", "minLength": 1})
}

/// Some words of a list.
fn capabilities() -> Value {
    let word = Capability::ALL.iter().map(|c| c.name()).collect::<Vec<_>>().join("|");
    json!({"type": "string", "pattern": format!("^({word})(,({word}))*$")})
}

fn rollout() -> Value {
    json!({"enum": ["active", "canary", "shadow"], "default": "active"})
}

fn share() -> Value {
    json!({"type": "number", "minimum": 0, "maximum": 1})
}

fn replay() -> Value {
    json!({"enum": ["off", "report", "require"]})
}

/// All paths.
pub const PATHS: &[Path] = &[
    Path {
        pattern: "/health",
        inside: Inside::Health,
        operations: &[get("getHealth", "Whether the process lives.", Answer::Open(schemas::alive))],
    },
    Path {
        pattern: "/health/ready",
        inside: Inside::Ready,
        operations: &[get("getReadiness", "Whether new requests should come here.", Answer::Open(schemas::ready))
            .or(&[(503, "The gateway is going to stop: send new requests elsewhere.")])],
    },
    Path {
        pattern: "/status",
        inside: Inside::Status,
        operations: &[get("getStatus", "Version, uptime, and how each provider is.", Answer::Data(schemas::status))],
    },
    Path {
        pattern: "/version",
        inside: Inside::Version,
        operations: &[get("getVersion", "Version of the gateway, and of the contract with extensions.", Answer::Data(schemas::version))],
    },
    Path {
        pattern: "/metrics",
        inside: Inside::Metrics,
        operations: &[get("getMetrics", "Metrics for Prometheus.", Answer::Texts(&["application/openmetrics-text", "text/plain"]))],
    },
    Path { pattern: "/api/openapi.json", inside: Inside::OpenApi, operations: &[get("getOpenApi", "This document.", Answer::Document)] },
    Path {
        pattern: "/api/metrics/providers",
        inside: Inside::ProviderMetrics,
        operations: &[get("getProviderMetrics", "What providers did.", Answer::Data(schemas::provider_metrics))],
    },
    Path {
        pattern: "/api/metrics/system",
        inside: Inside::SystemMetrics,
        operations: &[get("getSystemMetrics", "The process.", Answer::Data(schemas::system_metrics))],
    },
    Path {
        pattern: "/api/metrics/extensions",
        inside: Inside::ExtensionMetrics,
        operations: &[get("getExtensionMetrics", "What extensions cost.", Answer::Data(schemas::extension_metrics))],
    },
    Path {
        pattern: "/api/metrics/racing",
        inside: Inside::Racing,
        operations: &[get("getRacingMetrics", "What is known of the members of virtual providers.", Answer::Data(schemas::racing))],
    },
    Path {
        pattern: "/api/requests/{id}",
        inside: Inside::Request,
        operations: &[get(
            "getRequest",
            "One of the last requests: outcome, tries, usage, cost of extensions; nothing of its content.",
            Answer::Data(schemas::request),
        )
        .or(&[(404, "No such request is remembered.")])],
    },
    Path {
        pattern: "/api/extensions",
        inside: Inside::Extensions,
        operations: &[get("listExtensions", "All extensions.", Answer::Data(schemas::extensions))],
    },
    Path {
        pattern: "/api/extensions/{name}",
        inside: Inside::Extension,
        operations: &[
            get("getExtension", "One extension.", Answer::Data(schemas::extension)).or(&[NO_EXTENSION]),
            Operation {
                method: Method::PUT,
                id: "putExtension",
                summary: "Another version of an extension: the body is the component. It passes the gate before it serves anybody.",
                query: &[
                    ("rollout", rollout, "How it comes to serve."),
                    ("share", share, "The share of the callers, or of the calls, that meet it; for `canary` and `shadow`."),
                    ("key", key, "A caller that meets it, as `sha256:` and the digest of the key; for `canary`."),
                    ("replay", replay, "What is done with recorded calls; as `deploy.replay` says when absent."),
                    ("grant", capabilities, "Capabilities on top of those of the running version, separated by commas."),
                ],
                body: &["application/wasm", "application/octet-stream"],
                document: None,
                answer: Answer::Steps(schemas::attempt),
                errors: &[
                    (400, "The query or the body is wrong."),
                    NO_EXTENSION,
                    (408, "The body did not come."),
                    (409, "Another version is being tried out."),
                    (413, "The component is too large."),
                    REFUSED,
                ],
            },
        ],
    },
    Path {
        pattern: "/api/extensions/{name}/promote",
        inside: Inside::Promote,
        operations: &[post(
            "promoteExtension",
            "The version that is tried out takes over.",
            Answer::Data(schemas::attempt),
            &[NO_EXTENSION, (409, "No version is tried out, or it failed."), REFUSED],
        )],
    },
    Path {
        pattern: "/api/extensions/{name}/rollback",
        inside: Inside::RollBack,
        operations: &[post(
            "rollBackExtension",
            "Ends the trial of a version, or returns to the version before.",
            Answer::Data(schemas::attempt),
            &[NO_EXTENSION, (409, "There is nothing to return to."), REFUSED],
        )],
    },
    Path {
        pattern: "/api/providers",
        inside: Inside::Providers,
        operations: &[get("listProviders", "All providers, virtual ones included.", Answer::Data(schemas::providers))],
    },
    Path {
        pattern: "/api/providers/{name}",
        inside: Inside::Provider,
        operations: &[
            get("getProvider", "One provider with its settings, without secrets.", Answer::Data(schemas::provider)).or(&[NO_PROVIDER]),
            Operation {
                method: Method::PUT,
                id: "putProvider",
                summary: "Changes settings of a provider, or adds one. What is sent stands in the place of what the configuration says, what \
                          is null or was never sent is as the configuration says; it holds from the next request on.",
                query: &[],
                body: &[],
                document: Some(schemas::provider_settings),
                answer: Answer::Data(schemas::attempt),
                errors: &[
                    (400, "The body is no JSON object."),
                    (408, "The body did not come."),
                    (409, "A version of an extension is being tried out."),
                    (413, "The body is too large."),
                    (422, "Settings are wrong: `details.problems` has all of them. What serves is not touched."),
                ],
            },
            Operation {
                method: Method::DELETE,
                id: "resetProvider",
                summary: "Takes back everything that was changed of a provider; one that was added goes.",
                query: &[],
                body: &[],
                document: None,
                answer: Answer::Data(schemas::attempt),
                errors: &[
                    (404, "Nothing of it was changed."),
                    (409, "A version of an extension is being tried out."),
                    (422, "The configuration is wrong without the changes. What serves is not touched."),
                ],
            },
        ],
    },
    Path {
        pattern: "/api/providers/{name}/health",
        inside: Inside::ProviderHealth,
        operations: &[get(
            "getProviderHealth",
            "How a provider is: keys, breakers, the last probe, and figures for each model.",
            Answer::Data(schemas::health),
        )
        .or(&[NO_PROVIDER])],
    },
    Path {
        pattern: "/api/providers/{name}/test",
        inside: Inside::ProviderTest,
        operations: &[Operation {
            method: Method::POST,
            id: "testProvider",
            summary: "Whether a provider answers.",
            query: &[("model", model, "The model that is asked for a few words; without it models are listed.")],
            body: &[],
            document: None,
            answer: Answer::Data(schemas::tested),
            errors: &[
                (400, "The query is wrong."),
                NO_PROVIDER,
                (409, "It is virtual: test its members. Or nobody is logged in to it."),
                (502, "The provider failed, for the reason given."),
            ],
        }],
    },
    Path {
        pattern: "/api/oauth",
        inside: Inside::Logins,
        operations: &[get("listLogins", "All providers that are logged in to.", Answer::Data(schemas::logins))],
    },
    Path {
        pattern: "/api/oauth/{provider}/status",
        inside: Inside::LoginStatus,
        operations: &[get(
            "getLogins",
            "The credentials of a provider, without tokens, and logins that have begun.",
            Answer::Data(schemas::login),
        )
        .or(&[NO_PROVIDER, NO_OAUTH])],
    },
    Path {
        pattern: "/api/oauth/{provider}/initiate",
        inside: Inside::Initiate,
        operations: &[Operation {
            method: Method::GET,
            id: "initiateLogin",
            summary: "Begins a login: somebody opens the address that comes back, or types the code on another device.",
            query: &[
                ("flow", flow, "With a browser that comes back to the gateway, or on another device."),
                ("credential", credential, "The number of a credential that the login replaces; without it, it is a new one."),
            ],
            body: &[],
            document: None,
            answer: Answer::Data(schemas::begun),
            errors: &[
                WRONG_QUERY,
                NO_LOGIN,
                (409, "The provider has no section `oauth`, or no address for this."),
                (502, "The authorization server failed, for the reason given."),
            ],
        }],
    },
    Path {
        pattern: "/api/oauth/{provider}/callback",
        inside: Inside::Callback,
        operations: &[Operation {
            method: Method::GET,
            id: "finishLogin",
            summary: "Where a browser comes back to after logging in. It needs no password, but the `state` of a login that has begun.",
            query: &[
                ("state", word, "What the browser was sent with."),
                ("code", word, "What tokens are given for."),
                ("error", word, "Why there is none."),
                ("error_description", word, "The same in words."),
                ("iss", word, "Which server sends the browser back."),
            ],
            body: &[],
            document: None,
            answer: Answer::Page,
            errors: &[
                (400, "The login is not known, or was refused."),
                (404, "There is no such provider, or it has no section `oauth`."),
                (502, "The authorization server gave no tokens."),
            ],
        }],
    },
    Path {
        pattern: "/api/oauth/{provider}/refresh",
        inside: Inside::Refresh,
        operations: &[post(
            "refreshLogin",
            "Exchanges tokens for new ones now, also those that were set aside.",
            Answer::Data(schemas::refreshed),
            &[
                WRONG_QUERY,
                NO_LOGIN,
                (409, "Nobody is logged in, or the provider has no section `oauth`."),
                (502, "No token could be exchanged."),
            ],
        )
        .asking(&[CREDENTIAL])],
    },
    Path {
        pattern: "/api/oauth/{provider}/revoke",
        inside: Inside::Revoke,
        operations: &[
            post("revokeLogin", REVOKES, Answer::Data(schemas::revoked), &[WRONG_QUERY, NO_LOGIN, NO_OAUTH]).asking(&[CREDENTIAL]),
            Operation {
                method: Method::DELETE,
                id: "deleteLogin",
                summary: REVOKES,
                query: &[CREDENTIAL],
                body: &[],
                document: None,
                answer: Answer::Data(schemas::revoked),
                errors: &[WRONG_QUERY, NO_LOGIN, NO_OAUTH],
            },
        ],
    },
    Path {
        pattern: "/api/generations",
        inside: Inside::Generations,
        operations: &[get("listGenerations", "What serves, what drains, and what was tried.", Answer::Data(schemas::generations))],
    },
    Path {
        pattern: "/api/config",
        inside: Inside::Config,
        operations: &[get(
            "getConfig",
            "What the configuration says now, without secrets, and what is wrong with it: a reload would say the same.",
            Answer::Data(schemas::config),
        )],
    },
    Path {
        pattern: "/api/config/reload",
        inside: Inside::Reload,
        operations: &[post("reloadConfig", "Reads the configuration again.", Answer::Data(schemas::attempt), &[REFUSED])],
    },
];

impl Path {
    /// The path that a request's path is, and what stands in the place of its `{…}`.
    pub fn find(path: &str) -> Option<(&'static Self, String)> {
        PATHS.iter().find_map(|known| Some((known, known.matches(path)?)))
    }

    fn matches(&self, path: &str) -> Option<String> {
        let Some((before, rest)) = self.pattern.split_once('{') else { return (self.pattern == path).then(String::new) };
        let (_, after) = rest.split_once('}')?;
        let piece = path.strip_prefix(before)?.strip_suffix(after)?;
        (!piece.is_empty() && !piece.contains('/')).then(|| piece.to_owned())
    }

    /// Its parameter, if it has one.
    pub fn parameter(&self) -> Option<&'static str> {
        Some(self.pattern.split_once('{')?.1.split_once('}')?.0)
    }

    /// Whether everybody may ask.
    pub fn is_open(&self) -> bool {
        self.operations.iter().all(|o| matches!(o.answer, Answer::Open(_) | Answer::Page))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_found() {
        let check = |path: &str, expect: Option<(Inside, &str)>| {
            let found = Path::find(path);
            assert_eq!(found.as_ref().map(|(p, name)| (p.inside, name.as_str())), expect, "{path}");
        };
        check("/health", Some((Inside::Health, "")));
        check("/health/ready", Some((Inside::Ready, "")));
        check("/health/", None);
        check("/api/extensions", Some((Inside::Extensions, "")));
        check("/api/extensions/a", Some((Inside::Extension, "a")));
        check("/api/extensions/a/promote", Some((Inside::Promote, "a")));
        check("/api/extensions/promote", Some((Inside::Extension, "promote")));
        check("/api/extensions//promote", None);
        check("/api/extensions/a/b", None);
        check("/api/extensions/", None);
        check("/api/oauth", Some((Inside::Logins, "")));
        check("/api/oauth/a/callback", Some((Inside::Callback, "a")));
        check("/api/oauth/a/b/callback", None);
        check("/api/oauth/a", None);
        check("/api/keys", None);
        check("/api", None);
        check("/v1/models", None);
    }

    #[test]
    fn each_has_a_name_of_its_own() {
        let mut ids: Vec<_> = PATHS.iter().flat_map(|p| p.operations).map(|o| o.id).collect();
        let all = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), all);
        for (n, path) in PATHS.iter().enumerate() {
            assert!(PATHS[..n].iter().all(|p| p.inside != path.inside && p.pattern != path.pattern), "{}", path.pattern);
        }
    }
}
