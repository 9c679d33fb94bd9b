//! The shapes, with values that can be told apart.

use super::*;

fn used(current: u64, limit: impl Into<Option<u64>>) -> Used {
    Used { current, limit: limit.into() }
}

fn service(name: &str, kind: &'static str, limit: Option<u64>) -> Service {
    let minute = Window {
        label: "minute".into(),
        seconds: Some(60),
        requests: used(3, limit),
        tokens: used(70, None),
    };
    Service { name: name.into(), kind, has_api_key: true, windows: vec![minute], ..Service::default() }
}

fn desk() -> Desk {
    let limited = Service {
        limited_for: Some(Duration::from_millis(1500)),
        tier: 1,
        ..service("b", "openai", Some(4))
    };
    let day = Window { label: "day".into(), seconds: None, requests: used(40, 50), tokens: used(900, None) };
    let mut daily = service("g", "gemini", None);
    daily.windows.push(day);
    daily.state = State::Banned;
    let mut totals = Totals { requests: 8, failovers: 2, skips: 1, ..Totals::default() };
    totals.credentials.insert("a".into(), Counts { requests: 6, failures: 3, rate_limited: 1 });
    let caller = Caller {
        name: "team".into(),
        hint: "sha256:01234567".into(),
        requests: 4,
        successes: 3,
        tokens: (10, 20),
        seen: (Some(SystemTime::UNIX_EPOCH), None),
        in_flight: (1, Some(2)),
        ..Caller::default()
    };
    Desk {
        version: "1.2.3",
        services: vec![service("a", "openai", Some(10)), limited, daily],
        totals,
        callers: Callers { enabled: true, valid: 5, header: "Authorization".into(), rows: vec![caller] },
        now: Some(SystemTime::UNIX_EPOCH + Duration::from_millis(2500)),
    }
}

#[test]
fn the_root_names_services_and_how_keys_are_shown() {
    let root = desk().root();
    assert_eq!((root["mode"].as_str(), root["services_count"].as_u64()), (Some("router"), Some(3)));
    assert_eq!(root["services"][1], json!({"name": "b", "type": "openai", "priority": 1}));
    assert_eq!(root["primary_backend"], "a");
    assert_eq!(
        root["authentication"],
        json!({"enabled": true, "valid_keys_count": 5, "auth_header": "Authorization"})
    );
}

#[test]
fn statistics_have_rates_and_an_order() {
    let stats = desk().stats();
    assert_eq!(
        (stats["failover_rate"].as_f64(), stats["rate_limit_skip_rate"].as_f64()),
        (Some(25.0), Some(12.5))
    );
    assert_eq!(stats["service_stats"]["a"], json!({"requests": 6, "failures": 3, "rate_limited": 1}));
    assert_eq!(stats["service_stats"]["g"], json!({"requests": 0, "failures": 0, "rate_limited": 0}));
    assert_eq!(stats["service_order"], json!(["a", "g", "b"]));
}

#[test]
fn health_is_how_a_service_stands() {
    let health = desk().health();
    assert_eq!(health["overall_status"], "degraded");
    let status = |name: &str| health["services"][name]["status"].clone();
    assert_eq!(
        (status("a"), status("b"), status("g")),
        (json!("healthy"), json!("unknown"), json!("unhealthy"))
    );
    let a = &health["services"]["a"];
    assert_eq!((a["failure_rate"].as_f64(), a["rate_limited_events"].as_u64()), (Some(50.0), Some(1)));
    assert_eq!(
        health["services"]["g"]["rate_limit_config"],
        json!({"max_requests": 50, "window_seconds": 86_400})
    );
    let mut down = desk();
    down.services.iter_mut().for_each(|service| service.state = State::BannedForGood);
    assert_eq!(down.health()["overall_status"], "unhealthy");
    assert_eq!(down.backend()["status"], "unhealthy");
}

#[test]
fn what_is_left_of_a_limit_is_told() {
    let limits = desk().rate_limits();
    let of = |name: &str| limits["rate_limiting"][name].clone();
    assert_eq!(
        (of("b")["rate_limit"].as_str(), of("b")["remaining_quota"].as_u64()),
        (Some("4/60s"), Some(1))
    );
    assert_eq!(
        (of("b")["is_rate_limited"].as_bool(), of("b")["window_reset_in"].as_f64()),
        (Some(true), Some(1.5))
    );
    assert_eq!(of("g")["rate_limit"], "50/day");
    assert_eq!(limits["current_time"], 2.5);
    let free = Desk { services: vec![service("f", "openai", None)], ..Desk::default() };
    let free = &free.rate_limits()["rate_limiting"]["f"];
    assert_eq!(
        (free["rate_limit"].as_str(), free["remaining_quota"].as_str()),
        (Some("none"), Some("unlimited"))
    );
}

#[test]
fn keys_are_told_by_name_and_hint() {
    let metrics = desk().key_metrics();
    assert_eq!((metrics["total_errors"].as_u64(), metrics["success_rate"].as_f64()), (Some(1), Some(75.0)));
    let team = &metrics["keys_metrics"]["team"];
    assert_eq!((team["key"].as_str(), team["error_count"].as_u64()), (Some("sha256:01234567"), Some(1)));
    assert_eq!(
        (team["first_request"].as_str(), team["last_request"].is_null()),
        (Some("1970-01-01T00:00:00.000Z"), true)
    );
    assert_eq!(desk().keys()["system_status"], "active");
    assert_eq!(Desk::default().keys()["system_status"], "disabled");
}

#[test]
fn usage_is_a_share_of_the_same_period_as_its_limit() {
    let usage = desk().usage();
    assert_eq!(
        usage["overview"]["openai"],
        json!({"total_requests": 6, "total_capacity": 14, "usage_percentage": 42.86})
    );
    assert_eq!(
        usage["overview"]["gemini"],
        json!({"total_requests": 40, "total_capacity": 50, "usage_percentage": 80.0})
    );
    let gemini = &usage["details"]["gemini"];
    assert_eq!(gemini["keys"]["g"]["rate_limit_windows"], json!({"req_min": 3, "req_day": 40}));
    assert_eq!(gemini["rate_limits"]["max_request_day"], 50);
    assert!(usage["details"]["openai"]["rate_limits"].is_null(), "they differ");
    let team = &usage["clients"]["team"];
    assert_eq!((team["in_flight"].as_u64(), team["max_concurrent"].as_u64()), (Some(1), Some(2)));
}
