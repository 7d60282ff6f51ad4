//! What the gateway says, as text for people. Whatever a document does not have is left out: an older gateway says less.

use std::time::{Duration, UNIX_EPOCH};

use serde_json::Value;

use super::table::Table;

/// Digits of a digest that are shown in a column. They are told apart by fewer.
const SHORT_DIGEST: usize = "sha256:".len() + 12;

/// The last second that has a date of four digits, as Unix milliseconds.
const LAST_DATE: u64 = 253_402_300_799_000;

/// The loaded extensions, one in a line.
pub fn extensions(data: &Value) -> String {
    let mut table = Table::new(&["NAME", "VERSION", "SINCE", "PREVIOUS", "SIZE", "DIGEST", "HOOKS", "ROLLOUT"]);
    for extension in items(data) {
        table.row([
            text(&extension["name"]),
            text(&extension["version"]),
            text(&extension["generation"]),
            text(&extension["previous"]["version"]),
            extension["bytes"].as_u64().map(size).unwrap_or_default(),
            text(&extension["digest"]).chars().take(SHORT_DIGEST).collect(),
            list(&extension["hooks"]),
            candidate(&extension["candidate"]),
        ]);
    }
    table.to_string()
}

/// Everything about one component.
pub fn details(data: &Value) -> String {
    let mut table = Table::bare();
    let mut row = |label: &str, value: String| {
        if !value.is_empty() {
            table.row([label.to_owned(), value]);
        }
    };
    if data["name"].is_null() {
        row("name", "(no manifest: a standard component, which the configuration names)".into());
    }
    for label in ["name", "version", "description", "file"] {
        row(label, text(&data[label]));
    }
    row("size", data["bytes"].as_u64().map(size).unwrap_or_default());
    row("digest", text(&data["digest"]));
    row("contract", items(&data["contract"]).map(|v| format!("wasmgate:extension@{}", text(v))).collect::<Vec<_>>().join(", "));
    row("hooks", list(&data["hooks"]));
    row("asks for", list(&data["asks"]));
    row("granted", list(&data["capabilities"]));
    for (label, lines) in [("imports", &data["imports"]), ("exports", &data["exports"]), ("routes", &data["routes"])] {
        for (n, line) in items(lines).enumerate() {
            let line = if line.is_object() { format!("{} {}", text(&line["method"]), text(&line["path"])) } else { text(line) };
            row(if n == 0 { label } else { " " }, line);
        }
    }
    let limits = data["limits"].as_object().into_iter().flatten();
    row("limits", limits.map(|(name, value)| format!("{name} {}", text(value))).collect::<Vec<_>>().join(", "));
    row("since", data["generation"].as_u64().map(|n| format!("generation {n}")).unwrap_or_default());
    row("previous", text(&data["previous"]["version"]));
    row("rollout", candidate(&data["candidate"]));
    table.to_string()
}

/// The attempts, of all extensions or of one.
pub fn history(data: &Value, name: Option<&str>) -> String {
    let mut table =
        Table::new(&["ID", "STARTED (UTC)", "TRIGGER", "EXTENSION", "VERSIONS", "ROLLOUT", "OUTCOME", "GENERATION", "TOOK", "WHY"]);
    for attempt in items(&data["history"]).filter(|a| name.is_none_or(|name| a["extension"] == name)) {
        table.row([
            text(&attempt["id"]),
            attempt["started_ms"].as_u64().map(date).unwrap_or_default(),
            text(&attempt["trigger"]),
            attempt["provider"].as_str().map_or_else(|| text(&attempt["extension"]), |name| format!("provider {name}")),
            versions(attempt),
            text(&attempt["rollout"]),
            text(&attempt["outcome"]),
            text(&attempt["generation"]),
            attempt["duration_ms"].as_f64().map(took).unwrap_or_default(),
            text(&attempt["reason"]),
        ]);
    }
    table.to_string()
}

/// One step of the gate.
pub fn step(step: &Value) -> String {
    let outcome = match step["outcome"].as_str() {
        Some("passed") => "ok",
        Some(outcome) => outcome,
        None => "?",
    };
    let ms = step["ms"].as_f64().map(|ms| format!("{ms:.1} ms")).unwrap_or_default();
    line(&format!("  {:<12}  {outcome:<7}  {ms:>11}  {}", text(&step["step"]), text(&step["detail"])))
}

/// What a replay found to differ, a line each: the first few.
pub fn differences(attempt: &Value) -> Vec<String> {
    let shown = items(&attempt["replay"]["differences"]).take(SHOWN);
    shown.map(|d| line(&format!("    differs in {}: {}", text(&d["hook"]), text(&d["what"])))).collect()
}

/// Differences that are shown of a replay; `--json` has more.
const SHOWN: usize = 3;

