//! Compiled components on disk, so that a start does not compile again.
//!
//! An entry is only ever written by this gateway and is verified before use: the folder must belong to this user and be closed
//! to others, the file name is the digest of the component and of everything that the code depends on, and the file begins with
//! the digest of its content. A compiled file that somebody offers as a component is refused long before (it is no component).

use std::hash::{Hash, Hasher};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use wasmtime::Engine;
use wasmtime::component::Component;

use crate::digest;

/// Length of the digest in front of an entry.
const DIGEST: usize = 32;

/// Where compiled code comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// It was compiled now.
    Compiled,
    /// It was found in the cache.
    Cached,
}

/// The cache. Without a folder it compiles every time.
#[derive(Debug, Clone)]
pub struct CodeCache {
    folder: Option<PathBuf>,
}

impl CodeCache {
    /// A cache in a folder, which is created when missing. A folder that others may write to is not used.
    pub fn open(folder: Option<&Path>) -> Self {
        let usable = folder.filter(|f| match prepare(f) {
            Ok(()) => true,
            Err(e) => {
                tracing::warn!(folder = %f.display(), error = %e, "compiled components are not cached");
                false
            }
        });
        Self { folder: usable.map(Path::to_owned) }
    }

    /// The compiled form of a component. Blocking, up to seconds: call it off the request path.
    pub fn load(&self, engine: &Engine, bytes: &[u8]) -> wasmtime::Result<(Component, Origin)> {
        let entry = self.folder.as_ref().map(|f| f.join(entry_name(engine, bytes)));
        if let Some(component) = entry.as_ref().and_then(|e| read(engine, e)) {
            return Ok((component, Origin::Cached));
        }
        let component = Component::new(engine, bytes)?;
        if let Some(entry) = entry
            && let Err(e) = write(&entry, &component.serialize()?)
        {
            tracing::warn!(file = %entry.display(), error = %e, "compiled component not cached");
        }
        Ok((component, Origin::Compiled))
    }
}

fn prepare(folder: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let meta = std::fs::metadata(folder)?;
    let probe = tempfile::NamedTempFile::new_in(folder)?;
    if meta.mode() & 0o022 != 0 || meta.uid() != probe.as_file().metadata()?.uid() {
        return Err(std::io::Error::other("the folder belongs to, or is writable for, other users (wanted: mode 700)"));
    }
    Ok(())
}

fn entry_name(engine: &Engine, bytes: &[u8]) -> String {
    let mut compatibility = std::hash::DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut compatibility);
    format!("{}-{:016x}.cwasm", digest::hex(bytes), compatibility.finish())
}

#[expect(unsafe_code, reason = "deserialising compiled code; see SAFETY")]
fn read(engine: &Engine, entry: &Path) -> Option<Component> {
    let file = std::fs::read(entry).ok()?;
    let (digest, code) = file.split_at_checked(DIGEST)?;
    if Sha256::digest(code).as_slice() != digest {
        tracing::warn!(file = %entry.display(), "cached code is damaged; compiling again");
        return None;
    }
    // SAFETY: `deserialize` trusts its input. The bytes were written by `write` below: the folder is owned by and writable for
    // this user only (`prepare`), and the digest shows that they are complete and unchanged.
    match unsafe { Component::deserialize(engine, code) } {
        Ok(component) => Some(component),
        Err(e) => {
            tracing::debug!(file = %entry.display(), error = %e, "cached code does not fit this engine; compiling again");
            None
        }
    }
}

fn write(entry: &Path, code: &[u8]) -> std::io::Result<()> {
    let folder = entry.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(&Sha256::digest(code))?;
    file.write_all(code)?;
    file.persist(entry)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The smallest component.
    const EMPTY: &[u8] = b"\0asm\x0d\0\x01\0";

    #[test]
    fn second_load_is_cached_and_damage_is_seen() {
        let engine = Engine::default();
        let folder = tempfile::tempdir().unwrap();
        let cache = CodeCache::open(Some(&folder.path().join("code")));
        assert_eq!(cache.load(&engine, EMPTY).unwrap().1, Origin::Compiled);
        assert_eq!(cache.load(&engine, EMPTY).unwrap().1, Origin::Cached);

        let entry = std::fs::read_dir(folder.path().join("code")).unwrap().next().unwrap().unwrap().path();
        let mut code = std::fs::read(&entry).unwrap();
        *code.last_mut().unwrap() ^= 1;
        std::fs::write(&entry, code).unwrap();
        assert_eq!(cache.load(&engine, EMPTY).unwrap().1, Origin::Compiled);
        assert_eq!(cache.load(&engine, EMPTY).unwrap().1, Origin::Cached);
    }

    #[test]
    fn a_folder_open_to_others_is_not_used() {
        use std::os::unix::fs::PermissionsExt as _;
        let engine = Engine::default();
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
        let cache = CodeCache::open(Some(folder.path()));
        assert_eq!(cache.load(&engine, EMPTY).unwrap().1, Origin::Compiled);
        assert_eq!(cache.load(&engine, EMPTY).unwrap().1, Origin::Compiled);
    }
}
