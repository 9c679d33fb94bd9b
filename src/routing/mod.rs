//! Which credential, when, and what next: the live state of all candidates behind one short lock.
//!
//! A [`Pool`] makes a [`Plan`] for a request, hands out a [`Lease`] for each attempt and learns from its end. Limits,
//! bans, cool-downs and probes are plain state machines; time is always an argument and every change comes back as a
//! [`Transition`] for the shell to tell. One lock for the whole pool was chosen over one per credential: the four
//! limit checks of an admission, the choice among candidates and the probe slot are one atomic step, and it takes
//! well under a microsecond.

mod availability;
mod bans;
mod catalog;
pub(crate) mod clock;
mod explain;
mod fleet;
mod hosts;
mod lease;
mod ledger;
pub(crate) mod limits;
mod meaning;
mod outcome;
mod outlook;
pub mod pins;
mod plan;
mod pool;
mod queue;
mod retries;
mod rotation;
mod snapshot;
mod standing;
mod state;
mod strategy;
#[cfg(test)]
mod tests;
mod transition;

use std::sync::Arc;
use std::time::Duration;

use crate::llm::ability::Abilities;

pub use availability::Availability;
pub use bans::{BanPolicy, CodeRule, Term};
pub use catalog::{Listed, UnknownModel};
pub use explain::Considered;
pub use fleet::{Asked, Day, Denial, Fact, Question, Receipt, Scope, Spent, Word};
pub use lease::Lease;
pub use ledger::{Heir, Ledger, Note};
pub use limits::{Bound, Limits, Per, Period, Quota, Stretch};
pub use outlook::Outlook;
pub use plan::{Ask, Plan, Step, Stopped, Which};
pub use pool::Pool;
pub use queue::{Class, Place, QueueSnapshot};
pub use snapshot::{Condition, CredentialSnapshot, ModelSnapshot, QuotaUse, Snapshot, StandingSnapshot, Use};
pub use strategy::Strategy;
pub use transition::{By, Transition};

/// What routing needs of a configuration.
#[derive(Clone, Debug)]
pub struct Blueprint {
    /// In the order of the file; their places here are their numbers everywhere.
    pub credentials: Vec<CredentialSpec>,
    /// The `models` section and `models.yaml`, in the order of the files.
    pub models: Vec<ModelSpec>,
    /// Other names, and the models that they mean.
    pub aliases: Vec<(String, String)>,
    /// What decides who serves a model.
    pub binding: Binding,
    /// Which of several equals serves.
    pub strategy: Strategy,
    /// For `Strategy::LeastUsed`: how many percent of use apart equals may be.
    pub usage_gap: u8,
    /// When failures become bans.
    pub bans: BanPolicy,
    /// Attempts per request, fallback models included; at least 1.
    pub max_attempts: u32,
    /// For how long a request may wait where everything is at its limit; zero = not at all.
    pub max_wait: Duration,
    /// How many may wait at once.
    pub max_queue: usize,
}

/// One credential.
#[derive(Clone, Debug)]
pub struct CredentialSpec {
    /// Unique.
    pub name: Arc<str>,
    /// `host:port`: credentials with the same text share a host, and its faults.
    pub host: Arc<str>,
    /// Share within its tier; 0 counts as 1.
    pub weight: u32,
    /// 0 is asked first.
    pub tier: u16,
    /// Requests per minute; none = unlimited.
    pub rpm: Option<u64>,
    /// Tokens per minute; none = unlimited.
    pub tpm: Option<u64>,
    /// Its limits over other periods, each of them once.
    pub quotas: Vec<Quota>,
    /// Requests at the same time; none = unlimited.
    pub max_concurrent: Option<u32>,
    /// The only models it serves: name here, name there. None = no such list.
    pub models: Option<Vec<(String, String)>>,
}

/// One entry of `models` or `models.yaml`.
#[derive(Clone, Debug)]
pub struct ModelSpec {
    /// Name here.
    pub name: String,
    /// The one credential it is about; none = all of them, each with limits of its own.
    pub credential: Option<usize>,
    /// Requests per minute on each credential; none = unlimited.
    pub rpm: Option<u64>,
    /// Tokens per minute on each credential; none = unlimited.
    pub tpm: Option<u64>,
    /// Its limits on each credential over other periods, each of them once.
    pub quotas: Vec<Quota>,
    /// Models to try when this one has no candidate left, in order.
    pub fallbacks: Vec<String>,
    /// The models that it stands for; empty where it is one itself.
    pub models: Vec<String>,
    /// Which of several equals serves it; none = as for all.
    pub strategy: Option<Strategy>,
    /// What it can do; none = as assumed.
    pub abilities: Option<Abilities>,
    /// Says limits only, and nothing about who serves it.
    pub limits_only: bool,
}

/// What decides who serves a model. A credential with a list of its own (`models` on the credential) serves what that
/// list and entries that name it say, under every binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binding {
    /// Every credential serves every model.
    Open,
    /// The entries bind: an entry names its credential, or means all of them.
    Models,
    /// The entries, if there are any, and the lists that were learned bind. Without entries a credential whose list
    /// is not known yet serves every model.
    Learned,
}
