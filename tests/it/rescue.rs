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

/// Two providers, the second for when the first is exhausted.
fn pair(first: &Upstream, second: &Upstream) -> Config {
    Config::new()
        .never_bans()
        .routing("resume: verify")
        .credential("one", &first.url(), "tpm: 100000")
        .credential("two", &second.url(), "tpm: 100000\npriority: 1")
}

fn line_of(router: &Router) -> Value {
    eventually(secs(5), || router.chat_log().pop()).expect("a line")
}

#[test]
fn a_stream_that_breaks_off_is_gone_on_with_where_the_texts_agree() {
    let first = Upstream::always(broken(&["Hel", "lo wo"]));
    let second = Upstream::always(others(&["H", "ello world", ", and good", " bye"]));
    let router = pair(&first, &second).start();
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
    let router = pair(&first, &second).start();
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
        let router = pair(&first, &second).routing("stall_timeout: 1s").start();
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
        let router = pair(&first, &second).start();
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
    let config = pair(&first, &second).credential("three", &third.url(), "priority: 2").credential(
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
        let router = pair(&first, &second).start();
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
        let router = pair(&first, &second).start();
        let all = router.stream(&chat_streamed("m")).expect(200).rest();
        assert!(all.last().unwrap().is_error(), "{delta}: {all:?}");
        assert_eq!(second.count(), 0, "{delta}");
    }
    for (name, value) in
        [("n", json!(2)), ("logprobs", json!(true)), ("modalities", json!(["text", "audio"]))]
    {
        let first = Upstream::always(broken(&["Hello"]));
        let second = Upstream::healthy();
        let router = pair(&first, &second).start();
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
