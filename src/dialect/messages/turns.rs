//! The turns of a conversation in the order that Anthropic takes: the user first, then in turns; every call answered in
//! the turn after it, results first; no blank text; thoughts only with Anthropic's own signature.
//!
//! What was decided where there was a choice:
//! - Operator's turns in the middle stay there where the model takes them (right behind a user's turn), and are a text of
//!   the user in `<system>` elsewhere: hoisting them would change what comes before and lose the prompt cache.
//! - A call that nobody answered gets a failed result. Dropping the call would change a turn that thoughts may have
//!   been signed for. A result without a call is the client's mistake and refused, as OpenAI does.
//! - Arguments that are no JSON object are put into one, because the model wrote them and the tool's result says so.
//! - Media that the model itself made are a note: assistants have only words (documents there are refused since
//!   2026-10-21).
//! - A last turn of the model is continued where the model takes that. Elsewhere the user asks it to go on.
//!
//! Sources: API reference (Messages, 2026-10-21), build-with-claude/mid-conversation-system-messages, tool-use/
//! handle-tool-calls and extended-thinking of platform.claude.com; whats-new-claude-4-6 (prefill); recorded requests.

use super::body::{Block, Input, Kind, Mark, Message};
use super::media;
use super::models::Model;
use super::names::{Calls, Names};
use crate::dialect::conversation::{
    Conversation, Part, Role, Signer, Source, ToolCall, Turn, Untranslatable, What,
};

/// What a user says who has said nothing yet.
const OPENING: &str = "Begin.";
/// What a user says to a model that may not go on by itself.
const GO_ON: &str = "Continue.";
/// The result of a call that was never made.
const UNANSWERED: &str = "The call was not carried out.";

/// The turns, composed.
pub struct Turns<'a> {
    /// Of the operator, at the beginning.
    pub system: Vec<Block<'a>>,
    /// Of the others.
    pub messages: Vec<Message<'a>>,
    /// Whether the history holds calls.
    pub has_calls: bool,
    /// Whether the provider's store of files is used.
    pub has_files: bool,
    composer: Composer<'a>,
}

/// What the turns depend on.
#[derive(Clone, Copy)]
struct Composer<'a> {
    model: Model,
    names: &'a Names<'a>,
    vertex: bool,
}

/// The user's turn that is being put together.
#[derive(Default)]
struct UserTurn<'a> {
    results: Vec<Block<'a>>,
    said: Vec<Block<'a>>,
    orders: Vec<Block<'a>>,
}

impl<'a> Turns<'a> {
    /// Composes the turns of a conversation.
    pub fn of(
        conversation: &'a Conversation,
        model: Model,
        names: &'a Names<'a>,
        vertex: bool,
    ) -> Result<Self, Untranslatable> {
        let composer = Composer { model, names, vertex };
        let mut turns =
            Self { system: Vec::new(), messages: Vec::new(), has_calls: false, has_files: false, composer };
        let (mut calls, mut user) = (Calls::default(), UserTurn::default());
        let is_system = |turn: &&Turn| turn.role == Role::System;
        let leading = conversation.turns.iter().take_while(is_system).count();
        for (number, turn) in conversation.turns.iter().enumerate() {
            for part in &turn.parts {
                let role = if matches!(part.what, What::ToolResult { .. }) { Role::User } else { turn.role };
                match role {
                    Role::System if number < leading => turns.system.extend(words(part)),
                    Role::System => user.orders.extend(words(part)),
                    Role::User => turns.user(part, &mut user, &mut calls)?,
                    Role::Assistant if !speaks(part) => {}
                    Role::Assistant => {
                        turns.close(&mut user, &mut calls);
                        turns.assistant(part, &mut calls);
                    }
                }
            }
        }
        turns.has_calls = calls.any();
        if calls.any_open() || !user.is_empty() {
            turns.end_assistant();
            turns.finish_user(user, &mut calls);
        }
        turns.begin_and_end();
        Ok(turns)
    }

    fn user(
        &mut self,
        part: &'a Part,
        user: &mut UserTurn<'a>,
        calls: &mut Calls<'a>,
    ) -> Result<(), Untranslatable> {
        let What::ToolResult { id, name, content, failed } = &part.what else {
            user.said.extend(self.block(part, "messages")?);
            return Ok(());
        };
        let ours = calls.result(id, name.as_deref()).ok_or_else(|| {
            let why = format!("The result of the call `{}` has no call in the turn before it.", &**id);
            Untranslatable::new("messages", why)
        })?;
        let mut blocks = Vec::with_capacity(content.len());
        for part in content {
            blocks.extend(self.block(part, "messages")?);
        }
        let kind = Kind::ToolResult { tool_use_id: ours, content: blocks, is_error: *failed };
        user.results.push(Block { kind, cache_control: part.cache.map(Mark) });
        Ok(())
    }

