//! Files that are offered as components and are none, and components that no compiler makes (`tests/wat/`).

use std::path::Path;

use serde_json::json;
use wasmgate_tests::cli::{self, ConfigFile};
use wasmgate_tests::{Client, Dialect, Gateway, component, repo};

use crate::{attacks, extensions, setup};

// === files ===

/// Compiled code that the gateway itself wrote into its cache.
fn compiled(folder: &Path) -> Vec<u8> {
    let config = ConfigFile::new("providers: {echo: {type: echo}}\nextensions: {routing: {}}\n");
    let (file, components, cache) = (config.path(), repo::components(), format!("cache={}", folder.display()));
    let args = ["check", "--config", file.to_str().expect("UTF-8"), "--components", components.to_str().expect("UTF-8"), "--set", &cache];
    assert_eq!(cli::run(&args).code, 0);
    let mut entries = std::fs::read_dir(folder).expect("the cache").map(|e| e.expect("an entry").path());
    let entry = entries.find(|p| p.extension().is_some_and(|e| e == "cwasm")).expect("compiled code is kept");
    std::fs::read(entry).expect("it is readable")
}

#[test]
fn compiled_code_is_no_component_not_even_the_gateways_own() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let entry = compiled(&folder.path().join("code"));
    extensions::refused_bytes(&entry, &["mine.wasm", "not a WebAssembly file"]);
    // Without the digest in front it is what the engine would load.
    extensions::refused_bytes(&entry[32..], &["mine.wasm", "not a WebAssembly file"]);
    // Behind the first bytes of a component it is damage.
    extensions::refused_bytes(&[component::EMPTY, &entry[32..]].concat(), &["mine.wasm"]);
}

/// A core module with one import of the interface that came before components.
fn preview1() -> Vec<u8> {
    let name = |name: &str| [&[name.len() as u8], name.as_bytes()].concat();
    let import = [&[1][..], &name("wasi_snapshot_preview1"), &name("proc_exit"), &[0, 0]].concat();
    let types = [1, 0x60, 1, 0x7f, 0];
    [component::CORE_MODULE, &[1, types.len() as u8], &types, &[2, import.len() as u8], &import].concat()
}

#[test]
fn a_module_of_wasi_preview1_is_refused_with_the_way_out() {
    extensions::refused_bytes(&preview1(), &["mine.wasm", "core WebAssembly module", "wasm-tools component new"]);
}

#[test]
fn a_component_that_is_cut_off_anywhere_is_refused() {
    let whole = extensions::renamed(json!({"capabilities": ["log", "providers"]}));
    // The manifest is the last section, so nothing before the end is complete.
    for length in [4, 7, 8, 9, 100, whole.len() / 3, whole.len() - 200, whole.len() - 1] {
        extensions::refused_bytes(&whole[..length], &["mine.wasm"]);
    }
}

/// Numbers that look random and are always the same (xorshift, Marsaglia 2003).
fn noise(seed: u64) -> impl Iterator<Item = u64> {
    std::iter::successors(Some(seed), |n| {
        let n = n ^ (n << 13);
        let n = n ^ (n >> 7);
        Some(n ^ (n << 17))
    })
}

#[test]
fn random_bytes_are_refused() {
    for seed in 1..=4 {
        let bytes: Vec<u8> = noise(seed * 0x9e37_79b9).take(8 << 10).flat_map(u64::to_le_bytes).collect();
        extensions::refused_bytes(&bytes, &["mine.wasm", "not a WebAssembly file"]);
        extensions::refused_bytes(&[component::EMPTY, &bytes].concat(), &["mine.wasm"]);
    }
}

#[test]
fn a_component_with_flipped_bits_is_refused_or_works_and_the_host_survives() {
    let whole = extensions::renamed(json!({"capabilities": ["log", "providers"]}));
    let mut places = noise(0x5eed).skip(1);
    for _ in 0..12 {
        let mut bytes = whole.clone();
        for _ in 0..4 {
            let (place, bit) = (places.next().expect("endless") as usize % bytes.len(), places.next().expect("endless") % 8);
            bytes[place] ^= 1 << bit;
        }
        let file = ConfigFile::new("");
        let mine = extensions::entry("mine", &component::write(file.folder(), "mine", &bytes), "");
        std::fs::write(file.path(), setup::config("  echo: {type: echo}\n", &mine)).expect("a temporary file");
        // What such code does must not stay among what the other tests use.
        let cache = format!("cache={}", file.folder().join("code").display());
        let checked = file.check(&["--set", &cache]);
        assert!([0, 2].contains(&checked.code), "{checked:?}");
        assert!(!checked.stderr.contains("thread '"), "the host itself panicked: {}", checked.stderr);
    }
}

