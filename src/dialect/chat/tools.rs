//! Tools in a client's request: what is offered, what must be called, what was called, and the form of the answer.
//!
//! Shapes after OpenAI's API reference: function and custom tools, `allowed_tools`, and the older `functions` and
//! `function_call`, which have no ids. A tool of another type is one that the provider runs.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::parts::Mark;
use crate::dialect::conversation::{Format, Tool, ToolCall, ToolChoice, Untranslatable};
use crate::dialect::json::{OneOrMany, Str};

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct ToolIn<'a> {
    #[serde(rename = "type", borrow)]
    kind: Option<Str<'a>>,
    function: Option<FunctionIn<'a>>,
    custom: Option<CustomIn<'a>>,
    cache_control: Option<Mark<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct FunctionIn<'a> {
    #[serde(borrow)]
    name: Str<'a>,
    description: Option<Str<'a>>,
    parameters: Option<&'a RawValue>,
    strict: Option<bool>,
    cache_control: Option<Mark<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct CustomIn<'a> {
    #[serde(borrow)]
    name: Str<'a>,
    description: Option<Str<'a>>,
    format: Option<&'a RawValue>,
}

/// What may be called: `tools`, or where there are none the older `functions`.
pub(super) fn offered<'a>(
    tools: Option<Vec<ToolIn<'a>>>,
    functions: Option<Vec<FunctionIn<'a>>>,
) -> Result<Vec<Tool<'a>>, Untranslatable> {
    match (tools, functions) {
        (Some(tools), _) => {
            (0..).zip(tools).map(|(number, tool)| tool.read(|| format!("tools[{number}]"))).collect()
        }
        (None, Some(functions)) => (0..)
            .zip(functions)
            .map(|(number, function)| function.read(None, || format!("functions[{number}]")))
            .collect(),
        (None, None) => Ok(Vec::new()),
    }
}

impl<'a> ToolIn<'a> {
    fn read(self, place: impl Fn() -> String) -> Result<Tool<'a>, Untranslatable> {
        match (self.function, self.custom, self.kind) {
            (Some(function), ..) => function.read(self.cache_control, || format!("{}.function", place())),
            (None, Some(custom), _) => {
                let CustomIn { name, description, format } = custom;
                Ok(Tool::Custom { name: named(name, || format!("{}.custom", place()))?, description, format })
            }
            (None, None, Some(kind)) if !matches!(&*kind, "function" | "custom") => Ok(Tool::Hosted { kind }),
            _ => Err(Untranslatable::new(place(), "A tool needs `function` or `custom`.")),
        }
    }
}

impl<'a> FunctionIn<'a> {
    fn read(self, mark: Option<Mark>, place: impl Fn() -> String) -> Result<Tool<'a>, Untranslatable> {
        let cache = mark.as_ref().or(self.cache_control.as_ref()).map(Mark::cache);
        let Self { name, description, parameters, strict, .. } = self;
        Ok(Tool::Function { name: named(name, place)?, description, parameters, strict, cache })
    }
}

fn named(name: Str<'_>, place: impl Fn() -> String) -> Result<Str<'_>, Untranslatable> {
    if name.is_empty() {
        return Err(Untranslatable::new(format!("{}.name", place()), "A tool needs a name."));
    }
    Ok(name)
}

/// `tool_choice` where it is an object.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct ChoiceIn<'a> {
    #[serde(borrow)]
    function: Option<Named<'a>>,
    custom: Option<Named<'a>>,
    allowed_tools: Option<AllowedIn<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Named<'a> {
    #[serde(borrow)]
    name: Str<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct AllowedIn<'a> {
    #[serde(borrow)]
    mode: Option<Str<'a>>,
    tools: Vec<ChoiceIn<'a>>,
}

