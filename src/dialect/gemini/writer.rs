//! Answers for clients of generateContent.
//!
//! Each text piece is an event of its own. Calls are held back until something else comes, because a client of this
//! dialect expects a call whole, and calls made together in one event. Why and at what cost the answer ended is said in
//! the last event, after which nothing comes: there is no `[DONE]`. Thoughts are written only where the request asked
//! for them (`includeThoughts`), since simple clients join all texts.
//!
//! An event is written by hand around the piece's text: the rest of it is the same each time and made once.
//! Source: ai.google.dev/api/generate-content (GenerateContentResponse); google-genai 3.4 for what it parses.

use serde_json::value::RawValue;

use super::contents::STAND_IN;
use crate::dialect::conversation::Conversation;
use crate::dialect::reply::{Block, Ended, Finish, Piece, Reply};
use crate::dialect::{Stamp, WriteReply};
use crate::llm::usage::Usage;

/// Writes one answer.
pub struct GeminiWriter {
    stamp: Stamp,
    thoughts: bool,
    choices: Vec<Progress>,
    usage: Option<Usage>,
    /// What every event ends with.
    tail: Vec<u8>,
}

#[derive(Default)]
struct Progress {
    calls: Vec<Call>,
    finish: Option<Ended>,
}

/// A call that is still coming.
struct Call {
    ordinal: u32,
    id: String,
    name: String,
    arguments: String,
    signature: Option<String>,
}

impl GeminiWriter {
    /// For one answer to this request.
    pub fn new(conversation: &Conversation, stamp: Stamp) -> Self {
        let thoughts = conversation.reasoning.is_some_and(|reasoning| reasoning.shown == Some(true));
        let mut writer = Self { stamp, thoughts, choices: Vec::new(), usage: None, tail: Vec::new() };
        writer.start("", "");
        writer
    }

    fn start(&mut self, id: &str, model: &str) {
        self.tail.clear();
        if !model.is_empty() {
            self.tail.extend_from_slice(b",\"modelVersion\":");
            string(model, &mut self.tail);
        }
        self.tail.extend_from_slice(b",\"responseId\":");
        match id.is_empty() {
            true => string(&self.stamp.id("", 0), &mut self.tail),
            false => string(id, &mut self.tail),
        }
        self.tail.push(b'}');
    }

    fn choice(&mut self, number: u32) -> &mut Progress {
        // No provider gives more answers than this.
        let at = (number as usize).min(127);
        if self.choices.len() <= at {
            self.choices.resize_with(at + 1, Progress::default);
        }
        &mut self.choices[at]
    }

    /// An event with one candidate, whose parts `parts` writes.
    fn event(&self, choice: u32, out: &mut Vec<u8>, parts: impl FnOnce(&mut Vec<u8>)) {
        out.extend_from_slice(b"data: {\"candidates\":[{\"content\":{\"parts\":[");
        parts(out);
        out.extend_from_slice(b"],\"role\":\"model\"},\"index\":");
        number(choice.into(), out);
        out.extend_from_slice(b"}]");
        out.extend_from_slice(&self.tail);
        out.extend_from_slice(b"\r\n\r\n");
    }

    fn flush(&mut self, choice: u32, out: &mut Vec<u8>) {
        let calls = std::mem::take(&mut self.choice(choice).calls);
        if !calls.is_empty() {
            self.event(choice, out, |out| {
                let mut list = List::default();
                for call in &calls {
                    list.next(out);
                    call.write(out);
                }
            });
        }
    }

    fn arguments(&mut self, choice: u32, wanted: u32, json: &str) {
        let mut calls = self.choice(choice).calls.iter_mut().rev();
        if let Some(call) = calls.find(|call| call.ordinal == wanted) {
            call.arguments.push_str(json);
        }
    }

    fn usage(&self, usage: Option<Usage>, out: &mut Vec<u8>) {
        let Some(usage) = usage else { return };
        out.extend_from_slice(b",\"usageMetadata\":{\"promptTokenCount\":");
        number(usage.prompt, out);
        out.extend_from_slice(b",\"candidatesTokenCount\":");
        number(usage.completion.saturating_sub(usage.reasoning), out);
        for (name, count) in [
            (&b",\"cachedContentTokenCount\":"[..], usage.cached),
            (&b",\"thoughtsTokenCount\":"[..], usage.reasoning),
        ] {
            if count > 0 {
                out.extend_from_slice(name);
                number(count, out);
            }
        }
        out.extend_from_slice(b",\"totalTokenCount\":");
        number(usage.total, out);
        out.push(b'}');
    }

    fn block(&self, block: &Block, list: &mut List, out: &mut Vec<u8>) {
        match block {
            Block::Text(words) | Block::Refusal(words) => {
                list.next(out);
                text(words, false, out);
            }
            Block::Reasoning { text: words, .. } if self.thoughts && !words.is_empty() => {
                list.next(out);
                text(words, true, out);
            }
            Block::Reasoning { .. } | Block::Redacted(_) => {}
            Block::Image { mime, data } => {
                list.next(out);
                image(mime, data, out);
            }
            Block::ToolCall { ordinal, id, name, arguments, signature } => {
                let (id, name) = (id.clone(), name.clone());
                let (arguments, signature) = (arguments.clone(), signature.clone());
                list.next(out);
                Call { ordinal: *ordinal, id, name, arguments, signature }.write(out);
            }
        }
    }
}

