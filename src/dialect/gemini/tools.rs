//! Tools and the choice among them, for Google.
//!
//! Before Gemini 3 a model takes either functions or a JSON format, and either functions or Google's own tools. For
//! the first, the format becomes one more function and its call the answer; for the second, the offer that the client
//! cannot do without stays: its functions. Sources: ai.google.dev/api/caching#FunctionDeclaration (names, schemas),
//! #FunctionCallingConfig (modes; names may be given with ANY and VALIDATED only).

use std::collections::{HashMap, HashSet};

use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use super::generation::Model;
use crate::dialect::conversation::{Conversation, Format, Tool, ToolChoice, Untranslatable, What};
use crate::dialect::taken::Taken;

/// The longest name.
const LONGEST: usize = 128;

/// The names of tools as Google takes them.
pub struct Names<'c> {
    renamed: Vec<(String, &'c str)>,
    /// Where in `renamed` a name is.
    places: HashMap<&'c str, usize>,
}

impl<'c> Names<'c> {
    /// Of everything that the conversation names.
    pub fn new(conversation: &'c Conversation) -> Self {
        let mut all: Vec<&'c str> =
            conversation.tools.iter().filter_map(|tool| tool.name().map(|name| &**name)).collect();
        let parts = conversation.turns.iter().flat_map(|turn| &turn.parts);
        all.extend(parts.filter_map(|part| match &part.what {
            What::ToolCall(call) => Some(&*call.name),
            _ => None,
        }));
        let mut names = Self { renamed: Vec::new(), places: HashMap::new() };
        let mut taken = Taken::default();
        all.iter().for_each(|name| taken.add(name));
        for name in all.into_iter().filter(|name| !is_valid(name)) {
            names.places.entry(name).or_insert_with(|| {
                names.renamed.push((taken.free(allowed(name), LONGEST), name));
                names.renamed.len() - 1
            });
        }
        names
    }

    /// Google's name for a tool.
    pub fn of<'s: 'r, 'r>(&'s self, name: &'r str) -> &'r str {
        let renamed = self.places.get(name).and_then(|place| self.renamed.get(*place));
        renamed.map_or(name, |(new, _)| new)
    }

    /// What had to be renamed.
    pub fn into_renamed(self) -> Vec<(String, String)> {
        self.renamed.into_iter().map(|(new, old)| (new, old.to_owned())).collect()
    }
}

/// A name in Google's alphabet.
fn allowed(name: &str) -> String {
    let mut allowed: String = name.chars().map(|c| if is_allowed(c) { c } else { '_' }).collect();
    if !allowed.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
        allowed.insert(0, '_');
    }
    allowed.truncate(LONGEST);
    allowed
}

fn is_allowed(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | ':' | '-')
}

fn is_valid(name: &str) -> bool {
    name.len() <= LONGEST
        && name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(is_allowed)
}

/// `tools`, `toolConfig`, and what became of the format.
#[derive(Default)]
pub struct Offer<'c> {
    /// `tools`.
    pub tools: Vec<ToolSet<'c>>,
    /// `toolConfig`.
    pub config: Option<ToolConfig<'c>>,
    /// The function that stands for the answer's JSON.
    pub answer_tool: Option<String>,
}

/// An item of `tools`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub enum ToolSet<'c> {
    FunctionDeclarations(Vec<Declaration<'c>>),
    GoogleSearch {},
    CodeExecution {},
    UrlContext {},
}

/// A function.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Declaration<'c> {
    name: &'c str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'c str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters_json_schema: Option<Parameters<'c>>,
}

enum Parameters<'c> {
    Schema(&'c RawValue),
    /// One text, for a tool that takes plain text.
    Input {
        grammar: Option<&'c RawValue>,
    },
    /// Some object: the answer, where no schema is known.
    Any,
}

