//! Assembly: the services of one process, and where they listen.
//!
//! The main port is the only one that must be had; a monitoring or admin place that is taken is a warning, since
//! several routers run on one host. A process that takes over from another gets the sockets from it and begins with
//! its gate closed; one that systemd starts by a socket gets the main one from there.

pub mod places;
mod signals;

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures::future::join_all;
use pingora::apps::HttpServerOptions;
use pingora::listeners::L4BufferSettings;
use pingora::protocols::http::v2::server::H2Options;
use pingora::proxy::http_proxy;
use pingora::server::configuration::ServerConf;
use pingora::server::{ListenFds, RunArgs, Server, ShutdownWatch};
use pingora::services::background::background_service;
use pingora::services::{Service, ServiceWithDependents};
use tokio::sync::mpsc::{unbounded_channel, UnboundedReceiver};
use tokio::sync::watch;

use crate::background::keeping::Keeping;
use crate::background::{care::Care, succession::Succession, Background};
use crate::config::{AdminListen, Listener, Settings};
use crate::edge::admin::Admin;
use crate::edge::admission::Budget;
use crate::edge::course::{Courses, Live};
use crate::edge::crowd::Crowd;
use crate::edge::drain::Drain;
use crate::edge::entrance::Entrance;
use crate::edge::exchange::Dialer;
use crate::edge::front::Front;
use crate::edge::listening::{closed, Listening, Socket, Sockets};
use crate::edge::manual::Manual;
use crate::edge::proxy::EdgeProxy;
use crate::edge::visitors::Visitors;
use crate::edge::Edge;
use crate::gateway::Gateway;
use crate::handover::successor::{Arrived, Predecessor};
use crate::handover::{Reach, Running};
use crate::loading::Origin;
use crate::observe::logging::Log;
use crate::observe::{gauges, Recorder};
use crate::operator::Operator;
use crate::supervisor;

use signals::Signals;

/// Idle upstream connections kept, in all.
const POOL: usize = 4096;
const H2_IDLE: Duration = Duration::from_secs(60);
/// A file of no TLS roots.
const NO_ROOTS: &str = "/dev/null";

/// A process about to serve.
pub struct Process {
    /// As checked.
    pub settings: Settings,
    /// Where they come from; none for the demo.
    pub origin: Option<Origin>,
    /// Whom it takes over from.
    pub predecessor: Option<Predecessor>,
    /// Where outcomes are told.
    pub recorder: Recorder,
    /// The program's log, to be flushed at the end.
    pub log: Log,
    /// More services for the same process (the demo's upstream).
    pub more: Vec<Box<dyn ServiceWithDependents>>,
}

/// Why the process cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum CannotServe {
    /// The main address is not to be had.
    #[error(
        "cannot listen on {0}: {1}. Another program may hold the port; server.port chooses another one."
    )]
    Listen(String, io::Error),
    /// There is nobody to take over from.
    #[error("cannot take over: {0}")]
    TakeOver(io::Error),
}

/// Serves until a signal. Returns only when the process is to end.
pub fn serve(process: Process) -> Result<(), CannotServe> {
    let Process { settings, origin, predecessor, recorder, log, more } = process;
    let listeners = settings.server.listeners.clone();
    let port = settings.server.port;
    let drain = Drain::new(settings.server.drain_timeout, log, recorder.clone());
    let mut server = Server::new_with_opt_and_conf(None, conf(&settings));
    server.bootstrap();
    let pins = places::pins(&settings);
    let keeping = Keeping::at(places::ledger(&settings));
    let gateway = Gateway::assemble(settings, pins);
    let sockets = sockets(predecessor.as_ref(), &listeners)?;
    let bound = bind(&sockets, &listeners, predecessor.as_ref())?;

    if predecessor.is_none() {
        keeping.restore(&gateway);
    }
    let live = Live::new(Arc::new(edge(&server, gateway, &drain, recorder)));
    let shown = live.clone();
    gauges::watch(move || shown.edge().busy_view());
    let gate = watch::Sender::new(predecessor.is_none());
    let (arrivals, arrived) = unbounded_channel();
    let crowd = Arc::<Crowd>::default();
    let front = Arc::new(front(&server, &live, &crowd));
    let running = Arc::new(Running {
        live: live.clone(),
        drain,
        sockets,
        keeping,
        gate,
        generation: Default::default(),
        before: Default::default(),
        changing: Mutex::default(),
        reach: Reach::of(&live.edge().gateway.settings),
    });
    let operator = Arc::new(Operator::new(running.clone(), origin));
    operator.attend(&live.edge());

    let entrances = bound.into_iter().map(|(listener, socket)| {
        let (front, live, crowd) = (front.clone(), live.clone(), crowd.clone());
        (Arc::new(Entrance { front, live, crowd, listener }), socket)
    });
    server.add_service(Entrances::new(entrances, (front.clone(), arrived), &running.gate));
    add_monitoring(&mut server, &running);
    add_admin(&mut server, &running, &operator);
    running.sockets.drop_unused();
    more.into_iter().for_each(|service| {
        server.add_boxed_service(service);
    });
    if predecessor.is_none() {
        serves(&listeners, port);
    }
    let managed = std::env::var_os("NOTIFY_SOCKET").is_some();
    let care = managed.then(|| Care { operator: operator.clone(), front: front.clone() });
    let succession = predecessor.map(|predecessor| {
        let predecessor = Mutex::new(Some(predecessor));
        Succession { predecessor, front, arrivals }
    });
    server.add_service(background_service("background", Background { running, care, succession }));
    server.run(RunArgs { shutdown_signal: Box::new(Signals(operator)) });
    Ok(())
}

