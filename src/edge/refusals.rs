//! From what went wrong to what the client is told: one place, so that every error has one shape and no secret in it.
//!
//! What an upstream says about the caller's request goes back as it came; what it says about our key never does (a
//! client would throw its good key away on a 401). When all attempts have failed, the last upstream error is the
//! answer, with what was learned about when to come back.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{HeaderName, ALLOW};
use http::HeaderValue;
use pingora::http::RequestHeader;

use super::failure::Failure;
use super::reply::{Refusal, UPSTREAM_REQUEST_ID};
use super::Edge;
use crate::clients::Full;
use crate::dialect::conversation::Untranslatable;
use crate::gateway::Unpinnable;
use crate::llm::endpoint::Endpoint;
use crate::llm::error::ApiError;
use crate::llm::request::BadBody;
use crate::observe::metrics;
use crate::providers::{Blame, Next, Transport};
use crate::routing::{Bound, Plan, Stopped, UnknownModel, Which};

/// A body that cannot be read: 400 with the place.
pub fn bad_body(bad: BadBody) -> Box<Refusal> {
    let mut refusal = Refusal::new(ApiError::bad_request(&bad.message, bad.param), "bad_request");
    refusal.should_retry = Some(false);
    refusal
}

/// A request that no candidate has words for: 400 with the member.
pub fn unfit(why: Untranslatable) -> Box<Refusal> {
    let param = Some(why.param.as_str()).filter(|param| !param.is_empty());
    let mut refusal = Refusal::new(ApiError::bad_request(&why.why, param), "unfit");
    refusal.should_retry = Some(false);
    refusal
}

/// What is set aside for bodies and whole answers is in use: 503.
pub fn out_of_buffers() -> Box<Refusal> {
    Refusal::new(ApiError::out_of_buffers(), "buffers").retry_after(Duration::from_secs(1))
}

/// A model that nobody serves: 404 with the nearest names.
pub fn unknown_model(unknown: &UnknownModel) -> Box<Refusal> {
    let mut refusal =
        Refusal::new(ApiError::unknown_model(&unknown.model, &unknown.nearest), "unknown_model");
    refusal.should_retry = Some(false);
    refusal
}

/// A model that the client's key is not for, or none where it must name one: 403.
pub fn closed_model(model: Option<&str>) -> Box<Refusal> {
    let mut refusal = Refusal::new(ApiError::closed_model(model), "closed_model");
    refusal.should_retry = Some(false);
    refusal
}

/// A vendor that nobody is called: 400 with those that are known.
pub fn unknown_vendor(vendor: &str, known: &[&str]) -> Box<Refusal> {
    let vendor: String = vendor.chars().take(128).collect();
    let message = format!("The vendor '{vendor}' is not known here. There are: {}.", known.join(", "));
    let mut refusal = Refusal::new(ApiError::bad_request(&message, Some("vendor")), "unknown_vendor");
    refusal.should_retry = Some(false);
    refusal
}

/// The client's key is at a limit of its own: 429 with the time when the request fits.
pub fn client_limited(full: Full) -> Box<Refusal> {
    let error = ApiError::client_limited(full.which.as_str(), full.bound);
    let mut refusal = Refusal::new(error, "client_limit").retry_after(full.wait);
    refusal.headers = rate_limit_headers(full.which, Some(full.bound), full.wait);
    refusal
}

/// Another key than the master key: 403.
pub fn master_only() -> Box<Refusal> {
    Refusal::new(ApiError::master_only(), "master_only")
}

/// A path that is not ours: 404, or 405 where only the method is wrong, naming the right one.
pub fn wrong_path(endpoint: &Endpoint, request: &RequestHeader) -> Box<Refusal> {
    let path = request.uri.path();
    match endpoint.allow() {
        Some(allow) => {
            let error = ApiError::wrong_method(request.method.as_str(), path, allow);
            let mut refusal = Refusal::new(error, "wrong_method");
            refusal.headers.push((ALLOW, HeaderValue::from_static(allow)));
            refusal
        }
        None => no_such_path(path),
    }
}

/// A path that is not ours, or is switched off.
pub fn no_such_path(path: &str) -> Box<Refusal> {
    Refusal::new(ApiError::wrong_path(path, Endpoint::nearest(path).as_deref()), "wrong_path")
}

/// A request that has come back to a router which it had passed.
pub fn looped(path: &str) -> Box<Refusal> {
    let mut refusal = Refusal::new(ApiError::looped(&path.replace(',', " -> ")), "loop");
    refusal.should_retry = Some(false);
    refusal
}

/// Ids that lead to no credential, or to two.
pub fn unpinnable(why: Unpinnable) -> Box<Refusal> {
    let error = match why {
        Unpinnable::Gone(owner) => ApiError::pinned_unavailable(&owner, "not configured any more"),
        Unpinnable::Torn(one, other) => ApiError::pinned_unavailable(
            &one,
            &format!("not the owner of the other ids: those belong to '{other}'"),
        ),
    };
    Refusal::new(error, "pinned")
}

/// A defect of ours.
pub fn panicked() -> Box<Refusal> {
    Refusal::new(ApiError::internal(), "panicked")
}

/// The time for all attempts is over.
pub fn out_of_time(edge: &Edge, last: Option<Failure>) -> Box<Refusal> {
    match last {
        Some(failure) => from_failure(edge, failure),
        None => Refusal::new(ApiError::out_of_time(), "deadline"),
    }
}

/// The shared state cannot be asked, and the policy is to refuse what is limited.
pub fn unshared(edge: &Edge, last: Option<Failure>) -> Box<Refusal> {
    match last {
        Some(failure) => from_failure(edge, failure),
        None => Refusal::new(ApiError::unshared(), "state_out").retry_after(Duration::from_secs(1)),
    }
}

