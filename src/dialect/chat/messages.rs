//! The messages of a composed request.
//!
//! Neighbouring turns of one role become one message: parallel calls must stand together, and some hosts want roles to
//! take turns. In a user's run the results of tools come first, because they must follow the calls directly; what a
//! result shows in pictures follows in the user's message, because a tool message holds only text (OpenAI's API
//! reference). Thoughts have no word here: OpenAI refuses unknown members of a message.

use std::borrow::Cow;
use std::fmt;

use serde::{Serialize, Serializer};

use super::names::Names;
use crate::dialect::conversation::{Conversation, Part, Role, Source, ToolCall, Turn, Untranslatable, What};
use crate::dialect::json::{Str, Text};
use crate::dialect::Target;

/// A message. Which members it has, its role says.
#[derive(Serialize)]
pub(super) struct Message<'c> {
    role: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_call_id: Option<Id<'c>>,
    content: Option<Content<'c>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refusal: Option<Joined<'c>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<CallOut<'c>>,
    /// The answer is to go on with it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    prefix: bool,
}

impl<'c> Message<'c> {
    fn new(role: &'static str, content: Option<Content<'c>>) -> Self {
        Self { role, tool_call_id: None, content, refusal: None, tool_calls: Vec::new(), prefix: false }
    }
}

#[derive(Serialize)]
#[serde(untagged)]
enum Content<'c> {
    Text(Joined<'c>),
    Parts(Vec<PartOut<'c>>),
}

/// Texts of one message as one string, written without being put together first.
struct Joined<'c> {
    texts: Vec<&'c Text<'c>>,
    between: &'static str,
}

impl fmt::Display for Joined<'_> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        for (number, text) in self.texts.iter().enumerate() {
            f.write_str(if number == 0 { "" } else { self.between })?;
            f.write_str(text)?;
        }
        Ok(())
    }
}

impl Serialize for Joined<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.texts.as_slice() {
            [text] => text.serialize(serializer),
            _ => serializer.collect_str(self),
        }
    }
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum PartOut<'c> {
    Text { text: &'c Text<'c> },
    ImageUrl { image_url: ImageOut<'c> },
    InputAudio { input_audio: AudioOut<'c> },
    File { file: FileOut<'c> },
}

#[derive(Serialize)]
struct ImageOut<'c> {
    url: Address<'c>,
}

#[derive(Serialize)]
struct AudioOut<'c> {
    data: &'c str,
    format: &'static str,
}

#[derive(Serialize)]
struct FileOut<'c> {
    filename: &'c str,
    file_data: Address<'c>,
}

/// An address, or a data URL, which is put together only while it is written.
enum Address<'c> {
    Url(&'c str),
    Data { mime: &'c str, data: &'c str },
}

impl Serialize for Address<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Url(url) => serializer.serialize_str(url),
            Self::Data { mime, data } => serializer.collect_str(&format_args!("data:{mime};base64,{data}")),
        }
    }
}

/// A call's id: the client's, or one of ours where its dialect has none.
#[derive(Clone, Copy, PartialEq)]
enum Id<'c> {
    Given(&'c str),
    Made(usize),
}

impl Serialize for Id<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Given(id) => serializer.serialize_str(id),
            Self::Made(number) => serializer.collect_str(&format_args!("call_{number}")),
        }
    }
}

#[derive(Serialize)]
struct CallOut<'c> {
    id: Id<'c>,
    #[serde(flatten)]
    what: CalledOut<'c>,
    #[serde(skip_serializing_if = "Option::is_none")]
    extra_content: Option<ExtraOut>,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum CalledOut<'c> {
    Function { function: FunctionOut<'c> },
    Custom { custom: CustomOut<'c> },
}

#[derive(Serialize)]
struct FunctionOut<'c> {
    name: &'c str,
    arguments: Arguments<'c>,
}

/// A call's arguments as JSON text.
enum Arguments<'c> {
    Json(&'c str),
    /// The plain text of a custom tool, as the one argument of a function.
    Input(&'c str),
}

impl Serialize for Arguments<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Json("") => serializer.serialize_str("{}"),
            Self::Json(json) => serializer.serialize_str(json),
            Self::Input(input) => serializer.collect_str(&serde_json::json!({ "input": input })),
        }
    }
}

#[derive(Serialize)]
struct CustomOut<'c> {
    name: &'c str,
    input: &'c str,
}

#[derive(Serialize)]
struct ExtraOut {
    google: GoogleOut,
}