/// How an attempt ended, in a line.
pub fn closing(attempt: &Value) -> String {
    let outcome = match attempt["outcome"].as_str() {
        Some("published") => "serves everybody",
        Some("canary") => "serves its share as a canary",
        Some("shadow") => "is compared as a shadow and serves nobody",
        Some("rolled-back") => "rolled back",
        Some("refused") => "refused",
        Some("unchanged") => "nothing changed",
        Some("running") => "still running",
        Some(other) => other,
        None => "done",
    };
    let who = attempt["extension"].as_str().unwrap_or("configuration");
    let reason = attempt["reason"].as_str().map(|r| format!("; {r}")).unwrap_or_default();
    let mut facts = vec![format!("attempt {}", text(&attempt["id"]))];
    facts.extend(attempt["generation"].as_u64().map(|n| format!("generation {n}")));
    facts.extend(attempt["duration_ms"].as_f64().map(took));
    let replay = &attempt["replay"];
    if let (Some(calls), Some(different), Some(failed)) =
        (replay["calls"].as_u64(), replay["different"].as_u64(), replay["failed"].as_u64())
    {
        facts.push(format!("of {calls} replayed calls {different} different, {failed} failed"));
    }
    let subject = format!("{who} {}", versions(attempt));
    line(&format!("{}: {outcome}{reason} ({})", subject.trim_end(), facts.join(", ")))
}

/// Why an attempt was refused, in a line.
pub fn refusal(attempt: &Value, message: &str) -> String {
    let at = items(&attempt["steps"]).find(|s| s["outcome"] == "refused").map(|s| format!(" at {}", text(&s["step"])));
    let goes_on = attempt["from"].as_str().map(|v| format!("; {v} goes on")).unwrap_or_default();
    line(&format!("refused{}: {message} (attempt {}){goes_on}", at.unwrap_or_default(), text(&attempt["id"])))
}

fn versions(attempt: &Value) -> String {
    match (attempt["from"].as_str(), attempt["to"].as_str()) {
        (Some(from), Some(to)) if from != to => format!("{from} -> {to}"),
        (_, Some(only)) | (Some(only), None) => only.to_owned(),
        (None, None) => String::new(),
    }
}

/// A version that is being rolled out.
fn candidate(candidate: &Value) -> String {
    if !candidate.is_object() {
        return String::new();
    }
    let count = |name: &str| candidate[name].as_u64().unwrap_or(0);
    let version = text(&candidate["version"]);
    match candidate["rollout"].as_str() {
        Some("shadow") => format!("{version} shadow, {} of {} differ, {} failed", count("different"), count("compared"), count("failures")),
        rollout => {
            let share = candidate["share"].as_f64().map(|s| format!(" {} %", (s * 1e4).round() / 1e2)).unwrap_or_default();
            format!("{version} {}{share}, {} of {} failed", rollout.unwrap_or_default(), count("failures"), count("calls"))
        }
    }
}

fn items(array: &Value) -> impl Iterator<Item = &Value> {
    array.as_array().into_iter().flatten()
}

fn list(array: &Value) -> String {
    items(array).map(text).collect::<Vec<_>>().join(", ")
}

/// Text without quotes; nothing for nothing.
fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Reasons quote components; nothing in them may steer the terminal.
fn line(text: &str) -> String {
    text.replace(char::is_control, " ").trim_end().to_owned()
}

fn size(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..1_048_576 => format!("{:.1} KiB", bytes as f64 / 1024.0),
        _ => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
    }
}

fn took(ms: f64) -> String {
    if ms < 10_000.0 { format!("{ms:.0} ms") } else { format!("{:.1} s", ms / 1e3) }
}

