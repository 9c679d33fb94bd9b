//! Answers that we write ourselves, and the heads of those that we pass on: the only place where a status is chosen.
//!
//! Error bodies have the shape of the client's API, for OpenAI's `{"error":{message,type,param,code}}`, because its SDKs
//! show nothing useful for any other. `x-should-retry: false` tells them (they obey it before the status) that asking again will not help.

use std::time::Duration;

use bytes::Bytes;
use http::header::{
    HeaderName, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER, TRANSFER_ENCODING,
};
use http::{HeaderValue, Version};
use pingora::http::ResponseHeader;
use pingora::protocols::http::ServerSession;
use pingora::time::timeout;

use super::context::RequestContext;
use super::cors;
use crate::llm::error::ApiError;
use crate::llm::Wire;
use crate::providers::chained;
use crate::providers::headers::{keep_response_header, upstream_request_id};

/// Our request id, on every answer.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// As Anthropic's clients know it.
const ANTHROPIC_REQUEST_ID: HeaderName = HeaderName::from_static("request-id");
/// The upstream's, beside it.
pub const UPSTREAM_REQUEST_ID: HeaderName = HeaderName::from_static("x-upstream-request-id");
const RETRY_AFTER_MS: HeaderName = HeaderName::from_static("retry-after-ms");
const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");
/// After an early answer, the rest of a request is read and dropped for this long and this much, then closed: a
/// connection closed with unread bytes would take the answer down with it.
pub const LINGER: Duration = Duration::from_secs(2);
/// At most this much.
pub const LINGER_BYTES: usize = 4 * 1024 * 1024;

/// A request that ends with an answer of ours.
#[derive(Debug)]
pub struct Refusal {
    /// Status and body.
    pub error: ApiError,
    /// The body as the upstream wrote it (already scrubbed), and for whose clients: a caller of that API gets it.
    pub body: Option<(Wire, Bytes)>,
    /// Bare `retry-after` (whole seconds, rounded up) and `retry-after-ms`.
    pub retry_after: Option<Duration>,
    /// `x-should-retry`.
    pub should_retry: Option<bool>,
    /// More headers: `x-ratelimit-*`, `allow`, `x-upstream-request-id`.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Why, for the access log and `rejected_total`.
    pub reason: &'static str,
    /// It is this router that refuses, or one behind it, and not somebody who was asked.
    pub own: bool,
}

impl Refusal {
    /// A refusal that is only an error body; `reason` is its label in metrics and log.
    pub fn new(error: ApiError, reason: &'static str) -> Box<Self> {
        Box::new(Self {
            error,
            body: None,
            retry_after: None,
            should_retry: None,
            headers: Vec::new(),
            reason,
            own: true,
        })
    }

    /// The same with a time to come back.
    pub fn retry_after(mut self: Box<Self>, wait: Duration) -> Box<Self> {
        self.retry_after = Some(wait);
        self.should_retry = Some(wait <= Duration::from_secs(60));
        self
    }
}

/// Sends a refusal, and reads on for a moment when the client is still sending.
pub async fn refuse(
    client: &mut ServerSession,
    ctx: &mut RequestContext,
    refusal: &Refusal,
) -> pingora::Result<()> {
    let own = refusal.body.as_ref().filter(|(shape, _)| *shape == ctx.tongue);
    let body =
        own.map_or_else(|| refusal.error.body_for(ctx.tongue, ctx.request_id()), |(_, body)| body.clone());
    let mut head = ResponseHeader::build_no_case(refusal.error.status, Some(8))?;
    head.insert_header(CONTENT_TYPE, "application/json")?;
    if let Some(wait) = refusal.retry_after {
        let ms = wait.as_millis().max(1);
        head.insert_header(RETRY_AFTER, ms.div_ceil(1000).to_string())?;
        head.insert_header(RETRY_AFTER_MS, ms.to_string())?;
    }
    if let Some(should) = refusal.should_retry {
        head.insert_header(SHOULD_RETRY, if should { "true" } else { "false" })?;
    }
    for (name, value) in &refusal.headers {
        head.insert_header(name, value)?;
    }
    if ctx.from_router {
        head.insert_header(chained::ERROR, if refusal.own { chained::OWN } else { chained::UPSTREAM })?;
    }
    send(client, ctx, head, body).await
}

