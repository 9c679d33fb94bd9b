//! Upstream connections by HTTP/1 that wait for their next request.
//!
//! Not Pingora's pool, because there each of them has a task that holds it locked until that is told to let go: a request
//! that takes one waits for the task, on another thread as a rule, and often goes without (Pingora's "failed to acquire
//! reusable stream"). Here one is taken with a lock held for a moment. That its upstream has closed it is seen when it is
//! taken, and by a look at all of them each second (`background::idle`), which costs no system call where nothing came.
//!
//! The newest goes first, so that those which a quiet hour does not need reach their age.

use std::collections::{HashMap, VecDeque};
use std::future::{poll_fn, Future};
use std::pin::{pin, Pin};
use std::sync::PoisonError;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use pingora::protocols::l4::socket::SocketAddr;
use pingora::protocols::Stream;
use pingora::upstreams::peer::{HttpPeer, Peer};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::task::coop::unconstrained;

use crate::observe::metrics::{self, Counted};
use crate::sync::{Mutex, MutexGuard};

/// The idle connections of a process.
pub struct IdleConnections {
    most: usize,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    /// By Pingora's hash of all that makes connections to a peer the same; the newest last.
    of: HashMap<u64, VecDeque<Idle>>,
    count: usize,
}

struct Idle {
    stream: Stream,
    /// Hashes may collide; a key must never reach a stranger.
    address: SocketAddr,
    until: Instant,
    _counted: Counted,
}

impl IdleConnections {
    /// Room for `most` connections; the oldest gives way.
    pub fn new(most: usize) -> Self {
        Self { most, kept: Mutex::default() }
    }

    /// A connection to `peer`, if one is idle and still open.
    pub fn take(&self, peer: &HttpPeer) -> Option<Stream> {
        let key = peer.reuse_hash();
        loop {
            let mut idle = self.lock().pop(key)?;
            if idle.address == peer._address && is_quiet(&mut idle.stream) {
                return Some(idle.stream);
            }
        }
    }

    /// Keeps a connection to `peer`, for as long as its peer allows.
    pub fn put(&self, mut stream: Stream, peer: &HttpPeer, now: Instant) {
        let stays = peer.options.idle_timeout.unwrap_or(Duration::MAX);
        let until = now.checked_add(stays).unwrap_or(now);
        if until > now && self.most > 0 && is_quiet(&mut stream) {
            let idle = Idle { stream, address: peer._address.clone(), until, _counted: metrics::idle() };
            let gone = self.lock().push(peer.reuse_hash(), idle, self.most);
            drop(gone);
        }
    }

