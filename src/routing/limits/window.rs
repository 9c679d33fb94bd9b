//! What was admitted, by slot, and what of it counts: the ledger sheet of one limit.
//!
//! A [`Ruler`] says which slot a moment is in and which slots count. For a rolling window these are slots of a second (of
//! a sixtieth of the window where that is more), and one more than fit into it: what was admitted anywhere in a slot
//! counts until the whole of it has left, so no window of that length ever sees more than the limit, and capacity is back
//! one slot late at most. For a day there is one slot, named by the day's first second, and the slots of other days are
//! kept for a while: whatever the wall clock does, a date has its quota once, and has it whole.
//!
//! `pingora_limits::rate::Rate` was not taken: it flips between two fixed windows, so that twice the limit can pass across
//! a flip and a refund can land in the wrong one. An `Estimator` of one row and one column, one per key and slot, shares
//! no cell with anybody and is therefore exact; only slots with traffic exist, only finite limits have estimators, and a
//! running total saves summing.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::Duration;

use pingora_limits::estimator::Estimator;

use super::{Period, Stretch};
use crate::calendar::Zone;
use crate::routing::clock::{Moment, Tick};

/// One request cannot cost more than this; keeps the sums far from their type's end.
const MOST: u64 = 1 << 40;
/// A window has about so many slots.
const SLOTS: u32 = 60;
/// A day without a change of clocks, in seconds.
const DAY: u64 = 86_400;
/// The days that are remembered: that of now, and those that a clock which is up to three days wrong may come back to.
const DAYS: usize = 8;

/// Which slots there are, and which count.
#[derive(Debug)]
pub(super) enum Ruler {
    /// The last so many slots of so many seconds.
    Rolling { seconds: u32, grain: u64, count: u64 },
    /// The day of now. `today` is the one that was charged last.
    Day { zone: Zone, today: Range<u64> },
}

/// The slots that count at some moment, and how many are kept at most.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reach {
    oldest: u64,
    newest: u64,
    /// The slot of now.
    mark: u64,
    /// How many slots are kept, those that do not count among them; none = only those that do.
    kept: Option<usize>,
}

/// What was admitted, under a limit or without one.
pub(crate) struct Window {
    limit: Option<u64>,
    /// In the order of their marks.
    slots: VecDeque<Slot>,
    total: u64,
    /// The estimator of a slot that has expired, to be used again.
    spare: Option<Estimator>,
    /// What is known of the other routers' use of a slot.
    known: Option<Known>,
}

/// What a fleet had used of a slot when it was heard of last.
#[derive(Clone, Copy)]
struct Known {
    mark: u64,
    /// This router.
    own: u64,
    /// All others together.
    others: u64,
}

struct Slot {
    mark: u64,
    count: Count,
}

/// A slot's count: an estimator where a limit depends on it, a number where it is only shown.
enum Count {
    Limited(Estimator),
    Shown(u64),
}

impl Ruler {
    pub(super) fn new(period: &Period) -> Self {
        match period {
            Period::Rolling(seconds) => {
                let grain = u64::from((seconds / SLOTS).max(1));
                let count = u64::from(*seconds).div_ceil(grain) + 1;
                Self::Rolling { seconds: *seconds, grain, count }
            }
            Period::Day(zone) => Self::Day { zone: zone.clone(), today: 0..0 },
        }
    }

    /// The slot of a moment.
    pub(super) fn mark(&self, at: Moment) -> u64 {
        match self {
            // A division is a third of the cost of a charge.
            Self::Rolling { grain: 1, .. } => at.second,
            Self::Rolling { grain, .. } => at.second / grain,
            Self::Day { .. } => self.day(at.unix).start,
        }
    }

    /// What counts at a moment.
    pub(super) fn reach(&self, at: Moment) -> Reach {
        let mark = self.mark(at);
        match self {
            Self::Rolling { count, .. } => {
                Reach { oldest: (mark + 1).saturating_sub(*count), newest: u64::MAX, mark, kept: None }
            }
            Self::Day { .. } => Reach { oldest: mark, newest: mark, mark, kept: Some(DAYS) },
        }
    }

