//! Where a host lives: the addresses behind one upstream name, and the peer to dial for each.
//!
//! pingora-load-balancing keeps the set, turns it round robin and leaves out what fails its health check: for another
//! router a look at its readiness, so that one about to leave gets no new connection, for any other host an attempt to
//! connect. A set of one address is never checked: there is no other one to take.
//! Names are resolved by `background::addresses`, never
//! by a request, because `HttpPeer::new("name:port")` resolves with a blocking call and panics on an unknown name. A
//! request that comes before the first answer waits for it, within the credential's connect timeout.
//! Credentials that share host, port and dialling options share one set, and so the pooled connections.

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use futures::FutureExt;
use pingora::protocols::l4::socket::SocketAddr as L4Addr;
use pingora::protocols::tls::CaType;
use pingora::upstreams::peer::HttpPeer;
use pingora::utils::tls::{parse_x509, CertKey, WrappedX509};
use pingora::{Error, ErrorType};
use pingora_load_balancing::discovery::ServiceDiscovery;
use pingora_load_balancing::health_check::{HealthCheck, HttpHealthCheck, TcpHealthCheck};
use pingora_load_balancing::selection::RoundRobin;
use pingora_load_balancing::{Backend, Backends, LoadBalancer};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::PrivateKeyDer;
use tokio::sync::watch;
use url::Url;

use crate::config::UpstreamTls;
use crate::providers::Transport;

/// How to dial a host. Two credentials with the same route share connections.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Route {
    /// Host name or IP literal, without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Hosts and ports that stand in for these two; none where there are none.
    pub places: Vec<(String, u16)>,
    /// Another router is there, with a health of its own.
    pub router: bool,
    /// TLS with certificate verification for `host`.
    pub tls: bool,
    /// What is special about it.
    pub trust: Option<UpstreamTls>,
    /// Offer HTTP/2 by ALPN.
    pub http2: bool,
    /// TCP and TLS must be up within this time.
    pub connect_timeout: Duration,
}

impl Route {
    /// To where a URL points, with nothing special about it.
    pub fn to(url: &Url, connect_timeout: Duration) -> Self {
        Self {
            host: url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned(),
            port: url.port_or_known_default().unwrap_or(443),
            places: Vec::new(),
            router: false,
            tls: url.scheme() == "https",
            trust: None,
            http2: false,
            connect_timeout,
        }
    }
}

/// The addresses of one route.
pub struct AddressSet {
    route: Route,
    balancer: LoadBalancer<RoundRobin>,
    peers: ArcSwap<Vec<(SocketAddr, Arc<HttpPeer>)>>,
    asked: watch::Sender<bool>,
}

impl AddressSet {
    /// A set for `route`; an IP literal is known at once, a name after the first `refresh`.
    pub fn new(route: Route) -> Arc<Self> {
        let mut names = Names(route.places.clone());
        if names.0.is_empty() {
            names.0.push((route.host.clone(), route.port));
        }
        let literal = names.0.iter().all(|(host, _)| host.parse::<IpAddr>().is_ok());
        let mut backends = Backends::new(Box::new(names));
        backends.set_health_check(Box::new(Check::of(&route)));
        let set = Arc::new(Self {
            balancer: LoadBalancer::from_backends(backends),
            peers: ArcSwap::default(),
            asked: watch::Sender::new(false),
            route,
        });
        if literal {
            let _ = set.refresh().now_or_never();
        }
        set
    }

    /// How its host is dialled.
    pub fn route(&self) -> &Route {
        &self.route
    }

    /// `host:port`, for logs.
    pub fn label(&self) -> String {
        format!("{}:{}", self.route.host, self.route.port)
    }

    /// Whether any address is known.
    pub fn is_known(&self) -> bool {
        !self.peers.load().is_empty()
    }

    /// Whether there is at most one.
    pub fn is_alone(&self) -> bool {
        self.peers.load().len() <= 1
    }

    /// Asks the resolver once. A failure keeps the addresses known before.
    pub async fn refresh(&self) -> Result<(), String> {
        let answer = self.balancer.update().await;
        let backends = self.balancer.backends().get_backend();
        let known = self.peers.load();
        let peers = backends.iter().filter_map(inet).map(|address| {
            let kept = known.iter().find(|(a, _)| *a == address);
            (address, kept.map_or_else(|| Arc::new(self.route.peer(address)), |(_, peer)| peer.clone()))
        });
        self.peers.store(Arc::new(peers.collect()));
        self.asked.send_replace(true);
        answer.map_err(|e| e.to_string())
    }

    /// Looks once whether its addresses are well, where there is a choice between them.
    pub async fn check(&self) {
        if !self.is_alone() {
            self.balancer.backends().run_health_check(true).await;
        }
    }

    /// The next peer to dial. Waits for the first resolution at most `connect_timeout`.
    pub async fn pick(&self) -> Result<Arc<HttpPeer>, Transport> {
        if let Some(peer) = self.known() {
            return Ok(peer);
        }
        let mut asked = self.asked.subscribe();
        let answered = asked.wait_for(|asked| *asked);
        let _ = tokio::time::timeout(self.route.connect_timeout, answered).await;
        self.known().ok_or(Transport::Dns)
    }

