//! The access line: its fields, its bounds and its cost.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::*;
use crate::observe::outcome::TokenCount;

fn attempt(credential: &str, status: u16, reason: &'static str) -> AttemptRecord {
    let (begun, took) = (Duration::ZERO, Duration::from_micros(2_500));
    let (credential, model) = (credential.into(), "gpt-5".into());
    AttemptRecord { credential, model, status, begun, took, reason, tokens: None }
}

fn served() -> Outcome {
    let at = SystemTime::UNIX_EPOCH + Duration::from_millis(1_790_000_000_123);
    let mut outcome = Outcome::begun("req_1".into(), http::Method::POST, "/v1/chat/completions", at);
    outcome.model = Some("gpt-5".into());
    outcome.model_served = Some("gpt-5".into());
    outcome.upstream_model = Some("gpt-5-2026".into());
    outcome.credential = Some("b".into());
    outcome.attempts = vec![attempt("a", 500, "status"), attempt("b", 200, "ok")];
    outcome.status = 200;
    outcome.ended = Ended::Complete;
    outcome.stream = true;
    outcome.bytes_in = 120;
    outcome.bytes_out = 4_096;
    outcome.usage =
        Some(TokenCount { prompt: 10, completion: 20, cached: 4, reasoning: 0, estimated: false });
    outcome.first_token = Some(Duration::from_micros(7_001));
    outcome.total = Duration::from_micros(90_000);
    outcome.waited = Duration::from_micros(89_950);
    outcome
}

fn json(outcome: &Outcome) -> String {
    let mut line = String::new();
    json_line(&mut line, outcome);
    line
}

#[test]
fn a_line_is_one_json_object_with_the_documented_fields() {
    let expected = concat!(
        r#"{"ts":"2026-09-21T14:13:20.123Z","request_id":"req_1","method":"POST","endpoint":"/v1/chat/completions","#,
        r#""status":200,"ended":"complete","model":"gpt-5","upstream_model":"gpt-5-2026","credential":"b","#,
        r#""attempts":[{"credential":"a","model":"gpt-5","status":500,"ms":2.500,"reason":"status"},"#,
        r#"{"credential":"b","model":"gpt-5","status":200,"ms":2.500,"reason":"ok"}],"stream":true,"bytes_in":120,"#,
        r#""bytes_out":4096,"tokens_in":10,"tokens_out":20,"tokens_cached":4,"ttft_ms":7.001,"total_ms":90.000,"#,
        r#""overhead_ms":0.050}"#,
    );
    assert_eq!(json(&served()), format!("{expected}\n"));
}

#[test]
fn a_line_stays_short_and_whole_whatever_a_client_sends() {
    let mut outcome = served();
    let hostile = "\"\n\u{1}\u{9f}é".repeat(5_000);
    outcome.request_id = hostile.clone();
    outcome.model = Some(hostile.clone());
    outcome.model_served = Some(Arc::from("x".repeat(9_000)));
    outcome.upstream_model = Some(Arc::from(hostile.as_str()));
    outcome.credential = Some(Arc::from(hostile.as_str()));
    outcome.upstream_request_id = Some(hostile.clone());
    outcome.attempts = vec![attempt(&hostile, 502, "connect"); 300];
    let line = json(&outcome);
    assert!(line.len() <= 8192, "{}", line.len());
    assert_eq!(line.matches('\n').count(), 1);
    let read: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(read["attempts"].as_array().unwrap().len(), ATTEMPTS);

    let mut human = String::new();
    human_line(&mut human, &outcome, false);
    assert!(human.len() <= 8192 && human.matches('\n').count() == 1);
}

#[test]
fn people_see_who_answered_and_who_failed_before() {
    let mut line = String::new();
    human_line(&mut line, &served(), false);
    let expected = "14:13:20 200 POST /v1/chat/completions gpt-5 via b after a 500 (status) 90.000 ms, \
                    first token 7.001 ms, 10+20 tokens\n";
    assert_eq!(line, expected);
}

#[test]
fn people_see_why_a_request_was_refused() {
    let mut outcome = Outcome::begun("r".into(), http::Method::GET, "/v1/models", SystemTime::UNIX_EPOCH);
    outcome.status = 401;
    outcome.ended = Ended::Refused;
    outcome.refusal = Some("invalid_api_key");
    let mut line = String::new();
    human_line(&mut line, &outcome, true);
    assert_eq!(line, "00:00:00 \x1b[33m401\x1b[0m GET /v1/models 0.000 ms, refused: invalid_api_key\n");
}

#[test]
fn only_errors_reach_the_error_log() {
    let place = tempfile::tempdir().unwrap();
    let (all, errors) = (place.path().join("all"), place.path().join("errors"));
    let log = AccessLog::new(Sink::file(&all).unwrap(), Format::Json, Some(Sink::file(&errors).unwrap()));
    let mut outcome = served();
    log.write(&outcome);
    outcome.status = 502;
    log.write(&outcome);
    assert!(log.sinks().all(|sink| sink.flush(Duration::from_secs(5))));
    assert_eq!(std::fs::read_to_string(all).unwrap().lines().count(), 2);
    assert_eq!(std::fs::read_to_string(errors).unwrap().lines().count(), 1);
}

/// Prints what one line costs; run it with `--release -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn the_cost_of_a_line() {
    let log = AccessLog::new(Sink::new("bench", std::io::sink()).unwrap(), Format::Json, None);
    let outcome = served();
    let start = Instant::now();
    for _ in 0..1_000_000 {
        log.write(std::hint::black_box(&outcome));
    }
    println!("{:?} a line", start.elapsed() / 1_000_000);
}