/// Sends a whole answer with an exact Content-Length.
pub async fn send(
    client: &mut ServerSession,
    ctx: &mut RequestContext,
    mut head: ResponseHeader,
    body: Bytes,
) -> pingora::Result<()> {
    head.insert_header(CONTENT_LENGTH, body.len())?;
    identify(&mut head, ctx)?;
    ctx.answered(head.status.as_u16());
    ctx.outcome.bytes_out += body.len() as u64;
    let unread = !client.is_body_done();
    let silent =
        client.req_header().method == http::Method::HEAD || head.status == http::StatusCode::NOT_MODIFIED;
    let body = if silent { Bytes::new() } else { body };
    client.write_response_header(Box::new(head)).await?;
    ctx.waiting(client.write_response_body(body, true)).await?;
    if unread {
        ctx.waiting(linger(client)).await;
    }
    Ok(())
}

async fn linger(client: &mut ServerSession) {
    let mut dropped = 0;
    let read = async {
        while let Ok(Some(bytes)) = client.read_request_body().await {
            dropped += bytes.len();
            if dropped > LINGER_BYTES {
                break;
            }
        }
    };
    let _ = timeout(LINGER, read).await;
}

/// The head of an upstream's answer as the client gets it: without what is the upstream's own business, with our
/// request id, framed by `length` or, without one, chunked.
pub fn relayed_head(
    client: &ServerSession,
    ctx: &RequestContext,
    upstream: &ResponseHeader,
    length: Option<usize>,
) -> pingora::Result<Box<ResponseHeader>> {
    let mut head = ResponseHeader::build_no_case(upstream.status, Some(upstream.headers.len() + 3))?;
    for (name, value) in &upstream.headers {
        // Who has served behind a router: `Edge::seal` looks at it.
        if keep_response_header(name.as_str()) || name == chained::SERVED_BY {
            head.append_header(name, value)?;
        }
    }
    if let Some(id) = upstream_request_id(&upstream.headers) {
        head.insert_header(UPSTREAM_REQUEST_ID, id)?;
    }
    identify(&mut head, ctx)?;
    frame(&mut head, client, length)?;
    Ok(Box::new(head))
}

/// Names the request, and the page that may read the answer.
fn identify(head: &mut ResponseHeader, ctx: &RequestContext) -> pingora::Result<()> {
    if let Some(origin) = &ctx.origin {
        cors::mark(head, origin)?;
    }
    if ctx.tongue == Wire::Messages {
        head.insert_header(ANTHROPIC_REQUEST_ID, ctx.request_id())?;
    }
    head.insert_header(REQUEST_ID, ctx.request_id())
}

/// How its body is delimited.
pub fn frame(
    head: &mut ResponseHeader,
    client: &ServerSession,
    length: Option<usize>,
) -> pingora::Result<()> {
    match length {
        _ if matches!(head.status.as_u16(), 100..=199 | 204 | 304) => Ok(()),
        Some(length) => head.insert_header(CONTENT_LENGTH, length),
        None if client.req_header().version == Version::HTTP_11 => {
            head.insert_header(TRANSFER_ENCODING, "chunked")
        }
        None => Ok(()),
    }
}

/// The head of an answer that was translated: nothing of the upstream's but its request id.
pub fn translated_head(
    client: &ServerSession,
    ctx: &RequestContext,
    upstream: &ResponseHeader,
    kind: &'static str,
    length: Option<usize>,
) -> pingora::Result<Box<ResponseHeader>> {
    let mut head = ResponseHeader::build_no_case(upstream.status, Some(6))?;
    head.insert_header(CONTENT_TYPE, kind)?;
    if length.is_none() {
        head.insert_header(CACHE_CONTROL, "no-cache")?;
    }
    if let Some(id) = upstream_request_id(&upstream.headers) {
        head.insert_header(UPSTREAM_REQUEST_ID, id)?;
    }
    identify(&mut head, ctx)?;
    frame(&mut head, client, length)?;
    Ok(Box::new(head))
}

/// The head of an answer whose bytes are not opened: its coding stays what it is.
pub fn unopened_head(
    client: &ServerSession,
    ctx: &RequestContext,
    upstream: &ResponseHeader,
    length: Option<usize>,
) -> pingora::Result<Box<ResponseHeader>> {
    let mut head = relayed_head(client, ctx, upstream, length)?;
    if let Some(coding) = upstream.headers.get(CONTENT_ENCODING) {
        head.insert_header(CONTENT_ENCODING, coding)?;
    }
    Ok(head)
}
