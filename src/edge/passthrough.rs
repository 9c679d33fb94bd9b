//! Requests whose bytes we do not open: bodyless ones and uploads of known length. Pingora's own upstream phases carry
//! them, chunk by chunk, and only the choice of candidate, limits, bans and headers is ours, shared with the engine.
//!
//! Without a body a failed attempt goes on elsewhere; with one only as long as no byte of it has left. Uploads are
//! exempt from `max_body_size` and from the deadline, since nothing of them is held: they have `body_timeout` for every
//! mebibyte begun, and end when the client is silent for that long (over HTTP/2, which Pingora reads without a timeout,
//! when the upstream has been silent for `response_timeout`). A client's chunked body never comes here: Pingora 0.9 can write a chunked body's end
//! twice to an HTTP/1 upstream, which poisons the connection for the next request.
//!
//! An error answer is held back, head and body, and judged whole like any other. Pingora cannot drop a head, but it
//! does not pass informational ones on (`ignore_info_resp`; over HTTP/2 always), so the head is made one; the error
//! that a filter returns at the body's end then leads to another candidate or to an answer of ours.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, EXPECT};
use http::{Method, StatusCode};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::proxy::Session;
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorType};

use super::context::RequestContext;
use super::course::{Course, Line};
use super::exchange::fault;
use super::failure::Failure;
use super::lifecycle::{client_or, queued, End};
use super::passage::{Passage, Refused, Seen};
use super::reply::Refusal;
use super::{door, forward, lifecycle, refusals, reply, wish, Edge};
use crate::gateway::Dress;
use crate::llm::endpoint::Endpoint;
use crate::llm::error::ApiError;
use crate::observe::outcome::Ended;
use crate::providers::{judge_transport, Next, Transport};
use crate::routing::{Ask, Step};

/// Plans the passage of a request.
pub async fn admit(
    edge: &Edge,
    client: &mut Session,
    ctx: &mut RequestContext,
    endpoint: Endpoint,
) -> Result<(), End> {
    lifecycle::permit(edge, &endpoint, None, 0, ctx).await?;
    let settings = &edge.gateway.settings;
    let length = door::declared_length(client.req_header()).filter(|length| *length > 0);
    let whole_by = length.and_then(|length| ctx.started.checked_add(edge.upload_time(length)));
    let cursors = client.req_header().uri.query().map(Endpoint::cursors).unwrap_or_default();
    let pinned = edge.gateway.pinned(&endpoint, &cursors).map_err(refusals::unpinnable)?;
    let deadline = settings.routing.deadline.filter(|_| length.is_none()).map(|budget| ctx.started + budget);
    let among = wish::among(edge, client.req_header())?;
    let ask = Ask { pinned, deadline, seed: ctx.seed, class: ctx.class(), among, ..Ask::default() };
    let plan = edge.gateway.pool.plan(ask).map_err(|unknown| refusals::unknown_model(&unknown))?;
    let downstream = client.as_downstream_mut();
    downstream.set_read_timeout(Some(settings.server.body_timeout));
    downstream.set_ignore_info_resp(true);
    let passage = Passage {
        endpoint,
        plan,
        deadline,
        has_body: length.is_some(),
        whole_by,
        lease: None,
        credential: 0,
        way: None,
        begun: Instant::now(),
        fresh: false,
        heard: false,
        seen: None,
        last: None,
        unfit: None,
        refusal: None,
    };
    ctx.passage = Some(Box::new(passage));
    Ok(())
}

/// Looks at the clock with every piece of an upload.
pub fn came(ctx: &RequestContext, end: bool) -> pingora::Result<()> {
    match ctx.passage.as_ref().is_some_and(|passage| !end && passage.is_overdue()) {
        true => Err(Error::new_down(ErrorType::ReadTimedout)),
        false => Ok(()),
    }
}

