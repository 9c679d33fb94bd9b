//! Where one credential, or one model on it, stands: clear, banned, or on probation, and whether it cools down.
//!
//! Clear -> banned when strikes in a row reach the policy's number; banned -> probation when the term is over;
//! probation -> clear or banned by the verdict on one probing request. Nothing else leads out of a ban but an
//! operator. A probe holds a ticket, so that a slot given back late can never free the slot of another probe.
//! Successes of requests that began before the ban say nothing about now and lift nothing.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::bans::{BanPolicy, Term};
use super::fleet::Fact;

/// No upstream can ask to be left alone for longer: a day on which clocks are set back.
const LONGEST_COOL_DOWN: Duration = Duration::from_secs(25 * 3600);

/// Codes from here on are about a host.
const SERVER_ERROR: u16 = 500;

/// The ban machine and the cool-down of one key.
#[derive(Clone, Debug, Default)]
pub(super) struct Standing {
    record: Record,
    cool_down: Option<CoolDown>,
}

/// The ban machine alone: what a withdrawn strike restores.
#[derive(Clone, Debug, Default)]
pub(super) struct Record {
    state: State,
    /// Strikes in a row, by counter of the policy; empty while there are none.
    counters: Vec<u32>,
    /// The last term, to be doubled.
    term: Duration,
    code: u16,
    since: Option<Instant>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum State {
    #[default]
    Clear,
    Banned(Until),
    /// One probe at a time: the ticket of the one that is out.
    Probation(Option<u64>),
}

/// When a ban ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Until {
    Time(Instant),
    Lifted,
}

/// An upstream has asked to be left alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CoolDown {
    pub(super) until: Instant,
    pub(super) code: u16,
    pub(super) since: Instant,
    /// Until its next day's quota.
    pub(super) out_for_the_day: bool,
}

/// A standing as data. Times are since the pool's epoch.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Stood {
    state: StoodState,
    counters: Vec<u32>,
    term: Duration,
    code: u16,
    since: Option<Duration>,
    /// Until when, for which code, since when.
    cool_down: Option<(Duration, u16, Duration)>,
    #[serde(default)]
    out_for_the_day: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
enum StoodState {
    Clear,
    BannedUntil(Duration),
    BannedForGood,
    Probation(Option<u64>),
}

/// Whether a request may pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gate {
    Open,
    /// As the one probe.
    Probe,
    Banned(Until),
    /// The probe is out.
    Probing,
    Cooling(CoolDown),
}

/// A ban that has begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sentence {
    pub(super) strikes: u32,
    pub(super) term: Term,
}

impl Stood {
    /// The probe that was out never comes back.
    pub(super) fn rest(&mut self) {
        if let StoodState::Probation(ticket) = &mut self.state {
            *ticket = None;
        }
    }
}

impl Standing {
    /// Whether a request may pass at `now`.
    pub(super) fn gate(&self, now: Instant) -> Gate {
        if let Some(cool_down) = self.cool_down.filter(|cool_down| cool_down.until > now) {
            return match self.record.state {
                State::Banned(until) if !until.is_over(now) => Gate::Banned(until),
                _ => Gate::Cooling(cool_down),
            };
        }
        match self.record.state {
            State::Clear => Gate::Open,
            State::Banned(until) if until.is_over(now) => Gate::Probe,
            State::Banned(until) => Gate::Banned(until),
            State::Probation(None) => Gate::Probe,
            State::Probation(Some(_)) => Gate::Probing,
        }
    }

    /// Lets the request with `ticket` pass. Whether it is a probe.
    pub(super) fn enter(&mut self, ticket: u64) -> bool {
        let probes = self.record.state == State::Probation(None);
        if probes {
            self.record.state = State::Probation(Some(ticket));
        }
        probes
    }

    /// One more failure with `code`. The ban, if that makes one.
    pub(super) fn strike(&mut self, policy: &BanPolicy, code: u16, now: Instant) -> Option<Sentence> {
        let measure = policy.measure(code).filter(|_| self.record.state == State::Clear)?;
        let record = &mut self.record;
        if record.counters.len() <= measure.counter {
            record.counters.resize(measure.counter + 1, 0);
        }
        let counter = record.counters.get_mut(measure.counter)?;
        *counter += 1;
        let strikes = *counter;
        record.code = code;
        record.since = Some(now);
        if strikes < measure.max_attempts {
            return None;
        }
        self.ban(measure.term, now);
        Some(Sentence { strikes, term: measure.term })
    }

