//! What health, metrics, the page and the dry run see.

use super::*;

#[test]
fn a_snapshot_tells_use_limits_and_where_each_stands() {
    let credentials =
        vec![CredentialSpec { rpm: Some(10), weight: 3, tier: 2, ..credential("a") }, credential("b")];
    let models =
        vec![ModelSpec { tpm: Some(500), ..model("m") }, ModelSpec { credential: Some(1), ..model("n") }];
    let pool = Pool::new(Blueprint { models, binding: Binding::Models, ..blueprint(credentials) });
    let mut held = lease(pool.next(&mut costly(&pool, "n", 40), at(0.0)));
    held.sent();
    let snapshot = pool.snapshot(at(0.5));
    let [a, b] = &snapshot.credentials[..] else { panic!("two") };
    assert_eq!((&*a.name, a.weight, a.tier, a.in_flight), ("a", 3, 2, 0));
    assert_eq!(a.rpm, Use { used: 0, limit: Some(10) });
    assert_eq!((b.rpm, b.tpm), (Use { used: 1, limit: None }, Use { used: 40, limit: None }));
    let names = |credential: &CredentialSnapshot| {
        credential.models.iter().map(|m| m.name.to_string()).collect::<Vec<_>>()
    };
    assert_eq!((names(a), names(b)), (vec!["m".to_owned()], vec!["m".to_owned(), "n".to_owned()]));
    assert_eq!(a.models[0].tpm, Use { used: 0, limit: Some(500) });
    assert_eq!((b.models[1].in_flight, b.models[1].standing.condition), (1, Condition::Clear));
}

#[test]
fn a_credential_counts_as_banned_when_all_of_its_configured_models_are() {
    let pool = with_models(&["a"], vec![model("m"), model("n")]);
    let ban = |name: &str| {
        for _ in 0..3 {
            let ask = Ask { model: Some(name), deadline: Some(at(0.0)), ..Ask::default() };
            fail(&pool, &mut pool.plan(ask).expect("served"), &pair(500), at(0.0));
        }
    };
    ban("m");
    assert!(!pool.snapshot(at(1.0)).credentials[0].is_banned);
    let busy = pool.busy(at(1.0));
    assert_eq!((busy.credentials[0].models.len(), busy.credentials[0].is_banned), (1, false));
    ban("n");
    assert!(pool.busy(at(1.0)).credentials[0].is_banned);
    let snapshot = pool.snapshot(at(1.0));
    assert!(snapshot.credentials[0].is_banned);
    let standing = &snapshot.credentials[0].models[0].standing;
    assert_eq!(standing.reason.as_deref(), Some("3 strikes, the last a 500"));
    assert_eq!(
        (standing.since, standing.next_recovery),
        (Some(Duration::from_secs(1)), Some(Duration::from_secs(9)))
    );
    assert!(!pool.snapshot(at(10.0)).credentials[0].is_banned, "on probation it takes a request");
}

#[test]
fn looking_changes_nothing() {
    let pool = pool(&["a", "b"]);
    serve(&pool, "m", at(0.0));
    for _ in 0..5 {
        let _ = pool.explain(asked("m", 10), at(100.0));
        let _ = pool.snapshot(at(100.0));
        let _ = pool.state_of(0, Some("m"), at(100.0));
    }
    assert_eq!(serve(&pool, "m", at(1.0)), 1);
    assert_eq!(pool.snapshot(at(1.0)).credentials[0].rpm.used, 1);
}

#[test]
fn a_dry_run_tells_the_order_and_why_the_others_are_not_tried() {
    let list = vec![("other".to_owned(), "other".to_owned())];
    let credentials = vec![
        CredentialSpec { tier: u16::MAX, ..credential("peer") },
        CredentialSpec { models: Some(list), ..credential("listed") },
        CredentialSpec { models: Some(vec![("m".into(), "vendor/m".into())]), ..credential("main") },
        credential("busy"),
    ];
    let pool = Pool::new(blueprint(credentials));
    let pinned = Ask { model: Some("m"), pinned: Some(3), deadline: Some(at(0.0)), ..Ask::default() };
    fail(&pool, &mut pool.plan(pinned).expect("served"), &busy(30), at(0.0));
    let lines: Vec<String> =
        pool.explain(asked("m", 0), at(0.0)).expect("served").iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        [
            "  1. \"main\", tier 0, model \"m\" as \"vendor/m\"",
            "  2. \"peer\", last tier, model \"m\"",
            "  -  \"busy\", tier 0, model \"m\": is at its upstream's limit for 30s",
            "  -  \"listed\", tier 0, model \"m\": cannot serve: its own list does not have this model",
        ]
    );
}

#[test]
fn a_dry_run_goes_on_to_fallback_models_within_the_attempts_of_a_request() {
    let main = ModelSpec { fallbacks: vec!["n".into()], ..model("m") };
    let credentials = ["a", "b"].map(credential).to_vec();
    let binding = Binding::Models;
    let models = vec![main, model("n")];
    let pool = Pool::new(Blueprint { models, binding, max_attempts: 3, ..blueprint(credentials) });
    let considered = pool.explain(asked("m", 0), at(0.0)).expect("served");
    let turns: Vec<_> =
        considered.iter().map(|one| (&*one.credential, &*one.model, one.turn.clone().ok())).collect();
    assert_eq!(turns, [("a", "m", Some(1)), ("b", "m", Some(2)), ("a", "n", Some(3)), ("b", "n", None)]);
    assert!(pool.explain(asked("zzz", 0), at(0.0)).is_err());
}

