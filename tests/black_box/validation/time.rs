//! What looking at an answer takes of a component's CPU time, per language. It prints; no machine has to be fast for it to pass.

use std::collections::BTreeMap;

use wasmgate_code::Language;
use wasmgate_tests::answers::Says;
use wasmgate_tests::{Client, Dialect, Gateway, Received, Reply, Upstream};

use super::damage::{Dice, mutation};
use super::sources::Environment;
use crate::setup;

/// What the default of `max_bytes` lets parsers read.
const MAX_BYTES: usize = 32 << 10;

/// Files of a language whose times are taken, and how many are looked through for them.
const FILES: usize = 12;
const AMONG: usize = 700;

#[tokio::test]
async fn sdk_validation_takes_this_long() {
    let Some(environment) = Environment::find() else { return };
    let mut answers: BTreeMap<String, String> = BTreeMap::new();
    let mut asked: Vec<(Language, &str, String, usize)> = Vec::new();
    for language in Language::ALL {
        let mut dice = Dice::new(language);
        // As long as parsers read, or nearly: half of it, and more.
        let long = environment.files(language, AMONG).0.into_iter().filter(|s| (MAX_BYTES / 4..MAX_BYTES).contains(&s.text.len()));
        for (number, source) in long.take(FILES).enumerate() {
            let broken = mutation(language, &source.text, &mut dice);
            for (kind, code) in [("good", source.text), ("broken", broken)] {
                let model = format!("{}-{kind}-{number}", language.name());
                asked.push((language, kind, model.clone(), code.len()));
                answers.insert(model, format!("````{}\n{}\n````\n", language.name(), code.trim_end()));
            }
        }
    }
    let upstream = Upstream::start(move |r: &Received| {
        let mut document = Says::text("").document(Dialect::OpenAi, &r.model());
        document["choices"][0]["message"]["content"] = answers[&r.model()].as_str().into();
        Reply::json(200, &document)
    })
    .await;
    let extension = "  validation: {limits: {cpu_ms: 5000}, config: {auto_fix: true}}\n";
    let gateway = Gateway::start(&setup::config(&setup::provider(Dialect::OpenAi, &upstream), extension)).await;
    let client = Client::new(&gateway);
    let mut took: BTreeMap<(Language, &str), Vec<f64>> = BTreeMap::new();
    let mut before = 0.0;
    for (language, kind, model, length) in asked {
        // The first one warms what is not warm yet.
        for round in 0..2 {
            let answer = client.post(Dialect::OpenAi.path(), &Dialect::OpenAi.request(&model, "x")).await;
            assert_eq!(answer.status, 200, "{model}: {}", answer.text());
            assert!(answer.header("x-wasmgate-validation").contains("blocks=1"), "{model}: {}", answer.header("x-wasmgate-validation"));
            let stats = client.extension("validation").await["stats"]["hooks"]["after-generate"].clone();
            let all = stats["guest_us"].as_f64().expect("it was called");
            let us = std::mem::replace(&mut before, all);
            if round == 1 {
                let read = length.clamp(1, MAX_BYTES) as f64;
                took.entry((language, kind)).or_default().push((all - us) / 1000.0 * MAX_BYTES as f64 / read);
            }
        }
    }
    for ((language, kind), mut times) in took {
        times.sort_by(f64::total_cmp);
        let (middle, most) = (times[times.len() / 2], times[times.len() - 1]);
        println!("validation: {language}, {kind}: {middle:.2} ms for 32 KiB, {most:.2} ms at most, of {} files", times.len());
    }
}
