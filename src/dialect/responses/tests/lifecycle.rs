//! Any order of pieces gives events that a strict client takes.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::dialect::reply::Finish;

/// What a strict client knows while it reads: the items, and which texts of them are open.
#[derive(Default)]
struct Client {
    items: Vec<Value>,
    done: Vec<bool>,
    /// The text of a part or a call, by its place, while it is open.
    texts: Vec<(Value, String, bool)>,
    parts: Vec<(Value, bool)>,
}

impl Client {
    fn take(&mut self, event: &Value) {
        let kind = event["type"].as_str().unwrap().strip_prefix("response.").unwrap();
        match kind {
            "output_item.added" => self.item_added(event),
            "output_item.done" => self.item_done(event),
            "content_part.added" | "reasoning_summary_part.added" => {
                self.open_item(event);
                let place = place(event);
                assert!(self.parts.iter().all(|(other, _)| *other != place));
                self.parts.push((place, true));
            }
            "content_part.done" | "reasoning_summary_part.done" => {
                let text = self.text(event);
                assert!(text.2, "a part ends after its text");
                let whole = event["part"]["text"].as_str().or(event["part"]["refusal"].as_str());
                assert_eq!(whole, Some(text.1.as_str()));
                self.part(event).1 = false;
            }
            kind if kind.ends_with(".delta") => self.delta(kind, event),
            kind if kind.ends_with(".done") => self.text_done(event),
            kind => assert!(kind.starts_with("image_generation_call."), "{kind}"),
        }
    }

    fn item_added(&mut self, event: &Value) {
        assert_eq!(event["output_index"], self.items.len());
        let id = &event["item"]["id"];
        assert!(id.is_string() && self.items.iter().all(|item| item["id"] != *id));
        self.items.push(event["item"].clone());
        self.done.push(false);
    }

    fn item_done(&mut self, event: &Value) {
        let index =
            self.open_item(&json!({"output_index": event["output_index"], "item_id": event["item"]["id"]}));
        let inside = |place: &Value| place[0] == index;
        assert!(self.parts.iter().all(|(place, open)| !inside(place) || !open), "a part outlives its item");
        assert!(
            self.texts.iter().all(|(place, _, done)| !inside(place) || *done),
            "a text outlives its item"
        );
        assert_eq!(event["item"]["type"], self.items[index]["type"]);
        self.items[index] = event["item"].clone();
        self.done[index] = true;
    }

    fn delta(&mut self, kind: &str, event: &Value) {
        self.open_item(event);
        let place = place(event);
        if !kind.contains("call") {
            assert!(self.part(event).1, "a delta of a part that is not open");
        }
        let more = event["delta"].as_str().unwrap();
        match self.texts.iter_mut().find(|(other, ..)| *other == place) {
            Some((_, text, done)) => {
                assert!(!*done, "a delta after the end");
                text.push_str(more);
            }
            None => self.texts.push((place, more.to_owned(), false)),
        }
    }

    fn text_done(&mut self, event: &Value) {
        self.open_item(event);
        let members = ["text", "refusal", "arguments", "input"];
        let whole = members.iter().find_map(|member| event[member].as_str()).unwrap().to_owned();
        let text = self.text(event);
        assert_eq!(text.1, whole);
        text.2 = true;
    }

    /// The index of the item that an event belongs to, which must be open.
    fn open_item(&self, event: &Value) -> usize {
        let index = event["output_index"].as_u64().unwrap() as usize;
        assert_eq!(self.items[index]["id"], event["item_id"]);
        assert!(!self.done[index], "an event of an item that is done");
        index
    }

    fn part(&mut self, event: &Value) -> &mut (Value, bool) {
        let place = place(event);
        self.parts.iter_mut().find(|(other, _)| *other == place).unwrap()
    }

    fn text(&mut self, event: &Value) -> &mut (Value, String, bool) {
        let place = place(event);
        if !self.texts.iter().any(|(other, ..)| *other == place) {
            self.texts.push((place.clone(), String::new(), false));
        }
        self.texts.iter_mut().find(|(other, ..)| *other == place).unwrap()
    }
}

