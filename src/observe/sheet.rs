//! The page as figures: `/vhealth?format=json` with all of it, `?format=csv` with the table of credentials.
//!
//! The same view that the page is rendered from, chosen and sorted by the same query. `top` reads the JSON as well, and so
//! does `status`.

use std::time::{Duration, SystemTime};

use serde::ser::{SerializeSeq, Serializer};
use serde::Serialize;

use super::query::Query;
use super::recent::{Failure, Lately};
use super::view::{CredentialView, PageView, QuotaView, RouteView, Used, View};

/// Everything, as one JSON object. Times are in seconds where the name says nothing else.
pub fn json(view: &View, query: &Query) -> String {
    let Some(page) = &view.page else { return String::new() };
    let at = |time: SystemTime| humantime::format_rfc3339_millis(time).to_string();
    let sheet = Sheet {
        at: at(page.now),
        status: if view.healthy() { "healthy" } else { "unhealthy" },
        version: view.version,
        instance: &view.instance,
        config: &page.config,
        config_read_at: at(page.read_at),
        reload_failed: page.reload_failed,
        uptime: view.uptime.as_secs(),
        generation: page.generation,
        draining: view.draining,
        in_flight: page.in_flight,
        total: view.credentials.len(),
        available: view.available(),
        banned: view.banned(),
        active_models: view.active_models,
        shared_state: view.state.map(|state| state.mode),
        credentials: Lines { view, places: query.select(view) },
        routes: page.routes.iter().map(Route::of).collect(),
        routes_left_out: page.left_out,
        errors: page.failures.iter().map(Error::of).collect(),
    };
    serde_json::to_string(&sheet).unwrap_or_default()
}

/// The table of credentials (RFC 4180, with a head).
pub fn csv(view: &View, query: &Query) -> String {
    let lines = Lines { view, places: query.select(view) };
    let mut out = String::from(
        "name,type,state,since,reason,next_recovery,rpm,rpm_limit,tpm,tpm_reserved,tpm_limit,in_flight,\
         max_concurrent,latency_p50_ms,latency_p95_ms,first_token_p50_ms,first_token_p95_ms,tokens_per_second,\
         answers,errors,last_error_at,last_error_status,last_error_reason,last_error_request,tier,weight\r\n",
    );
    for line in lines.iter() {
        let error = line.last_error.as_ref();
        let number = |number: Option<u64>| number.map(|number| number.to_string()).unwrap_or_default();
        let cells = [
            line.name.to_owned(),
            line.r#type.to_owned(),
            line.state.to_owned(),
            line.since.clone().unwrap_or_default(),
            line.reason.unwrap_or_default().to_owned(),
            number(line.next_recovery),
            line.rpm.used.to_string(),
            number(line.rpm.limit),
            line.tpm.used.to_string(),
            line.tpm_reserved.to_string(),
            number(line.tpm.limit),
            line.in_flight.to_string(),
            number(line.max_concurrent.map(u64::from)),
            number(line.latency_ms.map(|[median, _]| median)),
            number(line.latency_ms.map(|[_, most]| most)),
            number(line.first_token_ms.map(|[median, _]| median)),
            number(line.first_token_ms.map(|[_, most]| most)),
            line.tokens_per_second.to_string(),
            line.answers.iter().sum::<u32>().to_string(),
            line.errors.iter().sum::<u32>().to_string(),
            error.map(|error| error.at.clone()).unwrap_or_default(),
            number(error.map(|error| error.status.into())),
            error.map_or("", |error| error.reason).to_owned(),
            error.map_or("", |error| error.request_id).to_owned(),
            line.tier.to_string(),
            line.weight.to_string(),
        ];
        let cells: Vec<String> = cells.iter().map(|cell| quoted(cell)).collect();
        out.push_str(&cells.join(","));
        out.push_str("\r\n");
    }
    out
}

/// A cell. What a spreadsheet would take for a formula is made a text.
fn quoted(cell: &str) -> String {
    let guard = if cell.starts_with(['=', '+', '-', '@', '\t', '\r']) { "'" } else { "" };
    if guard.is_empty() && !cell.contains([',', '"', '\n', '\r']) {
        return cell.to_owned();
    }
    format!("\"{guard}{}\"", cell.replace('"', "\"\""))
}

