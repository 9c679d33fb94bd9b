//! One exchange with an upstream: open, send, read the head, read chunks, give the connection back.
//!
//! It runs on Pingora's connectors rather than on the proxy's own upstream phases, because only so a body of any size
//! can be sent again elsewhere, an error answer read while its connection goes back to the pool, and the first event
//! of a stream inspected before a 200 is committed. Dropping an exchange closes its connection (HTTP/2: its stream),
//! which is how a client that leaves ends the upstream call.
//!
//! Over HTTP/1 the head and the body leave in one write, a small body as a copy and a large one as its pieces: Pingora's
//! client session flushes behind the head, which costs a system call and a packet. Futures that connect are boxed,
//! because they are large and rarely needed: what a request's future holds, it holds for as long as its stream is open.
//!
//! HTTP/2 upstreams need an absolute URI and no Host, and may answer before they have read the whole body: after a
//! failed write the answer is read all the same.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, UPGRADE};
use http::StatusCode;
use pingora::connectors::http::Connector;
use pingora::connectors::{ConnectorOptions, TransportConnector};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::http::client::HttpSession;
use pingora::protocols::http::v1::client::http_req_header_to_wire;
use pingora::protocols::l4::stream::Stream as SocketStream;
use pingora::protocols::Stream;
use pingora::server::configuration::ServerConf;
use pingora::time::timeout;
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorType};
use tokio::io::AsyncWriteExt;

use super::addresses::AddressSet;
use super::http1::Http1;
use super::idle::IdleConnections;
use super::inflate::Inflate;
use crate::llm::body::Body;
use crate::providers::Transport;

/// An upstream that takes no byte of a request for this long is stuck.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// When it has taken none for this long, it may have answered already.
const WRITE_TICK: Duration = Duration::from_millis(500);
/// How long an answer may take to appear after the upstream stopped taking the body.
const EARLY_ANSWER: Duration = Duration::from_secs(1);
/// A body up to this size is copied behind its head.
const ONE_WRITE: usize = 16 * 1024;
/// Over HTTP/2 each piece of a body is a frame: with more pieces than this it is put together.
const MOST_FRAMES: usize = 8;
/// A group key under which no connection is ever kept: dialling with it always opens a new one.
const NEVER_POOLED: u64 = u64::MAX;

/// Opens connections and keeps the idle ones.
pub struct Dialer {
    http1: TransportConnector,
    /// Connections by HTTP/1 between two requests.
    pub idle: IdleConnections,
    /// Where any upstream may be offered HTTP/2: each of Pingora's connectors reads the TLS roots for itself.
    http2: Option<Connector>,
}

/// A connection with one request on it.
pub struct Exchange {
    line: Line,
    peer: Arc<HttpPeer>,
    /// The connection had carried a request before.
    pub reused: bool,
    write_failed: bool,
    /// The request asks for a WebSocket.
    upgrades: bool,
    inflate: Option<Box<Inflate>>,
}

/// What kind of connection is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dial {
    /// An idle one if there is any.
    Any,
    /// A new one.
    Fresh,
    /// A new one by HTTP/1, the only version in which an upstream can switch to a WebSocket.
    Http1,
}

enum Line {
    /// HTTP/1, before the request.
    Open(Stream),
    /// HTTP/1, with the request written.
    Http1(Http1),
    /// Whatever ALPN has settled on.
    Negotiated(Box<HttpSession>),
    /// Given up in the middle of a write.
    Broken,
}

impl Dialer {
    /// A dialer with the pool size, the roots and the bind addresses of `conf`. Without `http2` it offers no upstream
    /// HTTP/2.
    pub fn new(conf: &ServerConf, http2: bool) -> Self {
        let options = || Some(ConnectorOptions::from_server_conf(conf));
        Self {
            http1: TransportConnector::new(options()),
            idle: IdleConnections::new(conf.upstream_keepalive_pool_size),
            http2: http2.then(|| Connector::new(options())),
        }
    }

