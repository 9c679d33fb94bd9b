//! Health, metrics and the page: their shapes are contracts with dashboards and with other routers.

use std::collections::BTreeSet;

use serde_json::{json, Value};

use crate::support::*;

fn fleet() -> (Upstream, Router) {
    let upstream = Upstream::healthy();
    let router = Config::new()
        .credential("main", &upstream.url(), "rpm: 10\ntpm: 5000\nweight: 2")
        .credential("free", &upstream.url(), "")
        .proxy("peer", &upstream.url(), "sk-peer-key-0123456789", "is_fallback: true")
        .model("name: m\ncredential: main\nrpm: 6\ntpm: 3000")
        .start();
    (upstream, router)
}

#[test]
fn health_has_the_shape_that_other_routers_read() {
    let (_upstream, router) = fleet();
    router.chat(&chat("m")).expect(200);
    router.settles("main", 12);
    let health = router.health();
    assert_eq!(health["status"], "healthy");
    let totals =
        ["credentials_available", "credentials_banned", "total_credentials"].map(|k| health[k].as_i64());
    assert_eq!(totals, [Some(3), Some(0), Some(3)]);
    let main = &health["credentials"]["main"];
    let expected = [
        ("type", json!("openai")),
        ("is_fallback", json!(false)),
        ("current_rpm", json!(1)),
        ("current_tpm", json!(12)),
        ("limit_rpm", json!(10)),
        ("limit_tpm", json!(5000)),
        ("is_banned", json!(false)),
    ];
    for (key, value) in expected {
        assert_eq!(main[key], value, "{key} in {main:#}");
    }
    let peer = &health["credentials"]["peer"];
    assert_eq!(
        (&peer["type"], &peer["is_fallback"], &peer["limit_rpm"]),
        (&json!("proxy"), &json!(true), &json!(-1))
    );
    let pair = &health["models"]["main:m"];
    assert_eq!(
        (&pair["credential"], &pair["model"]),
        (&json!("main"), &json!("m")),
        "{:#}",
        health["models"]
    );
    assert_eq!(
        (&pair["current_rpm"], &pair["limit_rpm"], &pair["limit_tpm"]),
        (&json!(1), &json!(6), &json!(3000))
    );
}

#[test]
fn without_a_key_health_is_a_bare_status() {
    let (_upstream, router) = fleet();
    let answer = Request::get("/health").keyless().send(&router).expect(200);
    assert_eq!(answer.json()["status"], "healthy");
    for name in ["main", "free", "peer", "limit_rpm"] {
        assert!(!answer.text().contains(name), "{name} is shown to everybody: {}", answer.text());
    }
    let wrong =
        Request::get("/health").keyless().header("authorization", "Bearer sk-wrong-key").send(&router);
    assert!(!wrong.text().contains("main"), "{}", wrong.text());
}

#[test]
fn monitoring_public_opens_the_details() {
    let upstream = Upstream::healthy();
    let router = Config::single(&upstream.url()).monitoring("public: true").start();
    let health = Request::get("/health").keyless().send(&router).expect(200).json();
    assert!(health["credentials"]["a"].is_object());
    Request::get("/vhealth").keyless().send(&router).expect(200);
    Request::get("/metrics").keyless().send(&router).expect(200);
}

#[test]
fn monitoring_may_be_closed() {
    let upstream = Upstream::healthy();
    let router = Config::single(&upstream.url()).monitoring("public: false").start();
    Request::get("/metrics").keyless().send(&router).expect(401);
    Request::get("/vhealth").keyless().send(&router).expect(401);
    router.get("/metrics").expect(200);
    Request::get("/health").keyless().send(&router).expect(200);
}

#[test]
fn live_and_ready_answer_everybody() {
    let (_upstream, router) = fleet();
    for path in ["/health/live", "/health/ready"] {
        Request::get(path).keyless().send(&router).expect(200);
    }
}

#[test]
fn the_health_path_may_be_chosen() {
    let upstream = Upstream::healthy();
    let router = Config::single(&upstream.url()).monitoring("health_check_path: /status").start();
    assert_eq!(router.get("/status").expect(200).json()["status"], "healthy");
}

#[test]
fn the_page_shows_the_same_and_escapes_every_name() {
    let upstream = Upstream::healthy();
    let name = "<script>alert(1)</script>";
    let router = Config::new().credential(name, &upstream.url(), "rpm: 10").start();
    Request::get("/vhealth").keyless().send(&router).expect(401);
    let page = router.get("/vhealth").expect(200);
    assert!(page.header("content-type").unwrap().starts_with("text/html"));
    let html = page.text();
    assert!(!html.contains("<script>alert"), "a name is markup");
    assert!(html.contains("&lt;script&gt;") || html.contains("&#60;script"), "the name is not shown");
    assert!(!html.contains(&key_of(name)) && !html.contains(MASTER_KEY));
}

