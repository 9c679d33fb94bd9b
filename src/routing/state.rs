//! The books of the pool, behind its lock: who is there, what they have taken, what stands in their way.
//!
//! Admission is one step: all limits, the concurrency check and both gates are read and charged together,
//! all or nothing. What comes of an attempt (strikes,
//! cool-downs, expiry) is in `outcome`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::bans::BanPolicy;
use super::catalog::Catalog;
use super::clock::{Clock, Tick};
use super::hosts::Hosts;
use super::lease::{Claim, Grant};
use super::ledger::{Event, Succession};
use super::limits::Limits;
use super::outlook::Outlook;
use super::plan::{Ask, Plan};
use super::queue::Queue;
use super::retries::Retries;
use super::rotation::{Account, Rows, Seat};
use super::strategy::{self, Choice, Strategy};
use super::transition::Transition;
use super::{Blueprint, CredentialSpec};

/// Everything that changes.
pub(super) struct State {
    pub(super) clock: Clock,
    /// Shared with those who look at it without the lock.
    pub(super) catalog: Arc<Catalog>,
    pub(super) members: Vec<Member>,
    pub(super) rows: Rows,
    pub(super) hosts: Hosts,
    pub(super) bans: BanPolicy,
    /// For `Strategy::LeastUsed`: percent.
    pub(super) usage_gap: u8,
    /// Changes that nobody could be told of yet.
    pub(super) news: Vec<Transition>,
    /// The first end of a ban that runs, or earlier.
    pub(super) next_expiry: Option<Instant>,
    pub(super) tickets: u64,
    pub(super) retries: Retries,
    /// How many routers each limit is divided by.
    pub(super) among: u32,
    /// Whether others use the same keys, so that each lease has to be asked about.
    pub(super) in_fleet: bool,
    /// Who waits.
    pub(super) queue: Queue,
    /// These books are closed, and this is where notes go.
    pub(super) succession: Option<Succession>,
}

/// A credential.
pub(super) struct Member {
    pub(super) name: Arc<str>,
    pub(super) tier: u16,
    pub(super) weight: u32,
    pub(super) max_concurrent: Option<u32>,
    pub(super) outlook: Outlook,
    pub(super) account: Account,
    /// What stands for the name in distances.
    pub(super) mark: u64,
    /// The last ticket that was given out for another key than the one it has now.
    pub(super) stranger: u64,
}

impl State {
    /// Nobody has done anything yet.
    pub(super) fn new(blueprint: Blueprint) -> Self {
        let catalog = Arc::new(Catalog::new(&blueprint));
        let rows = Rows::new(&catalog, blueprint.credentials.len());
        let hosts = Hosts::new(blueprint.credentials.iter().map(|spec| &*spec.host));
        Self {
            clock: Clock::default(),
            catalog,
            members: blueprint.credentials.into_iter().map(Member::new).collect(),
            rows,
            hosts,
            bans: blueprint.bans,
            usage_gap: blueprint.usage_gap,
            news: Vec::new(),
            next_expiry: None,
            tickets: 0,
            retries: Retries::default(),
            among: 1,
            in_fleet: false,
            queue: Queue::new(blueprint.max_queue, blueprint.max_wait),
            succession: None,
        }
    }

    /// A plan for a request of `model`; none if nobody serves that, and it stands for nothing.
    pub(super) fn plan(&mut self, model: &str, ask: Ask<'_>, max_attempts: u32) -> Option<Plan> {
        let Self { rows, catalog, clock, .. } = self;
        if let Some(meaning) = catalog.meaning(model) {
            return Some(Plan::meant(ask, meaning, max_attempts));
        }
        match rows.row(catalog, Some(model), clock.latest()) {
            Some(row) => Some(Plan::new(ask, Some(row.name.clone()), row.fallbacks.clone(), max_attempts)),
            None => catalog.any().map(|meaning| Plan::meant(ask, meaning, max_attempts)),
        }
    }

    /// Whether one of the models of `plan` goes by conversations.
    pub(super) fn asks_for_key(&self, plan: &Plan) -> bool {
        let strategy = |name: Option<&Arc<str>>| self.catalog.strategy(name.map_or("", |name| name));
        plan.models().any(|name| strategy(name) == Strategy::Affinity)
    }

    /// Admits the request to the candidate whose turn it is, of the model that its plan is at, if one is available.
    pub(super) fn admit(&mut self, plan: &Plan, tick: Tick) -> Option<Grant> {
        let need = self.need(plan.tokens);
        let Self { catalog, members, rows, news, tickets, usage_gap: gap, .. } = self;
        let open = |seat: &Seat, position: usize| {
            let member = members.get(seat.candidate.credential);
            let open = |member: &Member| member.block(seat.pair.as_deref(), need, tick).is_none();
            plan.allows(&seat.candidate, position) && member.is_some_and(open)
        };
        let outlook = |seat: &Seat| {
            members.get(seat.candidate.credential).map_or(Outlook::Fair, |member| member.outlook)
        };
        let (row, position, at) = if plan.draws() {
            rows.draw(catalog, plan, tick, outlook, open)?
        } else {
            let (position, model) = plan.targets().next()?;
            let row = rows.row(catalog, model.map(|name| &**name), Some(tick))?;
            let choice = Choice { strategy: row.strategy, gap: *gap, members, plan, tick };
            let at = row.rotate(&choice, outlook, |seat| open(seat, position))?;
            (row, position, at)
        };
        let (name, strategy) = (row.name.clone(), row.strategy);
        let model = plan.model().map(|_| name.clone());
        let seat = row.seats.get_mut(at)?;
        let credential = seat.candidate.credential;
        let member = members.get_mut(credential)?;
        *tickets += 1;
        let claim = Claim {
            credential,
            model,
            ticket: *tickets,
            at: tick.moment(),
            tokens: plan.tokens,
            cost: 0,
            sent: false,
        };
        let mut probe = member.account.admit(&claim, tick, || news.push(expired(&member.name, None)));
        if claim.model.is_some() {
            let pair =
                seat.pair.get_or_insert_with(|| Box::new(Account::new(&catalog.limits(credential, &name))));
            probe |= pair.admit(&claim, tick, || news.push(expired(&member.name, Some(&name))));
        }
        let (upstream, abilities) = (seat.candidate.upstream.clone(), seat.candidate.abilities);
        let question = self.in_fleet.then(|| self.question(&claim)).flatten();
        let timed = (strategy == Strategy::Latency).then(|| plan.streams());
        Some(Grant { claim, name, upstream, abilities, position, timed, probe, question })
    }

