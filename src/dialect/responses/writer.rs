//! An answer for a client of Responses: the full lifecycle of a stream, and whole bodies.
//!
//! Text and thoughts are items of which one is open at a time; calls stay open until the end, as upstreams may send
//! the arguments of several in turns. Everything that is open is closed at the end, when it is known whether the
//! answer was cut off. A whole body is the last event of a stream that nobody sees: so the two cannot differ.
//!
//! A turn that its provider has paused is `incomplete` for want of tokens: there is no other word that has clients go
//! on. Signatures of thoughts travel as `encrypted_content`; those of calls (Gemini) do not, since a call has no
//! member for them and its caller knows them by its id.
//!
//! Sources: OpenAI API reference, "Streaming events"; recorded streams; openai-python, Codex and the AI SDK as
//! readers.

use super::items::Item;
use super::pen::{value, Pen};
use super::response::{Response, Status};
use super::seal;
use super::standing::Standing;
use crate::dialect::conversation::{Conversation, Signer, Tool};
use crate::dialect::reply::{Finish, Piece, Reply, Sink};
use crate::dialect::{Stamp, WriteReply};
use crate::llm::usage::Usage;

/// The ids of thoughts have our mark: no provider knows them.
const THOUGHTS: &str = "rs_aar1_";

/// Writes one answer.
pub struct ResponsesWriter {
    response: Response,
    stamp: Stamp,
    signer: Signer,
    custom: Vec<String>,
    /// Joined name, namespace, name in it.
    grouped: Vec<(String, String, String)>,
    items: Vec<Item>,
    sequence: u64,
    stage: Stage,
    status: Status,
    usage: Option<Usage>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    New,
    Begun,
    Ended,
}

impl ResponsesWriter {
    /// A writer of the answer to a conversation. `signer` is the provider that answers.
    pub fn new(conversation: &Conversation, stamp: Stamp, signer: Signer) -> Self {
        let custom = conversation.tools.iter().filter_map(|tool| match tool {
            Tool::Custom { name, .. } => Some(name.to_string()),
            _ => None,
        });
        let grouped = conversation.grouped.iter();
        let grouped =
            grouped.map(|tool| (tool.name.to_string(), tool.group.to_string(), tool.member.to_string()));
        Self {
            response: Response::new(conversation, &stamp),
            stamp,
            signer,
            custom: custom.collect(),
            grouped: grouped.collect(),
            items: Vec::new(),
            sequence: 0,
            stage: Stage::New,
            status: Status::Incomplete(None),
            usage: None,
        }
    }

    fn begin(&mut self, model: &str, out: &mut Vec<u8>) {
        if self.stage == Stage::New {
            self.stage = Stage::Begun;
            self.response.model(model);
            self.event("response.created", Status::InProgress, out);
            self.event("response.in_progress", Status::InProgress, out);
        }
    }

    /// An event that holds the response.
    fn event(&mut self, name: &str, status: Status, out: &mut Vec<u8>) {
        Pen { sequence: &mut self.sequence, out }.open(name).raw(",\"response\":");
        self.object(status, out);
        out.extend_from_slice(b"}\n\n");
    }

    fn object(&self, status: Status, out: &mut Vec<u8>) {
        let (items, usage) = match status {
            Status::InProgress => (self.items.get(..0).unwrap_or_default(), None),
            _ => (self.items.as_slice(), self.usage),
        };
        self.response.write(status, items.iter().map(Item::json), usage, out);
    }

    fn content(&mut self, piece: Piece<'_>, out: &mut Vec<u8>) {
        match piece {
            Piece::Text("") | Piece::Refusal("") | Piece::Reasoning("") => {}
            Piece::Text(more) => self.say(false, more, out),
            Piece::Refusal(more) => self.say(true, more, out),
            Piece::Reasoning(more) => {
                self.thoughts(out);
                self.on_last(out, |item, pen| item.think(more, pen));
            }
            Piece::Signature(proof) => self.prove(seal::mark(self.signer), proof, out),
            Piece::Redacted(data) => {
                self.close_last(out);
                self.prove(seal::REDACTED, data, out);
            }
            Piece::ToolCall { ordinal, id, name, .. } => self.call(ordinal, id, name, out),
            Piece::Arguments { ordinal, json } if !json.is_empty() => {
                let mut pen = Pen { sequence: &mut self.sequence, out };
                if let Some(item) = self.items.iter_mut().rev().find(|item| item.is_call(ordinal)) {
                    item.argue(json, &mut pen);
                }
            }
            Piece::Image { mime, data } => {
                self.close_last(out);
                let (index, id) = self.next("ig_");
                let mut pen = Pen { sequence: &mut self.sequence, out };
                self.items.push(Item::image(index, &id, mime, data, &mut pen));
            }
            _ => {}
        }
    }

    fn say(&mut self, refusal: bool, more: &str, out: &mut Vec<u8>) {
        if !self.items.last().is_some_and(Item::is_message) {
            self.close_last(out);
            let (index, id) = self.next("msg_");
            let mut pen = Pen { sequence: &mut self.sequence, out };
            self.items.push(Item::message(index, &id, &mut pen));
        }
        self.on_last(out, |item, pen| item.say(refusal, more, pen));
    }

