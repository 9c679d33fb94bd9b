//! The items of an answer and their events.
//!
//! An item that is closed is kept as the JSON that its `output_item.done` had, because the response at the end repeats
//! it. The order of events is what strict clients assert: an item is added before its parts, a part before its deltas,
//! and each ends before what holds it.
//!
//! Sources: OpenAI API reference, "Streaming events"; recorded streams of OpenAI.

use serde::Deserialize;

use super::pen::{value, Flow, Pen, Words, ARGUMENTS, INPUT, REFUSAL, SUMMARY, TEXT};
use crate::dialect::json::Str;

/// An item of the answer.
pub(super) struct Item {
    /// `"id":"..","type":".."`: what its JSON begins with.
    head: String,
    /// `,"output_index":..,"item_id":".."`: where its events belong.
    place: String,
    /// `,"output_index":..`.
    index: String,
    body: Body,
}

enum Body {
    Message(Message),
    /// Its summary, which has one part.
    Reasoning(Option<Flow>),
    Call(Call),
    /// Its JSON.
    Closed(Vec<u8>),
}

#[derive(Default)]
struct Message {
    part: Option<Part>,
    /// The JSON of the parts that are closed.
    closed: Vec<u8>,
    count: u32,
}

struct Part {
    refusal: bool,
    place: String,
    flow: Flow,
}

struct Call {
    ordinal: u32,
    /// `,"call_id":..,"name":..`.
    head: Vec<u8>,
    flow: Flow,
    /// Of a custom tool: the JSON in which its text comes.
    wrapped: Option<String>,
}

/// How a provider that has no custom tools is asked for the text of one.
#[derive(Deserialize)]
struct Wrapped<'a> {
    #[serde(borrow)]
    input: Str<'a>,
}

impl Item {
    fn new(index: usize, kind: &str, id: &str, body: Body) -> Self {
        let index = format!(",\"output_index\":{index}");
        Self {
            head: format!("\"id\":\"{id}\",\"type\":\"{kind}\""),
            place: format!("{index},\"item_id\":\"{id}\""),
            index,
            body,
        }
    }

    fn added(&self, rest: &[u8], pen: &mut Pen) {
        pen.open("response.output_item.added").raw(&self.index).raw(",\"item\":{").raw(&self.head);
        pen.raw(rest).raw("}").close();
    }

    /// The item's last event; from now on it is its JSON.
    fn finish(&mut self, rest: &[&[u8]], pen: &mut Pen) {
        let mut json = format!("{{{}", self.head).into_bytes();
        rest.iter().for_each(|piece| json.extend_from_slice(piece));
        json.push(b'}');
        pen.open("response.output_item.done").raw(&self.index).raw(",\"item\":").raw(&json).close();
        self.body = Body::Closed(json);
    }

    /// The JSON of an item that is closed.
    pub(super) fn json(&self) -> &[u8] {
        match &self.body {
            Body::Closed(json) => json,
            _ => b"{}",
        }
    }

    /// An item that is whole already.
    pub(super) fn whole(json: &str) -> Self {
        Self {
            body: Body::Closed(json.as_bytes().to_vec()),
            ..Self::new(0, "", "", Body::Closed(Vec::new()))
        }
    }

