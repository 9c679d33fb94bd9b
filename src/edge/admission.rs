//! Who is calling, and the whole body before anything is chosen.
//!
//! A body is read under one total deadline and counted as it comes, never as declared; what all requests hold together
//! is bounded, so that a thousand slow uploads cannot exhaust memory. A client's framing fault is the client's: it is
//! told apart from an upstream's and strikes nobody.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use http::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, EXPECT};
use http::{HeaderMap, HeaderName, HeaderValue};
use pingora::http::RequestHeader;
use pingora::protocols::http::ServerSession;
use pingora::ErrorType;

use super::lifecycle::End;
use super::refusals;
use super::reply::Refusal;
use crate::clients::{Client, Roster};
use crate::llm::error::ApiError;
use crate::llm::socket;
use crate::sync::atomic::{AtomicU64, Ordering};

/// What is reserved ahead of the bytes that came; the declared length is the client's word.
const MOST_RESERVED: usize = 1024 * 1024;

/// Where the APIs have a key but in Authorization: Anthropic's, Azure's, Google's.
static NAMED: [HeaderName; 3] = [
    HeaderName::from_static("x-api-key"),
    HeaderName::from_static("api-key"),
    HeaderName::from_static("x-goog-api-key"),
];

/// The keys that a request shows: in `Authorization: Bearer`, in a header of its own, or in a WebSocket's subprotocols.
fn presented(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    let bearer = headers.get_all(AUTHORIZATION).iter().filter_map(|v| bearer(v.as_bytes()));
    let named = NAMED.iter().flat_map(|name| headers.get_all(name));
    bearer.chain(named.map(HeaderValue::as_bytes)).chain(socket::keys(headers).map(str::as_bytes))
}

/// Who asks.
///
/// # Errors
/// No key, none that is known, or one whose time is over: 401.
pub fn identify<'r>(
    roster: &'r Roster,
    headers: &HeaderMap,
    now: SystemTime,
) -> Result<&'r Arc<Client>, Box<Refusal>> {
    match roster.known(presented(headers)) {
        Some(client) if client.is_expired(now) => {
            Err(Refusal::new(ApiError::unauthorized("This API key has expired."), "key_expired"))
        }
        Some(client) => Ok(client),
        None => Err(unauthorized(headers)),
    }
}

/// What is said to who is not let in.
pub fn stranger(roster: &Roster, headers: &HeaderMap, now: SystemTime) -> Box<Refusal> {
    identify(roster, headers, now).err().unwrap_or_else(|| unauthorized(headers))
}

/// Whether the request shows the master key itself, for what no other key may do.
///
/// # Errors
/// Another key: 403. No known key: 401.
pub fn master(roster: &Roster, headers: &HeaderMap) -> Result<(), Box<Refusal>> {
    let shown = presented(headers).any(|key| roster.master().matches(key));
    match roster.known(presented(headers)) {
        _ if shown => Ok(()),
        Some(_) => Err(refusals::master_only()),
        None => Err(unauthorized(headers)),
    }
}

/// Takes a key out of the header that the operator has named, and puts it where keys are looked for: so it is found as
/// any other, and no upstream gets it.
pub fn adopt_key(head: &mut RequestHeader, name: &HeaderName) {
    let Some(value) = head.remove_header(name) else { return };
    let key = bearer(value.as_bytes()).unwrap_or(value.as_bytes());
    let whole = [b"Bearer ".as_slice(), key].concat();
    if let Ok(value) = HeaderValue::from_bytes(&whole) {
        let _ = head.append_header(AUTHORIZATION, value);
    }
}

/// The 401 for everybody else. It says what was wrong with the form, never what was wrong with the key.
fn unauthorized(headers: &HeaderMap) -> Box<Refusal> {
    let message = match headers.get(AUTHORIZATION).map(|v| v.as_bytes()) {
        Some(value) if bearer(value).is_none() => {
            "The Authorization header must be 'Bearer ' followed by the key."
        }
        None if NAMED.iter().all(|name| !headers.contains_key(name))
            && socket::keys(headers).next().is_none() =>
        {
            "No key: send 'Authorization: Bearer' followed by the router's key."
        }
        _ => "Incorrect API key provided.",
    };
    Refusal::new(ApiError::unauthorized(message), "unauthorized")
}

fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, key) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| key.trim_ascii())
}

/// A request, or an answer, that holds no more than this is a small one.
const SMALL: u64 = 64 * 1024;

/// Bytes of request bodies, and of answers that are read whole, that may be held at once, over all requests. A quarter
/// is for small requests alone, so that large uploads, however many and however slow, do not keep them out.
pub struct Budget {
    free: AtomicU64,
    for_small: u64,
}

/// A part of the budget; given back on drop.
pub struct Held {
    budget: Arc<Budget>,
    bytes: u64,
}

impl Budget {
    /// A budget of `bytes`, in which a body of `largest` finds room.
    pub fn new(bytes: u64, largest: u64) -> Arc<Self> {
        let for_small = (bytes / 4).min(bytes.saturating_sub(largest));
        Arc::new(Self { free: AtomicU64::new(bytes), for_small })
    }

