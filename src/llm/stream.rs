//! Watches a stream pass by: forwards its bytes as they came, and knows what they said.
//!
//! What goes on is the chunk itself, less what is cut out of it: frames that are not JSON, and what our own
//! `include_usage` has added (the extra `choices: []` chunk, the `usage` member of all others); where the client is to
//! see the model under another name, that is put in. An event is parsed once, where it lies. Facts are kept for the commit (has it said anything?), the settlement (what did it cost?) and
//! the end (is it whole?): OpenAI's SDKs take a stream that merely ends for a success, so we must know.
//! Sources: OpenAI (chat, completions, responses), Anthropic and Gemini API references; Azure's, Groq's and OpenRouter's
//! habits as seen in recorded traffic.

use std::ops::Range;

use bytes::Bytes;

use super::body::{Body, Edit};
use super::event::Event;
use super::scan::Text;
use super::sse::{Frame, FrameTooLarge, SseDecoder};
use super::upstream_error::UpstreamError;
use super::usage::{Reported, Usage};
use super::Wire;

const DONE: &[u8] = b"data: [DONE]\n\n";
const MESSAGE_STOP: &[u8] = b"event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";

/// Why a stream cannot go on.
#[derive(Clone, Debug, PartialEq)]
pub enum StreamFault {
    /// The upstream says so, in an error event. The event itself is not forwarded.
    Upstream(UpstreamError),
    /// An event larger than any that makes sense.
    TooLarge,
    /// It was to go on with an answer that broke off, and says something else.
    Diverged,
}

impl From<FrameTooLarge> for StreamFault {
    fn from(_: FrameTooLarge) -> Self {
        Self::TooLarge
    }
}

/// How a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Whole: it has said that it is done, or everything but that (which is then added).
    Complete,
    /// In the middle.
    Truncated,
}

/// What happens to a frame.
enum Fate {
    Keep,
    Drop,
    /// Its bytes with these places replaced.
    Spliced(Edits),
    /// These bytes instead.
    Become(Bytes),
}

/// At most the model and the usage, in their order.
type Edits = [Option<Edit>; 2];

/// A stream on its way to the client: bytes in, bytes out, and what is known of it.
pub trait AnswerStream: Send {
    /// Takes the next bytes of the stream and adds to `out` what the client gets of them. On a fault, what came before
    /// it in the chunk is in `out`. After the stream has said that it is done, everything is ignored.
    fn push(&mut self, chunk: Bytes, out: &mut Vec<Bytes>) -> Result<(), StreamFault>;

    /// The upstream has closed the stream. Adds to `out` what is still to be sent: a last frame without its blank line,
    /// and the closing event where a finished stream lacks it.
    fn finish(&mut self, out: &mut Vec<Bytes>) -> Ending;

    /// Whether there was output (text, reasoning, a tool call, a refusal), or the end.
    fn has_output(&self) -> bool;

    /// Whether the answer itself is whole: every choice that began has a finish reason.
    fn finished(&self) -> bool;

    /// Whether the stream has said that it is over; nothing that follows is forwarded.
    fn done(&self) -> bool;

    /// The last usage reported.
    fn usage(&self) -> Option<Usage>;

    /// Bytes of output as written, for an estimate where no usage came.
    fn output_bytes(&self) -> u64;

    /// The id, where the upstream keeps the answer under it and a later request may refer to it.
    fn stored_id(&self) -> Option<&str>;

    /// Memory of an event whose end has not come.
    fn pending(&self) -> usize;

    /// Frames seen, dropped ones included.
    fn frames(&self) -> usize;

    /// Frames that were not JSON and not forwarded.
    fn dropped(&self) -> u64;

    /// Gemini's thought signatures of tool calls, by the calls' ids, that a later request will need.
    fn signatures(&mut self) -> Vec<(String, String)> {
        Vec::new()
    }
}

