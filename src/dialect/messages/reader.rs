//! What Anthropic answers.
//!
//! The kind of an event is in its data, and its name is not needed. Of the blocks only text, thoughts and calls have a
//! meaning elsewhere; the tools that Anthropic runs itself, its summaries of long conversations and kinds that are not
//! known yet are passed over with all their deltas. A block's index is not a call's number, as all kinds share the
//! indices.
//!
//! Seen in the wild and borne: `message_start` twice, or again in the middle when another model takes over (what was
//! given stays given: a call that was cut keeps its torn arguments, and what follows is counted on); usage that leaves
//! out what has not changed, or restates the input; attempts and summaries in `iterations`, which the sums above them
//! leave out. A paused turn is told as such.
//!
//! Sources: API reference (Messages, streaming, stop reasons; 2026-10-21), recorded streams of three projects.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::dialect::json::Str;
use crate::dialect::reply::{Finish, Piece, Sink};
use crate::dialect::{ReadReply, Seen, Stamp, Unreadable};
use crate::llm::scan::{Cursor, Text};
use crate::llm::usage::{Reported, Usage};

/// Reads one answer.
pub struct MessagesReader {
    stamp: Stamp,
    started: bool,
    finished: bool,
    calls: u32,
    open: Vec<Open>,
    reported: Reported,
    /// The sum of `iterations`, where there are any.
    attempts: Option<Usage>,
}

/// A block that has begun.
struct Open {
    index: u32,
    kind: OpenKind,
}

enum OpenKind {
    /// Text or thoughts.
    Said,
    /// A call: its number, and until a delta comes the input of its beginning, which is `{}` where it has none.
    Call { ordinal: u32, input: Option<String> },
    /// Of no meaning elsewhere.
    Skipped,
}

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<Str<'a>>,
    index: Option<u32>,
    delta: Option<Delta<'a>>,
    content_block: Option<Box<Block<'a>>>,
    message: Option<Box<Message<'a>>>,
    usage: Option<&'a RawValue>,
}

/// What `message_delta` says.
#[derive(Default, Deserialize)]
struct Delta<'a> {
    #[serde(borrow)]
    stop_reason: Option<Str<'a>>,
    stop_sequence: Option<Str<'a>>,
    stop_details: Option<StopDetails<'a>>,
}

#[derive(Deserialize)]
struct StopDetails<'a> {
    #[serde(borrow)]
    explanation: Option<Str<'a>>,
}

#[derive(Deserialize)]
struct Block<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<Str<'a>>,
    text: Option<Str<'a>>,
    thinking: Option<Str<'a>>,
    signature: Option<Str<'a>>,
    data: Option<Str<'a>>,
    id: Option<Str<'a>>,
    name: Option<Str<'a>>,
    input: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<Str<'a>>,
    id: Option<Str<'a>>,
    model: Option<Str<'a>>,
    content: Option<Vec<Block<'a>>>,
    stop_reason: Option<Str<'a>>,
    stop_sequence: Option<Str<'a>>,
    stop_details: Option<StopDetails<'a>>,
    usage: Option<&'a RawValue>,
}

/// The kind alone, for events that have nothing else in common with ours.
#[derive(Deserialize)]
struct Kind<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<Str<'a>>,
}

#[derive(Deserialize)]
struct Attempts {
    iterations: Option<Vec<Attempt>>,
}

#[derive(Deserialize)]
struct Attempt {
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    cache_read_input_tokens: Option<u64>,
    cache_creation_input_tokens: Option<u64>,
}

/// What `content_block_delta` says.
struct Spoken<'a> {
    index: u64,
    /// The member that says it, and what.
    said: Option<(Text<'a>, Text<'a>)>,
}

impl<'a> Spoken<'a> {
    /// `None`: another event, or one that cannot be read so.
    fn read(data: &'a [u8]) -> Option<Self> {
        let mut cursor = Cursor::lenient(data, 64);
        let mut spoken = Self { index: 0, said: None };
        let mut is_delta = false;
        let mut more = cursor.open_object().ok()?;
        while more {
            let key = cursor.key().ok()?;
            match key.raw() {
                b"type" if cursor.string().ok()?.raw() != b"content_block_delta" => return None,
                b"type" => is_delta = true,
                b"index" => spoken.index = cursor.number_or_skip().ok()??,
                b"delta" => spoken.delta(&mut cursor)?,
                _ => cursor.skip(&key, &mut ()).ok()?,
            }
            more = cursor.more_members().ok()?;
        }
        is_delta.then_some(spoken)
    }

    fn delta(&mut self, cursor: &mut Cursor<'a>) -> Option<()> {
        let mut more = cursor.open_object().ok()?;
        while more {
            let key = cursor.key().ok()?;
            let value = cursor.string_or_skip().ok()?;
            if let (b"text" | b"thinking" | b"signature" | b"partial_json", Some(value)) = (key.raw(), value)
            {
                self.said = Some((key, value));
            }
            more = cursor.more_members().ok()?;
        }
        Some(())
    }
}

