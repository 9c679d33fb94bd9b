//! `ROUTER_SERVICES`: a JSON list of services, in the order of their priorities.
//!
//! Fields, from the source of the router that it comes from: `name`, `backend_type` (openai, cerebras, deepinfra, ollama
//! or custom), `base_url`, `api_key`, `timeout` in seconds, `priority` (0 is asked first), `rate_limit_requests` in
//! `rate_limit_window` seconds (60; none or 0 is no limit). That router went on without the list when it was broken;
//! here that is an error with its place, because the keys of other variables may be another's.

use serde_json::Value as Json;

use super::draft::Map;
use super::members::Members;
use crate::providers::{Home, KeyNeed, Kind, PROVIDERS};

/// The address of `openai`, which the provider's row leaves to the file.
pub const OPENAI: &str = "https://api.openai.com/v1";
/// For a host that asks for no key, and gets one all the same.
pub const NO_KEY: &str = "none";

/// What a list of services says.
pub struct Services {
    /// One for each service.
    pub credentials: Vec<Map>,
    /// The longest `timeout`, as the file spells times.
    pub timeout: Option<String>,
    /// A sentence for each.
    pub notes: Vec<String>,
}

/// What the list implies for all its services.
pub fn strategy(routing: &mut Map) {
    routing.set("strategy", "priority");
}

/// Reads the list; `name` says where it stands.
pub fn read(name: &str, text: &str) -> Result<Services, String> {
    let json: Json = serde_json::from_str(text).map_err(|why| format!("{name}, {}", syntax(&why)))?;
    let list = json.as_array().ok_or_else(|| format!("{name} must be a JSON list of services"))?;
    let mut services = Services { credentials: Vec::new(), timeout: None, notes: Vec::new() };
    let mut longest = 0;
    for (index, service) in list.iter().enumerate() {
        let mut service = Members::of(format!("{name}[{index}]"), service)?;
        longest = longest.max(service.number("timeout")?.unwrap_or_default());
        services.credentials.push(credential(&mut service, &mut services.notes)?);
    }
    services.timeout = (longest > 0).then(|| format!("{longest}s"));
    Ok(services)
}

/// Where a text is no JSON; the parser's words on it hold nothing of the text.
pub fn syntax(why: &serde_json::Error) -> String {
    let said = why.to_string();
    let what = said.split(" at line ").next().unwrap_or_default();
    format!("line {}, column {}: {what}", why.line(), why.column())
}

fn kind(service: &mut Members) -> Result<(Kind, String), String> {
    let name = service.needed("backend_type")?;
    let known = PROVIDERS.iter().find(|row| row.name == name);
    match (name.as_str(), known) {
        ("custom", _) => Ok((Kind::OpenAi, name)),
        (_, Some(row)) => Ok((row.kind, name)),
        (_, None) => {
            let known: Vec<_> = PROVIDERS.iter().map(|row| row.name).collect();
            Err(service.wrong("backend_type", &format!("is none of custom, {}", known.join(", "))))
        }
    }
}

fn credential(service: &mut Members, notes: &mut Vec<String>) -> Result<Map, String> {
    let name = service.needed("name")?;
    let (kind, said) = kind(service)?;
    let mut map = Map::default();
    map.set("name", name.as_str()).set("type", kind.as_str());
    match (service.text("api_key")?, kind.provider().key) {
        (Some(key), _) => map.set("api_key", key),
        (None, KeyNeed::Required) => map.set("api_key", NO_KEY),
        (None, _) => &mut map,
    };
    match (service.text("base_url")?, kind.provider().home) {
        (Some(address), _) => map.set("base_url", address),
        (None, Home::Unknown(_)) if said == "openai" => map.set("base_url", OPENAI),
        (None, Home::Unknown(_)) => return Err(service.wrong("base_url", "is missing")),
        (None, _) => &mut map,
    };
    let priority = service.number("priority")?.unwrap_or_default();
    map.set("priority", priority);
    let limit = service.number("rate_limit_requests")?.unwrap_or_default();
    let window = service.number("rate_limit_window")?.filter(|window| *window > 0).unwrap_or(60);
    match (limit, window) {
        (0, _) => &mut map,
        (limit, 60) => map.set("rpm", limit),
        (limit, window) => map.set("requests", format!("{limit} per {window}s")),
    };
    service.remark_rest(&mut map);
    notes.push(format!("the credential {name}: {}, priority {priority}", kind.as_str()));
    Ok(map)
}
