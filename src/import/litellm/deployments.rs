//! `model_list`: deployments, gathered into credentials.
//!
//! `litellm_params.model` is `provider/model`, or a model alone, whose provider its name tells. A deployment without
//! `api_key` takes the variable of its provider, without `api_base` the provider's address. What belongs to the
//! connection (address, key, version, weight, order) has to be the same for deployments of one credential; `rpm` and
//! `tpm` are a deployment's own. A name that ends in `*` is the beginning of names, and where the model does, too, what
//! follows goes with it; a name that is written out goes before it, and of several beginnings the longest counts, there
//! as here. Sources: LiteLLM's documentation, the pages of its providers and "Provider specific Wildcard routing"; its
//! source, `pattern_match_deployments.py`.

use serde_json::Value as Json;

use super::super::draft::{Map, Value};
use super::super::members::{plain, Members};
use super::super::services::{NO_KEY, OPENAI};
use crate::providers::{Home, KeyNeed, Kind};
use crate::routing::pattern::REST;

/// What the list comes to.
#[derive(Default)]
pub struct Found {
    /// As they are written.
    pub credentials: Vec<Map>,
    /// Every pair of a model that is written out and a credential.
    pub pairs: Vec<Pair>,
    /// What the names of other models begin with.
    pub beginnings: Vec<String>,
    /// Deployments that have no equal.
    pub lost: Vec<String>,
    /// A sentence on each credential.
    pub notes: Vec<String>,
}

/// A model on a credential.
pub struct Pair {
    pub model: String,
    pub credential: String,
    pub rpm: Option<u64>,
    pub tpm: Option<u64>,
}

/// A credential in the making.
struct Group {
    kind: Kind,
    connection: Map,
    /// Name here, name there.
    models: Vec<(String, String)>,
}

