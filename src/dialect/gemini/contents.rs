//! The turns of a conversation as `contents` and `systemInstruction`.
//!
//! Google wants the two roles in turn, beginning with the user; the results of a model's calls directly after them, as
//! many as there were calls; and, from Gemini 3 on, the thought signature of the first call of each turn. A signature
//! that is lost for good is stood in for by the text that Google names for that. What else a user says beside results
//! is a turn of its own, as recorded traffic has it.
//!
//! Sources: ai.google.dev/gemini-api/docs/function-calling (pictures in results), /docs/thought-signatures (which call
//! has it, the stand-in), /api/caching#Content; recorded traffic.

use std::borrow::Cow;

use super::generation::Model;
use super::media;
use super::parts::{Answer, Arguments, Blob, File, FunctionCall, FunctionResponse, OutPart};
use super::tools::Names;
use crate::dialect::conversation::{
    Conversation, Part, Role, Signer, Source, ToolCall, Untranslatable, What,
};
use crate::dialect::waiting::Waiting;
use crate::dialect::Target;

pub use super::parts::Content;

/// Stands in for a lost signature.
pub(super) const STAND_IN: &str = "skip_thought_signature_validator";

/// The turns, and what the operator says.
pub struct Contents<'c> {
    /// `contents`.
    pub turns: Vec<Content<'c>>,
    /// `systemInstruction`.
    pub system: Option<Content<'c>>,
}

/// All turns of a conversation.
pub fn compose<'c>(
    conversation: &'c Conversation,
    target: &Target<'c>,
    names: &'c Names,
    model: Model<'c>,
) -> Result<Contents<'c>, Untranslatable> {
    let mut composer = Composer { target: *target, names, model, turns: Vec::new(), open: Vec::new() };
    let mut system = Vec::new();
    let mut role = Role::User;
    let mut run: Vec<&'c Part> = Vec::new();
    for turn in &conversation.turns {
        if turn.role == Role::System {
            for part in &turn.parts {
                composer.part(part, &mut system)?;
            }
            continue;
        }
        if turn.role != role {
            composer.run(role, std::mem::take(&mut run))?;
            role = turn.role;
        }
        run.extend(&turn.parts);
    }
    composer.run(role, run)?;
    composer.results(Vec::new())?;
    if composer.turns.first().is_none_or(|first| first.role != "user") {
        composer.turns.insert(0, Content { role: "user", parts: vec![OutPart::text(" ")] });
    }
    if system.iter().any(|part| part.text.is_none()) {
        return Err(Untranslatable::new(
            "messages",
            "Gemini's instructions are text; move files to a user turn.",
        ));
    }
    // A conversation ends with its user, as Google has it.
    if composer.turns.last().is_some_and(|last| last.role == "model") {
        composer.turns.push(Content { role: "user", parts: vec![OutPart::text("Continue.")] });
    }
    let system = (!system.is_empty()).then_some(Content { role: "user", parts: system });
    Ok(Contents { turns: composer.turns, system })
}

struct Composer<'c> {
    target: Target<'c>,
    names: &'c Names<'c>,
    model: Model<'c>,
    turns: Vec<Content<'c>>,
    /// The calls of the turn before, in order.
    open: Vec<&'c ToolCall<'c>>,
}

impl<'c> Composer<'c> {
    /// The turns of one role between two of the other.
    fn run(&mut self, role: Role, parts: Vec<&'c Part<'c>>) -> Result<(), Untranslatable> {
        let mut out = Vec::new();
        if role == Role::Assistant {
            for part in parts {
                self.part(part, &mut out)?;
            }
            self.push("model", out, true);
            return Ok(());
        }
        let (results, others): (Vec<_>, Vec<_>) =
            parts.into_iter().partition(|part| matches!(part.what, What::ToolResult { .. }));
        let beside = self.results(results)?;
        for part in beside.into_iter().chain(others) {
            self.part(part, &mut out)?;
        }
        self.push("user", out, !self.follows_results());
        Ok(())
    }

    fn follows_results(&self) -> bool {
        self.turns.last().is_some_and(|turn| turn.parts.iter().any(|part| part.function_response.is_some()))
    }

    fn push(&mut self, role: &'static str, parts: Vec<OutPart<'c>>, merge: bool) {
        match self.turns.last_mut() {
            _ if parts.is_empty() => {}
            Some(last) if merge && last.role == role => last.parts.extend(parts),
            _ => self.turns.push(Content { role, parts }),
        }
    }

    /// The results of the calls before, in the order of the calls. What they hold that has no place in a result is
    /// given back.
    fn results(&mut self, results: Vec<&'c Part<'c>>) -> Result<Vec<&'c Part<'c>>, Untranslatable> {
        let mut beside = Vec::new();
        let mut answers: Vec<Option<OutPart>> = Vec::new();
        answers.resize_with(self.open.len(), || None);
        let mut waiting = Waiting::default();
        self.open.iter().for_each(|call| waiting.add(&call.id, &call.name));
        for part in results {
            let What::ToolResult { id, name, content, failed } = &part.what else { continue };
            let number = waiting.take(id, name.as_deref());
            let found = number.and_then(|number| self.open.get(number).zip(answers.get_mut(number)));
            let Some((call, answer)) = found else {
                return Err(Untranslatable::new(
                    "messages",
                    format!("The result `{}` answers no call of the turn before it.", &**id),
                ));
            };
            let response = Response::new(content, *failed, self.model, &mut beside)?;
            *answer = Some(OutPart {
                function_response: Some(FunctionResponse {
                    id: self.id(call),
                    name: self.names.of(&call.name),
                    response: response.answer,
                    parts: response.files,
                }),
                ..OutPart::default()
            });
        }
        let calls = std::mem::take(&mut self.open);
        let filled =
            calls.iter().zip(answers).map(|(call, answer)| answer.unwrap_or_else(|| self.lost(call)));
        let filled = filled.collect();
        self.push("user", filled, true);
        Ok(beside)
    }

