//! Where a request goes, and when it stops.

use super::*;

#[test]
fn requests_go_round_and_a_failure_goes_to_another_credential_once() {
    let pool = pool(&["a", "b", "c"]);
    let mut plan = plan(&pool, "m");
    let tried: Vec<usize> = (0..3).map(|_| fail(&pool, &mut plan, &host(500), at(0.0)).0).collect();
    assert_eq!(tried, [0, 1, 2]);
    assert_eq!(stopped(pool.next(&mut plan, at(0.0))), Stopped::Exhausted);
    assert_eq!(plan.attempts(), 3);
}

#[test]
fn attempts_are_bounded_for_a_request_as_a_whole() {
    let names: Vec<String> = (0..9).map(|at| at.to_string()).collect();
    let pool = pool(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let mut plan = plan(&pool, "m");
    for _ in 0..5 {
        fail(&pool, &mut plan, &host(500), at(0.0));
    }
    assert_eq!(stopped(pool.next(&mut plan, at(0.0))), Stopped::Exhausted);
}

#[test]
fn a_fault_of_the_caller_ends_the_plan() {
    let pool = pool(&["a", "b"]);
    let mut plan = plan(&pool, "m");
    fail(&pool, &mut plan, &Verdict::new(Blame::Caller, Next::Stop, 400), at(0.0));
    assert_eq!(stopped(pool.next(&mut plan, at(0.0))), Stopped::Exhausted);
}

#[test]
fn tiers_are_exhausted_one_after_the_other() {
    let last = CredentialSpec { tier: u16::MAX, ..credential("last") };
    let second = CredentialSpec { tier: 1, ..credential("second") };
    let pool = Pool::new(blueprint(vec![last, credential("first"), second]));
    let mut plan = plan(&pool, "m");
    let tried: Vec<usize> = (0..3).map(|_| fail(&pool, &mut plan, &host(500), at(0.0)).0).collect();
    assert_eq!(tried, [1, 2, 0]);
}

#[test]
fn the_last_tier_serves_when_the_first_is_at_its_limit() {
    let limited = CredentialSpec { rpm: Some(1), ..credential("main") };
    let peer = CredentialSpec { tier: u16::MAX, ..credential("peer") };
    let pool = Pool::new(blueprint(vec![limited, peer]));
    let served: Vec<usize> = (0..3).map(|_| serve(&pool, "m", at(0.0))).collect();
    assert_eq!(served, [0, 1, 1]);
}

#[test]
fn a_lone_credential_gets_one_more_try_after_a_short_back_off() {
    let pool = pool(&["only"]);
    let mut plan = plan(&pool, "m");
    fail(&pool, &mut plan, &host(500), at(0.0));
    let pause = wait(pool.next(&mut plan, at(0.0)));
    assert!((100..=400).contains(&pause.as_millis()));
    assert_eq!(lease(pool.next(&mut plan, at(0.0) + pause)).attempt(), 2);
    assert_eq!(stopped(pool.next(&mut plan, at(0.5))), Stopped::Exhausted);
}

#[test]
fn the_second_try_is_the_last() {
    let pool = pool(&["only"]);
    let mut plan = plan(&pool, "m");
    fail(&pool, &mut plan, &host(500), at(0.0));
    fail_after_wait(&pool, &mut plan);
    assert_eq!(stopped(pool.next(&mut plan, at(1.0))), Stopped::Exhausted);
}

fn fail_after_wait(pool: &Pool, plan: &mut Plan) {
    let pause = wait(pool.next(plan, at(0.0)));
    fail(pool, plan, &host(500), at(0.0) + pause);
}

#[test]
fn a_lone_credential_is_waited_for_as_long_as_it_asked() {
    let pool = pool(&["only"]);
    let mut plan = plan(&pool, "m");
    fail(&pool, &mut plan, &busy(2), at(0.0));
    assert_eq!(wait(pool.next(&mut plan, at(0.5))), Duration::from_millis(1500));
    assert_eq!(lease(pool.next(&mut plan, at(2.0))).attempt(), 2);
}

#[test]
fn a_lone_credential_is_not_tried_again_after_a_timeout_a_bad_key_or_beyond_the_deadline() {
    let pool = pool(&["only"]);
    let slow = Verdict { timed_out: true, ..host(504) };
    for verdict in [slow, key(401), Verdict::new(Blame::Absent, Next::Other, 404)] {
        let mut plan = plan(&pool, "m");
        fail(&pool, &mut plan, &verdict, at(0.0));
        assert_eq!(stopped(pool.next(&mut plan, at(0.0))), Stopped::Exhausted, "{verdict:?}");
    }
    let ask = Ask { model: Some("m"), deadline: Some(at(1.0)), ..Ask::default() };
    let mut hurried = pool.plan(ask).expect("served");
    fail(&pool, &mut hurried, &busy(2), at(0.0));
    assert_eq!(stopped(pool.next(&mut hurried, at(0.0))), Stopped::Exhausted);
}

/// Fails until nothing is left: who was tried, and how long was waited before each try.
fn failures(pool: &Pool, plan: &mut Plan, verdict: &Verdict) -> Vec<(usize, Duration)> {
    let (mut now, mut pause, mut failures) = (at(0.0), Duration::ZERO, Vec::new());
    loop {
        match pool.next(plan, now) {
            Step::Wait(time) => (now, pause) = (now + time, time),
            Step::Try(lease) => {
                failures.push((lease.credential(), std::mem::take(&mut pause)));
                let _ = pool.failed(plan, lease, verdict, now);
            }
            Step::Stop(Stopped::Exhausted) => return failures,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn what_fails_in_passing_is_asked_round_after_round_and_each_pause_is_longer() {
    for code in [502, 503, 504, 529] {
        let lone = pool(&["only"]);
        let tries = failures(&lone, &mut plan(&lone, "m"), &host(code));
        let waits: Vec<_> = tries.into_iter().map(|(_, wait)| wait.as_millis()).collect();
        assert_eq!(waits.len(), 5, "{code}");
        assert!(waits.is_sorted_by(|a, b| a < b), "{waits:?}");
        assert!((100..200).contains(&waits[1]) && (800..1600).contains(&waits[4]), "{waits:?}");
    }
    let pool = pool(&["a", "b"]);
    let tries = failures(&pool, &mut plan(&pool, "m"), &host(503));
    let asked: Vec<_> = tries.iter().map(|(who, _)| *who).collect();
    assert!(
        asked.len() == 5 && asked[0] != asked[1] && asked[2] != asked[3],
        "both in each round: {asked:?}"
    );
    let waited: Vec<_> = tries.iter().map(|(_, wait)| !wait.is_zero()).collect();
    assert_eq!(
        waited,
        [false, false, true, false, true],
        "the next one is asked at once, a round is waited for"
    );
}

#[test]
fn only_those_that_failed_in_passing_are_asked_again() {
    let pool = pool(&["a", "b", "c"]);
    let mut plan = plan(&pool, "m");
    let order: Vec<usize> = [key(401), host(503), pair(429)]
        .iter()
        .map(|verdict| fail(&pool, &mut plan, verdict, at(0.0)).0)
        .collect();
    let pause = wait(pool.next(&mut plan, at(0.0)));
    let (again, _) = fail(&pool, &mut plan, &Verdict { timed_out: true, ..host(504) }, at(0.0) + pause);
    assert_eq!(again, order[1]);
    assert_eq!(stopped(pool.next(&mut plan, at(1.0))), Stopped::Exhausted, "a timeout is not tried again");
}

#[test]
fn nothing_is_asked_again_after_an_answer_to_the_caller_beyond_the_deadline_or_where_it_would_take_long() {
    let pool = pool(&["a", "b"]);
    let mut over = plan(&pool, "m");
    fail(&pool, &mut over, &host(503), at(0.0));
    fail(&pool, &mut over, &Verdict::new(Blame::Caller, Next::Stop, 400), at(0.0));
    assert_eq!(stopped(pool.next(&mut over, at(0.0))), Stopped::Exhausted);
    let ask = Ask { model: Some("m"), deadline: Some(at(0.05)), ..Ask::default() };
    let mut hurried = pool.plan(ask).expect("served");
    (0..2).for_each(|_| drop(fail(&pool, &mut hurried, &host(503), at(0.0))));
    assert_eq!(stopped(pool.next(&mut hurried, at(0.0))), Stopped::Exhausted);
    let overloaded = Verdict { cool_down: Some(Duration::from_secs(20)), ..host(529) };
    let mut patient = plan(&pool, "m");
    (0..2).for_each(|_| drop(fail(&pool, &mut patient, &overloaded, at(0.0))));
    assert_eq!(stopped(pool.next(&mut patient, at(0.0))), Stopped::Exhausted);
}

#[test]
fn stand_ins_are_asked_before_a_second_round() {
    let pool = with_models(
        &["a", "b"],
        vec![ModelSpec { fallbacks: vec!["large".into()], ..model("small") }, model("large")],
    );
    let mut plan = plan(&pool, "small");
    let mut tried = Vec::new();
    for _ in 0..4 {
        let lease = lease(pool.next(&mut plan, at(0.0)));
        tried.push(lease.model().to_string());
        let _ = pool.failed(&mut plan, lease, &host(503), at(0.0));
    }
    assert_eq!(tried, ["small", "small", "large", "large"]);
    let pause = wait(pool.next(&mut plan, at(0.0)));
    assert_eq!(lease(pool.next(&mut plan, at(0.0) + pause)).model().to_string(), "small");
}

#[test]
fn in_a_total_outage_a_fifth_of_all_requests_is_tried_again_and_ten_a_second() {
    let credentials = ["a", "b"].map(credential).to_vec();
    let never = BanPolicy { error_codes: Vec::new(), ..blueprint(Vec::new()).bans };
    let pool = Pool::new(Blueprint { bans: never, ..blueprint(credentials) });
    let plans = (0..10_000).map(|n| ((at(f64::from(n) / 1000.0), n), plan(&pool, "m")));
    let (mut due, mut attempts) = (plans.collect::<std::collections::BTreeMap<_, _>>(), 0);
    while let Some(((now, n), mut plan)) = due.pop_first() {
        loop {
            match pool.next(&mut plan, now) {
                Step::Try(lease) => {
                    attempts += 1;
                    let _ = pool.failed(&mut plan, lease, &host(503), now);
                }
                Step::Wait(pause) => {
                    due.insert((now + pause, n), plan);
                    break;
                }
                Step::Stop(_) => break,
                other => panic!("{other:?}"),
            }
        }
    }
    assert!((11_900..=12_000 + 13 * 10 + 100).contains(&attempts), "{attempts}");
}

#[test]
fn one_request_strikes_twice_at_most_however_often_it_tries() {
    let pool = pool(&["only"]);
    assert_eq!(failures(&pool, &mut plan(&pool, "m"), &host(503)).len(), 5);
    assert_eq!(pool.snapshot(at(1.0)).credentials[0].models[0].standing.strikes, 2);
}

#[test]
fn two_credentials_are_tried_once_each() {
    let pool = pool(&["a", "b"]);
    let mut plan = plan(&pool, "m");
    fail(&pool, &mut plan, &host(500), at(0.0));
    fail(&pool, &mut plan, &host(500), at(0.0));
    assert_eq!(stopped(pool.next(&mut plan, at(0.0))), Stopped::Exhausted);
}

fn with_fallback() -> Pool {
    let main = ModelSpec { credential: Some(0), fallbacks: vec!["big".into()], ..model("small") };
    with_models(&["a", "b"], vec![main, ModelSpec { credential: Some(1), ..model("big") }])
}

#[test]
fn a_fallback_model_serves_when_the_model_has_no_candidate_left() {
    let pool = with_fallback();
    let mut plan = plan(&pool, "small");
    fail(&pool, &mut plan, &host(500), at(0.0));
    assert!(pool.has_alternative(&plan, at(0.0)));
    fail_after_wait(&pool, &mut plan);
    let lease = lease(pool.next(&mut plan, at(1.0)));
    assert_eq!(
        (lease.credential(), &**lease.model(), lease.upstream_model(), lease.attempt()),
        (1, "big", "big", 3)
    );
    assert_eq!(plan.model(), Some("small"));
    assert!(!pool.has_alternative(&plan, at(1.0)));
}

#[test]
fn a_context_that_is_too_long_goes_to_the_fallback_model_at_once() {
    let pool = with_fallback();
    let mut plan = plan(&pool, "small");
    fail(&pool, &mut plan, &Verdict::new(Blame::Caller, Next::FallbackModel, 400), at(0.0));
    assert_eq!(&**lease(pool.next(&mut plan, at(0.0))).model(), "big");
}

#[test]
fn a_long_cool_down_is_not_waited_for_where_a_fallback_model_exists() {
    let pool = with_fallback();
    let mut plan = plan(&pool, "small");
    fail(&pool, &mut plan, &busy(11), at(0.0));
    assert_eq!(&**lease(pool.next(&mut plan, at(0.0))).model(), "big");
}

#[test]
fn a_pinned_request_goes_to_its_credential_only() {
    let pool = pool(&["a", "b"]);
    let pinned = || pool.plan(Ask { model: None, pinned: Some(1), ..Ask::default() }).expect("no model");
    for _ in 0..3 {
        let lease = lease(pool.next(&mut pinned(), at(0.0)));
        assert_eq!((lease.credential(), &**lease.model()), (1, ""));
    }
    let mut plan = pinned();
    fail(&pool, &mut plan, &key(401), at(0.0));
    assert_eq!(stopped(pool.next(&mut plan, at(0.0))), Stopped::Exhausted);
}

#[test]
fn a_model_that_nobody_serves_is_unknown() {
    let pool = with_models(&["a"], vec![model("gpt-4o")]);
    let unknown = pool.plan(Ask { model: Some("gpt-4"), ..Ask::default() }).expect_err("unknown");
    assert_eq!((unknown.model.as_str(), unknown.nearest), ("gpt-4", vec!["gpt-4o".to_owned()]));
}

#[test]
fn another_candidate_exists_only_while_it_is_available() {
    let pool = pool(&["a", "b"]);
    let mut plan = plan(&pool, "m");
    let held = lease(pool.next(&mut plan, at(0.0)));
    assert!(pool.has_alternative(&plan, at(0.0)));
    let mut other = super::plan(&pool, "m");
    fail(&pool, &mut other, &busy(30), at(0.0));
    assert!(!pool.has_alternative(&plan, at(0.0)));
    drop(held);
}

#[test]
fn a_subset_that_serves_a_model_shares_it_fairly() {
    let names = ["a", "b", "c", "d"];
    let only = |place| ModelSpec { credential: Some(place), ..model("rare") };
    let pool = with_models(&names, vec![model("common"), only(0), only(2)]);
    let mut served = [0; 4];
    for _ in 0..100 {
        serve(&pool, "common", at(0.0));
        served[serve(&pool, "rare", at(0.0))] += 1;
    }
    assert_eq!(served, [50, 0, 50, 0]);
}

#[test]
fn lists_that_change_keep_what_is_known_about_a_pair() {
    let pool = pool(&["a", "b"]);
    for _ in 0..3 {
        fail(&pool, &mut plan(&pool, "m"), &pair(500), at(0.0));
        fail(&pool, &mut plan(&pool, "m"), &pair(500), at(0.0));
    }
    pool.learn(1, vec!["m".into()]);
    assert_eq!(condition(&pool, 0, "m", at(1.0)), Condition::Banned);
    assert!(matches!(stopped(pool.next(&mut plan(&pool, "m"), at(1.0))), Stopped::Unavailable { .. }));
}

#[test]
fn made_up_names_do_not_fill_the_memory_and_still_rotate() {
    let pool = pool(&["a", "b"]);
    for count in 0..10_000 {
        serve(&pool, &format!("made-up-{count}"), at(f64::from(count) / 100.0));
    }
    assert!(pool.snapshot(at(100.0)).credentials[0].models.len() <= 4096);
    let served: Vec<usize> = (0..4).map(|_| serve(&pool, "m", at(100.0))).collect();
    assert_eq!(served, [0, 1, 0, 1]);
}

#[test]
fn the_only_candidate_of_a_fallback_model_gets_a_second_try_too() {
    let pool = with_fallback();
    let mut plan = plan(&pool, "small");
    fail(&pool, &mut plan, &host(500), at(0.0));
    fail_after_wait(&pool, &mut plan);
    fail(&pool, &mut plan, &host(500), at(1.0));
    let pause = wait(pool.next(&mut plan, at(1.0)));
    assert_eq!(lease(pool.next(&mut plan, at(1.0) + pause)).attempt(), 4);
}

#[test]
fn a_candidate_without_words_for_the_request_is_passed_over_and_nobody_is_blamed() {
    let pool = pool(&["a", "b"]);
    let mut asked = plan(&pool, "m");
    let first = lease(pool.next(&mut asked, at(0.0)));
    let (unable, other) = (first.credential(), 1 - first.credential());
    pool.pass_over(&mut asked, first);
    let second = lease(pool.next(&mut asked, at(0.0)));
    assert_eq!((second.credential(), second.attempt()), (other, 1));
    assert!(!pool.has_alternative(&asked, at(0.0)));
    drop(second);
    assert_eq!(condition(&pool, unable, "m", at(0.0)), Condition::default());
    // The one that is left is a lone candidate: it gets its second try.
    let mut asked = plan(&pool, "m");
    asked.bar(unable);
    assert_eq!(fail(&pool, &mut asked, &host(500), at(1.0)).0, other);
    assert!(matches!(pool.next(&mut asked, at(1.0)), Step::Wait(_)));
}

#[test]
fn a_request_that_nobody_has_words_for_is_told_apart_from_one_that_nobody_may_serve_now() {
    let limited = CredentialSpec { rpm: Some(1), ..credential("b") };
    let pool = Pool::new(blueprint(vec![credential("a"), limited]));
    let mut asked = plan(&pool, "m");
    asked.bar(0);
    assert_eq!(lease(pool.next(&mut asked, at(0.0))).credential(), 1);
    let mut asked = plan(&pool, "m");
    (0..2).for_each(|credential| asked.bar(credential));
    assert_eq!(stopped(pool.next(&mut asked, at(0.0))), Stopped::Unfit);
}
