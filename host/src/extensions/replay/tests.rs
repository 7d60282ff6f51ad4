//! How calls of the host are answered from a recording, and what is said about what differs.

use super::*;
use crate::extensions::recording::tests::case;
use crate::extensions::tape::Function;

const GET: Function = Function::fact("kv.get");
const SET: Function = Function::effect("kv.set");
const READING: Function = Function::fact("clock");

fn check(playback: &mut Playback, function: Function, argument: &str) -> Option<i64> {
    playback.answer(function, &format!("({argument:?},)")).ok()
}

#[test]
fn calls_are_matched_by_function_in_order() {
    let case = case(&[(GET, "a", 1), (SET, "x", 2), (GET, "b", 3)], false);
    let mut playback = Playback::new(&case);
    let answers: Vec<_> = [(GET, "a"), (GET, "b"), (SET, "x")].into_iter().map(|(f, a)| check(&mut playback, f, a)).collect();
    assert_eq!(answers, [Some(1), Some(3), Some(2)]);
    assert_eq!((playback.different(), playback.unanswered(), playback.missing()), (None, None, None));
}

#[test]
fn other_arguments_are_a_difference_and_get_the_recorded_answer() {
    let recorded = [(GET, "b", 1), (GET, "c", 2)];
    let plain = case(&recorded, false);
    let mut playback = Playback::new(&plain);
    assert_eq!((check(&mut playback, GET, "a"), check(&mut playback, GET, "d")), (Some(1), Some(2)));
    assert_eq!(playback.different(), Some("asks `kv.get(\"a\")`, where `kv.get(\"b\")` was asked"));

    // What was made of a masked secret cannot be the same.
    let masked = case(&recorded, true);
    let mut playback = Playback::new(&masked);
    assert_eq!((check(&mut playback, GET, "a"), playback.different()), (Some(1), None));
}

#[test]
fn what_was_not_asked_ends_the_call() {
    let case = case(&[(GET, "a", 1)], true);
    let mut playback = Playback::new(&case);
    assert_eq!((check(&mut playback, GET, "a"), check(&mut playback, GET, "a"), check(&mut playback, SET, "b")), (Some(1), None, None));
    assert_eq!(playback.unanswered(), Some("asks `kv.get(\"a\")`, which was not asked"));
    // An answer of another type is none.
    let mut playback = Playback::new(&case);
    assert!(playback.answer::<String>(GET, "()").is_err());
}

#[test]
fn effects_that_are_missing_are_a_difference_and_reads_are_not() {
    let case = case(&[(GET, "a", 1), (SET, "x", 2), (SET, "y", 3)], false);
    let mut playback = Playback::new(&case);
    assert_eq!(playback.missing().as_deref(), Some("no longer asks `kv.set(\"x\")`"));
    check(&mut playback, SET, "x");
    assert_eq!(playback.missing().as_deref(), Some("no longer asks `kv.set(\"y\")`"));
    check(&mut playback, SET, "y");
    assert_eq!(playback.missing(), None);
}

#[test]
fn readings_come_again_until_there_are_none() {
    let case = case(&[(READING, "8", 1), (READING, "16", 2)], false);
    let mut playback = Playback::new(&case);
    let mut reading = |length: &str| playback.reading::<i64>("clock", &format!("({length:?},)"));
    assert_eq!((reading("16"), reading("8"), reading("8")), (Some(2), Some(1), None));
}

#[test]
fn how_calls_end_is_compared() {
    let gave = |text: &str| Ending::Gave(text.into());
    let trapped = Ending::Trapped("oh".into());
    let limit = Ending::Limit("cpu_ms");
    for (before, after, expect) in [
        (gave("a"), gave("a"), None),
        (gave("Decision::Reject(1)"), gave("Decision::Continue"), Some(("decision: `reject(1)` became `continue`", false))),
        (gave("a"), trapped.clone(), Some(("traps: oh", true))),
        (gave("a"), limit.clone(), Some(("reaches the limit `cpu_ms`", true))),
        (trapped.clone(), trapped.clone(), None),
        (trapped.clone(), limit.clone(), None),
        (trapped, gave("Decision::Continue"), Some(("no longer traps: continue", false))),
        (limit, gave("a"), Some(("no longer reaches the limit `cpu_ms`: a", false))),
    ] {
        let found = compared(Hook::BeforeGenerate, 0, &before, &after);
        assert_eq!(found.as_ref().map(|(what, fatal)| (what.as_str(), *fatal)), expect);
    }
}

