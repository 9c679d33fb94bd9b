//! Whoever comes from one of the earlier routers, and does here what its README says, from top to bottom: the same
//! configuration, taken over, and the same requests, with the answers that were promised.
//!
//! Providers are scripted ones, and ports are free ones; a provider with a dialect of its own is replaced by one of
//! OpenAI's, since what is walked is the way in.

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
    let path = dir.path().join("config.yaml");
    let text = edit(std::fs::read_to_string(&path).unwrap());
    let quiet = format!(
        "{text}admin: {{listen: \"unix:{0}/admin.sock\"}}\nstate: {{dir: {0}/state}}\nmonitoring: {{prometheus_listen: \"off\"}}\n",
        dir.path().display()
    );
    std::fs::write(&path, quiet).unwrap();
    Config::ready_made().start_in(dir)
}

/// curl, as a README has it, at this router; its words are those after `curl -sS`.
fn curl(router: &Router, path: &str, words: &[&str]) -> (u16, Value) {
    let url = format!("{}{path}", router.url());
    let output: Output = Command::new("curl")
        .args(["-sS", "-o", "-", "-w", "\n%{http_code}"])
        .args(words)
        .arg(url)
        .output()
        .expect("curl is there");
    let text = String::from_utf8(output.stdout).unwrap();
    let (body, status) = text.rsplit_once('\n').unwrap();
    (status.parse().unwrap(), serde_json::from_str(body).unwrap_or(Value::Null))
}

fn ask_by_curl(router: &Router, path: &str, key: Option<&str>, model: &str) -> (u16, Value) {
    let body = json!({ "model": model, "messages": [{ "role": "user", "content": "Hello!" }] }).to_string();
    let bearer = key.map(|key| format!("Authorization: Bearer {key}"));
    let mut words = vec!["-X", "POST", "-H", "Content-Type: application/json", "-d", &body];
    words.extend(bearer.iter().flat_map(|header| ["-H", header.as_str()]));
    curl(router, path, &words)
}

#[test]
fn from_a_router_of_services_in_the_environment() {
    let (first, second) =
        (Upstream::healthy().lists(&["llama3.1-8b"]), Upstream::healthy().lists(&["gpt-4"]));
    let services = json!([
        {"name": "primary-cerebras", "backend_type": "cerebras", "base_url": format!("{}/v1", first.url()),
         "api_key": "csk-0123456789", "priority": 0, "rate_limit_requests": 2, "rate_limit_window": 90},
        {"name": "fallback-openai", "backend_type": "openai", "base_url": format!("{}/v1", second.url()),
         "api_key": "sk-0123456789", "priority": 1, "rate_limit_requests": 50, "rate_limit_window": 60},
    ]);
    let key = "sk-your-secret-api-key";
    let dir = TempDir::new().unwrap();
    let dotenv = format!("ROUTER_SERVICES='{services:#}'\n\nAUTH_KEY={key}\nAUTH_KEY_01=sk-user1-key-0123\n");
    std::fs::write(dir.path().join(".env"), dotenv).unwrap();
    let router = Config::fileless().without("MASTER_KEY").start_in(dir);
    let bearer = format!("Authorization: Bearer {key}");
    let get = |path: &str| curl(&router, path, &["-H", &bearer]);

    let (status, answer) = ask_by_curl(&router, "/v1/chat/completions", Some(key), "llama3.1-8b");
    assert_eq!((status, &answer["object"]), (200, &json!("chat.completion")));
    assert_eq!(first.count(), 1);
    let by_user = ask_by_curl(&router, "/v1/chat/completions", Some("sk-user1-key-0123"), "llama3.1-8b");
    assert_eq!(by_user.0, 200);
    let (_, models) = get("/v1/models");
    let ids: Vec<_> = models["data"].as_array().unwrap().iter().map(|model| model["id"].clone()).collect();
    assert!(ids.contains(&json!("llama3.1-8b")) && ids.contains(&json!("gpt-4")), "{ids:?}");
    assert_eq!(get("/v1/models/llama3.1-8b").1["id"], "llama3.1-8b");
    assert_eq!(get("/v1/models/no-such-model").0, 404);
    assert_eq!(curl(&router, "/health", &[]).0, 200);
    assert!(get("/").1["services"].is_array(), "{}", get("/").1);
    assert_eq!(get("/backend/info").0, 200);
    assert!(get("/router/stats").1["total_requests"].is_u64(), "{}", get("/router/stats").1);
    assert!(get("/router/health").1["services"]["primary-cerebras"].is_object());
    let limits = get("/router/rate-limits").1;
    assert_eq!(limits["rate_limiting"]["primary-cerebras"]["rate_limit"], "2/90s", "{limits}");
    assert_eq!(get("/auth/status").1["enabled"], true);
    assert_eq!(get("/auth/metrics").0, 200);
    assert_eq!(curl(&router, "/auth/reload-keys", &["-X", "POST", "-H", &bearer]).0, 200);
    assert_eq!(ask_by_curl(&router, "/v1/chat/completions", None, "llama3.1-8b").0, 401);
    assert_eq!(ask_by_curl(&router, "/v1/chat/completions", Some(key), "no-such-model").0, 404);
}

