//! Tests of the dialect, by room, and of recorded traffic through all of them.

mod composing;
mod embeddings;
mod images;
mod reader;
mod recorded;
mod requests;
mod writer;

use serde_json::Value;

use super::{compose::compose, reader::GeminiReader, request};
use crate::dialect::conversation::{Conversation, Untranslatable};
use crate::dialect::reply::{Piece, Reply, Sink};
use crate::dialect::{Composed, Habits, ReadReply, Seen, Stamp, Target, Unreadable};

const STAMP: Stamp = Stamp { seed: 0xabc, created: 1_790_000_000 };

fn value(json: &str) -> Value {
    serde_json::from_str(json).unwrap()
}

/// Composes for a model of AI Studio.
fn composed(conversation: &Conversation, model: &str) -> Result<Composed, Untranslatable> {
    compose(conversation, &Target { model, habits: Habits::default(), signature: &|_| None })
}

fn body(composed: &Composed) -> Value {
    serde_json::from_slice(&composed.body.contiguous()).unwrap()
}

/// The request that a client's request becomes.
fn round(json: &str, model: &str) -> Value {
    let prepared = request::prepare(json);
    let conversation = request::read(&prepared, false).unwrap();
    body(&composed(&conversation, model).unwrap())
}

/// Everything that a sink was given.
#[derive(Default)]
struct Log {
    reply: Reply,
    starts: u32,
    finishes: Vec<u32>,
}

impl Sink for Log {
    fn piece(&mut self, choice: u32, piece: Piece<'_>) {
        match piece {
            Piece::Start { .. } => self.starts += 1,
            Piece::Finish(_) => self.finishes.push(choice),
            _ => {}
        }
        self.reply.piece(choice, piece);
    }
}

/// Reads the events of a stream.
fn stream<'a>(events: impl IntoIterator<Item = &'a str>) -> (Log, Result<Seen, Unreadable>) {
    let (mut log, mut seen) = (Log::default(), Ok(Seen::More));
    let mut reader = GeminiReader::new(STAMP);
    for event in events {
        seen = reader.event(event.as_bytes(), &mut log);
        if seen != Ok(Seen::More) {
            break;
        }
    }
    (log, seen)
}

/// Reads a whole answer.
fn whole(body: &str) -> (Log, Result<Seen, Unreadable>) {
    let mut log = Log::default();
    let seen = GeminiReader::new(STAMP).whole(body.as_bytes(), &mut log);
    (log, seen)
}
