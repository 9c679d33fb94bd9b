//! A client's `generationConfig`.

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::Number;

use crate::dialect::conversation::{Conversation, Effort, Format, Reasoning, Untranslatable};
use crate::dialect::json::Str;

/// Every member that another dialect has a word for.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GenerationConfig<'a> {
    #[serde(alias = "max_output_tokens")]
    max_output_tokens: Option<u64>,
    temperature: Option<Number>,
    #[serde(alias = "top_p")]
    top_p: Option<Number>,
    #[serde(alias = "top_k")]
    top_k: Option<Number>,
    #[serde(alias = "presence_penalty")]
    presence_penalty: Option<Number>,
    #[serde(alias = "frequency_penalty")]
    frequency_penalty: Option<Number>,
    seed: Option<Number>,
    #[serde(borrow, alias = "stop_sequences")]
    stop_sequences: Option<Vec<Str<'a>>>,
    #[serde(alias = "candidate_count")]
    candidate_count: Option<u32>,
    #[serde(borrow, alias = "response_mime_type")]
    response_mime_type: Option<Str<'a>>,
    #[serde(borrow, alias = "response_schema")]
    response_schema: Option<&'a RawValue>,
    #[serde(borrow, alias = "response_json_schema", alias = "_responseJsonSchema")]
    response_json_schema: Option<&'a RawValue>,
    #[serde(borrow, alias = "response_modalities")]
    response_modalities: Option<Vec<Str<'a>>>,
    #[serde(borrow, alias = "thinking_config")]
    thinking_config: Option<ThinkingConfig<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ThinkingConfig<'a> {
    #[serde(alias = "include_thoughts")]
    include_thoughts: Option<bool>,
    #[serde(alias = "thinking_budget")]
    thinking_budget: Option<i64>,
    #[serde(borrow, alias = "thinking_level")]
    thinking_level: Option<Str<'a>>,
}

impl<'a> GenerationConfig<'a> {
    /// Puts it into the conversation.
    pub fn apply(self, conversation: &mut Conversation<'a>) -> Result<(), Untranslatable> {
        conversation.format = self.format()?;
        conversation.max_tokens = self.max_output_tokens;
        conversation.temperature = self.temperature;
        conversation.top_p = self.top_p;
        conversation.top_k = self.top_k;
        conversation.presence_penalty = self.presence_penalty;
        conversation.frequency_penalty = self.frequency_penalty;
        conversation.seed = self.seed;
        conversation.stop = self.stop_sequences.unwrap_or_default();
        conversation.answers = self.candidate_count;
        conversation.reasoning = self.thinking_config.map(ThinkingConfig::reasoning);
        let modalities = self.response_modalities.unwrap_or_default();
        conversation.modalities =
            modalities.iter().map(|modality| modality.to_ascii_lowercase().into()).collect();
        Ok(())
    }

    fn format(&self) -> Result<Format<'a>, Untranslatable> {
        let schema = self.response_json_schema.or(self.response_schema);
        match (self.response_mime_type.as_deref(), schema) {
            (None | Some("" | "text/plain"), None) => Ok(Format::Text),
            (Some("application/json"), None) => Ok(Format::Json),
            (None | Some("" | "application/json"), Some(schema)) => {
                Ok(Format::Schema { name: None, description: None, schema: Some(schema), strict: None })
            }
            (Some(mime), _) => Err(Untranslatable::new(
                "generationConfig.responseMimeType",
                format!(
                    "`{mime}` has no equal at this model's provider; use `text/plain` or `application/json`."
                ),
            )),
        }
    }
}

impl ThinkingConfig<'_> {
    fn reasoning(self) -> Reasoning {
        let effort = self.thinking_level.and_then(|level| match level.to_ascii_uppercase().as_str() {
            "MINIMAL" => Some(Effort::Minimal),
            "LOW" => Some(Effort::Low),
            "MEDIUM" => Some(Effort::Medium),
            "HIGH" => Some(Effort::High),
            "XHIGH" => Some(Effort::XHigh),
            _ => None,
        });
        Reasoning {
            effort,
            // Minus one is the model's own choice.
            budget: self.thinking_budget.and_then(|budget| u64::try_from(budget).ok()),
            shown: self.include_thoughts,
            adaptive: self.thinking_budget == Some(-1),
        }
    }
}

/// OpenAI's word for Google's `serviceTier`.
pub fn tier(tier: Str<'_>) -> Option<Str<'_>> {
    match tier.to_ascii_lowercase().as_str() {
        "standard" => Some("default".into()),
        "flex" => Some("flex".into()),
        "priority" => Some("priority".into()),
        _ => None,
    }
}