#[test]
fn from_a_router_of_free_tiers() {
    let upstream = Upstream::healthy().lists(&["gpt-3.5-turbo:free", "gemini-pro"]);
    let file = json!({
        "access_key": "your-proxy-access-key",
        "model_usage_gap_percentage": 5,
        "auto-models": ["gpt-3.5-turbo:free", "gemini-pro"],
        "provider_keys": [
            {"provider": "openrouter", "key": ["key1", "key2"], "max_request_day": 1500, "max_token_min": 150_000,
             "max_request_min": 15},
            {"provider": "gemini", "key": ["key1", "key2"], "max_request_day": 1500, "max_token_min": 150_000,
             "max_request_min": 15}
        ]
    });
    let address = format!("type: openai\n    base_url: {}/v1", upstream.url());
    let router = moved_in(&[("config.json", &file.to_string())], |yaml| {
        yaml.replace("type: openrouter", &address).replace("type: gemini", &address)
    });
    let key = "your-proxy-access-key";
    let (status, answer) = ask_by_curl(&router, "/v1/chat/completions", Some(key), "gpt-3.5-turbo:free");
    assert_eq!((status, &answer["object"]), (200, &json!("chat.completion")), "{answer}");
    let (status, answer) = ask_by_curl(&router, "/v1/chat/completions", Some(key), "auto-model");
    assert_eq!((status, &answer["model"]), (200, &json!("auto-model")), "{answer}");
    let bearer = format!("Authorization: Bearer {key}");
    let models = curl(&router, "/v1/models", &["-H", &bearer]).1.to_string();
    assert!(models.contains("auto-model") && models.contains("gemini-pro"), "{models}");
    let usage = curl(&router, "/v1/usage", &["-H", &bearer]).1;
    assert!(usage["overview"].is_object() && usage["details"].is_object(), "{usage}");
    assert!(!usage.to_string().contains("key1"), "keys are masked: {usage}");
    assert_eq!(curl(&router, "/v1/usage", &[]).0, 401);
}

#[test]
fn from_a_router_of_vendors_and_chance() {
    let (openai, gemini) = (Upstream::healthy(), Upstream::healthy());
    let credentials = json!([
        {"platform": "openai", "type": "api-key", "value": "sk-your-openai-key"},
        {"platform": "gemini", "type": "api-key", "value": "your-gemini-key"}
    ]);
    let models =
        json!([{"vendor": "gemini", "model": "gemini-2.0-flash"}, {"vendor": "openai", "model": "gpt-4o"}]);
    let files = [("credentials.json", credentials.to_string()), ("models.json", models.to_string())];
    let files: Vec<_> = files.iter().map(|(name, text)| (*name, text.as_str())).collect();
    let router = moved_in(&files, |yaml| {
        let address = format!("type: openai\n    base_url: {}/v1", gemini.url());
        let yaml = yaml.replace("type: gemini", &address);
        yaml.replace("https://api.openai.com/v1", &format!("{}/v1", openai.url()))
    });
    assert_eq!(curl(&router, "/health", &[]).0, 200);
    assert!(curl(&router, "/v1/models", &[]).1.to_string().contains("gemini-2.0-flash"));
    let (status, answer) = ask_by_curl(&router, "/v1/chat/completions", None, "my-preferred-model");
    assert_eq!((status, &answer["model"]), (200, &json!("my-preferred-model")), "{answer}");
    let before = openai.count();
    for _ in 0..4 {
        let (status, answer) = ask_by_curl(&router, "/v1/chat/completions?vendor=gemini", None, "my-model");
        assert_eq!((status, &answer["model"]), (200, &json!("my-model")), "{answer}");
    }
    assert_eq!(openai.count(), before, "a vendor that is named serves alone");
    assert_eq!(ask_by_curl(&router, "/v1/chat/completions?vendor=nobody", None, "my-model").0, 400);
}

#[test]
fn from_the_router_of_the_first_generation() {
    let (main, fallback) =
        (Upstream::always(respond(429).error("full", "rate_limit", None)), Upstream::healthy());
    let dir = TempDir::new().unwrap();
    let yaml = format!(
        "server:\n  port: 8080\n  max_body_size_mb: 100\n  request_timeout: 30s\n  logging_level: info\n  \
         master_key: \"sk-your-master-key-here\"\n  default_models_rpm: 50\nfail2ban:\n  max_attempts: 3\n  \
         ban_duration: permanent\n  error_codes: [401, 403, 429, 500, 502, 503, 504]\nmonitoring:\n  \
         prometheus_enabled: true\ncredentials:\n  - name: openai_main\n    type: openai\n    api_key: sk-proj-0123\n    \
         base_url: {}\n    rpm: 100\n    tpm: 50000\n  - name: proxy_fallback\n    type: proxy\n    base_url: {}\n    \
         api_key: sk-remote-key\n    rpm: -1\n    tpm: -1\n    is_fallback: true\n",
        main.url(),
        fallback.url()
    );
    let own = format!(
        "admin: {{listen: \"unix:{0}/admin.sock\"}}\nstate: {{dir: {0}/state}}\n",
        dir.path().display()
    );
    std::fs::write(dir.path().join("config.yaml"), yaml + &own).unwrap();
    let router = Config::ready_made().start_in(dir);
    let key = "sk-your-master-key-here";
    assert_eq!(ask_by_curl(&router, "/v1/chat/completions", Some(key), "gpt-4o").0, 200);
    assert_eq!((main.count(), fallback.count()), (1, 1));
    let bearer = format!("Authorization: Bearer {key}");
    let health = curl(&router, "/health", &["-H", &bearer]).1;
    assert_eq!(health["credentials"]["proxy_fallback"]["is_fallback"], true, "{health}");
    let metrics = Request::get("/metrics").send(&router).text();
    assert!(metrics.contains("auto_ai_router_requests_total{"), "{metrics}");
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