fn place(event: &Value) -> Value {
    json!([event["output_index"], event["content_index"], event["summary_index"]])
}

/// Reads a stream as a strict client does, and gives the last response.
pub(super) fn well_formed(events: &[Value]) -> Value {
    for (number, event) in events.iter().enumerate() {
        assert_eq!(event["sequence_number"], number);
    }
    assert_eq!(types(events)[..2], ["created", "in_progress"]);
    let (last, between) = events[2..].split_last().unwrap();
    assert!(["response.completed", "response.incomplete"].contains(&last["type"].as_str().unwrap()));
    let mut client = Client::default();
    between.iter().for_each(|event| client.take(event));
    assert!(client.done.iter().all(|done| *done), "an item is never done");
    assert_eq!(last["response"]["output"], Value::Array(client.items));
    last["response"].clone()
}

/// A piece that owns its text.
#[derive(Clone, Debug)]
enum Said {
    Start,
    Text(String),
    Refusal(String),
    Reasoning(String),
    Signature(String),
    Redacted(String),
    Call(bool),
    Arguments(u32, String),
    Image,
}

fn said() -> impl Strategy<Value = Said> {
    let text = "[a\"\\\\\u{1}\u{e9}\u{1f600}{}:]{0,6}";
    prop_oneof![
        Just(Said::Start),
        text.prop_map(Said::Text),
        text.prop_map(Said::Text),
        text.prop_map(Said::Refusal),
        text.prop_map(Said::Reasoning),
        text.prop_map(Said::Signature),
        text.prop_map(Said::Redacted),
        any::<bool>().prop_map(Said::Call),
        (0u32..4, text).prop_map(|(ordinal, json)| Said::Arguments(ordinal, json)),
        Just(Said::Image),
    ]
}

fn pieces(said: &[Said]) -> Vec<Piece<'_>> {
    let mut calls = 0;
    let piece = |said| match said {
        &Said::Start => Piece::Start { id: "x", model: "m" },
        Said::Text(text) => Piece::Text(text),
        Said::Refusal(text) => Piece::Refusal(text),
        Said::Reasoning(text) => Piece::Reasoning(text),
        Said::Signature(proof) => Piece::Signature(proof),
        Said::Redacted(data) => Piece::Redacted(data),
        Said::Call(custom) => {
            calls += 1;
            let name = if *custom { "custom" } else { "function" };
            Piece::ToolCall { ordinal: calls - 1, id: "c", name, signature: None }
        }
        Said::Arguments(ordinal, json) => Piece::Arguments { ordinal: *ordinal, json },
        Said::Image => Piece::Image { mime: "image/png", data: "AA==" },
    };
    said.iter().map(piece).collect()
}

const FINISHES: [Finish; 4] = [Finish::Stop, Finish::Length, Finish::Filtered, Finish::ToolCalls];
const TOOLS: &str = r#"{"input":"","tools":[{"type":"custom","name":"custom"},{"name":"function"}]}"#;

proptest! {
    #[test]
    fn any_pieces_make_a_stream_that_strict_clients_take(
        said in prop::collection::vec(said(), 0..24),
        finish in prop::option::of(0usize..4),
    ) {
        let mut pieces = pieces(&said);
        pieces.extend(finish.map(|finish| Piece::Finish(FINISHES[finish])));
        well_formed(&stream(&read(TOOLS).unwrap(), &pieces));
    }

    #[test]
    fn a_whole_answer_is_what_the_stream_ends_with(said in prop::collection::vec(said(), 0..24)) {
        // Empty pieces and late starts are a stream's own; a whole answer has neither.
        let mut pieces = pieces(&said);
        let kept = |piece: &Piece| !matches!(piece, Piece::Start { .. } | Piece::Text("") | Piece::Refusal("")
            | Piece::Reasoning(""));
        pieces.retain(kept);
        pieces.insert(0, Piece::Start { id: "x", model: "m" });
        pieces.push(Piece::Finish(Finish::Stop));
        let conversation = read(TOOLS).unwrap();
        let streamed = well_formed(&stream(&conversation, &pieces));
        prop_assert_eq!(streamed, whole(&conversation, &pieces));
    }
}
