//! Settings of where things are stored.

use std::path::PathBuf;
use std::time::Duration;

use super::oauth::token_key;
use super::reader::Cursor;
use super::{KeysStore, LimitsStore, RecordsStore, Secret, WhenAway, WhenFull};
use crate::section;

section! {
    /// What outlives a restart.
    pub struct Storage {
        /// File of the store: keys and values, and rows too unless `records` keeps them elsewhere. Without it, they are forgotten at the end.
        path: Option<PathBuf> = None,
        /// How long rows that extensions append (usage, audits, history) are kept; `0s` keeps them for ever.
        retain_records: Duration = Duration::from_secs(90 * 24 * 3600),
        /// Longest time from an accepted write to where it lasts: what a killed process loses at most.
        flush_interval: Duration = Duration::from_millis(200),
        /// With what tokens of providers that are logged in to are encrypted: 32 random bytes in base64, as `openssl rand -base64 32` makes them.
        token_key: Option<Secret> = None,
        /// Where keys and values are kept.
        keys: KeysConfig = KeysConfig::default(),
        /// Where rows are kept.
        records: RecordsConfig = RecordsConfig::default(),
        /// Where limits on rates are counted.
        limits: LimitsStoreConfig = LimitsStoreConfig::default(),
    }
}

section! {
    /// Where keys and values are kept: API keys that were made while the gateway runs, budgets, whatever extensions remember.
    pub struct KeysConfig {
        /// `local`: in the file of `storage.path`, or in memory. `postgres`: several gateways share them.
        r#type: KeysStore = KeysStore::Local,
        /// Where PostgreSQL is. Without it, where `records` are.
        url: Option<Secret> = None,
        /// How often a gateway asks what others changed. A change is known everywhere within this and `storage.flush_interval`.
        refresh: Duration = Duration::from_secs(1),
    }
}

section! {
    /// Where rows are kept.
    pub struct RecordsConfig {
        /// `redb` and `sqlite` are files, `postgres` is shared by several gateways, `memory` forgets. Without it, rows are in the file of
        /// `storage.path`, or in memory.
        r#type: Option<RecordsStore> = None,
        /// The file, for `redb` (default: that of `storage.path`) and `sqlite`.
        path: Option<PathBuf> = None,
        /// Where PostgreSQL is: `postgres://USER:PASSWORD@HOST:PORT/DATABASE`; with `?sslmode=require` encrypted and verified, else not encrypted.
        url: Option<Secret> = None,
        /// Rows of one extension that may wait to be written; they may also have 64 MiB at most.
        queue: usize = crate::storage::records::MAX_WAITING_ROWS,
        /// What happens to one row more: `drop_oldest` forgets the oldest that waits, `refuse` tells the extension that it cannot be
        /// taken. Nobody ever waits, and what is lost is counted on `/metrics`.
        when_full: WhenFull = WhenFull::DropOldest,
    }
}

section! {
    /// Where limits on rates are counted.
    pub struct LimitsStoreConfig {
        /// `memory`: each gateway for itself. `redis`: several gateways keep one limit together.
        r#type: LimitsStore = LimitsStore::Memory,
        /// Where Redis is: `redis://USER:PASSWORD@HOST:PORT/DATABASE`, or `unix:PATH`.
        url: Option<Secret> = None,
        /// How long a request waits for Redis at most.
        timeout: Duration = Duration::from_millis(100),
        /// What decides while Redis is away: `local` counts in each gateway, `fail_open` lets everything pass, `fail_closed` nothing.
        when_away: WhenAway = WhenAway::Local,
    }
}

impl Storage {
    /// Where PostgreSQL is, if keys are in it.
    pub fn keys_url(&self) -> Option<&Secret> {
        let rows = self.records.url.as_ref().filter(|_| self.records.store(self) == RecordsStore::Postgres);
        self.keys.url.as_ref().or(rows)
    }
}

