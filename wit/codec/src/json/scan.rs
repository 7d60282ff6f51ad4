//! The scanner. `accept_*` checks syntax; `skip` runs over text that was accepted before and checks nothing.

use memchr::memchr2;

/// How deep objects and arrays may nest: the limit of `serde_json`, so what passes here never overflows a parser behind us.
pub const MAX_DEPTH: usize = 128;

/// Where and why a text is not JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fault {
    pub at: usize,
    pub message: &'static str,
}

type Scan = Result<usize, Fault>;

fn fault<T>(at: usize, message: &'static str) -> Result<T, Fault> {
    Err(Fault { at, message })
}

/// One value with nothing but white space around it.
pub(super) fn complete_value(b: &[u8]) -> Result<(), Fault> {
    let end = space(b, accept_value(b, space(b, 0), 0)?);
    if end == b.len() { Ok(()) } else { fault(end, "characters after the end of the value") }
}

/// The first position at or after `at` that is not white space.
#[inline]
pub(super) fn space(b: &[u8], mut at: usize) -> usize {
    while let Some(b' ' | b'\n' | b'\r' | b'\t') = b.get(at) {
        at += 1;
    }
    at
}

/// A quoted key, white space, a colon and white space; returns (end of the key's quote, start of the value).
pub(super) fn accept_key(b: &[u8], at: usize) -> Result<(usize, usize), Fault> {
    if b.get(at) != Some(&b'"') {
        return fault(at, "expected a quoted key");
    }
    let key_end = accept_string(b, at + 1)?;
    let colon = space(b, key_end);
    if b.get(colon) != Some(&b':') {
        return fault(colon, "expected `:` after a key");
    }
    Ok((key_end, space(b, colon + 1)))
}

/// A value that starts at `at`, inside `outer` levels of nesting; returns its end. Not recursive: a bit per level tells objects.
pub(super) fn accept_value(b: &[u8], mut at: usize, outer: usize) -> Scan {
    let mut objects: u128 = 0;
    let mut depth = 0usize;
    loop {
        match b.get(at) {
            Some(b'"') => at = accept_string(b, at + 1)?,
            Some(&open @ (b'{' | b'[')) => {
                if outer + depth >= MAX_DEPTH {
                    return fault(at, "nested too deeply");
                }
                let object = open == b'{';
                let inner = space(b, at + 1);
                if b.get(inner) == Some(&(open + 2)) {
                    // `}` and `]` are two after `{` and `[` in ASCII.
                    at = inner + 1;
                } else {
                    depth += 1;
                    objects = (objects << 1) | u128::from(object);
                    at = if object { accept_key(b, inner)?.1 } else { inner };
                    continue;
                }
            }
            Some(b'-' | b'0'..=b'9') => at = accept_number(b, at)?,
            Some(b't') => at = accept_word(b, at, b"true")?,
            Some(b'f') => at = accept_word(b, at, b"false")?,
            Some(b'n') => at = accept_word(b, at, b"null")?,
            Some(_) => return fault(at, "expected a value"),
            None => return fault(at, "the document ends where a value is expected"),
        }
        loop {
            if depth == 0 {
                return Ok(at);
            }
            at = space(b, at);
            let object = objects & 1 == 1;
            match b.get(at) {
                Some(b',') => {
                    at = space(b, at + 1);
                    if object {
                        at = accept_key(b, at)?.1;
                    }
                    break;
                }
                Some(b'}') if object => {}
                Some(b']') if !object => {}
                Some(_) if object => return fault(at, "expected `,` or `}`"),
                Some(_) => return fault(at, "expected `,` or `]`"),
                None => return fault(at, "the document ends inside an object or array"),
            }
            at += 1;
            depth -= 1;
            objects >>= 1;
        }
    }
}

fn accept_word(b: &[u8], at: usize, word: &'static [u8]) -> Scan {
    if b[at..].starts_with(word) { Ok(at + word.len()) } else { fault(at, "expected `true`, `false` or `null`") }
}

fn accept_number(b: &[u8], mut at: usize) -> Scan {
    let digits = |mut at: usize| -> Scan {
        let start = at;
        while let Some(b'0'..=b'9') = b.get(at) {
            at += 1;
        }
        if at == start { fault(at, "expected a digit") } else { Ok(at) }
    };
    if b[at] == b'-' {
        at += 1;
    }
    at = if b.get(at) == Some(&b'0') { at + 1 } else { digits(at)? };
    if b.get(at) == Some(&b'.') {
        at = digits(at + 1)?;
    }
    if let Some(b'e' | b'E') = b.get(at) {
        at += 1;
        if let Some(b'+' | b'-') = b.get(at) {
            at += 1;
        }
        at = digits(at)?;
    }
    Ok(at)
}

/// A string whose opening quote is just before `at`; returns the position after its closing quote. UTF-8 is checked elsewhere.
pub(super) fn accept_string(b: &[u8], mut at: usize) -> Scan {
    loop {
        at = plain_run(b, at)?;
        if b[at] == b'"' {
            return Ok(at + 1);
        }
        match b.get(at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => at += 2,
            Some(b'u') => {
                let hex = b.get(at + 2..at + 6).is_some_and(|h| h.iter().all(u8::is_ascii_hexdigit));
                if !hex {
                    return fault(at, "expected four hexadecimal digits after `\\u`");
                }
                at += 6;
            }
            _ => return fault(at, "unknown escape in a string"),
        }
    }
}

