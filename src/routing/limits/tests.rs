//! Windows, by example and by property.

use std::time::Instant;

use proptest::prelude::*;

use super::super::clock::Clock;
use super::*;

fn tick(millis: u64) -> Tick {
    let mut clock = Clock::default();
    let start = Instant::now();
    clock.tick(start);
    clock.tick(start + Duration::from_millis(millis))
}

#[test]
fn a_full_window_admits_again_when_its_second_has_left_the_minute() {
    let mut window = Window::new(Some(2));
    window.charge(1, 0);
    window.charge(1, 30);
    assert!(!window.admits(1, 60, 1));
    assert!(window.admits(1, 61, 1));
    assert_eq!((window.used(60), window.used(61), window.used(91)), (2, 1, 0));
}

#[test]
fn what_is_given_back_goes_to_the_second_it_came_from() {
    let mut window = Window::new(Some(10));
    window.charge(6, 0);
    window.charge(4, 5);
    window.give_back(6, 0);
    assert_eq!(window.used(5), 4);
    window.give_back(4, 0);
    assert_eq!(window.used(5), 4, "that second has nothing left");
    window.charge(1, 70);
    window.give_back(4, 5);
    assert_eq!(window.used(70), 1, "the second is long over");
}

#[test]
fn an_empty_window_takes_what_is_larger_than_the_limit() {
    let mut window = Window::new(Some(10));
    assert!(window.admits(1000, 0, 1));
    window.charge(1000, 0);
    assert!(!window.admits(1, 60, 1));
    assert!(window.admits(1000, 61, 1));
}

#[test]
fn the_wait_is_until_enough_has_left_and_at_most_a_minute() {
    let mut window = Window::new(Some(10));
    window.charge(4, 0);
    window.charge(6, 20);
    assert_eq!(window.wait(4, tick(30_250), 1), Duration::from_millis(30_750));
    assert_eq!(window.wait(5, tick(30_250), 1), Duration::from_millis(50_750));
    assert_eq!(window.wait(4, tick(0), 1), MINUTE);
    assert_eq!(window.wait(4, tick(61_000), 1), Duration::ZERO);
    assert_eq!(Window::new(None).wait(4, tick(0), 1), Duration::ZERO);
}

#[test]
fn a_window_without_limit_counts_and_is_never_full() {
    let mut window = Window::new(None);
    window.charge(u64::MAX, 3);
    assert!(window.admits(u64::MAX, 3, 1));
    assert_eq!(window.used(3), MOST);
}

#[test]
fn a_busy_window_has_no_more_slots_than_a_minute_has_seconds() {
    let mut window = Window::new(Some(1_000_000));
    for second in 0..10_000 {
        window.charge(3, second);
    }
    assert_eq!(window.slots.len() as u64, SLOTS);
    assert_eq!(window.used(9_999), 3 * SLOTS);
}

#[derive(Clone, Debug)]
enum Act {
    /// Time, forwards or backwards, in milliseconds.
    Step(i64),
    Admit(u64),
    /// The n-th admission turns out to have cost that much.
    Settle(usize, u64),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        2 => (-3_000i64..20_000).prop_map(Act::Step),
        4 => (1u64..60).prop_map(Act::Admit),
        1 => (0usize..100, 0u64..90).prop_map(|(which, cost)| Act::Settle(which, cost)),
    ];
    prop::collection::vec(act, 1..300)
}

/// What was admitted: when, with how much, what it now counts for, and from when on an overshoot counts.
struct Admission {
    at: u64,
    reserved: u64,
    kept: u64,
    over: Option<(u64, u64)>,
}

fn counted(admissions: &[Admission], since: u64) -> u64 {
    let kept = admissions.iter().filter(|a| a.at > since || since == 0).map(|a| a.kept);
    let over = admissions.iter().filter_map(|a| a.over).filter(|(at, _)| *at > since || since == 0);
    kept.sum::<u64>() + over.map(|(_, amount)| amount).sum::<u64>()
}

proptest! {
    /// The two promises: no sixty seconds see an admission past the limit, and what fits into the last sixty-one is
    /// admitted. Checked against a list of exact moments.
    #[test]
    fn no_minute_admits_more_than_the_limit_and_capacity_is_back_a_second_late_at_most(
        acts in acts(),
        limit in 40u64..200,
    ) {
        let start = Instant::now();
        let mut clock = Clock::default();
        clock.tick(start);
        let mut window = Window::new(Some(limit));
        let mut admissions: Vec<Admission> = Vec::new();
        let mut millis: i64 = 1;
        for act in acts {
            if let Act::Step(by) = act {
                millis = (millis + by).max(1);
            }
            let now = clock.tick(start + Duration::from_millis(millis.unsigned_abs()));
            let age = now.age.as_millis() as u64;
            match act {
                Act::Step(_) => {}
                Act::Admit(amount) => {
                    let minute = counted(&admissions, age.saturating_sub(60_000));
                    let longer = counted(&admissions, age.saturating_sub(61_000));
                    let admitted = window.admits(amount, now.second(), 1);
                    if admitted {
                        prop_assert!(minute + amount <= limit || minute == 0, "{minute} + {amount} > {limit}");
                        window.charge(amount, now.second());
                        admissions.push(Admission { at: age, reserved: amount, kept: amount, over: None });
                    } else {
                        prop_assert!(longer + amount > limit, "{longer} + {amount} would have fitted");
                        prop_assert!(window.wait(amount, now, 1) > Duration::ZERO);
                    }
                }
                Act::Settle(which, cost) => {
                    let count = admissions.len().max(1);
                    let Some(admission) = admissions.get_mut(which % count) else { continue };
                    if admission.kept != admission.reserved || admission.over.is_some() {
                        continue;
                    }
                    if cost <= admission.reserved {
                        window.give_back(admission.reserved - cost, admission.at / 1000);
                        admission.kept = cost;
                    } else {
                        window.charge(cost - admission.reserved, now.second());
                        admission.over = Some((age, cost - admission.reserved));
                    }
                }
            }
        }
    }

    /// After the told wait, and with nothing else going on, it does fit; a moment before it did not.
    #[test]
    fn the_wait_is_true(charges in prop::collection::vec((1u64..30, 0u64..5_000), 1..80), amount in 1u64..40) {
        let start = Instant::now();
        let mut clock = Clock::default();
        clock.tick(start);
        let (mut window, mut millis) = (Window::new(Some(50)), 0);
        for (charge, step) in charges {
            millis += step;
            window.charge(charge, millis / 1000);
        }
        let now = clock.tick(start + Duration::from_millis(millis));
        let wait = window.wait(amount, now, 1);
        prop_assert!(wait <= MINUTE);
        let later = |wait: Duration| (now.age + wait).as_secs();
        if wait < MINUTE {
            prop_assert!(window.admits(amount, later(wait), 1));
        }
        if wait > Duration::ZERO {
            prop_assert!(!window.admits(amount, later(wait - Duration::from_millis(1)), 1));
        }
    }
}
