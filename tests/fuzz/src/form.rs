//! Forms: refused with a reason, or every field is where it is said to be, and another model in it changes nothing else.

use llm_codec::passthrough::Form;

const TYPE: &str = "multipart/form-data; boundary=b";

/// Checks one body.
pub fn check(bytes: &[u8]) {
    let form = match Form::parse(TYPE, bytes) {
        Ok(form) => form,
        Err(reason) => return assert!(!reason.is_empty(), "a refusal says why"),
    };
    let Some(model) = form.text(bytes, "model") else { return };
    let field = form.named("model").next().expect("there is one");
    assert_eq!(bytes.get(field.value.clone()), Some(model.as_bytes()), "the field is elsewhere");
    assert!(bytes[..field.value.start].ends_with(b"\r\n\r\n") && bytes[field.value.end..].starts_with(b"\r\n--b"), "the field is cut");
    let other = form.with_text(bytes, "model", "other").expect("it has the field");
    assert_eq!(other.len(), bytes.len() - model.len() + "other".len());
    let again = Form::parse(TYPE, &other).expect("it stays a form");
    assert_eq!(again.text(&other, "model"), Some("other"));
    assert_eq!(again.with_text(&other, "model", model).as_deref(), Some(bytes), "and back is the same form");
}
