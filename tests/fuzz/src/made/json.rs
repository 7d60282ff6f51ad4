//! Changes of a JSON document that leave it one: what a client, a provider or somebody in between may send and nobody thought of.

use std::fmt::Write as _;

use serde_json::Value;

use super::random::Random;

/// A document whose names and scalars keep their spelling, and where a member may be there twice.
#[derive(Debug, Clone)]
pub enum Node {
    /// A string, a number or a word, as it is written.
    Scalar(String),
    /// In order.
    List(Vec<Self>),
    /// Names as they are written, with their quotes.
    Object(Vec<(String, Self)>),
}

/// What can be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A member or an element is gone.
    Delete,
    /// It is there twice.
    Repeat,
    /// Two of them changed places.
    Swap,
    /// A value is of another type.
    Retype,
    /// A value is inside lists or objects, a few or very many.
    Nest,
    /// What was inside a value is in its place.
    Unnest,
    /// A value of another document is in its place.
    Splice,
    /// Members of another document come in.
    Join,
    /// A number at a limit, or spelled unusually.
    Number,
    /// A string that somebody could stumble over.
    Text,
    /// The same string in other escapes.
    Escape,
    /// A member has another name.
    Rename,
    /// A string is a word of the format.
    Word,
}

/// All kinds.
pub const KINDS: [Kind; 13] = [
    Kind::Delete,
    Kind::Repeat,
    Kind::Swap,
    Kind::Retype,
    Kind::Nest,
    Kind::Unnest,
    Kind::Splice,
    Kind::Join,
    Kind::Number,
    Kind::Text,
    Kind::Escape,
    Kind::Rename,
    Kind::Word,
];

const NUMBERS: [&str; 26] = [
    "0",
    "-0",
    "1",
    "-1",
    "0.5",
    "1.0",
    "1e0",
    "1E+2",
    "1e-7",
    "255",
    "256",
    "65536",
    "2147483647",
    "2147483648",
    "-2147483649",
    "4294967295",
    "4294967296",
    "9007199254740993",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775809",
    "18446744073709551615",
    "18446744073709551616",
    "1e308",
    "1e400",
    "0.1000000000000000055511151231257827",
];

const TEXTS: [&str; 24] = [
    r#""""#,
    r#"" ""#,
    r#""\n""#,
    r#""\u0000""#,
    r#""\ud83d\ude00""#,
    r#""\ud83d""#,
    r#""\ude00\ud83d""#,
    r#""\u2028\ufeff""#,
    "\"\u{1f600}e\u{301}\"",
    r#""\"\\\/\b\f\n\r\t""#,
    r#""data: [DONE]\n\n""#,
    r#""\r\n\r\nevent: error""#,
    r#""{\"a\":1}""#,
    r#""{\"a\":""#,
    r#""[]""#,
    r#""null""#,
    r#""$note""#,
    r#""a/b~c""#,
    r#""data:image/png;base64,AAAA""#,
    r#""data:;base64,""#,
    r#""https://x.example/a?b#c""#,
    r#""1.5""#,
    r#""-1""#,
    r#""2024-02-30T25:61:00Z""#,
];

const OTHERS: [&str; 8] = ["null", "true", "false", "0", "\"a\"", "[]", "{}", "1.5"];

/// More than any reader of ours follows.
const DEEP: usize = 200;

impl Node {
    /// A document that `serde_json` has a value for, and that can be changed inside.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let value: Value = serde_json::from_slice(bytes).ok()?;
        (value.is_object() || value.is_array()).then(|| Self::of(&value))
    }

    fn of(value: &Value) -> Self {
        match value {
            Value::Array(list) => Self::List(list.iter().map(Self::of).collect()),
            Value::Object(members) => Self::Object(members.iter().map(|(name, v)| (quoted(name), Self::of(v))).collect()),
            scalar => Self::Scalar(scalar.to_string()),
        }
    }

    /// Appends it on one line.
    pub fn write(&self, out: &mut String) {
        match self {
            Self::Scalar(text) => out.push_str(text),
            Self::List(list) => {
                out.push('[');
                for (i, node) in list.iter().enumerate() {
                    out.push_str(if i > 0 { "," } else { "" });
                    node.write(out);
                }
                out.push(']');
            }
            Self::Object(members) => {
                out.push('{');
                for (i, (name, node)) in members.iter().enumerate() {
                    out.push_str(if i > 0 { "," } else { "" });
                    out.push_str(name);
                    out.push(':');
                    node.write(out);
                }
                out.push('}');
            }
        }
    }

    /// How many values there are, itself among them.
    fn count(&self) -> usize {
        1 + match self {
            Self::Scalar(_) => 0,
            Self::List(list) => list.iter().map(Self::count).sum(),
            Self::Object(members) => members.iter().map(|(_, node)| node.count()).sum(),
        }
    }

    /// The values from the top down, in order, of which `wanted` says which count.
    fn nth(&mut self, left: &mut usize, wanted: fn(&Self) -> bool) -> Option<&mut Self> {
        if wanted(self) {
            if *left == 0 {
                return Some(self);
            }
            *left -= 1;
        }
        match self {
            Self::Scalar(_) => None,
            Self::List(list) => list.iter_mut().find_map(|node| node.nth(left, wanted)),
            Self::Object(members) => members.iter_mut().find_map(|(_, node)| node.nth(left, wanted)),
        }
    }

    fn how_many(&self, wanted: fn(&Self) -> bool) -> usize {
        usize::from(wanted(self))
            + match self {
                Self::Scalar(_) => 0,
                Self::List(list) => list.iter().map(|node| node.how_many(wanted)).sum::<usize>(),
                Self::Object(members) => members.iter().map(|(_, node)| node.how_many(wanted)).sum(),
            }
    }

    /// Any one of those that are wanted.
    fn any(&mut self, random: &mut Random, wanted: fn(&Self) -> bool) -> Option<&mut Self> {
        let count = self.how_many(wanted);
        let mut left = if count == 0 { return None } else { random.below(count) };
        self.nth(&mut left, wanted)
    }

    fn has_children(&self) -> bool {
        match self {
            Self::Scalar(_) => false,
            Self::List(list) => !list.is_empty(),
            Self::Object(members) => !members.is_empty(),
        }
    }

    fn is_object(&self) -> bool {
        matches!(self, Self::Object(members) if !members.is_empty())
    }

    fn is_text(&self) -> bool {
        matches!(self, Self::Scalar(text) if text.starts_with('"'))
    }

    fn is_number(&self) -> bool {
        matches!(self, Self::Scalar(text) if text.starts_with(|c: char| c == '-' || c.is_ascii_digit()))
    }
}

