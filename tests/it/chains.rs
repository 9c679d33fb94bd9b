//! Routers behind routers: they stream, they are told apart from loops, and they keep their keys to themselves.

use crate::support::router::free_port;
use crate::support::*;

const INNER_KEY: &str = "sk-inner-router-0123456789";

/// A router in front of `upstream`, and one in front of that router.
fn two(upstream: &Upstream) -> (Router, Router) {
    let inner = Config::single(&upstream.url()).master_key(INNER_KEY).start();
    let outer = Config::new().proxy("inner", &inner.url(), INNER_KEY, "").start();
    (outer, inner)
}

#[test]
fn a_proxy_without_is_fallback_takes_part_like_any_other() {
    let (plain, peer) = (Upstream::healthy(), Upstream::healthy());
    let config = Config::new().credential("plain", &plain.url(), "");
    let router = config.proxy("peer", &peer.url(), INNER_KEY, "").start();
    for _ in 0..10 {
        router.chat(&chat("m")).expect(200);
    }
    assert_eq!((plain.count(), peer.count()), (5, 5));
}

#[test]
fn a_stream_passes_two_routers_chunk_by_chunk() {
    let upstream = Upstream::scripted(|call| Reply::chat_stream(call, &["a", "b", "c", "d"]).paced(ms(400)));
    let (outer, _inner) = two(&upstream);
    let mut events = outer.stream(&chat_streamed("m")).expect(200);
    events.next_text().expect("a first word");
    assert!(!upstream.only().finished(), "the first word arrived after the last was sent");
    let all = events.rest();
    assert_eq!(stream::text(&all), "bcd");
    assert!(all.last().unwrap().is_done());
    let whole: String = String::from_utf8_lossy(&events.bytes).into();
    assert_eq!(whole, chat_frames("m", &["a", "b", "c", "d"], false).concat());
}

#[test]
fn three_routers_carry_a_request_and_its_usage() {
    let upstream = Upstream::healthy();
    let (middle, inner) = two(&upstream);
    let outer = Config::new().proxy("middle", &middle.url(), MASTER_KEY, "tpm: 100000").start();
    assert_eq!(outer.chat(&chat("m")).expect(200).content(), "Hello there");
    let call = upstream.only();
    assert_eq!(call.key, Some(key_of("a")));
    assert!(call.headers.iter().all(|(_, v)| !v.contains(MASTER_KEY) && !v.contains(INNER_KEY)));
    outer.settles("middle", 12);
    assert_eq!(inner.health_of("a")["current_rpm"], 1);
    let mut events = outer.stream(&chat_streamed("m")).expect(200);
    assert_eq!(stream::text(&events.rest()), "Hello there");
}

#[test]
fn a_broken_stream_is_broken_through_a_chain() {
    let upstream = Upstream::always(respond(200).open_sse([role("m"), word("m", "Hel")]).close());
    let (outer, _inner) = two(&upstream);
    let all = outer.stream(&chat_streamed("m")).expect(200).rest();
    assert!(all.last().unwrap().is_error());
    assert!(!all.iter().any(stream::Event::is_done));
    assert_eq!(upstream.count(), 1);
}

#[test]
fn a_request_that_comes_back_is_ended_with_508_at_once() {
    let (first, second) = (free_port(), free_port());
    let url = |port: u16| format!("http://127.0.0.1:{port}");
    let a = Config::new().proxy("b", &url(second), MASTER_KEY, "").start_on(first);
    let b = Config::new().proxy("a", &url(first), MASTER_KEY, "").start_on(second);
    for router in [&a, &b] {
        let answer = router.chat(&chat("m")).expect(508);
        answer.error();
        assert!(answer.took < secs(3), "took {:?}", answer.took);
    }
    let visits = || [&a, &b].iter().map(|router| router.chat_log().len()).sum::<usize>();
    until("each loop is three requests", || visits() >= 6);
    std::thread::sleep(ms(200));
    assert_eq!(visits(), 6, "a loop was retried");
    assert_eq!(a.health_of("b")["is_banned"], false, "a loop is nobody's failure");
}

#[test]
fn a_peer_s_508_is_never_retried() {
    let upstream = Upstream::always(respond(508).error("loop", "api_error", Some("loop_detected")));
    let router = Config::new()
        .proxy("a", &upstream.url(), INNER_KEY, "")
        .proxy("b", &upstream.url(), INNER_KEY, "")
        .start();
    router.chat(&chat("m")).expect(508);
    assert_eq!(upstream.count(), 1);
}

#[test]
fn a_keyless_proxy_sends_no_key_and_its_401_is_told_to_the_operator() {
    let peer =
        Upstream::always(respond(401).error("no key", "authentication_error", Some("invalid_api_key")));
    let router = Config::new().keyless("proxy", "keyless_peer", &peer.url(), "").start();
    let answer = router.chat(&chat("m"));
    assert!(matches!(answer.status, 502 | 503), "{}", answer.status);
    for call in peer.calls() {
        assert_eq!(call.header("authorization"), None, "a key was sent that nobody configured");
        assert_eq!(call.header("x-api-key"), None);
    }
    until("the operator can read about it", || {
        let log = router.stderr() + &router.stdout();
        log.contains("keyless_peer") && log.contains("401")
    });
}

#[test]
fn a_peer_that_is_down_does_not_stop_a_start() {
    let router = Config::new().proxy("gone", &Upstream::refused(), INNER_KEY, "").start();
    router.get("/health/live").expect(200);
    assert!(router.chat(&chat("m")).status >= 500);
}
