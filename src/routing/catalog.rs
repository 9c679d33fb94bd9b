//! Who serves which model, under which name: configured entries, lists on credentials, and lists learned from
//! upstreams.
//!
//! Nothing is precomputed for all credentials times all models: a question is answered from a few small maps when a
//! model is first asked for, and the answer kept by `rotation`.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use super::limits::Limits;
use super::meaning::Meanings;
use super::pattern::Pattern;
use super::{Binding, Blueprint, Strategy};
use crate::llm::ability::Abilities;

/// Longer lists are cut: they come from outside.
const MOST_LEARNED: usize = 10_000;
/// At most so many names are compared when one is unknown.
const MOST_COMPARED: usize = 2_000;
const NEAREST: usize = 3;
const NEAR: f64 = 0.6;

/// A model that `/v1/models` lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Name here.
    pub name: String,
    /// Stands in the configuration; else learned from an upstream.
    pub configured: bool,
}

/// A model that nobody serves.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("nobody serves the model {model:?}{}", suggestion(.nearest))]
pub struct UnknownModel {
    /// As asked for.
    pub model: String,
    /// At most three names that are served and look like it, the most alike first.
    pub nearest: Vec<String>,
}

/// The maps.
#[derive(Clone)]
pub(super) struct Catalog {
    binding: Binding,
    credentials: Vec<Listing>,
    /// The `models` section and `models.yaml`, by name.
    entries: HashMap<Arc<str>, Entry>,
    /// Configured names that somebody may serve, in the order of the file.
    order: Vec<Arc<str>>,
    /// Of names, in the lists of credentials: the longest first.
    beginnings: Vec<Box<str>>,
    /// Names that stand for others.
    pub(super) meanings: Meanings,
    strategy: Strategy,
    has_section: bool,
    version: u64,
}

/// What one credential lists.
#[derive(Clone)]
struct Listing {
    tier: u16,
    weight: i64,
    /// It has a list of its own,
    has_list: bool,
    /// and this is it: name here -> name there.
    list: HashMap<Arc<str>, Arc<str>>,
    /// Beginnings of names in it.
    patterns: Vec<Pattern>,
    /// Sorted.
    learned: Option<Vec<Arc<str>>>,
}

#[derive(Clone, Default)]
struct Entry {
    everybody: bool,
    /// It is written out in the list of a credential.
    listed: bool,
    credentials: Vec<usize>,
    /// For one credential, or for those that have none of their own.
    limits: Vec<(Option<usize>, Limits)>,
    /// The same of what it can do.
    abilities: Vec<(Option<usize>, Abilities)>,
    fallbacks: Arc<[Arc<str>]>,
    strategy: Option<Strategy>,
}

/// A credential that serves a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) credential: usize,
    pub(super) tier: u16,
    pub(super) weight: i64,
    /// The name there.
    pub(super) upstream: Arc<str>,
    /// What the model can do there.
    pub(super) abilities: Abilities,
}

impl Catalog {
    /// What the configuration says; nothing is learned yet.
    pub(super) fn new(blueprint: &Blueprint) -> Self {
        let credentials = blueprint.credentials.iter().map(|spec| {
            let (mut list, mut patterns) = (HashMap::new(), Vec::new());
            for (here, there) in spec.models.iter().flatten() {
                match Pattern::read(here, there) {
                    Some(pattern) => patterns.push(pattern),
                    None => drop(list.insert(Arc::from(&**here), Arc::from(&**there))),
                }
            }
            let weight = i64::from(spec.weight.max(1));
            let has_list = spec.models.is_some();
            Listing { tier: spec.tier, weight, has_list, list, patterns, learned: None }
        });
        let mut catalog = Self {
            binding: blueprint.binding,
            credentials: credentials.collect(),
            entries: HashMap::new(),
            order: Vec::new(),
            beginnings: Vec::new(),
            meanings: Meanings::new(blueprint),
            strategy: blueprint.strategy,
            has_section: false,
            version: 0,
        };
        catalog.enter(blueprint);
        catalog
    }

    /// Counts the changes of lists.
    pub(super) fn version(&self) -> u64 {
        self.version
    }

    /// Who serves `name`: tier by tier, in each those first whose learned list has it, then as in the file. No name =
    /// everybody.
    pub(super) fn candidates(&self, name: Option<&Arc<str>>) -> Vec<Candidate> {
        let listings = self.credentials.iter().enumerate();
        let mut found: Vec<(bool, Candidate)> = listings
            .filter_map(|(credential, listing)| {
                let upstream = match name {
                    Some(name) => self.upstream_name(credential, name)?,
                    None => Arc::default(),
                };
                let unsure =
                    name.is_some_and(|name| !listing.has_learned(&upstream) && !listing.has_learned(name));
                let abilities = self.abilities(credential, name.map_or("", |name| name));
                let Listing { tier, weight, .. } = *listing;
                Some((unsure, Candidate { credential, tier, weight, upstream, abilities }))
            })
            .collect();
        found.sort_by_key(|(unsure, candidate)| (candidate.tier, *unsure));
        found.into_iter().map(|(_, candidate)| candidate).collect()
    }

