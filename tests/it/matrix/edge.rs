//! Rows 1 to 13: before any upstream is asked.

use super::ask::{Ask, Reading, Seen, Upload};
use super::row::{asked, closed, fault, refused, then, Fault, Row, Shape, Strikes, Tokens, Told};
use crate::support::*;

/// The request line and the headers as they are; HTTP/1.1 alone can say such things.
fn raw(name: &'static str, ask: fn(Ask) -> Ask) -> Fault {
    asked(name, ask).h1().unary()
}

/// A client that is sent away is told for how long, a minute at most.
fn waits(seen: &Seen, _: Shape) -> Option<String> {
    let wait: Option<u64> = seen.header("retry-after").and_then(|wait| wait.parse().ok());
    let right =
        wait.is_some_and(|wait| (1..=60).contains(&wait)) && seen.header("x-should-retry") == Some("true");
    (!right).then(|| format!("it is told to wait {wait:?}: {:?}", seen.headers))
}

fn bad(name: &'static str, ask: fn(Ask) -> Ask) -> Fault {
    asked(name, ask).alone(refused(400, "invalid_request")).unary()
}

pub fn rows() -> Vec<Row> {
    [keys_and_heads(), slow_heads(), bodies(), contents(), models(), nobody_there()]
        .into_iter()
        .flatten()
        .collect()
}

fn keys_and_heads() -> Vec<Row> {
    vec![
        Row {
            number: 1,
            fault: "no key, or a wrong one",
            client: "401, one and the same, before the body is read",
            blame: "nobody",
            counts: "nothing",
            faults: vec![
                asked("no key", |ask| ask.without("authorization")).alone(refused(401, "invalid_api_key")),
                asked("a wrong key", |ask| {
                    ask.without("authorization").header("authorization", "Bearer sk-guess")
                })
                .alone(refused(401, "invalid_api_key"))
                .three(refused(401, "invalid_api_key")),
                asked("a wrong key, and a body that never comes", |ask| {
                    ask.without("authorization").header("x-api-key", "sk-guess").upload(Upload::Part(3))
                })
                .alone(refused(401, "invalid_api_key")),
            ],
            tests: &[
                "every_other_key_gets_one_and_the_same_401",
                "a_wrong_key_is_refused_before_its_body_is_read",
            ],
        },
        Row {
            number: 2,
            fault: "a head that can be read in two ways",
            client: "400 and a closed connection; nothing reaches an upstream",
            blame: "nobody",
            counts: "nothing",
            faults: vec![
                raw("length and chunks", |ask| ask.header("Transfer-Encoding", "chunked"))
                    .alone(closed(400, "invalid_request")),
                raw("two lengths", |ask| ask.header("Content-Length", "3"))
                    .alone(closed(400, "invalid_request")),
                raw("two hosts", |ask| ask.header("Host", "b")).alone(closed(400, "invalid_request")),
                raw("a control byte", |ask| ask.header("x-a", "b\x01c"))
                    .alone(closed(400, "invalid_request")),
                asked("a path with //", |ask| ask.path("/v1//chat/completions"))
                    .alone(closed(400, "invalid_request"))
                    .unary(),
                asked("a path with ..", |ask| ask.path("/v1/../v1/chat/completions"))
                    .alone(closed(400, "invalid_request"))
                    .unary(),
            ],
            tests: &["what_can_be_read_in_two_ways_is_refused_and_reaches_nobody"],
        },
    ]
}

fn slow_heads() -> Vec<Row> {
    vec![Row {
        number: 3,
        fault: "a head that drips",
        client: "408 or nothing, and a closed connection after header_timeout",
        blame: "nobody",
        counts: "nothing",
        faults: Vec::new(),
        tests: &[
            "a_head_that_drips_is_cut_and_costs_nobody_else",
            "a_head_that_never_comes_or_drips_is_ended_after_header_timeout",
        ],
    }]
}

fn bodies() -> Vec<Row> {
    vec![
        Row {
            number: 4,
            fault: "a body that drips, or stops",
            client: "408 after body_timeout",
            blame: "nobody",
            counts: "nothing",
            faults: vec![
                asked("drops", |ask| ask.upload(Upload::Drip(ms(90)))).alone(closed(408, "body_timeout")),
                asked("half of it", |ask| ask.upload(Upload::Part(20))).alone(closed(408, "body_timeout")),
                asked("none of it", |ask| ask.upload(Upload::Nothing))
                    .alone(closed(408, "body_timeout"))
                    .unary(),
            ],
            tests: &["a_body_that_drips_gets_a_408_in_time"],
        },
        Row {
            number: 5,
            fault: "broken chunks",
            client: "400 and a closed connection",
            blame: "nobody",
            counts: "nothing",
            faults: vec![
                raw("no size", |ask| ask.upload(Upload::Chunks("zz\r\nboom\r\n"))),
                raw("a size below zero", |ask| ask.upload(Upload::Chunks("-1\r\nx\r\n"))),
                raw("more than its size", |ask| ask.upload(Upload::Chunks("5\r\nhello, all\r\n0\r\n\r\n"))),
            ]
            .into_iter()
            .map(|fault| fault.both(closed(400, "invalid_request")))
            .collect(),
            tests: &["a_burst_of_malformed_chunked_bodies_bans_nobody"],
        },
        Row {
            number: 6,
            fault: "a body over the limit",
            client: "413, before the rest is read",
            blame: "nobody",
            counts: "nothing",
            faults: vec![
                asked("declared", |ask| ask.body(chat_of_size("m", 2 << 20)).upload(Upload::Part(1000)))
                    .alone(closed(413, "request_too_large"))
                    .unary(),
                asked("undeclared", |ask| ask.body(chat_of_size("m", 2 << 20)).upload(Upload::Unmeasured))
                    .alone(closed(413, "request_too_large"))
                    .unary(),
            ],
            tests: &["expect_100_continue_of_a_body_too_large_is_refused_without_asking_for_it"],
        },
        Row {
            number: 7,
            fault: "no room for another body",
            client: "503 with Retry-After",
            blame: "nobody",
            counts: "nothing",
            faults: Vec::new(),
            tests: &["unread_uploads_hold_no_more_than_the_budget_of_buffered_bytes"],
        },
    ]
}

