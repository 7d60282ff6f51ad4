//! Settings, and what is found where.

use serde_json::json;

use super::*;

fn configured(config: serde_json::Value) -> Result<Validation, String> {
    Validation::configure(serde_json::from_value(config).map_err(|e| e.to_string())?)
}

#[test]
fn settings_are_checked() {
    let wrong = |config: serde_json::Value, says: &str| {
        let error = configured(config.clone()).err().unwrap_or_default();
        assert!(error.contains(says), "{config}: {error}");
    };
    wrong(json!({"languages": ["go", "cobol"]}), "`languages` has `cobol`; there is `go`, `python`");
    wrong(json!({"retries": 4}), "`retries` is 4; it can be up to 3");
    wrong(json!({"max_bytes": 0}), "`max_bytes` is 0");
    wrong(json!({"streams": "hold"}), "unknown variant `hold`, expected one of `pass`, `annotate`, `buffer`");
    wrong(json!({"autofix": true}), "unknown field `autofix`");
    let all = configured(json!({})).unwrap();
    assert_eq!(all.rules.languages, Language::ALL);
    assert_eq!(configured(json!({"languages": ["js", "golang"]})).unwrap().rules.languages, [Language::JavaScript, Language::Go]);
}

#[test]
fn work_is_bounded() {
    let rules = Rules { auto_fix: true, ..configured(json!({"max_bytes": 300})).unwrap().rules };
    let mut report = Report::default();
    let mut text = format!("```json\n[{}1]\n```\n```json\n[{}1]\n```\n```json\n{{}}\n```\n", "1,".repeat(100), "2,".repeat(100));
    assert!(!answer::check_text(&rules, &mut text, false, &mut report));
    let outcomes: Vec<&str> = report.found.iter().map(report::Found::outcome).collect();
    assert_eq!(outcomes, ["valid", "unchecked", "valid"]);
    assert_eq!(report.header(1), "unchecked; blocks=3, valid=2, unchecked=1, retries=1");
}
