//! One credential, ready to be dialled, and the heads of requests for it.
//!
//! Heads are built from a template per credential (host, authorization, fixed headers made at load) plus what of the
//! client's headers may pass, rather than by cloning the client's head and taking things away.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::Arc;

use http::header::{
    HeaderName, ACCEPT_ENCODING, AUTHORIZATION, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST,
};
use http::{HeaderMap, HeaderValue, Method};
use pingora::http::RequestHeader;
use url::Url;

use super::{Peer, HOPS, TRACEPARENT, TRACESTATE};
use crate::config::Credential;
use crate::edge::addresses::AddressSet;
use crate::edge::reply::REQUEST_ID;
use crate::edge::token::Token;
use crate::llm::ANTHROPIC_VERSION;
use crate::observe::trace::Trace;
use crate::providers::headers::{keep_dialect_header, keep_request_header};
use crate::providers::{chained, Ask, Provider, Route, Site, Transport, Versions, NEWEST_ANTHROPIC};

/// One credential.
pub struct Upstream {
    /// Its name.
    pub name: Arc<str>,
    /// What answers there.
    pub provider: &'static Provider,
    /// Where it lives.
    pub addresses: Arc<AddressSet>,
    /// What is known of it, if it is another router.
    pub peer: Option<Peer>,
    /// Whether pictures are fetched for it.
    pub inlines_images: bool,
    site: Site,
    host: HeaderValue,
    sign: Sign,
    fixed: Vec<(HeaderName, HeaderValue)>,
    /// Whether it has answered when it was asked for its models: not asked yet, no, yes.
    answers: AtomicU8,
}

const NOT_ASKED: u8 = 0;
const SILENT: u8 = 1;
const ANSWERED: u8 = 2;

/// How requests are authorized.
enum Sign {
    Nothing,
    Key(Authorization),
    Token(Arc<Token>),
}

/// What authorizes one request; a header, or nothing.
#[derive(Clone, Default)]
pub struct Authorization(Option<(HeaderName, HeaderValue)>);

/// What the head of a request is made of, besides the client's.
pub struct Dress<'a> {
    /// Where it goes.
    pub route: &'a Route,
    /// Headers that belong to a composed body, or open a WebSocket.
    pub headers: &'a [(HeaderName, String)],
    /// From `Upstream::authorization`.
    pub authorization: &'a Authorization,
    /// The length of the body, where there is one.
    pub length: Option<usize>,
    /// The id of the request.
    pub request_id: &'a str,
    /// Its place in a trace, and the number of the attempt.
    pub trace: Option<(Trace, usize)>,
    /// This router's name among the hops.
    pub hop: &'a str,
}

impl Upstream {
    pub(super) fn new(
        credential: &Credential,
        addresses: Arc<AddressSet>,
        token: Option<Arc<Token>>,
    ) -> Self {
        let url = &credential.base_url;
        let name: Arc<str> = credential.name.as_str().into();
        let provider = credential.kind.provider();
        let key = || {
            let (header, value) = provider.auth.header(credential.api_key.as_ref()?.expose());
            Some(Sign::Key(Authorization(Some((header, secret(&value)?)))))
        };
        let sign = match &credential.vertex {
            Some(vertex) => {
                Sign::Token(token.unwrap_or_else(|| Token::new(name.clone(), vertex.service_account.clone())))
            }
            None => key().unwrap_or(Sign::Nothing),
        };
        let fixed = credential.headers.iter().filter_map(|(name, value)| {
            Some((HeaderName::from_bytes(name.as_bytes()).ok()?, secret(value.expose())?))
        });
        Self {
            name,
            provider,
            addresses,
            peer: provider.is_router.then(Peer::default),
            inlines_images: credential.inline_images,
            site: Site {
                base: url.path().trim_end_matches('/').to_owned(),
                api_version: credential.api_version.clone(),
                project: credential.vertex.as_ref().map(|v| (v.project_id.clone(), v.location.clone())),
            },
            host: HeaderValue::from_str(&authority(url)).unwrap_or_else(|_| HeaderValue::from_static("")),
            sign,
            fixed: fixed.collect(),
            answers: AtomicU8::new(NOT_ASKED),
        }
    }

    /// Takes note of whether it has answered a question of ours.
    pub fn has_answered(&self, answered: bool) {
        self.answers.store(if answered { ANSWERED } else { SILENT }, Ordering::Relaxed);
    }

    /// Whether it has answered when it was asked last; none while it has not been asked.
    pub fn answers(&self) -> Option<bool> {
        match self.answers.load(Ordering::Relaxed) {
            NOT_ASKED => None,
            answers => Some(answers == ANSWERED),
        }
    }

    /// Where a request goes here. None: there is nothing like it.
    pub fn route(&self, ask: &Ask) -> Option<Route> {
        self.provider.route(&self.site, ask)
    }

