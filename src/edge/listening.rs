//! The listening sockets: bound or inherited, and opened and closed by a gate.
//!
//! Pingora's listening service can begin once and binds what it is not given. Here the sockets are ours: each time the
//! gate opens, a service of Pingora's begins on a duplicate, and when the gate closes it ends, with GOAWAY for its
//! HTTP/2 connections, while the socket stays. So two processes can hold the same queue of connections with one of them
//! accepting, and the one that has closed its gate can open it again should the other fail.

use std::collections::HashMap;
use std::fs::Permissions;
use std::io;
use std::net::TcpListener;
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd, RawFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use pingora::apps::ServerApp;
use pingora::listeners::{L4BufferSettings, ListenerConfig};
use pingora::protocols::Stream;
use pingora::server::{Fds, ListenFds, ShutdownWatch};
use pingora::services::listening::Service as Accepting;
use pingora::services::Service;
use socket2::SockRef;
use tokio::sync::watch;

/// What the kernel holds of an answer that its client does not read, beside what is on its way; connections have it from
/// the socket that they come from. The kernel's own bound is some megabytes for each (tcp(7), `tcp_wmem`), more than
/// the router itself needs for a thousand of them.
const MOST_UNSENT: u32 = 512 * 1024;

/// A listening socket.
pub enum Socket {
    /// TCP.
    Tcp(TcpListener),
    /// A unix socket.
    Unix(UnixListener),
}

impl Socket {
    fn duplicate(&self) -> io::Result<RawFd> {
        Ok(match self {
            Self::Tcp(socket) => socket.try_clone()?.into_raw_fd(),
            Self::Unix(socket) => socket.try_clone()?.into_raw_fd(),
        })
    }

    fn prepare(&self) -> io::Result<()> {
        match self {
            Self::Tcp(socket) => {
                SockRef::from(socket).set_tcp_notsent_lowat(MOST_UNSENT)?;
                socket.set_nonblocking(true)
            }
            Self::Unix(socket) => socket.set_nonblocking(true),
        }
    }
}

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        match self {
            Self::Tcp(socket) => socket.as_raw_fd(),
            Self::Unix(socket) => socket.as_raw_fd(),
        }
    }
}

/// The sockets of this process, by their places: those in use, and those that were handed over and not asked for yet.
#[derive(Default)]
pub struct Sockets {
    offered: Mutex<HashMap<String, OwnedFd>>,
    used: Mutex<Vec<(String, Arc<Socket>)>>,
}

impl Sockets {
    /// Sockets that another process has handed over.
    pub fn offered(offered: HashMap<String, OwnedFd>) -> Self {
        Self { offered: Mutex::new(offered), used: Mutex::default() }
    }

    /// A TCP socket at `address`.
    pub fn tcp(&self, address: &str) -> io::Result<Arc<Socket>> {
        let place = format!("tcp:{address}");
        let socket = match self.take(&place) {
            Some(socket) => TcpListener::from(socket),
            None => TcpListener::bind(address)?,
        };
        self.keep(place, Socket::Tcp(socket))
    }

    /// A unix socket at `path`, for its owner only; `prepare` makes room for one that was not handed over.
    pub fn unix(
        &self,
        path: &Path,
        prepare: impl FnOnce(&Path) -> io::Result<()>,
    ) -> io::Result<Arc<Socket>> {
        let place = format!("unix:{}", path.display());
        let socket = match self.take(&place) {
            Some(socket) => UnixListener::from(socket),
            None => {
                prepare(path)?;
                UnixListener::bind(path)?
            }
        };
        self.keep(place, Socket::Unix(socket))
    }

