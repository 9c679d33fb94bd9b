//! What happened lately: times, tokens and the last error of each credential, and the last errors of all; and counts of
//! what each has done, from the start or from when they were put to nought.
//!
//! For people who look, not for graphs over days: those are made of metrics. Fed by the outcome of each request, a few
//! stores into fixed rings behind a lock per credential; everything that costs more (sorting for a quantile) is done
//! when somebody looks. A credential that has served nothing costs nothing. No text of an upstream or of a client is
//! kept but the names of models, so that nothing can leak here.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use super::outcome::{AttemptRecord, Ended, Outcome};

/// How many slots the recent past has, and how long one is: five minutes in all.
pub const SLOTS: usize = 60;
/// Seconds.
const SLOT: u64 = 5;
/// How many answers the quantiles are taken of.
const SAMPLES: usize = 128;
/// How many errors are kept.
const FAILURES: usize = 50;
/// The longest name of a model that is kept.
const LONGEST: usize = 128;
/// Slots that tokens per second are taken of: the last minute.
const MINUTE: usize = 12;

/// Of one credential, over all configurations that have it.
type Shared = Arc<Mutex<Tally>>;

/// Median and 95th percentile.
pub type Quantiles = (Duration, Duration);

/// The recent past of all credentials; cheap to clone.
#[derive(Clone, Default)]
pub struct Recent {
    tallies: Arc<HashMap<Arc<str>, Shared>>,
    whole: Arc<Whole>,
}

/// What is known of all of them together.
#[derive(Default)]
struct Whole {
    failures: Mutex<VecDeque<Failure>>,
    requests: AtomicU64,
    failovers: AtomicU64,
    skips: AtomicU64,
}

/// What one credential has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Attempts.
    pub requests: u64,
    /// Attempts that failed.
    pub failures: u64,
    /// Attempts that it answered by a 429.
    pub rate_limited: u64,
}

/// What all of them have done. Metrics count the same and more, but never go back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Requests that were to go to a credential.
    pub requests: u64,
    /// How often a request went on to another attempt.
    pub failovers: u64,
    /// 429s of upstreams, and requests for which every credential was at a limit of ours.
    pub skips: u64,
    /// By name.
    pub credentials: HashMap<Arc<str>, Counts>,
}

/// An attempt that failed, or a request that did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// When its request began.
    pub at: SystemTime,
    /// As on its access line.
    pub request_id: String,
    /// Path template.
    pub endpoint: &'static str,
    /// The model, shortened; none where none was named.
    pub model: Option<String>,
    /// Whose failure it was; none where the router refused.
    pub credential: Option<Arc<str>>,
    /// The upstream's status, or the client's.
    pub status: u16,
    /// From a fixed set: the reason of an attempt, the code of a refusal, or how the request ended.
    pub reason: &'static str,
}

/// What is known of one credential.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Lately {
    /// When a ban or a cool-down of it, or of a model on it, began or ended.
    pub changed: Option<SystemTime>,
    /// Its last failure.
    pub last_error: Option<Failure>,
    /// From the attempt to the end of the answer: median and 95th percentile of the last answers.
    pub latency: Option<Quantiles>,
    /// From the attempt to the first output, likewise.
    pub first_token: Option<Quantiles>,
    /// Output tokens per second over the last minute.
    pub tokens_per_second: f64,
    /// Answers in each slot of five seconds, oldest first; empty where there never was one.
    pub answers: Vec<u32>,
    /// Failed attempts, likewise.
    pub errors: Vec<u32>,
}

#[derive(Clone, Copy, Default)]
struct Slot {
    /// Which one since the epoch.
    number: u64,
    answers: u32,
    errors: u32,
    tokens: u64,
}

/// The rings of one credential.
#[derive(Default)]
struct Tally {
    counts: Counts,
    changed: Option<SystemTime>,
    last_error: Option<Failure>,
    rings: Option<Box<Rings>>,
}

struct Rings {
    slots: [Slot; SLOTS],
    latency: Samples,
    first_token: Samples,
}

/// Milliseconds of the last answers.
struct Samples {
    values: [u32; SAMPLES],
    /// How many there have been.
    count: usize,
}

