//! The pool among others: what it asks, what it makes of the answer, its share, and what it takes over.

use std::sync::Mutex;

use proptest::prelude::*;

use super::*;
use crate::calendar::Zone;

fn limited(name: &str, rpm: u64) -> CredentialSpec {
    CredentialSpec { rpm: Some(rpm), ..credential(name) }
}

fn fleet(credentials: Vec<CredentialSpec>) -> Pool {
    let pool = Pool::new(blueprint(credentials));
    pool.join(1);
    pool
}

fn requests(seconds: u64) -> Denial {
    let wait = Duration::from_secs(seconds);
    Denial { scope: Scope::Credential, limit: Some((Which::Requests, bound(5))), wait }
}

fn asked(scope: Scope, requests: Option<u64>, tokens: Option<u64>) -> Asked {
    Asked { scope, stretch: Stretch::Rolling { seconds: 60, grain: 1, count: 61 }, requests, tokens }
}

fn denied(pool: &Pool, plan: &mut Plan, denial: Denial, now: Instant) {
    let lease = lease(pool.next(plan, now));
    pool.denied(plan, lease, denial, now);
}

fn told(fact: Fact) -> Word {
    Word { credential: "a".into(), model: Some("m".into()), fact }
}

#[test]
fn only_what_is_limited_or_decides_on_a_ban_is_asked_about() {
    let alone = Pool::new(blueprint(vec![limited("a", 5)]));
    assert_eq!(lease(alone.next(&mut plan(&alone, "m"), at(0.0))).question(), None, "there is nobody to ask");
    let pool = fleet(vec![credential("a")]);
    assert_eq!(lease(pool.next(&mut plan(&pool, "m"), at(0.0))).question(), None, "nothing is limited");
    let pool = fleet(vec![limited("a", 5)]);
    let mut lease = lease(pool.next(&mut costly(&pool, "m", 7), at(0.0)));
    let question = *lease.question().expect("a question");
    assert_eq!((&*question.credential, question.model, question.tokens), ("a", None, 7));
    assert_eq!(question.limits, [asked(Scope::Credential, Some(5), None)]);
    assert_eq!((question.most, question.probe), (None, None));
    assert_eq!(lease.question(), None, "it is asked once");
}

#[test]
fn a_limit_of_the_model_is_asked_about_with_that_of_the_credential() {
    let models = vec![ModelSpec { tpm: Some(900), ..model("m") }];
    let pool = with_models(&["a"], models);
    pool.join(1);
    let question = lease(pool.next(&mut plan(&pool, "m"), at(0.0))).question().expect("a question");
    assert_eq!(question.model.as_deref(), Some("m"));
    assert_eq!(question.limits, [asked(Scope::Model, None, Some(900))]);
}

#[test]
fn every_limit_is_asked_about_and_a_day_by_its_own_seconds() {
    let day = Quota { period: Period::Day(Zone::default()), requests: Some(3), tokens: None };
    let pool = fleet(vec![CredentialSpec { quotas: vec![day], ..limited("a", 5) }]);
    pool.pair(at(0.0), std::time::UNIX_EPOCH + Duration::from_secs(5 * 86_400 + 7));
    let mut lease = lease(pool.next(&mut plan(&pool, "m"), at(0.0)));
    let question = lease.question().expect("a question");
    let today = Stretch::Day { begin: 5 * 86_400, end: 6 * 86_400 };
    let by_day = Asked { stretch: today, ..asked(Scope::Credential, Some(3), None) };
    assert_eq!(question.limits, [asked(Scope::Credential, Some(5), None), by_day]);
    drop(lease);
    serve(&pool, "m", at(1.0));
    let since_then: Vec<_> = pool.spent(Some(at(0.5)), at(2.0)).iter().map(|spent| spent.stretch).collect();
    assert_eq!(since_then, [question.limits[0].stretch], "nobody knows how much of a day was since then");
    let all: Vec<_> = pool.spent(None, at(2.0)).iter().map(|spent| (spent.stretch, spent.requests)).collect();
    assert_eq!(all, [(question.limits[0].stretch, 1), (today, 1)]);
}

