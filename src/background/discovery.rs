//! Learns which models each credential lists, at start and then every five minutes, all credentials at once, each with
//! a time limit. What is learned fills `/v1/models`, breaks ties, and binds only with `server.replace_v1_models`.
//! A credential that does not answer, or answers with something else, keeps the list it had; nobody is struck for it.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::future::join_all;
use pingora::server::ShutdownWatch;

use crate::edge::exchange::{Dial, Dialer};
use crate::gateway::{Gateway, Upstream};
use crate::llm::body::Body;
use crate::providers::listing;

const EVERY: Duration = Duration::from_secs(300);
/// While somebody has not answered yet.
const AGAIN: Duration = Duration::from_secs(15);
const PATIENCE: Duration = Duration::from_secs(5);
/// A list larger than this is not one.
const MOST: usize = 4 * 1024 * 1024;

/// Asks the upstreams of `gateway` by `dialer`, until the shutdown.
pub(super) async fn keep(gateway: &Gateway, dialer: &Dialer, shutdown: ShutdownWatch) {
    let discovery = Discovery { gateway, dialer };
    super::every("discovery", AGAIN, shutdown, || async {
        if discovery.round().await {
            EVERY
        } else {
            AGAIN
        }
    })
    .await;
}

struct Discovery<'a> {
    gateway: &'a Gateway,
    dialer: &'a Dialer,
}

impl Discovery<'_> {
    /// Asks everybody once; whether all have answered.
    async fn round(&self) -> bool {
        let asked = self.gateway.listing().map(|(at, upstream)| async move {
            match tokio::time::timeout(PATIENCE, self.ask(upstream)).await {
                Ok(Some(models)) => {
                    self.gateway.pool.learn(at, models);
                    true
                }
                _ => {
                    log::debug!("{}: no model list", upstream.name);
                    false
                }
            }
        });
        join_all(asked).await.into_iter().all(|answered| answered)
    }

    async fn ask(&self, upstream: &Upstream) -> Option<Vec<String>> {
        let authorization = upstream.authorization().await.ok()?;
        let head = upstream.list_request(&authorization, &self.gateway.hop)?.ok()?;
        // A connection belongs to the runtime that has dialled it: none is taken from requests, or left to them.
        let mut exchange = self.dialer.open(&upstream.addresses, Dial::Fresh).await.ok()?;
        exchange.send(head, &Body::whole(Bytes::new())).await.ok()?;
        exchange.head(Some(PATIENCE)).await.ok()?;
        let found = exchange.response()?.status == http::StatusCode::OK;
        let mut body = BytesMut::new();
        while let Some(chunk) = exchange.chunk().await.ok()? {
            if body.len() + chunk.len() > MOST {
                return None;
            }
            body.extend_from_slice(&chunk);
        }
        // "No such list" is an answer, too: nothing is learned, and it need not be asked again soon.
        if !found {
            return Some(Vec::new());
        }
        listing::names(&body)
    }
}
