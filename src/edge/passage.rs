//! The state of a request that Pingora's own phases carry (`passthrough`): whom it is at, by whose leave, and what has
//! been seen of the answer.
//!
//! An upload never goes out on a pooled connection, which may be dead already: it gets a group of its own. Ids in answers
//! are learned as they pass, so that a file is asked for where it lies. Upstreams are dialled by HTTP/1 here: a body that
//! an HTTP/2 server does not want to finish is a 502 in Pingora's phases.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::HeaderMap;
use pingora::http::RequestHeader;
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorType};

use super::failure::Failure;
use super::inflate::Inflate;
use super::lifecycle::patience;
use super::reply::Refusal;
use super::Edge;
use crate::dialect::conversation::Untranslatable;
use crate::gateway::Authorization;
use crate::llm::answer::Answer as Facts;
use crate::llm::endpoint::Endpoint;
use crate::llm::upstream_error::UpstreamError;
use crate::llm::ANTHROPIC_VERSION;
use crate::providers::{self, judge, Route, Transport};
use crate::routing::{Lease, Plan};

/// Of an answer that may carry ids, this much is looked at.
const LOOKED_AT: usize = 256 * 1024;
/// And of an error.
const ERROR_BODY: usize = 64 * 1024;
const WRITE_TIMEOUT: Duration = Duration::from_secs(60);
/// The group of connections that all bodyless requests share.
const SHARED: u64 = 0;

/// A request on its way through Pingora's phases.
pub struct Passage {
    pub(super) endpoint: Endpoint,
    pub(super) plan: Plan,
    pub(super) deadline: Option<Instant>,
    pub(super) has_body: bool,
    /// When an upload must have come whole.
    pub(super) whole_by: Option<Instant>,
    pub(super) lease: Option<Lease>,
    pub(super) credential: usize,
    /// Where it goes at this candidate, and by whose leave.
    pub(super) way: Option<(Route, Authorization)>,
    pub(super) begun: Instant,
    /// The connection of this attempt is not one from the pool.
    pub(super) fresh: bool,
    /// The upstream has begun to answer.
    pub(super) heard: bool,
    /// The answer, as far as it is looked at.
    pub(super) seen: Option<Seen>,
    pub(super) last: Option<Failure>,
    pub(super) unfit: Option<Untranslatable>,
    pub(super) refusal: Option<Box<Refusal>>,
}

/// Why the bytes that pass are kept for a moment.
pub(super) enum Seen {
    Ids(BytesMut),
    Error(Box<Refused>),
}

/// An error answer that is held back.
pub(super) struct Refused {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: BytesMut,
}

