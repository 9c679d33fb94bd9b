//! From the pool's snapshot and the clients' accounts to what the endpoints of `observe::seeds` show, and the acts beside
//! them. A client sees its own row; the master key sees all of them, and addresses.

use std::sync::{Arc, OnceLock};
use std::time::{Instant, SystemTime};

use serde_json::{json, Value};

use super::reply::Refusal;
use super::{view, Edge};
use crate::clients::Client;
use crate::llm::endpoint::Page;
use crate::llm::error::ApiError;
use crate::observe::seeds::{Caller, Callers, Desk, Service, Window};
use crate::observe::view::Used;
use crate::operator::Reloaded;
use crate::routing::{Availability, CredentialSnapshot, Per, Use};

/// Reads the configuration again, and says how many keys are good then; set once there is an operator.
pub type Reload = OnceLock<Box<dyn Fn() -> (Reloaded, usize) + Send + Sync>>;

/// What `page` shows to `asks`; none for other pages.
pub fn page(edge: &Edge, page: &Page, asks: &Arc<Client>) -> Option<Value> {
    let desk = || desk(edge, asks);
    Some(match page {
        Page::Root => desk().root(),
        Page::Usage => desk().usage(),
        Page::Backend => desk().backend(),
        Page::Stats => desk().stats(),
        Page::Services => desk().health(),
        Page::RateLimits => desk().rate_limits(),
        Page::Keys => desk().keys(),
        Page::KeyMetrics => desk().key_metrics(),
        _ => return None,
    })
}

/// Does what `page` says; none for other pages.
///
/// # Errors
/// It cannot be done, and nothing has changed.
pub async fn act(edge: &Edge, page: &Page) -> Option<Result<Value, Box<Refusal>>> {
    let done = |message: &str| Ok(json!({ "status": "success", "message": message }));
    Some(match page {
        Page::ResetStats => {
            edge.recorder.recent.reset();
            done("Statistics begin anew. Limits are as they were.")
        }
        Page::ResetKeys => {
            edge.gateway.roster.clients().iter().for_each(|client| client.account.forget());
            done("Counts of keys begin anew. Limits are as they were.")
        }
        Page::ReloadKeys => reload(edge).await,
        _ => return None,
    })
}

async fn reload(edge: &Edge) -> Result<Value, Box<Refusal>> {
    let refused = |status, why: String| Refusal::new(ApiError::invalid(status, why), "not_reloaded");
    let reload = edge.reload.clone();
    let reloaded = tokio::task::spawn_blocking(move || reload.get().map(|reload| reload())).await;
    match reloaded.ok().flatten() {
        Some((Reloaded::Applied(changes), valid)) => Ok(json!({
            "status": "success",
            "message": "The configuration was read again.",
            "valid_keys_count": valid,
            "changes": changes.into_iter().map(|change| change.text).collect::<Vec<_>>(),
        })),
        Some((Reloaded::Refused(report), _)) => Err(refused(422, report)),
        Some((Reloaded::Outgrown, _)) => {
            let why = "The configuration needs another process: run `auto-ai-router reload` on the host.";
            Err(refused(409, why.to_owned()))
        }
        None => Err(refused(409, "This router has no configuration to read again.".to_owned())),
    }
}

fn desk(edge: &Edge, asks: &Arc<Client>) -> Desk {
    let (now, wall) = (Instant::now(), SystemTime::now());
    let gateway = &edge.gateway;
    let snapshot = gateway.pool.snapshot(now);
    let services = snapshot.credentials.iter().enumerate();
    let roster = &gateway.roster;
    let seen = roster.clients().iter().filter(|client| asks.is_master || Arc::ptr_eq(client, asks));
    let header =
        gateway.settings.server.auth_header.as_ref().map_or("Authorization", |header| header.as_str());
    Desk {
        version: crate::VERSION,
        services: services.map(|(at, seen)| service(edge, at, seen, asks.is_master, now)).collect(),
        totals: edge.recorder.recent.totals(),
        callers: Callers {
            enabled: !roster.is_open(),
            valid: roster.valid(wall),
            header: header.to_owned(),
            rows: seen.map(|client| caller(client, now)).collect(),
        },
        now: Some(wall),
    }
}

fn service(edge: &Edge, at: usize, seen: &CredentialSnapshot, whole: bool, now: Instant) -> Service {
    let configured = &edge.gateway.settings.credentials[at];
    let limited = match edge.gateway.pool.state_of(at, None, now) {
        Availability::Limited { retry_after, .. } => Some(retry_after),
        _ => None,
    };
    let minute = Window {
        label: "minute".to_owned(),
        seconds: Some(60),
        requests: used(seen.rpm),
        tokens: used(seen.tpm),
    };
    let more = seen.quotas.iter().map(|quota| window(quota.per, used(quota.requests), used(quota.tokens)));
    Service {
        name: seen.name.to_string(),
        kind: configured.kind.as_str(),
        tier: seen.tier,
        base_url: whole.then(|| configured.base_url.as_str().to_owned()),
        has_api_key: configured.api_key.is_some() || configured.vertex.is_some(),
        state: view::whole_standing(seen).state,
        limited_for: limited,
        windows: std::iter::once(minute).chain(more).collect(),
    }
}

fn caller(client: &Client, now: Instant) -> Caller {
    let standing = client.account.standing(now);
    let counts = standing.counts;
    let of = |(current, limit): (u64, Option<u64>)| Used { current, limit };
    let windows =
        standing.uses.into_iter().map(|(per, [requests, tokens])| window(per, of(requests), of(tokens)));
    Caller {
        name: client.name.to_string(),
        hint: client.hint.clone(),
        in_flight: (standing.in_flight, standing.most),
        requests: counts.requests,
        successes: counts.successes,
        tokens: (counts.prompt_tokens, counts.completion_tokens),
        seen: (counts.first, counts.last),
        windows: windows.collect(),
        models: client.models().map(<[String]>::to_vec),
        expires: client.expires(),
    }
}

fn window(per: Per, requests: Used, tokens: Used) -> Window {
    let seconds = match per {
        Per::Seconds(seconds) => Some(seconds),
        Per::Moment | Per::Day => None,
    };
    Window { label: per.label(), seconds, requests, tokens }
}

fn used(of: Use) -> Used {
    Used { current: of.used, limit: of.limit }
}
