//! From the file as written to the settings as they run: the relations between values, and the advice.
//!
//! The walk in `shape.rs` has seen to every value alone; here they meet. Each check reports and goes on, with a harmless
//! stand-in for what is missing, because settings are handed out only when nothing was an error.

mod addresses;
mod client_keys;
mod clouds;
mod credentials;
mod keyrings;
mod keys;
mod listeners;
mod lists;
mod models;
mod otlp;
mod quotas;
mod sections;
mod state;
mod tls;

use std::time::{Duration, SystemTime};

use quotas::Limited;

use super::file::{File, ModelsFile};
use super::interpolate::Outside;
use super::problem::{Fault, Report, Severity};
use super::quantity::{Limit, Span};
use super::settings::{Admin, Settings, FOREVER};
use super::shape::Places;
use crate::calendar::Zone;

/// One file under check: where its values stand and where problems go.
pub(super) struct Check<'c, 'a> {
    pub report: &'c mut Report<'a>,
    pub places: &'c Places,
    pub outside: Outside<'c>,
}

impl Check<'_, '_> {
    fn error(&mut self, path: &str, fault: Fault) {
        self.report.add(Severity::Error, self.places.span(path), path, fault);
    }

    fn warn(&mut self, path: &str, fault: Fault) {
        self.report.add(Severity::Warning, self.places.span(path), path, fault);
    }

    /// A limit that must leave something through; `-1` and absence are no limit.
    fn limit(&mut self, path: &str, limit: Limit) -> Option<u64> {
        if limit.0 == Some(0) {
            let fault = Fault::new("a limit of 0 would refuse everything");
            self.error(path, fault.help("write `-1` for no limit, or remove what should not be used"));
        }
        limit.0
    }

    /// The same for counts of attempts and connections.
    fn count(&mut self, path: &str, limit: Limit) -> Option<u32> {
        self.limit(path, limit).map(|count| u32::try_from(count).unwrap_or(u32::MAX))
    }

    /// A time that must not be nought.
    fn time(&mut self, path: &str, span: Span) -> Option<Duration> {
        if span.0 == Some(Duration::ZERO) {
            let fault = Fault::new("a time of 0 would end everything before it begins");
            self.error(path, fault.help("write `-1` for no limit, or a time such as `30s`"));
        }
        span.0
    }

    /// The same where the running program wants a time in any case.
    fn finite(&mut self, path: &str, span: Span) -> Duration {
        self.time(path, span).unwrap_or(FOREVER)
    }
}

/// The settings that `file` makes, with the limits of `models.yaml`. They hold only if no error was reported.
pub(super) fn settings(file: File, limits: ModelsFile, now: SystemTime, check: &mut Check) -> Settings {
    let default_rpm = check.limit("server.default_models_rpm", file.server.default_models_rpm);
    let routing = check.routing(&file.routing, &file.server);
    let server = check.server(&file.server);
    let names = file.credentials.iter().filter_map(|credential| credential.name.clone()).collect::<Vec<_>>();
    let zone = check.zone("routing.time_zone", file.routing.time_zone.as_deref(), &Zone::default());
    let rings = keyrings::keyrings(&file.credentials);
    let client_keys = check.client_keys(file.client_keys, &file.server, &zone, now);
    check.callers(&file.server, &client_keys);
    let credentials = check.credentials(file.credentials, &server, &zone);
    let binding = file.models.iter().any(|model| model.models.is_empty());
    let models = check.models(
        file.models,
        limits,
        &file.model_aliases,
        models::Around {
            names: &names,
            credentials: &credentials,
            default_rpm,
            zone: &zone,
            learns: server.replace_v1_models,
        },
    );
    let monitoring = check.monitoring(&file.monitoring);
    let (credentials, models) = check.one_for_each_key(credentials, models, &rings);
    Settings {
        routing,
        server,
        fail2ban: check.fail2ban(file.fail2ban),
        otlp: check.otlp(file.monitoring.otlp),
        monitoring,
        admin: Admin { listen: check.admin(file.admin.listen) },
        state: check.state(file.state),
        client_keys,
        images: check.images(&file.images),
        credentials,
        models,
        aliases: file.model_aliases.into_iter().collect(),
        binding,
        digest: String::new(),
    }
}

/// The problems of `models.yaml` itself, which has a report and places of its own.
pub(super) fn limits(limits: &ModelsFile, names: &[String], check: &mut Check) {
    for (index, entry) in limits.models.iter().enumerate() {
        let path = format!("models[{index}]");
        check.known_credential(&path, entry.credential.as_deref(), names);
        check.limit(&format!("{path}.rpm"), entry.rpm.unwrap_or(Limit(None)));
        let tpm = check.tokens(&format!("{path}.tpm"), entry.tpm);
        let minute = Limited { rpm: entry.rpm.and_then(|rpm| rpm.0), tpm, ..Limited::default() };
        check.quotas(&path, &entry.quotas, minute, &Zone::default());
    }
}
