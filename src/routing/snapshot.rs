//! How things stand, copied out under the lock for everything that looks and does not route: `/health`, metrics, the
//! page. Nothing here changes anything.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use super::availability::PROBE;
use super::catalog::Catalog;
use super::clock::Tick;
use super::limits::{Meter, Per, Span};
use super::outlook::Outlook;
use super::queue::QueueSnapshot;
use super::rotation::Account;
use super::standing::{Gate, Standing};
use super::state::{Member, State};

/// All credentials, in the order of the file.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// One each.
    pub credentials: Vec<CredentialSnapshot>,
    /// Those who wait.
    pub queue: QueueSnapshot,
}

/// One credential.
#[derive(Clone, Debug)]
pub struct CredentialSnapshot {
    /// Its name.
    pub name: Arc<str>,
    /// 0 is asked first.
    pub tier: u16,
    /// Share within its tier.
    pub weight: u32,
    /// Requests in the last minute.
    pub rpm: Use,
    /// Tokens in the last minute, reservations included.
    pub tpm: Use,
    /// The part of `tpm` that is reserved for requests under way.
    pub reserved: u64,
    /// The same for its limits over other periods.
    pub quotas: Vec<QuotaUse>,
    /// Requests under way.
    pub in_flight: u32,
    /// How many may be; none = unlimited.
    pub max_concurrent: Option<u32>,
    /// What is known without asking.
    pub outlook: Outlook,
    /// Where it stands itself.
    pub standing: StandingSnapshot,
    /// It is banned, or all of its configured models (without such: all that were asked for) are.
    pub is_banned: bool,
    /// Its models: the configured ones in the order of the file, then the others by name.
    pub models: Vec<ModelSnapshot>,
}

/// One model on one credential.
#[derive(Clone, Debug)]
pub struct ModelSnapshot {
    /// Name here.
    pub name: Arc<str>,
    /// Requests in the last minute.
    pub rpm: Use,
    /// Tokens in the last minute, reservations included.
    pub tpm: Use,
    /// The same for its limits over other periods.
    pub quotas: Vec<QuotaUse>,
    /// Requests under way.
    pub in_flight: u32,
    /// Where it stands.
    pub standing: StandingSnapshot,
}

/// Use of a limit over another period than a minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuotaUse {
    /// Its period.
    pub per: Per,
    /// Requests in it.
    pub requests: Use,
    /// Tokens in it, reservations included.
    pub tokens: Use,
    /// How long until nothing counts any more of what counts now; none for a rolling window in which nothing does.
    pub resets: Option<Duration>,
}

/// Use of a limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Use {
    /// In its time.
    pub used: u64,
    /// None = unlimited.
    pub limit: Option<u64>,
}

/// Where a credential or a model on it stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StandingSnapshot {
    /// The state.
    pub condition: Condition,
    /// What led to it, in words without names or secrets.
    pub reason: Option<String>,
    /// For how long it has been so.
    pub since: Option<Duration>,
    /// Time until it is tried again; none where it is available, or never by itself.
    pub next_recovery: Option<Duration>,
    /// Failures in a row that count toward a ban, or have led to it.
    pub strikes: u32,
}

/// The states.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Condition {
    /// Takes requests.
    #[default]
    Clear,
    /// Left alone because it asked for that.
    CoolingDown,
    /// One request decides.
    Probation,
    /// Until a time.
    Banned,
    /// Until an operator lifts it.
    BannedForGood,
}

/// What is copied out under the lock; the rest is put together without it.
pub(super) struct Copied {
    catalog: Arc<Catalog>,
    credentials: Vec<CredentialSnapshot>,
    /// With the credential of each.
    pairs: Vec<(usize, ModelSnapshot)>,
    queue: QueueSnapshot,
    tick: Tick,
}

impl Copied {
    /// Everything that has a state.
    pub(super) fn new(state: &State, tick: Tick) -> Self {
        let pairs = state.rows.iter().flat_map(|row| {
            let pairs =
                row.seats.iter().filter_map(|seat| Some((seat.candidate.credential, seat.pair.as_deref()?)));
            pairs.map(|(at, pair)| (at, ModelSnapshot::of(&row.name, pair, tick)))
        });
        Self {
            catalog: state.catalog.clone(),
            credentials: state.members.iter().map(|member| CredentialSnapshot::of(member, tick)).collect(),
            pairs: pairs.collect(),
            queue: state.queue.snapshot(tick.now),
            tick,
        }
    }

    /// Adds the configured pairs that have no state yet, and sorts.
    pub(super) fn assemble(self) -> Snapshot {
        let Self { catalog, mut credentials, pairs, queue, tick } = self;
        let named = pairs.into_iter().map(|(at, pair)| ((at, pair.name.clone()), pair));
        let mut pairs: HashMap<_, ModelSnapshot> = named.collect();
        for name in catalog.configured() {
            for (at, credential) in credentials.iter_mut().enumerate() {
                if catalog.objection(at, name).is_none() {
                    let idle = || ModelSnapshot::of(name, &Account::new(&catalog.limits(at, name)), tick);
                    credential.models.push(pairs.remove(&(at, name.clone())).unwrap_or_else(idle));
                }
            }
        }
        let configured: Vec<usize> = credentials.iter().map(|credential| credential.models.len()).collect();
        let mut seen: Vec<_> = pairs.into_iter().collect();
        seen.sort_by(|(a, _), (b, _)| a.cmp(b));
        for ((at, _), pair) in seen {
            if let Some(credential) = credentials.get_mut(at) {
                credential.models.push(pair);
            }
        }
        for (credential, configured) in credentials.iter_mut().zip(configured) {
            credential.is_banned = credential.counts_as_banned(configured);
        }
        Snapshot { credentials, queue }
    }

