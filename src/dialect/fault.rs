//! Which member of a client's body has the wrong type.
//!
//! serde says at which line and column it stopped, not in which member. Keeping the path while reading would cost every
//! good request; so it is found afterwards, by a walk over the bytes up to that place, in bad requests only.
//! It also quotes what it found, which may be long and nobody else's business: what it expected says enough.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::conversation::Untranslatable;
use super::json::{self, OneOrMany, Text};

/// Reads a client's body. A fault names its member as a path, such as `messages[2].content`.
pub fn read<'a, T: Deserialize<'a>>(body: &'a str) -> Result<T, Untranslatable> {
    member(body, "")
}

/// Reads the member at `place` of a client's body.
pub fn member<'a, T: Deserialize<'a>>(text: &'a str, place: &str) -> Result<T, Untranslatable> {
    json::read(text).map_err(|fault| {
        let why = reason(&fault);
        let param = match path(text, offset(text, &fault)) {
            inner if inner.is_empty() || inner.starts_with('[') || place.is_empty() => {
                format!("{place}{inner}")
            }
            inner => format!("{place}.{inner}"),
        };
        match param.as_str() {
            "" => Untranslatable::new("body", format!("The body is not a request: {why}.")),
            _ => Untranslatable::new(param.as_str(), format!("`{param}` cannot be read: {why}.")),
        }
    })
}

/// What was said: a text that need not be undone, or a list.
pub enum TextOrList<'a, T> {
    /// A text.
    Text(Text<'a>),
    /// A list, or its only item.
    List(Vec<T>),
}

/// Reads the text or the list at `place`.
pub fn text_or_list<'a, T: Deserialize<'a>>(
    raw: &'a RawValue,
    place: &str,
) -> Result<TextOrList<'a, T>, Untranslatable> {
    if let Some(text) = Text::of(raw) {
        return Ok(TextOrList::Text(text));
    }
    Ok(match member::<OneOrMany<T>>(raw.get(), place)? {
        OneOrMany::Text(text) => TextOrList::Text(text.into()),
        OneOrMany::Many(items) => TextOrList::List(items),
    })
}

/// What was expected. Line and column mean nothing to a client that did not write the text.
fn reason(fault: &serde_json::Error) -> String {
    let said = fault.to_string();
    let said = said.rsplit_once(" at line ").map_or(said.as_str(), |(said, _)| said);
    if !fault.is_data() {
        return format!("it is not JSON ({said})");
    }
    match said.rsplit_once(", expected ") {
        Some((_, expected)) if expected.starts_with("struct ") => "expected an object".to_owned(),
        Some((_, expected)) => format!("expected {expected}"),
        None if said.starts_with("missing field") || said.starts_with("duplicate field") => said.to_owned(),
        None => "it has another form than is known".to_owned(),
    }
}

/// How many bytes serde had taken.
fn offset(body: &str, fault: &serde_json::Error) -> usize {
    let lines = body.split_inclusive('\n').take(fault.line().saturating_sub(1));
    lines.map(str::len).sum::<usize>().saturating_add(fault.column()).min(body.len())
}

/// An object or an array that the walk is in.
enum Level<'a> {
    Member(&'a str),
    Item(usize),
}

/// The path of the value at which the first `taken` bytes end.
fn path(body: &str, taken: usize) -> String {
    let mut levels: Vec<Level> = Vec::new();
    let bytes = body.as_bytes().get(..taken).unwrap_or_default();
    let mut at = 0;
    let mut last_text = 0..0;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => {
                let start = at + 1;
                at = start + text_length(bytes.get(start..).unwrap_or_default());
                last_text = start..at;
            }
            b':' => {
                if let Some(Level::Member(name)) = levels.last_mut() {
                    *name = body.get(last_text.clone()).unwrap_or_default();
                }
            }
            b'{' => levels.push(Level::Member("")),
            b'[' => levels.push(Level::Item(0)),
            b',' => match levels.last_mut() {
                Some(Level::Item(number)) => *number += 1,
                Some(Level::Member(name)) => *name = "",
                None => {}
            },
            b'}' | b']' => drop(levels.pop()),
            _ => {}
        }
        at += 1;
    }
    written(&levels)
}

/// The bytes of a string up to its closing quote, escapes as they are.
fn text_length(bytes: &[u8]) -> usize {
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => break,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    at
}

fn written(levels: &[Level]) -> String {
    let mut path = String::new();
    for level in levels {
        match level {
            Level::Member("") => {}
            Level::Member(name) if path.is_empty() => path.push_str(name),
            Level::Member(name) => path.extend([".", name]),
            Level::Item(number) => path.push_str(&format!("[{number}]")),
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::super::json::Str;
    use super::*;

    #[derive(Debug, Default, Deserialize)]
    #[serde(default)]
    struct Body<'a> {
        #[serde(borrow)]
        name: Option<Str<'a>>,
        list: Vec<Item<'a>>,
        one: Option<OneOrMany<'a, Item<'a>>>,
    }

    #[derive(Debug, Default, Deserialize)]
    #[serde(default)]
    struct Item<'a> {
        #[serde(borrow)]
        inner: Option<Str<'a>>,
    }

    fn param(body: &str) -> String {
        read::<Body>(body).unwrap_err().param
    }

    #[test]
    fn a_wrong_type_is_named_by_its_path() {
        assert_eq!(param(r#"{"name":5}"#), "name");
        assert_eq!(
            param(r#"{"x":"a,]}\"","list":[{"inner":"a"},{"y":[1,{"z":2}],"inner":{"w":1}}]}"#),
            "list[1].inner"
        );
        assert_eq!(param("{\"x\":1,\n \"list\":\n [{\"inner\":\ntrue}]}"), "list[0].inner");
        assert_eq!(param(r#"{"one":{"inner":[1]}}"#), "one.inner");
        assert_eq!(param(r#"{"list":"none"}"#), "list");
    }

    #[test]
    fn a_fault_says_what_was_expected_and_not_what_was_found() {
        let why = |body: &str| read::<Body>(body).unwrap_err().why;
        assert_eq!(why(r#"{"name":123456}"#), "`name` cannot be read: expected a string.");
        let said = why(r#"{"list":"a secret at line 7, expected peace"}"#);
        assert_eq!(said, "`list` cannot be read: expected a sequence.");
        assert_eq!(why(r#"{"list":["secret"]}"#), "`list[0]` cannot be read: expected an object.");
        assert!(why(r#"{"name":"secret"#).contains("is not JSON (EOF while parsing a string)"));
        assert!(!why(r#""secret""#).contains("secret") && !why(r#"{"one":7777}"#).contains("7777"));
    }

    #[test]
    fn a_fault_in_a_member_that_is_read_by_itself_has_its_place_in_front() {
        let place = |text: &str| member::<Body>(text, "input[1]").unwrap_err().param;
        assert_eq!(place("7"), "input[1]");
        assert_eq!(place(r#"{"name":7}"#), "input[1].name");
        assert_eq!(member::<Vec<u8>>("[1,true]", "input").unwrap_err().param, "input[1]");
    }

    #[test]
    fn what_is_no_object_is_the_body_s_fault() {
        assert_eq!(param("7"), "body");
        assert_eq!(param(""), "body");
    }

    #[test]
    fn the_walk_ends_within_any_text() {
        for cut in ["{\"a", "{\"a\\", "{\"a\\\"", "[[{\"a\":", "}}]]", "\"\\"] {
            path(cut, cut.len());
        }
    }
}
