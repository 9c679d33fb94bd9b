//! In front of Pingora's parser: one deadline for a whole request head, a bound on its size, and a refusal of heads
//! that can be read in two ways (`grammar`).
//!
//! Pingora's read timeout counts from byte to byte, so that a head which drips stays for ever, and it takes
//! Content-Length beside Transfer-Encoding. Here the head is read up to its blank line first and handed to Pingora as
//! a prefix; HTTP/2 (by ALPN or by its preface, "h2c") is handed over with its frames counted. Idle keep-alive
//! connections end here, too.
//! HTTP/1 requests go from here straight to the door, and into Pingora's proxy only if it is to carry them.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use http::HeaderMap;
use pingora::apps::{HttpPersistentSettings, HttpServerApp, ReusedHttpStream, ServerApp};
use pingora::protocols::http::ServerSession;
use pingora::protocols::l4::stream::Stream as SocketStream;
use pingora::protocols::{GetSocketDigest, Stream};
use pingora::proxy::HttpProxy;
use pingora::server::ShutdownWatch;
use pingora::time::timeout;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::watch;

use super::course::{Line, Live, Moved};
use super::crowd::Crowd;
use super::door::{self, Served, Way};
use super::drain::Connected;
use super::entrance::counted;
use super::frames::Counted;
use super::http1::read_once;
use super::linger::Linger;
use super::proxy::EdgeProxy;
use super::{grammar, origin, reply, Edge};
use crate::llm::error::ApiError;
use crate::observe::outcome::Ended;
use crate::providers::Transport;

const FIRST_READ: usize = 2 * 1024;
const MOST_HEAD: usize = 64 * 1024;
/// For an answer to ourselves.
const PROBE: Duration = Duration::from_secs(5);
const H2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n";
/// An HTTP/2 connection is asked to end after this, so that none outlives what it was opened for.
const H2_AGE: Duration = Duration::from_secs(60 * 60);

/// The front of the proxy service.
pub struct Front {
    live: Arc<Live>,
    proxy: Arc<HttpProxy<EdgeProxy>>,
    crowd: Arc<Crowd>,
}

/// How a connection begins.
pub struct Begin {
    /// What has been read already.
    pub prefix: BytesMut,
    /// No request has come on it.
    pub first: bool,
    /// Its requests are not told.
    pub quiet: bool,
    /// It means nothing to another process, because its keys are here. It goes on as ever, until an answer says that
    /// the connection is over: to close one that is idle could cost a request that is on its way.
    pub stays: bool,
}

/// A request whose head has been read.
struct Next {
    head: BytesMut,
    /// What the requests before it on this connection have left.
    kept: Option<HttpPersistentSettings>,
    quiet: bool,
}

enum Head {
    Read(BytesMut),
    Http2(BytesMut),
    Refused(u16, &'static str),
    /// Another process serves from now on.
    Leaves(Line),
    Gone,
}

impl Front {
    /// A front for the edge as it is, with the proxy that serves what is handed on.
    pub fn new(live: Arc<Live>, proxy: HttpProxy<EdgeProxy>, crowd: Arc<Crowd>) -> Self {
        Self { live, proxy: Arc::new(proxy), crowd }
    }

    /// The end of the service.
    pub async fn cleanup(&self) {
        self.proxy.http_cleanup().await;
    }

    /// A connection that another process has begun with; `prefix` is what it has read of the next request.
    pub async fn take_over(&self, stream: SocketStream, prefix: BytesMut, shutdown: &ShutdownWatch) {
        let mut place = self.crowd.enter(None);
        let caller = counted(&stream, &self.live.edge().gateway.settings.server);
        if let (Some(place), Some(caller)) = (&mut place, caller) {
            place.belongs(caller, None);
        }
        let begin = Begin { prefix, first: false, quiet: false, stays: false };
        self.connection(Box::new(stream), begin, shutdown).await;
    }

    /// Whether a request to ourselves is answered, all the way through; nobody is told of it.
    pub async fn answers(&self, path: &str, shutdown: &ShutdownWatch) -> bool {
        let Ok((mut ours, theirs)) = UnixStream::pair() else { return false };
        let key = self.live.edge().gateway.roster.master().clone();
        let stream = SocketStream::from(theirs);
        let begin = Begin { prefix: BytesMut::new(), first: true, quiet: true, stays: false };
        let ask = async {
            let head = format!(
                "GET {path} HTTP/1.1\r\nHost: self\r\nAuthorization: Bearer {}\r\nConnection: close\r\n\r\n",
                key.expose()
            );
            ours.write_all(head.as_bytes()).await?;
            let mut answer = Vec::new();
            ours.read_to_end(&mut answer).await?;
            std::io::Result::Ok(answer.starts_with(b"HTTP/1.1 200"))
        };
        let served = self.connection(Box::new(stream), begin, shutdown);
        let (answered, ()) = tokio::join!(timeout(PROBE, ask), served);
        matches!(answered, Ok(Ok(true)))
    }

