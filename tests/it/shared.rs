//! Several routers on one Redis: limits to the request, bans that all know of, and a store that is lost.
//!
//! These need `redis-server`; where there is none they say so and pass. The longer stories are `make test-shared`.

use std::process::{Child, Command, Stdio};
use std::time::Instant;

use serde_json::Value;
use tempfile::TempDir;

use crate::support::router::free_port;
use crate::support::*;

/// A redis-server on a port of its own, which keeps nothing. Ended when dropped.
struct Store {
    port: u16,
    child: Child,
    dir: TempDir,
}

impl Store {
    /// None where there is no such program.
    fn start() -> Option<Self> {
        let (port, dir) = (free_port(), TempDir::new().unwrap());
        let Some(child) = run(port, &dir) else {
            println!("redis-server is not installed: not tested");
            return None;
        };
        Some(Self { port, child, dir })
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn start_again(&mut self) {
        self.child = run(self.port, &self.dir).expect("it was there before");
    }

    fn signal(&self, name: &str) {
        assert!(Command::new("kill").args([name, &self.child.id().to_string()]).status().unwrap().success());
    }

    /// A router that waits for the store while the machine is busy.
    fn config(&self, upstream: &Upstream, credential: &str) -> Config {
        self.hasty(upstream, credential).state("timeout: 3s")
    }

    fn hasty(&self, upstream: &Upstream, credential: &str) -> Config {
        let url = format!("url: redis://127.0.0.1:{}", self.port);
        Config::new().credential("a", &upstream.url(), credential).state(&url)
    }

    /// Routers that have met.
    fn routers(&self, count: usize, config: &Config) -> Vec<Router> {
        let routers: Vec<_> = (0..count).map(|_| config.clone().start()).collect();
        for router in &routers {
            until("the routers have met", || {
                let state = state(router);
                state["mode"] == "shared" && state["routers"] == count
            });
        }
        routers
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn run(port: u16, dir: &TempDir) -> Option<Child> {
    let port_text = port.to_string();
    let child = Command::new("redis-server")
        .args(["--port", &port_text, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir"])
        .arg(dir.path())
        .stdout(Stdio::null())
        .spawn()
        .ok()?;
    until("redis-server listens", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
    Some(child)
}

fn state(router: &Router) -> Value {
    router.health()["state"].clone()
}

fn served(answers: &[Answer]) -> usize {
    answers.iter().filter(|answer| answer.status == 200).count()
}

#[test]
fn routers_on_one_store_admit_the_limit_together_and_not_one_more() {
    let Some(store) = Store::start() else { return };
    let upstream = Upstream::healthy();
    let routers = store.routers(3, &store.config(&upstream, "rpm: 20"));
    let answers = at_once(48, |i| routers[i % 3].chat(&chat("m")));
    assert_eq!((served(&answers), upstream.count()), (20, 20));
    let refused = answers.iter().find(|answer| answer.status == 429).expect("one over the limit");
    let wait: u64 = refused.header("retry-after").and_then(|v| v.parse().ok()).expect("seconds");
    assert!((50..=60).contains(&wait), "{wait} s");
}

#[test]
fn tokens_that_were_reserved_and_not_used_are_there_for_other_routers() {
    let Some(store) = Store::start() else { return };
    let upstream = Upstream::healthy();
    let routers = store.routers(2, &store.config(&upstream, "tpm: 1000"));
    let mut large = chat("m");
    large["max_tokens"] = 900.into();
    routers[0].chat(&large).expect(200);
    until("the other router is let through", || routers[1].chat(&large).status == 200);
}

#[test]
fn requests_at_one_time_are_counted_over_all_routers() {
    let Some(store) = Store::start() else { return };
    let upstream = Upstream::scripted(|call: &Call| Reply::good(call).after(ms(1500)));
    let routers = store.routers(2, &store.config(&upstream, "max_concurrent: 3"));
    let answers = at_once(12, |i| routers[i % 2].chat(&chat("m")));
    assert_eq!(served(&answers), 3);
    until("the places are free again", || routers[1].chat(&chat("m")).status == 200);
}

#[test]
fn a_ban_and_its_end_are_known_to_all_within_a_second() {
    let Some(store) = Store::start() else { return };
    let upstream = Upstream::scripted(|_: &Call| respond(401).error("no", "auth", None));
    let config = store.config(&upstream, "weight: 1").fail2ban("max_attempts: 1\nban_duration: 1m");
    let routers = store.routers(2, &config);
    routers[0].chat(&chat("m"));
    let known = |banned: bool| {
        eventually(ms(1200), || (routers[1].health_of("a")["is_banned"] == banned).then_some(()))
    };
    assert!(known(true).is_some(), "the other router has not heard of the ban");
    let calls = upstream.count();
    routers[1].chat(&chat("m")).expect(503);
    assert_eq!(upstream.count(), calls, "a banned key was asked");
    assert_eq!(routers[0].admin("/admin/credentials/a/unban").0, 200);
    assert!(known(false).is_some(), "the other router has not heard of its end");
}

#[test]
fn a_lost_store_leaves_each_router_its_share_and_is_told_of_it_afterwards() {
    let Some(mut store) = Store::start() else { return };
    let upstream = Upstream::healthy();
    let routers = store.routers(2, &store.config(&upstream, "rpm: 20"));
    store.kill();
    let answers = at_once(40, |i| routers[i % 2].chat(&chat("m")));
    assert_eq!((served(&answers), upstream.count()), (20, 20), "ten for each of two");
    assert_eq!(state(&routers[0])["mode"], "local_share");
    store.start_again();
    until("the store is relied on", || routers.iter().all(|router| state(router)["mode"] == "shared"));
    let answers = at_once(20, |i| routers[i % 2].chat(&chat("m")));
    assert_eq!((served(&answers), upstream.count()), (0, 20), "what was admitted meanwhile counts");
    assert_eq!(state(&routers[0])["outages"], 1);
}

#[test]
fn a_store_that_hangs_holds_nobody_up_for_longer_than_its_timeout() {
    let Some(store) = Store::start() else { return };
    let upstream = Upstream::healthy();
    let config = store.hasty(&upstream, "rpm: 1000").state("timeout: 300ms\non_outage: reject");
    let routers = store.routers(1, &config);
    routers[0].chat(&chat("m")).expect(200);
    store.signal("-STOP");
    let begun = Instant::now();
    let answer = routers[0].chat(&chat("m")).expect(503);
    assert!(begun.elapsed() < ms(1500), "{:?}", begun.elapsed());
    assert_eq!(
        (answer.code().as_str(), answer.header("retry-after")),
        ("shared_state_unavailable", Some("1"))
    );
    let begun = Instant::now();
    routers[0].chat(&chat("m")).expect(503);
    assert!(begun.elapsed() < ms(250), "the second request waited as well: {:?}", begun.elapsed());
    store.signal("-CONT");
    until("it is served again", || routers[0].chat(&chat("m")).status == 200);
    assert_eq!(upstream.calls_of(&key_of("a")).len(), 2);
    assert_eq!(routers[0].metric("auto_ai_router_shared_state_up", &[]), Some(1.0));
}

#[test]
fn a_reload_leaves_the_shared_count_as_it_is() {
    let Some(store) = Store::start() else { return };
    let upstream = Upstream::healthy();
    let routers = store.routers(2, &store.config(&upstream, "rpm: 10"));
    at_once(6, |_| routers[0].chat(&chat("m")).expect(200));
    let path = routers[0].dir().join("config.yaml");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("rpm: 10", "rpm: 12")).unwrap();
    assert_eq!(routers[0].admin("/admin/reload").0, 200);
    let answers = at_once(10, |_| routers[1].chat(&chat("m")));
    assert_eq!(served(&answers), 4);
    let answers = at_once(10, |_| routers[0].chat(&chat("m")));
    assert_eq!(served(&answers), 2, "the new limit holds for whoever has it");
}

#[test]
fn an_upgrade_leaves_the_shared_count_as_it_is() {
    let Some(store) = Store::start() else { return };
    let upstream = Upstream::scripted(|call: &Call| Reply::good(call).after(ms(50)));
    let routers = store.routers(2, &store.config(&upstream, "rpm: 60\nmax_concurrent: 20"));
    let (moving, other) = (&routers[0], &routers[1]);
    at_once(10, |_| moving.chat(&chat("m")).expect(200));
    moving.upgrade();
    let answers = at_once(80, |i| [moving, other][i % 2].chat(&chat("m")));
    let refused = answers.iter().filter(|answer| answer.status == 429).count();
    assert_eq!(served(&answers) + refused, answers.len(), "lost in the upgrade");
    let admitted = eventually(secs(5), || {
        other.chat(&chat("m"));
        (upstream.count() >= 60).then_some(())
    });
    assert!(admitted.is_some(), "{} of 60: {}", upstream.count(), other.chat(&chat("m")).text());
    at_once(20, |i| [moving, other][i % 2].chat(&chat("m")).expect(429));
    assert_eq!(upstream.count(), 60);
    until("the old process is not counted any more", || state(other)["routers"] == 2);
}

#[test]
fn a_router_that_leaves_has_settled_all_and_is_not_counted_any_more() {
    let Some(store) = Store::start() else { return };
    let upstream = Upstream::scripted(|call: &Call| Reply::good(call).after(ms(300)));
    let mut routers = store.routers(2, &store.config(&upstream, "max_concurrent: 2"));
    let mut leaving = routers.remove(0);
    std::thread::scope(|scope| {
        let running: Vec<_> = (0..2).map(|_| scope.spawn(|| leaving.chat(&chat("m")).expect(200))).collect();
        until("both are under way", || upstream.count() == 2);
        leaving.sigterm();
        running.into_iter().for_each(|request| drop(request.join().unwrap()));
    });
    assert!(leaving.exit(secs(10)).is_some());
    routers[0].chat(&chat("m")).expect(200);
    let alone = eventually(secs(2), || (state(&routers[0])["routers"] == 1).then_some(()));
    assert!(alone.is_some(), "it would be missed after five seconds only: {}", state(&routers[0]));
}

#[test]
fn the_password_of_the_store_is_never_shown() {
    let upstream = Upstream::healthy();
    let config = Config::new().credential("a", &upstream.url(), "rpm: 5");
    let router = config.state("url: redis://:hunter2secret@127.0.0.1:1").start();
    router.chat(&chat("m")).expect(200);
    until("its loss is seen", || state(&router)["mode"] == "local_share");
    let shown =
        [router.stdout(), router.stderr(), router.health().to_string(), router.get("/metrics").text()];
    assert!(shown.iter().all(|text| !text.contains("hunter2secret")), "{shown:?}");
}

/// A day that is not about to end, and an hour.
const DAY_AND_HOUR: &str = "rpd: 12\nrequests: 20 per hour\ntime_zone: Pacific/Kiritimati";

#[test]
fn routers_on_one_store_hold_a_day_and_a_window_together() {
    let Some(store) = Store::start() else { return };
    let upstream = Upstream::healthy();
    let routers = store.routers(3, &store.config(&upstream, DAY_AND_HOUR));
    let answers = at_once(30, |i| routers[i % 3].chat(&chat("m")));
    assert_eq!((served(&answers), upstream.count()), (12, 12));
    let refused = answers.iter().find(|answer| answer.status == 429).expect("one over the limit");
    let wait: u64 = refused.header("retry-after").and_then(|v| v.parse().ok()).expect("seconds");
    assert!((1..=24 * 3600).contains(&wait), "{wait} s");
    drop(routers);
    let router = store.config(&upstream, "requests: 14 per hour").start();
    until("the router has met the store", || state(&router)["mode"] == "shared");
    let answers = at_once(9, |_| router.chat(&chat("m")));
    assert_eq!(served(&answers), 2, "the hour knows of the twelve");
}

#[test]
fn what_a_day_has_seen_in_an_outage_is_told_when_the_store_is_back() {
    let Some(mut store) = Store::start() else { return };
    let upstream = Upstream::healthy();
    let routers = store.routers(2, &store.config(&upstream, "rpd: 8\ntime_zone: Pacific/Kiritimati"));
    routers[0].chat(&chat("m")).expect(200);
    store.signal("-STOP");
    until("the store is missed", || {
        routers.iter().all(|router| {
            router.chat(&chat("m"));
            state(router)["up"] == false
        })
    });
    routers[0].chat(&chat("m")).expect(200);
    routers[1].chat(&chat("m")).expect(200);
    store.signal("-CONT");
    until("they have met again", || routers.iter().all(|router| state(router)["mode"] == "shared"));
    std::thread::sleep(ms(500));
    at_once(20, |i| routers[i % 2].chat(&chat("m")));
    assert!(
        (6..=8).contains(&upstream.count()),
        "{}: a late question may count for each router",
        upstream.count()
    );
    store.kill();
    until("it is missed", || routers.iter().all(|router| state(router)["up"] == false));
    store.start_again();
    until("an empty store has met them", || routers.iter().all(|router| state(router)["mode"] == "shared"));
    std::thread::sleep(ms(500));
    at_once(20, |i| routers[i % 2].chat(&chat("m")));
    assert_eq!(upstream.count(), 8, "it was told of the whole day");
}

#[test]
fn a_client_key_has_its_limits_once_over_all_routers() {
    let Some(store) = Store::start() else { return };
    let upstream = Upstream::scripted(|call| match call.model().as_str() {
        "slow" => Reply::silence(),
        _ => Reply::good(call),
    });
    let config = store.config(&upstream, "").client("k", "rpm: 10").client("one", "max_concurrent: 1");
    let routers = store.routers(2, &config.client("free", "models: [m]"));
    let ask = |at: usize, client: &str| Request::chat(&chat("m")).by(client).send(&routers[at]);
    ask(0, "free").expect(200);
    let asked = |router: &Router| router.metric("auto_ai_router_shared_state_seconds_count", &[]);
    assert_eq!(asked(&routers[0]).unwrap_or(0.0), 0.0, "a key without limits costs nothing");
    let answers = at_once(20, |i| ask(i % 2, "k"));
    assert_eq!((served(&answers), upstream.count()), (10, 11));
    let refused = answers.into_iter().find(|answer| answer.status == 429).expect("one over the limit");
    assert_eq!(refused.message(), "This API key is at its limit of requests: 10 per minute.");
    let wait: u64 = refused.header("retry-after").and_then(|v| v.parse().ok()).expect("seconds");
    assert!((1..=61).contains(&wait), "{wait}");
    let mut slow = Conn::open(routers[0].address());
    slow.write(&Request::chat(&chat("slow")).by("one").bytes(&routers[0]));
    upstream.wait_for(11);
    assert_eq!(
        ask(1, "one").expect(429).message(),
        "This API key is at its limit of requests: 1 at one time."
    );
    drop(slow);
    until("its place is free everywhere", || ask(1, "one").status == 200);
}

#[test]
fn a_lost_store_leaves_each_router_its_share_of_a_client_key_or_refuses() {
    let Some(mut store) = Store::start() else { return };
    let upstream = Upstream::healthy();
    let routers = store.routers(2, &store.config(&upstream, "").client("k", "rpm: 20"));
    let strict =
        store.config(&upstream, "").client("k", "rpm: 20").state("on_outage: reject\nnamespace: other");
    let strict = store.routers(1, &strict);
    store.kill();
    let ask = |router: &Router, client| Request::chat(&chat("m")).by(client).send(router);
    let answers = at_once(40, |i| ask(&routers[i % 2], "k"));
    assert_eq!((served(&answers), upstream.count()), (20, 20), "ten for each of two");
    assert_eq!(ask(&strict[0], "k").expect(503).code(), "shared_state_unavailable");
    strict[0].chat(&chat("m")).expect(200);
    store.start_again();
    until("the store is relied on", || routers.iter().all(|router| state(router)["mode"] == "shared"));
    let answers = at_once(10, |i| ask(&routers[i % 2], "k"));
    assert_eq!(served(&answers), 0, "what was admitted meanwhile counts");
}

#[test]
fn a_day_that_was_used_unevenly_holds_in_an_outage_too() {
    const DAY: &str = "rpd: 20\ntime_zone: Pacific/Kiritimati";
    for (credential, key) in [(DAY, "models: [m]"), ("", DAY)] {
        let Some(mut store) = Store::start() else { return };
        let upstream = Upstream::healthy();
        let routers = store.routers(2, &store.config(&upstream, credential).client("k", key));
        let ask = |at: usize| Request::chat(&chat("m")).by("k").send(&routers[at]);
        for _ in 0..15 {
            ask(0).expect(200);
        }
        // Each router looks once a second.
        std::thread::sleep(ms(2500));
        store.kill();
        until("it is missed", || routers.iter().all(|router| state(router)["up"] == false));
        let answers = at_once(40, |i| ask(i % 2));
        assert_eq!(
            (served(&answers), upstream.count()),
            (4, 19),
            "two for each, of the five that were left: {key}"
        );
        let refused = answers.into_iter().find(|answer| answer.status == 429).expect("one over the limit");
        let wait: u64 = refused.header("retry-after").and_then(|v| v.parse().ok()).expect("seconds");
        assert!((1..=86_400).contains(&wait), "{wait}");
    }
}
