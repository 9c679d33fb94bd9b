//! Moving in: the configurations of others, made into one of ours.
//!
//! Every form is read by a room of its own and comes out as a [`draft::Map`], YAML with remarks, which the same checks
//! then read as any file. The variables of the environment are one of these forms: a router without a file is one whose
//! file is made at each start. Keys go over as they were written, references stay references. Pure: texts and variables
//! in, a text out.

pub mod dotenv;
mod draft;
pub mod environment;
mod litellm;
mod members;
mod provider_keys;
mod services;
#[cfg(test)]
mod tests;
mod vendor_pairs;

use serde_json::Value as Json;

use crate::config::sealed;
use crate::config::Variables;

/// The variable with the key of an encrypted file of credentials.
const FOREIGN_KEY: &str = "CONFIG_ENCRYPTION_KEY";

/// A configuration that was made of something else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imported {
    /// The YAML text.
    pub yaml: String,
    /// What was found, and what became of it, a sentence each; never a value of a secret.
    pub notes: Vec<String>,
}

/// A file, and what it is called in errors.
#[derive(Clone, Copy)]
pub struct Foreign<'f> {
    pub name: &'f str,
    pub text: &'f str,
}

/// What the files of one other program make here; what they are shows in what they say. `env` is asked for the key of an
/// encrypted file only.
pub fn read(files: &[Foreign], env: Variables) -> Result<Imported, String> {
    let mut credentials = None;
    let mut models = None;
    for file in files {
        let form = Form::of(file, env)?;
        match (form, files.len()) {
            (Form::Credentials(json), _) => credentials = Some((file.name, json)),
            (Form::Models(json), _) => models = Some((file.name, json)),
            (form, 1) => return form.read(file),
            _ => return Err(format!("{}: only credentials.json and models.json go together", file.name)),
        }
    }
    match (&credentials, &models) {
        (Some((name, credentials)), Some((other, models))) => {
            vendor_pairs::read((name, credentials), (other, models))
        }
        (Some((name, _)), None) => Err(format!("{name} has the keys; name its models.json, too")),
        (None, Some((name, _))) => Err(format!("{name} has the models; name its credentials.json, too")),
        (None, None) => Err("name a file".into()),
    }
}

/// What a file is.
enum Form {
    Variables,
    Services,
    ProviderKeys(Json),
    LiteLlm(Json),
    Credentials(Json),
    Models(Json),
}

impl Form {
    fn of(file: &Foreign, env: Variables) -> Result<Self, String> {
        let text = file.text.trim_start_matches('\u{feff}').trim();
        if text.starts_with(['[', '{']) {
            let json = serde_json::from_str(text)
                .map_err(|why| format!("{}, {}", file.name, services::syntax(&why)))?;
            return Self::of_json(file, json);
        }
        if text.starts_with("model_list:") || text.contains("\nmodel_list:") {
            return yaml(text).map(Self::LiteLlm).map_err(|why| format!("{}: {why}", file.name));
        }
        if text.starts_with("credentials:") || text.contains("\ncredentials:") {
            return Err(format!("{}: this is a configuration of this router; try `check`", file.name));
        }
        let key = env(FOREIGN_KEY);
        if let Some(opened) = key.as_ref().and_then(|key| sealed::open_plain(key.as_bytes(), text)) {
            let json = serde_json::from_str(&opened)
                .map_err(|why| format!("{}, {}", file.name, services::syntax(&why)))?;
            return Self::of_json(file, json);
        }
        if !dotenv::read(text).is_empty() {
            return Ok(Self::Variables);
        }
        Err(format!(
            "{}: this is none of ROUTER_SERVICES, .env, config.json with provider_keys, credentials.json, models.json, \
             and LiteLLM's config.yaml; an encrypted credentials.json needs the right {FOREIGN_KEY}",
            file.name
        ))
    }

    fn of_json(file: &Foreign, json: Json) -> Result<Self, String> {
        let first = json.get(0).unwrap_or(&json);
        let has = |key: &str| first.get(key).is_some();
        Ok(match json.is_array() {
            true if has("platform") => Self::Credentials(json),
            true if has("vendor") => Self::Models(json),
            true if has("backend_type") || has("name") => Self::Services,
            false if has("provider_keys") => Self::ProviderKeys(json),
            false if has("model_list") => Self::LiteLlm(json),
            _ => return Err(format!("{}: its first entry is of no known form", file.name)),
        })
    }

    fn read(self, file: &Foreign) -> Result<Imported, String> {
        match self {
            Self::ProviderKeys(json) => provider_keys::read(file.name, &json),
            Self::LiteLlm(json) => litellm::read(file.name, &json),
            Self::Variables => {
                let variables = dotenv::read(file.text);
                // The last of two lines with one name counts.
                let get = |name: &str| {
                    variables.iter().rev().find(|(known, _)| known == name).map(|(_, value)| value.clone())
                };
                environment::read(&get)?.ok_or_else(|| format!("{}: no variable names a provider", file.name))
            }
            Self::Services => {
                let get = |name: &str| (name == environment::SERVICES).then(|| file.text.to_owned());
                environment::read(&get)?.ok_or_else(|| format!("{}: the list is empty", file.name))
            }
            Self::Credentials(_) | Self::Models(_) => {
                Err(format!("{}: its other half is missing", file.name))
            }
        }
    }
}

/// A YAML text as JSON, merge keys resolved.
fn yaml(text: &str) -> Result<Json, String> {
    let mut tree: serde_yaml::Value = serde_yaml::from_str(text).map_err(|why| match why.location() {
        Some(at) => format!("line {}, column {}: this is no YAML", at.line(), at.column()),
        None => "this is no YAML".into(),
    })?;
    tree.apply_merge().map_err(|_| "a merge key is wrong")?;
    serde_json::to_value(tree).map_err(|_| "a key is no text".into())
}
