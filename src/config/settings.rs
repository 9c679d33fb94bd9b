//! The configuration as it runs: every value checked, every default filled in, every unit said by its type.
//!
//! Made once at start by `check.rs` and read by everything else; nothing here can be wrong any more.

mod entrance;
mod otlp;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use http::HeaderName;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::Url;

use crate::clients::Digest;
use crate::names::CredentialName;
use crate::routing::Quota;
use crate::secret::Secret;

pub use super::network::Network;
pub use super::quantity::Term;
pub use crate::llm::ability::{Abilities, Ability};
pub use crate::providers::Kind;
use crate::routing::Limits;
pub use crate::routing::Strategy;
pub use entrance::{Listener, Presented, ServerTls, UpstreamTls};
pub use otlp::Otlp;

/// What a time of `-1` becomes where a time must be given: longer than any process lives, and far from where a clock
/// overflows.
pub const FOREVER: Duration = Duration::from_secs(30 * 365 * 86_400);

/// The whole configuration.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The side that callers see.
    pub server: Server,
    /// How many candidates a request may try, and how long each step may take.
    pub routing: Routing,
    /// When a failing credential is taken out, and for how long.
    pub fail2ban: Fail2ban,
    /// Health, metrics and the log of errors.
    pub monitoring: Monitoring,
    /// Where traces go, if they go anywhere.
    pub otlp: Option<Otlp>,
    /// The place where an operator acts.
    pub admin: Admin,
    /// What is kept over a restart, and what several routers share.
    pub state: State,
    /// How pictures are fetched.
    pub images: Images,
    /// In the order of the file, then those of the environment; names and keys are unique.
    pub client_keys: Vec<ClientKey>,
    /// At least one, in the order of the file, names unique.
    pub credentials: Vec<Credential>,
    /// In the order of the file, then the entries of `models.yaml` that only limit.
    pub models: Vec<Model>,
    /// Other names of models, and the models.
    pub aliases: Vec<(String, String)>,
    /// Whether the file lists models, so that nothing else is served.
    pub binding: bool,
    /// The beginning of the SHA-256 of the file's text, in hexadecimal digits.
    pub digest: String,
}

/// The side that callers see.
#[derive(Clone, Debug)]
pub struct Server {
    /// The address to listen on, without a port.
    pub host: String,
    /// The port to listen on.
    pub port: u16,
    /// Worker threads; nought is one per core.
    pub threads: usize,
    /// The key without limits: 8 and more visible ASCII characters. None only where there are client keys or none is
    /// asked for.
    pub master_key: Option<Secret>,
    /// A further header for keys.
    pub auth_header: Option<HeaderName>,
    /// Whether callers need a key.
    pub enable_auth: bool,
    /// The largest request body, in bytes.
    pub max_body_size: u64,
    /// For a whole request body to arrive.
    pub body_timeout: Duration,
    /// For a request head to arrive.
    pub header_timeout: Duration,
    /// For running requests to end when the router stops; nought ends them at once.
    pub drain_timeout: Duration,
    /// For an idle connection of a caller.
    pub keepalive_timeout: Duration,
    /// All buffered request bodies together, in bytes; at least `max_body_size`.
    pub max_buffered: u64,
    /// Whether discovered model lists bind.
    pub replace_v1_models: bool,
    /// How much is logged.
    pub logging_level: LogLevel,
    /// Whether an answer names the credential that gave it.
    pub expose_route: bool,
    /// TLS for callers; none is plain HTTP.
    pub tls: Option<ServerTls>,
    /// Where to listen: first at `host` and `port`, then elsewhere. Addresses are unique.
    pub listeners: Vec<Listener>,
    /// Whose word is taken for who a caller is.
    pub trusted_proxies: Vec<Network>,
    /// Connections of callers at one time; none is no limit.
    pub max_connections: Option<u32>,
    /// The same for one address.
    pub max_connections_per_address: Option<u32>,
    /// Whether every answer names the model that was asked for.
    pub echo_model: bool,
    /// Whose pages in browsers may use the router; none: nobody's.
    pub cors: Option<Origins>,
}

/// Whose pages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origins {
    /// Anybody's.
    Any,
    /// Those of these origins, as browsers write them.
    These(Vec<String>),
}

