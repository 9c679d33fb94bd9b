//! A secret in every slot that there is, and every place where one could come out.
//!
//! Keys of all types of credentials, headers, a service account and its tokens, the store's password, keys of clients,
//! keys of certificates. The upstreams repeat the keys that they were shown, in every way that a client might see; then
//! every page, command, log and file is looked through.

use std::path::Path;

use serde_json::{json, Value};
use tempfile::TempDir;

use super::secrets::{random, Canaries};
use crate::support::authority::Authority;
use crate::support::router::run;
use crate::support::*;

const ACCOUNT: &str = include_str!("../support/service-account.json");

/// What an upstream was shown: every header that can hold a key.
fn shown(call: &Call) -> String {
    let names = ["authorization", "x-api-key", "api-key", "x-goog-api-key", "x-own"];
    let values = names.iter().filter_map(|name| call.header(name));
    values.collect::<Vec<_>>().join(" and ")
}

/// Says no, with all that it was shown, in the shape that the model's name asks for.
fn telltale(call: &Call) -> Reply {
    let shown = shown(call);
    let model = call.model() + &call.path;
    let error = json!({"error": {"message": format!("not with {shown}"), "type": "x", "code": shown}});
    let refuse = |status| respond(status).header("x-request-id", &shown).header("set-cookie", &shown);
    if model.contains("html") {
        return refuse(500).body("text/html", format!("<html>{shown}</html>"));
    }
    if model.contains("stream") {
        return respond(200).sse([role("m"), word("m", "Hello"), frame(&error)]);
    }
    if model.contains("caller") {
        return refuse(400).json(&error);
    }
    if model.contains("wait") {
        return refuse(429).header("retry-after", "1").json(&error);
    }
    if model.contains("whole") {
        return refuse(200).header("openai-organization", &shown).json(&error);
    }
    refuse(401).header("www-authenticate", &shown).json(&error)
}

/// How the upstreams say no.
const WAYS: [&str; 6] = ["html", "stream", "caller", "wait", "whole", "key"];

/// The router, its secrets, and what has to live as long.
struct Slots {
    canaries: Canaries,
    router: Router,
    guess: String,
    _upstreams: [Upstream; 2],
    _certificates: TempDir,
}

impl Slots {
    fn start() -> Self {
        let mut canaries = Canaries::default();
        let certificates = TempDir::new().unwrap();
        let issued = Authority::new(certificates.path().to_owned(), "ca").issue("own", "localhost");
        canaries.keep("tls.key", &body_of(&std::fs::read_to_string(&issued.key).unwrap()));
        let telling = Upstream::scripted(telltale).tells(Reply::silence());
        let token = format!("ya29.{}", canaries.make("access token"));
        let tokens = Upstream::scripted(move |_| {
            respond(200).json(&json!({"access_token": token, "expires_in": 3600, "token_type": "Bearer"}))
        });
        let config = Config::new()
            .master_key(&canaries.make("server.master_key"))
            .server("logging_level: debug\nexpose_route: true")
            .tls(&issued.yaml())
            .fail2ban("max_attempts: 100")
            .monitoring("log_errors: true\nerrors_log_path: errors.jsonl")
            .state(&format!("url: redis://:{}@127.0.0.1:{}", canaries.make("state.url"), free_port()))
            .state("timeout: 50ms");
        let variable = canaries.make("AUTH_KEY_01");
        let sealing: String = random(32).bytes().map(|byte| format!("{byte:02x}")).collect();
        canaries.keep("the key of sealed values", &sealing);
        let config = config
            .server("auth_keys_from_env: true")
            .environment("AUTH_KEY_01", &variable)
            .environment("AUTO_AI_ROUTER_SECRET_KEY", &sealing);
        let config = credentials(config, &mut canaries, &telling.url());
        let lines = format!(
            "api_key: {}\ntls:\n  certificate: {}\n  key: {}",
            canaries.make("tls"),
            issued.certificate.display(),
            issued.key.display()
        );
        let config = config.keyless(
            "openai",
            "by certificate",
            "https://localhost:1",
            &format!("{lines}\nmodels: [certified]"),
        );
        let config = account(config, &mut canaries, &telling.url(), &tokens.url());
        let clients = format!(
            "client_keys:\n  - {{name: one, key: {}}}\n  - {{name: two, key: {}, models: [other]}}",
            canaries.make("client_keys"),
            canaries.make("client_keys")
        );
        let router = config.section(&clients).start();
        let guess = canaries.make("a wrong key");
        Self { canaries, router, guess, _upstreams: [telling, tokens], _certificates: certificates }
    }

