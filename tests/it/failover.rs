//! Failover: which failures go to another credential, which come back as they are, and what the last one looks like.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::*;

/// Two credentials at one upstream whose first answer to every request is `bad`; nobody is ever banned.
fn first_then_good(bad: impl Fn() -> Reply + Send + Sync + 'static) -> (Upstream, Router) {
    let upstream =
        Upstream::scripted(move |call| if call.number % 2 == 0 { bad() } else { Reply::good(call) });
    let router = Config::pool(&["a", "b"], &upstream.url()).start();
    (upstream, router)
}

/// Asserts that the last two calls carried one request, with two keys.
#[track_caller]
fn assert_failed_over(upstream: &Upstream) {
    let calls = upstream.calls();
    assert!(calls.len() >= 2, "there was no second attempt");
    let (first, second) = (&calls[calls.len() - 2], &calls[calls.len() - 1]);
    assert_ne!(first.key, second.key, "the same credential was tried twice");
    assert!(first.body == second.body, "the second attempt carried another body");
    assert_eq!(first.path, second.path);
}

#[test]
fn a_failing_status_goes_to_another_credential_with_the_same_body() {
    for status in [401, 402, 403, 408, 409, 429, 500, 502, 503, 504, 529] {
        let (upstream, router) = first_then_good(move || respond(status).error("no", "server_error", None));
        let answer = router.chat(&chat("m"));
        assert_eq!((answer.status, upstream.count()), (200, 2), "after a {status}: {}", answer.text());
        assert_failed_over(&upstream);
    }
}

#[test]
fn a_stream_that_starts_with_a_failing_status_goes_elsewhere() {
    for status in [401, 429, 503] {
        let (upstream, router) = first_then_good(move || respond(status).error("no", "server_error", None));
        let mut events = router.stream(&chat_streamed("m")).expect(200);
        assert_eq!(stream::text(&events.rest()), "Hello there");
        assert_eq!(events.end(), End::Clean);
        assert_failed_over(&upstream);
    }
}

/// Ends of an attempt that are no proper answer, each before any output.
fn broken_answers() -> Vec<(&'static str, Reply)> {
    let whole = r#"{"id":"x","choices":[]}"#;
    vec![
        ("close before the head", Reply::default().close()),
        ("reset before the head", Reply::default().reset()),
        ("half a head", Reply::default().send("HTTP/1.1 200 OK\r\nContent-Ty").close()),
        ("garbage", Reply::default().send("SSH-2.0-OpenSSH_9.2\r\n\r\n").close()),
        ("reset after the head", respond(200).header("content-length", "900").head().reset()),
        ("a body cut short", respond(200).header("content-length", "900").head().send(whole).close()),
        ("HTML with a 200", respond(200).body("text/html", "<html>maintenance</html>")),
        ("an empty 200", respond(200).body("application/json", "")),
        ("half of a JSON value", respond(200).body("application/json", &whole[..10])),
        ("an error in a 200", respond(200).error("overloaded", "server_error", None)),
        ("a redirect", respond(302).header("location", "http://127.0.0.1:1/").body("text/plain", "")),
        ("a huge head", respond(200).header("x-big", &"x".repeat(2 << 20)).json(&json!({}))),
    ]
}

#[test]
fn an_answer_that_is_none_goes_elsewhere() {
    for (what, reply) in broken_answers() {
        let (upstream, router) = first_then_good(move || reply.clone());
        let answer = router.chat(&chat("m"));
        assert_eq!(answer.status, 200, "after {what}: {}", answer.text());
        assert_eq!(answer.content(), "Hello there", "after {what}");
        assert_eq!(upstream.count(), 2, "after {what}");
        assert_failed_over(&upstream);
    }
}

