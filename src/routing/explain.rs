//! The dry run: who would be tried for a model, in which order, and why the others would not.

use std::fmt;
use std::sync::Arc;

use super::availability::Availability;
use super::clock::Tick;
use super::limits::Need;
use super::outlook::Outlook;
use super::rotation::Row;
use super::state::State;

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
    pub turn: Result<u32, String>,
    /// Why others come before it.
    pub remark: Option<String>,
}

/// All credentials for `model` and then for its fallbacks, those that would be tried first; none if nobody serves it.
pub(super) fn explain(
    state: &State,
    model: &str,
    tokens: u64,
    max: u32,
    tick: Tick,
) -> Option<Vec<Considered>> {
    let (asked, need): (Arc<str>, Need) = (model.into(), state.need(tokens));
    if !state.catalog.is_served(&asked) {
        return None;
    }
    let fallbacks = state.catalog.fallbacks(model);
    let mut considered = Vec::new();
    let mut turn = 0;
    for name in std::iter::once(&asked).chain(fallbacks.iter()) {
        let view = View { state, name, need, tick };
        match state.rows.find(Some(name)).filter(|row| row.is_current(&state.catalog)) {
            Some(row) => view.consider(row, max, &mut turn, &mut considered),
            None => view.consider(&Row::fresh(&state.catalog, name), max, &mut turn, &mut considered),
        }
    }
    Some(considered)
}

struct View<'s> {
    state: &'s State,
    name: &'s Arc<str>,
    need: Need,
    tick: Tick,
}

impl View<'_> {
    fn consider(&self, row: &Row, max: u32, turn: &mut u32, into: &mut Vec<Considered>) {
        let availability = |credential: usize| {
            let member = self.state.members.get(credential);
            member.map(|member| member.availability(row.pair(credential), self.need, self.tick))
        };
        let order = row.order(|seat| availability(seat.candidate.credential)?.outlook());
        for seat in order.iter().filter_map(|&at| row.seats.get(at)) {
            *turn += 1;
            let turn = if *turn <= max {
                Ok(*turn)
            } else {
                Err(format!("is past the {max} attempts of a request"))
            };
            into.extend(self.considered(seat.candidate.credential, &seat.candidate.upstream, turn));
        }
        let left = row.seats.iter().enumerate().filter(|(at, _)| !order.contains(at));
        for (_, seat) in left {
            let why = availability(seat.candidate.credential).map(|why| why.to_string()).unwrap_or_default();
            into.extend(self.considered(seat.candidate.credential, &seat.candidate.upstream, Err(why)));
        }
        for credential in 0..self.state.members.len() {
            if let Some(why) = self.state.catalog.objection(credential, self.name) {
                let why = Availability::Unserved(why).to_string();
                into.extend(self.considered(credential, self.name, Err(why)));
            }
        }
    }

    fn considered(
        &self,
        credential: usize,
        upstream: &Arc<str>,
        turn: Result<u32, String>,
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
        match self.turn.as_ref().err().or(self.remark.as_ref()) {
            Some(why) => write!(f, ": {why}"),
            None => Ok(()),
        }
    }
}
