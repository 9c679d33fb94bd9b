//! Recorded traffic of OpenAI: streams that are taken apart and written again, and requests of a client.

use super::*;
use crate::dialect::reply::Finish;

pub(super) const TEXT: &str =
    include_str!("../../../../tests/golden/streams/pydantic-ai/openai_responses.sse");
pub(super) const REASONING: &str =
    include_str!("../../../../tests/golden/fixtures/vercel-ai/openai-responses-reasoning.txt");
const REQUESTS: &str = include_str!("../../../../tests/golden/fixtures/pydantic-ai/responses-requests.jsonl");

/// The pieces of a recorded event, as simply as can be.
fn pieces(event: &Value) -> Vec<Piece<'_>> {
    let text = |value: &'static str| event[value].as_str().unwrap();
    let item = &event["item"];
    match (text("type"), item["type"].as_str()) {
        ("response.created", _) => {
            vec![Piece::Start { id: "", model: event["response"]["model"].as_str().unwrap() }]
        }
        ("response.output_text.delta", _) => vec![Piece::Text(text("delta"))],
        ("response.reasoning_summary_text.delta", _) => vec![Piece::Reasoning(text("delta"))],
        ("response.function_call_arguments.delta", _) => {
            vec![Piece::Arguments { ordinal: 0, json: text("delta") }]
        }
        ("response.output_item.added", Some("function_call")) => {
            let (id, name) = (item["call_id"].as_str().unwrap(), item["name"].as_str().unwrap());
            vec![Piece::ToolCall { ordinal: 0, id, name, signature: None }]
        }
        ("response.output_item.done", Some("reasoning")) => {
            vec![Piece::Signature(item["encrypted_content"].as_str().unwrap())]
        }
        ("response.completed", _) => vec![Piece::Finish(Finish::Stop)],
        _ => vec![],
    }
}

/// What is ours to choose, or OpenAI's alone.
const OURS: [&str; 5] = ["id", "item_id", "obfuscation", "response", "encrypted_content"];

fn same(theirs: &Value, ours: &Value) {
    match (theirs, ours) {
        (Value::Object(theirs), Value::Object(ours)) => {
            for (name, value) in theirs.iter().filter(|(name, _)| !OURS.contains(&name.as_str())) {
                same(value, ours.get(name).unwrap_or_else(|| panic!("{name} is missing")));
            }
        }
        (Value::Array(theirs), Value::Array(ours)) => {
            assert_eq!(theirs.len(), ours.len());
            theirs.iter().zip(ours).for_each(|(theirs, ours)| same(theirs, ours));
        }
        _ => assert_eq!(theirs, ours),
    }
}

#[test]
fn a_recorded_stream_is_written_event_for_event() {
    for recording in [TEXT, REASONING] {
        let lines = recording.lines().map(|line| line.strip_prefix("data: ").unwrap_or(line));
        let theirs: Vec<Value> = lines
            .filter(|line| line.starts_with('{'))
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let mut writer = writer(&Conversation::default());
        let mut out = Vec::new();
        theirs.iter().flat_map(pieces).for_each(|piece| writer.piece(0, piece, &mut out));
        writer.end(&mut out);
        let ours = events(&out);
        assert_eq!(types(&ours), types(&theirs));
        theirs.iter().zip(&ours).for_each(|(theirs, ours)| same(theirs, ours));
        same(&theirs[theirs.len() - 1]["response"]["output"], &ours[ours.len() - 1]["response"]["output"]);
        let done = |events: &[Value]| {
            let done = events.iter().find(|event| event["type"] == "response.output_item.done");
            done.unwrap()["item"]["encrypted_content"].as_str().map(str::to_owned)
        };
        assert_eq!(done(&ours), done(&theirs).map(|proof| format!("aar1.anthropic.{proof}")));
    }
}

#[test]
fn recorded_requests_are_read_or_refused_for_their_state() {
    let mut refused = Vec::new();
    for body in REQUESTS.lines() {
        let json: Value = serde_json::from_str(body).unwrap();
        match read(body) {
            Err(fault) => refused.push(fault.param),
            Ok(conversation) => {
                let texts =
                    |value: &Value| value.as_str().map(|text| text.chars().count()).unwrap_or_default();
                let told: usize = json["input"].as_array().map_or(texts(&json["input"]), |items| {
                    items.iter().map(|item| texts(&item["content"])).sum()
                });
                let read = conversation.turns.iter().filter(|turn| turn.role != Role::System);
                let parts = read.flat_map(|turn| &turn.parts);
                let text = |part: &Part| match &part.what {
                    What::Text { text, .. } => text.chars().count(),
                    _ => 0,
                };
                assert!(parts.map(text).sum::<usize>() >= told, "{body}");
            }
        }
    }
    refused.sort();
    assert_eq!(refused, ["background", "conversation", "previous_response_id"]);
}
