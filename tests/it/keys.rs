//! Client keys: who is let in, for what and how often, and what a reload, a restart and an upgrade do to that.

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use serde_json::{json, Value};

use crate::support::*;

fn ask(client: &str) -> Request {
    Request::chat(&chat("m")).by(client)
}

fn row(router: &Router, client: &str) -> Value {
    router.get("/auth/metrics").expect(200).json()["keys_metrics"][client].clone()
}

#[test]
fn each_caller_has_a_key_and_no_provider_sees_one() {
    let upstream = Upstream::healthy();
    let hash = "key_sha256: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
    let config = Config::single(&upstream.url()).client("a", "").client("b", "");
    let mut router = config.start();
    ask("a").send(&router).expect(200);
    ask("b").send(&router).expect(200);
    router.chat(&chat("m")).expect(200);
    let refused = ask("c").send(&router).expect(401);
    assert_eq!(refused.code(), "invalid_api_key");
    let yaml = fs::read_to_string(router.dir().join("config.yaml")).unwrap();
    fs::write(
        router.dir().join("config.yaml"),
        yaml.replacen("client_keys:\n", &format!("client_keys:\n  - name: h\n    {hash}\n"), 1),
    )
    .unwrap();
    assert_eq!(router.admin("/admin/reload").0, 200);
    Request::chat(&chat("m")).keyless().header("x-api-key", "test").send(&router).expect(200);
    for call in upstream.calls() {
        assert_eq!(call.key.as_deref(), Some(key_of("a").as_str()));
        assert!(call.header("x-api-key").is_none());
    }
    router.sigterm();
    router.exit(secs(10)).expect("it leaves");
    let lines = router.chat_log();
    let mut names: Vec<_> = lines.iter().map(|line| line["client"].as_str().unwrap_or("nobody")).collect();
    names.sort();
    assert_eq!(names, ["a", "b", "h", "master", "nobody"]);
    let all = format!("{}{}", router.stdout(), router.stderr());
    assert!(!all.contains("sk-client-"), "a key in the log");
}

#[test]
fn a_key_may_come_in_a_header_of_the_operators_choice() {
    let upstream = Upstream::healthy();
    let config = Config::single(&upstream.url()).client("a", "").server("auth_header_name: X-My-Key");
    let router = config.start();
    let key = client_key("a");
    for value in [key.clone(), format!("Bearer {key}")] {
        Request::chat(&chat("m")).keyless().header("x-my-key", &value).send(&router).expect(200);
        assert!(upstream.last().header("x-my-key").is_none());
    }
    Request::get("/v1/files").keyless().header("X-My-Key", &key).send(&router).expect(200);
    let call = upstream.last();
    assert!(call.header("x-my-key").is_none() && call.key.as_deref() == Some(key_of("a").as_str()));
    ask("a").send(&router).expect(200);
    Request::chat(&chat("m")).keyless().header("x-other", &key).send(&router).expect(401);
}

