//! Recorded traffic: every answer through the reader, every request there and back.
//!
//! What is expected is taken out of the recording by other code than the reader's: a tree and plain sums.

use super::*;
use crate::dialect::conversation::Conversation;
use crate::dialect::gemini::writer::GeminiWriter;
use crate::dialect::reply::Block;
use crate::dialect::WriteReply;

macro_rules! recorded {
    ($($path:literal),* $(,)?) => {
        &[$(($path, include_str!(concat!("../../../../tests/golden/fixtures/", $path)))),*]
    };
}

/// Streams as server-sent events, as lists and as lines; whole answers.
const ANSWERS: &[(&str, &str)] = recorded![
    "llm-gemini/gemini/nested_model_direct_reference_0.array.json",
    "llm-gemini/gemini/prompt_0.array.json",
    "llm-gemini/gemini/tools_0.array.json",
    "llm-gemini/gemini/tools_1.array.json",
    "llm-gemini/gemini/tools_2.array.json",
    "llm-gemini/gemini/tools_with_gemini_3_thought_signatures_0.array.json",
    "llm-gemini/gemini/tools_with_gemini_3_thought_signatures_1.array.json",
    "llm-gemini/gemini/tools_with_nested_pydantic_models_0.array.json",
    "llm-gemini/gemini/tools_with_nested_pydantic_models_1.array.json",
    "pydantic-ai/gemini/code_execution_0.json",
    "pydantic-ai/gemini/google_dict_with_additional_properties_native_output_0.json",
    "pydantic-ai/gemini/google_model_file_search_grounding_gemini_3_True_3.sse",
    "pydantic-ai/gemini/google_model_file_search_tool_stream_3.sse",
    "pydantic-ai/gemini/google_model_gemini_3_5_flash_0.json",
    "pydantic-ai/gemini/google_model_mobile_youtube_video_url_input_0.json",
    "pydantic-ai/gemini/google_model_thinking_part_iter_0.sse",
    "pydantic-ai/gemini/google_prompted_output_with_tools_0.json",
    "pydantic-ai/gemini/google_prompted_output_with_tools_1.json",
    "pydantic-ai/gemini/google_vertex_logprobs_without_top_logprobs_0.json",
    "pydantic-ai/gemini/mixed_content_ordering_google_vertex_0.json",
    "pydantic-ai/gemini/mixed_content_ordering_google_vertex_1.json",
    "pydantic-ai/gemini/mixed_content_ordering_google_vertex_2.json",
    "pydantic-ai/gemini/multimodal_tool_return_matrix_direct-binary-image-google_2_5_1.json",
    "pydantic-ai/gemini/native_output_with_function_tools_stream_0.sse",
    "pydantic-ai/gemini/native_output_with_function_tools_stream_1.sse",
    "pydantic-ai/gemini/tool_choice_matrix_auto-google_0.json",
    "pydantic-ai/gemini/tool_choice_matrix_auto-google_1.json",
    "pydantic-ai/gemini/tool_choice_matrix_list_single-google_0.json",
    "vercel-ai/gemini/google-reasoning.json",
    "vercel-ai/gemini/google-reasoning.jsonl",
    "vercel-ai/gemini/google-stream-no-args-tool-call.jsonl",
    "vercel-ai/gemini/google-stream-tool-call-array-arguments-missing-terminal-function-call.jsonl",
    "vercel-ai/gemini/google-text.json",
    "vercel-ai/gemini/google-tool-call-gemini3.json",
    "vercel-ai/gemini/google-tool-call.json",
    "vercel-ai/gemini/google-tool-call.jsonl",
    "vercel-ai/gemini/google-vertex-stream-tool-call-arguments-nested.1.jsonl",
];

