//! A client's Responses request, read.
//!
//! Members are kept raw until they are wanted: an unknown one costs nothing and can be of any shape, and a known one
//! of a wrong type is named in the refusal. What binds the client to state at one provider (`previous_response_id`,
//! `conversation`, `background`, a stored `prompt`) is refused, because a provider of another dialect has no such
//! store and would answer another question. What only tunes OpenAI's own service (`include`, `store`, `truncation`,
//! `verbosity`, `max_tool_calls`) is left out: the answer is right without it.
//!
//! Sources: OpenAI API reference, "Create a model response"; types of the official Python library; requests of Codex.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::input;
use super::tools;
use crate::dialect::conversation::{
    Conversation, Effort, Format, Part, Reasoning, Role, Turn, Untranslatable,
};
use crate::dialect::fault::{self, TextOrList};
use crate::dialect::json::Str;

/// The members that mean something to other providers too.
#[derive(Deserialize)]
struct Request<'a> {
    #[serde(borrow)]
    input: Option<&'a RawValue>,
    instructions: Option<&'a RawValue>,
    tools: Option<&'a RawValue>,
    tool_choice: Option<&'a RawValue>,
    parallel_tool_calls: Option<&'a RawValue>,
    max_output_tokens: Option<&'a RawValue>,
    temperature: Option<&'a RawValue>,
    top_p: Option<&'a RawValue>,
    reasoning: Option<&'a RawValue>,
    text: Option<&'a RawValue>,
    user: Option<&'a RawValue>,
    safety_identifier: Option<&'a RawValue>,
    service_tier: Option<&'a RawValue>,
    prompt_cache_key: Option<&'a RawValue>,
    metadata: Option<&'a RawValue>,
    stream: Option<&'a RawValue>,
    background: Option<&'a RawValue>,
    previous_response_id: Option<&'a RawValue>,
    conversation: Option<&'a RawValue>,
    prompt: Option<&'a RawValue>,
}

/// `reasoning`.
#[derive(Deserialize)]
pub(super) struct Thinking<'a> {
    effort: Option<Effort>,
    #[serde(borrow)]
    summary: Option<Str<'a>>,
    #[serde(borrow)]
    generate_summary: Option<Str<'a>>,
}

/// `text`.
#[derive(Deserialize)]
pub(super) struct Text<'a> {
    #[serde(borrow)]
    format: Option<Shape<'a>>,
}

/// `text.format`.
#[derive(Deserialize)]
struct Shape<'a> {
    #[serde(borrow, rename = "type")]
    kind: Str<'a>,
    name: Option<Str<'a>>,
    description: Option<Str<'a>>,
    schema: Option<&'a RawValue>,
    strict: Option<bool>,
}

/// Reads a client's request.
pub fn read(body: &str) -> Result<Conversation<'_>, Untranslatable> {
    let request: Request = fault::read(body)?;
    request.refuse_state()?;
    let mut conversation = Conversation { wants_usage: true, ..Conversation::default() };
    request.settings(&mut conversation)?;
    request.limits(&mut conversation)?;
    let mut known = tools::Known::new();
    if let Some(specs) = member(request.tools, "tools")? {
        tools::add(&mut conversation, &mut known, specs, "tools")?;
    }
    if let Some(choice) = member(request.tool_choice, "tool_choice")? {
        conversation.tool_choice = Some(tools::choice(choice)?);
    }
    request.say(&mut conversation, &mut known)?;
    Ok(conversation)
}

impl<'a> Request<'a> {
    fn refuse_state(&self) -> Result<(), Untranslatable> {
        let background: Option<bool> = member(self.background, "background")?;
        if background == Some(true) {
            let why = "`background` is OpenAI's: this model's provider answers at once. Leave it out.";
            return Err(Untranslatable::new("background", why));
        }
        let stored = [
            ("previous_response_id", self.previous_response_id),
            ("conversation", self.conversation),
            ("prompt", self.prompt),
        ];
        match stored.iter().find(|(_, given)| given.is_some()) {
            None => Ok(()),
            Some((name, _)) => Err(Untranslatable::new(
                *name,
                format!(
                    "`{name}` needs state that is kept at OpenAI; this model's provider has none. \
                     Send the whole conversation in `input` instead."
                ),
            )),
        }
    }

    fn settings(&self, conversation: &mut Conversation<'a>) -> Result<(), Untranslatable> {
        if let Some(thinking) = member::<Thinking>(self.reasoning, "reasoning")? {
            thinking.apply(conversation);
        }
        if let Some(text) = member::<Text>(self.text, "text")? {
            text.apply(conversation, "text")?;
        }
        let user: Option<Str> = member(self.user, "user")?;
        conversation.user = member(self.safety_identifier, "safety_identifier")?.or(user);
        conversation.service_tier = member(self.service_tier, "service_tier")?;
        conversation.prompt_cache_key = member(self.prompt_cache_key, "prompt_cache_key")?;
        conversation.metadata = self.metadata;
        Ok(())
    }

    fn limits(&self, conversation: &mut Conversation<'a>) -> Result<(), Untranslatable> {
        conversation.parallel_tools = member(self.parallel_tool_calls, "parallel_tool_calls")?;
        conversation.max_tokens = member(self.max_output_tokens, "max_output_tokens")?;
        conversation.temperature = member(self.temperature, "temperature")?;
        conversation.top_p = member(self.top_p, "top_p")?;
        conversation.stream = member(self.stream, "stream")?.unwrap_or(false);
        Ok(())
    }

    fn say(
        &self,
        conversation: &mut Conversation<'a>,
        known: &mut tools::Known<'a>,
    ) -> Result<(), Untranslatable> {
        let mut said = |raw, place, role| {
            match fault::text_or_list(raw, place)? {
                TextOrList::Text(text) => {
                    conversation.turns.push(Turn { role, parts: vec![Part::text(text)] });
                }
                TextOrList::List(items) => input::read(conversation, known, items, place)?,
            }
            Ok(())
        };
        if let Some(instructions) = self.instructions {
            said(instructions, "instructions", Role::System)?;
        }
        let missing = || Untranslatable::new("input", "`input` is missing.");
        said(self.input.ok_or_else(missing)?, "input", Role::User)
    }
}

impl Thinking<'_> {
    pub(super) fn apply(&self, conversation: &mut Conversation) {
        let before = conversation.reasoning.unwrap_or_default();
        let shown = self.summary.is_some() || self.generate_summary.is_some();
        conversation.reasoning = Some(Reasoning {
            effort: self.effort.or(before.effort),
            shown: shown.then_some(true).or(before.shown),
            ..before
        });
    }
}

impl<'a> Text<'a> {
    pub(super) fn apply(
        self,
        conversation: &mut Conversation<'a>,
        place: &str,
    ) -> Result<(), Untranslatable> {
        let Some(shape) = self.format else { return Ok(()) };
        conversation.format = match &*shape.kind {
            "text" => Format::Text,
            "json_object" => Format::Json,
            "json_schema" => Format::Schema {
                name: shape.name,
                description: shape.description,
                schema: shape.schema,
                strict: shape.strict,
            },
            other => {
                return Err(Untranslatable::new(
                    format!("{place}.format"),
                    format!("The format `{other}` is known to OpenAI only. Use `text` or `json_schema`."),
                ))
            }
        };
        Ok(())
    }
}

/// A member as the type that is wanted; `None` where it is absent or null.
pub(super) fn member<'a, T: Deserialize<'a>>(
    raw: Option<&'a RawValue>,
    place: &str,
) -> Result<Option<T>, Untranslatable> {
    raw.map(|raw| fault::member(raw.get(), place)).transpose()
}