#[test]
fn a_refused_key_is_passed_over_and_the_attempt_counts_for_nothing() {
    let pool = fleet(vec![limited("a", 5), limited("b", 5)]);
    let mut plan = plan(&pool, "m");
    denied(&pool, &mut plan, requests(30), at(0.0));
    assert_eq!(plan.attempts(), 0);
    let lease = lease(pool.next(&mut plan, at(0.0)));
    assert_eq!((lease.credential(), lease.attempt()), (1, 1));
    let snapshot = pool.snapshot(at(0.0));
    assert_eq!((snapshot.credentials[0].rpm.used, snapshot.credentials[0].in_flight), (0, 0));
}

#[test]
fn when_all_are_refused_the_caller_hears_of_the_limit_and_when_to_come_back() {
    let pool = fleet(vec![limited("a", 5)]);
    denied(&pool, &mut plan(&pool, "m"), requests(30), at(0.0));
    let stop = stopped(pool.next(&mut plan(&pool, "m"), at(0.1)));
    let Stopped::Limited { retry_after, which: Which::Requests, limit: Some(Bound { amount: 5, .. }) } = stop
    else {
        panic!("{stop:?}");
    };
    assert_eq!(retry_after.as_millis(), 29_900);
    let _ = lease(pool.next(&mut plan(&pool, "m"), at(0.26)));
}

#[test]
fn a_smaller_request_may_fit_where_a_larger_one_was_refused() {
    let pool = fleet(vec![CredentialSpec { tpm: Some(1000), ..credential("a") }]);
    let denial = Denial { limit: Some((Which::Tokens, bound(1000))), ..requests(9) };
    denied(&pool, &mut costly(&pool, "m", 500), denial, at(0.0));
    assert!(matches!(stopped(pool.next(&mut costly(&pool, "m", 500), at(0.1))), Stopped::Limited { .. }));
    let _ = lease(pool.next(&mut costly(&pool, "m", 499), at(0.1)));
}

#[test]
fn a_place_that_is_freed_here_is_asked_for_at_once() {
    let spec = CredentialSpec { max_concurrent: Some(4), ..credential("a") };
    let pool = fleet(vec![spec]);
    let mut running = lease(pool.next(&mut plan(&pool, "m"), at(0.0)));
    running.sent();
    let denial = Denial { limit: Some((Which::Concurrency, bound(4))), ..requests(1) };
    let mut waiting = plan(&pool, "m");
    let refused = lease(pool.next(&mut waiting, at(0.0)));
    pool.denied(&mut waiting, refused, denial, at(0.0));
    assert!(
        matches!(stopped(pool.next(&mut plan(&pool, "m"), at(0.0))), Stopped::Limited { .. }),
        "it is held"
    );
    drop(running);
    let _ = lease(pool.next(&mut plan(&pool, "m"), at(0.0)));
}

#[test]
fn a_probe_of_another_router_holds_the_key() {
    let pool = fleet(vec![credential("a")]);
    let banned = Fact::Banned { left: Some(Duration::from_secs(1)), term: Duration::from_secs(8), code: 500 };
    assert!(!pool.adopt(&told(banned), at(0.0)).is_empty());
    let mut probing = plan(&pool, "m");
    let mut probe = lease(pool.next(&mut probing, at(1.0)));
    assert_eq!(probe.question().and_then(|question| question.probe), Some(Scope::Model));
    let denial = Denial { scope: Scope::Model, limit: None, wait: Duration::from_secs(1) };
    pool.denied(&mut probing, probe, denial, at(1.0));
    assert!(matches!(stopped(pool.next(&mut plan(&pool, "m"), at(1.1))), Stopped::Unavailable { .. }));
    let cleared = pool.adopt(&told(Fact::Cleared), at(1.1));
    assert!(matches!(cleared[..], [Transition::Unbanned { by: By::Fleet, .. }]), "{cleared:?}");
}

