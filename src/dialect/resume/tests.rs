//! Answers that go on where another broke off, text by text.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::dialect;

fn chunk(delta: serde_json::Value) -> String {
    let body = json!({"id": "c-1", "created": 17, "model": "m", "choices": [{"index": 0, "delta": delta}]});
    format!("data: {body}\n\n")
}

fn told(texts: &[&str]) -> Told {
    let mut told = Told::new(Wire::Chat).unwrap();
    texts.iter().for_each(|text| told.hear(chunk(json!({"content": text})).into()));
    told
}

/// What the client gets of an answer in these texts, which begins so; none where it diverges.
fn goes_on(told: &Told, begins: Begins, texts: &[&str]) -> Option<String> {
    let conversation = Conversation::default();
    let writer = dialect::writer(Wire::Chat, &conversation, Stamp { seed: 0, created: 17 }, Wire::Chat);
    let mut writer = told.resumed(writer, begins).unwrap();
    let mut out = Vec::new();
    writer.piece(0, Piece::Start { id: "other", model: "other" }, &mut out);
    for text in texts {
        writer.piece(0, Piece::Text(text), &mut out);
    }
    writer.piece(0, Piece::Finish(crate::dialect::reply::Finish::Stop), &mut out);
    let (mut reader, mut reply) =
        (dialect::reader(Wire::Chat, Stamp { seed: 0, created: 0 }), Reply::default());
    for frame in String::from_utf8(out).unwrap().split_terminator("\n\n") {
        reader.event(frame.strip_prefix("data: ").unwrap().as_bytes(), &mut reply).unwrap();
    }
    if writer.diverged() {
        return None;
    }
    let id = if told.text() == Some("") { "other" } else { "c-1" };
    assert_eq!(reply.id, id);
    let blocks = &reply.choices.first()?.blocks;
    Some(blocks.iter().map(|block| if let Block::Text(text) = block { text.as_str() } else { "?" }).collect())
}

#[test]
fn only_what_lies_beyond_is_told() {
    let hello = told(&["Hel", "lo"]);
    for (texts, beyond) in [
        (&["Hello world"][..], Some(" world")),
        (&["H", "e", "l", "l", "o", "!"], Some("!")),
        (&["Hello"], Some("")),
        (&["Hell"], None),
        (&[], None),
        (&["hello world"], None),
        (&["Hel", "p"], None),
    ] {
        assert_eq!(goes_on(&hello, Begins::Again, texts).as_deref(), beyond, "{texts:?}");
    }
    assert_eq!(goes_on(&told(&[]), Begins::Again, &["a"]).as_deref(), Some("a"));
}

#[test]
fn a_letter_of_several_bytes_is_never_cut() {
    let half = told(&["é"]);
    assert_eq!(goes_on(&half, Begins::Again, &["éa"]).as_deref(), Some("a"));
    assert_eq!(goes_on(&half, Begins::Again, &["è"]), None, "its first byte is the same");
    assert_eq!(goes_on(&told(&["aé"]), Begins::Perhaps, &["aè"]).as_deref(), Some("aè"));
}

#[test]
fn behind_the_text_only_white_space_is_expected() {
    let spaced = told(&["Hello \n"]);
    assert_eq!(goes_on(&spaced, Begins::Onward, &[" ", "\nworld"]).as_deref(), Some("world"));
    assert_eq!(goes_on(&spaced, Begins::Onward, &["world"]), None);
    assert_eq!(goes_on(&told(&["Hello"]), Begins::Onward, &["Hello"]).as_deref(), Some("Hello"));
}

#[test]
fn a_text_that_was_held_back_is_told_when_it_turns_out_to_be_new() {
    let hello = told(&["Hello"]);
    for (texts, beyond) in [
        (&["Hello", " you"][..], " you"),
        (&["Hel", "p"], "Help"),
        (&["Hel"], "Hel"),
        (&["", "x", "Hello"], "xHello"),
    ] {
        assert_eq!(goes_on(&hello, Begins::Perhaps, texts).as_deref(), Some(beyond), "{texts:?}");
    }
}

#[test]
fn only_one_text_can_go_on() {
    for delta in [
        json!({"tool_calls": [{"index": 0, "id": "c", "function": {"name": "f", "arguments": ""}}]}),
        json!({"refusal": "no"}),
        json!({"reasoning_content": "late"}),
    ] {
        let mut told = told(&["Hello"]);
        told.hear(chunk(delta.clone()).into());
        assert_eq!(told.text(), None, "{delta}");
        told.hear(chunk(json!({"content": "x"})).into());
        assert_eq!(told.text(), None, "and not later either: {delta}");
    }
    for end in ["data: [DONE]\n\n", "data: {\"error\":{\"message\":\"x\"}}\n\n", "data: oops\n\n"] {
        let mut told = told(&["Hello"]);
        told.hear(end.into());
        assert_eq!(told.text(), None, "{end}");
    }
    let long = "x".repeat(MOST_TEXT);
    assert!(told(&[&long]).text().is_some());
    assert_eq!(told(&[&long, "x"]).text(), None);
}

