//! What is remembered of requests, for how long, and what it costs.

use super::super::outcome::TokenCount;
use super::*;
use std::time::Instant;

const NOW: u64 = 1_800_000_000;

fn at(second: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(second)
}

fn attempt(credential: &str, status: u16, took: u64, reason: &'static str) -> AttemptRecord {
    let took = Duration::from_millis(took);
    let begun = Duration::ZERO;
    AttemptRecord {
        credential: credential.into(),
        model: "m".into(),
        status,
        begun,
        took,
        reason,
        tokens: None,
    }
}

/// A request that `a` answers after `ms`, having begun at `second`.
fn answered(second: u64, ms: u64) -> Outcome {
    Outcome {
        model: Some("m".into()),
        credential: Some("a".into()),
        attempts: vec![attempt("a", 200, ms, "ok")],
        status: 200,
        total: Duration::from_millis(ms),
        first_token: Some(Duration::from_millis(ms / 2)),
        usage: Some(TokenCount { prompt: 5, completion: 60, ..TokenCount::default() }),
        ended: Ended::Complete,
        ..Outcome::begun("req_1".into(), http::Method::POST, "/v1/chat/completions", at(second))
    }
}

fn refused(status: u16, refusal: &'static str, endpoint: &'static str) -> Outcome {
    let begun = Outcome::begun("req_2".into(), http::Method::POST, endpoint, at(NOW));
    Outcome { status, refusal: Some(refusal), ended: Ended::Refused, ..begun }
}

fn recent() -> Recent {
    Recent::default().for_credentials(["a", "b"])
}

#[test]
fn quantiles_are_of_the_last_answers_without_what_earlier_attempts_took() {
    let recent = recent();
    assert_eq!(recent.of("a", at(NOW)).latency, None);
    (1..=100).for_each(|ms| recent.note(&answered(NOW, ms * 10)));
    let ms = Duration::from_millis;
    assert_eq!(recent.of("a", at(NOW)).latency, Some((ms(500), ms(950))));
    assert_eq!(recent.of("a", at(NOW)).first_token, Some((ms(250), ms(475))));
    (0..SAMPLES).for_each(|_| {
        let mut late = answered(NOW, 1_007);
        late.attempts.insert(0, attempt("b", 500, 1_000, "status"));
        recent.note(&late);
    });
    assert_eq!(recent.of("a", at(NOW)).latency, Some((ms(7), ms(7))));
}

#[test]
fn the_recent_past_is_counted_in_slots_and_forgotten_after_five_minutes() {
    let recent = recent();
    recent.note(&answered(NOW, 0));
    recent.note(&answered(NOW + 6, 0));
    let seen = recent.of("a", at(NOW + 6));
    assert_eq!(seen.answers[SLOTS - 2..], [1, 1]);
    assert_eq!(seen.tokens_per_second, 2.0);
    let later = recent.of("a", at(NOW + 120));
    assert_eq!((later.answers.iter().sum::<u32>(), later.tokens_per_second), (2, 0.0));
    assert_eq!(recent.of("a", at(NOW + 600)).answers, [0; SLOTS]);
    // The ring has come round, and an old slot does not count for a new one.
    recent.note(&answered(NOW + 300, 0));
    assert_eq!(recent.of("a", at(NOW + 300)).answers.iter().sum::<u32>(), 2);
}

#[test]
fn a_clock_that_is_set_back_loses_counts_and_nothing_else() {
    let recent = recent();
    recent.note(&answered(NOW, 0));
    recent.note(&answered(NOW - 300, 0));
    assert_eq!(recent.of("a", at(NOW)).answers[SLOTS - 1], 1);
}

#[test]
fn an_error_is_known_by_its_time_its_request_and_its_credential() {
    let recent = recent();
    let mut outcome = answered(NOW, 20);
    outcome.attempts.insert(0, attempt("b", 503, 5, "status"));
    recent.note(&outcome);
    let error = recent.of("b", at(NOW)).last_error.expect("b has failed");
    assert_eq!((error.at, error.request_id.as_str()), (at(NOW), "req_1"));
    assert_eq!((error.status, error.reason), (503, "status"));
    assert_eq!(recent.of("b", at(NOW)).errors[SLOTS - 1], 1);
    assert_eq!(recent.of("a", at(NOW)).last_error, None);
    assert_eq!(recent.failures(), [error]);
}

