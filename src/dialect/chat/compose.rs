//! A chat completions request for OpenAI and for the hosts that speak its dialect.
//!
//! Written for the narrowest of them, because their number grows and their documentation does not: texts of one message
//! are joined except a user's, a choice among some tools is made by offering only those, and what only OpenAI knows is
//! left out where a word that all know says the same. Custom tools stay custom, with their grammar, unless the host's
//! `refused` names `custom`: then they are functions with one text, `input`. Members after OpenAI's API reference;
//! limits (`stop` 4, `user` and `prompt_cache_key` 64 characters: a longer one is a 400 at OpenAI, in public issues) are
//! kept by leaving out.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;

use super::messages::{messages, Message};
use super::models::{self, takes_sampling};
use super::names::Names;
use crate::dialect::conversation::{
    Conversation, Effort, Format, Reasoning, Tool, ToolChoice, Untranslatable,
};
use crate::dialect::json::Str;
use crate::dialect::{self, Composed, Habits, Target};

/// OpenAI's limit for `stop`.
const STOPS: usize = 4;
/// OpenAI's limit for `user` and `prompt_cache_key`, in characters.
const IDENTIFIER: usize = 64;

#[derive(Serialize)]
struct StreamOptions {
    include_usage: bool,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum ToolOut<'c> {
    Function { function: FunctionOut<'c> },
    Custom { custom: CustomOut<'c> },
}

#[derive(Serialize)]
struct FunctionOut<'c> {
    name: &'c str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'c str>,
    parameters: Parameters<'c>,
    #[serde(skip_serializing_if = "Option::is_none")]
    strict: Option<bool>,
}

/// A schema of the client's, or one of ours: hosts differ in whether it may be missing.
#[derive(Serialize)]
#[serde(untagged)]
enum Parameters<'c> {
    Given(Cow<'c, RawValue>),
    None { r#type: &'static str, properties: Empty },
    Input { r#type: &'static str, properties: Input, required: [&'static str; 1] },
}

#[derive(Serialize)]
struct Empty {}

#[derive(Serialize)]
struct Input {
    input: Text,
}

#[derive(Serialize)]
struct Text {
    r#type: &'static str,
}

#[derive(Serialize)]
struct CustomOut<'c> {
    name: &'c str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'c str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    format: Option<&'c RawValue>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum ChoiceOut<'c> {
    Word(&'static str),
    One(NamedOut<'c>),
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum NamedOut<'c> {
    Function { function: Named<'c> },
    Custom { custom: Named<'c> },
}

#[derive(Serialize)]
struct Named<'c> {
    name: &'c str,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum FormatOut<'c> {
    JsonObject,
    JsonSchema { json_schema: SchemaOut<'c> },
}

#[derive(Serialize)]
struct SchemaOut<'c> {
    name: &'c str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'c str>,
    schema: &'c RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    strict: Option<bool>,
}

/// Writes the request that says what the conversation says.
pub fn compose(conversation: &Conversation, target: &Target) -> Result<Composed, Untranslatable> {
    let names = Names::of(conversation);
    let composer = Composer { conversation, target, names: &names };
    composer.check()?;
    let (messages, tools) = (messages(conversation, target, &names)?, composer.tools()?);
    let request = Request { composer, messages, tools };
    let body = dialect::body(&request, &conversation.body)?;
    Ok(Composed { body, renamed: names.renamed(), ..Composed::default() })
}

struct Request<'c> {
    composer: Composer<'c>,
    messages: Vec<Message<'c>>,
    tools: Vec<ToolOut<'c>>,
}

impl Serialize for Request<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Composer { conversation: c, target, .. } = self.composer;
        let mut members = Members { map: serializer.serialize_map(None)?, habits: target.habits };
        members.put("model", Some(target.model))?;
        members.put("messages", Some(&self.messages))?;
        if !self.tools.is_empty() {
            members.put("tools", Some(&self.tools))?;
            members.put("tool_choice", self.composer.choice())?;
            members.put("parallel_tool_calls", c.parallel_tools)?;
        }
        members.put("max_completion_tokens", c.max_tokens)?;
        let effort = models::effort(target.model, c.reasoning.and_then(effort), !self.tools.is_empty());
        if takes_sampling(target.model, effort) {
            members.put("temperature", c.temperature.as_ref())?;
            members.put("top_p", c.top_p.as_ref())?;
            members.put("presence_penalty", c.presence_penalty.as_ref())?;
            members.put("frequency_penalty", c.frequency_penalty.as_ref())?;
            members.put("stop", stops(&c.stop))?;
        }
        members.put("seed", c.seed.as_ref())?;
        members.put("n", c.answers.filter(|answers| *answers != 1))?;
        members.put("reasoning_effort", effort)?;
        members.put("response_format", format(&c.format))?;
        members.put("modalities", modalities(&c.modalities))?;
        members.put("user", identifier(&c.user))?;
        members.put("service_tier", c.service_tier.as_deref())?;
        members.put("prompt_cache_key", identifier(&c.prompt_cache_key))?;
        members.put("metadata", c.metadata.filter(|object| texts(object)))?;
        if c.stream {
            members.put("stream", Some(true))?;
            members.put("stream_options", Some(StreamOptions { include_usage: true }))?;
        }
        members.map.end()
    }
}

/// The members of the body: what the host refuses is left out, and called by the host's name what it renames.
struct Members<M> {
    map: M,
    habits: Habits,
}

impl<M: SerializeMap> Members<M> {
    fn put<T: Serialize>(&mut self, member: &'static str, value: Option<T>) -> Result<(), M::Error> {
        let Some(value) = value.filter(|_| !self.habits.refused.contains(&member)) else { return Ok(()) };
        let renamed = self.habits.renamed.iter().find(|(openai, _)| *openai == member);
        self.map.serialize_entry(renamed.map_or(member, |(_, host)| host), &value)
    }
}

#[derive(Clone, Copy)]
struct Composer<'c> {
    conversation: &'c Conversation<'c>,
    target: &'c Target<'c>,
    names: &'c Names<'c>,
}

impl<'c> Composer<'c> {
    fn refused(&self, member: &str) -> bool {
        self.target.habits.refused.contains(&member)
    }

    /// What cannot be left out without changing what is asked.
    fn check(&self) -> Result<(), Untranslatable> {
        let c = self.conversation;
        let asked = [
            ("tools", c.tools.iter().any(|tool| tool.name().is_some())),
            ("n", c.answers.is_some_and(|answers| answers > 1)),
        ];
        for (member, asked) in asked {
            if asked && self.refused(member) {
                return Err(Untranslatable::new(
                    member,
                    format!("The provider of this model has no `{member}`."),
                ));
            }
        }
        if c.modalities.iter().any(|word| &**word == "audio") {
            let why = "Spoken answers can only be had from a provider that speaks the client's own dialect.";
            return Err(Untranslatable::new("modalities", why));
        }
        Ok(())
    }

    /// A choice among some tools offers only those: the same in effect, and known to every host.
    fn tools(&self) -> Result<Vec<ToolOut<'c>>, Untranslatable> {
        let c = self.conversation;
        let offered = |tool: &&Tool| match (&c.tool_choice, tool.name()) {
            (Some(ToolChoice::Allowed { names, .. }), Some(name)) => names.contains(name),
            _ => true,
        };
        let tools: Vec<_> = c.tools.iter().filter(offered).filter_map(|tool| self.tool(tool)).collect();
        let must = matches!(c.tool_choice, Some(ToolChoice::Required | ToolChoice::One(_)))
            || matches!(c.tool_choice, Some(ToolChoice::Allowed { required: true, .. }));
        if must && tools.is_empty() {
            let why = "A tool must be called, and none is left that this model's provider can offer.";
            return Err(Untranslatable::new("tool_choice", why));
        }
        Ok(tools)
    }

    /// `None` for a tool that another provider runs: it was an offer, and the model does without.
    fn tool(&self, tool: &'c Tool<'c>) -> Option<ToolOut<'c>> {
        let (name, description, parameters, strict) = match tool {
            Tool::Function { name, description, parameters, strict, .. } => {
                (name, description, parameters.map_or(NO_PARAMETERS, given), *strict)
            }
            Tool::Custom { name, description, .. } if self.target.habits.functions_only => {
                (name, description, ONE_INPUT, None)
            }
            Tool::Custom { name, description, format } => {
                let (name, description) = (self.names.get(name), description.as_deref());
                return Some(ToolOut::Custom { custom: CustomOut { name, description, format: *format } });
            }
            Tool::Hosted { .. } => return None,
        };
        let (name, description) = (self.names.get(name), description.as_deref());
        Some(ToolOut::Function { function: FunctionOut { name, description, parameters, strict } })
    }

    fn choice(&self) -> Option<ChoiceOut<'c>> {
        Some(match self.conversation.tool_choice.as_ref()? {
            ToolChoice::None => ChoiceOut::Word("none"),
            ToolChoice::Auto | ToolChoice::Allowed { required: false, .. } => ChoiceOut::Word("auto"),
            ToolChoice::Required | ToolChoice::Allowed { required: true, .. } => ChoiceOut::Word("required"),
            ToolChoice::One(wanted) => {
                let custom = |tool: &Tool| matches!(tool, Tool::Custom { name, .. } if name == wanted);
                let custom = self.conversation.tools.iter().any(custom) && !self.target.habits.functions_only;
                let named = Named { name: self.names.get(wanted) };
                ChoiceOut::One(match custom {
                    true => NamedOut::Custom { custom: named },
                    false => NamedOut::Function { function: named },
                })
            }
        })
    }
}

