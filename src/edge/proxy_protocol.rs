//! The PROXY protocol, versions 1 and 2: who a connection is from, in the words of a proxy in front.
//!
//! Format: <https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt>. Only the address of the source is used;
//! extensions (TLVs) are passed over. Pure: bytes in, a verdict out, at any cut.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The longest line of version 1, its end included.
const MOST_V1: usize = 107;
/// Addresses and extensions of version 2; proxies send some hundred bytes.
const MOST_V2: usize = 2048;
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// What the bytes so far are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preface {
    /// More is needed.
    Partial,
    /// No PROXY protocol, or broken.
    Broken,
    /// Whole: how many bytes it is, and the source; none where the proxy speaks for itself or knows no address.
    Whole(usize, Option<SocketAddr>),
}

/// Reads the beginning of a connection.
pub fn read(bytes: &[u8]) -> Preface {
    let known = bytes.len().min(SIGNATURE.len());
    if bytes.get(..known) == SIGNATURE.get(..known) {
        return version_2(bytes).unwrap_or(Preface::Partial);
    }
    let line = memchr::memchr(b'\n', bytes);
    match line {
        None if bytes.len() < MOST_V1 && b"PROXY "[..].starts_with(bytes.get(..6).unwrap_or(bytes)) => {
            Preface::Partial
        }
        Some(end) if end < MOST_V1 => {
            let text = bytes.get(..end).and_then(|line| std::str::from_utf8(line).ok());
            match text.and_then(|line| version_1(line.strip_suffix('\r')?)) {
                Some(source) => Preface::Whole(end + 1, source),
                None => Preface::Broken,
            }
        }
        _ => Preface::Broken,
    }
}

/// `PROXY TCP4 192.0.2.1 192.0.2.2 56324 443`.
fn version_1(line: &str) -> Option<Option<SocketAddr>> {
    let mut words = line.split(' ');
    if words.next()? != "PROXY" {
        return None;
    }
    let family = words.next()?;
    if family == "UNKNOWN" {
        return Some(None);
    }
    let (source, to): (IpAddr, IpAddr) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    let (port, _): (u16, u16) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    let fits = match family {
        "TCP4" => source.is_ipv4() && to.is_ipv4(),
        "TCP6" => source.is_ipv6() && to.is_ipv6(),
        _ => false,
    };
    (fits && words.next().is_none()).then_some(Some(SocketAddr::new(source, port)))
}

/// None while more is needed.
fn version_2(bytes: &[u8]) -> Option<Preface> {
    let begin = SIGNATURE.len();
    let [command, family, high, low] = *bytes.get(begin..begin + 4)? else { return None };
    let length = usize::from(u16::from_be_bytes([high, low]));
    if command >> 4 != 2 || length > MOST_V2 {
        return Some(Preface::Broken);
    }
    let end = begin + 4 + length;
    let addresses = bytes.get(begin + 4..end)?;
    Some(match (command & 0xf, family) {
        (0, _) => Preface::Whole(end, None),
        (1, 0x11 | 0x21) => match source(addresses, family) {
            Some(source) => Preface::Whole(end, Some(source)),
            None => Preface::Broken,
        },
        (1, _) => Preface::Whole(end, None),
        _ => Preface::Broken,
    })
}

/// Both addresses come first, then both ports.
fn source(addresses: &[u8], family: u8) -> Option<SocketAddr> {
    let (ip, port): (IpAddr, usize) = match family {
        0x11 => (Ipv4Addr::from(<[u8; 4]>::try_from(addresses.get(..4)?).ok()?).into(), 8),
        _ => (Ipv6Addr::from(<[u8; 16]>::try_from(addresses.get(..16)?).ok()?).into(), 32),
    };
    let [high, low, _, _] = *addresses.get(port..port + 4)? else { return None };
    Some(SocketAddr::new(ip, u16::from_be_bytes([high, low])))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn v2(command: u8, family: u8, addresses: &[u8]) -> Vec<u8> {
        let length = u16::try_from(addresses.len()).unwrap().to_be_bytes();
        [SIGNATURE, &[command, family], &length, addresses].concat()
    }

    #[test]
    fn both_versions_name_the_source() {
        let line = b"PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\nGET / HTTP/1.1\r\n";
        assert_eq!(read(line), Preface::Whole(42, "192.0.2.1:56324".parse().ok()));
        let line = b"PROXY TCP6 2001:db8::1 ::1 1 443\r\n";
        assert_eq!(read(line), Preface::Whole(line.len(), "[2001:db8::1]:1".parse().ok()));
        assert_eq!(read(b"PROXY UNKNOWN ff anything\r\n"), Preface::Whole(27, None));
        let addresses = [192, 0, 2, 1, 192, 0, 2, 2, 0, 80, 1, 187, 4, 0, 0];
        let wire = v2(0x21, 0x11, &addresses);
        assert_eq!(read(&wire), Preface::Whole(wire.len(), "192.0.2.1:80".parse().ok()));
        let mut addresses = [0; 36];
        (addresses[15], addresses[33]) = (1, 80);
        let wire = v2(0x21, 0x21, &addresses);
        assert_eq!(read(&wire), Preface::Whole(wire.len(), "[::1]:80".parse().ok()));
        let wire = v2(0x20, 0x11, &[0; 12]);
        assert_eq!(read(&wire), Preface::Whole(28, None));
    }

    #[test]
    fn anything_else_is_broken() {
        for bytes in [
            &b"GET / HTTP/1.1\r\n"[..],
            b"PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\n",
            b"PROXY TCP4 ::1 192.0.2.2 56324 443\r\n",
            b"PROXY TCP4 192.0.2.1 192.0.2.2 99999 443\r\n",
            b"PROXY TCP4 192.0.2.1 192.0.2.2 56324 443 1\r\n",
            b"PROXY UDP4 192.0.2.1 192.0.2.2 1 2\r\n",
            &[b"PROXY ".to_vec(), vec![b'x'; 200]].concat(),
            &v2(0x11, 0x11, &[0; 12]),
            &v2(0x21, 0x11, &[0; 11]),
            &v2(0x22, 0x11, &[0; 12]),
            &v2(0x21, 0x11, &[0; 4000]),
        ] {
            assert_eq!(read(bytes), Preface::Broken, "{:?}", String::from_utf8_lossy(bytes));
        }
    }

    proptest! {
        #[test]
        fn a_beginning_is_never_broken_and_never_whole(cut in 0_usize..42) {
            let line = b"PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n";
            prop_assert_eq!(read(&line[..cut]), Preface::Partial);
            let wire = v2(0x21, 0x11, &[7; 30]);
            prop_assert_eq!(read(&wire[..cut]), Preface::Partial);
        }

        #[test]
        fn any_bytes_at_all_have_a_verdict(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = read(&bytes);
            let _ = read(&[SIGNATURE, &bytes].concat());
        }
    }
}
