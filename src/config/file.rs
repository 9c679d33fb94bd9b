//! The file as it is written: every key, what it means, its default and the reason for the default.
//!
//! These structs are the one source of the file's shape. Their JSON Schema drives the walk that finds problems, the
//! schema for editors and the table of keys; serde only fills them in once the walk has made every value right. Keys
//! that must be present are `Option` and named in `required`, so that one missing key does not hide the problems of
//! the rest. "-1" is no limit everywhere, as in the original program.

mod client_key;
mod credential;
mod entrance;
mod images;
mod otlp;
mod state;

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::quantity::{Limit, Listen, Size, Span, Term};
use super::quotas::Quotas;
use super::secret_text::SecretText;
use super::settings::{Ability, LogLevel, Resume, Strategy};

pub use client_key::ClientKey;
pub use credential::{ApiKey, Credential, NameOrAlias, Names};
pub use entrance::{Listener, ServerTls, UpstreamTls};
pub use images::Images;
pub use otlp::Otlp;
pub use state::{Cluster, State};

/// Auto AI Router: config.yaml.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["credentials"], "patternProperties" = {"^x-": true}))]
pub struct File {
    /// The side that callers see.
    pub server: Server,
    /// How many candidates a request may try, and how long each step may take.
    pub routing: Routing,
    /// When a failing credential is taken out, and for how long.
    pub fail2ban: Fail2ban,
    /// Health, metrics and the log of errors.
    pub monitoring: Monitoring,
    /// The place where an operator acts on a running router.
    pub admin: Admin,
    /// What is kept over a restart, and what several routers share.
    pub state: State,
    /// The keys of callers besides the master key, each with limits of its own. Default: none.
    pub client_keys: Vec<ClientKey>,
    /// How pictures are fetched for upstreams that cannot do so themselves (`credentials[].inline_images`).
    pub images: Images,
    /// The keys behind the router, in the order of preference where all else is equal. At least one.
    #[schemars(length(min = 1))]
    pub credentials: Vec<Credential>,
    /// The models and who serves them. If any is listed, only these are served; without the section every credential
    /// serves every model.
    pub models: Vec<Model>,
    /// Other names for models: the name that callers use, and the model that it means. Default: none.
    pub model_aliases: BTreeMap<String, String>,
}

/// `models.yaml` beside the configuration: limits per model, read at start and never written.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("patternProperties" = {"^x-": true}))]
pub struct ModelsFile {
    /// Limits per model; an entry here does not bind the model to anything.
    pub models: Vec<ModelLimit>,
}