/// `15 Nov 1994 08:12:31`.
fn date(unix_ms: u64) -> String {
    let at = UNIX_EPOCH + Duration::from_millis(unix_ms.min(LAST_DATE));
    let whole = httpdate::fmt_http_date(at);
    let without_weekday = whole.split_once(", ").map_or(whole.as_str(), |(_, rest)| rest);
    without_weekday.trim_end_matches(" GMT").to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_list_shows_what_is_rolled_out() {
        let data = json!([
            {"name": "a", "version": "0.1.0", "generation": 1, "bytes": 2048, "digest": "sha256:0123456789abcdef", "hooks": ["dialect", "http"],
             "previous": null, "candidate": null},
            {"name": "b", "version": "0.1.0", "generation": 12, "bytes": 900, "digest": "sha256:fe", "hooks": [],
             "previous": {"version": "0.0.9"},
             "candidate": {"version": "0.2.0", "rollout": "canary", "share": 0.05, "calls": 40, "failures": 2}},
        ]);
        assert_eq!(
            extensions(&data),
            "NAME  VERSION  SINCE  PREVIOUS  SIZE     DIGEST               HOOKS          ROLLOUT\n\
             a     0.1.0    1      -         2.0 KiB  sha256:0123456789ab  dialect, http  -\n\
             b     0.1.0    12     0.0.9     900 B    sha256:fe            -              0.2.0 canary 5 %, 2 of 40 failed\n"
        );
        let shadow = json!({"version": "0.2.0", "rollout": "shadow", "compared": 9, "different": 1, "failures": 0});
        assert_eq!(candidate(&shadow), "0.2.0 shadow, 1 of 9 differ, 0 failed");
    }

    #[test]
    fn steps_are_aligned() {
        let rows = [
            json!({"step": "size", "outcome": "passed", "ms": 0.04, "detail": "1.2 MiB"}),
            json!({"step": "capabilities", "outcome": "refused", "ms": 1234.56, "detail": "it asks\nfor more"}),
            json!({"step": "replay", "outcome": "skipped", "ms": 0, "detail": ""}),
        ];
        assert_eq!(
            rows.iter().map(step).collect::<Vec<_>>(),
            [
                "  size          ok            0.0 ms  1.2 MiB",
                "  capabilities  refused    1234.6 ms  it asks for more",
                "  replay        skipped       0.0 ms",
            ]
        );
    }

    #[test]
    fn closing_lines() {
        let attempt = |outcome: &str| json!({"id": 7, "extension": "a", "from": "0.1.0", "to": "0.2.0", "outcome": outcome, "generation": 3, "duration_ms": 912.6});
        assert_eq!(closing(&attempt("published")), "a 0.1.0 -> 0.2.0: serves everybody (attempt 7, generation 3, 913 ms)");
        assert_eq!(closing(&attempt("rolled-back")), "a 0.1.0 -> 0.2.0: rolled back (attempt 7, generation 3, 913 ms)");
        let mut compared = attempt("shadow");
        compared["replay"] = json!({"calls": 9, "same": 8, "different": 1, "failed": 0});
        compared["replay"]["differences"] = (0..5).map(|n| json!({"hook": "accept", "what": format!("gave\n{n}")})).collect();
        assert_eq!(
            differences(&compared),
            ["    differs in accept: gave 0", "    differs in accept: gave 1", "    differs in accept: gave 2"]
        );
        assert!(closing(&compared).ends_with("913 ms, of 9 replayed calls 1 different, 0 failed)"), "{}", closing(&compared));
        let reload = json!({"id": 8, "extension": null, "from": null, "to": null, "outcome": "unchanged", "reason": "it is the same"});
        assert_eq!(closing(&reload), "configuration: nothing changed; it is the same (attempt 8)");
        let mut refused = attempt("refused");
        refused["steps"] = json!([{"step": "size", "outcome": "passed"}, {"step": "self-test", "outcome": "refused"}]);
        assert_eq!(refusal(&refused, "it is not well"), "refused at self-test: it is not well (attempt 7); 0.1.0 goes on");
        assert_eq!(refusal(&json!({"id": 9}), "why"), "refused: why (attempt 9)");
    }

    #[test]
    fn the_history_is_of_all_or_of_one() {
        let data = json!({"history": [
            {"id": 2, "trigger": "automatic", "extension": "b", "from": "0.2.0", "to": "0.1.0", "rollout": "canary", "outcome": "rolled-back",
             "reason": "6 calls failed", "generation": 5, "started_ms": 784_887_151_000_u64, "duration_ms": 0.4},
            {"id": 3, "trigger": "provider", "extension": null, "provider": "up", "outcome": "published", "generation": 6},
            {"id": 1, "trigger": "start", "extension": null, "outcome": "published", "generation": 1},
        ]});
        let all = history(&data, None);
        assert_eq!(all.lines().count(), 4, "{all}");
        assert!(all.contains("provider up"), "{all}");
        assert!(
            all.contains("15 Nov 1994 08:12:31  automatic") && all.contains("0.2.0 -> 0.1.0") && all.contains("6 calls failed"),
            "{all}"
        );
        assert_eq!(history(&data, Some("b")).lines().count(), 2);
        assert_eq!(history(&data, Some("c")).lines().count(), 1);
    }

    #[test]
    fn details_leave_out_what_is_not_said() {
        let data = json!({"name": "a", "version": "0.1.0", "bytes": 3_145_728, "contract": ["0.1.0"], "imports": ["x", "y"], "exports": [],
            "routes": [{"method": "GET", "path": "/a"}]});
        assert_eq!(
            details(&data),
            "name      a\nversion   0.1.0\nsize      3.0 MiB\ncontract  wasmgate:extension@0.1.0\nimports   x\n          y\nroutes    GET /a\n"
        );
    }

    #[test]
    fn dates_have_bounds() {
        assert_eq!(date(0), "01 Jan 1970 00:00:00");
        assert_eq!(date(u64::MAX), "31 Dec 9999 23:59:59");
    }
}
