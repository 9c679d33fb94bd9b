//! Why an attempt gave no answer, and what is known of it.

use std::time::SystemTime;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::HeaderMap;

use super::lifecycle::End;
use crate::dialect::conversation::Untranslatable;
use crate::llm::upstream_error::UpstreamError;
use crate::providers::{chained, judge, judge_stream, judge_transport, Transport, Verdict};

/// Of an error body, this much is read.
pub const MOST_ERROR_BODY: usize = 64 * 1024;

/// Why an attempt gave no answer.
pub enum Trouble {
    /// The client left; nobody is to blame.
    ClientGone,
    /// The upstream's dialect has no words for the request: nothing was sent.
    Unfit(Untranslatable),
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

    /// An error answer, read up to `MOST_ERROR_BODY`; `by_router`: of another router.
    pub fn refused(by_router: bool, status: u16, headers: HeaderMap, body: Bytes) -> Box<Self> {
        let kind = headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("");
        let error = UpstreamError::parse(status, kind, &body);
        let judge = if by_router { chained::judge } else { judge };
        let verdict = judge(status, &headers, &error, SystemTime::now());
        Box::new(Self { verdict, error, status: Some(status), headers, body, reason: "status" })
    }

    /// An error that came inside a stream after its first output.
    pub fn in_stream(error: UpstreamError) -> Box<Self> {
        Self::in_answer(error, HeaderMap::new(), SystemTime::now())
    }

    /// An error in the place of an answer, under a 200.
    pub fn in_answer(error: UpstreamError, headers: HeaderMap, now: SystemTime) -> Box<Self> {
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

impl From<Untranslatable> for Trouble {
    fn from(why: Untranslatable) -> Self {
        Self::Unfit(why)
    }
}
