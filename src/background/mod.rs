//! What goes on beside the requests: one file per service, each a loop around one step.
//!
//! A step that panics is logged and the loop goes on, because Pingora would let the service end in silence.

pub mod addresses;
pub mod bans;
pub mod care;
pub mod discovery;
pub mod succession;
pub mod tokens;

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures::FutureExt;
use pingora::server::ShutdownWatch;

/// Resolves at the shutdown.
pub async fn down(mut shutdown: ShutdownWatch) {
    let _ = shutdown.wait_for(|down| *down).await;
}

/// Runs `step` now and then `pause` after each end, until the shutdown.
pub async fn every<F, S>(name: &str, pause: Duration, mut shutdown: ShutdownWatch, mut step: S)
where
    S: FnMut() -> F,
    F: Future<Output = ()>,
{
    loop {
        if AssertUnwindSafe(step()).catch_unwind().await.is_err() {
            log::error!("{name}: a step panicked; the service goes on");
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = shutdown.wait_for(|down| *down) => return,
        }
    }
}
