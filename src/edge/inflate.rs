//! Upstream answers that come compressed although `identity` was asked for, with a bound against bombs.

use std::io::Write;

use bytes::Bytes;
use flate2::write::{MultiGzDecoder, ZlibDecoder};

use crate::providers::Transport;

/// No answer is blown up beyond this many times what came.
const MOST_RATIO: usize = 100;
/// Below this size the ratio does not count.
const FREE: usize = 1024 * 1024;

/// A decoder for one answer.
pub struct Inflate {
    coding: Coding,
    taken: usize,
    given: usize,
}

enum Coding {
    Gzip(MultiGzDecoder<Vec<u8>>),
    Deflate(ZlibDecoder<Vec<u8>>),
}

impl Inflate {
    /// A decoder for `Content-Encoding: coding`; `Ok(None)` for identity, an error for one we do not know.
    pub fn of(coding: &[u8]) -> Result<Option<Box<Self>>, Transport> {
        let coding = match coding.trim_ascii().to_ascii_lowercase().as_slice() {
            b"" | b"identity" => return Ok(None),
            b"gzip" | b"x-gzip" => Coding::Gzip(MultiGzDecoder::new(Vec::new())),
            b"deflate" => Coding::Deflate(ZlibDecoder::new(Vec::new())),
            _ => return Err(Transport::Malformed),
        };
        Ok(Some(Box::new(Self { coding, taken: 0, given: 0 })))
    }

    /// What `chunk` decodes to; may be empty.
    pub fn push(&mut self, chunk: &[u8]) -> Result<Bytes, Transport> {
        let written = match &mut self.coding {
            Coding::Gzip(decoder) => decoder.write_all(chunk).and_then(|()| decoder.flush()),
            Coding::Deflate(decoder) => decoder.write_all(chunk).and_then(|()| decoder.flush()),
        };
        written.map_err(|_| Transport::Malformed)?;
        let out = match &mut self.coding {
            Coding::Gzip(decoder) => std::mem::take(decoder.get_mut()),
            Coding::Deflate(decoder) => std::mem::take(decoder.get_mut()),
        };
        self.taken += chunk.len();
        self.given += out.len();
        if self.given > FREE && self.given / MOST_RATIO > self.taken {
            return Err(Transport::Malformed);
        }
        Ok(out.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gzip(data: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn gzip_decodes_whatever_the_split() {
        let packed = gzip(b"data: {\"a\":1}\n\n");
        let mut decoder = Inflate::of(b"gzip").unwrap().unwrap();
        let out: Vec<u8> = packed.iter().flat_map(|b| decoder.push(&[*b]).unwrap()).collect();
        assert_eq!(out, b"data: {\"a\":1}\n\n");
    }

    #[test]
    fn a_bomb_is_refused() {
        let packed = gzip(&vec![0; 16 * 1024 * 1024]);
        let mut decoder = Inflate::of(b"gzip").unwrap().unwrap();
        assert!(packed.chunks(1024).any(|chunk| decoder.push(chunk).is_err()));
    }

    #[test]
    fn an_unknown_coding_is_refused() {
        assert!(Inflate::of(b"zstd").is_err());
        assert!(Inflate::of(b"identity").unwrap().is_none());
    }
}
