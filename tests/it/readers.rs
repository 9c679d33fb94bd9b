//! What fresh readers of the code have found: each test stands for one fault that was seen happening.

use std::io::Read;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::*;

#[test]
fn empty_lines_before_a_request_hide_nothing_of_it() {
    let upstream = Upstream::healthy();
    let router = Config::single(&upstream.url()).start();
    let body = chat("m").to_string();
    let framing = format!("Content-Length: {}\r\nTransfer-Encoding: chunked", body.len());
    let head = Request::chat(&json!({})).head(&router, Some(&framing));
    let mut conn = Conn::open(router.address());
    conn.write(format!("\r\n\r\n{head}{body}").as_bytes());
    assert_eq!(conn.try_answer("POST").map(|answer| answer.status), Some(400));
    let large = format!("X-Large: {}", "x".repeat(70_000));
    let mut conn = Conn::open(router.address());
    let _ = conn.try_write(format!("\n\n{}", Request::get("/health").head(&router, Some(&large))).as_bytes());
    assert_eq!(conn.try_answer("GET").map(|answer| answer.status), Some(431));
    let mut conn = Conn::open(router.address());
    conn.write(format!("\r\n{}", Request::get("/health/live").head(&router, None)).as_bytes());
    assert_eq!(conn.answer().status, 200);
    assert_eq!(upstream.count(), 0);
}

#[test]
fn what_a_caller_wrote_into_a_refused_request_takes_no_credential_away() {
    let said = "Unrecognized request argument supplied: your credit balance is too low";
    let upstream =
        Upstream::queue([respond(400).error(said, "invalid_request_error", None), Reply::chat("m", "Hi")]);
    let router = Config::single(&upstream.url()).start();
    router.chat(&chat("m")).expect(400);
    router.chat(&chat("m")).expect(200);
}

#[test]
fn a_stream_without_a_word_for_errors_is_cut_where_it_broke() {
    let frame = "event: image_generation.partial_image\ndata: {\"b64_json\":\"QQ==\"}\n\n";
    let upstream = Upstream::scripted(move |_| respond(200).open_sse([frame]).reset());
    let router = Config::single(&upstream.url()).start();
    let body = json!({"model": "m", "prompt": "x", "stream": true});
    let mut events = Request::post("/v1/images/generations").json(&body).stream(&router).expect(200);
    events.rest();
    assert_eq!(events.end(), stream::End::Cut);
}

#[test]
fn pictures_are_no_tokens() {
    let picture = json!({"created": 1, "data": [{"b64_json": "A".repeat(400_000)}]});
    let upstream = Upstream::scripted(move |call| match call.path.as_str() {
        "/v1/images/generations" => respond(200).json(&picture),
        _ => Reply::good(call),
    });
    let router = Config::new().credential("a", &upstream.url(), "tpm: 50000").start();
    router.post("/v1/images/generations", &json!({"model": "m", "prompt": "x"})).expect(200);
    router.chat(&chat("m")).expect(200);
}

#[test]
fn an_upstream_that_takes_a_body_drop_by_drop_is_given_up_at_the_deadline() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut socket in listener.incoming().take(4).flatten() {
            std::thread::spawn(move || {
                let mut drop = [0; 512];
                while socket.read(&mut drop).is_ok_and(|read| read > 0) {
                    std::thread::sleep(Duration::from_millis(200));
                }
            });
        }
    });
    let router = Config::single(&url).routing("deadline: 2s").start();
    let begun = Instant::now();
    let body = chat_of_size("m", 20 << 20);
    let answer = Request::post("/v1/chat/completions").body("application/json", body).send(&router);
    answer.expect(504);
    assert!(begun.elapsed() < Duration::from_secs(25), "{:?}", begun.elapsed());
}
