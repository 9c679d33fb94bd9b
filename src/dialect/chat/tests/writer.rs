//! What a client is told, chunk by chunk and whole.

use std::fs;

use proptest::prelude::*;
use serde_json::{json, Value};

use super::{events, recordings, stream, whole, Notes, STAMP};
use crate::dialect::chat::reader::ChatReader;
use crate::dialect::chat::request::read;
use crate::dialect::chat::writer::ChatWriter;
use crate::dialect::conversation::{Conversation, Signer, What};
use crate::dialect::reply::{Finish, Piece, Reply, Sink};
use crate::dialect::{ReadReply, WriteReply};
use crate::llm::usage::Usage;

const START: Piece = Piece::Start { id: "x", model: "m" };
const USAGE: Usage =
    Usage { prompt: 9, completion: 12, total: 21, cached: 3, cache_written: 2, reasoning: 5 };

/// The data of the events that these pieces make. Every event is one line of data and a blank one.
fn written(conversation: &Conversation, pieces: &[Piece]) -> Vec<String> {
    let (mut writer, mut out) = (ChatWriter::new(conversation, STAMP, Signer::Anthropic), Vec::new());
    for piece in pieces {
        writer.piece(0, *piece, &mut out);
    }
    writer.end(&mut out);
    let text = String::from_utf8(out).unwrap();
    let events = text.strip_suffix("\n\n").unwrap().split("\n\n");
    let mut data: Vec<String> =
        events.map(|event| event.strip_prefix("data: ").unwrap().to_owned()).collect();
    assert_eq!(data.pop().unwrap(), "[DONE]");
    data
}

fn chunks(conversation: &Conversation, pieces: &[Piece]) -> Vec<Value> {
    written(conversation, pieces).iter().map(|data| serde_json::from_str(data).unwrap()).collect()
}

/// The deltas after the one with the role, and the finish reason.
fn deltas(conversation: &Conversation, pieces: &[Piece]) -> (Vec<Value>, Value) {
    let chunks = chunks(conversation, pieces);
    let deltas = chunks.iter().map(|chunk| chunk["choices"][0]["delta"].clone()).skip(1);
    let mut deltas: Vec<Value> = deltas.collect();
    assert_eq!(deltas.pop().unwrap(), json!({}));
    (deltas, chunks.last().unwrap()["choices"][0]["finish_reason"].clone())
}

fn whole_of(conversation: &Conversation, pieces: &[Piece]) -> Value {
    let mut reply = Reply::default();
    pieces.iter().for_each(|piece| reply.piece(0, *piece));
    let body = ChatWriter::new(conversation, STAMP, Signer::Anthropic).whole(&reply);
    serde_json::from_slice(&body).unwrap()
}

const CALL: Piece = Piece::ToolCall { ordinal: 0, id: "a", name: "f", signature: None };

#[test]
fn a_stream_is_framed_as_openai_frames_it() {
    let pieces = [START, Piece::Text("hé\n"), Piece::Finish(Finish::Stop), Piece::Usage(USAGE)];
    let head = r#"{"id":"x","object":"chat.completion.chunk","created":1700000000,"model":"m","choices":[{"index":0,"delta":"#;
    let expected = [
        r#"{"role":"assistant","content":"","refusal":null},"logprobs":null,"finish_reason":null}]}"#,
        r#"{"content":"hé\n"},"logprobs":null,"finish_reason":null}]}"#,
        r#"{},"logprobs":null,"finish_reason":"stop"}]}"#,
    ];
    let expected: Vec<String> = expected.iter().map(|rest| format!("{head}{rest}")).collect();
    assert_eq!(written(&Conversation::default(), &pieces), expected);
}

