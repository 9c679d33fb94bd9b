//! Headers: what reaches the provider, what reaches the client, and what stays with us.

use serde_json::json;

use crate::support::*;

#[test]
fn the_client_s_identity_stays_here() {
    let upstream = Upstream::healthy();
    let router = Config::single(&upstream.url()).start();
    let stripped = [
        ("x-api-key", MASTER_KEY),
        ("api-key", MASTER_KEY),
        ("cookie", "session=1"),
        ("openai-organization", "org-client"),
        ("openai-project", "proj-client"),
        ("x-stainless-lang", "python"),
        ("x-stainless-retry-count", "1"),
        ("forwarded", "for=10.0.0.1"),
        ("x-forwarded-for", "10.0.0.1"),
        ("x-forwarded-host", "inside"),
        ("x-real-ip", "10.0.0.1"),
        ("connection", "keep-alive, x-hop"),
        ("x-hop", "1"),
        ("keep-alive", "timeout=5"),
        ("te", "trailers"),
        ("upgrade", "h2c"),
        ("proxy-authorization", "Basic eA=="),
        ("expect", ""),
    ];
    let kept = [("openai-beta", "assistants=v2"), ("idempotency-key", "k-1"), ("user-agent", "mine/1")];
    let mut request = Request::chat(&chat("m"));
    for (name, value) in stripped.iter().filter(|(n, _)| *n != "expect").chain(&kept) {
        request = request.header(name, value);
    }
    request.send(&router).expect(200);
    let call = upstream.only();
    for (name, _) in stripped.iter().filter(|(n, _)| *n != "connection") {
        assert_eq!(call.header(name), None, "{name} reached the provider");
    }
    for (name, value) in kept {
        assert_eq!(call.header(name), Some(value), "{name} did not reach the provider");
    }
    assert_eq!(call.header("authorization"), Some(format!("Bearer {}", key_of("a")).as_str()));
    assert!(call.headers.iter().all(|(_, v)| !v.contains(MASTER_KEY)));
}

#[test]
fn the_upstream_request_has_a_host_and_a_length_of_its_own() {
    let upstream = Upstream::healthy();
    let router = Config::single(&upstream.url()).start();
    let body = chat_streamed("m");
    router.stream(&body).expect(200).rest();
    let call = upstream.only();
    let count = |name: &str| call.headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name)).count();
    assert_eq!((count("host"), count("content-length"), count("authorization")), (1, 1, 1));
    assert_eq!(call.header("host"), Some(upstream.address.to_string().as_str()));
    assert_eq!(call.header("content-length"), Some(call.body.len().to_string().as_str()));
    assert_eq!(call.header("content-type"), Some("application/json"));
}

#[test]
fn a_prefix_in_the_base_url_is_kept_and_v1_is_never_doubled() {
    let upstream = Upstream::healthy();
    for (base, expected) in [
        ("", "/v1/chat/completions"),
        ("/", "/v1/chat/completions"),
        ("/v1", "/v1/chat/completions"),
        ("/v1/", "/v1/chat/completions"),
        ("/openai/v1", "/openai/v1/chat/completions"),
    ] {
        let router = Config::single(&format!("{}{base}", upstream.url())).start();
        router.chat(&chat("m")).expect(200);
        assert_eq!(upstream.last().path, expected, "base_url ending in {base:?}");
    }
}

#[test]
fn a_query_travels_along() {
    let upstream = Upstream::healthy();
    let router = Config::single(&upstream.url()).start();
    router.post("/v1/chat/completions?beta=true&x=%20y", &chat("m")).expect(200);
    assert_eq!(upstream.only().path, "/v1/chat/completions?beta=true&x=%20y");
}

#[test]
fn headers_of_a_credential_are_added() {
    let upstream = Upstream::healthy();
    let config =
        Config::new().credential("a", &upstream.url(), "headers:\n  X-Team: blue\n  User-Agent: fixed/1");
    let router = config.start();
    Request::chat(&chat("m")).header("user-agent", "client/1").send(&router).expect(200);
    let call = upstream.only();
    assert_eq!(call.header("x-team"), Some("blue"));
    assert_eq!(call.header("user-agent"), Some("fixed/1"));
}

#[test]
fn the_provider_s_own_headers_stay_there() {
    let own = [
        ("set-cookie", "__cf=1"),
        ("alt-svc", "h3=\":443\""),
        ("openai-organization", "org-ours"),
        ("openai-project", "proj-ours"),
        ("anthropic-organization-id", "org"),
        ("x-ratelimit-remaining-requests", "9"),
        ("x-ratelimit-limit-tokens", "1000"),
        ("anthropic-ratelimit-requests-limit", "5"),
        ("keep-alive", "timeout=5"),
        ("strict-transport-security", "max-age=1"),
        ("access-control-allow-origin", "*"),
        ("cf-ray", "abc"),
    ];
    let body = reply::chat_body("m", "x", 1, 1);
    let mut reply = respond(200).header("x-request-id", "req_upstream").header("openai-processing-ms", "12");
    for (name, value) in own {
        reply = reply.header(name, value);
    }
    let upstream = Upstream::always(reply.json(&body));
    let router = Config::single(&upstream.url()).start();
    let answer = router.chat(&chat("m")).expect(200);
    for (name, value) in own {
        assert_ne!(answer.header(name), Some(value), "{name} reached the client");
    }
    assert_eq!(answer.header("x-upstream-request-id"), Some("req_upstream"));
    assert_eq!(answer.header("openai-processing-ms"), Some("12"));
    assert_eq!(answer.json(), body);
}

