//! Secrets: the one type that holds a key, and the only way to look inside it.
//!
//! A `Secret` has no `Display`, no `Serialize`, and a `Debug` that prints stars, so a key cannot reach a log, an
//! error or a page by accident; `expose` is the word to search for. The text is wiped when the last copy goes.

use std::fmt;
use std::sync::Arc;

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// A key, a token or any other text that must never be shown. Cloning shares the text.
#[derive(Clone)]
pub struct Secret(Arc<Zeroizing<String>>);

impl Secret {
    /// Takes the text over.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Arc::new(Zeroizing::new(text.into())))
    }

    /// The text itself, for the one place that sends or compares it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether `presented` is this secret, in a time that depends on the presented length only.
    pub fn matches(&self, presented: &[u8]) -> bool {
        let own = self.0.as_bytes();
        // Compared against ourselves when lengths differ, so that a wrong length costs as much as a wrong byte.
        let same_length = own.len() == presented.len();
        let other = if same_length { presented } else { own };
        bool::from(own.ct_eq(other)) & same_length
    }

    /// Whether there is no text at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_never_prints_itself() {
        assert_eq!(format!("{:?}", Secret::new("sk-abcdef")), "***");
    }

    #[test]
    fn only_the_very_same_bytes_match() {
        let key = Secret::new("sk-abcdef");
        assert!(key.matches(b"sk-abcdef"));
        assert!(!key.matches(b"sk-abcdeg"));
        assert!(!key.matches(b"sk-abcde"));
        assert!(!key.matches(b""));
    }
}
