//! From the pool's snapshot to the view that `/health`, `/vhealth` and the gauges show.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use super::Edge;
use crate::clients::{self, Client};
use crate::gateway::{Gateway, Seen};
use crate::observe::metrics;
use crate::observe::view::{
    ClientView, CredentialView, ModelView, PageView, PeerState, PeerView, QueueView, QuotaView, RouteView,
    Standing, State, TurnView, Used, VendorView, View,
};
use crate::providers::peer_health::Figure;
use crate::routing::{
    self, Ask, Class, Condition, Considered, Listed, Outlook, Pool, QueueSnapshot, QuotaUse, Snapshot, Use,
};

/// How many pairs of credential and model are considered for one look: each model's order takes a moment of the pool.
const MOST_PAIRS: usize = 120_000;

impl Edge {
    /// The router at this moment.
    pub fn view(&self) -> View {
        let snapshot = self.gateway.pool.snapshot(Instant::now());
        view(self, &snapshot)
    }

    /// The same without the models on credentials that nobody has asked for.
    pub fn busy_view(&self) -> View {
        let snapshot = self.gateway.pool.busy(Instant::now());
        view(self, &snapshot)
    }

    /// The same with all that only the page shows, and the orders of the models with `text` in their names. Takes
    /// milliseconds where there are hundreds of credentials.
    pub fn whole_view(&self, text: &str) -> View {
        let (now, recent) = (SystemTime::now(), &self.recorder.recent);
        let (good, read_at) = metrics::last_reload();
        let view = self.busy_view();
        let (routes, left_out) = routes(&self.gateway.pool, view.credentials.len(), text);
        let page = PageView {
            now,
            config: self.gateway.settings.digest.clone(),
            read_at,
            reload_failed: !good,
            generation: metrics::generations(),
            in_flight: self.drain.in_flight(),
            routes,
            left_out,
            failures: recent.failures(),
            lately: view.credentials.iter().map(|credential| recent.of(&credential.name, now)).collect(),
        };
        View { page: Some(page), ..view }
    }
}

/// Who would be tried for each listed model with `text` in its name (of all, where that is in none), and how many more
/// there are.
fn routes(pool: &Pool, credentials: usize, text: &str) -> (Vec<RouteView>, usize) {
    let (now, mut listed) = (Instant::now(), pool.models());
    let text = text.to_lowercase();
    let named = |model: &Listed| model.name.to_lowercase().contains(&text);
    if listed.iter().any(named) {
        listed.retain(named);
    }
    let most = MOST_PAIRS / credentials.max(1) + 1;
    let left_out = listed.len().saturating_sub(most);
    let routes = listed.into_iter().take(most).filter_map(|model| {
        let ask = Ask { model: Some(&model.name), ..Ask::default() };
        Some(route(pool.explain(ask, now).ok()?, model.name))
    });
    (routes.collect(), left_out)
}

fn route(considered: Vec<Considered>, model: String) -> RouteView {
    let mut route = RouteView { model, order: Vec::new(), others: Vec::new() };
    let mut last = None;
    for Considered { credential, model, turn, remark, .. } in considered {
        match turn {
            Ok(_) => {
                let fallback = (*model != *route.model).then_some(model);
                route.order.push(TurnView { credential, fallback, remark });
            }
            // A fallback's candidates are told where it is shown itself.
            Err(_) if *model != *route.model => {}
            // One after the other, they often have the same reason: only another one is put into words.
            Err(why) if last.as_ref() == Some(&why) => {
                route.others.last_mut().into_iter().for_each(|(_, names)| names.push(credential.clone()));
            }
            Err(why) => {
                let said = why.to_string();
                last = Some(why);
                let known = route.others.iter().position(|(known, _)| *known == said);
                let mut reason = known.map_or_else(|| (said, Vec::new()), |at| route.others.remove(at));
                reason.1.push(credential);
                route.others.push(reason);
            }
        }
    }
    route.others.sort_by_key(|(_, names)| std::cmp::Reverse(names.len()));
    route
}

/// The router at this moment.
fn view(edge: &Edge, snapshot: &Snapshot) -> View {
    let gateway = &*edge.gateway;
    let listed: HashSet<String> = gateway.pool.models().into_iter().map(|model| model.name).collect();
    let seen = snapshot.credentials.iter().enumerate();
    let credentials: Vec<_> = seen.map(|(at, seen)| credential(gateway, &listed, at, seen)).collect();
    View {
        instance: gateway.hop.clone(),
        version: crate::VERSION,
        uptime: gateway.started.elapsed(),
        draining: edge.drain.is_draining(),
        active_models: listed.len(),
        vendors: vendors(edge, &credentials),
        clients: clients(gateway, Instant::now()),
        credentials,
        state: gateway.fleet.as_ref().map(|fleet| fleet.view()),
        page: None,
        queue: (!gateway.settings.routing.max_wait.is_zero()).then(|| queue(&snapshot.queue)),
    }
}

