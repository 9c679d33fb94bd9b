//! Signatures of other providers inside `encrypted_content`, there and back.
//!
//! A client without state gives reasoning items back as it got them, `encrypted_content` included: the one place where
//! another provider's proof of its thoughts can travel. A mark in front says whose it is; a text without a mark is
//! OpenAI's own. Nothing is encrypted here: what is sealed is opaque already.

use std::borrow::Cow;

use crate::dialect::conversation::{Signer, What};
use crate::dialect::json::Str;

/// In front of thoughts that only Anthropic can read.
pub(super) const REDACTED: &str = "aar1.redacted.";

/// What goes in front of a signature.
pub(super) fn mark(signer: Signer) -> &'static str {
    match signer {
        Signer::Anthropic => "aar1.anthropic.",
        Signer::Google => "aar1.google.",
        Signer::OpenAi => "",
    }
}

/// What a client has brought back.
pub(super) fn open<'a>(encrypted: Str<'a>, text: Str<'a>) -> What<'a> {
    for signer in [Signer::Anthropic, Signer::Google] {
        if encrypted.starts_with(mark(signer)) {
            let signature = Some(after(encrypted, mark(signer).len()));
            return What::Reasoning { text, signature, signer };
        }
    }
    if encrypted.starts_with(REDACTED) {
        return What::Redacted(after(encrypted, REDACTED.len()));
    }
    What::Reasoning { text, signature: Some(encrypted), signer: Signer::OpenAi }
}

fn after(text: Str<'_>, length: usize) -> Str<'_> {
    match text.0 {
        Cow::Borrowed(text) => text.get(length..).unwrap_or_default().into(),
        Cow::Owned(mut text) => {
            text.drain(..length);
            text.into()
        }
    }
}
