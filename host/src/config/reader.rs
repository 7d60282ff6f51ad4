//! Reads settings into structs, field by field, and collects what is wrong instead of stopping at the first.
//!
//! [`section!`] keeps a field's documentation, type and default in one place; the reference in `docs/` is made from it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use super::problems::{Problem, Severity};
use super::schema::or_besides;
use super::secret::Secret;
use super::shown::Shown;
use super::source::{Source, unknown};

/// What a field looks like, for the reference.
pub struct FieldDoc {
    /// Name in the file.
    pub name: &'static str,
    /// What it means.
    pub doc: &'static [&'static str],
    /// What is expected.
    pub expected: String,
    /// The default, as the file would write it; empty when there is none.
    pub default: String,
    /// The default in one line of YAML; none when there is no default, or no line has room for it.
    pub yaml: Option<String>,
    /// JSON Schema of what is expected.
    pub schema: Value,
    /// The settings in it, when it is a section, or holds some.
    pub inner: Option<Vec<Self>>,
    /// Whether it is a section that is always there.
    pub is_section: bool,
    /// Whether it is a list.
    pub is_list: bool,
}

/// A group of settings.
pub trait Section: Sized {
    /// Reads it from an object.
    fn read(at: &mut Cursor<'_>) -> Self;
    /// Its fields.
    fn fields() -> Vec<FieldDoc>;
}

/// A value that a field can have.
pub trait Setting: Sized {
    /// What is expected, for messages: `a number from 0 to 65535`.
    fn expected() -> String;
    /// Reads it. `None` means that the value is of another kind; details inside it are reported by the cursor.
    fn read(at: &mut Cursor<'_>) -> Option<Self>;
    /// The value as the file would write it; empty for none.
    fn show(&self) -> String;
    /// Whether values must not be printed, wrong ones included.
    fn is_secret() -> bool {
        false
    }
    /// The value as `config print` shows it.
    fn shown(&self) -> Shown {
        Shown::text(&self.show())
    }
    /// JSON Schema of the values; anything when it is not said.
    fn schema() -> Value {
        json!({})
    }
    /// The settings in it, when it is a section, or holds some.
    fn inner() -> Option<Vec<FieldDoc>> {
        None
    }
    /// Whether it is a list.
    fn is_list() -> bool {
        false
    }
}

/// A place in the settings, with the list where problems go.
pub struct Cursor<'a> {
    /// All layers.
    pub source: &'a Source,
    /// The value here.
    pub value: &'a Value,
    /// Where this is.
    pub path: String,
    /// What was found wrong so far.
    pub problems: &'a mut Vec<Problem>,
}

impl Cursor<'_> {
    /// The value of a member, if there is one.
    pub fn member<'b>(&'b mut self, name: &str) -> Option<Cursor<'b>> {
        let value = self.value.get(name)?;
        let path = self.join(name);
        Some(Cursor { source: self.source, value, path, problems: self.problems })
    }

    /// A field of a section: the default when it is absent or wrong.
    pub fn field<T: Setting>(&mut self, name: &str, default: impl FnOnce() -> T) -> T {
        match self.member(name) {
            None => default(),
            Some(mut at) => at.setting().unwrap_or_else(default),
        }
    }

    /// This value as a setting; a wrong one is reported.
    pub fn setting<T: Setting>(&mut self) -> Option<T> {
        let before = self.problems.len();
        let read = T::read(self);
        if read.is_none() && self.problems.len() == before {
            let found = if T::is_secret() { "something else".into() } else { shown(self.value) };
            self.error(format!("found {found}, expected {}.", T::expected()));
        }
        read
    }

    /// Reports members that nobody knows.
    pub fn only(&mut self, known: &[&str]) {
        let Some(object) = self.value.as_object() else { return };
        for name in object.keys().filter(|k| !known.contains(&k.as_str())) {
            self.problems.push(unknown(self.source, &self.path, name, known));
        }
    }

    /// Reports an error here.
    pub fn error(&mut self, message: String) {
        self.report(Severity::Error, message);
    }

    /// Reports a warning here.
    pub fn warning(&mut self, message: String) {
        self.report(Severity::Warning, message);
    }

    fn report(&mut self, severity: Severity, message: String) {
        self.problems.push(Problem { severity, place: self.source.place(&self.path), path: self.path.clone(), message });
    }

    fn join(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }
}

