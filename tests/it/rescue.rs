//! Streams that break off in their middle, and are gone on with by somebody else (`routing.resume: verify`).

use serde_json::{json, Value};

use crate::support::*;

/// Words, and then the end of the connection.
fn broken(words: &[&str]) -> Reply {
    let mut frames = vec![role("m")];
    frames.extend(words.iter().map(|text| word("m", text)));
    respond(200).open_sse(frames).close()
}

/// The second provider has ids and a time of its own.
fn other(frame: String) -> String {
    frame.replace("chatcmpl-1", "chatcmpl-other").replace("1700000000", "1800000000")
}

fn others(words: &[&str]) -> Reply {
    respond(200).sse(chat_frames("m", words, true).into_iter().map(other))
}

fn line_of(router: &Router) -> Value {
    eventually(secs(5), || router.chat_log().pop()).expect("a line")
}

#[test]
fn a_stream_that_breaks_off_is_gone_on_with_where_the_texts_agree() {
    let first = Upstream::always(broken(&["Hel", "lo wo"]));
    let second = Upstream::always(others(&["H", "ello world", ", and good", " bye"]));
    let router = resuming(&first, &second).start();
    let all = router.stream(&chat_streamed("m")).expect(200).rest();
    assert_eq!(stream::text(&all), "Hello world, and good bye");
    assert!(!all.iter().any(stream::Event::is_error), "{all:?}");
    let done = all.iter().filter(|event| event.is_done()).count();
    let ends = all.iter().filter(|event| event.json()["choices"][0]["finish_reason"] == "stop").count();
    let roles = all.iter().filter(|event| event.json()["choices"][0]["delta"]["role"].is_string()).count();
    assert_eq!((done, ends, roles), (1, 1, 1), "{all:?}");
    for event in all.iter().filter(|event| !event.is_done()) {
        let chunk = event.json();
        assert_eq!((&chunk["id"], &chunk["created"]), (&json!("chatcmpl-1"), &json!(1700000000)));
        assert_eq!((&chunk["model"], chunk["usage"].is_object()), (&json!("m"), false));
    }
    let line = line_of(&router);
    assert_eq!((&line["resumed"], &line["ended"]), (&json!("whole"), &json!("complete")));
    assert_eq!(line["credential"], "two");
    let reasons: Vec<_> = line["attempts"].as_array().unwrap().iter().map(|a| a["reason"].clone()).collect();
    assert_eq!(reasons, ["truncated", "ok"]);
    let resumed = router.metric("auto_ai_router_resumed_total", &[("outcome", "whole")]);
    assert_eq!(resumed, Some(1.0));
}

#[test]
fn each_credential_is_charged_for_what_it_did() {
    let first = Upstream::always(broken(&["Hel", "lo wo"]));
    let second = Upstream::always(others(&["Hello world"]));
    let router = resuming(&first, &second).start();
    let mut body = chat_streamed("m");
    body["stream_options"] = json!({"include_usage": true});
    let all = router.stream(&body).expect(200).rest();
    let usages: Vec<_> = all.iter().map(|e| e.json()["usage"].clone()).filter(Value::is_object).collect();
    assert_eq!(usages.len(), 1, "{all:?}");
    assert_eq!(usages[0]["total_tokens"], 12);
    router.settles("two", 12);
    let spent = |name| {
        router
            .metric("auto_ai_router_tokens_total", &[("type", "output"), ("credential", name)])
            .unwrap_or(0.0)
    };
    until("both are counted", || spent("one") > 0.0 && spent("two") == 5.0);
    assert!(router.health_of("one")["current_tpm"].as_u64().unwrap() > 0);
}

#[test]
fn a_stream_that_stalls_or_reports_an_error_is_gone_on_with() {
    let error =
        frame(&json!({"error": {"message": "overloaded", "type": "server_error", "code": "overloaded"}}));
    let begun = || respond(200).open_sse([role("m"), word("m", "Hello")]);
    for end in [begun().hang(), begun().chunk(error.as_bytes()).close(), begun().reset()] {
        let first = Upstream::always(end);
        let second = Upstream::always(others(&["Hello", " world"]));
        let router = resuming(&first, &second).routing("stall_timeout: 1s").start();
        let all = router.stream(&chat_streamed("m")).expect(200).rest();
        assert_eq!(stream::text(&all), "Hello world");
        assert!(all.last().unwrap().is_done() && !all.iter().any(stream::Event::is_error), "{all:?}");
    }
}

