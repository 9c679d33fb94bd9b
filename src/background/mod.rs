//! What goes on beside the requests: one file per task, each a loop around one step.
//!
//! All tasks are one service, because Pingora gives each service a runtime and a thread of its own, and none of them
//! has work for a thread. A step that panics is logged and its loop goes on; the others would end with it.

pub mod addresses;
pub mod bans;
pub mod care;
pub mod discovery;
#[cfg(feature = "otlp")]
mod export;
mod idle;
pub mod keeping;
pub mod peers;
mod question;
pub mod queue;
pub mod succession;
pub mod tokens;
mod trim;

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt;
use pingora::server::ShutdownWatch;
use pingora::services::background::BackgroundService;

use care::Care;
use succession::Succession;

use crate::edge::Edge;
use crate::handover::Running;
use crate::shared::worker;

/// The service: every task of this module.
pub struct Background {
    /// Whose.
    pub running: Arc<Running>,
    /// Where a service manager listens.
    pub care: Option<Care>,
    /// In a process that takes over from another.
    pub succession: Option<Succession>,
}

#[async_trait]
impl BackgroundService for Background {
    async fn start(&self, shutdown: ShutdownWatch) {
        #[cfg(feature = "otlp")]
        export::begin(self.running.clone());
        if let Some(fleet) = self.running.live.edge().gateway.fleet.clone() {
            worker::begin(fleet, self.running.live.clone()).await;
        }
        if let Some(succession) = &self.succession {
            succession.begin(&self.running, &shutdown).await;
        }
        let care = async {
            if let Some(care) = &self.care {
                care.keep(shutdown.clone()).await;
            }
        };
        tokio::join!(care, self.keep(&shutdown));
    }
}

impl Background {
    /// The tasks that an edge needs, for each edge as long as it is the newest.
    async fn keep(&self, shutdown: &ShutdownWatch) {
        while !*shutdown.borrow() {
            let Running { live, gate, keeping, .. } = &*self.running;
            let edge = live.edge();
            let serves = || *gate.borrow() && edge.courses.is_here();
            let Edge { gateway, dialer, recorder, .. } = &*edge;
            let tasks = async {
                tokio::join!(
                    addresses::keep(&gateway.addresses, shutdown.clone()),
                    discovery::keep(gateway, dialer, shutdown.clone()),
                    peers::keep(&edge, shutdown.clone()),
                    tokens::keep(gateway, shutdown.clone()),
                    bans::keep(&gateway.pool, recorder, shutdown.clone()),
                    queue::keep(&gateway.pool, shutdown.clone()),
                    idle::keep(dialer, shutdown.clone()),
                    keeping.run(gateway, serves, shutdown.clone()),
                );
                down(shutdown.clone()).await;
            };
            tokio::select! {
                () = tasks => {}
                () = trim::keep(&edge.drain) => {}
                () = edge.courses.changed() => {}
            }
        }
    }
}

/// Resolves at the shutdown.
async fn down(mut shutdown: ShutdownWatch) {
    let _ = shutdown.wait_for(|down| *down).await;
}

/// Runs `step` now, and again whenever the time that it has returned is over, until the shutdown. After a panic that
/// time is `pause`.
async fn every<F, S>(name: &str, pause: Duration, mut shutdown: ShutdownWatch, mut step: S)
where
    S: FnMut() -> F,
    F: Future<Output = Duration>,
{
    loop {
        let pause = AssertUnwindSafe(step()).catch_unwind().await.unwrap_or_else(|_| {
            log::error!("{name}: a step panicked; the task goes on");
            pause
        });
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = shutdown.wait_for(|down| *down) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Instant;

    use tokio::sync::watch;

    use super::*;

    #[tokio::test]
    async fn a_step_that_panics_is_taken_again_after_its_pause() {
        let (stop, shutdown) = watch::channel(false);
        let taken = AtomicUsize::new(0);
        let begun = Instant::now();
        let pause = Duration::from_millis(20);
        every("test", pause, shutdown, || async {
            match taken.fetch_add(1, Ordering::Relaxed) {
                0 => panic!("the first step"),
                _ => stop.send_replace(true),
            };
            pause
        })
        .await;
        assert_eq!(taken.into_inner(), 2);
        assert!(begun.elapsed() >= pause);
    }
}
