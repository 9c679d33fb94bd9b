//! Everything that configuration decides, assembled once: the pool of candidates, and for each credential what it
//! takes to dial it and to dress a request for it (`upstream`).

mod memory;
mod peer;
mod upstream;
mod vendors;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use http::header::HeaderName;
use ring::digest::{Context, SHA256};

use crate::clients::Roster;
use crate::config::{Credential, Fail2ban, Settings, Term};
use crate::edge::addresses::{self, AddressSet};
use crate::edge::pins::Pinboard;
use crate::edge::random::{unguessable, Random};
use crate::edge::token::Token;
use crate::hex::hex;
use crate::llm::endpoint::Endpoint;
use crate::llm::scrub::Scrubber;
use crate::providers::chained;
use crate::routing::{
    self, BanPolicy, Binding, Blueprint, CredentialSpec, ModelSpec, Outlook, Pool, Transition,
};
use crate::secret::Secret;
use crate::shared::Fleet;

pub use memory::{Learned, Memory};
pub use peer::{Peer, Seen};
pub use upstream::{Authorization, Dress, Upstream};
pub use vendors::Vendors;

/// Names the routers that a request has passed.
pub const HOPS: HeaderName = HeaderName::from_static(chained::HOPS);
/// Says which trace a request is a part of, and whose child (W3C Trace Context).
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// What others want to know of the same trace.
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// One assembled configuration.
pub struct Gateway {
    /// As checked.
    pub settings: Settings,
    /// Who may ask.
    pub roster: Roster,
    /// Who can serve, and who may right now.
    pub pool: Pool,
    /// What outlasts it.
    pub memory: Arc<Memory>,
    /// The routers that the limits hold over; none if they hold here alone.
    pub fleet: Option<Arc<Fleet>>,
    /// Who is meant by a vendor.
    pub vendors: Vendors,
    /// What keys of conversations are made with: the same in all routers with the same master key.
    pub salt: [u8; 32],
    /// Takes secrets out of what upstreams say.
    pub scrubber: Scrubber,
    /// This instance's name in the hop header.
    pub hop: String,
    /// The address sets, each once.
    pub addresses: Vec<Arc<AddressSet>>,
    /// When the first configuration of this process was assembled.
    pub started: Instant,
    upstreams: Vec<Upstream>,
    /// Those of the upstreams that sign in by a service account.
    tokens: Vec<Arc<Token>>,
}

/// Why a request that names ids can go nowhere.
pub enum Unpinnable {
    /// They belong to a credential that the configuration has no longer.
    Gone(String),
    /// They belong to two credentials.
    Torn(String, String),
}

impl Gateway {
    /// Assembles the first configuration of a process. `pins` is what an earlier run has left.
    pub fn assemble(settings: Settings, pins: Pinboard) -> Arc<Self> {
        let hop = format!("{:016x}", Random::next());
        let fleet = settings.state.shared.clone().map(|shared| Fleet::new(shared, hop.clone()));
        Self::build(settings, (Memory::new(pins), fleet), hop, None)
    }

    /// Assembles another configuration. What both have in common goes on: addresses, access tokens, what was learned.
    pub fn reassemble(&self, settings: Settings) -> Arc<Self> {
        Self::build(settings, (self.memory.clone(), self.fleet.clone()), self.hop.clone(), Some(self))
    }