#[test]
fn a_comparison_counts_and_shows_the_first_differences() {
    let recorded = Replayed { difference: None, spent: Spent::default(), asked: Vec::new() };
    let spent = Spent { guest: Duration::from_micros(3), ..Spent::default() };
    let mut comparison = Comparison::default();
    comparison.add_beside(Hook::BeforeGenerate, &recorded, &Replayed { difference: None, spent, asked: Vec::new() });
    for n in 0..12 {
        let difference = Difference { hook: Hook::BeforeGenerate, what: n.to_string(), fatal: n == 0 };
        comparison.add_beside(Hook::BeforeGenerate, &recorded, &Replayed { difference: Some(difference), spent, asked: Vec::new() });
    }
    assert_eq!((comparison.cases(), comparison.different(), comparison.failed()), (13, 12, 1));
    let json = comparison.to_json();
    assert_eq!((&json["calls"], &json["same"], &json["different"], &json["failed"]), (&json!(13), &json!(1), &json!(12), &json!(1)));
    assert_eq!(json["cost_us"], json!({"before": 0.0, "after": 36.0}));
    assert_eq!(json["differences"].as_array().map(Vec::len), Some(SHOWN));
    assert_eq!(json["differences"][0], json!({"hook": "before-generate", "what": "0"}));
}

#[test]
fn what_the_recorded_version_does_not_repeat_is_left_out() {
    let spent = |us| Spent { guest: Duration::from_micros(us), ..Spent::default() };
    let same = |us| Replayed { difference: None, spent: spent(us), asked: Vec::new() };
    let different = || {
        let difference = Difference { hook: Hook::Accept, what: "x".into(), fatal: true };
        Replayed { difference: Some(difference), spent: spent(1), asked: Vec::new() }
    };
    let mut comparison = Comparison::default();
    for (before, after) in [(same(2), same(3)), (different(), different()), (different(), same(3)), (same(2), different())] {
        comparison.add_beside(Hook::BeforeGenerate, &before, &after);
    }
    assert_eq!((comparison.cases(), comparison.skipped(), comparison.failed()), (2, 2, 1));
    assert_eq!(comparison.to_json()["cost_us"], json!({"before": 2.0, "after": 3.0}));
}

#[test]
fn what_two_versions_make_of_the_same_mask_is_compared() {
    let asks =
        |asked: &[&str]| Replayed { difference: None, spent: Spent::default(), asked: asked.iter().map(|a| (*a).to_owned()).collect() };
    for (before, after, expect) in [
        (vec!["`get(***)`"], vec!["`get(***)`"], None),
        (vec!["`get(***)`"], vec!["`get(x-***)`"], Some("asks `get(x-***)`, where `get(***)` was asked")),
        (vec!["`get(***)`"], vec!["`get(***)`", "`put(***)`"], Some("asks `put(***)`, which was not asked")),
        // What is only read no longer is no difference; an effect that is missing was found before.
        (vec!["`get(***)`", "`get(b)`"], vec!["`get(***)`"], None),
    ] {
        let mut comparison = Comparison::default();
        comparison.add_beside(Hook::BeforeGenerate, &asks(&before), &asks(&after));
        assert_eq!(comparison.to_json()["differences"][0]["what"].as_str(), expect);
        assert_eq!((comparison.cases(), comparison.different()), (1, u64::from(expect.is_some())));
    }
}

/// Replays run in tasks of their own.
#[test]
fn replays_may_move_between_threads() {
    fn is_send(_: impl Send) {}
    let _ = |extension: &Arc<Extension>, case: &Arc<Case>| {
        is_send(extension.replay(case));
        is_send(compare_with(extension, extension, vec![Arc::clone(case)], Duration::ZERO));
    };
}
