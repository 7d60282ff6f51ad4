//! What a restart has to know: the components that were put in place of those of the configuration, what was changed of providers, and the history.
//!
//! One file says what was published last. It is replaced as a whole, by a rename, so whenever the process is killed there is a complete one.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, Permissions};
use std::io::{self, BufWriter, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::attempt::Attempt;
use crate::config::Source;
use crate::config::changes::Changes;
use crate::config::{Problem, Severity};
use crate::digest;

const FILE: &str = "published.json";

/// What the names of files begin with that are not complete.
const UNFINISHED: &str = ".wasmgate-";

/// The folder; without one, the memory of the process, so that a reload finds what it needs.
#[derive(Debug, Default)]
pub struct Kept {
    folder: Option<PathBuf>,
    memory: Mutex<BTreeMap<String, Bytes>>,
    /// Number of what was written last. Whoever writes holds it.
    written: Mutex<u64>,
    /// Components that this process wrote, or found to be what they were.
    whole: Mutex<BTreeSet<String>>,
}

/// What was published last.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Published {
    /// Number of the generation.
    pub generation: u64,
    /// Components that stand in place of those of the configuration, by extension.
    pub overrides: BTreeMap<String, Override>,
    /// What was changed of providers. Keys are in it: the file is for its owner only.
    #[serde(default)]
    pub providers: Changes,
    /// The last attempts.
    #[serde(with = "history")]
    pub history: Vec<Arc<Attempt>>,
}

/// Attempts on the disk.
mod history {
    use std::sync::Arc;

    use serde::{Deserialize as _, Deserializer, Serializer};

    use super::Attempt;

    pub fn serialize<S: Serializer>(attempts: &[Arc<Attempt>], to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(attempts.iter().map(|a| a.without_differences()))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Arc<Attempt>>, D::Error> {
        Ok(Vec::<Attempt>::deserialize(from)?.into_iter().map(Arc::new).collect())
    }
}

/// A component in place of the configuration's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Override {
    /// Its digest, under which it is kept.
    pub digest: String,
    /// Its version.
    pub version: String,
    /// The digest of the component that the configuration had then. When that is another one, the configuration has moved on, and this
    /// no longer holds.
    pub base: String,
    /// Capabilities that were granted with it, by name.
    pub grant: Option<Vec<String>>,
    /// What the configuration granted then. When that is something else, it is newer, and what was granted with the component no longer holds.
    #[serde(default)]
    pub base_grant: Option<Vec<String>>,
}

impl Kept {
    /// Opens the folder, which is created when missing, and reads what was published last.
    pub fn open(folder: Option<&Path>) -> anyhow::Result<(Self, Published)> {
        let Some(folder) = folder else { return Ok((Self::default(), Published::default())) };
        let failed = || format!("`deploy.state`: the folder `{}` cannot be used", folder.display());
        std::fs::create_dir_all(folder).with_context(failed)?;
        let published = read(folder).with_context(failed)?;
        // What a process that was killed was about to write.
        for entry in std::fs::read_dir(folder).with_context(failed)?.flatten() {
            if entry.file_name().to_string_lossy().starts_with(UNFINISHED) {
                let _ = std::fs::remove_file(entry.path());
            }
        }
        Ok((Self { folder: Some(folder.to_owned()), ..Self::default() }, published))
    }

    /// Whether anything outlives the process.
    pub fn is_used(&self) -> bool {
        self.folder.is_some()
    }

    /// A component that was kept, and where it is, when it is what it was.
    pub fn component(&self, name: &str) -> io::Result<(PathBuf, Bytes)> {
        let Some(folder) = &self.folder else {
            let memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
            let bytes = memory.get(name).cloned().ok_or(io::ErrorKind::NotFound)?;
            return Ok((PathBuf::from("upload"), bytes));
        };
        let file = folder.join(file_name(name));
        let bytes = std::fs::read(&file)?;
        if digest::named(&bytes) != name {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("`{}` is damaged", file.display())));
        }
        Ok((file, bytes.into()))
    }

    /// Writes the components that are still needed, then what is published, and removes other components, unless something with a later number
    /// was written before. Blocking.
    pub fn write(&self, number: u64, published: &Published, components: &BTreeMap<String, Bytes>) -> io::Result<()> {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        if number < *written {
            return Ok(());
        }
        let Some(folder) = &self.folder else {
            self.memory.lock().unwrap_or_else(PoisonError::into_inner).clone_from(components);
            return Ok(());
        };
        for (digest, bytes) in components {
            let is_whole = self.whole.lock().unwrap_or_else(PoisonError::into_inner).contains(digest);
            let file = folder.join(file_name(digest));
            // One that is damaged is replaced as long as somebody has it in memory.
            let there = if is_whole { file.is_file() } else { std::fs::read(&file).is_ok_and(|kept| kept == *bytes) };
            if !there {
                write(folder, &file, |file| file.write_all(bytes))?;
            }
            self.whole.lock().unwrap_or_else(PoisonError::into_inner).insert(digest.clone());
        }
        write(folder, &folder.join(FILE), |file| Ok(serde_json::to_writer_pretty(file, published)?))?;
        *written = number;
        let needed: BTreeSet<String> = components.keys().map(|d| file_name(d)).collect();
        // Only what was put there by this: the operator may keep other files beside it. What cannot be removed now can be later.
        let own = |name: &str| name.strip_suffix(".wasm").is_some_and(|d| d.len() == 64 && d.bytes().all(|b| b.is_ascii_hexdigit()));
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if own(&name)
                && !needed.contains(&name)
                && let Err(e) = std::fs::remove_file(entry.path())
            {
                tracing::warn!(file = %entry.path().display(), error = %e, "a component that nobody needs could not be removed");
            }
        }
        Ok(())
    }
}

