//! What was found by trying: peers that answer early, late, slowly or not at all, and clients that do what no SDK does.
//!
//! Each test stands for one fault that has happened. Most credentials here are banned for good by their first strike,
//! so that a blame in the wrong place shows in `/health`.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use flate2::{write::GzEncoder, Compression};
use h2::client::{ResponseFuture, SendRequest};
use serde_json::json;

use crate::support::*;

/// The first failure that strikes bans for good.
const STRICT: &str = "max_attempts: 1\nban_duration: permanent";

fn strict(url: &str) -> Config {
    Config::single(url).fail2ban(STRICT)
}

#[track_caller]
fn is_unharmed(router: &Router, credential: &str) {
    let entry = router.health_of(credential);
    assert!(entry["is_banned"] == false && entry["strikes"] == 0, "{entry:#}");
}

/// An upstream that is nothing but a socket, for what a script cannot say; each connection is served by `serve`.
fn raw_upstream(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port for the upstream");
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (serve, connections) = (Arc::new(serve), Arc::new(AtomicUsize::new(0)));
    let counted = connections.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let serve = serve.clone();
            std::thread::spawn(move || serve(stream));
            counted.fetch_add(1, Ordering::SeqCst);
        }
    });
    (url, connections)
}

/// Reads a head; the length that it declares, and what came of the body with it.
fn read_head(stream: &mut TcpStream) -> Option<(usize, usize)> {
    let mut unread = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        if let Some(head) = wire::Head::take(&mut unread) {
            let length = head.header("content-length").and_then(|v| v.parse().ok()).unwrap_or(0);
            return Some((length, unread.len()));
        }
        match stream.read(&mut buffer) {
            Ok(n) if n > 0 => unread.extend_from_slice(&buffer[..n]),
            _ => return None,
        }
    }
}

/// Writes an answer that keeps the connection.
fn write_json(stream: &mut TcpStream, status: u16, body: &str) {
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status} Raw\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    let _ = stream.write_all(head.as_bytes());
}

/// Answers what is small; refuses with `status` what is large, after its first bytes, and never reads the rest.
fn refuse_early(status: u16) -> (String, Arc<AtomicUsize>) {
    raw_upstream(move |mut stream| {
        while let Some((length, mut read)) = read_head(&mut stream) {
            if length > 1 << 20 {
                let error = r#"{"error":{"message":"no","type":"t","param":null,"code":"early"}}"#;
                write_json(&mut stream, status, error);
                std::thread::sleep(secs(40));
                return;
            }
            while read < length {
                read += stream.read(&mut [0; 4096]).unwrap_or(length);
            }
            write_json(&mut stream, 200, &reply::chat_body("n", "your own", 1, 1).to_string());
        }
    })
}

#[test]
fn an_early_answer_is_seen_at_once_and_its_half_written_connection_is_never_used_again() {
    for status in [413, 429] {
        let (url, connections) = refuse_early(status);
        let router = Config::pool(&["a"], &url).routing("max_attempts: 1").start();
        let body = chat_of_size("m", 20 << 20);
        let sent = Request::post("/v1/chat/completions").body("application/json", body);
        let answer = sent.send(&router).expect(status);
        assert_eq!(answer.code(), "early");
        assert!(answer.took < secs(20), "the early answer was seen after {:?}", answer.took);
        let before = connections.load(Ordering::SeqCst);
        let mut conn = Conn::open(router.address());
        conn.patience(secs(5));
        conn.write(&Request::chat(&chat("n")).bytes(&router));
        assert_eq!(conn.answer().expect(200).content(), "your own");
        assert_eq!(connections.load(Ordering::SeqCst), before + 1, "the connection was used again");
    }
}

#[test]
fn a_slow_upload_does_not_eat_the_time_of_the_upstream() {
    let upstream = Upstream::scripted(|call| Reply::good(call).after(ms(800)));
    let router = strict(&upstream.url()).server("request_timeout: 2s").start();
    let bytes = Request::chat(&chat("m")).bytes(&router);
    let (first, last) = bytes.split_at(bytes.len() - 10);
    let mut conn = Conn::open(router.address());
    conn.write(first);
    std::thread::sleep(ms(1700));
    conn.write(last);
    conn.answer().expect(200);
    is_unharmed(&router, "a");
}

