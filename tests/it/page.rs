//! The page for people and what stands beside it: its forms, its events, its figures, and `/explain`.

use serde_json::Value;

use crate::support::*;

/// One that always answers and one that always fails first.
fn pair() -> (Upstream, Upstream, Router) {
    let (well, ill) = (Upstream::healthy(), Upstream::always(respond(503).error("no", "server_error", None)));
    let router = Config::new()
        .fail2ban("max_attempts: 1\nban_duration: 1h\nerror_codes: [503]")
        .credential("ill", &ill.url(), "weight: 100\nmodels: [m]")
        .credential("well", &well.url(), "rpm: 10\ntpm: 5000\nmodels: [m, other]")
        .start();
    (well, ill, router)
}

fn sheet(router: &Router, query: &str) -> Value {
    router.get(&format!("/vhealth?format=json{query}")).expect(200).json()
}

fn browser(path: &str) -> Request {
    Request::get(path).keyless().header("accept", "text/html,application/xhtml+xml")
}

/// Sends the form with a key.
fn log_in(router: &Router, key: &str) -> Answer {
    let form = url::form_urlencoded::Serializer::new(String::new()).append_pair("key", key).finish();
    Request::post("/vhealth/login").keyless().body("application/x-www-form-urlencoded", form).send(router)
}

/// The cookie that an answer sets, as a browser sends it back.
fn cookie(answer: &Answer) -> String {
    answer.header("set-cookie").expect("a cookie").split(';').next().unwrap().to_owned()
}

#[test]
fn the_page_tells_what_happened_to_each_credential() {
    let (_well, _ill, router) = pair();
    let answer = router.chat(&chat("m")).expect(200);
    let id = answer.header("x-request-id").unwrap().to_owned();
    until("the request is noted", || sheet(&router, "")["credentials"][1]["latency_ms"].is_array());
    let sheet = sheet(&router, "");
    let [ill, well] = [0, 1].map(|at| &sheet["credentials"][at]);
    assert_eq!((ill["name"].as_str(), ill["state"].as_str()), (Some("ill"), Some("banned")));
    assert!(
        ill["since"].as_str().unwrap().ends_with('Z') && ill["next_recovery"].as_u64() > Some(3500),
        "{ill}"
    );
    assert_eq!(ill["last_error"]["request_id"], id.as_str());
    assert_eq!((&ill["last_error"]["status"], &ill["last_error"]["reason"]), (&503.into(), &"status".into()));
    assert_eq!(ill["errors"].as_array().unwrap().iter().filter_map(Value::as_u64).sum::<u64>(), 1);
    assert_eq!(well["answers"].as_array().unwrap().iter().filter_map(Value::as_u64).sum::<u64>(), 1);
    assert_eq!((well["rpm"]["used"].as_u64(), well["rpm"]["limit"].as_u64()), (Some(1), Some(10)));
    assert_eq!(sheet["errors"][0]["credential"], "ill");
    assert_eq!(sheet["generation"], 0);
    let page = router.get("/vhealth").expect(200).text();
    for text in [&*id, "✕ banned", "tried again in", "503 status", sheet["config"].as_str().unwrap()] {
        assert!(page.contains(text), "{text} is not shown");
    }
}

#[test]
fn the_configuration_is_named_as_sha256sum_names_its_file() {
    let (_well, _ill, router) = pair();
    let out = std::process::Command::new("sha256sum").arg(router.dir().join("config.yaml")).output().unwrap();
    let digest = String::from_utf8(out.stdout).unwrap();
    assert_eq!(sheet(&router, "")["config"], &digest[..12]);
}

#[test]
fn tokens_of_a_request_under_way_are_reserved() {
    let upstream = Upstream::always(Reply::silence());
    let router = Config::new().credential("a", &upstream.url(), "tpm: 100000\nmax_concurrent: 4").start();
    let mut conn = Conn::open(router.address());
    conn.write(&Request::chat(&chat("m")).bytes(&router));
    upstream.wait_for(0);
    let seen = sheet(&router, "")["credentials"][0].clone();
    assert!(seen["tpm_reserved"].as_u64() > Some(0) && seen["tpm_reserved"] == seen["tpm"]["used"], "{seen}");
    assert_eq!((seen["in_flight"].as_u64(), seen["max_concurrent"].as_u64()), (Some(1), Some(4)));
    drop(conn);
    until("nothing is reserved", || sheet(&router, "")["credentials"][0]["tpm_reserved"] == 0);
}

