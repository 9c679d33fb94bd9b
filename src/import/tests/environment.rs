//! Variables as a configuration.

use super::checked;
use crate::config::Settings;
use crate::import::environment::{lacks_key, read};
use crate::import::Imported;

fn env<'e>(set: &'e [(&'e str, &'e str)]) -> impl Fn(&str) -> Option<String> + 'e {
    |name| set.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
}

fn imported(set: &[(&str, &str)]) -> Imported {
    read(&env(set)).unwrap().expect("a provider is among the variables")
}

/// The settings with a master key besides.
fn settings(set: &[(&str, &str)]) -> Settings {
    let with_key = [&[("MASTER_KEY", "sk-0123456789abcdef")], set].concat();
    let env = env(&with_key);
    checked(&imported(&with_key).yaml, &env)
}

fn names(settings: &Settings) -> Vec<&str> {
    settings.credentials.iter().map(|credential| credential.name.as_str()).collect()
}

#[test]
fn every_key_is_a_credential_in_an_order_that_never_changes() {
    let set = [
        ("OLLAMA_BASE_URL", "http://localhost:11434/v1"),
        ("OPENROUTER_API_KEY", "sk-or-1"),
        ("GEMINI_API_KEY", "g-1"),
        ("ANTHROPIC_API_KEY", "sk-ant-1"),
        ("OPENAI_API_KEY", "sk-1"),
        ("DEEPINFRA_TOKEN", "d-1"),
        ("CEREBRAS_API_KEY", "c-1"),
        ("AZURE_OPENAI_API_KEY", "a-1"),
        ("AZURE_OPENAI_ENDPOINT", "https://x.openai.azure.com"),
    ];
    let read = settings(&set);
    let wanted = ["cerebras", "deepinfra", "openai", "anthropic", "gemini", "openrouter", "azure", "ollama"];
    assert_eq!(names(&read), wanted);
    let kinds: Vec<_> = read.credentials.iter().map(|credential| credential.kind.as_str()).collect();
    assert_eq!(kinds, wanted);
    assert_eq!((read.server.host.as_str(), read.server.port), ("127.0.0.1", 8000));
}

#[test]
fn numbered_keys_count_with_and_without_a_leading_zero_and_over_gaps() {
    let set = [("OPENAI_API_KEY_1", "sk-1"), ("OPENAI_API_KEY_03", "sk-3"), ("OPENAI_API_KEY_20", "sk-20")];
    let read = settings(&set);
    assert_eq!(names(&read), ["openai-1", "openai-03", "openai-20"]);
    assert_eq!(read.credentials[1].api_key.as_ref().unwrap().expose(), "sk-3");
}

#[test]
fn nothing_of_a_provider_is_no_configuration() {
    assert_eq!(read(&env(&[("PORT", "9000"), ("OPENAI_API_KEY", " ")])).unwrap(), None);
}

#[test]
fn the_text_holds_no_key_but_those_of_the_services() {
    let read = imported(&[("OPENAI_API_KEY", "sk-secret"), ("AUTH_KEY", "sk-mine")]);
    assert!(!read.yaml.contains("sk-"), "{}", read.yaml);
    assert_eq!(read.notes, ["OPENAI_API_KEY: the credential openai"]);
}

#[test]
fn an_azure_key_without_its_endpoint_is_passed_over_aloud() {
    let read = imported(&[("OPENAI_API_KEY", "sk-1"), ("AZURE_OPENAI_API_KEY", "a-1")]);
    let said = "AZURE_OPENAI_API_KEY: passed over, for AZURE_OPENAI_ENDPOINT is not set";
    assert!(read.notes.iter().any(|note| note == said), "{:?}", read.notes);
}

