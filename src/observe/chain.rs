//! Routers behind routers, for `/health`, `/trace` and the page: what each said of itself, with its age.
//!
//! An age grows on the way: what a peer knew of a third router when we asked it is as old as both looks together. In the
//! JSON a router behind has the members that `/health` itself has, so that the one in front reads both alike.

use std::time::Duration;

use askama::Template;
use serde::ser::{SerializeStruct, Serializer};
use serde::Serialize;

use super::health::UseOfLimits;
use super::view::{CredentialView, PeerView, Used};
use crate::providers::peer_health::{Behind, Credential, Figure, PeerHealth};

/// One router as the members of a `peer`.
pub(super) struct PeerEntry<'v> {
    state: &'v str,
    age: Option<Duration>,
    health: &'v PeerHealth,
}

impl<'v> PeerEntry<'v> {
    pub(super) fn new(peer: &'v PeerView) -> Self {
        Self { state: peer.state.as_str(), age: peer.age, health: &peer.health }
    }

    /// The router behind one of its credentials.
    fn behind(&self, behind: &'v Behind) -> Self {
        let age = behind.age.zip(self.age).map(|(then, since)| then.saturating_add(since));
        Self { state: &behind.state, age, health: &behind.health }
    }
}

impl Serialize for PeerEntry<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut entry = serializer.serialize_struct("Peer", 8)?;
        entry.serialize_field("state", self.state)?;
        entry.serialize_field("age_seconds", &self.age.map(|age| age.as_secs()))?;
        entry.serialize_field("instance", &self.health.instance)?;
        entry.serialize_field("version", &self.health.version)?;
        entry.serialize_field("uptime_seconds", &self.health.uptime.map(|uptime| uptime.as_secs()))?;
        entry.serialize_field("draining", &self.health.draining)?;
        entry.serialize_field("status", if self.health.unhealthy { "unhealthy" } else { "healthy" })?;
        entry.serialize_field("credentials", &Credentials(self))?;
        entry.end()
    }
}

/// By name.
struct Credentials<'v>(&'v PeerEntry<'v>);

impl Serialize for Credentials<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let entries = self.0.health.credentials.iter();
        serializer
            .collect_map(entries.map(|(name, credential)| (name, CredentialEntry::new(self.0, credential))))
    }
}

#[derive(Serialize)]
struct CredentialEntry<'v> {
    #[serde(rename = "type")]
    kind: &'v str,
    is_fallback: bool,
    is_banned: bool,
    #[serde(flatten)]
    use_of_limits: UseOfLimits,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer: Option<PeerEntry<'v>>,
}

impl<'v> CredentialEntry<'v> {
    fn new(of: &PeerEntry<'v>, credential: &'v Credential) -> Self {
        Self {
            kind: &credential.kind,
            is_fallback: credential.is_fallback,
            is_banned: credential.is_banned,
            use_of_limits: UseOfLimits::new(used(credential.load.rpm), used(credential.load.tpm)),
            peer: credential.peer.as_deref().map(|behind| of.behind(behind)),
        }
    }
}

fn used(figure: Figure) -> Used {
    Used { current: figure.used, limit: figure.limit }
}

/// The list of the page: each router with those behind it as a list inside.
#[derive(Template)]
#[template(path = "chain.html", config = "src/observe/askama.toml")]
pub(super) struct Chain<'v>(Vec<Link<'v>>);

struct Link<'v> {
    name: &'v str,
    state: &'v str,
    class: &'static str,
    age: Option<u64>,
    version: &'v str,
    rpm: String,
    tpm: String,
    credentials: usize,
    behind: Chain<'v>,
}

impl<'v> Chain<'v> {
    /// The routers behind this one.
    pub(super) fn of(credentials: &'v [CredentialView]) -> Self {
        let peers =
            credentials.iter().filter_map(|credential| Some((&credential.name, credential.peer.as_ref()?)));
        Self(peers.map(|(name, peer)| Link::new(name, &PeerEntry::new(peer))).collect())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<'v> Link<'v> {
    fn new(name: &'v str, peer: &PeerEntry<'v>) -> Self {
        let load = peer.health.load().unwrap_or_default();
        let behind = peer.health.credentials.iter();
        let behind = behind.filter_map(|(name, credential)| Some((name, credential.peer.as_deref()?)));
        Self {
            name,
            state: peer.state,
            class: match peer.state {
                "fresh" => "up",
                "down" => "down",
                _ => "wait",
            },
            age: peer.age.map(|age| age.as_secs()),
            version: peer.health.version.as_deref().unwrap_or("unknown"),
            rpm: share(load.rpm),
            tpm: share(load.tpm),
            credentials: peer.health.credentials.len(),
            behind: Chain(behind.map(|(name, behind)| Link::new(name, &peer.behind(behind))).collect()),
        }
    }
}

fn share(figure: Figure) -> String {
    match figure.limit {
        Some(limit) => format!("{} / {limit}", figure.used),
        None => format!("{} / ∞", figure.used),
    }
}
