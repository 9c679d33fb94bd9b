//! What the scripted provider sends: a list of bytes, pauses and ends, and the words that make the usual ones.

use std::time::Duration;

use serde_json::{json, Value};

use super::upstream::Call;

/// One thing the provider does.
#[derive(Clone)]
pub enum Step {
    Send(Vec<u8>),
    Pause(Duration),
    /// Nothing more, for ever; the connection stays open.
    Hang,
    Close,
    /// Closes with an RST.
    Reset,
}

/// A reply, byte for byte. Without `close`, `reset` or `hang` at its end the connection is kept.
#[derive(Clone, Default)]
pub struct Reply {
    pub steps: Vec<Step>,
}

/// The beginning of a reply: its status and headers.
pub struct Respond {
    status: u16,
    headers: String,
}

/// A reply with this status.
pub fn respond(status: u16) -> Respond {
    Respond { status, headers: String::new() }
}

impl Respond {
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push_str(&format!("{name}: {value}\r\n"));
        self
    }

    /// The head alone, with no framing of a body.
    pub fn head(self) -> Reply {
        Reply::default().send(format!("HTTP/1.1 {} Scripted\r\n{}\r\n", self.status, self.headers))
    }

    /// A body with its length, head and body in one write.
    pub fn body(self, content_type: &str, body: impl AsRef<[u8]>) -> Reply {
        let body = body.as_ref();
        let respond =
            self.header("content-type", content_type).header("content-length", &body.len().to_string());
        let mut reply = respond.head();
        if let Some(Step::Send(bytes)) = reply.steps.first_mut() {
            bytes.extend_from_slice(body);
        }
        reply
    }

    pub fn json(self, body: &Value) -> Reply {
        self.body("application/json", body.to_string())
    }

    /// An error in OpenAI's shape.
    pub fn error(self, message: &str, kind: &str, code: Option<&str>) -> Reply {
        self.json(&json!({"error": {"message": message, "type": kind, "param": null, "code": code}}))
    }

    /// A chunked event stream: the head, then each frame in a chunk of its own. No end yet.
    pub fn open_sse<S: AsRef<[u8]>>(self, frames: impl IntoIterator<Item = S>) -> Reply {
        let respond = self.header("content-type", "text/event-stream; charset=utf-8");
        let mut reply = respond.header("transfer-encoding", "chunked").head();
        for frame in frames {
            reply = reply.chunk(frame.as_ref());
        }
        reply
    }

    /// A whole event stream.
    pub fn sse<S: AsRef<[u8]>>(self, frames: impl IntoIterator<Item = S>) -> Reply {
        self.open_sse(frames).send("0\r\n\r\n")
    }
}

impl Reply {
    pub fn send(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.steps.push(Step::Send(bytes.as_ref().to_vec()));
        self
    }

    /// A chunk of a chunked body.
    pub fn chunk(self, bytes: &[u8]) -> Self {
        let mut framed = format!("{:x}\r\n", bytes.len()).into_bytes();
        framed.extend_from_slice(bytes);
        framed.extend_from_slice(b"\r\n");
        self.send(framed)
    }

    pub fn pause(mut self, time: Duration) -> Self {
        self.steps.push(Step::Pause(time));
        self
    }

    pub fn hang(mut self) -> Self {
        self.steps.push(Step::Hang);
        self
    }

    pub fn close(mut self) -> Self {
        self.steps.push(Step::Close);
        self
    }

    pub fn reset(mut self) -> Self {
        self.steps.push(Step::Reset);
        self
    }

    /// The steps of another reply after these.
    pub fn then(mut self, other: Reply) -> Self {
        self.steps.extend(other.steps);
        self
    }

    /// The same, this much later.
    pub fn after(mut self, time: Duration) -> Self {
        self.steps.insert(0, Step::Pause(time));
        self
    }

    /// The same with a pause before every write but the first.
    pub fn paced(self, time: Duration) -> Self {
        let mut steps = Vec::new();
        for step in self.steps {
            if matches!(step, Step::Send(_)) && !steps.is_empty() {
                steps.push(Step::Pause(time));
            }
            steps.push(step);
        }
        Self { steps }
    }