#[test]
fn an_answer_that_differs_is_given_up_and_the_client_is_told_of_the_break() {
    let first = Upstream::always(broken(&["Hello world"]));
    for words in [&["Hello you", " there"][..], &["Hel"], &["hello world"]] {
        let second = Upstream::always(others(words));
        let router = resuming(&first, &second).start();
        let mut events = router.stream(&chat_streamed("m")).expect(200);
        let all = events.rest();
        assert_eq!((stream::text(&all).as_str(), events.end()), ("Hello world", End::Clean));
        let last = all.last().unwrap();
        assert!(last.is_error() && !all.iter().any(stream::Event::is_done), "{all:?}");
        assert!(last.json()["error"]["message"].as_str().unwrap().contains("broke off"), "{last:?}");
        let line = line_of(&router);
        assert_eq!((&line["resumed"], &line["ended"]), (&json!("given_up"), &json!("truncated")));
    }
}

#[test]
fn the_next_candidate_is_asked_where_one_differs_or_breaks_off_again() {
    let first = Upstream::always(broken(&["Hello "]));
    let second = Upstream::always(broken(&["Hello wor"]));
    let third = Upstream::always(others(&["Goodbye"]));
    let fourth = Upstream::always(others(&["Hello world."]));
    let config = resuming(&first, &second).credential("three", &third.url(), "priority: 2").credential(
        "four",
        &fourth.url(),
        "priority: 3",
    );
    let router = config.start();
    let all = router.stream(&chat_streamed("m")).expect(200).rest();
    assert_eq!(stream::text(&all), "Hello world.");
    assert!(all.last().unwrap().is_done());
    let reasons: Vec<_> =
        line_of(&router)["attempts"].as_array().unwrap().iter().map(|a| a["reason"].clone()).collect();
    assert_eq!(reasons, ["truncated", "truncated", "diverged", "ok"]);
}

#[test]
fn errors_of_those_who_were_to_go_on_are_not_the_clients() {
    let first = Upstream::always(broken(&["Hello"]));
    for refusal in [400, 401, 500] {
        let second = Upstream::always(respond(refusal).error("nothing of this is told", "x", None));
        let router = resuming(&first, &second).start();
        let mut events = router.stream(&chat_streamed("m")).expect(200);
        let all = events.rest();
        assert!(all.last().unwrap().is_error() && events.end() == End::Clean, "{all:?}");
        assert!(!String::from_utf8_lossy(&events.bytes).contains("nothing of this"), "{all:?}");
        assert_eq!(line_of(&router)["ended"], "truncated");
    }
}

#[test]
fn a_lone_candidate_may_go_on_with_itself() {
    let upstream = Upstream::queue([broken(&["Hello"]), others(&["Hello", " again"])]);
    let router = Config::single(&upstream.url()).routing("resume: verify").start();
    let all = router.stream(&chat_streamed("m")).expect(200).rest();
    assert_eq!(stream::text(&all), "Hello again");
    assert!(all.last().unwrap().is_done());
}

#[test]
fn what_is_no_plain_text_is_not_gone_on_with() {
    let call = json!({"tool_calls": [{"index": 0, "id": "c", "type": "function", "function": {"name": "f", "arguments": "{"}}]});
    let begun = |delta: Value| {
        respond(200).open_sse([role("m"), word("m", "Hello"), chunk("m", delta, None)]).close()
    };
    for delta in [call, json!({"refusal": "no"}), json!({"reasoning_content": "hm"})] {
        let first = Upstream::always(begun(delta.clone()));
        let second = Upstream::healthy();
        let router = resuming(&first, &second).start();
        let all = router.stream(&chat_streamed("m")).expect(200).rest();
        assert!(all.last().unwrap().is_error(), "{delta}: {all:?}");
        assert_eq!(second.count(), 0, "{delta}");
    }
    for (name, value) in
        [("n", json!(2)), ("logprobs", json!(true)), ("modalities", json!(["text", "audio"]))]
    {
        let first = Upstream::always(broken(&["Hello"]));
        let second = Upstream::healthy();
        let router = resuming(&first, &second).start();
        let mut body = chat_streamed("m");
        body[name] = value;
        let all = router.stream(&body).expect(200).rest();
        assert!(all.last().unwrap().is_error(), "{name}: {all:?}");
        assert_eq!(second.count(), 0, "{name}");
    }
}

#[test]
fn without_the_setting_a_broken_stream_ends_with_its_error() {
    let first = Upstream::always(broken(&["Hello"]));
    let second = Upstream::healthy();
    let config = Config::new().credential("one", &first.url(), "");
    let router = config.credential("two", &second.url(), "priority: 1").start();
    let all = router.stream(&chat_streamed("m")).expect(200).rest();
    assert!(all.last().unwrap().is_error());
    assert_eq!(second.count(), 0);
    assert_eq!(line_of(&router)["resumed"], Value::Null);
}

