//! Places in texts.

/// What ends the lines of a text.
pub fn newline(text: &str) -> &'static str {
    match text.find('\n') {
        Some(at) if text[..at].ends_with('\r') => "\r\n",
        _ => "\n",
    }
}

/// Where the line begins that a byte is in.
pub fn line_start(text: &str, at: usize) -> usize {
    text[..at].rfind('\n').map_or(0, |n| n + 1)
}

/// Where the line ends that a byte is in, before its end.
pub fn line_end(text: &str, at: usize) -> usize {
    let end = text[at..].find('\n').map_or(text.len(), |n| at + n);
    if text[at..end].ends_with('\r') { end - 1 } else { end }
}

/// Where the line after the one that a byte is in begins.
pub fn next_line(text: &str, at: usize) -> usize {
    text[at..].find('\n').map_or(text.len(), |n| at + n + 1)
}

/// Whether a line is nothing but space.
pub fn is_blank(text: &str, at: usize) -> bool {
    text[line_start(text, at)..line_end(text, at)].trim().is_empty()
}

/// The text with something in it at a place.
pub fn inserted(text: &str, at: usize, what: &str) -> String {
    [&text[..at], what, &text[at..]].concat()
}
