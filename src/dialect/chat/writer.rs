//! A chat completions answer for a client: the chunks of a stream. `whole` has the whole bodies.
//!
//! A chunk is mostly the same bytes each time (id, created, model), so its head is put together once and each piece
//! adds its own: no tree, no text in between. What SDKs insist on (openai-python 3.52, openai-node and the AI SDK were
//! run against it): one id, model and time on all chunks, the role once, `index` on tool calls from 0 without gaps, one
//! finish, `[DONE]` at the end. What OpenAI has no word for goes under the names that clients know: thoughts as
//! `reasoning_content` (DeepSeek), their proof as `thinking_blocks` (LiteLLM), Google's signature of a call as
//! `extra_content` (Google's own endpoint), pictures as `images` (OpenRouter). A list is given once or carries `index`,
//! because openai-python adds up lists by it.

use std::borrow::Cow;

use serde::Serialize;

use super::out::{self, CallOut, Client, ImageOut, UsageOut};
use super::whole;
use crate::dialect::conversation::{Conversation, Signer};
use crate::dialect::reply::{Finish, Piece, Reply, Sink};
use crate::dialect::{Stamp, WriteReply};
use crate::llm::usage::Usage;

/// Writes one answer.
pub struct ChatWriter {
    stamp: Stamp,
    client: Client,
    /// What must come back: thoughts with their proof.
    thoughts: Reply,
    /// A chunk up to its choices; empty until the answer has begun.
    head: Vec<u8>,
    choices: Vec<Spoken>,
    usage: Option<Usage>,
}

/// What a choice has said that must be known later.
#[derive(Default)]
struct Spoken {
    begun: bool,
    calls: Vec<Call>,
    images: u32,
}

/// What a call has said.
enum Call {
    /// No arguments yet.
    Silent,
    /// The JSON so far: its one text is told when it is complete.
    Custom(String),
    /// Some arguments, or all of an input.
    Told,
}

impl ChatWriter {
    /// Writes for the client that asked `conversation`; `signer` is whose proof of thoughts the provider gives.
    pub fn new(conversation: &Conversation, stamp: Stamp, signer: Signer) -> Self {
        Self {
            stamp,
            client: Client::new(conversation, signer),
            thoughts: Reply::default(),
            head: Vec::new(),
            choices: Vec::new(),
            usage: None,
        }
    }

    fn begin(&mut self, id: &str, model: &str) {
        if !self.head.is_empty() {
            return;
        }
        let made = if id.is_empty() { self.stamp.id("chatcmpl-", 0) } else { String::new() };
        let head = &mut self.head;
        head.extend_from_slice(b"data: {\"id\":");
        out::json(head, if id.is_empty() { made.as_str() } else { id });
        head.extend_from_slice(b",\"object\":\"chat.completion.chunk\",\"created\":");
        out::json(head, &self.stamp.created);
        head.extend_from_slice(b",\"model\":");
        out::json(head, model);
        head.extend_from_slice(b",\"choices\":[");
    }

    /// The choice, begun.
    fn choice(&mut self, number: u32, out: &mut Vec<u8>) -> Option<&mut Spoken> {
        self.begin("", "");
        // No provider gives more answers than this.
        let at = (number as usize).min(127);
        if self.choices.len() <= at {
            self.choices.resize_with(at + 1, Spoken::default);
        }
        let spoken = self.choices.get_mut(at)?;
        if !std::mem::replace(&mut spoken.begun, true) {
            let role = b"{\"role\":\"assistant\",\"content\":\"\",\"refusal\":null}";
            self.delta(number, out, |out| out.extend_from_slice(role));
        }
        self.choices.get_mut(at)
    }

    /// A chunk with what `delta` writes.
    fn delta(&self, choice: u32, out: &mut Vec<u8>, delta: impl FnOnce(&mut Vec<u8>)) {
        self.chunk(choice, out, |out| {
            delta(out);
            out.extend_from_slice(b",\"logprobs\":null,\"finish_reason\":null}]");
        });
    }

    fn chunk(&self, choice: u32, out: &mut Vec<u8>, rest: impl FnOnce(&mut Vec<u8>)) {
        out.extend_from_slice(&self.head);
        out.extend_from_slice(b"{\"index\":");
        out::json(out, &choice);
        out.extend_from_slice(b",\"delta\":");
        rest(out);
        let tail: &[u8] = if self.client.wants_usage { b",\"usage\":null}\n\n" } else { b"}\n\n" };
        out.extend_from_slice(tail);
    }