/// Streams that break before their first output.
fn broken_streams() -> Vec<(&'static str, Reply)> {
    let error =
        frame(&json!({"error": {"message": "overloaded", "type": "server_error", "code": "overloaded"}}));
    let named = format!("event: error\n{error}");
    vec![
        ("an error as the first frame", respond(200).sse([error.clone()])),
        ("a named error as the first frame", respond(200).sse([named])),
        ("an error after the role", respond(200).sse([role("m"), error.clone()])),
        ("an error after a ping", respond(200).sse([": ping\n\n".to_string(), role("m"), error])),
        ("a cut after the head", respond(200).open_sse::<&str>([]).close()),
        ("a reset after the role", respond(200).open_sse([role("m")]).reset()),
        ("an end after the role", respond(200).sse([role("m")])),
        ("HTML in place of a stream", respond(200).body("text/html", "<html></html>")),
    ]
}

#[test]
fn a_stream_that_breaks_before_its_first_output_goes_elsewhere_unseen() {
    for (what, reply) in broken_streams() {
        let (upstream, router) = first_then_good(move || reply.clone());
        let mut events = router.stream(&chat_streamed("m")).expect(200);
        let all = events.rest();
        assert_eq!(stream::text(&all), "Hello there", "after {what}");
        assert!(!all.iter().any(stream::Event::is_error), "after {what}: {all:?}");
        let roles = all.iter().filter(|e| e.json()["choices"][0]["delta"]["role"].is_string()).count();
        assert_eq!(roles, 1, "after {what}: frames of the failed stream are left");
        assert!(all.last().unwrap().is_done(), "after {what}");
        assert_failed_over(&upstream);
    }
}

#[test]
fn a_host_that_refuses_connections_costs_milliseconds() {
    let upstream = Upstream::healthy();
    let config = Config::new().never_bans().credential("dead", &Upstream::refused(), "priority: 0");
    let router = config.credential("live", &upstream.url(), "priority: 1").start();
    for _ in 0..3 {
        let answer = router.chat(&chat("m")).expect(200);
        assert!(answer.took < secs(3), "took {:?}", answer.took);
    }
}

#[test]
fn an_unknown_host_name_goes_elsewhere() {
    let upstream = Upstream::healthy();
    let config =
        Config::new().never_bans().credential("dead", "http://no-such-host.invalid:1", "priority: 0");
    let router = config.credential("live", &upstream.url(), "priority: 1").start();
    router.chat(&chat("m")).expect(200);
}

#[test]
fn a_failed_tls_handshake_goes_elsewhere_and_is_never_downgraded() {
    let (plain, live) = (Upstream::healthy(), Upstream::healthy());
    let secure = plain.url().replace("http://", "https://");
    let config = Config::new().never_bans().credential("tls", &secure, "priority: 0");
    let router = config.credential("live", &live.url(), "priority: 1").start();
    router.chat(&chat("m")).expect(200);
    assert_eq!((plain.count(), live.count()), (0, 1));
}

#[test]
fn no_first_token_in_time_goes_elsewhere() {
    let slow = || respond(200).open_sse([role("m"), ": ping\n\n".to_string()]).hang();
    let upstream = Upstream::scripted(move |call| if call.number == 0 { slow() } else { Reply::good(call) });
    let router = Config::pool(&["a", "b"], &upstream.url()).routing("first_token_timeout: 1s").start();
    let start = Instant::now();
    let mut events = router.stream(&chat_streamed("m")).expect(200);
    assert_eq!(stream::text(&events.rest()), "Hello there");
    assert!(start.elapsed() > ms(900) && start.elapsed() < secs(8), "took {:?}", start.elapsed());
    until("the silent call is ended", || upstream.calls()[0].gone().is_some());
}

#[test]
fn a_large_body_fails_over_whole_with_every_framing() {
    let (upstream, router) = first_then_good(|| respond(503).error("busy", "server_error", None));
    let body = chat_of_size("m", 20 << 20);
    let request = Request::post("/v1/chat/completions").body("application/json", body.clone());
    request.send(&router).expect(200);
    request.send_chunked(&router, 60_000).expect(200);
    h2c::post(&router, "/v1/chat/completions", &body, 16_384, true).expect(200);
    h2c::post(&router, "/v1/chat/completions", &body, 16_384, false).expect(200);
    let calls = upstream.calls();
    assert_eq!(calls.len(), 8);
    assert!(calls.iter().all(|c| c.body == body && !c.chunked), "a body was changed on its way");
}