/// Requests of real clients, long texts cut.
const REQUESTS: &[(&str, &str)] = recorded![
    "llm-gemini/gemini/nested_model_direct_reference_0.request.json",
    "llm-gemini/gemini/prompt_0.request.json",
    "llm-gemini/gemini/tools_0.request.json",
    "llm-gemini/gemini/tools_1.request.json",
    "llm-gemini/gemini/tools_2.request.json",
    "llm-gemini/gemini/tools_with_gemini_3_thought_signatures_0.request.json",
    "llm-gemini/gemini/tools_with_gemini_3_thought_signatures_1.request.json",
    "llm-gemini/gemini/tools_with_nested_pydantic_models_0.request.json",
    "llm-gemini/gemini/tools_with_nested_pydantic_models_1.request.json",
    "pydantic-ai/gemini/code_execution_0.request.json",
    "pydantic-ai/gemini/google_dict_with_additional_properties_native_output_0.request.json",
    "pydantic-ai/gemini/google_model_gemini_3_5_flash_0.request.json",
    "pydantic-ai/gemini/google_model_mobile_youtube_video_url_input_0.request.json",
    "pydantic-ai/gemini/google_model_thinking_part_iter_0.request.json",
    "pydantic-ai/gemini/google_prompted_output_with_tools_0.request.json",
    "pydantic-ai/gemini/google_prompted_output_with_tools_1.request.json",
    "pydantic-ai/gemini/google_vertex_logprobs_without_top_logprobs_0.request.json",
    "pydantic-ai/gemini/mixed_content_ordering_google_vertex_0.request.json",
    "pydantic-ai/gemini/mixed_content_ordering_google_vertex_1.request.json",
    "pydantic-ai/gemini/mixed_content_ordering_google_vertex_2.request.json",
    "pydantic-ai/gemini/multimodal_tool_return_matrix_direct-binary-image-google_2_5_1.request.json",
    "pydantic-ai/gemini/native_output_with_function_tools_stream_0.request.json",
    "pydantic-ai/gemini/native_output_with_function_tools_stream_1.request.json",
    "pydantic-ai/gemini/tool_choice_matrix_auto-google_0.request.json",
    "pydantic-ai/gemini/tool_choice_matrix_auto-google_1.request.json",
    "pydantic-ai/gemini/tool_choice_matrix_list_single-google_0.request.json",
];

/// What a schema of the answer is called.
const SCHEMAS: &[&str] = &["responseJsonSchema", "responseSchema", "response_schema"];

/// The JSON of each event.
fn events(path: &str, text: &str) -> Vec<String> {
    if path.ends_with(".sse") {
        return text.lines().filter_map(|line| line.strip_prefix("data: ")).map(str::to_owned).collect();
    }
    if path.ends_with(".jsonl") {
        return text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect();
    }
    match value(text) {
        Value::Array(events) => events.iter().map(Value::to_string).collect(),
        _ => vec![text.to_owned()],
    }
}

