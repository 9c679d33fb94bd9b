//! One picture from one address that a caller has named: no way into the network that the router stands in.
//!
//! A name is resolved once, its addresses are checked, and the connection goes to one of those that were checked, so
//! that a name which means something else a moment later gains nothing. The URL parser has brought hosts such as
//! `2130706433` or `0x7f.1` into their usual form by then. A redirect is a new address and is checked like the first;
//! it does not leave https, and takes the caller's headers along to the same origin only. Nothing of the router or of
//! the caller's request goes along but those headers. What comes is counted as it comes, in bytes and in time, and what
//! is no picture by its first bytes is not read on; compressed answers are not opened.
//!
//! On Pingora's connector and the reader of answers that upstreams have, so that there is one HTTP client here.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use base64::engine::general_purpose::STANDARD;
use base64::Engine;
use bytes::BytesMut;
use http::header::{
    HeaderName, ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, HOST, LOCATION, USER_AGENT,
};
use http::{HeaderValue, Method};
use pingora::http::RequestHeader;
use pingora::upstreams::peer::HttpPeer;
use url::{Host, Url};

use super::network::is_public;
use crate::config::Images;
use crate::dialect::pictures::Fetched;
use crate::edge::admission::Held;
use crate::edge::exchange::{Dialer, Exchange};
use crate::llm::body::Body;

/// A URL that is longer is none.
const MOST_URL: usize = 8 * 1024;
/// The time to connect to one address, TLS included.
const CONNECT: Duration = Duration::from_secs(5);
/// Of a host's addresses, so many are tried.
const MOST_ADDRESSES: usize = 3;
/// The first bytes by which a picture is known.
const MAGIC: usize = 12;
/// What a caller's headers must not say: they are about the connection, or ours.
const NOT_THE_CALLERS: [&str; 14] = [
    "accept-encoding",
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "range",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
];

/// Why a picture could not be had. What a model is told of it helps nobody to look around in our network: an address
/// that is refused is one that cannot be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// No such host, nobody there, or an address that is not to be asked.
    Unreachable,
    /// 401 or 403.
    Denied,
    /// 404 or 410.
    NotFound,
    /// No picture of a kind that models take.
    NotAPicture,
    /// Too many bytes.
    TooLarge,
    /// Not there in time.
    TooSlow,
    /// Another status, too many redirects, a broken answer.
    Failed,
}

impl Missing {
    /// The label's value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Denied => "denied",
            Self::NotFound => "not_found",
            Self::NotAPicture => "not_a_picture",
            Self::TooLarge => "too_large",
            Self::TooSlow => "too_slow",
            Self::Failed => "failed",
        }
    }

    /// The end of a sentence that begins with "could not be loaded:".
    pub fn because(self) -> &'static str {
        match self {
            Self::Unreachable => "its address could not be reached",
            Self::Denied => "its host denied access to it",
            Self::NotFound => "there is nothing at its address",
            Self::NotAPicture => "what is at its address is no PNG, JPEG, GIF or WebP picture",
            Self::TooLarge => "it is too large",
            Self::TooSlow => "its host took too long",
            Self::Failed => "its host answered with an error",
        }
    }
}

/// What one step of a fetch has brought.
enum Step {
    Picture(Fetched),
    Elsewhere(Url),
}

/// Fetches the picture at `url`, with the caller's `headers`. What it holds in memory is taken from `held`.
pub async fn fetch(
    dialer: &Dialer,
    images: &Images,
    url: &str,
    headers: &[(String, String)],
    held: &mut Held,
) -> Result<Fetched, Missing> {
    let fetching = async {
        let mut url = checked(url)?;
        let mut headers = callers(headers);
        for _ in 0..=images.max_redirects {
            let next = match step(dialer, images, &url, &headers, held).await? {
                Step::Picture(picture) => return Ok(picture),
                Step::Elsewhere(next) => next,
            };
            if url.scheme() == "https" && next.scheme() == "http" {
                return Err(Missing::Failed);
            }
            if next.origin() != url.origin() {
                headers.clear();
            }
            url = next;
        }
        Err(Missing::Failed)
    };
    tokio::time::timeout(images.timeout, fetching).await.unwrap_or(Err(Missing::TooSlow))
}

/// An address that may be asked, as far as can be seen from it alone.
fn checked(url: &str) -> Result<Url, Missing> {
    let url = Some(url).filter(|url| url.len() <= MOST_URL).and_then(|url| Url::parse(url).ok());
    let web = |url: &Url| matches!(url.scheme(), "http" | "https") && url.has_host();
    url.filter(|url| web(url) && url.username().is_empty() && url.password().is_none())
        .ok_or(Missing::Unreachable)
}

/// The headers of a caller that may go along.
fn callers(headers: &[(String, String)]) -> Vec<(HeaderName, HeaderValue)> {
    let valid = headers.iter().filter_map(|(name, value)| {
        let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
        let mut value = HeaderValue::from_str(value).ok()?;
        value.set_sensitive(true);
        (!NOT_THE_CALLERS.contains(&name.as_str())).then_some((name, value))
    });
    valid.collect()
}