#[test]
fn a_pinned_credential_says_what_stands_in_its_way() {
    let pool = Pool::new(blueprint(vec![CredentialSpec { rpm: Some(1), ..credential("a") }]));
    assert_eq!(pool.state_of(0, None, at(0.0)), Availability::Ready);
    serve(&pool, "m", at(0.0));
    let said = pool.state_of(0, None, at(0.5)).to_string();
    assert_eq!(said, "is at its limit of 1 requests per minute for 1m");
    let ask = Ask { model: Some("m"), deadline: Some(at(0.0)), ..Ask::default() };
    fail(
        &pool,
        &mut pool.plan(ask).expect("served"),
        &Verdict { cool_down: Some(Duration::from_secs(90)), ..key(503) },
        at(61.0),
    );
    assert_eq!(pool.state_of(0, Some("m"), at(61.5)).to_string(), "cools down for 1m 30s");
    assert!(pool.state_of(7, None, at(0.0)).retry_after().is_none());
}

#[test]
fn models_are_listed_once_in_a_stable_order() {
    let list = vec![("fast".to_owned(), "vendor/fast".to_owned())];
    let credentials =
        vec![CredentialSpec { models: Some(list), ..credential("a") }, credential("b"), credential("c")];
    let pool = Pool::new(Blueprint {
        models: vec![ModelSpec { limits_only: true, ..model("m") }],
        ..blueprint(credentials)
    });
    pool.learn(2, vec!["z".into(), "m".into(), "b".into()]);
    pool.learn(1, vec!["b".into(), "z".into()]);
    let names: Vec<String> = pool.models().into_iter().map(|listed| listed.name).collect();
    assert_eq!(names, ["m", "fast", "b", "z"]);
}

#[test]
fn a_peer_that_seems_down_is_asked_last_until_it_answers_and_is_never_struck() {
    let credentials = vec![credential("peer"), CredentialSpec { tier: u16::MAX, ..credential("spare") }];
    let pool = Pool::new(blueprint(credentials));
    assert_eq!(pool.regard(0, Outlook::Down), Outlook::Fair);
    assert_eq!(serve(&pool, "m", at(0.0)), 1);
    let lines: Vec<String> =
        pool.explain(asked("m", 0), at(0.0)).expect("served").iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        [
            "  1. \"spare\", last tier, model \"m\"",
            "  2. \"peer\", tier 0, model \"m\": seems to be down: asked after all others",
        ]
    );
    assert_eq!(pool.state_of(0, Some("m"), at(0.0)), Availability::Behind(Outlook::Down));
    assert_eq!(pool.snapshot(at(0.0)).credentials[0].standing, StandingSnapshot::default());
    let ask = Ask { model: Some("m"), pinned: Some(0), ..Ask::default() };
    let mut lease = lease(pool.next(&mut pool.plan(ask).expect("served"), at(1.0)));
    let _ = lease.succeeded(at(1.0));
    assert_eq!((pool.outlook(0), serve(&pool, "m", at(1.0))), (Outlook::Fair, 0));
}

#[test]
fn a_draining_peer_is_better_than_nobody_and_a_success_does_not_call_it_back() {
    let pool = pool(&["peer"]);
    pool.regard(0, Outlook::Draining);
    assert_eq!(serve(&pool, "m", at(0.0)), 0);
    assert_eq!(pool.outlook(0), Outlook::Draining);
}

#[test]
fn a_host_that_is_back_is_pardoned_for_errors_of_a_host_and_for_nothing_else() {
    let pool = pool(&["peer"]);
    let hurried = |model| pool.plan(Ask { model: Some(model), deadline: Some(at(0.0)), ..Ask::default() });
    for (model, verdict) in [("gone", host(502)), ("limited", pair(429))] {
        for _ in 0..3 {
            fail(&pool, &mut hurried(model).expect("served"), &verdict, at(0.0));
        }
        assert_eq!(condition(&pool, 0, model, at(1.0)), Condition::Banned);
    }
    let told: Vec<String> = pool.vouch(0, true, at(1.0)).iter().map(ToString::to_string).collect();
    assert_eq!(told, ["credential \"peer\", model \"gone\": unbanned, its host was at fault"]);
    assert_eq!(condition(&pool, 0, "gone", at(1.0)), Condition::Clear);
    assert_eq!(condition(&pool, 0, "limited", at(1.0)), Condition::Banned);
}

#[test]
fn a_host_that_says_it_is_well_is_not_left_alone_any_longer_but_keeps_its_bans_and_its_limits() {
    let pool = pool(&["peer"]);
    let hurried = |model| pool.plan(Ask { model: Some(model), deadline: Some(at(0.0)), ..Ask::default() });
    let shut =
        Verdict { cool_down: Some(Duration::from_secs(30)), ..Verdict::new(Blame::Busy, Next::Other, 503) };
    for (model, verdict) in [("gone", host(502)), ("shut", shut), ("full", busy(30))] {
        for _ in 0..3 {
            fail(&pool, &mut hurried(model).expect("served"), &verdict, at(0.0));
            if verdict.cool_down.is_some() {
                break;
            }
        }
    }
    assert_eq!(condition(&pool, 0, "shut", at(1.0)), Condition::CoolingDown);
    assert!(pool.vouch(0, false, at(1.0)).is_empty());
    let now = ["shut", "full", "gone"].map(|model| condition(&pool, 0, model, at(1.0)));
    assert_eq!(now, [Condition::Clear, Condition::CoolingDown, Condition::Banned]);
}

fn asked(model: &str, tokens: u64) -> Ask<'_> {
    Ask { model: Some(model), tokens, ..Ask::default() }
}