    async fn next_head(&self, edge: &Edge, stream: &mut Stream, begin: &mut Begin) -> Head {
        let mut head = std::mem::take(&mut begin.prefix);
        let server = &edge.gateway.settings.server;
        let patience = if begin.first { server.header_timeout } else { server.keepalive_timeout };
        if head.is_empty() {
            let reading = timeout(patience, read_more(stream, &mut head));
            let begun = tokio::select! {
                biased;
                begun = reading => begun,
                line = edge.courses.leaves(), if !begin.stays => return Head::Leaves(line),
            };
            match begun {
                Ok(Ok(read)) if read > 0 => {}
                Err(_) if begin.first => return Head::Refused(408, "the request head did not come in time"),
                _ => return Head::Gone,
            }
        }
        match timeout(server.header_timeout, rest_of_head(stream, &mut head)).await {
            Ok(Rest::Whole(end)) => match grammar::fault(&head[..end]) {
                None => Head::Read(head),
                Some((status, fault)) => Head::Refused(status, fault),
            },
            Ok(Rest::Http2) => Head::Http2(head),
            Ok(Rest::TooLarge) => Head::Refused(431, "the request head is larger than 64 KiB"),
            Ok(Rest::Gone) => Head::Gone,
            Err(_) => Head::Refused(408, "the request head did not come in time"),
        }
    }
}

enum Rest {
    Whole(usize),
    Http2,
    TooLarge,
    Gone,
}

async fn rest_of_head(stream: &mut Stream, head: &mut BytesMut) -> Rest {
    let mut searched = 0;
    loop {
        if searched == 0 {
            // Empty lines before a request mean nothing (RFC 9112 section 2.2), and must not look like its end.
            let begin = head.iter().position(|byte| !matches!(byte, b'\r' | b'\n')).unwrap_or(head.len());
            head.advance(begin);
        }
        if head.len() >= H2_PREFACE.len() && head.starts_with(H2_PREFACE) {
            return Rest::Http2;
        }
        match blank_line(head, searched) {
            Some(end) if end <= MOST_HEAD => return Rest::Whole(end),
            None if head.len() <= MOST_HEAD => {}
            _ => return Rest::TooLarge,
        }
        searched = head.len().saturating_sub(3);
        match read_more(stream, head).await {
            Ok(n) if n > 0 => {}
            _ => return Rest::Gone,
        }
    }
}

async fn read_more(stream: &mut Stream, head: &mut BytesMut) -> Result<usize, Transport> {
    let keep = |bytes: &mut [u8]| {
        head.extend_from_slice(bytes);
        bytes.len()
    };
    read_once::<FIRST_READ, _>(stream, keep).await
}

/// Where the head ends: behind its first empty line.
pub fn blank_line(head: &[u8], from: usize) -> Option<usize> {
    memchr::memchr_iter(b'\n', &head[from..]).find_map(|at| {
        let after = &head[from + at + 1..];
        match after {
            [b'\n', ..] => Some(from + at + 2),
            [b'\r', b'\n', ..] => Some(from + at + 3),
            _ => None,
        }
    })
}

impl Front {
    /// A connection: one request after the other, each with the edge as it then is. Between two requests it can go to
    /// the process that has taken over.
    pub async fn connection(&self, mut stream: Stream, mut begin: Begin, shutdown: &ShutdownWatch) {
        let mut kept: Option<HttpPersistentSettings> = None;
        let mut edge = self.live.edge();
        let mut open = Some(edge.drain.connected());
        loop {
            let (head, http2) = match self.next_head(&edge, &mut stream, &mut begin).await {
                Head::Read(head) => (head, false),
                Head::Http2(head) => (head, true),
                Head::Refused(status, why) => return Box::pin(refuse(&edge, &mut stream, status, why)).await,
                Head::Leaves(line) => return give(&line, stream, Bytes::new(), open.take()),
                Head::Gone => return,
            };
            edge = self.live.edge();
            if let Some(line) = edge.courses.process().filter(|_| !begin.stays) {
                return give(&line, stream, head.freeze(), open.take());
            }
            if http2 {
                let Ok(mut socket) = stream.into_any().downcast::<SocketStream>() else { return };
                socket.rewind(&head);
                return Box::pin(self.http2(socket, shutdown)).await;
            }
            let next = Next { head, kept: kept.take(), quiet: begin.quiet };
            // Boxed, so that an idle connection holds nothing of what a request needs.
            let served = Box::pin(self.request(&edge, stream, next, shutdown)).await;
            let Some(reused) = served else { return };
            (stream, kept) = reused.consume();
            begin.first = false;
        }
    }

