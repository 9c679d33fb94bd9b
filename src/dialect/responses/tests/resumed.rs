//! A stream that breaks off anywhere, and goes on with another: to a strict client it is one.

use super::lifecycle::well_formed;
use super::recorded::{REASONING, TEXT};
use super::*;
use proptest::prelude::*;
use serde_json::json;

use crate::dialect::resume::{Begins, Told};
use crate::dialect::{reader, Written};
use crate::llm::Wire;

fn recorded(text: &str) -> Vec<Value> {
    let lines = text.lines().map(|line| line.strip_prefix("data: ").unwrap_or(line));
    lines.filter(|line| line.starts_with('{')).map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// What the client has when the answer has broken off after `cut` events and the same is said again; none where that
/// cannot be.
fn gone_on(said: &[Value], cut: usize) -> Option<Vec<Value>> {
    let mut told = Told::new(Wire::Responses).unwrap();
    said[..cut].iter().for_each(|event| told.hear(format!("data: {event}\n\n").into()));
    told.text()?;
    let conversation = read(r#"{"input":"x"}"#).unwrap();
    let mut writer = told.resumed(Box::new(writer(&conversation)), Begins::Again)?;
    let (mut reader, mut out) = (reader(Wire::Responses, STAMP), Vec::new());
    for event in said {
        // The other one's ids are its own.
        let other = event.to_string().replace("resp_", "resp_other").replace("msg_", "msg_other");
        let mut sink = Written { writer: writer.as_mut(), out: &mut out };
        reader.event(other.as_bytes(), &mut sink).unwrap();
    }
    writer.end(&mut out);
    assert!(!writer.diverged());
    Some(said[..cut].iter().cloned().chain(events(&out)).collect())
}

fn text(response: &Value) -> String {
    let messages = response["output"].as_array().unwrap().iter().filter(|item| item["type"] == "message");
    messages.map(|message| message["content"][0]["text"].as_str().unwrap()).collect()
}

#[test]
fn a_recorded_stream_goes_on_from_wherever_a_text_is_open() {
    let said = recorded(TEXT);
    let whole = &said.last().unwrap()["response"];
    let last_word = types(&said).iter().rposition(|kind| *kind == "output_text.delta").unwrap();
    for cut in 2..said.len() {
        let Some(events) = gone_on(&said, cut) else {
            assert!(cut > last_word + 1, "there is a way at {cut}");
            continue;
        };
        assert!(cut <= last_word + 1, "the text was over at {cut}");
        let last = well_formed(&events);
        for member in ["id", "created_at", "model", "status"] {
            assert_eq!(last[member], whole[member], "{member}, cut at {cut}");
        }
        assert_eq!(text(&last), text(whole), "cut at {cut}");
        assert_eq!(last["usage"]["total_tokens"], whole["usage"]["total_tokens"]);
        assert!(cut < 3 || last["output"][0]["id"] == whole["output"][0]["id"]);
    }
}

#[test]
fn thoughts_that_are_whole_are_repeated_as_they_were_behind_a_message_of_who_had_them() {
    let (thinking, talking) = (recorded(REASONING), recorded(TEXT));
    let thought = types(&thinking).iter().position(|kind| *kind == "output_item.done").unwrap();
    let mut said: Vec<Value> = thinking[..=thought].iter().chain(&talking[2..]).cloned().collect();
    for (number, event) in said.iter_mut().enumerate() {
        event["sequence_number"] = number.into();
        if number > thought && event["output_index"] == 0 {
            event["output_index"] = 1.into();
        }
    }
    for cut in 3..=thought + 1 {
        assert!(gone_on(&said, cut).is_none(), "there is no message at {cut}");
    }
    for cut in thought + 2..thought + 5 {
        let last = well_formed(&gone_on(&said, cut).unwrap());
        assert_eq!(last["output"][0], said[thought]["item"]);
        assert_eq!(text(&last), text(&talking.last().unwrap()["response"]));
    }
}

#[test]
fn an_id_that_would_leave_its_quotes_is_no_place_to_go_on_from() {
    let mut told = Told::new(Wire::Responses).unwrap();
    told.hear("data: {\"type\":\"response.created\",\"response\":{\"id\":\"a\\\"b\"}}\n\n".into());
    assert_eq!(told.text(), None);
}

#[test]
fn a_number_that_no_answer_has_is_no_place_to_go_on_from() {
    let mut said = recorded(TEXT);
    let last = types(&said).iter().rposition(|kind| *kind == "output_text.delta").unwrap();
    assert!(gone_on(&said, last + 1).is_some());
    said[last]["sequence_number"] = json!(u64::MAX);
    assert!(gone_on(&said, last + 1).is_none());
}

proptest! {
    /// Whatever a host says: nobody panics, and what goes on is JSON, numbered without a gap.
    #[test]
    fn a_bent_stream_is_gone_on_with_in_order_or_not_at_all(
        at in any::<prop::sample::Index>(),
        member in prop::sample::select(vec![
            "type", "sequence_number", "response", "item", "part", "delta", "output_index", "item_id",
        ]),
        value in prop::sample::select(vec![
            json!(null), json!(7), json!(-1), json!(u64::MAX), json!("x\"y"), json!([]), json!({"id": "a\"b"}),
        ]),
    ) {
        let mut said = recorded(TEXT);
        let last = types(&said).iter().rposition(|kind| *kind == "output_text.delta").unwrap();
        let at = at.index(last + 1);
        said[at][member] = value;
        let mut told = Told::new(Wire::Responses).unwrap();
        said[..=last].iter().for_each(|event| told.hear(format!("data: {event}\n\n").into()));
        let conversation = read(r#"{"input":"x"}"#).unwrap();
        if let Some(mut writer) = told.resumed(Box::new(writer(&conversation)), Begins::Again) {
            let (text, mut out) = (format!("{} more", told.text().unwrap()), Vec::new());
            writer.piece(0, Piece::Text(&text), &mut out);
            writer.end(&mut out);
            let numbers: Vec<_> = events(&out).iter().map(|event| event["sequence_number"].as_u64()).collect();
            prop_assert!(numbers.windows(2).all(|pair| pair[1] == pair[0].map(|number| number.wrapping_add(1))));
        }
    }
}
