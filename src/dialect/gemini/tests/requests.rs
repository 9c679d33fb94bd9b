//! What clients send.

use proptest::prelude::*;

use super::*;
use crate::dialect::conversation::{Effort, Format, Part, Role, Signer, Source, Tool, ToolChoice, What};

fn read(json: &str) -> Conversation<'_> {
    request::read(json, false).unwrap()
}

fn parts(json: &str) -> Vec<Part<'_>> {
    read(json).turns.into_iter().flat_map(|turn| turn.parts).collect()
}

#[test]
fn a_lone_content_and_a_lone_part_count_as_lists() {
    let conversation =
        read(r#"{"contents":{"parts":{"text":"hi"}},"system_instruction":{"parts":{"text":"be kind"}}}"#);
    let roles: Vec<Role> = conversation.turns.iter().map(|turn| turn.role).collect();
    assert_eq!(roles, [Role::System, Role::User]);
    assert!(matches!(&conversation.turns[1].parts[0].what, What::Text { text, .. } if **text == *"hi"));
}

#[test]
fn both_spellings_of_every_member_are_read() {
    let camel = r#"{"generationConfig":{"maxOutputTokens":5,"topP":0.5,"topK":3,"stopSequences":["x"],
        "candidateCount":2,"presencePenalty":1,"frequencyPenalty":2,"seed":7,"temperature":0.1,
        "responseMimeType":"application/json","responseSchema":{"type":"object"},
        "thinkingConfig":{"includeThoughts":true,"thinkingLevel":"LOW"},"responseModalities":["TEXT","IMAGE"]},
        "toolConfig":{"functionCallingConfig":{"mode":"ANY","allowedFunctionNames":["f"]}}}"#;
    let snake = r#"{"generation_config":{"max_output_tokens":5,"top_p":0.5,"top_k":3,"stop_sequences":["x"],
        "candidate_count":2,"presence_penalty":1,"frequency_penalty":2,"seed":7,"temperature":0.1,
        "response_mime_type":"application/json","response_schema":{"type":"object"},
        "thinking_config":{"include_thoughts":true,"thinking_level":"low"},"response_modalities":["TEXT","IMAGE"]},
        "tool_config":{"function_calling_config":{"mode":"any","allowed_function_names":["f"]}}}"#;
    for json in [camel, snake] {
        let conversation = read(json);
        assert_eq!((conversation.max_tokens, conversation.answers), (Some(5), Some(2)), "{json}");
        assert_eq!(conversation.top_k.unwrap().as_u64(), Some(3));
        assert_eq!(conversation.seed.unwrap().as_u64(), Some(7));
        assert_eq!(&*conversation.stop[0], "x");
        assert_eq!(&*conversation.modalities[1], "image");
        assert_eq!(conversation.tool_choice, Some(ToolChoice::One("f".into())));
        assert!(matches!(&conversation.format, Format::Schema { schema: Some(schema), .. }
            if schema.get() == r#"{"type":"object"}"#));
        let reasoning = conversation.reasoning.unwrap();
        assert_eq!((reasoning.effort, reasoning.shown), (Some(Effort::Low), Some(true)));
    }
}

#[test]
fn every_kind_of_part_is_read() {
    let json = r#"{"contents":[{"role":"model","parts":[
        {"text":"t","thoughtSignature":"s"},
        {"text":"hm","thought":true},
        {"inlineData":{"mimeType":"image/png","data":"_-A="}},
        {"inline_data":{"mime_type":"audio/wav","data":"AA"}},
        {"fileData":{"mimeType":"video/mp4","fileUri":"https://x/y"}},
        {"fileData":{"fileUri":"https://x/y.pdf"}},
        {"fileData":{"mimeType":"image/png","fileUri":"https://generativelanguage.googleapis.com/v1beta/files/1"}},
        {"executableCode":{"language":"PYTHON","code":"1+1"}},
        {"codeExecutionResult":{"outcome":"OUTCOME_OK","output":"2\n"}},
        {"toolCall":{"id":"1"}},
        {"somethingNew":{}}]}]}"#;
    let parts = parts(json);
    let [text, thought, image, audio, video, document, stored, code, result] = parts.as_slice() else {
        panic!("{parts:?}")
    };
    assert!(matches!(&text.what, What::Text { signature: Some(signature), .. } if **signature == *"s"));
    assert!(matches!(&thought.what, What::Reasoning { signer: Signer::Google, .. }));
    assert!(matches!(&image.what, What::Image(Source::Inline { data, .. }) if **data == *"/+A="));
    assert!(matches!(&audio.what, What::Audio(Source::Inline { .. })));
    assert!(matches!(&video.what, What::Video(Source::Url { .. })));
    assert!(matches!(&document.what, What::Document { source: Source::Url { .. }, .. }));
    assert!(matches!(&stored.what, What::Image(Source::File(_))));
    assert!(matches!(&code.what, What::Text { text, .. } if **text == *"\n```python\n1+1\n```\n"));
    assert!(matches!(&result.what, What::Text { text, .. } if **text == *"\n```\n2\n```\n"));
}

