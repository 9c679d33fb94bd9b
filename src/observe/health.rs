//! The text of `/health`: the bare status for everyone, the details for those who may see names.
//!
//! The details are what chained routers read of each other, so the fields of the first generation keep their names,
//! types and meaning (-1 = no limit): `status`, `credentials_available`, `credentials_banned`, `total_credentials`,
//! `credentials`, `models`. All others are additions. A credential that is a router has `peer` besides: what that one
//! said of itself, with the credentials that it has, and so on for the routers behind it.

use std::time::Duration;

use serde::ser::{SerializeMap, Serializer};
use serde::Serialize;

use super::chain::PeerEntry;
use super::view::{CredentialView, ModelView, QueueView, QuotaView, Standing, Used, VendorView, View};

/// HTTP status of `/health`: 200 while anything can be served, else 503.
pub fn status(view: &View) -> u16 {
    if view.healthy() {
        200
    } else {
        503
    }
}

/// `{"status":"healthy"}`, for callers without a key.
pub fn bare(view: &View) -> String {
    format!(r#"{{"status":"{}"}}"#, word(view))
}

/// Everything, as one JSON object.
pub fn details(view: &View) -> String {
    let document = Document {
        status: word(view),
        credentials_available: view.available(),
        credentials_banned: view.banned(),
        total_credentials: view.credentials.len(),
        credentials: Credentials(view),
        models: Models(view),
        queue: view.queue.as_ref().map(QueueEntry::new),
        details: Details { vendors: Vendors(&view.vendors) },
        process: Process::new(view),
    };
    serde_json::to_string(&document).unwrap_or_else(|_| bare(view))
}

/// `/trace`: this router and all behind it, with ages, versions and limits, and without models.
pub fn trace(view: &View) -> String {
    let document = Trace { status: word(view), process: Process::new(view), credentials: Credentials(view) };
    serde_json::to_string(&document).unwrap_or_else(|_| bare(view))
}

fn word(view: &View) -> &'static str {
    if view.healthy() {
        "healthy"
    } else {
        "unhealthy"
    }
}

#[derive(Serialize)]
struct Document<'v> {
    status: &'static str,
    credentials_available: usize,
    credentials_banned: usize,
    total_credentials: usize,
    credentials: Credentials<'v>,
    models: Models<'v>,
    #[serde(skip_serializing_if = "Option::is_none")]
    queue: Option<QueueEntry>,
    details: Details<'v>,
    #[serde(flatten)]
    process: Process<'v>,
}

/// As another router before this one had them.
#[derive(Serialize)]
struct Details<'v> {
    vendors: Vendors<'v>,
}

/// By type: what was last known of whether they can be reached. Nothing is asked for it.
struct Vendors<'v>(&'v [VendorView]);

#[derive(Serialize)]
struct VendorEntry {
    status: &'static str,
    credentials: usize,
    available: usize,
}

impl Serialize for Vendors<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let entry = |vendor: &VendorView| {
            let VendorView { kind, credentials, available, .. } = *vendor;
            (kind, VendorEntry { status: vendor.status(), credentials, available })
        };
        serializer.collect_map(self.0.iter().map(entry))
    }
}

#[derive(Serialize)]
struct Trace<'v> {
    status: &'static str,
    #[serde(flatten)]
    process: Process<'v>,
    credentials: Credentials<'v>,
}

#[derive(Serialize)]
struct Process<'v> {
    instance: &'v str,
    version: &'static str,
    uptime_seconds: u64,
    draining: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<StateEntry>,
}

/// What is shared with other routers.
#[derive(Serialize)]
struct StateEntry {
    mode: &'static str,
    up: bool,
    routers: u32,
    /// Seconds that it has been up or out.
    since: u64,
    outages: u64,
}

impl<'v> Process<'v> {
    fn new(view: &'v View) -> Self {
        let uptime_seconds = view.uptime.as_secs();
        let state = view.state.map(|state| StateEntry {
            mode: state.mode,
            up: state.up,
            routers: state.routers,
            since: state.since.as_secs(),
            outages: state.outages,
        });
        let View { instance, version, draining, .. } = view;
        Self { instance, version, uptime_seconds, draining: *draining, state }
    }
}

/// By name.
struct Credentials<'v>(&'v View);

impl Serialize for Credentials<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let entries = &self.0.credentials;
        serializer.collect_map(
            entries.iter().map(|credential| (&credential.name, CredentialEntry::new(credential))),
        )
    }
}

/// By `credential:model`.
struct Models<'v>(&'v View);

impl Serialize for Models<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for credential in &self.0.credentials {
            for model in &credential.models {
                let key = format!("{}:{}", credential.name, model.model);
                map.serialize_entry(&key, &ModelEntry::new(&credential.name, model))?;
            }
        }
        map.end()
    }
}

#[derive(Serialize)]
struct CredentialEntry<'v> {
    #[serde(rename = "type")]
    kind: &'static str,
    is_fallback: bool,
    #[serde(flatten)]
    use_of_limits: UseOfLimits,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    limits: Vec<LimitEntry<'v>>,
    weight: u32,
    tier: u16,
    in_flight: u32,
    #[serde(flatten)]
    standing: StandingEntry<'v>,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer: Option<PeerEntry<'v>>,
}

