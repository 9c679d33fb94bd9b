//! Answers: what the reader hears event by event, and what the writer says.

use serde_json::{json, Value};

use super::super::reader::MessagesReader;
use super::super::writer::MessagesWriter;
use super::{Heard, STAMP};
use crate::dialect::conversation::Conversation;
use crate::dialect::reply::{Finish, Piece, Reply, Sink};
use crate::dialect::{ReadReply, Seen, Unreadable, WriteReply};
use crate::llm::usage::Usage;

fn heard(events: Vec<Value>) -> Vec<String> {
    let (mut reader, mut heard) = (MessagesReader::new(STAMP), Heard::default());
    for event in events {
        reader.event(event.to_string().as_bytes(), &mut heard).unwrap();
    }
    heard.0
}

fn begun(index: u32, block: Value) -> Value {
    json!({"type": "content_block_start", "index": index, "content_block": block})
}

fn delta(index: u32, delta: Value) -> Value {
    json!({"type": "content_block_delta", "index": index, "delta": delta})
}

fn stop(index: u32) -> Value {
    json!({"type": "content_block_stop", "index": index})
}

fn tool(id: &str, input: Value) -> Value {
    json!({"type": "tool_use", "id": id, "name": "f", "input": input})
}

fn ended(reason: &str) -> Value {
    json!({"type": "message_delta", "delta": {"stop_reason": reason, "stop_sequence": "END",
        "stop_details": {"explanation": "No."}}})
}

fn seen(data: &str) -> Result<Seen, Unreadable> {
    MessagesReader::new(STAMP).event(data.as_bytes(), &mut Heard::default())
}

#[test]
fn calls_are_counted_apart_from_blocks() {
    let pieces = heard(vec![
        begun(0, json!({"type": "text", "text": ""})),
        delta(0, json!({"type": "text_delta", "text": "a"})),
        begun(3, tool("x", json!({}))),
        delta(3, json!({"type": "input_json_delta", "partial_json": ""})),
        delta(3, json!({"type": "input_json_delta", "partial_json": "{\"a\":"})),
        delta(3, json!({"type": "input_json_delta", "partial_json": "1}"})),
        stop(3),
        begun(4, tool("", json!({}))),
        stop(4),
    ]);
    let expected = [
        r#"Text("a")"#,
        r#"ToolCall { ordinal: 0, id: "x", name: "f", signature: None }"#,
        r#"Arguments { ordinal: 0, json: "{\"a\":" }"#,
        r#"Arguments { ordinal: 0, json: "1}" }"#,
        r#"ToolCall { ordinal: 1, id: "toolu_0000000000c0ffee1", name: "f", signature: None }"#,
        r#"Arguments { ordinal: 1, json: "{}" }"#,
    ];
    assert_eq!(pieces, expected);
}

