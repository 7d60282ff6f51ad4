//! Which test makes which attack, and which test hits which limit. A row whose test does not exist fails, and so does a limit without
//! a row: whoever adds a setting that bounds extensions has to say what hits it.

use std::collections::BTreeSet;

use wasmgate_tests::{Client, Dialect, Gateway, cli, repo};

use crate::{attacks, extensions, setup};

/// A test: its file, relative to the repository, and its name.
type Test = (&'static str, &'static str);

const ATTACKS: &str = "tests/black_box/attacks.rs";
const EXTENSIONS: &str = "tests/black_box/extensions.rs";
const FILES: &str = "tests/black_box/files.rs";
const FILTERS: &str = "tests/black_box/filters.rs";
const GENERATE: &str = "tests/black_box/generate.rs";
const OUTBOUND: &str = "host/src/extensions/outbound/tests.rs";
const PANICS: &str = "tests/black_box/panics.rs";
const SECURITY: &str = "tests/black_box/security.rs";
const SERVICES: &str = "tests/black_box/services.rs";

/// The table of attacks in `attacks.rs`.
const EVERY_ATTACK: Test = (ATTACKS, "every_attack_comes_to_nothing_while_others_are_served");

/// What a hostile component, and those whom it talks to, may try.
const MADE_BY: &[(&str, &[Test])] = &[
    ("endless loop", &[EVERY_ATTACK, (EXTENSIONS, "an_endless_loop_is_cut_while_others_are_served")]),
    ("loop of host calls", &[EVERY_ATTACK]),
    ("memory bomb", &[EVERY_ATTACK, (EXTENSIONS, "memory_is_limited"), (ATTACKS, "memory_is_given_back_after_the_attacks")]),
    ("table bomb", &[(FILES, "a_table_that_grows_without_end_is_stopped_at_its_limit")]),
    ("unbounded recursion", &[EVERY_ATTACK]),
    ("a million handles", &[EVERY_ATTACK]),
    (
        "header fields without end",
        &[
            (ATTACKS, "header_fields_without_end_are_cut_with_one_line_in_the_log"),
            (ATTACKS, "what_an_http_route_answers_cannot_break_the_framing"),
        ],
    ),
    ("a giant list to the host, a giant answer", &[EVERY_ATTACK]),
    ("a huge request for random bytes", &[EVERY_ATTACK]),
    ("log flood", &[EVERY_ATTACK, (ATTACKS, "a_flood_of_log_lines_is_cut_with_one_notice_a_second")]),
    (
        "panic in every hook",
        &[
            (PANICS, "in_a_dialect"),
            (PANICS, "in_a_hook_of_the_pipeline"),
            (PANICS, "in_a_judge"),
            (PANICS, "in_its_last_call"),
            (EXTENSIONS, "a_panic_of_an_http_route_is_an_error_of_that_route"),
            (EXTENSIONS, "what_an_extension_says_about_its_configuration_is_shown"),
        ],
    ),
    (
        "panic in the destructor of a resource",
        &[(ATTACKS, "a_panic_after_the_answer_costs_nobody_anything"), (PANICS, "in_a_dialect"), (PANICS, "in_a_hook_of_the_pipeline")],
    ),
    ("a handle after its call", &[EVERY_ATTACK, (ATTACKS, "a_handle_that_was_kept_or_guessed_reaches_no_other_request")]),
    ("what another extension keeps", &[EVERY_ATTACK]),
    ("one long value a hundred thousand times", &[EVERY_ATTACK]),
    ("values, rows and tables without end", &[EVERY_ATTACK]),
    ("series of metrics without end", &[EVERY_ATTACK, (SERVICES, "numbers_of_extensions_and_what_they_cost_are_on_the_page_of_metrics")]),
    (
        "names and numbers that stand for addresses of this machine and its network",
        &[(SERVICES, "what_was_not_granted_is_refused_and_nothing_is_sent"), (OUTBOUND, "metadata_services_are_out_of_reach")],
    ),
    ("redirect to an address of this machine", &[(SERVICES, "a_redirect_is_not_followed_by_the_host")]),
    (
        "header smuggling in responses",
        &[
            (ATTACKS, "what_an_http_route_answers_cannot_break_the_framing"),
            (ATTACKS, "what_a_hook_adds_to_the_response_cannot_break_the_framing"),
        ],
    ),
    ("header smuggling in outbound requests", &[(SERVICES, "header_fields_of_outbound_requests_cannot_smuggle")]),
    (
        "reading a secret through its placeholder",
        &[
            (SERVICES, "a_secret_is_used_and_never_seen"),
            (SERVICES, "a_placeholder_gives_its_secret_to_granted_hosts_in_header_values_and_to_nobody_else"),
        ],
    ),
    ("a client that leaves in the middle of a host call", &[(GENERATE, "a_client_that_leaves_cancels_what_was_asked_for_it")]),
    ("what an earlier instance left in memory", &[EVERY_ATTACK]),
    (
        "truncated, random and huge files",
        &[
            (FILES, "a_component_that_is_cut_off_anywhere_is_refused"),
            (FILES, "random_bytes_are_refused"),
            (FILES, "a_component_with_flipped_bits_is_refused_or_works_and_the_host_survives"),
            (FILES, "a_huge_file_is_refused_without_being_read"),
            (FILES, "what_is_no_ordinary_file_is_refused"),
        ],
    ),
    (
        "imports that were not granted",
        &[
            (EXTENSIONS, "imports_that_were_not_asked_for_are_refused_by_name"),
            (GENERATE, "what_is_not_granted_is_refused_with_the_line_to_write"),
            (SERVICES, "without_the_grant_every_request_is_refused_as_a_value"),
        ],
    ),
    ("compiled code", &[(FILES, "compiled_code_is_no_component_not_even_the_gateways_own")]),
    (
        "a core module, a module of WASI preview1",
        &[(EXTENSIONS, "a_file_that_is_no_component_is_refused"), (FILES, "a_module_of_wasi_preview1_is_refused_with_the_way_out")],
    ),
    (
        "strings in UTF-16",
        &[
            (FILES, "strings_in_utf16_come_across_whole"),
            (FILES, "strings_that_are_no_utf16_end_the_call"),
            (FILES, "a_refusal_in_utf16_is_read_and_a_broken_one_is_a_trap"),
        ],
    ),
    ("a handler that never answers", &[(FILES, "strings_in_utf16_come_across_whole")]),
    ("a filter that holds everything back", &[(FILTERS, "holding_back_has_limits_of_time_and_size")]),
    ("requests of requests without end", &[(GENERATE, "depth_number_tokens_and_time_are_bounded")]),
];

