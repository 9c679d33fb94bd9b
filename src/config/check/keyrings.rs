//! A credential with several keys is as many credentials: `name#1`, `name#2` and so on, each with its own limits, bans
//! and figures, and each with whatever `models` gives to `name`.

use std::collections::{HashMap, HashSet};

use super::Check;
use crate::config::file::{self, ApiKey};
use crate::config::problem::Fault;
use crate::config::settings::{Credential, Model};
use crate::names::CredentialName;
use crate::secret::Secret;

/// The keys of the credentials that have a list of them, and where that stands.
pub(super) type Keyrings = HashMap<String, (String, Vec<Secret>)>;

/// Those of a file.
pub(super) fn keyrings(files: &[file::Credential]) -> Keyrings {
    let many = files.iter().enumerate().filter_map(|(index, file)| match &file.api_key {
        Some(ApiKey::Many(keys)) => {
            let keys = keys.iter().map(|key| key.0.clone()).collect();
            Some((file.name.clone()?, (format!("credentials[{index}]"), keys)))
        }
        _ => None,
    });
    many.collect()
}

impl Check<'_, '_> {
    /// Credentials and models with one of each for each key.
    pub(super) fn one_for_each_key(
        &mut self,
        credentials: Vec<Credential>,
        models: Vec<Model>,
        rings: &Keyrings,
    ) -> (Vec<Credential>, Vec<Model>) {
        let names: HashSet<String> =
            credentials.iter().map(|credential| credential.name.as_str().to_owned()).collect();
        let mut expanded = Vec::with_capacity(credentials.len());
        for credential in credentials {
            let Some((path, keys)) = rings.get(credential.name.as_str()) else {
                expanded.push(credential);
                continue;
            };
            for (at, key) in keys.iter().enumerate() {
                if keys.iter().take(at).any(|other| other.matches(key.expose().as_bytes())) {
                    let fault = Fault::new("this key is in the list already");
                    self.error(
                        &format!("{path}.api_key[{at}]"),
                        fault.help("each key has its own limits; remove one"),
                    );
                }
                let Some(name) = self.member(path, &credential.name, at, &names) else { continue };
                expanded.push(Credential { name, api_key: Some(key.clone()), ..credential.clone() });
            }
        }
        let models = models.into_iter().flat_map(|model| {
            let ring =
                model.credential.as_ref().and_then(|name| Some((name, rings.get(name.as_str())?.1.len())));
            match ring {
                None => vec![model],
                Some((name, keys)) => {
                    let members = (0..keys).filter_map(|at| CredentialName::new(&named(name, at)).ok());
                    members.map(|member| Model { credential: Some(member), ..model.clone() }).collect()
                }
            }
        });
        (expanded, models.collect())
    }

    fn member(
        &mut self,
        path: &str,
        name: &CredentialName,
        at: usize,
        taken: &HashSet<String>,
    ) -> Option<CredentialName> {
        let member = named(name, at);
        if taken.contains(&member) {
            let fault = Fault::new(format!("its key number {} is called as another credential is", at + 1));
            self.error(&format!("{path}.name"), fault.help("give one of them another name"));
        }
        let bad =
            |bad| self.error(&format!("{path}.name"), Fault::new(format!("`name` with a number: {bad}")));
        CredentialName::new(&member).map_err(bad).ok()
    }
}

fn named(name: &CredentialName, at: usize) -> String {
    format!("{}#{}", name.as_str(), at + 1)
}
