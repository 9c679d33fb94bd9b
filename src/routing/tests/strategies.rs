//! Who of several equals serves under each strategy.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use crate::routing::Strategy;

/// A pool at an open binding with one strategy for all.
fn by(strategy: Strategy, credentials: Vec<CredentialSpec>) -> Pool {
    Pool::new(Blueprint { strategy, ..blueprint(credentials) })
}

fn named(names: &[&str]) -> Vec<CredentialSpec> {
    names.iter().map(|name| credential(name)).collect()
}

/// A request of one conversation; its lease, still held.
fn of_key(pool: &Pool, key: u64) -> Lease {
    let mut plan = plan(pool, "m");
    assert!(pool.asks_for_key(&plan));
    plan.keep_to(key);
    lease(pool.next(&mut plan, at(0.0)))
}

/// A stream that has its first token after `took` seconds; who served it.
fn timed(pool: &Pool, now: f64, took: f64) -> usize {
    let mut lease = streamed(pool, now);
    lease.sent();
    lease.answered(Duration::from_secs_f64(took), at(now + took));
    lease.credential()
}

fn streamed(pool: &Pool, now: f64) -> Lease {
    let ask = Ask { model: Some("m"), streams: true, ..Ask::default() };
    lease(pool.next(&mut pool.plan(ask).expect("served"), at(now)))
}

#[test]
fn by_priority_the_first_of_the_file_serves_and_serves_again_when_it_is_back() {
    let pool = by(Strategy::Priority, named(&["a", "b", "c"]));
    assert_eq!([0.0, 0.1, 0.2].map(|now| serve(&pool, "m", at(now))), [0, 0, 0]);
    for now in [1.0, 1.1, 1.2] {
        let mut plan = plan(&pool, "m");
        assert_eq!(fail(&pool, &mut plan, &pair(500), at(now)).0, 0);
        assert_eq!(lease(pool.next(&mut plan, at(now))).credential(), 1, "failover goes down the file");
    }
    assert_eq!(serve(&pool, "m", at(2.0)), 1, "the first is banned");
    assert_eq!(serve(&pool, "m", at(20.0)), 0, "and comes back");
}

#[test]
fn tiers_stand_above_every_strategy() {
    use Strategy::{Affinity, Even, Latency, LeastUsed, Priority, RoundRobin};
    for strategy in [RoundRobin, Priority, LeastUsed, Even, Latency, Affinity] {
        let last = CredentialSpec { tier: 1, ..credential("a") };
        let pool = by(strategy, vec![last, credential("b"), credential("c")]);
        for seed in 0..50 {
            let mut plan = pool.plan(Ask { model: Some("m"), seed, ..Ask::default() }).expect("served");
            plan.keep_to(seed);
            assert_ne!(lease(pool.next(&mut plan, at(0.0))).credential(), 0, "{strategy:?}");
        }
    }
}

#[test]
fn without_limits_the_least_used_are_those_that_have_served_least() {
    let pool = by(Strategy::LeastUsed, named(&["a", "b", "c"]));
    for _ in 0..60 {
        let mut pinned =
            pool.plan(Ask { model: Some("m"), pinned: Some(0), ..Ask::default() }).expect("served");
        lease(pool.next(&mut pinned, at(0.0))).sent();
    }
    let served: Vec<usize> = (0..60).map(|_| serve(&pool, "m", at(1.0))).collect();
    assert!(!served.contains(&0), "the others catch up");
    let later: Vec<usize> = (0..300).map(|_| serve(&pool, "m", at(2.0))).collect();
    for credential in 0..3 {
        let all = [&served[..], &later].concat().iter().filter(|one| **one == credential).count();
        let all = all + if credential == 0 { 60 } else { 0 };
        assert!((130..=150).contains(&all), "{credential}: {all} of 420");
    }
}

