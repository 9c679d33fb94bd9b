//! Recorded requests and answers: what the reader makes of them, against a second, slower reading of the same bytes.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{json, Value};

use super::super::reader::MessagesReader;
use super::super::writer::MessagesWriter;
use super::{body_for, read, STAMP};
use crate::dialect::conversation::Conversation;
use crate::dialect::reply::{Block, Reply};
use crate::dialect::{ReadReply, Seen, WriteReply};
use crate::llm::usage::Usage;

fn recorded(ending: &str) -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/fixtures");
    let mut found = Vec::new();
    for source in ["vercel-ai", "pydantic-ai", "llm-anthropic"] {
        for entry in fs::read_dir(root.join(source).join("messages")).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let is_request = name.ends_with(".request.json");
            if name.ends_with(ending) && is_request == (ending == ".request.json") {
                let text = fs::read_to_string(&path).unwrap();
                found.push((path, text));
            }
        }
    }
    assert!(found.len() > 4, "{ending}");
    found
}

fn streams() -> Vec<(PathBuf, Vec<Value>)> {
    let lines = |(path, text): (PathBuf, String)| {
        let events = text.lines().map(|line| line.strip_prefix("data: ").unwrap_or(line));
        let events =
            events.filter(|line| line.starts_with('{')).map(|line| serde_json::from_str(line).unwrap());
        (path, events.collect())
    };
    recorded(".chunks.txt").into_iter().chain(recorded(".sse")).map(lines).collect()
}

/// Whether another message begins in the middle.
fn is_spliced(events: &[Value]) -> bool {
    let mut starts = events.iter().filter(|event| event["type"] == "message_start");
    let first = starts.next().map(|start| &start["message"]["id"]);
    starts.any(|start| Some(&start["message"]["id"]) != first)
}

fn heard(events: &[Value]) -> Reply {
    let (mut reader, mut reply) = (MessagesReader::new(STAMP), Reply::default());
    for event in events {
        reader.event(event.to_string().as_bytes(), &mut reply).unwrap();
    }
    reply
}

/// The message that a stream adds up to, in the words of the API.
fn added_up(events: &[Value]) -> Value {
    let (mut message, mut blocks) = (json!({}), Vec::<Value>::new());
    for event in events {
        let delta = &event["delta"];
        match event["type"].as_str().unwrap() {
            "message_start" => message = event["message"].clone(),
            "content_block_start" => {
                blocks.push(event["content_block"].clone());
            }
            "content_block_delta" => {
                let block = blocks.last_mut().unwrap();
                for (member, more) in [("text", "text"), ("thinking", "thinking"), ("signature", "signature")]
                {
                    if let Some(more) = delta[more].as_str() {
                        block[member] = format!("{}{more}", block[member].as_str().unwrap_or("")).into();
                    }
                }
                if let Some(more) = delta["partial_json"].as_str() {
                    block["json"] = format!("{}{more}", block["json"].as_str().unwrap_or("")).into();
                }
            }
            "content_block_stop" => {
                let block = blocks.last_mut().unwrap();
                if let Some(input) = block["json"].as_str().filter(|json| !json.is_empty()) {
                    block["input"] = serde_json::from_str(input).unwrap();
                }
            }
            "message_delta" => {
                for member in ["stop_reason", "stop_sequence", "stop_details"] {
                    message[member] = delta[member].clone();
                }
                for (name, count) in event["usage"].as_object().unwrap() {
                    message["usage"][name] = count.clone();
                }
            }
            _ => {}
        }
    }
    message["content"] = blocks.into();
    message
}

/// Text, thoughts and calls of a message.
fn content(message: &Value) -> (String, String, Vec<(String, Value)>) {
    let blocks = message["content"].as_array().unwrap();
    let of = |kind: &'static str| blocks.iter().filter(move |block| block["type"] == kind);
    let text = of("text").map(|block| block["text"].as_str().unwrap()).collect();
    let thoughts = of("thinking").map(|block| block["thinking"].as_str().unwrap()).collect();
    let calls =
        of("tool_use").map(|b| (b["name"].as_str().unwrap().to_owned(), b["input"].clone())).collect();
    (text, thoughts, calls)
}

