//! An answer on its way from one dialect to another: frames in, pieces in the middle, frames out.
//!
//! It is to translated streams what `StreamWatch` is to untouched ones, and keeps the same facts. Between reader and
//! writer stands `Labels`: it gives tools their client's names back, turns the tool that only stands for the answer's
//! JSON into text, keeps the ends of choices back until the answer is over, and notes what routing must know. A stream that says `[DONE]` without a finish reason is given one;
//! a stream that merely ends is whole only if every choice had one.

use bytes::Bytes;
use serde::de::IgnoredAny;

use super::reply::{Ended, Finish, Piece, Reply, Sink};
use super::{Composed, ReadReply, Seen, WriteReply, Written};
use crate::llm::sse::{Frame, SseDecoder};
use crate::llm::stream::{AnswerStream, Ending, StreamFault};
use crate::llm::upstream_error::UpstreamError;
use crate::llm::usage::Usage;

/// More signatures than this in one answer are not remembered.
const MOST_SIGNATURES: usize = 128;

/// One answer being translated.
pub struct Translation {
    reader: Box<dyn ReadReply>,
    writer: Box<dyn WriteReply>,
    labels: Labels,
    several: bool,
    decoder: SseDecoder,
    done: bool,
    frames: usize,
    dropped: u64,
}

/// What is between reader and writer.
#[derive(Default)]
struct Labels {
    /// What the client is to see as the model.
    model: Option<String>,
    renamed: Vec<(String, String)>,
    answer_tool: Option<String>,
    /// The call of the answer tool, by choice and number, and whether it has had arguments.
    answering: Vec<(u32, u32, bool)>,
    /// One bit per choice; indices above 63 share the last.
    started: u64,
    finished: u64,
    /// What has been said of the ends, told when the answer is over.
    ends: Vec<(u32, Ended)>,
    called: u64,
    output_bytes: u64,
    usage: Option<Usage>,
    signatures: Vec<(String, String)>,
}

/// A whole answer, translated.
#[derive(Debug)]
pub struct Translated {
    /// The body for the client.
    pub body: Vec<u8>,
    /// What it cost.
    pub usage: Option<Usage>,
    /// Gemini's thought signatures of tool calls, by the calls' ids.
    pub signatures: Vec<(String, String)>,
}

impl Translation {
    /// A translation of the answer to a composed request. `several`: it may have more than one choice, and then only
    /// the end of the stream says that there is no other.
    pub fn new(
        reader: Box<dyn ReadReply>,
        writer: Box<dyn WriteReply>,
        composed: &mut Composed,
        several: bool,
    ) -> Self {
        let labels = Labels {
            renamed: std::mem::take(&mut composed.renamed),
            answer_tool: composed.answer_tool.take(),
            ..Labels::default()
        };
        let decoder = SseDecoder::default();
        Self { reader, writer, labels, several, decoder, done: false, frames: 0, dropped: 0 }
    }

    /// The same, but the answer names its model `name`, if there is one.
    pub fn named(mut self, name: Option<&str>) -> Self {
        self.labels.model = name.map(str::to_owned);
        self
    }

    /// Translates a whole answer.
    ///
    /// # Errors
    /// It is no answer of its dialect (`None`), or an error in the place of one.
    pub fn whole(mut self, body: &[u8]) -> Result<Translated, Option<UpstreamError>> {
        let mut reply = Reply::default();
        let mut sink = Relabelled { labels: &mut self.labels, next: &mut reply };
        let seen = self.reader.whole(body, &mut sink);
        self.labels.finish(&mut reply);
        match seen {
            Ok(Seen::More | Seen::Last) if self.labels.finished != 0 => {}
            Ok(Seen::Failure) => return Err(Some(UpstreamError::in_stream(body))),
            Ok(_) | Err(_) => return Err(None),
        }
        let body = self.writer.whole(&reply);
        Ok(Translated { body, usage: self.labels.usage, signatures: self.labels.signatures })
    }