#[test]
fn a_head_request_with_a_body_is_refused_here() {
    let upstream = Upstream::healthy();
    let router = strict(&upstream.url()).start();
    for path in ["/v1/batches", "/v1/files/f", "/v1/odd"] {
        Request::new("HEAD", path).json(&chat("m")).send(&router).expect(400);
    }
    assert_eq!(upstream.heads().len(), upstream.discoveries(), "a HEAD with a body went upstream");
    is_unharmed(&router, "a");
    router.chat(&chat("m")).expect(200);
}

#[test]
fn an_empty_204_is_an_answer_and_stays_empty() {
    let upstream = Upstream::always(respond(204).head());
    let router = strict(&upstream.url()).start();
    let mut conn = Conn::open(router.address());
    let cancel = Request::post("/v1/batches/x/cancel");
    for request in [cancel.clone(), Request::new("DELETE", "/v1/files/f"), cancel] {
        conn.write(&request.json(&json!({"why": "enough"})).bytes(&router));
        let head = conn.head().expect("an answer");
        assert!(head.start.starts_with("HTTP/1.1 204 "), "{head:?}");
        for framing in ["transfer-encoding", "content-length"] {
            assert_eq!(head.header(framing), None, "{head:?}");
        }
    }
    is_unharmed(&router, "a");
    assert_eq!(upstream.count(), 3);
}

/// Reads a body `step` bytes at a time with a `pause` before each, through a small window, and then answers.
fn read_slowly(mut stream: TcpStream, step: usize, pause: Duration) {
    let window = tokio::net::TcpSocket::from_std_stream(stream.try_clone().expect("a second handle"));
    window.set_recv_buffer_size(64 * 1024).expect("a small window");
    let Some((length, mut read)) = read_head(&mut stream) else { return };
    let mut buffer = vec![0; step];
    while read < length {
        std::thread::sleep(pause);
        let now = step.min(length - read);
        if stream.read_exact(&mut buffer[..now]).is_err() {
            return;
        }
        read += now;
    }
    write_json(&mut stream, 200, &reply::chat_body("m", "read it all", 1, 1).to_string());
}

#[test]
fn an_upstream_that_reads_slowly_but_steadily_is_given_its_time() {
    let rhythms = [(64 << 10, ms(45)), (1 << 20, ms(700))];
    at_once(rhythms.len(), |n| {
        let (step, pause) = rhythms[n];
        let (url, connections) = raw_upstream(move |stream| read_slowly(stream, step, pause));
        let router = strict(&url).start();
        let body = chat_of_size("m", 4 << 20);
        let answer = Request::post("/v1/chat/completions").body("application/json", body).send(&router);
        let answer = answer.expect(200);
        assert_eq!(answer.content(), "read it all");
        assert!(answer.took > ms(2500), "not slow at all: {:?}", answer.took);
        assert!(connections.load(Ordering::SeqCst) <= 2, "there was a second attempt");
        is_unharmed(&router, "a");
    });
}

#[test]
fn a_stream_gives_its_place_back_with_done_and_not_when_its_connection_ends() {
    let upstream = Upstream::scripted(|call| {
        let frames = chat_frames(&call.model(), &["a", "b"], call.wants_usage());
        respond(200).open_sse(frames).pause(ms(600)).send("0\r\n\r\n")
    });
    let router = Config::new().credential("a", &upstream.url(), "max_concurrent: 1").start();
    let mut read = Vec::new();
    for _ in 0..8 {
        let mut events = router.stream(&chat_streamed("m")).expect(200);
        while !events.next().expect("the stream goes on to its [DONE]").is_done() {}
        read.push(events);
    }
    assert_eq!(upstream.count(), 8);
    assert!(read.iter_mut().all(|events| events.rest().is_empty() && events.end() == stream::End::Clean));
}

