//! Heads of requests: who signs in how, and which of the client's headers go along.

use std::path::Path;
use std::time::Duration;

use super::*;
use crate::config::{load, Source};
use crate::edge::pins::Pinboard;
use crate::gateway::Gateway;
use crate::llm::Wire;

const ACCOUNT: &str = include_str!("../../../tests/it/support/service-account.json");

/// The upstream of a credential with these keys, at an address of its own.
fn gateway(keys: &str) -> Arc<Gateway> {
    let text = format!(
        "server: {{master_key: 0123456789abcdef, host: 127.0.0.1}}\ncredentials:\n  - {{name: a, base_url: \"http://10.1.1.1:9\", {keys}}}\n"
    );
    let read = |path: &Path| match path.ends_with("account.json") {
        true => Ok(ACCOUNT.replace("TOKEN_URI", "http://127.0.0.1:1/token")),
        false => Err(std::io::ErrorKind::NotFound.into()),
    };
    let source = Source { path: Path::new("config.yaml"), text: &text };
    let loaded = load(source, &|_| None, &read, std::time::SystemTime::UNIX_EPOCH);
    let rendered = loaded.render(false);
    Gateway::assemble(loaded.settings.unwrap_or_else(|| panic!("{rendered}")), Pinboard::in_memory())
}

fn ask(wire: Wire) -> Ask<'static> {
    let path = match wire {
        Wire::Messages => "/v1/messages",
        Wire::Gemini => "/v1beta/models/x:generateContent",
        _ => "/v1/chat/completions",
    };
    Ask { wire, path, query: None, model: Some("m"), stream: false, version: None }
}

/// A client of every dialect at once, with a key of our own in each place for one.
fn client() -> RequestHeader {
    let mut head = RequestHeader::build("POST", b"/v1/x", None).unwrap();
    for (name, value) in [
        ("authorization", "Bearer own"),
        ("x-api-key", "own"),
        ("api-key", "own"),
        ("x-goog-api-key", "own"),
        ("x-goog-user-project", "own"),
        ("anthropic-version", "2023-06-01"),
        ("anthropic-beta", "b"),
        ("openai-beta", "o"),
        ("content-type", "application/json; charset=utf-8"),
        ("user-agent", "u"),
    ] {
        head.append_header(name, value).unwrap();
    }
    head
}

fn sent(upstream: &Upstream, wire: Wire, composed: &[(HeaderName, String)]) -> Box<RequestHeader> {
    let route = upstream.route(&ask(wire)).unwrap();
    let authorization = match &upstream.sign {
        Sign::Key(key) => key,
        Sign::Nothing | Sign::Token(_) => &Authorization(None),
    };
    let (length, request_id, hop) = (Some(2), "req_1", "h");
    let dress =
        Dress { route: &route, headers: composed, authorization, length, request_id, trace: None, hop };
    upstream.request(&client(), &dress).unwrap()
}

fn value<'h>(head: &'h RequestHeader, name: &str) -> Option<&'h str> {
    head.headers.get(name).and_then(|value| value.to_str().ok())
}

#[test]
fn each_kind_signs_in_in_its_own_header_and_the_clients_keys_stay_here() {
    for (kind, name, signed) in [
        ("openai", "authorization", "Bearer k"),
        ("groq", "authorization", "Bearer k"),
        ("proxy", "authorization", "Bearer k"),
        ("azure", "api-key", "k"),
        ("anthropic", "x-api-key", "k"),
        ("gemini", "x-goog-api-key", "k"),
        ("vertex-ai", "x-goog-api-key", "k"),
    ] {
        let gateway = gateway(&format!("type: {kind}, api_key: k"));
        let head = sent(gateway.upstream(0), Wire::Chat, &[]);
        assert_eq!(value(&head, name), Some(signed), "{kind}");
        assert!(head.headers.get(name).unwrap().is_sensitive(), "{kind}");
        assert!(!format!("{:?}", head.headers).contains("own"), "{kind}: {:?}", head.headers);
        assert_eq!(value(&head, "host"), Some("10.1.1.1:9"));
    }
    let gateway = gateway("type: ollama");
    assert_eq!(value(&sent(gateway.upstream(0), Wire::Chat, &[]), "authorization"), None);
}

