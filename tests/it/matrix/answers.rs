//! Rows 21 to 32: answers that are errors, or none at all, while nothing has been said to the client.
//!
//! Statuses, words and headers are those of the vendors' references, as far as `providers/judge.rs` has them. A lone
//! credential is asked once more after a failure that another candidate might not have had, and in rounds after one that
//! may be over in a moment.

use std::io::Write;

use serde_json::json;

use super::ask::Seen;
use super::row::{fault, then, Fault, Row, Strikes, Then, Tokens, Told};
use crate::support::*;

fn says(status: u16, kind: &str, code: Option<&str>) -> Reply {
    respond(status).error("so it is", kind, code)
}

/// The upstream's own error, with the key it was asked with in body and header.
fn echoing(status: u16, call: &Call) -> Reply {
    let key = call.key.clone().unwrap_or_default();
    let reply = respond(status).header("x-request-id", &key).header("openai-organization", &key);
    reply.header("www-authenticate", &format!("Bearer {key}")).error(
        &format!("What is {key}, or {}?", &key[7..19]),
        "invalid_request_error",
        None,
    )
}

/// An error status with one candidate: told so, after a second try that strikes as well.
fn last(status: u16, code: &'static str, strikes: Strikes) -> Then {
    then(Told::Error(status, code), strikes, 2)
}

/// The same where it may be over in a moment: as often as attempts are allowed. One request strikes twice at most.
fn in_rounds(status: u16, code: &'static str) -> Then {
    then(Told::Error(status, code), Strikes::Pair(2), 5)
}

/// Returned as it came, after one attempt that was nobody's fault.
fn returned(status: u16, code: &'static str) -> Then {
    then(Told::Error(status, code), Strikes::None, 1)
}

pub fn rows() -> Vec<Row> {
    [refusals_of_the_key(), limits(), servers(), callers(), nonsense(), wrapped()]
        .into_iter()
        .flatten()
        .collect()
}

fn refusals_of_the_key() -> Vec<Row> {
    let key = |n| Strikes::Key(n);
    vec![
        Row {
            number: 21,
            fault: "401, 402 or 403 for the key",
            client: "the next candidate; else 502, never 401",
            blame: "the credential, with all its models",
            counts: "the request, no tokens",
            faults: vec![
                fault("401", |_| says(401, "invalid_request_error", Some("invalid_api_key")))
                    .alone(then(Told::Error(502, "upstream_auth"), key(1), 1))
                    .passed_on(key(1), 1),
                fault("401 that echoes the key", |call| echoing(401, call))
                    .alone(then(Told::Error(502, "upstream_auth"), key(1), 1))
                    .passed_on(key(1), 1),
                fault("403", |_| says(403, "permission_error", None))
                    .alone(then(Told::Error(502, "upstream_auth"), key(1), 1))
                    .passed_on(key(1), 1),
            ],
            tests: &["an_upstream_s_rejected_key_is_never_a_401_to_the_client"],
        },
        Row {
            number: 22,
            fault: "403 or 400 for the content",
            client: "the upstream's own answer",
            blame: "nobody",
            counts: "the request",
            faults: vec![
                fault("403 content_filter", |_| says(403, "invalid_request_error", Some("content_filter")))
                    .both(returned(403, "content_filter")),
                fault("400 content_filter", |_| says(400, "invalid_request_error", Some("content_filter")))
                    .both(returned(400, "content_filter")),
            ],
            tests: &["a_content_filter_never_goes_to_a_fallback_model"],
        },
    ]
}

