//! The pages for people: `/vhealth` with its forms and its events, and `/explain`.
//!
//! What takes milliseconds where there are hundreds of credentials is put together on a blocking thread, so that no
//! request waits for a page. Events come once a second, and more seldom where they are costly: all browsers together
//! are kept to a share of one core. A stream of events is a request like any other: it ends when the router is to leave
//! (the browser then finds the next process by itself), and after an hour, so that nobody looks on who has no key any more.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, LOCATION, SET_COOKIE, TRANSFER_ENCODING};
use http::{HeaderMap, Version};
use pingora::http::ResponseHeader;
use pingora::protocols::http::ServerSession;

use super::context::RequestContext;
use super::course::Course;
use super::lifecycle::{client_or, End};
use super::reply::Refusal;
use super::{admission, refusals, reply, Edge};
use crate::llm::endpoint::Page;
use crate::llm::error::ApiError;
use crate::observe::outcome::Ended;
use crate::observe::page::{self, Changes};
use crate::observe::query::{Form, Query};
use crate::observe::sheet;

/// From one look to the next.
const BEAT: Duration = Duration::from_secs(1);
/// A browser may cost one part in so many of a core.
const THRIFT: u32 = 50;
/// A sign of life where nothing changes.
const SIGN: Duration = Duration::from_secs(15);
const HOUR: Duration = Duration::from_secs(3600);
/// The form with a key.
const FORM: admission::Bounds = admission::Bounds { size: 4096, time: Duration::from_secs(10) };

/// Whether the request may see names: it shows the key or a session, or everybody may.
pub async fn sees_all(edge: &Arc<Edge>, headers: &HeaderMap, ctx: &RequestContext) -> bool {
    if edge.gateway.settings.monitoring.public == Some(true) || ctx.client.is_some() {
        return true;
    }
    if !headers.contains_key(http::header::COOKIE) {
        return false;
    }
    let (edge, headers) = (edge.clone(), headers.clone());
    aside(move || edge.visitors.knows(&headers, &edge.gateway.roster, SystemTime::now()))
        .await
        .unwrap_or(false)
}

/// Answers one of these pages.
pub async fn answer(
    edge: &Arc<Edge>,
    which: Page,
    client: &mut ServerSession,
    ctx: &mut RequestContext,
) -> Result<(), End> {
    match which {
        Page::Login => return log_in(edge, client, ctx).await,
        Page::Logout => return log_out(edge, client, ctx).await,
        _ => {}
    }
    let headers = &client.req_header().headers;
    let accept = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let query = Query::read(client.req_header().uri.query(), accept);
    if !sees_all(edge, headers, ctx).await {
        // A browser gets a form, a program an error.
        if which == Page::Vhealth && accept.contains("text/html") {
            return html(client, ctx, 401, page::login(None)).await;
        }
        return Err(admission::stranger(&edge.gateway.roster, headers, ctx.outcome.at).into());
    }
    if which == Page::Events {
        return events(edge.clone(), query, client, ctx).await;
    }
    let (form, edge) = (query.form, edge.clone());
    let body = aside(move || {
        let view = edge.whole_view(&query.text);
        match form {
            Form::Html => page::render(&view, &query),
            Form::Json => sheet::json(&view, &query),
            Form::Csv => sheet::csv(&view, &query),
        }
    })
    .await?;
    match form {
        Form::Html => html(client, ctx, 200, body).await,
        Form::Json => send(client, ctx, head(200, "application/json")?, body).await,
        Form::Csv => send(client, ctx, head(200, "text/csv; charset=utf-8")?, body).await,
    }
}

/// Work of more than a few microseconds.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, End> {
    tokio::task::spawn_blocking(work).await.map_err(|_| refusals::panicked().into())
}

async fn log_in(edge: &Arc<Edge>, client: &mut ServerSession, ctx: &mut RequestContext) -> Result<(), End> {
    let address = address(client);
    if edge.visitors.is_guessing(address) {
        let error = ApiError::invalid(429, "Too many wrong keys: try again in a minute.");
        return Err(Refusal::new(error, "login_attempts").retry_after(Duration::from_secs(60)).into());
    }
    let mut held = edge.budget.hold();
    let body = admission::read_body(client, FORM, &mut held).await?;
    let form = url::form_urlencoded::parse(&body).into_owned();
    let key = form.into_iter().find_map(|(name, key)| (name == "key").then_some(key)).unwrap_or_default();
    let (secure, now, at) = (is_secure(client), ctx.outcome.at, edge.clone());
    let cookie = aside(move || {
        let roster = &at.gateway.roster;
        let known =
            roster.known(std::iter::once(key.trim().as_bytes())).filter(|known| !known.is_expired(now))?;
        Some(at.visitors.begin(roster, known, secure, now))
    });
    match cookie.await? {
        Some(cookie) => go_to_page(client, ctx, &cookie).await,
        None => {
            edge.visitors.guessed(address);
            html(client, ctx, 401, page::login(Some("That is no key of this router."))).await
        }
    }
}

