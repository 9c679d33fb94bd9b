//! The signals the process obeys: SIGTERM drains, SIGINT stops at once, SIGHUP reads the configuration again, SIGUSR2 lets
//! the binary on disk take over. SIGQUIT is ignored: to Pingora it means a hand-over that can fail with both processes
//! gone.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pingora::server::{ShutdownSignal, ShutdownSignalWatch};
use tokio::signal::unix::{signal, Signal, SignalKind};

use crate::operator::{Operator, Reloaded};
use crate::supervisor;

/// How long the listeners stay after SIGTERM while requests are still in flight.
const LISTEN_ON: Duration = Duration::from_secs(5);

/// The watch.
pub struct Signals(pub Arc<Operator>);

struct Watched {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
    upgrade: Signal,
    quit: Signal,
}

impl Watched {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
            upgrade: signal(SignalKind::user_defined2())?,
            quit: signal(SignalKind::quit())?,
        })
    }
}

#[async_trait]
impl ShutdownSignalWatch for Signals {
    async fn recv(&self) -> ShutdownSignal {
        let Ok(mut watched) = Watched::new() else {
            log::error!("signals cannot be watched; only SIGKILL will end this process");
            return std::future::pending().await;
        };
        let running = &self.0.running;
        let drain = &running.drain;
        loop {
            tokio::select! {
                _ = watched.interrupt.recv() => {
                    supervisor::stopping();
                    running.keep();
                    running.before.part();
                    drain.flush();
                    return ShutdownSignal::FastShutdown;
                }
                _ = watched.terminate.recv() => {
                    supervisor::stopping();
                    running.stop();
                    tokio::time::sleep(LISTEN_ON.min(drain.limit() / 2)).await;
                    running.sockets.close();
                    return ShutdownSignal::GracefulTerminate;
                }
                _ = watched.hang_up.recv() => self.apart(|operator| {
                    if let Reloaded::Outgrown = operator.reload() {
                        let _ = operator.upgrade(None, &|_| {});
                    }
                }),
                _ = watched.upgrade.recv() => self.apart(|operator| {
                    let _ = operator.upgrade(None, &|_| {});
                }),
                _ = watched.quit.recv() => log::warn!("SIGQUIT is ignored: SIGTERM drains, SIGINT stops at once"),
            }
        }
    }
}

impl Signals {
    /// Does what takes a while in a thread of its own, so that signals are heard meanwhile.
    fn apart(&self, act: impl FnOnce(&Operator) + Send + 'static) {
        let operator = self.0.clone();
        std::thread::spawn(move || act(&operator));
    }
}
