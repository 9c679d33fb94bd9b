//! Each kind of piece, as a client sees it.

use serde_json::json;

use super::*;
use crate::dialect::reply::Finish;
use crate::llm::usage::Usage;

const START: Piece = Piece::Start { id: "x", model: "demo" };
const STOP: Piece = Piece::Finish(Finish::Stop);

fn plain(pieces: &[Piece]) -> Vec<Value> {
    stream(&Conversation::default(), pieces)
}

fn last(events: &[Value]) -> &Value {
    &events[events.len() - 1]["response"]
}

#[test]
fn a_text_has_the_whole_lifecycle() {
    let events = plain(&[START, Piece::Text("Hel\""), Piece::Text("lo\n"), STOP]);
    let expected = [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ];
    assert_eq!(types(&events), expected);
    assert_eq!(events[4]["delta"], "Hel\"");
    assert_eq!(events[6]["text"], "Hel\"lo\n");
    assert_eq!(events[7]["part"]["text"], "Hel\"lo\n");
    assert_eq!(last(&events)["output"][0], events[8]["item"]);
    assert_eq!(last(&events)["output"][0]["content"][0]["text"], "Hel\"lo\n");
    assert_eq!(last(&events)["id"], "resp_0000000000c0ffee0");
    assert_eq!(
        (&last(&events)["model"], &last(&events)["created_at"]),
        (&json!("demo"), &json!(1_700_000_000))
    );
}

#[test]
fn usage_is_told_at_the_end_only() {
    let usage = Usage { prompt: 9, completion: 12, total: 21, cached: 3, cache_written: 2, reasoning: 5 };
    let early = Usage { prompt: 1, ..Usage::default() };
    let events = plain(&[START, Piece::Usage(early), Piece::Text("a"), STOP, Piece::Usage(usage)]);
    assert_eq!(events[0]["response"]["usage"], Value::Null);
    let expected = json!({
        "input_tokens": 9, "input_tokens_details": {"cached_tokens": 3, "cache_write_tokens": 2},
        "output_tokens": 12, "output_tokens_details": {"reasoning_tokens": 5}, "total_tokens": 21
    });
    assert_eq!(last(&events)["usage"], expected);
}

#[test]
fn thoughts_are_a_reasoning_item_whose_signature_comes_back() {
    let pieces = [START, Piece::Reasoning("hm"), Piece::Signature("si/g=\""), Piece::Text("a"), STOP];
    let events = plain(&pieces);
    let expected = [
        "created",
        "in_progress",
        "output_item.added",
        "reasoning_summary_part.added",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.done",
        "reasoning_summary_part.done",
        "output_item.done",
        "output_item.added",
    ];
    assert_eq!(types(&events)[..9], expected);
    let item = &events[7]["item"];
    assert_eq!(item["encrypted_content"], "aar1.anthropic.si/g=\"");
    assert_eq!(item["summary"], json!([{"type": "summary_text", "text": "hm"}]));
    let body = json!({"input": last(&events)["output"]}).to_string();
    let back = read(&body).unwrap();
    let What::Reasoning { text, signature, signer } = &back.turns[0].parts[0].what else {
        panic!("{back:?}")
    };
    assert_eq!((&**text, signature.as_deref(), *signer), ("hm", Some("si/g=\""), Signer::Anthropic));
}

#[test]
fn every_signer_is_known_again() {
    for signer in [Signer::Anthropic, Signer::Google, Signer::OpenAi] {
        let mut reply = Reply::default();
        [START, Piece::Signature("s"), STOP].into_iter().for_each(|piece| reply.piece(0, piece));
        let body = ResponsesWriter::new(&Conversation::default(), STAMP, signer).whole(&reply);
        let output: Value = serde_json::from_slice(&body).unwrap();
        let input = json!({"input": output["output"]}).to_string();
        let back = read(&input).unwrap();
        let part = &back.turns[0].parts[0].what;
        assert!(
            matches!(part, What::Reasoning { signature: Some(s), signer: own, .. } if &**s == "s" && *own == signer)
        );
    }
}

