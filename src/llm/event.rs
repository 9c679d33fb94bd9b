//! One event of a stream, read in one pass: what it says about output, end, usage and failure.
//!
//! All dialects are read by the same pass, because their keys do not collide: `choices` is chat and completions,
//! `type` with `response` is Responses, `type` with `message` or `delta` is Messages, `candidates` is Gemini. Any non-empty string inside a
//! `delta` counts as output, under whatever name (`content`, `reasoning`, `reasoning_content`, `refusal`, a tool
//! call's `arguments`), except the few that only label it; so a new kind of output is seen as output.

use std::ops::Range;

use super::scan::{utf8_fault, Cursor, Fault, Text, Watch};
use super::usage::Reported;

/// Deeper events are not understood.
const MOST_DEPTH: u8 = 128;

/// What an event says.
#[derive(Debug)]
pub struct Event<'a> {
    /// Its `type`.
    pub kind: &'a [u8],
    /// The answer's id, of the event itself or of the `response` or `message` in it.
    pub id: Option<Text<'a>>,
    /// The model that answers.
    pub model: Option<Text<'a>>,
    /// The top-level `usage` member.
    pub usage: Option<Member>,
    /// The usage in `response` or `message`.
    pub nested_usage: Option<Reported>,
    /// There is a non-null `error`, here or in `response` or in a choice.
    pub failed: bool,
    /// The `choices`.
    pub choices: Choices,
    /// What a delta, or a completion's `text`, carries.
    pub output: Output,
    /// `response.store` is not false.
    pub stored: bool,
}

/// A member of the top-level object.
#[derive(Clone, Debug)]
pub struct Member {
    /// What to take out of the object so that only this member is gone, its comma included.
    pub cut: Range<usize>,
    /// Its value, unless that is null.
    pub value: Option<Reported>,
}

/// The choices of one event.
#[derive(Clone, Copy, Debug, Default)]
pub struct Choices {
    /// How many; `None` where there is no such array.
    pub count: Option<u32>,
    /// One bit per choice index that appears; indices above 63 share the last.
    pub started: u64,
    /// One bit per choice with a `finish_reason`.
    pub finished: u64,
}

/// What strings a part of an event carries.
#[derive(Clone, Copy, Debug, Default)]
pub struct Output {
    /// Their bytes as written.
    pub bytes: u64,
}

impl<'a> Watch<'a> for Output {
    fn text(&mut self, key: &Text<'a>, value: &Text<'a>) {
        if !matches!(key.raw(), b"role" | b"type" | b"id" | b"call_id" | b"format" | b"object" | b"mimeType")
        {
            self.bytes += value.raw().len() as u64;
        }
    }
}

impl<'a> Event<'a> {
    /// Reads the data of a frame; `None` if it is not a JSON object.
    pub fn read(data: &'a [u8]) -> Option<Self> {
        if utf8_fault(data).is_some() {
            return None;
        }
        let event = Self {
            kind: b"",
            id: None,
            model: None,
            usage: None,
            nested_usage: None,
            failed: false,
            choices: Choices::default(),
            output: Output::default(),
            stored: true,
        };
        let mut reader = Reader { cursor: Cursor::new(data, MOST_DEPTH), event };
        reader.object().ok()?;
        Some(reader.event)
    }
}

struct Reader<'a> {
    cursor: Cursor<'a>,
    event: Event<'a>,
}

impl<'a> Reader<'a> {
    fn object(&mut self) -> Result<(), Fault> {
        let mut comma = None;
        let mut more = self.cursor.open_object()?;
        while more {
            let start = self.cursor.at();
            let key = self.cursor.key()?;
            self.member(&key)?;
            let end = self.cursor.at();
            more = self.cursor.more_members()?;
            if key.raw() == b"usage" {
                let next = if more { self.cursor.at() } else { end };
                self.place_usage(comma, start, end, next);
            }
            comma = Some(end);
        }
        self.cursor.end()
    }

