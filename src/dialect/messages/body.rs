//! The provider's request as it is written: what `compose` fills in, in Anthropic's order of members.
//!
//! Everything borrows, so the one copy of a picture is the one into the body. Sources: Anthropic's API reference,
//! Messages, 2026-10-21, and build-with-claude/prompt-caching for the marks.

use std::borrow::Cow;

use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::value::RawValue;
use serde_json::Number;

use crate::dialect::conversation::{Cache, Effort};
use crate::dialect::json::Words;

/// The request.
#[derive(Default, serde::Serialize)]
pub struct Body<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub anthropic_version: Option<&'static str>,
    pub max_tokens: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<Offer<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool_choice: Option<Choice<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub system: Vec<Block<'a>>,
    pub messages: Vec<Message<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_control: Option<Mark>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thinking: Option<Thinking>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_config: Option<OutputConfig<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stop_sequences: Vec<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_p: Option<Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_k: Option<Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Metadata<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_tier: Option<&'static str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub stream: bool,
}

/// A turn.
#[derive(serde::Serialize)]
pub struct Message<'a> {
    pub role: &'static str,
    pub content: Vec<Block<'a>>,
}

/// A block and its mark.
#[derive(serde::Serialize)]
pub struct Block<'a> {
    #[serde(flatten)]
    pub kind: Kind<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_control: Option<Mark>,
}

/// What a block is.
#[derive(serde::Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Kind<'a> {
    Text {
        text: Words<'a>,
    },
    Image {
        source: Source<'a>,
    },
    Document {
        source: Source<'a>,
        #[serde(skip_serializing_if = "Option::is_none")]
        title: Option<&'a str>,
    },
    Thinking {
        thinking: &'a str,
        signature: &'a str,
    },
    RedactedThinking {
        data: &'a str,
    },
    ToolUse {
        id: Cow<'a, str>,
        name: Cow<'a, str>,
        input: Input<'a>,
    },
    ToolResult {
        tool_use_id: Cow<'a, str>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        content: Vec<Block<'a>>,
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        is_error: bool,
    },
}

/// Where the bytes are.
#[derive(serde::Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Source<'a> {
    Base64 { media_type: &'a str, data: &'a str },
    Text { media_type: &'static str, data: Words<'a> },
    Url { url: &'a str },
    File { file_id: &'a str },
}

/// The input of a call, which must be an object.
pub enum Input<'a> {
    /// It is one.
    Object(&'a RawValue),
    /// A text, as the only member of one; `None`: it has no members.
    Text(Option<(&'static str, &'a str)>),
}

impl<'a> Input<'a> {
    /// The input that a call's arguments make: what is no object becomes the member of one.
    pub fn of(arguments: &'a str) -> Self {
        match serde_json::from_str::<&RawValue>(arguments) {
            Ok(raw) if raw.get().starts_with('{') => Self::Object(raw),
            Ok(raw) if raw.get() == "null" => Self::Text(None),
            Err(_) if arguments.trim().is_empty() => Self::Text(None),
            _ => Self::Text(Some(("arguments", arguments))),
        }
    }
}

impl Serialize for Input<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Object(raw) => raw.serialize(serializer),
            Self::Text(member) => {
                let mut map = serializer.serialize_map(None)?;
                if let Some((key, text)) = member {
                    map.serialize_entry(key, text)?;
                }
                map.end()
            }
        }
    }
}

/// A tool.
#[derive(serde::Serialize)]
pub struct Offer<'a> {
    pub name: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<&'a str>,
    pub input_schema: Cow<'a, RawValue>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub strict: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_control: Option<Mark>,
}

/// Which tool must be called.
#[derive(serde::Serialize)]
pub struct Choice<'a> {
    #[serde(rename = "type")]
    pub kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub disable_parallel_tool_use: bool,
}

/// Whether and how to think.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Thinking {
    Adaptive {
        display: &'static str,
    },
    Enabled {
        budget_tokens: u64,
        #[serde(skip_serializing_if = "Option::is_none")]
        display: Option<&'static str>,
    },
    BetweenTools,
    Disabled,
}

/// How the answer is to be.
#[derive(serde::Serialize)]
pub struct OutputConfig<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub effort: Option<Effort>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<OutputFormat<'a>>,
}

/// Its shape.
#[derive(serde::Serialize)]
pub struct OutputFormat<'a> {
    #[serde(rename = "type")]
    pub kind: &'static str,
    pub schema: &'a RawValue,
}

/// Who asks.
#[derive(serde::Serialize)]
pub struct Metadata<'a> {
    pub user_id: Cow<'a, str>,
}

/// A mark that the prompt may be cached up to here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark(pub Cache);

impl Serialize for Mark {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("type", "ephemeral")?;
        if self.0 == Cache::Long {
            map.serialize_entry("ttl", "1h")?;
        }
        map.end()
    }
}

/// Marks of one request, at most.
const MOST_MARKS: usize = 4;

impl<'a> Block<'a> {
    /// A block without a mark.
    pub fn new(kind: Kind<'a>) -> Self {
        Self { kind, cache_control: None }
    }

    /// A text without a mark.
    pub fn text(text: impl Into<Words<'a>>) -> Self {
        Self::new(Kind::Text { text: text.into() })
    }

    /// Whether it is something that the model thought.
    pub fn is_thought(&self) -> bool {
        matches!(self.kind, Kind::Thinking { .. } | Kind::RedactedThinking { .. })
    }
}

impl Body<'_> {
    /// Leaves the last four marks, since the longest prefix saves most, and makes those before a long one long: the
    /// other order is refused.
    pub fn settle_marks(&mut self) {
        let tools = self.tools.iter_mut().map(|tool| &mut tool.cache_control);
        let turns = self.messages.iter_mut().flat_map(|message| &mut message.content);
        let blocks = self.system.iter_mut().chain(turns).map(|block| &mut block.cache_control);
        let whole = std::iter::once(&mut self.cache_control);
        let mut marks: Vec<_> = tools.chain(blocks).chain(whole).filter(|mark| mark.is_some()).collect();
        let mut long = false;
        for (left, mark) in marks.iter_mut().rev().enumerate() {
            long |= **mark == Some(Mark(Cache::Long));
            **mark = match long {
                _ if left >= MOST_MARKS => None,
                true => Some(Mark(Cache::Long)),
                false => Some(Mark(Cache::Short)),
            };
        }
    }
}
