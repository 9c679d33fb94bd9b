//! What stands in the cells of the page: states, bars, times, curves.
//!
//! Bars and curves are drawn as SVG with attributes only, since a policy that forbids inline styles forbids the `style`
//! attribute as well. Each has its figures beside it or in its label: nothing is told by a colour or a shape alone.

use std::fmt::Write;
use std::time::{Duration, SystemTime};

use crate::observe::recent::Lately;
use crate::observe::view::{CredentialView, Standing, State, Used, View};

/// The width of a bar.
const WIDTH: u64 = 80;
/// The height of a curve.
const HEIGHT: u32 = 16;

/// The words and the colour of a state. Never the colour alone.
pub(super) struct StateCell<'v> {
    pub(super) class: &'static str,
    pub(super) word: &'static str,
    pub(super) reason: &'v str,
    pub(super) since: Option<String>,
    pub(super) recovery: Option<String>,
}

impl<'v> StateCell<'v> {
    /// With the moment since when it has been so: of a credential that never was in trouble, since the start.
    pub(super) fn of(credential: &'v CredentialView, lately: Option<&Lately>, view: &View) -> Self {
        let standing = &credential.standing;
        let back = lately.and_then(|lately| lately.changed).filter(|_| standing.since.is_none());
        let ago = |ago: Duration| view.page.as_ref().and_then(|page| page.now.checked_sub(ago));
        let since = back.or_else(|| ago(standing.since.unwrap_or(view.uptime)));
        Self { since: since.map(instant), ..Self::brief(standing, credential.banned) }
    }

    pub(super) fn brief(standing: &'v Standing, banned: bool) -> Self {
        let (class, word) = match standing.state {
            // All of its models are banned, although it is not.
            State::Available if banned => ("down", "✕ all models banned"),
            State::Available => ("up", "● available"),
            State::CoolDown => ("wait", "◌ cooling down"),
            State::Probation => ("wait", "◌ on probation"),
            State::Banned => ("down", "✕ banned"),
            State::BannedForGood => ("down", "✕ banned for good"),
        };
        let reason = standing.reason.as_deref().unwrap_or_default();
        Self { class, word, reason, since: None, recovery: standing.next_recovery.map(span) }
    }
}

/// Use of a limit, of which a part is only reserved.
pub(super) struct Bar {
    of: Used,
    reserved: u64,
}

impl Bar {
    pub(super) fn new(of: Used, reserved: u64) -> Self {
        Self { of, reserved: reserved.min(of.current) }
    }

    pub(super) fn limit(&self) -> Option<u64> {
        self.of.limit
    }

    pub(super) fn used(&self) -> u64 {
        self.of.current
    }

    pub(super) fn is_used(&self) -> bool {
        self.of.current > 0
    }

    pub(super) fn share(&self) -> f64 {
        self.of.share()
    }

    /// The width of what is used up, without what is reserved.
    pub(super) fn settled(&self) -> u64 {
        self.width(self.of.current - self.reserved)
    }

    /// The width of what is used up and reserved.
    pub(super) fn taken(&self) -> u64 {
        self.width(self.of.current)
    }

    fn width(&self, amount: u64) -> u64 {
        let limit = self.of.limit.unwrap_or(u64::MAX).max(1);
        u64::try_from(u128::from(amount) * u128::from(WIDTH) / u128::from(limit)).unwrap_or(WIDTH).min(WIDTH)
    }

    /// Its colour: quiet up to 60 %, loud from 80 % on.
    pub(super) fn class(&self) -> &'static str {
        match self.of.share() {
            share if share >= 0.8 => "down",
            share if share >= 0.6 => "wait",
            _ => "up",
        }
    }

    pub(super) fn text(&self) -> String {
        let limit = self.of.limit.map_or_else(|| "∞".to_owned(), |limit| limit.to_string());
        let mut text = format!("{} / {limit}", self.of.current);
        if self.reserved > 0 {
            let _ = write!(text, " ({} reserved)", self.reserved);
        }
        text
    }
}

/// Median and 95th percentile.
pub(super) struct Times(pub(super) Option<(Duration, Duration)>);

