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

    /// Welch's t between the times of two kinds of wrong keys, in the manner of dudect (Reparaz, Balasch, Verbauwhede, 2017): above
    /// 4.5 either way, the times tell them apart. Run it with `--release -- --ignored --nocapture`.
    #[test]
    #[ignore = "a measurement"]
    fn the_cost_of_a_wrong_key_says_nothing_of_the_right_one() {
        const KEY: &str = "sk-0123456789abcdef0123456789abcdef";
        let wrong_at = |at: usize| {
            let mut key = KEY.as_bytes().to_vec();
            key[at] ^= 1;
            key
        };
        let own = Secret::new(KEY);
        let kinds = [
            ("first byte, last byte", [wrong_at(0), wrong_at(KEY.len() - 1)]),
            ("wrong, right", [wrong_at(0), KEY.into()]),
        ];
        for (names, keys) in kinds {
            let t = welch(&times(&own, &keys));
            println!("{names}: t = {t:.2} over a million samples");
            assert!(t.abs() < 4.5);
        }
    }

    /// How long it took to compare one key or the other, in an order that nothing else follows.
    fn times(own: &Secret, keys: &[Vec<u8>; 2]) -> [Vec<f64>; 2] {
        let mut times = [Vec::new(), Vec::new()];
        let mut chance = 0x9e37_79b9_7f4a_7c15_u64;
        for _ in 0..1_000_000 {
            chance ^= chance << 13;
            chance ^= chance >> 7;
            chance ^= chance << 17;
            let kind = (chance >> 32 & 1) as usize;
            // Both are copied to one place, so that neither is nearer.
            let presented = std::hint::black_box(keys[kind].clone());
            let start = std::time::Instant::now();
            for _ in 0..16 {
                std::hint::black_box(own.matches(std::hint::black_box(&presented)));
            }
            times[kind].push(start.elapsed().as_nanos() as f64);
        }
        times
    }

    /// Of what is below the ninth tenth of both: the rest is what other programs took.
    fn welch(times: &[Vec<f64>; 2]) -> f64 {
        let mut all = times.concat();
        all.sort_by(f64::total_cmp);
        let most = all[all.len() * 9 / 10];
        let moments = times.each_ref().map(|times| {
            let kept: Vec<f64> = times.iter().copied().filter(|time| *time <= most).collect();
            let count = kept.len() as f64;
            let mean = kept.iter().sum::<f64>() / count;
            (mean, kept.iter().map(|time| (time - mean).powi(2)).sum::<f64>() / (count - 1.0) / count)
        });
        let [(one, of_one), (other, of_other)] = moments;
        (one - other) / (of_one + of_other).sqrt()
    }
}