    /// What authorizes a request. Only the very first token is waited for.
    pub async fn authorization(&self) -> Result<Authorization, Transport> {
        match &self.sign {
            Sign::Nothing => Ok(Authorization(None)),
            Sign::Key(key) => Ok(key.clone()),
            Sign::Token(token) => token.get().await.map(Authorization::token).ok_or(Transport::NoToken),
        }
    }

    /// Another authorization, after a 401 for `refused`: a key is what it is, but a token can be exchanged anew. The
    /// same request may then go out once more.
    pub async fn renewed(&self, refused: &Authorization) -> Option<Authorization> {
        match (&self.sign, &refused.0) {
            (Sign::Token(token), Some((_, value))) => token.renewed(value).await.map(Authorization::token),
            _ => None,
        }
    }

    /// The token, if this credential signs in by a service account.
    pub(super) fn shared_token(&self) -> Option<&Arc<Token>> {
        match &self.sign {
            Sign::Token(token) => Some(token),
            Sign::Nothing | Sign::Key(_) => None,
        }
    }

    /// The head of a client's request as this upstream gets it.
    pub fn request(&self, client: &RequestHeader, dress: &Dress<'_>) -> pingora::Result<Box<RequestHeader>> {
        let route = dress.route;
        let method = if route.native { client.method.clone() } else { Method::POST };
        let mut head = RequestHeader::build_no_case(method, route.path_and_query.as_bytes(), Some(16))?;
        head.insert_header(HOST, &self.host)?;
        let named = connection_names(&client.headers);
        for (name, value) in &client.headers {
            let passes = keep_request_header(name.as_str())
                && keep_dialect_header(name.as_str(), self.provider.versions, route.native);
            if passes && !named.is_some_and(|named| names(named, name)) {
                head.append_header(name, value)?;
            }
        }
        if !route.native {
            head.insert_header(CONTENT_TYPE, "application/json")?;
        }
        for (name, value) in dress.headers {
            head.insert_header(name, value)?;
        }
        let hops = client.headers.get(HOPS).and_then(|hops| hops.to_str().ok());
        self.finish(&mut head, dress.authorization, chained::passed(hops, dress.hop))?;
        if let Some((trace, attempt)) = dress.trace {
            head.insert_header(TRACEPARENT, trace.traceparent(attempt))?;
            let states = client.headers.get_all(TRACESTATE).iter().filter(|_| trace.parent.is_some());
            for state in states {
                head.append_header(TRACESTATE, state)?;
            }
        }
        if let Some(length) = dress.length {
            head.insert_header(CONTENT_LENGTH, length)?;
        }
        if self.provider.is_router {
            head.insert_header(REQUEST_ID, dress.request_id)?;
        }
        Ok(Box::new(head))
    }

    /// Where its models can be asked for, if they can.
    pub fn models_path(&self) -> Option<String> {
        (self.provider.models)(&self.site)
    }

    /// Where another router says how it is.
    pub fn health_path(&self) -> String {
        format!("{}/health", self.site.base)
    }

    /// A request of our own for what is at `path`.
    pub fn get(
        &self,
        path: &str,
        authorization: &Authorization,
        hop: &str,
    ) -> pingora::Result<Box<RequestHeader>> {
        let mut head = RequestHeader::build_no_case(Method::GET, path.as_bytes(), Some(8))?;
        head.insert_header(HOST, &self.host)?;
        self.finish(&mut head, authorization, chained::passed(None, hop))?;
        Ok(Box::new(head))
    }

    fn finish(
        &self,
        head: &mut RequestHeader,
        authorization: &Authorization,
        hops: String,
    ) -> pingora::Result<()> {
        head.insert_header(ACCEPT_ENCODING, "identity")?;
        if self.provider.versions == Versions::Needed && !head.headers.contains_key(ANTHROPIC_VERSION) {
            head.insert_header(ANTHROPIC_VERSION, NEWEST_ANTHROPIC)?;
        }
        if let Some((name, value)) = &authorization.0 {
            head.insert_header(name, value)?;
        }
        for (name, value) in &self.fixed {
            head.insert_header(name, value)?;
        }
        head.insert_header(HOPS, hops)
    }
}

impl Authorization {
    fn token(value: HeaderValue) -> Self {
        Self(Some((AUTHORIZATION, value)))
    }
}

fn secret(value: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(value).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// `host` or `host:port`, as the Host header wants it.
fn authority(url: &Url) -> String {
    match (url.host_str().unwrap_or_default(), url.port()) {
        (host, Some(port)) => format!("{host}:{port}"),
        (host, None) => host.to_owned(),
    }
}

/// The value of Connection, if it names anything but the usual.
fn connection_names(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(CONNECTION)?.to_str().ok()?;
    let usual = value.eq_ignore_ascii_case("keep-alive") || value.eq_ignore_ascii_case("close");
    (!usual).then_some(value)
}

fn names(connection: &str, name: &HeaderName) -> bool {
    connection.split(',').any(|named| named.trim().eq_ignore_ascii_case(name.as_str()))
}

#[cfg(test)]
mod tests;
