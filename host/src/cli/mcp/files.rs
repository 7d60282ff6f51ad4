//! The files of one folder: read, written so that nobody sees half of one, and kept as they were before.
//!
//! What is absent: a way out. A path is relative, has no `..`, and leads through no symbolic link; what is not a file, and what belongs to
//! version control or to the backups, is left alone.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Component, Path, PathBuf};

use crate::pipeline::unix_ms;

/// Longest file that is read or written, in bytes.
pub const MAX_FILE: u64 = 1 << 20;

/// Where backups are, in the folder.
const BACKUPS: &str = ".wasmgate-backups";

/// Where they are in there: files of our own are beside it.
const BACKUPS_OF: &str = "files";

/// How many there are of a file.
const KEPT: usize = 20;

/// A file that was not there is kept as one with this ending.
const ABSENT: &str = "absent";

/// What is in a file that was.
const BACKUP: &str = "bak";

/// Folders in which nothing is touched: programs run what is written there.
const CLOSED: [&str; 4] = [".git", ".hg", ".svn", BACKUPS];

/// One folder.
#[derive(Debug)]
pub struct Files {
    root: PathBuf,
}

/// A path inside of the folder.
#[derive(Debug, Clone)]
pub struct Inside {
    /// As it was said.
    shown: String,
    relative: PathBuf,
    full: PathBuf,
}

impl Files {
    /// Opens a folder.
    pub fn open(root: &Path) -> io::Result<Self> {
        let root = root.canonicalize()?;
        if root.is_dir() { Ok(Self { root }) } else { Err(io::Error::new(io::ErrorKind::NotADirectory, "it is no folder")) }
    }

