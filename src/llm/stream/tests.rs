//! Streams, recorded and made up, in any pieces.

use proptest::prelude::*;

use super::*;

type Watched = (String, StreamWatch, Result<Ending, StreamFault>);

/// What a client gets of a stream that comes in `pieces`, and how it ended.
fn watch(wire: Wire, injected: bool, pieces: &[&[u8]]) -> Watched {
    let mut watch = StreamWatch::new(wire, injected);
    let mut out = Vec::new();
    let pushed = pieces.iter().try_for_each(|piece| watch.push(Bytes::copy_from_slice(piece), &mut out));
    let ending = pushed.map(|()| watch.finish(&mut out));
    let bytes = out.concat();
    (String::from_utf8(bytes).unwrap(), watch, ending)
}

fn chat(stream: &str) -> Watched {
    watch(Wire::Chat, false, &[stream.as_bytes()])
}

fn chunk(delta: &str, finish: &str) -> String {
    format!("data: {{\"id\":\"c1\",\"model\":\"m\",\"choices\":[{{\"index\":0,\"delta\":{delta},\"finish_reason\":{finish}}}]}}\n\n")
}

/// Kind, stream, tokens to settle, id.
type Recorded = (Wire, &'static str, u64, &'static str);

const RECORDED: [Recorded; 7] = [
    (
        Wire::Chat,
        include_str!("../../../tests/golden/streams/pydantic-ai/openai_chat.sse"),
        68,
        "chatcmpl-Dx0XpqH8w09uBXwq1zFGYdETjtnEl",
    ),
    (
        Wire::Chat,
        include_str!("../../../tests/golden/streams/pydantic-ai/openrouter_reasoning.sse"),
        113,
        "gen-1762141316-q3fB64DDMstJO0ZakdSK",
    ),
    (
        Wire::Chat,
        include_str!("../../../tests/golden/streams/pydantic-ai/huggingface_chat.sse"),
        42,
        "ebafdc26c3296ed027c5cd6565fa1bce",
    ),
    (
        Wire::Chat,
        include_str!("../../../tests/golden/streams/vercel-ai/azure_model_router.sse"),
        93,
        "chatcmpl-CYPS1lijGoK8gd9lYzY3r9Sx50nbt",
    ),
    (
        Wire::Completions,
        include_str!("../../../tests/golden/streams/vercel-ai/openai_completion.sse"),
        30,
        "cmpl-D8ZFN477TMm6AoQohx2jSTOJMh60M",
    ),
    (Wire::Responses, include_str!("../../../tests/golden/streams/pydantic-ai/openai_responses.sse"), 24, ""),
    (
        Wire::Messages,
        include_str!("../../../tests/golden/streams/vercel-ai/anthropic_tool_no_args.sse"),
        613,
        "msg_01GE2RKp1VYsPzdFs3sS9z5S",
    ),
];

#[test]
fn recorded_streams_pass_unchanged_and_tell_their_usage() {
    for (wire, stream, tokens, id) in RECORDED {
        let (out, watch, ending) = watch(wire, false, &[stream.as_bytes()]);
        assert_eq!(out.trim_end(), stream.trim_end());
        assert_eq!(ending, Ok(Ending::Complete));
        assert!(watch.has_output() && watch.done() && watch.finished() && watch.dropped() == 0);
        assert_eq!(watch.usage().unwrap().charge(), tokens);
        assert!(watch.id().unwrap().starts_with(id), "{:?}", watch.id());
        assert!(watch.model().is_some() && watch.output_bytes() > 0);
    }
}

#[test]
fn a_whole_chunk_goes_on_as_it_is() {
    let bytes = Bytes::from(RECORDED[0].1);
    let mut out = Vec::new();
    StreamWatch::new(Wire::Chat, false).push(bytes.clone(), &mut out).unwrap();
    assert_eq!(out.len(), 1);
    assert_eq!((out[0].as_ptr(), out[0].len()), (bytes.as_ptr(), bytes.len()));
}