impl RecordsConfig {
    /// Where rows are kept.
    pub fn store(&self, storage: &Storage) -> RecordsStore {
        let default = if self.path.is_some() || storage.path.is_some() { RecordsStore::Redb } else { RecordsStore::Memory };
        self.r#type.unwrap_or(default)
    }

    /// Whether rows are in the same file as keys, if there is one.
    pub fn kept_with_keys(&self) -> bool {
        self.path.is_none() && matches!(self.r#type, None | Some(RecordsStore::Redb))
    }
}

/// What is missing or wrong in where things are stored.
pub fn check_storage(storage: &Storage, at: &mut Cursor<'_>) {
    let Some(mut at) = at.member("storage") else { return };
    if let Some(Err(reason)) = storage.token_key.as_ref().map(token_key)
        && let Some(mut at) = at.member("token_key")
    {
        at.error(reason);
    }
    if let Some(mut at) = at.member("records") {
        check_records(storage, &mut at);
    }
    if let Some(mut at) = at.member("keys") {
        let KeysConfig { r#type, url, refresh } = &storage.keys;
        if refresh.is_zero() {
            at.error("`refresh` is 0, and then the database would be asked without a pause; set for example `1s`.".into());
        }
        // The section of an extension may still say where rows are.
        let elsewhere = *r#type == KeysStore::Postgres && url.is_none();
        if !elsewhere {
            check_url(&mut at, url.as_ref(), *r#type == KeysStore::Postgres, r#type.word(), &|url| {
                crate::storage::parse_url(url).map(drop)
            });
        }
    }
    if let Some(mut at) = at.member("limits") {
        let LimitsStoreConfig { r#type, url, timeout, .. } = &storage.limits;
        if timeout.is_zero() {
            at.error("`timeout` is 0, and then Redis could never answer; set for example `100ms`.".into());
        }
        check_url(&mut at, url.as_ref(), *r#type == LimitsStore::Redis, r#type.word(), &|url| {
            crate::storage::limits::parse_url(url).map(drop)
        });
    }
}

/// What is missing or wrong in where rows are kept, reported in the section that says it.
pub fn check_records(storage: &Storage, at: &mut Cursor<'_>) {
    let RecordsConfig { path, url, queue, .. } = &storage.records;
    let store = storage.records.store(storage);
    let file = match store {
        RecordsStore::Redb => path.is_some() || storage.path.is_some(),
        RecordsStore::Sqlite => path.is_some(),
        RecordsStore::Postgres | RecordsStore::Memory => true,
    };
    if !file {
        at.error(format!("rows in `{}` need a file: set `path`, for example `path: usage.db`.", store.word()));
    }
    if path.is_some() && matches!(store, RecordsStore::Postgres | RecordsStore::Memory) {
        at.error(format!("rows in `{}` have no file: remove `path`, or set `type` to `redb` or `sqlite`.", store.word()));
    }
    if path.is_some() && *path == storage.path {
        at.error("`path` is the file of `storage.path`; leave it out, then rows are in that file.".into());
    }
    if *queue == 0 {
        at.error("`queue` is 0, and then no row could ever be written; set at least 1.".into());
    }
    check_url(at, url.as_ref(), store == RecordsStore::Postgres, store.word(), &|url| crate::storage::parse_url(url).map(drop));
}

fn check_url(at: &mut Cursor<'_>, url: Option<&Secret>, wanted: bool, store: &str, parse: &dyn Fn(&str) -> Result<(), String>) {
    match url {
        None if wanted => at.error(format!("`{store}` needs a `url`.")),
        Some(_) if !wanted => at.error(format!("`{store}` has no `url`: remove it, or set another `type`.")),
        Some(url) => {
            if let Err(reason) = parse(url.expose())
                && let Some(mut at) = at.member("url")
            {
                at.error(format!("{reason}."));
            }
        }
        None => {}
    }
}
