//! The variables of an environment, as a configuration: the usual names of providers' keys, numbered ones, and
//! `ROUTER_SERVICES`.
//!
//! The text names the variables and holds no key, but for those that stand in `ROUTER_SERVICES`. Where that is set, it
//! alone says who is behind, as in the router that it comes from. Names: the providers' own SDKs (`OPENAI_API_KEY`,
//! `OPENAI_BASE_URL`, `AZURE_OPENAI_*`, `OPENAI_API_VERSION`; DeepInfra's `DEEPINFRA_TOKEN`). Numbers are those of the
//! routers before: `_1` to `_20`, and `_01` to `_99`; gaps do no harm.

use super::draft::{Map, Value};
use super::{services, Imported};
use crate::config::Variables;
use crate::providers::{Home, Kind};

/// The variable that holds the key of the callers.
pub const MASTER_KEY: &str = "MASTER_KEY";
/// The list of services.
pub const SERVICES: &str = "ROUTER_SERVICES";
/// Where a router without a file listens, as the one did that its variables come from.
const PORT: u64 = 8000;

/// Kinds with a public address and a variable for their key, in the order of the credentials.
const KEYS: [(Kind, &str); 11] = [
    (Kind::Cerebras, "CEREBRAS_API_KEY"),
    (Kind::DeepInfra, "DEEPINFRA_TOKEN"),
    (Kind::OpenAi, "OPENAI_API_KEY"),
    (Kind::Anthropic, "ANTHROPIC_API_KEY"),
    (Kind::Gemini, "GEMINI_API_KEY"),
    (Kind::OpenRouter, "OPENROUTER_API_KEY"),
    (Kind::Groq, "GROQ_API_KEY"),
    (Kind::Mistral, "MISTRAL_API_KEY"),
    (Kind::Together, "TOGETHER_API_KEY"),
    (Kind::DeepSeek, "DEEPSEEK_API_KEY"),
    (Kind::XAi, "XAI_API_KEY"),
];
/// The key of callers, and how numbered ones begin.
const AUTH_KEY: &str = "AUTH_KEY";
const AZURE_KEY: &str = "AZURE_OPENAI_API_KEY";
const AZURE_ENDPOINT: &str = "AZURE_OPENAI_ENDPOINT";
const AZURE_VERSIONS: [&str; 2] = ["AZURE_OPENAI_API_VERSION", "OPENAI_API_VERSION"];
const OLLAMA: &str = "OLLAMA_BASE_URL";

/// What the environment says.
struct Environment<'e> {
    env: Variables<'e>,
    notes: Vec<String>,
}

/// The configuration that the variables make; none if no provider is among them. An error says which variable is wrong,
/// and where in it.
pub fn read(env: Variables) -> Result<Option<Imported>, String> {
    let mut found = Environment { env, notes: Vec::new() };
    let mut routing = Map::default();
    let credentials = match found.get(SERVICES) {
        Some(text) => {
            let read = services::read(SERVICES, &text)?;
            found.notes.extend(read.notes);
            services::strategy(&mut routing);
            if let Some(timeout) = read.timeout {
                routing.set("response_timeout", timeout);
            }
            read.credentials
        }
        None => found.credentials(),
    };
    if credentials.is_empty() {
        return Ok(None);
    }
    let mut whole = Map::default();
    let (server, client_keys) = found.server(&mut routing);
    whole.set("server", server);
    if !client_keys.is_empty() {
        whole.set("client_keys", client_keys);
    }
    if !routing.is_empty() {
        whole.set("routing", routing);
    }
    whole.set("credentials", credentials);
    Ok(Some(Imported { yaml: whole.yaml(), notes: found.notes }))
}

/// Whether callers would need a key and no variable gives one.
pub fn lacks_key(env: Variables) -> bool {
    let found = Environment { env, notes: Vec::new() };
    !found.is_open() && found.get(MASTER_KEY).is_none() && found.auth_keys().next().is_none()
}

