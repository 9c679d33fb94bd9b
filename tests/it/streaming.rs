//! Streams: every chunk at once and unchanged, and never a broken one that looks complete.

use serde_json::{json, Value};

use crate::support::*;

fn asking_for_usage(model: &str) -> Value {
    let mut body = chat_streamed(model);
    body["stream_options"] = json!({"include_usage": true});
    body
}

fn router(upstream: &Upstream) -> Router {
    Config::single(&upstream.url()).start()
}

#[test]
fn every_chunk_arrives_when_it_was_sent() {
    let upstream =
        Upstream::scripted(|call| Reply::chat_stream(call, &["a", "b", "c", "d", "e"]).paced(ms(300)));
    let router = router(&upstream);
    let mut events = router.stream(&chat_streamed("m")).expect(200);
    assert!(events.head.header("content-type").unwrap().starts_with("text/event-stream"));
    let all = events.rest();
    let at: Vec<_> = all.iter().filter(|e| !e.text().is_empty()).map(|e| e.at).collect();
    assert_eq!(at.len(), 5);
    let spread = at[4] - at[0];
    assert!(spread > ms(900), "five words 300 ms apart arrived within {spread:?}");
    assert_eq!(events.end(), End::Clean);
}

#[test]
fn a_stream_whose_client_asked_for_usage_passes_unchanged_at_any_split() {
    let frames = chat_frames("m", &["Grüße", " 👋", " \"quoted\\n\""], true);
    for size in [1, 2, 7, 64, 4096] {
        let sent = frames.clone();
        let upstream = Upstream::always(respond(200).sse(&sent).split(size));
        let router = router(&upstream);
        let mut events = router.stream(&asking_for_usage("m")).expect(200);
        events.rest();
        assert_eq!(String::from_utf8_lossy(&events.bytes), frames.concat(), "split at {size}");
        assert_eq!(upstream.only().json()["stream_options"], json!({"include_usage": true}));
    }
}

#[test]
fn usage_is_asked_for_and_exactly_what_that_adds_is_removed_again() {
    for (size, options) in [(1, None), (5, Some(json!(null))), (100, Some(json!({"include_usage": false})))] {
        let upstream = Upstream::scripted(move |call| Reply::chat_stream(call, &["Hel", "lo"]).split(size));
        let router = Config::new().credential("a", &upstream.url(), "tpm: 100000").start();
        let mut body = chat_streamed("m");
        if let Some(options) = options {
            body["stream_options"] = options;
        }
        let mut events = router.stream(&body).expect(200);
        events.rest();
        let expected = chat_frames("m", &["Hel", "lo"], false).concat();
        assert_eq!(String::from_utf8_lossy(&events.bytes), expected, "split at {size}");
        assert!(upstream.only().wants_usage());
        router.settles("a", 12);
    }
}

#[test]
fn usage_on_a_chunk_with_choices_loses_only_that_member() {
    let last = json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m",
        "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}});
    let upstream = Upstream::always(respond(200).sse([word("m", "hi"), frame(&last), DONE.to_string()]));
    let router = router(&upstream);
    let all = router.stream(&chat_streamed("m")).expect(200).rest();
    let finish =
        all.iter().find(|e| e.json()["choices"][0]["finish_reason"] == "stop").expect("the finish is kept");
    assert_eq!(finish.json().get("usage"), None);
}

#[test]
fn cumulative_usage_on_every_chunk_is_counted_once() {
    let with_usage = |text: &str, n: u64| {
        frame(&json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m",
            "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": null}],
            "usage": {"prompt_tokens": 10, "completion_tokens": n, "total_tokens": 10 + n}}))
    };
    let frames = [with_usage("a", 1), with_usage("b", 2), with_usage("c", 3), stop("m"), DONE.to_string()];
    let upstream = Upstream::always(respond(200).sse(&frames).split(11));
    let router = Config::new().credential("a", &upstream.url(), "tpm: 100000").start();
    router.stream(&asking_for_usage("m")).expect(200).rest();
    router.settles("a", 13);
}

#[test]
fn comments_of_the_upstream_pass_and_hold_back_nothing() {
    let frames = [word("m", "a"), ": keep-alive\n\n".into(), word("m", "b"), stop("m"), DONE.into()];
    let upstream = Upstream::always(respond(200).sse(&frames));
    let router = router(&upstream);
    let mut events = router.stream(&asking_for_usage("m")).expect(200);
    events.rest();
    assert_eq!(String::from_utf8_lossy(&events.bytes), frames.concat());
}

