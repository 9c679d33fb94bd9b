//! Leaving without losing anybody: the flags, the counts of requests and connections, and the way out.
//!
//! Pingora's graceful stop sleeps its whole grace period even when idle and then cuts streams without a word. So the
//! way out is ours. A stop fails readiness and makes every answer close its connection; the listeners stay for a
//! moment, so that a load balancer sees readiness fail before connections are refused. After another process has taken
//! over nothing is refused by anybody: connections go there, and readiness is its matter. Either way the process leaves
//! with exit code 0 as soon as nothing is in flight, and streams that outlast `drain_timeout` are told so in-band
//! before the cut.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::observe::logging::Log;
use crate::observe::Recorder;

/// How long before the end of the drain the streams that are left get their error frame.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// For connections to go to the process that has taken over, and for those that cannot to be closed by their clients, beside
/// the time for which an idle one is kept.
const GOODBYES: Duration = Duration::from_secs(5);
/// For connections that were accepted a moment ago to be counted.
const ACCEPTED: Duration = Duration::from_millis(200);
const FLUSH: Duration = Duration::from_secs(1);
const TICK: Duration = Duration::from_millis(20);

/// The process's way out. One for the process, shared by all services.
pub struct Drain {
    draining: AtomicBool,
    leaving: AtomicBool,
    in_flight: AtomicUsize,
    connections: AtomicUsize,
    cut: watch::Sender<bool>,
    limit_ms: AtomicU64,
    log: Log,
    recorder: Recorder,
}

/// Resolves when `cut` says that the time is up.
pub async fn over(cut: &mut watch::Receiver<bool>) {
    let _ = cut.wait_for(|cut| *cut).await;
}

/// One request in flight; given back on drop.
pub struct InFlight(Arc<Drain>);

/// One open connection of a client; given back on drop.
pub struct Connected(Arc<Drain>);

impl Drain {
    /// A drain that ends after `limit` at the latest, and leaves nothing of the two logs unwritten.
    pub fn new(limit: Duration, log: Log, recorder: Recorder) -> Arc<Self> {
        let drain = Self {
            draining: AtomicBool::new(false),
            leaving: AtomicBool::new(false),
            in_flight: AtomicUsize::new(0),
            connections: AtomicUsize::new(0),
            cut: watch::Sender::new(false),
            limit_ms: AtomicU64::new(0),
            log,
            recorder,
        };
        drain.set_limit(limit);
        Arc::new(drain)
    }

    /// Another limit, from now on.
    pub fn set_limit(&self, limit: Duration) {
        self.limit_ms.store(u64::try_from(limit.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// How long streams may take to end.
    pub fn limit(&self) -> Duration {
        Duration::from_millis(self.limit_ms.load(Ordering::Relaxed))
    }

    /// Whether the process stops, so that nobody should send it more.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Whether connections are to end after their answer.
    pub fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::Relaxed)
    }

    /// Requests in flight.
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::SeqCst)
    }

    /// Counts a request.
    pub fn enter(self: &Arc<Self>) -> InFlight {
        self.in_flight.fetch_add(1, Ordering::SeqCst);
        InFlight(self.clone())
    }

    /// Counts a connection.
    pub fn connected(self: &Arc<Self>) -> Connected {
        self.connections.fetch_add(1, Ordering::SeqCst);
        Connected(self.clone())
    }

    /// Turns true when the time for streams is up.
    pub fn cut(&self) -> watch::Receiver<bool> {
        self.cut.subscribe()
    }

    /// Writes what the logs still hold.
    pub fn flush(&self) {
        self.recorder.access.sinks().for_each(|sink| {
            sink.flush(FLUSH);
        });
        self.log.flush(FLUSH);
    }

    /// The process is stopping: readiness fails.
    pub fn stop(&self) {
        self.draining.store(true, Ordering::SeqCst);
        self.leaving.store(true, Ordering::SeqCst);
    }

    /// Waits in a thread of its own, outside every runtime that is being shut down, and ends the process, unless it
    /// `is_needed` although nothing is in flight in it. `shut` stops accepting, and `last` is the
    /// last thing done, within a second or so.
    pub fn leave(&self, is_needed: impl Fn() -> bool, shut: impl FnOnce(), last: impl FnOnce()) -> ! {
        self.wait(|| false, &is_needed);
        shut();
        // Who was accepted a moment ago may still say what it wants.
        std::thread::sleep(TICK);
        let start = Instant::now();
        while self.connections.load(Ordering::SeqCst) > 0 && start.elapsed() < ACCEPTED {
            std::thread::sleep(TICK);
        }
        if self.in_flight() > 0 {
            self.wait(|| false, is_needed);
        }
        last();
        self.end()
    }

    /// The same after another process has taken over, once connections have gone there as well, and those that cannot
    /// (TLS) have had their last answer or were `idle` for long enough. Comes back if `is_back` says that this process has
    /// to go on after all.
    pub fn leave_to_another(
        &self,
        is_back: impl Fn() -> bool,
        is_needed: impl Fn() -> bool,
        idle: Duration,
        last: impl FnOnce(),
    ) {
        self.leaving.store(true, Ordering::SeqCst);
        std::thread::sleep(ACCEPTED);
        let is_back = || is_back() && !self.is_draining();
        self.wait(is_back, &is_needed);
        let start = Instant::now();
        let stays = || self.connections.load(Ordering::SeqCst) > 0 || is_needed();
        while stays() && start.elapsed() < idle + GOODBYES && !is_back() {
            std::thread::sleep(TICK);
        }
        if self.in_flight() > 0 {
            self.wait(is_back, &is_needed);
        }
        if is_back() {
            self.leaving.store(false, Ordering::SeqCst);
            self.cut.send_replace(false);
            return;
        }
        last();
        self.end()
    }

    /// Waits until nothing is in flight and nobody needs this process.
    fn wait(&self, is_back: impl Fn() -> bool, is_needed: impl Fn() -> bool) {
        let start = Instant::now();
        log::info!("draining: {} in flight, at most {:?}", self.in_flight(), self.limit());
        while (self.in_flight() > 0 || is_needed()) && !is_back() {
            let left = self.limit().saturating_sub(start.elapsed());
            if left <= LAST_WORDS {
                self.cut.send_replace(true);
            }
            if left.is_zero() {
                log::warn!("drain_timeout is over: {} requests were cut", self.in_flight());
                break;
            }
            std::thread::sleep(TICK);
        }
        log::info!("drained in {:?}", start.elapsed());
    }

    fn end(&self) -> ! {
        self.flush();
        std::process::exit(0);
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::SeqCst);
    }
}
