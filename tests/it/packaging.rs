//! What surrounds the program: its verbs for supervisors and packages, the units, the alerts, the dashboard, compose.
//!
//! systemd's own judge of units is asked where there is one. The packages themselves are built and lived with by
//! `make test-packages`, a real systemd is booted by `make test-systemd`, the expressions of the dashboard are evaluated
//! by `make test-prometheus`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::router::{binary, free_port, run};
use crate::support::*;

/// The most that `systemd-analyze security` may find exposed.
const EXPOSURE: f64 = 1.5;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn text(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|why| panic!("{path}: {why}"))
}

/// What `systemd-analyze` says; nothing where there is none, as on machines without systemd.
fn analyze(words: &[&str], unit: &Path) -> Option<Output> {
    let run = Command::new("systemd-analyze").args(words).arg(unit).env("SYSTEMD_COLORS", "0").output();
    if run.is_err() {
        eprintln!("not checked: no systemd-analyze here");
    }
    run.ok()
}

#[test]
fn a_router_that_serves_is_healthy_even_while_its_file_is_being_edited() {
    let upstream = Upstream::healthy();
    let port = free_port();
    let dir = TempDir::new().unwrap();
    let here = dir.path().display().to_string();
    let text = Config::single(&upstream.url()).yaml(port, &here);
    fs::write(dir.path().join("config.yaml"), &text).unwrap();
    let asked = || run(dir.path(), &["healthcheck"]);
    let (code, _, err) = asked();
    assert!(code == 1 && err.contains("refused"), "before the start: {code} {err}");
    let router = Config::single(&upstream.url()).start_on(port);
    assert_eq!(asked(), (0, String::new(), String::new()));
    fs::write(dir.path().join("config.yaml"), text + "no_such_key: [1]\n").unwrap();
    assert_eq!(asked().0, 0, "{:?}", asked());
    drop(router);
    assert_eq!(asked().0, 1);
}

#[test]
fn a_router_that_drains_is_not_healthy() {
    let upstream = Upstream::scripted(|call| Reply::chat_stream(call, &["a", "b", "c", "d"]).paced(ms(500)));
    let port = free_port();
    let router = Config::single(&upstream.url()).server("drain_timeout: 20s").start_on(port);
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("c.yaml"), format!("server: {{host: 127.0.0.1, port: {port}}}\n")).unwrap();
    let mut events = router.stream(&chat_streamed("m")).expect(200);
    events.next_text().expect("a first word");
    assert_eq!(run(dir.path(), &["healthcheck", "-c", "c.yaml"]).0, 0);
    router.sigterm();
    until("it says that it drains", || run(dir.path(), &["healthcheck", "-c", "c.yaml"]).0 == 1);
}

#[test]
fn check_sees_the_variables_of_the_service() {
    let dir = TempDir::new().unwrap();
    fs::copy(root().join("conf/gateway.yaml"), dir.path().join("config.yaml")).unwrap();
    let variables = "# keys\nMASTER_KEY=\"sk-0123456789abcdef\"\nOPENAI_API_KEY=sk-upstream-0123456789\n";
    fs::write(dir.path().join("environment"), variables).unwrap();
    let (code, _, err) = run(dir.path(), &["check"]);
    assert!(code == 78 && err.contains("OPENAI_API_KEY"), "{code} {err}");
    let (code, out, err) = run(dir.path(), &["check", "--environment", "environment"]);
    assert_eq!(code, 0, "{out}{err}");
    let (code, _, err) = run(dir.path(), &["check", "--environment", "nowhere"]);
    assert!(code == 78 && err.contains("nowhere"), "{code} {err}");
}

#[test]
fn completions_know_every_verb() {
    let dir = TempDir::new().unwrap();
    for shell in ["bash", "zsh", "fish"] {
        let (code, out, err) = run(dir.path(), &["completions", shell]);
        assert_eq!(code, 0, "{shell}: {err}");
        for word in ["check", "route", "demo", "schema", "config"] {
            assert!(out.contains(word), "{shell} does not complete {word}");
        }
    }
    let bash = dir.path().join("completion.bash");
    fs::write(&bash, run(dir.path(), &["completions", "bash"]).1).unwrap();
    assert!(Command::new("bash").arg("-n").arg(bash).status().unwrap().success());
}

#[test]
fn the_manual_page_has_every_verb_and_the_help_only_what_people_type() {
    let dir = TempDir::new().unwrap();
    let (code, page, _) = run(dir.path(), &["man"]);
    assert_eq!(code, 0);
    for part in ["NAME", "SYNOPSIS", "OPTIONS", "COMMANDS", "FILES", "SIGNALS", "EXIT STATUS"] {
        assert!(
            page.contains(&format!(".SH {part}")) || page.contains(&format!(".SH \"{part}\"")),
            "no {part}"
        );
    }
    let help = run(dir.path(), &["--help"]).1;
    for verb in ["healthcheck", "completions", "man"] {
        assert!(page.contains(&format!("\\fB{verb}")), "the page lacks {verb}:\n{page}");
        assert!(!help.contains(&format!("\n  {verb}")), "the help is long enough without {verb}");
    }
}

