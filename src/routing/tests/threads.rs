//! Threads that meet in a pool: limits are exact, leases come back, one probes, nobody who waits is forgotten, and a pool that
//! is closed under their hands loses nothing.

use super::*;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::threads::{block_on, in_many_orders, together};
use crate::sync::Mutex;

fn limited(rpm: u64) -> Pool {
    Pool::new(blueprint(vec![CredentialSpec { rpm: Some(rpm), ..credential("a") }]))
}

fn state(pool: &Pool, now: Instant) -> (u64, u64) {
    let seen = &pool.snapshot(now).credentials[0];
    (seen.rpm.used, u64::from(seen.in_flight))
}

#[test]
fn three_threads_get_what_the_limit_allows_and_all_of_it() {
    in_many_orders(|| {
        let (pool, sent) = (limited(4), Arc::new(AtomicU64::new(0)));
        let (shared, counted) = (pool.clone(), sent.clone());
        together(3, move |thread| {
            for turn in 0..3 {
                let Step::Try(mut lease) = shared.next(&mut plan(&shared, "m"), at(0.0)) else { continue };
                // One leaves before a byte was sent, and so leaves room for another.
                if (thread + turn) % 3 != 0 {
                    lease.sent();
                    assert!(counted.fetch_add(1, Ordering::SeqCst) < 4);
                }
            }
        });
        let mut sent = sent.load(Ordering::SeqCst);
        assert_eq!(state(&pool, at(0.0)), (sent, 0), "the balance is even");
        while let Step::Try(mut lease) = pool.next(&mut plan(&pool, "m"), at(0.0)) {
            lease.sent();
            sent += 1;
        }
        assert_eq!(sent, 4, "no place is lost");
    });
}

#[test]
fn when_a_ban_is_over_one_probes_and_the_others_go_away() {
    in_many_orders(|| {
        let pool = pool(&["a"]);
        for _ in 0..3 {
            fail(&pool, &mut plan(&pool, "m"), &key(401), at(0.0));
        }
        let (probes, shared) = (Arc::new(AtomicU64::new(0)), pool.clone());
        together(3, move |thread| {
            for turn in 0..2 {
                let Step::Try(mut lease) = shared.next(&mut plan(&shared, "m"), at(11.0)) else { continue };
                if lease.is_probe() {
                    assert_eq!(probes.fetch_add(1, Ordering::SeqCst), 0, "one probe at a time");
                    lease.sent();
                    if (thread + turn) % 2 == 0 {
                        let _ = lease.succeeded(at(11.0));
                    }
                    // Before the slot is given back.
                    probes.fetch_sub(1, Ordering::SeqCst);
                }
            }
        });
        assert_eq!(state(&pool, at(11.0)).1, 0);
        assert_eq!(serve(&pool, "m", at(11.0)), 0, "the slot is free, or the ban is over");
    });
}

#[test]
fn everybody_who_waits_is_served_and_no_two_at_a_time() {
    in_many_orders(|| {
        let credentials = vec![CredentialSpec { max_concurrent: Some(1), ..credential("a") }];
        let pool = Pool::new(Blueprint { max_wait: Duration::from_secs(9), ..blueprint(credentials) });
        let (inside, shared) = (Arc::new(AtomicU64::new(0)), pool.clone());
        together(3, move |_| {
            let mut plan = plan(&shared, "m");
            let lease = loop {
                match shared.next(&mut plan, at(0.0)) {
                    Step::Try(lease) => break lease,
                    // Whoever is forgotten here waits for ever, which is seen.
                    Step::Queued => block_on(plan.place().expect("a place")),
                    other => panic!("neither served nor queued but {other:?}"),
                }
            };
            assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
            inside.fetch_sub(1, Ordering::SeqCst);
            drop(lease);
        });
        assert_eq!((state(&pool, at(0.0)).1, pool.snapshot(at(0.0)).queue.waiting), (0, [0, 0, 0]));
    });
}

