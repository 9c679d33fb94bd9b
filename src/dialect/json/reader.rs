//! Requests read by serde, with strings found by `llm::scan`'s means.
//!
//! What a conversation keeps of a long text is where it begins and ends, and serde_json looks at each of its bytes for
//! that. Here containers, plain strings and raw values are walked by the cursor that has walked the body once already,
//! and all else is serde_json's, whose numbers and escapes are read by itself. It also has the last word: whatever is
//! not read here is read by it, and so are its faults what a client is told.

use serde::de::value::BorrowedStrDeserializer;
use serde::de::{self, Deserialize, DeserializeSeed, Deserializer, Visitor};
use serde::forward_to_deserialize_any;
use serde_json::Error;

use crate::llm::scan::{Cursor, Fault, Text};

/// As deep as serde_json goes.
const DEEPEST: u8 = 127;
/// What serde_json's raw values ask for, and are told their text by. Another name would only cost time: they would be
/// read by serde_json.
const RAW: &str = "$serde_json::private::RawValue";

/// Reads a document.
///
/// # Errors
/// Those of serde_json.
pub fn read<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, Error> {
    walk(text).or_else(|_| serde_json::from_str(text))
}

fn walk<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, Error> {
    let mut reader = Reader { text, cursor: Cursor::new(text.as_bytes(), DEEPEST) };
    let value = T::deserialize(&mut reader)?;
    reader.cursor.end().map_err(fault)?;
    Ok(value)
}

fn fault(fault: Fault) -> Error {
    de::Error::custom(fault)
}

struct Reader<'a> {
    text: &'a str,
    cursor: Cursor<'a>,
}

impl<'a> Reader<'a> {
    /// The value that comes next, as it is written.
    fn raw(&mut self) -> Result<&'a str, Error> {
        let start = self.cursor.at();
        self.cursor.skip(&Text::NONE, &mut ()).map_err(fault)?;
        Ok(self.text.get(start..self.cursor.at()).unwrap_or_default())
    }

    /// What stands between the quotes.
    fn inner(&self, string: &Text) -> &'a str {
        let span = string.span();
        self.text.get(span.start + 1..span.end - 1).unwrap_or_default()
    }
}

impl<'de> Deserializer<'de> for &mut Reader<'de> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.cursor.peek() {
            b'{' => {
                let more = self.cursor.open_object().map_err(fault)?;
                visitor.visit_map(Inside { reader: self, more })
            }
            b'[' => {
                let more = self.cursor.open_array().map_err(fault)?;
                visitor.visit_seq(Inside { reader: self, more })
            }
            b'"' => {
                let string = self.cursor.string().map_err(fault)?;
                match string.is_escaped() {
                    false => visitor.visit_borrowed_str(self.inner(&string)),
                    true => {
                        let quoted = self.text.get(string.span()).unwrap_or_default();
                        serde_json::Deserializer::from_str(quoted).deserialize_str(visitor)
                    }
                }
            }
            _ => serde_json::Deserializer::from_str(self.raw()?).deserialize_any(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.cursor.peek() != b'n' {
            return visitor.visit_some(self);
        }
        self.raw()?;
        visitor.visit_none()
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        match name {
            RAW => visitor.visit_map(Raw(Some(self.raw()?))),
            _ => visitor.visit_newtype_struct(self),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.raw()?;
        visitor.visit_unit()
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        serde_json::Deserializer::from_str(self.raw()?).deserialize_enum(name, variants, visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct
        seq tuple tuple_struct map struct identifier
    }
}

/// An object or an array; `more`: it has a member or an item that has not been read.
struct Inside<'r, 'a> {
    reader: &'r mut Reader<'a>,
    more: bool,
}

impl<'a> de::MapAccess<'a> for Inside<'_, 'a> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'a>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        if !self.more {
            return Ok(None);
        }
        let key = self.reader.cursor.key().map_err(fault)?;
        if key.is_escaped() {
            return Err(de::Error::custom("a key with escapes"));
        }
        seed.deserialize(BorrowedStrDeserializer::new(self.reader.inner(&key))).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'a>>(&mut self, seed: V) -> Result<V::Value, Error> {
        let value = seed.deserialize(&mut *self.reader)?;
        self.more = self.reader.cursor.more_members().map_err(fault)?;
        Ok(value)
    }
}

impl<'a> de::SeqAccess<'a> for Inside<'_, 'a> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'a>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        if !self.more {
            return Ok(None);
        }
        let item = seed.deserialize(&mut *self.reader)?;
        self.more = self.reader.cursor.more_items().map_err(fault)?;
        Ok(Some(item))
    }
}

