//! The command: its verbs, its exit codes, and the care it takes with secrets.

use std::path::Path;
use std::process::Stdio;

use tempfile::TempDir;

use crate::support::router::{free_port, run};
use crate::support::*;

const GOOD: &str = "server:\n  port: 8080\n  master_key: sk-good-master-key-0123456789\ncredentials:\n  - name: main\n    api_key: sk-upstream-secret-abcdef\n    base_url: https://api.openai.com\n";

fn dir_with(config: &str) -> TempDir {
    let dir = TempDir::new().unwrap();
    std::fs::write(dir.path().join("config.yaml"), config).unwrap();
    dir
}

fn check(dir: &Path) -> (i32, String) {
    let (code, out, err) = run(dir, &["check", "--config", "config.yaml"]);
    (code, out + &err)
}

#[test]
fn a_good_file_passes_the_check_in_every_spelling() {
    let dir = dir_with(GOOD);
    for args in [
        &["check", "--config", "config.yaml"][..],
        &["check", "-c", "config.yaml"],
        &["check", "-config", "config.yaml"],
        &["check"],
        &["-t", "-config", "config.yaml"],
        &["-t"],
    ] {
        let (code, out, err) = run(dir.path(), args);
        assert_eq!(code, 0, "{args:?}: {out}{err}");
        assert!(!(out + &err).contains("sk-upstream-secret"), "{args:?} shows a key");
    }
}

#[test]
fn a_bad_file_is_78_with_every_problem_at_once_and_where_it_is() {
    let bad = GOOD
        .replace("port: 8080", "prot: 8080")
        .replace("api_key: sk-upstream-secret-abcdef", "api_kye: sk-upstream-secret-abcdef")
        + "    rpm: lots\n    is_fallbck: true\n";
    let dir = dir_with(&bad);
    let (code, text) = check(dir.path());
    assert_eq!(code, 78, "{text}");
    for place in ["config.yaml:2:", "config.yaml:6:", "config.yaml:8:", "config.yaml:9:"] {
        assert!(text.contains(place), "no {place} in\n{text}");
    }
    for near in ["port", "api_key", "is_fallback"] {
        assert!(text.contains(near), "no hint of {near} in\n{text}");
    }
    assert!(text.contains('^'), "no caret in\n{text}");
    assert!(!text.contains("sk-upstream-secret"), "a key is shown:\n{text}");
    for verb in ["run", "route"] {
        let args: &[&str] = if verb == "run" { &["run"] } else { &["route", "m"] };
        assert_eq!(run(dir.path(), args).0, 78, "{verb}");
    }
}

#[test]
fn an_empty_file_and_a_missing_one_are_explained() {
    let dir = dir_with("");
    let (code, text) = check(dir.path());
    assert_eq!(code, 78, "{text}");
    assert!(text.contains("credentials"), "{text}");
    assert!(text.contains("config.yaml:1:1"), "{text}");
    let (code, out, err) = run(dir.path(), &["check", "-c", "nowhere.yaml"]);
    assert_ne!(code, 0);
    assert!((out + &err).contains("nowhere.yaml"));
}

#[test]
fn a_file_that_is_no_text_is_told_from_where_on() {
    let dir = TempDir::new().unwrap();
    let start = b"\xef\xbb\xbfserver:\n  master_key: sk-good-master-key-0123456789\n  host: h\xff\xfe\n";
    std::fs::write(dir.path().join("config.yaml"), start).unwrap();
    let (code, text) = check(dir.path());
    assert_eq!(code, 78, "{text}");
    assert!(text.contains("config.yaml:3:10") && text.contains('^') && text.contains("UTF-8"), "{text}");
    assert!(!text.contains("sk-good"), "a key is shown:\n{text}");
}

#[test]
fn the_warning_about_an_open_address_says_where_to_mend_it() {
    let (code, text) = check(dir_with(GOOD).path());
    assert!(code == 0 && text.contains("config.yaml:1:1"), "{text}");
    let open = GOOD.replace("port: 8080", "host: 0.0.0.0");
    let (code, text) = check(dir_with(&open).path());
    assert!(code == 0 && text.contains("config.yaml:2:9") && text.contains("127.0.0.1"), "{text}");
}

#[test]
fn an_errors_log_that_cannot_be_opened_is_named() {
    let keys = "log_errors: true\nerrors_log_path: no/such/directory/errors.log";
    let config = Config::single("http://127.0.0.1:9").monitoring(keys);
    let dir = dir_with(&config.yaml(free_port(), "."));
    let (code, _, err) = run(dir.path(), &["run"]);
    assert_eq!(code, 1, "{err}");
    assert!(err.contains("errors_log_path") && err.contains("no/such/directory/errors.log"), "{err}");
}

