//! A host's stream of Responses, read for an answer that is to go on with another.
//!
//! Whole answers never come here, as in `completions`. Only texts, thoughts and calls of functions have pieces: a
//! request that could bring anything else is not one to go on with, and an item of another kind cannot be read.
//!
//! Source: OpenAI API reference, "Streaming events".

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::dialect::json::Str;
use crate::dialect::reply::{Finish, Piece, Sink};
use crate::dialect::{ReadReply, Seen, Unreadable};
use crate::llm::usage::Reported;

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(borrow, rename = "type")]
    kind: Str<'a>,
    #[serde(default)]
    response: Option<ResponseIn<'a>>,
    #[serde(default)]
    item: Option<ItemIn<'a>>,
    #[serde(default)]
    output_index: u32,
    #[serde(default)]
    delta: Option<Str<'a>>,
}

#[derive(Deserialize)]
struct ResponseIn<'a> {
    #[serde(borrow, default)]
    id: Option<Str<'a>>,
    #[serde(default)]
    model: Option<Str<'a>>,
    #[serde(default)]
    usage: Option<&'a RawValue>,
    #[serde(default)]
    incomplete_details: Option<Details<'a>>,
}

#[derive(Deserialize)]
struct Details<'a> {
    #[serde(borrow, default)]
    reason: Option<Str<'a>>,
}

#[derive(Deserialize)]
struct ItemIn<'a> {
    #[serde(borrow, rename = "type")]
    kind: Str<'a>,
    #[serde(default)]
    call_id: Option<Str<'a>>,
    #[serde(default)]
    name: Option<Str<'a>>,
}

/// Reads one answer.
#[derive(Default)]
pub struct ResponsesReader {
    /// The places of calls in the output: their order is their number.
    calls: Vec<u32>,
    /// There is a message: a second one is no part of the first.
    spoken: bool,
}

impl ResponsesReader {
    fn added(&mut self, item: &ItemIn, index: u32, sink: &mut dyn Sink) -> Result<(), Unreadable> {
        match (&*item.kind, &item.call_id, &item.name) {
            ("message", ..) if !std::mem::replace(&mut self.spoken, true) => Ok(()),
            ("reasoning", ..) => Ok(()),
            ("function_call", Some(id), Some(name)) => {
                let ordinal = u32::try_from(self.calls.len()).map_err(|_| Unreadable)?;
                self.calls.push(index);
                sink.piece(0, Piece::ToolCall { ordinal, id, name, signature: None });
                Ok(())
            }
            _ => Err(Unreadable),
        }
    }

    fn end(&self, response: Option<ResponseIn>, complete: bool, sink: &mut dyn Sink) -> Seen {
        let (usage, details) = response.map_or((None, None), |end| (end.usage, end.incomplete_details));
        let usage = usage.and_then(|usage| Reported::of(usage.get()));
        let filtered =
            details.and_then(|details| details.reason).is_some_and(|reason| &*reason == "content_filter");
        sink.piece(
            0,
            Piece::Finish(match complete {
                true if self.calls.is_empty() => Finish::Stop,
                true => Finish::ToolCalls,
                false if filtered => Finish::Filtered,
                false => Finish::Length,
            }),
        );
        if let Some(usage) = usage {
            sink.piece(0, Piece::Usage(usage.usage()));
        }
        Seen::Last
    }
}

impl ReadReply for ResponsesReader {
    fn event(&mut self, data: &[u8], sink: &mut dyn Sink) -> Result<Seen, Unreadable> {
        let Event { kind, response, item, output_index, delta } =
            serde_json::from_slice(data).map_err(|_| Unreadable)?;
        let delta = delta.as_deref().unwrap_or_default();
        match &*kind {
            "response.created" => {
                let (id, model) = response.map_or((None, None), |begun| (begun.id, begun.model));
                let (id, model) = (id.unwrap_or_default(), model.unwrap_or_default());
                sink.piece(0, Piece::Start { id: &id, model: &model });
            }
            "response.output_item.added" => self.added(&item.ok_or(Unreadable)?, output_index, sink)?,
            "response.output_text.delta" => sink.piece(0, Piece::Text(delta)),
            "response.refusal.delta" => sink.piece(0, Piece::Refusal(delta)),
            "response.reasoning_summary_text.delta" | "response.reasoning_text.delta" => {
                sink.piece(0, Piece::Reasoning(delta));
            }
            "response.function_call_arguments.delta" => {
                let ordinal = self.calls.iter().position(|index| *index == output_index).ok_or(Unreadable)?;
                let ordinal = u32::try_from(ordinal).map_err(|_| Unreadable)?;
                sink.piece(0, Piece::Arguments { ordinal, json: delta });
            }
            "response.completed" => return Ok(self.end(response, true, sink)),
            "response.incomplete" => return Ok(self.end(response, false, sink)),
            "response.failed" | "response.cancelled" | "error" => return Ok(Seen::Failure),
            _ => {}
        }
        Ok(Seen::More)
    }

    fn whole(&mut self, _body: &[u8], _sink: &mut dyn Sink) -> Result<Seen, Unreadable> {
        Err(Unreadable)
    }
}
