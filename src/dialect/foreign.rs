//! Thoughts that the provider about to be asked has not signed, taken out of a body that is otherwise left as it is.
//!
//! A conversation may go on at another provider than the one that has answered so far. A client of Messages then brings
//! back thinking blocks without a signature (what we wrote for a provider that has none), and a client of Responses
//! brings back reasoning that we sealed; Anthropic and OpenAI refuse both. A client of chat completions brings back what
//! OpenAI has no word for and we gave under the names of others: OpenAI, Azure and Groq refuse members that they do not
//! know (`property 'reasoning_content' is unsupported`, in public issues), and Google's endpoint knows `extra_content`
//! alone. DeepSeek and Moonshot want the thoughts back. Bodies without any of this are not walked through.

use std::ops::Range;

use bytes::Bytes;
use memchr::memmem;
use serde::Deserialize;

use super::chat::models::Family;
use super::json::Str;
use super::Habits;
use crate::llm::body::Edit;
use crate::llm::members::{self, cuts, Changes};
use crate::llm::request::MOST_DEPTH;
use crate::llm::scan::{Cursor, Fault, Text};
use crate::llm::Wire;

/// What is in all our seals, and in the ids of thoughts that we wrote.
const MARK: &[u8] = b"aar1";
const SEAL: &str = "aar1.";
const OURS: &str = "rs_aar1";
/// Stands for a turn that had nothing but such thoughts: a turn may not be empty.
const NOTHING: &[u8] = br#"{"type":"text","text":"(thoughts only)"}"#;

/// The members of an assistant's message and of its calls that a chat host may refuse.
const ADDED: [&str; 4] = ["reasoning_content", "thinking_blocks", "images", GOOGLES];
const GOOGLES: &str = "extra_content";

/// The edits that take such thoughts out of a request for `model` at a host of these habits.
pub fn edits(wire: Wire, body: &[u8], habits: Habits, model: &str) -> Vec<Edit> {
    let refused = refused(habits, model);
    let cursor = Cursor::lenient(body, MOST_DEPTH);
    let mut walk = Walk { body, cursor, edits: Vec::new(), calls_without_thought: false };
    let walked = match wire {
        Wire::Messages if has_empty_signature(body) => walk.members(b"messages", Walk::turns),
        Wire::Chat if mentions(body, refused) => {
            walk.members(b"messages", |walk| walk.objects(|walk| walk.message(refused)))
        }
        Wire::Responses if memmem::find(body, MARK).is_some() => {
            walk.members(b"input", |walk| walk.items(is_sealed, b""))
        }
        _ => return Vec::new(),
    };
    // A body that cannot be walked has been refused before.
    if walked.is_err() {
        return Vec::new();
    }
    if walk.calls_without_thought {
        // Claude refuses to think on about calls that it has not thought about.
        walk.edits.extend(members::edits(body, Changes { refused: &["thinking"], renamed: &[] }));
    }
    walk.edits
}

/// Which of the added members go. A host of OpenAI's kind may be any: by the model it is OpenAI itself, Google or another.
fn refused(habits: Habits, model: &str) -> &'static [&'static str] {
    match Family::of(model) {
        Family::Gemini => ADDED.split_last().map_or(&[], |(_, others)| others),
        Family::Unknown if habits.thoughts => &[],
        _ => &ADDED,
    }
}

fn mentions(body: &[u8], names: &[&str]) -> bool {
    names.iter().any(|name| memmem::find(body, format!("\"{name}\"").as_bytes()).is_some())
}

fn has_empty_signature(body: &[u8]) -> bool {
    memmem::find_iter(body, b"\"signature\"").any(|at| {
        let value = body.get(at + b"\"signature\"".len()..).unwrap_or_default().trim_ascii_start();
        let value = value.strip_prefix(b":").unwrap_or_default().trim_ascii_start();
        value.starts_with(b"\"\"")
    })
}

struct Walk<'a> {
    body: &'a [u8],
    cursor: Cursor<'a>,
    edits: Vec<Edit>,
    /// The last turn with calls has lost its thoughts.
    calls_without_thought: bool,
}