    /// Nothing held yet.
    pub fn hold(self: &Arc<Self>) -> Held {
        Held { budget: self.clone(), bytes: 0 }
    }
}

impl Held {
    /// Takes that much more; false where there is not so much left.
    pub fn take(&mut self, bytes: u64) -> bool {
        let kept = if self.bytes + bytes > SMALL { self.budget.for_small } else { 0 };
        let left = |free: u64| free.checked_sub(bytes).filter(|left| *left >= kept);
        let taken = self.budget.free.fetch_update(Ordering::AcqRel, Ordering::Acquire, left);
        if taken.is_ok() {
            self.bytes += bytes;
        }
        taken.is_ok()
    }

    /// Holds as much as `bytes` in all, until they are few again; few are not counted. False where there is not so much
    /// left.
    pub fn cover(&mut self, bytes: usize) -> bool {
        let bytes = bytes as u64;
        if bytes <= SMALL {
            self.give_back();
        }
        bytes <= SMALL.max(self.bytes) || self.take(bytes - self.bytes)
    }

    fn give_back(&mut self) {
        if self.bytes > 0 {
            self.budget.free.fetch_add(std::mem::take(&mut self.bytes), Ordering::AcqRel);
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.give_back();
    }
}

/// How much body, in what time.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Bytes.
    pub size: u64,
    /// From the head to the body's last byte.
    pub time: Duration,
}

/// The whole body. `held` keeps its share of the budget and must live as long as the body.
pub async fn read_body(client: &mut ServerSession, bounds: Bounds, held: &mut Held) -> Result<Bytes, End> {
    let headers = &client.req_header().headers;
    if headers.get(CONTENT_ENCODING).is_some_and(|c| !c.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return Err(Refusal::new(ApiError::unsupported_encoding(), "content_encoding").into());
    }
    let declared = headers.get(CONTENT_LENGTH).and_then(|v| v.to_str().ok()).and_then(|v| v.parse().ok());
    if declared.is_some_and(|length: u64| length > bounds.size) {
        return Err(too_large(bounds.size).into());
    }
    let expects = headers.get(EXPECT).is_some_and(|v| v.as_bytes().eq_ignore_ascii_case(b"100-continue"));
    if expects {
        client.write_continue_response().await.map_err(|_| End::ClientGone)?;
    }
    let read = collect(client, declared.unwrap_or(0), bounds.size, held);
    match tokio::time::timeout(bounds.time, read).await {
        Ok(read) => read,
        Err(_) => Err(Refusal::new(ApiError::body_timeout(bounds.time), "body_timeout").into()),
    }
}

