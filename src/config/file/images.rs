//! The section `images`, as it is written: the bounds of the only requests that callers can have the router make.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::seconds;
use crate::config::quantity::{Size, Span};

/// How pictures are fetched for upstreams that cannot do so themselves (`credentials[].inline_images`).
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Images {
    /// The largest picture. Default 20MiB: no provider takes a larger one.
    pub max_size: Size,
    /// The time for a picture, redirects included. Default 30s.
    pub timeout: Span,
    /// How often an address may lead to another one. Default 3: a shortened link and what it stands for.
    #[schemars(range(max = 10))]
    pub max_redirects: u8,
    /// The pictures fetched for one request; the others become notes. Default 16.
    #[schemars(range(min = 1, max = 100))]
    pub max_images: u16,
    /// Hosts, each with a port or without, that may be asked wherever they are: in a private network, on this host, at
    /// any port. What callers name there is fetched, at the operator's own risk. Default: none; only hosts in the public
    /// network are asked, at ports 80 and 443.
    pub allow: Vec<String>,
}

impl Default for Images {
    fn default() -> Self {
        Self {
            max_size: Size(20 << 20),
            timeout: seconds(30),
            max_redirects: 3,
            max_images: 16,
            allow: Vec::new(),
        }
    }
}
