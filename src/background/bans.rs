//! Ends bans and cool-downs when their time has come. Requests look at the clock too; this is so that logs, metrics
//! and pages tell of an expiry when it happens and not when somebody asks.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use pingora::server::ShutdownWatch;
use pingora::services::background::BackgroundService;

use crate::edge::course::Live;

const TICK: Duration = Duration::from_secs(1);

/// The service.
pub struct Bans(pub Arc<Live>);

#[async_trait]
impl BackgroundService for Bans {
    async fn start(&self, shutdown: ShutdownWatch) {
        super::every("bans", TICK, shutdown, || async {
            let edge = self.0.edge();
            edge.tell(edge.gateway.pool.expire(Instant::now()));
        })
        .await;
    }
}
