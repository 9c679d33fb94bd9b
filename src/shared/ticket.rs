//! The fleet's side of one lease: tells the store what has become of it.
//!
//! A request counts in the second in which it is sent, as in the pool, so that the upstream, too, never sees more than
//! the limit in a minute. The store's clock is reckoned from its answer, by the latest that it can be.

use std::sync::Arc;
use std::time::Instant;

use super::keys::Taken;
use super::store::Charge;
use super::{Fleet, Work};
use crate::routing::Receipt;

/// Milliseconds that a request may take to the upstream: what is sent so late in a second counts in the next one.
const ON_ITS_WAY: u64 = 100;

/// What the store has granted: in which second of its clock, at how many milliseconds, and when it was asked.
type Granted = (u64, u64, Instant);

/// One lease.
pub(super) struct Ticket {
    fleet: Arc<Fleet>,
    taken: Arc<Taken>,
    id: Arc<str>,
    is_counted: bool,
    /// None for a lease of an outage. What that has taken is charged when the store is back, and not given back.
    granted: Option<Granted>,
}

impl Ticket {
    /// `is_counted` if it is one of a limited number at one time.
    pub(super) fn new(
        fleet: Arc<Fleet>,
        taken: Arc<Taken>,
        id: Arc<str>,
        is_counted: bool,
        granted: Option<Granted>,
    ) -> Self {
        if is_counted {
            fleet.leases().entry(taken.leases.clone()).or_default().insert(id.to_string());
        }
        Self { fleet, taken, id, is_counted, granted }
    }

    fn put(&self, is_over: bool, charges: Vec<Charge>) {
        if is_over || !charges.is_empty() {
            let (taken, id) = (self.taken.clone(), self.id.clone());
            self.fleet.put(Work::Settle { taken, id, is_over, charges });
        }
    }
}

impl Receipt for Ticket {
    fn sent(&mut self) {
        let Some((second, ms, asked)) = self.granted else { return };
        let passed = u64::try_from(asked.elapsed().as_millis()).unwrap_or(u64::MAX);
        let now = ms.saturating_add(passed).saturating_add(ON_ITS_WAY) / 1000;
        if now > second {
            self.put(false, vec![(signed(second), -1, 0), (signed(now), 1, 0)]);
        }
    }

    fn overshot(&mut self, more: u64) {
        self.put(false, vec![(0, 0, signed(more))]);
    }

    fn settled(&mut self, unsent: bool, tokens: u64) {
        if self.is_counted {
            let mut leases = self.fleet.leases();
            if let Some(held) = leases.get_mut(&self.taken.leases) {
                held.remove(&*self.id);
            }
        }
        let back = self.granted.map(|(second, ..)| (signed(second), -i64::from(unsent), -signed(tokens)));
        let back = back.filter(|(_, requests, tokens)| (*requests, *tokens) != (0, 0));
        self.put(true, back.into_iter().collect());
    }
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
