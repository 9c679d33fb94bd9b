//! Limits per day and per any time: to the request, over a restart, over a reload, and an upstream whose day is over.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{json, Value};

use crate::support::*;

/// A zone in which it is not about to be midnight.
fn zone() -> &'static str {
    let hour = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() / 3600 % 24;
    if hour == 23 {
        "Asia/Tokyo"
    } else {
        "UTC"
    }
}

fn daily(requests: u64) -> String {
    format!("rpd: {requests}\ntime_zone: {}", zone())
}

fn wait_of(answer: &Answer) -> u64 {
    answer.header("retry-after").and_then(|v| v.parse().ok()).expect("a whole number of seconds")
}

#[test]
fn a_day_admits_its_quota_and_says_when_there_is_a_new_one() {
    let upstream = Upstream::healthy();
    let router = Config::new().credential("a", &upstream.url(), &daily(5)).start();
    let answers = at_once(16, |_| router.chat(&chat("m")));
    assert_eq!((answers.iter().filter(|a| a.status == 200).count(), upstream.count()), (5, 5));
    let refused = answers.iter().find(|answer| answer.status == 429).expect("one over the limit");
    assert_eq!(refused.code(), "rate_limit_exceeded");
    assert!(refused.message().contains("limit of requests per day"), "{}", refused.message());
    assert!((3500..=25 * 3600).contains(&wait_of(refused)), "{} s", wait_of(refused));
    assert_eq!(refused.header("x-should-retry"), Some("false"), "no client is to wait for that");
    assert_eq!(refused.header("x-ratelimit-limit-requests"), Some("5"));
    let shown = &router.health_of("a")["limits"][0];
    assert_eq!((&shown["of"], &shown["per"]), (&json!("requests"), &json!("day")));
    assert_eq!((&shown["current"], &shown["limit"]), (&json!(5), &json!(5)));
    let labels = [("credential", "a"), ("of", "requests"), ("per", "day")];
    assert_eq!(router.metric("auto_ai_router_credential_quota_current", &labels), Some(5.0));
    let page = router.get("/vhealth").text();
    assert!(page.contains("5 / 5 requests per day"), "{page}");
}

#[test]
fn a_day_is_counted_over_a_restart_a_crash_and_a_reload() {
    let upstream = Upstream::healthy();
    let config =
        |extra: &str| Config::new().credential("a", &upstream.url(), &format!("{}{extra}", daily(4)));
    let router = config("").start();
    router.chat(&chat("m")).expect(200);
    let router = router.restart();
    router.chat(&chat("m")).expect(200);
    std::thread::sleep(ms(2600));
    router.signal("-KILL");
    let mut router = router.relaunch();
    router.chat(&chat("m")).expect(200);
    router.reconfigure(config("\ntpm: 100000"));
    router.chat(&chat("m")).expect(200);
    router.chat(&chat("m")).expect(429);
    assert_eq!(upstream.count(), 4);
}

#[test]
fn windows_of_any_length_hold_at_once_for_credentials_and_for_models() {
    let upstream = Upstream::healthy();
    let router = Config::new()
        .credential("a", &upstream.url(), "requests: [3 per 2s, 5 per hour]")
        .model("name: m\ntokens: 100000 per 90s")
        .model("name: n\ntokens: 30 per 90s")
        .start();
    let answers = at_once(8, |_| router.chat(&chat("m")));
    assert_eq!(answers.iter().filter(|a| a.status == 200).count(), 3);
    let refused = answers.iter().find(|answer| answer.status == 429).expect("one over the limit");
    assert!(refused.message().contains("requests per 2s"), "{}", refused.message());
    until("two seconds are over", || router.chat(&chat("m")).status == 200);
    let full = |answer: Answer| answer.status == 429 && answer.message().contains("requests per hour");
    until("and the hour is full", || full(router.chat(&chat("m"))));
    assert_eq!(upstream.count(), 5);
    let labels = [("credential", "a"), ("of", "requests"), ("per", "hour")];
    let quota = |what: &str| router.metric(&format!("auto_ai_router_credential_quota_{what}"), &labels);
    assert_eq!((quota("current"), quota("limit")), (Some(5.0), Some(5.0)));
    assert!((3000.0..=3600.0).contains(&quota("reset_seconds").expect("a time")));
    let labels = [("credential", "a"), ("model", "m"), ("of", "tokens"), ("per", "1m30s")];
    let quota = |what: &str| router.metric(&format!("auto_ai_router_model_quota_{what}"), &labels);
    assert!(quota("current") > Some(0.0) && quota("limit") == Some(100_000.0), "{:?}", quota("current"));
    assert!((1.0..=90.0).contains(&quota("reset_seconds").expect("a time")));
    let explained = &router.get("/explain?model=n").expect(200).json()["candidates"][0];
    assert_eq!(explained["limits"][1]["requests"], json!({"used": 5, "limit": 5}));
    assert!((3000..=3600).contains(&explained["limits"][1]["resets_in"].as_u64().unwrap()), "{explained}");
    assert_eq!(explained["on_model"]["limits"][0]["tokens"], json!({"used": 0, "limit": 30}));
    let refused = router.chat(&chat("n")).expect(429);
    assert!((3000..=3600).contains(&wait_of(&refused)), "{}", wait_of(&refused));
}

/// Gemini's words for a free key whose day is over, with a delay that is about the minute.
fn day_is_over(call: &Call) -> Reply {
    let _ = call;
    respond(429).json(&json!([{"error": {"code": 429, "status": "RESOURCE_EXHAUSTED",
        "message": "You exceeded your current quota, please check your plan and billing details.",
        "details": [
            {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [
                {"quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier", "quotaValue": "20"}]},
            {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "36s"}]}}]))
}

#[test]
fn an_upstream_whose_day_is_over_is_left_alone_until_the_next_one_over_a_restart_too() {
    let (empty, full) = (Upstream::scripted(day_is_over), Upstream::healthy());
    let router = Config::new()
        .credential("empty", &empty.url(), "")
        .credential("full", &full.url(), "priority: 1")
        .start();
    for _ in 0..3 {
        router.chat(&chat("m")).expect(200);
    }
    assert_eq!((empty.count(), full.count()), (1, 3));
    let out = |health: &Value| health["models"]["empty:m"].clone();
    let shown = out(&router.health());
    assert_eq!(shown["state"], "cool_down", "{shown:#}");
    assert_eq!(shown["reason"], "its quota for the day is used up");
    let left = shown["next_recovery"].as_u64().expect("seconds");
    assert!((1..=25 * 3600).contains(&left) && left != 36, "{left}");
    let router = router.restart();
    let kept = out(&router.health());
    assert_eq!(kept["reason"], "its quota for the day is used up", "{kept:#}");
    router.chat(&chat("m")).expect(200);
    assert_eq!(empty.count(), 1);
    router.chat(&chat("another")).expect(200);
    assert_eq!(empty.count(), 2, "the quota was that of one model");
}
