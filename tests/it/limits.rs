//! Limits: never one request too many, never one token too many, and an honest word on when to come back.

use serde_json::{json, Value};

use crate::support::*;

fn statuses(answers: &[Answer], status: u16) -> usize {
    answers.iter().filter(|a| a.status == status).count()
}

/// A chat request that reserves about `tokens` tokens of output.
fn sized(tokens: u64) -> Value {
    let mut body = chat("m");
    body["max_tokens"] = json!(tokens);
    body
}

#[test]
fn the_request_limit_is_exact_under_sixty_four_clients_at_once() {
    let upstream = Upstream::healthy();
    let router = Config::new().credential("a", &upstream.url(), "rpm: 20").start();
    let answers = at_once(64, |_| router.chat(&chat("m")));
    assert_eq!((statuses(&answers, 200), statuses(&answers, 429)), (20, 44));
    assert_eq!(upstream.count(), 20);
    assert_eq!(router.health_of("a")["current_rpm"], 20);
}

#[test]
fn limits_of_several_credentials_add_up_exactly() {
    let upstream = Upstream::healthy();
    let config =
        Config::new().credential("a", &upstream.url(), "rpm: 7").credential("b", &upstream.url(), "rpm: 11");
    let router = config.start();
    let answers = at_once(40, |_| router.chat(&chat("m")));
    assert_eq!(statuses(&answers, 200), 18);
    assert_eq!(upstream.calls_of(&key_of("a")).len(), 7);
    assert_eq!(upstream.calls_of(&key_of("b")).len(), 11);
}

#[test]
fn a_request_over_the_limit_is_told_when_to_come_back() {
    let upstream = Upstream::healthy();
    let router = Config::new().credential("a", &upstream.url(), "rpm: 2").start();
    let first = router.chat(&chat("m")).expect(200);
    router.chat(&chat("m")).expect(200);
    let answer = router.chat(&chat("m")).expect(429);
    assert_eq!(answer.code(), "rate_limit_exceeded");
    let seconds: u64 =
        answer.header("retry-after").and_then(|v| v.parse().ok()).expect("a whole number of seconds");
    assert!((1..=60).contains(&seconds), "retry-after {seconds}");
    let millis: u64 = answer.header("retry-after-ms").and_then(|v| v.parse().ok()).expect("milliseconds");
    assert!(millis <= seconds * 1000 && millis + 1000 >= seconds * 1000 - 1000, "{millis} ms, {seconds} s");
    assert_ne!(answer.header("x-should-retry"), Some("false"));
    assert!(
        answer.headers.iter().chain(&first.headers).any(|(n, _)| n.starts_with("x-ratelimit-")),
        "no x-ratelimit headers of ours: {:?}",
        answer.headers
    );
}

#[test]
fn refused_requests_use_nothing_up() {
    let upstream = Upstream::healthy();
    let router = Config::new().credential("a", &upstream.url(), "rpm: 3\ntpm: 100000").start();
    for _ in 0..10 {
        router.chat(&chat("m"));
    }
    assert_eq!(router.health_of("a")["current_rpm"], 3);
    router.settles("a", 36);
}

#[test]
fn a_pair_of_credential_and_model_has_a_limit_of_its_own() {
    let upstream = Upstream::healthy();
    let router = Config::pool(&["a"], &upstream.url())
        .model("name: small\ncredential: a\nrpm: 2")
        .model("name: large\ncredential: a\nrpm: 5")
        .start();
    let count = |model: &str| (0..8).filter(|_| router.chat(&chat(model)).status == 200).count();
    assert_eq!((count("small"), count("large")), (2, 5));
    let health = router.health();
    assert_eq!(health["models"]["a:small"]["current_rpm"], 2, "{:#}", health["models"]);
    assert_eq!(health["models"]["a:small"]["limit_rpm"], 2);
}

#[test]
fn tokens_are_settled_from_the_usage_that_was_reported() {
    let upstream = Upstream::scripted(|call| Reply::chat_using(&call.model(), "x", 300, 100));
    let router = Config::new().credential("a", &upstream.url(), "tpm: 1000").start();
    // 400 each: the third is admitted at 800, and the window is over its limit after it.
    for n in 1..=3 {
        router.chat(&sized(10)).expect(200);
        router.settles("a", 400 * n);
    }
    let refused = router.chat(&sized(10)).expect(429);
    assert_eq!(refused.code(), "rate_limit_exceeded");
    assert!(refused.header("retry-after").is_some());
}

#[test]
fn tokens_are_reserved_while_a_request_is_under_way() {
    let upstream = Upstream::scripted(|call| Reply::good(call).after(ms(1500)));
    let router = Config::new().credential("a", &upstream.url(), "tpm: 1000").start();
    let answers = at_once(10, |_| router.chat(&sized(400)));
    assert_eq!(statuses(&answers, 200), 2, "400 and some tokens fit twice into 1000");
    assert_eq!(upstream.count(), 2);
    router.settles("a", 24);
}

#[test]
fn a_request_larger_than_the_whole_limit_is_admitted_into_an_empty_window() {
    let upstream = Upstream::scripted(|call| Reply::chat_using(&call.model(), "x", 900, 600));
    let router = Config::new().credential("a", &upstream.url(), "tpm: 1000").start();
    router.chat(&sized(5000)).expect(200);
    router.chat(&sized(10)).expect(429);
    router.settles("a", 1500);
}

