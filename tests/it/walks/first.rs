//! The router of the first generation, in both of its READMEs: its file goes on as it was, with its names of endpoints
//! and metrics.

use super::*;

const KEY: &str = "sk-your-secret-key";

/// The file of its first README, whose credentials say no type.
fn file(main: &Upstream, backup: &Upstream, models: &str) -> Router {
    let dir = TempDir::new().unwrap();
    std::fs::write(dir.path().join("models.yaml"), models).unwrap();
    let yaml = format!(
        "server:
  port: 8080
  master_key: \"{KEY}\"  # for clients
  logging_level: info
  replace_v1_models: true
  request_timeout: 5m
  default_models_rpm: 50

credentials:
  - name: \"openai_main\"
    api_key: \"sk-proj-0123\"
    base_url: \"{}\"
    rpm: 60

  - name: \"openai_backup\"
    api_key: \"sk-proj-4567\"
    base_url: \"{}\"
    rpm: -1

fail2ban:
  max_attempts: 3
  ban_duration: permanent
  error_codes: [401, 403, 429, 500, 502, 503, 504]
",
        main.url(),
        backup.url()
    );
    started(dir, &yaml)
}

const MODELS: &str = "models:
  - name: gpt-4o
    rpm: 50

  - name: gpt-4o-mini
    rpm: 100

  - name: gpt-3.5-turbo
    rpm: -1
";

#[test]
fn its_file_and_its_models_go_on_as_they_were() {
    let (main, backup) = (
        Upstream::healthy().lists(&["gpt-4o", "gpt-4o-mini"]),
        Upstream::healthy().lists(&["gpt-4o-mini", "gpt-3.5-turbo", "o4"]),
    );
    let router = file(&main, &backup, MODELS);
    let listed = || curl(&router, "/v1/models", &["-H", &format!("Authorization: Bearer {KEY}")]).1;
    until("the lists of both are one", || ids(&listed()).contains(&"o4"));
    let (list, mut wanted) = (listed(), vec!["gpt-4o", "gpt-4o-mini", "gpt-3.5-turbo", "o4"]);
    promised(&json!({"object": "list", "data": [{"id": "x", "object": "model", "owned_by": "x"}]}), &list);
    let mut found = ids(&list);
    found.sort_unstable();
    wanted.sort_unstable();
    assert_eq!(found, wanted, "each model once");

    let (status, answer) = ask_by_curl(&router, "/v1/chat/completions", Some(KEY), "gpt-4o-mini");
    assert_eq!(status, 200);
    promised(&completion(), &answer);
    for model in ["gpt-4o", "gpt-3.5-turbo", "gpt-3.5-turbo"] {
        assert_eq!(ask_by_curl(&router, "/v1/chat/completions", Some(KEY), model).0, 200, "{model}");
    }
    let asked =
        |upstream: &Upstream, model: &str| upstream.calls().iter().filter(|c| c.model() == model).count();
    assert_eq!(
        (asked(&main, "gpt-4o"), asked(&main, "gpt-3.5-turbo")),
        (1, 0),
        "who serves the model is asked"
    );
    assert_eq!((asked(&backup, "gpt-4o"), asked(&backup, "gpt-3.5-turbo")), (0, 2));
    let keys =
        |upstream: &Upstream, key| upstream.calls().iter().all(|call| call.key.as_deref() == Some(key));
    assert!(keys(&main, "sk-proj-0123") && keys(&backup, "sk-proj-4567"), "each with its own key");

    let words = stream_by_curl(&router, Some(KEY), "gpt-4o");
    assert_eq!(words.last().map(String::as_str), Some("[DONE]"), "{words:?}");
    assert_eq!(ask_by_curl(&router, "/v1/chat/completions", Some("sk-another"), "gpt-4o").0, 401);
    assert_eq!(ask_by_curl(&router, "/v1/chat/completions", None, "gpt-4o").0, 401);

    let (status, health) = curl(&router, "/health", &["-H", &format!("Authorization: Bearer {KEY}")]);
    assert_eq!((status, &health["status"]), (200, &json!("healthy")));
    promised(&json!({"credentials_available": 2, "credentials_banned": 0, "total_credentials": 2}), &health);
    assert_eq!(health["credentials"]["openai_main"]["limit_rpm"], 60);
    assert_eq!(health["credentials"]["openai_backup"]["limit_rpm"], -1);
    let limit = |pair: &str| health["models"][pair]["limit_rpm"].clone();
    assert_eq!(limit("openai_main:gpt-4o"), 50, "{health:#}");
    assert_eq!(limit("openai_main:gpt-4o-mini"), 100);
    assert_eq!(limit("openai_backup:gpt-3.5-turbo"), -1);
}

