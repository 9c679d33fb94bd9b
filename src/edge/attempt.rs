//! One attempt: a candidate, a connection, a request, and an answer worth committing to, or a verdict.
//!
//! Nothing has been written to the client while an attempt runs, so everything that goes wrong here can go on
//! elsewhere. That is why a stream's 200 is held back until its first event with output, and a unary answer until it
//! is whole and parses: providers report errors as the first event of a 200, and half an answer is none.

use std::future::Future;
use std::pin::pin;
use std::time::{Duration, Instant, SystemTime};

use bytes::{Bytes, BytesMut};
use http::header::CONTENT_TYPE;
use pingora::http::ResponseHeader;
use pingora::protocols::http::ServerSession;
use pingora::time::timeout;

use super::admission::Held;
use super::context::RequestContext;
use super::exchange::{Dial, Exchange};
use super::failure::{Failure, Trouble, MOST_ERROR_BODY};
use super::lifecycle::{client_or, patience, End};
use super::phrase::{NoAnswer, Phrased, Spoken, Tongue, Wanted};
use super::relay::HEARTBEAT;
use super::{reply, Edge};
use crate::dialect::resume::Told;
use crate::gateway::{Dress, Upstream};
use crate::llm::ability::Ability;
use crate::llm::answer::Answer as Facts;
use crate::llm::stream::{AnswerStream, Ending, StreamFault, StreamWatch};
use crate::providers::{chained, Blame, Next, Transport};
use crate::routing::{Lease, Outlook, Plan};

/// An error body is read for this long; its connection then goes back to the pool.
const ERROR_BODY_TIME: Duration = Duration::from_secs(2);
/// A unary answer larger than this is no answer.
const MOST_ANSWER: usize = 64 * 1024 * 1024;
/// A stream that has not said anything after this much is committed as it is.
const MOST_HELD_FRAMES: usize = 64;
const MOST_HELD_BYTES: usize = 256 * 1024;

/// What an attempt works with.
pub struct Attempt<'a, 's> {
    /// The edge.
    pub edge: &'a Edge,
    /// The request.
    pub spoken: &'a Spoken<'s>,
    /// When the request must have shown its first output.
    pub deadline: Option<Instant>,
    /// What the client has been told of an answer that broke off.
    pub told: Option<&'a Told>,
    /// Who asked.
    pub client: &'a mut ServerSession,
    /// The request's context.
    pub ctx: &'a mut RequestContext,
}

/// An answer to commit to.
pub enum Answer {
    /// Whole, and valid.
    Unary {
        /// The head, as the client gets it.
        head: Box<ResponseHeader>,
        /// The body, decoded.
        body: Bytes,
        /// What it says: usage, ids.
        facts: Facts,
        /// Its share of the budget.
        share: Held,
    },
    /// A stream that has begun to say something.
    Stream {
        /// The rest comes from here.
        exchange: Exchange,
        /// What was seen so far.
        watch: Box<dyn AnswerStream>,
        /// It is in another dialect than the upstream's own.
        translated: bool,
        /// What came so far, to be forwarded first.
        held: Vec<Bytes>,
        /// The share of the budget of an event whose end has not come.
        share: Held,
        /// The upstream has ended already.
        over: bool,
    },
    /// Bytes that we do not open (audio, files).
    Raw {
        /// They come from here.
        exchange: Exchange,
    },
    /// The upstream has switched to a WebSocket.
    Socket {
        /// On this connection.
        exchange: Exchange,
    },
}

impl Attempt<'_, '_> {
    /// Runs the attempt, and notes it in the outcome.
    pub async fn run(mut self, lease: &mut Lease, plan: &Plan) -> Result<Answer, Trouble> {
        let begun = Instant::now();
        let upstream = self.edge.gateway.upstream(lease.credential());
        let (phrased, tongue) = self.phrase(upstream, lease)?;
        // Only a stream is waited for in two ways; the pool is not asked about for the rest.
        let alone = self.spoken.content.stream() && !self.edge.gateway.pool.has_alternative(plan, begun);
        let limit = self.first_output(alone, begun);
        let result = match self.ask(upstream, lease, &phrased, limit).await {
            Ok(exchange) => {
                self.notice(upstream, lease.credential(), &exchange);
                self.accept(upstream, exchange, tongue, limit, alone).await
            }
            Err(trouble) => Err(trouble),
        };
        let result = result.map_err(|trouble| self.fair(trouble, lease));
        if result.is_ok() {
            lease.answered(begun.elapsed(), Instant::now());
        }
        let (status, reason) = match &result {
            Ok(Answer::Socket { .. }) => (101, "ok"),
            Ok(_) => (200, "ok"),
            Err(Trouble::ClientGone) => (499, "client_gone"),
            Err(Trouble::Unfit(_)) => (400, "unfit"),
            Err(Trouble::Failed(failure)) => (failure.verdict.code, failure.reason),
        };
        self.ctx.attempted(&upstream.name, lease.model(), status, begun.elapsed(), reason);
        result
    }

