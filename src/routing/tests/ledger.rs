//! One pool after another: nothing is forgotten, nothing is counted twice, and what becomes of old leases is heard.

use std::sync::Mutex;

use proptest::prelude::*;

use super::*;

/// A second pool that has taken over from `old` at `now`, by way of text as between two processes.
fn successor(old: &Pool, new: Pool, now: Instant) -> Pool {
    let ledger = old.close(now);
    let epoch = ledger.epoch.expect("the old pool has a first moment");
    let told = serde_json::to_string(&ledger).expect("a ledger is JSON");
    new.inherit(&serde_json::from_str(&told).expect("and back"), epoch, &|_| true);
    let heir = new.clone();
    old.bequeath(Arc::new(move |note| {
        let told = serde_json::to_string(&note).expect("a note is JSON");
        let _ = heir.hear(&serde_json::from_str(&told).expect("and back"), now);
    }));
    new
}

fn limited(rpm: u64, tpm: Option<u64>) -> Pool {
    Pool::new(blueprint(vec![CredentialSpec { rpm: Some(rpm), tpm, ..credential("a") }]))
}

fn fails(pool: &Pool, code: u16, now: Instant) -> Vec<Transition> {
    let mut plan = plan(pool, "m");
    let lease = lease(pool.next(&mut plan, now));
    pool.failed(&mut plan, lease, &Verdict::new(Blame::Key, Next::Stop, code), now)
}

#[test]
fn a_closed_pool_admits_nothing_and_can_be_opened_again() {
    let pool = pool(&["a"]);
    pool.close(at(0.0));
    assert!(matches!(pool.next(&mut plan(&pool, "m"), at(0.0)), Step::Moved));
    pool.reopen();
    assert_eq!(serve(&pool, "m", at(0.0)), 0);
}

#[test]
fn a_minute_is_shared_by_two_pools() {
    let old = limited(3, None);
    serve(&old, "m", at(0.0));
    serve(&old, "m", at(30.0));
    let new = successor(&old, limited(3, None), at(40.0));
    serve(&new, "m", at(40.0));
    let retry_after = Duration::from_secs(21);
    let stopped = stopped(new.next(&mut plan(&new, "m"), at(40.0)));
    assert_eq!(stopped, Stopped::Limited { retry_after, which: Which::Requests, limit: per_minute(3) });
    assert_eq!(serve(&new, "m", at(61.0)), 0);
}

#[test]
fn a_stream_of_the_old_pool_is_settled_in_the_new_one() {
    let old = limited(10, Some(100));
    let mut stream = lease(old.next(&mut costly(&old, "m", 80), at(0.0)));
    stream.sent();
    let new = successor(&old, limited(10, Some(100)), at(1.0));
    let seen = |now| new.snapshot(now).credentials[0].clone();
    assert_eq!((seen(at(1.0)).tpm.used, seen(at(1.0)).in_flight), (80, 1));
    stream.charge(30);
    drop(stream);
    assert_eq!((seen(at(1.0)).tpm.used, seen(at(1.0)).rpm.used, seen(at(1.0)).in_flight), (30, 1, 0));
}

#[test]
fn what_happens_before_the_heir_is_known_is_told_later() {
    let old = limited(10, Some(100));
    let mut stream = lease(old.next(&mut costly(&old, "m", 80), at(0.0)));
    stream.sent();
    old.close(at(1.0));
    stream.charge(90);
    drop(stream);
    let told = Arc::new(Mutex::new(0));
    let counter = told.clone();
    old.bequeath(Arc::new(move |_| *counter.lock().unwrap() += 1));
    assert_eq!(*told.lock().unwrap(), 2, "an overshoot and a release");
}

#[test]
fn bans_cool_downs_and_strikes_go_on() {
    let old = pool(&["a"]);
    for _ in 0..3 {
        let _ = fails(&old, 401, at(0.0));
    }
    let new = successor(&old, pool(&["a"]), at(2.0));
    assert!(matches!(
        stopped(new.next(&mut plan(&new, "m"), at(2.0))),
        Stopped::Unavailable { retry_after: Some(left) } if left == Duration::from_secs(8)
    ));
    assert_eq!(new.expire(at(10.1)).len(), 1, "the ban ends when it would have");
}