#[test]
fn thoughts_before_the_text_are_no_obstacle() {
    let mut told = Told::new(Wire::Chat).unwrap();
    told.hear(chunk(json!({"reasoning_content": "hm"})).into());
    assert_eq!(told.text(), Some(""));
    told.hear(": comment\n\n".into());
    told.hear(chunk(json!({"content": "Hello"})).into());
    assert_eq!((told.text(), told.created()), (Some("Hello"), Some(17)));
}

#[test]
fn google_answers_go_on_too() {
    let event = |text: &str| {
        let parts = json!([{"text": text}]);
        let body = json!({"candidates": [{"content": {"parts": parts, "role": "model"}, "index": 0}], "responseId": "r-1"});
        format!("data: {body}\r\n\r\n")
    };
    let mut told = Told::new(Wire::Gemini).unwrap();
    ["Hel", "lo"].iter().for_each(|text| told.hear(event(text).into()));
    assert_eq!(told.text(), Some("Hello"));
    let conversation = Conversation::default();
    let writer = dialect::writer(Wire::Gemini, &conversation, Stamp { seed: 0, created: 0 }, Wire::Chat);
    let mut writer = told.resumed(writer, Begins::Again).unwrap();
    let mut out = Vec::new();
    ["Hello wor", "ld"].iter().for_each(|text| writer.piece(0, Piece::Text(text), &mut out));
    let out = String::from_utf8(out).unwrap();
    let texts = out.split_terminator("\r\n\r\n").map(|event| {
        let event: serde_json::Value = serde_json::from_str(event.strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!(event["responseId"], "r-1");
        event["candidates"][0]["content"]["parts"][0]["text"].as_str().unwrap().to_owned()
    });
    assert_eq!(texts.collect::<String>(), " world");
}

#[test]
fn older_completions_go_on_too() {
    let chunk = |text: &str| {
        let body =
            json!({"id": "cmpl-1", "created": 17, "model": "m", "choices": [{"text": text, "index": 0}]});
        format!("data: {body}\n\n")
    };
    let mut told = Told::new(Wire::Completions).unwrap();
    ["Hel", "lo"].iter().for_each(|text| told.hear(chunk(text).into()));
    assert_eq!((told.text(), told.created()), (Some("Hello"), Some(17)));
    let stamp = Stamp { seed: 0, created: 17 };
    let writer = dialect::writer(Wire::Completions, &Conversation::default(), stamp, Wire::Chat);
    let mut writer = told.resumed(writer, Begins::Again).unwrap();
    let mut out = Vec::new();
    ["Hello wor", "ld"].iter().for_each(|text| writer.piece(0, Piece::Text(text), &mut out));
    let out = String::from_utf8(out).unwrap();
    let texts = out.split_terminator("\n\n").map(|event| {
        let event: serde_json::Value = serde_json::from_str(event.strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!((&event["id"], &event["created"]), (&json!("cmpl-1"), &json!(17)));
        event["choices"][0]["text"].as_str().unwrap().to_owned()
    });
    assert_eq!(texts.collect::<String>(), " world");
}

#[test]
fn dialects_that_cannot_be_read_back_are_not_kept() {
    for wire in [Wire::Objects, Wire::Opaque] {
        assert!(Told::new(wire).is_none());
    }
}

proptest! {
    /// However both answers are cut: the client has the longer text, or it diverges.
    #[test]
    fn the_client_has_one_text(first in "[ab\u{e9} ]{0,12}", second in "[ab\u{e9} ]{0,12}", cut in 1usize..4) {
        let pieces = |text: &str| -> Vec<String> {
            text.chars().collect::<Vec<_>>().chunks(cut).map(|piece| piece.iter().collect()).collect()
        };
        let (said, again) = (pieces(&first), pieces(&second));
        let said = told(&said.iter().map(String::as_str).collect::<Vec<_>>());
        let beyond = goes_on(&said, Begins::Again, &again.iter().map(String::as_str).collect::<Vec<_>>());
        prop_assert_eq!(beyond, second.strip_prefix(first.as_str()).map(str::to_owned));
    }
}