async fn collect(
    client: &mut ServerSession,
    declared: u64,
    most: u64,
    held: &mut Held,
) -> Result<Bytes, End> {
    let mut first = Bytes::new();
    let mut body = BytesMut::new();
    loop {
        let read = client.read_request_body().await;
        if read.is_err() {
            // Nobody knows where the next request would begin.
            client.set_keepalive(None);
        }
        let Some(chunk) = read.map_err(|e| fault(&e))? else { break };
        let length = (first.len() + body.len() + chunk.len()) as u64;
        if length > most {
            return Err(too_large(most).into());
        }
        if !held.take(chunk.len() as u64) {
            return Err(refusals::out_of_buffers().into());
        }
        if first.is_empty() && body.is_empty() {
            first = chunk;
            continue;
        }
        if body.is_empty() {
            body.reserve((declared as usize).clamp(first.len() + chunk.len(), MOST_RESERVED));
            body.extend_from_slice(&std::mem::take(&mut first));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(if body.is_empty() { first } else { body.freeze() })
}

fn too_large(most: u64) -> Box<Refusal> {
    Refusal::new(ApiError::too_large(most), "body_too_large")
}

fn fault(error: &pingora::Error) -> End {
    match error.etype() {
        ErrorType::ReadTimedout => {
            Refusal::new(ApiError::invalid(408, "The request body stopped coming."), "body_timeout").into()
        }
        ErrorType::ConnectionClosed | ErrorType::ReadError | ErrorType::H2Error => End::ClientGone,
        _ => {
            Refusal::new(ApiError::invalid(400, "The framing of the request body is broken."), "bad_framing")
                .into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::threads::{in_many_orders, together};

    fn headers(name: &'static str, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(http::HeaderName::from_static(name), http::HeaderValue::from_static(value))])
    }

    fn roster(text: &str) -> Roster {
        let text = format!("{text}\ncredentials: [{{name: a, api_key: k, base_url: 'https://h'}}]\n");
        let source = crate::config::Source { path: std::path::Path::new("c"), text: &text };
        let missing = |_: &std::path::Path| Err(std::io::ErrorKind::NotFound.into());
        let loaded = crate::config::load(source, &|_| None, &missing, SystemTime::UNIX_EPOCH);
        let rendered = loaded.render(false);
        let settings = loaded.settings.unwrap_or_else(|| panic!("{rendered}"));
        Roster::new(&settings, crate::secret::Secret::new("spare"), None, std::time::Instant::now())
    }

    #[test]
    fn the_key_is_taken_in_its_forms_and_no_other() {
        let roster = roster("server: {master_key: sk-master-0123456789}");
        let knows = |name, value| identify(&roster, &headers(name, value), SystemTime::UNIX_EPOCH).is_ok();
        for (name, value) in [
            ("authorization", "Bearer sk-master-0123456789"),
            ("authorization", "bearer sk-master-0123456789"),
            ("authorization", "BEARER  sk-master-0123456789"),
            ("x-api-key", "sk-master-0123456789"),
            ("x-goog-api-key", "sk-master-0123456789"),
            ("api-key", "sk-master-0123456789"),
            ("sec-websocket-protocol", "realtime, openai-insecure-api-key.sk-master-0123456789"),
        ] {
            assert!(knows(name, value), "{name}: {value}");
        }
        for (name, value) in [
            ("authorization", "sk-master-0123456789"),
            ("authorization", "Basic sk-master-0123456789"),
            ("authorization", "Bearer"),
            ("authorization", "Bearer sk-master-01234567899"),
            ("x-api-key", "Bearer sk-master-0123456789"),
            ("cookie", "sk-master-0123456789"),
            ("sec-websocket-protocol", "realtime, sk-master-0123456789"),
        ] {
            assert!(!knows(name, value), "{name}: {value}");
        }
    }

    #[test]
    fn a_key_in_the_operators_header_is_found_and_goes_nowhere_else() {
        let roster = roster("server: {master_key: sk-master-0123456789}");
        let name = HeaderName::from_static("x-token");
        for value in ["sk-master-0123456789", "Bearer sk-master-0123456789"] {
            let mut head = RequestHeader::build("GET", b"/", None).unwrap();
            head.insert_header(&name, value).unwrap();
            head.insert_header(AUTHORIZATION, "Basic of-something-else").unwrap();
            adopt_key(&mut head, &name);
            assert!(identify(&roster, &head.headers, SystemTime::UNIX_EPOCH).is_ok(), "{value}");
            assert!(!head.headers.contains_key(&name));
        }
    }

    #[test]
    fn a_key_counts_until_it_expires() {
        let keys = "client_keys: [{name: a, key: sk-of-a-0123456789, expires: 2027-01-31}]";
        let roster = roster(keys);
        let at = |day: u64| SystemTime::UNIX_EPOCH + Duration::from_secs(day * 86_400);
        let headers = headers("x-api-key", "sk-of-a-0123456789");
        let found = |at| identify(&roster, &headers, at).map(|client| client.name.to_string());
        // 2027-01-31 is day 20,849 of the epoch.
        assert_eq!(found(at(20_848)).unwrap(), "a");
        assert_eq!(found(at(20_849)).unwrap_err().reason, "key_expired");
    }

    #[test]
    fn what_is_held_comes_back_when_the_request_ends() {
        let budget = Budget::new(10, 10);
        let mut one = budget.hold();
        assert!(one.take(6));
        let mut two = budget.hold();
        assert!(!two.take(5));
        drop(one);
        assert!(two.take(10));
    }

    #[test]
    fn what_grows_is_counted_once_and_only_while_it_is_large() {
        let (budget, small) = (Budget::new(1 << 20, 1 << 20), 64 << 10);
        let mut answer = budget.hold();
        assert!(answer.cover(small) && answer.bytes == 0);
        assert!(answer.cover(512 << 10) && answer.cover(1 << 20) && answer.cover(small + 1));
        assert_eq!(answer.bytes, 1 << 20);
        assert!(!answer.cover((1 << 20) + 1) && !budget.hold().cover(small + 1));
        assert!(answer.cover(small) && budget.hold().cover(1 << 20));
    }

    #[test]
    fn large_bodies_leave_room_for_small_ones() {
        let budget = Budget::new(16 << 20, 8 << 20);
        let mut large = budget.hold();
        assert!(large.take(12 << 20) && !large.take(1));
        let mut small = budget.hold();
        assert!(small.take(SMALL) && !small.take(1));
        let mut only = Budget::new(16 << 20, 16 << 20).hold();
        assert!(only.take(16 << 20), "the largest body that is allowed has no room");
    }

    #[test]
    fn threads_hold_no_more_than_the_budget_and_give_all_of_it_back() {
        in_many_orders(|| {
            let budget = Budget::new(8, 8);
            let (shared, held) = (budget.clone(), Arc::new(AtomicU64::new(0)));
            together(3, move |thread| {
                for turn in 0..3 {
                    let (mut own, mut taken) = (shared.hold(), 0);
                    for bytes in [3, (thread + turn) as u64] {
                        if own.take(bytes) {
                            taken += bytes;
                            assert!(held.fetch_add(bytes, Ordering::SeqCst) + bytes <= 8);
                        }
                    }
                    held.fetch_sub(taken, Ordering::SeqCst);
                }
            });
            assert!(budget.hold().take(8), "all of it is free again");
        });
    }
}