    fn phrase(&self, upstream: &Upstream, lease: &Lease) -> Result<(Phrased, Tongue), Trouble> {
        let wanted = Wanted {
            model: lease.upstream_model(),
            told: self.told,
            prefill: lease.abilities().has(Ability::Prefill),
            seed: self.ctx.seed,
        };
        Ok(self.spoken.phrase(self.edge, upstream, self.client.req_header(), wanted)?)
    }

    /// When the first output must be there: after `first_token_timeout` or `response_timeout`, where somebody else
    /// could answer instead (a stream that thinks is otherwise given until the deadline).
    fn first_output(&self, alone: bool, begun: Instant) -> Option<Instant> {
        let routing = &self.edge.gateway.settings.routing;
        let limit = match self.spoken.content.stream() {
            false => routing.response_timeout,
            true if alone => None,
            true => routing.first_token_timeout,
        };
        match (limit.map(|limit| begun + limit), self.deadline) {
            (Some(limit), Some(deadline)) => Some(limit.min(deadline)),
            (limit, deadline) => limit.or(deadline),
        }
    }

    /// A second attempt that the deadline has cut short had no fair chance, and is nobody's fault. A request that is to
    /// go on with an answer was good enough for somebody: who refuses it is passed over.
    fn fair(&self, trouble: Trouble, lease: &Lease) -> Trouble {
        let over = self.deadline.is_some_and(|deadline| deadline <= Instant::now());
        match trouble {
            Trouble::Failed(failure) if over && failure.verdict.timed_out && lease.attempt() > 1 => {
                Transport::OutOfTime.into()
            }
            Trouble::Failed(mut failure) if self.told.is_some() && failure.verdict.blame == Blame::Caller => {
                failure.verdict.next = Next::Other;
                Trouble::Failed(failure)
            }
            trouble => trouble,
        }
    }

    /// Sends the request and reads the head of the answer. A pooled connection that dies before it answers is no
    /// verdict on anybody: the same request goes out once more on a fresh one. So it does after a 401 where a token can
    /// be had anew.
    async fn ask(
        &mut self,
        upstream: &Upstream,
        lease: &mut Lease,
        phrased: &Phrased,
        limit: Option<Instant>,
    ) -> Result<Exchange, Trouble> {
        let socket = self.spoken.content.is_socket();
        let (mut dial, mut renewed) = (if socket { Dial::Http1 } else { Dial::Any }, false);
        let mut authorization = client_or(self.client, self.ctx, pin!(upstream.authorization())).await??;
        loop {
            let opening = within(limit, self.edge.dialer.open(&upstream.addresses, dial));
            let mut exchange = client_or(self.client, self.ctx, pin!(opening)).await??;
            lease.sent();
            let dress = Dress {
                route: &phrased.route,
                headers: &phrased.headers,
                authorization: &authorization,
                length: (!socket).then(|| phrased.body.len()),
                request_id: self.ctx.request_id(),
                trace: self.ctx.trace(),
                hop: &self.edge.gateway.hop,
            };
            let dressed = upstream.request(self.client.req_header(), &dress);
            let Ok(head) = dressed else { return Err(Transport::LocalFault.into()) };
            let talk = within(limit, async {
                exchange.send(head, &phrased.body).await?;
                exchange.head(None).await
            });
            let talked = client_or(self.client, self.ctx, pin!(talk)).await?;
            match talked {
                Err(Transport::Reset) if exchange.reused && dial == Dial::Any => dial = Dial::Fresh,
                Err(transport) => return Err(transport.into()),
                Ok(()) if renewed || exchange.response().is_none_or(|head| head.status != 401) => {
                    return Ok(exchange);
                }
                Ok(()) => {
                    let other =
                        client_or(self.client, self.ctx, pin!(upstream.renewed(&authorization))).await?;
                    let Some(other) = other else { return Ok(exchange) };
                    (authorization, renewed) = (other, true);
                }
            }
        }
    }

