//! Arguments of a call that arrive in pieces: each says where it belongs (`$.items[0].name`) and, for a text, whether more of it follows.
//!
//! The pieces come in the order of the paths and not of a JSON text, so the arguments are complete only at the end of the call.

use crate::json::{Array, Fields, Kind, Object, Value, write_raw, write_string};

/// Deepest place of an argument.
const MAX_DEPTH: usize = 64;
/// Most places that the pieces of one call may make, and most elements that a piece may leave open before its own: a path is short and
/// could ask for any number of them, so more is a fault of the provider, and must not cost memory.
const MAX_NODES: usize = 100_000;
const MAX_GAP: usize = 16;

/// Arguments that grow.
#[derive(Debug, Default)]
pub(super) struct Arguments {
    root: Node,
    /// Places that the pieces made.
    made: usize,
}

#[derive(Debug, Default)]
enum Node {
    /// Nothing is known of it yet.
    #[default]
    Open,
    /// A text that may grow.
    Text(String),
    /// Any other value, as JSON.
    Raw(String),
    Object(Vec<(String, Node)>),
    Array(Vec<Node>),
}

enum Step {
    Key(String),
    Index(usize),
}

impl Arguments {
    /// What was told whole.
    pub fn whole(args: Value<'_>) -> Self {
        Self { root: Node::of(args, 0), made: 0 }
    }

    /// Takes an element of `partialArgs`; one that names no place is left out. False: its path asks for more places than are allowed.
    pub fn take(&mut self, mut piece: Fields<'_>) -> bool {
        let Some(steps) = piece.take("jsonPath").and_then(Value::text).and_then(|path| steps(&path)) else { return true };
        let told = ["stringValue", "numberValue", "boolValue", "nullValue"].into_iter().find_map(|name| Some((name, piece.take(name)?)));
        let Some((name, value)) = told else { return true };
        let mut node = &mut self.root;
        for step in steps {
            let Some(next) = node.step(step, &mut self.made) else { return false };
            node = next;
        }
        match (node, name, value.text()) {
            (Node::Text(text), "stringValue", Some(more)) => text.push_str(&more),
            (node, "stringValue", Some(text)) => *node = Node::Text(text.into_owned()),
            (node, "nullValue", _) => *node = Node::Raw("null".into()),
            (node, _, _) => *node = Node::Raw(value.raw().into()),
        }
        true
    }

    /// The arguments as JSON text: an object.
    pub fn finish(self) -> String {
        let mut out = Vec::new();
        match self.root {
            root @ Node::Object(_) => root.write(&mut out),
            _ => out.extend_from_slice(b"{}"),
        }
        String::from_utf8(out).unwrap_or_default()
    }
}

impl Node {
    fn of(value: Value<'_>, depth: usize) -> Self {
        match value.kind() {
            Kind::Object if depth < MAX_DEPTH => {
                let members = value.object().map(Fields::rest).unwrap_or_default();
                Self::Object(members.into_iter().filter_map(|e| Some((e.name, Self::of(Value::parse(&e.value)?, depth + 1)))).collect())
            }
            Kind::Array if depth < MAX_DEPTH => {
                Self::Array(value.elements().into_iter().flatten().map(|v| Self::of(v, depth + 1)).collect())
            }
            Kind::String => Self::Text(value.text().unwrap_or_default().into_owned()),
            _ => Self::Raw(value.raw().into()),
        }
    }

    /// The place that a step leads to, which it makes when it is not there; `None` when that asks for too many. `made` counts them.
    fn step(&mut self, step: Step, made: &mut usize) -> Option<&mut Self> {
        match step {
            Step::Key(key) => {
                if !matches!(self, Self::Object(_)) {
                    *self = Self::Object(Vec::new());
                }
                let Self::Object(members) = self else { return None };
                let at = match members.iter().position(|(name, _)| *name == key) {
                    Some(at) => at,
                    None => {
                        spend(made, 1)?;
                        members.push((key, Self::Open));
                        members.len() - 1
                    }
                };
                Some(&mut members[at].1)
            }
            Step::Index(index) => {
                if !matches!(self, Self::Array(_)) {
                    *self = Self::Array(Vec::new());
                }
                let Self::Array(elements) = self else { return None };
                let missing = index.saturating_add(1).saturating_sub(elements.len());
                if missing > MAX_GAP + 1 {
                    return None;
                }
                spend(made, missing)?;
                for _ in 0..missing {
                    elements.push(Self::Open);
                }
                Some(&mut elements[index])
            }
        }
    }

    fn write(self, out: &mut Vec<u8>) {
        match self {
            Self::Open => out.extend_from_slice(b"null"),
            Self::Text(text) => write_string(out, &text),
            Self::Raw(json) => write_raw(out, &json),
            Self::Object(members) => {
                let mut o = Object::new(out);
                members.into_iter().for_each(|(name, node)| node.write(o.key(&name)));
                o.end();
            }
            Self::Array(elements) => {
                let mut list = Array::new(out);
                elements.into_iter().for_each(|node| node.write(list.element()));
                list.end();
            }
        }
    }
}

