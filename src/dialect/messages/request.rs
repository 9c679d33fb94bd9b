//! What a client of the Messages API asks.
//!
//! One flat struct takes every kind of block, since serde's tagged enums would copy a picture before they know what it
//! is. Members and blocks that are not known are passed over, as Anthropic adds both without notice (and its clients
//! send blocks of tools that Anthropic has run: these mean nothing elsewhere). What Anthropic has and others have not
//! (`container`, `mcp_servers`, `context_management`, citations) is dropped.
//!
//! Sources: Anthropic's API reference (Messages, 2026-10-21), the request types of its SDKs (anthropic 2.11 for Python,
//! 1.11 for TypeScript), and what Claude Code sends.

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::Number;

use super::super::conversation::{
    Cache, Conversation, Effort, Format, Part, Reasoning, Role, Signer, Source, Tool, ToolCall, ToolChoice,
    Turn, Untranslatable, What,
};
use super::super::fault::{self, TextOrList};
use super::super::json::{OneOrMany, Str, Text};

/// Reads a request.
pub fn read(body: &str) -> Result<Conversation<'_>, Untranslatable> {
    let body: Body = fault::read(body)?;
    let mut turns = Vec::new();
    if let Some(system) = body.system {
        turns.push(Turn { role: Role::System, parts: parts(Some(system), "system")? });
    }
    let messages = body.messages.ok_or_else(|| missing("messages"))?;
    for (number, message) in messages.into_iter().enumerate() {
        turns.push(message.turn(number)?);
    }
    let choice = body.tool_choice.unwrap_or_default();
    let parallel_tools = choice.disable_parallel_tool_use.map(|disabled| !disabled);
    Ok(Conversation {
        turns,
        tools: tools(body.tools.unwrap_or_default())?,
        tool_choice: choice.read()?,
        parallel_tools,
        max_tokens: body.max_tokens,
        temperature: body.temperature,
        top_p: body.top_p,
        top_k: body.top_k,
        stop: body.stop_sequences.unwrap_or_default(),
        reasoning: reasoning(body.thinking, body.output_config.as_ref().and_then(|config| config.effort())),
        format: format(body.output_config.and_then(|config| config.format).or(body.output_format)),
        user: body.metadata.and_then(|metadata| metadata.user_id),
        service_tier: service_tier(body.service_tier.as_deref(), body.speed.as_deref()),
        cache: body.cache_control.map(CacheControl::read),
        stream: body.stream.unwrap_or_default(),
        wants_usage: true,
        ..Conversation::default()
    })
}

#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow)]
    system: Option<&'a RawValue>,
    messages: Option<Vec<Message<'a>>>,
    tools: Option<Vec<ToolOffer<'a>>>,
    tool_choice: Option<Choice<'a>>,
    max_tokens: Option<u64>,
    temperature: Option<Number>,
    top_p: Option<Number>,
    top_k: Option<Number>,
    stop_sequences: Option<Vec<Str<'a>>>,
    thinking: Option<Thinking<'a>>,
    output_config: Option<OutputConfig<'a>>,
    /// Where the format was while it was a beta.
    output_format: Option<OutputFormat<'a>>,
    metadata: Option<Metadata<'a>>,
    service_tier: Option<Str<'a>>,
    speed: Option<Str<'a>>,
    cache_control: Option<CacheControl<'a>>,
    stream: Option<bool>,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    role: Option<Str<'a>>,
    content: Option<&'a RawValue>,
}

/// A block of any kind.
#[derive(Deserialize)]
struct Block<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<Str<'a>>,
    text: Option<&'a RawValue>,
    /// An object in pictures and documents, an address in search results.
    source: Option<OneOrMany<'a, BlockSource<'a>>>,
    title: Option<Str<'a>>,
    id: Option<Str<'a>>,
    name: Option<Str<'a>>,
    input: Option<&'a RawValue>,
    tool_use_id: Option<Str<'a>>,
    content: Option<&'a RawValue>,
    is_error: Option<bool>,
    thinking: Option<Str<'a>>,
    signature: Option<Str<'a>>,
    data: Option<Str<'a>>,
    cache_control: Option<CacheControl<'a>>,
}

#[derive(Deserialize)]
struct BlockSource<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<Str<'a>>,
    media_type: Option<Str<'a>>,
    data: Option<Str<'a>>,
    url: Option<Str<'a>>,
    file_id: Option<Str<'a>>,
    content: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct CacheControl<'a> {
    #[serde(borrow)]
    ttl: Option<Str<'a>>,
}

#[derive(Deserialize)]
struct ToolOffer<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<Str<'a>>,
    name: Option<Str<'a>>,
    description: Option<Str<'a>>,
    input_schema: Option<&'a RawValue>,
    strict: Option<bool>,
    cache_control: Option<CacheControl<'a>>,
}

#[derive(Default, Deserialize)]
struct Choice<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<Str<'a>>,
    name: Option<Str<'a>>,
    disable_parallel_tool_use: Option<bool>,
}