/// What was published last.
fn read(folder: &Path) -> anyhow::Result<Published> {
    let file = folder.join(FILE);
    match std::fs::read(&file) {
        Ok(text) => serde_json::from_slice(&text)
            .with_context(|| format!("`{}` is damaged; without it the gateway starts with what the configuration says", file.display())),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Published::default()),
        Err(e) => Err(e.into()),
    }
}

/// What was changed of providers and is kept where these settings say.
pub fn changes(source: &mut Source) -> Changes {
    const PATH: &str = "deploy.state";
    let Some(folder) = source.value.pointer("/deploy/state").and_then(|v| v.as_str()).filter(|f| !f.is_empty()) else {
        return Changes::default();
    };
    match read(Path::new(folder)) {
        Ok(published) => published.providers,
        Err(e) => {
            let message = format!("the folder `{folder}` cannot be used: {e:#}.");
            source.problems.push(Problem { severity: Severity::Error, place: source.place(PATH), path: PATH.into(), message });
            Changes::default()
        }
    }
}

fn file_name(digest: &str) -> String {
    format!("{}.wasm", digest.trim_start_matches("sha256:"))
}

/// A file that is there whole or not at all, also after a loss of power.
fn write(folder: &Path, file: &Path, content: impl FnOnce(&mut BufWriter<&mut File>) -> io::Result<()>) -> io::Result<()> {
    // It is for its owner only, and stays so.
    let mut new = tempfile::Builder::new().prefix(UNFINISHED).permissions(Permissions::from_mode(0o600)).tempfile_in(folder)?;
    let mut buffered = BufWriter::new(new.as_file_mut());
    content(&mut buffered)?;
    buffered.flush()?;
    drop(buffered);
    new.as_file().sync_all()?;
    new.persist(file)?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_published_is_there_again_and_components_nobody_needs_go() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        let (kept, empty) = Kept::open(Some(&path)).unwrap();
        assert!(empty.overrides.is_empty());
        let (a, b) = (digest::named(b"a"), digest::named(b"b"));
        let both = BTreeMap::from([(a.clone(), Bytes::from("a")), (b.clone(), Bytes::from("b"))]);
        kept.write(1, &Published::default(), &both).unwrap();
        let own = Override { digest: a.clone(), version: "1".into(), base: "x".into(), grant: Some(vec!["kv".into()]), base_grant: None };
        let key = serde_json::json!({"api_key": "sk-1"});
        let providers = Changes::default().with("p", true, key.as_object().unwrap());
        let overrides = BTreeMap::from([("e".into(), own.clone())]);
        let published = Published { generation: 7, overrides, providers: providers.clone(), history: Vec::new() };
        kept.write(3, &published, &BTreeMap::from([(a.clone(), Bytes::from("a"))])).unwrap();
        kept.write(2, &Published::default(), &both).unwrap();

        let (kept, again) = Kept::open(Some(&path)).unwrap();
        assert_eq!((again.generation, &again.overrides["e"], &again.providers), (7, &own, &providers));
        assert_eq!(path.join(FILE).metadata().unwrap().permissions().mode() & 0o777, 0o600, "there are keys in it");
        assert_eq!(kept.component(&a).unwrap().1, "a");
        assert!(kept.component(&b).is_err());
        std::fs::write(path.join(file_name(&a)), "other").unwrap();
        assert!(kept.component(&a).unwrap_err().to_string().contains("damaged"));
        kept.write(1, &published, &BTreeMap::from([(a.clone(), Bytes::from("a"))])).unwrap();
        assert_eq!(kept.component(&a).unwrap().1, "a", "who has it in memory repairs it");

        std::fs::write(path.join(".wasmgate-half"), "ha").unwrap();
        std::fs::write(path.join("the operator's own"), "").unwrap();
        Kept::open(Some(&path)).unwrap();
        assert!(!path.join(".wasmgate-half").exists() && path.join("the operator's own").exists());

        std::fs::write(path.join(FILE), "{broken").unwrap();
        let damaged = format!("{:#}", Kept::open(Some(&path)).unwrap_err());
        assert!(damaged.contains("published.json` is damaged; without it"), "{damaged}");

        let (memory, _) = Kept::open(None).unwrap();
        memory.write(1, &published, &BTreeMap::from([(a.clone(), Bytes::from("a"))])).unwrap();
        assert_eq!(memory.component(&a).unwrap().1, "a");
        assert!(memory.component(&b).is_err());
    }
}
