//! Streams in pieces: however the network cuts them, the client reads the same; and one that is cut off is never whole.
//!
//! A client of OpenAI takes a stream that merely ends for a success, so what matters most is what a cut-off stream does
//! *not* say: the router ends it with an error of the client's dialect, which only works if nothing closed it before.

use std::iter;

use auto_ai_router::dialect::reply::Reply;
use auto_ai_router::dialect::{self, Seen};
use auto_ai_router::llm::stream::{AnswerStream, Ending};
use auto_ai_router::llm::usage::Usage;
use auto_ai_router::llm::Wire;
use bytes::Bytes;
use proptest::prelude::*;

use crate::case::{pairs, Case, STAMP};
use crate::invariants::{events, Heard};

/// What became of a stream.
#[derive(Debug, PartialEq)]
pub struct Told {
    pub bytes: Vec<u8>,
    pub ending: Ending,
    pub usage: Option<Usage>,
    pub signatures: Vec<(String, String)>,
    /// Whether an event had reported a failure.
    pub failed: bool,
}

/// The stream, as the client gets it, where it comes in these chunks.
pub fn replay<'c>(case: &Case, chunks: impl Iterator<Item = &'c [u8]>) -> Told {
    let (mut translation, mut out, mut failed) = (case.translation(), Vec::new(), false);
    for chunk in chunks {
        failed = translation.push(Bytes::copy_from_slice(chunk), &mut out).is_err();
        if failed {
            break;
        }
    }
    let ending = if failed { Ending::Truncated } else { translation.finish(&mut out) };
    let (usage, signatures) = (translation.usage(), translation.signatures());
    Told { bytes: out.concat(), ending, usage, signatures, failed }
}

fn streams() -> Vec<Case> {
    let cases: Vec<Case> = pairs().into_iter().flat_map(|pair| pair.cases()).collect();
    cases.into_iter().filter(|case| case.streamed).collect()
}

/// Whether the client has been told that the answer is whole.
pub fn is_closed(client: Wire, told: &[u8]) -> bool {
    let told = String::from_utf8_lossy(told);
    match client {
        Wire::Messages => told.contains("event: message_stop"),
        Wire::Gemini => told.contains("finishReason"),
        Wire::Responses => {
            told.contains("event: response.completed") || told.contains("event: response.incomplete")
        }
        _ => told.contains("data: [DONE]"),
    }
}

#[test]
fn a_stream_reads_the_same_byte_by_byte() {
    for case in streams() {
        let whole = replay(&case, iter::once(&case.upstream_reply[..]));
        assert_eq!(replay(&case, case.upstream_reply.chunks(1)), whole, "{}", case.name());
        assert_eq!(whole.ending, Ending::Complete, "{}", case.name());
        assert!(is_closed(case.pair.client, &whole.bytes), "{}", case.name());
    }
}

#[test]
fn a_stream_reads_the_same_with_other_line_ends() {
    for case in streams() {
        let whole = replay(&case, iter::once(&case.upstream_reply[..]));
        let text = String::from_utf8(case.upstream_reply.clone()).unwrap().replace("\r\n", "\n");
        for line_end in ["\n", "\r\n", "\r"] {
            let text = text.replace('\n', line_end);
            assert_eq!(replay(&case, text.as_bytes().chunks(1)), whole, "{} {line_end:?}", case.name());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn a_stream_reads_the_same_wherever_it_is_split(cuts in prop::collection::vec(any::<prop::sample::Index>(), 1..40)) {
        for case in streams() {
            let bytes = &case.upstream_reply[..];
            let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len())).collect();
            places.extend([0, bytes.len()]);
            places.sort_unstable();
            let chunks = places.windows(2).map(|ends| &bytes[ends[0]..ends[1]]);
            prop_assert_eq!(replay(&case, chunks), replay(&case, iter::once(bytes)), "{}", case.name());
        }
    }
}

/// Where its events end.
fn borders(stream: &str) -> Vec<usize> {
    let ends =
        ["\n\n", "\r\n\r\n"].iter().flat_map(|end| stream.match_indices(end).map(|(at, end)| at + end.len()));
    let mut ends: Vec<usize> = ends.collect();
    ends.sort_unstable();
    ends
}