#[derive(Serialize)]
struct Sheet<'v> {
    at: String,
    status: &'static str,
    version: &'static str,
    instance: &'v str,
    config: &'v str,
    config_read_at: String,
    reload_failed: bool,
    uptime: u64,
    generation: u32,
    draining: bool,
    in_flight: usize,
    total: usize,
    available: usize,
    banned: usize,
    active_models: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    shared_state: Option<&'static str>,
    credentials: Lines<'v>,
    routes: Vec<Route<'v>>,
    /// How many models have no entry in `routes`.
    routes_left_out: usize,
    errors: Vec<Error<'v>>,
}

/// The credentials asked for.
struct Lines<'v> {
    view: &'v View,
    places: Vec<usize>,
}

impl<'v> Lines<'v> {
    fn iter(&self) -> impl Iterator<Item = Line<'v>> + use<'_, 'v> {
        let (view, page) = (self.view, self.view.page.as_ref());
        self.places.iter().filter_map(move |at| {
            let lately = page.and_then(|page| page.lately.get(*at));
            Some(Line::of(view.credentials.get(*at)?, lately, page))
        })
    }
}

impl Serialize for Lines<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(Some(self.places.len()))?;
        self.iter().try_for_each(|line| list.serialize_element(&line))?;
        list.end()
    }
}

#[derive(Serialize)]
struct Line<'v> {
    name: &'v str,
    r#type: &'static str,
    is_fallback: bool,
    tier: u16,
    weight: u32,
    state: &'static str,
    since: Option<String>,
    reason: Option<&'v str>,
    next_recovery: Option<u64>,
    strikes: u32,
    rpm: Amount,
    tpm: Amount,
    tpm_reserved: u64,
    /// Over other times than a minute.
    limits: Vec<Limit<'v>>,
    in_flight: u32,
    max_concurrent: Option<u32>,
    /// Median and 95th percentile.
    latency_ms: Option<[u64; 2]>,
    first_token_ms: Option<[u64; 2]>,
    tokens_per_second: f64,
    /// In each five seconds of the last five minutes.
    answers: &'v [u32],
    errors: &'v [u32],
    last_error: Option<Error<'v>>,
}

#[derive(Serialize)]
struct Amount {
    used: u64,
    limit: Option<u64>,
}

impl From<Used> for Amount {
    fn from(Used { current, limit }: Used) -> Self {
        Self { used: current, limit }
    }
}

#[derive(Serialize)]
struct Limit<'v> {
    of: &'static str,
    per: &'v str,
    used: u64,
    limit: u64,
    /// Until it begins anew; none for one that rolls.
    resets: Option<u64>,
}

impl<'v> Limit<'v> {
    fn of(quota: &'v QuotaView) -> Self {
        let QuotaView { of, per, current, limit, resets } = quota;
        let resets = resets.map(|left| left.as_millis().div_ceil(1000) as u64);
        Self { of, per, used: *current, limit: *limit, resets }
    }
}

impl<'v> Line<'v> {
    fn of(credential: &'v CredentialView, lately: Option<&'v Lately>, page: Option<&PageView>) -> Self {
        let standing = &credential.standing;
        let since = page.zip(standing.since).and_then(|(page, since)| page.now.checked_sub(since));
        let ms = |times: Option<(Duration, Duration)>| {
            times.map(|(median, most)| [median, most].map(|time| time.as_millis() as u64))
        };
        Self {
            name: &credential.name,
            r#type: credential.kind,
            is_fallback: credential.is_fallback,
            tier: credential.tier,
            weight: credential.weight,
            state: credential.state(),
            since: since.map(|at| humantime::format_rfc3339_seconds(at).to_string()),
            reason: standing.reason.as_deref(),
            next_recovery: standing.next_recovery.map(|left| left.as_millis().div_ceil(1000) as u64),
            strikes: standing.strikes,
            rpm: credential.rpm.into(),
            tpm: credential.tpm.into(),
            tpm_reserved: credential.reserved,
            limits: credential.quotas.iter().map(Limit::of).collect(),
            in_flight: credential.in_flight,
            max_concurrent: credential.max_concurrent,
            latency_ms: ms(lately.and_then(|lately| lately.latency)),
            first_token_ms: ms(lately.and_then(|lately| lately.first_token)),
            tokens_per_second: lately.map_or(0.0, |lately| lately.tokens_per_second),
            answers: lately.map_or(&[], |lately| &lately.answers),
            errors: lately.map_or(&[], |lately| &lately.errors),
            last_error: lately.and_then(|lately| lately.last_error.as_ref()).map(Error::of),
        }
    }
}

