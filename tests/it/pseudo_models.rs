//! Names that stand for others, vendors, and what a model can do.

use serde_json::{json, Value};

use crate::support::*;

fn names(router: &Router, path: &str) -> Vec<String> {
    let list = router.get(path).expect(200).json();
    list["data"].as_array().unwrap().iter().map(|m| m["id"].as_str().unwrap().to_string()).collect()
}

/// A provider that calls each model by a dated name of its own.
fn dated(call: &Call) -> Reply {
    let model = format!("{}-2026", call.model());
    match call.wants_stream() {
        true => respond(200).sse(reply::chat_frames(&model, &["Hi"], call.wants_usage())),
        false => Reply::chat(&model, "Hi"),
    }
}

fn listed(upstream: &Upstream) -> Config {
    Config::pool(&["a"], &upstream.url())
        .model("name: small\nrpm: 2")
        .model("name: big")
        .model("name: auto-model\nmodels: [small, big]")
        .model("name: '*'\nmodels: [big]")
        .section("model_aliases: {gpt-4: big, best: auto-model}")
}

#[test]
fn a_list_serves_with_its_first_model_that_has_room_and_answers_by_its_own_name() {
    let upstream = Upstream::scripted(dated);
    let router = listed(&upstream).start();
    let ask = || router.chat(&chat("auto-model")).expect(200);
    let answers: Vec<_> = (0..3).map(|_| ask()).collect();
    let asked: Vec<_> = upstream.calls().iter().map(|call| call.model()).collect();
    assert_eq!(asked, ["small", "small", "big"], "its limit is that of the model");
    for (answer, served) in answers.iter().zip(["small", "small", "big"]) {
        assert_eq!(answer.json()["model"], "auto-model");
        assert_eq!(answer.header("x-model"), Some(served));
    }
}

#[test]
fn every_chunk_of_a_stream_names_the_model_as_it_was_asked_for() {
    let upstream = Upstream::scripted(dated);
    let router = listed(&upstream).start();
    for name in ["gpt-4", "best", "nope | gpt-4", "whatever-9"] {
        for usage in [false, true] {
            let mut body = chat_streamed(name);
            if usage {
                body["stream_options"] = json!({"include_usage": true});
            }
            let events = router.stream(&body).expect(200).rest();
            let chunks: Vec<_> =
                events.iter().filter(|event| !event.is_done()).map(|event| event.json()).collect();
            assert!(chunks.len() >= 3 && chunks.iter().all(|chunk| chunk["model"] == name), "{chunks:?}");
        }
    }
}

#[test]
fn a_model_by_its_own_name_is_answered_byte_for_byte() {
    let upstream = Upstream::scripted(dated);
    let router = listed(&upstream).start();
    let answer = router.chat(&chat("big")).expect(200);
    assert_eq!((answer.json()["model"].as_str(), answer.header("x-model")), (Some("big-2026"), None));
    let echoing = listed(&upstream).server("echo_model: true").start();
    assert_eq!(echoing.chat(&chat("big")).expect(200).json()["model"], "big");
}

#[test]
fn names_that_stand_for_others_are_listed_but_not_the_one_for_all() {
    let upstream = Upstream::healthy();
    let router = listed(&upstream).start();
    assert_eq!(names(&router, "/v1/models"), ["small", "big", "auto-model", "best", "gpt-4"]);
    assert_eq!(router.get("/v1/models/best").expect(200).json()["id"], "best");
    let google = router.get("/v1beta/models").expect(200).text();
    assert!(google.contains("models/auto-model"), "{google}");
    let anthropic = Request::get("/v1/models").header("anthropic-version", "2023-06-01").send(&router);
    assert!(anthropic.expect(200).text().contains("gpt-4"));
}

#[test]
fn a_list_in_a_request_of_which_nothing_is_known_is_404() {
    let upstream = Upstream::healthy();
    let router = Config::pool(&["a"], &upstream.url()).model("name: big").start();
    router.chat(&chat("nope|big")).expect(200);
    assert_eq!(upstream.last().model(), "big");
    let answer = router.chat(&chat("nope|bigg")).expect(404);
    assert_eq!(answer.code(), "model_not_found");
}

