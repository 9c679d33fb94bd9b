//! Whoever comes from one of the earlier routers, and does here what its README says, from top to bottom: the same
//! configuration, as it was or taken over, the same requests by curl and by the SDKs, and the answers that were promised,
//! member by member.
//!
//! Providers are scripted ones, and ports are free ones; a provider with a dialect of its own is replaced by one of
//! OpenAI's, since what is walked is the way in.

mod first;
mod free_tiers;
mod services;
mod vendors;

use std::path::Path;
use std::process::{Command, Output};

use serde_json::{json, Value};
use tempfile::TempDir;

use crate::support::router::run;
use crate::support::*;

/// A configuration that `import` makes of the files of a directory, changed by `edit` and started.
fn moved_in(files: &[(&str, &str)], edit: impl Fn(String) -> String) -> Router {
    let dir = TempDir::new().unwrap();
    for (name, text) in files {
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    let names: Vec<&str> = files.iter().map(|(name, _)| *name).collect();
    let (code, _, err) = run(dir.path(), &[&["import"], &names[..], &["-o", "config.yaml"]].concat());
    assert_eq!(code, 0, "{err}");
    let text = edit(std::fs::read_to_string(dir.path().join("config.yaml")).unwrap());
    started(dir, &format!("{text}monitoring: {{prometheus_listen: \"off\"}}\n"))
}

/// The router of a ready-made file, which keeps to its directory.
fn started(dir: TempDir, yaml: &str) -> Router {
    let own = format!(
        "admin: {{listen: \"unix:{0}/admin.sock\"}}\nstate: {{dir: {0}/state}}\n",
        dir.path().display()
    );
    std::fs::write(dir.path().join("config.yaml"), format!("{yaml}{own}")).unwrap();
    Config::ready_made().start_in(dir)
}

/// curl, as a README has it, at this router; its words are those after `curl -sS`. The body is text.
fn curl_text(router: &Router, path: &str, words: &[&str]) -> (u16, String) {
    let url = format!("{}{path}", router.url());
    let output: Output = Command::new("curl")
        .args(["-sS", "-o", "-", "-w", "\n%{http_code}"])
        .args(words)
        .arg(url)
        .output()
        .expect("curl is there");
    let text = String::from_utf8(output.stdout).unwrap();
    let (body, status) = text.rsplit_once('\n').unwrap();
    (status.parse().unwrap(), body.to_owned())
}

/// The same where JSON is promised.
fn curl(router: &Router, path: &str, words: &[&str]) -> (u16, Value) {
    let (status, body) = curl_text(router, path, words);
    (status, serde_json::from_str(&body).unwrap_or(Value::Null))
}

/// The words that post this body by curl, with this key.
fn posting(body: &Value, key: Option<&str>) -> Vec<String> {
    let words = ["-X", "POST", "-H", "Content-Type: application/json", "-d"].map(str::to_owned);
    let bearer = key.map(|key| format!("Authorization: Bearer {key}"));
    let bearer = bearer.into_iter().flat_map(|header| ["-H".to_owned(), header]);
    words.into_iter().chain([body.to_string()]).chain(bearer).collect()
}

fn post_by_curl(router: &Router, path: &str, key: Option<&str>, body: &Value) -> (u16, Value) {
    let words = posting(body, key);
    curl(router, path, &words.iter().map(String::as_str).collect::<Vec<_>>())
}

fn ask_by_curl(router: &Router, path: &str, key: Option<&str>, model: &str) -> (u16, Value) {
    let body = json!({ "model": model, "messages": [{ "role": "user", "content": "Hello!" }] });
    post_by_curl(router, path, key, &body)
}

/// The data of the events that a streamed question by curl gets.
fn stream_by_curl(router: &Router, key: Option<&str>, model: &str) -> Vec<String> {
    let words = posting(&chat_streamed(model), key);
    let words: Vec<&str> = ["-N"].into_iter().chain(words.iter().map(String::as_str)).collect();
    let (status, text) = curl_text(router, "/v1/chat/completions", &words);
    assert_eq!(status, 200, "{text}");
    text.lines().filter_map(|line| line.strip_prefix("data: ")).map(str::to_owned).collect()
}

/// The ids that a list of models has.
fn ids(list: &Value) -> Vec<&str> {
    list["data"].as_array().unwrap().iter().filter_map(|model| model["id"].as_str()).collect()
}

/// Asserts that each member of a documented value is there, and of the same kind; null stands for any.
#[track_caller]
fn promised(documented: &Value, found: &Value) {
    fn lack(at: &str, documented: &Value, found: &Value) -> Vec<String> {
        match (documented, found) {
            (Value::Null, _) | (Value::Bool(_), Value::Bool(_)) | (Value::String(_), Value::String(_)) => {
                vec![]
            }
            (Value::Number(_), Value::Number(_)) => vec![],
            (Value::Object(wanted), Value::Object(found)) => {
                let of = |(key, wanted): (&String, &Value)| {
                    let at = format!("{at}.{key}");
                    found
                        .get(key)
                        .map_or_else(|| vec![format!("{at} is missing")], |found| lack(&at, wanted, found))
                };
                wanted.iter().flat_map(of).collect()
            }
            (Value::Array(wanted), Value::Array(found)) => match (wanted.first(), found.first()) {
                (Some(wanted), Some(found)) => lack(&format!("{at}[0]"), wanted, found),
                (Some(_), None) => vec![format!("{at} is empty")],
                (None, _) => vec![],
            },
            _ => vec![format!("{at} is {found}, not such as {documented}")],
        }
    }
    let lacking = lack("", documented, found);
    assert!(lacking.is_empty(), "{lacking:?} in {found:#}");
}

/// What OpenAI documents of a completion.
fn completion() -> Value {
    json!({
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "m",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    })
}

/// What all of them document of an error.
fn error() -> Value {
    json!({"error": {"message": "Error description", "type": "error_type"}})
}

#[test]
fn a_promise_that_is_not_kept_is_named() {
    let kept =
        |documented: Value, found: Value| std::panic::catch_unwind(|| promised(&documented, &found)).is_ok();
    assert!(kept(json!({"a": [{"b": 1}], "c": null}), json!({"a": [{"b": 2.5, "d": 0}, 7], "c": "x"})));
    assert!(!kept(json!({"a": {"b": 1}}), json!({"a": {}})));
    assert!(!kept(json!({"a": 1}), json!({"a": "1"})));
    assert!(!kept(json!({"a": [1]}), json!({"a": []})));
}

#[test]
fn a_file_is_never_written_over_and_only_its_owner_can_read_it() {
    use std::os::unix::fs::PermissionsExt;
    let dir = TempDir::new().unwrap();
    std::fs::write(dir.path().join(".env"), "OPENAI_API_KEY=sk-0123456789\n").unwrap();
    let args = ["import", ".env", "-o", "config.yaml"];
    let (code, out, err) = run(dir.path(), &args);
    assert!(
        code == 0 && out.is_empty() && err.contains("OPENAI_API_KEY: the credential openai"),
        "{out}{err}"
    );
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&dir.path().join("config.yaml")), 0o600);
    assert_eq!(run(dir.path(), &args).0, 78);
    let (code, out, _) = run(dir.path(), &["import", ".env"]);
    assert!(code == 0 && out.contains("api_key: os.environ/OPENAI_API_KEY"), "{out}");
}
