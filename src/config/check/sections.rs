//! The sections that stand alone: `server`, `routing`, `fail2ban`, `monitoring`, `admin`.

use std::collections::HashSet;
use std::net::IpAddr;
use std::time::Duration;

use url::Url;

use super::{addresses, Check};
use crate::config::file::{self, Cors};
use crate::config::problem::Fault;
use crate::config::quantity::{Limit, Listen, Size, Span, Term};
use crate::config::settings::{
    AdminListen, CodeRule, Fail2ban, Images, Monitoring, Origins, Routing, Server, FOREVER,
};

/// The smallest body limit that can be meant: below it, a unit was forgotten.
const LEAST_BODY: u64 = 1 << 10;

impl Check<'_, '_> {
    pub(super) fn server(&mut self, file: &file::Server) -> Server {
        let master_key = file.master_key.as_ref().map(|key| key.0.clone()).filter(|key| !key.is_empty());
        if let Some(key) = &master_key {
            self.callers_key("server.master_key", key);
        }
        let max_body_size = self.max_body_size(file);
        let host = self.host(&file.host);
        let tls = self.server_tls(&file.tls);
        let listeners = self.listeners(file, &host);
        Server {
            host,
            port: file.port,
            threads: usize::from(file.threads),
            master_key,
            auth_header: self.auth_header(file.auth_header_name.as_deref()),
            enable_auth: file.enable_auth,
            max_body_size,
            body_timeout: self.finite("server.body_timeout", file.body_timeout),
            header_timeout: self.finite("server.header_timeout", file.header_timeout),
            drain_timeout: file.drain_timeout.0.unwrap_or(FOREVER),
            keepalive_timeout: self.finite("server.keepalive_timeout", file.keepalive_timeout),
            max_buffered: self.max_buffered(file.max_buffered, max_body_size),
            replace_v1_models: file.replace_v1_models,
            logging_level: file.logging_level,
            expose_route: file.expose_route,
            tls,
            listeners,
            trusted_proxies: self.trusted_proxies(&file.trusted_proxies),
            max_connections: self.count("server.max_connections", file.max_connections),
            max_connections_per_address: self
                .count("server.max_connections_per_address", file.max_connections_per_address),
            cors: self.cors(&file.cors),
            echo_model: file.echo_model,
        }
    }

    fn cors(&mut self, file: &Cors) -> Option<Origins> {
        let list = match file {
            Cors::Whole(any) => return any.then_some(Origins::Any),
            Cors::Origins(list) => list,
        };
        for (at, origin) in list.iter().enumerate() {
            let known = Url::parse(origin).map(|url| url.origin());
            if !known.is_ok_and(|known| known.ascii_serialization() == *origin) {
                let path = format!("server.cors[{at}]");
                let fault =
                    Fault::new(format!("{} is no origin as browsers write it", self.places.written(&path)));
                let help = "scheme, host and, where it is not the usual one, the port: `https://app.example.com`; `cors: true` \
                            is for all";
                self.error(&path, fault.help(help));
            }
        }
        Some(Origins::These(list.clone()))
    }

    fn max_body_size(&mut self, file: &file::Server) -> u64 {
        let Some(megabytes) = file.max_body_size_mb else {
            let Size(bytes) = file.max_body_size;
            if bytes < LEAST_BODY {
                let fault = Fault::new("a body of less than 1KiB holds no request");
                self.error(
                    "server.max_body_size",
                    fault.help("a bare number is bytes; write `32MiB` for megabytes"),
                );
            }
            return bytes;
        };
        if self.places.has("server.max_body_size") {
            let fault = Fault::new("`max_body_size` and `max_body_size_mb` are two names of one limit");
            self.error("server.max_body_size_mb", fault.help("keep one of them"));
        }
        self.limit("server.max_body_size_mb", megabytes).map_or(u64::MAX, |mib| mib.saturating_mul(1 << 20))
    }

