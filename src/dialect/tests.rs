//! From one dialect to another, all the way: what the parts cannot show alone.

use std::time::Duration;

use bytes::Bytes;
use rustix::time::{clock_gettime, ClockId};
use serde_json::{json, Value};

use super::conversation::Conversation;
use super::translation::Translation;
use super::{compose, read, reader, writer, Composed, Habits, Stamp, Target};
use crate::llm::stream::{AnswerStream, StreamFault};
use crate::llm::upstream_error::UpstreamError;
use crate::llm::Wire;

const STAMP: Stamp = Stamp { seed: 0xC0FFEE, created: 1_700_000_000 };
/// Where the work grew with the square, this many took from eight seconds to minutes.
const CROWD: u32 = 20_000;
const SOON: Duration = Duration::from_secs(5);

/// How long this thread has worked: what others do meanwhile is no matter.
fn worked() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
}

fn composed(client: Wire, request: &Value, provider: Wire, model: &str) -> Composed {
    let body = request.to_string();
    let conversation = read(client, &body, false).unwrap();
    let target = Target { model, habits: Habits::default(), signature: &|_| None };
    compose(provider, &conversation, &target).unwrap()
}

fn sent(request: &Value, provider: Wire, model: &str) -> Value {
    serde_json::from_slice(&composed(Wire::Chat, request, provider, model).body.contiguous()).unwrap()
}

/// A name of one letter that no provider takes.
fn strange(number: u32) -> String {
    char::from_u32(0x4E00 + number).unwrap().to_string()
}

fn function(name: &str) -> Value {
    json!({"type": "function", "function": {"name": name}})
}

#[test]
fn a_long_text_is_lent_from_the_clients_body_and_not_copied() {
    let said = "a \"quoted\" word\n".repeat(1_000);
    let messages = json!({"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": said}]});
    let target = Target { model: "m", habits: Habits::default(), signature: &|_| None };
    for (client, request, provider) in [
        (Wire::Chat, messages.clone(), Wire::Messages),
        (Wire::Chat, messages.clone(), Wire::Gemini),
        (Wire::Messages, messages, Wire::Chat),
        (Wire::Completions, json!({"model": "m", "prompt": said}), Wire::Chat),
        (Wire::Responses, json!({"model": "m", "input": said}), Wire::Messages),
    ] {
        let bytes = Bytes::from(request.to_string());
        let body = std::str::from_utf8(&bytes).unwrap();
        let copied = compose(provider, &read(client, body, false).unwrap(), &target).unwrap().body;
        let conversation = Conversation { body: bytes.clone(), ..read(client, body, false).unwrap() };
        let lent = compose(provider, &conversation, &target).unwrap().body;
        assert_eq!(lent.contiguous(), copied.contiguous(), "{client:?} to {provider:?}");
        let own = |part: &&Bytes| bytes.as_ptr_range().contains(&part.as_ptr());
        let borrowed: usize = lent.parts().iter().filter(own).map(Bytes::len).sum();
        assert!(borrowed >= said.len(), "{client:?} to {provider:?}: {borrowed} of {}", lent.len());
    }
}

#[test]
fn a_crowd_of_names_of_one_likeness_is_told_apart_soon() {
    let tools: Vec<Value> = (0..CROWD).map(|number| function(&strange(number))).collect();
    let request = json!({"model": "m", "messages": [{"role": "user", "content": "a"}], "tools": tools});
    for (provider, model) in [(Wire::Messages, "claude-haiku-4-5"), (Wire::Gemini, "gemini-3-pro")] {
        let start = worked();
        let renamed = composed(Wire::Chat, &request, provider, model).renamed;
        assert!(worked() - start < SOON, "{provider:?}");
        assert_eq!(renamed.len(), CROWD as usize, "{provider:?}");
        assert!(renamed.iter().any(|(new, _)| *new == format!("__{CROWD}")));
    }
}

#[test]
fn a_crowd_of_results_finds_its_calls_soon() {
    let calls = (0..CROWD).map(
        |id| json!({"id": format!("c{id}"), "type": "function", "function": {"name": strange(id), "arguments": "{}"}}),
    );
    let results = (0..CROWD).rev();
    let results = results
        .map(|id| json!({"role": "tool", "tool_call_id": format!("c{id}"), "content": id.to_string()}));
    let asked = json!({"role": "assistant", "tool_calls": calls.collect::<Vec<_>>()});
    let messages: Vec<Value> =
        [json!({"role": "user", "content": "a"}), asked].into_iter().chain(results).collect();
    let request = json!({"model": "m", "messages": messages});
    for (provider, model) in [(Wire::Messages, "claude-haiku-4-5"), (Wire::Gemini, "gemini-3-pro")] {
        let start = worked();
        let body = sent(&request, provider, model).to_string();
        assert!(worked() - start < SOON, "{provider:?}");
        assert!(!body.contains("No result"), "{provider:?}");
    }
}

