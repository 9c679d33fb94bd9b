//! What the recorded answers cost, added up by the providers' own rules and nothing of the router's.
//!
//! OpenAI's prompt includes what was cached and its completion what was thought; Anthropic counts the cache apart;
//! Google counts thoughts and the results of its own tools apart, and its total tells whether the candidates hold the
//! thoughts already. In streams the last report counts, Anthropic's member by member. Every recording is read twice,
//! translated and passed through, since both ways settle what a caller has used.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;

use auto_ai_router::dialect::reply::Reply;
use auto_ai_router::dialect::{self, ReadReply};
use auto_ai_router::llm::answer::Answer;
use auto_ai_router::llm::stream::{AnswerStream, StreamWatch};
use auto_ai_router::llm::usage::Usage;
use auto_ai_router::llm::Wire;
use bytes::Bytes;
use serde_json::Value;

use crate::case::{root, STAMP};

/// A recorded answer: one event where it is whole.
struct Recorded {
    file: PathBuf,
    wire: Wire,
    events: Vec<Value>,
    streamed: bool,
}

fn recordings() -> Vec<Recorded> {
    let mut found = Vec::new();
    for source in fs::read_dir(root().join("fixtures")).unwrap() {
        for (folder, wire) in [("chat", Wire::Chat), ("messages", Wire::Messages), ("gemini", Wire::Gemini)] {
            let Ok(files) = fs::read_dir(source.as_ref().unwrap().path().join(folder)) else { continue };
            found.extend(files.filter_map(|file| Recorded::read(file.unwrap().path(), wire)));
        }
    }
    found.sort_by(|one, other| one.file.cmp(&other.file));
    found
}

impl Recorded {
    fn read(file: PathBuf, wire: Wire) -> Option<Self> {
        let name = file.file_name().unwrap().to_str().unwrap().to_owned();
        if name.ends_with(".request.json") || name.contains("embedding") || name.contains("429") {
            return None;
        }
        let text = fs::read_to_string(&file).unwrap();
        let (events, streamed) = if name.ends_with(".array.json") {
            (serde_json::from_str(&text).unwrap(), true)
        } else if name.ends_with(".json") {
            (vec![serde_json::from_str(&text).unwrap()], false)
        } else {
            let lines = text.lines().map(|line| line.strip_prefix("data:").unwrap_or(line).trim());
            let events = lines.filter(|line| line.starts_with('{'));
            (events.map(|event| serde_json::from_str(event).unwrap()).collect(), true)
        };
        Some(Self { file, wire, events, streamed })
    }

    fn expected(&self) -> Option<Usage> {
        match self.wire {
            Wire::Messages => anthropic(&self.events),
            Wire::Gemini => google(&self.events),
            _ => openai(&self.events),
        }
    }

    /// As it is read to be told to a client of another dialect.
    fn translated(&self) -> Option<Usage> {
        let (mut reader, mut reply) = (dialect::reader(self.wire, STAMP), Reply::default());
        for event in &self.events {
            let read = if self.streamed { ReadReply::event } else { ReadReply::whole };
            read(reader.as_mut(), event.to_string().as_bytes(), &mut reply).unwrap();
        }
        reply.usage
    }

    /// As it is read on its way to a client of the same dialect.
    fn passed_through(&self) -> Option<Usage> {
        if !self.streamed {
            return Answer::read(self.events[0].to_string().as_bytes(), self.wire).unwrap().usage;
        }
        let mut watch = StreamWatch::new(self.wire, false);
        for event in &self.events {
            let frame = format!("data: {event}\n\n");
            watch.push(Bytes::from(frame), &mut Vec::new()).unwrap();
        }
        watch.usage()
    }
}