    /// Takes note of the day, so that it need not be looked up again.
    pub(super) fn note(&mut self, at: Moment) {
        if let Self::Day { zone, today } = self {
            if !today.contains(&at.unix) {
                *today = zone.day(at.unix);
            }
        }
    }

    /// The first second of a slot, by the clock that it goes by.
    pub(super) fn begins(&self, mark: u64) -> u64 {
        match self {
            Self::Rolling { grain, .. } => mark * grain,
            Self::Day { .. } => mark,
        }
    }

    /// When that counts which was counted in the slot that begins at `begin`. A day of another zone that is not over
    /// counts today.
    pub(super) fn moment(&self, begin: u64, now: Moment) -> Moment {
        let lasts = begin <= now.unix && now.unix < begin + DAY;
        match self {
            Self::Day { zone, .. } if lasts && zone.day(begin).start != begin => now,
            _ => Moment { second: begin, unix: begin },
        }
    }

    /// As the store of a fleet is asked about it.
    pub(super) fn stretch(&self, at: Moment) -> Stretch {
        match self {
            Self::Rolling { grain, count, seconds } => {
                Stretch::Rolling { seconds: *seconds, grain: *grain, count: *count }
            }
            Self::Day { .. } => {
                let Range { start: begin, end } = self.day(at.unix);
                Stretch::Day { begin, end }
            }
        }
    }

    fn day(&self, unix: u64) -> Range<u64> {
        match self {
            Self::Day { today, .. } if today.contains(&unix) => today.clone(),
            Self::Day { zone, .. } => zone.day(unix),
            Self::Rolling { .. } => 0..0,
        }
    }

    /// How long until a slot does not count any more.
    pub(super) fn frees(&self, mark: u64, tick: Tick) -> Duration {
        match self {
            Self::Rolling { seconds, grain, count } => {
                let length = Duration::from_secs(u64::from(*seconds));
                Duration::from_secs((mark + count) * grain).saturating_sub(tick.age).min(length)
            }
            Self::Day { .. } => {
                Duration::from_secs(self.day(tick.moment().unix).end).saturating_sub(tick.unix)
            }
        }
    }
}

impl Window {
    /// An empty window. `None` = counted, never full.
    pub(super) fn new(limit: Option<u64>) -> Self {
        Self { limit, slots: VecDeque::new(), total: 0, spare: None, known: None }
    }

    /// The limit.
    pub(crate) fn limit(&self) -> Option<u64> {
        self.limit
    }

    /// Admitted and not given back, of what counts.
    pub(super) fn used(&self, reach: Reach) -> u64 {
        let expired = self.slots.iter().take_while(|slot| slot.mark < reach.oldest);
        let ahead = self.slots.iter().rev().take_while(|slot| slot.mark > reach.newest);
        self.total - expired.chain(ahead).map(|slot| slot.count.value()).sum::<u64>()
    }

    /// What all routers together have used of the slot of now.
    pub(super) fn hear(&mut self, all: u64, reach: Reach) {
        let own = self.used(reach);
        self.known = Some(Known { mark: reach.mark, own, others: all.saturating_sub(own) });
    }

    /// How much one of `among` routers may have used in all: its part of what was left when the others were heard of last,
    /// or of the whole where they never were. At least one of what there is, so that nobody stands still.
    fn part(&self, reach: Reach, among: u64) -> Option<u64> {
        let limit = self.limit?;
        if among <= 1 {
            return Some(limit);
        }
        let known = self.known.filter(|known| known.mark == reach.mark);
        let (own, others) = known.map_or((0, 0), |known| (known.own, known.others));
        let left = limit.saturating_sub(own.saturating_add(others));
        Some(own + (left / among).max(1).min(left))
    }

