//! Admission: who is let in, how large a body may be, and which bodies are refused before anybody is asked.

use std::io::Write;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::*;

fn router(upstream: &Upstream) -> Router {
    Config::single(&upstream.url()).start()
}

/// A chat request that presents its key in `header`.
fn presenting(header: &str, value: &str) -> Request {
    Request::chat(&chat("m")).keyless().header(header, value)
}

#[test]
fn the_key_is_taken_from_any_of_its_three_places() {
    let upstream = Upstream::healthy();
    let router = router(&upstream);
    for scheme in ["Bearer", "bearer", "BEARER", "bEaReR"] {
        presenting("authorization", &format!("{scheme} {MASTER_KEY}")).send(&router).expect(200);
    }
    presenting("x-api-key", MASTER_KEY).send(&router).expect(200);
    presenting("api-key", MASTER_KEY).send(&router).expect(200);
    assert_eq!(upstream.count(), 6);
    assert!(upstream.calls().iter().all(|c| c.key == Some(key_of("a"))));
}

#[test]
fn every_other_key_gets_one_and_the_same_401() {
    let upstream = Upstream::healthy();
    let router = router(&upstream);
    let almost = &MASTER_KEY[..MASTER_KEY.len() - 1];
    let wrong = [
        presenting("authorization", &format!("Bearer {almost}")),
        presenting("authorization", &format!("Bearer {MASTER_KEY}x")),
        presenting("authorization", "Bearer x"),
        presenting("x-api-key", "sk-wrong"),
        presenting("x-api-key", &key_of("a")),
    ];
    let answers: Vec<_> = wrong.iter().map(|r| r.send(&router).expect(401)).collect();
    assert!(answers.iter().all(|a| a.body == answers[0].body), "one wrong key is told from another");
    let malformed = [
        Request::chat(&chat("m")).keyless(),
        presenting("authorization", MASTER_KEY),
        presenting("authorization", "Bearer "),
        presenting("authorization", &format!("Basic {MASTER_KEY}")),
        presenting("api-key", ""),
    ];
    for answer in malformed.iter().map(|r| r.send(&router).expect(401)).chain(answers) {
        assert_eq!(answer.code(), "invalid_api_key");
        assert!(!answer.text().contains("sk-"), "a key is echoed: {}", answer.text());
    }
    assert_eq!(upstream.count(), 0);
}

#[test]
fn a_wrong_key_is_refused_before_its_body_is_read() {
    let upstream = Upstream::healthy();
    let router = router(&upstream);
    let mut conn = Conn::open(router.address());
    let head = presenting("authorization", "Bearer sk-wrong").head(&router, Some("Content-Length: 1000000"));
    conn.write(head.as_bytes());
    assert_eq!(conn.answer().expect(401).code(), "invalid_api_key");
}

#[test]
fn a_declared_body_over_the_limit_gets_a_413_that_the_client_sees() {
    let upstream = Upstream::healthy();
    let router = Config::single(&upstream.url()).server("max_body_size: 1MiB").start();
    for megabytes in [2, 3, 50] {
        let mut conn = Conn::open(router.address());
        let size = megabytes << 20;
        let head = Request::chat(&json!({})).head(&router, Some(&format!("Content-Length: {size}")));
        let mut writer = conn.writer();
        let upload = std::thread::spawn(move || {
            let _ = writer.write_all(head.as_bytes());
            let piece = vec![b'x'; 64 * 1024];
            (0..size / piece.len()).take_while(|_| writer.write_all(&piece).is_ok()).count()
        });
        let answer = conn.try_answer("POST").unwrap_or_else(|| panic!("no 413 was seen at {megabytes} MiB"));
        assert!(answer.expect(413).message().contains("1"), "the limit is named");
        let written = upload.join().unwrap() * 64 * 1024;
        assert!(written < 30 << 20, "{written} bytes of a refused body were read");
    }
    assert_eq!(upstream.count(), 0);
}

#[test]
fn a_chunked_body_over_the_limit_gets_a_413_too() {
    let upstream = Upstream::healthy();
    let router = Config::single(&upstream.url()).server("max_body_size: 1MiB").start();
    let body = chat_of_size("m", 2 << 20);
    let mut conn = Conn::open(router.address());
    let bytes =
        Request::post("/v1/chat/completions").body("application/json", body).chunked_bytes(&router, 16384);
    let mut writer = conn.writer();
    let upload = std::thread::spawn(move || writer.write_all(&bytes));
    conn.answer().expect(413).error();
    let _ = upload.join();
    assert_eq!(upstream.count(), 0);
    router.chat(&chat("m")).expect(200);
}

