//! Who serves what under each binding.

use super::super::tests::{blueprint, credential, model};
use super::super::{CredentialSpec, ModelSpec};
use super::*;
use crate::llm::ability::Ability;

fn entry(name: &str, credential: Option<usize>) -> ModelSpec {
    ModelSpec { credential, ..model(name) }
}

fn catalog(binding: Binding, credentials: Vec<CredentialSpec>, models: Vec<ModelSpec>) -> Arc<Catalog> {
    Arc::new(Catalog::new(&Blueprint { models, binding, ..blueprint(credentials) }))
}

fn serving(catalog: &Catalog, name: &str) -> Vec<usize> {
    catalog.candidates(Some(&name.into())).iter().map(|candidate| candidate.credential).collect()
}

fn learn(catalog: &mut Arc<Catalog>, credential: usize, names: &[&str]) {
    Catalog::learn(catalog, credential, names.iter().map(ToString::to_string).collect());
}

fn names(catalog: &Catalog) -> Vec<String> {
    catalog.listed(None).into_iter().map(|listed| listed.name).collect()
}

#[test]
fn without_entries_everybody_serves_everything_and_learned_lists_break_ties() {
    let mut catalog = catalog(Binding::Open, vec![credential("a"), credential("b")], Vec::new());
    assert_eq!(serving(&catalog, "anything"), [0, 1]);
    learn(&mut catalog, 1, &["z", "m"]);
    assert_eq!(serving(&catalog, "m"), [1, 0]);
    assert_eq!(names(&catalog), ["m", "z"]);
}

#[test]
fn entries_bind() {
    let models = vec![entry("both", None), entry("first", Some(0))];
    let mut catalog = catalog(Binding::Models, vec![credential("a"), credential("b")], models);
    assert_eq!(serving(&catalog, "both"), [0, 1]);
    assert_eq!(serving(&catalog, "first"), [0]);
    assert!(serving(&catalog, "other").is_empty());
    learn(&mut catalog, 1, &["other"]);
    assert!(serving(&catalog, "other").is_empty());
    assert_eq!(names(&catalog), ["both", "first"], "what is listed is served");
}

fn listing(name: &str, models: &[(&str, &str)]) -> CredentialSpec {
    let models = models.iter().map(|(here, there)| ((*here).to_owned(), (*there).to_owned()));
    CredentialSpec { models: Some(models.collect()), ..credential(name) }
}

#[test]
fn a_name_belongs_to_who_writes_it_out_and_else_to_the_longest_beginning() {
    let credentials = vec![
        listing("any", &[("*", "*")]),
        listing("openai", &[("openai/*", "*"), ("gpt-4o", "gpt-4o")]),
        listing("also", &[("openai/*", "x/*")]),
        listing("fixed", &[("openai/o-*", "one")]),
    ];
    let models = vec![entry("openai/given", Some(0)), entry("openai/limited", None)];
    let mut catalog = catalog(Binding::Models, credentials, models);
    for (name, wanted) in [
        ("openai/gpt-4o", &[(1, "gpt-4o"), (2, "x/gpt-4o")][..]),
        ("openai/o-3", &[(3, "one")]),
        ("gpt-4o", &[(1, "gpt-4o")]),
        ("else", &[(0, "else")]),
        ("openai/given", &[(0, "openai/given")]),
        ("openai/limited", &[(1, "limited"), (2, "x/limited")]),
    ] {
        let found = catalog.candidates(Some(&name.into()));
        let found: Vec<_> = found.iter().map(|found| (found.credential, &*found.upstream)).collect();
        assert_eq!(found, wanted, "{name}");
    }
    assert!(catalog.objection(1, &"else".into()).is_some());
    learn(&mut catalog, 1, &["gpt-4o", "o-3"]);
    assert_eq!(
        names(&catalog),
        ["openai/given", "openai/limited", "gpt-4o", "openai/gpt-4o", "openai/o-3"],
        "what a host lists has its name here"
    );
}

#[test]
fn learned_lists_bind_when_told_to() {
    let mut catalog = catalog(Binding::Learned, vec![credential("a"), credential("b")], Vec::new());
    assert_eq!(serving(&catalog, "m"), [0, 1], "a list that is not known yet does not bind");
    learn(&mut catalog, 0, &["m"]);
    learn(&mut catalog, 1, &["n"]);
    assert_eq!(serving(&catalog, "m"), [0]);
    assert_eq!(serving(&catalog, "n"), [1]);
    assert!(serving(&catalog, "other").is_empty());
}

