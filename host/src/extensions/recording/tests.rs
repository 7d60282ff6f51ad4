//! What is recorded, for whom, and what is not.

use std::sync::Arc;

use super::*;
use crate::extensions::tape::Function;

fn head(uri: &str, fields: &[(&str, &str)]) -> Parts {
    let request = fields.iter().fold(http::Request::get(uri), |request, (name, value)| request.header(*name, *value));
    request.body(()).unwrap().into_parts().0
}

fn begin(recorder: &Recorder, hook: Hook, given: Given) -> Option<Draft> {
    recorder.begin(hook, 0, None, || given)
}

/// Records a call that gave `ok`, and whether something of the conversation crossed in it.
fn record(recorder: &Recorder, n: u32, content: bool) {
    let Some(mut draft) = begin(recorder, Hook::Accept, Given::Accept) else { return };
    if content && draft.content().is_err() {
        return;
    }
    let ended = draft.gave(&n, Spent::default());
    assert!(ended.is_ok(), "it is short");
    recorder.keep(draft);
}

fn results(cases: &[Arc<Case>]) -> Vec<String> {
    let gave = |case: &Arc<Case>| match &case.endings[..] {
        [Ending::Gave(text)] => text.clone(),
        other => format!("{other:?}"),
    };
    cases.iter().map(gave).collect()
}

#[test]
fn nothing_is_recorded_unless_somebody_wants_it() {
    let recorder = Recorder::new(0, true);
    let asked = recorder.begin(Hook::Accept, 0, None, || panic!("nothing is copied"));
    assert!(asked.is_none() && recorder.cases().is_empty());
}

#[test]
fn the_last_calls_are_kept_oldest_first() {
    let recorder = Recorder::new(3, true);
    (0..5).for_each(|n| record(&recorder, n, n % 2 == 0));
    assert_eq!(results(&recorder.cases()), ["2", "3", "4"]);
}

#[test]
fn without_bodies_only_calls_that_saw_none_are_kept() {
    let recorder = Recorder::new(9, false);
    (0..4).for_each(|n| record(&recorder, n, n % 2 == 0));
    assert_eq!(results(&recorder.cases()), ["1", "3"]);
    assert!(begin(&recorder, Hook::Decode, Given::Decode { format: String::new(), body: Content(b"{}".to_vec()) }).is_none());
}

#[test]
fn a_shadow_gets_all_of_its_share_while_it_has_room() {
    let recorder = Recorder::new(1, false);
    let (to, mut cases) = mpsc::channel(2);
    recorder.shadow(Some(Shadow { share: 1.0, to }));
    (0..4).for_each(|n| record(&recorder, n, n != 3));
    let shadowed: Vec<_> = std::iter::from_fn(|| cases.try_recv().ok()).collect();
    assert_eq!((results(&shadowed), results(&recorder.cases())), (vec!["0".into(), "1".into()], vec!["3".into()]));
    recorder.shadow(None);
    record(&recorder, 4, false);
    assert!(cases.try_recv().is_err());

    let nobody = Recorder::new(0, true);
    let (to, _cases) = mpsc::channel(1);
    nobody.shadow(Some(Shadow { share: 0.0, to }));
    assert!(begin(&nobody, Hook::Accept, Given::Accept).is_none());
}

#[test]
fn shares_are_shares() {
    for share in [0.1, 0.5, 0.9] {
        let chosen = (0..10_000).filter(|n| dice(*n) < share).count() as f64 / 10_000.0;
        assert!((chosen - share).abs() < 0.02, "{chosen} of {share}");
        // Of every second call too: hooks come in turns.
        let chosen = (0..10_000).filter(|n| dice(n * 2) < share).count() as f64 / 10_000.0;
        assert!((chosen - share).abs() < 0.02, "{chosen} of {share}");
    }
}

#[test]
fn so_many_a_second() {
    let pace = Pace::new();
    let admitted = |second| (0..2 * PER_SECOND).filter(|_| pace.admits_at(second)).count() as u64;
    assert_eq!((admitted(0), admitted(0), admitted(1)), (PER_SECOND, 0, PER_SECOND));
}

