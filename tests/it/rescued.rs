//! Streams of OpenAI's other two dialects that are gone on with, and who pays for a stream that two have told.

use serde_json::{json, Value};

use crate::support::*;

fn older(id: &str, text: &str, finish: Option<&str>) -> String {
    frame(&json!({"id": id, "object": "text_completion", "created": 17, "model": "m",
        "choices": [{"text": text, "index": 0, "logprobs": null, "finish_reason": finish}]}))
}

#[test]
fn an_older_completion_is_gone_on_with() {
    let first = Upstream::always(
        respond(200).open_sse([older("cmpl-1", "Hel", None), older("cmpl-1", "lo", None)]).close(),
    );
    let usage = json!({"id": "cmpl-2", "object": "text_completion", "created": 18, "model": "m", "choices": [],
        "usage": {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}});
    let again = [
        older("cmpl-2", "Hello world", None),
        older("cmpl-2", "", Some("stop")),
        frame(&usage),
        DONE.to_owned(),
    ];
    let second = Upstream::always(respond(200).sse(again));
    let router = resuming(&first, &second).start();
    let body = json!({"model": "m", "prompt": "Say hello.", "stream": true});
    let all = Request::post("/v1/completions").json(&body).stream(&router).expect(200).rest();
    let (done, chunks): (Vec<_>, Vec<_>) = all.iter().partition(|event| event.is_done());
    let texts: String = chunks
        .iter()
        .map(|chunk| chunk.json()["choices"][0]["text"].as_str().unwrap_or_default().to_owned())
        .collect();
    assert_eq!((texts.as_str(), done.len()), ("Hello world", 1), "{all:?}");
    assert!(
        chunks.iter().all(|chunk| chunk.json()["id"] == "cmpl-1" && chunk.json()["created"] == 17),
        "{all:?}"
    );
    assert_eq!(chunks.last().unwrap().json()["choices"][0]["finish_reason"], "stop");
    assert_eq!(second.only().path, "/v1/completions");
    router.settles("two", 12);
}

/// The events of a response up to the end of its text, which comes in these words.
fn begins(id: &str, words: &[&str]) -> Vec<Value> {
    let response = json!({"id": format!("resp_{id}"), "object": "response", "created_at": 17, "model": "m",
        "status": "in_progress", "output": []});
    let item = json!({"id": format!("msg_{id}"), "type": "message", "role": "assistant", "status": "in_progress", "content": []});
    let part = json!({"type": "output_text", "text": "", "annotations": []});
    let place = json!({"output_index": 0, "item_id": format!("msg_{id}"), "content_index": 0});
    let at = |kind: &str, more: Value| {
        let mut event = place.clone();
        event["type"] = json!(kind);
        more.as_object().unwrap().iter().for_each(|(key, value)| event[key] = value.clone());
        event
    };
    let mut events = vec![
        json!({"type": "response.created", "response": response}),
        json!({"type": "response.in_progress", "response": response}),
        json!({"type": "response.output_item.added", "output_index": 0, "item": item}),
        at("response.content_part.added", json!({"part": part})),
    ];
    events.extend(
        words.iter().map(|word| at("response.output_text.delta", json!({"delta": word, "logprobs": []}))),
    );
    events
}

fn numbered(events: Vec<Value>) -> Vec<String> {
    let frame = |(number, mut event): (usize, Value)| {
        event["sequence_number"] = json!(number);
        format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap())
    };
    events.into_iter().enumerate().map(frame).collect()
}

/// The same from another host, to its end; what lies between is left out.
fn whole(words: &[&str]) -> Reply {
    let mut events = begins("other", words);
    let usage = json!({"input_tokens": 7, "output_tokens": 5, "total_tokens": 12});
    events.push(json!({"type": "response.completed", "response": {"id": "resp_other", "status": "completed", "usage": usage}}));
    respond(200).sse(numbered(events))
}

fn question(more: Value) -> Request {
    let mut body = json!({"model": "m", "input": "Say hello.", "stream": true, "store": false});
    more.as_object().unwrap().iter().for_each(|(key, value)| body[key] = value.clone());
    Request::post("/v1/responses").json(&body)
}

