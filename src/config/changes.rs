//! What differs between two configurations, in words for the log of a reload. Secrets are compared and never shown.

use std::collections::HashMap;
use std::fmt::Debug;

use super::{ClientKey, Credential, Model, Server, Settings, Shared};
use crate::secret::Secret;

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Such as `~ credentials.main.rpm 100 -> 200`, `+ credentials.spare`, `- models.gpt-4o`.
    pub text: String,
    /// It takes effect at the next start or upgrade only.
    pub needs_start: bool,
}

/// Everything that differs, in the order of the file.
pub fn changes(old: &Settings, new: &Settings) -> Vec<Change> {
    let mut found = Found(Vec::new());
    found.server(old, new);
    found.value("routing", &old.routing, &new.routing);
    found.value("fail2ban", &old.fail2ban, &new.fail2ban);
    found.monitoring(old, new);
    found.otlp(old, new);
    found.at_start("admin.listen", &old.admin.listen, &new.admin.listen);
    found.state(old, new);
    found.client_keys(&old.client_keys, &new.client_keys);
    found.value("images", &old.images, &new.images);
    found.credentials(&old.credentials, &new.credentials);
    found.models(&old.models, &new.models);
    found.value("model_aliases", &old.aliases, &new.aliases);
    found.0
}

struct Found(Vec<Change>);

impl Found {
    fn add(&mut self, text: String, needs_start: bool) {
        self.0.push(Change { text, needs_start });
    }

    fn value<T: PartialEq + Debug>(&mut self, path: &str, old: &T, new: &T) {
        if old != new {
            self.add(format!("~ {path} {} -> {}", shown(old), shown(new)), false);
        }
    }

    fn at_start<T: PartialEq + Debug>(&mut self, path: &str, old: &T, new: &T) {
        if old != new {
            self.add(format!("~ {path} {} -> {}", shown(old), shown(new)), true);
        }
    }

    fn secret(&mut self, path: &str, old: Option<&Secret>, new: Option<&Secret>) {
        if !same(old, new) {
            self.add(format!("~ {path} is another one"), false);
        }
    }

    fn server(&mut self, old: &Settings, new: &Settings) {
        let (old, new) = (&old.server, &new.server);
        self.at_start("server.host", &old.host, &new.host);
        self.at_start("server.port", &old.port, &new.port);
        self.at_start("server.threads", &old.threads, &new.threads);
        self.secret("server.master_key", old.master_key.as_ref(), new.master_key.as_ref());
        self.value("server.auth_header_name", &old.auth_header, &new.auth_header);
        self.value("server.enable_auth", &old.enable_auth, &new.enable_auth);
        self.value("server.max_body_size", &old.max_body_size, &new.max_body_size);
        self.value("server.body_timeout", &old.body_timeout, &new.body_timeout);
        self.value("server.header_timeout", &old.header_timeout, &new.header_timeout);
        self.value("server.drain_timeout", &old.drain_timeout, &new.drain_timeout);
        self.value("server.keepalive_timeout", &old.keepalive_timeout, &new.keepalive_timeout);
        self.at_start("server.max_buffered", &old.max_buffered, &new.max_buffered);
        self.value("server.replace_v1_models", &old.replace_v1_models, &new.replace_v1_models);
        self.at_start("server.logging_level", &old.logging_level, &new.logging_level);
        self.value("server.expose_route", &old.expose_route, &new.expose_route);
        self.value("server.cors", &old.cors, &new.cors);
        self.value("server.echo_model", &old.echo_model, &new.echo_model);
        self.entrances(old, new);
    }

