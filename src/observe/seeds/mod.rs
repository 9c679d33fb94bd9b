//! The endpoints of the routers before this one, with their shapes, from what is known here: `/`, `/backend/info`,
//! `/router/*`, `/auth/*` of one, `/v1/usage` of another.
//!
//! What was an accident in them is mended: keys are shown by name and a piece of their digest, a success is a request
//! that succeeded, health is how a service stands and not its failures since the start, shares are of the same period
//! as their limit and never above a hundred, and counts are of the whole process. What is not known is null.

pub mod docs;

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use serde_json::{json, Map, Value};

use super::recent::{Counts, Totals};
use super::view::{State, Used};

/// All that these endpoints tell, as one caller may see it.
#[derive(Clone, Debug, Default)]
pub struct Desk {
    /// The program's.
    pub version: &'static str,
    /// In the order of the file.
    pub services: Vec<Service>,
    /// What they have done.
    pub totals: Totals,
    /// Who may ask.
    pub callers: Callers,
    /// Now.
    pub now: Option<SystemTime>,
}

/// One credential.
#[derive(Clone, Debug, Default)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// Its type.
    pub kind: &'static str,
    /// 0 is asked first.
    pub tier: u16,
    /// For the operator's eyes.
    pub base_url: Option<String>,
    /// Whether it has a key.
    pub has_api_key: bool,
    /// How it stands.
    pub state: State,
    /// Until it is below its limits again; none while it is.
    pub limited_for: Option<Duration>,
    /// Its limits, the minute first.
    pub windows: Vec<Window>,
}

/// Use of the limits over one period.
#[derive(Clone, Debug, Default)]
pub struct Window {
    /// "minute", "day", "90s".
    pub label: String,
    /// Its length; none for a day of a calendar.
    pub seconds: Option<u32>,
    /// Requests.
    pub requests: Used,
    /// Tokens.
    pub tokens: Used,
}

/// The keys.
#[derive(Clone, Debug, Default)]
pub struct Callers {
    /// Whether one is asked for.
    pub enabled: bool,
    /// How many are good.
    pub valid: usize,
    /// Where they are looked for.
    pub header: String,
    /// Those that the caller may see.
    pub rows: Vec<Caller>,
}

/// One key.
#[derive(Clone, Debug, Default)]
pub struct Caller {
    /// Its name.
    pub name: String,
    /// How it is shown.
    pub hint: String,
    /// Requests under way, and as many as may be.
    pub in_flight: (u32, Option<u32>),
    /// Requests.
    pub requests: u64,
    /// Requests that succeeded.
    pub successes: u64,
    /// Of prompts and answers.
    pub tokens: (u64, u64),
    /// When the first and the last request came.
    pub seen: (Option<SystemTime>, Option<SystemTime>),
    /// Its limits, the minute first; empty without any.
    pub windows: Vec<Window>,
    /// What it may ask for; none is everything.
    pub models: Option<Vec<String>>,
    /// From when on it is refused.
    pub expires: Option<SystemTime>,
}

impl Service {
    fn status(&self, attempts: u64) -> &'static str {
        match self.state {
            State::Banned | State::BannedForGood => "unhealthy",
            State::CoolDown | State::Probation => "degraded",
            State::Available if attempts == 0 => "unknown",
            State::Available => "healthy",
        }
    }

    fn minute(&self) -> Window {
        self.windows.first().cloned().unwrap_or_default()
    }

    /// The window that the router's own endpoints are about: the first with a limit on requests, else the minute.
    fn main(&self) -> Window {
        let limited = self.windows.iter().find(|window| window.requests.limit.is_some());
        limited.cloned().unwrap_or_else(|| self.minute())
    }

    /// The window that usage is about: the day, where it has a limit on requests.
    fn budget(&self) -> Window {
        self.day().filter(|day| day.requests.limit.is_some()).cloned().unwrap_or_else(|| self.main())
    }

    fn day(&self) -> Option<&Window> {
        self.windows.iter().find(|window| window.seconds.is_none())
    }
}

impl Desk {
    /// `GET /` for key holders.
    pub fn root(&self) -> Value {
        let services = self.services.iter();
        let first = self.services.iter().min_by_key(|service| service.tier);
        json!({
            "object": "router",
            "api": "/v1",
            "message": "Auto AI Router",
            "version": self.version,
            "docs": "/docs",
            "mode": "router",
            "services_count": self.services.len(),
            "services": services.map(|s| json!({"name": s.name, "type": s.kind, "priority": s.tier})).collect::<Vec<_>>(),
            "primary_backend": first.map(|service| &service.name),
            "authentication": {
                "enabled": self.callers.enabled,
                "valid_keys_count": self.callers.valid,
                "auth_header": self.callers.header,
            },
        })
    }

