//! How connections come in: TLS for callers, several places to listen, proxies in front, and how many there may be.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::Value;
use tempfile::TempDir;

use crate::support::authority::{Authority, Secure};
use crate::support::router::free_port;
use crate::support::tls::TlsUpstream;
use crate::support::*;

const H1: &[&str] = &["http/1.1"];

/// A directory with an authority in it.
fn authority() -> (TempDir, Authority) {
    let dir = TempDir::new().unwrap();
    let authority = Authority::new(dir.path().to_owned(), "ca");
    (dir, authority)
}

/// The number of the certificate that a caller is shown who asks for `host`.
fn shown(router: &Router, authority: &Authority, host: &str) -> Vec<u8> {
    let mut line = Secure::open(router.secure_address(), host, authority.client(None, H1));
    let answer = line.ask(&Request::get("/v1/models").bytes(router)).expect("an answer over TLS");
    assert!(answer.starts_with("http/1.1 200"), "{answer}");
    line.0.conn.peer_certificates().unwrap()[0].to_vec()
}

#[test]
fn callers_speak_tls_to_a_router_with_a_certificate_and_keep_their_connection() {
    let (_dir, authority) = authority();
    let own = authority.issue("own", "localhost");
    let router = Config::single(&Upstream::healthy().url()).tls(&own.yaml()).start();
    let mut line = Secure::open(router.secure_address(), "localhost", authority.client(None, H1));
    for _ in 0..3 {
        let answer = line.ask(&Request::get("/v1/models").bytes(&router)).unwrap();
        assert!(answer.starts_with("http/1.1 200"), "{answer}");
    }
    assert_eq!(line.0.conn.protocol_version().unwrap().as_str(), Some("TLSv1_3"));
    let mut plain = TcpStream::connect(router.secure_address()).unwrap();
    plain.set_read_timeout(Some(secs(5))).unwrap();
    plain.write_all(&Request::get("/v1/models").bytes(&router)).unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP/"), "cleartext was answered on a port of TLS");
    let rejected = [("reason", "tls_handshake")];
    until("it is counted", || router.metric("auto_ai_router_rejected_total", &rejected) == Some(1.0));
    assert!(!router.stderr().contains("without TLS"), "{}", router.stderr());
    assert_eq!(router.operate(&["healthcheck"]).0, 0, "it is not healthy");
}

