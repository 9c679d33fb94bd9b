//! All metrics, in one table, and the one call that counts a request.
//!
//! Names, types and labels of the first generation are kept, so that existing dashboards go on working; its duration
//! buckets began at one second and are extended downwards. Everything lives in the default registry, which Pingora's
//! Prometheus service and `/metrics` both read. Labels are bounded: credentials come from the file, endpoints are
//! path templates, reasons are constants. A `type: proxy` credential appears in the request metrics only: all else
//! about it is counted by the router behind it.
//!
//! Counting is on the path of every request, so handles are looked up once: per credential when the router starts,
//! per (credential, endpoint, status) once a thread. The library hashes label values without a separator between them,
//! so constants come before names, and none of a set begins with another: no two series can meet.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use once_cell::sync::Lazy;
use prometheus::core::Collector;
use prometheus::{
    Encoder, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, TextEncoder,
};

use super::gen_ai;
use super::outcome::{AttemptRecord, Ended, Outcome, TokenCount};

/// What every name begins with.
pub(super) const PREFIX: &str = "auto_ai_router_";

/// The type of credentials that are routers, and count for themselves.
const PROXY: &str = "proxy";

/// The `credential` label of requests that no credential answered.
const NONE: &str = "none";

const SECONDS: &[f64] = &[0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 240.0, 600.0];
const OWN_SECONDS: &[f64] =
    &[0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0];

/// Values of `tokens_total{type}`.
const TOKEN_TYPES: [&str; 4] = ["input", "output", "cached", "reasoning"];

static TABLE: Lazy<Table> = Lazy::new(Table::registered);

struct Table {
    requests: IntCounterVec,
    durations: HistogramVec,
    errors: IntCounterVec,
    attempts: IntCounterVec,
    first_token: HistogramVec,
    overhead: HistogramVec,
    tokens: IntCounterVec,
    bans: IntCounterVec,
    rejected: IntCounterVec,
    resumed: IntCounterVec,
    images: IntCounterVec,
    frames_dropped: IntCounter,
    in_flight: IntGauge,
    connections: IntGauge,
    streams_open: IntGauge,
    upstream_idle: IntGauge,
    reload_ok: IntGauge,
    reload_at: IntGauge,
    generation: IntGauge,
    queue: HistogramVec,
    shared_state: HistogramVec,
}

impl Table {
    fn registered() -> Self {
        let of_request = &["credential", "endpoint", "status"];
        let labels = &["credential", "endpoint"];
        Self {
            requests: counters("requests_total", "Requests answered", of_request),
            durations: histograms("requests_duration_seconds", "From head to answer's end", SECONDS, labels),
            errors: counters("credential_errors_total", "Attempts that failed", &["credential"]),
            attempts: counters("attempts_total", "Attempts by outcome", &["outcome", "credential"]),
            first_token: histograms(
                "time_to_first_token_seconds",
                "To the first output",
                SECONDS,
                &["credential"],
            ),
            overhead: histograms(
                "overhead_seconds",
                "Spent in the router itself",
                OWN_SECONDS,
                &["endpoint"],
            ),
            tokens: counters("tokens_total", "Tokens by type", &["type", "credential"]),
            bans: counters("bans_total", "Ban events", &["event", "credential"]),
            rejected: counters("rejected_total", "Requests refused by the router itself", &["reason"]),
            images: counters("images_total", "Pictures fetched for upstreams", &["outcome"]),
            resumed: counters("resumed_total", "Streams that broke off and were gone on with", &["outcome"]),
            frames_dropped: single(
                "stream_frames_dropped_total",
                "Frames of upstream streams that were not JSON",
            ),
            in_flight: gauge("in_flight", "Requests under way"),
            connections: gauge("connections", "Connections of callers that are open"),
            streams_open: gauge("streams_open", "Event streams being relayed"),
            upstream_idle: gauge("upstream_idle", "Idle upstream connections"),
            reload_ok: gauge(
                "config_last_reload_successful",
                "1 if the configuration was good when it was read last",
            ),
            reload_at: gauge(
                "config_last_reload_success_timestamp_seconds",
                "When the running configuration was read",
            ),
            generation: gauge("upgrade_generation", "Processes that have taken over from one another"),
            queue: histograms(
                "queue_seconds",
                "Waited for a limit, and served or refused after it",
                SECONDS,
                &["outcome"],
            ),
            shared_state: histograms(
                "shared_state_seconds",
                "Questions to the shared state",
                OWN_SECONDS,
                &[],
            ),
        }
    }
}

pub(super) const VALID: &str = "the names and labels in this room are valid: a test registers all of them";

/// Makes a metric known to the default registry. A second registration cannot happen: the table is made once.
pub(super) fn registered<C: Collector + Clone + 'static>(metric: C) -> C {
    let _ = prometheus::register(Box::new(metric.clone()));
    metric
}

