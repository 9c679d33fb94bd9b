//! A request that was not admitted before another process took over: it is asked of that process, and its answer
//! brought to the client byte for byte.
//!
//! These are the few requests that were being read, or between two attempts, or on an HTTP/2 connection, when the other
//! process began to serve. It tells them in its log and counts them, since it admits them. The way there is a pair of
//! sockets, one end of which is given away like a client's connection.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::header::{HeaderName, CONNECTION, CONTENT_LENGTH, EXPECT, HOST, TE, TRANSFER_ENCODING, UPGRADE};
use pingora::connectors::l4::Connect;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::http::ServerSession;
use pingora::protocols::l4::socket::SocketAddr as L4Addr;
use pingora::protocols::l4::stream::Stream as SocketStream;
use pingora::upstreams::peer::HttpPeer;
use pingora::{ErrorType, OrErr};
use tokio::net::UnixStream;

use super::context::RequestContext;
use super::course::{Line, Moved};
use super::exchange::Exchange;
use super::lifecycle::{client_or, End};
use super::reply;
use crate::llm::body::Body;

/// Headers of a connection, not of a request.
const OF_THE_HOP: [HeaderName; 6] = [CONNECTION, CONTENT_LENGTH, EXPECT, TE, TRANSFER_ENCODING, UPGRADE];
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");

/// Asks the other process for the answer to a request whose body has been read, and passes it on.
pub async fn ask(
    line: &Line,
    body: &Bytes,
    client: &mut ServerSession,
    ctx: &mut RequestContext,
) -> Result<(), End> {
    ctx.told_elsewhere();
    let head = head(client.req_header(), body.len()).map_err(|_| End::Cut)?;
    let mut exchange = Exchange::on(connect(line, caller(client)).await.map_err(|_| End::Cut)?);
    exchange.send(head, &Body::whole(body.clone())).await.map_err(|_| End::Cut)?;
    client_or(client, ctx, pin!(exchange.head(None))).await?.map_err(|_| End::Cut)?;
    let Some(answer) = exchange.response() else { return Err(End::Cut) };
    let answer = passed_on(client, answer).map_err(|_| End::Cut)?;
    client.write_response_header(answer).await.map_err(|_| End::ClientGone)?;
    while let Some(chunk) = client_or(client, ctx, pin!(exchange.chunk())).await?.map_err(|_| End::Cut)? {
        let written = ctx.waiting(client.write_response_body(chunk, false)).await;
        written.map_err(|_| End::ClientGone)?;
    }
    client.write_response_body(Bytes::new(), true).await.map_err(|_| End::ClientGone)?;
    Ok(())
}

/// The request as it came, by HTTP/1.1.
fn head(request: &RequestHeader, length: usize) -> pingora::Result<Box<RequestHeader>> {
    let path = request.uri.path_and_query().map_or("/", |path| path.as_str());
    let mut head = RequestHeader::build_no_case(request.method.clone(), path.as_bytes(), None)?;
    for (name, value) in &request.headers {
        if !OF_THE_HOP.contains(name) && name != KEEP_ALIVE {
            head.append_header(name, value)?;
        }
    }
    if let (false, Some(authority)) = (head.headers.contains_key(HOST), request.uri.authority()) {
        head.insert_header(HOST, authority.as_str())?;
    }
    if length > 0 {
        head.insert_header(CONTENT_LENGTH, length)?;
    }
    Ok(Box::new(head))
}

/// The answer as it came, chunked where its length is not known.
fn passed_on(client: &ServerSession, answer: &ResponseHeader) -> pingora::Result<Box<ResponseHeader>> {
    let mut head = ResponseHeader::build(answer.status, Some(answer.headers.len() + 1))?;
    for (name, value) in &answer.headers {
        if name == CONTENT_LENGTH || !(OF_THE_HOP.contains(name) || name == KEEP_ALIVE) {
            head.append_header(name, value)?;
        }
    }
    if !answer.headers.contains_key(CONTENT_LENGTH) {
        reply::frame(&mut head, client, None)?;
    }
    Ok(Box::new(head))
}

fn caller(client: &ServerSession) -> Option<SocketAddr> {
    client.client_addr()?.as_inet().copied()
}

/// A connection to the other process, as from `caller`.
async fn connect(line: &Line, caller: Option<SocketAddr>) -> pingora::Result<SocketStream> {
    let (ours, theirs) = UnixStream::pair().or_err(ErrorType::SocketError, "no pair of sockets")?;
    line.give(Moved { stream: theirs.into(), caller, prefix: Bytes::new(), open: None });
    Ok(ours.into())
}

/// Dials the other process for Pingora's own phases.
#[derive(Debug)]
struct Dial(Line, Option<SocketAddr>);

#[async_trait]
impl Connect for Dial {
    async fn connect(&self, _: &L4Addr) -> pingora::Result<SocketStream> {
        connect(&self.0, self.1).await
    }
}

/// The other process as a peer of Pingora's. Its connections are for one request each.
pub fn peer(line: Line, client: &ServerSession) -> HttpPeer {
    let nowhere = SocketAddr::from(([127, 0, 0, 1], 1));
    let mut peer = HttpPeer::new(nowhere, false, String::new());
    peer.options.custom_l4 = Some(Arc::new(Dial(line, caller(client))));
    peer.options.idle_timeout = Some(Duration::ZERO);
    peer
}
