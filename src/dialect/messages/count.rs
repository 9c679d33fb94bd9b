//! How many tokens a request is, about, where the provider has no call for it.
//!
//! Four bytes of text are a token and a picture is a thousand: text is names, descriptions and schemas of tools, calls
//! and results too. A document in base64 is a thousand for each 64 KiB, begun ones included. The sizes of pictures are
//! not looked at (Anthropic scales them down to about 1600 tokens: build-with-claude/vision).

use crate::dialect::conversation::{Conversation, Format, Part, Source, Tool, What};

const BYTES_A_TOKEN: u64 = 4;
const TOKENS_A_PICTURE: u64 = 1000;
const BYTES_A_PICTURE: u64 = 64 * 1024;

/// The body of the answer to `/v1/messages/count_tokens`.
pub fn body(conversation: &Conversation) -> Vec<u8> {
    format!("{{\"input_tokens\":{}}}", tokens(conversation)).into_bytes()
}

/// The estimate.
pub fn tokens(conversation: &Conversation) -> u64 {
    let mut size = Size::default();
    conversation.turns.iter().flat_map(|turn| &turn.parts).for_each(|part| size.part(part));
    conversation.tools.iter().for_each(|tool| size.tool(tool));
    if let Format::Schema { schema: Some(schema), .. } = conversation.format {
        size.text(schema.get());
    }
    size.bytes.div_ceil(BYTES_A_TOKEN) + size.pictures * TOKENS_A_PICTURE
}

#[derive(Default)]
struct Size {
    bytes: u64,
    pictures: u64,
}

impl Size {
    fn text(&mut self, text: &str) {
        self.bytes += text.len() as u64;
    }

    fn part(&mut self, part: &Part) {
        match &part.what {
            What::Text { text, .. } | What::Refusal(text) => self.text(text),
            What::Reasoning { text, .. } | What::Redacted(text) => self.text(text),
            What::Image(_) => self.pictures += 1,
            What::Audio(source) | What::Video(source) | What::Document { source, .. } => self.file(source),
            What::ToolCall(call) => {
                self.text(&call.name);
                self.text(&call.arguments);
            }
            What::ToolResult { content, .. } => content.iter().for_each(|part| self.part(part)),
        }
    }

    fn file(&mut self, source: &Source) {
        match source {
            Source::Text(text) => self.text(text),
            Source::Inline { data, .. } => {
                self.pictures += (data.len() as u64).div_ceil(BYTES_A_PICTURE).max(1);
            }
            Source::Url { .. } | Source::File(_) => self.pictures += 1,
        }
    }

    fn tool(&mut self, tool: &Tool) {
        if let Some(name) = tool.name() {
            self.text(name);
        }
        match tool {
            Tool::Function { description, parameters, .. } => {
                self.text(description.as_deref().unwrap_or_default());
                self.text(parameters.map_or("", |schema| schema.get()));
            }
            Tool::Custom { description, .. } => self.text(description.as_deref().unwrap_or_default()),
            Tool::Hosted { .. } => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::request::read;
    use super::*;

    fn count(body: &str) -> u64 {
        tokens(&read(body).unwrap())
    }

    #[test]
    fn four_bytes_are_a_token_wherever_they_stand() {
        assert_eq!(count(r#"{"messages":[{"role":"user","content":"12345"}]}"#), 2);
        assert_eq!(
            count(
                r#"{"system":"1234","messages":[{"role":"user","content":"12345678"}],
                "tools":[{"name":"1234","description":"1234","input_schema":{}}]}"#
            ),
            6
        );
    }

    #[test]
    fn a_picture_is_a_thousand_and_a_document_more_by_its_length() {
        let with = |kind: &str, data: &str| {
            count(&format!(
                r#"{{"messages":[{{"role":"user","content":[{{"type":"{kind}","source":{{"type":"base64",
                "media_type":"x/y","data":"{data}"}}}}]}}]}}"#
            ))
        };
        assert_eq!(with("image", &"A".repeat(70_000)), 1000);
        assert_eq!(with("document", &"A".repeat(70_000)), 2000);
    }

    #[test]
    fn the_answer_is_json() {
        let conversation = Conversation::default();
        assert_eq!(body(&conversation), br#"{"input_tokens":0}"#);
    }
}
