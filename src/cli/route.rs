//! `auto-ai-router route MODEL`: who would be tried for a model, in which order, within which limits, and why others would
//! not.
//!
//! It reads the configuration and asks no running router: nothing is used up, and nobody is banned. `/explain` says the
//! same of a router that runs, with what is used.

use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use super::{complain, say, settings};
use crate::gateway::{blueprint, Vendors};
use crate::llm::ability::Ability;
use crate::routing::{Ask, Considered, Per, Pool, QuotaUse, Snapshot, Use};

/// Says it.
pub fn route(file: Option<&Path>, model: &str, needs: &[Ability], vendor: Option<&str>) -> ExitCode {
    let settings = match settings(file, None) {
        Ok(found) => found.settings,
        Err(code) => return code,
    };
    let pool = Pool::new(blueprint(&settings));
    let vendors = Vendors::new(&settings.credentials);
    let among = vendor.map(|vendor| vendors.of(vendor).ok_or(vendor)).transpose();
    let among = match among {
        Ok(among) => among,
        Err(vendor) => {
            complain(&format!("nobody is called {vendor:?}; there are {}", vendors.known(true).join(", ")));
            return ExitCode::FAILURE;
        }
    };
    let (needs, now) = (needs.iter().copied().collect(), Instant::now());
    match pool.explain(Ask { model: Some(model), needs, among, ..Ask::default() }, now) {
        Ok(considered) => {
            let snapshot = pool.snapshot(now);
            for candidate in &considered {
                say(&candidate.to_string());
                limits(candidate, &snapshot).iter().for_each(|line| {
                    say(line);
                });
            }
            ExitCode::SUCCESS
        }
        Err(unknown) => {
            complain(&unknown.to_string());
            ExitCode::FAILURE
        }
    }
}

/// What a candidate is limited to, with all models and with this one: a line each, where there is something to say.
fn limits(candidate: &Considered, snapshot: &Snapshot) -> Vec<String> {
    let credential = snapshot.credentials.iter().find(|credential| credential.name == candidate.credential);
    let Some(credential) = credential.filter(|_| candidate.turn.is_ok()) else { return Vec::new() };
    let model = credential.models.iter().find(|model| model.name == candidate.model);
    let own = said(credential.rpm, credential.tpm, &credential.quotas);
    let on_model = model.map(|model| said(model.rpm, model.tpm, &model.quotas)).unwrap_or_default();
    let line = |whose: &str, limits: Vec<String>| {
        (!limits.is_empty()).then(|| format!("     {whose}: {}", limits.join(", ")))
    };
    line("all models", own).into_iter().chain(line("this model", on_model)).collect()
}

fn said(rpm: Use, tpm: Use, quotas: &[QuotaUse]) -> Vec<String> {
    let minute = QuotaUse { per: Per::Seconds(60), requests: rpm, tokens: tpm, resets: None };
    let of = |quota: &QuotaUse| {
        let per = quota.per.label();
        let amount = |what, of: Use| of.limit.map(|limit| format!("{limit} {what} per {per}"));
        [amount("requests", quota.requests), amount("tokens", quota.tokens)]
    };
    std::iter::once(&minute).chain(quotas).flat_map(of).flatten().collect()
}
