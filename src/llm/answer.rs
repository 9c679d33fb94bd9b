//! A unary answer: is it whole, does it hide an error, what did it cost, which ids did the upstream give.
//!
//! One pass over the bytes; the bytes themselves go on as they came. Half an answer does not parse, and what does not
//! parse is no answer. Sources: OpenAI API reference; OpenRouter's and Google's errors inside a 200 as seen in traffic.

use std::ops::Range;

use bytes::Bytes;

use super::body::{Body, Edit};
use super::scan::{utf8_fault, Cursor, Fault, Text};
use super::upstream_error::UpstreamError;
use super::usage::{Reported, Usage};
use super::Wire;

/// Deeper answers are refused.
const MOST_DEPTH: u8 = 250;
/// More ids than this in one answer (a long list) are not kept.
const MOST_IDS: usize = 1024;

/// The body is not JSON, or not all of it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotJson;

/// What an answer says, as far as we act on it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    /// What it cost.
    pub usage: Option<Usage>,
    /// Its own id.
    pub id: Option<String>,
    /// The model that answered.
    pub model: Option<String>,
    /// Where it says so.
    pub model_at: Option<Range<usize>>,
    /// Ids that a later request may name, and that only this upstream knows: stored responses, files, batches,
    /// conversations, and those in lists of them.
    pub ids: Vec<String>,
    /// The 200 is a failure: an `error` and no choices.
    pub error: Option<UpstreamError>,
}

impl Answer {
    /// Reads a whole body of this kind.
    pub fn read(body: &[u8], wire: Wire) -> Result<Self, NotJson> {
        if utf8_fault(body).is_some() {
            return Err(NotJson);
        }
        let mut reader = Reader {
            cursor: Cursor::new(body, MOST_DEPTH),
            wire,
            answer: Self::default(),
            ids: Vec::new(),
            failed: false,
            choices: false,
            stored: true,
        };
        reader.document().map_err(|_| NotJson)?;
        let Reader { mut answer, ids, failed, choices, stored, .. } = reader;
        if stored && matches!(wire, Wire::Responses | Wire::Objects) {
            answer.ids = ids;
        }
        // A stored object (a failed job) has an error as one of its properties.
        if failed && !choices && wire != Wire::Objects {
            answer.error = Some(UpstreamError::in_stream(body));
        }
        Ok(answer)
    }

    /// `body`, which is what was read, with the model called `name`, if there is one and it says another.
    pub fn named(&self, body: Bytes, name: Option<&str>) -> Bytes {
        match (name, &self.model_at) {
            (Some(name), Some(at)) if self.model.as_deref() != Some(name) => {
                let with = serde_json::Value::from(name).to_string().into();
                Body::spliced(&body, vec![Edit { at: at.clone(), with }]).contiguous()
            }
            _ => body,
        }
    }

    /// The client has asked for a chat answer to be kept, which the answer itself does not say.
    pub fn keep_chat(&mut self, wire: Wire) {
        self.ids.extend(self.id.clone().filter(|_| wire == Wire::Chat));
    }
}

struct Reader<'a> {
    cursor: Cursor<'a>,
    wire: Wire,
    answer: Answer,
    ids: Vec<String>,
    failed: bool,
    choices: bool,
    stored: bool,
}

impl<'a> Reader<'a> {
    fn document(&mut self) -> Result<(), Fault> {
        match self.cursor.peek() {
            b'{' => self.object()?,
            b'[' => self.array()?,
            _ => self.cursor.skip(&Text::NONE, &mut ())?,
        }
        self.cursor.end()
    }

    /// An array is no answer that we know, except Google's around an error.
    fn array(&mut self) -> Result<(), Fault> {
        let mut more = self.cursor.open_array()?;
        while more {
            match self.cursor.peek() {
                b'{' => self.object()?,
                _ => self.cursor.skip(&Text::NONE, &mut ())?,
            }
            more = self.cursor.more_items()?;
        }
        Ok(())
    }

    fn object(&mut self) -> Result<(), Fault> {
        let mut more = self.cursor.open_object()?;
        while more {
            let key = self.cursor.key()?;
            self.member(&key)?;
            more = self.cursor.more_members()?;
        }
        Ok(())
    }

    fn member(&mut self, key: &Text<'a>) -> Result<(), Fault> {
        match key.raw() {
            b"id" => {
                self.answer.id = self.text()?;
                self.ids.extend(self.answer.id.clone().filter(|id| !id.is_empty()));
            }
            b"model" | b"modelVersion" => {
                let text = self.cursor.string_or_skip()?;
                self.answer.model_at = text.map(|text| text.span());
                self.answer.model = text.and_then(|text| text.decode()).map(|text| text.into_owned());
            }
            b"responseId" => self.answer.id = self.text()?,
            b"usage" | b"usageMetadata" => {
                let reported = Reported::read(&mut self.cursor)?.filter(Reported::counts);
                self.answer.usage = reported.map(|reported| reported.usage()).or(self.answer.usage);
            }
            b"error" => {
                let (start, first) = (self.cursor.at(), self.cursor.peek());
                self.cursor.skip(key, &mut ())?;
                self.failed |= matches!(first, b'{' | b'"' | b'[') && self.cursor.at() - start > 2;
            }
            b"choices" | b"candidates" => {
                self.cursor.skip(key, &mut ())?;
                self.choices = true;
            }
            b"store" => {
                self.stored = self.cursor.peek() != b'f';
                self.cursor.skip(key, &mut ())?;
            }
            b"output_file_id" | b"error_file_id" | b"input_file_id" => self.keep_id()?,
            b"conversation" if self.cursor.peek() == b'{' => self.id_inside()?,
            b"data" if self.wire == Wire::Objects && self.cursor.peek() == b'[' => self.list()?,
            _ => self.cursor.skip(key, &mut ())?,
        }
        Ok(())
    }

