//! A request's way through its candidates: what was tried, what a verdict means for the next step, when to wait.
//!
//! The plan holds no candidates: at each step the pool looks at who is available at that moment. It holds what this
//! request must not do again. While there is somebody else nobody is waited for. A candidate that has failed is tried
//! again in two cases: the only candidate that the model has at all gets one more try, before a stand-in's turn; and
//! when everybody has been tried, those that failed in passing (`Verdict::is_passing`) are asked round after round.
//! Before each of these comes a back-off, or the cool-down that was asked for. Back-offs double, with equal jitter: half
//! of each is fixed, so that no two requests are in step and each pause is still longer than the one before
//! (<https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/>). Attempts, the deadline and the retry
//! budget bound all of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::catalog::Candidate;
use super::lease::Lease;
use super::limits::Bound;
use super::meaning::Meaning;
use super::queue::{Class, Waiting};
use super::strategy::{scatter, Lot};
use crate::llm::ability::Abilities;
use crate::providers::verdict::{Blame, Next, Verdict};

/// The first back-off; half of it is jitter.
const BACK_OFF: Duration = Duration::from_millis(200);
/// The longest, and the longest that anybody is waited for where all have been tried.
const MOST_BACK_OFF: Duration = Duration::from_secs(5);
/// The longest cool-down that a lone candidate is waited for, where a fallback model could answer instead.
const PATIENCE_BEFORE_FALLBACK: Duration = Duration::from_secs(10);
/// And where nobody else could.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a request asks of the pool.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ask<'a> {
    /// Name here; none for requests without a model, which any credential may serve.
    pub model: Option<&'a str>,
    /// Estimate of the tokens it will cost, to be reserved.
    pub tokens: u64,
    /// The only credential that may serve it, because it owns what the request names.
    pub pinned: Option<usize>,
    /// No wait goes beyond this.
    pub deadline: Option<Instant>,
    /// Any number that differs from request to request, for jitter and lots.
    pub seed: u64,
    /// Whose turn is first where requests wait.
    pub class: Class,
    /// What a model must be able to do to serve it.
    pub needs: Abilities,
    /// The only credentials that may serve it, by their places; none = any.
    pub among: Option<&'a Arc<[bool]>>,
    /// Its answer is a stream.
    pub streams: bool,
}

/// What a request is to do next.
#[derive(Debug)]
pub enum Step {
    /// An attempt with this lease.
    Try(Lease),
    /// Come back after that long: a lone candidate's second try, or another round.
    Wait(Duration),
    /// Come back when `Plan::place` resolves, or a second has passed: everything is at its limit.
    Queued,
    /// Nothing is left.
    Stop(Stopped),
    /// The pool is closed, and the request is to be planned anew with the one that takes its place.
    Moved,
}

/// Why nothing is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// No attempt was made: all candidates are banned, on probation, or cool down for another reason than a 429.
    Unavailable {
        /// The soonest recovery; none if none recovers by itself.
        retry_after: Option<Duration>,
    },
    /// No attempt was made, and at least one candidate is only at its limit, or cools down after a 429.
    Limited {
        /// When the first of these can serve, if nothing else happens.
        retry_after: Duration,
        /// What stands in its way.
        which: Which,
        /// The limit; none if it is the upstream's own.
        limit: Option<Bound>,
    },
    /// Attempts were made, and no candidate or no attempt is left: the last answer is the answer.
    Exhausted,
    /// Attempts were made, and all requests together have tried again too often: the last answer is the answer.
    Spent,
    /// No attempt was made, and every candidate was barred.
    Unfit,
    /// No attempt was made: no model that it may be asked of can do this.
    Lacking(Abilities),
    /// No attempt was made: nobody that it may be asked of serves the model.
    Elsewhere,
}

/// A kind of limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// Requests over some time.
    Requests,
    /// Tokens over some time.
    Tokens,
    /// Requests at the same time.
    Concurrency,
    /// The upstream's own, told by a 429.
    Upstream,
}

