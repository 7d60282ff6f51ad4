//! The crate natively and in the component decide alike.

use serde_json::json;
use wasmgate_code::{Language, Limits, Verdict, check};

use super::api;
use super::damage::{Dice, mutation};
use super::sources::Environment;

/// Files of each language, each as it is and broken.
const FILES: usize = 25;

/// As the gateway is told.
const MAX_BYTES: usize = 1 << 20;

#[tokio::test]
async fn sdk_validation_agrees_natively_and_in_the_component() {
    let Some(environment) = Environment::find() else { return };
    let (_gateway, client) = api::gateway("{config: {max_bytes: 1048576}, limits: {cpu_ms: 5000, memory_mb: 256}}").await;
    let limits = Limits { bytes: MAX_BYTES, read: MAX_BYTES, ..Limits::default() };
    for language in Language::ALL {
        let mut dice = Dice::new(language);
        for source in environment.files(language, FILES).0 {
            for code in [mutation(language, &source.text, &mut dice), source.text] {
                let document = client.post("/api/validate", &json!({"code": code, "language": language.name()})).await.json();
                let block = &document["data"]["blocks"][0];
                let (result, diagnostics) = match check(language, &code, &limits) {
                    Verdict::Valid => ("valid", json!(null)),
                    Verdict::Invalid(problems) => ("invalid", json!(problems)),
                    Verdict::Unchecked(_) => ("unchecked", json!(null)),
                };
                assert_eq!((block["result"].as_str(), &block["diagnostics"]), (Some(result), &diagnostics), "{}", source.path.display());
            }
        }
    }
}