/// One stream being watched.
#[derive(Debug)]
pub struct StreamWatch {
    wire: Wire,
    usage_injected: bool,
    decoder: SseDecoder,
    has_output: bool,
    done: bool,
    stored: bool,
    started: u64,
    finished: u64,
    frames: usize,
    dropped: u64,
    output_bytes: u64,
    usage: Option<Reported>,
    id: Option<Box<str>>,
    model: Option<Box<str>>,
    /// What the client is to see as the model, with quotes.
    name: Option<Bytes>,
}

impl StreamWatch {
    /// A stream of this kind. `usage_injected`: the client did not ask for usage, we did.
    pub fn new(wire: Wire, usage_injected: bool) -> Self {
        Self {
            wire,
            usage_injected: usage_injected && matches!(wire, Wire::Chat | Wire::Completions),
            decoder: SseDecoder::default(),
            has_output: false,
            done: false,
            stored: wire == Wire::Responses,
            started: 0,
            finished: 0,
            frames: 0,
            dropped: 0,
            output_bytes: 0,
            usage: None,
            id: None,
            model: None,
            name: None,
        }
    }

    /// The same, but every event that names its model names `name`, if there is one.
    pub fn named(self, name: Option<&str>) -> Self {
        Self { name: name.map(|name| serde_json::Value::from(name).to_string().into()), ..self }
    }

    /// The client has asked for a chat answer to be kept, which the stream itself does not say.
    pub fn keep_chat(&mut self) {
        self.stored |= self.wire == Wire::Chat;
    }

    /// The answer's id, as first seen.
    pub fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// The model that answers, as the upstream calls it.
    pub fn model(&self) -> Option<&str> {
        self.model.as_deref()
    }
}

impl AnswerStream for StreamWatch {
    fn push(&mut self, chunk: Bytes, out: &mut Vec<Bytes>) -> Result<(), StreamFault> {
        if matches!(self.wire, Wire::Opaque | Wire::Objects) {
            self.frames += 1;
            self.has_output |= !chunk.is_empty();
            self.output_bytes += chunk.len() as u64;
            out.push(chunk);
            return Ok(());
        }
        let mut forward = Forward { chunk: chunk.clone(), kept: 0..0, out };
        self.decoder.push(chunk);
        while !self.done {
            let Some(frame) = self.decoder.next_frame()? else { break };
            let fate = self.frame(&frame)?;
            forward.frame(frame, fate);
        }
        Ok(())
    }

    fn finish(&mut self, out: &mut Vec<Bytes>) -> Ending {
        if let Some(frame) = self.decoder.finish().filter(|_| !self.done) {
            let begun = frame.raw.clone();
            match self.frame(&frame) {
                Ok(Fate::Keep) if frame.data().is_some() => out.extend([begun, Bytes::from_static(b"\n\n")]),
                Ok(Fate::Become(bytes)) => out.push(bytes),
                Ok(Fate::Spliced(edits)) => out.extend([spliced(&begun, edits), Bytes::from_static(b"\n\n")]),
                Ok(Fate::Keep | Fate::Drop) => {}
                Err(_) => return Ending::Truncated,
            }
        }
        if self.done || matches!(self.wire, Wire::Opaque | Wire::Objects) {
            return Ending::Complete;
        }
        if !self.finished() {
            return Ending::Truncated;
        }
        match self.wire {
            Wire::Messages => out.push(Bytes::from_static(MESSAGE_STOP)),
            // It ends by ending.
            Wire::Gemini => {}
            _ => out.push(Bytes::from_static(DONE)),
        }
        self.done = true;
        Ending::Complete
    }

    fn has_output(&self) -> bool {
        self.has_output
    }

    fn finished(&self) -> bool {
        self.done || self.started != 0 && self.started == self.finished
    }

    fn done(&self) -> bool {
        self.done
    }

    fn usage(&self) -> Option<Usage> {
        self.usage.map(|reported| reported.usage())
    }