fn limits() -> Vec<Row> {
    vec![
        Row {
            number: 23,
            fault: "429 with Retry-After",
            client: "the next candidate; else 429 with the wait",
            blame: "the pair, and a cool-down of the wait",
            counts: "the request, no tokens",
            faults: vec![
                fault("in seconds", |_| {
                    respond(429).header("retry-after", "30").error("slow down", "rate_limit_error", None)
                })
                .alone(then(Told::Error(429, ""), Strikes::Pair(1), 1).cooled())
                .also(|seen, _| waits_up_to(seen, 30))
                .three(then(Told::Served, Strikes::Pair(1), 1).cooled()),
                fault("in milliseconds", |_| {
                    respond(429).header("retry-after-ms", "20500").error("slow", "rate_limit_error", None)
                })
                .alone(then(Told::Error(429, ""), Strikes::Pair(1), 1).cooled())
                .also(|seen, _| waits_up_to(seen, 21))
                .three(then(Told::Served, Strikes::Pair(1), 1).cooled()),
                fault("as a date far away", |_| {
                    respond(429).header("retry-after", "Fri, 31 Dec 2049 23:59:59 GMT").error(
                        "slow",
                        "rate_limit_error",
                        None,
                    )
                })
                .alone(then(Told::Error(429, ""), Strikes::Pair(1), 1).cooled())
                .also(|seen, _| waits_up_to(seen, 600))
                .three(then(Told::Served, Strikes::Pair(1), 1).cooled()),
            ],
            tests: &["a_429_with_retry_after_is_a_cool_down_of_that_length"],
        },
        Row {
            number: 24,
            fault: "429 because the account is empty",
            client: "the next candidate; else 502 insufficient_quota",
            blame: "the credential, and a cool-down of ten minutes",
            counts: "the request, no tokens",
            faults: vec![fault("insufficient_quota", |_| {
                says(429, "insufficient_quota", Some("insufficient_quota"))
            })
            .alone(then(Told::Error(502, "insufficient_quota"), Strikes::Key(1), 1).cooled())
            .three(then(Told::Served, Strikes::Key(1), 1).cooled())],
            tests: &[],
        },
    ]
}

/// A client that is refused is told how long to wait, and never too long.
fn waits_up_to(seen: &Seen, most: u64) -> Option<String> {
    if seen.status == Some(200) {
        return None;
    }
    let wait: Option<u64> = seen.header("retry-after").and_then(|wait| wait.parse().ok());
    (!wait.is_some_and(|wait| (1..=most).contains(&wait))).then(|| format!("retry-after is {wait:?}"))
}

fn servers() -> Vec<Row> {
    let failing = |status: u16, told: u16, reply: fn(&Call) -> Reply| {
        let name = ["500", "502", "503", "504", "529"]
            [[500, 502, 503, 504, 529].iter().position(|known| *known == status).unwrap()];
        let alone = if status == 500 { last(told, "", Strikes::Pair(2)) } else { in_rounds(told, "") };
        fault(name, reply).alone(alone).passed_on(Strikes::Pair(1), 1)
    };
    vec![
        Row {
            number: 25,
            fault: "500, 502, 503, 504 or 529",
            client: "the next candidate; else 500, 502, 503 or 504 with the upstream's message",
            blame: "the pair",
            counts: "the request, no tokens",
            faults: vec![
                failing(500, 500, |call| echoing(500, call)),
                failing(502, 502, |_| says(502, "server_error", None)),
                failing(503, 503, |_| says(503, "server_error", None)),
                failing(504, 504, |_| says(504, "server_error", None)),
                failing(529, 503, |_| says(529, "overloaded_error", None)),
            ],
            tests: &["the_last_error_reaches_the_client_in_openai_s_shape"],
        },
        Row {
            number: 26,
            fault: "a request that fails wherever it goes",
            client: "the last error",
            blame: "the first pair it met, nobody after it",
            counts: "the request at each",
            faults: vec![fault("500 everywhere", |_| says(500, "server_error", None))
                .others(|_| says(500, "server_error", None))
                .three(then(Told::Error(500, ""), Strikes::Pair(1), 1))],
            tests: &["a_poisonous_request_strikes_only_the_first_credential_it_meets"],
        },
    ]
}

fn callers() -> Vec<Row> {
    vec![
        Row {
            number: 27,
            fault: "400, 404, 413 or 422 for the request",
            client: "the upstream's own answer, after one attempt",
            blame: "nobody",
            counts: "the request, no tokens",
            faults: vec![
                fault("400", |_| says(400, "invalid_request_error", Some("bad_thing")))
                    .both(returned(400, "bad_thing")),
                fault("400 that echoes the key", |call| echoing(400, call)).both(returned(400, "")),
                fault("404", |_| says(404, "invalid_request_error", None)).both(returned(404, "")),
                fault("413", |_| says(413, "invalid_request_error", None)).both(returned(413, "")),
                fault("422", |_| says(422, "invalid_request_error", None)).both(returned(422, "")),
            ],
            tests: &["a_caller_s_own_error_comes_back_once_and_as_it_came"],
        },
        Row {
            number: 28,
            fault: "a redirect",
            client: "the next candidate; else 502; nobody follows it",
            blame: "the pair",
            counts: "the request, no tokens",
            faults: vec![fault("302", |_| {
                respond(302).header("location", "http://127.0.0.1:1/").body("text/plain", "")
            })
            .alone(in_rounds(502, "upstream_error"))
            .passed_on(Strikes::Pair(1), 1)],
            tests: &[],
        },
    ]
}