impl Recent {
    /// Rings for these credentials; those of the same name go on with what `self` has.
    pub fn for_credentials<'n>(&self, names: impl IntoIterator<Item = &'n str>) -> Self {
        let tally = |name: &str| self.tallies.get(name).cloned().unwrap_or_default();
        let tallies = names.into_iter().map(|name| (name.into(), tally(name))).collect();
        Self { tallies: Arc::new(tallies), whole: self.whole.clone() }
    }

    /// Notes one request, whatever became of it.
    pub fn note(&self, outcome: &Outcome) {
        let slot = slot_of(outcome.at + outcome.total);
        self.whole.count(outcome);
        for attempt in &outcome.attempts {
            let failure = attempt.failed().then(|| Failure::of_attempt(outcome, attempt));
            if let Some(tally) = self.tallies.get(&*attempt.credential) {
                let mut tally = lock(tally);
                tally.counts.add(attempt);
                if let Some(failure) = &failure {
                    tally.failed(slot, failure.clone());
                }
            }
            failure.into_iter().for_each(|failure| self.keep(failure));
        }
        let broken = Failure::of_request(outcome);
        if let Some(tally) = outcome.credential.as_deref().and_then(|name| self.tallies.get(name)) {
            let mut tally = lock(tally);
            tally.answered(slot, outcome);
            if let Some(failure) = &broken {
                tally.failed(slot, failure.clone());
            }
        }
        broken.into_iter().for_each(|failure| self.keep(failure));
    }

    /// What has been counted.
    pub fn totals(&self) -> Totals {
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Totals {
            requests: get(&self.whole.requests),
            failovers: get(&self.whole.failovers),
            skips: get(&self.whole.skips),
            credentials: self
                .tallies
                .iter()
                .map(|(name, tally)| (name.clone(), lock(tally).counts))
                .collect(),
        }
    }

    /// All counts begin anew.
    pub fn reset(&self) {
        self.tallies.values().for_each(|tally| lock(tally).counts = Counts::default());
        for count in [&self.whole.requests, &self.whole.failovers, &self.whole.skips] {
            count.store(0, Ordering::Relaxed);
        }
    }

    /// A ban or a cool-down of a credential has begun or ended.
    pub fn changed(&self, credential: &str, at: SystemTime) {
        if let Some(tally) = self.tallies.get(credential) {
            lock(tally).changed = Some(at);
        }
    }

    /// The last errors, newest first.
    pub fn failures(&self) -> Vec<Failure> {
        lock(&self.whole.failures).iter().rev().cloned().collect()
    }

    /// What is known of a credential.
    pub fn of(&self, credential: &str, now: SystemTime) -> Lately {
        self.tallies.get(credential).map(|tally| lock(tally).lately(slot_of(now))).unwrap_or_default()
    }

    fn keep(&self, failure: Failure) {
        let mut failures = lock(&self.whole.failures);
        if failures.len() == FAILURES {
            failures.pop_front();
        }
        failures.push_back(failure);
    }
}

impl Whole {
    fn count(&self, outcome: &Outcome) {
        let limited = outcome.refusal == Some("limit");
        if outcome.attempts.is_empty() && !limited {
            return;
        }
        let told_to_wait = outcome.attempts.iter().filter(|attempt| attempt.status == 429).count();
        let add = |count: &AtomicU64, more: usize| {
            if more > 0 {
                count.fetch_add(more as u64, Ordering::Relaxed);
            }
        };
        add(&self.requests, 1);
        add(&self.failovers, outcome.attempts.len().saturating_sub(1));
        add(&self.skips, told_to_wait + usize::from(limited));
    }
}

impl Counts {
    fn add(&mut self, attempt: &AttemptRecord) {
        self.requests += 1;
        self.failures += u64::from(attempt.reason != "ok");
        self.rate_limited += u64::from(attempt.status == 429);
    }
}

/// What a panic inside leaves is still whole enough to look at.
fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

fn slot_of(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs() / SLOT
}

impl Failure {
    fn of_attempt(outcome: &Outcome, attempt: &AttemptRecord) -> Self {
        Self {
            credential: Some(attempt.credential.clone()),
            model: Some(&*attempt.model).filter(|model| !model.is_empty()).map(shortened),
            status: attempt.status,
            reason: attempt.reason,
            ..Self::of(outcome)
        }
    }

    /// A request that failed other than by its attempts. Whoever has no key is nobody's failure: strangers would push
    /// out what the operator looks for.
    fn of_request(outcome: &Outcome) -> Option<Self> {
        let told = match outcome.ended {
            Ended::Truncated | Ended::Stalled | Ended::UpstreamError | Ended::Drained | Ended::Panicked => {
                true
            }
            Ended::Refused => outcome.status != 401 && outcome.endpoint != "other",
            Ended::Complete => outcome.status >= 400,
            Ended::Failed | Ended::ClientGone => false,
        };
        told.then(|| Self::of(outcome))
    }