/// Name, type and labels of a metric.
type Series = (&'static str, &'static str, &'static [&'static str]);

/// What dashboards were made for.
const SERIES: [Series; 8] = [
    ("auto_ai_router_requests_total", "counter", &["credential", "endpoint", "status"]),
    ("auto_ai_router_requests_duration_seconds", "histogram", &["credential", "endpoint"]),
    ("auto_ai_router_credential_rpm_current", "gauge", &["credential"]),
    ("auto_ai_router_credential_tpm_current", "gauge", &["credential"]),
    ("auto_ai_router_credential_banned", "gauge", &["credential"]),
    ("auto_ai_router_credential_errors_total", "counter", &["credential"]),
    ("auto_ai_router_model_rpm_current", "gauge", &["credential", "model"]),
    ("auto_ai_router_model_tpm_current", "gauge", &["credential", "model"]),
];

/// How many chat requests ended with this status.
fn counted(router: &Router, status: &str) -> Option<f64> {
    let labels = [("endpoint", "/v1/chat/completions"), ("status", status)];
    router.metric("auto_ai_router_requests_total", &labels)
}

#[test]
fn metrics_have_the_published_names_types_and_labels() {
    let upstream = Upstream::queue([respond(500).error("no", "server_error", None)]);
    let router = Config::new()
        .never_bans()
        .credential("main", &upstream.url(), "rpm: 10")
        .credential("next", &upstream.url(), "rpm: 10")
        .model("name: m")
        .start();
    router.chat(&chat("m")).expect(200);
    until("the request is counted", || counted(&router, "200") == Some(1.0));
    let text = Request::get("/metrics").keyless().send(&router).expect(200).text();
    for (name, kind, labels) in SERIES {
        assert!(text.contains(&format!("# TYPE {name} {kind}\n")), "{name} is no {kind}");
        let line = text
            .lines()
            .find(|l| l.starts_with(name) && l.contains('{'))
            .unwrap_or_else(|| panic!("no {name}"));
        for label in labels {
            assert!(line.contains(&format!("{label}=\"")), "no label {label}: {line}");
        }
    }
    assert!(text.contains("endpoint=\"/v1/chat/completions\""));
    let used = router.metric("auto_ai_router_credential_rpm_current", &[("credential", "main")]);
    assert_eq!(used, Some(1.0));
}

#[test]
fn proxies_are_in_request_counters_only() {
    let upstream = Upstream::healthy();
    let router = Config::new().proxy("peer", &upstream.url(), "sk-peer-key-0123456789", "rpm: 10").start();
    router.chat(&chat("m")).expect(200);
    until("the request is counted", || {
        router.metric("auto_ai_router_requests_total", &[("credential", "peer")]) == Some(1.0)
    });
    assert_eq!(router.metric("auto_ai_router_credential_rpm_current", &[("credential", "peer")]), None);
    assert_eq!(router.metric("auto_ai_router_credential_banned", &[("credential", "peer")]), None);
}

#[test]
fn labels_are_bounded_whatever_clients_ask_for() {
    let upstream = Upstream::healthy();
    let router = Config::single(&upstream.url()).start();
    let series = || -> BTreeSet<String> {
        let text = router.get("/metrics").text();
        let series = text
            .lines()
            .filter(|l| !l.starts_with('#'))
            .filter_map(|l| Some(l.rsplit_once(' ')?.0.to_string()));
        series.collect()
    };
    for path in ["/v1/files/file-0", "/v1/odd/0", "/odd/0"] {
        router.get(path);
    }
    router.chat(&chat("model-0"));
    series();
    let before = series();
    for n in 1..60 {
        router.get(&format!("/v1/files/file-{n}"));
        router.get(&format!("/v1/odd/{n}"));
        router.get(&format!("/odd/{n}"));
        router.chat(&chat(&format!("model-{n}")));
    }
    let new: Vec<_> = series().difference(&before).cloned().collect();
    assert!(new.len() < 40, "{} new series: {new:#?}", new.len());
}