#[test]
fn bytes_may_pause_where_silence_has_no_limit() {
    let upstream = Upstream::always(respond(200).body("audio/mpeg", [7; 9000]).split(3000).paced(ms(400)));
    let router = strict(&upstream.url()).routing("stall_timeout: -1").start();
    let speech = json!({"model": "tts-1", "input": "hello", "voice": "alloy"});
    let answer = router.post("/v1/audio/speech", &speech).expect(200);
    assert_eq!(answer.body, [7; 9000]);
    assert!(answer.took > ms(1000), "there was no pause: {:?}", answer.took);
    assert!(!router.stderr().contains("panic"), "{}", router.stderr());
    is_unharmed(&router, "a");
}

#[test]
fn a_request_that_comes_too_early_does_not_cost_the_answer_before_it() {
    let upstream = Upstream::scripted(|call| Reply::good(call).after(ms(600)));
    let router = strict(&upstream.url()).start();
    let bytes = Request::chat(&chat("m")).bytes(&router);
    let mut conn = Conn::open(router.address());
    conn.write(&bytes);
    std::thread::sleep(ms(100));
    conn.write(&bytes);
    assert_eq!(conn.answer().expect(200).content(), "Hello there");
    if let Some(second) = conn.try_answer("POST") {
        assert_eq!(second.expect(200).content(), "Hello there");
    }
    is_unharmed(&router, "a");
}

#[test]
fn a_client_that_leaves_before_the_first_token_has_spent_its_prompt() {
    let upstream = Upstream::always(Reply::silence());
    let router = Config::new().credential("a", &upstream.url(), "tpm: 100000").start();
    for (n, mut body) in [chat("m"), chat_streamed("m")].into_iter().enumerate() {
        body["max_tokens"] = json!(5000);
        let mut conn = Conn::open(router.address());
        conn.write(&Request::chat(&body).bytes(&router));
        upstream.wait_for(n);
        assert_eq!(router.health_of("a")["in_flight"], 1);
        drop(conn);
        until("nothing is in flight", || router.health_of("a")["in_flight"] == 0);
        let spent = router.health_of("a")["current_tpm"].as_u64().unwrap_or(0);
        let prompts = n as u64 + 1;
        assert!((prompts..100 * prompts).contains(&spent), "{spent} tokens for {prompts} short prompts");
    }
}

#[test]
fn a_coding_that_is_not_undone_is_named() {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(&[b'x'; 5000]).unwrap();
    let packed = gzip.finish().unwrap();
    let sent = packed.clone();
    let upstream = Upstream::scripted(move |call| {
        let kind = if call.method == "GET" { "application/jsonl" } else { "audio/mpeg" };
        respond(200).header("content-encoding", "gzip").body(kind, &sent)
    });
    let router = strict(&upstream.url()).start();
    let speech = Request::post("/v1/audio/speech").json(&json!({"model": "tts-1", "input": "hello"}));
    for request in [Request::get("/v1/files/x/content"), speech] {
        let answer = request.send(&router).expect(200);
        assert_eq!(answer.header("content-encoding"), Some("gzip"), "{:?}", answer.headers);
        assert!(answer.body == packed, "{} bytes instead of {}", answer.body.len(), packed.len());
    }
    is_unharmed(&router, "a");
}

#[test]
fn a_second_attempt_cut_short_by_the_deadline_strikes_nobody() {
    let hasty = |config: Config| config.server("request_timeout: 1500ms").start();
    let is_cut_short = |router: &Router, request: Request| {
        let answer = request.send(router);
        assert!(answer.status >= 400 && answer.took < secs(4), "{} in {:?}", answer.status, answer.took);
    };
    for request in [Request::chat(&chat("m")), Request::get("/v1/files")] {
        let upstream = Upstream::scripted(|call| match call.number {
            0 => respond(503).error("busy", "server_error", None).after(ms(700)),
            _ => Reply::silence(),
        });
        let router = hasty(strict(&upstream.url()).fail2ban("error_codes: [504]"));
        is_cut_short(&router, request);
        assert_eq!(upstream.count(), 2);
        is_unharmed(&router, "a");
    }
    let unknown = respond(404).error("no such model", "invalid_request_error", Some("model_not_found"));
    let (lacks_it, silent) = (Upstream::always(unknown.after(ms(700))), Upstream::always(Reply::silence()));
    let config = Config::new().fail2ban(STRICT).credential("a", &lacks_it.url(), "priority: 0");
    let router = hasty(config.credential("b", &silent.url(), "priority: 1"));
    is_cut_short(&router, Request::chat(&chat("m")));
    assert_eq!((lacks_it.count(), silent.count()), (1, 1));
    is_unharmed(&router, "b");
}

