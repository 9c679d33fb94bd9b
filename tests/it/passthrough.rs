//! Everything under `/v1` that is no JSON question: bodyless requests, uploads, forms, sound and pictures.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use serde_json::json;

use crate::support::*;

fn form(model: Option<&str>, content: &[u8]) -> (String, Vec<u8>) {
    let boundary = "----router-test-boundary";
    let mut body = Vec::new();
    if let Some(model) = model {
        let field =
            format!("--{boundary}\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\n{model}\r\n");
        body.extend_from_slice(field.as_bytes());
    }
    let head = format!(
        "--{boundary}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\n\
         Content-Type: audio/wav\r\n\r\n"
    );
    body.extend_from_slice(head.as_bytes());
    body.extend_from_slice(content);
    body.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
    (format!("multipart/form-data; boundary={boundary}"), body)
}

#[test]
fn a_get_without_a_body_passes() {
    let upstream = Upstream::healthy();
    let router = Config::single(&upstream.url()).start();
    let answer = router.get("/v1/files?limit=3&order=desc").expect(200);
    assert_eq!(answer.json()["path"], "/v1/files");
    let call = upstream.only();
    assert_eq!((call.method.as_str(), call.path.as_str()), ("GET", "/v1/files?limit=3&order=desc"));
    assert_eq!(call.key, Some(key_of("a")));
    assert!(call.body.is_empty() && !call.chunked);
    router.get("/v1/fine_tuning/jobs").expect(200);
    Request::new("DELETE", "/v1/things/x").send(&router).expect(200);
    assert_eq!(upstream.last().method, "DELETE");
    Request::get("/v1/files").keyless().send(&router).expect(401);
    assert_eq!(upstream.count(), 3);
}

#[test]
fn bodyless_requests_share_bans_and_limits() {
    let upstream = Upstream::healthy();
    let router = Config::new().credential("a", &upstream.url(), "rpm: 2").start();
    router.get("/v1/files").expect(200);
    router.chat(&chat("m")).expect(200);
    let answer = router.get("/v1/files").expect(429);
    assert_eq!(answer.code(), "rate_limit_exceeded");
    assert_eq!(upstream.count(), 2);
}

#[test]
fn a_bodyless_request_whose_upstream_fails_goes_elsewhere() {
    let good = Upstream::healthy();
    let config = Config::new().never_bans().credential("dead", &Upstream::refused(), "priority: 0");
    let router = config.credential("live", &good.url(), "priority: 1").start();
    router.get("/v1/files").expect(200);
}

#[test]
fn an_upload_larger_than_any_body_streams_through_with_its_length() {
    const SIZE: usize = 64 << 20;
    let upstream = Upstream::healthy();
    let router = Config::single(&upstream.url()).server("max_body_size: 1MiB").start();
    let mut conn = Conn::open(router.address());
    let request =
        Request::post("/v1/uploads/upload_1/parts").header("content-type", "application/octet-stream");
    conn.write(request.head(&router, Some(&format!("Content-Length: {SIZE}"))).as_bytes());
    let piece: Vec<u8> = (0..1 << 20).map(|n| (n * 7 % 251) as u8).collect();
    conn.write(&piece);
    until("the upload has begun upstream", || {
        upstream.heads().iter().any(|(_, path)| path.contains("/parts"))
    });
    let before = router.resident_kib();
    for _ in 1..SIZE / piece.len() {
        conn.write(&piece);
    }
    let grown = router.resident_kib().saturating_sub(before);
    assert_eq!(conn.answer().expect(200).json()["bytes"], SIZE);
    let call = upstream.only();
    assert!(call.body.chunks(piece.len()).all(|c| c == piece) && !call.chunked);
    assert_eq!(call.header("content-length"), Some(SIZE.to_string().as_str()));
    assert!(grown < 16 * 1024, "{grown} KiB were kept of a stream");
}

