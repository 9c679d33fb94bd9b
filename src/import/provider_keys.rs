//! `config.json` of a router for the free tiers of Gemini and OpenRouter: keys per provider, with limits that hold for
//! each key.
//!
//! From its README and source: `access_key`, `model_usage_gap_percentage` (how far the keys of a provider may be apart),
//! `auto-models` (tried in order under the name `auto-model`), `provider_keys[]` with `provider`, `key`,
//! `max_request_day` (1500), `max_token_min` (150000) and `max_request_min` (15). A model whose name begins with `gemini`
//! went to Gemini and any other to OpenRouter; here the lists that both report decide.
//! Days: Gemini's quotas begin anew at midnight Pacific time (ai.google.dev, "Rate limits"), OpenRouter's in UTC
//! (openrouter.ai, "API rate limits").

use serde_json::Value as Json;

use super::draft::Map;
use super::members::Members;
use super::Imported;
use crate::providers::Kind;

/// What its server listened on.
const PORT: u64 = 8000;
const AUTO: &str = "auto-model";
const PACIFIC: &str = "America/Los_Angeles";

/// The configuration that `json` makes.
pub fn read(name: &str, json: &Json) -> Result<Imported, String> {
    let mut file = Members::of(name, json)?;
    let mut whole = Map::default();
    let mut server = Map::default();
    server.remark(
        "It listened on every address; here others than this host need `host: 0.0.0.0` and TLS in front.",
    );
    server.set("host", "127.0.0.1").set("port", PORT);
    match file.text("access_key")? {
        Some(key) => server.set("master_key", key),
        None => server.remark("`access_key` was empty.").set("master_key", "os.environ/MASTER_KEY"),
    };
    server.remark("A request goes to the provider that lists its model.").set("replace_v1_models", true);
    let mut routing = Map::default();
    routing.set("strategy", "least_used");
    if let Some(gap) = file.number("model_usage_gap_percentage")? {
        routing.set("model_usage_gap_percentage", gap.min(100));
    }
    let credentials = credentials(name, file.list("provider_keys")?)?;
    let automatic = file.texts("auto-models")?;
    file.remark_rest(&mut whole);
    whole.set("server", server).set("routing", routing).set("credentials", credentials);
    let mut notes = vec!["keys of each provider are balanced by their use".to_owned()];
    if !automatic.is_empty() {
        notes.push(format!("{AUTO} stands for {}", automatic.join(", ")));
        let mut model = Map::default();
        model.set("name", AUTO).set("models", automatic);
        whole.set("models", vec![model]);
    }
    Ok(Imported { yaml: whole.yaml(), notes })
}

fn credentials(name: &str, list: &[Json]) -> Result<Vec<Map>, String> {
    let mut credentials: Vec<(String, Map)> = Vec::new();
    for (index, entry) in list.iter().enumerate() {
        let mut entry = Members::of(format!("{name}.provider_keys[{index}]"), entry)?;
        let kind = match entry.needed("provider")?.as_str() {
            "gemini" => Kind::Gemini,
            "openrouter" => Kind::OpenRouter,
            _ => return Err(entry.wrong("provider", "is neither gemini nor openrouter")),
        };
        let same = credentials.iter().filter(|(known, _)| known == kind.as_str()).count();
        let name =
            if same == 0 { kind.as_str().to_owned() } else { format!("{}-{}", kind.as_str(), same + 1) };
        let mut map = Map::default();
        map.set("name", name).set("type", kind.as_str()).set("api_key", entry.texts("key")?);
        map.set("rpm", entry.number("max_request_min")?.unwrap_or(15));
        map.set("tpm", entry.number("max_token_min")?.unwrap_or(150_000));
        map.set("rpd", entry.number("max_request_day")?.unwrap_or(1500));
        if kind == Kind::Gemini {
            map.set("time_zone", PACIFIC);
        }
        entry.remark_rest(&mut map);
        credentials.push((kind.as_str().to_owned(), map));
    }
    match credentials.is_empty() {
        true => Err(format!("{name}.provider_keys has no entry")),
        false => Ok(credentials.into_iter().map(|(_, map)| map).collect()),
    }
}
