//! Heads that can be read in two ways: each is answered by a 4xx and a closed connection, reaches nobody, and strikes nobody.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Instant;

use crate::support::*;

/// Sends bytes as they are; the status, if there is an answer, and whether the connection is closed behind it.
fn raw(router: &Router, bytes: &[u8]) -> (Option<u16>, bool) {
    let mut tcp = TcpStream::connect(router.address()).unwrap();
    tcp.set_read_timeout(Some(secs(8))).unwrap();
    let _ = tcp.write_all(bytes);
    let mut answer = Vec::new();
    let closed = tcp.read_to_end(&mut answer).is_ok();
    let text = String::from_utf8_lossy(&answer);
    assert!(
        text.matches("HTTP/1.1 ").count() <= 1,
        "two answers to {:?}: {text}",
        String::from_utf8_lossy(bytes)
    );
    (text.split(' ').nth(1).and_then(|status| status.parse().ok()), closed)
}

/// Request lines and headers, each with what is wrong with it.
fn hostile() -> Vec<Vec<u8>> {
    let body = r#"{"model":"m","messages":[{"role":"user","content":"hi"}]}"#;
    let lines = [
        "POST /v1/chat/completions HTTP/1.1\nHost: a\n",
        "POST /v1/chat/completions HTTP/1.1\r\nHost: a\nX: y\r\n",
        "POST  /v1/chat/completions HTTP/1.1\r\nHost: a\r\n",
        "POST /v1/chat/completions HTTP/1.2\r\nHost: a\r\n",
        "POST /v1//chat/completions HTTP/1.1\r\nHost: a\r\n",
        "POST /v1/../v1/chat/completions HTTP/1.1\r\nHost: a\r\n",
        "POST /v1/%2e%2e/v1/chat/completions HTTP/1.1\r\nHost: a\r\n",
        "POST /v1%2fchat/completions HTTP/1.1\r\nHost: a\r\n",
        "POST /v1/chat/completions#x HTTP/1.1\r\nHost: a\r\n",
        "POST /v1/chat/completions\0 HTTP/1.1\r\nHost: a\r\n",
        "POST /v1/chat\x7f/completions HTTP/1.1\r\nHost: a\r\n",
        "TRACE /v1/chat/completions HTTP/1.1\r\nHost: a\r\n",
        "CONNECT a:443 HTTP/1.1\r\nHost: a\r\n",
        "POST /v1/chat/completions HTTP/1.1\r\n",
        "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nHost: a\r\n",
        "POST /v1/chat/completions HTTP/1.1\r\nHost: a/v1/models?x\r\n",
        "POST /v1/chat/completions HTTP/1.1\r\nHost:\r\n",
        "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n",
        "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n",
        "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n",
        "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nX : a\r\n",
        "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nno colon\r\n",
        "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n",
        "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n",
        "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n",
    ];
    let length = format!("Content-Length: {}\r\n", body.len());
    let of = |line: &str| {
        let key = format!("Authorization: Bearer {MASTER_KEY}\r\nContent-Type: application/json\r\n");
        format!("{line}{key}{length}\r\n{body}").into_bytes()
    };
    let mut all: Vec<_> = lines.iter().map(|line| of(line)).collect();
    all.push(of(&format!("POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\n{}", "X: y\r\n".repeat(120))));
    all.push(of(&format!("POST /v1/chat/completions?{} HTTP/1.1\r\nHost: a\r\n", "x".repeat(9000))));
    all.push(of(&format!("POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nX: {}\r\n", "x".repeat(70_000))));
    all
}

#[test]
fn what_can_be_read_in_two_ways_is_refused_and_reaches_nobody() {
    let upstream = Upstream::healthy();
    let config = Config::single(&upstream.url()).fail2ban("max_attempts: 1\nban_duration: permanent");
    let router = config.start();
    let all = hostile();
    let answers = at_once(4, |n| {
        let part = all.iter().skip(n).step_by(4);
        part.map(|bytes| (bytes, raw(&router, bytes))).collect::<Vec<_>>()
    });
    for (bytes, (status, closed)) in answers.into_iter().flatten() {
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(200)]);
        let refused = matches!(status, Some(400 | 405 | 414 | 431));
        assert!(refused && closed, "{status:?} (closed: {closed}) for {shown:?}");
    }
    assert_eq!(upstream.heads().len(), upstream.discoveries(), "something went upstream");
    let entry = router.health_of("a");
    assert!(entry["is_banned"] == false && entry["strikes"] == 0, "{entry:#}");
    router.chat(&chat("m")).expect(200);
    let rejected = router.metric("auto_ai_router_rejected_total", &[("reason", "malformed_head")]);
    assert_eq!(rejected, Some(all.len() as f64));
}

