//! Requests that wait because everything is at its limit: by class, and within a class in the order in which they came.
//!
//! What is free is given out here and never raced for: whenever something may have become free, the waiting are gone
//! through in their order, and whoever fits is admitted on the spot, under the pool's lock, and then woken with its lease.
//! So nobody can come between a lease that is given back and the first that waits for it, nobody is woken in vain, and
//! nothing stays idle that a waiting request could use. One that comes while others of its class or a higher one wait for
//! the same lane (a model; or a model on a credential that it is bound to) waits behind them; one of another lane does not,
//! and neither does one that waits for more tokens hold up another lane. It is gone through when a lease ends, when a
//! request comes, and when the pool is told that it is time (`Pool::attend`).
//!
//! Dropping a [`Place`] gives it back, and with it what was admitted for it. Waking is `std`'s: the core knows no runtime.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use super::clock::Tick;
use super::lease::Grant;
use super::plan::{Plan, Stopped};
use super::pool::Pool;
use super::state::State;

/// In a fleet others give back what cannot be heard of.
const FLEET: Duration = Duration::from_millis(250);

/// Whose turn is first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Before all others.
    High,
    /// What is not said to be anything else.
    #[default]
    Normal,
    /// When nobody else waits.
    Low,
}

/// Who waits, and for how long one may.
pub(super) struct Queue {
    waiting: BTreeMap<Turn, Waiter>,
    most: usize,
    patience: Duration,
    turns: u64,
    /// Those that have given up, and those that found it full.
    given_up: u64,
    refused: u64,
    /// Who calls `attend` when it is time, and for when that is.
    attendant: Option<Waker>,
    due: Option<Instant>,
}

/// The order: the class, then who came first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Turn {
    class: Class,
    number: u64,
}

struct Waiter {
    /// What it asks for: a copy of its plan, as it was when it came.
    plan: Plan,
    since: Instant,
    called: Option<Called>,
    waker: Option<Waker>,
}

/// What a waiting request is woken for.
enum Called {
    /// It is admitted, with the model at that place of its plan.
    Admitted(Box<Grant>, usize),
    /// To see for itself: it is not a limit any more that stands in its way.
    Look,
}

/// A place in the queue. Resolves when its turn has come.
pub struct Place {
    pool: Pool,
    turn: Turn,
}

/// How the queue stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueueSnapshot {
    /// How many wait, by class: high, normal, low.
    pub waiting: [usize; 3],
    /// For how long the first one has waited.
    pub oldest: Option<Duration>,
    /// How many have waited in vain so far.
    pub given_up: u64,
    /// How many found it full.
    pub refused: u64,
}

impl Class {
    /// All, the first first.
    pub const ALL: [Self; 3] = [Self::High, Self::Normal, Self::Low];

    /// For labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::High => "high",
            Self::Normal => "normal",
            Self::Low => "low",
        }
    }
}

impl Queue {
    /// Nobody waits. At most `most` may, each for `patience`.
    pub(super) fn new(most: usize, patience: Duration) -> Self {
        Self {
            waiting: BTreeMap::new(),
            most,
            patience,
            turns: 0,
            given_up: 0,
            refused: 0,
            attendant: None,
            due: None,
        }
    }

    /// Whether there is anybody to be served.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// How it stands.
    pub(super) fn snapshot(&self, now: Instant) -> QueueSnapshot {
        let of = |class| self.waiting.keys().filter(|turn| turn.class == class).count();
        let since = self.waiting.values().map(|waiter| waiter.since).min();
        QueueSnapshot {
            waiting: Class::ALL.map(of),
            oldest: since.map(|since| now.saturating_duration_since(since)),
            given_up: self.given_up,
            refused: self.refused,
        }
    }

    /// Sends everybody to see for itself: the pool is closed.
    pub(super) fn dissolve(&mut self) {
        for waiter in self.waiting.values_mut() {
            waiter.call(Called::Look);
        }
    }

    /// Somebody who waits, and whom `plan` must not come before.
    fn rival(&self, plan: &Plan) -> Option<&Plan> {
        let own = plan.turn();
        let before = self.waiting.iter().take_while(|(turn, _)| own.is_none_or(|own| **turn < own));
        let waiting = before.filter(|(turn, waiter)| turn.class <= plan.class() && waiter.called.is_none());
        waiting.map(|(_, waiter)| &waiter.plan).find(|rival| rival.same_lane(plan))
    }
}

