//! Bans: what strikes, whom it strikes, how a ban ends, and what a ban never hits.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::*;

fn failing(status: u16) -> Reply {
    respond(status).error("no", "server_error", None)
}

/// Credentials `a` (tried first) and `b` (behind it), each at an upstream of its own.
fn two_tiers(fail2ban: &str) -> (Upstream, Upstream, Router) {
    let (a, b) = (Upstream::healthy(), Upstream::healthy());
    let config = Config::new().fail2ban(fail2ban).credential("a", &a.url(), "priority: 0");
    let router = config.credential("b", &b.url(), "priority: 1").start();
    (a, b, router)
}

fn is_banned(router: &Router, credential: &str) -> bool {
    router.health_of(credential)["is_banned"] == true
}

#[test]
fn a_credential_is_banned_after_its_last_permitted_failure() {
    let (a, b, router) = two_tiers("max_attempts: 3\nban_duration: permanent");
    a.set(|_| failing(500));
    for _ in 0..6 {
        router.chat(&chat("m")).expect(200);
    }
    assert_eq!((a.count(), b.count()), (3, 6), "three strikes, then b alone");
    let entry = router.health_of("a");
    assert_eq!(entry["is_banned"], true, "{entry:#}");
    assert!(entry["reason"].is_string(), "a ban has a reason: {entry:#}");
    assert_eq!(router.health()["credentials_banned"], 1);
    assert_eq!(router.metric("auto_ai_router_credential_banned", &[("credential", "a")]), Some(1.0));
    until("the ban is logged", || {
        let log = router.stderr().to_lowercase();
        log.contains("ban") && log.contains("a")
    });
}

#[test]
fn codes_outside_the_list_are_no_strikes() {
    let (a, _b, router) = two_tiers("max_attempts: 1\nban_duration: permanent\nerror_codes: [401]");
    a.set(|_| failing(503));
    for _ in 0..4 {
        router.chat(&chat("m")).expect(200);
    }
    assert_eq!(a.count(), 4);
    assert!(!is_banned(&router, "a"));
}

#[test]
fn a_failing_model_bans_the_pair_and_a_failing_key_the_credential() {
    let (a, _b, router) = two_tiers("max_attempts: 2\nban_duration: permanent");
    a.set(|call| if call.model() == "sick" { failing(500) } else { Reply::good(call) });
    for _ in 0..4 {
        router.chat(&chat("sick")).expect(200);
    }
    assert_eq!(a.count(), 2, "the pair is banned after two");
    router.chat(&chat("well")).expect(200);
    assert_eq!(a.count(), 3, "other models go on");
    a.set(|_| failing(401));
    for _ in 0..4 {
        router.chat(&chat("well")).expect(200);
    }
    router.chat(&chat("third")).expect(200);
    assert_eq!(a.count(), 5, "the key is banned for every model");
    assert!(is_banned(&router, "a"));
}

#[test]
fn any_2xx_clears_the_strikes() {
    let (a, _b, router) = two_tiers("max_attempts: 3\nban_duration: permanent");
    a.set(|call| match call.number % 3 {
        0 | 1 => failing(500),
        _ => respond(201).json(&reply::chat_body("m", "made", 1, 1)),
    });
    for _ in 0..9 {
        router.chat(&chat("m"));
    }
    assert_eq!(a.count(), 9);
    assert!(!is_banned(&router, "a"));
}

#[test]
fn a_banned_credential_is_back_when_its_term_ends() {
    let (a, b, router) = two_tiers("max_attempts: 1\nban_duration: 1s");
    a.set(|call| if call.number == 0 { failing(500) } else { Reply::good(call) });
    router.chat(&chat("m")).expect(200);
    router.chat(&chat("m")).expect(200);
    assert_eq!((a.count(), b.count()), (1, 2));
    std::thread::sleep(ms(1200));
    for _ in 0..3 {
        router.chat(&chat("m")).expect(200);
    }
    assert_eq!((a.count(), b.count()), (4, 2), "the full share is given back");
    assert!(!is_banned(&router, "a"));
}

#[test]
fn after_a_ban_one_request_probes_and_the_others_go_on_elsewhere() {
    let (a, b, router) = two_tiers("max_attempts: 1\nban_duration: 1s");
    a.set(|call| if call.number == 0 { failing(500) } else { Reply::good(call).after(ms(1500)) });
    router.chat(&chat("m")).expect(200);
    std::thread::sleep(ms(1200));
    let answers = at_once(8, |_| router.chat(&chat("m")).expect(200));
    assert_eq!(a.count(), 2, "exactly one probe");
    assert_eq!(b.count(), 8);
    let quick = answers.iter().filter(|answer| answer.took < ms(1200)).count();
    assert_eq!(quick, 7, "the others did not wait for the probe");
}

