//! What one request carries through Pingora's phases: its id, its place among those in flight, and its outcome.
//!
//! Everything else of a request is a local of `lifecycle::converse`. The outcome is recorded when the context is
//! dropped, not in Pingora's `logging()`, which is skipped when a task panics and when a runtime is shut down: so each
//! request is told exactly once, however it ends.

use std::fmt::Write as _;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant, SystemTime};

use futures::poll;
use http::HeaderValue;

use super::drain::InFlight;
use super::passage::Passage;
use super::random::Random;
use crate::clients::{Client, Full, Seat};
use crate::llm::error::ApiError;
use crate::llm::Wire;
use crate::observe::metrics;
use crate::observe::outcome::{AttemptRecord, Ended, Outcome, Resumed};
use crate::observe::trace::Trace;
use crate::observe::Recorder;
use crate::routing::Class;

/// The context of one request.
pub struct RequestContext {
    /// What will be told of it.
    pub outcome: Outcome,
    /// When its head had been read.
    pub started: Instant,
    /// Our draw of luck for this request: back-off jitter.
    pub seed: u64,
    /// Whose words its errors are in.
    pub tongue: Wire,
    /// The page that the answer is for, in a browser; as it is to be named there.
    pub origin: Option<HeaderValue>,
    /// Another router asks, in a valid key: it may know who serves, and whose an error is.
    pub from_router: bool,
    /// Whose key it shows; none where none is asked for, or it is not known yet.
    pub client: Option<Arc<Client>>,
    /// Its place among the requests of that key.
    pub seat: Option<Seat>,
    /// It counts among the requests of that key, refused or not.
    pub counts: bool,
    /// The answer has begun, and broke off.
    pub broken: Option<Box<Broken>>,
    /// The state of a request that Pingora's own phases carry.
    pub passage: Option<Box<Passage>>,
    recorder: Arc<Recorder>,
    handed_on: bool,
    _leaving: InFlight,
    _counted: metrics::Counted,
}

/// An answer that broke off, and may go on.
pub struct Broken {
    /// In whose words it is.
    pub wire: Wire,
    /// What the client is told where it does not.
    pub error: ApiError,
    /// How it ended then.
    pub ended: Ended,
}

impl RequestContext {
    /// A request whose head is about to be looked at.
    pub fn begin(recorder: Arc<Recorder>, leaving: InFlight) -> Self {
        let at = SystemTime::now();
        let seed = Random::next();
        Self {
            outcome: Outcome::begun(request_id(at, seed), http::Method::GET, "other", at),
            started: Instant::now(),
            seed,
            tongue: Wire::Chat,
            origin: None,
            from_router: false,
            client: None,
            seat: None,
            counts: false,
            broken: None,
            passage: None,
            recorder,
            handed_on: false,
            _leaving: leaving,
            _counted: metrics::request(),
        }
    }

    /// The id that client, log and peers see.
    pub fn request_id(&self) -> &str {
        &self.outcome.request_id
    }

    /// Its place in a trace, and the number of the attempt that is about to be made.
    pub fn trace(&self) -> Option<(Trace, usize)> {
        self.outcome.trace.map(|trace| (trace, self.outcome.attempts.len()))
    }

    /// Takes over the id of the router in front of us, if it is a sane one.
    pub fn adopt_id(&mut self, id: &[u8]) {
        let sane = (8..=64).contains(&id.len())
            && id.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
        if let (true, Ok(id)) = (sane, std::str::from_utf8(id)) {
            self.outcome.request_id = id.to_owned();
        }
    }

    /// The request goes on with another context, and is told by that one.
    pub fn hand_on(mut self) {
        self.told_elsewhere();
    }

    /// Another process serves the request, and tells it.
    pub fn told_elsewhere(&mut self) {
        self.handed_on = true;
        if let Some(seat) = self.seat.take() {
            seat.forgo();
        }
    }

    /// The client has got its status.
    pub fn answered(&mut self, status: u16) {
        self.outcome.status = status;
    }

    /// Adds to the time that was not ours: waiting for an upstream, or for the client.
    pub fn waited(&mut self, since: Instant) {
        self.outcome.waited += since.elapsed();
    }

    /// What comes of `work`. From where it cannot go on at once, the time is not ours: a client that takes nothing, say.
    pub async fn waiting<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        if let Poll::Ready(done) = poll!(work.as_mut()) {
            return done;
        }
        let since = Instant::now();
        let done = work.await;
        self.waited(since);
        done
    }

    /// Whose key it has shown.
    pub fn recognize(&mut self, client: &Arc<Client>) {
        self.outcome.client = Some(client.name.clone());
        self.client = Some(client.clone());
    }

    /// Takes its place among the requests of its key, if it has none yet. Each limit is divided by `among`.
    ///
    /// # Errors
    /// There is none, or another limit of the key is full.
    pub fn sit(&mut self, now: Instant, among: u32) -> Result<(), Full> {
        if let (None, Some(client)) = (&self.seat, &self.client) {
            let wall = self.outcome.at + now.saturating_duration_since(self.started);
            self.seat = Some(client.account.enter(now, wall, among)?);
        }
        Ok(())
    }

    /// Whose turn is first where requests wait.
    pub fn class(&self) -> Class {
        self.client.as_ref().map_or(Class::Normal, |client| client.class)
    }

    /// It has cost its client so many tokens so far.
    pub fn charge(&mut self, tokens: u64) {
        if let Some(seat) = &mut self.seat {
            seat.charge(tokens);
        }
    }

    /// The client's place is free again: before it can ask for more.
    pub fn settle(&mut self) {
        self.seat = None;
    }

    /// One attempt is over.
    pub fn attempted(
        &mut self,
        credential: &Arc<str>,
        model: &Arc<str>,
        status: u16,
        took: Duration,
        reason: &'static str,
    ) {
        let (credential, model) = (credential.clone(), model.clone());
        let begun = self.started.elapsed().saturating_sub(took);
        let attempt = AttemptRecord { credential, model, status, begun, took, reason, tokens: None };
        self.outcome.attempts.push(attempt);
    }

    /// The answer of the last attempt broke off for that `reason`, and another is to go on with it. Where that fails,
    /// too, the client is told of the first break.
    pub fn broke_off(&mut self, broken: Broken, code: u16, reason: &'static str) {
        if let Some(attempt) = self.outcome.attempts.last_mut() {
            (attempt.status, attempt.reason) = (code, reason);
            attempt.tokens = self.outcome.usage.take();
        }
        self.outcome.resumed = Some(Resumed::GivenUp);
        self.broken.get_or_insert_with(|| Box::new(broken));
    }

    /// How it ended. The last word counts.
    pub fn ended(&mut self, ended: Ended) {
        self.outcome.ended = ended;
    }
}

impl Drop for RequestContext {
    fn drop(&mut self) {
        if !self.handed_on {
            self.outcome.total = self.started.elapsed();
            if let Some(client) = self.client.as_ref().filter(|_| self.counts) {
                let tokens = self.outcome.usage.unwrap_or_default();
                let success = self.outcome.succeeded();
                client.account.ended(success, (tokens.prompt, tokens.completion), self.outcome.at);
            }
            self.recorder.tell(&self.outcome);
        }
    }
}

/// `req_` and 32 hexadecimal digits: milliseconds first, so that ids sort by time (as in UUID version 7).
fn request_id(at: SystemTime, seed: u64) -> String {
    let ms = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
    let mut id = String::with_capacity(36);
    let _ = write!(id, "req_{ms:012x}{:04x}{:016x}", seed as u16, Random::next());
    id
}
