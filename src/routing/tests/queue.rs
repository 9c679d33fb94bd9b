//! Requests that wait for a limit.

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Wake, Waker};

use proptest::prelude::*;

use super::*;

#[derive(Default)]
struct Bell(AtomicUsize);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn queued(credentials: Vec<CredentialSpec>, seconds: u64) -> Pool {
    Pool::new(Blueprint { max_wait: Duration::from_secs(seconds), max_queue: 3, ..blueprint(credentials) })
}

fn crowded(most: u32) -> Pool {
    queued(vec![CredentialSpec { max_concurrent: Some(most), ..credential("a") }], 10)
}

fn of_class(pool: &Pool, class: Class, model: &str) -> Plan {
    pool.plan(Ask { model: Some(model), class, ..Ask::default() }).expect("served")
}

/// The plan of a request that waits from `now`.
fn waiting(pool: &Pool, class: Class, now: Instant) -> Plan {
    let mut plan = of_class(pool, class, "m");
    assert!(matches!(pool.next(&mut plan, now), Step::Queued));
    plan
}

fn is_called(plan: &mut Plan, bell: &Arc<Bell>) -> bool {
    let waker = Waker::from(bell.clone());
    let place = plan.place().expect("a place");
    pin!(place).poll(&mut Context::from_waker(&waker)).is_ready()
}

#[test]
fn a_lease_that_is_given_back_goes_to_the_first_who_waits_and_wakes_nobody_else() {
    let pool = crowded(1);
    let running = lease(pool.next(&mut plan(&pool, "m"), at(0.0)));
    let (mut first, mut second) =
        (waiting(&pool, Class::Normal, at(1.0)), waiting(&pool, Class::Normal, at(1.0)));
    let (bell, other) = (Arc::<Bell>::default(), Arc::<Bell>::default());
    assert!(!is_called(&mut first, &bell) && !is_called(&mut second, &other));
    drop(running);
    assert_eq!((bell.0.load(Ordering::SeqCst), other.0.load(Ordering::SeqCst)), (1, 0));
    let stranger = pool.next(&mut plan(&pool, "m"), at(1.1));
    assert!(matches!(stranger, Step::Queued), "nobody comes between");
    assert!(matches!(pool.next(&mut second, at(1.2)), Step::Queued));
    let served = lease(pool.next(&mut first, at(1.2)));
    assert_eq!(served.attempt(), 1);
    drop(served);
    assert!(is_called(&mut second, &other));
}

#[test]
fn a_higher_class_goes_first_and_within_a_class_who_came_first() {
    let pool = crowded(1);
    let mut running = lease(pool.next(&mut plan(&pool, "m"), at(0.0)));
    let mut plans = [
        waiting(&pool, Class::Low, at(0.1)),
        waiting(&pool, Class::Normal, at(0.2)),
        waiting(&pool, Class::High, at(0.3)),
    ];
    assert_eq!(pool.snapshot(at(0.4)).queue.waiting, [1, 1, 1]);
    for turn in [2, 1, 0] {
        drop(running);
        running = lease(pool.next(&mut plans[turn], at(0.5)));
    }
    assert_eq!(pool.snapshot(at(0.6)).queue.waiting, [0; 3]);
}

#[test]
fn one_that_fits_waits_for_nobody_of_another_lane_or_of_a_lower_class() {
    let models = vec![ModelSpec { rpm: Some(1), ..model("m") }, model("n")];
    let blueprint = Blueprint {
        models,
        binding: Binding::Models,
        max_wait: Duration::from_secs(100),
        max_queue: 9,
        ..blueprint(vec![CredentialSpec { tpm: Some(100), ..credential("a") }])
    };
    let pool = Pool::new(blueprint);
    serve(&pool, "m", at(0.0));
    let _waits = waiting(&pool, Class::Normal, at(1.0));
    serve(&pool, "n", at(1.0));
    let costly =
        |class, tokens| pool.plan(Ask { model: Some("n"), tokens, class, ..Ask::default() }).expect("served");
    let large = lease(pool.next(&mut costly(Class::Normal, 80), at(2.0)));
    let mut larger = costly(Class::Low, 60);
    assert!(matches!(pool.next(&mut larger, at(2.0)), Step::Queued));
    let mut small = costly(Class::Low, 5);
    assert!(
        matches!(pool.next(&mut small, at(2.0)), Step::Queued),
        "a small one does not overtake its own class"
    );
    let _high = lease(pool.next(&mut costly(Class::High, 5), at(2.0)));
    drop(large);
    let _larger = lease(pool.next(&mut larger, at(2.1)));
    let _small = lease(pool.next(&mut small, at(2.1)));
}

#[test]
fn a_place_is_given_back_when_the_client_leaves_and_so_is_what_was_admitted_for_it() {
    let pool = crowded(1);
    let running = lease(pool.next(&mut plan(&pool, "m"), at(0.0)));
    let (gone, called) = (waiting(&pool, Class::Normal, at(0.1)), waiting(&pool, Class::Normal, at(0.1)));
    let mut last = waiting(&pool, Class::Normal, at(0.1));
    assert!(
        matches!(stopped(pool.next(&mut plan(&pool, "m"), at(0.1))), Stopped::Limited { .. }),
        "it is full"
    );
    assert_eq!(pool.snapshot(at(0.1)).queue.refused, 1);
    drop(gone);
    drop(running);
    drop(called);
    let _served = lease(pool.next(&mut last, at(0.2)));
    assert_eq!(pool.snapshot(at(0.2)).credentials[0].in_flight, 1);
}

