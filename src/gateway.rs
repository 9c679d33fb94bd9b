//! Everything that configuration decides, assembled once: the pool of candidates, and for each credential what it
//! takes to dial it and to dress a request for it.
//!
//! Heads are built from a template per credential (host, authorization, fixed headers made at load) plus what of the
//! client's headers may pass, rather than by cloning the client's head and taking things away.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use http::header::{HeaderName, ACCEPT_ENCODING, AUTHORIZATION, CONNECTION, CONTENT_LENGTH, HOST};
use http::{HeaderMap, HeaderValue, Method};
use pingora::http::RequestHeader;
use url::Url;

use crate::config::{Credential, Fail2ban, Kind, Settings, Term};
use crate::edge::addresses::{AddressSet, Route};
use crate::edge::context::RequestContext;
use crate::edge::pins::Pinboard;
use crate::edge::random::Random;
use crate::edge::reply::REQUEST_ID;
use crate::llm::endpoint::Endpoint;
use crate::llm::scrub::Scrubber;
use crate::providers::headers::keep_request_header;
use crate::providers::{chained, openai};
use crate::routing::{self, BanPolicy, Binding, Blueprint, CredentialSpec, ModelSpec, Pool};

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
    upstreams: Vec<Upstream>,
}

/// Why a request that names ids can go nowhere.
pub enum Unpinnable {
    /// They belong to a credential that the configuration has no longer.
    Gone(String),
    /// They belong to two credentials.
    Torn(String, String),
}

/// One credential, ready to be dialled.
pub struct Upstream {
    /// Its name.
    pub name: Arc<str>,
    /// What it speaks.
    pub kind: Kind,
    /// Where it lives.
    pub addresses: Arc<AddressSet>,
    base: String,
    host: HeaderValue,
    authorization: Option<HeaderValue>,
    fixed: Vec<(HeaderName, HeaderValue)>,
}

impl Gateway {
    /// Assembles what the settings say. `pins` is what an earlier run has left.
    pub fn assemble(settings: Settings, pins: Pinboard) -> Arc<Self> {
        let mut sets: HashMap<Route, Arc<AddressSet>> = HashMap::new();
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
            let service_account = c.vertex.as_ref().and_then(|vertex| vertex.service_account.clone());
            c.api_key
                .clone()
                .into_iter()
                .chain(service_account)
                .chain(c.headers.iter().map(|(_, value)| value.clone()))
        });
        let secrets = secrets.chain([settings.server.master_key.clone()]).collect();
        let hop = format!("{:016x}", Random::next());
        let scrubber = Scrubber::new(secrets);
        Arc::new(Self { settings, pool, pins, scrubber, hop, addresses, started: Instant::now(), upstreams })
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

    /// The credentials that this version can send requests to.
    pub fn routable(&self) -> impl Iterator<Item = (usize, &Upstream)> {
        self.upstreams.iter().enumerate().filter(|(_, upstream)| routable(upstream.kind).is_ok())
    }
}

/// Whether a dialect can be spoken, or why not.
fn routable(kind: Kind) -> Result<(), &'static str> {
    match kind {
        Kind::OpenAi | Kind::Proxy => Ok(()),
        Kind::Anthropic | Kind::VertexAi => {
            Err("this version does not route to credentials of this type yet")
        }
    }
}

fn route(credential: &Credential) -> Route {
    let url = &credential.base_url;
    Route {
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
        routable: routable(credential.kind),
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

impl Upstream {
    fn new(credential: &Credential, addresses: Arc<AddressSet>) -> Self {
        let url = &credential.base_url;
        let secret = |value: &str| {
            let mut value = HeaderValue::from_str(value).ok()?;
            value.set_sensitive(true);
            Some(value)
        };
        let authorization =
            credential.api_key.as_ref().and_then(|key| secret(&openai::authorization(key.expose())));
        let fixed = credential.headers.iter().filter_map(|(name, value)| {
            Some((HeaderName::from_bytes(name.as_bytes()).ok()?, secret(value.expose())?))
        });
        Self {
            name: credential.name.as_str().into(),
            kind: credential.kind,
            addresses,
            base: url.path().trim_end_matches('/').to_owned(),
            host: HeaderValue::from_str(&authority(url)).unwrap_or_else(|_| HeaderValue::from_static("")),
            authorization,
            fixed: fixed.collect(),
        }
    }

    /// The head of a client's request as this upstream gets it. `length` is the body's, where there is one.
    pub fn dress(
        &self,
        client: &RequestHeader,
        endpoint: &Endpoint,
        ctx: &RequestContext,
        length: Option<usize>,
        hop: &str,
    ) -> pingora::Result<Box<RequestHeader>> {
        let path = openai::upstream_path(&self.base, endpoint.path(), client.uri.query());
        let mut head = RequestHeader::build_no_case(client.method.clone(), path.as_bytes(), Some(16))?;
        head.insert_header(HOST, &self.host)?;
        let named = connection_names(&client.headers);
        for (name, value) in &client.headers {
            if keep_request_header(name.as_str()) && !named.is_some_and(|named| names(named, name)) {
                head.append_header(name, value)?;
            }
        }
        let hops = client.headers.get(HOPS).and_then(|hops| hops.to_str().ok());
        self.finish(&mut head, hops, hop)?;
        if let Some(length) = length {
            head.insert_header(CONTENT_LENGTH, length)?;
        }
        if self.kind == Kind::Proxy {
            head.insert_header(REQUEST_ID, ctx.request_id())?;
        }
        Ok(Box::new(head))
    }

    /// A request of our own, without a body.
    pub fn own_request(&self, path: &str, hop: &str) -> pingora::Result<Box<RequestHeader>> {
        let mut head = RequestHeader::build_no_case(
            Method::GET,
            openai::upstream_path(&self.base, path, None).as_bytes(),
            Some(8),
        )?;
        head.insert_header(HOST, &self.host)?;
        self.finish(&mut head, None, hop)?;
        Ok(Box::new(head))
    }

    fn finish(&self, head: &mut RequestHeader, hops: Option<&str>, hop: &str) -> pingora::Result<()> {
        head.insert_header(ACCEPT_ENCODING, "identity")?;
        if let Some(authorization) = &self.authorization {
            head.insert_header(AUTHORIZATION, authorization)?;
        }
        for (name, value) in &self.fixed {
            head.insert_header(name, value)?;
        }
        head.insert_header(HOPS, chained::passed(hops, hop))
    }
}

/// `host` or `host:port`, as the Host header wants it.
fn authority(url: &Url) -> String {
    match (url.host_str().unwrap_or_default(), url.port()) {
        (host, Some(port)) => format!("{host}:{port}"),
        (host, None) => host.to_owned(),
    }
}

/// The value of Connection, if it names anything but the usual.
fn connection_names(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(CONNECTION)?.to_str().ok()?;
    let usual = value.eq_ignore_ascii_case("keep-alive") || value.eq_ignore_ascii_case("close");
    (!usual).then_some(value)
}

fn names(connection: &str, name: &HeaderName) -> bool {
    connection.split(',').any(|named| named.trim().eq_ignore_ascii_case(name.as_str()))
}
