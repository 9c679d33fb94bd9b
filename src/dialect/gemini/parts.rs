//! What `contents` consist of, as it is written.

use std::borrow::Cow;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use crate::dialect::json::Words;

/// A turn.
#[derive(Serialize)]
pub struct Content<'c> {
    pub role: &'static str,
    pub parts: Vec<OutPart<'c>>,
}

/// A part: one member, and perhaps its signature.
#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OutPart<'c> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<Words<'c>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thought: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inline_data: Option<Blob<'c>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file_data: Option<File<'c>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub function_call: Option<FunctionCall<'c>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub function_response: Option<FunctionResponse<'c>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thought_signature: Option<Cow<'c, str>>,
}

impl<'c> OutPart<'c> {
    /// Text.
    pub fn text(text: impl Into<Words<'c>>) -> Self {
        Self { text: Some(text.into()), ..Self::default() }
    }
}

/// Bytes.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Blob<'c> {
    pub mime_type: &'c str,
    pub data: &'c str,
}

/// Bytes elsewhere.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct File<'c> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mime_type: Option<&'c str>,
    pub file_uri: &'c str,
}

/// A call.
#[derive(Serialize)]
pub struct FunctionCall<'c> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<&'c str>,
    pub name: &'c str,
    pub args: Arguments<'c>,
}

/// Its result.
#[derive(Serialize)]
pub struct FunctionResponse<'c> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<&'c str>,
    pub name: &'c str,
    pub response: Answer<'c>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<OutPart<'c>>,
}

/// A call's arguments, which must be an object.
pub enum Arguments<'c> {
    /// They are.
    Object(&'c RawValue),
    /// There are none.
    None,
    /// Other JSON.
    Value(&'c RawValue),
    /// Plain text, or JSON that a model got wrong.
    Text(&'c str),
}

impl<'c> Arguments<'c> {
    /// Of a call, as the client has them.
    pub fn new(text: &'c str, custom: bool) -> Self {
        match serde_json::from_str::<&RawValue>(text) {
            _ if custom => Self::Text(text),
            Ok(raw) if raw.get().starts_with('{') => Self::Object(raw),
            Ok(raw) if raw.get() == "null" => Self::None,
            Ok(raw) => Self::Value(raw),
            Err(_) if text.trim().is_empty() => Self::None,
            Err(_) => Self::Text(text),
        }
    }
}

impl Serialize for Arguments<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Object(raw) => raw.serialize(serializer),
            Self::None => serializer.serialize_map(Some(0))?.end(),
            Self::Value(raw) => serializer.collect_map([("input", raw)]),
            Self::Text(text) => serializer.collect_map([("input", text)]),
        }
    }
}

/// A result, which must be an object as well.
pub enum Answer<'c> {
    /// It is.
    Object(Cow<'c, str>),
    /// Anything else, under the name that Google gives it.
    Named(&'static str, Cow<'c, str>),
}

impl<'c> Answer<'c> {
    /// Of what a tool said.
    pub fn new(text: Cow<'c, str>, failed: bool) -> Self {
        let is_object =
            text.trim_start().starts_with('{') && serde_json::from_str::<&RawValue>(&text).is_ok();
        match (failed, is_object) {
            (true, _) => Self::Named("error", text),
            (false, true) => Self::Object(text),
            (false, false) => Self::Named("output", text),
        }
    }
}

impl Serialize for Answer<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Object(text) => {
                let raw: &RawValue = serde_json::from_str(text).map_err(serde::ser::Error::custom)?;
                raw.serialize(serializer)
            }
            Self::Named(name, text) => serializer.collect_map([(name, text)]),
        }
    }
}