#[test]
fn a_chunked_upload_is_never_forwarded_as_such() {
    let upstream = Upstream::healthy();
    let router = Config::single(&upstream.url()).start();
    let (kind, body) = form(None, &[7; 100_000]);
    let request = Request::post("/v1/files").body(&kind, body.clone());
    request.send_chunked(&router, 5000).expect(200);
    let raw = Request::post("/v1/uploads/u/parts").body("application/octet-stream", vec![1; 50_000]);
    let answer = raw.send_chunked(&router, 5000);
    assert!(matches!(answer.status, 200 | 411), "{}", answer.status);
    h2c::post(&router, "/v1/uploads/u/parts", &[2; 50_000], 5000, false);
    assert!(upstream.calls().iter().all(|c| !c.chunked), "a chunked body reached the provider");
    assert!(upstream.calls()[0].body == body);
}

#[test]
fn a_form_is_routed_by_its_model_and_fails_over_whole() {
    let upstream = Upstream::scripted(|call| match call.number {
        0 => respond(500).error("no", "server_error", None),
        _ => Reply::good(call),
    });
    let router = Config::pool(&["a", "b", "c"], &upstream.url())
        .model("name: whisper-1\ncredential: b")
        .model("name: whisper-1\ncredential: c")
        .start();
    let content: Vec<u8> = (0..200_000u32).map(|n| (n % 256) as u8).collect();
    let (kind, body) = form(Some("whisper-1"), &content);
    Request::post("/v1/audio/transcriptions").body(&kind, body.clone()).send(&router).expect(200);
    let calls = upstream.calls();
    assert_eq!(calls.len(), 2);
    assert!(calls.iter().all(|c| c.body == body && c.key != Some(key_of("a"))));
    assert_eq!(calls[1].header("content-type"), Some(kind.as_str()));
    let (kind, body) = form(Some("whisper-9"), b"x");
    let answer = Request::post("/v1/audio/transcriptions").body(&kind, body).send(&router).expect(404);
    assert_eq!(answer.code(), "model_not_found");
}

#[test]
fn the_alias_of_a_form_is_rewritten() {
    let upstream = Upstream::healthy();
    let router = Config::new().credential("a", &upstream.url(), "models:\n  - ears: whisper-1-large").start();
    let (kind, body) = form(Some("ears"), b"RIFF");
    Request::post("/v1/audio/transcriptions").body(&kind, body).send(&router).expect(200);
    let (_, expected) = form(Some("whisper-1-large"), b"RIFF");
    assert_eq!(upstream.only().body, expected);
}

#[test]
fn sound_and_other_bytes_come_back_as_they_are() {
    let sound: Vec<u8> = (0..300_000u32).map(|n| (n * 31 % 256) as u8).collect();
    let sent = sound.clone();
    let upstream = Upstream::scripted(move |_| respond(200).body("audio/mpeg", &sent).split(10_000));
    let router = Config::single(&upstream.url()).start();
    let body = json!({"model": "tts-1", "input": "hello", "voice": "alloy"});
    let answer = router.post("/v1/audio/speech", &body).expect(200);
    assert!(answer.body == sound);
    assert_eq!(answer.header("content-type"), Some("audio/mpeg"));
}

#[test]
fn every_json_endpoint_is_routed_by_its_model() {
    let upstream = Upstream::healthy();
    let router = Config::pool(&["a", "b"], &upstream.url()).model("name: m\ncredential: b").start();
    let paths = [
        "/v1/completions",
        "/v1/embeddings",
        "/v1/responses",
        "/v1/moderations",
        "/v1/images/generations",
        "/v1/audio/speech",
        "/v1/rerank",
    ];
    for path in paths {
        router.post(path, &json!({"model": "m", "input": "x", "prompt": "x"})).expect(200);
        assert_eq!(upstream.last().path, path);
        assert_eq!(upstream.last().key, Some(key_of("b")), "{path}");
    }
}

