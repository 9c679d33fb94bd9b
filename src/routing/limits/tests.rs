//! Limits, by example and by property.

use std::time::Instant;

use proptest::prelude::*;

use super::super::clock::Clock;
use super::*;

const MINUTE: Duration = Duration::from_secs(60);
const DAY: u64 = 86_400;
const DAY_MS: i64 = 86_400_000;
/// Some moment, since the Unix epoch.
const SOME_MS: u64 = 1_795_330_800_000;

fn tick(millis: u64) -> Tick {
    let mut clock = Clock::default();
    let start = Instant::now();
    clock.tick(start);
    clock.tick(start + Duration::from_millis(millis))
}

fn at(second: u64) -> Moment {
    Moment { second, unix: second }
}

fn span(period: Period, requests: Option<u64>) -> Span {
    Span::new(&Quota { period, requests, tokens: None })
}

fn minute(limit: Option<u64>) -> Span {
    span(Period::Rolling(60), limit)
}

impl Span {
    fn take(&mut self, amount: u64, second: u64) {
        self.charge(amount, 0, at(second));
    }

    fn used(&self, second: u64) -> u64 {
        self.uses(at(second))[0].0
    }

    fn admits(&self, amount: u64, at: Moment) -> bool {
        self.requests.admits(amount, self.ruler.reach(at), 1)
    }

    fn fits_in(&self, amount: u64, tick: Tick) -> Duration {
        self.requests.wait(amount, &self.ruler, tick, 1)
    }
}

#[test]
fn a_part_of_a_day_is_one_of_what_was_left_of_it_when_the_others_were_heard_of() {
    let fits = |day: &Span, second| day.requests.admits(1, day.ruler.reach(at(second)), 2);
    let mut busy = span(Period::Day(Zone::default()), Some(20));
    busy.take(6, 100);
    busy.hear([15, 0], at(100));
    let more = std::iter::from_fn(|| fits(&busy, 200).then(|| busy.take(1, 200))).count();
    assert_eq!(more, 2, "half of the five that were left");
    assert!(busy.admits(1, at(200)), "while all can be asked, it is they who say no");
    assert!(fits(&busy, DAY + 100), "another day");
    let mut idle = span(Period::Day(Zone::default()), Some(20));
    assert!(fits(&idle, 100));
    idle.hear([20, 0], at(100));
    assert!(!fits(&idle, 100), "the others have used it up");
    let tick = tick(100_000);
    assert_eq!(
        idle.requests.wait(1, &idle.ruler, tick, 2),
        Duration::from_secs(DAY - 100).max(Duration::ZERO)
    );
    idle.hear([19, 0], at(100));
    assert!(fits(&idle, 100), "never less than one of what there is");
}

#[test]
fn a_full_window_admits_again_when_its_second_has_left_the_minute() {
    let mut window = minute(Some(2));
    window.take(1, 0);
    window.take(1, 30);
    assert!(!window.admits(1, at(60)));
    assert!(window.admits(1, at(61)));
    assert_eq!((window.used(60), window.used(61), window.used(91)), (2, 1, 0));
}

#[test]
fn what_is_given_back_goes_to_the_slot_it_came_from() {
    let mut window = minute(Some(10));
    window.take(6, 0);
    window.take(4, 5);
    window.give_back(6, 0, at(0));
    assert_eq!(window.used(5), 4);
    window.give_back(4, 0, at(0));
    assert_eq!(window.used(5), 4, "that second has nothing left");
    window.take(1, 70);
    window.give_back(4, 0, at(5));
    assert_eq!(window.used(70), 1, "the second is long over");
}

#[test]
fn an_empty_window_takes_what_is_larger_than_the_limit() {
    let mut window = minute(Some(10));
    assert!(window.admits(1000, at(0)));
    window.take(1000, 0);
    assert!(!window.admits(1, at(60)));
    assert!(window.admits(1000, at(61)));
}

#[test]
fn the_wait_is_until_enough_has_left_and_at_most_a_window() {
    let mut window = minute(Some(10));
    window.take(4, 0);
    window.take(6, 20);
    assert_eq!(window.fits_in(4, tick(30_250)), Duration::from_millis(30_750));
    assert_eq!(window.fits_in(5, tick(30_250)), Duration::from_millis(50_750));
    assert_eq!(window.fits_in(4, tick(0)), MINUTE);
    assert_eq!(window.fits_in(4, tick(61_000)), Duration::ZERO);
    assert_eq!(minute(None).fits_in(4, tick(0)), Duration::ZERO);
}

