//! Answers of routers of several ages, and of what is none.

use serde_json::json;

use super::*;

fn read(value: &Value) -> PeerHealth {
    PeerHealth::read(value.to_string().as_bytes(), "us").expect("an object")
}

fn credential(rpm: i64, used: u64) -> Value {
    json!({"type": "openai", "is_fallback": false, "current_rpm": used, "current_tpm": 10 * used, "limit_rpm": rpm,
           "limit_tpm": -1})
}

fn with(key: &str, mut of: Value) -> Value {
    of[key] = json!(true);
    of
}

fn rpm(used: u64, limit: Option<u64>) -> Figure {
    Figure { used, limit }
}

#[test]
fn an_answer_of_the_first_generation_is_read() {
    let health = read(&json!({
        "status": "healthy", "credentials_available": 2, "credentials_banned": 0, "total_credentials": 2,
        "credentials": {"one": credential(50, 3), "two": credential(70, 4)},
        "models": {"one:gpt": {"credential": "one", "model": "gpt", "current_rpm": 3, "current_tpm": 9,
                               "limit_rpm": 40, "limit_tpm": 1000},
                   "two:gpt": {"credential": "two", "model": "gpt", "current_rpm": 4, "current_tpm": 1,
                               "limit_rpm": 20, "limit_tpm": -1}},
    }));
    let load = health.load().unwrap();
    assert_eq!((load.rpm, load.tpm), (rpm(7, Some(120)), rpm(70, None)));
    assert_eq!(health.models["gpt"], Load { rpm: rpm(7, Some(60)), tpm: rpm(10, None) });
    assert!(!health.draining && !health.unhealthy && health.instance.is_none() && !health.is_full());
}

#[test]
fn one_credential_without_a_limit_makes_the_sum_unlimited() {
    let health = read(&json!({"credentials": {"a": credential(-1, 1), "b": credential(50, 50)}}));
    assert_eq!(health.load().unwrap().rpm, rpm(51, None));
    assert!(!health.is_full());
}

#[test]
fn banned_credentials_add_nothing_and_fallbacks_only_when_they_are_all_that_is_left() {
    let banned = with("is_banned", credential(1000, 900));
    let fallback = with("is_fallback", credential(30, 2));
    let both = json!({"banned": banned, "spare": fallback, "well": credential(20, 20)});
    assert_eq!(read(&json!({"credentials": both})).load().unwrap().rpm, rpm(20, Some(20)));
    assert!(read(&json!({"credentials": both})).is_full());
    let left = json!({"banned": banned, "spare": fallback});
    assert_eq!(read(&json!({"credentials": left})).load().unwrap().rpm, rpm(2, Some(30)));
    assert_eq!(read(&json!({"credentials": {"banned": banned}})).load(), None);
}

#[test]
fn a_bare_status_says_only_whether_there_is_anything() {
    let bare = read(&json!({"status": "unhealthy"}));
    assert!(bare.unhealthy && bare.load().is_none() && !bare.is_full());
}

#[test]
fn members_of_another_type_say_nothing() {
    let odd = read(
        &json!({"status": 7, "version": {}, "uptime_seconds": -3, "draining": "yes", "instance": [],
        "credentials": {"a": 5, "b": {"limit_rpm": "many", "current_rpm": 1.5, "peer": []}}, "models": [1, 2]}),
    );
    assert_eq!(odd.credentials.len(), 1);
    assert_eq!(odd.load().unwrap().rpm, rpm(0, None));
    assert_eq!(PeerHealth { credentials: BTreeMap::new(), ..odd }, PeerHealth::default());
    for garbage in ["", "[]", "7", "{", "null", "\u{0}", "{\"a\":1}}", &"{\"credentials\":".repeat(500)] {
        assert_eq!(PeerHealth::read(garbage.as_bytes(), "us"), None, "{garbage:.20}");
    }
}

#[test]
fn sums_of_absurd_figures_do_not_overflow() {
    let huge = json!({"current_rpm": u64::MAX, "limit_rpm": u64::MAX});
    let load = read(&json!({"credentials": {"a": huge, "b": huge}})).load().unwrap();
    assert_eq!(load.rpm, rpm(u64::MAX, Some(u64::MAX)));
}

fn router(instance: &str, behind: Value) -> Value {
    json!({"instance": instance, "state": "fresh", "age_seconds": 4,
           "credentials": {"next": {"type": "proxy", "peer": behind}}})
}

fn behind(health: &PeerHealth) -> Option<&Behind> {
    health.credentials.get("next")?.peer.as_deref()
}

#[test]
fn routers_behind_routers_are_read_with_their_ages() {
    let health = read(&router("a", router("b", router("c", json!({})))));
    let b = behind(&health).unwrap();
    assert_eq!(
        (b.state.as_str(), b.age, b.health.instance.as_deref()),
        ("fresh", Some(Duration::from_secs(4)), Some("b"))
    );
    assert_eq!(behind(&b.health).unwrap().health.instance.as_deref(), Some("c"));
}

#[test]
fn what_a_peer_says_of_us_or_of_anybody_twice_in_a_line_is_left_out() {
    assert!(behind(&read(&router("a", router("us", json!({}))))).is_none());
    let twice = read(&router("a", router("b", router("a", json!({})))));
    assert!(behind(&behind(&twice).unwrap().health).is_none());
}

#[test]
fn a_tree_is_kept_ten_deep_and_two_hundred_routers_large() {
    let deep = (0..30).fold(json!({}), |behind, _| json!({"credentials": {"next": {"peer": behind}}}));
    let (health, mut depth) = (read(&deep), 1);
    let mut at = &health;
    while let Some(next) = behind(at) {
        (at, depth) = (&next.health, depth + 1);
    }
    assert_eq!(depth, MOST_DEPTH);
    let wide: Map<String, Value> =
        (0..500).map(|n| (n.to_string(), json!({"peer": {"instance": n.to_string()}}))).collect();
    let kept =
        read(&json!({"credentials": wide})).credentials.into_values().filter(|c| c.peer.is_some()).count();
    assert_eq!(kept, MOST_ROUTERS - 1);
}

#[test]
fn a_million_tokens_cost_what_ten_do() {
    let time = |tokens: u64| {
        let body = json!({"credentials": {"a": {"current_tpm": tokens, "limit_tpm": -1}}}).to_string();
        let begun = std::time::Instant::now();
        for _ in 0..2000 {
            assert_eq!(PeerHealth::read(body.as_bytes(), "us").unwrap().load().unwrap().tpm.used, tokens);
        }
        begun.elapsed()
    };
    let (ten, million) = (time(10), time(1_000_000_000));
    assert!(million < ten * 5 + Duration::from_millis(50), "{ten:?} and {million:?}");
}
