//! What another router says of itself at `/health`, as far as it concerns who asks it for work.
//!
//! Read member by member, because routers of all ages answer: the first generation has limits and use alone, later ones
//! say who is banned, who is a fallback and whether they are about to leave, and ours what they know of the routers
//! behind them. A member that is missing or of another type says nothing; nothing in an answer is an error. Limits are
//! summed over the credentials that can serve: one without a limit makes the sum unlimited, and banned ones add nothing.
//! A peer's fallbacks count when none of its others is left, since that is when they serve. Use is summed over the same
//! credentials, each once; a sum is a number, so that a million tokens cost what ten do.
//! Source of the first generation's members: its own `/health`; -1 is no limit.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value};

/// Routers behind routers are looked at so deep.
pub const MOST_DEPTH: usize = 10;
/// So many routers are kept of one answer, the nearest first.
const MOST_ROUTERS: usize = 200;
/// So many credentials and models are kept of each.
const MOST_ENTRIES: usize = 10_000;
/// A longer text is none of the names and versions that are meant.
const MOST_TEXT: usize = 256;

/// What a router says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerHealth {
    /// Names the running process; only routers of our kind have one.
    pub instance: Option<String>,
    /// Of its program.
    pub version: Option<String>,
    /// Since its start.
    pub uptime: Option<Duration>,
    /// It is about to leave.
    pub draining: bool,
    /// It can serve nothing.
    pub unhealthy: bool,
    /// By name; empty where it tells no details.
    pub credentials: BTreeMap<String, Credential>,
    /// Models that it has figures of, summed over its credentials.
    pub models: BTreeMap<String, Load>,
}

/// One of its credentials.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Credential {
    /// Its `type`.
    pub kind: String,
    /// Serves when no other can.
    pub is_fallback: bool,
    /// Takes nothing now.
    pub is_banned: bool,
    /// Use and limits.
    pub load: Load,
    /// The router behind it.
    pub peer: Option<Box<Behind>>,
}

/// A router behind a router.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Behind {
    /// `fresh`, `stale`, `down`, `draining`: the word of who asks it.
    pub state: String,
    /// When it last answered, seen from the moment of this answer.
    pub age: Option<Duration>,
    /// What it said then.
    pub health: PeerHealth,
}

/// Use and limits of a minute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Requests.
    pub rpm: Figure,
    /// Tokens.
    pub tpm: Figure,
}

/// Use of one limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figure {
    /// In the last minute.
    pub used: u64,
    /// None is unlimited.
    pub limit: Option<u64>,
}

impl PeerHealth {
    /// Reads an answer. `own` names who reads: what it says of us, and of anybody twice in one line, is left out, so
    /// that routers which know one another do not mirror one another. None if it is no JSON object.
    pub fn read(body: &[u8], own: &str) -> Option<Self> {
        let value: Value = serde_json::from_slice(body).ok()?;
        let mut reader = Reader { line: vec![own.to_owned()], depth: 0, left: MOST_ROUTERS };
        reader.router(value.as_object()?)
    }

    /// Use and limits of all its credentials that can serve; none where it tells no details, or where none can.
    pub fn load(&self) -> Option<Load> {
        let serving = |fallbacks: bool| {
            let able = self.credentials.values().filter(|credential| !credential.is_banned);
            able.filter(move |credential| credential.is_fallback == fallbacks)
                .map(|credential| credential.load)
        };
        serving(false).reduce(Load::plus).or_else(|| serving(true).reduce(Load::plus))
    }

    /// Whether its own figures say that it would refuse a request now.
    pub fn is_full(&self) -> bool {
        self.load().is_some_and(|load| load.rpm.is_full() || load.tpm.is_full())
    }
}

impl Load {
    /// Both together.
    fn plus(self, other: Self) -> Self {
        Self { rpm: self.rpm.plus(other.rpm), tpm: self.tpm.plus(other.tpm) }
    }
}