async fn log_out(edge: &Arc<Edge>, client: &mut ServerSession, ctx: &mut RequestContext) -> Result<(), End> {
    let (secure, edge, headers) = (is_secure(client), edge.clone(), client.req_header().headers.clone());
    let cookie = aside(move || edge.visitors.end(&headers, &edge.gateway.roster, secure, SystemTime::now()));
    let cookie = cookie.await?;
    go_to_page(client, ctx, &cookie).await
}

/// Where a session began or ended, the browser goes on to the page, by GET.
async fn go_to_page(client: &mut ServerSession, ctx: &mut RequestContext, cookie: &str) -> Result<(), End> {
    let mut head = head(303, "text/plain")?;
    let named =
        head.insert_header(LOCATION, "../vhealth").and_then(|()| head.insert_header(SET_COOKIE, cookie));
    named.map_err(|_| End::Cut)?;
    send(client, ctx, head, String::new()).await
}

/// Whether the browser speaks TLS with whoever stands in front of us.
fn is_secure(client: &ServerSession) -> bool {
    let proto = client.req_header().headers.get("x-forwarded-proto");
    proto.is_some_and(|proto| proto.as_bytes().eq_ignore_ascii_case(b"https"))
}

fn address(client: &ServerSession) -> Option<IpAddr> {
    Some(client.client_addr()?.as_inet()?.ip())
}

/// Keeps a browser up to date.
async fn events(
    mut edge: Arc<Edge>,
    query: Query,
    client: &mut ServerSession,
    ctx: &mut RequestContext,
) -> Result<(), End> {
    let Ok(_place) = edge.visitors.watching().try_acquire_owned() else {
        let error = ApiError::invalid(503, "Too many browsers are watching already.");
        return Err(Refusal::new(error, "watchers").retry_after(BEAT).into());
    };
    let mut head = head(200, "text/event-stream")?;
    if client.req_header().version == Version::HTTP_11 {
        head.insert_header(TRANSFER_ENCODING, "chunked").map_err(|_| End::Cut)?;
    }
    ctx.answered(200);
    ctx.outcome.stream = true;
    let (mut began, mut changes) = (Instant::now(), Changes::default());
    let ends = began + HOUR;
    client.write_response_header(Box::new(head)).await.map_err(|_| End::ClientGone)?;
    let mut last = began;
    while began < ends && !edge.drain.is_leaving() {
        let (shown, asked) = (edge.clone(), query.clone());
        let (event, kept) =
            aside(move || (changes.next(&shown.whole_view(&asked.text), &asked), changes)).await?;
        changes = kept;
        let took = began.elapsed();
        let event = event.or_else(|| (last.elapsed() > SIGN).then(|| ":\n\n".into()));
        if let Some(event) = event {
            last = Instant::now();
            ctx.outcome.bytes_out += event.len() as u64;
            client.write_response_body(event.into(), false).await.map_err(|_| End::ClientGone)?;
        }
        let pause = std::pin::pin!(tokio::time::sleep(BEAT.max(took * THRIFT)));
        client_or(client, ctx, pause).await?;
        began = Instant::now();
        if !edge.courses.is_here() {
            match edge.courses.settled().await {
                Course::Edge(next) => edge = next,
                Course::Process(_) => break,
                Course::Here | Course::Settling => {}
            }
        }
    }
    client.write_response_body(Bytes::new(), true).await.map_err(|_| End::ClientGone)?;
    ctx.ended(Ended::Complete);
    Ok(())
}

fn head(status: u16, kind: &str) -> Result<ResponseHeader, End> {
    let mut head = ResponseHeader::build_no_case(status, Some(8)).map_err(|_| End::Cut)?;
    let built = head
        .insert_header(CONTENT_TYPE, kind)
        .and_then(|()| head.insert_header(CACHE_CONTROL, "no-store"))
        .and_then(|()| head.insert_header("x-content-type-options", "nosniff"));
    built.map_err(|_| End::Cut)?;
    Ok(head)
}

/// A page, with what it may do.
async fn html(
    client: &mut ServerSession,
    ctx: &mut RequestContext,
    status: u16,
    body: String,
) -> Result<(), End> {
    let mut head = head(status, "text/html; charset=utf-8")?;
    let secured = head
        .insert_header("content-security-policy", page::POLICY.as_str())
        .and_then(|()| head.insert_header("x-frame-options", "DENY"))
        .and_then(|()| head.insert_header("referrer-policy", "no-referrer"));
    secured.map_err(|_| End::Cut)?;
    send(client, ctx, head, body).await
}

async fn send(
    client: &mut ServerSession,
    ctx: &mut RequestContext,
    head: ResponseHeader,
    body: String,
) -> Result<(), End> {
    reply::send(client, ctx, head, body.into()).await.map_err(|_| End::ClientGone)?;
    ctx.ended(Ended::Complete);
    Ok(())
}
