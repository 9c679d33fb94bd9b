//! Auto AI Router: an edge router for LLM APIs. One key in front, many credentials behind, nothing lost.
//!
//! *A caller sends a request; the pool makes a plan of candidates; each attempt takes a lease, sends an upstream
//! request and gets a verdict; the accepted answer is relayed; its usage settles the lease; the outcome is told.*
//!
//! The core is pure: bytes, values and a `now` in, values and transitions out. It knows no Pingora, no runtime, no
//! clock, no log and no file.
//!
//! - [`names`], [`secret`], [`calendar`]: the types that cannot be mixed up, the one that cannot be shown, and days
//! - [`config`]: a YAML text in, checked settings or a list of problems out
//! - [`import`]: what others have in place of that text, made into one
//! - [`llm`]: what all dialects share: requests, streams, usage, errors
//! - [`dialect`]: what clients and providers say, made one conversation and taken apart again
//! - [`providers`]: how a request is addressed, what an answer means
//! - [`clients`]: who may ask, for what, and how much
//! - [`routing`]: which credential, when, and what next: limits, bans, rotation, plans, leases
//!
//! The shell is thin:
//!
//! - [`edge`]: the request's path; start reading in `edge::lifecycle`
//! - [`background`]: name resolution, access tokens, model discovery, the end of bans, the export of traces
//! - [`observe`]: log, access log, metrics, `/health`, `/vhealth`
//! - [`gateway`]: a configuration, assembled; [`server`]: a process, assembled
//! - [`handover`]: one process takes over from another; [`operator`]: reload and upgrade, asked for from outside;
//!   [`loading`]: the file; [`descriptors`]: sockets that change hands; [`supervisor`]: what the service manager is told;
//!   [`footprint`]: memory that only the start needed; [`coredump`]: memory that nobody else may see
//! - [`cli`], [`demo`]: the command, and an upstream to try it without any key
//!
//! Words: *downstream* is the client's side, *upstream* the provider's. A *credential* is one key with its limits, a
//! *candidate* a credential with a model. A *limit* is per minute, per any other time or per day; a *ban* is for failures, and each failure a
//! *strike*; a *cool-down* is what an upstream asked for. A *tier* is a set of candidates of one priority. An
//! *attempt* is one exchange; the first is attempt one. *Pass through* means bytes we do not open.

pub mod background;
pub mod calendar;
pub mod cli;
pub mod clients;
pub mod config;
pub mod coredump;
pub mod demo;
pub mod descriptors;
pub mod dialect;
pub mod edge;
pub mod footprint;
pub mod gateway;
pub mod handover;
mod hex;
pub mod import;
pub mod llm;
pub mod loading;
pub mod names;
pub mod observe;
pub mod operator;
pub mod providers;
pub mod routing;
pub mod secret;
pub mod server;
pub mod shared;
pub mod supervisor;
mod sync;

/// The version of the program.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
