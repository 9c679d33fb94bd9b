//! What a restart does not forget: bans, and the minute's counts; and what a file that is broken does not break.

use serde_json::json;

use crate::support::*;

fn ban_everything(upstream: &Upstream) -> Config {
    Config::single(&upstream.url()).fail2ban("max_attempts: 1\nban_duration: 60s\nerror_codes: [401]")
}

fn limited(upstream: &Upstream) -> Config {
    Config::new().credential("a", &upstream.url(), "rpm: 3")
}

#[test]
fn a_ban_outlasts_a_restart_and_ends_when_it_would_have() {
    let upstream = Upstream::always(respond(401).json(&json!({"error": {"message": "Incorrect API key"}})));
    let router = ban_everything(&upstream).start();
    router.chat(&chat("m")).expect(502);
    assert_eq!(router.health_of("a")["is_banned"], true);
    let router = router.restart();
    let banned = router.health_of("a");
    assert_eq!(banned["is_banned"], true, "{banned:#}");
    router.chat(&chat("m")).expect(503);
    assert_eq!(upstream.count(), 1);
}

#[test]
fn a_minute_is_counted_over_a_restart() {
    let upstream = Upstream::healthy();
    let router = limited(&upstream).start();
    router.chat(&chat("m")).expect(200);
    router.chat(&chat("m")).expect(200);
    let router = router.restart();
    router.chat(&chat("m")).expect(200);
    router.chat(&chat("m")).expect(429);
    assert_eq!(upstream.count(), 3);
}

#[test]
fn a_crash_forgets_two_seconds_at_most() {
    let upstream = Upstream::healthy();
    let router = limited(&upstream).start();
    for _ in 0..3 {
        router.chat(&chat("m")).expect(200);
    }
    std::thread::sleep(ms(2600));
    router.signal("-KILL");
    let router = router.relaunch();
    router.chat(&chat("m")).expect(429);
}

#[test]
fn a_broken_file_is_a_warning() {
    let upstream = Upstream::healthy();
    let mut router = limited(&upstream).start();
    router.chat(&chat("m")).expect(200);
    let kept = router.dir().join("state").join(format!("pool-{}.json", router.port));
    router.sigterm();
    router.exit(secs(10)).expect("an idle router leaves");
    let text = std::fs::read_to_string(&kept).unwrap();
    assert!(!text.contains(key_of("a").as_str()) && !text.contains(MASTER_KEY), "{text}");
    std::fs::write(&kept, &text[..text.len() / 2]).unwrap();
    let router = router.relaunch();
    router.chat(&chat("m")).expect(200);
    until("the log says so", || router.stderr().contains("limits and bans begin anew"));
}
