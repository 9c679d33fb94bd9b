//! What every answer of a dialect must be, whatever it says, and what it says.
//!
//! Clients rely on these things without checking them: one id on all chunks, the role once, calls numbered without
//! gaps, one reason for the end, events in pairs, and nothing after the last. The answer is read here by its own rules,
//! with nothing of the router's, so that a fault cannot hide by being made twice.

use std::collections::BTreeMap;

use auto_ai_router::llm::Wire;
use serde_json::Value;

/// What a client has heard, by choice.
#[derive(Debug, Default, PartialEq)]
pub struct Heard {
    /// Text and refusals.
    pub text: BTreeMap<u64, String>,
    pub thoughts: BTreeMap<u64, String>,
    /// Id, name, arguments.
    pub calls: BTreeMap<u64, Vec<(String, String, String)>>,
    pub finish: BTreeMap<u64, String>,
    /// Input and output.
    pub usage: Option<(u64, u64)>,
}

/// The events of a stream: name and data.
pub fn events(stream: &str) -> Vec<(String, String)> {
    let (mut found, mut name, mut data) = (Vec::new(), String::new(), None::<String>);
    for line in stream.replace("\r\n", "\n").split(['\n', '\r']) {
        if line.is_empty() {
            found.extend(data.take().map(|data| (std::mem::take(&mut name), data)));
            name.clear();
        } else if let Some(value) = line.strip_prefix("event:") {
            value.trim_start_matches(' ').clone_into(&mut name);
        } else if let Some(value) = line.strip_prefix("data:") {
            let value = value.strip_prefix(' ').unwrap_or(value);
            let so_far = data.take().map(|data| data + "\n").unwrap_or_default();
            data = Some(so_far + value);
        }
    }
    found
}

impl Heard {
    /// A stream that is whole.
    pub fn stream(client: Wire, stream: &str) -> Self {
        let events = events(stream);
        match client {
            Wire::Messages => messages(&events),
            Wire::Responses => responses(&events),
            Wire::Gemini => gemini(&events),
            _ => chunks(&events, client == Wire::Chat),
        }
    }

    /// A whole body.
    pub fn body(client: Wire, body: &str) -> Self {
        let body: Value = serde_json::from_str(body).unwrap();
        let mut heard = Self::default();
        match client {
            Wire::Messages => heard.message(&body),
            Wire::Responses => heard.response(&body),
            Wire::Gemini => heard.candidates(&body),
            _ => {
                for choice in list(&body["choices"]) {
                    let message = if choice["text"].is_string() { choice } else { &choice["message"] };
                    heard.delta(number(&choice["index"]), message);
                    heard.finish.insert(number(&choice["index"]), string(&choice["finish_reason"]));
                }
                heard.count(&body["usage"], "prompt_tokens", "completion_tokens");
            }
        }
        heard
    }

    fn delta(&mut self, choice: u64, delta: &Value) {
        for member in ["content", "refusal", "text"] {
            self.text.entry(choice).or_default().push_str(delta[member].as_str().unwrap_or_default());
        }
        let thoughts = delta["reasoning_content"].as_str().unwrap_or_default();
        self.thoughts.entry(choice).or_default().push_str(thoughts);
        let calls = self.calls.entry(choice).or_default();
        for call in list(&delta["tool_calls"]) {
            let function = &call["function"];
            if call["id"].is_string() {
                let index = call["index"].as_u64().unwrap_or(calls.len() as u64);
                assert_eq!(index, calls.len() as u64, "calls are numbered without gaps");
                calls.push((string(&call["id"]), string(&function["name"]), String::new()));
            }
            let at = call["index"].as_u64().map_or(calls.len() - 1, |index| index as usize);
            calls[at].2.push_str(function["arguments"].as_str().unwrap_or_default());
        }
    }

    fn message(&mut self, message: &Value) {
        for block in list(&message["content"]) {
            self.block(block);
        }
        self.finish.insert(0, string(&message["stop_reason"]));
        self.anthropic(&message["usage"]);
    }

    fn block(&mut self, block: &Value) {
        self.text.entry(0).or_default().push_str(block["text"].as_str().unwrap_or_default());
        self.thoughts.entry(0).or_default().push_str(block["thinking"].as_str().unwrap_or_default());
        if block["type"] == "tool_use" {
            let arguments = block["input"].to_string();
            let call = (string(&block["id"]), string(&block["name"]), arguments);
            self.calls.entry(0).or_default().push(call);
        }
    }