    /// Closes those whose time is over and those that their upstream has closed.
    pub fn sweep(&self, now: Instant) {
        let keys: Vec<u64> = self.lock().of.keys().copied().collect();
        for key in keys {
            // One upstream's at a time, so that nobody waits for long.
            let gone = self.lock().expire(key, now);
            drop(gone);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn pop(&mut self, key: u64) -> Option<Idle> {
        let idle = self.of.get_mut(&key)?.pop_back()?;
        self.count -= 1;
        Some(idle)
    }

    /// Takes one in; what had to go for it is returned, to be closed when nobody waits.
    fn push(&mut self, key: u64, idle: Idle, most: usize) -> Option<Idle> {
        let gone = if self.count >= most { self.oldest() } else { None };
        self.of.entry(key).or_default().push_back(idle);
        self.count += 1;
        gone
    }

    fn oldest(&mut self) -> Option<Idle> {
        let age = |(key, idle): (&u64, &VecDeque<Idle>)| Some((idle.front()?.until, *key));
        let (_, key) = self.of.iter().filter_map(age).min()?;
        self.count -= 1;
        self.of.get_mut(&key)?.pop_front()
    }

    fn expire(&mut self, key: u64, now: Instant) -> Vec<Idle> {
        let Some(idle) = self.of.get_mut(&key) else { return Vec::new() };
        let mut gone = Vec::new();
        // Once around.
        for _ in 0..idle.len() {
            let Some(mut oldest) = idle.pop_front() else { break };
            if oldest.until > now && is_quiet(&mut oldest.stream) {
                idle.push_back(oldest);
            } else {
                gone.push(oldest);
            }
        }
        if idle.is_empty() {
            self.of.remove(&key);
        }
        self.count -= gone.len();
        gone
    }
}

/// Whether nothing has come on an idle connection, neither its end nor a byte that nobody asked for.
fn is_quiet(stream: &mut Stream) -> bool {
    let mut byte = [0];
    let mut read = ReadBuf::new(&mut byte);
    let look = poll_fn(|cx| Pin::new(&mut *stream).poll_read(cx, &mut read));
    // A task that has done much is told "not now" by tokio; that is no answer here.
    pin!(unconstrained(look)).poll(&mut Context::from_waker(Waker::noop())).is_pending()
}

#[cfg(test)]
mod tests {
    use tokio::io::{duplex, AsyncWriteExt, DuplexStream};

    use super::*;

    fn peer(port: u16) -> HttpPeer {
        let mut peer = HttpPeer::new(("127.0.0.1", port), false, String::new());
        peer.options.idle_timeout = Some(Duration::from_secs(60));
        peer
    }

    /// Keeps a connection whose other end comes back.
    fn keep(idle: &IdleConnections, peer: &HttpPeer, now: Instant) -> DuplexStream {
        let (upstream, ours) = duplex(64);
        idle.put(Box::new(ours), peer, now);
        upstream
    }

    #[tokio::test]
    async fn the_newest_that_is_open_is_taken_and_by_its_peer_only() {
        let (idle, now) = (IdleConnections::new(8), Instant::now());
        let mut ends = [keep(&idle, &peer(1), now), keep(&idle, &peer(1), now), keep(&idle, &peer(1), now)];
        let _other = keep(&idle, &peer(2), now);
        ends[2].write_all(b"?").await.unwrap();
        let mut taken = idle.take(&peer(1)).expect("the second is quiet and open");
        taken.write_all(b"it").await.unwrap();
        drop(taken);
        let mut said = String::new();
        tokio::io::AsyncReadExt::read_to_string(&mut ends[1], &mut said).await.unwrap();
        assert_eq!(said, "it");
        drop(ends);
        assert!(idle.take(&peer(1)).is_none(), "the first is closed");
        assert!(idle.take(&peer(3)).is_none());
        assert_eq!(idle.lock().count, 1);
    }

    #[tokio::test]
    async fn a_sweep_closes_what_is_old_and_what_was_closed() {
        let (idle, now) = (IdleConnections::new(8), Instant::now());
        let old = keep(&idle, &peer(1), now);
        let later = now + Duration::from_secs(30);
        let (_young, closed) = (keep(&idle, &peer(1), later), keep(&idle, &peer(2), later));
        drop(closed);
        idle.sweep(later);
        assert_eq!(idle.lock().count, 2, "the closed one is gone");
        idle.sweep(now + Duration::from_secs(60));
        assert_eq!(idle.lock().count, 1, "the old one is gone");
        assert!(idle.lock().of.len() == 1, "an upstream without connections is forgotten");
        let mut none = Vec::new();
        tokio::io::AsyncReadExt::read_to_end(&mut { old }, &mut none).await.unwrap();
    }

    #[tokio::test]
    async fn the_oldest_gives_way_in_a_full_house() {
        let (idle, now) = (IdleConnections::new(2), Instant::now());
        let first = keep(&idle, &peer(1), now);
        let _rest: Vec<_> = (1..3).map(|n| keep(&idle, &peer(2), now + Duration::from_secs(n))).collect();
        assert_eq!(idle.lock().count, 2);
        assert!(idle.take(&peer(1)).is_none());
        drop(first);
    }

    #[tokio::test]
    async fn some_are_not_kept() {
        let (idle, now) = (IdleConnections::new(2), Instant::now());
        let mut once = peer(1);
        once.options.idle_timeout = Some(Duration::ZERO);
        let _end = keep(&idle, &once, now);
        let (upstream, ours) = duplex(64);
        drop(upstream);
        idle.put(Box::new(ours), &peer(1), now);
        assert_eq!(idle.lock().count, 0);
    }
}