#[derive(Serialize)]
struct Error<'v> {
    at: String,
    request_id: &'v str,
    endpoint: &'static str,
    model: Option<&'v str>,
    credential: Option<&'v str>,
    status: u16,
    reason: &'static str,
}

impl<'v> Error<'v> {
    fn of(failure: &'v Failure) -> Self {
        Self {
            at: humantime::format_rfc3339_millis(failure.at).to_string(),
            request_id: &failure.request_id,
            endpoint: failure.endpoint,
            model: failure.model.as_deref(),
            credential: failure.credential.as_deref(),
            status: failure.status,
            reason: failure.reason,
        }
    }
}

#[derive(Serialize)]
struct Route<'v> {
    model: &'v str,
    order: Vec<Turn<'v>>,
    others: Vec<Others<'v>>,
}

#[derive(Serialize)]
struct Turn<'v> {
    credential: &'v str,
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<&'v str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    remark: Option<&'v str>,
}

#[derive(Serialize)]
struct Others<'v> {
    reason: &'v str,
    credentials: Vec<&'v str>,
}

impl<'v> Route<'v> {
    fn of(route: &'v RouteView) -> Self {
        let turns = route.order.iter().map(|turn| Turn {
            credential: &turn.credential,
            model: turn.fallback.as_deref(),
            remark: turn.remark.as_deref(),
        });
        let others = route.others.iter().map(|(reason, names)| Others {
            reason,
            credentials: names.iter().map(|name| &**name).collect(),
        });
        Self { model: &route.model, order: turns.collect(), others: others.collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::super::view::samples::{view, watched};
    use super::*;
    use serde_json::Value;

    fn read(query: &str) -> Value {
        serde_json::from_str(&json(&watched(), &Query::read(Some(query), ""))).unwrap()
    }

    #[test]
    fn the_json_has_all_that_the_page_shows() {
        let sheet = read("");
        assert_eq!(
            (&sheet["status"], &sheet["config"], &sheet["total"]),
            (&"healthy".into(), &"0123456789ab".into(), &3.into())
        );
        let main = &sheet["credentials"][0];
        assert_eq!((main["name"].as_str(), main["tpm_reserved"].as_u64()), (Some("main"), Some(300)));
        assert_eq!(main["latency_ms"], serde_json::json!([120, 900]));
        let spare = &sheet["credentials"][1];
        assert_eq!((spare["state"].as_str(), spare["next_recovery"].as_u64()), (Some("banned"), Some(12)));
        assert_eq!(spare["last_error"]["request_id"], "req_7");
        assert_eq!(sheet["routes"][0]["order"][0]["credential"], "main");
        assert_eq!(sheet["errors"][0]["reason"], "status");
    }

    #[test]
    fn the_query_chooses_and_sorts() {
        let names: Vec<_> = read("sort=name&turned=1")["credentials"]
            .as_array()
            .unwrap()
            .iter()
            .map(|c| c["name"].clone())
            .collect();
        assert_eq!(names, ["spare", "peer", "main"]);
        assert_eq!(read("q=spare")["credentials"].as_array().unwrap().len(), 1);
    }

    #[test]
    fn a_table_has_a_line_for_each_and_as_many_cells_as_its_head() {
        let text = csv(&watched(), &Query::default());
        let lines: Vec<&str> = text.split_terminator("\r\n").collect();
        assert_eq!(lines.len(), 4);
        assert!(lines.iter().all(|line| line.split(',').count() == 26), "{text}");
        assert!(lines[2].starts_with("spare,openai,banned,2026-"), "{}", lines[2]);
    }

    #[test]
    fn no_cell_is_a_formula_or_breaks_its_line() {
        let mut odd = view();
        odd.credentials.truncate(1);
        odd.credentials[0].name = "=cmd(\"a\",1)".into();
        let text = csv(&odd, &Query::default());
        assert!(text.contains("\r\n\"'=cmd(\"\"a\"\",1)\",openai,"), "{text}");
    }
}
