//! `client_keys`: the keys of callers besides the master key, as the file writes them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::quantity::Limit;
use super::super::quotas::Quotas;
use super::super::secret_text::SecretText;
use super::super::settings::Priority;

/// The key of one caller, with its limits.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
#[schemars(extend("required" = ["name"], "additionalProperties" = false))]
pub struct ClientKey {
    /// The name in logs, metrics and `/v1/usage`: 1 to 128 printable characters. Required.
    pub name: Option<String>,
    /// The key, at least 8 characters. Either this or `key_sha256`.
    pub key: Option<SecretText>,
    /// The SHA-256 digest of the key, 64 hexadecimal digits, so that the file does not hold the key itself.
    pub key_sha256: Option<SecretText>,
    /// The models that it may ask for; `*` stands for any text. Default: all.
    pub models: Option<Vec<String>>,
    /// Requests per minute. Default -1: no limit.
    pub rpm: Limit,
    /// Tokens per minute. Default -1: no limit.
    pub tpm: Limit,
    /// Its limits over other times.
    #[serde(flatten)]
    pub quotas: Quotas,
    /// Requests at one time. Default -1: no limit.
    pub max_concurrent: Limit,
    /// Whose requests wait less where requests have to wait. Default normal.
    pub priority: Priority,
    /// The day from which on it is refused (`2027-01-31`, as it begins in UTC) or the moment (RFC 3339). Default: never.
    pub expires: Option<String>,
}

impl Default for ClientKey {
    fn default() -> Self {
        Self {
            name: None,
            key: None,
            key_sha256: None,
            models: None,
            rpm: Limit(None),
            tpm: Limit(None),
            quotas: Quotas::default(),
            max_concurrent: Limit(None),
            priority: Priority::Normal,
            expires: None,
        }
    }
}