#[test]
fn translated_answers_name_the_model_as_it_was_asked_for() {
    let upstream = Upstream::scripted(dated);
    let router = listed(&upstream).start();
    let body = json!({"model": "gpt-4", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]});
    assert_eq!(router.post("/v1/messages", &body).expect(200).json()["model"], "gpt-4");
    let gemini = json!({"contents": [{"role": "user", "parts": [{"text": "hi"}]}]});
    let path = "/v1beta/models/any-name:generateContent";
    assert_eq!(router.post(path, &gemini).expect(200).json()["modelVersion"], "any-name");
    let mut streamed = body.clone();
    streamed["stream"] = json!(true);
    let events = Request::post("/v1/messages").json(&streamed).stream(&router).expect(200).rest();
    assert_eq!(events[0].json()["message"]["model"], "gpt-4");
}

#[test]
fn an_even_list_uses_every_model_and_every_credential() {
    let upstream = Upstream::healthy();
    let config = Config::pool(&["a", "b"], &upstream.url())
        .model("name: x")
        .model("name: y")
        .model("name: '*'\nmodels: [x, y]\nstrategy: even");
    let router = config.start();
    (0..60).for_each(|_| drop(router.chat(&chat("any-model")).expect(200)));
    let mut pairs: Vec<_> = upstream.calls().iter().map(|call| (call.model(), call.key.clone())).collect();
    pairs.sort();
    pairs.dedup();
    assert_eq!(pairs.len(), 4, "{pairs:?}");
}

fn vendors() -> (Upstream, Upstream, Router) {
    let (one, two) = (Upstream::healthy(), Upstream::healthy());
    let config = Config::new().never_bans().credential("one", &one.url(), "models: [m, only-one]").keyless(
        "openrouter",
        "two",
        &two.url(),
        "api_key: sk-two-0123456789abcdef\nmodels: [m]",
    );
    let router = config.start();
    (one, two, router)
}

#[test]
fn a_vendor_is_pinned_by_its_type_or_its_name_in_the_query_or_a_header() {
    let (one, two, router) = vendors();
    for vendor in ["openrouter", "two"] {
        router.post(&format!("/v1/chat/completions?vendor={vendor}&x=1"), &chat("m")).expect(200);
        assert!(two.last().path.ends_with("?x=1"), "{}", two.last().path);
        Request::chat(&chat("m")).header("x-vendor", vendor).send(&router).expect(200);
        assert!(two.last().header("x-vendor").is_none());
    }
    assert_eq!((one.count(), two.count()), (0, 4));
    Request::get("/v1/files?vendor=one").send(&router).expect(200);
    assert_eq!((one.last().path.as_str(), one.count()), ("/v1/files", 1));
}

#[test]
fn an_unknown_vendor_is_a_400_with_those_that_are_known() {
    let (_one, _two, router) = vendors();
    for path in ["/v1/chat/completions?vendor=OpenAI", "/v1/embeddings?vendor=x"] {
        let answer = router.post(path, &chat("m")).expect(400);
        assert!(answer.message().contains("openai, openrouter"), "{}", answer.message());
    }
    router.get("/v1/models?vendor=nobody").expect(400);
    assert_eq!(names(&router, "/v1/models?vendor=two"), ["m"]);
    assert_eq!(names(&router, "/v1/models"), ["m", "only-one"]);
    let answer = router.post("/v1/chat/completions?vendor=two", &chat("only-one")).expect(404);
    assert_eq!(answer.code(), "model_not_found");
}

fn with_picture(model: &str) -> Value {
    json!({"model": model, "messages": [{"role": "user", "content": [
        {"type": "text", "text": "what is it?"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}]}]})
}

#[test]
fn a_picture_goes_to_a_model_that_sees() {
    let upstream = Upstream::healthy();
    let config = Config::pool(&["a"], &upstream.url())
        .model("name: blind\ncapabilities: [tools]")
        .model("name: seeing")
        .model("name: auto-model\nmodels: [blind, seeing]");
    let router = config.start();
    router.chat(&chat("auto-model")).expect(200);
    assert_eq!(upstream.last().model(), "blind");
    router.chat(&with_picture("auto-model")).expect(200);
    assert_eq!(upstream.last().model(), "seeing");
    let answer = router.chat(&with_picture("blind")).expect(400);
    assert!(answer.message().contains("images"), "{}", answer.message());
    assert_eq!(upstream.count(), 2);
}