    /// A message, empty.
    pub(super) fn message(index: usize, id: &str, pen: &mut Pen) -> Self {
        let item = Self::new(index, "message", id, Body::Message(Message::default()));
        item.added(br#","status":"in_progress","role":"assistant","content":[]"#, pen);
        item
    }

    /// Whether the item is a message that can go on.
    pub(super) fn is_message(&self) -> bool {
        matches!(self.body, Body::Message(_))
    }

    /// Whether the item holds thoughts that can go on.
    pub(super) fn is_reasoning(&self) -> bool {
        matches!(self.body, Body::Reasoning(_))
    }

    /// More of a message.
    pub(super) fn say(&mut self, refusal: bool, more: &str, pen: &mut Pen) {
        let Body::Message(message) = &mut self.body else { return };
        if message.part.as_ref().is_some_and(|part| part.refusal != refusal) {
            message.close_part(pen);
        }
        let part = message.part.get_or_insert_with(|| {
            let place = format!("{},\"content_index\":{}", self.place, message.count);
            Part::open(refusal, place, pen)
        });
        part.flow.more(more, pen);
    }

    /// Thoughts, empty.
    pub(super) fn reasoning(index: usize, id: &str, pen: &mut Pen) -> Self {
        let item = Self::new(index, "reasoning", id, Body::Reasoning(None));
        item.added(br#","summary":[]"#, pen);
        item
    }

    /// More thoughts.
    pub(super) fn think(&mut self, more: &str, pen: &mut Pen) {
        let Body::Reasoning(summary) = &mut self.body else { return };
        let flow = summary.get_or_insert_with(|| {
            let place = format!("{},\"summary_index\":0", self.place);
            pen.open("response.reasoning_summary_part.added").raw(&place);
            pen.raw(r#","part":{"type":"summary_text","text":""}"#).close();
            Flow::new(&SUMMARY, place.into_bytes())
        });
        flow.more(more, pen);
    }

    /// The end of the thoughts, with what proves them.
    pub(super) fn prove(&mut self, mark: &str, proof: &str, pen: &mut Pen) {
        let mut sealed = Vec::with_capacity(mark.len() + proof.len() + 2);
        value(&mut sealed, proof);
        // The mark goes inside the quotes.
        sealed.splice(1..1, mark.bytes());
        self.close_reasoning(&sealed, pen);
    }

    fn close_reasoning(&mut self, encrypted: &[u8], pen: &mut Pen) {
        let Body::Reasoning(summary) = &mut self.body else { return };
        let mut parts = Vec::new();
        if let Some(flow) = summary.take() {
            parts = [br#"{"type":"summary_text","text":""#, flow.text(), b"\"}"].concat();
            flow.done(pen);
            pen.open("response.reasoning_summary_part.done").raw(&self.place);
            pen.raw(",\"summary_index\":0,\"part\":").raw(&parts).close();
        }
        self.finish(&[b",\"summary\":[", &parts, b"],\"encrypted_content\":", encrypted], pen);
    }

    /// A call without arguments so far. `head` has its call id and name.
    pub(super) fn call(
        index: usize,
        id: &str,
        ordinal: u32,
        custom: bool,
        head: Vec<u8>,
        pen: &mut Pen,
    ) -> Self {
        let (kind, words): (_, &Words) =
            if custom { ("custom_tool_call", &INPUT) } else { ("function_call", &ARGUMENTS) };
        let mut item = Self::new(index, kind, id, Body::Closed(Vec::new()));
        let empty: &[u8] = if custom { br#","input":"""# } else { br#","arguments":"""# };
        item.added(&[b",\"status\":\"in_progress\"", head.as_slice(), empty].concat(), pen);
        let flow = Flow::new(words, item.place.clone().into_bytes());
        item.body = Body::Call(Call { ordinal, head, flow, wrapped: custom.then(String::new) });
        item
    }

    /// Whether the item is this call.
    pub(super) fn is_call(&self, wanted: u32) -> bool {
        matches!(&self.body, Body::Call(Call { ordinal, .. }) if *ordinal == wanted)
    }

    /// More of a call's arguments. The text of a custom tool is shown when it is whole.
    pub(super) fn argue(&mut self, json: &str, pen: &mut Pen) {
        match &mut self.body {
            Body::Call(Call { wrapped: Some(wrapped), .. }) => wrapped.push_str(json),
            Body::Call(call) => call.flow.more(json, pen),
            _ => {}
        }
    }

    /// A picture, whole.
    pub(super) fn image(index: usize, id: &str, mime: &str, data: &str, pen: &mut Pen) -> Self {
        let mut item = Self::new(index, "image_generation_call", id, Body::Closed(Vec::new()));
        item.added(br#","status":"in_progress","result":null"#, pen);
        pen.open("response.image_generation_call.in_progress").raw(&item.place).close();
        pen.open("response.image_generation_call.completed").raw(&item.place).close();
        let mut rest = Vec::with_capacity(data.len() + 64);
        rest.extend_from_slice(br#","status":"completed","output_format":"#);
        value(&mut rest, mime.strip_prefix("image/").unwrap_or(mime));
        rest.extend_from_slice(b",\"result\":");
        value(&mut rest, data);
        item.finish(&[&rest], pen);
        item
    }

    /// Closes the item; nothing where it is closed.
    pub(super) fn close(&mut self, cut: bool, pen: &mut Pen) {
        let status: &[u8] = if cut { br#","status":"incomplete""# } else { br#","status":"completed""# };
        match &mut self.body {
            Body::Closed(_) => {}
            Body::Reasoning(_) => self.close_reasoning(b"null", pen),
            Body::Message(message) => {
                message.close_part(pen);
                let parts = std::mem::take(&mut message.closed);
                self.finish(&[status, br#","role":"assistant","content":["#, &parts, b"]"], pen);
            }
            Body::Call(call) => {
                let member: &[u8] =
                    if call.wrapped.is_some() { br#","input":""# } else { br#","arguments":""# };
                call.end(pen);
                let rest = [status, &call.head, member, call.flow.text(), b"\""].concat();
                self.finish(&[&rest], pen);
            }
        }
    }
}

impl Message {
    fn close_part(&mut self, pen: &mut Pen) {
        let Some(part) = self.part.take() else { return };
        part.flow.done(pen);
        let json = part.json();
        pen.open("response.content_part.done").raw(&part.place).raw(",\"part\":").raw(&json).close();
        if self.count > 0 {
            self.closed.push(b',');
        }
        self.closed.extend_from_slice(&json);
        self.count += 1;
    }
}

impl Part {
    fn open(refusal: bool, place: String, pen: &mut Pen) -> Self {
        let (words, more) = if refusal { (&REFUSAL, "") } else { (&TEXT, ",\"logprobs\":[]") };
        let flow = Flow::new(words, format!("{place}{more}").into_bytes());
        let part = Self { refusal, place, flow };
        pen.open("response.content_part.added").raw(&part.place).raw(",\"part\":").raw(part.json()).close();
        part
    }

    fn json(&self) -> Vec<u8> {
        if self.refusal {
            [br#"{"type":"refusal","refusal":""#, self.flow.text(), b"\"}"].concat()
        } else {
            let text = self.flow.text();
            [br#"{"type":"output_text","annotations":[],"logprobs":[],"text":""#, text, b"\"}"].concat()
        }
    }
}

impl Call {
    /// The last of the arguments.
    fn end(&mut self, pen: &mut Pen) {
        if let Some(wrapped) = &self.wrapped {
            let read = serde_json::from_str::<Wrapped>(wrapped);
            let input = match (&read, wrapped.as_str()) {
                (Ok(wrapped), _) => &*wrapped.input,
                (Err(_), "{}") => "",
                // What the model has not wrapped is taken for the text itself.
                (Err(_), bare) => bare,
            };
            if !input.is_empty() {
                self.flow.more(input, pen);
            }
        } else if self.flow.text().is_empty() {
            self.flow.more("{}", pen);
        }
        self.flow.done(pen);
    }
}
