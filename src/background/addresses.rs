//! Resolves upstream names, so that no request ever does: at start, then every half minute, and every second while a
//! name has no address at all. Where a name has several, looks which of them are well.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::join_all;
use pingora::server::ShutdownWatch;

use crate::edge::addresses::AddressSet;

const TICK: Duration = Duration::from_secs(1);
const REFRESH: Duration = Duration::from_secs(30);
/// Between two looks at the addresses of one name. A request that meets a dead one goes on by itself.
const CHECK: Duration = Duration::from_secs(3);

/// Keeps the addresses of `sets` until the shutdown.
pub(super) async fn keep(sets: &[Arc<AddressSet>], shutdown: ShutdownWatch) {
    let (mut refreshed, mut checked): (Option<Instant>, Option<Instant>) = (None, None);
    super::every("addresses", TICK, shutdown, || {
        let all = refreshed.is_none_or(|at| at.elapsed() >= REFRESH);
        if all {
            refreshed = Some(Instant::now());
        }
        let looks = checked.is_none_or(|at| at.elapsed() >= CHECK);
        if looks {
            checked = Some(Instant::now());
        }
        let due = sets.iter().filter(move |set| all || !set.is_known());
        async move {
            join_all(due.map(|set| refresh(set))).await;
            if looks {
                join_all(sets.iter().map(|set| set.check())).await;
            }
            TICK
        }
    })
    .await;
}

async fn refresh(set: &AddressSet) {
    let was_known = set.is_known();
    match set.refresh().await {
        Ok(()) if !was_known => log::debug!("{} is resolved", set.label()),
        Ok(()) => {}
        Err(why) => log::debug!("{} is not resolved: {why}", set.label()),
    }
}
