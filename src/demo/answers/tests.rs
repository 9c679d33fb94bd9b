//! The demonstration's answers have the shapes that SDKs expect.

use super::*;

fn ask(path: &str, body: Value, flaky: &AtomicU64) -> Reply {
    reply("POST", path, body.to_string().as_bytes(), &Turn { number: 7, unix_seconds: 1000, flaky })
}

fn object(path: &str, body: Value) -> Value {
    match ask(path, body, &AtomicU64::new(0)).body {
        Body::Whole(text) => serde_json::from_str(&text).unwrap(),
        Body::Events(_) => panic!("a stream"),
    }
}

fn events(path: &str, body: Value) -> Vec<Event> {
    match ask(path, body, &AtomicU64::new(0)).body {
        Body::Whole(text) => panic!("{text}"),
        Body::Events(events) => events,
    }
}

fn chat(model: &str, more: Value) -> Value {
    let mut body = json!({"model": model, "messages": [
        {"role": "user", "content": "earlier"}, {"role": "assistant", "content": "yes"},
        {"role": "user", "content": [{"type": "text", "text": "hello there"}]}]});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

#[test]
fn the_last_user_message_comes_back() {
    let answer = object("/v1/chat/completions", chat("demo-echo", json!({})));
    assert_eq!(answer["choices"][0]["message"]["content"], "hello there");
    assert_eq!(answer["usage"]["completion_tokens"], 2);
    let answer = object("/v1/completions", json!({"model": "demo-echo", "prompt": "a b"}));
    assert_eq!(answer["choices"][0]["text"], "a b");
    let answer = object("/v1/responses", json!({"model": "demo-echo", "input": "a b"}));
    assert_eq!(answer["output"][0]["content"][0]["text"], "a b");
}

#[test]
fn a_stream_comes_word_by_word_and_has_usage_only_when_asked() {
    let plain = events("/v1/chat/completions", chat("demo-echo", json!({"stream": true})));
    let text: String = plain.iter().map(|event| event.text.as_str()).collect();
    assert_eq!(plain.len(), 5);
    assert!(!text.contains("usage") && text.ends_with("data: [DONE]\n\n"));
    assert_eq!(plain[1].after, PACE);
    let options = json!({"stream": true, "stream_options": {"include_usage": true}});
    let asked = events("/v1/chat/completions", chat("demo-slow", options));
    assert_eq!(asked.len(), 6);
    assert_eq!(asked[1].after, SLOW.0);
    assert!(asked[4].text.contains("\"choices\":[]") && asked[4].text.contains("\"total_tokens\""));
}

#[test]
fn a_response_streams_its_events_in_order() {
    let events = events("/v1/responses", json!({"model": "demo-echo", "input": "a b", "stream": true}));
    let kinds: Vec<&str> =
        events.iter().map(|e| e.text.lines().next().unwrap().trim_start_matches("event: ")).collect();
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
    assert_eq!(kinds, expected.map(|kind| format!("response.{kind}")));
    assert!(events[9].text.contains("\"sequence_number\":9"));
}

#[test]
fn the_flaky_model_fails_one_time_in_three() {
    let flaky = AtomicU64::new(0);
    let statuses: Vec<u16> =
        (0..6).map(|_| ask("/v1/chat/completions", chat("demo-flaky", json!({})), &flaky).status).collect();
    assert_eq!(statuses, [500, 200, 200, 500, 200, 200]);
}

#[test]
fn the_limited_model_says_when_to_come_back() {
    let limited = ask("/v1/chat/completions", chat("demo-limited", json!({})), &AtomicU64::new(0));
    assert_eq!((limited.status, limited.retry_after), (429, Some(20)));
}

#[test]
fn anything_unknown_is_refused_in_the_usual_shape() {
    let unknown = object("/v1/chat/completions", chat("gpt-5", json!({})));
    assert_eq!(unknown["error"]["code"], "model_not_found");
    assert_eq!(ask("/v1/nothing", json!({}), &AtomicU64::new(0)).status, 404);
    let turn = Turn { number: 0, unix_seconds: 0, flaky: &AtomicU64::new(0) };
    assert_eq!(reply("POST", "/v1/completions", b"{", &turn).status, 400);
    assert_eq!(reply("GET", "/v1/models", b"", &turn).status, 200);
}

#[test]
fn an_embedding_is_the_same_in_both_encodings() {
    let ask = |format: &str| {
        let input =
            json!({"model": "demo-echo", "input": ["a", "b"], "encoding_format": format, "dimensions": 3});
        object("/v1/embeddings", input)["data"].clone()
    };
    let floats: Vec<f32> = serde_json::from_value(ask("float")[1]["embedding"].clone()).unwrap();
    let bytes: Vec<u8> = floats.iter().flat_map(|value| value.to_le_bytes()).collect();
    assert_eq!(ask("base64")[1]["embedding"], base64(&bytes));
    assert_ne!(ask("base64")[0], ask("base64")[1]);
    assert!((floats.iter().map(|value| value * value).sum::<f32>() - 1.0).abs() < 1e-5);
}

#[test]
fn base64_has_its_three_endings() {
    assert_eq!([&b"foo"[..], b"fo", b"f", b""].map(base64), ["Zm9v", "Zm8=", "Zg==", ""]);
    assert_eq!(base64(&[0xfb, 0xff, 0xfe]), "+//+");
}
