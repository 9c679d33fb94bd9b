//! What a request wishes for besides its model: a vendor, and to stay with the credential of its conversation.
//!
//! A vendor comes as `?vendor=` or as `x-vendor`; neither goes upstream. What a conversation is known by is, in this
//! order: `prompt_cache_key`, a header with the session, `user`, and the head of the conversation itself. Of all that only
//! a hash of 64 bits is made, with a salt, and only where a strategy asks for it; nothing of it is kept or logged.
//! Headers: OpenCode sends `x-session-affinity` and `x-session-id` (`x-opencode-session` to its own host), Codex
//! `session-id` (earlier `session_id`), Claude Code `x-claude-code-session-id`.

use std::borrow::Cow;
use std::hash::{DefaultHasher, Hasher};
use std::sync::Arc;

use http::HeaderMap;
use pingora::http::RequestHeader;
use url::form_urlencoded;

use super::content::Content;
use super::reply::Refusal;
use super::{refusals, Edge};

const VENDOR: &str = "vendor";
const VENDOR_HEADER: &str = "x-vendor";
/// The most telling first.
const SESSIONS: [&str; 6] = [
    "x-session-affinity",
    "x-session-id",
    "x-opencode-session",
    "x-claude-code-session-id",
    "session-id",
    "session_id",
];

/// Some credentials, by their places; none = any.
type Among<'e> = Option<&'e Arc<[bool]>>;

/// The credentials that a request asks for.
///
/// # Errors
/// Nobody is called so.
pub fn among<'e>(edge: &'e Edge, head: &RequestHeader) -> Result<Among<'e>, Box<Refusal>> {
    let Some(vendor) = vendor(head) else { return Ok(None) };
    let vendors = &edge.gateway.vendors;
    let known = || vendors.known(edge.gateway.settings.server.expose_route);
    vendors.of(&vendor).map(Some).ok_or_else(|| refusals::unknown_vendor(&vendor, &known()))
}

/// The vendor that a request asks for. The query counts before the header.
pub fn vendor(head: &RequestHeader) -> Option<Cow<'_, str>> {
    let query = head.uri.query().unwrap_or_default();
    let asked = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == VENDOR);
    let header = || head.headers.get(VENDOR_HEADER).and_then(|value| value.to_str().ok()).map(Cow::Borrowed);
    asked.map(|(_, vendor)| vendor).or_else(header)
}

/// `query` as it goes upstream: without what is a wish to this router.
pub fn without_vendor(query: Option<&str>) -> Option<Cow<'_, str>> {
    let query = query?;
    let is_wish = |member: &&str| member.split('=').next() == Some(VENDOR);
    if !query.split('&').any(|member| is_wish(&member)) {
        return Some(query.into());
    }
    let kept: Vec<&str> = query.split('&').filter(|member| !is_wish(member)).collect();
    (!kept.is_empty()).then(|| kept.join("&").into())
}

/// What stands for the conversation that a request belongs to.
pub fn key(edge: &Edge, headers: &HeaderMap, content: &Content, body: &[u8]) -> u64 {
    let session = || SESSIONS.iter().find_map(|name| headers.get(*name)).map(|value| value.as_bytes());
    let mut hasher = DefaultHasher::new();
    hasher.write(&edge.gateway.salt);
    match content.request() {
        Some(request) => match request.cache_key(body).or_else(session).or_else(|| request.user(body)) {
            Some(name) => hasher.write(name),
            None => request.head(body).into_iter().for_each(|part| hasher.write(part)),
        },
        None => hasher.write(session().unwrap_or_default()),
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vendor_is_taken_from_the_query_before_the_header_and_out_of_what_goes_on() {
        let mut head = RequestHeader::build("POST", b"/v1/x?a=1&vendor=open%61i&b=2", None).unwrap();
        head.insert_header(VENDOR_HEADER, "azure").unwrap();
        assert_eq!(vendor(&head).as_deref(), Some("openai"));
        assert_eq!(without_vendor(head.uri.query()).as_deref(), Some("a=1&b=2"));
        assert_eq!(without_vendor(Some("vendor=x")), None);
        assert!(matches!(without_vendor(Some("vendors=x")), Some(Cow::Borrowed("vendors=x"))));
        let plain = RequestHeader::build("POST", b"/v1/x", None).unwrap();
        assert_eq!((vendor(&plain), without_vendor(None)), (None, None));
    }
}
