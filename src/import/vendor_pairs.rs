//! `credentials.json` and `models.json` of a router that lets chance choose among all its keys and models.
//!
//! From its README and source: credentials with `platform` (openai, gemini, anthropic), `type` (`api-key`) and `value`;
//! models with `vendor` and `model`. Every request went to one of the pairs of a key and a model of its vendor, each
//! equally likely; the model that was asked for was only named in the answer. It inlined images, answered any page in a
//! browser, and asked nobody for a key. The file of keys may be encrypted: base64 of nonce, ciphertext and tag under
//! AES-256-GCM, with the 32 bytes of `CONFIG_ENCRYPTION_KEY`.

use serde_json::Value as Json;

use super::draft::Map;
use super::members::Members;
use super::services::OPENAI;
use super::Imported;
use crate::providers::{Home, Kind};

const PORT: u64 = 8082;
/// Stands for any name that nothing else has.
const ANY: &str = "*";

/// The configuration that the two lists make; each with the name of its file.
pub fn read(credentials: (&str, &Json), models: (&str, &Json)) -> Result<Imported, String> {
    let vendors = vendors(credentials)?;
    let mut all = Vec::new();
    let mut entries = Vec::new();
    let mut listed: Vec<(Kind, String)> = Vec::new();
    for (index, model) in array(models)?.iter().enumerate() {
        let mut model = Members::of(format!("{}[{index}]", models.0), model)?;
        let kind = kind(&mut model, "vendor")?;
        let name = model.needed("model")?;
        if vendors.iter().all(|(known, _)| *known != kind) {
            return Err(model.wrong("vendor", "has no credential"));
        }
        let mut entry = Map::default();
        entry.set("name", name.as_str()).set("credential", kind.as_str());
        model.remark_rest(&mut entry);
        entries.push(entry);
        if !all.contains(&name) {
            all.push(name.clone());
        }
        listed.push((kind, name));
    }
    let pairs: usize = listed
        .iter()
        .map(|(kind, _)| vendors.iter().find(|(known, _)| known == kind).map_or(0, |(_, keys)| keys.len()))
        .sum();
    let mut any = Map::default();
    any.remark("Any other name is answered by one of these, each pair of key and model equally likely.");
    any.set("name", ANY).set("models", all).set("strategy", "even");
    entries.push(any);
    let mut whole = Map::default();
    whole.set("server", server()).set("credentials", written(vendors)).set("models", entries);
    let notes = vec![format!("any model is one of {pairs} pairs of a key and a model")];
    Ok(Imported { yaml: whole.yaml(), notes })
}

fn server() -> Map {
    let mut server = Map::default();
    server.remark(
        "It asked nobody for a key, and neither does this, on this host. For others: `host: 0.0.0.0`, a",
    );
    server.remark("`master_key` in the place of `enable_auth`, and TLS in front.");
    server.set("host", "127.0.0.1").set("port", PORT).set("enable_auth", false).set("cors", true);
    server
}

/// Each vendor with its keys, in the order of the file.
fn vendors(credentials: (&str, &Json)) -> Result<Vec<(Kind, Vec<String>)>, String> {
    let mut vendors: Vec<(Kind, Vec<String>)> = Vec::new();
    for (index, credential) in array(credentials)?.iter().enumerate() {
        let mut credential = Members::of(format!("{}[{index}]", credentials.0), credential)?;
        let kind = kind(&mut credential, "platform")?;
        let value = credential.needed("value")?;
        if credential.text("type")?.is_some_and(|kind| kind != "api-key") {
            return Err(credential.wrong("type", "is not `api-key`"));
        }
        match vendors.iter_mut().find(|(known, _)| *known == kind) {
            Some((_, keys)) => keys.push(value),
            None => vendors.push((kind, vec![value])),
        }
    }
    Ok(vendors)
}

fn written(vendors: Vec<(Kind, Vec<String>)>) -> Vec<Map> {
    let maps = vendors.into_iter().map(|(kind, mut keys)| {
        let mut map = Map::default();
        map.set("name", kind.as_str()).set("type", kind.as_str());
        match keys.len() {
            1 => map.set("api_key", keys.remove(0)),
            _ => map.set("api_key", keys),
        };
        if matches!(kind.provider().home, Home::Unknown(_)) {
            map.set("base_url", OPENAI);
        }
        map.set("inline_images", true);
        map
    });
    maps.collect()
}

fn array<'j>((name, json): (&str, &'j Json)) -> Result<&'j [Json], String> {
    json.as_array().map(Vec::as_slice).ok_or_else(|| format!("{name} must be a list"))
}

fn kind(members: &mut Members, key: &'static str) -> Result<Kind, String> {
    match members.needed(key)?.as_str() {
        "openai" => Ok(Kind::OpenAi),
        "gemini" => Ok(Kind::Gemini),
        "anthropic" => Ok(Kind::Anthropic),
        _ => Err(members.wrong(key, "is none of openai, gemini, anthropic")),
    }
}
