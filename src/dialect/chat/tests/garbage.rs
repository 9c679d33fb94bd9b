//! Whatever comes in, nothing panics, and what is written is well-formed.

use proptest::prelude::*;
use serde_json::Value;

use super::{Notes, STAMP};
use crate::dialect::chat::compose::compose;
use crate::dialect::chat::reader::ChatReader;
use crate::dialect::chat::request::read;
use crate::dialect::{Habits, ReadReply, Target};

const REQUEST: &str = r#"{"messages":[{"role":"system","content":[{"type":"text","text":"s","cache_control":{"ttl":"1h"}}]},
    {"role":"user","content":[{"type":"image_url","image_url":{"url":"data:image/png;base64,QUJD"}},
        {"type":"file","file":{"file_data":"data:application/pdf;base64,QQ=="}},
        {"type":"input_audio","input_audio":{"data":"QQ==","format":"wav"}}]},
    {"role":"assistant","content":null,"thinking_blocks":[{"type":"thinking","thinking":"t","signature":"s"}],
        "tool_calls":[{"id":"a","type":"function","function":{"name":"f","arguments":"{}"},
            "extra_content":{"google":{"thought_signature":"s"}}},{"id":"b","custom":{"name":"c","input":"i"}}]},
    {"role":"tool","tool_call_id":"a","content":"r"},{"role":"function","name":"f","content":"r"}],
    "tools":[{"type":"function","function":{"name":"f","parameters":{}}},{"type":"custom","custom":{"name":"c"}}],
    "tool_choice":{"type":"allowed_tools","allowed_tools":{"mode":"auto","tools":[{"function":{"name":"f"}}]}},
    "stop":["x"],"response_format":{"type":"json_schema","json_schema":{"name":"n","schema":{}}},"stream":true}"#;

const CHUNK: &str = r#"{"id":"x","model":"m","choices":[{"index":0,"delta":{"content":[{"type":"thinking","thinking":
    [{"text":"t"}]},{"type":"text","text":"a"}],"reasoning_content":"r","reasoning":"r",
    "reasoning_details":[{"text":"d"}],"refusal":"no","images":[{"image_url":{"url":"data:image/png;base64,QUJD"}}],
    "tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":"{}"}},{"custom":{"name":"c","input":"i"}}],
    "function_call":{"name":"g"}},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":2}}"#;

/// Any value in the place of any other.
fn odd() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        Just(serde_json::json!([])),
        Just(serde_json::json!({})),
        Just(serde_json::json!(["x", {"type": "text"}])),
        Just(serde_json::json!({"type": "function", "name": "f", "index": -1})),
    ]
}

/// Replaces the `which`th value of the tree.
fn mutated(json: &str, which: usize, odd: Value) -> String {
    fn places(value: &mut Value) -> usize {
        1 + match value {
            Value::Array(items) => items.iter_mut().map(places).sum::<usize>(),
            Value::Object(members) => members.values_mut().map(places).sum(),
            _ => 0,
        }
    }
    fn put(value: &mut Value, which: &mut usize, odd: &Value) {
        if *which == 0 {
            *value = odd.clone();
        }
        *which = which.wrapping_sub(1);
        match value {
            Value::Array(items) => items.iter_mut().for_each(|item| put(item, which, odd)),
            Value::Object(members) => members.values_mut().for_each(|member| put(member, which, odd)),
            _ => {}
        }
    }
    let mut tree: Value = serde_json::from_str(json).unwrap();
    let mut which = which % places(&mut tree);
    put(&mut tree, &mut which, &odd);
    tree.to_string()
}

fn try_request(body: &str) {
    let Ok(conversation) = read(body) else { return };
    for refused in [&[][..], &["stop"]] {
        let habits = Habits { refused, functions_only: !refused.is_empty(), ..Habits::default() };
        let target = Target { model: "gemini-3", habits, signature: &|_| None };
        if let Ok(composed) = compose(&conversation, &target) {
            serde_json::from_slice::<Value>(&composed.body.contiguous()).unwrap();
        }
    }
}

fn try_answer(body: &str) {
    let (mut reader, mut notes) = (ChatReader::new(STAMP), Notes::default());
    for _ in 0..2 {
        reader.event(body.as_bytes(), &mut notes).ok();
    }
    ChatReader::new(STAMP).whole(body.as_bytes(), &mut Notes::default()).ok();
}

proptest! {
    #[test]
    fn an_odd_request_is_read_or_refused(which in 0..200usize, odd in odd()) {
        try_request(&mutated(REQUEST, which, odd));
    }

    #[test]
    fn a_cut_request_is_refused(cut in 0..REQUEST.len()) {
        prop_assert!(read(&REQUEST[..cut]).is_err());
    }

    #[test]
    fn an_odd_answer_is_read_or_not(which in 0..100usize, odd in odd()) {
        try_answer(&mutated(CHUNK, which, odd));
    }

    #[test]
    fn any_bytes_are_no_answer(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let read = ChatReader::new(STAMP).event(&bytes, &mut Notes::default());
        prop_assert!(read.is_err() || bytes.contains(&0x7b));
    }
}

#[test]
fn the_samples_are_good_ones() {
    read(REQUEST).unwrap();
    let mut notes = Notes::default();
    ChatReader::new(STAMP).event(CHUNK.as_bytes(), &mut notes).unwrap();
    assert_eq!(notes.reply.choices[0].blocks.len(), 7, "{:?}", notes.reply);
}
