//! A host's answer: chunks of a stream, and whole answers.
//!
//! One struct reads both, since a whole answer differs from a chunk only in that its choices have a `message` instead
//! of a `delta`; what both tell goes the same way to the sink. What hosts do that OpenAI does not, each seen in recorded
//! traffic or on record in public issues: Azure opens with a chunk without id and choices; DeepSeek, Groq, Moonshot and
//! xAI think in `reasoning_content` or `reasoning`, Mistral in a list in `content`, OpenRouter in `reasoning_details`
//! too; OpenRouter fails inside a choice, Gemini's endpoint in an array; usage stands on a chunk of its own, on the
//! last one or on several; a host says `stop` though tools are to be called, and `eos` or `model_length` for OpenAI's
//! words.

use serde::de::IgnoredAny;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::calls::{CallIn, Calls, FunctionIn};
use super::parts::source;
use crate::dialect::conversation::Source;
use crate::dialect::json::{OneOrMany, Str};
use crate::dialect::reply::{Finish, Piece, Sink};
use crate::dialect::{ReadReply, Seen, Stamp, Unreadable};
use crate::llm::usage::{Reported, Usage};

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow, default)]
    id: Option<Str<'a>>,
    #[serde(default)]
    model: Option<Str<'a>>,
    #[serde(default)]
    choices: Option<Vec<ChoiceIn<'a>>>,
    #[serde(default)]
    usage: Option<&'a RawValue>,
    #[serde(default)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct ChoiceIn<'a> {
    #[serde(default)]
    index: Option<u32>,
    #[serde(borrow, default)]
    delta: Option<Said<'a>>,
    #[serde(default)]
    message: Option<Said<'a>>,
    #[serde(default)]
    finish_reason: Option<Str<'a>>,
    #[serde(default)]
    error: Option<&'a RawValue>,
}

/// What a choice says: a part of it, or all.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Said<'a> {
    #[serde(borrow)]
    content: Option<OneOrMany<'a, PartIn<'a>>>,
    refusal: Option<Str<'a>>,
    reasoning_content: Option<Str<'a>>,
    reasoning: Option<OneOrMany<'a, IgnoredAny>>,
    reasoning_details: Option<&'a RawValue>,
    images: Option<&'a RawValue>,
    tool_calls: Option<Vec<CallIn<'a>>>,
    function_call: Option<FunctionIn<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct PartIn<'a> {
    #[serde(borrow)]
    text: Option<Str<'a>>,
    refusal: Option<Str<'a>>,
    thinking: Option<OneOrMany<'a, PartIn<'a>>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Detail<'a> {
    #[serde(borrow)]
    text: Option<Str<'a>>,
    summary: Option<Str<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ImageIn<'a> {
    #[serde(borrow)]
    image_url: Option<ImageUrl<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ImageUrl<'a> {
    #[serde(borrow)]
    url: Str<'a>,
}

/// Reads one answer.
pub struct ChatReader {
    stamp: Stamp,
    started: bool,
    choices: Vec<Told>,
}

/// What a choice has told so far.
#[derive(Default)]
struct Told {
    calls: Calls,
    refused: bool,
    finished: bool,
}

impl ChatReader {
    /// Ids that the host leaves out are made from `stamp`.
    pub fn new(stamp: Stamp) -> Self {
        Self { stamp, started: false, choices: Vec::new() }
    }

    fn answer(&mut self, answer: Answer, sink: &mut dyn Sink) -> Seen {
        if answer.failed() {
            return Seen::Failure;
        }
        let Answer { id, model, choices, usage, .. } = answer;
        let (id, model) = (id.unwrap_or_default(), model.unwrap_or_default());
        let choices = choices.unwrap_or_default();
        if !(self.started || id.is_empty() && choices.is_empty() && usage.is_none()) {
            self.started = true;
            sink.piece(0, Piece::Start { id: &id, model: &model });
        }
        for choice in choices {
            self.choice(choice, sink);
        }
        let usage = usage.and_then(|usage| Reported::of(usage.get()));
        if let Some(usage) = usage {
            sink.piece(0, Piece::Usage(inclusive(usage.usage())));
        }
        Seen::More
    }

    fn choice(&mut self, choice: ChoiceIn, sink: &mut dyn Sink) {
        // OpenAI gives at most 128 answers.
        let index = choice.index.unwrap_or(0).min(127);
        let at = index as usize;
        if self.choices.len() <= at {
            self.choices.resize_with(at + 1, Told::default);
        }
        let (stamp, Some(told)) = (self.stamp, self.choices.get_mut(at)) else { return };
        let mut teller = Teller { told, index, stamp, sink };
        if let Some(said) = choice.delta.or(choice.message) {
            teller.said(said);
        }
        if let Some(reason) = choice.finish_reason.filter(|reason| !reason.is_empty()) {
            teller.finish(&reason);
        }
    }
}

impl ReadReply for ChatReader {
    fn event(&mut self, data: &[u8], sink: &mut dyn Sink) -> Result<Seen, Unreadable> {
        // Once for all strings of the event is cheaper than once for each.
        let data = std::str::from_utf8(data).map_err(|_| Unreadable)?;
        let answer: Answer = serde_json::from_str(data).map_err(|_| Unreadable)?;
        Ok(self.answer(answer, sink))
    }