    /// Why `credential` is no candidate for `name`; none if it is one.
    pub(super) fn objection(&self, credential: usize, name: &Arc<str>) -> Option<&'static str> {
        let listing = self.credentials.get(credential)?;
        match self.upstream_name(credential, name) {
            Some(_) => None,
            None if listing.has_list => Some("its own list does not have this model"),
            None => Some("no entry gives it this model"),
        }
    }

    /// Whether any credential serves `name`.
    pub(super) fn is_served(&self, name: &Arc<str>) -> bool {
        (0..self.credentials.len()).any(|credential| self.upstream_name(credential, name).is_some())
    }

    /// The limits of `name` on `credential`: an entry for both, else one for the name.
    pub(super) fn limits(&self, credential: usize, name: &str) -> Limits {
        let Some(entry) = self.entries.get(name) else { return Limits::default() };
        said(&entry.limits, credential).cloned().unwrap_or_default()
    }

    /// What `name` can do on `credential`: by an entry for both, else one for the name.
    fn abilities(&self, credential: usize, name: &str) -> Abilities {
        let entry = self.entries.get(name);
        entry.and_then(|entry| said(&entry.abilities, credential)).copied().unwrap_or_else(Abilities::assumed)
    }

    /// The models to try after `name`.
    pub(super) fn fallbacks(&self, name: &str) -> Arc<[Arc<str>]> {
        self.entries.get(name).map(|entry| entry.fallbacks.clone()).unwrap_or_default()
    }

    /// Who of several equals serves `name`.
    pub(super) fn strategy(&self, name: &str) -> Strategy {
        self.entries.get(name).and_then(|entry| entry.strategy).unwrap_or(self.strategy)
    }

    /// Whether the configuration says anything about `name`.
    pub(super) fn is_configured(&self, name: &str) -> bool {
        self.entries.contains_key(name)
    }

    /// Names that the configuration says anything about, in its order.
    pub(super) fn configured(&self) -> &[Arc<str>] {
        &self.order
    }

    /// Replaces what was learned about `credential`. An empty list means that nothing is known.
    pub(super) fn learn(catalog: &mut Arc<Self>, credential: usize, models: Vec<String>) {
        let names: BTreeSet<String> = models.into_iter().take(MOST_LEARNED).collect();
        let learned: Vec<Arc<str>> = names.into_iter().map(Arc::from).collect();
        let learned = (!learned.is_empty()).then_some(learned);
        if catalog.credentials.get(credential).is_some_and(|listing| listing.learned != learned) {
            let catalog = Arc::make_mut(catalog);
            catalog.version += 1;
            catalog.credentials[credential].learned = learned;
        }
    }

    /// What was learned about `credential`, if anything was.
    pub(super) fn learned(&self, credential: usize) -> Option<&[Arc<str>]> {
        self.credentials.get(credential)?.learned.as_deref()
    }

    /// All models that somebody serves: configured ones in the order of the file, names that stand for others, then
    /// learned ones by name. With `among` only what one of these credentials serves.
    pub(super) fn listed(&self, among: Option<&[bool]>) -> Vec<Listed> {
        let counts = |credential: usize| among.is_none_or(|among| among.get(credential) == Some(&true));
        let served = |name: &Arc<str>| {
            let mut all = 0..self.credentials.len();
            all.any(|credential| counts(credential) && self.upstream_name(credential, name).is_some())
        };
        let configured = self.order.iter().filter(|name| served(name)).chain(self.stand_ins(served));
        let mut seen: HashSet<&str> = HashSet::new();
        let mut listed = Vec::new();
        for name in configured {
            seen.insert(name);
            listed.push(Listed { name: name.to_string(), configured: true });
        }
        let learned: BTreeSet<Arc<str>> = (0..self.credentials.len())
            .filter(|at| counts(*at))
            .flat_map(|at| self.learned_here(at))
            .collect();
        // A learned name is listed only where asking for it would not be refused.
        let more = learned.iter().filter(|name| !seen.contains(&***name) && served(name));
        listed.extend(more.map(|name| Listed { name: name.to_string(), configured: false }));
        listed
    }

    /// What was learned of a credential, as it is asked for here.
    fn learned_here(&self, credential: usize) -> Vec<Arc<str>> {
        let Some(listing) = self.credentials.get(credential) else { return Vec::new() };
        let learned = listing.learned.iter().flatten();
        match (listing.has_list, self.binding) {
            (true, _) => {
                learned.flat_map(|there| listing.patterns.iter().filter_map(|p| p.here(there))).collect()
            }
            (false, Binding::Models) => Vec::new(),
            (false, _) => learned.cloned().collect(),
        }
    }

    fn upstream_name(&self, credential: usize, name: &Arc<str>) -> Option<Arc<str>> {
        let listing = self.credentials.get(credential)?;
        if let Some(there) = listing.list.get(name) {
            return Some(there.clone());
        }
        let entry = self.entries.get(name);
        let named = entry.is_some_and(|entry| entry.credentials.contains(&credential));
        let serves = match (self.binding, listing.has_list) {
            (_, true) => named,
            (Binding::Open, _) => true,
            (Binding::Models, _) => named || entry.is_some_and(|entry| entry.everybody),
            (Binding::Learned, _) => {
                let entered = named || entry.is_some_and(|entry| entry.everybody);
                entered || listing.learned.as_ref().map_or(!self.has_section, |_| listing.has_learned(name))
            }
        };
        if serves {
            return Some(name.clone());
        }
        if listing.patterns.is_empty() {
            return None;
        }
        let longest = self.pattern(name)?;
        listing.patterns.iter().find(|pattern| pattern.beginning() == longest)?.there(name)
    }

    /// The longest beginning of `name` that a list has, unless the name itself is given to somebody.
    fn pattern(&self, name: &str) -> Option<&str> {
        let given = |entry: &Entry| entry.listed || !entry.credentials.is_empty();
        if self.entries.get(name).is_some_and(given) {
            return None;
        }
        self.beginnings.iter().map(|beginning| &**beginning).find(|beginning| name.starts_with(beginning))
    }

    fn enter(&mut self, blueprint: &Blueprint) {
        for spec in blueprint.models.iter().filter(|spec| spec.models.is_empty()) {
            let name: Arc<str> = spec.name.as_str().into();
            let entry = self.entries.entry(name.clone()).or_insert_with(|| {
                self.order.push(name);
                Entry::default()
            });
            let limits = Limits { rpm: spec.rpm, tpm: spec.tpm, more: spec.quotas.as_slice().into() };
            entry.limits.push((spec.credential, limits));
            entry.abilities.extend(spec.abilities.map(|abilities| (spec.credential, abilities)));
            entry.strategy = entry.strategy.or(spec.strategy);
            if entry.fallbacks.is_empty() {
                entry.fallbacks = chain(&spec.name, &spec.fallbacks);
            }
            if !spec.limits_only {
                self.has_section = true;
                match spec.credential {
                    Some(credential) => entry.credentials.push(credential),
                    None => entry.everybody = true,
                }
            }
        }
        let lists = blueprint.credentials.iter().filter_map(|spec| spec.models.as_ref()).flatten();
        for (here, there) in lists {
            if let Some(pattern) = Pattern::read(here, there) {
                self.beginnings.push(pattern.beginning().into());
                continue;
            }
            let name: Arc<str> = here.as_str().into();
            let entry = self.entries.entry(name.clone()).or_insert_with(|| {
                self.order.push(name);
                Entry::default()
            });
            entry.listed = true;
        }
        self.beginnings.sort_by_cached_key(|beginning| (Reverse(beginning.len()), beginning.clone()));
        self.beginnings.dedup();
    }
}

