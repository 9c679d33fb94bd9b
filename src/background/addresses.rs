//! Resolves upstream names, so that no request ever does: at start, then every half minute, and every second while a
//! name has no address at all.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures::future::join_all;
use pingora::server::ShutdownWatch;
use pingora::services::background::BackgroundService;

use crate::edge::addresses::AddressSet;
use crate::edge::course::Live;

const TICK: Duration = Duration::from_secs(1);
const REFRESH: Duration = Duration::from_secs(30);

/// The service.
pub struct Addresses(pub Arc<Live>);

#[async_trait]
impl BackgroundService for Addresses {
    async fn start(&self, shutdown: ShutdownWatch) {
        let mut refreshed: Option<Instant> = None;
        super::every("addresses", TICK, shutdown, || {
            let all = refreshed.is_none_or(|at| at.elapsed() >= REFRESH);
            if all {
                refreshed = Some(Instant::now());
            }
            let edge = self.0.edge();
            async move {
                let due = edge.gateway.addresses.iter().filter(|set| all || !set.is_known());
                join_all(due.map(|set| refresh(set))).await;
            }
        })
        .await;
    }
}

async fn refresh(set: &AddressSet) {
    let was_known = set.is_known();
    match set.refresh().await {
        Ok(()) if !was_known => log::debug!("{} is resolved", set.label()),
        Ok(()) => {}
        Err(why) => log::debug!("{} is not resolved: {why}", set.label()),
    }
}
