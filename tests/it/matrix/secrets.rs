//! Secrets that nobody else has, and the search for any eight characters of them.
//!
//! The random part of each is made of letters and digits of a generator with a seed, so that a run can be repeated. A
//! search looks at every place of a text, and knows all secrets at once.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

/// So much of a secret is too much.
const WINDOW: usize = 8;

/// The secrets of a router, by the slot that each is in.
#[derive(Default)]
pub struct Canaries {
    windows: HashMap<[u8; WINDOW], String>,
}

impl Canaries {
    /// A new secret of letters and digits for a slot.
    pub fn make(&mut self, slot: &str) -> String {
        let random = random(32);
        self.keep(slot, &random);
        format!("sk-{random}")
    }

    /// One that was made elsewhere.
    pub fn keep(&mut self, slot: &str, secret: &str) {
        for window in secret.as_bytes().windows(WINDOW) {
            if let Ok(window) = window.try_into() {
                self.windows.insert(window, slot.to_owned());
            }
        }
    }

    /// Where a secret shows: its slot, and what stands around.
    pub fn find(&self, text: &[u8]) -> Option<String> {
        let at = text.windows(WINDOW).position(|window| self.knows(window))?;
        let slot = text.get(at..at + WINDOW).and_then(|w| self.windows.get(w))?;
        let around = &text[at.saturating_sub(60)..text.len().min(at + 60)];
        Some(format!("{slot}: …{}…", String::from_utf8_lossy(around)))
    }

    fn knows(&self, window: &[u8]) -> bool {
        self.windows.contains_key(window)
    }

    /// Fails where any of these shows a secret.
    #[track_caller]
    pub fn are_in_none_of(&self, sinks: &[(&str, &[u8])]) {
        for (sink, text) in sinks {
            if let Some(found) = self.find(text) {
                panic!("a secret shows in {sink}: {found}");
            }
        }
    }
}

/// Letters and digits, different at each call.
pub fn random(length: usize) -> String {
    const ALPHABET: &[u8] = b"ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz23456789";
    static SEED: AtomicU64 = AtomicU64::new(0x5eed_0000_2026_1121);
    let next = || {
        // SplitMix64.
        let mut z = SEED.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::SeqCst);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    (0..length).map(|_| ALPHABET[next() as usize % ALPHABET.len()] as char).collect()
}

#[test]
fn eight_characters_of_a_secret_are_found_anywhere_and_seven_are_not() {
    let mut canaries = Canaries::default();
    let secret = canaries.make("slot");
    let text = format!("before {} after", &secret[10..18]);
    assert!(canaries.find(text.as_bytes()).is_some_and(|found| found.starts_with("slot: ")));
    let text = format!("before {} after", &secret[10..17]);
    assert_eq!(canaries.find(text.as_bytes()), None);
}
