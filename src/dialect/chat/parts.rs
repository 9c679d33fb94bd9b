//! The parts of a chat message, as clients send them.
//!
//! Shapes after OpenAI's API reference (text, image_url, input_audio, file, refusal; `prompt_cache_breakpoint` on any
//! of them). Clients of aggregators add two words of their own, kept here because they cost a line each: `cache_control`
//! (Anthropic's, as LiteLLM and OpenRouter take it) and `video_url` (OpenRouter). A part of an unknown kind is left
//! out. Data URLs (RFC 2397) are cut, never copied.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::dialect::conversation::{Cache, Part, Source, Untranslatable, What};
use crate::dialect::fault::{self, TextOrList};
use crate::dialect::json::{OneOrMany, Str, Text};

/// A part. Which members count, `type` says.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct PartIn<'a> {
    #[serde(rename = "type", borrow)]
    kind: Option<Str<'a>>,
    text: Option<&'a RawValue>,
    refusal: Option<Str<'a>>,
    image_url: Option<OneOrMany<'a, Address<'a>>>,
    video_url: Option<OneOrMany<'a, Address<'a>>>,
    input_audio: Option<Audio<'a>>,
    file: Option<File<'a>>,
    prompt_cache_breakpoint: Option<Mark<'a>>,
    cache_control: Option<Mark<'a>>,
}

/// `{"url":..}`; some clients send the bare address.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Address<'a> {
    #[serde(borrow)]
    url: Str<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Audio<'a> {
    #[serde(borrow)]
    data: Str<'a>,
    format: Str<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct File<'a> {
    #[serde(borrow)]
    file_data: Option<Str<'a>>,
    file_id: Option<Str<'a>>,
    filename: Option<Str<'a>>,
}

/// A cache mark: OpenAI's has a ttl of `30m` or `12h`, Anthropic's of `5m` or `1h`.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Mark<'a> {
    #[serde(borrow)]
    ttl: Option<Str<'a>>,
}

impl Mark<'_> {
    pub(super) fn cache(&self) -> Cache {
        match self.ttl.as_deref() {
            Some("12h" | "1h" | "24h") => Cache::Long,
            _ => Cache::Short,
        }
    }
}

/// The parts of a message's `content`. `place` is the message's path.
pub(super) fn read<'a>(content: Option<&'a RawValue>, place: &str) -> Result<Vec<Part<'a>>, Untranslatable> {
    let Some(content) = content else { return Ok(Vec::new()) };
    let place = format!("{place}.content");
    match fault::text_or_list::<PartIn>(content, &place)? {
        TextOrList::Text(text) if text.is_empty() => Ok(Vec::new()),
        TextOrList::Text(text) => Ok(vec![Part::text(text)]),
        TextOrList::List(many) => listed(many, &place),
    }
}

/// The parts of the list at `place`.
pub(super) fn listed<'a>(many: Vec<PartIn<'a>>, place: &str) -> Result<Vec<Part<'a>>, Untranslatable> {
    (0..)
        .zip(many)
        .filter_map(|(number, part)| part.read(|| format!("{place}[{number}]")).transpose())
        .collect()
}

impl<'a> PartIn<'a> {
    fn read(self, place: impl Fn() -> String) -> Result<Option<Part<'a>>, Untranslatable> {
        let cache = self.cache_control.as_ref().or(self.prompt_cache_breakpoint.as_ref()).map(Mark::cache);
        let kind = self.kind.unwrap_or("text".into());
        let what = match &*kind {
            "text" => self.text.and_then(Text::of).map(|text| What::Text { text, signature: None }),
            "refusal" => self.refusal.map(|text| What::Refusal(text.into())),
            "image_url" => address(self.image_url).map(What::Image),
            "video_url" => address(self.video_url).map(What::Video),
            "input_audio" => self.input_audio.map(Audio::sound),
            "file" => self.file.and_then(File::document),
            _ => return Ok(None),
        };
        what.map(|what| Some(Part { what, cache })).ok_or_else(|| {
            let why =
                format!("This `{}` part does not hold what its type says, or not in a known form.", &*kind);
            Untranslatable::new(format!("{}.{}", place(), &*kind), why)
        })
    }
}

fn address<'a>(address: Option<OneOrMany<'a, Address<'a>>>) -> Option<Source<'a>> {
    let url = match address? {
        OneOrMany::Text(url) => url,
        OneOrMany::Many(addresses) => addresses.into_iter().next()?.url,
    };
    source(url)
}

impl<'a> Audio<'a> {
    fn sound(self) -> What<'a> {
        let mime = match &*self.format {
            "mp3" => "audio/mpeg".into(),
            "" | "wav" => "audio/wav".into(),
            other => Str::from(format!("audio/{other}")),
        };
        What::Audio(Source::Inline { mime, data: self.data })
    }
}

impl<'a> File<'a> {
    fn document(self) -> Option<What<'a>> {
        let source = match (self.file_data, self.file_id) {
            (Some(data), _) if data.starts_with("data:") || data.contains("://") => source(data)?,
            // Bare base64: OpenAI takes PDFs only.
            (Some(data), _) => Source::Inline { mime: "application/pdf".into(), data },
            (None, Some(id)) => Source::File(id),
            (None, None) => return None,
        };
        Some(What::Document { source, name: self.filename })
    }
}

/// What an address stands for: `data:` holds it. `None` where it is empty, or data that is not base64.
pub(super) fn source(url: Str<'_>) -> Option<Source<'_>> {
    let Some(rest) = url.strip_prefix("data:") else {
        return (!url.is_empty()).then_some(Source::Url { url, mime: None });
    };
    let (kind, data) = rest.split_once(',')?;
    let mime = kind.strip_suffix(";base64")?.split(';').next()?;
    let data_start = url.len() - data.len();
    let mime = match mime {
        "" => "text/plain".into(),
        mime => cut(&url, "data:".len(), "data:".len() + mime.len())?,
    };
    Some(Source::Inline { mime, data: cut(&url, data_start, url.len())? })
}

/// A part of a text, borrowed as far as the text is.
fn cut<'a>(text: &Str<'a>, from: usize, to: usize) -> Option<Str<'a>> {
    match &text.0 {
        Cow::Borrowed(text) => text.get(from..to).map(Str::from),
        Cow::Owned(text) => text.get(from..to).map(|part| part.to_owned().into()),
    }
}