#[test]
fn a_first_attempt_that_hangs_until_the_deadline_is_a_strike() {
    let silent = Upstream::always(Reply::silence());
    let router = strict(&silent.url()).server("request_timeout: 1s").start();
    router.chat(&chat("m")).expect(504);
    assert_eq!(silent.count(), 1);
    let entry = router.health_of("a");
    assert!(entry["is_banned"] == true, "{entry:#}");
}

#[test]
fn what_a_client_has_in_its_cache_stays_its_own_business() {
    let upstream = Upstream::healthy();
    let router = Config::single(&upstream.url()).start();
    let date = "Sat, 01 Nov 2025 00:00:00 GMT";
    for request in [Request::get("/v1/files/x"), Request::chat(&chat("m"))] {
        let request = request.header("If-None-Match", "\"abc\"").header("If-Modified-Since", date);
        request.send(&router).expect(200);
        let call = upstream.last();
        for name in ["if-none-match", "if-modified-since"] {
            assert_eq!(call.header(name), None, "{} {}", call.method, call.path);
        }
    }
    assert_eq!(upstream.count(), 2);
}

#[test]
fn a_burst_of_malformed_chunked_bodies_bans_nobody() {
    let upstream = Upstream::healthy();
    let router = Config::single(&upstream.url())
        .fail2ban(&format!("{STRICT}\nerror_codes: [400, 499, 500, 502, 503, 504]"))
        .start();
    let bodies =
        ["zz\r\nboom\r\n", "5\r\nhello\r\nzz\r\nboom\r\n", "5\r\nhello, all\r\n0\r\n\r\n", "-1\r\nx\r\n"];
    let answers = at_once(24, |n| {
        let path = ["/v1/chat/completions", "/v1/files", "/v1/embeddings"][n / 4 % 3];
        let head = Request::post(path).header("content-type", "application/json");
        let mut conn = Conn::open(router.address());
        conn.write(head.head(&router, Some("Transfer-Encoding: chunked")).as_bytes());
        conn.write(bodies[n % 4].as_bytes());
        (path, bodies[n % 4], conn.try_answer("POST").map(|answer| answer.status))
    });
    for (path, body, status) in answers {
        assert_eq!(status, Some(400), "{path} {body:?}");
    }
    assert_eq!(upstream.heads().len(), upstream.discoveries(), "a broken body went upstream");
    is_unharmed(&router, "a");
    router.chat(&chat("m")).expect(200);
}

/// Runs `work` with an HTTP/2 connection to the router. What it sends at first arrives at once, the preface included.
fn over_http2<T>(address: SocketAddr, work: impl AsyncFnOnce(SendRequest<Bytes>) -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut tcp = tokio::net::TcpStream::connect(address).await.expect("the router takes connections");
        let (near, mut far) = tokio::io::duplex(1 << 20);
        tokio::spawn(async move {
            tokio::time::sleep(ms(100)).await;
            let _ = tokio::io::copy_bidirectional_with_sizes(&mut far, &mut tcp, 1 << 20, 1 << 20).await;
        });
        let (send, connection) = h2::client::handshake(near).await.expect("HTTP/2");
        tokio::spawn(async move {
            let _ = connection.await;
        });
        let worked = tokio::time::timeout(secs(60), work(send)).await;
        worked.expect("all of it within a minute")
    })
}

/// Sends a chat request as a stream of its own.
async fn post_chat(
    send: &SendRequest<Bytes>,
    router: &Router,
    model: &str,
) -> (ResponseFuture, h2::SendStream<Bytes>) {
    let request = http::Request::post(format!("{}/v1/chat/completions", router.url()))
        .header("authorization", format!("Bearer {}", router.key()))
        .header("content-type", "application/json");
    let mut send = send.clone().ready().await.expect("room for a stream");
    let (answer, mut body) = send.send_request(request.body(()).unwrap(), false).expect("a stream");
    body.send_data(chat(model).to_string().into(), true).expect("a body");
    (answer, body)
}

