//! What Google is sent.

use super::*;
use crate::dialect::conversation::{
    Effort, Format, Part, Reasoning, Role, Signer, Source, Tool, ToolCall, ToolChoice, Turn, What,
};
use serde_json::value::RawValue;

const NEW: &str = "gemini-3-flash-preview";
const OLD: &str = "gemini-2.5-flash";

fn turn<'a>(role: Role, parts: impl IntoIterator<Item = What<'a>>) -> Turn<'a> {
    Turn { role, parts: parts.into_iter().map(Part::new).collect() }
}

fn text(text: &str) -> What<'_> {
    What::Text { text: text.into(), signature: None }
}

fn call<'a>(id: &'a str, name: &'a str, arguments: &'a str) -> What<'a> {
    let (id, name, arguments) = (id.into(), name.into(), arguments.into());
    What::ToolCall(ToolCall { id, name, arguments, custom: false, signature: None })
}

fn result<'a>(id: &'a str, content: &'a str) -> What<'a> {
    What::ToolResult { id: id.into(), name: None, content: vec![Part::text(content)], failed: false }
}

fn said(turns: Vec<Turn>) -> Conversation {
    Conversation { turns, ..Conversation::default() }
}

fn contents(turns: Vec<Turn>, model: &str) -> Value {
    body(&composed(&said(turns), model).unwrap())["contents"].clone()
}

fn raw(json: &str) -> &RawValue {
    serde_json::from_str(json).unwrap()
}

fn function<'a>(name: &'a str, schema: Option<&'a str>) -> Tool<'a> {
    let parameters = schema.map(raw);
    Tool::Function { name: name.into(), description: None, parameters, strict: None, cache: None }
}

fn hosted(kind: &str) -> Tool<'_> {
    Tool::Hosted { kind: kind.into() }
}

#[test]
fn roles_are_merged_and_instructions_hoisted() {
    let conversation = said(vec![
        turn(Role::System, [text("be kind")]),
        turn(Role::User, [text("a")]),
        turn(Role::User, [text(""), text("b")]),
        turn(Role::Assistant, [text("c")]),
        turn(Role::System, [text("be brief")]),
        turn(Role::Assistant, [What::Refusal("no".into())]),
        turn(Role::User, [text("d")]),
    ]);
    assert_eq!(
        body(&composed(&conversation, OLD).unwrap()),
        value(
            r#"{"contents":[{"role":"user","parts":[{"text":"a"},{"text":"b"}]},
            {"role":"model","parts":[{"text":"c"},{"text":"no"}]},{"role":"user","parts":[{"text":"d"}]}],
            "systemInstruction":{"role":"user","parts":[{"text":"be kind"},{"text":"be brief"}]},"generationConfig":{}}"#
        )
    );
}

#[test]
fn the_user_speaks_first() {
    let first = contents(vec![turn(Role::Assistant, [text("a")])], OLD);
    assert_eq!((&first[0]["role"], &first[1]["role"]), (&value("\"user\""), &value("\"model\"")));
    assert_eq!(contents(vec![turn(Role::System, [text("a")])], OLD)[0]["role"], "user");
}