/// A provider's name in front of a model, what it is here, the variable of its key, and its address where the kind has
/// none.
type Provider = (&'static str, Kind, &'static str, Option<&'static str>);

const PROVIDERS: [Provider; 21] = [
    ("openai", Kind::OpenAi, "OPENAI_API_KEY", Some(OPENAI)),
    ("text-completion-openai", Kind::OpenAi, "OPENAI_API_KEY", Some(OPENAI)),
    ("azure", Kind::Azure, "AZURE_API_KEY", None),
    ("anthropic", Kind::Anthropic, "ANTHROPIC_API_KEY", None),
    ("gemini", Kind::Gemini, "GEMINI_API_KEY", None),
    ("vertex_ai", Kind::VertexAi, "", None),
    ("openrouter", Kind::OpenRouter, "OPENROUTER_API_KEY", None),
    ("cerebras", Kind::Cerebras, "CEREBRAS_API_KEY", None),
    ("deepinfra", Kind::DeepInfra, "DEEPINFRA_API_KEY", None),
    ("ollama", Kind::Ollama, "", None),
    ("ollama_chat", Kind::Ollama, "", None),
    ("groq", Kind::Groq, "GROQ_API_KEY", None),
    ("mistral", Kind::Mistral, "MISTRAL_API_KEY", None),
    ("together_ai", Kind::Together, "TOGETHERAI_API_KEY", None),
    ("deepseek", Kind::DeepSeek, "DEEPSEEK_API_KEY", None),
    ("xai", Kind::XAi, "XAI_API_KEY", None),
    ("litellm_proxy", Kind::OpenAi, "LITELLM_PROXY_API_KEY", None),
    ("hosted_vllm", Kind::OpenAi, "", None),
    ("lm_studio", Kind::OpenAi, "", None),
    ("fireworks_ai", Kind::OpenAi, "FIREWORKS_AI_API_KEY", Some("https://api.fireworks.ai/inference/v1")),
    ("perplexity", Kind::OpenAi, "PERPLEXITYAI_API_KEY", Some("https://api.perplexity.ai")),
];

/// Reads the list.
pub fn read(list: &[Json]) -> Result<Found, String> {
    let mut groups: Vec<Group> = Vec::new();
    let mut pairs: Vec<(usize, Pair)> = Vec::new();
    let mut found = Found::default();
    for (index, entry) in list.iter().enumerate() {
        let place = format!("model_list[{index}]");
        let mut entry = Members::of(place.clone(), entry)?;
        let name = entry.needed("model_name")?;
        let Some(mut params) = entry.object("litellm_params")? else {
            return Err(entry.wrong("litellm_params", "is missing"));
        };
        let model = params.needed("model")?;
        let (provider, there) = match (provider(&model), unfit(&name, &model)) {
            (Some(found), None) => found,
            (None, _) => {
                found.lost.push(format!(
                    "{place} has no equal here: there is no type of credential for `{model}`."
                ));
                continue;
            }
            (_, Some(why)) => {
                found.lost.push(format!("{place} has no equal here: {why}."));
                continue;
            }
        };
        let (mut rpm, mut tpm) = (params.number("rpm")?, params.number("tpm")?);
        rpm = rpm.or(entry.number("rpm")?);
        tpm = tpm.or(entry.number("tpm")?);
        // Prices and the like of a model.
        entry.get("model_info");
        let mut connection = connection(provider, &mut params)?;
        let beginning = name.strip_suffix(REST);
        if beginning.is_some() {
            // All that it means share what the deployment may.
            limits(&mut connection, rpm, tpm);
        }
        params.remark_rest(&mut connection);
        entry.remark_rest(&mut connection);
        let at =
            place_of(&mut groups, Group { kind: provider.1, connection, models: Vec::new() }, &name, there);
        match beginning {
            Some(beginning) => found.beginnings.push(beginning.to_owned()),
            None => pairs.push((at, Pair { model: name, credential: String::new(), rpm, tpm })),
        }
    }
    finish(groups, pairs, &mut found);
    Ok(found)
}

/// The group that a deployment belongs to, and now holds its model.
fn place_of(groups: &mut Vec<Group>, new: Group, name: &str, there: &str) -> usize {
    let fits = |group: &Group| {
        group.kind == new.kind
            && group.connection == new.connection
            && group.models.iter().all(|(here, _)| here != name)
    };
    let at = groups.iter().position(fits).unwrap_or_else(|| {
        groups.push(new);
        groups.len() - 1
    });
    if let Some(group) = groups.get_mut(at) {
        group.models.push((name.to_owned(), there.to_owned()));
    }
    at
}

/// Names the groups, and writes them.
fn finish(groups: Vec<Group>, pairs: Vec<(usize, Pair)>, found: &mut Found) {
    let mut names: Vec<String> = Vec::new();
    for group in groups {
        let kind = group.kind.as_str();
        let same = names
            .iter()
            .filter(|name| name.trim_end_matches(|c: char| c == '-' || c.is_ascii_digit()) == kind);
        let name = match same.count() {
            0 => kind.to_owned(),
            count => format!("{kind}-{}", count + 1),
        };
        let mut map = Map::default();
        map.set("name", name.as_str()).set("type", kind);
        map.append(group.connection);
        let served: Vec<&str> = group.models.iter().map(|(here, _)| here.as_str()).collect();
        found.notes.push(format!("the credential {name} serves {}", served.join(", ")));
        let models = group.models.into_iter().map(|(here, there)| match here == there {
            true => Value::from(here),
            false => {
                let mut alias = Map::default();
                alias.set(&here, there);
                alias.into()
            }
        });
        map.set("models", models.collect::<Vec<Value>>());
        found.credentials.push(map);
        names.push(name);
    }
    for (at, pair) in pairs {
        found.pairs.push(Pair { credential: names.get(at).cloned().unwrap_or_default(), ..pair });
    }
}

/// Sets the limits that there are; 0 is none.
pub fn limits(map: &mut Map, rpm: Option<u64>, tpm: Option<u64>) {
    for (key, limit) in [("rpm", rpm), ("tpm", tpm)] {
        if let Some(limit) = limit.filter(|limit| *limit > 0) {
            map.set(key, limit);
        }
    }
}

/// Why this pair of names is none here, if it is not.
fn unfit(name: &str, model: &str) -> Option<&'static str> {
    let inside = |name: &str| name.strip_suffix(REST).unwrap_or(name).contains(REST);
    if inside(name) || inside(model) {
        Some("`*` stands at the end of a name only")
    } else if model.ends_with(REST) && !name.ends_with(REST) {
        Some("`*` in its model is a part of the name there")
    } else if model == "*" {
        Some("`*` is a model of any provider; give each an entry of its own, such as `openai/*`")
    } else {
        None
    }
}