/// A host, which may be an IPv6 address in brackets or without, and a port.
pub fn address(host: &str, port: u16) -> String {
    let host = host.trim_matches(['[', ']']);
    match host.contains(':') {
        true => format!("[{host}]:{port}"),
        false => format!("{host}:{port}"),
    }
}

/// How much is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
}

impl LogLevel {
    /// The spelling of the file, which is also that of the log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
        }
    }
}

/// How many candidates a request may try, and how long each step may take; none is no limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Routing {
    /// Attempts per request, at least one.
    pub max_attempts: u32,
    /// From the request to its first output, for all attempts together.
    pub deadline: Option<Duration>,
    /// To the head of an answer that is not streamed.
    pub response_timeout: Option<Duration>,
    /// To the first event of a stream that carries output.
    pub first_token_timeout: Option<Duration>,
    /// Between two pieces of an answer.
    pub stall_timeout: Option<Duration>,
    /// In the queue, where everything is at its limit; nought is no queue.
    pub max_wait: Duration,
    /// How many may wait at once.
    pub max_queue: usize,
    /// What becomes of a stream that breaks off.
    pub resume: Resume,
    /// Which of several equals serves.
    pub strategy: Strategy,
    /// How many percent of use apart they may be for `least_used`; at most 100.
    pub usage_gap: u8,
}

/// What becomes of a stream that breaks off after some of its text: it ends with an error, or another candidate goes on
/// with it, whose answer must begin with exactly that text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Resume {
    Off,
    Verify,
}

/// When a failing credential is taken out, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fail2ban {
    /// Failures in a row that ban; at least one.
    pub max_attempts: u32,
    /// The first term of a ban.
    pub ban: Term,
    /// Statuses that count; none counts when empty.
    pub error_codes: Vec<u16>,
    /// Codes with their own attempts and term; no code is in two rules.
    pub rules: Vec<CodeRule>,
}

/// Codes with their own attempts and term. They count whether or not `error_codes` has them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CodeRule {
    /// Statuses, at least one.
    pub codes: Vec<u16>,
    /// Failures in a row that ban; at least one.
    pub max_attempts: u32,
    /// The first term of a ban.
    pub ban: Term,
}

/// Health, metrics and the log of errors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Monitoring {
    /// Whether metrics are kept and served.
    pub prometheus_enabled: bool,
    /// Begins with a slash.
    pub health_check_path: String,
    /// What the file says about openness, if it says anything.
    pub public: Option<bool>,
    /// The address of the metrics alone; none is off.
    pub prometheus_listen: Option<SocketAddr>,
    /// How often other routers are asked how they are.
    pub peer_health_interval: Duration,
    /// Whether the lines of failed requests are written to a file of their own; there is a path if so.
    pub log_errors: bool,
    /// The file for them.
    pub errors_log_path: Option<PathBuf>,
}

/// The place where an operator acts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// Where it listens.
    pub listen: AdminListen,
}

/// Where the admin side listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminListen {
    /// A socket in the runtime directory.
    Default,
    /// A loopback address.
    Tcp(SocketAddr),
    /// A socket at this path.
    Unix(PathBuf),
    /// Nowhere.
    Off,
}

/// What is kept over a restart, and what several routers share.
#[derive(Clone, Debug)]
pub struct State {
    /// The directory; none lets the shell choose.
    pub dir: Option<PathBuf>,
    /// Where other routers with the same credentials are met; none if there are none.
    pub shared: Option<Shared>,
}

/// How pictures are fetched for upstreams that cannot do so themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Images {
    /// The largest picture, in bytes.
    pub max_size: u64,
    /// For a picture, redirects included.
    pub timeout: Duration,
    /// How often an address may lead to another one.
    pub max_redirects: u8,
    /// Pictures of one request; at least one.
    pub max_images: usize,
    /// Hosts, in lower case and without brackets, that may be asked wherever they are; none: at any port.
    pub allow: Vec<(String, Option<u16>)>,
}

/// The store that several routers share.
#[derive(Clone, Debug)]
pub struct Shared {
    /// Its address; of a cluster, those of some nodes. At least one. `redis` or `rediss`, with a host; may hold a password.
    pub nodes: Vec<Secret>,
    /// Whether it is a cluster.
    pub cluster: bool,
    /// While it cannot be asked.
    pub on_outage: OnOutage,
    /// What its keys begin with: letters, digits, `-`, `_` and `.`.
    pub namespace: String,
    /// For one question.
    pub timeout: Duration,
    /// The least number of routers to divide by in an outage; at least one.
    pub routers: u32,
}