    /// A connection to the next address, or to another one when that refuses.
    pub async fn open(&self, addresses: &AddressSet, dial: Dial) -> Result<Exchange, Transport> {
        let peer = match addresses.known() {
            Some(peer) => peer,
            None => Box::pin(addresses.pick()).await?,
        };
        // One to an upstream that may speak HTTP/2 is idle here if it has settled on HTTP/1.
        if dial == Dial::Any {
            if let Some(stream) = self.idle.take(&peer) {
                return Ok(Exchange::new(Line::Open(stream), peer, true));
            }
        }
        Box::pin(self.dial(addresses, peer, dial)).await
    }

    /// A connection of its own to `peer`, by HTTP/1.
    pub async fn reach(&self, peer: HttpPeer) -> Result<Exchange, Transport> {
        self.connect(&Arc::new(peer), Dial::Http1).await
    }

    async fn dial(
        &self,
        addresses: &AddressSet,
        first: Arc<HttpPeer>,
        dial: Dial,
    ) -> Result<Exchange, Transport> {
        let refused = match self.connect(&first, dial).await {
            Err(why @ (Transport::Refused | Transport::ConnectTimeout | Transport::LocalFault)) => why,
            settled => return settled,
        };
        let other = addresses.pick().await?;
        if other._address == first._address {
            return Err(refused);
        }
        self.connect(&other, dial).await
    }

    async fn connect(&self, peer: &Arc<HttpPeer>, dial: Dial) -> Result<Exchange, Transport> {
        let offered = self.http2.as_ref().filter(|_| dial != Dial::Http1 && offers_http2(peer));
        let Some(http2) = offered else {
            let mut peer = peer.clone();
            if offers_http2(&peer) {
                Arc::make_mut(&mut peer).options.set_http_version(1, 1);
            }
            let stream = self.http1.new_stream(peer.as_ref()).await.map_err(|e| fault(&e))?;
            return Ok(Exchange::new(Line::Open(stream), peer, false));
        };
        let dialled = if dial == Dial::Fresh {
            let mut alone = HttpPeer::clone(peer);
            alone.group_key = NEVER_POOLED;
            // With room for one stream, Pingora does not keep it for others.
            alone.options.max_h2_streams = 1;
            http2.get_http_session(&alone).await
        } else {
            http2.get_http_session(peer.as_ref()).await
        };
        let (mut session, reused) = dialled.map_err(|e| fault(&e))?;
        session.set_write_timeout(Some(WRITE_TIMEOUT));
        Ok(Exchange::new(Line::Negotiated(Box::new(session)), peer.clone(), reused))
    }

    /// Gives the connection back, if its answer was read to the end (Pingora closes it otherwise).
    pub async fn release(&self, exchange: Exchange) {
        if exchange.write_failed {
            // The upstream still waits for the rest of this body: another request must never follow it.
            return;
        }
        match exchange.line {
            Line::Http1(answer) => {
                if let Some(stream) = answer.into_reusable() {
                    self.idle.put(stream, &exchange.peer, Instant::now());
                }
            }
            Line::Negotiated(session) => Box::pin(self.settled(*session, &exchange.peer)).await,
            Line::Open(_) | Line::Broken => {}
        }
    }

    /// The same where ALPN has settled what is spoken.
    async fn settled(&self, session: HttpSession, peer: &HttpPeer) {
        match (session, &self.http2) {
            (HttpSession::H1(mut session), _) => {
                session.respect_keepalive();
                if let Some(stream) = session.reuse().await {
                    self.idle.put(stream, peer, Instant::now());
                }
            }
            (session, Some(http2)) => {
                http2.release_http_session(session, peer, peer.options.idle_timeout).await;
            }
            (_, None) => {}
        }
    }
}

impl Exchange {
    fn new(line: Line, peer: Arc<HttpPeer>, reused: bool) -> Self {
        Self { line, peer, reused, write_failed: false, upgrades: false, inflate: None }
    }

    /// An exchange on a connection that was made elsewhere, and is not kept.
    pub fn on(stream: SocketStream) -> Self {
        let nowhere = HttpPeer::new(SocketAddr::from(([127, 0, 0, 1], 1)), false, String::new());
        Self::new(Line::Open(Box::new(stream)), Arc::new(nowhere), false)
    }

