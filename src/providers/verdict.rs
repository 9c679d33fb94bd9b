//! What an upstream's answer means: whose fault it was, and where the request may go next.
//!
//! Providers speak only through this type, so that routing never reads a status code and a new dialect never
//! touches routing. `None` of the classes stands for a success: a success is `Lease::succeeded`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Whose fault a failed attempt was. Decides what a strike hits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub enum Blame {
    /// The request itself: nobody else would answer it differently, and nobody is struck for it.
    Caller,
    /// The key or its account (401, 402, 403, exhausted quota): the whole credential is struck.
    Key,
    /// This model on this credential (429, a broken answer, a stream that stalls): the pair is struck.
    Pair,
    /// Nobody: it takes nothing just now and says so itself. It is left alone, and nobody is struck.
    Busy,
    /// The model is unknown to this credential (an upstream 404): others may have it, and nobody is struck.
    Absent,
    /// The host or the way to it (5xx, refused, reset, name, TLS, timeout): the pair is struck, unless every
    /// credential at the host fails, which says that it is the host and not the keys.
    Host,
    /// A fault of this machine (no ports, no descriptors), or a slip of the model that is no account's: nobody is struck.
    Local,
}

/// Where the request may go after a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nowhere: the answer goes to the caller as it came.
    Stop,
    /// To another candidate for the same model, then to its fallback models.
    Other,
    /// Past the other candidates, to the fallback models only (the context is too long for this model).
    FallbackModel,
}

/// The meaning of one failed attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Whose fault.
    pub blame: Blame,
    /// Where to.
    pub next: Next,
    /// The status that `fail2ban.error_codes` is asked about: the upstream's own, 502 for connect failures and
    /// resets, 504 for timeouts.
    pub code: u16,
    /// How long the upstream asked to be left alone (Retry-After). A cool-down, besides any strike.
    pub cool_down: Option<Duration>,
    /// A quota for a whole day is used up, and `cool_down` is until there is a new one.
    pub out_for_the_day: bool,
    /// The attempt ran into a timeout: this candidate is not tried again within the request.
    pub timed_out: bool,
}

impl Verdict {
    /// A verdict with nothing beyond blame, direction and code.
    pub const fn new(blame: Blame, next: Next, code: u16) -> Self {
        Self { blame, next, code, cool_down: None, out_for_the_day: false, timed_out: false }
    }

    /// Whether it may be over in a moment: no connection, one that broke before an answer, or an upstream that is down
    /// or overloaded. A timeout is none: it has cost enough.
    pub fn is_passing(&self) -> bool {
        self.blame == Blame::Host && !self.timed_out && matches!(self.code, 502 | 503 | 504 | 529)
    }
}