#[test]
fn a_strike_of_an_old_stream_bans_in_the_new_pool() {
    let old = pool(&["a"]);
    let mut plans = plan(&old, "m");
    let stream = lease(old.next(&mut plans, at(0.0)));
    let _ = fails(&old, 500, at(0.0));
    let _ = fails(&old, 500, at(0.0));
    let new = successor(&old, pool(&["a"]), at(1.0));
    let verdict = Verdict::new(Blame::Key, Next::Stop, 500);
    assert!(old.failed(&mut plans, stream, &verdict, at(1.0)).is_empty(), "the new pool tells");
    assert!(new.snapshot(at(1.0)).credentials[0].is_banned);
}

#[test]
fn a_strike_is_heard_by_the_last_of_three_pools() {
    let first = pool(&["a"]);
    let mut plans = plan(&first, "m");
    let stream = lease(first.next(&mut plans, at(0.0)));
    let _ = fails(&first, 500, at(0.0));
    let _ = fails(&first, 500, at(0.0));
    let second = successor(&first, pool(&["a"]), at(1.0));
    let third = successor(&second, pool(&["a"]), at(2.0));
    let _ = first.failed(&mut plans, stream, &Verdict::new(Blame::Key, Next::Stop, 500), at(3.0));
    assert!(third.snapshot(at(3.0)).credentials[0].is_banned);
    assert_eq!(third.snapshot(at(3.0)).credentials[0].in_flight, 0);
}

#[test]
fn an_old_stream_does_not_strike_a_key_that_has_changed() {
    let old = pool(&["a"]);
    let attempt = || {
        let mut plan = plan(&old, "m");
        let stream = lease(old.next(&mut plan, at(0.0)));
        (plan, stream)
    };
    let attempts = [attempt(), attempt(), attempt()];
    let ledger = old.close(at(1.0));
    let new = pool(&["a"]);
    new.inherit(&ledger, ledger.epoch.unwrap(), &|_| false);
    let heir = new.clone();
    old.bequeath(Arc::new(move |note| drop(heir.hear(&note, at(1.0)))));
    for (mut plan, stream) in attempts {
        let _ = old.failed(&mut plan, stream, &Verdict::new(Blame::Key, Next::Stop, 401), at(1.0));
    }
    let seen = &new.snapshot(at(1.0)).credentials[0];
    assert_eq!((seen.is_banned, seen.in_flight), (false, 0));
}

#[test]
fn a_key_that_has_changed_begins_without_strikes_but_with_its_counts() {
    let old = limited(5, None);
    serve(&old, "m", at(0.0));
    for _ in 0..3 {
        let _ = fails(&old, 401, at(0.0));
    }
    let ledger = old.close(at(1.0));
    let new = limited(5, None);
    new.inherit(&ledger, ledger.epoch.unwrap(), &|_| false);
    let seen = &new.snapshot(at(1.0)).credentials[0];
    assert!(!seen.is_banned);
    assert_eq!(seen.rpm.used, 1, "what was sent counts for the account, whatever the key");
}

#[test]
fn a_probe_of_the_old_pool_decides_in_the_new_one() {
    let old = pool(&["a"]);
    for _ in 0..3 {
        let _ = fails(&old, 401, at(0.0));
    }
    let _ = old.expire(at(11.0));
    let mut probe = lease(old.next(&mut plan(&old, "m"), at(11.0)));
    assert!(probe.is_probe());
    let new = successor(&old, pool(&["a"]), at(12.0));
    assert!(matches!(stopped(new.next(&mut plan(&new, "m"), at(12.0))), Stopped::Unavailable { .. }));
    assert!(probe.succeeded(at(12.0)).is_empty());
    drop(probe);
    assert_eq!(serve(&new, "m", at(12.0)), 0);
}

proptest! {
    /// However often one pool follows another, no sixty seconds see more than the limit.
    #[test]
    fn no_chain_of_pools_exceeds_a_limit(steps in prop::collection::vec((0u64..4000, prop::bool::weighted(0.2)), 1..120)) {
        let mut pool = limited(7, None);
        let (mut now, mut admitted): (f64, Vec<f64>) = (0.0, Vec::new());
        for (pause, follows) in steps {
            now += pause as f64 / 1000.0;
            if follows && !admitted.is_empty() {
                pool = successor(&pool, limited(7, None), at(now));
            }
            if let Step::Try(mut lease) = pool.next(&mut plan(&pool, "m"), at(now)) {
                lease.sent();
                admitted.push(now);
            }
            let recent = admitted.iter().filter(|at| **at > now - 60.0).count();
            prop_assert!(recent <= 7, "{recent} in the minute before {now}");
        }
    }
}
