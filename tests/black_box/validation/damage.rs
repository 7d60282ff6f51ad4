//! Files that are broken on purpose, from a seed.

use wasmgate_code::Language;
use wasmgate_code::lex::{self, Kind, Token};

/// Numbers that are the same on each machine (xorshift).
pub struct Dice(u64);

impl Dice {
    /// The numbers of a language.
    pub fn new(language: Language) -> Self {
        Self(0x9e37_79b9_7f4a_7c15 ^ (language as u64 + 1).wrapping_mul(0xd6e8_feb8_6659_fd93))
    }

    /// One below a limit.
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % limit.max(1)
    }
}

/// One small change outside of comments: a bracket or a quote that goes, comes twice, or is another one; a separator that goes; the end
/// that goes.
/// It need not break the file: that, another parser says.
pub fn mutation(language: Language, text: &str, dice: &mut Dice) -> String {
    let tokens = lex::scan(language, text);
    // What goes on behind an expression in a template begins with any character.
    let quoted = |t: &Token| t.missing.is_none() && text.is_char_boundary(t.start + 1) && text.is_char_boundary(t.end - 1);
    let is_place = |t: &&Token| matches!(t.kind, Kind::Open(_) | Kind::Close(_)) || (t.kind == Kind::Text && quoted(t));
    let places: Vec<&Token> = tokens.iter().filter(is_place).collect();
    let marks: Vec<&Token> = tokens.iter().filter(|t| matches!(t.kind, Kind::Mark(b':' | b',' | b'=' | b';'))).collect();
    let spliced = |start: usize, end: usize, with: &str| format!("{}{with}{}", &text[..start], &text[end..]);
    match dice.below(10) {
        0 if !marks.is_empty() => {
            let mark = marks[dice.below(marks.len())];
            spliced(mark.start, mark.end, "")
        }
        1 if !tokens.is_empty() => {
            let token = &tokens[dice.below(tokens.len())];
            text[..token.start].to_owned()
        }
        _ if places.is_empty() => spliced(text.len(), text.len(), "]\n"),
        roll => {
            let place = places[dice.below(places.len())];
            match place.kind {
                // A quote: the first or the last.
                Kind::Text if roll % 2 == 0 => spliced(place.start, place.start + 1, ""),
                Kind::Text => spliced(place.end - 1, place.end, ""),
                _ if roll < 6 => spliced(place.start, place.end, ""),
                _ if roll < 8 => spliced(place.end, place.end, &text[place.start..place.end]),
                Kind::Open(b'(') | Kind::Close(b'(') => spliced(place.start, place.end, "["),
                _ => spliced(place.start, place.end, ")"),
            }
        }
    }
}

/// What happens to code on its way out of a model: it is cut off, or there is something around it.
pub fn damage(text: &str, tag: &str, number: usize, dice: &mut Dice) -> (&'static str, String) {
    let text = text.trim_end();
    match number % 5 {
        0 => ("fences around it", format!("```{tag}\n{text}\n```\n")),
        1 => ("a fence and a sentence behind it", format!("{text}\n```\n\nThis is all that you need for the first step.\n")),
        2 => ("a sentence and fences around it", format!("Here is the file that you asked for:\n\n```{tag}\n{text}\n```\n")),
        _ => {
            let mut at = text.len() / 3 + dice.below(text.len() * 2 / 3);
            while !text.is_char_boundary(at) {
                at -= 1;
            }
            ("cut off", text[..at].to_owned())
        }
    }
}