/// A request's plan.
#[derive(Clone, Debug)]
pub struct Plan {
    model: Option<Arc<str>>,
    /// The rest of the list that was asked for, and what stands in.
    fallbacks: Arc<[Arc<str>]>,
    /// How many models the list has that was asked for; 0 where it was a model.
    listed: usize,
    /// The list is drawn from as a whole.
    even: bool,
    /// Which model it is at: 0 is the first.
    position: usize,
    /// With which model the latest attempt was.
    latest: usize,
    /// Models of a list drawn from as a whole that are not to be tried any more.
    given_up: Vec<usize>,
    needs: Abilities,
    among: Option<Arc<[bool]>>,
    streams: bool,
    /// What stands for the conversation.
    key: Option<u64>,
    pub(super) tokens: u64,
    pinned: Option<usize>,
    deadline: Option<Instant>,
    seed: u64,
    attempts: u32,
    max_attempts: u32,
    tried: Vec<Tried>,
    /// Credentials that have no words for this request.
    barred: Vec<usize>,
    /// The credential that failed first: the only one that this request strikes.
    struck: Option<usize>,
    /// When it goes on, if it has to wait.
    resume: Option<Instant>,
    /// The lone candidate of this model has been tried again, or will be.
    resumed: bool,
    /// How often it has backed off.
    pauses: u32,
    pub(super) waiting: Waiting,
}

#[derive(Clone, Copy, Debug)]
struct Tried {
    credential: usize,
    /// With which model; none = with any, its key is bad.
    position: Option<usize>,
    /// It may be tried again when all have been.
    again: bool,
}

impl Which {
    /// For error texts, headers and labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Tokens => "tokens",
            Self::Concurrency => "concurrency",
            Self::Upstream => "upstream",
        }
    }
}

impl Plan {
    pub(super) fn new(
        ask: Ask<'_>,
        model: Option<Arc<str>>,
        fallbacks: Arc<[Arc<str>]>,
        max_attempts: u32,
    ) -> Self {
        Self {
            model,
            fallbacks: if ask.pinned.is_some() { Arc::default() } else { fallbacks },
            listed: 0,
            even: false,
            position: 0,
            latest: 0,
            given_up: Vec::new(),
            needs: ask.needs,
            among: ask.among.cloned(),
            streams: ask.streams,
            key: None,
            tokens: ask.tokens,
            pinned: ask.pinned,
            deadline: ask.deadline,
            seed: ask.seed,
            attempts: 0,
            max_attempts: max_attempts.max(1),
            tried: Vec::new(),
            barred: Vec::new(),
            struck: None,
            resume: None,
            resumed: false,
            pauses: 0,
            waiting: Waiting::new(ask.class),
        }
    }

    /// The plan of a request whose model is another name, or a list. What names a stored thing may be for any of them.
    pub(super) fn meant(ask: Ask<'_>, meaning: Meaning, max_attempts: u32) -> Self {
        let Meaning { first, rest, listed, even } = meaning;
        let plan = Self::new(Ask { pinned: None, ..ask }, Some(first), rest, max_attempts);
        Self { listed, even, pinned: ask.pinned, ..plan }
    }

    /// Whether the model asked for is another name of one, or a list.
    pub fn stands_in(&self) -> bool {
        self.listed > 0
    }

    /// Keeps it to the credential that requests with the same key go to, where a strategy asks for it.
    pub fn keep_to(&mut self, key: u64) {
        self.key = Some(key);
    }

    pub(super) fn key(&self) -> Option<u64> {
        self.key
    }

    pub(super) fn streams(&self) -> bool {
        self.streams
    }

    /// Numbers for its next choice by lot.
    pub(super) fn lot(&self) -> Lot {
        Lot::new(scatter(self.seed).wrapping_add(u64::from(self.attempts)))
    }

    /// The first model that was asked for.
    pub fn model(&self) -> Option<&str> {
        self.model.as_deref()
    }

    /// The only credential that may serve it.
    pub fn pinned(&self) -> Option<usize> {
        self.pinned
    }

    /// Attempts so far.
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Its answer broke off: there is time until `deadline` for another to go on.
    pub fn renew(&mut self, deadline: Option<Instant>) {
        self.deadline = deadline;
    }

    /// This request means nothing to `credential`: it is no candidate, whatever the model.
    pub fn bar(&mut self, credential: usize) {
        self.barred.push(credential);
    }

    /// Whether `credential` was barred.
    pub(super) fn is_barred(&self, credential: usize) -> bool {
        self.barred.contains(&credential)
    }

    /// The attempt just begun was none.
    pub(super) fn pass_over(&mut self, credential: usize) {
        self.bar(credential);
        self.attempts = self.attempts.saturating_sub(1);
    }