    /// An HTTP/2 connection, from its preface to its end.
    pub async fn http2(&self, stream: Stream, shutdown: &ShutdownWatch) {
        let linger = Linger::on(stream.id());
        let (close, closed) = watch::channel(*shutdown.borrow());
        let mut shutdown = shutdown.clone();
        let end = async {
            let _ = timeout(H2_AGE, shutdown.wait_for(|down| *down)).await;
            close.send_replace(true);
            std::future::pending::<()>().await;
        };
        let open = self.live.edge().drain.connected();
        tokio::select! {
            // Nothing is left over: HTTP/2 takes the connection to its end.
            _ = self.proxy.process_new(Box::new(Counted::new(stream)), &closed) => {}
            () = end => {}
        }
        drop(open);
        match linger {
            Ok(linger) => linger.end().await,
            Err(why) => log::debug!("an HTTP/2 connection was closed at once: {why}"),
        }
    }

    /// One HTTP/1 request. The connection, if it can be used again.
    async fn request(
        &self,
        edge: &Arc<Edge>,
        stream: Stream,
        next: Next,
        shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        let Next { head, kept, quiet } = next;
        // Kept for a request that is handed on: Pingora's proxy reads it anew.
        let unread = head.clone();
        let mut session = ServerSession::new_http1(stream);
        if let Some(kept) = kept {
            kept.apply_to_session(&mut session);
        }
        session.set_pipelined_prefix(head);
        if !session.read_request().await.unwrap_or(false) {
            Box::pin(refuse(edge, &mut inner(session)?, 400, "the request head is malformed")).await;
            return None;
        }
        let mut ctx = edge.begin();
        if quiet {
            ctx.told_elsewhere();
        }
        let served = match door::admit(edge, &mut session, &mut ctx) {
            Way::In(endpoint, door) => {
                drop(unread);
                door::serve(edge, endpoint, door, &mut session, &mut ctx).await
            }
            Way::Out(end) => Box::pin(door::close(end, &mut session, &mut ctx)).await,
            Way::On(_) => {
                ctx.hand_on();
                let mut session = ServerSession::new_http1(inner(session)?);
                session.set_pipelined_prefix(unread);
                return Box::pin(self.proxy.process_new_http(session, shutdown)).await;
            }
        };
        match served {
            Served::Answered => {
                drop(ctx);
                let settings = HttpPersistentSettings::for_session(&session);
                let finished = session.finish().await.ok().flatten()?;
                Some(ReusedHttpStream::from_reusable_stream(finished, settings))
            }
            Served::Close => None,
        }
    }
}

fn inner(session: ServerSession) -> Option<Stream> {
    match session {
        ServerSession::H1(session) => Some(session.into_inner()),
        _ => None,
    }
}

/// Gives a connection to the process that has taken over.
fn give(line: &Line, stream: Stream, prefix: Bytes, open: Option<Connected>) {
    if let Ok(stream) = stream.into_any().downcast::<SocketStream>() {
        let caller = GetSocketDigest::get_socket_digest(&*stream)
            .and_then(|peer| peer.peer_addr()?.as_inet().copied());
        line.give(Moved { stream: *stream, caller, prefix, open });
    }
}

/// Answers a head that never became a request, reads on for a moment, and closes.
async fn refuse(edge: &Edge, stream: &mut Stream, status: u16, why: &'static str) {
    let mut ctx = edge.begin();
    ctx.ended(Ended::Refused);
    ctx.answered(status);
    let peer = stream.get_socket_digest();
    let trusted = &edge.gateway.settings.server.trusted_proxies;
    ctx.outcome.caller =
        origin::caller(peer.as_ref().and_then(|peer| peer.peer_addr()), &HeaderMap::new(), trusted);
    ctx.outcome.refusal = Some("malformed_head");
    let body: Bytes = ApiError::invalid(status, why).body();
    let reason = http::StatusCode::from_u16(status).ok().and_then(|s| s.canonical_reason()).unwrap_or("");
    let head = format!(
        "HTTP/1.1 {status} {reason}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nx-request-id: {}\r\nconnection: close\r\n\r\n",
        body.len(),
        ctx.request_id()
    );
    let answer = async {
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(&body).await?;
        stream.flush().await?;
        AsyncWriteExt::shutdown(stream).await?;
        tokio::io::copy(&mut stream.take(reply::LINGER_BYTES as u64), &mut tokio::io::sink()).await
    };
    let _ = timeout(reply::LINGER, answer).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_ends_at_its_first_empty_line() {
        assert_eq!(blank_line(b"GET / HTTP/1.1\r\nHost: a\r\n\r\nbody", 0), Some(27));
        assert_eq!(blank_line(b"GET / HTTP/1.1\nHost: a\n\nbody", 0), Some(24));
        assert_eq!(blank_line(b"GET / HTTP/1.1\r\nHost: a\r\n", 0), None);
    }
}