impl WriteReply for GeminiWriter {
    fn piece(&mut self, choice: u32, piece: Piece<'_>, out: &mut Vec<u8>) {
        match piece {
            Piece::Arguments { ordinal, json } => return self.arguments(choice, ordinal, json),
            Piece::ToolCall { ordinal, id, name, signature } => {
                let (id, name) = (id.to_owned(), name.to_owned());
                let signature = signature.map(str::to_owned);
                let call = Call { ordinal, id, name, arguments: String::new(), signature };
                return self.choice(choice).calls.push(call);
            }
            Piece::Start { id, model } => return self.start(id, model),
            Piece::Usage(usage) => return self.usage = Some(usage),
            _ => self.flush(choice, out),
        }
        match piece {
            Piece::Text(words) | Piece::Refusal(words) => {
                self.event(choice, out, |out| text(words, false, out))
            }
            Piece::Reasoning(words) if self.thoughts => self.event(choice, out, |out| text(words, true, out)),
            Piece::Image { mime, data } => self.event(choice, out, |out| image(mime, data, out)),
            Piece::Finish(finish) => self.choice(choice).finish = Some(finish.ended()),
            // Others' signatures prove nothing here.
            _ => {}
        }
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        for choice in (0..).take(self.choices.len()) {
            self.flush(choice, out);
        }
        out.extend_from_slice(b"data: {\"candidates\":[");
        let mut list = List::default();
        for (number, choice) in (0..).zip(&self.choices) {
            list.next(out);
            out.extend_from_slice(b"{\"content\":{\"parts\":[{\"text\":\"\"}],\"role\":\"model\"}");
            ending(choice.finish.as_ref(), number, out);
        }
        out.push(b']');
        self.usage(self.usage, out);
        out.extend_from_slice(&self.tail);
        out.extend_from_slice(b"\r\n\r\n");
    }

    fn whole(&mut self, reply: &Reply) -> Vec<u8> {
        self.start(&reply.id, &reply.model);
        let mut out = Vec::with_capacity(512);
        out.extend_from_slice(b"{\"candidates\":[");
        let mut candidates = List::default();
        for (number, choice) in (0..).zip(&reply.choices) {
            candidates.next(&mut out);
            out.extend_from_slice(b"{\"content\":{\"parts\":[");
            let mut parts = List::default();
            choice.blocks.iter().for_each(|block| self.block(block, &mut parts, &mut out));
            out.extend_from_slice(b"],\"role\":\"model\"}");
            ending(choice.finish.as_ref(), number, &mut out);
        }
        out.push(b']');
        self.usage(reply.usage, &mut out);
        out.extend_from_slice(&self.tail);
        out
    }
}

impl Call {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"functionCall\":{\"id\":");
        string(&self.id, out);
        out.extend_from_slice(b",\"name\":");
        string(&self.name, out);
        out.extend_from_slice(b",\"args\":");
        // A client could not parse the event if a model had got its arguments wrong.
        let arguments = serde_json::from_str::<&RawValue>(&self.arguments).map_or("", RawValue::get);
        let arguments = if arguments.starts_with('{') { arguments } else { "{}" };
        out.extend_from_slice(arguments.as_bytes());
        out.push(b'}');
        // Gemini refuses its first call without a signature, should the conversation go on there.
        let stand_in = (self.ordinal == 0).then_some(STAND_IN);
        if let Some(signature) = self.signature.as_deref().or(stand_in) {
            out.extend_from_slice(b",\"thoughtSignature\":");
            string(signature, out);
        }
        out.push(b'}');
    }
}

/// The commas of a list.
#[derive(Default)]
struct List {
    begun: bool,
}

impl List {
    fn next(&mut self, out: &mut Vec<u8>) {
        if self.begun {
            out.push(b',');
        }
        self.begun = true;
    }
}

fn text(words: &str, thought: bool, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"text\":");
    string(words, out);
    out.extend_from_slice(if thought { b",\"thought\":true}" } else { b"}" });
}

fn image(mime: &str, data: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"inlineData\":{\"mimeType\":");
    string(mime, out);
    out.extend_from_slice(b",\"data\":");
    string(data, out);
    out.extend_from_slice(b"}}");
}

/// The end of a candidate.
fn ending(finish: Option<&Ended>, index: u32, out: &mut Vec<u8>) {
    let reason = match finish.map(Ended::finish) {
        // A paused turn is cut short.
        Some(Finish::Length | Finish::Paused) => Some("MAX_TOKENS"),
        Some(Finish::Filtered) => Some("SAFETY"),
        Some(Finish::Stop | Finish::StopSequence(_) | Finish::ToolCalls) => Some("STOP"),
        None => None,
    };
    if let Some(reason) = reason {
        out.extend_from_slice(b",\"finishReason\":");
        string(reason, out);
    }
    out.extend_from_slice(b",\"index\":");
    number(index.into(), out);
    out.push(b'}');
}

fn string(text: &str, out: &mut Vec<u8>) {
    // Writing a text to memory cannot fail.
    let _ = serde_json::to_writer(out, text);
}

fn number(number: u64, out: &mut Vec<u8>) {
    let _ = serde_json::to_writer(out, &number);
}
