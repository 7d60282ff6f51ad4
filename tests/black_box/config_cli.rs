//! `wasmgate config`: what is in effect, where it comes from, and what there is to set.

use wasmgate_tests::cli::{self, ConfigFile, Finished};
use wasmgate_tests::repo;

const CONFIG: &str = "\
server:
  port: 8090
auth:
  api_password: very-secret-1
providers:
  up: {type: openai, api_key: \"${UP_KEY}\", base_url: \"http://user:very-secret-2@up.example/v1\"}
extensions:
  openai_api: {}
  fetches:
    secrets: {token: very-secret-3}
    config: {endpoint: \"${SOME_TOKEN}\", password: very-secret-4, depth: 3}
api_keys:
  - key: very-secret-5
    name: development
";

fn print(file: &ConfigFile, args: &[&str]) -> Finished {
    let path = file.path();
    let mut all = vec!["config", "print", "--config", path.to_str().expect("UTF-8")];
    all.extend(args);
    let environment = [
        ("UP_KEY", "very-secret-6"),
        ("SOME_TOKEN", "very-secret-7"),
        ("WASMGATE_LOGGING__LEVEL", "debug"),
        ("WASMGATE_EXTENSIONS__OPENAI_API__TOGGLE", "false"),
    ];
    cli::run_with(&all, &environment)
}

#[track_caller]
fn assert_line(text: &str, begin: &str, origin: &str) {
    let found = text.lines().any(|l| l.trim_start().starts_with(begin) && l.ends_with(origin));
    assert!(found, "no line with `{begin}` and `{origin}` in\n{text}");
}

#[test]
fn every_value_says_where_it_is_from_and_no_secret_is_shown() {
    let file = ConfigFile::new(CONFIG);
    let finished = print(&file, &["--set", "deploy.watch=true"]);
    assert_eq!((finished.code, finished.stderr.as_str()), (0, ""), "{finished:?}");
    let text = &finished.stdout;
    assert!(!text.contains("very-secret"), "{text}");
    for (begin, origin) in [
        ("port: 8090 ", "gateway.yaml:2"),
        ("host: 127.0.0.1 ", "# default"),
        ("api_password: \"***\"", "gateway.yaml:4"),
        ("level: debug ", "environment variable WASMGATE_LOGGING__LEVEL"),
        ("toggle: false ", "environment variable WASMGATE_EXTENSIONS__OPENAI_API__TOGGLE"),
        ("watch: true ", "--set"),
        ("api_key: \"***\"", "gateway.yaml:6"),
        ("base_url: \"http://user:***@up.example/v1\"", "gateway.yaml:6"),
        ("token: \"***\"", "gateway.yaml:10"),
        ("endpoint: \"***\"", "gateway.yaml:11"),
        ("password: \"***\"", "gateway.yaml:11"),
        ("depth: 3 ", "gateway.yaml:11"),
        ("key: \"***\"", "gateway.yaml:13"),
        ("name: development ", "gateway.yaml:14"),
    ] {
        assert_line(text, begin, origin);
    }
    let short = print(&file, &["--no-defaults"]).stdout;
    assert!(short.contains("port: 8090") && !short.contains("# default"), "{short}");
}

#[test]
fn what_is_printed_is_a_configuration_with_the_same_effect() {
    // Without secrets, which are not there.
    let text = "server: {port: 9, body_timeout: 90s}\nproviders: {a: {type: echo, models: [\"true\", \"8\", \"a: b\"]}}\n\
                extensions: {routing: {on_error: skip}}\naliases: {fast: a/x, list: [1, true, {deep: \"yes\"}]}\n";
    let print = |file: &ConfigFile| {
        let finished = cli::run(&["config", "print", "--config", file.path().to_str().expect("UTF-8")]);
        assert_eq!(finished.code, 0, "{finished:?}");
        finished.stdout
    };
    let once = print(&ConfigFile::new(text));
    let twice = print(&ConfigFile::new(&once));
    let values = |text: &str| text.lines().map(|l| l.split(" # ").next().unwrap().trim_end().to_owned()).collect::<Vec<_>>();
    assert_eq!(values(&once), values(&twice));
    assert!(once.contains("models: [\"true\", \"8\", \"a: b\"]"), "{once}");
}

#[test]
fn what_is_wrong_is_told_all_at_once_and_the_rest_printed() {
    let file = ConfigFile::new(
        "server: {prot: 1}\nauth: {api_password: \"file:/no/such\"}\nproviders: {a: {type: echo}}\nlogging: {format: xml}\n",
    );
    let finished = cli::run(&["config", "print", "--config", file.path().to_str().expect("UTF-8")]);
    assert_eq!(finished.code, 2);
    for expect in ["Did you mean `port`?", "the file `/no/such` cannot be read", "expected `text` or `json`"] {
        assert!(finished.stderr.contains(expect), "{expect}: {}", finished.stderr);
    }
    assert_line(&finished.stdout, "port: 8080 ", "# default");
    let checked = file.check(&[]);
    assert_eq!(checked.code, 2);
    for (line, expect) in [(1, "`server.prot`"), (2, "`auth.api_password`"), (4, "`logging.format`")] {
        assert!(checked.stderr.contains(&format!("gateway.yaml:{line}: error: {expect}")), "{}", checked.stderr);
    }
}

#[test]
fn a_secret_is_read_from_a_file() {
    let file = ConfigFile::new("");
    let secret = file.folder().join("key");
    std::fs::write(&secret, "very-secret-8\n").unwrap();
    let text = format!("providers: {{a: {{type: openai, api_key: \"file:{}\"}}}}\n", secret.display());
    std::fs::write(file.path(), text).unwrap();
    let finished = file.check(&[]);
    assert_eq!(finished.code, 0, "{finished:?}");
    let printed = print(&file, &[]);
    assert!(!printed.stdout.contains("very-secret"), "{}", printed.stdout);
}

#[test]
fn the_schema_and_the_reference_are_printed() {
    let schema = cli::run(&["config", "schema"]);
    assert_eq!(schema.code, 0, "{schema:?}");
    let document: serde_json::Value = serde_json::from_str(&schema.stdout).expect("the schema is JSON");
    assert_eq!(document["properties"]["server"]["anyOf"][0]["additionalProperties"], false, "{document}");
    let reference = cli::run(&["config", "reference"]);
    let written = std::fs::read_to_string(repo::path("configs/reference.yaml")).expect("configs/reference.yaml");
    assert!(reference.stdout == written, "write it anew: wasmgate config reference > configs/reference.yaml");
}
