//! A request body as it goes upstream: the client's bytes with a few places replaced, or what they say in other words.
//!
//! Replacing is splicing: what is not replaced stays byte for byte as it was, which keeps prompt caches warm and costs
//! no second parse. A large body becomes a few slices of the client's one; a small one is copied into a single piece,
//! because one write is cheaper than three. A translated body is written by `BodyWriter`, which lends long texts
//! from the client's body instead of copying them, and writes the rest into pieces that never move: room for a whole
//! megabyte would have to be had from the kernel, page by page, with every request.

use std::io;
use std::ops::Range;

use bytes::{Bytes, BytesMut};

/// Bodies below this size are made one piece.
const ONE_PIECE: usize = 64 * 1024;
/// A slice that is shorter is copied: one more piece costs about as much.
const WORTH_LENDING: usize = 2 * 1024;
/// What is new is written into pieces of this size, which the allocator has at hand.
const PIECE: usize = 16 * 1024;

/// A body in order, in one or several pieces.
#[derive(Clone, Debug, Default)]
pub struct Body {
    parts: Vec<Bytes>,
    len: usize,
}

/// One place to be replaced.
#[derive(Clone, Debug)]
pub struct Edit {
    /// The bytes that go; empty for an insertion.
    pub at: Range<usize>,
    /// What comes instead.
    pub with: Bytes,
}

impl Body {
    /// The bytes as they are.
    pub fn whole(bytes: Bytes) -> Self {
        Self { len: bytes.len(), parts: vec![bytes] }
    }

    /// `bytes` with `edits` made. They must lie inside it and not overlap; their order does not matter.
    pub fn spliced(bytes: &Bytes, mut edits: Vec<Edit>) -> Self {
        if edits.is_empty() {
            return Self::whole(bytes.clone());
        }
        // An insertion goes before a cut at the same place.
        edits.sort_by_key(|edit| (edit.at.start, edit.at.end));
        let mut body = Self { parts: Vec::with_capacity(2 * edits.len() + 1), len: 0 };
        let mut kept = 0;
        for edit in edits {
            body.push(bytes.slice(kept..edit.at.start));
            kept = edit.at.end;
            body.push(edit.with);
        }
        body.push(bytes.slice(kept..));
        if body.len < ONE_PIECE {
            body = Self::whole(body.contiguous());
        }
        body
    }

    /// The pieces, in order.
    pub fn parts(&self) -> &[Bytes] {
        &self.parts
    }

    /// Bytes in all: the Content-Length.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no byte.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All of it in one piece; copies only where there are several.
    pub fn contiguous(&self) -> Bytes {
        if let [only] = self.parts.as_slice() {
            return only.clone();
        }
        let mut joined = BytesMut::with_capacity(self.len);
        self.parts.iter().for_each(|part| joined.extend_from_slice(part));
        joined.freeze()
    }

    fn push(&mut self, part: Bytes) {
        if !part.is_empty() {
            self.len += part.len();
            self.parts.push(part);
        }
    }
}

/// Writes a body that says the same as the client's in other words.
pub struct BodyWriter<'c> {
    client: &'c Bytes,
    body: Body,
    new: BytesMut,
}

impl<'c> BodyWriter<'c> {
    /// An empty body. What is written and lies in `client` need not be copied.
    pub fn new(client: &'c Bytes) -> Self {
        Self { client, body: Body::default(), new: BytesMut::new() }
    }

    /// The body.
    pub fn finish(mut self) -> Body {
        self.close();
        self.body
    }

    fn close(&mut self) {
        let new = self.new.split().freeze();
        self.body.push(new);
    }

    /// The same bytes as a slice of the client's body, if they are one.
    fn lent(&self, bytes: &[u8]) -> Option<Bytes> {
        let (all, part) = (self.client.as_ptr_range(), bytes.as_ptr_range());
        let within = all.start <= part.start && part.end <= all.end;
        (bytes.len() >= WORTH_LENDING && within).then(|| self.client.slice_ref(bytes))
    }
}

impl io::Write for BodyWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(slice) = self.lent(bytes) {
            self.close();
            self.body.push(slice);
            return Ok(bytes.len());
        }
        if self.new.capacity() - self.new.len() < bytes.len() {
            self.close();
            self.new.reserve(bytes.len().max(PIECE));
        }
        self.new.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn edit(at: Range<usize>, with: &'static str) -> Edit {
        Edit { at, with: Bytes::from_static(with.as_bytes()) }
    }

    #[test]
    fn edits_are_made_in_place_whatever_their_order() {
        let bytes = Bytes::from_static(b"0123456789");
        let body = Body::spliced(&bytes, vec![edit(8..10, "y"), edit(2..5, "abc"), edit(6..6, "+")]);
        assert_eq!(body.contiguous(), "01abc5+67y");
        assert_eq!(body.len(), 10);
        assert_eq!(body.parts().len(), 1);
    }

    #[test]
    fn a_large_body_is_sliced_and_not_copied() {
        let bytes = Bytes::from(vec![b'x'; 100_000]);
        let body = Body::spliced(&bytes, vec![edit(10..20, "new")]);
        assert_eq!(body.parts().len(), 3);
        assert_eq!(body.parts()[2].as_ptr(), bytes[20..].as_ptr());
        assert_eq!(body.len(), 99_993);
        assert_eq!(body.contiguous().len(), 99_993);
    }

    #[test]
    fn long_texts_of_the_client_are_lent_and_the_rest_is_written_in_pieces_that_do_not_move() {
        let client = Bytes::from(vec![b'x'; 2 * WORTH_LENDING]);
        let other = vec![b'y'; WORTH_LENDING];
        let mut writer = BodyWriter::new(&client);
        let mut expected = Vec::new();
        for bytes in [&b"{"[..], &client[5..], &client[..9], &other, b"}"] {
            writer.write_all(bytes).unwrap();
            expected.extend_from_slice(bytes);
        }
        let body = writer.finish();
        let lent = |part: &&Bytes| client.as_ptr_range().contains(&part.as_ptr());
        assert_eq!(body.parts().iter().filter(lent).count(), 1);
        assert_eq!((body.len(), body.contiguous().to_vec()), (expected.len(), expected));
        let mut writer = BodyWriter::new(&client);
        (0..PIECE).for_each(|_| writer.write_all(b"0123").unwrap());
        let body = writer.finish();
        assert!((4..=5).contains(&body.parts().len()), "{}", body.parts().len());
        assert_eq!(body.contiguous(), "0123".repeat(PIECE));
    }

    #[test]
    fn an_untouched_body_is_the_very_same_bytes() {
        let bytes = Bytes::from(vec![b'x'; 10]);
        assert_eq!(Body::spliced(&bytes, Vec::new()).contiguous().as_ptr(), bytes.as_ptr());
    }
}
