//! What the demonstration upstream answers: pure, from the bytes of a request to a list of timed pieces.
//!
//! Shapes after the OpenAI API reference: chat completions, completions, embeddings, responses and models, as objects
//! and as event streams. Token counts are words.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::Deserialize;
use serde_json::{json, Value};

use super::MODELS;

/// Between two words of an ordinary stream.
const PACE: Duration = Duration::from_millis(30);
/// Before the first word of the slow model, and between its words.
const SLOW: (Duration, Duration) = (Duration::from_secs(3), Duration::from_millis(250));

/// What is true of one request beyond its bytes.
pub(super) struct Turn<'d> {
    /// Requests before this one.
    pub(super) number: u64,
    /// The time, for `created`.
    pub(super) unix_seconds: u64,
    /// Requests to the flaky model so far.
    pub(super) flaky: &'d AtomicU64,
}

/// A whole answer.
pub(super) struct Reply {
    pub(super) after: Duration,
    pub(super) status: u16,
    pub(super) id: String,
    /// Seconds.
    pub(super) retry_after: Option<u64>,
    pub(super) body: Body,
}

pub(super) enum Body {
    Whole(String),
    Events(Vec<Event>),
}

/// One piece of a stream.
pub(super) struct Event {
    /// How long to wait before it.
    pub(super) after: Duration,
    pub(super) text: String,
}

#[derive(Deserialize)]
struct Ask {
    model: String,
    #[serde(default)]
    stream: bool,
    #[serde(default)]
    stream_options: Value,
    #[serde(default)]
    messages: Vec<Value>,
    #[serde(default)]
    prompt: Value,
    #[serde(default)]
    input: Value,
    #[serde(default)]
    encoding_format: Value,
    dimensions: Option<usize>,
}

/// The answer to a request.
pub(super) fn reply(method: &str, path: &str, body: &[u8], turn: &Turn<'_>) -> Reply {
    match (method, path) {
        ("GET", "/v1/models") => models(turn),
        ("POST", "/v1/chat/completions") => converse(body, turn, |answer| answer.chat()),
        ("POST", "/v1/completions") => converse(body, turn, |answer| answer.completion()),
        ("POST", "/v1/responses") => converse(body, turn, |answer| answer.response()),
        ("POST", "/v1/embeddings") => converse(body, turn, |answer| answer.embeddings()),
        _ => {
            fault(404, "invalid_request_error", "unknown_url", "The demonstration does not serve this.", turn)
        }
    }
}

fn models(turn: &Turn<'_>) -> Reply {
    let list = MODELS.map(|(id, _)| json!({"id": id, "object": "model", "created": 0, "owned_by": "demo"}));
    whole(200, json!({"object": "list", "data": list}), turn)
}

fn converse(body: &[u8], turn: &Turn<'_>, answer: fn(&Answer<'_>) -> Body) -> Reply {
    let ask: Ask = match serde_json::from_slice(body) {
        Ok(ask) => ask,
        Err(e) => return fault(400, "invalid_request_error", "invalid_json", &e.to_string(), turn),
    };
    let (first, pace) = if ask.model == "demo-slow" { SLOW } else { (PACE, PACE) };
    match ask.model.as_str() {
        "demo-limited" => {
            let limited =
                fault(429, "requests", "rate_limit_exceeded", "demo-limited is always at its limit.", turn);
            return Reply { retry_after: Some(20), ..limited };
        }
        "demo-flaky" if turn.flaky.fetch_add(1, Ordering::Relaxed).is_multiple_of(3) => {
            return fault(500, "server_error", "demo_failure", "demo-flaky fails one time in three.", turn);
        }
        name if MODELS.iter().all(|(known, _)| *known != name) => {
            return fault(404, "invalid_request_error", "model_not_found", "No such model here.", turn);
        }
        _ => {}
    }
    let text = ask.last_words();
    let body = answer(&Answer { ask: &ask, text: &text, first, pace, turn });
    let after = if matches!(body, Body::Whole(_)) && first > pace { first } else { Duration::ZERO };
    Reply { after, status: 200, id: id("req", turn), retry_after: None, body }
}

fn whole(status: u16, value: Value, turn: &Turn<'_>) -> Reply {
    let body = Body::Whole(value.to_string());
    Reply { after: Duration::ZERO, status, id: id("req", turn), retry_after: None, body }
}

fn fault(status: u16, kind: &str, code: &str, message: &str, turn: &Turn<'_>) -> Reply {
    whole(status, json!({"error": {"message": message, "type": kind, "param": null, "code": code}}), turn)
}

fn id(prefix: &str, turn: &Turn<'_>) -> String {
    format!("{prefix}-demo-{}-{}", turn.unix_seconds, turn.number)
}

