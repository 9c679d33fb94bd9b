//! `config.yaml` of a LiteLLM proxy.
//!
//! Its `model_list` has a deployment for each pair of a name and a model at a provider; deployments with one key at one
//! address become one credential (`deployments`). Names, defaults and meanings of settings: LiteLLM's documentation,
//! "All settings" (config_settings), "Config.yaml", "Fallbacks" and the routing strategies. It listens on every address
//! at port 4000, tries twice again (`num_retries`), and leaves a deployment out for `cooldown_time` seconds after more
//! than `allowed_fails` failures in a minute. Its `timeout` is that of each try, and of the first token where there is no
//! `stream_timeout`; `request_timeout` stands in for it (its `router.py`: `timeout or litellm.request_timeout`). Answers name
//! the model as it was asked for (`common_request_processing.py`).

mod deployments;

use std::collections::BTreeMap;

use serde_json::Value as Json;

use super::draft::{Map, Value};
use super::members::{plain, Members};
use super::Imported;

const PORT: u64 = 4000;
/// Where it says nothing of retries.
const TRIES: u64 = 3;

/// The settings that lie in several of its sections.
#[derive(Default)]
struct Settings {
    routing: Map,
    fail2ban: Map,
    server: Map,
    state: Map,
    /// For a model, those to try after it.
    fallbacks: BTreeMap<String, Vec<String>>,
    default_fallbacks: Vec<String>,
    aliases: Map,
    /// Of each try.
    timeout: Option<Time>,
    /// Of each model.
    tries: Option<u64>,
}

/// A time as that file has it.
enum Time {
    Milliseconds(u64),
    /// A reference to seconds.
    Elsewhere(String),
}

/// The configuration that `yaml` makes.
pub fn read(name: &str, yaml: &Json) -> Result<Imported, String> {
    let mut file = Members::of("", yaml)?;
    let mut settings = Settings::default();
    settings.server.set("host", "0.0.0.0").set("port", PORT).set("echo_model", true);
    general(&mut file, &mut settings)?;
    // The sections name some things twice; the router's own section counts.
    for section in ["router_settings", "litellm_settings"] {
        if let Some(members) = file.object(section)? {
            settings.section(members)?;
        }
    }
    settings.tries();
    let found = deployments::read(file.list("model_list")?)?;
    if found.credentials.is_empty() {
        return Err(format!("{name}: model_list has no deployment that has an equal here"));
    }
    let mut whole = Map::default();
    whole
        .remark("Costs, callbacks, guardrails, caches of answers and keys in a database have no equal here.");
    file.remark_rest(&mut whole);
    found.lost.iter().for_each(|lost| {
        whole.remark(lost);
    });
    for model in
        settings.fallbacks.keys().filter(|model| found.pairs.iter().all(|pair| pair.model != **model))
    {
        whole.remark(&format!(
            "The fallbacks of `{model}` have no equal here: no deployment has just this name."
        ));
    }
    let models = models(&found, &settings);
    let Settings { routing, fail2ban, server, state, aliases, .. } = settings;
    whole.set("server", server);
    let sections =
        [("routing", routing), ("fail2ban", fail2ban), ("state", state), ("model_aliases", aliases)];
    for (key, section) in sections {
        // Without a key it would be no section.
        match section.is_keyless() {
            true => whole.append(section),
            false => whole.set(key, section),
        };
    }
    let notes = found.notes.clone();
    whole.set("credentials", found.credentials);
    if !models.is_empty() {
        whole.set("models", models);
    }
    Ok(Imported { yaml: whole.yaml(), notes })
}

fn general(file: &mut Members, settings: &mut Settings) -> Result<(), String> {
    let mut section = file.object("general_settings")?;
    let key = section.as_mut().map(|section| section.text("master_key")).transpose()?.flatten();
    let server = &mut settings.server;
    match key {
        Some(key) => server.set("master_key", key),
        None => server
            .remark("There was no `master_key`, so anybody could ask.")
            .set("master_key", "os.environ/MASTER_KEY"),
    };
    if let Some(mut section) = section {
        if let Some(size) = section.number("max_request_size_mb")? {
            server.set("max_body_size", format!("{size}MiB"));
        }
        section.remark_rest(server);
    }
    Ok(())
}

impl Settings {
    /// What `router_settings` and `litellm_settings` have in common, and what one of them has.
    fn section(&mut self, mut members: Members) -> Result<(), String> {
        if let Some(strategy) = members.text("routing_strategy")? {
            self.strategy(&strategy);
        }
        if let Some(retries) = members.number("num_retries")? {
            self.tries.get_or_insert(retries.saturating_add(1));
        }
        for key in ["timeout", "request_timeout"] {
            match time(&mut members, key)? {
                Some(time) if self.timeout.is_none() => self.timeout = Some(time),
                Some(_) => {
                    let why =
                        members.wrong(key, "counted only where no other timeout was set, and does not here.");
                    self.routing.remark(&why);
                }
                None => {}
            }
        }
        if let Some(time) = time(&mut members, "stream_timeout")? {
            once(&mut self.routing, "first_token_timeout", time.written());
        }
        if let Some(fails) = members.number("allowed_fails")? {
            once(&mut self.fail2ban, "max_attempts", fails.saturating_add(1));
        }
        if let Some(time) = time(&mut members, "cooldown_time")? {
            once(&mut self.fail2ban, "ban_duration", time.written());
        }
        if members.get("disable_cooldowns").is_some_and(|off| off == true) {
            once(&mut self.fail2ban, "error_codes", Vec::<Value>::new());
        }
        for entry in members.list("fallbacks")? {
            for (model, names) in entry.as_object().into_iter().flatten() {
                let names =
                    names.as_array().into_iter().flatten().filter_map(|name| Some(name.as_str()?.to_owned()));
                self.fallbacks.entry(model.clone()).or_default().extend(names);
            }
        }
        self.default_fallbacks.extend(members.texts("default_fallbacks")?);
        self.aliases(&mut members)?;
        self.redis(&mut members)?;
        // What it drops from requests is dropped here in any case, where a provider refuses it.
        members.get("drop_params");
        members.remark_rest(&mut self.routing);
        Ok(())
    }