#[test]
fn redacted_thoughts_come_back_as_they_were() {
    let body =
        whole(&Conversation::default(), &[START, Piece::Reasoning("seen"), Piece::Redacted("opaque"), STOP]);
    let output = &body["output"];
    assert_eq!((&output[0]["encrypted_content"], &output[1]["summary"]), (&Value::Null, &json!([])));
    let input = json!({"input": output}).to_string();
    let back = read(&input).unwrap();
    assert!(matches!(&back.turns[0].parts[0].what, What::Reasoning { text, .. } if &**text == "seen"));
    assert!(matches!(&back.turns[1].parts[0].what, What::Redacted(data) if &**data == "opaque"));
}

#[test]
fn a_call_streams_its_arguments_and_one_without_has_an_empty_object() {
    let call = |ordinal, id| Piece::ToolCall { ordinal, id, name: "f", signature: None };
    let events = plain(&[
        START,
        call(0, "c0"),
        Piece::Arguments { ordinal: 0, json: "{\"a\"" },
        call(1, "c1"),
        Piece::Arguments { ordinal: 0, json: ":1}" },
        Piece::Finish(Finish::ToolCalls),
    ]);
    let output = &last(&events)["output"];
    assert_eq!((&output[0]["arguments"], &output[1]["arguments"]), (&json!("{\"a\":1}"), &json!("{}")));
    assert_eq!((&output[0]["call_id"], &output[1]["call_id"]), (&json!("c0"), &json!("c1")));
    assert_eq!(output[0]["type"], "function_call");
    let deltas: Vec<_> =
        events.iter().filter(|event| event["type"] == "response.function_call_arguments.delta").collect();
    assert_eq!(deltas[1]["output_index"], 0);
    assert_eq!((&deltas[2]["delta"], &deltas[2]["output_index"]), (&json!("{}"), &json!(1)));
    assert_eq!(last(&events)["status"], "completed");
}

#[test]
fn a_custom_tool_is_called_with_plain_text() {
    let body = r#"{"input":"x","tools":[{"type":"custom","name":"patch"}]}"#;
    let conversation = read(body).unwrap();
    let call = Piece::ToolCall { ordinal: 0, id: "c", name: "patch", signature: None };
    let arguments = |json| Piece::Arguments { ordinal: 0, json };
    let events =
        stream(&conversation, &[START, call, arguments("{\"inp"), arguments("ut\":\"a\\n\\\"b\"}"), STOP]);
    let expected = [
        "output_item.added",
        "custom_tool_call_input.delta",
        "custom_tool_call_input.done",
        "output_item.done",
    ];
    assert_eq!(types(&events)[2..6], expected);
    let item = &last(&events)["output"][0];
    assert_eq!((&item["type"], &item["input"]), (&json!("custom_tool_call"), &json!("a\n\"b")));
    let bare = stream(&conversation, &[START, call, arguments("not json"), STOP]);
    assert_eq!(last(&bare)["output"][0]["input"], "not json");
}

#[test]
fn a_tool_of_a_namespace_is_called_by_both_its_names() {
    let body = r#"{"input":"x","tools":[{"type":"namespace","name":"agents","description":"d",
        "tools":[{"type":"function","name":"spawn","parameters":{}}]}]}"#;
    let conversation = read(body).unwrap();
    let call = Piece::ToolCall { ordinal: 0, id: "c", name: "agents__spawn", signature: None };
    let body = whole(&conversation, &[START, call, STOP]);
    let item = &body["output"][0];
    assert_eq!((&item["name"], &item["namespace"]), (&json!("spawn"), &json!("agents")));
    let input = json!({"input": body["output"]}).to_string();
    let back = read(&input).unwrap();
    assert!(matches!(&back.turns[0].parts[0].what, What::ToolCall(call) if &*call.name == "agents__spawn"));
}

#[test]
fn a_refusal_is_a_part_of_its_own() {
    let events = plain(&[START, Piece::Text("a"), Piece::Refusal("no"), STOP]);
    let content = &last(&events)["output"][0]["content"];
    assert_eq!(content[1], json!({"type": "refusal", "refusal": "no"}));
    let delta = events.iter().find(|event| event["type"] == "response.refusal.delta").unwrap();
    assert_eq!(delta["content_index"], 1);
}