fn named(name: &str, data: &Value) -> String {
    format!("event: {name}\ndata: {data}\n\n")
}

fn delta(index: u32, text: &str) -> String {
    let delta = json!({"type": "text_delta", "text": text});
    named("content_block_delta", &json!({"type": "content_block_delta", "index": index, "delta": delta}))
}

/// A stream of Anthropic's up to its first text; `thought` comes before that.
fn begins(id: &str, thought: bool) -> Vec<String> {
    let message = json!({"id": id, "type": "message", "role": "assistant", "model": "claude", "content": [],
        "stop_reason": null, "stop_sequence": null, "usage": {"input_tokens": 7, "output_tokens": 1}});
    let mut frames = vec![named("message_start", &json!({"type": "message_start", "message": message}))];
    let block = |index: u32, block: Value| {
        named(
            "content_block_start",
            &json!({"type": "content_block_start", "index": index, "content_block": block}),
        )
    };
    if thought {
        frames.push(block(0, json!({"type": "thinking", "thinking": "", "signature": ""})));
        for delta in [
            json!({"type": "thinking_delta", "thinking": "hm"}),
            json!({"type": "signature_delta", "signature": "s"}),
        ] {
            frames.push(named(
                "content_block_delta",
                &json!({"type": "content_block_delta", "index": 0, "delta": delta}),
            ));
        }
        frames.push(named("content_block_stop", &json!({"type": "content_block_stop", "index": 0})));
    }
    frames.push(block(thought.into(), json!({"type": "text", "text": ""})));
    frames
}

fn ends(index: u32) -> Vec<String> {
    let end = json!({"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": null}, "usage": {"output_tokens": 5}});
    vec![
        named("content_block_stop", &json!({"type": "content_block_stop", "index": index})),
        named("message_delta", &end),
        named("message_stop", &json!({"type": "message_stop"})),
    ]
}

fn whole_message(words: &[&str]) -> Reply {
    let text = words.iter().map(|text| delta(0, text));
    respond(200).sse(begins("msg_other", false).into_iter().chain(text).chain(ends(0)))
}

fn claudes(first: &Upstream, second: &Upstream, model: &str, capabilities: &str) -> Router {
    let key = "api_key: sk-ant-0123456789";
    Config::new()
        .never_bans()
        .routing("resume: verify")
        .keyless("anthropic", "one", &first.url(), key)
        .keyless("anthropic", "two", &second.url(), &format!("{key}\npriority: 1"))
        .model(&format!("name: {model}\n{capabilities}"))
        .start()
}

fn message(model: &str) -> Request {
    let messages = json!([{"role": "user", "content": "Say hello."}]);
    let body = json!({"model": model, "stream": true, "max_tokens": 100, "messages": messages});
    Request::post("/v1/messages").header("anthropic-version", "2023-06-01").json(&body)
}

fn said(events: &[stream::Event]) -> String {
    events.iter().map(|e| e.json()["delta"]["text"].as_str().unwrap_or_default().to_owned()).collect()
}

#[test]
fn an_anthropic_stream_goes_on_in_its_block() {
    for thought in [false, true] {
        let index = u32::from(thought);
        let frames = begins("msg_1", thought).into_iter().chain([delta(index, "Hel"), delta(index, "lo")]);
        let first = Upstream::always(respond(200).open_sse(frames).close());
        let second = Upstream::always(whole_message(&["Hello", " world"]));
        let router = claudes(&first, &second, "claude-opus-5-5", "");
        let all = message("claude-opus-5-5").stream(&router).expect(200).rest();
        assert_eq!(said(&all), "Hello world", "{all:?}");
        let kinds: Vec<_> =
            all.iter().map(|event| event.json()["type"].as_str().unwrap().to_owned()).collect();
        let count = |kind: &str| kinds.iter().filter(|seen| *seen == kind).count();
        assert_eq!((count("message_start"), count("message_stop"), count("error")), (1, 1, 0), "{kinds:?}");
        assert_eq!(count("content_block_start"), count("content_block_stop"), "{kinds:?}");
        let last = all.iter().rfind(|event| event.json()["type"] == "content_block_delta").unwrap().json();
        assert_eq!(last["index"], index);
        assert_eq!(
            all[kinds.iter().position(|kind| kind == "message_delta").unwrap()].json()["usage"]
                ["output_tokens"],
            5
        );
    }
}