#[test]
fn relations_are_checked() {
    let cases = [
        (
            "a duplicate name",
            GOOD.to_string() + "  - name: main\n    api_key: k-12345678\n    base_url: https://x.example\n",
            "main",
        ),
        ("an unknown credential", GOOD.to_string() + "models:\n  - name: m\n    credential: mian\n", "main"),
        ("an empty key", GOOD.replace("sk-upstream-secret-abcdef", "\"\""), "api_key"),
        ("a doubled /v1", GOOD.replace("https://api.openai.com", "https://api.openai.com/v1/v1"), "/v1"),
        ("a short master key", GOOD.replace("sk-good-master-key-0123456789", "sk-1"), "master_key"),
        (
            "no such variable",
            GOOD.replace("sk-upstream-secret-abcdef", "os.environ/NO_SUCH_KEY"),
            "NO_SUCH_KEY",
        ),
        ("an unset variable", GOOD.replace("sk-upstream-secret-abcdef", "${ALSO_UNSET}"), "ALSO_UNSET"),
        (
            "two sizes",
            GOOD.replace("  port: 8080", "  port: 8080\n  max_body_size: 1MiB\n  max_body_size_mb: 1"),
            "max_body_size",
        ),
    ];
    for (what, config, named) in cases {
        let dir = dir_with(&config);
        let (code, text) = check(dir.path());
        assert_eq!(code, 78, "{what}: {text}");
        assert!(text.contains(named), "{what} does not name {named}:\n{text}");
    }
}

#[test]
fn the_examples_of_the_first_two_routers_load_unchanged() {
    the_examples_load();
}

