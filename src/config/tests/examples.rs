//! Files that load: the original program's own examples, ours, and every default.

use std::time::Duration;

use serde_json::Value as Json;

use super::*;
use crate::config::interpolate::Outside;

const README: &str = include_str!("yaml/readme.yaml");
const FIRST_README: &str = include_str!("yaml/first-readme.yaml");
const FIRST_MODELS: &str = include_str!("yaml/first-models.yaml");
const REFERENCE: &str = include_str!("../../../conf/reference.yaml");
const GATEWAY: &str = include_str!("../../../conf/gateway.yaml");
const CHAIN: &str = include_str!("../../../conf/chain.yaml");
const FLEET: &str = include_str!("../../../conf/fleet.yaml");
const ACCOUNT: &str = r#"{"type": "service_account", "client_email": "a@b", "token_uri": "http://127.0.0.1/t",
    "private_key": "-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----\n"}"#;

fn names(settings: &Settings) -> Vec<&str> {
    settings.credentials.iter().map(|credential| credential.name.as_str()).collect()
}

#[test]
fn the_original_readme_loads_unchanged() {
    let world = World::default().file("path/to/service-account.json", ACCOUNT);
    let loaded = world.load(README);
    let warnings = lines(&loaded);
    assert_eq!(
        warnings,
        [
            "3:15 `master_key` looks like the placeholder of an example",
            "8:17 a busy minute bans for good: 429 counts, and the ban is permanent",
            "18:14 `api_key` looks like the placeholder of an example",
        ]
    );
    let settings = loaded.settings.unwrap();
    assert_eq!(names(&settings), ["openai_main", "vertex_ai", "proxy_fallback"]);
    assert_eq!(settings.fail2ban.ban, Term::Permanent);
    assert_eq!(settings.credentials[2].tier, u16::MAX);
    assert_eq!(settings.credentials[1].base_url.as_str(), "https://aiplatform.googleapis.com/");
    let vertex = settings.credentials[1].vertex.as_ref().unwrap();
    assert_eq!((vertex.location.as_str(), vertex.service_account.expose()), ("global", ACCOUNT));
    assert!(settings.binding);
    let limits: Vec<_> =
        settings.models.iter().map(|model| (model.name.as_str(), model.rpm, model.tpm)).collect();
    assert_eq!(limits, [("gpt-4o", Some(100), Some(50_000)), ("gemini-2.5-pro", Some(100), Some(50_000))]);
}

#[test]
fn a_service_account_file_must_be_there() {
    let loaded = World::default().load(README);
    let place = "28:23 `credentials_file`: the file `path/to/service-account.json` cannot be read: there is no such file";
    assert!(lines(&loaded).iter().any(|line| line == place), "{:?}", lines(&loaded));
    assert!(loaded.settings.is_none());
}

#[test]
fn the_fragments_of_the_original_readme_load_too() {
    let server = "server: {master_key: 0123456789abcdef, host: 127.0.0.1}\n";
    let fallback = settings(&format!("{server}{}", include_str!("yaml/readme-fallback.yaml")));
    assert_eq!(names(&fallback), ["openai_main", "backup_router"]);
    let world = World::default().variable("OPENAI_API_KEY", "key-from-outside");
    let loaded = world.load(&format!("{server}{}", include_str!("yaml/readme-environment.yaml")));
    let key = loaded.settings.unwrap().credentials[0].api_key.clone().unwrap();
    assert!(key.matches(b"key-from-outside"));
    let pairs =
        include_str!("yaml/readme-pairs.yaml").replace("openai_main", "a").replace("openai_secondary", "b");
    let more = "  - {name: b, api_key: key-of-b, base_url: https://api.openai.com}\n";
    assert_eq!(settings(&format!("{GOOD}{more}{pairs}")).models.len(), 2);
}