    fn text(&mut self) -> Result<Option<String>, Fault> {
        Ok(self.cursor.string_or_skip()?.and_then(|text| text.decode()).map(|text| text.into_owned()))
    }

    fn keep_id(&mut self) -> Result<(), Fault> {
        let id = self.text()?.filter(|id| !id.is_empty() && self.ids.len() < MOST_IDS);
        self.ids.extend(id);
        Ok(())
    }

    fn list(&mut self) -> Result<(), Fault> {
        let mut more = self.cursor.open_array()?;
        while more {
            match self.cursor.peek() {
                b'{' => self.id_inside()?,
                _ => self.cursor.skip(&Text::NONE, &mut ())?,
            }
            more = self.cursor.more_items()?;
        }
        Ok(())
    }

    fn id_inside(&mut self) -> Result<(), Fault> {
        let mut more = self.cursor.open_object()?;
        while more {
            let key = self.cursor.key()?;
            match key.raw() {
                b"id" | b"output_file_id" | b"error_file_id" => self.keep_id()?,
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

    fn read(body: &str, wire: Wire) -> Answer {
        Answer::read(body.as_bytes(), wire).unwrap()
    }

    #[test]
    fn a_chat_answer_gives_its_usage_and_no_ids_to_keep() {
        let answer = read(
            r#"{"id":"chatcmpl-1","model":"m","choices":[{}],"usage":{"prompt_tokens":1,"completion_tokens":2}}"#,
            Wire::Chat,
        );
        assert_eq!(answer.usage.unwrap().charge(), 3);
        assert_eq!((answer.id.as_deref(), answer.model.as_deref()), (Some("chatcmpl-1"), Some("m")));
        assert!(answer.ids.is_empty() && answer.error.is_none());
        let mut stored = answer.clone();
        stored.keep_chat(Wire::Chat);
        assert_eq!(stored.ids, ["chatcmpl-1"]);
    }

    #[test]
    fn ids_that_only_this_upstream_knows_are_kept() {
        let response = r#"{"id":"resp_1","error":null,"store":true,"conversation":{"id":"conv_1"},"output":[{"id":"msg_1"}]}"#;
        assert_eq!(read(response, Wire::Responses).ids, ["resp_1", "conv_1"]);
        let unstored = r#"{"id":"resp_1","store":false}"#;
        assert!(read(unstored, Wire::Responses).ids.is_empty());
        let batch =
            r#"{"id":"batch_1","input_file_id":"file-1","output_file_id":"file-2","error_file_id":null}"#;
        assert_eq!(read(batch, Wire::Objects).ids, ["batch_1", "file-1", "file-2"]);
        let list =
            r#"{"object":"list","data":[{"id":"a","output_file_id":"x"},{"id":"b"},7],"first_id":"a"}"#;
        assert_eq!(read(list, Wire::Objects).ids, ["a", "x", "b"]);
    }

    #[test]
    fn an_error_inside_a_200_is_a_failure() {
        for body in [
            r#"{"error":{"code":502,"message":"m"}}"#,
            r#"{"error":{"code":502,"message":"m"},"user_id":"u"}"#,
            r#"[{"error":{"code":502,"message":"m"}}]"#,
        ] {
            let error = read(body, Wire::Chat).error.unwrap();
            assert_eq!((error.status, error.message.as_str()), (502, "m"));
        }
        assert!(read(r#"{"error":null,"choices":[]}"#, Wire::Chat).error.is_none());
        assert!(read(r#"{"error":{"message":"m"},"choices":[{}]}"#, Wire::Chat).error.is_none());
        assert!(read(r#"{"id":"ftjob","error":{"message":"m"}}"#, Wire::Objects).error.is_none());
    }

    #[test]
    fn another_name_is_put_in_the_models_place_and_only_there() {
        let body = Bytes::from_static(br#"{ "id":"x", "model" : "m-1", "choices":[{"model":"m-1"}] }"#);
        let answer = Answer::read(&body, Wire::Chat).unwrap();
        let named = answer.named(body.clone(), Some("auto \"x\""));
        assert_eq!(named, &br#"{ "id":"x", "model" : "auto \"x\"", "choices":[{"model":"m-1"}] }"#[..]);
        for same in [None, Some("m-1")] {
            assert_eq!(answer.named(body.clone(), same).as_ptr(), body.as_ptr());
        }
    }

    #[test]
    fn what_is_not_whole_is_no_answer() {
        for body in ["", "{", r#"{"a":1"#, "<html>", r#"{"a":1}}"#, "nope"] {
            assert_eq!(Answer::read(body.as_bytes(), Wire::Chat), Err(NotJson), "{body}");
        }
        assert_eq!(Answer::read(b"{\"a\":\"\xff\"}", Wire::Chat), Err(NotJson));
        assert_eq!(read("[]", Wire::Opaque), Answer::default());
    }
}
