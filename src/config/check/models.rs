//! Models: who serves them, their limits, and what stands in for them.
//!
//! `models.yaml` gives limits only. Where the configuration lists the same model, its entry fills what the listing left
//! open; where it does not, the entry limits a model that others discover.

use std::collections::{BTreeMap, HashSet};

use super::lists::Names;
use super::quotas::{silently, Limited};
use super::Check;
use crate::calendar::Zone;
use crate::config::file::{self, ModelLimit, ModelsFile};
use crate::config::problem::Fault;
use crate::config::quantity::Limit;
use crate::config::settings::{Credential, Model};
use crate::config::suggest::nearest;
use crate::names::CredentialName;
use crate::routing::pattern::REST;

/// What a model is checked against.
pub(super) struct Around<'c> {
    /// Every name of a credential in the file, those of broken ones included.
    pub names: &'c [String],
    /// The credentials that are whole.
    pub credentials: &'c [Credential],
    /// For models without `rpm`.
    pub default_rpm: Option<u64>,
    /// In which days begin where nothing else is said.
    pub zone: &'c Zone,
    /// Whether lists that upstreams report bind: then any name may turn out to be served.
    pub learns: bool,
}

impl Check<'_, '_> {
    pub(super) fn models(
        &mut self,
        mut files: Vec<file::Model>,
        limits: ModelsFile,
        aliases: &BTreeMap<String, String>,
        around: Around,
    ) -> Vec<Model> {
        self.duplicates(&files);
        let names = Names::new(&files, &around);
        self.fallbacks(&files, &names);
        self.lists(&files, &names, &around);
        self.aliases(aliases, &names);
        let extra: Vec<ModelLimit> =
            limits.models.into_iter().filter(|limit| !fills(limit, &mut files)).collect();
        let listed =
            files.into_iter().enumerate().filter_map(|(index, file)| self.model(index, file, &around));
        let mut models: Vec<Model> = listed.collect();
        models.extend(extra.into_iter().filter_map(|limit| limit_only(limit, &around)));
        models
    }

    fn model(&mut self, index: usize, file: file::Model, around: &Around) -> Option<Model> {
        let path = format!("models[{index}]");
        self.known_credential(&path, file.credential.as_deref(), around.names);
        let rpm_at = format!("{path}.rpm");
        let rpm = match file.rpm {
            Some(limit) => self.limit(&rpm_at, limit),
            None => around.default_rpm,
        };
        let tpm = self.tokens(&format!("{path}.tpm"), file.tpm);
        let minute = Limited { rpm, tpm, ..Limited::default() };
        let Limited { rpm, tpm, quotas } = self.quotas(&path, &file.quotas, minute, around.zone);
        let name = file.name?;
        let credential = file.credential.as_deref().map(CredentialName::new).and_then(Result::ok);
        let served_by = around.credentials.iter().find(|known| credential.as_ref() == Some(&known.name));
        if let Some(served_by) = served_by {
            self.above(&rpm_at, "rpm", rpm, served_by.rpm);
            self.above(&format!("{path}.tpm"), "tpm", tpm, served_by.tpm);
            if served_by
                .models
                .as_ref()
                .is_some_and(|models| models.iter().all(|(here, _)| !names(here, &name)))
            {
                let fault =
                    Fault::new("the `models` of this credential do not name this model, so nobody serves it");
                self.warn(
                    &format!("{path}.credential"),
                    fault.help("add the name there, or remove that list"),
                );
            }
        }
        Some(Model {
            name,
            credential,
            rpm,
            tpm,
            quotas,
            fallbacks: file.fallbacks,
            models: file.models,
            strategy: file.strategy,
            capabilities: file.capabilities.map(|list| list.into_iter().collect()),
            limits_only: false,
        })
    }

    /// A limit of the pair that the credential's own limit makes pointless.
    fn above(&mut self, path: &str, key: &str, model: Option<u64>, credential: Option<u64>) {
        if let (Some(model), Some(credential), true) = (model, credential, self.places.has(path)) {
            if model > credential {
                let fault =
                    Fault::new(format!("this `{key}` is above the credential's own, which holds first"));
                self.warn(path, fault);
            }
        }
    }

