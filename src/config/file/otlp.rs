//! The section `monitoring.otlp`, as it is written: where traces go.
//!
//! The variables of OpenTelemetry's own tools (`OTEL_EXPORTER_OTLP_ENDPOINT` and the like) are not read by themselves: a
//! variable that is set for another program on the same host must not send this one's traces anywhere. The file may name
//! them: `endpoint: ${OTEL_EXPORTER_OTLP_ENDPOINT}`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::secret_text::SecretText;

/// Where traces go, by OTLP over HTTP. Needs a program built with the feature `otlp`.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Otlp {
    /// The address of the collector, such as `http://127.0.0.1:4318`; `/v1/traces` is put behind it. Default: none, and
    /// no trace leaves.
    pub endpoint: Option<String>,
    /// Headers for the collector, such as one with its key. Default: none.
    pub headers: BTreeMap<String, SecretText>,
    /// Of a hundred traces that begin here, how many are exported. Default 100. A trace that a client has begun is
    /// exported if the client has marked it as sampled.
    #[schemars(range(min = 1, max = 100))]
    pub sample_percentage: u8,
    /// What this router is called in traces. Default auto-ai-router.
    #[schemars(length(min = 1))]
    pub service_name: String,
}

impl Default for Otlp {
    fn default() -> Self {
        Self {
            endpoint: None,
            headers: BTreeMap::new(),
            sample_percentage: 100,
            service_name: "auto-ai-router".into(),
        }
    }
}