#[test]
fn each_model_has_its_order_and_why_others_are_not_in_it() {
    let (_well, _ill, router) = pair();
    router.chat(&chat("m")).expect(200);
    let sheet = sheet(&router, "");
    let route = |name: &str| {
        let routes = sheet["routes"].as_array().unwrap();
        routes
            .iter()
            .find(|route| route["model"] == name)
            .unwrap_or_else(|| panic!("no {name}: {sheet:#}"))
            .clone()
    };
    assert_eq!(route("m")["order"][0]["credential"], "well");
    assert!(route("m")["others"][0]["reason"].as_str().unwrap().starts_with("is banned for"));
    assert_eq!(route("m")["others"][0]["credentials"][0], "ill");
    assert!(route("other")["others"][0]["reason"].as_str().unwrap().starts_with("cannot serve"));
}

#[test]
fn the_table_can_be_had_for_a_spreadsheet_and_in_any_order() {
    let (_well, _ill, router) = pair();
    let answer = router.get("/vhealth?format=csv&sort=name&turned=1").expect(200);
    assert!(answer.header("content-type").unwrap().starts_with("text/csv"));
    let text = answer.text();
    let names: Vec<&str> = text.lines().map(|line| line.split(',').next().unwrap()).collect();
    assert_eq!(names, ["name", "well", "ill"]);
    let found = sheet(&router, "&q=WEL");
    assert_eq!(found["credentials"].as_array().unwrap().len(), 1);
    let asked = Request::get("/vhealth").header("accept", "application/json").send(&router).expect(200);
    assert_eq!(asked.json()["total"], 2);
}

#[test]
fn a_browser_gets_a_form_and_a_program_an_error() {
    let (_well, _ill, router) = pair();
    let form = browser("/vhealth").send(&router).expect(401);
    assert!(form.header("content-type").unwrap().starts_with("text/html"));
    assert!(form.text().contains("name=\"key\"") && !form.text().contains("well"));
    assert_eq!(Request::get("/vhealth").keyless().send(&router).expect(401).code(), "invalid_api_key");
    Request::get("/vhealth/events").keyless().send(&router).expect(401);
    Request::get("/vhealth/login").keyless().send(&router).expect(405);
}

#[test]
fn a_key_in_the_form_opens_the_page_until_logout() {
    let (_well, _ill, router) = pair();
    let wrong = log_in(&router, "sk-wrong").expect(401);
    assert!(wrong.header("set-cookie").is_none() && wrong.text().contains("role=\"alert\""));
    let answer = log_in(&router, MASTER_KEY).expect(303);
    assert_eq!(answer.header("location"), Some("../vhealth"));
    let set = answer.header("set-cookie").unwrap();
    assert!(
        set.contains("HttpOnly") && set.contains("SameSite=Strict") && !set.contains(MASTER_KEY),
        "{set}"
    );
    assert!(!set.contains("Secure"));
    let cookie = cookie(&answer);
    let with = |path: &str| browser(path).header("cookie", &cookie).send(&router);
    assert!(with("/vhealth").expect(200).text().contains("well"));
    assert!(with("/health").expect(200).json()["credentials"]["well"].is_object());
    // It is for looking, and not for asking.
    assert_eq!(with("/v1/models").status, 401);
    let out = Request::post("/vhealth/logout").keyless().header("cookie", &cookie).send(&router).expect(303);
    assert!(out.header("set-cookie").unwrap().contains("Max-Age=0"));
    with("/vhealth").expect(401);
}

#[test]
fn a_session_goes_on_after_an_upgrade_and_ends_with_its_key() {
    let upstream = Upstream::healthy();
    let config = Config::single(&upstream.url());
    let router = config.clone().start();
    let cookie = cookie(&log_in(&router, MASTER_KEY).expect(303));
    let status = || browser("/vhealth").header("cookie", &cookie).send(&router).status;
    router.upgrade();
    assert_eq!(status(), 200);
    router.rewrite(&config.master_key("sk-another-master-0123456789"));
    assert_eq!(router.operate(&["reload"]).0, 0);
    assert_eq!(status(), 401);
}

