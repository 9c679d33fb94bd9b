//! Dialects: what clients and providers say, made one conversation and taken apart again.
//!
//! Each dialect is a folder that can do up to four things, and knows nothing of the other dialects: read a client's
//! request into a `Conversation`, compose a provider's request from one, read a provider's answer into `Piece`s, and
//! write a client's answer from them. Four dialects so need four folders and not sixteen pairs, and a new one meets
//! all the others at once. Traffic of one dialect on both sides never comes here: it stays the bytes that it was.

pub mod chat;
pub mod completions;
pub mod conversation;
mod fault;
pub mod foreign;
pub mod gemini;
pub mod json;
pub mod messages;
pub mod pictures;
pub mod reply;
pub mod responses;
pub mod resume;
pub mod signatures;
mod taken;
pub mod translation;
mod waiting;

use std::borrow::Cow;

use bytes::Bytes;
use serde::Serialize;

use crate::llm::body::{Body, BodyWriter};
use crate::llm::Wire;
use conversation::{Conversation, Signer, Untranslatable};
use reply::{Piece, Reply, Sink};
use responses::standing::Standing;

/// A client's request in one of the dialects of text. `stream`: the answer is to be a stream.
///
/// # Errors
/// The request is none of this dialect, or one that has a meaning at one provider only.
pub fn read(wire: Wire, body: &str, stream: bool) -> Result<Conversation<'_>, Untranslatable> {
    let (conversation, turns) = match wire {
        Wire::Chat => (chat::request::read(body)?, "messages"),
        Wire::Completions => (completions::request::read(body)?, "prompt"),
        Wire::Responses => (responses::request::read(body)?, "input"),
        Wire::Messages => (messages::request::read(body)?, "messages"),
        Wire::Gemini => (gemini::request::read(body, stream)?, "contents"),
        Wire::Objects | Wire::Opaque => {
            return Err(Untranslatable::new("", "This is no request for text."));
        }
    };
    if conversation.turns.is_empty() {
        return Err(Untranslatable::new(turns, format!("'{turns}' is empty: there is nothing to answer.")));
    }
    Ok(conversation)
}

/// The body as `read` is to have it, where that is not the body itself: Google's schemas are not JSON Schema.
pub fn prepare(wire: Wire, body: &str) -> Option<String> {
    match wire {
        Wire::Gemini => match gemini::request::prepare(body) {
            Cow::Owned(prepared) => Some(prepared),
            Cow::Borrowed(_) => None,
        },
        _ => None,
    }
}

/// The request for a provider of one of the dialects.
///
/// # Errors
/// It has no words for it.
pub fn compose(wire: Wire, conversation: &Conversation, target: &Target) -> Result<Composed, Untranslatable> {
    match wire {
        Wire::Messages => messages::compose::compose(conversation, target),
        Wire::Gemini => gemini::compose::compose(conversation, target),
        _ => chat::compose::compose(conversation, target),
    }
}

/// Reads the answer of a provider of one of the dialects.
pub fn reader(wire: Wire, stamp: Stamp) -> Box<dyn ReadReply> {
    match wire {
        Wire::Messages => Box::new(messages::reader::MessagesReader::new(stamp)),
        Wire::Gemini => Box::new(gemini::reader::GeminiReader::new(stamp)),
        Wire::Completions => Box::new(completions::reader::CompletionsReader::default()),
        Wire::Responses => Box::new(responses::reader::ResponsesReader::default()),
        _ => Box::new(chat::reader::ChatReader::new(stamp)),
    }
}

/// Whether only the end of a stream says that it is over: where more than one answer was asked for, and with Google, some
/// of whose models give a finish reason and usage with every event.
pub fn ends_by_ending(provider: Wire, conversation: &Conversation) -> bool {
    provider == Wire::Gemini || conversation.answers.is_some_and(|answers| answers > 1)
}

/// Writes the answer for a client of one of the dialects; `from` is the provider's.
pub fn writer(wire: Wire, conversation: &Conversation, stamp: Stamp, from: Wire) -> Box<dyn WriteReply> {
    match wire {
        Wire::Completions => Box::new(completions::writer::CompletionsWriter::new(conversation, stamp)),
        Wire::Responses => {
            Box::new(responses::writer::ResponsesWriter::new(conversation, stamp, signer(from)))
        }
        Wire::Messages => Box::new(messages::writer::MessagesWriter::new(conversation, stamp)),
        Wire::Gemini => Box::new(gemini::writer::GeminiWriter::new(conversation, stamp)),
        _ => Box::new(chat::writer::ChatWriter::new(conversation, stamp, signer(from))),
    }
}

