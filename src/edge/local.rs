//! The endpoints that the router answers itself: models, health, readiness, metrics, and the root. Those for people are in
//! `dashboard`.
//!
//! `/v1/models` lists what is configured and what `background::discovery` has learned; nothing is fetched inside a
//! request. Who has no key sees a bare status and no names, from loopback too, unless the operator says otherwise.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG};
use pingora::http::ResponseHeader;
use pingora::protocols::http::ServerSession;
use serde::Serialize;
use serde_json::Value;

use super::context::RequestContext;
use super::lifecycle::End;
use super::phrase::Spoken;
use super::reply::Refusal;
use super::{admission, cors, dashboard, desk, explain, refusals, reply, wish, Edge};
use crate::clients::Client;
use crate::llm::endpoint::Page;
use crate::llm::ANTHROPIC_VERSION;
use crate::observe::outcome::Ended;
use crate::observe::{health, metrics};
use crate::routing::Listed;

pub(super) const JSON: &str = "application/json";
pub(super) const HTML: &str = "text/html; charset=utf-8";
/// The description needs nothing but its own style.
const PAGE_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'";

/// Answers one of our own pages.
pub async fn answer(
    edge: &Arc<Edge>,
    which: Page,
    client: &mut ServerSession,
    ctx: &mut RequestContext,
) -> Result<(), End> {
    let headers = &client.req_header().headers;
    let asks = ctx.client.clone();
    let monitoring = &edge.gateway.settings.monitoring;
    let tells_names = matches!(which, Page::Health | Page::Trace | Page::Explain);
    let sees_all = tells_names && dashboard::sees_all(edge, headers, ctx).await;
    let (status, kind, body): (u16, &str, Bytes) = match (&which, &asks) {
        (Page::Root, None) => (200, JSON, Bytes::from_static(b"{\"object\":\"router\",\"api\":\"/v1\"}")),
        (Page::Preflight, _) => return permit(client, ctx).await,
        (Page::Live, _) => (200, JSON, Bytes::from_static(b"{\"status\":\"alive\"}")),
        (Page::Ready, _) if edge.drain.is_draining() => {
            (503, JSON, Bytes::from_static(b"{\"status\":\"draining\"}"))
        }
        (Page::Ready, _) => (200, JSON, Bytes::from_static(b"{\"status\":\"ready\"}")),
        (Page::Health, _) => {
            let view = edge.view();
            let body = if sees_all { health::details(&view) } else { health::bare(&view) };
            (health::status(&view), JSON, body.into())
        }
        (Page::Trace, _) if sees_all => (200, JSON, health::trace(&edge.busy_view()).into()),
        (Page::Explain, _) if sees_all => (200, JSON, explain::explain(edge, client.req_header())?),
        (Page::Metrics, _) if !monitoring.prometheus_enabled => {
            return Err(refusals::no_such_path(client.req_header().uri.path()).into());
        }
        (Page::Metrics, asks) if monitoring.public != Some(false) || asks.is_some() => {
            let (kind, body) = metrics::encode();
            (200, kind, body.into())
        }
        (Page::ResetStats | Page::ResetKeys | Page::ReloadKeys, _) => {
            let told = acted(edge, &which, asks.as_deref()).await?;
            (200, JSON, to_json(&told))
        }
        (page @ (Page::Docs | Page::OpenApi), Some(_)) => return describe(edge, page, client, ctx).await,
        (Page::Models | Page::GeminiModels, Some(asks)) => (200, JSON, models(edge, &which, client, asks)?),
        (Page::Model(id) | Page::GeminiModel(id), Some(asks)) => {
            (200, JSON, model(edge, &which, id, client, asks)?)
        }
        (page, Some(asks)) => match desk::page(edge, page, asks) {
            Some(told) => (200, JSON, to_json(&told)),
            None => return Err(refusals::no_such_path(client.req_header().uri.path()).into()),
        },
        (_, None) => {
            return Err(admission::stranger(&edge.gateway.roster, headers, ctx.outcome.at).into());
        }
    };
    let mut head = ResponseHeader::build_no_case(status, Some(6)).map_err(|_| End::Cut)?;
    let built = head
        .insert_header(CONTENT_TYPE, kind)
        .and_then(|()| head.insert_header(CACHE_CONTROL, "no-store"))
        .and_then(|()| if kind == HTML { secure(&mut head) } else { Ok(()) });
    built.map_err(|_| End::Cut)?;
    reply::send(client, ctx, head, body).await.map_err(|_| End::ClientGone)?;
    ctx.ended(Ended::Complete);
    Ok(())
}

