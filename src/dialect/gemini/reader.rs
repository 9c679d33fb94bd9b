//! Gemini's answers, as pieces.
//!
//! A stream's event is a whole answer cut short: candidates with parts, and the usage so far, which replaces what was
//! said before (it even changes for the prompt). Calls come whole, without a number and before Gemini 3 without an id,
//! and the last event says `STOP` even then; so calls are counted here. The event that has a candidate's
//! `finishReason` is its last: there is no other mark of the end. Broken calls without any other content
//! (`MALFORMED_FUNCTION_CALL` and the like) are the provider's failure, because an empty answer would help nobody.
//!
//! Signatures are kept where Google insists on them, on calls; those on texts are its suggestion only and no other
//! dialect could bring them back. Code that Google ran is text (`code`); its search calls are not shown.
//!
//! Sources: ai.google.dev/api/generate-content (Candidate, FinishReason, UsageMetadata); recorded traffic for all
//! that is said of streams and for `total = prompt + tool use + candidates + thoughts`.

use super::contents::STAND_IN;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::code::{Executable, Executed};
use super::partial::{PartialArg, Tree};
use crate::dialect::json::Str;
use crate::dialect::reply::{Finish, Piece, Sink};
use crate::dialect::{ReadReply, Seen, Stamp, Unreadable};
use crate::llm::usage::Usage;

/// Reads one answer.
pub struct GeminiReader {
    stamp: Stamp,
    started: bool,
    counted: bool,
    /// Over all choices, so that made-up ids are unique.
    calls: u32,
    choices: Vec<Progress>,
}

/// How far a choice has come.
#[derive(Default)]
struct Progress {
    seen: bool,
    calls: u32,
    /// Something to show for it: text, a call or a picture.
    usable: bool,
    finished: bool,
    /// A call whose arguments come in pieces.
    open: Option<Tree>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event<'a> {
    #[serde(borrow)]
    candidates: Option<Vec<Candidate<'a>>>,
    #[serde(borrow)]
    prompt_feedback: Option<Feedback<'a>>,
    usage_metadata: Option<Counts>,
    #[serde(borrow)]
    model_version: Option<Str<'a>>,
    #[serde(borrow)]
    response_id: Option<Str<'a>>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Feedback<'a> {
    #[serde(borrow)]
    block_reason: Option<Str<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Candidate<'a> {
    index: Option<u32>,
    #[serde(borrow)]
    content: Option<Content<'a>>,
    #[serde(borrow)]
    finish_reason: Option<Str<'a>>,
}

#[derive(Deserialize)]
struct Content<'a> {
    #[serde(borrow)]
    parts: Option<Vec<ReplyPart<'a>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ReplyPart<'a> {
    #[serde(borrow)]
    text: Option<Str<'a>>,
    thought: Option<bool>,
    #[serde(borrow)]
    thought_signature: Option<Str<'a>>,
    #[serde(borrow)]
    function_call: Option<Call<'a>>,
    #[serde(borrow)]
    inline_data: Option<Blob<'a>>,
    #[serde(borrow)]
    executable_code: Option<Executable<'a>>,
    #[serde(borrow)]
    code_execution_result: Option<Executed<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Call<'a> {
    #[serde(borrow)]
    id: Option<Str<'a>>,
    #[serde(borrow)]
    name: Option<Str<'a>>,
    #[serde(borrow)]
    args: Option<&'a RawValue>,
    #[serde(borrow)]
    partial_args: Option<Vec<PartialArg<'a>>>,
    will_continue: Option<bool>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Blob<'a> {
    #[serde(borrow)]
    mime_type: Option<Str<'a>>,
    #[serde(borrow)]
    data: Option<Str<'a>>,
}

/// `usageMetadata`; may be there with a traffic type alone.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Counts {
    prompt_token_count: Option<u64>,
    tool_use_prompt_token_count: Option<u64>,
    candidates_token_count: Option<u64>,
    thoughts_token_count: Option<u64>,
    total_token_count: Option<u64>,
    cached_content_token_count: Option<u64>,
}

impl Counts {
    pub(super) fn usage(self) -> Option<Usage> {
        let of = |count: Option<u64>| count.unwrap_or(0);
        self.prompt_token_count.or(self.candidates_token_count).or(self.total_token_count)?;
        let prompt = of(self.prompt_token_count).saturating_add(of(self.tool_use_prompt_token_count));
        let (candidates, thoughts) = (of(self.candidates_token_count), of(self.thoughts_token_count));
        // Older models count the thoughts among the candidates; the total tells.
        let within = thoughts > 0
            && candidates >= thoughts
            && self.total_token_count == Some(prompt.saturating_add(candidates));
        let completion = if within { candidates } else { candidates.saturating_add(thoughts) };
        Some(Usage {
            prompt,
            completion,
            total: of(self.total_token_count).max(prompt.saturating_add(completion)),
            cached: of(self.cached_content_token_count),
            cache_written: 0,
            reasoning: thoughts,
        })
    }
}