/// Nothing is left to try: the last upstream error if there was an attempt, else why nobody could be asked.
pub fn stopped(
    edge: &Edge,
    plan: &Plan,
    stopped: Stopped,
    last: Option<Failure>,
    unfit: Option<Untranslatable>,
) -> Box<Refusal> {
    if stopped == Stopped::Spent {
        metrics::rejected("retry_budget");
    }
    if let Some(failure) = last {
        return from_failure(edge, failure);
    }
    if let (Stopped::Unfit, Some(why)) = (stopped, unfit) {
        return self::unfit(why);
    }
    if let Some(credential) = plan.pinned() {
        let name = &edge.gateway.upstream(credential).name;
        let state = edge.gateway.pool.state_of(credential, plan.model(), Instant::now());
        let error = ApiError::pinned_unavailable(name, &state.to_string());
        return Refusal::new(error, "pinned");
    }
    match stopped {
        Stopped::Limited { retry_after, which, limit } => {
            let per = limit.map(|limit| limit.per.label()).unwrap_or_default();
            let mut refusal =
                Refusal::new(ApiError::limited(which.as_str(), &per), "limit").retry_after(retry_after);
            refusal.headers = rate_limit_headers(which, limit, retry_after);
            refusal
        }
        Stopped::Unavailable { retry_after } => {
            let error = ApiError::unavailable();
            match retry_after {
                Some(wait) => Refusal::new(error, "banned").retry_after(wait),
                None => {
                    let mut refusal = Refusal::new(error, "banned");
                    refusal.should_retry = Some(false);
                    refusal
                }
            }
        }
        Stopped::Lacking(abilities) => {
            let model = plan.model().unwrap_or_default();
            let message = format!("The model '{model}' cannot do what this request needs: {abilities}.");
            let mut refusal = Refusal::new(ApiError::bad_request(&message, Some("model")), "lacking");
            refusal.should_retry = Some(false);
            refusal
        }
        Stopped::Elsewhere => {
            let mut refusal =
                Refusal::new(ApiError::elsewhere(plan.model().unwrap_or_default()), "unknown_model");
            refusal.should_retry = Some(false);
            refusal
        }
        Stopped::Unfit | Stopped::Exhausted | Stopped::Spent => {
            Refusal::new(ApiError::unavailable(), "exhausted")
        }
    }
}

/// The answer for a failed attempt that was the last.
pub fn from_failure(edge: &Edge, failure: Failure) -> Box<Refusal> {
    if failure.reason == Transport::NoRoom.as_str() {
        return out_of_buffers();
    }
    let secretless = |text: &str| edge.gateway.scrubber.scrub(text).into_owned();
    let message = secretless(&failure.error.message);
    let mut refusal = match failure.verdict.blame {
        Blame::Key => {
            Refusal::new(ApiError::upstream_key(&message, failure.error.quota_exhausted()), "upstream")
        }
        _ => match failure.status {
            Some(status) if status >= 400 => {
                let mut refusal =
                    Refusal::new(ApiError::upstream(status, &failure.error, message), "upstream");
                refusal.body = failure.error.shape.map(|shape| (shape, scrubbed(edge, &failure.body)));
                refusal
            }
            _ => Refusal::new(ApiError::upstream(failure.verdict.code, &failure.error, message), "upstream"),
        },
    };
    if let Some(wait) =
        failure.verdict.cool_down.filter(|_| refusal.error.status == 429 || refusal.error.status == 503)
    {
        refusal = refusal.retry_after(wait);
    }
    refusal.should_retry = should_retry(&failure, &refusal);
    refusal.own = failure.verdict.blame == Blame::Busy;
    let id = edge.upstream_id(&failure.headers);
    refusal.headers.extend(id.map(|id| (UPSTREAM_REQUEST_ID, id.clone())));
    refusal
}

/// Whether asking again may help, now that our own candidates are used up.
fn should_retry(failure: &Failure, refusal: &Refusal) -> Option<bool> {
    match (failure.verdict.next, refusal.error.status) {
        (Next::Stop | Next::FallbackModel, _) => None,
        (_, 429) => Some(refusal.retry_after.is_none_or(|wait| wait <= Duration::from_secs(60))),
        (_, 503 | 529) if failure.status.is_some() => Some(true),
        _ => Some(false),
    }
}

fn scrubbed(edge: &Edge, body: &Bytes) -> Bytes {
    match std::str::from_utf8(body) {
        Ok(text) => match edge.gateway.scrubber.scrub(text) {
            std::borrow::Cow::Borrowed(_) => body.clone(),
            std::borrow::Cow::Owned(clean) => clean.into(),
        },
        Err(_) => Bytes::new(),
    }
}

/// Our own limit, in OpenAI's spelling.
fn rate_limit_headers(which: Which, limit: Option<Bound>, wait: Duration) -> Vec<(HeaderName, HeaderValue)> {
    let family = match which {
        Which::Tokens => {
            ["x-ratelimit-limit-tokens", "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"]
        }
        Which::Concurrency | Which::Upstream => return Vec::new(),
        Which::Requests => {
            ["x-ratelimit-limit-requests", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"]
        }
    };
    let reset = format!("{}ms", wait.as_millis().max(1));
    let Some(limit) = limit else { return Vec::new() };
    let values = [limit.amount.to_string(), "0".to_owned(), reset];
    let named = family.into_iter().map(HeaderName::from_static).zip(values);
    named.filter_map(|(name, value)| Some((name, HeaderValue::from_str(&value).ok()?))).collect()
}
