//! Each member of a request, and what it becomes.

use std::borrow::Cow;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::dialect::conversation::{Cache, Effort, Format, Tool, ToolChoice, Untranslatable};

fn items(items: &str) -> String {
    format!(r#"{{"input":[{items}]}}"#)
}

fn refusal(body: &str) -> Untranslatable {
    read(body).unwrap_err()
}

/// The only part of the only turn.
fn part(body: &str) -> What<'_> {
    let conversation = read(body).unwrap();
    assert_eq!((conversation.turns.len(), conversation.turns[0].parts.len()), (1, 1), "{body}");
    conversation.turns[0].parts[0].what.clone()
}

fn content(part: &str) -> String {
    items(&format!(r#"{{"role":"user","content":[{part}]}}"#))
}

#[test]
fn a_text_is_the_users_and_instructions_come_first() {
    let conversation = read(r#"{"instructions":"be brief","input":"hi","stream":true}"#).unwrap();
    let said: Vec<_> = conversation
        .turns
        .iter()
        .map(|turn| match &turn.parts[0].what {
            What::Text { text, .. } => (turn.role, &**text),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(said, [(Role::System, "be brief"), (Role::User, "hi")]);
    assert!(conversation.stream && conversation.wants_usage);
}

#[test]
fn messages_may_leave_out_their_type() {
    let body = items(
        r#"{"role":"developer","content":"a"},{"type":"message","role":"user","content":[{"type":"input_text","text":"b"}]},
        {"role":"assistant","content":[{"type":"output_text","text":"c","annotations":[]},{"type":"refusal","refusal":"d"}]}"#,
    );
    let conversation = read(&body).unwrap();
    let roles: Vec<_> = conversation.turns.iter().map(|turn| turn.role).collect();
    assert_eq!(roles, [Role::System, Role::User, Role::Assistant]);
    assert!(matches!(&conversation.turns[2].parts[1].what, What::Refusal(text) if &**text == "d"));
}

#[test]
fn a_picture_is_borrowed_from_the_body() {
    let body = content(r#"{"type":"input_image","image_url":"data:image/png;base64,AAAA","detail":"auto"}"#);
    let What::Image(Source::Inline { mime, data }) = part(&body) else { panic!() };
    assert_eq!(&*mime, "image/png");
    assert!(matches!(data.0, Cow::Borrowed("AAAA")));
    let body = content(r#"{"type":"input_image","image_url":"https://x.example/a.png"}"#);
    assert!(
        matches!(part(&body), What::Image(Source::Url { url, .. }) if &*url == "https://x.example/a.png")
    );
    let body = content(r#"{"type":"input_image","file_id":"file-1"}"#);
    assert!(matches!(part(&body), What::Image(Source::File(id)) if &*id == "file-1"));
    let body = content(r#"{"type":"input_image","image_url":"data:image\/png;base64,AA AA\n"}"#);
    assert!(matches!(part(&body), What::Image(Source::Inline { data, .. }) if &*data == "AAAA"));
}

#[test]
fn files_and_sounds_keep_their_kind() {
    let body = content(
        r#"{"type":"input_file","filename":"a.txt","file_data":"data:text/plain;charset=utf-8;base64,QQ=="}"#,
    );
    let What::Document { source: Source::Inline { mime, data }, name } = part(&body) else { panic!() };
    assert_eq!((&*mime, &*data, name.as_deref()), ("text/plain", "QQ==", Some("a.txt")));
    let body = content(r#"{"type":"input_file","file_url":"https://x.example/a.pdf"}"#);
    assert!(matches!(part(&body), What::Document { source: Source::Url { .. }, name: None }));
    let body = content(r#"{"type":"input_audio","input_audio":{"data":"QQ==","format":"mp3"}}"#);
    assert!(matches!(part(&body), What::Audio(Source::Inline { mime, .. }) if &*mime == "audio/mpeg"));
}

#[test]
fn a_source_that_is_missing_or_not_base64_is_refused() {
    for part in [
        r#"{"type":"input_image"}"#,
        r#"{"type":"input_file","filename":"a"}"#,
        r#"{"type":"input_image","image_url":"data:image/svg+xml,%3Csvg"}"#,
    ] {
        assert_eq!(refusal(&content(part)).param, "input[0].content[0]");
    }
}

#[test]
fn a_cache_breakpoint_stays_on_its_part() {
    let body = content(
        r#"{"type":"input_text","text":"a","prompt_cache_breakpoint":{"mode":"explicit","ttl":"12h"}},
        {"type":"input_text","text":"b","prompt_cache_breakpoint":{"mode":"explicit"}},{"type":"input_text","text":"c"}"#,
    );
    let conversation = read(&body).unwrap();
    let marks: Vec<_> = conversation.turns[0].parts.iter().map(|part| part.cache).collect();
    assert_eq!(marks, [Some(Cache::Long), Some(Cache::Short), None]);
}

#[test]
fn calls_and_their_results_are_turns() {
    let body = items(
        r#"{"type":"function_call","id":"fc_1","call_id":"c1","name":"f","arguments":"{\"a\":1}","status":"completed"},
        {"type":"function_call_output","call_id":"c1","output":"done"},
        {"type":"custom_tool_call","call_id":"c2","name":"patch","input":"plain"},
        {"type":"custom_tool_call_output","call_id":"c2","output":[{"type":"input_text","text":"a"},
        {"type":"input_image","image_url":"data:image/png;base64,AAAA"}]}"#,
    );
    let conversation = read(&body).unwrap();
    let roles: Vec<_> = conversation.turns.iter().map(|turn| turn.role).collect();
    assert_eq!(roles, [Role::Assistant, Role::User, Role::Assistant, Role::User]);
    let what = |number: usize| &conversation.turns[number].parts[0].what;
    let (What::ToolCall(call), What::ToolCall(custom)) = (what(0), what(2)) else { panic!() };
    assert_eq!((&*call.id, &*call.name, &*call.arguments, call.custom), ("c1", "f", "{\"a\":1}", false));
    assert_eq!((&*custom.id, &*custom.arguments, custom.custom), ("c2", "plain", true));
    let What::ToolResult { id, content, .. } = what(1) else { panic!() };
    assert!(&**id == "c1" && matches!(&content[0].what, What::Text { text, .. } if &**text == "done"));
    let What::ToolResult { content, .. } = what(3) else { panic!() };
    assert!(matches!(content[1].what, What::Image(_)));
}

#[test]
fn thoughts_without_our_mark_are_openais() {
    let body = items(
        r#"{"type":"reasoning","id":"rs_1","summary":[{"type":"summary_text","text":"a"},{"type":"summary_text","text":"b"}],
        "encrypted_content":"gAAA"}"#,
    );
    let What::Reasoning { text, signature, signer } = part(&body) else { panic!() };
    assert_eq!((&*text, signature.as_deref(), signer), ("a\n\nb", Some("gAAA"), Signer::OpenAi));
    let body =
        items(r#"{"type":"reasoning","summary":[],"content":[{"type":"reasoning_text","text":"raw"}]}"#);
    assert!(matches!(part(&body), What::Reasoning { text, signature: None, .. } if &*text == "raw"));
}

#[test]
fn state_at_openai_is_refused_by_name() {
    for (member, value) in [
        ("previous_response_id", r#""resp_1""#),
        ("conversation", r#"{"id":"conv_1"}"#),
        ("prompt", r#"{"id":"pmpt_1"}"#),
        ("background", "true"),
    ] {
        assert_eq!(refusal(&format!(r#"{{"input":"x","{member}":{value}}}"#)).param, member);
        assert!(read(&format!(r#"{{"input":"x","{member}":null}}"#)).is_ok());
    }
    assert!(
        read(r#"{"input":"x","background":false,"store":true,"include":["x"],"truncation":"auto"}"#).is_ok()
    );
}

#[test]
fn items_that_only_openai_understands_are_refused_and_unknown_ones_left_out() {
    for item in [
        r#"{"type":"item_reference","id":"msg_1"}"#,
        r#"{"id":"msg_1"}"#,
        r#"{"type":"compaction","encrypted_content":"x"}"#,
        r#"{"type":"local_shell_call_output","id":"x","output":"ls"}"#,
        r#"{"type":"computer_call_output","call_id":"x","output":{"type":"computer_screenshot"}}"#,
    ] {
        assert_eq!(refusal(&items(&format!(r#"{{"role":"user","content":"a"}},{item}"#))).param, "input[1]");
    }
    let body = items(
        r#"{"type":"item_reference","id":"rs_1"},{"type":"web_search_call","id":"ws","status":"completed","action":{}},
        {"type":"tool_search_call","arguments":{"a":1}},{"type":"new","content":{"x":[1]},"name":5,"output":7},
        {"role":"user","content":[{"type":"new","text":5},{"type":"input_text","text":"hi"}]}"#,
    );
    assert!(matches!(part(&body), What::Text { text, .. } if &*text == "hi"));
}

#[test]
fn a_member_of_a_wrong_type_is_named() {
    for (body, param) in [
        (r#"{"input":5}"#, "input"),
        (r#"{"input":"x","temperature":"hot"}"#, "temperature"),
        (r#"{"input":"x","max_output_tokens":-1}"#, "max_output_tokens"),
        (r#"{"input":"x","reasoning":{"effort":"vast"}}"#, "reasoning.effort"),
        (r#"{"input":"x","tools":[{"type":"function","name":7}]}"#, "tools[0].name"),
        (r#"{"input":"x","tools":[{"type":"function"}]}"#, "tools[0].name"),
        (r#"{"input":"x","text":{"format":{"type":"xml"}}}"#, "text.format"),
        (r#"{"input":[{"role":"robot","content":"a"}]}"#, "input[0].role"),
        (r#"{"input":[{"role":"user","content":7}]}"#, "input[0].content"),
        (
            r#"{"input":[{"role":"user","content":[{"type":"input_text","text":[]}]}]}"#,
            "input[0].content[0].text",
        ),
        (r#"{"input":[{"type":"function_call","name":"f","arguments":{}}]}"#, "input[0].arguments"),
        (r#"{"input":[{"type":"function_call","arguments":"{}"}]}"#, "input[0].name"),
        (r#"{"model":"m"}"#, "input"),
        (r#"{"input":"x","tool_choice":"perhaps"}"#, "tool_choice"),
        (r#"{"input":"x","tool_choice":{"type":"web_search"}}"#, "tool_choice"),
    ] {
        let fault = refusal(body);
        assert_eq!(fault.param, param, "{body}");
        assert!(fault.why.contains(param.rsplit('.').next_back().unwrap()), "{}", fault.why);
    }
}

#[test]
fn settings_are_kept() {
    let body = r#"{"input":"x","temperature":0.20,"top_p":1,"max_output_tokens":9,"parallel_tool_calls":false,"user":"u",
        "prompt_cache_key":"k","service_tier":"flex","metadata":{"b":"1","a":"2"},"reasoning":{"effort":"xhigh","summary":"auto"}}"#;
    let conversation = read(body).unwrap();
    assert_eq!(conversation.temperature.map(|number| number.to_string()).as_deref(), Some("0.2"));
    assert_eq!((conversation.max_tokens, conversation.parallel_tools), (Some(9), Some(false)));
    assert_eq!(conversation.user.as_deref(), Some("u"));
    assert_eq!(conversation.prompt_cache_key.as_deref(), Some("k"));
    assert_eq!(conversation.metadata.map(|raw| raw.get()), Some(r#"{"b":"1","a":"2"}"#));
    let reasoning = conversation.reasoning.unwrap();
    assert_eq!((reasoning.effort, reasoning.shown), (Some(Effort::XHigh), Some(true)));
    let both = read(r#"{"input":"x","user":"u","safety_identifier":"s"}"#).unwrap();
    assert_eq!(both.user.as_deref(), Some("s"));
}

#[test]
fn the_shape_of_the_text_is_kept() {
    let body = r#"{"input":"x","text":{"verbosity":"low","format":{"type":"json_schema","name":"n","strict":true,
        "schema":{"z":1,"a":2}}}}"#;
    let Format::Schema { name, schema, strict, .. } = read(body).unwrap().format else { panic!() };
    assert_eq!((name.as_deref(), strict), (Some("n"), Some(true)));
    assert_eq!(schema.map(|raw| raw.get()), Some(r#"{"z":1,"a":2}"#));
    assert!(matches!(
        read(r#"{"input":"x","text":{"format":{"type":"json_object"}}}"#).unwrap().format,
        Format::Json
    ));
}

#[test]
fn tools_keep_their_order_and_their_schemas() {
    let body = r#"{"input":"x","tools":[{"type":"web_search"},{"type":"function","name":"z","description":"d",
        "parameters":{"z":1,"a":2},"strict":false},{"type":"custom","name":"c","format":{"type":"text"}}]}"#;
    let conversation = read(body).unwrap();
    let [Tool::Hosted { kind }, Tool::Function { name, parameters, strict, .. }, Tool::Custom { format, .. }] =
        conversation.tools.as_slice()
    else {
        panic!("{:?}", conversation.tools)
    };
    assert_eq!((&**kind, &**name, *strict), ("web_search", "z", Some(false)));
    assert_eq!(parameters.map(|raw| raw.get()), Some(r#"{"z":1,"a":2}"#));
    assert!(format.is_some());
}

#[test]
fn tools_that_come_later_join_the_others_once() {
    let body = r#"{"tools":[{"type":"function","name":"a","defer_loading":true}],"input":[
        {"type":"tool_search_output","call_id":"t","tools":[{"type":"function","name":"a"},{"type":"function","name":"b"}]},
        {"type":"additional_tools","role":"developer","tools":[{"type":"custom","name":"c"}]},{"role":"user","content":"x"}]}"#;
    let conversation = read(body).unwrap();
    let names: Vec<_> =
        conversation.tools.iter().filter_map(|tool| tool.name()).map(|name| &**name).collect();
    assert_eq!(names, ["a", "b", "c"]);
}

#[test]
fn a_later_configuration_wins() {
    let body = r#"{"reasoning":{"effort":"low","summary":"auto"},"input":[{"role":"user","content":"x"},
        {"type":"configuration_update","reasoning":{"effort":"high"},"text":{"format":{"type":"json_object"}}},
        {"type":"configuration_update","reasoning":{}}]}"#;
    let conversation = read(body).unwrap();
    let reasoning = conversation.reasoning.unwrap();
    assert_eq!((reasoning.effort, reasoning.shown), (Some(Effort::High), Some(true)));
    assert!(matches!(conversation.format, Format::Json));
}

#[test]
fn a_choice_of_tools_is_kept() {
    let choice = |choice: &str| {
        let body = format!(r#"{{"input":"x","tool_choice":{choice}}}"#);
        let choice = read(&body).unwrap().tool_choice.unwrap();
        format!("{choice:?}")
    };
    let said = |choice: ToolChoice| format!("{choice:?}");
    assert_eq!(choice(r#""none""#), said(ToolChoice::None));
    assert_eq!(choice(r#""required""#), said(ToolChoice::Required));
    assert_eq!(choice(r#"{"type":"function","name":"f"}"#), said(ToolChoice::One("f".into())));
    assert_eq!(choice(r#"{"type":"custom","name":"c"}"#), said(ToolChoice::One("c".into())));
    let allowed = ToolChoice::Allowed { required: true, names: vec!["f".into(), "n__g".into()] };
    assert_eq!(
        choice(
            r#"{"type":"allowed_tools","mode":"required","tools":[{"type":"function","name":"f"},
            {"type":"web_search"},{"type":"function","namespace":"n","name":"g"}]}"#
        ),
        said(allowed)
    );
}

const BODY: &str = r#"{"instructions":"i","input":[{"role":"user","content":[{"type":"input_text","text":"a"},
{"type":"input_image","image_url":"data:image/png;base64,AA"},{"type":"input_file","file_data":"data:a/b;base64,AA"}]},
{"type":"reasoning","summary":[{"type":"summary_text","text":"s"}],"encrypted_content":"aar1.anthropic.x"},
{"type":"function_call","call_id":"c","name":"f","namespace":"n","arguments":"{}"},
{"type":"function_call_output","call_id":"c","output":[{"type":"input_text","text":"r"}]}],
"tools":[{"type":"namespace","name":"n","tools":[{"type":"function","name":"f","parameters":{}}]},{"type":"custom","name":"c"}],
"tool_choice":{"type":"allowed_tools","mode":"auto","tools":[{"type":"function","name":"f"}]},
"text":{"format":{"type":"json_schema","name":"n","schema":{}}},"reasoning":{"effort":"low"},"temperature":1}"#;

/// Puts `value` where the `at`th value of a document stands, counted from the leaves.
fn mutated(document: &mut Value, at: &mut usize, value: &Value) {
    match document {
        Value::Object(members) => members.values_mut().for_each(|member| mutated(member, at, value)),
        Value::Array(items) => items.iter_mut().for_each(|item| mutated(item, at, value)),
        _ => {}
    }
    if *at == 0 {
        *document = value.clone();
    }
    *at = at.wrapping_sub(1);
}

proptest! {
    #[test]
    fn a_request_with_any_value_anywhere_is_read_or_refused(at in 0usize..80, kind in 0usize..8) {
        let values = [json!(null), json!(7), json!("x"), json!([]), json!({}), json!([{}]), json!(true), json!({"type": "x"})];
        let mut body: Value = serde_json::from_str(BODY).unwrap();
        mutated(&mut body, &mut at.clone(), &values[kind]);
        let body = body.to_string();
        if let Err(fault) = read(&body) {
            prop_assert!(!fault.why.is_empty());
        }
    }

    #[test]
    fn a_request_that_is_cut_or_garbled_is_read_or_refused(at in 0usize..1100, byte in 0x20u8..0x7f) {
        let mut body = BODY.to_owned();
        let at = at.min(body.len() - 1);
        body.replace_range(at..=at, &char::from(byte).to_string());
        let _ = read(&body);
        prop_assert!(read(&body[..at]).is_err());
    }
}
