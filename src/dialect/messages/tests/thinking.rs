//! How much is thought, by what the client says and what the model knows.

use serde_json::{json, Value};

use super::body_for;
use crate::dialect::conversation::*;

fn body(model: &str, reasoning: Reasoning) -> Value {
    let turns = vec![Turn { role: Role::User, parts: vec![Part::text("hi")] }];
    body_for(model, &Conversation { turns, reasoning: Some(reasoning), ..Conversation::default() })
}

fn thought(model: &str, reasoning: Reasoning) -> (Value, Value) {
    let body = body(model, reasoning);
    (body["thinking"].clone(), body["output_config"]["effort"].clone())
}

fn effort(effort: Effort) -> Reasoning {
    Reasoning { effort: Some(effort), ..Reasoning::default() }
}

fn budget(budget: u64) -> Reasoning {
    Reasoning { budget: Some(budget), ..Reasoning::default() }
}

#[test]
fn an_effort_is_said_as_such_to_newer_models_and_as_a_budget_to_older_ones() {
    let adaptive = json!({"type": "adaptive", "display": "summarized"});
    assert_eq!(thought("claude-opus-5", effort(Effort::XHigh)), (adaptive.clone(), json!("xhigh")));
    assert_eq!(thought("claude-opus-4-6", effort(Effort::Minimal)), (adaptive, json!("low")));
    let enabled = |budget| json!({"type": "enabled", "budget_tokens": budget});
    assert_eq!(thought("claude-haiku-4-5", effort(Effort::Medium)), (enabled(8192), Value::Null));
    assert_eq!(thought("claude-opus-4-5", effort(Effort::Max)), (enabled(32_000), json!("high")));
    assert_eq!(thought("claude-3-5-haiku-latest", effort(Effort::High)), (Value::Null, Value::Null));
}

#[test]
fn a_budget_is_kept_where_it_is_known_and_an_effort_elsewhere() {
    let enabled = |budget| (json!({"type": "enabled", "budget_tokens": budget}), Value::Null);
    assert_eq!(thought("claude-sonnet-4-6", budget(5000)), enabled(5000));
    assert_eq!(thought("claude-sonnet-4-5", budget(10)), enabled(1024));
    assert_eq!(thought("claude-sonnet-4-5", budget(1_000_000)), enabled(63_999));
    assert_eq!(thought("claude-opus-4-8", budget(5000)).1, "medium");
}

#[test]
fn no_thinking_is_said_in_four_ways() {
    for none in [effort(Effort::None), budget(0)] {
        assert_eq!(thought("claude-opus-4-8", none), (Value::Null, Value::Null));
        assert_eq!(thought("claude-opus-5", none), (json!({"type": "disabled"}), Value::Null));
        assert_eq!(thought("claude-sonnet-5-5", none), (json!({"type": "between_tools"}), Value::Null));
        assert_eq!(thought("claude-opus-5-5", none), (Value::Null, json!("low")));
    }
    let both = Reasoning { effort: Some(Effort::Max), ..budget(0) };
    assert_eq!(thought("claude-opus-5", both), (json!({"type": "disabled"}), json!("high")));
}

#[test]
fn thoughts_are_in_words_unless_the_client_wants_none() {
    let hidden = Reasoning { adaptive: true, shown: Some(false), ..Reasoning::default() };
    assert_eq!(thought("claude-opus-5", hidden).0, json!({"type": "adaptive", "display": "omitted"}));
    assert_eq!(thought("claude-haiku-4-5", hidden).0["display"], "omitted");
}

#[test]
fn sampling_and_thinking_exclude_each_other() {
    let turns = vec![Turn { role: Role::User, parts: vec![Part::text("hi")] }];
    let mut conversation = Conversation { turns, temperature: Some(0.into()), ..Conversation::default() };
    assert_eq!(body_for("claude-haiku-4-5", &conversation)["temperature"], 0);
    conversation.reasoning = Some(effort(Effort::Low));
    assert_eq!(body_for("claude-haiku-4-5", &conversation).get("temperature"), None);
}

#[test]
fn a_forced_call_ends_the_thinking() {
    let name: crate::dialect::json::Str = "f".into();
    let tool = Tool::Function { name, description: None, parameters: None, strict: None, cache: None };
    let turns = vec![Turn { role: Role::User, parts: vec![Part::text("hi")] }];
    let conversation = Conversation {
        turns,
        tools: vec![tool],
        tool_choice: Some(ToolChoice::Required),
        reasoning: Some(effort(Effort::Max)),
        ..Conversation::default()
    };
    assert_eq!(body_for("claude-haiku-4-5", &conversation).get("thinking"), None);
    let default_on = body_for("claude-sonnet-5", &conversation);
    assert_eq!(default_on["thinking"], json!({"type": "disabled"}));
    assert_eq!(default_on["output_config"]["effort"], "high");
    assert_eq!(
        body_for("claude-opus-5-5", &conversation)["thinking"]["type"],
        "adaptive",
        "it is not forced"
    );
}

#[test]
fn a_loop_of_calls_that_began_without_a_thought_goes_on_without() {
    let history = |thought: Option<&'static str>| {
        let thought = thought.map(|signature| {
            let signer = Signer::Anthropic;
            Part::new(What::Reasoning { text: "hm".into(), signature: Some(signature.into()), signer })
        });
        let call = ToolCall {
            id: "a".into(),
            name: "f".into(),
            arguments: "{}".into(),
            custom: false,
            signature: None,
        };
        let result = What::ToolResult { id: "a".into(), name: None, content: vec![], failed: false };
        let spoken = thought.into_iter().chain([Part::new(What::ToolCall(call))]).collect();
        let turns = vec![
            Turn { role: Role::User, parts: vec![Part::text("hi")] },
            Turn { role: Role::Assistant, parts: spoken },
            Turn { role: Role::User, parts: vec![Part::new(result)] },
        ];
        Conversation { turns, reasoning: Some(budget(2000)), ..Conversation::default() }
    };
    assert_eq!(body_for("claude-haiku-4-5", &history(None)).get("thinking"), None);
    assert_eq!(body_for("claude-haiku-4-5", &history(Some("sig")))["thinking"]["type"], "enabled");
    assert_eq!(body_for("claude-opus-5", &history(None))["thinking"]["type"], "adaptive");
}

#[test]
fn a_begun_answer_is_not_thought_about() {
    let turns = vec![
        Turn { role: Role::User, parts: vec![Part::text("hi")] },
        Turn { role: Role::Assistant, parts: vec![Part::text("It")] },
    ];
    let conversation = Conversation { turns, reasoning: Some(budget(2000)), ..Conversation::default() };
    assert_eq!(body_for("claude-haiku-4-5", &conversation).get("thinking"), None);
}