#[test]
fn a_client_that_stops_an_upload_ends_it_upstream() {
    let upstream = Upstream::healthy();
    let router = Config::single(&upstream.url()).fail2ban("max_attempts: 1\nban_duration: permanent").start();
    let mut conn = Conn::open(router.address());
    let request = Request::post("/v1/uploads/u/parts").header("content-type", "application/octet-stream");
    conn.write(request.head(&router, Some("Content-Length: 10000000")).as_bytes());
    conn.writer().write_all(&[0; 100_000]).unwrap();
    until("the upload has begun upstream", || !upstream.heads().is_empty());
    drop(conn);
    router.chat(&chat("m")).expect(200);
    assert_eq!(router.health_of("a")["is_banned"], false, "a client's departure is no strike");
}

/// The first failure that strikes bans for good.
const STRICT: &str = "max_attempts: 1\nban_duration: permanent";

fn strict(upstream: &Upstream) -> Config {
    Config::single(&upstream.url()).fail2ban(STRICT)
}

#[track_caller]
fn is_not_banned(router: &Router) {
    let entry = router.health_of("a");
    assert!(entry["is_banned"] == false && entry["strikes"] == 0, "{entry:#}");
}

fn part() -> Request {
    Request::post("/v1/uploads/u/parts")
}

fn upload(content: &[u8]) -> Request {
    part().body("application/octet-stream", content)
}

/// The beginning of an upload of `length` bytes, without any of them.
fn open_upload(router: &Router, length: usize, extra: &str) -> Conn {
    let mut conn = Conn::open(router.address());
    conn.write(part().head(router, Some(&format!("Content-Length: {length}{extra}"))).as_bytes());
    conn
}

#[test]
fn informational_heads_of_an_upstream_are_no_answer() {
    let upstream = Upstream::scripted(|call| {
        let early = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n";
        Reply::default().send(early).then(Reply::good(call).after(ms(20)))
    });
    let router = strict(&upstream).start();
    for request in [Request::get("/v1/files"), upload(b"content")] {
        let answer = request.send(&router).expect(200);
        assert_eq!(answer.informational, [0; 0]);
        assert_eq!(answer.header("link"), None);
    }
    is_not_banned(&router);
    assert_eq!(upstream.count(), 2);
}

#[test]
fn answers_without_a_body_end_with_their_head() {
    let upstream = Upstream::scripted(|call| match call.method.as_str() {
        "DELETE" => respond(204).head(),
        "HEAD" => respond(200).header("content-length", "9").head(),
        _ => respond(304).head(),
    });
    let router = strict(&upstream).start();
    let mut conn = Conn::open(router.address());
    for (method, status) in [("DELETE", "204"), ("GET", "304"), ("HEAD", "200"), ("GET", "304")] {
        conn.write(&Request::new(method, "/v1/files/f").header("if-none-match", "x").bytes(&router));
        let head = conn.head().expect("an answer");
        assert!(head.start.contains(status), "{head:?}");
        assert_eq!(head.header("transfer-encoding"), None, "{head:?}");
    }
    is_not_banned(&router);
    until("all are told as complete", || {
        let log = router.access_log();
        log.iter().filter(|line| line["path"] != "/health" && line["ended"] == "complete").count() >= 4
    });
}

#[test]
fn a_dead_pooled_connection_is_no_failure() {
    let upstream = Upstream::scripted(|call| match call.reuse {
        0 => Reply::good(call),
        _ => Reply::default().reset(),
    });
    let router = strict(&upstream).start();
    // Pingora's pool, which these requests use, cannot always hand out what it has.
    until("a connection was reused", || {
        router.get("/v1/files").expect(200);
        upstream.calls().iter().any(|call| call.reuse > 0)
    });
    is_not_banned(&router);
}

#[test]
fn an_upload_goes_out_on_a_connection_of_its_own() {
    let upstream = Upstream::healthy();
    let router = Config::single(&upstream.url()).start();
    // Pingora's pool, which these requests use, cannot always hand out what it has.
    until("requests without a body share theirs", || {
        router.get("/v1/files").expect(200);
        upload(b"content").send(&router).expect(200);
        upstream.calls().iter().any(|call| call.method == "GET" && call.reuse > 0)
    });
    assert!(upstream.calls().iter().filter(|call| call.method == "POST").all(|call| call.reuse == 0));
}