    /// The attempt just begun never was: its candidate may be asked again.
    pub(super) fn withdraw(&mut self) {
        self.tried.pop();
        self.attempts = self.attempts.saturating_sub(1);
    }

    /// Whether it asks for the same as `other`, so that who came first goes first.
    pub(super) fn same_lane(&self, other: &Self) -> bool {
        let same_models = self.model == other.model && self.fallbacks == other.fallbacks;
        let same_candidates = self.pinned == other.pinned && self.among == other.among;
        same_models && same_candidates && self.needs == other.needs && self.barred == other.barred
    }

    /// Nothing is waited for beyond its deadline.
    pub(super) fn at_most(&self, until: Instant) -> Instant {
        self.deadline.map_or(until, |deadline| deadline.min(until))
    }

    /// Which of its models it is at.
    pub(super) fn position(&self) -> usize {
        self.position
    }

    /// Is at that one.
    pub(super) fn go_to(&mut self, position: usize) {
        self.position = position;
    }

    /// Whether one more attempt is allowed.
    pub(super) fn may_attempt(&self) -> bool {
        self.attempts < self.max_attempts
    }

    /// The model at `position`: `Some(None)` for a request without one, none behind the last.
    fn model_at(&self, position: usize) -> Option<Option<&Arc<str>>> {
        match position.checked_sub(1) {
            None => Some(self.model.as_ref()),
            Some(at) => self.fallbacks.get(at).map(Some),
        }
    }

    /// Whether several models are drawn from together.
    pub(super) fn draws(&self) -> bool {
        self.even && self.position < self.listed
    }

    /// Whether all its models are done.
    pub(super) fn is_done(&self) -> bool {
        self.model_at(self.position).is_none()
    }

    /// The models it is at with their positions: one, or all that are drawn from; empty when all are done.
    pub(super) fn targets(&self) -> impl Iterator<Item = (usize, Option<&Arc<str>>)> {
        let end = if self.draws() { self.listed } else { self.position.saturating_add(1) };
        let positions = (self.position..end).filter(|position| !self.given_up.contains(position));
        positions.map_while(|position| Some((position, self.model_at(position)?)))
    }

    /// All its models, in order.
    pub(super) fn models(&self) -> impl Iterator<Item = Option<&Arc<str>>> {
        std::iter::once(self.model.as_ref()).chain(self.fallbacks.iter().map(Some))
    }

    /// The models after the one it is at.
    pub(super) fn later_models(&self) -> impl Iterator<Item = &Arc<str>> {
        self.fallbacks.iter().skip(if self.draws() { self.listed - 1 } else { self.position })
    }

    /// Gives the models it is at up.
    pub(super) fn next_model(&mut self) {
        self.position = if self.draws() { self.listed } else { self.position.saturating_add(1) };
        self.resumed = false;
    }

    /// Whether `candidate` may still be tried with the model at `position`.
    pub(super) fn allows(&self, candidate: &Candidate, position: usize) -> bool {
        let tried = |tried: &Tried| {
            tried.credential == candidate.credential && tried.position.is_none_or(|at| at == position)
        };
        self.takes(candidate) && !self.tried.iter().any(tried)
    }

    /// Whether `credential` has shown a bad key: no model is worth a try with it.
    pub(super) fn is_bad(&self, credential: usize) -> bool {
        self.tried.iter().any(|tried| tried.credential == credential && tried.position.is_none())
    }

    /// Whether nothing keeps it from `candidate`: no pin, no ability that the model lacks, no bar.
    pub(super) fn takes(&self, candidate: &Candidate) -> bool {
        let credential = candidate.credential;
        self.may_ask(credential) && self.lacks(candidate).is_empty() && !self.is_barred(credential)
    }

    /// Whether nothing keeps it from `credential`.
    pub(super) fn may_ask(&self, credential: usize) -> bool {
        let among = self.among.as_ref().is_none_or(|among| among.get(credential) == Some(&true));
        among && self.pinned.is_none_or(|pinned| pinned == credential)
    }

    /// Whether only some credentials may be asked.
    pub(super) fn is_kept_among(&self) -> bool {
        self.among.is_some()
    }

    /// What it needs and the candidate's model cannot do.
    pub(super) fn lacks(&self, candidate: &Candidate) -> Abilities {
        self.needs.beyond(candidate.abilities)
    }

