//! The query of an upload: how the new version shall come to serve.

use crate::config::ReplayMode;
use crate::deploy::Rollout;
use crate::deploy::live::Audience;
use crate::extensions::Capability;

/// What a query asks for.
#[derive(Debug)]
pub struct Query {
    /// How the version comes to serve.
    pub rollout: Rollout,
    /// What is done with recorded calls.
    pub replay: Option<ReplayMode>,
    /// Capabilities on top of those of the running version.
    pub grant: Vec<Capability>,
}

/// Reads a query; the error says which word is wrong.
pub fn read(query: &str) -> Result<Query, String> {
    let (mut rollout, mut replay, mut grant) = ("active".to_owned(), None, Vec::new());
    let (mut share, mut keys) = (None, Vec::new());
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        match &*name {
            "rollout" => rollout = value.into_owned(),
            "share" => share = Some(read_share(&value)?),
            "key" => keys.push(read_key(&value)?),
            "replay" => replay = Some(read_replay(&value)?),
            "grant" => {
                for word in value.split(',').map(str::trim).filter(|w| !w.is_empty()) {
                    grant.push(read_capability(word)?);
                }
            }
            other => return Err(format!("there is no parameter `{other}`; known are `rollout`, `share`, `key`, `replay`, `grant`")),
        }
    }
    let rollout = match (rollout.as_str(), share, keys) {
        ("active", None, keys) if keys.is_empty() => Rollout::Active,
        ("active", ..) => return Err("`share` and `key` are for `rollout=canary`, `share` also for `rollout=shadow`".into()),
        ("canary", None, keys) if keys.is_empty() => return Err("`rollout=canary` needs a `share` (0 to 1) or a `key`".into()),
        ("canary", share, keys) => Rollout::Canary(Audience { share: share.unwrap_or(0.0), keys }),
        ("shadow", share, keys) if keys.is_empty() => Rollout::Shadow(share.unwrap_or(1.0)),
        ("shadow", ..) => return Err("`key` is for `rollout=canary`".into()),
        (other, ..) => return Err(format!("`rollout={other}` is none of `active`, `canary`, `shadow`")),
    };
    Ok(Query { rollout, replay, grant })
}

fn read_share(value: &str) -> Result<f64, String> {
    value.parse().ok().filter(|s| (0.0..=1.0).contains(s)).ok_or_else(|| format!("`share={value}` is no number from 0 to 1"))
}

fn read_key(value: &str) -> Result<String, String> {
    let digest = value.strip_prefix("sha256:").map(str::to_ascii_lowercase);
    let digest = digest.filter(|d| d.len() == 64 && d.bytes().all(|b| b.is_ascii_hexdigit()));
    digest.ok_or_else(|| "`key` is not `sha256:` and 64 hexadecimal digits, the digest of an API key".into())
}

fn read_replay(value: &str) -> Result<ReplayMode, String> {
    ReplayMode::from_word(value).ok_or_else(|| format!("`replay={value}` is none of `off`, `report`, `require`"))
}

fn read_capability(word: &str) -> Result<Capability, String> {
    Capability::from_name(word).ok_or_else(|| {
        let all: Vec<_> = Capability::ALL.iter().map(|c| c.name()).collect();
        format!("`grant={word}` is no capability; there are {}", all.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(query: &str, expect: &str) {
        let found = match read(query) {
            Ok(q) => format!("{:?} {:?} {:?}", q.rollout, q.replay, q.grant),
            Err(e) => e,
        };
        assert!(found.contains(expect), "{query}: found `{found}`, expected `{expect}`");
    }

    #[test]
    fn queries() {
        check("", "Active None []");
        check("rollout=shadow", "Shadow(1.0)");
        check("rollout=canary&share=0.25", "Canary(Audience { share: 0.25, keys: [] })");
        check(&format!("rollout=canary&key=sha256:{}", "AB".repeat(32)), &"ab".repeat(32));
        check("replay=require&grant=kv,http", "Some(Require) [Kv, Http]");
        for (wrong, why) in [
            ("rollout=canary", "needs a `share`"),
            ("share=0.5", "are for `rollout=canary`"),
            ("rollout=canary&share=2", "no number from 0 to 1"),
            ("rollout=canary&key=sk-1", "64 hexadecimal digits"),
            ("rollout=blue", "none of `active`"),
            ("replay=maybe", "none of `off`"),
            ("grant=root", "no capability"),
            ("rolout=active", "no parameter `rolout`"),
        ] {
            check(wrong, why);
        }
    }
}
