//! A composed request, row by row, and every recorded request through both rooms.

use std::fs;

use serde_json::{json, Value};

use super::golden;
use crate::dialect::chat::compose::compose;
use crate::dialect::chat::request::read;
use crate::dialect::conversation::*;
use crate::dialect::{Habits, Target};

fn target(model: &str, habits: Habits) -> Target<'_> {
    Target { model, habits, signature: &|id| (id == "remembered").then(|| "sig".to_owned()) }
}

fn composed_for(conversation: &Conversation, habits: Habits) -> Value {
    let body = compose(conversation, &target("m", habits)).unwrap().body.contiguous();
    serde_json::from_slice(&body).unwrap()
}

fn composed(conversation: &Conversation) -> Value {
    composed_for(conversation, Habits::default())
}

fn refused(conversation: &Conversation) -> String {
    compose(conversation, &target("m", Habits::default())).unwrap_err().param
}

fn turn(role: Role, parts: Vec<What<'static>>) -> Turn<'static> {
    Turn { role, parts: parts.into_iter().map(Part::new).collect() }
}

fn words(text: &'static str) -> What<'static> {
    What::Text { text: text.into(), signature: None }
}

fn user(parts: Vec<What<'static>>) -> Conversation<'static> {
    Conversation { turns: vec![turn(Role::User, parts)], ..Conversation::default() }
}

fn messages(turns: Vec<Turn<'static>>) -> Value {
    composed(&Conversation { turns, ..Conversation::default() })["messages"].take()
}

fn call(id: &'static str, name: &'static str, arguments: &'static str) -> What<'static> {
    let (id, name, arguments) = (id.into(), name.into(), arguments.into());
    What::ToolCall(ToolCall { id, name, arguments, custom: false, signature: None })
}

fn result(id: &'static str, name: Option<&'static str>, content: Vec<What<'static>>) -> What<'static> {
    let content = content.into_iter().map(Part::new).collect();
    What::ToolResult { id: id.into(), name: name.map(Into::into), content, failed: false }
}

fn picture() -> What<'static> {
    What::Image(Source::Inline { mime: "image/png".into(), data: "QUJD".into() })
}

fn function(name: &'static str) -> Tool<'static> {
    Tool::Function { name: name.into(), description: None, parameters: None, strict: None, cache: None }
}

#[test]
fn texts_are_one_string_except_a_users() {
    let turns = vec![
        turn(Role::System, vec![words("a"), words(""), words("b")]),
        turn(Role::User, vec![words("c"), words("d")]),
        turn(Role::Assistant, vec![words("e"), words("f")]),
        turn(Role::User, vec![words("g")]),
        turn(Role::User, vec![]),
    ];
    let expected = json!([
        {"role": "system", "content": "a\n\nb"},
        {"role": "user", "content": [{"type": "text", "text": "c"}, {"type": "text", "text": "d"}]},
        {"role": "assistant", "content": "ef"},
        {"role": "user", "content": "g"},
    ]);
    assert_eq!(messages(turns), expected);
}

#[test]
fn parallel_calls_stand_together_and_results_follow_them() {
    let turns = vec![
        turn(Role::Assistant, vec![words("let me see"), call("1", "f", r#"{"b":1,"a":2}"#)]),
        turn(Role::Assistant, vec![call("2", "g", "")]),
        turn(Role::User, vec![words("and now"), result("1", None, vec![words("r"), picture()])]),
        turn(Role::User, vec![result("2", None, vec![])]),
    ];
    let function = |id: &str, name: &str, arguments: &str| {
        json!({"id": id, "type": "function",
        "function": {"name": name, "arguments": arguments}})
    };
    let expected = json!([
        {"role": "assistant", "content": "let me see",
            "tool_calls": [function("1", "f", r#"{"b":1,"a":2}"#), function("2", "g", "{}")]},
        {"role": "tool", "tool_call_id": "1", "content": "r"},
        {"role": "tool", "tool_call_id": "2", "content": ""},
        {"role": "user", "content": [
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,QUJD"}},
            {"type": "text", "text": "and now"}]},
    ]);
    assert_eq!(messages(turns), expected);
}

#[test]
fn calls_without_ids_are_given_ids_and_their_results_find_them() {
    let turns = vec![
        turn(Role::Assistant, vec![call("", "f", "{}"), call("", "g", "{}"), call("", "f", "{}")]),
        turn(
            Role::User,
            vec![
                result("", Some("g"), vec![words("g1")]),
                result("", Some("f"), vec![words("f1")]),
                result("", Some("f"), vec![words("f2")]),
            ],
        ),
    ];
    let messages = messages(turns);
    let ids: Vec<&Value> =
        messages[0]["tool_calls"].as_array().unwrap().iter().map(|call| &call["id"]).collect();
    let answered = |at: usize| (&messages[at]["tool_call_id"], messages[at]["content"].as_str().unwrap());
    assert_eq!(answered(1), (ids[1], "g1"));
    assert_eq!(answered(2), (ids[0], "f1"));
    assert_eq!(answered(3), (ids[2], "f2"));
}

#[test]
fn a_tool_result_without_a_call_is_refused() {
    assert_eq!(refused(&user(vec![result("", Some("f"), vec![])])), "messages");
}

#[test]
fn thoughts_are_left_out_and_refusals_are_not() {
    let thought =
        What::Reasoning { text: "t".into(), signature: Some("s".into()), signer: Signer::Anthropic };
    let turns = vec![
        turn(Role::Assistant, vec![thought.clone(), What::Redacted("r".into())]),
        turn(Role::Assistant, vec![What::Refusal("no".into())]),
    ];
    assert_eq!(messages(turns), json!([{"role": "assistant", "content": null, "refusal": "no"}]));
    assert_eq!(messages(vec![turn(Role::Assistant, vec![thought])]), json!([]));
}

#[test]
fn every_kind_of_part_is_written() {
    let inline = |mime: &'static str| Source::Inline { mime: mime.into(), data: "QQ==".into() };
    let document = |source, name: Option<&'static str>| What::Document { source, name: name.map(Into::into) };
    let turns = user(vec![
        What::Image(Source::Url { url: "https://x.test/a".into(), mime: None }),
        What::Audio(inline("audio/mpeg")),
        document(inline("application/pdf"), Some("a.pdf")),
        document(inline("application/pdf"), None),
        document(Source::Text("plain".into()), Some("title")),
    ]);
    let file = |name: &str| json!({"type": "file", "file": {"filename": name, "file_data": "data:application/pdf;base64,QQ=="}});
    let expected = json!([
        {"type": "image_url", "image_url": {"url": "https://x.test/a"}},
        {"type": "input_audio", "input_audio": {"data": "QQ==", "format": "mp3"}},
        file("a.pdf"),
        file("document.pdf"),
        {"type": "text", "text": "plain"},
    ]);
    assert_eq!(composed(&turns)["messages"][0]["content"], expected);
}

#[test]
fn what_the_dialect_has_no_words_for_is_refused() {
    let url = |url: &'static str| Source::Url { url: url.into(), mime: None };
    let document = |source| What::Document { source, name: None };
    assert_eq!(refused(&user(vec![document(url("https://x.test/a.pdf"))])), "document");
    assert_eq!(refused(&user(vec![document(Source::File("file_1".into()))])), "document");
    assert_eq!(refused(&user(vec![What::Image(url("gs://bucket/a"))])), "image");
    assert_eq!(refused(&user(vec![What::Video(url("https://x.test/a"))])), "video");
    assert_eq!(refused(&user(vec![What::Audio(url("https://x.test/a"))])), "audio");
    let system = Conversation { turns: vec![turn(Role::System, vec![picture()])], ..Conversation::default() };
    assert_eq!(refused(&system), "system");
    let spoken = Conversation { modalities: vec!["text".into(), "audio".into()], ..Conversation::default() };
    assert_eq!(refused(&spoken), "modalities");
}

const SCHEMA: &str = r#"{"z": 1,"type":"object","properties": {},"a":2}"#;

#[test]
fn tools_keep_their_order_and_the_bytes_of_their_schemas() {
    let schema = serde_json::value::RawValue::from_string(SCHEMA.to_owned()).unwrap();
    let mut first = function("z");
    if let Tool::Function { parameters, strict, .. } = &mut first {
        (*parameters, *strict) = (Some(&*schema), Some(true));
    }
    let hosted = Tool::Hosted { kind: "web_search".into() };
    let conversation = Conversation { tools: vec![first, hosted, function("a")], ..Conversation::default() };
    let body = compose(&conversation, &target("m", Habits::default())).unwrap().body.contiguous();
    let body = String::from_utf8(body.to_vec()).unwrap();
    let (before, after) = (
        r#""tools":[{"type":"function","function":{"name":"z","parameters":"#,
        r#","strict":true}},{"type":"function","function":{"name":"a","parameters":{"type":"object","properties":{}}}}]"#,
    );
    assert!(body.contains(&format!("{before}{SCHEMA}{after}")), "{body}");
}

#[test]
fn a_schema_is_that_of_an_object_and_has_properties() {
    for (given, sent) in [
        (r#"{"type":"object"}"#, json!({"type": "object", "properties": {}})),
        (r#"{ "properties":{"a":{}}}"#, json!({"type": "object", "properties": {"a": {}}})),
        (r#"{"$defs":{}}"#, json!({"$defs": {}, "type": "object", "properties": {}})),
        ("{ }", json!({"type": "object", "properties": {}})),
        ("true", json!({"type": "object", "properties": {}})),
    ] {
        let schema = serde_json::value::RawValue::from_string(given.to_owned()).unwrap();
        let mut tool = function("f");
        if let Tool::Function { parameters, .. } = &mut tool {
            *parameters = Some(&*schema);
        }
        let conversation = Conversation { tools: vec![tool], ..Conversation::default() };
        assert_eq!(composed(&conversation)["tools"][0]["function"]["parameters"], sent, "{given}");
    }
}

#[test]
fn a_tool_whose_name_is_too_long_or_strange_has_another_everywhere() {
    let long: &'static str = "mcp__plugin_".repeat(8).leak();
    let (short, other) = (&long[..64], format!("{}_2", &long[..56]));
    let longer: &'static str = format!("{long}x").leak();
    let conversation = Conversation {
        tools: vec![function(long), function("fs.read:file"), function("fs_read_file"), function(longer)],
        tool_choice: Some(ToolChoice::One(long.into())),
        turns: vec![turn(Role::Assistant, vec![call("1", long, "{}"), call("2", "fs.read:file", "{}")])],
        ..Conversation::default()
    };
    let sent = composed(&conversation);
    let offered = |n: usize| sent["tools"][n]["function"]["name"].clone();
    assert_eq!([0, 1, 2, 3].map(offered), [short, "fs_read_file_2", "fs_read_file", &other]);
    assert_eq!(sent["tool_choice"]["function"]["name"], short);
    let called = |n: usize| sent["messages"][0]["tool_calls"][n]["function"]["name"].clone();
    assert_eq!([0, 1].map(called), [short, "fs_read_file_2"]);
    let mut renamed = compose(&conversation, &target("m", Habits::default())).unwrap().renamed;
    renamed.sort();
    let names = |host: &str, client: &str| (host.to_owned(), client.to_owned());
    assert_eq!(renamed, [names("fs_read_file_2", "fs.read:file"), names(&other, longer), names(short, long)]);
}

#[test]
fn a_failed_result_says_so_in_its_text() {
    let failed = |content: Vec<What<'static>>| {
        let content = content.into_iter().map(Part::new).collect();
        What::ToolResult { id: "1".into(), name: None, content, failed: true }
    };
    let sent = messages(vec![turn(Role::User, vec![failed(vec![words("no such file")]), failed(vec![])])]);
    assert_eq!(sent[0]["content"], "The tool failed.\nno such file");
    assert_eq!(sent[1]["content"], "The tool failed.");
}

fn patch() -> Conversation<'static> {
    let tool = Tool::Custom { name: "patch".into(), description: None, format: None };
    let (id, name, arguments) = ("1".into(), "patch".into(), "a \"b\"\n".into());
    let call = What::ToolCall(ToolCall { id, name, arguments, custom: true, signature: None });
    Conversation {
        turns: vec![turn(Role::Assistant, vec![call])],
        tools: vec![tool],
        tool_choice: Some(ToolChoice::One("patch".into())),
        ..Conversation::default()
    }
}

#[test]
fn custom_tools_stay_custom() {
    let body = composed(&patch());
    assert_eq!(body["tools"], json!([{"type": "custom", "custom": {"name": "patch"}}]));
    assert_eq!(body["tool_choice"], json!({"type": "custom", "custom": {"name": "patch"}}));
    let call = json!({"id": "1", "type": "custom", "custom": {"name": "patch", "input": "a \"b\"\n"}});
    assert_eq!(body["messages"][0]["tool_calls"][0], call);
}

#[test]
fn custom_tools_are_functions_where_the_host_has_none() {
    let body = composed_for(&patch(), Habits { functions_only: true, ..Habits::default() });
    let parameters =
        json!({"type": "object", "properties": {"input": {"type": "string"}}, "required": ["input"]});
    assert_eq!(body["tools"][0]["function"], json!({"name": "patch", "parameters": parameters}));
    assert_eq!(body["tool_choice"], json!({"type": "function", "function": {"name": "patch"}}));
    let arguments = body["messages"][0]["tool_calls"][0]["function"]["arguments"].as_str().unwrap();
    assert_eq!(serde_json::from_str::<Value>(arguments).unwrap(), json!({"input": "a \"b\"\n"}));
}

#[test]
fn every_choice_of_tools_is_written() {
    let choice = |choice| {
        let tools = vec![function("f"), function("g")];
        let body = composed(&Conversation { tools, tool_choice: Some(choice), ..Conversation::default() });
        (body["tool_choice"].clone(), body["tools"].as_array().unwrap().len())
    };
    assert_eq!(choice(ToolChoice::None), (json!("none"), 2));
    assert_eq!(choice(ToolChoice::Auto), (json!("auto"), 2));
    assert_eq!(choice(ToolChoice::Required), (json!("required"), 2));
    assert_eq!(
        choice(ToolChoice::One("g".into())),
        (json!({"type": "function", "function": {"name": "g"}}), 2)
    );
    let names = || vec!["g".into()];
    assert_eq!(choice(ToolChoice::Allowed { required: true, names: names() }), (json!("required"), 1));
    assert_eq!(choice(ToolChoice::Allowed { required: false, names: names() }), (json!("auto"), 1));
}

#[test]
fn a_choice_without_tools_is_left_out_or_refused() {
    let of =
        |tool_choice, parallel_tools| Conversation { tool_choice, parallel_tools, ..Conversation::default() };
    let body = composed(&of(Some(ToolChoice::Auto), Some(false)));
    assert_eq!((&body["tool_choice"], &body["parallel_tool_calls"]), (&Value::Null, &Value::Null));
    assert_eq!(refused(&of(Some(ToolChoice::Required), None)), "tool_choice");
}

fn tuned() -> Conversation<'static> {
    read(
        r#"{"messages":[{"role":"user","content":"x"}],"max_tokens":7,"temperature":0.5,"top_p":1,"top_k":3,
        "presence_penalty":-1,"frequency_penalty":1.5,"seed":42,"stop":["a","","b","c","d","e"],"n":2,
        "reasoning_effort":"low","modalities":["text","image"],"user":"u","service_tier":"flex","prompt_cache_key":"k",
        "metadata":{"b":"1","a":"2"},"response_format":{"type":"json_object"},"stream":true}"#,
    )
    .unwrap()
}

#[test]
fn what_tunes_the_answer_is_written() {
    let expected = json!({"model": "m", "messages": [{"role": "user", "content": "x"}], "max_completion_tokens": 7,
        "temperature": 0.5, "top_p": 1, "presence_penalty": -1, "frequency_penalty": 1.5, "seed": 42,
        "stop": ["a", "b", "c", "d"], "n": 2, "reasoning_effort": "low", "modalities": ["text", "image"],
        "user": "u", "service_tier": "flex", "prompt_cache_key": "k", "metadata": {"b": "1", "a": "2"},
        "response_format": {"type": "json_object"}, "stream": true, "stream_options": {"include_usage": true}});
    assert_eq!(composed(&tuned()), expected);
    let bare = json!({"model": "m", "messages": []});
    assert_eq!(composed(&Conversation { wants_usage: true, ..Conversation::default() }), bare);
}

#[test]
fn a_hosts_habits_are_kept() {
    let refused = &["temperature", "seed", "user", "stream_options", "reasoning_effort", "stop"];
    let body = composed_for(
        &tuned(),
        Habits { renamed: &[("max_completion_tokens", "max_tokens")], refused, ..Habits::default() },
    );
    let members: Vec<&str> = body.as_object().unwrap().keys().map(String::as_str).collect();
    assert!(refused.iter().all(|member| !members.contains(member)), "{members:?}");
    assert_eq!((&body["max_tokens"], &body["max_completion_tokens"]), (&json!(7), &Value::Null));
    let body = composed_for(&tuned(), Habits { renamed: &[("seed", "random_seed")], ..Habits::default() });
    assert_eq!((&body["random_seed"], &body["seed"]), (&json!(42), &Value::Null));
    let error = compose(&tuned(), &target("m", Habits { refused: &["n"], ..Habits::default() })).unwrap_err();
    assert_eq!(error.param, "n");
}

#[test]
fn a_budget_comes_to_an_effort() {
    let effort = |budget| {
        let reasoning = Some(Reasoning { budget: Some(budget), ..Reasoning::default() });
        composed(&Conversation { reasoning, ..Conversation::default() })["reasoning_effort"].take()
    };
    let efforts = [1024, 4000, 10_000, 31_999].map(effort);
    assert_eq!(efforts, [json!("minimal"), json!("low"), json!("medium"), json!("high")]);
    assert_eq!(effort(0), Value::Null);
}

#[test]
fn what_would_be_an_error_and_is_no_loss_is_left_out() {
    let long: String = "x".repeat(65);
    let metadata = serde_json::value::RawValue::from_string(r#"{"a":1}"#.to_owned()).unwrap();
    let conversation = Conversation {
        user: Some(long.clone().into()),
        prompt_cache_key: Some(long.into()),
        metadata: Some(&metadata),
        ..Conversation::default()
    };
    assert_eq!(composed(&conversation), json!({"model": "m", "messages": []}));
}

#[test]
fn a_schema_is_given_a_name() {
    let schema = serde_json::value::RawValue::from_string("{}".to_owned()).unwrap();
    let format = Format::Schema { name: None, description: None, schema: Some(&schema), strict: None };
    let body = composed(&Conversation { format, ..Conversation::default() });
    let expected = json!({"type": "json_schema", "json_schema": {"name": "answer", "schema": {}}});
    assert_eq!(body["response_format"], expected);
}

#[test]
fn googles_signature_goes_to_gemini_only() {
    let conversation = Conversation {
        turns: vec![turn(Role::Assistant, vec![call("remembered", "f", "{}")])],
        ..Conversation::default()
    };
    let body = |model| -> Value {
        serde_json::from_slice(
            &compose(&conversation, &target(model, Habits::default())).unwrap().body.contiguous(),
        )
        .unwrap()
    };
    let signature = "/messages/0/tool_calls/0/extra_content/google/thought_signature";
    assert_eq!(body("google/gemini-3-pro").pointer(signature), Some(&json!("sig")));
    assert_eq!(body("gpt-5").pointer(signature), None);
}

/// A message as hosts understand it: one text is a string, nothing is nothing.
fn plain(message: &Value) -> Value {
    let mut message = message.clone();
    let object = message.as_object_mut().unwrap();
    object.retain(|key, value| {
        !value.is_null() && !["prefix", "name", "cache_control"].contains(&key.as_str())
    });
    for call in object.get_mut("tool_calls").into_iter().filter_map(Value::as_array_mut).flatten() {
        call.as_object_mut().unwrap().remove("index");
    }
    if object["role"] == "developer" {
        object.insert("role".into(), "system".into());
    }
    let parts = object.get("content").and_then(Value::as_array).cloned();
    match parts.as_deref() {
        Some([]) => drop(object.remove("content")),
        Some([part]) if part["type"] == "text" => drop(object.insert("content".into(), part["text"].clone())),
        _ => {}
    }
    message
}

/// Members that are left out of a composed request, or said in another word.
const LEFT_OUT: [&str; 11] = [
    "model",
    "n",
    "stream",
    "stream_options",
    "max_tokens",
    "max_completion_tokens",
    "web_search_options",
    "search_settings",
    "usage",
    "reasoning",
    "reasoning_format",
];

#[test]
fn every_recorded_request_means_the_same_when_composed_again() {
    let requests = fs::read_to_string(golden("pydantic-ai").join("chat-requests.jsonl")).unwrap();
    let mut read_requests = 0;
    for line in requests.lines() {
        let recorded: Value = serde_json::from_str(line).unwrap();
        let (name, body) = (&recorded["name"], recorded["request"].to_string());
        let conversation = read(&body).unwrap_or_else(|why| panic!("{name}: {why:?}"));
        let again = match compose(&conversation, &target("m", Habits::default())) {
            Ok(composed) => serde_json::from_slice::<Value>(&composed.body.contiguous()).unwrap(),
            // A file in the provider's own store.
            Err(why) => {
                assert!(why.param == "document" && body.contains("file_id"), "{name}: {why:?}");
                continue;
            }
        };
        let messages =
            |body: &Value| -> Vec<Value> { body["messages"].as_array().unwrap().iter().map(plain).collect() };
        assert_eq!(messages(&again), messages(&recorded["request"]), "{name}");
        let rest = |body: &Value| {
            let mut rest = body.as_object().unwrap().clone();
            for tool in rest.get_mut("tools").and_then(Value::as_array_mut).into_iter().flatten() {
                tool["type"] = json!("function");
                tool.as_object_mut().unwrap().remove("cache_control");
            }
            rest.retain(|key, value| {
                key != "messages"
                    && !LEFT_OUT.contains(&key.as_str())
                    && *value != "default"
                    && *value != json!([])
            });
            rest
        };
        assert_eq!(rest(&again), rest(&recorded["request"]), "{name}");
        read_requests += 1;
    }
    assert!(read_requests >= 35, "{read_requests}");
}

#[test]
fn a_model_that_reasons_is_not_told_how_to_sample() {
    let number = |text: &str| serde_json::from_str(text).unwrap();
    let asked = Conversation {
        temperature: Some(number("0.2")),
        top_p: Some(number("0.5")),
        presence_penalty: Some(number("1")),
        frequency_penalty: Some(number("1")),
        stop: vec!["x".into()],
        seed: Some(number("7")),
        ..user(vec![words("a")])
    };
    let members = |model: &str| {
        let body = compose(&asked, &target(model, Habits::default())).unwrap().body.contiguous();
        serde_json::from_slice::<serde_json::Map<String, Value>>(&body).unwrap()
    };
    let kept: Vec<String> = members("gpt-5-mini").into_iter().map(|(name, _)| name).collect();
    assert_eq!(kept, ["messages", "model", "seed"]);
    assert_eq!(members("gpt-4.1").len(), 8);
}
