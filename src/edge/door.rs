//! The door: what a request asks for, whether it may, and which way it goes.
//!
//! A request is answered here (models, health, metrics), conversed (its body is read and our own loop over candidates
//! runs; WebSockets are opened so, too), handed on (its bytes are not opened, and Pingora's own upstream phases carry
//! them), or refused. HTTP/1 comes through the door straight from `front`, HTTP/2 from `request_filter`: for an open
//! stream, Pingora's proxy future and session cost 20 KiB that only the upstream phases need.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, StatusCode, Version};
use pingora::http::RequestHeader;
use pingora::protocols::http::ServerSession;

use super::context::RequestContext;
use super::lifecycle::{self, End};
use super::random::Random;
use super::reply::Refusal;
use super::{admission, cors, dashboard, grammar, local, origin, refusals, relay, reply, Edge};
use crate::config::Otlp;
use crate::gateway::{HOPS, TRACEPARENT};
use crate::llm::endpoint::{Door, Endpoint, Page, Sent};
use crate::llm::error::ApiError;
use crate::llm::{socket, Wire, ANTHROPIC_VERSION};
use crate::observe::trace::Trace;
use crate::providers::chained;

/// A client that takes no byte of its answer for this long is gone.
const READER_TIMEOUT: Duration = Duration::from_secs(60);
const CLIENT_RETRY: HeaderName = HeaderName::from_static("x-stainless-retry-count");

/// Where a request goes.
pub enum Way {
    /// It is served here.
    In(Endpoint, Door),
    /// Pingora's upstream phases are to carry it. Nothing of its body has been read, nothing has been answered.
    On(Endpoint),
    /// It is refused.
    Out(End),
}

/// Whether a request has been answered, or its connection is to be closed: because the client is gone, or because an
/// answer has broken off.
pub enum Served {
    /// It has its answer.
    Answered,
    /// Close.
    Close,
}

/// Looks at the head of a request.
pub fn admit(edge: &Edge, client: &mut ServerSession, ctx: &mut RequestContext) -> Way {
    client.set_write_timeout(Some(READER_TIMEOUT));
    client.set_keepalive(edge.keepalive());
    let endpoint = match enter(edge, client, ctx) {
        Ok(endpoint) => endpoint,
        Err(end) => return Way::Out(end),
    };
    if is_preflight(client.req_header(), ctx) {
        return Way::In(endpoint, Door::Local(Page::Preflight));
    }
    let door = endpoint.door(sent(client));
    match door {
        Door::Refuse => return Way::Out(refusals::wrong_path(&endpoint, client.req_header()).into()),
        Door::Local(_) => return Way::In(endpoint, door),
        Door::PassThrough | Door::Converse | Door::Socket => {}
    }
    if let Err(refusal) = take_seat(edge, ctx) {
        return Way::Out(refusal.into());
    }
    match door {
        Door::PassThrough => Way::On(endpoint),
        door => Way::In(endpoint, door),
    }
}

/// A place among the requests of the client's key, before anything of the body is read. Where there is none for a key
/// that is not for every model, whether it is for this one is said first, and that is known later.
fn take_seat(edge: &Edge, ctx: &mut RequestContext) -> Result<(), Box<Refusal>> {
    ctx.counts = true;
    match ctx.sit(ctx.started, edge.among()) {
        Err(_) if ctx.client.as_ref().is_some_and(|client| client.is_confined()) => Ok(()),
        seated => seated.map_err(refusals::client_limited),
    }
}

/// Serves a request that was let in. A panic on the way is an answer, too.
pub async fn serve(
    edge: &Arc<Edge>,
    endpoint: Endpoint,
    door: Door,
    client: &mut ServerSession,
    ctx: &mut RequestContext,
) -> Served {
    let life = async {
        match door {
            Door::Local(page) if page.is_for_people() => {
                Box::pin(dashboard::answer(edge, page, client, ctx)).await
            }
            Door::Local(page) => Box::pin(local::answer(edge, page, client, ctx)).await,
            door => lifecycle::converse(edge, client, ctx, &endpoint, door).await,
        }
    };
    match survived(AssertUnwindSafe(life).catch_unwind().await) {
        Ok(()) => Served::Answered,
        Err(end) => Box::pin(close(end, client, ctx)).await,
    }
}

/// What has become of a request, where a panic is a refusal.
fn survived(caught: std::thread::Result<Result<(), End>>) -> Result<(), End> {
    caught.unwrap_or_else(|_| Err(refusals::panicked().into()))
}

