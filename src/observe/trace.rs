//! Where a request stands in a trace: read from the client's `traceparent`, and said anew to each upstream.
//!
//! A trace that a client began goes on: same id, same sampling, and each attempt is a span of its own whose id the
//! upstream gets as its parent. Ids of attempts are made from the id of the request's own span and their number, so
//! nothing has to be kept for them. What is no `traceparent`, and what came twice, begins a trace of ours, and
//! the `tracestate` beside it goes no further. A trace of ours is marked as sampled, unless it is one that an export of
//! our own leaves out: an upstream that decides by that mark does what it would do without a router in front of it.
//! Source: W3C Trace Context, sections 3.2 (`traceparent`), 3.3 (`tracestate`) and 4 (who may change what); the random
//! flag is of level 2, section 3.2.2.5.

use std::fmt::{Display, Formatter};

/// The flags that are defined: sampled, and random.
const KNOWN: u8 = SAMPLED | 2;
const SAMPLED: u8 = 1;

/// The trace of one request, and its span in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trace {
    /// The id of the trace.
    pub id: u128,
    /// The span of the client that the request belongs to; none where the trace begins here.
    pub parent: Option<u64>,
    /// The span of the request.
    pub span: u64,
    flags: u8,
}

impl Trace {
    /// One that begins here. No id is zero.
    pub fn begun(id: u128, span: u64, sampled: bool) -> Self {
        Self { id: id.max(1), parent: None, span: span.max(1), flags: u8::from(sampled) }
    }

    /// The one that a `traceparent` is about: `00-TRACE-PARENT-FLAGS`. Higher versions may have more behind that.
    pub fn continued(traceparent: &[u8], span: u64) -> Option<Self> {
        let mut parts = traceparent.splitn(4, |byte| *byte == b'-');
        let (version, id, parent) = (parts.next()?, parts.next()?, parts.next()?);
        let rest = parts.next()?;
        let (flags, more) = rest.split_at_checked(2)?;
        let ended = more.is_empty() || version != b"00" && more.starts_with(b"-");
        if !ended || hex(version, 2)? == 0xff {
            return None;
        }
        let (id, parent) = (hex(id, 32)?, u64::try_from(hex(parent, 16)?).ok()?);
        let flags = u8::try_from(hex(flags, 2)?).ok()? & KNOWN;
        (id != 0 && parent != 0).then(|| Self { id, parent: Some(parent), span: span.max(1), flags })
    }

    /// Whether somebody may want to see it.
    pub fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// The span of an attempt.
    pub fn attempt(&self, number: usize) -> u64 {
        mixed(self.span.wrapping_add((number as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15))).max(1)
    }

    /// What the upstream of an attempt is told.
    pub fn traceparent(&self, attempt: usize) -> String {
        format!("00-{:032x}-{:016x}-{:02x}", self.id, self.attempt(attempt), self.flags)
    }
}

/// The id of the trace, as it is written.
impl Display for Trace {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:032x}", self.id)
    }
}

/// So many digits, in lower case.
fn hex(text: &[u8], digits: usize) -> Option<u128> {
    let sound = text.len() == digits && text.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    sound.then(|| u128::from_str_radix(std::str::from_utf8(text).ok()?, 16).ok())?
}

/// Another number for each number, with no relation that meets the eye (the finalizer of SplitMix64).
fn mixed(mut n: u64) -> u64 {
    n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    #[test]
    fn a_trace_goes_on_from_a_sound_header() {
        for text in [
            format!("00-{TRACE}-00f067aa0ba902b7-01"),
            format!("cc-{TRACE}-00f067aa0ba902b7-01"),
            format!("cc-{TRACE}-00f067aa0ba902b7-01-more"),
        ] {
            let trace = Trace::continued(text.as_bytes(), 7).unwrap();
            assert_eq!((trace.to_string().as_str(), trace.span), (TRACE, 7), "{text}");
            assert_eq!(trace.parent, Some(0x00f0_67aa_0ba9_02b7), "{text}");
            let told = trace.traceparent(0);
            assert!(told.starts_with(&format!("00-{TRACE}-")) && told.ends_with("-01"), "{told}");
            assert_eq!(Trace::continued(told.as_bytes(), 8).unwrap().parent, Some(trace.attempt(0)));
        }
    }

    #[test]
    fn an_unsound_header_is_no_trace() {
        for odd in [
            format!("ff-{TRACE}-00f067aa0ba902b7-01"),
            format!("00-{TRACE}-00f067aa0ba902b7-01-more"),
            format!("cc-{TRACE}-00f067aa0ba902b7-01more"),
            format!("00-{TRACE}-00f067aa0ba902b7-0"),
            format!("00-{TRACE}-00f067aa0ba902b7-0G"),
            format!("00-{}-00f067aa0ba902b7-01", TRACE.to_uppercase()),
            format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32)),
            format!("00-{TRACE}-{}-01", "0".repeat(16)),
            format!("00-{TRACE}-00f0-01"),
            format!("+0-{TRACE}-00f067aa0ba902b7-01"),
            format!("00-{TRACE}"),
            String::new(),
        ] {
            assert_eq!(Trace::continued(odd.as_bytes(), 1), None, "{odd}");
        }
    }

    #[test]
    fn flags_that_are_defined_are_kept_and_no_others() {
        let told = |flags: &str| {
            let text = format!("00-{TRACE}-00f067aa0ba902b7-{flags}");
            let trace = Trace::continued(text.as_bytes(), 1).unwrap();
            (trace.is_sampled(), trace.traceparent(0).split_off(53))
        };
        assert_eq!(told("00"), (false, "00".into()));
        assert_eq!(told("03"), (true, "03".into()));
        assert_eq!(told("fe"), (false, "02".into()));
    }

    #[test]
    fn each_attempt_of_each_request_has_an_id_of_its_own() {
        let ids = (0..1000).flat_map(|span| {
            let trace = Trace::begun(1, span, true);
            (0..10).map(move |number| trace.attempt(number)).collect::<Vec<_>>()
        });
        let ids: HashSet<u64> = ids.collect();
        assert_eq!(ids.len(), 999 * 10, "span 0 is no span, and became 1");
        assert!(!ids.contains(&0));
    }
}
