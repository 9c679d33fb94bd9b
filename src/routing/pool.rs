//! The pool: a cheap handle on the state of all candidates, and the only way to it.
//!
//! One `std` mutex, held for the length of one step and never across an await. A panic inside leaves the books as
//! they are, and the next one goes on with them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime};

use super::availability::Availability;
use super::catalog::{self, Catalog, Listed, UnknownModel};
use super::explain::{self, Considered};
use super::fleet::{Day, Denial, Spent, Word};
use super::lease::{Grant, Lease};
use super::ledger::{Heir, Ledger, Note};
use super::plan::{Ask, Plan, Step, Stopped};
use super::snapshot::{Copied, Snapshot};
use super::state::State;
use super::strategy::Strategy;
use super::transition::Transition;
use super::Blueprint;
use crate::providers::verdict::Verdict;

/// All candidates, and their state. Cloning shares it.
#[derive(Clone)]
pub struct Pool {
    state: Arc<Mutex<State>>,
    max_attempts: u32,
    /// Some model goes by conversations.
    keeps: bool,
}

impl Pool {
    /// A pool in which nobody has done anything yet.
    pub fn new(blueprint: Blueprint) -> Self {
        let max_attempts = blueprint.max_attempts.max(1);
        let strategies = blueprint.models.iter().filter_map(|model| model.strategy);
        let keeps = strategies.chain([blueprint.strategy]).any(|strategy| strategy == Strategy::Affinity);
        Self { state: Arc::new(Mutex::new(State::new(blueprint))), max_attempts, keeps }
    }

    /// A plan for a request.
    ///
    /// # Errors
    /// Nobody serves the model, however things stand.
    pub fn plan(&self, ask: Ask<'_>) -> Result<Plan, UnknownModel> {
        let Some(model) = ask.model else {
            return Ok(Plan::new(ask, None, Arc::default(), self.max_attempts));
        };
        let mut state = self.lock();
        match state.plan(model, ask, self.max_attempts) {
            Some(plan) => Ok(plan),
            None => {
                drop(state);
                Err(self.unknown(model))
            }
        }
    }

    /// Whether it matters which conversation the request of `plan` belongs to.
    pub fn asks_for_key(&self, plan: &Plan) -> bool {
        self.keeps && self.lock().asks_for_key(plan)
    }

    /// It is `wall` at `now`. Days begin by the wall clock: meant to be told every second.
    pub fn pair(&self, now: Instant, wall: SystemTime) {
        self.lock().clock.pair(now, wall);
    }

    /// The next step of a plan. A candidate is charged, and its probe slot taken, from here on.
    pub fn next(&self, plan: &mut Plan, now: Instant) -> Step {
        // Before the lock, so that it is dropped after it.
        let mut place = plan.leave();
        let mut state = self.lock();
        if state.succession.is_some() {
            return Step::Moved;
        }
        let tick = state.clock.tick(now);
        if let Some(pause) = plan.pause(tick.now) {
            return Step::Wait(pause);
        }
        let again = plan.attempts() > 0;
        if again && !state.retries.allow(tick.age) {
            return Step::Stop(Stopped::Spent);
        }
        if let Some(own) = place.take_if(|own| state.waits(own, plan, tick)) {
            plan.stays(own);
            return Step::Queued;
        }
        if let Some(grant) = place.as_ref().and_then(|own| state.redeem(own, plan)) {
            state.retries.count(again, tick.age);
            return self.attempt(plan, grant);
        }
        let (first, rival) = (plan.position(), state.yields(plan, tick));
        if rival.is_none() {
            if let Some(grant) = state.admit_any(plan, tick) {
                state.retries.count(again, tick.age);
                return self.attempt(plan, grant);
            }
        }
        if let Some(pause) = again.then(|| state.another_round(plan, tick)).flatten() {
            return Step::Wait(pause);
        }
        let stopped = match (rival, plan.attempts()) {
            (Some(rival), _) => rival,
            (None, 0) => state.refusal(plan, tick),
            (None, _) => Stopped::Exhausted,
        };
        if let Stopped::Limited { retry_after, .. } = stopped {
            plan.go_to(first);
            if state.enqueue(self, plan, retry_after, tick) {
                return Step::Queued;
            }
        }
        Step::Stop(stopped)
    }

    fn attempt(&self, plan: &mut Plan, grant: Grant) -> Step {
        let attempt = plan.begin(grant.claim.credential, grant.position);
        Step::Try(Lease::new(self.clone(), grant, attempt))
    }

    /// The attempt with `lease` has failed: strikes, cool-downs, and where the plan goes from here. The lease is given
    /// back.
    #[must_use = "changes are to be told"]
    pub fn failed(&self, plan: &mut Plan, lease: Lease, verdict: &Verdict, now: Instant) -> Vec<Transition> {
        let mut state = self.lock();
        if let Some(streamed) = lease.timed().filter(|_| verdict.timed_out) {
            state.late(lease.claim(), streamed, now);
        }
        let changes = state.failed(plan, lease.claim(), verdict, now);
        let changes = state.news(changes);
        drop(state);
        drop(lease);
        changes
    }

    /// The candidate of `lease` turned out to have no words for the request: it is barred, nobody is to blame, and the
    /// attempt counts for nothing.
    pub fn pass_over(&self, plan: &mut Plan, lease: Lease) {
        plan.pass_over(lease.credential());
        drop(lease);
    }

    /// The fleet has refused the lease: its key is held for a moment, and the attempt counts for nothing.
    pub fn denied(&self, plan: &mut Plan, lease: Lease, denial: Denial, now: Instant) {
        self.lock().hold(lease.claim(), denial, now);
        self.withdraw(plan, lease);
    }

