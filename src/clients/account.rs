//! What one client has used, and what it may use: the windows that credentials have, requests at one time, and counts.
//!
//! A request takes a [`Seat`] when its head has been read (one of its places at a time; refused at once where a limit
//! is full anyway), and counts when its length is known, request and estimated tokens in one step. What it has cost
//! takes the place of the estimate at its end. Dropping the seat gives back the place, and tokens that were not used.
//! Every change to the books is one [`Change`], so that another process can be told of it and do the same.
//!
//! Where several routers share a store, a seat that has counted here has a [`Question`] for it, the same that a lease
//! has; what becomes of the seat is told to a [`Receipt`]. Keys without limits have none.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use super::ledger::{Change, Heir, Note};
use super::Digest;
use crate::config::ClientKey;
use crate::routing::clock::{Clock, Moment, Tick};
use crate::routing::limits::{Meter, Need, Span};
use crate::routing::{Asked, Bound, Limits, Per, Question, Receipt, Scope, Stretch, Which};

/// When to ask again where only a place is missing: nobody knows when one comes back.
const A_MOMENT: Duration = Duration::from_secs(1);
/// A key that the fleet has refused is asked about again this soon.
const AGAIN: Duration = Duration::from_millis(250);

/// What a client may use.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Allowance {
    limits: Limits,
    most: Option<u32>,
}

impl Allowance {
    /// Of a key of the file.
    pub fn of(key: &ClientKey) -> Self {
        Self { limits: key.limits.clone(), most: key.max_concurrent }
    }

    /// None without limits: what nobody asks about is not counted.
    fn meter(&self) -> Option<Meter> {
        (!self.limits.is_empty()).then(|| Meter::new(&self.limits))
    }
}

/// What a client has used.
pub struct Account {
    digest: Digest,
    /// What another process knows it by.
    pub(super) id: String,
    books: Mutex<Books>,
}

pub(super) struct Books {
    pub(super) clock: Clock,
    pub(super) allowance: Allowance,
    pub(super) meter: Option<Meter>,
    pub(super) in_flight: u32,
    pub(super) counts: Counts,
    pub(super) heir: Option<Heir>,
    /// What the fleet has refused.
    held: Option<Held>,
}

/// A refusal of the fleet.
#[derive(Clone, Copy)]
struct Held {
    full: Full,
    /// Requests with fewer tokens may fit.
    tokens: u64,
    at: Instant,
}

/// What has become of a client's requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Counts {
    /// All that were to go to a model, refused ones included.
    pub requests: u64,
    /// Those with a whole answer and a status below 400.
    pub successes: u64,
    /// Of prompts.
    pub prompt_tokens: u64,
    /// Of answers.
    pub completion_tokens: u64,
    /// When the first of them came.
    pub first: Option<SystemTime>,
    /// When the last of them came.
    pub last: Option<SystemTime>,
}

/// What was admitted in one slot of a limit: where, how many seconds ago the slot began, requests and tokens.
pub type Tally = (Stretch, u64, u64, u64);

/// How much has been used, and how much may be; none = no limit.
pub type Use = (u64, Option<u64>);

/// How an account stands.
#[derive(Clone, Debug, Default)]
pub struct Standing {
    /// What has become of its requests.
    pub counts: Counts,
    /// Requests under way.
    pub in_flight: u32,
    /// As many as may be.
    pub most: Option<u32>,
    /// What it has used of its limits, period by period: requests and tokens, each with its limit.
    pub uses: Vec<(Per, [Use; 2])>,
}

/// A limit in the way of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full {
    /// Which one.
    pub which: Which,
    /// How much it is.
    pub bound: Bound,
    /// How long until the request fits, if nothing else happens.
    pub wait: Duration,
}

impl Account {
    pub(super) fn new(digest: Digest, allowance: Allowance, epoch: Instant) -> Self {
        let mut clock = Clock::default();
        clock.resume(epoch, Duration::ZERO);
        let books = Books {
            clock,
            meter: allowance.meter(),
            allowance,
            in_flight: 0,
            counts: Counts::default(),
            heir: None,
            held: None,
        };
        Self { digest, id: digest.id(""), books: Mutex::new(books) }
    }

    pub(super) fn digest(&self) -> &Digest {
        &self.digest
    }

    pub(super) fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts other limits over what has been used.
    pub(super) fn relimit(&self, allowance: Allowance, now: Instant) {
        let mut books = self.books();
        let at = books.clock.tick(now).moment();
        if books.allowance.limits != allowance.limits {
            let used = books.meter.as_ref().map(|meter| meter.sheets(at)).unwrap_or_default();
            books.meter = allowance.meter();
            if let Some(meter) = &mut books.meter {
                meter.restore(&used, at);
            }
        }
        books.allowance = allowance;
    }