#[test]
fn a_response_is_gone_on_with_as_one() {
    let first = Upstream::always(respond(200).open_sse(numbered(begins("1", &["Hel", "lo"]))).close());
    let second = Upstream::always(whole(&["Hello wor", "ld"]));
    let router = resuming(&first, &second).start();
    let events: Vec<Value> =
        question(json!({})).stream(&router).expect(200).rest().iter().map(stream::Event::json).collect();
    let numbers: Vec<_> = events.iter().map(|event| event["sequence_number"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (0..events.len() as u64).collect::<Vec<_>>(), "{events:#?}");
    let kinds: Vec<_> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
    let delta = "response.output_text.delta";
    assert_eq!(kinds[4..8], [delta; 4], "{kinds:?}");
    assert_eq!(
        kinds[8..],
        [
            "response.output_text.done",
            "response.content_part.done",
            "response.output_item.done",
            "response.completed"
        ]
    );
    let texts: String = events.iter().filter_map(|event| event["delta"].as_str()).collect();
    assert_eq!(texts, "Hello world");
    let told = events.iter().filter(|event| !event["item_id"].is_null());
    assert!(
        told.into_iter().all(|event| event["item_id"] == "msg_1" && event["output_index"] == 0),
        "{events:#?}"
    );
    let last = &events.last().unwrap()["response"];
    assert_eq!(
        (&last["id"], &last["created_at"], &last["status"]),
        (&json!("resp_1"), &json!(17), &json!("completed"))
    );
    assert_eq!(last["output"][0]["id"], "msg_1");
    assert_eq!(last["output"][0]["content"][0]["text"], "Hello world");
    assert_eq!(last["usage"]["total_tokens"], 12);
    router.settles("two", 12);
}

#[test]
fn a_response_goes_on_in_another_dialect() {
    let first = Upstream::always(respond(200).open_sse(numbered(begins("1", &["Hello"]))).close());
    let message = json!({"id": "msg_x", "type": "message", "role": "assistant", "model": "claude", "content": [],
        "stop_reason": null, "usage": {"input_tokens": 7, "output_tokens": 1}});
    let named = |data: Value| format!("event: {}\ndata: {data}\n\n", data["type"].as_str().unwrap());
    let second = Upstream::always(respond(200).sse([
        named(json!({"type": "message_start", "message": message})),
        named(json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}})),
        named(json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hello from afar"}})),
        named(json!({"type": "content_block_stop", "index": 0})),
        named(json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 5}})),
        named(json!({"type": "message_stop"})),
    ]));
    let router = Config::new()
        .never_bans()
        .routing("resume: verify")
        .credential("one", &first.url(), "")
        .keyless("anthropic", "two", &second.url(), "api_key: sk-ant-0123456789\npriority: 1")
        .start();
    let all = question(json!({})).stream(&router).expect(200).rest();
    let last = all.last().unwrap().json();
    assert_eq!(
        (&last["type"], &last["response"]["id"]),
        (&json!("response.completed"), &json!("resp_1")),
        "{all:?}"
    );
    assert_eq!(last["response"]["output"][0]["content"][0]["text"], "Hello from afar");
}

#[test]
fn a_response_that_is_stored_or_has_tools_of_the_host_is_not_gone_on_with() {
    for more in [json!({"store": true}), json!({"store": null}), json!({"tools": [{"type": "web_search"}]})] {
        let first = Upstream::always(respond(200).open_sse(numbered(begins("1", &["Hello"]))).close());
        let second = Upstream::always(whole(&["Hello world"]));
        let router = resuming(&first, &second).start();
        let all = question(more.clone()).stream(&router).expect(200).rest();
        assert_eq!(second.count(), 0, "{more}");
        assert_eq!(all.last().unwrap().json()["type"], "error", "{more}: {all:?}");
    }
}

#[test]
fn each_pays_once_for_a_stream_that_two_have_told() {
    let words: Vec<String> = (0..40).map(|n| format!("word{n} ")).collect();
    let begun: Vec<String> =
        [role("m")].into_iter().chain(words.iter().map(|text| word("m", text))).collect();
    let first = Upstream::always(respond(200).open_sse(begun).close());
    let whole = words.concat() + "end";
    let mut frames = chat_frames("m", &[&whole], false);
    let usage = json!({"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [],
        "usage": {"prompt_tokens": 400, "completion_tokens": 600, "total_tokens": 1000}});
    frames.insert(frames.len() - 1, frame(&usage));
    let second = Upstream::always(respond(200).sse(frames));
    let router = resuming(&first, &second).model("name: m\ntpm: 90000").client("team", "tpm: 50000").start();
    let all = Request::chat(&chat_streamed("m")).by("team").stream(&router).expect(200).rest();
    assert_eq!(stream::text(&all), whole);
    // The second is charged as it reports, and the first, which reported nothing, by what it said.
    router.settles("two", 1000);
    let health = router.health();
    let spent = |path: [&str; 2]| health[path[0]][path[1]]["current_tpm"].as_u64().unwrap();
    let one = spent(["credentials", "one"]);
    assert!((40..400).contains(&one), "{one}");
    assert_eq!((spent(["models", "one:m"]), spent(["models", "two:m"])), (one, 1000));
    // The client pays for the answer that it got, and not for the one that broke off.
    let team = || router.get("/v1/usage").json()["clients"]["team"].clone();
    until("the request is counted", || team()["requests"] == 1);
    let team = team();
    assert_eq!(team["windows"]["minute"]["tokens"]["used"], 1000, "{team}");
    assert_eq!((&team["prompt_tokens"], &team["completion_tokens"]), (&json!(400), &json!(600)), "{team}");
    assert_eq!(team["windows"]["minute"]["requests"]["used"], 1, "{team}");
}
