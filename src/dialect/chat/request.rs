//! A client's chat completions request.
//!
//! Members after OpenAI's API reference and openai-python 3.52; beside them what clients give back from answers of
//! ours: `reasoning_content`, `thinking_blocks` (LiteLLM's words for Anthropic's thoughts), `images` (OpenRouter's) and
//! `extra_content.google.thought_signature` on tool calls (Google's, of its OpenAI-compatible endpoint). Members that
//! only tune the provider (`store`, `logit_bias`, `prediction`, `verbosity`) are left out; `logprobs` is refused,
//! because the client would look in the answer for what no other dialect reports.

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::Number;

use super::parts::{self, Mark, PartIn};
use super::tools::{self, CallIn, ChoiceIn, FormatIn, FunctionCallIn, FunctionIn, ToolIn};
use crate::dialect::conversation::{
    Conversation, Effort, Format, Part, Reasoning, Role, Signer, Tool, ToolCall, ToolChoice, Turn,
    Untranslatable, What,
};
use crate::dialect::fault;
use crate::dialect::json::{OneOrMany, Str};

#[derive(Default, Deserialize)]
#[serde(default)]
struct Request<'a> {
    #[serde(borrow)]
    messages: Option<Vec<Message<'a>>>,
    tools: Option<Vec<ToolIn<'a>>>,
    functions: Option<Vec<FunctionIn<'a>>>,
    tool_choice: Option<OneOrMany<'a, ChoiceIn<'a>>>,
    function_call: Option<OneOrMany<'a, FunctionCallIn<'a>>>,
    parallel_tool_calls: Option<bool>,
    web_search_options: Option<&'a RawValue>,
    max_completion_tokens: Option<u64>,
    max_tokens: Option<u64>,
    temperature: Option<Number>,
    top_p: Option<Number>,
    top_k: Option<Number>,
    presence_penalty: Option<Number>,
    frequency_penalty: Option<Number>,
    seed: Option<Number>,
    stop: Option<OneOrMany<'a, Str<'a>>>,
    n: Option<u32>,
    reasoning_effort: Option<Str<'a>>,
    response_format: Option<FormatIn<'a>>,
    modalities: Option<Vec<Str<'a>>>,
    logprobs: Option<bool>,
    user: Option<Str<'a>>,
    safety_identifier: Option<Str<'a>>,
    service_tier: Option<Str<'a>>,
    prompt_cache_key: Option<Str<'a>>,
    metadata: Option<&'a RawValue>,
    cache_control: Option<Mark<'a>>,
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct StreamOptions {
    pub(crate) include_usage: Option<bool>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Message<'a> {
    #[serde(borrow)]
    role: Str<'a>,
    content: Option<&'a RawValue>,
    name: Option<Str<'a>>,
    refusal: Option<Str<'a>>,
    tool_calls: Option<Vec<CallIn<'a>>>,
    function_call: Option<FunctionCallIn<'a>>,
    tool_call_id: Option<Str<'a>>,
    reasoning_content: Option<Str<'a>>,
    thinking_blocks: Option<Vec<ThinkingIn<'a>>>,
    images: Option<Vec<PartIn<'a>>>,
    cache_control: Option<Mark<'a>>,
}

/// A thought as `writer` gives it.
#[derive(Default, Deserialize)]
#[serde(default)]
struct ThinkingIn<'a> {
    #[serde(rename = "type", borrow)]
    kind: Str<'a>,
    thinking: Str<'a>,
    signature: Option<Str<'a>>,
    data: Option<Str<'a>>,
    format: Option<Str<'a>>,
}

/// Reads the body of a request.
pub fn read(body: &str) -> Result<Conversation<'_>, Untranslatable> {
    let request: Request = fault::read(body)?;
    request.read()
}

impl<'a> Request<'a> {
    fn read(self) -> Result<Conversation<'a>, Untranslatable> {
        if self.logprobs == Some(true) {
            return Err(Untranslatable::new(
                "logprobs",
                "The provider of this model reports no log probabilities.",
            ));
        }
        let messages =
            self.messages.ok_or_else(|| Untranslatable::new("messages", "There are no messages."))?;
        let turns =
            (0..).zip(messages).map(|(number, message)| message.read(number)).collect::<Result<_, _>>()?;
        let functions = self.tools.is_none() && self.functions.is_some();
        let mut tools = tools::offered(self.tools, self.functions)?;
        if self.web_search_options.is_some() {
            tools.push(Tool::Hosted { kind: "web_search".into() });
        }
        Ok(Conversation {
            turns,
            tools,
            functions,
            tool_choice: choice(self.tool_choice, self.function_call)?,
            parallel_tools: if functions { Some(false) } else { self.parallel_tool_calls },
            max_tokens: self.max_completion_tokens.or(self.max_tokens),
            temperature: self.temperature,
            top_p: self.top_p,
            top_k: self.top_k,
            presence_penalty: self.presence_penalty,
            frequency_penalty: self.frequency_penalty,
            seed: self.seed,
            stop: stop(self.stop),
            answers: self.n,
            // Groq's word for not saying any.
            reasoning: self.reasoning_effort.filter(|word| &**word != "default").map(effort).transpose()?,
            format: self.response_format.map_or(Ok(Format::Text), FormatIn::read)?,
            modalities: self.modalities.unwrap_or_default(),
            user: self.safety_identifier.or(self.user),
            service_tier: self.service_tier,
            prompt_cache_key: self.prompt_cache_key,
            metadata: self.metadata,
            cache: self.cache_control.as_ref().map(Mark::cache),
            stream: self.stream.unwrap_or(false),
            wants_usage: self.stream_options.and_then(|options| options.include_usage).unwrap_or(false),
            ..Conversation::default()
        })
    }
}