#[test]
fn long_silences_are_filled_with_comments() {
    let upstream = Upstream::scripted(|call| {
        let model = call.model();
        let reply = respond(200).open_sse([role(&model), word(&model, "a")]).pause(secs(20));
        let reply = reply.chunk(word(&model, "b").as_bytes()).chunk(stop(&model).as_bytes());
        reply.chunk(DONE.as_bytes()).send("0\r\n\r\n")
    });
    let router = router(&upstream);
    let all = router.stream(&chat_streamed("m")).expect(200).rest();
    assert_eq!(stream::text(&all), "ab");
    assert!(all.iter().any(|e| e.raw.starts_with(':')), "twenty silent seconds: {all:?}");
    assert!(all.last().unwrap().is_done());
}

#[test]
fn crlf_line_ends_are_understood_and_kept() {
    let text = chat_frames("m", &["Hel", "lo"], true).concat().replace('\n', "\r\n");
    let upstream = Upstream::always(respond(200).sse([&text]).split(9));
    let router = router(&upstream);
    let mut events = router.stream(&asking_for_usage("m")).expect(200);
    events.rest();
    assert_eq!(String::from_utf8_lossy(&events.bytes), text);
}

#[test]
fn a_finished_stream_without_done_gets_it() {
    let frames = [role("m"), word("m", "hi"), stop("m")];
    for end in [respond(200).sse(&frames), respond(200).open_sse(&frames).close()] {
        let upstream = Upstream::always(end);
        let router = router(&upstream);
        let mut events = router.stream(&asking_for_usage("m")).expect(200);
        let all = events.rest();
        assert!(all.last().unwrap().is_done() && !all.iter().any(stream::Event::is_error));
        assert_eq!((stream::text(&all).as_str(), events.end()), ("hi", End::Clean));
    }
}

#[test]
fn a_stream_that_ends_unfinished_ends_with_an_error_and_without_done() {
    let frames = [role("m"), word("m", "Hel"), word("m", "lo")];
    let ends = [
        respond(200).sse(&frames),
        respond(200).open_sse(&frames).close(),
        respond(200).open_sse(&frames).reset(),
        respond(200).open_sse(&frames).send("40\r\ndata: {\"cho").close(),
        respond(200).open_sse(&frames).send("zzz\r\n").close(),
    ];
    for (n, end) in ends.into_iter().enumerate() {
        let upstream = Upstream::always(end);
        let router = router(&upstream);
        let all = router.stream(&chat_streamed("m")).expect(200).rest();
        assert_eq!(stream::text(&all), "Hello", "case {n}");
        let last = all.last().unwrap();
        assert!(last.is_error(), "case {n}: {:?}", last.raw);
        assert!(!all.iter().any(stream::Event::is_done), "case {n} looks complete");
        for member in ["message", "type", "code"] {
            assert!(last.json()["error"][member].is_string(), "case {n}: no {member} in {:?}", last.raw);
        }
        assert_eq!(upstream.count(), 1, "case {n}: a stream that began is not sent again");
    }
}

#[test]
fn a_stream_that_stalls_ends_with_an_error() {
    let upstream = Upstream::always(respond(200).open_sse([role("m"), word("m", "Hel")]).hang());
    let router = Config::single(&upstream.url()).routing("stall_timeout: 1s").start();
    let all = router.stream(&chat_streamed("m")).expect(200).rest();
    assert!(all.last().unwrap().is_error(), "{all:?}");
    assert!(!all.iter().any(stream::Event::is_done));
    until("the stalled call is ended", || upstream.only().gone().is_some());
}

#[test]
fn an_error_in_the_middle_of_a_stream_is_passed_on_and_nothing_after_it() {
    let error = frame(
        &json!({"error": {"message": "overloaded", "type": "server_error", "param": null, "code": "overloaded"}}),
    );
    let upstream = Upstream::always(respond(200).sse([role("m"), word("m", "Hel"), error, DONE.to_string()]));
    let router = router(&upstream);
    let all = router.stream(&chat_streamed("m")).expect(200).rest();
    let last = all.iter().find(|e| e.is_error()).expect("the error is seen");
    assert!(last.json()["error"]["message"].as_str().unwrap().contains("overloaded"));
    assert!(!all.iter().any(stream::Event::is_done), "a failed stream looks complete");
}