    fn frame(&mut self, frame: &Frame, out: &mut Vec<u8>) -> Result<(), StreamFault> {
        self.frames += 1;
        let Some(data) = frame.data() else { return Ok(()) };
        let data = data.trim_ascii();
        if data == b"[DONE]" {
            if self.labels.started == 0 {
                let error = UpstreamError::transport("The upstream's stream had no answer in it.");
                return Err(StreamFault::Upstream(error));
            }
            return self.close(out);
        }
        let Self { reader, writer, labels, .. } = self;
        let mut written = Written { writer: writer.as_mut(), out };
        let mut sink = Relabelled { labels, next: &mut written };
        let named_error = frame.event().is_some_and(|event| event == b"error");
        match if named_error { Ok(Seen::Failure) } else { reader.event(data, &mut sink) } {
            Ok(Seen::Failure) => return Err(StreamFault::Upstream(UpstreamError::in_stream(data))),
            Ok(Seen::Last) if !self.several => return self.close(out),
            Ok(Seen::Last | Seen::More) => {}
            // What cannot be read may be a part of the answer, and then the rest is not the whole.
            Err(_) if is_object(data) => {
                let error =
                    UpstreamError::transport("The upstream's stream had an event that cannot be read.");
                return Err(StreamFault::Upstream(error));
            }
            Err(_) => self.dropped += 1,
        }
        self.checked()
    }

    /// The upstream has said that it is done.
    fn close(&mut self, out: &mut Vec<u8>) -> Result<(), StreamFault> {
        self.labels.finish(&mut Written { writer: self.writer.as_mut(), out });
        self.checked()?;
        self.writer.end(out);
        self.done = true;
        Ok(())
    }

    fn checked(&self) -> Result<(), StreamFault> {
        if self.writer.diverged() {
            Err(StreamFault::Diverged)
        } else {
            Ok(())
        }
    }
}

impl AnswerStream for Translation {
    fn push(&mut self, chunk: Bytes, out: &mut Vec<Bytes>) -> Result<(), StreamFault> {
        // What a translated event grows by is little.
        let mut written = Vec::with_capacity(chunk.len() + 256);
        self.decoder.push(chunk);
        let result = loop {
            if self.done {
                break Ok(());
            }
            match self.decoder.next_frame() {
                Ok(Some(frame)) => {
                    if let Err(fault) = self.frame(&frame, &mut written) {
                        break Err(fault);
                    }
                }
                Ok(None) => break Ok(()),
                Err(fault) => break Err(fault.into()),
            }
        };
        if !written.is_empty() {
            out.push(written.into());
        }
        result
    }

    fn finish(&mut self, out: &mut Vec<Bytes>) -> Ending {
        let mut written = Vec::new();
        let last = self.decoder.finish().filter(|_| !self.done);
        let mut broken = last.is_some_and(|frame| self.frame(&frame, &mut written).is_err());
        if !broken && !self.done && self.finished() {
            broken = self.close(&mut written).is_err();
        }
        if !written.is_empty() {
            out.push(written.into());
        }
        if self.done && !broken {
            Ending::Complete
        } else {
            Ending::Truncated
        }
    }

    fn has_output(&self) -> bool {
        self.done || self.labels.output_bytes > 0 || self.labels.finished != 0
    }

    fn finished(&self) -> bool {
        self.done || self.labels.started != 0 && self.labels.started == self.labels.finished
    }

    fn done(&self) -> bool {
        self.done
    }

    fn usage(&self) -> Option<Usage> {
        self.labels.usage
    }

    fn output_bytes(&self) -> u64 {
        self.labels.output_bytes
    }

    /// A translated answer is stored nowhere.
    fn stored_id(&self) -> Option<&str> {
        None
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

    fn signatures(&mut self) -> Vec<(String, String)> {
        std::mem::take(&mut self.labels.signatures)
    }
}

fn is_object(data: &[u8]) -> bool {
    data.first() == Some(&b'{') && serde_json::from_slice::<IgnoredAny>(data).is_ok()
}

/// Pieces on their way through the labels.
struct Relabelled<'a> {
    labels: &'a mut Labels,
    next: &'a mut dyn Sink,
}