/// Status and text of an answer.
async fn read_chat(answer: ResponseFuture) -> (u16, String) {
    let (head, mut body) = answer.await.expect("an answer").into_parts();
    let mut text = Vec::new();
    while let Some(data) = body.data().await {
        let data = data.expect("the whole body");
        let _ = body.flow_control().release_capacity(data.len());
        text.extend_from_slice(&data);
    }
    (head.status.as_u16(), String::from_utf8_lossy(&text).into_owned())
}

#[test]
fn many_streams_of_one_http_2_connection_are_all_answered() {
    let upstream = Upstream::scripted(|call| Reply::chat(&call.model(), &call.model()).after(ms(300)));
    let router = strict(&upstream.url()).start();
    let start = Instant::now();
    let answers = over_http2(router.address(), async |send| {
        let mut open = Vec::new();
        for n in 0..60 {
            open.push(post_chat(&send, &router, &format!("model-{n}")).await);
        }
        let mut answers = Vec::new();
        for (answer, _) in open {
            answers.push(read_chat(answer).await);
        }
        answers
    });
    for (n, (status, text)) in answers.iter().enumerate() {
        let own = format!("\"content\":\"model-{n}\"");
        assert!(*status == 200 && text.contains(&own), "{n}: {status} {text}");
    }
    assert!(start.elapsed() < secs(9), "one after the other: {:?}", start.elapsed());
    is_unharmed(&router, "a");
}

#[test]
fn a_stream_that_is_reset_ends_its_own_upstream_call_only() {
    let upstream = Upstream::scripted(|call| match call.model().as_str() {
        "left" => Reply::silence(),
        _ => Reply::good(call).after(ms(1200)),
    });
    let router = strict(&upstream.url()).start();
    let find = |model: &str| upstream.calls().into_iter().find(|call| call.model() == model);
    let stays = over_http2(router.address(), async |send| {
        let (stays, _body) = post_chat(&send, &router, "stays").await;
        let (left, mut body) = post_chat(&send, &router, "left").await;
        while find("left").is_none() || find("stays").is_none() {
            tokio::time::sleep(ms(5)).await;
        }
        body.send_reset(h2::Reason::CANCEL);
        drop(left);
        read_chat(stays).await
    });
    assert_eq!(stays.0, 200, "{}", stays.1);
    let (left, stays) = (find("left").unwrap(), find("stays").unwrap());
    until("the call of the reset stream is ended", || left.gone().is_some());
    let lasted = left.gone().unwrap() - left.at;
    assert!(lasted < ms(1000), "ended only after {lasted:?}");
    assert!(stays.gone().is_none() && stays.finished());
    is_unharmed(&router, "a");
}

#[test]
fn of_a_form_with_an_alias_only_the_value_of_its_model_field_changes() {
    let form = |model: &str| {
        format!(
            "--edge\r\nContent-Disposition: form-data; name=\"prompt\"\r\n\r\nears\r\n\
             --edge\r\nContent-Disposition: form-data; name=\"file\"; filename=\"model\"\r\n\
             Content-Type: audio/wav\r\n\r\nname=\"model\"\r\n\r\nears\r\n--edg\r\n\
             --edge\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\n{model}\r\n\
             --edge\r\nContent-Disposition: form-data; name=\"language\"\r\n\r\nears\r\n--edge--\r\n"
        )
    };
    let upstream = Upstream::healthy();
    let router = Config::new().credential("a", &upstream.url(), "models:\n  - ears: whisper-1-large").start();
    let kind = "multipart/form-data; boundary=edge";
    Request::post("/v1/audio/transcriptions").body(kind, form("ears")).send(&router).expect(200);
    let call = upstream.only();
    assert_eq!(String::from_utf8_lossy(&call.body), form("whisper-1-large"));
    assert_eq!(call.header("content-length"), Some(call.body.len().to_string().as_str()));
    assert_eq!((call.header("content-type"), call.chunked), (Some(kind), false));
}

#[test]
fn the_memory_of_a_router_is_never_written_to_a_core() {
    let upstream = Upstream::healthy();
    let router = Config::single(&upstream.url()).start();
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", router.pid())).expect("a process");
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).expect("the limit");
    assert_eq!(core.split_ascii_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"]);
}
