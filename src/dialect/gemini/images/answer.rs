//! Google's pictures as OpenAI gives them: `{created, data: [{b64_json}], output_format, usage}`.
//!
//! A picture that a filter held back is the caller's error, with Google's reason and OpenAI's code, so that nobody else
//! is asked to draw it; so is an answer of words, which is how models decline. An answer of neither is a slip: the next
//! try may do better. Imagen leaves out what it held back and gives the rest; only nothing at all is an error.
//! Sources: Candidate, FinishReason and PromptFeedback of generateContent; VisionGenerativeModelResult;
//! platform.openai.com: the image generation response and its errors.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::dialect::gemini::media;
use crate::dialect::gemini::reader::{is_filter, Counts};
use crate::dialect::json::Str;
use crate::dialect::translation::Translated;
use crate::llm::upstream_error::UpstreamError;
use crate::llm::usage::Usage;

/// Writes one answer.
#[derive(Clone, Copy, Debug)]
pub struct ImagesWriter {
    created: u64,
}

/// Of either operation.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer<'a> {
    #[serde(borrow, default)]
    candidates: Vec<Candidate<'a>>,
    #[serde(borrow)]
    prompt_feedback: Option<Feedback<'a>>,
    usage_metadata: Option<Metered>,
    #[serde(borrow, default)]
    predictions: Vec<Prediction<'a>>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Feedback<'a> {
    #[serde(borrow)]
    block_reason: Option<Str<'a>>,
    #[serde(borrow)]
    block_reason_message: Option<Str<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Candidate<'a> {
    #[serde(borrow)]
    content: Option<Content<'a>>,
    #[serde(borrow)]
    finish_reason: Option<Str<'a>>,
    #[serde(borrow)]
    finish_message: Option<Str<'a>>,
}

#[derive(Deserialize)]
struct Content<'a> {
    #[serde(borrow, default)]
    parts: Vec<Part<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Part<'a> {
    #[serde(borrow)]
    text: Option<Str<'a>>,
    /// Drafts are thoughts, too.
    #[serde(default)]
    thought: bool,
    #[serde(borrow)]
    inline_data: Option<Blob<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Blob<'a> {
    #[serde(borrow)]
    mime_type: Str<'a>,
    #[serde(borrow)]
    data: Str<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Prediction<'a> {
    #[serde(borrow)]
    mime_type: Option<Str<'a>>,
    #[serde(borrow)]
    bytes_base64_encoded: Option<Str<'a>>,
    /// As Imagen has rewritten it.
    #[serde(borrow)]
    prompt: Option<Str<'a>>,
    #[serde(borrow)]
    rai_filtered_reason: Option<Str<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metered {
    #[serde(flatten)]
    counts: Counts,
    #[serde(default)]
    prompt_tokens_details: Vec<Modality>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Modality {
    modality: Option<String>,
    #[serde(default)]
    token_count: u64,
}

#[derive(Serialize)]
struct Images<'a> {
    created: u64,
    data: Vec<Image<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_format: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Tokens>,
}

#[derive(Serialize)]
struct Image<'a> {
    b64_json: Str<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    revised_prompt: Option<Str<'a>>,
    #[serde(skip)]
    mime: Option<Str<'a>>,
}

#[derive(Serialize)]
struct Tokens {
    input_tokens: u64,
    input_tokens_details: Details,
    output_tokens: u64,
    total_tokens: u64,
}

#[derive(Serialize)]
struct Details {
    text_tokens: u64,
    image_tokens: u64,
}

impl ImagesWriter {
    /// For an answer of this second since 1970.
    pub fn new(created: u64) -> Self {
        Self { created }
    }

    /// The body for the client, and what it cost where the host says it.
    ///
    /// # Errors
    /// It is no answer (`None`), or an error in the place of one.
    pub fn whole(&self, provider_body: &[u8]) -> Result<Translated, Option<UpstreamError>> {
        let mut answer: Answer = serde_json::from_slice(provider_body).map_err(|_| None)?;
        let data = answer.images();
        if data.is_empty() {
            return Err(answer.refusal().or_else(|| {
                let told = answer.error.is_some() || !answer.candidates.is_empty();
                told.then(|| UpstreamError::in_stream(provider_body))
            }));
        }
        let usage = answer.usage_metadata.as_ref().and_then(|metered| metered.counts.usage());
        let mime = data.first().and_then(|image| image.mime.as_deref());
        let format = mime.and_then(|mime| mime.strip_prefix("image/")).map(str::to_owned);
        let images = Images {
            created: self.created,
            output_format: format,
            usage: usage.map(|usage| Tokens::new(usage, answer.usage_metadata.as_ref())),
            data,
        };
        let body = serde_json::to_vec(&images).map_err(|_| None)?;
        Ok(Translated { body, usage, signatures: Vec::new() })
    }
}

