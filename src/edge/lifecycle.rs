//! The life of a request, top to bottom.
//!
//! A caller's request is read whole; the pool makes a plan of candidates; each attempt takes a lease, sends the
//! request and gets a verdict; the accepted answer is relayed; its usage settles the lease. What is taken (budget,
//! lease, probe, in-flight count) is a value that gives itself back, so that a client that leaves at any `await` and
//! a panic need no code of their own. `src/LIFECYCLE.md` has the same steps as a table.

use std::future::Future;
use std::pin::{pin, Pin};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Method;
use pingora::protocols::http::ServerSession;
use pingora::ErrorType;

use super::admission::{self, Held};
use super::attempt::Attempt;
use super::content::Content;
use super::context::RequestContext;
use super::course::Course;
use super::failure::{Failure, Trouble};
use super::images::Pictures;
use super::phrase::Spoken;
use super::relay::{heartbeat, Accepted, HEARTBEAT};
use super::reply::Refusal;
use super::{forward, local, refusals, wish, Edge};
use crate::clients::Client;
use crate::config::Resume;
use crate::dialect::conversation::Untranslatable;
use crate::dialect::resume::Told;
use crate::llm::endpoint::{Door, Endpoint};
use crate::llm::request::BadBody;
use crate::llm::Wire;
use crate::observe::outcome::Ended;
use crate::routing::{Ask, Lease, Place, Plan, Step, Stopped};

/// How often a request that waits in the queue looks for itself.
const QUEUE_LOOK: Duration = Duration::from_millis(500);

/// How a request can end without its answer.
pub enum End {
    /// With an answer of ours.
    Refused(Box<Refusal>),
    /// The client went away.
    ClientGone,
    /// The client's connection must be closed: its answer broke off half-way and there is no way to say so in-band.
    Cut,
}

impl From<Box<Refusal>> for End {
    fn from(refusal: Box<Refusal>) -> Self {
        Self::Refused(refusal)
    }
}

/// A request with a body that we open, or one for a WebSocket: from the body to the last byte of the answer.
pub async fn converse(
    edge: &Edge,
    client: &mut ServerSession,
    ctx: &mut RequestContext,
    endpoint: &Endpoint,
    door: Door,
) -> Result<(), End> {
    let (held, body, content) = open(edge, endpoint, door, client, ctx).await?;
    // From here on, not from the head: a slow upload is no fault of an upstream.
    let mut deadline = patience_of(edge);
    let (first, mut newer): (&Edge, Option<Arc<Edge>>) = (edge, None);
    let (mut last, mut unfit): (Option<Failure>, Option<Untranslatable>) = (None, None);
    let prepared = OnceLock::new();
    let spoken = Spoken::new(endpoint, &content, &body, &prepared);
    let mut plan = plan(edge, client, ctx, &spoken, deadline)?;
    let spoken = spoken.echoing(plan.stands_in() || edge.gateway.settings.server.echo_model);
    let pictures = Pictures::default();
    let mut told = resumable(edge, endpoint, &content);
    loop {
        let edge = newer.as_deref().unwrap_or(first);
        let mut lease = match edge.next(&mut plan, in_time(edge, deadline, &mut last)?) {
            Step::Try(lease) => match edge.confirm(&mut plan, lease, &mut last).await? {
                Some(lease) => lease,
                None => continue,
            },
            Step::Wait(pause) => {
                client_or(client, ctx, pin!(tokio::time::sleep(pause))).await?;
                continue;
            }
            Step::Queued => {
                client_or(client, ctx, pin!(queued(plan.place()))).await?;
                continue;
            }
            Step::Moved => {
                match edge.courses.settled().await {
                    Course::Process(_) if ctx.broken.is_some() => {
                        return Err(refusals::out_of_time(edge, last).into());
                    }
                    Course::Process(line) => return Box::pin(forward::ask(&line, &body, client, ctx)).await,
                    course => newer = course.edge().or(newer),
                }
                plan = self::plan(newer.as_deref().unwrap_or(first), client, ctx, &spoken, deadline)?;
                plan.renew(deadline);
                continue;
            }
            Step::Stop(Stopped::Unfit) if endpoint.counts_tokens() => {
                return Box::pin(local::counted(&spoken, client, ctx)).await;
            }
            Step::Stop(stop) => return Err(refusals::stopped(edge, &plan, stop, last, unfit).into()),
        };
        let told_so_far = told.as_deref().filter(|_| ctx.broken.is_some());
        let fetching = pictures.spoken(edge, &spoken, lease.credential(), deadline);
        let illustrated = client_or(client, ctx, pin!(fetching)).await?;
        let spoken_there = illustrated.as_ref().unwrap_or(&spoken);
        let attempt = Attempt { edge, spoken: spoken_there, deadline, told: told_so_far, client, ctx };
        // Boxed, so that its room is given back before the answer is relayed.
        match Box::pin(attempt.run(&mut lease, &plan)).await {
            Ok(answer) => {
                let prompt = content.prompt_estimate();
                let accepted = Box::new(Accepted { edge, endpoint, prompt, lease, plan, told: told.take() });
                if accepted.told.is_none() {
                    // Nothing is sent again from here on: the body goes, and its share of the budget.
                    drop((illustrated, spoken));
                    drop((pictures, body, held, content, last, unfit));
                    return accepted.relay(answer, client, ctx).await.map(|_| ());
                }
                let Some(rest) = accepted.relay(answer, client, ctx).await? else { return Ok(()) };
                if !spoken.is_plain() {
                    return Err(refusals::out_of_time(edge, last).into());
                }
                deadline = patience_of(edge);
                (plan, told) = (rest.plan, Some(rest.told));
                plan.renew(deadline);
            }
            Err(Trouble::ClientGone) => return Err(abandoned(lease, &content, ctx)),
            Err(Trouble::Unfit(why)) => {
                edge.gateway.pool.pass_over(&mut plan, lease);
                unfit = Some(why);
            }
            Err(Trouble::Failed(failure)) => {
                edge.tell(edge.gateway.pool.failed(&mut plan, lease, &failure.verdict, Instant::now()));
                last = Some(*failure);
            }
        }
    }
}