#[test]
fn entries_and_learned_lists_bind_together() {
    let mut catalog =
        catalog(Binding::Learned, vec![credential("a"), credential("b")], vec![entry("m", Some(0))]);
    assert!(serving(&catalog, "n").is_empty());
    learn(&mut catalog, 1, &["n"]);
    assert_eq!(serving(&catalog, "n"), [1]);
    assert_eq!(serving(&catalog, "m"), [0]);
}

#[test]
fn a_credential_with_a_list_serves_that_list_under_its_names_there() {
    let list = vec![("fast".to_owned(), "vendor/fast-1".to_owned())];
    let own = CredentialSpec { models: Some(list), ..credential("a") };
    let catalog = catalog(Binding::Open, vec![own, credential("b")], Vec::new());
    let candidates = catalog.candidates(Some(&"fast".into()));
    let there: Vec<_> = candidates.iter().map(|candidate| &*candidate.upstream).collect();
    assert_eq!(there, ["vendor/fast-1", "fast"]);
    assert_eq!(serving(&catalog, "slow"), [1]);
    assert_eq!(names(&catalog), ["fast"]);
}

#[test]
fn limits_of_a_pair_come_from_the_entry_for_both_before_that_for_the_name() {
    let general = ModelSpec { rpm: Some(10), limits_only: true, ..entry("m", None) };
    let exact = ModelSpec { rpm: Some(5), limits_only: true, ..entry("m", Some(1)) };
    let catalog = catalog(Binding::Open, vec![credential("a"), credential("b")], vec![general, exact]);
    assert_eq!(catalog.limits(0, "m"), Limits { rpm: Some(10), ..Limits::default() });
    assert_eq!(catalog.limits(1, "m"), Limits { rpm: Some(5), ..Limits::default() });
    assert_eq!(catalog.limits(1, "n"), Limits::default());
    assert_eq!(serving(&catalog, "n"), [0, 1], "limits alone bind nothing");
}

#[test]
fn tiers_come_in_order_and_each_fallback_once() {
    let late = CredentialSpec { tier: 9, ..credential("a") };
    let fallbacks = ["n", "m", "n", "o"].map(str::to_owned).to_vec();
    let models = vec![ModelSpec { fallbacks, ..entry("m", None) }];
    let catalog = catalog(Binding::Models, vec![late, credential("b")], models);
    assert_eq!(serving(&catalog, "m"), [1, 0]);
    let fallbacks: Vec<String> = catalog.fallbacks("m").iter().map(ToString::to_string).collect();
    assert_eq!(fallbacks, ["n", "o"]);
}

#[test]
fn an_unknown_model_names_the_nearest() {
    let models = ["gpt-4o", "gpt-4o-mini", "claude-sonnet"].map(|name| entry(name, None)).to_vec();
    let catalog = catalog(Binding::Models, vec![credential("a")], models);
    let near = |model: &str| unknown(model, &catalog.listed(None)).nearest;
    assert_eq!(near("gpt-4"), ["gpt-4o"]);
    assert_eq!(near("openai/GPT-4o"), ["gpt-4o"]);
    assert_eq!(near("zzz"), Vec::<String>::new());
    let text = unknown("gpt-4", &catalog.listed(None)).to_string();
    assert_eq!(text, "nobody serves the model \"gpt-4\"; the nearest are gpt-4o");
}

#[test]
fn what_a_model_can_do_is_said_for_a_pair_before_it_is_said_for_the_model() {
    let only = |ability: Ability| Some([ability].into_iter().collect());
    let general = ModelSpec { abilities: only(Ability::Tools), ..entry("m", None) };
    let exact = ModelSpec { abilities: only(Ability::Prefill), ..entry("m", Some(1)) };
    let credentials = vec![credential("a"), credential("b")];
    let catalog = catalog(Binding::Models, credentials, vec![general, exact, entry("n", None)]);
    let can = |name: &str| -> Vec<String> {
        catalog.candidates(Some(&name.into())).iter().map(|c| c.abilities.to_string()).collect()
    };
    assert_eq!(can("m"), ["tools", "prefill"]);
    assert_eq!(can("n"), ["images, tools, documents, audio"; 2]);
}
