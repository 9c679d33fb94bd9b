//! The traps that earlier routers fell into, by their number in the list of known faults. What is shown in full
//! elsewhere is shown here in its smallest form, so that each number stands for itself.
//!
//! Traps 9 and 25 are about dialects and picture fetching that this version does not have: what is shown is that
//! nothing of the kind is attempted.

use std::collections::HashSet;

use serde_json::json;

use crate::support::*;

#[test]
fn trap_01_the_old_minimal_configurations_load() {
    crate::command::the_examples_load();
}

#[test]
fn trap_02_health_answers_without_a_configured_path() {
    let upstream = Upstream::healthy();
    let router = Config::single(&upstream.url()).start();
    Request::get("/health").keyless().send(&router).expect(200);
}

#[test]
fn trap_03_a_fallback_proxy_serves_when_primaries_are_at_their_limit() {
    let (main, spare) = (Upstream::healthy(), Upstream::healthy());
    let config = Config::new().credential("main", &main.url(), "rpm: 1");
    let router = config.proxy("spare", &spare.url(), "sk-peer-0123456789", "is_fallback: true").start();
    router.chat(&chat("m")).expect(200);
    router.chat(&chat("m")).expect(200);
    assert_eq!((main.count(), spare.count()), (1, 1));
}

#[test]
fn trap_04_a_proxy_that_is_no_fallback_takes_its_turn() {
    let (main, peer) = (Upstream::healthy(), Upstream::healthy());
    let config = Config::new().credential("main", &main.url(), "");
    let router = config.proxy("peer", &peer.url(), "sk-peer-0123456789", "").start();
    for _ in 0..4 {
        router.chat(&chat("m")).expect(200);
    }
    assert_eq!((main.count(), peer.count()), (2, 2));
}

#[test]
fn trap_05_streams_flow_through_two_instances() {
    let upstream = Upstream::scripted(|call| Reply::chat_stream(call, &["a", "b", "c"]).paced(ms(400)));
    let inner = Config::single(&upstream.url()).start();
    let outer = Config::new().proxy("inner", &inner.url(), MASTER_KEY, "").start();
    let mut events = outer.stream(&chat_streamed("m")).expect(200);
    assert_eq!(events.next_text().unwrap().text(), "a");
    assert!(!upstream.only().finished());
    events.rest();
}

#[test]
fn trap_06_usage_is_counted_once_however_it_is_split_or_repeated() {
    let upstream = Upstream::scripted(|call| {
        let usage = |n: u64| json!({"prompt_tokens": 10, "completion_tokens": n, "total_tokens": 10 + n});
        let part = |n: u64| {
            frame(&json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": call.model(),
                "choices": [{"index": 0, "delta": {"content": "x"}, "finish_reason": null}], "usage": usage(n)}))
        };
        respond(200).sse([part(1), part(2), part(3), stop("m"), DONE.to_string()]).split(5)
    });
    let router = Config::new().credential("a", &upstream.url(), "tpm: 100000").start();
    router.stream(&chat_streamed("m")).expect(200).rest();
    router.settles("a", 13);
}

#[test]
fn trap_07_nobody_gets_a_usage_chunk_unasked() {
    let upstream = Upstream::healthy();
    let router = Config::single(&upstream.url()).start();
    let all = router.stream(&chat_streamed("m")).expect(200).rest();
    assert!(all.iter().all(|e| e.is_done() || e.json()["choices"].as_array().is_some_and(|c| !c.is_empty())));
    assert!(all.iter().all(|e| e.json().get("usage").is_none()));
    assert!(upstream.only().wants_usage());
}

#[test]
fn trap_08_a_body_over_the_limit_is_a_413() {
    let upstream = Upstream::healthy();
    let router = Config::single(&upstream.url()).server("max_body_size_mb: 1").start();
    let body = chat_of_size("m", 1_500_000);
    Request::post("/v1/chat/completions").body("application/json", body).send(&router).expect(413).error();
}

#[test]
fn trap_09_a_tool_result_turn_passes_unchanged() {
    let upstream = Upstream::healthy();
    let router = Config::single(&upstream.url()).start();
    let body = json!({"model": "m", "messages": [
        {"role": "user", "content": "weather?"},
        {"role": "assistant", "content": null, "tool_calls": [{"id": "call_1", "type": "function",
            "function": {"name": "weather", "arguments": "{\"at\":\"here\"}"}}]},
        {"role": "tool", "tool_call_id": "call_1", "content": "sunny"}]});
    router.chat(&body).expect(200);
    assert_eq!(upstream.only().body, body.to_string().into_bytes());
}