    /// `lasting` is what outlasts a configuration.
    fn build(
        settings: Settings,
        lasting: (Arc<Memory>, Option<Arc<Fleet>>),
        hop: String,
        before: Option<&Self>,
    ) -> Arc<Self> {
        let (memory, fleet) = lasting;
        let known = before.iter().flat_map(|before| &before.addresses);
        let known: HashMap<_, _> = known.map(|set| (set.route().clone(), set.clone())).collect();
        let mut sets: HashMap<addresses::Route, Arc<AddressSet>> = HashMap::new();
        let mut addresses = Vec::new();
        let mut upstreams = Vec::new();
        for credential in &settings.credentials {
            let set = sets.entry(route(credential)).or_insert_with_key(|route| {
                let set = known.get(route).cloned().unwrap_or_else(|| AddressSet::new(route.clone()));
                addresses.push(set.clone());
                set
            });
            let token = before.and_then(|before| before.token_of(credential));
            upstreams.push(Upstream::new(credential, set.clone(), token));
        }
        let nameless = before.filter(|before| before.settings.server.master_key.is_none());
        let spare = nameless.map_or_else(unguessable, |before| before.roster.master().clone());
        let roster = Roster::new(&settings, spare, before.map(|before| &before.roster), Instant::now());
        let pool = Pool::new(blueprint(&settings));
        pool.pair(Instant::now(), SystemTime::now());
        if let Some(fleet) = &fleet {
            pool.join(fleet.among());
        }
        let secrets = settings.credentials.iter().flat_map(|c| {
            let service_account = c.vertex.as_ref().map(|vertex| vertex.service_account.clone());
            c.api_key
                .clone()
                .into_iter()
                .chain(service_account)
                .chain(c.headers.iter().map(|(_, value)| value.clone()))
        });
        let collectors = settings.otlp.iter().flat_map(|otlp| &otlp.headers).map(|(_, value)| value.clone());
        let secrets = secrets.chain(settings.server.master_key.clone()).chain(collectors).collect();
        let scrubber = Scrubber::new(secrets);
        let started = before.map_or_else(Instant::now, |before| before.started);
        let vendors = Vendors::new(&settings.credentials);
        let salt = salt(roster.master());
        let tokens = upstreams.iter().filter_map(Upstream::shared_token).cloned().collect();
        Arc::new(Self {
            settings,
            roster,
            pool,
            memory,
            fleet,
            vendors,
            salt,
            scrubber,
            hop,
            addresses,
            started,
            upstreams,
            tokens,
        })
    }

    /// The upstream of a credential, by its place in the file.
    pub fn upstream(&self, credential: usize) -> &Upstream {
        &self.upstreams[credential]
    }

    /// Takes note of how the router behind a credential seems to stand. An operator wants to know who has left, and who is
    /// back.
    pub fn regard(&self, credential: usize, outlook: Outlook) {
        let before = self.pool.regard(credential, outlook);
        match outlook {
            _ if before == outlook => {}
            Outlook::Down => log::warn!("router {:?} {outlook}", self.upstream(credential).name),
            _ => log::info!("router {:?} {outlook}", self.upstream(credential).name),
        }
    }

    /// The credential that a request is bound to by ids in its path or in its body.
    pub fn pinned(&self, endpoint: &Endpoint, ids: &[String]) -> Result<Option<usize>, Unpinnable> {
        let ids = endpoint.ids().chain(ids.iter().map(String::as_str));
        match self.memory.owners(ids).as_slice() {
            [] => Ok(None),
            [owner] => {
                let place = self.upstreams.iter().position(|upstream| *upstream.name == **owner);
                place.map(Some).ok_or_else(|| Unpinnable::Gone(owner.clone()))
            }
            [one, other, ..] => Err(Unpinnable::Torn(one.clone(), other.clone())),
        }
    }

    /// Remembers the thought signatures of an answer.
    pub fn remember(&self, signatures: Vec<(String, String)>) {
        if !signatures.is_empty() {
            self.memory.learn(Learned::Signatures(signatures));
        }
    }

    /// The thought signature of an earlier tool call.
    pub fn signature(&self, call: &str) -> Option<String> {
        self.memory.signature(call)
    }

    /// Tells the other routers what has changed here.
    pub fn spread(&self, changes: &[Transition]) {
        let Some(fleet) = &self.fleet else { return };
        let named = |name: &str| self.settings.credentials.iter().find(|c| c.name.as_str() == name);
        let digest = |name: &str| named(name).map(|credential| identity(credential, fleet.namespace()));
        changes.iter().for_each(|change| fleet.tell(change, digest));
    }

    /// What tells a credential's key and place from others, by its name: strikes and bans belong to that.
    /// With a `salt`, since the digests may be kept or go to another process.
    pub fn identities(&self, salt: &str) -> HashMap<String, String> {
        let named =
            |credential: &Credential| (credential.name.as_str().to_owned(), identity(credential, salt));
        self.settings.credentials.iter().map(named).collect()
    }