#[test]
fn an_answer_before_the_body_is_read_still_fails_over() {
    let early = || respond(429).error("slow down", "rate_limit_error", None).close();
    let (upstream, router) = first_then_good(early);
    let body = chat_of_size("m", 5 << 20);
    let request = Request::post("/v1/chat/completions").body("application/json", body);
    request.send(&router).expect(200);
    assert_failed_over(&upstream);
}

/// Upstream connections that wait.
const IDLE: &str = "auto_ai_router_upstream_idle";

#[test]
fn a_reused_connection_that_dies_is_replaced_without_a_strike() {
    let upstream =
        Upstream::scripted(|call| if call.reuse > 0 { Reply::default().close() } else { Reply::good(call) });
    let router = Config::single(&upstream.url())
        .fail2ban("max_attempts: 1\nban_duration: permanent\nerror_codes: [500, 502, 503, 504]")
        .start();
    for _ in 0..5 {
        router.chat(&chat("m")).expect(200);
    }
    assert_eq!(upstream.count(), 9, "each request after the first meets one dead connection");
    assert_eq!(router.health_of("a")["is_banned"], false);
}

#[test]
fn failovers_give_their_connections_back() {
    let upstream = Upstream::scripted(|call| {
        if call.key == Some(key_of("a")) {
            respond(429).error("no", "rate_limit_error", None)
        } else {
            Reply::good(call)
        }
    });
    let config = Config::new().never_bans().credential("a", &upstream.url(), "priority: 0");
    let router = config.credential("b", &upstream.url(), "priority: 1").start();
    for _ in 0..50 {
        router.chat(&chat("m")).expect(200);
    }
    assert_eq!(upstream.calls_of(&key_of("b")).len(), 50);
    assert!(upstream.connections() <= 4, "{} connections for 50 failovers", upstream.connections());
}

#[test]
fn an_idle_connection_is_let_go_when_its_upstream_closes_it() {
    let upstream = Upstream::scripted(|call| Reply::good(call).pause(ms(500)).close());
    let router = Config::single(&upstream.url()).start();
    for _ in 0..2 {
        router.chat(&chat("m")).expect(200);
        until("it is kept", || router.metric(IDLE, &[]) == Some(1.0));
        until("it is closed", || router.metric(IDLE, &[]) == Some(0.0));
    }
    assert!(upstream.calls().iter().all(|call| call.reuse == 0));
}

#[test]
fn a_lone_credential_gets_one_more_try_after_a_short_wait() {
    let upstream = Upstream::queue([respond(500).error("hiccup", "server_error", None)]);
    let router = Config::single(&upstream.url()).start();
    router.chat(&chat("m")).expect(200);
    let calls = upstream.calls();
    assert_eq!(calls.len(), 2);
    let wait = calls[1].at - calls[0].at;
    assert!(wait > ms(20) && wait < secs(5), "waited {wait:?}");
}

#[test]
fn a_lone_credential_is_not_tried_a_third_time() {
    let upstream = Upstream::always(respond(500).error("down", "server_error", None));
    let router = Config::single(&upstream.url()).never_bans().start();
    let answer = router.chat(&chat("m"));
    assert!(answer.status >= 500, "{}", answer.status);
    assert_eq!(upstream.count(), 2);
}

fn down() -> Reply {
    respond(503).error("down", "server_error", None)
}