#[test]
fn a_frame_that_is_no_json_is_dropped_and_counted() {
    let bad = ["data: {\"choices\": [oops\n\n", "data:\n\n", "data: hello\n\n"];
    let mut frames = vec![role("m"), word("m", "Hel")];
    frames.extend(bad.map(str::to_string));
    frames.extend([word("m", "lo"), stop("m"), DONE.to_string()]);
    let upstream = Upstream::always(respond(200).sse(&frames));
    let router = router(&upstream);
    let all = router.stream(&chat_streamed("m")).expect(200).rest();
    assert_eq!(stream::text(&all), "Hello");
    assert!(all.iter().all(|e| e.is_done() || e.json().is_object()), "a bad frame came through: {all:?}");
    assert!(all.last().unwrap().is_done());
    let dropped = || router.metric("auto_ai_router_stream_frames_dropped_total", &[]);
    until("they are counted", || dropped() >= Some(2.0));
}

#[test]
fn a_frame_of_half_a_megabyte_passes() {
    let long = "x".repeat(500_000);
    let frames = chat_frames("m", &[&long, "end"], true);
    let sent = frames.clone();
    let upstream = Upstream::always(respond(200).sse(&sent));
    let router = router(&upstream);
    let mut events = router.stream(&asking_for_usage("m")).expect(200);
    events.rest();
    assert!(events.bytes == frames.concat().into_bytes());
}

#[test]
fn the_200_waits_for_the_first_output() {
    let reply = respond(200).open_sse([role("m")]).pause(ms(800)).chunk(word("m", "hi").as_bytes());
    let reply = reply.chunk(stop("m").as_bytes()).chunk(DONE.as_bytes()).send("0\r\n\r\n");
    let upstream = Upstream::always(reply);
    let router = router(&upstream);
    let start = std::time::Instant::now();
    let mut events = router.stream(&chat_streamed("m")).expect(200);
    assert!(events.head_at - start > ms(600), "the head came {:?} after the request", events.head_at - start);
    let all = events.rest();
    assert_eq!(all[0].json()["choices"][0]["delta"]["role"], "assistant", "what waited comes first");
    assert_eq!(stream::text(&all), "hi");
}

#[test]
fn every_kind_of_output_opens_the_stream() {
    let outputs = [
        json!({"reasoning_content": "hm"}),
        json!({"refusal": "no"}),
        json!({"tool_calls": [{"index": 0, "id": "call_1", "type": "function", "function": {"name": "f", "arguments": ""}}]}),
    ];
    for delta in outputs {
        let first = chunk("m", delta.clone(), None);
        let reply = respond(200).open_sse([role("m"), first]).hang();
        let upstream = Upstream::always(reply);
        let router = router(&upstream);
        let mut events = router.stream(&chat_streamed("m")).expect(200);
        events.patience(secs(5));
        assert!(events.next().is_some() && events.next().is_some(), "{delta} did not open the stream");
    }
}

#[test]
fn a_slow_reader_slows_its_upstream_and_costs_bounded_memory() {
    let text = "y".repeat(16 * 1024);
    let words: Vec<&str> = std::iter::repeat_n(text.as_str(), 4000).collect();
    let frames = chat_frames("m", &words, false);
    let upstream = Upstream::always(respond(200).sse(&frames));
    let router = router(&upstream);
    router.chat(&chat("warm"));
    let before = router.resident_kib();
    let mut events = router.stream(&asking_for_usage("m")).expect(200);
    events.next_text();
    std::thread::sleep(ms(1500));
    let call = upstream.last();
    assert!(!call.finished(), "64 MB were taken although the client does not read");
    let grown = router.resident_kib().saturating_sub(before);
    assert!(grown < 24 * 1024, "{grown} KiB are held for one slow reader");
    let all = events.rest();
    assert_eq!(stream::text(&all).len(), 3999 * text.len(), "what waited has come");
}

/// Streams that are in different phases when their client leaves.
fn phases() -> Vec<(&'static str, Reply)> {
    vec![
        ("before the head", Reply::silence()),
        ("before the first output", respond(200).open_sse([role("m")]).hang()),
        ("in the middle", respond(200).open_sse([role("m"), word("m", "hi")]).hang()),
    ]
}

