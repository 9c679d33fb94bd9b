//! Takes keys out of what upstreams say when they fail: they like to repeat the key they refuse.
//!
//! Every configured secret goes, of any length, also as JSON or a URL would spell it; and so does anything that looks
//! like somebody's key. Of a secret cut in pieces each piece of eight characters goes, where a digit or a capital tells it
//! from a word. Only error texts are scrubbed, never answers: of those, only the headers are looked at, for
//! configured secrets, and since that is done for every request it goes by the secrets' first two bytes and their
//! least length, which few headers pass. Prefixes: the vendors' key formats.

use std::borrow::Cow;
use std::hash::{BuildHasher, RandomState};
use std::ops::Range;

use memchr::memmem;

use crate::secret::Secret;

const REDACTED: &str = "[redacted]";
/// Key formats, and the length from which on a word with that beginning is taken for a key.
const KEYS: [(&str, usize); 16] = [
    ("sk-", 8),
    ("sk_", 12),
    ("pk-", 20),
    ("AIza", 20),
    ("AKIA", 16),
    ("gsk_", 12),
    ("xai-", 12),
    ("hf_", 12),
    ("org-", 16),
    ("proj_", 16),
    ("r8_", 12),
    ("pplx-", 12),
    ("nvapi-", 12),
    ("ghp_", 12),
    ("ya29.", 12),
    ("eyJ", 40),
];
/// A word behind `Bearer` or `key=` of at least this length, with a digit in it, is a key.
const LEAST_NAMED: usize = 8;

/// So much of a secret in one piece tells too much of it.
const PIECE: usize = 8;

/// Shorter secrets are not looked for in headers: they would be found in lengths and dates. No key is shorter.
const LEAST_IN_HEADER: usize = 8;

/// Knows the configured secrets.
#[derive(Clone, Debug, Default)]
pub struct Scrubber {
    /// Every spelling of every secret.
    spellings: Vec<Secret>,
    beginnings: Option<Beginnings>,
    pieces: Pieces,
}

/// Every piece of every secret, as a keyed hash, in order: the texts are wiped with their secrets.
#[derive(Clone, Debug, Default)]
struct Pieces {
    known: Box<[u64]>,
    hasher: RandomState,
}

impl Pieces {
    fn of(secrets: &[Secret]) -> Self {
        let hasher = RandomState::new();
        let all = secrets.iter().flat_map(|secret| telling(secret.expose()));
        let mut known: Vec<u64> = all.map(|(_, piece)| hasher.hash_one(piece)).collect();
        known.sort_unstable();
        known.dedup();
        Self { known: known.into(), hasher }
    }

    fn find(&self, text: &str, found: &mut Vec<Range<usize>>) {
        let known = |piece: &[u8]| self.known.binary_search(&self.hasher.hash_one(piece)).is_ok();
        let told = telling(text).filter(|(_, piece)| known(piece));
        found.extend(told.map(|(at, _)| at..at + PIECE));
    }
}

/// The pieces of a text that are no plain words, and where they are.
fn telling(text: &str) -> impl Iterator<Item = (usize, &[u8])> {
    let is_word = |piece: &[u8]| piece.iter().all(|byte| in_word(*byte));
    let tells = |piece: &[u8]| piece.iter().any(|byte| byte.is_ascii_digit() || byte.is_ascii_uppercase());
    let pieces = text.as_bytes().windows(PIECE).enumerate();
    pieces.filter(move |(_, piece)| is_word(piece) && tells(piece))
}

/// How the spellings begin that are looked for in headers.
#[derive(Clone, Debug)]
struct Beginnings {
    /// The least length of a spelling.
    least: usize,
    /// A bit for each pair of bytes that some spelling begins with.
    pairs: Box<[u64; 1024]>,
}

impl Beginnings {
    fn of(spellings: &[Secret]) -> Option<Self> {
        let long = || spellings.iter().map(|s| s.expose().as_bytes()).filter(|s| s.len() >= LEAST_IN_HEADER);
        let mut pairs = Box::new([0; 1024]);
        for (word, bit) in long().filter_map(place) {
            pairs[word] |= bit;
        }
        Some(Self { least: long().map(<[u8]>::len).min()?, pairs })
    }

    /// Where in `value` a spelling may begin.
    fn places<'v>(&'v self, value: &'v [u8]) -> impl Iterator<Item = &'v [u8]> {
        let starts = (value.len() + 1).saturating_sub(self.least);
        let tails = (0..starts).filter_map(|at| value.get(at..));
        tails.filter(|tail| place(tail).is_some_and(|(word, bit)| self.pairs[word] & bit != 0))
    }
}

