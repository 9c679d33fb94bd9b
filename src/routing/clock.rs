//! Time as the pool counts it: seconds since the first moment it heard of, never backwards.
//!
//! Threads read the clock before they take the lock, so a `now` can be a little older than the one before; it then
//! counts as that one. Windows and bans may rely on it.

use std::time::{Duration, Instant};

/// The latest moment that the pool has heard of.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Clock {
    epoch: Option<Instant>,
    latest: Duration,
}

/// One moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tick {
    /// For bans and deadlines.
    pub(crate) now: Instant,
    /// Since the epoch, for windows.
    pub(crate) age: Duration,
}

impl Clock {
    /// A clock that began at `epoch` and has heard of all up to `latest` since.
    pub(crate) fn resumed(epoch: Instant, latest: Duration) -> Self {
        Self { epoch: Some(epoch), latest }
    }

    /// Moves on to `now`.
    pub(crate) fn tick(&mut self, now: Instant) -> Tick {
        let epoch = *self.epoch.get_or_insert(now);
        self.latest = self.latest.max(now.saturating_duration_since(epoch));
        Tick { now: epoch + self.latest, age: self.latest }
    }

    /// What `tick` would say, without moving.
    pub(crate) fn peek(&self, now: Instant) -> Tick {
        let mut copy = *self;
        copy.tick(now)
    }

    /// The first moment it heard of.
    pub(crate) fn epoch(&self) -> Option<Instant> {
        self.epoch
    }

    /// The second that was heard of last.
    pub(crate) fn second(&self) -> u64 {
        self.latest.as_secs()
    }

    /// The moment that was heard of last, if any was.
    pub(crate) fn latest(&self) -> Option<Tick> {
        Some(Tick { now: self.epoch? + self.latest, age: self.latest })
    }
}

impl Tick {
    /// Which one-second slot this is in.
    pub(crate) fn second(&self) -> u64 {
        self.age.as_secs()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_now_counts_as_the_latest() {
        let t0 = Instant::now();
        let mut clock = Clock::default();
        assert_eq!(clock.tick(t0).second(), 0);
        assert_eq!(clock.tick(t0 + Duration::from_secs(5)).second(), 5);
        assert_eq!(clock.tick(t0 + Duration::from_secs(3)).second(), 5);
        assert_eq!(clock.peek(t0 + Duration::from_secs(9)).second(), 9);
        assert_eq!(clock.second(), 5);
    }
}
