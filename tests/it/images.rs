//! Pictures that are fetched for upstreams which fetch none, from a network that means no good.

use serde_json::{json, Value};

use crate::support::*;

const PNG: &[u8] = b"\x89PNG\r\n\x1a\n and the rest of it";
const PNG_URL: &str = "data:image/png;base64,iVBORw0KGgogYW5kIHRoZSByZXN0IG9mIGl0";

fn picture(bytes: &[u8]) -> Reply {
    respond(200).body("image/png", bytes)
}

/// A router whose only credential needs pictures sent along; `allow` is what it may ask besides the public network.
fn router(upstream: &Upstream, allow: &[&Upstream]) -> Router {
    configured(upstream, allow, "").start()
}

fn configured(upstream: &Upstream, allow: &[&Upstream], images: &str) -> Config {
    let allow: Vec<_> = allow.iter().map(|host| host.address.to_string()).collect();
    Config::new()
        .credential("a", &upstream.url(), "inline_images: true")
        .images(&format!("allow: {}\n{images}", json!(allow)))
}

fn asking(urls: &[&str]) -> Value {
    let parts: Vec<_> =
        urls.iter().map(|url| json!({"type": "image_url", "image_url": {"url": url}})).collect();
    json!({"model": "m", "messages": [{"role": "user", "content": parts}]})
}

/// The parts of the first message that the upstream got.
fn parts(upstream: &Upstream) -> Vec<Value> {
    upstream.only().json()["messages"][0]["content"].as_array().unwrap().clone()
}

/// What the upstream is told instead of the picture at `url`.
fn note(url: &str, allow: &[&Upstream], images: &str) -> String {
    let upstream = Upstream::healthy();
    let router = configured(&upstream, allow, images).start();
    router.chat(&asking(&[url])).expect(200);
    let part = parts(&upstream).remove(0);
    assert_eq!(part["type"], "text", "{part}");
    let text = part["text"].as_str().unwrap().to_owned();
    assert!(text.starts_with("[Picture 1 of 1 could not be loaded: "), "{text}");
    assert!(!text.contains("127.0.0.1") && !text.contains("169.254"), "{text}");
    text
}

#[test]
fn a_picture_is_fetched_once_and_sent_along() {
    let host = Upstream::always(picture(PNG));
    let upstream = Upstream::healthy();
    let router = router(&upstream, &[&host]);
    let url = format!("{}/a.png?x=1", host.url());
    router.chat(&asking(&[&url, "data:image/png;base64,QUJD", &url])).expect(200);
    let parts = parts(&upstream);
    let urls: Vec<_> = parts.iter().map(|part| part["image_url"]["url"].as_str().unwrap()).collect();
    assert_eq!(urls, [PNG_URL, "data:image/png;base64,QUJD", PNG_URL]);
    let call = host.only();
    assert_eq!((call.method.as_str(), call.path.as_str()), ("GET", "/a.png?x=1"));
    let names: Vec<_> = call.headers.iter().map(|(name, _)| name.to_ascii_lowercase()).collect();
    assert_eq!(
        names,
        ["host", "user-agent", "accept", "accept-encoding"],
        "nothing of the caller's goes along"
    );
    let fetched = || router.metric("auto_ai_router_images_total", &[("outcome", "fetched")]);
    assert_eq!(fetched(), Some(1.0));
}

#[test]
fn without_the_setting_the_upstream_gets_the_address() {
    let host = Upstream::always(picture(PNG));
    let upstream = Upstream::healthy();
    let router = Config::single(&upstream.url()).start();
    let body = asking(&[&host.url()]);
    router.chat(&body).expect(200);
    assert_eq!((upstream.only().json(), host.count()), (body, 0));
}

#[test]
fn one_fetch_serves_all_attempts() {
    let host = Upstream::always(picture(PNG));
    let failing = Upstream::always(respond(500).error("x", "server_error", None));
    let upstream = Upstream::healthy();
    let router = configured(&failing, &[&host], "")
        .credential("b", &upstream.url(), "inline_images: true\npriority: 1")
        .start();
    router.chat(&asking(&[&host.url()])).expect(200);
    assert_eq!(parts(&upstream)[0]["image_url"]["url"], PNG_URL);
    assert_eq!(host.count(), 1);
}