/// The bit of the first two bytes: its word, which is below 1024, and its mask.
fn place(text: &[u8]) -> Option<(usize, u64)> {
    let [first, second, ..] = *text else { return None };
    let pair = u16::from_be_bytes([first, second]);
    Some((usize::from(pair >> 6), 1 << (pair & 63)))
}

impl Scrubber {
    /// A scrubber for these secrets; empty ones are ignored.
    pub fn new(secrets: Vec<Secret>) -> Self {
        let mut spellings: Vec<String> = Vec::new();
        for secret in secrets.iter().filter(|secret| !secret.is_empty()) {
            let text = secret.expose();
            let json = serde_json::Value::from(text).to_string();
            spellings.extend([
                text.to_owned(),
                json[1..json.len() - 1].to_owned(),
                json[1..json.len() - 1].replace('/', "\\/"),
                percent(text),
                percent(text).to_ascii_lowercase(),
            ]);
        }
        spellings.sort();
        spellings.dedup();
        let spellings: Vec<Secret> = spellings.into_iter().map(Secret::new).collect();
        let beginnings = Beginnings::of(&spellings);
        Self { spellings, beginnings, pieces: Pieces::of(&secrets) }
    }

    /// Whether a header's value has a configured secret in it.
    pub fn is_told_by(&self, value: &[u8]) -> bool {
        let is_told = |tail: &[u8]| {
            let told = |spelling: &[u8]| spelling.len() >= LEAST_IN_HEADER && tail.starts_with(spelling);
            self.spellings.iter().any(|spelling| told(spelling.expose().as_bytes()))
        };
        self.beginnings.as_ref().is_some_and(|beginnings| beginnings.places(value).any(is_told))
    }

    /// The text without secrets; borrowed where there were none.
    pub fn scrub<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let mut found: Vec<Range<usize>> = Vec::new();
        for secret in &self.spellings {
            let needle = secret.expose();
            found.extend(memmem::find_iter(text.as_bytes(), needle).map(|at| at..at + needle.len()));
        }
        self.pieces.find(text, &mut found);
        key_like(text, &mut found);
        if found.is_empty() {
            return Cow::Borrowed(text);
        }
        found.sort_by_key(|range| range.start);
        Cow::Owned(redacted(text, &found))
    }
}

/// `found` is sorted; ranges that touch or overlap become one.
fn redacted(text: &str, found: &[Range<usize>]) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut done = 0;
    for range in found {
        if range.start > done || done == 0 {
            clean.push_str(text.get(done..range.start).unwrap_or_default());
            clean.push_str(REDACTED);
        }
        done = done.max(range.end);
    }
    clean.push_str(text.get(done..).unwrap_or_default());
    clean
}

fn percent(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'~');
    text.bytes().map(|b| if plain(b) { (b as char).to_string() } else { format!("%{b:02X}") }).collect()
}

/// Finds words that look like keys.
fn key_like(text: &str, found: &mut Vec<Range<usize>>) {
    let bytes = text.as_bytes();
    let mut named = false;
    let mut at = 0;
    while at < bytes.len() {
        let length = bytes[at..].iter().take_while(|b| in_word(**b)).count();
        if length == 0 {
            named &= matches!(bytes[at], b' ' | b'=' | b':' | b'"' | b'\'');
            at += 1;
            continue;
        }
        let word = &text[at..at + length];
        let by_name = named && length >= LEAST_NAMED && word.bytes().any(|b| b.is_ascii_digit());
        if by_name || looks_like_key(word) {
            found.push(at..at + length);
        }
        named = names_key(word, bytes.get(at + length).copied());
        at += length;
    }
}

fn in_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'*' | b'~' | b'+')
}

fn looks_like_key(word: &str) -> bool {
    KEYS.iter().any(|(prefix, least)| word.len() >= *least && word.starts_with(prefix))
}