impl Ask {
    /// What is echoed: the last user message, or the prompt, or the input.
    fn last_words(&self) -> String {
        let input = self.input.as_array();
        let mut turns = self.messages.iter().chain(input.into_iter().flatten()).rev();
        let said = turns.find(|turn| turn["role"] == "user").map(|turn| &turn["content"]);
        let said = said.unwrap_or(if self.input.is_null() { &self.prompt } else { &self.input });
        let text = match said {
            Value::Array(parts) => {
                let of =
                    |part: &Value| part["text"].as_str().or(part.as_str()).unwrap_or_default().to_owned();
                parts.iter().map(of).collect::<Vec<_>>().join(" ")
            }
            other => other.as_str().unwrap_or_default().to_owned(),
        };
        if text.trim().is_empty() {
            "(nothing to echo)".into()
        } else {
            text
        }
    }
}

/// One answer in the making.
struct Answer<'a> {
    ask: &'a Ask,
    text: &'a str,
    first: Duration,
    pace: Duration,
    turn: &'a Turn<'a>,
}

impl Answer<'_> {
    fn words(&self) -> impl Iterator<Item = &str> {
        self.text.split_inclusive(' ')
    }

    /// When word number `n` comes.
    fn pause(&self, n: usize) -> Duration {
        if n == 0 {
            self.first
        } else {
            self.pace
        }
    }

    fn prompt_tokens(&self) -> u64 {
        let said = self.ask.messages.iter().filter_map(|message| message["content"].as_str());
        let words = said.map(|text| text.split_whitespace().count()).sum::<usize>();
        words.max(self.text.split_whitespace().count()) as u64
    }

    fn usage(&self) -> Value {
        let (prompt, completion) = (self.prompt_tokens(), self.words().count() as u64);
        json!({"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion})
    }

    fn chat(&self) -> Body {
        let id = id("chatcmpl", self.turn);
        if !self.ask.stream {
            let message = json!({"role": "assistant", "content": self.text, "refusal": null});
            let choice = json!({"index": 0, "message": message, "finish_reason": "stop", "logprobs": null});
            return Body::Whole(
                self.object(&id, "chat.completion", json!([choice]), Some(self.usage())).to_string(),
            );
        }
        let delta =
            |delta: Value, finish: Value| json!([{"index": 0, "delta": delta, "finish_reason": finish}]);
        let start = delta(json!({"role": "assistant", "content": ""}), Value::Null);
        let words = self.words().map(|word| delta(json!({"content": word}), Value::Null));
        self.stream(&id, "chat.completion.chunk", Some(start), words, delta(json!({}), json!("stop")))
    }

    fn completion(&self) -> Body {
        let id = id("cmpl", self.turn);
        let choice = |text: &str, finish: Value| json!([{"index": 0, "text": text, "finish_reason": finish}]);
        if !self.ask.stream {
            let choices = choice(self.text, json!("stop"));
            return Body::Whole(self.object(&id, "text_completion", choices, Some(self.usage())).to_string());
        }
        let words = self.words().map(|word| choice(word, Value::Null));
        self.stream(&id, "text_completion", None, words, choice("", json!("stop")))
    }

    fn object(&self, id: &str, object: &str, choices: Value, usage: Option<Value>) -> Value {
        let created = self.turn.unix_seconds;
        let mut value = json!({"id": id, "object": object, "created": created, "model": self.ask.model, "choices": choices});
        if let Some(usage) = usage {
            value["usage"] = usage;
        }
        value
    }

    /// A stream of chunks: the start at once, the words at their pace, the end, the usage if asked for, `[DONE]`.
    fn stream(
        &self,
        id: &str,
        object: &str,
        start: Option<Value>,
        words: impl Iterator<Item = Value>,
        end: Value,
    ) -> Body {
        let wanted = self.ask.stream_options["include_usage"] == true;
        let chunk = |choices: Value| {
            let usage = wanted.then_some(Value::Null);
            format!("data: {}\n\n", self.object(id, object, choices, usage))
        };
        let at_once = |text: String| Event { after: Duration::ZERO, text };
        let mut events: Vec<Event> = start.into_iter().map(|choices| at_once(chunk(choices))).collect();
        events.extend(words.enumerate().map(|(n, w)| Event { after: self.pause(n), text: chunk(w) }));
        events.push(at_once(chunk(end)));
        if wanted {
            let usage = self.object(id, object, json!([]), Some(self.usage()));
            events.push(at_once(format!("data: {usage}\n\n")));
        }
        events.push(at_once("data: [DONE]\n\n".into()));
        Body::Events(events)
    }

    fn response(&self) -> Body {
        if self.ask.stream {
            ResponseEvents { answer: self, id: id("resp", self.turn), sent: Vec::new() }.all()
        } else {
            Body::Whole(self.response_object(&id("resp", self.turn), "completed").to_string())
        }
    }

    fn response_object(&self, id: &str, status: &str) -> Value {
        let completed = status == "completed";
        let (input, output) = (self.prompt_tokens(), self.words().count() as u64);
        let usage = json!({"input_tokens": input, "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": output, "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": input + output});
        json!({"id": id, "object": "response", "created_at": self.turn.unix_seconds, "status": status,
            "model": self.ask.model, "error": null, "incomplete_details": null, "instructions": null, "metadata": {},
            "parallel_tool_calls": true, "tool_choice": "auto", "tools": [], "temperature": 1.0, "top_p": 1.0,
            "output": if completed { json!([self.item(status, json!([part(self.text)]))]) } else { json!([]) },
            "usage": if completed { usage } else { Value::Null }})
    }

    fn item(&self, status: &str, content: Value) -> Value {
        json!({"id": id("msg", self.turn), "type": "message", "status": status, "role": "assistant",
            "content": content})
    }

    fn embeddings(&self) -> Body {
        let texts = match &self.ask.input {
            Value::Array(texts) => texts.clone(),
            one => vec![one.clone()],
        };
        let size = self.ask.dimensions.unwrap_or(64).clamp(1, 4096);
        let encode = |text: &Value| {
            let vector = vector(&text.to_string(), size);
            if self.ask.encoding_format == "base64" {
                let bytes: Vec<u8> = vector.iter().flat_map(|value| value.to_le_bytes()).collect();
                json!(base64(&bytes))
            } else {
                json!(vector)
            }
        };
        let entry = |(n, text)| json!({"object": "embedding", "index": n, "embedding": encode(text)});
        let data: Vec<Value> = texts.iter().enumerate().map(entry).collect();
        let tokens = texts.iter().map(|text| text.to_string().split_whitespace().count()).sum::<usize>();
        let usage = json!({"prompt_tokens": tokens, "total_tokens": tokens});
        Body::Whole(
            json!({"object": "list", "data": data, "model": self.ask.model, "usage": usage}).to_string(),
        )
    }
}

fn part(text: &str) -> Value {
    json!({"type": "output_text", "text": text, "annotations": []})
}

/// The event stream of the Responses API, numbered as it grows.
struct ResponseEvents<'a> {
    answer: &'a Answer<'a>,
    id: String,
    sent: Vec<Event>,
}

