//! What `configs/deploy/` has for services and containers.

use std::process::Command;

use saphyr::{LoadableYamlNode as _, Yaml};
use wasmgate_tests::{Gateway, cli, repo};

use crate::setup;

fn deploy_file(name: &str) -> String {
    let file = repo::path("configs/deploy").join(name);
    std::fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()))
}

/// A configuration passes `check` with these variables.
fn assert_good(file: &std::path::Path, environment: &[(&str, &str)]) {
    let (components, cache) = (repo::components(), format!("cache={}", repo::cache().display()));
    let args = ["check", "--strict", "--config", file.to_str().unwrap(), "--components", components.to_str().unwrap(), "--set", &cache];
    let checked = cli::run_with(&args, environment);
    assert_eq!(checked.code, 0, "{}: {checked:?}", file.display());
}

#[test]
fn the_configuration_is_good() {
    let environment = [("OPENAI_API_KEY", "a"), ("ANTHROPIC_API_KEY", "b"), ("WASMGATE_HOST", "127.0.0.1")];
    assert_good(&repo::path("configs/deploy/gateway.yaml"), &environment);
}

#[test]
fn manifests_are_complete() {
    for name in ["kubernetes.yaml", "kubernetes-replicas.yaml"] {
        let text = deploy_file(name);
        let documents = Yaml::load_from_str(&text).unwrap_or_else(|e| panic!("{name}: {e}"));
        let kind = |wanted: &str| documents.iter().find(|d| d["kind"].as_str() == Some(wanted));
        for document in &documents {
            let named = document["apiVersion"].as_str().is_some() && document["metadata"]["name"].as_str().is_some();
            assert!(named, "{name}: {document:?}");
        }
        let deployment = kind("Deployment").unwrap_or_else(|| panic!("{name} has no Deployment"));
        let template = &deployment["spec"]["template"];
        let labels = &template["metadata"]["labels"];
        assert_eq!(labels, &deployment["spec"]["selector"]["matchLabels"], "{name}: the pods are not those that are looked for");
        let service = kind("Service").unwrap_or_else(|| panic!("{name} has no Service"));
        assert_eq!(&service["spec"]["selector"], labels, "{name}: the service leads nowhere");
        let pod = &template["spec"];
        assert_eq!(pod["securityContext"]["runAsNonRoot"].as_bool(), Some(true), "{name}");
        let container = &pod["containers"][0];
        assert_eq!(container["securityContext"]["readOnlyRootFilesystem"].as_bool(), Some(true), "{name}");
        for probe in ["startupProbe", "readinessProbe", "livenessProbe"] {
            // One that stops lives still, and should get no more requests.
            let path = if probe == "readinessProbe" { "/health/ready" } else { "/health" };
            assert_eq!(container[probe]["httpGet"]["path"].as_str(), Some(path), "{name}: {probe}");
        }
        // Everything that is mounted is there.
        for mount in container["volumeMounts"].as_vec().unwrap() {
            let volumes = pod["volumes"].as_vec().unwrap();
            assert!(volumes.iter().any(|v| v["name"] == mount["name"]), "{name}: {mount:?}");
        }
        // What it takes to stop: longer than the gateway may take.
        assert!(pod["terminationGracePeriodSeconds"].as_integer() > Some(30), "{name}");
    }
}

#[test]
fn the_service_file_is_understood_by_systemd() {
    let unit = deploy_file("wasmgate.service");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("wasmgate.service");
    // The program must be there.
    std::fs::write(&file, unit.replace("/usr/local/bin/wasmgate", repo::program().to_str().unwrap())).unwrap();
    let checked = match Command::new("systemd-analyze").arg("verify").arg(&file).output() {
        Ok(checked) => checked,
        Err(e) => {
            eprintln!("SKIPPED: `systemd-analyze` does not start: {e}");
            return;
        }
    };
    // It may complain of the machine's own units.
    let said = String::from_utf8_lossy(&checked.stderr).into_owned();
    let ours: Vec<_> = said.lines().filter(|l| l.contains("wasmgate")).collect();
    assert!(ours.is_empty(), "{ours:#?}");
}

#[test]
fn the_image_is_made_of_what_is_there() {
    let text = deploy_file("Dockerfile");
    let joined = text.replace("\\\n", " ");
    let instructions: Vec<(&str, &str)> =
        joined.lines().filter(|l| !l.starts_with('#') && !l.trim().is_empty()).map(|l| l.split_once(' ').unwrap()).collect();
    let all = ["FROM", "RUN", "WORKDIR", "COPY", "ENV", "USER", "VOLUME", "EXPOSE", "STOPSIGNAL", "HEALTHCHECK", "ENTRYPOINT", "CMD"];
    for (name, _) in &instructions {
        assert!(all.contains(name), "{name} is no instruction that this test knows");
    }
    let of = |wanted: &str| instructions.iter().filter(|(n, _)| *n == wanted).map(|(_, rest)| *rest).collect::<Vec<_>>();
    assert_eq!(of("USER"), ["65532:65532"], "it does not run as root");
    assert!(of("HEALTHCHECK")[0].contains("wasmgate\", \"health\""), "the image has no shell to look with");
    for copied in of("COPY").iter().filter(|c| !c.starts_with("--from") && **c != ". .") {
        let source = copied.split(' ').next().unwrap();
        assert!(repo::path(source).exists(), "{source} is not in the repository");
    }
    // The compiler is the one that the workspace asks for.
    let wanted = std::fs::read_to_string(repo::path("Cargo.toml")).unwrap();
    let wanted = wanted.lines().find_map(|l| l.strip_prefix("rust-version = ")).unwrap().trim_matches('"').to_owned();
    assert!(of("FROM")[0].contains(&format!("rust:{wanted}")), "{:?} is not {wanted}", of("FROM"));
}

#[tokio::test]
async fn health_tells_a_gateway_that_lives_from_one_that_does_not() {
    let gateway = Gateway::start(&setup::config("  echo: {type: echo}\n", "")).await;
    let url = gateway.url();
    let ask = async |url: String| tokio::task::spawn_blocking(move || cli::run(&["health", "--server", &url])).await.unwrap();
    let lives = ask(url.clone()).await;
    assert_eq!((lives.code, lives.stdout.as_str(), lives.stderr.as_str()), (0, "", ""), "{lives:?}");
    gateway.stop().await;
    let gone = ask(url).await;
    assert_eq!(gone.code, 1, "{gone:?}");
    assert!(gone.stderr.contains("no gateway answers at http://127.0.0.1:"), "{gone:?}");
    let wrong = ask("ftp://127.0.0.1:1".into()).await;
    assert_eq!(wrong.code, 2, "{wrong:?}");
}
