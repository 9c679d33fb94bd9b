//! What OpenAI's clients ask for when they ask for a picture: JSON, or a form where pictures come along.
//!
//! Sources: platform.openai.com, images: create image and create image edit (whose JSON has `images`, and whose forms
//! have `image` or `image[]`).

use std::borrow::Cow;

use serde::de::IgnoredAny;
use serde::Deserialize;

use crate::dialect::conversation::Untranslatable;
use crate::dialect::fault;
use crate::dialect::gemini::media;
use crate::dialect::json::Str;
use crate::llm::multipart::{self, Part};

/// The request, as far as a provider can be told of it.
#[derive(Default)]
pub struct Request<'a> {
    /// What both have in common.
    pub asked: Asked<'a>,
    /// What is to be drawn from.
    pub images: Vec<Picture<'a>>,
}

/// A picture of the client.
pub enum Picture<'a> {
    /// Its bytes.
    Inline {
        /// Such as `image/png`.
        mime: Cow<'a, str>,
        /// Base64.
        data: Cow<'a, str>,
    },
    /// Its address.
    Url(Cow<'a, str>),
}

/// The members that JSON and forms share.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Asked<'a> {
    #[serde(borrow)]
    prompt: Option<Str<'a>>,
    /// How many.
    pub n: Option<u32>,
    /// `auto` or pixels.
    pub size: Option<Str<'a>>,
    /// A wish.
    pub quality: Option<Str<'a>>,
    response_format: Option<Str<'a>>,
    /// `png`, `jpeg`, `webp`.
    pub output_format: Option<Str<'a>>,
    /// Percent.
    pub output_compression: Option<u32>,
    background: Option<Str<'a>>,
    style: Option<Str<'a>>,
    stream: Option<bool>,
    images: Vec<Reference<'a>>,
    mask: Option<IgnoredAny>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Reference<'a> {
    #[serde(borrow)]
    image_url: Option<Str<'a>>,
}

impl<'a> Request<'a> {
    /// Reads JSON.
    pub fn of_json(body: &'a [u8]) -> Result<Self, Untranslatable> {
        let text = std::str::from_utf8(body)
            .map_err(|_| Untranslatable::new("", "The request body is not valid UTF-8."))?;
        let mut asked: Asked = fault::read(text)?;
        let images = std::mem::take(&mut asked.images).into_iter().enumerate();
        let images = images.map(|(number, image)| image.picture(number)).collect::<Result<_, _>>()?;
        Ok(Self { asked, images })
    }

    /// Reads a form of this content type.
    pub fn of_form(kind: &str, body: &'a [u8]) -> Result<Self, Untranslatable> {
        let parts = multipart::parts(kind, body).map_err(|bad| Untranslatable::new("", bad.message))?;
        let mut request = Self::default();
        for part in parts {
            request.field(&part)?;
        }
        Ok(request)
    }

    fn field(&mut self, part: &Part<'a>) -> Result<(), Untranslatable> {
        let asked = &mut self.asked;
        let place = match part.name {
            "image" | "image[]" => {
                self.images.push(Picture::of_file(part));
                return Ok(());
            }
            "n" => return number(part).map(|n| asked.n = Some(n)),
            "output_compression" => return number(part).map(|n| asked.output_compression = Some(n)),
            "mask" => {
                asked.mask = Some(IgnoredAny);
                return Ok(());
            }
            "stream" => {
                asked.stream = Some(text(part)? == "true");
                return Ok(());
            }
            "prompt" => &mut asked.prompt,
            "size" => &mut asked.size,
            "quality" => &mut asked.quality,
            "response_format" => &mut asked.response_format,
            "output_format" => &mut asked.output_format,
            "background" => &mut asked.background,
            _ => return Ok(()),
        };
        *place = Some(text(part)?.into());
        Ok(())
    }

    /// What is to be drawn.
    pub fn prompt(&self) -> &str {
        self.asked.prompt.as_deref().unwrap_or_default()
    }

    /// Whether all that is asked for can be had at all.
    ///
    /// # Errors
    /// A member that no model of Google's can do justice to.
    pub fn check(&self) -> Result<(), Untranslatable> {
        let asked = &self.asked;
        let refused = |param: &str, why: &str| Err(Untranslatable::new(param, why));
        if self.prompt().trim().is_empty() {
            return refused("prompt", "There is nothing to draw; say what.");
        }
        if asked.n == Some(0) {
            return refused("n", "Ask for at least one picture.");
        }
        if !matches!(asked.response_format.as_deref(), None | Some("b64_json")) {
            let why = "This model's pictures come in the answer and have no address; use `b64_json`.";
            return refused("response_format", why);
        }
        if !matches!(asked.background.as_deref(), None | Some("auto" | "opaque")) {
            return refused("background", "This model draws no transparent backgrounds; use `opaque`.");
        }
        if asked.stream == Some(true) {
            return refused("stream", "This model shows no picture before it is done; leave out `stream`.");
        }
        if asked.style.is_some() {
            return refused("style", "This model has no styles; describe the style in the prompt.");
        }
        if asked.mask.is_some() {
            return refused("mask", "This model takes no masks; say in the prompt what to change.");
        }
        Ok(())
    }
}

impl<'a> Reference<'a> {
    fn picture(self, number: usize) -> Result<Picture<'a>, Untranslatable> {
        let bad = |why| Untranslatable::new(format!("images[{number}]"), why);
        let url = self.image_url.ok_or_else(|| {
            bad("The provider of this model knows the file of no other; send the picture itself.")
        })?;
        let Some(rest) = url.strip_prefix("data:") else { return Ok(Picture::Url(url.0)) };
        let inline =
            rest.split_once(',').and_then(|(kind, data)| Some((kind.strip_suffix(";base64")?, data)));
        let (mime, data) = inline.ok_or_else(|| bad("The data is not base64."))?;
        let (mime, from) = (mime.to_owned().into(), url.len() - data.len());
        let data = match url.0 {
            Cow::Borrowed(url) => Cow::Borrowed(url.get(from..).unwrap_or_default()),
            Cow::Owned(mut url) => Cow::Owned(url.split_off(from)),
        };
        Ok(Picture::Inline { mime, data })
    }
}

impl<'a> Picture<'a> {
    fn of_file(part: &Part<'a>) -> Self {
        let mime = if part.kind.starts_with("image/") { part.kind } else { "image/png" };
        Self::Inline { mime: mime.into(), data: media::encode(part.content).into() }
    }
}

fn text<'a>(part: &Part<'a>) -> Result<&'a str, Untranslatable> {
    std::str::from_utf8(part.content).map_err(|_| Untranslatable::new(part.name, "It is not valid UTF-8."))
}

fn number(part: &Part) -> Result<u32, Untranslatable> {
    let number = text(part)?.trim().parse();
    number.map_err(|_| Untranslatable::new(part.name, format!("`{}` is no number.", part.name)))
}