impl Sink for Relabelled<'_> {
    fn piece(&mut self, choice: u32, piece: Piece<'_>) {
        let bit = 1 << choice.min(63);
        let labels = &mut *self.labels;
        if !matches!(piece, Piece::Start { .. } | Piece::Usage(_)) {
            labels.started |= bit;
        }
        match piece {
            Piece::Usage(usage) => labels.usage = Some(usage),
            Piece::Finish(finish) => {
                labels.finished |= bit;
                labels.ends.retain(|(ended, _)| *ended != choice);
                labels.ends.push((choice, finish.ended()));
                return;
            }
            Piece::ToolCall { ordinal, name, .. } if labels.answer_tool.as_deref() == Some(name) => {
                labels.answering.push((choice, ordinal, false));
                return;
            }
            Piece::ToolCall { ordinal, id, name, signature } => {
                labels.called |= bit;
                labels.output_bytes += name.len() as u64;
                labels.remember(id, signature);
                let named = labels.renamed.iter().find(|(theirs, _)| theirs == name);
                let name = named.map_or(name, |(_, ours)| ours);
                let ordinal = labels.renumbered(choice, ordinal);
                return self.next.piece(choice, Piece::ToolCall { ordinal, id, name, signature });
            }
            Piece::Arguments { ordinal, json } => {
                labels.output_bytes += json.len() as u64;
                let mut answering = labels.answering.iter_mut();
                if let Some((.., said)) = answering.find(|call| (call.0, call.1) == (choice, ordinal)) {
                    *said |= !json.is_empty();
                    return self.next.piece(choice, Piece::Text(json));
                }
                let ordinal = labels.renumbered(choice, ordinal);
                return self.next.piece(choice, Piece::Arguments { ordinal, json });
            }
            Piece::Text(text) | Piece::Reasoning(text) | Piece::Refusal(text) => {
                labels.output_bytes += text.len() as u64;
            }
            Piece::Redacted(data) | Piece::Image { data, .. } => labels.output_bytes += data.len() as u64,
            Piece::Start { id, model } => {
                let model = labels.model.as_deref().unwrap_or(model);
                return self.next.piece(choice, Piece::Start { id, model });
            }
            Piece::Signature(_) => {}
        }
        self.next.piece(choice, piece);
    }
}

impl Labels {
    /// Ends all choices. Some hosts give a reason with every piece: only the end of the stream says which was the last.
    fn finish(&mut self, next: &mut dyn Sink) {
        let mut ends = std::mem::take(&mut self.ends);
        let open = self.started & !self.finished;
        ends.extend((0..64).filter(|choice| open & (1 << choice) != 0).map(|choice| (choice, Ended::Stop)));
        ends.sort_by_key(|(choice, _)| *choice);
        for (choice, ended) in ends {
            if self.silent(choice) {
                next.piece(choice, Piece::Text("{}"));
            }
            let called = self.called & 1 << choice.min(63) != 0;
            next.piece(
                choice,
                Piece::Finish(match ended {
                    Ended::Stop if called => Finish::ToolCalls,
                    Ended::ToolCalls if !called && self.answers(choice) => Finish::Stop,
                    ref ended => ended.finish(),
                }),
            );
        }
        self.finished = self.started;
    }

    fn answers(&self, choice: u32) -> bool {
        self.answering.iter().any(|(answered, ..)| *answered == choice)
    }

    /// A call's number without the calls of the answer tool before it.
    fn renumbered(&self, choice: u32, ordinal: u32) -> u32 {
        let before = |call: &&(u32, u32, bool)| call.0 == choice && call.1 < ordinal;
        let hidden = self.answering.iter().filter(before).count();
        ordinal.saturating_sub(u32::try_from(hidden).unwrap_or(u32::MAX))
    }

    /// Whether the answer tool was called without arguments, and not yet finished.
    fn silent(&mut self, choice: u32) -> bool {
        let calls = self.answering.iter_mut().filter(|(answered, ..)| *answered == choice);
        calls.fold(false, |silent, (.., said)| silent | !std::mem::replace(said, true))
    }

    fn remember(&mut self, id: &str, signature: Option<&str>) {
        if let Some(signature) = signature.filter(|_| self.signatures.len() < MOST_SIGNATURES) {
            self.signatures.push((id.to_owned(), signature.to_owned()));
        }
    }
}
