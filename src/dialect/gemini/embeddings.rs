//! OpenAI's embeddings at Google's hosts.
//!
//! Three operations do the same: AI Studio's `batchEmbedContents` for all models; on Vertex `predict` for the older
//! ones, and `embedContent`, one text at a time, from gemini-embedding-2 on. OpenAI's clients ask for base64 of
//! little-endian 32-bit floats unless told otherwise. Where the host counts no tokens, the answer says 0 and the
//! caller gets no usage, so that it may estimate.
//!
//! Sources: ai.google.dev/api/embeddings; cloud.google.com text-embeddings API and EmbedContentRequest of aiplatform
//! v1; platform.openai.com embeddings reference; recorded traffic.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::dialect::conversation::Untranslatable;
use crate::dialect::fault;
use crate::dialect::gemini::media;
use crate::dialect::json::{OneOrMany, Str};
use crate::dialect::{self, Composed, Target, Unreadable};
use crate::llm::usage::Usage;

/// What to call for a model's embeddings.
pub fn operation(model: &str, vertex: bool) -> &'static str {
    match vertex {
        false => "batchEmbedContents",
        true if is_second(model) => "embedContent",
        true => "predict",
    }
}

fn is_second(model: &str) -> bool {
    let version = model.split_once("gemini-embedding-").map(|(_, rest)| rest);
    // The first is called 001.
    version.is_some_and(|version| !version.starts_with('0'))
}

/// Composes Google's request from OpenAI's, with what will write the answer.
pub fn compose(body: &str, target: &Target) -> Result<(Composed, EmbeddingsWriter), Untranslatable> {
    let request: Request = fault::read(body)?;
    let base64 = match request.encoding_format.as_deref() {
        None | Some("float") => false,
        Some("base64") => true,
        Some(_) => return Err(Untranslatable::new("encoding_format", "Use `float` or `base64`.")),
    };
    let texts = texts(&request)?;
    let nothing = Bytes::new();
    let body = match (operation(target.model, target.habits.vertex), texts.as_slice()) {
        ("predict", _) => dialect::body(&Predict::new(&texts, request.dimensions), &nothing),
        ("embedContent", [text]) => dialect::body(&EmbedContent::new(text, request.dimensions), &nothing),
        ("embedContent", _) => {
            return Err(Untranslatable::new("input", "This model takes one text at a time; send one."))
        }
        _ => dialect::body(&Batch::new(&texts, request.dimensions, target.model), &nothing),
    }?;
    let writer = EmbeddingsWriter { model: target.model.to_owned(), base64 };
    Ok((Composed { body, ..Composed::default() }, writer))
}

#[derive(Deserialize)]
struct Request<'a> {
    #[serde(borrow)]
    input: Option<OneOrMany<'a, &'a RawValue>>,
    #[serde(borrow)]
    encoding_format: Option<Str<'a>>,
    dimensions: Option<u32>,
}

fn texts<'r>(request: &'r Request) -> Result<Vec<Str<'r>>, Untranslatable> {
    let refused = |why| Err(Untranslatable::new("input", why));
    match &request.input {
        Some(OneOrMany::Text(text)) => Ok(vec![text.clone()]),
        Some(OneOrMany::Many(items)) if !items.is_empty() => items
            .iter()
            .map(|item| serde_json::from_str(item.get()))
            .collect::<Result<_, _>>()
            .or_else(|_| refused("Gemini embeds texts only, not tokens; send texts.")),
        _ => refused("There is nothing to embed; send a text or a list of texts."),
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Batch<'a> {
    requests: Vec<BatchItem<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct BatchItem<'a> {
    model: String,
    content: Content<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_dimensionality: Option<u32>,
}

#[derive(Serialize)]
struct Content<'a> {
    parts: [Part<'a>; 1],
}

#[derive(Serialize)]
struct Part<'a> {
    text: &'a str,
}

impl<'a> Content<'a> {
    fn new(text: &'a str) -> Self {
        Self { parts: [Part { text }] }
    }
}

impl<'a> Batch<'a> {
    fn new(texts: &'a [Str<'a>], dimensions: Option<u32>, model: &str) -> Self {
        let model = format!("models/{}", model.trim_start_matches("models/"));
        let item = |text: &'a Str<'a>| BatchItem {
            model: model.clone(),
            content: Content::new(text),
            output_dimensionality: dimensions,
        };
        Self { requests: texts.iter().map(item).collect() }
    }
}

#[derive(Serialize)]
struct Predict<'a> {
    instances: Vec<Instance<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<Parameters>,
}