    /// An answer to the request that holds `claim` took this long.
    pub(super) fn paced(&mut self, claim: &Claim, streamed: bool, took: Duration, now: Instant) {
        let now = self.clock.tick(now).now;
        let row = self.rows.existing(claim.model.as_deref());
        if let Some(seat) = row.and_then(|row| row.seat(claim.credential)) {
            seat.pace.get_or_insert_default().note(streamed, took, now);
        }
    }

    /// None has come since it was admitted.
    pub(super) fn late(&mut self, claim: &Claim, streamed: bool, now: Instant) {
        let took = self.clock.tick(now).age.saturating_sub(Duration::from_secs(claim.at.second));
        self.paced(claim, streamed, took, now);
    }

    /// Takes a lease back: its place, its probe slot, and what it has reserved but not used.
    pub(super) fn release(&mut self, claim: &Claim) {
        self.note(claim, || Event::Released);
        for account in self.accounts(claim) {
            account.in_flight = account.in_flight.saturating_sub(1);
            account.reserved = account.reserved.saturating_sub(claim.tokens);
            // Not for one that never had its place.
            account.held.take_if(|held| claim.sent && held.is_crowded());
            account.standing.leave(claim.ticket);
            account.meter.give_back(u64::from(!claim.sent), claim.unused(), claim.at);
        }
        if let (false, None, Some(tick)) = (self.queue.is_empty(), &self.succession, self.clock.latest()) {
            self.serve(tick);
        }
    }

    /// The request goes upstream now: it counts in this second, so that the upstream, too, never sees more than the
    /// limit in a minute, however long it took to connect.
    pub(super) fn sent(&mut self, claim: &mut Claim) {
        self.note(claim, || Event::Sent);
        let (admitted, Some(now)) = (claim.at, self.clock.latest().map(|tick| tick.moment())) else { return };
        if claim.sent || admitted == now {
            return;
        }
        for account in self.accounts(claim) {
            account.meter.postpone(admitted, now);
        }
    }

    /// Charges what a claim has cost beyond its reservation.
    pub(super) fn overshoot(&mut self, claim: &mut Claim) {
        self.note(claim, || Event::Overshot);
        let Some(now) = self.clock.latest().map(|tick| tick.moment()) else { return };
        let more = claim.cost.saturating_sub(claim.tokens);
        for account in self.accounts(claim) {
            account.meter.overshoot(more, now);
            account.reserved += more;
        }
        claim.tokens = claim.cost;
    }

    /// The credential's account and that of the model on it, as far as they are there.
    pub(super) fn accounts(&mut self, claim: &Claim) -> impl Iterator<Item = &mut Account> {
        let member = self.members.get_mut(claim.credential).map(|member| &mut member.account);
        member.into_iter().chain(pair(&mut self.rows, claim.credential, claim.model.as_deref()))
    }

    /// The account of a model on a credential, or of the credential where there is no model.
    pub(super) fn account(&mut self, credential: usize, model: Option<&str>) -> Option<&mut Account> {
        match model {
            Some(_) => pair(&mut self.rows, credential, model),
            None => self.members.get_mut(credential).map(|member| &mut member.account),
        }
    }

    /// The name of a credential, shared.
    pub(super) fn name_of(&self, credential: usize) -> Arc<str> {
        self.members.get(credential).map(|member| member.name.clone()).unwrap_or_default()
    }
}

/// The account of a model on a credential.
pub(super) fn pair<'r>(
    rows: &'r mut Rows,
    credential: usize,
    model: Option<&str>,
) -> Option<&'r mut Account> {
    rows.existing(Some(model?))?.seat(credential)?.pair.as_deref_mut()
}

fn expired(credential: &Arc<str>, model: Option<&Arc<str>>) -> Transition {
    Transition::Expired { credential: credential.clone(), model: model.cloned() }
}

impl Account {
    /// Charges a claim and lets it pass. Whether it is a probe; `expired` is called if that starts a probation.
    fn admit(&mut self, claim: &Claim, tick: Tick, expired: impl FnOnce()) -> bool {
        self.meter.charge(claim.tokens, claim.at);
        self.in_flight += 1;
        self.reserved += claim.tokens;
        if self.standing.expire(tick.now) {
            expired();
        }
        self.standing.enter(claim.ticket)
    }
}

impl Member {
    fn new(spec: CredentialSpec) -> Self {
        Self {
            mark: strategy::mark(&spec.name),
            name: spec.name,
            tier: spec.tier,
            weight: spec.weight.max(1),
            max_concurrent: spec.max_concurrent,
            outlook: Outlook::default(),
            account: Account::new(&Limits { rpm: spec.rpm, tpm: spec.tpm, more: spec.quotas.into() }),
            stranger: 0,
        }
    }
}
