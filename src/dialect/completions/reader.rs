//! A host's answer to an older completion: chunks of a stream, read for an answer that is to go on with another.
//!
//! Whole answers never come here: who speaks the dialect gets the client's bytes, and gives the client its own. Shapes
//! after OpenAI's API reference, "The completion object".

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::dialect::json::Str;
use crate::dialect::reply::{Finish, Piece, Sink};
use crate::dialect::{ReadReply, Seen, Unreadable};
use crate::llm::usage::Reported;

#[derive(Deserialize)]
struct Chunk<'a> {
    #[serde(borrow, default)]
    id: Option<Str<'a>>,
    #[serde(default)]
    model: Option<Str<'a>>,
    #[serde(default)]
    choices: Vec<ChoiceIn<'a>>,
    #[serde(default)]
    usage: Option<&'a RawValue>,
    #[serde(default)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct ChoiceIn<'a> {
    #[serde(default)]
    index: u32,
    #[serde(borrow, default)]
    text: Option<Str<'a>>,
    #[serde(default)]
    finish_reason: Option<Str<'a>>,
}

/// Reads one answer.
#[derive(Default)]
pub struct CompletionsReader {
    started: bool,
}

impl ReadReply for CompletionsReader {
    fn event(&mut self, data: &[u8], sink: &mut dyn Sink) -> Result<Seen, Unreadable> {
        let chunk: Chunk = serde_json::from_slice(data).map_err(|_| Unreadable)?;
        if chunk.error.is_some() {
            return Ok(Seen::Failure);
        }
        if !std::mem::replace(&mut self.started, true) {
            let (id, model) = (chunk.id.unwrap_or_default(), chunk.model.unwrap_or_default());
            sink.piece(0, Piece::Start { id: &id, model: &model });
        }
        for ChoiceIn { index, text, finish_reason } in chunk.choices {
            if let Some(text) = text.filter(|text| !text.is_empty()) {
                sink.piece(index, Piece::Text(&text));
            }
            match finish_reason.as_deref() {
                None | Some("") => {}
                Some("length") => sink.piece(index, Piece::Finish(Finish::Length)),
                Some("content_filter") => sink.piece(index, Piece::Finish(Finish::Filtered)),
                Some(_) => sink.piece(index, Piece::Finish(Finish::Stop)),
            }
        }
        let usage = chunk.usage.and_then(|usage| Reported::of(usage.get()));
        if let Some(usage) = usage {
            sink.piece(0, Piece::Usage(usage.usage()));
        }
        Ok(Seen::More)
    }

    fn whole(&mut self, _body: &[u8], _sink: &mut dyn Sink) -> Result<Seen, Unreadable> {
        Err(Unreadable)
    }
}