    /// Places to listen are bound at start; what happens at them is taken up at once.
    fn entrances(&mut self, old: &Server, new: &Server) {
        let places = |server: &Server| {
            server.listeners.iter().skip(1).map(|listener| listener.address.clone()).collect::<Vec<_>>()
        };
        self.at_start("server.listen", &places(old), &places(new));
        let doors = |server: &Server| {
            server.listeners.iter().map(|door| (door.tls, door.proxy_protocol)).collect::<Vec<_>>()
        };
        self.value("server.listen: (tls, proxy_protocol)", &doors(old), &doors(new));
        self.value("server.tls", &old.tls, &new.tls);
        self.value("server.trusted_proxies", &old.trusted_proxies, &new.trusted_proxies);
        self.value("server.max_connections", &old.max_connections, &new.max_connections);
        let (before, after) = (old.max_connections_per_address, new.max_connections_per_address);
        self.value("server.max_connections_per_address", &before, &after);
    }

    fn monitoring(&mut self, old: &Settings, new: &Settings) {
        let (old, new) = (&old.monitoring, &new.monitoring);
        self.value("monitoring.prometheus_enabled", &old.prometheus_enabled, &new.prometheus_enabled);
        self.value("monitoring.health_check_path", &old.health_check_path, &new.health_check_path);
        self.value("monitoring.public", &old.public, &new.public);
        self.at_start("monitoring.prometheus_listen", &old.prometheus_listen, &new.prometheus_listen);
        let interval = "monitoring.peer_health_interval";
        self.value(interval, &old.peer_health_interval, &new.peer_health_interval);
        self.at_start("monitoring.log_errors", &old.log_errors, &new.log_errors);
        self.at_start("monitoring.errors_log_path", &old.errors_log_path, &new.errors_log_path);
    }

    fn otlp(&mut self, old: &Settings, new: &Settings) {
        let parts = |settings: &Settings| {
            let otlp = settings.otlp.as_ref()?;
            Some((otlp.endpoint.to_string(), otlp.sample_percentage, otlp.service_name.clone()))
        };
        self.value("monitoring.otlp", &parts(old), &parts(new));
        let headers =
            |settings: &Settings| settings.otlp.as_ref().map(|otlp| otlp.headers.clone()).unwrap_or_default();
        if !same_headers(&headers(old), &headers(new)) {
            self.add("~ monitoring.otlp.headers are others".into(), false);
        }
    }

    /// Another store knows nothing of what was admitted by this one, so it is for a new process to begin with.
    fn state(&mut self, old: &Settings, new: &Settings) {
        self.at_start("state.dir", &old.state.dir, &new.state.dir);
        let (old, new) = (old.state.shared.as_ref(), new.state.shared.as_ref());
        let nodes = |shared: Option<&Shared>| shared.map(|shared| shared.nodes.clone()).unwrap_or_default();
        let (before, after) = (nodes(old), nodes(new));
        let same_nodes = before.len() == after.len()
            && before.iter().zip(&after).all(|(one, other)| same(Some(one), Some(other)));
        if !same_nodes {
            self.add("~ state.url is another one".into(), true);
        }
        let (Some(old), Some(new)) = (old, new) else { return };
        self.at_start("state.cluster", &old.cluster, &new.cluster);
        self.at_start("state.on_outage", &old.on_outage.as_str(), &new.on_outage.as_str());
        self.at_start("state.namespace", &old.namespace, &new.namespace);
        self.at_start("state.timeout", &old.timeout, &new.timeout);
        self.at_start("state.routers", &old.routers, &new.routers);
    }

