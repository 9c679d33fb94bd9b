//! Recordings, bent: members replaced, left out and doubled, events lost, repeated and swapped, bytes gone wrong. None
//! of it may make the translators panic, and what a client reads must still be an answer of its dialect.
//!
//! Random bytes would be refused by the first parser that they meet; so the golden cases are what is bent, and mostly
//! as trees and events. Each target runs for `FUZZ_SECONDS` (one by default, so that it is part of every test run;
//! `make fuzz` gives it more) with seeds of its own; what fails is made as small as it can be and shown.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use auto_ai_router::dialect::reply::Block;
use auto_ai_router::dialect::translation::Translation;
use auto_ai_router::dialect::{self, Composed, Habits, Target};
use auto_ai_router::llm::sse::SseDecoder;
use auto_ai_router::llm::stream::{AnswerStream, Ending};
use auto_ai_router::llm::Wire;
use bytes::Bytes;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use serde_json::value::RawValue;
use serde_json::{json, Value};

use crate::case::{compact, pairs, Case};
use crate::invariants::{events, Heard};
use crate::streams::{added_up, is_closed};

const PROVIDERS: [Wire; 3] = [Wire::Chat, Wire::Messages, Wire::Gemini];
const CLIENTS: [Wire; 5] = [Wire::Chat, Wire::Completions, Wire::Responses, Wire::Messages, Wire::Gemini];

/// What is done to a tree, or to the events of a stream.
#[derive(Clone, Debug)]
enum Bend {
    /// The value there becomes another.
    Replace(Index, Index),
    /// It becomes what stands elsewhere.
    Copy(Index, Index),
    /// It is gone.
    Remove(Index),
    /// An event is gone.
    Lose(Index),
    /// An event comes twice.
    Repeat(Index),
    /// Two events change places.
    Swap(Index, Index),
}

fn bends() -> impl Strategy<Value = Vec<Bend>> {
    let index = any::<Index>;
    let bend = prop_oneof![
        3 => (index(), index()).prop_map(|(at, with)| Bend::Replace(at, with)),
        2 => (index(), index()).prop_map(|(at, from)| Bend::Copy(at, from)),
        2 => index().prop_map(Bend::Remove),
        1 => index().prop_map(Bend::Lose),
        1 => index().prop_map(Bend::Repeat),
        1 => (index(), index()).prop_map(|(one, other)| Bend::Swap(one, other)),
    ];
    prop::collection::vec(bend, 0..6)
}

/// Values that stand where others are expected.
fn odd_values() -> Vec<Value> {
    let deep = (0..40).fold(json!(1), |inner, _| json!([inner]));
    let words =
        ["", " ", "x", "\u{0}\u{1f}\"\\", "é🌤", "{\"a\":", "error", "tool_use", "stop", "function", "[DONE]"];
    let values = [
        json!(null),
        json!(true),
        json!(0),
        json!(-1),
        json!(1.5),
        json!(u64::MAX),
        json!([]),
        json!({}),
        deep,
    ];
    words.iter().map(|word| json!(word)).chain(values).collect()
}

/// Where the values of a tree are.
fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                places(member, &format!("{at}/{}", name.replace('~', "~0").replace('/', "~1")), found);
            }
        }
        Value::Array(items) => {
            for (number, item) in items.iter().enumerate() {
                places(item, &format!("{at}/{number}"), found);
            }
        }
        _ => {}
    }
}

fn bend(events: &mut Vec<Value>, bend: &Bend) {
    let Some(last) = events.len().checked_sub(1) else { return };
    let mut found = Vec::new();
    for (number, event) in events.iter().enumerate() {
        let mut inside = Vec::new();
        places(event, "", &mut inside);
        found.extend(inside.into_iter().map(|place| (number, place)));
    }
    let at = |index: &Index| found[index.index(found.len())].clone();
    let taken = |from: &Index| events[at(from).0].pointer(&at(from).1).cloned().unwrap_or_default();
    match bend {
        Bend::Replace(place, with) => {
            let values = odd_values();
            put(events, at(place), values[with.index(values.len())].clone());
        }
        Bend::Copy(place, from) => {
            let value = taken(from);
            put(events, at(place), value);
        }
        Bend::Remove(place) => {
            let (number, place) = at(place);
            let (parent, name) = place.rsplit_once('/').unwrap_or_default();
            match events[number].pointer_mut(parent) {
                Some(Value::Object(members)) => drop(members.remove(name)),
                Some(Value::Array(items)) => drop(name.parse().ok().map(|at: usize| items.remove(at))),
                _ => {}
            }
        }
        Bend::Lose(at) => drop(events.remove(at.index(last + 1))),
        Bend::Repeat(at) => events.insert(at.index(last + 1), events[at.index(last + 1)].clone()),
        Bend::Swap(one, other) => events.swap(one.index(last + 1), other.index(last + 1)),
    }
}

