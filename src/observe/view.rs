//! What the router looks like at one moment: the one input of `/health`, of `/vhealth` and of the gauges.
//!
//! Plain values that the shell fills from the pool's snapshot, so that the three can never disagree, and so that each
//! of them can be tested without a pool.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::recent::{Failure, Lately};
use crate::providers::peer_health::PeerHealth;

/// The whole router.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// Names the running process to other routers.
    pub instance: String,
    /// Version of the program.
    pub version: &'static str,
    /// Time since the start.
    pub uptime: Duration,
    /// Told to stop: no new traffic, please.
    pub draining: bool,
    /// How many models `/v1/models` lists.
    pub active_models: usize,
    /// In the order of the file.
    pub credentials: Vec<CredentialView>,
    /// Each type of provider, by name.
    pub vendors: Vec<VendorView>,
    /// The keys of callers that have asked for something.
    pub clients: Vec<ClientView>,
    /// What is shared with other routers; none if nothing is.
    pub state: Option<StateView>,
    /// Those who wait; none where nobody may.
    pub queue: Option<QueueView>,
    /// What only the page shows; none where nobody looks at it.
    pub page: Option<PageView>,
}

/// What the page shows besides.
#[derive(Clone, Debug)]
pub struct PageView {
    /// When the rest was seen.
    pub now: SystemTime,
    /// The beginning of the digest of the configuration's text.
    pub config: String,
    /// When the running configuration was read.
    pub read_at: SystemTime,
    /// A later one was not good.
    pub reload_failed: bool,
    /// How many processes have taken over from one another.
    pub generation: u32,
    /// Requests under way.
    pub in_flight: usize,
    /// Listed models: who would be tried, in which order.
    pub routes: Vec<RouteView>,
    /// How many more there are.
    pub left_out: usize,
    /// The last errors, newest first.
    pub failures: Vec<Failure>,
    /// What happened lately, by the place of the credential.
    pub lately: Vec<Lately>,
}

/// Who would be tried for a model.
#[derive(Clone, Debug)]
pub struct RouteView {
    /// Its name here.
    pub model: String,
    /// Who would be, first to last.
    pub order: Vec<TurnView>,
    /// Why others would not, and who: the more of them, the earlier.
    pub others: Vec<(String, Vec<Arc<str>>)>,
}

/// One attempt that would be made.
#[derive(Clone, Debug)]
pub struct TurnView {
    /// On which credential.
    pub credential: Arc<str>,
    /// For which model, where a fallback's turn has come.
    pub fallback: Option<Arc<str>>,
    /// Why others come before it.
    pub remark: Option<String>,
}

/// What one caller's key was used for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientView {
    /// Its name.
    pub name: String,
    /// Requests that had an answer without an error, and those that had not.
    pub requests: [u64; 2],
    /// Tokens of prompts and of answers.
    pub tokens: [u64; 2],
    /// Requests under way.
    pub in_flight: u32,
}

/// The credentials of one type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VendorView {
    /// The type.
    pub kind: &'static str,
    /// How many there are.
    pub credentials: usize,
    /// How many of them may be asked.
    pub available: usize,
    /// Whether one of them has answered, a request or the question for its models or its health; none while nobody was
    /// asked.
    pub answered: Option<bool>,
}

impl VendorView {
    /// In a word.
    pub fn status(&self) -> &'static str {
        match (self.available, self.answered) {
            (0, _) | (_, Some(false)) => "down",
            (_, None) => "unknown",
            (available, _) if available < self.credentials => "degraded",
            _ => "up",
        }
    }
}

/// The state that several routers share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateView {
    /// What limits go by: `shared`, or in an outage `local_share` or `reject`.
    pub mode: &'static str,
    /// Whether it is asked.
    pub up: bool,
    /// How many routers share it, this one included.
    pub routers: u32,
    /// For how long it has been up or out.
    pub since: Duration,
    /// How often it was lost.
    pub outages: u64,
}

/// Those who wait for a limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueView {
    /// How many, by class.
    pub waiting: Vec<(&'static str, usize)>,
    /// How long the first has waited.
    pub oldest: Option<Duration>,
    /// How many have waited in vain.
    pub given_up: u64,
    /// How many found the queue full.
    pub refused: u64,
}