#[test]
fn a_stream_that_breaks_off_is_the_error_of_its_credential() {
    let recent = recent();
    recent.note(&Outcome { ended: Ended::Truncated, ..answered(NOW, 20) });
    let seen = recent.of("a", at(NOW));
    assert_eq!(seen.last_error.map(|error| error.reason), Some("truncated"));
    assert_eq!(seen.latency, None);
}

#[test]
fn an_attempt_is_no_failure_where_nobody_is_to_blame() {
    let recent = recent();
    let mut outcome = answered(NOW, 20);
    outcome.attempts.extend([attempt("b", 400, 1, "unfit"), attempt("b", 499, 1, "client_gone")]);
    recent.note(&outcome);
    assert!(recent.failures().is_empty());
}

#[test]
fn strangers_do_not_push_out_what_the_operator_looks_for() {
    let recent = recent();
    recent.note(&refused(429, "rate_limit_exceeded", "/v1/chat/completions"));
    (0..100).for_each(|_| {
        recent.note(&refused(401, "unauthorized", "/v1/chat/completions"));
        recent.note(&refused(404, "wrong_path", "other"));
    });
    let reasons: Vec<_> = recent.failures().iter().map(|failure| failure.reason).collect();
    assert_eq!(reasons, ["rate_limit_exceeded"]);
}

#[test]
fn the_list_of_errors_is_bounded_and_so_are_its_names() {
    let recent = recent();
    for n in 0..200 {
        let mut outcome = refused(404, "model_not_found", "/v1/chat/completions");
        (outcome.request_id, outcome.model) = (format!("req_{n}"), Some("ö".repeat(10_000)));
        recent.note(&outcome);
    }
    let failures = recent.failures();
    assert_eq!((failures.len(), failures[0].request_id.as_str()), (FAILURES, "req_199"));
    assert!(failures.iter().all(|failure| failure.model.as_ref().unwrap().len() <= LONGEST + "…".len()));
}

#[test]
fn a_reload_keeps_what_is_known_of_a_name() {
    let before = recent();
    before.note(&Outcome { ended: Ended::Stalled, ..answered(NOW, 20) });
    let after = before.for_credentials(["a", "c"]);
    assert_eq!(after.of("a", at(NOW)).answers[SLOTS - 1], 1);
    assert_eq!(after.failures().len(), 1);
    // What a request of the configuration before is told later is known as well.
    before.note(&answered(NOW, 20));
    assert_eq!(after.of("a", at(NOW)).answers[SLOTS - 1], 2);
}

#[test]
fn attempts_failures_and_failovers_are_counted_until_they_are_put_to_nought() {
    let recent = recent();
    let attempts = |first: u16| Outcome {
        attempts: vec![attempt("a", first, 1, "status"), attempt("b", 200, 1, "ok")],
        ..answered(NOW, 20)
    };
    recent.note(&attempts(500));
    recent.note(&attempts(429));
    recent.note(&refused(401, "unauthorized", "/v1/chat/completions"));
    recent.note(&refused(429, "limit", "/v1/chat/completions"));
    let totals = recent.totals();
    assert_eq!((totals.requests, totals.failovers, totals.skips), (3, 2, 2));
    assert_eq!(totals.credentials["a"], Counts { requests: 2, failures: 2, rate_limited: 1 });
    assert_eq!(totals.credentials["b"], Counts { requests: 2, failures: 0, rate_limited: 0 });
    recent.reset();
    let none = recent.totals();
    assert_eq!((none.requests, none.credentials["a"]), (0, Counts::default()));
}

/// Run with `--ignored --nocapture` on a release build.
#[test]
#[ignore = "a measurement"]
fn the_cost_of_remembering() {
    let (recent, outcome, rounds) = (recent(), answered(NOW, 20), 1_000_000_u32);
    let start = Instant::now();
    (0..rounds).for_each(|_| recent.note(std::hint::black_box(&outcome)));
    println!("remembering an answer: {} ns", start.elapsed().as_nanos() / u128::from(rounds));
}