#[derive(Deserialize)]
struct Thinking<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<Str<'a>>,
    budget_tokens: Option<u64>,
    display: Option<Str<'a>>,
}

#[derive(Deserialize)]
struct OutputConfig<'a> {
    #[serde(borrow)]
    effort: Option<Str<'a>>,
    format: Option<OutputFormat<'a>>,
}

#[derive(Deserialize)]
struct OutputFormat<'a> {
    #[serde(borrow)]
    schema: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Metadata<'a> {
    #[serde(borrow)]
    user_id: Option<Str<'a>>,
}

impl<'a> Message<'a> {
    fn turn(self, number: usize) -> Result<Turn<'a>, Untranslatable> {
        let role = match self.role.as_deref() {
            Some("user") => Role::User,
            Some("assistant") => Role::Assistant,
            Some("system") => Role::System,
            _ => {
                let param = format!("messages[{number}].role");
                let why = format!("`{param}` must be `user`, `assistant` or `system`.");
                return Err(Untranslatable::new(param, why));
            }
        };
        let parts = parts(self.content, &format!("messages[{number}].content"))?;
        Ok(Turn { role, parts })
    }
}

fn parts<'a>(content: Option<&'a RawValue>, path: &str) -> Result<Vec<Part<'a>>, Untranslatable> {
    let Some(content) = content else { return Ok(Vec::new()) };
    let blocks = match fault::text_or_list::<Block>(content, path)? {
        TextOrList::Text(text) => return Ok(vec![Part::text(text)]),
        TextOrList::List(blocks) => blocks,
    };
    let mut parts = Vec::with_capacity(blocks.len());
    for (number, block) in blocks.into_iter().enumerate() {
        block.read(0, &mut parts).map_err(|member| missing(&format!("{path}[{number}].{member}")))?;
    }
    Ok(parts)
}

/// Blocks in blocks in blocks: no deeper than this, or a body could exhaust the stack. Anthropic has two levels.
const DEEPEST: usize = 8;

/// The member that a block lacks.
type Lacks = &'static str;

impl<'a> Block<'a> {
    fn read(self, depth: usize, parts: &mut Vec<Part<'a>>) -> Result<(), Lacks> {
        let cache = self.cache_control.map(CacheControl::read);
        let what = match self.kind.as_deref() {
            Some("text") => What::Text { text: self.text.and_then(Text::of).ok_or("text")?, signature: None },
            Some("image") => What::Image(source(self.source)?.read()?),
            Some("document") => return source(self.source)?.document(depth, self.title, cache, parts),
            Some("search_result") => {
                What::Document { source: Source::Text(joined(self.content)?), name: self.title }
            }
            Some("thinking") => What::Reasoning {
                text: self.thinking.unwrap_or_default(),
                signature: self.signature.filter(|signature| !signature.is_empty()),
                signer: Signer::Anthropic,
            },
            Some("redacted_thinking") => What::Redacted(self.data.ok_or("data")?),
            Some("tool_use") => What::ToolCall(ToolCall {
                id: self.id.ok_or("id")?,
                name: self.name.ok_or("name")?,
                arguments: self.input.map_or_else(Str::default, |input| input.get().into()),
                custom: false,
                signature: None,
            }),
            Some("tool_result") => What::ToolResult {
                id: self.tool_use_id.ok_or("tool_use_id")?,
                name: None,
                content: nested(self.content, depth)?,
                failed: self.is_error.unwrap_or_default(),
            },
            _ => return Ok(()),
        };
        parts.push(Part { what, cache });
        Ok(())
    }
}

fn nested<'a>(content: Option<&'a RawValue>, depth: usize) -> Result<Vec<Part<'a>>, Lacks> {
    let mut parts = Vec::new();
    match inner(content)? {
        _ if depth == DEEPEST => return Err("content"),
        TextOrList::Text(text) => parts.push(Part::text(text)),
        TextOrList::List(blocks) => {
            blocks.into_iter().try_for_each(|block| block.read(depth + 1, &mut parts))?;
        }
    }
    Ok(parts)
}

fn inner(content: Option<&RawValue>) -> Result<TextOrList<'_, Block<'_>>, Lacks> {
    let Some(content) = content else { return Ok(TextOrList::List(Vec::new())) };
    fault::text_or_list(content, "").map_err(|_| "content")
}

/// The texts of the content, as paragraphs.
fn joined<'a>(content: Option<&'a RawValue>) -> Result<Text<'a>, Lacks> {
    Ok(match inner(content)? {
        TextOrList::Text(text) => text,
        TextOrList::List(blocks) => {
            let texts: Vec<_> = blocks.iter().filter_map(|block| block.text).filter_map(Text::of).collect();
            let texts: Vec<&str> = texts.iter().map(|text| &**text).collect();
            texts.join("\n\n").into()
        }
    })
}

