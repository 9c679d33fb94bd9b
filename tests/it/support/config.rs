//! A router's configuration, put together line by line, so that a test shows only the keys it is about.

use std::path::PathBuf;

use super::Upstream;

/// The key that clients of a test router present.
pub const MASTER_KEY: &str = "sk-test-master-0123456789abcdef";

/// The provider key of the credential `name`.
pub fn key_of(name: &str) -> String {
    format!("sk-upstream-{name}-0123456789")
}

/// The key of the client `name`.
pub fn client_key(name: &str) -> String {
    format!("sk-client-{name}-0123456789abcdef")
}

/// Where a router finds its configuration.
#[derive(Clone, Copy, Default, PartialEq)]
pub(super) enum Found {
    #[default]
    Lines,
    Variables,
    ReadyMade,
}

/// The parts of a configuration. Each method adds YAML lines to one section.
#[derive(Clone, Default)]
pub struct Config {
    server: Vec<String>,
    routing: Vec<String>,
    fail2ban: Vec<String>,
    monitoring: Vec<String>,
    client_keys: Vec<String>,
    credentials: Vec<String>,
    models: Vec<String>,
    state: Vec<String>,
    images: Vec<String>,
    admin: Option<String>,
    more: Vec<String>,
    master_key: Option<String>,
    threads: Option<u32>,
    /// Where a router whose main port speaks TLS is met without it.
    pub(super) plain: Option<u16>,
    /// Where the router finds it, if not in a file of these lines.
    pub(super) found: Found,
    /// Where its standard output goes, if not to the test.
    pub(super) stdout: Option<PathBuf>,
    /// Variables of its environment.
    pub(super) environment: Vec<(String, String)>,
}

impl Config {
    /// An empty configuration; add at least one credential.
    pub fn new() -> Self {
        Self::default()
    }

    /// The standard output goes to what is at `path`, whose lines the test does not see.
    pub fn stdout(mut self, path: impl Into<PathBuf>) -> Self {
        self.stdout = Some(path.into());
        self
    }

    /// One healthy-looking credential `a` at `url`.
    pub fn single(url: &str) -> Self {
        Self::new().credential("a", url, "")
    }

    /// Credentials of type openai, all at `url`, none ever banned.
    pub fn pool(names: &[&str], url: &str) -> Self {
        names.iter().fold(Self::new().never_bans(), |config, name| config.credential(name, url, ""))
    }

    /// A credential of type openai with the key `key_of(name)`; `extra` holds more YAML lines.
    pub fn credential(self, name: &str, url: &str, extra: &str) -> Self {
        let extra = format!("api_key: {}\n{extra}", key_of(name));
        self.keyless("openai", name, url, &extra)
    }

    /// A credential of type proxy: another router and its master key.
    pub fn proxy(self, name: &str, url: &str, key: &str, extra: &str) -> Self {
        self.keyless("proxy", name, url, &format!("api_key: {key}\n{extra}"))
    }

    /// A credential of any type without a key.
    pub fn keyless(mut self, kind: &str, name: &str, url: &str, extra: &str) -> Self {
        self.credentials.push(item(&format!("name: {name:?}\ntype: {kind}\nbase_url: {url}\n{extra}")));
        self
    }

    /// An entry of `client_keys`, with the key `client_key(name)`; `extra` holds more YAML lines.
    pub fn client(mut self, name: &str, extra: &str) -> Self {
        self.client_keys.push(item(&format!("name: {name:?}\nkey: {}\n{extra}", client_key(name))));
        self
    }

    /// An entry of `models`.
    pub fn model(mut self, lines: &str) -> Self {
        self.models.push(item(lines));
        self
    }

    pub fn server(mut self, lines: &str) -> Self {
        self.server.push(indented(lines));
        self
    }

    /// The main port speaks TLS, as these lines say; the tests' usual client is met at another one.
    pub fn tls(mut self, lines: &str) -> Self {
        let plain = super::router::free_port();
        self.plain = Some(plain);
        let listen = format!("listen: [{{address: \"127.0.0.1:{plain}\", tls: false}}]");
        self.server(&format!("{listen}\ntls:\n{}", indented(lines)))
    }

