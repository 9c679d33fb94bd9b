//! Counts of what each service has done, for `/router/stats`: from the start, or from when they were last put to nought.
//!
//! Metrics count the same and more, but never go back, and know nothing of routers behind this one. A service is a
//! credential; names come from the configuration, so the table is bounded.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use once_cell::sync::Lazy;

use crate::observe::outcome::Outcome;

static TALLIES: Lazy<Tallies> = Lazy::new(Tallies::default);

#[derive(Default)]
struct Tallies {
    services: RwLock<HashMap<Arc<str>, Arc<Tally>>>,
    requests: AtomicU64,
    failovers: AtomicU64,
    skips: AtomicU64,
}

#[derive(Default)]
struct Tally {
    requests: AtomicU64,
    failures: AtomicU64,
    rate_limited: AtomicU64,
}

/// What one service has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Attempts.
    pub requests: u64,
    /// Attempts that failed.
    pub failures: u64,
    /// Attempts that it answered by a 429.
    pub rate_limited: u64,
}

/// What all of them have done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Requests that were to go to a service.
    pub requests: u64,
    /// How often a request went on to another attempt.
    pub failovers: u64,
    /// 429s of services, and requests for which every service was at a limit of ours.
    pub skips: u64,
    /// By name.
    pub services: HashMap<Arc<str>, Counts>,
}

/// Counts one request.
pub fn count(outcome: &Outcome) {
    TALLIES.count(outcome);
}

/// What has been counted.
pub fn totals() -> Totals {
    TALLIES.totals()
}

/// All begin anew.
pub fn reset() {
    TALLIES.reset();
}

impl Tallies {
    fn count(&self, outcome: &Outcome) {
        let limited = outcome.refusal == Some("limit");
        if outcome.attempts.is_empty() && !limited {
            return;
        }
        add(&self.requests, 1);
        add(&self.failovers, outcome.attempts.len().saturating_sub(1) as u64);
        add(&self.skips, limited.into());
        for attempt in &outcome.attempts {
            let tally = self.of(&attempt.credential);
            add(&tally.requests, 1);
            add(&tally.failures, (attempt.reason != "ok").into());
            let told_to_wait = u64::from(attempt.status == 429);
            add(&tally.rate_limited, told_to_wait);
            add(&self.skips, told_to_wait);
        }
    }

    fn of(&self, name: &Arc<str>) -> Arc<Tally> {
        if let Some(tally) = self.services.read().unwrap_or_else(PoisonError::into_inner).get(name) {
            return tally.clone();
        }
        self.services.write().unwrap_or_else(PoisonError::into_inner).entry(name.clone()).or_default().clone()
    }

    fn totals(&self) -> Totals {
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let services = self.services.read().unwrap_or_else(PoisonError::into_inner);
        let counts = |tally: &Tally| Counts {
            requests: get(&tally.requests),
            failures: get(&tally.failures),
            rate_limited: get(&tally.rate_limited),
        };
        Totals {
            requests: get(&self.requests),
            failovers: get(&self.failovers),
            skips: get(&self.skips),
            services: services.iter().map(|(name, tally)| (name.clone(), counts(tally))).collect(),
        }
    }

    fn reset(&self) {
        self.services.write().unwrap_or_else(PoisonError::into_inner).clear();
        for count in [&self.requests, &self.failovers, &self.skips] {
            count.store(0, Ordering::Relaxed);
        }
    }
}

fn add(count: &AtomicU64, more: u64) {
    if more > 0 {
        count.fetch_add(more, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::observe::outcome::AttemptRecord;

    fn outcome(attempts: &[(&str, u16)]) -> Outcome {
        let attempt = |(name, status): &(&str, u16)| AttemptRecord {
            credential: (*name).into(),
            model: "m".into(),
            status: *status,
            begun: Duration::ZERO,
            took: Duration::ZERO,
            reason: if *status == 200 { "ok" } else { "status" },
            tokens: None,
        };
        let mut outcome = Outcome::begun("r".into(), http::Method::POST, "/x", SystemTime::UNIX_EPOCH);
        outcome.attempts = attempts.iter().map(attempt).collect();
        outcome
    }

    #[test]
    fn attempts_failures_and_failovers_are_counted_by_service() {
        let tallies = Tallies::default();
        tallies.count(&outcome(&[("a", 500), ("b", 200)]));
        tallies.count(&outcome(&[("a", 429), ("b", 200)]));
        tallies.count(&outcome(&[]));
        tallies.count(&Outcome { refusal: Some("limit"), ..outcome(&[]) });
        let totals = tallies.totals();
        assert_eq!((totals.requests, totals.failovers, totals.skips), (3, 2, 2));
        assert_eq!(totals.services["a"], Counts { requests: 2, failures: 2, rate_limited: 1 });
        assert_eq!(totals.services["b"], Counts { requests: 2, failures: 0, rate_limited: 0 });
        tallies.reset();
        assert_eq!(tallies.totals(), Totals::default());
    }
}
