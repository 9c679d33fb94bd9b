//! What stands in a candidate's way, and what is said when nobody is left: the words of a refusal.
//!
//! `Member::block` is the cheap question that each step asks of each candidate; the exact waits are worked out here,
//! only for those who are told about them.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::catalog::Candidate;
use super::clock::Tick;
use super::limits::{Bound, Need, Per};
use super::outlook::Outlook;
use super::plan::{Plan, Stopped, Which};
use super::rotation::Account;
use super::standing::Gate;
use super::state::{Member, State};
use crate::llm::ability::Abilities;

/// How soon to come back while a probe or a crowd is in the way: nobody knows how long these take.
pub(super) const PROBE: Duration = Duration::from_secs(1);
/// The code with which an upstream tells of a limit of its own.
const TOO_MANY_REQUESTS: u16 = 429;

/// Whether a credential could serve, and if not, why. `Display` says it after the credential's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Availability {
    /// At once.
    Ready,
    /// At once, but others are asked before it.
    Behind(Outlook),
    /// It is at a limit of ours, or cools down after a 429.
    Limited {
        /// Which.
        which: Which,
        /// The limit; none if it is the upstream's own.
        limit: Option<Bound>,
        /// When it can, if nothing else happens.
        retry_after: Duration,
    },
    /// It has asked to be left alone.
    CoolingDown {
        /// When it can.
        retry_after: Duration,
    },
    /// Failures have banned it.
    Banned {
        /// When it is tried again; none = when an operator says so.
        retry_after: Option<Duration>,
    },
    /// The request that decides on its ban is under way.
    Probing,
    /// Never: it does not serve the model.
    Unserved(&'static str),
}

/// What stands in a candidate's way, cheap to find out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Block {
    Gate(Gate),
    Limit(Which, Bound),
}

impl Member {
    /// What stands in the way of a request for it, or for a model on it.
    pub(super) fn block(&self, pair: Option<&Account>, need: Need, tick: Tick) -> Option<Block> {
        let accounts = || std::iter::once(&self.account).chain(pair);
        let shut = |gate: &Gate| !matches!(gate, Gate::Open | Gate::Probe);
        if let Some(gate) = accounts().map(|account| account.standing.gate(tick.now)).find(shut) {
            return Some(Block::Gate(gate));
        }
        if self.is_crowded(need) {
            let bound = Bound { amount: self.max_concurrent.map_or(0, u64::from), per: Per::Moment };
            return Some(Block::Limit(Which::Concurrency, bound));
        }
        let full = accounts().find_map(|account| account.meter.full(need, tick));
        let full = full.map(|full| Block::Limit(full.which, full.bound));
        full.or_else(|| accounts().find_map(|account| account.held(need, tick)))
    }

    /// Whether it serves as many requests as it may.
    fn is_crowded(&self, need: Need) -> bool {
        let most = self.max_concurrent.map(|most| (u64::from(most) / need.among.max(1)).max(1));
        most.is_some_and(|most| u64::from(self.account.in_flight) >= most)
    }

    /// The same with the wait: until nothing at all stands in the way any more.
    pub(super) fn availability(&self, pair: Option<&Account>, need: Need, tick: Tick) -> Availability {
        let Some(block) = self.block(pair, need, tick) else {
            return match self.outlook {
                Outlook::Fair => Availability::Ready,
                outlook => Availability::Behind(outlook),
            };
        };
        let Some(retry_after) = self.recovery(pair, need, tick) else {
            return Availability::Banned { retry_after: None };
        };
        match block {
            Block::Limit(which, limit) => Availability::Limited { which, limit: Some(limit), retry_after },
            Block::Gate(Gate::Cooling(cool_down)) if cool_down.code == TOO_MANY_REQUESTS => {
                Availability::Limited { which: Which::Upstream, limit: None, retry_after }
            }
            Block::Gate(Gate::Cooling(_)) => Availability::CoolingDown { retry_after },
            Block::Gate(Gate::Probing) => Availability::Probing,
            Block::Gate(_) => Availability::Banned { retry_after: Some(retry_after) },
        }
    }

    /// How long until nothing stands in the way, if nothing else happens; none = not by itself.
    fn recovery(&self, pair: Option<&Account>, need: Need, tick: Tick) -> Option<Duration> {
        let mut longest = if self.is_crowded(need) { PROBE } else { Duration::ZERO };
        for account in std::iter::once(&self.account).chain(pair) {
            let shut = match account.standing.gate(tick.now) {
                Gate::Open | Gate::Probe => Duration::ZERO,
                Gate::Probing => PROBE,
                Gate::Banned(until) => until.left(tick.now)?,
                Gate::Cooling(cool_down) => cool_down.until.saturating_duration_since(tick.now),
            };
            let held = account.held.map_or(Duration::ZERO, |held| held.left(need.tokens, tick.now));
            longest = longest.max(shut).max(held).max(account.meter.wait(need, tick));
        }
        Some(longest)
    }
}

impl State {
    /// Whether `credential` could serve `model` now.
    pub(super) fn availability(&self, credential: usize, model: Option<&str>, tick: Tick) -> Availability {
        let Some(member) = self.members.get(credential) else {
            return Availability::Unserved("there is no such credential");
        };
        let objection = model.and_then(|name| self.catalog.objection(credential, &Arc::from(name)));
        if let Some(why) = objection {
            return Availability::Unserved(why);
        }
        let pair = model.and_then(|name| self.rows.find(Some(name))?.pair(credential));
        member.availability(pair, self.need(0), tick)
    }

