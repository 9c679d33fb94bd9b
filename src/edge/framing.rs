//! What the bytes of an HTTP/1 answer mean: its head, where its body ends, and whether its connection stays open
//! (RFC 9112, sections 6, 7 and 9).
//!
//! Pure: bytes in, pieces of the body out, at any cut. An answer whose end is not certain still counts, but its
//! connection does not carry another request.

use std::mem::MaybeUninit;

use bytes::Bytes;
use http::header::{HeaderMap, HeaderName, CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderValue, Version};
use pingora::http::ResponseHeader;

use crate::providers::Transport;

const MOST_HEADERS: usize = 256;

/// A whole head. Its values share the memory of `read`.
pub fn parse(read: &Bytes) -> Option<ResponseHeader> {
    let mut fields = [MaybeUninit::uninit(); MOST_HEADERS];
    let mut found = httparse::Response::new(&mut []);
    let mut parser = httparse::ParserConfig::default();
    parser.allow_spaces_after_header_name_in_responses(true);
    let parsed = parser.parse_response_with_uninit_headers(&mut found, read, &mut fields);
    if !parsed.is_ok_and(|parsed| parsed.is_complete()) {
        return None;
    }
    let mut head = ResponseHeader::build_no_case(found.code?, Some(found.headers.len())).ok()?;
    head.set_version(if found.version == Some(0) { Version::HTTP_10 } else { Version::HTTP_11 });
    for field in found.headers.iter() {
        let name = HeaderName::from_bytes(field.name.as_bytes()).ok()?;
        let value = HeaderValue::from_maybe_shared(read.slice_ref(field.value)).ok()?;
        head.append_header(name, value).ok()?;
    }
    Some(head)
}

/// A body on its way.
pub struct Body {
    framing: Framing,
    keeps: bool,
}

enum Framing {
    Length(u64),
    Chunked(Chunked),
    UntilClose,
    Over,
}

impl Body {
    /// Before there is a head.
    pub fn none() -> Self {
        Self { framing: Framing::Over, keeps: false }
    }

    /// All that comes until the connection ends.
    pub fn until_close() -> Self {
        Self { framing: Framing::UntilClose, keeps: false }
    }

    /// Whether the connection may carry another request after this answer.
    pub fn keeps(&self) -> bool {
        self.keeps
    }

    /// The body behind `head`; none where two lengths are given.
    pub fn of(head: &ResponseHeader) -> Option<Self> {
        let length = length(&head.headers)?;
        let coding = head.headers.get_all(TRANSFER_ENCODING).iter().next_back();
        let framing = match (coding, length) {
            _ if matches!(head.status.as_u16(), 100..=199 | 204 | 304) => Framing::Over,
            (Some(coding), _) if last_is_chunked(coding) => Framing::Chunked(Chunked::Size(None)),
            (Some(_), _) | (None, None) => Framing::UntilClose,
            (None, Some(0)) => Framing::Over,
            (None, Some(length)) => Framing::Length(length),
        };
        let twice = coding.is_some() && length.is_some();
        Some(Self { framing, keeps: stays_open(head) && !twice })
    }

    /// Its last byte has come.
    pub fn is_over(&self) -> bool {
        matches!(self.framing, Framing::Over)
    }

    /// The next piece of the body, and how much of what was read it took; nothing read is the end of the connection.
    pub fn take(&mut self, read: &mut [u8]) -> Result<(Bytes, usize), Transport> {
        if read.is_empty() {
            self.keeps = false;
            if matches!(self.framing, Framing::Length(_) | Framing::Chunked(_)) {
                return Err(Transport::Reset);
            }
            self.framing = Framing::Over;
        }
        let (kept, used) = match &mut self.framing {
            Framing::Over => (0, 0),
            Framing::UntilClose => (read.len(), read.len()),
            Framing::Length(left) => {
                let part = read.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= part as u64;
                (part, part)
            }
            Framing::Chunked(state) => state.unframe(read).ok_or(Transport::Malformed)?,
        };
        if matches!(self.framing, Framing::Length(0) | Framing::Chunked(Chunked::Over)) {
            self.framing = Framing::Over;
        }
        Ok((Bytes::copy_from_slice(read.get(..kept).unwrap_or_default()), used))
    }
}

/// Where a chunked body is (RFC 9112 section 7.1).
#[derive(Clone, Copy)]
enum Chunked {
    /// In a size; none before its first digit.
    Size(Option<u64>),
    /// Behind a size: extensions, which mean nothing to us.
    Extension(u64),
    /// At the line feed behind a size.
    SizeEnd(u64),
    /// So much of a chunk is to come.
    Data(u64),
    /// At the line end behind a chunk.
    DataReturn,
    DataEnd,
    /// At the start of a trailer, or of the empty line behind the last one.
    Trailer,
    TrailerRest,
    LastEnd,
    Over,
}

