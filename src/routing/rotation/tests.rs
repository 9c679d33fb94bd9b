//! Shares and order.

use std::time::Instant;

use proptest::prelude::*;

use super::super::clock::Clock;
use super::super::plan::Ask;
use crate::routing::Strategy;

use super::*;
use crate::llm::ability::Abilities;

fn seat(credential: usize, tier: u16, weight: i64) -> Seat {
    let abilities = Abilities::assumed();
    let candidate = Candidate { credential, tier, weight, upstream: "m".into(), abilities };
    Seat { candidate, current: 0, pair: None, pace: Pace::default() }
}

/// Round robin asks nobody but the seats.
fn in_turn<T>(act: impl FnOnce(&Choice) -> T) -> T {
    let plan = Plan::new(Ask::default(), None, Arc::default(), 1);
    let tick = Clock::default().tick(Instant::now());
    act(&Choice { strategy: Strategy::RoundRobin, gap: 0, members: &[], plan: &plan, tick })
}

fn row(seats: Vec<Seat>) -> Row {
    let strategy = Strategy::RoundRobin;
    Row { seats, fallbacks: Arc::default(), name: "m".into(), strategy, configured: true, version: 0 }
}

fn turns(seats: &mut [Seat], count: usize, available: impl Fn(usize) -> bool) -> Vec<usize> {
    let open = |seat: &Seat| available(seat.candidate.credential);
    let turn = |_| {
        let at = in_turn(|choice| rotate(seats, choice, |_| Outlook::Fair, open))?;
        Some(seats[at].candidate.credential)
    };
    (0..count).map_while(turn).collect()
}

/// Who would be asked if each failed, with these outlooks.
fn asked(seats: Vec<Seat>, outlooks: &[Outlook]) -> Vec<usize> {
    let mut row = row(seats);
    let of = |seat: &Seat| outlooks[seat.candidate.credential];
    let told: Vec<usize> = in_turn(|choice| row.order(choice, |seat| Some(of(seat))))
        .iter()
        .map(|at| row.seats[*at].candidate.credential)
        .collect();
    let mut tried = Vec::new();
    let open = |tried: &[usize], seat: &Seat| !tried.contains(&seat.candidate.credential);
    while let Some(at) = in_turn(|choice| row.rotate(choice, of, |seat| open(&tried, seat))) {
        tried.push(row.seats[at].candidate.credential);
    }
    assert_eq!(told, tried, "the dry run tells the same");
    tried
}

#[test]
fn who_leaves_or_is_down_is_asked_after_all_tiers() {
    let seats = || vec![seat(0, 0, 9), seat(1, 0, 1), seat(2, u16::MAX, 1)];
    let fair = Outlook::Fair;
    assert_eq!(asked(seats(), &[Outlook::Draining, fair, fair]), [1, 2, 0]);
    assert_eq!(asked(seats(), &[Outlook::Down, Outlook::Draining, fair]), [2, 1, 0]);
}

#[test]
fn who_is_full_is_asked_after_the_others_of_its_tier_only() {
    let seats = vec![seat(0, 0, 9), seat(1, 0, 1), seat(2, 1, 1)];
    assert_eq!(asked(seats, &[Outlook::Full, Outlook::Fair, Outlook::Fair]), [1, 0, 2]);
}

#[test]
fn turns_are_smooth_and_by_weight() {
    let mut seats = [seat(0, 0, 5), seat(1, 0, 1), seat(2, 0, 1)];
    assert_eq!(turns(&mut seats, 7, |_| true), [0, 0, 1, 0, 2, 0, 0]);
}

#[test]
fn the_next_tier_serves_when_the_first_has_nobody() {
    let mut seats = [seat(0, 0, 1), seat(1, 5, 1), seat(2, 5, 1)];
    assert_eq!(turns(&mut seats, 2, |_| true), [0, 0]);
    assert_eq!(turns(&mut seats, 4, |credential| credential != 0), [1, 2, 1, 2]);
    assert!(turns(&mut seats, 1, |_| false).is_empty());
}

#[test]
fn neighbours_of_a_skipped_credential_get_no_double_share() {
    let mut seats: Vec<_> = (0..4).map(|credential| seat(credential, 0, 1)).collect();
    let turns = turns(&mut seats, 300, |credential| credential != 1);
    for credential in [0, 2, 3] {
        assert_eq!(turns.iter().filter(|turn| **turn == credential).count(), 100);
    }
}

proptest! {
    /// In any stretch with the same credentials available everybody is within one of its exact share.
    #[test]
    fn shares_follow_weights(weights in prop::collection::vec(1i64..20, 1..12), rounds in 1usize..200) {
        let mut seats: Vec<_> = weights.iter().enumerate().map(|(at, weight)| seat(at, 0, *weight)).collect();
        let turns = turns(&mut seats, rounds, |_| true);
        let total: i64 = weights.iter().sum();
        for (at, weight) in weights.iter().enumerate() {
            let served = turns.iter().filter(|turn| **turn == at).count() as f64;
            let share = rounds as f64 * *weight as f64 / total as f64;
            prop_assert!((served - share).abs() <= 1.0 + 1e-9, "{at}: {served} instead of {share}");
        }
    }

    /// The dry run tells the turns as they come.
    #[test]
    fn the_dry_run_agrees_with_the_rotation(
        places in prop::collection::vec((0u16..3, 1i64..5, any::<bool>(), 0usize..4), 1..8),
        warm in 0usize..20,
    ) {
        let mut seats: Vec<_> =
            places.iter().enumerate().map(|(at, (tier, weight, ..))| seat(at, *tier, *weight)).collect();
        seats.sort_by_key(|seat| seat.candidate.tier);
        let _ = turns(&mut seats, warm, |_| true);
        let open = |credential: usize| places[credential].2;
        let mut row = row(seats);
        let outlook = |seat: &Seat| ROUNDS.concat()[places[seat.candidate.credential].3];
        let told: Vec<usize> = in_turn(|choice| row.order(choice, |seat| open(seat.candidate.credential).then(|| outlook(seat)))).iter()
            .map(|at| row.seats[*at].candidate.credential).collect();
        let mut tried: Vec<usize> = Vec::new();
        let free = |tried: &[usize], s: &Seat| open(s.candidate.credential) && !tried.contains(&s.candidate.credential);
        while let Some(at) = in_turn(|choice| row.rotate(choice, outlook, |s| free(&tried, s))) {
            tried.push(row.seats[at].candidate.credential);
        }
        prop_assert_eq!(told, tried);
    }
}
