//! Failures without an HTTP status, and what they mean.

use super::verdict::{Blame, Next, Verdict};

/// How an exchange with an upstream can fail besides an error status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Nobody listens, or there is no route.
    Refused,
    /// The connection broke before the answer began.
    Reset,
    /// The name has no address.
    Dns,
    /// There is no access token to ask with.
    NoToken,
    /// TLS could not be agreed on, or the certificate is wrong.
    Tls,
    /// The connection was not there in time.
    ConnectTimeout,
    /// The answer was not there in time.
    ResponseTimeout,
    /// The stream did not begin to say anything in time.
    FirstTokenTimeout,
    /// The stream, or the answer's body, fell silent.
    Stalled,
    /// A 200 that is no answer: HTML, broken JSON, an oversized frame.
    Malformed,
    /// The answer ended in its middle.
    Truncated,
    /// The answer was to go on with one that broke off, and is another.
    Diverged,
    /// This machine could not try: no descriptors, no ports.
    LocalFault,
    /// All answers that are being read whole take up what room there is.
    NoRoom,
    /// The request's time was over, most of it spent on other attempts.
    OutOfTime,
}

impl Transport {
    /// A label for log and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Reset => "reset",
            Self::Dns => "dns",
            Self::NoToken => "no_token",
            Self::Tls => "tls",
            Self::ConnectTimeout => "connect_timeout",
            Self::ResponseTimeout => "response_timeout",
            Self::FirstTokenTimeout => "first_token_timeout",
            Self::Stalled => "stalled",
            Self::Malformed => "malformed",
            Self::Truncated => "truncated",
            Self::Diverged => "diverged",
            Self::LocalFault => "local_fault",
            Self::NoRoom => "buffers",
            Self::OutOfTime => "out_of_time",
        }
    }

    /// What a client is told.
    pub fn message(self) -> &'static str {
        match self {
            Self::Refused => "The upstream could not be reached.",
            Self::Reset => "The upstream closed the connection before it answered.",
            Self::Dns => "The upstream's name could not be resolved.",
            Self::NoToken => "The router has no access token for the upstream at the moment.",
            Self::Tls => "No secure connection to the upstream could be made.",
            Self::ConnectTimeout => "The upstream could not be reached in time.",
            Self::ResponseTimeout => "The upstream did not answer in time.",
            Self::FirstTokenTimeout => "The upstream's stream did not begin in time.",
            Self::Stalled => "The upstream fell silent in the middle of its answer.",
            Self::Malformed => "The upstream's answer could not be understood.",
            Self::Truncated => "The upstream's answer broke off before its end.",
            Self::Diverged => "The upstream's answer is not the one that had begun.",
            Self::LocalFault => "The router could not open a connection.",
            Self::NoRoom => "The router has no room for so large an answer at the moment.",
            Self::OutOfTime => "The time for this request was over before the upstream answered.",
        }
    }
}

/// What such a failure means. Connect failures, resets and unusable answers count as 502, timeouts as 504.
pub fn judge_transport(transport: Transport) -> Verdict {
    let (blame, code, timed_out) = match transport {
        Transport::Refused | Transport::Reset | Transport::Dns | Transport::NoToken | Transport::Tls => {
            (Blame::Host, 502, false)
        }
        Transport::ConnectTimeout | Transport::ResponseTimeout => (Blame::Host, 504, true),
        Transport::FirstTokenTimeout | Transport::Stalled => (Blame::Pair, 504, true),
        Transport::Malformed | Transport::Truncated => (Blame::Pair, 502, false),
        // A model may say things in more than one way: the host is well.
        Transport::Diverged => (Blame::Local, 502, false),
        Transport::LocalFault | Transport::NoRoom => (Blame::Local, 503, false),
        Transport::OutOfTime => (Blame::Local, 504, true),
    };
    // Another answer to the same question would cost as much again, and be as large.
    let next = if transport == Transport::NoRoom { Next::Stop } else { Next::Other };
    Verdict { timed_out, ..Verdict::new(blame, next, code) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connect_failures_count_as_502_and_timeouts_as_504() {
        for transport in
            [Transport::Refused, Transport::Reset, Transport::Dns, Transport::Tls, Transport::Truncated]
        {
            let verdict = judge_transport(transport);
            assert_eq!((verdict.code, verdict.timed_out, verdict.next), (502, false, Next::Other));
        }
        for transport in [Transport::ConnectTimeout, Transport::ResponseTimeout, Transport::FirstTokenTimeout]
        {
            let verdict = judge_transport(transport);
            assert_eq!((verdict.code, verdict.timed_out, verdict.next), (504, true, Next::Other));
        }
    }

    #[test]
    fn our_own_faults_blame_nobody() {
        assert_eq!(judge_transport(Transport::LocalFault).blame, Blame::Local);
        let verdict = judge_transport(Transport::NoRoom);
        assert_eq!((verdict.blame, verdict.next, verdict.code), (Blame::Local, Next::Stop, 503));
    }
}