/// Runs to the next quote or backslash and refuses control characters on the way. Short strings, which most are, go
/// eight bytes at a time; long ones through vector searches.
#[inline]
fn plain_run(b: &[u8], start: usize) -> Scan {
    const SHORT: usize = 96;
    let mut at = start.min(b.len());
    let short = &b[at..b.len().min(at + SHORT)];
    let words = short.chunks_exact(8);
    let left = words.remainder();
    for word in words {
        let found = special(u64::from_le_bytes(word.try_into().expect("eight bytes")));
        if found != 0 {
            return special_at(b, at + (found.trailing_zeros() / 8) as usize);
        }
        at += 8;
    }
    if let Some(n) = left.iter().position(|&c| matches!(c, b'"' | b'\\' | 0..=0x1f)) {
        return special_at(b, at + n);
    }
    at += left.len();
    let rest = &b[at..];
    let Some(length) = memchr2(b'"', b'\\', rest) else {
        return match control(rest) {
            Some(n) => fault(at + n, "control character in a string"),
            None => fault(b.len(), "the document ends inside a string"),
        };
    };
    match control(&rest[..length]) {
        Some(n) => fault(at + n, "control character in a string"),
        None => Ok(at + length),
    }
}

/// A bit in each byte of a little-endian word that is a quote, a backslash or a control character. Bits above the lowest one that is
/// set may be wrong (a borrow runs upwards), so only the lowest counts.
#[inline]
fn special(word: u64) -> u64 {
    const ONES: u64 = u64::MAX / 255;
    const HIGH: u64 = ONES << 7;
    let quote = word ^ (ONES * b'"' as u64);
    let backslash = word ^ (ONES * b'\\' as u64);
    let zero = |x: u64| x.wrapping_sub(ONES) & !x;
    (zero(quote) | zero(backslash) | (word.wrapping_sub(ONES * 0x20) & !word)) & HIGH
}

/// The first quote, backslash or control character at or after `at`; the end where there is none. In blocks without a branch per byte, of
/// which the compiler makes vector code (of bytes: of `bool`s it makes none for WebAssembly), then in words.
#[inline]
pub(super) fn special_from(b: &[u8], mut at: usize) -> usize {
    let is_special = |c: u8| matches!(c, b'"' | b'\\' | 0..=0x1f);
    while let Some(block) = b.get(at..at + 32) {
        let found = block.iter().map(|&c| u8::from(c < 0x20) | u8::from(c == b'"') | u8::from(c == b'\\'));
        if found.fold(0, |any, c| any | c) != 0 {
            break;
        }
        at += 32;
    }
    // What is left is looked at in words of which the last one may overlap the one before: names and short texts are only this.
    let rest = &b[at..];
    let word = |from: usize| special(u64::from_le_bytes(rest[from..from + 8].try_into().expect("eight bytes")));
    match rest.len() {
        length @ 8.. => {
            let mut from = 0;
            loop {
                let found = word(from);
                if found != 0 {
                    return at + from + (found.trailing_zeros() / 8) as usize;
                }
                if from + 8 == length {
                    return b.len();
                }
                from = (from + 8).min(length - 8);
            }
        }
        length @ 4.. => {
            let half = |from: usize| u64::from(u32::from_le_bytes(rest[from..from + 4].try_into().expect("four bytes")));
            if special(half(0) | half(length - 4) << 32) == 0 {
                return b.len();
            }
        }
        _ => {}
    }
    at + rest.iter().position(|&c| is_special(c)).unwrap_or(rest.len())
}

#[inline]
fn special_at(b: &[u8], at: usize) -> Scan {
    if b[at] < 0x20 { fault(at, "control character in a string") } else { Ok(at) }
}

/// The first control character, found like [`special_from`] finds its ones.
#[inline]
fn control(s: &[u8]) -> Option<usize> {
    for (n, block) in s.chunks(64).enumerate() {
        if block.iter().map(|&c| u8::from(c < 0x20)).fold(0, |any, c| any | c) != 0 {
            return block.iter().position(|&c| c < 0x20).map(|i| n * 64 + i);
        }
    }
    None
}

/// The end of the string whose opening quote is just before `at`, in accepted text.
#[inline]
pub(super) fn skip_string(b: &[u8], mut at: usize) -> usize {
    while let Some(n) = memchr2(b'"', b'\\', b.get(at..).unwrap_or_default()) {
        if b[at + n] == b'"' {
            return at + n + 1;
        }
        at += n + 2;
    }
    b.len()
}

/// The end of the value that starts at `at`, in accepted text.
pub(super) fn skip(b: &[u8], mut at: usize) -> usize {
    let mut depth = 0usize;
    while let Some(&c) = b.get(at) {
        match c {
            b'"' => at = skip_string(b, at + 1),
            b'{' | b'[' => {
                depth += 1;
                at += 1;
                continue;
            }
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                at += 1;
            }
            b',' | b':' | b' ' | b'\n' | b'\r' | b'\t' => {
                at += 1;
                continue;
            }
            _ => {
                while b.get(at).is_some_and(|c| !matches!(c, b',' | b'}' | b']' | b' ' | b'\n' | b'\r' | b'\t')) {
                    at += 1;
                }
            }
        }
        if depth == 0 {
            break;
        }
    }
    at.min(b.len())
}
