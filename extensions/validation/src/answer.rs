//! Where code is in an answer: in its texts, and in what it calls tools with.

use serde_json::{Map, Value};
use wasmgate_code::{Language, Limits, Verdict, check as parse, complete, find, format as lay_out, passes, repair};
use wasmgate_sdk::hub::{ChatAnswer, FinishReason, PartKind, ToolCall, ToolCallKind};

use crate::report::{Found, Report, State};
use crate::{Fix, Rules};

/// Members of arguments that hold whole code. Those that hold a part of a file (`new_string` and the like) cannot be parsed.
const CODE: [&str; 9] = ["code", "content", "contents", "source", "source_code", "file_text", "file_content", "new_content", "script"];

/// Members beside them that say which language it is.
const LANGUAGE: [&str; 3] = ["language", "lang", "syntax"];
const PATH: [&str; 8] = ["path", "file_path", "filepath", "file", "filename", "file_name", "target_file", "name"];

/// How deep arguments are looked into.
const MAX_DEPTH: usize = 16;

/// Looks at an answer. The second is the answer with what could be repaired; none when nothing was.
pub fn check(rules: &Rules, mut answer: ChatAnswer) -> (Report, Option<ChatAnswer>) {
    let (mut report, mut changed) = (Report::default(), false);
    for choice in &mut answer.choices {
        let broke_off = choice.finish == Some(FinishReason::Length);
        for part in &mut choice.parts {
            match &mut part.kind {
                PartKind::Text(text) => changed |= check_text(rules, text, broke_off, &mut report),
                PartKind::ToolCall(call) if rules.tool_arguments => changed |= check_call(rules, call, broke_off, &mut report),
                _ => {}
            }
        }
    }
    (report, changed.then_some(answer))
}

/// Looks at a text, and repairs it in place. Whether it was changed. Lines that are not complete are left out only at the end of a text that
/// `broke_off`, or of a fence that nothing closes: elsewhere they are what the model wanted to say.
pub fn check_text(rules: &Rules, text: &mut String, broke_off: bool, report: &mut Report) -> bool {
    let mut places = Vec::new();
    let blocks = find::blocks(text);
    // Of several pieces one may go on with another, and have its imports.
    let is_alone = |language: Language| blocks.iter().filter(|b| b.language == Some(language)).count() == 1;
    for block in &blocks {
        let whole = block.place == find::Place::Whole;
        let Some(language) = block.language.filter(|l| rules.languages.contains(l) && (!whole || rules.whole_answers)) else { continue };
        let place = if whole { "the answer".into() } else { format!("the code at line {}", block.line) };
        let cut = broke_off || matches!(&block.place, find::Place::Fenced { unclosed: Some(_), .. });
        let limits = Limits { cut, ..rules.limits };
        let fix = Fix { imports: rules.fix().imports && is_alone(language), ..rules.fix() };
        let (state, code) = judge(&limits, fix, language, &block.code, report);
        report.found.push(Found { language, place, line: block.line, state });
        places.extend(code.map(|code| (block, code)));
    }
    if places.is_empty() {
        return false;
    }
    *text = find::replaced(text, &places.iter().map(|(block, code)| (*block, code.as_str())).collect::<Vec<_>>());
    true
}

/// Looks at arguments of a call. Somebody acts on these, so the call of an answer that `broke_off` stays one that nobody can read: whole again,
/// it would be another one.
fn check_call(rules: &Rules, call: &mut ToolCall, broke_off: bool, report: &mut Report) -> bool {
    // What the provider runs itself is over, and free-form text is in whatever language the tool has.
    if call.kind != ToolCallKind::Function || call.arguments.trim().is_empty() {
        return false;
    }
    let place = format!("the arguments of `{}`", call.name);
    let mut changed = false;
    let mut arguments: Option<Value> = serde_json::from_str(&call.arguments).ok();
    if arguments.is_none() && rules.languages.contains(&Language::Json) {
        // Programs read them, and no people.
        let fix = if broke_off { Fix::default() } else { Fix { formats: false, ..rules.fix() } };
        let (state, code) = judge(&rules.limits, fix, Language::Json, &call.arguments, report);
        report.found.push(Found { language: Language::Json, place: place.clone(), line: 1, state });
        if let Some(code) = code {
            arguments = serde_json::from_str(&code).ok();
            call.arguments = code;
            changed = true;
        }
    }
    if let Some(arguments) = arguments {
        check_value(rules, &arguments, &place, report, 0);
    }
    changed
}