/// The text of a raw value, as the only member of an object.
struct Raw<'a>(Option<&'a str>);

impl<'a> de::MapAccess<'a> for Raw<'a> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'a>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        match self.0 {
            Some(_) => seed.deserialize(BorrowedStrDeserializer::new(RAW)).map(Some),
            None => Ok(None),
        }
    }

    fn next_value_seed<V: DeserializeSeed<'a>>(&mut self, seed: V) -> Result<V::Value, Error> {
        seed.deserialize(BorrowedStrDeserializer::new(self.0.take().unwrap_or_default()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::Deserialize;
    use serde_json::value::RawValue;
    use serde_json::{json, Value};

    use super::super::{OneOrMany, Str};
    use super::*;

    #[derive(Debug, Default, Deserialize)]
    #[serde(default)]
    struct Body<'a> {
        #[serde(borrow)]
        plain: Option<Str<'a>>,
        #[serde(borrow)]
        escaped: Option<Str<'a>>,
        #[serde(borrow)]
        raw: Option<&'a RawValue>,
        #[serde(borrow)]
        several: Option<OneOrMany<'a, Str<'a>>>,
        count: Option<u32>,
        share: Option<f64>,
        on: Option<bool>,
        kind: Option<Kind>,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(rename_all = "snake_case")]
    enum Kind {
        One,
    }

    #[test]
    fn all_that_requests_are_made_of_is_read_without_serde_jsons_help() {
        let text = r#" { "plain" : "p", "unknown": {"a": ["b", {}]}, "escaped": "\n", "raw": [ "x\"", 1e3 ],
            "several": ["a", "b"], "count": 7, "share": 2, "on": true, "kind": "one" } "#;
        let body: Body = walk(text).unwrap();
        assert_eq!((body.plain, body.escaped), (Some("p".into()), Some("\n".into())));
        assert_eq!(body.raw.unwrap().get(), r#"[ "x\"", 1e3 ]"#);
        assert_eq!(body.several, Some(OneOrMany::Many(vec!["a".into(), "b".into()])));
        assert_eq!((body.count, body.share, body.on), (Some(7), Some(2.0), Some(true)));
        assert_eq!(body.kind, Some(Kind::One));
        let body: Body = walk(r#"{"plain":null,"raw":null,"several":{},"on":null}"#).unwrap_or_default();
        assert!(body.plain.is_none() && body.on.is_none());
    }

    #[test]
    fn what_is_kept_lies_in_the_body() {
        let text = format!(r#"{{"plain":"{}","raw":"a\n{}"}}"#, "x".repeat(99), "y".repeat(99));
        let body: Body = walk(&text).unwrap();
        let within = |part: &str| text.as_bytes().as_ptr_range().contains(&part.as_ptr());
        assert!(within(&body.plain.unwrap()) && within(body.raw.unwrap().get()));
    }

    #[test]
    fn a_fault_is_told_in_serde_jsons_words() {
        for text in ["", "{", r#"{"plain":7}"#, r#"{"count":-1}"#, r#"{"plain":"x"} 1"#, r#"{"on":tru}"#] {
            let (ours, theirs) = (read::<Body>(text), serde_json::from_str::<Body>(text));
            assert_eq!(ours.unwrap_err().to_string(), theirs.unwrap_err().to_string(), "{text}");
        }
        assert!(read::<Value>(&"[".repeat(200_000)).is_err());
    }

    #[test]
    fn a_key_with_escapes_is_the_same_key() {
        assert_eq!(read::<Body>(r#"{"pl\u0061in":"x"}"#).unwrap().plain, Some("x".into()));
        assert_eq!(read::<Value>(r#"{"a\n":1}"#).unwrap(), json!({"a\n": 1}));
    }

    proptest! {
        #[test]
        fn any_text_is_read_as_serde_json_reads_it(
            text in r#"(\{|\}|\[|\]|:|,|"|\\|\\n|\\x|\\ud800|ü|x|"x"|1|-|\.|e|true|null| ){0,24}"#,
        ) {
            prop_assert_eq!(read::<Value>(&text).ok(), serde_json::from_str::<Value>(&text).ok());
            let raw = |read: Result<&RawValue, Error>| read.ok().map(|raw| raw.get().to_owned());
            prop_assert_eq!(raw(read(&text)), raw(serde_json::from_str(&text)));
        }
    }
}
