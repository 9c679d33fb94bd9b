//! The state of a request that Pingora's own phases carry (`passthrough`): whom it is at, by whose leave, and what has
//! been seen of the answer.
//!
//! An upload never goes out on a pooled connection, which may be dead already: it gets a group of its own. Ids in answers
//! are learned as they pass, so that a file is asked for where it lies. Upstreams are dialled by HTTP/1 here: a body that
//! an HTTP/2 server does not want to finish is a 502 in Pingora's phases.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::header::CONTENT_ENCODING;
use http::HeaderMap;
use pingora::http::RequestHeader;
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorType};

use super::failure::{Failure, MOST_ERROR_BODY};
use super::inflate::Inflate;
use super::lifecycle::patience;
use super::reply::Refusal;
use super::{wish, Edge};
use crate::dialect::conversation::Untranslatable;
use crate::gateway::Authorization;
use crate::llm::answer::Answer as Facts;
use crate::llm::endpoint::Endpoint;
use crate::llm::ANTHROPIC_VERSION;
use crate::providers::{self, Route, Transport};
use crate::routing::{Lease, Plan};

/// Of an answer that may carry ids, this much is looked at.
const LOOKED_AT: usize = 256 * 1024;
const WRITE_TIMEOUT: Duration = Duration::from_secs(60);
/// The group of connections that all bodyless requests share.
const SHARED: u64 = 0;

/// A request on its way through Pingora's phases.
pub struct Passage {
    /// What it asks for.
    pub endpoint: Endpoint,
    /// Its candidates.
    pub plan: Plan,
    /// When it must have its answer.
    pub deadline: Option<Instant>,
    /// It is an upload.
    pub has_body: bool,
    /// When an upload must have come whole.
    pub whole_by: Option<Instant>,
    /// The permission of the attempt that is under way,
    pub lease: Option<Lease>,
    /// whose it is,
    pub credential: usize,
    /// where it goes there, what authorizes it,
    pub way: Option<(Route, Authorization)>,
    /// and since when.
    pub begun: Instant,
    /// The connection of this attempt is not one from the pool.
    pub fresh: bool,
    /// The upstream has begun to answer.
    pub heard: bool,
    /// The answer, as far as it is looked at.
    pub seen: Option<Seen>,
    /// The failure before this attempt.
    pub last: Option<Failure>,
    /// Why a candidate was passed over.
    pub unfit: Option<Untranslatable>,
    /// The answer of ours, once there is no other.
    pub refusal: Option<Box<Refusal>>,
}

/// Why the bytes that pass are kept for a moment.
pub enum Seen {
    /// It may hold ids.
    Ids(BytesMut),
    /// It is an error, and held back.
    Error(Box<Refused>),
}

/// An error answer that is held back.
pub struct Refused {
    /// Its status,
    pub status: u16,
    /// its headers,
    pub headers: HeaderMap,
    /// and its body, as far as it came.
    pub body: BytesMut,
}

impl Passage {
    /// Whether its deadline is over.
    pub fn is_late(&self, now: Instant) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= now)
    }

    /// Whether its upload should have come whole by now.
    pub fn is_overdue(&self) -> bool {
        self.whole_by.is_some_and(|whole_by| whole_by <= Instant::now())
    }

    /// The next attempt.
    pub fn begin(&mut self, lease: Lease) {
        self.credential = lease.credential();
        self.begun = Instant::now();
        self.lease = Some(lease);
        self.fresh = self.has_body;
        self.heard = false;
        self.seen = None;
    }

    /// Finds where the request goes at this candidate. Where it has nothing like it, it is passed over.
    pub fn address(&mut self, edge: &Edge, client: &RequestHeader) -> bool {
        let query = wish::without_vendor(client.uri.query());
        let ask = providers::Ask {
            wire: self.endpoint.wire(),
            path: self.endpoint.path(),
            query: query.as_deref(),
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
    pub async fn reach(&mut self, edge: &Edge) -> Result<Arc<HttpPeer>, Transport> {
        let upstream = edge.gateway.upstream(self.credential);
        if let Some((_, authorization)) = &mut self.way {
            *authorization = upstream.authorization().await?;
        }
        upstream.addresses.pick().await
    }

    /// Keeps the answer of ours; the error that makes Pingora ask for it.
    pub fn refuse(&mut self, refusal: Box<Refusal>) -> Box<Error> {
        self.refusal = Some(refusal);
        Error::new_up(ErrorType::ConnectError)
    }

    /// The peer as Pingora is to dial it for this attempt.
    pub fn dial(&self, edge: &Edge, peer: &HttpPeer) -> HttpPeer {
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
    pub fn fair(&self, transport: Transport) -> Box<Failure> {
        let failure = Failure::transport(transport);
        let repeated = self.lease.as_ref().is_some_and(|lease| lease.attempt() > 1);
        match failure.verdict.timed_out && repeated && self.is_late(Instant::now()) {
            true => Failure::transport(Transport::OutOfTime),
            false => failure,
        }
    }

    /// Learns the ids of an answer at its end, unless it is too large to be one that gives any.
    pub fn learn(&mut self, edge: &Edge, mut seen: BytesMut, chunk: &[u8], end: bool) {
        if seen.len() + chunk.len() > LOOKED_AT {
            return;
        }
        seen.extend_from_slice(chunk);
        if end {
            let facts = Facts::read(&seen, self.endpoint.wire());
            let ids = facts.map(|facts| facts.ids).unwrap_or_default();
            edge.gateway.memory.pin(&ids, &edge.gateway.upstream(self.credential).name);
        }
        self.seen = Some(Seen::Ids(seen));
    }
}

impl Refused {
    /// Takes a piece of the body. Whether that is enough.
    pub fn take(&mut self, chunk: &[u8]) -> bool {
        let room = MOST_ERROR_BODY - self.body.len();
        self.body.extend_from_slice(&chunk[..chunk.len().min(room)]);
        self.body.len() == MOST_ERROR_BODY
    }

    /// The verdict on it; `by_router`: of another router.
    pub fn failure(self, by_router: bool) -> Box<Failure> {
        let Self { status, headers, body } = self;
        let body = decoded(&headers, body.freeze());
        Failure::refused(by_router, status, headers, body)
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
