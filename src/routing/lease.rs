//! Permission to use one candidate once. What it has taken (a request and tokens of each window, a place
//! among concurrent requests, the probe slot) goes back on drop, so that a client that leaves, a panic and an early
//! return need no code of their own.
//!
//! Drop reads no clock: it gives back to the second of admission. Tokens beyond the reservation are charged when they
//! are told, in the second that the pool has heard of last.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::clock::Moment;
use super::fleet::{Question, Receipt};
use super::pool::Pool;
use super::transition::Transition;
use crate::llm::ability::Abilities;

/// One attempt's permission.
#[must_use = "dropping a lease gives it back"]
pub struct Lease {
    pool: Pool,
    claim: Claim,
    name: Arc<str>,
    upstream: Arc<str>,
    abilities: Abilities,
    timed: Option<bool>,
    attempt: u32,
    probe: bool,
    question: Option<Box<Question>>,
    receipt: Option<Box<dyn Receipt>>,
}

/// What a lease has taken, as the pool's books have it.
pub(super) struct Claim {
    pub(super) credential: usize,
    /// None for a request without a model.
    pub(super) model: Option<Arc<str>>,
    /// Unlike that of any other lease.
    pub(super) ticket: u64,
    /// When it was admitted.
    pub(super) at: Moment,
    /// Reserved, or charged if that is more.
    pub(super) tokens: u64,
    /// What it cost, as far as it is known.
    pub(super) cost: u64,
    /// A request byte went upstream.
    pub(super) sent: bool,
}

/// What an admission gives.
pub(super) struct Grant {
    pub(super) claim: Claim,
    pub(super) name: Arc<str>,
    pub(super) upstream: Arc<str>,
    pub(super) abilities: Abilities,
    /// With which of its plan's models.
    pub(super) position: usize,
    /// Its pace is wanted; whether it is that of a stream.
    pub(super) timed: Option<bool>,
    pub(super) probe: bool,
    pub(super) question: Option<Box<Question>>,
}

impl Claim {
    /// Tokens that were reserved and have not been used.
    pub(super) fn unused(&self) -> u64 {
        self.tokens.saturating_sub(self.cost)
    }
}

impl Lease {
    pub(super) fn new(pool: Pool, grant: Grant, attempt: u32) -> Self {
        let Grant { claim, name, upstream, abilities, timed, probe, question, .. } = grant;
        Self { pool, claim, name, upstream, abilities, timed, attempt, probe, question, receipt: None }
    }

    /// The credential's place in the file.
    pub fn credential(&self) -> usize {
        self.claim.credential
    }

    /// The model's name here: that of the fallback model when that one serves, empty for a request without a model.
    pub fn model(&self) -> &Arc<str> {
        &self.name
    }

    /// The model's name there.
    pub fn upstream_model(&self) -> &str {
        &self.upstream
    }

    /// What the model can do there.
    pub fn abilities(&self) -> Abilities {
        self.abilities
    }

    /// Which attempt of its request this is, from 1.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Whether it decides on a ban.
    pub fn is_probe(&self) -> bool {
        self.probe
    }

    /// A request byte goes upstream: the request counts from now on, whatever comes.
    pub fn sent(&mut self) {
        self.pool.lock().sent(&mut self.claim);
        self.claim.sent = true;
        if let Some(receipt) = &mut self.receipt {
            receipt.sent();
        }
    }

    /// What the fleet is to be asked about it, once; none if it takes nothing that is shared.
    pub fn question(&mut self) -> Option<Box<Question>> {
        self.question.take()
    }

    /// The fleet's side of it, to be told of its end.
    pub fn confirm(&mut self, receipt: Box<dyn Receipt>) {
        self.receipt = Some(receipt);
    }

    /// Whether `sent` was called.
    pub fn is_sent(&self) -> bool {
        self.claim.sent
    }

    /// The attempt has cost `tokens` so far; the highest figure told counts. Without any call it costs nothing.
    pub fn charge(&mut self, tokens: u64) {
        self.claim.cost = self.claim.cost.max(tokens);
        if self.claim.cost > self.claim.tokens {
            let more = self.claim.cost - self.claim.tokens;
            self.pool.lock().overshoot(&mut self.claim);
            if let Some(receipt) = &mut self.receipt {
                receipt.overshot(more);
            }
        }
    }

    /// An answer came, or the first token of a stream, after `took`.
    pub fn answered(&self, took: Duration, now: Instant) {
        if let Some(streamed) = self.timed {
            self.pool.lock().paced(&self.claim, streamed, took, now);
        }
    }

    /// A 2xx: clears the strikes of the credential and of the model on it, and ends the probation that it probes.
    #[must_use = "changes are to be told"]
    pub fn succeeded(&mut self, now: Instant) -> Vec<Transition> {
        let mut state = self.pool.lock();
        let changes = state.succeeded(&self.claim, now);
        state.news(changes)
    }

    pub(super) fn claim(&self) -> &Claim {
        &self.claim
    }

    pub(super) fn timed(&self) -> Option<bool> {
        self.timed
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.pool.lock().release(&self.claim);
        if let Some(receipt) = &mut self.receipt {
            receipt.settled(!self.claim.sent, self.claim.unused());
        }
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Lease");
        shown
            .field("credential", &self.claim.credential)
            .field("model", &self.name)
            .field("attempt", &self.attempt);
        shown.finish_non_exhaustive()
    }
}
