//! One attempt: a candidate, a connection, a request, and an answer worth committing to, or a verdict.
//!
//! Nothing has been written to the client while an attempt runs, so everything that goes wrong here can go on
//! elsewhere. That is why a stream's 200 is held back until its first event with output, and a unary answer until it
//! is whole and parses: providers report errors as the first event of a 200, and half an answer is none.

use std::pin::pin;
use std::time::{Duration, Instant, SystemTime};

use bytes::{Bytes, BytesMut};
use http::header::CONTENT_TYPE;
use http::HeaderMap;
use pingora::http::ResponseHeader;
use pingora::protocols::http::ServerSession;
use pingora::time::timeout;

use super::content::Content;
use super::context::RequestContext;
use super::exchange::Exchange;
use super::lifecycle::{client_or, patience, End};
use super::{reply, Edge};
use crate::gateway::Upstream;
use crate::llm::answer::Answer as Facts;
use crate::llm::endpoint::Endpoint;
use crate::llm::stream::{AnswerStream, Ending, StreamFault, StreamWatch};
use crate::llm::upstream_error::UpstreamError;
use crate::providers::{judge, judge_stream, judge_transport, Transport, Verdict};
use crate::routing::{Lease, Plan};

/// An error body is read up to this size and for this long; its connection then goes back to the pool.
const ERROR_BODY: usize = 64 * 1024;
const ERROR_BODY_TIME: Duration = Duration::from_secs(2);
/// A unary answer larger than this is no answer.
const MOST_ANSWER: usize = 64 * 1024 * 1024;
/// A stream that has not said anything after this much is committed as it is.
const MOST_HELD_FRAMES: usize = 64;
const MOST_HELD_BYTES: usize = 256 * 1024;

/// What an attempt works with.
pub struct Attempt<'a> {
    /// The edge.
    pub edge: &'a Edge,
    /// What was asked.
    pub endpoint: &'a Endpoint,
    /// The request, read.
    pub content: &'a Content,
    /// The request's bytes.
    pub body: &'a Bytes,
    /// When the request must have shown its first output.
    pub deadline: Option<Instant>,
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
    },
    /// A stream that has begun to say something.
    Stream {
        /// The rest comes from here.
        exchange: Exchange,
        /// What was seen so far.
        watch: Box<StreamWatch>,
        /// What came so far, to be forwarded first.
        held: Vec<Bytes>,
        /// The upstream has ended already.
        over: bool,
    },
    /// Bytes that we do not open (audio, files).
    Raw {
        /// They come from here.
        exchange: Exchange,
    },
}

/// Why an attempt gave no answer.
pub enum Trouble {
    /// The client left; nobody is to blame.
    ClientGone,
    /// The upstream failed.
    Failed(Box<Failure>),
}

/// A failed attempt.
pub struct Failure {
    /// Whose fault, and where next.
    pub verdict: Verdict,
    /// What the upstream said, or what we say for it.
    pub error: UpstreamError,
    /// The upstream's status, if it got that far.
    pub status: Option<u16>,
    /// The upstream's headers, if it got that far.
    pub headers: HeaderMap,
    /// The error body as it came.
    pub body: Bytes,
    /// For log and metrics.
    pub reason: &'static str,
}

impl Failure {
    /// A failure below HTTP, or of an answer that cannot be used.
    pub fn transport(transport: Transport) -> Box<Self> {
        Box::new(Self {
            verdict: judge_transport(transport),
            error: UpstreamError::transport(transport.message()),
            status: None,
            headers: HeaderMap::new(),
            body: Bytes::new(),
            reason: transport.as_str(),
        })
    }

    /// An error that came inside a stream after its first output.
    pub fn in_stream(error: UpstreamError) -> Box<Self> {
        Self::in_answer(error, HeaderMap::new(), SystemTime::now())
    }

    fn in_answer(error: UpstreamError, headers: HeaderMap, now: SystemTime) -> Box<Self> {
        let verdict = judge_stream(&headers, &error, now);
        Box::new(Self {
            verdict,
            error,
            status: None,
            headers,
            body: Bytes::new(),
            reason: "error_in_answer",
        })
    }
}

impl From<Transport> for Trouble {
    fn from(transport: Transport) -> Self {
        Self::Failed(Failure::transport(transport))
    }
}

impl From<End> for Trouble {
    fn from(_: End) -> Self {
        Self::ClientGone
    }
}

