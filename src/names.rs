//! Names that an operator chooses: what a credential may be called, and how its name is shown.
//!
//! A name goes into logs, metrics labels, admin paths and pages, so it is checked once, here, and carried as a
//! type of its own. Any printable text is fine, spaces and other alphabets too; what could forge a log line (line
//! breaks, terminal codes, marks that turn the direction of writing) is not. `Display` escapes what would break a
//! quoted text; `as_str` gives the name itself, for keys and for comparing.

use std::fmt;
use std::sync::Arc;

/// The most characters that a name may have: long enough for any naming scheme, short enough for a table.
pub const MAX_NAME_CHARS: usize = 128;

/// The name of a credential: 1 to 128 printable characters. Cloning shares the text.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CredentialName(Arc<str>);

/// Why a text cannot be the name of a credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadName {
    /// No character at all.
    #[error("a name needs at least one character")]
    Empty,
    /// More than 128 characters.
    #[error("a name has at most 128 characters, this one has {0}")]
    TooLong(usize),
    /// A line break, a tab, a terminal code, an invisible mark.
    #[error("a name holds printable characters only, and character {0} of this one is not printable")]
    NotPrintable(usize),
}

impl CredentialName {
    /// Checks the text. Characters are counted, not bytes.
    pub fn new(text: &str) -> Result<Self, BadName> {
        let length = text.chars().count();
        if length == 0 {
            return Err(BadName::Empty);
        }
        if length > MAX_NAME_CHARS {
            return Err(BadName::TooLong(length));
        }
        match text.chars().position(|c| !is_printable(c)) {
            Some(at) => Err(BadName::NotPrintable(at + 1)),
            None => Ok(Self(text.into())),
        }
    }

    /// The name as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether a character leaves a visible mark or a plain space: no controls, no line or paragraph separators, no
/// invisible marks, none that turn the direction of writing.
fn is_printable(c: char) -> bool {
    !c.is_control()
        && !matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
        && !matches!(c, '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

impl fmt::Display for CredentialName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| match c {
            '"' | '\'' | '`' | '\\' => write!(f, "\\{c}"),
            c => write!(f, "{c}"),
        })
    }
}

impl fmt::Debug for CredentialName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

impl AsRef<str> for CredentialName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

/// So that a map keyed by names can be asked with a plain text.
impl std::borrow::Borrow<str> for CredentialName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_printable_text_is_a_name() {
        for text in ["a", "openai main", "ключ-1", "a:b/c", &"x".repeat(128), "日本"] {
            assert_eq!(CredentialName::new(text).unwrap().as_str(), text);
        }
    }

    #[test]
    fn what_could_forge_a_log_line_is_not_a_name() {
        assert_eq!(CredentialName::new(""), Err(BadName::Empty));
        assert_eq!(CredentialName::new(&"é".repeat(129)), Err(BadName::TooLong(129)));
        for text in ["ab\ncd", "ab\u{1b}[2J", "ab\u{2028}", "ab\u{202e}cd", "ab\u{200b}"] {
            assert_eq!(CredentialName::new(text), Err(BadName::NotPrintable(3)), "{text:?}");
        }
    }

    #[test]
    fn a_name_that_breaks_quotes_is_shown_escaped() {
        let name = CredentialName::new(r#"a"b\c"#).unwrap();
        assert_eq!(name.to_string(), r#"a\"b\\c"#);
        assert_eq!(format!("{name:?}"), r#""a\"b\\c""#);
    }
}
