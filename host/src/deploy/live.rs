//! What serves: the generation for everybody, and those for some.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use http::{HeaderMap, HeaderName, header};
use sha2::{Digest as _, Sha256};

use crate::config::Pin;
use crate::digest;
use crate::extensions::{Comparison, Extension};
use crate::gateway::Generation;

/// Generations that serve at the same time. No request sees more than one of them.
pub struct Live {
    /// For everybody else.
    pub stable: Arc<Generation>,
    /// For callers on whom a new version is tried.
    pub canary: Option<Canary>,
    /// For nobody: a version that gets the calls of the running one too.
    pub shadow: Option<Shadowing>,
    /// For callers that stay on versions.
    pub pinned: Vec<Pinned>,
    /// Versions that took over just now.
    pub watched: Vec<Arc<Extension>>,
    /// For everybody, once one of these has failed too often, until the rollback is published: with the versions before them.
    pub fallback: Option<Arc<Generation>>,
    /// For nobody: versions that a rollback returns to, by extension.
    pub previous: BTreeMap<String, Arc<Extension>>,
}

/// What serves callers that stay on versions.
#[derive(Clone)]
pub struct Pinned {
    /// Whom.
    pub who: Who,
    /// With their versions.
    pub generation: Arc<Generation>,
    /// With their versions, and of the others those before the ones that are watched.
    pub fallback: Option<Arc<Generation>>,
}

/// A version that serves some callers.
#[derive(Clone)]
pub struct Canary {
    /// With the new version.
    pub generation: Arc<Generation>,
    /// The new version.
    pub extension: Arc<Extension>,
    /// Whom it serves.
    pub audience: Audience,
}

/// A version that looks on.
#[derive(Clone)]
pub struct Shadowing {
    /// The version.
    pub extension: Arc<Extension>,
    /// The share of the calls that it gets.
    pub share: f64,
    /// How its decisions compare.
    pub comparison: Arc<Mutex<Comparison>>,
}

/// Whom a canary serves.
#[derive(Debug, Clone, Default)]
pub struct Audience {
    /// A share of all callers, from 0 to 1.
    pub share: f64,
    /// Callers by the digest of their key: SHA-256, in hex.
    pub keys: Vec<String>,
}

/// A caller, as a pin names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Who {
    /// By the digest of the key: SHA-256, in hex.
    Key(String),
    /// By a header field.
    Header(HeaderName, String),
}

impl Live {
    /// The generation that serves a request. `id` tells callers without a key apart.
    pub fn choose(&self, headers: &HeaderMap, id: &str) -> &Arc<Generation> {
        let failed = self.watched.iter().any(|e| e.stats.tripwire().is_tripped());
        let stable = self.fallback.as_ref().filter(|_| failed).unwrap_or(&self.stable);
        if self.pinned.is_empty() && self.canary.is_none() {
            return stable;
        }
        let key = caller(headers);
        if let Some(pinned) = self.pinned.iter().find(|p| p.who.is(headers, key.as_deref())) {
            return pinned.fallback.as_ref().filter(|_| failed).unwrap_or(&pinned.generation);
        }
        match &self.canary {
            Some(canary) if !failed && canary.serves(key.as_deref(), id) => &canary.generation,
            _ => stable,
        }
    }

    /// All generations.
    pub fn generations(&self) -> impl Iterator<Item = &Arc<Generation>> {
        let others = self.canary.iter().map(|c| &c.generation).chain(self.pinned.iter().map(|p| &p.generation));
        [&self.stable].into_iter().chain(others).chain(self.fallbacks())
    }

    /// Those that serve when a version that is watched has failed too often.
    pub fn fallbacks(&self) -> impl Iterator<Item = &Arc<Generation>> {
        self.fallback.iter().chain(self.pinned.iter().filter_map(|p| p.fallback.as_ref()))
    }

    /// All extensions, some of them more than once.
    pub fn extensions(&self) -> impl Iterator<Item = &Arc<Extension>> {
        let others = self.shadow.iter().map(|s| &s.extension).chain(self.previous.values());
        self.generations().flat_map(|g| g.extensions.all()).chain(others)
    }
}

