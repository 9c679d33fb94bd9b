//! Limits, leases and what they give back.

use std::sync::atomic::{AtomicU64, Ordering};

use super::*;

fn limited(rpm: Option<u64>, tpm: Option<u64>) -> Pool {
    Pool::new(blueprint(vec![CredentialSpec { rpm, tpm, ..credential("a") }]))
}

fn used(pool: &Pool, now: Instant) -> (u64, u64) {
    let credential = &pool.snapshot(now).credentials[0];
    (credential.rpm.used, credential.tpm.used)
}

#[test]
fn a_full_limit_says_which_and_how_long() {
    let pool = limited(Some(2), None);
    serve(&pool, "m", at(0.0));
    serve(&pool, "m", at(30.0));
    let stopped = stopped(pool.next(&mut plan(&pool, "m"), at(40.0)));
    let retry_after = Duration::from_secs(21);
    assert_eq!(stopped, Stopped::Limited { retry_after, which: Which::Requests, limit: per_minute(2) });
    assert_eq!(serve(&pool, "m", at(61.0)), 0);
}

#[test]
fn a_request_that_was_not_sent_does_not_count() {
    let pool = limited(Some(1), Some(100));
    drop(pool.next(&mut costly(&pool, "m", 60), at(0.0)));
    assert_eq!(used(&pool, at(0.0)), (0, 0));
    assert_eq!(serve(&pool, "m", at(0.0)), 0);
    assert_eq!(used(&pool, at(0.0)), (1, 0));
}

#[test]
fn a_request_counts_from_when_it_was_sent() {
    let pool = limited(Some(1), None);
    let mut slow = lease(pool.next(&mut plan(&pool, "m"), at(0.0)));
    let _ = pool.expire(at(5.0));
    slow.sent();
    slow.sent();
    drop(slow);
    assert_eq!((used(&pool, at(65.9)).0, used(&pool, at(66.0)).0), (1, 0));
}

#[test]
fn tokens_are_reserved_and_settled() {
    let pool = limited(None, Some(100));
    let mut first = lease(pool.next(&mut costly(&pool, "m", 60), at(0.0)));
    first.sent();
    let stopped = stopped(pool.next(&mut costly(&pool, "m", 60), at(1.0)));
    assert!(matches!(
        stopped,
        Stopped::Limited { which: Which::Tokens, limit: Some(Bound { amount: 100, .. }), .. }
    ));
    first.charge(10);
    assert_eq!(used(&pool, at(1.0)), (1, 60), "settled at the end");
    drop(first);
    assert_eq!(used(&pool, at(1.0)), (1, 10));
    lease(pool.next(&mut costly(&pool, "m", 60), at(1.0))).sent();
}

#[test]
fn more_than_was_reserved_is_charged_at_once() {
    let pool = limited(None, Some(100));
    let mut lease = lease(pool.next(&mut costly(&pool, "m", 20), at(0.0)));
    lease.sent();
    let _ = pool.expire(at(50.0));
    lease.charge(70);
    assert_eq!(used(&pool, at(50.0)), (1, 70));
    lease.charge(70);
    lease.charge(30);
    drop(lease);
    assert_eq!(used(&pool, at(50.0)), (1, 70));
    assert_eq!(used(&pool, at(61.0)), (0, 50), "the overshoot counts from when it was told");
}

#[test]
fn a_failed_attempt_frees_its_tokens_and_keeps_its_request() {
    let pool = limited(Some(10), Some(100));
    fail(&pool, &mut costly(&pool, "m", 60), &host(500), at(0.0));
    assert_eq!(used(&pool, at(0.0)), (1, 0));
}

