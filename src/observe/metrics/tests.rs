//! Counting: the right series, once each, and what it costs.

use std::time::{Duration, Instant, SystemTime};

use super::*;
use crate::observe::outcome::AttemptRecord;

fn outcome(credential: Option<&str>, status: u16) -> Outcome {
    let mut outcome =
        Outcome::begun("r".into(), http::Method::POST, "/v1/chat/completions", SystemTime::UNIX_EPOCH);
    outcome.credential = credential.map(Arc::from);
    outcome.status = status;
    outcome.ended = Ended::Complete;
    outcome.total = Duration::from_millis(200);
    outcome.waited = Duration::from_micros(199_930);
    outcome
}

fn attempt(credential: &str, status: u16, reason: &'static str) -> AttemptRecord {
    AttemptRecord {
        credential: credential.into(),
        model: "m".into(),
        status,
        begun: Duration::ZERO,
        took: Duration::ZERO,
        reason,
        tokens: None,
    }
}

fn text() -> String {
    String::from_utf8(encode().1).unwrap()
}

fn assert_lines(lines: &[&str]) {
    let text = text();
    for line in lines {
        assert!(text.lines().any(|found| found == *line), "{line} is missing in\n{text}");
    }
}

#[test]
fn a_served_request_counts_once_in_every_series() {
    let meters = Meters::for_credentials([("once-a", "openai"), ("once-b", "openai")]);
    let mut served = outcome(Some("once-b"), 200);
    served.attempts = vec![attempt("once-a", 500, "status"), attempt("once-b", 200, "ok")];
    served.first_token = Some(Duration::from_millis(80));
    served.usage = Some(TokenCount { prompt: 10, completion: 5, cached: 4, reasoning: 0, estimated: false });
    meters.record(&served);
    assert_lines(&[
        "auto_ai_router_requests_total{credential=\"once-b\",endpoint=\"/v1/chat/completions\",status=\"200\"} 1",
        "auto_ai_router_requests_duration_seconds_count{credential=\"once-b\",endpoint=\"/v1/chat/completions\"} 1",
        "auto_ai_router_requests_duration_seconds_bucket{credential=\"once-b\",endpoint=\"/v1/chat/completions\",le=\"0.1\"} 0",
        "auto_ai_router_requests_duration_seconds_bucket{credential=\"once-b\",endpoint=\"/v1/chat/completions\",le=\"0.25\"} 1",
        "auto_ai_router_credential_errors_total{credential=\"once-a\"} 1",
        "auto_ai_router_credential_errors_total{credential=\"once-b\"} 0",
        "auto_ai_router_attempts_total{credential=\"once-a\",outcome=\"status\"} 1",
        "auto_ai_router_attempts_total{credential=\"once-b\",outcome=\"ok\"} 1",
        "auto_ai_router_time_to_first_token_seconds_count{credential=\"once-b\"} 1",
        "auto_ai_router_tokens_total{credential=\"once-b\",type=\"input\"} 10",
        "auto_ai_router_tokens_total{credential=\"once-b\",type=\"output\"} 5",
        "auto_ai_router_tokens_total{credential=\"once-b\",type=\"cached\"} 4",
    ]);
}

#[test]
fn a_refused_request_counts_under_none_with_its_reason() {
    let mut refused = outcome(None, 401);
    refused.endpoint = "/v1/refused-in-a-test";
    refused.ended = Ended::Refused;
    refused.refusal = Some("test_reason");
    Meters::for_credentials([]).record(&refused);
    assert_lines(&[
        "auto_ai_router_requests_total{credential=\"none\",endpoint=\"/v1/refused-in-a-test\",status=\"401\"} 1",
        "auto_ai_router_rejected_total{reason=\"test_reason\"} 1",
    ]);
}

#[test]
fn a_peer_appears_in_request_metrics_only() {
    let meters = Meters::for_credentials([("a-peer", "proxy")]);
    let mut served = outcome(Some("a-peer"), 200);
    served.attempts = vec![attempt("a-peer", 200, "ok"), attempt("a-peer", 500, "status")];
    served.first_token = Some(Duration::from_millis(80));
    served.usage = Some(TokenCount { prompt: 10, ..TokenCount::default() });
    meters.record(&served);
    meters.ban("a-peer", BanEvent::Banned);
    let text = text();
    let mut of_peer = text.lines().filter(|line| line.contains("a-peer")).peekable();
    assert!(of_peer.peek().is_some());
    assert!(of_peer.all(|line| line.starts_with("auto_ai_router_requests_")), "{text}");
}

#[test]
fn a_credential_that_is_not_configured_makes_no_series() {
    Meters::for_credentials([]).record(&outcome(Some("never-configured"), 200));
    assert!(!text().contains("never-configured"));
}

#[test]
fn guards_count_in_and_out() {
    let before = TABLE.streams_open.get();
    let open = stream();
    assert_eq!(TABLE.streams_open.get(), before + 1);
    drop(open);
    assert_eq!(TABLE.streams_open.get(), before);
    let _ = request();
    assert!(text().contains("# TYPE auto_ai_router_in_flight gauge"));
}

#[test]
fn ban_events_are_counted_by_kind() {
    Meters::for_credentials([("banned-one", "openai")]).ban("banned-one", BanEvent::Unbanned);
    assert_lines(&["auto_ai_router_bans_total{credential=\"banned-one\",event=\"unbanned\"} 1"]);
}

#[test]
fn no_label_constant_begins_with_another() {
    let events =
        [BanEvent::Banned, BanEvent::Expired, BanEvent::Unbanned, BanEvent::CoolDown].map(BanEvent::as_str);
    for set in [events, TOKEN_TYPES] {
        for one in set {
            assert_eq!(set.iter().filter(|other| other.starts_with(one)).count(), 1, "{one}");
        }
    }
}

/// Prints what one request costs; run it with `--release -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn the_cost_of_counting() {
    let meters = Meters::for_credentials([("bench-a", "openai"), ("bench-b", "openai")]);
    let mut served = outcome(Some("bench-b"), 200);
    served.attempts = vec![attempt("bench-b", 200, "ok")];
    served.first_token = Some(Duration::from_millis(80));
    served.usage = Some(TokenCount { prompt: 10, completion: 5, cached: 4, reasoning: 1, estimated: false });
    let start = Instant::now();
    for _ in 0..1_000_000 {
        meters.record(std::hint::black_box(&served));
    }
    println!("{:?} a request", start.elapsed() / 1_000_000);
}
