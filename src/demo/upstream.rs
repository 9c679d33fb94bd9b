//! The wire side of the demonstration upstream: one Pingora HTTP application that plays prepared answers.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use bytes::Bytes;
use pingora::apps::{HttpPersistentSettings, HttpServerApp, ReusedHttpStream};
use pingora::http::ResponseHeader;
use pingora::protocols::http::ServerSession;
use pingora::server::ShutdownWatch;

use super::answers::{reply, Body, Reply, Turn};

/// The longest request body it reads; more is answered with what was read so far not being JSON.
const LONGEST: usize = 64 << 20;

/// An OpenAI-compatible upstream for `DemoUpstream::default()` in a `Service`, listening on loopback.
#[derive(Default)]
pub struct DemoUpstream {
    served: AtomicU64,
    flaky: AtomicU64,
}

#[async_trait]
impl HttpServerApp for DemoUpstream {
    async fn process_new_http(
        self: &Arc<Self>,
        mut session: ServerSession,
        shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        if !session.read_request().await.ok()? {
            return None;
        }
        session.set_keepalive((!*shutdown.borrow()).then_some(60));
        let body = read_body(&mut session).await?;
        let request = session.req_header();
        let turn = Turn {
            number: self.served.fetch_add(1, Ordering::Relaxed),
            unix_seconds: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
            flaky: &self.flaky,
        };
        let reply = reply(request.method.as_str(), request.uri.path(), &body, &turn);
        play(&mut session, reply).await.ok()?;
        let settings = HttpPersistentSettings::for_session(&session);
        let reusable = session.finish().await.ok()??;
        Some(ReusedHttpStream::from_reusable_stream(reusable, settings))
    }
}

async fn read_body(session: &mut ServerSession) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    while let Some(chunk) = session.read_request_body().await.ok()? {
        if body.len() + chunk.len() <= LONGEST {
            body.extend_from_slice(&chunk);
        }
    }
    Some(body)
}

async fn play(session: &mut ServerSession, reply: Reply) -> pingora::Result<()> {
    tokio::time::sleep(reply.after).await;
    let mut head = ResponseHeader::build(reply.status, Some(4))?;
    head.insert_header("x-request-id", reply.id)?;
    if let Some(seconds) = reply.retry_after {
        head.insert_header("retry-after", seconds)?;
    }
    match reply.body {
        Body::Whole(text) => {
            head.insert_header("content-type", "application/json")?;
            head.insert_header("content-length", text.len())?;
            session.write_response_header(Box::new(head)).await?;
            session.write_response_body(Bytes::from(text), true).await
        }
        Body::Events(events) => {
            head.insert_header("content-type", "text/event-stream")?;
            head.insert_header("transfer-encoding", "chunked")?;
            session.write_response_header(Box::new(head)).await?;
            for event in events {
                tokio::time::sleep(event.after).await;
                session.write_response_body(Bytes::from(event.text), false).await?;
            }
            session.write_response_body(Bytes::new(), true).await
        }
    }
}
