//! Events, written straight into the client's buffer.
//!
//! A delta is the hot path: it is five copies of bytes that are ready and one escaping of its text. The escaped text is
//! kept, so that the three events that repeat it whole at the end copy it and do not escape it again.

use serde::Serialize;

/// Writes events to one buffer, numbered.
pub(super) struct Pen<'p> {
    /// The next event's number.
    pub(super) sequence: &'p mut u64,
    /// The client's buffer.
    pub(super) out: &'p mut Vec<u8>,
}

impl Pen<'_> {
    /// Begins an event. Members follow, each with a comma before it, then `close`.
    pub(super) fn open(&mut self, event: &str) -> &mut Self {
        self.raw("event: ").raw(event).raw("\ndata: {\"type\":\"").raw(event).raw("\",\"sequence_number\":");
        value(self.out, &*self.sequence);
        *self.sequence += 1;
        self
    }

    /// JSON as it is.
    pub(super) fn raw(&mut self, json: impl AsRef<[u8]>) -> &mut Self {
        self.out.extend_from_slice(json.as_ref());
        self
    }

    /// Ends an event.
    pub(super) fn close(&mut self) {
        self.raw("}\n\n");
    }
}

/// Adds a value as JSON.
pub(super) fn value<T: Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) {
    // Into memory, texts and numbers cannot fail.
    serde_json::to_writer(out, value).ok();
}

/// A text that comes in pieces: what its events are called, and the member that holds it whole.
pub(super) struct Words {
    delta: &'static str,
    done: &'static str,
    member: &'static str,
}

pub(super) const TEXT: Words =
    Words { delta: "response.output_text.delta", done: "response.output_text.done", member: "text" };
pub(super) const REFUSAL: Words =
    Words { delta: "response.refusal.delta", done: "response.refusal.done", member: "refusal" };
pub(super) const SUMMARY: Words = Words {
    delta: "response.reasoning_summary_text.delta",
    done: "response.reasoning_summary_text.done",
    member: "text",
};
pub(super) const ARGUMENTS: Words = Words {
    delta: "response.function_call_arguments.delta",
    done: "response.function_call_arguments.done",
    member: "arguments",
};
pub(super) const INPUT: Words = Words {
    delta: "response.custom_tool_call_input.delta",
    done: "response.custom_tool_call_input.done",
    member: "input",
};

/// A text on its way.
pub(super) struct Flow {
    words: &'static Words,
    /// The members that say where it belongs, each with a comma before it.
    place: Vec<u8>,
    /// All of it so far, escaped, without quotes.
    text: Vec<u8>,
}

impl Flow {
    /// A text that begins.
    pub(super) fn new(words: &'static Words, place: Vec<u8>) -> Self {
        Self { words, place, text: Vec::new() }
    }

    /// More of it.
    pub(super) fn more(&mut self, more: &str, pen: &mut Pen) {
        pen.open(self.words.delta).raw(&self.place).raw(",\"delta\":");
        let start = pen.out.len() + 1;
        value(pen.out, more);
        let escaped = pen.out.get(start..pen.out.len() - 1);
        self.text.extend_from_slice(escaped.unwrap_or_default());
        pen.close();
    }

    /// The end of it.
    pub(super) fn done(&self, pen: &mut Pen) {
        pen.open(self.words.done).raw(&self.place).raw(",\"").raw(self.words.member).raw("\":\"");
        pen.raw(&self.text).raw("\"").close();
    }

    /// All of it, escaped, without quotes.
    pub(super) fn text(&self) -> &[u8] {
        &self.text
    }
}