#[test]
fn the_four_checks_are_all_or_nothing() {
    let models = vec![ModelSpec { rpm: Some(1), tpm: Some(50), ..model("m") }, model("n")];
    let credentials = vec![CredentialSpec { rpm: Some(3), tpm: Some(1000), ..credential("a") }];
    let pool = Pool::new(Blueprint { models, binding: Binding::Models, ..blueprint(credentials) });
    serve(&pool, "m", at(0.0));
    for _ in 0..5 {
        let stopped = stopped(pool.next(&mut plan(&pool, "m"), at(0.0)));
        assert!(matches!(
            stopped,
            Stopped::Limited { which: Which::Requests, limit: Some(Bound { amount: 1, .. }), .. }
        ));
    }
    assert_eq!(used(&pool, at(0.0)).0, 1, "refusals cost nothing");
    serve(&pool, "n", at(0.0));
    serve(&pool, "n", at(0.0));
    let stopped = stopped(pool.next(&mut plan(&pool, "n"), at(0.0)));
    assert!(matches!(
        stopped,
        Stopped::Limited { which: Which::Requests, limit: Some(Bound { amount: 3, .. }), .. }
    ));
}

#[test]
fn concurrency_is_limited_and_a_place_comes_back_with_its_lease() {
    let pool = Pool::new(blueprint(vec![CredentialSpec { max_concurrent: Some(1), ..credential("a") }]));
    let held = lease(pool.next(&mut plan(&pool, "m"), at(0.0)));
    let stopped = stopped(pool.next(&mut plan(&pool, "m"), at(0.0)));
    let retry_after = Duration::from_secs(1);
    assert_eq!(
        stopped,
        Stopped::Limited {
            retry_after,
            which: Which::Concurrency,
            limit: Some(Bound { amount: 1, per: Per::Moment })
        }
    );
    drop(held);
    serve(&pool, "m", at(0.0));
}

#[test]
fn a_cool_down_after_a_429_counts_as_a_limit() {
    let pool = pool(&["a"]);
    let ask = Ask { model: Some("m"), deadline: Some(at(1.0)), ..Ask::default() };
    fail(&pool, &mut pool.plan(ask).expect("served"), &busy(20), at(0.0));
    let stopped = stopped(pool.next(&mut plan(&pool, "m"), at(5.0)));
    let retry_after = Duration::from_secs(15);
    assert_eq!(stopped, Stopped::Limited { retry_after, which: Which::Upstream, limit: None });
}

#[test]
fn one_candidate_at_its_limit_makes_it_a_limit_whatever_the_others_are() {
    let banned = credential("banned");
    let pool = Pool::new(blueprint(vec![banned, CredentialSpec { rpm: Some(1), ..credential("a") }]));
    for _ in 0..3 {
        let pinned = Ask { model: Some("m"), pinned: Some(0), deadline: Some(at(0.0)), ..Ask::default() };
        fail(&pool, &mut pool.plan(pinned).expect("served"), &pair(500), at(0.0));
    }
    assert_eq!(serve(&pool, "m", at(0.0)), 1);
    assert!(matches!(stopped(pool.next(&mut plan(&pool, "m"), at(0.0))), Stopped::Limited { .. }));
}

#[test]
fn a_panic_gives_a_lease_back() {
    let pool = limited(Some(1), Some(100));
    let inside = pool.clone();
    let panicked = std::panic::catch_unwind(move || {
        let _held = lease(inside.next(&mut costly(&inside, "m", 50), at(0.0)));
        panic!("on purpose");
    });
    assert!(panicked.is_err());
    assert_eq!(used(&pool, at(0.0)), (0, 0));
    assert_eq!(pool.snapshot(at(0.0)).credentials[0].in_flight, 0);
}

#[test]
fn eight_threads_get_exactly_a_thousand() {
    let pool = limited(Some(1000), None);
    let admitted = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let (pool, admitted) = (&pool, &admitted);
            scope.spawn(move || {
                for turn in 0..1000 {
                    let now = at(f64::from((turn * 7 + thread) % 50) / 10.0);
                    if let Step::Try(mut lease) = pool.next(&mut plan(pool, "m"), now) {
                        // Every seventh leaves before a byte was sent, and so leaves room for another.
                        if turn % 7 != 0 {
                            lease.sent();
                            admitted.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                }
            });
        }
    });
    assert_eq!(admitted.load(Ordering::Relaxed), 1000);
    let after = pool.snapshot(at(5.0));
    assert_eq!((after.credentials[0].rpm.used, after.credentials[0].in_flight), (1000, 0));
}