#[test]
fn its_metrics_have_their_names() {
    let (main, backup) = (Upstream::healthy(), Upstream::healthy());
    let router = file(&main, &backup, "models: []\n");
    for _ in 0..2 {
        assert_eq!(ask_by_curl(&router, "/v1/chat/completions", Some(KEY), "gpt-4o").0, 200);
    }
    let (status, metrics) = curl_text(&router, "/metrics", &[]);
    assert_eq!(status, 200);
    let labels = "{credential=\"openai_main\"";
    for name in
        ["requests_total", "requests_duration_seconds_count", "credential_rpm_current", "credential_banned"]
    {
        assert!(metrics.contains(&format!("auto_ai_router_{name}{labels}")), "{name} in\n{metrics}");
    }
    assert!(metrics.contains("auto_ai_router_credential_errors_total"), "{metrics}");
}

#[test]
fn three_failures_ban_for_good() {
    let main = Upstream::always(respond(500).error("no", "server_error", None));
    let backup = Upstream::healthy();
    let router = file(&main, &backup, "models: []\n");
    for _ in 0..8 {
        assert_eq!(
            ask_by_curl(&router, "/v1/chat/completions", Some(KEY), "gpt-4o").0,
            200,
            "nobody notices"
        );
    }
    assert_eq!(main.count(), 3);
    let entry = router_health(&router)["models"]["openai_main:gpt-4o"].clone();
    assert!(entry.to_string().contains("ban"), "{entry}");
}

#[test]
fn limits_are_switched_off_by_minus_one() {
    let upstream = Upstream::healthy();
    let dir = TempDir::new().unwrap();
    let yaml = format!(
        "server:\n  port: 8080\n  master_key: {KEY}\n  request_timeout: -1\n  default_models_rpm: -1\ncredentials:\n  \
         - name: a\n    api_key: sk-proj-0123\n    base_url: {}\n    rpm: -1\n",
        upstream.url()
    );
    let router = started(dir, &yaml);
    for _ in 0..70 {
        assert_eq!(router_ask(&router), 200);
    }
}

#[test]
fn the_examples_with_the_sdk_run() {
    let (main, backup) = (Upstream::healthy(), Upstream::healthy());
    let router = file(&main, &backup, "models: []\n");
    let Some(python) = Language::python() else { return };
    let client = format!("client = OpenAI(api_key={KEY:?}, base_url=\"{}/v1\")", router.url());
    let said = python.run(
        router.dir(),
        &format!(
            "from openai import OpenAI\n{client}\nresponse = client.chat.completions.create(\n    model=\"gpt-4o-mini\",\n    \
             messages=[{{\"role\": \"user\", \"content\": \"Hello!\"}}],\n)\nprint(response.choices[0].message.content)\n"
        ),
    );
    assert_eq!(said, "Hello there\n");
}

#[test]
fn a_fallback_serves_when_the_others_are_at_their_end() {
    let main = Upstream::always(respond(429).error("full", "rate_limit", None));
    let fallback = Upstream::healthy();
    let dir = TempDir::new().unwrap();
    let yaml = format!(
        "server:\n  port: 8080\n  max_body_size_mb: 100\n  request_timeout: 30s\n  logging_level: info\n  \
         master_key: \"{KEY}\"\n  default_models_rpm: 50\nfail2ban:\n  max_attempts: 3\n  \
         ban_duration: permanent\n  error_codes: [401, 403, 429, 500, 502, 503, 504]\nmonitoring:\n  \
         prometheus_enabled: true\ncredentials:\n  - name: openai_main\n    type: openai\n    api_key: sk-proj-0123\n    \
         base_url: {}\n    rpm: 100\n    tpm: 50000\n  - name: proxy_fallback\n    type: proxy\n    base_url: {}\n    \
         api_key: sk-remote-key\n    rpm: -1\n    tpm: -1\n    is_fallback: true\n",
        main.url(),
        fallback.url()
    );
    let router = started(dir, &yaml);
    assert_eq!(ask_by_curl(&router, "/v1/chat/completions", Some(KEY), "gpt-4o").0, 200);
    assert_eq!((main.count(), fallback.count()), (1, 1));
    let health = router_health(&router);
    assert_eq!(health["credentials"]["proxy_fallback"]["is_fallback"], true, "{health}");
    promised(
        &json!({"type": "openai", "is_fallback": false, "current_rpm": 1, "current_tpm": 1, "limit_rpm": 100, "limit_tpm": 1}),
        &health["credentials"]["openai_main"],
    );
}

fn router_health(router: &Router) -> Value {
    curl(router, "/health", &["-H", &format!("Authorization: Bearer {KEY}")]).1
}

fn router_ask(router: &Router) -> u16 {
    let bearer = format!("Bearer {KEY}");
    Request::post("/v1/chat/completions")
        .keyless()
        .header("authorization", &bearer)
        .json(&chat("m"))
        .send(router)
        .status
}
