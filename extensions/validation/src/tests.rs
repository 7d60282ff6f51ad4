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

#[test]
fn imports_are_added_where_nothing_goes_on_from_something_else() {
    let rules = |config: serde_json::Value| configured(config).unwrap().rules;
    let checked = |rules: &Rules, text: &str| {
        let (mut text, mut report) = (text.to_owned(), Report::default());
        answer::check_text(rules, &mut text, false, &mut report).then_some((text, report))
    };
    let fixing = rules(json!({"auto_fix": true}));
    let one = "Look:\n\n```python\nprint(json.dumps(1))\n```\n";
    let (text, report) = checked(&fixing, one).unwrap();
    assert_eq!(text, "Look:\n\n```python\nimport json\n\nprint(json.dumps(1))\n```\n");
    assert_eq!((report.header(0).as_str(), report.problems().as_str()), ("fixed; blocks=1, fixed=1", ""));
    let block = &report.document(0)["blocks"][0];
    assert_eq!(block["fixes"], json!(["added the import of `json`"]));
    assert_eq!(block["diagnostics"][0]["message"], "`json` is not imported");
    // The second piece has the imports of the first.
    assert!(checked(&fixing, &format!("{one}\nThen:\n\n```python\nprint(json.dumps(2))\n```\n")).is_none());
    assert!(checked(&fixing, &format!("{one}\nThen:\n\n```yaml\na: 1\n```\n")).is_some());
    // Repaired and completed.
    let (text, report) = checked(&fixing, "```python\nprint(json.dumps(1)\n```\n").unwrap();
    assert_eq!(text, "```python\nimport json\n\nprint(json.dumps(1))\n```\n");
    let fixes = json!(["closed what was open at the end", "added the import of `json`"]);
    assert_eq!(report.document(0)["blocks"][0]["fixes"], fixes);
    // Whoever does not want it.
    for config in [json!({}), json!({"auto_fix": true, "imports": false}), json!({"auto_fix": true, "max_bytes": 45})] {
        assert!(checked(&rules(config.clone()), one).is_none(), "{config}");
    }
}
