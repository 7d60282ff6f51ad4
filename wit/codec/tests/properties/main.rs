//! What must hold for every input, not only for recorded ones.

mod json;
mod make;
mod requests;
mod streams;

/// 96 cases per property, which take seconds; `PROPTEST_CASES` says otherwise. No file of failures is kept: a failure prints its input, which then becomes a unit test.
pub fn config() -> proptest::test_runner::Config {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(96);
    proptest::test_runner::Config { cases, failure_persistence: None, ..Default::default() }
}