#[test]
fn a_head_that_drips_is_cut_off() {
    let upstream = Upstream::healthy();
    let router = router(&upstream);
    let mut conn = Conn::open(router.address());
    let mut writer = conn.writer();
    let start = Instant::now();
    std::thread::spawn(move || {
        let head = format!("POST /v1/chat/completions HTTP/1.1\r\nX-Slow: {}", "x".repeat(200));
        head.bytes().all(|b| {
            std::thread::sleep(ms(200));
            writer.write_all(&[b]).is_ok()
        })
    });
    if let Some(answer) = conn.try_answer("POST") {
        answer.expect(408);
    }
    assert!(start.elapsed() < secs(20), "a head may not take {:?}", start.elapsed());
}

#[test]
fn a_body_that_drips_gets_a_408_in_time() {
    let upstream = Upstream::healthy();
    let router = Config::single(&upstream.url()).server("body_timeout: 1s").start();
    let mut conn = Conn::open(router.address());
    conn.write(Request::chat(&json!({})).head(&router, Some("Content-Length: 1000")).as_bytes());
    let mut writer = conn.writer();
    std::thread::spawn(move || {
        (0..100).all(|_| {
            std::thread::sleep(ms(50));
            writer.write_all(b" ").is_ok()
        })
    });
    let answer = conn.answer().expect(408);
    answer.error();
    assert!(answer.took > ms(800) && answer.took < secs(8), "took {:?}", answer.took);
    assert_eq!(upstream.count(), 0);
}

#[test]
fn expect_100_continue_is_answered_before_the_body_comes() {
    let upstream = Upstream::healthy();
    let router = router(&upstream);
    let body = chat("m").to_string();
    let mut conn = Conn::open(router.address());
    let request = Request::post("/v1/chat/completions").header("Expect", "100-continue");
    conn.write(request.head(&router, Some(&format!("Content-Length: {}", body.len()))).as_bytes());
    let first = conn.head().expect("an interim answer");
    assert!(first.start.starts_with("HTTP/1.1 100"), "{}", first.start);
    conn.write(body.as_bytes());
    conn.answer().expect(200);
    assert_eq!(upstream.only().header("expect"), None);
}

#[test]
fn expect_100_continue_of_a_body_too_large_is_refused_without_asking_for_it() {
    let upstream = Upstream::healthy();
    let router = Config::single(&upstream.url()).server("max_body_size: 1MiB").start();
    let mut conn = Conn::open(router.address());
    let request = Request::post("/v1/chat/completions").header("Expect", "100-continue");
    conn.write(request.head(&router, Some("Content-Length: 9000000")).as_bytes());
    let answer = conn.answer().expect(413);
    assert!(answer.informational.is_empty());
}

#[test]
fn a_chunked_body_arrives_upstream_whole_and_with_its_length() {
    let upstream = Upstream::healthy();
    let router = router(&upstream);
    let body = chat_of_size("m", 300_000);
    let request = Request::post("/v1/chat/completions").body("application/json", body.clone());
    request.send_chunked(&router, 1000).expect(200);
    let call = upstream.only();
    assert!(!call.chunked && call.body == body);
    assert_eq!(call.header("content-length"), Some(body.len().to_string().as_str()));
}

#[test]
fn http_2_without_tls_is_served() {
    let upstream = Upstream::healthy();
    let router = router(&upstream);
    let body = chat("m").to_string();
    for length in [true, false] {
        let answer = h2c::post(&router, "/v1/chat/completions", body.as_bytes(), 16384, length).expect(200);
        assert_eq!(answer.content(), "Hello there");
    }
    assert!(upstream.calls().iter().all(|c| c.body == body.as_bytes() && !c.chunked));
}

#[test]
fn a_connection_is_kept_for_the_next_request() {
    let upstream = Upstream::healthy();
    let router = router(&upstream);
    let mut conn = Conn::open(router.address());
    for _ in 0..3 {
        conn.write(&Request::chat(&chat("m")).bytes(&router));
        conn.answer().expect(200);
    }
    assert_eq!(upstream.count(), 3);
    assert!(upstream.calls().iter().all(|c| c.connection == upstream.calls()[0].connection));
}