fn contents() -> Vec<Row> {
    vec![
        Row {
            number: 8,
            fault: "a body that means nothing, or two things",
            client: "400 that says where",
            blame: "nobody",
            counts: "nothing",
            faults: vec![
                bad("invalid UTF-8", |ask| ask.body(b"{\"model\":\"m\",\"x\":\"\xff\"}".to_vec())),
                bad("half a value", |ask| ask.body("{\"model\":\"m\"")),
                bad("a depth over 64", |ask| {
                    ask.body(format!("{{\"model\":\"m\",\"x\":{}1{}}}", "[".repeat(80), "]".repeat(80)))
                }),
                bad("two models", |ask| ask.body(r#"{"model":"a","model":"b"}"#)),
                bad("a model in capitals beside it", |ask| ask.body(r#"{"model":"a","MODEL":"b"}"#)),
                bad("two streams", |ask| ask.body(r#"{"model":"a","stream":true,"stream":false}"#)),
                bad("two limits of tokens", |ask| ask.body(r#"{"model":"a","max_tokens":1,"MAX_TOKENS":9}"#)),
                bad("a model that is a number", |ask| ask.body(r#"{"model":4}"#)),
                bad("NaN", |ask| ask.body(r#"{"model":"m","x":NaN}"#)),
            ],
            tests: &["a_body_that_is_no_plain_json_object_is_refused_with_a_reason"],
        },
        Row {
            number: 9,
            fault: "a compressed body",
            client: "415",
            blame: "nobody",
            counts: "nothing",
            faults: vec![asked("gzip", |ask| ask.header("content-encoding", "gzip"))
                .alone(refused(415, "unsupported_encoding"))],
            tests: &[],
        },
    ]
}

fn models() -> Vec<Row> {
    vec![
        Row {
            number: 10,
            fault: "a model that nobody serves",
            client: "404 model_not_found with the nearest names",
            blame: "nobody",
            counts: "nothing; the name is no label",
            faults: vec![asked("unknown", |ask| ask.body(r#"{"model":"nobodys","messages":[]}"#))
                .alone(refused(404, "model_not_found"))
                .unary()],
            tests: &["labels_are_bounded_whatever_clients_ask_for"],
        },
        Row {
            number: 11,
            fault: "everybody at a limit",
            client: "429 with the wait",
            blame: "nobody",
            counts: "nothing",
            faults: vec![
                asked("one a minute, and a second", |ask| ask)
                    .lines("rpm: 1")
                    .before(1)
                    .alone(
                        then(Told::Error(429, "rate_limit_exceeded"), Strikes::None, 1)
                            .tokens(Tokens::Reported),
                    )
                    .also(waits),
                asked("three of one a minute, and a fourth", |ask| ask)
                    .lines("rpm: 1")
                    .before(3)
                    .three(
                        then(Told::Error(429, "rate_limit_exceeded"), Strikes::None, 1)
                            .tokens(Tokens::Reported),
                    )
                    .also(waits),
            ],
            tests: &["a_request_over_the_limit_is_told_when_to_come_back", "refused_requests_use_nothing_up"],
        },
    ]
}

fn nobody_there() -> Vec<Row> {
    vec![
        Row {
            number: 12,
            fault: "everybody banned",
            client: "503 with the time of the first probe",
            blame: "nobody",
            counts: "nothing",
            faults: vec![fault("the ban of the first request", |_| {
                respond(507).error("no", "server_error", None)
            })
            .others(|_| respond(507).error("no", "server_error", None))
            .before(1)
            .alone(then(Told::Error(503, "no_credential_available"), Strikes::Banned, 1))
            .also(waits)],
            tests: &["when_everybody_is_banned_the_answer_says_for_how_long"],
        },
        Row {
            number: 13,
            fault: "the client leaves while it waits, or sends",
            client: "it has left",
            blame: "nobody",
            counts: "nothing; 499 on the access line",
            faults: vec![asked("in its body", |ask| {
                ask.upload(Upload::Part(20)).reading(Reading::LeaveAfter(ms(500)))
            })
            .alone(then(Told::Gone, Strikes::None, 0))],
            tests: &["a_client_that_leaves_gives_its_place_to_the_next"],
        },
    ]
}