#[test]
fn a_client_key_opens_the_page_too_and_closes_it_when_it_is_taken_away() {
    let upstream = Upstream::healthy();
    let config = Config::single(&upstream.url());
    let router = config.clone().client("ada", "").start();
    let cookie = cookie(&log_in(&router, &client_key("ada")).expect(303));
    let status = || browser("/vhealth").header("cookie", &cookie).send(&router).status;
    assert_eq!(status(), 200);
    router.rewrite(&config);
    assert_eq!(router.operate(&["reload"]).0, 0);
    assert_eq!(status(), 401);
}

#[test]
fn behind_tls_the_cookie_is_for_tls_only() {
    let (_well, _ill, router) = pair();
    let form = format!("key={MASTER_KEY}");
    let login = Request::post("/vhealth/login").keyless().header("x-forwarded-proto", "https");
    let answer = login.body("application/x-www-form-urlencoded", form).send(&router).expect(303);
    assert!(answer.header("set-cookie").unwrap().ends_with("; Secure"));
}

#[test]
fn guessing_is_stopped_for_a_while_and_then_not_even_the_key_helps() {
    let (_well, _ill, router) = pair();
    let refused = (0..30).map(|_| log_in(&router, "sk-guess")).find(|answer| answer.status == 429);
    let refused = refused.expect("the thirtieth guess is one too many");
    assert!(refused.header("retry-after").is_some());
    assert_eq!(log_in(&router, MASTER_KEY).status, 429);
    // A key in a header is not what was guessed at.
    router.get("/vhealth").expect(200);
    let long =
        Request::post("/vhealth/login").keyless().body("application/x-www-form-urlencoded", "x".repeat(9000));
    assert!(long.send(&router).status >= 400);
}