    /// Sends head and body. A body that the upstream stops taking is no failure yet: it may have answered early.
    pub async fn send(&mut self, head: Box<RequestHeader>, body: &Body) -> Result<(), Transport> {
        self.line = match std::mem::replace(&mut self.line, Line::Broken) {
            Line::Open(mut stream) => {
                self.upgrades = head.headers.contains_key(UPGRADE);
                self.write_failed = write_http1(&mut stream, &head, body).await.is_err();
                Line::Http1(Http1::new(stream))
            }
            Line::Negotiated(mut session) => {
                self.write_failed = !Box::pin(write_negotiated(&mut session, head, body)).await?;
                Line::Negotiated(session)
            }
            Line::Http1(_) | Line::Broken => return Err(Transport::LocalFault),
        };
        Ok(())
    }

    /// Reads the head of the answer, past any 1xx, within `limit` (`None`: no limit).
    pub async fn head(&mut self, limit: Option<Duration>) -> Result<(), Transport> {
        let limit = if self.write_failed { Some(EARLY_ANSWER) } else { limit };
        let failed = self.write_failed;
        let reading = pin!(self.next_head());
        let answered = match limit {
            Some(limit) => timeout(limit, reading).await,
            None => Ok(reading.await),
        };
        match answered {
            Ok(read) => read,
            Err(_) if failed => Err(Transport::Reset),
            Err(_) => Err(Transport::ResponseTimeout),
        }
    }

    async fn next_head(&mut self) -> Result<(), Transport> {
        loop {
            match &mut self.line {
                Line::Http1(answer) => answer.read_head().await?,
                Line::Negotiated(session) => session.read_response_header().await.map_err(|e| fault(&e))?,
                Line::Open(_) | Line::Broken => return Err(Transport::Reset),
            }
            if self.is_socket() {
                if let Line::Http1(answer) = &mut self.line {
                    answer.switch();
                }
                return Ok(());
            }
            if self.response().is_some_and(|head| !head.status.is_informational()) {
                return Ok(());
            }
        }
    }

    /// Whether the upstream has switched to a WebSocket; `chunk` and `write` then carry what is said.
    pub fn is_socket(&self) -> bool {
        self.upgrades && self.response().is_some_and(|head| head.status == StatusCode::SWITCHING_PROTOCOLS)
    }

    /// Says something to a WebSocket.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), Transport> {
        let Line::Http1(answer) = &mut self.line else { return Err(Transport::LocalFault) };
        let written = timeout(WRITE_TIMEOUT, answer.write(bytes)).await;
        written.unwrap_or(Err(Transport::ResponseTimeout))
    }

    /// The head that `head` has read.
    pub fn response(&self) -> Option<&ResponseHeader> {
        match &self.line {
            Line::Http1(answer) => answer.response(),
            Line::Negotiated(session) => session.response_header(),
            Line::Open(_) | Line::Broken => None,
        }
    }

    /// Drops the head: nobody asks for it any more (HTTP/2 keeps it).
    pub fn forget_head(&mut self) {
        if let Line::Http1(answer) = &mut self.line {
            answer.forget_head();
        }
    }

    /// Decodes the body from here on, if the head says that it is compressed after all.
    pub fn decode(&mut self) -> Result<(), Transport> {
        let coding = self.response().and_then(|head| head.headers.get(CONTENT_ENCODING));
        self.inflate = coding.map_or(Ok(None), |coding| Inflate::of(coding.as_bytes()))?;
        Ok(())
    }

    /// The next piece of the answer's body; `None` at its proper end.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Transport> {
        loop {
            let chunk = match &mut self.line {
                Line::Http1(answer) => answer.chunk().await?,
                Line::Negotiated(session) => session.read_response_body().await.map_err(|e| fault(&e))?,
                Line::Open(_) | Line::Broken => return Err(Transport::Reset),
            };
            let (Some(inflate), Some(packed)) = (self.inflate.as_mut(), chunk.as_ref()) else {
                return Ok(chunk);
            };
            let decoded = inflate.push(packed)?;
            if !decoded.is_empty() {
                return Ok(Some(decoded));
            }
        }
    }

    /// The body, up to `most` bytes and `limit` in time, for error answers: what came until then counts.
    pub async fn error_body(&mut self, most: usize, limit: Duration) -> Vec<u8> {
        let mut body = Vec::new();
        let read = async {
            while let Ok(Some(chunk)) = self.chunk().await {
                body.extend_from_slice(&chunk[..chunk.len().min(most - body.len())]);
                if body.len() == most {
                    break;
                }
            }
        };
        let _ = timeout(limit, read).await;
        body
    }
}

