//! When everybody has failed: the last error in OpenAI's shape, the other models, and nothing secret.

use serde_json::json;

use crate::support::*;

/// Two credentials that always answer `reply`.
fn all_failing(reply: Reply) -> (Upstream, Router) {
    let upstream = Upstream::always(reply);
    let router = Config::pool(&["a", "b"], &upstream.url()).start();
    (upstream, router)
}

#[test]
fn the_last_error_reaches_the_client_in_openai_s_shape() {
    for status in [500, 502, 503, 529] {
        let (upstream, router) =
            all_failing(respond(status).error("the reactor is on fire", "server_error", None));
        let answer = router.chat(&chat("m"));
        assert!((500..=599).contains(&answer.status), "{status} became {}", answer.status);
        assert!(answer.message().contains("the reactor is on fire"), "{}", answer.text());
        assert!(answer.header("x-should-retry").is_some(), "after {status}");
        assert!(answer.header("x-request-id").is_some());
        let rounds = if status == 500 { 2 } else { 5 };
        assert_eq!(upstream.count(), rounds, "a {status} may be over in a moment");
    }
}

#[test]
fn errors_of_any_shape_become_openai_s() {
    let bodies = [
        ("text/html", "<html><body>Bad gateway</body></html>"),
        ("text/plain", "upstream connect error"),
        ("application/json", r#"{"error":"just words"}"#),
        ("application/json", r#"[{"error":{"code":503,"message":"try later","status":"UNAVAILABLE"}}]"#),
        (
            "application/json",
            r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#,
        ),
        ("application/json", r#"{"detail":"nope"}"#),
        ("application/json", ""),
    ];
    for (kind, body) in bodies {
        let (_upstream, router) = all_failing(respond(503).body(kind, body));
        let answer = router.chat(&chat("m"));
        assert!(answer.status >= 500, "{body}: {}", answer.status);
        assert_eq!(answer.header("content-type").map(|t| t.starts_with("application/json")), Some(true));
        let message = answer.message();
        assert!(!message.contains('<'), "HTML reached the client: {message}");
    }
}

#[test]
fn an_upstream_s_rejected_key_is_never_a_401_to_the_client() {
    for status in [401, 402, 403] {
        let (_upstream, router) =
            all_failing(respond(status).error("Incorrect API key", "auth", Some("invalid_api_key")));
        let answer = router.chat(&chat("m"));
        assert!(matches!(answer.status, 502 | 503), "{status} became {}", answer.status);
        assert_ne!(answer.code(), "invalid_api_key");
        assert_eq!(answer.header("x-should-retry"), Some("false"));
    }
}

#[test]
fn a_pool_that_is_rate_limited_says_how_long() {
    let reply = respond(429).header("retry-after", "17").error("slow down", "rate_limit_error", None);
    let (_upstream, router) = all_failing(reply);
    for _ in 0..2 {
        let answer = router.chat(&chat("m")).expect(429);
        let seconds: u64 =
            answer.header("retry-after").and_then(|v| v.parse().ok()).expect("a number of seconds");
        assert!((1..=17).contains(&seconds), "retry-after {seconds}");
        assert_ne!(answer.header("x-should-retry"), Some("false"));
    }
}

#[test]
fn secrets_in_an_upstream_s_error_are_taken_out() {
    let mine = key_of("a");
    let text = format!(
        "Incorrect API key provided: {mine}. Also sk-ant-api03-abcdefghijklmnop and Bearer zzzyyyxxx111"
    );
    for status in [400, 500] {
        let (_upstream, router) = all_failing(respond(status).error(&text, "invalid_request_error", None));
        let answer = router.chat(&chat("m"));
        let shown = answer.text();
        assert!(shown.contains("Incorrect API key provided"), "{shown}");
        for secret in [mine.as_str(), "sk-ant-api03-abcdefghijklmnop", "zzzyyyxxx111"] {
            assert!(!shown.contains(secret), "{secret} reached the client: {shown}");
        }
        let logs = router.stdout() + &router.stderr();
        assert!(!logs.contains(&mine), "the key is in the log");
    }
}

/// `big` on credential a, then `small` on credential b.
fn two_models(upstream: &Upstream) -> Router {
    Config::pool(&["a", "b"], &upstream.url())
        .model("name: big\ncredential: a\nfallbacks: [small]")
        .model("name: small\ncredential: b")
        .start()
}

#[test]
fn a_model_without_candidates_left_gives_way_to_its_fallbacks() {
    let upstream = Upstream::scripted(|call| match call.model().as_str() {
        "big" => respond(503).error("down", "server_error", None),
        _ => Reply::good(call),
    });
    let router = two_models(&upstream);
    let answer = router.chat(&chat("big")).expect(200);
    assert_eq!(answer.json()["model"], "small", "the answer names the model that gave it");
    assert_eq!(upstream.last().model(), "small");
    assert_eq!(upstream.last().json()["messages"], chat("big")["messages"]);
    let mut events = router.stream(&chat_streamed("big")).expect(200);
    assert_eq!(events.rest()[0].json()["model"], "small");
}

#[test]
fn a_context_too_long_goes_straight_to_the_fallback_model() {
    let upstream = Upstream::scripted(|call| match call.model().as_str() {
        "big" => {
            let text = "This model's maximum context length is 8192 tokens.";
            respond(400).error(text, "invalid_request_error", Some("context_length_exceeded"))
        }
        _ => Reply::good(call),
    });
    let router = two_models(&upstream);
    router.chat(&chat("big")).expect(200);
    let models: Vec<_> = upstream.calls().iter().map(|c| c.model()).collect();
    assert_eq!(models, ["big", "small"]);
}

#[test]
fn a_context_too_long_without_a_fallback_comes_back_as_it_came() {
    let text = "This model's maximum context length is 8192 tokens.";
    let (upstream, router) =
        all_failing(respond(400).error(text, "invalid_request_error", Some("context_length_exceeded")));
    assert_eq!(router.chat(&chat("m")).expect(400).code(), "context_length_exceeded");
    assert_eq!(upstream.count(), 1);
}

#[test]
fn a_content_filter_never_goes_to_a_fallback_model() {
    let filtered = respond(400).error("filtered", "invalid_request_error", Some("content_filter"));
    let upstream = Upstream::always(filtered);
    let router = two_models(&upstream);
    assert_eq!(router.chat(&chat("big")).expect(400).code(), "content_filter");
    assert_eq!(upstream.count(), 1);
}

#[test]
fn a_model_at_its_limit_gives_way_to_its_fallbacks() {
    let upstream = Upstream::healthy();
    let router = Config::pool(&["a", "b"], &upstream.url())
        .model("name: big\ncredential: a\nrpm: 1\nfallbacks: [small]")
        .model("name: small\ncredential: b")
        .start();
    let served: Vec<_> =
        (0..3).map(|_| router.chat(&chat("big")).expect(200).json()["model"].clone()).collect();
    assert_eq!(served, [json!("big"), json!("small"), json!("small")]);
}
