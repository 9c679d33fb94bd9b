//! What comes of an attempt: cool-downs, strikes, bans and their ends.
//!
//! A bad key strikes its credential, everything else the model on it. A request that fails on several credentials
//! strikes the first only, since it may be the request. Nobody is struck while the host is at fault. Cool-downs are
//! kept always: an upstream that asks to be left alone is left alone.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::clock::Tick;
use super::hosts::Strike;
use super::lease::Claim;
use super::ledger::Event;
use super::plan::Plan;
use super::standing::{Gate, Sentence, Standing};
use super::state::{pair, State};
use super::transition::{By, Transition};
use crate::providers::verdict::{Blame, Verdict};

/// A failure, and whom it strikes.
#[derive(Clone, Copy)]
struct Fault<'a> {
    claim: &'a Claim,
    /// The model on the credential; none = the credential itself.
    model: Option<&'a Arc<str>>,
    verdict: &'a Verdict,
    now: Instant,
}

impl State {
    /// A 2xx of the request that holds `claim`.
    pub(super) fn succeeded(&mut self, claim: &Claim, now: Instant) -> Vec<Transition> {
        let now = self.clock.tick(now).now;
        self.note(claim, || Event::Succeeded);
        self.hosts.succeeded(claim.credential, now);
        let mut changes = std::mem::take(&mut self.news);
        let mut ended = |credential: &Arc<str>, model: Option<&Arc<str>>| {
            let (credential, model) = (credential.clone(), model.cloned());
            changes.push(Transition::Unbanned { credential, model, by: By::Success });
        };
        let Some(member) = self.members.get_mut(claim.credential) else { return changes };
        member.answered();
        if member.account.standing.succeed(claim.ticket) {
            ended(&member.name, None);
        }
        let pair = pair(&mut self.rows, claim.credential, claim.model.as_deref());
        if pair.is_some_and(|pair| pair.standing.succeed(claim.ticket)) {
            ended(&member.name, claim.model.as_ref());
        }
        changes
    }

    /// The attempt that holds `claim` has failed.
    pub(super) fn failed(
        &mut self,
        plan: &mut Plan,
        claim: &Claim,
        verdict: &Verdict,
        now: Instant,
    ) -> Vec<Transition> {
        let tick = self.clock.tick(now);
        let may_be_poison = plan.may_be_poison(claim.credential);
        self.note(claim, || Event::Failed {
            code: verdict.code,
            blame: verdict.blame,
            cool_down: verdict.cool_down,
            out_for_the_day: verdict.out_for_the_day,
            may_be_poison,
        });
        let changes = self.blame(claim, verdict, may_be_poison, tick);
        let resume = self.second_try(plan, claim, verdict, tick);
        plan.failed(claim.credential, verdict, resume);
        changes
    }

    /// Strikes and cools whom the failure is blamed on.
    pub(super) fn blame(
        &mut self,
        claim: &Claim,
        verdict: &Verdict,
        may_be_poison: bool,
        tick: Tick,
    ) -> Vec<Transition> {
        let mut changes = std::mem::take(&mut self.news);
        let target = match verdict.blame {
            Blame::Key => Some(None),
            Blame::Pair | Blame::Host | Blame::Busy => Some(claim.model.as_ref()),
            Blame::Caller | Blame::Absent | Blame::Local => None,
        };
        let host_is_down = self.hear(claim, verdict, tick, &mut changes);
        if let Some(model) = target {
            let fault = Fault { claim, model, verdict, now: tick.now };
            changes.extend(self.cool(&fault));
            if !host_is_down && verdict.blame != Blame::Busy {
                changes.extend(self.strike(&fault, may_be_poison));
            }
        }
        changes
    }

    /// Starts the probations whose time has come.
    pub(super) fn expire(&mut self, now: Instant) -> Vec<Transition> {
        let now = self.clock.tick(now).now;
        let mut changes = std::mem::take(&mut self.news);
        if self.next_expiry.is_none_or(|next| next > now) {
            return changes;
        }
        self.next_expiry = None;
        let next = &mut self.next_expiry;
        for member in &mut self.members {
            if member.account.standing.expire(now) {
                changes.push(Transition::Expired { credential: member.name.clone(), model: None });
            }
            *next = sooner(*next, member.account.standing.term_ends());
        }
        for (credential, name, account) in self.rows.pairs_mut() {
            if account.standing.expire(now) {
                let credential =
                    self.members.get(credential).map(|member| member.name.clone()).unwrap_or_default();
                changes.push(Transition::Expired { credential, model: Some(name.clone()) });
            }
            *next = sooner(*next, account.standing.term_ends());
        }
        changes
    }

    /// An operator lifts all that stands against the credential called `name`; none if there is no such credential.
    pub(super) fn unban(&mut self, name: &str, now: Instant) -> Option<Vec<Transition>> {
        self.clock.tick(now);
        let credential = self.members.iter().position(|member| &*member.name == name)?;
        Some(self.lift(credential, By::Operator, Standing::lift))
    }

    /// The host of `credential` says that it is well; `back`: and it was gone, so that what was held against it meanwhile
    /// is not held any longer.
    pub(super) fn vouch(&mut self, credential: usize, back: bool, now: Instant) -> Vec<Transition> {
        self.clock.tick(now);
        self.lift(credential, By::Host, if back { Standing::pardon } else { Standing::warm })
    }

