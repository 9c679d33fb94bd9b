//! Limits: so many requests or tokens per rolling time or per day of a time zone, as many of them at once as are wanted.
//!
//! A [`Meter`] holds what one key has used: a credential, a model on a credential, a client. The last minute is always
//! there, because it is shown even where nothing limits it; every further [`Quota`] has a sheet of its own (`window`).
//! Checking and charging all of them is one pass that allocates nothing but a slot now and then.
//!
//! Promises: no window of a quota's length and no day ever admits more than the quota, whatever the order of admissions,
//! settlements and steps of the clock; what fits is admitted one slot late at most (a second, or a sixtieth of the window
//! where that is more). A day begins with the wall clock. Each date has its quota once: a wall clock that jumps back finds
//! what that date had used, and one that jumps ahead uses the quota of the date that it shows.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::clock::{Moment, Tick};
use super::plan::Which;
use crate::calendar::Zone;

mod window;

pub(crate) use window::Window;

use window::Ruler;

/// Over what an amount is counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Period {
    /// Any so many seconds, one at least.
    Rolling(u32),
    /// From midnight to midnight.
    Day(Zone),
}

/// So much per period; none = unlimited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Which.
    pub period: Period,
    /// Requests in it.
    pub requests: Option<u64>,
    /// Tokens in it.
    pub tokens: Option<u64>,
}

/// The limits of one key; none = unlimited.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Requests per minute.
    pub rpm: Option<u64>,
    /// Tokens per minute.
    pub tpm: Option<u64>,
    /// Over other periods, each of them once.
    pub more: Arc<[Quota]>,
}

/// What is full, or how much something may hold. `Display` says it without saying of what: "5 per minute".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// So much
    pub amount: u64,
    /// per that.
    pub per: Per,
}

/// The period of a bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Per {
    /// At one time.
    Moment,
    /// Any so many seconds.
    Seconds(u32),
    /// A day.
    Day,
}

/// What a request needs, and of which part of each limit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Need {
    pub(crate) tokens: u64,
    /// Every limit is divided by it.
    pub(crate) among: u64,
}

/// What stands in the way of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full {
    pub(crate) which: Which,
    pub(crate) bound: Bound,
}

/// Requests and tokens of one key.
pub(crate) struct Meter {
    /// The last minute.
    pub(crate) minute: Span,
    more: Box<[Span]>,
}

/// Requests and tokens over one period.
pub(crate) struct Span {
    ruler: Ruler,
    per: Per,
    requests: Window,
    tokens: Window,
}

/// A span as the store of a fleet is asked about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stretch {
    /// The last `count` slots of `grain` seconds.
    Rolling {
        /// Seconds of the window.
        seconds: u32,
        /// Seconds of a slot.
        grain: u64,
        /// Slots that count.
        count: u64,
    },
    /// A day, in seconds of the Unix epoch.
    Day {
        /// Its first second.
        begin: u64,
        /// That of the next day.
        end: u64,
    },
}

/// What a span has counted, by the first second of each slot: of the pool's clock, for a day of the wall clock.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sheet {
    /// The length of its window; none = a day.
    seconds: Option<u32>,
    requests: Vec<(u64, u64)>,
    tokens: Vec<(u64, u64)>,
}

impl Period {
    /// As a bound has it.
    pub fn per(&self) -> Per {
        match self {
            Self::Rolling(seconds) => Per::Seconds(*seconds),
            Self::Day(_) => Per::Day,
        }
    }
}

impl Stretch {
    /// As a bound has it.
    pub fn per(self) -> Per {
        match self {
            Self::Rolling { seconds, .. } => Per::Seconds(seconds),
            Self::Day { .. } => Per::Day,
        }
    }

    /// Whether what was counted in a slot that began `age` seconds ago may be of the last so many seconds. Of a day nobody
    /// knows.
    pub(crate) fn is_recent(self, age: u64, seconds: u64) -> bool {
        match self {
            Self::Rolling { grain, .. } => age < seconds + grain,
            Self::Day { .. } => false,
        }
    }
}

impl Limits {
    /// Whether nothing is limited.
    pub fn is_empty(&self) -> bool {
        self.rpm.is_none() && self.tpm.is_none() && self.more.is_empty()
    }
}

impl Span {
    fn new(quota: &Quota) -> Self {
        Self {
            ruler: Ruler::new(&quota.period),
            per: quota.period.per(),
            requests: Window::new(quota.requests),
            tokens: Window::new(quota.tokens),
        }
    }

    /// Requests and tokens that count at `at`, and their limits.
    pub(crate) fn uses(&self, at: Moment) -> [(u64, Option<u64>); 2] {
        let reach = self.ruler.reach(at);
        [&self.requests, &self.tokens].map(|window| (window.used(reach), window.limit()))
    }

