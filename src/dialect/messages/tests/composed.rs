//! Conversations as requests to the provider: the turns, the tools and the rest.

use serde_json::value::RawValue;
use serde_json::{json, Value};

use super::{asked, body_for, body_of, composed_for, passed};
use crate::dialect::conversation::*;

fn turn<'a>(role: Role, parts: Vec<Part<'a>>) -> Turn<'a> {
    Turn { role, parts }
}

fn said<'a>(role: Role, text: &'a str) -> Turn<'a> {
    turn(role, vec![Part::text(text)])
}

fn call<'a>(id: &'a str, name: &'a str, arguments: &'a str) -> Part<'a> {
    let (id, name, arguments) = (id.into(), name.into(), arguments.into());
    Part::new(What::ToolCall(ToolCall { id, name, arguments, custom: false, signature: None }))
}

fn result<'a>(id: &'a str, text: &'a str) -> Part<'a> {
    let content = vec![Part::text(text)];
    Part::new(What::ToolResult { id: id.into(), name: None, content, failed: false })
}

fn function<'a>(name: &'a str) -> Tool<'a> {
    Tool::Function { name: name.into(), description: None, parameters: None, strict: None, cache: None }
}

fn talk(turns: Vec<Turn>) -> Conversation {
    Conversation { turns, ..Conversation::default() }
}

fn asking(tools: Vec<Tool>) -> Conversation {
    Conversation { tools, ..talk(vec![said(Role::User, "hi")]) }
}

fn messages(turns: Vec<Turn>) -> Value {
    body_of(&talk(turns))["messages"].take()
}

fn refused(conversation: &Conversation) -> Untranslatable {
    composed_for("claude-opus-5", false, conversation).unwrap_err()
}

fn one(source: What<'_>) -> Conversation<'_> {
    talk(vec![turn(Role::User, vec![Part::new(source)])])
}

#[test]
fn the_operator_goes_in_front() {
    let body = body_of(&talk(vec![said(Role::System, "a"), said(Role::System, "b"), said(Role::User, "hi")]));
    assert_eq!(body["system"], json!([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]));
    assert_eq!(body["messages"], asked(json!([{"type": "text", "text": "hi"}])));
}

#[test]
fn the_operator_may_speak_later_only_to_newer_models() {
    let turns = vec![
        said(Role::User, "hi"),
        said(Role::System, "now"),
        said(Role::Assistant, "yes"),
        said(Role::User, "go"),
    ];
    let conversation = talk(turns);
    let newer = body_for("claude-opus-4-8", &conversation);
    assert_eq!(newer["messages"][1], json!({"role": "system", "content": [{"type": "text", "text": "now"}]}));
    let older = body_of(&conversation);
    assert_eq!(older["messages"][0]["content"][1]["text"], "<system>now</system>");
    assert_eq!(older["messages"].as_array().unwrap().len(), 3);
    // With nobody to follow, it is a user's text at any model.
    let alone = talk(vec![
        said(Role::User, "a"),
        said(Role::Assistant, "b"),
        said(Role::System, "c"),
        said(Role::Assistant, "d"),
        said(Role::User, "e"),
    ]);
    assert_eq!(body_for("claude-opus-4-8", &alone)["messages"][2]["role"], "user");
}

#[test]
fn neighbours_of_one_role_are_one_turn_and_blanks_are_dropped() {
    let turns = vec![
        said(Role::User, "a"),
        said(Role::User, " \n"),
        said(Role::User, "b"),
        said(Role::Assistant, ""),
    ];
    assert_eq!(messages(turns), asked(json!([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}])));
}

#[test]
fn the_user_is_always_first() {
    let first = messages(vec![said(Role::Assistant, "Hello."), said(Role::User, "Hi.")]);
    assert_eq!((&first[0]["role"], &first[0]["content"][0]["text"]), (&json!("user"), &json!("Begin.")));
    assert_eq!(messages(vec![said(Role::System, "only")])[0]["role"], "user");
}

#[test]
fn a_begun_answer_is_continued_where_the_model_can() {
    let conversation = talk(vec![said(Role::User, "hi"), said(Role::Assistant, "It is \n")]);
    assert_eq!(body_of(&conversation)["messages"][1]["content"][0]["text"], "It is");
    let newer = body_for("claude-opus-4-6", &conversation);
    assert_eq!(newer["messages"][2]["content"][0]["text"], "Continue.");
}

