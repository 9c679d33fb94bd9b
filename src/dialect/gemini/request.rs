//! A client's generateContent request, read into a conversation.
//!
//! Google takes every member in camelCase and in snake_case, and a lone object where a list is meant; so does this.
//! Calls without ids (models before Gemini 3, older SDKs) get made-up ones, the same each time the conversation is
//! sent, and their results are paired with them by name and order. Older clients describe tools in an OpenAPI subset:
//! `prepare` makes JSON Schema of it first, in the body itself, so that what is read can go on borrowing from it.
//!
//! Sources: ai.google.dev/api/generate-content, /api/caching (Content, Part, Tool, ToolConfig); google-genai 3.4 for
//! the names it sends.

use super::contents::STAND_IN;
use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::code::{Executable, Executed};
use super::config::{tier, GenerationConfig};
use super::{media, schema};
use crate::dialect::conversation::{
    Conversation, Part, Role, Signer, Source, Tool, ToolCall, ToolChoice, Turn, Untranslatable, What,
};
use crate::dialect::fault;
use crate::dialect::json::{OneOrMany, Str};

/// The body with every schema in JSON Schema; borrowed where it was so already. What cannot be read is left to `read`,
/// which can say why.
pub fn prepare(body: &str) -> Cow<'_, str> {
    schema::prepare(body)
}

/// Reads a prepared body. `stream` is said by the address, not by the body.
pub fn read(body: &str, stream: bool) -> Result<Conversation<'_>, Untranslatable> {
    let request: Request = fault::read(body)?;
    let mut turns = Turns::default();
    turns.system(request.system_instruction);
    turns.all(request.contents);
    let mut conversation = Conversation {
        turns: turns.turns,
        tools: request.tools.unwrap_or_default().into_iter().flat_map(|set| set.tools).collect(),
        tool_choice: request.tool_config.and_then(|config| config.calling).and_then(Calling::choice),
        metadata: request.labels,
        service_tier: request.service_tier.and_then(tier),
        stream,
        wants_usage: true,
        ..Conversation::default()
    };
    if let Some(config) = request.generation_config {
        config.apply(&mut conversation)?;
    }
    Ok(conversation)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Request<'a> {
    #[serde(borrow)]
    contents: Option<OneOrMany<'a, Content<'a>>>,
    #[serde(borrow, alias = "system_instruction")]
    system_instruction: Option<OneOrMany<'a, Content<'a>>>,
    #[serde(borrow)]
    tools: Option<Vec<ToolSet<'a>>>,
    #[serde(borrow, alias = "tool_config")]
    tool_config: Option<ToolConfig<'a>>,
    #[serde(borrow, alias = "generation_config")]
    generation_config: Option<GenerationConfig<'a>>,
    #[serde(borrow)]
    labels: Option<&'a RawValue>,
    #[serde(borrow, alias = "service_tier")]
    service_tier: Option<Str<'a>>,
}

#[derive(Deserialize)]
struct Content<'a> {
    #[serde(borrow)]
    role: Option<Str<'a>>,
    #[serde(borrow)]
    parts: Option<OneOrMany<'a, ContentPart<'a>>>,
}

/// One of its members is there; which one says what the part is.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ContentPart<'a> {
    #[serde(borrow)]
    text: Option<Str<'a>>,
    thought: Option<bool>,
    #[serde(borrow, alias = "thought_signature")]
    thought_signature: Option<Str<'a>>,
    #[serde(borrow, alias = "inline_data")]
    inline_data: Option<Blob<'a>>,
    #[serde(borrow, alias = "file_data")]
    file_data: Option<FileData<'a>>,
    #[serde(borrow, alias = "function_call")]
    function_call: Option<FunctionCall<'a>>,
    #[serde(borrow, alias = "function_response")]
    function_response: Option<FunctionResponse<'a>>,
    #[serde(borrow, alias = "executable_code")]
    executable_code: Option<Executable<'a>>,
    #[serde(borrow, alias = "code_execution_result")]
    code_execution_result: Option<Executed<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Blob<'a> {
    #[serde(borrow, alias = "mime_type")]
    mime_type: Option<Str<'a>>,
    #[serde(borrow)]
    data: Option<Str<'a>>,
    #[serde(borrow, alias = "display_name")]
    display_name: Option<Str<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct FileData<'a> {
    #[serde(borrow, alias = "mime_type")]
    mime_type: Option<Str<'a>>,
    #[serde(borrow, alias = "file_uri")]
    file_uri: Option<Str<'a>>,
    #[serde(borrow, alias = "display_name")]
    display_name: Option<Str<'a>>,
}