    /// Whether `plan` could go on with another candidate now.
    pub(super) fn has_alternative(&self, plan: &Plan, tick: Tick) -> bool {
        let need = self.need(plan.tokens);
        let free =
            |model: Option<&Arc<str>>, at: Option<usize>| match self.rows.find(model.map(|name| &**name)) {
                Some(row) => row.seats.iter().any(|seat| {
                    let Candidate { credential, .. } = seat.candidate;
                    let member = self.members.get(credential);
                    let open = |member: &Member| member.block(seat.pair.as_deref(), need, tick).is_none();
                    let allowed = match at {
                        Some(position) => plan.allows(&seat.candidate, position),
                        None => plan.takes(&seat.candidate) && !plan.is_bad(credential),
                    };
                    allowed && member.is_some_and(open)
                }),
                None => model.is_some_and(|name| self.catalog.is_served(name)),
            };
        plan.targets().any(|(position, model)| free(model, Some(position)))
            || plan.later_models().any(|name| free(Some(name), None))
    }

    /// Why no attempt could be made for `plan`.
    pub(super) fn refusal(&mut self, plan: &Plan, tick: Tick) -> Stopped {
        let need = self.need(plan.tokens);
        let Self { rows, catalog, members, .. } = self;
        let mut limited: Option<(Duration, Stopped)> = None;
        let mut soonest: Option<Duration> = None;
        let mut unfit = Unfit::default();
        for model in plan.models() {
            let row = rows.row(catalog, model.map(|name| &**name), Some(tick));
            for seat in row.into_iter().flat_map(|row| &row.seats) {
                if !unfit.consider(plan, &seat.candidate) {
                    continue;
                }
                let Some(member) = members.get(seat.candidate.credential) else { continue };
                match member.availability(seat.pair.as_deref(), need, tick) {
                    Availability::Limited { which, limit, retry_after } => {
                        if limited.is_none_or(|(first, ..)| retry_after < first) {
                            limited = Some((retry_after, Stopped::Limited { retry_after, which, limit }));
                        }
                    }
                    other => soonest = soonest.into_iter().chain(other.retry_after()).min(),
                }
            }
        }
        let known = unfit.stopped(plan).or(limited.map(|(_, stopped)| stopped));
        known.unwrap_or(Stopped::Unavailable { retry_after: soonest })
    }
}

/// Why candidates mean nothing to a request, as long as no other does.
#[derive(Default)]
struct Unfit {
    fit: bool,
    barred: bool,
    asked: bool,
    /// What all of them lack.
    lacking: Option<Abilities>,
}

impl Unfit {
    /// Notes a candidate. Whether it may be asked.
    fn consider(&mut self, plan: &Plan, candidate: &Candidate) -> bool {
        if !plan.may_ask(candidate.credential) {
            return false;
        }
        self.asked = true;
        let lacks = plan.lacks(candidate);
        match (lacks.is_empty(), plan.is_barred(candidate.credential)) {
            (true, false) => self.fit = true,
            (true, true) => self.barred = true,
            (false, _) => self.lacking = Some(self.lacking.map_or(lacks, |before| before.common(lacks))),
        }
        plan.takes(candidate)
    }

    fn stopped(&self, plan: &Plan) -> Option<Stopped> {
        match self.lacking {
            _ if self.fit => None,
            _ if self.barred => Some(Stopped::Unfit),
            // Where each lacks something else, it is all of it that nobody has.
            Some(lacking) if lacking.is_empty() => Some(Stopped::Lacking(plan.needs())),
            Some(lacking) => Some(Stopped::Lacking(lacking)),
            None => (!self.asked && plan.is_kept_among()).then_some(Stopped::Elsewhere),
        }
    }
}

impl Availability {
    /// With which outlook it can serve; none if it cannot.
    pub(super) fn outlook(self) -> Option<Outlook> {
        match self {
            Self::Ready => Some(Outlook::Fair),
            Self::Behind(outlook) => Some(outlook),
            _ => None,
        }
    }

    /// When it can serve; none if not by itself.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Ready | Self::Behind(_) => Some(Duration::ZERO),
            Self::Limited { retry_after, .. } | Self::CoolingDown { retry_after } => Some(*retry_after),
            Self::Banned { retry_after } => *retry_after,
            Self::Probing => Some(PROBE),
            Self::Unserved(_) => None,
        }
    }
}

impl fmt::Display for Availability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds =
            |wait: &Duration| Duration::from_secs(wait.as_secs() + u64::from(wait.subsec_nanos() > 0));
        let text = |wait: &Duration| humantime::format_duration(seconds(wait)).to_string();
        match self {
            Self::Ready => Outlook::Fair.fmt(f),
            Self::Behind(outlook) => outlook.fmt(f),
            Self::Limited { which: Which::Upstream, retry_after, .. } => {
                write!(f, "is at its upstream's limit for {}", text(retry_after))
            }
            Self::Limited { which: Which::Concurrency, limit, .. } => {
                write!(f, "serves {} requests already", limit.map_or(0, |limit| limit.amount))
            }
            Self::Limited { which, limit: Some(limit), retry_after } => {
                let (amount, per) = (limit.amount, limit.per.label());
                write!(
                    f,
                    "is at its limit of {amount} {} per {per} for {}",
                    which.as_str(),
                    text(retry_after)
                )
            }
            Self::Limited { which, retry_after, .. } => {
                write!(f, "is at its limit of {} for {}", which.as_str(), text(retry_after))
            }
            Self::CoolingDown { retry_after } => write!(f, "cools down for {}", text(retry_after)),
            Self::Banned { retry_after: Some(left) } => write!(f, "is banned for {}", text(left)),
            Self::Banned { retry_after: None } => f.write_str("is banned for good"),
            Self::Probing => f.write_str("is on probation, with its probe under way"),
            Self::Unserved(why) => write!(f, "cannot serve: {why}"),
        }
    }
}
