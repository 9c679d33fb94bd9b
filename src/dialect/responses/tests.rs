//! Requests, answers, recorded traffic and any order of pieces.

mod lifecycle;
mod recorded;
mod request;
mod resumed;
mod writer;

use serde_json::Value;

use super::request::read;
use super::writer::ResponsesWriter;
use crate::dialect::conversation::{Conversation, Part, Role, Signer, Source, What};
use crate::dialect::reply::{Piece, Reply, Sink};
use crate::dialect::{Stamp, WriteReply};

const STAMP: Stamp = Stamp { seed: 0xC0FFEE, created: 1_700_000_000 };

fn writer(conversation: &Conversation) -> ResponsesWriter {
    ResponsesWriter::new(conversation, STAMP, Signer::Anthropic)
}

/// The events of a stream of these pieces; each frame's name must be its data's type.
fn stream(conversation: &Conversation, pieces: &[Piece]) -> Vec<Value> {
    let mut writer = writer(conversation);
    let mut out = Vec::new();
    pieces.iter().for_each(|piece| writer.piece(0, *piece, &mut out));
    writer.end(&mut out);
    events(&out)
}

fn events(out: &[u8]) -> Vec<Value> {
    let text = std::str::from_utf8(out).unwrap();
    let frames = text.strip_suffix("\n\n").unwrap().split("\n\n");
    frames
        .map(|frame| {
            let (name, data) = frame.split_once('\n').unwrap();
            let data: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
            assert_eq!(name.strip_prefix("event: "), data["type"].as_str());
            data
        })
        .collect()
}

/// The body of a whole answer of these pieces.
fn whole(conversation: &Conversation, pieces: &[Piece]) -> Value {
    let mut reply = Reply::default();
    pieces.iter().for_each(|piece| reply.piece(0, *piece));
    serde_json::from_slice(&writer(conversation).whole(&reply)).unwrap()
}

fn types(events: &[Value]) -> Vec<&str> {
    let name = |event: &Value| event["type"].as_str().unwrap_or_default().len();
    assert!(events.iter().all(|event| name(event) > 0));
    events.iter().filter_map(|event| event["type"].as_str()?.strip_prefix("response.")).collect()
}
