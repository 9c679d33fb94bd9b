//! A router of services in the environment: `.env` as it was, and all of its endpoints with their members.

use super::*;

const KEY: &str = "sk-your-secret-api-key";

/// The file `.env` of the advanced configuration, before these two.
fn advanced(first: &Upstream, second: &Upstream, more: &str) -> Router {
    let services = json!([
        {"name": "primary-cerebras", "backend_type": "cerebras", "base_url": format!("{}/v1", first.url()),
         "api_key": "csk-0123456789", "priority": 0, "rate_limit_requests": 2, "rate_limit_window": 90},
        {"name": "fallback-openai", "backend_type": "openai", "base_url": format!("{}/v1", second.url()),
         "api_key": "sk-0123456789", "priority": 1, "rate_limit_requests": 50, "rate_limit_window": 60},
    ]);
    let dir = TempDir::new().unwrap();
    std::fs::write(dir.path().join(".env"), format!("ROUTER_SERVICES='{services:#}'\n{more}")).unwrap();
    Config::fileless().without("MASTER_KEY").start_in(dir)
}

fn keys() -> String {
    format!("AUTH_KEY={KEY}\nAUTH_KEY_01=sk-user1-key-0123\nAUTH_KEY_02=sk-user2-key-0123\n")
}

fn get_text(router: &Router, path: &str) -> String {
    let (status, body) = curl_text(router, path, &["-H", &format!("Authorization: Bearer {KEY}")]);
    assert_eq!(status, 200, "{path}: {body}");
    body
}

fn get(router: &Router, path: &str) -> Value {
    serde_json::from_str(&get_text(router, path)).unwrap()
}

#[test]
fn the_advanced_configuration_serves_in_the_order_of_its_priorities() {
    let (first, second) =
        (Upstream::healthy().lists(&["llama3.1-8b"]), Upstream::healthy().lists(&["llama3.1-8b", "gpt-4"]));
    let router = advanced(&first, &second, &keys());
    let body = json!({"model": "llama3.1-8b", "messages": [{"role": "user", "content": "Hello, how are you?"}],
        "temperature": 0.7, "max_tokens": 150});
    let (status, answer) = post_by_curl(&router, "/v1/chat/completions", Some(KEY), &body);
    assert_eq!((status, &answer["object"]), (200, &json!("chat.completion")));
    promised(&completion(), &answer);
    assert_eq!(first.only().json()["max_tokens"], 150);
    for key in ["sk-user1-key-0123", "sk-user2-key-0123"] {
        assert_eq!(ask_by_curl(&router, "/v1/chat/completions", Some(key), "llama3.1-8b").0, 200);
    }
    assert_eq!((first.count(), second.count()), (2, 1), "past its limit the next one serves");
    let models = get(&router, "/v1/models");
    assert!(ids(&models).contains(&"llama3.1-8b") && ids(&models).contains(&"gpt-4"), "{models}");
    promised(
        &json!({"id": "llama3.1-8b", "object": "model", "owned_by": "x"}),
        &get(&router, "/v1/models/llama3.1-8b"),
    );
    let limits = get(&router, "/router/rate-limits");
    let documented = json!({"rate_limit": "2/90s", "current_requests": 2, "remaining_quota": 0,
        "is_rate_limited": true, "window_reset_in": 1.0});
    promised(
        &json!({"rate_limiting": {"primary-cerebras": documented}, "total_rate_limit_skips": 1,
            "rate_limit_skip_rate": 33.3, "current_time": 1.0}),
        &limits,
    );
    let of_first = &limits["rate_limiting"]["primary-cerebras"];
    assert_eq!(
        (&of_first["rate_limit"], &of_first["is_rate_limited"]),
        (&json!("2/90s"), &json!(true)),
        "{limits}"
    );
    let reset = of_first["window_reset_in"].as_f64().unwrap();
    assert!(reset > 60.0 && reset <= 92.0, "{limits}");
}

#[test]
fn what_the_router_says_of_itself_has_its_members() {
    let (first, second) = (Upstream::healthy(), Upstream::healthy());
    let router = advanced(&first, &second, &keys());
    assert_eq!(ask_by_curl(&router, "/v1/chat/completions", Some(KEY), "llama3.1-8b").0, 200);
    assert_eq!(curl(&router, "/health", &[]).0, 200);
    promised(&json!({"status": "healthy"}), &curl(&router, "/health", &[]).1);
    assert_eq!(curl(&router, "/", &[]).0, 200);
    let root = json!({
        "message": "x", "version": "1", "docs": "/docs", "mode": "router", "services_count": 2,
        "services": [{"name": "primary-cerebras", "type": "cerebras", "priority": 0}],
        "primary_backend": "primary-cerebras",
        "authentication": {"enabled": true, "valid_keys_count": 3, "auth_header": "Authorization"}
    });
    promised(&root, &get(&router, "/"));
    let stats = json!({
        "total_requests": 1, "total_failovers": 0, "total_rate_limit_skips": 0, "failover_rate": 0.0,
        "rate_limit_skip_rate": 0.0, "configured_services": 2,
        "service_stats": {"primary-cerebras": {"requests": 1, "failures": 0, "rate_limited": 0}},
        "service_order": ["primary-cerebras"], "rate_limiting": {"primary-cerebras": {"rate_limit": "2/90s"}}
    });
    promised(&stats, &get(&router, "/router/stats"));
    let health = json!({"overall_status": "healthy", "services": {"primary-cerebras": {
        "status": "healthy", "backend_type": "cerebras", "base_url": "http://x", "has_api_key": true, "requests": 1,
        "failures": 0, "failure_rate": 0.0, "rate_limited_events": 0, "is_currently_rate_limited": false,
        "rate_limit_config": {"max_requests": 2, "window_seconds": 90}
    }}});
    promised(&health, &get(&router, "/router/health"));
    promised(
        &json!({"mode": "router", "status": "active", "router_stats": stats, "health": health}),
        &get(&router, "/backend/info"),
    );
    for page in ["/docs", "/redoc", "/openapi.json"] {
        get_text(&router, page);
    }
}

