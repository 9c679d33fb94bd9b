//! What a client of the Messages API is answered.
//!
//! Blocks come one after another, as in Anthropic's own streams: a piece of another kind ends the block before it. Where
//! a provider tells several calls in turns, the others wait until the arguments of the one that is open are complete,
//! because agents take a call for complete when its block stops. Every frame has its `event:` line, since the SDKs drop
//! those without. Text is escaped into the frame directly; there is no tree.
//!
//! Thoughts without a proof are a thinking block with an empty signature. Pictures have no word here and become a
//! note, as an answer must not be empty without a reason. A refusal is text, and the stop reason says the rest.
//! Input tokens leave out what the cache has read or written, as Anthropic counts. Sources: API reference (Messages,
//! streaming; 2026-10-21), anthropic 2.11 for Python.

use std::borrow::Cow;

use serde::Serialize;

use super::body::{Input, Kind};
use super::names::plain;
use crate::dialect::conversation::Conversation;
use crate::dialect::reply::{Block, Ended, Piece, Reply, Sink};
use crate::dialect::{Stamp, WriteReply, Written};
use crate::llm::usage::Usage;

/// Writes one answer.
pub struct MessagesWriter {
    stamp: Stamp,
    started: bool,
    /// How many blocks have begun.
    blocks: u32,
    open: Option<Open>,
    /// The last call's number.
    call: u32,
    /// How far its arguments are.
    braces: Braces,
    /// What waits for them to be complete.
    held: Reply,
    ended: Option<Ended>,
    usage: Usage,
}

/// The block that goes on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Open {
    Text,
    Thinking,
    Call,
}

impl WriteReply for MessagesWriter {
    fn piece(&mut self, choice: u32, piece: Piece<'_>, out: &mut Vec<u8>) {
        if choice > 0 {
            // A client of this dialect cannot ask for more than one.
            return;
        }
        if self.waits(&piece) {
            return self.held.piece(choice, piece);
        }
        match piece {
            Piece::Text(text) | Piece::Refusal(text) => self.text(text, out),
            Piece::Reasoning(text) => self.thinking(THINKING_DELTA, text, out),
            Piece::Signature(proof) => {
                self.thinking(SIGNATURE_DELTA, proof, out);
                self.close(out);
            }
            Piece::Arguments { ordinal, json } => self.arguments(ordinal, json, out),
            Piece::ToolCall { ordinal, id, name, .. } => self.call(ordinal, id, name, out),
            Piece::Redacted(data) => {
                self.begin(Open::Text, &Kind::RedactedThinking { data }, out);
                self.close(out);
            }
            Piece::Image { mime, .. } => self.text(&note(mime), out),
            Piece::Start { id, model } => self.start(id, model, out),
            Piece::Finish(finish) => self.ended = Some(finish.ended()),
            Piece::Usage(usage) => self.usage = usage,
        }
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        self.start("", "", out);
        self.close(out);
        while !self.held.choices.is_empty() {
            self.release(out);
            self.close(out);
        }
        let (stop_reason, stop_sequence) = stopped(self.ended.as_ref());
        let delta = Delta { stop_reason, stop_sequence };
        frame(out, "message_delta", &MessageDelta { delta, usage: Counts::of(&self.usage) });
        frame(out, "message_stop", &Nothing {});
    }

    fn whole(&mut self, reply: &Reply) -> Vec<u8> {
        let choice = reply.choices.first();
        let blocks = choice.map_or(&[][..], |choice| &choice.blocks);
        let (stop_reason, stop_sequence) = stopped(choice.and_then(|choice| choice.finish.as_ref()));
        let mut out = Vec::new();
        json(
            &mut out,
            &Message {
                id: &self.id(&reply.id),
                kind: "message",
                role: "assistant",
                model: &reply.model,
                content: blocks.iter().map(written).collect(),
                stop_reason,
                stop_sequence,
                usage: Counts::of(&reply.usage.unwrap_or_default()),
            },
        );
        out
    }
}

const TEXT_DELTA: &str = r#""text_delta","text":"#;
const THINKING_DELTA: &str = r#""thinking_delta","thinking":"#;
const SIGNATURE_DELTA: &str = r#""signature_delta","signature":"#;
const INPUT_DELTA: &str = r#""input_json_delta","partial_json":"#;