    /// Takes a place among the requests under way. `wall` is what the wall clock says at `now`; each limit is divided by
    /// `among`.
    ///
    /// # Errors
    /// There is none, or another limit is full.
    pub fn enter(self: &Arc<Self>, now: Instant, wall: SystemTime, among: u32) -> Result<Seat, Full> {
        let mut books = self.books();
        books.clock.pair(now, wall);
        let tick = books.clock.tick(now);
        let part = |most: u32| (most / among.max(1)).max(1);
        if let Some(most) = books.allowance.most.filter(|most| books.in_flight >= part(*most)) {
            return Err(Full {
                which: Which::Concurrency,
                bound: Bound { amount: most.into(), per: Per::Moment },
                wait: A_MOMENT,
            });
        }
        books.fits(1, among, tick)?;
        let at = tick.moment();
        self.change(&mut books, Change { places: 1, ..Change::at(at) });
        drop(books);
        Ok(Seat { account: self.clone(), at, counted: false, reserved: 0, cost: 0, among, receipt: None })
    }

    /// A request has come to its end.
    pub fn ended(&self, success: bool, tokens: (u64, u64), at: SystemTime) {
        let ended = Counts {
            requests: 1,
            successes: success.into(),
            prompt_tokens: tokens.0,
            completion_tokens: tokens.1,
            first: Some(at),
            last: Some(at),
        };
        let change = Change { ended: Some(ended), ..Change::at(Moment::default()) };
        self.change(&mut self.books(), change);
    }

    /// Forgets what has become of its requests; limits stay as they are.
    pub fn forget(&self) {
        self.books().counts = Counts::default();
    }

    /// How it stands.
    pub fn standing(&self, now: Instant) -> Standing {
        let mut books = self.books();
        let at = books.clock.tick(now).moment();
        let spans = books.meter.iter().flat_map(Meter::spans);
        Standing {
            counts: books.counts,
            in_flight: books.in_flight,
            most: books.allowance.most,
            uses: spans.map(|span| (span.per(), span.uses(at))).collect(),
        }
    }

    /// What was admitted since `since` of all that is limited, by default all that counts; of a day only that.
    pub(super) fn spent(&self, since: Option<Instant>, now: Instant) -> Vec<Tally> {
        let mut books = self.books();
        let tick = books.clock.tick(now);
        let seconds = since.map(|since| tick.seconds_since(since));
        let is_told =
            |(stretch, age, ..): &Tally| seconds.is_none_or(|seconds| stretch.is_recent(*age, seconds));
        let spent = books.meter.iter().flat_map(|meter| meter.spent(tick.moment()));
        spent.filter(is_told).collect()
    }

    /// The days of now that limit something. `wall` is what the wall clock says at `now`.
    pub fn days(&self, now: Instant, wall: SystemTime) -> Vec<Stretch> {
        let mut books = self.books();
        books.clock.pair(now, wall);
        let at = books.clock.tick(now).moment();
        books.meter.iter().flat_map(|meter| meter.days(at)).collect()
    }

    /// All routers together have used so many requests and tokens of a day.
    pub fn hear_of(&self, day: Stretch, used: [u64; 2], now: Instant) {
        let mut books = self.books();
        let at = books.clock.tick(now).moment();
        if let Some(meter) = &mut books.meter {
            meter.hear(day, used, at);
        }
    }

    /// Does what another process has done to the account with this digest.
    pub(super) fn hear(&self, change: &Change) {
        self.books().apply(change);
    }

    fn change(&self, books: &mut Books, change: Change) {
        books.apply(&change);
        if let Some(heir) = &books.heir {
            heir(Note { id: self.id.clone(), change });
        }
    }
}

impl Books {
    /// Whether one request with `tokens` fits.
    fn fits(&self, tokens: u64, among: u32, tick: Tick) -> Result<(), Full> {
        if let Some(full) = self.held.and_then(|held| held.block(tokens, tick.now)) {
            return Err(full);
        }
        let Some(meter) = &self.meter else { return Ok(()) };
        let need = Need { tokens, among: among.into() };
        match meter.full(need, tick) {
            Some(full) => Err(Full { which: full.which, bound: full.bound, wait: meter.wait(need, tick) }),
            None => Ok(()),
        }
    }

    fn apply(&mut self, change: &Change) {
        self.in_flight = self.in_flight.saturating_add_signed(change.places);
        if let Some(meter) = &mut self.meter {
            if let Some(tokens) = change.charged {
                meter.charge(tokens, change.at);
            }
            if change.overshot > 0 {
                meter.overshoot(change.overshot, change.at);
            }
            meter.give_back(change.back.0, change.back.1, change.at);
        }
        if let Some(ended) = &change.ended {
            self.counts.add(ended);
        }
    }
}

impl Held {
    /// What stands in the way of a request with `tokens`, for a moment: what others give back cannot be heard of.
    fn block(&self, tokens: u64, now: Instant) -> Option<Full> {
        let spared = self.full.which == Which::Tokens && tokens < self.tokens;
        let passed = now.saturating_duration_since(self.at);
        let wait = self.full.wait.saturating_sub(passed);
        (!spared && passed < AGAIN && !wait.is_zero()).then_some(Full { wait, ..self.full })
    }
}