fn put(events: &mut [Value], (number, place): (usize, String), value: Value) {
    if let Some(old) = events[number].pointer_mut(&place) {
        *old = value;
    }
}

/// Runs a property again and again until the time is over.
fn run<S: Strategy>(strategy: S, property: impl Fn(S::Value) -> Result<(), TestCaseError>)
where
    S::Value: std::fmt::Debug,
{
    let seconds = std::env::var("FUZZ_SECONDS").ok().and_then(|seconds| seconds.parse().ok()).unwrap_or(1);
    let (start, mut cases) = (Instant::now(), 0);
    while start.elapsed() < Duration::from_secs(seconds) {
        let config = Config { cases: 100, failure_persistence: None, ..Config::default() };
        let result = TestRunner::new(config).run(&strategy, &property);
        result.unwrap_or_else(|failure| panic!("{failure}"));
        cases += 100;
    }
    println!("{cases} cases");
}

fn cases() -> Vec<Case> {
    pairs().into_iter().flat_map(|pair| pair.cases()).collect()
}

fn composed_for(wire: Wire, body: &str) -> Vec<Composed> {
    let prepared = dialect::prepare(wire, body);
    let body = prepared.as_deref().unwrap_or(body);
    let Ok(conversation) = dialect::read(wire, body, false) else { return Vec::new() };
    let models = ["claude-opus-5", "claude-3-5-sonnet-latest", "gemini-3-flash", "gemini-2.0-flash", "gpt-5"];
    let target = |model, vertex| Target {
        model,
        habits: Habits { vertex, ..Habits::default() },
        signature: &|id| (id.len() % 2 == 0).then(|| "c2ln".to_owned()),
    };
    let targets = models.iter().flat_map(|model| [target(model, false), target(model, true)]);
    let all = targets
        .flat_map(|target| PROVIDERS.map(|provider| dialect::compose(provider, &conversation, &target)));
    all.filter_map(Result::ok).collect()
}

#[test]
fn bent_requests_are_refused_or_composed_as_json() {
    let cases = cases();
    run((any::<Index>(), bends(), any::<Index>()), |(case, bends, client)| {
        let case = &cases[case.index(cases.len())];
        let mut request = vec![serde_json::from_str(&case.request).unwrap()];
        bends.iter().for_each(|bent| bend(&mut request, bent));
        let body = request.first().map(Value::to_string).unwrap_or_default();
        // One in five is read as what it is not.
        let client = CLIENTS.get(client.index(25)).copied().unwrap_or(case.pair.client);
        for composed in composed_for(client, &body) {
            let sent = composed.body.contiguous();
            let read = serde_json::from_slice::<&RawValue>(&sent);
            prop_assert!(read.is_ok_and(|body| body.get().starts_with('{')), "{body}");
        }
        Ok(())
    });
}

/// The same with each of its members before itself once more, as lists in lists without end.
fn deepened(json: &str) -> Vec<String> {
    let deep = "[".repeat(10_000) + &"]".repeat(10_000);
    let ends = json.match_indices("\":").map(|(at, end)| at + end.len());
    let name = |end: usize| json[..end - 2].rfind('"').map(|start| &json[start..end]);
    ends.filter_map(|end| Some(format!("{}{deep},{}{}", &json[..end], name(end)?, &json[end..]))).collect()
}