    /// `before` is where the member before this one ends, if there is one.
    fn place_usage(&mut self, before: Option<usize>, start: usize, end: usize, next: usize) {
        if let Some(usage) = &mut self.event.usage {
            usage.cut = match before {
                Some(before) => before..end,
                None => start..next,
            };
        }
    }

    fn member(&mut self, key: &Text<'a>) -> Result<(), Fault> {
        match key.raw() {
            b"id" => self.event.id = self.cursor.string_or_skip()?.or(self.event.id),
            b"responseId" => self.event.id = self.cursor.string_or_skip()?,
            b"model" | b"modelVersion" => self.event.model = self.cursor.string_or_skip()?,
            b"type" => self.event.kind = self.cursor.string_or_skip()?.map_or(b"", |kind| kind.raw()),
            b"usage" => {
                let value = Reported::read(&mut self.cursor)?;
                self.event.usage = Some(Member { cut: 0..0, value });
            }
            b"error" => self.failure()?,
            b"usageMetadata" => {
                self.event.nested_usage = Reported::read(&mut self.cursor)?.filter(Reported::counts);
            }
            b"choices" | b"candidates" if self.cursor.peek() == b'[' => self.choices()?,
            b"promptFeedback" if self.cursor.peek() == b'{' => self.feedback()?,
            b"delta" => self.cursor.skip(key, &mut self.event.output)?,
            b"response" | b"message" if self.cursor.peek() == b'{' => self.nested()?,
            _ => self.cursor.skip(key, &mut ())?,
        }
        Ok(())
    }

    /// Null, false and empty are no failure.
    fn failure(&mut self) -> Result<(), Fault> {
        let start = self.cursor.at();
        let first = self.cursor.peek();
        self.cursor.skip(&Text::NONE, &mut ())?;
        self.event.failed |= !matches!(first, b'n' | b'f') && self.cursor.at() - start > 2;
        Ok(())
    }

    fn choices(&mut self) -> Result<(), Fault> {
        let mut count = 0;
        let mut more = self.cursor.open_array()?;
        while more {
            count += 1;
            if self.cursor.peek() == b'{' {
                self.choice()?;
            } else {
                self.cursor.skip(&Text::NONE, &mut ())?;
            }
            more = self.cursor.more_items()?;
        }
        self.event.choices.count = Some(count);
        Ok(())
    }

    fn choice(&mut self) -> Result<(), Fault> {
        let (mut index, mut finished) = (0, false);
        let mut more = self.cursor.open_object()?;
        while more {
            let key = self.cursor.key()?;
            match key.raw() {
                b"index" => index = self.cursor.number_or_skip()?.unwrap_or(0),
                b"delta" | b"text" | b"message" | b"content" => {
                    self.cursor.skip(&key, &mut self.event.output)?;
                }
                b"finish_reason" | b"finishReason" => {
                    let reason = self.cursor.string_or_skip()?.map_or(&b""[..], |reason| reason.raw());
                    finished = !reason.is_empty();
                    self.event.failed |= reason == b"error";
                }
                b"error" => self.failure()?,
                _ => self.cursor.skip(&key, &mut ())?,
            }
            more = self.cursor.more_members()?;
        }
        let bit = 1 << index.min(63);
        self.event.choices.started |= bit;
        self.event.choices.finished |= if finished { bit } else { 0 };
        Ok(())
    }

    /// Google's word on a prompt that it does not answer: the end, without any candidate.
    fn feedback(&mut self) -> Result<(), Fault> {
        let mut more = self.cursor.open_object()?;
        while more {
            let key = self.cursor.key()?;
            let blocked = key.raw() == b"blockReason" && self.cursor.peek() == b'"';
            self.event.choices.started |= u64::from(blocked);
            self.event.choices.finished |= u64::from(blocked);
            self.cursor.skip(&key, &mut ())?;
            more = self.cursor.more_members()?;
        }
        Ok(())
    }