const NO_PARAMETERS: Parameters = Parameters::None { r#type: "object", properties: Empty {} };
const ONE_INPUT: Parameters = Parameters::Input {
    r#type: "object",
    properties: Input { input: Text { r#type: "string" } },
    required: ["input"],
};

/// A client's schema with what OpenAI insists on (`object schema missing properties`, in public issues) and other
/// dialects take for granted: `"type":"object"` and `properties`.
fn given(schema: &RawValue) -> Parameters<'_> {
    #[derive(Deserialize)]
    struct Top<'a> {
        #[serde(borrow, rename = "type")]
        kind: Option<&'a RawValue>,
        #[serde(borrow)]
        properties: Option<&'a RawValue>,
    }
    let Some(members) = schema.get().strip_prefix('{').map(str::trim_start) else { return NO_PARAMETERS };
    let missing = match serde_json::from_str(schema.get()) {
        Ok(Top { kind: None, properties: None }) => r#""type":"object","properties":{}"#,
        Ok(Top { kind: None, .. }) => r#""type":"object""#,
        Ok(Top { properties: None, .. }) => r#""properties":{}"#,
        _ => return Parameters::Given(Cow::Borrowed(schema)),
    };
    match RawValue::from_string(format!("{{{missing},{members}")) {
        Ok(whole) => Parameters::Given(Cow::Owned(whole)),
        // It had no members to follow the comma.
        Err(_) => NO_PARAMETERS,
    }
}

/// The first four: an answer that runs on is better than none, and the fifth is rarely the one that counts.
fn stops<'c>(stop: &'c [Str<'c>]) -> Option<Vec<&'c str>> {
    let stops: Vec<&str> =
        stop.iter().map(|text| &**text).filter(|text| !text.is_empty()).take(STOPS).collect();
    (!stops.is_empty()).then_some(stops)
}

/// Text alone is what every host answers unasked.
fn modalities<'c>(words: &'c [Str<'c>]) -> Option<&'c [Str<'c>]> {
    words.iter().any(|word| &**word != "text").then_some(words)
}

fn identifier<'c>(text: &'c Option<Str<'c>>) -> Option<&'c str> {
    text.as_deref().filter(|text| text.chars().count() <= IDENTIFIER)
}

/// The effort asked for, or the one that a budget comes to. The steps lie between the budgets that Claude Code's words
/// stand for (4,000, 10,000 and 31,999 tokens) and above Anthropic's least (1,024). No thinking at all is no word:
/// `none` is an error at most models, and those that think less when not asked are many.
fn effort(reasoning: Reasoning) -> Option<Effort> {
    let from_budget = match reasoning.budget {
        None | Some(0) => None,
        Some(1..=1024) => Some(Effort::Minimal),
        Some(1025..=4096) => Some(Effort::Low),
        Some(4097..=16384) => Some(Effort::Medium),
        Some(_) => Some(Effort::High),
    };
    reasoning.effort.or(from_budget)
}

fn format<'c>(format: &'c Format<'c>) -> Option<FormatOut<'c>> {
    match format {
        Format::Text => None,
        Format::Json | Format::Schema { schema: None, .. } => Some(FormatOut::JsonObject),
        Format::Schema { name, description, schema: Some(schema), strict } => {
            let (name, description) = (name.as_deref().unwrap_or("answer"), description.as_deref());
            Some(FormatOut::JsonSchema {
                json_schema: SchemaOut { name, description, schema, strict: *strict },
            })
        }
    }
}

/// Whether it is an object of texts: another is a 400.
fn texts(object: &RawValue) -> bool {
    serde_json::from_str::<BTreeMap<String, String>>(object.get()).is_ok()
}