#[test]
fn results_stand_together_and_first() {
    let turns = vec![
        said(Role::User, "hi"),
        turn(
            Role::Assistant,
            vec![Part::text("wait"), call("a", "f", r#"{"z":1,"y":2}"#), call("b", "g", "")],
        ),
        turn(Role::User, vec![result("b", "two")]),
        said(Role::User, "and"),
        turn(Role::User, vec![result("a", "one")]),
    ];
    let messages = messages(turns);
    let uses = &messages[1]["content"];
    assert_eq!(uses[1], json!({"type": "tool_use", "id": "a", "name": "f", "input": {"z": 1, "y": 2}}));
    assert_eq!(uses[2]["input"], json!({}));
    let answers = messages[2]["content"].as_array().unwrap();
    let ids: Vec<_> = answers.iter().map(|block| block["tool_use_id"].as_str().unwrap_or("-")).collect();
    assert_eq!((ids.as_slice(), messages.as_array().unwrap().len()), (["b", "a", "-"].as_slice(), 3));
}

#[test]
fn calls_of_several_turns_in_a_row_are_answered_in_one() {
    let turns = vec![
        said(Role::User, "hi"),
        turn(Role::Assistant, vec![call("a", "f", "{}")]),
        turn(Role::Assistant, vec![call("b", "f", "{}")]),
        turn(Role::User, vec![result("a", "one")]),
        said(Role::Assistant, ""),
        turn(Role::User, vec![result("b", "two")]),
    ];
    let messages = messages(turns);
    assert_eq!(messages.as_array().unwrap().len(), 3);
    assert!(messages[2]["content"].as_array().unwrap().iter().all(|block| block.get("is_error").is_none()));
}

#[test]
fn a_call_without_a_result_is_answered_as_failed() {
    let turns = vec![
        said(Role::User, "hi"),
        turn(Role::Assistant, vec![call("a", "f", "{}")]),
        said(Role::User, "never mind"),
        turn(Role::Assistant, vec![call("b", "f", "{}")]),
    ];
    let messages = messages(turns);
    for (number, id) in [(2, "a"), (4, "b")] {
        let answer = &messages[number]["content"][0];
        assert_eq!((&answer["tool_use_id"], &answer["is_error"]), (&json!(id), &json!(true)));
    }
}

#[test]
fn a_tool_result_without_a_call_is_refused() {
    let why = refused(&talk(vec![turn(Role::User, vec![result("lost", "x")])]));
    assert_eq!(why.param, "messages");
    assert!(why.why.contains("lost"));
}

#[test]
fn ids_that_do_not_fit_are_replaced_alike_and_never_twice_the_same() {
    let turns = vec![
        said(Role::User, "hi"),
        turn(Role::Assistant, vec![call("a.b", "f", "{}"), call("a:b", "f", "{}"), call("", "g", "{}")]),
        turn(Role::User, vec![result("a:b", "2"), result("a.b", "1"), result("", "3")]),
        turn(Role::Assistant, vec![call("a.b", "f", "{}")]),
        turn(Role::User, vec![result("a.b", "4")]),
    ];
    let messages = messages(turns);
    let ids = |turn: usize, member: &str| -> Vec<String> {
        let blocks = messages[turn]["content"].as_array().unwrap();
        blocks.iter().map(|block| block[member].as_str().unwrap().to_owned()).collect()
    };
    let (calls, results) = (ids(1, "id"), ids(2, "tool_use_id"));
    assert_eq!(results, [calls[1].clone(), calls[0].clone(), calls[2].clone()]);
    assert_eq!(ids(3, "id"), ids(4, "tool_use_id"));
    let mut all = [calls, ids(3, "id")].concat();
    assert!(all.iter().all(|id| super::super::names::is_plain(id)), "{all:?}");
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 4);
}

#[test]
fn a_result_without_an_id_is_that_of_its_tool() {
    let nameless = |name: &'static str| {
        Part::new(What::ToolResult { id: "".into(), name: Some(name.into()), content: vec![], failed: false })
    };
    let turns = vec![
        said(Role::User, "hi"),
        turn(Role::Assistant, vec![call("", "f", "{}"), call("", "g", "{}")]),
        turn(Role::User, vec![nameless("g"), nameless("f")]),
    ];
    let messages = messages(turns);
    assert_eq!(messages[1]["content"][0]["id"], messages[2]["content"][1]["tool_use_id"]);
}