impl Passage {
    pub(super) fn is_late(&self, now: Instant) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= now)
    }

    pub(super) fn is_overdue(&self) -> bool {
        self.whole_by.is_some_and(|whole_by| whole_by <= Instant::now())
    }

    pub(super) fn begin(&mut self, lease: Lease) {
        self.credential = lease.credential();
        self.begun = Instant::now();
        self.lease = Some(lease);
        self.fresh = self.has_body;
        self.heard = false;
        self.seen = None;
    }

    /// Finds where the request goes at this candidate. Where it has nothing like it, it is passed over.
    pub(super) fn address(&mut self, edge: &Edge, client: &RequestHeader) -> bool {
        let ask = providers::Ask {
            wire: self.endpoint.wire(),
            path: self.endpoint.path(),
            query: client.uri.query(),
            model: None,
            stream: false,
            version: client.headers.get(ANTHROPIC_VERSION).and_then(|version| version.to_str().ok()),
        };
        let route = edge.gateway.upstream(self.credential).route(&ask).filter(|route| route.native);
        let Some(route) = route else {
            if let Some(lease) = self.lease.take() {
                edge.gateway.pool.pass_over(&mut self.plan, lease);
            }
            self.unfit = Some(Untranslatable::unserved(self.endpoint.path()));
            return false;
        };
        self.way = Some((route, Authorization::default()));
        true
    }

    /// What it takes to send to this candidate: leave, and an address.
    pub(super) async fn reach(&mut self, edge: &Edge) -> Result<Arc<HttpPeer>, Transport> {
        let upstream = edge.gateway.upstream(self.credential);
        if let Some((_, authorization)) = &mut self.way {
            *authorization = upstream.authorization().await?;
        }
        upstream.addresses.pick().await
    }

    /// Keeps the answer of ours; the error that makes Pingora ask for it.
    pub(super) fn refuse(&mut self, refusal: Box<Refusal>) -> Box<Error> {
        self.refusal = Some(refusal);
        Error::new_up(ErrorType::ConnectError)
    }

    pub(super) fn dial(&self, edge: &Edge, peer: &HttpPeer) -> HttpPeer {
        static ALONE: AtomicU64 = AtomicU64::new(SHARED + 1);
        let mut peer = peer.clone();
        peer.group_key = SHARED;
        if self.fresh {
            // A group of its own holds no connection, and this one is not kept in it.
            peer.group_key = ALONE.fetch_add(1, Ordering::Relaxed);
            peer.options.idle_timeout = Some(Duration::ZERO);
        }
        peer.options.set_http_version(1, 1);
        for limit in [&mut peer.options.connection_timeout, &mut peer.options.total_connection_timeout] {
            *limit = patience(*limit, self.deadline);
        }
        peer.options.read_timeout = patience(edge.gateway.settings.routing.response_timeout, self.deadline);
        peer.options.write_timeout = Some(WRITE_TIMEOUT);
        peer
    }

    /// The failure as it is told: a second attempt that the deadline has cut short is nobody's fault.
    pub(super) fn fair(&self, transport: Transport) -> Box<Failure> {
        let failure = Failure::transport(transport);
        let repeated = self.lease.as_ref().is_some_and(|lease| lease.attempt() > 1);
        match failure.verdict.timed_out && repeated && self.is_late(Instant::now()) {
            true => Failure::transport(Transport::OutOfTime),
            false => failure,
        }
    }

    /// Learns the ids of an answer at its end, unless it is too large to be one that gives any.
    pub(super) fn learn(&mut self, edge: &Edge, mut seen: BytesMut, chunk: &[u8], end: bool) {
        if seen.len() + chunk.len() > LOOKED_AT {
            return;
        }
        seen.extend_from_slice(chunk);
        if end {
            let facts = Facts::read(&seen, self.endpoint.wire());
            let ids = facts.map(|facts| facts.ids).unwrap_or_default();
            edge.gateway.pins.learn(&ids, &edge.gateway.upstream(self.credential).name);
        }
        self.seen = Some(Seen::Ids(seen));
    }
}

impl Refused {
    /// Takes a piece of the body. Whether that is enough.
    pub(super) fn take(&mut self, chunk: &[u8]) -> bool {
        let room = ERROR_BODY - self.body.len();
        self.body.extend_from_slice(&chunk[..chunk.len().min(room)]);
        self.body.len() == ERROR_BODY
    }

    pub(super) fn failure(self) -> Box<Failure> {
        let Self { status, headers, body } = self;
        let body = decoded(&headers, body.freeze());
        let kind = headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("");
        let error = UpstreamError::parse(status, kind, &body);
        let verdict = judge(status, &headers, &error, SystemTime::now());
        Box::new(Failure { verdict, error, status: Some(status), headers, body, reason: "status" })
    }
}

/// The body without its coding; nothing where that is unknown.
fn decoded(headers: &HeaderMap, body: Bytes) -> Bytes {
    let coding = headers.get(CONTENT_ENCODING).map_or(Ok(None), |coding| Inflate::of(coding.as_bytes()));
    match coding {
        Ok(None) => body,
        Ok(Some(mut inflate)) => inflate.push(&body).unwrap_or_default(),
        Err(_) => Bytes::new(),
    }
}