#[test]
fn results_without_ids_are_paired_by_name_and_order() {
    let parts = parts(
        r#"{"contents":[{"role":"model","parts":[{"functionCall":{"name":"f","args":{"a":1}}},
            {"functionCall":{"name":"g"}},{"functionCall":{"name":"f"}}]},
        {"role":"function","parts":[{"functionResponse":{"name":"f","response":{"output":"one"}}},
            {"functionResponse":{"name":"f","response":{"error":"two"}}},
            {"functionResponse":{"name":"g","response":{"x":1,"y":2}}}]}]}"#,
    );
    let calls: Vec<&str> = parts.iter().filter_map(call_id).collect();
    assert_eq!(calls, ["call_1", "call_2", "call_3"]);
    let results: Vec<(&str, &str, bool)> = parts.iter().filter_map(result).collect();
    assert_eq!(
        results,
        [("call_1", "one", false), ("call_3", "two", true), ("call_2", r#"{"x":1,"y":2}"#, false)]
    );
}

fn call_id<'p>(part: &'p Part) -> Option<&'p str> {
    match &part.what {
        What::ToolCall(call) => Some(&call.id),
        _ => None,
    }
}

fn result<'p>(part: &'p Part) -> Option<(&'p str, &'p str, bool)> {
    let What::ToolResult { id, content, failed, .. } = &part.what else { return None };
    let What::Text { text, .. } = &content.first()?.what else { return None };
    Some((id, text, *failed))
}

#[test]
fn ids_that_are_given_are_kept() {
    let parts = parts(
        r#"{"contents":[{"role":"model","parts":[{"functionCall":{"id":"x","name":"f"},"thought_signature":"sig"}]},
        {"parts":[{"functionResponse":{"id":"x","name":"f","response":{"result":{"a":[1]}},
            "parts":[{"inlineData":{"mimeType":"image/png","data":"AA"}}]}}]}]}"#,
    );
    assert!(matches!(&parts[0].what, What::ToolCall(call)
        if call.id == "x".into() && call.signature == Some("sig".into())));
    assert_eq!(result(&parts[1]), Some(("x", r#"{"a":[1]}"#, false)));
    assert!(matches!(&parts[1].what, What::ToolResult { content, .. }
        if matches!(content[1].what, What::Image(_))));
}

#[test]
fn tools_of_the_host_are_told_from_functions() {
    let conversation = read(
        r#"{"tools":[{"functionDeclarations":[{"name":"f","description":"d","parametersJsonSchema":{"type":"object"}},
        {"name":"g"}]},{"google_search":{}},{"codeExecution":null}]}"#,
    );
    let [Tool::Function { name, parameters: Some(_), .. }, Tool::Function { parameters: None, .. }, Tool::Hosted { kind }] =
        conversation.tools.as_slice()
    else {
        panic!("{:?}", conversation.tools)
    };
    assert_eq!((&**name, &**kind), ("f", "google_search"));
}