    fn anthropic(&mut self, usage: &Value) {
        let input = ["input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens"];
        let sum = input.iter().map(|name| number(&usage[*name])).sum();
        self.usage = usage.is_object().then(|| (sum, number(&usage["output_tokens"])));
    }

    fn response(&mut self, response: &Value) {
        for item in list(&response["output"]) {
            for part in list(&item["content"]) {
                let text = part["text"].as_str().or(part["refusal"].as_str()).unwrap_or_default();
                self.text.entry(0).or_default().push_str(text);
            }
            for part in list(&item["summary"]) {
                self.thoughts.entry(0).or_default().push_str(part["text"].as_str().unwrap_or_default());
            }
            if item["type"] == "function_call" {
                let call = (string(&item["call_id"]), string(&item["name"]), string(&item["arguments"]));
                self.calls.entry(0).or_default().push(call);
            }
        }
        let why = response["incomplete_details"]["reason"].as_str().unwrap_or("completed");
        self.finish.insert(0, why.to_owned());
        self.count(&response["usage"], "input_tokens", "output_tokens");
    }

    fn candidates(&mut self, event: &Value) {
        for candidate in list(&event["candidates"]) {
            let choice = number(&candidate["index"]);
            for part in list(&candidate["content"]["parts"]) {
                let said = if part["thought"] == true { &mut self.thoughts } else { &mut self.text };
                said.entry(choice).or_default().push_str(part["text"].as_str().unwrap_or_default());
                let call = &part["functionCall"];
                if call.is_object() {
                    let call = (string(&call["id"]), string(&call["name"]), call["args"].to_string());
                    self.calls.entry(choice).or_default().push(call);
                }
            }
            if let Some(reason) = candidate["finishReason"].as_str() {
                assert!(self.finish.insert(choice, reason.to_owned()).is_none(), "one reason for the end");
            }
        }
        let usage = &event["usageMetadata"];
        let output = number(&usage["candidatesTokenCount"]) + number(&usage["thoughtsTokenCount"]);
        if usage.is_object() {
            self.usage = Some((number(&usage["promptTokenCount"]), output));
        }
    }

    fn count(&mut self, usage: &Value, input: &str, output: &str) {
        self.usage = usage.is_object().then(|| (number(&usage[input]), number(&usage[output])));
    }

    /// Whether two say the same; nothing said and an empty text are one.
    pub fn settled(mut self) -> Self {
        self.text.retain(|_, text| !text.is_empty());
        self.thoughts.retain(|_, text| !text.is_empty());
        self.calls.retain(|_, calls| !calls.is_empty());
        for (.., arguments) in self.calls.values_mut().flatten() {
            if let Ok(value) = serde_json::from_str::<Value>(arguments) {
                *arguments = value.to_string();
            }
        }
        self
    }
}

fn chunks(events: &[(String, String)], chat: bool) -> Heard {
    let (mut heard, mut head, mut roles) = (Heard::default(), None, BTreeMap::new());
    let (last, chunks) = events.split_last().expect("a stream is not empty");
    assert_eq!(last.1, "[DONE]", "the mark of the end comes last");
    for (_, data) in chunks {
        let chunk = parsed(data);
        let same = [&chunk["id"], &chunk["model"], &chunk["created"]].map(Value::clone);
        assert!(!string(&chunk["id"]).is_empty());
        assert_eq!(head.get_or_insert_with(|| same.clone()), &same, "one id, model and time");
        assert!(heard.usage.is_none(), "usage is the last chunk");
        for choice in list(&chunk["choices"]) {
            let index = number(&choice["index"]);
            assert!(!heard.finish.contains_key(&index), "nothing after the end of a choice: {data}");
            let delta = if chat { &choice["delta"] } else { choice };
            if delta["role"].is_string() {
                assert!(roles.insert(index, ()).is_none(), "the role is said once");
            }
            assert!(!chat || roles.contains_key(&index), "the role comes first");
            heard.delta(index, delta);
            if let Some(reason) = choice["finish_reason"].as_str() {
                heard.finish.insert(index, reason.to_owned());
            }
        }
        heard.count(&chunk["usage"], "prompt_tokens", "completion_tokens");
    }
    assert!(!heard.finish.is_empty(), "there is a reason for the end");
    assert!(roles.keys().all(|index| heard.finish.contains_key(index)), "every choice ends");
    heard
}