#[test]
fn a_window_without_limit_counts_and_is_never_full() {
    let mut window = minute(None);
    window.take(u64::MAX, 3);
    assert!(window.admits(u64::MAX, at(3)));
    assert_eq!(window.used(3), 1 << 40);
}

#[test]
fn a_busy_window_has_some_sixty_slots_however_long_it_is() {
    for (seconds, slots) in [(1, 2), (10, 11), (60, 61), (100, 101), (3600, 61), (100_000, 62)] {
        let mut window = span(Period::Rolling(seconds), Some(1_000_000));
        let ends = 3 * u64::from(seconds);
        for second in 0..=ends {
            window.take(1, second);
        }
        assert!(window.requests.len() <= slots, "{seconds}: {}", window.requests.len());
        let grain = u64::from((seconds / 60).max(1));
        let used = window.used(ends);
        assert!((u64::from(seconds)..=u64::from(seconds) + 2 * grain).contains(&used), "{seconds}: {used}");
    }
}

#[test]
fn a_day_is_full_until_midnight_and_its_wait_ends_then() {
    let zone = Zone::named("America/Los_Angeles").expect("a zone");
    let mut day = span(Period::Day(zone), Some(2));
    // 2026-11-21, one hour before midnight there.
    let unix = 1_795_330_800;
    let moment = |later: u64| Moment { second: later, unix: unix + later };
    day.charge(1, 0, moment(0));
    day.charge(1, 0, moment(1800));
    assert!(!day.admits(1, moment(3599)));
    assert!(day.admits(1, moment(3600)));
    let now = Tick { unix: Duration::from_millis((unix + 1800) * 1000 + 250), ..tick(1_800_250) };
    assert_eq!(day.fits_in(1, now), Duration::from_millis(1_799_750));
    day.charge(1, 0, moment(3600));
    day.give_back(1, 0, moment(1800));
    assert_eq!(day.uses(moment(3600))[0].0, 1, "what is given back of yesterday is not taken from today");
}

#[test]
fn a_wall_clock_that_jumps_hands_out_no_second_quota_and_loses_none() {
    let day = |number: u64| Moment { second: 0, unix: number * DAY + 60 };
    let mut span = span(Period::Day(Zone::default()), Some(5));
    span.charge(5, 0, day(20_000));
    assert!(!span.admits(1, day(20_000)));
    assert!(span.admits(5, day(20_001)), "a date ahead has its own quota");
    span.charge(3, 0, day(24_000));
    assert!(!span.admits(1, day(20_000)), "back again: the date had used its quota");
    assert!(span.admits(5, day(20_001)), "and the next one has it whole");
    span.charge(5, 0, day(20_001));
    for number in 20_002..20_100 {
        assert!(span.admits(5, day(number)) && !span.admits(6, day(20_001).max(day(number - 1))));
        span.charge(5, 0, day(number));
        assert!(!span.admits(1, day(number)));
    }
    assert!(span.requests.len() <= 9, "and few dates are remembered");
    span.charge(5, 0, day(3));
    span.charge(5, 0, day(2));
    span.charge(5, 0, day(1));
    assert!(!span.admits(1, day(1)), "the date of now is never the one that is forgotten");
}

impl Moment {
    fn max(self, other: Self) -> Self {
        if self.unix > other.unix {
            self
        } else {
            other
        }
    }
}

#[test]
fn a_sheet_carries_all_windows_and_todays_count_into_another_zone() {
    let day = |zone: &str| Quota {
        period: Period::Day(Zone::named(zone).expect("a zone")),
        requests: Some(10),
        tokens: Some(100),
    };
    let hour = Quota { period: Period::Rolling(3600), requests: Some(9), tokens: None };
    let limits = |quotas: Vec<Quota>| Limits { rpm: Some(5), tpm: None, more: quotas.into() };
    let mut meter = Meter::new(&limits(vec![hour.clone(), day("UTC")]));
    let now = Moment { second: 10_000, unix: 1_795_330_800 };
    meter.charge(7, now);
    let sheets = meter.sheets(now);
    let used =
        |meter: &Meter| meter.spans().map(|span| span.uses(now).map(|(used, _)| used)).collect::<Vec<_>>();
    for zone in ["UTC", "Asia/Tokyo", "America/Los_Angeles"] {
        let mut heir = Meter::new(&limits(vec![day(zone), hour.clone()]));
        heir.restore(&sheets, now);
        assert_eq!(used(&heir), [[1, 7]; 3], "{zone}");
    }
    let mut later = Meter::new(&limits(vec![day("UTC")]));
    later.restore(&sheets, Moment { second: 100_000, unix: now.unix + DAY });
    assert_eq!(used(&later), [[1, 7]; 2], "yesterday's count stays yesterday's");
    let tomorrow = Moment { second: 100_000, unix: now.unix + DAY };
    assert!(later.is_idle(tomorrow));
}