#[test]
fn an_openapi_schema_becomes_json_schema_in_place() {
    let json = r#"{"contents":[{"parts":[{"text":"STRING"}]}],"tools":[{"functionDeclarations":[{"name":"f",
        "parameters":{"type":"OBJECT","properties":{"type":{"type":"STRING","nullable":true,"minLength":"3"},
        "n":{"any_of":[{"type":"INTEGER"},{"type":"STRING","enum":["A"]}],"nullable":true},
        "nullable":{"type":"ARRAY","items":{"type":"NUMBER"},"example":[1]}},"required":["type"],
        "propertyOrdering":["type"]}}]}],
        "generationConfig":{"responseMimeType":"application/json","responseSchema":{"type":"BOOLEAN"}}}"#;
    let prepared = request::prepare(json);
    let conversation = read(&prepared);
    let Tool::Function { parameters: Some(parameters), .. } = &conversation.tools[0] else { panic!() };
    assert_eq!(
        parameters.get(),
        r#"{"type":"object","properties":{"type":{"type":["string","null"],"minLength":3},"n":{"anyOf":[{"type":"integer"},{"type":"string","enum":["A"]},{"type":"null"}]},"nullable":{"type":"array","items":{"type":"number"}}},"required":["type"]}"#
    );
    assert!(matches!(&conversation.format, Format::Schema { schema: Some(schema), .. }
        if schema.get() == r#"{"type":"boolean"}"#));
    assert!(matches!(&conversation.turns[0].parts[0].what, What::Text { text, .. } if **text == *"STRING"));
}

#[test]
fn a_body_without_openapi_schemas_is_not_copied() {
    let json = r#"{"contents":[],"tools":[{"functionDeclarations":[{"name":"f","parametersJsonSchema":{"type":"OBJECT"}}]}]}"#;
    assert!(matches!(request::prepare(json), std::borrow::Cow::Borrowed(_)));
}

#[test]
fn every_mode_of_calling_is_read() {
    let choice = |mode: &str, names: &str| {
        let json = format!(
            r#"{{"toolConfig":{{"functionCallingConfig":{{"mode":"{mode}","allowedFunctionNames":{names}}}}}}}"#
        );
        format!("{:?}", read(&json).tool_choice)
    };
    assert_eq!(choice("AUTO", "null"), "Some(Auto)");
    assert_eq!(choice("VALIDATED", "[]"), "Some(Auto)");
    assert_eq!(choice("NONE", "null"), "Some(None)");
    assert_eq!(choice("ANY", "null"), "Some(Required)");
    assert!(choice("ANY", r#"["a","b"]"#).starts_with("Some(Allowed { required: true"));
    assert!(choice("VALIDATED", r#"["a"]"#).starts_with("Some(Allowed { required: false"));
    assert_eq!(choice("MODE_UNSPECIFIED", "null"), "None");
}

#[test]
fn a_budget_of_minus_one_is_the_models_choice() {
    let reasoning = |budget: i64| {
        let json = format!(r#"{{"generationConfig":{{"thinkingConfig":{{"thinkingBudget":{budget}}}}}}}"#);
        read(&json).reasoning.unwrap()
    };
    assert!(reasoning(-1).adaptive && reasoning(-1).budget.is_none());
    assert_eq!((reasoning(0).budget, reasoning(512).budget), (Some(0), Some(512)));
}

#[test]
fn a_member_of_a_wrong_type_is_named() {
    let param = |json: &str| request::read(json, false).unwrap_err().param;
    assert_eq!(param(r#"{"contents":[{"parts":[{"text":"a"},{"text":7}]}]}"#), "contents[0].parts[1].text");
    assert_eq!(param(r#"{"generationConfig":{"topP":"much"},"x":1}"#), "generationConfig.topP");
    assert_eq!(param("{\n\"contents\": [\n{\"role\": {}}]}"), "contents[0].role");
    assert_eq!(param("7"), "body");
    assert_eq!(
        param(r#"{"generationConfig":{"responseMimeType":"text/x.enum"}}"#),
        "generationConfig.responseMimeType"
    );
}

#[test]
fn a_picture_is_borrowed() {
    let json = format!(
        r#"{{"contents":[{{"parts":[{{"inlineData":{{"mimeType":"image/png","data":"{}"}}}}]}}]}}"#,
        "A".repeat(1 << 20)
    );
    let conversation = read(&json);
    assert!(matches!(&conversation.turns[0].parts[0].what,
        What::Image(Source::Inline { data, .. }) if matches!(data.0, std::borrow::Cow::Borrowed(_))));
}

const FULL: &str = r#"{"contents":[{"role":"model","parts":[{"functionCall":{"name":"f","args":{"a":1}}},{"text":"x"}]},
    {"parts":[{"functionResponse":{"name":"f","response":{"a":null}}},{"inlineData":{"mimeType":"a/b","data":"-"}}]}],
    "tools":[{"functionDeclarations":[{"name":"f","parameters":{"type":"OBJECT","properties":{"a":{"nullable":true}}}}]}],
    "generationConfig":{"topP":1,"thinkingConfig":{"thinkingBudget":-1}},"labels":{"a":"b"}}"#;

proptest! {
    #[test]
    fn no_request_panics(at in 0..FULL.len(), len in 0..12usize, with in "[\\[\\]{}\",:0-9a-z\\\\ ]{0,6}") {
        let end = (at + len).min(FULL.len());
        let json = format!("{}{with}{}", &FULL[..at], &FULL[end..]);
        let prepared = request::prepare(&json);
        if let Ok(conversation) = request::read(&prepared, true) {
            let _ = composed(&conversation, "gemini-3-pro");
            let _ = composed(&conversation, "gemini-2.5-flash");
        }
    }
}
