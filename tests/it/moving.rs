//! Moving in: a router without a file, what it finds, and whom it serves.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use tempfile::TempDir;

use crate::support::router::{command, free_port, run};
use crate::support::*;

fn services(primary: &Upstream, second: &Upstream) -> String {
    format!(
        "ROUTER_SERVICES='[\n  {{\"name\": \"first\", \"backend_type\": \"custom\", \"base_url\": \"{}/v1\", \
         \"api_key\": \"sk-first\", \"priority\": 0}},\n  {{\"name\": \"second\", \"backend_type\": \"custom\", \
         \"base_url\": \"{}/v1\", \"priority\": 1}}\n]'\n",
        primary.url(),
        second.url()
    )
}

#[test]
fn a_router_without_a_file_serves_from_its_variables() {
    let upstream = Upstream::healthy().lists(&["gpt-4o"]);
    let router = Config::fileless()
        .environment("OPENAI_API_KEY", "sk-openai-0123456789")
        .environment("OPENAI_BASE_URL", &format!("{}/v1", upstream.url()))
        .start();
    router.chat(&chat("gpt-4o")).expect(200);
    assert_eq!(upstream.only().key.as_deref(), Some("sk-openai-0123456789"));
    assert!(router.stderr().contains("OPENAI_API_KEY: the credential openai"), "{}", router.stderr());
    assert!(!router.stderr().contains("sk-openai-0123456789"));
    Request::post("/v1/chat/completions").keyless().json(&chat("gpt-4o")).send(&router).expect(401);
}

#[test]
fn dotenv_gives_what_the_environment_does_not() {
    let (first, second) =
        (Upstream::always(respond(500).error("no", "server_error", None)), Upstream::healthy());
    let dir = TempDir::new().unwrap();
    let text = format!("# keys\n{}MASTER_KEY=sk-of-the-file-0123456789\n", services(&first, &second));
    std::fs::write(dir.path().join(".env"), text).unwrap();
    let router = Config::fileless().start_in(dir);
    router.chat(&chat("m")).expect(200);
    assert_eq!((first.count(), second.count()), (1, 1), "the second serves when the first does not");
    let said = router.stderr();
    assert!(said.contains(".env gives ROUTER_SERVICES"), "{said}");
    assert!(!said.contains("sk-first") && !said.contains("sk-of-the-file"), "{said}");
}

#[test]
fn dotenv_counts_beside_a_file_of_its_directory_and_not_for_one_that_is_named() {
    let dir = TempDir::new().unwrap();
    let yaml = "server:\n  host: 127.0.0.1\n  master_key: os.environ/OUR_KEY\ncredentials:\n  - name: a\n    type: ollama\n";
    std::fs::write(dir.path().join("config.yaml"), yaml).unwrap();
    std::fs::write(dir.path().join(".env"), "OUR_KEY=sk-0123456789abcdef\n").unwrap();
    let (code, out, err) = run(dir.path(), &["check"]);
    assert_eq!((code, out.contains(".env gives OUR_KEY")), (0, true), "{out}{err}");
    assert_eq!(run(dir.path(), &["check", "-c", "config.yaml"]).0, 78);
}

#[test]
fn a_key_is_made_where_none_is_given_and_shown_once() {
    let dir = TempDir::new().unwrap();
    let port = free_port();
    let mut child = command(dir.path())
        .env("PORT", port.to_string())
        .env("OLLAMA_BASE_URL", "http://127.0.0.1:9/v1")
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    let key = lines.find_map(|line| Some(line.trim().strip_prefix("key      ")?.to_owned())).unwrap();
    assert!(key.len() == 35 && key.starts_with("sk-"), "{key}");
    let ready = eventually(secs(20), || std::net::TcpStream::connect(("127.0.0.1", port)).ok());
    assert!(ready.is_some(), "it never listens");
    let mut conn = Conn::open(std::net::SocketAddr::from(([127, 0, 0, 1], port)));
    conn.write(
        format!("GET /v1/models HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n\r\n").as_bytes(),
    );
    assert_eq!(conn.answer().status, 200);
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(lines.all(|line| !line.contains(&key)), "the log must not keep the key");
}

#[test]
fn a_reload_and_an_upgrade_of_a_router_without_a_file_keep_what_it_found() {
    let upstream = Upstream::healthy().lists(&["gpt-4o"]);
    let router = Config::fileless()
        .environment("OPENAI_API_KEY", "sk-openai-0123456789")
        .environment("OPENAI_BASE_URL", &upstream.url())
        .start();
    let socket = format!("auto-ai-router/admin-{}.sock", router.port);
    let (status, said) = router.admin_at(&socket, "/admin/reload");
    assert!(status == 200 && said.contains("\"reloaded\":true"), "{said}");
    let (status, said) = router.admin_at(&socket, "/admin/upgrade");
    assert!(status == 200 && said.contains("\"upgraded\":true"), "{said}");
    router.chat(&chat("gpt-4o")).expect(200);
}

#[test]
fn broken_services_and_nothing_at_all_are_told_with_exit_code_78() {
    let dir = TempDir::new().unwrap();
    std::fs::write(dir.path().join(".env"), "ROUTER_SERVICES=[{\"name\": \"a\" \"b\"}]\n").unwrap();
    let (code, _, err) = run(dir.path(), &["check"]);
    assert!(code == 78 && err.contains("ROUTER_SERVICES, line 1, column 15"), "{code} {err}");
    std::fs::remove_file(dir.path().join(".env")).unwrap();
    let (code, _, err) = run(dir.path(), &["run"]);
    assert!(code == 78 && err.contains("OPENAI_API_KEY"), "{code} {err}");
}
