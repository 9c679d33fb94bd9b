//! Time as the pool counts it: seconds since the first moment it heard of, never backwards; and the date beside it.
//!
//! Threads read the clock before they take the lock, so a `now` can be a little older than the one before; it then
//! counts as that one. Windows and bans may rely on it.
//!
//! Days need the wall clock, which may be set, forwards and backwards. The shell pairs the two clocks every second
//! (`pair`), and in between the date goes by the steady one. What follows a jump is not this clock's affair: a date's
//! count is kept under the date (`limits`).

use std::time::{Duration, Instant, SystemTime};

use serde::{Deserialize, Serialize};

/// The latest moment that the pool has heard of.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Clock {
    epoch: Option<Instant>,
    latest: Duration,
    /// What the wall clock showed at the epoch; zero where nobody has said.
    dawn: Duration,
}

/// One moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tick {
    /// For bans and deadlines.
    pub(crate) now: Instant,
    /// Since the epoch, for windows.
    pub(crate) age: Duration,
    /// Since the Unix epoch, for days; the age where nobody knows the date.
    pub(crate) unix: Duration,
}

/// When something was charged, to find it again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Moment {
    /// Of the pool's clock.
    pub(crate) second: u64,
    /// Of the wall clock.
    #[serde(default)]
    pub(crate) unix: u64,
}

impl Clock {
    /// Goes on as a clock that began at `epoch` and has heard of all up to `latest` since.
    pub(crate) fn resume(&mut self, epoch: Instant, latest: Duration) {
        let before = self.epoch.unwrap_or(epoch);
        let dawn = (self.dawn + epoch.saturating_duration_since(before))
            .saturating_sub(before.saturating_duration_since(epoch));
        *self = Self { epoch: Some(epoch), latest, dawn };
    }

    /// It is `wall` at `now`.
    pub(crate) fn pair(&mut self, now: Instant, wall: SystemTime) {
        let epoch = *self.epoch.get_or_insert(now);
        let wall = wall.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.dawn = wall.saturating_sub(now.saturating_duration_since(epoch));
    }

    /// Moves on to `now`.
    pub(crate) fn tick(&mut self, now: Instant) -> Tick {
        let epoch = *self.epoch.get_or_insert(now);
        self.latest = self.latest.max(now.saturating_duration_since(epoch));
        self.at(epoch)
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

    /// The moment that was heard of last, if any was.
    pub(crate) fn latest(&self) -> Option<Tick> {
        Some(self.at(self.epoch?))
    }

    fn at(&self, epoch: Instant) -> Tick {
        Tick { now: epoch + self.latest, age: self.latest, unix: self.dawn + self.latest }
    }
}

impl Tick {
    /// How many whole seconds have begun since `since`.
    pub(crate) fn seconds_since(&self, since: Instant) -> u64 {
        let first = self.age.saturating_sub(self.now.saturating_duration_since(since)).as_secs();
        self.moment().second.saturating_sub(first)
    }

    /// For what is charged now.
    pub(crate) fn moment(&self) -> Moment {
        Moment { second: self.age.as_secs(), unix: self.unix.as_secs() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_now_counts_as_the_latest() {
        let t0 = Instant::now();
        let second = |tick: Tick| tick.moment().second;
        let mut clock = Clock::default();
        assert_eq!(second(clock.tick(t0)), 0);
        assert_eq!(second(clock.tick(t0 + Duration::from_secs(5))), 5);
        assert_eq!(second(clock.tick(t0 + Duration::from_secs(3))), 5);
        assert_eq!(second(clock.peek(t0 + Duration::from_secs(9))), 9);
        assert_eq!(clock.latest().map(second), Some(5));
    }

    #[test]
    fn the_date_goes_by_the_last_word_of_the_wall_clock() {
        let (t0, second) = (Instant::now(), Duration::from_secs(1));
        let wall = |unix: u64| SystemTime::UNIX_EPOCH + Duration::from_secs(unix);
        let mut clock = Clock::default();
        clock.tick(t0);
        clock.pair(t0 + 2 * second, wall(1000));
        assert_eq!(clock.tick(t0 + second).moment(), Moment { second: 1, unix: 999 });
        assert_eq!(clock.tick(t0 + 5 * second).moment(), Moment { second: 5, unix: 1003 });
        clock.pair(t0 + 6 * second, wall(50));
        assert_eq!(clock.tick(t0 + 7 * second).moment(), Moment { second: 7, unix: 51 });
        clock.resume(t0, 3 * second);
        assert_eq!(clock.tick(t0).moment(), Moment { second: 3, unix: 47 });
    }
}
