//! Going on with an answer that broke off, in another one's words: what the client has been told so far, and the check
//! that a new answer begins with exactly that.
//!
//! `Told` reads the very bytes that the client got, with the reader of the client's own dialect, so it does not matter
//! who wrote them or how. A writer is brought to the same point by being told the same pieces, with its words thrown
//! away; from there it goes on, with the ids, the numbers and the time of the first answer. A new answer is compared
//! text by text: what the client knows is passed over, the first byte beyond goes on, and the first byte that differs
//! ends it. Thoughts are nobody's to compare: a new answer's are left out, since the client has had some, or none.
//!
//! Only plain text can go on so. A call, a picture, a refusal, a second choice, likelihoods, an answer that has ended:
//! none of these has a point at which another model could be said to agree. In Messages a block must still be open, and
//! thoughts must have their proof, because an agent sends them back to be checked. In Responses ids and numbers are the
//! client's to check, and are taken over as they were (`responses::standing`); what is stored under its id is nobody's
//! to go on with, as the host that has the id has half of it.

use bytes::Bytes;
use memchr::memmem;
use serde::Deserialize;

use super::conversation::{Conversation, Part, Role, Tool, Turn};
use super::json::Str;
use super::messages;
use super::reply::{Block, Piece, Reply};
use super::responses::standing::Standing;
use super::{Habits, ReadReply, Seen, Stamp, WriteReply, Written};
use crate::llm::sse::SseDecoder;
use crate::llm::Wire;

/// A longer answer is not kept, and so cannot go on.
pub const MOST_TEXT: usize = 256 * 1024;

const BLOCK_START: &[u8] = b"event: content_block_start";

/// What a client has been told of an answer.
pub struct Told {
    wire: Wire,
    decoder: SseDecoder,
    reader: Box<dyn ReadReply>,
    reply: Reply,
    created: Option<u64>,
    /// Messages: how many blocks have begun.
    begun: usize,
    /// Responses: the ids and numbers.
    standing: Option<Standing>,
    /// There is something in it that cannot go on.
    lost: bool,
}

impl Told {
    /// Nothing yet, to a client of this dialect. None: answers in this dialect cannot be read back.
    pub fn new(wire: Wire) -> Option<Self> {
        let readable = !matches!(wire, Wire::Objects | Wire::Opaque);
        readable.then(|| Self {
            wire,
            decoder: SseDecoder::default(),
            reader: super::reader(wire, Stamp { seed: 0, created: 0 }),
            reply: Reply::default(),
            created: None,
            begun: 0,
            standing: (wire == Wire::Responses).then(Standing::default),
            lost: false,
        })
    }

    /// The client has got these bytes, too.
    pub fn hear(&mut self, bytes: Bytes) {
        if self.lost {
            return;
        }
        self.decoder.push(bytes);
        loop {
            match self.decoder.next_frame() {
                Ok(Some(frame)) => {
                    if let Some(data) = frame.data() {
                        self.read(data.trim_ascii());
                    }
                }
                Ok(None) => break,
                Err(_) => self.lost = true,
            }
        }
        if self.lost {
            self.reply = Reply::default();
        }
    }

    /// The text that another answer must begin with; none where it cannot go on.
    pub fn text(&self) -> Option<&str> {
        let settled = self.standing.as_ref().is_none_or(Standing::is_settled);
        let blocks = self.blocks().filter(|_| settled && !self.lost)?;
        match blocks.split_last() {
            Some((Block::Text(text), before)) => {
                before.iter().all(|block| self.is_over(block)).then_some(text)
            }
            _ => blocks.iter().all(|block| self.is_over(block)).then_some(""),
        }
    }