    fn client_keys(&mut self, old: &[ClientKey], new: &[ClientKey]) {
        let named = |keys: &'_ [ClientKey]| -> HashMap<String, ClientKey> {
            keys.iter().map(|key| (key.name.as_str().to_owned(), key.clone())).collect()
        };
        let (before, after) = (named(old), named(new));
        let path = |key: &ClientKey| format!("client_keys.{}", key.name.as_str().escape_debug());
        for key in new {
            match before.get(key.name.as_str()) {
                Some(was) if was.digest != key.digest => {
                    self.add(format!("~ {}.key is another one", path(key)), false);
                }
                Some(was) if was != key => self.add(format!("~ {}", path(key)), false),
                Some(_) => {}
                None => self.add(format!("+ {}", path(key)), false),
            }
        }
        for gone in old.iter().filter(|key| !after.contains_key(key.name.as_str())) {
            self.add(format!("- {}", path(gone)), false);
        }
    }

    fn credentials(&mut self, old: &[Credential], new: &[Credential]) {
        let find = |all: &'_ [Credential], name: &str| all.iter().position(|c| c.name.as_str() == name);
        for credential in new {
            let path = format!("credentials.{}", credential.name.as_str().escape_debug());
            match find(old, credential.name.as_str()) {
                Some(at) => self.credential(&path, &old[at], credential),
                None => self.add(format!("+ {path}"), false),
            }
        }
        for gone in old.iter().filter(|c| find(new, c.name.as_str()).is_none()) {
            self.add(format!("- credentials.{}", gone.name.as_str().escape_debug()), false);
        }
    }

    fn credential(&mut self, path: &str, old: &Credential, new: &Credential) {
        let at = |member: &str| format!("{path}.{member}");
        self.value(&at("type"), &old.kind, &new.kind);
        self.secret(&at("api_key"), old.api_key.as_ref(), new.api_key.as_ref());
        self.value(&at("base_url"), &old.base_url.as_str(), &new.base_url.as_str());
        self.value(&at("addresses"), &old.addresses, &new.addresses);
        self.value(&at("rpm"), &old.rpm, &new.rpm);
        self.value(&at("tpm"), &old.tpm, &new.tpm);
        self.value(&at("quotas"), &old.quotas, &new.quotas);
        self.value(&at("weight"), &old.weight, &new.weight);
        self.value(&at("priority"), &old.tier, &new.tier);
        self.value(&at("is_fallback"), &old.is_fallback, &new.is_fallback);
        self.value(&at("models"), &old.models, &new.models);
        self.value(&at("max_concurrent"), &old.max_concurrent, &new.max_concurrent);
        self.value(&at("connect_timeout"), &old.connect_timeout, &new.connect_timeout);
        self.value(&at("http2"), &old.http2, &new.http2);
        self.value(&at("inline_images"), &old.inline_images, &new.inline_images);
        self.value(&at("tls"), &old.tls, &new.tls);
        self.value(&at("api_version"), &old.api_version, &new.api_version);
        if !same_headers(&old.headers, &new.headers) {
            self.add(format!("~ {} are others", at("headers")), false);
        }
        let place = |c: &Credential| c.vertex.as_ref().map(|v| (v.project_id.clone(), v.location.clone()));
        self.value(&at("location"), &place(old), &place(new));
        let account = |c: &Credential| c.vertex.as_ref().map(|v| v.service_account.clone());
        self.secret(&at("credentials_json"), account(old).as_ref(), account(new).as_ref());
    }

    fn models(&mut self, old: &[Model], new: &[Model]) {
        let label = |model: &Model| match &model.credential {
            Some(credential) => format!("models.{} on {credential}", model.name.escape_debug()),
            None => format!("models.{}", model.name.escape_debug()),
        };
        let same = |a: &Model, b: &Model| a.name == b.name && a.credential == b.credential;
        for model in new {
            match old.iter().find(|other| same(other, model)) {
                Some(before) if before != model => self.add(format!("~ {}", label(model)), false),
                Some(_) => {}
                None => self.add(format!("+ {}", label(model)), false),
            }
        }
        for gone in old.iter().filter(|model| !new.iter().any(|other| same(other, model))) {
            self.add(format!("- {}", label(gone)), false);
        }
    }
}

/// A value, without the word for that there is one.
fn shown<T: Debug>(value: &T) -> String {
    let text = format!("{value:?}");
    match text.strip_prefix("Some(").and_then(|rest| rest.strip_suffix(')')) {
        Some(inner) => inner.to_owned(),
        None if text == "None" => "none".to_owned(),
        None => text,
    }
}

fn same_headers(a: &[(String, Secret)], b: &[(String, Secret)]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.0 == b.0 && same(Some(&a.1), Some(&b.1)))
}

fn same(a: Option<&Secret>, b: Option<&Secret>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => a.matches(b.expose().as_bytes()),
        (None, None) => true,
        _ => false,
    }
}
