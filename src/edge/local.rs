//! The endpoints that the router answers itself: models, health, readiness, metrics, and the root. Those for people are in
//! `dashboard`.
//!
//! `/v1/models` lists what is configured and what `background::discovery` has learned; nothing is fetched inside a
//! request. Who has no key sees a bare status and no names, from loopback too, unless the operator says otherwise.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use pingora::http::ResponseHeader;
use pingora::protocols::http::ServerSession;
use serde::Serialize;

use super::context::RequestContext;
use super::lifecycle::End;
use super::phrase::Spoken;
use super::{admission, dashboard, explain, refusals, reply, Edge};
use crate::llm::endpoint::Page;
use crate::llm::ANTHROPIC_VERSION;
use crate::observe::outcome::Ended;
use crate::observe::{health, metrics};
use crate::routing::Listed;

const JSON: &str = "application/json";

/// Answers one of our own pages.
pub async fn answer(
    edge: &Arc<Edge>,
    which: Page,
    client: &mut ServerSession,
    ctx: &mut RequestContext,
) -> Result<(), End> {
    let headers = &client.req_header().headers;
    let has_key = || admission::knows_key(headers, &edge.gateway.settings.server.master_key);
    let monitoring = &edge.gateway.settings.monitoring;
    let tells_names = matches!(which, Page::Health | Page::Trace | Page::Explain);
    let sees_all = tells_names && dashboard::sees_all(edge, headers).await;
    let (status, kind, body): (u16, &str, Bytes) = match which {
        Page::Root => (200, JSON, Bytes::from_static(b"{\"object\":\"router\",\"api\":\"/v1\"}")),
        Page::Live => (200, JSON, Bytes::from_static(b"{\"status\":\"alive\"}")),
        Page::Ready if edge.drain.is_draining() => {
            (503, JSON, Bytes::from_static(b"{\"status\":\"draining\"}"))
        }
        Page::Ready => (200, JSON, Bytes::from_static(b"{\"status\":\"ready\"}")),
        Page::Health => {
            let view = edge.view();
            let body = if sees_all { health::details(&view) } else { health::bare(&view) };
            (health::status(&view), JSON, body.into())
        }
        Page::Trace if sees_all => (200, JSON, health::trace(&edge.view()).into()),
        Page::Explain if sees_all => {
            (200, JSON, explain::explain(edge, client.req_header().uri.query())?.into())
        }
        Page::Metrics if !monitoring.prometheus_enabled => {
            return Err(refusals::no_such_path(client.req_header().uri.path()).into());
        }
        Page::Metrics if monitoring.public != Some(false) || has_key() => {
            let (kind, body) = metrics::encode();
            (200, kind, body.into())
        }
        Page::Models if has_key() && headers.contains_key(ANTHROPIC_VERSION) => {
            (200, JSON, anthropic_list(&edge.gateway.pool.models()))
        }
        Page::Models if has_key() && headers.contains_key(GOOGLE_KEY) => {
            (200, JSON, gemini_list(&edge.gateway.pool.models()))
        }
        Page::Models if has_key() => (200, JSON, list(&edge.gateway.pool.models())),
        Page::GeminiModels if has_key() => (200, JSON, gemini_list(&edge.gateway.pool.models())),
        Page::Model(ref id) | Page::GeminiModel(ref id) if has_key() => {
            let models = edge.gateway.pool.models();
            let Some(model) = models.iter().find(|model| model.name == *id) else {
                return Err(refusals::unknown_model(&edge.gateway.pool.unknown(id)).into());
            };
            let google = matches!(which, Page::GeminiModel(_)) || headers.contains_key(GOOGLE_KEY);
            (200, JSON, if google { to_json(&gemini_entry(model)) } else { to_json(&entry(model)) })
        }
        _ => return Err(admission::unauthorized(headers).into()),
    };
    let mut head = ResponseHeader::build_no_case(status, Some(6)).map_err(|_| End::Cut)?;
    let built =
        head.insert_header(CONTENT_TYPE, kind).and_then(|()| head.insert_header(CACHE_CONTROL, "no-store"));
    built.map_err(|_| End::Cut)?;
    reply::send(client, ctx, head, body).await.map_err(|_| End::ClientGone)?;
    ctx.ended(Ended::Complete);
    Ok(())
}

/// The answer to a request that only asks how long its prompt is, and that no upstream has counted.
pub async fn counted(
    spoken: &Spoken<'_>,
    client: &mut ServerSession,
    ctx: &mut RequestContext,
) -> Result<(), End> {
    let body = spoken.count().map_err(refusals::unfit)?;
    let mut head = ResponseHeader::build_no_case(200, Some(4)).map_err(|_| End::Cut)?;
    head.insert_header(CONTENT_TYPE, JSON).map_err(|_| End::Cut)?;
    reply::send(client, ctx, head, body).await.map_err(|_| End::ClientGone)?;
    ctx.ended(Ended::Complete);
    Ok(())
}

/// A date for models whose own is unknown: clients want a number, and one that does not change.
const CREATED: u64 = 1_700_000_000;
const CREATED_AT: &str = "2023-11-14T22:13:20Z";

/// And Google's clients bring their key so.
const GOOGLE_KEY: &str = "x-goog-api-key";

/// OpenAI's list. Codex takes an answer without `models` for a broken one, and an empty one for nothing to add.
#[derive(Serialize)]
struct List<'m> {
    object: &'static str,
    data: Vec<Entry<'m>>,
    models: [(); 0],
}

/// Anthropic's.
#[derive(Serialize)]
struct AnthropicList<'m> {
    data: Vec<AnthropicEntry<'m>>,
    first_id: Option<&'m str>,
    has_more: bool,
    last_id: Option<&'m str>,
}

#[derive(Serialize)]
struct AnthropicEntry<'m> {
    r#type: &'static str,
    id: &'m str,
    display_name: &'m str,
    created_at: &'static str,
}

/// Google's.
#[derive(Serialize)]
struct GeminiList<'m> {
    models: Vec<GeminiEntry<'m>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct GeminiEntry<'m> {
    name: String,
    display_name: &'m str,
    supported_generation_methods: [&'static str; 2],
}

#[derive(Serialize)]
struct Entry<'m> {
    id: &'m str,
    object: &'static str,
    created: u64,
    owned_by: &'static str,
}

fn entry(model: &Listed) -> Entry<'_> {
    Entry { id: &model.name, object: "model", created: CREATED, owned_by: "system" }
}

fn list(models: &[Listed]) -> Bytes {
    to_json(&List { object: "list", data: models.iter().map(entry).collect(), models: [] })
}

fn anthropic_list(models: &[Listed]) -> Bytes {
    let names = models.iter().map(|model| &*model.name);
    let entry =
        |name| AnthropicEntry { r#type: "model", id: name, display_name: name, created_at: CREATED_AT };
    to_json(&AnthropicList {
        data: names.map(entry).collect(),
        first_id: models.first().map(|model| &*model.name),
        has_more: false,
        last_id: models.last().map(|model| &*model.name),
    })
}

fn gemini_list(models: &[Listed]) -> Bytes {
    to_json(&GeminiList { models: models.iter().map(gemini_entry).collect() })
}

fn gemini_entry(model: &Listed) -> GeminiEntry<'_> {
    GeminiEntry {
        name: format!("models/{}", model.name),
        display_name: &model.name,
        supported_generation_methods: ["generateContent", "streamGenerateContent"],
    }
}

fn to_json(value: &impl Serialize) -> Bytes {
    serde_json::to_vec(value).unwrap_or_default().into()
}
