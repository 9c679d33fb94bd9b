//! Requests: what is found, what is refused, what is rewritten.

use proptest::prelude::*;

use super::*;

fn read(body: &str) -> Result<Request, BadBody> {
    Request::read(body.as_bytes(), Need::Required)
}

fn rewritten(body: &'static str, model: Option<&str>, usage: bool) -> String {
    let bytes = Bytes::from_static(body.as_bytes());
    let body = read(body).unwrap().rewrite(&bytes, model, usage, Vec::new()).contiguous();
    String::from_utf8(body.to_vec()).unwrap()
}

#[test]
fn what_routing_needs_is_found_wherever_it_stands() {
    let request = read(
        r#" { "messages":[{"role":"user","content":"a \"model\": \"x\""}], "n":2, "max_tokens":100,
        "stream_options" : { "include_usage" : true }, "stream":true, "model":"gpt-\u0034o" } "#,
    )
    .unwrap();
    assert_eq!(request.model(), Some("gpt-4o"));
    assert!(request.stream());
    assert!(request.asked_usage());
    assert_eq!(request.estimate(true) - request.estimate(false), 200);
}

#[test]
fn a_body_that_cannot_be_routed_says_why() {
    for (body, needle, param) in [
        ("", "is empty", None),
        (" \n", "is empty", None),
        ("[]", "must be a JSON object", None),
        ("\"model\"", "must be a JSON object", None),
        ("{", "ends at byte 1", None),
        ("{}", "has no 'model'", Some("model")),
        (r#"{"model":null}"#, "must be a string", Some("model")),
        (r#"{"model":4}"#, "byte 9 must be a string", Some("model")),
        (r#"{"model":["a"]}"#, "must be a string", Some("model")),
        (r#"{"model":""}"#, "is empty", Some("model")),
        (r#"{"model":"a\nb"}"#, "cannot be printed", Some("model")),
        (r#"{"model":"\ud800"}"#, "not valid Unicode", Some("model")),
        (r#"{"model":"a","model":"a"}"#, "second time at byte 13", Some("model")),
        (r#"{"model":"a","Model":"b"}"#, "exactly 'model'", Some("model")),
        (r#"{"mod\u0065l":"a"}"#, "exactly 'model'", Some("model")),
        (r#"{"model":"a","\u006dodel":"b"}"#, "exactly 'model'", Some("model")),
        (r#"{"model":"a","STREAM":true}"#, "exactly 'stream'", Some("stream")),
        (r#"{"model":"a","ſtream":true}"#, "exactly 'stream'", Some("stream")),
        (r#"{"model":"a","max_to\u212aens":1}"#, "exactly 'max_tokens'", Some("max_tokens")),
        (r#"{"model":"a","stream":1}"#, "true or false", Some("stream")),
        (r#"{"model":"a","stream":"true"}"#, "true or false", Some("stream")),
        (r#"{"model":"a","stream":truth}"#, "unexpected", None),
        (r#"{"model":"a","stream_options":[]}"#, "must be an object", Some("stream_options")),
        (r#"{"model":"a","max_tokens":1,"max_tokens":2}"#, "second time", Some("max_tokens")),
        (r#"{"model":"a"} {}"#, "goes on behind", None),
        (r#"{"model":"a"}x"#, "byte 13", None),
        (r#"{"model":"a","x":NaN}"#, "not valid JSON", None),
        (r#"{"model":"a","x":01}"#, "not valid JSON", None),
    ] {
        let bad = read(body).unwrap_err();
        assert!(bad.message.contains(needle), "{body}: {}", bad.message);
        assert_eq!(bad.param, param, "{body}");
    }
    let bad = Request::read(b"{\"model\":\"\xff\"}", Need::Required).unwrap_err();
    assert!(bad.message.contains("UTF-8 at byte 10"), "{}", bad.message);
    let long = format!(r#"{{"model":"{}"}}"#, "x".repeat(257));
    assert!(read(&long).unwrap_err().message.contains("256"));
    let deep = format!(r#"{{"model":"a","x":{}{}}}"#, "[".repeat(64), "]".repeat(64));
    assert!(read(&deep).unwrap_err().message.contains("too deeply"));
}

#[test]
fn where_a_model_is_optional_its_absence_is_fine_and_its_abuse_is_not() {
    assert_eq!(Request::read(b"{}", Need::Optional).unwrap().model(), None);
    assert_eq!(Request::read(br#"{"model":null}"#, Need::Optional).unwrap().model(), None);
    assert!(Request::read(br#"{"model":5}"#, Need::Optional).is_err());
    assert!(Request::read(br#"{"MODEL":"a"}"#, Need::Optional).is_err());
}

#[test]
fn keys_that_only_look_alike_are_left_alone() {
    let request =
        read(r#"{"models":[1],"modelx":2,"num":1,"metadata":{"Model":"x","model":"y"},"model":"a"}"#)
            .unwrap();
    assert_eq!(request.model(), Some("a"));
}

#[test]
fn a_rewrite_touches_only_what_it_must() {
    assert_eq!(
        rewritten(r#"{ "model" : "a" , "x":1}"#, Some("b\"c"), false),
        r#"{ "model" : "b\"c" , "x":1}"#
    );
    assert_eq!(rewritten(r#"{"model":"a"}"#, Some("b"), true), r#"{"model":"b"}"#);
    for (before, after) in [
        (r#""stream":true}"#, r#""stream":true,"stream_options":{"include_usage":true}}"#),
        (
            r#""stream":true,"stream_options":null}"#,
            r#""stream":true,"stream_options":{"include_usage":true}}"#,
        ),
        (
            r#""stream":true,"stream_options":{ }}"#,
            r#""stream":true,"stream_options":{"include_usage":true }}"#,
        ),
        (
            r#""stream_options":{"a":1},"stream":true}"#,
            r#""stream_options":{"include_usage":true,"a":1},"stream":true}"#,
        ),
        (
            r#""stream":true,"stream_options":{"include_usage":false}}"#,
            r#""stream":true,"stream_options":{"include_usage":true}}"#,
        ),
        (
            r#""stream":true,"stream_options":{"include_usage":null}}"#,
            r#""stream":true,"stream_options":{"include_usage":true}}"#,
        ),
        (
            r#""stream":true,"stream_options":{"include_usage":true}}"#,
            r#""stream":true,"stream_options":{"include_usage":true}}"#,
        ),
        (r#""stream":false}"#, r#""stream":false}"#),
    ] {
        let before = format!(r#"{{"model":"a",{before}"#).leak();
        assert_eq!(rewritten(before, None, true), format!(r#"{{"model":"a",{after}"#));
    }
}

#[test]
fn ids_of_stored_things_are_collected() {
    let request = read(
        r#"{"model":"a","previous_response_id":"resp_1","conversation":{"id":"conv_1","x":{"file_id":"f0"}},
        "input":[{"content":[{"type":"input_file","file_id":"file-2"},{"type":"text","text":"file_id"}]}],
        "tools":[{"vector_store_ids":["vs_1","vs_2"]}],"input_file_id":null}"#,
    )
    .unwrap();
    assert_eq!(request.ids(), ["resp_1", "conv_1", "f0", "file-2", "vs_1", "vs_2"]);
    assert_eq!(read(r#"{"model":"a","conversation":"conv_2"}"#).unwrap().ids(), ["conv_2"]);
    let many = format!(r#"{{"model":"a","file_ids":[{}"x"]}}"#, r#""y","#.repeat(40));
    assert_eq!(read(&many).unwrap().ids().len(), 16);
}

#[test]
fn whether_the_answer_is_to_be_kept_is_seen() {
    let stores = |store: &str| read(&format!(r#"{{"store":{store},"model":"a"}}"#)).unwrap().stores();
    assert!(stores("true") && !stores("false") && !stores("null") && !stores(r#"{"store":true}"#));
    assert!(!read(r#"{"model":"a","metadata":{"store":true}}"#).unwrap().stores());
}

#[test]
fn a_picture_does_not_cost_its_base64() {
    let body = format!(
        r#"{{"model":"a","messages":[{{"image_url":"data:image/png;base64,{}"}}]}}"#,
        "A".repeat(400_000)
    );
    let request = read(&body).unwrap();
    assert!((1000..1100).contains(&request.estimate(false)), "{}", request.estimate(false));
    assert_eq!(request.estimate(true), request.estimate(false) + 256);
}

#[test]
fn an_absurd_limit_does_not_overflow() {
    let request =
        read(r#"{"model":"a","max_tokens":18446744073709551615,"n":99,"max_completion_tokens":-1}"#).unwrap();
    assert_eq!(request.estimate(true), u64::MAX);
}

proptest! {
    #[test]
    fn model_and_stream_are_what_serde_finds(
        model in "[a-z0-9\"\\\\/é.:-]{1,20}", stream in prop::option::of(any::<bool>()), extra in ".{0,40}",
        rename in "[ -~é]{1,10}", order in any::<bool>(),
    ) {
        let mut body = serde_json::Map::new();
        if order {
            body.insert("a".into(), extra.clone().into());
        }
        body.insert("model".into(), model.clone().into());
        body.insert("stream".into(), stream.into());
        body.insert("zz".into(), serde_json::json!({"x": [extra, {"model": 1}]}));
        let bytes = Bytes::from(serde_json::to_vec(&body).unwrap());
        let request = Request::read(&bytes, Need::Required).unwrap();
        prop_assert_eq!(request.model(), Some(model.as_str()));
        prop_assert_eq!(request.stream(), stream.unwrap_or(false));
        let new: serde_json::Map<String, serde_json::Value> =
            serde_json::from_slice(&request.rewrite(&bytes, Some(&rename), true, Vec::new()).contiguous()).unwrap();
        body.insert("model".into(), rename.into());
        if stream == Some(true) {
            body.insert("stream_options".into(), serde_json::json!({"include_usage": true}));
        }
        prop_assert_eq!(new, body);
    }

    #[test]
    fn no_bytes_make_it_panic(body in prop::collection::vec(any::<u8>(), 0..60)) {
        let _ = Request::read(&body, Need::Optional);
    }
}

fn needs(body: &str) -> String {
    Request::read(body.as_bytes(), Need::Optional).unwrap().needs().to_string()
}

#[test]
fn what_a_request_needs_is_seen_in_every_dialect() {
    for (body, expected) in [
        (r#"{"messages":[{"role":"user","content":"type image_url"}]}"#, "nothing"),
        (
            r#"{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"x"}}]}]}"#,
            "images",
        ),
        (
            r#"{"messages":[{"content":[{"type":"input_audio","input_audio":{}}]}],"tools":[{}]}"#,
            "tools, audio",
        ),
        (r#"{"messages":[{"content":[{"type":"file","file":{"file_id":"f"}}]}],"tools":[]}"#, "documents"),
        (
            r#"{"input":[{"role":"user","content":[{"type":"input_image"},{"type":"input_file"}]}]}"#,
            "images, documents",
        ),
        (r#"{"messages":[{"role":"user","content":[{"type":"document","source":{}}]}]}"#, "documents"),
        (r#"{"contents":[{"parts":[{"inlineData":{"mimeType":"image/png","data":"x"}}]}]}"#, "images"),
        (
            r#"{"contents":[{"parts":[{"fileData":{"mimeType":"application/pdf"}}]}],"tools":[{"a":1}]}"#,
            "tools, documents",
        ),
        (r#"{"contents":[{"parts":[{"inline_data":{"mime_type":"audio/wav"}}]}]}"#, "audio"),
        (r#"{"functions":[{"name":"f"}],"messages":[]}"#, "tools"),
    ] {
        assert_eq!(needs(body), expected, "{body}");
    }
}

#[test]
fn what_was_given_to_a_tool_and_what_schemas_speak_of_needs_nothing() {
    for body in [
        r#"{"messages":[{"content":[{"type":"tool_use","input":{"type":"file","a":[{"type":"image"}]}}]}]}"#,
        r#"{"contents":[{"parts":[{"functionCall":{"args":{"mimeType":"image/png"}}},{"functionResponse":{"response":{"type":"image"}}}]}]}"#,
    ] {
        assert_eq!(needs(body), "nothing", "{body}");
    }
    let schema = r#"{"tools":[{"parameters":{"properties":{"a":{"type":"file"}}}}],"messages":[]}"#;
    assert_eq!(needs(schema), "tools");
    let result = r#"{"messages":[{"content":[{"type":"tool_result","content":[{"type":"image"}]}]}]}"#;
    assert_eq!(needs(result), "images", "a picture that a tool gave is a picture");
}

#[test]
fn the_head_of_a_conversation_stays_the_same_from_turn_to_turn() {
    let head = |body: &str| {
        let request = Request::read(body.as_bytes(), Need::Optional).unwrap();
        request.head(body.as_bytes()).map(|part| String::from_utf8(part.to_vec()).unwrap()).concat()
    };
    let first = r#"{"role":"system","content":"s"},{"role":"user","content":"hi"}"#;
    let one = head(&format!(r#"{{"messages":[{first}]}}"#));
    assert_eq!(one, format!("[{first}"));
    assert_eq!(head(&format!(r#"{{"messages":[{first},{{"role":"assistant","content":"a"}}]}}"#)), one);
    let system = r#"{"system":"s","messages":[{"content":"hi","role":"user"},{"role":"user"}]}"#;
    assert_eq!(head(system), r#""s"[{"content":"hi","role":"user"}"#);
    assert_eq!(
        head(r#"{"contents":[{"parts":[{"text":"a"}]},{"parts":[]}]}"#),
        r#"[{"parts":[{"text":"a"}]}"#
    );
    assert_eq!(head(r#"{"instructions":null,"input":"hi"}"#), r#""hi""#);
}

#[test]
fn a_conversation_is_known_by_what_its_client_calls_it() {
    let body = br#"{"prompt_cache_key":"k","metadata":{"a":1,"user_id":"u"},"messages":[]}"#;
    let request = Request::read(body, Need::Optional).unwrap();
    assert_eq!(request.cache_key(body), Some(&br#""k""#[..]));
    assert_eq!(request.user(body), Some(&br#""u""#[..]));
    let body = br#"{"user":"x","prompt_cache_key":null}"#;
    let request = Request::read(body, Need::Optional).unwrap();
    assert_eq!((request.cache_key(body), request.user(body)), (None, Some(&br#""x""#[..])));
}