#[test]
fn trap_10_a_provider_s_4xx_keeps_status_and_message() {
    let upstream = Upstream::always(respond(422).error(
        "temperature is too hot",
        "invalid_request_error",
        Some("too_hot"),
    ));
    let router = Config::single(&upstream.url()).start();
    let answer = router.chat(&chat("m")).expect(422);
    assert_eq!((answer.message().as_str(), answer.code().as_str()), ("temperature is too hot", "too_hot"));
}

#[test]
fn trap_11_a_stream_ends_with_done() {
    let upstream = Upstream::always(respond(200).sse([role("m"), word("m", "hi"), stop("m")]));
    let router = Config::single(&upstream.url()).start();
    assert!(router.stream(&chat_streamed("m")).expect(200).rest().last().unwrap().is_done());
}

#[test]
fn trap_12_a_storm_of_429s_bans_nobody_for_good_unless_the_file_says_so() {
    let upstream = Upstream::queue((0..3).map(|_| respond(429).error("slow down", "rate_limit_error", None)));
    let router = Config::single(&upstream.url()).start();
    for _ in 0..3 {
        router.chat(&chat("m"));
    }
    let recovered = eventually(secs(40), || {
        std::thread::sleep(ms(200));
        (router.chat(&chat("m")).status == 200).then_some(())
    });
    assert!(recovered.is_some(), "still shut out: {:#}", router.health());
}

#[test]
fn trap_13_a_2xx_other_than_200_resets_failures() {
    let upstream = Upstream::scripted(|call| match call.number % 2 {
        0 => respond(500).error("no", "server_error", None),
        _ => respond(202).json(&reply::chat_body("m", "taken", 1, 1)),
    });
    let router = Config::single(&upstream.url()).fail2ban("max_attempts: 2\nban_duration: permanent").start();
    for _ in 0..6 {
        router.chat(&chat("m")).expect(202);
    }
}

#[test]
fn trap_14_large_usage_costs_nothing_to_keep() {
    let upstream = Upstream::scripted(|call| Reply::chat_using(&call.model(), "x", 900_000, 100_000));
    let router = Config::new().credential("a", &upstream.url(), "tpm: -1").start();
    router.chat(&chat("m")).expect(200);
    let before = router.resident_kib();
    for _ in 0..50 {
        router.chat(&chat("m")).expect(200);
    }
    router.settles("a", 51_000_000);
    assert!(router.resident_kib().saturating_sub(before) < 4096);
}

#[test]
fn trap_15_a_keyless_proxy_is_answered_honestly() {
    let peer = Upstream::always(respond(401).error("no key", "auth", None));
    let router = Config::new().keyless("proxy", "peer", &peer.url(), "").start();
    let answer = router.chat(&chat("m"));
    assert!(matches!(answer.status, 502 | 503), "{}", answer.text());
    assert_eq!(peer.calls()[0].header("authorization"), None);
}

#[test]
fn trap_16_a_loop_is_stopped() {
    let port = router::free_port();
    let front = Config::new().proxy("back", &format!("http://127.0.0.1:{}", port), MASTER_KEY, "").start();
    let _back = Config::new().proxy("front", &front.url(), MASTER_KEY, "").start_on(port);
    front.chat(&chat("m")).expect(508);
}

#[test]
fn trap_17_an_unknown_model_is_a_404() {
    let upstream = Upstream::healthy();
    let router = Config::single(&upstream.url()).model("name: known").start();
    assert_eq!(router.chat(&chat("unknown")).expect(404).code(), "model_not_found");
}

#[test]
fn trap_18_a_stream_s_429_is_tried_elsewhere() {
    let upstream = Upstream::queue([respond(429).error("slow down", "rate_limit_error", None)]);
    let router = Config::pool(&["a", "b"], &upstream.url()).start();
    assert_eq!(stream::text(&router.stream(&chat_streamed("m")).expect(200).rest()), "Hello there");
}

#[test]
fn trap_19_a_client_s_400_is_not_replayed() {
    let upstream = Upstream::always(respond(400).error("no", "invalid_request_error", None));
    let router = Config::pool(&["a", "b", "c"], &upstream.url()).start();
    router.chat(&chat("m")).expect(400);
    assert_eq!(upstream.count(), 1);
}