impl<'v> CredentialEntry<'v> {
    fn new(credential: &'v CredentialView) -> Self {
        Self {
            kind: credential.kind,
            is_fallback: credential.is_fallback,
            use_of_limits: UseOfLimits::new(credential.rpm, credential.tpm),
            limits: credential.quotas.iter().map(LimitEntry::new).collect(),
            weight: credential.weight,
            tier: credential.tier,
            in_flight: credential.in_flight,
            standing: StandingEntry::new(credential.banned, &credential.standing),
            peer: credential.peer.as_ref().map(PeerEntry::new),
        }
    }
}

#[derive(Serialize)]
struct ModelEntry<'v> {
    credential: &'v str,
    model: &'v str,
    #[serde(flatten)]
    use_of_limits: UseOfLimits,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    limits: Vec<LimitEntry<'v>>,
    #[serde(flatten)]
    standing: StandingEntry<'v>,
}

impl<'v> ModelEntry<'v> {
    fn new(credential: &'v str, model: &'v ModelView) -> Self {
        Self {
            credential,
            model: &model.model,
            use_of_limits: UseOfLimits::new(model.rpm, model.tpm),
            limits: model.quotas.iter().map(LimitEntry::new).collect(),
            standing: StandingEntry::new(model.banned, &model.standing),
        }
    }
}

/// A limit over another time than a minute.
#[derive(Serialize)]
struct LimitEntry<'v> {
    of: &'static str,
    per: &'v str,
    current: u64,
    limit: u64,
    /// In seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    resets_in: Option<u64>,
}

impl<'v> LimitEntry<'v> {
    fn new(quota: &'v QuotaView) -> Self {
        let QuotaView { of, per, current, limit, resets } = quota;
        let seconds = |left: &Duration| left.as_secs() + u64::from(left.subsec_nanos() > 0);
        Self { of, per, current: *current, limit: *limit, resets_in: resets.as_ref().map(seconds) }
    }
}

/// Those who wait for a limit.
#[derive(Serialize)]
struct QueueEntry {
    waiting: usize,
    /// How long the first one has waited, in seconds.
    oldest: Option<u64>,
    given_up: u64,
    refused: u64,
}

impl QueueEntry {
    fn new(queue: &QueueView) -> Self {
        Self {
            waiting: queue.waiting.iter().map(|(_, count)| count).sum(),
            oldest: queue.oldest.map(|oldest| oldest.as_secs()),
            given_up: queue.given_up,
            refused: queue.refused,
        }
    }
}

/// The members that tell use and limits.
#[derive(Serialize)]
pub(super) struct UseOfLimits {
    current_rpm: u64,
    current_tpm: u64,
    limit_rpm: i64,
    limit_tpm: i64,
}

impl UseOfLimits {
    pub(super) fn new(rpm: Used, tpm: Used) -> Self {
        let limit = |used: Used| used.limit.map_or(-1, |limit| i64::try_from(limit).unwrap_or(i64::MAX));
        Self {
            current_rpm: rpm.current,
            current_tpm: tpm.current,
            limit_rpm: limit(rpm),
            limit_tpm: limit(tpm),
        }
    }
}

#[derive(Serialize)]
struct StandingEntry<'v> {
    is_banned: bool,
    state: &'static str,
    reason: Option<&'v str>,
    strikes: u32,
    /// Seconds, rounded up, so that 0 never stands for a time to come.
    next_recovery: Option<u64>,
}