/// The settings that bound an extension, section by section.
const HIT_BY: &[(&str, &str, Test)] = &[
    ("limits", "cpu_ms", (EXTENSIONS, "a_loop_is_cut_by_the_default_limit")),
    ("limits", "cpu_ms_per_mib", (SECURITY, "time_for_what_is_read_is_given_by_its_length")),
    ("limits", "wall_ms", (SERVICES, "a_call_that_waits_too_long_is_ended")),
    ("limits", "memory_mb", (EXTENSIONS, "memory_is_limited")),
    ("limits", "table_elements", (FILES, "a_table_that_grows_without_end_is_stopped_at_its_limit")),
    ("limits", "handles", EVERY_ATTACK),
    ("limits", "host_call_bytes", EVERY_ATTACK),
    ("limits", "log_lines_per_second", (ATTACKS, "a_flood_of_log_lines_is_cut_with_one_notice_a_second")),
    ("limits", "hold_bytes", (FILTERS, "holding_back_has_limits_of_time_and_size")),
    ("limits", "hold_ms", (FILTERS, "holding_back_has_limits_of_time_and_size")),
    ("limits", "generate_depth", (GENERATE, "depth_number_tokens_and_time_are_bounded")),
    ("limits", "generate_calls", (GENERATE, "depth_number_tokens_and_time_are_bounded")),
    ("limits", "generate_tokens", (GENERATE, "depth_number_tokens_and_time_are_bounded")),
    ("limits", "generate_ms", (GENERATE, "depth_number_tokens_and_time_are_bounded")),
    ("limits", "warm_instances", (SECURITY, "instances_that_are_too_many_are_not_kept")),
    ("http", "hosts", (SERVICES, "what_was_not_granted_is_refused_and_nothing_is_sent")),
    ("http", "private_addresses", (SERVICES, "what_was_not_granted_is_refused_and_nothing_is_sent")),
    ("http", "requests_at_once", (OUTBOUND, "requests_at_once_are_bounded_until_their_answers_are_read")),
    ("http", "response_bytes", (SERVICES, "an_answer_that_is_too_long_is_cut_off")),
    ("http", "timeout", (OUTBOUND, "waiting_has_an_end")),
];