    /// A chunk whose delta has one member.
    fn member<T: Serialize + ?Sized>(&mut self, choice: u32, name: &str, value: &T, out: &mut Vec<u8>) {
        self.choice(choice, out);
        self.delta(choice, out, |out| {
            out.extend_from_slice(b"{\"");
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b"\":");
            out::json(out, value);
            out.push(b'}');
        });
    }

    fn call(&mut self, choice: u32, ordinal: u32, call: CallOut, out: &mut Vec<u8>) {
        match (self.client.functions, ordinal, &call.function) {
            (false, ..) => {
                self.member(choice, "tool_calls", &[CallOut { index: Some(ordinal), ..call }], out);
            }
            (true, 0, Some(function)) => self.member(choice, "function_call", function, out),
            // The older form has one call in an answer.
            (true, ..) => {}
        }
    }

    fn tool(&mut self, choice: u32, name: &str, out: &mut Vec<u8>) -> bool {
        // openai-python reads a call's arguments as soon as the next one begins.
        self.complete(choice, out);
        let custom = self.client.takes_text(name);
        if let Some(spoken) = self.choice(choice, out) {
            spoken.calls.push(if custom { Call::Custom(String::new()) } else { Call::Silent });
        }
        custom
    }

    fn arguments(&mut self, choice: u32, ordinal: u32, json: &str, out: &mut Vec<u8>) {
        match self.choice(choice, out).and_then(|spoken| spoken.calls.get_mut(ordinal as usize)) {
            Some(Call::Custom(text)) => text.push_str(json),
            Some(call) => {
                *call = Call::Told;
                self.call(choice, ordinal, CallOut::more(false, ordinal, Cow::Borrowed(json)), out);
            }
            None => {}
        }
    }

    fn image(&mut self, choice: u32, mime: &str, data: &str, out: &mut Vec<u8>) {
        let Some(spoken) = self.choice(choice, out) else { return };
        let index = spoken.images;
        spoken.images += 1;
        self.member(choice, "images", &[ImageOut::new(index, mime, data)], out);
    }

    /// Tells what is left to tell of the last call. No provider goes on with one when another has begun.
    fn complete(&mut self, choice: u32, out: &mut Vec<u8>) {
        let Some(spoken) = self.choice(choice, out) else { return };
        let ordinal = u32::try_from(spoken.calls.len().saturating_sub(1)).unwrap_or(u32::MAX);
        let Some(last) = spoken.calls.last_mut() else { return };
        match std::mem::replace(last, Call::Told) {
            Call::Told => {}
            Call::Silent => {
                self.call(choice, ordinal, CallOut::more(false, ordinal, Cow::Borrowed("{}")), out);
            }
            Call::Custom(json) => {
                self.call(choice, ordinal, CallOut::more(true, ordinal, out::plain(&json)), out);
            }
        }
    }

    fn finish(&mut self, choice: u32, finish: Finish, out: &mut Vec<u8>) {
        self.complete(choice, out);
        let thoughts = std::mem::take(&mut self.thoughts);
        let blocks = thoughts.choices.get(choice as usize).map_or(&[][..], |choice| &choice.blocks);
        let thinking = self.client.thinking(blocks);
        if !thinking.is_empty() {
            self.member(choice, "thinking_blocks", &thinking, out);
        }
        self.thoughts = thoughts;
        self.chunk(choice, out, |out| {
            out.extend_from_slice(b"{},\"logprobs\":null,\"finish_reason\":");
            out::json(out, self.client.reason(finish));
            out.extend_from_slice(b"}]");
        });
    }
}

impl WriteReply for ChatWriter {
    fn piece(&mut self, choice: u32, piece: Piece<'_>, out: &mut Vec<u8>) {
        match piece {
            Piece::Start { id, model } => {
                self.begin(id, model);
                self.choice(choice, out);
            }
            Piece::Text(text) => self.member(choice, "content", text, out),
            Piece::Refusal(text) => self.member(choice, "refusal", text, out),
            Piece::Reasoning(text) => {
                self.thoughts.piece(choice, piece);
                self.member(choice, "reasoning_content", text, out);
            }
            Piece::Signature(_) | Piece::Redacted(_) => self.thoughts.piece(choice, piece),
            Piece::ToolCall { ordinal, id, name, signature } => {
                let custom = self.tool(choice, name, out);
                let call = CallOut::begin(custom, id, name, Cow::Borrowed("")).signed(signature);
                self.call(choice, ordinal, call, out);
            }
            Piece::Arguments { ordinal, json } => self.arguments(choice, ordinal, json, out),
            Piece::Image { mime, data } => self.image(choice, mime, data, out),
            Piece::Finish(finish) => self.finish(choice, finish, out),
            Piece::Usage(usage) => self.usage = Some(usage),
        }
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        if let Some(usage) = self.usage.filter(|_| self.client.wants_usage) {
            self.begin("", "");
            out.extend_from_slice(&self.head);
            out.extend_from_slice(b"],\"usage\":");
            out::json(out, &UsageOut::from(usage));
            out.extend_from_slice(b"}\n\n");
        }
        out.extend_from_slice(b"data: [DONE]\n\n");
    }

    fn whole(&mut self, reply: &Reply) -> Vec<u8> {
        let made = self.stamp.id("chatcmpl-", 0);
        let id = if reply.id.is_empty() { &made } else { &reply.id };
        whole::body(reply, id, self.stamp.created, &self.client)
    }
}
