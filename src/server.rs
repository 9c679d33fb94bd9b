//! Assembly: the services of one process, and where they listen.
//!
//! The main port is the only one that must be had; a monitoring or admin place that is taken is a warning, since
//! several routers run on one host. Places are tried before Pingora binds them, because a service of Pingora that
//! cannot bind retries for half a minute and then ends in silence.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use pingora::apps::http_app::HttpServer;
use pingora::apps::HttpServerOptions;
use pingora::listeners::{L4BufferSettings, ListenerConfig};
use pingora::protocols::http::v2::server::H2Options;
use pingora::proxy::http_proxy;
use pingora::server::configuration::ServerConf;
use pingora::server::{RunArgs, Server};
use pingora::services::background::background_service;
use pingora::services::listening::Service;

use crate::background::Background;
use crate::config::{AdminListen, Credential, Settings};
use crate::edge::admin::Admin;
use crate::edge::admission::Budget;
use crate::edge::drain::{Drain, Signals};
use crate::edge::exchange::Dialer;
use crate::edge::front::Front;
use crate::edge::pins::Pinboard;
use crate::edge::proxy::EdgeProxy;
use crate::edge::view::view;
use crate::edge::Edge;
use crate::gateway::Gateway;
use crate::observe::logging::Log;
use crate::observe::{gauges, Recorder};

/// Idle upstream connections kept, in all.
const POOL: usize = 4096;
const H2_IDLE: Duration = Duration::from_secs(60);
/// A file of no TLS roots.
const NO_ROOTS: &str = "/dev/null";

/// A process about to serve.
pub struct Process {
    /// As checked.
    pub settings: Settings,
    /// Where outcomes are told.
    pub recorder: Recorder,
    /// The program's log, to be flushed at the end.
    pub log: Log,
    /// More services for the same process (the demo's upstream).
    pub more: Vec<Box<dyn pingora::services::ServiceWithDependents>>,
}

/// Why the process cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum CannotServe {
    /// The main address is not to be had.
    #[error(
        "cannot listen on {0}: {1}. Another program may hold the port; server.port chooses another one."
    )]
    Listen(String, std::io::Error),
}

/// Serves until a signal. Returns only when the process is to end.
pub fn serve(process: Process) -> Result<(), CannotServe> {
    let Process { settings, recorder, log, more } = process;
    let address = listen_address(&settings);
    TcpListener::bind(address.as_str()).map_err(|why| CannotServe::Listen(address.clone(), why))?;

    let drain = Drain::new(settings.server.drain_timeout, log, recorder.clone());
    let mut server = Server::new_with_opt_and_conf(None, conf(&settings));
    server.bootstrap();
    let pins = pins(&settings);
    let gateway = Gateway::assemble(settings, pins);
    let shown = (gateway.clone(), drain.clone());
    gauges::watch(move || view(&shown.0, shown.1.is_draining()));

    let edge = edge(&server, &gateway, &drain, &recorder);
    let main = main_service(&server, &edge, &address);
    server.add_service(main);
    add_monitoring(&mut server, &gateway);
    add_admin(&mut server, &gateway, &recorder);
    server.add_service(background_service("background", Background(edge)));
    more.into_iter().for_each(|service| {
        server.add_boxed_service(service);
    });
    log::info!("listening on http://{address}/v1");
    server.run(RunArgs { shutdown_signal: Box::new(Signals(drain)) });
    Ok(())
}

fn listen_address(settings: &Settings) -> String {
    let host = settings.server.host.trim_matches(['[', ']']);
    match host.contains(':') {
        true => format!("[{host}]:{}", settings.server.port),
        false => format!("{host}:{}", settings.server.port),
    }
}