    /// The same bytes in writes of `size` bytes each, with a short pause between them.
    pub fn split(self, size: usize) -> Self {
        let mut steps = Vec::new();
        for step in self.steps {
            let Step::Send(bytes) = step else {
                steps.push(step);
                continue;
            };
            for piece in bytes.chunks(size.max(1)) {
                steps.push(Step::Send(piece.to_vec()));
                steps.push(Step::Pause(Duration::from_micros(300)));
            }
        }
        Self { steps }
    }

    /// Never a byte.
    pub fn silence() -> Self {
        Self::default().hang()
    }

    /// The chat answer `text` from `model`; its usage is 7 + 5 = 12 tokens.
    pub fn chat(model: &str, text: &str) -> Self {
        Self::chat_using(model, text, 7, 5)
    }

    /// A chat answer with this usage.
    pub fn chat_using(model: &str, text: &str, prompt: u64, completion: u64) -> Self {
        respond(200).header("x-request-id", "req_upstream").json(&chat_body(model, text, prompt, completion))
    }

    /// A chat stream of these words, with a usage frame if `call` asked for one.
    pub fn chat_stream(call: &Call, words: &[&str]) -> Self {
        respond(200).sse(chat_frames(&call.model(), words, call.wants_usage()))
    }

    /// What a healthy provider answers to `call`.
    pub fn good(call: &Call) -> Self {
        let path = call.path.split('?').next().unwrap_or_default();
        if path.ends_with("/embeddings") {
            return respond(200).json(&json!({"object": "list", "model": call.model(),
                "data": [{"object": "embedding", "index": 0, "embedding": [0.25, -0.5]}],
                "usage": {"prompt_tokens": 4, "total_tokens": 4}}));
        }
        if path.ends_with("/responses") {
            return respond(200).json(&json!({"id": "resp_1", "object": "response", "status": "completed",
                "model": call.model(), "output": [], "usage": {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5}}));
        }
        if path.ends_with("/completions") && call.wants_stream() {
            return Self::chat_stream(call, &["Hello", " there"]);
        }
        if path.ends_with("/completions") {
            return Self::chat(&call.model(), "Hello there");
        }
        respond(200).json(&json!({"object": "thing", "path": path, "bytes": call.body.len()}))
    }
}

/// The body of a chat answer.
pub fn chat_body(model: &str, text: &str, prompt: u64, completion: u64) -> Value {
    json!({
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1700000000, "model": model,
        "choices": [{"index": 0, "finish_reason": "stop",
            "message": {"role": "assistant", "content": text, "refusal": null}}],
        "usage": {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion},
    })
}

/// One chunk of a chat stream, as a frame.
pub fn chunk(model: &str, delta: Value, finish: Option<&str>) -> String {
    chunk_with(model, delta, finish, None)
}

fn chunk_with(model: &str, delta: Value, finish: Option<&str>, usage: Option<Value>) -> String {
    let mut body = json!({
        "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1700000000, "model": model,
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
    });
    if let Some(usage) = usage {
        body["usage"] = usage;
    }
    frame(&body)
}

/// The first frame of a chat stream: a role and no output.
pub fn role(model: &str) -> String {
    chunk(model, json!({"role": "assistant", "content": ""}), None)
}

/// A frame with a word of output.
pub fn word(model: &str, text: &str) -> String {
    chunk(model, json!({"content": text}), None)
}

/// The frame that ends the only choice.
pub fn stop(model: &str) -> String {
    chunk(model, json!({}), Some("stop"))
}

/// The usage frame of 7 + 5 = 12 tokens.
pub fn usage_frame(model: &str) -> String {
    frame(&json!({
        "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1700000000, "model": model, "choices": [],
        "usage": {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12},
    }))
}

pub const DONE: &str = "data: [DONE]\n\n";

/// A whole chat stream: role, words, finish, usage when asked (and `usage: null` before it, as OpenAI does), `[DONE]`.
pub fn chat_frames(model: &str, words: &[&str], usage: bool) -> Vec<String> {
    let null = usage.then_some(Value::Null);
    let mut frames = vec![chunk_with(model, json!({"role": "assistant", "content": ""}), None, null.clone())];
    frames.extend(words.iter().map(|w| chunk_with(model, json!({"content": w}), None, null.clone())));
    frames.push(chunk_with(model, json!({}), Some("stop"), null.clone()));
    if usage {
        frames.push(usage_frame(model));
    }
    frames.push(DONE.to_string());
    frames
}

/// An SSE frame around a JSON value.
pub fn frame(body: &Value) -> String {
    format!("data: {body}\n\n")
}