impl GeminiReader {
    /// For one answer.
    pub fn new(stamp: Stamp) -> Self {
        Self { stamp, started: false, counted: false, calls: 0, choices: Vec::new() }
    }

    fn read(&mut self, event: Event, sink: &mut dyn Sink) -> Seen {
        let candidates = event.candidates.unwrap_or_default();
        if event.error.is_some() || self.is_broken(&candidates) {
            return Seen::Failure;
        }
        if !self.started {
            self.started = true;
            let id = event.response_id.as_deref().unwrap_or_default();
            let model = event.model_version.as_deref().unwrap_or_default();
            sink.piece(0, Piece::Start { id, model });
        }
        let blocked = event.prompt_feedback.is_some_and(|feedback| feedback.block_reason.is_some());
        if blocked && candidates.is_empty() {
            self.finish(0, Finish::Filtered, sink);
        }
        for candidate in candidates {
            self.candidate(candidate, sink);
        }
        if let Some(usage) = event.usage_metadata.and_then(Counts::usage) {
            self.counted = true;
            sink.piece(0, Piece::Usage(usage));
        }
        let mut seen = self.choices.iter().filter(|choice| choice.seen).peekable();
        match seen.peek().is_some() && seen.all(|choice| choice.finished) && self.counted {
            true => Seen::Last,
            false => Seen::More,
        }
    }

    /// Whether the answer ends here for a reason that is no answer, with nothing to show.
    fn is_broken(&self, candidates: &[Candidate]) -> bool {
        let broken = |candidate: &Candidate| {
            let reason = candidate.finish_reason.as_deref().unwrap_or_default();
            let parts = candidate.content.as_ref().and_then(|content| content.parts.as_deref());
            is_breakage(reason) && !parts.unwrap_or_default().iter().any(ReplyPart::is_usable)
        };
        !candidates.is_empty()
            && candidates.iter().all(broken)
            && !self.choices.iter().any(|choice| choice.usable)
    }

    fn candidate(&mut self, candidate: Candidate, sink: &mut dyn Sink) {
        // No provider gives more answers than this.
        let number = candidate.index.unwrap_or(0).min(127);
        if self.choice(number).finished {
            return;
        }
        let parts = candidate.content.and_then(|content| content.parts).unwrap_or_default();
        for part in parts {
            self.part(number, part, sink);
        }
        if let Some(reason) =
            candidate.finish_reason.filter(|reason| *reason.0 != *"FINISH_REASON_UNSPECIFIED")
        {
            let finish = finish(&reason, self.choice(number).calls > 0);
            self.finish(number, finish, sink);
        }
    }

    fn choice(&mut self, number: u32) -> &mut Progress {
        let at = number as usize;
        if self.choices.len() <= at {
            self.choices.resize_with(at + 1, Progress::default);
        }
        let choice = &mut self.choices[at];
        choice.seen = true;
        choice
    }

    fn part(&mut self, number: u32, part: ReplyPart, sink: &mut dyn Sink) {
        self.choice(number).usable |= part.is_usable();
        if let Some(call) = part.function_call {
            let signature = part.thought_signature.as_deref().filter(|signature| *signature != STAND_IN);
            return self.call(number, call, signature, sink);
        }
        let thought = part.thought == Some(true);
        match (part.text, part.inline_data) {
            (Some(text), _) if text.is_empty() => {}
            (Some(text), _) if thought => sink.piece(number, Piece::Reasoning(&text)),
            (Some(text), _) => sink.piece(number, Piece::Text(&text)),
            (None, Some(blob)) if !thought => blob.piece(number, sink),
            (None, _) => {
                let code = part.executable_code.map(|code| code.fenced());
                let text = code.or_else(|| part.code_execution_result.map(|result| result.fenced()));
                if let Some(text) = text {
                    sink.piece(number, Piece::Text(&text));
                }
            }
        }
    }

    fn call(&mut self, number: u32, call: Call, signature: Option<&str>, sink: &mut dyn Sink) {
        if let Some(name) = call.name.as_deref().filter(|name| !name.is_empty()) {
            self.close(number, sink);
            let given = call.id.as_deref().filter(|id| !id.is_empty());
            let made_up = self.stamp.id("call_", self.calls);
            let ordinal = self.choice(number).calls;
            self.calls = self.calls.saturating_add(1);
            self.choice(number).calls = ordinal.saturating_add(1);
            let id = given.unwrap_or(&made_up);
            sink.piece(number, Piece::ToolCall { ordinal, id, name, signature });
            let goes_on = call.will_continue == Some(true) || call.partial_args.is_some();
            match call.args.map(RawValue::get).filter(|args| *args != "null") {
                Some(args) => sink.piece(number, Piece::Arguments { ordinal, json: &compact(args) }),
                None if !goes_on => sink.piece(number, Piece::Arguments { ordinal, json: "{}" }),
                None => {}
            }
            self.choice(number).open = goes_on.then(Tree::default);
        }
        if let Some(tree) = &mut self.choice(number).open {
            call.partial_args.iter().flatten().for_each(|piece| tree.add(piece));
        }
        if call.will_continue != Some(true) {
            self.close(number, sink);
        }
    }

