//! Asks other routers how they are, at start and then every `monitoring.peer_health_interval`, all of them at once, each
//! in its own key and with a time limit. What they say becomes an outlook of theirs in the pool, fills `/health` and
//! `/trace`, and brings their models into the catalogue. Nobody is struck for an answer that does not come.

use std::time::{Duration, Instant};

use futures::future::join_all;
use pingora::server::ShutdownWatch;

use super::question::ask;
use crate::edge::exchange::Dialer;
use crate::edge::Edge;
use crate::gateway::{Gateway, Peer, Upstream};
use crate::providers::peer_health::PeerHealth;
use crate::providers::{listing, Transport};
use crate::routing::Outlook;

/// A router of the first generation asks the routers behind it before it answers, each for up to five seconds.
const PATIENCE: Duration = Duration::from_secs(15);
/// Where the interval is shorter than `PATIENCE`, an answer may take that long, and this long at least.
const LEAST_PATIENCE: Duration = Duration::from_secs(1);

/// The interval while somebody is down or about to leave: whoever comes back should not wait for long.
const AGAIN: Duration = Duration::from_secs(5);

/// Asks the routers among the upstreams of `edge`, until the shutdown.
pub(super) async fn keep(edge: &Edge, shutdown: ShutdownWatch) {
    let Edge { gateway, dialer, recorder, .. } = edge;
    let interval = gateway.settings.monitoring.peer_health_interval;
    let patience = interval.clamp(LEAST_PATIENCE, PATIENCE);
    super::every("peers", interval, shutdown, || async move {
        let begun = Instant::now();
        let peers =
            gateway.upstreams().filter_map(|(at, upstream)| Some((at, upstream, upstream.peer.as_ref()?)));
        let looks = peers.map(|(at, upstream, peer)| async move {
            let look = Look { gateway, dialer, upstream, patience };
            let (outlook, back) = look.health(at, peer).await;
            gateway.regard(at, outlook);
            if outlook < Outlook::Draining {
                let changes = gateway.pool.vouch(at, back, Instant::now());
                changes.iter().for_each(|change| crate::edge::tell(recorder, change));
            }
            look.models(at).await;
            outlook < Outlook::Draining
        });
        let all_well = join_all(looks).await.into_iter().all(|well| well);
        let pause = if all_well { interval } else { interval.min(AGAIN) };
        pause.saturating_sub(begun.elapsed())
    })
    .await;
}

struct Look<'a> {
    gateway: &'a Gateway,
    dialer: &'a Dialer,
    upstream: &'a Upstream,
    patience: Duration,
}

impl Look<'_> {
    /// What the router says of itself, and whether it is back. One that answers with anything but its health is there,
    /// and says nothing.
    async fn health(&self, at: usize, peer: &Peer) -> (Outlook, bool) {
        let Self { gateway, dialer, upstream, patience } = self;
        let answered = |health| peer.answered(health, upstream.addresses.is_alone(), Instant::now());
        match ask(gateway, dialer, upstream, &upstream.health_path(), *patience).await {
            Ok((status @ (0..=499 | 503), body)) => {
                let told = Some(&body).filter(|_| matches!(status, 200 | 503));
                let health = told.and_then(|body| PeerHealth::read(body, &gateway.hop)).unwrap_or_default();
                answered(PeerHealth { unhealthy: health.unhealthy || status == 503, ..health })
            }
            // Too large, or no HTTP.
            Err(Transport::Malformed) => answered(PeerHealth::default()),
            Ok(_) => (peer.missed(false, gateway.pool.outlook(at)), false),
            Err(why) => (peer.missed(why == Transport::Refused, gateway.pool.outlook(at)), false),
        }
    }

    /// The models behind it. A list that does not come leaves the one that is known.
    async fn models(&self, at: usize) {
        let Self { gateway, dialer, upstream, patience } = self;
        let Some(path) = upstream.models_path() else { return };
        if let Ok((200, body)) = ask(gateway, dialer, upstream, &path, *patience).await {
            if let Some(models) = listing::names(&body) {
                gateway.pool.learn(at, models);
            }
        }
    }
}
