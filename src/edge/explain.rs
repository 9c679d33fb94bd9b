//! `/explain?model=…`: who would be tried for a model at this moment, who would not, and why, with the figures.
//!
//! The order is the one that the next request would find (`routing::explain`); nothing is charged by asking. `tokens` is
//! how many the request is taken to need, 0 if nothing is said. With `key`, the name of a client key, it is also said
//! whether that key is let in with this model, and what it has used of its limits.

use std::collections::HashMap;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use pingora::http::RequestHeader;
use serde::Serialize;
use url::form_urlencoded;

use super::reply::Refusal;
use super::{refusals, Edge};
use crate::clients::Client;
use crate::llm::error::ApiError;
use crate::routing::{Ask, Considered, CredentialSnapshot, QuotaUse, StandingSnapshot, Use};

/// The answer, as JSON.
///
/// # Errors
/// No model is named, or nobody serves it.
pub fn explain(edge: &Edge, request: &RequestHeader) -> Result<Bytes, Box<Refusal>> {
    let members: HashMap<_, _> =
        form_urlencoded::parse(request.uri.query().unwrap_or_default().as_bytes()).collect();
    let Some(model) = members.get("model").filter(|model| !model.is_empty()) else {
        let error = ApiError::invalid(400, "Name a model: '/explain?model=NAME'.");
        return Err(Refusal::new(error, "no_model"));
    };
    let tokens = members.get("tokens").and_then(|tokens| tokens.parse().ok()).unwrap_or(0);
    let (now, pool) = (Instant::now(), &edge.gateway.pool);
    let key = members.get("key").map(|name| {
        let mut clients = edge.gateway.roster.clients().iter();
        let client = clients.find(|client| *client.name == **name).ok_or_else(|| {
            let error = ApiError::invalid(404, format!("No client key is called '{name}'."));
            Refusal::new(error, "no_such_key")
        });
        client.map(|client| Key::new(client, model, now))
    });
    let ask = Ask { model: Some(model), tokens, ..Ask::default() };
    let considered = pool.explain(ask, now).map_err(|unknown| refusals::unknown_model(&unknown))?;
    let snapshot = pool.snapshot(now);
    let known: HashMap<&str, &CredentialSnapshot> =
        snapshot.credentials.iter().map(|credential| (&*credential.name, credential)).collect();
    let entry =
        |considered: &'_ Considered| Some(Entry::new(considered, known.get(&*considered.credential)?));
    let explained = Explained {
        model,
        tokens,
        key: key.transpose()?,
        max_attempts: edge.gateway.settings.routing.max_attempts,
        candidates: considered.iter().filter_map(entry).collect(),
    };
    Ok(serde_json::to_vec(&explained).unwrap_or_default().into())
}

#[derive(Serialize)]
struct Explained<'a> {
    model: &'a str,
    tokens: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<Key>,
    max_attempts: u32,
    /// Those that would be tried first, in their order.
    candidates: Vec<Entry>,
}

/// A client key.
#[derive(Serialize)]
struct Key {
    name: String,
    /// Whether it is let in with this model, limits aside.
    eligible: bool,
    reason: Option<&'static str>,
    in_flight: u32,
    max_concurrent: Option<u32>,
    limits: Vec<Limit>,
}

#[derive(Serialize)]
struct Limit {
    per: String,
    requests: Amount,
    tokens: Amount,
    /// Seconds until nothing counts any more of what counts now.
    #[serde(skip_serializing_if = "Option::is_none")]
    resets_in: Option<u64>,
}

impl Key {
    fn new(client: &Client, model: &str, now: Instant) -> Self {
        let reason = match client {
            _ if client.is_expired(SystemTime::now()) => Some("its time is over"),
            _ if !client.may_use(model) => Some("it may not use this model"),
            _ => None,
        };
        let standing = client.account.standing(now);
        let amount = |(used, limit)| Amount { used, limit };
        let limits = standing.uses.into_iter().map(|(per, [requests, tokens])| Limit {
            per: per.label(),
            requests: amount(requests),
            tokens: amount(tokens),
            resets_in: None,
        });
        Self {
            name: client.name.to_string(),
            eligible: reason.is_none(),
            reason,
            in_flight: standing.in_flight,
            max_concurrent: standing.most,
            limits: limits.collect(),
        }
    }
}

#[derive(Serialize)]
struct Entry {
    credential: String,
    eligible: bool,
    /// Which attempt it would be, from 1.
    turn: Option<u32>,
    /// Why it would not be tried, or why others come before it.
    reason: Option<String>,
    /// The name here: a fallback's where that one's turn has come.
    model: String,
    upstream_model: String,
    tier: u16,
    weight: u32,
    in_flight: u32,
    max_concurrent: Option<u32>,
    #[serde(flatten)]
    own: Figures,
    /// Of the model on it; none where it has not served it and has no limit for it.
    on_model: Option<Figures>,
}

#[derive(Serialize)]
struct Figures {
    state: &'static str,
    state_reason: Option<String>,
    /// Seconds.
    next_recovery: Option<u64>,
    strikes: u32,
    rpm: Amount,
    tpm: Amount,
    /// Over other times than a minute.
    limits: Vec<Limit>,
}

#[derive(Serialize)]
struct Amount {
    used: u64,
    limit: Option<u64>,
}

impl Entry {
    fn new(considered: &Considered, known: &CredentialSnapshot) -> Self {
        let on_model = known.models.iter().find(|model| model.name == considered.model);
        Self {
            credential: considered.credential.to_string(),
            eligible: considered.turn.is_ok(),
            turn: considered.turn.as_ref().ok().copied(),
            reason: considered.turn.as_ref().err().or(considered.remark.as_ref()).cloned(),
            model: considered.model.to_string(),
            upstream_model: considered.upstream_model.to_string(),
            tier: considered.tier,
            weight: known.weight,
            in_flight: known.in_flight,
            max_concurrent: known.max_concurrent,
            own: Figures::new(&known.standing, [known.rpm, known.tpm], &known.quotas),
            on_model: on_model.map(|on| Figures::new(&on.standing, [on.rpm, on.tpm], &on.quotas)),
        }
    }
}

impl Figures {
    fn new(standing: &StandingSnapshot, [rpm, tpm]: [Use; 2], quotas: &[QuotaUse]) -> Self {
        let amount = |of: Use| Amount { used: of.used, limit: of.limit };
        let seconds = |left: Duration| left.as_millis().div_ceil(1000) as u64;
        let limit = |quota: &QuotaUse| Limit {
            per: quota.per.label(),
            requests: amount(quota.requests),
            tokens: amount(quota.tokens),
            resets_in: quota.resets.map(seconds),
        };
        Self {
            state: standing.condition.as_str(),
            state_reason: standing.reason.clone(),
            next_recovery: standing.next_recovery.map(seconds),
            strikes: standing.strikes,
            rpm: amount(rpm),
            tpm: amount(tpm),
            limits: quotas.iter().map(limit).collect(),
        }
    }
}
