//! Ends bans and cool-downs when their time has come. Requests look at the clock too; this is so that logs, metrics
//! and pages tell of an expiry when it happens and not when somebody asks.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use pingora::server::ShutdownWatch;
use pingora::services::background::BackgroundService;

use crate::edge::tell;
use crate::gateway::Gateway;
use crate::observe::Recorder;

const TICK: Duration = Duration::from_secs(1);

/// The service.
pub struct Bans {
    /// Whose bans.
    pub gateway: Arc<Gateway>,
    /// Where they are told.
    pub recorder: Recorder,
}

#[async_trait]
impl BackgroundService for Bans {
    async fn start(&self, shutdown: ShutdownWatch) {
        super::every("bans", TICK, shutdown, || async {
            self.gateway.pool.expire(Instant::now()).iter().for_each(|change| tell(&self.recorder, change));
        })
        .await;
    }
}