/// The whole body, its share of the budget, and what it says. The outcome of the request has its model from here.
async fn open(
    edge: &Edge,
    endpoint: &Endpoint,
    door: Door,
    client: &mut ServerSession,
    ctx: &mut RequestContext,
) -> Result<(Held, Bytes, Content), End> {
    let mut held = edge.budget.hold();
    let body = read(edge, endpoint, client, ctx, &mut held).await?;
    let head = client.req_header();
    let content = match door {
        Door::Socket => Content::socket(head.uri.query()),
        _ => Content::read(endpoint, &head.headers, &body).map_err(refusals::bad_body)?,
    };
    ctx.outcome.model = content.model().map(str::to_owned);
    ctx.outcome.stream = content.stream();
    permit(endpoint, content.model(), content.estimate(endpoint), ctx)?;
    Ok((held, body, content))
}

/// Whether the client's key is for this, and has room for so many tokens. The request counts from here on.
pub fn permit(
    endpoint: &Endpoint,
    model: Option<&str>,
    tokens: u64,
    ctx: &mut RequestContext,
) -> Result<(), Box<Refusal>> {
    let closed = |client: &Arc<Client>| {
        model.is_some_and(|model| !client.may_use(model))
            || client.is_confined() && endpoint.may_use_any_model(model.is_some())
    };
    if ctx.client.as_ref().is_some_and(closed) {
        return Err(refusals::closed_model(model));
    }
    match &mut ctx.seat {
        Some(seat) => seat.count(tokens, Instant::now()).map_err(refusals::client_limited),
        None => Ok(()),
    }
}

/// When a request that is asked, or gone on with, from now on must have shown something.
fn patience_of(edge: &Edge) -> Option<Instant> {
    edge.gateway.settings.routing.deadline.map(|budget| Instant::now() + budget)
}

/// A place for what the client is told, where another answer may go on with one that breaks off.
fn resumable(edge: &Edge, endpoint: &Endpoint, content: &Content) -> Option<Box<Told>> {
    let wanted = edge.gateway.settings.routing.resume == Resume::Verify;
    if !(wanted && content.stream() && endpoint.generates()) {
        return None;
    }
    Told::new(endpoint.wire()).map(Box::new)
}

/// The moment, if it is not too late for another step.
fn in_time(edge: &Edge, deadline: Option<Instant>, last: &mut Option<Failure>) -> Result<Instant, End> {
    let now = Instant::now();
    match deadline {
        Some(deadline) if deadline <= now => Err(refusals::out_of_time(edge, last.take()).into()),
        _ => Ok(now),
    }
}

/// The client has left. An upstream that has read the prompt will charge for it.
fn abandoned(mut lease: Lease, content: &Content, ctx: &mut RequestContext) -> End {
    if lease.is_sent() {
        lease.charge(content.prompt_estimate());
        ctx.charge(content.prompt_estimate());
    }
    End::ClientGone
}