pub(super) fn counters(name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    registered(IntCounterVec::new(Opts::new(format!("{PREFIX}{name}"), help), labels).expect(VALID))
}

fn single(name: &str, help: &str) -> IntCounter {
    registered(IntCounter::new(format!("{PREFIX}{name}"), help).expect(VALID))
}

fn gauge(name: &str, help: &str) -> IntGauge {
    registered(IntGauge::new(format!("{PREFIX}{name}"), help).expect(VALID))
}

fn histograms(name: &str, help: &str, buckets: &[f64], labels: &[&str]) -> HistogramVec {
    let options = HistogramOpts::new(format!("{PREFIX}{name}"), help).buckets(buckets.to_vec());
    registered(HistogramVec::new(options, labels).expect(VALID))
}

/// A request has waited for a limit that long, and was `served` or has `given_up`.
pub fn queued(outcome: &'static str, waited: Duration) {
    TABLE.queue.with_label_values(&[outcome]).observe(waited.as_secs_f64());
}

/// The shared state was asked, and has answered or not within that time.
pub fn asked(took: Duration) {
    TABLE.shared_state.with_label_values::<&str>(&[]).observe(took.as_secs_f64());
}

/// A picture was fetched for an upstream, or why not.
pub fn picture(outcome: &'static str) {
    TABLE.images.with_label_values(&[outcome]).inc();
}

/// The configuration has been read, and was good or not.
pub fn reloaded(good: bool) {
    TABLE.reload_ok.set(good.into());
    if good {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        TABLE.reload_at.set(i64::try_from(now.as_secs()).unwrap_or(i64::MAX));
    }
}

/// Whether the configuration was good when it was read last, and when the running one was read.
pub fn last_reload() -> (bool, SystemTime) {
    let at = Duration::from_secs(u64::try_from(TABLE.reload_at.get()).unwrap_or_default());
    (TABLE.reload_ok.get() == 1, SystemTime::UNIX_EPOCH + at)
}

/// How many processes have taken over from one another.
pub fn generations() -> u32 {
    u32::try_from(TABLE.generation.get()).unwrap_or_default()
}

/// So many processes have taken over from one another.
pub fn generation(number: u32) {
    TABLE.generation.set(number.into());
}

/// Everything in the text format: its content type and its body.
pub fn encode() -> (&'static str, Vec<u8>) {
    Lazy::force(&TABLE);
    let mut body = Vec::with_capacity(16 << 10);
    // Fails only for families without a name or without samples, which the registry never gives.
    let _ = TextEncoder::new().encode(&prometheus::gather(), &mut body);
    (prometheus::TEXT_FORMAT, body)
}

/// Counts a refusal of something that never became a request; refused requests are counted by `Meters::record`.
pub fn rejected(reason: &'static str) {
    TABLE.rejected.with_label_values(&[reason]).inc();
}

/// Something that is under way, for as long as the value lives.
#[must_use = "counts for as long as it is kept"]
pub struct Counted(&'static IntGauge);

impl Counted {
    fn on(gauge: &'static IntGauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Counts a request in.
pub fn request() -> Counted {
    Counted::on(&TABLE.in_flight)
}

/// Counts a caller's connection in.
pub fn connection() -> Counted {
    Counted::on(&TABLE.connections)
}

/// Counts an event stream in that is relayed.
pub fn stream() -> Counted {
    Counted::on(&TABLE.streams_open)
}

/// Counts an upstream connection in that waits for its next request.
pub fn idle() -> Counted {
    Counted::on(&TABLE.upstream_idle)
}

/// Values of `bans_total{event}`. None may begin with another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BanEvent {
    /// Enough strikes.
    Banned,
    /// The term is over.
    Expired,
    /// Cleared: by a success, by an operator, or because the host turned out to be at fault.
    Unbanned,
    /// Left alone on its own request.
    CoolDown,
}

impl BanEvent {
    /// The label's value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Banned => "banned",
            Self::Expired => "expired",
            Self::Unbanned => "unbanned",
            Self::CoolDown => "cool_down",
        }
    }
}

/// The meters of the configured credentials; cheap to clone.
#[derive(Clone)]
pub struct Meters(Arc<HashMap<Box<str>, CredentialMeters>>);

struct CredentialMeters {
    /// Unique in the process: the key of the per-thread lookups.
    number: usize,
    own: Option<OwnMeters>,
}

/// What is counted here and not by a router behind.
struct OwnMeters {
    kind: &'static str,
    succeeded: IntCounter,
    errors: IntCounter,
    first_token: Histogram,
    tokens: [IntCounter; 4],
}