    /// `response` of Responses, `message` of Messages.
    fn nested(&mut self) -> Result<(), Fault> {
        let mut more = self.cursor.open_object()?;
        while more {
            let key = self.cursor.key()?;
            match key.raw() {
                b"id" => self.event.id = self.cursor.string_or_skip()?,
                b"model" => self.event.model = self.cursor.string_or_skip()?,
                b"usage" => self.event.nested_usage = Reported::read(&mut self.cursor)?,
                b"error" => self.failure()?,
                b"store" => {
                    self.event.stored = self.cursor.peek() != b'f';
                    self.cursor.skip(&key, &mut ())?;
                }
                _ => self.cursor.skip(&key, &mut ())?,
            }
            more = self.cursor.more_members()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(data: &str) -> Event<'_> {
        Event::read(data.as_bytes()).unwrap()
    }

    fn without_usage(data: &str) -> String {
        let cut = read(data).usage.unwrap().cut;
        format!("{}{}", &data[..cut.start], &data[cut.end..])
    }

    #[test]
    fn only_the_usage_member_is_cut_out() {
        for (before, after) in [
            (r#"{"a":1,"usage":null}"#, r#"{"a":1}"#),
            (r#"{"usage":null,"a":1}"#, r#"{"a":1}"#),
            (r#"{ "a":1 , "usage" : {"x":[1]} , "b":2 }"#, r#"{ "a":1 , "b":2 }"#),
            (r#"{"usage":{}}"#, "{}"),
            (r#"{"a":{"usage":1},"usage":null,"b":"usage"}"#, r#"{"a":{"usage":1},"b":"usage"}"#),
        ] {
            assert_eq!(without_usage(before), after);
        }
    }

    #[test]
    fn output_is_any_text_in_a_delta_but_labels() {
        for (delta, bytes) in [
            (r#"{"role":"assistant","content":""}"#, 0),
            (r#"{"role":"assistant","content":null,"refusal":null,"tool_calls":[]}"#, 0),
            (r#"{"content":"hi"}"#, 2),
            (r#"{"reasoning_content":"hm"}"#, 2),
            (r#"{"reasoning_details":[{"type":"reasoning.text","text":"hm"}]}"#, 2),
            (r#"{"refusal":"no"}"#, 2),
            (
                r#"{"tool_calls":[{"index":0,"id":"call_1","type":"function","function":{"name":"f","arguments":""}}]}"#,
                1,
            ),
        ] {
            let data = format!(r#"{{"choices":[{{"index":0,"delta":{delta},"finish_reason":null}}]}}"#);
            assert_eq!(read(&data).output.bytes, bytes, "{delta}");
        }
    }

    #[test]
    fn finished_choices_are_told_apart() {
        let event = read(
            r#"{"choices":[{"finish_reason":"stop","index":1},{"index":2,"finish_reason":""},{"index":70}]}"#,
        );
        assert_eq!(event.choices.count, Some(3));
        assert_eq!((event.choices.started, event.choices.finished), (6 | 1 << 63, 2));
    }

    #[test]
    fn failures_are_seen_wherever_they_stand() {
        for data in [
            r#"{"error":{"message":"x"}}"#,
            r#"{"error":"overloaded"}"#,
            r#"{"choices":[{"finish_reason":"error"}]}"#,
            r#"{"choices":[{"error":{"code":502}}]}"#,
            r#"{"type":"response.failed","response":{"error":{"code":"server_error"}}}"#,
        ] {
            assert!(read(data).failed, "{data}");
        }
        for data in [r#"{"error":null}"#, r#"{"error":{}}"#, r#"{"error":""}"#, r#"{"error":false}"#] {
            assert!(!read(data).failed, "{data}");
        }
    }

    #[test]
    fn what_is_no_json_object_is_no_event() {
        for data in ["", "{", "[DONE]", "[]", "1", "{}{}", "{\"a\":\"\u{1}\"}"] {
            assert!(Event::read(data.as_bytes()).is_none(), "{data}");
        }
        assert!(Event::read(b"{\"a\":\"\xff\"}").is_none());
    }
}
