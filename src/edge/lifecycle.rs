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
use super::relay::{heartbeat, Accepted, Rest, HEARTBEAT};
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
    let mut tries = Tries { deadline: patience_of(edge), last: None, unfit: None };
    let (first, mut newer): (&Edge, Option<Arc<Edge>>) = (edge, None);
    let prepared = OnceLock::new();
    let spoken = Spoken::new(endpoint, &content, &body, &prepared);
    let mut plan = plan(edge, client, ctx, &spoken, tries.deadline)?;
    let spoken = spoken.echoing(plan.stands_in() || edge.gateway.settings.server.echo_model);
    let pictures = Pictures::default();
    let mut told = resumable(edge, endpoint, &content);
    loop {
        let edge = newer.as_deref().unwrap_or(first);
        let mut lease = match turn(edge, &mut plan, &mut tries, client, ctx).await? {
            Turn::Try(lease) => lease,
            Turn::Again => continue,
            Turn::Moved(Course::Process(to)) => return Box::pin(forward::ask(&to, &body, client, ctx)).await,
            Turn::Moved(course) => {
                newer = course.edge().or(newer);
                plan = self::plan(newer.as_deref().unwrap_or(first), client, ctx, &spoken, tries.deadline)?;
                continue;
            }
            Turn::Stop(Stopped::Unfit) if endpoint.counts_tokens() => {
                return Box::pin(local::counted(&spoken, client, ctx)).await;
            }
            Turn::Stop(stop) => return Err(tries.refusal(edge, &plan, stop).into()),
        };
        let told_so_far = told.as_deref().filter(|_| ctx.broken.is_some());
        let illustrated = match Pictures::wanted(edge, &spoken, lease.credential()) {
            true => client_or(client, ctx, pin!(pictures.spoken(edge, &spoken, tries.deadline))).await?,
            false => None,
        };
        let (words, deadline) = (illustrated.as_ref().unwrap_or(&spoken), tries.deadline);
        let attempt = Attempt { edge, spoken: words, deadline, told: told_so_far, client, ctx };
        // Boxed, so that its room is given back before the answer is relayed.
        match Box::pin(attempt.run(&mut lease, &plan)).await {
            Ok(answer) => {
                let prompt = content.prompt_estimate();
                let accepted = Box::new(Accepted { edge, endpoint, prompt, lease, plan, told: told.take() });
                if accepted.told.is_none() {
                    // Nothing is sent again from here on: the body goes, and its share of the budget.
                    drop((illustrated, spoken));
                    drop((pictures, body, held, content, tries));
                    return accepted.relay(answer, client, ctx).await.map(|_| ());
                }
                let Some(rest) = accepted.relay(answer, client, ctx).await? else { return Ok(()) };
                if !spoken.is_plain() {
                    return Err(refusals::out_of_time(edge, tries.last).into());
                }
                (plan, told) = tries.go_on(edge, rest);
            }
            Err(Trouble::ClientGone) => return Err(abandoned(lease, &content, ctx)),
            Err(Trouble::Unfit(why)) => tries.pass_over(edge, &mut plan, lease, why),
            Err(Trouble::Failed(failure)) => tries.failed(edge, &mut plan, lease, *failure),
        }
    }
}

/// What a request does next.
enum Turn {
    /// An attempt.
    Try(Lease),
    /// The same question once more.
    Again,
    /// What it does goes on elsewhere.
    Moved(Course),
    /// Nothing is left.
    Stop(Stopped),
}

/// How a request stands.
struct Tries {
    /// When it must have shown its first output.
    deadline: Option<Instant>,
    /// The last failure.
    last: Option<Failure>,
    /// Why the last upstream without words for it has none.
    unfit: Option<Untranslatable>,
}

impl Tries {
    /// The upstream of `lease` has no words for it.
    fn pass_over(&mut self, edge: &Edge, plan: &mut Plan, lease: Lease, why: Untranslatable) {
        edge.gateway.pool.pass_over(plan, lease);
        self.unfit = Some(why);
    }

    /// The attempt with `lease` has failed.
    fn failed(&mut self, edge: &Edge, plan: &mut Plan, lease: Lease, failure: Failure) {
        edge.tell(edge.gateway.pool.failed(plan, lease, &failure.verdict, Instant::now()));
        self.last = Some(failure);
    }

    /// There is time again for another answer to go on with this one.
    fn go_on(&mut self, edge: &Edge, mut rest: Rest) -> (Plan, Option<Box<Told>>) {
        self.deadline = patience_of(edge);
        rest.plan.renew(self.deadline);
        (rest.plan, Some(rest.told))
    }

    fn refusal(self, edge: &Edge, plan: &Plan, stop: Stopped) -> Box<Refusal> {
        refusals::stopped(edge, plan, stop, self.last, self.unfit)
    }
}

/// Asks the pool what is next.
async fn turn(
    edge: &Edge,
    plan: &mut Plan,
    tries: &mut Tries,
    client: &mut ServerSession,
    ctx: &mut RequestContext,
) -> Result<Turn, End> {
    let now = in_time(edge, tries.deadline, &mut tries.last)?;
    Ok(match edge.next(plan, now) {
        Step::Try(lease) => edge.confirm(plan, lease, &mut tries.last).await?.map_or(Turn::Again, Turn::Try),
        Step::Wait(pause) => {
            client_or(client, ctx, pin!(tokio::time::sleep(pause))).await?;
            Turn::Again
        }
        Step::Queued => {
            client_or(client, ctx, pin!(queued(plan.place()))).await?;
            Turn::Again
        }
        Step::Moved => match edge.courses.settled().await {
            Course::Process(_) if ctx.broken.is_some() => {
                return Err(refusals::out_of_time(edge, tries.last.take()).into());
            }
            course => Turn::Moved(course),
        },
        Step::Stop(stop) => Turn::Stop(stop),
    })
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
    permit(edge, endpoint, content.model(), content.estimate(endpoint), ctx).await?;
    Ok((held, body, content))
}

/// Whether the client's key is for this, and has room for so many tokens. The request counts from here on.
pub async fn permit(
    edge: &Edge,
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
    let (now, among) = (Instant::now(), edge.among());
    ctx.sit(now, among).map_err(refusals::client_limited)?;
    let Some(seat) = &mut ctx.seat else { return Ok(()) };
    seat.count(tokens, now, among).map_err(refusals::client_limited)?;
    edge.approve(seat).await
}

/// When a request that is asked, or gone on with, from now on must have shown something.
fn patience_of(edge: &Edge) -> Option<Instant> {
    edge.gateway.settings.routing.deadline.map(|budget| Instant::now() + budget)
}

/// A place for what the client is told, where another answer may go on with one that breaks off.
fn resumable(edge: &Edge, endpoint: &Endpoint, content: &Content) -> Option<Box<Told>> {
    let wanted = edge.gateway.settings.routing.resume == Resume::Verify;
    // The id of a stored answer leads to one host, which has half of it.
    let stored = content.is_stored(endpoint.wire() == Wire::Responses);
    if !(wanted && content.stream() && endpoint.generates()) || stored {
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
        class: ctx.class(),
        needs: content.needs(),
        among: wish::among(edge, head)?,
        streams: content.stream(),
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