/// Reads `tool_choice`, or a `function_call` that is a word.
pub(super) fn choice<'a>(choice: OneOrMany<'a, ChoiceIn<'a>>) -> Result<ToolChoice<'a>, Untranslatable> {
    let unknown = || {
        let why = "It is none, auto, required, or an object that names tools.";
        Untranslatable::new("tool_choice", why)
    };
    match choice {
        OneOrMany::Text(word) => match &*word {
            "none" => Ok(ToolChoice::None),
            "auto" => Ok(ToolChoice::Auto),
            "required" | "any" => Ok(ToolChoice::Required),
            _ => Err(unknown()),
        },
        OneOrMany::Many(choices) => {
            let choice = choices.into_iter().next().ok_or_else(unknown)?;
            if let Some(allowed) = choice.allowed_tools {
                let required = allowed.mode.as_deref() == Some("required");
                let names = allowed.tools.into_iter().filter_map(ChoiceIn::name).collect();
                return Ok(ToolChoice::Allowed { required, names });
            }
            choice.name().map(ToolChoice::One).ok_or_else(unknown)
        }
    }
}

impl<'a> ChoiceIn<'a> {
    fn name(self) -> Option<Str<'a>> {
        self.function.or(self.custom).map(|named| named.name).filter(|name| !name.is_empty())
    }
}

/// A call in an assistant's message.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct CallIn<'a> {
    #[serde(borrow)]
    id: Option<Str<'a>>,
    function: Option<FunctionCallIn<'a>>,
    custom: Option<CustomCallIn<'a>>,
    extra_content: Option<ExtraIn<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct FunctionCallIn<'a> {
    #[serde(borrow)]
    pub(super) name: Str<'a>,
    arguments: Option<Str<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct CustomCallIn<'a> {
    #[serde(borrow)]
    name: Str<'a>,
    input: Str<'a>,
}

/// Google's addition to a call.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct ExtraIn<'a> {
    #[serde(borrow)]
    google: Option<GoogleIn<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct GoogleIn<'a> {
    #[serde(borrow)]
    thought_signature: Option<Str<'a>>,
}

impl<'a> ExtraIn<'a> {
    pub(super) fn signature(self) -> Option<Str<'a>> {
        self.google?.thought_signature
    }
}

impl<'a> CallIn<'a> {
    /// `None` where it is a call of a kind that nobody knows.
    pub(super) fn read(self) -> Option<ToolCall<'a>> {
        let call = match (self.function, self.custom) {
            (Some(function), _) => function.read(),
            (None, Some(CustomCallIn { name, input })) => {
                ToolCall { id: Str::default(), name, arguments: input, custom: true, signature: None }
            }
            (None, None) => return None,
        };
        let signature = self.extra_content.and_then(ExtraIn::signature);
        Some(ToolCall { id: self.id.unwrap_or_default(), signature, ..call })
    }
}

impl<'a> FunctionCallIn<'a> {
    pub(super) fn read(self) -> ToolCall<'a> {
        let arguments = self.arguments.unwrap_or_default();
        ToolCall { id: Str::default(), name: self.name, arguments, custom: false, signature: None }
    }
}

/// `response_format`.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct FormatIn<'a> {
    #[serde(rename = "type", borrow)]
    kind: Str<'a>,
    json_schema: Option<SchemaIn<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct SchemaIn<'a> {
    #[serde(borrow)]
    name: Option<Str<'a>>,
    description: Option<Str<'a>>,
    schema: Option<&'a RawValue>,
    strict: Option<bool>,
}

impl<'a> FormatIn<'a> {
    pub(super) fn read(self) -> Result<Format<'a>, Untranslatable> {
        match (&*self.kind, self.json_schema) {
            ("text", _) => Ok(Format::Text),
            ("json_object", _) => Ok(Format::Json),
            ("json_schema", Some(SchemaIn { name, description, schema, strict })) => {
                Ok(Format::Schema { name, description, schema, strict })
            }
            ("json_schema", None) => {
                Err(Untranslatable::new("response_format.json_schema", "This format needs a schema."))
            }
            _ => Err(Untranslatable::new("response_format.type", "It is text, json_object or json_schema.")),
        }
    }
}
