//! What became of one request: filled by the request's life, read by the access log and by the metrics.
//!
//! A plain value with no behaviour, so that telling can happen in a `Drop` too: a request that panics or whose client
//! leaves is recorded by the same one call as any other.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::trace::Trace;
use crate::llm::usage::Usage;

/// One request from its first byte to its last.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The id that the client sees as `x-request-id`.
    pub request_id: String,
    /// When the request's head had been read.
    pub at: SystemTime,
    /// The caller's address, as far as it is known.
    pub caller: Option<IpAddr>,
    /// HTTP method.
    pub method: http::Method,
    /// Path template (`/v1/files/{id}`): bounded, so that it may be a metric label.
    pub endpoint: &'static str,
    /// The name of the key that the client has shown.
    pub client: Option<Arc<str>>,
    /// The model that the client asked for.
    pub model: Option<String>,
    /// The model (name here) that gave the answer, if any did.
    pub model_served: Option<Arc<str>>,
    /// The name under which the upstream knows that model.
    pub upstream_model: Option<Arc<str>>,
    /// The credential whose answer the client got; none where the router answered itself.
    pub credential: Option<Arc<str>>,
    /// Every attempt, in order.
    pub attempts: Vec<AttemptRecord>,
    /// The status that the client got (499 where it left before there was one).
    pub status: u16,
    /// Whether the answer was an event stream.
    pub stream: bool,
    /// Body bytes read from the client.
    pub bytes_in: u64,
    /// Body bytes written to the client.
    pub bytes_out: u64,
    /// Tokens, where there were any.
    pub usage: Option<TokenCount>,
    /// From the request's head to the first output.
    pub first_token: Option<Duration>,
    /// From the request's head to the end of the answer.
    pub total: Duration,
    /// The part of `total` in which the router waited for upstreams or for the client.
    pub waited: Duration,
    /// How it ended.
    pub ended: Ended,
    /// Whether another attempt had to go on with the answer, and what became of it.
    pub resumed: Option<Resumed>,
    /// Why the router refused it itself: the `code` of our own error.
    pub refusal: Option<&'static str>,
    /// Frames of the stream that were not JSON and were left out.
    pub frames_dropped: u64,
    /// The client's own count of its tries (`x-stainless-retry-count`).
    pub client_retry: Option<u8>,
    /// The upstream's id of the answer.
    pub upstream_request_id: Option<String>,
    /// Its place in a trace; none where nobody looked at its headers.
    pub trace: Option<Trace>,
}

/// One attempt.
#[derive(Clone, Debug)]
pub struct AttemptRecord {
    /// Credential name.
    pub credential: Arc<str>,
    /// Model, by its name here.
    pub model: Arc<str>,
    /// The upstream's status; 502 where it could not be reached, 504 where it was too slow.
    pub status: u16,
    /// From the request's head to taking the lease.
    pub begun: Duration,
    /// From taking the lease to the verdict (for the accepted answer: to its head).
    pub took: Duration,
    /// `ok`, or why it failed. From a fixed set: it is a metric label.
    pub reason: &'static str,
    /// What its answer cost, where that broke off and another attempt went on with it.
    pub tokens: Option<TokenCount>,
}

/// What became of an answer that broke off, and that another attempt was to go on with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resumed {
    /// The client got the whole answer.
    Whole,
    /// It did not.
    GivenUp,
}

impl Resumed {
    /// The word on the access line, and the label's value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Whole => "whole",
            Self::GivenUp => "given_up",
        }
    }
}

impl AttemptRecord {
    /// Whether its credential failed: not where it answered, had no words for the request, or lost its client.
    pub fn failed(&self) -> bool {
        !matches!(self.reason, "ok" | "unfit" | "client_gone")
    }
}

/// Tokens of one request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TokenCount {
    /// Prompt tokens, cached ones included.
    pub prompt: u64,
    /// Completion tokens, reasoning included.
    pub completion: u64,
    /// The cached part of the prompt.
    pub cached: u64,
    /// The reasoning part of the completion.
    pub reasoning: u64,
    /// Our estimate, since the upstream reported nothing.
    pub estimated: bool,
}

impl TokenCount {
    /// Of what a provider has reported, or of our own estimate.
    pub fn of(usage: &Usage, estimated: bool) -> Self {
        Self {
            prompt: usage.prompt,
            completion: usage.completion,
            cached: usage.cached,
            reasoning: usage.reasoning,
            estimated,
        }
    }
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The answer went out whole, an upstream's error answer included.
    Complete,
    /// The router refused it: admission, unknown model, limits, nobody available.
    Refused,
    /// All attempts failed, and the client got the last error.
    Failed,
    /// The client left first.
    ClientGone,
    /// The upstream broke its answer off.
    Truncated,
    /// The upstream fell silent in the middle of its answer.
    Stalled,
    /// The upstream reported an error in the middle of its stream.
    UpstreamError,
    /// The router was told to stop and the answer did not finish in time.
    Drained,
    /// A defect of this program.
    Panicked,
}

impl Ended {
    /// The word on the access line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::ClientGone => "client_gone",
            Self::Truncated => "truncated",
            Self::Stalled => "stalled",
            Self::UpstreamError => "upstream_error",
            Self::Drained => "drained",
            Self::Panicked => "panicked",
        }
    }
}

impl Outcome {
    /// A request whose head has just been read: nothing else is known yet. Until told otherwise it ends as a defect
    /// of ours, so that a panic on the way needs no code.
    pub fn begun(request_id: String, method: http::Method, endpoint: &'static str, at: SystemTime) -> Self {
        Self {
            request_id,
            at,
            caller: None,
            method,
            endpoint,
            client: None,
            model: None,
            model_served: None,
            upstream_model: None,
            credential: None,
            attempts: Vec::new(),
            status: 500,
            stream: false,
            bytes_in: 0,
            bytes_out: 0,
            usage: None,
            first_token: None,
            total: Duration::ZERO,
            waited: Duration::ZERO,
            ended: Ended::Panicked,
            resumed: None,
            refusal: None,
            frames_dropped: 0,
            client_retry: None,
            upstream_request_id: None,
            trace: None,
        }
    }

    /// Whether the client got a whole answer that is no error.
    pub fn succeeded(&self) -> bool {
        self.status < 400 && self.ended == Ended::Complete
    }

    /// What the router itself took.
    pub fn overhead(&self) -> Duration {
        self.total.saturating_sub(self.waited)
    }
}