#[test]
fn results_follow_their_calls_in_order_and_by_name() {
    let said = contents(
        vec![
            turn(Role::User, [text("go")]),
            turn(Role::Assistant, [call("1", "f", r#"{"b":1,"a":2}"#), call("2", "g", "")]),
            turn(Role::User, [result("2", "plain"), text("and?")]),
            turn(Role::User, [result("1", r#"{"x":1}"#)]),
        ],
        NEW,
    );
    assert_eq!(
        said,
        value(
            r#"[{"role":"user","parts":[{"text":"go"}]},
            {"role":"model","parts":[{"functionCall":{"id":"1","name":"f","args":{"b":1,"a":2}},
                "thoughtSignature":"skip_thought_signature_validator"},{"functionCall":{"id":"2","name":"g","args":{}}}]},
            {"role":"user","parts":[{"functionResponse":{"id":"1","name":"f","response":{"x":1}}},
                {"functionResponse":{"id":"2","name":"g","response":{"output":"plain"}}}]},
            {"role":"user","parts":[{"text":"and?"}]}]"#
        )
    );
}

#[test]
fn models_before_3_get_neither_ids_nor_stand_ins() {
    let said = contents(
        vec![turn(Role::Assistant, [call("1", "f", "{}")]), turn(Role::User, [result("1", "x")])],
        OLD,
    );
    assert_eq!(said[1]["parts"], value(r#"[{"functionCall":{"name":"f","args":{}}}]"#));
    assert_eq!(said[2]["parts"], value(r#"[{"functionResponse":{"name":"f","response":{"output":"x"}}}]"#));
}

#[test]
fn the_order_of_keys_is_kept() {
    let conversation = Conversation {
        tools: vec![function("f", Some(r#"{"type":"object","properties":{"z":{},"a":{}}}"#))],
        ..said(vec![
            turn(Role::Assistant, [call("1", "f", r#"{"z":1,"a":2}"#)]),
            turn(Role::User, [result("1", r#"{"z":1,"a":2}"#)]),
        ])
    };
    let sent = String::from_utf8(composed(&conversation, NEW).unwrap().body.contiguous().to_vec()).unwrap();
    assert_eq!(sent.matches(r#"{"z":1,"a":2}"#).count(), 2);
    assert!(
        sent.contains(r#""parametersJsonSchema":{"type":"object","properties":{"z":{},"a":{}}}"#),
        "{sent}"
    );
}

#[test]
fn a_tool_result_without_a_call_is_refused() {
    let refused = |turns| composed(&said(turns), NEW).unwrap_err().why;
    assert!(refused(vec![turn(Role::User, [result("1", "x")])]).contains("answers no call"));
    let twice = vec![
        turn(Role::Assistant, [call("1", "f", "")]),
        turn(Role::User, [result("1", "x"), result("1", "y")]),
    ];
    assert!(refused(twice).contains("answers no call"));
}

#[test]
fn a_call_without_a_result_is_answered_as_failed() {
    let asked = || turn(Role::Assistant, [call("1", "f", ""), call("2", "g", "")]);
    for after in [vec![], vec![turn(Role::User, [text("never mind")])]] {
        let turns = [vec![asked()], after].concat();
        let contents = body(&composed(&said(turns), NEW).unwrap())["contents"].clone();
        let lost = contents[2]["parts"][1]["functionResponse"].clone();
        assert_eq!((&lost["name"], &lost["response"]["error"]), (&value("\"g\""), &value("\"No result.\"")));
    }
}

#[test]
fn results_without_ids_answer_by_name() {
    let unnamed = |name: &'static str| What::ToolResult {
        id: "".into(),
        name: Some(name.into()),
        content: vec![Part::text(name)],
        failed: true,
    };
    let said = contents(
        vec![
            turn(Role::Assistant, [call("", "f", ""), call("", "g", "")]),
            turn(Role::User, [unnamed("g"), unnamed("f")]),
        ],
        NEW,
    );
    assert_eq!(
        said[2]["parts"],
        value(
            r#"[{"functionResponse":{"name":"f","response":{"error":"f"}}},
            {"functionResponse":{"name":"g","response":{"error":"g"}}}]"#
        )
    );
}

#[test]
fn pictures_in_results_go_inside_or_beside() {
    let picture = || {
        let source = Source::Inline { mime: "image/png".into(), data: "AA".into() };
        let content = vec![Part::text("see"), Part::new(What::Image(source))];
        vec![
            turn(Role::Assistant, [call("1", "f", "")]),
            turn(Role::User, [What::ToolResult { id: "1".into(), name: None, content, failed: false }]),
        ]
    };
    let inside = &contents(picture(), NEW)[2]["parts"][0]["functionResponse"];
    assert_eq!(inside["parts"], value(r#"[{"inlineData":{"mimeType":"image/png","data":"AA"}}]"#));
    let beside = contents(picture(), OLD);
    assert_eq!(
        beside[3],
        value(r#"{"role":"user","parts":[{"inlineData":{"mimeType":"image/png","data":"AA"}}]}"#)
    );
}

#[test]
fn a_signature_is_the_calls_own_or_remembered_or_a_stand_in() {
    let mut own = vec![
        turn(Role::Assistant, [call("1", "f", ""), call("2", "f", "")]),
        turn(Role::User, [result("1", ""), result("2", "")]),
        turn(Role::Assistant, [call("3", "f", "")]),
        turn(Role::User, [result("3", "")]),
    ];
    if let What::ToolCall(call) = &mut own[0].parts[1].what {
        call.signature = Some("own".into());
    }
    let signature = |id: &str| (id == "3").then(|| String::from("remembered"));
    let target = Target { model: NEW, habits: Habits::default(), signature: &signature };
    let sent = body(&compose(&said(own), &target).unwrap());
    let of = |turn: usize, part: usize| sent["contents"][turn]["parts"][part]["thoughtSignature"].clone();
    assert_eq!(of(1, 0), "skip_thought_signature_validator");
    assert_eq!((of(1, 1), of(3, 0)), (value("\"own\""), value("\"remembered\"")));
}

#[test]
fn thoughts_of_others_are_left_out() {
    let thought = |signer| What::Reasoning { text: "hm".into(), signature: Some("s".into()), signer };
    let said = contents(
        vec![
            turn(Role::User, [text("a")]),
            turn(
                Role::Assistant,
                [
                    thought(Signer::Anthropic),
                    thought(Signer::Google),
                    What::Redacted("r".into()),
                    thought(Signer::OpenAi),
                ],
            ),
        ],
        NEW,
    );
    assert_eq!(said[1]["parts"], value(r#"[{"text":"hm","thought":true,"thoughtSignature":"s"}]"#));
}

#[test]
fn files_are_bytes_or_addresses() {
    let url = |url: &'static str| Source::Url { url: url.into(), mime: None };
    let said = contents(
        vec![turn(
            Role::User,
            [
                What::Image(url("https://x/a.webp")),
                What::Image(url("https://x/a")),
                What::Audio(Source::Inline { mime: "audio/wav".into(), data: "AA".into() }),
                What::Video(url("gs://b/v.mov")),
                What::Document { source: url("https://x/d"), name: None },
                What::Document { source: Source::Text("plain".into()), name: None },
                What::Image(Source::File("https://generativelanguage.googleapis.com/v1beta/files/1".into())),
            ],
        )],
        NEW,
    );
    assert_eq!(
        said[0]["parts"],
        value(
            r#"[{"fileData":{"mimeType":"image/webp","fileUri":"https://x/a.webp"}},
            {"fileData":{"mimeType":"image/jpeg","fileUri":"https://x/a"}},
            {"inlineData":{"mimeType":"audio/wav","data":"AA"}},
            {"fileData":{"mimeType":"video/quicktime","fileUri":"gs://b/v.mov"}},
            {"fileData":{"mimeType":"application/pdf","fileUri":"https://x/d"}},{"text":"plain"},
            {"fileData":{"fileUri":"https://generativelanguage.googleapis.com/v1beta/files/1"}}]"#
        )
    );
    let stored = What::Image(Source::File("file-abc".into()));
    assert!(composed(&self::said(vec![turn(Role::User, [stored])]), NEW).is_err());
}

#[test]
fn arguments_become_an_object() {
    let args = |arguments: &'static str, custom| {
        let mut asked = turn(Role::Assistant, [call("1", "f", arguments)]);
        if let What::ToolCall(call) = &mut asked.parts[0].what {
            call.custom = custom;
        }
        contents(vec![asked, turn(Role::User, [result("1", "")])], OLD)[1]["parts"][0]["functionCall"]["args"]
            .clone()
    };
    assert_eq!(args("", false), value("{}"));
    assert_eq!(args(" null", false), value("{}"));
    assert_eq!(args(r#" {"a":1}"#, false), value(r#"{"a":1}"#));
    assert_eq!(args("[1]", false), value(r#"{"input":[1]}"#));
    assert_eq!(args(r#"{"a":"#, false), value(r#"{"input":"{\"a\":"}"#));
    assert_eq!(args(r#"{"a":1}"#, true), value(r#"{"input":"{\"a\":1}"}"#));
}

fn offering<'a>(tools: Vec<Tool<'a>>, tool_choice: Option<ToolChoice<'a>>) -> Conversation<'a> {
    Conversation { tools, tool_choice, ..said(vec![turn(Role::User, [text("a")])]) }
}

#[test]
fn every_choice_has_a_mode() {
    let config = |choice| {
        body(&composed(&offering(vec![function("f", None)], choice), NEW).unwrap())["toolConfig"].clone()
    };
    let mode = |json: &str| value(&format!(r#"{{"functionCallingConfig":{json}}}"#));
    assert_eq!(config(None), Value::Null);
    assert_eq!(config(Some(ToolChoice::Auto)), Value::Null);
    assert_eq!(config(Some(ToolChoice::None)), mode(r#"{"mode":"NONE"}"#));
    assert_eq!(config(Some(ToolChoice::Required)), mode(r#"{"mode":"ANY"}"#));
    let one = Some(ToolChoice::One("f".into()));
    assert_eq!(config(one), mode(r#"{"mode":"ANY","allowedFunctionNames":["f"]}"#));
    let allowed = |required| Some(ToolChoice::Allowed { required, names: vec!["f".into()] });
    assert_eq!(config(allowed(true)), mode(r#"{"mode":"ANY","allowedFunctionNames":["f"]}"#));
    assert_eq!(config(allowed(false)), mode(r#"{"mode":"VALIDATED","allowedFunctionNames":["f"]}"#));
    assert_eq!(
        body(&composed(&offering(vec![], Some(ToolChoice::Required)), NEW).unwrap()).get("toolConfig"),
        None
    );
}

#[test]
fn names_that_google_refuses_are_changed_reversibly() {
    let long = "x".repeat(200);
    let conversation = Conversation {
        tools: vec![function("a b", None), function("a_b", None), function("1", None), function(&long, None)],
        tool_choice: Some(ToolChoice::One("a b".into())),
        ..said(vec![
            turn(Role::Assistant, [call("1", "a b", ""), call("2", "gone/é", "")]),
            turn(Role::User, [result("1", ""), result("2", "")]),
        ])
    };
    let composed = composed(&conversation, NEW).unwrap();
    let sent = body(&composed);
    let names: Vec<&str> = sent["tools"][0]["functionDeclarations"]
        .as_array()
        .unwrap()
        .iter()
        .map(|function| function["name"].as_str().unwrap())
        .collect();
    assert_eq!(names[..3], ["a_b_2", "a_b", "_1"]);
    assert_eq!(names[3].len(), 128);
    assert_eq!(sent["toolConfig"]["functionCallingConfig"]["allowedFunctionNames"][0], "a_b_2");
    assert_eq!(sent["contents"][1]["parts"][0]["functionCall"]["name"], "a_b_2");
    assert_eq!(sent["contents"][2]["parts"][1]["functionResponse"]["name"], "gone__");
    assert_eq!(composed.renamed[0], ("a_b_2".into(), "a b".into()));
    assert_eq!(composed.renamed.len(), 4);
}

#[test]
fn a_custom_tool_takes_one_text() {
    let custom = Tool::Custom {
        name: "patch".into(),
        description: Some("d".into()),
        format: Some(raw(r#"{"type":"grammar"}"#)),
    };
    let sent = body(&composed(&offering(vec![custom], None), NEW).unwrap());
    assert_eq!(
        sent["tools"][0]["functionDeclarations"][0],
        value(
            r#"{"name":"patch","description":"d","parametersJsonSchema":{"type":"object","properties":{"input":
            {"type":"string","description":"Plain text of this format: {\"type\":\"grammar\"}"}},"required":["input"]}}"#
        )
    );
}

#[test]
fn tools_of_other_hosts_are_googles_where_it_has_them() {
    let tools = |kinds: &[&'static str]| {
        composed(&offering(kinds.iter().map(|kind| hosted(kind)).collect(), None), NEW)
            .map(|composed| body(&composed)["tools"].clone())
    };
    assert_eq!(
        tools(&["web_search_20250305", "code_interpreter", "urlContext"]).unwrap(),
        value(r#"[{"googleSearch":{}},{"codeExecution":{}},{"urlContext":{}}]"#)
    );
    assert_eq!(tools(&["image_generation"]).unwrap_err().param, "tools");
    let beside = offering(vec![function("f", None), hosted("image_generation")], None);
    assert_eq!(body(&composed(&beside, NEW).unwrap())["tools"].as_array().unwrap().len(), 1);
}

fn schema(tools: Vec<Tool<'static>>, tool_choice: Option<ToolChoice<'static>>, model: &str) -> Composed {
    let schema = Some(raw(r#"{"type":"object"}"#));
    let format = Format::Schema { name: None, description: None, schema, strict: None };
    composed(&Conversation { format, ..offering(tools, tool_choice) }, model).unwrap()
}

#[test]
fn a_format_is_given_as_json_schema() {
    for (model, tools) in [(OLD, vec![]), (NEW, vec![function("f", None)])] {
        let composed = schema(tools, None, model);
        let config = &body(&composed)["generationConfig"];
        assert_eq!(
            config,
            &value(r#"{"responseMimeType":"application/json","responseJsonSchema":{"type":"object"}}"#)
        );
        assert_eq!(composed.answer_tool, None);
    }
}

#[test]
fn a_format_beside_functions_is_one_more_function_before_gemini_3() {
    let composed = schema(vec![function("f", None), function("final_answer", None)], None, OLD);
    let sent = body(&composed);
    let functions = &sent["tools"][0]["functionDeclarations"];
    assert_eq!(functions[2]["name"], "final_answer_");
    assert_eq!(functions[2]["parametersJsonSchema"], value(r#"{"type":"object"}"#));
    assert_eq!(composed.answer_tool.as_deref(), Some("final_answer_"));
    assert_eq!(sent["toolConfig"]["functionCallingConfig"], value(r#"{"mode":"ANY"}"#));
    assert_eq!(sent["generationConfig"], value("{}"));
    let forced = schema(vec![function("f", None)], Some(ToolChoice::Required), OLD);
    assert_eq!(
        (forced.answer_tool.as_deref(), body(&forced)["generationConfig"].to_string().as_str()),
        (None, "{}")
    );
    let without = schema(vec![function("f", None)], Some(ToolChoice::None), OLD);
    assert_eq!(body(&without).get("tools"), None);
    assert_eq!(body(&without)["generationConfig"]["responseMimeType"], "application/json");
}

fn thinking(reasoning: Reasoning, model: &str) -> Value {
    let conversation = Conversation { reasoning: Some(reasoning), ..offering(vec![], None) };
    body(&composed(&conversation, model).unwrap())["generationConfig"]["thinkingConfig"].clone()
}

#[test]
fn effort_is_a_level_or_a_budget_by_model() {
    let of = |effort, model| thinking(Reasoning { effort: Some(effort), ..Reasoning::default() }, model);
    let level = |level: &str| value(&format!(r#"{{"thinkingLevel":"{level}","includeThoughts":true}}"#));
    let budget = |budget: i64| value(&format!(r#"{{"thinkingBudget":{budget},"includeThoughts":true}}"#));
    assert_eq!(of(Effort::None, "gemini-3.5-flash"), value(r#"{"thinkingLevel":"MINIMAL"}"#));
    assert_eq!(of(Effort::Minimal, "gemini-3.8-flash"), level("LOW"));
    assert_eq!(of(Effort::None, "gemini-3.1-pro-preview"), value(r#"{"thinkingLevel":"LOW"}"#));
    assert_eq!(of(Effort::Low, NEW), level("LOW"));
    assert_eq!(of(Effort::Medium, "gemini-flash-latest"), level("MEDIUM"));
    assert_eq!(of(Effort::Medium, "gemini-3-pro-preview"), level("HIGH"));
    assert_eq!(of(Effort::Max, "models/gemini-3.1-pro-preview"), level("HIGH"));
    assert_eq!(of(Effort::None, OLD), value(r#"{"thinkingBudget":0}"#));
    assert_eq!(of(Effort::None, "gemini-2.5-pro"), value(r#"{"thinkingBudget":128}"#));
    assert_eq!(of(Effort::Low, OLD), budget(1024));
    assert_eq!(of(Effort::Max, "gemini-2.5-pro"), budget(32768));
    for model in ["gemini-2.0-flash", "gemma-3-27b-it", "gemini-2.5-flash-image"] {
        assert_eq!(of(Effort::High, model), Value::Null, "{model}");
    }
}

#[test]
fn budgets_are_kept_within_bounds_and_thoughts_shown() {
    let budget = |budget| Reasoning { budget: Some(budget), shown: Some(true), ..Reasoning::default() };
    assert_eq!(thinking(budget(99999), OLD), value(r#"{"thinkingBudget":24576,"includeThoughts":true}"#));
    assert_eq!(
        thinking(budget(9), "gemini-2.5-flash-lite"),
        value(r#"{"thinkingBudget":512,"includeThoughts":true}"#)
    );
    assert_eq!(thinking(budget(0), OLD), value(r#"{"thinkingBudget":0}"#));
    assert_eq!(thinking(budget(8000), NEW), value(r#"{"thinkingLevel":"MEDIUM","includeThoughts":true}"#));
    let adaptive = Reasoning { adaptive: true, ..Reasoning::default() };
    assert_eq!(thinking(adaptive, OLD), value(r#"{"thinkingBudget":-1,"includeThoughts":true}"#));
    assert_eq!(thinking(adaptive, NEW), Value::Null);
}

#[test]
fn sampling_goes_where_it_is_known() {
    let conversation = Conversation {
        max_tokens: Some(5),
        temperature: Some(1.into()),
        top_p: Some(1.into()),
        top_k: Some(4.into()),
        presence_penalty: Some(2.into()),
        frequency_penalty: Some(3.into()),
        seed: Some(7.into()),
        stop: vec!["x".into(), "".into()],
        answers: Some(2),
        modalities: vec!["text".into(), "image".into()],
        ..offering(vec![], None)
    };
    let config = |model| body(&composed(&conversation, model).unwrap())["generationConfig"].clone();
    assert_eq!(
        config(OLD),
        value(
            r#"{"maxOutputTokens":5,"temperature":1,"topP":1,"topK":4,"presencePenalty":2,"frequencyPenalty":3,"seed":7,
            "stopSequences":["x"],"candidateCount":2,"responseModalities":["TEXT","IMAGE"]}"#
        )
    );
    assert_eq!((&config(NEW)["topK"], config(NEW).get("presencePenalty")), (&value("4"), None));
    assert_eq!(config("gemini-3.6-flash").get("temperature"), None);
    assert_eq!(config("gemini-3.5-flash-lite").get("topP"), None);
    assert_eq!(config("gemini-3.5-flash")["topP"], 1);
}

#[test]
fn labels_and_tiers_go_the_hosts_way() {
    let conversation = Conversation {
        metadata: Some(raw(r#"{"team":"a-1","Bad Key":"x","ok":"No","n":1}"#)),
        user: Some("u_1".into()),
        service_tier: Some("flex".into()),
        ..offering(vec![], None)
    };
    let on = |vertex| {
        let habits = Habits { vertex, ..Habits::default() };
        compose(&conversation, &Target { model: NEW, habits, signature: &|_| None }).unwrap()
    };
    let (vertex, studio) = (on(true), on(false));
    assert_eq!(body(&vertex)["labels"], value(r#"{"team":"a-1","user":"u_1"}"#));
    assert_eq!(body(&vertex).get("serviceTier"), None);
    assert_eq!(vertex.headers, [("x-vertex-ai-llm-shared-request-type", String::from("flex"))]);
    assert_eq!((body(&studio).get("labels"), &body(&studio)["serviceTier"]), (None, &value("\"flex\"")));
    assert!(studio.headers.is_empty());
}
