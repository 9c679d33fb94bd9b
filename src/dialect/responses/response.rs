//! The response object: in the first two events, in the last one, and as a whole answer's body.
//!
//! Members that the request had are repeated, as clients of OpenAI expect; those that only OpenAI could fill say so
//! (`store` is false, nothing is kept). Instructions are not repeated, and tools only where they are few: an agent's
//! are tens of kilobytes, three times per answer, and it knows them.
//!
//! Sources: OpenAI API reference, "The response object"; which members must be there: types of the official Python
//! library.

use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::Number;

use super::pen::value;
use crate::dialect::conversation::{Conversation, Effort, Format, Tool, ToolChoice};
use crate::dialect::json::Str;
use crate::dialect::Stamp;
use crate::llm::usage::Usage;

/// More bytes of tools are not repeated.
const MOST_TOOLS: usize = 4096;

/// What is the same in all response objects of one answer.
pub(super) struct Response {
    head: Vec<u8>,
    echo: Vec<u8>,
}

/// How far the answer is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    InProgress,
    Completed,
    /// Cut off; why, where there is a word for it.
    Incomplete(Option<&'static str>),
}

#[derive(Serialize)]
struct Counts {
    input_tokens: u64,
    input_tokens_details: Input,
    output_tokens: u64,
    output_tokens_details: Output,
    total_tokens: u64,
}

#[derive(Serialize)]
struct Input {
    cached_tokens: u64,
    cache_write_tokens: u64,
}

#[derive(Serialize)]
struct Output {
    reasoning_tokens: u64,
}

#[derive(Serialize)]
struct Echo<'e> {
    background: bool,
    instructions: Option<&'e str>,
    max_output_tokens: Option<u64>,
    metadata: Option<&'e RawValue>,
    parallel_tool_calls: bool,
    previous_response_id: Option<&'e str>,
    prompt_cache_key: Option<&'e Str<'e>>,
    reasoning: EchoReasoning,
    safety_identifier: Option<&'e Str<'e>>,
    service_tier: Option<&'e Str<'e>>,
    store: bool,
    temperature: Option<&'e Number>,
    text: EchoText<'e>,
    tool_choice: EchoChoice<'e>,
    tools: Vec<EchoTool<'e>>,
    top_p: Option<&'e Number>,
    truncation: &'static str,
}

#[derive(Serialize)]
struct EchoReasoning {
    effort: Option<Effort>,
    summary: Option<&'static str>,
}

#[derive(Serialize)]
struct EchoText<'e> {
    format: EchoFormat<'e>,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum EchoFormat<'e> {
    Text,
    JsonObject,
    JsonSchema {
        name: &'e str,
        #[serde(skip_serializing_if = "Option::is_none")]
        description: Option<&'e Str<'e>>,
        schema: Option<&'e RawValue>,
        strict: Option<bool>,
    },
}

