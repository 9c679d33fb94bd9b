//! Who may ask: `client_keys`, the keys of the environment, and whether anybody may.
//!
//! A key stays a digest from here on: nothing that runs needs the key itself, since it goes to no upstream. Problems
//! name keys by their names, and a digest counts as a secret, too. Names of the variables: `AUTH_KEY` alone, or
//! numbered with two digits; gaps in the numbers mean nothing.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::SystemTime;

use http::header::{HeaderName, AUTHORIZATION};

use super::quotas::Limited;
use super::Check;
use crate::calendar::Zone;
use crate::clients::{Digest, MASTER, OPEN};
use crate::config::file;
use crate::config::interpolate::Unresolved;
use crate::config::problem::{Fault, Severity};
use crate::config::settings::ClientKey;
use crate::names::CredentialName;
use crate::routing::Limits;
use crate::secret::Secret;

const VARIABLE: &str = "AUTH_KEY";
/// The longest run of stars and letters that a pattern may be.
const MOST_PATTERN: usize = 256;

impl Check<'_, '_> {
    /// The keys of the file and, where the file wants them, of the environment.
    pub(super) fn client_keys(
        &mut self,
        files: Vec<file::ClientKey>,
        server: &file::Server,
        zone: &Zone,
        now: SystemTime,
    ) -> Vec<ClientKey> {
        let mut names: HashMap<String, usize> = HashMap::new();
        let mut digests: HashMap<Digest, String> = HashMap::new();
        if let Some(master) = server.master_key.as_ref().filter(|key| !key.0.is_empty()) {
            digests.insert(Digest::of(master.0.expose().as_bytes()), "the master key".into());
        }
        let mut keys = Vec::new();
        for (index, file) in files.into_iter().enumerate() {
            let path = format!("client_keys[{index}]");
            if let Some(first) = file.name.clone().and_then(|name| names.insert(name, index)) {
                let message = format!("the name {} is taken", self.places.written(&format!("{path}.name")));
                let help = format!("client_keys[{first}] has it; names must be unique");
                self.error(&format!("{path}.name"), Fault::new(message).help(help));
            }
            let Some(key) = self.client_key(&path, file, zone, now) else { continue };
            match digests.insert(key.digest, format!("`{}`", key.name)) {
                Some(owner) => {
                    let fault = Fault::new(format!("`{}` has the same key as {owner}", key.name));
                    self.error(&path, fault.help("every caller needs a key of its own"));
                }
                None => keys.push(key),
            }
        }
        if server.auth_keys_from_env {
            let fresh = |key: &ClientKey| {
                !names.contains_key(key.name.as_str()) && !digests.contains_key(&key.digest)
            };
            let found = self.keys_of_the_environment();
            let mut seen = HashMap::new();
            let once = found.into_iter().filter(|key| fresh(key) && seen.insert(key.digest, ()).is_none());
            keys.extend(once);
        }
        keys
    }

    fn client_key(
        &mut self,
        path: &str,
        file: file::ClientKey,
        zone: &Zone,
        now: SystemTime,
    ) -> Option<ClientKey> {
        let at = |key: &str| format!("{path}.{key}");
        let name = file.name.as_deref().and_then(|name| self.client_name(&at("name"), name));
        let known = self.digest(path, &file);
        let (rpm, tpm) = (self.limit(&at("rpm"), file.rpm), self.tokens(&at("tpm"), file.tpm));
        let minute = Limited { rpm, tpm, ..Limited::default() };
        let Limited { rpm, tpm, quotas } = self.quotas(path, &file.quotas, minute, zone);
        let max_concurrent = self.count(&at("max_concurrent"), file.max_concurrent);
        let models = file.models.map(|models| self.patterns(&at("models"), models));
        let expires = file.expires.and_then(|text| self.moment(&at("expires"), &text, now));
        let ((digest, hint), name) = (known?, name?);
        Some(ClientKey {
            name,
            digest,
            hint,
            models,
            limits: Limits { rpm, tpm, more: quotas.into() },
            max_concurrent,
            priority: file.priority,
            expires,
        })
    }

    fn client_name(&mut self, path: &str, name: &str) -> Option<CredentialName> {
        if [MASTER, OPEN].contains(&name) {
            let fault = Fault::new(format!("the name `{name}` belongs to the router"));
            self.error(path, fault.help("take another one"));
        }
        CredentialName::new(name).map_err(|bad| self.error(path, Fault::new(format!("`name`: {bad}")))).ok()
    }

    /// What the key is known by, and how it may be shown.
    fn digest(&mut self, path: &str, file: &file::ClientKey) -> Option<(Digest, String)> {
        let (key_at, hash_at) = (format!("{path}.key"), format!("{path}.key_sha256"));
        match (&file.key, &file.key_sha256) {
            (Some(_), Some(_)) => {
                let fault = Fault::new("`key` and `key_sha256` say the same thing twice");
                self.error(&hash_at, fault.help("keep one of them"));
                None
            }
            (Some(key), None) => {
                self.callers_key(&key_at, &key.0);
                Some(known_by(&key.0))
            }
            (None, Some(hash)) => {
                let digest = Digest::parse(hash.0.expose());
                if digest.is_none() {
                    let fault = Fault::new("`key_sha256` is no SHA-256 digest: 64 hexadecimal digits");
                    self.error(&hash_at, fault.help("`printf %s \"$KEY\" | sha256sum` prints it"));
                }
                digest.map(|digest| (digest, digest.hint()))
            }
            (None, None) => {
                if !self.places.has(&key_at) && !self.places.has(&hash_at) {
                    let fault = Fault::new("this client key has neither `key` nor `key_sha256`");
                    self.error(&key_at, fault.help("write `key: os.environ/NAME`, or the digest of the key"));
                }
                None
            }
        }
    }