    /// The result of a call whose own was lost (a client was stopped in the middle): Google wants one for each.
    fn lost(&self, call: &'c ToolCall<'c>) -> OutPart<'c> {
        OutPart {
            function_response: Some(FunctionResponse {
                id: self.id(call),
                name: self.names.of(&call.name),
                response: Answer::new(Cow::Borrowed("No result."), true),
                parts: Vec::new(),
            }),
            ..OutPart::default()
        }
    }

    fn part(&mut self, part: &'c Part<'c>, out: &mut Vec<OutPart<'c>>) -> Result<(), Untranslatable> {
        match &part.what {
            What::Text { text, signature } => {
                if !text.is_empty() || signature.is_some() {
                    let signature = signature.as_deref().map(Cow::Borrowed);
                    out.push(OutPart { thought_signature: signature, ..OutPart::text(text) });
                }
            }
            What::Refusal(text) if !text.is_empty() => out.push(OutPart::text(text)),
            What::Reasoning { text, signature, signer: Signer::Google } => {
                if !text.is_empty() {
                    let thought_signature = signature.as_deref().map(Cow::Borrowed);
                    out.push(OutPart { thought: Some(true), thought_signature, ..OutPart::text(&**text) });
                }
            }
            // Other providers' thoughts are theirs; nothing is said in them.
            What::Reasoning { .. } | What::Redacted(_) | What::Refusal(_) => {}
            What::ToolCall(call) => {
                let call = self.call(call);
                out.push(call);
            }
            What::ToolResult { id, .. } => {
                let why = format!("The result `{}` must be in a user's turn.", &**id);
                return Err(Untranslatable::new("messages", why));
            }
            What::Image(source) => out.push(file(source, "image/jpeg")?),
            What::Audio(source) => out.push(file(source, "audio/mpeg")?),
            What::Video(source) => out.push(file(source, "video/mp4")?),
            What::Document { source, .. } => out.push(file(source, "application/pdf")?),
        }
        Ok(())
    }

    fn call(&mut self, call: &'c ToolCall<'c>) -> OutPart<'c> {
        let first = self.open.is_empty();
        self.open.push(call);
        let own = call.signature.as_deref().map(Cow::Borrowed);
        let known = own.or_else(|| (self.target.signature)(&call.id).map(Cow::Owned));
        let stand_in = (first && self.model.is_third()).then_some(Cow::Borrowed(STAND_IN));
        OutPart {
            thought_signature: known.or(stand_in),
            function_call: Some(FunctionCall {
                id: self.id(call),
                name: self.names.of(&call.name),
                args: Arguments::new(&call.arguments, call.custom),
            }),
            ..OutPart::default()
        }
    }

    fn id(&self, call: &'c ToolCall<'c>) -> Option<&'c str> {
        Some(&*call.id).filter(|id| self.model.is_third() && !id.is_empty())
    }
}

/// What a tool said.
struct Response<'c> {
    answer: Answer<'c>,
    files: Vec<OutPart<'c>>,
}

impl<'c> Response<'c> {
    fn new(
        content: &'c [Part<'c>],
        failed: bool,
        model: Model,
        beside: &mut Vec<&'c Part<'c>>,
    ) -> Result<Self, Untranslatable> {
        let mut texts: Vec<&'c str> = Vec::new();
        let mut files = Vec::new();
        for part in content {
            match &part.what {
                What::Text { text, .. } | What::Refusal(text) => texts.push(text),
                What::Image(source @ Source::Inline { .. }) if model.is_third() => {
                    files.push(file(source, "image/jpeg")?)
                }
                What::Document { source: source @ Source::Inline { .. }, .. } if model.is_third() => {
                    files.push(file(source, "application/pdf")?)
                }
                _ => beside.push(part),
            }
        }
        let text = match texts.as_slice() {
            [text] => Cow::Borrowed(*text),
            texts => Cow::Owned(texts.join("\n")),
        };
        Ok(Self { answer: Answer::new(text, failed), files })
    }
}

fn file<'c>(source: &'c Source<'c>, usual: &'c str) -> Result<OutPart<'c>, Untranslatable> {
    let (uri, mime) = match source {
        Source::Text(text) => return Ok(OutPart::text(text)),
        Source::Inline { mime, data } => {
            let mime_type = if mime.is_empty() { usual } else { mime };
            return Ok(OutPart { inline_data: Some(Blob { mime_type, data }), ..OutPart::default() });
        }
        Source::Url { url, mime } => (url, Some(mime.as_deref().or(media::guess(url)).unwrap_or(usual))),
        Source::File(id) if id.contains("generativelanguage.googleapis.com/") || id.starts_with("gs://") => {
            (id, None)
        }
        Source::File(id) => {
            let why = format!("The file `{}` lies at another provider; send its bytes.", &**id);
            return Err(Untranslatable::new("messages", why));
        }
    };
    Ok(OutPart { file_data: Some(File { mime_type: mime, file_uri: uri }), ..OutPart::default() })
}
