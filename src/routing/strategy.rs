//! Who of several equals serves: the strategies, each a pure choice among the open seats of a tier.
//!
//! Tiers and outlooks stand above all of them. An enum with a function each was chosen over trait objects: the choice
//! is made for each request under the pool's lock, and round robin, which is what most use, stays the plain loop that
//! it was.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How one of several equals is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum Strategy {
    /// In turn, by weight.
    #[default]
    RoundRobin,
    /// The first in the order of the file.
    Priority,
    /// The one that has used least of its limits.
    LeastUsed,
    /// Any, by lot.
    Even,
    /// The one that answers soonest.
    Latency,
    /// The same for the same conversation.
    Affinity,
}