    fn output_bytes(&self) -> u64 {
        self.output_bytes
    }

    fn stored_id(&self) -> Option<&str> {
        self.id().filter(|_| self.stored)
    }

    fn pending(&self) -> usize {
        self.decoder.pending()
    }

    fn frames(&self) -> usize {
        self.frames
    }

    fn dropped(&self) -> u64 {
        self.dropped
    }
}

impl StreamWatch {
    fn frame(&mut self, frame: &Frame) -> Result<Fate, StreamFault> {
        self.frames += 1;
        let Some(data) = frame.data() else { return Ok(Fate::Keep) };
        let bytes = data.trim_ascii();
        if bytes == b"[DONE]" {
            (self.done, self.has_output) = (true, true);
            return Ok(Fate::Keep);
        }
        let event = Event::read(bytes);
        if event.as_ref().is_some_and(|event| self.is_failure(event)) || says_error(frame) {
            return Err(StreamFault::Upstream(UpstreamError::in_stream(bytes)));
        }
        let Some(event) = event else {
            self.dropped += 1;
            return Ok(Fate::Drop);
        };
        self.learn(&event);
        let usage = event.usage.as_ref().filter(|_| self.usage_injected);
        if usage.is_some_and(|usage| event.choices.count == Some(0) && usage.value.is_some()) {
            return Ok(Fate::Drop);
        }
        let cut = usage.map(|usage| Edit { at: usage.cut.clone(), with: Bytes::new() });
        let mut edits = [self.renaming(event.model), cut];
        if edits.iter().all(Option::is_none) {
            return Ok(Fate::Keep);
        }
        edits.sort_by_key(|edit| edit.as_ref().map(|edit| edit.at.start));
        Ok(match data {
            std::borrow::Cow::Borrowed(_) => Fate::Spliced(edits.map(|edit| placed(frame, bytes, edit?))),
            std::borrow::Cow::Owned(_) => Fate::Become(rewritten(bytes, edits)),
        })
    }

    fn renaming(&self, model: Option<Text>) -> Option<Edit> {
        let (name, model) = (self.name.as_ref()?, model?);
        let differs = name.get(1..name.len().saturating_sub(1)) != Some(model.raw());
        differs.then(|| Edit { at: model.span(), with: name.clone() })
    }

    fn is_failure(&self, event: &Event) -> bool {
        event.failed || matches!(event.kind, b"error" | b"response.failed")
    }

    fn learn(&mut self, event: &Event) {
        keep_first(&mut self.id, event.id.and_then(|id| id.decode()));
        keep_first(&mut self.model, event.model.and_then(|model| model.decode()));
        self.output_bytes += event.output.bytes;
        match self.wire {
            Wire::Responses => self.learn_response(event),
            Wire::Messages => self.learn_message(event),
            Wire::Gemini => {
                self.usage = event.nested_usage.or(self.usage);
                self.learn_chunk(event);
            }
            _ => self.learn_chunk(event),
        }
    }

    fn learn_chunk(&mut self, event: &Event) {
        self.started |= event.choices.started;
        self.finished |= event.choices.finished;
        self.has_output |= event.output.bytes > 0 || event.choices.finished != 0;
        if let Some(reported) = event.usage.as_ref().and_then(|usage| usage.value) {
            self.usage = Some(reported);
        }
    }

    fn learn_response(&mut self, event: &Event) {
        self.stored &= event.stored;
        self.usage = event.nested_usage.or(self.usage);
        let step = event.kind.rsplit(|&b| b == b'.').next().unwrap_or_default();
        let top_level = event.kind.iter().filter(|&&b| b == b'.').count() == 1;
        self.done |= top_level && matches!(step, b"completed" | b"incomplete" | b"cancelled");
        // What only announces something is no output; a delta is, if there is anything in it.
        let announces = matches!(step, b"created" | b"queued" | b"in_progress" | b"added" | b"");
        let empty = step == b"delta" && event.output.bytes == 0;
        let known = event.kind.starts_with(b"response.");
        self.has_output |= known && !announces && !empty;
    }

