//! Whether the store is relied on. Time is an argument.
//!
//! The first failure opens the circuit, so that no request waits for a second one; a sign of life from the background
//! closes it. After an outage a router asks again at once, but keeps to its share for two seconds more: by then every
//! other one, which tries once a second, has charged the store with what it admitted meanwhile. A store that was reached
//! for the first time is relied on at once.

use std::time::{Duration, Instant};

/// For the others to come back as well.
const SETTLING: Duration = Duration::from_secs(2);

/// The state of the line to the store.
#[derive(Clone, Debug)]
pub struct Circuit {
    link: Link,
    since: Instant,
    /// How many routers were there when it was heard of last, and at least so many.
    seen: u32,
    least: u32,
    /// Whether it was ever reached.
    ever: bool,
    outages: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    Out,
    Settling(Instant),
    Up,
}

/// What a sign of life changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reached {
    /// Nothing.
    Still,
    /// It is back, or there for the first time; it was out since then.
    Back(Instant),
}

impl Circuit {
    /// Not reached yet. There are at least `least` routers.
    pub fn new(least: u32, now: Instant) -> Self {
        let least = least.max(1);
        Self { link: Link::Out, since: now, seen: 1, least, ever: false, outages: 0 }
    }

    /// Whether requests ask.
    pub fn asks(&self) -> bool {
        self.link != Link::Out
    }

    /// Whether its word alone counts.
    pub fn is_up(&self) -> bool {
        self.link == Link::Up
    }

    /// By how much each limit is divided.
    pub fn among(&self) -> u32 {
        if self.is_up() {
            1
        } else {
            self.routers()
        }
    }

    /// How many routers there are, this one included.
    pub fn routers(&self) -> u32 {
        self.seen.max(self.least)
    }

    /// Since when it has been as it is.
    pub fn since(&self) -> Instant {
        self.since
    }

    /// How often it was lost.
    pub fn outages(&self) -> u64 {
        self.outages
    }

    /// It has not answered. Whether that is news.
    pub fn failed(&mut self, now: Instant) -> bool {
        let news = self.link != Link::Out;
        if news {
            (self.link, self.since) = (Link::Out, now);
            self.outages += 1;
        }
        news
    }

    /// It has answered, and knows of so many routers.
    pub fn reached(&mut self, routers: u32, now: Instant) -> Reached {
        match self.link {
            Link::Out => {
                let since = self.since;
                self.link = if self.ever { Link::Settling(now + SETTLING) } else { Link::Up };
                (self.since, self.ever) = (now, true);
                // Others are still on their way back.
                self.seen = self.seen.max(routers);
                Reached::Back(since)
            }
            Link::Settling(until) => {
                self.seen = self.seen.max(routers);
                if until <= now {
                    self.link = Link::Up;
                }
                Reached::Still
            }
            Link::Up => {
                self.seen = routers.max(1);
                Reached::Still
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_contact_is_relied_on_at_once() {
        let t = Instant::now();
        let mut circuit = Circuit::new(1, t);
        assert!(!circuit.asks());
        assert_eq!(circuit.reached(4, t), Reached::Back(t));
        assert!(circuit.is_up() && circuit.among() == 1 && circuit.routers() == 4);
    }

    #[test]
    fn after_an_outage_the_share_stays_for_two_seconds_more() {
        let t = Instant::now();
        let at = |ms| t + Duration::from_millis(ms);
        let mut circuit = Circuit::new(1, t);
        let _ = circuit.reached(4, t);
        assert!(circuit.failed(at(1000)) && !circuit.failed(at(1001)));
        assert_eq!((circuit.asks(), circuit.among(), circuit.outages()), (false, 4, 1));
        assert_eq!(circuit.reached(1, at(3000)), Reached::Back(at(1000)));
        assert!(circuit.asks() && circuit.among() == 4, "it asks, and keeps to its share");
        let _ = circuit.reached(2, at(4999));
        assert_eq!(circuit.among(), 4);
        let _ = circuit.reached(4, at(5000));
        assert_eq!(circuit.among(), 1);
        let _ = circuit.reached(3, at(6000));
        assert_eq!(circuit.routers(), 3);
    }

    #[test]
    fn there_are_at_least_as_many_routers_as_the_file_says() {
        let t = Instant::now();
        let mut circuit = Circuit::new(5, t);
        assert_eq!(circuit.among(), 5);
        let _ = circuit.reached(2, t);
        circuit.failed(t);
        assert_eq!(circuit.among(), 5);
    }
}