    /// Only what has a state. Where each of hundreds of credentials serves hundreds of models, that is far less.
    pub(super) fn busy(self) -> Snapshot {
        let Self { catalog, mut credentials, pairs, queue, .. } = self;
        for (at, pair) in pairs {
            if let Some(credential) = credentials.get_mut(at) {
                credential.models.push(pair);
            }
        }
        for (at, credential) in credentials.iter_mut().enumerate() {
            credential.models.sort_by(|a, b| a.name.cmp(&b.name));
            let mut banned =
                credential.models.iter().filter(|model| model.standing.condition.is_banned()).peekable();
            let own = credential.standing.condition.is_banned();
            credential.is_banned = own
                || banned.peek().is_some() && {
                    let banned: HashSet<&str> = banned.map(|model| &*model.name).collect();
                    let mut configured = catalog
                        .configured()
                        .iter()
                        .filter(|name| catalog.objection(at, name).is_none())
                        .peekable();
                    match configured.peek() {
                        Some(_) => configured.all(|name| banned.contains(&**name)),
                        None => banned.len() == credential.models.len(),
                    }
                };
        }
        Snapshot { credentials, queue }
    }
}

impl CredentialSnapshot {
    fn of(member: &Member, tick: Tick) -> Self {
        let Account { meter, standing, in_flight, reserved, .. } = &member.account;
        let [rpm, tpm] = Use::of(&meter.minute, tick);
        Self {
            name: member.name.clone(),
            tier: member.tier,
            weight: member.weight,
            rpm,
            tpm,
            reserved: *reserved,
            quotas: QuotaUse::of(meter, tick),
            in_flight: *in_flight,
            max_concurrent: member.max_concurrent,
            outlook: member.outlook,
            standing: StandingSnapshot::of(standing, tick),
            is_banned: false,
            models: Vec::new(),
        }
    }

    /// The first `configured` of its models are configured.
    fn counts_as_banned(&self, configured: usize) -> bool {
        let count = if configured > 0 { configured } else { self.models.len() };
        let all =
            count > 0 && self.models.iter().take(count).all(|model| model.standing.condition.is_banned());
        self.standing.condition.is_banned() || all
    }
}

impl ModelSnapshot {
    fn of(name: &Arc<str>, pair: &Account, tick: Tick) -> Self {
        let [rpm, tpm] = Use::of(&pair.meter.minute, tick);
        Self {
            name: name.clone(),
            rpm,
            tpm,
            quotas: QuotaUse::of(&pair.meter, tick),
            in_flight: pair.in_flight,
            standing: StandingSnapshot::of(&pair.standing, tick),
        }
    }
}

impl Use {
    /// Requests and tokens.
    fn of(span: &Span, tick: Tick) -> [Self; 2] {
        span.uses(tick.moment()).map(|(used, limit)| Self { used, limit })
    }
}

impl QuotaUse {
    fn of(meter: &Meter, tick: Tick) -> Vec<Self> {
        let of = |span: &Span| {
            let [requests, tokens] = Use::of(span, tick);
            Self { per: span.per(), requests, tokens, resets: span.resets(tick) }
        };
        meter.spans().skip(1).map(of).collect()
    }
}

impl StandingSnapshot {
    fn of(standing: &Standing, tick: Tick) -> Self {
        let (code, struck) = standing.last();
        let strikes = standing.strikes();
        let for_strikes = || match strikes {
            0 | 1 => format!("failed with {code}"),
            _ => format!("{strikes} strikes, the last a {code}"),
        };
        let (condition, reason, since, next_recovery) = match standing.gate(tick.now) {
            Gate::Open if strikes == 0 => (Condition::Clear, None, None, None),
            Gate::Open => (Condition::Clear, Some(for_strikes()), struck, None),
            Gate::Probe => (Condition::Probation, Some(for_strikes()), struck, Some(Duration::ZERO)),
            Gate::Probing => (Condition::Probation, Some(for_strikes()), struck, Some(PROBE)),
            Gate::Banned(until) => match until.left(tick.now) {
                Some(left) => (Condition::Banned, Some(for_strikes()), struck, Some(left)),
                None => (Condition::BannedForGood, Some(for_strikes()), struck, None),
            },
            Gate::Cooling(cool_down) => {
                let left = cool_down.until.saturating_duration_since(tick.now);
                let reason = match cool_down.out_for_the_day {
                    true => "its quota for the day is used up".to_owned(),
                    false => format!("its {} asked for it", cool_down.code),
                };
                (Condition::CoolingDown, Some(reason), Some(cool_down.since), Some(left))
            }
        };
        let since = since.map(|since| tick.now.saturating_duration_since(since));
        Self { condition, reason, since, next_recovery, strikes }
    }
}

impl Condition {
    /// Whether it counts as banned; a probation does not, since it takes a request.
    pub fn is_banned(self) -> bool {
        matches!(self, Self::Banned | Self::BannedForGood)
    }

    /// For pages and labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Clear => "available",
            Self::CoolingDown => "cool_down",
            Self::Probation => "probation",
            Self::Banned => "banned",
            Self::BannedForGood => "banned_permanently",
        }
    }
}