#[test]
fn arguments_that_are_no_object_become_one() {
    let input = |arguments| {
        let turns = vec![said(Role::User, "hi"), turn(Role::Assistant, vec![call("a", "f", arguments)])];
        messages(turns)[1]["content"][0]["input"].clone()
    };
    assert_eq!(input("null"), json!({}));
    assert_eq!(input("{\"a\": tr"), json!({"arguments": "{\"a\": tr"}));
    assert_eq!(input("[1]"), json!({"arguments": "[1]"}));
}

#[test]
fn history_with_calls_has_a_tool_that_may_not_be_called() {
    let turns = vec![said(Role::User, "hi"), turn(Role::Assistant, vec![call("a", "f", "{}")])];
    let body = body_of(&talk(turns));
    assert_eq!(
        (body["tools"].as_array().unwrap().len(), &body["tool_choice"]),
        (1, &json!({"type": "none"}))
    );
    assert!(body_of(&talk(vec![said(Role::User, "hi")])).get("tools").is_none());
}

#[test]
fn thoughts_go_back_only_with_anthropics_signature() {
    let thought = |signer, signature: Option<&'static str>| {
        Part::new(What::Reasoning { text: "hm".into(), signature: signature.map(Into::into), signer })
    };
    let turns = vec![
        said(Role::User, "hi"),
        turn(
            Role::Assistant,
            vec![
                thought(Signer::Anthropic, Some("sig")),
                thought(Signer::Anthropic, None),
                thought(Signer::OpenAi, Some("sig")),
                thought(Signer::Google, Some("sig")),
                Part::new(What::Redacted("opaque".into())),
                Part::text("yes"),
                thought(Signer::Anthropic, Some("trailing")),
            ],
        ),
        said(Role::User, "go"),
    ];
    let expected = json!([
        {"type": "thinking", "thinking": "hm", "signature": "sig"},
        {"type": "redacted_thinking", "data": "opaque"},
        {"type": "text", "text": "yes"},
    ]);
    assert_eq!(messages(turns)[1]["content"], expected);
}

#[test]
fn pictures_and_documents_find_their_blocks() {
    let inline = |mime: &'static str| Source::Inline { mime: mime.into(), data: "QQ==".into() };
    let block = |what| body_of(&one(what))["messages"][0]["content"][0].clone();
    let image = |source| block(What::Image(source));
    let document = |source| block(What::Document { source, name: Some("n".into()) });
    assert_eq!(image(inline("image/jpg"))["source"]["media_type"], "image/jpeg");
    let url = Source::Url { url: "https://x/y.png".into(), mime: None };
    assert_eq!(image(url), json!({"type": "image", "source": {"type": "url", "url": "https://x/y.png"}}));
    let pdf = document(inline("application/pdf"));
    assert_eq!(pdf["source"], json!({"type": "base64", "media_type": "application/pdf", "data": "QQ=="}));
    assert_eq!(pdf["title"], "n");
    let text = json!({"type": "text", "media_type": "text/plain", "data": "A"});
    assert_eq!(document(inline("text/csv"))["source"], text);
    assert_eq!(document(Source::Text("A".into()))["source"], text);
    assert_eq!(document(inline("image/png"))["type"], "image");
    let file = one(What::Image(Source::File("file_1".into())));
    let composed = composed_for("claude-opus-5", false, &file).unwrap();
    assert!(composed.headers.contains(&("anthropic-beta", "files-api-2025-04-14".to_owned())));
}

#[test]
fn what_claude_does_not_take_is_refused() {
    let inline = |mime: &'static str| Source::Inline { mime: mime.into(), data: "QQ==".into() };
    for what in [
        What::Image(inline("image/bmp")),
        What::Image(Source::Url { url: "gs://b/o".into(), mime: None }),
        What::Image(Source::File("file-openai".into())),
        What::Audio(inline("audio/wav")),
        What::Video(inline("video/mp4")),
        What::Document { source: inline("application/zip"), name: None },
    ] {
        assert_eq!(refused(&one(what)).param, "messages");
    }
    let many = Conversation { answers: Some(2), ..talk(vec![]) };
    assert_eq!(refused(&many).param, "n");
    let audio = Conversation { modalities: vec!["text".into(), "audio".into()], ..talk(vec![]) };
    assert_eq!(refused(&audio).param, "modalities");
    assert_eq!(refused(&asking(vec![Tool::Hosted { kind: "web_search".into() }])).param, "tools");
}