fn conf(settings: &Settings) -> ServerConf {
    let threads = match settings.server.threads {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        threads => threads,
    };
    let directory = runtime_directory();
    ServerConf {
        threads,
        // A runtime of one thread has nobody to steal from.
        work_stealing: threads > 1,
        // The system's roots cost each of Pingora's connectors 200 KB and 3 ms of the start: read only where an
        // upstream speaks TLS.
        ca_file: (!settings.credentials.iter().any(speaks_tls)).then(|| NO_ROOTS.to_owned()),
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

fn speaks_tls(credential: &Credential) -> bool {
    credential.base_url.scheme() == "https"
}

fn edge(server: &Server, gateway: &Arc<Gateway>, drain: &Arc<Drain>, recorder: &Recorder) -> Arc<Edge> {
    let settings = &gateway.settings;
    let http2 = settings.credentials.iter().any(|credential| credential.http2);
    Arc::new(Edge {
        gateway: gateway.clone(),
        dialer: Arc::new(Dialer::new(&server.configuration, http2)),
        budget: Budget::new(settings.server.max_buffered),
        drain: drain.clone(),
        recorder: Arc::new(recorder.clone()),
    })
}

fn main_service(server: &Server, edge: &Arc<Edge>, address: &str) -> Service<Front> {
    let mut proxy = http_proxy(&server.configuration, EdgeProxy(edge.clone()));
    let mut options = HttpServerOptions::default();
    options.h2c = true;
    options.h2_idle_timeout = Some(H2_IDLE);
    proxy.server_options = Some(options);
    proxy.h2_options = Some(h2_options());
    let mut service = Service::new("router".into(), Front::new(edge.clone(), proxy));
    // No read buffer below the parser: `Front` reads a whole head at once, and the default costs 64 KiB a connection.
    // Head and body of a small answer leave in one write.
    let buffers = L4BufferSettings { read: Some(0), write: Some(2048) };
    service.add_listener(ListenerConfig::tcp(address).l4_buffer(buffers));
    service
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

/// Pingora's Prometheus service, on a port of its own.
fn add_monitoring(server: &mut Server, gateway: &Gateway) {
    let monitoring = &gateway.settings.monitoring;
    let Some(address) = monitoring.prometheus_listen.filter(|_| monitoring.prometheus_enabled) else {
        return;
    };
    if let Err(why) = free(address) {
        log::warn!("monitoring.prometheus_listen {address} is not to be had ({why}); metrics are on the main port only");
        return;
    }
    let mut service = pingora_prometheus::prometheus_http_service();
    service.threads = Some(1);
    service.add_tcp(&address.to_string());
    server.add_service(service);
}

fn add_admin(server: &mut Server, gateway: &Arc<Gateway>, recorder: &Recorder) {
    let listen = match &gateway.settings.admin.listen {
        AdminListen::Off => return,
        AdminListen::Default => {
            let name = format!("admin-{}.sock", gateway.settings.server.port);
            AdminListen::Unix(runtime_directory().join(name))
        }
        chosen => chosen.clone(),
    };
    let needs_key = matches!(listen, AdminListen::Tcp(_));
    let app = Admin { gateway: gateway.clone(), recorder: recorder.clone(), needs_key };
    let mut service = Service::new("admin".into(), HttpServer::new_app(app));
    service.threads = Some(1);
    let found = match &listen {
        AdminListen::Tcp(address) => free(*address).map(|()| service.add_tcp(&address.to_string())),
        AdminListen::Unix(path) => free_socket(path).map(|()| {
            let own = fs::Permissions::from_mode(0o600);
            service.add_uds(&path.to_string_lossy(), Some(own));
        }),
        AdminListen::Off | AdminListen::Default => return,
    };
    match found {
        Ok(()) => {
            server.add_service(service);
        }
        Err(why) => {
            log::warn!(
                "admin.listen {listen:?} is not to be had ({why}); bans can be lifted only by a restart"
            );
        }
    }
}

fn free(address: SocketAddr) -> std::io::Result<()> {
    TcpListener::bind(address).map(drop)
}

/// Whether a socket can be made at `path`: nobody answers there, and its directory exists or can be made.
fn free_socket(path: &Path) -> std::io::Result<()> {
    if UnixStream::connect(path).is_ok() {
        return Err(std::io::Error::new(std::io::ErrorKind::AddrInUse, "another process answers there"));
    }
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
        let probe = directory.join(format!(".probe-{}", std::process::id()));
        fs::write(&probe, b"")?;
        fs::remove_file(&probe)?;
    }
    match fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => {
            Err(std::io::Error::new(std::io::ErrorKind::AlreadyExists, "a file that is no socket is there"))
        }
        Ok(_) => fs::remove_file(path),
        Err(_) => Ok(()),
    }
}

/// Where sockets go: what systemd gives, else the user's runtime directory, else a private one in /tmp.
fn runtime_directory() -> PathBuf {
    let given = std::env::var_os("RUNTIME_DIRECTORY").map(PathBuf::from);
    let users = std::env::var_os("XDG_RUNTIME_DIR").map(|dir| PathBuf::from(dir).join("auto-ai-router"));
    let directory = given.or(users).unwrap_or_else(|| {
        let user =
            fs::metadata("/proc/self").map(|own| std::os::unix::fs::MetadataExt::uid(&own)).unwrap_or(0);
        std::env::temp_dir().join(format!("auto-ai-router-{user}"))
    });
    if fs::create_dir_all(&directory).is_ok() {
        let _ = fs::set_permissions(&directory, fs::Permissions::from_mode(0o700));
    }
    directory
}

/// Where state is kept: what the file says, what systemd gives, else the user's state directory.
fn state_directory(settings: &Settings) -> Option<PathBuf> {
    let environment =
        |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let own = "auto-ai-router";
    settings
        .state
        .dir
        .clone()
        .or_else(|| environment("STATE_DIRECTORY"))
        .or_else(|| environment("XDG_STATE_HOME").map(|dir| dir.join(own)))
        .or_else(|| environment("HOME").map(|home| home.join(".local/state").join(own)))
}

fn pins(settings: &Settings) -> Pinboard {
    let Some(directory) = state_directory(settings) else { return Pinboard::in_memory() };
    match fs::create_dir_all(&directory) {
        Ok(()) => Pinboard::open(&directory.join(format!("pins-{}.tsv", settings.server.port))),
        Err(why) => {
            log::warn!("{}: ids will be forgotten at a restart: {why}", directory.display());
            Pinboard::in_memory()
        }
    }
}