impl<'a> Answer<'a> {
    /// Takes the pictures out.
    fn images(&mut self) -> Vec<Image<'a>> {
        let parts = self.candidates.iter_mut().filter_map(|candidate| candidate.content.as_mut());
        let shown = parts.flat_map(|content| &mut content.parts).filter(|part| !part.thought);
        let blobs = shown.filter_map(|part| part.inline_data.take());
        let drawn = blobs.filter(|blob| blob.mime_type.starts_with("image/")).map(|blob| Image {
            b64_json: media::base64(blob.data),
            revised_prompt: None,
            mime: Some(blob.mime_type),
        });
        let predicted = self.predictions.iter_mut().filter_map(|prediction| {
            Some(Image {
                b64_json: prediction.bytes_base64_encoded.take()?,
                revised_prompt: prediction.prompt.take(),
                mime: prediction.mime_type.take(),
            })
        });
        drawn.chain(predicted).collect()
    }

    /// Why there is none, where it is the caller's doing.
    fn refusal(&self) -> Option<UpstreamError> {
        let blocked = self.prompt_feedback.as_ref().and_then(|feedback| {
            Some(reasoned(feedback.block_reason.as_deref()?, feedback.block_reason_message.as_deref()))
        });
        let ended = || {
            self.candidates.iter().find_map(|candidate| {
                let reason = candidate.finish_reason.as_deref().filter(|reason| holds_back(reason))?;
                Some(reasoned(reason, candidate.finish_message.as_deref()))
            })
        };
        let held_back =
            || self.predictions.iter().find_map(|prediction| prediction.rai_filtered_reason.as_deref());
        let why = blocked.or_else(ended).or_else(|| held_back().map(str::to_owned));
        let filtered = why.map(|why| UpstreamError {
            code: Some("moderation_blocked".into()),
            ..callers(format!("The provider's safety system held the picture back: {why}"))
        });
        filtered.or_else(|| {
            let said = self.words();
            (!said.is_empty())
                .then(|| callers(format!("The model answered in words and drew nothing: {said}")))
        })
    }

    fn words(&self) -> String {
        let contents = self.candidates.iter().filter_map(|candidate| candidate.content.as_ref());
        let parts = contents.flat_map(|content| &content.parts).filter(|part| !part.thought);
        let words: Vec<&str> = parts.filter_map(|part| part.text.as_deref()).collect();
        words.concat().trim().chars().take(400).collect()
    }
}

/// Whether a picture was held back for what it is; of `NO_IMAGE` and the like nobody knows why, and nobody is to blame.
fn holds_back(reason: &str) -> bool {
    is_filter(reason) && !matches!(reason, "NO_IMAGE" | "OTHER" | "IMAGE_OTHER")
}

fn reasoned(reason: &str, more: Option<&str>) -> String {
    match more {
        Some(more) => format!("{reason}. {more}"),
        None => reason.to_owned(),
    }
}

fn callers(message: String) -> UpstreamError {
    UpstreamError {
        status: 400,
        message,
        kind: Some("image_generation_user_error".into()),
        ..UpstreamError::default()
    }
}

impl Tokens {
    fn new(usage: Usage, metered: Option<&Metered>) -> Self {
        let details = metered.map(|metered| metered.prompt_tokens_details.as_slice()).unwrap_or_default();
        let of_images = details.iter().filter(|part| part.modality.as_deref() == Some("IMAGE"));
        let image_tokens = of_images.map(|part| part.token_count).fold(0, u64::saturating_add);
        Self {
            input_tokens: usage.prompt,
            input_tokens_details: Details {
                text_tokens: usage.prompt.saturating_sub(image_tokens),
                image_tokens,
            },
            output_tokens: usage.completion,
            total_tokens: usage.total,
        }
    }
}