fn offers_http2(peer: &HttpPeer) -> bool {
    peer.options.alpn.get_max_http_version() == 2
}

async fn write_http1(stream: &mut Stream, head: &RequestHeader, body: &Body) -> io::Result<()> {
    let mut wire = http_req_header_to_wire(head).ok_or(io::ErrorKind::InvalidInput)?;
    if body.len() <= ONE_WRITE {
        body.parts().iter().for_each(|part| wire.extend_from_slice(part));
        write_all(stream, &mut [IoSlice::new(&wire)]).await?;
    } else {
        let pieces = std::iter::once(&wire[..]).chain(body.parts().iter().map(|part| &part[..]));
        write_all(stream, &mut pieces.map(IoSlice::new).collect::<Vec<_>>()).await?;
    }
    timeout(WRITE_TIMEOUT, stream.flush()).await.map_err(|_| io::ErrorKind::TimedOut)?
}

/// Writes all, unless the upstream takes nothing any more: because it is stuck, or because it has answered.
async fn write_all(stream: &mut Stream, mut pieces: &mut [IoSlice<'_>]) -> io::Result<()> {
    let mut quiet = Duration::ZERO;
    while !pieces.is_empty() {
        match timeout(WRITE_TICK, stream.write_vectored(pieces)).await {
            Ok(written) => {
                let written = written?;
                if written == 0 {
                    return Err(io::ErrorKind::WriteZero.into());
                }
                IoSlice::advance_slices(&mut pieces, written);
                quiet = Duration::ZERO;
            }
            Err(_) => {
                quiet += WRITE_TICK;
                if quiet >= WRITE_TIMEOUT || has_answered(stream).await {
                    return Err(io::ErrorKind::TimedOut.into());
                }
            }
        }
    }
    Ok(())
}

/// Whether there is something to read. What is seen stays unread.
async fn has_answered(stream: &mut Stream) -> bool {
    let mut first = [0];
    matches!(timeout(Duration::from_millis(1), stream.try_peek(&mut first)).await, Ok(Ok(true)))
}

/// Whether the whole body went out; an error where not even the head did.
async fn write_negotiated(
    session: &mut HttpSession,
    mut head: Box<RequestHeader>,
    body: &Body,
) -> Result<bool, Transport> {
    if matches!(session, HttpSession::H2(_)) {
        make_h2(&mut head)?;
    }
    session.write_request_header(head).await.map_err(|e| fault(&e))?;
    let joined;
    let parts = if body.parts().len() > MOST_FRAMES {
        joined = [body.contiguous()];
        &joined
    } else {
        body.parts()
    };
    for part in parts.iter().filter(|part| !part.is_empty()) {
        if session.write_request_body(part.clone(), false).await.is_err() {
            return Ok(false);
        }
    }
    Ok(session.finish_request_body().await.is_ok())
}

fn make_h2(head: &mut RequestHeader) -> Result<(), Transport> {
    let host = head.remove_header("host");
    let host = host.as_ref().and_then(|h| h.to_str().ok()).unwrap_or_default();
    let path = std::str::from_utf8(head.raw_path()).unwrap_or("/");
    let uri = format!("https://{host}{path}").parse().map_err(|_| Transport::LocalFault)?;
    head.set_uri(uri);
    head.set_version(http::Version::HTTP_2);
    Ok(())
}

/// What a Pingora error means for the attempt. Faults of this machine blame nobody.
pub fn fault(error: &Error) -> Transport {
    use ErrorType::*;
    match error.etype() {
        ConnectTimedout | TLSHandshakeTimedout => Transport::ConnectTimeout,
        ConnectRefused | ConnectNoRoute | ConnectError | ConnectProxyFailure => Transport::Refused,
        TLSHandshakeFailure | InvalidCert | HandshakeError | TLSWantX509Lookup => Transport::Tls,
        BindError | SocketError | InternalError | FileOpenError => Transport::LocalFault,
        ReadTimedout | WriteTimedout => Transport::ResponseTimeout,
        InvalidHTTPHeader => Transport::Malformed,
        _ => Transport::Reset,
    }
}
