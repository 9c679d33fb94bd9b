//! Translations: what clients of one dialect ask is said in another's words or refused, and whatever a provider
//! answers, a client of OpenAI's reads an answer or an error.
//!
//! The first byte of an input chooses: a client's request, a whole answer, or a stream with the size of its pieces.
//! Recordings that are bent as trees and events, in all pairs of dialects, are in `tests/golden/fuzz.rs`.

use auto_ai_router::dialect::translation::Translation;
use auto_ai_router::dialect::{self, Composed, Habits, Stamp, Target};
use auto_ai_router::llm::stream::{AnswerStream, Ending};
use auto_ai_router::llm::Wire;
use bytes::Bytes;
use serde_json::value::RawValue;
use serde_json::Value;

use crate::invariants::{events, Heard};

const STAMP: Stamp = Stamp { seed: 0xc0ffee, created: 1_700_000_000 };
const ASKED: &str = r#"{"model":"m","messages":[{"role":"user","content":"hi"}],
    "tools":[{"type":"function","function":{"name":"get_weather","parameters":{"type":"object"}}}]}"#;
const REQUEST: u8 = 0;
const WHOLE: u8 = 1;

pub const ANTHROPIC: &[&str] = &[
    "event: ",
    "data: ",
    "\n\n",
    "message_start",
    "content_block_start",
    "content_block_delta",
    "content_block_stop",
    "message_delta",
    "message_stop",
    "error",
    "text_delta",
    "input_json_delta",
    "thinking_delta",
    "signature_delta",
    "tool_use",
    "tool_result",
    "redacted_thinking",
    "end_turn",
    "max_tokens",
    "\"index\":",
    "null",
    "{}",
    "[]",
    "-1",
    "\\ud83c",
];
pub const GEMINI: &[&str] = &[
    "data: ",
    "\n\n",
    "\"candidates\"",
    "\"content\"",
    "\"parts\"",
    "\"text\"",
    "functionCall",
    "functionResponse",
    "\"args\"",
    "\"thought\":true",
    "thoughtSignature",
    "finishReason",
    "STOP",
    "MAX_TOKENS",
    "SAFETY",
    "promptFeedback",
    "blockReason",
    "usageMetadata",
    "inlineData",
    "\"index\":",
    "null",
    "{}",
    "[]",
    "-1",
    "\\ud83c",
];

pub fn of_anthropic() -> Vec<Vec<u8>> {
    seeds("messages")
}

pub fn of_gemini() -> Vec<Vec<u8>> {
    seeds("gemini")
}

fn seeds(dialect: &str) -> Vec<Vec<u8>> {
    let to_chat = format!("/{dialect}-to-chat/");
    let (whole, streamed) = (format!("/chat-to-{dialect}/"), format!("/{dialect}/"));
    let marked = |mark: u8, parts: [&str; 2]| {
        super::recorded(&parts).into_iter().map(move |bytes| [&[mark], bytes.as_slice()].concat())
    };
    let requests = marked(REQUEST, [&to_chat, "client-request.json"]);
    let answers = marked(WHOLE, [&whole, "upstream-reply.json"]);
    let streams = marked(40, [&whole, "upstream-reply.sse"]).chain(marked(200, [&streamed, ".sse"]));
    requests.chain(answers).chain(streams).collect()
}

pub fn anthropic(input: &[u8]) {
    check(Wire::Messages, input);
}

pub fn gemini(input: &[u8]) {
    check(Wire::Gemini, input);
}

fn check(wire: Wire, input: &[u8]) {
    match input {
        [REQUEST, request @ ..] => asked(wire, request),
        [WHOLE, answer @ ..] => answered(wire, answer),
        [size, stream @ ..] => streamed(wire, stream, usize::from(*size)),
        [] => {}
    }
}

/// A request is refused or becomes one JSON object.
fn asked(client: Wire, request: &[u8]) {
    let Ok(request) = std::str::from_utf8(request) else { return };
    let prepared = dialect::prepare(client, request);
    let Ok(conversation) = dialect::read(client, prepared.as_deref().unwrap_or(request), true) else {
        return;
    };
    let target = Target { model: "gpt-5", habits: Habits::default(), signature: &|_| None };
    let Ok(composed) = dialect::compose(Wire::Chat, &conversation, &target) else { return };
    let body = composed.body.contiguous();
    let read = serde_json::from_slice::<&RawValue>(&body);
    assert!(read.is_ok_and(|body| body.get().starts_with('{')), "{}", body.escape_ascii());
}

fn translation(provider: Wire) -> Translation {
    let conversation = dialect::read(Wire::Chat, ASKED, true).expect("a plain request");
    let several = dialect::ends_by_ending(provider, &conversation);
    let writer = dialect::writer(Wire::Chat, &conversation, STAMP, provider);
    Translation::new(dialect::reader(provider, STAMP), writer, &mut Composed::default(), several)
}

/// A whole answer is an answer of the client's dialect, or none.
fn answered(provider: Wire, answer: &[u8]) {
    if let Ok(translated) = translation(provider).whole(answer) {
        let told = String::from_utf8(translated.body).expect("a client reads UTF-8");
        assert!(!Heard::body(Wire::Chat, &told).finish.is_empty(), "{told}");
    }
}

/// A stream says the same in whatever pieces it comes, and is closed if and only if it is complete.
fn streamed(provider: Wire, stream: &[u8], size: usize) {
    let (told, ending) = push(provider, stream, size);
    assert_eq!(push(provider, stream, stream.len().max(1)), (told.clone(), ending), "the cuts do not matter");
    let events = events(&told);
    let closed = events.last().is_some_and(|(_, data)| data == "[DONE]");
    assert_eq!(ending == Some(Ending::Complete), closed, "{told}");
    if closed {
        Heard::stream(Wire::Chat, &told);
    }
    for (_, data) in events {
        assert!(data == "[DONE]" || serde_json::from_str::<Value>(&data).is_ok(), "{data}");
    }
}

fn push(provider: Wire, stream: &[u8], size: usize) -> (String, Option<Ending>) {
    let (mut translation, mut out) = (translation(provider), Vec::new());
    let failed =
        stream.chunks(size).any(|chunk| translation.push(Bytes::copy_from_slice(chunk), &mut out).is_err());
    let ending = (!failed).then(|| translation.finish(&mut out));
    (String::from_utf8(out.concat()).expect("a client reads UTF-8"), ending)
}