    /// Asks in all ways that end badly; what clients were told.
    fn is_asked(&self) -> Vec<u8> {
        let router = &self.router;
        let mut told = Vec::new();
        let mut note = |answer: Option<Answer>| {
            let Some(answer) = answer else { return };
            told.extend(format!("{:?}\n", answer.headers).into_bytes());
            told.extend(answer.body);
        };
        for kind in KINDS.into_iter().chain(["vertex-ai", "proxy"]) {
            for way in WAYS {
                let model = format!("{kind}-{way}");
                for body in [chat(&model), chat_streamed(&model)] {
                    note(Request::chat(&body).try_send(router));
                }
                let mut question = chat(&model);
                question["max_tokens"] = json!(5);
                note(Request::post("/v1/messages").json(&question).try_send(router));
            }
        }
        note(Request::chat(&chat("certified")).try_send(router));
        let guess = &self.guess;
        let wrong = |name: &str, value: &str| Request::chat(&chat("m")).keyless().header(name, value);
        note(wrong("authorization", &format!("Bearer {guess}")).try_send(router));
        note(wrong("authorization", guess).try_send(router));
        note(wrong("x-api-key", guess).try_send(router));
        note(Request::get(&format!("/v1/models?key={guess}")).keyless().try_send(router));
        note(Request::get(&format!("/v1/files/{guess}?api_key={guess}")).keyless().try_send(router));
        note(Request::get("/v1/models").header("x-a", &format!("\x01{guess}")).keyless().try_send(router));
        note(Request::new("TRACE", &format!("/{guess}")).keyless().try_send(router));
        told
    }

    /// What pages and commands say.
    fn tells(&self) -> Vec<u8> {
        let router = &self.router;
        let mut said = Vec::new();
        for page in PAGES {
            said.extend(Request::get(page).try_send(router).map(|answer| answer.body).unwrap_or_default());
        }
        for path in ["/admin/status", "/admin/view", "/admin/credentials/openai/unban"] {
            said.extend(router.admin(path).1.into_bytes());
        }
        let commands: [&[&str]; 6] =
            [&["check"], &["status"], &["route", "openai-key"], &["top", "--once"], &["reload"], &["status"]];
        for arguments in commands {
            let (_, out, err) = router.operate(arguments);
            said.extend((out + &err).into_bytes());
        }
        self.breaks(&mut said);
        said
    }

    /// The file gets a slip in each of its lines that hold a secret; what `check` and `reload` say of it.
    fn breaks(&self, said: &mut Vec<u8>) {
        let path = self.router.dir().join("config.yaml");
        let good = std::fs::read_to_string(&path).unwrap();
        for slip in
            [("api_key:", "api_kei:"), ("master_key: ", "master_key: ["), ("url: redis:", "url: rediz:")]
        {
            std::fs::write(&path, good.replace(slip.0, slip.1)).unwrap();
            for arguments in [["check"], ["reload"]] {
                let (code, out, err) = self.router.operate(&arguments);
                assert_ne!(code, 0, "{slip:?}: {out}{err}");
                said.extend((out + &err).into_bytes());
            }
        }
        std::fs::write(&path, good).unwrap();
    }
}

const KINDS: [&str; 7] = ["openai", "azure", "anthropic", "gemini", "openrouter", "groq", "mistral"];

const PAGES: [&str; 13] = [
    "/",
    "/health",
    "/vhealth",
    "/vhealth?format=json",
    "/vhealth?format=csv",
    "/metrics",
    "/trace",
    "/explain?model=openai-key",
    "/explain?key=one",
    "/openapi.json",
    "/v1/models",
    "/v1/usage",
    "/router/stats",
];