#[derive(Deserialize)]
struct FunctionCall<'a> {
    #[serde(borrow)]
    id: Option<Str<'a>>,
    #[serde(borrow)]
    name: Option<Str<'a>>,
    #[serde(borrow)]
    args: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct FunctionResponse<'a> {
    #[serde(borrow)]
    id: Option<Str<'a>>,
    #[serde(borrow)]
    name: Option<Str<'a>>,
    #[serde(borrow)]
    response: Option<&'a RawValue>,
    #[serde(borrow)]
    parts: Option<OneOrMany<'a, ContentPart<'a>>>,
}

/// The turns so far, and the calls that no result has answered yet.
#[derive(Default)]
struct Turns<'a> {
    turns: Vec<Turn<'a>>,
    open: Vec<(Str<'a>, Str<'a>)>,
    made_up: u32,
}

impl<'a> Turns<'a> {
    fn system(&mut self, instruction: Option<OneOrMany<'a, Content<'a>>>) {
        for mut content in list(instruction, text_content) {
            content.role = Some("system".into());
            self.content(content);
        }
    }

    fn all(&mut self, contents: Option<OneOrMany<'a, Content<'a>>>) {
        list(contents, text_content).into_iter().for_each(|content| self.content(content));
    }

    fn content(&mut self, content: Content<'a>) {
        let role = match content.role.as_deref() {
            Some("model" | "assistant") => Role::Assistant,
            Some("system") => Role::System,
            _ => Role::User,
        };
        let parts = list(content.parts, text_part).into_iter().filter_map(|part| self.part(part)).collect();
        self.turns.push(Turn { role, parts });
    }

    fn part(&mut self, part: ContentPart<'a>) -> Option<Part<'a>> {
        // What only stands in for a signature is none.
        let signature = part.thought_signature.filter(|signature| &**signature != STAND_IN);
        if let Some(call) = part.function_call {
            return Some(Part::new(What::ToolCall(self.call(call, signature))));
        }
        if let Some(response) = part.function_response {
            return Some(Part::new(self.response(response)));
        }
        let what = match (part.text, part.inline_data, part.file_data) {
            (Some(text), ..) if part.thought == Some(true) => {
                What::Reasoning { text, signature, signer: Signer::Google }
            }
            (Some(text), ..) => What::Text { text: text.into(), signature },
            (None, Some(blob), _) => blob.what(),
            (None, None, Some(file)) => file.what()?,
            (None, None, None) => {
                let code = part.executable_code.map(|code| code.fenced());
                let text = code.or_else(|| part.code_execution_result.map(|result| result.fenced()))?;
                What::Text { text: text.into(), signature: None }
            }
        };
        Some(Part::new(what))
    }

    fn call(&mut self, call: FunctionCall<'a>, signature: Option<Str<'a>>) -> ToolCall<'a> {
        let name = call.name.unwrap_or_default();
        let id = call.id.filter(|id| !id.is_empty()).unwrap_or_else(|| self.make_up());
        self.open.push((name.clone(), id.clone()));
        let arguments = call.args.map_or("", RawValue::get).into();
        ToolCall { id, name, arguments, custom: false, signature }
    }

    fn response(&mut self, response: FunctionResponse<'a>) -> What<'a> {
        let id = response.id.filter(|id| !id.is_empty());
        let name = response.name.unwrap_or_default();
        let answers = |(called, called_id): &(Str, Str)| match &id {
            Some(id) => id == called_id,
            None => name == *called,
        };
        let call = self.open.iter().position(answers).map(|at| self.open.remove(at));
        let id = id.or(call.map(|(_, id)| id)).unwrap_or_else(|| self.make_up());
        let (text, failed) = outcome(response.response);
        let mut content = vec![Part::text(text)];
        let parts = list(response.parts, text_part).into_iter();
        content.extend(parts.filter_map(|part| self.part(part)));
        What::ToolResult { id, name: Some(name), content, failed }
    }

    fn make_up(&mut self) -> Str<'a> {
        self.made_up += 1;
        format!("call_{}", self.made_up).into()
    }
}

fn list<'a, T>(items: Option<OneOrMany<'a, T>>, text: fn(Str<'a>) -> T) -> Vec<T> {
    match items {
        None => Vec::new(),
        Some(OneOrMany::Text(words)) => vec![text(words)],
        Some(OneOrMany::Many(items)) => items,
    }
}