#[test]
fn a_pool_that_is_closed_while_it_serves_hands_everything_over() {
    in_many_orders(|| {
        let (old, new) = (limited(4), limited(4));
        serve(&old, "m", at(0.0));
        let (from, to, sent) = (old.clone(), new.clone(), Arc::new(AtomicU64::new(1)));
        let counted = sent.clone();
        let settled = Arc::new(Mutex::new(()));
        together(3, move |thread| {
            if thread == 0 {
                // Nobody goes on with the next pool before it has been told everything.
                let _settling = settled.lock();
                let ledger = from.close(at(0.0));
                to.inherit(&ledger, ledger.epoch.expect("a first moment"), &|_| true);
                let heir = to.clone();
                from.bequeath(Arc::new(move |note| drop(heir.hear(&note, at(0.0)))));
                return;
            }
            for _ in 0..2 {
                let step = match from.next(&mut plan(&from, "m"), at(0.0)) {
                    Step::Moved => {
                        drop(settled.lock());
                        to.next(&mut plan(&to, "m"), at(0.0))
                    }
                    step => step,
                };
                let Step::Try(mut lease) = step else { continue };
                if thread == 1 {
                    lease.sent();
                    assert!(counted.fetch_add(1, Ordering::SeqCst) < 4);
                }
            }
        });
        assert_eq!(state(&new, at(0.0)), (sent.load(Ordering::SeqCst), 0));
    });
}

/// 64 threads at each of 200 moments, 12 tries each: 153,600 tries for 100 places a minute.
#[cfg(not(feature = "shuttle"))]
#[test]
fn in_no_minute_get_sixty_four_threads_more_than_the_limit_and_never_less() {
    use std::sync::Barrier;

    const MOMENTS: usize = 200;
    let admitted: Vec<AtomicU64> = (0..MOMENTS).map(|_| AtomicU64::new(0)).collect();
    // Some moments lie close together, some far apart; all between two ticks of the limiter's second.
    let seconds: Vec<f64> = (0..MOMENTS).map(|moment| (moment * moment % 37) as f64 * 0.7).collect();
    let moments: Vec<f64> = seconds
        .iter()
        .scan(0.0, |now, step| {
            *now += step;
            Some(*now)
        })
        .collect();
    let (pool, gate) = (limited(100), Barrier::new(64));
    std::thread::scope(|scope| {
        for thread in 0..64 {
            let (pool, gate, admitted, moments) = (&pool, &gate, &admitted, &moments);
            scope.spawn(move || {
                for (moment, now) in moments.iter().map(|seconds| at(*seconds)).enumerate() {
                    gate.wait();
                    for turn in 0..12 {
                        let Step::Try(mut lease) = pool.next(&mut plan(pool, "m"), now) else { continue };
                        if (thread + turn) % 5 != 0 {
                            lease.sent();
                            admitted[moment].fetch_add(1, Ordering::SeqCst);
                        }
                    }
                    gate.wait();
                    if thread != 0 {
                        continue;
                    }
                    // Who was refused while another held a place that it did not use asks again.
                    while let Step::Try(mut lease) = pool.next(&mut plan(pool, "m"), now) {
                        lease.sent();
                        admitted[moment].fetch_add(1, Ordering::SeqCst);
                    }
                }
            });
        }
    });
    let within = |end: usize, seconds: f64| -> u64 {
        let inside = (0..=end).filter(|moment| moments[*moment] > moments[end] - seconds);
        inside.map(|moment| admitted[moment].load(Ordering::SeqCst)).sum()
    };
    for (end, second) in moments.iter().enumerate() {
        assert!(within(end, 60.0) <= 100, "{} in the minute before {second}", within(end, 60.0));
        assert!(within(end, 61.0) >= 100, "{} only before {second}", within(end, 61.0));
    }
    assert_eq!(state(&pool, at(moments[MOMENTS - 1])).1, 0);
}

#[cfg(not(feature = "shuttle"))]
#[test]
fn five_credentials_serve_the_same_number_of_requests_however_many_threads_ask() {
    let names = ["a", "b", "c", "d", "e"];
    let pool = pool(&names);
    for turn in 0..10_000 {
        assert_eq!(serve(&pool, "m", at(0.0)), turn % names.len(), "one after the other");
    }
    let served: Vec<AtomicU64> = names.iter().map(|_| AtomicU64::new(0)).collect();
    std::thread::scope(|scope| {
        for _ in 0..64 {
            let count = || {
                for _ in 0..500 {
                    served[serve(&pool, "m", at(0.0))].fetch_add(1, Ordering::SeqCst);
                }
            };
            scope.spawn(count);
        }
    });
    for served in served.into_iter().map(AtomicU64::into_inner) {
        assert!(served.abs_diff(64 * 500 / 5) <= 64, "{served} of 6,400");
    }
}
