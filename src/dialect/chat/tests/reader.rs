//! What hosts do that is in no recording, or that one recording shows among much else.

use super::{calls, stream, text, whole, Notes, STAMP};
use crate::dialect::chat::reader::ChatReader;
use crate::dialect::reply::{Block, Ended, Piece, Sink};
use crate::dialect::{ReadReply, Seen, Unreadable};
use crate::llm::usage::Usage;

fn chunk(choice: &str) -> String {
    format!(r#"{{"id":"x","model":"m","choices":[{choice}]}}"#)
}

fn delta(delta: &str) -> String {
    chunk(&format!(r#"{{"index":0,"delta":{delta}}}"#))
}

fn finish(reason: &str) -> String {
    chunk(&format!(r#"{{"index":0,"delta":{{}},"finish_reason":"{reason}"}}"#))
}

fn ended(events: &[String]) -> Ended {
    stream(events).reply.choices.remove(0).finish.unwrap()
}

#[test]
fn calls_without_an_index_are_told_apart_by_their_ids() {
    let notes = stream(&[
        delta(r#"{"tool_calls":[{"id":"a","function":{"name":"f","arguments":"{\"x\":1}"}}]}"#),
        delta(r#"{"tool_calls":[{"id":"b","function":{"name":"f","arguments":"{\"x\":"}}]}"#),
        delta(r#"{"tool_calls":[{"function":{"arguments":"2}"}}]}"#),
        finish("stop"),
    ]);
    let choice = &notes.reply.choices[0];
    let expected =
        [("a", r#"{"x":1}"#), ("b", r#"{"x":2}"#)].map(|(id, args)| (id.into(), "f".into(), args.into()));
    assert_eq!(calls(choice), expected);
    assert_eq!(choice.finish, Some(Ended::ToolCalls));
}

#[test]
fn calls_that_all_have_the_index_nought_are_told_apart_by_their_ids() {
    let notes = stream(&[
        delta(r#"{"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":"{}"}}]}"#),
        delta(r#"{"tool_calls":[{"index":0,"id":"b","function":{"name":"g","arguments":"{}"}}]}"#),
        finish("tool_calls"),
    ]);
    let ids: Vec<String> = calls(&notes.reply.choices[0]).into_iter().map(|call| call.0).collect();
    assert_eq!(ids, ["a", "b"]);
}

#[test]
fn a_name_that_is_said_again_is_no_new_call() {
    let more = |json: &str| {
        delta(&format!(
            r#"{{"tool_calls":[{{"index":0,"id":"a","function":{{"name":"f","arguments":"{json}"}}}}]}}"#
        ))
    };
    let notes = stream(&[more("{"), more("}"), finish("tool_calls")]);
    assert_eq!(calls(&notes.reply.choices[0]), [("a".into(), "f".into(), "{}".into())]);
}

#[test]
fn a_call_without_an_id_is_given_one() {
    let notes = stream(&[
        delta(r#"{"tool_calls":[{"index":0,"id":"","function":{"name":"f","arguments":""}}]}"#),
        delta(r#"{"tool_calls":[{"index":1,"function":{"name":"g"}}]}"#),
        finish("tool_calls"),
    ]);
    let calls = calls(&notes.reply.choices[0]);
    assert_eq!(calls[0], (STAMP.id("call_", 0), "f".into(), "{}".into()));
    assert_eq!(calls[1].0, STAMP.id("call_", 1));
}

#[test]
fn a_custom_calls_text_becomes_json() {
    let notes = stream(&[
        delta(
            r#"{"tool_calls":[{"index":0,"id":"a","type":"custom","custom":{"name":"p","input":"a\"\n"}}]}"#,
        ),
        delta(r#"{"tool_calls":[{"index":0,"custom":{"input":"\\b"}}]}"#),
        finish("tool_calls"),
    ]);
    let input = serde_json::json!({"input": "a\"\n\\b"}).to_string();
    assert_eq!(calls(&notes.reply.choices[0]), [("a".into(), "p".into(), input)]);
}

#[test]
fn the_older_function_call_is_a_call() {
    let notes = stream(&[
        delta(r#"{"function_call":{"name":"f","arguments":""}}"#),
        delta(r#"{"function_call":{"arguments":"{}"}}"#),
        finish("function_call"),
    ]);
    assert_eq!(calls(&notes.reply.choices[0]), [(STAMP.id("call_", 0), "f".into(), "{}".into())]);
    assert_eq!(notes.reply.choices[0].finish, Some(Ended::ToolCalls));
}

#[test]
fn googles_signature_comes_with_the_call() {
    let notes = whole(
        r#"{"id":"x","choices":[{"message":{"tool_calls":[{"id":"a","function":{"name":"f","arguments":"{}"},
        "extra_content":{"google":{"thought_signature":"sig"}}}]},"finish_reason":"stop"}]}"#,
    );
    let [Block::ToolCall { signature, .. }] = notes.reply.choices[0].blocks.as_slice() else { panic!() };
    assert_eq!(signature.as_deref(), Some("sig"));
}

#[test]
fn the_last_usage_counts_wherever_it_stands() {
    let usage = |prompt: u32| {
        format!(r#""usage":{{"prompt_tokens":{prompt},"completion_tokens":1,"total_tokens":{}}}"#, prompt + 1)
    };
    let with = |event: String, prompt| event.replacen("{", &format!("{{{},", usage(prompt)), 1);
    let notes = stream(&[
        with(delta(r#"{"content":"a"}"#), 5),
        with(finish("stop"), 6),
        format!(r#"{{"id":"x","choices":[],{}}}"#, usage(7)),
    ]);
    assert_eq!(notes.usages, 3);
    assert_eq!(notes.reply.usage, Some(Usage { prompt: 7, completion: 1, total: 8, ..Usage::default() }));
}

#[test]
fn azures_first_chunk_says_nothing() {
    let first = r#"{"id":"","model":"","created":0,"choices":[],"prompt_filter_results":[{}]}"#;
    let notes = stream(&[first.to_owned(), delta(r#"{"content":"a"}"#), finish("stop")]);
    assert_eq!((notes.starts, notes.reply.id.as_str()), (1, "x"));
}

#[test]
fn several_answers_are_kept_apart() {
    let said =
        |index: u32, text: &str| chunk(&format!(r#"{{"index":{index},"delta":{{"content":"{text}"}}}}"#));
    let notes = stream(&[said(1, "b"), said(0, "a"), said(1, "B")]);
    let texts: Vec<String> = notes.reply.choices.iter().map(text).collect();
    assert_eq!(texts, ["a", "bB"]);
}

#[test]
fn thoughts_that_are_told_twice_count_once() {
    let both = delta(r#"{"reasoning":"hm","reasoning_details":[{"type":"reasoning.text","text":"hm"}]}"#);
    let only = delta(
        r#"{"reasoning":null,"reasoning_details":[{"type":"reasoning.summary","summary":"so"},{"type":"reasoning.encrypted","data":"x"}]}"#,
    );
    assert_eq!(super::thoughts(&stream(&[both, only]).reply.choices[0]), "hmso");
}

#[test]
fn a_picture_is_told_and_an_unknown_form_of_one_is_not() {
    let notes = stream(&[
        delta(r#"{"images":[{"type":"image_url","image_url":{"url":"data:image/png;base64,QUJD"}}]}"#),
        delta(r#"{"images":{"odd":true},"reasoning_details":7}"#),
    ]);
    let picture = Block::Image { mime: "image/png".into(), data: "QUJD".into() };
    assert_eq!(notes.reply.choices[0].blocks, [picture]);
}

#[test]
fn reasons_of_any_host_are_understood() {
    let said = delta(r#"{"content":"a"}"#);
    for (reason, expected) in [
        ("stop", Ended::Stop),
        ("eos", Ended::Stop),
        ("length", Ended::Length),
        ("model_length", Ended::Length),
        ("content_filter", Ended::Filtered),
    ] {
        assert_eq!(ended(&[said.clone(), finish(reason)]), expected, "{reason}");
    }
    assert_eq!(ended(&[delta(r#"{"refusal":"I will not"}"#), finish("stop")]), Ended::Filtered);
    assert_eq!(stream(&[finish("stop"), finish("stop")]).finishes, 1);
}

#[test]
fn an_error_in_any_place_is_a_failure_and_nothing_is_told() {
    struct Silent;
    impl Sink for Silent {
        fn piece(&mut self, _: u32, piece: Piece<'_>) {
            panic!("{piece:?}")
        }
    }
    let in_choice =
        r#"{"id":"x","choices":[{"delta":{"content":"a"},"finish_reason":"error","error":{"code":502}}]}"#;
    let beside = r#"{"id":"x","choices":[{"delta":{"content":"a"}}],"error":{"message":"m"}}"#;
    for event in [r#"{"error":{"message":"m"}}"#, r#"{"error":"m"}"#, in_choice, beside] {
        assert_eq!(ChatReader::new(STAMP).event(event.as_bytes(), &mut Silent), Ok(Seen::Failure), "{event}");
        assert_eq!(ChatReader::new(STAMP).whole(event.as_bytes(), &mut Silent), Ok(Seen::Failure), "{event}");
    }
    let list = br#"[{"error":{"code":400,"status":"INVALID_ARGUMENT"}}]"#;
    assert_eq!(ChatReader::new(STAMP).whole(list, &mut Silent), Ok(Seen::Failure));
}

#[test]
fn what_is_no_answer_is_unreadable() {
    for body in ["", "{}", "[]", "null", "<html>", r#"{"choices":7}"#] {
        assert_eq!(
            ChatReader::new(STAMP).whole(body.as_bytes(), &mut Notes::default()),
            Err(Unreadable),
            "{body}"
        );
    }
    assert_eq!(ChatReader::new(STAMP).event(b"{}", &mut Notes::default()), Ok(Seen::More));
    assert_eq!(ChatReader::new(STAMP).event(b"<", &mut Notes::default()), Err(Unreadable));
}