/// A field's name as the file writes it: `type` is a word of Rust.
pub fn name(field: &'static str) -> &'static str {
    field.trim_start_matches("r#")
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => format!("the text `{text}`"),
        Value::Array(_) => "a list".into(),
        Value::Object(_) => "a section".into(),
        other => format!("`{other}`"),
    }
}

/// Declares a section: a struct with documentation, types and defaults, and its reader.
#[macro_export]
macro_rules! section {
    ($(#[doc = $sdoc:literal])* pub struct $name:ident { $($(#[doc = $doc:literal])* $field:ident : $ty:ty = $default:expr),* $(,)? }) => {
        $(#[doc = $sdoc])*
        #[derive(Debug, Clone, PartialEq)]
        pub struct $name { $($(#[doc = $doc])* pub $field: $ty),* }

        impl $crate::config::reader::Section for $name {
            fn read(at: &mut $crate::config::reader::Cursor<'_>) -> Self {
                at.only(&[$($crate::config::reader::name(stringify!($field))),*]);
                Self { $($field: at.field($crate::config::reader::name(stringify!($field)), || $default)),* }
            }

            fn fields() -> Vec<$crate::config::reader::FieldDoc> {
                vec![$($crate::config::reader::FieldDoc {
                    name: $crate::config::reader::name(stringify!($field)),
                    doc: &[$($doc),*],
                    expected: <$ty as $crate::config::reader::Setting>::expected(),
                    default: <$ty as $crate::config::reader::Setting>::show(&$default),
                    yaml: <$ty as $crate::config::reader::Setting>::shown(&$default).inline(),
                    schema: <$ty as $crate::config::reader::Setting>::schema(),
                    inner: <$ty as $crate::config::reader::Setting>::inner(),
                    is_section: <$ty as $crate::config::reader::Setting>::shown(&$default).has_names(),
                    is_list: <$ty as $crate::config::reader::Setting>::is_list(),
                }),*]
            }
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($field: $default),* }
            }
        }

        impl $crate::config::reader::Setting for $name {
            fn expected() -> String {
                "a section".into()
            }

            fn read(at: &mut $crate::config::reader::Cursor<'_>) -> Option<Self> {
                at.value.is_object().then(|| <Self as $crate::config::reader::Section>::read(at))
            }

            fn show(&self) -> String {
                String::new()
            }

            fn shown(&self) -> $crate::config::shown::Shown {
                $crate::config::shown::Shown::Names(vec![$((
                    $crate::config::reader::name(stringify!($field)).to_owned(),
                    $crate::config::reader::Setting::shown(&self.$field),
                )),*])
            }

            fn schema() -> serde_json::Value {
                $crate::config::schema::section(<Self as $crate::config::reader::Section>::fields())
            }

            fn inner() -> Option<Vec<$crate::config::reader::FieldDoc>> {
                Some(<Self as $crate::config::reader::Section>::fields())
            }
        }
    };
}

impl Setting for bool {
    fn expected() -> String {
        "`true` or `false`".into()
    }

    fn read(at: &mut Cursor<'_>) -> Option<Self> {
        match at.value {
            // Environment variables are text.
            Value::String(text) => text.parse().ok(),
            value => value.as_bool(),
        }
    }

    fn show(&self) -> String {
        self.to_string()
    }

    fn shown(&self) -> Shown {
        Shown::Plain(self.to_string())
    }

    fn schema() -> Value {
        json!({"type": "boolean"})
    }
}

impl Setting for String {
    fn expected() -> String {
        "text".into()
    }

    fn read(at: &mut Cursor<'_>) -> Option<Self> {
        match at.value {
            Value::String(text) => Some(text.clone()),
            Value::Number(n) => Some(n.to_string()),
            _ => None,
        }
    }

    fn show(&self) -> String {
        self.clone()
    }

    fn schema() -> Value {
        json!({"type": ["string", "number"]})
    }
}

macro_rules! numbers {
    ($($ty:ty),*) => {$(
        impl Setting for $ty {
            fn expected() -> String {
                match size_of::<$ty>() {
                    8 => "a whole number".into(),
                    _ => format!("a number from 0 to {}", <$ty>::MAX),
                }
            }

            fn read(at: &mut Cursor<'_>) -> Option<Self> {
                let number = match at.value {
                    Value::String(text) => text.parse().ok()?,
                    value => value.as_u64()?,
                };
                <$ty>::try_from(number).ok()
            }

            fn show(&self) -> String {
                self.to_string()
            }

            fn shown(&self) -> Shown {
                Shown::Plain(self.to_string())
            }

            fn schema() -> Value {
                json!({"type": "integer", "minimum": 0, "maximum": <$ty>::MAX})
            }
        }
    )*};
}

numbers!(u16, u32, u64, usize);

impl Setting for f64 {
    fn expected() -> String {
        "a number".into()
    }

    fn read(at: &mut Cursor<'_>) -> Option<Self> {
        let number = match at.value {
            Value::String(text) => text.parse().ok()?,
            value => value.as_f64()?,
        };
        Some(number).filter(|n: &f64| n.is_finite() && *n >= 0.0)
    }

    fn show(&self) -> String {
        self.to_string()
    }

    fn shown(&self) -> Shown {
        Shown::Plain(self.to_string())
    }

    fn schema() -> Value {
        json!({"type": "number", "minimum": 0})
    }
}

impl Setting for PathBuf {
    fn expected() -> String {
        "a path".into()
    }

    fn read(at: &mut Cursor<'_>) -> Option<Self> {
        at.value.as_str().filter(|p| !p.is_empty()).map(PathBuf::from)
    }

    fn show(&self) -> String {
        self.display().to_string()
    }

    fn shown(&self) -> Shown {
        // A path that was not given is none.
        if self.as_os_str().is_empty() { Shown::Nothing } else { Shown::text(&self.show()) }
    }

    fn schema() -> Value {
        json!({"type": "string", "minLength": 1})
    }
}

impl Setting for Duration {
    fn expected() -> String {
        "a duration such as `500ms`, `30s` or `5m`".into()
    }

    fn read(at: &mut Cursor<'_>) -> Option<Self> {
        let text = at.value.as_str()?;
        let unit = text.find(|c: char| c.is_ascii_alphabetic())?;
        let number: f64 = text[..unit].trim().parse().ok().filter(|n: &f64| (0.0..1e9).contains(n))?;
        let seconds = match &text[unit..] {
            "ms" => number / 1e3,
            "s" => number,
            "m" => number * 60.0,
            "h" => number * 3600.0,
            _ => return None,
        };
        Some(Duration::from_secs_f64(seconds))
    }

    fn show(&self) -> String {
        match self.as_secs() {
            _ if self.subsec_millis() > 0 => format!("{}ms", self.as_millis()),
            seconds if seconds > 0 && seconds.is_multiple_of(3600) => format!("{}h", seconds / 3600),
            seconds => format!("{seconds}s"),
        }
    }

    fn shown(&self) -> Shown {
        Shown::Plain(self.show())
    }

    fn schema() -> Value {
        json!({"type": "string", "pattern": "^[0-9]+(\\.[0-9]+)? *(ms|s|m|h)$"})
    }
}

impl Setting for Secret {
    fn expected() -> String {
        "text, `${VARIABLE}` or `file:PATH`".into()
    }

    fn read(at: &mut Cursor<'_>) -> Option<Self> {
        let number;
        let text = match at.value {
            Value::String(text) => text,
            Value::Number(digits) => {
                number = digits.to_string();
                &number
            }
            _ => return None,
        };
        match text.strip_prefix("file:") {
            None => Some(Secret::new(text.to_owned())),
            Some(path) => match std::fs::read_to_string(path) {
                Ok(text) => Some(Secret::new(text.trim_end().to_owned())),
                Err(e) => {
                    at.error(format!("the file `{path}` cannot be read: {e}."));
                    None
                }
            },
        }
    }

    fn show(&self) -> String {
        "***".into()
    }

    fn schema() -> Value {
        json!({"type": ["string", "number"]})
    }

    fn is_secret() -> bool {
        true
    }
}

impl Setting for Value {
    fn expected() -> String {
        "anything".into()
    }

    fn read(at: &mut Cursor<'_>) -> Option<Self> {
        Some(at.value.clone())
    }

    fn show(&self) -> String {
        self.to_string()
    }

    fn shown(&self) -> Shown {
        Shown::undescribed("", self)
    }
}

impl<T: Setting> Setting for Option<T> {
    fn expected() -> String {
        T::expected()
    }

    fn read(at: &mut Cursor<'_>) -> Option<Self> {
        T::read(at).map(Some)
    }

    fn is_secret() -> bool {
        T::is_secret()
    }

    fn show(&self) -> String {
        self.as_ref().map_or_else(String::new, T::show)
    }

    fn shown(&self) -> Shown {
        self.as_ref().map_or(Shown::Nothing, T::shown)
    }

    fn schema() -> Value {
        T::schema()
    }

    fn inner() -> Option<Vec<FieldDoc>> {
        T::inner()
    }

    fn is_list() -> bool {
        T::is_list()
    }
}

impl<T: Setting> Setting for Vec<T> {
    fn expected() -> String {
        format!("a list of {}", T::expected())
    }

    fn read(at: &mut Cursor<'_>) -> Option<Self> {
        let items = at.value.as_array()?;
        let mut read = Vec::with_capacity(items.len());
        for (n, value) in items.iter().enumerate() {
            let path = format!("{}[{n}]", at.path);
            read.extend(Cursor { source: at.source, value, path, problems: at.problems }.setting());
        }
        Some(read)
    }

    fn is_secret() -> bool {
        T::is_secret()
    }

    fn show(&self) -> String {
        format!("[{}]", self.iter().map(T::show).collect::<Vec<_>>().join(", "))
    }

    fn shown(&self) -> Shown {
        Shown::List(self.iter().map(T::shown).collect())
    }

    fn schema() -> Value {
        json!({"type": "array", "items": or_besides(T::schema())})
    }

    fn inner() -> Option<Vec<FieldDoc>> {
        T::inner()
    }

    fn is_list() -> bool {
        true
    }
}

impl<T: Setting> Setting for BTreeMap<String, T> {
    fn expected() -> String {
        format!("names, each with {}", T::expected())
    }

    fn read(at: &mut Cursor<'_>) -> Option<Self> {
        let names: Vec<&String> = at.value.as_object()?.keys().collect();
        let mut read = BTreeMap::new();
        for name in names {
            if let Some(value) = at.member(name).and_then(|mut m| m.setting()) {
                read.insert(name.clone(), value);
            }
        }
        Some(read)
    }

    fn is_secret() -> bool {
        T::is_secret()
    }

    fn show(&self) -> String {
        String::new()
    }

    fn shown(&self) -> Shown {
        Shown::Names(self.iter().map(|(name, value)| (name.clone(), value.shown())).collect())
    }

    fn schema() -> Value {
        json!({"type": "object", "additionalProperties": or_besides(T::schema())})
    }
}