    fn learn_message(&mut self, event: &Event) {
        let newer = event.nested_usage.or(event.usage.as_ref().and_then(|usage| usage.value));
        if let Some(newer) = newer {
            self.usage = Some(self.usage.unwrap_or_default().overlaid(newer));
        }
        match event.kind {
            b"message_start" => self.started |= 1,
            // The only text in its delta is the stop reason.
            b"message_delta" if event.output.bytes > 0 => (self.finished, self.has_output) = (1, true),
            b"message_stop" => (self.done, self.has_output) = (true, true),
            _ => self.has_output |= event.output.bytes > 0,
        }
    }
}

/// Whether the frame is called an error, whatever its data is.
fn says_error(frame: &Frame) -> bool {
    frame.event().is_some_and(|event| event == b"error")
}

fn keep_first(place: &mut Option<Box<str>>, seen: Option<std::borrow::Cow<str>>) {
    if let (None, Some(text)) = (&place, seen.filter(|text| !text.is_empty())) {
        *place = Some(text.into());
    }
}

/// An edit of `data` as one of the frame's bytes, of which it is a part.
fn placed(frame: &Frame, data: &[u8], Edit { at, with }: Edit) -> Option<Edit> {
    let start = (data.as_ptr() as usize).checked_sub(frame.raw.as_ptr() as usize)?;
    Some(Edit { at: start + at.start..start + at.end, with })
}

fn spliced(bytes: &Bytes, edits: Edits) -> Bytes {
    Body::spliced(bytes, edits.into_iter().flatten().collect()).contiguous()
}

/// A frame of several data lines, written anew.
fn rewritten(data: &[u8], edits: Edits) -> Bytes {
    let mut frame = b"data: ".to_vec();
    let kept = spliced(&Bytes::copy_from_slice(data), edits);
    frame.extend(kept.iter().map(|&b| if b == b'\n' { b' ' } else { b }));
    frame.extend_from_slice(b"\n\n");
    frame.into()
}

/// Collects what goes on: neighbouring frames of a chunk as one slice of it.
struct Forward<'a> {
    chunk: Bytes,
    kept: Range<usize>,
    out: &'a mut Vec<Bytes>,
}

impl Forward<'_> {
    fn frame(&mut self, frame: Frame, fate: Fate) {
        match (frame.at, fate) {
            (Some(at), Fate::Keep) => self.keep(at..at + frame.raw.len()),
            (Some(at), Fate::Spliced(edits)) => {
                let mut from = at;
                for Edit { at: cut, with } in edits.into_iter().flatten() {
                    self.keep(from..at + cut.start);
                    from = at + cut.end;
                    if !with.is_empty() {
                        self.add(with);
                    }
                }
                self.keep(from..at + frame.raw.len());
            }
            (None, Fate::Keep) => self.add(frame.raw),
            (None, Fate::Spliced(edits)) => self.add(spliced(&frame.raw, edits)),
            (_, Fate::Become(bytes)) => self.add(bytes),
            (_, Fate::Drop) => {}
        }
    }

    fn keep(&mut self, part: Range<usize>) {
        if part.start == self.kept.end && !self.kept.is_empty() {
            self.kept.end = part.end;
            return;
        }
        self.flush();
        self.kept = part;
    }

    fn add(&mut self, bytes: Bytes) {
        self.flush();
        self.out.push(bytes);
    }

    fn flush(&mut self) {
        let kept = std::mem::replace(&mut self.kept, 0..0);
        if !kept.is_empty() {
            self.out.push(self.chunk.slice(kept));
        }
    }
}

/// Also on a fault, so that what came before it is not lost.
impl Drop for Forward<'_> {
    fn drop(&mut self) {
        self.flush();
    }
}

#[cfg(test)]
mod tests;