impl Waiter {
    fn call(&mut self, called: Called) {
        if self.called.is_none() {
            self.called = Some(called);
        }
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

impl State {
    /// Admits the waiting, in their order, as far as there is room. When the next one may fit, if nothing else happens.
    pub(super) fn serve(&mut self, tick: Tick) -> Option<Instant> {
        let mut waiting = std::mem::take(&mut self.queue.waiting);
        let mut full: Vec<&Plan> = Vec::new();
        let mut due: Option<Instant> = None;
        for waiter in waiting.values_mut().filter(|waiter| waiter.called.is_none()) {
            let Waiter { plan, called, waker, .. } = waiter;
            if full.iter().any(|before| before.same_lane(plan)) {
                continue;
            }
            let mut attempt = plan.clone();
            let call = match self.admit_any(&mut attempt, tick) {
                Some(grant) => Called::Admitted(Box::new(grant), attempt.position()),
                None => match self.refusal(plan, tick) {
                    Stopped::Limited { retry_after, .. } => {
                        let wait = if self.in_fleet { retry_after.min(FLEET) } else { retry_after };
                        due = due.into_iter().chain([tick.now + wait]).min();
                        full.push(plan);
                        continue;
                    }
                    _ => Called::Look,
                },
            };
            *called = Some(call);
            if let Some(waker) = waker.take() {
                waker.wake();
            }
        }
        self.queue.waiting = waiting;
        if due.is_some_and(|due| self.queue.due.is_none_or(|known| due < known)) {
            if let Some(attendant) = self.queue.attendant.take() {
                attendant.wake();
            }
        }
        self.queue.due = due;
        due
    }

    /// The first model of a plan that admits it now, and the lease for it. The plan is at that model then.
    pub(super) fn admit_any(&mut self, plan: &mut Plan, tick: Tick) -> Option<Grant> {
        while plan.may_attempt() && !plan.is_done() {
            if let Some(grant) = self.admit(plan, tick) {
                return Some(grant);
            }
            plan.next_model();
        }
        None
    }

    /// Whether the request at `place` is to wait on.
    pub(super) fn waits(&mut self, place: &Place, plan: &Plan, tick: Tick) -> bool {
        if self.queue.due.is_some_and(|due| due <= tick.now) {
            self.serve(tick);
        }
        let uncalled = self.queue.waiting.get(&place.turn).is_some_and(|waiter| waiter.called.is_none());
        let is_over = plan.waits_until().is_none_or(|until| until <= tick.now);
        self.queue.given_up += u64::from(uncalled && is_over);
        uncalled && !is_over
    }

    /// What the request that was called at `place` is admitted with; it has no place any more.
    pub(super) fn redeem(&mut self, place: &Place, plan: &mut Plan) -> Option<Grant> {
        match self.queue.waiting.remove(&place.turn)?.called? {
            Called::Admitted(grant, position) => {
                plan.go_to(position);
                Some(*grant)
            }
            Called::Look => None,
        }
    }

    /// Why `plan` has to let others go first, if it has to.
    pub(super) fn yields(&mut self, plan: &Plan, tick: Tick) -> Option<Stopped> {
        if self.queue.is_empty() || plan.attempts() > 0 {
            return None;
        }
        self.serve(tick);
        let rival = self.queue.rival(plan)?.clone();
        Some(self.refusal(&rival, tick))
    }

    /// Gives `plan` a place, if there is one and waiting may help: what stands in its way ends by itself within its time.
    pub(super) fn enqueue(&mut self, pool: &Pool, plan: &mut Plan, wait: Duration, tick: Tick) -> bool {
        let patience = self.queue.patience;
        let until = plan.waits_until().unwrap_or_else(|| plan.at_most(tick.now + patience));
        if patience.is_zero() || until <= tick.now + wait {
            return false;
        }
        if self.queue.waiting.len() >= self.queue.most {
            self.queue.refused += 1;
            return false;
        }
        let turn = plan.turn().unwrap_or_else(|| {
            self.queue.turns += 1;
            Turn { class: plan.class(), number: self.queue.turns }
        });
        let waiter = Waiter { plan: plan.clone(), since: tick.now, called: None, waker: None };
        self.queue.waiting.insert(turn, waiter);
        plan.enqueued(Place { pool: pool.clone(), turn }, turn, (tick.now, until));
        self.serve(tick);
        true
    }

    /// A place that is given back, with what was admitted for it.
    fn vacate(&mut self, turn: Turn) {
        let waiter = self.queue.waiting.remove(&turn);
        if let Some(Called::Admitted(grant, _)) = waiter.and_then(|waiter| waiter.called) {
            self.release(&grant.claim);
        }
    }
}

impl Pool {
    /// Goes through the waiting. When to come back, if anybody waits; meant to be called then, and whenever `summoned` says.
    pub fn attend(&self, now: Instant) -> Option<Instant> {
        let mut state = self.lock();
        if state.queue.is_empty() || state.succession.is_some() {
            return None;
        }
        let tick = state.clock.tick(now);
        state.serve(tick)
    }

    /// Resolves when the waiting are to be attended to earlier than at `due`.
    pub fn summoned(&self, due: Option<Instant>) -> impl Future<Output = ()> + '_ {
        std::future::poll_fn(move |context: &mut Context<'_>| {
            let mut state = self.lock();
            let earlier = state.queue.due.is_some_and(|next| due.is_none_or(|due| next < due));
            if earlier {
                return Poll::Ready(());
            }
            state.queue.attendant = Some(context.waker().clone());
            Poll::Pending
        })
    }
}

impl Future for Place {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut state = self.pool.lock();
        match state.queue.waiting.get_mut(&self.turn) {
            Some(waiter) if waiter.called.is_none() => {
                waiter.waker = Some(context.waker().clone());
                Poll::Pending
            }
            _ => Poll::Ready(()),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.pool.lock().vacate(self.turn);
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Place").field("turn", &self.turn).finish_non_exhaustive()
    }
}
