//! The endpoints of the routers before this one: their shapes, who may see them, and that no key is in them.

use serde_json::Value;

use crate::support::*;

const PAGES: [&str; 7] = [
    "/v1/usage",
    "/backend/info",
    "/router/stats",
    "/router/health",
    "/router/rate-limits",
    "/auth/status",
    "/auth/metrics",
];
const ACTS: [&str; 3] = ["/router/reset-stats", "/auth/reset-metrics", "/auth/reload-keys"];

fn two_services() -> (Upstream, Upstream, Router) {
    let (bad, good) = (Upstream::always(respond(500).error("no", "server_error", None)), Upstream::healthy());
    let config = Config::new().never_bans();
    let config =
        config.credential("first", &bad.url(), "rpm: 50").credential("second", &good.url(), "priority: 1");
    let router = config.client("team-a", "rpm: 10").client("team-b", "").start();
    (bad, good, router)
}

fn page(router: &Router, path: &str) -> Value {
    router.get(path).expect(200).json()
}

#[test]
fn every_page_takes_a_key_and_shows_none() {
    let (_bad, _good, router) = two_services();
    Request::chat(&chat("m")).by("team-a").send(&router).expect(200);
    for path in PAGES.into_iter().chain(["/openapi.json", "/docs", "/redoc"]) {
        let refused = Request::get(path).keyless().send(&router).expect(401);
        assert_eq!(refused.code(), "invalid_api_key", "{path}");
        Request::get(path).by("team-b").send(&router).expect(200);
        let text = router.get(path).expect(200).text();
        for secret in ["sk-upstream", "sk-client", "sk-test-master"] {
            assert!(!text.contains(secret), "{path} shows a key");
        }
        let wrong = Request::new("PUT", path).send(&router).expect(405);
        assert_eq!(
            (wrong.code().as_str(), wrong.header("allow")),
            ("method_not_allowed", Some("GET, HEAD")),
            "{path}"
        );
    }
    for path in ACTS {
        Request::post(path).keyless().send(&router).expect(401);
        assert_eq!(
            Request::post(path).by("team-a").send(&router).expect(403).code(),
            "insufficient_permissions"
        );
        Request::get(path).send(&router).expect(405);
    }
}

#[test]
fn statistics_count_attempts_and_failovers_until_they_are_reset() {
    let (_bad, _good, router) = two_services();
    (0..4).for_each(|_| drop(router.chat(&chat("m")).expect(200)));
    until("all are counted", || page(&router, "/router/stats")["total_requests"] == 4);
    let stats = page(&router, "/router/stats");
    assert_eq!((stats["total_requests"].as_u64(), stats["total_failovers"].as_u64()), (Some(4), Some(4)));
    assert_eq!(stats["service_stats"]["first"]["failures"], 4);
    assert_eq!(stats["service_stats"]["second"]["requests"], 4);
    assert_eq!(stats["failover_rate"], 100.0);
    let health = page(&router, "/router/health");
    assert_eq!(health["services"]["second"]["status"], "healthy");
    assert_eq!(health["services"]["first"]["failure_rate"], 100.0);
    assert!(health["services"]["first"]["base_url"].as_str().unwrap().starts_with("http://127.0.0.1"));
    let theirs = Request::get("/router/health").by("team-a").send(&router).json();
    assert!(theirs["services"]["first"]["base_url"].is_null(), "addresses are the operator's");
    let limits = page(&router, "/router/rate-limits");
    assert_eq!(limits["rate_limiting"]["first"]["rate_limit"], "50/60s");
    assert_eq!(limits["rate_limiting"]["first"]["remaining_quota"], 46);
    assert_eq!(limits["rate_limiting"]["second"]["remaining_quota"], "unlimited");
    assert_eq!(page(&router, "/backend/info")["router_stats"]["total_requests"], 4);
    Request::post("/router/reset-stats").send(&router).expect(200);
    let stats = page(&router, "/router/stats");
    assert_eq!(
        (stats["total_requests"].as_u64(), stats["service_stats"]["first"]["requests"].as_u64()),
        (Some(0), Some(0))
    );
    let left = page(&router, "/router/rate-limits")["rate_limiting"]["first"]["remaining_quota"].clone();
    assert_eq!(left, 46, "limits are not lifted");
}