#[test]
fn the_unit_exposes_next_to_nothing() {
    let unit = root().join("systemd/auto-ai-router.service");
    let Some(said) = analyze(&["security", "--offline=true"], &unit) else { return };
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    let level = said.split("Overall exposure level for auto-ai-router.service: ").nth(1);
    let level: f64 = level.and_then(|rest| rest.split(' ').next()?.parse().ok()).expect("a level");
    assert!(level <= EXPOSURE, "{said}");
}

/// The units are judged as installed, but for the path of the program and the manual page, which are not here.
#[test]
fn systemd_understands_the_units() {
    let dir = TempDir::new().unwrap();
    for name in ["auto-ai-router.service", "auto-ai-router.socket"] {
        let unit = text(&format!("systemd/{name}"));
        let unit = unit.replace("/usr/bin/auto-ai-router", &binary().display().to_string());
        let unit: Vec<_> = unit.lines().filter(|line| !line.starts_with("Documentation=man:")).collect();
        fs::write(dir.path().join(name), unit.join("\n")).unwrap();
    }
    for name in ["auto-ai-router.service", "auto-ai-router.socket"] {
        let Some(said) = analyze(&["verify"], &dir.path().join(name)) else { return };
        assert!(said.status.success() && said.stderr.is_empty(), "{}", String::from_utf8_lossy(&said.stderr));
    }
}

#[test]
fn an_upgrade_is_left_alone_by_the_unit() {
    let unit = text("systemd/auto-ai-router.service");
    let says = |line: &str| unit.lines().any(|found| found == line);
    for line in [
        "Type=notify",
        "NotifyAccess=main",
        "RestartPreventExitStatus=78",
        "Restart=on-failure",
        "RuntimeDirectoryMode=0700",
        "RuntimeDirectoryPreserve=restart",
        "ExecReload=/usr/bin/auto-ai-router reload --config /etc/auto-ai-router/config.yaml",
    ] {
        assert!(says(line), "no {line}");
    }
    assert!(!unit.lines().any(|line| line.starts_with("KillMode=")), "both processes drain at a stop");
    let stop = unit.lines().find_map(|line| line.strip_prefix("TimeoutStopSec=")).unwrap();
    assert!(stop.parse::<u64>().unwrap() > 30, "drain_timeout is 30 s by default");
}

/// All words of `text` that begin as our metrics do, without that beginning and what a histogram adds.
fn metrics_in(text: &str) -> Vec<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let names = words.filter_map(|word| word.strip_prefix("auto_ai_router_"));
    names.map(|name| name.trim_end_matches("_bucket").to_owned()).collect()
}

#[test]
fn alerts_and_dashboard_name_only_metrics_that_exist() {
    let code = text("src/observe/metrics.rs") + &text("src/observe/gauges.rs");
    for path in ["packaging/prometheus/alerts.yml", "packaging/grafana/dashboard.json"] {
        let named = metrics_in(&text(path));
        assert!(named.len() > 10, "{path}: {named:?}");
        for name in named {
            assert!(code.contains(&format!("\"{name}\"")), "{path}: there is no metric {name}");
        }
    }
}

#[test]
fn every_panel_of_the_dashboard_has_its_place_and_its_question() {
    let dashboard: Value = serde_json::from_str(&text("packaging/grafana/dashboard.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    assert!(panels.len() > 15);
    let mut taken: Vec<(u64, u64, u64, u64)> = Vec::new();
    for panel in panels {
        let at = |name: &str| panel["gridPos"][name].as_u64().unwrap();
        let (x, y, w, h) = (at("x"), at("y"), at("w"), at("h"));
        let apart = |&(x2, y2, w2, h2): &(u64, u64, u64, u64)| {
            x + w <= x2 || x2 + w2 <= x || y + h <= y2 || y2 + h2 <= y
        };
        assert!(x + w <= 24 && taken.iter().all(apart), "{}", panel["title"]);
        taken.push((x, y, w, h));
        let asks = panel["targets"].as_array().is_some_and(|targets| {
            targets.iter().all(|target| !target["expr"].as_str().unwrap_or_default().is_empty())
        });
        assert!(asks || panel["type"] == "row", "{} asks nothing", panel["title"]);
    }
}

#[test]
fn compose_mounts_files_that_are_there() {
    let compose: Value = serde_yaml::from_str(&text("conf/compose.yaml")).unwrap();
    let services = compose["services"].as_object().unwrap();
    let mounts: Vec<PathBuf> = services
        .values()
        .flat_map(|service| service["volumes"].as_array().unwrap())
        .filter_map(|mount| mount.as_str().unwrap().split(':').next()?.strip_prefix("../").map(PathBuf::from))
        .collect();
    assert!(mounts.len() >= 5, "{mounts:?}");
    for path in mounts {
        let yours = path == Path::new("config.yaml");
        assert!(yours || root().join(&path).exists(), "{}", path.display());
    }
    for path in ["datasources/prometheus.yaml", "dashboards/router.yaml"] {
        let provisioned: Value =
            serde_yaml::from_str(&text(&format!("packaging/grafana/provisioning/{path}"))).unwrap();
        assert_eq!(provisioned["apiVersion"], 1, "{path}");
    }
}