#[test]
fn what_injection_added_is_removed_and_nothing_else() {
    for (wire, stream, tokens, _) in
        RECORDED.into_iter().filter(|(wire, ..)| matches!(wire, Wire::Chat | Wire::Completions))
    {
        let (out, watch, ending) = watch(wire, true, &[stream.as_bytes()]);
        assert_eq!(ending, Ok(Ending::Complete));
        assert_eq!(watch.usage().unwrap().charge(), tokens);
        let events = |text: &str| -> Vec<serde_json::Value> {
            let data = text.split("\n\n").filter_map(|frame| frame.strip_prefix("data: "));
            data.filter_map(|data| serde_json::from_str(data).ok()).collect()
        };
        let mut expected = events(stream);
        expected.retain(|event| !(event["choices"] == serde_json::json!([]) && event["usage"].is_object()));
        expected.iter_mut().for_each(|event| {
            event.as_object_mut().unwrap().remove("usage");
        });
        assert_eq!(events(&out), expected);
        assert!(!out.contains("\"usage\"") && out.ends_with("data: [DONE]\n\n"));
    }
}

#[test]
fn injected_usage_is_cut_out_of_a_frame_of_several_lines_too() {
    let stream = "event: x\ndata: {\"choices\":[{\"delta\":{\"content\":\"a\"}}],\ndata: \"usage\":null}\n\ndata: [DONE]\n\n";
    let (out, ..) = watch(Wire::Chat, true, &[stream.as_bytes()]);
    assert_eq!(out, "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\ndata: [DONE]\n\n");
}