#[test]
fn tokens_of_a_failed_attempt_are_given_back() {
    let upstream = Upstream::always(respond(400).error("no", "invalid_request_error", None));
    let router = Config::new().credential("a", &upstream.url(), "tpm: 1000").start();
    for _ in 0..10 {
        router.chat(&sized(900)).expect(400);
    }
    router.settles("a", 0);
}

#[test]
fn a_connection_that_failed_uses_up_no_request() {
    let router = Config::new().never_bans().credential("a", &Upstream::refused(), "rpm: 100").start();
    router.chat(&chat("m"));
    assert_eq!(router.health_of("a")["current_rpm"], 0);
}

#[test]
fn a_stream_settles_by_its_usage_and_an_aborted_one_by_what_was_seen() {
    let upstream = Upstream::scripted(|call| {
        let words = ["some words, ", "and more of them, ", "and still more"];
        Reply::chat_stream(call, &words).paced(ms(150))
    });
    let router = Config::new().credential("a", &upstream.url(), "tpm: 100000").start();
    router.stream(&chat_streamed("m")).expect(200).rest();
    router.settles("a", 12);
    let mut body = chat_streamed("m");
    body["max_tokens"] = json!(50_000);
    let mut events = router.stream(&body).expect(200);
    events.next_text().expect("a first word");
    events.leave();
    until("the aborted stream is settled", || {
        let tokens = router.health_of("a")["current_tpm"].as_u64().unwrap_or(0);
        tokens > 12 && tokens < 500
    });
}

#[test]
fn embeddings_and_responses_count_as_well() {
    let upstream = Upstream::healthy();
    let router = Config::new().credential("a", &upstream.url(), "tpm: 100000").start();
    router.post("/v1/embeddings", &json!({"model": "e", "input": "x"})).expect(200);
    router.settles("a", 4);
    router.post("/v1/responses", &json!({"model": "r", "input": "x"})).expect(200);
    router.settles("a", 9);
}

#[test]
fn a_fallback_proxy_serves_when_the_primaries_are_at_their_limit() {
    let (primary, backup) = (Upstream::healthy(), Upstream::healthy());
    let router = Config::new()
        .credential("main", &primary.url(), "rpm: 2")
        .proxy("backup", &backup.url(), "sk-remote-key-123456", "is_fallback: true")
        .start();
    for _ in 0..5 {
        router.chat(&chat("m")).expect(200);
    }
    assert_eq!((primary.count(), backup.count()), (2, 3));
    assert_eq!(backup.last().key.as_deref(), Some("sk-remote-key-123456"));
}

#[test]
fn tiers_are_used_in_order() {
    let upstream = Upstream::healthy();
    let router = Config::new()
        .credential("third", &upstream.url(), "is_fallback: true")
        .credential("second", &upstream.url(), "rpm: 2\npriority: 1")
        .credential("first", &upstream.url(), "rpm: 2")
        .start();
    let keys: Vec<_> = (0..6)
        .map(|_| {
            router.chat(&chat("m")).expect(200);
            upstream.last().key.clone().unwrap()
        })
        .collect();
    let expected = ["first", "first", "second", "second", "third", "third"].map(key_of);
    assert_eq!(keys, expected);
}

#[test]
fn max_concurrent_sends_the_rest_elsewhere() {
    let upstream = Upstream::scripted(|call| Reply::good(call).after(ms(600)));
    let config = Config::new().credential("narrow", &upstream.url(), "max_concurrent: 1");
    let router = config.credential("wide", &upstream.url(), "").start();
    let answers = at_once(6, |_| router.chat(&chat("m")));
    assert_eq!(statuses(&answers, 200), 6);
    assert_eq!(upstream.calls_of(&key_of("narrow")).len(), 1);
    router.chat(&chat("m")).expect(200);
    router.chat(&chat("m")).expect(200);
    assert_eq!(upstream.calls_of(&key_of("narrow")).len(), 2, "the slot comes back");
}

#[test]
fn minus_one_means_unlimited_everywhere() {
    let upstream = Upstream::healthy();
    let router = Config::new()
        .server("request_timeout: -1\ndefault_models_rpm: -1")
        .credential("a", &upstream.url(), "rpm: -1\ntpm: -1")
        .model("name: m\nrpm: -1\ntpm: -1")
        .start();
    let answers = at_once(30, |_| router.chat(&chat("m")));
    assert_eq!(statuses(&answers, 200), 30);
    let entry = router.health_of("a");
    assert_eq!((&entry["limit_rpm"], &entry["limit_tpm"]), (&json!(-1), &json!(-1)));
    assert_eq!(entry["current_rpm"], 30, "use is shown without a limit, too");
}

#[test]
fn default_models_rpm_fills_configured_models_only() {
    let upstream = Upstream::healthy().lists(&["discovered"]);
    let router = Config::new()
        .server("default_models_rpm: 1")
        .credential("a", &upstream.url(), "")
        .model("name: plain\ncredential: a")
        .model("name: own\ncredential: a\nrpm: 3")
        .start();
    let count = |model: &str| (0..5).filter(|_| router.chat(&chat(model)).status == 200).count();
    assert_eq!((count("plain"), count("own")), (1, 3));
}