impl Times {
    pub(super) fn text(&self) -> String {
        match self.0 {
            Some((median, most)) => format!("{} / {}", short(median), short(most)),
            None => "–".into(),
        }
    }
}

/// `850 ms`, `1.25 s`, `75 s`.
fn short(time: Duration) -> String {
    match time.as_secs_f64() {
        seconds if seconds < 1.0 => format!("{} ms", time.as_millis()),
        seconds if seconds < 10.0 => format!("{seconds:.2} s"),
        seconds => format!("{seconds:.0} s"),
    }
}

/// Answers and errors of the last five minutes.
pub(super) struct Spark<'v> {
    answers: &'v [u32],
    errors: &'v [u32],
}

impl<'v> Spark<'v> {
    pub(super) fn of(lately: Option<&'v Lately>) -> Self {
        let (answers, errors) = lately.map_or((&[][..], &[][..]), |lately| (&lately.answers, &lately.errors));
        Self { answers, errors }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.answers.iter().chain(self.errors).all(|count| *count == 0)
    }

    pub(super) fn label(&self) -> String {
        let sum = |counts: &[u32]| counts.iter().map(|count| u64::from(*count)).sum::<u64>();
        format!("last five minutes: {} answers, {} errors", sum(self.answers), sum(self.errors))
    }

    pub(super) fn answers_path(&self) -> String {
        self.path(self.answers)
    }

    pub(super) fn errors_path(&self) -> String {
        self.path(self.errors)
    }

    /// A stroke for each slot that is not empty, the highest as high as the picture.
    fn path(&self, counts: &[u32]) -> String {
        let most = self.answers.iter().chain(self.errors).copied().max().unwrap_or(0).max(1);
        let mut path = String::new();
        for (at, count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
            let height = (u64::from(*count) * u64::from(HEIGHT)).div_ceil(u64::from(most));
            let _ = write!(path, "M{at}.5 {HEIGHT}v-{height}");
        }
        path
    }
}

/// A moment, to the second: `2026-01-31 12:00:01Z`.
pub(super) fn instant(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(time).to_string().replace('T', " ")
}

/// A time in its two largest units, rounded up to seconds: `1 d 2 h`, `3 min 20 s`, `12 s`.
pub(super) fn span(time: Duration) -> String {
    let seconds = time.as_millis().div_ceil(1000);
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {} s", seconds % 60),
        (0, _, _) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_has_two_units() {
        let said = [0, 59, 60, 3_600, 90_000].map(|seconds| span(Duration::from_secs(seconds)));
        assert_eq!(said, ["0 s", "59 s", "1 min 0 s", "1 h 0 min", "1 d 1 h"]);
    }

    #[test]
    fn a_time_has_the_digits_that_matter() {
        let said = [0, 850, 1_254, 75_400].map(|ms| short(Duration::from_millis(ms)));
        assert_eq!(said, ["0 ms", "850 ms", "1.25 s", "75 s"]);
    }

    #[test]
    fn a_bar_tells_what_is_reserved_from_what_is_used() {
        let bar = Bar::new(Used { current: 900, limit: Some(1000) }, 300);
        assert_eq!((bar.settled(), bar.taken(), bar.class()), (48, 72, "down"));
        assert_eq!(bar.text(), "900 / 1000 (300 reserved)");
        let full = Bar::new(Used { current: u64::MAX, limit: Some(0) }, 0);
        assert_eq!((full.taken(), full.text().contains('(')), (WIDTH, false));
        assert_eq!(Bar::new(Used { current: 7, limit: None }, 9).text(), "7 / ∞ (7 reserved)");
    }

    #[test]
    fn a_curve_is_as_high_as_its_highest_slot() {
        let lately = Lately { answers: vec![0, 1, 4], errors: vec![0, 0, 2], ..Lately::default() };
        let spark = Spark::of(Some(&lately));
        assert_eq!(
            (spark.answers_path(), spark.errors_path()),
            ("M1.5 16v-4M2.5 16v-16".into(), "M2.5 16v-8".into())
        );
        assert_eq!(spark.label(), "last five minutes: 5 answers, 2 errors");
        assert!(Spark::of(None).is_empty());
    }
}
