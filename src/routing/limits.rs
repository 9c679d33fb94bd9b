//! Limits per minute, as windows that really are the last minute: one slot per second, each with an estimator.
//!
//! Sixty-one slots of a second, because sixty would forget up to a second of a minute too early: what was admitted
//! anywhere in a second counts for the next sixty, so no sixty seconds ever see more than the limit and capacity is
//! back at most one second late. `pingora_limits::rate::Rate` was not taken: it flips between two fixed windows, so
//! that twice the limit can pass across a flip and a refund can land in the wrong one. An `Estimator` of one row and
//! one column, one per key and slot, shares no cell with anybody and is therefore exact; only slots with traffic
//! exist, only finite limits have estimators, and a running total saves summing.

use std::collections::VecDeque;
use std::time::Duration;

use pingora_limits::estimator::Estimator;

use super::clock::Tick;
use super::fleet::Need;
use super::plan::Which;

/// Slots of a second that count.
const SLOTS: u64 = 61;
/// No wait for capacity is told to be longer.
const MINUTE: Duration = Duration::from_secs(60);
/// One request cannot cost more than this; keeps the sums far from their type's end.
const MOST: u64 = 1 << 40;

/// What was admitted in the last minute, under a limit or without one.
pub(crate) struct Window {
    limit: Option<u64>,
    slots: VecDeque<Slot>,
    total: u64,
    /// The estimator of a slot that has expired, to be used again.
    spare: Option<Estimator>,
}

struct Slot {
    second: u64,
    count: Count,
}

/// A slot's count: an estimator where a limit depends on it, a number where it is only shown.
enum Count {
    Limited(Estimator),
    Shown(u64),
}

/// The limits of one key; none = unlimited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Requests per minute.
    pub(crate) rpm: Option<u64>,
    /// Tokens per minute.
    pub(crate) tpm: Option<u64>,
}

/// Requests and tokens of one key: a credential, or a model on a credential.
pub(crate) struct Meter {
    /// Requests per minute.
    pub(crate) requests: Window,
    /// Tokens per minute.
    pub(crate) tokens: Window,
}

impl Window {
    /// An empty window. `None` = counted, never full.
    pub(crate) fn new(limit: Option<u64>) -> Self {
        Self { limit, slots: VecDeque::new(), total: 0, spare: None }
    }

    /// The limit.
    pub(crate) fn limit(&self) -> Option<u64> {
        self.limit
    }

    /// Admitted and not given back in the window that ends with `second`.
    pub(crate) fn used(&self, second: u64) -> u64 {
        let expired = self.slots.iter().take_while(|slot| !slot.is_live(second));
        self.total - expired.map(|slot| slot.count.value()).sum::<u64>()
    }

    /// The part of the limit that one of `among` routers has: at least one, so that nobody stands still.
    fn part(&self, among: u64) -> Option<u64> {
        self.limit.map(|limit| (limit / among.max(1)).max(1))
    }

    /// Whether `amount` more fits this router's part. An empty window takes anything: what is larger than the whole
    /// limit would otherwise never be served.
    pub(crate) fn admits(&self, amount: u64, second: u64, among: u64) -> bool {
        let Some(limit) = self.part(among) else { return true };
        // The total is never too small, so most of the time there is no need to look at slots.
        if self.total.saturating_add(amount) <= limit {
            return true;
        }
        let used = self.used(second);
        used == 0 || used.saturating_add(amount) <= limit
    }

    /// Counts `amount` in `second`, whether it fits or not.
    pub(crate) fn charge(&mut self, amount: u64, second: u64) {
        let amount = amount.min(MOST);
        self.forget_before(second);
        if amount == 0 {
            return;
        }
        if self.slots.back().is_none_or(|slot| slot.second < second) {
            let count = self.fresh_count();
            self.slots.push_back(Slot { second, count });
        }
        if let Some(slot) = self.slots.back_mut() {
            slot.count.add(amount);
            self.total += amount;
        }
    }

    /// Takes `amount` back out of the slot that it was charged to, if that still counts.
    pub(crate) fn give_back(&mut self, amount: u64, second: u64) {
        let charged = self.slots.iter_mut().rev().find(|slot| slot.second <= second);
        if let Some(slot) = charged.filter(|slot| slot.second == second) {
            let amount = amount.min(slot.count.value());
            slot.count.take(amount);
            self.total -= amount;
        }
    }

