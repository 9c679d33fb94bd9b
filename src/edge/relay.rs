//! From the upstream to the client, after the commit: nothing is retried any more, and nothing ends without a word.
//!
//! A stream's bytes go on as they came, at once, frame by frame; what is held is one chunk and the tail of an
//! unfinished frame, so a slow reader slows its upstream. A stream that breaks, stalls, or ends unfinished gets an
//! in-band error frame, because the SDKs take a connection that merely ends for a success.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use pingora::http::ResponseHeader;
use pingora::protocols::http::ServerSession;
use pingora::time::{sleep, timeout};

use super::admission::Held;
use super::attempt::Answer;
use super::context::{Broken, RequestContext};
use super::door::Served;
use super::exchange::{Dialer, Exchange};
use super::failure::Failure;
use super::lifecycle::{client_left, End};
use super::{drain, reply, socket, unopened, Edge};
use crate::dialect::resume::Told;
use crate::llm::answer::Answer as Facts;
use crate::llm::endpoint::Endpoint;
use crate::llm::error::ApiError;
use crate::llm::stream::{AnswerStream, Ending, StreamFault};
use crate::llm::usage::Usage;
use crate::llm::Wire;
use crate::observe::metrics;
use crate::observe::outcome::{Ended, Resumed, TokenCount};
use crate::providers::{Next, Transport, Verdict};
use crate::routing::{Lease, Plan};

/// A comment goes out after this long a silence, so that clients and balancers see life.
pub(super) const HEARTBEAT: Duration = Duration::from_secs(15);
const COMMENT: &[u8] = b": keep-alive\n\n";
const PING: &[u8] = b"event: ping\ndata: {\"type\":\"ping\"}\n\n";
/// A finished stream's connection is worth keeping if its end comes within this time.
const TAIL: Duration = Duration::from_millis(200);

/// An attempt whose answer is accepted.
pub struct Accepted<'a> {
    /// The edge.
    pub edge: &'a Edge,
    /// What was asked.
    pub endpoint: &'a Endpoint,
    /// Estimate of the prompt's tokens, for answers that do not say.
    pub prompt: u64,
    /// The attempt's permission, to be settled.
    pub lease: Lease,
    /// The request's plan, for a verdict that comes late.
    pub plan: Plan,
    /// What the client is told, where another answer could go on with this one.
    pub told: Option<Box<Told>>,
}

/// An answer that broke off, with what it takes to go on.
pub struct Rest {
    /// What has been tried.
    pub plan: Plan,
    /// What the client knows.
    pub told: Box<Told>,
}

impl Accepted<'_> {
    /// Relays the answer and settles the lease. What is given back is to be gone on with.
    pub async fn relay(
        self: Box<Self>,
        answer: Answer,
        client: &mut ServerSession,
        ctx: &mut RequestContext,
    ) -> Result<Option<Rest>, End> {
        let upstream = self.edge.gateway.upstream(self.lease.credential());
        ctx.outcome.credential = Some(upstream.name.clone());
        ctx.outcome.model_served = Some(self.lease.model().clone());
        match answer {
            // The share is given back behind the last byte.
            Answer::Unary { head, body, facts, share: _share } => {
                Box::pin(self.unary(head, body, facts, client, ctx)).await.map(|()| None)
            }
            Answer::Stream { exchange, watch, translated, held, share, over } => {
                let _open = metrics::stream();
                let Accepted { edge, endpoint, prompt, lease, plan, told } = *self;
                let lease = Some(lease);
                let (last, spoke) = (Instant::now(), Instant::now());
                let mut stream = Stream {
                    edge,
                    endpoint,
                    prompt,
                    lease,
                    plan,
                    exchange,
                    watch,
                    share,
                    translated,
                    told,
                    last,
                    spoke,
                };
                let end = match stream.commit(client, ctx, held).await {
                    Ok(()) if !over => stream.pump(client, ctx).await,
                    committed => committed,
                };
                Box::pin(stream.conclude(end, client, ctx)).await
            }
            Answer::Raw { exchange } => {
                Box::pin(unopened::relay(*self, exchange, client, ctx)).await.map(|()| None)
            }
            Answer::Socket { exchange } => {
                Box::pin(socket::carry(*self, exchange, client, ctx)).await.map(|()| None)
            }
        }
    }

    async fn unary(
        mut self: Box<Self>,
        mut head: Box<ResponseHeader>,
        body: Bytes,
        facts: Facts,
        client: &mut ServerSession,
        ctx: &mut RequestContext,
    ) -> Result<(), End> {
        self.edge.seal(ctx, self.lease.credential(), &mut head);
        let gateway = &self.edge.gateway;
        gateway.memory.pin(&facts.ids, &gateway.upstream(self.lease.credential()).name);
        let usage = facts.usage.unwrap_or_else(|| seen(self.endpoint, self.prompt, body.len() as u64));
        ctx.outcome.usage = facts.usage.map(|usage| TokenCount::of(&usage, false));
        self.lease.charge(usage.charge());
        ctx.charge(usage.charge());
        self.edge.tell(self.lease.succeeded(Instant::now()));
        // Settled before the client can ask for more.
        drop(self.lease);
        ctx.settle();
        ctx.ended(Ended::ClientGone);
        ctx.answered(head.status.as_u16());
        ctx.outcome.bytes_out = body.len() as u64;
        client.write_response_header(head).await.map_err(|_| End::ClientGone)?;
        let written = ctx.waiting(client.write_response_body(body, true)).await;
        written.map_err(|_| End::ClientGone)?;
        ctx.ended(Ended::Complete);
        Ok(())
    }
}

