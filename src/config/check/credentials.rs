//! Credentials: what each type needs, names that are unique, addresses, keys, tiers.

use std::collections::{BTreeMap, HashMap};

use http::header::{HeaderName, HeaderValue};
use url::Url;

use super::quotas::Limited;
use super::Check;
use crate::calendar::Zone;
use crate::config::file::{self, NameOrAlias, Names};
use crate::config::problem::Fault;
use crate::config::quantity::Limit;
use crate::config::secret_text::SecretText;
use crate::config::settings::{Credential, Kind, Server};
use crate::names::CredentialName;
use crate::providers::{vertex, Home, KeyNeed};
use crate::routing::pattern::REST;
use crate::secret::Secret;

/// Headers that belong to the connection or to the attempt, never to the file.
const OWN_HEADERS: [&str; 8] =
    ["host", "content-length", "connection", "transfer-encoding", "te", "trailer", "upgrade", "expect"];

impl Check<'_, '_> {
    /// The credentials that are whole. Each problem is reported; a credential that lacks its name or address is left out.
    pub(super) fn credentials(
        &mut self,
        files: Vec<file::Credential>,
        server: &Server,
        zone: &Zone,
    ) -> Vec<Credential> {
        let mut names = HashMap::new();
        let checked = files.into_iter().enumerate().filter_map(|(index, file)| {
            let path = format!("credentials[{index}]");
            if let Some(first) = file.name.clone().and_then(|name| names.insert(name, index)) {
                let message = format!("the name {} is taken", self.places.written(&format!("{path}.name")));
                let fault =
                    Fault::new(message).help(format!("credentials[{first}] has it; names must be unique"));
                self.error(&format!("{path}.name"), fault);
            }
            self.credential(&path, file, server, zone)
        });
        checked.collect()
    }