impl Walk<'_> {
    /// Goes into the member called `wanted` of the object at the cursor, if it is an array.
    fn members(
        &mut self,
        wanted: &[u8],
        mut inside: impl FnMut(&mut Self) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let mut more = self.cursor.open_object()?;
        while more {
            let key = self.cursor.key()?;
            if key.raw() == wanted && self.cursor.peek() == b'[' {
                inside(self)?;
            } else {
                self.cursor.skip(&key, &mut ())?;
            }
            more = self.cursor.more_members()?;
        }
        Ok(())
    }

    fn turns(&mut self) -> Result<(), Fault> {
        self.objects(|walk| walk.members(b"content", |walk| walk.items(is_unsigned, NOTHING)))
    }

    /// Goes into each object of the array at the cursor.
    fn objects(&mut self, mut inside: impl FnMut(&mut Self) -> Result<(), Fault>) -> Result<(), Fault> {
        let mut more = self.cursor.open_array()?;
        while more {
            if self.cursor.peek() == b'{' {
                inside(self)?;
            } else {
                self.cursor.skip(&Text::NONE, &mut ())?;
            }
            more = self.cursor.more_items()?;
        }
        Ok(())
    }

    /// Cuts members out of the message at the cursor and out of its calls, if it is an assistant's.
    fn message(&mut self, refused: &'static [&'static str]) -> Result<(), Fault> {
        let (start, before) = (self.cursor.at(), self.edits.len());
        self.members(b"tool_calls", |walk| {
            walk.objects(|walk| {
                let start = walk.cursor.at();
                walk.cursor.skip(&Text::NONE, &mut ())?;
                walk.cut(start, refused);
                Ok(())
            })
        })?;
        match read(self.since(start)).and_then(|message| message.role).as_deref() {
            Some("assistant") => self.cut(start, refused),
            _ => self.edits.truncate(before),
        }
        Ok(())
    }

    /// Cuts members out of the object that began at `start` and ends at the cursor.
    fn cut(&mut self, start: usize, refused: &'static [&'static str]) {
        let edits = members::edits(self.since(start), Changes { refused, renamed: &[] });
        let placed = |edit: Edit| Edit { at: edit.at.start + start..edit.at.end + start, ..edit };
        self.edits.extend(edits.into_iter().map(placed));
    }

    fn since(&self, start: usize) -> &[u8] {
        self.body.get(start..self.cursor.at()).unwrap_or_default()
    }

    /// Cuts items out of the array at the cursor; `instead` is put in where none is left.
    fn items(&mut self, goes: fn(&Item) -> bool, instead: &'static [u8]) -> Result<(), Fault> {
        let (mut spans, mut gone): (Vec<Range<usize>>, Vec<bool>) = (Vec::new(), Vec::new());
        let mut calls = false;
        let mut more = self.cursor.open_array()?;
        while more {
            self.cursor.peek();
            let start = self.cursor.at();
            self.cursor.skip(&Text::NONE, &mut ())?;
            let item = read(self.since(start));
            calls |= item.as_ref().is_some_and(|item| item.is("tool_use"));
            gone.push(item.is_some_and(|item| goes(&item)));
            spans.push(start..self.cursor.at());
            more = self.cursor.more_items()?;
        }
        if calls {
            self.calls_without_thought = gone.contains(&true);
        }
        let mut cut = cuts(&spans, &gone);
        if let Some(last) = cut.last_mut().filter(|_| gone.iter().all(|gone| *gone)) {
            last.with = Bytes::from_static(instead);
        }
        self.edits.extend(cut);
        Ok(())
    }
}

#[derive(Deserialize)]
struct Item<'a> {
    #[serde(borrow)]
    r#type: Option<Str<'a>>,
    #[serde(borrow)]
    role: Option<Str<'a>>,
    #[serde(borrow)]
    id: Option<Str<'a>>,
    #[serde(borrow)]
    signature: Option<Str<'a>>,
    #[serde(borrow)]
    encrypted_content: Option<Str<'a>>,
}

impl Item<'_> {
    fn is(&self, kind: &str) -> bool {
        self.r#type.as_deref() == Some(kind)
    }
}

fn is_unsigned(item: &Item) -> bool {
    item.is("thinking") && item.signature.as_ref().is_none_or(|signature| signature.is_empty())
}

fn is_sealed(item: &Item) -> bool {
    let begins = |text: &Option<Str>, mark: &str| text.as_ref().is_some_and(|text| text.starts_with(mark));
    item.is("reasoning") && (begins(&item.encrypted_content, SEAL) || begins(&item.id, OURS))
}