    /// `writer` at the point that the client is at, for an answer that begins in that way; none where no writer can be
    /// brought there.
    pub fn resumed(&self, mut writer: Box<dyn WriteReply>, begins: Begins) -> Option<Box<dyn WriteReply>> {
        let text = self.text()?;
        let expected = match begins {
            Begins::Again | Begins::Perhaps => text,
            Begins::Onward => text.strip_prefix(text.trim_end())?,
        };
        let expected = expected.to_owned();
        let begun = self.reply != Reply::default();
        let mut said = Vec::new();
        if let Some(standing) = self.standing.as_ref().filter(|_| begun) {
            writer.stand(standing, text);
        } else if begun {
            self.reply.pieces(&mut Written { writer: writer.as_mut(), out: &mut said });
        }
        if self.wire == Wire::Messages && memmem::find_iter(&said, BLOCK_START).count() != self.begun {
            return None;
        }
        Some(Box::new(ResumedWriter {
            writer,
            begun,
            expected,
            met: 0,
            may_go_on: begins == Begins::Perhaps,
            diverged: false,
        }))
    }

    /// The time of the answer, where it has said one.
    pub fn created(&self) -> Option<u64> {
        self.created
    }

    /// What has been said; none where it has ended, or was said in turns.
    fn blocks(&self) -> Option<&[Block]> {
        match &self.reply.choices[..] {
            [] => Some(&[]),
            [choice] if choice.finish.is_none() => Some(&choice.blocks),
            _ => None,
        }
    }

    /// Whether text may follow on a thought.
    fn is_over(&self, block: &Block) -> bool {
        match block {
            Block::Reasoning { signature, .. } => signature.is_some() || self.wire != Wire::Messages,
            _ => true,
        }
    }

    fn read(&mut self, data: &[u8]) {
        let seen = self.reader.event(data, &mut self.reply);
        // `[DONE]` and an error are ends, too.
        let ended = !matches!(seen, Ok(Seen::More | Seen::Last));
        self.lost |= ended || self.blocks().is_none_or(|blocks| !can_grow(blocks));
        if self.wire == Wire::Messages {
            let Ok(event) = serde_json::from_slice::<Event>(data) else { return };
            let said = self.blocks().is_some_and(|blocks| matches!(blocks.last(), Some(Block::Text(_))));
            self.begun += usize::from(&*event.kind == "content_block_start");
            self.lost |= &*event.kind == "content_block_stop" && said;
        } else if let Some(standing) = &mut self.standing {
            self.lost |= !standing.hear(data);
            self.created = standing.created;
        } else if self.created.is_none() {
            self.created = serde_json::from_slice::<Chunk>(data).ok().and_then(|chunk| chunk.created);
        }
    }
}

/// Thoughts, and then one text, not too long.
fn can_grow(blocks: &[Block]) -> bool {
    let length = |block: &Block| match block {
        Block::Text(text) | Block::Reasoning { text, .. } | Block::Redacted(text) => text.len(),
        _ => usize::MAX,
    };
    let all = blocks.iter().map(length).fold(0, usize::saturating_add);
    let before = blocks.split_last().map_or(&[][..], |(_, before)| before);
    all <= MOST_TEXT && !before.iter().any(|block| matches!(block, Block::Text(_)))
}

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(borrow, rename = "type")]
    kind: Str<'a>,
}

#[derive(Deserialize)]
struct Chunk {
    created: Option<u64>,
}

/// How an answer begins that is to go on with another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begins {
    /// With the whole text so far: the same question was asked again.
    Again,
    /// Behind the text so far, but for the white space at its end, which was not shown to the model.
    Onward,
    /// In one of the two ways: hosts differ, and documents do not say.
    Perhaps,
}