#[test]
fn the_first_readme_loads_with_its_models_file() {
    let loaded = World::default().file("models.yaml", FIRST_MODELS).load(FIRST_README);
    let settings = loaded.settings.as_ref().unwrap_or_else(|| panic!("{}", loaded.render(false)));
    assert_eq!(names(settings), ["openai_main", "openai_backup"]);
    assert!(settings.server.replace_v1_models);
    assert_eq!((settings.credentials[0].rpm, settings.credentials[1].rpm), (Some(60), None));
    assert_eq!(settings.routing.deadline, Some(Duration::from_secs(300)));
    assert!(!settings.binding);
    let limits: Vec<_> =
        settings.models.iter().map(|model| (model.name.as_str(), model.rpm, model.limits_only)).collect();
    assert_eq!(
        limits,
        [("gpt-4o", Some(50), true), ("gpt-4o-mini", Some(100), true), ("gpt-3.5-turbo", None, true)]
    );
}

#[test]
fn our_own_examples_load_without_a_warning() {
    let world = World::default()
        .variable("MASTER_KEY", "0123456789abcdef0123456789abcdef")
        .variable("OPENAI_API_KEY", "key-of-openai")
        .variable("NORTH_KEY", "key-of-north")
        .variable("SOUTH_KEY", "key-of-south")
        .variable("NEAR_URL", "https://near.example.com")
        .variable("NEAR_KEY", "key-of-near")
        .variable("FAR_LARGE_URL", "https://far-large.example.com")
        .variable("FAR_LARGE_KEY", "key-of-far-large")
        .variable("FAR_SMALL_URL", "https://far-small.example.com")
        .variable("FAR_SMALL_KEY", "key-of-far-small");
    let examples = [GATEWAY, REFERENCE, CHAIN, FLEET, SMALLEST];
    for (name, text) in ["gateway", "reference", "chain", "fleet", "smallest"].into_iter().zip(examples) {
        let loaded = world.load(text);
        assert!(loaded.settings.is_some(), "{name}: {}", loaded.render(false));
        assert_eq!(lines(&loaded), Vec::<String>::new(), "{name}");
    }
}

/// The reference file has every key, and gives each the default of the code; keys without one are there as comments.
#[test]
fn the_reference_file_says_every_key_and_its_default() {
    let text = source::Text::new("reference.yaml", REFERENCE);
    let mut report = Report::new(&text);
    let root = node::parse(&text, &mut report).unwrap();
    let (env, read) = (|_: &str| Some("0123456789abcdef".to_owned()), |_: &Path| Ok(String::new()));
    let schema = schema::plain::<File>();
    let fitting = shape::fit(&root, &schema, &text, Outside { env: &env, read: &read }, &mut report);
    for (path, inner) in schema::keys(&schema, "") {
        let written = fitting.json.pointer(&format!("/{}", path.replace("[]", "/0").replace('.', "/")));
        if let (Some(default), Some(written)) = (inner.get("default"), written) {
            assert_eq!(schema::bare(written), schema::bare(default), "{path}");
        } else {
            let key = path.rsplit('.').next().unwrap_or_default();
            assert!(REFERENCE.contains(&format!("{key}:")), "{path} is not in conf/reference.yaml");
        }
        assert!(inner.get("description").is_some(), "{path} has no meaning");
    }
}