#[test]
fn what_is_down_for_a_moment_is_asked_again_after_pauses_that_grow() {
    let upstream = Upstream::queue([down(), down(), down()]);
    let router = Config::single(&upstream.url()).start();
    router.chat(&chat("m")).expect(200);
    let calls = upstream.calls();
    assert_eq!(calls.len(), 4);
    let waits: Vec<_> = calls.windows(2).map(|pair| pair[1].at - pair[0].at).collect();
    assert!(waits[0] >= ms(95) && waits[2] < secs(2), "{waits:?}");
    assert!(waits.is_sorted_by(|a, b| a < b), "{waits:?}");
    let upstream = Upstream::queue([down(), down(), down()]);
    let router = Config::pool(&["a", "b"], &upstream.url()).start();
    router.chat(&chat("m")).expect(200);
    let keys: Vec<_> = upstream.calls().iter().map(|call| call.key.clone().expect("a key")).collect();
    assert!(keys[0] != keys[1] && keys[2] != keys[3], "round after round: {keys:?}");
}

#[test]
fn rounds_end_with_the_attempts_and_no_pause_goes_beyond_the_deadline() {
    let upstream = Upstream::always(down());
    let router = Config::pool(&["a", "b"], &upstream.url()).start();
    assert!(router.chat(&chat("m")).status >= 500);
    assert_eq!(upstream.count(), 5);
    let upstream = Upstream::always(down());
    let router = Config::pool(&["a"], &upstream.url()).routing("deadline: 1s\nmax_attempts: 50").start();
    let answer = router.chat(&chat("m"));
    assert!(answer.status >= 500 && answer.took < ms(1500), "{} after {:?}", answer.status, answer.took);
    assert!((3..=4).contains(&upstream.count()), "{}", upstream.count());
}

#[test]
fn a_lone_credential_waits_as_long_as_retry_after_says() {
    let limited = respond(429).header("retry-after", "1").error("slow down", "rate_limit_error", None);
    let upstream = Upstream::queue([limited]);
    let router = Config::single(&upstream.url()).start();
    router.chat(&chat("m")).expect(200);
    let calls = upstream.calls();
    assert_eq!(calls.len(), 2);
    assert!(calls[1].at - calls[0].at >= ms(950), "came back after {:?}", calls[1].at - calls[0].at);
}

#[test]
fn a_route_that_timed_out_is_not_tried_again() {
    let upstream = Upstream::always(Reply::silence());
    let router = Config::single(&upstream.url()).routing("response_timeout: 1s").start();
    let answer = router.chat(&chat("m")).expect(504);
    assert_eq!(answer.error()["type"], "timeout_error");
    assert_eq!(answer.header("x-should-retry"), Some("false"));
    assert_eq!(upstream.count(), 1);
    until("the silent call is ended", || upstream.only().gone().is_some());
}

#[test]
fn the_deadline_covers_all_attempts_up_to_the_first_output() {
    let upstream = Upstream::always(Reply::silence());
    let config = Config::pool(&["a", "b", "c", "d", "e"], &upstream.url());
    let router = config.routing("deadline: 2s\nresponse_timeout: 1s").start();
    let answer = router.chat(&chat("m")).expect(504);
    assert!(answer.took < secs(6), "took {:?}", answer.took);
    assert!(upstream.count() <= 3, "{} attempts in two seconds", upstream.count());
}

#[test]
fn the_deadline_never_cuts_a_stream_that_flows() {
    let upstream =
        Upstream::scripted(|call| Reply::chat_stream(call, &["a", "b", "c", "d", "e", "f"]).paced(ms(400)));
    let router = Config::single(&upstream.url()).server("request_timeout: 1s").start();
    let mut events = router.stream(&chat_streamed("m")).expect(200);
    assert_eq!(stream::text(&events.rest()), "abcdef");
    assert_eq!(events.end(), End::Clean);
}