/// Why a committed stream is not going on.
enum Stop {
    ClientGone,
    Fault(Box<Failure>, Ended),
    Drained,
}

struct Stream<'a> {
    edge: &'a Edge,
    endpoint: &'a Endpoint,
    prompt: u64,
    /// Given back as soon as the stream has said its last word.
    lease: Option<Lease>,
    plan: Plan,
    exchange: Exchange,
    watch: Box<dyn AnswerStream>,
    /// Of the budget, for an event whose end has not come.
    share: Held,
    translated: bool,
    told: Option<Box<Told>>,
    /// When the upstream has said something.
    last: Instant,
    /// When the client was told something.
    spoke: Instant,
}

impl Stream<'_> {
    /// Sends the head and what was held back. A probe that got this far has proven its credential.
    async fn commit(
        &mut self,
        client: &mut ServerSession,
        ctx: &mut RequestContext,
        held: Vec<Bytes>,
    ) -> Result<(), Stop> {
        if let Some(lease) = self.lease.as_mut().filter(|lease| lease.is_probe()) {
            self.edge.tell(lease.succeeded(Instant::now()));
        }
        ctx.ended(Ended::ClientGone);
        if ctx.broken.is_some() {
            // The client has had a head, and goes on with what is new.
            return self.forward(held, client, ctx).await;
        }
        let upstream = self.exchange.response().ok_or(Stop::ClientGone)?;
        let head = if self.translated {
            reply::translated_head(client, ctx, upstream, "text/event-stream", None)
        } else {
            reply::relayed_head(client, ctx, upstream, None)
        };
        let mut head = head.map_err(|_| Stop::ClientGone)?;
        self.exchange.forget_head();
        if let Some(lease) = &self.lease {
            self.edge.seal(ctx, lease.credential(), &mut head);
        }
        ctx.answered(head.status.as_u16());
        client.write_response_header(head).await.map_err(|_| Stop::ClientGone)?;
        self.forward(held, client, ctx).await
    }

    /// Forwards until the stream has said that it is done, or cannot go on.
    async fn pump(&mut self, client: &mut ServerSession, ctx: &mut RequestContext) -> Result<(), Stop> {
        let mut cut = self.edge.drain.cut();
        let mut out = Vec::with_capacity(2);
        while !self.watch.done() {
            let (quiet, since) = (self.quiet(), Instant::now());
            let chunk = tokio::select! {
                biased;
                chunk = self.exchange.chunk() => chunk,
                () = client_left(client) => return Err(Stop::ClientGone),
                () = drain::over(&mut cut) => return Err(Stop::Drained),
                () = sleep(quiet) => {
                    ctx.waited(since);
                    self.stalled()?;
                    self.forward(heartbeat(self.endpoint.wire()), client, ctx).await?;
                    continue;
                }
            };
            self.last = Instant::now();
            ctx.outcome.waited += self.last - since;
            match chunk {
                Ok(Some(chunk)) => match self.watch.push(chunk, &mut out) {
                    Ok(()) => {
                        if self.watch.done() {
                            self.settle(ctx);
                        }
                        if out.is_empty() && self.spoke.elapsed() >= HEARTBEAT {
                            out = heartbeat(self.endpoint.wire());
                        }
                        self.forward(std::mem::take(&mut out), client, ctx).await?;
                        if !self.share.cover(self.watch.pending()) {
                            return Err(Stop::Fault(Failure::transport(Transport::NoRoom), Ended::Truncated));
                        }
                    }
                    Err(fault) => {
                        self.forward(std::mem::take(&mut out), client, ctx).await?;
                        return Err(broken(fault));
                    }
                },
                Ok(None) => {
                    let ending = self.watch.finish(&mut out);
                    self.forward(std::mem::take(&mut out), client, ctx).await?;
                    return match ending {
                        Ending::Complete => Ok(()),
                        Ending::Truncated => {
                            Err(Stop::Fault(Failure::transport(Transport::Truncated), Ended::Truncated))
                        }
                    };
                }
                Err(_) if self.watch.finished() => {
                    self.watch.finish(&mut out);
                    return self.forward(std::mem::take(&mut out), client, ctx).await;
                }
                Err(_) => {
                    return Err(Stop::Fault(Failure::transport(Transport::Truncated), Ended::Truncated))
                }
            }
        }
        Ok(())
    }

    /// How long to wait for the next chunk before looking at the clock again.
    fn quiet(&self) -> Duration {
        let stall = self.edge.gateway.settings.routing.stall_timeout;
        let left = stall.map(|stall| stall.saturating_sub(self.last.elapsed()));
        left.map_or(HEARTBEAT, |left| left.min(HEARTBEAT)).max(Duration::from_millis(10))
    }

    fn stalled(&self) -> Result<(), Stop> {
        let stall = self.edge.gateway.settings.routing.stall_timeout;
        match stall {
            Some(stall) if self.last.elapsed() >= stall => {
                Err(Stop::Fault(Failure::transport(Transport::Stalled), Ended::Stalled))
            }
            _ => Ok(()),
        }
    }

    /// Writes what may go on, in one piece.
    async fn forward(
        &mut self,
        mut out: Vec<Bytes>,
        client: &mut ServerSession,
        ctx: &mut RequestContext,
    ) -> Result<(), Stop> {
        let bytes = match out.len() {
            0 => return Ok(()),
            1 => out.swap_remove(0),
            _ => {
                let mut joined = BytesMut::with_capacity(out.iter().map(Bytes::len).sum());
                // Each goes when it is copied: a slow reader may take its time for the whole.
                out.drain(..).for_each(|part| joined.extend_from_slice(&part));
                joined.freeze()
            }
        };
        if let Some(told) = &mut self.told {
            told.hear(bytes.clone());
        }
        self.spoke = Instant::now();
        ctx.outcome.bytes_out += bytes.len() as u64;
        let written = ctx.waiting(client.write_response_body(bytes, false)).await;
        written.map_err(|_| Stop::ClientGone)
    }

    /// What it has cost, as far as it is known.
    fn account(&mut self, ctx: &mut RequestContext) {
        let usage = self.watch.usage();
        let cost = usage.unwrap_or_else(|| seen(self.endpoint, self.prompt, self.watch.output_bytes()));
        ctx.outcome.usage = Some(TokenCount::of(&cost, usage.is_none()));
        ctx.outcome.frames_dropped = self.watch.dropped();
        self.edge.gateway.remember(self.watch.signatures());
        ctx.charge(cost.charge());
        let Some(lease) = self.lease.as_mut() else { return };
        lease.charge(cost.charge());
        if let Some(id) = self.watch.stored_id() {
            let gateway = &self.edge.gateway;
            gateway.memory.pin(&[id.to_owned()], &gateway.upstream(lease.credential()).name);
        }
    }

    /// A success: the lease goes back, before the client can ask for more.
    fn settle(&mut self, ctx: &mut RequestContext) {
        self.account(ctx);
        if let Some(mut lease) = self.lease.take() {
            self.edge.tell(lease.succeeded(Instant::now()));
        }
        ctx.settle();
    }

    /// What the client knows, where somebody else could go on from there.
    fn resumable(&mut self, verdict: &Verdict) -> Option<Box<Told>> {
        self.told.take().filter(|told| verdict.next != Next::Stop && told.text().is_some())
    }

    /// The last bytes, the settlement and the verdict.
    async fn conclude(
        mut self,
        end: Result<(), Stop>,
        client: &mut ServerSession,
        ctx: &mut RequestContext,
    ) -> Result<Option<Rest>, End> {
        let last_words = match end {
            Ok(()) => {
                self.settle(ctx);
                ctx.ended(Ended::Complete);
                ctx.outcome.resumed = ctx.broken.as_ref().map(|_| Resumed::Whole);
                None
            }
            Err(Stop::ClientGone) => {
                self.settle(ctx);
                return Err(End::ClientGone);
            }
            Err(Stop::Drained) => {
                self.account(ctx);
                ctx.ended(Ended::Drained);
                Some(ApiError::shutting_down())
            }
            Err(Stop::Fault(failure, how)) => {
                self.account(ctx);
                ctx.ended(how);
                if let Some(lease) = self.lease.take() {
                    let changes = self.edge.gateway.pool.failed(
                        &mut self.plan,
                        lease,
                        &failure.verdict,
                        Instant::now(),
                    );
                    self.edge.tell(changes);
                }
                let message = self.edge.gateway.scrubber.scrub(&failure.error.message).into_owned();
                let error = ApiError::broken_stream(&failure.error, message);
                let broken = Broken { wire: self.endpoint.wire(), error, ended: how };
                if let Some(told) = self.resumable(&failure.verdict) {
                    ctx.broke_off(broken, failure.verdict.code, failure.reason);
                    return Ok(Some(Rest { plan: self.plan, told }));
                }
                // The first break is what went wrong; what came of the others is no news to the client.
                let broken = ctx.broken.take().map_or(broken, |first| *first);
                ctx.ended(broken.ended);
                Some(broken.error)
            }
        };
        let broken = last_words.is_some();
        let tail = last_words.map(|error| error.frame(self.endpoint.wire())).unwrap_or_default();
        if broken && tail.is_empty() {
            // There is no way to say so in-band: a proper end would look like a whole answer.
            return Err(End::Cut);
        }
        let written = ctx.waiting(client.write_response_body(tail, true)).await;
        if !broken {
            tokio::spawn(keep(self.edge.dialer.clone(), self.exchange));
        }
        written.map_err(|_| End::ClientGone)?;
        Ok(None)
    }
}