/// The next candidate's peer, or the same one's once more after a connection that was dead. An error here ends
/// Pingora's loop, so waiting and names that do not resolve are dealt with inside.
pub async fn peer(
    edge: &mut Arc<Edge>,
    client: &mut Session,
    ctx: &mut RequestContext,
) -> pingora::Result<Box<HttpPeer>> {
    loop {
        let passage = ctx.passage.as_mut().ok_or_else(|| Error::new_in(ErrorType::InternalError))?;
        let now = Instant::now();
        if passage.is_late(now) {
            let last = passage.last.take();
            return Err(passage.refuse(refusals::out_of_time(edge, last)));
        }
        if passage.lease.is_none() {
            match edge.next(&mut passage.plan, now) {
                Step::Try(lease) => match edge.confirm(&mut passage.plan, lease, &mut passage.last).await {
                    Ok(Some(lease)) => passage.begin(lease),
                    Ok(None) => continue,
                    Err(refusal) => return Err(passage.refuse(refusal)),
                },
                Step::Wait(pause) => {
                    wait(client, ctx, tokio::time::sleep(pause)).await?;
                    continue;
                }
                Step::Queued => {
                    let mut place = passage.plan.leave();
                    let waited = wait(client, ctx, queued(place.as_mut())).await;
                    if let (Some(place), Some(passage)) = (place, ctx.passage.as_mut()) {
                        passage.plan.stays(place);
                    }
                    waited?;
                    continue;
                }
                Step::Moved => {
                    if let Some(line) = moved(edge, client, ctx).await? {
                        return Ok(Box::new(forward::peer(line, client)));
                    }
                    continue;
                }
                Step::Stop(stopped) => {
                    let (last, unfit) = (passage.last.take(), passage.unfit.take());
                    let refusal = refusals::stopped(edge, &passage.plan, stopped, last, unfit);
                    return Err(passage.refuse(refusal));
                }
            }
            if !passage.address(edge, client.req_header()) {
                continue;
            }
        }
        match passage.reach(edge).await {
            Ok(peer) => return Ok(Box::new(passage.dial(edge, &peer))),
            Err(transport) => failed(edge, ctx, Failure::transport(transport)),
        }
    }
}

/// Goes on with a newer edge; or says which process has taken over, and leaves the request to it as it came.
async fn moved(
    edge: &mut Arc<Edge>,
    client: &mut Session,
    ctx: &mut RequestContext,
) -> pingora::Result<Option<Line>> {
    let Some(passage) = ctx.passage.take() else { return Ok(None) };
    match edge.courses.settled().await {
        Course::Process(line) => {
            ctx.told_elsewhere();
            return Ok(Some(line));
        }
        course => *edge = course.edge().unwrap_or_else(|| edge.clone()),
    }
    let again = admit(edge, client, ctx, passage.endpoint).await;
    again.map(|()| None).map_err(|_| Error::new_in(ErrorType::InternalError))
}

/// Waits for a second try or another round. A client that has no body to send is watched meanwhile.
async fn wait(
    client: &mut Session,
    ctx: &mut RequestContext,
    pause: impl Future<Output = ()>,
) -> pingora::Result<()> {
    if ctx.passage.as_ref().is_some_and(|passage| passage.has_body) {
        pause.await;
        return Ok(());
    }
    let gone = |_| Error::new_down(ErrorType::ConnectionClosed);
    client_or(client.as_downstream_mut(), ctx, pin!(pause)).await.map_err(gone)
}

/// Tells a client that waits for it to send its body, now that there is an upstream to take it.
pub async fn invite(edge: &Edge, client: &mut Session, ctx: &RequestContext) -> pingora::Result<()> {
    let expect = client.req_header().headers.get(EXPECT);
    let expects = expect.is_some_and(|v| v.as_bytes().eq_ignore_ascii_case(b"100-continue"));
    if expects && ctx.passage.as_ref().is_some_and(|passage| passage.has_body) {
        let downstream = client.as_downstream_mut();
        downstream.write_continue_response().await.map_err(|e| e.into_down())?;
        // Pingora takes it for an answer before the body's end.
        downstream.set_keepalive(edge.keepalive());
    }
    Ok(())
}

/// Dresses the request for the candidate.
pub fn dress(
    edge: &Edge,
    client: &RequestHeader,
    request: &mut RequestHeader,
    ctx: &mut RequestContext,
) -> pingora::Result<()> {
    let Some(mut passage) = ctx.passage.take() else { return Ok(()) };
    let upstream = edge.gateway.upstream(passage.credential);
    let length = door::declared_length(client);
    ctx.outcome.bytes_in = length.unwrap_or(0) as u64;
    let (request_id, trace, hop) = (ctx.request_id(), ctx.trace(), &*edge.gateway.hop);
    let dressed = passage.way.as_ref().map(|(route, authorization)| {
        upstream
            .request(client, &Dress { route, headers: &[], authorization, length, request_id, trace, hop })
    });
    if let Some(lease) = passage.lease.as_mut() {
        lease.sent();
    }
    ctx.passage = Some(passage);
    *request = *dressed.ok_or_else(|| Error::new_in(ErrorType::InternalError))??;
    Ok(())
}