/// Says where callers are met, to whoever waits for it.
fn serves(listeners: &[Listener], port: u16) {
    for listener in listeners {
        let scheme = if listener.tls { "https" } else { "http" };
        log::info!("listening on {scheme}://{}/v1", listener.address);
    }
    places::write_pid(port);
    supervisor::ready();
}

fn conf(settings: &Settings) -> ServerConf {
    let threads = match settings.server.threads {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        threads => threads,
    };
    let directory = places::runtime_directory();
    ServerConf {
        threads,
        // A runtime of one thread has nobody to steal from.
        work_stealing: threads > 1,
        // The system's roots cost each of Pingora's connectors 200 KB and 3 ms of the start: read only where an
        // upstream speaks TLS.
        ca_file: (!Reach::of(settings).tls).then(|| NO_ROOTS.to_owned()),
        upstream_keepalive_pool_size: POOL,
        // Each attempt may need a second connection; the last turn finds nobody left.
        max_retries: (settings.routing.max_attempts as usize).saturating_mul(2).saturating_add(1),
        // `Drain` ends the process; this is only the bound behind it.
        grace_period_seconds: Some(settings.server.drain_timeout.as_secs() + 10),
        graceful_shutdown_timeout_seconds: Some(1),
        pid_file: directory.join("pingora.pid").to_string_lossy().into_owned(),
        upgrade_sock: directory.join("upgrade.sock").to_string_lossy().into_owned(),
        ..ServerConf::default()
    }
}

/// What is listened to already: by the process before this one, or by systemd.
fn sockets(predecessor: Option<&Predecessor>, listeners: &[Listener]) -> Result<Sockets, CannotServe> {
    if let Some(predecessor) = predecessor {
        return predecessor.greet().map(Sockets::offered).map_err(CannotServe::TakeOver);
    }
    let mut activated = listenfd::ListenFd::from_env();
    let offered: HashMap<String, OwnedFd> = listeners
        .iter()
        .enumerate()
        .filter_map(|(at, listener)| {
            let socket = activated.take_tcp_listener(at).ok().flatten()?;
            Some((format!("tcp:{}", listener.address), socket.into()))
        })
        .collect();
    Ok(Sockets::offered(offered))
}

type Bound = Vec<(Listener, Arc<Socket>)>;

/// Every place where callers are met must be had.
fn bind(
    sockets: &Sockets,
    listeners: &[Listener],
    predecessor: Option<&Predecessor>,
) -> Result<Bound, CannotServe> {
    let bound = listeners.iter().map(|listener| {
        let socket = sockets.tcp(&listener.address);
        let socket = socket.map_err(|why| cannot_listen(predecessor, &listener.address, why))?;
        Ok((listener.clone(), socket))
    });
    bound.collect()
}

fn cannot_listen(predecessor: Option<&Predecessor>, address: &str, why: io::Error) -> CannotServe {
    let why = CannotServe::Listen(address.to_owned(), why);
    if let Some(predecessor) = predecessor {
        predecessor.refuse(&why.to_string());
    }
    why
}

fn edge(server: &Server, gateway: Arc<Gateway>, drain: &Arc<Drain>, recorder: Recorder) -> Edge {
    Edge {
        dialer: Arc::new(Dialer::new(&server.configuration, Reach::of(&gateway.settings).http2)),
        budget: Budget::new(gateway.settings.server.max_buffered, gateway.settings.server.max_body_size),
        gateway,
        drain: drain.clone(),
        reload: Arc::default(),
        recorder: Arc::new(recorder),
        courses: Courses::default(),
        visitors: Visitors::default(),
        manual: Manual::default(),
    }
}