impl ReadReply for MessagesReader {
    fn event(&mut self, data: &[u8], sink: &mut dyn Sink) -> Result<Seen, Unreadable> {
        // Nearly all events are these, and a tree of each would take most of the time.
        if let Some(spoken) = Spoken::read(data) {
            return self.spoken(&spoken, sink).map(|()| Seen::More);
        }
        let event = match serde_json::from_slice::<Event>(data) {
            Ok(event) => event,
            Err(_) => return unknown(data),
        };
        match event.kind.as_deref().unwrap_or_default() {
            "content_block_start" => self.block_start(event, sink),
            "content_block_stop" => self.block_stop(event.index.unwrap_or_default(), sink),
            "message_start" => self.message_start(event.message.as_deref().ok_or(Unreadable)?, sink),
            "message_delta" => self.message_delta(event, sink),
            "message_stop" => {
                self.finish(if self.calls > 0 { Finish::ToolCalls } else { Finish::Stop }, sink);
                return Ok(Seen::Last);
            }
            "error" => return Ok(Seen::Failure),
            _ => {}
        }
        Ok(Seen::More)
    }

    fn whole(&mut self, body: &[u8], sink: &mut dyn Sink) -> Result<Seen, Unreadable> {
        let message: Message = serde_json::from_slice(body).map_err(|_| Unreadable)?;
        if message.kind.as_deref() == Some("error") {
            return Ok(Seen::Failure);
        }
        self.start(&message, sink);
        for (block, index) in message.content.as_ref().ok_or(Unreadable)?.iter().zip(0..) {
            self.begin(index, block, sink);
            self.block_stop(index, sink);
        }
        self.stop(
            Stop {
                reason: message.stop_reason.as_deref().unwrap_or_default(),
                sequence: message.stop_sequence.as_deref(),
                explanation: message.stop_details.as_ref().and_then(|details| details.explanation.as_deref()),
            },
            sink,
        );
        self.usage(message.usage, sink);
        Ok(Seen::Last)
    }
}

struct Stop<'a> {
    reason: &'a str,
    sequence: Option<&'a str>,
    explanation: Option<&'a str>,
}

impl MessagesReader {
    /// A reader of one answer.
    pub fn new(stamp: Stamp) -> Self {
        Self {
            stamp,
            started: false,
            finished: false,
            calls: 0,
            open: Vec::new(),
            reported: Reported::default(),
            attempts: None,
        }
    }

    fn message_start(&mut self, message: &Message, sink: &mut dyn Sink) {
        self.start(message, sink);
        self.usage(message.usage, sink);
    }

    fn start(&mut self, message: &Message, sink: &mut dyn Sink) {
        if !std::mem::replace(&mut self.started, true) {
            let id = message.id.as_deref().unwrap_or_default();
            let model = message.model.as_deref().unwrap_or_default();
            sink.piece(0, Piece::Start { id, model });
        }
    }

    fn block_start(&mut self, event: Event, sink: &mut dyn Sink) {
        if let Some(block) = event.content_block {
            self.begin(event.index.unwrap_or_default(), &block, sink);
        }
    }

    fn begin(&mut self, index: u32, block: &Block, sink: &mut dyn Sink) {
        let kind = match block.kind.as_deref().unwrap_or_default() {
            "text" => {
                given(&block.text, Piece::Text, sink);
                OpenKind::Said
            }
            "thinking" => {
                given(&block.thinking, Piece::Reasoning, sink);
                given(&block.signature, Piece::Signature, sink);
                OpenKind::Said
            }
            "redacted_thinking" => {
                given(&block.data, Piece::Redacted, sink);
                OpenKind::Skipped
            }
            "tool_use" => self.call(block, sink),
            _ => OpenKind::Skipped,
        };
        self.open.retain(|open| open.index != index);
        self.open.push(Open { index, kind });
    }

    fn call(&mut self, block: &Block, sink: &mut dyn Sink) -> OpenKind {
        let ordinal = self.calls;
        self.calls += 1;
        let made_up;
        let id = match block.id.as_deref() {
            Some(id) if !id.is_empty() => id,
            _ => {
                made_up = self.stamp.id("toolu_", ordinal);
                &made_up
            }
        };
        let name = block.name.as_deref().unwrap_or_default();
        sink.piece(0, Piece::ToolCall { ordinal, id, name, signature: None });
        let input = block.input.map(RawValue::get).filter(|input| has_members(input)).unwrap_or("{}");
        OpenKind::Call { ordinal, input: Some(input.to_owned()) }
    }