    /// Another router may say that it is about to leave.
    fn notice(&self, upstream: &Upstream, credential: usize, exchange: &Exchange) {
        let leaving = |head: &ResponseHeader| head.headers.contains_key(chained::LEAVING);
        if upstream.peer.is_some() && exchange.response().is_some_and(leaving) {
            self.edge.gateway.regard(credential, Outlook::Draining);
        }
    }

    /// Judges the head, and reads as much of the answer as it takes to commit to it.
    async fn accept(
        &mut self,
        upstream: &Upstream,
        mut exchange: Exchange,
        tongue: Tongue,
        limit: Option<Instant>,
        alone: bool,
    ) -> Result<Answer, Trouble> {
        let Some(head) = exchange.response() else { return Err(Transport::Malformed.into()) };
        if !(head.status.is_success() || exchange.is_socket()) {
            return Err(Trouble::Failed(self.refused(upstream, exchange).await?));
        }
        let id = self.edge.upstream_id(&head.headers).and_then(|id| id.to_str().ok());
        self.ctx.outcome.upstream_request_id = id.map(str::to_owned);
        if exchange.is_socket() {
            return Ok(Answer::Socket { exchange });
        }
        let kind = head.headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("");
        let (is_stream, is_json) = (has_type(kind, "text/event-stream"), has_type(kind, "application/json"));
        let empty = matches!(head.status.as_u16(), 204 | 205);
        let native = matches!(tongue, Tongue::Native);
        if !native && (empty || is_stream != self.spoken.content.stream()) {
            // An answer of another form than was asked for has no translation.
            Err(Transport::Malformed.into())
        } else if empty {
            Ok(Answer::Raw { exchange })
        } else if is_stream {
            exchange.decode()?;
            self.hold(exchange, tongue, limit, alone).await
        } else if is_json || self.spoken.endpoint.answers_json() {
            exchange.decode()?;
            // The head was in time; its body has the deadline and the limit on silence.
            self.collect(exchange, tongue).await
        } else {
            Ok(Answer::Raw { exchange })
        }
    }

    /// An error answer: read, given back to the pool, judged.
    async fn refused(&mut self, upstream: &Upstream, mut exchange: Exchange) -> Result<Box<Failure>, End> {
        let head = exchange.response().map(|head| (head.status.as_u16(), head.headers.clone()));
        let (status, headers) = head.unwrap_or_default();
        let decodes = exchange.decode().is_ok();
        let reading = exchange.error_body(MOST_ERROR_BODY, ERROR_BODY_TIME);
        let body = client_or(self.client, self.ctx, pin!(reading)).await?;
        self.edge.dialer.release(exchange).await;
        let body: Bytes = if decodes { body.into() } else { Bytes::new() };
        Ok(Failure::refused(upstream.provider.is_router, status, headers, body))
    }

    /// A stream, up to its first event with output. Where nobody else could answer instead, a long silence commits it, so
    /// that the client gets its head and sees life.
    async fn hold(
        &mut self,
        mut exchange: Exchange,
        tongue: Tongue,
        limit: Option<Instant>,
        alone: bool,
    ) -> Result<Answer, Trouble> {
        let (mut watch, translated): (Box<dyn AnswerStream>, bool) = match tongue {
            Tongue::Foreign(translation) => (translation, true),
            Tongue::Native | Tongue::Vectors(_) | Tongue::Pictures(_) => (Box::new(self.watch()), false),
        };
        let (mut held, mut share) = (Vec::new(), self.edge.budget.hold());
        let mut over = false;
        while !(over || watch.has_output() || watch.done()) {
            let bytes: usize = held.iter().map(Bytes::len).sum();
            if watch.frames() >= MOST_HELD_FRAMES || bytes >= MOST_HELD_BYTES {
                break;
            }
            match self.next(&mut exchange, patience(alone.then_some(HEARTBEAT), limit)).await? {
                Ok(Some(chunk)) => {
                    watch.push(chunk, &mut held).map_err(|fault| stream_trouble(fault, &exchange))?;
                    if !share.cover(watch.pending()) {
                        return Err(Transport::NoRoom.into());
                    }
                }
                Ok(None) if watch.finish(&mut held) == Ending::Complete => over = true,
                Ok(None) | Err(Transport::Reset) => return Err(Transport::Truncated.into()),
                Err(Transport::ResponseTimeout) if alone && is_ahead(limit) => break,
                Err(Transport::ResponseTimeout) => return Err(Transport::FirstTokenTimeout.into()),
                Err(transport) => return Err(transport.into()),
            }
        }
        if self.told.is_none() {
            self.ctx.outcome.first_token = watch.has_output().then(|| self.ctx.started.elapsed());
        }
        Ok(Answer::Stream { exchange, watch, translated, held, share, over })
    }