/// Takes places out of what is allowed; `None` when that many are not left.
fn spend(made: &mut usize, count: usize) -> Option<()> {
    *made = made.checked_add(count).filter(|made| *made <= MAX_NODES)?;
    Some(())
}

/// The steps of a JSONPath (RFC 9535) that names one place: `$.a[0].b`, `$['a b']`.
fn steps(path: &str) -> Option<Vec<Step>> {
    let mut rest = path.strip_prefix('$')?;
    let mut steps = Vec::new();
    while !rest.is_empty() {
        if steps.len() == MAX_DEPTH {
            return None;
        }
        if let Some(named) = rest.strip_prefix('.') {
            let end = named.find(['.', '[']).unwrap_or(named.len());
            steps.push(Step::Key(named[..end].to_owned()));
            rest = &named[end..];
            continue;
        }
        let inner = rest.strip_prefix('[')?;
        let quote = inner.chars().next()?;
        if matches!(quote, '\'' | '"') {
            let (key, length) = quoted(&inner[1..], quote)?;
            steps.push(Step::Key(key));
            rest = inner[1 + length..].strip_prefix(']')?;
        } else {
            let (index, after) = inner.split_once(']')?;
            steps.push(Step::Index(index.parse().ok()?));
            rest = after;
        }
    }
    Some(steps)
}

/// A quoted name and its length with the closing quote.
fn quoted(text: &str, quote: char) -> Option<(String, usize)> {
    let mut key = String::new();
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            c if escaped => {
                key.push(c);
                escaped = false;
            }
            '\\' => escaped = true,
            c if c == quote => return Some((key, at + c.len_utf8())),
            c => key.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pieces: &[&str], expect: &str) {
        let mut arguments = Arguments::default();
        pieces.iter().for_each(|p| assert!(arguments.take(Value::parse(p).unwrap().object().unwrap()), "{p}"));
        assert_eq!(arguments.finish(), expect, "{pieces:?}");
    }

    #[test]
    fn arguments_from_pieces() {
        check(&[], "{}");
        check(&[r#"{"jsonPath":"$.a","stringValue":"x","willContinue":true}"#, r#"{"jsonPath":"$.a","stringValue":"y"}"#], r#"{"a":"xy"}"#);
        check(
            &[
                r#"{"jsonPath":"$.l[0].n","numberValue":0.5}"#,
                r#"{"jsonPath":"$.l[1].n","boolValue":true}"#,
                r#"{"jsonPath":"$.z","nullValue":"NULL_VALUE"}"#,
            ],
            r#"{"l":[{"n":0.5},{"n":true}],"z":null}"#,
        );
        check(&[r#"{"jsonPath":"$['a b'][\"c]\"]","stringValue":"x"}"#], r#"{"a b":{"c]":"x"}}"#);
        check(&[r#"{"jsonPath":"$.l[2]","stringValue":"x"}"#], r#"{"l":[null,null,"x"]}"#);
        // What names no place is left out.
        for path in ["", "a", "$x", "$[", "$['a", "$[-1]", "$[99999999999999999999]", "$.a[1", "$[0]"] {
            let piece = format!(r#"{{"jsonPath":"{path}","stringValue":"x"}}"#);
            check(&[&piece], "{}");
        }
        let mut arguments = Arguments::whole(Value::parse(r#"{"a":{"b":"x"},"c":[1]}"#).unwrap());
        assert!(arguments.take(Value::parse(r#"{"jsonPath":"$.a.b","stringValue":"y"}"#).unwrap().object().unwrap()));
        assert_eq!(arguments.finish(), r#"{"a":{"b":"xy"},"c":[1]}"#);
    }

    fn takes(arguments: &mut Arguments, path: &str) -> bool {
        let piece = format!(r#"{{"jsonPath":"{path}","boolValue":true}}"#);
        arguments.take(Value::parse(&piece).unwrap().object().unwrap())
    }

    #[test]
    fn a_path_that_asks_for_too_many_places() {
        for (path, expect) in [("$.a[16]", true), ("$.a[17]", false), ("$.a[10000][10000]", false), ("$[18446744073709551615]", false)] {
            assert_eq!(takes(&mut Arguments::default(), path), expect, "{path}");
        }
        // Open places count once they are there, and a list may grow as long as it likes within the budget.
        let mut arguments = Arguments::default();
        assert!((0..1000).all(|i| takes(&mut arguments, &format!("$.a[{i}]"))));
        assert!(takes(&mut arguments, "$.a[1016]") && !takes(&mut arguments, "$.a[1034]"));
        assert_eq!(arguments.made, 1018);
    }

    #[test]
    fn a_call_has_a_budget_of_places() {
        let mut arguments = Arguments::default();
        let deep = "[16]".repeat(50);
        let taken = (0..1000).take_while(|i| takes(&mut arguments, &format!("$.a{i}{deep}"))).count();
        // Each makes a member and 50 lists of 17.
        assert_eq!(taken, MAX_NODES / 851);
        assert!(arguments.made <= MAX_NODES);
    }
}
