//! OpenAI's pictures at Google's hosts.
//!
//! Two operations draw. Gemini's image models do it in `generateContent`, one picture a call, and also from pictures of
//! the client; Imagen does it in `predict`, up to four at once, from words alone. OpenAI's sizes are pixels and Google's
//! are a shape and a class of resolution: the nearest shape is taken, and a size without one is refused, because half a
//! picture would be missing. `quality` is a wish, not a promise, and so is `moderation`: the first asks for more pixels
//! where the size is left open, the second has no word and is left out. An address (`response_format: url`) would need a
//! place to keep pictures in, and there is none.
//!
//! Sources: ai.google.dev/gemini-api/docs/image-generation and /imagen; cloud.google.com Imagen API and
//! VisionGenerativeModelParams; ImageConfig of aiplatform v1; Google's own clients (which members AI Studio lacks);
//! platform.openai.com images reference.

use std::borrow::Cow;

use bytes::Bytes;
use serde::Serialize;

use super::generation::Model;
use super::media;
use super::parts::{Blob, Content, File, OutPart};
use crate::dialect::conversation::Untranslatable;
use crate::dialect::json::Words;
use crate::dialect::{self, Composed, Target};

mod answer;
mod request;
mod size;

pub use answer::ImagesWriter;
use request::{Picture, Request};
use size::{Size, GEMINI, IMAGEN};

/// More in one call is a 400 at Google.
const MOST_IMAGENS: u32 = 4;

/// What to call to have a model draw; none where it cannot draw from pictures, and these are what it is to `edit`.
pub fn operation(model: &str, edit: bool) -> Option<&'static str> {
    match (is_imagen(model), edit) {
        (false, _) => Some("generateContent"),
        (true, false) => Some("predict"),
        (true, true) => None,
    }
}

fn is_imagen(model: &str) -> bool {
    let name = model.rsplit('/').next().unwrap_or(model);
    name.starts_with("imagen") || name.starts_with("imagegeneration")
}

/// Composes Google's request from OpenAI's, with what will write the answer. `form`: the content type of a body that is
/// a form; any other is JSON. `created`: now, in seconds since 1970.
///
/// # Errors
/// Google has no words for it.
pub fn compose(
    body: &Bytes,
    form: Option<&str>,
    target: &Target,
    created: u64,
) -> Result<(Composed, ImagesWriter), Untranslatable> {
    let request = match form {
        Some(kind) => Request::of_form(kind, body),
        None => Request::of_json(body),
    }?;
    request.check()?;
    let body = match is_imagen(target.model) {
        true => dialect::body(&Predict::new(&request, target)?, body),
        false => dialect::body(&Generate::new(&request, target)?, body),
    }?;
    Ok((Composed { body, ..Composed::default() }, ImagesWriter::new(created)))
}

/// For Gemini's models.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Generate<'a> {
    contents: [Content<'a>; 1],
    generation_config: Config,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Config {
    response_modalities: [&'static str; 1],
    #[serde(skip_serializing_if = "Image::is_empty")]
    image_config: Image,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Image {
    #[serde(skip_serializing_if = "Option::is_none")]
    aspect_ratio: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    image_size: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    image_output_options: Option<Format>,
}

/// For Imagen.
#[derive(Serialize)]
struct Predict<'a> {
    instances: [Instance<'a>; 1],
    parameters: Parameters,
}

#[derive(Serialize)]
struct Instance<'a> {
    prompt: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Parameters {
    sample_count: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    aspect_ratio: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sample_image_size: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_options: Option<Format>,
    /// Without it, a picture that was held back leaves no trace in the answer.
    include_rai_reason: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Format {
    #[serde(skip_serializing_if = "Option::is_none")]
    mime_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    compression_quality: Option<u32>,
}

impl<'a> Generate<'a> {
    fn new(request: &'a Request, target: &Target) -> Result<Self, Untranslatable> {
        if request.asked.n.is_some_and(|n| n > 1) {
            return Err(Untranslatable::new("n", "This model draws one picture a request; ask for one."));
        }
        let format = Format::of(request)?;
        if let (Some(_), false) = (&format, target.habits.vertex) {
            let param =
                if request.asked.output_format.is_some() { "output_format" } else { "output_compression" };
            let why = format!("This host chooses the format of its pictures itself; leave out `{param}`.");
            return Err(Untranslatable::new(param, why));
        }
        let largest = if Model::new(target.model).is_third() { 4 } else { 1 };
        let size = Size::of(&request.asked, &GEMINI, largest)?;
        let text = OutPart::text(Words::Ours(Cow::Borrowed(request.prompt())));
        let parts = std::iter::once(text).chain(request.images.iter().map(part)).collect();
        Ok(Self {
            contents: [Content { role: "user", parts }],
            generation_config: Config {
                response_modalities: ["IMAGE"],
                image_config: Image {
                    aspect_ratio: size.ratio,
                    image_size: size.class,
                    image_output_options: format,
                },
            },
        })
    }
}

fn part<'a>(picture: &'a Picture) -> OutPart<'a> {
    match picture {
        Picture::Inline { mime, data } => {
            OutPart { inline_data: Some(Blob { mime_type: mime, data }), ..OutPart::default() }
        }
        Picture::Url(url) => {
            let mime_type = Some(media::guess(url).unwrap_or("image/jpeg"));
            OutPart { file_data: Some(File { mime_type, file_uri: url }), ..OutPart::default() }
        }
    }
}

impl Image {
    fn is_empty(&self) -> bool {
        self.aspect_ratio.is_none() && self.image_size.is_none() && self.image_output_options.is_none()
    }
}

impl<'a> Predict<'a> {
    fn new(request: &'a Request, target: &Target) -> Result<Self, Untranslatable> {
        let sample_count = request.asked.n.unwrap_or(1);
        if sample_count > MOST_IMAGENS {
            let why = format!("This model draws at most {MOST_IMAGENS} pictures a request; ask for fewer.");
            return Err(Untranslatable::new("n", why));
        }
        let doubles = target.model.contains("imagen-4") && !target.model.contains("fast");
        let size = Size::of(&request.asked, &IMAGEN, if doubles { 2 } else { 1 })?;
        Ok(Self {
            instances: [Instance { prompt: request.prompt() }],
            parameters: Parameters {
                sample_count,
                aspect_ratio: size.ratio,
                sample_image_size: size.class,
                output_options: Format::of(request)?,
                include_rai_reason: true,
            },
        })
    }
}

impl Format {
    fn of(request: &Request) -> Result<Option<Self>, Untranslatable> {
        let mime_type = match request.asked.output_format.as_deref() {
            None => None,
            Some("png") => Some("image/png"),
            Some("jpeg") => Some("image/jpeg"),
            Some(_) => return Err(Untranslatable::new("output_format", "Use `png` or `jpeg`.")),
        };
        let compression_quality = request.asked.output_compression;
        Ok((mime_type.is_some() || compression_quality.is_some())
            .then_some(Self { mime_type, compression_quality }))
    }
}
