//! Files of other routers: what each becomes, as a whole text, and that it can be used.

use super::checked;
use crate::config::Settings;
use crate::import::{read, Foreign};
use crate::routing::Strategy;

/// The examples of their READMEs, but for LiteLLM's, which has something of everything.
const LITELLM: &str = include_str!("files/litellm.yaml");
const PROVIDER_KEYS: &str = r#"{
  "access_key": "your-proxy-access-key",
  "model_usage_gap_percentage": 5,
  "auto-models": ["gpt-3.5-turbo:free", "gemini-pro"],
  "provider_keys": [
    {"provider": "openrouter", "key": ["key1", "key2"], "max_request_day": 1500, "max_token_min": 150000,
     "max_request_min": 15},
    {"provider": "gemini", "key": ["key1", "key2"], "max_request_day": 1500, "max_token_min": 150000,
     "max_request_min": 15}
  ]
}"#;
const CREDENTIALS: &str = r#"[
  {"platform": "openai", "type": "api-key", "value": "sk-your-openai-key"},
  {"platform": "gemini", "type": "api-key", "value": "your-gemini-key"},
  {"platform": "gemini", "type": "api-key", "value": "another-gemini-key"}
]"#;
const MODELS: &str =
    r#"[{"vendor": "gemini", "model": "gemini-2.0-flash"}, {"vendor": "openai", "model": "gpt-4o"}]"#;
/// The list of the first file under AES-256-GCM with the key below, nonce first, as that program reads it.
const FOREIGN_KEY: &str = "0123456789abcdef0123456789abcdef";

fn env(name: &str) -> Option<String> {
    match name {
        "CONFIG_ENCRYPTION_KEY" => Some(FOREIGN_KEY.into()),
        "REDIS_PASSWORD" => Some("p".into()),
        name => Some(format!("sk-{name}-0123456789")),
    }
}

fn imported(files: &[(&str, &str)]) -> (String, Settings) {
    let files: Vec<_> = files.iter().map(|(name, text)| Foreign { name, text }).collect();
    let read = read(&files, &env).unwrap();
    let settings = checked(&read.yaml, &env);
    (read.yaml, settings)
}

fn refused(files: &[(&str, &str)]) -> String {
    let files: Vec<_> = files.iter().map(|(name, text)| Foreign { name, text }).collect();
    read(&files, &|_| None).unwrap_err()
}

fn names(settings: &Settings) -> Vec<&str> {
    settings.credentials.iter().map(|credential| credential.name.as_str()).collect()
}

#[test]
fn a_litellm_file_becomes_credentials_with_their_models() {
    let (yaml, settings) = imported(&[("config.yaml", LITELLM)]);
    assert_eq!(yaml, include_str!("files/litellm.ours.yaml"));
    assert_eq!(names(&settings), ["openai", "azure", "anthropic", "ollama", "anthropic-2"]);
    assert_eq!((settings.server.port, settings.routing.max_attempts), (4000, 12), "4 of each of 3 models");
    let routing = &settings.routing;
    let times = [routing.deadline, routing.response_timeout, routing.first_token_timeout];
    assert_eq!(times, [360, 30, 30].map(|seconds| Some(std::time::Duration::from_secs(seconds))));
    assert!(settings.server.echo_model);
    assert_eq!(settings.credentials[4].api_key.as_ref().unwrap().expose(), "sk-${not}-a-reference");
    assert_eq!((settings.routing.strategy, settings.credentials[1].weight), (Strategy::Latency, 3));
    let listed: Vec<_> = settings.models.iter().map(|model| model.name.as_str()).collect();
    assert_eq!(listed, ["gpt-4o", "gpt-4o", "small", "claude", "local"]);
    assert_eq!((settings.models[0].rpm, settings.models[0].tpm), (Some(100), Some(200_000)));
    assert_eq!(settings.models[0].fallbacks, ["openai/gpt-5"]);
}

#[test]
fn nothing_of_a_litellm_file_is_lost_in_silence_and_no_foreign_secret_is_taken() {
    let (yaml, _) = imported(&[("config.yaml", LITELLM)]);
    for lost in [
        "`environment_variables` has no equal",
        "`general_settings.database_url` has no equal",
        "`litellm_settings.success_callback` has no equal",
        "model_list[4] has no equal",
        "model_list[8] has no equal here: `*` stands at the end",
        "model_list[9] has no equal here: `*` is a model of any provider",
        "The fallbacks of `openai/o3` have no equal",
        "litellm_settings.request_timeout counted only where",
        "`model_list[3].litellm_params.temperature` has no equal",
        "The fallback `nobody` is served by nobody",
    ] {
        let joined = yaml.replace("\n# ", " ").replace("\n  # ", " ").replace("\n    # ", " ");
        assert!(joined.contains(lost), "{lost} in\n{yaml}");
    }
    assert!(!yaml.contains("secret@") && !yaml.contains("sk-lf-secret"), "{yaml}");
}

#[test]
fn what_looks_like_a_reference_in_a_foreign_key_is_none() {
    let keys = r#"{"access_key": "sk-${HOME}-0123", "provider_keys": [{"provider": "gemini", "key": ["$${a}", "${b"]}]}"#;
    let (_, settings) = imported(&[("config.json", keys)]);
    assert_eq!(settings.server.master_key.as_ref().unwrap().expose(), "sk-${HOME}-0123");
    let keys: Vec<_> = settings.credentials.iter().map(|c| c.api_key.as_ref().unwrap().expose()).collect();
    assert_eq!(keys, ["$${a}", "${b"]);
    let services =
        r#"[{"name": "a", "backend_type": "custom", "base_url": "http://x/v1", "api_key": "k${y}"}]"#;
    let (_, settings) = imported(&[("services.json", services)]);
    assert_eq!(settings.credentials[0].api_key.as_ref().unwrap().expose(), "k${y}");
}