fn content_of(reply: &Reply) -> (String, String, Vec<(String, Value)>) {
    let (mut text, mut thoughts, mut calls) = (String::new(), String::new(), Vec::new());
    for block in reply.choices.iter().flat_map(|choice| &choice.blocks) {
        match block {
            Block::Text(more) => text.push_str(more),
            Block::Reasoning { text, .. } => thoughts.push_str(text),
            Block::ToolCall { ordinal, id, name, arguments, .. } => {
                assert_eq!(*ordinal as usize, calls.len());
                assert!(!id.is_empty());
                calls.push((name.clone(), serde_json::from_str(arguments).unwrap()));
            }
            _ => {}
        }
    }
    (text, thoughts, calls)
}

fn cost(usage: &Value) -> Usage {
    let attempts = usage["iterations"].as_array().filter(|attempts| !attempts.is_empty());
    let count = |name: &str| match attempts {
        Some(attempts) => attempts.iter().map(|attempt| attempt[name].as_u64().unwrap_or(0)).sum(),
        None => usage[name].as_u64().unwrap_or(0),
    };
    let (cached, cache_written) = (count("cache_read_input_tokens"), count("cache_creation_input_tokens"));
    let prompt = count("input_tokens") + cached + cache_written;
    let completion = count("output_tokens");
    let reasoning = usage["output_tokens_details"]["thinking_tokens"].as_u64().unwrap_or(0);
    Usage { prompt, completion, total: prompt + completion, cached, cache_written, reasoning }
}

fn agrees(path: &Path, reply: &Reply, message: &Value) {
    assert_eq!(content_of(reply), content(message), "{path:?}");
    assert_eq!(reply.usage, Some(cost(&message["usage"])), "{path:?}");
    let finish = format!("{:?}", reply.choices[0].finish.as_ref().unwrap());
    let expected = match message["stop_reason"].as_str().unwrap() {
        "end_turn" => "Stop",
        "tool_use" => "ToolCalls",
        "max_tokens" => "Length",
        "refusal" => "Filtered",
        "pause_turn" => "Paused",
        "stop_sequence" => "StopSequence",
        other => panic!("{other} in {path:?}"),
    };
    assert!(finish.starts_with(expected), "{finish} in {path:?}");
    assert_eq!(reply.model, message["model"].as_str().unwrap());
}

#[test]
fn recorded_streams_say_what_they_add_up_to() {
    for (path, events) in streams() {
        if !is_spliced(&events) {
            agrees(&path, &heard(&events), &added_up(&events));
        }
    }
}

#[test]
fn recorded_answers_say_what_is_in_them() {
    for (path, text) in recorded(".json") {
        let mut reply = Reply::default();
        let seen = MessagesReader::new(STAMP).whole(text.as_bytes(), &mut reply).unwrap();
        assert_eq!(seen, Seen::Last);
        agrees(&path, &reply, &serde_json::from_str(&text).unwrap());
    }
}

#[test]
fn a_whole_answer_is_the_stream_of_it() {
    for (path, events) in streams() {
        if is_spliced(&events) {
            continue;
        }
        let mut whole = Reply::default();
        let message = added_up(&events).to_string();
        MessagesReader::new(STAMP).whole(message.as_bytes(), &mut whole).unwrap();
        let mut streamed = heard(&events);
        // The same JSON need not be the same text.
        for block in
            whole.choices.iter_mut().chain(&mut streamed.choices).flat_map(|choice| &mut choice.blocks)
        {
            if let Block::ToolCall { arguments, .. } = block {
                *arguments = serde_json::from_str::<Value>(arguments).unwrap().to_string();
            }
        }
        assert_eq!(streamed, whole, "{path:?}");
    }
}

#[test]
fn a_torn_call_is_kept_where_another_model_takes_over() {
    let (_, events) =
        streams().into_iter().find(|(path, _)| path.ends_with("spliced-message-start.chunks.txt")).unwrap();
    let reply = heard(&events);
    let ids = |block: &Block| match block {
        Block::ToolCall { id, ordinal, .. } => Some((id.clone(), *ordinal)),
        _ => None,
    };
    let calls: Vec<_> = reply.choices[0].blocks.iter().filter_map(ids).collect();
    assert_eq!(calls, [("toolu_first".to_owned(), 0), ("toolu_second".to_owned(), 1)]);
    assert_eq!((reply.id.as_str(), reply.usage.unwrap().completion), ("msg_first", 65));
}