#[test]
fn keys_are_counted_and_masked() {
    let (first, second) = (Upstream::healthy(), Upstream::healthy());
    let router = advanced(&first, &second, &keys());
    assert_eq!(ask_by_curl(&router, "/v1/chat/completions", Some(KEY), "llama3.1-8b").0, 200);
    promised(
        &json!({"enabled": true, "valid_keys_count": 3, "auth_header": "x", "system_status": "active"}),
        &get(&router, "/auth/status"),
    );
    let metrics = get(&router, "/auth/metrics");
    promised(
        &json!({"valid_keys_count": 3, "total_requests": 1, "total_success": 1, "total_errors": 0,
            "success_rate": 100.0, "active_keys": 1, "keys_metrics": {}}),
        &metrics,
    );
    let of_key = metrics["keys_metrics"].as_object().unwrap().values().next().unwrap();
    promised(
        &json!({"requests_count": 1, "success_count": 1, "error_count": 0, "first_request": null,
            "last_request": null, "success_rate": 100.0}),
        of_key,
    );
    assert!(!metrics.to_string().contains(KEY), "keys are masked: {metrics}");
    let bearer = format!("Authorization: Bearer {KEY}");
    let reload = curl(&router, "/auth/reload-keys", &["-X", "POST", "-H", &bearer]);
    assert_eq!(reload.0, 200);
    promised(&json!({"status": "success", "message": "x", "valid_keys_count": 3}), &reload.1);
    for act in ["/router/reset-stats", "/auth/reset-metrics"] {
        let (status, said) = curl(&router, act, &["-X", "POST", "-H", &bearer]);
        assert_eq!(status, 200);
        promised(&json!({"status": "success", "message": "x"}), &said);
    }
}

#[test]
fn its_errors_have_their_statuses_and_their_shape() {
    let (limited, dead) = (Upstream::healthy(), Upstream::refused());
    let services = json!([
        {"name": "limited", "backend_type": "custom", "base_url": format!("{}/v1", limited.url()), "api_key": "sk-0",
         "rate_limit_requests": 1, "rate_limit_window": 60},
    ]);
    let with = |services: &Value, more: &str| {
        let dir = TempDir::new().unwrap();
        let text = format!("ROUTER_SERVICES='{services}'\nAUTH_KEY={KEY}\n{more}");
        std::fs::write(dir.path().join(".env"), text).unwrap();
        Config::fileless().without("MASTER_KEY").start_in(dir)
    };
    let chat = "/v1/chat/completions";
    let router = with(&services, "");
    let mut told = vec![
        (401, ask_by_curl(&router, chat, None, "m")),
        (401, ask_by_curl(&router, chat, Some("sk-x"), "m")),
    ];
    assert_eq!(ask_by_curl(&router, chat, Some(KEY), "m").0, 200);
    told.push((429, ask_by_curl(&router, chat, Some(KEY), "m")));
    let knows = Upstream::healthy().lists(&["llama3.1-8b"]);
    let services =
        json!([{"name": "a", "backend_type": "custom", "base_url": format!("{}/v1", knows.url())}]);
    let router = with(&services, "");
    until("its list is known", || ids(&get(&router, "/v1/models")) == ["llama3.1-8b"]);
    told.push((404, ask_by_curl(&router, chat, Some(KEY), "no-such-model")));
    told.push((
        404,
        curl(&router, "/v1/models/no-such-model", &["-H", &format!("Authorization: Bearer {KEY}")]),
    ));
    let services = json!([{"name": "dead", "backend_type": "custom", "base_url": format!("{dead}/v1")}]);
    told.push((502, ask_by_curl(&with(&services, ""), chat, Some(KEY), "m")));
    let slow = Upstream::always(Reply::silence());
    let services =
        json!([{"name": "slow", "backend_type": "custom", "base_url": format!("{}/v1", slow.url())}]);
    told.push((504, ask_by_curl(&with(&services, "REQUEST_TIMEOUT=1\n"), chat, Some(KEY), "m")));
    for (wanted, (status, body)) in told {
        assert_eq!(wanted, status, "{body}");
        promised(&error(), &body);
    }
}

