//! What a name stands for: a model, another name of one, or a list of models.
//!
//! Most names stand for themselves, which one look into two small maps tells. A list in a request (`"a|b|c"`, as a
//! router of an earlier generation had it) is one like those of the configuration.

use std::collections::HashMap;
use std::sync::Arc;

use super::catalog::Catalog;
use super::strategy::Strategy;
use super::Blueprint;

/// The name that means any that nobody serves.
const ANY: &str = "*";
/// Between the names of a list in a request.
const OR: char = '|';

/// The models that a name stands for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Meaning {
    pub(super) first: Arc<str>,
    /// To be tried after it, and at last what stands in for them all.
    pub(super) rest: Arc<[Arc<str>]>,
    /// How many of them, with the first, are the list itself.
    pub(super) listed: usize,
    /// The list is drawn from as a whole.
    pub(super) even: bool,
}

/// The names that stand for others.
#[derive(Clone, Debug, Default)]
pub(super) struct Meanings {
    aliases: HashMap<Arc<str>, Arc<str>>,
    lists: HashMap<Arc<str>, List>,
    any: Option<List>,
    /// What `/v1/models` shows of them, in the order of the file.
    shown: Vec<Arc<str>>,
}

#[derive(Clone, Debug)]
struct List {
    models: Vec<Arc<str>>,
    even: bool,
}

impl Meanings {
    /// The aliases and lists of a configuration.
    pub(super) fn new(blueprint: &Blueprint) -> Self {
        let mut meanings = Self::default();
        for spec in blueprint.models.iter().filter(|spec| !spec.models.is_empty()) {
            let models = distinct(spec.models.iter().map(|name| Arc::from(name.as_str())));
            let even = spec.strategy.unwrap_or(blueprint.strategy) == Strategy::Even;
            if spec.name == ANY {
                meanings.any = Some(List { models, even });
                continue;
            }
            let name: Arc<str> = spec.name.as_str().into();
            meanings.shown.push(name.clone());
            meanings.lists.insert(name, List { models, even });
        }
        for (alias, model) in &blueprint.aliases {
            let alias: Arc<str> = alias.as_str().into();
            meanings.shown.push(alias.clone());
            meanings.aliases.insert(alias, model.as_str().into());
        }
        meanings
    }

    /// The models that `name` itself is written for; none where it is no alias and no list.
    fn written(&self, name: &str) -> Option<List> {
        let name = match self.aliases.get(name) {
            Some(model) => model,
            None => return self.lists.get(name).cloned(),
        };
        Some(
            self.lists.get(name).cloned().unwrap_or_else(|| List { models: vec![name.clone()], even: false }),
        )
    }
}

impl Catalog {
    /// What `name` stands for; none if for itself, or for nothing.
    pub(super) fn meaning(&self, name: &str) -> Option<Meaning> {
        let found = self.meanings.written(name).or_else(|| self.either(name));
        let served = found.filter(|list| list.models.iter().any(|model| self.is_served(model)));
        served.map(|list| self.whole(list))
    }

    /// What a name that nobody serves stands for, if anything.
    pub(super) fn any(&self) -> Option<Meaning> {
        self.meanings.any.clone().map(|list| self.whole(list))
    }

    /// The aliases and lists that lead to a model of which `serves` is true.
    pub(super) fn stand_ins(&self, serves: impl Fn(&Arc<str>) -> bool) -> impl Iterator<Item = &Arc<str>> {
        let leads = move |name: &&Arc<str>| {
            self.meanings.written(name).is_some_and(|list| list.models.iter().any(&serves))
        };
        self.meanings.shown.iter().filter(leads)
    }

    /// `"a|b|c"`: those parts that are known, in their order.
    fn either(&self, name: &str) -> Option<List> {
        if !name.contains(OR) || self.is_configured(name) {
            return None;
        }
        let parts = name.split(OR).map(str::trim).filter(|part| !part.is_empty()).map(Arc::<str>::from);
        let known = parts.flat_map(|part| match self.meanings.written(&part) {
            Some(list) => list.models,
            None => Vec::from_iter(self.is_served(&part).then_some(part)),
        });
        Some(List { models: distinct(known), even: false })
    }