    /// Reports a credential that does not exist.
    pub(super) fn known_credential(&mut self, path: &str, credential: Option<&str>, names: &[String]) {
        let Some(credential) = credential.filter(|wanted| names.iter().all(|name| name != wanted)) else {
            return;
        };
        let path = format!("{path}.credential");
        let fault = Fault::new(format!("there is no credential {}", self.places.written(&path)));
        let known = names.iter().map(String::as_str);
        self.error(
            &path,
            match nearest(credential, known.clone()) {
                Some(meant) => fault.help(format!("did you mean `{meant}`?")),
                None => fault.help(format!("there are: {}", known.collect::<Vec<_>>().join(", "))),
            },
        );
    }

    fn duplicates(&mut self, files: &[file::Model]) {
        let mut seen = HashSet::new();
        for (index, file) in files.iter().enumerate().filter(|(_, file)| file.name.is_some()) {
            if !seen.insert((&file.name, &file.credential)) {
                let path = format!("models[{index}].name");
                let message = format!(
                    "the model {} is listed twice for the same credential",
                    self.places.written(&path)
                );
                self.error(
                    &path,
                    Fault::new(message).help("one entry for each pair of model and credential"),
                );
            }
        }
    }

    /// Stand-ins must be other models, and ones that are served.
    fn fallbacks(&mut self, files: &[file::Model], names: &Names) {
        for (index, file) in files.iter().enumerate() {
            let path = format!("models[{index}].fallbacks");
            let mut seen = HashSet::new();
            for (at, fallback) in file.fallbacks.iter().enumerate() {
                let item = format!("{path}[{at}]");
                let shown = self.places.written(&item);
                if Some(fallback) == file.name.as_ref() {
                    self.error(
                        &item,
                        Fault::new(format!("the model {shown} is its own fallback")).help("remove it here"),
                    );
                } else if !seen.insert(fallback) {
                    self.error(
                        &item,
                        Fault::new(format!("the fallback {shown} is listed twice")).help("remove one"),
                    );
                } else if let Some(fault) = names.objection("the fallback", fallback, &shown) {
                    self.error(&item, fault);
                }
            }
        }
    }
}

/// Whether an entry of a credential's list means `name`.
fn names(entry: &str, name: &str) -> bool {
    entry == name || entry.strip_suffix(REST).is_some_and(|beginning| name.starts_with(beginning))
}

/// Fills what the listing of the same model left open; whether there was one.
fn fills(limit: &ModelLimit, files: &mut [file::Model]) -> bool {
    let mut found = false;
    for file in files.iter_mut().filter(|file| file.name == limit.name && limit.name.is_some()) {
        if limit.credential.is_some() && limit.credential != file.credential {
            continue;
        }
        found = true;
        // A wrong value is reported where it stands, not here again.
        file.rpm = file.rpm.or(limit.rpm.filter(|rpm| rpm.0 != Some(0)));
        file.tpm = Limit(file.tpm.0.or(limit.tpm.0));
        file.quotas = std::mem::take(&mut file.quotas).or(&limit.quotas);
    }
    found
}

fn limit_only(limit: ModelLimit, around: &Around) -> Option<Model> {
    let minute = Limited {
        rpm: limit.rpm.map_or(around.default_rpm, |rpm| rpm.0),
        tpm: limit.tpm.0.filter(|tokens| *tokens > 0),
        ..Limited::default()
    };
    let Limited { rpm, tpm, quotas } = silently(&limit.quotas, minute, around.zone);
    Some(Model {
        name: limit.name?,
        credential: limit.credential.as_deref().map(CredentialName::new).and_then(Result::ok),
        rpm,
        tpm,
        quotas,
        fallbacks: Vec::new(),
        models: Vec::new(),
        strategy: None,
        capabilities: None,
        limits_only: true,
    })
}
