//! A quota for a whole day that is used up: until when, and for whom.
//!
//! Until the moment that the upstream names: Retry-After, Cerebras' and SambaNova's `x-ratelimit-reset-requests-day` (in
//! seconds: <https://inference-docs.cerebras.ai/support/rate-limits>), OpenRouter's `X-RateLimit-Reset` (milliseconds of
//! the Unix epoch, in a header and in the error: <https://openrouter.ai/docs/api-reference/limits>). Google names none
//! that is true, and its days end at midnight in California; for all others it is midnight in Greenwich. For the model on
//! that key, since day quotas are counted by model, but where Google names one of the whole project.

use std::num::NonZeroU64;
use std::time::{Duration, SystemTime};

use http::HeaderMap;

use super::retry_after::retry_after;
use super::verdict::{Blame, Next, Verdict};
use crate::calendar::Zone;
use crate::llm::upstream_error::UpstreamError;

const LEAST: Duration = Duration::from_secs(1);
/// The longest day.
const MOST: Duration = Duration::from_secs(25 * 3600);
/// Where Google's days begin.
const PACIFIC: &str = "America/Los_Angeles";

/// What is left today, and for how long there is no more, by kind.
const DAILY: [(&str, &str); 2] = [
    ("x-ratelimit-remaining-requests-day", "x-ratelimit-reset-requests-day"),
    ("x-ratelimit-remaining-tokens-day", "x-ratelimit-reset-tokens-day"),
];

/// Whether a 429 says so.
pub fn is_over(headers: &HeaderMap, error: &UpstreamError) -> bool {
    error.day_quota() || spent(headers).next().is_some()
}

/// What such a 429 means. `now` is the wall clock.
pub fn verdict(headers: &HeaderMap, error: &UpstreamError, now: SystemTime) -> Verdict {
    let blame = if error.of_all_models() { Blame::Key } else { Blame::Pair };
    let named = if error.is_google() { None } else { named(headers, error, now) };
    let wait = named.unwrap_or_else(|| midnight(error.is_google(), now)).clamp(LEAST, MOST);
    Verdict { cool_down: Some(wait), out_for_the_day: true, ..Verdict::new(blame, Next::Other, 429) }
}

/// The wait that the upstream names.
fn named(headers: &HeaderMap, error: &UpstreamError, now: SystemTime) -> Option<Duration> {
    let at = |millis: u64| {
        SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(millis))?.duration_since(now).ok()
    };
    let header =
        || text(headers, "x-ratelimit-reset")?.parse().ok().filter(|millis| *millis > 1_000_000_000_000);
    let by_kind = || {
        spent(headers)
            .filter_map(|reset| Duration::try_from_secs_f64(text(headers, reset)?.parse().ok()?).ok())
            .max()
    };
    by_kind()
        .or_else(|| retry_after(headers, now))
        .or_else(|| error.resets_at.map(NonZeroU64::get).or_else(header).and_then(at))
}

/// The headers that tell of the end of those quotas of which nothing is left.
fn spent(headers: &HeaderMap) -> impl Iterator<Item = &'static str> + '_ {
    DAILY.into_iter().filter(|(left, _)| text(headers, left) == Some("0")).map(|(_, reset)| reset)
}

fn midnight(is_google: bool, now: SystemTime) -> Duration {
    let zone = Some(PACIFIC).filter(|_| is_google).and_then(Zone::named).unwrap_or_default();
    let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Duration::from_secs(zone.day(now.as_secs()).end).saturating_sub(now)
}

fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::super::judge;
    use super::*;

    /// 2026-11-21 18:00 UTC, ten in the morning in California.
    const NOW: u64 = 1_795_284_000;
    const HOUR: u64 = 3600;

    fn judged(body: &str, headers: &[(&'static str, &'static str)]) -> Verdict {
        let headers =
            headers.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value)));
        let error = UpstreamError::parse(429, "application/json", body.as_bytes());
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(NOW);
        judge(429, &HeaderMap::from_iter(headers), &error, now)
    }

    fn google(quota: &str) -> String {
        format!(
            r#"[{{"error":{{"code":429,"message":"You exceeded your current quota.","status":"RESOURCE_EXHAUSTED","details":[
            {{"@type":"type.googleapis.com/google.rpc.QuotaFailure","violations":[{{"quotaId":"{quota}","quotaValue":"20"}}]}},
            {{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"36s"}}]}}}}]"#
        )
    }

    fn out(body: &str, headers: &[(&'static str, &'static str)]) -> (Blame, Duration) {
        let verdict = judged(body, headers);
        assert!(verdict.out_for_the_day, "{body}");
        assert_eq!((verdict.next, verdict.code), (Next::Other, 429));
        (verdict.blame, verdict.cool_down.expect("a cool-down"))
    }

    #[test]
    fn googles_day_is_over_until_midnight_in_california_whatever_delay_it_names() {
        let hours = Duration::from_secs(14 * HOUR);
        let of_model = "GenerateRequestsPerDayPerProjectPerModel-FreeTier";
        assert_eq!(out(&google(of_model), &[]), (Blame::Pair, hours));
        assert_eq!(out(&google("GenerateRequestsPerDayPerProject"), &[]), (Blame::Key, hours));
    }

    #[test]
    fn the_moment_that_an_upstream_names_counts_before_midnight() {
        let openrouter = r#"{"error":{"message":"Rate limit exceeded: free-models-per-day. Add 10 credits to unlock 1000 free model requests per day","code":429,"metadata":{"headers":{"X-RateLimit-Limit":"50","X-RateLimit-Remaining":"0","X-RateLimit-Reset":"1795305600000"}}}}"#;
        assert_eq!(out(openrouter, &[]), (Blame::Pair, Duration::from_secs(6 * HOUR)));
        let short =
            r#"{"error":{"message":"Rate limit exceeded: free-models-per-day-high-balance.","code":429}}"#;
        assert_eq!(out(short, &[("x-ratelimit-reset", "1795291200000")]).1, Duration::from_secs(2 * HOUR));
        assert_eq!(out(short, &[]).1, Duration::from_secs(6 * HOUR), "midnight in Greenwich");
        let groq = r#"{"error":{"message":"Rate limit reached for model `m` in organization `o` service tier `on_demand` on tokens per day (TPD): Limit 100000, Used 97050, Requested 3619. Please try again in 9m38.016s.","type":"tokens","code":"rate_limit_exceeded"}}"#;
        assert_eq!(out(groq, &[("retry-after", "7200")]).1, Duration::from_secs(2 * HOUR));
        let github = r#"{"error":{"code":"RateLimitReached","message":"Rate limit of 50 per 86400s exceeded for UserByModelByDay. Please wait 52220 seconds before retrying."}}"#;
        assert_eq!(out(github, &[("retry-after", "52220")]).1, Duration::from_secs(52_220));
        let cerebras = r#"{"message":"Requests per day limit exceeded","type":"too_many_requests_error","code":"request_quota_exceeded"}"#;
        let headers =
            [("x-ratelimit-remaining-requests-day", "0"), ("x-ratelimit-reset-requests-day", "33011.5")];
        assert_eq!(out(cerebras, &headers).1, Duration::from_millis(33_011_500));
    }

    #[test]
    fn a_full_minute_is_no_full_day() {
        let minute = judged(&google("GenerateRequestsPerMinutePerProjectPerModel-FreeTier"), &[]);
        assert_eq!((minute.out_for_the_day, minute.cool_down), (false, Some(Duration::from_secs(36))));
        let free = r#"{"error":{"message":"Rate limit exceeded: free-models-per-min.","code":429,"metadata":{"headers":{"X-RateLimit-Reset":"1795284060000"}}}}"#;
        assert!(!judged(free, &[]).out_for_the_day);
        let left = judged("{}", &[("x-ratelimit-remaining-requests-day", "7"), ("retry-after", "7")]);
        assert_eq!((left.out_for_the_day, left.cool_down), (false, Some(Duration::from_secs(7))));
        let quoted = r#"{"error":{"message":"You asked about 'requests per day (RPD)'","code":429}}"#;
        assert!(!judged(quoted, &[]).out_for_the_day);
    }

    #[test]
    fn nothing_that_an_upstream_names_lasts_longer_than_a_day() {
        let never = r#"{"error":{"message":"Rate limit exceeded: free-models-per-day","code":429,"metadata":{"headers":{"X-RateLimit-Reset":"18446744073709551615"}}}}"#;
        assert_eq!(out(never, &[]).1, MOST);
        assert_eq!(out(never, &[("retry-after", "99999999")]).1, MOST);
    }
}