    /// The list, and what stands in for its models.
    fn whole(&self, list: List) -> Meaning {
        let List { models, even } = list;
        let listed = models.len();
        let fallbacks: Vec<Arc<str>> =
            models.iter().flat_map(|model| self.fallbacks(model).to_vec()).collect();
        let mut all = distinct(models.into_iter().chain(fallbacks)).into_iter();
        let first = all.next().unwrap_or_default();
        Meaning { first, rest: all.collect(), listed, even }
    }
}

/// Each name once, where it comes first. Lists are short: written by hand, or no longer than a model's name may be.
fn distinct(names: impl Iterator<Item = Arc<str>>) -> Vec<Arc<str>> {
    let mut all: Vec<Arc<str>> = Vec::new();
    for name in names {
        if !all.contains(&name) {
            all.push(name);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::super::tests::{blueprint, credential, model};
    use super::super::{Binding, ModelSpec};
    use super::*;

    fn list(name: &str, models: &[&str]) -> ModelSpec {
        ModelSpec { models: models.iter().map(ToString::to_string).collect(), ..model(name) }
    }

    fn catalog(models: Vec<ModelSpec>, binding: Binding) -> Catalog {
        let aliases = vec![("gpt".to_owned(), "a".to_owned()), ("best".to_owned(), "auto".to_owned())];
        Catalog::new(&Blueprint { models, aliases, binding, ..blueprint(vec![credential("one")]) })
    }

    fn told(meaning: Option<Meaning>) -> String {
        let Some(Meaning { first, rest, listed, .. }) = meaning else { return "itself".into() };
        let rest: Vec<&str> = rest.iter().map(|name| &**name).collect();
        format!("{first},{} {listed}", rest.join(","))
    }

    #[test]
    fn a_name_means_itself_an_alias_its_model_and_a_list_its_models_and_their_fallbacks() {
        let a = ModelSpec { fallbacks: vec!["c".into()], ..model("a") };
        let models = vec![a, model("b"), model("c"), list("auto", &["a", "b"]), list("*", &["b"])];
        let catalog = catalog(models, Binding::Models);
        let means = |name: &str| told(catalog.meaning(name));
        assert_eq!(means("a"), "itself");
        assert_eq!(means("gpt"), "a,c 1");
        assert_eq!(means("auto"), "a,b,c 2");
        assert_eq!(means("best"), "a,b,c 2");
        assert_eq!(means("*"), "itself");
        assert_eq!(told(catalog.any()), "b, 1");
    }

    #[test]
    fn a_list_in_a_request_has_the_parts_that_are_known_each_once() {
        let models = vec![model("a"), model("b"), model("c|d"), list("auto", &["b", "a"])];
        let bound = catalog(models.clone(), Binding::Models);
        let means = |name: &str| told(bound.meaning(name));
        assert_eq!(means(" b | x||a|b"), "b,a 2");
        assert_eq!(means("x|gpt"), "a, 1");
        assert_eq!(means("x|auto"), "b,a 2");
        assert_eq!(means("x|y"), "itself");
        assert_eq!(means("|"), "itself");
        assert_eq!(means("c|d"), "itself", "a model may be called so");
        let open = catalog(models, Binding::Open);
        assert_eq!(told(open.meaning("x|y")), "x,y 2", "where anybody serves anything, all parts are known");
    }

    #[test]
    fn names_are_shown_that_lead_to_a_served_model_but_never_the_one_for_all() {
        let catalog = catalog(vec![model("a"), list("auto", &["a"]), list("*", &["a"])], Binding::Models);
        let shown = |model: &str| -> Vec<String> {
            catalog.stand_ins(|name| &**name == model).map(ToString::to_string).collect()
        };
        assert_eq!(shown("a"), ["auto", "gpt", "best"]);
        assert!(shown("b").is_empty());
    }
}
