//! Rows 33 to 37: what goes wrong once the client has the head of an answer.

use serde_json::json;

use super::ask::Reading;
use super::row::{asked, fault, then, Row, Strikes, Then, Tokens, Told};
use crate::support::*;

/// The stream breaks off after some output: an error event, a strike, and what was seen is charged.
fn broken(code: &'static str) -> Then {
    then(Told::Broken(code), Strikes::Pair(1), 1).tokens(Tokens::Estimated)
}

fn begun(call: &Call) -> Vec<String> {
    let model = call.model();
    vec![role(&model), word(&model, "Hello "), word(&model, "there")]
}

pub fn rows() -> Vec<Row> {
    [ends(), nonsense(), readers()].into_iter().flatten().collect()
}

fn ends() -> Vec<Row> {
    vec![
        Row {
            number: 33,
            fault: "a stream stalls",
            client: "an error event, no `[DONE]`",
            blame: "the pair",
            counts: "the request, an estimate of its tokens",
            faults: vec![fault("silence", |call| respond(200).open_sse(begun(call)).hang())
                .both(broken("stream_interrupted"))
                .streamed()],
            tests: &["a_stream_that_stalls_ends_with_an_error"],
        },
        Row {
            number: 34,
            fault: "a stream ends before it is finished, or without `[DONE]`",
            client: "an error event; a finished one gets its `[DONE]`",
            blame: "the pair; nobody where it was finished",
            counts: "the request, an estimate of its tokens",
            faults: vec![
                fault("a clean end", |call| respond(200).sse(begun(call)))
                    .both(broken("stream_interrupted"))
                    .streamed(),
                fault("a closed connection", |call| respond(200).open_sse(begun(call)).close())
                    .both(broken("stream_interrupted"))
                    .streamed(),
                fault("a reset", |call| respond(200).open_sse(begun(call)).pause(ms(100)).reset())
                    .both(broken("stream_interrupted"))
                    .streamed(),
                fault("finished, without `[DONE]`", |call| {
                    let model = call.model();
                    respond(200).sse([begun(call), vec![stop(&model), reply::usage_frame(&model)]].concat())
                })
                .both(then(Told::Served, Strikes::None, 1).tokens(Tokens::Reported))
                .streamed(),
            ],
            tests: &[
                "a_stream_that_ends_unfinished_ends_with_an_error_and_without_done",
                "a_finished_stream_without_done_gets_it",
            ],
        },
    ]
}

fn nonsense() -> Vec<Row> {
    vec![Row {
        number: 35,
        fault: "a frame that is no JSON, an error event, or an event without end",
        client: "the frame is left out; else an error event",
        blame: "nobody for a frame that is left out; else by the error",
        counts: "the request, its tokens",
        faults: vec![
            fault("a frame of words", |call| {
                let mut frames = chat_frames(&call.model(), &["Hello ", "there"], call.wants_usage());
                frames.insert(2, "data: {\"choices\": [oops\n\n".to_owned());
                respond(200).sse(frames)
            })
            .both(then(Told::Served, Strikes::None, 1).tokens(Tokens::Reported))
            .streamed(),
            fault("broken chunks", |call| respond(200).open_sse(begun(call)).send("zzz\r\n").close())
                .both(broken("stream_interrupted"))
                .streamed(),
            fault("an error in the middle", |call| {
                let error = json!({"error": {"message": "so it is", "type": "overloaded_error"}});
                respond(200).sse([begun(call), vec![frame(&error)]].concat())
            })
            .both(broken("overloaded"))
            .streamed(),
        ],
        tests: &["a_frame_that_is_no_json_is_dropped_and_counted", "a_frame_without_end_is_a_fault"],
    }]
}

fn readers() -> Vec<Row> {
    vec![
        Row {
            number: 36,
            fault: "the client stops reading",
            client: "its connection ends after 60 s",
            blame: "nobody",
            counts: "the request, an estimate of its tokens",
            faults: Vec::new(),
            tests: &["a_slow_reader_slows_its_upstream_and_costs_bounded_memory"],
        },
        Row {
            number: 37,
            fault: "the client leaves",
            client: "it has left; the upstream's call ends at once",
            blame: "nobody",
            counts: "the request, an estimate of its tokens",
            faults: vec![
                asked("in the middle of a stream", |ask| ask.reading(Reading::LeaveAt(40)))
                    .both(then(Told::Gone, Strikes::None, 1).tokens(Tokens::Estimated))
                    .streamed()
                    .first(|call| respond(200).open_sse(begun(call)).hang()),
                asked("before the answer", |ask| ask.reading(Reading::LeaveAfter(ms(600))))
                    .both(then(Told::Gone, Strikes::None, 1).tokens(Tokens::Estimated))
                    .first(|_| Reply::silence()),
            ],
            tests: &["a_client_that_leaves_ends_the_upstream_call_in_every_phase"],
        },
    ]
}