    /// A part of the user, or of a tool's result.
    fn block(&mut self, part: &'a Part, param: &'static str) -> Result<Option<Block<'a>>, Untranslatable> {
        let kind = match &part.what {
            What::Text { .. } | What::Refusal(_) => return Ok(words(part)),
            What::Image(source) => Kind::Image { source: media::picture(source, self.composer.vertex)? },
            What::Document { source, name } => {
                media::document(source, name.as_deref(), self.composer.vertex)?
            }
            What::Audio(_) | What::Video(_) => {
                let why = "Claude takes neither sound nor film: send text, pictures or PDF.";
                return Err(Untranslatable::new(param, why));
            }
            _ => return Ok(None),
        };
        if let What::Image(Source::File(_)) | What::Document { source: Source::File(_), .. } = &part.what {
            self.has_files = true;
        }
        Ok(Some(Block { kind, cache_control: part.cache.map(Mark) }))
    }

    fn assistant(&mut self, part: &'a Part, calls: &mut Calls<'a>) {
        let block = match &part.what {
            What::Reasoning { text, signature: Some(signature), signer: Signer::Anthropic } => {
                // A mark cannot stand on thoughts.
                Block::new(Kind::Thinking { thinking: text, signature })
            }
            What::Redacted(data) => Block::new(Kind::RedactedThinking { data }),
            What::ToolCall(call) => {
                let (id, name) = (calls.call(&call.id, &call.name), self.composer.names.get(&call.name));
                let kind = Kind::ToolUse { id, name, input: input(call) };
                Block { kind, cache_control: part.cache.map(Mark) }
            }
            What::Image(_) => Block::text("[A picture that the assistant made.]"),
            What::Audio(_) => Block::text("[A sound that the assistant made.]"),
            What::Video(_) => Block::text("[A film that the assistant made.]"),
            What::Document { .. } => Block::text("[A file that the assistant made.]"),
            _ => match words(part) {
                Some(block) => block,
                None => return,
            },
        };
        match self.messages.last_mut() {
            Some(message) if message.role == "assistant" => message.content.push(block),
            _ => self.messages.push(Message { role: "assistant", content: vec![block] }),
        }
    }

    /// Ends the user's turn, if there is one, because the model speaks next.
    fn close(&mut self, user: &mut UserTurn<'a>, calls: &mut Calls<'a>) {
        if !user.is_empty() {
            self.end_assistant();
            self.finish_user(std::mem::take(user), calls);
        }
    }

    fn finish_user(&mut self, user: UserTurn<'a>, calls: &mut Calls<'a>) {
        let UserTurn { results: mut content, said, orders } = user;
        content.extend(calls.unanswered().map(|tool_use_id| {
            let content = vec![Block::text(UNANSWERED)];
            Block::new(Kind::ToolResult { tool_use_id, content, is_error: true })
        }));
        content.extend(said);
        let apart = self.composer.model.system_turns && !content.is_empty();
        if !apart {
            content.extend(orders.iter().map(wrapped));
        }
        self.messages.push(Message { role: "user", content });
        if apart && !orders.is_empty() {
            self.messages.push(Message { role: "system", content: orders });
        }
    }

    /// The model's last block may not be a thought, and without others there is no turn.
    fn end_assistant(&mut self) {
        if let Some(message) = self.messages.last_mut().filter(|message| message.role == "assistant") {
            while message.content.last().is_some_and(Block::is_thought) {
                message.content.pop();
            }
            if message.content.is_empty() {
                self.messages.pop();
            }
        }
    }

    fn begin_and_end(&mut self) {
        self.end_assistant();
        if self.messages.first().is_none_or(|message| message.role != "user") {
            self.messages.insert(0, Message { role: "user", content: vec![Block::text(OPENING)] });
        }
        let prefill = self.composer.model.prefill;
        let Some(last) = self.messages.last_mut().filter(|message| message.role == "assistant") else {
            return;
        };
        if !prefill {
            self.messages.push(Message { role: "user", content: vec![Block::text(GO_ON)] });
        } else if let Some(Block { kind: Kind::Text { text }, .. }) = last.content.last_mut() {
            let trimmed = text.trim_end();
            if trimmed.len() < text.len() {
                *text = trimmed.to_owned().into();
            }
        }
    }

    /// Whether the model is to go on with its own words.
    pub fn is_prefilled(&self) -> bool {
        self.messages.last().is_some_and(|message| message.role == "assistant")
    }

    /// Whether the model waits for results and has not thought before its calls: with a budget it may not begin to.
    pub fn calls_without_thought(&self) -> bool {
        let mut last = self.messages.iter().rev();
        let results = |message: &&Message| {
            message.content.iter().any(|block| matches!(block.kind, Kind::ToolResult { .. }))
        };
        let waits = last.find(|message| message.role == "user").filter(results).is_some();
        let spoke = last.find(|message| message.role == "assistant");
        waits && spoke.is_some_and(|message| message.content.first().is_some_and(|block| !block.is_thought()))
    }
}

impl UserTurn<'_> {
    fn is_empty(&self) -> bool {
        self.results.is_empty() && self.said.is_empty() && self.orders.is_empty()
    }
}

/// Whether anything of the model's part is given back to it.
fn speaks(part: &Part) -> bool {
    match &part.what {
        What::Text { text, .. } | What::Refusal(text) => !text.is_blank(),
        What::Reasoning { signature, signer, .. } => signature.is_some() && *signer == Signer::Anthropic,
        _ => true,
    }
}

/// A text that is not blank.
fn words<'a>(part: &'a Part) -> Option<Block<'a>> {
    let (What::Text { text, .. } | What::Refusal(text)) = &part.what else { return None };
    let kind = Kind::Text { text: text.into() };
    (!text.is_blank()).then(|| Block { kind, cache_control: part.cache.map(Mark) })
}

fn wrapped<'a>(order: &Block<'a>) -> Block<'a> {
    let text = match &order.kind {
        Kind::Text { text } => text,
        _ => "",
    };
    Block { cache_control: order.cache_control, ..Block::text(format!("<system>{text}</system>")) }
}

fn input<'a>(call: &'a ToolCall) -> Input<'a> {
    match call.custom {
        true => Input::Text(Some(("input", &call.arguments))),
        false => Input::of(&call.arguments),
    }
}
