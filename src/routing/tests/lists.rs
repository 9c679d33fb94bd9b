//! Lists of models, aliases, and requests that not every candidate may serve.

use super::*;
use crate::llm::ability::{Abilities, Ability};

fn list(name: &str, models: &[&str]) -> ModelSpec {
    ModelSpec { models: models.iter().map(ToString::to_string).collect(), ..model(name) }
}

fn on(name: &str, credential: usize) -> ModelSpec {
    ModelSpec { credential: Some(credential), ..model(name) }
}

/// The models that are tried one after the other, each in vain.
fn tried(pool: &Pool, model: &str, verdict: &Verdict) -> Vec<String> {
    let mut plan = plan(pool, model);
    let mut tried = Vec::new();
    while let Step::Try(lease) = pool.next(&mut plan, at(0.0)) {
        tried.push(lease.model().to_string());
        let _ = pool.failed(&mut plan, lease, verdict, at(0.0));
    }
    tried
}

#[test]
fn a_list_is_asked_in_its_order_and_then_what_stands_in_for_its_models() {
    let b = ModelSpec { fallbacks: vec!["d".into()], ..on("b", 1) };
    let models = vec![on("a", 0), b, on("c", 2), on("d", 2), list("auto-model", &["c", "b", "a"])];
    let pool = with_models(&["one", "two", "three"], models);
    assert_eq!(
        tried(&pool, "auto-model", &pair(500)),
        ["c", "b", "a", "d"],
        "without a wait for the only one"
    );
    assert!(plan(&pool, "auto-model").stands_in() && !plan(&pool, "a").stands_in());
}

#[test]
fn the_limits_of_the_models_in_a_list_hold_and_the_next_one_serves() {
    let limited = ModelSpec { rpm: Some(2), ..model("a") };
    let pool = with_models(&["one"], vec![limited, model("b"), list("auto-model", &["a", "b"])]);
    let served = |now: f64| lease(pool.next(&mut plan(&pool, "auto-model"), at(now))).model().to_string();
    let count = |now: f64| {
        let mut lease = lease(pool.next(&mut plan(&pool, "auto-model"), at(now)));
        lease.sent();
        lease.model().to_string()
    };
    assert_eq!([count(0.0), count(0.1), count(0.2), served(1.0)], ["a", "a", "b", "b"]);
    assert_eq!(count(62.0), "a", "and comes back");
}

#[test]
fn a_list_in_a_request_and_any_name_lead_to_models() {
    let pool = with_models(&["one"], vec![model("a"), model("b"), list("*", &["b", "a"])]);
    assert_eq!(tried(&pool, "nope | a | b", &pair(500)), ["a", "b"]);
    assert_eq!(tried(&pool, "gpt-9", &pair(500)), ["b", "a"]);
    assert_eq!(tried(&pool, "x|y", &pair(500)), ["b", "a"], "no part is known");
    let strict = with_models(&["one"], vec![model("a")]);
    assert!(strict.plan(Ask { model: Some("x|y"), ..Ask::default() }).is_err());
}

#[test]
fn a_list_that_is_drawn_from_never_asks_the_same_pair_twice() {
    let even = ModelSpec { strategy: Some(Strategy::Even), ..list("any", &["a", "b"]) };
    let pool = with_models(&["one", "two"], vec![model("a"), model("b"), even]);
    for seed in 0..200 {
        let mut plan = pool.plan(Ask { model: Some("any"), seed, ..Ask::default() }).expect("served");
        let mut tried = Vec::new();
        while let Step::Try(lease) = pool.next(&mut plan, at(0.0)) {
            tried.push((lease.model().to_string(), lease.credential()));
            let _ = pool.failed(&mut plan, lease, &Verdict::new(Blame::Local, Next::Other, 500), at(0.0));
        }
        tried.sort();
        let pairs = [("a", 0), ("a", 1), ("b", 0), ("b", 1)].map(|(model, at)| (model.to_owned(), at));
        assert_eq!(tried, pairs);
    }
}

