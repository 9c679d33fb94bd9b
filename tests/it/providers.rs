//! Providers as they are really reached: each signs in and is asked in its own way, by the binary, over sockets.

use serde_json::{json, Value};

use crate::support::*;

const ACCOUNT: &str = include_str!("support/service-account.json");

/// What a Gemini host answers.
fn gemini_answer() -> Reply {
    respond(200).json(&json!({
        "candidates": [{"content": {"role": "model", "parts": [{"text": "Hello"}]}, "finishReason": "STOP", "index": 0}],
        "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 2, "totalTokenCount": 5},
        "modelVersion": "gemini-x", "responseId": "r"
    }))
}

/// What an Anthropic host answers.
fn claude_answer() -> Reply {
    respond(200).json(&json!({
        "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-x",
        "content": [{"type": "text", "text": "Hello"}], "stop_reason": "end_turn", "stop_sequence": null,
        "usage": {"input_tokens": 3, "output_tokens": 2}
    }))
}

/// A token endpoint whose n-th token is `token-n`.
fn tokens() -> Upstream {
    Upstream::scripted(|call| {
        let token = format!("token-{}", call.number);
        respond(200).json(&json!({"access_token": token, "expires_in": 3600, "token_type": "Bearer"}))
    })
}

/// A credential `v` of a service account whose tokens come from `tokens`.
fn vertex(config: Config, upstream: &str, tokens: &str, more: &str) -> Config {
    let account = ACCOUNT.replace("TOKEN_URI", &format!("{tokens}/token"));
    let account = Value::from(account).to_string();
    let keys = format!("project_id: p\nlocation: eu\ncredentials_json: {account}\n{more}");
    config.keyless("vertex-ai", "v", upstream, &keys)
}

#[test]
fn a_service_account_is_exchanged_once_and_its_token_signs_every_request() {
    let (upstream, tokens) = (Upstream::scripted(|_| gemini_answer()), tokens());
    let router = vertex(Config::new(), &upstream.url(), &tokens.url(), "").start();
    for _ in 0..3 {
        assert_eq!(router.chat(&chat("gemini-x")).expect(200).content(), "Hello");
        let call = upstream.last();
        let path = "/v1/projects/p/locations/eu/publishers/google/models/gemini-x:generateContent";
        assert_eq!((call.method.as_str(), call.path.as_str()), ("POST", path));
        assert_eq!(call.header("authorization"), Some("Bearer token-0"));
    }
    assert_eq!(tokens.count(), 1);
    let said = router.stderr() + &router.stdout();
    assert!(!said.contains("token-0") && !said.contains("PRIVATE KEY"), "{said}");
}

#[test]
fn a_token_that_is_refused_is_exchanged_anew_and_nobody_notices() {
    let tokens = tokens();
    let upstream = Upstream::scripted(|call| match call.header("authorization") {
        Some("Bearer token-0") => {
            respond(401).json(&json!({"error": {"code": 401, "message": "m", "status": "UNAUTHENTICATED"}}))
        }
        _ => gemini_answer(),
    });
    let config = Config::new().fail2ban("max_attempts: 1\nban_duration: permanent");
    let router = vertex(config, &upstream.url(), &tokens.url(), "").start();
    for _ in 0..2 {
        router.chat(&chat("gemini-x")).expect(200);
    }
    assert_eq!((tokens.count(), upstream.count()), (2, 3));
    assert_eq!(router.health_of("v")["is_banned"], false);
}

#[test]
fn without_a_token_somebody_else_serves_and_the_account_is_not_banned() {
    let (upstream, other) = (Upstream::scripted(|_| gemini_answer()), Upstream::healthy());
    let refusing = Upstream::always(respond(400).json(&json!({"error": "invalid_grant"})));
    let config = Config::new().credential("b", &other.url(), "priority: 1");
    let router = vertex(config, &upstream.url(), &refusing.url(), "").start();
    until("the exchange has failed", || refusing.count() > 0);
    router.chat(&chat("gemini-x")).expect(200);
    assert_eq!((upstream.count(), other.count()), (0, 1));
    assert_eq!(router.health_of("v")["is_banned"], false);
    until("it is told", || router.stderr().contains("no access token"));
    assert!(!router.stderr().contains("PRIVATE KEY"));
}