/// No connection: nothing has left, so even an upload goes on elsewhere.
pub fn unreachable(edge: &Edge, ctx: &mut RequestContext, mut error: Box<Error>) -> Box<Error> {
    if let Some(failure) = ctx.passage.as_ref().map(|passage| passage.fair(fault(&error))) {
        failed(edge, ctx, failure);
    }
    error.set_retry(true);
    error
}

/// An attempt that broke before the client had an answer. The error says whether Pingora is to ask for a peer again.
pub fn broken(
    edge: &Edge,
    client: &mut Session,
    ctx: &mut RequestContext,
    mut error: Box<Error>,
    reused: bool,
) -> Box<Error> {
    let Some(passage) = ctx.passage.as_mut() else { return error };
    let transport = fault(&error);
    if let Some(Seen::Error(refused)) = passage.seen.take() {
        return refused_by(edge, ctx, *refused);
    }
    if passage.has_body && transport == Transport::ResponseTimeout && client_is_silent(client, &error) {
        error.as_down();
        error.set_retry(false);
        return error;
    }
    error.set_retry(!passage.has_body);
    if reused && !passage.fresh && !passage.heard && transport == Transport::Reset {
        passage.fresh = true;
    } else {
        let failure = passage.fair(transport);
        failed(edge, ctx, failure);
    }
    error
}

/// Whether an upstream has said nothing because the client has not yet sent all.
fn client_is_silent(client: &mut Session, error: &Error) -> bool {
    *error.etype() == ErrorType::ReadTimedout && !client.as_downstream_mut().is_body_done()
}

fn failed(edge: &Edge, ctx: &mut RequestContext, failure: Box<Failure>) {
    let Some(mut passage) = ctx.passage.take() else { return };
    if let Some(lease) = passage.lease.take() {
        let upstream = edge.gateway.upstream(passage.credential);
        ctx.attempted(
            &upstream.name,
            lease.model(),
            failure.verdict.code,
            passage.begun.elapsed(),
            failure.reason,
        );
        edge.tell(edge.gateway.pool.failed(&mut passage.plan, lease, &failure.verdict, Instant::now()));
    }
    passage.last = Some(*failure);
    ctx.passage = Some(passage);
}

/// Hears the head of an answer: passes a good one on, and holds an error back.
pub fn hear(
    edge: &Edge,
    client: &Session,
    head: &mut ResponseHeader,
    ctx: &mut RequestContext,
) -> pingora::Result<()> {
    let Some(passage) = ctx.passage.as_mut() else { return Ok(()) };
    passage.heard = true;
    let status = head.status;
    if status.is_informational() {
        return if status == StatusCode::SWITCHING_PROTOCOLS { Ok(()) } else { hide(head) };
    }
    ctx.outcome.credential = Some(edge.gateway.upstream(passage.credential).name.clone());
    let ends = matches!(status.as_u16(), 204 | 304)
        || client.req_header().method == Method::HEAD
        || head.headers.get(CONTENT_LENGTH).is_some_and(|length| length.as_bytes() == b"0");
    if status.is_success() || status == StatusCode::NOT_MODIFIED {
        return accept(edge, client, head, ctx, ends);
    }
    let refused = Refused { status: status.as_u16(), headers: head.headers.clone(), body: BytesMut::new() };
    if ends {
        return Err(refused_by(edge, ctx, refused));
    }
    passage.seen = Some(Seen::Error(Box::new(refused)));
    hide(head)
}

/// Makes it a head that the client does not see.
fn hide(head: &mut ResponseHeader) -> pingora::Result<()> {
    head.set_status(StatusCode::EARLY_HINTS)
}

