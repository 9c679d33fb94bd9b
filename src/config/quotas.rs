//! Limits over other times than a minute, as the file has them: the same five keys wherever something is limited.
//!
//! They are one struct that others take in (`#[serde(flatten)]`), so that a credential, a model and whatever comes later
//! cannot drift apart. `rpm` and `tpm` stay with their owners, whose defaults for them differ.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::quantity::{Limit, Rate};

/// Limits over other times than a minute.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub struct Quotas {
    /// Requests per day. Default -1: no limit.
    pub rpd: Limit,
    /// Tokens per day. Default -1: no limit.
    pub tpd: Limit,
    /// Requests per any time, as in `100 per 90s`, `500 per hour`, `1500 per day`; one or a list. Default: no limit.
    pub requests: Option<Rates>,
    /// Tokens per any time, in the same way. Default: no limit.
    pub tokens: Option<Rates>,
    /// Where its days begin at midnight, as in `America/Los_Angeles`. Default: `routing.time_zone`.
    pub time_zone: Option<String>,
}

/// One rate, or several.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
pub enum Rates {
    /// One.
    One(Rate),
    /// Several, over different times.
    Many(Vec<Rate>),
}

impl Default for Quotas {
    fn default() -> Self {
        Self { rpd: Limit(None), tpd: Limit(None), requests: None, tokens: None, time_zone: None }
    }
}

impl Quotas {
    /// The same with what `other` says where this says nothing.
    pub fn or(self, other: &Self) -> Self {
        Self {
            rpd: Limit(self.rpd.0.or(other.rpd.0)),
            tpd: Limit(self.tpd.0.or(other.tpd.0)),
            requests: self.requests.or_else(|| other.requests.clone()),
            tokens: self.tokens.or_else(|| other.tokens.clone()),
            time_zone: self.time_zone.or_else(|| other.time_zone.clone()),
        }
    }
}

impl Rates {
    /// Each, with what comes behind the key to name it.
    pub fn each(&self) -> Vec<(String, Rate)> {
        match self {
            Self::One(rate) => vec![(String::new(), *rate)],
            Self::Many(rates) => {
                rates.iter().enumerate().map(|(at, rate)| (format!("[{at}]"), *rate)).collect()
            }
        }
    }
}
