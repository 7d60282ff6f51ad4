//! Where rows are kept, when the section of an extension says it: `usage: {storage: sqlite, path: ./usage.db}`.
//!
//! The manifest names the section (`storage = "usage"`), so the host knows no extension by name. What is read here is taken out of the section:
//! an extension has no business with a database's password.

use std::path::PathBuf;

use crate::config::problems::Problem;
use crate::config::reader::Cursor;
use crate::config::{Config, KeysStore, RecordsConfig, RecordsStore, Secret, Source};
use crate::extensions::Candidate;

/// Settings of such a section that are the host's.
const OWN: [&str; 3] = ["storage", "path", "url"];

/// Takes the choice of the extensions that are loaded over into the host's own settings, which come first where they say something.
pub fn choose(config: &mut Config, candidates: &[Candidate], source: &Source, problems: &mut Vec<Problem>) {
    for candidate in candidates {
        let Some(section) = &candidate.manifest.storage else { continue };
        let mut root = Cursor { source, value: &source.value, path: String::new(), problems: &mut *problems };
        let Some(mut at) = root.member(section) else { continue };
        let chosen: Option<RecordsStore> = at.field("storage", || None);
        let path: Option<PathBuf> = at.field("path", || None);
        let url: Option<Secret> = at.field("url", || None);
        if let Some(object) = config.sections.get_mut(section).and_then(|s| s.as_object_mut()) {
            OWN.iter().for_each(|name| drop(object.shift_remove(*name)));
        }
        let Some(store) = chosen else {
            if path.is_some() || url.is_some() {
                at.error(
                    "`path` and `url` say where rows are kept, and `storage` must say how: `redb`, `sqlite`, `postgres` or `memory`."
                        .into(),
                );
            }
            continue;
        };
        if config.storage.records.r#type.is_some() {
            at.warning("`storage` is not used: `storage.records.type` says where rows are kept.".into());
            continue;
        }
        config.storage.records = RecordsConfig { r#type: Some(store), path, url, ..config.storage.records.clone() };
        crate::config::check_records(&config.storage, &mut at);
    }
    // Only now it is known where rows are.
    let mut root = Cursor { source, value: &source.value, path: String::new(), problems };
    if config.storage.keys.r#type == KeysStore::Postgres
        && config.storage.keys_url().is_none()
        && let Some(mut storage) = root.member("storage")
        && let Some(mut at) = storage.member("keys")
    {
        at.error("`postgres` needs a `url`, or rows that are in PostgreSQL too.".into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ExtensionConfig, Reading};
    use crate::extensions::Manifest;

    /// What becomes of a configuration in which `counts` names its section `usage`.
    fn check(text: &str, expect: &[&str]) -> Config {
        let text = format!("providers: {{a: {{type: echo}}}}\n{text}");
        let Reading { mut config, mut problems, source } = Reading::of(Source::parse("gateway.yaml", &text, &[], &|_| None));
        let manifest = Manifest { storage: Some("usage".into()), ..Manifest::off_the_shelf("counts") };
        let candidate = Candidate {
            manifest,
            bytes: Vec::new().into(),
            digest: String::new(),
            file: PathBuf::new(),
            config: ExtensionConfig::default(),
        };
        choose(&mut config, &[candidate], &source, &mut problems);
        let found: Vec<String> = problems.iter().map(ToString::to_string).collect();
        assert_eq!(found.len(), expect.len(), "{found:#?}");
        for (found, expect) in found.iter().zip(expect) {
            assert!(found.contains(expect), "`{found}` without `{expect}`");
        }
        config
    }

    #[test]
    fn an_extensions_section_chooses_the_store() {
        let config = check("usage:\n  enabled: true\n  storage: sqlite\n  path: ./usage.db\n", &[]);
        let RecordsConfig { r#type, path, .. } = &config.storage.records;
        assert_eq!((*r#type, path.as_deref()), (Some(RecordsStore::Sqlite), Some(std::path::Path::new("./usage.db"))));
        assert_eq!(config.sections["usage"], serde_json::json!({"enabled": true}), "the rest is the extension's");

        let config = check("usage:\n  storage: postgres\n  url: postgres://u:secret@h/d\n", &[]);
        assert_eq!(config.sections["usage"], serde_json::json!({}));
        assert_eq!(config.storage.records.url.unwrap().expose(), "postgres://u:secret@h/d");
        check("", &[]);
    }

    #[test]
    fn a_wrong_choice_is_told_with_its_place() {
        check(
            "usage:\n  storage: mysql\n",
            &["gateway.yaml:3: error: `usage.storage`: found the text `mysql`, expected `redb` or `sqlite`"],
        );
        check("usage:\n  storage: sqlite\n", &["gateway.yaml:2: error: `usage`: rows in `sqlite` need a file: set `path`"]);
        check("usage:\n  path: x.db\n", &["gateway.yaml:2: error: `usage`: `path` and `url` say where rows are kept, and `storage` must"]);
        let shared = "storage: {keys: {type: postgres}}\n";
        check(shared, &["gateway.yaml:2: error: `storage.keys`: `postgres` needs a `url`, or rows that are in PostgreSQL too"]);
        let config = check(&format!("usage: {{storage: postgres, url: \"postgres://h/d\"}}\n{shared}"), &[]);
        assert_eq!(config.storage.keys_url().unwrap().expose(), "postgres://h/d");
        let both = "usage: {storage: sqlite, path: a.db}\nstorage: {records: {type: memory}}\n";
        let config = check(both, &["gateway.yaml:2: warning: `usage`: `storage` is not used"]);
        assert_eq!(config.storage.records.r#type, Some(RecordsStore::Memory));
    }
}
