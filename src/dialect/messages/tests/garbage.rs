//! Whatever comes in, nothing breaks, and what goes out is JSON.

use proptest::prelude::*;
use serde_json::{json, Value};

use super::super::count;
use super::super::reader::MessagesReader;
use super::super::writer::MessagesWriter;
use super::{composed_for, read, STAMP};
use crate::dialect::conversation::Conversation;
use crate::dialect::reply::{Piece, Reply, Sink};
use crate::dialect::{ReadReply, WriteReply};

fn request() -> Value {
    json!({
        "system": [{"type": "text", "text": "s", "cache_control": {"type": "ephemeral", "ttl": "1h"}}],
        "messages": [
            {"role": "user", "content": [
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "QQ=="}},
                {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "d"}, "title": "t"},
                {"type": "text", "text": "hi"}]},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "hm", "signature": "s"},
                {"type": "tool_use", "id": "a", "name": "f", "input": {"x": 1}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a", "content": "r"}]},
            {"role": "system", "content": "now"}],
        "tools": [{"name": "f", "description": "d", "input_schema": {"type": "object"}}],
        "tool_choice": {"type": "tool", "name": "f"},
        "max_tokens": 100, "temperature": 0.5, "stop_sequences": ["END"], "metadata": {"user_id": "u"},
        "thinking": {"type": "enabled", "budget_tokens": 2000},
        "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": {}}},
    })
}

fn answer() -> Value {
    json!([
        {"type": "message_start", "message": {"id": "m", "model": "c", "usage": {"input_tokens": 1}}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "tool_use", "id": "a", "name": "f", "input": {}}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": "{"}},
        {"type": "content_block_stop", "index": 0},
        {"type": "content_block_start", "index": 1, "content_block": {"type": "thinking", "thinking": ""}},
        {"type": "content_block_delta", "index": 1, "delta": {"type": "thinking_delta", "thinking": "x"}},
        {"type": "message_delta", "delta": {"stop_reason": "refusal", "stop_details": {"explanation": "e"}},
            "usage": {"output_tokens": 1, "iterations": [{"input_tokens": 1}]}},
        {"type": "message_stop"},
    ])
}

/// Every value in the tree, counted from the root, replaced by another.
fn replaced(tree: &mut Value, number: &mut usize, by: &Value) {
    if *number == 0 {
        *tree = by.clone();
    }
    *number = number.wrapping_sub(1);
    match tree {
        Value::Array(items) => items.iter_mut().for_each(|item| replaced(item, number, by)),
        Value::Object(members) => members.values_mut().for_each(|member| replaced(member, number, by)),
        _ => {}
    }
}

fn odd_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        Just(json!(true)),
        Just(json!(-1.5e300)),
        Just(json!(u64::MAX)),
        Just(json!([])),
        Just(json!({})),
        Just(json!([[{"type": "text"}]])),
        Just(json!({"type": "tool_use"})),
        Just(
            json!([{"role": "assistant", "content": [{"type": "tool_use", "id": "", "name": "", "input": []}]}])
        ),
        "\\PC{0,12}".prop_map(Value::String),
        prop_oneof!["assistant", "user", "system", "tool_result", "base64", "none"].prop_map(Value::String),
    ]
}

fn model() -> impl Strategy<Value = &'static str> {
    prop_oneof![Just("claude-3-opus"), Just("claude-sonnet-4-5"), Just("claude-opus-5-5"), Just("")]
}

proptest! {
    #[test]
    fn any_request_is_composed_or_refused(at in 0usize..80, by in odd_value(), model in model(), vertex: bool) {
        let mut body = request();
        replaced(&mut body, &mut at.clone(), &by);
        let body = body.to_string();
        if let Ok(conversation) = read(&body) {
            count::tokens(&conversation);
            if let Ok(composed) = composed_for(model, vertex, &conversation) {
                let sent: Value = serde_json::from_slice(&composed.body.contiguous()).unwrap();
                prop_assert_eq!(&sent["messages"][0]["role"], "user");
            }
        }
    }

    #[test]
    fn torn_requests_are_refused(cut in 0usize..1200) {
        let body = request().to_string();
        prop_assume!(cut < body.len());
        prop_assert!(read(&body[..cut]).is_err());
    }

    #[test]
    fn any_answer_is_read_and_written(at in 0usize..60, by in odd_value()) {
        let mut events = answer();
        replaced(&mut events, &mut at.clone(), &by);
        let (mut reader, mut reply) = (MessagesReader::new(STAMP), Reply::default());
        for event in events.as_array().into_iter().flatten() {
            let _ = reader.event(event.to_string().as_bytes(), &mut reply);
        }
        let _ = MessagesReader::new(STAMP).whole(events.to_string().as_bytes(), &mut Reply::default());
        let mut writer = MessagesWriter::new(&Conversation::default(), STAMP);
        prop_assert!(serde_json::from_slice::<Value>(&writer.whole(&reply)).is_ok());
        let mut frames = Frames(writer, Vec::new());
        reply.pieces(&mut frames);
        let Frames(mut writer, mut out) = frames;
        writer.end(&mut out);
        for line in String::from_utf8(out).unwrap().lines() {
            if let Some(data) = line.strip_prefix("data: ") {
                prop_assert!(serde_json::from_str::<Value>(data).is_ok());
            }
        }
    }

    #[test]
    fn any_bytes_are_borne(bytes: Vec<u8>) {
        let _ = MessagesReader::new(STAMP).event(&bytes, &mut Reply::default());
        let _ = MessagesReader::new(STAMP).whole(&bytes, &mut Reply::default());
    }
}

struct Frames(MessagesWriter, Vec<u8>);

impl Sink for Frames {
    fn piece(&mut self, choice: u32, piece: Piece<'_>) {
        self.0.piece(choice, piece, &mut self.1);
    }
}