#[test]
fn a_huge_file_is_refused_without_being_read() {
    for head in [&b""[..], component::EMPTY] {
        extensions::refused(
            |folder| {
                let file = component::write(folder, "mine", head);
                // Sparse: it takes no space, and would take all of it in memory.
                std::fs::OpenOptions::new().write(true).open(&file).and_then(|f| f.set_len(1 << 40)).expect("a sparse file");
                extensions::entry("mine", &file, "")
            },
            &["mine.wasm", "has more than 268435456 bytes"],
        );
    }
}

#[test]
fn what_is_no_ordinary_file_is_refused() {
    extensions::refused(|_| "  mine: {component: /dev/zero}\n".into(), &["/dev/zero", "is no file"]);
    extensions::refused(
        |folder| {
            let pipe = folder.join("mine.wasm");
            assert!(std::process::Command::new("mkfifo").arg(&pipe).status().expect("there is `mkfifo`").success());
            format!("  mine: {{component: \"{}\"}}\n", pipe.display())
        },
        &["mine.wasm", "is no file"],
    );
}

// === components that no compiler makes ===

/// Lines of the section `extensions` that load a component that is written as text.
fn text(folder: &Path, name: &str, more: &str) -> String {
    extensions::entry(name, &component::write(folder, name, &component::from_text(name)), more)
}

#[tokio::test]
async fn a_table_that_grows_without_end_is_stopped_at_its_limit() {
    let upstream = setup::friendly(Dialect::OpenAi).await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let tables = text(folder.path(), "tables", "routes: [GET /tables]");
    let gateway = Gateway::start(&setup::config(&setup::provider(Dialect::OpenAi, &upstream), &tables)).await;
    let client = Client::new(&gateway);
    for _ in 0..3 {
        let answer = client.get("/tables").await;
        assert_eq!(answer.status, 500, "{}", answer.text());
        assert!(answer.json()["error"]["message"].is_string());
    }
    gateway.log_line("the limit", |l| l["limit"] == "table_elements" && l["extension"] == "tables").await;
    attacks::assert_unharmed(&client, "tables").await;
}

/// The component `wide`, told to do this.
async fn wide(attack: &str) -> (wasmgate_tests::Upstream, Gateway, Client) {
    let upstream = setup::friendly(Dialect::OpenAi).await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let wide = text(folder.path(), "wide", &format!("config: {{attack: {attack}}}"));
    let gateway = Gateway::start(&setup::config(&setup::provider(Dialect::OpenAi, &upstream), &wide)).await;
    let client = Client::new(&gateway);
    (upstream, gateway, client)
}

#[tokio::test]
async fn strings_in_utf16_come_across_whole() {
    let (_upstream, gateway, client) = wide("fine").await;
    // The route itself was told in UTF-16. Its handler returns without an answer, which is an error and no endless wait.
    for _ in 0..3 {
        let answer = client.get("/wide").await;
        assert_eq!(answer.status, 500, "{}", answer.text());
    }
    gateway.log_line("the greeting", |l| l["extension"] == "wide" && l["message"] == "Grüße 😀").await;
    attacks::assert_unharmed(&client, "wide").await;
    let (status, log) = gateway.stop().await;
    assert!(status.success(), "{log}");
}

#[tokio::test]
async fn strings_that_are_no_utf16_end_the_call() {
    for attack in ["lone-surrogate", "odd-address", "beyond-the-memory"] {
        let (_upstream, gateway, client) = wide(attack).await;
        let answer = client.get("/wide").await;
        assert_eq!(answer.status, 500, "{attack}: {}", answer.text());
        gateway.log_line(attack, |l| l["extension"] == "wide" && l["message"] == "extension trapped").await;
        attacks::assert_unharmed(&client, "wide").await;
    }
}

#[test]
fn a_refusal_in_utf16_is_read_and_a_broken_one_is_a_trap() {
    extensions::refused(|folder| text(folder, "wide", "config: {attack: error}"), &["`wide`", "Grüße 😀"]);
    extensions::refused(|folder| text(folder, "wide", "config: {attack: x}"), &["`wide`", "while it is loaded"]);
}
