//! Tools, which of them must be called, and the tool that only stands for the answer's JSON.
//!
//! Anthropic has no plain-text tools: these become one of a single text. Tools that a provider runs itself are offers
//! of that provider. Some models cannot be forced to call, and none while it thinks; there a forced call becomes an
//! offer of that tool alone, which is as near as these models let one come (the SDKs of others do the same). History
//! with calls needs tools, so a conversation that has dropped its tools is given one that may not be called.
//!
//! Sources: API reference (tools, tool_choice), whats-new pages of Opus 5.5 and Sonnet 5.5 (forced use), LiteLLM and
//! @ai-sdk/anthropic for the two substitutes.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::body::{Choice, Mark, Offer};
use super::models::Model;
use super::names::Names;
use crate::dialect::conversation::{Conversation, Format, Tool, ToolChoice, Untranslatable};

/// What `compose` needs of the tools.
#[derive(Default)]
pub struct Tools<'a> {
    /// The offers.
    pub offers: Vec<Offer<'a>>,
    /// Which must be called.
    pub choice: Option<Choice<'a>>,
    /// Provider's names and client's names where they differ.
    pub renamed: Vec<(String, String)>,
    /// The tool that stands for the answer's JSON.
    pub answer_tool: Option<String>,
}

impl<'a> Tools<'a> {
    /// Composes them.
    pub fn of(
        conversation: &'a Conversation,
        model: Model,
        names: &mut Names<'a>,
    ) -> Result<Self, Untranslatable> {
        let mut tools = Self::default();
        for tool in conversation.tools.iter().filter(|tool| is_offered(tool, conversation, model)) {
            tools.offer(tool, names, model);
        }
        if tools.offers.is_empty() {
            hosted_alone(&conversation.tools)?;
        }
        tools.choice = match &conversation.tool_choice {
            _ if tools.offers.is_empty() => None,
            Some(choice) => Some(chosen(choice, model, names)),
            // Only a choice can say that there may be one call at a time.
            None => conversation.parallel_tools.is_some_and(|parallel| !parallel).then(|| kind("auto")),
        };
        if let Some(schema) = answer_schema(conversation).filter(|_| !model.structured) {
            tools.answer_by_tool(schema, names, &conversation.tool_choice);
        }
        if let Some(choice) = tools.choice.as_mut().filter(|choice| choice.kind != "none") {
            choice.disable_parallel_tool_use = conversation.parallel_tools == Some(false);
        }
        Ok(tools)
    }

    /// Whether some tool must be called.
    pub fn are_forced(&self) -> bool {
        self.choice.as_ref().is_some_and(|choice| matches!(choice.kind, "any" | "tool"))
    }

    /// A tool for a history with calls, if there is no other.
    pub fn stand_in(&mut self) {
        if self.offers.is_empty() {
            self.offers.push(Offer {
                name: "no_tool".into(),
                description: Some("Not available."),
                input_schema: any_object(),
                strict: false,
                cache_control: None,
            });
            self.choice = Some(kind("none"));
        }
    }

    fn offer(&mut self, tool: &'a Tool, names: &Names<'a>, model: Model) {
        let (name, description) = match tool {
            Tool::Function { name, description, .. } | Tool::Custom { name, description, .. } => {
                (names.get(name), description.as_deref())
            }
            Tool::Hosted { .. } => return,
        };
        let (input_schema, strict, cache) = match tool {
            Tool::Function { parameters, strict, cache, .. } => {
                (parameters.map_or_else(any_object, object_schema), *strict == Some(true), *cache)
            }
            _ => (raw(TEXT_INPUT), false, None),
        };
        if let Some(given) = tool.name().filter(|given| given.0 != name) {
            self.renamed.push((name.to_string(), given.to_string()));
        }
        self.offers.push(Offer {
            name,
            description: description.filter(|text| !text.trim().is_empty()),
            input_schema,
            strict: strict && model.structured,
            cache_control: cache.map(Mark),
        });
    }

