//! A request for generated text, in no provider's tongue: what every reader makes and every composer takes.
//!
//! It borrows from the client's body. Schemas, arguments and metadata stay the bytes that they were, so that the order
//! of their keys is kept (provider prompt caches compare bytes). A reader puts everything that it understands here and
//! leaves out the rest; a composer writes what its dialect has a word for, drops what does no harm when it is missing,
//! and answers `Untranslatable` for what would change the meaning.

use bytes::Bytes;
use serde_json::value::RawValue;
use serde_json::Number;

use super::json::{Str, Text};

/// A request for generated text.
#[derive(Clone, Debug, Default)]
pub struct Conversation<'a> {
    /// The body that it was read from, where long texts may be lent to another one.
    pub body: Bytes,
    /// What was said, in order. Neighbours may have the same role, and turns may be empty: composers merge and drop.
    pub turns: Vec<Turn<'a>>,
    /// Whether the last turn is the model's own, and its answer is to go on with it.
    pub begun: bool,
    /// What may be called, in order.
    pub tools: Vec<Tool<'a>>,
    /// Those of them that the client keeps in groups (Responses: `namespace`).
    pub grouped: Vec<Grouped<'a>>,
    /// Whether the client offered them as OpenAI's older `functions`, and so wants a call as `function_call`.
    pub functions: bool,
    /// Which of them must.
    pub tool_choice: Option<ToolChoice<'a>>,
    /// Whether several may be called at once.
    pub parallel_tools: Option<bool>,
    /// The longest answer, in tokens.
    pub max_tokens: Option<u64>,
    /// Sampling.
    pub temperature: Option<Number>,
    /// Sampling.
    pub top_p: Option<Number>,
    /// Sampling.
    pub top_k: Option<Number>,
    /// Sampling.
    pub presence_penalty: Option<Number>,
    /// Sampling.
    pub frequency_penalty: Option<Number>,
    /// Sampling.
    pub seed: Option<Number>,
    /// Texts that end the answer.
    pub stop: Vec<Str<'a>>,
    /// How many answers; `None` is one.
    pub answers: Option<u32>,
    /// How much to think.
    pub reasoning: Option<Reasoning>,
    /// The shape of the answer's text.
    pub format: Format<'a>,
    /// What the answer may consist of, in OpenAI's words (`text`, `audio`, `image`); empty is text.
    pub modalities: Vec<Str<'a>>,
    /// Who asks, for the provider's abuse watch.
    pub user: Option<Str<'a>>,
    /// OpenAI's word for it.
    pub service_tier: Option<Str<'a>>,
    /// A hint that requests with this key begin alike.
    pub prompt_cache_key: Option<Str<'a>>,
    /// An object of texts.
    pub metadata: Option<&'a RawValue>,
    /// Everything so far may be cached (a mark on the whole request).
    pub cache: Option<Cache>,
    /// Whether the answer is to be a stream.
    pub stream: bool,
    /// Whether a stream is to report its usage (only chat completions can leave it out).
    pub wants_usage: bool,
}

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The operator: `system` and `developer`.
    System,
    /// The caller, results of tools included.
    User,
    /// The model.
    Assistant,
}

/// One turn.
#[derive(Clone, Debug)]
pub struct Turn<'a> {
    /// Who speaks.
    pub role: Role,
    /// What is said.
    pub parts: Vec<Part<'a>>,
}

/// A part of a turn, and whether the prompt up to here may be cached.
#[derive(Clone, Debug)]
pub struct Part<'a> {
    /// What it is.
    pub what: What<'a>,
    /// `cache_control` of Anthropic, `prompt_cache_breakpoint` of OpenAI.
    pub cache: Option<Cache>,
}

