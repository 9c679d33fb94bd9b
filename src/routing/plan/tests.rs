//! What a plan allows, and when it waits.

use super::*;
use crate::llm::ability::Ability;

fn plan(fallbacks: &[&str]) -> Plan {
    let fallbacks = fallbacks.iter().map(|name| Arc::from(*name)).collect();
    let ask = Ask { model: Some("m"), deadline: None, ..Ask::default() };
    Plan::new(ask, Some("m".into()), fallbacks, 5)
}

fn on(credential: usize) -> Candidate {
    let abilities = Abilities::assumed();
    Candidate { credential, tier: 0, weight: 1, upstream: "m".into(), abilities }
}

fn targets(plan: &Plan) -> Vec<(usize, &str)> {
    plan.targets().map(|(at, model)| (at, model.map_or("", |name| name))).collect()
}

const BROKEN: Verdict = Verdict::new(Blame::Host, Next::Other, 500);

#[test]
fn each_back_off_is_longer_than_the_one_before_and_no_longer_than_five_seconds() {
    let now = Instant::now();
    for seed in 0..1000 {
        let mut plan = plan(&[]);
        plan.seed = seed;
        let waits: Vec<_> = (0..9)
            .map(|_| {
                let at = plan.back_off(now, MOST_BACK_OFF, now).expect("time enough");
                plan.wait_until(at);
                (at - now).as_millis()
            })
            .collect();
        assert!((100..200).contains(&waits[0]) && (1600..3200).contains(&waits[4]), "{waits:?}");
        assert!(waits[..5].is_sorted_by(|a, b| a < b) && waits[5..].iter().all(|wait| *wait < 5000));
    }
    let mut waits: Vec<_> = (0..100)
        .map(|seed| Plan { seed, ..plan(&[]) }.back_off(now, MOST_BACK_OFF, now).expect("time enough"))
        .collect();
    waits.sort();
    waits.dedup();
    assert!(waits.len() > 90, "requests are not in step");
}

#[test]
fn a_cool_down_is_waited_for_where_it_fits() {
    let now = Instant::now();
    let at = |seconds| now + Duration::from_secs(seconds);
    assert_eq!(plan(&[]).second_try(&BROKEN, at(60), now), Some(at(60)));
    assert_eq!(plan(&[]).second_try(&BROKEN, at(61), now), None);
    assert_eq!(plan(&["n"]).second_try(&BROKEN, at(10), now), Some(at(10)));
    assert_eq!(plan(&["n"]).second_try(&BROKEN, at(11), now), None);
    let hurried = Plan { deadline: Some(at(5)), ..plan(&[]) };
    assert_eq!(hurried.second_try(&BROKEN, at(5), now), None);
    assert_eq!(hurried.second_try(&BROKEN, at(4), now), Some(at(4)));
}

#[test]
fn a_candidate_is_not_tried_twice_but_may_serve_another_model() {
    let mut plan = plan(&["n"]);
    assert_eq!(plan.begin(3, 0), 1);
    assert!(!plan.allows(&on(3), 0) && plan.allows(&on(4), 0));
    plan.next_model();
    assert!(plan.allows(&on(3), 1));
    assert_eq!(targets(&plan), [(1, "n")]);
    plan.next_model();
    assert_eq!(targets(&plan), []);
}

#[test]
fn a_bad_key_is_bad_for_every_model() {
    let mut plan = plan(&["n"]);
    plan.begin(3, 0);
    plan.failed(3, &Verdict::new(Blame::Key, Next::Other, 401), None);
    plan.next_model();
    assert!(!plan.allows(&on(3), 1));
}

#[test]
fn a_stop_ends_it_for_good() {
    let mut plan = plan(&["n"]);
    plan.failed(0, &Verdict::new(Blame::Caller, Next::Stop, 400), None);
    assert_eq!(targets(&plan), []);
    plan.next_model();
    assert_eq!(targets(&plan), []);
}

#[test]
fn a_list_that_is_drawn_from_is_given_up_model_by_model_and_then_as_a_whole() {
    let names = ["b", "c", "stand-in"].map(Arc::from);
    let meaning = Meaning { first: "a".into(), rest: names.into(), listed: 3, even: true };
    let mut plan = Plan::meant(Ask { model: Some("auto"), ..Ask::default() }, meaning, 5);
    assert_eq!(targets(&plan), [(0, "a"), (1, "b"), (2, "c")]);
    assert_eq!(plan.later_models().map(|name| &**name).collect::<Vec<_>>(), ["stand-in"]);
    plan.begin(7, 1);
    plan.failed(7, &Verdict::new(Blame::Absent, Next::FallbackModel, 404), None);
    assert_eq!(targets(&plan), [(0, "a"), (2, "c")]);
    plan.next_model();
    assert_eq!(targets(&plan), [(3, "stand-in")]);
}

#[test]
fn a_candidate_whose_model_lacks_what_is_needed_is_none() {
    let needs = [Ability::Images].into_iter().collect();
    let plan = Plan { needs, ..plan(&[]) };
    let blind = Candidate { abilities: Abilities::NONE, ..on(0) };
    assert!(plan.takes(&on(0)) && !plan.takes(&blind));
    assert_eq!(plan.lacks(&blind), needs);
}

#[test]
fn a_request_that_is_kept_among_some_is_asked_of_no_other() {
    let plan = Plan { among: Some([false, true].into()), ..plan(&[]) };
    assert_eq!([0, 1, 2].map(|credential| plan.takes(&on(credential))), [false, true, false]);
}