/// The doorstep: what is asked, from whom, and whether it has been here before.
fn enter(edge: &Edge, client: &mut ServerSession, ctx: &mut RequestContext) -> Result<Endpoint, End> {
    let server = &edge.gateway.settings.server;
    let request = client.req_header();
    ctx.outcome.caller = origin::caller(client.client_addr(), &request.headers, &server.trusted_proxies);
    if let Some((status, fault)) = fault(request) {
        return Err(Refusal::new(ApiError::invalid(status, fault), "malformed_head").into());
    }
    if let Some(name) = &server.auth_header {
        admission::adopt_key(client.req_header_mut(), name);
    }
    let request = client.req_header();
    let path = request.uri.path();
    ctx.origin = server.cors.as_ref().and_then(|cors| cors::allowed(cors, request));
    let health = path == edge.gateway.settings.monitoring.health_check_path;
    let endpoint = Endpoint::of(&request.method, if health { "/health" } else { path });
    ctx.outcome.endpoint = endpoint.template();
    ctx.outcome.method = request.method.clone();
    ctx.outcome.trace = Some(trace(&request.headers, edge.gateway.settings.otlp.as_ref()));
    ctx.tongue = tongue(&endpoint, request);
    if is_preflight(request, ctx) {
        return Ok(endpoint);
    }
    match admission::identify(&edge.gateway.roster, &request.headers, ctx.outcome.at) {
        Ok(client) => ctx.recognize(client),
        Err(refusal) if !endpoint.is_open() => return Err(refusal.into()),
        Err(_) => {}
    }
    if endpoint.is_open() {
        return Ok(endpoint);
    }
    let retries = request.headers.get(CLIENT_RETRY).and_then(|v| v.to_str().ok()?.parse().ok());
    ctx.outcome.client_retry = retries;
    if let Some(hops) = request.headers.get(HOPS).and_then(|v| v.to_str().ok()) {
        if chained::is_loop(hops, &edge.gateway.hop) {
            return Err(refusals::looped(&chained::passed(Some(hops), &edge.gateway.hop)).into());
        }
        ctx.from_router = true;
        if let Some(id) = request.headers.get(reply::REQUEST_ID) {
            ctx.adopt_id(id.as_bytes());
        }
    }
    Ok(endpoint)
}

/// What is wrong with a head that came over HTTP/2. Over HTTP/1 it has been looked at before it was read.
fn fault(request: &RequestHeader) -> Option<grammar::Fault> {
    if request.version != Version::HTTP_2 {
        return None;
    }
    let authority = request.uri.authority().map(|authority| authority.as_str().as_bytes());
    let fields = request.headers.iter().map(|(name, value)| (name.as_str().as_bytes(), value.as_bytes()));
    grammar::http2_fault(request.method.as_str().as_bytes(), request.raw_path(), authority, fields)
}

/// The trace that the request is a part of; one that begins here, where its header names none, or two.
/// Where nothing is exported, it is for those behind us to say whether they want to see it.
fn trace(headers: &HeaderMap, otlp: Option<&Otlp>) -> Trace {
    let (mut named, span) = (headers.get_all(TRACEPARENT).iter(), Random::next());
    let continued = match (named.next(), named.next()) {
        (Some(named), None) => Trace::continued(named.as_bytes(), span),
        _ => None,
    };
    continued.unwrap_or_else(|| {
        let sampled = otlp.is_none_or(|otlp| Random::next() % 100 < u64::from(otlp.sample_percentage));
        Trace::begun(u128::from(Random::next()) << 64 | u128::from(Random::next()), span, sampled)
    })
}

/// Whether a browser asks, for a page that may ask, what it may; it sends no key with that.
fn is_preflight(request: &RequestHeader, ctx: &RequestContext) -> bool {
    ctx.origin.is_some() && cors::is_preflight(request)
}

/// Whose words the client expects: the endpoint's, or Anthropic's where it says so.
fn tongue(endpoint: &Endpoint, request: &RequestHeader) -> Wire {
    match endpoint.tongue() {
        Wire::Chat if request.headers.contains_key(ANTHROPIC_VERSION) => Wire::Messages,
        tongue => tongue,
    }
}

/// Ends a request that has no answer from upstream.
pub async fn close(end: End, client: &mut ServerSession, ctx: &mut RequestContext) -> Served {
    if let Some(ended) = lifecycle::ended(&end) {
        ctx.ended(ended);
    }
    match end {
        End::Refused(_) if ctx.broken.is_some() => relay::give_up(client, ctx).await,
        End::Refused(refusal) if !answered(client) => {
            ctx.outcome.refusal = Some(refusal.reason);
            match reply::refuse(client, ctx, &refusal).await {
                Ok(()) => Served::Answered,
                Err(_) => Served::Close,
            }
        }
        End::ClientGone => {
            if !answered(client) {
                ctx.answered(499);
            }
            Served::Close
        }
        // The head is out: all that is left is to close the connection before the answer's proper end.
        End::Refused(_) | End::Cut => Served::Close,
    }
}

/// Whether the client has got a final head. A 100 is none; a 101 is, since no other one can follow it.
pub fn answered(client: &ServerSession) -> bool {
    let written = client.response_written().map(|head| head.status);
    written.is_some_and(|status| !status.is_informational() || status == StatusCode::SWITCHING_PROTOCOLS)
}

/// How the request's body comes.
fn sent(client: &mut ServerSession) -> Sent {
    let empty = client.is_body_empty();
    let request = client.req_header();
    if request.headers.contains_key(TRANSFER_ENCODING) {
        return Sent::Unmeasured;
    }
    match declared_length(request) {
        Some(0) => Sent::Nothing,
        Some(_) => Sent::Measured,
        None if request.version == Version::HTTP_2 && !empty => Sent::Unmeasured,
        None if request.version == Version::HTTP_11 && socket::is_asked_for(&request.headers) => Sent::Socket,
        None => Sent::Nothing,
    }
}

/// Content-Length.
pub fn declared_length(request: &RequestHeader) -> Option<usize> {
    request.headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::outcome::Ended;

    #[test]
    fn a_panic_on_the_way_is_answered_with_500() {
        let caught = std::panic::catch_unwind(|| panic!("on purpose"));
        let Err(End::Refused(refusal)) = survived(caught) else { panic!("a panic is no answer") };
        assert_eq!((refusal.error.status, lifecycle::ended(&refusal.into())), (500, Some(Ended::Panicked)));
    }
}
