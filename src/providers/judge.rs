//! The verdict on an error that an upstream has answered.
//!
//! Two questions: would somebody else answer this request differently (then it goes on), and whose fault was it (that
//! is what a strike hits). `x-should-retry` is not looked at: it says whether asking the same place again helps, and
//! here the question is about another one.

use std::time::{Duration, SystemTime};

use http::HeaderMap;

use super::day;
use super::retry_after::retry_after;
use super::verdict::{Blame, Next, Verdict};
use crate::llm::upstream_error::UpstreamError;

/// A cool-down is never shorter, or it would be over before it is noticed.
const LEAST: Duration = Duration::from_secs(1);
/// Nor longer: an upstream's word is not a ban.
const MOST: Duration = Duration::from_secs(600);
/// For an overloaded upstream, which may be well again long before it thinks.
const MOST_OVERLOADED: Duration = Duration::from_secs(30);

/// Judges an error answer. `now` is the wall clock, for a Retry-After that is a date.
pub fn judge(status: u16, headers: &HeaderMap, error: &UpstreamError, now: SystemTime) -> Verdict {
    let wait = || retry_after(headers, now).or(error.retry_delay);
    match status {
        300..=399 => Verdict::new(Blame::Host, Next::Other, 502),
        429 if day::is_over(headers, error) => day::verdict(headers, error, now),
        429 if error.quota_exhausted() => exhausted(status),
        429 => cooled(Verdict::new(Blame::Pair, Next::Other, 429), wait(), MOST),
        // 499 is Google's CANCELLED, and nobody here has cancelled anything.
        408 | 499 => Verdict::new(Blame::Host, Next::Other, status),
        409 => Verdict::new(Blame::Pair, Next::Other, 409),
        400..=499 => judge_refusal(status, error),
        508 => Verdict::new(Blame::Caller, Next::Stop, 508),
        503 | 529 => cooled(Verdict::new(Blame::Host, Next::Other, status), wait(), MOST_OVERLOADED),
        500..=599 => Verdict::new(Blame::Host, Next::Other, status),
        _ => Verdict::new(Blame::Pair, Next::Other, 502),
    }
}

/// Judges an error that came inside a 200: in the first event of a stream, or instead of an answer.
pub fn judge_stream(headers: &HeaderMap, error: &UpstreamError, now: SystemTime) -> Verdict {
    let limited = error.status == 429;
    // A Retry-After on a 200 belongs to the 200, except where the body says that it is none.
    if limited {
        judge(429, headers, error, now)
    } else if error.is_slip() {
        Verdict::new(Blame::Local, Next::Other, error.status)
    } else {
        judge(error.status, &HeaderMap::new(), error, now)
    }
}

/// A refusal: of the request, of its model, or of the key.
fn judge_refusal(status: u16, error: &UpstreamError) -> Verdict {
    if error.content_policy() {
        Verdict::new(Blame::Caller, Next::Stop, status)
    } else if error.model_not_found() || error.over_the_minute() {
        Verdict::new(Blame::Absent, Next::Other, status)
    } else if error.context_length() {
        Verdict::new(Blame::Caller, Next::FallbackModel, status)
    } else if error.quota_exhausted() {
        exhausted(status)
    } else if matches!(status, 401..=403) || error.key_invalid() {
        Verdict::new(Blame::Key, Next::Other, status)
    } else {
        Verdict::new(Blame::Caller, Next::Stop, status)
    }
}

/// The account is empty: no wait that an upstream names would help.
fn exhausted(status: u16) -> Verdict {
    Verdict { cool_down: Some(MOST), ..Verdict::new(Blame::Key, Next::Other, status) }
}

