//! A request of our own to an upstream, on a connection of its own: one from the pool belongs to the runtime that has
//! dialled it.

use std::time::Duration;

use bytes::{Bytes, BytesMut};

use crate::edge::exchange::{Dial, Dialer};
use crate::gateway::{Gateway, Upstream};
use crate::llm::body::Body;
use crate::providers::Transport;

/// An answer larger than this is none. The health of a large fleet, with all its models, takes some.
const MOST: usize = 16 * 1024 * 1024;

/// Asks `upstream` for what is at `path`: the status of its answer, and the body. The whole of it may take `patience`.
pub(super) async fn ask(
    gateway: &Gateway,
    dialer: &Dialer,
    upstream: &Upstream,
    path: &str,
    patience: Duration,
) -> Result<(u16, Bytes), Transport> {
    let asking = async {
        let authorization = upstream.authorization().await?;
        let head = upstream.get(path, &authorization, &gateway.hop).map_err(|_| Transport::LocalFault)?;
        let mut exchange = dialer.open(&upstream.addresses, Dial::Fresh).await?;
        exchange.send(head, &Body::whole(Bytes::new())).await?;
        exchange.head(None).await?;
        let status = exchange.response().ok_or(Transport::Malformed)?.status.as_u16();
        let mut body = BytesMut::new();
        while let Some(chunk) = exchange.chunk().await? {
            if body.len() + chunk.len() > MOST {
                return Err(Transport::Malformed);
            }
            body.extend_from_slice(&chunk);
        }
        Ok((status, body.freeze()))
    };
    tokio::time::timeout(patience, asking).await.unwrap_or(Err(Transport::ResponseTimeout))
}