#[test]
fn only_output_counts_as_output() {
    let silent = [
        ": OPENROUTER PROCESSING\n\n".to_owned(),
        chunk(r#"{"role":"assistant","content":""}"#, "null"),
        chunk(r#"{"content":null,"tool_calls":[]}"#, "null"),
        chunk("{}", "null"),
        "data: {\"id\":\"\",\"model\":\"\",\"choices\":[],\"prompt_filter_results\":[{\"a\":\"b\"}]}\n\n"
            .to_owned(),
        "data: {\"choices\":[],\"usage\":{\"total_tokens\":1}}\n\n".to_owned(),
        "event: ping\ndata: {\"type\":\"ping\"}\n\n".to_owned(),
    ];
    for frame in &silent {
        assert!(!chat(frame).1.has_output(), "{frame}");
    }
    for frame in [
        chunk(r#"{"content":"a"}"#, "null"),
        chunk(r#"{"reasoning":"a"}"#, "null"),
        chunk(r#"{"refusal":"a"}"#, "null"),
        chunk(r#"{"tool_calls":[{"index":0,"id":"i","function":{"name":"f","arguments":""}}]}"#, "null"),
        chunk("{}", "\"stop\""),
        "data: [DONE]\n\n".to_owned(),
    ] {
        assert!(chat(&(silent.concat() + &frame)).1.has_output(), "{frame}");
    }
    let events = |kinds: &[&str]| {
        let frames: Vec<String> =
            kinds.iter().map(|kind| format!("data: {{\"type\":\"{kind}\",\"delta\":\"\"}}\n\n")).collect();
        watch(Wire::Responses, false, &[frames.concat().as_bytes()]).1
    };
    let begun = [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.output_text.delta",
    ];
    assert!(!events(&begun).has_output());
    assert!(events(&["response.completed"]).done());
    assert!(!events(&["response.image_generation_call.completed"]).done());
    assert!(events(&["response.image_generation_call.completed"]).has_output());
}

#[test]
fn a_stream_without_done_is_given_it_when_it_has_finished() {
    let stream = chunk(r#"{"content":"a"}"#, "null") + &chunk("{}", "\"stop\"");
    let (out, _, ending) = chat(&stream);
    assert_eq!((out, ending), (stream.clone() + "data: [DONE]\n\n", Ok(Ending::Complete)));
    let (out, _, ending) = chat(stream.trim_end());
    assert_eq!((out, ending), (stream + "data: [DONE]\n\n", Ok(Ending::Complete)));
    let stream = "data: {\"type\":\"message_start\",\"message\":{}}\n\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"}}\n\n";
    let (out, _, ending) = watch(Wire::Messages, false, &[stream.as_bytes()]);
    assert!(out.ends_with("\"message_stop\"}\n\n") && ending == Ok(Ending::Complete));
}

#[test]
fn a_stream_that_ends_unfinished_is_truncated() {
    for stream in [
        String::new(),
        ": hi\n\n".to_owned(),
        chunk(r#"{"content":"a"}"#, "null"),
        "data: {\"choices\":[{\"ind".to_owned(),
    ] {
        assert_eq!(chat(&stream).2, Ok(Ending::Truncated), "{stream}");
    }
    let two = "data: {\"choices\":[{\"index\":0,\"finish_reason\":\"stop\"},{\"index\":1,\"delta\":{}}]}\n\n";
    assert_eq!(chat(two).2, Ok(Ending::Truncated));
    assert_eq!(
        watch(Wire::Responses, false, &[b"data: {\"type\":\"response.created\"}\n\n"]).2,
        Ok(Ending::Truncated)
    );
}

#[test]
fn a_frame_that_is_not_json_is_dropped_and_counted() {
    let (a, b) = (chunk(r#"{"content":"a"}"#, "null"), chunk("{}", "\"stop\""));
    let stream = format!("{a}data: {{\"choices\":[{{\n\ndata:\n\ndata: 7\n\n{b}data: [DONE]\n\n");
    let (out, watch, ending) = chat(&stream);
    assert_eq!((out, ending), (format!("{a}{b}data: [DONE]\n\n"), Ok(Ending::Complete)));
    assert_eq!((watch.dropped(), watch.frames()), (3, 6));
}

#[test]
fn nothing_follows_done() {
    let (out, watch, ending) = chat("data: [DONE]\n\ndata: {\"error\":{\"message\":\"late\"}}\n\nrubbish");
    assert_eq!((out.as_str(), ending), ("data: [DONE]\n\n", Ok(Ending::Complete)));
    assert_eq!(watch.dropped(), 0);
}

#[test]
fn an_error_event_is_a_fault_and_what_came_before_it_is_kept() {
    let before = chunk(r#"{"content":"a"}"#, "null");
    for (wire, event) in [
        (Wire::Chat, "data: {\"error\":{\"message\":\"m\",\"code\":502}}\n\n"),
        (Wire::Chat, "event: error\ndata: {\"message\":\"m\"}\n\n"),
        (Wire::Chat, "event: error\ndata: m\n\n"),
        (Wire::Chat, "data: {\"choices\":[{\"delta\":{\"content\":\"\"},\"finish_reason\":\"error\"}],\"error\":{\"message\":\"m\"}}\n\n"),
        (Wire::Chat, "data: {\"choices\":[{\"finish_reason\":\"error\",\"error\":{\"message\":\"m\"}}]}\n\n"),
        (Wire::Responses, "data: {\"type\":\"error\",\"code\":\"x\",\"message\":\"m\",\"param\":null}\n\n"),
        (Wire::Responses, "data: {\"type\":\"response.failed\",\"response\":{\"error\":{\"message\":\"m\"}}}\n\n"),
        (Wire::Messages, "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"m\"}}\n\n"),
    ] {
        let (out, _, ending) = watch(wire, false, &[before.as_bytes(), event.as_bytes()]);
        let Err(StreamFault::Upstream(error)) = ending else { panic!("{event}") };
        assert_eq!((error.message.as_str(), out.as_str()), ("m", before.as_str()), "{event}");
    }
    let recorded = include_str!("../../../tests/golden/streams/vercel-ai/openai_responses_error.sse");
    let (_, watch, ending) = watch(Wire::Responses, false, &[recorded.as_bytes()]);
    let Err(StreamFault::Upstream(error)) = ending else { panic!("the recorded failure") };
    assert!(!watch.has_output() && error.quota_exhausted(), "{error:?}");
}

#[test]
fn usage_is_replaced_and_never_summed() {
    let usage = |n: u32| {
        format!("data: {{\"choices\":[],\"usage\":{{\"prompt_tokens\":{n},\"completion_tokens\":1}}}}\n\n")
    };
    assert_eq!(chat(&(usage(8) + &usage(427) + &usage(10))).1.usage().unwrap().charge(), 11);
}

#[test]
fn an_opaque_stream_is_only_carried() {
    let (out, watch, ending) = watch(Wire::Opaque, true, &[b"data: {", b"rubbish"]);
    assert_eq!((out.as_str(), ending), ("data: {rubbish", Ok(Ending::Complete)));
    assert!(watch.has_output() && !watch.done());
}

#[test]
fn a_frame_without_end_is_a_fault() {
    let mut watch = StreamWatch::new(Wire::Chat, false);
    let mut out = Vec::new();
    let results: Vec<_> = (0..65).map(|_| watch.push(Bytes::from(vec![b'x'; 1 << 20]), &mut out)).collect();
    assert!(results.contains(&Err(StreamFault::TooLarge)) && out.is_empty());
}

#[test]
fn a_recorded_tool_call_is_output() {
    let stream = include_str!("../../../tests/golden/streams/vercel-ai/groq_tool_call.sse");
    let (out, watch, ending) = chat(stream);
    assert_eq!((out.as_str(), ending), (stream, Ok(Ending::Complete)));
    assert!(watch.has_output() && watch.stored_id().is_none());
}

proptest! {
    #[test]
    fn any_split_of_a_stream_gives_the_same_bytes_and_facts(
        which in 0..RECORDED.len(), injected in any::<bool>(), crlf in any::<bool>(),
        noise in prop::sample::select(vec!["", "data: {\"broken\n\n", "data: é\n\n", ": note é\n\n", "event: x\ndata: {\ndata: }\n\n"]),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let (wire, stream, ..) = RECORDED[which];
        let mut stream = format!("{noise}{stream}");
        if crlf {
            stream = stream.replace('\n', "\r\n");
        }
        let bytes = stream.as_bytes();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        let facts = |pieces: &[&[u8]]| {
            let (out, watch, ending) = watch(wire, injected, pieces);
            let StreamWatch { has_output, done, frames, dropped, output_bytes, usage, id, model, .. } = watch;
            (out, ending, has_output, done, frames, dropped, output_bytes, usage, id, model)
        };
        let whole = facts(&[bytes]);
        prop_assert_eq!(&facts(&pieces), &whole);
        prop_assert_eq!(&facts(&single), &whole);
    }
}

fn named(wire: Wire, injected: bool, name: &str, stream: &str, size: usize) -> String {
    let mut watch = StreamWatch::new(wire, injected).named(Some(name));
    let mut out = Vec::new();
    for piece in stream.as_bytes().chunks(size) {
        watch.push(Bytes::copy_from_slice(piece), &mut out).unwrap();
    }
    watch.finish(&mut out);
    String::from_utf8(out.concat()).unwrap()
}

#[test]
fn every_event_names_the_model_as_it_was_asked_for_and_nothing_else_changes() {
    let response = |model: &str| {
        format!(
            "event: response.created\ndata: {{\"type\":\"response.created\",\"response\":{{\"id\":\"r\",\"model\":\"{model}\"}}}}\n\n\
             data: {{\"type\":\"response.output_text.delta\",\"delta\":\"the model\"}}\n\n\
             data: {{\"type\":\"response.completed\",\"response\":{{\"model\":\"{model}\",\"usage\":null}}}}\n\n"
        )
    };
    let message = |model: &str| {
        format!("event: message_start\ndata: {{\"type\":\"message_start\",\"message\":{{\"id\":\"1\",\"model\":\"{model}\",\"content\":[]}}}}\n\n")
    };
    let gemini = |model: &str| {
        format!("data: {{\"candidates\":[{{\"content\":{{}},\"finishReason\":\"STOP\"}}],\"modelVersion\":\"{model}\"}}\r\n\r\n")
    };
    let chat = |model: &str| {
        [chunk(r#"{"content":"m"}"#, "null"), chunk("{}", r#""stop""#)]
            .concat()
            .replace(r#""model":"m""#, &format!(r#""model":"{model}""#))
            + "data: [DONE]\n\n"
    };
    let streams: [(Wire, &dyn Fn(&str) -> String); 4] = [
        (Wire::Responses, &response),
        (Wire::Messages, &message),
        (Wire::Gemini, &gemini),
        (Wire::Chat, &chat),
    ];
    for (wire, stream) in streams {
        for size in [1, 7, 10_000] {
            assert_eq!(
                named(wire, false, "auto", &stream("m-2026"), size),
                stream("auto"),
                "{wire:?}, {size}"
            );
            assert_eq!(named(wire, false, "auto", &stream("auto"), size), stream("auto"), "{wire:?}, {size}");
        }
    }
}

#[test]
fn a_new_name_and_a_cut_usage_do_not_get_into_each_others_way() {
    let events = [
        ("{\"model\":\"m\",\"usage\":null,\"choices\":[]}", "{\"model\":\"a \\\"b\\\"\",\"choices\":[]}"),
        ("{\"usage\":null,\"model\":\"m\",\"choices\":[]}", "{\"model\":\"a \\\"b\\\"\",\"choices\":[]}"),
    ];
    for (before, after) in events {
        for size in [1, 1000] {
            let stream = format!("data: {before}\n\ndata: [DONE]\n\n");
            let expected = format!("data: {after}\n\ndata: [DONE]\n\n");
            assert_eq!(named(Wire::Chat, true, "a \"b\"", &stream, size), expected);
        }
        let lines = before.replacen(',', ",\ndata: ", 1);
        let told = named(Wire::Chat, true, "a \"b\"", &format!("data: {lines}\n\ndata: [DONE]\n\n"), 1000);
        assert!(told.contains("\"a \\\"b\\\"\"") && !told.contains("usage"), "{told}");
    }
}