#[test]
fn lists_in_lists_without_end_do_not_use_up_the_stack() {
    // One case of each kind: those of all pairs are alike.
    let kinds =
        ["03-tool-calls", "06-images-and-document", "08-reasoning-given-back", "10-structured-output"];
    for case in cases().iter().filter(|case| kinds.iter().any(|kind| case.name().ends_with(kind))) {
        for request in deepened(&case.request) {
            composed_for(case.pair.client, &request);
        }
        for answer in deepened(std::str::from_utf8(&case.upstream_reply).unwrap()) {
            case.translation().whole(answer.as_bytes()).ok();
            push(case.translation(), &format!("data: {answer}\n\n"), 4096);
        }
    }
}

/// Text with some of its characters changed.
fn spoilt(text: &str, spoils: &[(Index, char)]) -> String {
    let mut characters: Vec<char> = text.chars().collect();
    for (at, with) in spoils {
        let at = at.index(characters.len().max(1));
        match *with {
            '\u{7f}' if at < characters.len() => drop(characters.remove(at)),
            with if at < characters.len() => characters[at] = with,
            _ => {}
        }
    }
    characters.into_iter().collect()
}

fn spoils() -> impl Strategy<Value = Vec<(Index, char)>> {
    let odd = prop::sample::select("\u{7f}\"\\{}[]:,\n\r 0e-xnu\u{0}é".chars().collect::<Vec<_>>());
    prop::collection::vec((any::<Index>(), odd), 1..5)
}

#[test]
fn spoilt_requests_make_nobody_panic() {
    let cases = cases();
    run((any::<Index>(), spoils()), |(case, spoils)| {
        let case = &cases[case.index(cases.len())];
        for composed in composed_for(case.pair.client, &spoilt(&case.request, &spoils)) {
            prop_assert!(serde_json::from_slice::<&RawValue>(&composed.body.contiguous()).is_ok());
        }
        Ok(())
    });
}

/// The upstream's answer as a stream of these events.
fn framed(provider: Wire, events: &[Value]) -> String {
    let name = |event: &Value| match provider {
        Wire::Messages => format!("event: {}\n", event["type"].as_str().unwrap_or("none").trim()),
        _ => String::new(),
    };
    events.iter().map(|event| format!("{}data: {event}\n\n", name(event).replace('\u{0}', ""))).collect()
}

fn push(mut translation: Translation, stream: &str, size: usize) -> (String, Option<Ending>) {
    let mut out = Vec::new();
    let failed = stream.as_bytes().chunks(size).any(|chunk| {
        let pushed = translation.push(Bytes::copy_from_slice(chunk), &mut out);
        pushed.is_err()
    });
    let ending = (!failed).then(|| translation.finish(&mut out));
    (String::from_utf8(out.concat()).expect("a client reads UTF-8"), ending)
}

fn told(case: &Case, stream: &str, size: usize) -> Result<(), TestCaseError> {
    let client = case.pair.client;
    let (told, ending) = push(case.translation(), stream, size);
    prop_assert_eq!(
        &push(case.translation(), stream, stream.len().max(1)).0,
        &told,
        "the cuts do not matter"
    );
    prop_assert_eq!(ending == Some(Ending::Complete), is_closed(client, told.as_bytes()), "{}", told);
    if ending == Some(Ending::Complete) {
        let heard = std::panic::catch_unwind(|| Heard::stream(client, &told));
        let Ok(heard) = heard else { return Err(TestCaseError::fail(format!("{stream}\nbecame\n{told}"))) };
        // A tool that stands for the answer is told as text, and that it is bent does not make it two answers. Choices
        // beyond any number that a provider has are one.
        let beyond = heard.text.keys().any(|choice| *choice > 126);
        if beyond || case.compose(&HashMap::new()).answer_tool.is_some() {
            return Ok(());
        }
        let (said, heard) = (said(case, stream), heard.text.into_iter().filter(|(_, text)| !text.is_empty()));
        prop_assert_eq!(said, heard.collect::<BTreeMap<_, _>>(), "{}\nbecame\n{}", stream, told);
    }
    for (_, data) in events(&told) {
        prop_assert!(data == "[DONE]" || serde_json::from_str::<Value>(&data).is_ok(), "{}", data);
    }
    Ok(())
}