#[test]
fn a_picture_is_an_item_of_its_own_and_comes_back() {
    let picture = Piece::Image { mime: "image/webp", data: "AAAA" };
    let body = whole(&Conversation::default(), &[START, Piece::Text("a"), picture, STOP]);
    let item = &body["output"][1];
    assert_eq!((&item["type"], &item["result"]), (&json!("image_generation_call"), &json!("AAAA")));
    let input = json!({"input": body["output"]}).to_string();
    let back = read(&input).unwrap();
    let What::Image(Source::Inline { mime, data }) = &back.turns[1].parts[0].what else { panic!("{back:?}") };
    assert_eq!((&**mime, &**data), ("image/webp", "AAAA"));
}

#[test]
fn an_answer_that_was_cut_off_says_why() {
    let ended = |finish| {
        let events = plain(&[START, Piece::Reasoning("r"), Piece::Text("a"), Piece::Finish(finish)]);
        let name = types(&events)[events.len() - 1].to_owned();
        (
            name,
            last(&events)["incomplete_details"]["reason"].clone(),
            last(&events)["output"][1]["status"].clone(),
        )
    };
    let cut = |reason: &str| ("incomplete".to_owned(), json!(reason), json!("incomplete"));
    assert_eq!(ended(Finish::Length), cut("max_output_tokens"));
    assert_eq!(ended(Finish::Paused), cut("max_output_tokens"));
    assert_eq!(ended(Finish::Filtered), cut("content_filter"));
    assert_eq!(ended(Finish::StopSequence(None)).0, "completed");
    let unended = whole(&Conversation::default(), &[START, Piece::Text("a")]);
    assert_eq!(unended["status"], "incomplete");
}

#[test]
fn of_two_calls_the_last_is_the_one_that_was_cut_off() {
    let call = |ordinal| Piece::ToolCall { ordinal, id: "c", name: "f", signature: None };
    let body = whole(&Conversation::default(), &[START, call(0), call(1), Piece::Finish(Finish::Length)]);
    let status = |number: usize| body["output"][number]["status"].as_str();
    assert_eq!((status(0), status(1)), (Some("completed"), Some("incomplete")));
}

#[test]
fn what_was_asked_is_repeated() {
    let body = r#"{"input":"x","instructions":"i","temperature":0.5,"max_output_tokens":7,"metadata":{"b":"1","a":"2"},
        "tools":[{"type":"function","name":"f","parameters":{"type":"object"},"strict":true}],
        "tool_choice":{"type":"function","name":"f"},"parallel_tool_calls":false,"reasoning":{"effort":"low"},
        "text":{"format":{"type":"json_schema","name":"n","schema":{"type":"object"}}}}"#;
    let conversation = read(body).unwrap();
    let body = whole(&conversation, &[START, STOP]);
    assert_eq!((&body["temperature"], &body["max_output_tokens"]), (&json!(0.5), &json!(7)));
    assert_eq!(body["metadata"], json!({"b": "1", "a": "2"}));
    assert_eq!(body["tools"][0]["parameters"], json!({"type": "object"}));
    assert_eq!(body["tool_choice"], json!({"type": "function", "name": "f"}));
    assert_eq!((&body["parallel_tool_calls"], &body["reasoning"]["effort"]), (&json!(false), &json!("low")));
    assert_eq!(body["text"]["format"]["schema"], json!({"type": "object"}));
    assert_eq!((&body["error"], &body["output"], &body["store"]), (&Value::Null, &json!([]), &json!(false)));
}

#[test]
fn many_tools_are_not_repeated() {
    let body =
        json!({"input": "x", "tools": [{"type": "function", "name": "f", "description": "d".repeat(5000)}]});
    let body = body.to_string();
    assert_eq!(whole(&read(&body).unwrap(), &[START, STOP])["tools"], json!([]));
}

#[test]
fn only_the_first_choice_is_told() {
    let mut writer = writer(&Conversation::default());
    let mut out = Vec::new();
    writer.piece(0, START, &mut out);
    writer.piece(1, Piece::Text("other"), &mut out);
    writer.end(&mut out);
    writer.end(&mut out);
    assert_eq!(types(&events(&out)), ["created", "in_progress", "incomplete"]);
}
