//! Requests that wait where everything is at its limit: served in order as soon as there is room, told the truth in time.

use std::time::Instant;

use crate::support::*;

fn narrow(upstream: &Upstream, wait: &str) -> Config {
    Config::new().credential("a", &upstream.url(), "max_concurrent: 1").routing(&format!("max_wait: {wait}"))
}

#[test]
fn those_who_wait_are_served_one_after_the_other_with_nothing_idle_between() {
    let upstream = Upstream::scripted(|call| Reply::good(call).after(ms(300)));
    let router = narrow(&upstream, "10s").start();
    let begun = Instant::now();
    let answers = at_once(6, |_| router.chat(&chat("m")));
    let took = begun.elapsed();
    assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 6);
    assert!((ms(1800)..ms(2600)).contains(&took), "{took:?}: six times 300 ms, and little more");
    assert_eq!(router.metric("auto_ai_router_queue_waiting", &[("class", "normal")]), Some(0.0));
    assert_eq!(router.metric("auto_ai_router_queue_seconds_count", &[("outcome", "served")]), Some(5.0));
}

#[test]
fn who_waits_for_a_window_is_served_when_its_second_has_left() {
    let upstream = Upstream::healthy();
    let router =
        Config::new().credential("a", &upstream.url(), "requests: 2 per 2s").routing("max_wait: 10s").start();
    let begun = Instant::now();
    let answers = at_once(6, |_| router.chat(&chat("m")));
    assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 6);
    let took = begun.elapsed();
    assert!((secs(4)..ms(7500)).contains(&took), "{took:?}: three times two, in windows of two seconds");
}

#[test]
fn who_has_waited_in_vain_is_told_so_and_a_full_queue_refuses_at_once() {
    let upstream = Upstream::scripted(|call| Reply::good(call).after(secs(4)));
    let router = narrow(&upstream, "2s\nmax_queue: 1").start();
    std::thread::scope(|scope| {
        let first = scope.spawn(|| router.chat(&chat("m")));
        until("the first is under way", || upstream.count() == 1);
        let begun = Instant::now();
        let waits = scope.spawn(|| router.chat(&chat("m")));
        until("another waits", || router.health()["queue"]["waiting"] == 1);
        router.chat(&chat("m")).expect(429);
        assert!(begun.elapsed() < ms(1500), "{:?}", begun.elapsed());
        let refused = waits.join().unwrap().expect(429);
        assert!((ms(1900)..ms(3500)).contains(&begun.elapsed()), "{:?}", begun.elapsed());
        assert!(refused.header("retry-after").is_some());
        first.join().unwrap().expect(200);
    });
    let queue = router.health()["queue"].clone();
    assert_eq!((&queue["given_up"], &queue["refused"]), (&1.into(), &1.into()), "{queue:#}");
}

#[test]
fn a_client_that_leaves_gives_its_place_to_the_next() {
    let upstream = Upstream::scripted(|call| Reply::good(call).after(ms(1200)));
    let router = narrow(&upstream, "10s").start();
    std::thread::scope(|scope| {
        let first = scope.spawn(|| router.chat(&chat("m")));
        until("the first is under way", || upstream.count() == 1);
        let body = chat("m").to_string();
        let mut client = std::net::TcpStream::connect(router.address()).unwrap();
        let head = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: r\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            router.key(), body.len()
        );
        std::io::Write::write_all(&mut client, head.as_bytes()).unwrap();
        until("it waits", || router.health()["queue"]["waiting"] == 1);
        drop(client);
        until("nobody waits", || router.health()["queue"]["waiting"] == 0);
        router.chat(&chat("m")).expect(200);
        first.join().unwrap().expect(200);
    });
    assert_eq!(upstream.count(), 2);
}

#[test]
fn a_stopping_router_serves_those_who_wait() {
    let upstream = Upstream::scripted(|call| Reply::good(call).after(ms(700)));
    let mut router = narrow(&upstream, "10s").start();
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..3).map(|_| scope.spawn(|| router.chat(&chat("m")))).collect();
        until("two wait", || router.health()["queue"]["waiting"] == 2);
        router.sigterm();
        for client in clients {
            client.join().unwrap().expect(200);
        }
    });
    router.exit(secs(10)).expect("it leaves");
}

#[test]
fn a_reload_keeps_those_who_wait() {
    let upstream = Upstream::scripted(|call| Reply::good(call).after(ms(1500)));
    let router = narrow(&upstream, "10s").start();
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..2).map(|_| scope.spawn(|| router.chat(&chat("m")))).collect();
        until("one waits", || router.health()["queue"]["waiting"] == 1);
        router.rewrite(&narrow(&upstream, "11s"));
        assert_eq!(router.admin("/admin/reload").0, 200);
        for client in clients {
            client.join().unwrap().expect(200);
        }
    });
}