#[test]
fn the_simple_configuration_finds_its_backends() {
    let backends = ["llama3.1-8b", "gpt-4", "qwen3"].map(|model| Upstream::healthy().lists(&[model]));
    let dir = TempDir::new().unwrap();
    let [cerebras, openai, ollama] = backends.each_ref().map(|backend| format!("{}/v1", backend.url()));
    let dotenv = format!(
        "CEREBRAS_API_KEY=your_cerebras_api_key_here\nCEREBRAS_BASE_URL={cerebras}\nOPENAI_API_KEY=sk-your_openai_api_key_here\n\
         OPENAI_BASE_URL={openai}\n# Ollama works without API key\nOLLAMA_BASE_URL={ollama}\nENABLE_AUTH=false\n"
    );
    std::fs::write(dir.path().join(".env"), dotenv).unwrap();
    let router = Config::fileless().without("MASTER_KEY").start_in(dir);
    until("all lists are known", || ids(&curl(&router, "/v1/models", &[]).1).len() == 3);
    for (backend, model) in backends.iter().zip(["llama3.1-8b", "gpt-4", "qwen3"]) {
        assert_eq!(ask_by_curl(&router, "/v1/chat/completions", None, model).0, 200, "{model}");
        assert_eq!(backend.only().model(), model);
    }
    let root = curl(&router, "/", &[]).1;
    assert_eq!(
        (&root["services_count"], &root["authentication"]["enabled"]),
        (&json!(3), &json!(false)),
        "{root}"
    );
}

#[test]
fn keys_are_reloaded_from_where_they_were() {
    let (first, second) = (Upstream::healthy(), Upstream::healthy());
    let router = advanced(&first, &second, &keys());
    let dotenv = router.dir().join(".env");
    let text = std::fs::read_to_string(&dotenv).unwrap();
    let changed = text.replace("AUTH_KEY_01=sk-user1-key-0123", "AUTH_KEY_03=sk-user3-key-0123");
    std::fs::write(&dotenv, changed.replace("sk-user2-key-0123", "sk-user2-key-4567")).unwrap();
    let (status, told) =
        curl(&router, "/auth/reload-keys", &["-X", "POST", "-H", &format!("Authorization: Bearer {KEY}")]);
    assert_eq!((status, &told["valid_keys_count"]), (200, &json!(3)), "{told}");
    let asks = |key: &str| ask_by_curl(&router, "/v1/chat/completions", Some(key), "m").0;
    assert_eq!(["sk-user3-key-0123", "sk-user2-key-4567"].map(asks), [200, 200]);
    assert_eq!(["sk-user1-key-0123", "sk-user2-key-0123"].map(asks), [401, 401], "they are revoked");
    let before = router.pid();
    router.signal("-USR2");
    until("a successor serves", || router.pid() != before);
    assert_eq!(
        ["sk-user3-key-0123", "sk-user1-key-0123"].map(asks),
        [200, 401],
        "its successor knows as much"
    );
}

#[test]
fn a_header_of_its_own_carries_the_key() {
    let (first, second) = (Upstream::healthy(), Upstream::healthy());
    let router = advanced(&first, &second, &format!("{}AUTH_HEADER_NAME=X-API-Token\n", keys()));
    let header = format!("X-API-Token: {KEY}");
    let told = curl(&router, "/auth/status", &["-H", &header]).1["auth_header"].clone();
    assert!(told.as_str().unwrap().eq_ignore_ascii_case("X-API-Token"), "{told}");
    assert_eq!(curl(&router, "/auth/status", &["-H", "X-API-Token: sk-another"]).0, 401);
}

#[test]
fn the_examples_with_the_sdks_run() {
    let (first, second) = (Upstream::healthy().lists(&["llama3.1-8b"]), Upstream::healthy());
    let router = advanced(&first, &second, &keys());
    let url = router.url();
    if let Some(python) = Language::python() {
        let said = python.run(
            router.dir(),
            &format!(
                "import openai\n\nclient = openai.OpenAI(base_url=\"{url}/v1\", api_key=\"{KEY}\")\n\
                 response = client.chat.completions.create(model=\"llama3.1-8b\", messages=[{{\"role\": \"user\", \
                 \"content\": \"Hello!\"}}])\nprint(response.choices[0].message.content)\n\
                 print(\"llama3.1-8b\" in [model.id for model in client.models.list()])\n\
                 print(client.models.retrieve(\"llama3.1-8b\").id)\n"
            ),
        );
        assert_eq!(said, "Hello there\nTrue\nllama3.1-8b\n");
    }
    if let Some(javascript) = Language::javascript_sdk() {
        let said = javascript.run(
            router.dir(),
            &format!(
                "import OpenAI from \"openai\";\nconst client = new OpenAI({{ baseURL: \"{url}/v1\", apiKey: \"{KEY}\" }});\n\
                 const answer = await client.chat.completions.create({{\n  model: \"llama3.1-8b\",\n  messages: [{{ role: \
                 \"user\", content: \"Hello!\" }}],\n}});\nconsole.log(answer.choices[0].message.content);\n"
            ),
        );
        assert_eq!(said, "Hello there\n");
    }
}