fn openai(events: &[Value]) -> Option<Usage> {
    let mut reported = events.iter().flat_map(|event| [&event["usage"], &event["choices"][0]["usage"]]);
    let usage = reported.rfind(|usage| usage.is_object())?;
    let at = |path: &str| usage.pointer(path).and_then(Value::as_u64);
    let (prompt, shown) = (at("/prompt_tokens").unwrap(), at("/completion_tokens").unwrap());
    let (total, reasoning) =
        (at("/total_tokens").unwrap(), at("/completion_tokens_details/reasoning_tokens"));
    let reasoning = reasoning.unwrap_or(0);
    // xAI counts thoughts apart.
    let completion = if total == prompt + shown + reasoning { shown + reasoning } else { shown };
    let cached = ["/prompt_tokens_details/cached_tokens", "/cached_tokens", "/prompt_cache_hit_tokens"];
    Some(Usage {
        prompt,
        completion,
        total: total.max(prompt + completion),
        cached: cached.iter().find_map(|path| at(path)).unwrap_or(0),
        cache_written: at("/prompt_tokens_details/cache_write_tokens").unwrap_or(0),
        reasoning,
    })
}

fn anthropic(events: &[Value]) -> Option<Usage> {
    let mut counts = HashMap::new();
    let reported = events.iter().flat_map(|event| [&event["message"]["usage"], &event["usage"]]);
    for (name, count) in reported.filter_map(Value::as_object).flatten() {
        counts.extend(count.as_u64().map(|count| (name.as_str(), count)));
        counts.extend(count["thinking_tokens"].as_u64().map(|count| ("thinking", count)));
    }
    let of = |name: &str| counts.get(name).copied().unwrap_or(0);
    let (cached, cache_written) = (of("cache_read_input_tokens"), of("cache_creation_input_tokens"));
    let (mut prompt, mut completion) = (of("input_tokens") + cached + cache_written, of("output_tokens"));
    // Attempts and advice are in no sum of Anthropic's; none of the recorded ones has to do with a cache.
    let parts = events.iter().flat_map(|event| event["usage"]["iterations"].as_array()).next_back();
    if let Some(parts) = parts {
        let sum = |name: &str| parts.iter().map(|part| part[name].as_u64().unwrap()).sum();
        (prompt, completion) = (sum("input_tokens"), sum("output_tokens"));
    }
    let (total, reasoning) = (prompt + completion, of("thinking"));
    (!counts.is_empty()).then_some(Usage { prompt, completion, total, cached, cache_written, reasoning })
}

fn google(events: &[Value]) -> Option<Usage> {
    let mut reported = events.iter().map(|event| &event["usageMetadata"]);
    let usage = reported.rfind(|usage| usage["promptTokenCount"].is_u64())?;
    let of = |name: &str| usage[name].as_u64().unwrap_or(0);
    let prompt = of("promptTokenCount") + of("toolUsePromptTokenCount");
    let (shown, reasoning, total) =
        (of("candidatesTokenCount"), of("thoughtsTokenCount"), of("totalTokenCount"));
    let completion = if total == prompt + shown { shown } else { shown + reasoning };
    Some(Usage {
        prompt,
        completion,
        total,
        cached: of("cachedContentTokenCount"),
        reasoning,
        cache_written: 0,
    })
}

#[test]
fn every_recorded_answer_costs_what_its_provider_says() {
    let recordings = recordings();
    let mut differences = Vec::new();
    for recorded in &recordings {
        let expected = recorded.expected();
        for (way, is) in
            [("translated", recorded.translated()), ("passed through", recorded.passed_through())]
        {
            if is != expected {
                differences.push(format!(
                    "{} {way}\n  is     {is:?}\n  should {expected:?}",
                    recorded.file.display()
                ));
            }
        }
    }
    assert!(recordings.len() > 120, "{}", recordings.len());
    let counted = recordings.iter().filter(|recorded| recorded.expected().is_some()).count();
    assert!(counted + 5 > recordings.len(), "{counted} of {}", recordings.len());
    assert!(differences.is_empty(), "{}\n{}", differences.len(), differences.join("\n"));
}