#[test]
fn a_bound_says_over_what_time() {
    let says = |amount, per| Bound { amount, per }.to_string();
    assert_eq!(says(5, Per::Seconds(60)), "5 per minute");
    assert_eq!(says(100, Per::Seconds(90)), "100 per 1m30s");
    assert_eq!(says(7, Per::Seconds(3600)), "7 per hour");
    assert_eq!(says(1500, Per::Day), "1500 per day");
    assert_eq!(says(2, Per::Moment), "2 at one time");
}

#[derive(Clone, Debug)]
enum Act {
    /// Time, forwards or backwards, in milliseconds.
    Step(i64),
    /// A long time, in seconds.
    Leap(u64),
    /// The wall clock is set, in seconds.
    Set(i64),
    Admit(u64),
    /// The n-th admission turns out to have cost that much.
    Settle(usize, u64),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        4 => (-3_000i64..20_000).prop_map(Act::Step),
        1 => (100u64..40_000).prop_map(Act::Leap),
        1 => (-90_000i64..90_000).prop_map(Act::Set),
        8 => (1u64..60).prop_map(Act::Admit),
        2 => (0usize..100, 0u64..90).prop_map(|(which, cost)| Act::Settle(which, cost)),
    ];
    prop::collection::vec(act, 1..300)
}

/// What was admitted: when, with how much, what it now counts for, and from when on an overshoot counts.
struct Admission {
    at: Now,
    reserved: u64,
    kept: u64,
    over: Option<(Now, u64)>,
}

#[derive(Clone, Copy)]
struct Now {
    millis: u64,
    unix: u64,
}

impl Admission {
    /// Once: it has turned out to have cost that much.
    fn settle(&mut self, cost: u64, meter: &mut Meter, charged: Moment, (moment, now): (Moment, Now)) {
        if self.kept != self.reserved || self.over.is_some() {
            return;
        }
        if cost <= self.reserved {
            meter.give_back(0, self.reserved - cost, charged);
            self.kept = cost;
        } else {
            meter.overshoot(cost - self.reserved, moment);
            self.over = Some((now, cost - self.reserved));
        }
    }
}

/// Whether a quota of which so much is used has room for one request more, with so many tokens.
fn fits(quota: &Quota, (count, sum): (u64, u64), tokens: u64) -> bool {
    let most = quota.tokens.unwrap_or(0);
    count < quota.requests.unwrap_or(0) && (sum == 0 || sum + tokens <= most)
}

fn counted(admissions: &[Admission], counts: impl Fn(Now) -> bool) -> (u64, u64) {
    let kept = admissions.iter().filter(|a| counts(a.at));
    let over = admissions.iter().filter_map(|a| a.over).filter(|(at, _)| counts(*at));
    (
        kept.clone().count() as u64,
        kept.map(|a| a.kept).sum::<u64>() + over.map(|(_, amount)| amount).sum::<u64>(),
    )
}

/// What of `admissions` counts for a window now: surely, and at most.
fn truth(admissions: &[Admission], period: &Period, now: Now) -> [(u64, u64); 2] {
    match period {
        Period::Rolling(seconds) => {
            let (length, grain) = (u64::from(*seconds) * 1000, u64::from((seconds / 60).max(1)) * 1000);
            let since = |length: u64| {
                counted(admissions, |at| now.millis < length || at.millis > now.millis - length)
            };
            [since(length), since(length.div_ceil(grain) * grain + grain)]
        }
        Period::Day(zone) => {
            let today = zone.day(now.unix);
            [counted(admissions, |at| today.contains(&at.unix)); 2]
        }
    }
}

