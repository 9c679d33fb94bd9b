//! Strikes, bans, probes, and whose fault it was.

use super::*;

/// Bans "m" on the only credential at second 0, for ten seconds.
fn ban(pool: &Pool) -> Vec<Transition> {
    let mut changes = Vec::new();
    for _ in 0..3 {
        let hurried = Ask { model: Some("m"), deadline: Some(at(0.0)), ..Ask::default() };
        changes = fail(pool, &mut pool.plan(hurried).expect("served"), &pair(500), at(0.0)).1;
    }
    changes
}

#[test]
fn a_failing_model_bans_the_pair_and_others_go_on() {
    let pool = pool(&["a"]);
    let changes = ban(&pool);
    let told: Vec<String> = changes.iter().map(ToString::to_string).collect();
    assert_eq!(told, ["credential \"a\", model \"m\": banned for 10s after 3 strikes, the last a 500"]);
    assert_eq!(serve(&pool, "n", at(1.0)), 0);
    let refused = stopped(pool.next(&mut plan(&pool, "m"), at(4.0)));
    assert_eq!(refused, Stopped::Unavailable { retry_after: Some(Duration::from_secs(6)) });
}

#[test]
fn a_failing_key_bans_the_credential() {
    let pool = pool(&["a"]);
    for _ in 0..3 {
        fail(&pool, &mut plan(&pool, "m"), &key(401), at(0.0));
    }
    assert!(matches!(stopped(pool.next(&mut plan(&pool, "n"), at(1.0))), Stopped::Unavailable { .. }));
    assert!(pool.snapshot(at(1.0)).credentials[0].is_banned);
}

#[test]
fn after_a_ban_exactly_one_request_probes_and_the_others_are_told_to_come_back() {
    let pool = pool(&["a"]);
    ban(&pool);
    let mut probe = lease(pool.next(&mut plan(&pool, "m"), at(10.0)));
    assert!(probe.is_probe());
    let refused = stopped(pool.next(&mut plan(&pool, "m"), at(10.0)));
    assert_eq!(refused, Stopped::Unavailable { retry_after: Some(Duration::from_secs(1)) });
    let told: Vec<String> = probe.succeeded(at(10.5)).iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "credential \"a\", model \"m\": ban is over, one request decides",
            "credential \"a\", model \"m\": unbanned by a success",
        ]
    );
    assert!(!lease(pool.next(&mut plan(&pool, "m"), at(10.5))).is_probe());
}

#[test]
fn a_failed_probe_doubles_the_term() {
    let pool = pool(&["a"]);
    ban(&pool);
    let (_, changes) = fail(&pool, &mut plan(&pool, "m"), &pair(500), at(10.0));
    assert!(
        matches!(changes.last(), Some(Transition::Banned { term: Term::For(term), .. }) if term.as_secs() == 20)
    );
    assert!(matches!(stopped(pool.next(&mut plan(&pool, "m"), at(29.0))), Stopped::Unavailable { .. }));
    assert!(lease(pool.next(&mut plan(&pool, "m"), at(30.0))).is_probe());
}

#[test]
fn a_probe_whose_client_leaves_frees_the_slot_without_a_verdict() {
    let pool = pool(&["a"]);
    ban(&pool);
    drop(lease(pool.next(&mut plan(&pool, "m"), at(10.0))));
    assert_eq!(condition(&pool, 0, "m", at(10.0)), Condition::Probation);
    assert!(lease(pool.next(&mut plan(&pool, "m"), at(10.0))).is_probe());
}

#[test]
fn while_a_probe_is_out_others_use_other_candidates_and_the_full_share_comes_back() {
    let pool = pool(&["a", "b"]);
    for _ in 0..3 {
        let pinned = Ask { model: Some("m"), pinned: Some(0), deadline: Some(at(0.0)), ..Ask::default() };
        fail(&pool, &mut pool.plan(pinned).expect("served"), &pair(500), at(0.0));
    }
    assert_eq!([serve(&pool, "m", at(1.0)), serve(&pool, "m", at(1.0))], [1, 1]);
    let mut probe = lease(pool.next(&mut plan(&pool, "m"), at(10.0)));
    assert_eq!((probe.credential(), probe.is_probe()), (0, true));
    assert_eq!([serve(&pool, "m", at(10.0)), serve(&pool, "m", at(10.0))], [1, 1]);
    let _ = probe.succeeded(at(11.0));
    let mut served = [0; 2];
    (0..100).for_each(|_| served[serve(&pool, "m", at(11.0))] += 1);
    assert_eq!(served, [50, 50]);
}

#[test]
fn a_request_that_fails_everywhere_strikes_the_first_only() {
    let pool = pool(&["a", "b"]);
    for _ in 0..2 {
        let mut plan = plan(&pool, "m");
        fail(&pool, &mut plan, &pair(500), at(0.0));
        fail(&pool, &mut plan, &pair(500), at(0.0));
    }
    let strikes: Vec<u32> = pool
        .snapshot(at(0.0))
        .credentials
        .iter()
        .map(|credential| credential.models[0].standing.strikes)
        .collect();
    assert_eq!(strikes.iter().sum::<u32>(), 2, "{strikes:?}");
}

#[test]
fn both_tries_of_a_lone_credential_strike() {
    let pool = pool(&["a"]);
    let mut plan = plan(&pool, "m");
    fail(&pool, &mut plan, &host(500), at(0.0));
    let pause = wait(pool.next(&mut plan, at(0.0)));
    fail(&pool, &mut plan, &host(500), at(0.0) + pause);
    assert_eq!(pool.snapshot(at(1.0)).credentials[0].models[0].standing.strikes, 2);
}