#[test]
fn a_list_of_models_binds_a_key_everywhere() {
    let upstream = Upstream::healthy().lists(&["m", "gpt-5-mini", "secret"]);
    let config = Config::single(&upstream.url()).client("a", "models: [m, 'gpt-*']").client("b", "");
    let router = config.start();
    until("the models are known", || router.get("/v1/models").text().contains("secret"));
    ask("a").send(&router).expect(200);
    Request::chat(&chat("gpt-5-mini")).by("a").send(&router).expect(200);
    let before = upstream.count();
    let refused = Request::chat(&chat("secret")).by("a").send(&router).expect(403);
    assert_eq!(
        (refused.code().as_str(), refused.header("x-should-retry")),
        ("model_not_found", Some("false"))
    );
    assert!(refused.message().contains("'secret'"));
    let messages =
        json!({"model": "secret", "max_tokens": 5, "messages": [{"role": "user", "content": "x"}]});
    let told = Request::post("/v1/messages").json(&messages).by("a").send(&router).expect(403).json();
    assert_eq!(told["error"]["type"], "permission_error");
    let unnamed = Request::post("/v1/images/generations").json(&json!({"prompt": "x"})).by("a");
    unnamed.send(&router).expect(403);
    Request::post("/v1/batches").json(&json!({"input_file_id": "f"})).by("a").send(&router).expect(403);
    let listed = Request::get("/v1/models").by("a").send(&router).expect(200).json();
    let ids: Vec<_> = listed["data"].as_array().unwrap().iter().map(|m| m["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["gpt-5-mini", "m"]);
    Request::get("/v1/models/secret").by("a").send(&router).expect(403);
    Request::get("/v1/models/secret").by("b").send(&router).expect(200);
    assert_eq!(upstream.count(), before, "none of them went upstream");
    Request::get("/v1/files").by("a").send(&router).expect(200);
}

#[test]
fn limits_of_a_key_are_exact_and_say_when_to_come_back() {
    let upstream = Upstream::healthy();
    let config = Config::single(&upstream.url()).client("a", "rpm: 20").client("b", "");
    let router = config.start();
    let answers = at_once(60, |_| ask("a").send(&router));
    let good = answers.iter().filter(|answer| answer.status == 200).count();
    assert_eq!(good, 20);
    let refused = answers.into_iter().find(|answer| answer.status != 200).unwrap().expect(429);
    assert_eq!(refused.code(), "rate_limit_exceeded");
    assert_eq!(refused.message(), "This API key is at its limit of requests: 20 per minute.");
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((50..=60).contains(&wait), "{wait}");
    assert_eq!(refused.header("x-ratelimit-limit-requests"), Some("20"));
    assert_eq!(upstream.count(), 20);
    ask("b").send(&router).expect(200);
    Request::get("/v1/files").by("a").send(&router).expect(429);
    until("all are counted", || row(&router, "a")["requests_count"] == 61);
    let metrics = row(&router, "a");
    assert_eq!((metrics["requests_count"].as_u64(), metrics["success_count"].as_u64()), (Some(61), Some(20)));
}

#[test]
fn a_key_at_its_limit_is_first_told_that_a_model_is_not_for_it() {
    let upstream = Upstream::scripted(|call| match call.model().as_str() {
        "slow" => Reply::silence(),
        _ => Reply::good(call),
    });
    let config = Config::single(&upstream.url())
        .client("a", "rpm: 1\nmodels: [m]")
        .client("b", "max_concurrent: 1\nmodels: [m, slow]")
        .client("c", "rpm: 1");
    let router = config.start();
    let other = |client: &str| Request::chat(&chat("secret")).by(client).send(&router);
    ask("a").send(&router).expect(200);
    ask("a").send(&router).expect(429);
    assert_eq!(other("a").expect(403).code(), "model_not_found");
    let mut slow = Conn::open(router.address());
    slow.write(&Request::chat(&chat("slow")).by("b").bytes(&router));
    upstream.wait_for(1);
    ask("b").send(&router).expect(429);
    other("b").expect(403);
    ask("c").send(&router).expect(200);
    let mut early = Conn::open(router.address());
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: r\r\nauthorization: Bearer {}\r\ncontent-length: 9999\r\n\r\n",
        client_key("c")
    );
    early.write(head.as_bytes());
    assert_eq!(early.answer().status, 429, "a key for every model is refused by its head alone");
}

#[test]
fn tokens_of_a_key_are_what_its_answers_say() {
    let upstream = Upstream::healthy();
    let router = Config::single(&upstream.url()).client("a", "tpm: 100000").start();
    ask("a").send(&router).expect(200);
    let usage = Request::get("/v1/usage").by("a").send(&router).expect(200).json();
    let own = &usage["clients"]["a"];
    let told = own["prompt_tokens"].as_u64().unwrap() + own["completion_tokens"].as_u64().unwrap();
    assert!(told > 0);
    assert_eq!(own["windows"]["minute"]["tokens"], json!({"used": told, "limit": 100_000}));
}

#[test]
fn a_place_at_a_time_is_free_when_the_answer_has_come() {
    let upstream = Upstream::scripted(|call| match call.model().as_str() {
        "slow" => Reply::silence(),
        _ => Reply::good(call),
    });
    let router = Config::single(&upstream.url()).client("a", "max_concurrent: 1").client("b", "").start();
    let mut conn = Conn::open(router.address());
    for _ in 0..20 {
        conn.write(&ask("a").bytes(&router));
        assert_eq!(conn.answer().status, 200);
    }
    let mut slow = Conn::open(router.address());
    slow.write(&Request::chat(&chat("slow")).by("a").bytes(&router));
    upstream.wait_for(20);
    let refused = ask("a").send(&router).expect(429);
    assert_eq!(refused.message(), "This API key is at its limit of requests: 1 at one time.");
    ask("b").send(&router).expect(200);
    drop(slow);
    until("the place is free", || ask("a").send(&router).status == 200);
}

#[test]
fn an_expired_key_is_refused() {
    let upstream = Upstream::healthy();
    let soon = SystemTime::now() + secs(4);
    let text = format!("expires: {}", humantime::format_rfc3339_seconds(soon));
    let router =
        Config::single(&upstream.url()).client("a", &text).client("b", "expires: 2020-01-31").start();
    ask("a").send(&router).expect(200);
    assert_eq!(ask("b").send(&router).expect(401).message(), "This API key has expired.");
    std::thread::sleep(soon.duration_since(SystemTime::now()).unwrap_or_default());
    ask("a").send(&router).expect(401);
    assert_eq!(router.get("/auth/status").json()["valid_keys_count"], 1, "the master key");
    let warning = "this key is refused: it has expired at 2020-01-31T00:00:00Z";
    assert!(router.stderr().contains(warning), "{}", router.stderr());
}

#[test]
fn keys_of_the_environment_need_no_master_key() {
    let upstream = Upstream::healthy();
    let config = Config::single(&upstream.url())
        .server("auth_keys_from_env: true")
        .environment("AUTH_KEY_07", "sk-environment-0123456789");
    let router = config.start();
    let by = |key: &str| Request::chat(&chat("m")).keyless().header("api-key", key).send(&router);
    by("sk-environment-0123456789").expect(200);
    by("sk-environment-0123456780").expect(401);
}

#[test]
fn without_keys_anybody_on_this_host_may_ask() {
    let upstream = Upstream::healthy();
    let mut router = Config::single(&upstream.url()).server("enable_auth: false").start();
    Request::chat(&chat("m")).keyless().send(&router).expect(200);
    Request::chat(&chat("m")).keyless().header("authorization", "Bearer whatever").send(&router).expect(200);
    let status = Request::get("/auth/status").keyless().send(&router).expect(200).json();
    assert_eq!(
        (status["enabled"].as_bool(), status["system_status"].as_str()),
        (Some(false), Some("disabled"))
    );
    assert_eq!(upstream.last().key.as_deref(), Some(key_of("a").as_str()));
    router.sigterm();
    router.exit(secs(10)).expect("it leaves");
    assert!(router.stderr().contains("callers need no key"), "{}", router.stderr());
}

#[test]
fn an_open_router_on_a_public_address_does_not_start() {
    let dir = tempfile::tempdir().unwrap();
    let yaml = Config::single("http://127.0.0.1:9").server("enable_auth: false").yaml(free_port(), ".");
    fs::write(dir.path().join("config.yaml"), yaml.replacen("host: 127.0.0.1", "host: 0.0.0.0", 1)).unwrap();
    let (code, _, stderr) = router::run(dir.path(), &["check"]);
    assert!(code != 0 && stderr.contains("`server.host` is not on loopback"), "{stderr}");
}

/// The status that a WebSocket with the key of `a` gets.
fn socket(router: &Router, path: &str) -> u16 {
    let request = Request::get(path).by("a").header("connection", "Upgrade").header("upgrade", "websocket");
    let request = request.header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
    request.header("sec-websocket-version", "13").send(router).status
}

#[test]
fn uploads_and_sockets_are_the_keys_business_too() {
    let upstream = Upstream::healthy();
    let router = Config::single(&upstream.url()).client("a", "rpm: 2\nmodels: [m]").start();
    let upload = || {
        Request::post("/v1/files").body("multipart/form-data; boundary=x", "--x--\r\n").by("a").send(&router)
    };
    upload().expect(200);
    upload().expect(200);
    upload().expect(429);
    assert_eq!(socket(&router, "/v1/realtime?model=m"), 429);
    let router = Config::single(&upstream.url()).client("a", "models: [m]").start();
    assert_eq!(
        ["/v1/realtime?model=n", "/v1/realtime", "/v1/responses?model=m"].map(|path| socket(&router, path)),
        [403, 403, 403]
    );
}

#[test]
fn what_a_key_has_used_outlasts_reload_restart_and_upgrade() {
    let upstream = Upstream::healthy();
    let config = |rpm: u32| Config::single(&upstream.url()).client("a", &format!("rpm: {rpm}"));
    let router = config(5).start();
    ask("a").send(&router).expect(200);
    router.rewrite(&config(6));
    assert_eq!(router.admin("/admin/reload").0, 200);
    ask("a").send(&router).expect(200);
    let router = router.restart();
    ask("a").send(&router).expect(200);
    router.upgrade();
    ask("a").send(&router).expect(200);
    ask("a").send(&router).expect(200);
    ask("a").send(&router).expect(429);
    assert_eq!(upstream.count(), 5);
    until("all are counted", || row(&router, "a")["success_count"] == 5);
}

#[test]
fn a_stream_that_outlives_its_process_gives_its_place_back() {
    let upstream = Upstream::scripted(|call| match call.wants_stream() {
        true => Reply::chat_stream(call, &["a", "b", "c"]).paced(ms(700)),
        false => Reply::good(call),
    });
    let router = Config::single(&upstream.url()).client("a", "max_concurrent: 1").start();
    let mut events = Request::chat(&chat_streamed("m")).by("a").stream(&router);
    events.next_text().expect("the stream has begun");
    router.upgrade();
    ask("a").send(&router).expect(429);
    events.rest();
    until("its place is free in the other process", || ask("a").send(&router).status == 200);
}

#[test]
fn a_thousand_keys_are_revoked_and_reloaded_under_load() {
    let upstream = Upstream::healthy();
    let config = |keys: &mut dyn Iterator<Item = usize>| {
        keys.fold(Config::single(&upstream.url()), |config, n| {
            config.client(&format!("key-{n}"), "rpm: 100000")
        })
    };
    let router = config(&mut (0..1000)).start();
    let (stop, asked, failed) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for worker in 0..4 {
            let (stop, asked, failed, router) = (&stop, &asked, &failed, &router);
            scope.spawn(move || {
                let mut conn = Conn::open(router.address());
                for n in (worker * 2..1000).step_by(8).cycle().take_while(|_| !stop.load(Ordering::Relaxed)) {
                    conn.write(&ask(&format!("key-{n}")).bytes(router));
                    asked.fetch_add(1, Ordering::Relaxed);
                    failed.fetch_add(usize::from(conn.answer().status != 200), Ordering::Relaxed);
                }
            });
        }
        for round in 0..4 {
            // Even ones stay; odd ones go and come.
            ask("key-1").send(&router).expect(200);
            router.rewrite(&config(&mut (0..1000).step_by(2)));
            assert_eq!(router.admin("/admin/reload").0, 200);
            let revoked = Instant::now();
            while ask("key-1").send(&router).status != 401 {
                assert!(
                    revoked.elapsed() < Duration::from_secs(1),
                    "round {round}: a revoked key still works"
                );
            }
            router.rewrite(&config(&mut (0..1000)));
            let reload = Request::post("/auth/reload-keys").send(&router).expect(200).json();
            assert_eq!(reload["valid_keys_count"], 1001);
        }
        stop.store(true, Ordering::Relaxed);
    });
    let (asked, failed) = (asked.into_inner(), failed.into_inner());
    println!("{asked} requests of kept keys over 8 reloads, {failed} failed");
    assert!(asked > 100 && failed == 0, "{failed} of {asked} requests of kept keys failed");
}