    /// What it needs.
    pub(super) fn needs(&self) -> Abilities {
        self.needs
    }

    /// Begins an attempt with `credential` and the model at `position`. Its number, from 1.
    pub(super) fn begin(&mut self, credential: usize, position: usize) -> u32 {
        self.latest = position;
        self.tried.push(Tried { credential, position: Some(position), again: false });
        self.attempts += 1;
        self.attempts
    }

    /// What is left of a wait that was agreed on.
    pub(super) fn pause(&mut self, now: Instant) -> Option<Duration> {
        self.resume.take_if(|resume| *resume <= now);
        Some(self.resume? - now)
    }

    /// Those that may be tried again when all have been, each with its model.
    pub(super) fn passing(&self) -> impl Iterator<Item = (usize, Option<&Arc<str>>)> {
        let again = self.tried.iter().filter(|tried| tried.again && !self.is_bad(tried.credential));
        again.filter_map(|tried| {
            let position = tried.position.filter(|position| !self.given_up.contains(position))?;
            Some((tried.credential, self.model_at(position)?))
        })
    }

    /// Begins with its first model again, after a back-off and not before `ready`. For how long it has to wait; none if
    /// that does not fit.
    pub(super) fn go_round(&mut self, ready: Instant, now: Instant) -> Option<Duration> {
        let at = self.back_off(ready, MOST_BACK_OFF, now)?;
        self.tried.retain(|tried| !tried.again);
        self.position = 0;
        self.wait_until(at);
        self.pause(now)
    }

    /// The end of its next back-off, or `ready` where that is later; none if that does not fit.
    fn back_off(&self, ready: Instant, patience: Duration, now: Instant) -> Option<Instant> {
        let whole = BACK_OFF.saturating_mul(1 << self.pauses.min(16)).min(MOST_BACK_OFF);
        let half = whole / 2;
        let jitter = scatter(self.seed.wrapping_add(self.pauses.into())) % half.as_micros().max(1) as u64;
        let at = ready.max(now + half + Duration::from_micros(jitter));
        let fits = at - now <= patience && self.deadline.is_none_or(|deadline| at < deadline);
        (fits && self.may_attempt()).then_some(at)
    }

    fn wait_until(&mut self, at: Instant) {
        self.resume = Some(at);
        self.pauses += 1;
    }

    /// Whether a failure of `credential` may be the request's own fault, because it has failed elsewhere before, or time
    /// and again. The first credential that is asked about is the one that is struck, twice at most.
    pub(super) fn may_be_poison(&mut self, credential: usize) -> bool {
        *self.struck.get_or_insert(credential) != credential || self.pauses > 1
    }

    /// Takes the verdict on its latest attempt. `resume` is when a lone candidate may be tried again.
    pub(super) fn failed(&mut self, credential: usize, verdict: &Verdict, resume: Option<Instant>) {
        if let Some(tried) = self.tried.last_mut() {
            tried.again = verdict.is_passing();
        }
        match verdict.next {
            Next::Stop => {
                self.position = usize::MAX;
                self.tried.iter_mut().for_each(|tried| tried.again = false);
            }
            Next::FallbackModel => self.given_up.push(self.latest),
            Next::Other => {}
        }
        if let Some(at) = resume {
            let latest = self.latest;
            self.tried.retain(|tried| tried.position != Some(latest));
            self.resumed = true;
            self.wait_until(at);
        }
        if verdict.blame == Blame::Key {
            self.tried.push(Tried { credential, position: None, again: false });
        }
    }

    /// When its lone candidate may be tried again, if `verdict` allows for it and waiting fits. It is not before `ready`.
    pub(super) fn second_try(&self, verdict: &Verdict, ready: Instant, now: Instant) -> Option<Instant> {
        let hopeless =
            verdict.timed_out || matches!(verdict.blame, Blame::Key | Blame::Absent | Blame::Caller);
        // Of a list, the next model is asked at once.
        let goes_on = self.stands_in() && self.later_models().next().is_some();
        if self.resumed || hopeless || goes_on || verdict.next != Next::Other {
            return None;
        }
        let patience = match self.later_models().next() {
            Some(_) => PATIENCE_BEFORE_FALLBACK,
            None => PATIENCE,
        };
        self.back_off(ready, patience, now)
    }
}

#[cfg(test)]
mod tests;
