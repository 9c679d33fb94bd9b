//! JSON values that borrow from the bytes they were read from.
//!
//! serde borrows a `Cow<str>` only where it is a field of its own, not inside an `Option` or a `Vec`; `Str` does so
//! everywhere. A picture of a megabyte is so read without a copy and written with one.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::OnceLock;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

mod reader;

pub use reader::read;

/// A JSON string, borrowed unless it has escapes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Str<'a>(pub Cow<'a, str>);

impl Str<'_> {
    /// The same without the borrow.
    pub fn into_owned(self) -> Str<'static> {
        Str(Cow::Owned(self.0.into_owned()))
    }
}

impl Deref for Str<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl<'a> From<&'a str> for Str<'a> {
    fn from(text: &'a str) -> Self {
        Self(Cow::Borrowed(text))
    }
}

impl From<String> for Str<'_> {
    fn from(text: String) -> Self {
        Self(Cow::Owned(text))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Str<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct StrVisitor;
        impl<'de> Visitor<'de> for StrVisitor {
            type Value = Str<'de>;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(text.into())
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(text.to_owned().into())
            }
        }
        deserializer.deserialize_str(StrVisitor)
    }
}

/// A text that is mostly only said again: one with escapes stays the JSON string that it was until it is looked into,
/// because to undo and redo them would be most of a translation's work.
#[derive(Clone, Debug)]
pub enum Text<'a> {
    /// As it is.
    Plain(Str<'a>),
    /// With escapes.
    Escaped {
        /// The JSON string.
        json: &'a RawValue,
        /// Without them.
        plain: OnceLock<String>,
    },
}

impl<'a> Text<'a> {
    /// The text of a JSON string. `None`: it is none, or has half a surrogate pair.
    pub fn of(json: &'a RawValue) -> Option<Self> {
        let inner = json.get().strip_prefix('"')?.strip_suffix('"')?;
        if memchr::memchr(b'\\', inner.as_bytes()).is_none() {
            return Some(Self::Plain(inner.into()));
        }
        // Whether its surrogates are pairs only a parser tells.
        let mut numbered = memchr::memmem::find_iter(inner.as_bytes(), "\\u");
        if numbered.any(|at| matches!(inner.as_bytes().get(at + 2), Some(b'd' | b'D'))) {
            return serde_json::from_str(json.get()).ok().map(Self::Plain);
        }
        Some(Self::Escaped { json, plain: OnceLock::new() })
    }

    /// Whether there is nothing in it. An escape is something.
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::Plain(text) if text.is_empty())
    }

    /// Whether there is only white space in it.
    pub fn is_blank(&self) -> bool {
        if let Self::Escaped { json, .. } = self {
            let begun = json.get().trim_start_matches(['"', ' ']);
            if begun.starts_with(|first: char| !first.is_whitespace() && first != '\\') {
                return false;
            }
        }
        self.trim().is_empty()
    }

    /// The text without escapes.
    pub fn into_plain(self) -> Str<'a> {
        match self {
            Self::Plain(text) => text,
            escaped => (*escaped).to_owned().into(),
        }
    }
}

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Self::Plain(text) => text,
            // It was read as JSON before, and what a parser could refuse does not come here.
            Self::Escaped { json, plain } => {
                plain.get_or_init(|| serde_json::from_str(json.get()).unwrap_or_default())
            }
        }
    }
}

impl PartialEq for Text<'_> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl<'a, T: Into<Str<'a>>> From<T> for Text<'a> {
    fn from(text: T) -> Self {
        Self::Plain(text.into())
    }
}

impl Serialize for Text<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Plain(text) => text.serialize(serializer),
            Self::Escaped { json, .. } => json.serialize(serializer),
        }
    }
}

/// A text as it is written: what was said, or words of ours.
#[derive(Serialize)]
#[serde(untagged)]
pub enum Words<'a> {
    /// Of the conversation.
    Said(&'a Text<'a>),
    /// Of ours.
    Ours(Cow<'a, str>),
}

impl Deref for Words<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Self::Said(text) => text,
            Self::Ours(text) => text,
        }
    }
}

impl<'a> From<&'a Text<'a>> for Words<'a> {
    fn from(text: &'a Text<'a>) -> Self {
        Self::Said(text)
    }
}