#[test]
fn usage_is_told_to_who_asks_for_it() {
    let asked = Conversation { wants_usage: true, ..Conversation::default() };
    let pieces = [START, Piece::Usage(Usage::default()), Piece::Finish(Finish::Stop), Piece::Usage(USAGE)];
    let chunks = chunks(&asked, &pieces);
    let (last, before) = chunks.split_last().unwrap();
    assert!(before.iter().all(|chunk| chunk.get("usage") == Some(&Value::Null)));
    let expected = json!({"prompt_tokens": 9, "completion_tokens": 12, "total_tokens": 21,
        "prompt_tokens_details": {"cached_tokens": 3, "cache_write_tokens": 2, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 5, "audio_tokens": 0,
            "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0}});
    assert_eq!((&last["choices"], &last["usage"]), (&json!([]), &expected));
    assert_eq!((&last["id"], &last["model"]), (&json!("x"), &json!("m")));
    assert_eq!(whole_of(&Conversation::default(), &pieces)["usage"], expected);
}

#[test]
fn an_answer_without_an_id_is_given_one() {
    let id = json!(STAMP.id("chatcmpl-", 0));
    let pieces = [Piece::Start { id: "", model: "m" }, Piece::Finish(Finish::Stop)];
    assert!(chunks(&Conversation::default(), &pieces).iter().all(|chunk| chunk["id"] == id));
    assert_eq!(whole_of(&Conversation::default(), &pieces)["id"], id);
}

#[test]
fn calls_are_numbered_and_their_arguments_never_missing() {
    let pieces = [
        START,
        CALL,
        Piece::ToolCall { ordinal: 1, id: "b", name: "g", signature: Some("sig") },
        Piece::Arguments { ordinal: 1, json: "{\"x\":" },
        Piece::Arguments { ordinal: 1, json: "1}" },
        Piece::Finish(Finish::ToolCalls),
    ];
    let (deltas, finish) = deltas(&Conversation::default(), &pieces);
    let call = |delta: &Value| delta["tool_calls"][0].clone();
    let more = |index: u32, json: &str| json!({"index": index, "function": {"arguments": json}});
    let expected = [
        json!({"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": ""}}),
        more(0, "{}"),
        json!({"index": 1, "id": "b", "type": "function", "function": {"name": "g", "arguments": ""},
            "extra_content": {"google": {"thought_signature": "sig"}}}),
        more(1, "{\"x\":"),
        more(1, "1}"),
    ];
    assert_eq!(deltas.iter().map(call).collect::<Vec<_>>(), expected);
    assert_eq!(finish, "tool_calls");
    let message = whole_of(&Conversation::default(), &pieces)["choices"][0]["message"].take();
    let expected = json!([{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}},
        {"id": "b", "type": "function", "function": {"name": "g", "arguments": "{\"x\":1}"},
            "extra_content": {"google": {"thought_signature": "sig"}}}]);
    assert_eq!((&message["tool_calls"], &message["content"]), (&expected, &Value::Null));
}

#[test]
fn a_custom_tool_is_told_its_plain_text() {
    let asked = read(r#"{"messages":[],"tools":[{"type":"custom","custom":{"name":"f"}}]}"#).unwrap();
    let pieces = [
        START,
        CALL,
        Piece::Arguments { ordinal: 0, json: r#"{"input":"a\"# },
        Piece::Arguments { ordinal: 0, json: r#"n\"b\""}"# },
        Piece::Finish(Finish::ToolCalls),
    ];
    let (deltas, _) = deltas(&asked, &pieces);
    let begun = json!({"index": 0, "id": "a", "type": "custom", "custom": {"name": "f", "input": ""}});
    assert_eq!(deltas[0]["tool_calls"][0], begun);
    assert_eq!(deltas[1]["tool_calls"][0], json!({"index": 0, "custom": {"input": "a\n\"b\""}}));
    let next = Piece::ToolCall { ordinal: 1, id: "b", name: "g", signature: None };
    let (deltas, _) = self::deltas(&asked, &[&pieces[..4], &[next, pieces[4]]].concat());
    let indices: Vec<_> = deltas.iter().map(|delta| delta["tool_calls"][0]["index"].clone()).collect();
    assert_eq!(indices, [0, 0, 1, 1]);
    let call = whole_of(&asked, &pieces)["choices"][0]["message"]["tool_calls"][0].take();
    assert_eq!(call, json!({"id": "a", "type": "custom", "custom": {"name": "f", "input": "a\n\"b\""}}));
}

#[test]
fn who_asks_in_the_older_way_is_answered_in_it() {
    let asked = read(r#"{"messages":[],"functions":[{"name":"f"}]}"#).unwrap();
    let second = Piece::ToolCall { ordinal: 1, id: "b", name: "g", signature: None };
    let arguments = Piece::Arguments { ordinal: 0, json: "{}" };
    let pieces = [START, CALL, arguments, second, Piece::Finish(Finish::ToolCalls)];
    let (deltas, finish) = deltas(&asked, &pieces);
    let expected = [
        json!({"function_call": {"name": "f", "arguments": ""}}),
        json!({"function_call": {"arguments": "{}"}}),
    ];
    assert_eq!((deltas, finish), (expected.to_vec(), json!("function_call")));
    let choice = whole_of(&asked, &pieces)["choices"][0].take();
    assert_eq!(choice["message"]["function_call"], json!({"name": "f", "arguments": "{}"}));
    assert_eq!(
        (choice["message"].get("tool_calls"), &choice["finish_reason"]),
        (None, &json!("function_call"))
    );
}

#[test]
fn thoughts_and_their_proof_come_back_as_they_went() {
    let pieces = [
        START,
        Piece::Reasoning("hm"),
        Piece::Reasoning(", so"),
        Piece::Signature("proof"),
        Piece::Redacted("secret"),
        Piece::Text("a"),
        Piece::Finish(Finish::Stop),
    ];
    let (mut told, _) = deltas(&Conversation::default(), &pieces);
    let last = told.pop().unwrap();
    assert_eq!(
        told,
        [json!({"reasoning_content": "hm"}), json!({"reasoning_content": ", so"}), json!({"content": "a"})]
    );
    let message = whole_of(&Conversation::default(), &pieces)["choices"][0]["message"].take();
    assert_eq!(last["thinking_blocks"], message["thinking_blocks"]);
    assert_eq!(message["reasoning_content"], "hm, so");
    let body = json!({ "messages": [message] }).to_string();
    let turns = read(&body).unwrap().turns;
    let [thought, redacted, _] = turns[0].parts.as_slice() else { panic!("{turns:?}") };
    let What::Reasoning { text, signature, signer: Signer::Anthropic } = &thought.what else {
        panic!("{thought:?}")
    };
    assert_eq!((&**text, signature.as_deref()), ("hm, so", Some("proof")));
    assert!(matches!(&redacted.what, What::Redacted(data) if &**data == "secret"));
}

#[test]
fn a_proof_is_told_with_its_signer() {
    let blocks = |signer| {
        let mut writer = ChatWriter::new(&Conversation::default(), STAMP, signer);
        let mut reply = Reply::default();
        [START, Piece::Reasoning("t"), Piece::Signature("s"), Piece::Finish(Finish::Stop)]
            .into_iter()
            .for_each(|piece| reply.piece(0, piece));
        let body: Value = serde_json::from_slice(&writer.whole(&reply)).unwrap();
        body["choices"][0]["message"]["thinking_blocks"].clone()
    };
    assert_eq!(blocks(Signer::Google)[0]["format"], "google-gemini-v1");
    assert_eq!(blocks(Signer::OpenAi), Value::Null);
}

#[test]
fn pictures_are_numbered_data_urls() {
    let picture = |data| Piece::Image { mime: "image/png", data };
    let pieces = [START, picture("QQ=="), picture("Qg=="), Piece::Finish(Finish::Stop)];
    let image = |index: u32, data: &str| {
        json!({"type": "image_url", "index": index,
        "image_url": {"url": format!("data:image/png;base64,{data}")}})
    };
    let (told, _) = deltas(&Conversation::default(), &pieces);
    assert_eq!(told, [json!({"images": [image(0, "QQ==")]}), json!({"images": [image(1, "Qg==")]})]);
    let message = whole_of(&Conversation::default(), &pieces)["choices"][0]["message"].take();
    assert_eq!(message["images"], json!([image(0, "QQ=="), image(1, "Qg==")]));
}

#[test]
fn every_end_has_openais_word() {
    for (finish, word) in [
        (Finish::Stop, "stop"),
        (Finish::StopSequence(Some("x")), "stop"),
        (Finish::Length, "length"),
        (Finish::Paused, "length"),
        (Finish::ToolCalls, "tool_calls"),
        (Finish::Filtered, "content_filter"),
    ] {
        assert_eq!(deltas(&Conversation::default(), &[START, Piece::Finish(finish)]).1, word);
    }
}

#[test]
fn a_whole_answer_has_every_member() {
    let pieces =
        [START, Piece::Text("a"), Piece::Refusal("no"), Piece::Text("b"), Piece::Finish(Finish::Filtered)];
    let expected = json!({"id": "x", "object": "chat.completion", "created": 1_700_000_000, "model": "m",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "ab", "refusal": "no", "annotations": []},
            "logprobs": null, "finish_reason": "content_filter"}],
        "service_tier": null, "system_fingerprint": null});
    assert_eq!(whole_of(&Conversation::default(), &pieces), expected);
}

/// Hands pieces on to a writer.
struct To<'w>(&'w mut ChatWriter, &'w mut Vec<u8>);

impl Sink for To<'_> {
    fn piece(&mut self, choice: u32, piece: Piece<'_>) {
        self.0.piece(choice, piece, self.1);
    }
}

#[test]
fn what_is_written_is_read_as_it_was() {
    let asked = Conversation { wants_usage: true, ..Conversation::default() };
    for file in recordings() {
        let Some(events) = events(&file) else {
            let first = whole(&fs::read_to_string(&file).unwrap()).reply;
            let body = ChatWriter::new(&asked, STAMP, Signer::OpenAi).whole(&first);
            assert_eq!(whole(std::str::from_utf8(&body).unwrap()).reply, first, "{}", file.display());
            continue;
        };
        let first = stream(&events).reply;
        let (mut writer, mut out) = (ChatWriter::new(&asked, STAMP, Signer::OpenAi), Vec::new());
        first.pieces(&mut To(&mut writer, &mut out));
        writer.end(&mut out);
        let text = String::from_utf8(out).unwrap();
        let data: Vec<&str> = text.split("\n\n").filter_map(|event| event.strip_prefix("data: ")).collect();
        let (done, data) = data.split_last().unwrap();
        assert_eq!((*done, stream(data).reply), ("[DONE]", first), "{}", file.display());
    }
}

/// Pieces in any order, as no provider would give them.
fn any_piece() -> impl Strategy<Value = Piece<'static>> {
    prop_oneof![
        Just(START),
        Just(Piece::Text("t\u{2028}\"")),
        Just(Piece::Reasoning("r")),
        Just(Piece::Signature("s")),
        Just(Piece::Redacted("d")),
        Just(Piece::Refusal("no")),
        (0..3u32).prop_map(|ordinal| Piece::ToolCall { ordinal, id: "a", name: "f", signature: None }),
        (0..3u32).prop_map(|ordinal| Piece::Arguments { ordinal, json: "{" }),
        Just(Piece::Image { mime: "image/png", data: "QQ==" }),
        Just(Piece::Finish(Finish::ToolCalls)),
        Just(Piece::Usage(USAGE)),
    ]
}

