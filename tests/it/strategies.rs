//! Strategies: who serves when several could, seen from outside.

use std::collections::BTreeMap;

use serde_json::{json, Value};

use crate::support::*;

/// How many calls came with the key of each credential.
fn served(upstream: &Upstream, names: &[&str]) -> BTreeMap<String, usize> {
    names.iter().map(|name| (name.to_string(), upstream.calls_of(&key_of(name)).len())).collect()
}

fn last_key(upstream: &Upstream) -> String {
    upstream.last().key.clone().unwrap_or_default()
}

#[test]
fn by_priority_the_first_serves_and_the_second_only_when_it_fails() {
    let upstream = Upstream::healthy();
    let names = ["first", "second", "third"];
    let config = Config::pool(&names, &upstream.url()).routing("strategy: priority");
    let router = config.start();
    (0..5).for_each(|_| drop(router.chat(&chat("m")).expect(200)));
    assert_eq!(served(&upstream, &names)["first"], 5);
    upstream.set(|call| match call.key.as_deref() == Some(&key_of("first")) {
        true => respond(500).error("down", "server_error", None),
        false => Reply::good(call),
    });
    (0..3).for_each(|_| drop(router.chat(&chat("m")).expect(200)));
    assert_eq!((served(&upstream, &names)["second"], served(&upstream, &names)["third"]), (3, 0));
    upstream.set(Reply::good);
    router.chat(&chat("m")).expect(200);
    assert_eq!(last_key(&upstream), key_of("first"), "it comes back");
}

#[test]
fn least_used_keeps_shares_of_limits_together() {
    let upstream = Upstream::healthy();
    let config = Config::new()
        .never_bans()
        .routing("strategy: least_used\nmodel_usage_gap_percentage: 2")
        .credential("wide", &upstream.url(), "rpm: 300")
        .credential("narrow", &upstream.url(), "rpm: 100");
    let router = config.start();
    (0..80).for_each(|_| drop(router.chat(&chat("m")).expect(200)));
    let served = served(&upstream, &["wide", "narrow"]);
    let shares = (served["wide"] as f64 / 3.0, served["narrow"] as f64);
    assert!((shares.0 - shares.1).abs() <= 3.0, "percent of their limits: {shares:?}");
}

#[test]
fn evenly_everybody_serves_and_not_in_turn() {
    let upstream = Upstream::healthy();
    let names = ["a", "b"];
    let router = Config::pool(&names, &upstream.url()).routing("strategy: even").start();
    (0..60).for_each(|_| drop(router.chat(&chat("m")).expect(200)));
    let served = served(&upstream, &names);
    // All on one side of these would be one chance in a million.
    assert!(served.values().all(|count| (10..=50).contains(count)), "{served:?}");
    let keys: Vec<_> = upstream.calls().iter().map(|call| call.key.clone()).collect();
    assert!(keys.windows(2).any(|pair| pair[0] == pair[1]), "turns would alternate");
}

#[test]
fn the_one_whose_first_token_comes_soonest_serves() {
    let upstream = Upstream::scripted(|call| {
        let slow = call.key.as_deref() == Some(&key_of("slow"));
        Reply::chat_stream(call, &["hi"]).after(std::time::Duration::from_millis(if slow { 300 } else { 5 }))
    });
    let names = ["slow", "fast"];
    let router = Config::pool(&names, &upstream.url()).routing("strategy: latency").start();
    for _ in 0..20 {
        assert!(router.stream(&chat_streamed("m")).expect(200).rest().iter().any(|event| event.is_done()));
    }
    assert_eq!(served(&upstream, &names)["slow"], 1, "it was tried once");
}

fn conversation(id: usize, turns: usize) -> Value {
    let mut messages = vec![json!({"role": "system", "content": "You help."})];
    for turn in 0..turns {
        messages.push(json!({"role": "user", "content": format!("{id}: {turn}")}));
        messages.push(json!({"role": "assistant", "content": "yes"}));
    }
    messages.push(json!({"role": "user", "content": format!("{id}: {turns}")}));
    json!({"model": "m", "messages": messages})
}

#[test]
fn a_conversation_stays_with_its_credential() {
    let upstream = Upstream::healthy();
    let names = ["a", "b", "c", "d"];
    let router = Config::pool(&names, &upstream.url()).routing("strategy: affinity").start();
    let mut homes = Vec::new();
    for id in 0..12 {
        let keys: Vec<_> = (0..4)
            .map(|turns| {
                router.chat(&conversation(id, turns)).expect(200);
                last_key(&upstream)
            })
            .collect();
        assert!(keys.iter().all(|key| *key == keys[0]), "{keys:?}");
        homes.push(keys[0].clone());
    }
    homes.sort();
    homes.dedup();
    assert!(homes.len() > 1, "conversations are spread");
    let router = router.restart();
    let before = last_key(&upstream);
    router.chat(&conversation(11, 4)).expect(200);
    assert_eq!(last_key(&upstream), before, "over a restart, too");
}

#[test]
fn a_session_is_known_by_its_key_its_header_or_its_user() {
    let upstream = Upstream::healthy();
    let names = ["a", "b", "c", "d", "e"];
    let router = Config::pool(&names, &upstream.url()).routing("strategy: affinity").start();
    let key = |number: usize| json!({"model": "m", "prompt_cache_key": "k", "user": format!("{number}"), "messages": [{"role": "user", "content": format!("{number}")}]});
    let user = |number: usize| json!({"model": "m", "user": "u", "messages": [{"role": "user", "content": format!("{number}")}]});
    let homes = |send: &dyn Fn(usize)| {
        let mut homes: Vec<_> = (0..8)
            .map(|number| {
                send(number);
                last_key(&upstream)
            })
            .collect();
        homes.dedup();
        homes
    };
    assert_eq!(homes(&|number| drop(router.chat(&key(number)).expect(200))).len(), 1);
    assert_eq!(homes(&|number| drop(router.chat(&user(number)).expect(200))).len(), 1);
    for header in ["x-session-affinity", "session-id", "x-claude-code-session-id"] {
        let send = |number| {
            drop(Request::chat(&conversation(number, 0)).header(header, "s1").send(&router).expect(200))
        };
        assert_eq!(homes(&send).len(), 1, "{header}");
    }
    assert!(homes(&|number| drop(router.chat(&conversation(number, 0)).expect(200))).len() > 1);
    assert!(!router.stdout().contains("\"k\"") && !router.stdout().contains("s1"));
}
