//! The part of the file that says what outlasts a process, and where several routers meet.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::quantity::Span;
use crate::config::secret_text::SecretText;
use crate::config::settings::OnOutage;

/// What is kept over a restart, and what several routers share.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct State {
    /// The directory for the pins of files, batches and stored responses. Default: the one that the service manager
    /// gives, else the user's own state directory.
    pub dir: Option<String>,
    /// The Redis or Valkey that routers with the same credentials share: `redis://` or, with TLS, `rediss://`. Default:
    /// none, so that limits and bans hold in this process alone.
    pub url: Option<SecretText>,
    /// Whether `url` is a node of a cluster, or further nodes of it as a list of `host:port`. Default: it stands alone.
    pub cluster: Option<Cluster>,
    /// What limited requests meet while it cannot be asked: `local_share` serves with this router's part of each limit,
    /// `reject` answers 503. Default local_share: requests matter more than the last percent of a limit.
    pub on_outage: OnOutage,
    /// What its keys begin with; the routers of a fleet have the same. Default auto-ai-router.
    #[schemars(length(min = 1))]
    pub namespace: String,
    /// How long one question may take before it counts as out. Default 100ms: a hundred times what it usually takes.
    pub timeout: Span,
    /// The least number of routers to divide by in an outage. Default 1: as many as were seen before it.
    #[schemars(range(min = 1, max = 10_000))]
    pub routers: u16,
}

impl Default for State {
    fn default() -> Self {
        Self {
            dir: None,
            url: None,
            cluster: None,
            on_outage: OnOutage::LocalShare,
            namespace: "auto-ai-router".into(),
            timeout: Span(Some(Duration::from_millis(100))),
            routers: 1,
        }
    }
}

/// Whether it is a cluster, or its nodes.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
pub enum Cluster {
    /// It is, or is not; the nodes tell of each other.
    Whole(bool),
    /// Some of its nodes besides that of `url`.
    Nodes(Vec<String>),
}
