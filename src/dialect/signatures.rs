//! Gemini's thought signatures, remembered for clients that drop them.
//!
//! Gemini 3 refuses a conversation in which its own tool call comes back without the signature that it gave with it, and
//! few clients keep members that they do not know. The latest few megabytes are kept, oldest out first; where one is
//! gone, the composer has a dummy that Google accepts. Source: Gemini API, "Thought signatures".

use std::collections::{HashMap, VecDeque};

/// Bytes of ids and signatures together.
const MOST_BYTES: usize = 16 * 1024 * 1024;
/// A longer signature is not remembered.
const MOST_SIGNATURE: usize = 256 * 1024;

/// The latest signatures, by the ids of their calls.
#[derive(Debug, Default)]
pub struct Signatures {
    by_id: HashMap<Box<str>, Box<str>>,
    oldest_first: VecDeque<Box<str>>,
    bytes: usize,
}

impl Signatures {
    /// Remembers the signature of a call.
    pub fn learn(&mut self, id: &str, signature: &str) {
        if signature.len() > MOST_SIGNATURE || self.by_id.contains_key(id) {
            return;
        }
        self.by_id.insert(id.into(), signature.into());
        self.oldest_first.push_back(id.into());
        self.bytes += id.len() + signature.len();
        while self.bytes > MOST_BYTES {
            let Some(oldest) = self.oldest_first.pop_front() else { break };
            let gone = self.by_id.remove(&oldest).map_or(0, |signature| signature.len());
            self.bytes -= oldest.len() + gone;
        }
    }

    /// All of them, oldest first: calls and signatures.
    pub fn all(&self) -> Vec<(String, String)> {
        let known = self.oldest_first.iter().filter_map(|id| Some((id, self.by_id.get(id)?)));
        known.map(|(id, signature)| (id.to_string(), signature.to_string())).collect()
    }

    /// The signature of a call.
    pub fn get(&self, id: &str) -> Option<String> {
        self.by_id.get(id).map(|signature| signature.clone().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_are_kept_within_bounds() {
        let mut signatures = Signatures::default();
        let long = "s".repeat(MOST_SIGNATURE);
        for call in 0..100 {
            signatures.learn(&format!("call_{call}"), &long);
        }
        assert_eq!(signatures.get("call_99"), Some(long));
        assert_eq!(signatures.get("call_0"), None);
        assert!(signatures.bytes <= MOST_BYTES && signatures.by_id.len() == signatures.oldest_first.len());
        signatures.learn("call_99", "another");
        assert_ne!(signatures.get("call_99").as_deref(), Some("another"));
    }
}