/// Text, thoughts, and calls without those in pieces, of a recording.
fn expected(events: &[Value]) -> (String, String, Vec<(String, Value)>) {
    let (mut text, mut thoughts, mut calls) = (String::new(), String::new(), Vec::new());
    for part in events.iter().flat_map(|event| list(&event["candidates"][0]["content"]["parts"])) {
        if let Some(more) = part["text"].as_str() {
            if part["thought"] == true { &mut thoughts } else { &mut text }.push_str(more);
        }
        if let Some(code) = part["executableCode"]["code"].as_str() {
            text += &format!("\n```python\n{}\n```\n", code.trim_end_matches('\n'));
        }
        if let Some(output) = part["codeExecutionResult"]["output"].as_str() {
            text += &format!("\n```\n{}\n```\n", output.trim_end_matches('\n'));
        }
        if let Some(name) = part["functionCall"]["name"].as_str() {
            let args = &part["functionCall"]["args"];
            calls.push((name.to_owned(), if args.is_null() { value("{}") } else { args.clone() }));
        }
    }
    (text, thoughts, calls)
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// Text, thoughts and calls of a reply.
fn given(reply: &Reply) -> (String, String, Vec<(String, Value)>) {
    let (mut text, mut thoughts, mut calls) = (String::new(), String::new(), Vec::new());
    for block in reply.choices.iter().flat_map(|choice| &choice.blocks) {
        match block {
            Block::Text(more) => text += more,
            Block::Reasoning { text: more, .. } => thoughts += more,
            Block::ToolCall { name, arguments, .. } => calls.push((name.clone(), value(arguments))),
            _ => panic!("{block:?}"),
        }
    }
    (text, thoughts, calls)
}

fn check(path: &str, log: &Log, trees: &[Value]) {
    assert_eq!((log.starts, log.finishes.as_slice()), (1, &[0][..]), "{path}");
    let (text, thoughts, calls) = expected(trees);
    let (given_text, given_thoughts, given_calls) = given(&log.reply);
    assert_eq!((given_text, given_thoughts), (text, thoughts), "{path}");
    if !trees.iter().any(|tree| tree.to_string().contains("willContinue")) {
        assert_eq!(given_calls, calls, "{path}");
    }
    let mut counted = trees.iter().map(|tree| &tree["usageMetadata"]);
    let last = counted.rfind(|usage| usage["totalTokenCount"].is_u64());
    let of = |name: &str| last.and_then(|usage| usage[name].as_u64()).unwrap_or(0);
    let usage = log.reply.usage.unwrap_or_default();
    assert_eq!(usage.prompt, of("promptTokenCount") + of("toolUsePromptTokenCount"), "{path}");
    assert_eq!(usage.completion, of("candidatesTokenCount") + of("thoughtsTokenCount"), "{path}");
    assert_eq!((usage.total, usage.cached), (of("totalTokenCount"), of("cachedContentTokenCount")), "{path}");
    assert_eq!(usage.total, usage.prompt + usage.completion, "{path}");
}

#[test]
fn every_recorded_answer_is_read_as_a_stream_and_whole() {
    for (path, text) in ANSWERS {
        let events = events(path, text);
        let trees: Vec<Value> = events.iter().map(|event| value(event)).collect();
        let (log, seen) = stream(events.iter().map(String::as_str));
        assert_eq!(seen, Ok(Seen::Last), "{path}");
        check(path, &log, &trees);
        let (at_once, seen) = whole(&format!("[{}]", events.join(",")));
        assert_eq!((seen, &at_once.reply), (Ok(Seen::Last), &log.reply), "{path}");
        if let [one] = events.as_slice() {
            assert_eq!(whole(one).0.reply, log.reply, "{path}");
        }
    }
}

#[test]
fn every_recorded_answer_is_written_and_read_back() {
    for (path, text) in ANSWERS {
        let (log, _) = stream(events(path, text).iter().map(String::as_str));
        let conversation = Conversation {
            reasoning: Some(crate::dialect::conversation::Reasoning {
                shown: Some(true),
                ..Default::default()
            }),
            ..Conversation::default()
        };
        let written = GeminiWriter::new(&conversation, STAMP).whole(&log.reply);
        let (again, _) = whole(std::str::from_utf8(&written).unwrap());
        assert_eq!(again.reply.choices, log.reply.choices, "{path}");
        assert_eq!(again.reply.usage, log.reply.usage, "{path}");
    }
}

#[test]
fn arguments_in_pieces_are_whole_in_the_end() {
    let calls = |wanted: &str| {
        let (path, text) = ANSWERS.iter().find(|(path, _)| path.contains(wanted)).unwrap();
        given(&stream(events(path, text).iter().map(String::as_str)).0.reply).2
    };
    let nested = calls("arguments-nested");
    assert_eq!(nested[0].0, "cookRecipe");
    assert!(nested[0].1["recipe"]["ingredients"][0]["name"].is_string(), "{nested:?}");
    let items = calls("missing-terminal");
    assert_eq!(items[0].1["operations"][0]["description"], "Fresh red apple");
}

#[test]
fn a_recorded_refusal_is_a_failure() {
    let text = include_str!("../../../../tests/golden/fixtures/vercel-ai/gemini/google-429-retry-info.json");
    assert_eq!(whole(text).1, Ok(Seen::Failure));
}

/// What may differ between a request and what it becomes: spelling, and what is made up or says nothing.
fn normal(value: &Value) -> Value {
    match value {
        Value::Array(items) => items.iter().filter(|item| item["text"] != "").map(normal).collect(),
        Value::Object(members) => members
            .iter()
            .filter(|(_, value)| !MADE_UP.iter().any(|made_up| *value == made_up))
            .map(|(key, value)| (camel(key), normal(value)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
        Value::String(text) => text.replace('-', "+").replace('_', "/").into(),
        other => other.clone(),
    }
}

/// Given to calls without an id or, for older models, a signature.
const MADE_UP: &[&str] = &["skip_thought_signature_validator", "call_1", "call_2"];

fn camel(key: &str) -> String {
    let mut words = key.split('_');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |name, word| match word.split_at_checked(1) {
        Some((head, tail)) => name + &head.to_ascii_uppercase() + tail,
        None => name + "_",
    })
}

#[test]
fn every_recorded_request_keeps_its_turns() {
    for (path, text) in REQUESTS {
        let sent = round(text, "gemini-3-flash-preview");
        let recorded = value(text);
        assert_eq!(normal(&sent["contents"]), normal(&recorded["contents"]), "{path}");
        let instruction = |tree: &Value| normal(&tree["systemInstruction"]["parts"]);
        assert_eq!(instruction(&sent), instruction(&recorded), "{path}");
        let names = |tree: &Value| -> Vec<Value> {
            list(&tree["tools"])
                .flat_map(|set| {
                    list(&normal(set)["functionDeclarations"])
                        .map(|tool| tool["name"].clone())
                        .collect::<Vec<_>>()
                })
                .collect()
        };
        assert_eq!(names(&sent), names(&recorded), "{path}");
        let (config, before) = (&sent["generationConfig"], &recorded["generationConfig"]);
        let schema = SCHEMAS.iter().find_map(|name| before.get(name));
        assert_eq!(config.get("responseJsonSchema"), schema, "{path}");
        let mime = before.get("responseMimeType").or(before.get("response_mime_type"));
        assert_eq!(config.get("responseMimeType"), mime, "{path}");
    }
}