#[test]
fn what_is_written_is_read_as_what_it_was() {
    for (path, events) in streams() {
        let reply = heard(&events);
        let (mut frames, mut again) = (Vec::new(), Reply::default());
        let mut writer = MessagesWriter::new(&Conversation::default(), STAMP);
        reply.pieces(&mut Framed(&mut writer, &mut frames));
        writer.end(&mut frames);
        let mut reader = MessagesReader::new(STAMP);
        for data in String::from_utf8(frames).unwrap().split("\n\n").filter(|frame| !frame.is_empty()) {
            let (name, data) = data.split_once("\ndata: ").unwrap();
            let event: Value = serde_json::from_str(data).unwrap();
            assert_eq!(name.strip_prefix("event: "), event["type"].as_str());
            reader.event(data.as_bytes(), &mut again).unwrap();
        }
        assert_eq!(again.usage, reply.usage, "{path:?}");
        assert_eq!(again.choices[0].finish, reply.choices[0].finish, "{path:?}");
        let is_refusal = |block: &Block| matches!(block, Block::Refusal(_));
        if !reply.choices[0].blocks.iter().any(is_refusal) {
            assert_eq!(again, reply, "{path:?}");
        }
        let whole = MessagesWriter::new(&Conversation::default(), STAMP).whole(&reply);
        let mut unary = Reply::default();
        MessagesReader::new(STAMP).whole(&whole, &mut unary).unwrap();
        if !is_spliced(&events) {
            assert_eq!(content_of(&unary), content_of(&reply), "{path:?}");
        }
    }
}

struct Framed<'a>(&'a mut MessagesWriter, &'a mut Vec<u8>);

impl crate::dialect::reply::Sink for Framed<'_> {
    fn piece(&mut self, choice: u32, piece: crate::dialect::reply::Piece<'_>) {
        self.0.piece(choice, piece, self.1);
    }
}

/// What may differ between a client's request and what its provider is sent.
fn settled(mut body: Value) -> Value {
    let members = body.as_object_mut().unwrap();
    members.retain(|name, value| !(name == "stream" && *value == json!(false)));
    if let Some(system) = members.get_mut("system").filter(|system| system.is_string()) {
        *system = json!([{"type": "text", "text": system}]);
    }
    for message in members["messages"].as_array_mut().unwrap() {
        settled_content(&mut message["content"]);
    }
    let mut merged: Vec<Value> = Vec::new();
    for message in members["messages"].as_array().unwrap() {
        match merged.last_mut().filter(|last| last["role"] == message["role"]) {
            Some(last) => {
                let more = message["content"].as_array().unwrap().clone();
                last["content"].as_array_mut().unwrap().extend(more);
            }
            None => merged.push(message.clone()),
        }
    }
    members["messages"] = merged.into();
    body
}

fn settled_content(content: &mut Value) {
    if content.is_null() {
        *content = json!([]);
    }
    if content.is_string() {
        *content = json!([{"type": "text", "text": content}]);
    }
    for block in content.as_array_mut().unwrap() {
        if block["is_error"] == false {
            block.as_object_mut().unwrap().remove("is_error");
        }
        if block["type"] == "tool_result" {
            settled_content(&mut block["content"]);
        }
    }
}

#[test]
fn recorded_requests_come_out_as_they_went_in() {
    let mut compared = 0;
    for (path, text) in recorded(".request.json") {
        let request: Value = serde_json::from_str(&text).unwrap();
        let is_hosted = |tool: &Value| tool["type"].as_str().is_some_and(|kind| kind != "custom");
        if text.contains("tool_reference")
            || text.contains("server_tool_use")
            || request["tools"].as_array().is_some_and(|t| t.iter().any(is_hosted))
        {
            continue;
        }
        let model = request["model"].as_str().unwrap();
        let mut sent = settled(body_for(model, &read(&text).unwrap()));
        let mut given = settled(request.clone());
        if given["thinking"]["type"] == "enabled" {
            // While it thinks there is no sampling.
            given.as_object_mut().unwrap().remove("temperature");
        }
        if given["thinking"].is_null() {
            // Elsewhere an effort is a wish to think.
            sent.as_object_mut().unwrap().remove("thinking");
        }
        for body in [&mut sent, &mut given] {
            for tool in body["tools"].as_array_mut().into_iter().flatten() {
                if tool["description"] == "" {
                    tool.as_object_mut().unwrap().remove("description");
                }
                for member in ["strict", "defer_loading", "eager_input_streaming", "type"] {
                    tool.as_object_mut().unwrap().remove(member);
                }
            }
            if body["tools"].is_null() {
                body.as_object_mut().unwrap().remove("tools");
            }
        }
        assert_eq!(sent, given, "{path:?}");
        compared += 1;
    }
    assert!(compared > 10, "{compared}");
}