    fn credential(
        &mut self,
        path: &str,
        file: file::Credential,
        server: &Server,
        zone: &Zone,
    ) -> Option<Credential> {
        let at = |key: &str| format!("{path}.{key}");
        let name = self.name(&at("name"), file.name.as_deref());
        self.strange_keys(path, file.r#type);
        self.api_key(path, &file);
        let vertex = self.vertex(path, &file);
        let api_version = self.api_version(path, &file);
        let base_url = self.address(path, &file, server);
        let addresses = self.addresses(&at("addresses"), &file.addresses, base_url.as_ref());
        if file.is_fallback && self.places.has(&at("priority")) {
            let fault =
                Fault::new("`priority` says nothing beside `is_fallback: true`, which is the last tier");
            self.warn(&at("priority"), fault.help("keep one of them"));
        }
        let (rpm, tpm) = (self.limit(&at("rpm"), file.rpm), self.tokens(&at("tpm"), file.tpm));
        let minute = Limited { rpm, tpm, ..Limited::default() };
        let Limited { rpm, tpm, quotas } = self.quotas(path, &file.quotas, minute, zone);
        let max_concurrent = self.count(&at("max_concurrent"), file.max_concurrent);
        let connect_timeout = self.finite(&at("connect_timeout"), file.connect_timeout);
        let headers = self.headers(&at("headers"), file.headers);
        let models = file.models.map(|names| self.names(&at("models"), names));
        let tls = self.upstream_tls(path, &file.tls);
        Some(Credential {
            name: name?,
            base_url: base_url?,
            addresses,
            kind: file.r#type,
            // The others of a list are given to its copies.
            api_key: file.api_key.and_then(|keys| keys.each().first().map(|(_, key)| (*key).clone())),
            rpm,
            tpm,
            quotas,
            weight: file.weight,
            tier: if file.is_fallback { u16::MAX } else { file.priority },
            is_fallback: file.is_fallback,
            models,
            max_concurrent,
            connect_timeout,
            headers,
            http2: file.http2,
            tls,
            inline_images: file.inline_images,
            api_version,
            vertex,
        })
    }

    fn name(&mut self, path: &str, name: Option<&str>) -> Option<CredentialName> {
        CredentialName::new(name?).map_err(|bad| self.error(path, Fault::new(format!("`name`: {bad}")))).ok()
    }

    /// Tokens per minute, where the original program takes 0 for no limit.
    pub(super) fn tokens(&mut self, path: &str, limit: Limit) -> Option<u64> {
        if limit.0 == Some(0) {
            self.warn(path, Fault::new("`tpm: 0` is taken for no limit").help("write `-1`, which says so"));
        }
        limit.0.filter(|tokens| *tokens > 0)
    }

    fn api_key(&mut self, path: &str, file: &file::Credential) {
        let at = format!("{path}.api_key");
        match (&file.api_key, file.r#type.provider().key) {
            (Some(keys), _) => {
                keys.each().iter().for_each(|(item, key)| self.key(&format!("{at}{item}"), key))
            }
            (None, KeyNeed::Required) if !self.places.has(&at) => self.lacking(
                path,
                "api_key",
                file.r#type,
                "write `api_key: os.environ/NAME`, so that the key is not in the file",
            ),
            (None, _) => {}
        }
    }

    /// A key without which a credential of this type is nothing.
    pub(super) fn lacking(&mut self, path: &str, key: &str, kind: Kind, help: &str) {
        let fault = Fault::new(format!(
            "the key `{key}` is missing, which a credential of type `{}` needs",
            kind.as_str()
        ));
        self.error(&format!("{path}.{key}"), fault.help(help));
    }

    fn address(&mut self, path: &str, file: &file::Credential, server: &Server) -> Option<Url> {
        let at = format!("{path}.base_url");
        match (&file.base_url, file.r#type.provider().home) {
            (Some(text), _) => self.base_url(&at, text, server),
            (None, _) if self.places.has(&at) => None,
            (None, Home::At(home)) => Url::parse(home).ok(),
            (None, Home::OfLocation) => {
                let location = file.location.as_deref().filter(|_| file.api_key.is_none());
                Url::parse(&vertex::home(location)?).ok()
            }
            (None, Home::Unknown(usual)) => {
                self.lacking(path, "base_url", file.r#type, usual);
                None
            }
        }
    }

    pub(super) fn headers(
        &mut self,
        path: &str,
        written: BTreeMap<String, SecretText>,
    ) -> Vec<(String, Secret)> {
        let checked = written.into_iter().filter_map(|(name, SecretText(value))| {
            let at = format!("{path}.{name}");
            let Ok(header) = HeaderName::from_bytes(name.as_bytes()) else {
                self.error(
                    &at,
                    Fault::new("this is not the name of a header").help("letters, digits and `-`"),
                );
                return None;
            };
            if OWN_HEADERS.contains(&header.as_str()) {
                self.error(
                    &at,
                    Fault::new(format!("the header `{header}` is set by the router itself"))
                        .help("remove it"),
                );
            }
            if HeaderValue::from_str(value.expose()).is_err() {
                self.error(
                    &at,
                    Fault::new("the value holds a line break or another character that no header can carry"),
                );
            }
            Some((header.as_str().to_owned(), value))
        });
        checked.collect()
    }

    fn names(&mut self, path: &str, names: Names) -> Vec<(String, String)> {
        let entries = match names {
            Names::Map(map) => vec![NameOrAlias::Alias(map)],
            Names::List(list) => list,
        };
        let mut pairs: Vec<(String, String)> = Vec::new();
        for entry in entries {
            let found = match entry {
                NameOrAlias::Name(name) => vec![(name.clone(), name)],
                NameOrAlias::Alias(map) => map.into_iter().collect(),
            };
            for (here, there) in found {
                if pairs.iter().any(|(known, _)| *known == here) {
                    let fault = Fault::new("a model is listed twice here")
                        .help("a name here leads to one name there");
                    self.error(path, fault);
                }
                misplaced(&here, &there).into_iter().for_each(|fault| self.error(path, fault));
                pairs.push((here, there));
            }
        }
        pairs
    }
}

/// What is wrong with a `*` in a pair of names.
fn misplaced(here: &str, there: &str) -> Option<Fault> {
    let inside = |name: &&str| name.strip_suffix(REST).unwrap_or(name).contains(REST);
    if let Some(name) = [here, there].iter().find(|name| inside(name)) {
        let fault = Fault::new(format!("`*` in `{name}` is not at the end of the name"));
        return Some(
            fault.help("`openai/*` is every name that begins so; `openai/*: \"*\"` drops that beginning"),
        );
    }
    let lone = there.ends_with(REST) && !here.ends_with(REST);
    let fault = || Fault::new(format!("`*` there has nothing to stand for: `{here}` has none"));
    lone.then(|| fault().help("write it at the end of both names"))
}