#[test]
fn tools_keep_their_order_and_their_schemas_bytes() {
    let schema =
        serde_json::from_str::<&RawValue>(r#"{"properties":{"b":{},"a":{}},"type":"object"}"#).unwrap();
    let untyped = serde_json::from_str::<&RawValue>(r#"{ "properties":{"b":{},"a":{}}}"#).unwrap();
    let with = |name: &'static str, parameters| Tool::Function {
        name: name.into(),
        description: Some("d".into()),
        parameters,
        strict: Some(true),
        cache: None,
    };
    let conversation = asking(vec![with("z", Some(schema)), with("y", Some(untyped)), with("x", None)]);
    let body = String::from_utf8(
        composed_for("claude-haiku-4-5", false, &conversation).unwrap().body.contiguous().to_vec(),
    )
    .unwrap();
    let schema = r#""input_schema":{"properties":{"b":{},"a":{}},"type":"object"},"strict":true"#;
    let untyped = r#""input_schema":{"type":"object","properties":{"b":{},"a":{}}}"#;
    let none = r#""input_schema":{"type":"object","properties":{}}"#;
    let places: Vec<_> = [schema, untyped, none].map(|part| body.find(part)).into_iter().flatten().collect();
    assert!(places.len() == 3 && places.is_sorted(), "{body}");
    assert_eq!(body_for("claude-opus-4-1", &conversation)["tools"][0].get("strict"), None);
}

#[test]
fn a_custom_tool_has_one_text() {
    let tool = Tool::Custom { name: "sh".into(), description: None, format: None };
    let spoken =
        ToolCall { id: "a".into(), name: "sh".into(), arguments: "ls".into(), custom: true, signature: None };
    let turns = vec![said(Role::User, "hi"), turn(Role::Assistant, vec![Part::new(What::ToolCall(spoken))])];
    let body = body_of(&Conversation { tools: vec![tool], ..talk(turns) });
    assert_eq!(body["tools"][0]["input_schema"]["required"], json!(["input"]));
    assert_eq!(body["messages"][1]["content"][0]["input"], json!({"input": "ls"}));
}

#[test]
fn names_that_do_not_fit_are_replaced_and_told() {
    let long = "x".repeat(200);
    let tools = vec![function("a.b"), function("a_b"), function("a:b"), function(&long)];
    let mut conversation = asking(tools);
    conversation.tool_choice = Some(ToolChoice::One("a:b".into()));
    conversation.turns.push(turn(Role::Assistant, vec![call("1", "a.b", "{}")]));
    let composed = composed_for("claude-haiku-4-5", false, &conversation).unwrap();
    let body: Value = serde_json::from_slice(&composed.body.contiguous()).unwrap();
    let names: Vec<_> = (0..4).map(|number| body["tools"][number]["name"].as_str().unwrap()).collect();
    assert_eq!(&names[..3], ["a_b_2", "a_b", "a_b_3"]);
    assert_eq!(names[3].len(), 128);
    assert_eq!(body["tool_choice"]["name"], "a_b_3");
    assert_eq!(body["messages"][1]["content"][0]["name"], "a_b_2");
    let told = [("a_b_2", "a.b"), ("a_b_3", "a:b"), (names[3], &long)];
    assert_eq!(composed.renamed, told.map(|(ours, theirs)| (ours.to_owned(), theirs.to_owned())));
}

#[test]
fn choices_are_said_in_anthropics_words() {
    let choice = |choice, parallel| {
        let mut conversation = asking(vec![function("f"), function("g")]);
        (conversation.tool_choice, conversation.parallel_tools) = (choice, parallel);
        let body = body_of(&conversation);
        (body["tool_choice"].clone(), body["tools"].as_array().unwrap().len())
    };
    assert_eq!(choice(None, None), (Value::Null, 2));
    let single = json!({"type": "auto", "disable_parallel_tool_use": true});
    assert_eq!(choice(None, Some(false)), (single, 2));
    assert_eq!(choice(Some(ToolChoice::None), Some(false)), (json!({"type": "none"}), 2));
    assert_eq!(choice(Some(ToolChoice::Auto), Some(true)), (json!({"type": "auto"}), 2));
    assert_eq!(choice(Some(ToolChoice::Required), None), (json!({"type": "any"}), 2));
    assert_eq!(choice(Some(ToolChoice::One("g".into())), None), (json!({"type": "tool", "name": "g"}), 2));
    let allowed = ToolChoice::Allowed { required: true, names: vec!["g".into()] };
    assert_eq!(choice(Some(allowed), None), (json!({"type": "any"}), 1));
    let conversation = Conversation { tool_choice: Some(ToolChoice::Auto), ..asking(vec![]) };
    assert!(body_of(&conversation).get("tool_choice").is_none());
}

#[test]
fn a_model_that_cannot_be_forced_is_offered_that_tool_alone() {
    let mut conversation = asking(vec![function("f"), function("g")]);
    conversation.tool_choice = Some(ToolChoice::One("g".into()));
    let body = body_for("claude-opus-5-5", &conversation);
    assert_eq!((&body["tool_choice"], &body["tools"][0]["name"]), (&json!({"type": "auto"}), &json!("g")));
    conversation.tool_choice = Some(ToolChoice::Required);
    let body = body_for("claude-sonnet-5-5", &conversation);
    assert_eq!((&body["tool_choice"], &body["tools"][1]["name"]), (&json!({"type": "auto"}), &json!("g")));
}

#[test]
fn a_schema_is_native_or_a_tool_that_stands_for_the_answer() {
    let schema = serde_json::from_str::<&RawValue>(r#"{"type":"object","properties":{"a":{}}}"#).unwrap();
    let format = Format::Schema { name: None, description: None, schema: Some(schema), strict: None };
    let mut conversation = Conversation { format, ..asking(vec![]) };
    let native = body_for("claude-sonnet-4-5", &conversation);
    assert_eq!(
        native["output_config"]["format"],
        json!({"type": "json_schema", "schema": {"type": "object", "properties": {"a": {}}}})
    );
    let older = composed_for("claude-sonnet-4-0", false, &conversation).unwrap();
    let body: Value = serde_json::from_slice(&older.body.contiguous()).unwrap();
    assert_eq!(older.answer_tool.as_deref(), Some("answer"));
    assert_eq!(body["tool_choice"], json!({"type": "tool", "name": "answer"}));
    assert_eq!(body["tools"][0]["input_schema"]["properties"], json!({"a": {}}));
    conversation.tools = vec![function("answer")];
    let older = composed_for("claude-sonnet-4-0", false, &conversation).unwrap();
    let body: Value = serde_json::from_slice(&older.body.contiguous()).unwrap();
    assert_eq!(older.answer_tool.as_deref(), Some("answer_2"));
    assert_eq!(body["tool_choice"], json!({"type": "any"}));
}

#[test]
fn json_without_a_schema_is_a_sentence_to_the_model() {
    let conversation = Conversation { format: Format::Json, ..asking(vec![]) };
    assert!(body_of(&conversation)["system"][0]["text"].as_str().unwrap().contains("JSON"));
}

#[test]
fn four_marks_are_left_and_long_ones_stand_first() {
    let mark = |ttl: Option<&str>| match ttl {
        Some(ttl) => json!({"type": "ephemeral", "ttl": ttl}),
        None => json!({"type": "ephemeral"}),
    };
    let text = |text: &str, ttl| json!({"type": "text", "text": text, "cache_control": mark(ttl)});
    let body = passed(
        "claude-haiku-4-5",
        json!({
            "tools": [{"name": "f", "input_schema": {"type": "object"}, "cache_control": mark(None)}],
            "system": [text("a", None), text("b", None)],
            "messages": asked(json!([text("c", Some("1h")), text("d", None), text("e", None)])),
        }),
    );
    assert_eq!(body.to_string().matches("ephemeral").count(), 4);
    assert!(
        body["tools"][0].get("cache_control").is_none() && body["system"][0].get("cache_control").is_none()
    );
    assert_eq!(body["system"][1]["cache_control"], mark(Some("1h")), "what comes before a long one");
    let content = &body["messages"][0]["content"];
    assert_eq!(
        (&content[0]["cache_control"], &content[2]["cache_control"]),
        (&mark(Some("1h")), &mark(None))
    );
}

#[test]
fn a_mark_on_the_whole_request_stands_on_the_last_block_at_google() {
    let conversation = Conversation { cache: Some(Cache::Short), ..asking(vec![]) };
    assert_eq!(body_of(&conversation)["cache_control"], json!({"type": "ephemeral"}));
    let composed = composed_for("claude-opus-5", true, &conversation).unwrap();
    let body: Value = serde_json::from_slice(&composed.body.contiguous()).unwrap();
    assert_eq!(body.get("cache_control"), None);
    assert_eq!(body["messages"][0]["content"][0]["cache_control"], json!({"type": "ephemeral"}));
}

#[test]
fn google_fetches_no_addresses() {
    let url = one(What::Image(Source::Url { url: "https://x/y.png".into(), mime: None }));
    assert!(composed_for("claude-opus-5", false, &url).is_ok());
    assert_eq!(composed_for("claude-opus-5", true, &url).unwrap_err().param, "messages");
}