#[derive(Serialize)]
struct GoogleOut {
    thought_signature: String,
}

/// A result has no other word for it here.
static FAILED: Text<'static> = Text::Plain(Str(Cow::Borrowed("The tool failed.")));

/// The messages that say what the turns say.
pub(super) fn messages<'c>(
    conversation: &'c Conversation<'c>,
    target: &'c Target<'c>,
    names: &'c Names<'c>,
) -> Result<Vec<Message<'c>>, Untranslatable> {
    let mut writer = Writer { target, names, messages: Vec::new(), waiting: Vec::new(), made: 0 };
    for run in conversation.turns.chunk_by(|one, next| one.role == next.role) {
        let role = run.first().map_or(Role::User, |turn| turn.role);
        let parts = run.iter().flat_map(|turn: &Turn| &turn.parts);
        match role {
            Role::System => writer.system(parts)?,
            Role::User => writer.user(parts)?,
            Role::Assistant => writer.assistant(parts),
        }
    }
    let last = writer.messages.last_mut().filter(|_| conversation.begun);
    if let Some(message) = last {
        message.prefix = target.habits.prefix;
    }
    Ok(writer.messages)
}

struct Writer<'c> {
    target: &'c Target<'c>,
    names: &'c Names<'c>,
    messages: Vec<Message<'c>>,
    /// Calls without ids that have had no result yet: the tool, and the id that was made.
    waiting: Vec<(&'c str, Id<'c>)>,
    made: usize,
}

impl<'c> Writer<'c> {
    fn system(&mut self, parts: impl Iterator<Item = &'c Part<'c>>) -> Result<(), Untranslatable> {
        let mut texts = Vec::new();
        for part in parts {
            match &part.what {
                What::Text { text, .. } | What::Document { source: Source::Text(text), .. } => {
                    texts.push(text)
                }
                _ => {
                    return Err(Untranslatable::new(
                        "system",
                        "Instructions can only be text for this model's provider.",
                    ))
                }
            }
        }
        texts.retain(|text| !text.is_empty());
        if !texts.is_empty() {
            let content = Content::Text(Joined { texts, between: "\n\n" });
            self.messages.push(Message::new("system", Some(content)));
        }
        Ok(())
    }

    fn user(&mut self, parts: impl Iterator<Item = &'c Part<'c>>) -> Result<(), Untranslatable> {
        let (mut shown, mut said) = (Vec::new(), Vec::new());
        for part in parts {
            match &part.what {
                What::ToolResult { id, name, content, failed } => {
                    let id = self.answered(id, name.as_ref())?;
                    let mut texts = result(content, &mut shown)?;
                    if *failed {
                        texts.insert(0, &FAILED);
                    }
                    let content = Content::Text(Joined { texts, between: "\n" });
                    let message = Message::new("tool", Some(content));
                    self.messages.push(Message { tool_call_id: Some(id), ..message });
                }
                what => said.extend(shown_part(what)?),
            }
        }
        shown.append(&mut said);
        let content = match shown.as_slice() {
            [] => return Ok(()),
            [PartOut::Text { text }] => Content::Text(Joined { texts: vec![*text], between: "" }),
            _ => Content::Parts(shown),
        };
        self.messages.push(Message::new("user", Some(content)));
        Ok(())
    }