#[test]
fn trap_20_keys_are_never_shown() {
    let upstream = Upstream::healthy();
    let router = Config::single(&upstream.url()).server("logging_level: debug").start();
    router.chat(&chat("m")).expect(200);
    let shown = ["/health", "/vhealth", "/metrics"].map(|path| router.get(path).text()).concat();
    let shown = shown + &router.stdout() + &router.stderr();
    assert!(!shown.contains(&key_of("a")) && !shown.contains(MASTER_KEY));
}

#[test]
fn trap_21_a_model_id_may_have_slashes() {
    let upstream = Upstream::healthy().lists(&["meta/llama:free"]);
    let router = Config::single(&upstream.url()).start();
    until("it is found", || router.get("/v1/models/meta/llama:free").status == 200);
    assert_eq!(router.get("/v1/models/meta/llama:free").json()["id"], "meta/llama:free");
}

#[test]
fn trap_22_a_line_may_be_longer_than_64_kib() {
    let long = "z".repeat(200_000);
    let frames = chat_frames("m", &[&long], false);
    let sent = frames.clone();
    let upstream = Upstream::always(respond(200).sse(&sent));
    let router = Config::single(&upstream.url()).start();
    let mut events = router.stream(&chat_streamed("m")).expect(200);
    events.rest();
    assert!(events.bytes == frames.concat().into_bytes());
}

#[test]
fn trap_23_tool_call_ids_pass_as_they_are() {
    let call = |id: Option<&str>, arguments: &str| {
        let mut part = json!({"index": 0, "function": {"arguments": arguments}});
        if let Some(id) = id {
            part = json!({"index": 0, "id": id, "type": "function", "function": {"name": "f", "arguments": arguments}});
        }
        chunk("m", json!({"tool_calls": [part]}), None)
    };
    let frames = [
        role("m"),
        call(Some("call_abc"), ""),
        call(None, "{\"a\""),
        call(None, ":1}"),
        chunk("m", json!({}), Some("tool_calls")),
        DONE.into(),
    ];
    let upstream = Upstream::always(respond(200).sse(&frames).split(17));
    let router = Config::single(&upstream.url()).start();
    let mut events = router.stream(&chat_streamed("m")).expect(200);
    events.rest();
    assert_eq!(String::from_utf8_lossy(&events.bytes), frames.concat());
}

#[test]
fn trap_24_labels_of_metrics_are_bounded() {
    let upstream = Upstream::healthy();
    let router = Config::single(&upstream.url()).start();
    for n in 0..30 {
        router.get(&format!("/v1/things/{n}/parts"));
        router.chat(&chat(&format!("model-{n}")));
    }
    let text = router.get("/metrics").text();
    let endpoints: HashSet<_> =
        text.split("endpoint=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    assert!(endpoints.len() < 12, "{endpoints:?}");
    assert!(!text.contains("/v1/things/7"));
}

#[test]
fn trap_25_pictures_are_not_fetched_by_the_router() {
    let (upstream, inside) = (Upstream::healthy(), Upstream::healthy());
    let router = Config::single(&upstream.url()).start();
    let body = json!({"model": "m", "messages": [{"role": "user", "content": [
        {"type": "image_url", "image_url": {"url": format!("{}/secret.png", inside.url())}}]}]});
    router.chat(&body).expect(200);
    assert_eq!(upstream.only().body, body.to_string().into_bytes());
    assert_eq!(inside.count(), 0);
}

#[test]
fn trap_26_a_get_without_a_body_passes() {
    let upstream = Upstream::healthy();
    let router = Config::single(&upstream.url()).start();
    router.get("/v1/files").expect(200);
    assert_eq!(upstream.only().path, "/v1/files");
}

#[test]
fn trap_27_minus_one_is_a_request_timeout() {
    let upstream = Upstream::healthy();
    let router = Config::single(&upstream.url()).server("request_timeout: -1").start();
    router.chat(&chat("m")).expect(200);
}

#[test]
fn trap_28_turns_are_fair_for_a_model_served_by_some() {
    let upstream = Upstream::healthy();
    let router = Config::pool(&["a", "b", "c"], &upstream.url())
        .model("name: m\ncredential: a")
        .model("name: m\ncredential: c")
        .start();
    for _ in 0..10 {
        router.chat(&chat("m")).expect(200);
    }
    assert_eq!(["a", "b", "c"].map(|name| upstream.calls_of(&key_of(name)).len()), [5, 0, 5]);
}
