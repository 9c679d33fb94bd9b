//! One process takes over from another without losing anybody: a new binary, a new configuration, or both.
//!
//! The old process starts the new one with a private socket as its standard input (`wire`), so there is no name in a file
//! system that a stranger could take. The new one checks its configuration and builds its routes, gets the listening
//! sockets, and proves itself with a request to itself; until then nothing has changed, and any failure leaves the old
//! process as it was. Then the old pool closes its books and sends them; the new process takes them over and opens its
//! gate. From that moment one pool admits: limits and bans hold over both processes. The old one sends each settlement and
//! strike of its open streams, and each client connection that is between two requests, as a descriptor, so that clients
//! notice nothing. It leaves when its last stream has ended. Should the new process die before that, the old one opens its
//! gate again; should it leave in order, by a stop or by the next upgrade, it says so, and waits for the old one.
//!
//! Pingora's own hand-over was not taken: its old process stops listening once the sockets are sent, whatever becomes of
//! the new one, moves no state, and closes idle connections under its clients.

pub mod incumbent;
pub mod successor;
mod wire;

use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::time::{clock_gettime, ClockId};
use tokio::sync::watch;

use crate::background::keeping::Keeping;
use crate::config::{Credential, Settings};
use crate::edge::course::Live;
use crate::edge::drain::Drain;
use crate::edge::listening::Sockets;
use successor::Before;

/// A running process, as far as it can be handed over.
pub struct Running {
    /// The edge as it is.
    pub live: Arc<Live>,
    /// The way out.
    pub drain: Arc<Drain>,
    /// Where it listens.
    pub sockets: Sockets,
    /// What it remembers over a restart.
    pub keeping: Keeping,
    /// Whether it accepts connections.
    pub gate: watch::Sender<bool>,
    /// How many processes took over from one another before.
    pub generation: AtomicU32,
    /// Whom it can speak to.
    pub reach: Reach,
    /// The one that this process took over from, while that one drains.
    pub before: Before,
    /// Held by whoever changes the configuration or the process.
    pub changing: Mutex<()>,
}

/// What a process can speak to its upstreams. It is bought at start, since it costs memory; a configuration that needs
/// more needs another process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reach {
    /// TLS, for which the system's certificates are read.
    pub tls: bool,
    /// HTTP/2.
    pub http2: bool,
}

impl Reach {
    /// What a configuration needs.
    pub fn of(settings: &Settings) -> Self {
        let any = |needs: fn(&Credential) -> bool| settings.credentials.iter().any(needs);
        let collector = settings.otlp.as_ref().is_some_and(|otlp| otlp.endpoint.scheme() == "https");
        Self { tls: collector || any(|c| c.base_url.scheme() == "https"), http2: any(|c| c.http2) }
    }

    /// Whether that is enough for another one.
    pub fn covers(self, other: Self) -> bool {
        (self.tls || !other.tls) && (self.http2 || !other.http2)
    }
}

/// How long the last traces may take.
#[cfg(feature = "otlp")]
const LAST_TRACES: Duration = Duration::from_secs(1);

impl Running {
    /// Begins the way out: the process ends as soon as nothing is in flight, here or in the process before this one,
    /// whose last words go through here.
    pub fn stop(self: &Arc<Self>) {
        self.drain.stop();
        self.before.part();
        // A process that another one has taken over from is on its way already.
        if self.live.edge().courses.process().is_none() {
            let running = self.clone();
            std::thread::spawn(move || {
                let shut = || {
                    running.gate.send_replace(false);
                };
                running.drain.leave(|| running.before.is_there(), shut, || running.last_words())
            });
        }
    }

    /// What is done last.
    fn last_words(&self) {
        self.keep();
        if let Some(fleet) = &self.live.edge().gateway.fleet {
            fleet.leave();
        }
        #[cfg(feature = "otlp")]
        crate::observe::otlp::flush(LAST_TRACES);
    }

    /// Writes what the next process is to remember, if this one still has the say.
    pub fn keep(&self) {
        let edge = self.live.edge();
        if edge.courses.is_here() {
            self.keeping.keep(&edge.gateway);
        }
    }
}

/// The system's monotonic clock, which all processes share.
fn monotonic() -> Duration {
    let now = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(now.tv_nsec).unwrap_or_default())
}

/// `moment` on the clock that all processes share. The two clocks are read so that the moment comes out late rather
/// than early: a count is forgotten late rather than early.
fn shared(moment: Instant) -> u128 {
    let ago = moment.elapsed();
    monotonic().saturating_sub(ago).as_nanos()
}

/// The same way back. None for a moment before this clock's beginning.
fn own(nanoseconds: u128) -> Option<Instant> {
    let ago = monotonic().as_nanos().saturating_sub(nanoseconds);
    Instant::now().checked_sub(Duration::from_nanos(u64::try_from(ago).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_means_the_same_to_another_process_and_never_less() {
        let moment = Instant::now();
        std::thread::sleep(Duration::from_millis(5));
        let there = own(shared(moment)).unwrap();
        assert!(there >= moment && there - moment < Duration::from_millis(5), "{:?}", there - moment);
    }
}
