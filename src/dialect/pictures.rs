//! Pictures that a request only names by their address, and the same request with them in it.
//!
//! For an upstream that fetches no addresses, each part with one is replaced where it stands, so that everything else of
//! the body stays the bytes that it was, and so native and translated requests go the same way from here. A picture that
//! could not be had becomes a note to the model, which can then tell its user, where an error would end a long
//! conversation for one dead link in it.
//!
//! Known are chat's `image_url` (with `headers` for the address, which stay here), Messages' `source` of type `url`,
//! Responses' `input_image` and Gemini's `fileData` of type `image/…` that is in no store of Google's. They are looked
//! for where their dialects have them, and no deeper.
//! Sources: API references of OpenAI, Anthropic and Google; `headers`: the original of `inline_images`.

use std::ops::Range;

use bytes::Bytes;
use serde::de::Deserializer;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::json::{Members, OneOrMany, Str};
use crate::llm::body::Edit;
use crate::llm::Wire;

/// No dialect has a picture deeper than this.
const MOST_DEPTH: u8 = 8;
/// More are not looked for.
const MOST_PLACES: usize = 1000;
/// More headers than this are not for a picture.
const MOST_HEADERS: usize = 16;
/// Members on the way to a part.
const ON_THE_WAY: [&str; 6] = ["messages", "input", "contents", "content", "parts", "output"];
/// Where Google keeps files for those who have the key, and films that it alone can read.
const GOOGLES: [&str; 3] = ["generativelanguage.googleapis.com/", "www.youtube.com/", "youtu.be/"];

/// A picture of a request, by its address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// Beginning with `http://` or `https://`, as the client wrote it.
    pub url: String,
    /// Headers for that address: names and values as the client wrote them.
    pub headers: Vec<(String, String)>,
    /// JSON: how closely the model is to look.
    detail: Option<String>,
    shape: Shape,
    /// The part in the body.
    at: Range<usize>,
    /// What is replaced by the picture: a member's value in the part.
    value: Range<usize>,
}

/// A picture as it was fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// Such as `image/png`.
    pub mime: &'static str,
    /// Base64.
    pub data: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    Chat,
    Messages,
    Responses,
    Gemini,
}

/// The pictures that `body` names by address, in order.
pub fn find(wire: Wire, body: &[u8]) -> Vec<Picture> {
    let shape = match wire {
        Wire::Chat => Shape::Chat,
        Wire::Messages => Shape::Messages,
        Wire::Responses => Shape::Responses,
        Wire::Gemini => Shape::Gemini,
        Wire::Completions | Wire::Objects | Wire::Opaque => return Vec::new(),
    };
    let Ok(root) = serde_json::from_slice::<&RawValue>(body) else { return Vec::new() };
    let mut search = Search { shape, body: body.as_ptr() as usize, found: Vec::new() };
    search.value(root, 0);
    search.found
}

struct Search {
    shape: Shape,
    /// Where the body lies.
    body: usize,
    found: Vec<Picture>,
}

impl Search {
    fn value(&mut self, value: &RawValue, depth: u8) {
        if depth > MOST_DEPTH || self.found.len() >= MOST_PLACES {
            return;
        }
        match value.get().as_bytes().first() {
            Some(b'[') => {
                let items: Vec<&RawValue> = serde_json::from_str(value.get()).unwrap_or_default();
                items.into_iter().for_each(|item| self.value(item, depth + 1));
            }
            Some(b'{') => {
                if let Some(picture) = self.picture(value) {
                    return self.found.push(picture);
                }
                let Ok(Members(members)) = serde_json::from_str(value.get()) else { return };
                for (name, member) in members {
                    if ON_THE_WAY.contains(&&*name) {
                        self.value(member, depth + 1);
                    }
                }
            }
            _ => {}
        }
    }

    fn picture(&self, part: &RawValue) -> Option<Picture> {
        let read: PartIn = serde_json::from_str(part.get()).ok()?;
        let kind = read.kind.as_deref().unwrap_or_default();
        let (value, address) = match self.shape {
            Shape::Chat if kind == "image_url" => (read.image_url?, Address::read(read.image_url?)?),
            Shape::Responses if kind == "input_image" => (read.image_url?, Address::read(read.image_url?)?),
            Shape::Messages if kind == "image" => {
                let address: Address = serde_json::from_str(read.source?.get()).ok()?;
                (read.source?, Some(address).filter(|source| source.kind.as_deref() == Some("url"))?)
            }
            Shape::Gemini => {
                let file: FileData = serde_json::from_str(read.file_data?.get()).ok()?;
                let kept = |url: &str| GOOGLES.iter().any(|host| url.contains(host));
                let picture = file.mime_type.is_some_and(|mime| mime.starts_with("image/"));
                let url = file.file_uri.filter(|url| picture && !kept(url))?;
                (read.file_data?, Address { url, ..Address::default() })
            }
            _ => return None,
        };
        let url = address.url.0.into_owned();
        let scheme = url.get(..8).unwrap_or(&url).to_ascii_lowercase();
        (scheme.starts_with("http://") || scheme.starts_with("https://")).then(|| Picture {
            url,
            headers: address.headers.0,
            detail: address.detail.map(|detail| detail.get().to_owned()),
            shape: self.shape,
            at: self.place(part),
            value: self.place(value),
        })
    }