fn text_content(text: Str<'_>) -> Content<'_> {
    Content { role: None, parts: Some(OneOrMany::Text(text)) }
}

fn text_part(text: Str<'_>) -> ContentPart<'_> {
    ContentPart {
        text: Some(text),
        thought: None,
        thought_signature: None,
        inline_data: None,
        file_data: None,
        function_call: None,
        function_response: None,
        executable_code: None,
        code_execution_result: None,
    }
}

/// What a tool said, and whether it failed. Google wants an object and suggests `output` and `error` in it; its SDKs
/// write `result`. Other dialects have the bare value.
fn outcome(response: Option<&RawValue>) -> (Str<'_>, bool) {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Wrapped<'a> {
        #[serde(borrow, alias = "result")]
        output: Option<&'a RawValue>,
        #[serde(borrow)]
        error: Option<&'a RawValue>,
    }
    let Some(response) = response else { return ("".into(), false) };
    let (value, failed) = match serde_json::from_str(response.get()) {
        Ok(Wrapped { output: Some(output), error: None }) => (output, false),
        Ok(Wrapped { output: None, error: Some(error) }) => (error, true),
        _ => (response, false),
    };
    let text = serde_json::from_str::<Str>(value.get()).unwrap_or_else(|_| value.get().into());
    (text, failed)
}

impl<'a> Blob<'a> {
    fn what(self) -> What<'a> {
        let data = media::base64(self.data.unwrap_or_default());
        media::what(Source::Inline { mime: self.mime_type.unwrap_or_default(), data }, self.display_name)
    }
}

impl<'a> FileData<'a> {
    fn what(self) -> Option<What<'a>> {
        let url = self.file_uri?;
        // Files uploaded to AI Studio have addresses that only their owner can open.
        let stored = url.contains("generativelanguage.googleapis.com") || !url.contains("://");
        let source = match stored {
            false => return Some(media::what(Source::Url { url, mime: self.mime_type }, self.display_name)),
            true => Source::File(url),
        };
        Some(match self.mime_type.as_deref().and_then(|mime| mime.split('/').next()) {
            Some("image") => What::Image(source),
            Some("audio") => What::Audio(source),
            Some("video") => What::Video(source),
            _ => What::Document { source, name: self.display_name },
        })
    }
}

/// An item of `tools`: functions, or a member for each tool that Google runs.
#[derive(Default)]
struct ToolSet<'a> {
    tools: Vec<Tool<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Declaration<'a> {
    #[serde(borrow)]
    name: Option<Str<'a>>,
    #[serde(borrow)]
    description: Option<Str<'a>>,
    #[serde(borrow)]
    parameters: Option<&'a RawValue>,
    #[serde(borrow, alias = "parameters_json_schema")]
    parameters_json_schema: Option<&'a RawValue>,
}

impl<'a> From<Declaration<'a>> for Tool<'a> {
    fn from(function: Declaration<'a>) -> Self {
        Tool::Function {
            name: function.name.unwrap_or_default(),
            description: function.description,
            parameters: function.parameters_json_schema.or(function.parameters),
            strict: None,
            cache: None,
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for ToolSet<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = ToolSet<'de>;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut set = ToolSet::default();
                while let Some(key) = map.next_key::<Str>()? {
                    if matches!(&*key, "functionDeclarations" | "function_declarations") {
                        let functions: Option<Vec<Declaration>> = map.next_value()?;
                        set.tools.extend(functions.unwrap_or_default().into_iter().map(Tool::from));
                    } else if map.next_value::<Option<IgnoredAny>>()?.is_some() {
                        set.tools.push(Tool::Hosted { kind: key });
                    }
                }
                Ok(set)
            }
        }
        deserializer.deserialize_map(Members)
    }
}

#[derive(Deserialize)]
struct ToolConfig<'a> {
    #[serde(borrow, rename = "functionCallingConfig", alias = "function_calling_config")]
    calling: Option<Calling<'a>>,
}

#[derive(Deserialize)]
struct Calling<'a> {
    #[serde(borrow)]
    mode: Option<Str<'a>>,
    #[serde(borrow, rename = "allowedFunctionNames", alias = "allowed_function_names")]
    allowed: Option<Vec<Str<'a>>>,
}

impl<'a> Calling<'a> {
    fn choice(self) -> Option<ToolChoice<'a>> {
        let mut names = self.allowed.unwrap_or_default();
        let mode = self.mode?.to_ascii_uppercase();
        Some(match (mode.as_str(), names.len()) {
            ("NONE", _) => ToolChoice::None,
            ("ANY", 0) => ToolChoice::Required,
            ("ANY", 1) => ToolChoice::One(names.remove(0)),
            ("ANY", _) => ToolChoice::Allowed { required: true, names },
            ("AUTO" | "VALIDATED", 0) => ToolChoice::Auto,
            ("AUTO" | "VALIDATED", _) => ToolChoice::Allowed { required: false, names },
            _ => return None,
        })
    }
}