    /// Gives out the arguments of the call that came in pieces, if there is one.
    fn close(&mut self, number: u32, sink: &mut dyn Sink) {
        let choice = self.choice(number);
        let ordinal = choice.calls.saturating_sub(1);
        if let Some(tree) = choice.open.take() {
            sink.piece(number, Piece::Arguments { ordinal, json: &tree.json() });
        }
    }

    fn finish(&mut self, number: u32, finish: Finish, sink: &mut dyn Sink) {
        self.close(number, sink);
        self.choice(number).finished = true;
        sink.piece(number, Piece::Finish(finish));
    }

    /// A whole answer that does not say why a candidate ended has ended all the same.
    fn finish_all(&mut self, sink: &mut dyn Sink) -> Result<Seen, Unreadable> {
        for number in (0..).take(self.choices.len()) {
            let choice = self.choice(number);
            if !choice.finished && choice.usable {
                let finish = finish("STOP", choice.calls > 0);
                self.finish(number, finish, sink);
            }
        }
        match self.choices.iter().any(|choice| choice.finished) {
            true => Ok(Seen::Last),
            false => Err(Unreadable),
        }
    }
}

impl ReadReply for GeminiReader {
    fn event(&mut self, data: &[u8], sink: &mut dyn Sink) -> Result<Seen, Unreadable> {
        if data.first() == Some(&b'[') {
            // Errors come as lists where a stream was refused.
            return self.whole(data, sink);
        }
        let event: Event = serde_json::from_slice(data).map_err(|_| Unreadable)?;
        Ok(self.read(event, sink))
    }

    fn whole(&mut self, body: &[u8], sink: &mut dyn Sink) -> Result<Seen, Unreadable> {
        let first = body.iter().find(|byte| !byte.is_ascii_whitespace());
        let events: Vec<Event> = match first {
            Some(b'[') => serde_json::from_slice(body).map_err(|_| Unreadable)?,
            _ => vec![serde_json::from_slice(body).map_err(|_| Unreadable)?],
        };
        if events.iter().any(|event| event.error.is_some()) {
            return Ok(Seen::Failure);
        }
        for event in events {
            if self.read(event, sink) == Seen::Failure {
                return Ok(Seen::Failure);
            }
        }
        self.finish_all(sink)
    }
}

impl ReplyPart<'_> {
    fn is_usable(&self) -> bool {
        let shown = self.thought != Some(true);
        self.function_call.is_some()
            || (shown && self.text.as_deref().is_some_and(|text| !text.is_empty()))
            || (shown && self.inline_data.is_some())
            || self.executable_code.is_some()
    }
}

impl Blob<'_> {
    fn piece(&self, number: u32, sink: &mut dyn Sink) {
        let mime = self.mime_type.as_deref().unwrap_or_default();
        // Sounds have no place in a streamed answer of another dialect.
        if let (true, Some(data)) = (mime.starts_with("image/"), self.data.as_deref()) {
            sink.piece(number, Piece::Image { mime, data });
        }
    }
}

fn finish(reason: &str, called: bool) -> Finish<'static> {
    match reason {
        "MAX_TOKENS" | "CONTINUATION" => Finish::Length,
        reason if is_filter(reason) => Finish::Filtered,
        _ if called => Finish::ToolCalls,
        _ => Finish::Stop,
    }
}

/// Whether an answer with this end was held back, or is not to be had.
pub(super) fn is_filter(reason: &str) -> bool {
    let known = [
        "SAFETY",
        "RECITATION",
        "BLOCKLIST",
        "PROHIBITED_CONTENT",
        "SPII",
        "LANGUAGE",
        "NO_IMAGE",
        "MODEL_ARMOR",
        "ESCALATION",
        "PUP_LIMITED_DISABLED",
        "OTHER",
    ];
    known.contains(&reason) || reason.starts_with("IMAGE_")
}

fn is_breakage(reason: &str) -> bool {
    matches!(
        reason,
        "MALFORMED_FUNCTION_CALL"
            | "UNEXPECTED_TOOL_CALL"
            | "MISSING_THOUGHT_SIGNATURE"
            | "TOO_MANY_TOOL_CALLS"
            | "MALFORMED_RESPONSE"
    )
}

/// JSON without the line breaks and blanks of a pretty-printed body.
fn compact(json: &str) -> std::borrow::Cow<'_, str> {
    if !json.contains('\n') {
        return json.into();
    }
    let mut out = String::with_capacity(json.len());
    let (mut inside, mut escaped) = (false, false);
    for c in json.chars() {
        if inside || !c.is_ascii_whitespace() {
            out.push(c);
        }
        inside ^= c == '"' && !escaped;
        escaped = inside && c == '\\' && !escaped;
    }
    out.into()
}
