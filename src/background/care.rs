//! Keeps the service manager informed: a line of status when it changes, and a sign of life for its watchdog, which is
//! given only after a request to ourselves was answered.

use std::sync::Arc;
use std::time::{Duration, Instant};

use pingora::server::ShutdownWatch;

use crate::edge::front::Front;
use crate::operator::Operator;
use crate::supervisor;

const TICK: Duration = Duration::from_secs(1);

/// Who is told about whom.
pub struct Care {
    /// Whose status.
    pub operator: Arc<Operator>,
    /// Who is asked for a sign of life.
    pub front: Arc<Front>,
}

impl Care {
    pub(super) async fn keep(&self, shutdown: ShutdownWatch) {
        let watchdog = supervisor::watchdog().map(|time| time / 3);
        let mut told = String::new();
        let mut alive = Instant::now();
        loop {
            let status = self.operator.status();
            if status != told && supervisor::status(&status) {
                told = status;
            }
            if watchdog.is_some_and(|pause| alive.elapsed() >= pause) {
                alive = Instant::now();
                if self.front.answers("/health/live", &shutdown).await {
                    supervisor::alive();
                }
            }
            tokio::select! {
                () = tokio::time::sleep(watchdog.map_or(TICK, |pause| pause.min(TICK))) => {}
                () = super::down(shutdown.clone()) => return,
            }
        }
    }
}
