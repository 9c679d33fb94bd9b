//! From the pool's snapshot to the view that `/health`, `/vhealth` and the gauges show.

use std::collections::HashSet;
use std::time::Instant;

use super::Edge;
use crate::gateway::Gateway;
use crate::observe::view::{CredentialView, ModelView, Standing, State, Used, View};
use crate::routing::{self, Condition, Use};

impl Edge {
    /// The router at this moment.
    pub fn view(&self) -> View {
        view(&self.gateway, self.drain.is_draining())
    }
}

/// The router at this moment.
pub fn view(gateway: &Gateway, draining: bool) -> View {
    let now = Instant::now();
    let snapshot = gateway.pool.snapshot(now);
    let listed: HashSet<String> = gateway.pool.models().into_iter().map(|model| model.name).collect();
    let seen = snapshot.credentials.iter().enumerate();
    View {
        version: crate::VERSION,
        uptime: gateway.started.elapsed(),
        draining,
        active_models: listed.len(),
        credentials: seen.map(|(at, seen)| credential(gateway, &listed, at, seen)).collect(),
        state: gateway.fleet.as_ref().map(|fleet| fleet.view()),
    }
}

fn credential(
    gateway: &Gateway,
    listed: &HashSet<String>,
    at: usize,
    seen: &routing::CredentialSnapshot,
) -> CredentialView {
    let configured = &gateway.settings.credentials[at];
    CredentialView {
        name: seen.name.to_string(),
        kind: configured.kind.as_str(),
        is_fallback: configured.is_fallback,
        tier: seen.tier,
        weight: seen.weight,
        rpm: used(seen.rpm),
        tpm: used(seen.tpm),
        in_flight: seen.in_flight,
        banned: seen.is_banned,
        standing: whole_standing(seen),
        models: seen.models.iter().map(|seen| model(listed, seen)).collect(),
    }
}

/// A credential's own standing; where only its models are banned, but all of them, what they have in common.
fn whole_standing(seen: &routing::CredentialSnapshot) -> Standing {
    let own = standing(&seen.standing);
    if !seen.is_banned || matches!(own.state, State::Banned | State::BannedForGood) {
        return own;
    }
    let models = || seen.models.iter().map(|model| standing(&model.standing));
    let for_good = models().all(|model| model.state == State::BannedForGood);
    Standing {
        state: if for_good { State::BannedForGood } else { State::Banned },
        reason: models().find_map(|model| model.reason).map(|reason| format!("all of its models: {reason}")),
        since: models().filter_map(|model| model.since).min(),
        next_recovery: models().filter_map(|model| model.next_recovery).min(),
        strikes: models().map(|model| model.strikes).max().unwrap_or(0),
    }
}

fn model(listed: &HashSet<String>, seen: &routing::ModelSnapshot) -> ModelView {
    let standing = standing(&seen.standing);
    ModelView {
        model: seen.name.to_string(),
        listed: listed.contains(&*seen.name),
        rpm: used(seen.rpm),
        tpm: used(seen.tpm),
        banned: matches!(standing.state, State::Banned | State::BannedForGood),
        standing,
    }
}

fn used(seen: Use) -> Used {
    Used { current: seen.used, limit: seen.limit }
}

fn standing(seen: &routing::StandingSnapshot) -> Standing {
    Standing {
        state: match seen.condition {
            Condition::Clear => State::Available,
            Condition::CoolingDown => State::CoolDown,
            Condition::Probation => State::Probation,
            Condition::Banned => State::Banned,
            Condition::BannedForGood => State::BannedForGood,
        },
        reason: seen.reason.clone(),
        since: seen.since,
        next_recovery: seen.next_recovery,
        strikes: seen.strikes,
    }
}
