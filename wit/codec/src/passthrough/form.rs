//! Forms (`multipart/form-data`, RFC 7578), as far as a gateway must know them: which text fields there are, and where.
//!
//! The content of files is not looked at, only passed over. A form that parsers may read differently (escaped names, fields with an
//! encoding, text before the first boundary) is refused: what was checked here must be what the provider reads.

use std::ops::Range;

use memchr::memmem;

/// Longest head of a part, in bytes.
const MAX_HEAD: usize = 8 << 10;
/// Most parts.
const MAX_PARTS: usize = 1024;
/// Longest boundary (RFC 2046, section 5.1.1).
const MAX_BOUNDARY: usize = 70;

/// A form and where its fields are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Form {
    boundary: String,
    fields: Vec<Field>,
}

/// One field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// Where its value is in the body.
    pub value: Range<usize>,
    /// It is a file: it has a file's name.
    pub file: bool,
}

impl Form {
    /// Whether a `content-type` says that the body is a form.
    pub fn is_announced(content_type: &str) -> bool {
        let kind = content_type.split(';').next().unwrap_or_default();
        kind.trim().eq_ignore_ascii_case("multipart/form-data")
    }

    /// Finds the fields.
    ///
    /// # Errors
    /// What is wrong, for whoever sent the form.
    pub fn parse(content_type: &str, body: &[u8]) -> Result<Self, &'static str> {
        let boundary = boundary(content_type).ok_or("its content type names no usable `boundary`")?;
        let delimiter = format!("\r\n--{boundary}");
        let finder = memmem::Finder::new(&delimiter);
        let dashes = memmem::Finder::new(&delimiter.as_bytes()[2..]);
        let mut at = match body.strip_prefix(&delimiter.as_bytes()[2..]) {
            Some(_) => delimiter.len() - 2,
            None => return Err("it does not begin with its boundary"),
        };
        let mut fields = Vec::new();
        loop {
            let rest = &body[at..];
            if let Some(epilogue) = rest.strip_prefix(b"--") {
                if !epilogue.trim_ascii().is_empty() {
                    return Err("something follows after its end");
                }
                return Ok(Self { boundary: boundary.to_owned(), fields });
            }
            if fields.len() == MAX_PARTS {
                return Err("it has more than 1024 parts");
            }
            let head = rest.strip_prefix(b"\r\n").ok_or("a boundary is not followed by a line end")?;
            let shown = &head[..head.len().min(MAX_HEAD)];
            let end = memmem::find(shown, b"\r\n\r\n").ok_or("the head of a part does not end, or is longer than 8192 bytes")?;
            let (name, file) = part(&head[..end])?;
            let start = at + 2 + end + 4;
            let length = finder.find(&body[start..]).ok_or("it does not end with its boundary")?;
            // Who takes a lone CR or LF for the end of a line, or the end of a head for one, sees another part begin here.
            let whole = &body[at..start + length];
            if dashes.find_iter(whole).any(|i| i > 0 && matches!(whole[i - 1], b'\r' | b'\n')) {
                return Err("a part has a line that begins with the boundary; send the form with another boundary");
            }
            at = start + length + delimiter.len();
            fields.push(Field { name, value: start..start + length, file });
        }
    }

    /// The content type that says what was read here and nothing else, whatever the client's own said.
    pub fn content_type(&self) -> String {
        let token = self.boundary.chars().all(|c| c.is_ascii_alphanumeric() || "'+_-.".contains(c));
        let quote = if token { "" } else { "\"" };
        format!("multipart/form-data; boundary={quote}{}{quote}", self.boundary)
    }

    /// The fields of a name.
    pub fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Field> + 'a {
        self.fields.iter().filter(move |f| f.name == name)
    }

    /// The text of a field that is there once and is no file.
    pub fn text<'b>(&self, body: &'b [u8], name: &str) -> Option<&'b str> {
        let mut all = self.named(name);
        let field = all.next().filter(|f| !f.file)?;
        if all.next().is_some() {
            return None;
        }
        std::str::from_utf8(body.get(field.value.clone())?).ok()
    }

    /// The body with another value in a text field that is there once; none when there is no such field.
    pub fn with_text(&self, body: &[u8], name: &str, value: &str) -> Option<Vec<u8>> {
        self.text(body, name)?;
        let place = self.named(name).next()?.value.clone();
        let mut out = Vec::with_capacity(body.len() + value.len());
        out.extend_from_slice(&body[..place.start]);
        out.extend_from_slice(value.as_bytes());
        out.extend_from_slice(&body[place.end..]);
        Some(out)
    }
}

