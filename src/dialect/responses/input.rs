//! The items of `input`, one turn each.
//!
//! An item is dropped where the answer stays right without it: what a hosted search or a code interpreter did is told
//! again by the message that follows, a kind that is not known cannot be told at all, and thoughts that are only
//! referred to are as good as never given back. It is refused where the conversation would be another one: references
//! to messages that OpenAI keeps, its compacted history, and the calls of tools that only its models know how to use
//! (shell, patches, the computer), because their results would be missing.
//!
//! Source: OpenAI API reference, "Input item list"; types of the official Python library.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::request::{member, Text, Thinking};
use super::{content, seal, tools};
use crate::dialect::conversation::{
    Conversation, Part, Role, Signer, Source, ToolCall, Turn, Untranslatable, What,
};
use crate::dialect::json::Str;

/// An item; which members it has is for `type` to say.
#[derive(Deserialize)]
pub(super) struct Item<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<Str<'a>>,
    id: Option<&'a RawValue>,
    role: Option<&'a RawValue>,
    content: Option<&'a RawValue>,
    call_id: Option<&'a RawValue>,
    name: Option<&'a RawValue>,
    namespace: Option<&'a RawValue>,
    arguments: Option<&'a RawValue>,
    input: Option<&'a RawValue>,
    output: Option<&'a RawValue>,
    summary: Option<&'a RawValue>,
    encrypted_content: Option<&'a RawValue>,
    tools: Option<&'a RawValue>,
    result: Option<&'a RawValue>,
    output_format: Option<&'a RawValue>,
    reasoning: Option<&'a RawValue>,
    text: Option<&'a RawValue>,
}

/// Adds items to the conversation.
pub(super) fn read<'a>(
    conversation: &mut Conversation<'a>,
    known: &mut tools::Known<'a>,
    items: Vec<Item<'a>>,
    place: &str,
) -> Result<(), Untranslatable> {
    conversation.turns.reserve(items.len());
    for (number, item) in items.iter().enumerate() {
        item.read(conversation, known, &format!("{place}[{number}]"))?;
    }
    Ok(())
}

impl<'a> Item<'a> {
    fn read(
        &self,
        conversation: &mut Conversation<'a>,
        known: &mut tools::Known<'a>,
        place: &str,
    ) -> Result<(), Untranslatable> {
        // A message may leave out its type, and so may a reference, which has nothing but an id.
        let untyped = if self.role.is_some() { "message" } else { "item_reference" };
        let (role, parts) = match self.kind.as_deref().unwrap_or(untyped) {
            "message" => (self.role(place)?, content::parts(self.content, &format!("{place}.content"))?),
            "reasoning" => (Role::Assistant, vec![Part::new(self.thoughts(place)?)]),
            "function_call" => (Role::Assistant, vec![Part::new(self.call(place, false)?)]),
            "custom_tool_call" => (Role::Assistant, vec![Part::new(self.call(place, true)?)]),
            "function_call_output" | "custom_tool_call_output" => {
                (Role::User, vec![Part::new(self.result(place)?)])
            }
            "image_generation_call" => (Role::Assistant, self.picture(place)?),
            "additional_tools" | "tool_search_output" => return self.more_tools(conversation, known, place),
            "configuration_update" => return self.reconfigure(conversation, place),
            "item_reference" if string(self.id, place, "id")?.is_some_and(|id| id.starts_with("rs_")) => {
                return Ok(());
            }
            kind => return refuse(kind, place),
        };
        conversation.turns.push(Turn { role, parts });
        Ok(())
    }

    fn role(&self, place: &str) -> Result<Role, Untranslatable> {
        let place = format!("{place}.role");
        match member::<Str>(self.role, &place)?.as_deref() {
            Some("system" | "developer") => Ok(Role::System),
            Some("user") => Ok(Role::User),
            Some("assistant") => Ok(Role::Assistant),
            _ => Err(Untranslatable::new(
                place.as_str(),
                format!("`{place}` must be `user`, `assistant`, `system` or `developer`."),
            )),
        }
    }

