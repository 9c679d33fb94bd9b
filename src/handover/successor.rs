//! The side of the process that takes over: shows that it can serve, gets everything, and begins.
//!
//! Until it has said that it serves, it changes nothing that others can see: its gate is closed, and it ends by itself when
//! the old process loses patience or goes away.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::HeaderValue;
use pingora::protocols::l4::stream::Stream as SocketStream;
use rustix::net::sockopt::socket_domain;
use rustix::net::AddressFamily;
use tokio::sync::mpsc::UnboundedSender;

use super::wire::{self, receive, Estate, Message, PROTOCOL};
use super::{own, Running};
use crate::edge::entrance;
use crate::observe::metrics;
use crate::server::places;
use crate::supervisor;

/// For the sockets to come after our greeting.
const PATIENCE: Duration = Duration::from_secs(30);

/// The process that serves, as its successor sees it.
pub struct Predecessor(UnixStream);

/// A client's connection that has arrived, and what had been read of its next request.
pub struct Arrived {
    /// A TCP connection, or one end of a pair that the old process uses itself.
    pub socket: OwnedFd,
    /// Who it is from, as the old process knows.
    pub caller: Option<SocketAddr>,
    /// Read already.
    pub prefix: Bytes,
}

/// The way back to the process before this one, as long as that one drains.
#[derive(Default)]
pub struct Before(Mutex<Option<UnixStream>>);

impl Before {
    /// Whether it is still there.
    pub fn is_there(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Tells it that this process will leave in order.
    pub fn part(&self) {
        if let Some(socket) = &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            let _ = wire::send(socket, &Message::Parting, &[]);
        }
    }

    fn set(&self, socket: Option<UnixStream>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = socket;
    }
}

impl Predecessor {
    /// The one at the other end of the standard input, in whose place the null device is put.
    pub fn at_stdin() -> io::Result<Self> {
        let socket = io::stdin().as_fd().try_clone_to_owned()?;
        socket_domain(&socket)?;
        rustix::stdio::dup2_stdin(std::fs::File::open("/dev/null")?)?;
        Ok(Self(socket.into()))
    }

    /// Says that this process cannot take over.
    pub fn refuse(&self, why: &str) {
        let _ = wire::send(&self.0, &Message::Unfit(why.trim().to_owned()), &[]);
    }

    /// Says that this process can serve, and gets the listening sockets, by their places.
    pub fn greet(&self) -> io::Result<HashMap<String, OwnedFd>> {
        let hello = Message::Hello { protocol: PROTOCOL, version: crate::VERSION.to_owned() };
        wire::send(&self.0, &hello, &[])?;
        self.0.set_read_timeout(Some(PATIENCE))?;
        match receive(&self.0)? {
            Some((Message::Sockets(places), fds)) => Ok(places.into_iter().zip(fds).collect()),
            _ => Err(io::Error::other("the running process has changed its mind")),
        }
    }

    /// This process has answered a request: takes over, and then hears what becomes of the other's streams until it has
    /// gone. Ends the process if it comes to nothing.
    pub fn follow(self, running: &Running, arrivals: &UnboundedSender<Arrived>) {
        if wire::send(&self.0, &Message::Proven, &[]).is_err() || self.0.set_read_timeout(None).is_err() {
            std::process::exit(1);
        }
        let (mut serving, mut main) = (false, false);
        loop {
            match receive(&self.0) {
                Ok(Some((Message::Estate(estate), _))) => {
                    inherit(running, &estate);
                    running.before.set(self.0.try_clone().ok());
                    if wire::send(&self.0, &Message::Serving, &[]).is_err() {
                        std::process::exit(1);
                    }
                    serving = true;
                    running.gate.send_replace(true);
                    log::info!("serving in place of another process, generation {}", estate.generation + 1);
                }
                Ok(Some((Message::Main, _))) => {
                    main = true;
                    become_main(running);
                }
                Ok(Some((message, fds))) => hear(running, arrivals, message, fds),
                Ok(None) if serving => break log::info!("the process before this one has left"),
                Err(why) if serving => break log::error!("the process before this one is not heard: {why}"),
                _ => std::process::exit(1),
            }
        }
        running.before.set(None);
        if !main {
            become_main(running);
        }
    }
}

fn become_main(running: &Running) {
    places::write_pid(running.live.edge().gateway.settings.server.port);
    supervisor::ready();
}

fn hear(running: &Running, arrivals: &UnboundedSender<Arrived>, message: Message, fds: Vec<OwnedFd>) {
    let edge = running.live.edge();
    match message {
        Message::Learned(learned) => edge.gateway.memory.learn(learned),
        Message::Note(note) => edge.tell(edge.gateway.pool.hear(&note, Instant::now())),
        Message::Used(note) => edge.gateway.roster.hear(&note),
        Message::Connection { caller, prefix } => {
            let prefix = Bytes::from(prefix);
            for socket in fds {
                let _ = arrivals.send(Arrived { socket, caller, prefix: prefix.clone() });
            }
        }
        other => log::debug!("the process before this one said {:?} out of turn", other.kind()),
    }
}

fn inherit(running: &Running, estate: &Estate) {
    let gateway = &running.live.edge().gateway;
    let keeps = gateway.same_keys("", &estate.identities);
    if let Some(epoch) = own(estate.epoch) {
        gateway.pool.inherit(&estate.ledger, epoch, &keeps);
    }
    let (used, since) = &estate.clients;
    if let Some(epoch) = own(*since) {
        gateway.roster.inherit(used, "", epoch);
    }
    for token in gateway.tokens() {
        let inherited = estate.tokens.iter().find(|(name, ..)| **name == *token.credential && keeps(name));
        if let (Some((_, value, left)), None) = (inherited, token.known()) {
            if let Ok(mut value) = HeaderValue::from_str(value) {
                value.set_sensitive(true);
                token.publish(value, *left);
            }
        }
    }
    running.generation.store(estate.generation + 1, Ordering::SeqCst);
    metrics::generation(estate.generation + 1);
}

impl Arrived {
    /// As Pingora knows connections. Must be called inside the runtime that is to serve it.
    pub fn stream(self) -> io::Result<(SocketStream, Bytes)> {
        let mut stream: SocketStream = match socket_domain(&self.socket)? {
            AddressFamily::UNIX => {
                let socket = UnixStream::from(self.socket);
                socket.set_nonblocking(true)?;
                tokio::net::UnixStream::from_std(socket)?.into()
            }
            _ => {
                let socket = std::net::TcpStream::from(self.socket);
                socket.set_nonblocking(true)?;
                tokio::net::TcpStream::from_std(socket)?.into()
            }
        };
        if let Some(caller) = self.caller {
            entrance::rename(&mut stream, caller);
        }
        Ok((stream, self.prefix))
    }
}
