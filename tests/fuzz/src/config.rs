//! The configuration: any text is read to the end, and what is wrong with it is told with its place.

use wasmgate::config::{Reading, Source};

/// Checks one file.
pub fn check(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    // A secret may name a file, and a fuzzer must not choose files of this machine.
    if text.contains("file:") {
        return;
    }
    let env = |name: &str| (name == "KEY").then(|| "value".to_owned());
    let Reading { config, problems, source } = Reading::of(Source::parse("gateway.yaml", text, &[], &env));
    for problem in &problems {
        assert!(!problem.place.is_empty() || !problem.path.is_empty(), "a problem without a place: {problem:?}");
        assert!(!problem.message.is_empty(), "a problem without a message: {problem:?}");
    }
    // What comes next on the way to a gateway: neither may panic on what was read.
    let _ = wasmgate::extensions::plan(&config, None, &source, &mut Vec::new());
    let _ = format!("{config:?}");
}