/// Changes the document once. Returns whether there was something to do it to.
pub fn change(random: &mut Random, kind: Kind, document: &mut Node, other: Option<&Node>, words: &[String]) -> bool {
    match kind {
        Kind::Delete | Kind::Repeat | Kind::Swap => {
            document.any(random, Node::has_children).is_some_and(|node| children(random, kind, node))
        }
        Kind::Retype => document.any(random, |_| true).is_some_and(|node| {
            *node = Node::Scalar((*random.pick(&OTHERS)).to_owned());
            true
        }),
        Kind::Nest => {
            let depth = if random.once_in(16) { DEEP } else { 1 + random.below(3) };
            let name = quoted(random.pick::<String>(words));
            document.any(random, |_| true).is_some_and(|node| {
                for _ in 0..depth {
                    let inner = std::mem::replace(node, Node::List(Vec::new()));
                    *node = if random.once_in(2) { Node::List(vec![inner]) } else { Node::Object(vec![(name.clone(), inner)]) };
                }
                true
            })
        }
        Kind::Unnest => document.any(random, Node::has_children).is_some_and(|node| {
            let inner = match node {
                Node::List(list) => list.swap_remove(random.below(list.len())),
                Node::Object(members) => members.swap_remove(random.below(members.len())).1,
                Node::Scalar(_) => return false,
            };
            *node = inner;
            true
        }),
        Kind::Splice => {
            let mut other = other.unwrap_or(document).clone();
            let taken = other.any(random, |_| true).cloned();
            taken.zip(document.any(random, |_| true)).map(|(taken, node)| *node = taken).is_some()
        }
        Kind::Join => {
            let mut other = other.unwrap_or(document).clone();
            let Some(Node::Object(from)) = other.any(random, Node::is_object) else { return false };
            let Some(Node::Object(into)) = document.any(random, Node::is_object) else { return false };
            for _ in 0..=random.below(3) {
                let member = random.pick(from).clone();
                into.insert(random.below(into.len() + 1), member);
            }
            true
        }
        Kind::Number => {
            let number = Node::Scalar((*random.pick(&NUMBERS)).to_owned());
            document.any(random, Node::is_number).map(|node| *node = number).is_some()
        }
        Kind::Text => {
            let text = Node::Scalar((*random.pick(&TEXTS)).to_owned());
            document.any(random, Node::is_text).map(|node| *node = text).is_some()
        }
        Kind::Word => {
            let word = Node::Scalar(quoted(random.pick::<String>(words)));
            document.any(random, Node::is_text).map(|node| *node = word).is_some()
        }
        Kind::Escape => escape(random, document),
        Kind::Rename => {
            let Some(Node::Object(members)) = document.any(random, Node::is_object) else { return false };
            let at = random.below(members.len());
            members[at].0 = match random.below(4) {
                0 => (*random.pick(&TEXTS)).to_owned(),
                1 => random.pick(members).0.clone(),
                _ => quoted(random.pick::<String>(words)),
            };
            true
        }
    }
}

fn children(random: &mut Random, kind: Kind, node: &mut Node) -> bool {
    match node {
        Node::Scalar(_) => return false,
        Node::List(list) => arrange(random, kind, list),
        Node::Object(members) => arrange(random, kind, members),
    }
    true
}

fn arrange<T: Clone>(random: &mut Random, kind: Kind, items: &mut Vec<T>) {
    let (one, two) = (random.below(items.len()), random.below(items.len()));
    match kind {
        Kind::Delete => drop(items.remove(one)),
        Kind::Repeat => items.insert(two, items[one].clone()),
        _ => items.swap(one, two),
    }
}

/// A name or a string, written with escapes where none are needed.
fn escape(random: &mut Random, document: &mut Node) -> bool {
    if random.once_in(2) {
        let Some(Node::Scalar(text)) = document.any(random, Node::is_text) else { return false };
        *text = escaped(random, text);
    } else {
        let Some(Node::Object(members)) = document.any(random, Node::is_object) else { return false };
        let at = random.below(members.len());
        members[at].0 = escaped(random, &members[at].0);
    }
    true
}

fn escaped(random: &mut Random, quoted: &str) -> String {
    let Ok(text) = serde_json::from_str::<String>(quoted) else { return quoted.to_owned() };
    let mut out = String::from("\"");
    for c in text.chars() {
        if random.once_in(2) {
            let mut units = [0; 2];
            c.encode_utf16(&mut units).iter().for_each(|unit| write!(out, "\\u{unit:04X}").expect("strings take it"));
        } else {
            let plain = self::quoted(c.encode_utf8(&mut [0; 4]));
            out.push_str(&plain[1..plain.len() - 1]);
        }
    }
    out + "\""
}

fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// Documents that grow with every change are cut off by the longest input; this keeps one of them from costing minutes.
pub fn is_huge(document: &Node) -> bool {
    document.count() > 20_000
}