proptest! {
    /// The two promises, for all kinds of limits at once: no window and no day sees an admission past its limit, and
    /// what fits into a window that is one slot longer is admitted. Checked against a list of exact moments.
    #[test]
    fn no_window_and_no_day_admits_more_than_its_limit_and_capacity_is_back_a_slot_late_at_most(
        acts in acts(),
        tpm in 40u64..200,
        seconds in 1u32..8_000,
        zone in prop_oneof!["UTC", "America/Los_Angeles", "Asia/Kathmandu"],
    ) {
        let zone = Zone::named(&zone).expect("a zone");
        let quotas = [
            Quota { period: Period::Rolling(60), requests: Some(9), tokens: Some(tpm) },
            Quota { period: Period::Rolling(seconds), requests: Some(20), tokens: Some(6 * tpm) },
            Quota { period: Period::Day(zone), requests: Some(40), tokens: Some(12 * tpm) },
        ];
        let more = if seconds == 60 { &quotas[2..] } else { &quotas[1..] };
        let mut meter = Meter::new(&Limits { rpm: Some(9), tpm: Some(tpm), more: more.into() });
        let start = Instant::now();
        let (mut clock, mut wrong) = (Clock::default(), 0);
        clock.tick(start);
        let mut moments: Vec<Moment> = Vec::new();
        let mut admissions: Vec<Admission> = Vec::new();
        let mut millis: u64 = 1;
        for act in acts {
            match act {
                Act::Step(by) => millis = millis.saturating_add_signed(by).max(1),
                Act::Leap(by) => millis += by * 1000,
                // What is remembered of days is bounded, so the clock is never wrong by more than three of them.
                Act::Set(by) => wrong = (wrong + by * 1000).clamp(-3 * DAY_MS, 3 * DAY_MS),
                _ => {}
            }
            let now = start + Duration::from_millis(millis);
            let wall = (SOME_MS + millis).saturating_add_signed(wrong);
            clock.pair(now, std::time::SystemTime::UNIX_EPOCH + Duration::from_millis(wall));
            let tick = clock.tick(now);
            let exact = Now { millis: tick.age.as_millis() as u64, unix: tick.unix.as_secs() };
            match act {
                Act::Step(_) | Act::Leap(_) | Act::Set(_) => {}
                Act::Admit(amount) => {
                    let need = Need { tokens: amount, among: 1 };
                    let full = meter.full(need, tick);
                    let [surely, at_most] = [0, 1].map(|which| {
                        let used = |quota: &Quota| truth(&admissions, &quota.period, exact)[which];
                        quotas.iter().map(|quota| (quota, used(quota))).find(|(quota, used)| !fits(quota, *used, amount))
                    });
                    if full.is_none() {
                        prop_assert!(surely.is_none(), "{amount} more than {surely:?}");
                        meter.charge(amount, tick.moment());
                        moments.push(tick.moment());
                        admissions.push(Admission { at: exact, reserved: amount, kept: amount, over: None });
                    } else {
                        prop_assert!(at_most.is_some(), "{amount} would have fitted, but {full:?}");
                        prop_assert!(meter.wait(need, tick) > Duration::ZERO);
                    }
                }
                Act::Settle(which, cost) => {
                    let which = which % admissions.len().max(1);
                    if let Some(admission) = admissions.get_mut(which) {
                        admission.settle(cost, &mut meter, moments[which], (tick.moment(), exact));
                    }
                }
            }
        }
    }

    /// After the told wait, and with nothing else going on, it does fit; a moment before it did not.
    #[test]
    fn the_wait_is_true(
        charges in prop::collection::vec((1u64..30, 0u64..5_000), 1..80),
        amount in 1u64..40,
        seconds in 1u32..400,
    ) {
        let start = Instant::now();
        let mut clock = Clock::default();
        clock.tick(start);
        let mut window = span(Period::Rolling(seconds), Some(50));
        let mut millis = 0;
        for (charge, step) in charges {
            millis += step;
            window.take(charge, millis / 1000);
        }
        let now = clock.tick(start + Duration::from_millis(millis));
        let wait = window.fits_in(amount, now);
        let most = Duration::from_secs(u64::from(seconds));
        prop_assert!(wait <= most);
        let later = |wait: Duration| at((now.age + wait).as_secs());
        if wait < most {
            prop_assert!(window.admits(amount, later(wait)));
        }
        if wait > Duration::ZERO {
            prop_assert!(!window.admits(amount, later(wait - Duration::from_millis(1))));
        }
    }
}