/// The side that callers see.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Server {
    /// The address to listen on. Default 0.0.0.0, as the original program: a router is there to be reached.
    pub host: String,
    /// The port to listen on. Default 8080.
    #[schemars(range(min = 1, max = 65535))]
    pub port: u16,
    /// Worker threads. Default 0: one per core.
    #[schemars(range(max = 1024))]
    pub threads: u16,
    /// The key that callers present, at least 8 characters (16 and more are safer). It may do everything and has no
    /// limits. Required where there are no `client_keys`.
    pub master_key: Option<SecretText>,
    /// Whether the variables `AUTH_KEY` and `AUTH_KEY_01` to `AUTH_KEY_99` are client keys, each under its own name.
    /// Default false: the file says who may ask.
    pub auth_keys_from_env: bool,
    /// A further header in which callers may send their key, alone or after `Bearer `. Default: none.
    pub auth_header_name: Option<String>,
    /// Whether callers need a key. Default true. Without keys everybody who reaches the router may do everything, so that
    /// takes a `host` on loopback.
    pub enable_auth: bool,
    /// Whether `enable_auth: false` holds on a `host` that others can reach, too. Default false.
    pub allow_unauthenticated: bool,
    /// The largest request body. Default 32MiB: room for a conversation with images.
    pub max_body_size: Size,
    /// The original name of `max_body_size`, in MiB. Use one of the two.
    pub max_body_size_mb: Option<Limit>,
    /// The time for a whole request body to arrive; for each MiB of one that streams through. Default 30s.
    pub body_timeout: Span,
    /// The time for a request head to arrive. Default 10s: a head fits into one packet or a few.
    pub header_timeout: Span,
    /// How long a stopping router waits for running requests; 0 ends them at once. Default 30s.
    pub drain_timeout: Span,
    /// How long an idle connection of a caller is kept. Default 60s: as long as common load balancers keep theirs.
    pub keepalive_timeout: Span,
    /// Memory for all buffered request bodies and all answers read whole together; beyond it callers get 503. Default
    /// 256MiB.
    pub max_buffered: Size,
    /// The budget of a request up to its first output, for all attempts together; it never cuts a stream that flows.
    /// `routing.deadline` is the newer name. Default 5m: long reasoning comes through, a stuck request ends.
    pub request_timeout: Span,
    /// Requests per minute for listed models that have no `rpm`. Default -1: no limit that nobody wrote.
    pub default_models_rpm: Limit,
    /// Whether the discovered model lists decide who serves what. Default false: they only fill /v1/models.
    pub replace_v1_models: bool,
    /// How much is logged. Default info: starts, stops, bans and one line per request.
    pub logging_level: LogLevel,
    /// Whether an answer names the credential that gave it, in a header. Default false: names are the operator's.
    pub expose_route: bool,
    /// TLS for callers.
    pub tls: ServerTls,
    /// More places to listen, beside `host` and `port`. Default: none.
    pub listen: Vec<Listener>,
    /// Whether a proxy in front of `host` and `port` begins each connection with the PROXY protocol, version 1 or 2. It
    /// is taken from `trusted_proxies` only; all others are refused there. Default false.
    pub proxy_protocol: bool,
    /// The networks of the proxies in front, whose word is taken for who a caller is (`Forwarded`, `X-Forwarded-For`, the
    /// PROXY protocol). Default: none, so that nobody can pass for another.
    pub trusted_proxies: Vec<String>,
    /// Connections of callers at one time; more are answered by 503 and closed. Default 16384: idle ones are small.
    pub max_connections: Limit,
    /// Connections of one caller's address (IPv6: of its /64) at one time. Loopback and `trusted_proxies` stand for many
    /// and are not counted. Default 1024: room for an office behind one address.
    pub max_connections_per_address: Limit,
    /// Which pages in browsers may use the router: true is any, a list has their origins (`https://app.example.com`).
    /// Default false: no answer has the headers that a browser asks for.
    pub cors: Cors,
    /// Whether every answer names the model that the caller asked for. Default false: only for aliases and lists of
    /// models; else it names the model as the provider does.
    pub echo_model: bool,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            host: "0.0.0.0".into(),
            port: 8080,
            threads: 0,
            master_key: None,
            auth_keys_from_env: false,
            auth_header_name: None,
            enable_auth: true,
            allow_unauthenticated: false,
            max_body_size: Size(32 << 20),
            max_body_size_mb: None,
            body_timeout: seconds(30),
            header_timeout: seconds(10),
            drain_timeout: seconds(30),
            keepalive_timeout: seconds(60),
            max_buffered: Size(256 << 20),
            request_timeout: seconds(300),
            default_models_rpm: Limit(None),
            replace_v1_models: false,
            logging_level: LogLevel::Info,
            expose_route: false,
            tls: ServerTls::default(),
            listen: Vec::new(),
            proxy_protocol: false,
            trusted_proxies: Vec::new(),
            max_connections: Limit(Some(16_384)),
            max_connections_per_address: Limit(Some(1024)),
            cors: Cors::Whole(false),
            echo_model: false,
        }
    }
}

/// Whether any page may, or which ones.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
pub enum Cors {
    /// Any may, or none.
    Whole(bool),
    /// Those of these origins.
    Origins(Vec<String>),
}

