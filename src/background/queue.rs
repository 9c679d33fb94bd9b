//! Sees to those who wait for a limit, at the moment when the next one may fit.

use std::time::Instant;

use pingora::server::ShutdownWatch;

use crate::routing::Pool;

/// Attends to the queue of `pool` until the shutdown. From then on those who wait see to it themselves, every second.
pub(super) async fn keep(pool: &Pool, mut shutdown: ShutdownWatch) {
    loop {
        let due = pool.attend(Instant::now());
        let time = async {
            match due {
                Some(due) => tokio::time::sleep_until(due.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = time => {}
            () = pool.summoned(due) => {}
            _ = shutdown.wait_for(|down| *down) => return,
        }
    }
}