fn clients(gateway: &Gateway, now: Instant) -> Vec<ClientView> {
    let standings = gateway.roster.clients().iter().map(|client| (client, client.account.standing(now)));
    let used = standings.filter(|(_, standing)| standing.counts.requests > 0 || standing.in_flight > 0);
    let view = |(client, standing): (&Arc<Client>, clients::Standing)| ClientView {
        name: client.name.to_string(),
        requests: [standing.counts.successes, standing.counts.requests - standing.counts.successes],
        tokens: [standing.counts.prompt_tokens, standing.counts.completion_tokens],
        in_flight: standing.in_flight,
    };
    used.map(view).collect()
}

/// The types of provider: what requests, the questions for models and those for health have last found.
fn vendors(edge: &Edge, credentials: &[CredentialView]) -> Vec<VendorView> {
    let totals = edge.recorder.recent.totals();
    let mut vendors: BTreeMap<&'static str, VendorView> = BTreeMap::new();
    for (credential, (_, upstream)) in credentials.iter().zip(edge.gateway.upstreams()) {
        let served =
            totals.credentials.get(&upstream.name).is_some_and(|counts| counts.requests > counts.failures);
        let peer = credential.peer.as_ref().and_then(|peer| match peer.state {
            PeerState::Unknown => None,
            state => Some(state != PeerState::Down),
        });
        let answered = upstream.answers().or(peer).or(served.then_some(true));
        let vendor = vendors
            .entry(credential.kind)
            .or_insert(VendorView { kind: credential.kind, ..VendorView::default() });
        vendor.credentials += 1;
        vendor.available += usize::from(!credential.banned);
        vendor.answered = vendor.answered.max(answered);
    }
    vendors.into_values().collect()
}

fn credential(
    gateway: &Gateway,
    listed: &HashSet<String>,
    at: usize,
    seen: &routing::CredentialSnapshot,
) -> CredentialView {
    let configured = &gateway.settings.credentials[at];
    let peer = gateway.upstream(at).peer.as_ref().map(|peer| known(&peer.seen(), seen.outlook));
    let load = peer.as_ref().and_then(|peer| peer.health.load());
    CredentialView {
        name: seen.name.to_string(),
        kind: configured.kind.as_str(),
        is_fallback: configured.is_fallback,
        tier: seen.tier,
        weight: seen.weight,
        rpm: learned(seen.rpm, load.map(|load| load.rpm)),
        tpm: learned(seen.tpm, load.map(|load| load.tpm)),
        reserved: seen.reserved,
        quotas: seen.quotas.iter().flat_map(quotas).collect(),
        in_flight: seen.in_flight,
        max_concurrent: seen.max_concurrent,
        banned: seen.is_banned,
        standing: whole_standing(seen),
        models: seen.models.iter().map(|seen| model(listed, peer.as_ref(), seen)).collect(),
        peer,
    }
}

/// A router behind this one.
fn known(seen: &Seen, outlook: Outlook) -> PeerView {
    let state = match (outlook, &seen.health) {
        (Outlook::Down, _) => PeerState::Down,
        (Outlook::Draining, _) => PeerState::Draining,
        _ if seen.misses > 0 => PeerState::Stale,
        (_, None) => PeerState::Unknown,
        (_, Some(_)) => PeerState::Fresh,
    };
    PeerView { state, age: seen.at.map(|at| at.elapsed()), health: seen.health.clone().unwrap_or_default() }
}

/// Where the file sets no limit, that of the router behind holds, and what all its callers together have used of it.
fn learned(own: Use, behind: Option<Figure>) -> Used {
    match behind.filter(|_| own.limit.is_none()) {
        Some(behind) => Used { current: behind.used.max(own.used), limit: behind.limit },
        None => used(own),
    }
}

/// A credential's own standing; where only its models are banned, but all of them, what they have in common.
pub fn whole_standing(seen: &routing::CredentialSnapshot) -> Standing {
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

fn model(listed: &HashSet<String>, peer: Option<&PeerView>, seen: &routing::ModelSnapshot) -> ModelView {
    let standing = standing(&seen.standing);
    let load = peer.and_then(|peer| peer.health.models.get(&*seen.name));
    ModelView {
        model: seen.name.to_string(),
        listed: listed.contains(&*seen.name),
        rpm: learned(seen.rpm, load.map(|load| load.rpm)),
        tpm: learned(seen.tpm, load.map(|load| load.tpm)),
        quotas: seen.quotas.iter().flat_map(quotas).collect(),
        banned: matches!(standing.state, State::Banned | State::BannedForGood),
        standing,
    }
}

/// What a period limits of requests and tokens.
fn quotas(seen: &QuotaUse) -> impl Iterator<Item = QuotaView> {
    let QuotaUse { per, requests, tokens, resets } = *seen;
    let limited = [("requests", requests), ("tokens", tokens)].into_iter();
    limited.filter_map(move |(of, Use { used: current, limit })| {
        Some(QuotaView { of, per: per.label(), current, limit: limit?, resets })
    })
}

fn queue(seen: &QueueSnapshot) -> QueueView {
    let waiting = Class::ALL.iter().zip(seen.waiting).map(|(class, count)| (class.as_str(), count)).collect();
    QueueView { waiting, oldest: seen.oldest, given_up: seen.given_up, refused: seen.refused }
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