    /// The probe with `ticket` has failed with `code`: banned again, for twice the term, or for the same one when the
    /// request itself may be to blame. None if it is no probe, or the code is no strike.
    pub(super) fn probe_failed(
        &mut self,
        policy: &BanPolicy,
        code: u16,
        ticket: u64,
        may_be_poison: bool,
        now: Instant,
    ) -> Option<Sentence> {
        let measure = policy.measure(code).filter(|_| self.record.state == State::Probation(Some(ticket)))?;
        let last = self.record.term;
        let term = match measure.term {
            Term::For(own) if may_be_poison => Term::For(last.max(own)),
            term => term.doubled(last),
        };
        self.record.code = code;
        self.ban(term, now);
        Some(Sentence { strikes: 1, term })
    }

    /// A 2xx of the request with `ticket`. Whether it has ended a probation.
    pub(super) fn succeed(&mut self, ticket: u64) -> bool {
        let probed = self.record.state == State::Probation(Some(ticket));
        if probed || (self.record.state == State::Clear && !self.record.counters.is_empty()) {
            self.record = Record::default();
        }
        probed
    }

    /// The request with `ticket` is over: frees the probe slot, if it still holds it.
    pub(super) fn leave(&mut self, ticket: u64) {
        if self.record.state == State::Probation(Some(ticket)) {
            self.record.state = State::Probation(None);
        }
    }

    /// Starts the probation when the term is over. Whether it has just started.
    pub(super) fn expire(&mut self, now: Instant) -> bool {
        let over = matches!(self.record.state, State::Banned(until) if until.is_over(now));
        if over {
            self.record.state = State::Probation(None);
            self.record.since = Some(now);
        }
        over
    }

    /// Forgets everything. Whether there was a ban or a probation.
    pub(super) fn lift(&mut self) -> bool {
        let lifted = self.record.state != State::Clear;
        *self = Self::default();
        lifted
    }

    /// A host that has asked to be left alone says that it is well.
    pub(super) fn warm(&mut self) -> bool {
        self.cool_down = self.cool_down.filter(|cool_down| cool_down.code < SERVER_ERROR);
        false
    }

    /// The same of a host that was gone: forgets what was its fault, if no operator is to decide on it. Whether there was
    /// a ban or a probation.
    pub(super) fn pardon(&mut self) -> bool {
        self.warm();
        if self.record.code < SERVER_ERROR || self.record.state == State::Banned(Until::Lifted) {
            return false;
        }
        std::mem::take(&mut self.record).state != State::Clear
    }

    /// Left alone until `now + term`; the later end wins. The term, if this begins a cool-down.
    pub(super) fn cool(
        &mut self,
        term: Duration,
        code: u16,
        out_for_the_day: bool,
        now: Instant,
    ) -> Option<Duration> {
        let term = term.min(LONGEST_COOL_DOWN);
        let until = now + term;
        let running = self.cool_down.filter(|cool_down| cool_down.until > now);
        if running.is_none_or(|cool_down| cool_down.until < until) {
            let since = running.map_or(now, |cool_down| cool_down.since);
            self.cool_down = Some(CoolDown { until, code, since, out_for_the_day });
        }
        (running.is_none() && !term.is_zero()).then_some(term)
    }

    /// As data; none where there is nothing to remember.
    pub(super) fn stood(&self, epoch: Instant) -> Option<Stood> {
        let since = |at: Instant| at.saturating_duration_since(epoch);
        let Record { state, counters, term, code, since: begun } = &self.record;
        if *state == State::Clear && counters.is_empty() && self.cool_down.is_none() {
            return None;
        }
        Some(Stood {
            state: match *state {
                State::Clear => StoodState::Clear,
                State::Banned(Until::Time(end)) => StoodState::BannedUntil(since(end)),
                State::Banned(Until::Lifted) => StoodState::BannedForGood,
                State::Probation(ticket) => StoodState::Probation(ticket),
            },
            counters: counters.clone(),
            term: *term,
            code: *code,
            since: begun.map(since),
            cool_down: self.cool_down.map(|cool| (since(cool.until), cool.code, since(cool.since))),
            out_for_the_day: self.cool_down.is_some_and(|cool| cool.out_for_the_day),
        })
    }