impl MessagesWriter {
    /// A writer of one answer.
    pub fn new(_conversation: &Conversation, stamp: Stamp) -> Self {
        Self {
            stamp,
            started: false,
            blocks: 0,
            open: None,
            call: 0,
            braces: Braces::default(),
            held: Reply::default(),
            ended: None,
            usage: Usage::default(),
        }
    }

    fn id<'a>(&self, id: &'a str) -> Cow<'a, str> {
        match id {
            "" => self.stamp.id("msg_", 0).into(),
            id => plain(id),
        }
    }

    fn start(&mut self, id: &str, model: &str, out: &mut Vec<u8>) {
        if std::mem::replace(&mut self.started, true) {
            return;
        }
        let message = Message {
            id: &self.id(id),
            kind: "message",
            role: "assistant",
            model,
            content: Vec::new(),
            stop_reason: None,
            stop_sequence: None,
            usage: Counts::of(&self.usage),
        };
        frame(out, "message_start", &MessageStart { message });
    }

    fn text(&mut self, text: &str, out: &mut Vec<u8>) {
        if self.open != Some(Open::Text) {
            self.begin(Open::Text, &Kind::Text { text: "".into() }, out);
        }
        delta(out, self.blocks.saturating_sub(1), TEXT_DELTA, text);
    }

    fn thinking(&mut self, kind: &str, text: &str, out: &mut Vec<u8>) {
        if self.open != Some(Open::Thinking) {
            self.begin(Open::Thinking, &Kind::Thinking { thinking: "", signature: "" }, out);
        }
        delta(out, self.blocks.saturating_sub(1), kind, text);
    }

    fn call(&mut self, ordinal: u32, id: &str, name: &str, out: &mut Vec<u8>) {
        let kind = Kind::ToolUse { id: plain(id), name: Cow::Borrowed(name), input: Input::Text(None) };
        self.begin(Open::Call, &kind, out);
        self.call = ordinal;
        self.braces = Braces::default();
    }

    fn arguments(&mut self, wanted: u32, json: &str, out: &mut Vec<u8>) {
        if self.open != Some(Open::Call) || self.call != wanted || json.is_empty() {
            return;
        }
        delta(out, self.blocks.saturating_sub(1), INPUT_DELTA, json);
        self.braces.add(json);
        if !self.held.choices.is_empty() && self.braces.are_closed() {
            self.release(out);
        }
    }

    /// Whether a piece would end the block of a call whose arguments still come.
    fn waits(&self, piece: &Piece) -> bool {
        let other = match piece {
            Piece::Arguments { ordinal, .. } => *ordinal != self.call,
            Piece::Start { .. } | Piece::Usage(_) | Piece::Finish(_) => false,
            _ => true,
        };
        other && self.open == Some(Open::Call) && !(self.held.choices.is_empty() && self.braces.are_closed())
    }

    /// Writes what has waited, up to the next call whose arguments still come.
    fn release(&mut self, out: &mut Vec<u8>) {
        let held = std::mem::take(&mut self.held);
        held.pieces(&mut Written { writer: self, out });
    }

    fn begin(&mut self, open: Open, content_block: &Kind, out: &mut Vec<u8>) {
        self.start("", "", out);
        self.close(out);
        frame(out, "content_block_start", &BlockStart { index: self.blocks, content_block });
        self.blocks += 1;
        self.open = Some(open);
    }

    fn close(&mut self, out: &mut Vec<u8>) {
        if self.open.take().is_some() {
            frame(out, "content_block_stop", &BlockStop { index: self.blocks.saturating_sub(1) });
        }
    }
}

/// Whether an object that comes in pieces is complete. The pieces are not kept, nor read again for each new one.
#[derive(Default)]
struct Braces {
    depth: usize,
    closed: bool,
    inside: bool,
    escaped: bool,
}

impl Braces {
    fn add(&mut self, json: &str) {
        for byte in json.bytes() {
            match byte {
                _ if std::mem::take(&mut self.escaped) => {}
                b'\\' => self.escaped = self.inside,
                b'"' => self.inside = !self.inside,
                b'{' if !self.inside => self.depth += 1,
                b'}' if !self.inside => {
                    self.depth = self.depth.saturating_sub(1);
                    self.closed = self.depth == 0;
                }
                _ => {}
            }
        }
    }