#[test]
fn a_client_that_expects_a_100_before_its_upload_gets_it() {
    let upstream = Upstream::healthy();
    let router = Config::single(&upstream.url()).start();
    let mut conn = open_upload(&router, 7, "\r\nExpect: 100-continue");
    assert_eq!(conn.head().expect("a head").start, "HTTP/1.1 100 Continue");
    conn.write(b"content");
    let answer = conn.answer().expect(200);
    assert_eq!((answer.informational.len(), answer.json()["bytes"].as_u64()), (0, Some(7)));
    assert_eq!(upstream.only().header("expect"), None);
    let router = Config::single(&Upstream::refused()).never_bans().start();
    let mut conn = open_upload(&router, 7, "\r\nExpect: 100-continue");
    let answer = conn.answer().expect(502);
    assert!(answer.informational.is_empty(), "nobody is there to take it");
}

#[test]
fn a_client_that_falls_silent_in_its_upload_is_ended() {
    for routing in ["max_attempts: 5", "response_timeout: 1s"] {
        let upstream = Upstream::healthy();
        let config = strict(&upstream).routing(routing);
        let timeout = if routing.starts_with("response") { "body_timeout: 9s" } else { "body_timeout: 1s" };
        let router = config.server(timeout).start();
        let mut conn = open_upload(&router, 1000, "");
        conn.write(&[1; 500]);
        let answer = conn.answer().expect(408);
        assert_eq!(answer.code(), "body_timeout");
        assert!(answer.took < secs(4), "{:?}", answer.took);
        is_not_banned(&router);
    }
}

#[test]
fn a_large_upload_may_take_longer_than_a_small_one() {
    const PIECE: usize = 512 << 10;
    let upstream = Upstream::healthy();
    let router = Config::single(&upstream.url()).server("body_timeout: 1s\nrequest_timeout: 1s").start();
    let mut conn = open_upload(&router, 8 * PIECE, "");
    for _ in 0..8 {
        std::thread::sleep(ms(300));
        conn.write(&[7; PIECE]);
    }
    conn.answer().expect(200);
}

#[test]
fn an_upload_that_drips_is_ended() {
    let upstream = Upstream::healthy();
    let router = strict(&upstream).server("body_timeout: 1s").start();
    let mut conn = open_upload(&router, 1000, "");
    let mut writer = conn.writer();
    std::thread::spawn(move || {
        while writer.write_all(b"x").is_ok() {
            std::thread::sleep(ms(200));
        }
    });
    let answer = conn.answer().expect(408);
    assert_eq!(answer.code(), "body_timeout");
    assert!(answer.took < secs(3), "{:?}", answer.took);
    is_not_banned(&router);
    assert_eq!(upstream.count(), 0, "a whole upload has arrived");
}

#[test]
fn an_upload_over_http2_that_falls_silent_is_ended_with_the_patience_for_an_answer() {
    let upstream = Upstream::healthy();
    let router = strict(&upstream).routing("response_timeout: 1s").start();
    let answer = h2c::begin(&router, "/v1/uploads/u/parts", &[1; 500], 1000);
    assert_eq!((answer.status, answer.code().as_str()), (408, "body_timeout"));
    assert!(answer.took < secs(4), "{:?}", answer.took);
    is_not_banned(&router);
}

#[test]
fn the_deadline_holds_for_a_request_without_a_body() {
    let upstream = Upstream::always(Reply::silence());
    let router = Config::single(&upstream.url()).never_bans().server("request_timeout: 1s").start();
    let answer = router.get("/v1/files").expect(504);
    assert!(answer.error().is_object() && answer.took < secs(3), "{:?}", answer.took);
    assert_eq!(upstream.count(), 1);
}

