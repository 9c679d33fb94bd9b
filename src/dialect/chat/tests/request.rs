//! A client's request, member by member.

use std::borrow::Cow;

use crate::dialect::chat::request::read;
use crate::dialect::conversation::*;

fn refused(body: &str) -> String {
    read(body).unwrap_err().param
}

/// The parts of the first turn of a request with this message.
fn parts(message: &str) -> Vec<Part<'static>> {
    let body = format!(r#"{{"messages":[{message}]}}"#).leak();
    read(body).unwrap().turns.remove(0).parts
}

fn user(parts_json: &str) -> Vec<Part<'static>> {
    parts(&format!(r#"{{"role":"user","content":[{parts_json}]}}"#))
}

#[test]
fn instructions_stay_where_they_stand() {
    let body = r#"{"messages":[{"role":"developer","content":"a"},{"role":"user","content":"b"},
        {"role":"system","content":[{"type":"text","text":"c"}]},{"role":"assistant","content":"d"}]}"#;
    let turns = read(body).unwrap().turns;
    let said: Vec<(Role, &str)> = turns
        .iter()
        .map(|turn| match &turn.parts[0].what {
            What::Text { text, .. } => (turn.role, &**text),
            other => panic!("{other:?}"),
        })
        .collect();
    let expected = [(Role::System, "a"), (Role::User, "b"), (Role::System, "c"), (Role::Assistant, "d")];
    assert_eq!(said, expected);
}

#[test]
fn every_kind_of_part_is_read() {
    let parts = user(
        r#"{"type":"text","text":"t"},
        {"type":"image_url","image_url":{"url":"data:image/png;base64,QUJD","detail":"low"}},
        {"type":"image_url","image_url":"https://x.test/a.png"},
        {"type":"input_audio","input_audio":{"data":"QQ==","format":"mp3"}},
        {"type":"file","file":{"file_data":"data:application/pdf;base64,RA==","filename":"a.pdf"}},
        {"type":"file","file":{"file_id":"file-1"}},
        {"type":"video_url","video_url":{"url":"https://x.test/a.mp4"}},
        {"type":"of the future","deep":[{}]},
        {"text":"bare"}"#,
    );
    let inline =
        |mime: &'static str, data: &'static str| Source::Inline { mime: mime.into(), data: data.into() };
    assert_eq!(parts.len(), 8);
    assert!(matches!(&parts[0].what, What::Text { text, .. } if &**text == "t"));
    assert!(matches!(&parts[1].what, What::Image(source) if *source == inline("image/png", "QUJD")));
    assert!(
        matches!(&parts[2].what, What::Image(Source::Url { url, .. }) if &**url == "https://x.test/a.png")
    );
    assert!(matches!(&parts[3].what, What::Audio(source) if *source == inline("audio/mpeg", "QQ==")));
    let What::Document { source, name } = &parts[4].what else { panic!("{:?}", parts[4]) };
    assert_eq!((source, name.as_deref()), (&inline("application/pdf", "RA=="), Some("a.pdf")));
    assert!(matches!(&parts[5].what, What::Document { source: Source::File(id), .. } if &**id == "file-1"));
    assert!(matches!(&parts[6].what, What::Video(Source::Url { .. })));
    assert!(matches!(&parts[7].what, What::Text { text, .. } if &**text == "bare"));
}