impl Attempt<'_> {
    /// Runs the attempt, and notes it in the outcome.
    pub async fn run(
        &self,
        lease: &mut Lease,
        plan: &Plan,
        client: &mut ServerSession,
        ctx: &mut RequestContext,
    ) -> Result<Answer, Trouble> {
        let begun = Instant::now();
        let upstream = self.edge.gateway.upstream(lease.credential());
        let limit = self.first_output(plan, begun);
        let result = match self.ask(upstream, lease, limit, client, ctx).await {
            Ok(exchange) => self.accept(exchange, limit, client, ctx).await,
            Err(trouble) => Err(trouble),
        };
        let result = result.map_err(|trouble| self.fair(trouble, lease));
        let (status, reason) = match &result {
            Ok(_) => (200, "ok"),
            Err(Trouble::ClientGone) => (499, "client_gone"),
            Err(Trouble::Failed(failure)) => (failure.verdict.code, failure.reason),
        };
        ctx.attempted(&upstream.name, lease.model(), status, begun.elapsed(), reason);
        result
    }

    /// When the first output must be there: after `first_token_timeout` or `response_timeout`, where somebody else
    /// could answer instead (a stream that thinks is otherwise given until the deadline).
    fn first_output(&self, plan: &Plan, begun: Instant) -> Option<Instant> {
        let routing = &self.edge.gateway.settings.routing;
        let limit = match self.content.stream() {
            false => routing.response_timeout,
            true if self.edge.gateway.pool.has_alternative(plan, begun) => routing.first_token_timeout,
            true => None,
        };
        match (limit.map(|limit| begun + limit), self.deadline) {
            (Some(limit), Some(deadline)) => Some(limit.min(deadline)),
            (limit, deadline) => limit.or(deadline),
        }
    }

    /// A second attempt that the deadline has cut short had no fair chance, and is nobody's fault.
    fn fair(&self, trouble: Trouble, lease: &Lease) -> Trouble {
        let over = self.deadline.is_some_and(|deadline| deadline <= Instant::now());
        match trouble {
            Trouble::Failed(failure) if over && failure.verdict.timed_out && lease.attempt() > 1 => {
                Transport::OutOfTime.into()
            }
            trouble => trouble,
        }
    }

    /// Sends the request and reads the head of the answer. A pooled connection that dies before it answers is no
    /// verdict on anybody: the same request goes out once more on a fresh one.
    async fn ask(
        &self,
        upstream: &Upstream,
        lease: &mut Lease,
        limit: Option<Instant>,
        client: &mut ServerSession,
        ctx: &mut RequestContext,
    ) -> Result<Exchange, Trouble> {
        let inject = self.endpoint.wants_usage() && self.content.stream();
        let renamed = self.content.model().filter(|asked| *asked != lease.upstream_model());
        let renamed = renamed.map(|_| lease.upstream_model());
        let body = self.content.rewrite(self.body, renamed, inject);
        let mut fresh = false;
        loop {
            let opening =
                client_or(client, ctx, pin!(self.edge.dialer.open(&upstream.addresses, fresh))).await?;
            let mut exchange = opening?;
            lease.sent();
            let length = Some(body.len());
            let dressed =
                upstream.dress(client.req_header(), self.endpoint, ctx, length, &self.edge.gateway.hop);
            let Ok(head) = dressed else { return Err(Transport::LocalFault.into()) };
            let talk = async {
                exchange.send(head, &body).await?;
                exchange.head(patience(None, limit)).await
            };
            let talked = client_or(client, ctx, pin!(talk)).await?;
            match talked {
                Err(Transport::Reset) if exchange.reused && !fresh => fresh = true,
                Err(transport) => return Err(transport.into()),
                Ok(()) => return Ok(exchange),
            }
        }
    }

    /// Judges the head, and reads as much of the answer as it takes to commit to it.
    async fn accept(
        &self,
        mut exchange: Exchange,
        limit: Option<Instant>,
        client: &mut ServerSession,
        ctx: &mut RequestContext,
    ) -> Result<Answer, Trouble> {
        let Some(head) = exchange.response() else { return Err(Transport::Malformed.into()) };
        if !head.status.is_success() {
            return Err(Trouble::Failed(self.refused(exchange, client, ctx).await?));
        }
        let id = self.edge.upstream_id(&head.headers).and_then(|id| id.to_str().ok());
        ctx.outcome.upstream_request_id = id.map(str::to_owned);
        let kind = head.headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("");
        let (is_stream, is_json) = (has_type(kind, "text/event-stream"), has_type(kind, "application/json"));
        if matches!(head.status.as_u16(), 204 | 205) {
            Ok(Answer::Raw { exchange })
        } else if is_stream {
            exchange.decode()?;
            self.hold(exchange, limit, client, ctx).await
        } else if is_json || self.endpoint.answers_json() {
            exchange.decode()?;
            // The head was in time; its body has the deadline and the limit on silence.
            self.collect(exchange, self.deadline, client, ctx).await
        } else {
            Ok(Answer::Raw { exchange })
        }
    }

    /// An error answer: read, given back to the pool, judged.
    async fn refused(
        &self,
        mut exchange: Exchange,
        client: &mut ServerSession,
        ctx: &mut RequestContext,
    ) -> Result<Box<Failure>, End> {
        let head = exchange.response().map(|head| (head.status.as_u16(), head.headers.clone()));
        let (status, headers) = head.unwrap_or_default();
        let decodes = exchange.decode().is_ok();
        let reading = exchange.error_body(ERROR_BODY, ERROR_BODY_TIME);
        let body = client_or(client, ctx, pin!(reading)).await?;
        self.edge.dialer.release(exchange).await;
        let body: Bytes = if decodes { body.into() } else { Bytes::new() };
        let kind = headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("");
        let error = UpstreamError::parse(status, kind, &body);
        let verdict = judge(status, &headers, &error, SystemTime::now());
        Ok(Box::new(Failure { verdict, error, status: Some(status), headers, body, reason: "status" }))
    }

    /// A stream, up to its first event with output.
    async fn hold(
        &self,
        mut exchange: Exchange,
        limit: Option<Instant>,
        client: &mut ServerSession,
        ctx: &mut RequestContext,
    ) -> Result<Answer, Trouble> {
        let injected = self.content.stream() && self.endpoint.wants_usage() && !self.content.asked_usage();
        let mut watch = Box::new(StreamWatch::new(self.endpoint.wire(), injected));
        if self.content.stores() {
            watch.keep_chat();
        }
        let mut held = Vec::new();
        let mut over = false;
        while !(over || watch.has_output() || watch.done()) {
            let bytes: usize = held.iter().map(Bytes::len).sum();
            if watch.frames() >= MOST_HELD_FRAMES || bytes >= MOST_HELD_BYTES {
                break;
            }
            match next(&mut exchange, patience(None, limit), client, ctx).await? {
                Ok(Some(chunk)) => {
                    watch.push(chunk, &mut held).map_err(|fault| stream_trouble(fault, &exchange))?;
                }
                Ok(None) if watch.finish(&mut held) == Ending::Complete => over = true,
                Ok(None) | Err(Transport::Reset) => return Err(Transport::Truncated.into()),
                Err(Transport::ResponseTimeout) => return Err(Transport::FirstTokenTimeout.into()),
                Err(transport) => return Err(transport.into()),
            }
        }
        ctx.outcome.first_token = Some(ctx.started.elapsed());
        Ok(Answer::Stream { exchange, watch, held, over })
    }

    /// A unary answer, whole.
    async fn collect(
        &self,
        mut exchange: Exchange,
        limit: Option<Instant>,
        client: &mut ServerSession,
        ctx: &mut RequestContext,
    ) -> Result<Answer, Trouble> {
        let stall = self.edge.gateway.settings.routing.stall_timeout;
        let mut first = Bytes::new();
        let mut body = BytesMut::new();
        while let Some(chunk) = next(&mut exchange, patience(stall, limit), client, ctx).await?? {
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
        }
        let body = if body.is_empty() { first } else { body.freeze() };
        let upstream = exchange.response().ok_or(Transport::Malformed)?;
        let mut facts = Facts::read(&body, self.endpoint.wire()).map_err(|_| Transport::Malformed)?;
        if self.content.stores() {
            facts.keep_chat(self.endpoint.wire());
        }
        if let Some(error) = facts.error {
            let headers = upstream.headers.clone();
            self.edge.dialer.release(exchange).await;
            return Err(Trouble::Failed(Failure::in_answer(error, headers, SystemTime::now())));
        }
        let head =
            reply::relayed_head(client, ctx, upstream, Some(body.len())).map_err(|_| Transport::Malformed)?;
        self.edge.dialer.release(exchange).await;
        Ok(Answer::Unary { head, body, facts })
    }
}

/// The next chunk within `limit`, unless the client leaves first.
async fn next(
    exchange: &mut Exchange,
    limit: Option<Duration>,
    client: &mut ServerSession,
    ctx: &mut RequestContext,
) -> Result<Result<Option<Bytes>, Transport>, End> {
    let reading = async {
        match limit {
            Some(limit) => timeout(limit, exchange.chunk()).await.unwrap_or(Err(Transport::ResponseTimeout)),
            None => exchange.chunk().await,
        }
    };
    client_or(client, ctx, pin!(reading)).await
}

fn stream_trouble(fault: StreamFault, exchange: &Exchange) -> Trouble {
    match fault {
        StreamFault::Upstream(error) => {
            let headers = exchange.response().map(|head| head.headers.clone()).unwrap_or_default();
            Trouble::Failed(Failure::in_answer(error, headers, SystemTime::now()))
        }
        StreamFault::TooLarge => Transport::Malformed.into(),
    }
}

fn has_type(content_type: &str, wanted: &str) -> bool {
    content_type.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case(wanted))
}