fn source<'a>(source: Option<OneOrMany<'a, BlockSource<'a>>>) -> Result<BlockSource<'a>, Lacks> {
    match source {
        Some(OneOrMany::Many(mut sources)) => sources.pop().ok_or("source"),
        _ => Err("source"),
    }
}

impl<'a> BlockSource<'a> {
    fn read(self) -> Result<Source<'a>, Lacks> {
        match self.kind.as_deref() {
            Some("base64") => Ok(Source::Inline {
                mime: self.media_type.ok_or("source.media_type")?,
                data: self.data.ok_or("source.data")?,
            }),
            Some("text") => Ok(Source::Text(self.data.ok_or("source.data")?.into())),
            Some("url") => Ok(Source::Url { url: self.url.ok_or("source.url")?, mime: self.media_type }),
            Some("file") => Ok(Source::File(self.file_id.ok_or("source.file_id")?)),
            _ => Err("source.type"),
        }
    }

    /// A document may consist of blocks of its own: these stand for themselves.
    fn document(
        self,
        depth: usize,
        name: Option<Str<'a>>,
        cache: Option<Cache>,
        parts: &mut Vec<Part<'a>>,
    ) -> Result<(), Lacks> {
        if self.kind.as_deref() == Some("content") {
            parts.extend(nested(self.content, depth)?);
            if let Some(last) = parts.last_mut() {
                last.cache = cache.or(last.cache);
            }
        } else {
            parts.push(Part { what: What::Document { source: self.read()?, name }, cache });
        }
        Ok(())
    }
}

impl CacheControl<'_> {
    fn read(self) -> Cache {
        match self.ttl.as_deref() {
            Some("1h") => Cache::Long,
            _ => Cache::Short,
        }
    }
}

fn tools(offers: Vec<ToolOffer<'_>>) -> Result<Vec<Tool<'_>>, Untranslatable> {
    offers
        .into_iter()
        .enumerate()
        .map(|(number, offer)| match offer.kind {
            Some(kind) if &*kind != "custom" => Ok(Tool::Hosted { kind }),
            _ => Ok(Tool::Function {
                name: offer.name.ok_or_else(|| missing(&format!("tools[{number}].name")))?,
                description: offer.description,
                parameters: offer.input_schema,
                strict: offer.strict,
                cache: offer.cache_control.map(CacheControl::read),
            }),
        })
        .collect()
}

impl<'a> Choice<'a> {
    fn read(self) -> Result<Option<ToolChoice<'a>>, Untranslatable> {
        Ok(Some(match self.kind.as_deref() {
            None => return Ok(None),
            Some("auto") => ToolChoice::Auto,
            Some("any") => ToolChoice::Required,
            Some("none") => ToolChoice::None,
            Some("tool") => ToolChoice::One(self.name.ok_or_else(|| missing("tool_choice.name"))?),
            Some(_) => {
                let why = "`tool_choice.type` must be `auto`, `any`, `tool` or `none`.";
                return Err(Untranslatable::new("tool_choice.type", why));
            }
        }))
    }
}

impl OutputConfig<'_> {
    fn effort(&self) -> Option<Effort> {
        Some(match self.effort.as_deref()? {
            "low" => Effort::Low,
            "medium" => Effort::Medium,
            "high" => Effort::High,
            "xhigh" => Effort::XHigh,
            "max" => Effort::Max,
            _ => return None,
        })
    }
}

fn reasoning(thinking: Option<Thinking>, effort: Option<Effort>) -> Option<Reasoning> {
    let Some(thinking) = thinking else {
        return effort.map(|effort| Reasoning { effort: Some(effort), ..Reasoning::default() });
    };
    let shown = match thinking.display.as_deref() {
        Some("summarized") => Some(true),
        Some("omitted") => Some(false),
        _ => None,
    };
    let (budget, adaptive) = match thinking.kind.as_deref() {
        Some("adaptive") => (None, true),
        Some("enabled") => (thinking.budget_tokens, false),
        // `between_tools` is what newer models have instead of `disabled`.
        Some("disabled" | "between_tools") => (Some(0), false),
        _ => (None, false),
    };
    Some(Reasoning { effort, budget, shown, adaptive })
}

fn format(format: Option<OutputFormat<'_>>) -> Format<'_> {
    match format {
        None => Format::Text,
        Some(format) => {
            Format::Schema { name: None, description: None, schema: format.schema, strict: Some(true) }
        }
    }
}

fn service_tier<'a>(tier: Option<&str>, speed: Option<&str>) -> Option<Str<'a>> {
    match (tier, speed) {
        (_, Some("fast")) => Some("fast".into()),
        (Some("auto"), _) => Some("auto".into()),
        (Some("standard_only"), _) => Some("default".into()),
        _ => None,
    }
}

fn missing(param: &str) -> Untranslatable {
    Untranslatable::new(param, format!("`{param}` is missing or not of a kind that is known here."))
}
