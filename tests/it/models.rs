//! Models: who serves which, what the list says, and what an unknown one is answered.

use std::collections::BTreeSet;

use crate::support::*;

fn listed(router: &Router) -> BTreeSet<String> {
    let list = router.get("/v1/models").expect(200).json();
    assert_eq!(list["object"], "list");
    let data = list["data"].as_array().expect("an array").clone();
    for model in &data {
        assert_eq!(model["object"], "model");
        assert!(model["created"].is_i64() && model["owned_by"].is_string(), "{model}");
    }
    let ids: Vec<_> = data.iter().map(|m| m["id"].as_str().unwrap().to_string()).collect();
    let set: BTreeSet<_> = ids.iter().cloned().collect();
    assert_eq!(set.len(), ids.len(), "an id is listed twice: {ids:?}");
    set
}

#[test]
fn the_list_merges_what_is_configured_and_what_every_credential_has() {
    let (a, b) =
        (Upstream::healthy().lists(&["one", "both"]), Upstream::healthy().lists(&["both", "org/two:free"]));
    let config = Config::new().credential("a", &a.url(), "").credential("b", &b.url(), "");
    let router = config.start();
    let expected: BTreeSet<_> = ["one", "both", "org/two:free"].map(String::from).into();
    until("both lists are in", || listed(&router) == expected);
    assert_eq!(a.discoveries(), 1, "the list is not asked for inside a request");
    Request::get("/v1/models").keyless().send(&router).expect(401);
}

#[test]
fn a_list_of_models_is_asked_for_on_a_connection_of_its_own() {
    let upstream = Upstream::healthy().lists(&["m"]);
    let router = Config::single(&upstream.url()).start();
    until("the list is in", || listed(&router).len() == 1);
    assert_eq!(upstream.connections(), 1);
    router.chat(&chat("m")).expect(200);
    router.chat(&chat("m")).expect(200);
    assert_eq!(upstream.connections(), 2, "requests have a connection, too, and keep it");
}

#[test]
fn a_beginning_of_names_leads_to_a_credential_and_is_dropped_on_the_way() {
    let (openai, claude) =
        (Upstream::healthy().lists(&["gpt-4o"]), Upstream::healthy().lists(&["claude-x", "claude-y"]));
    let router = Config::new()
        .credential("openai", &openai.url(), "models: [{\"openai/*\": \"*\"}]")
        .credential("claude", &claude.url(), "models: [\"claude-*\", {claude-x: claude-y}]")
        .start();
    until("what hosts list has its names here", || {
        listed(&router) == ["openai/gpt-4o", "claude-x", "claude-y"].map(String::from).into()
    });
    router.chat(&chat("openai/gpt-5")).expect(200);
    assert_eq!(openai.only().model(), "gpt-5");
    for (name, there) in [("claude-z", "claude-z"), ("claude-x", "claude-y")] {
        router.chat(&chat(name)).expect(200);
        assert_eq!(claude.last().model(), there);
    }
    assert_eq!(router.chat(&chat("gpt-5")).expect(404).code(), "model_not_found");
}

#[test]
fn a_model_is_shown_by_its_id_with_slashes_or_without() {
    let upstream = Upstream::healthy().lists(&["plain", "org/name:free"]);
    let router = Config::single(&upstream.url()).start();
    until("the list is in", || listed(&router).len() == 2);
    for path in [
        "/v1/models/plain",
        "/v1/models/org/name:free",
        "/v1/models/org%2Fname:free",
        "/v1/models/org%2Fname%3Afree",
    ] {
        let model = router.get(path).expect(200).json();
        assert_eq!(model["object"], "model", "{path}");
    }
    let answer = router.get("/v1/models/plane").expect(404);
    assert_eq!(answer.code(), "model_not_found");
}