/// What limited requests meet while the shared state cannot be asked: this router's part of each limit, or a 503.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum OnOutage {
    LocalShare,
    Reject,
}

impl OnOutage {
    /// As the file spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::LocalShare => "local_share",
            Self::Reject => "reject",
        }
    }
}

/// Whose requests wait less where requests have to wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Priority {
    High,
    #[default]
    Normal,
    Low,
}

/// The key of one caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientKey {
    /// Unique.
    pub name: CredentialName,
    /// What the key is known by; unique.
    pub digest: Digest,
    /// The key as it may be shown.
    pub hint: String,
    /// What it may ask for, with `*` for any text; none is everything.
    pub models: Option<Vec<String>>,
    /// Requests and tokens over some time, each at least one.
    pub limits: Limits,
    /// Requests at one time, at least one; none is no limit.
    pub max_concurrent: Option<u32>,
    /// Whose requests wait less.
    pub priority: Priority,
    /// From when on it is refused.
    pub expires: Option<SystemTime>,
}

/// One key behind the router.
#[derive(Clone, Debug)]
pub struct Credential {
    /// Unique.
    pub name: CredentialName,
    /// What answers there.
    pub kind: Kind,
    /// Visible ASCII; none where the kind needs none, and for a service account.
    pub api_key: Option<Secret>,
    /// Without a trailing slash and without `/v1`; http or https, with a host.
    pub base_url: Url,
    /// Hosts, without brackets, and ports; empty where the name in `base_url` says all.
    pub addresses: Vec<(String, u16)>,
    /// Requests per minute, at least one; none is no limit.
    pub rpm: Option<u64>,
    /// Tokens per minute, at least one; none is no limit.
    pub tpm: Option<u64>,
    /// Limits over other periods, each of them once.
    pub quotas: Vec<Quota>,
    /// The share within its tier, at least one.
    pub weight: u32,
    /// Nought first; `u16::MAX` is the last tier.
    pub tier: u16,
    /// Whether the file calls it a fallback.
    pub is_fallback: bool,
    /// Name here, name there; none is any model.
    pub models: Option<Vec<(String, String)>>,
    /// Requests at one time, at least one; none is no limit.
    pub max_concurrent: Option<u32>,
    /// To connect, TLS included.
    pub connect_timeout: Duration,
    /// Valid header names in lower case, and values.
    pub headers: Vec<(String, Secret)>,
    /// Whether to speak HTTP/2 to it.
    pub http2: bool,
    /// TLS to it; none where it is that of all the world.
    pub tls: Option<UpstreamTls>,
    /// Whether pictures are fetched for it.
    pub inline_images: bool,
    /// The version in each request, for `azure`; none where the address has it.
    pub api_version: Option<String>,
    /// The project and its account, for `vertex-ai`; none when there is an API key instead.
    pub vertex: Option<Vertex>,
}

impl Credential {
    /// What its metrics depend on: the name, and the type.
    pub fn counted(&self) -> (&str, &'static str) {
        (self.name.as_str(), self.kind.as_str())
    }
}

/// What a `vertex-ai` credential with a service account has besides.
#[derive(Clone, Debug)]
pub struct Vertex {
    /// The project.
    pub project_id: String,
    /// The location; `global` is one.
    pub location: String,
    /// The service account as JSON.
    pub service_account: Secret,
}

/// One model, with one credential or with all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Model {
    /// As callers ask for it.
    pub name: String,
    /// One of `Settings::credentials`; none is every one.
    pub credential: Option<CredentialName>,
    /// Requests per minute on each such credential; none is no limit.
    pub rpm: Option<u64>,
    /// Tokens per minute on each such credential; none is no limit.
    pub tpm: Option<u64>,
    /// Limits on each such credential over other periods, each of them once.
    pub quotas: Vec<Quota>,
    /// Models to try when no candidate is left.
    pub fallbacks: Vec<String>,
    /// The models that it stands for; empty where it is one itself.
    pub models: Vec<String>,
    /// Which of several equals serves it; none is as for all.
    pub strategy: Option<Strategy>,
    /// What it can do; none is as assumed.
    pub capabilities: Option<Abilities>,
    /// Whether it comes from `models.yaml` and so binds nothing.
    pub limits_only: bool,
}
