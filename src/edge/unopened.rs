//! From the upstream to the client, byte for byte: answers that we do not open (audio, files), as they come.
//!
//! There is no in-band way to say that one of them broke off, so then the connection is closed before its proper end.

use std::time::{Duration, Instant};

use pingora::protocols::http::ServerSession;
use pingora::time::sleep;

use super::context::RequestContext;
use super::exchange::Exchange;
use super::lifecycle::{client_left, End};
use super::relay::Accepted;
use super::reply;
use crate::observe::outcome::Ended;
use crate::providers::{judge_transport, Transport};

/// Forwards the answer, and settles the lease.
pub async fn relay(
    accepted: Accepted<'_>,
    mut exchange: Exchange,
    client: &mut ServerSession,
    ctx: &mut RequestContext,
) -> Result<(), End> {
    let Accepted { edge, mut lease, mut plan, prompt, .. } = accepted;
    lease.charge(prompt);
    ctx.charge(prompt);
    ctx.ended(Ended::ClientGone);
    let upstream = exchange.response().ok_or(End::Cut)?;
    let length =
        upstream.headers.get(http::header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse().ok());
    let mut head = reply::unopened_head(client, ctx, upstream, length).map_err(|_| End::Cut)?;
    edge.seal(ctx, lease.credential(), &mut head);
    ctx.answered(head.status.as_u16());
    client.write_response_header(head).await.map_err(|_| End::ClientGone)?;
    let stall = edge.gateway.settings.routing.stall_timeout;
    loop {
        let next = async {
            tokio::select! {
                biased;
                chunk = exchange.chunk() => Ok(chunk),
                () = client_left(client) => Err(End::ClientGone),
                () = silence(stall) => Ok(Err(Transport::Stalled)),
            }
        };
        let chunk = ctx.waiting(next).await?;
        let over = matches!(chunk, Ok(None));
        let bytes = match chunk {
            Ok(bytes) => bytes.unwrap_or_default(),
            Err(transport) => {
                ctx.ended(Ended::Truncated);
                edge.tell(edge.gateway.pool.failed(
                    &mut plan,
                    lease,
                    &judge_transport(transport),
                    Instant::now(),
                ));
                return Err(End::Cut);
            }
        };
        ctx.outcome.bytes_out += bytes.len() as u64;
        let written = ctx.waiting(client.write_response_body(bytes, over)).await;
        written.map_err(|_| End::ClientGone)?;
        if over {
            break;
        }
    }
    ctx.ended(Ended::Complete);
    edge.tell(lease.succeeded(Instant::now()));
    edge.dialer.release(exchange).await;
    Ok(())
}

/// Resolves after `limit`; never, without one.
async fn silence(limit: Option<Duration>) {
    match limit {
        Some(limit) => sleep(limit).await,
        None => std::future::pending().await,
    }
}