impl Serialize for Parameters<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Object<'a> {
            r#type: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            properties: Option<Input<'a>>,
            #[serde(skip_serializing_if = "Option::is_none")]
            required: Option<[&'a str; 1]>,
        }
        #[derive(Serialize)]
        struct Input<'a> {
            input: Text<'a>,
        }
        #[derive(Serialize)]
        struct Text<'a> {
            r#type: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            description: Option<String>,
        }
        match self {
            Self::Schema(schema) => schema.serialize(serializer),
            Self::Any => Object { r#type: "object", properties: None, required: None }.serialize(serializer),
            Self::Input { grammar } => {
                let description =
                    grammar.map(|grammar| format!("Plain text of this format: {}", grammar.get()));
                let properties = Some(Input { input: Text { r#type: "string", description } });
                Object { r#type: "object", properties, required: Some(["input"]) }.serialize(serializer)
            }
        }
    }
}

/// `toolConfig`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ToolConfig<'c> {
    function_calling_config: Calling<'c>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Calling<'c> {
    mode: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    allowed_function_names: Vec<&'c str>,
}

impl<'c> Offer<'c> {
    /// What a conversation offers. `answer` is a free name for the answer's function.
    pub fn new(
        conversation: &'c Conversation,
        names: &'c Names,
        model: Model,
        answer: &'c str,
    ) -> Result<Self, Untranslatable> {
        let mut functions: Vec<Declaration> =
            conversation.tools.iter().filter_map(|tool| Declaration::new(tool, names)).collect();
        if functions.is_empty() {
            return Ok(Self { tools: hosted(&conversation.tools)?, ..Self::default() });
        }
        let choice = conversation.tool_choice.as_ref();
        let calling = choice.and_then(|choice| Calling::new(choice, names));
        let both = !matches!(conversation.format, Format::Text) && !model.is_third();
        let open =
            matches!(choice, None | Some(ToolChoice::Auto | ToolChoice::Allowed { required: false, .. }));
        let (calling, answer_tool) = match both && open {
            false => (calling, None),
            true => {
                functions.push(Declaration::answer(&conversation.format, answer));
                (Some(Calling::with_answer(calling, answer)), Some(answer.to_owned()))
            }
        };
        if both && matches!(choice, Some(ToolChoice::None)) {
            return Ok(Self::default());
        }
        Ok(Self {
            tools: vec![ToolSet::FunctionDeclarations(functions)],
            config: calling.map(|function_calling_config| ToolConfig { function_calling_config }),
            answer_tool,
        })
    }

    /// Whether functions are offered.
    pub fn has_functions(&self) -> bool {
        self.tools.iter().any(|set| matches!(set, ToolSet::FunctionDeclarations(_)))
    }
}

impl<'c> Declaration<'c> {
    fn new(tool: &'c Tool, names: &'c Names) -> Option<Self> {
        let (name, description, parameters_json_schema) = match tool {
            Tool::Function { name, description, parameters, .. } => {
                (name, description, parameters.map(Parameters::Schema))
            }
            Tool::Custom { name, description, format } => {
                (name, description, Some(Parameters::Input { grammar: *format }))
            }
            Tool::Hosted { .. } => return None,
        };
        Some(Self { name: names.of(name), description: description.as_deref(), parameters_json_schema })
    }

    fn answer(format: &'c Format, name: &'c str) -> Self {
        let (description, parameters) = match format {
            Format::Schema { description, schema: Some(schema), .. } => {
                (description.as_deref(), Parameters::Schema(schema))
            }
            _ => (None, Parameters::Any),
        };
        let description = description.or(Some("Gives the final answer."));
        Self { name, description, parameters_json_schema: Some(parameters) }
    }
}

impl<'c> Calling<'c> {
    fn new(choice: &'c ToolChoice, names: &'c Names) -> Option<Self> {
        let (mode, allowed) = match choice {
            ToolChoice::Auto => return None,
            ToolChoice::None => ("NONE", Vec::new()),
            ToolChoice::Required => ("ANY", Vec::new()),
            ToolChoice::One(name) => ("ANY", vec![names.of(name)]),
            ToolChoice::Allowed { required, names: allowed } => {
                let mode = if *required { "ANY" } else { "VALIDATED" };
                (mode, allowed.iter().map(|name| names.of(name)).collect())
            }
        };
        Some(Self { mode, allowed_function_names: allowed })
    }

    /// Something must be called then: a function or the answer.
    fn with_answer(calling: Option<Self>, answer: &'c str) -> Self {
        let mut allowed = calling.map(|calling| calling.allowed_function_names).unwrap_or_default();
        if !allowed.is_empty() {
            allowed.push(answer);
        }
        Self { mode: "ANY", allowed_function_names: allowed }
    }
}

/// Google's tools for what another provider would run. An offer without an equal is refused only where nothing else
/// is offered: beside functions a client can do without it.
fn hosted<'c>(tools: &[Tool]) -> Result<Vec<ToolSet<'c>>, Untranslatable> {
    let kinds = tools.iter().filter_map(|tool| match tool {
        Tool::Hosted { kind } => Some(&**kind),
        _ => None,
    });
    kinds
        .map(|kind| match kind.replace('_', "").to_ascii_lowercase() {
            plain if plain.starts_with("websearch") || plain == "googlesearch" => {
                Ok(ToolSet::GoogleSearch {})
            }
            plain if plain.starts_with("webfetch") || plain == "urlcontext" => Ok(ToolSet::UrlContext {}),
            plain if plain.starts_with("codeexecution") || plain == "codeinterpreter" => {
                Ok(ToolSet::CodeExecution {})
            }
            _ => Err(Untranslatable::new(
                "tools",
                format!("The tool `{kind}` is run by another provider; Gemini has none like it."),
            )),
        })
        .collect()
}

/// A name for the answer's function that no tool has.
pub fn answer_name(names: &Names, conversation: &Conversation) -> String {
    let taken: HashSet<&str> =
        conversation.tools.iter().filter_map(Tool::name).map(|known| names.of(known)).collect();
    let mut name = String::from("final_answer");
    while taken.contains(name.as_str()) {
        name.push('_');
    }
    name
}
