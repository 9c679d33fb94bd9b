//! A whole answer for a client.
//!
//! All members of OpenAI's API reference that every answer has, those without a value as `null`.

use std::borrow::Cow;

use serde::Serialize;

use super::out::{self, CallOut, Client, FunctionOut, ImageOut, ThinkingOut, UsageOut};
use crate::dialect::reply::{Block, Choice, Reply};

#[derive(Serialize)]
struct Body<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    model: &'a str,
    choices: Vec<ChoiceOut<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<UsageOut>,
    service_tier: Option<&'a str>,
    system_fingerprint: Option<&'a str>,
}

#[derive(Serialize)]
struct ChoiceOut<'a> {
    index: usize,
    message: Message<'a>,
    logprobs: Option<()>,
    finish_reason: &'static str,
}

#[derive(Serialize)]
struct Message<'a> {
    role: &'static str,
    content: Option<Cow<'a, str>>,
    refusal: Option<Cow<'a, str>>,
    annotations: [(); 0],
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_content: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    thinking_blocks: Vec<ThinkingOut<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    images: Vec<ImageOut<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<CallOut<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    function_call: Option<FunctionOut<'a>>,
}

/// The body of an answer.
pub(super) fn body(reply: &Reply, id: &str, created: u64, client: &Client) -> Vec<u8> {
    let choices = reply.choices.iter().enumerate();
    let body = Body {
        id,
        object: "chat.completion",
        created,
        model: &reply.model,
        choices: choices.map(|(index, choice)| written(index, choice, client)).collect(),
        usage: reply.usage.map(UsageOut::from),
        service_tier: None,
        system_fingerprint: None,
    };
    let mut out = Vec::new();
    out::json(&mut out, &body);
    out
}

fn written<'a>(index: usize, choice: &'a Choice, client: &Client) -> ChoiceOut<'a> {
    let blocks = choice.blocks.as_slice();
    let text = |block: &'a Block| match block {
        Block::Text(text) => Some(text.as_str()),
        _ => None,
    };
    let refusal = |block: &'a Block| match block {
        Block::Refusal(text) => Some(text.as_str()),
        _ => None,
    };
    let thought = |block: &'a Block| match block {
        Block::Reasoning { text, .. } if !text.is_empty() => Some(text.as_str()),
        _ => None,
    };
    let mut tool_calls: Vec<CallOut> = blocks.iter().filter_map(|block| call(block, client)).collect();
    let function_call = match client.functions {
        true => tool_calls.drain(..).next().and_then(|call| call.function),
        false => None,
    };
    let refusal = joined(blocks.iter().filter_map(refusal));
    // Only beside a call or a refusal is there no text at all; a filter or a limit leaves an empty one.
    let empty = (tool_calls.is_empty() && function_call.is_none() && refusal.is_none()).then_some("");
    let message = Message {
        role: "assistant",
        content: joined(blocks.iter().filter_map(text)).or(empty.map(Cow::Borrowed)),
        refusal,
        annotations: [],
        reasoning_content: joined(blocks.iter().filter_map(thought)),
        thinking_blocks: client.thinking(blocks),
        images: images(blocks),
        tool_calls,
        function_call,
    };
    let finish_reason = choice.finish.as_ref().map_or("stop", |ended| client.reason(ended.finish()));
    ChoiceOut { index, message, logprobs: None, finish_reason }
}

/// The texts as one, copied only where there are several.
fn joined<'a>(texts: impl Iterator<Item = &'a str>) -> Option<Cow<'a, str>> {
    texts.map(Cow::Borrowed).reduce(|mut joined, text| {
        joined.to_mut().push_str(&text);
        joined
    })
}

fn images(blocks: &[Block]) -> Vec<ImageOut<'_>> {
    let pictures = blocks.iter().filter_map(|block| match block {
        Block::Image { mime, data } => Some((mime, data)),
        _ => None,
    });
    (0..).zip(pictures).map(|(index, (mime, data))| ImageOut::new(index, mime, data)).collect()
}

fn call<'a>(block: &'a Block, client: &Client) -> Option<CallOut<'a>> {
    let Block::ToolCall { id, name, arguments, signature, .. } = block else { return None };
    let custom = client.takes_text(name);
    let text = if custom { out::plain(arguments) } else { Cow::Borrowed(arguments.as_str()) };
    Some(CallOut::begin(custom, id, name, text).signed(signature.as_deref()))
}