#[test]
fn every_default_is_what_it_is_said_to_be() {
    let settings = settings(GOOD);
    assert!(settings.aliases.is_empty() && !settings.server.echo_model);
    let Settings {
        server,
        routing,
        fail2ban,
        monitoring,
        admin,
        state,
        images,
        credentials,
        models,
        binding,
        client_keys,
        digest,
        ..
    } = settings;
    assert!(client_keys.is_empty() && server.enable_auth && server.auth_header.is_none());
    assert_eq!(digest.len(), 12);
    let seconds = Duration::from_secs;
    assert_eq!(
        (server.port, server.threads, server.max_body_size, server.max_buffered),
        (8080, 0, 32 << 20, 256 << 20)
    );
    assert_eq!((server.body_timeout, server.header_timeout), (seconds(30), seconds(10)));
    assert_eq!((server.drain_timeout, server.keepalive_timeout), (seconds(30), seconds(60)));
    assert_eq!(
        (server.logging_level, server.replace_v1_models, server.expose_route),
        (LogLevel::Info, false, false)
    );
    assert_eq!((routing.max_attempts, routing.deadline), (5, Some(seconds(300))));
    assert_eq!((routing.response_timeout, routing.stall_timeout), (Some(seconds(300)), Some(seconds(60))));
    assert_eq!(routing.resume, Resume::Off);
    assert_eq!((images.max_size, images.timeout, images.max_redirects), (20 << 20, seconds(30), 3));
    assert_eq!((images.max_images, images.allow), (16, Vec::new()));
    assert_eq!((routing.strategy, routing.usage_gap), (crate::routing::Strategy::RoundRobin, 5));
    assert_eq!((fail2ban.max_attempts, fail2ban.ban), (3, Term::For(seconds(10))));
    assert_eq!(fail2ban.error_codes, [401, 403, 429, 500, 502, 503, 504]);
    assert!(monitoring.prometheus_enabled && monitoring.public.is_none());
    assert_eq!(monitoring.health_check_path, "/health");
    assert_eq!(monitoring.prometheus_listen, Some(([127, 0, 0, 1], 9464).into()));
    assert_eq!((admin.listen, state.dir), (AdminListen::Default, None));
    assert!(state.shared.is_none());
    let credential = &credentials[0];
    assert_eq!(
        (credential.kind, credential.rpm, credential.tpm, credential.weight),
        (Kind::OpenAi, None, None, 1)
    );
    assert_eq!((credential.tier, credential.connect_timeout, credential.http2), (0, seconds(5), false));
    assert!(!credential.inline_images && credential.models.is_none() && credential.max_concurrent.is_none());
    assert!(models.is_empty() && !binding);
}