    /// How long until nothing counts any more of what counts now; none for a rolling window in which nothing does.
    pub(crate) fn resets(&self, tick: Tick) -> Option<Duration> {
        match self.stretch(tick.moment()) {
            Stretch::Day { end, .. } => Some(Duration::from_secs(end).saturating_sub(tick.unix)),
            Stretch::Rolling { .. } => {
                let reach = self.ruler.reach(tick.moment());
                let last = |window: &Window| window.slots(reach).last();
                let lasts = last(&self.requests).max(last(&self.tokens));
                lasts.map(|(mark, _)| self.ruler.frees(mark, tick))
            }
        }
    }

    /// Its period.
    pub(crate) fn per(&self) -> Per {
        self.per
    }

    /// As the store is asked about it at `at`.
    pub(crate) fn stretch(&self, at: Moment) -> Stretch {
        self.ruler.stretch(at)
    }

    fn full(&self, need: Need, at: Moment) -> Option<Full> {
        let reach = self.ruler.reach(at);
        let full = |window: &Window, amount, which| {
            let bound = || Bound { amount: window.limit().unwrap_or(u64::MAX), per: self.per };
            (!window.admits(amount, reach, need.among)).then(|| Full { which, bound: bound() })
        };
        full(&self.requests, 1, Which::Requests).or_else(|| full(&self.tokens, need.tokens, Which::Tokens))
    }

    fn charge(&mut self, requests: u64, tokens: u64, at: Moment) {
        self.ruler.note(at);
        let reach = self.ruler.reach(at);
        self.requests.charge(requests, reach);
        self.tokens.charge(tokens, reach);
    }

    fn give_back(&mut self, requests: u64, tokens: u64, at: Moment) {
        let mark = self.ruler.mark(at);
        self.requests.give_back(requests, mark);
        self.tokens.give_back(tokens, mark);
    }

    fn hear(&mut self, used: [u64; 2], at: Moment) {
        let reach = self.ruler.reach(at);
        let [requests, tokens] = used;
        self.requests.hear(requests, reach);
        self.tokens.hear(tokens, reach);
    }

    fn wait(&self, need: Need, tick: Tick) -> Duration {
        let wait = |window: &Window, amount| window.wait(amount, &self.ruler, tick, need.among);
        wait(&self.requests, 1).max(wait(&self.tokens, need.tokens))
    }

    fn sheet(&self, at: Moment) -> Sheet {
        let reach = self.ruler.reach(at);
        let written = |(mark, amount)| (self.ruler.begins(mark), amount);
        Sheet {
            seconds: self.per.seconds(),
            requests: self.requests.slots(reach).map(written).collect(),
            tokens: self.tokens.slots(reach).map(written).collect(),
        }
    }

    fn restore(&mut self, sheet: &Sheet, now: Moment) {
        for (begin, requests) in &sheet.requests {
            self.charge(*requests, 0, self.ruler.moment(*begin, now));
        }
        for (begin, tokens) in &sheet.tokens {
            self.charge(0, *tokens, self.ruler.moment(*begin, now));
        }
    }
}

impl Meter {
    /// Nothing is used yet.
    pub(crate) fn new(limits: &Limits) -> Self {
        let minute = Quota { period: Period::Rolling(60), requests: limits.rpm, tokens: limits.tpm };
        let more = limits.more.iter().map(Span::new).collect();
        Self { minute: Span::new(&minute), more }
    }

    /// The limit that stands in the way of a request, if one does.
    pub(crate) fn full(&self, need: Need, tick: Tick) -> Option<Full> {
        let at = tick.moment();
        self.minute.full(need, at).or_else(|| self.more.iter().find_map(|span| span.full(need, at)))
    }

    /// Counts one request with an estimate of `tokens`.
    pub(crate) fn charge(&mut self, tokens: u64, at: Moment) {
        self.minute.charge(1, tokens, at);
        self.more.iter_mut().for_each(|span| span.charge(1, tokens, at));
    }

    /// Counts `tokens` that nobody had expected.
    pub(crate) fn overshoot(&mut self, tokens: u64, at: Moment) {
        self.spans_mut().for_each(|span| span.charge(0, tokens, at));
    }

    /// Takes back what was charged at `at` and has not been used.
    pub(crate) fn give_back(&mut self, requests: u64, tokens: u64, at: Moment) {
        self.minute.give_back(requests, tokens, at);
        self.more.iter_mut().for_each(|span| span.give_back(requests, tokens, at));
    }

    /// A request that was charged at `before` counts from `at` on.
    pub(crate) fn postpone(&mut self, before: Moment, at: Moment) {
        for span in self.spans_mut() {
            span.give_back(1, 0, before);
            span.charge(1, 0, at);
        }
    }

    /// How long until a request fits all of them.
    pub(crate) fn wait(&self, need: Need, tick: Tick) -> Duration {
        self.spans().map(|span| span.wait(need, tick)).max().unwrap_or_default()
    }