/// The head of a chat as an HTTP/2 frame that ends its stream; no field is indexed.
fn http2_head(router: &Router, path: &str, odd: (&str, &str)) -> Vec<u8> {
    let key = format!("Bearer {}", router.key());
    let mut block = Vec::new();
    let fields = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "a"),
        ("authorization", &key),
    ];
    for (name, value) in fields.into_iter().chain([odd]) {
        block.push(0);
        for text in [name, value] {
            block.push(u8::try_from(text.len()).unwrap());
            block.extend_from_slice(text.as_bytes());
        }
    }
    let length = u32::try_from(block.len()).unwrap().to_be_bytes();
    [&length[1..], &[1, 5, 0, 0, 0, 1], &block].concat()
}

#[test]
fn over_http2_a_head_is_held_to_the_same_grammar() {
    let upstream = Upstream::healthy();
    let router = Config::single(&upstream.url()).start();
    let path = "/v1/chat/completions";
    let hostile = [
        (path, ("x-odd", " a")),
        (path, ("x-odd", "a\t")),
        ("/v1//chat/completions", ("x-odd", "a")),
        ("/v1%2fchat/completions", ("x-odd", "a")),
    ];
    for (path, odd) in hostile {
        let mut tcp = TcpStream::connect(router.address()).unwrap();
        tcp.set_read_timeout(Some(secs(8))).unwrap();
        let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
        tcp.write_all(&[preface, &http2_head(&router, path, odd)[..]].concat()).unwrap();
        let mut answer = [0; 4096];
        while !String::from_utf8_lossy(&answer).contains("invalid_request") {
            assert!(tcp.read(&mut answer).is_ok_and(|read| read > 0), "{path} {odd:?} is not refused");
        }
    }
    let rejected = router.metric("auto_ai_router_rejected_total", &[("reason", "malformed_head")]);
    assert_eq!(rejected, Some(hostile.len() as f64));
    assert_eq!(upstream.heads().len(), upstream.discoveries(), "something went upstream");
}

#[test]
fn a_model_may_have_a_slash_in_its_name_and_an_address_its_own_host() {
    let upstream = Upstream::healthy().lists(&["meta/llama"]);
    let router = Config::single(&upstream.url()).start();
    until("it is known", || router.get("/v1/models/meta%2Fllama").status == 200);
    let mut conn = Conn::open(router.address());
    let key = router.key();
    let line = format!("GET http://{}/v1/models HTTP/1.1\r\n", router.address());
    conn.write(format!("{line}Host: {}\r\nAuthorization: Bearer {key}\r\n\r\n", router.address()).as_bytes());
    conn.answer().expect(200);
}

#[test]
fn a_head_that_drips_is_cut_and_costs_nobody_else() {
    let router = Config::single(&Upstream::healthy().url()).server("header_timeout: 2s").start();
    let start = Instant::now();
    let cut = at_once(20, |n| {
        let mut tcp = TcpStream::connect(router.address()).unwrap();
        tcp.set_read_timeout(Some(ms(100))).unwrap();
        let mut answer = Vec::new();
        while start.elapsed() < secs(8) {
            if tcp.write_all(if n % 2 == 0 { b"x" } else { b"G" }).is_err() {
                return start.elapsed();
            }
            let mut byte = [0; 64];
            match tcp.read(&mut byte) {
                Ok(0) => return start.elapsed(),
                Ok(read) => answer.extend_from_slice(&byte[..read]),
                Err(_) => {}
            }
        }
        start.elapsed()
    });
    assert!(cut.iter().all(|time| *time < secs(6)), "{cut:?}");
    router.get("/v1/models").expect(200);
}