#[test]
fn a_probe_that_fails_bans_for_twice_the_term() {
    let (a, _b, router) = two_tiers("max_attempts: 1\nban_duration: 1s");
    a.set(|_| failing(500));
    router.chat(&chat("m")).expect(200);
    std::thread::sleep(ms(1200));
    router.chat(&chat("m")).expect(200);
    assert_eq!(a.count(), 2);
    std::thread::sleep(ms(1300));
    router.chat(&chat("m")).expect(200);
    assert_eq!(a.count(), 2, "still banned: the second term is two seconds");
    std::thread::sleep(ms(1000));
    router.chat(&chat("m")).expect(200);
    assert_eq!(a.count(), 3);
}

#[test]
fn a_probe_whose_client_leaves_frees_the_slot_without_a_verdict() {
    let upstream = Upstream::scripted(|call| match call.number {
        0 => failing(500),
        1 => Reply::silence(),
        _ => Reply::good(call),
    });
    let config = Config::new().fail2ban("max_attempts: 1\nban_duration: 1s");
    let router = config.credential("a", &upstream.url(), "").routing("max_attempts: 1").start();
    assert!(router.chat(&chat("m")).status >= 500);
    std::thread::sleep(ms(1200));
    let mut probe = Conn::open(router.address());
    probe.write(&Request::chat(&chat("m")).bytes(&router));
    upstream.wait_for(1);
    let answer = router.chat(&chat("m")).expect(503);
    assert_eq!(answer.header("retry-after"), Some("1"), "while the probe is out");
    drop(probe);
    until("the slot is free again", || router.chat(&chat("m")).status == 200);
}

#[test]
fn when_everybody_is_banned_the_answer_says_for_how_long() {
    let upstream = Upstream::always(failing(401));
    let router = Config::single(&upstream.url()).fail2ban("max_attempts: 1\nban_duration: 30s").start();
    router.chat(&chat("m"));
    let answer = router.chat(&chat("m")).expect(503);
    let seconds: u64 = answer.header("retry-after").and_then(|v| v.parse().ok()).expect("a number");
    assert!((1..=30).contains(&seconds), "{seconds}");
    answer.error();
    assert_eq!(upstream.count(), 1);
    Request::get("/health").keyless().send(&router).expect(503);
}

#[test]
fn a_permanent_ban_is_lifted_by_the_operator_only() {
    let (a, _b, router) = two_tiers("max_attempts: 1\nban_duration: permanent");
    a.set(|_| failing(401));
    router.chat(&chat("m")).expect(200);
    a.set(Reply::good);
    std::thread::sleep(ms(1200));
    router.chat(&chat("m")).expect(200);
    assert_eq!(a.count(), 1);
    Request::post("/admin/credentials/a/unban").send(&router).expect(404);
    let (status, body) = router.admin("/admin/credentials/a/unban");
    assert_eq!(status, 200, "{body}");
    assert_eq!(router.admin("/admin/credentials/nobody/unban").0, 404);
    router.chat(&chat("m")).expect(200);
    assert_eq!(a.count(), 2);
    assert!(!is_banned(&router, "a"));
}

#[test]
fn a_429_with_retry_after_is_a_cool_down_of_that_length() {
    let (a, b, router) = two_tiers("max_attempts: 100\nban_duration: permanent");
    a.set(|call| match call.number {
        0 => respond(429).header("retry-after", "2").error("slow down", "rate_limit_error", None),
        _ => Reply::good(call),
    });
    router.chat(&chat("m")).expect(200);
    router.chat(&chat("m")).expect(200);
    assert_eq!((a.count(), b.count()), (1, 2), "a is left alone");
    assert!(!is_banned(&router, "a"), "a cool-down is no ban");
    std::thread::sleep(ms(2200));
    router.chat(&chat("m")).expect(200);
    assert_eq!(a.count(), 2);
}

#[test]
fn retry_after_on_a_success_is_no_cool_down() {
    let (a, _b, router) = two_tiers("max_attempts: 3");
    a.set(|call| respond(200).header("retry-after", "30").json(&reply::chat_body(&call.model(), "x", 1, 1)));
    for _ in 0..3 {
        let answer = router.chat(&chat("m")).expect(200);
        assert_eq!(answer.header("retry-after"), None);
    }
    assert_eq!(a.count(), 3);
}

