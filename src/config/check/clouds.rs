//! The keys that only one type of credential has: Azure's version, Google's project and account.

use super::Check;
use crate::config::file;
use crate::config::problem::Fault;
use crate::config::secret_text::SecretText;
use crate::config::settings::{Kind, Vertex};
use crate::providers::{azure, service_account, vertex, PROVIDERS};
use crate::secret::Secret;

impl Check<'_, '_> {
    /// Keys of other types, which say nothing here.
    pub(super) fn strange_keys(&mut self, path: &str, kind: Kind) {
        for provider in PROVIDERS.iter().filter(|provider| provider.kind != kind) {
            for key in provider.own_keys.iter().map(|key| format!("{path}.{key}")) {
                if self.places.has(&key) {
                    let told =
                        format!("this key is for `type: {}` only, and is not used here", provider.name);
                    self.warn(&key, Fault::new(told));
                }
            }
        }
    }

    /// The version that an Azure address needs in each request.
    pub(super) fn api_version(&mut self, path: &str, file: &file::Credential) -> Option<String> {
        if file.r#type != Kind::Azure {
            return None;
        }
        let at = format!("{path}.api_version");
        let newer = file.base_url.as_ref()?.trim_end_matches('/').ends_with("/v1");
        match &file.api_version {
            None => (!newer).then(|| azure::NEWEST_VERSION.to_owned()),
            Some(version) if !version.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') => {
                let fault = Fault::new("`api_version` is no version of Azure's");
                self.error(
                    &at,
                    fault.help(format!("a version is a date, such as `{}`", azure::NEWEST_VERSION)),
                );
                None
            }
            Some(version) if newer && azure::is_dated(version) => {
                let fault = Fault::new("`api_version` is a date, and `base_url` is of the API that has none");
                self.error(&at, fault.help("remove it, or end `base_url` before `/openai/v1`"));
                None
            }
            Some(version) => Some(version.clone()),
        }
    }

    /// Project, location and account of a Vertex credential; none for one with an API key.
    pub(super) fn vertex(&mut self, path: &str, file: &file::Credential) -> Option<Vertex> {
        if file.r#type != Kind::VertexAi {
            return None;
        }
        if file.api_key.is_some() {
            self.beside_a_key(path);
            return None;
        }
        let service_account = self.service_account(path, file);
        for (key, value) in [("project_id", &file.project_id), ("location", &file.location)] {
            if value.is_none() && !self.places.has(&format!("{path}.{key}")) {
                let help = "the Google Cloud console shows it; a location may be `global`";
                self.lacking(path, key, Kind::VertexAi, help);
            }
        }
        let location = file.location.clone()?;
        if vertex::home(Some(&location)).is_none() {
            self.error(
                &format!("{path}.location"),
                Fault::new("this is no location").help("write `global` or `us-central1`"),
            );
        }
        Some(Vertex { project_id: file.project_id.clone()?, location, service_account: service_account? })
    }

    /// An API key of Vertex knows its project, and is good at the global address only.
    fn beside_a_key(&mut self, path: &str) {
        for key in ["credentials_file", "credentials_json"] {
            let at = format!("{path}.{key}");
            if self.places.has(&at) {
                let told = format!("`api_key` and `{key}` are two ways to sign in");
                self.error(&at, Fault::new(told).help("keep one of them"));
            }
        }
        for key in ["project_id", "location"] {
            let at = format!("{path}.{key}");
            if self.places.has(&at) {
                let told = format!("`{key}` says nothing beside `api_key`, which knows its project itself");
                let help = "remove it, or sign in by `credentials_file`";
                self.warn(&at, Fault::new(told).help(help));
            }
        }
    }

    fn service_account(&mut self, path: &str, file: &file::Credential) -> Option<Secret> {
        let (file_at, json_at) = (format!("{path}.credentials_file"), format!("{path}.credentials_json"));
        let (at, json) = match (&file.credentials_json, &file.credentials_file) {
            (Some(_), Some(_)) => {
                let told = "`credentials_file` and `credentials_json` are two sources of one account";
                self.error(&file_at, Fault::new(told).help("keep one of them"));
                return None;
            }
            (Some(SecretText(json)), None) => (json_at, json.clone()),
            (None, Some(name)) => match self.outside.file(name) {
                Ok(json) => (file_at, Secret::new(json)),
                Err(unresolved) => {
                    self.error(&file_at, Fault::new(format!("`credentials_file`: {unresolved}")));
                    return None;
                }
            },
            (None, None) => {
                let keys = ["api_key", "credentials_file", "credentials_json"];
                if !keys.iter().any(|key| self.places.has(&format!("{path}.{key}"))) {
                    let help = "name the file of a service account, or give `credentials_json` or `api_key`";
                    self.lacking(path, "credentials_file", Kind::VertexAi, help);
                }
                return None;
            }
        };
        if let Some(fault) = service_account::fault(json.expose()) {
            let name = at.rsplit('.').next().unwrap_or_default();
            let told = format!("`{name}` holds no service account that can sign in: {fault}");
            self.warn(
                &at,
                Fault::new(told).help("download its JSON key; until then the credential gets no requests"),
            );
        }
        Some(json)
    }
}