    /// Whether `amount` more fits this router's part. An empty window takes anything: what is larger than the whole
    /// limit would otherwise never be served.
    pub(super) fn admits(&self, amount: u64, reach: Reach, among: u64) -> bool {
        let Some(part) = self.part(reach, among) else { return true };
        // The total is never too small, so most of the time there is no need to look at slots.
        if self.total.saturating_add(amount) <= part {
            return true;
        }
        has_room(part, self.used(reach), amount)
    }

    /// Counts `amount` in the slot of now, whether it fits or not.
    pub(super) fn charge(&mut self, amount: u64, reach: Reach) {
        let amount = amount.min(MOST);
        self.forget(reach);
        if amount == 0 {
            return;
        }
        if self.slots.back().is_some_and(|last| last.mark == reach.mark) {
            self.add(amount, self.slots.len() - 1);
        } else {
            let at = self.place(reach.mark);
            self.add(amount, at);
        }
    }

    fn add(&mut self, amount: u64, at: usize) {
        if let Some(slot) = self.slots.get_mut(at) {
            slot.count.add(amount);
            self.total += amount;
        }
    }

    /// Where the slot of `mark` is, made if need be.
    #[cold]
    fn place(&mut self, mark: u64) -> usize {
        let before = self.slots.iter().rposition(|slot| slot.mark <= mark);
        let known = before.filter(|at| self.slots.get(*at).is_some_and(|slot| slot.mark == mark));
        known.unwrap_or_else(|| {
            let (at, count) = (before.map_or(0, |before| before + 1), self.fresh_count());
            self.slots.insert(at, Slot { mark, count });
            at
        })
    }

    /// Takes `amount` back out of the slot that it was charged to, if that is still there.
    pub(super) fn give_back(&mut self, amount: u64, mark: u64) {
        if amount == 0 {
            return;
        }
        if let Some(slot) = self.slots.iter_mut().rev().find(|slot| slot.mark == mark) {
            let amount = amount.min(slot.count.value());
            slot.count.take(amount);
            self.total -= amount;
        }
    }

    /// How long until `amount` fits, if nothing else happens: not longer than the window.
    pub(super) fn wait(&self, amount: u64, ruler: &Ruler, tick: Tick, among: u64) -> Duration {
        let reach = ruler.reach(tick.moment());
        let Some(part) = self.part(reach, among) else { return Duration::ZERO };
        let mut used = self.used(reach);
        if has_room(part, used, amount) {
            return Duration::ZERO;
        }
        for slot in self.slots.iter().filter(|slot| reach.has(slot.mark)) {
            used -= slot.count.value();
            if has_room(part, used, amount) {
                return ruler.frees(slot.mark, tick);
            }
        }
        // The others have used it up.
        ruler.frees(reach.mark, tick)
    }

    /// What counts, and what may count again, by slot; for `restore`.
    pub(super) fn slots(&self, reach: Reach) -> impl Iterator<Item = (u64, u64)> + '_ {
        let kept = self.slots.iter().filter(move |slot| reach.kept.is_some() || reach.has(slot.mark));
        kept.map(|slot| (slot.mark, slot.count.value())).filter(|(_, amount)| *amount > 0)
    }

    fn forget(&mut self, reach: Reach) {
        while let Some(front) = self.slots.front() {
            let stays = reach.kept.map_or(front.mark >= reach.oldest, |kept| self.slots.len() <= kept);
            if stays {
                return;
            }
            let Some(slot) = self.slots.remove(usize::from(front.mark == reach.mark)) else { return };
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

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }
}

/// Whether `amount` fits beside what is used of a part, or that is all of it.
fn has_room(part: u64, used: u64, amount: u64) -> bool {
    used.saturating_add(amount) <= part || used == 0 && part > 0
}

impl Reach {
    fn has(self, mark: u64) -> bool {
        (self.oldest..=self.newest).contains(&mark)
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