impl<'a> From<&'a str> for Words<'a> {
    fn from(text: &'a str) -> Self {
        Self::Ours(text.into())
    }
}

impl From<String> for Words<'_> {
    fn from(text: String) -> Self {
        Self::Ours(text.into())
    }
}

/// A string, or a list of items; what many members of the providers' bodies may be. A single object counts as a list
/// of one.
#[derive(Clone, Debug, PartialEq)]
pub enum OneOrMany<'a, T> {
    /// A string.
    Text(Str<'a>),
    /// A list.
    Many(Vec<T>),
}

impl<'de: 'a, 'a, T: Deserialize<'de>> Deserialize<'de> for OneOrMany<'a, T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrManyVisitor<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for OneOrManyVisitor<T> {
            type Value = OneOrMany<'de, T>;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a string or an array")
            }

            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(OneOrMany::Text(text.into()))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(OneOrMany::Text(text.to_owned().into()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
                let mut many = Vec::with_capacity(items.size_hint().unwrap_or(0).min(64));
                while let Some(item) = items.next_element()? {
                    many.push(item);
                }
                Ok(OneOrMany::Many(many))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                let one = T::deserialize(serde::de::value::MapAccessDeserializer::new(map))?;
                Ok(OneOrMany::Many(vec![one]))
            }
        }
        deserializer.deserialize_any(OneOrManyVisitor(PhantomData))
    }
}

/// An object's members, in order; names may stand there twice.
pub struct Members<'a, V = &'a RawValue>(pub Vec<(Str<'a>, V)>);

impl<'de: 'a, 'a, V: Deserialize<'de>> Deserialize<'de> for Members<'a, V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder<V>(PhantomData<V>);
        impl<'de, V: Deserialize<'de>> Visitor<'de> for InOrder<V> {
            type Value = Members<'de, V>;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(InOrder(PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_borrow_wherever_they_stand() {
        let read: Vec<Option<Str>> = serde_json::from_str(r#"["plain", null, "a\nb"]"#).unwrap();
        assert!(matches!(read[0].as_ref().unwrap().0, Cow::Borrowed("plain")));
        assert!(matches!(&read[2].as_ref().unwrap().0, Cow::Owned(text) if text == "a\nb"));
    }

    #[test]
    fn a_member_may_be_a_text_a_list_or_one_item() {
        let read = |json| serde_json::from_str::<OneOrMany<Vec<u8>>>(json);
        assert_eq!(read(r#""x""#).unwrap(), OneOrMany::Text("x".into()));
        assert_eq!(read("[[1],[2]]").unwrap(), OneOrMany::Many(vec![vec![1], vec![2]]));
        assert!(read("7").is_err());
    }

    fn text(json: &str) -> Option<Text<'_>> {
        Text::of(serde_json::from_str(json).unwrap())
    }

    #[test]
    fn a_text_with_escapes_is_said_again_as_it_was() {
        let json = r#""\u0041 \/ \"b\" \u00e9\n""#;
        let kept = text(json).unwrap();
        assert_eq!(serde_json::to_string(&kept).unwrap(), json);
        assert_eq!(&*kept, "A / \"b\" \u{e9}\n");
        assert!(matches!(text(r#""plain""#), Some(Text::Plain(Str(Cow::Borrowed("plain"))))));
    }

    #[test]
    fn a_text_that_is_none_is_not_passed_on() {
        assert!(text("7").is_none() && text("[]").is_none());
        assert!(text(r#""half \ud83d""#).is_none() && text(r#""half \uDE00""#).is_none());
        assert_eq!(text(r#""\ud83d\ude00 \\ud""#).as_deref(), Some("\u{1f600} \\ud"));
    }

    #[test]
    fn a_blank_text_is_known_with_and_without_escapes() {
        let blank = |json| text(json).unwrap().is_blank();
        assert!([r#""""#, r#"" ""#, r#"" \n\t""#, r#""\u0020\u2003""#].into_iter().all(blank));
        assert!(![r#""a\n""#, r#"" \"""#, r#""\na""#, r#""\u0041""#, r#""\\n""#].into_iter().any(blank));
        assert!(text(r#""""#).unwrap().is_empty() && !text(r#""\n""#).unwrap().is_empty());
    }
}
