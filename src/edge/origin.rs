//! Who a caller is: the address at the other end, or the one that a trusted proxy says it stands for.
//!
//! `Forwarded` (RFC 7239) and `X-Forwarded-For` grow at their end, one entry for each proxy, so they are read from there:
//! the first address that is no trusted proxy is the caller. What stands before it, anybody can have written.

use std::net::{IpAddr, SocketAddr};

use http::header::{HeaderName, FORWARDED};
use http::HeaderMap;
use pingora::protocols::l4::socket::SocketAddr as L4Addr;

use crate::config::Network;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The caller behind `peer`; none where nobody knows, as on a unix socket.
pub fn caller(peer: Option<&L4Addr>, headers: &HeaderMap, trusted: &[Network]) -> Option<IpAddr> {
    let peer = peer.and_then(L4Addr::as_inet)?.ip().to_canonical();
    if !is_trusted(peer, trusted) {
        return Some(peer);
    }
    let mut caller = peer;
    for value in said(headers).rev() {
        let Some(address) = address(value) else { break };
        caller = address;
        if !is_trusted(caller, trusted) {
            break;
        }
    }
    Some(caller)
}

/// Whether an address is that of a proxy that is believed.
pub fn is_trusted(address: IpAddr, trusted: &[Network]) -> bool {
    trusted.iter().any(|network| network.has(address))
}

/// What the proxies have said, in order; the standard header alone where it is there.
fn said(headers: &HeaderMap) -> impl DoubleEndedIterator<Item = &str> {
    let standard = headers.contains_key(FORWARDED);
    let name = if standard { FORWARDED } else { FORWARDED_FOR };
    let values: Vec<&str> = headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect();
    let entries = values.into_iter().flat_map(|value| value.split(','));
    let entries: Vec<&str> = match standard {
        false => entries.collect(),
        true => entries.map(node).collect(),
    };
    entries.into_iter()
}

/// The `for` of one element of Forwarded.
fn node(element: &str) -> &str {
    let pairs = element.split(';').filter_map(|pair| pair.trim().split_once('='));
    let node = pairs.filter(|(name, _)| name.trim().eq_ignore_ascii_case("for")).map(|(_, node)| node).next();
    node.unwrap_or_default().trim().trim_matches('"')
}

/// `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]` or `[2001:db8::1]:80`.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let found = bare.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()));
    found.map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn seen(peer: &str, headers: &[(HeaderName, &'static str)]) -> String {
        let trusted = ["10.0.0.0/8".parse().unwrap(), "127.0.0.1".parse().unwrap()];
        let headers: HeaderMap =
            headers.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect();
        let peer = L4Addr::Inet(SocketAddr::new(peer.parse().unwrap(), 1));
        caller(Some(&peer), &headers, &trusted).unwrap().to_string()
    }

    #[test]
    fn only_trusted_proxies_are_believed() {
        let claim = [(FORWARDED_FOR, "192.0.2.9")];
        assert_eq!(seen("203.0.113.1", &claim), "203.0.113.1");
        assert_eq!(seen("10.1.1.1", &claim), "192.0.2.9");
        assert_eq!(seen("10.1.1.1", &[]), "10.1.1.1");
        assert_eq!(seen("::ffff:10.1.1.1", &claim), "192.0.2.9");
    }

    #[test]
    fn what_a_caller_has_written_itself_does_not_count() {
        let chain = [(FORWARDED_FOR, "1.2.3.4, 192.0.2.9, 10.2.2.2")];
        assert_eq!(seen("10.1.1.1", &chain), "192.0.2.9");
        let lines = [(FORWARDED_FOR, "1.2.3.4"), (FORWARDED_FOR, "192.0.2.9")];
        assert_eq!(seen("127.0.0.1", &lines), "192.0.2.9");
        assert_eq!(seen("10.1.1.1", &[(FORWARDED_FOR, "1.2.3.4, unknown")]), "10.1.1.1");
    }

    #[test]
    fn the_standard_header_is_read_in_all_its_forms() {
        for (value, caller) in [
            ("for=192.0.2.60;proto=http;by=203.0.113.43", "192.0.2.60"),
            ("For=\"[2001:db8:cafe::17]:4711\"", "2001:db8:cafe::17"),
            ("for=1.2.3.4, for=\"192.0.2.7:80\"", "192.0.2.7"),
            ("for=_hidden", "10.1.1.1"),
        ] {
            assert_eq!(
                seen("10.1.1.1", &[(FORWARDED, value), (FORWARDED_FOR, "9.9.9.9")]),
                caller,
                "{value}"
            );
        }
    }
}
