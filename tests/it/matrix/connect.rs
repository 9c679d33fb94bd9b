//! Rows 14 to 20: on the way to an upstream, and until it begins to answer.
//!
//! A lone credential is asked again in rounds, unless time was what it failed by; one request strikes twice at most. What could not be
//! sent counts nothing.

use super::row::{at, fault, then, Fault, Place, Row, Strikes, Tokens, Told};
use crate::support::*;

/// Never got through: asked in rounds where it is alone, and not charged.
fn unreachable(name: &'static str, place: Place) -> Fault {
    at(name, place)
        .alone(then(Told::Error(502, "upstream_error"), Strikes::Pair(2), 0))
        .passed_on(Strikes::Pair(1), 0)
}

pub fn rows() -> Vec<Row> {
    [without_a_way(), without_trust(), without_an_answer()].into_iter().flatten().collect()
}

fn without_a_way() -> Vec<Row> {
    vec![
        Row {
            number: 14,
            fault: "a name without an address",
            client: "the next candidate; else 502",
            blame: "the pair",
            counts: "nothing",
            faults: vec![unreachable("no such host", Place::Nameless)],
            tests: &["an_unknown_host_name_goes_elsewhere"],
        },
        Row {
            number: 15,
            fault: "connection refused",
            client: "the next candidate within milliseconds; else 502",
            blame: "the pair",
            counts: "nothing",
            faults: vec![unreachable("refused", Place::Refuses)],
            tests: &["a_host_that_refuses_connections_costs_milliseconds"],
        },
        Row {
            number: 16,
            fault: "nobody takes the connection",
            client: "the next candidate after connect_timeout; else 504",
            blame: "the pair",
            counts: "nothing",
            faults: vec![at("connect timeout", Place::Deaf)
                .lines("connect_timeout: 1s")
                .alone(then(Told::Error(504, "upstream_timeout"), Strikes::Pair(1), 0))
                .passed_on(Strikes::Pair(1), 0)],
            tests: &["an_upstream_that_does_not_take_the_connection_has_connect_timeout"],
        },
    ]
}

fn without_trust() -> Vec<Row> {
    vec![
        Row {
            number: 17,
            fault: "a certificate that nobody vouches for, or no TLS",
            client: "the next candidate; else 502; never in the clear",
            blame: "the pair",
            counts: "nothing",
            faults: vec![unreachable("untrusted", Place::Untrusted)],
            tests: &[
                "a_certificate_that_nobody_vouches_for_is_a_failed_connection",
                "a_failed_tls_handshake_goes_elsewhere_and_is_never_downgraded",
            ],
        },
        Row {
            number: 18,
            fault: "a kept connection is dead before it answers",
            client: "the answer, over a new connection to the same credential",
            blame: "nobody",
            counts: "one request",
            faults: vec![fault("dead on the second request", |call| match call.reuse {
                0 => Reply::good(call),
                _ => Reply::default().close(),
            })
            .before(1)
            .both(then(Told::Served, Strikes::None, 2).tokens(Tokens::Reported))],
            tests: &["a_reused_connection_that_dies_is_replaced_without_a_strike"],
        },
    ]
}

fn without_an_answer() -> Vec<Row> {
    vec![
        Row {
            number: 19,
            fault: "it takes the request and never answers",
            client: "the next candidate; else 504; the call is ended",
            blame: "the pair",
            counts: "the request",
            faults: vec![
                fault("no head", |_| Reply::silence())
                    .alone(then(Told::Error(504, "upstream_timeout"), Strikes::Pair(1), 1))
                    .passed_on(Strikes::Pair(1), 1)
                    .unary(),
                fault("no first token", |call| respond(200).open_sse([role(&call.model())]).hang())
                    .passed_on(Strikes::Pair(1), 1)
                    .streamed(),
            ],
            tests: &["a_route_that_timed_out_is_not_tried_again"],
        },
        Row {
            number: 20,
            fault: "reset after the request, before any answer",
            client: "the next candidate; else 502",
            blame: "the pair",
            counts: "the request",
            faults: vec![
                fault("reset", |_| Reply::default().reset())
                    .alone(then(Told::Error(502, "upstream_error"), Strikes::Pair(2), 5).tokens(Tokens::None))
                    .passed_on(Strikes::Pair(1), 1),
                fault("closed in the middle of the head", |_| {
                    Reply::default().send("HTTP/1.1 200 OK\r\nContent-Ty").close()
                })
                .alone(then(Told::Error(502, "upstream_error"), Strikes::Pair(2), 5))
                .passed_on(Strikes::Pair(1), 1),
            ],
            tests: &["an_answer_that_is_none_goes_elsewhere"],
        },
    ]
}