proptest! {
    #[test]
    fn any_pieces_make_chunks_of_one_answer(pieces in proptest::collection::vec((0..3u32, any_piece()), 0..30)) {
        let asked = Conversation { wants_usage: true, ..Conversation::default() };
        let (mut writer, mut out) = (ChatWriter::new(&asked, STAMP, Signer::Anthropic), Vec::new());
        for (choice, piece) in &pieces {
            writer.piece(*choice, *piece, &mut out);
        }
        writer.end(&mut out);
        let text = String::from_utf8(out).unwrap();
        let (text, done) = text.rsplit_once("data: ").unwrap();
        prop_assert_eq!(done, "[DONE]\n\n");
        let mut notes = Notes::default();
        let mut reader = ChatReader::new(STAMP);
        let mut roles = [0; 3];
        for event in text.split_terminator("\n\n") {
            let data = event.strip_prefix("data: ").unwrap();
            let chunk: Value = serde_json::from_str(data).unwrap();
            for choice in chunk["choices"].as_array().unwrap().iter().filter(|c| c["delta"]["role"].is_string()) {
                roles[choice["index"].as_u64().unwrap() as usize] += 1;
            }
            reader.event(data.as_bytes(), &mut notes).unwrap();
        }
        prop_assert!(notes.starts <= 1 && roles.iter().all(|roles| *roles <= 1));
    }
}
