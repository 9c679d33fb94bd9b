//! Pictures, sounds, films and documents: Gemini tells them apart by their MIME type alone.

use std::borrow::Cow;

use crate::dialect::conversation::{Source, What};
use crate::dialect::json::Str;

/// By the ending of an address's path. Formats that Gemini's documentation lists, and the pictures of the web.
const ENDINGS: &[(&str, &str)] = &[
    ("png", "image/png"),
    ("jpg", "image/jpeg"),
    ("jpeg", "image/jpeg"),
    ("webp", "image/webp"),
    ("gif", "image/gif"),
    ("heic", "image/heic"),
    ("heif", "image/heif"),
    ("mp3", "audio/mpeg"),
    ("wav", "audio/wav"),
    ("ogg", "audio/ogg"),
    ("flac", "audio/flac"),
    ("aac", "audio/aac"),
    ("m4a", "audio/mp4"),
    ("mp4", "video/mp4"),
    ("mov", "video/quicktime"),
    ("webm", "video/webm"),
    ("mpeg", "video/mpeg"),
    ("pdf", "application/pdf"),
    ("txt", "text/plain"),
    ("md", "text/markdown"),
    ("csv", "text/csv"),
    ("html", "text/html"),
    ("json", "application/json"),
];

/// The MIME type that an address suggests.
pub fn guess(url: &str) -> Option<&'static str> {
    let path = url.split(['?', '#']).next().unwrap_or_default();
    let ending = path.rsplit('/').next()?.rsplit_once('.')?.1;
    ENDINGS.iter().find(|(known, _)| ending.eq_ignore_ascii_case(known)).map(|(_, mime)| *mime)
}

/// A client's file as what its MIME type says that it is.
pub fn what<'a>(source: Source<'a>, name: Option<Str<'a>>) -> What<'a> {
    let mime: &str = match &source {
        Source::Inline { mime, .. } => mime,
        Source::Url { url, mime } => match mime {
            Some(mime) => mime,
            None if url.contains("youtube.com/") || url.contains("youtu.be/") => "video/mp4",
            None => guess(url).unwrap_or_default(),
        },
        Source::Text(_) | Source::File(_) => "",
    };
    match mime.split('/').next() {
        Some("image") => What::Image(source),
        Some("audio") => What::Audio(source),
        Some("video") => What::Video(source),
        _ => What::Document { source, name },
    }
}

/// Base64 in the usual alphabet: google-genai for Python writes the one for addresses, which only Google reads.
pub fn base64(data: Str<'_>) -> Str<'_> {
    match memchr::memchr2(b'-', b'_', data.as_bytes()) {
        None => data,
        Some(_) => Str(Cow::Owned(
            data.chars()
                .map(|c| match c {
                    '-' => '+',
                    '_' => '/',
                    c => c,
                })
                .collect(),
        )),
    }
}

/// Bytes in base64.
pub fn encode(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let bits =
            group.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
        for digit in 0..4 {
            let index = (bits >> (18 - 6 * digit)) & 63;
            out.push(if digit > group.len() { '=' } else { char::from(ALPHABET[index as usize]) });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_suggests_its_type() {
        assert_eq!(guess("https://x.y/a/B.PNG?size=1.jpg"), Some("image/png"));
        assert_eq!(guess("gs://bucket/talk.mp3"), Some("audio/mpeg"));
        assert_eq!(guess("https://example.com"), None);
        assert_eq!(guess("https://example.com/a.b/c"), None);
    }

    #[test]
    fn base64_for_addresses_becomes_the_usual_one() {
        assert_eq!(&*base64("a-b_c=".into()), "a+b/c=");
        assert!(matches!(base64("a+b/c=".into()).0, Cow::Borrowed(_)));
    }
}
