//! `ROUTER_SERVICES`: a JSON list of services, in the order of their priorities.
//!
//! Fields, from the source of the router that it comes from: `name`, `backend_type` (openai, cerebras, deepinfra, ollama
//! or custom), `base_url`, `api_key`, `timeout` in seconds, `priority` (0 is asked first), `rate_limit_requests` in
//! `rate_limit_window` seconds (60; none or 0 is no limit). That router went on without the list when it was broken;
//! here that is an error with its place, because the keys of other variables may be another's.

use serde_json::{Map as Object, Value as Json};

use super::draft::Map;
use crate::providers::{Home, KeyNeed, Kind, PROVIDERS};

/// The address of `openai`, which the provider's row leaves to the file.
pub const OPENAI: &str = "https://api.openai.com/v1";
/// For a host that asks for no key, and gets one all the same.
const NO_KEY: &str = "none";
const FIELDS: [&str; 8] = [
    "name",
    "backend_type",
    "base_url",
    "api_key",
    "timeout",
    "priority",
    "rate_limit_requests",
    "rate_limit_window",
];

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
pub fn strategy(_routing: &mut Map) {}

/// Reads the list. An error goes on from the name of the variable or file: `, line 1, column 2: …`.
pub fn read(text: &str) -> Result<Services, String> {
    let json: Json = serde_json::from_str(text).map_err(|why| syntax(&why))?;
    let Some(list) = json.as_array() else { return Err(": it must be a JSON list of services".into()) };
    let mut services = Services { credentials: Vec::new(), timeout: None, notes: Vec::new() };
    let mut longest = 0;
    for (index, service) in list.iter().enumerate() {
        let service = service.as_object().ok_or_else(|| format!("[{index}]: it must be a JSON object"))?;
        let service = Service { index, members: service };
        longest = longest.max(service.number("timeout")?.unwrap_or_default());
        services.credentials.push(service.credential(&mut services.notes)?);
    }
    services.timeout = (longest > 0).then(|| format!("{longest}s"));
    Ok(services)
}

/// Where a text is no JSON; the parser's words on it hold nothing of the text.
pub fn syntax(why: &serde_json::Error) -> String {
    let said = why.to_string();
    let what = said.split(" at line ").next().unwrap_or_default();
    format!(", line {}, column {}: {what}", why.line(), why.column())
}

struct Service<'s> {
    index: usize,
    members: &'s Object<String, Json>,
}

impl Service<'_> {
    fn wrong(&self, field: &str, what: &str) -> String {
        format!("[{}].{field}: {what}", self.index)
    }

    fn text(&self, field: &str) -> Result<Option<&str>, String> {
        match self.members.get(field) {
            None | Some(Json::Null) => Ok(None),
            Some(Json::String(text)) if text.is_empty() => Ok(None),
            Some(Json::String(text)) => Ok(Some(text)),
            Some(_) => Err(self.wrong(field, "it must be a text")),
        }
    }

    fn number(&self, field: &str) -> Result<Option<u64>, String> {
        match self.members.get(field) {
            None | Some(Json::Null) => Ok(None),
            Some(Json::Number(number)) if number.as_i64().is_some_and(|number| number < 0) => Ok(Some(0)),
            Some(Json::Number(number)) => {
                let number = number.as_u64().or_else(|| number.as_f64().map(|number| number.ceil() as u64));
                Ok(number)
            }
            Some(_) => Err(self.wrong(field, "it must be a number")),
        }
    }

    fn kind(&self) -> Result<Kind, String> {
        let name = self.text("backend_type")?.ok_or_else(|| self.wrong("backend_type", "it is missing"))?;
        let known = PROVIDERS.iter().find(|row| row.name == name);
        match (name, known) {
            ("custom", _) => Ok(Kind::OpenAi),
            (_, Some(row)) => Ok(row.kind),
            (_, None) => {
                let known: Vec<_> = PROVIDERS.iter().map(|row| row.name).collect();
                Err(self.wrong("backend_type", &format!("it is none of custom, {}", known.join(", "))))
            }
        }
    }

    fn credential(&self, notes: &mut Vec<String>) -> Result<Map, String> {
        let name = self.text("name")?.ok_or_else(|| self.wrong("name", "it is missing"))?;
        let kind = self.kind()?;
        let mut map = Map::default();
        for unknown in self.members.keys().filter(|key| !FIELDS.contains(&key.as_str())) {
            map.remark(&format!("`{unknown}` has no equal."));
        }
        map.set("name", name).set("type", kind.as_str());
        match (self.text("api_key")?, kind.provider().key) {
            (Some(key), _) => map.set("api_key", key),
            (None, KeyNeed::Required) => map.set("api_key", NO_KEY),
            (None, _) => &mut map,
        };
        match (self.text("base_url")?, kind.provider().home) {
            (Some(address), _) => map.set("base_url", address),
            (None, Home::Unknown(_)) if self.text("backend_type")? == Some("openai") => {
                map.set("base_url", OPENAI)
            }
            (None, Home::Unknown(_)) => return Err(self.wrong("base_url", "it is missing")),
            (None, _) => &mut map,
        };
        let priority = self.number("priority")?.unwrap_or_default();
        map.set("priority", priority);
        let limit = self.number("rate_limit_requests")?.unwrap_or_default();
        let window = self.number("rate_limit_window")?.filter(|window| *window > 0).unwrap_or(60);
        match (limit, window) {
            (0, _) => {}
            (limit, 60) => {
                map.set("rpm", limit);
            }
            (limit, window) => {
                map.remark(&format!("{limit} requests in {window}s have no equal"));
            }
        }
        notes.push(format!("the credential {name}: {}, priority {priority}", kind.as_str()));
        Ok(map)
    }
}