fn cooled(verdict: Verdict, wait: Option<Duration>, most: Duration) -> Verdict {
    Verdict { cool_down: wait.map(|wait| wait.clamp(LEAST, most)), ..verdict }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn verdict(status: u16, body: &str) -> Verdict {
        let error = UpstreamError::parse(status, "application/json", body.as_bytes());
        judge(status, &HeaderMap::new(), &error, SystemTime::UNIX_EPOCH)
    }

    fn says(status: u16, code: &str) -> (Blame, Next) {
        let verdict = verdict(status, &format!(r#"{{"error":{{"message":"m","code":"{code}"}}}}"#));
        assert_eq!(verdict.code, status);
        (verdict.blame, verdict.next)
    }

    #[test]
    fn the_callers_errors_stop() {
        for status in [400, 404, 405, 413, 415, 422] {
            assert_eq!(says(status, ""), (Blame::Caller, Next::Stop), "{status}");
        }
        for status in [400, 403] {
            assert_eq!(says(status, "content_filter"), (Blame::Caller, Next::Stop), "{status}");
        }
        assert_eq!(says(508, ""), (Blame::Caller, Next::Stop));
    }

    #[test]
    fn too_long_a_prompt_goes_to_a_larger_model() {
        assert_eq!(says(400, "context_length_exceeded"), (Blame::Caller, Next::FallbackModel));
    }

    #[test]
    fn a_missing_model_is_looked_for_elsewhere() {
        assert_eq!(says(404, "model_not_found"), (Blame::Absent, Next::Other));
        assert_eq!(says(403, "model_not_found"), (Blame::Absent, Next::Other));
        let plain = verdict(404, r#"{"error":{"message":"The model `x` does not exist"}}"#);
        assert_eq!(plain.blame, Blame::Absent);
    }

    #[test]
    fn a_bad_key_is_the_credentials() {
        for status in [401, 402, 403] {
            assert_eq!(says(status, ""), (Blame::Key, Next::Other), "{status}");
        }
        assert_eq!(says(400, "API_KEY_INVALID"), (Blame::Key, Next::Other));
        assert_eq!(
            verdict(400, r#"{"error":{"message":"Your credit balance is too low"}}"#).blame,
            Blame::Key
        );
        let empty = verdict(429, r#"{"error":{"message":"m","code":"insufficient_quota"}}"#);
        assert_eq!((empty.blame, empty.cool_down), (Blame::Key, Some(MOST)));
    }

    #[test]
    fn the_upstreams_errors_go_on() {
        for status in [408, 500, 502, 503, 504, 529] {
            assert_eq!(says(status, ""), (Blame::Host, Next::Other), "{status}");
        }
        for status in [409, 429] {
            assert_eq!(says(status, ""), (Blame::Pair, Next::Other), "{status}");
        }
        assert_eq!(verdict(302, "").code, 502);
    }

    #[test]
    fn a_retry_after_is_a_cool_down_within_reason() {
        let cooled = |status, name: &'static str, value: &'static str| {
            let headers = HeaderMap::from_iter([(name.parse().unwrap(), HeaderValue::from_static(value))]);
            judge(status, &headers, &UpstreamError::default(), SystemTime::UNIX_EPOCH).cool_down
        };
        assert_eq!(cooled(429, "retry-after", "7"), Some(Duration::from_secs(7)));
        assert_eq!(cooled(429, "retry-after-ms", "20"), Some(LEAST));
        assert_eq!(cooled(429, "retry-after", "99999"), Some(MOST));
        assert_eq!(cooled(503, "retry-after", "99999"), Some(MOST_OVERLOADED));
        assert_eq!(cooled(429, "x", "y"), None);
        assert_eq!(cooled(500, "retry-after", "7"), None);
        let google = r#"[{"error":{"code":429,"message":"m","details":[{"retryDelay":"3s"}]}}]"#;
        assert_eq!(verdict(429, google).cool_down, Some(Duration::from_secs(3)));
    }

    /// What vendors really say, as recorded or as their references have it.
    #[test]
    fn each_vendors_errors_are_judged_for_what_they_mean() {
        let anthropic = |kind: &str, more: &str| {
            format!(
                r#"{{"type":"error","error":{{"type":"{kind}","message":"m"{more}}},"request_id":"req_1"}}"#
            )
        };
        let google = |code: u16, status: &str, message: &str| {
            format!(r#"{{"error":{{"code":{code},"message":"{message}","status":"{status}"}}}}"#)
        };
        let limit = r#","details":{"error_code":"contract_spend_limit_reached"}"#;
        let invalid = "invalid_request_error";
        let usage =
            anthropic(invalid, "").replace("\"m\"", "\"You have reached your specified API usage limits.\"");
        let misspelt = anthropic("not_found_error", "").replace("\"m\"", "\"model: claude-sonet-4-5\"");
        let robots = google(400, "INVALID_ARGUMENT", "Cannot fetch content from the provided URL.");
        let large = r#"{"error":{"message":"Request too large: tokens per minute","type":"tokens","code":"rate_limit_exceeded"}}"#;
        let xai =
            r#"{"code":"Client specified an invalid argument","error":"Incorrect API key provided: xa***."}"#;
        for (status, body, blame, next) in [
            (529, anthropic("overloaded_error", ""), Blame::Host, Next::Other),
            (429, anthropic("rate_limit_error", ""), Blame::Pair, Next::Other),
            (429, anthropic("rate_limit_error", limit), Blame::Key, Next::Other),
            (400, usage, Blame::Key, Next::Other),
            (402, anthropic("billing_error", ""), Blame::Key, Next::Other),
            (400, anthropic(invalid, ""), Blame::Caller, Next::Stop),
            (404, misspelt, Blame::Absent, Next::Other),
            (413, anthropic("request_too_large", ""), Blame::Caller, Next::Stop),
            (400, robots, Blame::Caller, Next::Stop),
            (
                400,
                google(400, "FAILED_PRECONDITION", "User location is not supported"),
                Blame::Key,
                Next::Other,
            ),
            (401, google(401, "UNAUTHENTICATED", "m"), Blame::Key, Next::Other),
            (403, google(403, "PERMISSION_DENIED", "m"), Blame::Key, Next::Other),
            (404, google(404, "NOT_FOUND", "Publisher Model `x` was not found"), Blame::Absent, Next::Other),
            (
                429,
                google(429, "RESOURCE_EXHAUSTED", "You exceeded your current quota"),
                Blame::Pair,
                Next::Other,
            ),
            (499, google(499, "CANCELLED", "m"), Blame::Host, Next::Other),
            (503, google(503, "UNAVAILABLE", "m"), Blame::Host, Next::Other),
            (
                402,
                r#"{"error":{"code":402,"message":"Insufficient credits"}}"#.into(),
                Blame::Key,
                Next::Other,
            ),
            (413, large.into(), Blame::Absent, Next::Other),
            (400, xai.into(), Blame::Key, Next::Other),
        ] {
            let verdict = verdict(status, &body);
            assert_eq!((verdict.blame, verdict.next), (blame, next), "{status} {body}");
        }
    }

    #[test]
    fn a_models_slip_goes_on_and_nobody_is_struck() {
        let error = UpstreamError::in_stream(
            br#"{"candidates":[{"finishReason":"MALFORMED_FUNCTION_CALL","finishMessage":"Malformed: f("}]}"#,
        );
        let verdict = judge_stream(&HeaderMap::new(), &error, SystemTime::UNIX_EPOCH);
        assert_eq!((verdict.blame, verdict.next, verdict.code), (Blame::Local, Next::Other, 502));
        assert_eq!(
            error.message,
            "The model ended without an answer: MALFORMED_FUNCTION_CALL. Malformed: f("
        );
    }

    #[test]
    fn a_retry_after_on_a_200_is_ignored() {
        let headers = HeaderMap::from_iter([(http::header::RETRY_AFTER, HeaderValue::from_static("25"))]);
        let error = UpstreamError::in_stream(
            br#"{"type":"error","error":{"type":"overloaded_error","message":"m"}}"#,
        );
        let verdict = judge_stream(&headers, &error, SystemTime::UNIX_EPOCH);
        assert_eq!((verdict.code, verdict.cool_down), (529, None));
    }
}