impl Listing {
    fn has_learned(&self, name: &Arc<str>) -> bool {
        self.learned.as_ref().is_some_and(|learned| learned.binary_search(name).is_ok())
    }
}

/// What was said for `credential`, else for all.
fn said<T>(of: &[(Option<usize>, T)], credential: usize) -> Option<&T> {
    let exact = of.iter().find(|(whose, _)| *whose == Some(credential));
    exact.or_else(|| of.iter().find(|(whose, _)| whose.is_none())).map(|(_, value)| value)
}

/// The names among `known` that look like `model`. `known` is what is listed.
pub(super) fn unknown(model: &str, known: &[Listed]) -> UnknownModel {
    let asked = model.to_lowercase();
    let short: String = asked.chars().take(128).collect();
    let compared = known.iter().take(MOST_COMPARED);
    let mut near: Vec<(f64, &str)> = compared
        .map(|listed| (likeness(&short, &listed.name.to_lowercase()), listed.name.as_str()))
        .filter(|(likeness, _)| *likeness >= NEAR)
        .collect();
    near.sort_by(|a, b| b.0.total_cmp(&a.0));
    let nearest = near.into_iter().take(NEAREST).map(|(_, name)| name.to_owned()).collect();
    UnknownModel { model: model.to_owned(), nearest }
}

/// 0 to 1. The part behind the last slash counts as well as the whole, so that a vendor's prefix hides nothing.
fn likeness(asked: &str, known: &str) -> f64 {
    let tail = |name: &str| name.rsplit('/').next().unwrap_or_default().to_owned();
    let whole = strsim::normalized_damerau_levenshtein(asked, known);
    whole.max(strsim::normalized_damerau_levenshtein(&tail(asked), &tail(known)))
}

fn suggestion(nearest: &[String]) -> String {
    match nearest {
        [] => String::new(),
        names => format!("; the nearest are {}", names.join(", ")),
    }
}

/// Each fallback once, and never the model itself.
fn chain(model: &str, fallbacks: &[String]) -> Arc<[Arc<str>]> {
    let mut seen = HashSet::from([model]);
    fallbacks.iter().filter(|name| seen.insert(name)).map(|name| Arc::from(name.as_str())).collect()
}

#[cfg(test)]
mod tests;