#[test]
fn anthropics_version_goes_to_anthropic_and_to_nobody_else() {
    let anthropic = gateway("type: anthropic, api_key: k");
    let native = sent(anthropic.upstream(0), Wire::Messages, &[]);
    assert_eq!(value(&native, "anthropic-version"), Some("2023-06-01"));
    assert_eq!(value(&native, "anthropic-beta"), Some("b"));
    let composed = [(HeaderName::from_static("anthropic-version"), "2020-01-01".to_owned())];
    let translated = sent(anthropic.upstream(0), Wire::Chat, &composed);
    assert_eq!(value(&translated, "anthropic-version"), Some("2020-01-01"));
    assert_eq!(value(&translated, "anthropic-beta"), None);
    let without = sent(anthropic.upstream(0), Wire::Chat, &[]);
    assert_eq!(value(&without, "anthropic-version"), Some(NEWEST_ANTHROPIC));

    let proxy = gateway("type: proxy, api_key: k");
    assert_eq!(value(&sent(proxy.upstream(0), Wire::Messages, &[]), "anthropic-version"), Some("2023-06-01"));
    for kind in ["openai", "gemini", "vertex-ai"] {
        let other = gateway(&format!("type: {kind}, api_key: k"));
        for wire in [Wire::Chat, Wire::Messages] {
            let head = sent(other.upstream(0), wire, &[]);
            assert_eq!(value(&head, "anthropic-version"), None, "{kind} {wire:?}");
        }
    }
}

#[test]
fn a_translated_request_leaves_the_clients_dialect_behind() {
    let gemini = gateway("type: gemini, api_key: k");
    let head = sent(gemini.upstream(0), Wire::Chat, &[]);
    assert_eq!((value(&head, "openai-beta"), value(&head, "user-agent")), (None, Some("u")));
    assert_eq!(value(&head, "content-type"), Some("application/json"));
    assert_eq!(head.raw_path(), b"/v1beta/models/m:generateContent");
    let openai = gateway("type: openai, api_key: k");
    let head = sent(openai.upstream(0), Wire::Chat, &[]);
    assert_eq!(value(&head, "openai-beta"), Some("o"));
    assert_eq!(value(&head, "content-type"), Some("application/json; charset=utf-8"));
}

#[test]
fn the_operators_headers_have_the_last_word_and_only_routers_learn_our_id() {
    let gateway_of = |kind: &str| {
        gateway(&format!("type: {kind}, api_key: k, headers: {{anthropic-version: fixed, x-own: y}}"))
    };
    for (kind, id) in [("anthropic", None), ("proxy", Some("req_1"))] {
        let head = sent(gateway_of(kind).upstream(0), Wire::Messages, &[]);
        assert_eq!(value(&head, "anthropic-version"), Some("fixed"));
        assert_eq!((value(&head, "x-own"), value(&head, "x-request-id")), (Some("y"), id));
        assert_eq!(value(&head, HOPS.as_str()), Some("h"));
    }
}

#[test]
fn each_provider_is_asked_for_its_models_where_it_has_them() {
    let list = |kind: &str| {
        let gateway = gateway(&format!("type: {kind}, api_key: k"));
        let upstream = gateway.upstream(0);
        let head = upstream.get(&upstream.models_path()?, &Authorization(None), "h").ok()?;
        Some((String::from_utf8(head.raw_path().to_vec()).ok()?, value(&head, "anthropic-version").is_some()))
    };
    assert_eq!(list("openai"), Some(("/v1/models".into(), false)));
    assert_eq!(list("anthropic"), Some(("/v1/models?limit=1000".into(), true)));
    assert_eq!(list("gemini"), Some(("/v1beta/models?pageSize=1000".into(), false)));
    assert_eq!(list("vertex-ai"), None);
}

#[tokio::test]
async fn a_token_signs_in_once_it_is_there_and_is_the_only_thing_that_can_be_renewed() {
    let keys = "type: vertex-ai, project_id: p, location: eu, credentials_file: account.json";
    let vertex = gateway(keys);
    let upstream = vertex.upstream(0);
    let token = vertex.tokens().next().unwrap();
    token.failed();
    assert!(matches!(upstream.authorization().await, Err(Transport::NoToken)));
    let bearer = |text: &'static str| HeaderValue::from_static(text);
    token.publish(bearer("Bearer one"), Duration::from_secs(60));
    let first = upstream.authorization().await.unwrap_or(Authorization(None));
    assert_eq!(first.0.as_ref().unwrap(), &(AUTHORIZATION, bearer("Bearer one")));
    // Somebody else's refusal has brought another one already.
    token.publish(bearer("Bearer two"), Duration::from_secs(60));
    let second = upstream.renewed(&first).await.unwrap();
    assert_eq!(second.0.unwrap().1, "Bearer two");

    let keyed = gateway("type: vertex-ai, api_key: k");
    let key = keyed.upstream(0).authorization().await.unwrap_or(Authorization(None));
    assert!(key.0.is_some() && keyed.upstream(0).renewed(&key).await.is_none());
}
