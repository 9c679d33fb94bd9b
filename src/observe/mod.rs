//! What the router says about itself: its log, the access log, metrics, `/health` and `/vhealth`.
//!
//! Part of the shell: this room may log, count and read the clock. It knows nothing of Pingora, routing or
//! configuration: it is handed plain values (`Outcome`, `View`) and turns them into text. Nothing here ever makes a
//! request wait for I/O.

pub mod access_log;
mod chain;
pub mod gauges;
mod gen_ai;
pub mod health;
mod json;
pub mod logging;
pub mod metrics;
#[cfg(feature = "otlp")]
pub mod otlp;
pub mod outcome;
pub mod page;
pub mod query;
pub mod recent;
pub mod seeds;
pub mod sheet;
pub mod sink;
pub mod trace;
pub mod view;

use access_log::AccessLog;
use metrics::Meters;
use outcome::Outcome;
use recent::Recent;

/// Where outcomes go: called exactly once for every request.
#[derive(Clone)]
pub struct Recorder {
    /// Counts.
    pub meters: Meters,
    /// Writes.
    pub access: AccessLog,
    /// Remembers for the page.
    pub recent: Recent,
    /// Whether a collector is to hear of it.
    pub traces: bool,
}

impl Recorder {
    /// Counts the request, notes it, and writes its line.
    pub fn tell(&self, outcome: &Outcome) {
        self.meters.record(outcome);
        self.recent.note(outcome);
        self.access.write(outcome);
        #[cfg(feature = "otlp")]
        if self.traces {
            otlp::note(outcome);
        }
    }
}