/// The last words of an answer that broke off, where nobody has gone on with it.
pub async fn give_up(client: &mut ServerSession, ctx: &mut RequestContext) -> Served {
    let Some(broken) = ctx.broken.take() else { return Served::Close };
    ctx.ended(broken.ended);
    // What the client has is of the last attempt that had begun to answer.
    let mut attempts = ctx.outcome.attempts.iter_mut().rev();
    ctx.outcome.usage = attempts.find_map(|attempt| attempt.tokens.take());
    let tail = broken.error.frame(broken.wire);
    match client.write_response_body(tail, true).await {
        Ok(()) => Served::Answered,
        Err(_) => Served::Close,
    }
}

/// An estimate of what an answer has cost. Bytes that are no text (pictures, vectors) are no tokens.
fn seen(endpoint: &Endpoint, prompt: u64, output_bytes: u64) -> Usage {
    Usage::seen(prompt, if endpoint.generates() { output_bytes } else { 0 })
}

/// Reads the end of a finished stream, so that its connection can be used again. The client does not wait for it.
async fn keep(dialer: Arc<Dialer>, mut exchange: Exchange) {
    let tail = async { while let Ok(Some(_)) = exchange.chunk().await {} };
    if timeout(TAIL, tail).await.is_ok() {
        dialer.release(exchange).await;
    }
}

/// What tells a client of this API that its stream is alive.
pub(super) fn heartbeat(wire: Wire) -> Vec<Bytes> {
    match wire {
        // Google's own client takes a comment for a broken event.
        Wire::Opaque | Wire::Gemini => Vec::new(),
        Wire::Messages => vec![Bytes::from_static(PING)],
        _ => vec![Bytes::from_static(COMMENT)],
    }
}

fn broken(fault: StreamFault) -> Stop {
    match fault {
        StreamFault::Upstream(error) => Stop::Fault(Failure::in_stream(error), Ended::UpstreamError),
        StreamFault::TooLarge => Stop::Fault(Failure::transport(Transport::Malformed), Ended::Truncated),
        StreamFault::Diverged => Stop::Fault(Failure::transport(Transport::Diverged), Ended::Truncated),
    }
}