    fn spoken(&mut self, spoken: &Spoken, sink: &mut dyn Sink) -> Result<(), Unreadable> {
        let Some((member, text)) = &spoken.said else { return Ok(()) };
        let open = self.open.iter_mut().rev().find(|open| u64::from(open.index) == spoken.index);
        let mut call = None;
        match open.map(|open| &mut open.kind) {
            Some(OpenKind::Skipped) => return Ok(()),
            Some(OpenKind::Call { ordinal, input }) => call = Some((*ordinal, input)),
            Some(OpenKind::Said) | None => {}
        }
        let text = &*text.decode().ok_or(Unreadable)?;
        match (member.raw(), call) {
            _ if text.is_empty() => {}
            (b"partial_json", Some((ordinal, input))) => {
                *input = None;
                sink.piece(0, Piece::Arguments { ordinal, json: text });
            }
            (b"text", None) => sink.piece(0, Piece::Text(text)),
            (b"thinking", None) => sink.piece(0, Piece::Reasoning(text)),
            (b"signature", None) => sink.piece(0, Piece::Signature(text)),
            _ => {}
        }
        Ok(())
    }

    fn block_stop(&mut self, index: u32, sink: &mut dyn Sink) {
        let Some(at) = self.open.iter().position(|open| open.index == index) else { return };
        if let OpenKind::Call { ordinal, input: Some(json) } = self.open.swap_remove(at).kind {
            sink.piece(0, Piece::Arguments { ordinal, json: &json });
        }
    }

    fn message_delta(&mut self, event: Event, sink: &mut dyn Sink) {
        let delta = event.delta.unwrap_or_default();
        if let Some(reason) = delta.stop_reason.as_deref() {
            let sequence = delta.stop_sequence.as_deref();
            let explanation = delta.stop_details.as_ref().and_then(|details| details.explanation.as_deref());
            self.stop(Stop { reason, sequence, explanation }, sink);
        }
        self.usage(event.usage, sink);
    }

    fn stop(&mut self, stop: Stop, sink: &mut dyn Sink) {
        let finish = match stop.reason {
            "stop_sequence" => Finish::StopSequence(stop.sequence),
            "max_tokens" | "model_context_window_exceeded" => Finish::Length,
            "tool_use" => Finish::ToolCalls,
            "pause_turn" | "compaction" => Finish::Paused,
            "refusal" => {
                if let Some(explanation) = stop.explanation.filter(|text| !text.is_empty() && !self.finished)
                {
                    sink.piece(0, Piece::Refusal(explanation));
                }
                Finish::Filtered
            }
            _ => Finish::Stop,
        };
        self.finish(finish, sink);
    }

    fn finish(&mut self, finish: Finish, sink: &mut dyn Sink) {
        if !std::mem::replace(&mut self.finished, true) {
            sink.piece(0, Piece::Finish(finish));
        }
    }

    fn usage(&mut self, usage: Option<&RawValue>, sink: &mut dyn Sink) {
        let Some(json) = usage.map(RawValue::get) else { return };
        if let Ok(Some(newer)) = Reported::read(&mut Cursor::lenient(json.as_bytes(), 8)) {
            self.reported = self.reported.overlaid(newer);
            self.attempts = attempts(json).or(self.attempts);
            let reported = self.reported.usage();
            let reasoning = reported.reasoning;
            sink.piece(0, Piece::Usage(self.attempts.map_or(reported, |sum| Usage { reasoning, ..sum })));
        }
    }
}

/// Gives a text on unless there is none.
fn given<'a>(text: &'a Option<Str>, piece: fn(&'a str) -> Piece<'a>, sink: &mut dyn Sink) {
    if let Some(text) = text.as_deref().filter(|text| !text.is_empty()) {
        sink.piece(0, piece(text));
    }
}

/// Whether a call's input is more than `{}`.
fn has_members(input: &str) -> bool {
    input.strip_prefix('{').is_some_and(|rest| rest.trim_start() != "}")
}

fn attempts(json: &str) -> Option<Usage> {
    let read: Attempts = serde_json::from_str(json).ok()?;
    let attempts = read.iterations.filter(|attempts| !attempts.is_empty())?;
    let sum =
        |count: fn(&Attempt) -> Option<u64>| attempts.iter().filter_map(count).fold(0, u64::saturating_add);
    let cached = sum(|attempt| attempt.cache_read_input_tokens);
    let cache_written = sum(|attempt| attempt.cache_creation_input_tokens);
    let prompt = sum(|attempt| attempt.input_tokens).saturating_add(cached).saturating_add(cache_written);
    let completion = sum(|attempt| attempt.output_tokens);
    let total = prompt.saturating_add(completion);
    Some(Usage { prompt, completion, total, cached, cache_written, reasoning: 0 })
}

fn unknown(data: &[u8]) -> Result<Seen, Unreadable> {
    let kind = serde_json::from_slice::<Kind>(data).map_err(|_| Unreadable)?.kind;
    match kind.as_deref() {
        Some("error") => Ok(Seen::Failure),
        None | Some("content_block_delta" | "content_block_start" | "message_start" | "message_delta") => {
            Err(Unreadable)
        }
        Some(_) => Ok(Seen::More),
    }
}