#[test]
fn every_answer_has_a_request_id_of_ours() {
    let upstream = Upstream::healthy();
    let router = Config::single(&upstream.url()).start();
    let answers = [
        router.chat(&chat("m")).expect(200),
        router.post("/v1/chat/completions", &json!({})).expect(400),
        Request::chat(&chat("m")).keyless().send(&router).expect(401),
        router.get("/v1/models").expect(200),
        router.get("/nowhere").expect(404),
    ];
    let ids: std::collections::HashSet<_> = answers
        .iter()
        .map(|a| a.header("x-request-id").unwrap_or_else(|| panic!("no id on a {}", a.status)).to_string())
        .collect();
    assert_eq!(ids.len(), answers.len(), "ids repeat");
    until("the id of the answer is in the access log", || {
        router.stdout().contains(answers[0].header("x-request-id").unwrap())
    });
}

#[test]
fn a_client_s_headers_never_choose_an_upstream() {
    let (mine, other) = (Upstream::healthy(), Upstream::healthy());
    let router = Config::single(&mine.url()).start();
    let mut request = Request::chat(&chat("m"));
    for name in [
        "x-base-url",
        "x-portkey-custom-host",
        "x-api-base",
        "x-upstream",
        "x-original-url",
        "x-forwarded-host",
    ] {
        request = request.header(name, &other.url());
    }
    request.send(&router).expect(200);
    let mut body = chat("m");
    for name in ["api_base", "base_url", "api_key"] {
        body[name] = json!(other.url());
    }
    router.chat(&body).expect(200);
    assert_eq!((mine.count(), other.count()), (2, 0));
    assert_eq!(mine.last().key, Some(key_of("a")));
}

/// A chat, a stream, bytes, and a request whose answer is not opened.
fn of_every_kind() -> [Request; 4] {
    [
        Request::chat(&chat("m")),
        Request::chat(&chat_streamed("m")),
        Request::post("/v1/audio/speech").json(&json!({"model": "m", "input": "hi", "voice": "v"})),
        Request::get("/v1/files/file-1"),
    ]
}

/// Answers each kind with these headers.
fn with_headers(call: &Call, headers: &[(&str, &str)]) -> Reply {
    let respond = headers.iter().fold(respond(200), |respond, (name, value)| respond.header(name, value));
    match call.path.as_str() {
        "/v1/audio/speech" => respond.body("audio/mpeg", b"sound"),
        "/v1/files/file-1" => respond.json(&json!({"id": "file-1"})),
        _ if call.wants_stream() => respond.sse(chat_frames("m", &["Hi"], true)),
        _ => respond.json(&reply::chat_body("m", "Hi", 7, 5)),
    }
}

#[test]
fn an_answer_names_its_credential_only_where_that_is_wanted() {
    const NAMED: &str = "x-auto-ai-router-credential";
    let upstream = Upstream::scripted(|call| with_headers(call, &[(NAMED, "an upstream's own")]));
    let plain = Config::new().keyless(
        "openai",
        "the first",
        &upstream.url(),
        "api_key: sk-upstream-first-0123456789",
    );
    let telling = plain.clone().server("expose_route: true").start();
    let silent = plain.start();
    for request in of_every_kind() {
        let answer = request.send(&telling).expect(200);
        assert_eq!(answer.header(NAMED), Some("the first"), "{:?}", answer.headers);
        let answer = request.send(&silent).expect(200);
        assert_eq!(answer.header(NAMED), None, "{:?}", answer.headers);
    }
}

#[test]
fn a_header_of_an_answer_that_repeats_a_secret_is_dropped() {
    let upstream = Upstream::scripted(|call| {
        let echo = format!("asked by Bearer {}", call.key.clone().unwrap_or_default());
        let headers = [
            ("x-echo", echo.as_str()),
            ("x-request-id", echo.as_str()),
            ("x-master", MASTER_KEY),
            ("x-tag", "blue"),
            ("x-kept", "sk-something-else"),
        ];
        with_headers(call, &headers)
    });
    let router = Config::new().credential("a", &upstream.url(), "headers: {x-custom: blue}").start();
    for request in of_every_kind() {
        let answer = request.send(&router).expect(200);
        for name in ["x-echo", "x-master", "x-upstream-request-id"] {
            assert_eq!(answer.header(name), None, "{:?}", answer.headers);
        }
        assert_eq!(
            (answer.header("x-tag"), answer.header("x-kept")),
            (Some("blue"), Some("sk-something-else"))
        );
    }
    until("all are told", || router.access_log().iter().filter(|l| l["status"] == 200).count() >= 4);
    assert!(!router.stdout().contains(&key_of("a")), "{}", router.stdout());
}