/// Whose model it is, and its name there.
fn provider(model: &str) -> Option<(&'static Provider, &str)> {
    let row = |name: &str| PROVIDERS.iter().find(|(known, ..)| *known == name);
    if let Some((name, there)) = model.split_once('/') {
        // A deployment of Azure's newer interface has another word in front.
        return row(name).map(|row| (row, there));
    }
    let family = ["claude", "gemini"].into_iter().find(|family| model.starts_with(family));
    let name = match family {
        Some("claude") => "anthropic",
        Some(_) => "vertex_ai",
        None => "openai",
    };
    row(name).map(|row| (row, model))
}

/// What a deployment says of its connection.
fn connection(provider: &Provider, params: &mut Members) -> Result<Map, String> {
    let (_, kind, variable, home) = *provider;
    let mut map = Map::default();
    let vertex = vertex(params, &mut map)?;
    match (params.text("api_key")?, kind.provider().key) {
        (Some(key), _) => map.set("api_key", key),
        (None, KeyNeed::Required) if variable.is_empty() => map.set("api_key", NO_KEY),
        (None, KeyNeed::Required) => map.set("api_key", format!("os.environ/{variable}")),
        (None, KeyNeed::OrServiceAccount) if !vertex => {
            map.set("credentials_file", "os.environ/GOOGLE_APPLICATION_CREDENTIALS")
        }
        (None, _) => &mut map,
    };
    let (base, api_base) = (params.text("base_url")?, params.text("api_base")?);
    match (api_base.or(base), home, kind.provider().home) {
        (Some(address), ..) => map.set("base_url", address),
        (None, Some(home), _) => map.set("base_url", home),
        (None, None, Home::Unknown(_)) if kind == Kind::Azure => {
            map.set("base_url", "os.environ/AZURE_API_BASE")
        }
        (None, None, Home::Unknown(_)) => return Err(params.wrong("api_base", "is missing")),
        (None, None, _) => &mut map,
    };
    if let Some(version) = params.text("api_version")?.filter(|_| kind == Kind::Azure) {
        map.set("api_version", version);
    }
    let mut headers = Map::default();
    if let Some(organization) = params.text("organization")? {
        headers.set("openai-organization", organization);
    }
    for (name, value) in params.get("extra_headers").and_then(Json::as_object).into_iter().flatten() {
        headers.set(name, plain(value.as_str().unwrap_or_default()));
    }
    if !headers.is_empty() {
        map.set("headers", headers);
    }
    if let Some(weight) = params.number("weight")?.filter(|weight| *weight > 0) {
        map.set("weight", weight.min(1000));
    }
    if let Some(order) = params.number("order")? {
        map.set("priority", order.saturating_sub(1));
    }
    if let Some(most) = params.number("max_parallel_requests")?.filter(|most| *most > 0) {
        map.set("max_concurrent", most);
    }
    Ok(map)
}

/// The service account of a Vertex deployment; whether it has one.
fn vertex(params: &mut Members, map: &mut Map) -> Result<bool, String> {
    for (theirs, ours) in [("vertex_project", "project_id"), ("vertex_location", "location")] {
        if let Some(value) = params.text(theirs)? {
            map.set(ours, value);
        }
    }
    let Some(account) = params.get("vertex_credentials") else { return Ok(false) };
    match account.as_str().map(plain) {
        Some(path) if !path.trim_start().starts_with('{') => map.set("credentials_file", path),
        Some(json) => map.set("credentials_json", json),
        None => map.set("credentials_json", plain(&account.to_string())),
    };
    Ok(true)
}