    fn thoughts(&self, place: &str) -> Result<What<'a>, Untranslatable> {
        let mut text = content::texts(self.content, &format!("{place}.content"))?;
        if text.is_empty() {
            text = content::texts(self.summary, &format!("{place}.summary"))?;
        }
        Ok(match string(self.encrypted_content, place, "encrypted_content")? {
            Some(encrypted) => seal::open(encrypted, text),
            None => What::Reasoning { text, signature: None, signer: Signer::OpenAi },
        })
    }

    fn call(&self, place: &str, custom: bool) -> Result<What<'a>, Untranslatable> {
        let name = string(self.name, place, "name")?.filter(|name| !name.is_empty()).ok_or_else(|| {
            Untranslatable::new(
                format!("{place}.name"),
                format!("`{place}` does not say which tool it calls."),
            )
        })?;
        let namespace = string(self.namespace, place, "namespace")?;
        let (arguments, member) = if custom { (self.input, "input") } else { (self.arguments, "arguments") };
        Ok(What::ToolCall(ToolCall {
            id: string(self.call_id, place, "call_id")?.unwrap_or_default(),
            name: tools::joined(namespace.as_ref(), name),
            arguments: string(arguments, place, member)?.unwrap_or_default(),
            custom,
            signature: None,
        }))
    }

    fn result(&self, place: &str) -> Result<What<'a>, Untranslatable> {
        let namespace = string(self.namespace, place, "namespace")?;
        let name = string(self.name, place, "name")?;
        Ok(What::ToolResult {
            id: string(self.call_id, place, "call_id")?.unwrap_or_default(),
            name: name.map(|name| tools::joined(namespace.as_ref(), name)),
            content: content::parts(self.output, &format!("{place}.output"))?,
            failed: false,
        })
    }

    fn picture(&self, place: &str) -> Result<Vec<Part<'a>>, Untranslatable> {
        let Some(data) = string(self.result, place, "result")? else { return Ok(Vec::new()) };
        let mime = match string(self.output_format, place, "output_format")? {
            Some(format) => format!("image/{}", &*format).into(),
            None => "image/png".into(),
        };
        Ok(vec![Part::new(What::Image(Source::Inline { mime, data }))])
    }

    fn more_tools(
        &self,
        conversation: &mut Conversation<'a>,
        known: &mut tools::Known<'a>,
        place: &str,
    ) -> Result<(), Untranslatable> {
        let place = format!("{place}.tools");
        let specs = member(self.tools, &place)?.unwrap_or_default();
        tools::add(conversation, known, specs, &place)
    }

    fn reconfigure(&self, conversation: &mut Conversation<'a>, place: &str) -> Result<(), Untranslatable> {
        if let Some(thinking) = member::<Thinking>(self.reasoning, &format!("{place}.reasoning"))? {
            thinking.apply(conversation);
        }
        let place = format!("{place}.text");
        match member::<Text>(self.text, &place)? {
            Some(text) => text.apply(conversation, &place),
            None => Ok(()),
        }
    }
}

fn string<'a>(raw: Option<&'a RawValue>, place: &str, name: &str) -> Result<Option<Str<'a>>, Untranslatable> {
    member(raw, &format!("{place}.{name}"))
}

fn refuse(kind: &str, place: &str) -> Result<(), Untranslatable> {
    let why = match kind {
        "item_reference" => {
            "refers to an item that OpenAI keeps; this model's provider has no such store. \
             Send the item itself: clients do with `store: false`"
        }
        "compaction" => "is a history that only OpenAI can read. Send the conversation itself",
        "computer_call"
        | "computer_call_output"
        | "local_shell_call"
        | "local_shell_call_output"
        | "shell_call"
        | "shell_call_output"
        | "apply_patch_call"
        | "apply_patch_call_output"
        | "mcp_approval_request"
        | "mcp_approval_response"
        | "program"
        | "program_output" => {
            "belongs to a tool that only OpenAI's models have. Offer it as a function instead"
        }
        _ => return Ok(()),
    };
    Err(Untranslatable::new(place, format!("`{place}` ({kind}) {why}.")))
}