fn messages(events: &[(String, String)]) -> Heard {
    let (mut heard, mut open, mut next, mut ended) = (Heard::default(), None::<(u64, Value)>, 0, false);
    for (at, (name, data)) in events.iter().enumerate() {
        let event = parsed(data);
        assert_eq!(event["type"], **name, "the name of an event is its type");
        assert_eq!(name == "message_start", at == 0, "the start comes first, and once");
        assert_eq!(name == "message_stop", at + 1 == events.len(), "the stop comes last, and once");
        match name.as_str() {
            "content_block_start" => {
                assert!(open.is_none() && !ended, "one block at a time");
                assert_eq!(number(&event["index"]), next, "blocks are numbered without gaps");
                open = Some((next, event["content_block"].clone()));
                next += 1;
            }
            "content_block_delta" => {
                let (index, block) = open.as_mut().expect("a delta belongs to a block");
                assert_eq!(number(&event["index"]), *index);
                grow(block, &event["delta"]);
            }
            "content_block_stop" => {
                let (index, mut block) = open.take().expect("what stops has started");
                assert_eq!(number(&event["index"]), index);
                if let Some(json) = block["json"].as_str().filter(|json| !json.is_empty()) {
                    // A model may get its JSON wrong, and a stream cannot take it back.
                    block["input"] = serde_json::from_str(json).unwrap_or_else(|_| json.into());
                }
                heard.block(&block);
            }
            "message_delta" => {
                assert!(open.is_none(), "the end comes after the blocks");
                assert!(!std::mem::replace(&mut ended, true), "one reason for the end");
                heard.finish.insert(0, string(&event["delta"]["stop_reason"]));
                heard.anthropic(&event["usage"]);
            }
            _ => {}
        }
    }
    assert!(ended, "there is a reason for the end");
    heard
}

fn grow(block: &mut Value, delta: &Value) {
    for (member, from) in [("text", "text"), ("thinking", "thinking"), ("json", "partial_json")] {
        if let Some(more) = delta[from].as_str() {
            block[member] = format!("{}{more}", block[member].as_str().unwrap_or_default()).into();
        }
    }
}

fn responses(events: &[(String, String)]) -> Heard {
    let (mut heard, mut items, mut flows) = (Heard::default(), BTreeMap::new(), BTreeMap::new());
    for (at, (name, data)) in events.iter().enumerate() {
        let event = parsed(data);
        assert_eq!(event["type"], **name, "the name of an event is its type");
        assert_eq!(number(&event["sequence_number"]), at as u64, "events are numbered");
        assert_eq!(name == "response.created", at == 0, "the start comes first, and once");
        let ends = name == "response.completed" || name == "response.incomplete";
        assert_eq!(ends, at + 1 == events.len(), "the end comes last, and once: {name}");
        let index = number(&event["output_index"]);
        if name == "response.output_item.added" {
            assert_eq!(index, items.len() as u64, "items are numbered without gaps");
            items.insert(index, Value::Null);
        } else if name == "response.output_item.done" {
            assert_eq!(items.insert(index, event["item"].clone()), Some(Value::Null), "an item ends once");
        } else if let Some(delta) = event["delta"].as_str() {
            assert_eq!(items.get(&index), Some(&Value::Null), "a delta belongs to an open item");
            let place = (index, event["content_index"].to_string());
            flows.entry(place).or_insert_with(String::new).push_str(delta);
        } else if let Some(text) = ["text", "refusal", "arguments"].iter().find_map(|m| event[*m].as_str()) {
            let place = (index, event["content_index"].to_string());
            assert_eq!(flows.get(&place).map(String::as_str), Some(text), "the whole is what its deltas were");
        }
        if ends {
            let said: Vec<Value> = items.values().cloned().collect();
            assert_eq!(list(&event["response"]["output"]), said, "the response repeats its items");
            heard.response(&event["response"]);
        }
    }
    heard
}

fn gemini(events: &[(String, String)]) -> Heard {
    let mut heard = Heard::default();
    for (at, (name, data)) in events.iter().enumerate() {
        assert!(name.is_empty());
        assert!(heard.finish.is_empty(), "nothing after the end");
        heard.candidates(&parsed(data));
        assert_eq!(!heard.finish.is_empty(), at + 1 == events.len(), "the last event says why it is the last");
    }
    heard
}

fn parsed(data: &str) -> Value {
    serde_json::from_str(data).unwrap_or_else(|e| panic!("{e}: {data}"))
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_default()
}

fn string(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
