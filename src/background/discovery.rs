//! Learns which models each credential lists, at start and then every five minutes, all credentials at once, each with
//! a time limit. What is learned fills `/v1/models`, breaks ties, and binds only with `server.replace_v1_models`.
//! A credential that does not answer, or answers with something else, keeps the list it had; nobody is struck for it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::future::join_all;
use pingora::server::configuration::ServerConf;
use pingora::server::ShutdownWatch;
use pingora::services::background::BackgroundService;

use crate::edge::course::Live;
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

/// The service. It has connections of its own: they belong to its own runtime.
pub struct Discovery {
    live: Arc<Live>,
    dialer: Dialer,
}

impl Discovery {
    /// Discovery for all credentials.
    pub fn new(live: Arc<Live>, conf: &ServerConf) -> Self {
        Self { live, dialer: Dialer::new(conf) }
    }

    /// Asks everybody once; whether all have answered.
    async fn round(&self, gateway: &Gateway) -> bool {
        let asked = gateway.listing().map(|(at, upstream)| async move {
            match tokio::time::timeout(PATIENCE, self.ask(gateway, upstream)).await {
                Ok(Some(models)) => {
                    gateway.pool.learn(at, models);
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

    async fn ask(&self, gateway: &Gateway, upstream: &Upstream) -> Option<Vec<String>> {
        let authorization = upstream.authorization().await.ok()?;
        let head = upstream.list_request(&authorization, &gateway.hop)?.ok()?;
        let mut exchange = self.dialer.open(&upstream.addresses, Dial::Any).await.ok()?;
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
        self.dialer.release(exchange).await;
        // "No such list" is an answer, too: nothing is learned, and it need not be asked again soon.
        if !found {
            return Some(Vec::new());
        }
        listing::names(&body)
    }
}

#[async_trait]
impl BackgroundService for Discovery {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        loop {
            let edge = self.live.edge();
            let complete = self.round(&edge.gateway).await;
            tokio::select! {
                () = tokio::time::sleep(if complete { EVERY } else { AGAIN }) => {}
                () = edge.courses.changed() => {}
                _ = shutdown.wait_for(|down| *down) => return,
            }
        }
    }
}