    fn strategy(&mut self, strategy: &str) {
        let ours = match strategy {
            "simple-shuffle" => "round_robin",
            "latency-based-routing" => "latency",
            "least-busy" | "usage-based-routing" | "usage-based-routing-v2" => "least_used",
            "cost-based-routing" => {
                self.routing.remark("`cost-based-routing` has no equal here, where prices are not known:");
                self.routing.remark("`priority` of credentials says who is asked first.");
                return;
            }
            _ => {
                self.routing.remark(&format!("The strategy `{strategy}` has no equal here."));
                return;
            }
        };
        once(&mut self.routing, "strategy", ours);
    }

    /// How often a request is tried, which there is said for each model, and in what time: all tries end after five
    /// minutes here where nothing else is said.
    fn tries(&mut self) {
        let lists = self.fallbacks.values().chain([&self.default_fallbacks]);
        let models = lists.map(Vec::len).max().unwrap_or_default() as u64 + 1;
        if let Some(tries) = self.tries {
            self.routing.set("max_attempts", tries.saturating_mul(models));
        }
        let Some(time) = self.timeout.take() else { return };
        if let Time::Milliseconds(ms) = time {
            let all = self.tries.unwrap_or(TRIES).saturating_mul(models);
            self.routing.set("deadline", Time::Milliseconds(ms.saturating_mul(all)).written());
        }
        self.routing.set("response_timeout", time.written());
        once(&mut self.routing, "first_token_timeout", time.written());
    }

    fn aliases(&mut self, members: &mut Members) -> Result<(), String> {
        let Some(aliases) = members.get("model_group_alias").and_then(Json::as_object) else { return Ok(()) };
        for (alias, group) in aliases {
            match group.as_str().or_else(|| group.get("model")?.as_str()) {
                Some(group) if !self.aliases.has(alias) => self.aliases.set(alias, group),
                _ => self.aliases.remark(&format!("The alias `{alias}` has no equal here.")),
            };
        }
        Ok(())
    }

    fn redis(&mut self, members: &mut Members) -> Result<(), String> {
        let (host, port) = (members.text("redis_host")?, members.text("redis_port")?);
        let password = members.text("redis_password")?.map(|password| format!(":{}@", inside(&password)));
        if let Some(host) = host {
            let (host, port) = (inside(&host), port.map_or("6379".into(), |port| inside(&port)));
            once(&mut self.state, "url", format!("redis://{}{host}:{port}", password.unwrap_or_default()));
        }
        Ok(())
    }
}

/// Sets what nothing has set before.
fn once(map: &mut Map, key: &str, value: impl Into<Value>) {
    if !map.has(key) {
        map.set(key, value);
    }
}

/// A reference as it is written inside a longer text.
fn inside(text: &str) -> String {
    text.strip_prefix("os.environ/").map_or_else(|| text.to_owned(), |name| format!("${{{name}}}"))
}

impl Time {
    /// As the file spells times.
    fn written(&self) -> String {
        match self {
            Self::Milliseconds(ms) if ms % 1000 == 0 => format!("{}s", ms / 1000),
            Self::Milliseconds(ms) => format!("{ms}ms"),
            Self::Elsewhere(reference) => format!("{reference}s"),
        }
    }
}

/// Seconds.
fn time(members: &mut Members, key: &'static str) -> Result<Option<Time>, String> {
    match members.get(key) {
        None => Ok(None),
        Some(Json::Number(number)) => {
            let ms = number.as_f64().map_or(0, |seconds| (seconds * 1000.0).max(0.0) as u64);
            Ok(Some(Time::Milliseconds(ms)))
        }
        Some(Json::String(text)) => Ok(Some(Time::Elsewhere(inside(&plain(text))))),
        Some(_) => Err(members.wrong(key, "must be a number of seconds")),
    }
}

/// An entry for each pair, with the fallbacks of the model on its first one.
fn models(found: &deployments::Found, settings: &Settings) -> Vec<Map> {
    let served = |name: &String| {
        let begins = |beginning: &String| name.starts_with(beginning.as_str());
        found.pairs.iter().any(|pair| pair.model == *name)
            || found.beginnings.iter().any(begins)
            || settings.aliases.has(name)
    };
    let mut seen = Vec::new();
    let entries = found.pairs.iter().map(|pair| {
        let mut entry = Map::default();
        entry.set("name", pair.model.as_str()).set("credential", pair.credential.as_str());
        deployments::limits(&mut entry, pair.rpm, pair.tpm);
        if seen.contains(&&pair.model) {
            return entry;
        }
        seen.push(&pair.model);
        let own = settings.fallbacks.get(&pair.model).unwrap_or(&settings.default_fallbacks);
        let mut fallbacks: Vec<String> = Vec::new();
        for name in own {
            match served(name) {
                _ if *name == pair.model || fallbacks.contains(name) => {}
                true => fallbacks.push(name.clone()),
                false => {
                    entry.remark(&format!("The fallback `{name}` is served by nobody."));
                }
            }
        }
        if !fallbacks.is_empty() {
            entry.set("fallbacks", fallbacks);
        }
        entry
    });
    entries.collect()
}
