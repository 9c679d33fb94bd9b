//! Pages in browsers: what a browser asks first, and what every answer must say to it.

use crate::support::*;

const PAGE: &str = "https://app.example.com";

fn ask_first(router: &Router, origin: &str) -> Answer {
    Request::new("OPTIONS", "/v1/chat/completions")
        .keyless()
        .header("origin", origin)
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "authorization,content-type,x-stainless-os")
        .send(router)
}

fn from(origin: &str) -> Request {
    Request::post("/v1/chat/completions").header("origin", origin)
}

const ALLOWED: &str = "access-control-allow-origin";

#[test]
fn a_browser_is_told_what_it_may_ask_without_a_key() {
    let upstream = Upstream::healthy();
    let router = Config::single(&upstream.url()).server("cors: true").start();
    let answer = ask_first(&router, PAGE).expect(200);
    assert_eq!(answer.header(ALLOWED), Some("*"));
    assert_eq!(
        answer.header("access-control-allow-headers"),
        Some("authorization,content-type,x-stainless-os")
    );
    assert!(answer.header("access-control-allow-methods").is_some_and(|methods| methods.contains("POST")));
    assert_eq!(upstream.count(), 0);
}

#[test]
fn answers_streams_and_errors_name_the_page() {
    let upstream = Upstream::healthy();
    let router = Config::single(&upstream.url()).server(&format!("cors: [\"{PAGE}\"]")).start();
    let answer = from(PAGE).json(&chat("m")).send(&router).expect(200);
    assert_eq!((answer.header(ALLOWED), answer.header("vary")), (Some(PAGE), Some("origin")));
    let stream = from(PAGE).json(&chat_streamed("m")).send(&router).expect(200);
    assert_eq!(stream.header(ALLOWED), Some(PAGE));
    let refused = from(PAGE).keyless().json(&chat("m")).send(&router).expect(401);
    assert_eq!(refused.header(ALLOWED), Some(PAGE));
    let files = Request::get("/v1/files").header("origin", PAGE).send(&router);
    assert_eq!(files.header(ALLOWED), Some(PAGE), "an answer whose bytes are not opened");
}

#[test]
fn other_pages_and_a_router_without_the_switch_get_nothing_of_it() {
    let upstream = Upstream::healthy();
    let router = Config::single(&upstream.url()).server(&format!("cors: [\"{PAGE}\"]")).start();
    assert_ne!(ask_first(&router, "https://evil.example.com").status, 200);
    let answer = from("https://evil.example.com").json(&chat("m")).send(&router).expect(200);
    assert_eq!(answer.header(ALLOWED), None);
    let plain = Config::single(&upstream.url()).start();
    assert_ne!(ask_first(&plain, PAGE).status, 200);
    assert_eq!(from(PAGE).json(&chat("m")).send(&plain).expect(200).header(ALLOWED), None);
}