    pub fn routing(mut self, lines: &str) -> Self {
        self.routing.push(indented(lines));
        self
    }

    pub fn fail2ban(mut self, lines: &str) -> Self {
        self.fail2ban.push(indented(lines));
        self
    }

    pub fn monitoring(mut self, lines: &str) -> Self {
        self.monitoring.push(indented(lines));
        self
    }

    /// The admin section, instead of a socket in the router's directory; empty: none.
    pub fn admin(mut self, lines: &str) -> Self {
        self.admin = Some(indented(lines));
        self
    }

    /// Sections of their own.
    pub fn section(mut self, lines: &str) -> Self {
        self.more.push(format!("{lines}\n"));
        self
    }

    /// Beside the directory.
    pub fn state(mut self, lines: &str) -> Self {
        self.state.push(indented(lines));
        self
    }

    pub fn images(mut self, lines: &str) -> Self {
        self.images.push(indented(lines));
        self
    }

    /// No status code is ever a strike.
    pub fn never_bans(self) -> Self {
        self.fail2ban("error_codes: []")
    }

    pub fn master_key(mut self, key: &str) -> Self {
        self.master_key = Some(key.to_string());
        self
    }

    pub fn key(&self) -> &str {
        self.master_key.as_deref().unwrap_or(MASTER_KEY)
    }

    /// No file: whoever starts it gives its variables. Its master key is among them.
    pub fn fileless() -> Self {
        Self { found: Found::Variables, ..Self::new() }.environment("MASTER_KEY", MASTER_KEY)
    }

    /// The file that lies in the router's directory already; only its port is put right.
    pub fn ready_made() -> Self {
        Self { found: Found::ReadyMade, ..Self::new() }
    }

    /// Without a variable.
    pub fn without(mut self, name: &str) -> Self {
        self.environment.retain(|(known, _)| known != name);
        self
    }

    /// A variable of the router's environment.
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// The file, for a router on `port` that keeps its socket and its state in `dir`.
    pub fn yaml(&self, port: u16, dir: &str) -> String {
        let mut text = format!("server:\n  host: 127.0.0.1\n  port: {port}\n  master_key: {}\n", self.key());
        text.push_str(&format!("  threads: {}\n{}", self.threads.unwrap_or(2), self.server.concat()));
        let mut section = |name: &str, lines: &[String]| {
            if !lines.is_empty() {
                text.push_str(&format!("{name}:\n{}", lines.concat()));
            }
        };
        section("routing", &self.routing);
        section("fail2ban", &self.fail2ban);
        let mut monitoring = self.monitoring.concat();
        if !monitoring.contains("prometheus_listen") {
            monitoring.push_str(&indented("prometheus_listen: \"off\""));
        }
        section("monitoring", &[monitoring]);
        match &self.admin {
            Some(lines) if lines.is_empty() => {}
            Some(lines) => section("admin", std::slice::from_ref(lines)),
            None => section("admin", &[indented(&format!("listen: unix:{dir}/admin.sock"))]),
        }
        let own = indented(&format!("dir: {dir}/state"));
        section("state", &[own, self.state.concat()]);
        section("client_keys", &self.client_keys);
        section("images", &self.images);
        section("credentials", &self.credentials);
        section("models", &self.models);
        text + &self.more.concat()
    }
}

fn indented(lines: &str) -> String {
    lines.lines().map(|line| format!("  {line}\n")).collect()
}

fn item(lines: &str) -> String {
    indented(lines).replacen("  ", "- ", 1).lines().map(|line| format!("  {line}\n")).collect()
}

/// Two providers, the second for when the first is exhausted; streams that break off are gone on with.
pub fn resuming(first: &Upstream, second: &Upstream) -> Config {
    Config::new()
        .never_bans()
        .routing("resume: verify")
        .credential("one", &first.url(), "tpm: 100000")
        .credential("two", &second.url(), "tpm: 100000\npriority: 1")
}