/// What is wrong with a body, the body, and the member at fault where one is.
type BadBody = (&'static str, Vec<u8>, Option<&'static str>);

/// Bodies that are refused with a 400.
fn bad_bodies() -> Vec<BadBody> {
    let deep = format!(r#"{{"model":"m","x":{}1{}}}"#, "[".repeat(80), "]".repeat(80));
    let bytes = |text: &str| text.as_bytes().to_vec();
    let mut invalid = bytes(r#"{"model":"m","x":"?"}"#);
    let at = invalid.iter().position(|b| *b == b'?').unwrap();
    invalid[at] = 0xff;
    vec![
        ("empty", Vec::new(), None),
        ("white space", bytes("  \n "), None),
        ("an array", bytes(r#"[{"model":"m"}]"#), None),
        ("a string", bytes(r#""model""#), None),
        ("no model", bytes(r#"{"messages":[]}"#), Some("model")),
        ("a model that is a number", bytes(r#"{"model":4}"#), Some("model")),
        ("a model that is null", bytes(r#"{"model":null}"#), Some("model")),
        ("an empty model", bytes(r#"{"model":""}"#), Some("model")),
        ("two models", bytes(r#"{"model":"a","model":"b"}"#), Some("model")),
        ("a model in capitals beside it", bytes(r#"{"model":"a","MODEL":"b"}"#), Some("model")),
        ("a model in capitals alone", bytes(r#"{"Model":"a"}"#), Some("model")),
        ("a second model in disguise", bytes(r#"{"model":"a","mod\u0065l":"b"}"#), Some("model")),
        ("two streams", bytes(r#"{"model":"a","stream":true,"stream":false}"#), Some("stream")),
        ("bytes after the value", bytes(r#"{"model":"m"} {"model":"n"}"#), None),
        ("a comma too many", bytes(r#"{"model":"m",}"#), None),
        ("an end too early", bytes(r#"{"model":"m""#), None),
        ("a bad literal", bytes(r#"{"model":"m","x":NaN}"#), None),
        ("a bad number", bytes(r#"{"model":"m","x":01}"#), None),
        ("a control byte in a string", bytes("{\"model\":\"m\",\"x\":\"a\nb\"}"), None),
        ("invalid UTF-8", invalid, None),
        ("depth over 64", deep.into_bytes(), None),
    ]
}

#[test]
fn a_body_that_is_no_plain_json_object_is_refused_with_a_reason() {
    let upstream = Upstream::healthy();
    let router = router(&upstream);
    for (what, body, param) in bad_bodies() {
        let request = Request::post("/v1/chat/completions").body("application/json", body);
        let answer = request.send(&router);
        assert_eq!(answer.status, 400, "{what}: {}", answer.text());
        let error = answer.error();
        assert_eq!(error["type"], "invalid_request_error", "{what}");
        if let Some(param) = param {
            assert_eq!(error["param"], param, "{what}: {error}");
        }
    }
    assert_eq!(upstream.count(), 0);
}

#[test]
fn unusual_but_valid_bodies_pass_unchanged() {
    let upstream = Upstream::healthy();
    let router = router(&upstream);
    let deep = format!(r#"{{"model":"m","x":{}1{}}}"#, "[".repeat(60), "]".repeat(60));
    let bodies = [
        " \r\n\t{ \"model\" : \"m\" , \"n\": 1e-7 } \n",
        r#"{"messages":[{"role":"user","content":"\u00e9\ud83d\udc4b"}],"big":123456789012345678901234567890,"model":"m"}"#,
        r#"{"x":{"model":"inner","stream":true},"model":"m","stream":false,"stream_options":null}"#,
        &deep,
    ];
    for body in bodies {
        Request::post("/v1/chat/completions").body("application/json", body).send(&router).expect(200);
        assert_eq!(String::from_utf8_lossy(&upstream.last().body), body);
    }
}

#[test]
fn a_broken_chunk_is_the_clients_fault_and_bans_nobody() {
    let upstream = Upstream::healthy();
    let router = Config::single(&upstream.url()).fail2ban("max_attempts: 1\nban_duration: permanent").start();
    for _ in 0..4 {
        let mut conn = Conn::open(router.address());
        let head = Request::chat(&json!({})).head(&router, Some("Transfer-Encoding: chunked"));
        conn.write(head.as_bytes());
        conn.write(b"5\r\nhello\r\nzz\r\nboom\r\n");
        if let Some(answer) = conn.try_answer("POST") {
            answer.expect(400);
        }
    }
    assert_eq!(upstream.count(), 0);
    router.chat(&chat("m")).expect(200);
}

#[test]
fn framing_that_can_be_read_in_two_ways_is_refused() {
    let upstream = Upstream::healthy();
    let router = router(&upstream);
    let body = chat("m").to_string();
    let framings = [
        format!("Content-Length: {}\r\nTransfer-Encoding: chunked", body.len()),
        format!("Content-Length: {0}\r\nContent-Length: {0}", body.len()),
        "Transfer-Encoding: gzip, chunked".to_string(),
        "Content-Length: -1".to_string(),
    ];
    for framing in framings {
        let mut conn = Conn::open(router.address());
        conn.write(Request::chat(&json!({})).head(&router, Some(&framing)).as_bytes());
        let _ = conn.try_write(body.as_bytes());
        let status = conn.try_answer("POST").map(|a| a.status);
        assert!(matches!(status, Some(400) | None), "{framing}: {status:?}");
    }
    assert_eq!(upstream.count(), 0);
}

#[test]
fn a_wrong_path_is_told_the_right_one() {
    let upstream = Upstream::healthy();
    let router = router(&upstream);
    for path in ["/chat/completions", "/api/v1/chat/completions", "/v1/v1/chat/completions"] {
        let answer = router.post(path, &chat("m"));
        let answer = answer.expect(404);
        assert!(answer.message().contains("/v1/chat/completions"), "{path}: {}", answer.text());
    }
    router.get("/nothing/here").expect(404).error();
    assert_eq!(upstream.count(), 0);
}

#[test]
fn unread_uploads_hold_no_more_than_the_budget_of_buffered_bytes() {
    let upstream = Upstream::healthy();
    let router = Config::single(&upstream.url()).server("max_buffered: 8MiB\nmax_body_size: 4MiB").start();
    let body = chat_of_size("m", 3 << 20);
    let request = Request::post("/v1/chat/completions").body("application/json", body);
    let bytes = request.bytes(&router);
    let mut slow: Vec<_> = (0..2).map(|_| Conn::open(router.address())).collect();
    for conn in &mut slow {
        let _ = conn.try_write(&bytes[..bytes.len() - 10]);
    }
    // Both must have been read before a third competes with them for the budget.
    std::thread::sleep(ms(1000));
    let refused = eventually(Duration::from_secs(10), || {
        let answer = request.try_send(&router)?;
        (answer.status == 503).then_some(answer)
    });
    let answer = refused.expect("a spent budget refuses");
    answer.error();
    assert!(answer.header("retry-after").is_some());
    drop(slow);
    until("the budget comes back", || request.try_send(&router).is_some_and(|a| a.status == 200));
}

#[test]
fn a_head_larger_than_64_kib_is_refused_before_anything_else() {
    let upstream = Upstream::healthy();
    let router = router(&upstream);
    let large = |bytes: usize| Request::get("/v1/files").header("x-large", &"x".repeat(bytes));
    for size in [65 << 10, 120 << 10, 2 << 20] {
        let answer = large(size).send(&router).expect(431);
        assert!(answer.error().is_object(), "{}", answer.text());
    }
    large(60 << 10).send(&router).expect(200);
    assert_eq!(upstream.count(), 1);
}

#[test]
fn a_wrong_method_is_told_the_right_ones() {
    let upstream = Upstream::healthy();
    let router = router(&upstream);
    for (method, path, allow) in [
        ("GET", "/v1/embeddings", "POST"),
        ("DELETE", "/v1/chat/completions", "GET, POST"),
        ("POST", "/v1/models", "GET, HEAD"),
        ("POST", "/health", "GET, HEAD"),
    ] {
        let answer = Request::new(method, path).send(&router).expect(405);
        assert_eq!(answer.header("allow"), Some(allow), "{method} {path}");
        assert!(answer.message().contains(allow), "{}", answer.text());
    }
    assert_eq!(upstream.count(), 0);
}
