//! Pictures and documents as Anthropic takes them: pictures of four kinds, PDF, and plain text as text.
//!
//! On Google Cloud no address is fetched. A text file that comes as base64 is decoded, since only PDF may stay so.
//! Sources: API reference (image and document blocks), build-with-claude/vision and pdf-support of platform.claude.com.

use super::body::{Kind, Source as Written};
use crate::dialect::conversation::{Source, Untranslatable};

/// A picture.
pub fn picture<'a>(source: &'a Source, vertex: bool) -> Result<Written<'a>, Untranslatable> {
    match source {
        Source::Inline { mime, data } => match mime.to_ascii_lowercase().as_str() {
            "image/jpeg" | "image/jpg" => Ok(Written::Base64 { media_type: "image/jpeg", data }),
            "image/png" => Ok(Written::Base64 { media_type: "image/png", data }),
            "image/gif" => Ok(Written::Base64 { media_type: "image/gif", data }),
            "image/webp" => Ok(Written::Base64 { media_type: "image/webp", data }),
            _ => Err(refused("Claude takes pictures as JPEG, PNG, GIF or WebP only.")),
        },
        Source::Text(_) => Err(refused("A picture cannot be plain text.")),
        Source::Url { url, .. } => address(url, vertex),
        Source::File(id) => file(id, vertex),
    }
}

/// A document.
pub fn document<'a>(
    source: &'a Source,
    title: Option<&'a str>,
    vertex: bool,
) -> Result<Kind<'a>, Untranslatable> {
    let source = match source {
        Source::Inline { mime, data } => match mime.to_ascii_lowercase().as_str() {
            "application/pdf" => Written::Base64 { media_type: "application/pdf", data },
            mime if mime.starts_with("image/") => {
                return Ok(Kind::Image { source: picture(source, vertex)? });
            }
            mime if mime.starts_with("text/") || mime == "application/json" => {
                let text = decoded(data).ok_or_else(|| refused("The text file is not base64 of UTF-8."))?;
                Written::Text { media_type: "text/plain", data: text.into() }
            }
            _ => return Err(refused("Claude takes files that are PDF, text or pictures only.")),
        },
        Source::Text(text) => Written::Text { media_type: "text/plain", data: text.into() },
        Source::Url { url, .. } => address(url, vertex)?,
        Source::File(id) => file(id, vertex)?,
    };
    Ok(Kind::Document { source, title: title.filter(|title| !title.trim().is_empty()) })
}

fn address(url: &str, vertex: bool) -> Result<Written<'_>, Untranslatable> {
    match url.starts_with("https://") || url.starts_with("http://") {
        true if vertex => {
            Err(refused("Claude on Google Cloud fetches no addresses: send the bytes as base64."))
        }
        true => Ok(Written::Url { url }),
        false => Err(refused("Claude fetches http and https addresses only: send the bytes as base64.")),
    }
}

/// Anthropic's ids begin so; OpenAI's with `file-`.
fn file(id: &str, vertex: bool) -> Result<Written<'_>, Untranslatable> {
    match id.starts_with("file_") && !vertex {
        true => Ok(Written::File { file_id: id }),
        false => Err(refused("The file lies in another provider's store: send its bytes as base64.")),
    }
}

fn refused(why: &str) -> Untranslatable {
    Untranslatable::new("messages", why)
}

/// The text of base64, of either alphabet.
fn decoded(data: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(data.len() / 4 * 3);
    let (mut bits, mut held) = (0u32, 0);
    for byte in data.trim_end_matches('=').bytes() {
        let digit = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(digit);
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held & 0xff) as u8);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_files_are_decoded() {
        assert_eq!(decoded("").as_deref(), Some(""));
        assert_eq!(decoded("YQ==").as_deref(), Some("a"));
        assert_eq!(decoded("w6TDtsO8").as_deref(), Some("äöü"));
        assert_eq!(decoded("Pz8_").as_deref(), decoded("Pz8/").as_deref());
        assert_eq!(decoded("a b"), None);
        assert_eq!(decoded("/w=="), None);
    }
}
