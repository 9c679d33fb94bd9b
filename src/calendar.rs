//! Days in a time zone: where the one that holds a moment begins and ends, in seconds of the Unix epoch.
//!
//! Days are named by their first second, which no two days of a zone share. A day has 23 or 25 hours where clocks are
//! changed, and begins at one o'clock where that is done at midnight. The zones are those that `jiff` carries (the IANA
//! data of its release), not those of the host: an image without `/usr/share/zoneinfo` counts the same days, and the core
//! reads no file.

use std::fmt;
use std::ops::Range;

use jiff::civil::Date;
use jiff::tz::{TimeZone, TimeZoneDatabase};
use jiff::{Timestamp, Zoned};

const DAY: u64 = 86_400;

/// A time zone of the IANA database.
#[derive(Clone)]
pub struct Zone(TimeZone);

impl Zone {
    /// The zone with that name, `America/Los_Angeles` for one; none if there is none.
    pub fn named(name: &str) -> Option<Self> {
        TimeZoneDatabase::bundled().get(name).ok().map(Self)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.0.iana_name().unwrap_or("UTC")
    }

    /// The day that holds `unix`, from its first second to that of the next day.
    pub fn day(&self, unix: u64) -> Range<u64> {
        let utc = unix - unix % DAY;
        self.civil_day(unix).unwrap_or(utc..utc + DAY)
    }

    /// None beyond the end of all calendars.
    fn civil_day(&self, unix: u64) -> Option<Range<u64>> {
        let at = Timestamp::from_second(i64::try_from(unix).ok()?).ok()?;
        let date = Zoned::new(at, self.0.clone()).date();
        let first = |date: Date| {
            let begin = date.to_zoned(self.0.clone()).ok()?.timestamp().as_second();
            // A zone east of Greenwich has begun its first day before the epoch.
            Some(u64::try_from(begin).unwrap_or(0))
        };
        Some(first(date)?..first(date.tomorrow().ok()?)?)
    }
}

impl Default for Zone {
    fn default() -> Self {
        Self(TimeZone::UTC)
    }
}

impl PartialEq for Zone {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Eq for Zone {}

impl fmt::Debug for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOUR: u64 = 3600;

    fn day(zone: &str, at: &str) -> (String, u64) {
        let zone = Zone::named(zone).expect("a zone");
        let unix = at.parse::<Timestamp>().expect("a time").as_second().unsigned_abs();
        let day = zone.day(unix);
        let begin = Timestamp::from_second(day.start as i64).expect("a time");
        (begin.to_string(), (day.end - day.start) / HOUR)
    }

    #[test]
    fn a_day_ends_at_midnight_of_its_zone() {
        assert_eq!(day("UTC", "2026-11-21T23:59:59Z"), ("2026-11-21T00:00:00Z".into(), 24));
        assert_eq!(day("America/Los_Angeles", "2026-11-21T07:59:59Z"), ("2026-11-20T08:00:00Z".into(), 24));
        assert_eq!(day("America/Los_Angeles", "2026-11-21T08:00:00Z"), ("2026-11-21T08:00:00Z".into(), 24));
        assert_eq!(day("Asia/Kolkata", "2026-11-21T18:30:00Z"), ("2026-11-21T18:30:00Z".into(), 24));
    }

    #[test]
    fn the_days_on_which_clocks_change_have_23_and_25_hours() {
        assert_eq!(day("America/Los_Angeles", "2026-03-08T20:00:00Z"), ("2026-03-08T08:00:00Z".into(), 23));
        assert_eq!(day("America/Los_Angeles", "2026-11-01T20:00:00Z"), ("2026-11-01T07:00:00Z".into(), 25));
        assert_eq!(day("Europe/Berlin", "2026-10-25T12:00:00Z"), ("2026-10-24T22:00:00Z".into(), 25));
        // Clocks go from midnight to one o'clock there.
        assert_eq!(day("Africa/Cairo", "2026-04-24T12:00:00Z"), ("2026-04-23T22:00:00Z".into(), 23));
    }

    #[test]
    fn a_zone_that_nobody_knows_is_none() {
        assert!(Zone::named("America/Atlantis").is_none() && Zone::named("").is_none());
        assert_eq!(Zone::named("Europe/Berlin").as_ref().map(Zone::name), Some("Europe/Berlin"));
        assert_eq!(Zone::default().name(), "UTC");
        assert_eq!(Zone::named("UTC"), Some(Zone::default()));
    }

    proptest! {
        #[test]
        fn every_second_has_one_day_and_days_leave_no_gap(unix in 0u64..5_000_000_000, zone in 0usize..6) {
            let names = ["UTC", "America/Los_Angeles", "Africa/Cairo", "Asia/Kathmandu", "Pacific/Apia", "America/Sao_Paulo"];
            let zone = Zone::named(names[zone]).expect("a zone");
            let day = zone.day(unix);
            prop_assert!(day.contains(&unix));
            prop_assert_eq!(zone.day(day.start), day.clone());
            prop_assert_eq!(zone.day(day.end).start, day.end);
            prop_assert!((20 * HOUR..=49 * HOUR).contains(&(day.end - day.start)) || day.start == 0);
        }

        #[test]
        fn no_second_is_too_late(unix: u64) {
            prop_assert!(Zone::default().day(unix / 2).contains(&(unix / 2)));
        }
    }
}
