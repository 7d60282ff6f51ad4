//! How two results differ, in words that fit in a line. Results are compared by the text that `Debug` makes of them.

/// Longest message, in bytes.
const MAX_MESSAGE: usize = 300;

/// Most of one value in a message, in bytes.
const MAX_VALUE: usize = 100;

/// How much of a value is shown before the place where it differs, in bytes.
const LEAD: usize = 20;

/// `noun: before became after`, or nothing when they are the same. Of long results it names the first field that differs.
pub fn difference(noun: &str, before: &str, after: &str) -> Option<String> {
    let at = before.bytes().zip(after.bytes()).position(|(b, a)| b != a);
    let at = at.or_else(|| (before.len() != after.len()).then(|| before.len().min(after.len())))?;
    let at = before.floor_char_boundary(at);
    if before.len() <= MAX_VALUE && after.len() <= MAX_VALUE {
        return Some(format!("{noun}: `{}` became `{}`", brief(before), brief(after)));
    }
    let Place { path, start } = place(before, at);
    let excerpt = |text: &str| {
        let value = value(&text[start..]);
        let from = if value.len() <= MAX_VALUE { 0 } else { value.floor_char_boundary((at - start).saturating_sub(LEAD)) };
        let lead = if from > 0 { "…" } else { "" };
        format!("{lead}{}", cut(&value[from..], MAX_VALUE))
    };
    Some(format!("{noun}{path}: `{}` became `{}`", brief(&excerpt(before)), brief(&excerpt(after))))
}

/// A message that is short enough.
pub fn message(text: &str) -> String {
    cut(text, MAX_MESSAGE)
}

/// A text of at most this many bytes, with a mark where it was cut.
pub fn cut(text: &str, most: usize) -> String {
    if text.len() <= most { text.to_owned() } else { format!("{}…", &text[..text.floor_char_boundary(most)]) }
}

/// `Decision::Reject(…)` as `reject(…)`: the type is known from where it stands.
pub fn brief(text: &str) -> String {
    let name = text.find(|c: char| !c.is_alphanumeric() && c != ':').unwrap_or(text.len());
    let Some((_, variant)) = text[..name].split_once("::") else { return text.to_owned() };
    let mut kebab = String::new();
    for c in variant.chars() {
        if c.is_uppercase() && !kebab.is_empty() {
            kebab.push('-');
        }
        kebab.extend(c.to_lowercase());
    }
    kebab + &text[name..]
}

/// Where in a text something is.
struct Place {
    /// Fields and numbers of elements around it, for example `.messages[2].text`.
    path: String,
    /// Where the innermost value begins.
    start: usize,
}

/// A bracket that is open, and where in it we are.
struct Open<'a> {
    bracket: u8,
    index: usize,
    field: Option<&'a str>,
    start: usize,
}

/// Finds the place of a byte. All that matters in the text is ASCII, so other bytes are passed over.
fn place(text: &str, at: usize) -> Place {
    let bytes = text.as_bytes();
    let mut open: Vec<Open> = Vec::new();
    let mut n = 0;
    while n < at {
        match bytes[n] {
            b'"' => {
                let end = string_end(bytes, n);
                if end > at {
                    break;
                }
                n = end;
                continue;
            }
            bracket @ (b'{' | b'[' | b'(') => open.push(Open { bracket, index: 0, field: None, start: skip_space(bytes, n + 1) }),
            b'}' | b']' | b')' => drop(open.pop()),
            b',' => {
                if let Some(inner) = open.last_mut() {
                    *inner = Open { index: inner.index + 1, field: None, start: skip_space(bytes, n + 1), ..*inner };
                }
            }
            b':' if bytes.get(n + 1) == Some(&b' ') => {
                if let Some(inner) = open.last_mut() {
                    inner.field = text.get(inner.start..n);
                    inner.start = n + 2;
                }
            }
            _ => {}
        }
        n += 1;
    }
    let mut path = String::new();
    for inner in &open {
        match (inner.bracket, inner.field) {
            (_, Some(field)) => path.extend([".", field]),
            (b'[', None) => path.push_str(&format!("[{}]", inner.index)),
            // `Some(…)` and the like are no place of their own.
            (b'(', None) if inner.index > 0 => path.push_str(&format!(".{}", inner.index)),
            _ => {}
        }
    }
    Place { path, start: open.last().map_or(0, |inner| inner.start.min(at)) }
}

