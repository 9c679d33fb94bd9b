//! Clients of every API at providers of every dialect: what the translations (`tests/golden`) become on the wire.

use std::time::Duration;

use serde_json::{json, Value};

use crate::support::stream::text;
use crate::support::*;

fn claude_answer() -> Reply {
    respond(200).header("request-id", "req_claude").json(&json!({
        "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-x",
        "content": [{"type": "text", "text": "Hello"}], "stop_reason": "end_turn", "stop_sequence": null,
        "usage": {"input_tokens": 30, "output_tokens": 12}
    }))
}

fn claude_events() -> Vec<String> {
    [
        json!({"type": "message_start", "message": {"id": "msg_1", "model": "claude-x", "usage": {"input_tokens": 30, "output_tokens": 1}}}),
        json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
        json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hel"}}),
        json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "lo"}}),
        json!({"type": "content_block_stop", "index": 0}),
        json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 12}}),
        json!({"type": "message_stop"}),
    ]
    .iter()
    .map(|event| format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap()))
    .collect()
}

/// A credential `c` of this kind.
fn of_kind(config: Config, kind: &str, name: &str, upstream: &str, more: &str) -> Config {
    config.keyless(kind, name, upstream, &format!("api_key: {}\n{more}", key_of(name)))
}

fn message(model: &str) -> Value {
    json!({"model": model, "max_tokens": 50, "messages": [{"role": "user", "content": "Hi"}]})
}

#[test]
fn a_chat_is_answered_by_claude_and_settled_by_what_it_cost() {
    let upstream = Upstream::scripted(|_| claude_answer());
    let router = of_kind(Config::new(), "anthropic", "c", &upstream.url(), "tpm: 100000").start();
    let answer = router.chat(&chat("claude-x")).expect(200);
    assert_eq!(answer.content(), "Hello");
    assert_eq!(answer.json()["object"], "chat.completion");
    assert_eq!(answer.header("x-upstream-request-id"), Some("req_claude"));
    let call = upstream.only();
    assert_eq!((call.path.as_str(), call.header("x-api-key")), ("/v1/messages", Some(&*key_of("c"))));
    assert_eq!(call.header("anthropic-version"), Some("2026-10-21"));
    assert_eq!(call.header("authorization"), None);
    router.settles("c", 42);
}

#[test]
fn a_stream_of_claudes_is_a_stream_of_chunks() {
    let upstream = Upstream::scripted(|_| respond(200).sse(claude_events()));
    let router = of_kind(Config::new(), "anthropic", "c", &upstream.url(), "").start();
    let mut events = router.stream(&chat_streamed("claude-x")).expect(200);
    let all = events.rest();
    assert_eq!(text(&all), "Hello");
    assert!(all.last().unwrap().is_done());
    let chunks: Vec<Value> = all[..all.len() - 1].iter().map(|event| event.json()).collect();
    assert!(chunks
        .iter()
        .all(|chunk| chunk["id"] == chunks[0]["id"] && chunk["object"] == "chat.completion.chunk"));
    assert_eq!(chunks.last().unwrap()["choices"][0]["finish_reason"], "stop");
}

#[test]
fn a_stream_of_claudes_that_breaks_off_ends_with_an_error_and_without_done() {
    let upstream = Upstream::scripted(|_| respond(200).sse(&claude_events()[..4]).pause(ms(200)).reset());
    let router = of_kind(Config::new(), "anthropic", "c", &upstream.url(), "").start();
    let all = router.stream(&chat_streamed("claude-x")).expect(200).rest();
    assert!(all.last().unwrap().is_error(), "{all:?}");
    assert!(!all.iter().any(|event| event.is_done()));
}

#[test]
fn an_overloaded_claude_gives_way_to_a_host_of_another_dialect() {
    let overloaded = json!({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}});
    let claude = Upstream::scripted(move |_| respond(529).json(&overloaded));
    let other = Upstream::healthy();
    let config = of_kind(Config::new(), "anthropic", "c", &claude.url(), "");
    let router = config.credential("o", &other.url(), "priority: 1").start();
    let answer = Request::post("/v1/messages").json(&message("m")).send(&router).expect(200);
    assert_eq!(answer.json()["content"][0]["text"], "Hello there");
    assert_eq!((answer.json()["type"].as_str(), claude.count(), other.count()), (Some("message"), 1, 1));
    assert_eq!(other.only().path, "/v1/chat/completions");
    assert!(answer.header("request-id").is_some_and(|id| Some(id) == answer.header("x-request-id")));
}

