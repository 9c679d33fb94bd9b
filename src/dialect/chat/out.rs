//! What streamed and whole answers have in common, as the client reads it.
//!
//! Shapes after OpenAI's API reference; `extra_content` after Google's OpenAI-compatible endpoint, `thinking_blocks`
//! after LiteLLM, `images` after OpenRouter (docs of each).

use std::borrow::Cow;

use serde::{Deserialize, Serialize, Serializer};

use crate::dialect::conversation::{Conversation, Signer, Tool};
use crate::dialect::json::Str;
use crate::dialect::reply::{Block, Finish};
use crate::llm::usage::Usage;

/// Adds a value. Nothing that is written here can fail: it goes to memory and has no keys but texts.
pub(crate) fn json<T: Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) {
    serde_json::to_writer(out, value).ok();
}

/// OpenAI's word for why an answer ended. A paused turn is cut short, which `length` says.
pub(crate) fn reason(finish: Finish) -> &'static str {
    match finish {
        Finish::Stop | Finish::StopSequence(_) => "stop",
        Finish::Length | Finish::Paused => "length",
        Finish::ToolCalls => "tool_calls",
        Finish::Filtered => "content_filter",
    }
}

/// What the client asked for, as far as its answer depends on it.
pub(super) struct Client {
    /// Names of the tools that take plain text.
    custom: Vec<String>,
    /// Whether it knows only the older `function_call`.
    pub(super) functions: bool,
    pub(super) wants_usage: bool,
    /// Whose proof of thoughts it is told.
    signer: Signer,
}

impl Client {
    pub(super) fn new(conversation: &Conversation, signer: Signer) -> Self {
        let custom = |tool: &Tool| match tool {
            Tool::Custom { name, .. } => Some(name.to_string()),
            _ => None,
        };
        Self {
            custom: conversation.tools.iter().filter_map(custom).collect(),
            functions: conversation.functions,
            wants_usage: conversation.wants_usage,
            signer,
        }
    }

    pub(super) fn takes_text(&self, tool: &str) -> bool {
        self.custom.iter().any(|custom| custom == tool)
    }

    /// The thoughts among the blocks that have a proof. One whose signer could not be told again is left out.
    pub(super) fn thinking<'a>(&self, blocks: &'a [Block]) -> Vec<ThinkingOut<'a>> {
        let format = match self.signer {
            Signer::Anthropic => None,
            Signer::Google => Some(super::GOOGLE),
            Signer::OpenAi => return Vec::new(),
        };
        let proved = |block: &'a Block| match block {
            Block::Reasoning { text, signature: Some(signature) } => {
                Some(ThinkingOut::Thinking { thinking: text, signature, format })
            }
            Block::Redacted(data) => Some(ThinkingOut::RedactedThinking { data }),
            _ => None,
        };
        blocks.iter().filter_map(proved).collect()
    }

    pub(super) fn reason(&self, finish: Finish) -> &'static str {
        match finish {
            Finish::ToolCalls if self.functions => "function_call",
            finish => reason(finish),
        }
    }
}

/// The plain text for a custom tool: the one argument of its call, or all of it where it has another form.
pub(super) fn plain(arguments: &str) -> Cow<'_, str> {
    #[derive(Deserialize)]
    struct Arguments<'a> {
        #[serde(borrow)]
        input: Str<'a>,
    }
    serde_json::from_str::<Arguments>(arguments).map_or(Cow::Borrowed(arguments), |read| read.input.0)
}

/// A call, or in a stream a part of one.
#[derive(Default, Serialize)]
pub(super) struct CallOut<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) index: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) id: Option<&'a str>,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub(super) kind: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) function: Option<FunctionOut<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) custom: Option<CustomOut<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) extra_content: Option<ExtraOut<'a>>,
}

#[derive(Serialize)]
pub(super) struct FunctionOut<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<&'a str>,
    pub(super) arguments: Cow<'a, str>,
}

#[derive(Serialize)]
pub(super) struct CustomOut<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    input: Cow<'a, str>,
}

#[derive(Serialize)]
pub(super) struct ExtraOut<'a> {
    google: GoogleOut<'a>,
}

#[derive(Serialize)]
struct GoogleOut<'a> {
    thought_signature: &'a str,
}

impl<'a> CallOut<'a> {
    /// The call of a function, or of a custom tool.
    pub(super) fn begin(custom: bool, id: &'a str, name: &'a str, text: Cow<'a, str>) -> Self {
        let call = Self { id: Some(id), ..Self::default() };
        let name = Some(name);
        match custom {
            true => Self { kind: Some("custom"), custom: Some(CustomOut { name, input: text }), ..call },
            false => {
                Self { kind: Some("function"), function: Some(FunctionOut { name, arguments: text }), ..call }
            }
        }
    }

    /// More of its arguments or its input.
    pub(super) fn more(custom: bool, index: u32, text: Cow<'a, str>) -> Self {
        let call = Self { index: Some(index), ..Self::default() };
        match custom {
            true => Self { custom: Some(CustomOut { name: None, input: text }), ..call },
            false => Self { function: Some(FunctionOut { name: None, arguments: text }), ..call },
        }
    }

    pub(super) fn signed(self, signature: Option<&'a str>) -> Self {
        let extra = |thought_signature| ExtraOut { google: GoogleOut { thought_signature } };
        Self { extra_content: signature.map(extra), ..self }
    }
}

/// A picture.
#[derive(Serialize)]
pub(super) struct ImageOut<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    image_url: AddressOut<'a>,
    index: u32,
}

#[derive(Serialize)]
struct AddressOut<'a> {
    url: DataUrl<'a>,
}

struct DataUrl<'a> {
    mime: &'a str,
    data: &'a str,
}

impl Serialize for DataUrl<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("data:{};base64,{}", self.mime, self.data))
    }
}

impl<'a> ImageOut<'a> {
    pub(super) fn new(index: u32, mime: &'a str, data: &'a str) -> Self {
        Self { kind: "image_url", image_url: AddressOut { url: DataUrl { mime, data } }, index }
    }
}

/// A thought whose proof must come back.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum ThinkingOut<'a> {
    Thinking {
        thinking: &'a str,
        signature: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        format: Option<&'static str>,
    },
    RedactedThinking {
        data: &'a str,
    },
}

#[derive(Serialize)]
pub(crate) struct UsageOut {
    prompt_tokens: u64,
    completion_tokens: u64,
    total_tokens: u64,
    prompt_tokens_details: PromptDetails,
    completion_tokens_details: CompletionDetails,
}

#[derive(Serialize)]
struct PromptDetails {
    cached_tokens: u64,
    cache_write_tokens: u64,
    audio_tokens: u64,
}

#[derive(Serialize)]
struct CompletionDetails {
    reasoning_tokens: u64,
    audio_tokens: u64,
    accepted_prediction_tokens: u64,
    rejected_prediction_tokens: u64,
}

impl From<Usage> for UsageOut {
    fn from(usage: Usage) -> Self {
        Self {
            prompt_tokens: usage.prompt,
            completion_tokens: usage.completion,
            total_tokens: usage.total,
            prompt_tokens_details: PromptDetails {
                cached_tokens: usage.cached,
                cache_write_tokens: usage.cache_written,
                audio_tokens: 0,
            },
            completion_tokens_details: CompletionDetails {
                reasoning_tokens: usage.reasoning,
                audio_tokens: 0,
                accepted_prediction_tokens: 0,
                rejected_prediction_tokens: 0,
            },
        }
    }
}