#[test]
fn a_translated_request_has_its_pictures_too() {
    let host = Upstream::always(picture(PNG));
    let answer = json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "stop_reason": "end_turn",
        "content": [{"type": "text", "text": "a cat"}], "usage": {"input_tokens": 1, "output_tokens": 1}});
    let upstream = Upstream::always(respond(200).json(&answer));
    let router = Config::new()
        .keyless("anthropic", "a", &upstream.url(), "api_key: sk-ant-0123456789\ninline_images: true")
        .images(&format!("allow: [\"{}\"]", host.address))
        .start();
    assert_eq!(router.chat(&asking(&[&host.url()])).expect(200).content(), "a cat");
    let source = &upstream.only().json()["messages"][0]["content"][0]["source"];
    assert_eq!((&source["type"], &source["media_type"]), (&json!("base64"), &json!("image/png")));
}

#[test]
fn what_is_not_in_the_public_network_is_not_asked() {
    let inside = Upstream::always(picture(PNG));
    let port = inside.address.port();
    for url in [
        inside.url(),
        format!("http://localhost:{port}/"),
        format!("http://2130706433:{port}/"),
        format!("http://0x7f.1:{port}/"),
        format!("http://0177.0.0.1:{port}/"),
        format!("http://127.1:{port}/"),
        format!("http://[::ffff:127.0.0.1]:{port}/"),
        format!("http://[::1]:{port}/"),
        format!("http://0.0.0.0:{port}/"),
        format!("http://user:pass@127.0.0.1:{port}/"),
        "http://127.0.0.1/".to_owned(),
        "http://localhost/".to_owned(),
        "http://localhost./".to_owned(),
        "http://169.254.169.254/latest/meta-data/".to_owned(),
        "http://[fd00:ec2::254]/latest/meta-data/".to_owned(),
        "http://10.0.0.1/".to_owned(),
        "https://192.168.1.1/".to_owned(),
        "http://1.1.1.1:22/".to_owned(),
        "http://no-such-host.invalid/".to_owned(),
    ] {
        assert!(note(&url, &[], "").contains("its address could not be reached"), "{url}");
    }
    assert_eq!(inside.count(), 0);
}

#[test]
fn a_redirect_is_checked_like_the_first_address() {
    let inside = Upstream::always(picture(PNG));
    for target in
        [inside.url(), "http://169.254.169.254/".into(), "file:///etc/passwd".into(), "//127.0.0.1/x".into()]
    {
        let host = Upstream::always(respond(302).header("location", &target).body("text/plain", ""));
        assert!(note(&host.url(), &[&host], "").contains("could not be reached"), "{target}");
    }
    assert_eq!(inside.count(), 0);
}

#[test]
fn redirects_are_followed_a_few_times() {
    let host = Upstream::scripted(|call| match call.path.as_str() {
        "/3" => picture(PNG),
        path => {
            let next = path[1..].parse::<u32>().map_or(0, |step| step + 1);
            respond(301).header("location", &format!("/{next}")).body("text/plain", "")
        }
    });
    let upstream = Upstream::healthy();
    router(&upstream, &[&host]).chat(&asking(&[&format!("{}/0", host.url())])).expect(200);
    assert_eq!(parts(&upstream)[0]["image_url"]["url"], PNG_URL);
    assert_eq!(host.count(), 4);
    let round = Upstream::always(respond(307).header("location", "/").body("text/plain", ""));
    assert!(note(&round.url(), &[&round], "max_redirects: 2").contains("answered with an error"));
    assert_eq!(round.count(), 3);
}

#[test]
fn headers_for_the_address_go_there_and_nowhere_else() {
    let there = Upstream::always(picture(PNG));
    let target = there.url();
    let host = Upstream::always(respond(302).header("location", &target).body("text/plain", ""));
    let upstream = Upstream::healthy();
    let router = router(&upstream, &[&host, &there]);
    let headers = json!({"Authorization": "Bearer of-the-picture", "Host": "evil", "X-A": "1\r\nX-B: 2"});
    let part =
        json!({"type": "image_url", "image_url": {"url": host.url(), "detail": "low", "headers": headers}});
    let body = json!({"model": "m", "messages": [{"role": "user", "content": [part]}]});
    router.chat(&body).expect(200);
    assert_eq!(host.only().header("authorization"), Some("Bearer of-the-picture"));
    assert_eq!(host.only().header("host"), Some(host.address.to_string().as_str()));
    assert_eq!((host.only().header("x-a"), host.only().header("x-b")), (None, None));
    assert_eq!(there.only().header("authorization"), None, "another host");
    assert_eq!(parts(&upstream)[0]["image_url"], json!({"url": PNG_URL, "detail": "low"}));
}