    /// `/backend/info`.
    pub fn backend(&self) -> Value {
        let health = self.health();
        let status = if health["overall_status"] == "unhealthy" { "unhealthy" } else { "active" };
        json!({ "mode": "router", "status": status, "router_stats": self.stats(), "health": health })
    }

    /// `/router/stats`.
    pub fn stats(&self) -> Value {
        let totals = &self.totals;
        let mut order: Vec<&Service> = self.services.iter().collect();
        order.sort_by_key(|service| service.tier);
        let stats = self.by_name(|service| {
            let counts = self.counts(service);
            json!({"requests": counts.requests, "failures": counts.failures, "rate_limited": counts.rate_limited})
        });
        json!({
            "total_requests": totals.requests,
            "total_failovers": totals.failovers,
            "total_rate_limit_skips": totals.skips,
            "failover_rate": percent(totals.failovers, totals.requests),
            "rate_limit_skip_rate": percent(totals.skips, totals.requests),
            "configured_services": self.services.len(),
            "service_stats": stats,
            "service_order": order.iter().map(|service| &service.name).collect::<Vec<_>>(),
            "rate_limiting": self.rate_limiting(),
        })
    }

    /// `/router/health`.
    pub fn health(&self) -> Value {
        let services = self.by_name(|service| {
            let counts = self.counts(service);
            let main = service.main();
            json!({
                "status": service.status(counts.requests),
                "state": service.state.as_str(),
                "backend_type": service.kind,
                "base_url": service.base_url,
                "has_api_key": service.has_api_key,
                "requests": counts.requests,
                "failures": counts.failures,
                "failure_rate": percent(counts.failures, counts.requests),
                "rate_limited_events": counts.rate_limited,
                "is_currently_rate_limited": service.limited_for.is_some(),
                "rate_limit_config": {
                    "max_requests": main.requests.limit,
                    "window_seconds": main.seconds.unwrap_or(86_400),
                },
            })
        });
        let is = |word: &str| services.values().any(|service| service["status"] == word);
        let overall = match (is("healthy") || is("unknown"), is("degraded") || is("unhealthy")) {
            (true, false) => "healthy",
            (false, _) if !is("degraded") => "unhealthy",
            _ => "degraded",
        };
        json!({ "overall_status": overall, "services": services })
    }

    /// `/router/rate-limits`.
    pub fn rate_limits(&self) -> Value {
        json!({
            "rate_limiting": self.rate_limiting(),
            "total_rate_limit_skips": self.totals.skips,
            "rate_limit_skip_rate": percent(self.totals.skips, self.totals.requests),
            "current_time": self.now.and_then(unix),
        })
    }

    /// `/auth/status`.
    pub fn keys(&self) -> Value {
        let callers = &self.callers;
        let status = match (callers.enabled, callers.valid) {
            (false, _) => "disabled",
            (true, 0) => "no_keys_loaded",
            (true, _) => "active",
        };
        json!({
            "enabled": callers.enabled,
            "valid_keys_count": callers.valid,
            "auth_header": callers.header,
            "system_status": status,
        })
    }

    /// `/auth/metrics`.
    pub fn key_metrics(&self) -> Value {
        let rows = &self.callers.rows;
        let sum = |of: fn(&Caller) -> u64| rows.iter().map(of).sum::<u64>();
        let (requests, successes) = (sum(|row| row.requests), sum(|row| row.successes));
        let metrics = rows.iter().map(|row| {
            let row_metrics = json!({
                "key": row.hint,
                "requests_count": row.requests,
                "success_count": row.successes,
                "error_count": row.requests.saturating_sub(row.successes),
                "success_rate": percent(row.successes, row.requests),
                "first_request": row.seen.0.map(date),
                "last_request": row.seen.1.map(date),
                "prompt_tokens": row.tokens.0,
                "completion_tokens": row.tokens.1,
            });
            (row.name.clone(), row_metrics)
        });
        json!({
            "valid_keys_count": self.callers.valid,
            "total_requests": requests,
            "total_success": successes,
            "total_errors": requests.saturating_sub(successes),
            "success_rate": percent(successes, requests),
            "active_keys": rows.iter().filter(|row| row.requests > 0).count(),
            "keys_metrics": metrics.collect::<Map<_, _>>(),
        })
    }

