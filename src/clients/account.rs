//! What one client has used, and what it may use: the windows that credentials have, requests at one time, and counts.
//!
//! A request takes a [`Seat`] when its head has been read (one of its places at a time; refused at once where a limit
//! is full anyway), and counts when its length is known, request and estimated tokens in one step. What it has cost
//! takes the place of the estimate at its end. Dropping the seat gives back the place, and tokens that were not used.
//! Every change to the books is one [`Change`], so that another process can be told of it and do the same.

use std::fmt;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use super::ledger::{Change, Heir, Note};
use super::Digest;
use crate::config::ClientKey;
use crate::routing::clock::{Clock, Moment, Tick};
use crate::routing::limits::{Meter, Need};
use crate::routing::{Bound, Limits, Per, Which};
use crate::sync::{Mutex, MutexGuard};

/// When to ask again where only a place is missing: nobody knows when one comes back.
const A_MOMENT: Duration = Duration::from_secs(1);

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

    /// Takes a place among the requests under way. `wall` is what the wall clock says at `now`.
    ///
    /// # Errors
    /// There is none, or another limit is full.
    pub fn enter(self: &Arc<Self>, now: Instant, wall: SystemTime) -> Result<Seat, Full> {
        let mut books = self.books();
        books.clock.pair(now, wall);
        let tick = books.clock.tick(now);
        if let Some(most) = books.allowance.most.filter(|most| books.in_flight >= *most) {
            return Err(Full {
                which: Which::Concurrency,
                bound: Bound { amount: most.into(), per: Per::Moment },
                wait: A_MOMENT,
            });
        }
        books.fits(1, tick)?;
        let at = tick.moment();
        self.change(&mut books, Change { places: 1, ..Change::at(at) });
        drop(books);
        Ok(Seat { account: self.clone(), at, counted: false, reserved: 0, cost: 0 })
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
    fn fits(&self, tokens: u64, tick: Tick) -> Result<(), Full> {
        let Some(meter) = &self.meter else { return Ok(()) };
        let need = Need { tokens, among: 1 };
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
#[derive(Debug)]
pub struct Seat {
    account: Arc<Account>,
    /// When it was counted.
    at: Moment,
    counted: bool,
    reserved: u64,
    cost: u64,
}

impl Seat {
    /// Counts the request with an estimate of its tokens, once.
    ///
    /// # Errors
    /// A limit is full.
    pub fn count(&mut self, tokens: u64, now: Instant) -> Result<(), Full> {
        if self.counted {
            return Ok(());
        }
        let mut books = self.account.books();
        let tick = books.clock.tick(now);
        books.fits(tokens, tick)?;
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
        }
    }

    /// The request is asked elsewhere, and counts there.
    pub fn forgo(self) {
        if self.counted {
            let mut books = self.account.books();
            self.account.change(&mut books, Change { back: (1, 0), ..Change::at(self.at) });
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let unused = self.reserved.saturating_sub(self.cost);
        let mut books = self.account.books();
        self.account.change(&mut books, Change { places: -1, back: (0, unused), ..Change::at(self.at) });
    }
}