#[test]
fn an_alias_has_the_limits_of_its_model() {
    let limited = ModelSpec { rpm: Some(1), ..model("gpt-4o") };
    let aliases = vec![("gpt-4".to_owned(), "gpt-4o".to_owned())];
    let credentials = vec![credential("one")];
    let binding = Binding::Models;
    let pool = Pool::new(Blueprint { models: vec![limited], aliases, binding, ..blueprint(credentials) });
    let mut first = lease(pool.next(&mut plan(&pool, "gpt-4"), at(0.0)));
    first.sent();
    assert_eq!(&**first.model(), "gpt-4o");
    assert!(matches!(stopped(pool.next(&mut plan(&pool, "gpt-4o"), at(0.0))), Stopped::Limited { .. }));
    let listed: Vec<String> = pool.models().into_iter().map(|listed| listed.name).collect();
    assert_eq!(listed, ["gpt-4o", "gpt-4"]);
}

fn needing(pool: &Pool, model: &str, needs: &[Ability]) -> Plan {
    let needs = needs.iter().copied().collect();
    pool.plan(Ask { model: Some(model), needs, ..Ask::default() }).expect("served")
}

fn can(abilities: &[Ability], spec: ModelSpec) -> ModelSpec {
    ModelSpec { abilities: Some(abilities.iter().copied().collect()), ..spec }
}

#[test]
fn a_model_that_lacks_what_is_needed_is_passed_over() {
    use Ability::{Audio, Images, Tools};
    let models = vec![
        can(&[Tools], on("m", 0)),
        can(&[Tools, Images], on("m", 1)),
        can(&[Audio], on("small", 0)),
        list("auto-model", &["small", "m"]),
    ];
    let pool = with_models(&["blind", "seeing"], models);
    for _ in 0..4 {
        assert_eq!(lease(pool.next(&mut needing(&pool, "m", &[Images]), at(0.0))).credential(), 1);
    }
    let served = lease(pool.next(&mut needing(&pool, "auto-model", &[Images, Tools]), at(0.0)));
    assert_eq!((&**served.model(), served.credential()), ("m", 1));
    let lacking =
        |model: &str, needs: &[Ability]| match stopped(pool.next(&mut needing(&pool, model, needs), at(0.0)))
        {
            Stopped::Lacking(lacking) => lacking.to_string(),
            other => panic!("{other:?}"),
        };
    assert_eq!(lacking("m", &[Audio, Tools]), "audio");
    assert_eq!(lacking("auto-model", &[Audio, Tools]), "tools, audio", "one lacks this, the other that");
    assert!(!pool.has_alternative(&needing(&pool, "m", &[Audio]), at(0.0)));
}

#[test]
fn a_request_for_one_vendor_is_asked_of_no_other() {
    let pool = with_models(&["one", "two"], vec![model("m"), on("rare", 0)]);
    let among: Arc<[bool]> = [false, true].into();
    let plan = |model: &'static str| {
        pool.plan(Ask { model: Some(model), among: Some(&among), ..Ask::default() }).expect("served")
    };
    assert_eq!([0, 1, 2].map(|_| lease(pool.next(&mut plan("m"), at(0.0))).credential()), [1, 1, 1]);
    assert_eq!(stopped(pool.next(&mut plan("rare"), at(0.0))), Stopped::Elsewhere);
    let listed: Vec<String> = pool.models_among(Some(&among)).into_iter().map(|listed| listed.name).collect();
    assert_eq!(listed, ["m"]);
}

#[test]
fn the_dry_run_says_what_a_model_lacks_and_who_is_of_another_vendor() {
    let pool = with_models(&["one", "two"], vec![can(&[Ability::Tools], on("m", 0)), on("m", 1)]);
    let told = |ask: Ask<'_>| -> Vec<String> {
        let considered = pool.explain(Ask { model: Some("m"), ..ask }, at(0.0)).expect("served");
        considered.iter().map(ToString::to_string).collect()
    };
    let needs: Abilities = [Ability::Images].into_iter().collect();
    let lacks = "  -  \"one\", tier 0, model \"m\": has a model that cannot do images";
    assert_eq!(told(Ask { needs, ..Ask::default() }), ["  1. \"two\", tier 0, model \"m\"", lacks]);
    let among: Arc<[bool]> = [true, false].into();
    let other = "  -  \"two\", tier 0, model \"m\": is not of the vendor asked for";
    assert_eq!(
        told(Ask { among: Some(&among), ..Ask::default() }),
        ["  1. \"one\", tier 0, model \"m\"", other]
    );
}