/// Whether the word announces a key: `Bearer x`, `key=x`, `api_key=x`, `access_token=x`.
fn names_key(word: &str, next: Option<u8>) -> bool {
    let lower = word.to_ascii_lowercase();
    lower == "bearer" || next == Some(b'=') && (lower.ends_with("key") || lower.ends_with("token"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scrubber(secrets: &[&str]) -> Scrubber {
        Scrubber::new(secrets.iter().map(|secret| Secret::new(*secret)).collect())
    }

    #[test]
    fn a_configured_secret_goes_whatever_its_length_and_spelling() {
        let scrubber = scrubber(&["abc", "p/w\"ü+1", ""]);
        assert_eq!(scrubber.scrub("xabcx"), "x[redacted]x");
        assert_eq!(scrubber.scrub(r#"{"k":"p/w\"ü+1"}"#), r#"{"k":"[redacted]"}"#);
        assert_eq!(scrubber.scrub(r#"{"k":"p\/w\"ü+1"}"#), r#"{"k":"[redacted]"}"#);
        assert_eq!(scrubber.scrub("?k=p%2Fw%22%C3%BC%2B1&"), "?k=[redacted]&");
        assert_eq!(scrubber.scrub("?k=p%2fw%22%c3%bc%2b1&"), "?k=[redacted]&");
        assert!(matches!(scrubber.scrub("nothing here"), Cow::Borrowed(_)));
    }

    #[test]
    fn a_piece_of_a_secret_goes_where_it_is_no_plain_word() {
        let scrubber = scrubber(&["key-plainwords-Zq81mXw0Lp5"]);
        for (said, left) in [
            ("you sent q81mXw0L.", "you sent [redacted]."),
            ("plainwords-Zq8**** is wrong", "plai[redacted]**** is wrong"),
            ("you sent q81mXw0", "you sent q81mXw0"),
            ("plainwords are no key", "plainwords are no key"),
        ] {
            assert_eq!(scrubber.scrub(said), left);
        }
    }

    #[test]
    fn overlapping_secrets_leave_nothing() {
        assert_eq!(scrubber(&["abcd", "cdef"]).scrub("abcdef"), REDACTED);
        assert_eq!(scrubber(&["aa"]).scrub("aaaaa!"), "[redacted]a!");
    }

    #[test]
    fn a_header_tells_a_configured_secret_wherever_it_stands_and_however_it_is_spelt() {
        let scrubber = scrubber(&["abc", "key-0123456789", "p/w\"12345"]);
        for telling in ["key-0123456789", "Bearer key-0123456789", "?k=key-0123456789&x", "p%2Fw%2212345"] {
            assert!(scrubber.is_told_by(telling.as_bytes()), "{telling}");
        }
        for silent in ["", "k", "key-012345678", "ey-0123456789", "abc", "text/event-stream; charset=utf-8"] {
            assert!(!scrubber.is_told_by(silent.as_bytes()), "{silent}");
        }
        assert!(
            !Scrubber::default().is_told_by(b"sk-proj-abc123"),
            "what only looks like a key may be an id"
        );
    }

    #[test]
    #[ignore = "a measurement"]
    fn the_cost_of_looking_at_headers() {
        let keys: Vec<Secret> =
            (0..300).map(|n| Secret::new(format!("sk-proj-{n:04}-{:020}", n * 7))).collect();
        let scrubber = Scrubber::new(keys);
        let headers = [
            "application/json",
            "Sat, 21 Nov 2026 11:22:33 GMT",
            "req_0123456789abcdef0123456789abcdef",
            "2020-10-01",
            "412",
            "openai-internal-organization-name",
            "max-age=31536000; includeSubDomains; preload",
        ];
        let start = std::time::Instant::now();
        for _ in 0..1_000_000 {
            for header in headers {
                assert!(!scrubber.is_told_by(std::hint::black_box(header.as_bytes())));
            }
        }
        println!("{:?} an answer", start.elapsed() / 1_000_000);
    }

    #[test]
    fn what_looks_like_a_key_goes_too() {
        let scrubber = Scrubber::default();
        let jwt = format!("eyJ{}.{}.x", "a".repeat(30), "b".repeat(30));
        for key in [
            "sk-proj-abc123",
            "sk-ant-api03-xyz",
            "sk-ab***********wxyz",
            "AIzaSyA1234567890abcdefgh",
            "gsk_abcdefgh1234",
            "xai-abcdefgh1234",
            "ya29.a0AfH6SMBx",
            jwt.as_str(),
        ] {
            let text = format!("Incorrect API key provided: {key}, see docs");
            assert_eq!(scrubber.scrub(&text), "Incorrect API key provided: [redacted], see docs");
        }
        assert_eq!(scrubber.scrub("Authorization: Bearer abc12345"), "Authorization: Bearer [redacted]");
        assert_eq!(scrubber.scrub("https://h/v1?key=abcdefg8&x=1"), "https://h/v1?key=[redacted]&x=1");
        for harmless in
            ["Bearer authentication is required", "sk-", "a task-force of 12345678", "primary_key=1", "é"]
        {
            assert_eq!(scrubber.scrub(harmless), harmless);
        }
    }
}