fn front(server: &Server, live: &Arc<Live>, crowd: &Arc<Crowd>) -> Front {
    let mut proxy = http_proxy(&server.configuration, EdgeProxy(live.clone()));
    let mut options = HttpServerOptions::default();
    options.h2c = true;
    options.h2_idle_timeout = Some(H2_IDLE);
    proxy.server_options = Some(options);
    proxy.h2_options = Some(h2_options());
    Front::new(live.clone(), proxy, crowd.clone())
}

fn h2_options() -> H2Options {
    let mut options = H2Options::new();
    options
        .max_concurrent_streams(100)
        .max_header_list_size(64 * 1024)
        .initial_window_size(256 * 1024)
        .initial_connection_window_size(1024 * 1024);
    options
}

/// The places where callers are met, with one runtime for all, and the connections that another process gives away.
struct Entrances {
    listening: Vec<Listening<Entrance>>,
    arrived: Option<Arrivals>,
}

type Arrivals = (Arc<Front>, UnboundedReceiver<Arrived>);

impl Entrances {
    fn new(
        entrances: impl Iterator<Item = (Arc<Entrance>, Arc<Socket>)>,
        arrived: Arrivals,
        gate: &watch::Sender<bool>,
    ) -> Self {
        // No read buffer below the parser: `Front` reads a whole head at once, and the default costs 64 KiB a
        // connection. Head and body of a small answer leave in one write.
        let buffers = L4BufferSettings { read: Some(0), write: Some(2048) };
        let listening = entrances.map(|(app, socket)| {
            let (name, socket, gate) = ("router", Some(socket), gate.subscribe());
            Listening { name, socket, app, gate, buffers, threads: None }
        });
        Self { listening: listening.collect(), arrived: Some(arrived) }
    }
}

#[async_trait]
impl Service for Entrances {
    async fn start_service(&mut self, _: Option<ListenFds>, shutdown: ShutdownWatch, tasks: usize) {
        let gate = self.listening.first().map(|first| first.gate.clone());
        if let (Some((front, mut arrived)), Some(gate)) = (self.arrived.take(), gate) {
            let closed = closed(gate, shutdown.clone());
            tokio::spawn(async move {
                while let Some(arrived) = arrived.recv().await {
                    let (front, mut shutdown) = (front.clone(), closed.clone());
                    shutdown.mark_unchanged();
                    if let Ok((stream, prefix)) = arrived.stream() {
                        tokio::spawn(async move { front.take_over(stream, prefix.into(), &shutdown).await });
                    }
                }
            });
        }
        let all = self.listening.iter_mut();
        join_all(all.map(|one| Service::start_service(one, None, shutdown.clone(), tasks))).await;
    }

    fn name(&self) -> &str {
        "router"
    }
}

/// Pingora's Prometheus service, on a port of its own.
fn add_monitoring(server: &mut Server, running: &Running) {
    let monitoring = &running.live.edge().gateway.settings.monitoring;
    let Some(address) = monitoring.prometheus_listen.filter(|_| monitoring.prometheus_enabled) else {
        return;
    };
    match running.sockets.tcp(&address.to_string()) {
        Ok(socket) => {
            let app = Arc::new(pingora_prometheus::new_prometheus_server());
            let gate = running.gate.subscribe();
            let buffers = L4BufferSettings::unbuffered();
            let name = "prometheus";
            let socket = Some(socket);
            server.add_service(Listening { name, socket, app, gate, buffers, threads: Some(1) });
        }
        Err(why) => {
            log::warn!("monitoring.prometheus_listen {address} is not to be had ({why}); metrics are on the main port only");
        }
    }
}

fn add_admin(server: &mut Server, running: &Running, operator: &Arc<Operator>) {
    let listen = places::admin(&running.live.edge().gateway.settings);
    let socket = match &listen {
        AdminListen::Tcp(address) => running.sockets.tcp(&address.to_string()),
        AdminListen::Unix(path) => running.sockets.unix(path, places::free_socket),
        AdminListen::Off | AdminListen::Default => return,
    };
    match socket {
        Ok(socket) => {
            let needs_key = matches!(listen, AdminListen::Tcp(_));
            let app = Arc::new(Admin { operator: operator.clone(), needs_key });
            let gate = running.gate.subscribe();
            let buffers = L4BufferSettings::unbuffered();
            let (name, socket) = ("admin", Some(socket));
            server.add_service(Listening { name, socket, app, gate, buffers, threads: Some(1) });
        }
        Err(why) => {
            log::warn!(
                "admin.listen {listen:?} is not to be had ({why}); bans can be lifted only by a restart"
            );
        }
    }
}
