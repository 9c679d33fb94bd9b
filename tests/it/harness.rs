//! The harness tests itself: a raw client against the scripted provider, with no router between them.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::support::*;

fn raw(upstream: &Upstream, request: &str) -> Vec<u8> {
    let mut stream = TcpStream::connect(upstream.address).unwrap();
    stream.set_read_timeout(Some(secs(5))).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    answer
}

#[test]
fn a_scripted_reply_is_sent_byte_for_byte() {
    let upstream = Upstream::always(respond(418).body("text/plain", "short and stout").close());
    let answer =
        raw(&upstream, "POST /v1/x HTTP/1.1\r\nAuthorization: Bearer k\r\nContent-Length: 2\r\n\r\nhi");
    assert!(answer.starts_with(b"HTTP/1.1 418 ") && answer.ends_with(b"short and stout"));
    let call = upstream.only();
    assert_eq!(
        (call.method.as_str(), call.path.as_str(), call.body.as_slice()),
        ("POST", "/v1/x", &b"hi"[..])
    );
    assert_eq!(call.key.as_deref(), Some("k"));
}

#[test]
fn discovery_is_answered_but_not_counted() {
    let upstream = Upstream::healthy().lists(&["m"]);
    let mut conn = Conn::open(upstream.address);
    conn.write(b"GET /v1/models HTTP/1.1\r\n\r\n");
    assert_eq!(conn.answer().json()["data"][0]["id"], "m");
    assert_eq!((upstream.count(), upstream.discoveries()), (0, 1));
}

#[test]
fn a_client_that_leaves_is_noticed_while_the_reply_pauses() {
    let upstream = Upstream::always(Reply::silence());
    let mut stream = TcpStream::connect(upstream.address).unwrap();
    stream.write_all(b"GET /x HTTP/1.1\r\n\r\n").unwrap();
    let call = upstream.wait_for(0);
    assert!(call.gone().is_none());
    drop(stream);
    until("the provider sees the end", || call.gone().is_some());
}

#[test]
fn a_reset_reaches_the_client_as_one() {
    let upstream = Upstream::always(Reply::default().reset());
    let mut stream = TcpStream::connect(upstream.address).unwrap();
    stream.write_all(b"GET /x HTTP/1.1\r\n\r\n").unwrap();
    let error = stream.read(&mut [0]).expect_err("a reset, not an end");
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

#[test]
fn events_are_read_across_any_split() {
    let frames = chat_frames("m", &["Grüße", " 👋"], true);
    let upstream = Upstream::always(respond(200).sse(&frames).split(3));
    let mut conn = Conn::open(upstream.address);
    conn.write(b"POST /v1/chat/completions HTTP/1.1\r\nContent-Length: 0\r\n\r\n");
    let mut events = Events::read(conn);
    let all = events.rest();
    assert_eq!(all.iter().map(|e| e.raw.as_str()).collect::<String>(), frames.concat());
    assert_eq!(stream::text(&all), "Grüße 👋");
    assert_eq!(events.end(), End::Clean);
}

#[test]
fn a_cut_stream_is_told_from_a_whole_one() {
    let upstream = Upstream::always(respond(200).open_sse([role("m"), word("m", "Hel")]).close());
    let mut conn = Conn::open(upstream.address);
    conn.write(b"POST /v1/chat/completions HTTP/1.1\r\nContent-Length: 0\r\n\r\n");
    let mut events = Events::read(conn);
    assert_eq!(events.rest().len(), 2);
    assert_eq!(events.end(), End::Cut);
}

#[test]
fn chunked_uploads_are_put_together() {
    let upstream = Upstream::healthy();
    let mut conn = Conn::open(upstream.address);
    conn.write(b"POST /v1/x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n");
    conn.answer().expect(200);
    let call = upstream.only();
    assert!(call.chunked);
    assert_eq!(call.body, b"abcde");
}