#[test]
fn the_cheapest_deployment_is_known_to_nobody() {
    let text = "model_list: [{model_name: m, litellm_params: {model: openai/m}}]\nrouter_settings: {routing_strategy: cost-based-routing}\n";
    let (yaml, settings) = imported(&[("config.yaml", text)]);
    assert!(yaml.contains("# `cost-based-routing` has no equal here, where prices are not known"), "{yaml}");
    assert_eq!(settings.routing.strategy, Strategy::RoundRobin);
}

#[test]
fn keys_of_free_tiers_are_balanced_with_the_limits_of_each() {
    let (yaml, settings) = imported(&[("config.json", PROVIDER_KEYS)]);
    assert_eq!(names(&settings), ["openrouter#1", "openrouter#2", "gemini#1", "gemini#2"]);
    assert_eq!((settings.routing.strategy, settings.routing.usage_gap), (Strategy::LeastUsed, 5));
    let first = &settings.credentials[0];
    assert_eq!((first.rpm, first.tpm, first.quotas.len()), (Some(15), Some(150_000), 1));
    assert_eq!(settings.models[0].name, "auto-model");
    assert_eq!(settings.models[0].models, ["gpt-3.5-turbo:free", "gemini-pro"]);
    assert!(yaml.contains("time_zone: America/Los_Angeles"), "{yaml}");
}

#[test]
fn keys_and_models_of_vendors_become_one_model_for_any_name() {
    let (yaml, settings) = imported(&[("models.json", MODELS), ("credentials.json", CREDENTIALS)]);
    assert_eq!(names(&settings), ["openai", "gemini#1", "gemini#2"]);
    assert!(settings.credentials.iter().all(|credential| credential.inline_images));
    let any = settings.models.iter().find(|model| model.name == "*").unwrap();
    assert_eq!(
        (any.models.as_slice(), any.strategy),
        (&["gemini-2.0-flash".to_owned(), "gpt-4o".into()][..], Some(Strategy::Even))
    );
    assert_eq!((settings.server.port, settings.server.enable_auth), (8082, false));
    assert!(yaml.contains("sk-your-openai-key"), "keys go over as they were");
}

#[test]
fn an_encrypted_file_of_keys_opens_with_its_own_key() {
    use base64::engine::general_purpose::STANDARD;
    use base64::Engine;
    use ring::aead::{Aad, LessSafeKey, Nonce, UnboundKey, AES_256_GCM};
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, FOREIGN_KEY.as_bytes()).unwrap());
    let mut body = CREDENTIALS.as_bytes().to_vec();
    key.seal_in_place_append_tag(Nonce::assume_unique_for_key([7; 12]), Aad::empty(), &mut body).unwrap();
    let sealed = STANDARD.encode([&[7; 12][..], &body].concat());
    let (_, settings) = imported(&[("credentials.json", &sealed), ("models.json", MODELS)]);
    assert_eq!(settings.credentials.len(), 3);
    let closed = refused(&[("credentials.json", &sealed), ("models.json", MODELS)]);
    assert!(closed.contains("CONFIG_ENCRYPTION_KEY"), "{closed}");
}

#[test]
fn variables_and_services_in_files_become_what_a_router_without_a_file_has() {
    let text = "OPENAI_API_KEY=sk-1\nAUTH_KEY=sk-mine\nAUTH_KEY_01=sk-yours\nAUTH_HEADER_NAME=X-Key\n";
    let (yaml, settings) = imported(&[(".env", text)]);
    assert!(!yaml.contains("sk-1"), "{yaml}");
    assert_eq!(settings.client_keys.len(), 1);
    assert!(settings.server.auth_header.is_some());
    let services =
        r#"[{"name": "a", "backend_type": "ollama", "rate_limit_requests": 9, "rate_limit_window": 90}]"#;
    let (_, settings) = imported(&[("services.json", services)]);
    assert_eq!((names(&settings), settings.routing.strategy), (vec!["a"], Strategy::Priority));
    assert_eq!(settings.credentials[0].quotas.len(), 1);
}

#[test]
fn what_cannot_be_read_is_told_with_its_place() {
    for (text, wanted) in [
        ("[1, 2", "f, line 1, column 5: EOF while parsing a list"),
        ("{}", "f: its first entry is of no known form"),
        (r#"[{"platform": "x", "value": "secret"}]"#, "f has the keys; name its models.json, too"),
        ("model_list: []", "f: model_list has no deployment that has an equal here"),
        (
            r#"{"provider_keys": [{"provider": "x"}]}"#,
            "f.provider_keys[0].provider is neither gemini nor openrouter",
        ),
        ("credentials:\n  - name: a\n", "f: this is a configuration of this router; try `check`"),
    ] {
        assert_eq!(refused(&[("f", text)]), wanted, "{text}");
    }
    assert!(refused(&[("f", "model_list: [")]).ends_with("this is no YAML"));
    assert!(refused(&[("f", "hello")]).starts_with("f: this is none of ROUTER_SERVICES"));
    let models = r#"[{"vendor": "openai", "model": "m"}]"#;
    let keys = r#"[{"platform": "gemini", "value": "secret"}]"#;
    assert_eq!(refused(&[("k", keys), ("m", models)]), "m[0].vendor has no credential");
}