#[test]
fn bans_of_others_hold_here_are_told_once_and_end_by_themselves() {
    let pool = fleet(vec![credential("a")]);
    let banned =
        told(Fact::Banned { left: Some(Duration::from_secs(5)), term: Duration::from_secs(20), code: 500 });
    assert_eq!(pool.adopt(&banned, at(0.0)).len(), 1);
    assert_eq!(pool.adopt(&banned, at(0.1)), [], "it is known");
    assert!(matches!(stopped(pool.next(&mut plan(&pool, "m"), at(4.9))), Stopped::Unavailable { .. }));
    assert_eq!(pool.expire(at(5.2)).len(), 1);
    let mut failing = plan(&pool, "m");
    let (_, changes) = fail(&pool, &mut failing, &pair(500), at(5.2));
    let doubled = Term::For(Duration::from_secs(40));
    assert!(matches!(changes[..], [Transition::Banned { term, .. }] if term == doubled), "{changes:?}");
}

#[test]
fn cool_downs_and_what_an_operator_lifts_elsewhere_hold_here() {
    let pool = fleet(vec![credential("a")]);
    let cooling = told(Fact::Cooling { left: Duration::from_secs(9), code: 429 });
    assert_eq!(pool.adopt(&cooling, at(0.0)).len(), 1);
    assert_eq!(condition(&pool, 0, "m", at(1.0)), Condition::CoolingDown);
    let _ = pool.adopt(&Word { model: None, ..told(Fact::Lifted) }, at(1.0));
    assert_eq!(condition(&pool, 0, "m", at(1.0)), Condition::Clear);
    let stranger = Word { credential: "z".into(), ..told(Fact::Cleared) };
    assert_eq!(pool.adopt(&stranger, at(1.0)), []);
}

#[test]
fn what_was_admitted_in_an_outage_is_told_and_nothing_before_it() {
    let pool = fleet(vec![limited("a", 9), credential("b")]);
    for second in [1.5, 20.2, 20.4, 31.0] {
        serve(&pool, "m", at(second));
        serve(&pool, "m", at(second));
    }
    let spent = pool.spent(Some(at(20.3)), at(33.0));
    let of_a: Vec<_> = spent.iter().map(|spent| (&*spent.credential, spent.age, spent.requests)).collect();
    assert_eq!(of_a, [("a", 13, 2), ("a", 2, 1)], "whole seconds, and b has no limit");
    let all: u64 = pool.spent(None, at(33.0)).iter().map(|spent| spent.requests).sum();
    assert_eq!(all, 4);
}

/// Notes what it is told.
struct Notes(Arc<Mutex<Vec<String>>>);

impl Receipt for Notes {
    fn sent(&mut self) {
        self.0.lock().unwrap().push("sent".into());
    }
    fn overshot(&mut self, more: u64) {
        self.0.lock().unwrap().push(format!("overshot {more}"));
    }
    fn settled(&mut self, unsent: bool, tokens: u64) {
        self.0.lock().unwrap().push(format!("settled {unsent} {tokens}"));
    }
}

#[test]
fn the_fleet_is_told_what_becomes_of_a_lease() {
    let pool = fleet(vec![limited("a", 9)]);
    let notes = Arc::new(Mutex::new(Vec::new()));
    let take = || {
        let mut lease = lease(pool.next(&mut costly(&pool, "m", 100), at(0.0)));
        lease.confirm(Box::new(Notes(notes.clone())));
        lease
    };
    drop(take());
    let mut used = take();
    used.sent();
    used.charge(30);
    drop(used);
    let mut over = take();
    over.sent();
    over.charge(120);
    over.charge(150);
    drop(over);
    let expected = [
        "settled true 100",
        "sent",
        "settled false 70",
        "sent",
        "overshot 20",
        "overshot 30",
        "settled false 0",
    ];
    assert_eq!(*notes.lock().unwrap(), expected);
}

proptest! {
    #[test]
    fn the_shares_of_all_routers_together_are_no_more_than_the_limit(rpm in 1u64..200, routers in 1u32..12) {
        let admitted: u64 = (0..routers).map(|_| {
            let pool = fleet(vec![limited("a", rpm)]);
            pool.join(routers);
            let taken = || match pool.next(&mut plan(&pool, "m"), at(0.0)) {
                Step::Try(mut lease) => {
                    lease.sent();
                    true
                }
                _ => false,
            };
            (0..rpm + 1).take_while(|_| taken()).count() as u64
        }).sum();
        prop_assert!(admitted <= rpm.max(u64::from(routers)), "{admitted}");
        prop_assert!(admitted >= u64::from(routers), "nobody stands still");
    }
}