#[test]
fn a_stream_that_is_cut_off_is_not_told_as_whole() {
    let mut cut_off = 0;
    for case in streams() {
        let stream = String::from_utf8(case.upstream_reply.clone()).unwrap();
        let last = borders(&stream).pop().unwrap();
        for border in borders(&stream).into_iter().filter(|border| *border < last) {
            let part = &stream.as_bytes()[..border];
            let told = replay(&case, iter::once(part));
            let closed = is_closed(case.pair.client, &told.bytes);
            assert_eq!(told.ending == Ending::Complete, closed, "{} cut at {border}", case.name());
            let whole = says_finish(case.pair.provider, &stream[..border]);
            assert_eq!(told.ending == Ending::Complete, whole, "{} cut at {border}", case.name());
            cut_off += usize::from(!whole);
        }
    }
    assert!(cut_off > 200, "{cut_off}");
}

/// What a provider says where it cannot go on.
fn error_event(provider: Wire) -> &'static [u8] {
    match provider {
        Wire::Messages => {
            b"event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}\n\n"
        }
        Wire::Gemini => b"data: {\"error\":{\"code\":503,\"message\":\"Overloaded\",\"status\":\"UNAVAILABLE\"}}\n\n",
        _ => b"data: {\"error\":{\"message\":\"Overloaded\",\"type\":\"server_error\",\"code\":502}}\n\n",
    }
}

#[test]
fn an_error_inside_a_stream_is_one_wherever_it_comes() {
    for case in streams() {
        let stream = String::from_utf8(case.upstream_reply.clone()).unwrap();
        let open = |border: &usize| !says_finish(case.pair.provider, &stream[..*border]);
        for border in borders(&stream).into_iter().filter(open).chain([0]) {
            let parts = [&stream.as_bytes()[..border], error_event(case.pair.provider)];
            let told = replay(&case, parts.into_iter());
            assert!(told.failed, "{} at {border}", case.name());
            assert!(!is_closed(case.pair.client, &told.bytes), "{} at {border}", case.name());
        }
    }
}

/// Whether the provider has said why its answer ended, looked for in the text itself.
fn says_finish(provider: Wire, stream: &str) -> bool {
    let marks: &[&str] = match provider {
        Wire::Messages => &[r#""stop_reason":"#],
        Wire::Gemini => &[r#""finishReason":"#, r#""blockReason":"#],
        _ => &[r#""finish_reason":"#],
    };
    let spaceless = stream.replace("\": ", "\":");
    let says = |mark: &&str| spaceless.split(mark).skip(1).any(|value| value.starts_with('"'));
    marks.iter().any(says)
}

/// What a stream of the provider adds up to.
pub fn added_up(case: &Case, stream: &str) -> Reply {
    let (mut reader, mut reply) = (dialect::reader(case.pair.provider, STAMP), Reply::default());
    for (_, data) in events(stream).iter().take_while(|(_, data)| data.trim() != "[DONE]") {
        let seen = reader.event(data.trim().as_bytes(), &mut reply);
        if seen == Ok(Seen::Last) && !case.several() {
            break;
        }
    }
    reply
}

#[test]
fn a_stream_says_what_the_whole_answer_would() {
    let mut compared = 0;
    for case in streams() {
        let (client, provider, conversation) = (case.pair.client, case.pair.provider, case.conversation());
        if case.compose(&Default::default()).answer_tool.is_some() {
            continue;
        }
        let whole = dialect::writer(client, &conversation, STAMP, provider)
            .whole(&added_up(&case, std::str::from_utf8(&case.upstream_reply).unwrap()));
        let whole = Heard::body(client, std::str::from_utf8(&whole).unwrap());
        let streamed = replay(&case, iter::once(&case.upstream_reply[..])).bytes;
        let streamed = Heard::stream(client, std::str::from_utf8(&streamed).unwrap());
        assert_eq!(streamed.settled(), whole.settled(), "{}", case.name());
        compared += 1;
    }
    assert!(compared > 30, "{compared}");
}