    /// Requests of the last minute.
    pub(super) fn requests(&self, at: Moment) -> u64 {
        let [(requests, _), _] = self.minute.uses(at);
        requests
    }

    /// Percent used of the limit that is closest to its end; none without any.
    pub(super) fn share(&self, at: Moment) -> Option<f64> {
        let share = |(used, limit): (u64, Option<u64>)| Some(100.0 * used as f64 / limit?.max(1) as f64);
        self.spans().flat_map(|span| span.uses(at)).filter_map(share).reduce(f64::max)
    }

    /// Whether nothing that it has seen counts.
    pub(crate) fn is_idle(&self, at: Moment) -> bool {
        self.spans().all(|span| span.uses(at).iter().all(|(used, _)| *used == 0))
    }

    /// The last minute, then what else is limited.
    pub(crate) fn spans(&self) -> impl Iterator<Item = &Span> {
        std::iter::once(&self.minute).chain(&*self.more)
    }

    /// Those that limit something, with what they let through.
    pub(crate) fn limited(&self) -> impl Iterator<Item = (&Span, [Option<u64>; 2])> {
        let limits = |span: &Span| [span.requests.limit(), span.tokens.limit()];
        self.spans().map(move |span| (span, limits(span))).filter(|(_, limits)| *limits != [None, None])
    }

    /// What counts at `at` of all that is limited, slot by slot: where, how many seconds ago the slot began (0 for a
    /// day), requests and tokens. Of days, only that of now.
    pub(crate) fn spent(&self, at: Moment) -> impl Iterator<Item = (Stretch, u64, u64, u64)> + '_ {
        self.limited().flat_map(move |(span, _)| {
            let stretch = span.stretch(at);
            let told = move |(begin, requests, tokens): (u64, u64, u64)| match stretch {
                Stretch::Rolling { .. } => Some((stretch, at.second.saturating_sub(begin), requests, tokens)),
                Stretch::Day { begin: today, .. } => {
                    (begin == today).then_some((stretch, 0, requests, tokens))
                }
            };
            span.sheet(at).into_entries().filter_map(told)
        })
    }

    /// The days of now that are limited.
    pub(crate) fn days(&self, at: Moment) -> impl Iterator<Item = Stretch> + '_ {
        let days = self.limited().filter(|(span, _)| span.per == Per::Day);
        days.map(move |(span, _)| span.stretch(at))
    }

    /// All routers together have used so many requests and tokens of a day: if they cannot be asked, this one has a part of
    /// what was left. Windows that roll change all the time, and nothing is known of them then.
    pub(crate) fn hear(&mut self, day: Stretch, used: [u64; 2], at: Moment) {
        if let Some(span) = self.spans_mut().find(|span| span.per == Per::Day && span.stretch(at) == day) {
            span.hear(used, at);
        }
    }

    fn spans_mut(&mut self) -> impl Iterator<Item = &mut Span> {
        std::iter::once(&mut self.minute).chain(&mut *self.more)
    }

    /// What counts at `at`, to be kept.
    pub(crate) fn sheets(&self, at: Moment) -> Vec<Sheet> {
        self.spans().map(|span| span.sheet(at)).filter(|sheet| !sheet.is_empty()).collect()
    }

    /// Counts what another meter had counted, whose clock this one goes by. What nothing limits any more is left out.
    pub(crate) fn restore(&mut self, sheets: &[Sheet], now: Moment) {
        for sheet in sheets {
            let span = self.spans_mut().find(|span| span.per.seconds() == sheet.seconds);
            if let Some(span) = span {
                span.restore(sheet, now);
            }
        }
    }
}

impl Sheet {
    /// Whether nothing counts.
    fn is_empty(&self) -> bool {
        self.requests.is_empty() && self.tokens.is_empty()
    }

    /// Requests and tokens, each with the first second of its slot.
    fn into_entries(self) -> impl Iterator<Item = (u64, u64, u64)> {
        let requests = self.requests.into_iter().map(|(begin, amount)| (begin, amount, 0));
        requests.chain(self.tokens.into_iter().map(|(begin, amount)| (begin, 0, amount)))
    }
}

impl Per {
    fn seconds(self) -> Option<u32> {
        match self {
            Self::Seconds(seconds) => Some(seconds),
            Self::Moment | Self::Day => None,
        }
    }

    /// For members and labels: "minute", "hour", "day", "90s".
    pub fn label(self) -> String {
        match self {
            Self::Moment => "moment".into(),
            Self::Seconds(60) => "minute".into(),
            Self::Seconds(3600) => "hour".into(),
            Self::Seconds(seconds) => humantime::format_duration(Duration::from_secs(u64::from(seconds)))
                .to_string()
                .replace(' ', ""),
            Self::Day => "day".into(),
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.per {
            Per::Moment => write!(f, "{} at one time", self.amount),
            per => write!(f, "{} per {}", self.amount, per.label()),
        }
    }
}

#[cfg(test)]
mod tests;