fn read(item: &[u8]) -> Option<Item<'_>> {
    serde_json::from_slice(item).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::llm::body::Body;

    fn left(wire: Wire, body: &'static str) -> String {
        left_for(wire, body, Habits::default(), "m")
    }

    fn left_for(wire: Wire, body: &'static str, habits: Habits, model: &str) -> String {
        let bytes = Bytes::from_static(body.as_bytes());
        let left = Body::spliced(&bytes, edits(wire, &bytes, habits, model)).contiguous();
        String::from_utf8(left.to_vec()).unwrap()
    }

    const BROUGHT_BACK: &str = r#"{"messages":[{"role":"user","images":[],"content":"\"images\""},
        {"reasoning_content":"a","role":"assistant","tool_calls":[{"id":"1","extra_content":{"google":{}}},{"extra_content":null,"id":"2"},3],"thinking_blocks":[{}],"images":[{}]},
        {"role":"tool","extra_content":1}],"images":1}"#;

    #[test]
    fn openai_is_not_shown_what_it_has_no_word_for() {
        let expected = r#"{"messages":[{"role":"user","images":[],"content":"\"images\""},
        {"role":"assistant","tool_calls":[{"id":"1"},{"id":"2"},3]},
        {"role":"tool","extra_content":1}],"images":1}"#;
        let thoughtful = Habits { thoughts: true, ..Habits::default() };
        assert_eq!(left_for(Wire::Chat, BROUGHT_BACK, thoughtful, "gpt-5"), expected);
        assert_eq!(left_for(Wire::Chat, BROUGHT_BACK, thoughtful, "gpt-4o"), expected);
        assert_eq!(left(Wire::Chat, BROUGHT_BACK), expected);
    }

    #[test]
    fn gemini_gets_its_signatures_and_a_host_that_wants_them_its_thoughts() {
        let thoughtful = Habits { thoughts: true, ..Habits::default() };
        let expected = r#"{"messages":[{"role":"user","images":[],"content":"\"images\""},
        {"role":"assistant","tool_calls":[{"id":"1","extra_content":{"google":{}}},{"extra_content":null,"id":"2"},3]},
        {"role":"tool","extra_content":1}],"images":1}"#;
        assert_eq!(left_for(Wire::Chat, BROUGHT_BACK, thoughtful, "google/gemini-3-pro"), expected);
        assert_eq!(left_for(Wire::Chat, BROUGHT_BACK, thoughtful, "kimi-k2"), BROUGHT_BACK);
    }

    #[test]
    fn a_chat_that_only_speaks_of_such_members_is_not_walked() {
        let body = r#"{"messages":[{"role":"assistant","content":"\"reasoning_content\" it is"}]}"#;
        assert!(edits(Wire::Chat, body.as_bytes(), Habits::default(), "m").is_empty());
        assert!(!mentions(body.as_bytes(), &ADDED));
    }

    #[test]
    fn thoughts_without_a_signature_go_and_signed_ones_stay() {
        let body = r#"{"messages":[{"role":"user","content":"\"signature\":\"\""},
            {"role":"assistant","content":[{"type":"thinking","thinking":"a","signature" : ""}, {"type":"text","text":"b"}]},
            {"role":"assistant","content":[{"type":"thinking","thinking":"c","signature":"s"},{"type":"thinking","thinking":"d","signature":""}]},
            {"role":"assistant","content":[{"type":"thinking","thinking":"e","signature":""}]}],"model":"m"}"#;
        let expected = r#"{"messages":[{"role":"user","content":"\"signature\":\"\""},
            {"role":"assistant","content":[{"type":"text","text":"b"}]},
            {"role":"assistant","content":[{"type":"thinking","thinking":"c","signature":"s"}]},
            {"role":"assistant","content":[{"type":"text","text":"(thoughts only)"}]}],"model":"m"}"#;
        assert_eq!(left(Wire::Messages, body), expected);
    }

    #[test]
    fn claude_is_not_asked_to_think_on_about_calls_that_another_made() {
        let lost = r#"{"thinking":{"type":"adaptive"},"messages":[{"role":"assistant","content":[{"type":"thinking","thinking":"a","signature":""},{"type":"tool_use","id":"t"}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"t"}]}]}"#;
        let expected = r#"{"messages":[{"role":"assistant","content":[{"type":"tool_use","id":"t"}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"t"}]}]}"#;
        assert_eq!(left(Wire::Messages, lost), expected);
    }

    #[test]
    fn sealed_reasoning_goes_and_openais_own_stays() {
        let body = r#"{"input":[{"type":"reasoning","id":"rs","encrypted_content":"aar1.google.x"},{"type":"reasoning","id":"rs_aar1_1","encrypted_content":null},{"type":"reasoning","encrypted_content":"gAAA"},{"role":"user","content":"aar1.hello"}]}"#;
        let expected = r#"{"input":[{"type":"reasoning","encrypted_content":"gAAA"},{"role":"user","content":"aar1.hello"}]}"#;
        assert_eq!(left(Wire::Responses, body), expected);
    }

    #[test]
    fn other_bodies_are_left_as_they_are() {
        for body in [
            r#"{"messages":[{"content":[{"signature":"s"}]}]}"#,
            r#"{"messages":"\"signature\":\"\""}"#,
            r#"{"messages":{"signature":""}}"#,
        ] {
            assert_eq!(left(Wire::Messages, body), body);
        }
        assert_eq!(left(Wire::Chat, r#"{"signature":""}"#), r#"{"signature":""}"#);
    }
}