fn choice<'a>(
    new: Option<OneOrMany<'a, ChoiceIn<'a>>>,
    old: Option<OneOrMany<'a, FunctionCallIn<'a>>>,
) -> Result<Option<ToolChoice<'a>>, Untranslatable> {
    match (new, old) {
        (Some(choice), _) => tools::choice(choice).map(Some),
        (None, Some(OneOrMany::Text(word))) => tools::choice(OneOrMany::Text(word)).map(Some),
        (None, Some(OneOrMany::Many(calls))) => {
            Ok(calls.into_iter().next().map(|call| ToolChoice::One(call.name)))
        }
        (None, None) => Ok(None),
    }
}

/// `stop`: a text or a list.
pub(crate) fn stop<'a>(stop: Option<OneOrMany<'a, Str<'a>>>) -> Vec<Str<'a>> {
    match stop {
        None => Vec::new(),
        Some(OneOrMany::Text(one)) => vec![one],
        Some(OneOrMany::Many(many)) => many,
    }
}

fn effort(word: Str) -> Result<Reasoning, Untranslatable> {
    let value = serde::de::value::StrDeserializer::<serde::de::value::Error>::new(&word);
    let effort = Effort::deserialize(value).map_err(|_| {
        let why = format!("`{}` is not one of none, minimal, low, medium, high, xhigh, max.", &*word);
        Untranslatable::new("reasoning_effort", why)
    })?;
    Ok(Reasoning { effort: Some(effort), ..Reasoning::default() })
}

impl<'a> Message<'a> {
    fn read(self, number: usize) -> Result<Turn<'a>, Untranslatable> {
        let place = format!("messages[{number}]");
        let role = match &*self.role {
            "system" | "developer" => Role::System,
            "user" => Role::User,
            "assistant" => return self.assistant(&place),
            "tool" | "function" => return self.result(&place),
            other => {
                let why = format!("`{other}` is not one of developer, system, user, assistant, tool.");
                return Err(Untranslatable::new(format!("{place}.role"), why));
            }
        };
        let mut parts = parts::read(self.content, &place)?;
        mark(&mut parts, self.cache_control.as_ref());
        Ok(Turn { role, parts })
    }

    fn result(self, place: &str) -> Result<Turn<'a>, Untranslatable> {
        let mut content = parts::read(self.content, place)?;
        // A mark inside a result stands for the result: other dialects have it there.
        let cache = content.iter_mut().filter_map(|part| part.cache.take()).last();
        let id = self.tool_call_id.unwrap_or_default();
        let what = What::ToolResult { id, name: self.name, content, failed: false };
        let part = Part { what, cache: self.cache_control.as_ref().map(Mark::cache).or(cache) };
        Ok(Turn { role: Role::User, parts: vec![part] })
    }

    fn assistant(self, place: &str) -> Result<Turn<'a>, Untranslatable> {
        let mut parts = thoughts(self.thinking_blocks, self.reasoning_content);
        parts.extend(parts::read(self.content, place)?);
        parts.extend(parts::listed(self.images.unwrap_or_default(), &format!("{place}.images"))?);
        parts.extend(self.refusal.filter(|text| !text.is_empty()).map(refusal).map(Part::new));
        parts.extend(self.tool_calls.into_iter().flatten().filter_map(CallIn::read).map(call));
        parts.extend(self.function_call.map(FunctionCallIn::read).map(call));
        mark(&mut parts, self.cache_control.as_ref());
        Ok(Turn { role: Role::Assistant, parts })
    }
}

fn refusal(text: Str) -> What {
    What::Refusal(text.into())
}

fn call(call: ToolCall) -> Part {
    Part::new(What::ToolCall(call))
}

/// A mark on a message stands for one on its last part.
fn mark(parts: &mut [Part], mark: Option<&Mark>) {
    if let (Some(last), Some(mark)) = (parts.last_mut(), mark) {
        last.cache = Some(mark.cache());
    }
}

/// The blocks tell the same thoughts as the text, with their proof: the text counts only without them.
fn thoughts<'a>(blocks: Option<Vec<ThinkingIn<'a>>>, text: Option<Str<'a>>) -> Vec<Part<'a>> {
    let blocks: Vec<Part> = blocks.into_iter().flatten().filter_map(ThinkingIn::read).collect();
    if !blocks.is_empty() {
        return blocks;
    }
    let unsigned = |text| What::Reasoning { text, signature: None, signer: Signer::Anthropic };
    text.filter(|text| !text.is_empty()).map(unsigned).map(Part::new).into_iter().collect()
}

impl<'a> ThinkingIn<'a> {
    fn read(self) -> Option<Part<'a>> {
        let signer = match self.format.as_deref() {
            Some(super::GOOGLE) => Signer::Google,
            _ => Signer::Anthropic,
        };
        let signature = self.signature.filter(|signature| !signature.is_empty());
        match &*self.kind {
            "thinking" => Some(What::Reasoning { text: self.thinking, signature, signer }),
            "redacted_thinking" => self.data.map(What::Redacted),
            _ => None,
        }
        .map(Part::new)
    }
}