/// The first whole value of a text.
fn value(text: &str) -> &str {
    let bytes = text.as_bytes();
    let (mut depth, mut n) = (0usize, 0);
    while n < bytes.len() {
        match bytes[n] {
            b'"' => {
                n = string_end(bytes, n);
                continue;
            }
            b'{' | b'[' | b'(' => depth += 1,
            b',' | b'}' | b']' | b')' if depth == 0 => break,
            b'}' | b']' | b')' => depth -= 1,
            _ => {}
        }
        n += 1;
    }
    text[..n.min(bytes.len())].trim_end()
}

/// One past the quote that closes the string that begins here.
fn string_end(bytes: &[u8], start: usize) -> usize {
    let mut n = start + 1;
    while n < bytes.len() && bytes[n] != b'"' {
        n += if bytes[n] == b'\\' { 2 } else { 1 };
    }
    (n + 1).min(bytes.len())
}

fn skip_space(bytes: &[u8], mut n: usize) -> usize {
    while bytes.get(n) == Some(&b' ') {
        n += 1;
    }
    n
}

#[cfg(test)]
mod tests {
    use llm_codec::hub::{Message, Params, Role};

    use super::*;

    #[test]
    fn short_results_are_shown_whole() {
        assert_eq!(difference("decision", "Decision::Continue", "Decision::Continue"), None);
        for (before, after, expect) in [
            ("Decision::Reject(1)", "Decision::Continue", "decision: `reject(1)` became `continue`"),
            ("Some(1)", "None", "decision: `Some(1)` became `None`"),
            ("Edit::ResponseHeader(ä)", "Edit::ResponseHeader(ö)", "decision: `response-header(ä)` became `response-header(ö)`"),
            ("[]", "[1]", "decision: `[]` became `[1]`"),
        ] {
            assert_eq!(difference("decision", before, after).as_deref(), Some(expect));
        }
    }

    /// Two long results that differ somewhere.
    fn check(change: impl Fn(&mut (Vec<Message>, Params)), expect: &str) {
        let before = (vec![Message::text(Role::System, "Be (\"brief\") {nice, and"), Message::text(Role::User, "ä")], Params::default());
        let mut after = before.clone();
        change(&mut after);
        assert_eq!(difference("edits", &format!("{before:?}"), &format!("{after:?}")).as_deref(), Some(expect));
    }

    #[test]
    fn of_long_results_the_first_field_that_differs_is_named() {
        check(|c| c.0[1].role = Role::Assistant, "edits[1].role: `User` became `Assistant`");
        check(|c| c.1.seed = Some(7), "edits.1.seed: `None` became `Some(7)`");
        check(|c| c.0[1] = Message::text(Role::User, "ö"), "edits[1].parts[0].kind: `\"ä\"` became `\"ö\"`");
        check(|c| c.0[0].name = Some("n\"".into()), "edits[0].name: `None` became `Some(\"n\\\"\")`");
    }

    #[test]
    fn a_long_text_is_shown_from_where_it_differs() {
        let text = |tail: &str| format!("{{ text: \"{}{tail}{}\" }}", "x".repeat(1000), "y".repeat(1000));
        let found = difference("answer", &text("ABC"), &text("ABD")).unwrap();
        assert!(found.starts_with("answer.text: `…xxxx"), "{found}");
        assert!(found.contains("xABCyy") && found.contains("xABDyy") && found.len() < MAX_MESSAGE, "{found}");
    }
}
