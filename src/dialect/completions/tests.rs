//! Completions, in and out.

use serde_json::{json, Value};

use super::request::read;
use super::writer::CompletionsWriter;
use crate::dialect::conversation::{Conversation, Role, What};
use crate::dialect::reply::{Finish, Piece, Reply, Sink};
use crate::dialect::{Stamp, WriteReply};
use crate::llm::usage::Usage;

const STAMP: Stamp = Stamp { seed: 7, created: 1_700_000_000 };

fn said(body: &str) -> String {
    let conversation = read(body).unwrap();
    let [turn] = conversation.turns.as_slice() else { panic!("{conversation:?}") };
    let What::Text { text, .. } = &turn.parts[0].what else { panic!("{turn:?}") };
    assert_eq!(turn.role, Role::User);
    text.to_string()
}

#[test]
fn a_prompt_is_a_turn_of_the_users() {
    assert_eq!(said(r#"{"prompt":"once upon"}"#), "once upon");
    assert_eq!(
        said(r#"{"prompt":["once upon"],"echo":false,"best_of":1,"suffix":"","logprobs":null}"#),
        "once upon"
    );
}

#[test]
fn what_tunes_the_answer_is_read() {
    let body = r#"{"prompt":"x","max_tokens":5,"temperature":0.5,"top_p":1,"n":2,"stop":["a"],"seed":3,"user":"u",
        "presence_penalty":1,"frequency_penalty":1,"stream":true,"stream_options":{"include_usage":true}}"#;
    let read = read(body).unwrap();
    assert_eq!((read.max_tokens, read.answers, read.user.as_deref()), (Some(5), Some(2), Some("u")));
    assert!(read.stream && read.wants_usage && read.seed.is_some() && read.temperature.is_some());
    assert_eq!(read.stop, ["a".into()]);
}

#[test]
fn what_a_conversation_has_not_is_refused_by_name() {
    let refused = |body: &str| read(body).unwrap_err().param;
    for prompt in ["[1,2]", "[[1],[2]]", r#"["a","b"]"#, "[]", "7"] {
        assert_eq!(refused(&format!(r#"{{"prompt":{prompt}}}"#)), "prompt");
    }
    assert_eq!(refused("{}"), "prompt");
    for member in [r#""echo":true"#, r#""suffix":"end""#, r#""logprobs":0"#, r#""best_of":2"#] {
        let name = member.split('"').nth(1).unwrap();
        assert_eq!(refused(&format!(r#"{{"prompt":"x",{member}}}"#)), name);
    }
}

const PIECES: [Piece; 6] = [
    Piece::Start { id: "x", model: "m" },
    Piece::Reasoning("hm"),
    Piece::Text("a"),
    Piece::Text("b"),
    Piece::Finish(Finish::Length),
    Piece::Usage(Usage { prompt: 1, completion: 2, total: 3, cached: 0, cache_written: 0, reasoning: 0 }),
];

fn chunks(wants_usage: bool) -> Vec<Value> {
    let asked = Conversation { wants_usage, ..Conversation::default() };
    let (mut writer, mut out) = (CompletionsWriter::new(&asked, STAMP), Vec::new());
    PIECES.into_iter().for_each(|piece| writer.piece(0, piece, &mut out));
    writer.end(&mut out);
    let text = String::from_utf8(out).unwrap();
    let text = text.strip_suffix("data: [DONE]\n\n").unwrap();
    text.split_terminator("\n\n")
        .map(|event| serde_json::from_str(&event["data: ".len()..]).unwrap())
        .collect()
}

#[test]
fn a_stream_is_chunks_of_text() {
    let chunk = |text: &str, finish: Value| {
        json!({"id": "x", "object": "text_completion", "created": 1_700_000_000,
        "model": "m", "choices": [{"text": text, "index": 0, "logprobs": null, "finish_reason": finish}]})
    };
    let expected = [chunk("a", Value::Null), chunk("b", Value::Null), chunk("", json!("length"))];
    assert_eq!(chunks(false), expected);
    let with_usage = chunks(true);
    let last = with_usage.last().unwrap();
    assert_eq!((&last["choices"], &last["usage"]["total_tokens"]), (&json!([]), &json!(3)));
}

#[test]
fn a_whole_answer_is_the_text() {
    let mut reply = Reply::default();
    PIECES.into_iter().for_each(|piece| reply.piece(0, piece));
    let body = CompletionsWriter::new(&Conversation::default(), STAMP).whole(&reply);
    let body: Value = serde_json::from_slice(&body).unwrap();
    let choice = json!({"text": "ab", "index": 0, "logprobs": null, "finish_reason": "length"});
    assert_eq!((&body["object"], &body["choices"][0]), (&json!("text_completion"), &choice));
    assert_eq!(body["usage"]["prompt_tokens"], 1);
}

#[test]
fn an_answer_without_an_id_is_given_one() {
    let body = CompletionsWriter::new(&Conversation::default(), STAMP).whole(&Reply::default());
    assert_eq!(serde_json::from_slice::<Value>(&body).unwrap()["id"], STAMP.id("cmpl-", 0));
}