/// One credential of each type, with a secret header, for its own models.
fn credentials(mut config: Config, canaries: &mut Canaries, url: &str) -> Config {
    for kind in KINDS {
        let (key, header) = (canaries.make(kind), canaries.make("headers"));
        let models: Vec<String> = WAYS.iter().map(|way| format!("{kind}-{way}")).collect();
        let lines = format!("api_key: {key}\nheaders: {{X-Own: {header}}}\nmodels: [{}]", models.join(", "));
        config = config.keyless(kind, kind, url, &lines);
    }
    let models: Vec<String> = WAYS.iter().map(|way| format!("proxy-{way}")).collect();
    let lines = format!("models: [{}]", models.join(", "));
    config.proxy("proxy", url, &canaries.make("proxy"), &lines)
}

/// A service account with its private key.
fn account(config: Config, canaries: &mut Canaries, url: &str, tokens: &str) -> Config {
    let account = ACCOUNT.replace("TOKEN_URI", &format!("{tokens}/token"));
    let read: Value = serde_json::from_str(&account).unwrap();
    canaries.keep("credentials_json", &body_of(read["private_key"].as_str().unwrap()));
    let models: Vec<String> = WAYS.iter().map(|way| format!("vertex-ai-{way}")).collect();
    let lines = format!(
        "project_id: p\nlocation: eu\nmodels: [{}]\ncredentials_json: {}",
        models.join(", "),
        Value::from(account)
    );
    config.keyless("vertex-ai", "vertex-ai", url, &lines)
}

/// The text of a PEM file between its first and its last line, which are no secret.
fn body_of(pem: &str) -> String {
    pem.lines().filter(|line| !line.starts_with("-----")).collect::<Vec<_>>().join("\n")
}

/// All files below a directory, but for the configuration.
fn files(directory: &Path, into: &mut Vec<u8>) {
    for path in std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            files(&path, into);
        } else if path.is_file() && path.file_name().is_none_or(|name| name != "config.yaml") {
            into.extend(std::fs::read(path).unwrap_or_default());
        }
    }
}

#[test]
fn no_slot_shows_eight_characters_of_its_secret_anywhere() {
    let slots = Slots::start();
    let told = slots.is_asked();
    let said = slots.tells();
    // What is kept is written once a second.
    std::thread::sleep(ms(1500));
    let mut kept = Vec::new();
    files(slots.router.dir(), &mut kept);
    assert!(slots.router.access_log().len() > 100 && told.len() > 10_000 && said.len() > 10_000);
    assert!(kept.windows(10).any(|piece| piece == b"request_id"), "the log of errors is among the files");
    slots.canaries.are_in_none_of(&[
        ("what clients were told", &told),
        ("a page, or what a command says", &said),
        ("standard output", slots.router.stdout().as_bytes()),
        ("standard error", slots.router.stderr().as_bytes()),
        ("a file", &kept),
    ]);
}

#[test]
fn a_start_that_fails_shows_no_secret_either() {
    let directory = TempDir::new().unwrap();
    let mut canaries = Canaries::default();
    let (key, master) = (canaries.make("api_key"), canaries.make("master_key"));
    for file in [
        format!("server:\n  master_key: {master}\ncredentials:\n  - {{name: a, api_key: {key}, base_url: nowhere}}\n"),
        format!("server:\n  master_key: {master}\ncredentials:\n  - name: a\n    api_key: [{key}\n"),
        format!("server:\n  master_key: {master}: {key}\n"),
        format!("{key}\n"),
    ] {
        std::fs::write(directory.path().join("config.yaml"), &file).unwrap();
        for verb in ["run", "check"] {
            let (code, out, err) = run(directory.path(), &[verb, "--config", "config.yaml"]);
            assert_eq!(code, 78, "{file}");
            let said = (out + &err).into_bytes();
            canaries.are_in_none_of(&[("what a failed start says", &said)]);
        }
    }
}
