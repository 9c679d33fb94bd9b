//! `client_keys` and who may ask: what is taken, and what is refused with which words.

use std::time::{Duration, SystemTime};

use super::*;
use crate::clients::Digest;

const CREDENTIALS: &str = "credentials: [{name: a, api_key: key-of-a, base_url: 'https://h'}]\n";
const KEY: &str = "sk-client-0123456789abcdef";

/// The problems as `line message`.
fn told(text: &str, expected: &[&str]) {
    let loaded = World::default().load(&format!("{text}{CREDENTIALS}"));
    let told = loaded.problems.iter().filter(|problem| problem.path != "server.host");
    let told: Vec<_> = told.map(|problem| format!("{} {}", problem.line, problem.message)).collect();
    assert_eq!(told, expected, "{text}");
}

fn key(text: &str, expected: &[&str]) {
    told(
        &format!("server: {{master_key: 0123456789abcdef, host: 127.0.0.1}}\nclient_keys: [{text}]\n"),
        expected,
    );
}

#[test]
fn a_client_key_has_everything_that_the_file_says() {
    let text = format!(
        "{GOOD}client_keys:\n  - {{name: team a, key: {KEY}, models: [gpt-5, 'claude-*'], rpm: 5, tpm: 100, \
         rpd: 50, tokens: 9000 per hour, time_zone: Asia/Tokyo, \
         max_concurrent: 2, priority: high, expires: 2027-01-31}}\n  - {{name: b, key_sha256: {}}}\n",
        "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
    );
    let keys = settings(&text).client_keys;
    let first = &keys[0];
    assert_eq!((first.name.as_str(), first.digest), ("team a", Digest::of(KEY.as_bytes())));
    assert_eq!((first.limits.rpm, first.limits.tpm, first.max_concurrent), (Some(5), Some(100), Some(2)));
    assert_eq!((first.models.as_ref().unwrap().len(), first.priority), (2, Priority::High));
    let more: Vec<_> = first.limits.more.iter().map(|quota| (quota.requests, quota.tokens)).collect();
    assert_eq!(more, [(Some(50), None), (None, Some(9000))]);
    assert_eq!(first.expires, Some(SystemTime::UNIX_EPOCH + Duration::from_secs(20_849 * 86_400)));
    assert_eq!(keys[1].digest, Digest::of(b"test"));
    assert!(keys[1].limits.is_empty() && keys[1].expires.is_none() && keys[1].models.is_none());
}

#[test]
fn a_key_that_cannot_be_meant_is_refused() {
    let good = format!("name: a, key: {KEY}");
    key(&format!("{{{good}}}"), &[]);
    key("{name: a}", &["2 this client key has neither `key` nor `key_sha256`"]);
    key(&format!("{{key: {KEY}}}"), &["2 the key `client_keys[0].name` is missing"]);
    key("{name: a, key: short}", &["2 `key` has fewer than 8 characters, which can be guessed"]);
    key("{name: a, key: sk-123456789}", &["2 `key` has fewer than 16 characters"]);
    key(
        &format!("{{name: a, key_sha256: {KEY}}}"),
        &["2 `key_sha256` is no SHA-256 digest: 64 hexadecimal digits"],
    );
    key(&format!("{{{good}, key_sha256: ab}}"), &["2 `key` and `key_sha256` say the same thing twice"]);
    key(&format!("{{name: master, key: {KEY}}}"), &["2 the name `master` belongs to the router"]);
    key("{name: a, key: 0123456789abcdef}", &["2 `a` has the same key as the master key"]);
    key(&format!("{{{good}}}, {{name: b, key: {KEY}}}"), &["2 `b` has the same key as `a`"]);
    let other = KEY.replace("sk", "ks");
    key(&format!("{{{good}}}, {{name: a, key: {other}}}"), &["2 the name `a` is taken"]);
    key(&format!("{{{good}, models: []}}"), &["2 an empty list allows no model at all"]);
    key(&format!("{{{good}, rpm: 0}}"), &["2 a limit of 0 would refuse everything"]);
    key(
        &format!("{{{good}, expires: 2020-01-31}}"),
        &["2 this key is refused: it has expired at 2020-01-31T00:00:00Z"],
    );
    key(&format!("{{{good}, expires: 2027-01-31}}"), &[]);
    key(&format!("{{{good}, expires: tomorrow}}"), &["2 `expires` is no day and no moment"]);
    key(
        &format!("{{{good}, priority: urgent}}"),
        &["2 `priority`: `urgent` is none of `high`, `normal`, `low`"],
    );
    let long = "k".repeat(513);
    key(&format!("{{name: a, key: {long}}}"), &["2 `key` has more than 512 characters"]);
}

