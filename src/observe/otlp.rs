//! Requests that a collector is to hear of: kept for a moment, and taken in batches by `background::export`.
//!
//! A request only ever puts a copy of its outcome into a queue with a bound; behind that it is lost, and counted. What
//! was taken and could not be delivered is counted as lost, too, by whoever drops it. The bounds are those that
//! OpenTelemetry gives its own batch processors (specification, "Batching processor": 2048 waiting, 512 in a batch).

pub mod spans;

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use once_cell::sync::Lazy;
use prometheus::IntCounterVec;
use tokio::sync::Notify;

use super::metrics::counters;
use super::outcome::Outcome;

const MOST_WAITING: usize = 2048;
const BATCH: usize = 512;
/// A request is told of at most so much later, where the collector takes it.
const PAUSE: Duration = Duration::from_secs(2);
const TICK: Duration = Duration::from_millis(5);

static QUEUE: Lazy<Queue> = Lazy::new(Queue::default);
static SPANS: Lazy<IntCounterVec> = Lazy::new(|| {
    counters("spans_total", "Spans of traces that the collector got, or that were lost", &["outcome"])
});

#[derive(Default)]
struct Queue {
    state: Mutex<State>,
    /// There is a batch, or no time to wait for one.
    due: Notify,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Outcome>,
    /// Taken, and neither delivered nor lost yet.
    out: usize,
    leaving: bool,
}

/// Keeps the request for the collector, if it is part of a trace that somebody may want to see.
pub fn note(outcome: &Outcome) {
    if is_work(outcome)
        && outcome.trace.is_some_and(|trace| trace.is_sampled())
        && !QUEUE.push(outcome.clone())
    {
        count("lost", spans_of(outcome));
    }
}

/// Whether a model was asked for, or somebody was refused: a look at `/health` is no work.
fn is_work(outcome: &Outcome) -> bool {
    outcome.model.is_some() || outcome.refusal.is_some() || !outcome.attempts.is_empty()
}

fn spans_of(outcome: &Outcome) -> usize {
    1 + outcome.attempts.len()
}

fn count(outcome: &str, spans: usize) {
    SPANS.with_label_values(&[outcome]).inc_by(spans as u64);
}

/// The next requests, as soon as they fill a batch or have waited long enough; at least one.
pub async fn batch() -> Batch {
    QUEUE.batch(PAUSE).await
}

/// Waits, at the end of the process, until everything is delivered or lost, at most for `limit`.
pub fn flush(limit: Duration) {
    let begun = Instant::now();
    QUEUE.lock().leaving = true;
    while !QUEUE.is_idle() && begun.elapsed() < limit {
        QUEUE.due.notify_one();
        std::thread::sleep(TICK);
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there was room.
    fn push(&self, outcome: Outcome) -> bool {
        let mut state = self.lock();
        if state.waiting.len() >= MOST_WAITING {
            return false;
        }
        state.waiting.push_back(outcome);
        if state.waiting.len() >= BATCH {
            self.due.notify_one();
        }
        true
    }

    async fn batch(&'static self, pause: Duration) -> Batch {
        loop {
            if self.lock().waiting.len() < BATCH {
                let _ = tokio::time::timeout(pause, self.due.notified()).await;
            }
            let mut state = self.lock();
            let count = state.waiting.len().min(BATCH);
            if count > 0 {
                state.out += count;
                let outcomes: Vec<Outcome> = state.waiting.drain(..count).collect();
                let lost = outcomes.iter().map(spans_of).sum();
                return Batch { of: self, outcomes, lost };
            }
        }
    }

    fn is_idle(&self) -> bool {
        let state = self.lock();
        state.waiting.is_empty() && state.out == 0
    }
}

/// Requests on their way to the collector.
pub struct Batch {
    of: &'static Queue,
    /// They.
    pub outcomes: Vec<Outcome>,
    /// Spans, as long as nobody has taken them.
    lost: usize,
}

impl Batch {
    /// The collector has taken all but so many spans.
    pub fn delivered(mut self, refused: usize) {
        let taken = self.lost.saturating_sub(refused);
        count("exported", taken);
        self.lost -= taken;
    }

    /// Whether the process is about to end, so that there is no time for another try.
    pub fn is_urgent(&self) -> bool {
        self.of.lock().leaving
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        self.of.lock().out -= self.outcomes.len();
        count("lost", self.lost);
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::observe::trace::Trace;

    fn outcome(model: Option<&str>) -> Outcome {
        let mut outcome =
            Outcome::begun("req_1".into(), http::Method::POST, "/v1/models", SystemTime::UNIX_EPOCH);
        outcome.model = model.map(str::to_owned);
        outcome.trace = Some(Trace::begun(1, 1, true));
        outcome
    }

    fn queue() -> &'static Queue {
        Box::leak(Box::default())
    }

    #[tokio::test]
    async fn what_has_no_room_is_turned_away_and_batches_keep_their_bound() {
        let queue = queue();
        let taken = (0..MOST_WAITING + 7).filter(|_| queue.push(outcome(Some("m")))).count();
        assert_eq!(taken, MOST_WAITING);
        for _ in 0..MOST_WAITING / BATCH {
            let batch = queue.batch(Duration::from_secs(60)).await;
            assert_eq!((batch.outcomes.len(), batch.lost), (BATCH, BATCH));
            assert!(!queue.is_idle());
            batch.delivered(0);
        }
        assert!(queue.is_idle() && queue.push(outcome(Some("m"))));
    }

    #[tokio::test]
    async fn a_few_requests_wait_for_more_and_then_leave() {
        let queue = queue();
        queue.push(outcome(Some("m")));
        let begun = Instant::now();
        let batch = queue.batch(Duration::from_millis(30)).await;
        assert!(begun.elapsed() >= Duration::from_millis(30));
        assert_eq!(batch.outcomes.len(), 1);
    }

    #[test]
    fn a_look_at_a_page_is_no_work() {
        assert!(is_work(&outcome(Some("m"))) && !is_work(&outcome(None)));
        assert!(is_work(&Outcome { refusal: Some("invalid_api_key"), ..outcome(None) }));
    }
}
