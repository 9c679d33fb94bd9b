//! The dry run: who would be tried for a model, in which order, and why the others would not.

use std::fmt;
use std::sync::Arc;

use super::availability::Availability;
use super::clock::Tick;
use super::limits::Need;
use super::outlook::Outlook;
use super::plan::Plan;
use super::rotation::{Row, Seat};
use super::state::State;
use super::strategy::{Choice, Strategy};
use crate::llm::ability::Abilities;

/// One credential and one model, considered. `Display` is a line of the dry run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Considered {
    /// Its name.
    pub credential: Arc<str>,
    /// 0 is asked first.
    pub tier: u16,
    /// Name here.
    pub model: Arc<str>,
    /// Name there.
    pub upstream_model: Arc<str>,
    /// Which attempt it would be, from 1, or why it would not be tried.
    pub turn: Result<u32, Why>,
    /// Why others come before it.
    pub remark: Option<String>,
}

/// Why somebody would not be tried. `Display` says it after the credential's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// Something is in the way.
    Unavailable(Availability),
    /// A request has so many attempts, and others come first.
    Past(u32),
    /// The request has named another vendor.
    OtherVendor,
    /// The model cannot do what the request needs.
    Lacks(Abilities),
}

/// All credentials for the models of `plan`, those that would be tried first.
pub(super) fn explain(state: &State, plan: &Plan, max: u32, tick: Tick) -> Vec<Considered> {
    let need = state.need(plan.tokens);
    let mut considered = Vec::new();
    let mut turn = 0;
    for name in plan.models().flatten() {
        let view = View { state, plan, name, need, tick };
        match state.rows.find(Some(name)).filter(|row| row.is_current(&state.catalog)) {
            Some(row) => view.consider(row, max, &mut turn, &mut considered),
            None => view.consider(&Row::fresh(&state.catalog, name), max, &mut turn, &mut considered),
        }
    }
    considered
}

struct View<'s> {
    state: &'s State,
    plan: &'s Plan,
    name: &'s Arc<str>,
    need: Need,
    tick: Tick,
}

impl View<'_> {
    fn consider(&self, row: &Row, max: u32, turn: &mut u32, into: &mut Vec<Considered>) {
        let State { members, usage_gap: gap, .. } = self.state;
        let Self { plan, tick, .. } = *self;
        let availability = |seat: &Seat| {
            let member = members.get(seat.candidate.credential).filter(|_| plan.takes(&seat.candidate));
            member.map(|member| member.availability(seat.pair.as_deref(), self.need, tick))
        };
        let strategy = if plan.draws() { Strategy::Even } else { row.strategy };
        let choice = Choice { strategy, gap: *gap, members, plan, tick };
        let mut tried = vec![false; row.seats.len()];
        let order = row.order(&choice, |seat| availability(seat)?.outlook());
        for (at, seat) in order.into_iter().filter_map(|at| Some((at, row.seats.get(at)?))) {
            tried[at] = true;
            *turn += 1;
            let turn = if *turn <= max { Ok(*turn) } else { Err(Why::Past(max)) };
            let considered = self.considered(seat.candidate.credential, &seat.candidate.upstream, turn);
            into.extend(considered.map(|considered| match considered.turn {
                Ok(_) => Considered {
                    remark: considered.remark.or(strategy.remark().map(str::to_owned)),
                    ..considered
                },
                Err(_) => considered,
            }));
        }
        for (seat, _) in row.seats.iter().zip(tried).filter(|(_, tried)| !tried) {
            let why = match availability(seat) {
                Some(why) => Why::Unavailable(why),
                None if !plan.may_ask(seat.candidate.credential) => Why::OtherVendor,
                None => Why::Lacks(plan.lacks(&seat.candidate)),
            };
            into.extend(self.considered(seat.candidate.credential, &seat.candidate.upstream, Err(why)));
        }
        for credential in 0..members.len() {
            if let Some(why) = self.state.catalog.objection(credential, self.name) {
                let why = Why::Unavailable(Availability::Unserved(why));
                into.extend(self.considered(credential, self.name, Err(why)));
            }
        }
    }

    fn considered(
        &self,
        credential: usize,
        upstream: &Arc<str>,
        turn: Result<u32, Why>,
    ) -> Option<Considered> {
        let member = self.state.members.get(credential)?;
        let behind = turn.is_ok() && member.outlook != Outlook::Fair;
        Some(Considered {
            remark: behind.then(|| member.outlook.to_string()),
            credential: member.name.clone(),
            tier: member.tier,
            model: self.name.clone(),
            upstream_model: upstream.clone(),
            turn,
        })
    }
}

impl fmt::Display for Considered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.turn {
            Ok(turn) => write!(f, "{turn:>3}. ")?,
            Err(_) => f.write_str("  -  ")?,
        }
        write!(f, "{:?}, ", self.credential)?;
        match self.tier {
            u16::MAX => f.write_str("last tier")?,
            tier => write!(f, "tier {tier}")?,
        }
        write!(f, ", model {:?}", self.model)?;
        if self.upstream_model != self.model {
            write!(f, " as {:?}", self.upstream_model)?;
        }
        match (&self.turn, &self.remark) {
            (Err(why), _) => write!(f, ": {why}"),
            (Ok(_), Some(remark)) => write!(f, ": {remark}"),
            (Ok(_), None) => Ok(()),
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unavailable(why) => why.fmt(f),
            Self::Past(most) => write!(f, "is past the {most} attempts of a request"),
            Self::OtherVendor => f.write_str("is not of the vendor asked for"),
            Self::Lacks(abilities) => write!(f, "has a model that cannot do {abilities}"),
        }
    }
}