    /// Which credentials, by their names, have the keys that they had when `identities` were made with this `salt`.
    pub fn same_keys<'i>(
        &self,
        salt: &str,
        identities: &'i HashMap<String, String>,
    ) -> impl Fn(&str) -> bool + use<'i> {
        let own = self.identities(salt);
        move |name| own.get(name).is_some_and(|own| identities.get(name) == Some(own))
    }

    /// The token of the same account under the same name, if there is one.
    fn token_of(&self, credential: &Credential) -> Option<Arc<Token>> {
        let account = &credential.vertex.as_ref()?.service_account;
        let upstream = self.upstreams.iter().find(|upstream| *upstream.name == *credential.name.as_str())?;
        upstream.shared_token().filter(|token| token.account.matches(account.expose().as_bytes())).cloned()
    }

    /// The upstreams, each with its place in the file.
    pub fn upstreams(&self) -> impl Iterator<Item = (usize, &Upstream)> {
        self.upstreams.iter().enumerate()
    }

    /// The tokens of those that sign in by a service account.
    pub fn tokens(&self) -> impl Iterator<Item = &Arc<Token>> {
        self.tokens.iter()
    }

    /// Whether a header's value has a secret in it: a configured one, or an access token.
    pub fn is_told_by(&self, value: &[u8]) -> bool {
        self.scrubber.is_told_by(value) || self.tokens.iter().any(|token| token.is_in(value))
    }
}

/// What conversations are hashed with, so that nobody can look for one who does not have the key.
fn salt(master_key: &Secret) -> [u8; 32] {
    let mut digest = Context::new(&SHA256);
    digest.update(b"conversations");
    digest.update(master_key.expose().as_bytes());
    let mut salt = [0; 32];
    salt.copy_from_slice(digest.finish().as_ref());
    salt
}

fn identity(credential: &Credential, salt: &str) -> String {
    let key = credential.api_key.as_ref().map_or("", Secret::expose);
    let account = credential.vertex.as_ref().map_or("", |vertex| vertex.service_account.expose());
    let mut digest = Context::new(&SHA256);
    for part in [salt, credential.kind.as_str(), credential.base_url.as_str(), key, account] {
        digest.update(&(part.len() as u64).to_le_bytes());
        digest.update(part.as_bytes());
    }
    hex(digest.finish().as_ref())
}

fn route(credential: &Credential) -> addresses::Route {
    addresses::Route {
        places: credential.addresses.clone(),
        router: credential.kind.provider().is_router,
        trust: credential.tls.clone(),
        http2: credential.http2,
        ..addresses::Route::to(&credential.base_url, credential.connect_timeout)
    }
}

/// What routing needs of the settings.
pub fn blueprint(settings: &Settings) -> Blueprint {
    let place = |name: &str| settings.credentials.iter().position(|c| c.name.as_str() == name);
    Blueprint {
        credentials: settings.credentials.iter().map(spec).collect(),
        models: settings
            .models
            .iter()
            .map(|model| ModelSpec {
                name: model.name.clone(),
                credential: model.credential.as_ref().and_then(|name| place(name.as_str())),
                rpm: model.rpm,
                tpm: model.tpm,
                quotas: model.quotas.clone(),
                fallbacks: model.fallbacks.clone(),
                models: model.models.clone(),
                strategy: model.strategy,
                abilities: model.capabilities,
                limits_only: model.limits_only,
            })
            .collect(),
        aliases: settings.aliases.clone(),
        strategy: settings.routing.strategy,
        usage_gap: settings.routing.usage_gap,
        binding: match (settings.binding, settings.server.replace_v1_models) {
            (_, true) => Binding::Learned,
            (true, false) => Binding::Models,
            (false, false) => Binding::Open,
        },
        bans: bans(&settings.fail2ban),
        max_attempts: settings.routing.max_attempts,
        max_wait: settings.routing.max_wait,
        max_queue: settings.routing.max_queue,
    }
}

fn spec(credential: &Credential) -> CredentialSpec {
    let route = route(credential);
    CredentialSpec {
        name: credential.name.as_str().into(),
        host: format!("{}:{}", route.host, route.port).into(),
        weight: credential.weight,
        tier: credential.tier,
        rpm: credential.rpm,
        tpm: credential.tpm,
        quotas: credential.quotas.clone(),
        max_concurrent: credential.max_concurrent,
        models: credential.models.clone(),
    }
}

fn bans(fail2ban: &Fail2ban) -> BanPolicy {
    let term = |term: &Term| match term {
        Term::Permanent => routing::Term::Permanent,
        Term::For(time) => routing::Term::For(*time),
    };
    let rules = fail2ban.rules.iter().map(|rule| routing::CodeRule {
        codes: rule.codes.clone(),
        max_attempts: rule.max_attempts,
        ban: term(&rule.ban),
    });
    BanPolicy {
        max_attempts: fail2ban.max_attempts,
        ban: term(&fail2ban.ban),
        error_codes: fail2ban.error_codes.clone(),
        rules: rules.collect(),
    }
}