/// The text of each choice that the provider's stream has.
fn said(case: &Case, stream: &str) -> BTreeMap<u64, String> {
    let reply = added_up(case, stream);
    let text = |block: &Block| match block {
        Block::Text(text) | Block::Refusal(text) => text.clone(),
        _ => String::new(),
    };
    let choices =
        (0..).zip(&reply.choices).map(|(number, choice)| (number, choice.blocks.iter().map(text).collect()));
    let told = |(number, text): &(u64, String)| {
        !text.is_empty() && (*number == 0 || !matches!(case.pair.client, Wire::Responses | Wire::Messages))
    };
    choices.filter(told).collect()
}

#[test]
fn bent_streams_are_told_as_streams() {
    let cases: Vec<Case> = cases().into_iter().filter(|case| case.streamed).collect();
    run((any::<Index>(), bends(), 1..200usize), |(case, bends, size)| {
        let case = &cases[case.index(cases.len())];
        let recorded = events(std::str::from_utf8(&case.upstream_reply).unwrap());
        let json = |(_, data): &(String, String)| serde_json::from_str(data).ok();
        let mut bent: Vec<Value> = recorded.iter().filter_map(json).collect();
        bends.iter().for_each(|how| bend(&mut bent, how));
        let done = if case.pair.provider == Wire::Chat { "data: [DONE]\n\n" } else { "" };
        told(case, &(framed(case.pair.provider, &bent) + done), size)
    });
}

#[test]
fn spoilt_streams_are_told_as_streams() {
    let cases: Vec<Case> = cases().into_iter().filter(|case| case.streamed).collect();
    run((any::<Index>(), spoils(), 1..200usize), |(case, spoils, size)| {
        let case = &cases[case.index(cases.len())];
        told(case, &spoilt(std::str::from_utf8(&case.upstream_reply).unwrap(), &spoils), size)
    });
}

#[test]
fn bent_answers_are_told_as_answers() {
    let cases: Vec<Case> = cases().into_iter().filter(|case| !case.streamed).collect();
    run((any::<Index>(), bends(), spoils(), any::<bool>()), |(case, bends, spoils, spoil)| {
        let case = &cases[case.index(cases.len())];
        let text = compact(std::str::from_utf8(&case.upstream_reply).unwrap());
        let mut bent = vec![serde_json::from_str(&text).unwrap()];
        bends.iter().for_each(|how| bend(&mut bent, how));
        let mut body = bent.first().map(Value::to_string).unwrap_or_default();
        if spoil {
            body = spoilt(&body, &spoils);
        }
        if let Ok(translated) = case.translation().whole(body.as_bytes()) {
            let told = String::from_utf8(translated.body).expect("a client reads UTF-8");
            let heard = std::panic::catch_unwind(|| Heard::body(case.pair.client, &told));
            prop_assert!(heard.is_ok_and(|heard| !heard.finish.is_empty()), "{}\nbecame\n{}", body, told);
        }
        Ok(())
    });
}

#[test]
fn frames_are_the_same_wherever_their_bytes_are_cut() {
    let odd = prop::sample::select(b"d:a \r\n\xc3\xa9\xef\xbb\xbf".to_vec());
    let piece = prop_oneof![
        Just(b"data: x\n\n".to_vec()),
        Just(b"event: y\r\n".to_vec()),
        prop::collection::vec(odd, 1..4)
    ];
    run((prop::collection::vec(piece, 0..20), 1..9usize), |(pieces, size)| {
        let bytes = pieces.concat();
        let whole = frames(&bytes, bytes.len().max(1));
        prop_assert_eq!(&frames(&bytes, size), &whole);
        prop_assert_eq!(whole.concat(), bytes, "nothing is lost");
        Ok(())
    });
}

fn frames(bytes: &[u8], size: usize) -> Vec<Vec<u8>> {
    let (mut decoder, mut found) = (SseDecoder::default(), Vec::new());
    for chunk in bytes.chunks(size) {
        decoder.push(Bytes::copy_from_slice(chunk));
        while let Some(frame) = decoder.next_frame().unwrap() {
            found.push(frame.raw.to_vec());
        }
    }
    found.extend(decoder.finish().map(|frame| frame.raw.to_vec()));
    found
}
