//! The tool calls of an answer, put in order.
//!
//! OpenAI numbers the calls of a stream by `index` and names each in its first chunk only. Gemini's endpoint gives no
//! index, and hosts are on record that give all calls the index 0, repeat id and name in every chunk, or leave the id
//! empty. So a call is new when its index is, when its id is, or when neither is there and it has a name. A custom
//! call's plain text becomes the JSON `{"input": ..}`, since a `Piece` knows only JSON.

use std::borrow::Cow;

use serde::Deserialize;

use super::tools::ExtraIn;
use crate::dialect::json::Str;
use crate::dialect::reply::Piece;
use crate::dialect::Stamp;

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct CallIn<'a> {
    index: Option<u32>,
    #[serde(borrow)]
    id: Option<Str<'a>>,
    function: Option<FunctionIn<'a>>,
    custom: Option<CustomIn<'a>>,
    extra_content: Option<ExtraIn<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct FunctionIn<'a> {
    #[serde(borrow)]
    name: Option<Str<'a>>,
    arguments: Option<Str<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct CustomIn<'a> {
    #[serde(borrow)]
    name: Option<Str<'a>>,
    input: Option<Str<'a>>,
}

impl<'a> From<FunctionIn<'a>> for CallIn<'a> {
    fn from(function: FunctionIn<'a>) -> Self {
        Self { function: Some(function), ..Self::default() }
    }
}

/// The calls of one choice, in the order of their ordinals.
#[derive(Default)]
pub(super) struct Calls(Vec<Call>);

struct Call {
    index: Option<u32>,
    /// As the host gave it; may be empty.
    id: String,
    custom: Custom,
}

/// How much of `{"input":".."}` has been told.
#[derive(Clone, Copy, PartialEq)]
enum Custom {
    No,
    Begun,
    Ended,
}

impl Calls {
    pub(super) fn any(&self) -> bool {
        !self.0.is_empty()
    }

    /// Tells what a host says of a call.
    pub(super) fn call(&mut self, call: CallIn, stamp: Stamp, tell: &mut dyn FnMut(Piece<'_>)) {
        let is_custom = call.custom.is_some();
        let (name, more) = match (call.function, call.custom) {
            (Some(function), _) => (function.name, function.arguments),
            (None, Some(custom)) => (custom.name, custom.input),
            (None, None) => (None, None),
        };
        let (id, name) = (call.id.unwrap_or_default(), name.unwrap_or_default());
        let at = match self.known(call.index, &id, &name) {
            Some(at) => at,
            None if name.is_empty() => return,
            None => {
                self.end(tell);
                let at = self.0.len();
                let ordinal = ordinal(at);
                let made = if id.is_empty() { stamp.id("call_", ordinal) } else { String::new() };
                let signature = call.extra_content.and_then(ExtraIn::signature);
                let (id, signature) = (if id.is_empty() { &*made } else { &*id }, signature.as_deref());
                tell(Piece::ToolCall { ordinal, id, name: &name, signature });
                let custom = if is_custom { Custom::Begun } else { Custom::No };
                self.0.push(Call { index: call.index, id: id.to_owned(), custom });
                if is_custom {
                    tell(Piece::Arguments { ordinal, json: "{\"input\":\"" });
                }
                at
            }
        };
        let more = more.unwrap_or_default();
        if !more.is_empty() {
            let json = if is_custom { escaped(&more) } else { Cow::Borrowed(&*more) };
            tell(Piece::Arguments { ordinal: ordinal(at), json: &json });
        }
    }

    /// Closes what is open.
    pub(super) fn end(&mut self, tell: &mut dyn FnMut(Piece<'_>)) {
        for (at, call) in self.0.iter_mut().enumerate() {
            if call.custom == Custom::Begun {
                call.custom = Custom::Ended;
                tell(Piece::Arguments { ordinal: ordinal(at), json: "\"}" });
            }
        }
    }

    /// Which of the known calls it goes on with.
    fn known(&self, index: Option<u32>, id: &str, name: &str) -> Option<usize> {
        let same = |call: &Call| match index {
            Some(_) => call.index == index && (id.is_empty() || name.is_empty() || call.id == id),
            None => !id.is_empty() && call.id == id,
        };
        match self.0.iter().rposition(same) {
            None if index.is_none() && id.is_empty() && name.is_empty() => self.0.len().checked_sub(1),
            found => found,
        }
    }
}

fn ordinal(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

/// A text as it stands inside a JSON string.
fn escaped(text: &str) -> Cow<'_, str> {
    let quoted = serde_json::to_string(text).unwrap_or_default();
    Cow::Owned(
        quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or_default().to_owned(),
    )
}