/// Whether a file has a test of this name.
fn exists((file, name): &Test) -> bool {
    let text = std::fs::read_to_string(repo::path(file)).unwrap_or_else(|e| panic!("{file}: {e}"));
    let before = text.split(&format!("fn {name}(")).next().expect("one part at least");
    before.len() < text.len() && before.trim_end_matches("async ").trim_end().ends_with(']')
}

#[test]
fn every_attack_is_made_by_a_test() {
    let rows = MADE_BY.iter().flat_map(|(attack, tests)| tests.iter().map(move |test| (attack, test)));
    let missing: Vec<_> = rows.filter(|(_, test)| !exists(test)).collect();
    assert!(missing.is_empty(), "there are no such tests: {missing:#?}");
    assert!(MADE_BY.iter().all(|(_, tests)| !tests.is_empty()));
}

#[test]
fn every_limit_of_the_configuration_is_hit_by_a_test() {
    let reference = cli::run(&["config-reference"]).stdout;
    for section in ["limits", "http"] {
        let title = format!("## `extensions.NAME.{section}`");
        let (_, text) = reference.split_once(&title).unwrap_or_else(|| panic!("no {title} in\n{reference}"));
        let rows = text.split("\n## ").next().expect("one part at least").lines();
        let fields: BTreeSet<&str> = rows.filter_map(|l| l.strip_prefix("| `")?.split('`').next()).collect();
        let listed: BTreeSet<&str> = HIT_BY.iter().filter(|(s, _, _)| *s == section).map(|(_, field, _)| *field).collect();
        assert_eq!(fields, listed, "the settings of `{section}` and the tests that hit them");
    }
    let missing: Vec<_> = HIT_BY.iter().filter(|(_, _, test)| !exists(test)).collect();
    assert!(missing.is_empty(), "there are no such tests: {missing:#?}");
}

// === limits that no other theme hits ===

#[tokio::test]
async fn time_for_what_is_read_is_given_by_its_length() {
    // Of another format than the caller's, so that the whole conversation is read.
    let upstream = setup::friendly(Dialect::OpenAi).await;
    let ask = async |limits: &str| {
        let config = setup::config(&setup::provider(Dialect::OpenAi, &upstream), "")
            .replace("anthropic-api: {}", &format!("anthropic-api: {{limits: {limits}}}"));
        let gateway = Gateway::start(&config).await;
        let client = Client::new(&gateway);
        let mut request = Dialect::Anthropic.request("m", "x");
        let message =
            |n: usize| serde_json::json!({"role": if n.is_multiple_of(2) { "user" } else { "assistant" }, "content": "word ".repeat(20)});
        request["messages"] = (0..60_001).map(message).collect();
        let answer = client.post(Dialect::Anthropic.path(), &request).await;
        (answer.status, gateway)
    };
    let (status, gateway) = ask("{cpu_ms: 3, cpu_ms_per_mib: 0}").await;
    assert_eq!(status, 500);
    gateway.log_line("the limit", |l| l["limit"] == "cpu_ms" && l["extension"] == "anthropic-api").await;
    attacks::assert_unharmed(&Client::new(&gateway), "anthropic-api").await;
    let (status, _gateway) = ask("{cpu_ms: 3, cpu_ms_per_mib: 500}").await;
    assert_eq!(status, 200);
}

#[tokio::test]
async fn instances_that_are_too_many_are_not_kept() {
    let upstream = setup::friendly(Dialect::OpenAi).await;
    let made = async |limits: &str| {
        let probe = extensions::fixture("probe", limits);
        let gateway = Gateway::start(&setup::config(&setup::provider(Dialect::OpenAi, &upstream), &probe)).await;
        let client = Client::new(&gateway);
        for _ in 0..20 {
            let answer = client.post(Dialect::OpenAi.path(), &Dialect::OpenAi.request("m", "x")).await;
            // on-complete comes after the answer, and its record after that.
            setup::assert_record(&client, answer.header("x-request-id"), "success").await;
        }
        client.extension("probe").await["stats"]["hooks"]["lifecycle.configure"]["calls"].as_u64().expect("a number")
    };
    // Both hooks of each request.
    assert!(made("limits: {warm_instances: 0}").await >= 40);
    assert!(made("").await < 10);
}