    fn are_closed(&self) -> bool {
        self.closed && self.depth == 0
    }
}

/// The frame that most of a stream consists of, without a detour.
fn delta(out: &mut Vec<u8>, index: u32, kind: &str, text: &str) {
    out.extend_from_slice(b"event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":");
    json(out, &index);
    out.extend_from_slice(br#","delta":{"type":"#);
    out.extend_from_slice(kind.as_bytes());
    json(out, text);
    out.extend_from_slice(b"}}\n\n");
}

fn frame(out: &mut Vec<u8>, name: &str, event: &impl Serialize) {
    for part in ["event: ", name, "\ndata: "] {
        out.extend_from_slice(part.as_bytes());
    }
    json(out, &Event { kind: name, event });
    out.extend_from_slice(b"\n\n");
}

fn json<T: Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) {
    // Writing into memory does not fail, and nothing written here has keys that are no strings.
    let _ = serde_json::to_writer(out, value);
}

fn note(mime: &str) -> String {
    format!("[A picture ({mime}), which this API has no block for.]")
}

fn written(block: &Block) -> Kind<'_> {
    match block {
        Block::Text(text) | Block::Refusal(text) => Kind::Text { text: text.as_str().into() },
        Block::Image { mime, .. } => Kind::Text { text: note(mime).into() },
        Block::Reasoning { text, signature } => {
            Kind::Thinking { thinking: text, signature: signature.as_deref().unwrap_or_default() }
        }
        Block::Redacted(data) => Kind::RedactedThinking { data },
        Block::ToolCall { id, name, arguments, .. } => {
            Kind::ToolUse { id: plain(id), name: Cow::Borrowed(name), input: Input::of(arguments) }
        }
    }
}

fn stopped(ended: Option<&Ended>) -> (Option<&'static str>, Option<&str>) {
    match ended {
        None => (None, None),
        Some(Ended::Stop) => (Some("end_turn"), None),
        Some(Ended::StopSequence(text)) => (Some("stop_sequence"), text.as_deref()),
        Some(Ended::Length) => (Some("max_tokens"), None),
        Some(Ended::ToolCalls) => (Some("tool_use"), None),
        Some(Ended::Filtered) => (Some("refusal"), None),
        Some(Ended::Paused) => (Some("pause_turn"), None),
    }
}

#[derive(Serialize)]
struct Event<'a, T> {
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(flatten)]
    event: &'a T,
}

#[derive(Serialize)]
struct Nothing {}

#[derive(Serialize)]
struct MessageStart<'a> {
    message: Message<'a>,
}

#[derive(Serialize)]
struct Message<'a> {
    id: &'a str,
    #[serde(rename = "type")]
    kind: &'static str,
    role: &'static str,
    model: &'a str,
    content: Vec<Kind<'a>>,
    stop_reason: Option<&'static str>,
    stop_sequence: Option<&'a str>,
    usage: Counts,
}

#[derive(Serialize)]
struct BlockStart<'a> {
    index: u32,
    content_block: &'a Kind<'a>,
}

#[derive(Serialize)]
struct BlockStop {
    index: u32,
}

#[derive(Serialize)]
struct MessageDelta<'a> {
    delta: Delta<'a>,
    usage: Counts,
}

#[derive(Serialize)]
struct Delta<'a> {
    stop_reason: Option<&'static str>,
    stop_sequence: Option<&'a str>,
}

#[derive(Serialize)]
struct Counts {
    input_tokens: u64,
    cache_creation_input_tokens: u64,
    cache_read_input_tokens: u64,
    output_tokens: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_tokens_details: Option<OutputDetails>,
}

#[derive(Serialize)]
struct OutputDetails {
    thinking_tokens: u64,
}

impl Counts {
    fn of(usage: &Usage) -> Self {
        Self {
            input_tokens: usage.prompt.saturating_sub(usage.cached).saturating_sub(usage.cache_written),
            cache_creation_input_tokens: usage.cache_written,
            cache_read_input_tokens: usage.cached,
            output_tokens: usage.completion,
            output_tokens_details: (usage.reasoning > 0)
                .then_some(OutputDetails { thinking_tokens: usage.reasoning }),
        }
    }
}
