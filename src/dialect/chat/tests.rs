//! The recorded answers of hosts, read as streams and whole; the rest is in the rooms of `tests`.

mod compose;
mod garbage;
mod reader;
mod request;
mod writer;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::reader::ChatReader;
use crate::dialect::reply::{Block, Choice, Ended, Piece, Reply, Sink};
use crate::dialect::{ReadReply, Seen, Stamp};

const STAMP: Stamp = Stamp { seed: 0xc0ffee, created: 1_700_000_000 };

fn golden(folder: &str) -> PathBuf {
    let crate_root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let golden = crate_root.join("tests/golden/fixtures").join(folder);
    assert!(golden.is_dir(), "{}", golden.display());
    golden
}

/// What a reader says, as it says it.
#[derive(Default)]
struct Notes {
    reply: Reply,
    starts: usize,
    finishes: usize,
    usages: usize,
}

impl Sink for Notes {
    fn piece(&mut self, choice: u32, piece: Piece<'_>) {
        match piece {
            Piece::Start { .. } => self.starts += 1,
            Piece::Finish(_) => self.finishes += 1,
            Piece::Usage(_) => self.usages += 1,
            _ => assert!(self.starts == 1, "{piece:?} before the start"),
        }
        self.reply.piece(choice, piece);
    }
}

fn stream(events: &[impl AsRef<str>]) -> Notes {
    let (mut reader, mut notes) = (ChatReader::new(STAMP), Notes::default());
    for event in events {
        let seen = reader.event(event.as_ref().as_bytes(), &mut notes);
        assert_eq!(seen, Ok(Seen::More), "{}", event.as_ref());
    }
    notes
}

fn whole(body: &str) -> Notes {
    let mut notes = Notes::default();
    assert_eq!(ChatReader::new(STAMP).whole(body.as_bytes(), &mut notes), Ok(Seen::Last), "{body}");
    notes
}

fn text(choice: &Choice) -> String {
    choice
        .blocks
        .iter()
        .filter_map(|b| if let Block::Text(t) = b { Some(t.as_str()) } else { None })
        .collect()
}

fn thoughts(choice: &Choice) -> String {
    let thought =
        |block: &Block| if let Block::Reasoning { text, .. } = block { Some(text.clone()) } else { None };
    choice.blocks.iter().filter_map(thought).collect()
}

fn calls(choice: &Choice) -> Vec<(String, String, String)> {
    let call = |block: &Block| match block {
        Block::ToolCall { id, name, arguments, .. } => Some((id.clone(), name.clone(), arguments.clone())),
        _ => None,
    };
    choice.blocks.iter().filter_map(call).collect()
}

/// Mistral's content may be a list; thoughts are then parts of it.
fn content(said: &Value, kind: &str) -> String {
    let parts = said["content"].as_array().cloned().unwrap_or_default();
    let texts = parts.iter().filter(|part| part["type"] == kind).map(|part| match kind {
        "text" => part["text"].as_str().unwrap().to_owned(),
        _ => part["thinking"].as_array().unwrap().iter().map(|t| t["text"].as_str().unwrap()).collect(),
    });
    match kind {
        "text" if said["content"].is_string() => said["content"].as_str().unwrap().to_owned(),
        _ => texts.collect(),
    }
}

/// Checks what was read against what the host said: `said` are the deltas, or the one message.
fn check(name: &str, notes: &Notes, said: &[Value], finish: &Value, usage: &Value) {
    assert_eq!((notes.starts, notes.finishes, notes.reply.choices.len()), (1, 1, 1), "{name}");
    let choice = &notes.reply.choices[0];
    let all = |of: &dyn Fn(&Value) -> String| said.iter().map(of).collect::<String>();
    assert_eq!(text(choice), all(&|said| content(said, "text")), "{name}");
    let member = |said: &Value, key: &str| said[key].as_str().unwrap_or("").to_owned();
    let thought = all(&|said| {
        member(said, "reasoning_content") + &member(said, "reasoning") + &content(said, "thinking")
    });
    assert_eq!(thoughts(choice), thought, "{name}");
    let mut expected: Vec<(String, String, String)> = Vec::new();
    for call in said.iter().filter_map(|said| said["tool_calls"].as_array()).flatten() {
        let function = &call["function"];
        if let Some(id) = call["id"].as_str().filter(|id| expected.last().is_none_or(|last| last.0 != *id)) {
            expected.push((id.to_owned(), function["name"].as_str().unwrap().to_owned(), String::new()));
        }
        expected.last_mut().unwrap().2.push_str(function["arguments"].as_str().unwrap_or(""));
    }
    assert_eq!(calls(choice), expected, "{name}");
    let ended = match finish.as_str().unwrap() {
        _ if !expected.is_empty() => Ended::ToolCalls,
        "stop" => Ended::Stop,
        "length" => Ended::Length,
        other => panic!("{name}: {other}"),
    };
    assert_eq!(choice.finish, Some(ended), "{name}");
    check_usage(name, notes, usage);
}