    fn watch(&self) -> StreamWatch {
        let Spoken { endpoint, content, .. } = self.spoken;
        let injected = content.stream() && endpoint.wants_usage() && !content.asked_usage();
        let mut watch = StreamWatch::new(endpoint.wire(), injected).named(self.spoken.echo());
        if content.stores() {
            watch.keep_chat();
        }
        watch
    }

    /// A unary answer, whole.
    async fn collect(&mut self, mut exchange: Exchange, tongue: Tongue) -> Result<Answer, Trouble> {
        let mut share = self.edge.budget.hold();
        let body = self.whole(&mut exchange, &mut share).await?;
        let upstream = exchange.response().ok_or(Transport::Malformed)?;
        let translated = !matches!(tongue, Tongue::Native);
        let (body, facts) = match self.spoken.understand(self.edge, tongue, body) {
            Ok(understood) => understood,
            Err(NoAnswer::Malformed) => return Err(Transport::Malformed.into()),
            Err(NoAnswer::Error(error)) => {
                let headers = upstream.headers.clone();
                self.edge.dialer.release(exchange).await;
                return Err(Trouble::Failed(Failure::in_answer(*error, headers, SystemTime::now())));
            }
        };
        let length = Some(body.len());
        let head = if translated {
            reply::translated_head(self.client, self.ctx, upstream, "application/json", length)
        } else {
            reply::relayed_head(self.client, self.ctx, upstream, length)
        };
        let head = head.map_err(|_| Transport::Malformed)?;
        self.edge.dialer.release(exchange).await;
        Ok(Answer::Unary { head, body, facts, share })
    }

    async fn whole(&mut self, exchange: &mut Exchange, share: &mut Held) -> Result<Bytes, Trouble> {
        let stall = self.edge.gateway.settings.routing.stall_timeout;
        let mut first = Bytes::new();
        let mut body = BytesMut::new();
        while let Some(chunk) = self.next(exchange, patience(stall, self.deadline)).await?? {
            if first.is_empty() && body.is_empty() {
                first = chunk;
                continue;
            }
            if body.is_empty() {
                body.extend_from_slice(&std::mem::take(&mut first));
            }
            if body.len() + chunk.len() > MOST_ANSWER {
                return Err(Transport::Malformed.into());
            }
            body.extend_from_slice(&chunk);
            if !share.cover(body.capacity()) {
                return Err(Transport::NoRoom.into());
            }
        }
        Ok(if body.is_empty() { first } else { body.freeze() })
    }

    /// The next chunk within `limit`, unless the client leaves first.
    async fn next(
        &mut self,
        exchange: &mut Exchange,
        limit: Option<Duration>,
    ) -> Result<Result<Option<Bytes>, Transport>, End> {
        let reading = async {
            match limit {
                Some(limit) => {
                    timeout(limit, exchange.chunk()).await.unwrap_or(Err(Transport::ResponseTimeout))
                }
                None => exchange.chunk().await,
            }
        };
        client_or(self.client, self.ctx, pin!(reading)).await
    }
}

/// `work`, unless it takes until `limit`.
async fn within<T>(
    limit: Option<Instant>,
    work: impl Future<Output = Result<T, Transport>>,
) -> Result<T, Transport> {
    match patience(None, limit) {
        Some(left) => timeout(left, work).await.unwrap_or(Err(Transport::ResponseTimeout)),
        None => work.await,
    }
}

fn is_ahead(limit: Option<Instant>) -> bool {
    limit.is_none_or(|limit| limit > Instant::now())
}

fn stream_trouble(fault: StreamFault, exchange: &Exchange) -> Trouble {
    match fault {
        StreamFault::Upstream(error) => {
            let headers = exchange.response().map(|head| head.headers.clone()).unwrap_or_default();
            Trouble::Failed(Failure::in_answer(error, headers, SystemTime::now()))
        }
        StreamFault::TooLarge => Transport::Malformed.into(),
        StreamFault::Diverged => Transport::Diverged.into(),
    }
}

fn has_type(content_type: &str, wanted: &str) -> bool {
    content_type.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case(wanted))
}
