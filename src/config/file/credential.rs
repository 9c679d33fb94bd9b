//! `credentials`: one key behind the router, or several with the same limits, as the file writes them.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::quantity::{Limit, Span};
use super::super::quotas::Quotas;
use super::super::secret_text::SecretText;
use super::super::settings::Kind;
use super::UpstreamTls;
use crate::secret::Secret;

/// One key behind the router.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
#[schemars(extend("required" = ["name"], "additionalProperties" = false))]
pub struct Credential {
    /// The name in logs, metrics and `models`: 1 to 128 printable characters. Required.
    pub name: Option<String>,
    /// What answers there. Default openai: any API of that dialect.
    pub r#type: Kind,
    /// The key, or a list of them: then it is as many credentials, `name#1` and so on, each with the limits given here.
    /// Required, but for `proxy`, `ollama` and for `vertex-ai` with a service account.
    pub api_key: Option<ApiKey>,
    /// The address, with or without `/v1`. Required for `openai`, `azure` and `proxy`; the others have a public one.
    pub base_url: Option<String>,
    /// Where the host of `base_url` is, where that is more than its name says: hosts, each with a port or without. They
    /// share the requests, and one that fails a check of its health is left out. Default: what the name resolves to.
    pub addresses: Vec<String>,
    /// Requests per minute. Default -1: no limit.
    pub rpm: Limit,
    /// Tokens per minute. Default -1: no limit.
    pub tpm: Limit,
    /// Its limits over other times.
    #[serde(flatten)]
    pub quotas: Quotas,
    /// The share of requests within its tier. Default 1: equal shares.
    #[schemars(range(min = 1, max = 1000))]
    pub weight: u32,
    /// The tier: 0 is asked first, a higher one when all lower ones are exhausted. Default 0.
    #[schemars(range(max = 65_534))]
    pub priority: u16,
    /// Whether it is the last tier, for when all others are exhausted. Default false.
    pub is_fallback: bool,
    /// The models that it serves: names, and maps of a name here to a name there; `*` at the end is any text. Default: all
    /// that `models` allows.
    pub models: Option<Names>,
    /// Requests at one time. Default -1: no limit.
    pub max_concurrent: Limit,
    /// The time to connect, TLS included. Default 5s: longer means that the host is not there.
    pub connect_timeout: Span,
    /// Headers to add to every request. Their values are treated as secrets.
    pub headers: BTreeMap<String, SecretText>,
    /// Whether to speak HTTP/2 to it. Default false: one connection per stream, so that no stream holds up another.
    pub http2: bool,
    /// TLS to it, where that is not what all the world uses.
    pub tls: UpstreamTls,
    /// Whether pictures that a request names by their address are fetched here and sent along, because it fetches none.
    /// Default false: most providers fetch them, and closer to where they are needed.
    pub inline_images: bool,
    /// The version in each request, for `azure`. Default: 2024-10-21, or none where `base_url` ends in `/openai/v1`.
    pub api_version: Option<String>,
    /// The project, for `vertex-ai` with a service account.
    pub project_id: Option<String>,
    /// The location, for `vertex-ai` with a service account; `global`, `us` and `eu` are some.
    pub location: Option<String>,
    /// The file of the service account, for `vertex-ai`.
    pub credentials_file: Option<String>,
    /// The service account itself, as JSON, for `vertex-ai`.
    pub credentials_json: Option<SecretText>,
}

impl Default for Credential {
    fn default() -> Self {
        Self {
            name: None,
            r#type: Kind::OpenAi,
            api_key: None,
            base_url: None,
            addresses: Vec::new(),
            rpm: Limit(None),
            tpm: Limit(None),
            quotas: Quotas::default(),
            weight: 1,
            priority: 0,
            is_fallback: false,
            models: None,
            max_concurrent: Limit(None),
            connect_timeout: Span(Some(Duration::from_secs(5))),
            headers: BTreeMap::new(),
            http2: false,
            tls: UpstreamTls::default(),
            inline_images: false,
            api_version: None,
            project_id: None,
            location: None,
            credentials_file: None,
            credentials_json: None,
        }
    }
}

/// One key, or several.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
pub enum ApiKey {
    /// One.
    One(SecretText),
    /// Several, none twice.
    Many(#[schemars(length(min = 1))] Vec<SecretText>),
}

impl ApiKey {
    /// All of them, each with what comes behind `api_key` to name its place.
    pub fn each(&self) -> Vec<(String, &Secret)> {
        match self {
            Self::One(key) => vec![(String::new(), &key.0)],
            Self::Many(keys) => {
                keys.iter().enumerate().map(|(at, key)| (format!("[{at}]"), &key.0)).collect()
            }
        }
    }
}

/// Which models a credential serves: a list of names and of maps from a name here to the name there, or one such map.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
pub enum Names {
    /// Aliases only.
    Map(BTreeMap<String, String>),
    /// Names, and aliases among them.
    List(Vec<NameOrAlias>),
}

/// One entry of a credential's `models`.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
pub enum NameOrAlias {
    /// The same name here and there.
    Name(String),
    /// A name here to the name there.
    Alias(BTreeMap<String, String>),
}