impl Figure {
    fn plus(self, other: Self) -> Self {
        let limit = self.limit.zip(other.limit).map(|(one, other)| one.saturating_add(other));
        Self { used: self.used.saturating_add(other.used), limit }
    }

    fn is_full(self) -> bool {
        self.limit.is_some_and(|limit| self.used >= limit)
    }
}

struct Reader {
    /// The instances from us to the one being read.
    line: Vec<String>,
    depth: usize,
    /// How many more routers are kept.
    left: usize,
}

impl Reader {
    /// A `/health`, or what one has under `peer`. None if it is a router that stands in the line already.
    fn router(&mut self, of: &Map<String, Value>) -> Option<PeerHealth> {
        let instance = text(of, "instance");
        if instance.as_ref().is_some_and(|instance| self.line.contains(instance)) {
            return None;
        }
        self.left = self.left.checked_sub(1)?;
        self.line.extend(instance.clone());
        self.depth += 1;
        let health = PeerHealth {
            version: text(of, "version"),
            uptime: seconds(of, "uptime_seconds"),
            draining: is(of, "draining"),
            unhealthy: of.get("status").and_then(Value::as_str) == Some("unhealthy"),
            credentials: entries(of, "credentials")
                .map(|(name, credential)| (name.clone(), self.credential(credential)))
                .collect(),
            models: models(of),
            instance,
        };
        if health.instance.is_some() {
            self.line.pop();
        }
        self.depth -= 1;
        Some(health)
    }

    fn credential(&mut self, of: &Map<String, Value>) -> Credential {
        let behind = of.get("peer").and_then(Value::as_object).filter(|_| self.depth < MOST_DEPTH);
        Credential {
            kind: text(of, "type").unwrap_or_default(),
            is_fallback: is(of, "is_fallback"),
            is_banned: is(of, "is_banned"),
            load: load(of),
            peer: behind.and_then(|behind| {
                let (state, age) =
                    (text(behind, "state").unwrap_or_default(), seconds(behind, "age_seconds"));
                Some(Box::new(Behind { state, age, health: self.router(behind)? }))
            }),
        }
    }
}

/// By name; a model of several credentials has the sum of what can serve it.
fn models(of: &Map<String, Value>) -> BTreeMap<String, Load> {
    let mut models: BTreeMap<String, Load> = BTreeMap::new();
    for (_, entry) in entries(of, "models").filter(|(_, entry)| !is(entry, "is_banned")) {
        if let Some(name) = text(entry, "model") {
            let load = load(entry);
            models.entry(name).and_modify(|sum| *sum = sum.plus(load)).or_insert(load);
        }
    }
    models
}

fn entries<'v>(
    of: &'v Map<String, Value>,
    key: &str,
) -> impl Iterator<Item = (&'v String, &'v Map<String, Value>)> {
    let entries = of.get(key).and_then(Value::as_object).into_iter().flatten();
    entries
        .filter_map(|(name, entry)| Some((name, entry.as_object()?)))
        .filter(|(name, _)| name.len() <= 2 * MOST_TEXT)
        .take(MOST_ENTRIES)
}

fn load(of: &Map<String, Value>) -> Load {
    let figure = |used: &str, limit: &str| Figure {
        used: of.get(used).and_then(Value::as_u64).unwrap_or(0),
        limit: of.get(limit).and_then(Value::as_u64),
    };
    Load { rpm: figure("current_rpm", "limit_rpm"), tpm: figure("current_tpm", "limit_tpm") }
}

fn text(of: &Map<String, Value>, key: &str) -> Option<String> {
    of.get(key)?.as_str().filter(|text| text.len() <= MOST_TEXT).map(str::to_owned)
}

fn seconds(of: &Map<String, Value>, key: &str) -> Option<Duration> {
    of.get(key).and_then(Value::as_u64).map(Duration::from_secs)
}

fn is(of: &Map<String, Value>, key: &str) -> bool {
    of.get(key).and_then(Value::as_bool).unwrap_or(false)
}

#[cfg(test)]
mod tests;