    /// The next peer to dial, if any address is known.
    pub fn known(&self) -> Option<Arc<HttpPeer>> {
        let peers = self.peers.load();
        if let [(_, only)] = peers.as_slice() {
            return Some(only.clone());
        }
        // Where no address is well, the checks are no help.
        let well = self.balancer.select(b"", peers.len());
        let chosen = well.or_else(|| self.balancer.select_with(b"", peers.len(), |_, _| true));
        let chosen = inet(&chosen?)?;
        peers.iter().find(|(address, _)| *address == chosen).map(|(_, peer)| peer.clone())
    }
}

impl Route {
    /// The name to ask for by TLS; empty without TLS.
    fn name(&self) -> &str {
        let own = self.trust.as_ref().and_then(|trust| trust.server_name.as_deref());
        if self.tls {
            own.unwrap_or(&self.host)
        } else {
            ""
        }
    }

    fn peer(&self, address: SocketAddr) -> HttpPeer {
        let mut peer = HttpPeer::new(address, self.tls, self.name().to_owned());
        // Neither ALPN nor the authorities are part of Pingora's reuse key, so routes that differ in them need groups of
        // their own.
        peer.group_key = u64::from(self.http2);
        if let Some(trust) = &self.trust {
            let [a, b, c, d, ..] = trust.fingerprint;
            peer.group_key |= u64::from(u32::from_le_bytes([a, b, c, d])) << 1;
            peer.client_cert_key = presented(trust);
            peer.options.ca = trusted(trust);
        }
        peer.options.connection_timeout = Some(self.connect_timeout);
        peer.options.total_connection_timeout = Some(self.connect_timeout);
        peer.options.idle_timeout = Some(Duration::from_secs(60));
        peer.options.tcp_keepalive = Some(pingora::protocols::TcpKeepalive {
            idle: Duration::from_secs(60),
            interval: Duration::from_secs(10),
            count: 3,
            #[cfg(target_os = "linux")]
            user_timeout: Duration::ZERO,
        });
        if self.http2 {
            peer.options.set_http_version(2, 1);
            peer.options.max_h2_streams = 100;
            peer.options.h2_ping_interval = Some(Duration::from_secs(30));
        }
        peer
    }
}

/// The certificate for an upstream that wants one.
fn presented(trust: &UpstreamTls) -> Option<Arc<CertKey>> {
    let (chain, key) = trust.identity.as_ref()?;
    let key = PrivateKeyDer::from_pem_slice(key.expose().as_bytes()).ok()?;
    Some(Arc::new(CertKey::new(chain.clone(), key.secret_der().to_vec())))
}

/// The authorities that alone are trusted.
fn trusted(trust: &UpstreamTls) -> Option<Arc<CaType>> {
    let authorities = trust.ca.iter().map(|der| WrappedX509::new(der.clone(), parse_x509));
    (!trust.ca.is_empty()).then(|| authorities.collect())
}

fn inet(backend: &Backend) -> Option<SocketAddr> {
    match backend.addr {
        L4Addr::Inet(address) => Some(address),
        _ => None,
    }
}

/// Discovery by the system's resolver.
struct Names(Vec<(String, u16)>);

#[async_trait]
impl ServiceDiscovery for Names {
    async fn discover(&self) -> pingora::Result<(BTreeSet<Backend>, HashMap<u64, bool>)> {
        let mut backends = BTreeSet::new();
        let mut failed = None;
        for (host, port) in &self.0 {
            match tokio::net::lookup_host((host.as_str(), *port)).await {
                Ok(found) => backends.extend(found.map(|address| Backend {
                    addr: L4Addr::Inet(address),
                    weight: 1,
                    ext: Default::default(),
                })),
                Err(why) => failed = Some(why),
            }
        }
        match (failed, backends.is_empty()) {
            (Some(why), true) => Err(Error::because(ErrorType::ConnectNoRoute, "name not resolved", why)),
            (None, true) => Err(Error::explain(ErrorType::ConnectNoRoute, "the name has no address")),
            (_, false) => Ok((backends, HashMap::new())),
        }
    }
}

/// Pingora's checks read the TLS roots when they are made, which only a set with a choice should cost.
struct Check {
    route: Route,
    made: OnceLock<Box<dyn HealthCheck + Send + Sync>>,
}

impl Check {
    fn of(route: &Route) -> Self {
        Self { route: route.clone(), made: OnceLock::new() }
    }

    fn make(&self) -> Box<dyn HealthCheck + Send + Sync> {
        let route = &self.route;
        let ca = route.trust.as_ref().and_then(trusted);
        if !route.router {
            let mut check =
                if route.tls { TcpHealthCheck::new_tls(route.name()) } else { TcpHealthCheck::new() };
            check.peer_template.options.ca = ca;
            return check;
        }
        let mut check = HttpHealthCheck::new(route.name(), route.tls);
        check.peer_template.options.ca = ca;
        check.peer_template.client_cert_key = route.trust.as_ref().and_then(presented);
        check.req.set_uri(http::Uri::from_static("/health/ready"));
        // A router of the first generation has no such path; it is there if it answers at all.
        check.validator = Some(Box::new(|head| match head.status.as_u16() {
            500.. => Err(Error::explain(ErrorType::HTTPStatus(head.status.as_u16()), "it is not ready")),
            _ => Ok(()),
        }));
        Box::new(check)
    }
}

#[async_trait]
impl HealthCheck for Check {
    async fn check(&self, target: &Backend) -> pingora::Result<()> {
        self.made.get_or_init(|| self.make()).check(target).await
    }

    fn health_threshold(&self, _: bool) -> usize {
        1
    }
}