    /// Room for one body of the largest size; an unlimited body is held by this alone.
    fn max_buffered(&mut self, buffered: Size, max_body_size: u64) -> u64 {
        let path = "server.max_buffered";
        if max_body_size == u64::MAX || buffered.0 >= max_body_size {
            return buffered.0;
        }
        if self.places.has(path) {
            let fault = Fault::new("`max_buffered` is smaller than a single body may be");
            self.error(
                path,
                fault.help("it holds all buffered bodies together: make it a multiple of `max_body_size`"),
            );
        }
        max_body_size
    }

    fn host(&mut self, written: &str) -> String {
        let path = "server.host";
        let host = written.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(written);
        let address = host.parse::<IpAddr>();
        let name = host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'));
        if address.is_err() && !name {
            let fault =
                Fault::new(format!("`host`: {} is no address and no name", self.places.written(path)));
            self.error(
                path,
                fault.help("write an address such as `127.0.0.1` or `::1`; the port has its own key"),
            );
        }
        host.to_owned()
    }

    pub(super) fn routing(&mut self, file: &file::Routing, server: &file::Server) -> Routing {
        let deadline = match file.deadline {
            Some(deadline) => self.time("routing.deadline", deadline),
            None => self.time("server.request_timeout", server.request_timeout),
        };
        Routing {
            max_attempts: self.count("routing.max_attempts", file.max_attempts).unwrap_or(u32::MAX),
            deadline,
            response_timeout: self.time("routing.response_timeout", file.response_timeout),
            first_token_timeout: self.time("routing.first_token_timeout", file.first_token_timeout),
            stall_timeout: self.time("routing.stall_timeout", file.stall_timeout),
            max_wait: self.max_wait(file.max_wait, server),
            max_queue: self
                .count("routing.max_queue", file.max_queue)
                .map_or(usize::MAX, |most| most as usize),
            resume: file.resume,
            strategy: file.strategy,
            usage_gap: file.model_usage_gap_percentage,
        }
    }

    /// A stopping router would cut off those who wait for longer than it waits for them.
    fn max_wait(&mut self, wait: Span, server: &file::Server) -> Duration {
        let path = "routing.max_wait";
        let Some(wait) = wait.0 else {
            let fault = Fault::new("nobody can wait for ever");
            self.error(path, fault.help("write a time such as `10s`, or `0` for no queue"));
            return Duration::ZERO;
        };
        if server.drain_timeout.0.is_some_and(|drain| drain < wait) {
            let fault = Fault::new("`max_wait` is longer than `server.drain_timeout`");
            self.warn(
                path,
                fault.help("requests that wait when the router stops may be cut off without an answer"),
            );
        }
        wait
    }

    pub(super) fn fail2ban(&mut self, file: file::Fail2ban) -> Fail2ban {
        let max_attempts = self.attempts("fail2ban.max_attempts", file.max_attempts);
        let ban = file.ban_duration;
        let mut seen = HashSet::new();
        let rules = file.error_code_rules.into_iter().enumerate().map(|(index, rule)| {
            let path = format!("fail2ban.error_code_rules[{index}]");
            let codes = self.rule_codes(&path, &rule, &mut seen);
            let attempts =
                rule.max_attempts.map(|limit| self.attempts(&format!("{path}.max_attempts"), limit));
            let rule_ban = rule.ban_duration.unwrap_or(ban);
            if rule_ban == Term::Permanent && codes.contains(&429) {
                self.permanent_429(&path);
            }
            CodeRule { codes, max_attempts: attempts.unwrap_or(max_attempts), ban: rule_ban }
        });
        let rules: Vec<_> = rules.collect();
        if ban == Term::Permanent && file.error_codes.contains(&429) && !seen.contains(&429) {
            self.permanent_429("fail2ban.ban_duration");
        }
        Fail2ban { max_attempts, ban, error_codes: file.error_codes, rules }
    }

    /// Failures in a row that ban; `-1` never does.
    fn attempts(&mut self, path: &str, limit: Limit) -> u32 {
        if limit.0 == Some(0) {
            let fault = Fault::new("a ban takes at least one failure");
            self.error(path, fault.help("write `-1` to ban nobody"));
        }
        limit.0.map_or(u32::MAX, |count| u32::try_from(count).unwrap_or(u32::MAX))
    }