    /// A path, if it stays inside. The error is for the client.
    pub fn inside(&self, name: &str, path: &str) -> Result<Inside, String> {
        let wrong = |why: &str| Err(format!("`{name}` is `{}`: {why}.", shown(path)));
        if path.is_empty() || path.len() > 1024 || path.contains('\0') {
            return wrong("it has to be a path of 1 to 1024 bytes");
        }
        let mut relative = PathBuf::new();
        for component in Path::new(path).components() {
            match component {
                Component::Normal(part) => relative.push(part),
                Component::CurDir => {}
                Component::ParentDir => return wrong("it must not have `..`"),
                Component::RootDir | Component::Prefix(_) => return wrong("it has to be relative to the folder of `--files`"),
            }
        }
        let closed = |part: &std::ffi::OsStr| CLOSED.iter().any(|c| part.eq_ignore_ascii_case(c));
        if relative.iter().any(closed) {
            return wrong("folders of version control and of backups are left alone");
        }
        let mut full = self.root.clone();
        let parts: Vec<_> = relative.iter().collect();
        for (n, part) in parts.iter().enumerate() {
            full.push(part);
            match fs::symlink_metadata(&full) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => return wrong(&format!("it cannot be looked at ({})", e.kind())),
                Ok(about) if about.is_symlink() => return wrong("it leads through a symbolic link"),
                Ok(about) if n + 1 < parts.len() && !about.is_dir() => return wrong("a part of it is no folder"),
                Ok(about) if n + 1 == parts.len() && !about.is_file() => return wrong("it is no file"),
                Ok(_) => {}
            }
        }
        if relative.as_os_str().is_empty() {
            return wrong("it is no file");
        }
        let shown = relative.to_string_lossy().into_owned();
        Ok(Inside { shown, relative, full })
    }

    /// What is in a file; none when it is not there.
    pub fn read(&self, path: &Inside) -> Result<Option<String>, String> {
        let mut file = match open_no_link(&path.full) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(format!("`{}` cannot be read ({}).", path.shown, e.kind())),
        };
        let mut bytes = Vec::new();
        let read = io::Read::by_ref(&mut file).take(MAX_FILE + 1).read_to_end(&mut bytes);
        read.map_err(|e| format!("`{}` cannot be read ({}).", path.shown, e.kind()))?;
        if bytes.len() as u64 > MAX_FILE {
            return Err(format!("`{}` has more than {MAX_FILE} bytes; files up to that are read.", path.shown));
        }
        String::from_utf8(bytes).map(Some).map_err(|_| format!("`{}` is no text in UTF-8.", path.shown))
    }

    /// Puts another content in the place of `old`, which is kept. Where the backup is, is said. None removes the file.
    pub fn replace(&self, path: &Inside, old: Option<&str>, new: Option<&str>) -> Result<String, String> {
        // Links may have come since the path was looked at.
        let path = self.inside("path", &path.shown)?;
        if self.read(&path)?.as_deref() != old {
            return Err(format!("`{}` was changed by somebody else meanwhile; nothing was written.", path.shown));
        }
        let failed = |what: &str, e: &io::Error| format!("`{}`: {what} ({}); nothing was written.", path.shown, e.kind());
        let backup = self.keep(&path, old).map_err(|e| failed("its backup cannot be written", &e))?;
        match new {
            Some(new) => write(&path.full, new).map_err(|e| failed("it cannot be written", &e))?,
            None => fs::remove_file(&path.full).map_err(|e| failed("it cannot be removed", &e))?,
        }
        Ok(backup)
    }

    /// The newest backup of a file: its name, and what was in the file; no content where there was no file.
    pub fn newest(&self, path: &Inside) -> Result<Option<(PathBuf, Option<String>)>, String> {
        let Some(file) = self.backups(path).map_err(|e| format!("The backups of `{}` cannot be read ({}).", path.shown, e.kind()))?.pop()
        else {
            return Ok(None);
        };
        if file.extension().is_some_and(|e| e == ABSENT) {
            return Ok(Some((file, None)));
        }
        let content = fs::read_to_string(&file).map_err(|e| format!("The backup of `{}` cannot be read ({}).", path.shown, e.kind()))?;
        Ok(Some((file, Some(content))))
    }

    /// Takes a backup away: what was in it is in the file again, or there are too many.
    pub fn forget(&self, backup: &Path) {
        if let Err(error) = fs::remove_file(backup) {
            tracing::warn!(%error, "a backup that is of no use any more could not be removed");
        }
    }

    fn folder(&self, path: &Inside) -> PathBuf {
        self.root.join(BACKUPS).join(BACKUPS_OF).join(&path.relative)
    }

    /// The oldest first.
    fn backups(&self, path: &Inside) -> io::Result<Vec<PathBuf>> {
        let entries = match fs::read_dir(self.folder(path)) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(e),
        };
        let mut files = Vec::new();
        for entry in entries {
            let entry = entry?;
            let ending = Path::new(&entry.file_name()).extension().is_some_and(|e| e == BACKUP || e == ABSENT);
            if ending && entry.file_type()?.is_file() {
                files.push(entry.path());
            }
        }
        files.sort();
        Ok(files)
    }

    fn keep(&self, path: &Inside, old: Option<&str>) -> io::Result<String> {
        let backups = self.root.join(BACKUPS);
        match fs::symlink_metadata(&backups) {
            Ok(about) if about.is_symlink() => return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is a link")),
            Ok(_) => {}
            Err(_) => {
                match fs::create_dir(&backups) {
                    // Another call was first.
                    Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
                    _ => {}
                }
                // They are nobody's source.
                fs::write(backups.join(".gitignore"), "*\n")?;
            }
        }
        let folder = self.folder(path);
        fs::create_dir_all(&folder)?;
        let there = self.backups(path)?;
        let over = (there.len() + 1).saturating_sub(KEPT);
        let newest = there.last().and_then(|f| f.file_stem()?.to_str()?.parse::<u64>().ok()).unwrap_or(0);
        // The order is that of the names, whatever the clock does.
        let number = unix_ms().max(newest + 1);
        let file = folder.join(format!("{number:016}.{}", if old.is_some() { BACKUP } else { ABSENT }));
        OpenOptions::new().write(true).create_new(true).open(&file)?.write_all(old.unwrap_or_default().as_bytes())?;
        there[..over.min(there.len())].iter().for_each(|old| self.forget(old));
        Ok(file.strip_prefix(&self.root).unwrap_or(&file).to_string_lossy().into_owned())
    }
}

impl Inside {
    /// As it is shown to people.
    pub fn shown(&self) -> &str {
        &self.shown
    }
}

/// Opens a file that is no link, whatever it was a moment ago.
fn open_no_link(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let file = OpenOptions::new().read(true).custom_flags(NO_LINK).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no file")) }
}

/// `O_NOFOLLOW`, and `O_NONBLOCK`: a pipe in the place of a file must not keep anybody waiting.
const NO_LINK: i32 = (rustix::fs::OFlags::NOFOLLOW.bits() | rustix::fs::OFlags::NONBLOCK.bits()) as i32;

/// Writes beside the file, and moves it there: whoever reads sees the old content or the new one. Permissions stay.
fn write(path: &Path, content: &str) -> io::Result<()> {
    let folder = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    fs::create_dir_all(folder)?;
    let beside = folder.join(format!(".wasmgate-{}", uuid::Uuid::new_v4().simple()));
    let written = (|| {
        let mut file = OpenOptions::new().write(true).create_new(true).open(&beside)?;
        if let Ok(about) = fs::symlink_metadata(path) {
            file.set_permissions(about.permissions())?;
        }
        file.write_all(content.as_bytes())?;
        file.sync_all()?;
        fs::rename(&beside, path)
    })();
    if written.is_err() {
        let _ = fs::remove_file(&beside);
    }
    written
}

fn shown(path: &str) -> String {
    path.chars().filter(|c| !c.is_control()).take(120).collect()
}

#[cfg(test)]
#[path = "files_tests.rs"]
mod tests;
