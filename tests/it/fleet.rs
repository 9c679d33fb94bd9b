//! A fleet: routers behind routers are seen, balanced and left alone as one system.

use std::collections::BTreeSet;

use serde_json::{json, Value};

use crate::support::router::free_port;
use crate::support::*;

const INNER_KEY: &str = "sk-inner-router-0123456789";
const QUICK: &str = "peer_health_interval: 200ms";

/// A router with a key of its own, whose credentials are at `upstream`.
fn inner(upstream: &Upstream) -> Config {
    Config::single(&upstream.url()).master_key(INNER_KEY).monitoring(QUICK)
}

/// A router in front that looks at its peers often.
fn edge() -> Config {
    Config::new().monitoring(QUICK)
}

/// What `router` knows of the router behind `credential`.
fn peer(router: &Router, credential: &str) -> Value {
    router.health_of(credential)["peer"].clone()
}

#[track_caller]
fn becomes(router: &Router, credential: &str, state: &str) {
    until(&format!("{credential} is {state}"), || peer(router, credential)["state"] == state);
}

/// Who served each of `count` requests, of the two.
fn shares(router: &Router, upstreams: [&Upstream; 2], count: usize) -> [usize; 2] {
    let before = upstreams.map(Upstream::count);
    for _ in 0..count {
        router.chat(&chat("m")).expect(200);
    }
    [upstreams[0].count() - before[0], upstreams[1].count() - before[1]]
}

#[test]
fn a_chain_is_shown_with_its_limits_from_end_to_end() {
    let upstream = Upstream::healthy();
    let last = Config::new().master_key(INNER_KEY).credential("one", &upstream.url(), "rpm: 40");
    let last = last.credential("two", &upstream.url(), "rpm: 60").start();
    let middle = edge().proxy("last", &last.url(), INNER_KEY, "").start();
    let front = edge().proxy("middle", &middle.url(), MASTER_KEY, "").start();
    until("the limits are summed over two routers", || front.health_of("middle")["limit_rpm"] == 100);
    front.chat(&chat("m")).expect(200);
    until("its use is known at the front", || front.health_of("middle")["current_rpm"] == 1);
    let known = peer(&front, "middle");
    let behind = &known["credentials"]["last"]["peer"];
    assert_eq!(known["version"], front.health()["version"]);
    assert_eq!(behind["instance"], last.health()["instance"]);
    assert_eq!(behind["credentials"]["two"]["limit_rpm"], 60);
    assert!(known["age_seconds"].as_u64() < Some(5) && behind["age_seconds"].is_u64());
    let trace = front.get("/trace").expect(200).json();
    assert_eq!(
        trace["credentials"]["middle"]["peer"]["credentials"]["last"]["peer"]["instance"],
        behind["instance"]
    );
    let page = front.get("/vhealth").expect(200).text();
    assert!(page.contains("<strong>middle</strong>") && page.contains("<strong>last</strong>"));
}

