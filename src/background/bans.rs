//! Ends bans and cool-downs when their time has come. Requests look at the clock too; this is so that logs, metrics
//! and pages tell of an expiry when it happens and not when somebody asks.

use std::time::{Duration, Instant, SystemTime};

use pingora::server::ShutdownWatch;

use crate::edge::tell;
use crate::observe::Recorder;
use crate::routing::Pool;

const TICK: Duration = Duration::from_secs(1);

/// Ends bans of `pool`, and tells `recorder`, until the shutdown.
pub(super) async fn keep(pool: &Pool, recorder: &Recorder, shutdown: ShutdownWatch) {
    super::every("bans", TICK, shutdown, || async {
        // The wall clock may have been set, and days go by it.
        pool.pair(Instant::now(), SystemTime::now());
        pool.expire(Instant::now()).iter().for_each(|change| tell(recorder, change));
        TICK
    })
    .await;
}