/// Checks each of `examples`.
pub fn the_examples_load() {
    for (config, extra) in examples() {
        let dir = dir_with(config);
        for (name, text) in extra {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let (code, text) = check(dir.path());
        assert_eq!(code, 0, "{text}");
        assert!(text.to_lowercase().contains("placeholder"), "placeholder keys are warned about:\n{text}");
    }
}

/// A configuration, and the name and text of each file that it needs beside it.
type Example = (&'static str, Vec<(&'static str, &'static str)>);

/// The configurations that the older routers' pages show.
fn examples() -> [Example; 2] {
    let models = include_str!("../../src/config/tests/yaml/first-models.yaml");
    [
        (
            include_str!("../../src/config/tests/yaml/readme.yaml"),
            vec![("path/to/service-account.json", include_str!("support/service-account.json"))],
        ),
        (include_str!("../../src/config/tests/yaml/first-readme.yaml"), vec![("models.yaml", models)]),
    ]
}

#[test]
fn values_come_from_the_environment_and_from_files() {
    let upstream = Upstream::healthy();
    let dir = TempDir::new().unwrap();
    std::fs::write(dir.path().join("key"), format!("{}\n", key_of("a"))).unwrap();
    let config = Config::new().keyless(
        "openai",
        "a",
        "${BASE:-http://unused.example}",
        "api_key: file:key\nrpm: os.environ/RPM",
    );
    std::fs::write(dir.path().join("config.yaml"), config.yaml(free_port(), ".")).unwrap();
    let mut command = router::command(dir.path());
    command.args(["check"]).env("BASE", upstream.url()).env("RPM", "7");
    let output = command.output().unwrap();
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(!text.contains(&key_of("a")));
}

#[test]
fn route_says_who_would_be_tried_and_why_others_would_not() {
    let config = GOOD.to_string()
        + "  - name: other\n    api_key: sk-other-secret-abcdef\n    base_url: https://other.example\n    models: [special]\n\
           \x20 - name: spare\n    type: proxy\n    base_url: http://10.0.0.1:8080\n    is_fallback: true\n";
    let dir = dir_with(&config);
    let (code, out, err) = run(dir.path(), &["route", "gpt-4o", "--config", "config.yaml"]);
    assert_eq!(code, 0, "{out}{err}");
    let at = |name: &str| out.find(name).unwrap_or_else(|| panic!("no {name} in\n{out}"));
    assert!(at("main") < at("spare"), "the fallback comes last:\n{out}");
    assert!(out.contains("other"), "{out}");
    assert!(!out.contains("sk-other-secret") && !out.contains("sk-upstream-secret"));
}

#[test]
fn route_shows_lists_aliases_needs_and_vendors() {
    let models = "models:\n  - {name: blind, capabilities: [tools]}\n  - {name: seeing, strategy: even}\n\
                  \x20 - {name: auto-model, models: [blind, seeing]}\nmodel_aliases: {old: seeing}\n";
    let dir = dir_with(&(GOOD.to_string() + models));
    let (code, out, err) = run(dir.path(), &["route", "auto-model", "--needs", "images,tools"]);
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.contains("model \"blind\": has a model that cannot do images"), "{out}");
    assert!(out.contains("  1. \"main\", tier 0, model \"seeing\": by lot"), "{out}");
    assert!(run(dir.path(), &["route", "old"]).1.contains("model \"seeing\""));
    assert!(run(dir.path(), &["route", "none | old"]).1.contains("model \"seeing\""));
    assert_eq!(run(dir.path(), &["route", "blind", "--vendor", "openai"]).0, 0);
    let (code, _, err) = run(dir.path(), &["route", "blind", "--vendor", "nobody"]);
    assert!(code == 1 && err.contains("there are main, openai"), "{err}");
}

#[test]
fn route_names_the_limits_of_whom_it_would_try() {
    let limited = "    rpm: 60\n    tokens: [5000 per hour, 90000 per day]\n    time_zone: Asia/Tokyo\n";
    let models = "models:\n  - {name: m, rpd: 20, requests: 3 per 90s}\n  - {name: n}\n";
    let dir = dir_with(&(GOOD.to_string() + limited + models));
    let (code, out, err) = run(dir.path(), &["route", "m"]);
    assert_eq!(code, 0, "{out}{err}");
    let own = "     all models: 60 requests per minute, 5000 tokens per hour, 90000 tokens per day\n";
    assert!(out.contains(own), "{out}");
    assert!(out.contains("     this model: 20 requests per day, 3 requests per 1m30s\n"), "{out}");
    let (_, out, _) = run(dir.path(), &["route", "n"]);
    assert!(out.contains(own) && !out.contains("this model"), "{out}");
}

#[test]
fn route_fails_for_a_model_that_nobody_would_be_tried_for() {
    let dir = dir_with(&GOOD.replace("    api_key", "    models: [gpt-4o]\n    api_key"));
    let (code, out, err) = run(dir.path(), &["route", "claude-5"]);
    assert_eq!(code, 1, "{out}{err}");
    assert!(err.contains("nobody serves the model"), "{err}");
    assert_eq!(run(dir.path(), &["route", "gpt-4o"]).0, 0);
}

#[test]
fn schema_and_version_are_printed() {
    let dir = TempDir::new().unwrap();
    let (code, out, _) = run(dir.path(), &["schema"]);
    assert_eq!(code, 0);
    let schema: serde_json::Value = serde_json::from_str(&out).expect("a JSON schema");
    assert!(schema["properties"]["credentials"].is_object());
    for args in [&["version"][..], &["--version"]] {
        let (code, out, _) = run(dir.path(), args);
        assert!(code == 0 && out.contains(env!("CARGO_PKG_VERSION")), "{out}");
    }
}

#[test]
fn an_unknown_verb_is_refused() {
    let dir = dir_with(GOOD);
    let (code, _, err) = run(dir.path(), &["chekc"]);
    assert!(code != 0 && !err.is_empty());
}

#[test]
fn without_a_verb_it_runs_with_the_config_beside_it() {
    let upstream = Upstream::healthy();
    let dir = TempDir::new().unwrap();
    let port = free_port();
    let config = Config::single(&upstream.url()).yaml(port, &dir.path().display().to_string());
    std::fs::write(dir.path().join("config.yaml"), config).unwrap();
    let mut child = router::command(dir.path()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let served = eventually(secs(15), || {
        let mut conn = Conn::try_open(([127, 0, 0, 1], port).into())?;
        conn.try_write(b"GET /health/ready HTTP/1.1\r\nHost: x\r\n\r\n").ok()?;
        conn.try_answer("GET").filter(|answer| answer.status == 200)
    });
    let _ = child.kill();
    let _ = child.wait();
    assert!(served.is_some());
}

#[test]
fn a_port_in_use_is_an_error_that_names_it() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let dir = TempDir::new().unwrap();
    let config = Config::single("http://127.0.0.1:9").yaml(port, &dir.path().display().to_string());
    std::fs::write(dir.path().join("config.yaml"), config).unwrap();
    let (code, out, err) = run(dir.path(), &["run"]);
    assert_ne!(code, 0);
    assert!((out + &err).contains(&port.to_string()));
}

#[test]
fn the_demo_serves_with_no_key_and_no_file() {
    use std::io::{BufRead, BufReader};
    let dir = TempDir::new().unwrap();
    let mut child =
        router::command(dir.path()).arg("demo").stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let mut banner = String::new();
    let found = lines.by_ref().take(60).find_map(|line| {
        banner.push_str(&line);
        banner.push(' ');
        let port = banner.split("http://127.0.0.1:").nth(1)?.split('/').next()?.parse::<u16>().ok()?;
        let at = banner.find("sk-")?;
        let key: String =
            banner[at..].chars().take_while(|c| c.is_ascii_alphanumeric() || "-_".contains(*c)).collect();
        (banner.len() > at + key.len()).then_some((port, key))
    });
    let (port, key) = found.unwrap_or_else(|| panic!("no address and key in {banner}"));
    std::thread::spawn(move || lines.for_each(drop));
    let answer = eventually(secs(15), || {
        let mut conn = Conn::try_open(([127, 0, 0, 1], port).into())?;
        let body = chat("demo-echo").to_string();
        let head = format!("POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\nContent-Length: {}\r\n\r\n", body.len());
        conn.try_write((head + &body).as_bytes()).ok()?;
        conn.try_answer("POST").filter(|answer| answer.status == 200)
    });
    let _ = child.kill();
    let _ = child.wait();
    assert!(answer.expect("demo-echo answers").content().contains("Say hello."));
}
