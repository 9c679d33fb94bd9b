//! What a client key is known by: its SHA-256 digest.
//!
//! Keys are random and long, so a plain digest is enough: there is nothing to guess (a password would need a slow hash
//! with salt, and every request would pay for it). Digests are compared in constant time, and looked up by their first
//! bytes, which tell nothing about a key that one does not have already.

use crate::hex::hex;
use std::fmt;
use std::hash::{Hash, Hasher};

use ring::digest::{digest, SHA256, SHA256_OUTPUT_LEN};
use subtle::ConstantTimeEq;

/// The digest of a key. Its `Debug` shows the hint only.
#[derive(Clone, Copy)]
pub struct Digest([u8; SHA256_OUTPUT_LEN]);

impl Digest {
    /// Of a key.
    pub fn of(key: &[u8]) -> Self {
        let mut bytes = [0; SHA256_OUTPUT_LEN];
        bytes.copy_from_slice(digest(&SHA256, key).as_ref());
        Self(bytes)
    }

    /// From 64 hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim().as_bytes();
        let mut bytes = [0; SHA256_OUTPUT_LEN];
        if text.len() != 2 * bytes.len() || !text.is_ascii() {
            return None;
        }
        for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
            let digit = |at: usize| char::from(*pair.get(at)?).to_digit(16);
            *byte = u8::try_from(digit(0)? * 16 + digit(1)?).ok()?;
        }
        Some(Self(bytes))
    }

    /// The key as it may be shown: `sha256:` and eight digits, by which its owner can find it.
    pub fn hint(&self) -> String {
        format!("sha256:{}", hex(&self.0[..4]))
    }

    /// What stands for it in a file or with another process: a digest of `salt` and itself, as hexadecimal digits.
    pub fn id(&self, salt: &str) -> String {
        let salted = [salt.as_bytes(), &self.0].concat();
        hex(digest(&SHA256, &salted).as_ref())
    }
}

impl PartialEq for Digest {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Digest {}

impl Hash for Digest {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.first_chunk::<8>().copied().map(u64::from_ne_bytes).hash(state);
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.hint())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first example of FIPS 180-2, appendix B.
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn a_digest_is_read_as_it_is_made() {
        assert_eq!(Digest::parse(ABC), Some(Digest::of(b"abc")));
        assert_eq!(Digest::parse(&ABC.to_uppercase()), Some(Digest::of(b"abc")));
        for bad in ["", "ba78", &ABC[1..], &ABC.replace('b', "g"), &format!("{ABC}0")] {
            assert_eq!(Digest::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn what_is_shown_is_not_the_digest() {
        let digest = Digest::of(b"abc");
        assert_eq!(
            (digest.hint().as_str(), format!("{digest:?}").as_str()),
            ("sha256:ba7816bf", "sha256:ba7816bf")
        );
        assert_ne!(digest.id("a"), digest.id("b"));
        assert!(!digest.id("").contains("ba7816bf"));
    }
}
