//! What Gemini answers.

use proptest::prelude::*;

use super::*;
use crate::dialect::reply::{Block, Ended};
use crate::llm::usage::Usage;

fn finish(reason: &str, parts: &str) -> Result<Option<Ended>, Seen> {
    let json = format!(
        r#"{{"candidates":[{{"content":{{"parts":[{parts}]}},"finishReason":"{reason}"}}],"usageMetadata":{{"totalTokenCount":1}}}}"#
    );
    match stream([json.as_str()]) {
        (log, Ok(Seen::Last)) => Ok(log.reply.choices[0].finish.clone()),
        (log, Ok(seen)) => {
            assert_eq!(log.starts, 0, "a failure gives nothing");
            Err(seen)
        }
        (_, Err(Unreadable)) => panic!("{json}"),
    }
}

#[test]
fn every_reason_to_end_is_understood() {
    let text = r#"{"text":"a"}"#;
    assert_eq!(finish("STOP", text), Ok(Some(Ended::Stop)));
    assert_eq!(finish("STOP", r#"{"functionCall":{"name":"f"}}"#), Ok(Some(Ended::ToolCalls)));
    for reason in ["MAX_TOKENS", "CONTINUATION"] {
        assert_eq!(finish(reason, ""), Ok(Some(Ended::Length)), "{reason}");
    }
    for reason in [
        "SAFETY",
        "RECITATION",
        "BLOCKLIST",
        "PROHIBITED_CONTENT",
        "SPII",
        "LANGUAGE",
        "IMAGE_SAFETY",
        "IMAGE_PROHIBITED_CONTENT",
        "IMAGE_RECITATION",
        "IMAGE_OTHER",
        "NO_IMAGE",
        "MODEL_ARMOR",
        "ESCALATION",
        "PUP_LIMITED_DISABLED",
        "OTHER",
    ] {
        assert_eq!(finish(reason, ""), Ok(Some(Ended::Filtered)), "{reason}");
    }
    for reason in [
        "MALFORMED_FUNCTION_CALL",
        "UNEXPECTED_TOOL_CALL",
        "MISSING_THOUGHT_SIGNATURE",
        "TOO_MANY_TOOL_CALLS",
        "MALFORMED_RESPONSE",
    ] {
        assert_eq!(finish(reason, r#"{"text":"hm","thought":true}"#), Err(Seen::Failure), "{reason}");
        assert_eq!(finish(reason, text), Ok(Some(Ended::Stop)), "{reason}");
    }
    assert_eq!(finish("SOMETHING_NEW", text), Ok(Some(Ended::Stop)));
}

#[test]
fn a_call_is_seen_in_an_earlier_event_than_the_end() {
    let (log, seen) = stream([
        r#"{"candidates":[{"content":{"parts":[{"functionCall":{"name":"f","args":{"a":1}},"thoughtSignature":"s"},
            {"functionCall":{"id":"own","name":"g"}}]}}]}"#,
        r#"{"candidates":[{"content":{"parts":[{"text":""}]},"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":1}}"#,
    ]);
    assert_eq!(seen, Ok(Seen::Last));
    assert_eq!(log.reply.choices[0].finish, Some(Ended::ToolCalls));
    let [Block::ToolCall { ordinal: 0, id, arguments, signature: Some(_), .. }, Block::ToolCall { ordinal: 1, id: own, arguments: none, signature: None, .. }] =
        log.reply.choices[0].blocks.as_slice()
    else {
        panic!("{:?}", log.reply)
    };
    assert!(id.starts_with("call_") && id != own && own == "own", "{id} {own}");
    assert_eq!((arguments.as_str(), none.as_str()), (r#"{"a":1}"#, "{}"));
}

#[test]
fn usage_replaces_what_was_said_before() {
    let (log, _) = stream([
        r#"{"candidates":[{"content":{"parts":[{"text":"a"}]}}],"usageMetadata":{"promptTokenCount":169,"totalTokenCount":169}}"#,
        r#"{"candidates":[{"content":{"parts":[{"text":"b"}]}}],"usageMetadata":{"trafficType":"ON_DEMAND"}}"#,
        r#"{"candidates":[{"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":79,"toolUsePromptTokenCount":10,
            "candidatesTokenCount":5,"thoughtsTokenCount":3,"cachedContentTokenCount":50,"totalTokenCount":97}}"#,
    ]);
    let expected = Usage { prompt: 89, completion: 8, total: 97, cached: 50, cache_written: 0, reasoning: 3 };
    assert_eq!(log.reply.usage, Some(expected));
}

