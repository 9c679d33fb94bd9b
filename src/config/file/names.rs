//! `credentials[].models`: which models a credential serves, as the file writes them.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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
