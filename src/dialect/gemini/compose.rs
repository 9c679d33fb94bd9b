//! A generateContent request from a conversation.
//!
//! Everything borrows from the client's body and is serialized once. What a model does not know is left out where it
//! only tunes the answer (sampling, penalties, seeds) and refused where it would change it. `logprobs` and `safety`
//! have no place in a conversation. Sources: ai.google.dev/api/generate-content (the body, GenerationConfig),
//! cloud.google.com aiplatform v1 (labels and their alphabet), /priority-paygo and /flex-paygo (tiers on Vertex).

use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use serde_json::Number;

use super::contents::{self, Content};
use super::generation::{Model, Thinking};
use super::tools::{answer_name, Names, Offer, ToolConfig, ToolSet};
use crate::dialect::conversation::{Conversation, Format, Untranslatable};
use crate::dialect::json::{Members, Str};
use crate::dialect::{self, Composed, Target};

/// Composes the request.
pub fn compose(conversation: &Conversation, target: &Target) -> Result<Composed, Untranslatable> {
    let model = Model::new(target.model);
    let names = Names::new(conversation);
    let answer = answer_name(&names, conversation);
    let offer = Offer::new(conversation, &names, model, &answer)?;
    let contents = contents::compose(conversation, target, &names, model)?;
    let generation_config = GenerationConfig::new(conversation, model, &offer);
    let tier = tier(conversation);
    let Offer { tools, config: tool_config, answer_tool } = offer;
    let request = Request {
        contents: contents.turns,
        system_instruction: contents.system,
        tools,
        tool_config,
        generation_config,
        labels: if target.habits.vertex { labels(conversation) } else { Vec::new() },
        service_tier: tier.filter(|_| !target.habits.vertex),
    };
    let body = dialect::body(&request, &conversation.body)?;
    let headers = match tier {
        Some(tier @ ("flex" | "priority")) if target.habits.vertex => {
            vec![("x-vertex-ai-llm-shared-request-type", tier.to_owned())]
        }
        _ => Vec::new(),
    };
    Ok(Composed { body, headers, renamed: names.into_renamed(), answer_tool })
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Request<'c> {
    contents: Vec<Content<'c>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    system_instruction: Option<Content<'c>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<ToolSet<'c>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_config: Option<ToolConfig<'c>>,
    generation_config: GenerationConfig<'c>,
    #[serde(skip_serializing_if = "Vec::is_empty", serialize_with = "map")]
    labels: Vec<(Str<'c>, Str<'c>)>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service_tier: Option<&'static str>,
}

fn map<S: Serializer>(pairs: &[(Str, Str)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(pairs.iter().map(|(key, value)| (key, value)))
}

#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct GenerationConfig<'c> {
    #[serde(skip_serializing_if = "Option::is_none")]
    max_output_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<&'c Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<&'c Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_k: Option<&'c Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    presence_penalty: Option<&'c Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    frequency_penalty: Option<&'c Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<&'c Number>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    stop_sequences: Vec<&'c str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    candidate_count: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_mime_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_json_schema: Option<&'c RawValue>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    response_modalities: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking_config: Option<Thinking>,
}

impl<'c> GenerationConfig<'c> {
    fn new(conversation: &'c Conversation, model: Model, offer: &Offer) -> Self {
        let mut config = Self {
            max_output_tokens: conversation.max_tokens.map(|wanted| wanted.min(model.most_tokens())),
            seed: conversation.seed.as_ref(),
            stop_sequences: conversation
                .stop
                .iter()
                .map(|text| &**text)
                .filter(|text| !text.is_empty())
                .collect(),
            candidate_count: conversation.answers.filter(|answers| *answers > 1),
            thinking_config: conversation.reasoning.as_ref().and_then(|wanted| model.thinking(wanted)),
            ..Self::default()
        };
        config.sampling(conversation, model);
        // Before Gemini 3 a format beside functions is a 400.
        if model.is_third() || !offer.has_functions() {
            config.format(&conversation.format);
        }
        if conversation.modalities.iter().any(|modality| **modality != *"text") {
            let modalities = conversation.modalities.iter();
            config.response_modalities = modalities.map(|modality| modality.to_ascii_uppercase()).collect();
        }
        config
    }

    fn sampling(&mut self, conversation: &'c Conversation, model: Model) {
        if model.samples() {
            self.temperature = conversation.temperature.as_ref();
            self.top_p = conversation.top_p.as_ref();
            self.top_k = conversation.top_k.as_ref();
        }
        if !model.is_third() {
            self.presence_penalty = conversation.presence_penalty.as_ref();
            self.frequency_penalty = conversation.frequency_penalty.as_ref();
        }
    }

    fn format(&mut self, format: &Format<'c>) {
        match format {
            Format::Text => {}
            Format::Json => self.response_mime_type = Some("application/json"),
            Format::Schema { schema, .. } => {
                self.response_mime_type = Some("application/json");
                self.response_json_schema = *schema;
            }
        }
    }
}

/// Google's word for OpenAI's tier.
fn tier(conversation: &Conversation) -> Option<&'static str> {
    match conversation.service_tier.as_deref()? {
        "flex" => Some("flex"),
        "priority" | "fast" => Some("priority"),
        "default" => Some("standard"),
        _ => None,
    }
}

/// Metadata, as far as labels may hold it: Vertex answers 400 to anything else.
fn labels<'c>(conversation: &'c Conversation) -> Vec<(Str<'c>, Str<'c>)> {
    let metadata = conversation.metadata.and_then(|raw| serde_json::from_str::<Members>(raw.get()).ok());
    let members = metadata.map(|members| members.0).unwrap_or_default().into_iter();
    let mut labels: Vec<(Str, Str)> =
        members.filter_map(|(key, value)| Some((key, serde_json::from_str(value.get()).ok()?))).collect();
    labels.extend(conversation.user.clone().map(|user| ("user".into(), user)));
    labels.retain(|(key, value)| {
        is_label(key) && is_label(value) && key.starts_with(|c: char| c.is_lowercase())
    });
    labels
}

fn is_label(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-');
    text.len() <= 63 && text.chars().all(allowed)
}
