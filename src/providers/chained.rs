//! Another instance of ourselves: the OpenAI dialect, plus headers that routers say things by which are not for others.
//!
//! A request names the routers that it has passed. One that comes back would go round for ever, and so would cost every
//! limit on its way; it ends at once, and nobody tries it again. An answer says who served it, and whether an error is
//! the router's own or that of somebody behind it, and whether the router is about to leave. All that is said only to who brings hops and a valid key, and believed
//! only of an upstream that the file calls a router.

use std::time::{Duration, SystemTime};

use http::HeaderMap;

use super::judge::judge as judge_upstream;
use super::openai::upstream_path;
use super::provider::Provider;
use super::route::{query_without, segment, with_query, Ask, Route, Site, Task};
use super::verdict::{Blame, Next, Verdict};
use crate::llm::upstream_error::UpstreamError;

/// Names the routers that a request has passed, in order, separated by commas. Sent to every upstream, because only
/// the operator knows which of them is a router.
pub const HOPS: &str = "x-auto-ai-router-hops";
/// Deeper chains than this are taken for loops.
pub const MOST_HOPS: usize = 10;
/// Names the credential that has served a request, and those of the routers behind it: `edge/main`.
pub const SERVED_BY: &str = "x-auto-ai-router-credential";
/// Longer paths than this are none.
pub const MOST_PATH: usize = 2048;
/// Says to another router whose error an answer is: `OWN`, or that of an upstream.
pub const ERROR: &str = "x-auto-ai-router-error";
/// The router itself refuses the request: it is at a limit, has nobody left to ask, or does not know the key.
pub const OWN: &str = "own";
/// Somebody behind it has failed.
pub const UPSTREAM: &str = "upstream";
/// Says to another router that this one is about to leave: sooner than it would be asked for its health.
pub const LEAVING: &str = "x-auto-ai-router-leaving";
/// A router that says no without saying for how long is left alone for this time.
const PAUSE: Duration = Duration::from_secs(2);

/// Whether a request with these hops has been at the router called `own` before.
pub fn is_loop(hops: &str, own: &str) -> bool {
    hops.split(',').any(|hop| hop.trim() == own) || hops.split(',').count() >= MOST_HOPS
}

/// The hops to send on.
pub fn passed(hops: Option<&str>, own: &str) -> String {
    match hops {
        Some(hops) => format!("{hops},{own}"),
        None => own.to_owned(),
    }
}

/// Judges an error answer of another router. A router that is full or has nobody to ask is well, and is left alone for
/// as long as it says. An error of somebody behind it is no fault of the router, of its key or of its host: at most of
/// the way that this model takes there. A router that does not say whose error it is is judged like any upstream.
pub fn judge(status: u16, headers: &HeaderMap, error: &UpstreamError, now: SystemTime) -> Verdict {
    let verdict = judge_upstream(status, headers, error, now);
    match (headers.get(ERROR).map(|value| value.as_bytes()), verdict.blame) {
        (Some(own), _) if own == OWN.as_bytes() && matches!(status, 429 | 503) => {
            let cool_down = verdict.cool_down.or(Some(PAUSE));
            Verdict { cool_down, ..Verdict::new(Blame::Busy, Next::Other, status) }
        }
        (Some(other), Blame::Key | Blame::Host) if other == UPSTREAM.as_bytes() => {
            Verdict { blame: Blame::Pair, ..verdict }
        }
        _ => verdict,
    }
}

/// The route of a request: another router speaks every dialect.
pub(super) fn route(provider: &Provider, site: &Site, ask: &Ask) -> Option<Route> {
    let (Some(model), Some(method)) = (ask.model, ask.method()) else {
        return Some(ask.as_it_came(&site.base, provider.habits));
    };
    // The model is a part of this path, and may be called otherwise there.
    let path = format!("/v1beta/models/{}:{method}", segment(model)?);
    let path = with_query(upstream_path(&site.base, &path, None), query_without(ask.query, &["key"]));
    let task = if ask.generates() { Task::Generate } else { Task::AsItCame };
    Some(ask.native(path, task, provider.habits))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_visit_is_a_loop() {
        let first = passed(None, "a");
        let second = passed(Some(&first), "b");
        assert_eq!(second, "a,b");
        assert!(!is_loop(&second, "c"));
        assert!(is_loop(&second, "a") && is_loop("x, b ,y", "b"));
        assert!(!is_loop("ab", "a"));
        assert!(is_loop("1,2,3,4,5,6,7,8,9,10", "11") && !is_loop("1,2,3,4,5,6,7,8,9", "10"));
    }

    fn judged(status: u16, origin: Option<&'static str>, retry: Option<&'static str>) -> Verdict {
        let named = |name: &'static str, value: Option<&'static str>| {
            Some((name.parse().unwrap(), http::HeaderValue::from_static(value?)))
        };
        let headers = [named(ERROR, origin), named("retry-after", retry)].into_iter().flatten().collect();
        judge(status, &headers, &UpstreamError::default(), SystemTime::UNIX_EPOCH)
    }

    #[test]
    fn a_router_that_is_full_or_has_nobody_left_is_left_alone_and_not_blamed() {
        for status in [429, 503] {
            let told = judged(status, Some(OWN), Some("7"));
            assert_eq!((told.blame, told.cool_down), (Blame::Busy, Some(Duration::from_secs(7))));
            assert_eq!(judged(status, Some(OWN), None).cool_down, Some(PAUSE));
        }
    }

    #[test]
    fn an_error_from_behind_a_router_is_blamed_on_the_pair_at_most() {
        for status in [401, 403, 500, 502, 503, 504, 529, 429] {
            assert_eq!(judged(status, Some(UPSTREAM), None).blame, Blame::Pair, "{status}");
        }
        assert_eq!(judged(400, Some(UPSTREAM), None).blame, Blame::Caller);
    }

    #[test]
    fn a_router_that_refuses_our_key_or_is_broken_is_to_blame() {
        assert_eq!(judged(401, Some(OWN), None).blame, Blame::Key);
        assert_eq!(judged(500, Some(OWN), None).blame, Blame::Host);
    }

    #[test]
    fn a_router_that_does_not_say_is_judged_like_any_upstream() {
        assert_eq!(
            (judged(503, None, None).blame, judged(429, Some("?"), None).blame),
            (Blame::Host, Blame::Pair)
        );
    }
}
