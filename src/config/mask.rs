//! Takes the secrets out of a file's text before any of it is shown.
//!
//! Two nets. The first is exact: the ranges of values that the schema calls secret. The second reads the bare text,
//! because a file with a syntax error has no tree and a misspelt key has no schema: anything after a key that sounds
//! like a secret, everything below `headers:` or a block of credentials, and every `sk-…`. Too much is masked rather
//! than too little. Bytes keep their places, so that a caret still points where it should. References to a variable or
//! to a file are no secrets and stay readable.

use std::ops::Range;

use super::interpolate;
use super::source::Text;

/// A copy of the text with every secret overwritten by three stars and spaces; as long as the text.
pub fn masked(text: &Text, secrets: &[Range<usize>]) -> String {
    let mut bytes = text.as_str().as_bytes().to_vec();
    let loose = Loose::default().scan(text);
    for range in secrets.iter().chain(&loose) {
        if !interpolate::is_reference(text.slice(range.clone())) {
            cover(&mut bytes, range);
        }
    }
    String::from_utf8(bytes).unwrap_or_default()
}

/// Overwrites a range: stars first, then spaces, line breaks left alone.
fn cover(bytes: &mut [u8], range: &Range<usize>) {
    let Some(secret) = bytes.get_mut(range.clone()) else { return };
    let hidden = secret.iter_mut().filter(|byte| !matches!(byte, b'\n' | b'\r')).enumerate();
    hidden.for_each(|(at, byte)| *byte = if at < 3 { b'*' } else { b' ' });
}

/// The second net: reads line by line, knowing nothing of YAML but its indentation.
#[derive(Default)]
struct Loose {
    /// The indentation of the secret key whose block the lines belong to.
    block: Option<usize>,
    found: Vec<Range<usize>>,
}

impl Loose {
    fn scan(mut self, text: &Text) -> Vec<Range<usize>> {
        for range in text.lines() {
            self.line(text.slice(range.clone()), range.start);
        }
        self.found
    }

    fn line(&mut self, line: &str, start: usize) {
        let content = line.trim_start_matches([' ', '\t', '-']);
        let indent = line.len() - content.len();
        if content.is_empty() {
            return;
        }
        if self.block.is_some_and(|block| indent > block) {
            let value = content.split_once(':').map_or(content, |(_, value)| value).trim_start();
            return self.found.push(start + line.len() - value.len()..start + line.len());
        }
        self.block = None;
        self.values(line, indent, start);
        self.key_like(line, start);
        self.user(line, start);
    }

    /// The values of keys that sound like secrets, in block or flow style.
    fn values(&mut self, line: &str, indent: usize, start: usize) {
        for (at, _) in line.match_indices([':', '=']) {
            let key = line[..at].trim_end_matches([' ', '"', '\'']);
            let key = key
                .rsplit(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '-')
                .next()
                .unwrap_or_default();
            if !sounds_secret(key) {
                continue;
            }
            let value = line[at + 1..].trim_start();
            if value.is_empty() || value.starts_with(['|', '>', '#']) {
                // The value is below, or was left in a comment.
                self.block = Some(indent);
            }
            let from = line.len() - value.len();
            self.found.push(start + from..start + from + value_length(value, line[..at].contains('{')));
        }
    }

    /// Every `sk-…` of eight characters and more, wherever it stands.
    fn key_like(&mut self, line: &str, start: usize) {
        for (at, _) in line.match_indices("sk-") {
            let length = line[at..]
                .bytes()
                .take_while(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
                .count();
            if length >= 8 {
                self.found.push(start + at..start + at + length);
            }
        }
    }

    /// The user and password of a URL.
    fn user(&mut self, line: &str, start: usize) {
        for (at, _) in line.match_indices("://") {
            let rest = &line[at + 3..];
            let host = rest.split(['/', ' ', '"', '\'']).next().unwrap_or_default();
            if let Some(user) = host.rfind('@') {
                self.found.push(start + at + 3..start + at + 3 + user);
            }
        }
    }
}

/// Whether a key sounds as if its value should not be shown.
fn sounds_secret(key: &str) -> bool {
    const WORDS: [&str; 8] =
        ["key", "secret", "token", "passw", "authorization", "bearer", "credentials_json", "credential_json"];
    let key = key.to_ascii_lowercase();
    key == "headers" || (!key.ends_with("_timeout") && WORDS.iter().any(|word| key.contains(word)))
}

/// How long a value is: to its closing quote, to the end of a flow entry, or to the end of the line.
fn value_length(value: &str, in_flow: bool) -> usize {
    let quote = value.chars().next().filter(|c| matches!(c, '"' | '\''));
    match quote {
        Some(quote) => value[1..].rfind(quote).map_or(value.len(), |at| at + 2),
        None if in_flow => value.find([',', '}']).unwrap_or(value.len()),
        None => value.trim_end().len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        masked(&Text::new("f", text), &[])
    }

    #[test]
    fn what_sounds_like_a_secret_is_covered_without_a_tree() {
        let text = "api_key: abc,def\n- apikey: 'x y' # note\nflow: {token: abc, rpm: 5}\nurl: https://u:pw@host/\nname: sk-abcdefgh!\n";
        let shown = shown(text);
        assert_eq!(shown.len(), text.len());
        for secret in ["abc", "def", "x y", "u:pw", "sk-abc"] {
            assert!(!shown.contains(secret), "{shown}");
        }
        assert!(shown.contains("rpm: 5}") && shown.contains("@host/") && shown.contains("# note"), "{shown}");
    }

    #[test]
    fn a_block_below_a_secret_key_is_covered_whole() {
        let shown = shown(
            "credentials_json: |\n  {\"private\": \"AAAA\",\n  BBBB\nheaders:\n  x-auth: CCCC\nport: 1\n",
        );
        for secret in ["AAAA", "BBBB", "CCCC"] {
            assert!(!shown.contains(secret), "{shown}");
        }
        assert!(shown.contains("x-auth: ***") && shown.contains("port: 1"), "{shown}");
    }

    #[test]
    fn references_stay_readable() {
        let text = "api_key: os.environ/KEY\nmaster_key: \"${MASTER}\"\napi_key: file:/run/key\n";
        assert_eq!(shown(text), text);
        assert!(!shown("api_key: ${KEY:-abcdef}").contains("abcdef"));
    }
}