#[test]
fn a_crowd_of_tools_is_read_from_responses_soon() {
    let tools =
        (0..2 * CROWD).map(|number| json!({"type": "function", "name": format!("t{}", number % CROWD)}));
    let body = json!({"model": "m", "input": "a", "tools": tools.collect::<Vec<_>>()}).to_string();
    let start = worked();
    assert_eq!(read(Wire::Responses, &body, false).unwrap().tools.len(), CROWD as usize);
    assert!(worked() - start < SOON);
}

fn translation(provider: Wire, client: Wire) -> Translation {
    let conversation = Conversation::default();
    let writer = writer(client, &conversation, STAMP, provider);
    Translation::new(reader(provider, STAMP), writer, &mut Composed::default(), false)
}

fn fault(provider: Wire, events: &[&str]) -> Option<UpstreamError> {
    let mut translation = translation(provider, Wire::Chat);
    let stream: String = events.iter().map(|event| format!("data: {event}\n\n")).collect();
    match translation.push(Bytes::from(stream), &mut Vec::new()) {
        Err(StreamFault::Upstream(error)) => Some(error),
        _ => None,
    }
}

#[test]
fn an_answer_of_a_broken_call_alone_is_a_slip_that_says_its_reason() {
    let broken = r#"{"candidates":[{"finishReason":"MALFORMED_FUNCTION_CALL","finishMessage":"f(x"}]}"#;
    let whole = translation(Wire::Gemini, Wire::Messages).whole(broken.as_bytes()).unwrap_err();
    for error in [whole, fault(Wire::Gemini, &[broken])] {
        let error = error.unwrap();
        assert!(error.is_slip());
        assert_eq!(error.status, 502);
        assert!(error.message.contains("MALFORMED_FUNCTION_CALL. f(x"), "{}", error.message);
    }
}

#[test]
fn an_event_of_the_wrong_shape_is_a_fault_and_what_is_no_json_is_not() {
    for (provider, event) in [
        (Wire::Chat, r#"{"choices":"x"}"#),
        (Wire::Gemini, r#"{"candidates":{}}"#),
        (Wire::Messages, r#"{"type":"content_block_start","index":"x"}"#),
    ] {
        assert_eq!(fault(provider, &[event]).map(|error| error.is_slip()), Some(false), "{event}");
        assert_eq!(fault(provider, &["ping", "{oops", "1"]), None, "{provider:?}");
    }
}

#[test]
fn a_client_is_told_a_call_without_arguments_before_the_next() {
    let claude = r#"{"type":"content_block_start","index":0,"content_block":{"type":"tool_use","id":"a","name":"f","input":{}}}
{"type":"content_block_stop","index":0}
{"type":"content_block_start","index":1,"content_block":{"type":"tool_use","id":"b","name":"g","input":{}}}"#;
    let gemini = r#"{"candidates":[{"content":{"parts":[{"functionCall":{"name":"f"}}]}}]}
{"candidates":[{"content":{"parts":[{"functionCall":{"name":"g","args":{"a":1}}}]}}]}"#;
    for (provider, events) in [(Wire::Messages, claude), (Wire::Gemini, gemini)] {
        let mut out = Vec::new();
        let stream: String = events.lines().map(|event| format!("data: {event}\n\n")).collect();
        translation(provider, Wire::Chat).push(Bytes::from(stream), &mut out).unwrap();
        let told = String::from_utf8(out.concat()).unwrap();
        let at = |text: &str| told.find(text).unwrap_or_else(|| panic!("{text}: {told}"));
        assert!(at(r#""arguments":"{}""#) < at(r#""name":"g""#), "{told}");
    }
}

#[test]
fn gemini_is_asked_for_no_more_than_its_model_gives() {
    let request =
        |most: u32| json!({"model": "m", "messages": [{"role": "user", "content": "a"}], "max_tokens": most});
    for (model, most) in [
        ("gemini-2.0-flash", 8192),
        ("gemini-2.5-pro", 65536),
        ("gemini-3-flash-preview", 65536),
        ("gemini-2.5-flash-image", 32768),
        ("gemma-3", 128_000),
    ] {
        let asked = |tokens| {
            sent(&request(tokens), Wire::Gemini, model)["generationConfig"]["maxOutputTokens"].clone()
        };
        assert_eq!((asked(128_000), asked(100)), (json!(most), json!(100)), "{model}");
    }
}