#[test]
fn the_error_of_an_upload_is_shaped_like_any_other() {
    let upstream = Upstream::queue([
        respond(429).header("retry-after", "7").error("slow down", "requests", Some("rate_limit_exceeded")),
        respond(500).body("text/html", "<html><body>boom</body></html>"),
        respond(401).error("Incorrect API key provided", "invalid_request_error", Some("invalid_api_key")),
        respond(500).header("content-length", "100").head().send("half").close(),
        respond(503).header("content-length", "0").head(),
        respond(500).body("text/html", "<html>boom</html>"),
    ]);
    let router = Config::single(&upstream.url()).never_bans().start();
    let answer = upload(b"content").send(&router).expect(429);
    assert_eq!((answer.code().as_str(), answer.message().as_str()), ("rate_limit_exceeded", "slow down"));
    assert_eq!(answer.header("retry-after"), Some("7"));
    assert_eq!(answer.header("retry-after-ms"), Some("7000"));
    assert_eq!(answer.header("x-should-retry"), Some("true"));
    router.admin("/admin/credentials/a/unban");
    for status in [500, 502, 500, 503] {
        let answer = upload(b"content").send(&router).expect(status);
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert!(answer.error().is_object() && !answer.text().contains("<html"), "{}", answer.text());
        router.admin("/admin/credentials/a/unban");
    }
    let answer = h2c::post(&router, "/v1/uploads/u/parts", b"content", 3, true);
    assert!(answer.error().is_object() && answer.status == 500, "{}", answer.text());
    assert_eq!(upstream.count(), 6, "an upload is never sent twice");
}

#[test]
fn an_upstream_that_answers_before_the_end_of_an_upload_is_heard() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let answer = |mut stream: TcpStream| {
            let _ = stream.read(&mut [0; 1000]);
            let body = r#"{"error":{"message":"too much","type":"x","param":null,"code":"too_large"}}"#;
            let length = body.len();
            let _ = write!(stream, "HTTP/1.1 413 No\r\nContent-Length: {length}\r\n\r\n{body}");
            let _ = std::io::copy(&mut stream, &mut std::io::sink());
        };
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || answer(stream));
        }
    });
    let router = Config::single(&url).start();
    let mut conn = open_upload(&router, 1_000_000, "");
    conn.write(&[1; 1000]);
    assert_eq!(conn.answer().expect(413).code(), "too_large");
}

#[test]
fn an_error_is_judged_by_its_body() {
    let upstream = Upstream::always(respond(403).error("no", "x", Some("content_policy_violation")));
    let router = strict(&upstream).start();
    for request in [upload(b"content"), Request::get("/v1/files/f")] {
        assert_eq!(request.send(&router).expect(403).code(), "content_policy_violation");
    }
    is_not_banned(&router);
    let (empty, good) = (Upstream::healthy(), Upstream::healthy());
    empty.set(|_| {
        let error = r#"{"error":{"message":"m","type":"insufficient_quota","code":"insufficient_quota"}}"#;
        let head =
            respond(429).header("content-type", "application/json").header("transfer-encoding", "chunked");
        let (one, two) = error.as_bytes().split_at(20);
        head.head().chunk(one).pause(ms(50)).chunk(two).send("0\r\n\r\n")
    });
    let config = Config::new().never_bans().credential("a", &empty.url(), "priority: 0");
    let router = config.credential("b", &good.url(), "priority: 1").start();
    for _ in 0..2 {
        router.get("/v1/files").expect(200);
    }
    assert_eq!((empty.count(), good.count()), (1, 2), "an empty account is left alone");
}

#[test]
fn a_lone_credential_gets_a_second_try() {
    let failing = |text: &str| respond(500).error(text, "server_error", Some("boom"));
    let upstream = Upstream::queue([failing("one")]);
    let router = Config::single(&upstream.url()).never_bans().start();
    router.get("/v1/files").expect(200);
    assert_eq!(upstream.count(), 2);
    upstream.set(move |call| failing(&format!("number {}", call.number)));
    let answer = router.get("/v1/files").expect(500);
    assert_eq!((answer.message().as_str(), answer.code().as_str()), ("number 3", "boom"));
}