async fn read(
    edge: &Edge,
    endpoint: &Endpoint,
    client: &mut ServerSession,
    ctx: &mut RequestContext,
    held: &mut Held,
) -> Result<Bytes, End> {
    if client.req_header().method == Method::HEAD {
        return Err(refusals::bad_body(BadBody::new("A HEAD request takes no body.")).into());
    }
    let events = |query: &str| query.split('&').any(|member| member == "alt=sse");
    if endpoint.path_streams() && !client.req_header().uri.query().is_some_and(events) {
        let why = "Streams are sent as server-sent events only: add '?alt=sse' to the path.";
        return Err(refusals::bad_body(BadBody::member("alt", why)).into());
    }
    let reading = Instant::now();
    let body = admission::read_body(client, edge.bounds(), held).await?;
    ctx.waited(reading);
    ctx.outcome.bytes_in = body.len() as u64;
    Ok(body)
}

fn plan(
    edge: &Edge,
    client: &ServerSession,
    ctx: &RequestContext,
    spoken: &Spoken<'_>,
    deadline: Option<Instant>,
) -> Result<Plan, Box<Refusal>> {
    let Spoken { endpoint, content, body, .. } = *spoken;
    let head = client.req_header();
    let pool = &edge.gateway.pool;
    let ask = Ask {
        model: content.model(),
        tokens: content.estimate(endpoint),
        pinned: edge.gateway.pinned(endpoint, content.ids()).map_err(refusals::unpinnable)?,
        deadline,
        seed: ctx.seed,
        needs: content.needs(),
        among: wish::among(edge, head)?,
        streams: content.stream(),
        ..Ask::default()
    };
    let mut plan = pool.plan(ask).map_err(|unknown| refusals::unknown_model(&unknown))?;
    if pool.asks_for_key(&plan) {
        plan.keep_to(wish::key(edge, &head.headers, content, body));
    }
    Ok(plan)
}

/// `work`, unless the client leaves first. Dropping `work` ends what it had going upstream; it comes pinned, so that
/// a request's future holds it once.
/// The time is not ours, and is noted so.
pub async fn client_or<T>(
    client: &mut ServerSession,
    ctx: &mut RequestContext,
    mut work: Pin<&mut impl Future<Output = T>>,
) -> Result<T, End> {
    let since = Instant::now();
    let wire = ctx.broken.as_ref().map(|broken| broken.wire);
    let done = loop {
        tokio::select! {
            biased;
            done = work.as_mut() => break Ok(done),
            () = client_left(client) => break Err(End::ClientGone),
            alive = beat(wire) => for bytes in alive {
                client.write_response_body(bytes, false).await.map_err(|_| End::ClientGone)?;
            },
        }
    };
    ctx.waited(since);
    done
}

/// What tells a client in the middle of an answer that it is still there; never, where none has begun.
async fn beat(begun: Option<Wire>) -> Vec<Bytes> {
    match begun {
        Some(wire) => {
            tokio::time::sleep(HEARTBEAT).await;
            heartbeat(wire)
        }
        None => std::future::pending().await,
    }
}

/// Resolves when the client has closed its side, a half of it included (no client that waits for an answer does that).
/// A client that sends its next request too early loses its connection after this answer, but not the answer.
pub async fn client_left(client: &mut ServerSession) {
    let left = client.read_body_or_idle(true).await;
    if left.is_err_and(|e| *e.etype() == ErrorType::ConnectError) {
        client.set_keepalive(None);
        std::future::pending::<()>().await;
    }
}

/// Waits for a turn in the queue, not for long: then it is looked at, whoever else sees to it.
pub async fn queued(place: Option<&mut Place>) {
    if let Some(place) = place {
        let _ = tokio::time::timeout(QUEUE_LOOK, place).await;
    }
}

/// What is left until `deadline`, and at most `limit`.
pub fn patience(limit: Option<Duration>, deadline: Option<Instant>) -> Option<Duration> {
    let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
    match (limit, left) {
        (Some(limit), Some(left)) => Some(limit.min(left)),
        (limit, left) => limit.or(left),
    }
}

/// The end of a request, as the access log says it; none where it has been said already.
pub fn ended(end: &End) -> Option<Ended> {
    match end {
        End::Refused(refusal) if refusal.reason == "upstream" => Some(Ended::Failed),
        End::Refused(refusal) if refusal.reason == "panicked" => Some(Ended::Panicked),
        End::Refused(_) => Some(Ended::Refused),
        End::ClientGone => Some(Ended::ClientGone),
        End::Cut => None,
    }
}