#[test]
fn refused_requests_are_counted_and_logged_too() {
    let upstream = Upstream::healthy();
    let router = Config::single(&upstream.url()).start();
    Request::chat(&chat("m")).keyless().send(&router).expect(401);
    router.post("/v1/chat/completions", &json!({})).expect(400);
    for status in ["401", "400"] {
        until("a refusal is counted", || counted(&router, status) == Some(1.0));
    }
    until("refusals are in the access log", || router.chat_log().len() == 2);
}

#[test]
fn failed_requests_have_a_log_of_their_own_where_one_is_wanted() {
    let upstream = Upstream::always(respond(400).error("no", "invalid_request_error", None));
    let keys = "log_errors: true\nerrors_log_path: errors.log";
    let router = Config::single(&upstream.url()).monitoring(keys).start();
    router.chat(&chat("m")).expect(400);
    router.get("/v1/models").expect(200);
    let path = router.dir().join("errors.log");
    let text = || std::fs::read_to_string(&path).unwrap_or_default();
    until("the failure is in the file", || text().lines().count() == 1);
    let line: Value = serde_json::from_str(&text()).expect("a line of JSON");
    assert_eq!(line["status"], 400);
    assert!(!text().contains(MASTER_KEY) && !text().contains(&key_of("a")));
}

#[test]
fn every_request_is_told_exactly_once() {
    let upstream = Upstream::scripted(|call| match call.model().as_str() {
        "hangs" => Reply::silence(),
        "breaks" => respond(200).open_sse([role("m"), word("m", "x")]).close(),
        "fails" => respond(500).error("no", "server_error", None),
        _ => Reply::good(call),
    });
    let router = Config::single(&upstream.url()).never_bans().start();
    router.chat(&chat("m")).expect(200);
    router.stream(&chat_streamed("m")).expect(200).rest();
    router.stream(&chat_streamed("breaks")).expect(200).rest();
    router.chat(&chat("fails"));
    let mut conn = Conn::open(router.address());
    conn.write(&Request::chat(&chat("hangs")).bytes(&router));
    upstream.wait_for(upstream.count().max(5));
    drop(conn);
    until("five lines", || router.chat_log().len() >= 5);
    std::thread::sleep(ms(300));
    let log = router.chat_log();
    assert_eq!(log.len(), 5, "{log:#?}");
    let statuses: Vec<_> = log.iter().map(|line| line["status"].as_u64().unwrap_or(0)).collect();
    assert!(statuses.contains(&499), "a client that left is a 499: {statuses:?}");
    assert!(log.iter().all(|line| line["request_id"].is_string()), "{:#}", log[0]);
    until("nothing is in flight", || {
        let gauge = router.metric("auto_ai_router_in_flight", &[]);
        gauge.is_none_or(|n| n <= 1.0)
    });
}

#[test]
fn no_secret_is_in_any_log_page_or_metric() {
    let upstream = Upstream::scripted(|call| match call.number % 3 {
        0 => respond(401).error(&format!("bad key {}", call.key.clone().unwrap()), "auth", None),
        _ => Reply::good(call),
    });
    let router = Config::new()
        .server("logging_level: debug")
        .credential("a", &upstream.url(), "headers:\n  X-Secret: sk-header-secret-0123456789")
        .credential("b", &upstream.url(), "")
        .start();
    for _ in 0..4 {
        router.chat(&chat("m"));
    }
    Request::chat(&chat("m"))
        .keyless()
        .header("authorization", "Bearer sk-client-guess-0123456789")
        .send(&router);
    let pages = ["/health", "/vhealth", "/metrics", "/v1/models"].map(|path| router.get(path).text());
    let all = format!("{}{}{}", pages.concat(), router.stdout(), router.stderr());
    for secret in
        [&key_of("a"), &key_of("b"), MASTER_KEY, "sk-header-secret-0123456789", "sk-client-guess-0123456789"]
    {
        assert!(!all.contains(secret), "{secret} is shown somewhere");
    }
}

#[test]
fn prometheus_has_a_port_of_its_own_and_one_in_use_is_only_a_warning() {
    let upstream = Upstream::healthy();
    let port = router::free_port();
    let listen = format!("prometheus_listen: 127.0.0.1:{port}");
    let first = Config::single(&upstream.url()).monitoring(&listen).start();
    let mut scrape = Conn::open(([127, 0, 0, 1], port).into());
    scrape.write(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
    let answer = scrape.answer().expect(200);
    assert!(answer.text().contains("auto_ai_router_"));
    let second = Config::single(&upstream.url()).monitoring(&listen).start();
    second.chat(&chat("m")).expect(200);
    first.chat(&chat("m")).expect(200);
    until("the operator is warned", || second.stderr().contains(&port.to_string()));
    let _: Value = second.health();
}