#[test]
fn the_page_may_load_nothing_and_its_policy_says_so() {
    let (_well, _ill, router) = pair();
    let answer = router.get("/vhealth").expect(200);
    let policy = answer.header("content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert!(!answer.text().contains("://") && answer.text().len() < 60_000);
}

#[test]
fn a_browser_is_told_what_changes() {
    let (_well, _ill, router) = pair();
    router.chat(&chat("m")).expect(200);
    let mut events = Request::get("/vhealth/events").stream(&router).expect(200);
    let first = events.next().expect("all of it");
    assert!(first.raw.starts_with("event: whole\n"), "{}", first.raw);
    router.chat(&chat("m")).expect(200);
    let told = std::iter::from_fn(|| events.next()).take(10).find(|event| event.raw.contains("2 / 10"));
    let told = told.expect("the second request is told");
    assert!(told.raw.starts_with("event: parts\n"), "{}", told.raw);
    let data = told.raw.lines().nth(1).unwrap().strip_prefix("data: ").unwrap();
    let parts: Value = serde_json::from_str(data).unwrap();
    assert!(
        parts["c1"].as_str().unwrap().starts_with("<tr id=\"c1\">") && parts.get("m1").is_none(),
        "{data}"
    );
}

#[test]
fn watching_goes_on_after_a_reload_and_does_not_keep_a_router_from_leaving() {
    let upstream = Upstream::healthy();
    let config = Config::single(&upstream.url());
    let mut router = config.clone().start();
    let mut events = Request::get("/vhealth/events").stream(&router).expect(200);
    events.next().expect("all of it");
    router.rewrite(&config.credential("newcomer", &upstream.url(), ""));
    assert_eq!(router.operate(&["reload"]).0, 0);
    let told = std::iter::from_fn(|| events.next()).take(10).find(|event| event.raw.contains("newcomer"));
    assert!(told.is_some(), "the new credential is not told");
    router.sigterm();
    assert!(router.exit(secs(5)).expect("it leaves although somebody watches").success());
}

#[test]
fn only_so_many_may_watch() {
    let (_well, _ill, router) = pair();
    let watching: Vec<Events> =
        (0..16).map(|_| Request::get("/vhealth/events").stream(&router).expect(200)).collect();
    Request::get("/vhealth/events").send(&router).expect(503);
    drop(watching);
    until("there is room again", || {
        let mut conn = Conn::open(router.address());
        conn.write(&Request::get("/vhealth/events").bytes(&router));
        conn.head().is_some_and(|head| head.start.contains(" 200 "))
    });
}

#[test]
fn explain_tells_who_is_eligible_and_why_others_are_not() {
    let (_well, _ill, router) = pair();
    router.chat(&chat("m")).expect(200);
    let explained = router.get("/explain?model=m").expect(200).json();
    let [first, second] = [0, 1].map(|at| &explained["candidates"][at]);
    assert_eq!((first["credential"].as_str(), first["turn"].as_u64()), (Some("well"), Some(1)));
    assert_eq!((first["rpm"]["used"].as_u64(), first["rpm"]["limit"].as_u64()), (Some(1), Some(10)));
    assert_eq!((second["credential"].as_str(), second["eligible"].as_bool()), (Some("ill"), Some(false)));
    assert!(second["reason"].as_str().unwrap().starts_with("is banned for"), "{second}");
    let tight = router.get("/explain?model=m&tokens=100000").expect(200).json();
    assert!(
        tight["candidates"].as_array().unwrap().iter().all(|entry| entry["eligible"] == false),
        "{tight:#}"
    );
    assert_eq!(router.get("/explain?model=nobody").expect(404).code(), "model_not_found");
    router.get("/explain").expect(400);
    Request::get("/explain?model=m").keyless().send(&router).expect(401);
    router.get("/explain?model=m&key=nobody").expect(404);
    // Asking has charged nothing.
    assert_eq!(router.get("/explain?model=m").expect(200).json()["candidates"][0]["rpm"]["used"], 1);
}

#[test]
fn every_field_of_an_access_line_is_in_the_readme() {
    let (_well, _ill, router) = pair();
    router.chat(&chat("m")).expect(200);
    router.stream(&chat_streamed("m")).expect(200).rest();
    router.post("/v1/chat/completions", &serde_json::json!({})).expect(400);
    until("three lines", || router.chat_log().len() == 3);
    let log = router.chat_log();
    let readme = include_str!("../../README.md");
    let table = readme.split("## Logs").nth(1).unwrap();
    for field in log.iter().flat_map(|line| line.as_object().unwrap().keys()) {
        assert!(table.contains(&format!("`{field}`")), "{field} is not documented");
    }
}

#[test]
fn explain_tells_what_a_key_may_and_what_it_has_used() {
    let upstream = Upstream::healthy();
    let config = Config::single(&upstream.url()).client("ada", "models: [\"m*\"]\nrpm: 5\nmax_concurrent: 3");
    let router = config.start();
    Request::chat(&chat("m1")).by("ada").send(&router).expect(200);
    let key = |model: &str| {
        router.get(&format!("/explain?key=ada&model={model}")).expect(200).json()["key"].clone()
    };
    assert_eq!((key("m1")["eligible"].as_bool(), &key("m1")["reason"]), (Some(true), &Value::Null));
    assert_eq!(key("other")["reason"], "it may not use this model");
    let limits = &key("m1")["limits"][0];
    assert_eq!((limits["per"].as_str(), limits["requests"]["used"].as_u64()), (Some("minute"), Some(1)));
    assert_eq!(
        (limits["requests"]["limit"].as_u64(), key("m1")["max_concurrent"].as_u64()),
        (Some(5), Some(3))
    );
}

/// Five hundred credentials and two hundred models; each model on all of them, or on five.
fn large(open: bool, url: &str) -> Router {
    let config = (0..500).fold(Config::new(), |config, n| {
        let models = format!("models: [model-{}, model-{}]", n % 200, (n + 100) % 200);
        config.credential(&format!("credential-{n}"), url, if open { "rpm: 100" } else { &models })
    });
    let config = (0..200).fold(config, |config, n| match open {
        true => config.model(&format!("name: model-{n}\nrpm: 50")),
        false => config,
    });
    config.start()
}

/// Run with `--ignored --nocapture`, and `ROUTER_BINARY` for a release build.
#[test]
#[ignore = "a measurement"]
fn the_cost_of_a_page_and_of_a_scrape() {
    let upstream = Upstream::healthy();
    for (open, what) in [(false, "each model on five credentials"), (true, "each model on all credentials")] {
        let router = large(open, &upstream.url());
        for n in 0..200 {
            router.chat(&chat(&format!("model-{n}"))).expect(200);
        }
        for path in ["/vhealth", "/vhealth?format=json", "/metrics", "/health"] {
            let tries = (0..10).map(|_| router.get(path).expect(200)).min_by_key(|answer| answer.took);
            let best = tries.expect("ten tries");
            println!("{what}: {path} in {:?}, {} bytes", best.took, best.body.len());
        }
    }
}