/// One credential.
#[derive(Clone, Debug)]
pub struct CredentialView {
    /// Its name in the file.
    pub name: String,
    /// Its type as written in the file: `openai`, `proxy`, `anthropic`, `vertex-ai`.
    pub kind: &'static str,
    /// Serves in the last tier.
    pub is_fallback: bool,
    /// Tier, 0 first.
    pub tier: u16,
    /// Share within its tier.
    pub weight: u32,
    /// Requests in the last minute.
    pub rpm: Used,
    /// Tokens in the last minute.
    pub tpm: Used,
    /// The part of `tpm` that is reserved for requests under way.
    pub reserved: u64,
    /// Limits over other times.
    pub quotas: Vec<QuotaView>,
    /// Requests under way.
    pub in_flight: u32,
    /// How many may be; none = unlimited.
    pub max_concurrent: Option<u32>,
    /// Counts as banned: itself, or all of its models.
    pub banned: bool,
    /// Why it is, or is not, tried.
    pub standing: Standing,
    /// Its models, configured or seen.
    pub models: Vec<ModelView>,
    /// What is known of it, if it is another router.
    pub peer: Option<PeerView>,
}

/// Another router.
#[derive(Clone, Debug)]
pub struct PeerView {
    /// How much to think of what is known.
    pub state: PeerState,
    /// Since it last answered; none if it never has.
    pub age: Option<Duration>,
    /// What it said then.
    pub health: Arc<PeerHealth>,
}

/// How much to think of what is known of a router.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerState {
    /// It has not been asked yet.
    Unknown,
    /// It has answered when it was asked last.
    Fresh,
    /// It has not.
    Stale,
    /// It is about to leave.
    Draining,
    /// It does not answer, or can serve nothing.
    Down,
}

impl PeerState {
    /// The word in `/health`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Fresh => "fresh",
            Self::Stale => "stale",
            Self::Draining => "draining",
            Self::Down => "down",
        }
    }
}

/// One model on one credential.
#[derive(Clone, Debug)]
pub struct ModelView {
    /// Name here.
    pub model: String,
    /// `/v1/models` lists it; others are names that clients came up with, and no labels.
    pub listed: bool,
    /// Requests in the last minute.
    pub rpm: Used,
    /// Tokens in the last minute.
    pub tpm: Used,
    /// Limits over other times.
    pub quotas: Vec<QuotaView>,
    /// Counts as banned.
    pub banned: bool,
    /// Why it is, or is not, tried.
    pub standing: Standing,
}

/// Use of a limit over another time than a minute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuotaView {
    /// `requests` or `tokens`.
    pub of: &'static str,
    /// `day`, `hour`, `1m30s`.
    pub per: String,
    /// How much of it is used.
    pub current: u64,
    /// Of how much.
    pub limit: u64,
    /// How long until nothing counts any more of what counts now; none for a rolling window in which nothing does.
    pub resets: Option<Duration>,
}

/// Use of a limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Used {
    /// In the last sixty seconds.
    pub current: u64,
    /// The limit; none = unlimited.
    pub limit: Option<u64>,
}

/// Where a credential or a model on it stands.
#[derive(Clone, Debug, Default)]
pub struct Standing {
    /// The state.
    pub state: State,
    /// What led to it, in words for the operator, without secrets.
    pub reason: Option<String>,
    /// How long it has been so.
    pub since: Option<Duration>,
    /// Until it is tried again; none where it is available, or never by itself.
    pub next_recovery: Option<Duration>,
    /// Failures in a row that count toward a ban.
    pub strikes: u32,
}

/// The states, worst last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// Takes requests.
    #[default]
    Available,
    /// Left alone because it asked for that.
    CoolDown,
    /// One request after a ban decides.
    Probation,
    /// Until a time.
    Banned,
    /// Until an operator lifts it.
    BannedForGood,
}

impl State {
    /// The word in `/health`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Available => "available",
            Self::CoolDown => "cool_down",
            Self::Probation => "probation",
            Self::Banned => "banned",
            Self::BannedForGood => "banned_permanently",
        }
    }
}

impl View {
    /// Credentials that may be asked: those that are neither banned nor routers that seem to be down.
    pub fn available(&self) -> usize {
        let down = |credential: &CredentialView| {
            credential.peer.as_ref().is_some_and(|peer| peer.state == PeerState::Down)
        };
        self.credentials.iter().filter(|credential| !credential.banned && !down(credential)).count()
    }

    /// Credentials that are banned.
    pub fn banned(&self) -> usize {
        self.credentials.iter().filter(|credential| credential.banned).count()
    }

    /// Whether anything can be served: at least one credential may be asked.
    pub fn healthy(&self) -> bool {
        self.available() > 0
    }
}

impl CredentialView {
    /// The word for its state; banned as well where all of its models are.
    pub fn state(&self) -> &'static str {
        match self.standing.state {
            State::Available if self.banned => State::Banned.as_str(),
            state => state.as_str(),
        }
    }
}

impl Used {
    /// Share of the limit in use, 0 to 1; 0 where there is no limit.
    pub fn share(self) -> f64 {
        match self.limit {
            Some(limit) => (self.current as f64 / limit.max(1) as f64).min(1.0),
            None => 0.0,
        }
    }
}