    fn place(&self, value: &RawValue) -> Range<usize> {
        let start = value.get().as_ptr() as usize - self.body;
        start..start + value.get().len()
    }
}

impl Picture {
    /// The edit that puts it into the body.
    pub fn put(&self, fetched: &Fetched) -> Edit {
        let Fetched { mime, data } = fetched;
        let with = match self.shape {
            Shape::Chat => {
                let detail =
                    self.detail.as_ref().map(|detail| format!(r#","detail":{detail}"#)).unwrap_or_default();
                format!(r#"{{"url":"data:{mime};base64,{data}"{detail}}}"#)
            }
            Shape::Responses => format!(r#""data:{mime};base64,{data}""#),
            Shape::Messages => format!(r#"{{"type":"base64","media_type":"{mime}","data":"{data}"}}"#),
            Shape::Gemini => {
                return self.replaced(format!(r#"{{"inlineData":{{"mimeType":"{mime}","data":"{data}"}}}}"#))
            }
        };
        Edit { at: self.value.clone(), with: with.into() }
    }

    /// The edit that puts a note into its place.
    pub fn note(&self, note: &str) -> Edit {
        let part = match self.shape {
            Shape::Chat | Shape::Messages => json!({"type": "text", "text": note}),
            Shape::Responses => json!({"type": "input_text", "text": note}),
            Shape::Gemini => json!({"text": note}),
        };
        self.replaced(part.to_string())
    }

    fn replaced(&self, part: String) -> Edit {
        Edit { at: self.at.clone(), with: Bytes::from(part) }
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct PartIn<'a> {
    #[serde(rename = "type", borrow)]
    kind: Option<Str<'a>>,
    #[serde(borrow)]
    image_url: Option<&'a RawValue>,
    #[serde(borrow)]
    source: Option<&'a RawValue>,
    #[serde(borrow, rename = "fileData", alias = "file_data")]
    file_data: Option<&'a RawValue>,
}

/// Where a picture is.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Address<'a> {
    #[serde(rename = "type", borrow)]
    kind: Option<Str<'a>>,
    url: Str<'a>,
    detail: Option<&'a RawValue>,
    headers: Headers,
}

impl<'a> Address<'a> {
    /// An object, or the bare address.
    fn read(value: &'a RawValue) -> Option<Self> {
        match serde_json::from_str::<OneOrMany<Address>>(value.get()).ok()? {
            OneOrMany::Text(url) => Some(Self { url, ..Self::default() }),
            OneOrMany::Many(addresses) => addresses.into_iter().next(),
        }
    }
}

#[derive(Deserialize)]
struct FileData<'a> {
    #[serde(borrow, rename = "mimeType", alias = "mime_type")]
    mime_type: Option<Str<'a>>,
    #[serde(borrow, rename = "fileUri", alias = "file_uri")]
    file_uri: Option<Str<'a>>,
}

/// Those of an object whose values are texts.
#[derive(Default)]
struct Headers(Vec<(String, String)>);

impl<'de> Deserialize<'de> for Headers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Members::<serde_json::Value>(named) = Members::deserialize(deserializer)?;
        let texts = named
            .into_iter()
            .filter_map(|(name, value)| Some((name.0.into_owned(), value.as_str()?.to_owned())));
        Ok(Self(texts.take(MOST_HEADERS).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::llm::body::Body;

    /// The body with each picture put in, and with a note for each.
    fn both(wire: Wire, body: &str) -> (String, String) {
        let body = Bytes::copy_from_slice(body.as_bytes());
        let found = find(wire, &body);
        let fetched = Fetched { mime: "image/png", data: "QUJD".into() };
        let text =
            |edits: Vec<Edit>| String::from_utf8(Body::spliced(&body, edits).contiguous().to_vec()).unwrap();
        let put = text(found.iter().map(|picture| picture.put(&fetched)).collect());
        (put, text(found.iter().map(|picture| picture.note("gone")).collect()))
    }

    #[test]
    fn each_dialects_pictures_are_put_in_where_they_stand() {
        for (wire, body, put, note) in [
            (
                Wire::Chat,
                r#"{"messages":[{"role":"user","content":[{"type":"text","text":"a"}, {"type":"image_url","image_url":{"url":"https:\/\/x/a.png","detail":"low","headers":{"a":"b"}}}]}],"x": 1}"#,
                r#"{"messages":[{"role":"user","content":[{"type":"text","text":"a"}, {"type":"image_url","image_url":{"url":"data:image/png;base64,QUJD","detail":"low"}}]}],"x": 1}"#,
                r#"{"messages":[{"role":"user","content":[{"type":"text","text":"a"}, {"text":"gone","type":"text"}]}],"x": 1}"#,
            ),
            (
                Wire::Messages,
                r#"{"messages":[{"content":[{"type":"tool_result","content":[{"type":"image","cache_control":{},"source":{"type":"url","url":"HTTP://x/a"}}]}]}]}"#,
                r#"{"messages":[{"content":[{"type":"tool_result","content":[{"type":"image","cache_control":{},"source":{"type":"base64","media_type":"image/png","data":"QUJD"}}]}]}]}"#,
                r#"{"messages":[{"content":[{"type":"tool_result","content":[{"text":"gone","type":"text"}]}]}]}"#,
            ),
            (
                Wire::Responses,
                r#"{"input":[{"role":"user","content":[{"type":"input_image","detail":"auto","image_url":"https://x/a"}]}]}"#,
                r#"{"input":[{"role":"user","content":[{"type":"input_image","detail":"auto","image_url":"data:image/png;base64,QUJD"}]}]}"#,
                r#"{"input":[{"role":"user","content":[{"text":"gone","type":"input_text"}]}]}"#,
            ),
            (
                Wire::Gemini,
                r#"{"contents":[{"parts":[{"fileData":{"mimeType":"image/png","fileUri":"https://x/a"}}]}]}"#,
                r#"{"contents":[{"parts":[{"inlineData":{"mimeType":"image/png","data":"QUJD"}}]}]}"#,
                r#"{"contents":[{"parts":[{"text":"gone"}]}]}"#,
            ),
        ] {
            assert_eq!(both(wire, body), (put.to_owned(), note.to_owned()), "{wire:?}");
        }
    }

    #[test]
    fn what_is_no_picture_at_an_address_is_left_alone() {
        for (wire, part) in [
            (Wire::Chat, r#"{"type":"image_url","image_url":{"url":"data:image/png;base64,QUJD"}}"#),
            (Wire::Chat, r#"{"type":"image_url","image_url":{"url":"gs://b/o"}}"#),
            (Wire::Chat, r#"{"type":"text","text":"https://x/a.png","image_url":"https://x"}"#),
            (Wire::Chat, r#"{"type":"image_url","image_url":{"url":7}}"#),
            (Wire::Messages, r#"{"type":"image","source":{"type":"file","url":"https://x"}}"#),
            (Wire::Messages, r#"{"type":"document","source":{"type":"url","url":"https://x"}}"#),
            (Wire::Gemini, r#"{"fileData":{"mimeType":"video/mp4","fileUri":"https://x"}}"#),
            (
                Wire::Gemini,
                r#"{"fileData":{"mimeType":"image/png","fileUri":"https://generativelanguage.googleapis.com/v1beta/files/x"}}"#,
            ),
        ] {
            let body =
                format!(r#"{{"messages":[{{"content":[{part}]}}],"contents":[{{"parts":[{part}]}}]}}"#);
            assert_eq!(find(wire, body.as_bytes()), [], "{part}");
        }
    }

    #[test]
    fn headers_go_with_the_address() {
        let body = r#"{"messages":[{"content":[{"type":"image_url","image_url":{"url":"https://x","headers":{"Authorization":"Bearer k","n":7}}}]}]}"#;
        let found = find(Wire::Chat, body.as_bytes());
        assert_eq!(found[0].headers, [("Authorization".to_owned(), "Bearer k".to_owned())]);
    }

    #[test]
    fn a_deep_body_costs_no_more_than_a_flat_one() {
        let deep = format!(
            r#"{{"messages":{}{}}}"#,
            r#"[{"content":"#.repeat(100_000),
            "1".to_owned() + &"}]".repeat(100_000)
        );
        assert_eq!(find(Wire::Chat, deep.as_bytes()), []);
    }
}
