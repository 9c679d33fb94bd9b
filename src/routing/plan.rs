//! A request's way through its candidates: what was tried, what a verdict means for the next step, when to wait.
//!
//! The plan holds no candidates: at each step the pool looks at who is available at that moment. It holds what this
//! request must not do again. A candidate that has failed is not tried again, but for one case: the only candidate
//! that the model has at all gets one more try, after a short jittered back-off or the cool-down it asked for.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::lease::Lease;
use super::limits::Bound;
use crate::providers::verdict::{Blame, Next, Verdict};

/// The back-off before a lone candidate's second try: this, and up to `JITTER` more.
const BACK_OFF: Duration = Duration::from_millis(100);
const JITTER_MS: u64 = 300;
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
    /// Any number that differs from request to request, for jitter.
    pub seed: u64,
}

/// What a request is to do next.
#[derive(Debug)]
pub enum Step {
    /// An attempt with this lease.
    Try(Lease),
    /// Come back after that long: a lone candidate's second try.
    Wait(Duration),
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
    /// No attempt was made, and every candidate was barred.
    Unfit,
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
#[derive(Debug)]
pub struct Plan {
    model: Option<Arc<str>>,
    fallbacks: Arc<[Arc<str>]>,
    /// Which model it is at: 0 is the one asked for.
    position: usize,
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
    /// When the lone candidate of this model is tried again.
    resume: Option<Instant>,
    /// It has been, or will be.
    resumed: bool,
}

#[derive(Clone, Copy, Debug)]
struct Tried {
    credential: usize,
    /// With which model; none = with any, its key is bad.
    position: Option<usize>,
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
            position: 0,
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
        }
    }

    /// The model that was asked for.
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

    /// Whether one more attempt is allowed.
    pub(super) fn may_attempt(&self) -> bool {
        self.attempts < self.max_attempts
    }

    /// The model it is at: `Some(None)` for a request without one, none when all are done.
    pub(super) fn target(&self) -> Option<Option<&Arc<str>>> {
        match self.position.checked_sub(1) {
            None => Some(self.model.as_ref()),
            Some(at) => self.fallbacks.get(at).map(Some),
        }
    }

    /// All its models, in order.
    pub(super) fn models(&self) -> impl Iterator<Item = Option<&Arc<str>>> {
        std::iter::once(self.model.as_ref()).chain(self.fallbacks.iter().map(Some))
    }

    /// The models after the one it is at.
    pub(super) fn later_models(&self) -> impl Iterator<Item = &Arc<str>> {
        self.fallbacks.iter().skip(self.position)
    }

    /// Gives the model it is at up.
    pub(super) fn next_model(&mut self) {
        self.position = self.position.saturating_add(1);
        self.resumed = false;
    }

    /// Whether `credential` may still be tried with the model it is at.
    pub(super) fn allows(&self, credential: usize) -> bool {
        let tried = |tried: &Tried| {
            tried.credential == credential && tried.position.is_none_or(|position| position == self.position)
        };
        self.owns(credential) && !self.tried.iter().any(tried)
    }

    /// Whether `credential` has shown a bad key: no model is worth a try with it.
    pub(super) fn is_bad(&self, credential: usize) -> bool {
        self.tried.iter().any(|tried| tried.credential == credential && tried.position.is_none())
    }

    /// Whether nothing pins it to another credential, and it was not barred.
    pub(super) fn owns(&self, credential: usize) -> bool {
        self.pinned.is_none_or(|pinned| pinned == credential) && !self.is_barred(credential)
    }

    /// Begins an attempt with `credential`. Its number, from 1.
    pub(super) fn begin(&mut self, credential: usize) -> u32 {
        self.tried.push(Tried { credential, position: Some(self.position) });
        self.attempts += 1;
        self.attempts
    }

    /// What is left of a wait that was agreed on. When it is over, its candidate may be tried again.
    pub(super) fn pause(&mut self, now: Instant) -> Option<Duration> {
        let resume = self.resume?;
        if resume > now {
            return Some(resume - now);
        }
        let position = self.position;
        self.tried.retain(|tried| tried.position != Some(position));
        self.resume = None;
        None
    }

    /// Whether a failure of `credential` may be the request's own fault, because it has failed elsewhere before. The
    /// first credential that is asked about is the one that is struck.
    pub(super) fn may_be_poison(&mut self, credential: usize) -> bool {
        *self.struck.get_or_insert(credential) != credential
    }

    /// Takes the verdict on its latest attempt. `resume` is when a lone candidate may be tried again.
    pub(super) fn failed(&mut self, credential: usize, verdict: &Verdict, resume: Option<Instant>) {
        match verdict.next {
            Next::Stop => self.position = usize::MAX,
            Next::FallbackModel => self.next_model(),
            Next::Other => self.resume = resume,
        }
        self.resumed |= resume.is_some();
        if verdict.blame == Blame::Key {
            self.tried.push(Tried { credential, position: None });
        }
    }

    /// When its lone candidate may be tried again, if `verdict` allows for it and waiting fits. `cooled` is the end of
    /// the candidate's cool-down.
    pub(super) fn second_try(
        &self,
        verdict: &Verdict,
        cooled: Option<Instant>,
        now: Instant,
    ) -> Option<Instant> {
        let hopeless =
            verdict.timed_out || matches!(verdict.blame, Blame::Key | Blame::Absent | Blame::Caller);
        if self.resumed || hopeless || verdict.next != Next::Other || !self.may_attempt() {
            return None;
        }
        let patience = match self.later_models().next() {
            Some(_) => PATIENCE_BEFORE_FALLBACK,
            None => PATIENCE,
        };
        let backed_off = now + BACK_OFF + Duration::from_millis(scatter(self.seed) % (JITTER_MS + 1));
        let at = cooled.map_or(backed_off, |cooled| cooled.max(backed_off));
        let fits = at - now <= patience && self.deadline.is_none_or(|deadline| at < deadline);
        fits.then_some(at)
    }
}