/// The boundary that a content type names.
fn boundary(content_type: &str) -> Option<&str> {
    let (_, mut rest) = content_type.split_once(';')?;
    let mut found = None;
    loop {
        let (key, value, left) = parameter(rest).ok()?;
        if key.eq_ignore_ascii_case("boundary") && found.replace(value).is_some() {
            return None;
        }
        match left {
            Some(left) => rest = left,
            None => break,
        }
    }
    let value = found?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "'()+_,-./:=? ".contains(c);
    (!value.is_empty() && value.len() <= MAX_BOUNDARY && !value.ends_with(' ') && value.chars().all(plain)).then_some(value)
}

/// Name of a part, and whether it is a file.
fn part(head: &[u8]) -> Result<(String, bool), &'static str> {
    let head = std::str::from_utf8(head).map_err(|_| "the head of a part is not UTF-8")?;
    let (mut disposition, mut foreign) = (None, false);
    for line in head.split("\r\n") {
        if line.starts_with([' ', '\t']) || line.contains(['\r', '\n']) {
            return Err("the head of a part has a line that is broken");
        }
        let (name, value) = line.split_once(':').ok_or("the head of a part has a line without a colon")?;
        if !is_plain(name) {
            return Err("the head of a part has a line that is broken");
        }
        let twice = name.eq_ignore_ascii_case("content-disposition") && disposition.replace(value.trim()).is_some();
        if twice {
            return Err("a part has two dispositions");
        }
        let plain = ["7bit", "8bit", "binary"].iter().any(|e| value.trim().eq_ignore_ascii_case(e));
        if name.eq_ignore_ascii_case("content-transfer-encoding") && !plain {
            return Err("a part has a transfer encoding");
        }
        foreign |= name.eq_ignore_ascii_case("content-type") && is_foreign(value);
    }
    let disposition = disposition.ok_or("a part has no `content-disposition`")?;
    let (kind, mut rest) = disposition.split_once(';').ok_or("a part has no name")?;
    if !kind.trim().eq_ignore_ascii_case("form-data") {
        return Err("a part is not `form-data`");
    }
    let (mut name, mut file) = (None, false);
    loop {
        let (key, value, left) = parameter(rest)?;
        match key.to_ascii_lowercase().as_str() {
            "name" if value.contains(['\\', '%']) => return Err("the name of a part is escaped"),
            // Some readers cut such a name, or trim it.
            "name" if value.contains(char::is_control) || value.trim() != value => return Err("the name of a part is broken"),
            "name" if name.replace(value).is_some() => return Err("a part has two names"),
            "filename" | "filename*" => file = true,
            _ => {}
        }
        match left {
            Some(left) => rest = left,
            None => break,
        }
    }
    if foreign && !file {
        return Err("a text field is not UTF-8; send its `content-type` without a charset");
    }
    Ok((name.ok_or("a part has no name")?.to_owned(), file))
}

/// Whether a content type names a charset in which ASCII may be written in other bytes.
fn is_foreign(content_type: &str) -> bool {
    let same = ["charset=utf-8", "charset=utf8", "charset=us-ascii", "charset=iso-8859-1"];
    content_type.to_ascii_lowercase().split(';').skip(1).any(|parameter| {
        let parameter: String = parameter.chars().filter(|c| !matches!(c, ' ' | '\t' | '"')).collect();
        parameter.contains("charset") && !same.contains(&parameter.as_str())
    })
}