#[test]
fn thoughts_that_are_counted_among_the_candidates_count_once() {
    let usage = |json: &str| {
        whole(&format!(r#"{{"candidates":[{{"finishReason":"STOP"}}],"usageMetadata":{json}}}"#))
            .0
            .reply
            .usage
            .unwrap()
    };
    let within = usage(
        r#"{"promptTokenCount":10,"candidatesTokenCount":9,"thoughtsTokenCount":4,"totalTokenCount":19}"#,
    );
    assert_eq!((within.completion, within.total, within.reasoning), (9, 19, 4));
    let beside = usage(
        r#"{"promptTokenCount":10,"candidatesTokenCount":9,"thoughtsTokenCount":4,"totalTokenCount":23}"#,
    );
    assert_eq!((beside.completion, beside.total), (13, 23));
    let only = usage(r#"{"promptTokenCount":10,"thoughtsTokenCount":4,"totalTokenCount":14}"#);
    assert_eq!((only.completion, only.total), (4, 14));
}

#[test]
fn a_blocked_prompt_is_a_filtered_answer() {
    let body =
        r#"{"promptFeedback":{"blockReason":"PROHIBITED_CONTENT"},"usageMetadata":{"promptTokenCount":4}}"#;
    for (log, seen) in [stream([body]), whole(body)] {
        assert_eq!((seen, log.finishes.as_slice()), (Ok(Seen::Last), &[0][..]));
        assert_eq!(log.reply.choices[0].finish, Some(Ended::Filtered));
    }
}

#[test]
fn an_error_in_a_stream_is_a_failure() {
    for error in
        [r#"{"error":{"code":503,"message":"m","status":"UNAVAILABLE"}}"#, r#"[{"error":{"code":429}}]"#]
    {
        for (log, seen) in [stream([error]), whole(error)] {
            assert_eq!((seen, log.starts), (Ok(Seen::Failure), 0), "{error}");
        }
    }
}

#[test]
fn an_answer_without_candidates_is_unreadable() {
    for body in ["{}", r#"{"usageMetadata":{"promptTokenCount":4}}"#, "[]", "null", "7", "<html>", ""] {
        assert_eq!(whole(body).1, Err(Unreadable), "{body}");
    }
    assert_eq!(stream([r#"{"keepAlive":1}"#]).1, Ok(Seen::More));
}

#[test]
fn pictures_code_and_thoughts_are_told_apart() {
    let (log, _) = whole(
        r#"{"candidates":[{"content":{"parts":[{"text":"hm","thought":true},
        {"inlineData":{"mimeType":"image/png","data":"AAA"},"thought":true},
        {"inlineData":{"mimeType":"image/png","data":"BBB"}},{"inlineData":{"mimeType":"audio/wav","data":"CCC"}},
        {"executableCode":{"language":"PYTHON","code":"x"}},{"text":"done"},{"toolCall":{}}]}}]}"#,
    );
    let [Block::Reasoning { .. }, Block::Image { data, .. }, Block::Text(text)] =
        log.reply.choices[0].blocks.as_slice()
    else {
        panic!("{:?}", log.reply)
    };
    assert_eq!((data.as_str(), text.as_str()), ("BBB", "\n```python\nx\n```\ndone"));
    assert_eq!(log.reply.choices[0].finish, Some(Ended::Stop));
}

#[test]
fn several_candidates_are_several_choices() {
    let (log, seen) = stream([
        r#"{"candidates":[{"index":0,"content":{"parts":[{"text":"a"}]}},{"index":1,"content":{"parts":[{"text":"b"}]}}]}"#,
        r#"{"candidates":[{"index":1,"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":1}}"#,
        r#"{"candidates":[{"index":0,"finishReason":"MAX_TOKENS"}],"usageMetadata":{"promptTokenCount":1}}"#,
    ]);
    assert_eq!((seen, log.finishes.as_slice()), (Ok(Seen::Last), &[1, 0][..]));
    assert_eq!(log.reply.choices[1].blocks, [Block::Text("b".into())]);
}

#[test]
fn pretty_printed_arguments_become_compact() {
    let (log, _) = whole(
        "{\"candidates\":[{\"content\":{\"parts\":[{\"functionCall\":{\"name\":\"f\",\"args\":{\n  \"a b\": \"c \\\" d\",\n  \"e\": [1, 2]\n}}}]}}]}",
    );
    let [Block::ToolCall { arguments, .. }] = log.reply.choices[0].blocks.as_slice() else { panic!() };
    assert_eq!(arguments, r#"{"a b":"c \" d","e":[1,2]}"#);
}

const FULL: &str = r#"{"candidates":[{"index":0,"content":{"parts":[{"text":"a"},{"functionCall":{"name":"f",
    "partialArgs":[{"jsonPath":"$.a[0]","stringValue":"x"}],"willContinue":true}},{"functionCall":{}}]},
    "finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":1,"totalTokenCount":18446744073709551615}}"#;

proptest! {
    #[test]
    fn no_answer_panics(at in 0..FULL.len(), len in 0..12usize, with in "[\\[\\]{}\",:0-9a-z\\\\ ]{0,6}") {
        let end = (at + len).min(FULL.len());
        let json = format!("{}{with}{}", &FULL[..at], &FULL[end..]);
        let _ = (stream([json.as_str(), json.as_str()]), whole(&json));
    }
}