#[test]
fn discovery_may_fail_or_lie_without_harm() {
    let lies = [
        respond(500).error("no", "server_error", None),
        respond(200).body("text/html", "<html>"),
        respond(200).body("application/json", r#"{"data":"none"}"#),
        respond(200).body("application/json", r#"{"data":[{"id":7},{"name":"x"},null,{"id":"real"}]}"#),
        Reply::silence(),
    ];
    for lie in lies {
        let upstream = Upstream::healthy().lists_with(lie);
        let router = Config::single(&upstream.url()).start();
        router.chat(&chat("anything")).expect(200);
        router.get("/v1/models").expect(200);
    }
}

#[test]
fn without_a_models_section_every_credential_serves_every_model() {
    let upstream = Upstream::healthy().lists(&["known"]);
    let router = Config::single(&upstream.url()).start();
    until("the list is in", || listed(&router).len() == 1);
    router.chat(&chat("brand-new")).expect(200);
}

#[test]
fn a_models_section_binds_and_an_unknown_model_is_told_its_nearest() {
    let upstream = Upstream::healthy();
    let router = Config::pool(&["a", "b"], &upstream.url())
        .model("name: gpt-4o\ncredential: a")
        .model("name: gpt-4o-mini\ncredential: b")
        .model("name: everywhere")
        .start();
    for _ in 0..4 {
        router.chat(&chat("gpt-4o")).expect(200);
        router.chat(&chat("everywhere")).expect(200);
    }
    assert!(upstream.calls().iter().filter(|c| c.model() == "gpt-4o").all(|c| c.key == Some(key_of("a"))));
    let both: BTreeSet<_> =
        upstream.calls().iter().filter(|c| c.model() == "everywhere").map(|c| c.key.clone()).collect();
    assert_eq!(both.len(), 2, "a model without a credential is served by all");
    let before = upstream.count();
    let answer = router.chat(&chat("gpt-4oo")).expect(404);
    assert_eq!(answer.code(), "model_not_found");
    assert!(answer.message().contains("gpt-4o"), "{}", answer.message());
    assert_eq!(upstream.count(), before);
}

#[test]
fn replace_v1_models_makes_discovered_lists_bind() {
    let (a, b) = (Upstream::healthy().lists(&["one"]), Upstream::healthy().lists(&["two"]));
    let router = Config::new()
        .server("replace_v1_models: true")
        .credential("a", &a.url(), "")
        .credential("b", &b.url(), "")
        .start();
    until("both lists are in", || listed(&router).len() == 2);
    for _ in 0..4 {
        router.chat(&chat("one")).expect(200);
    }
    assert_eq!((a.count(), b.count()), (4, 0));
    router.chat(&chat("three")).expect(404);
}

#[test]
fn an_alias_is_rewritten_on_the_way_and_nothing_else_is() {
    let upstream = Upstream::healthy();
    let config =
        Config::new().credential("a", &upstream.url(), "models:\n  - fast: org/real-model-v2\n  - plain");
    let router = config.start();
    let body = r#"{"messages":[{"role":"user","content":"fast"}],  "model" : "fast" ,"n":1.0e0}"#;
    Request::post("/v1/chat/completions").body("application/json", body).send(&router).expect(200);
    let sent = String::from_utf8_lossy(&upstream.last().body).into_owned();
    assert_eq!(sent, body.replace(r#""model" : "fast""#, r#""model" : "org/real-model-v2""#));
    router.chat(&chat("plain")).expect(200);
    assert_eq!(upstream.last().model(), "plain");
    router.chat(&chat("other")).expect(404);
    assert!(listed(&router).contains("fast"));
}

#[test]
fn an_allow_list_sends_a_model_only_where_it_is_allowed() {
    let upstream = Upstream::healthy();
    let config = Config::new().credential("a", &upstream.url(), "models: [one]");
    let router = config.credential("b", &upstream.url(), "models: [two]").start();
    for _ in 0..3 {
        router.chat(&chat("one")).expect(200);
    }
    assert!(upstream.calls().iter().all(|c| c.key == Some(key_of("a"))));
}

#[test]
fn the_turn_is_fair_for_a_model_that_only_some_credentials_serve() {
    let upstream = Upstream::healthy();
    let router = Config::pool(&["a", "b", "c"], &upstream.url())
        .model("name: all")
        .model("name: some\ncredential: b")
        .model("name: some\ncredential: c")
        .start();
    for _ in 0..12 {
        router.chat(&chat("some")).expect(200);
        router.chat(&chat("all")).expect(200);
    }
    let count = |model: &str, name: &str| {
        upstream.calls_of(&key_of(name)).iter().filter(|c| c.model() == model).count()
    };
    assert_eq!(["a", "b", "c"].map(|n| count("some", n)), [0, 6, 6]);
    assert_eq!(["a", "b", "c"].map(|n| count("all", n)), [4, 4, 4]);
}

#[test]
fn weights_share_the_turns() {
    let upstream = Upstream::healthy();
    let config = Config::new().credential("heavy", &upstream.url(), "weight: 3");
    let router = config.credential("light", &upstream.url(), "weight: 1").start();
    for _ in 0..12 {
        router.chat(&chat("m")).expect(200);
    }
    assert_eq!(upstream.calls_of(&key_of("heavy")).len(), 9);
    let keys: Vec<_> = upstream.calls().iter().map(|c| c.key.clone()).collect();
    assert!(!keys.windows(4).any(|w| w.iter().all(|k| *k == w[0])), "the turns come in lumps: {keys:?}");
}

#[test]
fn limits_of_models_yaml_apply_without_binding() {
    let upstream = Upstream::healthy();
    let dir = tempfile::TempDir::new().unwrap();
    std::fs::write(dir.path().join("models.yaml"), "models:\n  - name: scarce\n    rpm: 2\n").unwrap();
    let router = Config::single(&upstream.url()).start_in(dir);
    let count = |model: &str| (0..5).filter(|_| router.chat(&chat(model)).status == 200).count();
    assert_eq!((count("scarce"), count("free")), (2, 5));
    let text = std::fs::read_to_string(router.dir().join("models.yaml")).unwrap();
    assert_eq!(text, "models:\n  - name: scarce\n    rpm: 2\n", "the file is never written");
}
