//! What a message or a tool's result consists of.
//!
//! A part of a kind that is not known is left out, as OpenAI adds kinds faster than clients use them. Pictures and
//! files are borrowed from the body, whether they came as a data URL, as an address or as an id in OpenAI's store.
//!
//! Source: OpenAI API reference, "Input item list" and "Output message".

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::request::member;
use crate::dialect::conversation::{Cache, Part, Source, Untranslatable, What};
use crate::dialect::fault::{self, TextOrList};
use crate::dialect::json::{Str, Text};

/// A part; which members it has is for `type` to say.
#[derive(Deserialize)]
struct Content<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<Str<'a>>,
    text: Option<&'a RawValue>,
    refusal: Option<&'a RawValue>,
    image_url: Option<&'a RawValue>,
    file_id: Option<&'a RawValue>,
    file_url: Option<&'a RawValue>,
    file_data: Option<&'a RawValue>,
    filename: Option<&'a RawValue>,
    input_audio: Option<&'a RawValue>,
    prompt_cache_breakpoint: Option<&'a RawValue>,
}

/// `input_audio`.
#[derive(Deserialize)]
struct Audio<'a> {
    #[serde(borrow)]
    data: Str<'a>,
    format: Option<Str<'a>>,
}

/// `prompt_cache_breakpoint`.
#[derive(Deserialize)]
struct Breakpoint<'a> {
    #[serde(borrow)]
    ttl: Option<Str<'a>>,
}

/// The parts of a text or of a list of parts.
pub(super) fn parts<'a>(raw: Option<&'a RawValue>, place: &str) -> Result<Vec<Part<'a>>, Untranslatable> {
    let Some(raw) = raw else { return Ok(Vec::new()) };
    let contents = match fault::text_or_list::<Content>(raw, place)? {
        TextOrList::Text(text) => return Ok(vec![Part::text(text)]),
        TextOrList::List(contents) => contents,
    };
    let mut parts = Vec::with_capacity(contents.len());
    for (number, content) in contents.iter().enumerate() {
        let place = format!("{place}[{number}]");
        if let Some(what) = content.what(&place)? {
            parts.push(Part { what, cache: content.cache(&place)? });
        }
    }
    Ok(parts)
}

/// The texts of a list of parts, as paragraphs.
pub(super) fn texts<'a>(raw: Option<&'a RawValue>, place: &str) -> Result<Str<'a>, Untranslatable> {
    let mut all = Str::default();
    for part in parts(raw, place)? {
        match part.what {
            What::Text { text, .. } if all.is_empty() => all = text.into_plain(),
            What::Text { text, .. } => all.0.to_mut().extend(["\n\n", &*text]),
            _ => {}
        }
    }
    Ok(all)
}

impl<'a> Content<'a> {
    fn what(&self, place: &str) -> Result<Option<What<'a>>, Untranslatable> {
        let text = |raw, name| member::<Str>(raw, &format!("{place}.{name}"));
        let said = |raw: Option<&'a RawValue>, name| match raw.and_then(Text::of) {
            None => Ok(text(raw, name)?.map(Text::from)),
            kept => Ok(kept),
        };
        Ok(match self.kind.as_deref().unwrap_or("input_text") {
            "input_text" | "output_text" | "text" | "summary_text" | "reasoning_text" => {
                said(self.text, "text")?.map(|text| What::Text { text, signature: None })
            }
            "refusal" => said(self.refusal, "refusal")?.map(What::Refusal),
            "input_image" | "computer_screenshot" => {
                let url = text(self.image_url, "image_url")?;
                let source = match url.map(|url| address(url, place)).transpose()? {
                    None => text(self.file_id, "file_id")?.map(Source::File),
                    found => found,
                };
                Some(What::Image(found(source, place, "`image_url` nor `file_id`")?))
            }
            "input_file" => Some(self.document(place)?),
            "input_audio" => {
                let audio: Option<Audio> = member(self.input_audio, &format!("{place}.input_audio"))?;
                audio.map(|audio| {
                    let mime = match audio.format.as_deref() {
                        Some("mp3") => "audio/mpeg".into(),
                        Some(format) => format!("audio/{format}").into(),
                        None => "audio/wav".into(),
                    };
                    What::Audio(Source::Inline { mime, data: audio.data })
                })
            }
            _ => None,
        })
    }

    fn document(&self, place: &str) -> Result<What<'a>, Untranslatable> {
        let text = |raw, name| member::<Str>(raw, &format!("{place}.{name}"));
        let source = if let Some(data) = text(self.file_data, "file_data")? {
            Some(if data.starts_with("data:") {
                address(data, place)?
            } else {
                Source::Inline { mime: "application/pdf".into(), data }
            })
        } else if let Some(url) = text(self.file_url, "file_url")? {
            Some(address(url, place)?)
        } else {
            text(self.file_id, "file_id")?.map(Source::File)
        };
        let source = found(source, place, "`file_data`, `file_url` nor `file_id`")?;
        Ok(What::Document { source, name: text(self.filename, "filename")? })
    }

    fn cache(&self, place: &str) -> Result<Option<Cache>, Untranslatable> {
        let place = format!("{place}.prompt_cache_breakpoint");
        let mark: Option<Breakpoint> = member(self.prompt_cache_breakpoint, &place)?;
        Ok(mark.map(|mark| if mark.ttl.as_deref() == Some("12h") { Cache::Long } else { Cache::Short }))
    }
}

/// An address, or the data that stands in its place.
fn address<'a>(url: Str<'a>, place: &str) -> Result<Source<'a>, Untranslatable> {
    let inline = match &url.0 {
        Cow::Borrowed(url) => data_url(url).map(|(mime, data)| (mime.into(), data.into())),
        Cow::Owned(url) => data_url(url).map(|(mime, data)| (mime.to_owned().into(), data.to_owned().into())),
    };
    match inline {
        Some((mime, data)) => Ok(Source::Inline { mime, data: unspaced(data) }),
        None if url.starts_with("data:") => {
            Err(Untranslatable::new(place, format!("`{place}` has a data URL that is not base64.")))
        }
        None => Ok(Source::Url { url, mime: None }),
    }
}

/// The type and the bytes of a base64 data URL.
fn data_url(url: &str) -> Option<(&str, &str)> {
    let (kind, data) = url.strip_prefix("data:")?.split_once(',')?;
    let kind = kind.strip_suffix(";base64")?;
    Some((kind.split_once(';').map_or(kind, |(mime, _)| mime), data))
}

/// A JSON string that is borrowed can have no white space but blanks.
fn unspaced(data: Str<'_>) -> Str<'_> {
    match data.0 {
        Cow::Borrowed(data) if memchr::memchr(b' ', data.as_bytes()).is_none() => data.into(),
        data => data.split_ascii_whitespace().collect::<String>().into(),
    }
}

fn found<'a>(source: Option<Source<'a>>, place: &str, missing: &str) -> Result<Source<'a>, Untranslatable> {
    source.ok_or_else(|| Untranslatable::new(place, format!("`{place}` has neither {missing}.")))
}
