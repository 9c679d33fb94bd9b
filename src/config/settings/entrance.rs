//! Checked settings of how connections are secured: who may come in, by what door, and whom an upstream has to be.
//!
//! Certificates and keys are read and proved when the file is checked, so that a handshake cannot fail for a reason
//! that the file has. What is equal is told by a fingerprint, since keys are not compared in the open.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use rustls::ServerConfig;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::hex::hex;
use crate::secret::Secret;

/// Whether callers must present a certificate, or may.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Presented {
    #[default]
    Required,
    Optional,
}

/// A place to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Host and port.
    pub address: String,
    /// Callers speak TLS.
    pub tls: bool,
    /// A connection begins with the PROXY protocol if it comes from a trusted proxy.
    pub proxy_protocol: bool,
}

/// TLS as callers meet it: certificates by name, TLS 1.2 and 1.3, HTTP/2 and HTTP/1.1 by ALPN.
#[derive(Clone)]
pub struct ServerTls {
    /// For handshakes.
    pub config: Arc<ServerConfig>,
    /// Of all that it was made from.
    pub fingerprint: [u8; 32],
}

/// TLS to one upstream.
#[derive(Clone)]
pub struct UpstreamTls {
    /// The authorities that alone are trusted, as DER; empty for those of the system.
    pub ca: Vec<Vec<u8>>,
    /// The chain to present, as DER, and its key, as PEM.
    pub identity: Option<(Vec<Vec<u8>>, Secret)>,
    /// The name to ask for and to find; none is the host of the address.
    pub server_name: Option<String>,
    /// Of all of it.
    pub fingerprint: [u8; 32],
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServerTls({})", short(&self.fingerprint))
    }
}

impl PartialEq for ServerTls {
    fn eq(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint
    }
}

impl fmt::Debug for UpstreamTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UpstreamTls({})", short(&self.fingerprint))
    }
}

impl PartialEq for UpstreamTls {
    fn eq(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint
    }
}

impl Eq for UpstreamTls {}

impl Hash for UpstreamTls {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.fingerprint.hash(state);
    }
}

/// Enough of a fingerprint to tell two apart in a log.
fn short(fingerprint: &[u8; 32]) -> String {
    hex(&fingerprint[..4])
}
