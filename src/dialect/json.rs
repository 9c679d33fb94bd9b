//! JSON values that borrow from the bytes they were read from.
//!
//! serde borrows a `Cow<str>` only where it is a field of its own, not inside an `Option` or a `Vec`; `Str` does so
//! everywhere. A picture of a megabyte is so read without a copy and written with one.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde::Serialize;

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
}