impl Meters {
    /// Makes the meters of all credentials: name, and type.
    pub fn for_credentials<'n>(credentials: impl IntoIterator<Item = (&'n str, &'static str)>) -> Self {
        static NUMBERS: AtomicUsize = AtomicUsize::new(1);
        Lazy::force(&TABLE);
        let meters = credentials.into_iter().map(|(name, kind)| {
            let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
            (
                Box::from(name),
                CredentialMeters { number, own: (kind != PROXY).then(|| OwnMeters::of(name, kind)) },
            )
        });
        Self(Arc::new(meters.collect()))
    }

    /// Counts one request, whatever became of it.
    pub fn record(&self, outcome: &Outcome) {
        let named =
            outcome.credential.as_deref().and_then(|name| self.0.get(name).map(|meters| (name, meters)));
        self.request(named, outcome);
        outcome.attempts.iter().for_each(|attempt| self.attempt(attempt));
        if let Some(resumed) = outcome.resumed {
            TABLE.resumed.with_label_values(&[resumed.as_str()]).inc();
        }
        if let Some(own) = named.and_then(|(_, meters)| meters.own.as_ref()) {
            if let Some(first) = outcome.first_token {
                own.first_token.observe(first.as_secs_f64());
            }
            if let Some(usage) = outcome.usage {
                own.spent(usage);
            }
        }
        if outcome.ended == Ended::Refused {
            rejected(outcome.refusal.unwrap_or("other"));
        }
        if outcome.frames_dropped > 0 {
            TABLE.frames_dropped.inc_by(outcome.frames_dropped);
        }
    }

    /// Counts an event in the life of a ban.
    pub fn ban(&self, credential: &str, event: BanEvent) {
        if self.0.get(credential).is_some_and(|meters| meters.own.is_some()) {
            TABLE.bans.with_label_values(&[event.as_str(), credential]).inc();
        }
    }

    fn request(&self, named: Option<(&str, &CredentialMeters)>, outcome: &Outcome) {
        let key = SeriesKey {
            credential: named.map_or(0, |(_, meters)| meters.number),
            endpoint: outcome.endpoint.as_ptr(),
            status: outcome.status,
        };
        SERIES.with_borrow_mut(|known| {
            let name = named.map_or(NONE, |(name, _)| name);
            let kind = named.and_then(|(_, meters)| Some(meters.own.as_ref()?.kind));
            let series =
                known.entry(key).or_insert_with(|| Series::of(name, kind, outcome.endpoint, outcome.status));
            series.requests.inc();
            series.durations.observe(outcome.total.as_secs_f64());
            series.overhead.observe(outcome.overhead().as_secs_f64());
            if let Some(meters) = &series.gen_ai {
                meters.record(outcome);
            }
        });
    }

    fn attempt(&self, attempt: &AttemptRecord) {
        let credential = &*attempt.credential;
        let Some(own) = self.0.get(credential).and_then(|meters| meters.own.as_ref()) else { return };
        if attempt.reason == "ok" {
            own.succeeded.inc();
        } else {
            own.errors.inc();
            TABLE.attempts.with_label_values(&[attempt.reason, credential]).inc();
        }
        if let Some(tokens) = attempt.tokens {
            own.spent(tokens);
        }
    }
}

impl OwnMeters {
    fn of(name: &str, kind: &'static str) -> Self {
        Self {
            kind,
            succeeded: TABLE.attempts.with_label_values(&["ok", name]),
            errors: TABLE.errors.with_label_values(&[name]),
            first_token: TABLE.first_token.with_label_values(&[name]),
            tokens: TOKEN_TYPES.map(|kind| TABLE.tokens.with_label_values(&[kind, name])),
        }
    }

    fn spent(&self, usage: TokenCount) {
        let counts = [usage.prompt, usage.completion, usage.cached, usage.reasoning];
        for (meter, count) in self.tokens.iter().zip(counts).filter(|(_, count)| *count > 0) {
            meter.inc_by(count);
        }
    }
}

thread_local! {
    /// Bounded as the labels are.
    static SERIES: RefCell<HashMap<SeriesKey, Series>> = RefCell::default();
}

#[derive(PartialEq, Eq, Hash)]
struct SeriesKey {
    credential: usize,
    /// Where the endpoint's text lies: it is a constant, so comparing the text itself is not needed.
    endpoint: *const u8,
    status: u16,
}

/// The handles of one (credential, endpoint, status).
struct Series {
    requests: IntCounter,
    durations: Histogram,
    overhead: Histogram,
    /// Where a provider has answered.
    gen_ai: Option<gen_ai::Meters>,
}

impl Series {
    fn of(credential: &str, kind: Option<&'static str>, endpoint: &str, status: u16) -> Self {
        Self {
            requests: TABLE.requests.with_label_values(&[credential, endpoint, &status.to_string()]),
            durations: TABLE.durations.with_label_values(&[credential, endpoint]),
            overhead: TABLE.overhead.with_label_values(&[endpoint]),
            gen_ai: kind.and_then(|kind| gen_ai::Meters::of(endpoint, kind)),
        }
    }
}

#[cfg(test)]
mod tests;
