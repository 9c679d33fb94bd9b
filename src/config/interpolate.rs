//! Values that live outside the file: `os.environ/NAME`, `${NAME}`, `${NAME:-default}` and `file:/path`.
//!
//! Any scalar may use them, and what comes out is not read again for references, so a variable cannot pull in a file; it
//! may be sealed, though (`sealed.rs`).
//! A missing or empty variable is a problem that names it: the original program kept the literal text and sent it
//! upstream as a key. The environment and the file system are closures, so that this stays a pure function.

use std::io;
use std::path::Path;

use super::sealed::{self, Closed, Keys};

/// Reads an environment variable; none if it is not set.
pub type Variables<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Reads the whole text of a file.
pub type Files<'a> = &'a dyn Fn(&Path) -> io::Result<String>;

/// Where values outside the file come from.
#[derive(Clone, Copy)]
pub struct Outside<'a> {
    /// An environment variable, if it is set.
    pub env: Variables<'a>,
    /// The whole text of a file.
    pub read: Files<'a>,
}

/// Why a reference has no value. Never holds a value.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unresolved {
    /// The variable is not set.
    #[error("the environment variable `{0}` is not set")]
    Unset(String),
    /// The variable is set to nothing.
    #[error("the environment variable `{0}` is empty")]
    Empty(String),
    /// The text after `os.environ/` or `${` is no name of a variable.
    #[error("this is not the name of an environment variable (letters, digits and `_`)")]
    BadName,
    /// A `${` without its `}`.
    #[error("`${{` has no closing `}}`")]
    Unclosed,
    /// The file cannot be read.
    #[error("the file `{0}` cannot be read: {1}")]
    Unreadable(String, String),
    /// The value is sealed and stays so.
    #[error(transparent)]
    Closed(#[from] Closed),
    /// The file has nothing in it.
    #[error("the file `{0}` is empty")]
    EmptyFile(String),
}

impl Outside<'_> {
    /// The value that `text` stands for, or none where it stands for itself. Sealed values are opened, wherever they
    /// stand.
    pub fn resolve(&self, text: &str) -> Result<Option<String>, Unresolved> {
        let value = self.refer(text)?;
        match value.as_deref().unwrap_or(text) {
            sealed if sealed.starts_with(sealed::PREFIX) => {
                Ok(Some(Keys::find(*self).and_then(|keys| keys.open(sealed))?))
            }
            _ => Ok(value),
        }
    }

    /// The value that a reference leads to.
    fn refer(&self, text: &str) -> Result<Option<String>, Unresolved> {
        if let Some(name) = text.strip_prefix("os.environ/") {
            return self.variable(name).map(Some);
        }
        if let Some(path) = text.strip_prefix("file:") {
            return self.file(path).map(Some);
        }
        if !text.contains("${") {
            return Ok(None);
        }
        self.template(text).map(Some)
    }

    /// The text of a file, for keys that name a file rather than hold a value.
    pub fn file(&self, path: &str) -> Result<String, Unresolved> {
        let text = (self.read)(Path::new(path)).map_err(|e| Unresolved::Unreadable(path.into(), why(&e)))?;
        let text = text.trim_end_matches(['\n', '\r']);
        if text.is_empty() {
            return Err(Unresolved::EmptyFile(path.into()));
        }
        Ok(text.to_owned())
    }

    fn variable(&self, name: &str) -> Result<String, Unresolved> {
        if !is_variable(name) {
            return Err(Unresolved::BadName);
        }
        match (self.env)(name) {
            None => Err(Unresolved::Unset(name.into())),
            Some(value) if value.is_empty() => Err(Unresolved::Empty(name.into())),
            Some(value) => Ok(value),
        }
    }

    /// A text with `${…}` in it; `$${` stands for `${` itself.
    fn template(&self, text: &str) -> Result<String, Unresolved> {
        let mut value = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            if let Some(before) = before.strip_suffix('$') {
                value.push_str(before);
                value.push_str("${");
                rest = after;
                continue;
            }
            let (reference, tail) = after.split_once('}').ok_or(Unresolved::Unclosed)?;
            value.push_str(before);
            value.push_str(&self.braces(reference)?);
            rest = tail;
        }
        value.push_str(rest);
        Ok(value)
    }

    fn braces(&self, reference: &str) -> Result<String, Unresolved> {
        let Some((name, default)) = reference.split_once(":-") else { return self.variable(reference) };
        match self.variable(name) {
            Err(Unresolved::Unset(_) | Unresolved::Empty(_)) => Ok(default.to_owned()),
            other => other,
        }
    }
}

/// Whether a value has its text elsewhere, or is sealed.
pub fn is_elsewhere(value: &str) -> bool {
    ["os.environ/", "file:", sealed::PREFIX].iter().any(|start| value.starts_with(start))
        || value.contains("${")
}

/// Whether a text as written (quotes included) is only a reference, and so safe to show.
pub fn is_reference(written: &str) -> bool {
    let text = written.trim().trim_matches(['"', '\'']);
    let braces = text.strip_prefix("${").and_then(|rest| rest.strip_suffix('}'));
    let path = text.strip_prefix("file:").is_some_and(|path| path.starts_with(['/', '.']));
    path || braces.or(text.strip_prefix("os.environ/")).is_some_and(is_variable)
}

fn is_variable(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// The reason in words that do not change with the operating system.
fn why(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "there is no such file".into(),
        io::ErrorKind::PermissionDenied => "permission denied".into(),
        io::ErrorKind::InvalidData => "it is not UTF-8 text".into(),
        kind => kind.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(text: &str) -> Result<Option<String>, Unresolved> {
        let env = |name: &str| match name {
            "KEY" => Some("value".to_owned()),
            "NONE" => Some(String::new()),
            _ => None,
        };
        let read = |path: &Path| match path.to_str() {
            Some("/run/key") => Ok("from file\n".to_owned()),
            Some("/run/empty") => Ok("\n".to_owned()),
            _ => Err(io::Error::from(io::ErrorKind::NotFound)),
        };
        Outside { env: &env, read: &read }.resolve(text)
    }

    #[test]
    fn references_stand_for_their_values() {
        for (text, value) in [
            ("os.environ/KEY", "value"),
            ("${KEY}", "value"),
            ("a-${KEY}-${KEY}", "a-value-value"),
            ("${OTHER:-8080}", "8080"),
            ("${NONE:-x}", "x"),
            ("${KEY:-x}", "value"),
            ("file:/run/key", "from file"),
            ("$${KEY} ${KEY}", "${KEY} value"),
        ] {
            assert_eq!(resolve(text).as_ref().map(Option::as_deref), Ok(Some(value)), "{text}");
        }
        assert_eq!(resolve("plain $text"), Ok(None));
    }

    #[test]
    fn a_missing_value_is_a_problem_that_names_it() {
        for (text, fault) in [
            ("os.environ/OTHER", Unresolved::Unset("OTHER".into())),
            ("x${OTHER}", Unresolved::Unset("OTHER".into())),
            ("${NONE}", Unresolved::Empty("NONE".into())),
            ("os.environ/a b", Unresolved::BadName),
            ("${}", Unresolved::BadName),
            ("${KEY", Unresolved::Unclosed),
            ("file:/no", Unresolved::Unreadable("/no".into(), "there is no such file".into())),
            ("file:/run/empty", Unresolved::EmptyFile("/run/empty".into())),
        ] {
            assert_eq!(resolve(text), Err(fault), "{text}");
        }
    }
}
