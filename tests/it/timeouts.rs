//! The configured times: each holds, and none holds where it should not.

use std::io::Write;
use std::time::{Duration, Instant};

use crate::support::*;

#[test]
fn a_head_that_never_comes_or_drips_is_ended_after_header_timeout() {
    let upstream = Upstream::healthy();
    let router = Config::single(&upstream.url()).server("header_timeout: 1s").start();
    for first in ["", "GET /v1/models HTTP/1.1\r\nHost: x\r\n"] {
        let mut conn = Conn::open(router.address());
        let mut writer = conn.writer();
        let drips = !first.is_empty();
        conn.write(first.as_bytes());
        std::thread::spawn(move || {
            while drips && writer.write_all(b"x-drip: 1\r\n").is_ok() {
                std::thread::sleep(ms(200));
            }
        });
        let answer = conn.answer().expect(408);
        assert!(
            answer.error().is_object() && answer.took > ms(800) && answer.took < secs(3),
            "{:?}",
            answer.took
        );
    }
}

#[test]
fn an_idle_connection_is_kept_for_keepalive_timeout() {
    let upstream = Upstream::healthy();
    let router = Config::single(&upstream.url()).server("keepalive_timeout: 2s\nheader_timeout: 1s").start();
    let mut conn = Conn::open(router.address());
    for _ in 0..2 {
        conn.write(&Request::chat(&chat("m")).bytes(&router));
        conn.answer().expect(200);
        std::thread::sleep(ms(1200));
    }
    let start = Instant::now();
    assert!(conn.closes_within(secs(5)), "an idle connection is kept for ever");
    assert!(start.elapsed() < secs(2), "{:?}", start.elapsed());
}

#[test]
fn an_upstream_that_does_not_take_the_connection_has_connect_timeout() {
    let (deaf, good) = (Deaf::new(), Upstream::healthy());
    let config = Config::new().credential("deaf", &deaf.url, "connect_timeout: 1s\npriority: 0");
    let router = config.credential("good", &good.url(), "connect_timeout: 9s\npriority: 1").start();
    for request in [Request::chat(&chat("m")), Request::get("/v1/files")] {
        let answer = request.send(&router).expect(200);
        assert!(answer.took > ms(800) && answer.took < secs(3), "{:?}", answer.took);
    }
    assert_eq!(good.count(), 2);
}

#[test]
fn connect_timeout_includes_tls() {
    let (silent, good) = (Upstream::always(Reply::silence()), Upstream::healthy());
    let url = silent.url().replace("http://", "https://");
    let config = Config::new().credential("silent", &url, "connect_timeout: 1s\npriority: 0");
    let router = config.credential("good", &good.url(), "priority: 1").start();
    for request in [Request::chat(&chat("m")), Request::get("/v1/files")] {
        let answer = request.send(&router).expect(200);
        assert!(answer.took > ms(800) && answer.took < ms(1800), "{:?}", answer.took);
    }
}

#[test]
fn a_request_timeout_of_minus_one_ends_nothing() {
    let slow = |call: &Call| Reply::good(call).after(ms(1500));
    let upstream = Upstream::scripted(slow);
    let one = Config::single(&upstream.url()).never_bans().server("request_timeout: 1s").start();
    let none = Config::single(&upstream.url()).never_bans().server("request_timeout: -1").start();
    for request in
        [Request::chat(&chat("m")), Request::chat(&chat_streamed("m")), Request::get("/v1/files/f")]
    {
        request.send(&one).expect(504);
        request.send(&none).expect(200);
    }
}

#[test]
fn an_answer_may_take_longer_than_the_times_of_its_request() {
    const SHORT: &str = "header_timeout: 1s\nbody_timeout: 1s\nkeepalive_timeout: 1s";
    let upstream = Upstream::scripted(|call| Reply::good(call).after(Duration::from_millis(2500)));
    let router = Config::single(&upstream.url()).server(SHORT).start();
    for request in [Request::chat(&chat("m")), Request::get("/v1/files/f")] {
        request.send(&router).expect(200);
    }
}