    fn answer_by_tool(&mut self, schema: &'a RawValue, names: &mut Names<'a>, wanted: &Option<ToolChoice>) {
        if matches!(wanted, Some(ToolChoice::Required | ToolChoice::One(_))) && !self.offers.is_empty() {
            // This turn is a call; the answer comes later.
            return;
        }
        let name = names.free("answer");
        let only = self.offers.is_empty() || matches!(wanted, Some(ToolChoice::None));
        self.offers.push(Offer {
            name: name.clone().into(),
            description: Some("Gives the final answer."),
            input_schema: object_schema(schema),
            strict: false,
            cache_control: None,
        });
        self.choice = Some(match only {
            true => Choice { name: Some(name.clone().into()), ..kind("tool") },
            false => kind("any"),
        });
        self.answer_tool = Some(name);
    }
}

const TEXT_INPUT: &str = r#"{"type":"object","properties":{"input":{"type":"string"}},"required":["input"]}"#;
const ANY_OBJECT: &str = r#"{"type":"object","properties":{}}"#;

/// The schema that the answer must fit, if any.
pub fn answer_schema<'a>(conversation: &Conversation<'a>) -> Option<&'a RawValue> {
    match conversation.format {
        Format::Schema { schema, .. } => schema,
        Format::Text | Format::Json => None,
    }
}

fn is_offered(tool: &Tool, conversation: &Conversation, model: Model) -> bool {
    let Some(name) = tool.name() else { return true };
    match &conversation.tool_choice {
        Some(ToolChoice::Allowed { names, .. }) => names.contains(name),
        Some(ToolChoice::One(one)) => model.forced || one == name,
        _ => true,
    }
}

fn chosen<'a>(choice: &'a ToolChoice, model: Model, names: &Names<'a>) -> Choice<'a> {
    match choice {
        ToolChoice::None => kind("none"),
        ToolChoice::Auto | ToolChoice::Allowed { required: false, .. } => kind("auto"),
        _ if !model.forced => kind("auto"),
        ToolChoice::Required | ToolChoice::Allowed { required: true, .. } => kind("any"),
        ToolChoice::One(name) => Choice { name: Some(names.get(name)), ..kind("tool") },
    }
}

fn kind<'a>(kind: &'static str) -> Choice<'a> {
    Choice { kind, name: None, disable_parallel_tool_use: false }
}

/// Anthropic wants `"type":"object"` at the top; others take it for granted.
fn object_schema(schema: &RawValue) -> Cow<'_, RawValue> {
    #[derive(Deserialize)]
    struct Top<'a> {
        #[serde(borrow, rename = "type")]
        kind: Option<&'a RawValue>,
    }
    if !schema.get().starts_with('{') {
        return any_object();
    }
    match serde_json::from_str::<Top>(schema.get()) {
        Ok(Top { kind: Some(_) }) => Cow::Borrowed(schema),
        Ok(Top { kind: None }) => match schema.get().trim_start_matches('{').trim_start() {
            "}" => any_object(),
            members => owned(format!(r#"{{"type":"object",{members}"#)),
        },
        Err(_) => any_object(),
    }
}

fn any_object<'a>() -> Cow<'a, RawValue> {
    raw(ANY_OBJECT)
}

fn raw<'a>(json: &'static str) -> Cow<'a, RawValue> {
    match serde_json::from_str(json) {
        Ok(raw) => Cow::Borrowed(raw),
        Err(_) => Cow::Borrowed(RawValue::NULL),
    }
}

fn owned<'a>(json: String) -> Cow<'a, RawValue> {
    RawValue::from_string(json).map_or_else(|_| any_object(), Cow::Owned)
}

/// A tool that another provider runs is left out beside others, which a client can do without it; alone it is what the
/// request is about.
fn hosted_alone(tools: &[Tool]) -> Result<(), Untranslatable> {
    match tools.first() {
        Some(Tool::Hosted { kind }) => {
            let why = format!("The tool `{}` is run by another provider: Claude cannot call it.", &**kind);
            Err(Untranslatable::new("tools", why))
        }
        _ => Ok(()),
    }
}