impl Chunked {
    /// Moves the data of one chunk to the front: how much it is, and how much was used up to the next chunk. None where
    /// the framing is broken. (Events mostly come one to a chunk, and are judged one by one.)
    fn unframe(&mut self, bytes: &mut [u8]) -> Option<(usize, usize)> {
        let (mut kept, mut used) = (0, 0);
        while let Some(byte) = bytes.get(used).copied() {
            match *self {
                Self::Over => break,
                Self::Data(_) if kept > 0 => break,
                Self::Data(left) => {
                    let part = (bytes.len() - used).min(usize::try_from(left).unwrap_or(usize::MAX));
                    bytes.copy_within(used..used + part, kept);
                    (kept, used) = (kept + part, used + part);
                    let left = left - part as u64;
                    *self = if left == 0 { Self::DataReturn } else { Self::Data(left) };
                }
                state => match state.step(byte) {
                    Some(next) => (*self, used) = (next, used + 1),
                    // What came before the fault goes on first.
                    None if kept > 0 => break,
                    None => return None,
                },
            }
        }
        Some((kept, used))
    }

    fn step(self, byte: u8) -> Option<Self> {
        Some(match (self, byte) {
            (Self::Size(Some(size)), b'\r') | (Self::Extension(size), b'\r') => Self::SizeEnd(size),
            (Self::Size(Some(size)), b';' | b' ' | b'\t') => Self::Extension(size),
            (Self::Size(size), digit) => {
                let digit = u64::from(char::from(digit).to_digit(16)?);
                Self::Size(Some(size.unwrap_or(0).checked_mul(16)?.checked_add(digit)?))
            }
            (Self::Extension(_), b'\n') => return None,
            (Self::Extension(size), _) => Self::Extension(size),
            (Self::SizeEnd(0), b'\n') => Self::Trailer,
            (Self::SizeEnd(size), b'\n') => Self::Data(size),
            (Self::DataReturn, b'\r') => Self::DataEnd,
            (Self::DataEnd, b'\n') => Self::Size(None),
            (Self::Trailer, b'\r') => Self::LastEnd,
            (Self::TrailerRest, b'\n') => Self::Trailer,
            (Self::Trailer | Self::TrailerRest, _) => Self::TrailerRest,
            (Self::LastEnd, b'\n') => Self::Over,
            _ => return None,
        })
    }
}

/// Content-Length, where it is given; none at all where it can be read in two ways.
fn length(headers: &HeaderMap) -> Option<Option<u64>> {
    let mut length = None;
    for value in headers.get_all(CONTENT_LENGTH) {
        for part in value.to_str().ok()?.split(',').map(str::trim) {
            let digits = !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
            let part: u64 = part.parse().ok().filter(|_| digits)?;
            if *length.get_or_insert(part) != part {
                return None;
            }
        }
    }
    Some(length)
}

fn last_is_chunked(coding: &HeaderValue) -> bool {
    let last = coding.as_bytes().rsplit(|b| *b == b',').next().unwrap_or_default();
    last.trim_ascii().eq_ignore_ascii_case(b"chunked")
}

fn stays_open(head: &ResponseHeader) -> bool {
    let says = |word: &[u8]| {
        let values = head.headers.get_all(CONNECTION).iter();
        let mut words = values.flat_map(|value| value.as_bytes().split(|b| *b == b','));
        words.any(|said| said.trim_ascii().eq_ignore_ascii_case(word))
    };
    match head.version {
        Version::HTTP_10 => says(b"keep-alive") && !head.headers.contains_key(TRANSFER_ENCODING),
        _ => !says(b"close"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_chunked_body_is_the_same_however_it_is_cut(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..8),
            cuts in prop::collection::vec(1_usize..20, 1..20),
        ) {
            let mut wire = Vec::new();
            for chunk in &chunks {
                wire.extend_from_slice(format!("{:X};x\r\n", chunk.len()).as_bytes());
                wire.extend_from_slice(chunk);
                wire.extend_from_slice(b"\r\n");
            }
            wire.extend_from_slice(b"0\r\nx: y\r\n\r\n");
            let mut body = Body { framing: Framing::Chunked(Chunked::Size(None)), keeps: true };
            let (mut got, mut rest, mut cut) = (Vec::new(), wire.as_slice(), cuts.iter().cycle());
            while !rest.is_empty() {
                let (piece, later) = rest.split_at(rest.len().min(*cut.next().unwrap_or(&1)));
                let mut piece = piece.to_vec();
                while !piece.is_empty() {
                    let (chunk, used) = body.take(&mut piece).unwrap_or_default();
                    got.extend_from_slice(&chunk);
                    piece.drain(..used.max(1));
                }
                rest = later;
            }
            prop_assert_eq!(got, chunks.concat());
            prop_assert!(body.is_over() && body.keeps);
        }

        #[test]
        fn no_bytes_of_an_upstream_can_break_the_reader(wire in prop::collection::vec(any::<u8>(), 1..400)) {
            let _ = parse(&Bytes::from(wire.clone()));
            let mut body = Body { framing: Framing::Chunked(Chunked::Size(None)), keeps: true };
            let _ = body.take(&mut wire.clone());
        }
    }
}
