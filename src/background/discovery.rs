//! Learns which models each credential lists, at start and then every five minutes, all credentials at once, each with
//! a time limit. What is learned fills `/v1/models`, breaks ties, and binds only with `server.replace_v1_models`.
//! Other routers are asked by `peers`, more often, because their lists change with what is behind them.
//! A credential that does not answer, or answers with something else, keeps the list it had; nobody is struck for it.

use std::time::Duration;

use futures::future::join_all;
use pingora::server::ShutdownWatch;

use super::question;
use crate::edge::exchange::Dialer;
use crate::gateway::{Gateway, Upstream};
use crate::providers::listing;

const EVERY: Duration = Duration::from_secs(300);
/// While somebody has not answered yet.
const AGAIN: Duration = Duration::from_secs(15);
const PATIENCE: Duration = Duration::from_secs(5);

/// Asks the upstreams of `gateway` by `dialer`, until the shutdown.
pub(super) async fn keep(gateway: &Gateway, dialer: &Dialer, shutdown: ShutdownWatch) {
    let discovery = Discovery { gateway, dialer };
    super::every("discovery", AGAIN, shutdown, || async {
        if discovery.round().await {
            EVERY
        } else {
            AGAIN
        }
    })
    .await;
}

struct Discovery<'a> {
    gateway: &'a Gateway,
    dialer: &'a Dialer,
}

impl Discovery<'_> {
    /// Asks everybody once; whether all have answered.
    async fn round(&self) -> bool {
        let others = self.gateway.upstreams().filter(|(_, upstream)| upstream.peer.is_none());
        let asked = others.filter_map(|(at, upstream)| Some((at, upstream, upstream.models_path()?)));
        let asked = asked.map(|(at, upstream, path)| async move {
            let models = self.ask(upstream, &path).await;
            let answered = models.is_some();
            upstream.has_answered(answered);
            match models {
                Some(models) => self.gateway.pool.learn(at, models),
                None => log::debug!("{}: no model list", upstream.name),
            }
            answered
        });
        join_all(asked).await.into_iter().all(|answered| answered)
    }

    async fn ask(&self, upstream: &Upstream, path: &str) -> Option<Vec<String>> {
        match question::ask(self.gateway, self.dialer, upstream, path, PATIENCE).await.ok()? {
            (200, body) => listing::names(&body),
            // "No such list" is an answer, too: nothing is learned, and it need not be asked again soon.
            _ => Some(Vec::new()),
        }
    }
}
