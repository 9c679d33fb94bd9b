//! Request bodies: what is peeked at without a tree is what a tree has, and a rewrite changes what it must and nothing
//! else.

use auto_ai_router::llm::request::{Need, Request};
use bytes::Bytes;
use serde_json::{Map, Value};

type Object = Map<String, Value>;

pub fn seeds() -> Vec<Vec<u8>> {
    let odd = [
        r#"{"model":"a","stream":true}"#,
        r#" { "stream_options" : { "x":[1] } , "stream":true, "model" : "a\"b" } "#,
        r#"{"model":"é🌤","stream":true,"stream_options":{"include_usage":false},"n":2,"max_tokens":5}"#,
        r#"{"model":"a","stream":true,"stream_options":null,"file_ids":["f"],"conversation":{"id":"c"}}"#,
        r#"{"Model":"a","\u006dodel":"b","stream_options":{}}"#,
    ];
    let odd = odd.iter().map(|body| body.as_bytes().to_vec());
    odd.chain(super::recorded(&["client-request.json"])).collect()
}

pub fn check(input: &[u8]) {
    let body = Bytes::copy_from_slice(input);
    let Ok(request) = Request::read(&body, Need::Optional) else { return };
    request.estimate(true);
    request.head(&body).iter().for_each(|part| assert!(part.len() <= body.len()));
    assert_eq!(request.rewrite(&body, None, false, Vec::new()).contiguous(), body, "nothing to change");
    // Escapes are left for the upstream to judge: what serde refuses has no second opinion.
    let Ok(before) = serde_json::from_slice::<Object>(&body) else { return };
    assert_eq!(before.get("model").and_then(Value::as_str), request.model());
    assert_eq!(before.get("stream").and_then(Value::as_bool).unwrap_or(false), request.stream());
    renamed(&body, &request, &before);
}

/// Another model, and usage asked for: the rest says what it said.
fn renamed(body: &Bytes, request: &Request, before: &Object) {
    let other = "another \"model\" é";
    let sent = request.rewrite(body, Some(other), true, Vec::new()).contiguous();
    let mut after: Object = serde_json::from_slice(&sent).expect("still an object");
    let again = Request::read(&sent, Need::Optional).expect("still a request");
    assert_eq!(again.model(), request.model().map(|_| other));
    assert_eq!(again.asked_usage(), request.stream() || request.asked_usage());
    assert_eq!((again.ids(), again.needs()), (request.ids(), request.needs()));
    if let Some(model) = request.model() {
        after.insert("model".into(), model.into());
    }
    let mut before = before.clone();
    [&mut before, &mut after].into_iter().for_each(without_usage);
    assert_eq!(after, before);
}

/// The one other thing that a rewrite may change.
fn without_usage(object: &mut Object) {
    if let Some(Value::Object(options)) = object.get_mut("stream_options") {
        options.remove("include_usage");
    }
    let says_nothing = |value: &Value| value.is_null() || value.as_object().is_some_and(Map::is_empty);
    if object.get("stream_options").is_some_and(says_nothing) {
        object.remove("stream_options");
    }
}