#[cfg(test)]
pub(crate) mod samples {
    //! A small router for the tests of this room.

    use super::*;

    /// A credential that is well, with one limited model.
    pub(crate) fn credential(name: &str) -> CredentialView {
        CredentialView {
            name: name.into(),
            kind: "openai",
            is_fallback: false,
            tier: 0,
            weight: 1,
            rpm: Used { current: 7, limit: Some(10) },
            tpm: Used { current: 900, limit: None },
            reserved: 300,
            quotas: vec![QuotaView {
                of: "requests",
                per: "day".into(),
                current: 12,
                limit: 1500,
                resets: Some(Duration::from_millis(3_600_200)),
            }],
            in_flight: 2,
            max_concurrent: Some(8),
            banned: false,
            standing: Standing::default(),
            models: vec![ModelView {
                model: "gpt-5".into(),
                listed: true,
                rpm: Used { current: 7, limit: None },
                tpm: Used { current: 900, limit: Some(1000) },
                quotas: vec![QuotaView {
                    of: "tokens",
                    per: "hour".into(),
                    current: 900,
                    limit: 5000,
                    resets: None,
                }],
                banned: false,
                standing: Standing::default(),
            }],
            peer: None,
        }
    }

    /// One banned for twelve seconds more.
    pub(crate) fn banned(name: &str) -> CredentialView {
        let standing = Standing {
            state: State::Banned,
            reason: Some("3 x 500".into()),
            since: Some(Duration::from_secs(8)),
            next_recovery: Some(Duration::from_millis(11_200)),
            strikes: 3,
        };
        CredentialView { banned: true, standing, ..credential(name) }
    }

    /// The same as somebody sees it who looks at the page.
    pub(crate) fn watched() -> View {
        let failure = Failure {
            at: SystemTime::UNIX_EPOCH + Duration::from_secs(1_780_000_000),
            request_id: "req_7".into(),
            endpoint: "/v1/chat/completions",
            model: Some("gpt-5".into()),
            credential: Some("spare".into()),
            status: 503,
            reason: "status",
        };
        let ms = Duration::from_millis;
        let busy = Lately {
            latency: Some((ms(120), ms(900))),
            tokens_per_second: 41.5,
            answers: vec![1; 60],
            errors: vec![0; 60],
            ..Lately::default()
        };
        let failing = Lately { last_error: Some(failure.clone()), ..Lately::default() };
        let turn = |name: &str| TurnView { credential: name.into(), fallback: None, remark: None };
        let route = RouteView {
            model: "gpt-5".into(),
            order: vec![turn("main"), turn("peer")],
            others: vec![("is banned for 12s".into(), vec!["spare".into()])],
        };
        let page = PageView {
            now: SystemTime::UNIX_EPOCH + Duration::from_secs(1_780_000_020),
            config: "0123456789ab".into(),
            read_at: SystemTime::UNIX_EPOCH + Duration::from_secs(1_779_906_236),
            reload_failed: false,
            generation: 2,
            in_flight: 3,
            routes: vec![route],
            left_out: 0,
            failures: vec![failure],
            lately: vec![busy, failing, Lately::default()],
        };
        View { page: Some(page), ..view() }
    }

    /// A router of one well, one banned and one peer.
    pub(crate) fn view() -> View {
        let health = br#"{"instance": "p", "version": "<0.9>", "uptime_seconds": 60, "credentials": {
            "main": {"type": "openai", "current_rpm": 3, "limit_rpm": 50},
            "far": {"type": "proxy", "is_fallback": true, "is_banned": true,
                    "peer": {"instance": "q", "state": "stale", "age_seconds": 30}}}}"#;
        let health = Arc::new(PeerHealth::read(health, "us").expect("an object"));
        let known = PeerView { state: PeerState::Fresh, age: Some(Duration::from_secs(5)), health };
        let peer = CredentialView {
            kind: "proxy",
            is_fallback: true,
            tier: u16::MAX,
            peer: Some(known),
            ..credential("peer")
        };
        View {
            instance: "0123456789abcdef".into(),
            version: "1.2.3",
            uptime: Duration::from_secs(93_784),
            draining: false,
            active_models: 4,
            credentials: vec![credential("main"), banned("spare"), peer],
            vendors: vec![VendorView { kind: "openai", credentials: 2, available: 1, answered: Some(true) }],
            clients: vec![ClientView {
                name: "team".into(),
                requests: [5, 2],
                tokens: [30, 40],
                in_flight: 1,
            }],
            state: None,
            page: None,
            queue: None,
        }
    }
}