    fn patterns(&mut self, path: &str, models: Vec<String>) -> Vec<String> {
        if models.is_empty() {
            let fault = Fault::new("an empty list allows no model at all");
            self.error(path, fault.help("name the models, or remove `models` to allow all of them"));
        }
        if let Some(bad) = models.iter().find(|model| model.is_empty() || model.len() > MOST_PATTERN) {
            let fault = Fault::new(format!("a name of {} bytes is no model", bad.len()));
            self.error(path, fault.help(format!("1 to {MOST_PATTERN} bytes")));
        }
        models
    }

    fn moment(&mut self, path: &str, text: &str, now: SystemTime) -> Option<SystemTime> {
        let text = text.trim();
        let day = text.len() == "2027-01-31".len();
        let whole = if day { format!("{text}T00:00:00Z") } else { text.to_owned() };
        let moment = humantime::parse_rfc3339(&whole).ok();
        if moment.is_none() {
            let fault = Fault::new("`expires` is no day and no moment");
            self.error(path, fault.help("write `2027-01-31`, or `2027-01-31T12:00:00Z` in UTC"));
        }
        if let Some(over) = moment.filter(|moment| *moment <= now) {
            let since = humantime::format_rfc3339_seconds(over);
            let fault = Fault::new(format!("this key is refused: it has expired at {since}"));
            self.warn(path, fault.help("remove the key, or write a later day"));
        }
        moment
    }

    fn keys_of_the_environment(&mut self) -> Vec<ClientKey> {
        let numbered = (1..=99).map(|number| format!("{VARIABLE}_{number:02}"));
        let mut keys = Vec::new();
        for variable in std::iter::once(VARIABLE.to_owned()).chain(numbered) {
            let Some(key) = (self.outside.env)(&variable).filter(|key| !key.is_empty()) else { continue };
            let key = Secret::new(key);
            self.callers_key(&format!("server.auth_keys_from_env.{variable}"), &key);
            let Ok(name) = CredentialName::new(&variable) else { continue };
            let (digest, hint) = known_by(&key);
            keys.push(ClientKey {
                name,
                digest,
                hint,
                models: None,
                limits: Limits::default(),
                max_concurrent: None,
                priority: Default::default(),
                expires: None,
            });
        }
        if keys.is_empty() {
            let unset = Unresolved::Unset(format!("{VARIABLE}`, `{VARIABLE}_01` to `{VARIABLE}_99"));
            self.warn("server.auth_keys_from_env", Fault::new(format!("{unset}: there are no such keys")));
        }
        keys
    }

    /// Whether somebody may ask at all, and whether everybody may.
    pub(super) fn callers(&mut self, server: &file::Server, keys: &[ClientKey]) {
        let path = "server.enable_auth";
        if server.enable_auth {
            // A reference that has no value was reported where it stands, and so was a file that is no map.
            let said = self.places.has("server.master_key") || self.places.has("client_keys");
            let read = self.places.has("server") || self.places.has("credentials");
            if keys.is_empty() && !said && read {
                let fault = Fault::new("the key `server.master_key` is missing");
                let help = "the key that callers present; `client_keys` can take its place";
                let place = self.places.span("server").or(Some(0..0));
                self.report.add(Severity::Error, place, "server.master_key", fault.help(help));
            }
            return;
        }
        if on_loopback(&server.host) {
            let fault = Fault::new("callers need no key: whoever reaches the router spends your money");
            self.warn(path, fault.help("for development only"));
        } else if server.allow_unauthenticated {
            let fault = Fault::new("callers need no key, and others than this host can reach the router");
            self.warn(
                path,
                fault.help("remove `allow_unauthenticated` unless something in front asks for keys"),
            );
        } else {
            let fault = Fault::new(
                "without keys the router serves this host only, and `server.host` is not on loopback",
            );
            let help = "set `server.host: 127.0.0.1`, or, where something in front asks for keys, \
                        `server.allow_unauthenticated: true` (without a file: ALLOW_UNAUTHENTICATED=true)";
            self.error(path, fault.help(help));
        }
    }

    pub(super) fn auth_header(&mut self, name: Option<&str>) -> Option<HeaderName> {
        const TAKEN: [&str; 9] = [
            "host",
            "connection",
            "content-length",
            "content-type",
            "transfer-encoding",
            "upgrade",
            "cookie",
            "expect",
            "accept",
        ];
        let path = "server.auth_header_name";
        let name = name?.trim();
        let header = HeaderName::from_bytes(name.as_bytes()).ok();
        let fits = header.filter(|header| !TAKEN.contains(&header.as_str()));
        if fits.is_none() {
            let fault = Fault::new("`auth_header_name` is no header that can hold a key");
            self.error(path, fault.help(format!("write a name such as `X-Api-Token` or `{AUTHORIZATION}`")));
        }
        fits
    }
}

fn known_by(key: &Secret) -> (Digest, String) {
    let digest = Digest::of(key.expose().as_bytes());
    (digest, digest.hint())
}

fn on_loopback(host: &str) -> bool {
    let host = host.trim_matches(['[', ']']);
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}