#[test]
fn a_client_that_leaves_ends_the_upstream_call_in_every_phase() {
    for (phase, reply) in phases() {
        for body in [chat("m"), chat_streamed("m")] {
            let upstream = Upstream::always(reply.clone());
            let router = router(&upstream);
            let mut conn = Conn::open(router.address());
            conn.write(&Request::chat(&body).bytes(&router));
            let call = upstream.wait_for(0);
            std::thread::sleep(ms(200));
            assert!(call.gone().is_none(), "{phase}: ended before the client left");
            let left = std::time::Instant::now();
            drop(conn);
            let gone = eventually(secs(5), || call.gone()).unwrap_or_else(|| panic!("{phase}: goes on"));
            assert!(gone - left < ms(1500), "{phase}: ended {:?} after the client had left", gone - left);
            assert_eq!(upstream.count(), 1, "{phase}: tried again for nobody");
        }
    }
}

/// Run it with `--ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn a_thousand_clients_that_leave_end_their_calls_within_a_tenth_of_a_second() {
    let upstream = Upstream::always(respond(200).open_sse([role("m"), word("m", "hi")]).hang());
    let router = router(&upstream);
    let mut waits: Vec<_> = (0..1000)
        .map(|number| {
            let mut conn = Conn::open(router.address());
            conn.write(&Request::chat(&chat_streamed("m")).bytes(&router));
            let call = upstream.wait_for(number);
            let left = std::time::Instant::now();
            drop(conn);
            eventually(secs(5), || call.gone()).expect("the call ends").saturating_duration_since(left)
        })
        .collect();
    waits.sort();
    println!("median {:?}, p99 {:?}, longest {:?}", waits[500], waits[990], waits[999]);
    assert!(waits[999] <= ms(100));
}

#[test]
fn the_responses_api_streams_unchanged() {
    let event = |name: &str, body: Value| format!("event: {name}\ndata: {body}\n\n");
    let frames = [
        event(
            "response.created",
            json!({"type": "response.created", "sequence_number": 0, "response": {"id": "resp_1"}}),
        ),
        event(
            "response.output_text.delta",
            json!({"type": "response.output_text.delta", "sequence_number": 1,
            "item_id": "i", "output_index": 0, "content_index": 0, "delta": "Hello"}),
        ),
        event(
            "response.completed",
            json!({"type": "response.completed", "sequence_number": 2, "response": {"id": "resp_1",
            "status": "completed", "output": [], "usage": {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5}}}),
        ),
    ];
    let upstream = Upstream::always(respond(200).sse(&frames).split(13));
    let router = Config::new().credential("a", &upstream.url(), "tpm: 100000").start();
    let body = json!({"model": "m", "input": "hi", "stream": true});
    let mut events = Request::post("/v1/responses").json(&body).stream(&router).expect(200);
    events.rest();
    assert_eq!(String::from_utf8_lossy(&events.bytes), frames.concat());
    assert_eq!(upstream.only().json(), body, "stream_options are not for this endpoint");
    router.settles("a", 5);
}

#[test]
fn a_broken_responses_stream_ends_with_an_error_event() {
    let frames = ["event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"sequence_number\":1,\"item_id\":\"i\",\"output_index\":0,\"content_index\":0,\"delta\":\"Hel\"}\n\n"];
    let upstream = Upstream::always(respond(200).open_sse(frames).close());
    let router = router(&upstream);
    let body = json!({"model": "m", "input": "hi", "stream": true});
    let all = Request::post("/v1/responses").json(&body).stream(&router).expect(200).rest();
    let last = all.last().unwrap();
    assert!(last.raw.starts_with("event: error\n"), "{:?}", last.raw);
    assert_eq!(last.json()["type"], "error");
}

#[test]
fn streams_over_http_2_arrive_whole() {
    let upstream = Upstream::scripted(|call| Reply::chat_stream(call, &["Hel", "lo"]).paced(ms(50)));
    let router = router(&upstream);
    let body = chat_streamed("m").to_string();
    let answer = h2c::post(&router, "/v1/chat/completions", body.as_bytes(), 16384, true).expect(200);
    assert_eq!(answer.text(), chat_frames("m", &["Hel", "lo"], false).concat());
}
