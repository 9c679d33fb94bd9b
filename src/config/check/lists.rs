//! Names that stand for others: aliases, and lists of models.
//!
//! They lead to models and never to each other, but that an alias may name a list: what a name means is then seen at one
//! look, and nothing can go round in a circle.

use std::collections::{BTreeMap, HashSet};

use super::models::Around;
use super::Check;
use crate::config::file;
use crate::config::problem::Fault;
use crate::config::settings::Strategy;
use crate::config::suggest::nearest;
use crate::routing::pattern::REST;

/// The name that means any that nobody serves.
const ANY: &str = "*";
const LIMITS: &str = "the limits of the models in the list hold";
/// Keys that belong to models and not to a list of them.
const OF_MODELS: [(&str, &str); 10] = [
    ("credential", "say it of the models in the list"),
    ("rpm", LIMITS),
    ("tpm", LIMITS),
    ("rpd", LIMITS),
    ("tpd", LIMITS),
    ("requests", LIMITS),
    ("tokens", LIMITS),
    ("time_zone", LIMITS),
    ("fallbacks", "put them at the end of `models`"),
    ("capabilities", "say it of the models in the list"),
];

/// The names that a file knows.
pub(super) struct Names<'f> {
    /// Of models.
    models: HashSet<&'f str>,
    /// What other models' names begin with.
    beginnings: Vec<&'f str>,
    /// Of lists.
    lists: HashSet<&'f str>,
    /// Whether there may be others.
    open: bool,
}

impl<'f> Names<'f> {
    /// Those of these entries, and of credentials.
    pub(super) fn new(files: &'f [file::Model], around: &'f Around) -> Self {
        let own = around.credentials.iter().filter_map(|credential| credential.models.as_ref()).flatten();
        let own = own.map(|(here, _)| here.as_str());
        let beginnings = own.clone().filter_map(|here| here.strip_suffix(REST)).collect();
        let named = |list: bool| {
            let files = files.iter().filter(move |file| file.models.is_empty() != list);
            files.filter_map(|file| file.name.as_deref())
        };
        let models: HashSet<&str> = named(false).chain(own.filter(|here| !here.ends_with(REST))).collect();
        let open = around.learns || named(false).next().is_none();
        Self { models, beginnings, lists: named(true).collect(), open }
    }

    /// Whether `name` may be a model.
    fn may_be_model(&self, name: &str) -> bool {
        let fits = || self.beginnings.iter().any(|beginning| name.starts_with(beginning));
        self.models.contains(name) || (self.open || fits()) && !self.lists.contains(name)
    }

    /// What is wrong with naming `name`, which is `shown`, as a model; `what` says where.
    pub(super) fn objection(&self, what: &str, name: &str, shown: &str) -> Option<Fault> {
        if self.may_be_model(name) {
            return None;
        }
        if self.lists.contains(name) {
            let fault = Fault::new(format!("{what} {shown} is a list of models itself"));
            return Some(fault.help("name the models"));
        }
        let fault = Fault::new(format!("{what} {shown} is not in `models`, so nobody serves it"));
        let meant = nearest(name, self.models.iter().copied());
        Some(fault.help(meant.map_or("list it there".to_owned(), |meant| format!("did you mean `{meant}`?"))))
    }
}

impl Check<'_, '_> {
    /// The entries that are lists.
    pub(super) fn lists(&mut self, files: &[file::Model], names: &Names, around: &Around) {
        for (index, file) in files.iter().enumerate() {
            let path = format!("models[{index}]");
            if file.models.is_empty() {
                if file.name.as_deref() == Some(ANY) {
                    let fault =
                        Fault::new("`*` stands for every name that nobody serves, and needs `models`");
                    self.error(&format!("{path}.name"), fault.help("name the models that are to answer"));
                }
                continue;
            }
            self.list(&path, file, names);
            let narrow =
                !around.credentials.is_empty() && around.credentials.iter().all(|c| c.models.is_some());
            if file.name.as_deref() == Some(ANY) && names.open && !around.learns && !narrow {
                let fault = Fault::new("every name is served already, so nothing is left for `*`");
                self.warn(&format!("{path}.name"), fault.help("list the models that are served in `models`"));
            }
        }
    }

    fn list(&mut self, path: &str, file: &file::Model, names: &Names) {
        for (key, help) in OF_MODELS {
            let at = format!("{path}.{key}");
            if self.places.has(&at) {
                self.error(&at, Fault::new(format!("a list of models has no `{key}`")).help(help));
            }
        }
        if file.strategy.is_some_and(|strategy| !matches!(strategy, Strategy::Even | Strategy::Priority)) {
            let fault = Fault::new("a list is asked in its order, or evenly");
            let help = "write `priority` or `even`; the models in it may have strategies of their own";
            self.error(&format!("{path}.strategy"), fault.help(help));
        }
        let mut seen = HashSet::new();
        for (at, model) in file.models.iter().enumerate() {
            let item = format!("{path}.models[{at}]");
            let shown = self.places.written(&item);
            let twice = || Fault::new(format!("the model {shown} is listed twice")).help("remove one");
            let fault =
                if seen.insert(model) { names.objection("the model", model, &shown) } else { Some(twice()) };
            fault.into_iter().for_each(|fault| self.error(&item, fault));
        }
    }

    /// Other names of models.
    pub(super) fn aliases(&mut self, aliases: &BTreeMap<String, String>, names: &Names) {
        for (alias, model) in aliases {
            let path = format!("model_aliases.{alias}");
            let shown = self.places.written(&path);
            let fault = if alias.trim().is_empty() || alias == ANY {
                Some(Fault::new(format!("`{alias}` cannot be another name of a model")).help("write a name"))
            } else if alias == model {
                Some(Fault::new(format!("the alias {shown} stands for itself")).help("remove it"))
            } else if names.models.contains(&**alias) || names.lists.contains(&**alias) {
                let fault = Fault::new(format!("`{alias}` is a model of its own, and an alias besides"));
                Some(fault.help("remove one of the two"))
            } else if aliases.contains_key(model) {
                let fault = Fault::new(format!("the alias `{alias}` stands for {shown}, an alias itself"));
                Some(fault.help("name the model that is meant in the end"))
            } else if names.lists.contains(&**model) && model != ANY {
                None
            } else {
                names.objection("the model", model, &shown)
            };
            fault.into_iter().for_each(|fault| self.error(&path, fault));
        }
    }
}
