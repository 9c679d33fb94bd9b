//! How a connection comes in: its place among those that are open, the word of a proxy in front, TLS, and then the front.
//!
//! All of it is by the newest configuration, looked at once for each connection, so that a reload takes up renewed
//! certificates and other bounds. TLS is accepted here rather than by Pingora's listener, because the PROXY protocol
//! comes before it and one deadline holds for both. Whoever does not get in costs a counter and no line of the log.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::BytesMut;
use pingora::apps::ServerApp;
use pingora::listeners::tls::Acceptor;
use pingora::protocols::l4::socket::SocketAddr as L4Addr;
use pingora::protocols::l4::stream::Stream as SocketStream;
use pingora::protocols::{GetSocketDigest, SocketDigest, Stream, ALPN};
use pingora::server::ShutdownWatch;
use pingora::time::timeout;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::course::Live;
use super::crowd::{Crowd, Place};
use super::front::{Begin, Front};
use super::origin::is_trusted;
use super::proxy_protocol::{self, Preface};
use super::Edge;
use crate::config::{Listener, Server};
use crate::observe::metrics;

/// A full house says so, and reads what it is sent for so long, lest the answer be lost to a reset.
const FAREWELL: Duration = Duration::from_millis(250);
const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\ncontent-length: 114\r\n\
    retry-after: 1\r\nconnection: close\r\n\r\n\
    {\"error\":{\"message\":\"Too many connections are open.\",\"type\":\"server_error\",\"param\":null,\"code\":\"connections\"   }}\n";

/// One place to listen.
pub struct Entrance {
    /// Who is behind it.
    pub front: Arc<Front>,
    /// The configuration.
    pub live: Arc<Live>,
    /// The open connections.
    pub crowd: Arc<Crowd>,
    /// As it was when the process started; a configuration that has it no longer changes nothing about it.
    pub listener: Listener,
}

/// Why a connection does not come in: a value of `rejected_total{reason}`.
type Rejected = &'static str;

#[async_trait]
impl ServerApp for Entrance {
    async fn process_new(self: &Arc<Self>, stream: Stream, shutdown: &ShutdownWatch) -> Option<Stream> {
        let Ok(socket) = stream.into_any().downcast::<SocketStream>() else { return None };
        // Pingora's task has room for a TLS handshake, 10 KiB for as long as the connection is open; ours has not.
        tokio::spawn(self.clone().receive(socket, shutdown.clone()));
        None
    }

    async fn cleanup(&self) {
        self.front.cleanup().await;
    }
}

impl Entrance {
    /// A connection, to its end.
    async fn receive(self: Arc<Self>, socket: Box<SocketStream>, shutdown: ShutdownWatch) {
        match Box::pin(self.admit(*socket)).await {
            Ok((stream, _, _place)) if stream.selected_alpn_proto() == Some(ALPN::H2) => {
                self.front.http2(stream, &shutdown).await;
            }
            Ok((stream, begin, _place)) => self.front.connection(stream, begin, &shutdown).await,
            Err(reason) => metrics::rejected(reason),
        }
    }

    /// The connection as a caller speaks on it, and its place.
    async fn admit(&self, mut socket: SocketStream) -> Result<(Stream, Begin, Place), Rejected> {
        let edge = self.live.edge();
        let server = &edge.gateway.settings.server;
        let listener = server.listeners.iter().find(|listener| listener.address == self.listener.address);
        let listener = listener.unwrap_or(&self.listener);
        let Some(mut place) = self.crowd.enter(server.max_connections) else {
            return Err(full(socket, listener, "connections").await);
        };
        if listener.proxy_protocol {
            let introduced = timeout(server.header_timeout, introduce(&mut socket, server)).await;
            introduced.map_err(|_| "proxy_protocol")?.ok_or("proxy_protocol")?;
        }
        if let Some(caller) = counted(&socket, server) {
            if !place.belongs(caller, server.max_connections_per_address) {
                return Err(full(socket, listener, "connections_per_address").await);
            }
        }
        let begin = Begin { prefix: BytesMut::new(), first: true, quiet: false, stays: listener.tls };
        if !listener.tls {
            return Ok((Box::new(socket), begin, place));
        }
        let stream = secure(&edge, socket).await.ok_or("tls_handshake")?;
        Ok((stream, begin, place))
    }
}

/// The TLS handshake.
async fn secure(edge: &Edge, socket: SocketStream) -> Option<Stream> {
    let server = &edge.gateway.settings.server;
    let acceptor = Acceptor::from_server_config(server.tls.as_ref()?.config.clone());
    match timeout(server.header_timeout, acceptor.tls_handshake(socket)).await {
        Ok(Ok(stream)) => Some(Box::new(stream)),
        Ok(Err(why)) => {
            log::debug!("a TLS handshake has failed: {why}");
            None
        }
        Err(_) => None,
    }
}

/// Reads who the connection is from; none where that is not said, or said by somebody who is not believed.
async fn introduce(socket: &mut SocketStream, server: &Server) -> Option<()> {
    if !is_trusted(peer(socket)?, &server.trusted_proxies) {
        return None;
    }
    let mut read = Vec::with_capacity(256);
    loop {
        match proxy_protocol::read(&read) {
            Preface::Whole(end, source) => {
                socket.rewind(read.get(end..).unwrap_or_default());
                source.into_iter().for_each(|source| rename(socket, source));
                return Some(());
            }
            Preface::Broken => return None,
            Preface::Partial => {}
        }
        if socket.read_buf(&mut read).await.ok()? == 0 {
            return None;
        }
    }
}

/// From now on the connection is from `source`.
pub fn rename(socket: &mut SocketStream, source: SocketAddr) {
    let digest = SocketDigest::from_raw_fd(socket.as_raw_fd());
    let _ = digest.peer_addr.set(Some(L4Addr::Inet(source)));
    socket.set_socket_digest(digest);
}

fn peer(socket: &SocketStream) -> Option<IpAddr> {
    let digest = socket.get_socket_digest()?;
    Some(digest.peer_addr()?.as_inet()?.ip().to_canonical())
}

/// The address whose connections are counted; none for a proxy or a tunnel, whose connections are those of many.
pub fn counted(socket: &SocketStream, server: &Server) -> Option<IpAddr> {
    let stands_for_many =
        |caller: IpAddr| caller.is_loopback() || is_trusted(caller, &server.trusted_proxies);
    peer(socket).filter(|caller| !stands_for_many(*caller))
}

/// Tells the caller, where it can be told in few words.
async fn full(mut socket: SocketStream, listener: &Listener, reason: Rejected) -> Rejected {
    if !listener.tls {
        let answer = async {
            socket.write_all(FULL).await?;
            socket.flush().await?;
            AsyncWriteExt::shutdown(&mut socket).await?;
            tokio::io::copy(&mut socket.take(64 * 1024), &mut tokio::io::sink()).await
        };
        let _ = timeout(FAREWELL, answer).await;
    }
    reason
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_of_a_full_house_is_as_long_as_it_says() {
        let text = std::str::from_utf8(FULL).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("content-length: {}", body.len())), "{}", body.len());
        assert!(serde_json::from_str::<serde_json::Value>(body).is_ok());
    }
}
