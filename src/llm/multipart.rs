//! Multipart forms (audio transcriptions, image edits): their `model`, and all that they hold.
//!
//! Only delimiters and part heads are looked at; files are jumped over by a substring search. The model is returned
//! with its span, so that it can be replaced in place. RFC 7578 and RFC 2046, section 5.1.

use std::ops::Range;

use memchr::memmem;

use super::request::BadBody;

/// Longer values are no model names.
const MOST_MODEL: usize = 1024;
/// RFC 2046: a boundary has at most 70 characters.
const MOST_BOUNDARY: usize = 70;

/// A field's value, and where it stands in the form.
pub type Field = (String, Range<usize>);

/// A part of a form.
pub struct Part<'b> {
    /// The field's name; empty where the head names none.
    pub name: &'b str,
    /// The content type that its head says, or nothing.
    pub kind: &'b str,
    /// Its bytes.
    pub content: &'b [u8],
    /// Whether it is a file.
    file: bool,
    /// Where its content begins in the form.
    at: usize,
}

/// The value of the form's `model` field and where it stands in `body`; `None` where there is no such field.
/// `content_type` is the whole header value. Two `model` fields, a missing boundary and a form that ends before its
/// closing delimiter are errors.
pub fn model_field(content_type: &str, body: &[u8]) -> Result<Option<Field>, BadBody> {
    let mut found = None;
    for part in parts(content_type, body)? {
        if part.name == "model" && !part.file {
            let span = part.at..part.at + part.content.len();
            if found.replace((value(part.content)?, span)).is_some() {
                return Err(BadBody::member("model", "The form has the field 'model' twice."));
            }
        }
    }
    Ok(found)
}

/// The parts of a form, in their order. `content_type` is the whole header value. A missing boundary and a form that
/// ends before its closing delimiter are errors.
pub fn parts<'b>(content_type: &str, body: &'b [u8]) -> Result<Vec<Part<'b>>, BadBody> {
    let boundary =
        boundary(content_type).ok_or_else(|| BadBody::new("The multipart form has no boundary."))?;
    let delimiter = format!("\r\n--{boundary}");
    let finder = memmem::Finder::new(delimiter.as_bytes());
    let mut parts = Vec::new();
    let mut at = opening(body, &delimiter, &finder)?;
    while !body[at..].starts_with(b"--") {
        let start = at + blanks(&body[at..]);
        let content = start + end_of_head(&body[start..]).ok_or_else(unfinished)?;
        let length = finder.find(&body[content..]).ok_or_else(unfinished)?;
        parts.push(Part::new(&body[start..content], &body[content..content + length], content));
        at = content + length + delimiter.len();
    }
    Ok(parts)
}

impl<'b> Part<'b> {
    fn new(head: &'b [u8], content: &'b [u8], at: usize) -> Self {
        let mut part = Self { name: "", kind: "", content, file: false, at };
        let head = std::str::from_utf8(head).unwrap_or_default();
        for (name, value) in head.split("\r\n").filter_map(|line| line.split_once(':')) {
            match name.trim() {
                name if name.eq_ignore_ascii_case("content-disposition") => part.dispose(value),
                name if name.eq_ignore_ascii_case("content-type") => part.kind = value.trim(),
                _ => {}
            }
        }
        part
    }

    fn dispose(&mut self, disposition: &'b str) {
        let Some((_, mut rest)) = disposition.split_once(';') else { return };
        while let Some((name, after)) = rest.split_once('=') {
            let (value, left) = parameter(after);
            match name.trim() {
                name if name.eq_ignore_ascii_case("name") => self.name = value,
                name if name.eq_ignore_ascii_case("filename") => self.file = true,
                name if name.eq_ignore_ascii_case("filename*") => self.file = true,
                _ => {}
            }
            rest = left;
        }
    }
}

/// Behind the first delimiter, which may stand at the very start or after a preamble.
fn opening(body: &[u8], delimiter: &str, finder: &memmem::Finder) -> Result<usize, BadBody> {
    let first = &delimiter.as_bytes()[2..];
    if body.starts_with(first) {
        return Ok(first.len());
    }
    let at = finder.find(body).ok_or_else(unfinished)?;
    Ok(at + delimiter.len())
}

fn unfinished() -> BadBody {
    BadBody::new("The multipart form ends before its closing boundary.")
}