/// What has come of an act, which takes the master key.
async fn acted(edge: &Edge, which: &Page, asks: Option<&Client>) -> Result<Value, Box<Refusal>> {
    if !asks.is_some_and(|asks| asks.is_master) {
        return Err(refusals::master_only());
    }
    desk::act(edge, which).await.unwrap_or_else(|| Err(refusals::panicked()))
}

/// The models that the client may ask for, or those of them that the vendor serves which it asks for.
fn open_models(edge: &Edge, client: &ServerSession, asks: &Client) -> Result<Vec<Listed>, Box<Refusal>> {
    let among = wish::among(edge, client.req_header())?;
    let mut models = edge.gateway.pool.models_among(among.map(|among| &**among));
    models.retain(|model| asks.may_use(&model.name));
    Ok(models)
}

/// The list of them, in the words of the client's API.
fn models(edge: &Edge, which: &Page, client: &ServerSession, asks: &Client) -> Result<Bytes, Box<Refusal>> {
    let models = open_models(edge, client, asks)?;
    let headers = &client.req_header().headers;
    let google = matches!(which, Page::GeminiModels);
    Ok(match google {
        false if headers.contains_key(ANTHROPIC_VERSION) => anthropic_list(&models),
        false if !headers.contains_key(GOOGLE_KEY) => list(&models),
        _ => gemini_list(&models),
    })
}

/// One of them.
fn model(
    edge: &Edge,
    which: &Page,
    id: &str,
    client: &ServerSession,
    asks: &Client,
) -> Result<Bytes, Box<Refusal>> {
    if !asks.may_use(id) {
        return Err(refusals::closed_model(Some(id)));
    }
    let models = open_models(edge, client, asks)?;
    let Some(model) = models.iter().find(|model| model.name == id) else {
        return Err(refusals::unknown_model(&edge.gateway.pool.unknown(id)));
    };
    let google =
        matches!(which, Page::GeminiModel(_)) || client.req_header().headers.contains_key(GOOGLE_KEY);
    Ok(if google { to_json(&gemini_entry(model)) } else { to_json(&entry(model)) })
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

/// The answer to a browser that asks before its request.
async fn permit(client: &mut ServerSession, ctx: &mut RequestContext) -> Result<(), End> {
    let mut head = ResponseHeader::build_no_case(200, Some(8)).map_err(|_| End::Cut)?;
    cors::permit(&mut head, client.req_header()).map_err(|_| End::Cut)?;
    reply::send(client, ctx, head, Bytes::new()).await.map_err(|_| End::ClientGone)?;
    ctx.ended(Ended::Complete);
    Ok(())
}

/// The router's own description, which stays as it is.
async fn describe(
    edge: &Edge,
    which: &Page,
    client: &mut ServerSession,
    ctx: &mut RequestContext,
) -> Result<(), End> {
    let header = edge.gateway.settings.server.auth_header.as_ref().map(|header| header.as_str());
    let headers = &client.req_header().headers;
    let sheet = edge.manual.sheet(which, header).ok_or(End::Cut)?;
    let status = if sheet.is_known(headers) { 304 } else { 200 };
    let mut head = ResponseHeader::build_no_case(status, Some(8)).map_err(|_| End::Cut)?;
    let built = head
        .insert_header(CONTENT_TYPE, sheet.kind)
        .and_then(|()| head.insert_header(CACHE_CONTROL, "private, no-cache"))
        .and_then(|()| head.insert_header(ETAG, sheet.tag.as_str()))
        .and_then(|()| if sheet.kind == HTML { secure(&mut head) } else { Ok(()) });
    built.map_err(|_| End::Cut)?;
    reply::send(client, ctx, head, sheet.body.clone()).await.map_err(|_| End::ClientGone)?;
    ctx.ended(Ended::Complete);
    Ok(())
}

fn secure(head: &mut ResponseHeader) -> pingora::Result<()> {
    head.insert_header("content-security-policy", PAGE_POLICY)?;
    head.insert_header("x-content-type-options", "nosniff")?;
    head.insert_header("x-frame-options", "DENY")
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