impl<'v> StandingEntry<'v> {
    fn new(is_banned: bool, standing: &'v Standing) -> Self {
        Self {
            is_banned,
            state: standing.state.as_str(),
            reason: standing.reason.as_deref(),
            strikes: standing.strikes,
            next_recovery: standing.next_recovery.map(|left| left.as_millis().div_ceil(1000) as u64),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::view::samples::{banned, view};
    use super::super::view::StateView;
    use super::*;
    use serde_json::{json, Value};

    #[test]
    fn details_have_the_first_generation_fields_and_ours() {
        let read: Value = serde_json::from_str(&details(&view())).unwrap();
        assert_eq!(read["status"], "healthy");
        assert_eq!(read["credentials_available"], 2);
        assert_eq!(read["credentials_banned"], 1);
        assert_eq!(read["total_credentials"], 3);
        assert_eq!(
            read["credentials"]["spare"],
            json!({"type": "openai", "is_fallback": false, "current_rpm": 7, "current_tpm": 900, "limit_rpm": 10,
                   "limit_tpm": -1, "weight": 1, "tier": 0, "in_flight": 2, "is_banned": true, "state": "banned",
                   "limits": [{"of": "requests", "per": "day", "current": 12, "limit": 1500, "resets_in": 3601}],
                   "reason": "3 x 500", "strikes": 3, "next_recovery": 12})
        );
        assert_eq!(
            read["models"]["main:gpt-5"],
            json!({"credential": "main", "model": "gpt-5", "current_rpm": 7, "current_tpm": 900, "limit_rpm": -1,
                   "limit_tpm": 1000, "is_banned": false, "state": "available", "reason": null, "strikes": 0,
                   "limits": [{"of": "tokens", "per": "hour", "current": 900, "limit": 5000}], "next_recovery": null})
        );
        assert_eq!(read["credentials"]["peer"]["type"], "proxy");
        assert_eq!(read["instance"], "0123456789abcdef");
    }

    #[test]
    fn vendors_are_up_down_or_in_between() {
        let read: Value = serde_json::from_str(&details(&view())).unwrap();
        let openai = json!({"status": "degraded", "credentials": 2, "available": 1});
        assert_eq!(read["details"], json!({"vendors": {"openai": openai}}));
        let status =
            |available, answered| VendorView { kind: "gemini", credentials: 2, available, answered }.status();
        assert_eq!((status(2, Some(true)), status(0, Some(true))), ("up", "down"));
        assert_eq!(
            (status(2, Some(false)), status(1, Some(true)), status(2, None)),
            ("down", "degraded", "unknown")
        );
    }

    #[test]
    fn a_router_behind_this_one_is_told_with_all_behind_it() {
        let expected = json!({
            "state": "fresh", "age_seconds": 5, "instance": "p", "version": "<0.9>", "uptime_seconds": 60,
            "draining": false, "status": "healthy", "credentials": {
                "main": {"type": "openai", "is_fallback": false, "is_banned": false, "current_rpm": 3,
                         "current_tpm": 0, "limit_rpm": 50, "limit_tpm": -1},
                "far": {"type": "proxy", "is_fallback": true, "is_banned": true, "current_rpm": 0,
                        "current_tpm": 0, "limit_rpm": -1, "limit_tpm": -1,
                        "peer": {"state": "stale", "age_seconds": 35, "instance": "q", "version": null,
                                 "uptime_seconds": null, "draining": false, "status": "healthy",
                                 "credentials": {}}}}});
        for text in [details(&view()), trace(&view())] {
            let read: Value = serde_json::from_str(&text).unwrap();
            assert_eq!(read["credentials"]["peer"]["peer"], expected);
        }
    }

    #[test]
    fn what_is_told_can_be_read_by_the_router_in_front() {
        let read =
            crate::providers::peer_health::PeerHealth::read(details(&view()).as_bytes(), "front").unwrap();
        assert_eq!(read.instance.as_deref(), Some("0123456789abcdef"));
        let peer = read.credentials["peer"].peer.as_ref().expect("the router behind");
        assert_eq!((peer.age, peer.health.version.as_deref()), (Some(Duration::from_secs(5)), Some("<0.9>")));
        assert!(peer.health.credentials["far"].peer.is_some());
        assert_eq!(
            read.load().unwrap().rpm.limit,
            Some(10),
            "of main alone: spare is banned, peer a fallback"
        );
    }

    #[test]
    fn the_shared_state_is_shown_where_there_is_one() {
        let read = |view: &View| serde_json::from_str::<Value>(&details(view)).unwrap()["state"].clone();
        assert_eq!(read(&view()), Value::Null);
        let since = std::time::Duration::from_millis(61_900);
        let state = StateView { mode: "local_share", up: false, routers: 4, since, outages: 2 };
        assert_eq!(
            read(&View { state: Some(state), ..view() }),
            json!({"mode": "local_share", "up": false, "routers": 4, "since": 61, "outages": 2})
        );
    }

    #[test]
    fn those_who_wait_are_counted_where_anybody_may() {
        let read = |view: &View| serde_json::from_str::<Value>(&details(view)).unwrap()["queue"].clone();
        assert_eq!(read(&view()), Value::Null);
        let queue = QueueView {
            waiting: vec![("high", 1), ("normal", 4), ("low", 0)],
            oldest: Some(Duration::from_millis(2900)),
            given_up: 3,
            refused: 2,
        };
        let expected = json!({"waiting": 5, "oldest": 2, "given_up": 3, "refused": 2});
        assert_eq!(read(&View { queue: Some(queue), ..view() }), expected);
    }

    #[test]
    fn the_bare_status_names_nobody() {
        assert_eq!(bare(&view()), r#"{"status":"healthy"}"#);
    }

    #[test]
    fn a_router_with_nothing_but_bans_is_unhealthy() {
        let down = View { credentials: vec![banned("a"), banned("b")], ..view() };
        assert_eq!((status(&down), bare(&down)), (503, r#"{"status":"unhealthy"}"#.to_owned()));
        assert_eq!(status(&view()), 200);
    }

    #[test]
    fn names_of_any_kind_stay_valid_json() {
        let mut odd = view();
        odd.credentials[0].name = "a\"b:\\\u{7f}é".into();
        assert!(serde_json::from_str::<Value>(&details(&odd)).unwrap()["credentials"]["a\"b:\\\u{7f}é"]
            .is_object());
    }
}