#[derive(Serialize)]
#[serde(untagged)]
enum EchoChoice<'e> {
    Word(&'static str),
    One { r#type: &'static str, name: &'e Str<'e> },
    Allowed { r#type: &'static str, mode: &'static str, tools: Vec<EchoChoice<'e>> },
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum EchoTool<'e> {
    Function {
        name: &'e Str<'e>,
        description: Option<&'e Str<'e>>,
        parameters: Option<&'e RawValue>,
        strict: Option<bool>,
    },
    Custom {
        name: &'e Str<'e>,
        description: Option<&'e Str<'e>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        format: Option<&'e RawValue>,
    },
}

impl Response {
    /// The response to a request.
    pub(super) fn new(conversation: &Conversation, stamp: &Stamp) -> Self {
        let mut echo = Vec::new();
        value(&mut echo, &Echo::new(conversation));
        Self { head: head(&stamp.id("resp_", 0), stamp.created), echo }
    }

    /// The client knows it by another id.
    pub(super) fn known_as(&mut self, id: &str, created: u64) {
        self.head = head(id, created);
    }

    /// The model is known now.
    pub(super) fn model(&mut self, model: &str) {
        self.head.extend_from_slice(b",\"model\":");
        value(&mut self.head, model);
    }

    /// Adds the object.
    pub(super) fn write<'i>(
        &self,
        status: Status,
        items: impl Iterator<Item = &'i [u8]>,
        usage: Option<Usage>,
        out: &mut Vec<u8>,
    ) {
        out.extend_from_slice(&self.head);
        out.extend_from_slice(status.members().as_bytes());
        // The echo is an object of its own: without its braces it is members of this one.
        out.push(b',');
        out.extend_from_slice(self.echo.get(1..self.echo.len().saturating_sub(1)).unwrap_or_default());
        out.extend_from_slice(b",\"output\":[");
        for (number, item) in items.enumerate() {
            if number > 0 {
                out.push(b',');
            }
            out.extend_from_slice(item);
        }
        out.extend_from_slice(b"],\"usage\":");
        value(out, &usage.map(Counts::from));
        out.push(b'}');
    }
}

fn head(id: &str, created: u64) -> Vec<u8> {
    format!(r#"{{"id":"{id}","object":"response","created_at":{created},"error":null"#).into_bytes()
}

impl Status {
    fn members(self) -> String {
        let (word, details) = match self {
            Self::InProgress => ("in_progress", "null".to_owned()),
            Self::Completed => ("completed", "null".to_owned()),
            Self::Incomplete(None) => ("incomplete", "null".to_owned()),
            Self::Incomplete(Some(reason)) => ("incomplete", format!(r#"{{"reason":"{reason}"}}"#)),
        };
        format!(r#","status":"{word}","incomplete_details":{details}"#)
    }
}

impl From<Usage> for Counts {
    fn from(usage: Usage) -> Self {
        Self {
            input_tokens: usage.prompt,
            input_tokens_details: Input {
                cached_tokens: usage.cached,
                cache_write_tokens: usage.cache_written,
            },
            output_tokens: usage.completion,
            output_tokens_details: Output { reasoning_tokens: usage.reasoning },
            total_tokens: usage.total,
        }
    }
}

impl<'e> Echo<'e> {
    fn new(conversation: &'e Conversation) -> Self {
        Self {
            background: false,
            instructions: None,
            max_output_tokens: conversation.max_tokens,
            metadata: conversation.metadata,
            parallel_tool_calls: conversation.parallel_tools.unwrap_or(true),
            previous_response_id: None,
            prompt_cache_key: conversation.prompt_cache_key.as_ref(),
            reasoning: EchoReasoning {
                effort: conversation.reasoning.and_then(|reasoning| reasoning.effort),
                summary: None,
            },
            safety_identifier: conversation.user.as_ref(),
            service_tier: conversation.service_tier.as_ref(),
            store: false,
            temperature: conversation.temperature.as_ref(),
            text: EchoText { format: EchoFormat::new(&conversation.format) },
            tool_choice: EchoChoice::new(conversation),
            tools: tools(conversation),
            top_p: conversation.top_p.as_ref(),
            truncation: "disabled",
        }
    }
}

impl<'e> EchoFormat<'e> {
    fn new(format: &'e Format) -> Self {
        match format {
            Format::Text => Self::Text,
            Format::Json => Self::JsonObject,
            Format::Schema { name, description, schema, strict } => Self::JsonSchema {
                name: name.as_deref().unwrap_or("response"),
                description: description.as_ref(),
                schema: *schema,
                strict: *strict,
            },
        }
    }
}

impl<'e> EchoChoice<'e> {
    fn new(conversation: &'e Conversation) -> Self {
        match &conversation.tool_choice {
            None | Some(ToolChoice::Auto) => Self::Word("auto"),
            Some(ToolChoice::None) => Self::Word("none"),
            Some(ToolChoice::Required) => Self::Word("required"),
            Some(ToolChoice::One(name)) => Self::one(conversation, name),
            Some(ToolChoice::Allowed { required, names }) => Self::Allowed {
                r#type: "allowed_tools",
                mode: if *required { "required" } else { "auto" },
                tools: names.iter().map(|name| Self::one(conversation, name)).collect(),
            },
        }
    }

    fn one(conversation: &'e Conversation, name: &'e Str<'e>) -> Self {
        let custom = |tool: &Tool| matches!(tool, Tool::Custom { name: own, .. } if own == name);
        let custom = conversation.tools.iter().any(custom);
        Self::One { r#type: if custom { "custom" } else { "function" }, name }
    }
}

/// The tools, where they are few.
fn tools<'e>(conversation: &'e Conversation) -> Vec<EchoTool<'e>> {
    let size = |raw: &Option<&RawValue>| raw.map_or(0, |raw| raw.get().len());
    let mut bytes = 0;
    let mut few = Vec::new();
    for tool in &conversation.tools {
        let (tool, description, size) = match tool {
            Tool::Function { name, description, parameters, strict, .. } => {
                let (parameters, strict, size) = (*parameters, *strict, size(parameters));
                let echo = EchoTool::Function { name, description: description.as_ref(), parameters, strict };
                (echo, description, size)
            }
            Tool::Custom { name, description, format } => {
                let echo = EchoTool::Custom { name, description: description.as_ref(), format: *format };
                (echo, description, size(format))
            }
            Tool::Hosted { .. } => continue,
        };
        bytes += size + description.as_ref().map_or(0, |text| text.len());
        few.push(tool);
    }
    if bytes > MOST_TOOLS || !conversation.grouped.is_empty() {
        few.clear();
    }
    few
}