#[test]
fn a_key_sees_its_own_row_and_the_master_key_all() {
    let (_bad, _good, router) = two_services();
    Request::chat(&chat("m")).by("team-a").send(&router).expect(200);
    Request::chat(&chat("m")).by("team-b").send(&router).expect(200);
    let names = |answer: Answer, member: &str| {
        let rows = answer.expect(200).json()[member].as_object().unwrap().clone();
        rows.keys().cloned().collect::<Vec<_>>()
    };
    for (path, member) in [("/auth/metrics", "keys_metrics"), ("/v1/usage", "clients")] {
        assert_eq!(names(Request::get(path).by("team-a").send(&router), member), ["team-a"]);
        assert_eq!(names(router.get(path), member), ["master", "team-a", "team-b"]);
    }
    until("all are counted", || page(&router, "/auth/metrics")["total_requests"] == 2);
    let metrics = page(&router, "/auth/metrics");
    assert_eq!((metrics["total_requests"].as_u64(), metrics["active_keys"].as_u64()), (Some(2), Some(2)));
    let hint = metrics["keys_metrics"]["team-a"]["key"].as_str().unwrap();
    assert!(hint.starts_with("sha256:") && hint.len() == 15, "{hint}");
    Request::post("/auth/reset-metrics").send(&router).expect(200);
    assert_eq!(page(&router, "/auth/metrics")["total_requests"], 0);
    let usage = page(&router, "/v1/usage");
    assert_eq!(usage["clients"]["team-a"]["windows"]["minute"]["requests"]["used"], 1, "limits stay");
}

#[test]
fn the_root_says_more_to_those_with_a_key() {
    let (_bad, _good, router) = two_services();
    let bare = Request::get("/").keyless().send(&router).expect(200).json();
    assert_eq!(bare, serde_json::json!({"object": "router", "api": "/v1"}));
    let whole = page(&router, "/");
    assert_eq!(whole["authentication"]["valid_keys_count"], 3);
    assert_eq!(
        (whole["services"][0]["name"].as_str(), whole["primary_backend"].as_str()),
        (Some("first"), Some("first"))
    );
}

#[test]
fn health_tells_of_vendors() {
    let (_bad, _good, router) = two_services();
    router.chat(&chat("m")).expect(200);
    let vendors = router.health()["details"]["vendors"].clone();
    assert_eq!(vendors["openai"]["credentials"], 2);
    assert_eq!(
        (vendors["openai"]["available"].as_u64(), vendors["openai"]["status"].as_str()),
        (Some(2), Some("up"))
    );
}

#[test]
fn a_reload_over_the_main_port_tells_what_is_wrong() {
    let upstream = Upstream::healthy();
    let router = Config::single(&upstream.url()).client("a", "").start();
    router.rewrite(&Config::single(&upstream.url()).client("a", "rpm: nonsense"));
    let refused = Request::post("/auth/reload-keys").send(&router).expect(422);
    assert!(
        refused.message().contains("rpm") && !refused.message().contains("sk-client"),
        "{}",
        refused.message()
    );
    Request::chat(&chat("m")).by("a").send(&router).expect(200);
    router.rewrite(&Config::single(&upstream.url()).client("b", ""));
    let reloaded = Request::post("/auth/reload-keys").send(&router).expect(200).json();
    assert_eq!(
        (reloaded["status"].as_str(), reloaded["valid_keys_count"].as_u64()),
        (Some("success"), Some(2))
    );
    Request::chat(&chat("m")).by("a").send(&router).expect(401);
    Request::chat(&chat("m")).by("b").send(&router).expect(200);
}

#[test]
fn the_description_is_of_what_is_served() {
    let (_bad, _good, router) = two_services();
    let document = page(&router, "/openapi.json");
    assert_eq!(document["openapi"], "3.1.1");
    for (path, operations) in document["paths"].as_object().unwrap() {
        if path.starts_with("/v1") && path != "/v1/usage" && path != "/v1/models" {
            continue;
        }
        let path = path.replace("{model}", "m").replace("/explain", "/explain?model=m");
        if path == "/vhealth/events" {
            // Has no end.
            continue;
        }
        if operations.get("get").is_some() {
            assert!(matches!(router.get(&path).status, 200 | 503), "{path}");
        }
    }
    let docs = router.get("/docs").expect(200);
    assert!(docs.header("content-security-policy").unwrap().starts_with("default-src 'none'"));
    assert!(docs.text().contains("/v1/chat/completions") && docs.body.len() < 60 << 10);
}

#[test]
fn who_has_the_description_already_is_told_so() {
    let (_bad, _good, router) = two_services();
    for path in ["/openapi.json", "/docs"] {
        let first = router.get(path).expect(200);
        let tag = first.header("etag").unwrap().to_owned();
        assert_eq!(first.header("cache-control"), Some("private, no-cache"));
        let again = Request::get(path).header("if-none-match", &tag).send(&router).expect(304);
        assert_eq!((again.body.len(), again.header("etag")), (0, Some(tag.as_str())), "{path}");
        let other = Request::get(path).header("if-none-match", "\"another\"").send(&router).expect(200);
        assert_eq!(other.body, first.body);
        Request::get(path).keyless().header("if-none-match", &tag).send(&router).expect(401);
    }
}