fn boundary(content_type: &str) -> Option<&str> {
    let (kind, mut rest) = content_type.split_once(';')?;
    if !kind.trim().get(..10)?.eq_ignore_ascii_case("multipart/") {
        return None;
    }
    loop {
        let (name, after) = rest.split_once('=')?;
        let (value, left) = parameter(after);
        if name.trim().eq_ignore_ascii_case("boundary") {
            return (!value.is_empty() && value.len() <= MOST_BOUNDARY).then_some(value);
        }
        rest = left;
    }
}

/// The value at the start of `text`, quoted or not, and what follows its semicolon.
fn parameter(text: &str) -> (&str, &str) {
    if let Some(quoted) = text.trim_start().strip_prefix('"') {
        let (value, rest) = quoted.split_once('"').unwrap_or((quoted, ""));
        return (value, rest.split_once(';').map_or("", |(_, rest)| rest));
    }
    let (value, rest) = text.split_once(';').unwrap_or((text, ""));
    (value.trim(), rest)
}

/// White space and the line end behind a delimiter.
fn blanks(bytes: &[u8]) -> usize {
    let spaces = bytes.iter().take_while(|b| matches!(b, b' ' | b'\t')).count();
    spaces + if bytes[spaces..].starts_with(b"\r\n") { 2 } else { 0 }
}

/// The length of a part's head with its empty line; a part without headers begins with one.
fn end_of_head(part: &[u8]) -> Option<usize> {
    if part.starts_with(b"\r\n") {
        return Some(2);
    }
    memmem::find(part, b"\r\n\r\n").map(|at| at + 4)
}

fn value(bytes: &[u8]) -> Result<String, BadBody> {
    let bad = || BadBody::member("model", "The form's field 'model' is no model name.");
    if bytes.len() > MOST_MODEL {
        return Err(bad());
    }
    let text = std::str::from_utf8(bytes).map_err(|_| bad())?.trim();
    if text.is_empty() || text.chars().any(char::is_control) {
        Err(bad())
    } else {
        Ok(text.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TYPE: &str = "multipart/form-data; charset=utf-8; boundary=\"XyZ\"";

    fn form(parts: &[(&str, &str)]) -> Vec<u8> {
        let mut form = String::new();
        for (head, value) in parts {
            form += &format!("--XyZ\r\nContent-Disposition: form-data; {head}\r\n\r\n{value}\r\n");
        }
        (form + "--XyZ--\r\n").into_bytes()
    }

    #[test]
    fn the_field_is_found_before_and_after_a_file() {
        let file = (
            "name=\"file\"; filename=\"a.wav\"\r\nContent-Type: audio/wav",
            "RIFF--XyZ\r\n\r\nname=\"model\"",
        );
        for body in [
            form(&[("name=\"model\"", "whisper-1"), file]),
            form(&[file, ("name=\"language\"", "en"), ("name=model", "whisper-1")]),
        ] {
            let (name, span) = model_field(TYPE, &body).unwrap().unwrap();
            assert_eq!(name, "whisper-1");
            assert_eq!(&body[span], b"whisper-1");
        }
    }

    #[test]
    fn a_file_called_model_is_no_model() {
        let body = form(&[("name=\"model\"; filename=\"model\"", "x"), ("name=\"xmodel\"", "y")]);
        assert_eq!(model_field(TYPE, &body), Ok(None));
    }

    #[test]
    fn a_form_that_cannot_be_read_is_refused() {
        let good = form(&[("name=\"model\"", "a")]);
        assert!(model_field("multipart/form-data", &good).is_err());
        assert!(model_field("application/json; boundary=XyZ", &good).is_err());
        assert!(model_field(TYPE, &good[..good.len() - 12]).is_err());
        assert!(model_field(TYPE, b"").is_err());
        assert!(model_field(TYPE, &form(&[("name=\"model\"", "a"), ("name=\"model\"", "b")])).is_err());
        assert!(model_field(TYPE, &form(&[("name=\"model\"", "")])).is_err());
        assert_eq!(model_field(TYPE, b"--XyZ--").unwrap(), None);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(body in "(--XyZ|\r\n|model|name=|;|:|\"|a|-|Content-Disposition){0,30}", kind in "(multipart/|;|boundary|=|\"|XyZ|a){0,9}") {
            let _ = model_field(TYPE, body.as_bytes());
            let _ = model_field(&kind, body.as_bytes());
        }
    }
}
