//! Upstreams behind TLS: HTTP/2 where both want it, HTTP/1.1 otherwise, and no certificate that is not trusted.

use serde_json::{json, Value};

use crate::support::tls::TlsUpstream;
use crate::support::*;

/// A router with one credential at `upstream`, which trusts the upstream's authority.
fn trusting(upstream: &TlsUpstream, http2: bool) -> Router {
    let config = Config::new().credential("a", &upstream.url(), &format!("http2: {http2}"));
    config.environment("SSL_CERT_FILE", &upstream.authority().display().to_string()).start()
}

#[test]
fn http2_is_spoken_where_both_want_it() {
    for (http2, offered, protocol) in [
        (true, &["h2", "http/1.1"][..], "h2"),
        (true, &["http/1.1"], "http/1.1"),
        (false, &["h2", "http/1.1"], "http/1.1"),
    ] {
        let upstream = TlsUpstream::offering(offered);
        let router = trusting(&upstream, http2);
        let body = chat_of_size("m", 300_000);
        let request = Request::post("/v1/chat/completions").body("application/json", body.clone());
        assert_eq!(request.send(&router).expect(200).content(), "Hello over TLS");
        let seen = upstream.seen();
        assert_eq!(seen.len(), 1, "{protocol}");
        assert_eq!((seen[0].protocol, seen[0].path.as_str()), (protocol, "/v1/chat/completions"));
        assert_eq!(seen[0].authority, upstream.url().trim_start_matches("https://"));
        assert!(seen[0].body == body, "the body has changed");
    }
}

#[test]
fn a_translated_body_of_many_pieces_arrives_whole() {
    let text = "Some \"quoted\" words.\n".repeat(200);
    let said = json!({"role": "user", "content": text});
    let body = json!({"model": "m", "max_tokens": 9, "messages": vec![said.clone(); 100]});
    for (http2, protocol) in [(true, "h2"), (false, "http/1.1")] {
        let upstream = TlsUpstream::offering(&["h2", "http/1.1"]);
        trusting(&upstream, http2).post("/v1/messages", &body).expect(200);
        let seen = upstream.seen();
        assert_eq!((seen[0].protocol, seen[0].path.as_str()), (protocol, "/v1/chat/completions"));
        let sent: Value = serde_json::from_slice(&seen[0].body).unwrap();
        let texts: String = texts(&sent["messages"]);
        assert!(texts == text.repeat(100), "{protocol}: {} bytes of text", texts.len());
    }
}

/// All that is said in a list of messages, whose contents may be texts or lists of them.
fn texts(messages: &Value) -> String {
    let contents = messages.as_array().unwrap().iter().map(|message| &message["content"]);
    let parts = contents.flat_map(|content| match content {
        Value::Array(parts) => parts.iter().map(|part| part["text"].as_str().unwrap()).collect(),
        content => vec![content.as_str().unwrap()],
    });
    parts.collect()
}

#[test]
fn requests_share_an_http2_connection() {
    let upstream = TlsUpstream::offering(&["h2"]);
    let router = trusting(&upstream, true);
    router.chat(&chat("m")).expect(200);
    at_once(20, |_| router.chat(&chat("m")).expect(200));
    let seen = upstream.seen();
    let connections: std::collections::HashSet<_> = seen.iter().map(|seen| seen.connection).collect();
    assert_eq!(seen.len(), 21);
    assert!(connections.len() <= 10, "{} connections for 21 requests", connections.len());
}

#[test]
fn requests_that_are_not_opened_go_over_tls_as_well() {
    let upstream = TlsUpstream::offering(&["h2", "http/1.1"]);
    let router = trusting(&upstream, true);
    router.get("/v1/files").expect(200);
    assert_eq!(upstream.seen()[0].protocol, "http/1.1");
}

#[test]
fn a_certificate_that_nobody_vouches_for_is_a_failed_connection() {
    let upstream = TlsUpstream::offering(&["h2", "http/1.1"]);
    let router = Config::new().never_bans().credential("a", &upstream.url(), "").start();
    router.chat(&chat("m")).expect(502).error();
    router.get("/v1/files").expect(502).error();
    assert!(upstream.seen().is_empty());
}

#[test]
fn a_router_whose_upstreams_speak_no_tls_needs_no_roots() {
    let upstream = Upstream::healthy();
    let config = Config::single(&upstream.url()).environment("SSL_CERT_FILE", "/nowhere/roots.pem");
    let router = config.environment("SSL_CERT_DIR", "/nowhere").start();
    router.chat(&chat("m")).expect(200);
    router.get("/v1/files").expect(200);
}