#[test]
fn claude_on_vertex_takes_messages_as_they_are_but_for_version_and_model() {
    let (upstream, tokens) = (Upstream::scripted(|_| claude_answer()), tokens());
    let models = "models: [{claude: claude-x@20260101}]";
    let router = vertex(Config::new(), &upstream.url(), &tokens.url(), models).start();
    let body = json!({"model": "claude", "max_tokens": 5, "messages": [{"role": "user", "content": "Hi"}]});
    let answer = Request::post("/v1/messages?beta=true")
        .header("anthropic-version", "2026-10-21")
        .header("anthropic-beta", "b")
        .json(&body)
        .send(&router)
        .expect(200);
    assert_eq!(answer.json()["content"][0]["text"], "Hello");
    let call = upstream.last();
    let path = "/v1/projects/p/locations/eu/publishers/anthropic/models/claude-x@20260101:rawPredict";
    assert_eq!(call.path, path);
    assert_eq!((call.header("anthropic-version"), call.header("anthropic-beta")), (None, Some("b")));
    let sent = json!({"anthropic_version": "2026-10-21", "max_tokens": 5, "messages": body["messages"]});
    assert_eq!(call.json(), sent);
}

#[test]
fn azure_gets_its_deployment_in_the_path_and_its_key_in_a_header() {
    let upstream = Upstream::healthy();
    let keys = "api_key: az-key-0123456789\nmodels: [{gpt-4o: my-deployment}]";
    let router = Config::new().keyless("azure", "z", &upstream.url(), keys).start();
    router.chat(&chat("gpt-4o")).expect(200);
    let call = upstream.last();
    assert_eq!(call.path, "/openai/deployments/my-deployment/chat/completions?api-version=2024-10-21");
    assert_eq!((call.header("api-key"), call.header("authorization")), (Some("az-key-0123456789"), None));
}

#[test]
fn a_vendor_never_sees_what_it_refuses() {
    let upstream = Upstream::healthy();
    let router = Config::new().keyless("mistral", "m", &upstream.url(), "api_key: mi-key-0123456789").start();
    let mut body = chat("mistral-x");
    (body["user"], body["seed"], body["max_completion_tokens"]) = (json!("u"), json!(7), json!(5));
    router.chat(&body).expect(200);
    let sent = upstream.last().json();
    assert_eq!((&sent["random_seed"], &sent["max_tokens"]), (&json!(7), &json!(5)));
    for gone in ["user", "seed", "max_completion_tokens", "stream_options"] {
        assert_eq!(sent[gone], Value::Null, "{gone}");
    }
    body["stream"] = json!(true);
    let _ = router.stream(&body).rest();
    assert_eq!(upstream.last().json()["stream_options"], Value::Null);
}

#[test]
fn googles_models_are_listed_by_the_names_that_they_are_asked_for_by() {
    let models = json!({"models": [{"name": "models/gemini-x", "displayName": "X"}], "nextPageToken": ""});
    let upstream = Upstream::scripted(|_| gemini_answer()).lists_with(respond(200).json(&models));
    let config = Config::new().keyless("gemini", "g", &upstream.url(), "api_key: AIza-key-0123456789");
    let router = config.start();
    until("the list is learned", || router.get("/v1/models").text().contains("\"gemini-x\""));
    assert_eq!(router.chat(&chat("gemini-x")).expect(200).content(), "Hello");
    let call = upstream.last();
    assert_eq!(call.path, "/v1beta/models/gemini-x:generateContent");
    assert_eq!(call.header("x-goog-api-key"), Some("AIza-key-0123456789"));
}
