//! Everything that configuration decides, assembled once: the pool of candidates, and for each credential what it
//! takes to dial it and to dress a request for it (`upstream`).

mod upstream;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use http::header::HeaderName;

use crate::config::{Credential, Fail2ban, Settings, Term};
use crate::dialect::signatures::Signatures;
use crate::edge::addresses::{self, AddressSet};
use crate::edge::pins::Pinboard;
use crate::edge::random::Random;
use crate::edge::token::Token;
use crate::llm::endpoint::Endpoint;
use crate::llm::scrub::Scrubber;
use crate::providers::chained;
use crate::routing::{self, BanPolicy, Binding, Blueprint, CredentialSpec, ModelSpec, Pool};

pub use upstream::{Authorization, Dress, Upstream};

/// Names the routers that a request has passed.
pub const HOPS: HeaderName = HeaderName::from_static(chained::HOPS);

/// One assembled configuration.
pub struct Gateway {
    /// As checked.
    pub settings: Settings,
    /// Who can serve, and who may right now.
    pub pool: Pool,
    /// Which credential an upstream's id belongs to.
    pub pins: Pinboard,
    /// Takes secrets out of what upstreams say.
    pub scrubber: Scrubber,
    /// This instance's name in the hop header.
    pub hop: String,
    /// The address sets, each once.
    pub addresses: Vec<Arc<AddressSet>>,
    /// When it was assembled.
    pub started: Instant,
    signatures: Mutex<Signatures>,
    upstreams: Vec<Upstream>,
}

/// Why a request that names ids can go nowhere.
pub enum Unpinnable {
    /// They belong to a credential that the configuration has no longer.
    Gone(String),
    /// They belong to two credentials.
    Torn(String, String),
}

impl Gateway {
    /// Assembles what the settings say. `pins` is what an earlier run has left.
    pub fn assemble(settings: Settings, pins: Pinboard) -> Arc<Self> {
        let mut sets: HashMap<addresses::Route, Arc<AddressSet>> = HashMap::new();
        let mut addresses = Vec::new();
        let mut upstreams = Vec::new();
        for credential in &settings.credentials {
            let set = sets.entry(route(credential)).or_insert_with_key(|route| {
                let set = AddressSet::new(route.clone());
                addresses.push(set.clone());
                set
            });
            upstreams.push(Upstream::new(credential, set.clone()));
        }
        let pool = Pool::new(blueprint(&settings));
        let secrets = settings.credentials.iter().flat_map(|c| {
            let service_account = c.vertex.as_ref().map(|vertex| vertex.service_account.clone());
            c.api_key
                .clone()
                .into_iter()
                .chain(service_account)
                .chain(c.headers.iter().map(|(_, value)| value.clone()))
        });
        let secrets = secrets.chain([settings.server.master_key.clone()]).collect();
        let hop = format!("{:016x}", Random::next());
        let scrubber = Scrubber::new(secrets);
        let signatures = Mutex::default();
        let started = Instant::now();
        Arc::new(Self { settings, pool, pins, scrubber, hop, addresses, started, signatures, upstreams })
    }

    /// The upstream of a credential, by its place in the file.
    pub fn upstream(&self, credential: usize) -> &Upstream {
        &self.upstreams[credential]
    }

    /// The credential that a request is bound to by ids in its path or in its body.
    pub fn pinned(&self, endpoint: &Endpoint, ids: &[String]) -> Result<Option<usize>, Unpinnable> {
        let ids = endpoint.ids().chain(ids.iter().map(String::as_str));
        match self.pins.owners(ids).as_slice() {
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
        if signatures.is_empty() {
            return;
        }
        let mut known = self.signatures.lock().unwrap_or_else(PoisonError::into_inner);
        signatures.iter().for_each(|(id, signature)| known.learn(id, signature));
    }

    /// The thought signature of an earlier tool call.
    pub fn signature(&self, call: &str) -> Option<String> {
        self.signatures.lock().unwrap_or_else(PoisonError::into_inner).get(call)
    }

    /// The upstreams that list their models, each with its place in the file.
    pub fn listing(&self) -> impl Iterator<Item = (usize, &Upstream)> {
        self.upstreams.iter().enumerate().filter(|(_, upstream)| upstream.lists_models())
    }

    /// The tokens of those that sign in by a service account.
    pub fn tokens(&self) -> impl Iterator<Item = &Token> {
        self.upstreams.iter().filter_map(Upstream::token)
    }
}

fn route(credential: &Credential) -> addresses::Route {
    let url = &credential.base_url;
    addresses::Route {
        host: url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned(),
        port: url.port_or_known_default().unwrap_or(443),
        tls: url.scheme() == "https",
        http2: credential.http2,
        connect_timeout: credential.connect_timeout,
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
                fallbacks: model.fallbacks.clone(),
                limits_only: model.limits_only,
            })
            .collect(),
        binding: match (settings.binding, settings.server.replace_v1_models) {
            (_, true) => Binding::Learned,
            (true, false) => Binding::Models,
            (false, false) => Binding::Open,
        },
        bans: bans(&settings.fail2ban),
        max_attempts: settings.routing.max_attempts,
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