proptest! {
    /// Whatever has been used before: nobody serves who has used more of its limit than the least used and the gap.
    #[test]
    fn least_used_keeps_credentials_within_the_gap(
        limits in prop::collection::vec(20u64..400, 2..6),
        skew in prop::collection::vec(0usize..6, 0..40),
        gap in 0u8..30,
        rounds in 1usize..150,
    ) {
        let specs = limits.iter().enumerate().map(|(at, limit)| {
            CredentialSpec { rpm: Some(*limit), ..credential(&format!("c{at}")) }
        });
        let strategy = Strategy::LeastUsed;
        let pool = Pool::new(Blueprint { strategy, usage_gap: gap, ..blueprint(specs.collect()) });
        let mut used = vec![0u64; limits.len()];
        for credential in skew.into_iter().filter(|at| *at < limits.len()) {
            let ask = Ask { model: Some("m"), pinned: Some(credential), ..Ask::default() };
            if let Step::Try(mut lease) = pool.next(&mut pool.plan(ask).unwrap(), at(0.0)) {
                lease.sent();
                used[credential] += 1;
            }
        }
        let share = |used: &[u64], at: usize| 100.0 * used[at] as f64 / limits[at] as f64;
        for _ in 0..rounds {
            let Step::Try(mut lease) = pool.next(&mut plan(&pool, "m"), at(1.0)) else { break };
            lease.sent();
            let least = (0..used.len()).map(|at| share(&used, at)).fold(f64::INFINITY, f64::min);
            let own = share(&used, lease.credential());
            prop_assert!(own <= least + f64::from(gap) + 1e-9, "{own} beside {least}");
            used[lease.credential()] += 1;
        }
    }

    /// Who leaves takes its own conversations along and no other.
    #[test]
    fn only_the_conversations_of_who_leaves_move(
        weights in prop::collection::vec(1u32..5, 2..8),
        gone in 0usize..8,
        keys in prop::collection::vec(any::<u64>(), 1..60),
    ) {
        let gone = gone % weights.len();
        let specs: Vec<CredentialSpec> = weights.iter().enumerate().map(|(at, weight)| {
            CredentialSpec { weight: *weight, ..credential(&format!("c{at}")) }
        }).collect();
        let fewer = specs.iter().enumerate().filter(|(at, _)| *at != gone).map(|(_, spec)| spec.clone());
        let fewer = by(Strategy::Affinity, fewer.collect());
        let all = by(Strategy::Affinity, specs.clone());
        for key in keys {
            let home = of_key(&all, key).credential();
            prop_assert_eq!(of_key(&all, key).credential(), home, "it stays");
            if home != gone {
                let shifted = if home > gone { home - 1 } else { home };
                prop_assert_eq!(of_key(&fewer, key).credential(), shifted);
            }
        }
    }
}

#[test]
fn conversations_are_spread_by_weight() {
    let heavy = CredentialSpec { weight: 3, ..credential("heavy") };
    let pool = by(Strategy::Affinity, vec![heavy, credential("light")]);
    let heavy = (0..4000).filter(|key| of_key(&pool, *key).credential() == 0).count();
    // Four standard deviations of a share of 3 in 4.
    assert!((2890..=3110).contains(&heavy), "{heavy} of 4000");
}

#[test]
fn a_conversation_leaves_its_credential_only_while_that_is_crowded() {
    let pool = by(Strategy::Affinity, named(&["a", "b", "c", "d"]));
    let home = of_key(&pool, 7).credential();
    let mut held: Vec<Lease> = (0..8).map(|_| of_key(&pool, 7)).collect();
    assert!(held.iter().all(|lease| lease.credential() == home), "so many are no crowd yet");
    held.extend((0..40).map(|_| of_key(&pool, 7)));
    let mut load = [0; 4];
    held.iter().for_each(|lease| load[lease.credential()] += 1);
    assert!(load.iter().all(|load| *load <= 15), "at most a quarter above the mean of 12: {load:?}");
    drop(held);
    assert_eq!(of_key(&pool, 7).credential(), home);
}

#[test]
fn a_request_without_a_key_goes_in_turn() {
    let pool = by(Strategy::Affinity, named(&["a", "b"]));
    assert_eq!([0, 1, 2, 3].map(|_| serve(&pool, "m", at(0.0))), [0, 1, 0, 1]);
    assert!(!super::pool(&["a"]).asks_for_key(&plan(&super::pool(&["a"]), "m")));
}

#[test]
fn who_is_not_known_is_tried_once_and_then_the_fastest_serves() {
    let pool = by(Strategy::Latency, named(&["slow", "fast", "middling"]));
    let took = [2.0, 0.1, 0.5];
    let first: Vec<usize> = (0..3).map(|_| streamed(&pool, 0.0)).map(|lease| lease.credential()).collect();
    assert_eq!(first, [0, 0, 0], "nobody has answered, and nobody waits");
    let (a, b, c) = (streamed(&pool, 0.0), streamed(&pool, 0.0), streamed(&pool, 0.0));
    assert_eq!([&a, &b, &c].map(Lease::credential), [0, 1, 2], "one probe each");
    for lease in [&a, &b, &c] {
        lease.answered(Duration::from_secs_f64(took[lease.credential()]), at(2.0));
    }
    drop((a, b, c));
    assert_eq!([2.1, 2.2, 2.3].map(|now| timed(&pool, now, 0.1)), [1, 1, 1]);
    let busy: Vec<usize> = (0..6).map(|_| streamed(&pool, 2.5)).map(|lease| lease.credential()).collect();
    assert_eq!(busy, [1; 6], "each had gone before the next came");
    let held: Vec<Lease> = (0..6).map(|_| streamed(&pool, 2.5)).collect();
    let served: Vec<usize> = held.iter().map(Lease::credential).collect();
    assert_eq!(served, [1, 1, 1, 1, 2, 1], "who waits counts");
}