fn accept(
    edge: &Edge,
    client: &Session,
    head: &mut ResponseHeader,
    ctx: &mut RequestContext,
    ends: bool,
) -> pingora::Result<()> {
    let Some(passage) = ctx.passage.as_mut() else { return Ok(()) };
    let credential = passage.credential;
    let learns = passage.endpoint.gives_ids() && is_json(head);
    passage.seen = learns.then(|| Seen::Ids(BytesMut::new()));
    let status = head.status.as_u16();
    if let Some(lease) = passage.lease.as_mut() {
        let model = lease.model().clone();
        edge.tell(lease.succeeded(Instant::now()));
        let (name, took) = (edge.gateway.upstream(credential).name.clone(), passage.begun.elapsed());
        ctx.attempted(&name, &model, status, took, "ok");
    }
    let id = edge.upstream_id(&head.headers).and_then(|id| id.to_str().ok());
    ctx.outcome.upstream_request_id = id.map(str::to_owned);
    let length = head.headers.get(CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse().ok());
    let mut relayed = reply::unopened_head(client.as_downstream(), ctx, head, length)?;
    edge.seal(ctx, credential, &mut relayed);
    *head = *relayed;
    ctx.answered(status);
    ctx.ended(if ends { Ended::Complete } else { Ended::ClientGone });
    Ok(())
}

/// The verdict on an error answer, as far as it came.
fn refused_by(edge: &Edge, ctx: &mut RequestContext, refused: Refused) -> Box<Error> {
    let router =
        ctx.passage.as_ref().is_some_and(|passage| edge.gateway.upstream(passage.credential).peer.is_some());
    let failure = refused.failure(router);
    let mut error = Error::new_up(ErrorType::HTTPStatus(failure.verdict.code));
    let has_body = ctx.passage.as_ref().is_none_or(|passage| passage.has_body);
    error.set_retry(!has_body && failure.verdict.next == Next::Other);
    failed(edge, ctx, failure);
    error
}

/// Looks at the bytes of an answer as they pass. An error means that they are an error's, and that it is judged.
pub fn pass(
    edge: &Edge,
    body: &mut Option<Bytes>,
    end: bool,
    ctx: &mut RequestContext,
) -> pingora::Result<()> {
    let Some(passage) = ctx.passage.as_mut() else { return Ok(()) };
    match passage.seen.take() {
        Some(Seen::Error(mut refused)) => {
            let enough = refused.take(&body.take().unwrap_or_default());
            if end || enough {
                return Err(refused_by(edge, ctx, *refused));
            }
            passage.seen = Some(Seen::Error(refused));
            return Ok(());
        }
        Some(Seen::Ids(seen)) => passage.learn(edge, seen, body.as_deref().unwrap_or_default(), end),
        None => {}
    }
    ctx.outcome.bytes_out += body.as_ref().map_or(0, |b| b.len() as u64);
    if end {
        ctx.ended(Ended::Complete);
    }
    Ok(())
}

fn is_json(head: &ResponseHeader) -> bool {
    let kind = head.headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok());
    kind.is_some_and(|kind| kind.starts_with("application/json"))
}

/// How a passage ends that has given the client no answer. `error` is the client's, if it is `by_client`.
pub fn end(edge: &Edge, ctx: &mut RequestContext, error: &Error, by_client: bool) -> End {
    if by_client && *error.etype() == ErrorType::ReadTimedout {
        let limit = match ctx.passage.as_ref().is_some_and(|passage| passage.is_overdue()) {
            true => edge.upload_time(ctx.outcome.bytes_in as usize),
            false => edge.gateway.settings.server.body_timeout,
        };
        return Refusal::new(ApiError::body_timeout(limit), "body_timeout").into();
    }
    if by_client {
        return End::ClientGone;
    }
    let Some(passage) = ctx.passage.as_mut() else { return refusals::panicked().into() };
    let last = passage.last.take();
    let failed = || last.unwrap_or_else(|| *Failure::transport(Transport::Reset));
    passage.refusal.take().unwrap_or_else(|| refusals::from_failure(edge, failed())).into()
}

/// A passage that broke off in the middle of its answer: a strike, and no way to say so in-band.
pub fn cut(edge: &Edge, ctx: &mut RequestContext, by_client: bool) {
    ctx.ended(if by_client { Ended::ClientGone } else { Ended::Truncated });
    let Some(passage) = ctx.passage.as_mut() else { return };
    if let (Some(lease), false) = (passage.lease.take(), by_client) {
        let verdict = judge_transport(Transport::Truncated);
        edge.tell(edge.gateway.pool.failed(&mut passage.plan, lease, &verdict, Instant::now()));
    }
}