impl Counts {
    pub(super) fn add(&mut self, more: &Self) {
        self.requests += more.requests;
        self.successes += more.successes;
        self.prompt_tokens += more.prompt_tokens;
        self.completion_tokens += more.completion_tokens;
        self.first = self.first.into_iter().chain(more.first).min();
        self.last = self.last.max(more.last);
    }
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Account").field("digest", &self.digest).finish_non_exhaustive()
    }
}

/// A place among a client's requests, and what the request has counted.
#[must_use = "dropping a seat gives it back"]
pub struct Seat {
    account: Arc<Account>,
    /// When it was counted.
    at: Moment,
    counted: bool,
    reserved: u64,
    cost: u64,
    /// By how much each limit was divided when it was counted.
    among: u32,
    receipt: Option<Box<dyn Receipt>>,
}

impl Seat {
    /// Counts the request with an estimate of its tokens, once. Each limit is divided by `among`.
    ///
    /// # Errors
    /// A limit is full.
    pub fn count(&mut self, tokens: u64, now: Instant, among: u32) -> Result<(), Full> {
        if self.counted {
            return Ok(());
        }
        self.among = among;
        let mut books = self.account.books();
        let tick = books.clock.tick(now);
        books.fits(tokens, among, tick)?;
        let at = tick.moment();
        self.account.change(&mut books, Change { charged: Some(tokens), ..Change::at(at) });
        drop(books);
        (self.counted, self.at, self.reserved) = (true, at, tokens);
        Ok(())
    }

    /// The request has cost `tokens` so far; the highest figure told counts. Without any call it costs nothing.
    pub fn charge(&mut self, tokens: u64) {
        self.cost = self.cost.max(tokens);
        let overshot = self.cost.saturating_sub(self.reserved);
        if overshot > 0 {
            self.reserved = self.cost;
            let mut books = self.account.books();
            // When it is known: what was not foreseen was in nobody's way before.
            let at = books.clock.latest().map_or(self.at, |tick| tick.moment());
            self.account.change(&mut books, Change { overshot, ..Change::at(at) });
            drop(books);
            if let Some(receipt) = &mut self.receipt {
                receipt.overshot(overshot);
            }
        }
    }

    /// What the fleet is to be asked about it, where nobody has said so yet; none if nothing limits its key. `salt` is for
    /// the key's digest, by which the fleet knows it.
    pub fn question(&self, salt: &str) -> Option<Question> {
        if self.receipt.is_some() {
            return None;
        }
        let books = self.account.books();
        let limited = books.meter.iter().flat_map(Meter::limited);
        let asked = |(span, [requests, tokens]): (&Span, [Option<u64>; 2])| Asked {
            scope: Scope::Credential,
            stretch: span.stretch(self.at),
            requests,
            tokens,
        };
        let limits: Vec<Asked> = limited.map(asked).collect();
        let most = books.allowance.most;
        if limits.is_empty() && most.is_none() {
            return None;
        }
        let credential = self.account.digest.id(salt).into();
        let (tokens, among) = (self.reserved, self.among);
        Some(Question { credential, model: None, limits, most, tokens, probe: None, among })
    }

    /// The fleet's side of it, to be told of its end.
    pub fn confirm(&mut self, receipt: Box<dyn Receipt>) {
        self.receipt = Some(receipt);
    }

    /// The fleet has refused it: it counts no longer, and for a moment nobody asks again.
    pub fn deny(&mut self, full: Full, now: Instant) {
        let tokens = self.reserved;
        self.withdraw();
        self.account.books().held = Some(Held { full, tokens, at: now });
    }

    /// Counts it anew, with each limit divided by `among`.
    ///
    /// # Errors
    /// A limit is full.
    pub fn recount(&mut self, now: Instant, among: u32) -> Result<(), Full> {
        let tokens = self.reserved;
        self.withdraw();
        self.count(tokens, now, among)
    }

    /// It counts no longer.
    pub fn withdraw(&mut self) {
        let back = (u64::from(self.counted), self.reserved);
        self.account.change(&mut self.account.books(), Change { back, ..Change::at(self.at) });
        (self.counted, self.reserved) = (false, 0);
    }

    /// The request is asked elsewhere, and counts there.
    pub fn forgo(mut self) {
        if let Some(mut receipt) = self.receipt.take() {
            receipt.settled(self.counted, self.reserved);
        }
        self.withdraw();
    }
}

impl fmt::Debug for Seat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seat").field("account", &self.account).finish_non_exhaustive()
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let unused = self.reserved.saturating_sub(self.cost);
        let mut books = self.account.books();
        self.account.change(&mut books, Change { places: -1, back: (0, unused), ..Change::at(self.at) });
        // Not for one that never had its place.
        books.held.take_if(|held| self.counted && held.full.which == Which::Concurrency);
        drop(books);
        if let Some(receipt) = &mut self.receipt {
            receipt.settled(false, unused);
        }
    }
}
