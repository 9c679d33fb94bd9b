//! What the model may call, and which of it it must.
//!
//! Tools in a `namespace` become functions of a joined name, and the conversation remembers both halves, because the
//! client finds its tool by them (Codex keeps its agents' tools so). Tools that come later in the input
//! (`additional_tools`, the finds of a tool search) join the others: no other dialect can add one halfway. Tools whose
//! loading is put off are simply there.

use std::borrow::Cow;
use std::collections::HashSet;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::dialect::conversation::{Conversation, Grouped, Tool, ToolChoice, Untranslatable};
use crate::dialect::json::{OneOrMany, Str};

/// A tool as OpenAI writes it.
#[derive(Deserialize)]
pub(super) struct Spec<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<Str<'a>>,
    name: Option<Str<'a>>,
    description: Option<Str<'a>>,
    parameters: Option<&'a RawValue>,
    strict: Option<bool>,
    format: Option<&'a RawValue>,
    tools: Option<Vec<Spec<'a>>>,
}

/// `tool_choice`, where it is more than a word; also an entry of its `tools`.
#[derive(Deserialize)]
pub(super) struct Choice<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<Str<'a>>,
    name: Option<Str<'a>>,
    namespace: Option<Str<'a>>,
    mode: Option<Str<'a>>,
    tools: Option<Vec<Choice<'a>>>,
}

/// The names of the tools that a conversation has so far.
pub(super) type Known<'a> = HashSet<Cow<'a, str>>;

/// Adds tools; one of a name that is there already changes nothing.
pub(super) fn add<'a>(
    conversation: &mut Conversation<'a>,
    known: &mut Known<'a>,
    specs: Vec<Spec<'a>>,
    place: &str,
) -> Result<(), Untranslatable> {
    for (number, spec) in specs.into_iter().enumerate() {
        spec.add(conversation, known, None, &format!("{place}[{number}]"))?;
    }
    Ok(())
}

/// The name under which a tool of a namespace is known to providers.
pub(super) fn joined<'a>(namespace: Option<&Str<'a>>, name: Str<'a>) -> Str<'a> {
    match namespace {
        Some(namespace) => format!("{}__{}", &**namespace, &*name).into(),
        None => name,
    }
}

impl<'a> Spec<'a> {
    fn add(
        self,
        conversation: &mut Conversation<'a>,
        known: &mut Known<'a>,
        group: Option<&Str<'a>>,
        place: &str,
    ) -> Result<(), Untranslatable> {
        match self.kind.as_deref().unwrap_or("function") {
            "namespace" if group.is_none() => {
                let namespace = named(self.name, place)?;
                for (number, spec) in self.tools.unwrap_or_default().into_iter().enumerate() {
                    spec.add(conversation, known, Some(&namespace), &format!("{place}.tools[{number}]"))?;
                }
            }
            "function" | "custom" => {
                let custom = self.kind.as_deref() == Some("custom");
                let member = named(self.name, place)?;
                let name = joined(group, member.clone());
                if !known.insert(name.0.clone()) {
                    return Ok(());
                }
                if let Some(group) = group {
                    conversation.grouped.push(Grouped { name: name.clone(), group: group.clone(), member });
                }
                let description = self.description;
                conversation.tools.push(if custom {
                    Tool::Custom { name, description, format: self.format }
                } else {
                    let (parameters, strict) = (self.parameters, self.strict);
                    Tool::Function { name, description, parameters, strict, cache: None }
                });
            }
            kind => conversation.tools.push(Tool::Hosted { kind: kind.to_owned().into() }),
        }
        Ok(())
    }
}

/// Reads `tool_choice`.
pub(super) fn choice<'a>(choice: OneOrMany<'a, Choice<'a>>) -> Result<ToolChoice<'a>, Untranslatable> {
    let one = match choice {
        OneOrMany::Text(word) => {
            return match &*word {
                "none" => Ok(ToolChoice::None),
                "auto" => Ok(ToolChoice::Auto),
                "required" => Ok(ToolChoice::Required),
                other => Err(refused(format!("`tool_choice` cannot be `{other}`."))),
            }
        }
        OneOrMany::Many(many) => many.into_iter().next(),
    };
    let one = one.ok_or_else(|| refused("`tool_choice` is empty."))?;
    match one.kind.as_deref().unwrap_or_default() {
        "function" | "custom" => Ok(ToolChoice::One(one.joined()?)),
        "allowed_tools" => {
            let callable = |tool: &Choice| matches!(tool.kind.as_deref(), Some("function" | "custom") | None);
            let names = one.tools.unwrap_or_default().into_iter().filter(callable).map(Choice::joined);
            let required = one.mode.as_deref() == Some("required");
            Ok(ToolChoice::Allowed { required, names: names.collect::<Result<_, _>>()? })
        }
        other => Err(refused(format!(
            "`tool_choice` asks for `{other}`, which only OpenAI runs. Choose a function, or `auto`."
        ))),
    }
}

impl<'a> Choice<'a> {
    fn joined(self) -> Result<Str<'a>, Untranslatable> {
        Ok(joined(self.namespace.as_ref(), named(self.name, "tool_choice")?))
    }
}

fn named<'a>(name: Option<Str<'a>>, place: &str) -> Result<Str<'a>, Untranslatable> {
    name.filter(|name| !name.is_empty())
        .ok_or_else(|| Untranslatable::new(format!("{place}.name"), format!("`{place}` has no name.")))
}

fn refused(why: impl Into<String>) -> Untranslatable {
    Untranslatable::new("tool_choice", why)
}