#[test]
fn who_has_waited_long_enough_is_refused_and_nobody_begins_to_wait_in_vain() {
    let pool = crowded(1);
    let _running = lease(pool.next(&mut plan(&pool, "m"), at(0.0)));
    let mut patient = waiting(&pool, Class::Normal, at(1.0));
    assert!(matches!(pool.next(&mut patient, at(10.9)), Step::Queued));
    assert!(matches!(stopped(pool.next(&mut patient, at(11.0))), Stopped::Limited { .. }));
    assert_eq!(pool.snapshot(at(11.0)).queue.given_up, 1);
    let hurried = Ask { model: Some("m"), deadline: Some(at(12.0)), ..Ask::default() };
    let mut hurried = pool.plan(hurried).expect("served");
    assert!(matches!(pool.next(&mut hurried, at(10.0)), Step::Stop(_) | Step::Queued));
    let minute = queued(vec![CredentialSpec { rpm: Some(1), ..credential("a") }], 10);
    serve(&minute, "m", at(0.0));
    let now = stopped(minute.next(&mut plan(&minute, "m"), at(1.0)));
    assert!(matches!(now, Stopped::Limited { .. }), "it is a minute until there is room");
    assert!(matches!(minute.next(&mut plan(&minute, "m"), at(55.0)), Step::Queued));
}

#[test]
fn the_attendant_is_told_when_a_window_has_room_again() {
    let pool = queued(vec![CredentialSpec { rpm: Some(1), ..credential("a") }], 100);
    serve(&pool, "m", at(0.0));
    assert_eq!(pool.attend(at(1.0)), None, "nobody waits");
    let bell = Arc::<Bell>::default();
    let waker = Waker::from(bell.clone());
    let mut summoned = pin!(pool.summoned(None));
    assert!(summoned.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    let mut waits = waiting(&pool, Class::Normal, at(1.0));
    assert_eq!(bell.0.load(Ordering::SeqCst), 1);
    assert!(summoned.as_mut().poll(&mut Context::from_waker(&waker)).is_ready());
    let due = pool.attend(at(1.0)).expect("a time");
    assert!((60.0..=61.0).contains(&(due - at(0.0)).as_secs_f64()));
    assert!(!is_called(&mut waits, &bell));
    assert_eq!(pool.attend(due), None);
    assert!(is_called(&mut waits, &bell));
}

#[test]
fn when_everybody_is_banned_those_who_wait_are_told_and_a_closed_pool_sends_them_on() {
    let pool = crowded(1);
    let mut failing = plan(&pool, "m");
    let running = lease(pool.next(&mut failing, at(0.0)));
    let mut waits = waiting(&pool, Class::Normal, at(0.1));
    let banned = Fact::Banned { left: None, term: Duration::ZERO, code: 500 };
    let _ = pool.adopt(&Word { credential: "a".into(), model: Some("m".into()), fact: banned }, at(0.2));
    drop(running);
    assert!(matches!(stopped(pool.next(&mut waits, at(0.3))), Stopped::Unavailable { .. }));
    let pool = crowded(1);
    let _running = lease(pool.next(&mut plan(&pool, "m"), at(0.0)));
    let mut waits = waiting(&pool, Class::Normal, at(0.1));
    let _ = pool.close(at(0.2));
    assert!(is_called(&mut waits, &Arc::default()));
    assert!(matches!(pool.next(&mut waits, at(0.3)), Step::Moved));
}

proptest! {
    /// Whatever comes and goes, no more run at once than may, nobody runs while somebody of the same or a higher class
    /// has waited for longer, and nothing is idle while somebody waits.
    #[test]
    fn the_order_is_kept_and_nothing_is_idle(acts in prop::collection::vec((0u8..4, 0usize..8), 1..120)) {
        let spec = CredentialSpec { max_concurrent: Some(2), ..credential("a") };
        let max_wait = Duration::from_secs(1000);
        let pool = Pool::new(Blueprint { max_wait, max_queue: 100, ..blueprint(vec![spec]) });
        let (mut running, mut waits): (Vec<Lease>, Vec<(Class, usize, Plan)>) = (Vec::new(), Vec::new());
        for (number, (act, which)) in acts.into_iter().enumerate() {
            let now = at(number as f64 / 100.0);
            match act {
                0 | 1 => {
                    let class = Class::ALL[which % 3];
                    let mut plan = of_class(&pool, class, "m");
                    match pool.next(&mut plan, now) {
                        Step::Try(lease) => {
                            prop_assert!(waits.iter().all(|(other, ..)| *other > class));
                            running.push(lease);
                        }
                        Step::Queued => waits.push((class, number, plan)),
                        _ => prop_assert!(false, "it waits or runs"),
                    }
                }
                2 if !running.is_empty() => drop(running.swap_remove(which % running.len())),
                3 if !waits.is_empty() => drop(waits.swap_remove(which % waits.len())),
                _ => {}
            }
            waits.sort_by_key(|(class, number, _)| (*class, *number));
            while running.len() < 2 && !waits.is_empty() {
                let (_, _, mut plan) = waits.remove(0);
                running.push(lease(pool.next(&mut plan, now)));
            }
            for (_, _, plan) in &mut waits {
                prop_assert!(matches!(pool.next(plan, now), Step::Queued));
            }
            prop_assert_eq!(pool.snapshot(now).credentials[0].in_flight as usize, running.len());
        }
    }
}
