//! Keys: whether one can be sent at all, whether it was ever filled in, and whether a caller's key is long enough.
//!
//! A problem with a key never says what the key is, nor how it goes on.

use super::Check;
use crate::clients::MOST_KEY;
use crate::config::problem::Fault;
use crate::secret::Secret;

impl Check<'_, '_> {
    /// A key that callers present.
    pub(super) fn callers_key(&mut self, path: &str, key: &Secret) {
        let name = path.rsplit('.').next().unwrap_or(path);
        let length = key.expose().chars().count();
        if length < 8 {
            let fault = Fault::new(format!("`{name}` has fewer than 8 characters, which can be guessed"));
            self.error(
                path,
                fault.help("use 32 random characters, for instance from `openssl rand -hex 16`"),
            );
        } else if length < 16 && !is_placeholder(key.expose()) {
            let fault = Fault::new(format!("`{name}` has fewer than 16 characters"));
            self.warn(path, fault.help("use 32 random characters, for instance from `openssl rand -hex 16`"));
        }
        if key.expose().len() > MOST_KEY {
            let fault = Fault::new(format!("`{name}` has more than {MOST_KEY} characters"));
            self.error(path, fault.help("a longer key is no safer"));
        }
        self.key(path, key);
    }

    /// Any key that goes into a header.
    pub(super) fn key(&mut self, path: &str, key: &Secret) {
        let name = path.rsplit('.').next().unwrap_or(path);
        if !key.expose().bytes().all(|b| b.is_ascii_graphic()) {
            let fault = Fault::new(format!(
                "`{name}` holds a blank, a line break or a character that no header can carry"
            ));
            self.error(path, fault.help("a key is one word; look for a blank at its end"));
        } else if is_placeholder(key.expose()) {
            let fault = Fault::new(format!("`{name}` looks like the placeholder of an example"));
            self.warn(path, fault.help("put the real key here, or better `os.environ/NAME`"));
        }
    }
}

/// Whether a key is what an example has in the place of one.
fn is_placeholder(key: &str) -> bool {
    const MARKS: [&str; 10] = [
        "xxxx",
        "your-",
        "your_",
        "changeme",
        "change-me",
        "change_me",
        "replace",
        "placeholder",
        "<",
        "****",
    ];
    let key = key.to_ascii_lowercase();
    key.ends_with("...") || key.ends_with('…') || MARKS.iter().any(|mark| key.contains(mark))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_are_told_from_keys() {
        for key in ["sk-your-master-key-here", "sk-proj-xxxxxxxxxxxxx", "sk-...", "<KEY>", "changeme"] {
            assert!(is_placeholder(key), "{key}");
        }
        for key in ["sk-remote-key", "sk-4f9a0c77e1b2", "yours-truly"] {
            assert!(!is_placeholder(key), "{key}");
        }
    }
}