impl ResponseEvents<'_> {
    fn all(mut self) -> Body {
        let answer = self.answer;
        let state = |status: &str| json!({"response": answer.response_object(&self.id, status)});
        let (created, completed) = (state("in_progress"), state("completed"));
        let place = json!({"item_id": id("msg", answer.turn), "output_index": 0, "content_index": 0});
        let with = |name: &str, value: Value| {
            let mut fields = place.clone();
            fields[name] = value;
            fields
        };
        self.push("response.created", created.clone(), Duration::ZERO);
        self.push("response.in_progress", created, Duration::ZERO);
        let item = json!({"output_index": 0, "item": answer.item("in_progress", json!([]))});
        self.push("response.output_item.added", item, Duration::ZERO);
        self.push("response.content_part.added", with("part", part("")), Duration::ZERO);
        for (n, word) in answer.words().enumerate() {
            self.push("response.output_text.delta", with("delta", json!(word)), answer.pause(n));
        }
        self.push("response.output_text.done", with("text", json!(answer.text)), Duration::ZERO);
        self.push("response.content_part.done", with("part", part(answer.text)), Duration::ZERO);
        let item = json!({"output_index": 0, "item": answer.item("completed", json!([part(answer.text)]))});
        self.push("response.output_item.done", item, Duration::ZERO);
        self.push("response.completed", completed, Duration::ZERO);
        Body::Events(self.sent)
    }

    fn push(&mut self, kind: &str, mut fields: Value, after: Duration) {
        fields["type"] = json!(kind);
        fields["sequence_number"] = json!(self.sent.len());
        self.sent.push(Event { after, text: format!("event: {kind}\ndata: {fields}\n\n") });
    }
}

/// A vector of length one that depends on the text only.
fn vector(text: &str, size: usize) -> Vec<f32> {
    // FNV-1a for the text, then xorshift for the numbers.
    let mut state = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    let numbers: Vec<f32> = (0..size).map(|_| next()).collect();
    let length = numbers.iter().map(|number| number * number).sum::<f32>().sqrt().max(f32::MIN_POSITIVE);
    numbers.iter().map(|number| number / length).collect()
}

/// Standard base64 with padding.
fn base64(bytes: &[u8]) -> String {
    let letter = |bits: u32| match (bits & 63) as u8 {
        n @ 0..=25 => char::from(b'A' + n),
        n @ 26..=51 => char::from(b'a' + n - 26),
        n @ 52..=61 => char::from(b'0' + n - 52),
        62 => '+',
        _ => '/',
    };
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let bits = chunk.iter().fold(0, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for n in 0..4 {
            text.push(if n <= chunk.len() { letter(bits >> (18 - 6 * n)) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests;
