//! Sampling, the version that goes with it, lengths, and who asks.

use serde_json::{json, Value};

use super::{asked, composed_for, passed, read};

#[test]
fn sampling_brings_back_the_older_version_where_the_model_takes_it() {
    let request =
        json!({"messages": asked(json!("hi")), "temperature": 1.5, "top_p": 0.5, "top_k": 4}).to_string();
    let conversation = read(&request).unwrap();
    let sent = |model, vertex| {
        let composed = composed_for(model, vertex, &conversation).unwrap();
        (serde_json::from_slice::<Value>(&composed.body.contiguous()).unwrap(), composed.headers)
    };
    let (body, headers) = sent("claude-3-5-sonnet-20241022", false);
    assert_eq!((&body["temperature"], &body["top_p"], &body["top_k"]), (&json!(1), &json!(0.5), &json!(4)));
    assert_eq!(headers, [("anthropic-version", "2023-06-01".to_owned())]);
    let (body, _) = sent("claude-opus-4-6", false);
    assert_eq!((&body["temperature"], &body["top_p"]), (&json!(1), &Value::Null), "not both");
    let (body, headers) = sent("claude-opus-4-7", false);
    assert!(["temperature", "top_p", "top_k"].iter().all(|name| body.get(name).is_none()));
    assert_eq!(headers, [("anthropic-version", "2026-10-21".to_owned())]);
    let (body, headers) = sent("claude-sonnet-4@20250514", true);
    assert_eq!((&body["anthropic_version"], body.get("model")), (&json!("vertex-2023-10-16"), None));
    assert!(headers.is_empty());
    assert_eq!(sent("claude-opus-5", true).0["anthropic_version"], "2026-10-21");
}

#[test]
fn lengths_stops_and_tiers_are_carried_over() {
    let body = |request| passed("claude-haiku-4-5", request);
    let with = |member: &str, value: Value| body(json!({"messages": asked(json!("hi")), member: value}));
    assert_eq!(with("max_tokens", json!(7))["max_tokens"], 7);
    assert_eq!(with("max_tokens", json!(999_999))["max_tokens"], 64_000);
    assert_eq!(with("stream", json!(true))["max_tokens"], 64_000);
    assert_eq!(with("stop_sequences", json!(["END", " \n"]))["stop_sequences"], json!(["END"]));
    assert_eq!(with("service_tier", json!("standard_only"))["service_tier"], "standard_only");
    assert_eq!(with("stream", json!(true))["stream"], true);
}

#[test]
fn users_who_can_be_known_are_hidden() {
    let user = |user: &str| {
        let request = json!({"messages": asked(json!("hi")), "metadata": {"user_id": user}});
        passed("claude-haiku-4-5", request)["metadata"]["user_id"].as_str().unwrap().to_owned()
    };
    assert_eq!(user("team-7"), "team-7");
    assert_eq!(user("5f2c9d1e-0000-4000-8000-000000000000"), "5f2c9d1e-0000-4000-8000-000000000000");
    assert_eq!(user("jo@example.org"), user("jo@example.org"));
    assert_ne!(user("jo@example.org"), user("jo@example.com"));
    for hidden in ["jo@example.org", "+49 (30) 1234-567", &"x".repeat(300)] {
        assert!(user(hidden).starts_with("user_") && user(hidden).len() == 21, "{hidden}");
    }
}