/// How many candidates a request may try, and how long each step may take.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Routing {
    /// Attempts per request, over all credentials and fallback models. Default 5: enough to pass a bad tier, few
    /// enough not to turn one failure into a storm.
    pub max_attempts: Limit,
    /// The budget of a request up to its first output, for all attempts together. Default: `server.request_timeout`.
    pub deadline: Option<Span>,
    /// The time to the head of an answer that is not streamed. Default 300s: such answers come whole, and long ones
    /// take minutes.
    pub response_timeout: Span,
    /// The time to the first event of a stream that carries output. Default 60s: longer than a model is queued.
    pub first_token_timeout: Span,
    /// The longest silence between two pieces of an answer. Default 60s.
    pub stall_timeout: Span,
    /// How long a request waits where everything is at its limit, before it is refused. Default 0: not at all, since most
    /// clients come back by themselves.
    pub max_wait: Span,
    /// How many requests wait at once; the next one is refused. Default 1000.
    pub max_queue: Limit,
    /// Where days begin at midnight, for limits per day that say nothing else. Default UTC, where most providers' begin.
    pub time_zone: Option<String>,
    /// What becomes of a stream that breaks off after some of its text: `off` ends it with an error, `verify` asks the
    /// next candidate, and goes on with its answer as soon as that has said exactly the text that was sent. Default
    /// off: the text is paid for twice, and most answers at a temperature above 0 differ.
    pub resume: Resume,
    /// Which of several credentials of a tier serves: in turn by weight, the first of the file, the one that has used
    /// least, any by lot, the one that answers soonest, or the same one for the same conversation. Default round_robin.
    pub strategy: Strategy,
    /// For `least_used`: how many percent credentials may be apart before the less used one is preferred. Default 5.
    #[schemars(range(max = 100))]
    pub model_usage_gap_percentage: u8,
}

impl Default for Routing {
    fn default() -> Self {
        Self {
            max_attempts: Limit(Some(5)),
            deadline: None,
            response_timeout: seconds(300),
            first_token_timeout: seconds(60),
            stall_timeout: seconds(60),
            max_wait: seconds(0),
            max_queue: Limit(Some(1000)),
            time_zone: None,
            resume: Resume::Off,
            strategy: Strategy::RoundRobin,
            model_usage_gap_percentage: 5,
        }
    }
}

/// When a failing credential is taken out, and for how long.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Fail2ban {
    /// Failures in a row that ban. Default 3: two can be chance.
    pub max_attempts: Limit,
    /// The length of a ban, or `permanent`. Default 10s: it doubles with each ban, so a blip is short and a dead key
    /// costs little.
    pub ban_duration: Term,
    /// The statuses that count as failures; an empty list counts none. Default: those of a bad key, a full quota and a
    /// broken server.
    #[schemars(inner(range(min = 100, max = 599)))]
    pub error_codes: Vec<u16>,
    /// Codes with their own attempts and duration. Default: none.
    pub error_code_rules: Vec<CodeRule>,
}

impl Default for Fail2ban {
    fn default() -> Self {
        Self {
            max_attempts: Limit(Some(3)),
            ban_duration: Term::For(Duration::from_secs(10)),
            error_codes: vec![401, 403, 429, 500, 502, 503, 504],
            error_code_rules: Vec::new(),
        }
    }
}

/// A code, or several, with their own attempts and duration.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CodeRule {
    /// The status that the rule is for.
    #[schemars(range(min = 100, max = 599))]
    pub code: Option<u16>,
    /// The statuses that the rule is for, where they are several.
    #[schemars(inner(range(min = 100, max = 599)))]
    pub codes: Vec<u16>,
    /// Failures in a row that ban. Default: `fail2ban.max_attempts`.
    pub max_attempts: Option<Limit>,
    /// The length of a ban. Default: `fail2ban.ban_duration`.
    pub ban_duration: Option<Term>,
}

