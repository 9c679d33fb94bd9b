//! The part of the file that says how connections are secured: TLS for callers, more places to listen, TLS to an
//! upstream.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Listen;
use crate::config::settings::Presented;

/// TLS for callers.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ServerTls {
    /// The file of the certificate chain (PEM), the router's own first. Default: none, so that callers speak plain HTTP.
    pub certificate: Option<String>,
    /// The file of its private key (PEM).
    pub key: Option<String>,
    /// More certificates, for callers that name another host (SNI). The first one is for all who name none of these.
    pub others: Vec<KeyPair>,
    /// The file of the authorities (PEM) whose client certificates are taken. Default: callers need no certificate.
    pub client_ca: Option<String>,
    /// Whether a caller must present a certificate of `client_ca`, beside its key. Default required.
    pub client_certificate: Presented,
}

/// One more certificate.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["certificate", "key"]))]
pub struct KeyPair {
    /// The file of the certificate chain (PEM). Required.
    pub certificate: Option<String>,
    /// The file of its private key (PEM). Required.
    pub key: Option<String>,
}

/// One more place to listen.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["address"]))]
pub struct Listener {
    /// Address and port. Required.
    pub address: Option<Listen>,
    /// Whether callers speak TLS here. Default: if `server.tls` has a certificate.
    pub tls: Option<bool>,
    /// Whether a proxy in front begins each connection with the PROXY protocol. Default false.
    pub proxy_protocol: bool,
}

/// TLS to an upstream, where it differs from what all the world uses.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct UpstreamTls {
    /// The file of the authorities (PEM) that alone are trusted there. Default: those of the system.
    pub ca: Option<String>,
    /// The file of the certificate chain (PEM) that the router presents there. Default: none.
    pub certificate: Option<String>,
    /// The file of its private key (PEM).
    pub key: Option<String>,
    /// The name that is asked for and must be in the certificate there. Default: the host of `base_url`.
    pub server_name: Option<String>,
}