#[test]
fn only_listed_codes_strike_and_callers_never_do() {
    let pool = pool(&["a"]);
    for _ in 0..5 {
        fail(&pool, &mut plan(&pool, "m"), &pair(529), at(0.0));
        fail(&pool, &mut plan(&pool, "m"), &Verdict::new(Blame::Caller, Next::Stop, 500), at(0.0));
        fail(&pool, &mut plan(&pool, "m"), &Verdict::new(Blame::Absent, Next::Other, 500), at(0.0));
        fail(&pool, &mut plan(&pool, "m"), &Verdict::new(Blame::Local, Next::Other, 503), at(0.0));
    }
    assert_eq!(condition(&pool, 0, "m", at(0.0)), Condition::Clear);
    assert_eq!(serve(&pool, "m", at(0.0)), 0);
}

#[test]
fn an_operator_lifts_everything_at_once() {
    let pool = pool(&["a"]);
    ban(&pool);
    let changes = pool.unban("a", at(1.0)).expect("known");
    assert!(matches!(changes[..], [Transition::Unbanned { by: By::Operator, .. }]));
    assert_eq!(serve(&pool, "m", at(1.0)), 0);
    assert_eq!(pool.unban("nobody", at(1.0)), None);
}

#[test]
fn an_expiry_is_told_once_by_whoever_finds_it() {
    let pool = pool(&["a"]);
    ban(&pool);
    assert!(pool.expire(at(9.0)).is_empty());
    assert!(matches!(pool.expire(at(10.0))[..], [Transition::Expired { .. }]));
    assert!(pool.expire(at(11.0)).is_empty());
    let pool = super::pool(&["a"]);
    ban(&pool);
    drop(lease(pool.next(&mut plan(&pool, "m"), at(10.0))));
    assert!(matches!(pool.expire(at(10.0))[..], [Transition::Expired { .. }]));
    assert!(pool.expire(at(11.0)).is_empty());
}

/// Two credentials at one host and one elsewhere.
fn shared_host() -> Pool {
    let shared = |name| CredentialSpec { host: "shared.test:443".into(), ..credential(name) };
    Pool::new(blueprint(vec![shared("a"), shared("b"), credential("c")]))
}

fn fail_at(pool: &Pool, credential: usize, verdict: &Verdict, seconds: f64) -> Vec<Transition> {
    let (model, pinned) = (Some("m"), Some(credential));
    let hurried = Ask { model, pinned, deadline: Some(at(0.0)), ..Ask::default() };
    fail(pool, &mut pool.plan(hurried).expect("served"), verdict, at(seconds)).1
}

fn strikes(pool: &Pool, credential: usize, seconds: f64) -> u32 {
    pool.snapshot(at(seconds)).credentials[credential]
        .models
        .first()
        .map_or(0, |model| model.standing.strikes)
}

#[test]
fn when_all_at_a_host_fail_it_is_the_host_and_bans_are_lifted() {
    let pool = shared_host();
    (0..3).for_each(|_| drop(fail_at(&pool, 0, &host(502), 0.0)));
    assert_eq!(condition(&pool, 0, "m", at(1.0)), Condition::Banned);
    let changes = fail_at(&pool, 1, &host(502), 5.0);
    assert!(matches!(changes[..], [Transition::Unbanned { by: By::Host, .. }]), "{changes:?}");
    assert_eq!((strikes(&pool, 0, 5.0), strikes(&pool, 1, 5.0)), (0, 0));
    (0..5).for_each(|_| drop(fail_at(&pool, 0, &host(502), 6.0)));
    assert_eq!(strikes(&pool, 0, 6.0), 0, "no new strikes while the host is at fault");
}

#[test]
fn after_a_success_at_the_host_strikes_count_again() {
    let pool = shared_host();
    fail_at(&pool, 0, &host(502), 0.0);
    fail_at(&pool, 1, &host(502), 0.0);
    let mut plan = pool.plan(Ask { model: Some("m"), pinned: Some(1), ..Ask::default() }).expect("served");
    let _ = lease(pool.next(&mut plan, at(1.0))).succeeded(at(1.0));
    fail_at(&pool, 0, &host(502), 2.0);
    assert_eq!(strikes(&pool, 0, 2.0), 1);
}

#[test]
fn keys_that_fail_at_one_host_are_not_the_host() {
    let pool = shared_host();
    fail_at(&pool, 0, &key(401), 0.0);
    fail_at(&pool, 1, &key(401), 0.0);
    let standing = |place: usize| pool.snapshot(at(0.0)).credentials[place].standing.strikes;
    assert_eq!((standing(0), standing(1)), (1, 1));
}

#[test]
fn a_probe_that_the_host_fails_is_no_verdict() {
    let pool = shared_host();
    (0..3).for_each(|_| drop(fail_at(&pool, 0, &pair(500), 0.0)));
    fail_at(&pool, 1, &host(502), 9.9);
    let changes = fail_at(&pool, 0, &host(502), 11.0);
    assert!(changes.iter().all(|change| !matches!(change, Transition::Banned { .. })), "{changes:?}");
    assert_eq!(condition(&pool, 0, "m", at(11.0)), Condition::Probation);
}

#[test]
fn a_code_with_a_rule_has_its_own_count_and_term() {
    let mut plan_of = blueprint(vec![credential("a")]);
    let ban = Term::Permanent;
    plan_of.bans.rules = vec![CodeRule { codes: vec![403], max_attempts: 1, ban }];
    let pool = Pool::new(plan_of);
    let (_, changes) = fail(&pool, &mut plan(&pool, "m"), &key(403), at(0.0));
    assert!(matches!(changes[..], [Transition::Banned { term: Term::Permanent, strikes: 1, .. }]));
    let refused = stopped(pool.next(&mut plan(&pool, "m"), at(1e6)));
    assert_eq!(refused, Stopped::Unavailable { retry_after: None });
}