#[derive(Serialize)]
struct Instance<'a> {
    content: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Parameters {
    output_dimensionality: u32,
}

impl<'a> Predict<'a> {
    fn new(texts: &'a [Str<'a>], dimensions: Option<u32>) -> Self {
        let instances = texts.iter().map(|content| Instance { content }).collect();
        let parameters = dimensions.map(|output_dimensionality| Parameters { output_dimensionality });
        Self { instances, parameters }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct EmbedContent<'a> {
    content: Content<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    embed_content_config: Option<Parameters>,
}

impl<'a> EmbedContent<'a> {
    fn new(text: &'a str, dimensions: Option<u32>) -> Self {
        let embed_content_config =
            dimensions.map(|output_dimensionality| Parameters { output_dimensionality });
        Self { content: Content::new(text), embed_content_config }
    }
}

/// Writes the answer as OpenAI has it.
#[derive(Clone, Debug)]
pub struct EmbeddingsWriter {
    model: String,
    base64: bool,
}

/// Any of the three answers.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer<'a> {
    #[serde(borrow)]
    embeddings: Option<Vec<Embedding<'a>>>,
    #[serde(borrow)]
    predictions: Option<Vec<Prediction<'a>>>,
    #[serde(borrow)]
    embedding: Option<Embedding<'a>>,
    usage_metadata: Option<Counts>,
}

#[derive(Deserialize)]
struct Prediction<'a> {
    #[serde(borrow)]
    embeddings: Embedding<'a>,
}

#[derive(Deserialize)]
struct Embedding<'a> {
    #[serde(borrow)]
    values: &'a RawValue,
    statistics: Option<Statistics>,
}

#[derive(Deserialize)]
struct Statistics {
    token_count: Option<f64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Counts {
    prompt_token_count: Option<u64>,
}

#[derive(Serialize)]
struct List<'a> {
    object: &'a str,
    data: Vec<Item<'a>>,
    model: &'a str,
    usage: Tokens,
}

#[derive(Serialize)]
struct Item<'a> {
    object: &'a str,
    index: usize,
    embedding: Values,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Values {
    Floats(Vec<f32>),
    Base64(String),
}

#[derive(Serialize)]
struct Tokens {
    prompt_tokens: u64,
    total_tokens: u64,
}

impl EmbeddingsWriter {
    /// The same, but the answer names its model `name`, if there is one.
    pub fn named(self, name: Option<&str>) -> Self {
        Self { model: name.map_or(self.model, str::to_owned), ..self }
    }

    /// The body for the client, and what it cost where the host says it.
    pub fn whole(&self, provider_body: &[u8]) -> Result<(Vec<u8>, Option<Usage>), Unreadable> {
        let answer: Answer = serde_json::from_slice(provider_body).map_err(|_| Unreadable)?;
        let counted = answer.usage_metadata.and_then(|counts| counts.prompt_token_count);
        let predictions = answer.predictions.into_iter().flatten().map(|prediction| prediction.embeddings);
        let embeddings: Vec<Embedding> =
            answer.embeddings.into_iter().flatten().chain(predictions).chain(answer.embedding).collect();
        if embeddings.is_empty() {
            return Err(Unreadable);
        }
        let prompt = counted.or_else(|| statistics(&embeddings));
        let data = embeddings.iter().enumerate().map(|(index, embedding)| self.item(index, embedding));
        let list = List {
            object: "list",
            data: data.collect::<Result<_, _>>()?,
            model: &self.model,
            usage: Tokens { prompt_tokens: prompt.unwrap_or(0), total_tokens: prompt.unwrap_or(0) },
        };
        let body = serde_json::to_vec(&list).map_err(|_| Unreadable)?;
        Ok((body, prompt.map(|prompt| Usage { prompt, total: prompt, ..Usage::default() })))
    }

    fn item<'a>(&self, index: usize, embedding: &Embedding) -> Result<Item<'a>, Unreadable> {
        let floats: Vec<f32> = serde_json::from_str(embedding.values.get()).map_err(|_| Unreadable)?;
        let embedding = match self.base64 {
            false => Values::Floats(floats),
            true => {
                let bytes: Vec<u8> = floats.iter().flat_map(|float| float.to_le_bytes()).collect();
                Values::Base64(media::encode(&bytes))
            }
        };
        Ok(Item { object: "embedding", index, embedding })
    }
}

/// Vertex counts the tokens of each text, as a float.
fn statistics(embeddings: &[Embedding]) -> Option<u64> {
    let counts = embeddings.iter().map(|embedding| embedding.statistics.as_ref()?.token_count);
    counts.sum::<Option<f64>>().map(|count| count as u64)
}