#[test]
fn host_port_and_timeout_are_taken_and_a_machines_name_is_no_host() {
    let set =
        [("OPENAI_API_KEY", "sk-1"), ("HOST", "127.0.0.2"), ("PORT", "9000"), ("REQUEST_TIMEOUT", "90")];
    let read = settings(&set);
    assert_eq!((read.server.host.as_str(), read.server.port), ("127.0.0.2", 9000));
    assert_eq!(read.routing.deadline.unwrap().as_secs(), 90);
    assert_eq!(read.routing.response_timeout.unwrap().as_secs(), 90);
    let read = settings(&[("OPENAI_API_KEY", "sk-1"), ("HOST", "my-laptop")]);
    assert_eq!(read.server.host, "127.0.0.1");
}

#[test]
fn services_alone_say_who_is_behind_and_in_which_order() {
    let services = r#"[
        {"name": "fast", "backend_type": "cerebras", "base_url": "https://api.cerebras.ai/v1", "api_key": "c-1",
         "priority": 0, "rate_limit_requests": 100, "rate_limit_window": 60, "timeout": 45},
        {"name": "own", "backend_type": "custom", "base_url": "http://localhost:1234/v1", "priority": 2},
        {"name": "home", "backend_type": "ollama", "priority": 1, "rate_limit_requests": null}
    ]"#;
    let read = settings(&[("ROUTER_SERVICES", services), ("OPENAI_API_KEY", "sk-1")]);
    assert_eq!(names(&read), ["fast", "own", "home"]);
    let tiers: Vec<_> = read.credentials.iter().map(|credential| credential.tier).collect();
    assert_eq!(tiers, [0, 2, 1]);
    assert_eq!(read.routing.response_timeout.unwrap().as_secs(), 45);
}

#[test]
fn broken_services_are_an_error_with_its_place_and_without_a_value() {
    for (services, wanted) in [
        ("[{\"name\":\n \"a\" \"secret\"", "ROUTER_SERVICES, line 2, column 6: expected `,` or `}`"),
        ("{}", "ROUTER_SERVICES must be a JSON list of services"),
        (r#"[{"backend_type": "openai"}]"#, "ROUTER_SERVICES[0].name is missing"),
        (r#"[{"name": "a", "backend_type": "custom"}]"#, "ROUTER_SERVICES[0].base_url is missing"),
        (
            r#"[{"name": "a", "backend_type": "ollama", "priority": "secret"}]"#,
            "ROUTER_SERVICES[0].priority must be a number",
        ),
    ] {
        assert_eq!(read(&env(&[("ROUTER_SERVICES", services)])).unwrap_err(), wanted);
    }
    let unknown = read(&env(&[("ROUTER_SERVICES", r#"[{"name": "a", "backend_type": "x"}]"#)])).unwrap_err();
    assert!(unknown.starts_with("ROUTER_SERVICES[0].backend_type is none of custom, openai, azure"));
}

#[test]
fn anybody_on_other_hosts_may_ask_only_where_that_is_said_twice() {
    let open = [("OPENAI_API_KEY", "sk-1"), ("ENABLE_AUTH", "false"), ("HOST", "0.0.0.0")];
    let yaml = |more: &'static str| {
        let variables = [&open[..], &[("ALLOW_UNAUTHENTICATED", more)]].concat();
        imported(&variables).yaml
    };
    for said in ["true", "1", "Yes"] {
        assert!(yaml(said).contains("allow_unauthenticated: true"), "{said}");
    }
    for said in ["false", "", "whatever"] {
        assert!(!yaml(said).contains("allow_unauthenticated"), "{said}");
    }
    let closed = imported(&[("OPENAI_API_KEY", "sk-1"), ("ALLOW_UNAUTHENTICATED", "true")]);
    assert!(!closed.yaml.contains("allow_unauthenticated"), "it opens nothing by itself");
}

#[test]
fn a_key_is_lacking_only_where_callers_need_one() {
    assert!(lacks_key(&env(&[])));
    assert!(!lacks_key(&env(&[("MASTER_KEY", "x")])));
    assert!(!lacks_key(&env(&[("AUTH_KEY_07", "x")])));
    assert!(!lacks_key(&env(&[("ENABLE_AUTH", "False")])));
}