#[test]
fn an_input_that_came_whole_counts_unless_deltas_come() {
    let whole = heard(vec![begun(0, tool("x", json!({"a": 1}))), stop(0)]);
    assert_eq!(whole[1], r#"Arguments { ordinal: 0, json: "{\"a\":1}" }"#);
    let both = vec![begun(0, tool("x", json!({"a": 1}))), delta(0, json!({"partial_json": "{}"})), stop(0)];
    assert_eq!(heard(both)[1..], [r#"Arguments { ordinal: 0, json: "{}" }"#]);
}

#[test]
fn thoughts_come_with_their_proof() {
    let pieces = heard(vec![
        begun(0, json!({"type": "thinking", "thinking": "", "signature": ""})),
        delta(0, json!({"type": "thinking_delta", "thinking": "hm"})),
        delta(0, json!({"type": "signature_delta", "signature": "sig"})),
        stop(0),
        begun(1, json!({"type": "redacted_thinking", "data": "opaque"})),
    ]);
    assert_eq!(pieces, [r#"Reasoning("hm")"#, r#"Signature("sig")"#, r#"Redacted("opaque")"#]);
}

#[test]
fn what_anthropic_runs_itself_is_passed_over() {
    let pieces = heard(vec![
        begun(0, json!({"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}})),
        delta(0, json!({"type": "input_json_delta", "partial_json": "{}"})),
        stop(0),
        begun(1, json!({"type": "compaction", "content": ""})),
        delta(1, json!({"type": "compaction_delta", "content": "summary"})),
        begun(2, json!({"type": "hologram", "text": "not for us"})),
        delta(2, json!({"type": "text_delta", "text": "not for us"})),
        json!({"type": "ping"}),
        json!({"type": "weather", "delta": "rain", "message": 7}),
    ]);
    assert!(pieces.is_empty(), "{pieces:?}");
}

#[test]
fn every_stop_reason_has_a_finish() {
    for (reason, finish) in [
        ("end_turn", "Finish(Stop)"),
        ("stop_sequence", r#"Finish(StopSequence(Some("END")))"#),
        ("max_tokens", "Finish(Length)"),
        ("model_context_window_exceeded", "Finish(Length)"),
        ("tool_use", "Finish(ToolCalls)"),
        ("pause_turn", "Finish(Paused)"),
        ("moonrise", "Finish(Stop)"),
    ] {
        assert_eq!(heard(vec![ended(reason)]), [finish], "{reason}");
    }
    assert_eq!(heard(vec![ended("refusal")]), [r#"Refusal("No.")"#, "Finish(Filtered)"]);
}

#[test]
fn an_answer_finishes_once() {
    let pieces = heard(vec![ended("end_turn"), ended("refusal"), json!({"type": "message_stop"})]);
    assert_eq!(pieces, ["Finish(Stop)"]);
    let end = json!({"type": "message_stop"});
    assert_eq!(heard(vec![end.clone()]), ["Finish(Stop)"]);
    assert_eq!(heard(vec![begun(0, tool("x", json!({}))), end])[1..], ["Finish(ToolCalls)"]);
}

#[test]
fn usage_is_laid_over_what_was_said_before() {
    let start = json!({"type": "message_start", "message": {"id": "m", "model": "c", "usage":
        {"input_tokens": 5, "cache_read_input_tokens": 100, "cache_creation_input_tokens": 20, "output_tokens": 1}}});
    let end = |usage| json!({"type": "message_delta", "delta": {}, "usage": usage});
    let later = json!({"output_tokens": 9, "output_tokens_details": {"thinking_tokens": 4}});
    let pieces = heard(vec![start.clone(), end(later)]);
    let expected =
        Usage { prompt: 125, completion: 9, total: 134, cached: 100, cache_written: 20, reasoning: 4 };
    assert_eq!(pieces[2], format!("{:?}", Piece::Usage(expected)));
    let attempts = json!({"output_tokens": 9, "iterations": [
        {"type": "compaction", "input_tokens": 1000, "output_tokens": 30},
        {"type": "message", "input_tokens": 5, "cache_read_input_tokens": 7, "output_tokens": 9}]});
    let pieces = heard(vec![start, end(attempts)]);
    let expected =
        Usage { prompt: 1012, completion: 39, total: 1051, cached: 7, cache_written: 0, reasoning: 0 };
    assert_eq!(pieces[2], format!("{:?}", Piece::Usage(expected)));
}

#[test]
fn errors_and_ends_are_seen() {
    assert_eq!(seen(r#"{"type":"error","error":{"type":"overloaded_error"}}"#), Ok(Seen::Failure));
    assert_eq!(seen(r#"{"type":"message_stop"}"#), Ok(Seen::Last));
    assert_eq!(seen(r#"{"type":"ping"}"#), Ok(Seen::More));
    assert_eq!(seen("{}"), Ok(Seen::More));
    assert_eq!(seen("<html>"), Err(Unreadable));
    assert_eq!(seen(r#"{"type":"content_block_delta","delta":7}"#), Err(Unreadable));
    let whole = |body: &str| MessagesReader::new(STAMP).whole(body.as_bytes(), &mut Heard::default());
    assert_eq!(whole(r#"{"type":"error","error":{}}"#), Ok(Seen::Failure));
    assert_eq!(whole(r#"{"object":"chat.completion"}"#), Err(Unreadable));
}

fn writer() -> MessagesWriter {
    MessagesWriter::new(&Conversation::default(), STAMP)
}

/// The data of the frames that pieces make, each with its event's name checked.
fn said(pieces: &[Piece]) -> Vec<Value> {
    let (mut writer, mut out) = (writer(), Vec::new());
    pieces.iter().for_each(|piece| writer.piece(0, *piece, &mut out));
    writer.end(&mut out);
    let text = String::from_utf8(out).unwrap();
    assert!(text.ends_with("\n\n"));
    let frames = text.trim_end().split("\n\n").map(|frame| {
        let (name, data) = frame.strip_prefix("event: ").unwrap().split_once("\ndata: ").unwrap();
        let event: Value = serde_json::from_str(data).unwrap();
        assert_eq!(event["type"], name);
        event
    });
    frames.collect()
}

#[test]
fn blocks_follow_one_another() {
    let usage =
        Usage { prompt: 130, completion: 9, total: 139, cached: 100, cache_written: 20, reasoning: 4 };
    let frames = said(&[
        Piece::Start { id: "chatcmpl-1", model: "m" },
        Piece::Reasoning("hm"),
        Piece::Signature("sig"),
        Piece::Text("a\n\"b\""),
        Piece::Text("c"),
        Piece::ToolCall { ordinal: 0, id: "call.1", name: "f", signature: Some("g") },
        Piece::Arguments { ordinal: 0, json: "{\"a\":1}" },
        Piece::ToolCall { ordinal: 1, id: "call_2", name: "g", signature: None },
        Piece::Finish(Finish::ToolCalls),
        Piece::Usage(usage),
    ]);
    let none = json!({"input_tokens": 0, "output_tokens": 0, "cache_read_input_tokens": 0, "cache_creation_input_tokens": 0});
    let expected = [
        json!({"type": "message_start", "message": {"id": "chatcmpl-1", "type": "message", "role": "assistant",
            "model": "m", "content": [], "stop_reason": null, "stop_sequence": null, "usage": none}}),
        begun(0, json!({"type": "thinking", "thinking": "", "signature": ""})),
        delta(0, json!({"type": "thinking_delta", "thinking": "hm"})),
        delta(0, json!({"type": "signature_delta", "signature": "sig"})),
        stop(0),
        begun(1, json!({"type": "text", "text": ""})),
        delta(1, json!({"type": "text_delta", "text": "a\n\"b\""})),
        delta(1, json!({"type": "text_delta", "text": "c"})),
        stop(1),
        begun(2, json!({"type": "tool_use", "id": "call_1", "name": "f", "input": {}})),
        delta(2, json!({"type": "input_json_delta", "partial_json": "{\"a\":1}"})),
        stop(2),
        begun(3, json!({"type": "tool_use", "id": "call_2", "name": "g", "input": {}})),
        stop(3),
        json!({"type": "message_delta", "delta": {"stop_reason": "tool_use", "stop_sequence": null},
            "usage": {"input_tokens": 10, "cache_read_input_tokens": 100, "cache_creation_input_tokens": 20,
                "output_tokens": 9, "output_tokens_details": {"thinking_tokens": 4}}}),
        json!({"type": "message_stop"}),
    ];
    assert_eq!(frames, expected);
}

#[test]
fn late_arguments_find_their_block() {
    let call = |ordinal, id| Piece::ToolCall { ordinal, id, name: "f", signature: None };
    let frames = said(&[call(0, "a"), call(1, "b"), Piece::Arguments { ordinal: 0, json: "{}" }]);
    assert!(frames.contains(&delta(0, json!({"type": "input_json_delta", "partial_json": "{}"}))));
}

#[test]
fn what_follows_a_call_is_told_as_soon_as_its_braces_close() {
    let call = |ordinal, id| Piece::ToolCall { ordinal, id, name: "f", signature: None };
    let more = |json| Piece::Arguments { ordinal: 0, json };
    let mut writer = MessagesWriter::new(&Conversation::default(), STAMP);
    let mut told = |piece| {
        let mut out = Vec::new();
        writer.piece(0, piece, &mut out);
        String::from_utf8(out).unwrap().contains(r#""id":"b""#)
    };
    let pieces = [call(0, "a"), more(r#"{"a":"}\"}"#), call(1, "b"), more(r#"","b":{}"#), more(" }")];
    assert_eq!(pieces.map(&mut told), [false, false, false, false, true]);
}

#[test]
fn an_answer_of_nothing_begins_and_ends() {
    let frames = said(&[Piece::Finish(Finish::Stop)]);
    let kinds: Vec<_> = frames.iter().map(|frame| frame["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["message_start", "message_delta", "message_stop"]);
    assert_eq!(frames[0]["message"]["id"], "msg_0000000000c0ffee0");
}

#[test]
fn every_finish_has_a_stop_reason() {
    for (finish, reason, sequence) in [
        (Finish::Stop, "end_turn", Value::Null),
        (Finish::StopSequence(Some("END")), "stop_sequence", json!("END")),
        (Finish::Length, "max_tokens", Value::Null),
        (Finish::ToolCalls, "tool_use", Value::Null),
        (Finish::Filtered, "refusal", Value::Null),
        (Finish::Paused, "pause_turn", Value::Null),
    ] {
        let expected = json!({"stop_reason": reason, "stop_sequence": sequence});
        assert_eq!(said(&[Piece::Finish(finish)])[1]["delta"], expected);
    }
}

#[test]
fn a_whole_answer_has_the_same_blocks() {
    let mut reply = Reply::default();
    for piece in [
        Piece::Start { id: "", model: "m" },
        Piece::Reasoning("hm"),
        Piece::Text("a"),
        Piece::Redacted("opaque"),
        Piece::Image { mime: "image/png", data: "QQ==" },
        Piece::ToolCall { ordinal: 0, id: "c", name: "f", signature: None },
        Piece::Arguments { ordinal: 0, json: "not json" },
        Piece::ToolCall { ordinal: 1, id: "d", name: "f", signature: None },
        Piece::Finish(Finish::ToolCalls),
    ] {
        reply.piece(0, piece);
    }
    let body: Value = serde_json::from_slice(&writer().whole(&reply)).unwrap();
    let expected = json!([
        {"type": "thinking", "thinking": "hm", "signature": ""},
        {"type": "text", "text": "a"},
        {"type": "redacted_thinking", "data": "opaque"},
        {"type": "text", "text": "[A picture (image/png), which this API has no block for.]"},
        {"type": "tool_use", "id": "c", "name": "f", "input": {"arguments": "not json"}},
        {"type": "tool_use", "id": "d", "name": "f", "input": {}},
    ]);
    assert_eq!(body["content"], expected);
    assert_eq!((&body["id"], &body["stop_reason"]), (&json!("msg_0000000000c0ffee0"), &json!("tool_use")));
}