    /// The lease was not needed after all: the attempt counts for nothing, and its candidate may be asked again.
    pub fn withdraw(&self, plan: &mut Plan, lease: Lease) {
        plan.withdraw();
        drop(lease);
    }

    /// Others use the same keys: leases come with a question from now on, and each limit is divided by `among`.
    pub fn join(&self, among: u32) {
        let mut state = self.lock();
        state.in_fleet = true;
        state.among = among.max(1);
    }

    /// Takes over what another router has told.
    #[must_use = "changes are to be told"]
    pub fn adopt(&self, word: &Word, now: Instant) -> Vec<Transition> {
        self.lock().adopt(word, now)
    }

    /// What was admitted since `since` of all that is limited, by default all that counts; of a day only that.
    pub fn spent(&self, since: Option<Instant>, now: Instant) -> Vec<Spent> {
        self.lock().spent(since, now)
    }

    /// The days of now that limit something.
    pub fn days(&self, now: Instant) -> Vec<Day> {
        self.lock().days(now)
    }

    /// All routers together have used so many requests and tokens of a day: while they cannot be asked, this one has a
    /// part of what is left.
    pub fn hear_of(&self, day: &Day, used: [u64; 2], now: Instant) {
        self.lock().hear_of(day, used, now);
    }

    /// Whether the plan could go on elsewhere if its current attempt failed now.
    pub fn has_alternative(&self, plan: &Plan, now: Instant) -> bool {
        let state = self.lock();
        plan.may_attempt() && state.has_alternative(plan, state.clock.peek(now))
    }

    /// Starts the probations whose time has come, and hands out changes that requests have found and nobody was told
    /// of. Cheap when there is nothing to do: meant to be called every second.
    #[must_use = "changes are to be told"]
    pub fn expire(&self, now: Instant) -> Vec<Transition> {
        let mut state = self.lock();
        let changes = state.expire(now);
        state.news(changes)
    }

    /// Lifts bans, cool-downs and strikes of a credential and of all models on it; none if there is no such credential.
    pub fn unban(&self, credential: &str, now: Instant) -> Option<Vec<Transition>> {
        self.lock().unban(credential, now)
    }

    /// Replaces the list of models that was learned from a credential. An empty list means that it has none.
    pub fn learn(&self, credential: usize, models: Vec<String>) {
        Catalog::learn(&mut self.lock().catalog, credential, models);
    }

    /// All models that somebody serves: configured ones in the order of the file, names that stand for others, then
    /// learned ones by name.
    pub fn models(&self) -> Vec<Listed> {
        self.models_among(None)
    }

    /// The same of what one of some credentials serves, by their places; none = any of all.
    pub fn models_among(&self, among: Option<&[bool]>) -> Vec<Listed> {
        let catalog = self.lock().catalog.clone();
        catalog.listed(among)
    }

    /// What to say about a model that nobody serves.
    pub fn unknown(&self, model: &str) -> UnknownModel {
        catalog::unknown(model, &self.models())
    }

    /// How things stand, for `/health`, metrics and the page.
    pub fn snapshot(&self, now: Instant) -> Snapshot {
        let state = self.lock();
        let copied = Copied::new(&state, state.clock.peek(now));
        drop(state);
        copied.assemble()
    }

    /// The same without the models on credentials that nobody has asked for: they are as configured.
    pub fn busy(&self, now: Instant) -> Snapshot {
        let state = self.lock();
        let copied = Copied::new(&state, state.clock.peek(now));
        drop(state);
        copied.busy()
    }

    /// Whether a credential could serve a model at this moment, and if not, why.
    pub fn state_of(&self, credential: usize, model: Option<&str>, now: Instant) -> Availability {
        let state = self.lock();
        state.availability(credential, model, state.clock.peek(now))
    }

    /// Who would be tried for a request, in order, and why the others would not. Changes nothing.
    ///
    /// # Errors
    /// Nobody serves the model, however things stand.
    pub fn explain(&self, ask: Ask<'_>, now: Instant) -> Result<Vec<Considered>, UnknownModel> {
        let plan = self.plan(ask)?;
        let state = self.lock();
        Ok(explain::explain(&state, &plan, self.max_attempts, state.clock.peek(now)))
    }

    /// Admits nothing from here on, and says what it remembers. What becomes of its leases goes to its heir, from now.
    pub fn close(&self, now: Instant) -> Ledger {
        self.lock().close(now)
    }

    /// What it remembers. It goes on as before.
    pub fn ledger(&self, now: Instant) -> Ledger {
        self.lock().ledger(now)
    }

    /// Says who takes over after `close`.
    pub fn bequeath(&self, heir: Heir) {
        self.lock().bequeath(heir);
    }

    /// There is no heir after all: admits again.
    pub fn reopen(&self) {
        self.lock().succession = None;
    }

    /// Takes over what another pool remembered. `epoch` is that pool's, as this process counts time; `keeps` says of
    /// a credential's name whether it stands for the same key, so that its bans go on.
    pub fn inherit(&self, ledger: &Ledger, epoch: Instant, keeps: &dyn Fn(&str) -> bool) {
        self.lock().inherit(ledger, epoch, keeps);
    }

    /// Enters what has become of a lease of the pool before this one.
    #[must_use = "changes are to be told"]
    pub fn hear(&self, note: &Note, now: Instant) -> Vec<Transition> {
        let mut state = self.lock();
        let changes = state.enter(note, now);
        state.news(changes)
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