impl Canary {
    /// Nobody any more, once its budget of failures is used up.
    fn serves(&self, key: Option<&str>, id: &str) -> bool {
        !self.extension.stats.tripwire().is_tripped() && self.audience.has(&self.extension.source.digest, key, id)
    }
}

impl Audience {
    /// Whether a caller belongs to it. Another version has other callers, so that not always the same ones try what is new.
    fn has(&self, version: &str, key: Option<&str>, id: &str) -> bool {
        if key.is_some_and(|key| self.keys.iter().any(|k| k == key)) {
            return true;
        }
        let digest = Sha256::new().chain_update(version).chain_update(key.unwrap_or(id)).finalize();
        let place = u64::from_be_bytes(digest[..8].try_into().expect("a digest is longer"));
        (place as f64) < self.share * u64::MAX as f64
    }
}

impl Who {
    /// Whom a pin is for. The configuration was checked.
    pub fn of(pin: &Pin) -> Option<Self> {
        if let Some(key) = &pin.key {
            return Some(Self::Key(digest::hex(key.expose())));
        }
        let (name, value) = pin.header.as_deref()?.split_once(':')?;
        Some(Self::Header(name.trim().to_ascii_lowercase().parse().ok()?, value.trim().to_owned()))
    }

    fn is(&self, headers: &HeaderMap, key: Option<&str>) -> bool {
        match self {
            Self::Key(digest) => key == Some(digest.as_str()),
            Self::Header(name, value) => headers.get(name).is_some_and(|v| v.as_bytes() == value.as_bytes()),
        }
    }
}

/// Where clients put their key.
const KEYS: [HeaderName; 4] = [
    header::AUTHORIZATION,
    HeaderName::from_static("x-api-key"),
    HeaderName::from_static("api-key"),
    HeaderName::from_static("x-goog-api-key"),
];

/// The digest of the key that a request brings.
fn caller(headers: &HeaderMap) -> Option<String> {
    let value = KEYS.iter().find_map(|name| headers.get(name))?.to_str().ok()?;
    let key = value.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).map_or(value, |(_, key)| key.trim());
    Some(digest::hex(key))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn the_key_is_found_wherever_clients_put_it() {
        for (name, value) in [("authorization", "Bearer k"), ("authorization", "bearer  k"), ("x-api-key", "k"), ("x-goog-api-key", "k")] {
            let headers = HeaderMap::from_iter([(HeaderName::from_static(name), HeaderValue::from_static(value))]);
            assert_eq!(caller(&headers), Some(digest::hex("k")), "{name}: {value}");
        }
        assert_eq!(caller(&HeaderMap::new()), None);
    }

    #[test]
    fn a_share_of_callers_each_on_one_side() {
        let audience = Audience { share: 0.25, keys: vec!["chosen".into()] };
        let keys: Vec<String> = (0..4000).map(|n| n.to_string()).collect();
        let served: Vec<&String> = keys.iter().filter(|k| audience.has("v", Some(k), "")).collect();
        assert!((800..1200).contains(&served.len()), "{}", served.len());
        assert!(served.iter().all(|k| audience.has("v", Some(k), "another request")));
        assert!(served.iter().any(|k| !audience.has("w", Some(k), "")), "another version has other callers");
        assert!(audience.has("v", Some("chosen"), ""));
        assert!(!Audience::default().has("v", Some("1"), "") && Audience { share: 1.0, keys: vec![] }.has("v", None, "id"));
    }

    #[test]
    fn pins_name_a_key_or_a_header() {
        let pin = |key: Option<&str>, header: Option<&str>| Pin {
            key: key.map(|k| crate::config::Secret::new(k.into())),
            header: header.map(str::to_owned),
            ..Pin::default()
        };
        assert_eq!(Who::of(&pin(Some("k"), None)), Some(Who::Key(digest::hex("k"))));
        let tenant = Who::of(&pin(None, Some("X-Tenant: acme"))).unwrap();
        let headers = HeaderMap::from_iter([(HeaderName::from_static("x-tenant"), HeaderValue::from_static("acme"))]);
        assert!(tenant.is(&headers, None) && !tenant.is(&HeaderMap::new(), None));
        assert_eq!(Who::of(&pin(None, Some("no header"))), None);
    }
}