/// Whose signatures the answers of a provider have.
fn signer(provider: Wire) -> Signer {
    match provider {
        Wire::Messages => Signer::Anthropic,
        Wire::Gemini => Signer::Google,
        _ => Signer::OpenAi,
    }
}

/// What a request is composed for.
#[derive(Clone, Copy)]
pub struct Target<'a> {
    /// The model, as the provider calls it.
    pub model: &'a str,
    /// The provider's habits.
    pub habits: Habits,
    /// Gemini's thought signature of a tool call, by the call's id, where an earlier answer of ours had one and the
    /// client has dropped it.
    pub signature: &'a dyn Fn(&str) -> Option<String>,
}

/// In which ways hosts of one dialect differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Habits {
    /// Messages, Gemini: a Google Cloud host. Claude there has its version in the body and no `model`, and fetches no
    /// addresses.
    pub vertex: bool,
    /// Chat: the host has no custom tools (those with plain text for arguments).
    pub functions_only: bool,
    /// Chat: the host takes an answer's thoughts back as other hosts tell them.
    pub thoughts: bool,
    /// Chat: the host goes on with a message of the model's that says `prefix`.
    pub prefix: bool,
    /// Chat: members that the host refuses, left out.
    pub refused: &'static [&'static str],
    /// Chat: members that the host calls otherwise: OpenAI's name, the host's.
    pub renamed: &'static [(&'static str, &'static str)],
}

/// A composed request.
#[derive(Clone, Debug, Default)]
pub struct Composed {
    /// The JSON body.
    pub body: Body,
    /// Headers that belong to it (`anthropic-version`, `anthropic-beta`), names in lower case.
    pub headers: Vec<(&'static str, String)>,
    /// Tools that had to be renamed: the provider's name, the client's.
    pub renamed: Vec<(String, String)>,
    /// A tool that only stands for the answer's JSON: its call is the text, and no call.
    pub answer_tool: Option<String>,
}

/// The body that says `value`; `client` is the one it was made from.
fn body(value: &impl Serialize, client: &Bytes) -> Result<Body, Untranslatable> {
    let mut writer = BodyWriter::new(client);
    match serde_json::to_writer(&mut writer, value) {
        Ok(()) => Ok(writer.finish()),
        Err(fault) => Err(Untranslatable::new("body", fault.to_string())),
    }
}

/// Reads an answer of a provider. One for each answer, because what a stream says depends on what it has said.
pub trait ReadReply: Send + Sync {
    /// The data of one event, trimmed, not `[DONE]`. The pieces that it holds go to `sink`.
    fn event(&mut self, data: &[u8], sink: &mut dyn Sink) -> Result<Seen, Unreadable>;

    /// A whole answer.
    fn whole(&mut self, body: &[u8], sink: &mut dyn Sink) -> Result<Seen, Unreadable>;
}

/// What an event was, besides its pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// One of many.
    More,
    /// The last: nothing after it counts.
    Last,
    /// The provider reports an error. Nothing was given to the sink.
    Failure,
}

/// Not JSON, or not of this dialect. An event of a kind that is not known is no fault: it has no pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unreadable;

/// Writes an answer for a client. One for each answer.
pub trait WriteReply: Send {
    /// Adds to `out` the events of a stream, framed, that this piece makes.
    fn piece(&mut self, choice: u32, piece: Piece<'_>, out: &mut Vec<u8>);

    /// The answer is complete (every choice has had its `Finish`): adds the closing events.
    fn end(&mut self, out: &mut Vec<u8>);

    /// The body of a whole answer.
    fn whole(&mut self, reply: &Reply) -> Vec<u8>;

    /// The client stands here in the middle of an answer, with this much of its text: this goes on from there.
    fn stand(&mut self, _at: &Standing, _text: &str) {}

    /// It was to go on with another answer, and this one is not its beginning: nothing more is written.
    fn diverged(&self) -> bool {
        false
    }
}

/// Pieces on their way to a writer's stream.
struct Written<'a> {
    writer: &'a mut dyn WriteReply,
    out: &'a mut Vec<u8>,
}

impl Sink for Written<'_> {
    fn piece(&mut self, choice: u32, piece: Piece<'_>) {
        self.writer.piece(choice, piece, self.out);
    }
}

/// What an answer of ours has that no provider gives: the core has neither a clock nor a source of randomness.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Unique to the request.
    pub seed: u64,
    /// Now, in seconds since 1970.
    pub created: u64,
}

impl Stamp {
    /// An id for the `number`th thing of its kind in the answer, such as `call_00c0ffee00c0ffee0`.
    pub fn id(&self, prefix: &str, number: u32) -> String {
        format!("{prefix}{:016x}{number:x}", self.seed)
    }
}

#[cfg(test)]
mod tests;