#[test]
fn minus_one_is_no_limit_everywhere() {
    let text = "\
server: {master_key: 0123456789abcdef, host: 127.0.0.1, request_timeout: -1, default_models_rpm: -1, max_body_size: -1, drain_timeout: -1}
routing: {max_attempts: -1, response_timeout: -1, first_token_timeout: -1, stall_timeout: -1}
fail2ban: {max_attempts: -1, ban_duration: -1}
credentials:
  - {name: a, api_key: key-of-a, base_url: https://h, rpm: -1, tpm: \"-1\", max_concurrent: -1, connect_timeout: -1}
models: [{name: m, rpm: -1, tpm: -1}]
";
    let settings = settings(text);
    let Routing { max_attempts, deadline, response_timeout, first_token_timeout, stall_timeout, .. } =
        settings.routing;
    assert_eq!(max_attempts, u32::MAX);
    assert_eq!([deadline, response_timeout, first_token_timeout, stall_timeout], [None; 4]);
    assert_eq!((settings.server.max_body_size, settings.server.drain_timeout), (u64::MAX, FOREVER));
    assert_eq!((settings.fail2ban.max_attempts, settings.fail2ban.ban), (u32::MAX, Term::Permanent));
    let credential = &settings.credentials[0];
    assert_eq!((credential.rpm, credential.tpm, credential.max_concurrent), (None, None, None));
    assert_eq!(credential.connect_timeout, FOREVER);
    assert_eq!((settings.models[0].rpm, settings.models[0].tpm), (None, None));
}

#[test]
fn any_scalar_may_come_from_outside() {
    let world = World::default()
        .variable("PORT", "9000")
        .variable("RPM", " 60 ")
        .variable("FALLBACK", "true")
        .variable("HOST", "h.internal")
        .file("/run/key", "key-of-a\n");
    let text = "\
server: {master_key: \"${MASTER:-0123456789abcdef}\", host: 127.0.0.1, port: os.environ/PORT, max_body_size: \"${SIZE:-1MiB}\"}
fail2ban: {error_codes: [\"${CODE:-500}\"]}
credentials:
  - {name: a, api_key: file:/run/key, base_url: \"http://${HOST}:1/v1\", rpm: \"os.environ/RPM\", is_fallback: \"${FALLBACK}\"}
";
    let loaded = world.load(text);
    let settings = loaded.settings.as_ref().unwrap_or_else(|| panic!("{}", loaded.render(false)));
    assert_eq!((settings.server.port, settings.server.max_body_size), (9000, 1 << 20));
    assert_eq!(settings.fail2ban.error_codes, [500]);
    let credential = &settings.credentials[0];
    assert_eq!(
        (credential.rpm, credential.is_fallback, credential.base_url.as_str()),
        (Some(60), true, "http://h.internal:1/")
    );
    assert!(credential.api_key.as_ref().unwrap().matches(b"key-of-a"));
}

#[test]
fn an_address_loses_its_version_and_keeps_its_prefix() {
    for (written, kept) in [
        ("https://api.openai.com/v1", "https://api.openai.com/"),
        ("https://api.openai.com/v1/", "https://api.openai.com/"),
        ("https://x.openai.azure.com/openai/v1", "https://x.openai.azure.com/openai"),
        ("https://openrouter.ai/api/v1//", "https://openrouter.ai/api"),
        ("HTTPS://Host", "https://host/"),
    ] {
        let settings = settings(&GOOD.replace("https://api.openai.com", written));
        assert_eq!(settings.credentials[0].base_url.as_str(), kept, "{written}");
    }
}

#[test]
fn a_provider_with_one_public_address_needs_none_in_the_file() {
    for (written, address, version) in [
        ("type: anthropic, api_key: k", "https://api.anthropic.com/", None),
        ("type: gemini, api_key: k", "https://generativelanguage.googleapis.com/", None),
        ("type: deepinfra, api_key: k", "https://api.deepinfra.com/v1/openai", None),
        ("type: openrouter, api_key: k", "https://openrouter.ai/api", None),
        ("type: ollama", "http://127.0.0.1:11434/", None),
        ("type: xai, api_key: k, base_url: https://eu.api.x.ai/v1", "https://eu.api.x.ai/", None),
        ("type: vertex-ai, api_key: k", "https://aiplatform.googleapis.com/", None),
        (
            "type: azure, api_key: k, base_url: https://r.openai.azure.com",
            "https://r.openai.azure.com/",
            Some("2024-10-21"),
        ),
        (
            "type: azure, api_key: k, base_url: https://r.openai.azure.com/openai/v1/",
            "https://r.openai.azure.com/openai",
            None,
        ),
        (
            "type: azure, api_key: k, base_url: https://r.azure.com, api_version: 2025-04-01-preview",
            "https://r.azure.com/",
            Some("2025-04-01-preview"),
        ),
    ] {
        let loaded = World::default().load(&format!("{GOOD}  - {{name: b, {written}}}\n"));
        assert_eq!(lines(&loaded), Vec::<String>::new(), "{written}");
        let credential = &loaded.settings.unwrap().credentials[1];
        assert_eq!(credential.base_url.as_str(), address, "{written}");
        assert_eq!(credential.api_version.as_deref(), version, "{written}");
    }
}

#[test]
fn a_service_account_lives_where_its_location_says() {
    for (location, host) in [
        ("eu", "https://aiplatform.eu.rep.googleapis.com/"),
        ("us-east5", "https://us-east5-aiplatform.googleapis.com/"),
    ] {
        let vertex =
            format!("type: vertex-ai, project_id: p, location: {location}, credentials_file: a.json");
        let world = World::default().file("a.json", ACCOUNT);
        let loaded = world.load(&format!("{GOOD}  - {{name: b, {vertex}}}\n"));
        assert_eq!(loaded.settings.unwrap().credentials[1].base_url.as_str(), host);
    }
}

#[test]
fn models_of_a_credential_are_names_and_aliases() {
    let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    for (written, pairs) in [
        ("[m, {fast: gpt-4o-mini}]", vec![pair("m", "m"), pair("fast", "gpt-4o-mini")]),
        ("{fast: gpt-4o-mini}", vec![pair("fast", "gpt-4o-mini")]),
        ("[\"claude-*\", {\"openai/*\": \"*\"}]", vec![pair("claude-*", "claude-*"), pair("openai/*", "*")]),
        ("[]", vec![]),
    ] {
        let text = GOOD.replace("api_key:", &format!("models: {written}, api_key:"));
        assert_eq!(settings(&text).credentials[0].models, Some(pairs), "{written}");
    }
}

#[test]
fn a_model_may_be_named_that_a_beginning_means() {
    let text = GOOD.replace("api_key:", "models: [a, \"x/*\"], api_key:");
    let more = "models: [{name: x/m, credential: a, fallbacks: [x/n]}, {name: both, models: [x/m, a]}]\nmodel_aliases: {m: x/m}\n";
    assert_eq!(settings(&format!("{text}{more}")).models[0].fallbacks, ["x/n"]);
}

#[test]
fn a_missing_rpm_is_filled_by_models_yaml_and_then_by_the_default() {
    let text = GOOD.replace("host:", "default_models_rpm: 7, host:")
        + "models: [{name: m}, {name: n, rpm: 3}, {name: o}]\n";
    let world = World::default()
        .file("models.yaml", "models: [{name: m, rpm: 5, tpm: 9}, {name: n, rpm: 5}, {name: p}]\n");
    let settings = world.load(&text).settings.unwrap();
    let limits: Vec<_> =
        settings.models.iter().map(|m| (m.name.as_str(), m.rpm, m.tpm, m.limits_only)).collect();
    let expected = [
        ("m", Some(5), Some(9), false),
        ("n", Some(3), None, false),
        ("o", Some(7), None, false),
        ("p", Some(7), None, true),
    ];
    assert_eq!(limits, expected);
}

#[test]
fn lists_and_aliases_bind_nothing_by_themselves() {
    let lists = "models: [{name: auto, models: [a, b]}]\nmodel_aliases: {gpt-4: a}\n";
    let read = settings(&format!("{GOOD}{lists}"));
    assert!(!read.binding);
    assert_eq!(read.models[0].models, ["a", "b"]);
    assert_eq!(read.aliases, [("gpt-4".to_owned(), "a".to_owned())]);
    let models = "models: [{name: a, capabilities: [images, prefill], strategy: least_used}, {name: auto, models: [a]}]\n";
    let read = settings(&format!("{GOOD}{models}"));
    assert!(read.binding);
    assert_eq!(read.models[0].capabilities.map(|can| can.to_string()).as_deref(), Some("images, prefill"));
    assert_eq!(read.models[0].strategy, Some(crate::routing::Strategy::LeastUsed));
}

#[test]
fn anchors_and_private_keys_are_allowed() {
    let text = "\
x-common: &common {rpm: 60, base_url: https://h, api_key: key-of-all}
server: {master_key: 0123456789abcdef, host: 127.0.0.1}
credentials:
  - {<<: *common, name: a}
  - {<<: *common, name: b, rpm: 5}
";
    let settings = settings(text);
    assert_eq!(settings.credentials.iter().map(|c| c.rpm).collect::<Vec<_>>(), [Some(60), Some(5)]);
}

#[test]
fn rules_and_listeners_are_read() {
    let text = format!(
        "{GOOD}fail2ban: {{max_attempts: 4, error_code_rules: [{{code: 429, ban_duration: 1m}}, {{codes: [500, 502], max_attempts: 9}}]}}\n\
         monitoring: {{prometheus_listen: off}}\nadmin: {{listen: \"[::1]:9465\"}}\nstate: {{dir: /var/lib/r}}\n"
    );
    let settings = settings(&text);
    let minute = Term::For(Duration::from_secs(60));
    assert_eq!(settings.fail2ban.rules[0], CodeRule { codes: vec![429], max_attempts: 4, ban: minute });
    let ten = Term::For(Duration::from_secs(10));
    assert_eq!(settings.fail2ban.rules[1], CodeRule { codes: vec![500, 502], max_attempts: 9, ban: ten });
    assert_eq!(settings.monitoring.prometheus_listen, None);
    assert_eq!(settings.admin.listen, AdminListen::Tcp("[::1]:9465".parse().unwrap()));
    assert_eq!(settings.state.dir, Some("/var/lib/r".into()));
}

#[test]
fn the_schema_knows_every_key_and_allows_references() {
    let schema: Json = serde_json::from_str(&schema()).unwrap();
    let port = schema.pointer("/properties/server/properties/port").unwrap();
    assert_eq!(port["default"], 8080);
    assert_eq!(port["anyOf"][0]["maximum"], 65535);
    assert_eq!(port["anyOf"][1]["type"], "string");
    assert!(!schema.to_string().contains("null"));
    assert!(table().contains("| `credentials[].base_url` | text |"));
}

#[test]
fn a_shared_state_has_its_nodes_its_policy_and_its_name() {
    let text = |state: &str| format!("{GOOD}\nstate: {{{state}}}\n");
    let alone = settings(&text("url: 'redis://:pw@store:6380/2'")).state.shared.expect("one");
    let nodes =
        |shared: &Shared| shared.nodes.iter().map(|node| node.expose().to_owned()).collect::<Vec<_>>();
    assert_eq!(nodes(&alone), ["redis://:pw@store:6380/2"]);
    assert_eq!((alone.cluster, alone.on_outage, alone.routers), (false, OnOutage::LocalShare, 1));
    assert_eq!((alone.namespace.as_str(), alone.timeout), ("auto-ai-router", Duration::from_millis(100)));
    let more = "url: 'rediss://u:pw@one', cluster: ['two:7000', three], on_outage: reject, routers: 4, timeout: 1s, namespace: f";
    let cluster = settings(&text(more)).state.shared.expect("one");
    assert_eq!(nodes(&cluster), ["rediss://u:pw@one", "rediss://u:pw@two:7000", "rediss://u:pw@three"]);
    assert_eq!((cluster.cluster, cluster.on_outage, cluster.routers), (true, OnOutage::Reject, 4));
    let known = settings(&text("url: redis://one, cluster: true")).state.shared.expect("one");
    assert_eq!((known.cluster, known.nodes.len()), (true, 1));
}

#[test]
fn limits_over_any_time_are_the_same_for_credentials_models_and_models_yaml() {
    use crate::calendar::Zone;
    use crate::routing::{Period, Quota};
    let pacific = Zone::named("America/Los_Angeles").unwrap();
    let day = |zone: &Zone, requests, tokens| Quota { period: Period::Day(zone.clone()), requests, tokens };
    let text = GOOD
        .replace("credentials:", "routing: {time_zone: America/Los_Angeles}\ncredentials:")
        .replace("name: a", "name: a, rpd: 1500, tokens: [9 per minute, 1_000 per day, 70 per 2h]")
        + "models: [{name: m, requests: 3 per 90s}, {name: n, rpd: 7, time_zone: UTC}]\n";
    let world = World::default()
        .file("models.yaml", "models: [{name: m, requests: 4 per 90s, tpd: 8}, {name: p, rpd: 2}]\n");
    let settings = world.load(&text).settings.expect("no errors");
    let credential = &settings.credentials[0];
    assert_eq!((credential.rpm, credential.tpm), (None, Some(9)));
    let two_hours = Quota { period: Period::Rolling(7200), requests: None, tokens: Some(70) };
    assert_eq!(credential.quotas, [day(&pacific, Some(1500), Some(1000)), two_hours]);
    let of = |name: &str| settings.models.iter().find(|model| model.name == name).unwrap().quotas.clone();
    let ninety = Quota { period: Period::Rolling(90), requests: Some(3), tokens: None };
    assert_eq!(of("m"), [ninety, day(&pacific, None, Some(8))], "models.yaml fills what is left open");
    assert_eq!(of("n"), [day(&Zone::default(), Some(7), None)]);
    assert_eq!(of("p"), [day(&pacific, Some(2), None)]);
}
