//! The two ways to spell a member: Google's JSON takes `inlineData` and `inline_data` alike, and clients send both.

use crate::DecodeError;
use crate::hub::{Extra, extra};
use crate::json::{Fields, Path, Value, write_string};
use crate::map::Extras;

/// A member's name, spelled as the documentation has it and as its schema language has it.
pub(crate) type Name = (&'static str, &'static str);

/// Note on the members that were spelled the second way, separated by blanks.
pub(super) const NOTE: &str = "$snake";

/// Takes note of how members are spelled.
#[derive(Debug, Default)]
pub(super) struct Spelling {
    snake: String,
}

impl Spelling {
    /// How the member of the object at `path` is spelled here; as documented when it is not there. Told twice, it is refused.
    pub fn of(&mut self, f: &Fields<'_>, path: &Path<'_>, name: Name) -> Result<&'static str, DecodeError> {
        once(f, path, name)?;
        if f.peek(name.1).is_none() {
            return Ok(name.0);
        }
        if !self.snake.is_empty() {
            self.snake.push(' ');
        }
        self.snake.push_str(name.1);
        Ok(name.1)
    }

    /// The note, when there is something to note.
    pub fn note(self) -> Option<Extra> {
        (!self.snake.is_empty()).then(|| Extra::new(NOTE, format!("\"{}\"", self.snake)))
    }
}

/// Refuses a member that is told twice, in one spelling or in both. A hook would look at one and the provider might obey the other.
pub(super) fn once(f: &Fields<'_>, path: &Path<'_>, name: Name) -> Result<(), DecodeError> {
    let mut told = f.untaken().map(|(key, _)| key).filter(|key| *key == name.0 || *key == name.1);
    let (Some(first), Some(second)) = (told.next(), told.next()) else { return Ok(()) };
    let both = if first == second { String::new() } else { format!(", as `{first}` and as `{second}`") };
    Err(DecodeError::new(path.key(name.0), format!("told twice{both}; say it once")))
}

/// The value of a member, however it is spelled, unless it is `null`. The documented spelling counts when both are there.
pub(crate) fn peek<'a>(f: &Fields<'a>, name: Name) -> Option<Value<'a>> {
    f.peek(name.0).or_else(|| f.peek(name.1)).filter(|v| !v.is_null())
}

/// Takes a member, however it is spelled, unless it is `null`. Told twice, it is refused.
pub(crate) fn take<'a>(f: &mut Fields<'a>, path: &Path<'_>, name: Name) -> Result<Option<Value<'a>>, DecodeError> {
    once(f, path, name)?;
    Ok(f.take_some(name.0).or_else(|| f.take_some(name.1)))
}

/// How a member is to be spelled for these extras.
pub(super) fn spelled(extras: Extras<'_>, name: Name) -> &'static str {
    pick(extras.get(NOTE), name)
}

/// The same, where the extras are known to be of this format.
pub(super) fn spelled_in(extras: &[Extra], same: bool, name: Name) -> &'static str {
    pick(extra(extras, NOTE).filter(|_| same), name)
}

fn pick(note: Option<&str>, name: Name) -> &'static str {
    let snake = note.is_some_and(|words| words.trim_matches('"').split(' ').any(|word| word == name.1));
    if snake { name.1 } else { name.0 }
}

/// A text as JSON.
pub(super) fn quoted(text: &str) -> String {
    let mut json = Vec::new();
    write_string(&mut json, text);
    String::from_utf8(json).unwrap_or_default()
}
