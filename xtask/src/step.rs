//! Numbered steps with a progress line each, and stamps that remember what is done.

use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// The steps of one command: `[2/5] guest toolchain`.
pub struct Plan {
    total: usize,
    current: Cell<usize>,
}

/// One running step; notes appear indented below its title.
pub struct Step {
    started: Instant,
}

/// A file that says that something is done, for which input. It is written last, so whatever was interrupted is redone.
pub struct Stamp {
    path: PathBuf,
    input: String,
}

impl Plan {
    pub fn new(total: usize) -> Plan {
        Plan { total, current: Cell::new(0) }
    }

    pub fn step<T>(&self, title: &str, body: impl FnOnce(&Step) -> Result<T>) -> Result<T> {
        self.current.set(self.current.get() + 1);
        println!("[{}/{}] {title}", self.current.get(), self.total);
        let step = Step { started: Instant::now() };
        let result = body(&step);
        match &result {
            Ok(_) => step.note(&format!("ok, {}", seconds(step.elapsed()))),
            Err(_) => step.note(&format!("FAILED after {}", seconds(step.elapsed()))),
        }
        result.with_context(|| format!("step `{title}`"))
    }
}

impl Step {
    pub fn note(&self, text: &str) {
        println!("      {text}");
    }

    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }
}

impl Stamp {
    /// `input` is everything that the result depends on; another input means that it must be made again.
    pub fn new(path: PathBuf, input: impl Into<String>) -> Stamp {
        Stamp { path, input: input.into() }
    }

    pub fn is_set(&self) -> bool {
        fs::read_to_string(&self.path).is_ok_and(|found| found == self.input)
    }

    /// Forgets what was done before; to be called before the work that `set` confirms.
    pub fn clear(&self) -> Result<()> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("removing {}", self.path.display()))
            }
            _ => Ok(()),
        }
    }

    pub fn set(&self) -> Result<()> {
        write_atomically(&self.path, self.input.as_bytes())
    }
}

/// Readers see the old content or the new one, never a part.
pub fn write_atomically(path: &Path, content: &[u8]) -> Result<()> {
    let folder = path.parent().context("a path with a folder")?;
    fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    fs::write(&partial, content).with_context(|| format!("writing {}", Path::new(&partial).display()))?;
    fs::rename(&partial, path).with_context(|| format!("moving into place {}", path.display()))
}

/// An empty folder at `path`, whatever was there before.
pub fn fresh_folder(path: &Path) -> Result<()> {
    remove_folder(path)?;
    fs::create_dir_all(path).with_context(|| format!("creating {}", path.display()))
}

pub fn remove_folder(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error).with_context(|| format!("removing {}", path.display())),
        _ => Ok(()),
    }
}

/// `0.4 s`, `75 s`, `12 min 5 s`.
pub fn seconds(duration: Duration) -> String {
    let whole = duration.as_secs();
    match whole {
        0..10 => format!("{:.1} s", duration.as_secs_f64()),
        10..120 => format!("{whole} s"),
        _ => format!("{} min {} s", whole / 60, whole % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_holds_for_its_input_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/stamp");
        let stamp = Stamp::new(path.clone(), "one");
        assert!(!stamp.is_set());
        stamp.clear().unwrap();
        stamp.set().unwrap();
        assert!(stamp.is_set());
        assert!(!Stamp::new(path, "two").is_set());
        stamp.clear().unwrap();
        assert!(!stamp.is_set());
    }

    #[test]
    fn durations_read_naturally() {
        assert_eq!(seconds(Duration::from_millis(430)), "0.4 s");
        assert_eq!(seconds(Duration::from_secs(75)), "75 s");
        assert_eq!(seconds(Duration::from_secs(725)), "12 min 5 s");
    }
}
