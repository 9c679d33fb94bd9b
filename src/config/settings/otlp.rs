//! Checked settings of the export of traces.

use url::Url;

use crate::secret::Secret;

/// Where traces go.
#[derive(Clone, Debug)]
pub struct Otlp {
    /// The address, path included.
    pub endpoint: Url,
    /// Headers for it; names are in lower case.
    pub headers: Vec<(String, Secret)>,
    /// Of a hundred traces that begin here, how many are exported.
    pub sample_percentage: u8,
    /// What this router is called in traces.
    pub service_name: String,
}
