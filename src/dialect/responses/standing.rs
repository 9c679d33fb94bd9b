//! Where a client of Responses stands in the middle of an answer: the ids it knows, the items it has whole, the number of
//! the next event. Another answer goes on from there as the same one.
//!
//! It can where everything so far is whole but one message of one text: an item of thoughts is repeated at the end just
//! as it was, since the client may send it back, with what followed on it. Whatever else there is has no such point.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::dialect::json::Str;

/// More bytes of whole items are not kept.
const MOST_ITEMS: usize = 256 * 1024;

/// No answer has more events.
const MOST_EVENTS: u64 = 1 << 32;

/// What the client knows.
#[derive(Default)]
pub struct Standing {
    /// The response's.
    pub id: String,
    /// As it was told.
    pub model: String,
    /// In seconds since 1970.
    pub created: Option<u64>,
    /// Items that are whole, as they were told.
    pub whole: Vec<Box<str>>,
    /// The message that is open,
    pub message: Option<String>,
    /// and whether its text is.
    pub begun: bool,
    /// Of the next event.
    pub sequence: u64,
    thinking: bool,
}

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(borrow, rename = "type")]
    kind: Str<'a>,
    #[serde(default)]
    sequence_number: Option<u64>,
    #[serde(default)]
    response: Option<Named<'a>>,
    #[serde(default)]
    item: Option<&'a RawValue>,
    #[serde(default)]
    part: Option<Kind<'a>>,
}

#[derive(Deserialize)]
struct Named<'a> {
    #[serde(borrow, default)]
    id: Str<'a>,
    #[serde(default)]
    model: Option<Str<'a>>,
    #[serde(default)]
    created_at: Option<u64>,
}

#[derive(Deserialize)]
struct Kind<'a> {
    #[serde(borrow, rename = "type")]
    kind: Str<'a>,
    #[serde(default)]
    id: Str<'a>,
    /// A message of several has one.
    #[serde(default)]
    phase: Option<Str<'a>>,
}

impl Standing {
    /// Whether another answer can go on after what was heard so far, but for what is still open.
    pub fn hear(&mut self, data: &[u8]) -> bool {
        let Ok(event) = serde_json::from_slice::<Event>(data) else { return false };
        let number = event.sequence_number.unwrap_or(self.sequence);
        if number > MOST_EVENTS {
            return false;
        }
        self.sequence = number + 1;
        match &*event.kind {
            "response.created" => event.response.is_some_and(|response| self.begin(response)),
            "response.output_item.added" => event.item.is_some_and(|item| self.open(item)),
            "response.output_item.done" => event.item.is_some_and(|item| self.close(item)),
            "response.content_part.added" => {
                let text = event.part.is_some_and(|part| &*part.kind == "output_text");
                text && !std::mem::replace(&mut self.begun, true)
            }
            "response.in_progress" | "response.queued" => true,
            "response.output_text.delta" => self.begun,
            kind => kind.starts_with("response.reasoning_") && self.thinking,
        }
    }

    /// Whether nothing is open but a text. What follows on thoughts must be of who had them.
    pub fn is_settled(&self) -> bool {
        !self.thinking && (self.whole.is_empty() || self.message.is_some()) && is_plain(&self.id)
    }

    fn begin(&mut self, response: Named) -> bool {
        self.id = response.id.to_string();
        self.model = response.model.unwrap_or_default().to_string();
        self.created = response.created_at;
        true
    }

    fn open(&mut self, item: &RawValue) -> bool {
        let Ok(item) = serde_json::from_str::<Kind>(item.get()) else { return false };
        match &*item.kind {
            "reasoning" if self.message.is_none() => !std::mem::replace(&mut self.thinking, true),
            "message" if is_plain(&item.id) && item.phase.is_none() => {
                self.message.replace(item.id.to_string()).is_none()
            }
            _ => false,
        }
    }

    /// A message that is whole has nothing to go on with.
    fn close(&mut self, item: &RawValue) -> bool {
        self.whole.push(item.get().into());
        std::mem::take(&mut self.thinking)
            && self.whole.iter().map(|item| item.len()).sum::<usize>() <= MOST_ITEMS
    }
}

/// Ids are written into events as they are.
fn is_plain(id: &str) -> bool {
    !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
}