    /// Lifts by `act` what stands against a credential and all models on it.
    fn lift(&mut self, credential: usize, by: By, act: fn(&mut Standing) -> bool) -> Vec<Transition> {
        let mut changes = std::mem::take(&mut self.news);
        let Some(member) = self.members.get_mut(credential) else { return changes };
        let shared = member.name.clone();
        let mut lifted = |model: Option<&Arc<str>>| {
            changes.push(Transition::Unbanned { credential: shared.clone(), model: model.cloned(), by });
        };
        if act(&mut member.account.standing) {
            lifted(None);
        }
        for (_, name, account) in self.rows.pairs_mut().filter(|(owner, ..)| *owner == credential) {
            if act(&mut account.standing) {
                lifted(Some(name));
            }
        }
        changes
    }

    /// Notes what the failure says about the host. Whether the host is at fault; then what it has caused is undone.
    fn hear(&mut self, claim: &Claim, verdict: &Verdict, tick: Tick, changes: &mut Vec<Transition>) -> bool {
        match verdict.blame {
            Blame::Local => return false,
            Blame::Host => {}
            Blame::Caller | Blame::Absent | Blame::Key | Blame::Pair | Blame::Busy => {
                self.hosts.answered(claim.credential, tick.now);
                return false;
            }
        }
        let is_down = self.hosts.failed(claim.credential, tick.now);
        if is_down {
            for Strike { credential, model, before, .. } in self.hosts.withdraw(claim.credential, tick.now) {
                let account = self.account(credential, model.as_deref());
                if account.is_some_and(|account| account.standing.restore(before)) {
                    changes.push(self.unbanned(credential, model.as_ref(), By::Host));
                }
            }
        }
        is_down
    }

    fn cool(&mut self, fault: &Fault<'_>) -> Option<Transition> {
        let Fault { claim, model, verdict, now } = *fault;
        let account = self.account(claim.credential, model.map(|name| &**name))?;
        let term = account.standing.cool(verdict.cool_down?, verdict.code, verdict.out_for_the_day, now)?;
        let credential = self.name_of(claim.credential);
        Some(Transition::CooledDown { credential, model: model.cloned(), code: verdict.code, term })
    }

    fn strike(&mut self, fault: &Fault<'_>, may_be_poison: bool) -> Option<Transition> {
        let Fault { claim, model, verdict: &Verdict { code, blame, .. }, now } = *fault;
        let Self { bans, rows, members, next_expiry, .. } = self;
        let account = match model {
            Some(name) => pair(rows, claim.credential, Some(name)),
            None => members.get_mut(claim.credential).map(|member| &mut member.account),
        };
        let standing = &mut account?.standing;
        let before = standing.record();
        let mut sentence = standing.probe_failed(bans, code, claim.ticket, may_be_poison, now);
        if sentence.is_none() && !may_be_poison {
            sentence = standing.strike(bans, code, now);
        }
        *next_expiry = sooner(*next_expiry, standing.term_ends());
        if blame == Blame::Host && (sentence.is_some() || !may_be_poison) {
            self.hosts.struck(Strike {
                at: now,
                credential: claim.credential,
                model: model.cloned(),
                before,
            });
        }
        let Sentence { strikes, term } = sentence?;
        let credential = self.name_of(claim.credential);
        Some(Transition::Banned { credential, model: model.cloned(), code, strikes, term })
    }

    /// When the candidate may be tried once more, because the model has no other.
    fn second_try(&mut self, plan: &Plan, claim: &Claim, verdict: &Verdict, tick: Tick) -> Option<Instant> {
        let row = self.rows.existing(claim.model.as_deref())?;
        let able = row.seats.iter().filter(|seat| plan.takes(&seat.candidate)).count();
        if plan.draws() || able != 1 {
            return None;
        }
        let ready = self.ready(claim.credential, claim.model.as_ref(), tick.now)?;
        plan.second_try(verdict, ready, tick.now)
    }

    /// How long the request waits before it asks those again that failed in passing, all others having been tried; none
    /// if it does not.
    pub(super) fn another_round(&mut self, plan: &mut Plan, tick: Tick) -> Option<Duration> {
        let ready = plan.passing().filter_map(|(credential, model)| self.ready(credential, model, tick.now));
        plan.go_round(ready.min()?, tick.now)
    }

    /// When nothing stands against a model on a credential any more but its limits; none if that is not known.
    fn ready(&self, credential: usize, model: Option<&Arc<str>>, now: Instant) -> Option<Instant> {
        let own = &self.members.get(credential)?.account;
        let on_model = model.and_then(|model| self.rows.find(Some(model))?.pair(credential));
        [Some(own), on_model].into_iter().flatten().try_fold(now, |ready, account| {
            match account.standing.gate(now) {
                Gate::Open | Gate::Probe => Some(ready),
                Gate::Cooling(cool_down) => Some(ready.max(cool_down.until)),
                Gate::Banned(_) | Gate::Probing => None,
            }
        })
    }

    fn unbanned(&self, credential: usize, model: Option<&Arc<str>>, by: By) -> Transition {
        Transition::Unbanned { credential: self.name_of(credential), model: model.cloned(), by }
    }
}

fn sooner(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}