#[test]
fn http2_is_spoken_over_tls_to_whoever_offers_it() {
    let (_dir, authority) = authority();
    let own = authority.issue("own", "localhost");
    let upstream = Upstream::healthy();
    let router = Config::single(&upstream.url()).tls(&own.yaml()).start();
    let config = authority.client(None, &["h2", "http/1.1"]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let status = runtime.block_on(async {
        let tcp = tokio::net::TcpStream::connect(router.secure_address()).await.unwrap();
        let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(config));
        let tls = connector.connect("localhost".try_into().unwrap(), tcp).await.unwrap();
        assert_eq!(tls.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let (send, connection) = h2::client::handshake(tls).await.unwrap();
        tokio::spawn(connection);
        let mut send = send.ready().await.unwrap();
        let request = http::Request::post("https://localhost/v1/chat/completions")
            .header("authorization", format!("Bearer {}", router.key()))
            .header("content-type", "application/json");
        let (answer, mut body) = send.send_request(request.body(()).unwrap(), false).unwrap();
        body.send_data(chat("m").to_string().into(), true).unwrap();
        answer.await.unwrap().status()
    });
    assert_eq!((status.as_u16(), upstream.count()), (200, 1));
}

#[test]
fn each_name_is_shown_its_own_certificate_and_a_reload_takes_up_new_files() {
    let (_dir, authority) = authority();
    let (first, other) = (authority.issue("first", "localhost"), authority.issue("other", "*.example.test"));
    let others = other.yaml().replace('\n', ", ");
    let lines = format!("{}\nothers: [{{{others}}}]", first.yaml());
    let router = Config::single(&Upstream::healthy().url()).tls(&lines).start();
    let usual = shown(&router, &authority, "localhost");
    let named = shown(&router, &authority, "api.example.test");
    assert_ne!(usual, named);
    assert_eq!(usual, first.read().0[0].to_vec());
    let mut open = Secure::open(router.secure_address(), "localhost", authority.client(None, H1));
    open.ask(&Request::get("/v1/models").bytes(&router)).unwrap();
    authority.issue("first", "localhost");
    assert_eq!(router.admin("/admin/reload").0, 200);
    let renewed = shown(&router, &authority, "localhost");
    assert_ne!(renewed, usual, "the old certificate is still shown");
    assert_eq!(shown(&router, &authority, "api.example.test"), named);
    open.ask(&Request::get("/v1/models").bytes(&router)).expect("an open connection goes on");
    std::fs::write(&first.key, "no key").unwrap();
    let (status, report) = router.admin("/admin/reload");
    assert!(
        status != 200 && report.contains("server.tls.key") || report.contains("private key"),
        "{status} {report}"
    );
    assert_eq!(shown(&router, &authority, "localhost"), renewed, "a broken file has changed something");
}

#[test]
fn callers_show_a_certificate_where_one_is_asked_for() {
    let (dir, authority) = authority();
    let strangers = Authority::new(dir.path().to_owned(), "strangers");
    let own = authority.issue("own", "localhost");
    let (known, unknown) = (authority.issue("known", "client"), strangers.issue("unknown", "client"));
    for (presented, nobody) in [("required", false), ("optional", true)] {
        let lines = format!(
            "{}\nclient_ca: {}\nclient_certificate: {presented}",
            own.yaml(),
            authority.file().display()
        );
        let router = Config::single(&Upstream::healthy().url()).tls(&lines).start();
        for (certificate, taken) in [(Some(&known), true), (Some(&unknown), false), (None, nobody)] {
            let client = authority.client(certificate, H1);
            let mut line = Secure::open(router.secure_address(), "localhost", client);
            let answer = line.ask(&Request::get("/v1/models").bytes(&router));
            assert_eq!(answer.is_ok(), taken, "{presented}: {answer:?}");
            let keyless = Request::get("/v1/models").keyless().bytes(&router);
            if taken {
                assert!(line.ask(&keyless).unwrap().starts_with("http/1.1 401"), "a certificate is no key");
            }
        }
    }
}

#[test]
fn an_upgrade_keeps_every_place_and_finishes_what_was_asked_over_tls() {
    let (_dir, authority) = authority();
    let own = authority.issue("own", "localhost");
    let upstream = Upstream::scripted(|call| Reply::good(call).after(ms(1500)));
    let mut router = Config::single(&upstream.url()).tls(&own.yaml()).start();
    let open = || Secure::open(router.secure_address(), "localhost", authority.client(None, H1));
    let (mut busy, mut idle) = (open(), open());
    idle.ask(&Request::get("/v1/models").bytes(&router)).unwrap();
    let asked = Request::chat(&chat("m")).bytes(&router);
    let answer = std::thread::scope(|scope| {
        let busy = scope.spawn(move || busy.ask(&asked));
        upstream.wait_for(0);
        router.upgrade();
        // Nobody can know whether a request is on its way: an idle connection is not closed before its time.
        std::thread::sleep(ms(4500));
        let last = idle.ask(&Request::get("/v1/models").bytes(&router)).expect("one more request is served");
        assert!(last.starts_with("http/1.1 200") && last.contains("connection: close"), "{last}");
        busy.join().unwrap()
    });
    let answer = answer.expect("the answer comes whole");
    assert!(
        answer.starts_with("http/1.1 200") && answer.contains("hello there")
            || answer.contains("Hello there")
    );
    shown(&router, &authority, "localhost");
    router.get("/v1/models").expect(200);
    assert!(router.exit(secs(10)).is_some(), "the old process stays");
}

#[test]
fn an_upstream_is_trusted_by_its_own_authority_and_asked_for_by_its_own_name() {
    let upstream = TlsUpstream::offering(&["http/1.1"]);
    let ca = upstream.authority();
    let address = upstream.url().replace("localhost", "127.0.0.1");
    let start =
        |tls: &str| Config::new().never_bans().credential("a", &address, &format!("tls: {{{tls}}}")).start();
    let known = start(&format!("ca: {}, server_name: localhost", ca.display()));
    known.chat(&chat("m")).expect(200);
    known.get("/v1/files").expect(200);
    start(&format!("ca: {}", ca.display())).chat(&chat("m")).expect(502).error();
    start("server_name: localhost").chat(&chat("m")).expect(502).error();
    assert_eq!(upstream.seen().len(), 2);
}

#[test]
fn an_upstream_that_wants_a_certificate_is_shown_one() {
    let (_dir, authority) = authority();
    let (own, client) = (authority.issue("own", "localhost"), authority.issue("client", "router"));
    let lines = format!("{}\nclient_ca: {}", own.yaml(), authority.file().display());
    let upstream = Upstream::healthy();
    let behind = Config::single(&upstream.url()).tls(&lines).start();
    let url = format!("https://localhost:{}", behind.secure_address().port());
    let ask = |identity: &str| {
        let tls = format!("tls: {{ca: {}{identity}}}", authority.file().display());
        Config::new().never_bans().proxy("b", &url, behind.key(), &tls).start().chat(&chat("m")).status
    };
    assert_eq!(ask(&format!(", {}", client.yaml().replace('\n', ", "))), 200);
    assert_eq!(ask(""), 502);
}

/// The address of the caller on the last line of the access log about the models.
fn caller(router: &Router) -> String {
    let lines = router.access_log();
    let line = lines.iter().rev().find(|line| line["endpoint"] == "/v1/models");
    line.and_then(|line| line["client_ip"].as_str()).unwrap_or_default().to_owned()
}

#[test]
fn a_caller_is_who_a_trusted_proxy_says() {
    for (trusted, expected) in [("[]", "127.0.0.1"), ("[127.0.0.0/8]", "192.0.2.7")] {
        let config = Config::single(&Upstream::healthy().url());
        let router = config.server(&format!("trusted_proxies: {trusted}")).start();
        let ask = Request::get("/v1/models").header("X-Forwarded-For", "10.9.9.9, 192.0.2.7");
        ask.send(&router).expect(200);
        until("the caller is named", || caller(&router) == expected);
    }
}

/// A connection that begins with `preface`, and what is answered on it; nothing if it is closed.
fn introduced(port: u16, preface: &[u8], request: &[u8]) -> String {
    let mut tcp = TcpStream::connect(("127.0.0.1", port)).unwrap();
    tcp.set_read_timeout(Some(secs(5))).unwrap();
    let mut answer = Vec::new();
    let _ = tcp.write_all(&[preface, request].concat());
    let _ = tcp.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

/// Version 2 from 203.0.113.9.
fn version_2() -> Vec<u8> {
    [&b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c"[..], &[203, 0, 113, 9, 127, 0, 0, 1, 0, 80, 1, 187]].concat()
}

#[test]
fn the_proxy_protocol_names_the_caller_where_it_is_expected_and_nowhere_else() {
    let port = free_port();
    let listen = format!("listen: [{{address: \"127.0.0.1:{port}\", proxy_protocol: true}}]");
    let config = Config::single(&Upstream::healthy().url());
    let router = config.clone().server(&format!("{listen}\ntrusted_proxies: [127.0.0.1]")).start();
    let request = Request::get("/v1/models").header("Connection", "close").bytes(&router);
    let line = b"PROXY TCP4 198.51.100.4 127.0.0.1 4711 80\r\n";
    for (preface, address) in [(&line[..], "198.51.100.4"), (&version_2(), "203.0.113.9")] {
        let answer = introduced(port, preface, &request);
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        until("the caller is named", || caller(&router) == address);
    }
    for preface in [&b""[..], b"PROXY TCP4 nonsense\r\n", b"GET / HTTP/1.1\r\n"] {
        assert_eq!(introduced(port, preface, &request), "", "{preface:?}");
    }
    assert!(introduced(router.port, line, &request).starts_with("HTTP/1.1 400"), "it was not expected there");
    drop(router);
    let stranger = config.server(&format!("{listen}\ntrusted_proxies: [10.0.0.0/8]")).start();
    assert_eq!(introduced(port, line, &request), "", "a stranger was believed");
    let rejected = || stranger.metric("auto_ai_router_rejected_total", &[("reason", "proxy_protocol")]);
    until("the stranger is counted", || rejected() == Some(1.0));
}

#[test]
fn a_connection_that_was_introduced_moves_over_an_upgrade_and_keeps_its_caller() {
    let port = free_port();
    let listen = format!("listen: [{{address: \"127.0.0.1:{port}\", proxy_protocol: true}}]");
    let config = Config::single(&Upstream::healthy().url());
    let mut router = config.server(&format!("{listen}\ntrusted_proxies: [127.0.0.1]")).start();
    let mut conn = Conn::open(([127, 0, 0, 1], port).into());
    conn.write(&version_2());
    for old in [true, false] {
        conn.write(&Request::get("/v1/models").bytes(&router));
        assert_ne!(conn.answer().expect(200).header("connection"), Some("close"));
        until("the caller is named", || {
            let named = |line: &Value| line["client_ip"] == "203.0.113.9";
            router.access_log().iter().filter(|line| named(line)).count() == 2 - usize::from(old)
        });
        if old {
            router.upgrade();
            assert!(router.exit(secs(5)).is_some(), "the old process has kept the connection");
        }
    }
}

#[test]
fn a_full_house_says_so_and_has_room_again_when_somebody_leaves() {
    let router = Config::single(&Upstream::healthy().url()).server("max_connections: 8").start();
    let ask = Request::get("/v1/models");
    let keep = || {
        let mut conn = Conn::open(router.address());
        conn.write(&ask.bytes(&router));
        (conn.answer().status == 200).then_some(conn)
    };
    let mut kept: Vec<_> = (0..8).map(|_| eventually(secs(5), keep).expect("a place")).collect();
    let refused = ask.send(&router);
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("1")));
    assert_eq!(refused.code(), "connections");
    kept.pop();
    let served = eventually(secs(5), || (ask.send(&router).status == 200).then_some(()));
    assert!(served.is_some(), "a place that was left is not free again");
    kept.clear();
    let rejected = || router.metric("auto_ai_router_rejected_total", &[("reason", "connections")]);
    until("it is counted", || rejected() >= Some(1.0));
}

#[test]
fn one_address_cannot_take_all_places() {
    let port = free_port();
    let lines = format!(
        "listen: [{{address: \"127.0.0.1:{port}\", proxy_protocol: true}}]\ntrusted_proxies: [127.0.0.1]\n\
         max_connections_per_address: 2"
    );
    let router = Config::single(&Upstream::healthy().url()).server(&lines).start();
    let from = |address: &str| {
        let mut tcp = TcpStream::connect(("127.0.0.1", port)).unwrap();
        tcp.set_read_timeout(Some(secs(5))).unwrap();
        let preface = format!("PROXY TCP4 {address} 127.0.0.1 1 80\r\n");
        let request = Request::get("/v1/models").bytes(&router);
        let _ = tcp.write_all(&[preface.as_bytes(), &request].concat());
        let mut answer = [0; 12];
        let _ = tcp.read_exact(&mut answer);
        (String::from_utf8_lossy(&answer[9..]).into_owned(), tcp)
    };
    let kept: Vec<_> = (0..2).map(|_| from("192.0.2.1")).collect();
    assert!(kept.iter().all(|(status, _)| status == "200"), "{kept:?}");
    assert_eq!(from("192.0.2.1").0, "503");
    assert_eq!(from("192.0.2.2").0, "200");
    drop(kept);
    assert!(eventually(secs(5), || (from("192.0.2.1").0 == "200").then_some(())).is_some());
}