fn check_value(rules: &Rules, value: &Value, place: &str, report: &mut Report, depth: usize) {
    if depth > MAX_DEPTH {
        return;
    }
    match value {
        Value::Array(items) => items.iter().for_each(|item| check_value(rules, item, place, report, depth + 1)),
        Value::Object(members) => {
            let said = said_language(members);
            for (name, member) in members {
                match member {
                    Value::String(code) if CODE.contains(&name.as_str()) => check_member(rules, said, name, code, place, report),
                    other => check_value(rules, other, place, report, depth + 1),
                }
            }
        }
        _ => {}
    }
}

/// What the members beside code say of its language: one, none that is known, or nothing at all.
fn said_language(members: &Map<String, Value>) -> Option<Option<Language>> {
    let text = |names: &[&str]| names.iter().find_map(|n| members.get(*n)?.as_str()).map(str::to_owned);
    match text(&LANGUAGE) {
        Some(name) => Some(Language::from_tag(&name)),
        None => text(&PATH).map(|path| Language::from_path(&path)),
    }
}

/// Code in a call is told of and never repaired: it may be a part of a file, which is right where it goes and nowhere else.
fn check_member(rules: &Rules, said: Option<Option<Language>>, name: &str, code: &str, place: &str, report: &mut Report) {
    let language = said.unwrap_or_else(|| Language::detect(code));
    let Some(language) = language.filter(|l| rules.languages.contains(l)) else { return };
    let (state, _) = judge(&rules.limits, Fix::default(), language, code, report);
    report.found.push(Found { language, place: format!("`{name}` in {place}"), line: 1, state });
}

/// Checks code, and repairs it where that is wanted, as far as there is time for it.
pub fn judge(limits: &Limits, fix: Fix, language: Language, code: &str, report: &mut Report) -> (State, Option<String>) {
    let left = limits.bytes.saturating_sub(report.read);
    if code.len() > left {
        let reason = format!("it has {} bytes, and parsers read {} for one answer (`max_bytes`)", code.len(), limits.bytes);
        return (State::Unchecked(reason), None);
    }
    report.read += code.len();
    let (mut problems, mut fixes, mut changed) = (Vec::new(), Vec::new(), None);
    match parse(language, code, limits) {
        Verdict::Valid => {}
        Verdict::Unchecked(reason) => return (State::Unchecked(reason), None),
        Verdict::Invalid(found) => {
            // What is not right is read in each way that it could be meant.
            report.read += code.len() * (passes(language) - 1);
            let (repaired, read) = if fix.repairs { repair(language, code, &left_of(limits, report)) } else { (None, 0) };
            report.read += read;
            let Some(repaired) = repaired else { return (State::Invalid(found), None) };
            (problems, fixes, changed) = (found, repaired.fixes, Some(repaired.code));
        }
    }
    if fix.imports {
        let (completed, read) = complete(language, changed.as_deref().unwrap_or(code), &left_of(limits, report));
        report.read += read;
        if let Some(completed) = completed {
            // Lines of what was repaired are not those of what was sent.
            if changed.is_none() {
                problems.extend(completed.missing);
            }
            fixes.extend(completed.fixes);
            changed = Some(completed.code);
        }
    }
    if fix.formats
        && let Some(laid_out) = lay_out(language, changed.as_deref().unwrap_or(code))
    {
        fixes.push("laid out anew".into());
        changed = Some(laid_out);
    }
    match changed {
        None => (State::Valid, None),
        changed => (State::Fixed(problems, fixes), changed),
    }
}

/// What parsers may still read.
fn left_of(limits: &Limits, report: &Report) -> Limits {
    Limits { read: limits.bytes.saturating_sub(report.read), ..*limits }
}