fn check_usage(name: &str, notes: &Notes, usage: &Value) {
    let Some(read) = notes.reply.usage else { return assert!(usage.is_null(), "{name}: {usage}") };
    let count = |path: &str| usage.pointer(path).and_then(Value::as_u64).unwrap_or(0);
    let reasoning = count("/completion_tokens_details/reasoning_tokens");
    let (prompt, completion) = (count("/prompt_tokens"), count("/completion_tokens"));
    assert_eq!((read.prompt, read.reasoning), (prompt, reasoning), "{name}");
    let beside = reasoning > 0 && count("/total_tokens") == prompt + completion + reasoning;
    assert_eq!(read.completion, completion + if beside { reasoning } else { 0 }, "{name}");
    let cached = count("/prompt_tokens_details/cached_tokens").max(count("/prompt_cache_hit_tokens"));
    // Moonshot.
    let cached = cached.max(count("/cached_tokens"));
    assert_eq!(read.cached, cached, "{name}");
    assert_eq!(read.total, count("/total_tokens"), "{name}");
}

fn events(file: &Path) -> Option<Vec<String>> {
    let text = fs::read_to_string(file).unwrap();
    let data: Vec<&str> = match file.extension()?.to_str()? {
        "jsonl" => text.lines().collect(),
        "sse" => text.lines().filter_map(|line| line.strip_prefix("data:")).map(str::trim).collect(),
        _ => return None,
    };
    Some(data.into_iter().filter(|data| !data.is_empty() && *data != "[DONE]").map(str::to_owned).collect())
}

fn recordings() -> Vec<PathBuf> {
    let folders = ["vercel-ai/chat", "pydantic-ai/chat"].map(golden);
    let files = folders.iter().flat_map(|folder| fs::read_dir(folder).unwrap());
    files.map(|file| file.unwrap().path()).collect()
}

#[test]
fn every_recorded_stream_is_read_as_it_was_said() {
    let mut read = 0;
    for file in recordings() {
        let Some(events) = events(&file) else { continue };
        let chunks: Vec<Value> = events.iter().map(|event| serde_json::from_str(event).unwrap()).collect();
        let choices = || chunks.iter().filter_map(|chunk| chunk["choices"].get(0));
        let said: Vec<Value> = choices().map(|choice| choice["delta"].clone()).collect();
        let finish = choices().map(|choice| &choice["finish_reason"]).find(|finish| finish.is_string());
        let Some(finish) = finish else { continue };
        let usage = chunks.iter().map(|chunk| &chunk["usage"]).rfind(|usage| usage.is_object());
        check(&file.display().to_string(), &stream(&events), &said, finish, usage.unwrap_or(&Value::Null));
        read += 1;
    }
    assert!(read >= 15, "{read}");
}

#[test]
fn every_recorded_answer_is_read_as_it_was_said() {
    let mut read = 0;
    for file in recordings().into_iter().filter(|file| file.extension().is_some_and(|e| e == "json")) {
        let body = fs::read_to_string(&file).unwrap();
        let answer: Value = serde_json::from_str(&body).unwrap();
        let choice = &answer["choices"][0];
        let (said, finish) = ([choice["message"].clone()], &choice["finish_reason"]);
        check(&file.display().to_string(), &whole(&body), &said, finish, &answer["usage"]);
        read += 1;
    }
    assert!(read >= 50, "{read}");
}

/// A whole answer made of a stream's deltas says the same as the stream.
#[test]
fn a_whole_answer_says_the_same_as_its_stream() {
    for file in recordings() {
        let Some(events) = events(&file) else { continue };
        let streamed = stream(&events).reply;
        let Some(choice) = streamed.choices.first().filter(|choice| choice.finish.is_some()) else {
            continue;
        };
        let usage = streamed.usage.map(|usage| {
            serde_json::json!({"prompt_tokens": usage.prompt, "completion_tokens": usage.completion,
                "total_tokens": usage.total, "prompt_tokens_details": {"cached_tokens": usage.cached},
                "completion_tokens_details": {"reasoning_tokens": usage.reasoning}})
        });
        let calls: Vec<Value> = calls(choice)
            .iter()
            .map(|(id, name, arguments)| {
                serde_json::json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}})
            })
            .collect();
        let message = serde_json::json!({"role": "assistant", "content": text(choice),
            "reasoning_content": thoughts(choice), "tool_calls": calls});
        let finish = if choice.finish == Some(Ended::Length) { "length" } else { "stop" };
        let body = serde_json::json!({"id": streamed.id, "model": streamed.model, "usage": usage,
            "choices": [{"index": 0, "message": message, "finish_reason": finish}]});
        let mut again = whole(&body.to_string()).reply;
        again.usage = again.usage.filter(|_| streamed.usage.is_some());
        assert_eq!(again, streamed, "{}", file.display());
    }
}