#[test]
fn at_most_five_attempts_are_made_for_a_request() {
    let upstream = Upstream::always(respond(503).error("down", "server_error", None));
    let names = ["a", "b", "c", "d", "e", "f", "g", "h"];
    let router = Config::pool(&names, &upstream.url()).start();
    assert!(router.chat(&chat("m")).status >= 500);
    assert_eq!(upstream.count(), 5);
    let router = Config::pool(&names, &upstream.url()).routing("max_attempts: 2").start();
    router.chat(&chat("m"));
    assert_eq!(upstream.count(), 7);
}

#[test]
fn a_caller_s_own_error_comes_back_once_and_as_it_came() {
    let body = r#"{"error":{"message":"bad  field","type":"invalid_request_error","param":"n","code":"x"},"more":1}"#;
    for status in [400, 404, 413, 422] {
        let upstream = Upstream::always(respond(status).body("application/json", body));
        let router = Config::pool(&["a", "b"], &upstream.url()).start();
        let answer = router.chat(&chat("m")).expect(status);
        assert_eq!(answer.text(), body);
        assert_eq!(upstream.count(), 1, "a {status} was tried on another credential");
    }
}

#[test]
fn a_content_policy_refusal_is_the_caller_s_whatever_its_status() {
    for status in [400, 403] {
        let refusal = respond(status).error(
            "flagged by our content policy",
            "invalid_request_error",
            Some("content_policy_violation"),
        );
        let upstream = Upstream::always(refusal);
        let router = Config::pool(&["a", "b"], &upstream.url()).start();
        let answer = router.chat(&chat("m")).expect(status);
        assert_eq!(answer.code(), "content_policy_violation");
        assert_eq!(upstream.count(), 1);
    }
}

#[test]
fn a_model_unknown_to_one_credential_is_asked_of_the_others() {
    let unknown = || {
        respond(404).error("The model `m` does not exist", "invalid_request_error", Some("model_not_found"))
    };
    let (upstream, router) = first_then_good(unknown);
    router.chat(&chat("m")).expect(200);
    assert_failed_over(&upstream);
    let upstream = Upstream::always(unknown());
    let router = Config::pool(&["a", "b"], &upstream.url()).start();
    assert_eq!(router.chat(&chat("m")).expect(404).code(), "model_not_found");
    assert_eq!(upstream.count(), 2);
}

#[test]
fn compressed_answers_are_readable_although_identity_was_asked() {
    use flate2::{write::GzEncoder, Compression};
    use std::io::Write;
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(reply::chat_body("m", "zipped", 1, 1).to_string().as_bytes()).unwrap();
    let body = gzip.finish().unwrap();
    let zipped = respond(200).header("content-encoding", "gzip").body("application/json", body);
    let upstream = Upstream::always(zipped);
    let router = Config::single(&upstream.url()).start();
    let answer = router.chat(&chat("m"));
    assert!(matches!(upstream.calls()[0].header("accept-encoding"), None | Some("identity")));
    match answer.status {
        200 => assert_eq!(answer.content(), "zipped"),
        status => assert_eq!(status, 502, "neither decoded nor refused: {}", answer.text()),
    }
}

#[test]
fn interim_answers_of_an_upstream_are_passed_over() {
    let reply = Reply::default()
        .send("HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n")
        .then(Reply::chat("m", "late"));
    let upstream = Upstream::always(reply);
    let router = Config::single(&upstream.url()).start();
    let answer = router.chat(&chat("m")).expect(200);
    assert_eq!(answer.content(), "late");
    assert_eq!(upstream.count(), 1);
}

#[test]
fn no_attempt_outlives_a_client_that_left() {
    let upstream = Upstream::always(respond(503).error("down", "server_error", None).after(ms(300)));
    let router = Config::pool(&["a", "b", "c", "d", "e"], &upstream.url()).start();
    let mut conn = Conn::open(router.address());
    conn.write(&Request::chat(&chat("m")).bytes(&router));
    upstream.wait_for(0);
    drop(conn);
    std::thread::sleep(Duration::from_millis(1200));
    assert!(upstream.count() <= 2, "{} attempts for a client that left", upstream.count());
}