impl Environment<'_> {
    /// A variable that is set to something.
    fn get(&self, name: &str) -> Option<String> {
        (self.env)(name).filter(|value| !value.trim().is_empty())
    }

    /// Those of `name`, `name_1` to `name_99` and `name_01` to `name_09` that are set, with their numbers.
    fn numbered<'s>(&'s self, name: &'s str) -> impl Iterator<Item = (String, String)> + 's {
        let plain = std::iter::once((String::new(), name.to_owned()));
        let numbers = (1..=99).flat_map(move |n| {
            let padded = (n < 10).then(|| (format!("-0{n}"), format!("{name}_0{n}")));
            std::iter::once((format!("-{n}"), format!("{name}_{n}"))).chain(padded)
        });
        plain.chain(numbers).filter(|(_, name)| self.get(name).is_some())
    }

    /// The keys of callers: the one without a number first.
    fn auth_keys(&self) -> impl Iterator<Item = String> + '_ {
        self.numbered(AUTH_KEY).map(|(_, name)| name)
    }

    fn is_open(&self) -> bool {
        self.is_one_of("ENABLE_AUTH", ["false", "0", "no"])
    }

    fn is_one_of(&self, name: &str, values: [&str; 3]) -> bool {
        self.get(name).is_some_and(|value| values.contains(&&*value.trim().to_ascii_lowercase()))
    }

    fn credentials(&mut self) -> Vec<Map> {
        let mut credentials = Vec::new();
        let mut notes = Vec::new();
        for (kind, key) in KEYS {
            for (number, variable) in self.numbered(key) {
                let name = format!("{}{number}", kind.as_str());
                notes.push(format!("{variable}: the credential {name}"));
                let mut credential = credential(&name, kind);
                credential.set("api_key", reference(&variable));
                if let Some(address) = self.address(kind) {
                    credential.set("base_url", address);
                }
                credentials.push(credential);
            }
        }
        self.notes.append(&mut notes);
        self.azure(&mut credentials);
        self.ollama(&mut credentials);
        credentials
    }

    /// The address of a kind, where the environment gives one or its row has none.
    fn address(&self, kind: Kind) -> Option<String> {
        let variable = format!("{}_BASE_URL", kind.as_str().to_ascii_uppercase());
        match kind.provider().home {
            _ if self.get(&variable).is_some() => Some(reference(&variable)),
            Home::At(_) | Home::OfLocation => None,
            Home::Unknown(_) => Some(services::OPENAI.to_owned()),
        }
    }

    fn azure(&mut self, credentials: &mut Vec<Map>) {
        let keys: Vec<_> = self.numbered(AZURE_KEY).collect();
        if self.get(AZURE_ENDPOINT).is_none() {
            self.notes.extend(
                keys.iter().map(|(_, key)| format!("{key}: passed over, for {AZURE_ENDPOINT} is not set")),
            );
            return;
        }
        if keys.is_empty() {
            self.notes.push(format!("{AZURE_ENDPOINT}: passed over, for {AZURE_KEY} is not set"));
        }
        for (number, variable) in keys {
            let name = format!("azure{number}");
            self.notes.push(format!("{variable}: the credential {name}"));
            let mut credential = credential(&name, Kind::Azure);
            credential.set("api_key", reference(&variable)).set("base_url", reference(AZURE_ENDPOINT));
            if let Some(version) = AZURE_VERSIONS.iter().find(|name| self.get(name).is_some()) {
                credential.set("api_version", reference(version));
            }
            if self.get("AZURE_OPENAI_DEPLOYMENT").is_some() {
                credential.set("models", vec![reference("AZURE_OPENAI_DEPLOYMENT")]);
            }
            credentials.push(credential);
        }
    }

    fn ollama(&mut self, credentials: &mut Vec<Map>) {
        for (number, variable) in self.numbered(OLLAMA).collect::<Vec<_>>() {
            let name = format!("ollama{number}");
            self.notes.push(format!("{variable}: the credential {name}"));
            let mut credential = credential(&name, Kind::Ollama);
            credential.set("base_url", reference(&variable));
            if self.get("OLLAMA_AUTH_KEY").is_some() {
                credential.set("api_key", reference("OLLAMA_AUTH_KEY"));
            }
            credentials.push(credential);
        }
    }

    fn server(&mut self, routing: &mut Map) -> (Map, Vec<Map>) {
        let mut server = Map::default();
        server.set("host", self.host());
        match self.get("PORT") {
            Some(_) => server.set("port", reference("PORT")),
            None => server.set("port", PORT),
        };
        let client_keys = self.keys(&mut server);
        if let Some(timeout) = self.get("REQUEST_TIMEOUT") {
            let seconds = timeout.trim().bytes().all(|byte| byte.is_ascii_digit());
            let timeout = if seconds { "${REQUEST_TIMEOUT}s" } else { "os.environ/REQUEST_TIMEOUT" };
            server.set("request_timeout", timeout);
            if !routing.has("response_timeout") {
                routing.set("response_timeout", timeout);
            }
        }
        // Each provider has models of its own: a request goes to those that list its model.
        server.set("replace_v1_models", true);
        (server, client_keys)
    }

    /// Some shells have a variable of this name that says what the machine is called.
    fn host(&mut self) -> Value {
        match self.get("HOST") {
            Some(host) if host == "localhost" || host.parse::<std::net::IpAddr>().is_ok() => {
                reference("HOST").into()
            }
            Some(_) => {
                self.notes.push("HOST: passed over, for it is neither an address nor `localhost`".into());
                "127.0.0.1".into()
            }
            None => "127.0.0.1".into(),
        }
    }

    /// Who may ask. A key without a number may do everything, as every key could where these names come from; numbered
    /// ones are those of callers.
    fn keys(&mut self, server: &mut Map) -> Vec<Map> {
        if self.is_open() {
            server.set("enable_auth", false);
            if self.is_one_of("ALLOW_UNAUTHENTICATED", ["true", "1", "yes"]) {
                server.set("allow_unauthenticated", true);
            }
        }
        if self.get("AUTH_HEADER_NAME").is_some() {
            server.set("auth_header_name", reference("AUTH_HEADER_NAME"));
        }
        let mut keys: Vec<String> = self.auth_keys().collect();
        let master = match self.get(MASTER_KEY) {
            Some(_) => Some(MASTER_KEY.to_owned()),
            None => keys.iter().position(|key| key == AUTH_KEY).map(|at| keys.remove(at)),
        };
        match master {
            Some(key) => {
                server.set("master_key", reference(&key));
            }
            None if keys.is_empty() && !self.is_open() => {
                server.set("master_key", reference(MASTER_KEY));
            }
            None => {}
        }
        let client_keys = keys.iter().map(|key| {
            let mut client = Map::default();
            client.set("name", key.as_str()).set("key", reference(key));
            client
        });
        client_keys.collect()
    }
}

fn credential(name: &str, kind: Kind) -> Map {
    let mut credential = Map::default();
    credential.set("name", name).set("type", kind.as_str());
    credential
}

fn reference(variable: &str) -> String {
    format!("os.environ/{variable}")
}
