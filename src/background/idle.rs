//! Closes upstream connections that nobody has needed for their time, and those that their upstream has closed.

use std::time::{Duration, Instant};

use pingora::server::ShutdownWatch;

use crate::edge::exchange::Dialer;

const TICK: Duration = Duration::from_secs(1);

/// Looks at the idle connections of `dialer` each second until the shutdown.
pub(super) async fn keep(dialer: &Dialer, shutdown: ShutdownWatch) {
    super::every("idle connections", TICK, shutdown, || async {
        dialer.idle.sweep(Instant::now());
        TICK
    })
    .await;
}
