//! `POST /api/validate`: code or an answer in, what is wrong with it out.

use serde_json::{Value, json};
use wasmgate_code::{Language, Limits};
use wasmgate_sdk::{ChatError, ErrorClass, HttpRequest, Reply, wrapped};

use crate::report::{Found, Report, State};
use crate::{Rules, answer};

/// The path.
pub const PATH: &str = "/api/validate";

/// What a body may have.
const MEMBERS: [&str; 5] = ["code", "language", "text", "auto_fix", "format"];

/// Answers.
pub fn answer(rules: &Rules, request: &HttpRequest) -> Reply {
    match read(&request.body) {
        Ok(asked) => wrapped::reply(200, &wrapped::data(&validate(rules, asked))),
        Err((param, message)) => {
            let error = ChatError { param: Some(param.into()), ..ChatError::new(ErrorClass::InvalidRequest, message) };
            wrapped::reply(400, &wrapped::error(&error))
        }
    }
}

/// What is asked.
struct Asked {
    what: What,
    auto_fix: bool,
    format: bool,
}

enum What {
    /// Code of one language; none leaves it to the code to say which.
    Code(String, Option<Language>),
    /// A text with code in it.
    Text(String),
}

/// The member that is wrong, and what is wrong with it.
type Wrong = (&'static str, String);

fn read(body: &[u8]) -> Result<Asked, Wrong> {
    let document: Value = serde_json::from_slice(body).map_err(|e| ("", format!("The body is not JSON: {e}.")))?;
    let Value::Object(mut members) = document else {
        return Err(("", "The body has to be an object, for example {\"code\": \"…\"}.".into()));
    };
    if let Some(other) = members.keys().find(|k| !MEMBERS.contains(&k.as_str())) {
        return Err(("", format!("`{other}`: there is no such member; there is `{}`.", MEMBERS.join("`, `"))));
    }
    let mut text = |name: &'static str| match members.remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(other) => Err((name, format!("`{name}` is {}; it has to be a string.", shown(&other)))),
    };
    let (code, language, answer) = (text("code")?, text("language")?, text("text")?);
    let mut flag = |name: &'static str| match members.remove(name) {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(flag)) => Ok(flag),
        Some(other) => Err((name, format!("`{name}` is {}; it has to be true or false.", shown(&other)))),
    };
    let (auto_fix, format) = (flag("auto_fix")?, flag("format")?);
    let language = match language {
        None => None,
        Some(name) => Some(Language::from_tag(&name).ok_or_else(|| {
            let known = Language::ALL.map(Language::name).join("`, `");
            ("language", format!("`language` is {}; it can be `{known}`.", shown(&name.into())))
        })?),
    };
    let what = match (code, answer) {
        (Some(code), None) => What::Code(code, language),
        (None, Some(text)) if language.is_none() => What::Text(text),
        (None, Some(_)) => {
            return Err(("language", "`language` goes with `code`; in `text` each piece says for itself what it is.".into()));
        }
        (Some(_), Some(_)) => return Err(("text", "There is `code` and `text`; send one of them.".into())),
        (None, None) => return Err(("code", "`code` is missing: send code as `code`, or an answer with code in it as `text`.".into())),
    };
    Ok(Asked { what, auto_fix, format })
}

/// A value as a message shows it.
fn shown(value: &Value) -> String {
    let text = value.to_string();
    let short: String = text.chars().take(40).collect();
    if short.len() < text.len() { format!("`{short}…`") } else { format!("`{short}`") }
}

fn validate(rules: &Rules, asked: Asked) -> Value {
    // Whoever asks here sees what was done before anything is made of it.
    let limits = Limits { cut: true, ..rules.limits };
    let rules = Rules {
        auto_fix: asked.auto_fix,
        format: asked.format,
        languages: Language::ALL.to_vec(),
        whole_answers: true,
        limits,
        ..rules.clone()
    };
    let mut report = Report::default();
    let repaired = match asked.what {
        What::Code(code, language) => {
            let Some(language) = language.or_else(|| Language::detect(&code)) else {
                let reason = "it is not clear which language this is; say it in `language`";
                return json!({"result": "unchecked", "valid": null, "blocks": [], "reason": reason});
            };
            let (state, repaired) = answer::judge(&rules.limits, rules.fix(), language, &code, &mut report);
            report.found.push(Found { language, place: "the code".into(), line: 1, state });
            repaired.map(|code| ("code", code))
        }
        What::Text(mut text) => answer::check_text(&rules, &mut text, true, &mut report).then_some(("text", text)),
    };
    let mut data = report.document(0);
    data.as_object_mut().expect("it is an object").shift_remove("retries");
    let unknown = report.found.iter().any(|f| matches!(f.state, State::Unchecked(_)));
    data["valid"] = if report.invalid() > 0 {
        false.into()
    } else if unknown {
        Value::Null
    } else {
        true.into()
    };
    if let Some((name, code)) = repaired {
        data[name] = code.into();
    }
    data
}
