//! Versions of an extension: a built component with another manifest and, where it is the fixture `swaps`, another mark and behaviour.
//! Nothing is compiled, so a test has as many as it wants.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::{component, repo};

/// The marker of the fixture `swaps`, `SWAPS<mark    behaviour       >`; `tests/fixtures/swaps/src/lib.rs` has the other side.
const TAG: &[u8] = b"SWAPS<";
const MARK: usize = 8;
const BEHAVIOUR: usize = 16;

/// A component that is about to be swapped in.
#[derive(Clone)]
pub struct Version {
    bytes: Vec<u8>,
}

impl Version {
    /// A component of `extensions/`, as it is built.
    pub fn of(name: &str) -> Self {
        Self::read(&repo::component(name))
    }

    /// A component of `tests/fixtures/`, as it is built.
    pub fn of_fixture(name: &str) -> Self {
        Self::read(&repo::fixture(name))
    }

    /// The fixture `swaps` of this version, which leaves this mark and does what the behaviour says.
    pub fn swaps(version: &str, mark: &str, behaviour: &str) -> Self {
        let mut made = Self::of_fixture("swaps").numbered(version);
        made.mark(mark, behaviour);
        made
    }

    fn read(file: &std::path::Path) -> Self {
        let bytes = std::fs::read(file);
        Self { bytes: bytes.unwrap_or_else(|e| panic!("{}: {e}; `cargo xtask build --components-only` makes it", file.display())) }
    }

    /// With another number in its manifest.
    pub fn numbered(self, version: &str) -> Self {
        self.with("version", json!(version))
    }

    /// With other capabilities that it asks for.
    pub fn asking(self, capabilities: &[&str]) -> Self {
        self.with("capabilities", json!(capabilities))
    }

    /// With another member of its manifest.
    pub fn with(self, member: &str, value: Value) -> Self {
        let mut manifest = component::manifest(&self.bytes);
        manifest[member] = value;
        // In the place of the old one, so that a version of a version does not grow.
        Self { bytes: component::with_manifest(&component::without_manifest(&self.bytes), &manifest) }
    }

    /// The file.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Overwrites the marker, which is at one place only.
    fn mark(&mut self, mark: &str, behaviour: &str) {
        assert!(mark.len() <= MARK && behaviour.len() <= BEHAVIOUR, "`{mark}` or `{behaviour}` is too long");
        let mut places = self.bytes.windows(TAG.len()).enumerate().filter(|(_, w)| *w == TAG).map(|(at, _)| at);
        let at = places.next().expect("the component has the marker");
        assert_eq!(places.next(), None, "the marker is there twice, so the compiler has copied it");
        let marker = format!("{mark:<MARK$}{behaviour:<BEHAVIOUR$}>");
        self.bytes[at + TAG.len()..][..marker.len()].copy_from_slice(marker.as_bytes());
    }
}

impl From<&Version> for Vec<u8> {
    fn from(version: &Version) -> Self {
        version.bytes.clone()
    }
}

/// The marks in a text that passed the filter of `swaps`, each once, and the text without them.
pub fn unmarked(text: &str) -> (BTreeSet<String>, String) {
    let mut pieces = text.split('[');
    let mut whole = pieces.next().unwrap_or_default().to_owned();
    // What comes before the first mark was let through without one.
    let mut marks: BTreeSet<String> = if whole.is_empty() { BTreeSet::new() } else { BTreeSet::from([String::new()]) };
    for piece in pieces {
        let (mark, rest) = piece.split_once(']').unwrap_or_else(|| panic!("a mark is cut off in {text}"));
        marks.insert(mark.to_owned());
        whole.push_str(rest);
    }
    (marks, whole)
}