#[test]
fn a_slow_answer_counts_at_once_and_is_forgotten_by_and_by() {
    let pool = by(Strategy::Latency, named(&["a", "b"]));
    assert_eq!((timed(&pool, 0.0, 0.2), timed(&pool, 0.3, 0.3)), (0, 1));
    assert_eq!(timed(&pool, 0.7, 4.0), 0, "the faster one, which is slow this time");
    assert_eq!([5.0, 5.5, 6.0].map(|now| timed(&pool, now, 0.3)), [1, 1, 1]);
    let again: Vec<usize> = (0..40).map(|second| timed(&pool, 7.0 + f64::from(second), 0.3)).collect();
    let back = again.iter().position(|served| *served == 0).expect("it gets another chance");
    assert!((5..40).contains(&back), "after {back} seconds");
}

#[test]
fn who_lets_a_request_time_out_is_slow() {
    let pool = by(Strategy::Latency, named(&["a", "b"]));
    let timed_out = Verdict { timed_out: true, ..pair(504) };
    let mut plan = plan(&pool, "m");
    let lease = lease(pool.next(&mut plan, at(0.0)));
    assert_eq!(lease.credential(), 0);
    let _ = pool.failed(&mut plan, lease, &timed_out, at(60.0));
    let whole = || super::lease(pool.next(&mut super::plan(&pool, "m"), at(60.0)));
    let (one, two) = (whole(), whole());
    assert_eq!([one.credential(), two.credential()], [1, 0], "the unknown one, then the one that was slow");
}

/// The chance of a larger value, were all pairs equally likely, is one in a thousand (chi-square tables).
fn critical(pairs: usize) -> f64 {
    match pairs - 1 {
        2 => 13.82,
        8 => 26.12,
        freedom => panic!("no value for {freedom} degrees of freedom"),
    }
}

fn chi_square(drawn: &HashMap<(usize, String), u32>, rounds: u32) -> f64 {
    let expected = f64::from(rounds) / drawn.len() as f64;
    drawn.values().map(|count| (f64::from(*count) - expected).powi(2) / expected).sum()
}

/// Who served how often with which model, of requests for `model` with different seeds.
fn drawn(pool: &Pool, model: &str, rounds: u32) -> HashMap<(usize, String), u32> {
    let mut drawn = HashMap::new();
    for seed in 0..u64::from(rounds) {
        let mut plan = pool.plan(Ask { model: Some(model), seed, ..Ask::default() }).expect("served");
        let lease = lease(pool.next(&mut plan, at(0.0)));
        *drawn.entry((lease.credential(), lease.model().to_string())).or_default() += 1;
    }
    drawn
}

#[test]
fn evenly_each_credential_is_as_likely_as_any_other_whatever_its_weight() {
    let heavy = CredentialSpec { weight: 9, ..credential("a") };
    let pool = by(Strategy::Even, vec![heavy, credential("b"), credential("c")]);
    let drawn = drawn(&pool, "m", 30_000);
    assert_eq!(drawn.len(), 3);
    let distance = chi_square(&drawn, 30_000);
    assert!(distance < critical(3), "{distance}: {drawn:?}");
}

#[test]
fn evenly_each_pair_of_credential_and_model_of_a_list_is_as_likely_as_any_other() {
    let only = |name: &str, places: &[usize]| -> Vec<ModelSpec> {
        places.iter().map(|place| ModelSpec { credential: Some(*place), ..model(name) }).collect()
    };
    // Nine pairs, and not the same number of them for each model.
    let mut models = [only("x", &[0, 1, 2, 3, 4]), only("y", &[0, 1, 2]), only("z", &[5])].concat();
    let list = ["x", "y", "z"].map(str::to_owned).to_vec();
    models.push(ModelSpec { models: list, strategy: Some(Strategy::Even), ..model("any-model") });
    let pool = with_models(&["a", "b", "c", "d", "e", "f"], models);
    let drawn = drawn(&pool, "any-model", 45_000);
    assert_eq!(drawn.len(), 9);
    let distance = chi_square(&drawn, 45_000);
    assert!(distance < critical(9), "{distance}: {drawn:?}");
}

#[test]
fn a_model_may_have_a_strategy_of_its_own() {
    let first = ModelSpec { strategy: Some(Strategy::Priority), ..model("first") };
    let pool = with_models(&["a", "b"], vec![first, model("turns")]);
    assert_eq!([0, 1, 2].map(|_| serve(&pool, "first", at(0.0))), [0, 0, 0]);
    assert_eq!([0, 1, 2].map(|_| serve(&pool, "turns", at(0.0))), [0, 1, 0]);
}

#[test]
fn the_dry_run_says_by_what_the_order_goes() {
    let pool = by(Strategy::LeastUsed, named(&["a", "b"]));
    let mut pinned = pool.plan(Ask { model: Some("m"), pinned: Some(0), ..Ask::default() }).expect("served");
    lease(pool.next(&mut pinned, at(0.0))).sent();
    let told: Vec<String> = pool
        .explain(Ask { model: Some("m"), ..Ask::default() }, at(0.0))
        .expect("served")
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        told,
        [
            "  1. \"b\", tier 0, model \"m\": by its use, among its tier",
            "  2. \"a\", tier 0, model \"m\": by its use, among its tier"
        ]
    );
}
