//! Rust: the items of a file, or the statements of a block, as snippets are.

use proc_macro2::{LineColumn, TokenStream};
use syn::parse::Parser as _;
use syn::{Block, File};

use super::{Parsed, offset};

/// A file, or statements.
pub fn parse(source: &str) -> Parsed {
    let text = source.strip_prefix('\u{feff}').unwrap_or(source);
    let skipped = source.len() - text.len();
    // The first line of a script.
    let shebang =
        if text.starts_with("#!") && !text[2..].trim_start().starts_with('[') { text.find('\n').unwrap_or(text.len()) } else { 0 };
    let code = &text[shebang..];
    let at = |position: LineColumn| skipped + shebang + offset(code, position.line.saturating_sub(1), position.column);
    let tokens: TokenStream = match code.parse() {
        Ok(tokens) => tokens,
        Err(error) => return Parsed::bad(at(error.span().start()), message(&error.to_string())),
    };
    let Err(error) = syn::parse2::<File>(tokens.clone()) else { return Parsed::Good };
    let Err(inner) = Block::parse_within.parse2(tokens) else { return Parsed::Good };
    // The one that got further knows more.
    let place = |e: &syn::Error| (e.span().start().line, e.span().start().column);
    let error = if place(&inner) > place(&error) { inner } else { error };
    // An error at the end of all has no place of its own.
    let end = error.to_string().contains("unexpected end of input");
    let position = error.span().start();
    Parsed::bad(if end && position.line <= 1 && position.column == 0 { source.len() } else { at(position) }, message(&error.to_string()))
}

fn message(text: &str) -> String {
    // What the tokenizer says is one word for everything.
    if text == "cannot parse string into token stream" || text == "lex error" {
        "unbalanced bracket or quote".into()
    } else {
        text.to_owned()
    }
}