/// Whether a name is one that every reader reads alike.
fn is_plain(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}

/// The next parameter, its value without quotes, and what follows if anything does.
fn parameter(text: &str) -> Result<(&str, &str, Option<&str>), &'static str> {
    const BROKEN: &str = "the disposition of a part is broken";
    let (key, rest) = text.split_once('=').ok_or(BROKEN)?;
    let key = key.trim_start_matches([' ', '\t']);
    // `name*` and `name*0` are a name to some readers. `filename*` says no more than that there is a file.
    if key.contains('*') && !key.eq_ignore_ascii_case("filename*") {
        return Err("a parameter of a part is encoded or in pieces");
    }
    if !is_plain(key.trim_end_matches('*')) {
        return Err(BROKEN);
    }
    let (value, rest) = match rest.strip_prefix('"') {
        Some(quoted) => {
            let mut escaped = false;
            let close = |c: char| {
                let closes = c == '"' && !escaped;
                escaped = c == '\\' && !escaped;
                closes
            };
            let end = quoted.find(close).ok_or(BROKEN)?;
            let value = &quoted[..end];
            // Who knows no escapes ends the value at its first quote, and reads parameters in the rest of it.
            if value.split_once('"').is_some_and(|(_, rest)| rest.contains(';')) {
                return Err(BROKEN);
            }
            (value, quoted[end + 1..].trim_start_matches([' ', '\t']))
        }
        None => {
            let end = rest.find(';').unwrap_or(rest.len());
            let value = rest[..end].trim_end_matches([' ', '\t']);
            if value.contains(|c: char| matches!(c, '"' | '\\') || c.is_whitespace() || c.is_control()) {
                return Err(BROKEN);
            }
            (value, &rest[end..])
        }
    };
    match rest.strip_prefix(';') {
        Some(left) if left.trim().is_empty() => Ok((key, value, None)),
        Some(left) => Ok((key, value, Some(left))),
        None if rest.is_empty() => Ok((key, value, None)),
        None => Err(BROKEN),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TYPE: &str = "multipart/form-data; boundary=b1";

    /// A form of parts, each its head and value.
    fn form(parts: &[(&str, &str)]) -> String {
        let parts = parts.iter().map(|(head, value)| format!("--b1\r\n{head}\r\n\r\n{value}\r\n"));
        format!("{}--b1--\r\n", parts.collect::<String>())
    }

    const MODEL: &str = "Content-Disposition: form-data; name=\"model\"";

    #[test]
    fn fields_are_found_and_replaced() {
        let file = "content-disposition: form-data; name=file; filename=\"a; name=\\\"model\\\".wav\"\r\nContent-Type: audio/wav";
        let body = form(&[(file, "\r\n--b\r\nmodel"), (MODEL, "whisper-1"), ("Content-Disposition: form-data; name=\"empty\"", "")]);
        let parsed = Form::parse(TYPE, body.as_bytes()).unwrap();
        let text = |name: &str| parsed.text(body.as_bytes(), name);
        assert_eq!((text("model"), text("empty"), text("file"), text("none")), (Some("whisper-1"), Some(""), None, None));
        assert_eq!(&body[parsed.named("file").next().unwrap().value.clone()], "\r\n--b\r\nmodel");
        let other = String::from_utf8(parsed.with_text(body.as_bytes(), "model", "m").unwrap()).unwrap();
        assert_eq!(other, body.replace("whisper-1", "m"));
        assert!(Form::parse(TYPE, other.as_bytes()).is_ok());
        assert_eq!(parsed.with_text(body.as_bytes(), "file", "m"), None, "a file is no text");
        assert_eq!(Form::parse(TYPE, b"--b1--").unwrap().fields, []);
    }

    #[test]
    fn a_field_that_is_there_twice_has_no_text() {
        let body = form(&[(MODEL, "a"), (MODEL, "b")]);
        let parsed = Form::parse(TYPE, body.as_bytes()).unwrap();
        assert_eq!((parsed.named("model").count(), parsed.text(body.as_bytes(), "model")), (2, None));
    }

    #[test]
    fn boundaries() {
        for (kind, expect) in [
            ("multipart/form-data; boundary=x", Some("x")),
            ("multipart/form-data; charset=utf-8; Boundary=\"a b:c\"", Some("a b:c")),
            ("multipart/form-data", None),
            ("multipart/form-data; boundary=", None),
            ("multipart/form-data; boundary=a; boundary=b", None),
            ("multipart/form-data; boundary=\"a;b\"", None),
            ("multipart/form-data; boundary=ä", None),
            ("multipart/form-data; boundary=a\"b", None),
            ("multipart/form-data; boundary=a b", None),
            ("multipart/form-data; boundary =a", None),
            ("multipart/form-data; boundary*=utf-8''a", None),
            ("multipart/form-data; boundary=a; boundary*=utf-8''b", None),
            ("multipart/form-data; boundary*0=a; boundary*1=b", None),
            ("multipart/form-data; x; boundary=a", None),
            ("multipart/form-data; x=\"; boundary=a\"; boundary=b", Some("b")),
            ("multipart/form-data; x=\"\\\"; boundary=a\"; boundary=b", None),
        ] {
            assert_eq!(boundary(kind), expect, "{kind}");
        }
        assert!(boundary(&format!("x; boundary={}", "a".repeat(71))).is_none());
    }

    #[test]
    fn the_content_type_says_only_what_was_read() {
        let said = |kind: &str, body: &str| Form::parse(kind, body.as_bytes()).unwrap().content_type();
        assert_eq!(said("multipart/form-data;charset=utf-8; Boundary=\"b1\"; x=y", "--b1--"), TYPE);
        let kind = "multipart/form-data; boundary=\"a b:c\"";
        assert_eq!(said(kind, "--a b:c--"), kind);
        assert_eq!(said("multipart/form-data; boundary=a=b", "--a=b--"), "multipart/form-data; boundary=\"a=b\"");
    }

    #[test]
    fn what_forms_of_other_clients_look_like_is_read() {
        for head in [
            "Content-Disposition: form-data; name=\"model\";",
            "content-disposition: form-data;name=model",
            "Content-Disposition: form-data; name=\"model\"\r\nContent-Type: text/plain; charset=\"UTF-8\"",
            "Content-Disposition: form-data; name=\"model\"\r\nContent-Type: text/plain; charset=ISO-8859-1\r\nContent-Length: 1",
        ] {
            let body = form(&[(head, "x")]);
            assert_eq!(Form::parse(TYPE, body.as_bytes()).unwrap().text(body.as_bytes(), "model"), Some("x"), "{head}");
        }
        for head in [
            "Content-Disposition: form-data; name=\"file\"; filename=\"\u{e4}.csv\"; filename*=UTF-8''%C3%A4.csv",
            "Content-Disposition: form-data; name=\"file\"; filename=\"a \\\"b\\\".csv\"\r\nContent-Type: text/csv; charset=utf-16",
        ] {
            let body = form(&[(head, "a --b1 b\r\n-b1\n--b")]);
            let parsed = Form::parse(TYPE, body.as_bytes()).unwrap();
            assert!(parsed.named("file").all(|f| f.file) && parsed.named("file").count() == 1, "{head}");
        }
    }

    #[test]
    fn a_second_model_cannot_be_hidden() {
        for rest in [
            "x; foo; name=\"model\"",
            "foo; name=\"model\"",
            "name*0=mo; name*1=del",
            "name*0*=utf-8''mo",
            "name=a; name*=utf-8''model",
            "name=\"a\"; x=y\"; name=\"model\"",
            "name=a\"; x=\"; name=model",
            "name =\"model\"",
            "name= \"model\"",
            "name=mo del",
            "name=\"model \"",
            "name=\"mo\tdel\"",
            "x y=z; name=model",
            "\u{a0}name=model",
            "filename=\"a\\\"; name=model; x=\\\"b\"; name=file",
            "filename*0=a; name=model",
        ] {
            let body = form(&[(MODEL, "allowed"), (&format!("Content-Disposition: form-data; {rest}"), "secret")]);
            assert!(Form::parse(TYPE, body.as_bytes()).is_err(), "{rest}");
        }
        // A boundary where only some see a line begin: in a value, at its beginning, in a head.
        for value in ["a\n--b1\r\nx", "a\r--b1\r\nx", "a\n\n--b1--", "--b1\r\nx", "--b1--"] {
            let body = form(&[("Content-Disposition: form-data; name=a", value), (MODEL, "x")]);
            assert!(Form::parse(TYPE, body.as_bytes()).unwrap_err().contains("begins with the boundary"), "{value:?}");
        }
        let body = form(&[("Content-Disposition: form-data; name=a\r\n--b1: x", "y")]);
        assert!(Form::parse(TYPE, body.as_bytes()).unwrap_err().contains("begins with the boundary"));
    }

    #[test]
    fn what_could_be_read_differently_is_refused() {
        let refused = |body: &str, reason: &str| {
            let found = Form::parse(TYPE, body.as_bytes()).unwrap_err();
            assert!(found.contains(reason), "{body}: {found}");
        };
        refused("", "does not begin");
        refused(&format!("preamble\r\n{}", form(&[(MODEL, "x")])), "does not begin");
        refused(&form(&[(MODEL, "x")]).replace("--b1--\r\n", ""), "does not end");
        refused(&format!("{}x", form(&[(MODEL, "x")])), "follows after");
        refused(&form(&[(MODEL, "x\r\n--b1 y")]), "line end");
        refused(&form(&[("Content-Type: text/plain", "x")]), "no `content-disposition`");
        refused(&form(&[("x", "x")]), "without a colon");
        refused(&form(&[(&format!("{MODEL}\r\n folded"), "x")]), "broken");
        refused(&form(&[(&format!("{MODEL}\r\n{MODEL}"), "x")]), "two dispositions");
        refused(&form(&[("Content-Disposition: attachment; name=\"model\"", "x")]), "not `form-data`");
        refused(&form(&[("Content-Disposition: form-data", "x")]), "no name");
        refused(&form(&[("Content-Disposition: form-data; name*=utf-8''model", "x")]), "encoded");
        refused(&form(&[(&MODEL.replace(':', " :"), "x")]), "broken");
        refused(&form(&[(&format!("{MODEL}\r\nContent-Type: text/plain; charset=utf-7"), "x")]), "not UTF-8");
        refused(&form(&[("Content-Disposition: form-data; name=\"mod\\el\"", "x")]), "escaped");
        refused(&form(&[("Content-Disposition: form-data; name=\"mod%65l\"", "x")]), "escaped");
        refused(&form(&[("Content-Disposition: form-data; name=\"a\"; name=\"model\"", "x")]), "two names");
        refused(&form(&[("Content-Disposition: form-data; name=\"a\" x; b=c", "x")]), "broken");
        refused(&form(&[(&format!("{MODEL}\r\nContent-Transfer-Encoding: base64"), "eA==")]), "transfer encoding");
        refused(&form(&[(&format!("{MODEL}\r\nX: {}", "y".repeat(MAX_HEAD)), "x")]), "longer than");
        refused(&form(&vec![(MODEL, "x"); MAX_PARTS + 1]), "1024 parts");
    }
}