    /// Has thoughts as the last item.
    fn thoughts(&mut self, out: &mut Vec<u8>) {
        if !self.items.last().is_some_and(Item::is_reasoning) {
            self.close_last(out);
            let (index, id) = self.next(THOUGHTS);
            let mut pen = Pen { sequence: &mut self.sequence, out };
            self.items.push(Item::reasoning(index, &id, &mut pen));
        }
    }

    fn prove(&mut self, mark: &str, proof: &str, out: &mut Vec<u8>) {
        self.thoughts(out);
        self.on_last(out, |item, pen| item.prove(mark, proof, pen));
    }

    fn call(&mut self, ordinal: u32, call: &str, name: &str, out: &mut Vec<u8>) {
        self.close_last(out);
        let custom = self.custom.iter().any(|custom| custom == name);
        let mut head = b",\"call_id\":".to_vec();
        value(&mut head, call);
        let grouped = self.grouped.iter().find(|(joined, ..)| joined == name);
        let name = grouped.map_or(name, |(_, _, member)| member);
        head.extend_from_slice(b",\"name\":");
        value(&mut head, name);
        if let Some((_, group, _)) = grouped {
            head.extend_from_slice(b",\"namespace\":");
            value(&mut head, group);
        }
        let (index, id) = self.next(if custom { "ctc_" } else { "fc_" });
        let mut pen = Pen { sequence: &mut self.sequence, out };
        self.items.push(Item::call(index, &id, ordinal, custom, head, &mut pen));
    }

    /// The next item's number and id.
    fn next(&self, prefix: &str) -> (usize, String) {
        let index = self.items.len();
        (index, self.stamp.id(prefix, u32::try_from(index).unwrap_or(u32::MAX)))
    }

    fn on_last(&mut self, out: &mut Vec<u8>, act: impl FnOnce(&mut Item, &mut Pen)) {
        if let Some(item) = self.items.last_mut() {
            act(item, &mut Pen { sequence: &mut self.sequence, out });
        }
    }

    /// Closes what the next item ends: a message, or thoughts.
    fn close_last(&mut self, out: &mut Vec<u8>) {
        self.on_last(out, |item, pen| {
            if item.is_message() || item.is_reasoning() {
                item.close(false, pen);
            }
        });
    }

    fn close_all(&mut self, out: &mut Vec<u8>) {
        let cut = self.status != Status::Completed;
        let last = self.items.len().saturating_sub(1);
        let mut pen = Pen { sequence: &mut self.sequence, out };
        for (index, item) in self.items.iter_mut().enumerate() {
            item.close(cut && index == last, &mut pen);
        }
    }
}

impl WriteReply for ResponsesWriter {
    fn piece(&mut self, choice: u32, piece: Piece<'_>, out: &mut Vec<u8>) {
        // The dialect has one answer to a request.
        if choice != 0 || self.stage == Stage::Ended {
            return;
        }
        match piece {
            Piece::Start { model, .. } => self.begin(model, out),
            Piece::Usage(usage) => self.usage = Some(usage),
            Piece::Finish(finish) => self.status = status(finish),
            piece => {
                self.begin("", out);
                self.content(piece, out);
            }
        }
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        if self.stage == Stage::Ended {
            return;
        }
        self.begin("", out);
        self.stage = Stage::Ended;
        self.close_all(out);
        let completed = self.status == Status::Completed;
        let name = if completed { "response.completed" } else { "response.incomplete" };
        self.event(name, self.status, out);
    }

    fn stand(&mut self, at: &Standing, text: &str) {
        // Of all this the client has heard.
        let mut heard = Vec::new();
        self.response.known_as(&at.id, at.created.unwrap_or(self.stamp.created));
        self.begin(&at.model, &mut heard);
        self.items = at.whole.iter().map(|json| Item::whole(json)).collect();
        if let Some(id) = &at.message {
            let mut pen = Pen { sequence: &mut self.sequence, out: &mut heard };
            let mut message = Item::message(self.items.len(), id, &mut pen);
            if at.begun {
                message.say(false, text, &mut pen);
            }
            self.items.push(message);
        }
        self.sequence = at.sequence;
    }

    fn whole(&mut self, reply: &Reply) -> Vec<u8> {
        let mut out = Vec::new();
        reply.pieces(&mut Unseen { writer: self, out: &mut out });
        self.begin("", &mut out);
        self.close_all(&mut out);
        out.clear();
        self.object(self.status, &mut out);
        out
    }
}

/// Lets a writer take an answer in, and its events go.
struct Unseen<'w> {
    writer: &'w mut ResponsesWriter,
    out: &'w mut Vec<u8>,
}

impl Sink for Unseen<'_> {
    fn piece(&mut self, choice: u32, piece: Piece<'_>) {
        self.writer.piece(choice, piece, self.out);
        self.out.clear();
    }
}

fn status(finish: Finish<'_>) -> Status {
    match finish {
        Finish::Stop | Finish::StopSequence(_) | Finish::ToolCalls => Status::Completed,
        Finish::Length | Finish::Paused => Status::Incomplete(Some("max_output_tokens")),
        Finish::Filtered => Status::Incomplete(Some("content_filter")),
    }
}