#[test]
fn a_picture_is_borrowed_from_the_body() {
    let parts = user(r#"{"type":"image_url","image_url":{"url":"data:image/jpeg;charset=x;base64,QUJD"}}"#);
    let What::Image(Source::Inline { mime, data }) = &parts[0].what else { panic!("{parts:?}") };
    assert!(matches!((&mime.0, &data.0), (Cow::Borrowed("image/jpeg"), Cow::Borrowed("QUJD"))));
    // PHP writes its slashes with a backslash.
    let parts = user(r#"{"type":"image_url","image_url":{"url":"data:image\/png;base64,QUJD"}}"#);
    assert!(matches!(&parts[0].what, What::Image(Source::Inline { mime, .. }) if &**mime == "image/png"));
}

#[test]
fn a_part_that_does_not_hold_what_it_says_is_refused() {
    let refused = |part: &str| {
        let messages = [r#"{"messages":[{"role":"user","content":["#, part, "]}]}"];
        refused(&messages.concat())
    };
    assert_eq!(refused(r#"{"type":"text"}"#), "messages[0].content[0].text");
    assert_eq!(
        refused(r#"{"type":"image_url","image_url":{"url":"data:image/png,plain"}}"#),
        "messages[0].content[0].image_url"
    );
    assert_eq!(refused(r#"{"type":"file","file":{}}"#), "messages[0].content[0].file");
}

#[test]
fn an_assistants_turn_has_thoughts_then_words_then_calls() {
    let parts = parts(
        r#"{"role":"assistant","content":"w","refusal":"no","reasoning_content":"told twice",
        "thinking_blocks":[{"type":"thinking","thinking":"t","signature":"s"},
            {"type":"redacted_thinking","data":"r"},
            {"type":"thinking","thinking":"g","signature":"gs","format":"google-gemini-v1"}],
        "tool_calls":[{"id":"c1","type":"function","function":{"name":"f","arguments":"{\"a\":1}"},
                "extra_content":{"google":{"thought_signature":"sig"}}},
            {"id":"c2","type":"custom","custom":{"name":"p","input":"*** patch"}},{"id":"c3","type":"new"}],
        "function_call":{"name":"old","arguments":"{}"}}"#,
    );
    let [thought, redacted, google, words, refusal, call, custom, old] = parts.as_slice() else {
        panic!("{parts:?}")
    };
    let What::Reasoning { text, signature, signer: Signer::Anthropic } = &thought.what else {
        panic!("{thought:?}")
    };
    assert_eq!((&**text, signature.as_deref()), ("t", Some("s")));
    assert!(matches!(&redacted.what, What::Redacted(data) if &**data == "r"));
    assert!(matches!(&google.what, What::Reasoning { signer: Signer::Google, .. }));
    assert!(matches!(&words.what, What::Text { text, .. } if &**text == "w"));
    assert!(matches!(&refusal.what, What::Refusal(text) if &**text == "no"));
    let What::ToolCall(call) = &call.what else { panic!("{call:?}") };
    assert_eq!((&*call.id, &*call.name, &*call.arguments), ("c1", "f", r#"{"a":1}"#));
    assert_eq!((call.signature.as_deref(), call.custom), (Some("sig"), false));
    let What::ToolCall(custom) = &custom.what else { panic!("{custom:?}") };
    assert_eq!((&*custom.name, &*custom.arguments, custom.custom), ("p", "*** patch", true));
    let What::ToolCall(old) = &old.what else { panic!("{old:?}") };
    assert_eq!((&*old.id, &*old.name), ("", "old"));
}

#[test]
fn thoughts_in_words_count_where_there_are_no_blocks() {
    let parts = parts(r#"{"role":"assistant","content":null,"reasoning_content":"hm"}"#);
    assert!(matches!(&parts[0].what, What::Reasoning { text, signature: None, .. } if &**text == "hm"));
}

#[test]
fn results_of_tools_are_the_users() {
    let body = r#"{"messages":[{"role":"tool","tool_call_id":"c1","content":"20"},
        {"role":"function","name":"old","content":"21"}]}"#;
    let turns = read(body).unwrap().turns;
    let result = |turn: &Turn| match &turn.parts[0].what {
        What::ToolResult { id, name, .. } => (id.to_string(), name.as_deref().map(str::to_owned)),
        other => panic!("{other:?}"),
    };
    assert!(turns.iter().all(|turn| turn.role == Role::User));
    assert_eq!(result(&turns[0]), ("c1".to_owned(), None));
    assert_eq!(result(&turns[1]), (String::new(), Some("old".to_owned())));
}

#[test]
fn cache_marks_of_either_spelling_are_read_wherever_they_may_stand() {
    let parts = user(
        r#"{"type":"text","text":"a","prompt_cache_breakpoint":{"mode":"explicit"}},
        {"type":"text","text":"b","prompt_cache_breakpoint":{"mode":"explicit","ttl":"12h"}},
        {"type":"text","text":"c","cache_control":{"type":"ephemeral","ttl":"1h"}},{"type":"text","text":"d"}"#,
    );
    let marks: Vec<_> = parts.iter().map(|part| part.cache).collect();
    assert_eq!(marks, [Some(Cache::Short), Some(Cache::Long), Some(Cache::Long), None]);
    let body = r#"{"messages":[{"role":"system","content":"s","cache_control":{"type":"ephemeral"}},
        {"role":"tool","tool_call_id":"c","content":[{"type":"text","text":"r","cache_control":{}}]}],
        "tools":[{"type":"function","function":{"name":"f"},"cache_control":{}}],"cache_control":{"ttl":"1h"}}"#;
    let read = read(body).unwrap();
    let marks: Vec<_> = read.turns.iter().map(|turn| turn.parts[0].cache).collect();
    assert_eq!(marks, [Some(Cache::Short), Some(Cache::Short)]);
    assert!(matches!(read.tools[0], Tool::Function { cache: Some(Cache::Short), .. }));
    assert_eq!(read.cache, Some(Cache::Long));
}

#[test]
fn tools_of_every_kind_are_read() {
    let body = r#"{"messages":[],"tools":[
        {"type":"function","function":{"name":"f","description":"d","parameters":{"z":1,"a":2},"strict":true}},
        {"type":"custom","custom":{"name":"c","format":{"type":"text"}}},{"type":"code_interpreter"}],
        "web_search_options":{"search_context_size":"low"},"parallel_tool_calls":false}"#;
    let read = read(body).unwrap();
    let [Tool::Function { name, parameters, strict, .. }, Tool::Custom { format, .. }, Tool::Hosted { kind }, Tool::Hosted { kind: search }] =
        read.tools.as_slice()
    else {
        panic!("{:?}", read.tools)
    };
    assert_eq!((&**name, parameters.unwrap().get(), *strict), ("f", r#"{"z":1,"a":2}"#, Some(true)));
    assert_eq!(format.unwrap().get(), r#"{"type":"text"}"#);
    assert_eq!((&**kind, &**search), ("code_interpreter", "web_search"));
    assert_eq!((read.parallel_tools, read.functions), (Some(false), false));
}

#[test]
fn the_older_functions_are_tools_one_at_a_time() {
    let body = r#"{"messages":[],"functions":[{"name":"f","parameters":{}}],"function_call":{"name":"f"}}"#;
    let read = read(body).unwrap();
    assert!(matches!(&read.tools[0], Tool::Function { name, .. } if &**name == "f"));
    assert_eq!(read.tool_choice, Some(ToolChoice::One("f".into())));
    assert_eq!((read.parallel_tools, read.functions), (Some(false), true));
}

#[test]
fn every_choice_of_tools_is_read() {
    let choice = |json: &str| {
        let body = format!(r#"{{"messages":[],"tool_choice":{json}}}"#).leak();
        read(body).map(|read| read.tool_choice.unwrap())
    };
    assert_eq!(choice(r#""none""#), Ok(ToolChoice::None));
    assert_eq!(choice(r#""auto""#), Ok(ToolChoice::Auto));
    assert_eq!(choice(r#""required""#), Ok(ToolChoice::Required));
    assert_eq!(choice(r#"{"type":"function","function":{"name":"f"}}"#), Ok(ToolChoice::One("f".into())));
    assert_eq!(choice(r#"{"type":"custom","custom":{"name":"c"}}"#), Ok(ToolChoice::One("c".into())));
    let allowed = r#"{"type":"allowed_tools","allowed_tools":{"mode":"required","tools":[
        {"type":"function","function":{"name":"a"}},{"type":"custom","custom":{"name":"b"}}]}}"#;
    let names = vec!["a".into(), "b".into()];
    assert_eq!(choice(allowed), Ok(ToolChoice::Allowed { required: true, names }));
    assert_eq!(choice(r#""maybe""#).unwrap_err().param, "tool_choice");
}

#[test]
fn what_tunes_the_answer_is_read() {
    let body = r#"{"messages":[],"max_tokens":5,"max_completion_tokens":7,"temperature":0.5,"top_p":1,"top_k":3,
        "presence_penalty":-1,"frequency_penalty":1.5,"seed":42,"stop":"END","n":2,"reasoning_effort":"xhigh",
        "modalities":["text","image"],"user":"old","safety_identifier":"new","service_tier":"flex",
        "prompt_cache_key":"k","metadata":{"b":"1","a":"2"},"stream":true,"stream_options":{"include_usage":true},
        "logit_bias":{"1":2},"store":true,"verbosity":"low","of the future":[1]}"#;
    let read = read(body).unwrap();
    assert_eq!((read.max_tokens, read.answers), (Some(7), Some(2)));
    let numbers =
        [read.temperature, read.top_p, read.top_k, read.presence_penalty, read.frequency_penalty, read.seed];
    let numbers: Vec<String> = numbers.into_iter().map(|number| number.unwrap().to_string()).collect();
    assert_eq!(numbers, ["0.5", "1", "3", "-1", "1.5", "42"]);
    assert_eq!(read.stop, ["END".into()]);
    assert_eq!(read.reasoning, Some(Reasoning { effort: Some(Effort::XHigh), ..Reasoning::default() }));
    assert_eq!(read.modalities, ["text".into(), "image".into()]);
    assert_eq!((read.user.as_deref(), read.service_tier.as_deref()), (Some("new"), Some("flex")));
    assert_eq!(read.metadata.unwrap().get(), r#"{"b":"1","a":"2"}"#);
    assert!(read.stream && read.wants_usage);
}

#[test]
fn every_form_of_answer_is_read() {
    let format = |json: &str| {
        let body = format!(r#"{{"messages":[],"response_format":{json}}}"#).leak();
        read(body).map(|read| read.format)
    };
    assert!(matches!(format(r#"{"type":"text"}"#), Ok(Format::Text)));
    assert!(matches!(format(r#"{"type":"json_object"}"#), Ok(Format::Json)));
    let schema =
        format(r#"{"type":"json_schema","json_schema":{"name":"n","schema":{"b":1,"a":2},"strict":true}}"#);
    let Ok(Format::Schema { schema: Some(schema), strict: Some(true), .. }) = schema else {
        panic!("{schema:?}")
    };
    assert_eq!(schema.get(), r#"{"b":1,"a":2}"#);
    assert_eq!(format(r#"{"type":"json_schema"}"#).unwrap_err().param, "response_format.json_schema");
    assert_eq!(format(r#"{"type":"grammar"}"#).unwrap_err().param, "response_format.type");
}

#[test]
fn a_fault_names_its_member() {
    assert_eq!(refused("{}"), "messages");
    assert_eq!(refused(r#"{"messages":[{"role":"user"},{"role":"robot"}]}"#), "messages[1].role");
    assert_eq!(refused(r#"{"messages":[{"role":"user","content":7}]}"#), "messages[0].content");
    assert_eq!(refused(r#"{"messages":[],"temperature":"hot"}"#), "temperature");
    assert_eq!(
        refused(r#"{"messages":[],"tools":[{"type":"function","function":{}}]}"#),
        "tools[0].function.name"
    );
    assert_eq!(refused(r#"{"messages":[],"tools":[{"type":"function"}]}"#), "tools[0]");
    assert_eq!(refused(r#"{"messages":[],"reasoning_effort":"a lot"}"#), "reasoning_effort");
    assert_eq!(refused(r#"{"messages":[],"logprobs":true}"#), "logprobs");
    assert_eq!(refused("not json"), "body");
}

#[test]
fn pictures_that_the_model_made_come_back() {
    let parts = parts(
        r#"{"role":"assistant","content":"here","images":[{"type":"image_url","index":0,"image_url":{"url":"data:image/png;base64,QUJD"}}]}"#,
    );
    let [words, picture] = parts.as_slice() else { panic!("{parts:?}") };
    assert!(matches!(&words.what, What::Text { .. }));
    let What::Image(Source::Inline { mime, data }) = &picture.what else { panic!("{picture:?}") };
    assert_eq!((&**mime, &**data), ("image/png", "QUJD"));
}