/// `conversation` with the `text` so far as the beginning of the answer, and how an answer to that begins. None: models
/// called `model` of hosts that speak `wire` so are not known to go on with it.
///
/// Claude does in some generations, and begins behind the text; Mistral and DeepSeek (on its beta) do where the message
/// says `prefix`. Everybody else may take the text for a turn that is over, and answer it.
pub fn begun<'c>(
    conversation: &Conversation<'c>,
    text: &str,
    wire: Wire,
    habits: Habits,
    model: &str,
) -> Option<(Conversation<'c>, Begins)> {
    let shown = text.trim_end();
    let begins = match wire {
        _ if shown.is_empty() => return None,
        Wire::Messages if messages::goes_on(model) => Begins::Onward,
        Wire::Chat if habits.prefix => Begins::Perhaps,
        _ => return None,
    };
    let mut conversation = conversation.clone();
    // Mistral and DeepSeek get it with its white space: they may say it again.
    let shown = if begins == Begins::Onward { shown } else { text };
    let turn = Turn { role: Role::Assistant, parts: vec![Part::text(shown.to_owned())] };
    conversation.turns.push(turn);
    conversation.begun = true;
    Some((conversation, begins))
}

/// Whether an answer to this request is one text, from which another could go on. Tools of a host and groups of tools
/// make items in Responses that only it can write.
pub fn is_plain(conversation: &Conversation, wire: Wire) -> bool {
    let one = conversation.answers.is_none_or(|answers| answers <= 1);
    let text = conversation.modalities.iter().all(|kind| kind.eq_ignore_ascii_case("text"));
    let functions = conversation.tools.iter().all(|tool| matches!(tool, Tool::Function { .. }));
    one && text && (wire != Wire::Responses || functions && conversation.grouped.is_empty())
}

/// A writer in the middle of an answer, which writes what goes beyond.
struct ResumedWriter {
    writer: Box<dyn WriteReply>,
    /// The client has an id and a model.
    begun: bool,
    /// What the client knows, and the new answer must say again.
    expected: String,
    /// How much of it has been said.
    met: usize,
    /// An answer that differs from it goes on behind it instead.
    may_go_on: bool,
    diverged: bool,
}

impl ResumedWriter {
    /// The part of `text` that is new; none if it is another text.
    fn beyond<'t>(&mut self, text: &'t str) -> Option<&'t str> {
        let left = self.expected.get(self.met..)?;
        let known = text.len().min(left.len());
        if text.as_bytes().get(..known) != left.as_bytes().get(..known) {
            return None;
        }
        self.met += known;
        text.get(known..)
    }
}

impl ResumedWriter {
    /// What looked like the text so far was new: it is told, with the `text` that is something else.
    fn go_on(&mut self, choice: u32, text: Option<&str>, out: &mut Vec<u8>) {
        let held: String = self.expected.drain(..self.met).collect();
        self.expected.clear();
        (self.met, self.may_go_on) = (0, false);
        for text in [Some(held.as_str()), text].into_iter().flatten().filter(|text| !text.is_empty()) {
            self.writer.piece(choice, Piece::Text(text), out);
        }
    }
}

impl WriteReply for ResumedWriter {
    fn piece(&mut self, choice: u32, piece: Piece<'_>, out: &mut Vec<u8>) {
        if self.diverged {
            return;
        }
        match piece {
            Piece::Start { .. } if self.begun => {}
            Piece::Reasoning(_) | Piece::Signature(_) | Piece::Redacted(_) => {}
            Piece::Start { .. } | Piece::Usage(_) => self.writer.piece(choice, piece, out),
            Piece::Text(text) => match self.beyond(text) {
                Some("") => {}
                Some(more) => self.writer.piece(choice, Piece::Text(more), out),
                None if self.may_go_on => self.go_on(choice, Some(text), out),
                None => self.diverged = true,
            },
            _ if self.may_go_on && self.met < self.expected.len() => {
                self.go_on(choice, None, out);
                self.writer.piece(choice, piece, out);
            }
            _ if self.met == self.expected.len() => self.writer.piece(choice, piece, out),
            _ => self.diverged = true,
        }
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        if !self.diverged {
            self.writer.end(out);
        }
    }

    fn whole(&mut self, reply: &Reply) -> Vec<u8> {
        self.writer.whole(reply)
    }

    fn diverged(&self) -> bool {
        self.diverged
    }
}

#[cfg(test)]
mod tests;
