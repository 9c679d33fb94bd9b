//! The pool as a whole: short stories of requests, with time as a number of seconds.

mod bans;
mod failover;
mod fleet;
mod ledger;
mod limits;
mod lists;
mod looks;
mod queue;
mod strategies;
mod threads;

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use super::*;
use crate::providers::verdict::{Blame, Next, Verdict};

/// A moment, in seconds since the start of the story.
fn at(seconds: f64) -> Instant {
    static START: OnceLock<Instant> = OnceLock::new();
    *START.get_or_init(Instant::now) + Duration::from_secs_f64(seconds)
}

/// One of weight 1 in the first tier, without limits.
pub(super) fn credential(name: &str) -> CredentialSpec {
    CredentialSpec {
        name: name.into(),
        host: format!("{name}.test:443").into(),
        weight: 1,
        tier: 0,
        rpm: None,
        tpm: None,
        quotas: Vec::new(),
        max_concurrent: None,
        models: None,
    }
}

/// A bound of so much per minute.
fn bound(amount: u64) -> Bound {
    Bound { amount, per: Per::Seconds(60) }
}

/// The same as a refusal tells it.
fn per_minute(amount: u64) -> Option<Bound> {
    Some(bound(amount))
}

/// An entry for everybody, without limits.
pub(super) fn model(name: &str) -> ModelSpec {
    ModelSpec {
        name: name.into(),
        credential: None,
        rpm: None,
        tpm: None,
        quotas: Vec::new(),
        fallbacks: Vec::new(),
        models: Vec::new(),
        strategy: None,
        abilities: None,
        limits_only: false,
    }
}

/// Three strikes are ten seconds, at an open binding.
pub(super) fn blueprint(credentials: Vec<CredentialSpec>) -> Blueprint {
    let error_codes = vec![401, 403, 429, 500, 502, 503, 504];
    let bans = BanPolicy {
        max_attempts: 3,
        ban: Term::For(Duration::from_secs(10)),
        error_codes,
        rules: Vec::new(),
    };
    Blueprint {
        credentials,
        models: Vec::new(),
        aliases: Vec::new(),
        binding: Binding::Open,
        strategy: Strategy::RoundRobin,
        usage_gap: 5,
        bans,
        max_attempts: 5,
        max_wait: Duration::ZERO,
        max_queue: 1000,
    }
}

fn pool(names: &[&str]) -> Pool {
    Pool::new(blueprint(names.iter().map(|name| credential(name)).collect()))
}

fn with_models(names: &[&str], models: Vec<ModelSpec>) -> Pool {
    let credentials = names.iter().map(|name| credential(name)).collect();
    Pool::new(Blueprint { models, binding: Binding::Models, ..blueprint(credentials) })
}

fn plan(pool: &Pool, model: &str) -> Plan {
    costly(pool, model, 0)
}

fn costly(pool: &Pool, model: &str, tokens: u64) -> Plan {
    pool.plan(Ask { model: Some(model), tokens, ..Ask::default() }).expect("a model that is served")
}

fn lease(step: Step) -> Lease {
    match step {
        Step::Try(lease) => lease,
        other => panic!("no lease but {other:?}"),
    }
}

fn stopped(step: Step) -> Stopped {
    match step {
        Step::Stop(stopped) => stopped,
        other => panic!("no stop but {other:?}"),
    }
}

fn wait(step: Step) -> Duration {
    match step {
        Step::Wait(pause) => pause,
        other => panic!("no wait but {other:?}"),
    }
}

/// A request that succeeds at once, and the credential that served it.
fn serve(pool: &Pool, model: &str, now: Instant) -> usize {
    let mut lease = lease(pool.next(&mut plan(pool, model), now));
    lease.sent();
    let _ = lease.succeeded(now);
    lease.credential()
}

/// One attempt that fails, whoever's turn it is; who that was, and what has changed.
fn fail(pool: &Pool, plan: &mut Plan, verdict: &Verdict, now: Instant) -> (usize, Vec<Transition>) {
    let mut lease = lease(pool.next(plan, now));
    lease.sent();
    let credential = lease.credential();
    (credential, pool.failed(plan, lease, verdict, now))
}

fn host(code: u16) -> Verdict {
    Verdict::new(Blame::Host, Next::Other, code)
}

fn pair(code: u16) -> Verdict {
    Verdict::new(Blame::Pair, Next::Other, code)
}

fn key(code: u16) -> Verdict {
    Verdict::new(Blame::Key, Next::Other, code)
}

/// A 429 with Retry-After.
fn busy(seconds: u64) -> Verdict {
    Verdict { cool_down: Some(Duration::from_secs(seconds)), ..pair(429) }
}

fn condition(pool: &Pool, credential: usize, model: &str, now: Instant) -> Condition {
    let snapshot = pool.snapshot(now);
    let models = &snapshot.credentials[credential].models;
    models.iter().find(|seen| &*seen.name == model).map(|seen| seen.standing.condition).unwrap_or_default()
}