#[test]
fn a_code_may_have_attempts_and_a_term_of_its_own() {
    let rules = "max_attempts: 10\nban_duration: permanent\nerror_code_rules:\n  - code: 503\n    max_attempts: 1\n    ban_duration: 1s";
    let (a, _b, router) = two_tiers(rules);
    a.set(|call| if call.number < 1 { failing(503) } else { Reply::good(call) });
    router.chat(&chat("m")).expect(200);
    router.chat(&chat("m")).expect(200);
    assert_eq!(a.count(), 1, "one 503 is enough");
    std::thread::sleep(ms(1200));
    router.chat(&chat("m")).expect(200);
    assert_eq!(a.count(), 2, "and its term is a second");
}

#[test]
fn a_poisonous_request_strikes_only_the_first_credential_it_meets() {
    let poison = |call: &Call| {
        let text = String::from_utf8_lossy(&call.body).into_owned();
        if text.contains("poison") {
            failing(500)
        } else {
            Reply::good(call)
        }
    };
    let upstreams: Vec<_> = (0..3).map(|_| Upstream::scripted(poison)).collect();
    let config = Config::new().fail2ban("max_attempts: 1\nban_duration: permanent");
    let config =
        ["a", "b", "c"].iter().zip(&upstreams).fold(config, |c, (n, u)| c.credential(n, &u.url(), ""));
    let router = config.start();
    let mut body = chat("m");
    body["messages"][0]["content"] = Value::from("poison");
    assert!(router.chat(&body).status >= 500);
    assert_eq!(upstreams.iter().map(Upstream::count).sum::<usize>(), 3, "it was tried everywhere");
    let banned = ["a", "b", "c"].iter().filter(|name| is_banned(&router, name)).count();
    assert!(banned <= 1, "{banned} credentials were banned by one request");
    router.chat(&chat("m")).expect(200);
}

#[test]
fn a_host_that_fails_for_all_its_keys_is_the_host_and_not_the_keys() {
    let upstream = Upstream::always(failing(503));
    let config = Config::new().fail2ban("max_attempts: 2\nban_duration: permanent");
    let config = ["a", "b", "c"].iter().fold(config, |c, name| c.credential(name, &upstream.url(), ""));
    let router = config.start();
    for _ in 0..8 {
        router.chat(&chat("m"));
    }
    upstream.set(Reply::good);
    for name in ["a", "b", "c"] {
        assert!(!is_banned(&router, name), "{name} was banned for its host's failure");
    }
    router.chat(&chat("m")).expect(200);
}

#[test]
fn connect_failures_count_as_502_and_timeouts_as_504() {
    for (code, url, live) in
        [(502, Some(Upstream::refused()), None), (504, None, Some(Upstream::always(Reply::silence())))]
    {
        let url = url.unwrap_or_else(|| live.as_ref().unwrap().url());
        let good = Upstream::healthy();
        let router = Config::new()
            .routing("response_timeout: 500ms")
            .fail2ban(&format!("max_attempts: 1\nban_duration: permanent\nerror_codes: [{code}]"))
            .credential("a", &url, "priority: 0")
            .credential("b", &good.url(), "priority: 1")
            .start();
        router.chat(&chat("m")).expect(200);
        assert!(is_banned(&router, "a"), "a {code} is a strike");
    }
}

#[test]
fn a_caller_s_errors_and_departures_strike_nobody() {
    let upstream = Upstream::scripted(|call| match call.model().as_str() {
        "bad" => respond(400).error("no", "invalid_request_error", None),
        "slow" => Reply::silence(),
        _ => Reply::good(call),
    });
    let codes = "max_attempts: 1\nban_duration: permanent\nerror_codes: [400, 499, 500, 502, 503, 504]";
    let router = Config::single(&upstream.url()).fail2ban(codes).start();
    for n in 0..3 {
        let mut conn = Conn::open(router.address());
        conn.write(&Request::chat(&chat("slow")).bytes(&router));
        upstream.wait_for(n);
        drop(conn);
    }
    router.chat(&chat("bad")).expect(400);
    let start = Instant::now();
    router.chat(&chat("bad")).expect(400);
    router.chat(&chat("m")).expect(200);
    assert!(start.elapsed() < Duration::from_secs(5));
}