#[test]
fn an_answer_that_is_no_picture_becomes_a_note() {
    let big = [PNG, &[0; 5000]].concat();
    let lie = respond(200).header("content-length", "99999999").head().send(PNG).hang();
    let endless = respond(200).header("transfer-encoding", "chunked").head();
    let endless = (0..100).fold(endless, |reply, _| reply.chunk(&big)).hang();
    let packed = respond(200).header("content-encoding", "gzip").body("image/png", PNG);
    let cut = respond(200).header("content-length", "500").head().send(PNG).close();
    for (reply, why) in [
        (picture(b"<html>not a picture at all</html>"), "is no PNG, JPEG, GIF or WebP"),
        (picture(b"\x89PNG"), "is no PNG"),
        (picture(b""), "is no PNG"),
        (packed, "is no PNG"),
        (picture(&big), "it is too large"),
        (lie, "it is too large"),
        (endless, "it is too large"),
        (cut, "answered with an error"),
        (respond(401).body("text/plain", ""), "denied access"),
        (respond(403).body("text/plain", ""), "denied access"),
        (respond(404).body("text/plain", ""), "nothing at its address"),
        (respond(500).body("text/plain", ""), "answered with an error"),
        (respond(206).body("image/png", PNG), "answered with an error"),
        (Reply::silence(), "took too long"),
        (picture(PNG).split(1).paced(ms(200)), "took too long"),
        (Reply::default().send("nonsense\r\n\r\n").close(), "answered with an error"),
    ] {
        let host = Upstream::always(reply);
        let note = note(&host.url(), &[&host], "max_size: 4KiB\ntimeout: 1s");
        assert!(note.contains(why), "{note} instead of: {why}");
    }
}

#[test]
fn slow_pictures_are_fetched_beside_each_other_and_some_are_too_many() {
    let host = Upstream::always(picture(PNG).after(ms(500)));
    let upstream = Upstream::healthy();
    let router = configured(&upstream, &[&host], "max_images: 3").start();
    let urls: Vec<_> = (0..5).map(|n| format!("{}/{n}", host.url())).collect();
    let start = std::time::Instant::now();
    router.chat(&asking(&urls.iter().map(String::as_str).collect::<Vec<_>>())).expect(200);
    assert!(start.elapsed() < ms(1400), "{:?}", start.elapsed());
    let parts = parts(&upstream);
    let kinds: Vec<_> = parts.iter().map(|part| part["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["image_url", "image_url", "image_url", "text", "text"]);
    assert!(parts[4]["text"]
        .as_str()
        .unwrap()
        .starts_with("[Picture 5 of 5 could not be loaded: there are too many"));
    assert_eq!(host.count(), 3);
}

#[test]
fn pictures_count_in_the_budget_of_bodies_and_leave_it_with_their_request() {
    let large = [PNG, &vec![7; 600 << 10]].concat();
    let host = Upstream::always(picture(&large));
    let upstream = Upstream::healthy();
    let router =
        configured(&upstream, &[&host], "").server("max_body_size: 1MiB\nmax_buffered: 2MiB").start();
    for _ in 0..5 {
        router.chat(&asking(&[&host.url()])).expect(200);
    }
    let two = [format!("{}/1", host.url()), format!("{}/2", host.url())];
    router.chat(&asking(&[&two[0], &two[1]])).expect(200);
    let calls = upstream.calls();
    let kinds = |call: usize| {
        let body = calls[call].json();
        let parts = body["messages"][0]["content"].as_array().unwrap().clone();
        parts.iter().map(|part| part["type"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert!((0..5).all(|call| kinds(call) == ["image_url"]));
    assert!(kinds(5).contains(&"text".to_owned()), "{:?}", kinds(5));
}

#[test]
fn a_client_that_leaves_ends_the_fetch() {
    let host = Upstream::always(Reply::silence());
    let upstream = Upstream::healthy();
    let router = router(&upstream, &[&host]);
    let mut conn = Conn::open(router.address());
    conn.write(&Request::chat(&asking(&[&host.url()])).bytes(&router));
    until("the picture is asked for", || host.count() == 1);
    drop(conn);
    until("the fetch is ended", || host.only().gone().is_some());
    assert_eq!(upstream.count(), 0);
}