#[test]
fn the_chain_is_for_key_holders() {
    let upstream = Upstream::healthy();
    let router = edge().proxy("peer", &upstream.url(), INNER_KEY, "").start();
    Request::get("/trace").keyless().send(&router).expect(401);
    assert_eq!(Request::get("/health").keyless().send(&router).expect(200).text(), r#"{"status":"healthy"}"#);
}

#[test]
fn routers_that_know_one_another_do_not_mirror_one_another() {
    let upstream = Upstream::healthy();
    let (first, second) = (free_port(), free_port());
    let of = |port: u16, other: u16| {
        let config = edge().credential("main", &upstream.url(), "");
        config
            .proxy("other", &format!("http://127.0.0.1:{other}"), MASTER_KEY, "is_fallback: true")
            .start_on(port)
    };
    let (a, b) = (of(first, second), of(second, first));
    becomes(&a, "other", "fresh");
    becomes(&b, "other", "fresh");
    std::thread::sleep(ms(1500));
    let known = peer(&a, "other");
    assert_eq!(known["instance"], b.health()["instance"]);
    assert_eq!(known["credentials"]["other"]["peer"], Value::Null);
}

#[test]
fn a_peer_that_is_killed_gets_nothing_until_it_is_back() {
    let (plain, behind) = (Upstream::healthy(), Upstream::healthy());
    let mut last = inner(&behind).start();
    let front =
        edge().proxy("peer", &last.url(), INNER_KEY, "").credential("plain", &plain.url(), "").start();
    becomes(&front, "peer", "fresh");
    assert_eq!(shares(&front, [&behind, &plain], 6), [3, 3]);
    last.signal("-KILL");
    becomes(&front, "peer", "down");
    assert_eq!(shares(&front, [&behind, &plain], 6), [0, 6]);
    until("all is told", || front.chat_log().len() == 12);
    let attempts = front
        .chat_log()
        .iter()
        .rev()
        .take(6)
        .map(|line| line["attempts"].as_array().map(Vec::len))
        .collect::<BTreeSet<_>>();
    assert_eq!(attempts, BTreeSet::from([Some(1)]), "nobody ran into the dead peer");
    assert_eq!(
        (&front.health_of("peer")["strikes"], &front.health()["credentials_available"]),
        (&json!(0), &json!(1))
    );
    last = last.relaunch();
    becomes(&front, "peer", "fresh");
    assert_eq!(shares(&front, [&behind, &plain], 6), [3, 3]);
    drop(last);
}

#[test]
fn a_peer_that_hangs_is_stale_then_down_and_comes_back_by_itself() {
    let (plain, behind) = (Upstream::healthy(), Upstream::healthy());
    let last = inner(&behind).start();
    let front =
        edge().proxy("peer", &last.url(), INNER_KEY, "").credential("plain", &plain.url(), "").start();
    becomes(&front, "peer", "fresh");
    last.signal("-STOP");
    becomes(&front, "peer", "stale");
    becomes(&front, "peer", "down");
    assert_eq!(shares(&front, [&behind, &plain], 4), [0, 4]);
    last.signal("-CONT");
    becomes(&front, "peer", "fresh");
    assert_eq!(shares(&front, [&behind, &plain], 4), [2, 2]);
}

#[test]
fn a_peer_that_is_about_to_leave_gets_no_new_work_while_somebody_else_can_serve() {
    let (plain, behind) = (Upstream::healthy(), Upstream::healthy());
    behind.set(|call| match call.model().as_str() {
        "slow" => Reply::chat_stream(call, &["a", "b", "c", "d", "e", "f"]).paced(ms(500)),
        _ => Reply::good(call),
    });
    let last = inner(&behind).start();
    let front = edge().proxy("peer", &last.url(), INNER_KEY, "").proxy(
        "plain",
        &plain.url(),
        INNER_KEY,
        "is_fallback: true",
    );
    let front = front.start();
    becomes(&front, "peer", "fresh");
    let mut events = front.stream(&chat_streamed("slow")).expect(200);
    events.next_text().expect("it has begun");
    last.sigterm();
    until("it is seen to leave", || {
        matches!(peer(&front, "peer")["state"].as_str(), Some("draining" | "down"))
    });
    assert_eq!(shares(&front, [&behind, &plain], 4), [0, 4]);
    assert!(events.rest().last().unwrap().is_done(), "what it had begun, it has ended");
}

#[test]
fn a_peer_that_is_about_to_leave_says_so_with_its_next_answer() {
    let (plain, behind) = (Upstream::healthy(), Upstream::healthy());
    behind.set(|call| match call.wants_stream() {
        true => Reply::chat_stream(call, &["a", "b", "c", "d", "e", "f"]).paced(ms(500)),
        false => Reply::good(call),
    });
    let last = inner(&behind).start();
    let front = Config::new().proxy("peer", &last.url(), INNER_KEY, "").credential(
        "plain",
        &plain.url(),
        "is_fallback: true",
    );
    let front = front.start();
    let mut events = front.stream(&chat_streamed("m")).expect(200);
    events.next_text().expect("it has begun");
    last.sigterm();
    let answer = until_leaving(&front);
    assert_eq!(answer.header("x-auto-ai-router-leaving"), None, "that is for routers");
    assert_eq!(shares(&front, [&behind, &plain], 3), [0, 3]);
    assert_eq!(front.metric("auto_ai_router_peer_up", &[("credential", "peer")]), Some(0.0));
}

/// The answer with which the peer has said that it leaves.
#[track_caller]
fn until_leaving(front: &Router) -> Answer {
    let said = eventually(secs(5), || {
        let answer = front.chat(&chat("m")).expect(200);
        (peer(front, "peer")["state"] == "draining").then_some(answer)
    });
    said.expect("it says so")
}

#[test]
fn a_peer_with_nothing_left_is_asked_last_and_still_serves_when_nobody_else_can() {
    let nothing = Upstream::healthy().tells(respond(503).json(&json!({"status": "unhealthy"})));
    let alone = edge().proxy("peer", &nothing.url(), INNER_KEY, "").start();
    becomes(&alone, "peer", "down");
    assert_eq!(alone.get("/health").status, 503, "with nothing behind it, nothing can be served");
    alone.chat(&chat("m")).expect(200);
}

fn seed(rpm: [(u64, i64); 2]) -> Reply {
    let credential = |(used, limit): (u64, i64)| {
        json!({"type": "openai", "is_fallback": false, "current_rpm": used, "current_tpm": 1_000_000,
               "limit_rpm": limit, "limit_tpm": -1})
    };
    respond(200).json(&json!({"status": "healthy", "credentials_available": 2, "credentials_banned": 0,
        "total_credentials": 2, "credentials": {"a": credential(rpm[0]), "b": credential(rpm[1])}, "models": {}}))
}

#[test]
fn a_router_of_the_first_generation_is_a_peer_too() {
    let old = Upstream::healthy().tells(seed([(3, 50), (4, 70)]));
    let unlimited = Upstream::healthy().tells(seed([(3, 50), (4, -1)]));
    let front = edge().proxy("old", &old.url(), INNER_KEY, "").proxy("free", &unlimited.url(), INNER_KEY, "");
    let front = front.proxy("own", &old.url(), INNER_KEY, "rpm: 9").start();
    becomes(&front, "old", "fresh");
    becomes(&front, "free", "fresh");
    becomes(&front, "own", "fresh");
    let [old, free, own] = ["old", "free", "own"].map(|name| front.health_of(name));
    assert_eq!((&old["limit_rpm"], &old["current_rpm"]), (&json!(120), &json!(7)));
    assert_eq!((&old["limit_tpm"], &old["current_tpm"]), (&json!(-1), &json!(2_000_000)));
    assert_eq!((&free["limit_rpm"], &free["current_rpm"]), (&json!(-1), &json!(7)));
    assert_eq!((&own["limit_rpm"], &own["current_rpm"]), (&json!(9), &json!(0)), "what the file says holds");
    assert_eq!(old["peer"]["version"], Value::Null);
}

#[test]
fn a_peer_that_seems_to_be_full_comes_after_the_others_of_its_tier_and_before_the_next_tier() {
    let full = Upstream::healthy().tells(seed([(50, 50), (70, 70)]));
    let (plain, spare) = (Upstream::healthy(), Upstream::healthy());
    let front = edge().proxy("full", &full.url(), INNER_KEY, "").credential("plain", &plain.url(), "");
    let front = front.credential("spare", &spare.url(), "is_fallback: true").start();
    until("its use is known", || front.health_of("full")["current_rpm"] == 120);
    assert_eq!(shares(&front, [&full, &plain], 4), [0, 4]);
    plain.set(|_| respond(500).error("broken", "api_error", None));
    assert_eq!(shares(&front, [&full, &spare], 3), [3, 0]);
}

#[test]
fn garbage_instead_of_health_harms_nobody() {
    for garbage in ["", "[[[[", "{\"credentials\": 7}", "<html>"] {
        let odd = Upstream::healthy().tells(respond(200).body("text/html", garbage));
        let front = edge().proxy("peer", &odd.url(), INNER_KEY, "").start();
        becomes(&front, "peer", "fresh");
        front.chat(&chat("m")).expect(200);
    }
}

#[test]
fn a_keyless_peer_tells_only_that_it_is_there() {
    let upstream = Upstream::healthy();
    let last = inner(&upstream).start();
    let front = edge().keyless("proxy", "peer", &last.url(), "").start();
    becomes(&front, "peer", "fresh");
    assert_eq!(
        (&peer(&front, "peer")["version"], &front.health_of("peer")["limit_rpm"]),
        (&Value::Null, &json!(-1))
    );
    assert_eq!(front.health_of("peer")["is_banned"], false);
}

#[test]
fn models_behind_a_peer_are_listed_as_soon_as_they_are_there() {
    let upstream = Upstream::healthy().lists(&["deep-model"]);
    let last = inner(&upstream).start();
    let middle = edge().proxy("last", &last.url(), INNER_KEY, "").start();
    let front = edge().proxy("middle", &middle.url(), MASTER_KEY, "").start();
    until("the model has come through two routers", || front.get("/v1/models").text().contains("deep-model"));
}

#[test]
fn a_peer_s_own_limit_moves_on_cools_down_and_never_strikes() {
    let (plain, behind) = (Upstream::healthy(), Upstream::healthy());
    let last = Config::new().credential("a", &behind.url(), "rpm: 2").master_key(INNER_KEY).start();
    let front = Config::new().proxy("peer", &last.url(), INNER_KEY, "").credential(
        "plain",
        &plain.url(),
        "is_fallback: true",
    );
    let front = front.fail2ban("max_attempts: 1").start();
    assert_eq!(shares(&front, [&behind, &plain], 8), [2, 6]);
    let known = front.health_of("peer");
    assert_eq!((&known["is_banned"], &known["strikes"]), (&json!(false), &json!(0)));
    let pair = &front.health()["models"]["peer:m"];
    assert_eq!((&pair["state"], &pair["strikes"]), (&json!("cool_down"), &json!(0)), "{pair:#}");
    until("all is told", || front.chat_log().len() == 8);
    let tried = front.chat_log().iter().filter(|line| line["attempts"].to_string().contains("429")).count();
    assert_eq!(tried, 1, "its Retry-After is kept");
}

#[test]
fn an_upstream_that_fails_behind_a_peer_does_not_ban_the_peer() {
    let behind = Upstream::scripted(|call| match call.model().as_str() {
        "broken" => respond(500).error("broken", "api_error", None),
        "revoked" => respond(401).error("bad key", "authentication_error", Some("invalid_api_key")),
        _ => Reply::good(call),
    });
    let last = Config::single(&behind.url()).never_bans().master_key(INNER_KEY).start();
    let front = Config::new().proxy("peer", &last.url(), INNER_KEY, "").fail2ban("max_attempts: 1").start();
    front.chat(&chat("m")).expect(200);
    for model in ["broken", "revoked"] {
        assert!(front.chat(&chat(model)).status >= 500);
        assert_eq!(front.health_of("peer")["state"], "available", "after {model}");
        front.chat(&chat("m")).expect(200);
    }
}

#[test]
fn whose_error_it_is_is_told_to_routers_and_to_nobody_else() {
    let upstream = Upstream::always(respond(500).error("broken", "api_error", None));
    let router = Config::single(&upstream.url()).never_bans().start();
    let asked = |hops: bool, body: &Value| {
        let request = Request::chat(body);
        let request = if hops { request.header("x-auto-ai-router-hops", "front") } else { request };
        request.send(&router).header("x-auto-ai-router-error").map(str::to_owned)
    };
    assert_eq!(asked(true, &chat("m")).as_deref(), Some("upstream"));
    assert_eq!(asked(true, &json!({"model": 7})).as_deref(), Some("own"));
    assert_eq!(asked(false, &chat("m")), None);
    let stranger = Request::chat(&chat("m")).keyless().header("x-auto-ai-router-hops", "front").send(&router);
    assert_eq!((stranger.status, stranger.header("x-auto-ai-router-error")), (401, None));
}

#[test]
fn who_really_served_is_named_through_the_chain_where_the_edge_wants_it() {
    let upstream = Upstream::healthy();
    let last = Config::new().credential("main", &upstream.url(), "").master_key(INNER_KEY).start();
    let middle = Config::new().proxy("last", &last.url(), INNER_KEY, "").start();
    let open =
        Config::new().proxy("middle", &middle.url(), MASTER_KEY, "").server("expose_route: true").start();
    let named = |router: &Router| {
        let answer = router.chat(&chat("m")).expect(200);
        answer.header("x-auto-ai-router-credential").map(str::to_owned)
    };
    assert_eq!(named(&open).as_deref(), Some("middle/last/main"));
    assert_eq!(named(&middle), None, "a caller that is no router is told nothing");
    let forged = Upstream::always(Reply::default().send(
        "HTTP/1.1 200 OK\r\nx-auto-ai-router-credential: forged\r\n\
        content-type: application/json\r\ncontent-length: 2\r\n\r\n{}",
    ));
    let plain = Config::single(&forged.url()).server("expose_route: true").start();
    let answer = plain.post("/v1/embeddings", &json!({"model": "m", "input": "x"}));
    assert_eq!(answer.header("x-auto-ai-router-credential"), Some("a"), "only routers name others");
}

#[test]
fn a_loop_names_its_path_and_a_chain_is_at_most_ten_deep() {
    let upstream = Upstream::healthy();
    let router = Config::single(&upstream.url()).start();
    let asked = |hops: &str| Request::chat(&chat("m")).header("x-auto-ai-router-hops", hops).send(&router);
    asked("1,2,3,4,5,6,7,8,9").expect(200);
    let looped = asked("1,2,3,4,5,6,7,8,9,10").expect(508);
    assert!(looped.message().contains("1 -> 2 -> 3"), "{}", looped.message());
    let own = router.health()["instance"].as_str().unwrap().to_owned();
    assert!(asked(&format!("a,{own},b"))
        .expect(508)
        .message()
        .contains(&format!("a -> {own} -> b -> {own}")));
    assert_eq!(upstream.count(), 1);
}

#[test]
fn one_name_with_two_addresses_shares_its_requests_and_skips_a_dead_one() {
    let (one, two) = (Upstream::healthy(), Upstream::healthy_on("127.0.0.2"));
    let list = format!("addresses: [\"{}\", \"{}\"]", one.address, two.address);
    let front = edge().proxy("peer", "http://peers.test:80", INNER_KEY, &list).start();
    let shared = |count: usize| shares(&front, [&one, &two], count).iter().all(|share| *share > 0);
    assert!(shared(10), "both serve");
    one.tells_ready(false);
    until("the one that leaves is skipped", || shares(&front, [&one, &two], 4) == [0, 4]);
    one.tells_ready(true);
    until("it is back", || shared(4));
    let heads = two.calls();
    assert_eq!(heads[0].header("host"), Some("peers.test"), "the name stays that of the address in the file");
}