    fn rule_codes(&mut self, path: &str, rule: &file::CodeRule, seen: &mut HashSet<u16>) -> Vec<u16> {
        let codes: Vec<u16> = rule.code.iter().chain(&rule.codes).copied().collect();
        if codes.is_empty() {
            self.error(
                path,
                Fault::new("this rule is for no code").help("give it `code: 429` or `codes: [500, 502]`"),
            );
        }
        for code in &codes {
            if !seen.insert(*code) {
                self.error(
                    path,
                    Fault::new(format!("the code {code} is in a rule already")).help("a code has one rule"),
                );
            }
        }
        codes
    }

    fn permanent_429(&mut self, path: &str) {
        let fault = Fault::new("a busy minute bans for good: 429 counts, and the ban is permanent");
        let help = "give 429 its own rule: `error_code_rules: [{code: 429, ban_duration: 1m}]`, or use a term such as `5m`";
        self.warn(path, fault.help(help));
    }

    pub(super) fn monitoring(&mut self, file: &file::Monitoring) -> Monitoring {
        let path = "monitoring.health_check_path";
        let health = file.health_check_path.clone();
        let clean = health.starts_with('/')
            && health.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'?' | b'#'));
        if !clean {
            self.error(
                path,
                Fault::new("a path begins with `/` and has no blank, `?` or `#`").help("write `/health`"),
            );
        } else if health == "/" || health.starts_with("/v1/") {
            self.error(path, Fault::new("this path belongs to the API").help("write `/health`"));
        }
        if file.log_errors && file.errors_log_path.is_none() {
            let fault = Fault::new("`log_errors` needs `errors_log_path`");
            self.error("monitoring.log_errors", fault.help("name the file, or remove `log_errors`"));
        }
        Monitoring {
            prometheus_enabled: file.prometheus_enabled,
            health_check_path: health,
            public: file.public,
            prometheus_listen: self.prometheus_listen(&file.prometheus_listen),
            peer_health_interval: self.finite("monitoring.peer_health_interval", file.peer_health_interval),
            log_errors: file.log_errors,
            errors_log_path: file.errors_log_path.as_ref().map(Into::into),
        }
    }

    fn prometheus_listen(&mut self, listen: &Listen) -> Option<std::net::SocketAddr> {
        match listen {
            Listen::Off => None,
            Listen::Tcp(address) => Some(*address),
            Listen::Unix(_) => {
                let fault = Fault::new("metrics are served on an address, not on a unix socket");
                self.error("monitoring.prometheus_listen", fault.help("write `127.0.0.1:9464`, or `off`"));
                None
            }
        }
    }

    pub(super) fn images(&mut self, file: &file::Images) -> Images {
        let allow = file.allow.iter().enumerate().filter_map(|(index, text)| {
            let path = format!("images.allow[{index}]");
            let allowed = addresses::host_and_port(text);
            if allowed.is_none() {
                let fault = Fault::new(format!("{} is no host", self.places.written(&path)));
                self.error(&path, fault.help("write `images.example.com`, `10.0.0.1` or `10.0.0.1:8080`"));
            }
            allowed.map(|(host, port)| (host.to_ascii_lowercase(), port))
        });
        let allow = allow.collect();
        if file.max_size.0 < LEAST_BODY {
            let fault = Fault::new("less than 1KiB holds no picture");
            self.error("images.max_size", fault.help("a bare number is bytes; write `20MiB` for megabytes"));
        }
        Images {
            allow,
            max_size: file.max_size.0,
            timeout: self.finite("images.timeout", file.timeout),
            max_redirects: file.max_redirects,
            max_images: file.max_images.into(),
        }
    }

    pub(super) fn admin(&mut self, listen: Option<Listen>) -> AdminListen {
        match listen {
            None => AdminListen::Default,
            Some(Listen::Off) => AdminListen::Off,
            Some(Listen::Unix(path)) => AdminListen::Unix(path),
            Some(Listen::Tcp(address)) => {
                if !address.ip().is_loopback() {
                    let fault =
                        Fault::new("the admin side has no key of its own and must not leave this host");
                    self.error(
                        "admin.listen",
                        fault.help("write a loopback address such as `127.0.0.1:9465`, or `unix:/path`"),
                    );
                }
                AdminListen::Tcp(address)
            }
        }
    }
}
