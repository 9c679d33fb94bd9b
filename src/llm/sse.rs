//! Server-sent events: chunks in, whole frames out, wherever the network cut them.
//!
//! A frame is everything up to and with its blank line. One that lies whole in a chunk is a slice of it; only what a
//! chunk leaves unfinished is copied and kept. Lines may end in LF, CRLF or CR, also split in the middle; a byte order
//! mark at the start is tolerated. Where frames end depends on the bytes alone, never on the cuts: the one byte that
//! may have to be waited for is the LF of a CRLF. Source: the HTML standard, section 9.2.

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};
use memchr::memchr2;

/// A larger frame is a fault. Models that draw send pictures of many megabytes in one.
pub const MOST_FRAME: usize = 64 * 1024 * 1024;

const BOM: &[u8] = b"\xef\xbb\xbf";

/// A frame has grown past `MOST_FRAME`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameTooLarge;

/// One frame, as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Its bytes, with the blank line that ends it (missing only at the end of the stream).
    pub raw: Bytes,
    /// Where it starts in the chunk that was pushed last; `None` if it began in an earlier one.
    pub at: Option<usize>,
    /// Where its first line ends.
    first: usize,
    /// How many lines it has, without the blank one.
    lines: u32,
}

impl Frame {
    /// The data, its lines joined by LF; `None` where there is no data line (comments, `retry:`, empty frames).
    pub fn data(&self) -> Option<Cow<'_, [u8]>> {
        if self.lines == 1 {
            return field(&self.raw[self.skipped()..self.first], b"data").map(Cow::Borrowed);
        }
        let mut found: Option<Cow<[u8]>> = None;
        for line in self.all_lines() {
            let Some(value) = field(line, b"data") else { continue };
            match &mut found {
                None => found = Some(Cow::Borrowed(value)),
                Some(data) => {
                    data.to_mut().push(b'\n');
                    data.to_mut().extend_from_slice(value);
                }
            }
        }
        found
    }

    /// The event's name, if it has one.
    pub fn event(&self) -> Option<&[u8]> {
        if self.lines == 1 && self.raw.starts_with(b"data") {
            return None;
        }
        self.all_lines().filter_map(|line| field(line, b"event")).last()
    }

    /// Whether it holds comments only, or nothing.
    pub fn is_comment(&self) -> bool {
        self.all_lines().all(|line| line.is_empty() || line.starts_with(b":"))
    }

    fn all_lines(&self) -> impl Iterator<Item = &[u8]> {
        // An LF behind a CR makes one empty line more, which means nothing.
        self.raw[self.skipped()..].split(|&b| b == b'\n' || b == b'\r')
    }

    /// A byte order mark is no part of the first line.
    fn skipped(&self) -> usize {
        if self.raw.starts_with(BOM) {
            BOM.len()
        } else {
            0
        }
    }
}

/// The value of a line's field, if the line has that name; one leading space is no part of it.
fn field<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    match line.strip_prefix(name)? {
        [] => Some(&[]),
        [b':', b' ', value @ ..] | [b':', value @ ..] => Some(value),
        _ => None,
    }
}

/// Cuts a stream into frames. Push a chunk, then take frames until there is none.
#[derive(Debug, Default)]
pub struct SseDecoder {
    /// The start of a frame whose end has not come.
    tail: BytesMut,
    /// The chunk being cut, and how far it has been.
    chunk: Bytes,
    at: usize,
    scan: Scan,
}

/// What is known of the unfinished frame.
#[derive(Clone, Copy, Debug, Default)]
struct Scan {
    length: usize,
    lines: u32,
    first: usize,
    line_length: usize,
    /// The last byte was a CR that ended a line with something in it.
    after_cr: bool,
    /// A blank line has ended in CR, and its LF may still come.
    awaits_lf: bool,
}

impl SseDecoder {
    /// The next bytes. All frames of the chunk before must have been taken.
    pub fn push(&mut self, chunk: Bytes) {
        self.chunk = chunk;
        self.at = 0;
    }

    /// The next whole frame; `None` when more bytes are needed.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, FrameTooLarge> {
        let rest = &self.chunk[self.at..];
        if rest.is_empty() {
            // A consumed chunk is let go, so that a quiet stream holds no memory for it.
            self.push(Bytes::new());
            return Ok(None);
        }
        let end = self.scan.end(rest);
        let more = end.unwrap_or(rest.len());
        if self.tail.len() + more > MOST_FRAME {
            return Err(FrameTooLarge);
        }
        if end.is_none() {
            self.tail.extend_from_slice(rest);
            self.push(Bytes::new());
            return Ok(None);
        }
        let start = self.at;
        self.at += more;
        let frame = if self.tail.is_empty() {
            self.frame(self.chunk.slice(start..self.at), Some(start))
        } else {
            let mut whole = std::mem::take(&mut self.tail);
            whole.extend_from_slice(&self.chunk[start..self.at]);
            self.frame(whole.freeze(), None)
        };
        self.scan = Scan::default();
        Ok(Some(frame))
    }

    /// Bytes of an event whose end has not come.
    pub fn pending(&self) -> usize {
        self.tail.capacity()
    }

    /// At the end of the stream: what came after the last blank line.
    pub fn finish(&mut self) -> Option<Frame> {
        if self.tail.is_empty() {
            return None;
        }
        if self.scan.line_length > 0 {
            self.scan.end_line();
        }
        let raw = std::mem::take(&mut self.tail).freeze();
        let frame = self.frame(raw, None);
        self.scan = Scan::default();
        Some(frame)
    }

    fn frame(&self, raw: Bytes, at: Option<usize>) -> Frame {
        Frame { raw, at, first: self.scan.first, lines: self.scan.lines }
    }
}

impl Scan {
    /// How many of `bytes`, which follow what was scanned before, belong to the frame; `None`: all, and more to come.
    fn end(&mut self, bytes: &[u8]) -> Option<usize> {
        if self.awaits_lf {
            return Some(usize::from(bytes.first() == Some(&b'\n')));
        }
        let mut at = 0;
        while let Some(plain) = memchr2(b'\n', b'\r', bytes.get(at..)?) {
            self.pass(plain);
            at += plain + 1;
            let line_feed = bytes[at - 1] == b'\n';
            if self.line_length > 0 {
                self.end_line();
                self.after_cr = !line_feed;
            } else if self.after_cr && line_feed {
                self.after_cr = false;
            } else if line_feed || self.after_cr {
                return Some(at);
            } else {
                self.awaits_lf = true;
                let next = bytes.get(at)?;
                return Some(at + usize::from(*next == b'\n'));
            }
            self.length += 1;
        }
        self.pass(bytes.len() - at);
        None
    }

    fn pass(&mut self, plain: usize) {
        self.length += plain;
        self.line_length += plain;
        self.after_cr &= plain == 0;
    }

    fn end_line(&mut self) {
        if self.lines == 0 {
            self.first = self.length;
        }
        self.lines += 1;
        self.line_length = 0;
    }
}

#[cfg(test)]
mod tests;