    /// The id of the call that a result answers.
    fn answered(&mut self, id: &'c Str<'c>, name: Option<&'c Str<'c>>) -> Result<Id<'c>, Untranslatable> {
        if !id.is_empty() {
            return Ok(Id::Given(id));
        }
        let name = name.map_or("", |name| &**name);
        let at = self.waiting.iter().position(|(waiting, _)| *waiting == name);
        let at = at.ok_or_else(|| {
            let why = format!("There is a result of the tool `{name}` without a call before it.");
            Untranslatable::new("messages", why)
        })?;
        Ok(self.waiting.remove(at).1)
    }

    fn assistant(&mut self, parts: impl Iterator<Item = &'c Part<'c>>) {
        let (mut texts, mut refusals, mut tool_calls) = (Vec::new(), Vec::new(), Vec::new());
        for part in parts {
            match &part.what {
                What::Text { text, .. } if !text.is_empty() => texts.push(text),
                What::Refusal(text) => refusals.push(text),
                What::ToolCall(call) => tool_calls.push(self.call(call)),
                _ => {}
            }
        }
        if texts.is_empty() && refusals.is_empty() && tool_calls.is_empty() {
            return;
        }
        let joined = |texts: Vec<&'c Text<'c>>| (!texts.is_empty()).then_some(Joined { texts, between: "" });
        let message = Message::new("assistant", joined(texts).map(Content::Text));
        self.messages.push(Message { refusal: joined(refusals), tool_calls, ..message });
    }

    fn call(&mut self, call: &'c ToolCall<'c>) -> CallOut<'c> {
        let id = match &*call.id {
            "" => {
                self.made += 1;
                self.waiting.push((&call.name, Id::Made(self.made)));
                Id::Made(self.made)
            }
            id => Id::Given(id),
        };
        let (name, text) = (self.names.get(&call.name), &*call.arguments);
        let what = match (call.custom, self.target.habits.functions_only) {
            (true, false) => CalledOut::Custom { custom: CustomOut { name, input: text } },
            (true, true) => {
                CalledOut::Function { function: FunctionOut { name, arguments: Arguments::Input(text) } }
            }
            (false, _) => {
                CalledOut::Function { function: FunctionOut { name, arguments: Arguments::Json(text) } }
            }
        };
        CallOut { id, what, extra_content: self.signature(call) }
    }

    /// Gemini's own OpenAI-compatible endpoint wants its signatures back; any other host may refuse the member.
    fn signature(&self, call: &ToolCall) -> Option<ExtraOut> {
        let model = self.target.model.rsplit('/').next()?;
        if !model.starts_with("gemini") {
            return None;
        }
        let given = call.signature.as_deref().map(str::to_owned);
        let thought_signature = given.or_else(|| (self.target.signature)(&call.id))?;
        Some(ExtraOut { google: GoogleOut { thought_signature } })
    }
}

/// The texts of a result; its pictures go to `shown`.
fn result<'c>(
    content: &'c [Part<'c>],
    shown: &mut Vec<PartOut<'c>>,
) -> Result<Vec<&'c Text<'c>>, Untranslatable> {
    let mut texts = Vec::new();
    for part in content {
        match &part.what {
            What::Text { text, .. } | What::Document { source: Source::Text(text), .. } => texts.push(text),
            what => shown.extend(shown_part(what)?),
        }
    }
    Ok(texts)
}

/// A part of a user's message; `None` for what a user does not say, and for nothing.
fn shown_part<'c>(what: &'c What<'c>) -> Result<Option<PartOut<'c>>, Untranslatable> {
    Ok(Some(match what {
        What::Text { text, .. } | What::Document { source: Source::Text(text), .. } => {
            if text.is_empty() {
                return Ok(None);
            }
            PartOut::Text { text }
        }
        What::Image(source) => PartOut::ImageUrl { image_url: ImageOut { url: picture(source)? } },
        What::Audio(source) => PartOut::InputAudio { input_audio: sound(source)? },
        What::Document { source, name } => PartOut::File { file: document(source, name.as_deref())? },
        What::Video(_) => return Err(Untranslatable::new("video", "This model's provider takes no films.")),
        _ => return Ok(None),
    }))
}

fn picture<'c>(source: &'c Source<'c>) -> Result<Address<'c>, Untranslatable> {
    match source {
        Source::Inline { mime, data } => Ok(Address::Data { mime, data }),
        Source::Url { url, .. } if url.starts_with("https:") || url.starts_with("http:") => {
            Ok(Address::Url(url))
        }
        _ => {
            let why = "This model's provider takes pictures inline or at an https address.";
            Err(Untranslatable::new("image", why))
        }
    }
}

fn sound<'c>(source: &'c Source<'c>) -> Result<AudioOut<'c>, Untranslatable> {
    let unknown =
        || Untranslatable::new("audio", "This model's provider takes sounds inline, as wav or mp3.");
    let Source::Inline { mime, data } = source else { return Err(unknown()) };
    let format = match &**mime {
        "audio/wav" | "audio/x-wav" | "audio/wave" => "wav",
        "audio/mpeg" | "audio/mp3" => "mp3",
        _ => return Err(unknown()),
    };
    Ok(AudioOut { data, format })
}

fn document<'c>(source: &'c Source<'c>, name: Option<&'c str>) -> Result<FileOut<'c>, Untranslatable> {
    let Source::Inline { mime, data } = source else {
        return Err(Untranslatable::new("document", "This model's provider takes documents inline only."));
    };
    let unnamed = if &**mime == "application/pdf" { "document.pdf" } else { "document" };
    Ok(FileOut { filename: name.unwrap_or(unnamed), file_data: Address::Data { mime, data } })
}
