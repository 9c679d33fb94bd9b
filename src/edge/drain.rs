//! Leaving without losing anybody: the draining flag, the count of requests in flight, and the way out.
//!
//! Pingora's graceful stop sleeps its whole grace period even when idle and then cuts streams without a word. So the
//! signal is ours: SIGTERM fails readiness and makes every answer close its connection; the listeners stay for a
//! moment, so that a load balancer sees readiness fail before connections are refused; the process leaves with exit
//! code 0 as soon as nothing is in flight, and streams that outlast `drain_timeout` are told so in-band before the cut.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use pingora::server::{ShutdownSignal, ShutdownSignalWatch};
use tokio::signal::unix::{signal, SignalKind};
use tokio::sync::watch;

use crate::observe::logging::Log;
use crate::observe::Recorder;

/// How long the listeners stay after SIGTERM while requests are still in flight.
const LISTEN_ON: Duration = Duration::from_secs(5);
/// How long before the end of the drain the streams that are left get their error frame.
const LAST_WORDS: Duration = Duration::from_secs(1);
const FLUSH: Duration = Duration::from_secs(1);
const TICK: Duration = Duration::from_millis(20);

/// The process's way out. One for the process, shared by all services.
pub struct Drain {
    draining: AtomicBool,
    in_flight: AtomicUsize,
    cut: watch::Sender<bool>,
    limit: Duration,
    log: Log,
    recorder: Recorder,
}

/// Resolves when `cut` says that the time is up.
pub async fn over(cut: &mut watch::Receiver<bool>) {
    let _ = cut.wait_for(|cut| *cut).await;
}

/// One request in flight; given back on drop.
pub struct InFlight(Arc<Drain>);

impl Drain {
    /// A drain that ends after `limit` at the latest, and leaves nothing of the two logs unwritten.
    pub fn new(limit: Duration, log: Log, recorder: Recorder) -> Arc<Self> {
        Arc::new(Self {
            draining: AtomicBool::new(false),
            in_flight: AtomicUsize::new(0),
            cut: watch::Sender::new(false),
            limit,
            log,
            recorder,
        })
    }

    /// Whether the process is on its way out.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Counts a request.
    pub fn enter(self: &Arc<Self>) -> InFlight {
        self.in_flight.fetch_add(1, Ordering::SeqCst);
        InFlight(self.clone())
    }

    /// Turns true when the time for streams is up.
    pub fn cut(&self) -> watch::Receiver<bool> {
        self.cut.subscribe()
    }

    fn flush(&self) {
        self.recorder.access.sinks().for_each(|sink| {
            sink.flush(FLUSH);
        });
        self.log.flush(FLUSH);
    }

    /// Waits in a thread of its own, outside every runtime that is being shut down, and ends the process.
    fn leave(self: Arc<Self>) {
        let start = Instant::now();
        log::info!("draining: {} in flight, at most {:?}", self.in_flight.load(Ordering::SeqCst), self.limit);
        while self.in_flight.load(Ordering::SeqCst) > 0 {
            let left = self.limit.saturating_sub(start.elapsed());
            if left <= LAST_WORDS {
                self.cut.send_replace(true);
            }
            if left.is_zero() {
                log::warn!(
                    "drain_timeout is over: {} requests were cut",
                    self.in_flight.load(Ordering::SeqCst)
                );
                break;
            }
            std::thread::sleep(TICK);
        }
        log::info!("drained in {:?}", start.elapsed());
        self.flush();
        std::process::exit(0);
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::SeqCst);
    }
}

/// The signals the process obeys: SIGTERM drains, SIGINT stops at once.
pub struct Signals(pub Arc<Drain>);

#[async_trait]
impl ShutdownSignalWatch for Signals {
    async fn recv(&self) -> ShutdownSignal {
        let (Ok(mut terminate), Ok(mut interrupt)) =
            (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
        else {
            log::error!("signals cannot be watched; only SIGKILL will end this process");
            return std::future::pending().await;
        };
        tokio::select! {
            _ = interrupt.recv() => {
                self.0.flush();
                ShutdownSignal::FastShutdown
            }
            _ = terminate.recv() => {
                self.0.draining.store(true, Ordering::SeqCst);
                let drain = self.0.clone();
                std::thread::spawn(move || drain.leave());
                tokio::time::sleep(LISTEN_ON.min(self.0.limit / 2)).await;
                ShutdownSignal::GracefulTerminate
            }
        }
    }
}