    /// How long until `amount` fits, if nothing else happens: zero to a minute.
    pub(crate) fn wait(&self, amount: u64, tick: Tick, among: u64) -> Duration {
        let Some(limit) = self.part(among) else { return Duration::ZERO };
        let mut used = self.used(tick.second());
        for slot in self.slots.iter().filter(|slot| slot.is_live(tick.second())) {
            if used == 0 || used.saturating_add(amount) <= limit {
                break;
            }
            used -= slot.count.value();
            if used == 0 || used.saturating_add(amount) <= limit {
                return Duration::from_secs(slot.second + SLOTS).saturating_sub(tick.age).min(MINUTE);
            }
        }
        Duration::ZERO
    }

    /// What counts at `second`, by second; for `restore`.
    pub(crate) fn slots(&self, second: u64) -> impl Iterator<Item = (u64, u64)> + '_ {
        let live = self.slots.iter().filter(move |slot| slot.is_live(second));
        live.map(|slot| (slot.second, slot.count.value())).filter(|(_, amount)| *amount > 0)
    }

    /// Counts what another window had counted, whose clock this one goes by.
    pub(crate) fn restore(&mut self, slots: &[(u64, u64)]) {
        slots.iter().for_each(|(second, amount)| self.charge(*amount, *second));
    }

    fn forget_before(&mut self, second: u64) {
        while self.slots.front().is_some_and(|slot| !slot.is_live(second)) {
            let Some(slot) = self.slots.pop_front() else { return };
            self.total -= slot.count.value();
            if let Count::Limited(estimator) = slot.count {
                self.spare = Some(estimator);
            }
        }
    }

    fn fresh_count(&mut self) -> Count {
        if self.limit.is_none() {
            return Count::Shown(0);
        }
        let estimator = self.spare.take().unwrap_or_else(|| Estimator::new(1, 1));
        estimator.reset();
        Count::Limited(estimator)
    }
}

impl Slot {
    fn is_live(&self, second: u64) -> bool {
        self.second + SLOTS > second
    }
}

impl Count {
    fn value(&self) -> u64 {
        match self {
            Self::Limited(estimator) => estimator.get(()).try_into().unwrap_or(0),
            Self::Shown(count) => *count,
        }
    }

    fn add(&mut self, amount: u64) {
        match self {
            Self::Limited(estimator) => {
                estimator.incr((), amount as isize);
            }
            Self::Shown(count) => *count += amount,
        }
    }

    fn take(&mut self, amount: u64) {
        match self {
            Self::Limited(estimator) => estimator.decr((), amount as isize),
            Self::Shown(count) => *count -= amount,
        }
    }
}

impl Meter {
    /// Empty windows with these limits.
    pub(crate) fn new(limits: Limits) -> Self {
        Self { requests: Window::new(limits.rpm), tokens: Window::new(limits.tpm) }
    }

    /// The limit that stands in the way of a request, if one does.
    pub(crate) fn full(&self, need: Need, second: u64) -> Option<(Which, u64)> {
        let full = |window: &Window, amount, which| {
            (!window.admits(amount, second, need.among)).then(|| (which, window.limit().unwrap_or(u64::MAX)))
        };
        full(&self.requests, 1, Which::Requests).or_else(|| full(&self.tokens, need.tokens, Which::Tokens))
    }

    /// Counts one request with an estimate of `tokens`.
    pub(crate) fn charge(&mut self, tokens: u64, second: u64) {
        self.requests.charge(1, second);
        self.tokens.charge(tokens, second);
    }

    /// How long until a request fits both.
    pub(crate) fn wait(&self, need: Need, tick: Tick) -> Duration {
        self.requests.wait(1, tick, need.among).max(self.tokens.wait(need.tokens, tick, need.among))
    }

    /// Whether the last minute saw nothing.
    pub(crate) fn is_idle(&self, second: u64) -> bool {
        self.requests.used(second) == 0 && self.tokens.used(second) == 0
    }
}

#[cfg(test)]
mod tests;
