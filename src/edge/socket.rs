//! A WebSocket, once an upstream has switched to it: bytes in both directions, as they come, until one side ends.
//!
//! The opening goes the way of any question (`lifecycle`), so that a refused one goes to another credential; a socket
//! that is open stays where it is. It has no limit of time: silence is a part of it, and both ends have pings of their
//! own. Its lease lives as long as it does, so it counts among the concurrent requests of its credential. How it
//! breaks strikes nobody: many hosts end a session that has reached its age by closing the connection without a word.
//!
//! One task serves both directions, and a side that takes nothing holds up the other one until the limit on writes.

use std::time::Instant;

use http::header::{CONNECTION, UPGRADE};
use pingora::protocols::http::ServerSession;

use super::context::RequestContext;
use super::exchange::Exchange;
use super::lifecycle::End;
use super::relay::Accepted;
use super::{drain, reply, Edge};
use crate::observe::metrics;
use crate::observe::outcome::Ended;

/// Brings the client the upstream's consent, and then what both say.
pub async fn carry(
    accepted: Accepted<'_>,
    mut exchange: Exchange,
    client: &mut ServerSession,
    ctx: &mut RequestContext,
) -> Result<(), End> {
    let Accepted { edge, mut lease, .. } = accepted;
    let _open = metrics::stream();
    edge.tell(lease.succeeded(Instant::now()));
    ctx.ended(Ended::ClientGone);
    let upstream = exchange.response().ok_or(End::Cut)?;
    let mut head = reply::relayed_head(client, ctx, upstream, None).map_err(|_| End::Cut)?;
    for name in [CONNECTION, UPGRADE] {
        if let Some(value) = upstream.headers.get(&name) {
            head.insert_header(name, value).map_err(|_| End::Cut)?;
        }
    }
    edge.seal(ctx, lease.credential(), &mut head);
    client.write_response_header(head).await.map_err(|_| End::ClientGone)?;
    ctx.answered(101);
    client.set_read_timeout(None);
    let since = Instant::now();
    let ended = talk(edge, &mut exchange, client, ctx).await;
    ctx.waited(since);
    ctx.ended(ended);
    Ok(())
}

/// What either side says goes to the other one, until one of them ends.
async fn talk(
    edge: &Edge,
    exchange: &mut Exchange,
    client: &mut ServerSession,
    ctx: &mut RequestContext,
) -> Ended {
    let mut cut = edge.drain.cut();
    loop {
        tokio::select! {
            () = drain::over(&mut cut) => return Ended::Drained,
            said = exchange.chunk() => match said {
                Ok(Some(bytes)) => {
                    ctx.outcome.bytes_out += bytes.len() as u64;
                    if client.write_response_body(bytes, false).await.is_err() {
                        return Ended::ClientGone;
                    }
                }
                Ok(None) => return Ended::Complete,
                Err(_) => return Ended::Truncated,
            },
            said = client.read_request_body() => match said {
                Ok(Some(bytes)) => {
                    ctx.outcome.bytes_in += bytes.len() as u64;
                    if exchange.write(&bytes).await.is_err() {
                        return Ended::Truncated;
                    }
                }
                Ok(None) => return Ended::Complete,
                Err(_) => return Ended::ClientGone,
            },
        }
    }
}
