//! A completions answer for a client: chunks of a stream, or a whole body.
//!
//! Both are `text_completion` objects. Thoughts, calls and pictures have no word here and are left out; a refusal is
//! text, because it is all that such an answer says.

use serde::Serialize;

use crate::dialect::chat::{json, reason, UsageOut};
use crate::dialect::conversation::Conversation;
use crate::dialect::reply::{Block, Choice, Finish, Piece, Reply};
use crate::dialect::{Stamp, WriteReply};
use crate::llm::usage::Usage;

#[derive(Serialize)]
struct Body<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    model: &'a str,
    choices: &'a [ChoiceOut<'a>],
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<UsageOut>,
}

#[derive(Serialize)]
struct ChoiceOut<'a> {
    text: &'a str,
    index: u32,
    logprobs: Option<()>,
    finish_reason: Option<&'static str>,
}

/// Writes one answer.
pub struct CompletionsWriter {
    stamp: Stamp,
    wants_usage: bool,
    id: String,
    model: String,
    /// Something was said under this id and model.
    begun: bool,
    usage: Option<Usage>,
}

impl CompletionsWriter {
    /// Writes for the client that asked `conversation`.
    pub fn new(conversation: &Conversation, stamp: Stamp) -> Self {
        let (id, model) = (stamp.id("cmpl-", 0), String::new());
        Self { stamp, wants_usage: conversation.wants_usage, id, model, begun: false, usage: None }
    }

    fn begin(&mut self, id: &str, model: &str) {
        if std::mem::replace(&mut self.begun, true) {
            return;
        }
        if !id.is_empty() {
            id.clone_into(&mut self.id);
        }
        model.clone_into(&mut self.model);
    }

    fn body(&self, choices: &[ChoiceOut], usage: Option<Usage>, out: &mut Vec<u8>) {
        let (id, model) = (&*self.id, &*self.model);
        let (created, usage) = (self.stamp.created, usage.map(UsageOut::from));
        json(out, &Body { id, object: "text_completion", created, model, choices, usage });
    }

    fn chunk(&self, choices: &[ChoiceOut], usage: Option<Usage>, out: &mut Vec<u8>) {
        out.extend_from_slice(b"data: ");
        self.body(choices, usage, out);
        out.extend_from_slice(b"\n\n");
    }

    fn text(&mut self, index: u32, text: &str, finish: Option<Finish>, out: &mut Vec<u8>) {
        self.begun = true;
        let choice = ChoiceOut { text, index, logprobs: None, finish_reason: finish.map(reason) };
        self.chunk(&[choice], None, out);
    }
}

impl WriteReply for CompletionsWriter {
    fn piece(&mut self, choice: u32, piece: Piece<'_>, out: &mut Vec<u8>) {
        match piece {
            Piece::Start { id, model } => self.begin(id, model),
            Piece::Text(text) | Piece::Refusal(text) => self.text(choice, text, None, out),
            Piece::Finish(finish) => self.text(choice, "", Some(finish), out),
            Piece::Usage(usage) => self.usage = Some(usage),
            _ => {}
        }
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        if let Some(usage) = self.usage.filter(|_| self.wants_usage) {
            self.chunk(&[], Some(usage), out);
        }
        out.extend_from_slice(b"data: [DONE]\n\n");
    }

    fn whole(&mut self, reply: &Reply) -> Vec<u8> {
        self.begin(&reply.id, &reply.model);
        let texts: Vec<String> = reply.choices.iter().map(text).collect();
        let choices: Vec<ChoiceOut> = (0..)
            .zip(&reply.choices)
            .zip(&texts)
            .map(|((index, choice), text)| {
                let finish = choice.finish.as_ref().map_or(Finish::Stop, |ended| ended.finish());
                ChoiceOut { text, index, logprobs: None, finish_reason: Some(reason(finish)) }
            })
            .collect();
        let mut out = Vec::new();
        self.body(&choices, reply.usage, &mut out);
        out
    }
}

fn text(choice: &Choice) -> String {
    let texts = choice.blocks.iter().filter_map(|block| match block {
        Block::Text(text) | Block::Refusal(text) => Some(text.as_str()),
        _ => None,
    });
    texts.collect()
}
