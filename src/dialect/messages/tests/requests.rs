//! Clients' requests.

use serde_json::json;

use super::read;
use crate::dialect::conversation::*;
use crate::dialect::json::Text;

fn parts(content: serde_json::Value) -> Vec<Part<'static>> {
    let body = json!({"messages": [{"role": "user", "content": content}]}).to_string();
    read(body.leak()).unwrap().turns.remove(0).parts
}

fn param(request: serde_json::Value) -> String {
    read(&request.to_string()).unwrap_err().param
}

#[test]
fn the_operator_speaks_first_in_words_or_blocks() {
    for system in [json!("Be brief."), json!([{"type": "text", "text": "Be brief."}])] {
        let body = json!({"system": system, "messages": []}).to_string();
        let conversation = read(&body).unwrap();
        assert_eq!(conversation.turns[0].role, Role::System);
        let What::Text { text, .. } = &conversation.turns[0].parts[0].what else { panic!() };
        assert_eq!(&**text, "Be brief.");
    }
    let body = json!({"messages": [{"role": "system", "content": "Later."}]}).to_string();
    assert_eq!(read(&body).unwrap().turns[0].role, Role::System);
}

#[test]
fn texts_and_pictures_are_borrowed() {
    let body = r#"{"messages":[{"role":"user","content":[{"type":"image","source":{"type":"base64",
        "media_type":"image/png","data":"QUJD"}},{"type":"text","text":"plain"}]}]}"#;
    let conversation = read(body).unwrap();
    let [Part { what: What::Image(Source::Inline { mime, data }), .. }, Part { what: What::Text { text, .. }, .. }] =
        conversation.turns[0].parts.as_slice()
    else {
        panic!("{conversation:?}")
    };
    let Text::Plain(text) = text else { panic!("it has no escapes") };
    for borrowed in [mime, data, text] {
        assert!(matches!(borrowed.0, std::borrow::Cow::Borrowed(_)));
    }
}

#[test]
fn texts_with_escapes_are_kept_as_they_are() {
    let said = parts(
        json!([{"type": "text", "text": "a\nb"}, {"type": "tool_result", "tool_use_id": "t", "content": "c\nd"}]),
    );
    let [Part { what: What::Text { text, .. }, .. }, Part { what: What::ToolResult { content, .. }, .. }] =
        said.as_slice()
    else {
        panic!("{said:?}")
    };
    assert!(matches!(text, Text::Escaped { .. }) && &**text == "a\nb");
    assert!(
        matches!(&content[0].what, What::Text { text: text @ Text::Escaped { .. }, .. } if &**text == "c\nd")
    );
}

#[test]
fn blocks_in_blocks_without_end_are_refused() {
    let open = r#"[{"type":"tool_result","tool_use_id":"t","content":"#;
    let deep = format!("{}\"x\"{}", open.repeat(20_000), "}]".repeat(20_000));
    let body = format!(r#"{{"messages":[{{"role":"user","content":{deep}}}]}}"#);
    assert_eq!(read(&body).unwrap_err().param, "messages[0].content[0].content");
}

#[test]
fn documents_come_in_all_their_sources() {
    let parts = parts(json!([
        {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "QQ=="}, "title": "a"},
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "words"}},
        {"type": "document", "source": {"type": "url", "url": "https://x/y.pdf"}},
        {"type": "document", "source": {"type": "file", "file_id": "file_1"}},
        {"type": "document", "source": {"type": "content", "content": [{"type": "text", "text": "inner"}]}},
        {"type": "search_result", "source": "https://x", "title": "b", "content": [{"type": "text", "text": "found"}]},
    ]));
    let sources: Vec<String> = parts.iter().map(|part| format!("{:?}", part.what)).collect();
    for (source, word) in
        sources.iter().zip(["application/pdf", "words", "y.pdf", "file_1", "inner", "found"])
    {
        assert!(source.contains(word), "{source}");
    }
    assert_eq!(sources.len(), 6);
}