/// Health, metrics and the log of errors.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Monitoring {
    /// Whether metrics are kept and served. Default true: they cost little, and are missed when it is too late.
    pub prometheus_enabled: bool,
    /// The path of the health check. Default /health.
    #[schemars(regex(pattern = "^/"))]
    pub health_check_path: String,
    /// Whether health details, the status page and metrics on the main port need no key. Default: metrics are open, as
    /// in the original program, the details are not.
    pub public: Option<bool>,
    /// The address of the metrics alone, or `off`. Default 127.0.0.1:9464: this host only.
    pub prometheus_listen: Listen,
    /// How often the routers behind credentials of type `proxy` are asked for their `/health`, from the start on; -1
    /// is at the start only. Default 30s, as in the original program: half of the minute that limits are about.
    pub peer_health_interval: Span,
    /// Whether the access lines of requests that got a status from 400 on are written to `errors_log_path`, too. They
    /// never hold what callers or upstreams wrote. Default false: the same lines are on the standard output.
    pub log_errors: bool,
    /// The file for the lines of failed requests, one JSON object per line.
    pub errors_log_path: Option<String>,
    /// Where traces go, by OTLP over HTTP. Needs a program built with the feature `otlp`.
    pub otlp: Otlp,
}

impl Default for Monitoring {
    fn default() -> Self {
        Self {
            prometheus_enabled: true,
            health_check_path: "/health".into(),
            public: None,
            prometheus_listen: Listen::Tcp(([127, 0, 0, 1], 9464).into()),
            peer_health_interval: seconds(30),
            log_errors: false,
            errors_log_path: None,
            otlp: Otlp::default(),
        }
    }
}

/// The place where an operator acts on a running router.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Admin {
    /// A loopback address, `unix:/path`, or `off`. Default: a socket in the runtime directory, which only the router's
    /// own user can open.
    pub listen: Option<Listen>,
}

/// One model, with one credential or with all.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
#[schemars(extend("required" = ["name"], "additionalProperties" = false))]
pub struct Model {
    /// The model, as callers ask for it; `*` with a list of `models` is any name that nobody serves. Required.
    pub name: Option<String>,
    /// The credential that serves it. Default: every one.
    pub credential: Option<String>,
    /// Requests per minute, for each credential that serves it. Default: `server.default_models_rpm`.
    pub rpm: Option<Limit>,
    /// Tokens per minute, for each credential that serves it. Default -1: no limit.
    pub tpm: Limit,
    /// Its limits over other times, for each credential that serves it.
    #[serde(flatten)]
    pub quotas: Quotas,
    /// Models to try in this order when no candidate is left for this one. Default: none.
    pub fallbacks: Vec<String>,
    /// The models that it stands for, asked in this order, or evenly with `strategy: even`. Default: itself.
    pub models: Vec<String>,
    /// Which of several credentials serves it. Default: `routing.strategy`.
    pub strategy: Option<Strategy>,
    /// What it can do; a request that needs more goes elsewhere. Default: all of these but `prefill`.
    pub capabilities: Option<Vec<Ability>>,
}

impl Default for Model {
    fn default() -> Self {
        Self {
            name: None,
            credential: None,
            rpm: None,
            tpm: Limit(None),
            quotas: Quotas::default(),
            fallbacks: Vec::new(),
            models: Vec::new(),
            strategy: None,
            capabilities: None,
        }
    }
}

/// One entry of `models.yaml`.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
#[schemars(extend("required" = ["name"], "additionalProperties" = false))]
pub struct ModelLimit {
    /// The model. Required.
    pub name: Option<String>,
    /// The credential that the limits are for. Default: every one.
    pub credential: Option<String>,
    /// Requests per minute. Default: `server.default_models_rpm`.
    pub rpm: Option<Limit>,
    /// Tokens per minute. Default -1: no limit.
    pub tpm: Limit,
    /// Its limits over other times.
    #[serde(flatten)]
    pub quotas: Quotas,
}

impl Default for ModelLimit {
    fn default() -> Self {
        Self { name: None, credential: None, rpm: None, tpm: Limit(None), quotas: Quotas::default() }
    }
}

/// A time of whole seconds.
fn seconds(seconds: u64) -> Span {
    Span(Some(Duration::from_secs(seconds)))
}