/// Splitmix64: spreads seeds that are close together.
fn scatter(seed: u64) -> u64 {
    let mixed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(fallbacks: &[&str]) -> Plan {
        let fallbacks = fallbacks.iter().map(|name| Arc::from(*name)).collect();
        let ask = Ask { model: Some("m"), deadline: None, ..Ask::default() };
        Plan::new(ask, Some("m".into()), fallbacks, 5)
    }

    const BROKEN: Verdict = Verdict::new(Blame::Host, Next::Other, 500);

    #[test]
    fn a_second_try_waits_between_a_tenth_and_four_tenths_of_a_second() {
        let now = Instant::now();
        for seed in 0..1000 {
            let mut plan = plan(&[]);
            plan.seed = seed;
            let wait = plan.second_try(&BROKEN, None, now).expect("lone") - now;
            assert!((100..=400).contains(&wait.as_millis()), "{wait:?}");
        }
    }

    #[test]
    fn a_cool_down_is_waited_for_where_it_fits() {
        let now = Instant::now();
        let at = |seconds| Some(now + Duration::from_secs(seconds));
        assert_eq!(plan(&[]).second_try(&BROKEN, at(60), now), at(60));
        assert_eq!(plan(&[]).second_try(&BROKEN, at(61), now), None);
        assert_eq!(plan(&["n"]).second_try(&BROKEN, at(10), now), at(10));
        assert_eq!(plan(&["n"]).second_try(&BROKEN, at(11), now), None);
        let hurried = Plan { deadline: at(5), ..plan(&[]) };
        assert_eq!(hurried.second_try(&BROKEN, at(5), now), None);
        assert_eq!(hurried.second_try(&BROKEN, at(4), now), at(4));
    }

    #[test]
    fn a_candidate_is_not_tried_twice_but_may_serve_another_model() {
        let mut plan = plan(&["n"]);
        assert_eq!(plan.begin(3), 1);
        assert!(!plan.allows(3) && plan.allows(4));
        plan.next_model();
        assert!(plan.allows(3));
        assert_eq!(plan.target().flatten().map(|name| &**name), Some("n"));
        plan.next_model();
        assert_eq!(plan.target(), None);
    }

    #[test]
    fn a_bad_key_is_bad_for_every_model() {
        let mut plan = plan(&["n"]);
        plan.begin(3);
        plan.failed(3, &Verdict::new(Blame::Key, Next::Other, 401), None);
        plan.next_model();
        assert!(!plan.allows(3));
    }

    #[test]
    fn a_stop_ends_it_for_good() {
        let mut plan = plan(&["n"]);
        plan.failed(0, &Verdict::new(Blame::Caller, Next::Stop, 400), None);
        assert_eq!(plan.target(), None);
        plan.next_model();
        assert_eq!(plan.target(), None);
    }
}