    /// All sockets in use, with their places.
    pub fn used(&self) -> Vec<(String, Arc<Socket>)> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Closes what was handed over and has no use.
    pub fn drop_unused(&self) {
        self.offered.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Closes what is listened to, as far as nobody else holds it.
    pub fn close(&self) {
        self.used.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn take(&self, place: &str) -> Option<OwnedFd> {
        self.offered.lock().unwrap_or_else(PoisonError::into_inner).remove(place)
    }

    fn keep(&self, place: String, socket: Socket) -> io::Result<Arc<Socket>> {
        socket.prepare()?;
        let socket = Arc::new(socket);
        self.used.lock().unwrap_or_else(PoisonError::into_inner).push((place, socket.clone()));
        Ok(socket)
    }
}

/// An application on a socket.
pub struct Listening<A> {
    /// For logs and thread names.
    pub name: &'static str,
    /// Where connections come from; closed when the process stops.
    pub socket: Option<Arc<Socket>>,
    /// Who gets them.
    pub app: Arc<A>,
    /// Whether to accept any.
    pub gate: watch::Receiver<bool>,
    /// Below the application.
    pub buffers: L4BufferSettings,
    /// Worker threads; none is the server's number.
    pub threads: Option<usize>,
}

/// The application, each time the gate opens.
struct Shared<A>(Arc<A>);

#[async_trait]
impl<A: ServerApp + Send + Sync + 'static> ServerApp for Shared<A> {
    async fn process_new(self: &Arc<Self>, stream: Stream, shutdown: &ShutdownWatch) -> Option<Stream> {
        self.0.process_new(stream, shutdown).await
    }

    async fn cleanup(&self) {}
}

impl<A: ServerApp + Send + Sync + 'static> Listening<A> {
    fn accepting(&self) -> io::Result<(Accepting<Shared<A>>, ListenFds)> {
        let socket = self.socket.as_ref().ok_or(io::ErrorKind::NotConnected)?;
        let mut service = Accepting::new(self.name.into(), Shared(self.app.clone()));
        // Pingora looks its sockets up by this text, and sets the mode of a unix socket at it.
        let place = match &**socket {
            Socket::Tcp(_) => self.name.to_owned(),
            Socket::Unix(socket) => {
                let address = socket.local_addr()?;
                address.as_pathname().unwrap_or(Path::new("")).to_string_lossy().into_owned()
            }
        };
        let config = match **socket {
            Socket::Tcp(_) => ListenerConfig::tcp(&place),
            Socket::Unix(_) => ListenerConfig::uds(&place).permissions(Permissions::from_mode(0o600)),
        };
        service.add_listener(config.l4_buffer(self.buffers));
        let mut fds = Fds::new();
        fds.add(place, socket.duplicate()?);
        Ok((service, ListenFds::new(fds.into())))
    }
}

/// Tells connections that did not come through the gate when it closes, or when the process stops. Must be called inside
/// a runtime.
pub fn closed(mut gate: watch::Receiver<bool>, mut shutdown: ShutdownWatch) -> ShutdownWatch {
    let (close, closed) = watch::channel(false);
    tokio::spawn(async move {
        loop {
            tokio::select! {
                changed = gate.changed() => if changed.is_err() { break },
                _ = shutdown.wait_for(|down| *down) => break,
            }
            close.send_replace(!*gate.borrow());
        }
        close.send_replace(true);
        close.closed().await;
    });
    closed
}

#[async_trait]
impl<A: ServerApp + Send + Sync + 'static> Service for Listening<A> {
    async fn start_service(&mut self, _: Option<ListenFds>, mut shutdown: ShutdownWatch, tasks: usize) {
        let mut gate = self.gate.clone();
        loop {
            tokio::select! {
                opened = gate.wait_for(|open| *open) => if opened.is_err() { return },
                _ = shutdown.wait_for(|down| *down) => break,
            }
            let (mut service, fds) = match self.accepting() {
                Ok(ready) => ready,
                Err(why) => return log::error!("{}: the listening socket is lost: {why}", self.name),
            };
            let (close, closed) = watch::channel(false);
            let end = async {
                tokio::select! {
                    _ = gate.wait_for(|open| !*open) => {}
                    _ = shutdown.wait_for(|down| *down) => {}
                }
                close.send_replace(true);
            };
            tokio::join!(service.start_service(Some(fds), closed, tasks), end);
            if *shutdown.borrow() {
                break;
            }
        }
        self.socket = None;
        self.app.cleanup().await;
    }

    fn name(&self) -> &str {
        self.name
    }

    fn threads(&self) -> Option<usize> {
        self.threads
    }
}
