//! What the parts of a body that are passed over say all the same: ids of stored things, how much of it is no text, what
//! a model must be able to do to understand it, and where the head of the conversation stands.
//!
//! Kinds of parts: OpenAI's chat and Responses API references (`image_url`, `input_image`, `file`, `input_file`,
//! `input_audio`), Anthropic's (`image`, `document`), Google's (`mimeType` of `inlineData` and `fileData`). What a model
//! has given to a tool is data, whatever it looks like: it says nothing about needs.

use std::ops::Range;

use crate::llm::ability::{Abilities, Ability};
use crate::llm::scan::{Text, Watch};

/// More ids than this in one request are not looked at.
const MOST_IDS: usize = 16;
/// Strings below this size are text, whatever their key.
const LEAST_BINARY: usize = 1024;

/// What was noted.
#[derive(Default)]
pub(super) struct Notes {
    pub(super) ids: Vec<String>,
    pub(super) binaries: u64,
    pub(super) binary_bytes: usize,
    pub(super) needs: Abilities,
    /// How many objects around the place hold what was given to a tool.
    in_data: u32,
}

/// Where a body says which conversation it belongs to. Only the places: what stands there is hashed, if at all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Marks {
    /// `prompt_cache_key`.
    pub(super) cache_key: Option<Range<usize>>,
    /// `user`, or `metadata.user_id`.
    pub(super) user: Option<Range<usize>>,
    /// The system prompt, where it has a member of its own.
    pub(super) system: Option<Range<usize>>,
    /// The turns up to the user's first.
    pub(super) turns: Option<Range<usize>>,
}

impl Notes {
    /// Notes an id.
    pub(super) fn id(&mut self, id: &Text) {
        if self.ids.len() < MOST_IDS && !id.raw().is_empty() {
            self.ids.extend(id.decode().map(|id| id.into_owned()));
        }
    }

    /// The definitions of tools: they have ids, but what a schema speaks of is not there.
    pub(super) fn enter_data(&mut self) {
        self.in_data += 1;
    }

    /// Behind them.
    pub(super) fn leave_data(&mut self) {
        self.in_data = self.in_data.saturating_sub(1);
    }
}

impl<'a> Watch<'a> for Notes {
    fn text(&mut self, key: &Text<'a>, value: &Text<'a>) {
        if value.raw().len() >= LEAST_BINARY && is_binary(key.raw(), value.raw()) {
            self.binaries += 1;
            self.binary_bytes += value.raw().len();
        } else if names_id(key.raw()) {
            self.id(value);
        } else if self.in_data == 0 {
            need(key.raw(), value.raw()).into_iter().for_each(|need| self.needs.add(need));
        }
    }

    fn opens(&mut self, key: &Text<'a>) {
        if is_data(key.raw()) {
            self.enter_data();
        }
    }

    fn closes(&mut self, key: &Text<'a>) {
        if is_data(key.raw()) {
            self.leave_data();
        }
    }
}

/// Arguments and results of tools that are JSON themselves: Anthropic's `input`, Google's `args` and `response`.
fn is_data(key: &[u8]) -> bool {
    matches!(key, b"input" | b"args" | b"response")
}

fn need(key: &[u8], value: &[u8]) -> Option<Ability> {
    match (key, value) {
        (b"type", b"image_url" | b"input_image" | b"image") => Some(Ability::Images),
        (b"type", b"file" | b"input_file" | b"document") => Some(Ability::Documents),
        (b"type", b"input_audio") => Some(Ability::Audio),
        (b"mimeType" | b"mime_type", _) if value.starts_with(b"image/") => Some(Ability::Images),
        (b"mimeType" | b"mime_type", _) if value.starts_with(b"audio/") => Some(Ability::Audio),
        (b"mimeType" | b"mime_type", b"application/pdf") => Some(Ability::Documents),
        _ => None,
    }
}

fn is_binary(key: &[u8], value: &[u8]) -> bool {
    value.starts_with(b"data:") || matches!(key, b"data" | b"file_data" | b"b64_json")
}

fn names_id(key: &[u8]) -> bool {
    match key.len() {
        7 => key == b"file_id",
        8 => matches!(key, b"file_ids" | b"batch_id"),
        9 => key == b"container",
        13 => matches!(key, b"input_file_id" | b"training_file"),
        15 => key == b"validation_file",
        16 => key == b"vector_store_ids",
        20 => key == b"previous_response_id",
        _ => false,
    }
}
