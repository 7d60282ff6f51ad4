//! Text that must not be shown.

use std::fmt;

use super::reader::{Cursor, Setting};

/// A key or password. It shows as `***` wherever it is printed; only [`Secret::expose`] gives it away.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides a text.
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The text itself, for the header that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Removes every occurrence of the secret from a text that others will see.
    pub fn mask(&self, text: &str) -> String {
        if self.0.is_empty() { text.to_owned() } else { text.replace(&self.0, "***") }
    }
}

/// A secret in an environment variable that the configuration names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variable {
    /// Name of the variable.
    pub name: String,
    /// What is in it.
    pub value: Secret,
}

impl Setting for Variable {
    fn expected() -> String {
        "the name of an environment variable".into()
    }

    fn read(at: &mut Cursor<'_>) -> Option<Self> {
        let name = at.value.as_str().filter(|n| !n.is_empty() && !n.contains(['=', '\0']))?.to_owned();
        match std::env::var(&name).ok().filter(|v| !v.is_empty()) {
            Some(value) => Some(Self { name, value: Secret::new(value) }),
            None => {
                at.error(format!("the environment variable `{name}` is not set; set it, or leave this setting out."));
                None
            }
        }
    }

    fn show(&self) -> String {
        self.name.clone()
    }

    fn schema() -> serde_json::Value {
        serde_json::json!({"type": "string", "minLength": 1})
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::Secret;

    #[test]
    fn secrets_do_not_show() {
        let secret = Secret::new("sk-1234".into());
        assert_eq!(format!("{secret:?}"), "***");
        assert_eq!(secret.mask("key sk-1234 refused"), "key *** refused");
    }
}