#[test]
fn secrets_are_masked_wherever_they_are() {
    let recorder = Recorder::new(1, true);
    let fields = [
        ("authorization", "Bearer sk-\"one\""),
        ("x-api-key", "two2"),
        ("cookie", "a=b; session=three"),
        ("x-other", "four"),
        ("x-Auth-Token", "five5"),
    ];
    let head = head("/v1beta/models?key=si%2Fxth&alt=sse&access_token=seventh", &fields);
    let mut draft = recorder.begin(Hook::Accept, 0, Some(&head), || Given::Accept).unwrap();
    for (value, expect) in [
        ("key:sk-\"one\"", "\"key:***\""),
        ("two2 two2", "\"*** ***\""),
        ("three and four", "\"*** and four\""),
        ("a=b; session=three", "\"***\""),
        ("b", "\"b\""),
        ("five5", "\"***\""),
        ("?key=si%2Fxth&alt=sse&access_token=seventh", "\"?key=***&alt=sse&access_token=***\""),
        ("si/xth", "\"***\""),
    ] {
        assert_eq!(draft.text(&value).unwrap_or_else(|_| "spoiled".into()), expect);
    }
    assert!(draft.weigh(&"four").is_ok());
    assert!(draft.weigh(&Some(Content(b"two2".to_vec()))).is_err(), "a value cannot be masked");
}

#[test]
fn a_scheme_is_no_secret() {
    for (name, value, expect) in [
        ("Authorization", "Bearer x", "Bearer ***"),
        ("authorization", "x", "***"),
        ("proxy-authorization", "Basic x y", "Basic ***"),
        ("cookie", "a=b; c=d", "***"),
        ("X-Api-Key", "a b", "***"),
    ] {
        assert!(is_secret_field(name));
        assert_eq!(masked_value(name, value), expect);
    }
    assert!(!is_secret_field("content-type"));
}

#[test]
fn what_is_kept_has_a_length() {
    let recorder = Recorder::new(1000, true);
    let long = || Given::Decode { format: String::new(), body: Content(vec![b'a'; MAX_CASE - 1000]) };
    for _ in 0..2 * MAX_RING / MAX_CASE {
        let mut draft = begin(&recorder, Hook::Decode, long()).unwrap();
        assert!(draft.gave(&(), Spent::default()).is_ok());
        recorder.keep(draft);
    }
    assert_eq!(recorder.cases().len(), MAX_RING / (MAX_CASE - 1000));
}

#[test]
fn what_may_no_longer_be_kept_is_forgotten() {
    let recorder = Recorder::new(9, true);
    (0..4).for_each(|n| record(&recorder, n, false));
    recorder.set(2, true);
    assert_eq!(results(&recorder.cases()), ["2", "3"]);
    recorder.set(2, false);
    assert!(recorder.cases().is_empty(), "nobody knows which saw something of a conversation");
    (4..6).for_each(|n| record(&recorder, n, n == 4));
    assert_eq!(results(&recorder.cases()), ["5"]);
}

#[test]
fn what_is_too_long_is_not_kept() {
    let recorder = Recorder::new(1, true);
    let long = |bytes| Given::Decode { format: String::new(), body: Content(vec![b'a'; bytes]) };
    assert!(begin(&recorder, Hook::Decode, long(MAX_CASE)).is_none());
    let mut draft = begin(&recorder, Hook::Decode, long(MAX_CASE / 2)).unwrap();
    assert!(draft.step(Step::End(None)).is_ok());
    assert!(draft.text(&"b".repeat(MAX_CASE / 2)).is_err());
}

#[test]
fn a_stream_that_was_left_in_a_step_is_not_kept() {
    let recorder = Recorder::new(9, true);
    for (steps, ends, kept) in [(0, 1, 1), (2, 3, 2), (2, 2, 2), (1, 0, 2)] {
        let mut draft = begin(&recorder, Hook::StreamFilter, Given::Accept).unwrap();
        (0..steps).for_each(|_| assert!(draft.step(Step::Events { events: Vec::new(), bytes: 0, last: false }).is_ok()));
        (0..ends).for_each(|_| assert!(draft.gave(&(), Spent::default()).is_ok()));
        recorder.keep(draft);
        assert_eq!(recorder.cases().len(), kept, "{steps} steps, {ends} ends");
    }
}

/// A case with these calls of the host, each with its argument and its answer.
pub fn case(calls: &[(Function, &str, i64)], masked: bool) -> Case {
    let recorder = Recorder::new(1, true);
    let mut draft = begin(&recorder, Hook::BeforeGenerate, Given::Accept).unwrap();
    for (function, argument, answer) in calls {
        let arguments = format!("({argument:?},)");
        assert!(draft.note(Noted::new(*function, arguments), answer).is_ok());
    }
    if masked {
        draft.gave_mask();
    }
    assert!(draft.gave(&"done", Spent::default()).is_ok());
    draft.finish().unwrap().0
}

#[test]
fn a_case_says_what_it_is() {
    let case = case(&[(Function::fact("kv.get"), "a", 1)], false);
    assert_eq!((case.hook(), case.summary().as_str()), (Hook::BeforeGenerate, "before-generate (1 calls of the host)"));
}
