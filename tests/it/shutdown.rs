//! SIGTERM: readiness fails, what flows is finished, and the exit code is 0. SIGINT: at once.

use crate::support::*;

fn ready(router: &Router) -> Option<u16> {
    Request::get("/health/ready").keyless().try_send(router).map(|answer| answer.status)
}

#[test]
fn an_idle_router_leaves_at_once() {
    let upstream = Upstream::healthy();
    let mut router = Config::single(&upstream.url()).start();
    router.chat(&chat("m")).expect(200);
    router.sigterm();
    let status = router.exit(secs(5)).expect("an idle router leaves within seconds");
    assert_eq!(status.code(), Some(0));
}

#[test]
fn streams_finish_while_readiness_fails() {
    let upstream =
        Upstream::scripted(|call| Reply::chat_stream(call, &["a", "b", "c", "d", "e", "f"]).paced(ms(400)));
    let mut router = Config::single(&upstream.url()).server("drain_timeout: 20s").start();
    let mut events = router.stream(&chat_streamed("m")).expect(200);
    events.next_text().expect("a first word");
    router.sigterm();
    until("readiness fails", || matches!(ready(&router), None | Some(503)));
    assert_eq!(stream::text(&events.rest()), "bcdef");
    assert_eq!(events.end(), End::Clean);
    let status = router.exit(secs(8)).expect("it leaves when the stream has ended");
    assert_eq!(status.code(), Some(0));
    until("the stream is in the access log", || router.chat_log().len() == 1);
}

#[test]
fn a_unary_request_is_finished_as_well() {
    let upstream = Upstream::scripted(|call| Reply::good(call).after(ms(1200)));
    let mut router = Config::single(&upstream.url()).start();
    let mut conn = Conn::open(router.address());
    conn.write(&Request::chat(&chat("m")).bytes(&router));
    upstream.wait_for(0);
    router.sigterm();
    assert_eq!(conn.answer().expect(200).content(), "Hello there");
    assert_eq!(router.exit(secs(8)).expect("it leaves").code(), Some(0));
}

#[test]
fn what_outlasts_the_drain_is_told_so_before_the_cut() {
    let reply = respond(200).open_sse([role("m"), word("m", "Hel")]).hang();
    let upstream = Upstream::always(reply);
    let mut router = Config::single(&upstream.url()).server("drain_timeout: 2s").start();
    let mut events = router.stream(&chat_streamed("m")).expect(200);
    events.next_text().expect("a first word");
    let start = std::time::Instant::now();
    router.sigterm();
    let all = events.rest();
    assert!(all.last().is_some_and(stream::Event::is_error), "cut without a word: {all:?}");
    assert!(!all.iter().any(stream::Event::is_done));
    assert_eq!(router.exit(secs(8)).expect("the drain ends").code(), Some(0));
    assert!(start.elapsed() < secs(6), "took {:?}", start.elapsed());
}

#[test]
fn a_kept_connection_is_told_to_close() {
    let upstream = Upstream::scripted(|call| {
        if call.wants_stream() {
            Reply::chat_stream(call, &["a", "b", "c"]).paced(ms(700))
        } else {
            Reply::good(call)
        }
    });
    let mut router = Config::single(&upstream.url()).start();
    let mut kept = Conn::open(router.address());
    kept.write(&Request::chat(&chat("m")).bytes(&router));
    kept.answer().expect(200);
    let mut events = router.stream(&chat_streamed("m")).expect(200);
    router.sigterm();
    until("readiness fails", || matches!(ready(&router), None | Some(503)));
    let closed = kept.closes_within(ms(200));
    if !closed && kept.try_write(&Request::chat(&chat("m")).bytes(&router)).is_ok() {
        if let Some(answer) = kept.try_answer("POST") {
            assert_eq!(answer.header("connection").map(str::to_lowercase).as_deref(), Some("close"));
        }
    }
    events.rest();
    assert_eq!(router.exit(secs(10)).expect("it leaves").code(), Some(0));
}

#[test]
fn sigint_ends_it_at_once_and_tells_what_it_cut() {
    let upstream = Upstream::always(respond(200).open_sse([role("m"), word("m", "Hel")]).hang());
    let mut router = Config::single(&upstream.url()).server("drain_timeout: 60s").start();
    let mut events = router.stream(&chat_streamed("m")).expect(200);
    events.next_text().expect("a first word");
    router.signal("-INT");
    let status = router.exit(secs(5)).expect("it does not wait for streams");
    assert_eq!(status.code(), Some(0));
    events.rest();
    assert_ne!(events.end(), End::Clean);
}