/// What a part is.
#[derive(Clone, Debug)]
pub enum What<'a> {
    /// Text. `signature` is Gemini's thought signature, which may stand on text.
    Text {
        /// The text.
        text: Text<'a>,
        /// Opaque.
        signature: Option<Str<'a>>,
    },
    /// A picture.
    Image(Source<'a>),
    /// A sound.
    Audio(Source<'a>),
    /// A film.
    Video(Source<'a>),
    /// A PDF, or another file.
    Document {
        /// Where it is.
        source: Source<'a>,
        /// Its file name or title.
        name: Option<Str<'a>>,
    },
    /// What the model thought, given back to it.
    Reasoning {
        /// In words; may be empty where only the signature came.
        text: Str<'a>,
        /// Opaque proof; belongs to the provider that `signer` names.
        signature: Option<Str<'a>>,
        /// Whose signature it is.
        signer: Signer,
    },
    /// Thoughts that only Anthropic can read.
    Redacted(Str<'a>),
    /// The model's refusal.
    Refusal(Text<'a>),
    /// The model's call of a tool.
    ToolCall(ToolCall<'a>),
    /// What came of it.
    ToolResult {
        /// The call's id; empty where the client's dialect has none (older Gemini): then the name says it.
        id: Str<'a>,
        /// The tool's name, where the client's dialect says it.
        name: Option<Str<'a>>,
        /// Text and pictures.
        content: Vec<Part<'a>>,
        /// Whether the tool failed.
        failed: bool,
    },
}

/// A call of a tool, in a request.
#[derive(Clone, Debug)]
pub struct ToolCall<'a> {
    /// Unique in the conversation; empty where the client's dialect has none.
    pub id: Str<'a>,
    /// The tool's name.
    pub name: Str<'a>,
    /// The arguments as JSON text, as the client wrote it: may be empty (no arguments) and need not be valid. For a
    /// custom tool, the plain text of its input.
    pub arguments: Str<'a>,
    /// A custom tool takes plain text instead of JSON.
    pub custom: bool,
    /// Gemini's thought signature.
    pub signature: Option<Str<'a>>,
}

/// Whose opaque signature it is: none is ever sent to another provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signer {
    /// `thinking.signature`.
    Anthropic,
    /// `thoughtSignature`.
    Google,
    /// `encrypted_content` of a Responses reasoning item.
    OpenAi,
}

/// Where the bytes of a picture, a sound or a document are.
#[derive(Clone, Debug, PartialEq)]
pub enum Source<'a> {
    /// Here.
    Inline {
        /// Such as `image/png`.
        mime: Str<'a>,
        /// Base64, without white space.
        data: Str<'a>,
    },
    /// Plain text, as Anthropic's documents may be.
    Text(Text<'a>),
    /// At an address: https, http or gs.
    Url {
        /// The address.
        url: Str<'a>,
        /// Where the client says it.
        mime: Option<Str<'a>>,
    },
    /// In a provider's store.
    File(Str<'a>),
}

/// A mark that the prompt may be cached up to here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cache {
    /// For the provider's usual time (Anthropic: five minutes).
    Short,
    /// For long (Anthropic: an hour).
    Long,
}

/// Something that the model may call.
#[derive(Clone, Debug)]
pub enum Tool<'a> {
    /// With JSON arguments.
    Function {
        /// Its name.
        name: Str<'a>,
        /// What it is for.
        description: Option<Str<'a>>,
        /// JSON Schema of the arguments; `None` for a tool without any.
        parameters: Option<&'a RawValue>,
        /// Whether the arguments must fit the schema.
        strict: Option<bool>,
        /// Tools up to here may be cached.
        cache: Option<Cache>,
    },
    /// With plain text.
    Custom {
        /// Its name.
        name: Str<'a>,
        /// What it is for.
        description: Option<Str<'a>>,
        /// OpenAI's grammar, if any.
        format: Option<&'a RawValue>,
    },
    /// Run by the provider itself (web search, code execution): an offer in one dialect only.
    Hosted {
        /// The provider's name for it.
        kind: Str<'a>,
    },
}

/// A tool in a group of the client's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grouped<'a> {
    /// Its name among the tools, unique.
    pub name: Str<'a>,
    /// The group's name.
    pub group: Str<'a>,
    /// Its name in the group.
    pub member: Str<'a>,
}

/// Which tool must be called.
#[derive(Clone, Debug, PartialEq)]
pub enum ToolChoice<'a> {
    /// None may.
    None,
    /// As the model sees fit.
    Auto,
    /// Some must.
    Required,
    /// This one must.
    One(Str<'a>),
    /// One of these may or must.
    Allowed {
        /// Must.
        required: bool,
        /// The names.
        names: Vec<Str<'a>>,
    },
}

/// How much to think, as far as the client says. Not all members are given at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reasoning {
    /// In words.
    pub effort: Option<Effort>,
    /// In tokens; nought is not at all.
    pub budget: Option<u64>,
    /// Whether thoughts (or their summary) are to be shown.
    pub shown: Option<bool>,
    /// Anthropic's `adaptive`: the model decides.
    pub adaptive: bool,
}

/// OpenAI's `reasoning_effort`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Effort {
    None,
    Minimal,
    Low,
    Medium,
    High,
    XHigh,
    Max,
}

/// The shape of the answer's text.
#[derive(Clone, Debug, Default)]
pub enum Format<'a> {
    /// Any.
    #[default]
    Text,
    /// Some JSON.
    Json,
    /// JSON of a schema.
    Schema {
        /// OpenAI wants a name.
        name: Option<Str<'a>>,
        /// For the model.
        description: Option<Str<'a>>,
        /// JSON Schema.
        schema: Option<&'a RawValue>,
        /// Whether it must fit.
        strict: Option<bool>,
    },
}

impl<'a> Part<'a> {
    /// A part without a mark.
    pub fn new(what: What<'a>) -> Self {
        Self { what, cache: None }
    }

    /// Plain text.
    pub fn text(text: impl Into<Text<'a>>) -> Self {
        Self::new(What::Text { text: text.into(), signature: None })
    }
}

impl<'a> Tool<'a> {
    /// Its name; `None` where the provider runs it.
    pub fn name(&self) -> Option<&Str<'a>> {
        match self {
            Self::Function { name, .. } | Self::Custom { name, .. } => Some(name),
            Self::Hosted { .. } => None,
        }
    }
}

/// A request that a dialect has no words for: a 400 that names the member, unless another candidate can.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct Untranslatable {
    /// The member of the client's request, as a path (`messages[2].content[0].input_audio`) or its name (`n`).
    pub param: String,
    /// What is wrong and what would help, as a sentence.
    pub why: String,
}

impl Untranslatable {
    /// An endpoint that the provider does not have.
    pub fn unserved(path: &str) -> Self {
        Self::new("", format!("None of the credentials that could serve this request has {path}."))
    }

    /// The fault of one member.
    pub fn new(param: impl Into<String>, why: impl Into<String>) -> Self {
        Self { param: param.into(), why: why.into() }
    }
}