#[test]
fn a_key_is_never_shown_by_a_problem() {
    let text =
        format!("server: {{host: 127.0.0.1}}\nclient_keys: [{{name: a, key: {KEY}, rpm: 0}}]\n{CREDENTIALS}");
    let rendered = World::default().load(&text).render(false);
    assert!(rendered.contains("would refuse everything") && !rendered.contains("0123456789"), "{rendered}");
}

#[test]
fn the_environment_names_keys_with_gaps() {
    let world = World::default()
        .variable("AUTH_KEY", KEY)
        .variable("AUTH_KEY_02", "sk-second-0123456789abcdef")
        .variable("AUTH_KEY_99", "sk-last-0123456789abcdefgh")
        .variable("AUTH_KEY_100", "sk-beyond-0123456789abcdef")
        .variable("AUTH_KEY_03", KEY);
    let server = "server: {host: 127.0.0.1, auth_keys_from_env: true}\n";
    let loaded = world.load(&format!("{server}{CREDENTIALS}"));
    assert_eq!(lines(&loaded), Vec::<String>::new());
    let settings = loaded.settings.unwrap();
    let names: Vec<_> = settings.client_keys.iter().map(|key| key.name.as_str()).collect();
    assert_eq!(names, ["AUTH_KEY", "AUTH_KEY_02", "AUTH_KEY_99"]);
    assert!(settings.server.master_key.is_none());
    let off = world.load(&format!("{GOOD}x-unused: 1\n")).settings.unwrap();
    assert!(off.client_keys.is_empty(), "only where the file wants them");
}

#[test]
fn somebody_must_be_able_to_ask() {
    told("server: {host: 127.0.0.1}\n", &["1 the key `server.master_key` is missing"]);
    let missing = "the environment variable `AUTH_KEY`, `AUTH_KEY_01` to `AUTH_KEY_99` is not set: there are no such keys";
    told(
        "server: {host: 127.0.0.1, auth_keys_from_env: true}\n",
        &["1 the key `server.master_key` is missing", &format!("1 {missing}")],
    );
}

#[test]
fn without_keys_a_router_is_for_its_own_host() {
    let warned = "callers need no key: whoever reaches the router spends your money";
    for host in ["127.0.0.1", "'::1'", "localhost", "127.8.8.8"] {
        let text = format!("server: {{enable_auth: false, host: {host}}}\n");
        told(&text, &[&format!("1 {warned}")]);
    }
    for host in ["0.0.0.0", "192.168.1.1", "'::'", "router.internal"] {
        let refused = "without keys the router serves this host only, and `server.host` is not on loopback";
        told(&format!("server: {{enable_auth: false, host: {host}}}\n"), &[&format!("1 {refused}")]);
        let forced = format!("server: {{enable_auth: false, allow_unauthenticated: true, host: {host}}}\n");
        told(&forced, &["1 callers need no key, and others than this host can reach the router"]);
    }
}

#[test]
fn a_header_for_keys_is_one_that_can_hold_them() {
    let header = |name: &str| {
        format!("server: {{master_key: 0123456789abcdef, host: 127.0.0.1, auth_header_name: {name}}}\n")
    };
    told(&header("X-My-Key"), &[]);
    for name in ["Host", "'a b'", "cookie"] {
        told(&header(name), &["1 `auth_header_name` is no header that can hold a key"]);
    }
}
