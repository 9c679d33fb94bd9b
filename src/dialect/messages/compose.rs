//! A conversation as a request to Anthropic, or to Claude on Google Cloud.
//!
//! The version of the API is 2026-10-21. Sampling parameters, which it refuses, bring back 2023-06-01 for the models that
//! still take them, and are dropped for the others and while the model thinks. Google Cloud has the version in the body
//! (for the older one by the name `vertex-2023-10-16`), the model in the address, and neither tiers nor a store of files.
//!
//! Lost without harm: seed, penalties, metadata, cache keys, `flex` and `fast`. Refused: several answers, sound.
//! A JSON object without a schema has no equal and becomes one sentence to the model.
//!
//! Sources: API reference (Messages), api/migration-2026-10-21 and build-with-claude/prompt-caching of
//! platform.claude.com; vertex-sdk 1.1.3.

use std::borrow::Cow;

use super::body::{Block, Body, Mark, Metadata, OutputConfig, OutputFormat};
use super::models::{Model, Sampling};
use super::names::Names;
use super::thinking::{Thought, Thoughts};
use super::tools::{answer_schema, Tools};
use super::turns::Turns;
use crate::dialect::conversation::{Conversation, Format, Untranslatable};
use crate::dialect::{self, Composed, Target};
use crate::llm::ANTHROPIC_VERSION;

const VERSION: &str = "2026-10-21";
/// The last with sampling parameters.
const SAMPLING_VERSION: &str = "2023-06-01";
/// Its name on Google Cloud.
const VERTEX_SAMPLING_VERSION: &str = "vertex-2023-10-16";
const FILES_BETA: &str = "files-api-2025-04-14";
const ONLY_JSON: &str = "Answer with one JSON object and nothing else.";

/// Composes the request.
pub fn compose(conversation: &Conversation, target: &Target) -> Result<Composed, Untranslatable> {
    refuse(conversation)?;
    let vertex = target.habits.vertex;
    // Turns of the operator are of Anthropic's own hosts only.
    let model = Model::named(target.model);
    let model = Model { system_turns: model.system_turns && !vertex, ..model };
    let mut names = Names::of(conversation);
    let mut tools = Tools::of(conversation, model, &mut names)?;
    let turns = Turns::of(conversation, model, &names, vertex)?;
    if turns.has_calls {
        tools.stand_in();
    }
    let max_tokens = conversation.max_tokens.map_or(model.max_tokens, |wanted| wanted.min(model.max_tokens));
    let thought = Thoughts {
        model,
        wanted: conversation.reasoning,
        may: !tools.are_forced() && !turns.is_prefilled(),
        may_begin: !turns.calls_without_thought(),
        max_tokens,
    }
    .thought();
    let has_files = turns.has_files;
    let renamed = std::mem::take(&mut tools.renamed);
    let answer_tool = tools.answer_tool.take();
    let mut body = body(conversation, model, tools, turns, thought);
    body.max_tokens = max_tokens;
    let samples = body.sample(conversation, model, thought);
    body.whole_mark(conversation, vertex);
    body.settle_marks();
    let mut headers = Vec::new();
    match vertex {
        true => {
            body.anthropic_version = Some(if samples { VERTEX_SAMPLING_VERSION } else { VERSION });
            body.service_tier = None;
        }
        false => {
            body.model = Some(target.model);
            let version = if samples { SAMPLING_VERSION } else { VERSION };
            headers.push((ANTHROPIC_VERSION, version.to_owned()));
        }
    }
    if has_files {
        headers.push(("anthropic-beta", FILES_BETA.to_owned()));
    }
    let body = dialect::body(&body, &conversation.body)?;
    Ok(Composed { body, headers, renamed, answer_tool })
}

fn refuse(conversation: &Conversation) -> Result<(), Untranslatable> {
    if conversation.answers.is_some_and(|answers| answers > 1) {
        let why = "Claude gives one answer to a request: ask once for each, or leave `n` out.";
        return Err(Untranslatable::new("n", why));
    }
    if conversation.modalities.iter().any(|modality| &**modality != "text") {
        return Err(Untranslatable::new("modalities", "Claude answers in text only."));
    }
    Ok(())
}

fn body<'a>(
    conversation: &'a Conversation,
    model: Model,
    tools: Tools<'a>,
    turns: Turns<'a>,
    thought: Thought,
) -> Body<'a> {
    let mut system = turns.system;
    let schema = answer_schema(conversation);
    if matches!(conversation.format, Format::Json) || is_schemaless(conversation) {
        system.push(Block::text(ONLY_JSON));
    }
    let format =
        schema.filter(|_| model.structured).map(|schema| OutputFormat { kind: "json_schema", schema });
    let effort = thought.effort;
    Body {
        tools: tools.offers,
        tool_choice: tools.choice,
        system,
        messages: turns.messages,
        thinking: thought.thinking,
        output_config: (effort.is_some() || format.is_some()).then_some(OutputConfig { effort, format }),
        stop_sequences: conversation
            .stop
            .iter()
            .map(|stop| &**stop)
            .filter(|stop| !stop.trim().is_empty())
            .collect(),
        metadata: conversation
            .user
            .as_deref()
            .filter(|user| !user.is_empty())
            .map(|user| Metadata { user_id: anonymous(user) }),
        service_tier: match conversation.service_tier.as_deref() {
            Some("auto" | "priority") => Some("auto"),
            Some("default") => Some("standard_only"),
            _ => None,
        },
        stream: conversation.stream,
        ..Body::default()
    }
}

fn is_schemaless(conversation: &Conversation) -> bool {
    matches!(conversation.format, Format::Schema { schema: None, .. })
}

impl Body<'_> {
    /// Sets the sampling parameters that may be set. Whether there are any.
    fn sample(&mut self, conversation: &Conversation, model: Model, thought: Thought) -> bool {
        if model.sampling == Sampling::Refused || thought.is_on() {
            return false;
        }
        // OpenAI's go up to 2.
        let cooled = |wanted: &serde_json::Number| match wanted.as_f64() {
            Some(heat) if heat > 1.0 => serde_json::Number::from(1),
            _ => wanted.clone(),
        };
        self.temperature = conversation.temperature.as_ref().map(cooled);
        let both = model.sampling == Sampling::Any || self.temperature.is_none();
        self.top_p = conversation.top_p.clone().filter(|_| both);
        self.top_k = conversation.top_k.clone();
        self.temperature.is_some() || self.top_p.is_some() || self.top_k.is_some()
    }

    /// A mark on the whole request. Google Cloud has none: there it stands on the last block.
    fn whole_mark(&mut self, conversation: &Conversation, vertex: bool) {
        let mark = conversation.cache.map(Mark);
        if !vertex {
            self.cache_control = mark;
        } else if let Some(block) = self.messages.last_mut().and_then(|message| message.content.last_mut()) {
            block.cache_control = mark.or(block.cache_control);
        }
    }
}

/// An id that names nobody: what looks like an address of mail or a telephone number, or is longer than the API takes,
/// is given by its FNV-1a hash.
fn anonymous(user: &str) -> Cow<'_, str> {
    let digits = user.bytes().filter(u8::is_ascii_digit).count();
    let telephone =
        digits >= 7 && user.bytes().all(|byte| byte.is_ascii_digit() || b"+-(). /".contains(&byte));
    if !user.contains('@') && !telephone && user.len() <= 256 {
        return Cow::Borrowed(user);
    }
    let mix = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    Cow::Owned(format!("user_{:016x}", user.bytes().fold(0xcbf2_9ce4_8422_2325, mix)))
}