    fn of(outcome: &Outcome) -> Self {
        Self {
            at: outcome.at,
            request_id: outcome.request_id.clone(),
            endpoint: outcome.endpoint,
            model: outcome.model.as_deref().map(shortened),
            credential: outcome.credential.clone(),
            status: outcome.status,
            reason: outcome.refusal.unwrap_or(match outcome.ended {
                Ended::Complete => "upstream_refused",
                ended => ended.as_str(),
            }),
        }
    }
}

fn shortened(name: &str) -> String {
    match name.char_indices().find(|(at, c)| at + c.len_utf8() > LONGEST) {
        Some((cut, _)) => format!("{}…", name.get(..cut).unwrap_or_default()),
        None => name.to_owned(),
    }
}

impl Tally {
    fn rings(&mut self) -> &mut Rings {
        self.rings.get_or_insert_with(Box::default)
    }

    fn failed(&mut self, slot: u64, failure: Failure) {
        self.last_error = Some(failure);
        if let Some(slot) = self.rings().slot(slot) {
            slot.errors = slot.errors.saturating_add(1);
        }
    }

    fn answered(&mut self, slot: u64, outcome: &Outcome) {
        // What earlier attempts took is not this credential's.
        let failed = outcome.attempts.iter().filter(|attempt| attempt.reason != "ok");
        let lost: Duration = failed.map(|attempt| attempt.took).sum();
        let rings = self.rings();
        if outcome.ended == Ended::Complete {
            rings.latency.add(outcome.total.saturating_sub(lost));
        }
        if let Some(first) = outcome.first_token {
            rings.first_token.add(first.saturating_sub(lost));
        }
        if let Some(slot) = rings.slot(slot) {
            slot.answers = slot.answers.saturating_add(1);
            slot.tokens = slot.tokens.saturating_add(outcome.usage.map_or(0, |usage| usage.completion));
        }
    }

    fn lately(&self, now: u64) -> Lately {
        let known =
            Lately { changed: self.changed, last_error: self.last_error.clone(), ..Lately::default() };
        let Some(rings) = &self.rings else { return known };
        let past: Vec<Slot> =
            (0..SLOTS as u64).rev().map(|back| rings.look(now.saturating_sub(back))).collect();
        let tokens: u64 = past.iter().rev().take(MINUTE).map(|slot| slot.tokens).sum();
        Lately {
            latency: rings.latency.quantiles(),
            first_token: rings.first_token.quantiles(),
            tokens_per_second: tokens as f64 / (MINUTE as u64 * SLOT) as f64,
            answers: past.iter().map(|slot| slot.answers).collect(),
            errors: past.iter().map(|slot| slot.errors).collect(),
            ..known
        }
    }
}

impl Default for Rings {
    fn default() -> Self {
        let samples = || Samples { values: [0; SAMPLES], count: 0 };
        Self { slots: [Slot::default(); SLOTS], latency: samples(), first_token: samples() }
    }
}

impl Rings {
    /// The slot of that number, emptied if it was an older one; none if it is over.
    fn slot(&mut self, number: u64) -> Option<&mut Slot> {
        let slot = self.slots.get_mut(place(number)).filter(|slot| slot.number <= number)?;
        if slot.number < number {
            *slot = Slot { number, ..Slot::default() };
        }
        Some(slot)
    }

    fn look(&self, number: u64) -> Slot {
        let slot = self.slots.get(place(number)).filter(|slot| slot.number == number);
        slot.copied().unwrap_or_default()
    }
}

fn place(slot: u64) -> usize {
    (slot % SLOTS as u64) as usize
}

impl Samples {
    fn add(&mut self, time: Duration) {
        if let Some(value) = self.values.get_mut(self.count % SAMPLES) {
            *value = u32::try_from(time.as_millis()).unwrap_or(u32::MAX);
        }
        self.count += 1;
    }

    /// Median and 95th percentile; none without a sample.
    fn quantiles(&self) -> Option<Quantiles> {
        let mut values = self.values.get(..self.count.min(SAMPLES))?.to_vec();
        values.sort_unstable();
        let at = |share: usize| values.get((values.len() * share).div_ceil(100).saturating_sub(1));
        let time = |value: &u32| Duration::from_millis((*value).into());
        Some((time(at(50)?), time(at(95)?)))
    }
}

#[cfg(test)]
mod tests;