    /// `/v1/usage`: by type of provider, and of the caller's own keys.
    pub fn usage(&self) -> Value {
        let mut providers: BTreeMap<&str, Vec<&Service>> = BTreeMap::new();
        self.services.iter().for_each(|service| providers.entry(service.kind).or_default().push(service));
        let overview = providers.iter().map(|(kind, services)| ((*kind).to_owned(), overview(services)));
        let details = providers.iter().map(|(kind, services)| ((*kind).to_owned(), details(services)));
        let clients = self.callers.rows.iter().map(|row| {
            let (in_flight, most) = row.in_flight;
            let usage = json!({
                "key": row.hint,
                "requests": row.requests,
                "prompt_tokens": row.tokens.0,
                "completion_tokens": row.tokens.1,
                "in_flight": in_flight,
                "max_concurrent": most,
                "models": row.models,
                "expires": row.expires.map(date),
                "windows": windows(&row.windows),
            });
            (row.name.clone(), usage)
        });
        json!({
            "overview": overview.collect::<Map<_, _>>(),
            "details": details.collect::<Map<_, _>>(),
            "clients": clients.collect::<Map<_, _>>(),
        })
    }

    fn rate_limiting(&self) -> Map<String, Value> {
        self.by_name(|service| {
            let main = service.main();
            let limit = main.requests.limit;
            let period = main.seconds.map_or_else(|| main.label.clone(), |seconds| format!("{seconds}s"));
            let left = limit.map(|limit| limit.saturating_sub(main.requests.current));
            json!({
                "rate_limit": limit.map_or_else(|| "none".to_owned(), |limit| format!("{limit}/{period}")),
                "current_requests": main.requests.current,
                "remaining_quota": left.map_or_else(|| json!("unlimited"), Value::from),
                "is_rate_limited": service.limited_for.is_some(),
                "window_reset_in": service.limited_for.map_or(0.0, |wait| wait.as_secs_f64()),
                "windows": windows(&service.windows),
            })
        })
    }

    fn by_name(&self, of: impl Fn(&Service) -> Value) -> Map<String, Value> {
        self.services.iter().map(|service| (service.name.clone(), of(service))).collect()
    }

    fn counts(&self, service: &Service) -> Counts {
        self.totals.credentials.get(service.name.as_str()).copied().unwrap_or_default()
    }
}

/// Of the services of one type. Their capacity is known only if each of them has a limit.
fn overview(services: &[&Service]) -> Value {
    let windows: Vec<Window> = services.iter().map(|service| service.budget()).collect();
    let used: u64 = windows.iter().map(|window| window.requests.current).sum();
    let capacity: Option<u64> = windows.iter().map(|window| window.requests.limit).sum();
    json!({
        "total_requests": used,
        "total_capacity": capacity,
        "usage_percentage": capacity.map(|capacity| percent(used.min(capacity), capacity)),
    })
}

fn details(services: &[&Service]) -> Value {
    let keys = services.iter().map(|service| {
        let (budget, minute, day) = (service.budget(), service.minute(), service.day());
        let share = budget.requests.limit.map(|limit| percent(budget.requests.current.min(limit), limit));
        let usage = json!({
            "requests": budget.requests.current,
            "usage_percentage": share,
            "rate_limit_windows": {
                "req_min": minute.requests.current,
                "req_day": day.map(|day| day.requests.current),
            },
            "rate_limits": {
                "max_request_min": minute.requests.limit,
                "max_token_min": minute.tokens.limit,
                "max_request_day": day.and_then(|day| day.requests.limit),
            },
        });
        (service.name.clone(), usage)
    });
    let keys: Map<String, Value> = keys.collect();
    // The limits of all where they are the same, as they were in the file of that router.
    let same = |limits: &Value| keys.values().all(|key| key["rate_limits"] == *limits);
    let limits = keys.values().next().map(|key| key["rate_limits"].clone()).filter(same);
    json!({ "keys": keys, "rate_limits": limits })
}

fn windows(windows: &[Window]) -> Value {
    let entry = |window: &Window| {
        let of = |used: Used| json!({ "used": used.current, "limit": used.limit });
        (window.label.clone(), json!({ "requests": of(window.requests), "tokens": of(window.tokens) }))
    };
    windows.iter().map(entry).collect::<Map<_, _>>().into()
}

/// Of a hundred, to two digits; 0 of nothing.
fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        return 0.0;
    }
    (part as f64 * 10_000.0 / whole as f64).round() / 100.0
}

fn date(at: SystemTime) -> String {
    humantime::format_rfc3339_millis(at).to_string()
}

/// Seconds of the Unix epoch.
fn unix(at: SystemTime) -> Option<f64> {
    Some(at.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs_f64())
}

#[cfg(test)]
mod tests;