#[test]
fn a_host_of_chat_streams_messages_to_a_client_of_anthropics() {
    let upstream = Upstream::healthy();
    let router = Config::single(&upstream.url()).start();
    let mut body = message("m");
    body["stream"] = true.into();
    let mut events = Request::post("/v1/messages").json(&body).stream(&router).expect(200);
    let kinds: Vec<Value> = events.rest().iter().map(|event| event.json()["type"].clone()).collect();
    assert_eq!((&kinds[0], &kinds[kinds.len() - 1]), (&json!("message_start"), &json!("message_stop")));
    assert!(upstream.only().wants_usage());
}

#[test]
fn an_error_is_told_in_the_words_of_the_clients_api() {
    let upstream = Upstream::always(respond(400).error("Too odd", "invalid_request_error", None));
    let router = Config::single(&upstream.url()).start();
    let anthropic = Request::post("/v1/messages").json(&message("m")).send(&router).expect(400).json();
    assert_eq!(
        (&anthropic["type"], &anthropic["error"]["type"]),
        (&json!("error"), &json!("invalid_request_error"))
    );
    assert!(anthropic["error"]["message"].as_str().unwrap().contains("Too odd"));
    assert!(anthropic["request_id"].is_string());
    let contents = json!({"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]});
    let google = Request::post("/v1beta/models/m:generateContent").json(&contents).send(&router).expect(400);
    assert_eq!(google.json()["error"]["status"], "INVALID_ARGUMENT");
    let unknown = Request::post("/v1beta/models/m:generateContent").keyless().json(&contents).send(&router);
    assert_eq!(unknown.expect(401).json()["error"]["status"], "UNAUTHENTICATED");
}

#[test]
fn what_no_candidate_has_words_for_names_the_member_and_blames_nobody() {
    let upstream = Upstream::scripted(|_| claude_answer());
    let config = Config::new().fail2ban("max_attempts: 1\nban_duration: permanent");
    let router = of_kind(config, "anthropic", "c", &upstream.url(), "").start();
    let mut body = chat("claude-x");
    body["n"] = 2.into();
    let answer = router.chat(&body).expect(400);
    assert_eq!(answer.error()["param"], "n");
    assert_eq!(answer.header("x-should-retry"), Some("false"));
    router.post("/v1/embeddings", &json!({"model": "claude-x", "input": "x"})).expect(400);
    assert_eq!(upstream.count(), 0);
    assert_eq!(router.health_of("c")["is_banned"], false);
    router.chat(&chat("claude-x")).expect(200);
}

#[test]
fn a_request_goes_to_the_candidate_that_has_words_for_it() {
    let (claude, other) = (Upstream::scripted(|_| claude_answer()), Upstream::healthy());
    let config = of_kind(Config::new(), "anthropic", "c", &claude.url(), "");
    let router = config.credential("o", &other.url(), "priority: 1").start();
    let mut body = chat("m");
    body["n"] = 2.into();
    router.chat(&body).expect(200);
    assert_eq!((claude.count(), other.count()), (0, 1));
}

#[test]
fn tokens_are_counted_by_who_can_and_else_estimated() {
    let counting = Upstream::scripted(|_| respond(200).json(&json!({"input_tokens": 7})));
    let asked = |router: &Router| {
        let mut body = message("m");
        body.as_object_mut().unwrap().remove("max_tokens");
        let request = Request::post("/v1/messages/count_tokens").json(&body);
        request.send(router).expect(200).json()["input_tokens"].as_u64().unwrap()
    };
    let router = of_kind(Config::new(), "anthropic", "c", &counting.url(), "").start();
    assert_eq!(asked(&router), 7);
    let chatting = Upstream::healthy();
    let router = Config::single(&chatting.url()).start();
    assert!((1..20).contains(&asked(&router)));
    assert_eq!(chatting.count(), 0);
}

#[test]
fn a_thought_signature_that_the_client_has_dropped_is_put_back() {
    let upstream = Upstream::scripted(|call| {
        let answered = call.json()["contents"].as_array().map_or(0, Vec::len) > 1;
        let part = match answered {
            true => json!({"text": "Sunny"}),
            false => json!({"functionCall": {"name": "weather", "args": {}}, "thoughtSignature": "proof"}),
        };
        respond(200).json(&json!({
            "candidates": [{"content": {"role": "model", "parts": [part]}, "finishReason": "STOP"}],
            "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 2, "totalTokenCount": 5},
        }))
    });
    let router = of_kind(Config::new(), "gemini", "g", &upstream.url(), "").start();
    let tools =
        json!([{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]);
    let mut body = chat("gemini-3-pro");
    body["tools"] = tools;
    let first = router.chat(&body).expect(200).json();
    let call = &first["choices"][0]["message"]["tool_calls"][0];
    // As most clients give it back: without the members that they do not know.
    let call = json!({"id": call["id"], "type": "function", "function": call["function"]});
    let turns = body["messages"].as_array_mut().unwrap();
    turns.push(json!({"role": "assistant", "content": null, "tool_calls": [call]}));
    turns.push(json!({"role": "tool", "tool_call_id": call["id"], "content": "sun"}));
    assert_eq!(router.chat(&body).expect(200).content(), "Sunny");
    let sent = upstream.last().json();
    assert_eq!(sent["contents"][1]["parts"][0]["thoughtSignature"], "proof", "{sent}");
}

#[test]
fn embeddings_come_from_gemini_as_openai_gives_them() {
    let vectors = json!({"embeddings": [{"values": [0.5, -1.0]}, {"values": [0.25, 2.0]}]});
    let upstream = Upstream::scripted(move |_| respond(200).json(&vectors));
    let router = of_kind(Config::new(), "gemini", "g", &upstream.url(), "").start();
    let body = json!({"model": "gemini-embedding-001", "input": ["a", "b"], "encoding_format": "float"});
    let answer = router.post("/v1/embeddings", &body).expect(200).json();
    assert_eq!(answer["data"][1]["embedding"], json!([0.25, 2.0]));
    assert_eq!(upstream.only().path, "/v1beta/models/gemini-embedding-001:batchEmbedContents");
}

#[test]
fn pictures_come_from_gemini_as_openai_gives_them() {
    let parts = json!([{"inlineData": {"mimeType": "image/png", "data": "iVBORw=="}}]);
    let drawn = json!({
        "candidates": [{"content": {"parts": parts}, "finishReason": "STOP"}],
        "usageMetadata": {"promptTokenCount": 5, "candidatesTokenCount": 1290, "totalTokenCount": 1295},
    });
    let upstream = Upstream::scripted(move |_| respond(200).json(&drawn));
    let router = of_kind(Config::new(), "gemini", "g", &upstream.url(), "tpm: 100000").start();
    let body = json!({"model": "gemini-2.5-flash-image", "prompt": "a cat", "size": "1536x1024"});
    let answer = router.post("/v1/images/generations", &body).expect(200).json();
    assert_eq!(answer["data"], json!([{"b64_json": "iVBORw=="}]));
    assert_eq!((&answer["output_format"], &answer["usage"]["total_tokens"]), (&json!("png"), &json!(1295)));
    let call = upstream.only();
    assert_eq!(call.path, "/v1beta/models/gemini-2.5-flash-image:generateContent");
    assert_eq!(call.json()["generationConfig"]["imageConfig"], json!({"aspectRatio": "3:2"}));
    router.settles("g", 1295);
}

#[test]
fn a_picture_that_is_to_be_changed_goes_to_gemini_and_none_to_imagen() {
    let parts = json!([{"inlineData": {"mimeType": "image/png", "data": "AAAA"}}]);
    let drawn = json!({"candidates": [{"content": {"parts": parts}, "finishReason": "STOP"}]});
    let upstream = Upstream::scripted(move |_| respond(200).json(&drawn));
    let router = of_kind(Config::new(), "gemini", "g", &upstream.url(), "").start();
    let edit = |model: &str| {
        let field = |head: &str, text: &str| {
            format!("--B\r\nContent-Disposition: form-data; name={head}\r\n\r\n{text}\r\n")
        };
        let file = "\"image\"; filename=\"a.png\"\r\nContent-Type: image/png";
        let form =
            field("\"model\"", model) + &field("\"prompt\"", "older") + &field(file, "ab") + "--B--\r\n";
        let request = Request::post("/v1/images/edits").body("multipart/form-data; boundary=B", form);
        request.send(&router)
    };
    assert_eq!(edit("gemini-2.5-flash-image").expect(200).json()["data"][0]["b64_json"], "AAAA");
    let sent = upstream.only().json();
    let picture = json!({"inlineData": {"mimeType": "image/png", "data": "YWI="}});
    assert_eq!(sent["contents"][0]["parts"], json!([{"text": "older"}, picture]));
    edit("imagen-4.0-generate-001").expect(400);
    assert_eq!(upstream.calls().len(), 1);
}

#[test]
fn a_picture_that_was_held_back_is_the_callers_error_and_costs_nobody_a_ban() {
    let blocked = json!({"candidates": [{"finishReason": "IMAGE_SAFETY", "finishMessage": "Not this."}]});
    let upstream = Upstream::scripted(move |_| respond(200).json(&blocked));
    let config = of_kind(Config::new(), "gemini", "one", &upstream.url(), "");
    let router = of_kind(config, "gemini", "two", &upstream.url(), "").start();
    let body = json!({"model": "gemini-2.5-flash-image", "prompt": "a cat"});
    let error = router.post("/v1/images/generations", &body).expect(400).json()["error"].clone();
    assert_eq!(error["code"], "moderation_blocked");
    assert!(error["message"].as_str().unwrap().ends_with("IMAGE_SAFETY. Not this."), "{error}");
    assert_eq!(upstream.calls().len(), 1, "nobody else is asked");
}

#[test]
fn a_picture_that_google_cannot_draw_is_drawn_by_somebody_else() {
    let google = Upstream::scripted(|_| respond(500).json(&json!({})));
    let drawn = json!({"created": 1, "data": [{"url": "https://example.com/a.png"}]});
    let other = Upstream::scripted(move |_| respond(200).json(&drawn));
    let config = of_kind(Config::new(), "gemini", "g", &google.url(), "");
    let router = of_kind(config, "openai", "o", &other.url(), "priority: 1").start();
    let body = json!({"model": "m", "prompt": "a cat", "response_format": "url"});
    let answer = router.post("/v1/images/generations", &body).expect(200).json();
    assert_eq!(answer["data"][0]["url"], "https://example.com/a.png");
    assert_eq!(other.only().json(), body, "as it came");
    assert_eq!(google.calls().len(), 0);
}

#[test]
fn models_are_listed_as_each_api_lists_them() {
    let upstream = Upstream::healthy();
    let router = Config::single(&upstream.url()).model("name: m1").start();
    let anthropic = Request::get("/v1/models").header("anthropic-version", "2026-10-21").send(&router);
    assert_eq!(anthropic.expect(200).json()["data"][0]["type"], "model");
    assert_eq!(router.get("/v1beta/models").expect(200).json()["models"][0]["name"], "models/m1");
    let google = Request::get("/v1/models").keyless().header("x-goog-api-key", router.key()).send(&router);
    assert_eq!(google.expect(200).json()["models"][0]["name"], "models/m1");
    let one = router.get("/v1beta/models/m1").expect(200).json();
    assert_eq!(one["name"], "models/m1");
}

#[test]
fn a_silent_stream_of_messages_is_kept_alive_by_pings() {
    let frames = claude_events();
    let upstream = Upstream::scripted(move |_| {
        let silence = Duration::from_secs(20);
        respond(200).open_sse(&frames[..3]).pause(silence).send(frames[3..].concat()).close()
    });
    let router = of_kind(Config::new(), "anthropic", "c", &upstream.url(), "").start();
    let mut body = message("claude-x");
    body["stream"] = true.into();
    let mut events = Request::post("/v1/messages").json(&body).stream(&router).expect(200);
    events.patience(Duration::from_secs(30));
    assert!(events.rest().iter().any(|event| event.json()["type"] == "ping"));
}

#[test]
fn a_gemini_stream_that_is_not_asked_for_as_events_is_refused() {
    let upstream = Upstream::healthy();
    let router = Config::single(&upstream.url()).start();
    let contents = json!({"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]});
    let answer = Request::post("/v1beta/models/m:streamGenerateContent").json(&contents).send(&router);
    assert!(answer.expect(400).text().contains("alt=sse"));
    let mut events = Request::post("/v1beta/models/m:streamGenerateContent?alt=sse")
        .json(&contents)
        .stream(&router)
        .expect(200);
    let said: String = events
        .rest()
        .iter()
        .map(|event| {
            event.json()["candidates"][0]["content"]["parts"][0]["text"].as_str().unwrap_or("").to_owned()
        })
        .collect();
    assert_eq!(said, "Hello there");
}

#[test]
fn a_conversation_that_another_provider_answered_goes_on_at_claude() {
    let upstream = Upstream::scripted(|_| claude_answer());
    let router = of_kind(Config::new(), "anthropic", "c", &upstream.url(), "").start();
    let mut body = message("claude-x");
    let unsigned = json!({"type": "thinking", "thinking": "hm", "signature": ""});
    let said = json!({"type": "text", "text": "So"});
    let turns = body["messages"].as_array_mut().unwrap();
    turns.push(json!({"role": "assistant", "content": [unsigned, said]}));
    turns.push(json!({"role": "user", "content": "Go on"}));
    Request::post("/v1/messages").json(&body).send(&router).expect(200);
    assert_eq!(upstream.only().json()["messages"][1]["content"], json!([said]));
}