#[test]
fn calls_results_and_thoughts_are_read() {
    let body = json!({"messages": [
        {"role": "assistant", "content": [
            {"type": "thinking", "thinking": "hm", "signature": "sig"},
            {"type": "redacted_thinking", "data": "opaque"},
            {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"b": 1, "a": 2}},
        ]},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "toolu_1", "is_error": true, "content": "no"},
        ]},
    ]})
    .to_string();
    let conversation = read(&body).unwrap();
    let [thought, redacted, call] = conversation.turns[0].parts.as_slice() else { panic!() };
    assert!(
        matches!(&thought.what, What::Reasoning { text, signature: Some(signature), signer: Signer::Anthropic }
        if &**text == "hm" && &**signature == "sig")
    );
    assert!(matches!(&redacted.what, What::Redacted(data) if &**data == "opaque"));
    let What::ToolCall(call) = &call.what else { panic!() };
    assert_eq!(&*call.arguments, r#"{"a":2,"b":1}"#, "as the client wrote it");
    assert!(
        matches!(&conversation.turns[1].parts[0].what, What::ToolResult { id, failed: true, content, .. }
        if &**id == "toolu_1" && content.len() == 1)
    );
}

#[test]
fn unknown_blocks_and_members_are_passed_over() {
    let parts = parts(json!([
        {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}},
        {"type": "web_search_tool_result", "tool_use_id": "s", "content": {"type": "web_search_tool_result_error"}},
        {"type": "hologram", "beam": 1},
        {"type": "text", "text": "x", "citations": null, "later": {}},
    ]));
    assert_eq!(parts.len(), 1);
}

#[test]
fn offers_choices_and_settings_are_read() {
    let body = json!({
        "messages": [], "max_tokens": 9, "temperature": 0.5, "top_k": 3, "stop_sequences": ["END"], "stream": true,
        "tools": [{"name": "f", "input_schema": {"type": "object"}, "strict": true, "cache_control": {"type": "ephemeral", "ttl": "1h"}},
                  {"type": "web_search_20250305", "name": "web_search"}],
        "tool_choice": {"type": "tool", "name": "f", "disable_parallel_tool_use": true},
        "thinking": {"type": "enabled", "budget_tokens": 2000, "display": "omitted"},
        "output_config": {"effort": "xhigh", "format": {"type": "json_schema", "schema": {"x": 1}}},
        "metadata": {"user_id": "u"}, "service_tier": "standard_only", "cache_control": {"type": "ephemeral"},
        "container": "c", "mcp_servers": [{}], "context_management": {"edits": []},
    })
    .to_string();
    let read = read(&body).unwrap();
    assert_eq!((read.max_tokens, read.stream, read.parallel_tools), (Some(9), true, Some(false)));
    assert_eq!(read.tool_choice, Some(ToolChoice::One("f".into())));
    assert!(matches!(&read.tools[0], Tool::Function { strict: Some(true), cache: Some(Cache::Long), .. }));
    assert!(matches!(&read.tools[1], Tool::Hosted { kind } if &**kind == "web_search_20250305"));
    let reasoning =
        Reasoning { effort: Some(Effort::XHigh), budget: Some(2000), shown: Some(false), adaptive: false };
    assert_eq!(read.reasoning, Some(reasoning));
    assert!(
        matches!(read.format, Format::Schema { schema: Some(schema), .. } if schema.get() == r#"{"x":1}"#)
    );
    assert_eq!((read.user.as_deref(), read.service_tier.as_deref()), (Some("u"), Some("default")));
    assert_eq!((read.cache, read.stop.len()), (Some(Cache::Short), 1));
}

#[test]
fn no_thinking_is_a_budget_of_nought() {
    for kind in ["disabled", "between_tools"] {
        let body = json!({"messages": [], "thinking": {"type": kind}}).to_string();
        assert_eq!(read(&body).unwrap().reasoning.unwrap().budget, Some(0), "{kind}");
    }
}

#[test]
fn what_is_wrong_is_named() {
    assert_eq!(param(json!({})), "messages");
    assert_eq!(param(json!({"messages": [], "max_tokens": "many"})), "max_tokens");
    assert_eq!(param(json!({"messages": [{"role": "user", "content": 7}]})), "messages[0].content");
    assert_eq!(param(json!({"messages": [{"role": "tool", "content": ""}]})), "messages[0].role");
    let block =
        |block| json!({"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}, block]}]});
    assert_eq!(param(block(json!({"type": "text"}))), "messages[0].content[1].text");
    assert_eq!(param(block(json!({"type": "text", "text": 1}))), "messages[0].content[1].text");
    assert_eq!(
        param(block(json!({"type": "image", "source": {"type": "base64"}}))),
        "messages[0].content[1].source.media_type"
    );
    assert_eq!(param(json!({"messages": [], "tools": [{"description": ""}]})), "tools[0].name");
    assert_eq!(param(json!({"messages": [], "tool_choice": {"type": "perhaps"}})), "tool_choice.type");
}
