//! What clients of this dialect get.

use super::*;
use crate::dialect::conversation::Reasoning;
use crate::dialect::gemini::writer::GeminiWriter;
use crate::dialect::reply::Finish;
use crate::dialect::WriteReply;
use crate::llm::usage::Usage;

const USAGE: Usage = Usage { prompt: 9, completion: 7, total: 16, cached: 2, cache_written: 0, reasoning: 3 };

fn asking_for_thoughts() -> Conversation<'static> {
    let reasoning = Some(Reasoning { shown: Some(true), ..Reasoning::default() });
    Conversation { reasoning, ..Conversation::default() }
}

fn written(conversation: &Conversation, pieces: &[Piece]) -> Vec<Value> {
    let mut writer = GeminiWriter::new(conversation, STAMP);
    let mut out = Vec::new();
    pieces.iter().for_each(|piece| writer.piece(0, *piece, &mut out));
    writer.end(&mut out);
    let text = String::from_utf8(out).unwrap();
    assert!(text.ends_with("\r\n\r\n"));
    text.split_terminator("\r\n\r\n").map(|event| value(event.strip_prefix("data: ").unwrap())).collect()
}

const PIECES: &[Piece] = &[
    Piece::Start { id: "r", model: "m" },
    Piece::Reasoning("hm"),
    Piece::Signature("other"),
    Piece::Text("a\"\n"),
    Piece::ToolCall { ordinal: 0, id: "c1", name: "f", signature: None },
    Piece::Arguments { ordinal: 0, json: "{\"a\"" },
    Piece::ToolCall { ordinal: 1, id: "c2", name: "g", signature: Some("s") },
    Piece::Arguments { ordinal: 0, json: ":1}" },
    Piece::Finish(Finish::ToolCalls),
    Piece::Usage(USAGE),
];

#[test]
fn an_answer_is_written_event_by_event() {
    let events = written(&asking_for_thoughts(), PIECES);
    let part = |event: &Value| event["candidates"][0]["content"]["parts"].clone();
    assert_eq!(part(&events[0]), value(r#"[{"text":"hm","thought":true}]"#));
    assert_eq!(part(&events[1]), value(r#"[{"text":"a\"\n"}]"#));
    assert_eq!(
        part(&events[2]),
        value(
            r#"[{"functionCall":{"id":"c1","name":"f","args":{"a":1}},"thoughtSignature":"skip_thought_signature_validator"},
            {"functionCall":{"id":"c2","name":"g","args":{}},"thoughtSignature":"s"}]"#
        )
    );
    assert_eq!(
        events[3],
        value(
            r#"{"candidates":[{"content":{"parts":[{"text":""}],"role":"model"},"finishReason":"STOP","index":0}],
            "usageMetadata":{"promptTokenCount":9,"candidatesTokenCount":4,"cachedContentTokenCount":2,
            "thoughtsTokenCount":3,"totalTokenCount":16},"modelVersion":"m","responseId":"r"}"#
        )
    );
    assert!(events.iter().all(|event| event["responseId"] == "r" && event["modelVersion"] == "m"));
    assert_eq!(events.len(), 4);
}

#[test]
fn thoughts_are_not_shown_unless_asked_for() {
    let events = written(&Conversation::default(), PIECES);
    assert!(!events.iter().any(|event| event.to_string().contains("thought\":true")), "{events:?}");
}

#[test]
fn a_whole_answer_tells_the_same_as_the_stream() {
    for conversation in [asking_for_thoughts(), Conversation::default()] {
        let mut reply = Reply::default();
        PIECES.iter().for_each(|piece| reply.piece(0, *piece));
        let whole = GeminiWriter::new(&conversation, STAMP).whole(&reply);
        let whole: Value = serde_json::from_slice(&whole).unwrap();
        let events = written(&conversation, PIECES);
        let parts: Vec<Value> = events[..events.len() - 1]
            .iter()
            .flat_map(|event| event["candidates"][0]["content"]["parts"].as_array().unwrap().clone())
            .collect();
        assert_eq!(whole["candidates"][0]["content"]["parts"], Value::Array(parts));
        for member in ["usageMetadata", "modelVersion", "responseId"] {
            assert_eq!(whole[member], events[events.len() - 1][member]);
        }
        assert_eq!(whole["candidates"][0]["finishReason"], "STOP");
    }
}

#[test]
fn arguments_that_are_no_object_become_an_empty_one() {
    for json in ["{\"a\":", "[1]", "nonsense", ""] {
        let events = written(
            &Conversation::default(),
            &[
                Piece::ToolCall { ordinal: 0, id: "c", name: "f", signature: None },
                Piece::Arguments { ordinal: 0, json },
                Piece::Finish(Finish::ToolCalls),
            ],
        );
        let call = &events[0]["candidates"][0]["content"]["parts"][0]["functionCall"];
        assert_eq!(call["args"], value("{}"), "{json}");
    }
}

#[test]
fn every_end_has_googles_word() {
    let reason = |finish| {
        written(&Conversation::default(), &[Piece::Finish(finish)])[0]["candidates"][0]["finishReason"]
            .clone()
    };
    assert_eq!(reason(Finish::Stop), "STOP");
    assert_eq!(reason(Finish::StopSequence(Some("x"))), "STOP");
    assert_eq!(reason(Finish::Paused), "MAX_TOKENS");
    assert_eq!(reason(Finish::Length), "MAX_TOKENS");
    assert_eq!(reason(Finish::Filtered), "SAFETY");
}

#[test]
fn what_is_written_reads_back_the_same() {
    let mut reply = Reply::default();
    for piece in PIECES.iter().chain(&[Piece::Image { mime: "image/png", data: "AA+/" }]) {
        if !matches!(piece, Piece::Signature(_)) {
            reply.piece(0, *piece);
        }
    }
    let body = GeminiWriter::new(&asking_for_thoughts(), STAMP).whole(&reply);
    let (log, seen) = whole(std::str::from_utf8(&body).unwrap());
    assert_eq!((seen, log.reply), (Ok(Seen::Last), reply));
}

#[test]
fn an_answer_without_an_id_gets_one() {
    let events = written(&Conversation::default(), &[Piece::Text("a")]);
    assert!(!events[0]["responseId"].as_str().unwrap().is_empty());
}