    /// Goes on from what was remembered of a pool with the same epoch.
    pub(super) fn resume(&mut self, stood: &Stood, epoch: Instant) {
        self.record = Record {
            state: match stood.state {
                StoodState::Clear => State::Clear,
                StoodState::BannedUntil(end) => {
                    State::Banned(epoch.checked_add(end).map_or(Until::Lifted, Until::Time))
                }
                StoodState::BannedForGood => State::Banned(Until::Lifted),
                StoodState::Probation(ticket) => State::Probation(ticket),
            },
            counters: stood.counters.clone(),
            term: stood.term,
            code: stood.code,
            since: stood.since.and_then(|since| epoch.checked_add(since)),
        };
        self.cool_down = stood.cool_down.and_then(|(until, code, since)| {
            let (until, since) = (epoch.checked_add(until)?, epoch.checked_add(since)?);
            Some(CoolDown { until, code, since, out_for_the_day: stood.out_for_the_day })
        });
    }

    /// The ban machine as it is, to be restored should a strike be withdrawn.
    pub(super) fn record(&self) -> Record {
        self.record.clone()
    }

    /// Back to what `record` said. Whether that lifts a ban. A probe that was out then is over.
    pub(super) fn restore(&mut self, record: Record) -> bool {
        let severity = |state| match state {
            State::Clear => 0,
            State::Probation(_) => 1,
            State::Banned(_) => 2,
        };
        let lifted = severity(record.state) < severity(self.record.state);
        self.record = record;
        if let State::Probation(Some(_)) = self.record.state {
            self.record.state = State::Probation(None);
        }
        lifted
    }

    /// Whether the request with `ticket` decides.
    pub(super) fn is_probed_by(&self, ticket: u64) -> bool {
        self.record.state == State::Probation(Some(ticket))
    }

    /// Takes over what another router has found. Whether that changes anything that is worth telling.
    pub(super) fn adopt(&mut self, fact: Fact, now: Instant) -> bool {
        match fact {
            Fact::Banned { left, term, code } => {
                let until = left.and_then(|left| now.checked_add(left)).map_or(Until::Lifted, Until::Time);
                let known = matches!(self.record.state, State::Banned(own) if own.is_about(until));
                self.record =
                    Record { state: State::Banned(until), term, code, since: Some(now), ..Record::default() };
                !known
            }
            Fact::Cleared => {
                let lifted = self.record.state != State::Clear;
                self.record = Record::default();
                lifted
            }
            Fact::Cooling { left, code } => self.cool(left, code, false, now).is_some(),
            Fact::Lifted => self.lift(),
        }
    }

    /// When the term of a ban that runs is over.
    pub(super) fn term_ends(&self) -> Option<Instant> {
        match self.record.state {
            State::Banned(Until::Time(end)) => Some(end),
            _ => None,
        }
    }

    /// Strikes in a row, all counters together.
    pub(super) fn strikes(&self) -> u32 {
        self.record.counters.iter().sum()
    }

    /// The code of the last strike, and when it was or the probation began.
    pub(super) fn last(&self) -> (u16, Option<Instant>) {
        (self.record.code, self.record.since)
    }

    /// Whether there is nothing to remember at `now`.
    pub(super) fn is_blank(&self, now: Instant) -> bool {
        self.gate(now) == Gate::Open && self.record.counters.is_empty()
    }

    fn ban(&mut self, term: Term, now: Instant) {
        self.record.since = Some(now);
        self.record.state = match term {
            Term::Permanent => State::Banned(Until::Lifted),
            // A term too long for the clock is one for good.
            Term::For(time) => {
                self.record.term = time;
                State::Banned(now.checked_add(time).map_or(Until::Lifted, Until::Time))
            }
        };
    }
}

impl Until {
    /// Whether the ban is over at `now`.
    fn is_over(self, now: Instant) -> bool {
        matches!(self, Self::Time(end) if end <= now)
    }

    /// Whether both end within a second.
    fn is_about(self, other: Self) -> bool {
        match (self, other) {
            (Self::Time(a), Self::Time(b)) => a.max(b) - a.min(b) <= Duration::from_secs(1),
            (a, b) => a == b,
        }
    }

    /// What is left of it; none = for good.
    pub(super) fn left(self, now: Instant) -> Option<Duration> {
        match self {
            Self::Time(end) => Some(end.saturating_duration_since(now)),
            Self::Lifted => None,
        }
    }
}

#[cfg(test)]
mod tests;