/// A 200 that is of no use: another candidate may do better.
fn useless(name: &'static str, reply: fn(&Call) -> Reply) -> Fault {
    fault(name, reply).alone(last(502, "upstream_error", Strikes::Pair(2))).passed_on(Strikes::Pair(1), 1)
}

fn nonsense() -> Vec<Row> {
    let useless = |name, reply| {
        fault(name, reply).alone(last(502, "upstream_error", Strikes::Pair(2))).passed_on(Strikes::Pair(1), 1)
    };
    vec![
        Row {
            number: 29,
            fault: "200 with HTML, nothing, or half an answer",
            client: "the next candidate; else 502; never half an answer",
            blame: "the pair",
            counts: "the request",
            faults: vec![
                useless("HTML", |_| respond(200).body("text/html", "<html>maintenance</html>")),
                useless("nothing", |_| respond(200).body("application/json", "")).unary(),
                useless("half a value", |_| respond(200).body("application/json", "{\"id\":\"x\",")).unary(),
                useless("shorter than it says", |_| {
                    let head = respond(200).header("content-type", "application/json");
                    head.header("content-length", "900").head().send("{\"id\":").close()
                })
                .alone(in_rounds(502, "upstream_error"))
                .unary(),
            ],
            tests: &["an_answer_that_is_none_goes_elsewhere"],
        },
        Row {
            number: 30,
            fault: "an answer or a head too large",
            client: "the next candidate; else 502",
            blame: "the pair",
            counts: "the request",
            faults: vec![
                useless("a head of 2 MiB", |_| {
                    respond(200).header("x-big", &"x".repeat(2 << 20)).json(&json!({}))
                }),
                useless("an answer of 65 MiB", |_| {
                    let piece = vec![b' '; 1 << 20];
                    let head = respond(200).header("content-type", "application/json");
                    let head = head.header("content-length", &(65 << 20).to_string()).head();
                    (0..65).fold(head, |reply, _| reply.send(&piece))
                })
                .unary()
                .h1(),
            ],
            tests: &[],
        },
    ]
}

fn wrapped() -> Vec<Row> {
    vec![
        Row {
            number: 31,
            fault: "compressed, though identity was asked for",
            client: "the answer, unpacked; a bomb is no answer",
            blame: "nobody; for a bomb the pair",
            counts: "the request",
            faults: vec![
                fault("gzip", |call| {
                    let text = chat_text(call);
                    respond(200).header("content-encoding", "gzip").body("application/json", gzip(&text))
                })
                .both(then(Told::Served, Strikes::None, 1).tokens(Tokens::Reported))
                .unary(),
                useless("a bomb", |_| {
                    let bomb = gzip(&vec![b' '; 8 << 20]);
                    respond(200).header("content-encoding", "gzip").body("application/json", bomb)
                })
                .unary(),
            ],
            tests: &["compressed_answers_are_readable_although_identity_was_asked"],
        },
        Row {
            number: 32,
            fault: "the first event of a stream is an error",
            client: "the next candidate; else a status like that of the error",
            blame: "by the kind of the error",
            counts: "the request, no tokens",
            faults: vec![
                fault("overloaded", |_| first_event("overloaded_error"))
                    .alone(in_rounds(503, "overloaded"))
                    .passed_on(Strikes::Pair(1), 1)
                    .streamed(),
                fault("rate limit", |_| first_event("rate_limit_error"))
                    .alone(last(429, "rate_limit_exceeded", Strikes::Pair(2)))
                    .passed_on(Strikes::Pair(1), 1)
                    .streamed(),
            ],
            tests: &["a_stream_that_breaks_before_its_first_output_goes_elsewhere_unseen"],
        },
    ]
}

fn first_event(kind: &str) -> Reply {
    let error = json!({"error": {"message": "so it is", "type": kind, "code": null}});
    respond(200).sse([frame(&error)])
}

fn chat_text(call: &Call) -> Vec<u8> {
    reply::chat_body(&call.model(), "Hello there", 7, 5).to_string().into_bytes()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    packer.write_all(bytes).unwrap();
    packer.finish().unwrap()
}