#[test]
fn an_anthropic_stream_that_breaks_off_in_a_thought_or_after_a_block_is_not_gone_on_with() {
    let thinking = begins("msg_1", true)[..3].to_vec();
    let closed = begins("msg_1", false).into_iter().chain([delta(0, "Hello"), ends(0)[0].clone()]).collect();
    for frames in [thinking, closed] {
        let first = Upstream::always(respond(200).open_sse(frames).close());
        let second = Upstream::always(whole_message(&["Hello"]));
        let router = claudes(&first, &second, "claude-opus-5-5", "");
        let all = message("claude-opus-5-5").stream(&router).expect(200).rest();
        assert_eq!(all.last().unwrap().json()["type"], "error", "{all:?}");
        assert_eq!(second.count(), 0);
    }
}

#[test]
fn a_stream_goes_on_in_another_dialect() {
    let first = Upstream::always(broken(&["Hello"]));
    let second = Upstream::always(whole_message(&["Hello", " from afar"]));
    let router = Config::new()
        .never_bans()
        .routing("resume: verify")
        .credential("one", &first.url(), "")
        .keyless("anthropic", "two", &second.url(), "api_key: sk-ant-0123456789\npriority: 1")
        .start();
    let all = router.stream(&chat_streamed("m")).expect(200).rest();
    assert_eq!(stream::text(&all), "Hello from afar");
    assert!(all.iter().filter(|e| !e.is_done()).all(|e| e.json()["id"] == "chatcmpl-1"), "{all:?}");
}

#[test]
fn a_model_that_goes_on_by_itself_is_shown_the_text() {
    let frames = begins("msg_1", false).into_iter().chain([delta(0, "Hello ")]);
    let first = Upstream::always(respond(200).open_sse(frames).close());
    let second = Upstream::always(whole_message(&[" world", " again"]));
    let router = claudes(&first, &second, "claude-sonnet-4-5", "capabilities: [prefill]");
    let all = message("claude-sonnet-4-5").stream(&router).expect(200).rest();
    assert_eq!(said(&all), "Hello world again", "{all:?}");
    let asked = second.only().json()["messages"].as_array().unwrap().last().unwrap().clone();
    assert_eq!((&asked["role"], &asked["content"][0]["text"]), (&json!("assistant"), &json!("Hello")));
    // A generation that refuses it is asked for the whole again, whatever the file says.
    let second = Upstream::always(whole_message(&["Hello world"]));
    let router = claudes(&first, &second, "claude-opus-5-5", "capabilities: [prefill]");
    assert_eq!(said(&message("claude-opus-5-5").stream(&router).expect(200).rest()), "Hello world");
    assert_eq!(second.only().json()["messages"].as_array().unwrap().len(), 1);
}

#[test]
fn a_host_that_takes_a_prefix_may_say_it_again_or_not() {
    for words in [&["Hello", " world"][..], &[" world"], &["Hel", "lo wor", "ld"]] {
        let first = Upstream::always(broken(&["Hello"]));
        let second = Upstream::always(others(words));
        let router = Config::new()
            .never_bans()
            .routing("resume: verify")
            .credential("one", &first.url(), "")
            .keyless("mistral", "two", &second.url(), "api_key: k-0123456789\npriority: 1")
            .model("name: m\ncapabilities: [prefill]")
            .start();
        let all = router.stream(&chat_streamed("m")).expect(200).rest();
        assert_eq!(stream::text(&all), "Hello world", "{words:?}");
        let asked = second.only().json()["messages"][1].clone();
        assert_eq!(asked, json!({"role": "assistant", "content": "Hello", "prefix": true}));
    }
}

#[test]
fn a_refused_prefill_moves_on_and_strikes_nobody() {
    let frames = begins("msg_1", false).into_iter().chain([delta(0, "Hello")]);
    let first = Upstream::always(respond(200).open_sse(frames).close());
    let refusal =
        json!({"type": "error", "error": {"type": "invalid_request_error", "message": "no prefill"}});
    let second = Upstream::always(respond(400).json(&refusal));
    let third = Upstream::always(whole_message(&[" world"]));
    let key = "api_key: sk-ant-0123456789";
    let router = Config::new()
        .fail2ban("max_attempts: 1\nerror_codes: [400]")
        .routing("resume: verify")
        .keyless("anthropic", "one", &first.url(), key)
        .keyless("anthropic", "two", &second.url(), &format!("{key}\npriority: 1"))
        .keyless("anthropic", "three", &third.url(), &format!("{key}\npriority: 2"))
        .model("name: claude-sonnet-4-5\ncapabilities: [prefill]")
        .start();
    let all = message("claude-sonnet-4-5").stream(&router).expect(200).rest();
    assert_eq!(said(&all), "Hello world", "{all:?}");
    assert_eq!(router.health_of("two")["is_banned"], false, "{}", router.health_of("two"));
}