async fn step(
    dialer: &Dialer,
    images: &Images,
    url: &Url,
    headers: &[(HeaderName, HeaderValue)],
    held: &mut Held,
) -> Result<Step, Missing> {
    let mut exchange = connect(dialer, images, url).await?;
    let head = request(url, headers).map_err(|_| Missing::Unreachable)?;
    exchange.send(head, &Body::default()).await.map_err(|_| Missing::Failed)?;
    exchange.head(None).await.map_err(|_| Missing::Failed)?;
    let head = exchange.response().ok_or(Missing::Failed)?;
    match head.status.as_u16() {
        200 => {}
        301 | 302 | 303 | 307 | 308 => {
            let location = head.headers.get(LOCATION).and_then(|value| value.to_str().ok());
            let next = location.and_then(|location| url.join(location).ok()).ok_or(Missing::Failed)?;
            return checked(next.as_str()).map(Step::Elsewhere);
        }
        401 | 403 => return Err(Missing::Denied),
        404 | 410 => return Err(Missing::NotFound),
        _ => return Err(Missing::Failed),
    }
    if head.headers.get(CONTENT_ENCODING).is_some_and(|coding| coding != "identity") {
        return Err(Missing::NotAPicture);
    }
    let declared = head.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    if declared.is_some_and(|length: u64| length > images.max_size) {
        return Err(Missing::TooLarge);
    }
    read(&mut exchange, images.max_size, held).await.map(Step::Picture)
}

async fn read(exchange: &mut Exchange, most: u64, held: &mut Held) -> Result<Fetched, Missing> {
    let mut body = BytesMut::new();
    let mut mime = None;
    while let Some(chunk) = exchange.chunk().await.map_err(|_| Missing::Failed)? {
        // As it comes, and as base64 in the request.
        let cost = chunk.len() + chunk.len().div_ceil(3) * 4;
        if (body.len() + chunk.len()) as u64 > most || !held.take(cost as u64) {
            return Err(Missing::TooLarge);
        }
        body.extend_from_slice(&chunk);
        if mime.is_none() && body.len() >= MAGIC {
            mime = Some(kind(&body).ok_or(Missing::NotAPicture)?);
        }
    }
    let mime = mime.ok_or(Missing::NotAPicture)?;
    Ok(Fetched { mime, data: STANDARD.encode(&body) })
}

/// A connection to a host that may be asked: to an address that was looked at, and to no other one.
async fn connect(dialer: &Dialer, images: &Images, url: &Url) -> Result<Exchange, Missing> {
    let host = url.host().ok_or(Missing::Unreachable)?;
    let port = url.port_or_known_default().ok_or(Missing::Unreachable)?;
    let name = match &host {
        Host::Domain(name) => (*name).to_owned(),
        Host::Ipv4(ip) => ip.to_string(),
        Host::Ipv6(ip) => ip.to_string(),
    };
    let named = |(allowed, at): &(String, Option<u16>)| *allowed == name && at.is_none_or(|at| at == port);
    let allowed = images.allow.iter().any(named);
    if !(allowed || matches!(port, 80 | 443)) {
        return Err(Missing::Unreachable);
    }
    let addresses: HashSet<IpAddr> = match host {
        Host::Ipv4(ip) => HashSet::from([ip.into()]),
        Host::Ipv6(ip) => HashSet::from([ip.into()]),
        Host::Domain(name) => {
            let found = tokio::net::lookup_host((name, port)).await.map_err(|_| Missing::Unreachable)?;
            found.map(|address| address.ip()).collect()
        }
    };
    let tls = url.scheme() == "https";
    let may = addresses.into_iter().filter(|address| allowed || is_public(*address));
    for address in may.take(MOST_ADDRESSES) {
        let mut peer = HttpPeer::new(SocketAddr::new(address, port), tls, name.clone());
        peer.options.connection_timeout = Some(CONNECT);
        peer.options.total_connection_timeout = Some(CONNECT);
        if let Ok(exchange) = dialer.reach(peer).await {
            return Ok(exchange);
        }
    }
    Err(Missing::Unreachable)
}

fn request(url: &Url, headers: &[(HeaderName, HeaderValue)]) -> pingora::Result<Box<RequestHeader>> {
    let path = url[url::Position::BeforePath..url::Position::AfterQuery].as_bytes();
    let mut head = RequestHeader::build_no_case(Method::GET, path, Some(8))?;
    let host = &url[url::Position::BeforeHost..url::Position::AfterPort];
    head.insert_header(HOST, host)?;
    head.insert_header(USER_AGENT, concat!("auto-ai-router/", env!("CARGO_PKG_VERSION")))?;
    head.insert_header(ACCEPT, "image/png, image/jpeg, image/gif, image/webp")?;
    for (name, value) in headers {
        head.insert_header(name, value)?;
    }
    head.insert_header(ACCEPT_ENCODING, "identity")?;
    Ok(Box::new(head))
}

/// The kind of a picture by its first bytes: those that all providers take.
fn kind(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => Some("image/png"),
        [0xff, 0xd8, 0xff, ..] => Some("image/jpeg"),
        [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Some("image/gif"),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some("image/webp"),
        _ => None,
    }
}