    fn whole(&mut self, body: &[u8], sink: &mut dyn Sink) -> Result<Seen, Unreadable> {
        let Ok(mut answer) = serde_json::from_slice::<Answer>(body) else {
            return match serde_json::from_slice::<Vec<Answer>>(body) {
                Ok(answers) if answers.iter().any(Answer::failed) => Ok(Seen::Failure),
                _ => Err(Unreadable),
            };
        };
        if answer.choices.is_none() && !answer.failed() {
            return Err(Unreadable);
        }
        for choice in answer.choices.iter_mut().flatten() {
            choice.finish_reason.get_or_insert_with(|| "stop".into());
        }
        match self.answer(answer, sink) {
            Seen::Failure => Ok(Seen::Failure),
            _ => Ok(Seen::Last),
        }
    }
}

impl Answer<'_> {
    fn failed(&self) -> bool {
        let in_choice =
            |choice: &ChoiceIn| choice.error.is_some() || choice.finish_reason.as_deref() == Some("error");
        self.error.is_some() || self.choices.iter().flatten().any(in_choice)
    }
}

/// xAI counts its reasoning beside the completion, as the total shows; everybody else within.
fn inclusive(usage: Usage) -> Usage {
    let beside = usage.completion.saturating_add(usage.reasoning);
    let is_beside = usage.total == usage.prompt.saturating_add(beside);
    Usage { completion: if is_beside { beside } else { usage.completion }, ..usage }
}

/// A list that OpenAI does not have: where it is of another shape than the hosts' that we know, it is left out.
fn extension<'a, T: Deserialize<'a>>(list: &'a RawValue) -> Vec<T> {
    serde_json::from_str(list.get()).unwrap_or_default()
}

/// Tells what one choice says.
struct Teller<'t> {
    told: &'t mut Told,
    index: u32,
    stamp: Stamp,
    sink: &'t mut dyn Sink,
}

impl Teller<'_> {
    fn said(&mut self, said: Said) {
        self.thoughts(&said);
        match said.content {
            Some(OneOrMany::Text(text)) => self.text(&text),
            Some(OneOrMany::Many(parts)) => parts.into_iter().for_each(|part| self.part(part)),
            None => {}
        }
        self.refusal(said.refusal);
        for image in said.images.into_iter().flat_map(extension::<ImageIn>) {
            self.image(image);
        }
        let (index, stamp) = (self.index, self.stamp);
        for call in said.tool_calls.into_iter().flatten() {
            self.told.calls.call(call, stamp, &mut |piece| self.sink.piece(index, piece));
        }
        if let Some(function) = said.function_call {
            self.told.calls.call(function.into(), stamp, &mut |piece| self.sink.piece(index, piece));
        }
    }

    /// The same thoughts may stand in up to three members.
    fn thoughts(&mut self, said: &Said) {
        match (&said.reasoning_content, &said.reasoning, &said.reasoning_details) {
            (Some(text), ..) if !text.is_empty() => self.thought(text),
            (_, Some(OneOrMany::Text(text)), _) if !text.is_empty() => self.thought(text),
            (.., Some(details)) => {
                for detail in extension::<Detail>(details) {
                    self.thought(detail.text.as_ref().or(detail.summary.as_ref()).map_or("", |text| text));
                }
            }
            _ => {}
        }
    }

    fn part(&mut self, part: PartIn) {
        match part.thinking {
            Some(OneOrMany::Text(text)) => self.thought(&text),
            Some(OneOrMany::Many(thoughts)) => {
                for thought in thoughts {
                    self.thought(thought.text.as_ref().map_or("", |text| text));
                }
            }
            None => {}
        }
        if let Some(text) = part.text {
            self.text(&text);
        }
        self.refusal(part.refusal);
    }

    fn text(&mut self, text: &str) {
        if !text.is_empty() {
            self.sink.piece(self.index, Piece::Text(text));
        }
    }

    fn thought(&mut self, text: &str) {
        if !text.is_empty() {
            self.sink.piece(self.index, Piece::Reasoning(text));
        }
    }

    fn refusal(&mut self, refusal: Option<Str>) {
        if let Some(text) = refusal.filter(|text| !text.is_empty()) {
            self.told.refused = true;
            self.sink.piece(self.index, Piece::Refusal(&text));
        }
    }

    /// A picture at an address is left out: no dialect has a word for one in an answer.
    fn image(&mut self, image: ImageIn) {
        if let Some(Source::Inline { mime, data }) = image.image_url.and_then(|image| source(image.url)) {
            self.sink.piece(self.index, Piece::Image { mime: &mime, data: &data });
        }
    }

    fn finish(&mut self, reason: &str) {
        if std::mem::replace(&mut self.told.finished, true) {
            return;
        }
        let (index, sink) = (self.index, &mut *self.sink);
        self.told.calls.end(&mut |piece| sink.piece(index, piece));
        let finish = match reason {
            "length" | "max_tokens" | "model_length" => Finish::Length,
            "content_filter" => Finish::Filtered,
            _ if self.told.calls.any() => Finish::ToolCalls,
            _ if self.told.refused => Finish::Filtered,
            _ => Finish::Stop,
        };
        self.sink.piece(self.index, Piece::Finish(finish));
    }
}
